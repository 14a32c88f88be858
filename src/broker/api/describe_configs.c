/* DescribeConfigs (key 32): every setting of a topic or of this broker, its value, and where the value comes from.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "kafka/msg/describe_configs.h"
#include "broker/api.h"
#include "broker/api/config_resource.h"
#include "broker/client_metrics.h"
#include "broker/group_config.h"

struct view {
    struct request *r;
    const struct describe_configs_request *q;
    const struct topic *t;
};

static size_t rows_n(const struct view *v)
{
    return v->t ? topic_config_rows() : broker_config_rows();
}

static void row_of(const struct view *v, size_t i, struct config_row *ret)
{
    if (v->t)
        topic_config_row(&v->t->config, &v->r->broker->config, i, ret);
    else
        broker_config_row(&v->r->broker->config, i, ret);
}

static bool is_wanted(const struct describe_configs_request_resource *q, const char *name)
{
    if (q->configuration_keys_null || !q->configuration_keys_n) return true;
    for (size_t i = 0; i < q->configuration_keys_n; i++)
        if (str_is(q->configuration_keys[i], name)) return true;
    return false;
}

static void fill(const struct view *v, const struct config_row *row,
                 struct describe_configs_response_config *a)
{
    struct arena *arena = &v->r->arena;

    describe_configs_response_config_init_defaults(a);
    a->name = str_of(row->name);
    a->value = row->value.p ? arena_dup_str(arena, row->value) : row->value;
    a->read_only = row->read_only;
    a->is_default = row->source == CONFIG_SOURCE_DEFAULT;
    a->config_source = (int8_t)row->source;
    a->is_sensitive = row->sensitive;
    a->config_type = (int8_t)row->type;
    if (v->q->include_documentation) a->documentation = str_of(row->doc);
    if (!v->q->include_synonyms) return;
    a->synonyms = arena_array(arena, struct describe_configs_response_synonym, row->synonyms_n);
    a->synonyms_n = row->synonyms_n;
    for (size_t i = 0; i < row->synonyms_n; i++)
        a->synonyms[i] = (struct describe_configs_response_synonym){
            str_of(row->synonyms[i].name), row->synonyms[i].value, (int8_t)row->synonyms[i].source};
}

static void list(const struct view *v, const struct describe_configs_request_resource *q,
                 bool only_dynamic, struct describe_configs_response_result *a)
{
    size_t n = rows_n(v);

    a->configs = arena_array(&v->r->arena, struct describe_configs_response_config, n);
    for (size_t i = 0; i < n; i++) {
        struct config_row row;

        row_of(v, i, &row);
        if (!is_wanted(q, row.name)) continue;
        if (only_dynamic) {
            row.value = broker_config_own(&v->r->broker->config, CONFIG_SOURCE_DEFAULT_BROKER, i);
            row.source = CONFIG_SOURCE_DEFAULT_BROKER;
            if (!row.value.p) continue;
        }
        fill(v, &row, &a->configs[a->configs_n++]);
    }
}

enum { SOURCE_CLIENT_METRICS = 7, SOURCE_GROUP = 8 };

/* What is set; all of it, whatever was asked for, as in Kafka. */
static void list_metrics(const struct view *v, struct str name,
                         struct describe_configs_response_result *a)
{
    const struct client_metrics *m = client_metrics_get(&v->r->broker->client_metrics, name);
    struct arena *arena = &v->r->arena;

    if (!m) return;
    a->configs = arena_array(arena, struct describe_configs_response_config, CLIENT_METRICS_KEYS);
    for (int k = 0; k < CLIENT_METRICS_KEYS; k++) {
        struct describe_configs_response_config *c = &a->configs[a->configs_n];

        if (!m->value[k]) continue;
        a->configs_n++;
        describe_configs_response_config_init_defaults(c);
        c->name = str_of(client_metrics_key_name((enum client_metrics_key)k));
        c->value = arena_dup_str(arena, str_of(m->value[k]));
        c->config_source = SOURCE_CLIENT_METRICS;
    }
}

static void list_group(const struct view *v, const struct describe_configs_request_resource *q,
                       struct describe_configs_response_result *a)
{
    struct broker *b = v->r->broker;
    struct group_config_values own = group_config_get(&b->group_configs, q->resource_name);
    struct arena *arena = &v->r->arena;

    a->configs = arena_array(arena, struct describe_configs_response_config, GROUP_CONFIG_KEYS);
    for (int i = 0; i < GROUP_CONFIG_KEYS; i++) {
        enum group_config_key k = (enum group_config_key)i;
        struct config_synonym only = {
            .name = group_config_key_name(k),
            .value = arena_printf(arena, "%d", group_config_value(&own, &b->config, k)),
            .source = CONFIG_SOURCE_DEFAULT};
        struct config_row row = {.name = only.name,
                                 .doc = group_config_key_doc(k),
                                 .type = CONFIG_INT,
                                 .value = only.value,
                                 .source = CONFIG_SOURCE_DEFAULT,
                                 .synonyms_n = 1};
        struct describe_configs_response_config *to = &a->configs[a->configs_n];

        row.synonyms[0] = only;
        if (!is_wanted(q, row.name)) continue;
        a->configs_n++;
        fill(v, &row, to);
        if (!own.value[k]) continue;
        to->is_default = false;
        to->config_source = SOURCE_GROUP;
        if (to->synonyms_n) to->synonyms[0].source = SOURCE_GROUP;
    }
}

static void one(struct request *r, const struct describe_configs_request *q,
                const struct describe_configs_request_resource *s,
                struct describe_configs_response_result *a)
{
    struct view v = {.r = r, .q = q};
    struct config_resource found;

    describe_configs_response_result_init_defaults(a);
    a->resource_type = s->resource_type;
    a->resource_name = s->resource_name;
    if (!config_resource_allows(r, ACL_DESCRIBE_CONFIGS, s->resource_type, s->resource_name,
                                &a->error_code)) {
        a->error_message = STR("");
        return;
    }
    a->error_code = config_resource_find(r->broker, s->resource_type, s->resource_name, &found,
                                         &a->error_message);
    if (!a->error_message.p) a->error_message = STR("");
    if (a->error_code || found.kind == RESOURCE_NOTHING) return;
    if (found.kind == RESOURCE_CLIENT_METRICS) {
        list_metrics(&v, s->resource_name, a);
        return;
    }
    if (found.kind == RESOURCE_GROUP) {
        list_group(&v, s, a);
        return;
    }
    v.t = found.topic;
    list(&v, s, found.kind == RESOURCE_BROKER_DEFAULT, a);
}

void api_describe_configs(struct request *r)
{
    const struct describe_configs_request *q = request_decode(r);
    struct describe_configs_response a = {0};

    if (!q) return;
    a.results = arena_array(&r->arena, struct describe_configs_response_result, q->resources_n);
    a.results_n = q->resources_n;
    for (size_t i = 0; i < q->resources_n; i++)
        one(r, q, &q->resources[i], &a.results[i]);
    request_answer_when(r, &a, r->broker->meta_seq);
}
