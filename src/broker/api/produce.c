/* Produce (key 0). The partitions are taken one after the other: checked in Kafka's order, appended, and their rows filled.
 * The answer leaves when the wal covers the last of them; an idempotent duplicate waits for its original.
 *
 * Batches stay in the transport's buffer and are patched there. One above LOG_BATCH_INLINE_MAX is checked and written to a
 * file by a worker, a compressed one of some size is read (and where the topic wants it compressed anew) by a worker, and one for which the wal has no room waits for it: meanwhile the request owns its frame and is parked.   SPDX-License-Identifier: Apache-2.0
 */
#include "kafka/msg/produce.h"
#include "base/diag.h"
#include "broker/api.h"
#include "broker/api/old_sets.h"
#include "broker/api/produce_check.h"
#include "broker/api/seen.h"
#include "broker/store.h"
#include "broker/validate.h"
#include "sys/worker.h"
#include <stdio.h>

enum {
    EXPANDED_BYTES_MAX = 1 << 30,
    OLD_FORMATS_BELOW = 3,
    WORKER_FROM_BYTES = 64 << 10, /* compressed batches from here on are read on a worker */
    LOOP_EXPANDED_BYTES = 4 << 20, /* what expands to more is for a worker, too; and what a request has behind so much */
    SIDE_BY_SIDE_BYTES = 32 << 20, /* what expands to more is looked at one after the other */
    TOPICS_COMPARED_MAX = 8,
    ROOM_SPARE_BYTES = 4096
}; /* a batch that is built anew may be a little larger */

struct large {        /* one batch on a worker */
    struct list link; /* in broker.produces_large */
    struct work work;
    struct log_large file;
    struct produce *of; /* NULL: the client is gone */
    struct partition *to;
    struct batch_rules rules;
    struct batch_verdict verdict;
    size_t expanded_bytes_max; /* in the end */
    struct broker *broker;
    uint64_t reserved;    /* memory that came with the frame */
    uint64_t us;          /* of the worker that read it */
    bool small;           /* of the size of most: no file, it only took a worker to read it */
    bool crc_ok, written; /* written: to its file, and waits for room in the wal */
};

struct produce {
    struct list link; /* in broker.produces_held, for room in the wal */
    struct request *r;
    struct produce_request *q;
    struct produce_response a;
    size_t topic, at; /* the next to be taken */
    uint64_t seq;
    bool failed;      /* any row */
    int16_t refusal;  /* of the whole request */
    struct buf frame; /* ours while parked, or where message sets were converted */
    int16_t **old_codes; /* by topic and partition: why a message set of an old format could not be converted; NULL: there was none */
    uint64_t reserved;
    struct large *large;
    size_t expanded;       /* bytes that its compressed batches had on the loop, or that were compressed there */
    bool named;            /* the client id is a copy */
    bool held, frame_gone; /* frame_gone: the last batch took it along */
};

static void row_error(struct produce *p, struct produce_response_partition *row, int16_t code)
{
    row->error_code = code;
    row->base_offset = row->log_append_time_ms = -1;
    p->failed = true;
    p->r->broker->stats.produce_errors++;
}

static struct str text_dup(struct produce *p, const char *s)
{
    return arena_dup_str(&p->r->arena, str_of(s));
}

/* ---- before anything is looked at in a log ---- */

static int16_t check_before_log(struct produce *p, struct partition *to,
                                const struct produce_request_partition *q, struct batch *b)
{
    bool short_length = batch_view(q->records, b) == BATCH_LENGTH_SHORT;
    int16_t code;

    if (p->refusal) return p->refusal;
    if (!to) return KAFKA_ERR_UNKNOWN_TOPIC_OR_PARTITION;
    if (p->old_codes && (code = p->old_codes[p->topic][p->at])) return code;
    if (!short_length && (code = produce_check_structure(p->r, q, b))) return code;
    if (!short_length && (code = produce_check_in_txn(p->r, p->q->transactional_id, to, b))) return code;
    if (p->q->acks < -1 || p->q->acks > 1) return KAFKA_ERR_INVALID_REQUIRED_ACKS;
    if (to->topic->internal) return KAFKA_ERR_INVALID_TOPIC_EXCEPTION;
    return short_length ? KAFKA_ERR_CORRUPT_MESSAGE : 0;
}

/* ---- one batch ---- */

static struct batch_rules rules_of(const struct broker *b, const struct topic *t)
{
    const struct topic_config *c = &t->config;
    struct batch_rules rules = {.now_ms = broker_wall_ms(b),
                                .before_max_ms = c->timestamp_before_max_ms,
                                .after_max_ms = c->timestamp_after_max_ms,
                                .compacted = (c->log.cleanup & LOG_CLEANUP_COMPACT) != 0,
                                .log_append_time = c->log_append_time,
                                .codec = c->compression,
                                /* a small batch must not unpack to more than all peers together may hold */
                                .expanded_bytes_max = MIN((size_t)EXPANDED_BYTES_MAX, (size_t)b->memory_max)};

    memcpy(rules.levels, c->compression_level, sizeof rules.levels);
    return rules;
}

static void row_verdict(struct produce *p, struct produce_response_partition *row,
                        struct partition *to, const struct batch_verdict *v)
{
    size_t n = MIN(v->faults_n, (size_t)RECORD_FAULTS_TOLD);

    row_error(p, row, v->code);
    row->log_start_offset = partition_start(to);
    row->record_errors = arena_array(&p->r->arena, struct produce_response_record_error, n);
    row->record_errors_n = n;
    for (size_t i = 0; i < n; i++) {
        row->record_errors[i].batch_index = v->faults[i].index;
        row->record_errors[i].batch_index_error_message =
            str_of(record_fault_text(v->faults[i].fault));
    }
    if (v->faults_n)
        row->error_message = arena_printf(
            &p->r->arena, "%zu records are refused, and so is the batch; the first %zu are listed",
            v->faults_n, n);
    else if (v->why)
        row->error_message = text_dup(p, v->why);
}

static int16_t code_of(const struct err *e)
{
    return e->rc == RC_TOO_LARGE  ? KAFKA_ERR_RECORD_LIST_TOO_LARGE
           : e->rc == RC_OVERLOAD ? KAFKA_ERR_REQUEST_TIMED_OUT
                                  : kafka_error_of(e);
}

/* Told once a minute of each client and topic: it may go on for as long as the disk is full. */
static void row_failed(struct produce *p, struct produce_response_partition *row,
                       const struct partition *to, const struct err *e)
{
    char what[100];

    row_error(p, row, code_of(e));
    row->error_message = text_dup(p, e->text);
    snprintf(what, sizeof what, "%s " STR_FMT, rc_name(e->rc), STR_ARG(to->topic->name));
    if (!trouble_is_new(p->r->broker, what, p->r->conn)) return;
    diag(DIAG_WARN, "broker.append_failed", KV_STR("topic", to->topic->name),
         KV_I64("partition", to->number), KV_CSTR("why", e->text));
}

/* False: the row is filled already (a duplicate, or refused). */
static bool check_producer(struct produce *p, struct partition *to, const struct batch *b,
                           struct produce_response_partition *row)
{
    struct producer_batch pb = {.producer_id = b->producer_id,
                                .epoch = b->producer_epoch,
                                .base_sequence = b->base_sequence,
                                .last_offset_delta = b->last_offset_delta,
                                .transactional = batch_is(b, BATCH_TRANSACTIONAL)};
    struct producer_verdict v;
    struct err e;

    if (b->producer_id < 0) return true;
    row->log_start_offset = partition_start(to);
    if (b->producer_id == BROKER_BUS_PRODUCER_ID) {
        row_error(p, row, KAFKA_ERR_INVALID_PRODUCER_ID_MAPPING);
        return false;
    }
    if (log_producer_check(partition_log(to), &pb, &v, &e)) {
        row_failed(p, row, to, &e);
        return false;
    }
    switch (v.decision) {
    case PRODUCER_NEW:
        if (b->base_sequence <= 0 || !produce_comes_too_early(to, b)) return true;
        row_error(p, row, KAFKA_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER);
        return false;
    case PRODUCER_DUPLICATE:
        row->base_offset = v.base_offset;
        row->log_append_time_ms = v.timestamp;
        p->seq = MAX(p->seq, v.seq);
        return false;
    case PRODUCER_OUT_OF_ORDER:
        row_error(p, row, KAFKA_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER);
        return false;
    case PRODUCER_FENCED: row_error(p, row, KAFKA_ERR_INVALID_PRODUCER_EPOCH); return false;
    case PRODUCER_IN_TXN: row_error(p, row, KAFKA_ERR_INVALID_TXN_STATE); return false;
    }
    return false;
}

static void row_appended(struct produce *p, struct produce_response_partition *row,
                         struct partition *to, const struct log_appended *at, size_t n,
                         int32_t records, int64_t append_time)
{
    struct broker *b = p->r->broker;

    row->base_offset = at->base_offset;
    row->log_append_time_ms = append_time;
    row->log_start_offset = partition_start(to);
    p->seq = MAX(p->seq, at->seq);
    b->stats.produce_bytes += n;
    b->stats.produce_batches++;
    to->topic->records_in += (uint64_t)records;
}

/* Puts right in place what Kafka puts right, and stamps the time where the topic asks for it. Returns that time, or -1. */
static int64_t adjust(uint8_t *raw, const struct batch *b, const struct batch_rules *rules,
                      int64_t max_timestamp)
{
    if (rules->log_append_time) {
        batch_set_log_append_time(raw, b->raw.n, rules->now_ms);
        return rules->now_ms;
    }
    if (batch_is(b, BATCH_LOG_APPEND_TIME))
        batch_set_create_time(raw, b->raw.n, max_timestamp);
    else if (max_timestamp != b->max_timestamp)
        batch_set_max_timestamp(raw, b->raw.n, max_timestamp);
    return -1;
}

static void append(struct produce *p, struct partition *to, const struct batch *b,
                   const struct batch_rules *rules, int64_t max_timestamp,
                   struct produce_response_partition *row)
{
    uint8_t *raw = (uint8_t *)(uintptr_t)b->raw.p; /* the transport lets us patch its buffer */
    struct log_appended at;
    int64_t time = adjust(raw, b, rules, max_timestamp);
    struct err e;

    if (partition_append(to, raw, b->raw.n, 0, &at, &e))
        row_failed(p, row, to, &e);
    else
        row_appended(p, row, to, &at, b->raw.n, b->record_count, time);
}

/* The size that is stored counts as well as the one that was sent. */
static int16_t check_stored(const struct partition *to, size_t n)
{
    if ((int64_t)n > to->topic->config.max_message_bytes) return KAFKA_ERR_MESSAGE_TOO_LARGE;
    return n > to->topic->config.log.segment_bytes ? KAFKA_ERR_RECORD_LIST_TOO_LARGE : 0;
}

static void append_rebuilt(struct produce *p, struct partition *to, const struct batch *b,
                           const struct batch_rules *rules, int64_t max_timestamp,
                           struct produce_response_partition *row)
{
    AUTO(buf_fini) struct buf anew = {0};
    struct broker *br = p->r->broker;
    struct batch fresh;
    struct err e;
    int16_t code;

    if (batch_rebuild(b, rules, br->codecs, &br->scratch, &anew, &e) ||
        batch_view(buf_view(&anew), &fresh)) {
        row_failed(p, row, to, &e);
        return;
    }
    if ((code = check_stored(to, anew.n))) {
        row_error(p, row, code);
        return;
    }
    append(p, to, &fresh, rules, max_timestamp, row);
}

/* The checks from the log's side on. 0: goes on. */
static int16_t check_size(const struct partition *to, const struct batch *b)
{
    if (b->base_offset != 0) return KAFKA_ERR_INVALID_RECORD;
    if ((int64_t)b->raw.n > to->topic->config.max_message_bytes) return KAFKA_ERR_MESSAGE_TOO_LARGE;
    return 0;
}

static void large_start(struct produce *p, struct partition *to, const struct batch *b);

/* What reading it cost the loop, in bytes; that it failed does not make it cheap. */
static size_t cost_of(const struct batch *b, const struct batch_verdict *v, const struct buf *expanded)
{
    if (batch_codec(b) == KAFKA_CODEC_NONE) return v->rebuild ? b->raw.n : 0;
    return v->code && !expanded->n ? LOOP_EXPANDED_BYTES : expanded->n;
}

/* False: the wal is full, and nothing has happened. */
static bool take_small(struct produce *p, struct partition *to, const struct batch *b,
                       struct produce_response_partition *row)
{
    struct broker *br = p->r->broker;
    struct batch_rules rules = rules_of(br, to->topic);
    struct batch_verdict v;

    if (!br->fatal && !store_has_room(br->store, b->raw.n + ROOM_SPARE_BYTES)) return false;
    if (!batch_crc_ok(b)) {
        row_error(p, row, KAFKA_ERR_CORRUPT_MESSAGE);
        return true;
    }
    if (b->raw.n > to->topic->config.log.segment_bytes) {
        row_error(p, row, KAFKA_ERR_RECORD_LIST_TOO_LARGE);
        return true;
    }
    rules.expanded_bytes_max = MIN(rules.expanded_bytes_max, (size_t)LOOP_EXPANDED_BYTES);
    buf_clear(&br->scratch);
    batch_validate(b, &rules, br->codecs, &br->scratch, &v);
    p->expanded += cost_of(b, &v, &br->scratch);
    if (br->scratch.cap > SCRATCH_KEPT_BYTES) buf_fini(&br->scratch);
    if (v.too_large) {
        large_start(p, to, b);
        return true;
    }
    if (v.code) {
        row_verdict(p, row, to, &v);
        return true;
    }
    if (!check_producer(p, to, b, row)) return true;
    if (v.rebuild)
        append_rebuilt(p, to, b, &rules, v.max_timestamp, row);
    else
        append(p, to, b, &rules, v.max_timestamp, row);
    return true;
}

/* ---- large ones ---- */

static void go_on(struct produce *p);

void produces_gone(struct partition *to)
{
    list_each(it, &to->topic->broker->produces_large)
    {
        struct large *g = container_of(it, struct large, link);

        if (g->to == to) g->to = NULL;
    }
}

static struct produce_response_partition *row_now(struct produce *p)
{
    struct produce_response_topic *t = &p->a.topics[p->topic];

    return &t->partitions[t->partitions_n - 1];
}

static void large_free(struct large *g)
{
    if (g->reserved) memory_release(g->broker, g->reserved);
    log_large_free(&g->file);
    buf_fini(&g->file.batch);
    free(g);
}

static enum rc large_rebuild(struct large *g, const struct batch *b, struct codecs *codecs,
                             struct buf *scratch)
{
    struct buf anew = {0};

    g->file.rc = batch_rebuild(b, &g->rules, codecs, scratch, &anew, &g->file.err);
    if (g->file.rc) {
        buf_fini(&anew);
        return g->file.rc;
    }
    buf_fini(&g->file.batch);
    g->file.batch = anew;
    return RC_OK;
}

static void large_look(struct large *g)
{
    AUTO(buf_fini) struct buf scratch = {0};
    AUTO(codecs_freep) struct codecs *codecs = codecs_new();
    struct batch b;

    if (batch_view(buf_view(&g->file.batch), &b)) return;
    if (!(g->crc_ok = batch_crc_ok(&b))) return;
    batch_validate(&b, &g->rules, codecs, &scratch, &g->verdict);
    if (g->verdict.code) return;
    if (g->verdict.rebuild && large_rebuild(g, &b, codecs, &scratch)) return;
    must(batch_view(buf_view(&g->file.batch), &b) == BATCH_OK);
    (void)adjust(g->file.batch.p, &b, &g->rules, g->verdict.max_timestamp);
}

static void large_check(struct work *w)
{
    struct large *g = container_of(w, struct large, work);
    uint64_t begun_us = clock_mono_us(g->broker->clock);

    large_look(g);
    g->us += clock_mono_us(g->broker->clock) - begun_us;
}

static void large_end(struct large *g)
{
    struct produce *p = g->of;

    list_remove(&g->link);
    g->broker->jobs_n--;
    if (p) p->large = NULL;
    if (p) p->r->aside_us += g->us + g->file.us;
    large_free(g);
    if (p) go_on(p);
}

/* In its file: now its record, when the wal has room. */
static void large_append(struct large *g)
{
    struct produce *p = g->of;
    struct produce_response_partition *row = p ? row_now(p) : NULL;
    struct log_appended at;
    struct batch b = {0};
    struct err e = g->file.err;
    size_t n = g->file.batch.n;
    enum rc rc = g->file.rc;
    int16_t code;

    (void)batch_view(buf_view(&g->file.batch), &b);
    if (!p || !g->to) { /* nobody waits, or the topic is gone */
        if (p) row_error(p, row, KAFKA_ERR_UNKNOWN_TOPIC_OR_PARTITION);
    } else if (rc) {
        row_failed(p, row, g->to, &e);
    } else if ((code = produce_check_in_txn(p->r, p->q->transactional_id, g->to, &b))) { /* it may have ended meanwhile */
        row_error(p, row, code);
    } else if (check_producer(p, g->to, &b, row)) {
        rc = g->small ? partition_append(g->to, g->file.batch.p, n, 0, &at, &e)
                      : log_large_append(partition_log(g->to), &g->file, 0, &at, &e);
        if ((g->written = rc == RC_OVERLOAD)) return;
        if (rc)
            row_failed(p, row, g->to, &e);
        else
            row_appended(p, row, g->to, &at, n, b.record_count,
                         g->rules.log_append_time ? g->rules.now_ms : -1);
    }
    large_end(g);
}

static void large_written(struct log_large *file)
{
    large_append(file->ctx);
}

static int16_t large_code(const struct large *g)
{
    if (!g->to) return KAFKA_ERR_UNKNOWN_TOPIC_OR_PARTITION;
    return g->crc_ok ? check_stored(g->to, g->file.batch.n) : KAFKA_ERR_CORRUPT_MESSAGE;
}

/* A bomb, or honest but very large: one at a time, so that together they take no more than one may. */
static bool large_again(struct large *g)
{
    if (!g->of || !g->verdict.too_large) return false; /* nobody waits for it any more */
    if (g->rules.expanded_bytes_max == g->expanded_bytes_max) return false;
    g->rules.expanded_bytes_max = g->expanded_bytes_max;
    g->work.lane = LANE_UNPACK;
    workers_submit(g->broker->opt.workers, &g->work);
    return true;
}

static void large_checked(struct work *w)
{
    struct large *g = container_of(w, struct large, work);
    struct produce *p = g->of;
    int16_t code = large_code(g);

    if (large_again(g)) return;
    if (p && !code && !g->verdict.code && !g->file.rc) {
        g->small = g->file.batch.n <= store_inline_now(g->broker->store);
        if (g->small)
            large_append(g);
        else
            log_large_prepare(partition_log(g->to), &g->file);
        return;
    }
    if (p && g->crc_ok && g->to && g->verdict.code)
        row_verdict(p, row_now(p), g->to, &g->verdict);
    else if (p && code)
        row_error(p, row_now(p), code);
    else if (p)
        row_failed(p, row_now(p), g->to, &g->file.err);
    large_end(g);
}

/* The views of what is still to be taken follow the bytes to where they were copied. */
static void views_move(struct produce *p, const uint8_t *from)
{
    for (size_t i = p->topic; i < p->q->topics_n; i++)
        for (size_t k = 0; k < p->q->topics[i].partitions_n; k++) {
            struct bytes *v = &p->q->topics[i].partitions[k].records;

            if (v->p) v->p = p->frame.p + (v->p - from);
        }
    for (size_t i = p->topic; i < p->q->topics_n; i++)
        p->q->topics[i].name = p->a.topics[i].name;
}

/* The frame becomes ours: the buffer itself where it is one of its own, else a copy. */
static void frame_take(struct produce *p)
{
    struct request *r = p->r;

    if (!p->named) r->h.client_id = arena_dup_str(&r->arena, r->h.client_id);
    p->named = true;
    if (p->frame.p || p->frame_gone) return;
    if (r->frame_owner && r->frame_owner->p == r->frame) {
        p->frame = buf_take(r->frame_owner);
    } else {
        buf_append(&p->frame, (struct bytes){r->frame, r->frame_n});
    }
    views_move(p, r->frame);
    p->reserved = p->frame.n;
    memory_keep(r->broker, p->reserved);
}

/* The last batch of a request gets the frame's buffer, others a copy. */
static void batch_take(struct produce *p, struct large *g, const struct batch *b)
{
    bool last = p->topic + 1 == p->q->topics_n && p->at + 1 == p->q->topics[p->topic].partitions_n;
    size_t n = b->raw.n;
    const uint8_t *at;

    frame_take(p);
    at = p->q->topics[p->topic].partitions[p->at].records.p;
    if (!last) {
        buf_append(&g->file.batch, (struct bytes){at, n});
        return;
    }
    buf_consume(&p->frame, (size_t)(at - p->frame.p));
    p->frame.n = n;
    g->file.batch = buf_take(&p->frame);
    p->frame_gone = true;
    g->reserved = p->reserved;
    p->reserved = 0;
}

static void large_start(struct produce *p, struct partition *to, const struct batch *b)
{
    struct large *g = xnew(struct large);
    struct broker *br = p->r->broker;

    batch_take(p, g, b);
    g->of = p;
    g->to = to;
    g->broker = br;
    g->rules = rules_of(br, to->topic);
    g->expanded_bytes_max = g->rules.expanded_bytes_max;
    g->rules.expanded_bytes_max = MIN(g->expanded_bytes_max, (size_t)SIDE_BY_SIDE_BYTES);
    if (b->raw.n > store_inline_max(br->store))
        g->rules.codec = -1; /* stored as it came, whatever compression.type says */
    g->file.done = large_written;
    g->file.ctx = g;
    g->file.clock = br->clock;
    g->work = (struct work){.run = large_check, .done = large_checked, .reply_to = br->mailbox};
    p->large = g;
    list_push(&br->produces_large, &g->link);
    br->jobs_n++;
    workers_submit(br->opt.workers, &g->work);
}

/* ---- the request ---- */

/* Decompressing it, or compressing it anew, is nothing for the loop: it is large, or one of too many. */
static bool is_long_work(const struct produce *p, const struct partition *to, const struct batch *b)
{
    int32_t codec = to->topic->config.compression;

    return (b->raw.n >= WORKER_FROM_BYTES || p->expanded >= LOOP_EXPANDED_BYTES) &&
           (batch_codec(b) != KAFKA_CODEC_NONE || (codec >= 0 && codec != KAFKA_CODEC_NONE));
}

/* False: the wal is full, and nothing has happened. */
static bool take(struct produce *p, const struct produce_request_topic *t,
                 const struct produce_request_partition *q, struct produce_response_partition *row)
{
    struct partition *to = broker_partition(p->r->broker, t->name, q->index);
    struct batch b;
    int16_t code;

    produce_response_partition_init_defaults(row);
    row->index = q->index;
    row->base_offset = -1;
    if (!request_allows_topic(p->r, ACL_WRITE, t->name)) {
        row_error(p, row, KAFKA_ERR_TOPIC_AUTHORIZATION_FAILED);
        return true;
    }
    if ((code = check_before_log(p, to, q, &b))) {
        row_error(p, row, code);
        return true;
    }
    if ((code = check_size(to, &b))) {
        row_error(p, row, code);
        if (code == KAFKA_ERR_INVALID_RECORD) row->log_start_offset = partition_start(to);
        return true;
    }
    if (b.raw.n <= store_inline_now(to->topic->broker->store) && !is_long_work(p, to, &b))
        return take_small(p, to, &b, row);
    large_start(p, to, &b);
    return true;
}

static void refuse(struct request *r)
{
    struct produce *p = r->ctx;

    for (size_t i = 0; i < p->a.topics_n; i++)
        for (size_t k = 0; k < p->a.topics[i].partitions_n; k++)
            if (!p->a.topics[i].partitions[k].error_code)
                row_error(p, &p->a.topics[i].partitions[k], KAFKA_ERR_KAFKA_STORAGE_ERROR);
    request_answer(r, &p->a);
}

static void frame_drop(struct produce *p)
{
    if (p->reserved) memory_release(p->r->broker, p->reserved);
    p->reserved = 0;
    buf_fini(&p->frame);
}

/* A topic without partitions is not answered. */
static void topics_without_rows_drop(struct produce_response *a)
{
    size_t kept = 0;

    for (size_t i = 0; i < a->topics_n; i++)
        if (a->topics[i].partitions_n) a->topics[kept++] = a->topics[i];
    a->topics_n = kept;
}

static void finish(struct produce *p)
{
    struct request *r = p->r;

    topics_without_rows_drop(&p->a);
    if (p->q->acks == 0) {
        frame_drop(p);
        if (p->failed)
            request_close(r, "a produce with acks=0 failed, and there is no other way to say so");
        else
            request_drop(r);
        return;
    }
    r->ctx = p;
    r->refuse = refuse;
    request_answer_when(r, &p->a, p->seq);
    frame_drop(p);
}

static void held(struct produce *p)
{
    p->held = true;
    frame_take(p);
    list_push(&p->r->broker->produces_held, &p->link);
}

/* Takes partition after partition, until one is large or the wal is full. */
static void go_on(struct produce *p)
{
    for (; p->topic < p->q->topics_n; p->topic++, p->at = 0) {
        const struct produce_request_topic *t = &p->q->topics[p->topic];
        struct produce_response_topic *a = &p->a.topics[p->topic];

        for (; p->at < t->partitions_n; p->at++) {
            if (!take(p, t, &t->partitions[p->at], &a->partitions[a->partitions_n])) {
                held(p);
                return;
            }
            a->partitions_n++;
            if (p->large) {
                p->at++;
                return;
            }
        }
    }
    finish(p);
}

static void on_cancel(struct request *r)
{
    struct produce *p = r->ctx;

    if (p->large) p->large->of = NULL;
    list_remove(&p->link);
    frame_drop(p);
}

/* Room may have come: the first in line goes on until one has to wait again. */
void produces_turn(struct broker *b)
{
    struct list now, *it;

    list_each_safe(at, &b->produces_large)
    {
        struct large *g = container_of(at, struct large, link);

        if (g->written) large_append(g);
    }
    list_init(&now);
    while ((it = list_pop(&b->produces_held)))
        list_push(&now, it);
    while ((it = list_pop(&now))) {
        struct produce *p = container_of(it, struct produce, link);

        p->held = false;
        go_on(p);
    }
}

/* Few topics, each once, with their partitions in order, as most clients send them: nothing can be there twice. */
static bool has_no_repeats(const struct produce_request *q)
{
    if (q->topics_n > TOPICS_COMPARED_MAX) return false;
    for (size_t i = 0; i < q->topics_n; i++) {
        const struct produce_request_topic *t = &q->topics[i];

        for (size_t k = 0; k < i; k++)
            if (str_eq(q->topics[k].name, t->name)) return false;
        for (size_t k = 1; k < t->partitions_n; k++)
            if (t->partitions[k - 1].index >= t->partitions[k].index) return false;
    }
    return true;
}

/* A partition that is there more than once: as Kafka does, the last of them counts and is answered. */
static void repeated_drop(struct produce_request *q)
{
    AUTO(seen_fini) struct seen seen = {0};

    if (has_no_repeats(q)) return;
    for (size_t i = q->topics_n; i-- > 0;) {
        struct produce_request_topic *t = &q->topics[i];
        size_t kept = t->partitions_n;

        for (size_t k = t->partitions_n; k-- > 0;) {
            if (seen_add(&seen, t->name, t->partitions[k].index) == 1)
                t->partitions[--kept] = t->partitions[k];
        }
        t->partitions += kept;
        t->partitions_n -= kept;
    }
}

void api_produce(struct request *r)
{
    struct produce_request *q = request_decode(r);
    struct produce *p;

    if (!q) return;
    r->throttle_ms = quotas_charge(&r->broker->quotas, QUOTA_PRODUCE, request_user(r),
                                   r->h.client_id, (double)r->frame_n, broker_now_ms(r->broker));
    p = arena_new(&r->arena, struct produce);
    list_init(&p->link);
    p->r = r;
    p->q = q;
    if (q->transactional_id.p) /* asked for again when the frame has moved */
        q->transactional_id = arena_dup_str(&r->arena, q->transactional_id);
    p->refusal = produce_check_whole(r, q);
    if (q->transactional_id.p && !request_allows_txn(r, ACL_WRITE, q->transactional_id))
        p->refusal = KAFKA_ERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED;
    repeated_drop(q);
    p->a.topics = arena_array(&r->arena, struct produce_response_topic, q->topics_n);
    p->a.topics_n = q->topics_n;
    for (size_t i = 0; i < q->topics_n; i++) {
        p->a.topics[i].name = arena_dup_str(&r->arena, q->topics[i].name);
        p->a.topics[i].partitions =
            arena_array(&r->arena, struct produce_response_partition, q->topics[i].partitions_n);
    }
    if (request_version(r) < OLD_FORMATS_BELOW && (p->old_codes = old_sets_convert(r, q, &p->frame))) {
        p->reserved = p->frame.n;
        memory_keep(r->broker, p->reserved);
    }
    go_on(p);
    if (!p->large && !p->held) return;
    r->ctx = p;
    request_park(r, on_cancel);
}
