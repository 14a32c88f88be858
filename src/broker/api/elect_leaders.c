/* ElectLeaders (key 43): one node leads everything already. SPDX-License-Identifier: Apache-2.0 */
#include "broker/api.h"
#include "kafka/msg/elect_leaders.h"

static void one(struct request *r, struct str topic, int32_t number, struct elect_leaders_response_partition_result *a)
{
    a->partition_id = number;
    a->error_code = broker_partition(r->broker, topic, number) ? KAFKA_ERR_ELECTION_NOT_NEEDED : KAFKA_ERR_UNKNOWN_TOPIC_OR_PARTITION;
    a->error_message = a->error_code == KAFKA_ERR_ELECTION_NOT_NEEDED ? STR("this broker leads the partition already")
                                                                    : STR("there is no such topic or partition");
}

/* topic_partitions null asks for all: every topic is listed, none of its partitions needs an election. */
static void everything(struct request *r, struct elect_leaders_response *a)
{
    a->replica_election_results = arena_array(&r->arena, struct elect_leaders_response_replica_election_result, r->broker->topics_n);
    for (struct topic *t = NULL; (t = broker_topic_next(r->broker, t));)
        a->replica_election_results[a->replica_election_results_n++].topic = t->name;
}

void api_elect_leaders(struct request *r)
{
    const struct elect_leaders_request *q = request_decode(r);
    struct elect_leaders_response a = {0};

    if (!q) return;
    if (q->topic_partitions_null) {
        everything(r, &a);
        request_answer(r, &a);
        return;
    }
    a.replica_election_results = arena_array(&r->arena, struct elect_leaders_response_replica_election_result, q->topic_partitions_n);
    a.replica_election_results_n = q->topic_partitions_n;
    for (size_t i = 0; i < q->topic_partitions_n; i++) {
        const struct elect_leaders_request_topic_partition *t = &q->topic_partitions[i];
        struct elect_leaders_response_replica_election_result *to = &a.replica_election_results[i];

        to->topic = t->topic;
        to->partition_result_n = t->partitions_n;
        to->partition_result = arena_array(&r->arena, struct elect_leaders_response_partition_result, t->partitions_n);
        for (size_t k = 0; k < t->partitions_n; k++) one(r, t->topic, t->partitions[k], &to->partition_result[k]);
    }
    request_answer(r, &a);
}
