/* cli/doctor.c - doctor: one line for each thing that pipelines depend on, with its cause and what to do.
 *
 * Reads the configuration as serve does and asks what it names: this machine, the certificates, the Kafka cluster as the data plane
 * would reach it, and the process that serves, when one does. SPDX-License-Identifier: Apache-2.0 */
#include "app/doctor.h"
#include "base/diag.h"
#include "cli/kafka.h"
#include "kafka/msg/describe_configs.h"
#include "kafka/msg/metadata.h"
#include "sys/clock.h"
#include <inttypes.h>
#include <stdio.h>

enum { TRIPS = 30, TIMEOUT_S = 20, TOPICS_MAX = 2000, CONFIG_TOPIC = 2, RECENT_MS = 600000 };

struct report {
    struct cli *cli;
    const struct config *config;
    json_t *checks;
    size_t count[VERDICT_FAIL + 1];
};

static const char *const verdicts[] = {[VERDICT_OK] = "ok", [VERDICT_WARN] = "warn", [VERDICT_FAIL] = "fail"};

static void add(void *ctx, const struct finding *f)
{
    struct report *r = ctx;

    r->count[f->verdict]++;
    if (r->checks) {
        json_t *one = json_pack("{s:s,s:s,s:s}", "check", f->check, "verdict", verdicts[f->verdict], "text", f->text);

        if (!one) one = json_pack("{s:s,s:s,s:s}", "check", f->check, "verdict", verdicts[f->verdict], "text", "(not UTF-8)");
        if (f->remedy[0]) json_object_set_new(one, "remedy", json_string(f->remedy));
        if (f->trouble) json_object_set_new(one, "error", json_string(f->trouble));
        json_array_append_new(r->checks, one);
        return;
    }
    printf("%-4s  %-14s  %s\n", verdicts[f->verdict], f->check, f->text);
    if (f->remedy[0]) printf("                      -> %s\n", f->remedy);
    fflush(stdout);
}

/* ---- the process that serves ---- */

/* NULL: *e says why. */
static json_t *page(struct report *r, const char *path, struct err *e)
{
    struct http_ask ask = {.method = "GET", .server = r->cli->server, .path = str_of(path), .timeout_s = TIMEOUT_S};
    struct http_answer a;
    json_t *j;

    if (http_ask(&ask, &a, e)) return NULL;
    j = json_loadb((const char *)(a.body.p ? a.body.p : (const uint8_t *)""), a.body.n, 0, NULL);
    if (a.status != 200) {
        struct str why = json_text(j, "error");

        err_set(e, RC_UPSTREAM, "%s answers %ld" "%s" STR_FMT, r->cli->server, a.status, why.n ? ": " : "", STR_ARG(why));
        json_decref(j);
        j = NULL;
    } else if (!j) {
        err_set(e, RC_UPSTREAM, "%s does not answer as a millrace does", r->cli->server);
    }
    http_answer_fini(&a);
    return j;
}

static void troubles(struct report *r, const json_t *info)
{
    const json_t *one;
    size_t i;

    json_array_foreach(json_object_get(info, "troubles"), i, one)
    {
        bool lasts = json_is_true(json_object_get(one, "lasts"));
        int64_t ago_ms = json_number(one, "agoMs");
        struct finding f = {.check = "errors", .verdict = lasts || ago_ms < RECENT_MS ? VERDICT_FAIL : VERDICT_WARN};
        AUTO(buf_fini) struct buf name = {0};

        buf_append_str(&name, json_text(one, "trouble"));
        f.trouble = buf_cstr(&name);
        snprintf(f.text, sizeof f.text, STR_FMT ": " STR_FMT " (%" PRId64 " times, last %" PRId64 " s ago, in the process at %s)", STR_ARG(json_text(one, "error")),
                 STR_ARG(json_text(one, "cause")), json_number(one, "times"), ago_ms / 1000, r->cli->server);
        snprintf(f.remedy, sizeof f.remedy, STR_FMT, STR_ARG(json_text(one, "remedy")));
        add(r, &f);
    }
}

static void servers(struct report *r)
{
    struct err e;
    json_t *all = page(r, "/millrace/v1/servers", &e);
    const json_t *one;
    size_t i;

    if (!all) {
        finding_say(add, r, "model servers", VERDICT_WARN, "%s", e.text);
        return;
    }
    json_array_foreach(json_object_get(all, "resources"), i, one)
    {
        bool ready = json_is_true(json_object_get(one, "ready"));

        finding_advise(add, r, "model server", ready ? VERDICT_OK : VERDICT_FAIL, ready ? "" : "start it, or correct its address; pipelines with its models answer 503 until then",
                       STR_FMT ": " STR_FMT, STR_ARG(json_text(one, "name")), STR_ARG(json_text(one, "status")));
    }
    json_decref(all);
}

/* False: nobody answers. */
static bool process(struct report *r, bool needed)
{
    struct err e;
    json_t *info = page(r, "/millrace/v1/info", &e);

    if (!info && e.rc == RC_UNAVAILABLE && needed) {
        struct finding f = {.check = "process", .verdict = VERDICT_FAIL, .trouble = "broker_not_available"};

        snprintf(f.text, sizeof f.text, "Broker not available: no millrace answers at %s", r->cli->server);
        snprintf(f.remedy, sizeof f.remedy, "start it (millrace serve), or say where it is (--server, MILLRACE_SERVER)");
        add(r, &f);
    } else if (!info && e.rc == RC_UNAVAILABLE) {
        finding_say(add, r, "process", VERDICT_WARN, "no millrace answers at %s: its model servers were not asked", r->cli->server);
    } else if (!info) {
        finding_say(add, r, "process", VERDICT_FAIL, "%s", e.text);
    } else {
        bool ready = json_is_true(json_object_get(info, "ready"));

        finding_say(add, r, "process", ready ? VERDICT_OK : VERDICT_FAIL, "millrace " STR_FMT " at %s, namespace " STR_FMT "%s" STR_FMT, STR_ARG(json_text(info, "version")), r->cli->server,
                    STR_ARG(json_text(info, "namespace")), ready ? "" : ", not ready: ", STR_ARG(json_text(info, "why")));
        troubles(r, info);
        servers(r);
    }
    json_decref(info);
    return info != NULL;
}

/* ---- topics ---- */

static int64_t number_of(const struct describe_configs_response_result *topic, const char *name)
{
    int64_t n;

    for (size_t i = 0; i < topic->configs_n; i++)
        if (str_is(topic->configs[i].name, name)) return str_to_i64(topic->configs[i].value, &n) ? n : -1;
    return -1;
}

static bool compacted(const struct describe_configs_response_result *topic)
{
    for (size_t i = 0; i < topic->configs_n; i++)
        if (str_is(topic->configs[i].name, "cleanup.policy")) return memmem(topic->configs[i].value.p, topic->configs[i].value.n, "compact", 7) != NULL;
    return true; /* not told */
}

static void topics_judge(struct report *r, const struct describe_configs_response *a)
{
    uint64_t wanted = r->config->kafka_producer_message_max_bytes, least = UINT64_MAX;
    struct str smallest = STR("");
    size_t small = 0, bad = 0;

    for (size_t i = 0; i < a->results_n; i++) {
        const struct describe_configs_response_result *t = &a->results[i];
        int64_t max = number_of(t, "max.message.bytes");

        bad += t->error_code != 0;
        if (t->error_code) continue;
        if (str_ends(t->resource_name, STR(".control.resources")) && !compacted(t))
            finding_advise(add, r, "topic settings", VERDICT_FAIL, "set cleanup.policy=compact on it before the retention time is over",
                           STR_FMT ": its cleanup.policy is not compact, so resources would be forgotten", STR_ARG(t->resource_name));
        if (max < 0 || (uint64_t)max >= wanted) continue;
        small++;
        if ((uint64_t)max < least) {
            least = (uint64_t)max;
            smallest = t->resource_name;
        }
    }
    if (small)
        finding_advise(add, r, "topic settings", VERDICT_WARN, "raise max.message.bytes of the topics, or lower kafka.producer.messageMaxBytes, so that callers are told before a record travels",
                       "%zu of %zu topics take less than messageMaxBytes (%" PRIu64 "); the least is %" PRIu64 " bytes, for " STR_FMT, small, a->results_n, wanted, least, STR_ARG(smallest));
    if (bad) finding_say(add, r, "topic settings", VERDICT_WARN, "the settings of %zu of %zu topics cannot be read", bad, a->results_n);
    if (!small && !bad) finding_say(add, r, "topic settings", VERDICT_OK, "%zu of this namespace take messages of %" PRIu64 " bytes", a->results_n, wanted);
}

static void topics(struct report *r, struct kafka *k)
{
    static struct str keys[] = {{"cleanup.policy", 14}, {"max.message.bytes", 17}};
    struct describe_configs_request_resource *rows = arena_array(&k->arena, struct describe_configs_request_resource, TOPICS_MAX);
    struct describe_configs_request q = {.resources = rows};
    struct metadata_request m;
    struct metadata_response all;
    struct describe_configs_response a;
    AUTO(buf_fini) struct buf prefix = {0};
    struct err e;

    buf_printf(&prefix, STR_FMT "." STR_FMT ".", STR_ARG(r->config->kafka_topic_prefix), STR_ARG(r->config->namespace));
    metadata_request_init_defaults(&m);
    m.topics_null = true;
    if (kafka_try(k, BUS_ASK_ANY, KAFKA_METADATA, &m, &all, &e)) {
        finding_trouble(add, r, "topic settings", &e);
        return;
    }
    for (size_t i = 0; i < all.topics_n && q.resources_n < TOPICS_MAX; i++)
        if (str_starts(all.topics[i].name, buf_str(&prefix)))
            rows[q.resources_n++] = (struct describe_configs_request_resource){
                .resource_type = CONFIG_TOPIC, .resource_name = all.topics[i].name, .configuration_keys = keys, .configuration_keys_n = countof(keys)};
    if (!q.resources_n) finding_say(add, r, "topic settings", VERDICT_OK, "this namespace has none yet");
    else if (kafka_try(k, BUS_ASK_ANY, KAFKA_DESCRIBE_CONFIGS, &q, &a, &e)) finding_trouble(add, r, "topic settings", &e);
    else topics_judge(r, &a);
}

/* ---- the two ways ---- */

static void round_trip(struct report *r, struct kafka *k, const char *by)
{
    struct times t = {0};
    struct metadata_request m;
    struct metadata_response a;
    struct err e;

    metadata_request_init_defaults(&m);          /* no topic: about the brokers */
    for (t.n = 0; t.n < TRIPS; t.n++) {
        uint64_t begun = clock_mono_us(&clock_real);

        if (kafka_try(k, BUS_ASK_ANY, KAFKA_METADATA, &m, &a, &e)) {
            finding_trouble(add, r, "round trip", &e);
            return;
        }
        t.us[t.n] = clock_mono_us(&clock_real) - begun;
    }
    doctor_round_trip(&t, by, add, r);
}

static enum rc by_cluster(struct kafka *k, int32_t node, struct bytes frame, struct buf *ret, struct err *e)
{
    return cluster_ask(k->ctx, node, frame, ret, e);
}

static void remote(struct report *r)
{
    struct cluster *cluster = doctor_cluster(r->config, add, r);
    struct kafka k = {.cli = r->cli, .carry = by_cluster, .ctx = cluster};

    if (cluster) topics(r, &k);
    kafka_end(&k);
    if (cluster) cluster_free(cluster);
    if (config_runs_gateway(r->config)) process(r, false);
}

/* A broker without a data plane is asked where its clients ask, if everybody may. */
static void broker_only(struct report *r)
{
    const struct config_listener *plain = NULL;
    struct kafka k = {.cli = r->cli};
    AUTO(buf_fini) struct buf at = {0};

    for (size_t i = 0; i < r->config->broker_listeners.n && !plain; i++)
        if (r->config->broker_listeners.list[i].protocol == CONFIG_PLAINTEXT) plain = &r->config->broker_listeners.list[i];
    if (!plain) {
        finding_say(add, r, "process", VERDICT_WARN, "every listener wants TLS or a login: the broker was not asked");
        return;
    }
    buf_append_str(&at, plain->listen);
    r->cli->given[0].name = "--bootstrap";
    r->cli->given[0].value = buf_cstr(&at);
    r->cli->given_n = 1;
    round_trip(r, &k, "for metadata");
    kafka_end(&k);
}

static void embedded(struct report *r)
{
    struct kafka k = {.cli = r->cli};

    if (!config_runs_gateway(r->config)) {
        broker_only(r);
        return;
    }
    if (process(r, true)) {
        round_trip(r, &k, "by the management API");
        topics(r, &k);
    }
    kafka_end(&k);
}

/* ---- the command ---- */

/* Takes what is not configuration out of the arguments. */
static int options_take(struct cli *cli, char **kept, size_t *ret_n)
{
    struct { const char *name; const char **to; } texts[] = {
        {"--server", &cli->server}, {"--token", &cli->who.token}, {"--cacert", &cli->who.cacert}, {"--cert", &cli->who.cert}, {"--key", &cli->who.key}};
    size_t n = 0;

    for (int i = 0; i < cli->args_n; i++) {
        struct str name, value;
        bool cut = str_cut(str_of(cli->args[i]), '=', &name, &value), taken = false;
        const char *text = cut ? value.p : i + 1 < cli->args_n ? cli->args[i + 1] : "";

        if (str_is(name, "--output") || str_is(name, "-o")) {
            int status = cli_output_set(cli, text);

            if (status) return status;
            taken = true;
        }
        for (size_t t = 0; !taken && t < countof(texts); t++)
            if (str_is(name, texts[t].name)) {
                *texts[t].to = text;
                cli->server_given |= t == 0;
                cli->who.token_given |= t == 1;
                taken = true;
            }
        if (!taken) kept[n++] = cli->args[i];
        else if (!cut) i++;
    }
    *ret_n = n;
    return CLI_DONE;
}

static int server_find(struct cli *cli, const struct config *c, struct buf *ret)
{
    const char *env = getenv("MILLRACE_SERVER");
    AUTO(buf_fini) struct buf said = {0};
    struct err e;

    if (!cli->server_given && !(env && *env) && c->gateway_listeners.n)
        buf_printf(&said, "%s" STR_FMT, config_gateway_encrypts(c) ? "https://" : "", STR_ARG(c->gateway_listeners.list[0].listen));
    else buf_append_str(&said, str_of(cli->server));
    if (http_server_name(buf_str(&said), ret, &e)) {
        buf_clear(ret);
        buf_append_str(ret, STR("127.0.0.1:9000"));
        if (cli->server_given) return cli_usage("--server: %s", e.text);
    }
    cli->server = buf_cstr(ret);
    return http_identify(&cli->who, &e) ? cli_usage("%s", e.text) : CLI_DONE;
}

static int doctor(struct cli *cli, const struct config *c)
{
    struct report r = {.cli = cli, .config = c, .checks = cli->output == OUT_TABLE ? NULL : json_array()};
    const char *verdict;

    diag_set_levels(STR("error"));               /* what is found is said here */
    doctor_machine(c, add, &r);
    doctor_certificates(c, add, &r);
    if (config_is_embedded(c) || !config_runs_gateway(c)) embedded(&r);
    else remote(&r);
    verdict = verdicts[r.count[VERDICT_FAIL] ? VERDICT_FAIL : r.count[VERDICT_WARN] ? VERDICT_WARN : VERDICT_OK];
    if (r.checks) {
        json_t *all = json_pack("{s:s,s:s%,s:o}", "verdict", verdict, "kafka", c->kafka_bootstrap.p, c->kafka_bootstrap.n, "checks", r.checks);

        cli_put_json(cli, all);
        json_decref(all);
    } else {
        printf("%s: %zu ok, %zu warnings, %zu failed\n", verdict, r.count[VERDICT_OK], r.count[VERDICT_WARN], r.count[VERDICT_FAIL]);
    }
    return r.count[VERDICT_FAIL] ? CLI_FAILED : CLI_DONE;
}

int cmd_doctor(struct cli *cli)
{
    char **kept = xnew_array(char *, (size_t)cli->args_n + 1);
    AUTO(buf_fini) struct buf server = {0};
    struct config *c;
    size_t n = 0;
    int status = options_take(cli, kept, &n);

    if (!status) status = cli_config_load(kept, n, &c);
    free(kept);
    if (status) return status;
    status = server_find(cli, c, &server);
    if (!status) status = doctor(cli, c);
    config_free(c);
    return status;
}
