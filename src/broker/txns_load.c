/* The topic behind the coordinator, and reading it at a start: what the last record of an id says holds. A transaction that was decided is
 * completed, one that was open goes on, with what was left of its time. SPDX-License-Identifier: Apache-2.0 */
#include "base/diag.h"
#include "broker/txns_core.h"
#include "kafka/compress.h"
#include <stdio.h>

enum { RECORD_BYTES_MAX = 256 << 20 };

enum rc txns_topic(struct txns *ts, uint64_t *ret_seq, struct err *e)
{
    struct broker *b = ts->broker;
    struct topic  *t = broker_topic(b, TXNS_TOPIC);
    char           segment[24];
    struct broker_setting configs[] = {{STR("cleanup.policy"), STR("compact")}, {STR("compression.type"), STR("uncompressed")}, {STR("segment.bytes"), {0}}};
    struct broker_topic_spec spec = {.name = TXNS_TOPIC, .partitions = b->config.transaction_topic_partitions, .replication = 1,
                                     .configs = configs, .configs_n = countof(configs), .internal = true};

    snprintf(segment, sizeof segment, "%lld", (long long)b->config.transaction_topic_segment_bytes);
    configs[2].value = str_of(segment);
    *ret_seq = t ? topic_seq(t) : 0;
    return t ? RC_OK : broker_topic_create(b, &spec, &t, ret_seq, e);
}

static void set_deadline(struct txns *ts, struct txn *t)
{
    int64_t now = broker_wall_ms(ts->broker);
    int64_t gone = t->start_ms >= 0 && t->start_ms < now ? now - t->start_ms : 0;       /* a clock that was put back, a record that makes no sense */
    int64_t left = MAX((int64_t)0, MIN((int64_t)t->timeout_ms, (int64_t)t->timeout_ms - gone));

    t->deadline_ms = broker_now_ms(ts->broker) + (uint64_t)left;
}

static enum rc load_record(struct txns *ts, const struct record *rec, struct arena *a, struct err *e)
{
    struct txn *t, found = {0};
    struct str  id;
    bool        gone;
    enum rc     rc = txn_record_decode(rec, a, &found, &id, &gone, e);

    if (rc) {
        txn_fini(&found);
        return rc;
    }
    if ((t = txns_find(ts, id))) txns_entry_free(ts, t);
    if (gone) return RC_OK;
    t = txns_entry_new(ts, id);
    t->producer_id = t->last_producer_id = found.producer_id;
    t->epoch = found.epoch;
    t->timeout_ms = found.timeout_ms;
    t->state = found.state;
    t->parts = found.parts;
    t->start_ms = found.start_ms;
    t->update_ms = found.update_ms;
    txns_account(ts, t);
    return RC_OK;
}

static enum rc load_batch(void *ctx, const struct batch *b, struct err *e)
{
    AUTO(buf_fini) struct buf scratch = {0};
    AUTO(arena_fini) struct arena a = {0};
    struct txns   *ts = ctx;
    struct records it;
    struct record  rec;

    if (batch_is(b, BATCH_CONTROL)) return RC_OK;
    if (!records_open(&it, b, ts->codecs, RECORD_BYTES_MAX, &scratch))
        while (records_next(&it, &rec)) {
            if (load_record(ts, &rec, &a, e)) diag(DIAG_WARN, "txn.unreadable", KV_I64("offset", rec.offset), KV_CSTR("why", e->text));
            arena_reset(&a);
        }
    if (it.fault == BATCH_OK) return RC_OK;
    return err_set(e, RC_CORRUPT, "batch at offset %lld: %s", (long long)b->base_offset, batch_fault_name(it.fault));
}

static void go_on(struct txns *ts)
{
    struct txn *t;

    for (size_t at = 0; (t = txns_next(ts, &at));) {
        if (t->state == TXN_ONGOING) set_deadline(ts, t);
        else if (txn_is_pending(t)) txns_complete(ts, t);
    }
}

/* What was read of a partition before its damage may be out of date: none of it counts. */
static void lose(struct txns *ts, int32_t partition, int32_t partitions, const struct err *why)
{
    struct txn *t;

    if (!ts->lost) {
        ts->lost = xnew_array(bool, (size_t)partitions);
        ts->lost_cap = partitions;
    }
    ts->lost[partition] = true;
    for (size_t at = 0; (t = txns_next(ts, &at));)
        if (txns_home(ts, t->id) == partition) txns_entry_free(ts, t);
    diag(DIAG_ERROR, "txn.partition_lost", KV_I64("partition", partition), KV_CSTR("why", why->text),
         KV_CSTR("consequence", "its transactional ids are not available; stop, and run: millrace log verify --repair"));
}

enum rc txns_new(struct broker *b, struct txns **ret, struct err *e)
{
    struct txns  *ts = xnew(struct txns);
    struct topic *t = broker_topic(b, TXNS_TOPIC);

    ts->broker = b;
    list_init(&ts->unfinished);
    ts->codecs = codecs_new();
    for (int32_t i = 0; t && i < topic_partitions(t); i++)
        if (partition_scan(topic_partition(t, i), load_batch, ts, e)) {
            if (e->rc == RC_CORRUPT || e->rc == RC_IO) {
                lose(ts, i, topic_partitions(t), e);
                continue;
            }
            err_in(e, "__transaction_state: partition %d", i);
            txns_free(ts);
            return e->rc;
        }
    go_on(ts);
    txns_timers_start(ts);
    *ret = ts;
    return RC_OK;
}

struct txns *txns_free(struct txns *ts)
{
    struct txn *t;

    if (!ts) return NULL;
    for (size_t at = 0; (t = txns_next(ts, &at)); at = 0) txns_entry_free(ts, t);
    timer_cancel(ts->broker->timers, &ts->timeouts);
    timer_cancel(ts->broker->timers, &ts->expiry);
    timer_cancel(ts->broker->timers, &ts->retry);
    map_fini(&ts->by_id);
    buf_fini(&ts->batch);
    free(ts->lost);
    codecs_free(ts->codecs);
    free(ts);
    return NULL;
}
