/* SPDX-License-Identifier: Apache-2.0 */
#include "kafka/message_set_build.h"
#include <isa-l/crc.h>
#include "kafka/lz4_header.h"

enum {
    AT_CRC = 12, AT_MAGIC = 16, AT_ATTRIBUTES = 17, AT_TIMESTAMP = 18,       /* of a message, its offset and size included */
    HEAD_BYTES_0 = 18, HEAD_BYTES_1 = 26,                                    /* what stands before the key */
    LOG_APPEND_TIME = 8
};

struct message {
    int64_t      offset, timestamp;
    uint8_t      attributes;
    struct bytes key, value;
};

void message_set_builder_fini(struct message_set_builder *w)
{
    buf_fini(&w->scratch);
    buf_fini(&w->inner);
}

static size_t head_bytes(int8_t magic) { return magic ? HEAD_BYTES_1 : HEAD_BYTES_0; }

static size_t message_size(int8_t magic, struct bytes key, struct bytes value) { return head_bytes(magic) + 4 + key.n + 4 + value.n; }

static uint8_t *put_field(uint8_t *p, struct bytes b)
{
    store_be32(p, b.p ? (uint32_t)b.n : UINT32_MAX);
    if (b.n) memcpy(p + 4, b.p, b.n);
    return p + 4 + b.n;
}

static void message_put(struct buf *out, int8_t magic, const struct message *m)
{
    size_t   n = message_size(magic, m->key, m->value);
    uint8_t *p = buf_grow(out, n);

    store_be64(p, (uint64_t)m->offset);
    store_be32(p + 8, (uint32_t)(n - BATCH_LOG_OVERHEAD));
    p[AT_MAGIC] = (uint8_t)magic;
    p[AT_ATTRIBUTES] = magic ? m->attributes : m->attributes & BATCH_CODEC_MASK;
    if (magic) store_be64(p + AT_TIMESTAMP, (uint64_t)m->timestamp);
    (void)put_field(put_field(p + head_bytes(magic), m->key), m->value);
    store_be32(p + AT_CRC, crc32_gzip_refl(0, p + AT_MAGIC, n - AT_MAGIC));
}

static struct message message_of(const struct batch *b, const struct record *rec)
{
    return (struct message){.offset = rec->offset, .timestamp = rec->timestamp, .key = rec->key, .value = rec->value,
                            .attributes = batch_is(b, BATCH_LOG_APPEND_TIME) ? LOG_APPEND_TIME : 0};
}

/* Each record a message of its own. */
static enum batch_fault plain(struct message_set_builder *w, const struct batch *b, struct message_set_room room, struct buf *out, bool *ret_cut)
{
    size_t         start = out->n;
    struct records it;
    struct record  rec;

    if (records_open(&it, b, w->codecs, 0, &w->scratch)) return it.fault;
    while (records_next(&it, &rec)) {
        struct message m = message_of(b, &rec);
        size_t         n = message_size(w->magic, m.key, m.value);

        if (rec.offset < w->from) continue;
        if (n > INT32_MAX) return BATCH_PAYLOAD_LARGE;
        if (out->n - start + n > room.bytes_max && !(room.first && out->n == start)) return *ret_cut = true, BATCH_OK;
        message_put(out, w->magic, &m);
    }
    return it.fault;
}

/* The messages that go into one. *ret: offset and time of it; its offset is below `from` where there is nothing to see. */
static enum batch_fault inner_messages(struct message_set_builder *w, const struct batch *b, struct message *ret)
{
    struct records it;
    struct record  rec;
    int64_t        first = 0;

    if (records_open(&it, b, w->codecs, w->expanded_bytes_max, &w->scratch)) return it.fault;
    while (records_next(&it, &rec)) {
        struct message m = message_of(b, &rec);

        if (rec.index == 0) first = rec.offset;
        if (w->inner.n + message_size(w->magic, m.key, m.value) > MIN(w->expanded_bytes_max, (size_t)INT32_MAX)) return BATCH_PAYLOAD_LARGE;
        ret->offset = rec.offset;
        ret->timestamp = MAX(ret->timestamp, rec.timestamp);
        if (w->magic) m.offset = (int64_t)((uint64_t)rec.offset - (uint64_t)first);
        message_put(&w->inner, w->magic, &m);
    }
    return it.fault;
}

static enum batch_fault squeeze(struct message_set_builder *w, enum kafka_codec codec)
{
    struct err e;
    size_t     n;

    buf_clear(&w->scratch);
    if (kafka_compress(w->codecs, codec, buf_view(&w->inner), &w->scratch, &e) || w->scratch.n > INT32_MAX / 2) return BATCH_PAYLOAD_LARGE;
    n = w->magic == 0 && codec == KAFKA_CODEC_LZ4 ? lz4_header_size(buf_view(&w->scratch)) : 0;
    if (n) lz4_header_spoil(w->scratch.p, n);
    return BATCH_OK;
}

/* All records in one message, also those below `from`: consumers of these formats pass over them. */
static enum batch_fault compressed(struct message_set_builder *w, const struct batch *b, struct buf *out)
{
    struct message   outer = {.offset = -1, .timestamp = -1};
    enum batch_fault fault;

    buf_clear(&w->inner);
    if ((fault = inner_messages(w, b, &outer))) return fault;
    if (outer.offset < w->from || !w->inner.n) return BATCH_OK;
    if ((fault = squeeze(w, batch_codec(b)))) return fault;
    outer.attributes = (uint8_t)((unsigned)batch_codec(b) | (batch_is(b, BATCH_LOG_APPEND_TIME) ? LOG_APPEND_TIME : 0));
    outer.value = buf_view(&w->scratch);
    message_put(out, w->magic, &outer);
    return BATCH_OK;
}

enum batch_fault message_set_build(struct message_set_builder *w, const struct batch *b, struct message_set_room room, struct buf *out, bool *ret_cut)
{
    size_t           before = out->n;
    enum batch_fault fault;

    *ret_cut = false;
    if (!batch_crc_ok(b)) return BATCH_CRC;
    if (batch_is(b, BATCH_CONTROL) || b->record_count == 0) return BATCH_OK;
    if (batch_codec(b) == KAFKA_CODEC_NONE) {
        fault = plain(w, b, room, out, ret_cut);
    } else if (batch_codec(b) > KAFKA_CODEC_LZ4) {
        return BATCH_CODEC;
    } else {
        fault = compressed(w, b, out);
        if (!fault && out->n - before > room.bytes_max && !room.first && out->n > before) out->n = before, *ret_cut = true;
    }
    if (fault) out->n = before;
    return fault;
}
