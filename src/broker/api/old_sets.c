/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/api/old_sets.h"
#include "kafka/message_set.h"

enum {
    EXPANDED_BYTES_MAX = 16 << 20,            /* of one partition's compressed messages: they are read on the loop */
    ALL_EXPANDED_BYTES_MAX = 32 << 20         /* of all in one request */
};

static int16_t code_of(enum batch_fault fault)
{
    switch (fault) {
    case BATCH_OK:            return KAFKA_ERR_NONE;
    case BATCH_CRC:           return KAFKA_ERR_CORRUPT_MESSAGE;
    case BATCH_PAYLOAD_LARGE: return KAFKA_ERR_MESSAGE_TOO_LARGE;
    case BATCH_TIMESTAMP:     return KAFKA_ERR_INVALID_TIMESTAMP;
    case BATCH_NONE: case BATCH_LENGTH: case BATCH_LENGTH_SHORT: case BATCH_MAGIC_UNKNOWN: case BATCH_MAGIC_OLD: case BATCH_CUT: case BATCH_CODEC: case BATCH_COUNT:
    case BATCH_PAYLOAD: case BATCH_RECORD: case BATCH_TRAILING: break;
    }
    return KAFKA_ERR_INVALID_RECORD;
}

static bool is_old(struct bytes records)
{
    struct batch b;

    return batch_view(records, &b) == BATCH_MAGIC_OLD;
}

static bool has_old(const struct produce_request *q)
{
    for (size_t i = 0; i < q->topics_n; i++)
        for (size_t k = 0; k < q->topics[i].partitions_n; k++)
            if (is_old(q->topics[i].partitions[k].records)) return true;
    return false;
}

static int16_t take(struct broker *b, struct str topic, struct bytes *records, size_t *left, struct buf *into)
{
    const struct topic *t = broker_topic(b, topic);
    size_t           at = into->n, may = MIN(*left, (size_t)EXPANDED_BYTES_MAX);
    struct message_set_rules rules = {.bytes_max = may, .log_append_time = t && t->config.log_append_time};
    enum batch_fault fault = BATCH_OK;

    buf_clear(&b->scratch);
    if (is_old(*records)) fault = message_set_convert(*records, b->codecs, rules, &b->scratch, into);
    else buf_append(into, *records);
    *left -= fault == BATCH_PAYLOAD || fault == BATCH_PAYLOAD_LARGE ? may : b->scratch.n;      /* in vain is not for nothing */
    records->n = into->n - at;
    return code_of(fault);
}

int16_t **old_sets_convert(struct request *r, struct produce_request *q, struct buf *into)
{
    int16_t **codes;
    size_t    at = 0, left = ALL_EXPANDED_BYTES_MAX;

    if (!has_old(q)) return NULL;
    codes = arena_array(&r->arena, int16_t *, q->topics_n);
    for (size_t i = 0; i < q->topics_n; i++) {
        codes[i] = arena_array(&r->arena, int16_t, q->topics[i].partitions_n);
        for (size_t k = 0; k < q->topics[i].partitions_n; k++) codes[i][k] = take(r->broker, q->topics[i].name, &q->topics[i].partitions[k].records, &left, into);
    }
    if (r->broker->scratch.cap > SCRATCH_KEPT_BYTES) buf_fini(&r->broker->scratch);
    for (size_t i = 0; i < q->topics_n; i++) {                    /* now that the buffer stays where it is */
        q->topics[i].name = arena_dup_str(&r->arena, q->topics[i].name);
        for (size_t k = 0; k < q->topics[i].partitions_n; k++) {
            struct bytes *v = &q->topics[i].partitions[k].records;

            v->p = into->p + at;
            at += v->n;
        }
    }
    return codes;
}
