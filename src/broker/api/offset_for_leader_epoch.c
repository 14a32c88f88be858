/* OffsetForLeaderEpoch (key 23): where an epoch ended, so that a consumer notices that the log was cut.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "kafka/msg/offset_for_leader_epoch.h"
#include "broker/api.h"

static void one(struct request *r, struct str topic,
                const struct offset_for_leader_epoch_request_partition *q,
                struct offset_for_leader_epoch_response_partition *a)
{
    struct partition *p = broker_partition(r->broker, topic, q->partition);
    int32_t ours = (int32_t)store_start_number(r->broker->store);
    struct err e;

    offset_for_leader_epoch_response_partition_init_defaults(a);
    a->partition = q->partition;
    a->leader_epoch = -1;
    a->end_offset = -1;
    if (!request_allows_topic(r, ACL_DESCRIBE, topic))
        a->error_code = KAFKA_ERR_TOPIC_AUTHORIZATION_FAILED;
    else if (!p)
        a->error_code = KAFKA_ERR_UNKNOWN_TOPIC_OR_PARTITION;
    else if (q->current_leader_epoch != -1 && q->current_leader_epoch != ours)
        a->error_code = q->current_leader_epoch < ours ? KAFKA_ERR_FENCED_LEADER_EPOCH
                                                       : KAFKA_ERR_UNKNOWN_LEADER_EPOCH;
    else if (q->leader_epoch < 0)
        return;
    else if (log_epoch_end(partition_log(p), q->leader_epoch, &a->leader_epoch, &a->end_offset, &e))
        a->error_code = kafka_error_of(&e);
}

void api_offset_for_leader_epoch(struct request *r)
{
    const struct offset_for_leader_epoch_request *q = request_decode(r);
    struct offset_for_leader_epoch_response a = {0};

    if (!q) return;
    a.topics = arena_array(&r->arena, struct offset_for_leader_epoch_response_topic, q->topics_n);
    a.topics_n = q->topics_n;
    for (size_t i = 0; i < q->topics_n; i++) {
        a.topics[i].topic = q->topics[i].topic;
        a.topics[i].partitions_n = q->topics[i].partitions_n;
        a.topics[i].partitions = arena_array(
            &r->arena, struct offset_for_leader_epoch_response_partition, a.topics[i].partitions_n);
        for (size_t k = 0; k < a.topics[i].partitions_n; k++)
            one(r, q->topics[i].topic, &q->topics[i].partitions[k], &a.topics[i].partitions[k]);
    }
    request_answer_when(r, &a, store_staged_seq(r->broker->store)); /* an end may still be staged */
}
