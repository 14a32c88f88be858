/* broker/txns.h - the transaction coordinator: all transactional ids, their record in __transaction_state, and how transactions end.
 *
 * A change is put on record first; then it holds, and whoever is told of it waits for the record's sequence number (*ret_seq). An end
 * is staged as one piece: the decision (PrepareX), a marker in every partition, the completion. They reach the disk in this order, so a
 * crash leaves a prefix of it: without the decision the transaction is still open, with it the next start writes what is missing.
 * The topic is made when the first client asks for a coordinator.
 *
 * Owns: struct txn.   Lives on: the broker loop.   Used by: broker/api, broker.c.   SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/err.h"
#include "broker/txn.h"

struct broker;
struct partition;
struct txns;

/* Reads __transaction_state, if there is one, and completes what was decided. After the groups. */
enum rc txns_new(struct broker *b, struct txns **ret, struct err *e) MUST_USE;
struct txns *txns_free(struct txns *ts);                       /* NULL is fine; returns NULL */
enum rc txns_topic(struct txns *ts, uint64_t *ret_seq, struct err *e) MUST_USE;        /* makes it where it is missing */

struct txn *txns_find(const struct txns *ts, struct str id);   /* NULL: none */
/* The part of __transaction_state that this id is recorded in could not be read at the start: nothing is known of it, and all that is
 * said is COORDINATOR_NOT_AVAILABLE. What it had open stays undecided until the folder was repaired, or somebody writes markers. */
bool txns_is_lost(const struct txns *ts, struct str id);
bool txns_any_is_lost(const struct txns *ts);                  /* is that so of any? */
size_t txns_count(const struct txns *ts);
struct txn *txns_next(const struct txns *ts, size_t *at);      /* in no order; *at starts at 0; NULL at the end */

/* open: Ongoing; unfinished: decided, but a marker could not be written yet. The others count since the start. */
struct txns_stats { uint64_t ids, open, unfinished, committed, aborted, timed_out; };
void txns_stats(const struct txns *ts, struct txns_stats *ret);

/* All return Kafka's code. */
struct producer_ident { int64_t id; int16_t epoch; };          /* -1, -1: none */
int16_t txns_init_producer(struct txns *ts, struct str id, int32_t timeout_ms, struct producer_ident have, struct producer_ident *ret, uint64_t *ret_seq);
/* Adds all of them, or none. */
int16_t txns_add(struct txns *ts, struct str id, struct producer_ident who, const struct txn_part *parts, size_t n, uint64_t *ret_seq);
int16_t txns_end(struct txns *ts, struct str id, struct producer_ident who, bool commit, uint64_t *ret_seq);
/* May this producer write to that partition now? 49, 90, 51, or 120 where it does not take part. */
int16_t txns_verify(const struct txns *ts, struct str id, struct producer_ident who, struct str topic, int32_t partition);

/* One marker, as a request for it says: 47 and 52 where producer or coordinator are older than the partition knows. */
struct txn_marker { struct producer_ident who; bool commit; int32_t coordinator_epoch; };
int16_t txn_marker_write(struct broker *b, struct partition *p, const struct txn_marker *m, uint64_t *ret_seq);
