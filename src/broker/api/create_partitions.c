/* CreatePartitions (key 37): more of them; there is no way to fewer. SPDX-License-Identifier: Apache-2.0 */
#include "kafka/msg/create_partitions.h"
#include "broker/api.h"
#include "broker/api/seen.h"

static int16_t check_assignments(const struct broker *b,
                                 const struct create_partitions_request_topic *q, int32_t more,
                                 const char **ret_why)
{
    if (q->assignments_null) return 0;
    *ret_why = "one assignment is needed for each new partition";
    if (q->assignments_n != (size_t)more) return KAFKA_ERR_INVALID_REPLICA_ASSIGNMENT;
    *ret_why = "replicas can only be assigned to this broker, each once";
    for (size_t i = 0; i < q->assignments_n; i++)
        if (q->assignments[i].broker_ids_n != 1 ||
            q->assignments[i].broker_ids[0] != b->opt.node_id)
            return KAFKA_ERR_INVALID_REPLICA_ASSIGNMENT;
    return 0;
}

static int16_t one(struct request *r, const struct create_partitions_request_topic *q,
                   bool validate_only, uint64_t *seq, const char **ret_why)
{
    struct topic *t = broker_topic(r->broker, q->name);
    uint64_t s;
    struct err e;
    int16_t code;

    *ret_why = "Authorization failed.";
    if (!request_allows_topic(r, ACL_ALTER, q->name)) return KAFKA_ERR_TOPIC_AUTHORIZATION_FAILED;
    *ret_why = "there is no such topic";
    if (!t) return KAFKA_ERR_UNKNOWN_TOPIC_OR_PARTITION;
    *ret_why = "the topic has that many partitions, or more, already";
    if (q->count <= t->partitions_n) return KAFKA_ERR_INVALID_PARTITIONS;
    if ((code = check_assignments(r->broker, q, q->count - t->partitions_n, ret_why))) return code;
    *ret_why = "the client is above its controller_mutation_rate";
    if (!validate_only &&
        !request_may_change(r, q->count - t->partitions_n, request_version(r) >= 3))
        return KAFKA_ERR_THROTTLING_QUOTA_EXCEEDED;
    *ret_why = NULL;
    if (validate_only) return 0;
    if (broker_topic_grow(r->broker, t, q->count, &s, &e)) {
        *ret_why = arena_dup_str(&r->arena, str_of(e.text)).p;
        return e.rc == RC_OVERLOAD ? KAFKA_ERR_INVALID_PARTITIONS : kafka_error_of(&e);
    }
    *seq = MAX(*seq, s);
    return 0;
}

void api_create_partitions(struct request *r)
{
    const struct create_partitions_request *q = request_decode(r);
    AUTO(seen_fini) struct seen seen = {0}, told = {0};
    struct create_partitions_response a = {0};
    uint64_t seq = 0;

    if (!q) return;
    a.results = arena_array(&r->arena, struct create_partitions_response_result, q->topics_n);
    for (size_t i = 0; i < q->topics_n; i++)
        seen_add(&seen, q->topics[i].name, 0);
    for (size_t i = 0; i < q->topics_n; i++) {
        struct str name = q->topics[i].name;
        bool twice = seen_count(&seen, name, 0) > 1;
        const char *why = "the topic is named more than once";
        struct create_partitions_response_result *row;

        if (twice && seen_add(&told, name, 0) > 1) continue;
        row = &a.results[a.results_n++];
        row->name = name;
        row->error_code =
            twice ? KAFKA_ERR_INVALID_REQUEST : one(r, &q->topics[i], q->validate_only, &seq, &why);
        row->error_message = str_of(why);
    }
    request_answer_when(r, &a, seq);
}
