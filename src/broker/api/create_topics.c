/* CreateTopics (key 19). Every topic is checked and created by itself; the answer says what came out, with the settings in
 * force, and leaves when the records of all of them are on disk.   SPDX-License-Identifier: Apache-2.0
 */
#include "kafka/msg/create_topics.h"
#include "broker/api.h"
#include "broker/api/seen.h"
#include "broker/config_table.h"

static void refuse(struct request *r, struct create_topics_response_topic *a, int16_t code,
                   const char *text)
{
    a->error_code = code;
    a->error_message = arena_dup_str(&r->arena, str_of(text));
    a->num_partitions = -1;
    a->replication_factor = -1;
}

/* A manual assignment says how many partitions there are; each must be ours, once. */
static int16_t check_assignment(const struct broker *b, const struct create_topics_request_topic *q,
                                const char **ret_why)
{
    AUTO(seen_fini) struct seen seen = {0};

    if (q->num_partitions != -1 || q->replication_factor != -1) {
        *ret_why =
            "partitions and replication factor must be -1 when replicas are assigned by hand";
        return KAFKA_ERR_INVALID_REQUEST;
    }
    for (size_t i = 0; i < q->assignments_n; i++)
        seen_add(&seen, STR(""), q->assignments[i].partition_index);
    for (size_t i = 0; i < q->assignments_n; i++) {
        *ret_why = "partitions must be numbered from 0 without gaps";
        if (seen_count(&seen, STR(""), (int32_t)i) != 1)
            return KAFKA_ERR_INVALID_REPLICA_ASSIGNMENT;
        *ret_why = "replicas can only be assigned to this broker, each once";
        if (q->assignments[i].broker_ids_n != 1 ||
            q->assignments[i].broker_ids[0] != b->opt.node_id)
            return KAFKA_ERR_INVALID_REPLICA_ASSIGNMENT;
    }
    return 0;
}

/* What was asked for is told as it was written, like in Kafka. */
static void tell_settings(struct request *r, const struct topic_config *c,
                          const struct broker_topic_spec *spec,
                          struct create_topics_response_topic *a)
{
    size_t n = topic_config_rows();

    if (!request_allows_topic(r, ACL_DESCRIBE_CONFIGS, spec->name)) {
        a->topic_config_error_code = KAFKA_ERR_TOPIC_AUTHORIZATION_FAILED;
        a->configs_null = true;
        return;
    }
    a->configs = arena_array(&r->arena, struct create_topics_response_config, n);
    a->configs_n = n;
    for (size_t i = 0; i < n; i++) {
        struct config_row row;

        topic_config_row(c, &r->broker->config, i, &row);
        a->configs[i] = (struct create_topics_response_config){
            .name = str_of(row.name),
            .value = arena_dup_str(&r->arena, row.value),
            .read_only = row.read_only,
            .config_source = (int8_t)topic_config_origin(c, &r->broker->config, i),
            .is_sensitive = row.sensitive};
        for (size_t k = 0; k < spec->configs_n; k++)
            if (str_is(spec->configs[k].name, row.name))
                a->configs[i].value = spec->configs[k].value;
    }
}

static void only_checked(struct request *r, const struct broker_topic_spec *spec,
                         struct create_topics_response_topic *a)
{
    struct topic_config c = {0};
    struct err e;

    for (size_t i = 0; i < spec->configs_n; i++)
        (void)!topic_config_set(&c, spec->configs[i].name, spec->configs[i].value, &e);
    tell_settings(r, &c, spec, a);
    topic_config_fini(&c);
}

static void create(struct request *r, const struct broker_topic_spec *spec, bool validate_only,
                   struct create_topics_response_topic *a, uint64_t *seq)
{
    struct broker *b = r->broker;
    struct topic_counts counts;
    struct topic *t;
    uint64_t s;
    struct err e;
    int16_t code = topic_refusal(b, spec, &counts, &e);

    if (code) {
        refuse(r, a, code, e.text);
        return;
    }
    if (!validate_only && !request_may_change(r, counts.partitions, request_version(r) >= 6)) {
        refuse(r, a, KAFKA_ERR_THROTTLING_QUOTA_EXCEEDED,
               "the client is above its controller_mutation_rate");
        return;
    }
    if (validate_only) {
        only_checked(r, spec, a);
    } else if (broker_topic_create(b, spec, &t, &s, &e)) {
        refuse(r, a, kafka_error_of(&e), e.text);
        return;
    } else {
        *seq = MAX(*seq, s);
        a->topic_id = t->id;
        tell_settings(r, &t->config, spec, a);
    }
    if (a->topic_config_error_code) return; /* what it looks like is not told either */
    a->num_partitions = counts.partitions;
    a->replication_factor = counts.replication;
}

static void one(struct request *r, const struct create_topics_request *q,
                const struct create_topics_request_topic *t, struct create_topics_response_topic *a,
                uint64_t *seq)
{
    struct broker_topic_spec spec = {.name = t->name,
                                     .partitions = t->num_partitions,
                                     .replication = t->replication_factor,
                                     .configs_n = t->configs_n};
    struct broker_setting *settings = arena_array(&r->arena, struct broker_setting, t->configs_n);
    const char *why;
    int16_t code;

    if (!request_allows_cluster(r, ACL_CREATE) && !request_allows_topic(r, ACL_CREATE, t->name)) {
        refuse(r, a, KAFKA_ERR_TOPIC_AUTHORIZATION_FAILED, "Authorization failed.");
        return;
    }
    for (size_t i = 0; i < t->configs_n; i++)
        settings[i] = (struct broker_setting){t->configs[i].name, t->configs[i].value};
    spec.configs = settings;
    if (t->assignments_n) {
        if ((code = check_assignment(r->broker, t, &why))) {
            refuse(r, a, code, why);
            return;
        }
        spec.partitions = (int32_t)t->assignments_n;
    }
    create(r, &spec, q->validate_only, a, seq);
}

/* Those that are named twice are refused once, behind all others. */
void api_create_topics(struct request *r)
{
    const struct create_topics_request *q = request_decode(r);
    AUTO(seen_fini) struct seen seen = {0}, told = {0};
    struct create_topics_response a = {0};
    uint64_t seq = 0;

    if (!q) return;
    a.topics = arena_array(&r->arena, struct create_topics_response_topic, q->topics_n);
    for (size_t i = 0; i < q->topics_n; i++)
        seen_add(&seen, q->topics[i].name, 0);
    for (int pass = 0; pass < 2; pass++)
        for (size_t i = 0; i < q->topics_n; i++) {
            const struct create_topics_request_topic *t = &q->topics[i];
            struct create_topics_response_topic *row = &a.topics[a.topics_n];

            if ((seen_count(&seen, t->name, 0) > 1) != (pass == 1) ||
                (pass == 1 && seen_add(&told, t->name, 0) > 1))
                continue;
            a.topics_n++;
            create_topics_response_topic_init_defaults(row);
            row->name = t->name;
            row->error_message = (struct str){0};
            if (pass == 0)
                one(r, q, t, row, &seq);
            else
                refuse(r, row, KAFKA_ERR_INVALID_REQUEST, "the topic is named more than once");
        }
    request_answer_when(r, &a, seq);
}
