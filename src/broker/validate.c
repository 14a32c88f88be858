/* The header first, then every record; one that breaks a rule refuses the whole batch. What Kafka puts right silently is
 * put right here too: a wrong max timestamp (the caller's), offset deltas, the codec.   SPDX-License-Identifier: Apache-2.0
 */
#include "broker/validate.h"
#include "kafka/batch_build.h"
#include "kafka/errors.h"

enum { NO_TIMESTAMP = -1 }; /* any other is one, also below zero */

const char *record_fault_text(enum record_fault f)
{
    switch (f) {
    case RECORD_NO_KEY: return "a compacted topic needs a key in every record";
    case RECORD_TIME_RANGE: return "the timestamp is too far from the broker's clock";
    case RECORD_TIME_TYPE: return "a producer cannot set the timestamp type to LogAppendTime here";
    }
    return "?";
}

static void refuse(struct batch_verdict *v, int16_t code, const char *why)
{
    v->code = code;
    v->why = why;
}

static void fault(struct batch_verdict *v, int32_t index, enum record_fault f)
{
    if (v->faults_n < RECORD_FAULTS_TOLD) {
        v->faults[v->faults_n].index = index;
        v->faults[v->faults_n].fault = f;
    }
    v->faults_n++;
    if (f != RECORD_NO_KEY)
        v->code = KAFKA_ERR_INVALID_TIMESTAMP;
    else if (!v->code)
        v->code = KAFKA_ERR_INVALID_RECORD;
}

static bool in_range(int64_t ts, const struct batch_rules *rules)
{
    if (ts == NO_TIMESTAMP) return true;
    if (ts <= rules->now_ms) return ts >= rules->now_ms - rules->before_max_ms;
    return ts - rules->now_ms <= rules->after_max_ms;
}

static void check_record(const struct batch *b, const struct record *rec,
                         const struct batch_rules *rules, struct batch_verdict *v)
{
    if (rules->compacted && !rec->key.p) fault(v, rec->index, RECORD_NO_KEY);
    if (batch_is(b, BATCH_LOG_APPEND_TIME) && (rules->log_append_time || rec->timestamp == NO_TIMESTAMP))
        fault(v, rec->index, RECORD_TIME_TYPE);
    else if (!rules->log_append_time && !in_range(rec->timestamp, rules))
        fault(v, rec->index, RECORD_TIME_RANGE);
    if (rec->offset_delta != rec->index) v->rebuild = true;
}

static void check_records(const struct batch *b, const struct batch_rules *rules, struct codecs *c,
                          struct buf *scratch, struct batch_verdict *v)
{
    enum batch_fault f;
    struct records it;
    struct record rec;

    f = records_open(&it, b, c, rules->expanded_bytes_max, scratch);
    while (!f && records_next(&it, &rec)) {
        v->max_timestamp = MAX(v->max_timestamp, rec.timestamp);
        v->min_timestamp = MIN(v->min_timestamp, rec.timestamp);
        check_record(b, &rec, rules, v);
    }
    f = f ? f : it.fault;
    v->too_large = f == BATCH_PAYLOAD_LARGE;
    if (f) refuse(v, KAFKA_ERR_INVALID_RECORD, batch_fault_name(f));
}

/* As in Kafka: only a batch that is stored as it came may hold times below -1. An uncompressed one is not written anew there
 * for its deltas. */
static void check_times(const struct batch *b, bool other_codec, struct batch_verdict *v)
{
    if (v->code || v->min_timestamp >= NO_TIMESTAMP) return;
    if (other_codec || (v->rebuild && batch_codec(b) != KAFKA_CODEC_NONE))
        refuse(v, KAFKA_ERR_INVALID_TIMESTAMP, "a timestamp below -1 in a batch that has to be written anew");
}

void batch_validate(const struct batch *b, const struct batch_rules *rules, struct codecs *c,
                    struct buf *scratch, struct batch_verdict *v)
{
    *v = (struct batch_verdict){.min_timestamp = NO_TIMESTAMP, .max_timestamp = NO_TIMESTAMP};
    if (batch_is(b, BATCH_CONTROL)) {
        refuse(v, KAFKA_ERR_INVALID_RECORD, "clients cannot write control batches");
    } else if (b->record_count <= 0 || b->last_offset_delta != b->record_count - 1) {
        refuse(v, KAFKA_ERR_INVALID_RECORD, batch_fault_name(BATCH_COUNT));
    } else if (b->producer_id >= 0 && b->base_sequence < 0) {
        refuse(v, KAFKA_ERR_INVALID_RECORD, "a producer id without a sequence number");
    } else if ((int)batch_codec(b) >= KAFKA_CODECS) {
        refuse(v, KAFKA_ERR_INVALID_RECORD, batch_fault_name(BATCH_CODEC));
    } else {
        bool other_codec = rules->codec >= 0 && (enum kafka_codec)rules->codec != batch_codec(b);

        check_records(b, rules, c, scratch, v);
        check_times(b, other_codec, v);
        v->rebuild |= other_codec;
        if (batch_codec(b) == KAFKA_CODEC_LZ4 && kafka_lz4_is_linked(
                bytes_sub(b->raw, BATCH_HEADER_BYTES, b->raw.n - BATCH_HEADER_BYTES)))
            v->rebuild = true;
    }
}

static void add_record(struct batch_builder *w, const struct record *rec, struct buf *room)
{
    struct record_header *headers;
    struct rd walk = record_headers(rec);
    size_t n = 0;

    buf_clear(room);
    headers =
        (struct record_header *)(void *)buf_grow(room, (rec->headers_n + 1) * sizeof *headers);
    while (n < rec->headers_n && record_headers_next(&walk, &headers[n]))
        n++;
    batch_add(w, &(struct record_new){.timestamp = rec->timestamp,
                                      .key = rec->key,
                                      .value = rec->value,
                                      .headers = headers,
                                      .headers_n = n});
}

enum rc batch_rebuild(const struct batch *b, const struct batch_rules *rules, struct codecs *c,
                      struct buf *scratch, struct buf *into, struct err *e)
{
    AUTO(buf_fini) struct buf headers = {0};
    enum kafka_codec codec = rules->codec >= 0 ? (enum kafka_codec)rules->codec : batch_codec(b);
    struct batch_options opt = {.codec = codec,
                                .transactional = batch_is(b, BATCH_TRANSACTIONAL),
                                .has_producer = true,
                                .producer_id = b->producer_id,
                                .producer_epoch = b->producer_epoch,
                                .base_sequence = b->base_sequence,
                                .leader_epoch = b->leader_epoch};
    struct batch_builder w;
    struct records it;
    struct record rec;
    struct bytes view;

    if (records_open(&it, b, c, rules->expanded_bytes_max, scratch))
        return err_set(e, RC_INVALID, "the records cannot be read");
    batch_begin(&w, into, &opt);
    while (records_next(&it, &rec))
        add_record(&w, &rec, &headers);
    codecs_set_level(c, codec, rules->levels[codec]);
    if (it.fault) return err_set(e, RC_INVALID, "%s", batch_fault_name(it.fault));
    return batch_end(&w, c, &view, e);
}
