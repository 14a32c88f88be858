/* DescribeProducers (key 61): what a partition remembers of its producers. SPDX-License-Identifier: Apache-2.0 */
#include "kafka/msg/describe_producers.h"
#include "broker/api.h"

static void list(struct request *r, const struct producers *ps,
                 struct describe_producers_response_partition *a)
{
    struct bytes key;
    size_t at = 0;
    void *v;

    a->active_producers =
        arena_array(&r->arena, struct describe_producers_response_active_producer, ps->by_id.n);
    while (map_next(&ps->by_id, &at, &key, &v)) {
        const struct producer *p = v;

        a->active_producers[a->active_producers_n++] =
            (struct describe_producers_response_active_producer){
                .producer_id = p->id,
                .producer_epoch = p->epoch,
                .last_sequence = p->n ? p->window[p->n - 1].last_seq : -1,
                .last_timestamp = p->last_timestamp,
                .coordinator_epoch = p->coordinator_epoch,
                .current_txn_start_offset = p->txn_first_offset};
    }
}

static void one(struct request *r, struct str topic,
                struct describe_producers_response_partition *a)
{
    struct partition *p = broker_partition(r->broker, topic, a->partition_index);
    struct producers *ps;
    const char *why;
    struct err e;

    if (!topic_name_ok(topic, &why)) {
        a->error_code = KAFKA_ERR_INVALID_TOPIC_EXCEPTION;
        a->error_message = str_of(why);
    } else if (!request_allows_topic(r, ACL_READ, topic)) {
        a->error_code = KAFKA_ERR_TOPIC_AUTHORIZATION_FAILED;
    } else if (!p) {
        a->error_code = KAFKA_ERR_UNKNOWN_TOPIC_OR_PARTITION;
    } else if (!(ps = log_producers(partition_log(p), &e))) {
        a->error_code = kafka_error_of(&e);
        a->error_message = arena_dup_str(&r->arena, str_of(e.text));
    } else {
        list(r, ps, a);
    }
}

void api_describe_producers(struct request *r)
{
    const struct describe_producers_request *q = request_decode(r);
    struct describe_producers_response a = {0};

    if (!q) return;
    a.topics_n = q->topics_n;
    a.topics = arena_array(&r->arena, struct describe_producers_response_topic, q->topics_n);
    for (size_t i = 0; i < q->topics_n; i++) {
        struct describe_producers_response_topic *t = &a.topics[i];

        t->name = q->topics[i].name;
        t->partitions_n = q->topics[i].partition_indexes_n;
        t->partitions =
            arena_array(&r->arena, struct describe_producers_response_partition, t->partitions_n);
        for (size_t k = 0; k < t->partitions_n; k++) {
            t->partitions[k].partition_index = q->topics[i].partition_indexes[k];
            one(r, t->name, &t->partitions[k]);
        }
    }
    request_answer_when(r, &a, store_staged_seq(r->broker->store));
}
