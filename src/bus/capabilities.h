/* bus/capabilities.h - what a Kafka can do, found out when it is reached: one table for the log and `millrace doctor`.
 *
 * A row that is `degraded` says in `effect` what is done instead; nothing is given up without such a row.
 * Used by: bus, cli.   SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/buf.h"
#include "bus/bus.h"

struct capability {
    const char *name;                            /* "message size", never ends */
    char value[160], effect[200];                /* effect: what it means here; may be empty */
    bool degraded;
};
enum { CAPABILITIES_MAX = 20 };
struct capabilities { struct capability list[CAPABILITIES_MAX]; size_t n; };

/* Asks the cluster: blocks, some seconds at most. Not on a loop. RC_UNSUPPORTED: this bus has none to tell of. */
enum rc bus_capabilities(struct bus *b, struct capabilities *ret, struct err *e) MUST_USE;

/* A row; the next call says more about it. */
struct capability *capability_add(struct capabilities *c, const char *name, const char *value_fmt, ...) PRINTF(3, 4);
void capability_effect(struct capability *row, bool degraded, const char *fmt, ...) PRINTF(3, 4);
void capabilities_log(const struct capabilities *c);             /* one line, and one for each that is degraded */
void capabilities_put(const struct capabilities *c, struct buf *b);      /* as a table for people */
