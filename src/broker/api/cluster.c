/* Answers about a cluster of one: DescribeQuorum (key 55), UpdateFeatures (57), UnregisterBroker (64).
 * SPDX-License-Identifier: Apache-2.0
 */
#include "broker/api.h"
#include "broker/api/seen.h"
#include "broker/feature_levels.h"
#include "kafka/msg/describe_quorum.h"
#include "kafka/msg/unregister_broker.h"
#include "kafka/msg/update_features.h"

/* ---- the quorum: this node, and the order of metadata in its wal ---- */

static void quorum(struct request *r, struct describe_quorum_response_partition *p)
{
    struct broker *b = r->broker;
    struct describe_quorum_response_current_voter *v =
        arena_new(&r->arena, struct describe_quorum_response_current_voter);

    p->leader_id = b->opt.node_id;
    p->leader_epoch = (int32_t)store_start_number(b->store) + 1; /* they count from 1 */
    p->high_watermark = (int64_t)b->meta_seq;
    v->replica_id = b->opt.node_id;
    v->log_end_offset = (int64_t)b->meta_seq;
    v->last_fetch_timestamp = v->last_caught_up_timestamp = broker_wall_ms(b);
    p->current_voters = v;
    p->current_voters_n = 1;
}

void api_describe_quorum(struct request *r)
{
    const struct describe_quorum_request *q = request_decode(r);
    struct describe_quorum_response a = {0};
    bool known;

    if (!q) return;
    if (!request_allows_cluster(r, ACL_DESCRIBE)) {
        a.error_code = KAFKA_ERR_CLUSTER_AUTHORIZATION_FAILED;
        request_answer(r, &a);
        return;
    }
    known = q->topics_n == 1 && str_is(q->topics[0].topic_name, "__cluster_metadata") &&
            q->topics[0].partitions_n == 1 && !q->topics[0].partitions[0].partition_index;
    a.topics_n = q->topics_n;
    a.topics = arena_array(&r->arena, struct describe_quorum_response_topic, q->topics_n);
    for (size_t i = 0; i < q->topics_n; i++) {
        struct describe_quorum_response_topic *t = &a.topics[i];

        t->topic_name = q->topics[i].topic_name;
        t->partitions_n = q->topics[i].partitions_n;
        t->partitions =
            arena_array(&r->arena, struct describe_quorum_response_partition, t->partitions_n);
        for (size_t k = 0; k < t->partitions_n; k++) {
            t->partitions[k].partition_index = q->topics[i].partitions[k].partition_index;
            if (known)
                quorum(r, &t->partitions[k]);
            else
                t->partitions[k].error_code = KAFKA_ERR_UNKNOWN_TOPIC_OR_PARTITION;
        }
    }
    request_answer_when(r, &a, r->broker->meta_seq);
}

/* ---- features: what is in force cannot be changed, because nothing else is implemented ---- */

static const struct feature *feature_of(const struct broker *b, struct str name)
{
    for (size_t i = 0; i < features_n(b); i++)
        if (str_is(name, broker_features[i].name)) return &broker_features[i];
    return NULL;
}

static int16_t check_feature(const struct broker *b,
                             const struct update_features_request_feature_update *u,
                             const char **ret_why)
{
    const struct feature *f = feature_of(b, u->feature);

    *ret_why = NULL;
    if (!f && u->max_version_level <= 0) return 0; /* it is not there already */
    *ret_why = "no such feature here";
    if (!f) return KAFKA_ERR_INVALID_UPDATE_VERSION;
    *ret_why = "no such kind of change";
    if (u->upgrade_type < 1 || u->upgrade_type > 3) return KAFKA_ERR_INVALID_UPDATE_VERSION;
    *ret_why = "that level is not supported";
    if (u->max_version_level < f->min || u->max_version_level > f->max)
        return KAFKA_ERR_INVALID_UPDATE_VERSION;
    *ret_why = "this broker has only the level that is in force";
    if (u->max_version_level != f->level) return KAFKA_ERR_INVALID_UPDATE_VERSION;
    *ret_why = NULL;
    return 0;
}

void api_update_features(struct request *r)
{
    const struct update_features_request *q = request_decode(r);
    AUTO(seen_fini) struct seen seen = {0};
    struct update_features_response a = {.error_message = STR("")};

    if (!q) return;
    if (!request_allows_cluster(r, ACL_ALTER)) {
        a.error_code = KAFKA_ERR_CLUSTER_AUTHORIZATION_FAILED;
        request_answer(r, &a);
        return;
    }
    a.results =
        arena_array(&r->arena, struct update_features_response_result, q->feature_updates_n);
    for (size_t i = 0; i < q->feature_updates_n; i++) {
        struct update_features_request_feature_update u = q->feature_updates[i];
        struct update_features_response_result *row;
        const char *why;

        if (seen_add(&seen, u.feature, 0) > 1) continue;
        if (request_version(r) == 0) u.upgrade_type = u.allow_downgrade ? 2 : 1;
        row = &a.results[a.results_n++];
        row->feature = u.feature;
        row->error_code = check_feature(r->broker, &u, &why);
        row->error_message = str_of(why);
    }
    request_answer(r, &a);
}

void api_unregister_broker(struct request *r)
{
    const struct unregister_broker_request *q = request_decode(r);
    struct unregister_broker_response a = {.error_message = STR("")};

    if (!q) return;
    a.error_code = KAFKA_ERR_BROKER_ID_NOT_REGISTERED;
    if (!request_allows_cluster(r, ACL_ALTER))
        a.error_code = KAFKA_ERR_CLUSTER_AUTHORIZATION_FAILED;
    else if (q->broker_id == r->broker->opt.node_id) {
        a.error_code = KAFKA_ERR_INVALID_REQUEST;
        a.error_message = STR("this is the only broker, and it runs");
    }
    request_answer(r, &a);
}
