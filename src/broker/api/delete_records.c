/* DeleteRecords (key 21): moves the start of a log. The answer waits until that is on disk; files go later.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "kafka/msg/delete_records.h"
#include "broker/api.h"
#include "broker/api/seen.h"

enum { TO_THE_END = -1 };

static int16_t one(struct request *r, struct str topic,
                   const struct delete_records_request_partition *q, int64_t *ret_low,
                   uint64_t *seq)
{
    struct partition *p = broker_partition(r->broker, topic, q->partition_index);
    int64_t to = q->offset;
    uint64_t s = 0;
    struct log *log;
    struct err e;

    if (!request_allows_topic(r, ACL_DELETE, topic)) return KAFKA_ERR_TOPIC_AUTHORIZATION_FAILED;
    if (!p) return KAFKA_ERR_UNKNOWN_TOPIC_OR_PARTITION;
    if (p->topic->internal) return KAFKA_ERR_INVALID_TOPIC_EXCEPTION;
    if (!(p->topic->config.log.cleanup & LOG_CLEANUP_DELETE)) return KAFKA_ERR_POLICY_VIOLATION;
    log = partition_log(p);
    if (log_health(log, &e)) return KAFKA_ERR_KAFKA_STORAGE_ERROR;
    if (to == TO_THE_END) to = log_durable_end(log);
    if (to < 0 || to > log_durable_end(log)) return KAFKA_ERR_OFFSET_OUT_OF_RANGE;
    if (to > log_start(log) && log_delete_records(log, to, &s, &e)) return kafka_error_of(&e);
    *ret_low = log_start(log);
    *seq = MAX(*seq, s);
    return 0;
}

/* A partition that is named more than once: the last of them counts, as in Kafka, and none of the others deletes anything. */
static void repeated_drop(struct delete_records_request *q)
{
    AUTO(seen_fini) struct seen seen = {0};

    for (size_t i = q->topics_n; i-- > 0;) {
        struct delete_records_request_topic *t = &q->topics[i];
        size_t kept = t->partitions_n;

        for (size_t k = t->partitions_n; k-- > 0;)
            if (seen_add(&seen, t->name, t->partitions[k].partition_index) == 1)
                t->partitions[--kept] = t->partitions[k];
        t->partitions += kept;
        t->partitions_n -= kept;
    }
}

void api_delete_records(struct request *r)
{
    struct delete_records_request *q = request_decode(r);
    struct delete_records_response a = {0};
    uint64_t seq = 0;

    if (!q) return;
    repeated_drop(q);
    a.topics = arena_array(&r->arena, struct delete_records_response_topic, q->topics_n);
    for (size_t i = 0; i < q->topics_n; i++) {
        struct delete_records_response_topic *t = &a.topics[a.topics_n];

        if (!q->topics[i].partitions_n) continue;
        a.topics_n++;
        t->name = q->topics[i].name;
        t->partitions_n = q->topics[i].partitions_n;
        t->partitions =
            arena_array(&r->arena, struct delete_records_response_partition, t->partitions_n);
        for (size_t k = 0; k < t->partitions_n; k++) {
            t->partitions[k].partition_index = q->topics[i].partitions[k].partition_index;
            t->partitions[k].low_watermark = -1;
            t->partitions[k].error_code =
                one(r, t->name, &q->topics[i].partitions[k], &t->partitions[k].low_watermark, &seq);
        }
    }
    if (seq) store_checkpoint_soon(r->broker->store);
    request_answer_when(r, &a, MAX(seq, store_staged_seq(r->broker->store)));
}
