/* broker/txn.h - one transactional id: who may use it, in which state its transaction is, and which partitions take part.
 *
 * The states are Kafka's, with its numbers on disk:
 *
 *     Empty ──add──▶ Ongoing ──end──▶ PrepareCommit ──all markers written──▶ CompleteCommit ──add──▶ Ongoing
 *                          └──end, fence, timeout──▶ PrepareAbort ──all markers written──▶ CompleteAbort
 *
 * A question is asked with a function that changes nothing and gives Kafka's code; what was decided is put on record by the caller
 * (broker/txns.c), and only then done here. Pure: no clock, no file.
 * Lives on: the broker loop.   Used by: broker/txn*.c, broker/api.   SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/bytes.h"
#include "base/list.h"

enum txn_state {
    TXN_EMPTY = 0, TXN_ONGOING, TXN_PREPARE_COMMIT, TXN_PREPARE_ABORT, TXN_COMPLETE_COMMIT, TXN_COMPLETE_ABORT, TXN_DEAD, TXN_PREPARE_EPOCH_FENCE,
    TXN_STATES
};
const char *txn_state_name(enum txn_state s);                  /* Kafka's: "CompleteCommit" */
bool txn_state_of(struct str name, enum txn_state *ret);       /* false: no such */
enum { TXN_EPOCH_LAST = INT16_MAX - 1 };                       /* a producer never gets a higher one: a fence needs one more */

struct txn_part { struct str topic; int32_t partition; };
struct txn_parts { struct txn_part *v; size_t n, cap; };       /* by topic and partition; owns its names */

struct txn {
    struct str id;                                             /* owned */
    int64_t  producer_id, last_producer_id;                    /* last: what the answer before said; -1 none. Lost at a restart */
    int16_t  epoch, last_epoch;
    int32_t  timeout_ms;
    enum txn_state state;
    struct txn_parts parts;
    int64_t  start_ms, update_ms;                              /* wall time; start: -1 none */
    uint64_t deadline_ms;                                      /* monotonic, while Ongoing */
    uint64_t seq;                                              /* of its last record: what answers about it wait for */
    size_t   counted;                                          /* its share of what all cost */
    struct list link;                                          /* waits for markers to be written */
};

void txn_fini(struct txn *t);
void txn_move(struct txn *t, enum txn_state to);               /* must be an edge of the table */
bool txn_is_pending(const struct txn *t);                      /* PrepareX: it is being completed */

/* True: it was not there. */
bool txn_parts_add(struct txn_parts *ps, struct str topic, int32_t partition);
bool txn_parts_has(const struct txn_parts *ps, struct str topic, int32_t partition);
void txn_parts_remove(struct txn_parts *ps, size_t at);
void txn_parts_clear(struct txn_parts *ps);
size_t txn_parts_bytes(const struct txn_parts *ps);

/* ---- questions; Kafka's codes ---- */
int16_t txn_check_producer(const struct txn *t, int64_t producer_id, int16_t epoch);          /* 49, 90 */
int16_t txn_check_add(const struct txn *t, int64_t producer_id, int16_t epoch);               /* … 51 */
/* 0: go on, and write the markers. TXN_ENDED in *ret_done: it is that way already, there is nothing to do. */
int16_t txn_check_end(const struct txn *t, int64_t producer_id, int16_t epoch, bool commit, bool *ret_done);

/* What InitProducerId leads to. */
enum txn_init {
    TXN_INIT_REFUSE,                                           /* *ret_code */
    TXN_INIT_REPEAT,                                           /* the last answer again */
    TXN_INIT_BUMP,                                             /* the next epoch of the same producer id */
    TXN_INIT_ROTATE,                                           /* epochs are used up: a new producer id, epoch 0 */
    TXN_INIT_FENCE                                             /* a transaction is open: the next epoch ends it; ask again */
};
/* producer_id and epoch -1: the client has none. */
enum txn_init txn_check_init(const struct txn *t, int64_t producer_id, int16_t epoch, int16_t *ret_code);
