/* GetTelemetrySubscriptions (key 71), PushTelemetry (72) and ListClientMetricsResources (74). As on a Kafka without a plugin
 * that receives metrics, the first two are answered but not advertised: what is pushed goes nowhere, so nobody is told to.
 *
 * A client instance is remembered by its id: when it asked and pushed last, so that it keeps to its interval. The oldest make
 * room for new ones.   SPDX-License-Identifier: Apache-2.0
 */
#include "base/crc.h"
#include "broker/api.h"
#include "broker/api/config_resource.h"
#include "broker/client_metrics.h"
#include "kafka/compress.h"
#include "kafka/msg/get_telemetry_subscriptions.h"
#include "kafka/msg/list_client_metrics_resources.h"
#include "kafka/msg/push_telemetry.h"

enum { INSTANCES_MAX = 1000, TELEMETRY_BYTES_MAX = 1 << 20, METRICS_MAX = 1000 };

struct telemetry_instance {
    struct list link; /* by age */
    struct uuid id;
    int32_t subscription;
    int64_t interval_ms;
    uint64_t asked_ms, pushed_ms;
    bool asked, pushed, terminating;
};

/* What one client is to push. */
struct wanted {
    int64_t interval_ms;
    struct str *metrics;
    size_t n;
    bool everything;
};

static void facts_of(struct request *r, const struct uuid *id, struct client_facts *ret)
{
    struct str peer = str_of(r->conn->peer), address = peer, port = STR("");
    char *text = arena_alloc(&r->arena, UUID_TEXT_LEN + 1);

    for (size_t i = peer.n; i-- > 0;)
        if (peer.p[i] == ':') {
            address.n = i;
            port = (struct str){peer.p + i + 1, peer.n - i - 1};
            break;
        }
    if (address.n > 1 && address.p[0] == '[') address.p++, address.n -= 2;
    uuid_to_text(id, text);
    ret->fact[CLIENT_FACT_ID] = r->h.client_id;
    ret->fact[CLIENT_FACT_INSTANCE_ID] = str_of(text);
    ret->fact[CLIENT_FACT_SOFTWARE_NAME] = r->conn->software_name;
    ret->fact[CLIENT_FACT_SOFTWARE_VERSION] = r->conn->software_version;
    ret->fact[CLIENT_FACT_ADDRESS] = address;
    ret->fact[CLIENT_FACT_PORT] = port;
}

static void want(struct wanted *w, struct str metric)
{
    if (str_is(metric, "*")) w->everything = true;
    for (size_t i = 0; i < w->n; i++)
        if (str_eq(w->metrics[i], metric)) return;
    if (metric.n && w->n < METRICS_MAX) w->metrics[w->n++] = metric;
}

static void want_all(struct wanted *w, const struct client_metrics *m)
{
    struct str rest = str_of(m->value[CLIENT_METRICS_METRICS]), head;
    bool more = rest.n != 0;
    int64_t ms = CLIENT_METRICS_INTERVAL_DEFAULT_MS;

    if (m->value[CLIENT_METRICS_INTERVAL])
        (void)!str_to_i64(str_of(m->value[CLIENT_METRICS_INTERVAL]), &ms);
    w->interval_ms = MIN(w->interval_ms, ms);
    while (more) {
        more = str_cut(rest, ',', &head, &rest);
        want(w, head);
    }
}

static void wanted_of(struct request *r, const struct uuid *id, struct wanted *w)
{
    struct client_facts facts = {0};
    struct bytes key;
    void *m;

    facts_of(r, id, &facts);
    w->interval_ms = CLIENT_METRICS_INTERVAL_DEFAULT_MS;
    w->metrics = arena_array(&r->arena, struct str, METRICS_MAX);
    for (size_t at = 0; map_next(&r->broker->client_metrics, &at, &key, &m);)
        if (client_metrics_match(m, &facts)) want_all(w, m);
    if (!w->everything) return;
    w->metrics[0] = STR("*");
    w->n = 1;
}

/* Another set of metrics or another interval is another subscription. */
static int32_t subscription_of(const struct wanted *w)
{
    uint32_t crc = crc32c(bytes_of(&w->interval_ms, sizeof w->interval_ms));

    for (size_t i = 0; i < w->n; i++)
        crc = crc32c_more(crc32c_more(crc, str_bytes(w->metrics[i])), bytes_of(",", 1));
    return (int32_t)(crc | 1);
}

static struct telemetry_instance *instance(struct broker *b, const struct uuid *id)
{
    return map_get(&b->telemetry, bytes_of(id->b, sizeof id->b));
}

static void instance_drop(struct broker *b, struct telemetry_instance *i)
{
    map_del(&b->telemetry, bytes_of(i->id.b, sizeof i->id.b));
    list_remove(&i->link);
    free(i);
}

static struct telemetry_instance *instance_make(struct broker *b, const struct uuid *id)
{
    struct telemetry_instance *i = instance(b, id);

    if (i) return i;
    if (b->telemetry.n >= INSTANCES_MAX)
        instance_drop(b, container_of(b->telemetry_ages.next, struct telemetry_instance, link));
    i = xnew(struct telemetry_instance);
    i->id = *id;
    map_put(&b->telemetry, bytes_of(id->b, sizeof id->b), i);
    list_push(&b->telemetry_ages, &i->link);
    return i;
}

void telemetry_fini(struct broker *b)
{
    while (!list_empty(&b->telemetry_ages))
        instance_drop(b, container_of(b->telemetry_ages.next, struct telemetry_instance, link));
    map_fini(&b->telemetry);
}

/* ---- the three requests ---- */

void api_get_telemetry_subscriptions(struct request *r)
{
    static const int8_t codecs[] = {KAFKA_CODEC_ZSTD, KAFKA_CODEC_LZ4, KAFKA_CODEC_GZIP,
                                    KAFKA_CODEC_SNAPPY};
    const struct get_telemetry_subscriptions_request *q = request_decode(r);
    struct get_telemetry_subscriptions_response a = {0};
    struct broker *b = r->broker;
    uint64_t now = broker_now_ms(b);
    struct telemetry_instance *i;
    struct wanted w = {0};
    struct uuid id;
    bool changed;

    if (!q) return;
    id = uuid_is_zero(&q->client_instance_id) ? uuid_random() : q->client_instance_id;
    wanted_of(r, &id, &w);
    i = instance_make(b, &id);
    changed = i->subscription != subscription_of(&w);
    if (i->asked && !changed && now - i->asked_ms < (uint64_t)i->interval_ms) {
        a.error_code = KAFKA_ERR_THROTTLING_QUOTA_EXCEEDED;
        request_answer(r, &a);
        return;
    }
    i->asked = true;
    i->asked_ms = now;
    i->subscription = subscription_of(&w);
    i->interval_ms = w.interval_ms;
    a.client_instance_id = id;
    a.subscription_id = i->subscription;
    a.accepted_compression_types = arena_array(&r->arena, int8_t, countof(codecs));
    memcpy(a.accepted_compression_types, codecs, sizeof codecs);
    a.accepted_compression_types_n = countof(codecs);
    a.push_interval_ms = (int32_t)w.interval_ms;
    a.telemetry_max_bytes = TELEMETRY_BYTES_MAX;
    a.delta_temporality = true;
    a.requested_metrics = w.metrics;
    a.requested_metrics_n = w.n;
    request_answer(r, &a);
}

static int16_t push(struct broker *b, const struct push_telemetry_request *q)
{
    struct telemetry_instance *i = instance(b, &q->client_instance_id);
    uint64_t now = broker_now_ms(b);

    if (uuid_is_zero(&q->client_instance_id)) return KAFKA_ERR_INVALID_REQUEST;
    if (!i) return KAFKA_ERR_UNKNOWN_SUBSCRIPTION_ID;
    if (i->terminating) return KAFKA_ERR_INVALID_REQUEST;
    if (i->pushed && !q->terminating && now - i->pushed_ms < (uint64_t)i->interval_ms)
        return KAFKA_ERR_THROTTLING_QUOTA_EXCEEDED;
    if (q->subscription_id != i->subscription) return KAFKA_ERR_UNKNOWN_SUBSCRIPTION_ID;
    if (q->compression_type < KAFKA_CODEC_NONE || q->compression_type > KAFKA_CODEC_ZSTD)
        return KAFKA_ERR_UNSUPPORTED_COMPRESSION_TYPE;
    if (q->metrics.n > TELEMETRY_BYTES_MAX) return KAFKA_ERR_TELEMETRY_TOO_LARGE;
    i->pushed = true;
    i->pushed_ms = now;
    i->terminating = q->terminating;
    return 0;
}

void api_push_telemetry(struct request *r)
{
    const struct push_telemetry_request *q = request_decode(r);
    struct push_telemetry_response a = {0};

    if (!q) return;
    a.error_code = push(r->broker, q);
    request_answer(r, &a);
}

/* ---- what has settings ---- */

enum { SINCE_KINDS = 1 };

typedef struct list_client_metrics_resources_response_client_metrics_resource resource_type;

struct resources {
    resource_type *rows;
    size_t n, cap;
};

static void resources_add(struct resources *to, struct str name, int8_t type)
{
    if (to->n < to->cap) to->rows[to->n++] = (resource_type){name, type};
}

static void resources_of(struct broker *b, struct arena *a, int8_t type, struct resources *to)
{
    struct str id = arena_printf(a, "%d", b->opt.node_id);
    struct topic *t = NULL;
    struct bytes key;
    void *value;

    switch (type) {
    case CONFIG_RESOURCE_TOPIC:
        while ((t = broker_topic_next(b, t)))
            resources_add(to, topic_name(t), type);
        return;
    case CONFIG_RESOURCE_BROKER:
    case CONFIG_RESOURCE_LOGGER: resources_add(to, id, type); return;
    case CONFIG_RESOURCE_CLIENT_METRICS:
        for (size_t at = 0; map_next(&b->client_metrics, &at, &key, &value);)
            resources_add(to, bytes_str(key), type);
        return;
    case CONFIG_RESOURCE_GROUP:
        for (size_t at = 0; map_next(&b->group_configs, &at, &key, &value);)
            resources_add(to, bytes_str(key), type);
        return;
    default: return;
    }
}

static bool is_asked_for(const struct list_client_metrics_resources_request *q, int8_t type)
{
    for (size_t i = 0; i < q->resource_types_n; i++)
        if (q->resource_types[i] == type) return true;
    return q->resource_types_n == 0;
}

void api_list_client_metrics_resources(struct request *r)
{
    static const int8_t kinds[] = {CONFIG_RESOURCE_GROUP, CONFIG_RESOURCE_CLIENT_METRICS,
                                   CONFIG_RESOURCE_LOGGER, CONFIG_RESOURCE_BROKER,
                                   CONFIG_RESOURCE_TOPIC};
    const struct list_client_metrics_resources_request *q = request_decode(r);
    struct list_client_metrics_resources_response a = {0};
    struct broker *b = r->broker;
    struct resources found = {.cap = b->client_metrics.n + b->group_configs.n + b->topics_n + 2};

    if (!q) return;
    if (!request_allows_cluster(r, ACL_DESCRIBE_CONFIGS)) {
        a.error_code = KAFKA_ERR_CLUSTER_AUTHORIZATION_FAILED;
        request_answer(r, &a);
        return;
    }
    for (size_t i = 0; i < q->resource_types_n; i++)
        if (!memchr(kinds, q->resource_types[i], sizeof kinds))
            a.error_code = KAFKA_ERR_UNSUPPORTED_VERSION;
    found.rows = arena_array(&r->arena, resource_type, found.cap);
    if (!found.rows) return request_close(r, "list config resources: too many");
    for (size_t i = 0; i < countof(kinds) && !a.error_code; i++)
        if (request_version(r) < SINCE_KINDS ? kinds[i] == CONFIG_RESOURCE_CLIENT_METRICS
                                             : is_asked_for(q, kinds[i]))
            resources_of(b, &r->arena, kinds[i], &found);
    a.client_metrics_resources = found.rows;
    a.client_metrics_resources_n = found.n;
    request_answer_when(r, &a, b->meta_seq);
}
