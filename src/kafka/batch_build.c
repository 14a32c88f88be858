/* SPDX-License-Identifier: Apache-2.0 */
#include "kafka/batch_build.h"

void batch_begin(struct batch_builder *w, struct buf *out, const struct batch_options *opt)
{
    static const struct batch_options plain = {.leader_epoch = -1};

    *w = (struct batch_builder){.out = out, .start = out->n, .opt = opt ? *opt : plain, .last_offset_delta = -1, .max_timestamp = -1};
    w->base_timestamp = w->opt.delete_horizon ? w->opt.base_timestamp : -1;
    memset(buf_grow(out, BATCH_HEADER_BYTES), 0, BATCH_HEADER_BYTES);
}

static size_t field_size(struct bytes b)
{
    return b.p ? wr_varlong_size((int64_t)b.n) + b.n : 1;
}

static size_t body_size(const struct record_new *rec, int64_t timestamp_delta, int32_t offset_delta)
{
    size_t n = 1 + wr_varlong_size(timestamp_delta) + wr_varlong_size(offset_delta) + field_size(rec->key) + field_size(rec->value)
             + wr_varlong_size((int64_t)rec->headers_n);

    for (size_t i = 0; i < rec->headers_n; i++) {
        n += wr_varlong_size((int64_t)rec->headers[i].key.n) + rec->headers[i].key.n;
        n += field_size(rec->headers[i].value);
    }
    return n;
}

static void put_field(struct wr *w, struct bytes b)
{
    wr_varlong(w, b.p ? (int64_t)b.n : -1);
    if (b.n) memcpy(wr_room(w, b.n), b.p, b.n);
}

static int64_t delta(const struct batch_builder *w, const struct record_new *rec)
{
    int64_t base = w->count || w->opt.delete_horizon ? w->base_timestamp : rec->timestamp;

    return (int64_t)((uint64_t)rec->timestamp - (uint64_t)base);
}

void batch_add_at(struct batch_builder *w, int32_t offset_delta, const struct record_new *rec)
{
    int64_t   timestamp_delta = delta(w, rec);
    struct wr to;

    must(offset_delta > w->last_offset_delta);
    if (w->count == 0 && !w->opt.delete_horizon) w->base_timestamp = rec->timestamp;
    wr_init(&to, w->out);
    wr_varlong(&to, (int64_t)body_size(rec, timestamp_delta, offset_delta));
    wr_i8(&to, 0);
    wr_varlong(&to, timestamp_delta);
    wr_varint(&to, offset_delta);
    put_field(&to, rec->key);
    put_field(&to, rec->value);
    wr_varlong(&to, (int64_t)rec->headers_n);
    for (size_t i = 0; i < rec->headers_n; i++) {
        wr_varlong(&to, (int64_t)rec->headers[i].key.n);
        buf_append_str(w->out, rec->headers[i].key);
        put_field(&to, rec->headers[i].value);
    }
    w->count++;
    w->last_offset_delta = offset_delta;
    w->max_timestamp = MAX(w->max_timestamp, rec->timestamp);
}

void batch_add(struct batch_builder *w, const struct record_new *rec)
{
    batch_add_at(w, w->last_offset_delta + 1, rec);
}

void batch_extend(struct batch_builder *w, int32_t last_offset_delta)
{
    must(last_offset_delta >= w->last_offset_delta);
    w->last_offset_delta = last_offset_delta;
}

size_t batch_bytes(const struct batch_builder *w, const struct record_new *more)
{
    size_t n = w->out->n - w->start, body;

    if (!more) return n;
    body = body_size(more, delta(w, more), w->last_offset_delta + 1);
    return n + wr_varlong_size((int64_t)body) + body;
}

/* Replaces the records by their compressed form, unless that is no shorter. */
static enum rc squeeze(struct batch_builder *w, struct codecs *c, enum kafka_codec *ret_codec, struct err *e)
{
    AUTO(buf_fini) struct buf small = {0};
    size_t                    at = w->start + BATCH_HEADER_BYTES;
    struct bytes              records = bytes_of(w->out->p + at, w->out->n - at);
    enum rc                   rc;

    *ret_codec = KAFKA_CODEC_NONE;
    if (w->opt.codec == KAFKA_CODEC_NONE || records.n == 0) return RC_OK;
    if ((rc = kafka_compress(c, w->opt.codec, records, &small, e))) return rc;
    if (small.n >= records.n) return RC_OK;
    *ret_codec = w->opt.codec;
    w->out->n = at;
    buf_append(w->out, buf_view(&small));
    return RC_OK;
}

static void header(const struct batch_builder *w, enum kafka_codec codec)
{
    const struct batch_options *o = &w->opt;
    int                         attributes = (int)codec | (o->log_append_time ? BATCH_LOG_APPEND_TIME : 0)
                   | (o->transactional ? BATCH_TRANSACTIONAL : 0) | (o->control ? BATCH_CONTROL : 0)
                   | (o->delete_horizon ? BATCH_DELETE_HORIZON : 0);
    size_t                      n = w->out->n - w->start;
    uint8_t                    *p = w->out->p + w->start;
    struct buf                  fixed = {.p = p, .cap = BATCH_HEADER_BYTES};        /* writes where the header stands */
    struct wr                   to;

    wr_init(&to, &fixed);
    wr_i64(&to, o->base_offset);
    wr_i32(&to, (int32_t)(n - BATCH_LOG_OVERHEAD));
    wr_i32(&to, o->leader_epoch);
    wr_i8(&to, BATCH_MAGIC);
    wr_i32(&to, 0);
    wr_i16(&to, (int16_t)attributes);
    wr_i32(&to, w->last_offset_delta);
    wr_i64(&to, w->base_timestamp);
    wr_i64(&to, o->log_append_time ? o->log_append_time_ms : w->max_timestamp);
    wr_i64(&to, o->has_producer ? o->producer_id : -1);
    wr_i16(&to, o->has_producer ? o->producer_epoch : -1);
    wr_i32(&to, o->has_producer ? o->base_sequence : -1);
    wr_i32(&to, w->count);
    must(fixed.p == p && fixed.n == BATCH_HEADER_BYTES);
    batch_set_crc(p, n);
}

enum rc batch_end(struct batch_builder *w, struct codecs *c, struct bytes *ret, struct err *e)
{
    enum kafka_codec codec = KAFKA_CODEC_NONE;
    enum rc          rc;

    if (w->out->n - w->start > INT32_MAX) rc = err_set(e, RC_TOO_LARGE, "a batch of %zu bytes is too large", w->out->n - w->start);
    else rc = squeeze(w, c, &codec, e);
    if (rc) {
        w->out->n = w->start;
        return rc;
    }
    header(w, codec);
    *ret = bytes_of(w->out->p + w->start, w->out->n - w->start);
    return RC_OK;
}

void batch_build_control(struct buf *out, const struct control_new *m)
{
    const struct batch_options opt = {
        .transactional = true, .control = true, .base_offset = m->offset, .has_producer = true, .producer_id = m->producer_id,
        .producer_epoch = m->producer_epoch, .base_sequence = -1, .leader_epoch = m->leader_epoch,
    };
    struct batch_builder w;
    struct bytes         made;
    struct err           e;
    uint8_t              key[4] = {0}, value[6] = {0};

    store_be16(key + 2, (uint16_t)m->type);
    store_be32(value + 2, (uint32_t)m->coordinator_epoch);
    batch_begin(&w, out, &opt);
    batch_add(&w, &(struct record_new){.timestamp = m->timestamp, .key = bytes_of(key, sizeof key), .value = bytes_of(value, sizeof value)});
    must(batch_end(&w, NULL, &made, &e) == RC_OK);
}
