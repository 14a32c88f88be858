/* AlterPartitionReassignments (key 45) and ListPartitionReassignments (key 46): one broker has nothing to move and nowhere to
 * move it to, and says so.   SPDX-License-Identifier: Apache-2.0
 */
#include "broker/api.h"
#include "kafka/msg/alter_partition_reassignments.h"
#include "kafka/msg/list_partition_reassignments.h"

static int16_t check(struct request *r, struct str topic,
                     const struct alter_partition_reassignments_request_partition *q,
                     const char **ret_why)
{
    *ret_why = "there is no such partition";
    if (!broker_partition(r->broker, topic, q->partition_index))
        return KAFKA_ERR_UNKNOWN_TOPIC_OR_PARTITION;
    *ret_why = NULL;
    if (q->replicas_null) return KAFKA_ERR_NO_REASSIGNMENT_IN_PROGRESS;
    if (q->replicas_n == 1 && q->replicas[0] == r->broker->opt.node_id) return 0;
    *ret_why = "replicas can only be assigned to this broker, each once";
    return KAFKA_ERR_INVALID_REPLICA_ASSIGNMENT;
}

void api_alter_partition_reassignments(struct request *r)
{
    const struct alter_partition_reassignments_request *q = request_decode(r);
    struct alter_partition_reassignments_response a = {0};

    if (!q) return;
    a.responses_n = q->topics_n;
    a.responses =
        arena_array(&r->arena, struct alter_partition_reassignments_response_topic, q->topics_n);
    for (size_t i = 0; i < q->topics_n; i++) {
        struct alter_partition_reassignments_response_topic *t = &a.responses[i];

        t->name = q->topics[i].name;
        t->partitions_n = q->topics[i].partitions_n;
        t->partitions = arena_array(
            &r->arena, struct alter_partition_reassignments_response_partition, t->partitions_n);
        for (size_t k = 0; k < t->partitions_n; k++) {
            const char *why;

            t->partitions[k].partition_index = q->topics[i].partitions[k].partition_index;
            t->partitions[k].error_code = check(r, t->name, &q->topics[i].partitions[k], &why);
            t->partitions[k].error_message = str_of(why);
        }
    }
    request_answer_when(r, &a, r->broker->meta_seq);
}

void api_list_partition_reassignments(struct request *r)
{
    struct list_partition_reassignments_response a = {0};

    if (request_decode(r)) request_answer(r, &a);
}
