/* AlterConfigs (key 33) replaces all own settings of a resource, IncrementalAlterConfigs (key 44) changes some. Either way
 * a resource changes as a whole or not at all.   SPDX-License-Identifier: Apache-2.0
 */
#include "kafka/msg/alter_configs.h"
#include "broker/api.h"
#include "broker/api/config_resource.h"
#include "broker/api/seen.h"
#include "broker/client_metrics.h"
#include "broker/group_config.h"
#include "kafka/msg/incremental_alter_configs.h"

enum operation { OP_SET, OP_DELETE, OP_APPEND, OP_SUBTRACT };

/* Both requests in one shape. */
struct change {
    struct str name, value;
    int8_t op;
};
struct changes {
    struct request *r;
    struct change *list;
    size_t n;
    bool replace, validate_only;
    uint64_t seq;
};

static int16_t refuse(struct changes *c, struct str *ret_why, int16_t code, const char *why)
{
    *ret_why = arena_dup_str(&c->r->arena, str_of(why));
    return code;
}

/* Of a broker's setting: whatever is wrong with it, the request is. */
static int16_t broker_code_of(const struct err *e)
{
    return e->rc == RC_DENIED || e->rc == RC_NOT_FOUND || e->rc == RC_INVALID
               ? KAFKA_ERR_INVALID_REQUEST
               : kafka_error_of(e);
}

static int16_t code_of(const struct err *e)
{
    return e->rc == RC_DENIED                             ? KAFKA_ERR_INVALID_REQUEST
           : e->rc == RC_NOT_FOUND || e->rc == RC_INVALID ? KAFKA_ERR_INVALID_CONFIG
                                                          : kafka_error_of(e);
}

/* ---- lists ---- */

static bool list_has(struct str list, struct str word)
{
    struct str rest = list, head;
    bool more;

    do {
        more = str_cut(rest, ',', &head, &rest);
        if (str_eq(str_trim(head), word)) return true;
    } while (more);
    return false;
}

static struct str list_add(struct arena *a, struct str list, struct str words)
{
    struct str rest = words, head;
    bool more;

    do {
        more = str_cut(rest, ',', &head, &rest);
        head = str_trim(head);
        if (head.n && !list_has(list, head))
            list =
                list.n ? arena_printf(a, STR_FMT "," STR_FMT, STR_ARG(list), STR_ARG(head)) : head;
    } while (more);
    return list;
}

static struct str list_drop(struct arena *a, struct str list, struct str words)
{
    struct str rest = list, head, out = {0};
    bool more;

    do {
        more = str_cut(rest, ',', &head, &rest);
        head = str_trim(head);
        if (head.n && !list_has(words, head))
            out = out.n ? arena_printf(a, STR_FMT "," STR_FMT, STR_ARG(out), STR_ARG(head)) : head;
    } while (more);
    return out.p ? out : STR("");
}

/* The value that is to be set; .p NULL: removed. */
static int16_t value_of(struct changes *c, const struct change *ch, bool is_list, struct str now,
                        struct str *ret, struct str *ret_why)
{
    if (ch->op < OP_SET || ch->op > OP_SUBTRACT)
        return refuse(c, ret_why, KAFKA_ERR_INVALID_REQUEST, "no such operation");
    *ret = (struct str){0};
    if (ch->op == OP_DELETE) return 0;
    if (!ch->value.p) return refuse(c, ret_why, KAFKA_ERR_INVALID_REQUEST, "a value is needed");
    *ret = ch->value;
    if (ch->op == OP_SET) return 0;
    if (!is_list)
        return refuse(c, ret_why, KAFKA_ERR_INVALID_CONFIG,
                      "only lists can be appended to or subtracted from");
    *ret = ch->op == OP_APPEND ? list_add(&c->r->arena, now, ch->value)
                               : list_drop(&c->r->arena, now, ch->value);
    return 0;
}

/* ---- a topic ---- */

static int16_t topic_apply(struct changes *c, struct topic_config *into, struct str *ret_why)
{
    struct err e;

    for (size_t i = 0; i < c->n; i++) {
        size_t row = topic_config_find(c->list[i].name);
        struct config_row now = {0};
        struct str value;
        int16_t code;

        if (row != SIZE_MAX) topic_config_row(into, &c->r->broker->config, row, &now);
        if ((code = value_of(c, &c->list[i], row != SIZE_MAX && topic_config_is_list(row),
                             now.value, &value, ret_why)))
            return code;
        if (row == SIZE_MAX && c->list[i].op == OP_DELETE) continue; /* it is not set */
        if (topic_config_set(into, c->list[i].name, value, &e))
            return refuse(c, ret_why, code_of(&e), e.text);
    }
    return 0;
}

static int16_t topic_change_known(struct changes *c, struct topic *t, struct str *ret_why)
{
    struct topic_config config = {0};
    uint64_t seq;
    struct err e;
    int16_t code;

    if (!c->replace) topic_config_copy(&config, &t->config);
    code = topic_apply(c, &config, ret_why);
    if (!code && !c->validate_only) {
        if (broker_topic_configure(t->broker, t, &config, &seq, &e))
            code = refuse(c, ret_why, kafka_error_of(&e), e.text);
        else
            c->seq = MAX(c->seq, seq);
    }
    topic_config_fini(&config);
    return code;
}

/* What is wrong whatever the topic and the values may be. */
static int16_t topic_check_shape(struct changes *c, struct str *ret_why)
{
    AUTO(seen_fini) struct seen seen = {0};

    for (size_t i = 0; i < c->n; i++)
        if (seen_add(&seen, c->list[i].name, 0) > 1)
            return refuse(c, ret_why, KAFKA_ERR_INVALID_REQUEST,
                          "a setting is named more than once");
    for (size_t i = 0; i < c->n; i++) {
        size_t row = topic_config_find(c->list[i].name);
        struct str value;
        int16_t code = value_of(c, &c->list[i], row != SIZE_MAX && topic_config_is_list(row),
                                STR(""), &value, ret_why);

        if (code) return code;
    }
    return 0;
}

/* In Kafka's order: the request, the topic's name, the values, and only then whether there is such a topic. */
static int16_t topic_change(struct changes *c, struct str name, struct str *ret_why)
{
    struct topic_config nothing = {0};
    struct topic *t = broker_topic(c->r->broker, name);
    int16_t code = topic_check_shape(c, ret_why);
    const char *why;

    if (code) return code;
    if (!name.n) return refuse(c, ret_why, KAFKA_ERR_INVALID_REQUEST, "the topic has no name");
    if (!topic_name_ok(name, &why))
        return refuse(c, ret_why, KAFKA_ERR_INVALID_TOPIC_EXCEPTION, why);
    if (t) return topic_change_known(c, t, ret_why);
    code = topic_apply(c, &nothing, ret_why);
    topic_config_fini(&nothing);
    return code ? code : refuse(c, ret_why, KAFKA_ERR_UNKNOWN_TOPIC_OR_PARTITION, "");
}

/* ---- the broker ---- */

static int16_t broker_check(struct changes *c, enum config_source level, struct str *values,
                            struct str *ret_why)
{
    struct broker *b = c->r->broker;
    struct err e;

    for (size_t i = 0; i < c->n; i++) {
        size_t row = broker_config_find(c->list[i].name);
        struct config_row now = {0};
        int16_t code;

        if (row != SIZE_MAX) broker_config_row(&b->config, row, &now);
        if ((code = value_of(c, &c->list[i], row != SIZE_MAX && broker_config_is_list(row),
                             now.value, &values[i], ret_why)))
            return code;
        if (broker_config_check(level, c->list[i].name, values[i], &e))
            return refuse(c, ret_why, broker_code_of(&e), e.text);
    }
    return 0;
}

static int16_t broker_set(struct changes *c, enum config_source level, struct str name,
                          struct str value, struct str *ret_why)
{
    uint64_t seq;
    struct err e;

    if (broker_configure(c->r->broker, level, name, value, &seq, &e))
        return refuse(c, ret_why, broker_code_of(&e), e.text);
    c->seq = MAX(c->seq, seq);
    return 0;
}

static int16_t broker_change(struct changes *c, enum config_source level, struct str *ret_why)
{
    struct str *values = arena_array(&c->r->arena, struct str, c->n);
    AUTO(seen_fini) struct seen named = {0};
    struct broker *b = c->r->broker;
    int16_t code = broker_check(c, level, values, ret_why);

    if (code || c->validate_only) return code;
    for (size_t i = 0; i < c->n && !code; i++) {
        seen_add(&named, c->list[i].name, 0);
        code = broker_set(c, level, c->list[i].name, values[i], ret_why);
    }
    for (size_t i = 0; c->replace && i < broker_config_rows() && !code; i++) {
        struct str name = str_of(broker_config_name(i));

        if (broker_config_own(&b->config, level, i).p && !seen_count(&named, name, 0))
            code = broker_set(c, level, name, (struct str){0}, ret_why);
    }
    return code;
}

/* ---- a subscription of client metrics ---- */

static int16_t metrics_apply(struct changes *c, char *values[CLIENT_METRICS_KEYS],
                             struct str *ret_why)
{
    struct err e;

    for (size_t i = 0; i < c->n; i++) {
        enum client_metrics_key k;
        struct str value;
        int16_t code;

        if (!client_metrics_key_of(c->list[i].name, &k))
            return refuse(c, ret_why, KAFKA_ERR_INVALID_REQUEST, "no such client metrics setting");
        if ((code = value_of(c, &c->list[i], false, (struct str){0}, &value, ret_why))) return code;
        if (value.p && client_metrics_check(k, value, &e))
            return refuse(c, ret_why,
                          e.rc == RC_DENIED ? KAFKA_ERR_INVALID_CONFIG : KAFKA_ERR_INVALID_REQUEST,
                          e.text);
        values[k] = value.p ? (char *)(uintptr_t)arena_dup_str(&c->r->arena, value).p : NULL;
    }
    return 0;
}

static int16_t metrics_change(struct changes *c, struct str name, struct str *ret_why)
{
    struct broker *b = c->r->broker;
    const struct client_metrics *was = client_metrics_get(&b->client_metrics, name);
    char *values[CLIENT_METRICS_KEYS] = {0};
    uint64_t seq;
    struct err e;
    int16_t code;

    if (was && !c->replace) memcpy(values, was->value, sizeof values);
    if ((code = metrics_apply(c, values, ret_why)) || c->validate_only) return code;
    if (broker_client_metrics_set(b, name, values, &seq, &e))
        return refuse(c, ret_why,
                      e.rc == RC_OVERLOAD ? KAFKA_ERR_POLICY_VIOLATION : kafka_error_of(&e),
                      e.text);
    c->seq = MAX(c->seq, seq);
    return 0;
}

/* ---- a group ---- */

static int16_t group_apply(struct changes *c, struct group_config_values *own, struct str *ret_why)
{
    struct err e;

    for (size_t i = 0; i < c->n; i++) {
        enum group_config_key k;
        bool known = group_config_key_of(c->list[i].name, &k);
        struct str value;
        int16_t code;

        if ((code = value_of(c, &c->list[i], false, (struct str){0}, &value, ret_why))) return code;
        if (!known && c->list[i].op == OP_DELETE) continue; /* it is not set */
        if (!known)
            return refuse(c, ret_why, KAFKA_ERR_INVALID_CONFIG,
                          "there is no such setting of groups");
        own->value[k] = 0;
        if (value.p && group_config_read(k, value, &own->value[k], &e))
            return refuse(c, ret_why, code_of(&e), e.text);
    }
    if (group_config_check(own, &c->r->broker->config, &e))
        return refuse(c, ret_why, code_of(&e), e.text);
    return 0;
}

static int16_t group_change(struct changes *c, struct str group, struct str *ret_why)
{
    struct broker *b = c->r->broker;
    struct group_config_values own = {0};
    uint64_t seq;
    struct err e;
    int16_t code;

    if (!c->replace) own = group_config_get(&b->group_configs, group);
    if ((code = group_apply(c, &own, ret_why)) || c->validate_only) return code;
    if (broker_group_config_set(b, group, &own, &seq, &e))
        return refuse(c, ret_why,
                      e.rc == RC_OVERLOAD ? KAFKA_ERR_POLICY_VIOLATION : kafka_error_of(&e),
                      e.text);
    c->seq = MAX(c->seq, seq);
    return 0;
}

/* ---- both requests ---- */

static int16_t change(struct changes *c, int8_t type, struct str name, struct str *ret_why)
{
    AUTO(seen_fini) struct seen seen = {0};
    struct config_resource found;
    int16_t code;

    if (!config_resource_allows(c->r, ACL_ALTER_CONFIGS, type, name, &code))
        return refuse(c, ret_why, code, "Authorization failed.");
    if (type == CONFIG_RESOURCE_TOPIC) return topic_change(c, name, ret_why);
    if ((code = config_resource_find(c->r->broker, type, name, &found, ret_why))) return code;
    for (size_t i = 0; i < c->n; i++)
        if (seen_add(&seen, c->list[i].name, 0) > 1)
            return refuse(c, ret_why, KAFKA_ERR_INVALID_REQUEST,
                          "a setting is named more than once");
    switch (found.kind) {
    case RESOURCE_BROKER: return broker_change(c, CONFIG_SOURCE_BROKER, ret_why);
    case RESOURCE_BROKER_DEFAULT: return broker_change(c, CONFIG_SOURCE_DEFAULT_BROKER, ret_why);
    case RESOURCE_CLIENT_METRICS: return metrics_change(c, name, ret_why);
    case RESOURCE_GROUP: return group_change(c, name, ret_why);
    case RESOURCE_TOPIC:
    case RESOURCE_NOTHING: break;
    }
    return refuse(c, ret_why, KAFKA_ERR_INVALID_REQUEST,
                  "that resource has no settings to change here");
}

static int16_t change_once(struct changes *c, const struct seen *resources, int8_t type,
                           struct str name, struct str *ret_why)
{
    *ret_why = (struct str){0};
    if (seen_count(resources, name, type) > 1)
        return refuse(c, ret_why, KAFKA_ERR_INVALID_REQUEST,
                      "the resource is named more than once");
    return change(c, type, name, ret_why);
}

void api_alter_configs(struct request *r)
{
    const struct alter_configs_request *q = request_decode(r);
    AUTO(seen_fini) struct seen seen = {0};
    struct alter_configs_response a = {0};
    struct changes c = {.r = r, .replace = true};

    if (!q) return;
    c.validate_only = q->validate_only;
    a.responses_n = q->resources_n;
    a.responses = arena_array(&r->arena, struct alter_configs_response_resource, q->resources_n);
    for (size_t i = 0; i < q->resources_n; i++)
        seen_add(&seen, q->resources[i].resource_name, q->resources[i].resource_type);
    for (size_t i = 0; i < q->resources_n; i++) {
        const struct alter_configs_request_resource *s = &q->resources[i];
        struct alter_configs_response_resource *row = &a.responses[i];

        c.list = arena_array(&r->arena, struct change, s->configs_n);
        c.n = s->configs_n;
        for (size_t k = 0; k < s->configs_n; k++)
            c.list[k] = (struct change){s->configs[k].name, s->configs[k].value, OP_SET};
        row->resource_type = s->resource_type;
        row->resource_name = s->resource_name;
        row->error_code =
            change_once(&c, &seen, s->resource_type, s->resource_name, &row->error_message);
    }
    request_answer_when(r, &a, c.seq);
}

void api_incremental_alter_configs(struct request *r)
{
    const struct incremental_alter_configs_request *q = request_decode(r);
    AUTO(seen_fini) struct seen seen = {0};
    struct incremental_alter_configs_response a = {0};
    struct changes c = {.r = r};

    if (!q) return;
    c.validate_only = q->validate_only;
    a.responses_n = q->resources_n;
    a.responses =
        arena_array(&r->arena, struct incremental_alter_configs_response_resource, q->resources_n);
    for (size_t i = 0; i < q->resources_n; i++)
        seen_add(&seen, q->resources[i].resource_name, q->resources[i].resource_type);
    for (size_t i = 0; i < q->resources_n; i++) {
        const struct incremental_alter_configs_request_resource *s = &q->resources[i];
        struct incremental_alter_configs_response_resource *row = &a.responses[i];

        c.list = arena_array(&r->arena, struct change, s->configs_n);
        c.n = s->configs_n;
        for (size_t k = 0; k < s->configs_n; k++)
            c.list[k] = (struct change){s->configs[k].name, s->configs[k].value,
                                        s->configs[k].config_operation};
        row->resource_type = s->resource_type;
        row->resource_name = s->resource_name;
        row->error_code =
            change_once(&c, &seen, s->resource_type, s->resource_name, &row->error_message);
    }
    request_answer_when(r, &a, c.seq);
}
