/* app/offline.h - a data folder that nobody serves, opened for a few requests of administration: the first user, for one.
 *
 * Makes the folder when there is none. While it is open nobody else can use it; closing it writes everything.
 * Used by: cli/.   Lives on: any thread, blocking.   SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/buf.h"
#include "base/err.h"

struct offline;
/* RC_LOCKED: in use. RC_CORRUPT: damaged. */
enum rc offline_open(const char *dir, struct offline **ret, struct err *e) MUST_USE;
/* As bus_ask(): a request in Kafka's protocol and its answer, both without their sizes. */
enum rc offline_ask(struct offline *o, struct bytes frame, struct buf *ret, struct err *e) MUST_USE;
struct offline *offline_close(struct offline *o);        /* NULL is fine; returns NULL */
