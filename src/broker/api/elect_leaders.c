/* ElectLeaders (key 43): the leader is always the one it should be. SPDX-License-Identifier: Apache-2.0 */
#include "kafka/msg/elect_leaders.h"
#include "broker/api.h"

enum { ELECTION_TYPES = 2 };

static void fill(struct request *r, const struct elect_leaders_request *q, size_t i,
                 struct elect_leaders_response_replica_election_result *a)
{
    const struct elect_leaders_request_topic_partition *t = &q->topic_partitions[i];
    bool bad = q->election_type < 0 || q->election_type >= ELECTION_TYPES;

    a->topic = t->topic;
    a->partition_result_n = t->partitions_n;
    a->partition_result =
        arena_array(&r->arena, struct elect_leaders_response_partition_result, t->partitions_n);
    for (size_t k = 0; k < t->partitions_n; k++) {
        bool known = broker_partition(r->broker, t->topic, t->partitions[k]) != NULL;

        a->partition_result[k].partition_id = t->partitions[k];
        a->partition_result[k].error_code = bad     ? KAFKA_ERR_INVALID_REQUEST
                                            : known ? KAFKA_ERR_ELECTION_NOT_NEEDED
                                                    : KAFKA_ERR_UNKNOWN_TOPIC_OR_PARTITION;
        a->partition_result[k].error_message = bad     ? STR("no such kind of election")
                                               : known ? STR("this broker leads it already")
                                                       : STR("there is no such partition");
    }
}

void api_elect_leaders(struct request *r)
{
    const struct elect_leaders_request *q = request_decode(r);
    struct elect_leaders_response a = {0};
    struct broker *b = r->broker;

    if (!q) return;
    if (q->election_type < 0 || q->election_type >= ELECTION_TYPES)
        a.error_code = KAFKA_ERR_INVALID_REQUEST;
    if (!request_allows_cluster(r, ACL_ALTER))
        a.error_code = KAFKA_ERR_CLUSTER_AUTHORIZATION_FAILED;
    a.replica_election_results_n = q->topic_partitions_null ? b->topics_n : q->topic_partitions_n;
    a.replica_election_results =
        arena_array(&r->arena, struct elect_leaders_response_replica_election_result,
                    a.replica_election_results_n);
    if (a.error_code == KAFKA_ERR_CLUSTER_AUTHORIZATION_FAILED) a.replica_election_results_n = 0;
    for (size_t i = 0; i < a.replica_election_results_n; i++) {
        if (q->topic_partitions_null)
            a.replica_election_results[i].topic = b->topics_sorted[i]->name;
        else
            fill(r, q, i, &a.replica_election_results[i]);
    }
    request_answer_when(r, &a, b->meta_seq);
}
