/* SPDX-License-Identifier: Apache-2.0 */
#include "base/diag.h"
#include "broker/txns_core.h"
#include "kafka/errors.h"

enum { MEMORY_SHARE = 8 };                                     /* all ids together: this part of the broker's memory */

/* ---- the set ---- */

struct txn *txns_find(const struct txns *ts, struct str id)
{
    return map_get_str(&ts->by_id, id);
}

size_t txns_count(const struct txns *ts)
{
    return ts->by_id.n;
}

struct txn *txns_next(const struct txns *ts, size_t *at)
{
    struct bytes key;
    void        *t;

    return map_next(&ts->by_id, at, &key, &t) ? t : NULL;
}

void txns_stats(const struct txns *ts, struct txns_stats *ret)
{
    const struct txn *t;

    *ret = (struct txns_stats){.ids = ts->by_id.n, .committed = ts->committed, .aborted = ts->aborted, .timed_out = ts->timed_out};
    for (size_t at = 0; (t = txns_next(ts, &at));) {
        ret->open += t->state == TXN_ONGOING;
        ret->unfinished += txn_is_pending(t);
    }
}

void txns_account(struct txns *ts, struct txn *t)
{
    size_t bytes = sizeof *t + 2 * t->id.n + txn_parts_bytes(&t->parts);

    ts->bytes += bytes - t->counted;
    t->counted = bytes;
}

static bool has_room(const struct txns *ts, size_t more)
{
    return ts->bytes + more <= ts->broker->memory_max / MEMORY_SHARE;
}

struct txn *txns_entry_new(struct txns *ts, struct str id)
{
    struct txn *t = xnew(struct txn);
    char       *name = xnew_array(char, id.n + 1);

    memcpy(name, id.p, id.n);
    *t = (struct txn){.id = {name, id.n}, .producer_id = -1, .last_producer_id = -1, .epoch = -1, .last_epoch = -1, .start_ms = -1};
    list_init(&t->link);
    must(!map_put_str(&ts->by_id, t->id, t));
    txns_account(ts, t);
    return t;
}

void txns_entry_free(struct txns *ts, struct txn *t)
{
    must(map_del_str(&ts->by_id, t->id) == t);
    ts->bytes -= t->counted;
    list_remove(&t->link);
    txn_fini(t);
    free(t);
}

/* ---- records ---- */

int16_t txns_error(const struct err *e)
{
    if (e->rc == RC_OK) return KAFKA_ERR_NONE;
    return e->rc == RC_OVERLOAD ? KAFKA_ERR_COORDINATOR_LOAD_IN_PROGRESS : KAFKA_ERR_COORDINATOR_NOT_AVAILABLE;
}

int32_t txns_home(const struct txns *ts, struct str id)
{
    struct topic *t = broker_topic(ts->broker, TXNS_TOPIC);
    int32_t       n = t ? topic_partitions(t) : 0;

    return n > 0 ? kafka_partition_of_group(id, n) : -1;
}

bool txns_is_lost(const struct txns *ts, struct str id)
{
    int32_t home = ts->lost ? txns_home(ts, id) : -1;

    return home >= 0 && home < ts->lost_cap && ts->lost[home];
}

bool txns_any_is_lost(const struct txns *ts) { return ts->lost != NULL; }

static struct partition *partition_of(const struct txns *ts, struct str id)
{
    int32_t home = txns_home(ts, id);

    return home < 0 ? NULL : topic_partition(broker_topic(ts->broker, TXNS_TOPIC), home);
}

static enum rc append(struct txns *ts, struct txn *t, const struct txn *next, struct err *e)
{
    struct partition   *p = partition_of(ts, t->id);
    struct log_appended done;
    struct batch_builder w;
    struct bytes         view;

    if (!p) return err_set(e, RC_UNAVAILABLE, "__transaction_state does not exist");
    buf_clear(&ts->batch);
    batch_begin(&w, &ts->batch, NULL);
    txn_record_add(&w, t->id, next, broker_wall_ms(ts->broker));
    if (batch_end(&w, ts->codecs, &view, e) || partition_append(p, ts->batch.p, ts->batch.n, LOG_APPEND_RESERVED, &done, e)) return e->rc;
    t->seq = done.seq;
    return RC_OK;
}

enum rc txns_persist(struct txns *ts, struct txn *t, const struct txn *next, struct err *e)
{
    if (append(ts, t, next, e)) {
        diag(DIAG_WARN, "txn.not_written", KV_STR("transactional_id", t->id), KV_CSTR("why", e->text));
        return e->rc;
    }
    if (!next) return RC_OK;
    t->producer_id = next->producer_id;
    t->last_producer_id = next->last_producer_id;
    t->epoch = next->epoch;
    t->last_epoch = next->last_epoch;
    t->timeout_ms = next->timeout_ms;
    t->start_ms = next->start_ms;
    t->update_ms = next->update_ms;
    t->deadline_ms = next->deadline_ms;
    if (t->state != next->state) txn_move(t, next->state);
    if (!next->parts.n) txn_parts_clear(&t->parts);
    txns_account(ts, t);
    return RC_OK;
}

/* ---- InitProducerId ---- */

/* A producer that starts: with the id it has, or a new one. */
static int16_t begin(struct txns *ts, struct txn *t, int32_t timeout_ms, bool rotate, bool known_to_client)
{
    struct txn next = *t;
    uint64_t   seq;
    struct err e = {0};

    next.state = TXN_EMPTY;
    next.parts = (struct txn_parts){0};
    next.timeout_ms = timeout_ms;
    next.update_ms = broker_wall_ms(ts->broker);
    next.last_epoch = known_to_client ? t->epoch : -1;
    next.last_producer_id = t->producer_id;
    next.epoch = (int16_t)(t->epoch + 1);
    if (rotate) {
        if (broker_producer_id(ts->broker, &next.producer_id, &seq, &e)) return txns_error(&e);
        next.epoch = 0;
    }
    return txns_persist(ts, t, &next, &e) ? txns_error(&e) : KAFKA_ERR_NONE;
}

static int16_t first_time(struct txns *ts, struct str id, int32_t timeout_ms, struct txn **ret)
{
    struct err e = {0};
    uint64_t   seq;
    int16_t    code;

    if (txns_topic(ts, &seq, &e)) return txns_error(&e);
    if (!has_room(ts, sizeof **ret + 2 * id.n)) return KAFKA_ERR_COORDINATOR_NOT_AVAILABLE;
    *ret = txns_entry_new(ts, id);
    if ((code = begin(ts, *ret, timeout_ms, true, false))) txns_entry_free(ts, *ret);
    return code;
}

static int16_t fence(struct txns *ts, struct txn *t)
{
    struct err e = {0};

    return txns_decide(ts, t, false, true, &e) ? txns_error(&e) : KAFKA_ERR_CONCURRENT_TRANSACTIONS;
}

int16_t txns_init_producer(struct txns *ts, struct str id, int32_t timeout_ms, struct producer_ident have, struct producer_ident *ret, uint64_t *ret_seq)
{
    struct txn *t = txns_find(ts, id);
    int16_t     code = KAFKA_ERR_NONE;

    if (timeout_ms <= 0 || timeout_ms > ts->broker->config.transaction_max_timeout_ms) return KAFKA_ERR_INVALID_TRANSACTION_TIMEOUT;
    if (txns_is_lost(ts, id)) return KAFKA_ERR_COORDINATOR_NOT_AVAILABLE;
    if (!t) {
        code = first_time(ts, id, timeout_ms, &t);
    } else {
        switch (txn_check_init(t, have.id, have.epoch, &code)) {
        case TXN_INIT_REFUSE:
        case TXN_INIT_REPEAT: break;
        case TXN_INIT_BUMP: code = begin(ts, t, timeout_ms, false, have.epoch >= 0); break;
        case TXN_INIT_ROTATE: code = begin(ts, t, timeout_ms, true, have.epoch >= 0); break;
        case TXN_INIT_FENCE: code = fence(ts, t); break;
        }
    }
    if (code) return code;
    *ret = (struct producer_ident){t->producer_id, t->epoch};
    *ret_seq = t->seq;
    return KAFKA_ERR_NONE;
}

/* ---- AddPartitionsToTxn, AddOffsetsToTxn ---- */

static void take_back(struct txn *t, const struct txn_part *parts, const bool *added, size_t n)
{
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; added[i] && k < t->parts.n; k++)
            if (t->parts.v[k].partition == parts[i].partition && str_eq(t->parts.v[k].topic, parts[i].topic)) {
                txn_parts_remove(&t->parts, k);
                break;
            }
}

static struct txn opened(const struct txns *ts, const struct txn *t)
{
    struct txn next = *t;

    next.update_ms = broker_wall_ms(ts->broker);
    next.last_producer_id = t->producer_id;                    /* the answer to InitProducerId has arrived */
    if (t->state == TXN_ONGOING) return next;
    next.state = TXN_ONGOING;
    next.start_ms = next.update_ms;
    next.deadline_ms = broker_now_ms(ts->broker) + (uint64_t)t->timeout_ms;
    return next;
}

static int16_t not_there(const struct txns *ts, struct str id)
{
    return txns_is_lost(ts, id) ? KAFKA_ERR_COORDINATOR_NOT_AVAILABLE : KAFKA_ERR_INVALID_PRODUCER_ID_MAPPING;
}

int16_t txns_add(struct txns *ts, struct str id, struct producer_ident who, const struct txn_part *parts, size_t n, uint64_t *ret_seq)
{
    struct txn *t = txns_find(ts, id), next;
    bool       *added, any = false;
    struct err  e = {0};
    int16_t     code;

    if (!t) return not_there(ts, id);
    if ((code = txn_check_add(t, who.id, who.epoch))) return code;
    if (!has_room(ts, n * sizeof *parts)) return KAFKA_ERR_COORDINATOR_NOT_AVAILABLE;
    added = xnew_array(bool, n + 1);
    for (size_t i = 0; i < n; i++)
        any |= added[i] = txn_parts_add(&t->parts, parts[i].topic, parts[i].partition);
    next = opened(ts, t);
    if ((any || t->state != TXN_ONGOING) && txns_persist(ts, t, &next, &e)) {
        take_back(t, parts, added, n);
        code = txns_error(&e);
    }
    free(added);
    *ret_seq = t->seq;
    return code;
}

/* ---- Produce, TxnOffsetCommit ---- */

int16_t txns_verify(const struct txns *ts, struct str id, struct producer_ident who, struct str topic, int32_t partition)
{
    const struct txn *t = txns_find(ts, id);
    int16_t           code;

    if (!id.n) return KAFKA_ERR_INVALID_REQUEST;
    if (!t) return not_there(ts, id);
    if ((code = txn_check_producer(t, who.id, who.epoch))) return code;
    if (txn_is_pending(t)) return KAFKA_ERR_CONCURRENT_TRANSACTIONS;
    if (t->state != TXN_ONGOING || !txn_parts_has(&t->parts, topic, partition)) return KAFKA_ERR_TRANSACTION_ABORTABLE;
    return KAFKA_ERR_NONE;
}

/* ---- EndTxn ---- */

int16_t txns_end(struct txns *ts, struct str id, struct producer_ident who, bool commit, uint64_t *ret_seq)
{
    struct txn *t = txns_find(ts, id);
    struct err  e = {0};
    bool        done;
    int16_t     code;

    if (!t) return not_there(ts, id);
    if ((code = txn_check_end(t, who.id, who.epoch, commit, &done))) return code;
    if (!done && txns_decide(ts, t, commit, false, &e)) return txns_error(&e);
    *ret_seq = t->seq;
    return KAFKA_ERR_NONE;
}
