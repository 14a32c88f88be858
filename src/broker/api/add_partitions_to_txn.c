/* AddPartitionsToTxn (key 24): one transaction, all of its partitions or none. Versions from 4 on ask about several, and may ask
 * only whether the partitions take part. SPDX-License-Identifier: Apache-2.0 */
#include "kafka/msg/add_partitions_to_txn.h"
#include "broker/api.h"
#include "broker/api/seen.h"
#include "broker/txns.h"

enum { SINCE_SEVERAL = 4, SINCE_FENCED = 2 };

struct add {
    struct request *r;
    const struct add_partitions_to_txn_request_transaction *q;
    struct add_partitions_to_txn_response_topic_result *topics;
    size_t topics_n;
    struct txn_part *parts;
    size_t parts_n;
    bool refused;
};

static bool shape(struct add *x)
{
    struct arena *a = &x->r->arena;
    size_t n = 0;

    x->topics = arena_array(a, struct add_partitions_to_txn_response_topic_result, x->q->topics_n);
    if (x->q->topics_n && !x->topics) return false;
    x->topics_n = x->q->topics_n;
    for (size_t i = 0; i < x->q->topics_n; i++) {
        size_t rows = x->q->topics[i].partitions_n;

        x->topics[i].name = x->q->topics[i].name;
        x->topics[i].results_by_partition =
            arena_array(a, struct add_partitions_to_txn_response_partition_result, rows);
        x->topics[i].results_by_partition_n = rows;
        if (rows && !x->topics[i].results_by_partition) return false;
        for (size_t k = 0; k < rows; k++)
            x->topics[i].results_by_partition[k].partition_index = x->q->topics[i].partitions[k];
        n += rows;
    }
    x->parts = arena_array(a, struct txn_part, n);
    return !n || x->parts;
}

/* What cannot be added at all keeps the others from being added. */
static void check(struct add *x)
{
    for (size_t i = 0; i < x->q->topics_n; i++)
        for (size_t k = 0; k < x->q->topics[i].partitions_n; k++) {
            struct str topic = x->q->topics[i].name;
            int32_t partition = x->q->topics[i].partitions[k];
            struct partition *p = broker_partition(x->r->broker, topic, partition);
            int16_t code = !request_allows_topic(x->r, ACL_WRITE, topic) ? KAFKA_ERR_TOPIC_AUTHORIZATION_FAILED
                           : !p                              ? KAFKA_ERR_UNKNOWN_TOPIC_OR_PARTITION
                           : topic_is_internal(p->topic) ? KAFKA_ERR_TOPIC_AUTHORIZATION_FAILED
                                                         : KAFKA_ERR_NONE;

            x->topics[i].results_by_partition[k].partition_error_code = code;
            x->refused |= code != 0;
            x->parts[x->parts_n++] = (struct txn_part){topic, partition};
        }
}

/* Where no row has a code yet. */
static void all(struct add *x, int16_t code)
{
    for (size_t i = 0; i < x->q->topics_n; i++)
        for (size_t k = 0; k < x->topics[i].results_by_partition_n; k++) {
            int16_t *row = &x->topics[i].results_by_partition[k].partition_error_code;

            if (!*row) *row = code;
        }
}

static void verify(struct add *x, const struct txns *ts, struct producer_ident who)
{
    size_t n = 0;

    for (size_t i = 0; i < x->q->topics_n; i++)
        for (size_t k = 0; k < x->topics[i].results_by_partition_n; k++, n++)
            x->topics[i].results_by_partition[k].partition_error_code =
                txns_verify(ts, x->q->transactional_id, who, x->parts[n].topic,
                            x->parts[n].partition);
}

/* Each topic and each partition once. */
static bool merge(struct add *x)
{
    struct arena *a = &x->r->arena;
    struct seen_part *parts = arena_array(a, struct seen_part, x->parts_n);
    size_t n = 0;

    if (x->parts_n && !parts) return false;
    for (size_t i = 0; i < x->topics_n; i++)
        for (size_t k = 0; k < x->topics[i].results_by_partition_n; k++)
            parts[n++] = (struct seen_part){
                x->topics[i].name, x->topics[i].results_by_partition[k].partition_index,
                x->topics[i].results_by_partition[k].partition_error_code};
    seen_parts_sort(parts, n);
    x->topics_n = 0;
    for (size_t at = 0, end; at < n; at = end) {
        struct add_partitions_to_txn_response_topic_result *t = &x->topics[x->topics_n++];

        end = seen_topic_end(parts, n, at);
        t->name = parts[at].topic;
        t->results_by_partition =
            arena_array(a, struct add_partitions_to_txn_response_partition_result, end - at);
        if (!t->results_by_partition) return false;
        t->results_by_partition_n = 0;
        for (size_t i = at; i < end; i++)
            if (i == at || parts[i].number != parts[i - 1].number)
                t->results_by_partition[t->results_by_partition_n++] =
                    (struct add_partitions_to_txn_response_partition_result){parts[i].number,
                                                                             parts[i].code};
    }
    return true;
}

/* What is named twice is answered as in Kafka: twice where all get the same code, once where each gets its own. */
static bool one(struct add *x, uint64_t *seq)
{
    struct txns *ts = x->r->broker->txns;
    struct producer_ident who = {x->q->producer_id, x->q->producer_epoch};
    int16_t code;

    if (!shape(x)) return false;
    if (!request_allows_txn(x->r, ACL_WRITE, x->q->transactional_id)) {
        all(x, KAFKA_ERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED);
        return true;
    }
    check(x);
    if (x->refused) {
        all(x, KAFKA_ERR_OPERATION_NOT_ATTEMPTED);
        return merge(x);
    } else if (!x->q->transactional_id.n) {
        all(x, KAFKA_ERR_INVALID_REQUEST);
    } else if (x->q->verify_only) {
        verify(x, ts, who);
        return merge(x);
    } else {
        code = txns_add(ts, x->q->transactional_id, who, x->parts, x->parts_n, seq);
        if (code == KAFKA_ERR_PRODUCER_FENCED && request_version(x->r) < SINCE_FENCED)
            code = KAFKA_ERR_INVALID_PRODUCER_EPOCH;
        all(x, code);
    }
    return true;
}

static bool several(struct request *r, const struct add_partitions_to_txn_request *q,
                    struct add_partitions_to_txn_response *a, uint64_t *seq)
{
    size_t n = q->transactions_n;

    a->results_by_transaction =
        arena_array(&r->arena, struct add_partitions_to_txn_response_transaction_result, n);
    if (n && !a->results_by_transaction) return false;
    for (size_t i = 0; i < n; i++) {
        struct add x = {.r = r, .q = &q->transactions[i]};
        uint64_t own = 0;

        if (!one(&x, &own)) return false;
        *seq = MAX(*seq, own);
        a->results_by_transaction[a->results_by_transaction_n++] =
            (struct add_partitions_to_txn_response_transaction_result){
                x.q->transactional_id, x.topics, x.topics_n};
    }
    return true;
}

static bool single(struct request *r, const struct add_partitions_to_txn_request *q,
                   struct add_partitions_to_txn_response *a, uint64_t *seq)
{
    struct add_partitions_to_txn_request_transaction asked = {
        .transactional_id = q->v3_and_below_transactional_id,
        .producer_id = q->v3_and_below_producer_id,
        .producer_epoch = q->v3_and_below_producer_epoch,
        .topics = q->v3_and_below_topics,
        .topics_n = q->v3_and_below_topics_n};
    struct add x = {.r = r, .q = &asked};

    if (!one(&x, seq)) return false;
    a->results_by_topic_v3_and_below = x.topics;
    a->results_by_topic_v3_and_below_n = x.topics_n;
    return true;
}

void api_add_partitions_to_txn(struct request *r)
{
    const struct add_partitions_to_txn_request *q = request_decode(r);
    struct add_partitions_to_txn_response a = {0};
    uint64_t seq = 0;
    bool ok;

    if (!q) return;
    if (request_version(r) >= SINCE_SEVERAL && !request_allows_cluster(r, ACL_CLUSTER_ACTION)) {
        a.error_code = KAFKA_ERR_CLUSTER_AUTHORIZATION_FAILED;
        request_answer(r, &a);
        return;
    }
    ok = request_version(r) < SINCE_SEVERAL ? single(r, q, &a, &seq) : several(r, q, &a, &seq);
    if (ok)
        request_answer_when(r, &a, seq);
    else
        request_close(r, "add partitions to transaction: too many partitions");
}
