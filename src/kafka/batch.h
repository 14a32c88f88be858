/* kafka/batch.h - record batches in format 2: the bytes that producers send, segments hold and consumers get.
 *
 * A batch passes through untouched: the broker looks at its header, checks it, and writes offset and leader epoch in
 * place, which lie outside the checksum. Only who must know the records opens them.
 *
 *     struct batch b;
 *     fault = batch_view(bytes, &b);                 structure and magic; then, as far as needed:
 *     fault = batch_check(&b);                       checksum, codec, counts
 *     fault = records_open(&it, &b, codecs, max, &scratch);
 *     while (records_next(&it, &record)) …           then it.fault
 *
 * Owns nothing: all views borrow the batch's bytes, or `scratch` where it was compressed.
 * On the wire and on disk: docs/disk-format.md, "Record batch".   SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "kafka/compress.h"
#include "kafka/reader.h"

enum {
    BATCH_HEADER_BYTES = 61,
    BATCH_LOG_OVERHEAD = 12,                  /* base offset and length, which the length does not count */
    BATCH_LENGTH_MIN   = BATCH_HEADER_BYTES - BATCH_LOG_OVERHEAD,
    BATCH_MAGIC        = 2,
    RECORD_BYTES_MIN   = 7,                   /* length, attributes, two deltas, two lengths, header count */
};

/* In the order in which they are found. What the broker answers to each is its own table. */
enum batch_fault {
    BATCH_OK = 0,
    BATCH_NONE,          /* too few bytes to tell what it is */
    BATCH_LENGTH,        /* a length that no batch can have */
    BATCH_LENGTH_SHORT,  /* a length that only batches of the older formats can have */
    BATCH_MAGIC_UNKNOWN, /* above 2, or negative */
    BATCH_MAGIC_OLD,     /* 0 or 1: message sets of the old formats */
    BATCH_CUT,           /* ends behind the input */
    BATCH_CRC,           /* the checksum does not match */
    BATCH_CODEC,         /* a codec that does not exist */
    BATCH_COUNT,         /* last_offset_delta + 1 is not record_count, or not above 0 */
    BATCH_PAYLOAD,       /* the codec cannot read it */
    BATCH_PAYLOAD_LARGE, /* expands beyond the limit */
    BATCH_TIMESTAMP,     /* of a message of the older formats: one that cannot be */
    BATCH_RECORD,        /* a record that does not parse, or is not as long as it says */
    BATCH_TRAILING,      /* something is left behind the last record */
};
const char *batch_fault_name(enum batch_fault f);            /* a phrase: "checksum does not match" */

enum batch_attribute {
    BATCH_CODEC_MASK = 7, BATCH_LOG_APPEND_TIME = 1 << 3, BATCH_TRANSACTIONAL = 1 << 4, BATCH_CONTROL = 1 << 5,
    BATCH_DELETE_HORIZON = 1 << 6, BATCH_KNOWN_BITS = (1 << 7) - 1,
};

struct batch {
    struct bytes raw;                         /* the whole batch */
    int64_t  base_offset;
    int32_t  leader_epoch;
    uint32_t crc;
    int16_t  attributes;
    int32_t  last_offset_delta;
    int64_t  base_timestamp, max_timestamp;   /* base: the delete horizon where that bit is set */
    int64_t  producer_id;                     /* -1: none */
    int16_t  producer_epoch;
    int32_t  base_sequence;                   /* -1: none */
    int32_t  record_count;
};

/* The first batch in `in`, which may go on behind it: the next one starts at ret->raw.n. Only the header is looked at. */
enum batch_fault batch_view(struct bytes in, struct batch *ret);
/* Whether what batch_view() calls old ends within `in`. */
bool batch_old_is_whole(struct bytes in);
/* Checksum, codec and counts. A batch that compaction has thinned out fails BATCH_COUNT and is fine nevertheless: ask
 * for batch_crc_ok() alone when reading our own log. */
enum batch_fault batch_check(const struct batch *b);
bool             batch_crc_ok(const struct batch *b);

static inline enum kafka_codec batch_codec(const struct batch *b) { return (enum kafka_codec)(b->attributes & BATCH_CODEC_MASK); }
static inline bool    batch_is(const struct batch *b, enum batch_attribute a) { return (b->attributes & a) != 0; }
/* Offsets of a batch that nobody has checked may wrap; that is defined and harmless. */
static inline int64_t batch_last_offset(const struct batch *b) { return (int64_t)((uint64_t)b->base_offset + (uint64_t)(int64_t)b->last_offset_delta); }
static inline int64_t batch_next_offset(const struct batch *b) { return (int64_t)((uint64_t)batch_last_offset(b) + 1); }
int32_t               batch_last_sequence(const struct batch *b);                /* wraps from 2147483647 to 0 */

/* In place, over the whole batch's bytes. The first does not touch the checksum, the others compute it anew. */
void batch_assign(uint8_t *p, int64_t base_offset, int32_t leader_epoch);
void batch_set_create_time(uint8_t *p, size_t n, int64_t max_timestamp);                /* clears the bit */
void batch_set_log_append_time(uint8_t *p, size_t n, int64_t now_ms);           /* sets the bit and max_timestamp */
void batch_set_max_timestamp(uint8_t *p, size_t n, int64_t timestamp);
void batch_set_crc(uint8_t *p, size_t n);

/* ---- records ---- */

struct record {
    int32_t      index;                       /* 0 … record_count - 1, whatever the deltas say */
    int32_t      offset_delta;
    int64_t      offset;
    int64_t      timestamp;                   /* max_timestamp for batches with log append time; -1: none */
    struct bytes key, value;                  /* .p NULL: null */
    struct bytes headers;                     /* undecoded: see record_headers_next() */
    uint32_t     headers_n;
    size_t       size;                        /* its bytes, the length in front included */
};

struct record_header { struct str key; struct bytes value; };           /* value.p NULL: null */

struct records {
    const struct batch *batch;
    struct rd           r;
    int32_t             index;
    enum batch_fault    fault;
};

/* `scratch` is cleared and holds the payload if the batch is compressed; it must outlive the iteration. bytes_max bounds it. */
enum batch_fault records_open(struct records *it, const struct batch *b, struct codecs *c, size_t bytes_max, struct buf *scratch);
/* False: at the end, or it->fault says what is wrong with the record it->index. Headers have been checked. */
bool records_next(struct records *it, struct record *ret);

/* Walks the headers: struct rd h = record_headers(&record); while (record_headers_next(&h, &header)) … */
static inline struct rd record_headers(const struct record *rec) { struct rd r; rd_init(&r, rec->headers); return r; }
bool record_headers_next(struct rd *h, struct record_header *ret);
bool record_header_find(const struct record *rec, struct str key, struct bytes *ret_value);   /* the first of that key */

/* Control batches carry one record; its key says which end the transaction came to. */
enum control_type { CONTROL_ABORT = 0, CONTROL_COMMIT = 1, CONTROL_OTHER = -1 };
struct control { enum control_type type; int32_t coordinator_epoch; };
bool batch_control(const struct batch *b, struct control *ret);               /* false: not a control batch that parses */

/* Which partition of __consumer_offsets or __transaction_state a group or transactional id belongs to. */
int32_t kafka_java_hash(struct str s);                                        /* String.hashCode() of the UTF-8 text */
int32_t kafka_partition_of_group(struct str group, int32_t partitions);
