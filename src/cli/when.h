/* cli/when.h - times as people give them. Pure. Used by: cli/replay.c.     SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "base/buf.h"
#include "base/err.h"

/* Milliseconds since 1970 of "now", "-15m" (s, m, h, d ago), "2026-11-23", "2026-11-23T10:00:00[.5]Z" (a blank for the T; UTC, with
 * or without Z), or of a number, which is that already. RC_INVALID: none of these. */
enum rc when_parse(struct str s, int64_t now_ms, int64_t *ret, struct err *e) MUST_USE;
void when_put(int64_t ms, struct buf *b);        /* 2026-11-23T10:00:00.000Z */
