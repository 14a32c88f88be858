/* broker/producers.h - what one partition knows about idempotent and transactional producers.
 *
 * Per producer id: its epoch and the last PRODUCER_WINDOW batches with their original offsets, so that a retried batch
 * is answered and not appended again. The rules are Kafka's: see producers_check. Pure: no file, no clock.
 * Lives on: the broker loop, inside a log.   On disk: docs/disk-format.md, "Producer snapshots".
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/buf.h"
#include "base/err.h"
#include "base/map.h"

enum { PRODUCER_WINDOW = 5 };                  /* a constant of the protocol: at most five requests in flight */

struct producer_batch {                        /* the header fields that matter here */
    int64_t producer_id;                       /* -1: none; such batches are always new */
    int16_t epoch;
    int32_t base_sequence;                     /* -1: written by a coordinator, only the epoch is checked */
    int32_t last_offset_delta;
    bool    transactional, control;
};
enum producer_decision {
    PRODUCER_NEW,                              /* append it */
    PRODUCER_DUPLICATE,                        /* append nothing, answer with base_offset when seq is durable */
    PRODUCER_OUT_OF_ORDER,                     /* Kafka's 45 */
    PRODUCER_FENCED,                           /* Kafka's 47, an older epoch */
    PRODUCER_IN_TXN                            /* Kafka's 48, a plain batch while its transaction is open */
};
struct producer_verdict { enum producer_decision decision; int64_t base_offset, last_offset, timestamp; uint64_t seq; };

struct producer_entry { int32_t first_seq, last_seq; int64_t last_offset, timestamp; int32_t offset_delta; };
struct producer {
    int64_t id;
    int16_t epoch;
    int32_t coordinator_epoch;                 /* of the last marker; -1 none */
    int64_t txn_first_offset;                  /* of the open transaction; -1 none */
    int64_t last_timestamp;                    /* of its last batch; for expiry */
    uint32_t n;                                /* entries in use, oldest first */
    struct producer_entry window[PRODUCER_WINDOW];
};
/* A transaction in this partition, from its first batch to its marker; last is -1 while it is open. */
struct txn_span { int64_t first, last, producer_id; };
struct producers {                             /* {0} is empty */
    struct map by_id;
    struct txn_span *spans;                    /* by first offset: the open ones, and those whose markers may not be durable yet */
    size_t spans_n, spans_cap;
};

void producers_fini(struct producers *ps);
struct producer *producers_find(const struct producers *ps, int64_t id);
/* seq is left 0. */
void producers_check(const struct producers *ps, const struct producer_batch *b, struct producer_verdict *ret);
/* The batch was appended (or is read back during recovery) at base_offset. */
void producers_add(struct producers *ps, const struct producer_batch *b, int64_t base_offset, int64_t timestamp,
                   int32_t coordinator_epoch);
void producers_expire(struct producers *ps, int64_t now_ms, int64_t expire_ms);    /* not while a transaction is open */
/* First offset of the oldest open transaction, or INT64_MAX. */
int64_t producers_first_unstable(const struct producers *ps);
/* … or of one that ended at or behind `durable`: its marker may still be lost. */
int64_t producers_first_undecided(struct producers *ps, int64_t durable);

/* Kafka's snapshot layout; a producer has one row per batch of its window, oldest first. */
void producers_encode(const struct producers *ps, struct buf *into);
enum rc producers_decode(struct bytes b, struct producers *into, struct err *e) MUST_USE;   /* into must be empty */
