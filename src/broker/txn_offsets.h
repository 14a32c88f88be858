/* broker/txn_offsets.h - offsets that transactions want to commit, until their markers come. Pure: no file, no clock.
 *
 * By producer id and group. They are known by the group's name: the group itself may come and go meanwhile.
 * Owns its strings. {0} is empty.   Lives on: the broker loop.   Used by: broker/groups*.c.   SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/list.h"
#include "base/map.h"
#include "broker/offsets.h"

struct txn_offsets { struct map by_producer, by_group; size_t bytes; };

/* What one producer wants for one group. */
struct txn_pending {
    struct list of_producer, of_group;
    int64_t producer_id;
    int32_t home;                              /* the group's partition of __consumer_offsets: a marker there decides it */
    struct str group;
    struct offsets offsets;
};

void txn_offsets_fini(struct txn_offsets *o);
void txn_offsets_put(struct txn_offsets *o, int64_t producer_id, int32_t home, struct str group, struct str topic, const struct committed *c);
/* Is that offset going to be decided by a transaction? */
bool txn_offsets_has(const struct txn_offsets *o, struct str group, struct str topic, int32_t partition);
/* Takes one that a marker of that producer in that partition decides; NULL: no more. End it with txn_pending_free. */
struct txn_pending *txn_offsets_take(struct txn_offsets *o, int64_t producer_id, int32_t home);
void txn_pending_free(struct txn_pending *p);
void txn_offsets_forget(struct txn_offsets *o, int32_t home);      /* all of that partition */
