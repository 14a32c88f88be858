/* Design note: the library asks every broker which APIs it has and tells it to nobody but its debug log (context "feature"), so that
 * is switched on for the first client and read here. The rest is asked with the means of administration.
 * SPDX-License-Identifier: Apache-2.0 */
#include "bus/capabilities.h"
#include "bus/remote_core.h"
#include "bus/remote_kind.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum { PROBE_MS = 3000, LOOK_UP_MS = 100, TEXT_BYTES = 512, VERSION_OF_RIGHT_NONCE = 0x020601ff };
enum { API_PRODUCE = 0, API_FETCH = 1, API_METADATA = 3, API_CREATE_TOPICS = 19, API_DELETE_TOPICS = 20, API_INIT_PRODUCER_ID = 22, API_END_TXN = 26,
       API_DESCRIBE_CONFIGS = 32, API_OFFSET_DELETE = 47 };

/* "  ApiKey Produce (0) Versions 0..9", a line each. On a thread of the library. */
bool remote_probe_log(struct remote *r, const char *facility, const char *text)
{
    const char *at;
    unsigned key, low, high;

    if (strcmp(facility, "APIVERSION") != 0) return !strcmp(facility, "FEATURE") || !strcmp(facility, "APIVERSIONS");
    at = strstr(text, "ApiKey ");
    if (at) at = strchr(at, '(');
    if (at && sscanf(at, "(%u) Versions %u..%u", &key, &low, &high) == 3 && key < REMOTE_APIS_MAX && high < 254)
        atomic_store(&r->apis[key], (uint_least16_t)((low << 8) | (high + 1)));
    return true;
}

static bool has(const struct remote *r, int api)
{
    return atomic_load(&r->apis[api]) != 0;
}

static const char *range(const struct remote *r, int api, char text[16])
{
    unsigned v = atomic_load(&r->apis[api]);

    if (!v) return "none";
    snprintf(text, 16, "%u-%u", v >> 8, (v & 255) - 1);
    return text;
}

bool remote_probe_idempotent(const struct remote *r)
{
    return has(r, API_INIT_PRODUCER_ID) || !has(r, API_PRODUCE); /* not told: it is tried */
}

/* ---- the broker's settings ---- */

struct settings {
    bool told;
    char why[160];
    int64_t message_max, replication, min_isr;
    char auto_create[8];
};

static void setting_take(struct settings *s, const char *name, const char *value)
{
    if (!value) return;
    if (!strcmp(name, "message.max.bytes")) s->message_max = strtoll(value, NULL, 10);
    if (!strcmp(name, "default.replication.factor")) s->replication = strtoll(value, NULL, 10);
    if (!strcmp(name, "min.insync.replicas")) s->min_isr = strtoll(value, NULL, 10);
    if (!strcmp(name, "auto.create.topics.enable")) snprintf(s->auto_create, sizeof s->auto_create, "%s", value);
}

static void settings_read(struct remote *r, rd_kafka_event_t *ev, struct settings *s)
{
    const struct kafka_lib *k = r->k;
    size_t n, entries = 0;
    const rd_kafka_ConfigResource_t **found = k->rd_kafka_DescribeConfigs_result_resources(k->rd_kafka_event_DescribeConfigs_result(ev), &n);
    const rd_kafka_ConfigEntry_t **entry;

    if (!n) return;
    if (k->rd_kafka_ConfigResource_error(found[0])) {
        snprintf(s->why, sizeof s->why, "%s", k->rd_kafka_err2str(k->rd_kafka_ConfigResource_error(found[0])));
        return;
    }
    s->told = true;
    entry = k->rd_kafka_ConfigResource_configs(found[0], &entries);
    for (size_t i = 0; i < entries; i++)
        setting_take(s, k->rd_kafka_ConfigEntry_name(entry[i]), k->rd_kafka_ConfigEntry_value(entry[i]));
}

static void settings_ask(struct remote *r, rd_kafka_t *rk, int32_t broker, struct settings *s)
{
    const struct kafka_lib *k = r->k;
    rd_kafka_ConfigResource_t *resource;
    rd_kafka_AdminOptions_t *o;
    rd_kafka_queue_t *queue;
    rd_kafka_event_t *ev;
    uint64_t until = clock_mono_ms(&clock_real) + PROBE_MS + 1000;
    char id[16], why[TEXT_BYTES];

    snprintf(id, sizeof id, "%" PRId32, broker);
    resource = k->rd_kafka_ConfigResource_new(RD_KAFKA_RESOURCE_BROKER, id);
    queue = k->rd_kafka_queue_new(rk);
    o = k->rd_kafka_AdminOptions_new(rk, RD_KAFKA_ADMIN_OP_DESCRIBECONFIGS);
    k->rd_kafka_AdminOptions_set_request_timeout(o, PROBE_MS, why, sizeof why);
    k->rd_kafka_DescribeConfigs(rk, &resource, 1, o, queue);
    do
        ev = k->rd_kafka_queue_poll(queue, LOOK_UP_MS);
    while (!ev && clock_mono_ms(&clock_real) < until && !atomic_load(&r->ending));
    if (!ev) snprintf(s->why, sizeof s->why, "no answer");
    else if (k->rd_kafka_event_error(ev)) snprintf(s->why, sizeof s->why, "%s", k->rd_kafka_event_error_string(ev));
    else settings_read(r, ev, s);
    if (ev) k->rd_kafka_event_destroy(ev);
    k->rd_kafka_AdminOptions_destroy(o);
    k->rd_kafka_queue_destroy(queue);
    k->rd_kafka_ConfigResource_destroy(resource);
}

/* ---- the rows ---- */

static void rows_protocol(const struct remote *r, struct capabilities *c)
{
    char produce[16], fetch[16], metadata[16];
    bool told = has(r, API_PRODUCE);
    struct capability *row;

    row = capability_add(c, "protocol", "Produce %s, Fetch %s, Metadata %s", range(r, API_PRODUCE, produce), range(r, API_FETCH, fetch), range(r, API_METADATA, metadata));
    if (!told) {
        snprintf(row->value, sizeof row->value, "not told");
        return;
    }
    row = capability_add(c, "idempotence", "%s", has(r, API_INIT_PRODUCER_ID) ? "yes" : "no");
    if (!has(r, API_INIT_PRODUCER_ID))
        capability_effect(row, true, "exactly once -> at least once: a retry may write a record twice; outcomes are told apart by their run id, and a second one is dropped");
    row = capability_add(c, "transactions", "%s", has(r, API_END_TXN) ? "yes" : "no");
    if (!has(r, API_END_TXN)) capability_effect(row, false, "only transactional producers of yours would need them: what we write needs none");
    row = capability_add(c, "topics", "create %s, delete %s, configs %s", has(r, API_CREATE_TOPICS) ? "yes" : "no", has(r, API_DELETE_TOPICS) ? "yes" : "no",
                         has(r, API_DESCRIBE_CONFIGS) ? "yes" : "no");
    if (!has(r, API_CREATE_TOPICS)) capability_effect(row, true, "topics are not created: those that exist are used, make the others with your service's tools");
    if (!has(r, API_OFFSET_DELETE))
        capability_effect(capability_add(c, "offset deletion", "no"), true, "offsets of a pipeline that is deleted stay until the cluster forgets them");
}

static void rows_size(const struct remote *r, const struct settings *s, struct capabilities *c)
{
    size_t most = remote_kind_request_max(remote_kind_of(str_of(r->bootstrap)));
    struct capability *row;

    if (!s->told) {
        capability_add(c, "message size", "here %zu bytes", r->produce_bytes_max);
        return;
    }
    row = capability_add(c, "message size", "the cluster's default %" PRId64 " bytes, here %zu", s->message_max, r->produce_bytes_max);
    if (most) capability_effect(row, true, "the service closes the connection on a request above %zu bytes: larger records are refused here", most);
    else if (s->message_max && (size_t)s->message_max < r->produce_bytes_max)
        capability_effect(row, true, "topics made here get max.message.bytes %zu; where the cluster refuses that, and in topics made elsewhere, records above its own limit fail: Message too large",
                          r->produce_bytes_max);
}

static void rows_cluster(const struct remote *r, const struct settings *s, int brokers, struct capabilities *c)
{
    struct capability *row;

    if (!s->told) {
        row = capability_add(c, "settings", "not told: %s", *s->why ? s->why : "no answer");
        capability_effect(row, false, "DESCRIBE_CONFIGS on the cluster would show auto-creation, replication and limits");
    } else {
        row = capability_add(c, "auto-create", "%s", *s->auto_create ? s->auto_create : "not told");
        if (!strcmp(s->auto_create, "true")) capability_effect(row, false, "not used here: every topic is created with its partitions, replication and limits");
        capability_add(c, "durability", "min.insync.replicas %" PRId64 ", acks=all", s->min_isr);
    }
    row = capability_add(c, "replication", "%d brokers, default %" PRId64 ", wanted %d", brokers, s->replication, r->replication);
    if (!s->told) snprintf(row->value, sizeof row->value, "%d brokers, wanted %d", brokers, r->replication);
    if (r->replication > brokers)
        capability_effect(row, true, "%d replicas on %d brokers are refused: topics get the cluster's default, and the log says so for each", r->replication, brokers);
    else if (s->told && s->min_isr > MAX(r->replication, 1))
        capability_effect(row, true, "with %d replicas and min.insync.replicas %" PRId64 " no record with acks=all is taken: raise kafka.topics.replicationFactor", r->replication, s->min_isr);
}

static void rows_client(const struct remote *r, struct capabilities *c)
{
    enum remote_kind kind = remote_kind_of(str_of(r->bootstrap));
    struct capability *row = capability_add(c, "librdkafka", "%s", r->k->rd_kafka_version_str());

    if (r->access && access_uses_scram(r->access) && r->k->rd_kafka_version() < VERSION_OF_RIGHT_NONCE)
        capability_effect(row, false, "before 2.6.1 its SCRAM is not understood by Apache Kafka 4: a login that works here may fail there");
    row = capability_add(c, "kind", "%s", remote_kind_name(kind));
    if (kind == REMOTE_EVENT_HUBS)
        capability_effect(row, true, "the Basic tier has no compaction: control.store: file keeps resources there; transactions are in Premium and Dedicated");
    else if (kind == REMOTE_CONFLUENT_CLOUD)
        capability_effect(row, false, "topics have three replicas there, whatever is wanted, and few settings");
}

enum rc remote_capabilities(struct bus *b, struct capabilities *ret, struct err *e)
{
    struct remote *r = container_of(b, struct remote, bus);
    const struct rd_kafka_metadata *md;
    struct settings s = {.why = ""};
    struct remote_sender *admin = remote_admin_hold(r);
    rd_kafka_t *rk = admin->rk;
    uint64_t begun = clock_mono_ms(&clock_real);
    rd_kafka_resp_err_t code = r->k->rd_kafka_metadata(rk, 0, NULL, &md, PROBE_MS);

    if (code) {
        remote_admin_drop(admin);
        return kafka_lib_error(r->k, code, NULL, e);
    }
    capability_add(ret, "cluster", "%s at %s, answers in %" PRIu64 " ms", r->bus.facts.cluster_id, r->bootstrap, clock_mono_ms(&clock_real) - begun);
    rows_client(r, ret);
    rows_protocol(r, ret);
    if (has(r, API_DESCRIBE_CONFIGS) && md->broker_cnt) settings_ask(r, rk, md->brokers[0].id, &s);
    rows_size(r, &s, ret);
    rows_cluster(r, &s, md->broker_cnt, ret);
    r->k->rd_kafka_metadata_destroy(md);
    remote_admin_drop(admin);
    return RC_OK;
}

/* ---- once, when the cluster is there ---- */

static void probe_run(struct work *w)
{
    struct remote *r = container_of(w, struct remote, probe);
    struct capabilities c;
    struct err e;

    if (atomic_load(&r->ending)) return;
    if (!bus_capabilities(&r->bus, &c, &e)) capabilities_log(&c);
}

static void probe_done(struct work *w)
{
    (void)w;
}

void remote_probe_start(struct remote *r)
{
    r->probe = (struct work){.run = probe_run, .done = probe_done, .reply_to = loop_mailbox(r->loop)};
    workers_submit(r->workers, &r->probe);
}
