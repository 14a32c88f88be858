/* What a batch has to pass before its log looks at it, in Kafka's order. SPDX-License-Identifier: Apache-2.0 */
#include "broker/api/produce_check.h"
#include "broker/store.h"
#include "broker/txns.h"

enum { ZSTD_FROM_VERSION = 7, OLD_FORMATS_BELOW = 3, ABORTABLE_FROM_VERSION = 11 };

/* What follows the one batch there may be: the beginning of another is passed over, as Kafka does. */
static int16_t check_surplus(struct bytes in)
{
    struct batch next;
    enum batch_fault fault = batch_view(in, &next);

    if (fault == BATCH_LENGTH || fault == BATCH_MAGIC_UNKNOWN) return KAFKA_ERR_CORRUPT_MESSAGE;
    if (fault == BATCH_NONE || fault == BATCH_CUT) return 0;
    if (fault == BATCH_MAGIC_OLD && !batch_old_is_whole(in)) return 0;
    return KAFKA_ERR_INVALID_RECORD;
}

int16_t produce_check_structure(const struct request *r, const struct produce_request_partition *q,
                                struct batch *b)
{
    int16_t code;

    switch (batch_view(q->records, b)) {
    case BATCH_OK: break;
    case BATCH_NONE:
    case BATCH_CUT: return KAFKA_ERR_INVALID_RECORD;
    case BATCH_MAGIC_OLD: return KAFKA_ERR_INVALID_RECORD; /* one of versions that may have it was converted */
    case BATCH_LENGTH:
    case BATCH_LENGTH_SHORT:
    case BATCH_MAGIC_UNKNOWN:
    case BATCH_CRC:
    case BATCH_CODEC:
    case BATCH_COUNT:
    case BATCH_PAYLOAD:
    case BATCH_RECORD:
    case BATCH_TIMESTAMP:
    case BATCH_TRAILING: return KAFKA_ERR_CORRUPT_MESSAGE;
    case BATCH_PAYLOAD_LARGE: return KAFKA_ERR_MESSAGE_TOO_LARGE;
    }
    if ((code = check_surplus(bytes_of(q->records.p + b->raw.n, q->records.n - b->raw.n))))
        return code;
    if (batch_codec(b) == KAFKA_CODEC_ZSTD && request_version(r) < ZSTD_FROM_VERSION)
        return KAFKA_ERR_UNSUPPORTED_COMPRESSION_TYPE;
    return 0;
}

/* Whether the batches that would get as far as their logs are of several transactional producers. */
static bool several_producers(const struct request *r, const struct produce_request *q)
{
    int64_t id = -1;
    struct batch b;

    for (size_t i = 0; i < q->topics_n; i++)
        for (size_t k = 0; k < q->topics[i].partitions_n; k++) {
            const struct produce_request_partition *part = &q->topics[i].partitions[k];

            if (batch_view(part->records, &b) || !batch_is(&b, BATCH_TRANSACTIONAL)) continue;
            if (b.producer_id < 0 || !broker_partition(r->broker, q->topics[i].name, part->index))
                continue;
            if (produce_check_structure(r, part, &b)) continue;
            if (id >= 0 && b.producer_id != id) return true;
            id = b.producer_id;
        }
    return false;
}

int16_t produce_check_whole(const struct request *r, const struct produce_request *q)
{
    bool any = false;
    struct batch b;

    if (request_version(r) < OLD_FORMATS_BELOW) return 0;
    for (size_t i = 0; i < q->topics_n; i++)
        for (size_t k = 0; !any && k < q->topics[i].partitions_n; k++) {
            enum batch_fault fault = batch_view(q->topics[i].partitions[k].records, &b);

            if (fault == BATCH_LENGTH || fault == BATCH_MAGIC_UNKNOWN)
                return KAFKA_ERR_CORRUPT_MESSAGE;
            any = !fault && batch_is(&b, BATCH_TRANSACTIONAL);
        }
    if (!any) return 0;
    if (!q->transactional_id.p) return KAFKA_ERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED;
    return several_producers(r, q) ? KAFKA_ERR_INVALID_PRODUCER_ID_MAPPING : 0;
}

static struct txn_refused_key refused_key(const struct partition *to, const struct batch *b)
{
    return (struct txn_refused_key){to->topic->id, to->number, b->producer_id, b->producer_epoch};
}

bool produce_comes_too_early(struct partition *to, const struct batch *b)
{
    const struct producers *ps;
    struct err e;

    if (!txn_refused_comes_first(&to->topic->broker->txn_refused, refused_key(to, b),
                                 b->base_sequence))
        return false;
    ps = log_producers(partition_log(to), &e);
    return ps && !producers_find(ps, b->producer_id);
}

/* KIP-890: a batch that comes late must not open a transaction that nobody will end. The epoch is looked at before the
 * partition, so that an old producer learns that it is one. */
int16_t produce_check_in_txn(const struct request *r, struct str id, struct partition *to,
                             const struct batch *b)
{
    struct broker *br = r->broker;
    const struct producers *ps;
    const struct producer *known;
    int16_t code;
    struct err e;

    if (b->producer_id < 0 || !batch_is(b, BATCH_TRANSACTIONAL)) return KAFKA_ERR_NONE;
    if (!br->config.transaction_verify) return KAFKA_ERR_NONE;
    code = txns_verify(br->txns, id,
                       (struct producer_ident){b->producer_id, b->producer_epoch}, to->topic->name,
                       to->number);
    if (!code) return code;
    ps = log_producers(partition_log(to), &e);
    known = ps ? producers_find(ps, b->producer_id) : NULL;
    txn_refused_note(&br->txn_refused, refused_key(to, b), b->base_sequence);
    if (known && known->txn_first_offset >= 0 && b->producer_epoch < known->epoch) return KAFKA_ERR_NONE; /* the log says so */
    if (code == KAFKA_ERR_PRODUCER_FENCED) return KAFKA_ERR_INVALID_PRODUCER_EPOCH;
    if (code == KAFKA_ERR_CONCURRENT_TRANSACTIONS || code == KAFKA_ERR_COORDINATOR_NOT_AVAILABLE) return KAFKA_ERR_NOT_ENOUGH_REPLICAS;
    if (code == KAFKA_ERR_TRANSACTION_ABORTABLE && request_version(r) < ABORTABLE_FROM_VERSION)
        return KAFKA_ERR_INVALID_TXN_STATE;
    return code;
}
