/* AlterPartitionReassignments (key 45): a partition can only be where it is. SPDX-License-Identifier: Apache-2.0 */
#include "kafka/msg/alter_partition_reassignments.h"
#include "broker/api.h"

static void one(struct request *r, struct str topic,
                const struct alter_partition_reassignments_request_partition *q,
                struct alter_partition_reassignments_response_partition *a)
{
    bool only_us = q->replicas_n == 1 && q->replicas[0] == r->broker->opt.node_id;

    a->partition_index = q->partition_index;
    if (!broker_partition(r->broker, topic, q->partition_index)) {
        a->error_code = KAFKA_ERR_UNKNOWN_TOPIC_OR_PARTITION;
        a->error_message = STR("there is no such topic or partition");
    } else if (q->replicas_null) {
        a->error_code = KAFKA_ERR_NO_REASSIGNMENT_IN_PROGRESS;
        a->error_message = STR("there is no reassignment to cancel");
    } else if (!only_us) {
        a->error_code = KAFKA_ERR_INVALID_REPLICA_ASSIGNMENT;
        a->error_message = STR("this is the only broker: replicas must name it and no other");
    }
}

void api_alter_partition_reassignments(struct request *r)
{
    const struct alter_partition_reassignments_request *q = request_decode(r);
    struct alter_partition_reassignments_response a = {0};

    if (!q) return;
    if (!request_allows_cluster(r, ACL_ALTER)) {
        a.error_code = KAFKA_ERR_CLUSTER_AUTHORIZATION_FAILED;
        request_answer(r, &a);
        return;
    }
    a.responses =
        arena_array(&r->arena, struct alter_partition_reassignments_response_topic, q->topics_n);
    a.responses_n = q->topics_n;
    for (size_t i = 0; i < q->topics_n; i++) {
        a.responses[i].name = q->topics[i].name;
        a.responses[i].partitions_n = q->topics[i].partitions_n;
        a.responses[i].partitions =
            arena_array(&r->arena, struct alter_partition_reassignments_response_partition,
                        q->topics[i].partitions_n);
        for (size_t k = 0; k < q->topics[i].partitions_n; k++)
            one(r, q->topics[i].name, &q->topics[i].partitions[k], &a.responses[i].partitions[k]);
    }
    request_answer(r, &a);
}
