/* Metadata (key 3): who leads what. One node leads all of it, so the answer is short work; a topic that is asked for by
 * name and does not exist is created, if that is wanted, before the answer says that it is there.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "kafka/msg/metadata.h"
#include "base/diag.h"
#include "broker/api.h"
#include "broker/api/seen.h"

static void fill_partitions(struct request *r, const struct topic *t, int32_t *self,
                            struct metadata_response_topic *a)
{
    a->partitions_n = (size_t)t->partitions_n;
    a->partitions = arena_array(&r->arena, struct metadata_response_partition, a->partitions_n);
    for (size_t i = 0; i < a->partitions_n; i++) {
        struct metadata_response_partition *p = &a->partitions[i];

        p->partition_index = (int32_t)i;
        p->leader_id = r->broker->opt.node_id;
        p->leader_epoch = (int32_t)store_start_number(r->broker->store);
        p->replica_nodes = p->isr_nodes = self;
        p->replica_nodes_n = p->isr_nodes_n = 1;
    }
}

static void fill(struct request *r, const struct topic *t, const struct metadata_request *q,
                 int32_t *self, struct metadata_response_topic *a)
{
    a->name = t->name;
    a->topic_id = t->id;
    a->is_internal = t->internal;
    if (q->include_topic_authorized_operations)
        a->topic_authorized_operations = request_operations(r, ACL_TOPIC, t->name);
    fill_partitions(r, t, self, a);
}

/* Kafka's code for a name that does not exist; 0: it does now. */
static int16_t auto_create(struct request *r, struct str name, bool wanted, struct topic **ret)
{
    struct broker_topic_spec spec = {.name = name, .partitions = -1, .replication = -1};
    struct broker *b = r->broker;
    const char *why;
    uint64_t seq;
    struct err e;

    if (!topic_name_ok(name, &why)) return KAFKA_ERR_INVALID_TOPIC_EXCEPTION;
    if (wanted && b->config.auto_create_topics && !request_allows_cluster(r, ACL_CREATE) &&
        !request_allows_topic(r, ACL_CREATE, name))
        return KAFKA_ERR_TOPIC_AUTHORIZATION_FAILED;
    if (!wanted || !b->config.auto_create_topics || str_starts(name, STR("__")))
        return KAFKA_ERR_UNKNOWN_TOPIC_OR_PARTITION;
    if (!broker_topic_create(b, &spec, ret, &seq, &e)) return 0;
    diag(DIAG_INFO, "broker.topic_not_created", KV_STR("topic", name), KV_CSTR("why", e.text));
    return KAFKA_ERR_UNKNOWN_TOPIC_OR_PARTITION;
}

static void one(struct request *r, const struct metadata_request *q,
                const struct metadata_request_topic *t, int32_t *self,
                struct metadata_response_topic *a)
{
    struct broker *b = r->broker;
    bool by_id = !uuid_is_zero(&t->topic_id);
    struct topic *found;

    a->name = t->name;
    a->topic_id = t->topic_id;
    if (q->include_topic_authorized_operations)
        a->topic_authorized_operations = request_operations(r, ACL_TOPIC, t->name);
    if ((by_id && request_version(r) < 12) || (!by_id && !t->name.p)) {
        a->error_code = KAFKA_ERR_INVALID_REQUEST;
        if (!t->name.p) a->name = STR("");
        return;
    }
    found = by_id ? topic_by_id(b, &t->topic_id) : broker_topic(b, t->name);
    if (by_id ? found && !request_allows_topic(r, ACL_DESCRIBE, found->name)
              : !request_allows_topic(r, ACL_DESCRIBE, t->name)) {
        a->error_code =
            by_id ? KAFKA_ERR_UNKNOWN_TOPIC_ID
                  : KAFKA_ERR_TOPIC_AUTHORIZATION_FAILED; /* whether it exists is not told */
        return;
    }
    if (!found && by_id) {
        a->error_code = KAFKA_ERR_UNKNOWN_TOPIC_ID;
        a->name = (struct str){0};
        return;
    }
    if (!found)
        a->error_code =
            auto_create(r, t->name, request_version(r) < 4 || q->allow_auto_topic_creation, &found);
    if (found) fill(r, found, q, self, a);
}

static void all(struct request *r, const struct metadata_request *q, int32_t *self,
                struct metadata_response *a)
{
    struct broker *b = r->broker;

    a->topics = arena_array(&r->arena, struct metadata_response_topic, b->topics_n);
    for (size_t i = 0; i < b->topics_n; i++) {
        struct metadata_response_topic *row = &a->topics[a->topics_n];

        if (!request_allows_topic(r, ACL_DESCRIBE, b->topics_sorted[i]->name)) continue;
        metadata_response_topic_init_defaults(row);
        fill(r, b->topics_sorted[i], q, self, row);
        a->topics_n++;
    }
}

static bool is_new(struct seen *seen, const struct metadata_request_topic *t)
{
    bool by_id = !uuid_is_zero(&t->topic_id);

    return seen_add(seen, by_id ? (struct str){(const char *)t->topic_id.b, sizeof t->topic_id.b} : t->name, by_id) == 1;
}

void api_metadata(struct request *r)
{
    const struct metadata_request *q = request_decode(r);
    struct broker *b = r->broker;
    struct metadata_response_broker node = {0};
    AUTO(seen_fini) struct seen seen = {0};
    struct metadata_response a;
    int32_t self = b->opt.node_id;

    if (!q) return;
    metadata_response_init_defaults(&a);
    node.node_id = self;
    node.host = r->conn->listener->host;
    node.port = r->conn->listener->port;
    a.brokers = &node;
    a.brokers_n = 1;
    a.cluster_id = str_of(b->cluster_id);
    a.controller_id = self;
    if (q->include_cluster_authorized_operations)
        a.cluster_authorized_operations = request_operations(r, ACL_CLUSTER, ACL_CLUSTER_NAME);
    if (q->topics_null || (request_version(r) == 0 && !q->topics_n)) {
        all(r, q, &self, &a);
    } else {
        a.topics = arena_array(&r->arena, struct metadata_response_topic, q->topics_n);
        for (size_t i = 0; i < q->topics_n; i++) {
            if (!is_new(&seen, &q->topics[i])) continue; /* asked for again: one answer, as Kafka gives */
            metadata_response_topic_init_defaults(&a.topics[a.topics_n]);
            one(r, q, &q->topics[i], &self, &a.topics[a.topics_n++]);
        }
    }
    request_answer_when(r, &a, b->meta_seq);
}
