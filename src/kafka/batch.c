/* kafka/batch.c - reading record batches.
 *
 * A header is 61 bytes at fixed places; the checksum covers everything behind itself, so that offset, length and leader
 * epoch can be written without touching it. Records are read with the cursor of kafka/reader.h, each one inside the
 * length it announces: what does not fill that length exactly is no record.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "kafka/batch.h"
#include "base/crc.h"

enum {
    AT_LENGTH = 8, AT_LEADER_EPOCH = 12, AT_MAGIC = 16, AT_CRC = 17, AT_ATTRIBUTES = 21, AT_LAST_OFFSET_DELTA = 23,
    AT_BASE_TIMESTAMP = 27, AT_MAX_TIMESTAMP = 35, AT_PRODUCER_ID = 43, AT_PRODUCER_EPOCH = 51, AT_BASE_SEQUENCE = 53,
    AT_RECORD_COUNT = 57,
    OLD_LENGTH_MIN = 14,                      /* the shortest message of format 0 */
};

const char *batch_fault_name(enum batch_fault f)
{
    switch (f) {
    case BATCH_OK:            return "ok";
    case BATCH_NONE:          return "no record batch";
    case BATCH_LENGTH:
    case BATCH_LENGTH_SHORT:  return "a length that no batch can have";
    case BATCH_MAGIC_UNKNOWN: return "unknown format";
    case BATCH_MAGIC_OLD:     return "an old message format";
    case BATCH_CUT:           return "the batch is cut short";
    case BATCH_CRC:           return "the checksum does not match";
    case BATCH_CODEC:         return "unknown compression codec";
    case BATCH_COUNT:         return "record count and last offset delta do not agree";
    case BATCH_PAYLOAD:       return "the compressed records cannot be read";
    case BATCH_PAYLOAD_LARGE: return "the compressed records expand beyond the limit";
    case BATCH_TIMESTAMP:     return "a timestamp that cannot be";
    case BATCH_RECORD:        return "a record is malformed";
    case BATCH_TRAILING:      return "bytes are left behind the last record";
    }
    return "?";
}

/* The order is the one in which a message set is taken apart: length, format, completeness, and then this format's own. */
enum batch_fault batch_view(struct bytes in, struct batch *ret)
{
    const uint8_t *p = in.p;
    int32_t        length;
    int8_t         magic;

    if (in.n < BATCH_LOG_OVERHEAD) return BATCH_NONE;
    length = (int32_t)load_be32(p + AT_LENGTH);
    if (length < OLD_LENGTH_MIN) return BATCH_LENGTH;
    if (in.n <= AT_MAGIC) return BATCH_NONE;
    magic = (int8_t)p[AT_MAGIC];
    if (magic < 0 || magic > BATCH_MAGIC) return BATCH_MAGIC_UNKNOWN;
    if (magic < BATCH_MAGIC) return BATCH_MAGIC_OLD;
    if (in.n - BATCH_LOG_OVERHEAD < (size_t)length) return BATCH_CUT;
    if (length < BATCH_LENGTH_MIN) return BATCH_LENGTH_SHORT;
    *ret = (struct batch){
        .raw = {p, BATCH_LOG_OVERHEAD + (size_t)length},
        .base_offset = (int64_t)load_be64(p),
        .leader_epoch = (int32_t)load_be32(p + AT_LEADER_EPOCH),
        .crc = load_be32(p + AT_CRC),
        .attributes = (int16_t)load_be16(p + AT_ATTRIBUTES),
        .last_offset_delta = (int32_t)load_be32(p + AT_LAST_OFFSET_DELTA),
        .base_timestamp = (int64_t)load_be64(p + AT_BASE_TIMESTAMP),
        .max_timestamp = (int64_t)load_be64(p + AT_MAX_TIMESTAMP),
        .producer_id = (int64_t)load_be64(p + AT_PRODUCER_ID),
        .producer_epoch = (int16_t)load_be16(p + AT_PRODUCER_EPOCH),
        .base_sequence = (int32_t)load_be32(p + AT_BASE_SEQUENCE),
        .record_count = (int32_t)load_be32(p + AT_RECORD_COUNT),
    };
    return BATCH_OK;
}

bool batch_old_is_whole(struct bytes in) { return in.n - BATCH_LOG_OVERHEAD >= load_be32(in.p + AT_LENGTH); }

static uint32_t crc_of(const uint8_t *p, size_t n)
{
    return crc32c(bytes_of(p + AT_ATTRIBUTES, n - AT_ATTRIBUTES));
}

bool batch_crc_ok(const struct batch *b)
{
    return crc_of(b->raw.p, b->raw.n) == b->crc;
}

enum batch_fault batch_check(const struct batch *b)
{
    if (!batch_crc_ok(b)) return BATCH_CRC;
    if ((int)batch_codec(b) >= KAFKA_CODECS) return BATCH_CODEC;
    if (b->record_count <= 0 || b->last_offset_delta != b->record_count - 1) return BATCH_COUNT;
    return BATCH_OK;
}

int32_t batch_last_sequence(const struct batch *b)
{
    if (b->base_sequence < 0) return b->base_sequence;
    return (int32_t)(((uint32_t)b->base_sequence + (uint32_t)b->last_offset_delta) & INT32_MAX);
}

void batch_assign(uint8_t *p, int64_t base_offset, int32_t leader_epoch)
{
    store_be64(p, (uint64_t)base_offset);
    store_be32(p + AT_LEADER_EPOCH, (uint32_t)leader_epoch);
}

void batch_set_crc(uint8_t *p, size_t n)
{
    must(n >= BATCH_HEADER_BYTES);
    store_be32(p + AT_CRC, crc_of(p, n));
}

void batch_set_max_timestamp(uint8_t *p, size_t n, int64_t timestamp)
{
    must(n >= BATCH_HEADER_BYTES);
    store_be64(p + AT_MAX_TIMESTAMP, (uint64_t)timestamp);
    batch_set_crc(p, n);
}

void batch_set_create_time(uint8_t *p, size_t n, int64_t max_timestamp)
{
    must(n >= BATCH_HEADER_BYTES);
    store_be16(p + AT_ATTRIBUTES, (uint16_t)(load_be16(p + AT_ATTRIBUTES) & BATCH_KNOWN_BITS & ~BATCH_LOG_APPEND_TIME));
    batch_set_max_timestamp(p, n, max_timestamp);
}

void batch_set_log_append_time(uint8_t *p, size_t n, int64_t now_ms)
{
    must(n >= BATCH_HEADER_BYTES);
    store_be16(p + AT_ATTRIBUTES, (uint16_t)((load_be16(p + AT_ATTRIBUTES) & BATCH_KNOWN_BITS) | BATCH_LOG_APPEND_TIME));
    batch_set_max_timestamp(p, n, now_ms);
}

/* ---- records ---- */

static enum batch_fault payload(const struct batch *b, struct codecs *c, size_t bytes_max, struct buf *scratch, struct bytes *ret)
{
    struct bytes in = bytes_sub(b->raw, BATCH_HEADER_BYTES, b->raw.n - BATCH_HEADER_BYTES);
    struct err   e;
    enum rc      rc;

    buf_clear(scratch);
    if ((int)batch_codec(b) >= KAFKA_CODECS) return BATCH_CODEC;
    *ret = in;
    if (batch_codec(b) == KAFKA_CODEC_NONE || (in.n == 0 && b->record_count == 0)) return BATCH_OK;
    rc = kafka_decompress(c, batch_codec(b), in, bytes_max, scratch, &e);
    if (rc == RC_TOO_LARGE) return BATCH_PAYLOAD_LARGE;
    if (rc != RC_OK) return BATCH_PAYLOAD;
    *ret = buf_view(scratch);
    return BATCH_OK;
}

enum batch_fault records_open(struct records *it, const struct batch *b, struct codecs *c, size_t bytes_max, struct buf *scratch)
{
    struct bytes records = {0};

    it->batch = b;
    it->index = 0;
    it->fault = payload(b, c, bytes_max, scratch, &records);
    rd_init(&it->r, records);
    if (it->fault == BATCH_OK && (b->record_count < 0 || (size_t)b->record_count > records.n / RECORD_BYTES_MIN))
        it->fault = BATCH_COUNT;
    return it->fault;
}

/* A length as records have it, then as many bytes; negative is null. */
static struct bytes field(struct rd *r)
{
    int32_t n = rd_varint(r);

    return n < 0 ? (struct bytes){0} : rd_take(r, (size_t)n);
}

bool record_headers_next(struct rd *h, struct record_header *ret)
{
    if (h->why || rd_left(h) == 0) return false;
    ret->key = bytes_str(field(h));
    ret->value = field(h);
    if (!ret->key.p) rd_fail(h, RD_NULL, 0, "header key");
    return h->why == RD_OK;
}

bool record_header_find(const struct record *rec, struct str key, struct bytes *ret_value)
{
    struct rd            h = record_headers(rec);
    struct record_header header;

    while (record_headers_next(&h, &header))
        if (str_eq(header.key, key)) return *ret_value = header.value, true;
    return false;
}

static void headers(struct rd *r, struct record *ret)
{
    int32_t              n = rd_varint(r);
    struct record_header h;
    int32_t              there = 0;

    ret->headers = bytes_of(r->p, rd_left(r));
    while (record_headers_next(r, &h)) there++;
    if (there != n) rd_fail(r, RD_COUNT, (uint64_t)(int64_t)n, "headers");
    ret->headers_n = (uint32_t)there;
}

static bool stop(struct records *it, enum batch_fault f)
{
    it->fault = f;
    return false;
}

bool records_next(struct records *it, struct record *ret)
{
    const struct batch *b = it->batch;
    struct rd          *r = &it->r;
    const uint8_t      *start = r->p, *end = r->end;
    int64_t             timestamp_delta;
    int32_t             n;

    if (it->fault != BATCH_OK) return false;
    if (it->index == b->record_count) return rd_left(r) ? stop(it, BATCH_TRAILING) : false;
    n = rd_varint(r);
    if (r->why || n < 0 || (size_t)n > rd_left(r)) return stop(it, BATCH_RECORD);
    r->end = r->p + n;
    rd_i8(r);                                           /* attributes: none are defined */
    timestamp_delta = rd_varlong(r);
    ret->offset_delta = rd_varint(r);
    ret->key = field(r);
    ret->value = field(r);
    headers(r, ret);
    if (r->why) return stop(it, BATCH_RECORD);
    r->end = end;
    ret->index = it->index++;
    ret->offset = (int64_t)((uint64_t)b->base_offset + (uint64_t)(int64_t)ret->offset_delta);
    ret->timestamp = batch_is(b, BATCH_LOG_APPEND_TIME) ? b->max_timestamp
                                                        : (int64_t)((uint64_t)b->base_timestamp + (uint64_t)timestamp_delta);
    ret->size = (size_t)(r->p - start);
    return true;
}

bool batch_control(const struct batch *b, struct control *ret)
{
    AUTO(buf_fini) struct buf unused = {0};
    struct records            it;
    struct record             rec;
    int16_t                   type;

    if (!batch_is(b, BATCH_CONTROL) || batch_codec(b) != KAFKA_CODEC_NONE) return false;
    if (records_open(&it, b, NULL, 0, &unused) != BATCH_OK || !records_next(&it, &rec)) return false;
    if (rec.key.n < 4) return false;
    type = (int16_t)load_be16(rec.key.p + 2);
    ret->type = type == CONTROL_ABORT || type == CONTROL_COMMIT ? (enum control_type)type : CONTROL_OTHER;
    ret->coordinator_epoch = rec.value.n >= 6 ? (int32_t)load_be32(rec.value.p + 2) : -1;
    return true;
}

/* ---- partitions of groups ---- */

/* One code point of UTF-8; what is malformed reads as U+FFFD and takes one byte. */
static uint32_t code_point(struct str *s)
{
    const uint8_t *p = (const uint8_t *)s->p;
    unsigned       more = p[0] < 0x80 ? 0 : p[0] < 0xc2 ? 9 : p[0] < 0xe0 ? 1 : p[0] < 0xf0 ? 2 : p[0] < 0xf5 ? 3 : 9;
    uint32_t       c = more == 0 ? p[0] : p[0] & (0x3fu >> more);
    size_t         i;

    for (i = 1; more < 9 && i <= more && i < s->n && (p[i] & 0xc0) == 0x80; i++) c = c << 6 | (p[i] & 0x3f);
    if (more == 9 || i <= more || (more == 2 && (c < 0x800 || (c >= 0xd800 && c < 0xe000))) || (more == 3 && (c < 0x10000 || c > 0x10ffff))) {
        c = 0xfffd;
        i = 1;
    }
    s->p += i;
    s->n -= i;
    return c;
}

int32_t kafka_java_hash(struct str s)
{
    uint32_t h = 0;

    while (s.n) {
        uint32_t c = code_point(&s);

        if (c >= 0x10000) {
            h = h * 31 + (0xd800 + ((c - 0x10000) >> 10));
            c = 0xdc00 + ((c - 0x10000) & 0x3ff);
        }
        h = h * 31 + c;
    }
    return (int32_t)h;
}

int32_t kafka_partition_of_group(struct str group, int32_t partitions)
{
    int32_t h = kafka_java_hash(group);

    must(partitions > 0);
    return (h == INT32_MIN ? 0 : h < 0 ? -h : h) % partitions;
}
