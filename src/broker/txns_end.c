/* Design note: how transactions end: by request, by a newer producer, by time. What was decided is done at once, in the same turn and so in
 * the same group of the wal; where a marker cannot be written (the wal is full, a partition is offline), the transaction stays
 * decided and is tried again until it can. Time: deadlines are monotonic, so that a clock that jumps ends no transaction.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/diag.h"
#include "broker/groups.h"
#include "broker/txns_core.h"
#include "kafka/errors.h"

enum { RETRY_MS = 100, RETRY_MS_MAX = 10000, MARKER_BYTES = 78 };

/* ---- markers ---- */

static enum rc append_marker(struct broker *b, struct partition *p, const struct txn_marker *m, uint64_t *ret_seq, struct err *e)
{
    AUTO(buf_fini) struct buf batch = {0};
    struct log_appended done;

    batch_build_control(&batch, &(struct control_new){.type = m->commit ? CONTROL_COMMIT : CONTROL_ABORT, .timestamp = broker_wall_ms(b),
                                                      .producer_id = m->who.id, .producer_epoch = m->who.epoch,
                                                      .coordinator_epoch = m->coordinator_epoch});
    if (partition_append(p, batch.p, batch.n, LOG_APPEND_RESERVED, &done, e)) return e->rc;
    *ret_seq = MAX(*ret_seq, done.seq);
    if (str_eq(topic_name(p->topic), GROUPS_TOPIC)) groups_txn_end(b->groups, p->number, m->who.id, m->commit);
    return RC_OK;
}

int16_t txn_marker_write(struct broker *b, struct partition *p, const struct txn_marker *m, uint64_t *ret_seq)
{
    struct err e = {0};
    const struct producers *ps = log_producers(partition_log(p), &e);
    const struct producer  *known = ps ? producers_find(ps, m->who.id) : NULL;

    if (!ps) return kafka_error_of(&e);
    if (known && m->who.epoch < known->epoch) return KAFKA_ERR_INVALID_PRODUCER_EPOCH;
    if (known && m->coordinator_epoch < known->coordinator_epoch) return KAFKA_ERR_TRANSACTION_COORDINATOR_FENCED;
    return append_marker(b, p, m, ret_seq, &e) ? kafka_error_of(&e) : KAFKA_ERR_NONE;
}

/* Our own: whatever an operator wrote there meanwhile, it must not keep the transaction from ending. */
static enum rc end_in(struct txns *ts, const struct txn *t, struct partition *p, struct err *e)
{
    const struct producers *ps = log_producers(partition_log(p), e);
    const struct producer  *known = ps ? producers_find(ps, t->producer_id) : NULL;
    struct txn_marker m = {{t->producer_id, t->epoch}, t->state == TXN_PREPARE_COMMIT, log_epoch(partition_log(p))};
    uint64_t seq = 0;

    if (!ps) return e->rc;
    if (known) {
        m.who.epoch = MAX(m.who.epoch, known->epoch);
        m.coordinator_epoch = MAX(m.coordinator_epoch, known->coordinator_epoch);
    }
    return append_marker(ts->broker, p, &m, &seq, e);
}

static void on_retry(struct timer *timer);

static void later(struct txns *ts, struct txn *t, const struct err *why)
{
    struct broker *b = ts->broker;

    diag(DIAG_WARN, "txn.not_completed", KV_STR("transactional_id", t->id), KV_CSTR("state", txn_state_name(t->state)), KV_CSTR("why", why->text));
    if (list_empty(&t->link)) list_push(&ts->unfinished, &t->link);
    if (timer_is_set(&ts->retry)) return;
    timer_set(b->timers, &ts->retry, broker_now_ms(b) + RETRY_MS + ts->retry_more_ms, on_retry);
    ts->retry_more_ms = MIN(2 * ts->retry_more_ms + RETRY_MS, (uint64_t)RETRY_MS_MAX);     /* a disk may stay away for long */
}

void txns_complete(struct txns *ts, struct txn *t)
{
    struct txn next = *t;
    struct err e = {0}, first = {0};

    for (size_t i = t->parts.n; i-- > 0;) {
        struct partition *p = broker_partition(ts->broker, t->parts.v[i].topic, t->parts.v[i].partition);

        if (p && end_in(ts, t, p, &e)) first = e;              /* a topic that is gone needs none */
        else txn_parts_remove(&t->parts, i);
    }
    txns_account(ts, t);
    if (t->parts.n) {
        later(ts, t, &first);
        return;
    }
    next.parts = (struct txn_parts){0};
    next.state = t->state == TXN_PREPARE_COMMIT ? TXN_COMPLETE_COMMIT : TXN_COMPLETE_ABORT;
    next.update_ms = broker_wall_ms(ts->broker);
    if (txns_persist(ts, t, &next, &e)) later(ts, t, &e);
    else ts->retry_more_ms = 0;
}

static void on_retry(struct timer *timer)
{
    struct txns *ts = container_of(timer, struct txns, retry);
    struct list  now, *it;

    list_move(&ts->unfinished, &now);
    while ((it = list_pop(&now))) {
        struct txn *t = container_of(it, struct txn, link);

        if (ts->broker->fatal) list_push(&ts->unfinished, it);
        else txns_complete(ts, t);
    }
}

enum rc txns_decide(struct txns *ts, struct txn *t, bool commit, bool fence, struct err *e)
{
    struct txn next = *t;
    size_t     room = (t->parts.n + 2) * (MARKER_BYTES + 256) + t->counted * 2;

    if (!ts->broker->fatal && !store_has_room(ts->broker->store, room))
        return err_set(e, RC_OVERLOAD, "the write-ahead log has no room for %zu markers now", t->parts.n);
    next.state = commit ? TXN_PREPARE_COMMIT : TXN_PREPARE_ABORT;
    next.update_ms = broker_wall_ms(ts->broker);
    if (fence) {
        next.last_epoch = -1;
        next.epoch = (int16_t)MIN(t->epoch + 1, INT16_MAX);
    }
    if (txns_persist(ts, t, &next, e)) return e->rc;
    *(commit ? &ts->committed : &ts->aborted) += 1;
    txns_complete(ts, t);
    return RC_OK;
}

/* ---- time ---- */

static void on_timeouts(struct timer *timer)
{
    struct txns   *ts = container_of(timer, struct txns, timeouts);
    struct broker *b = ts->broker;
    uint64_t       now_ms = broker_now_ms(b);
    struct txn    *t;
    struct err     e;

    for (size_t at = 0; !b->fatal && (t = txns_next(ts, &at));) {
        if (t->state != TXN_ONGOING || t->deadline_ms > now_ms) continue;
        diag(DIAG_INFO, "txn.timed_out", KV_STR("transactional_id", t->id), KV_I64("producer_id", t->producer_id), KV_I64("timeout_ms", t->timeout_ms));
        if (txns_decide(ts, t, false, true, &e)) break;        /* the next look comes back to it */
        ts->timed_out++;
    }
    timer_set(b->timers, timer, now_ms + (uint64_t)b->config.transaction_abort_interval_ms, on_timeouts);
}

static void on_expiry(struct timer *timer)
{
    struct txns   *ts = container_of(timer, struct txns, expiry);
    struct broker *b = ts->broker;
    int64_t        now_ms = broker_wall_ms(b);
    struct txn    *t;
    struct err     e;

    for (size_t at = 0; !b->fatal && (t = txns_next(ts, &at));) {
        if (t->state == TXN_ONGOING || txn_is_pending(t) || now_ms - t->update_ms < b->config.transactional_id_expiration_ms) continue;
        if (txns_persist(ts, t, NULL, &e)) break;
        diag(DIAG_INFO, "txn.expired", KV_STR("transactional_id", t->id));
        txns_entry_free(ts, t);
    }
    timer_set(b->timers, timer, broker_now_ms(b) + (uint64_t)b->config.transaction_expiry_interval_ms, on_expiry);
}

void txns_timers_start(struct txns *ts)
{
    struct broker *b = ts->broker;

    timer_set(b->timers, &ts->timeouts, broker_now_ms(b) + (uint64_t)b->config.transaction_abort_interval_ms, on_timeouts);
    timer_set(b->timers, &ts->expiry, broker_now_ms(b) + (uint64_t)b->config.transaction_expiry_interval_ms, on_expiry);
}
