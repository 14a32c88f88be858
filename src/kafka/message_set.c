/* kafka/message_set.c - reading message sets of formats 0 and 1.   SPDX-License-Identifier: Apache-2.0 */
#include "kafka/message_set.h"
#include <isa-l/crc.h>
#include "kafka/lz4_header.h"

enum { AT_MAGIC = 4, CODEC_MASK = 7, LOG_APPEND_TIME = 8 };     /* the magic follows the checksum */

struct message {
    uint8_t      attributes;
    int64_t      timestamp;                   /* -1: none */
    struct bytes key, value;
};

struct conversion {
    struct codecs       *codecs;
    struct message_set_rules rules;
    struct buf          *scratch;
    struct batch_builder to;
    int8_t               magic;
};

/* The next message's bytes behind its offset and size. False: the end, or what is left of one that was cut off. */
static bool message_next(struct rd *set, struct bytes *ret)
{
    int32_t size;

    if (rd_left(set) < BATCH_LOG_OVERHEAD) return false;
    (void)rd_i64(set);
    size = rd_i32(set);
    if (size < 0 || (size_t)size > rd_left(set)) return false;
    *ret = rd_take(set, (size_t)size);
    return true;
}

static enum batch_fault message_read(struct bytes in, int8_t magic, struct message *ret)
{
    struct rd r;
    uint32_t  crc;

    rd_init(&r, in);
    crc = rd_u32(&r);
    if (rd_i8(&r) != magic || r.why) return BATCH_RECORD;
    if (crc32_gzip_refl(0, in.p + AT_MAGIC, in.n - AT_MAGIC) != crc) return BATCH_CRC;
    ret->attributes = (uint8_t)rd_i8(&r);
    ret->timestamp = magic > 0 ? rd_i64(&r) : -1;
    ret->key = rd_bytes_null(&r, false, "key");
    ret->value = rd_bytes_null(&r, false, "value");
    return r.why || rd_left(&r) ? BATCH_RECORD : BATCH_OK;
}

static bool has_append_bit(const struct conversion *v, const struct message *m) { return v->magic > 0 && (m->attributes & LOG_APPEND_TIME); }

/* As Kafka has it: who says that it is the broker's time has to give one, and may not say so where the broker's time counts. */
static enum batch_fault check_append_bit(const struct conversion *v, const struct message *m)
{
    return has_append_bit(v, m) && (v->rules.log_append_time || m->timestamp < 0) ? BATCH_TIMESTAMP : BATCH_OK;
}

static enum batch_fault message_add(struct conversion *v, const struct message *m)
{
    if (m->timestamp < -1) return BATCH_TIMESTAMP;
    batch_add(&v->to, &(struct record_new){.timestamp = m->timestamp, .key = m->key, .value = m->value});
    return BATCH_OK;
}

/* In format 0 nobody looks at the checksum in the header of an LZ4 frame: most who write it, write it wrong. */
static enum rc expand(struct conversion *v, enum kafka_codec codec, struct bytes value, struct err *e)
{
    AUTO(buf_fini) struct buf mended = {0};
    size_t                    header = v->magic == 0 && codec == KAFKA_CODEC_LZ4 ? lz4_header_size(value) : 0;

    if (header) {
        buf_append(&mended, value);
        lz4_header_mend(mended.p, header);
        value = buf_view(&mended);
    }
    buf_clear(v->scratch);
    return kafka_decompress(v->codecs, codec, value, v->rules.bytes_max, v->scratch, e);
}

/* The messages inside of a compressed one. */
static enum batch_fault inner_add(struct conversion *v, const struct message *outer)
{
    enum kafka_codec codec = outer->attributes & CODEC_MASK;
    enum batch_fault fault;
    struct message   m;
    struct bytes     in;
    struct rd        set;
    struct err       e;
    enum rc          rc;

    if (codec > KAFKA_CODEC_LZ4) return BATCH_CODEC;
    if (!outer->value.p) return BATCH_RECORD;
    v->to.opt.codec = codec;
    rc = expand(v, codec, outer->value, &e);
    if (rc) return rc == RC_TOO_LARGE ? BATCH_PAYLOAD_LARGE : BATCH_PAYLOAD;
    rd_init(&set, buf_view(v->scratch));
    while (message_next(&set, &in)) {
        if ((fault = message_read(in, v->magic, &m))) return fault;
        if (m.attributes & CODEC_MASK) return BATCH_RECORD;
        if (has_append_bit(v, outer)) m.timestamp = outer->timestamp;     /* it is that of all */
        if ((fault = message_add(v, &m))) return fault;
    }
    return BATCH_OK;
}

/* A compressed message stands alone. */
static enum batch_fault messages_add(struct conversion *v, struct rd *set)
{
    enum batch_fault fault = BATCH_OK;
    bool             compressed = false;
    struct message   m;
    struct bytes     in;

    while (!fault && message_next(set, &in)) {
        if (compressed) return BATCH_RECORD;
        if (v->magic < 0 && in.n > AT_MAGIC) v->magic = (int8_t)in.p[AT_MAGIC];
        if (v->magic < 0 || v->magic > MESSAGE_SET_MAGIC_MAX) return BATCH_RECORD;
        if ((fault = message_read(in, v->magic, &m))) break;
        compressed = (m.attributes & CODEC_MASK) != 0;
        if (compressed && v->to.count) return BATCH_RECORD;
        if ((fault = check_append_bit(v, &m))) break;
        fault = compressed ? inner_add(v, &m) : message_add(v, &m);
    }
    if (fault) return fault;
    return v->to.count ? BATCH_OK : BATCH_NONE;
}

enum batch_fault message_set_convert(struct bytes set, struct codecs *c, struct message_set_rules rules, struct buf *scratch, struct buf *into)
{
    struct conversion v = {.codecs = c, .rules = rules, .scratch = scratch, .magic = -1};
    size_t            before = into->n;
    enum batch_fault  fault;
    struct bytes      made;
    struct rd         r;
    struct err        e;

    rd_init(&r, set);
    batch_begin(&v.to, into, NULL);
    fault = messages_add(&v, &r);
    if (!fault && batch_end(&v.to, c, &made, &e)) fault = BATCH_PAYLOAD_LARGE;
    if (fault) into->n = before;
    return fault;
}
