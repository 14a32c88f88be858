/* Design note: a lane is opened, and freed, on the main thread while its loop does not run; in between only messages reach
 * it. Ceilings of the whole process are divided among the lanes.
 * SPDX-License-Identifier: Apache-2.0 */
#include "app/parts.h"
#include "bus/bus.h"
#include "bus/registry.h"
#include "bus/trouble.h"
#include "control/api.h"
#include "control/control.h"
#include "sys/thread.h"
#include "upstream/upstream.h"
#include <stdio.h>
#include <unistd.h>

enum { LANES_MAX = 256 };

/* Ceilings are shared out among the lanes, each of which must be able to run one request: so there are no more lanes than that. */
static unsigned lanes_wanted(const struct config *c)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);

    unsigned n = MIN(c->gateway_threads ? (unsigned)c->gateway_threads : (unsigned)MAX(cores, 1), (unsigned)LANES_MAX);

    return (unsigned)MIN(MIN((uint64_t)n, (uint64_t)c->gateway_in_flight_max), (uint64_t)c->gateway_model_server_concurrency);
}

static void topic_configs_fill(struct lanes *l, const struct config *c)
{
    size_t n = c->kafka_topics_config.n;

    l->topic_configs = xnew_array(struct bus_config, n);
    for (size_t i = 0; i < n; i++)
        l->topic_configs[i] = (struct bus_config){c->kafka_topics_config.list[i].name, c->kafka_topics_config.list[i].value};
    l->flow.topic_configs = l->topic_configs;
    l->flow.topic_configs_n = n;
}

static enum flow_record record_of(const struct config *c)
{
    switch (c->flow_record) {
    case CONFIG_FLOW_RECORD_ALL: return FLOW_RECORD_ALL;
    case CONFIG_FLOW_RECORD_ENDS: return FLOW_RECORD_ENDS;
    case CONFIG_FLOW_RECORD_ERRORS: return FLOW_RECORD_ERRORS;
    }
    return FLOW_RECORD_ALL;
}

static enum flow_reset offset_reset_of(const struct config *c)
{
    switch (c->kafka_consumer_auto_offset_reset) {
    case CONFIG_KAFKA_CONSUMER_AUTO_OFFSET_RESET_EARLIEST: return FLOW_RESET_EARLIEST;
    case CONFIG_KAFKA_CONSUMER_AUTO_OFFSET_RESET_LATEST: return FLOW_RESET_LATEST;
    case CONFIG_KAFKA_CONSUMER_AUTO_OFFSET_RESET_NONE: return FLOW_RESET_NONE;
    }
    return FLOW_RESET_EARLIEST;
}

/* Executors are opened before control is, but use nothing before it tells them to. */
static void cleared(void *ctx, bool model, struct str name)
{
    struct lanes *l = ctx;

    control_cleared(l->control, model, name);
}

static void flow_options_fill(struct lanes *l, const struct config *c)
{
    l->flow = (struct flow_options){
        .topic_prefix = c->kafka_topic_prefix,
        .topic_namespace = c->namespace,
        .group_prefix = c->kafka_consumer_group_id_prefix,
        .groups_seldon = c->compat_groups == CONFIG_COMPAT_GROUPS_SELDON,
        .groups_namespace = c->origins[CONFIG_KEY_NAMESPACE].from == CONFIG_DEFAULT ? STR("") : c->namespace,
        .groups_gateways = (uint32_t)c->compat_model_gateway_groups,
        .partitions = (int32_t)c->kafka_topics_num_partitions,
        .replication = (int32_t)c->kafka_topics_replication_factor,
        .message_bytes_max = MIN(c->kafka_producer_message_max_bytes, c->kafka_consumer_message_max_bytes),
        .durability = c->flow_durability == CONFIG_FLOW_DURABILITY_CACHE ? BUS_CACHE : BUS_DISK,
        .reply_immediate = c->gateway_reply == CONFIG_GATEWAY_REPLY_IMMEDIATE,
        .models_logged = c->gateway_models == CONFIG_GATEWAY_MODELS_LOGGED,
        .record = record_of(c),
        .offset_reset = offset_reset_of(c),
        .join_window_ms = (uint32_t)c->flow_join_window_ms,
        .timeout_ms = c->gateway_timeout_ms,
        .timeout_ms_max = c->gateway_timeout_max_ms,
        .recover_grace_ms = c->flow_recover_grace_ms,
        .recover_within_ms = c->flow_recover_within_ms,
        .idempotency_window_ms = c->flow_idempotency_window_ms,
        .runs_bytes_max = c->gateway_in_flight_bytes_max / l->n,
        .attempts = (int)c->gateway_model_server_attempts,
        .backoff_ms = c->gateway_model_server_backoff_ms,
        .headers_deny = c->gateway_headers_deny.list,
        .headers_deny_n = c->gateway_headers_deny.n,
        .redact = c->flow_redact.list,
        .redact_n = c->flow_redact.n,
        .owners = (int32_t)c->flow_owners,
        .shared_refused = l->shared_refused,
        .shared_ctx = l,
        .schemas = l->schemas,
        .cleared = cleared,
        .cleared_ctx = l,
        .loops_n = l->n,
    };
    topic_configs_fill(l, c);
}

static uint32_t share_of(int64_t total, unsigned n, unsigned i)
{
    return (uint32_t)(total / n + (i < total % n ? 1 : 0));
}

struct lane_ready { bool (*ready)(void *ctx, struct str *ret_why); void *ctx; };

static enum rc lane_open(struct lane *lane, const struct config *c, struct bus *bus, struct workers *workers,
                         const struct lane_ready *ready, struct err *e)
{
    struct lanes          *l = lane->lanes;
    struct gateway_options o = {
        .message_bytes_max = l->flow.message_bytes_max,
        .timeout_ms = c->gateway_timeout_ms,
        .timeout_ms_max = c->gateway_timeout_max_ms,
        .in_flight_bytes_max = l->flow.runs_bytes_max,
        .status_seldon = c->compat_status == CONFIG_COMPAT_STATUS_SELDON,
        .metrics = c->telemetry_metrics,
        .sources = &l->sources,
        .auth = l->auth,
        .name = STR("millrace"),
        .version = STR(MILLRACE_VERSION),
        .ready = ready->ready,
        .ready_ctx = ready->ctx,
    };

    if (loop_new(&clock_real, &lane->loop, e)) return e->rc;
    lane->tcp = tcp_new(lane->loop);
    l->flow.loop_index = (unsigned)(lane - l->list);
    l->flow.runs_max = share_of(c->gateway_in_flight_max, l->n, l->flow.loop_index);
    l->flow.model_concurrency = share_of(c->gateway_model_server_concurrency, l->n, l->flow.loop_index);
    o.in_flight_max = l->flow.runs_max;
    if (upstream_new(lane->loop, workers, l->flow.message_bytes_max, &lane->upstream, e)) return e->rc;
    if (flow_new(lane->loop, bus, lane->upstream, &l->flow, &lane->flow, e)) return e->rc;
    o.tcp = lane->tcp;
    o.flow = lane->flow;
    o.upstream = lane->upstream;
    return gateway_new(&o, &lane->gateway, e);
}

static enum rc doors_open(struct lanes *l, const struct config *c, struct workers *workers, struct err *e)
{
    struct gateway *gateways[LANES_MAX];
    struct tls_options tls;

    if (gateway_secrets_open(&l->secrets, c, l->main_loop, workers, e)) return e->rc;
    tls = gateway_secrets_tls(&l->secrets, c);
    for (unsigned i = 0; i < l->n; i++) gateways[i] = l->list[i].gateway;
    for (size_t i = 0; i < c->gateway_listeners.n; i++) {
        const struct config_listener *at = &c->gateway_listeners.list[i];
        const struct gateway_door_options o = {at->listen, &l->ceiling, config_gateway_encrypts(c) ? &tls : NULL};
        char                          text[ADDR_TEXT_MAX];

        if (l->doors_n == countof(l->doors)) return err_set(e, RC_INVALID, "at most %zu gateway.listeners", countof(l->doors));
        if (gateway_listen(gateways, l->n, &o, &l->doors[l->doors_n], e))
            return o.tls && e->rc != RC_EXISTS ? e->rc : err_more(e, "choose another address with --infer-listen HOST:PORT (gateway.listeners, " STR_FMT ")", STR_ARG(at->name));
        addr_text(gateway_door_addr(l->doors[l->doors_n++]), text);
        buf_printf(&l->ready, " " STR_FMT "=%s", STR_ARG(at->name), text);
    }
    return RC_OK;
}

/* The process's: whichever loop tells them. */
static void troubles_write(void *ctx, struct metrics *m)
{
    (void)ctx;
    for (int k = TROUBLE_NONE + 1; k < TROUBLE_KINDS; k++) {
        AUTO(buf_fini) struct buf labels = {0};

        metrics_label(&labels, "trouble", str_of(trouble_name((enum trouble_kind)k)));
        metrics_add(m, METRICS_COUNTER, "millrace_kafka_troubles_total", "Errors of Kafka that operators know by name.", buf_str(&labels),
                    (double)trouble_count((enum trouble_kind)k));
    }
}

static void sources_fill(struct lanes *l, struct log_side *log)
{
    size_t                n = 0;
    struct metrics_source broker = log_side_metrics(log);

    l->sources_list = xnew_array(struct metrics_source, l->n + 2);
    for (unsigned i = 0; i < l->n; i++) l->sources_list[n++] = gateway_metrics_source(l->list[i].gateway);
    if (broker.mailbox) l->sources_list[n++] = broker;
    if (l->n) l->sources_list[n++] = (struct metrics_source){loop_mailbox(l->list[0].loop), troubles_write, NULL};
    l->sources = (struct metrics_sources){l->sources_list, n};
}

static enum rc schemas_open(struct lanes *l, const struct config *c, struct err *e)
{
    const struct config_registry *r = &c->registry;

    if (!r->url.n) return RC_OK;
    return registry_new(&(struct registry_options){r->url, r->username, r->password, r->ca_path}, &l->schemas, e);
}

static unsigned certificate_roles(const struct config *c)
{
    switch (c->security_gateway_tls_client_role) {
    case CONFIG_SECURITY_GATEWAY_TLS_CLIENT_ROLE_NONE: return 0;
    case CONFIG_SECURITY_GATEWAY_TLS_CLIENT_ROLE_INFER: return ROLE_INFER;
    case CONFIG_SECURITY_GATEWAY_TLS_CLIENT_ROLE_READ: return ROLE_READ;
    case CONFIG_SECURITY_GATEWAY_TLS_CLIENT_ROLE_ADMIN: return ROLE_ADMIN;
    }
    return 0;
}

static enum rc auth_open(struct lanes *l, const struct config *c, struct workers *workers, struct err *e)
{
    const struct auth_options o = {.tokens_path = c->security_gateway_tokens.p,
                                   .jwt = {.jwks = c->security_gateway_jwt_jwks,
                                           .issuer = c->security_gateway_jwt_issuer,
                                           .audience = c->security_gateway_jwt_audience,
                                           .roles = c->security_gateway_jwt_roles_claim,
                                           .what = "security.gateway.jwt",
                                           .elsewhere = true},
                                   .role_prefix = c->security_gateway_jwt_role_prefix,
                                   .certificates = config_gateway_encrypts(c) && config_gateway_client_auth(c) != TLS_CLIENT_NONE,
                                   .certificate_roles = certificate_roles(c),
                                   .trust_loopback = c->security_gateway_trust_loopback};

    if (auth_new(&o, &l->auth, e)) return e->rc;
    auth_start(l->auth, l->main_loop, workers);
    return RC_OK;
}

enum rc lanes_open(struct lanes *l, const struct config *c, struct log_side *log, struct workers *workers,
                   bool (*ready)(void *ctx, struct str *ret_why), void *ctx, struct err *e)
{
    struct lane_ready asks = {ready, ctx};
    struct flow     **flows;

    l->n = lanes_wanted(c);
    l->list = xnew_array(struct lane, l->n);
    l->ceiling.max = (unsigned)c->broker_connections_max;
    if (schemas_open(l, c, e) || auth_open(l, c, workers, e)) return e->rc;
    flow_options_fill(l, c);
    for (unsigned i = 0; i < l->n; i++) {
        l->list[i].lanes = l;
        if (lane_open(&l->list[i], c, log->bus, workers, &asks, e)) return e->rc;
    }
    flows = xnew_array(struct flow *, l->n);
    for (unsigned i = 0; i < l->n; i++) flows[i] = l->list[i].flow;
    flow_join(flows, l->n);
    free(flows);
    sources_fill(l, log);
    return doors_open(l, c, workers, e);
}

static void lane_main(void *arg)
{
    loop_run(((struct lane *)arg)->loop);
}

enum rc lanes_run(struct lanes *l, struct err *e)
{
    for (unsigned i = 0; i < l->n; i++) {
        char name[16];

        snprintf(name, sizeof name, "mr-lane-%u", i % 1000);
        if (thread_start(name, lane_main, &l->list[i], &l->list[i].thread, e)) return e->rc;
    }
    return RC_OK;
}

void lanes_manage(struct lanes *l, struct control *control)
{
    l->control = control;
    for (unsigned i = 0; i < l->n; i++) {
        struct lane *lane = &l->list[i];

        lane->api = control_api_new(lane->loop, control, lane->flow, STR(MILLRACE_VERSION));
        gateway_route(lane->gateway, STR(CONTROL_API_PREFIX), control_api_request, lane->api);
    }
}

/* ---- snapshots ---- */

struct publication;
struct leaf { struct msg msg; struct lane *lane; struct publication *p; };
struct publication {
    struct flow_snapshot *snapshot;
    struct mailbox       *home;
    struct msg           *taken;
    atomic_uint           left;
    struct leaf           leaves[];
};

static void lane_use(struct msg *m)
{
    struct leaf        *leaf = container_of(m, struct leaf, msg);
    struct publication *p = leaf->p;

    gateway_use(leaf->lane->gateway, p->snapshot);
    flow_use(leaf->lane->flow, p->snapshot);
    if (atomic_fetch_sub(&p->left, 1) != 1) return;
    mailbox_post(p->home, p->taken);
    flow_snapshot_unref(&p->snapshot);
    free(p);
}

void lanes_publish(struct lanes *l, struct flow_snapshot *s, struct mailbox *home, struct msg *taken)
{
    struct publication *p = xcalloc(1, sizeof *p + l->n * sizeof p->leaves[0]);

    p->snapshot = s;
    p->home = home;
    p->taken = taken;
    atomic_init(&p->left, l->n);
    for (unsigned i = 0; i < l->n; i++) p->leaves[i] = (struct leaf){{.run = lane_use}, &l->list[i], p};
    for (unsigned i = 0; i < l->n; i++) mailbox_post(loop_mailbox(l->list[i].loop), &p->leaves[i].msg);
}

/* ---- the way down ---- */

static void lane_part_drained(void *ctx)
{
    struct lane  *lane = ctx;
    struct lanes *l = lane->lanes;

    if (--lane->draining == 0 && atomic_fetch_sub(&l->draining, 1) == 1) mailbox_post(l->home, &l->drained);
}

static void lane_drain(struct msg *m)
{
    struct lane *lane = container_of(m, struct lane, drain);

    lane->draining = 2;
    if (lane == lane->lanes->list)
        for (unsigned i = 0; i < lane->lanes->doors_n; i++) lane->lanes->doors[i] = gateway_door_close(lane->lanes->doors[i]);
    flow_drain(lane->flow, lane->lanes->drain_until_ms, lane_part_drained, lane);
    gateway_drain(lane->gateway, lane->lanes->drain_until_ms, lane_part_drained, lane);
}

void lanes_drain(struct lanes *l, uint64_t until_ms, struct mailbox *home, void (*drained)(struct msg *m))
{
    l->drain_until_ms = until_ms;
    l->home = home;
    registry_stop(l->schemas);
    l->drained.run = drained;
    atomic_store(&l->draining, l->n);
    for (unsigned i = 0; i < l->n; i++) {
        l->list[i].drain.run = lane_drain;
        mailbox_post(loop_mailbox(l->list[i].loop), &l->list[i].drain);
    }
}

void lanes_close(struct lanes *l)
{
    for (unsigned i = 0; i < l->n; i++)
        if (l->list[i].thread) {
            loop_stop(l->list[i].loop);
            l->list[i].thread = thread_join(l->list[i].thread);
        }
    for (unsigned i = 0; i < l->doors_n; i++) l->doors[i] = gateway_door_close(l->doors[i]);
    gateway_secrets_close(&l->secrets);
    auth_stop(l->auth);
    for (unsigned i = 0; i < l->n; i++) {
        struct lane *lane = &l->list[i];

        gateway_free(lane->gateway);
        if (lane->loop) mailbox_drain(loop_mailbox(lane->loop));
        control_api_free(lane->api);
    }
    for (unsigned i = 0; i < l->n; i++) flow_free(l->list[i].flow);
    for (unsigned i = 0; i < l->n; i++) {
        upstream_free(l->list[i].upstream);
        tcp_free(l->list[i].tcp);
    }
}

/* Loops go last: until the bus is closed, its answers arrive in their mailboxes. */
void lanes_free(struct lanes *l)
{
    l->schemas = registry_free(l->schemas);
    for (unsigned i = 0; i < l->n; i++) {
        if (!l->list[i].loop) continue;
        mailbox_drain(loop_mailbox(l->list[i].loop));
        loop_free(l->list[i].loop);
    }
    free(l->list);
    auth_free(l->auth);
    free(l->sources_list);
    free(l->topic_configs);
    buf_fini(&l->ready);
    *l = (struct lanes){0};
}
