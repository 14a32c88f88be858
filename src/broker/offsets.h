/* broker/offsets.h - the committed offsets of one group, in memory. Pure: no file, no clock.
 *
 * Owns its strings. {0} is empty.   Lives on: the broker loop.   Used by: broker/groups.c, broker/api.
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/bytes.h"

struct committed {
    int32_t partition;
    int32_t leader_epoch;                  /* -1: not said */
    int64_t offset;
    int64_t commit_ms;                     /* wall time */
    int64_t expire_ms;                     /* the commit's own wish (versions 2 to 4 of OffsetCommit); -1: none */
    struct str metadata;                   /* never null */
    int64_t record;                        /* offset of its record in __consumer_offsets: a transaction's does not replace a later one */
};

struct offsets_topic {
    struct str name;
    struct committed *items;               /* by partition */
    size_t n, cap;
};
struct offsets {
    struct offsets_topic *topics;          /* by name */
    size_t topics_n, topics_cap;
    size_t n;                              /* offsets in all */
    size_t bytes;                          /* what they cost */
};

void offsets_fini(struct offsets *o);
void offsets_put(struct offsets *o, struct str topic, const struct committed *c);      /* copied; replaces */
/* Borrowed until the next put or delete. NULL: none. */
const struct committed *offsets_get(const struct offsets *o, struct str topic, int32_t partition);
const struct offsets_topic *offsets_topic(const struct offsets *o, struct str topic);
bool offsets_delete(struct offsets *o, struct str topic, int32_t partition);           /* false: there was none */

/* When an offset may go. `since_ms` is the time from which a group without members counts, INT64_MIN where each
 * offset's own commit time does. */
bool committed_is_expired(const struct committed *c, int64_t now_ms, int64_t retention_ms, int64_t since_ms);
