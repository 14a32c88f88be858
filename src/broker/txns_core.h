/* broker/txns_core.h - what the files of txns.h share. Used by: broker/txns*.c, and nobody else.   SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "broker/core.h"
#include "broker/txn_record.h"
#include "broker/txns.h"

#define TXNS_TOPIC STR("__transaction_state")

struct txns {
    struct broker *broker;
    struct map  by_id;
    size_t      bytes;                                         /* what all ids cost; MEMORY_SHARE is the ceiling */
    struct list unfinished;                                    /* struct txn.link: decided, and a marker could not be written */
    struct timer timeouts, expiry, retry;
    uint64_t    retry_more_ms;                                 /* grows while retries fail */
    uint64_t    committed, aborted, timed_out;
    struct codecs *codecs;
    struct buf  batch;
    bool       *lost;                                          /* by partition of __transaction_state: see txns_is_lost() */
    int32_t     lost_cap;
};

/* ---- txns.c ---- */
int32_t txns_home(const struct txns *ts, struct str id);       /* its partition of __transaction_state; -1: there is no topic */
struct txn *txns_entry_new(struct txns *ts, struct str id);
void txns_entry_free(struct txns *ts, struct txn *t);
void txns_account(struct txns *ts, struct txn *t);
/* Puts `next` on record as the new state of t, and makes it so. The partitions are t's own: `next` may share them, or have none. NULL:
 * the id is gone, t stays as it is. */
enum rc txns_persist(struct txns *ts, struct txn *t, const struct txn *next, struct err *e) MUST_USE;
int16_t txns_error(const struct err *e);

/* ---- txns_end.c ---- */
/* Ends an open transaction. `fence`: with the next epoch, so that its producer cannot go on. */
enum rc txns_decide(struct txns *ts, struct txn *t, bool commit, bool fence, struct err *e) MUST_USE;
void txns_complete(struct txns *ts, struct txn *t);            /* markers, then the completion; what cannot be done now is tried again */
void txns_timers_start(struct txns *ts);
