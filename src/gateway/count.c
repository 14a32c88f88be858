/* What the gateway counts, under the names of the original's dashboards. SPDX-License-Identifier: Apache-2.0 */
#include "gateway/internal.h"
#include "net/loop.h"
#include "net/tls.h"
#include <stdio.h>

enum { KEY_MAX = 320, SERIES_MAX = 10000 };

struct series {
    struct str name;
    bool grpc;
    int code;
    struct histogram h;
    char text[];
};

static struct series *series_of(struct gateway *g, struct str name, bool grpc, int code)
{
    char key[KEY_MAX];
    size_t n = MIN(name.n, sizeof key - 4);
    struct series *s;

    key[0] = (char)grpc;
    key[1] = (char)(code >> 8);
    key[2] = (char)code;
    memcpy(key + 3, name.p ? name.p : "", n);
    s = map_get(&g->series, bytes_of(key, n + 3));
    if (s) return s;
    if (g->series.n >= SERIES_MAX && n) return series_of(g, (struct str){0}, grpc, code);
    s = xcalloc(1, sizeof *s + n);
    memcpy(s->text, key + 3, n);
    s->name = (struct str){s->text, n};
    s->grpc = grpc;
    s->code = code;
    map_put(&g->series, bytes_of(key, n + 3), s);
    return s;
}

/* Names nobody knows are counted together, under no name: callers must not be able to grow this. */
void count_request(struct gateway *g, const struct exchange *x, struct str name, struct status s,
                   uint64_t begun_us)
{
    uint64_t us = clock_mono_us(loop_clock(g->loop)) - begun_us;
    bool known = g->snapshot && (map_get_str(&g->snapshot->pipeline_by_name, name) ||
                                 map_get_str(&g->snapshot->model_by_name, name));

    histogram_note(
        &series_of(g, known ? name : (struct str){0}, x->grpc, x->grpc ? s.grpc : s.http)->h,
        (double)us / 1e6);
}

static void labels_put(struct buf *b, const struct series *s, const char *method)
{
    char code[16];

    snprintf(code, sizeof code, "%d", s->code);
    buf_clear(b);
    metrics_label(b, "server", STR("pipeline-gateway"));
    metrics_label(b, "pipeline", s->name);
    metrics_label(b, method, s->grpc ? STR("grpc") : STR("rest"));
    metrics_label(b, "code", s->grpc ? str_of(grpc_code_name(s->code)) : str_of(code));
}

static void series_write(const struct series *s, struct metrics *m, struct buf *b)
{
    double n = (double)s->h.count;

    labels_put(b, s, "method");
    metrics_histogram(m, "seldon_pipeline_infer_api_seconds",
                      "Latency of inference requests at the gateway.", buf_str(b), &s->h);
    labels_put(b, s, "method_type");
    metrics_add(m, METRICS_COUNTER, "seldon_pipeline_infer_total", "Inference requests.",
                buf_str(b), n);
    metrics_add(m, METRICS_COUNTER, "seldon_pipeline_infer_seconds_total",
                "Seconds spent on inference requests.", buf_str(b), s->h.sum_s);
    buf_clear(b);
    metrics_label(b, "server", STR("pipeline-gateway"));
    metrics_label(b, "method_type", s->grpc ? STR("grpc") : STR("rest"));
    metrics_add(m, METRICS_COUNTER, "seldon_pipeline_aggregate_infer_total",
                "Inference requests, all pipelines.", buf_str(b), n);
    metrics_add(m, METRICS_COUNTER, "seldon_pipeline_aggregate_infer_seconds_total",
                "Seconds spent on them, all pipelines.", buf_str(b), s->h.sum_s);
}

static void http_write(const struct gateway *g, struct metrics *m)
{
    struct http_counters c;

    http_server_count(g->http, &c);
    metrics_add(m, METRICS_GAUGE, "millrace_http_connections",
                "Open connections of the inference port.", (struct str){0},
                (double)c.connections_now);
    metrics_add(m, METRICS_COUNTER, "millrace_http_connections_total", "Connections accepted.",
                (struct str){0}, (double)c.connections);
    metrics_add(m, METRICS_COUNTER, "millrace_http_requests_total", "Requests by protocol.",
                STR("protocol=\"http1\""), (double)c.requests_http1);
    metrics_add(m, METRICS_COUNTER, "millrace_http_requests_total", "Requests by protocol.",
                STR("protocol=\"h2\""), (double)c.requests_h2);
    metrics_add(m, METRICS_COUNTER, "millrace_http_refused_total", "Answers with a status of 4xx.",
                (struct str){0}, (double)c.refused_4xx);
    metrics_add(m, METRICS_COUNTER, "millrace_grpc_refused_total",
                "gRPC answers with another status than OK.", (struct str){0},
                (double)c.refused_grpc);
    metrics_add(m, METRICS_COUNTER, "millrace_http_broken_total",
                "HTTP/2 connections ended for an error of the protocol.", (struct str){0},
                (double)c.broken);
    metrics_add(m, METRICS_COUNTER, "millrace_http_tls_handshakes_total", "Handshakes of TLS that were done.", STR("resumed=\"no\""),
                (double)(c.handshakes - c.handshakes_resumed));
    metrics_add(m, METRICS_COUNTER, "millrace_http_tls_handshakes_total", "Handshakes of TLS that were done.", STR("resumed=\"yes\""),
                (double)c.handshakes_resumed);
    metrics_add(m, METRICS_COUNTER, "millrace_http_tls_handshakes_failed_total", "Handshakes of TLS that failed.", (struct str){0},
                (double)c.handshakes_failed);
    metrics_add(m, METRICS_COUNTER, "millrace_http_gone_total", "Requests whose client went away.",
                (struct str){0}, (double)c.gone);
    metrics_add(m, METRICS_COUNTER, "millrace_gateway_refused_total", "Requests of callers who may not.", STR("why=\"unauthenticated\""),
                (double)g->refused[AUTH_UNKNOWN]);
    metrics_add(m, METRICS_COUNTER, "millrace_gateway_refused_total", "Requests of callers who may not.", STR("why=\"denied\""),
                (double)g->refused[AUTH_DENIED]);
    metrics_add(m, METRICS_COUNTER, "millrace_gateway_refused_total", "Requests of callers who may not.", STR("why=\"too_many_failures\""),
                (double)g->refused[AUTH_BARRED]);
    metrics_add(m, METRICS_COUNTER, "millrace_gateway_refused_total", "Requests of callers who may not.", STR("why=\"no_keys_yet\""),
                (double)g->refused[AUTH_LATER]);
    metrics_add(m, METRICS_GAUGE, "millrace_gateway_in_flight", "Inference requests in flight.",
                (struct str){0}, (double)g->in_flight);
    metrics_add(m, METRICS_GAUGE, "millrace_gateway_body_bytes", "Bytes of requests, and of answers that wait for their reader.",
                (struct str){0}, (double)g->budget.used);
    metrics_add(m, METRICS_COUNTER, "millrace_gateway_overload_total",
                "Requests refused because too much is in flight.", (struct str){0},
                (double)(g->overload + g->budget.refused));
}

static void flow_write(const struct gateway *g, struct metrics *m)
{
    struct flow_counters c;

    flow_count(g->o.flow, &c);
    metrics_add(m, METRICS_COUNTER, "millrace_runs_started_total", "Runs started.", (struct str){0},
                (double)c.runs_started);
    metrics_add(m, METRICS_COUNTER, "millrace_runs_total", "Runs ended.", STR("outcome=\"ok\""),
                (double)c.runs_ok);
    metrics_add(m, METRICS_COUNTER, "millrace_runs_total", "Runs ended.", STR("outcome=\"failed\""),
                (double)c.runs_failed);
    metrics_add(m, METRICS_GAUGE, "millrace_runs", "Runs under way.", (struct str){0},
                (double)c.runs_now);
    metrics_add(m, METRICS_GAUGE, "millrace_runs_bytes", "Bytes held by runs.", (struct str){0},
                (double)c.bytes_now);
    metrics_add(m, METRICS_GAUGE, "millrace_joins_bytes", "Bytes of other pipelines' records that wait for their other sides.",
                (struct str){0}, (double)c.joins_bytes);
    metrics_add(m, METRICS_COUNTER, "millrace_run_records_total", "Records appended by runs.",
                (struct str){0}, (double)c.records_appended);
    metrics_add(m, METRICS_GAUGE, "millrace_foreign_engines",
                "Pipelines and models whose inputs another engine takes as its work, too.", (struct str){0},
                (double)c.foreign_now);
    metrics_add(m, METRICS_COUNTER, "millrace_schema_failures_total",
                "Questions that the schema registry did not answer with an id.", (struct str){0},
                (double)c.schema_failures);
    metrics_add(m, METRICS_COUNTER, "millrace_records_untagged_total",
                "Records written without the schema registry's prefix, since it had given no id.",
                (struct str){0}, (double)c.records_untagged);
    metrics_add(m, METRICS_COUNTER, "millrace_runs_recovered_total",
                "Runs finished for a process that ended.", (struct str){0}, (double)c.recovered);
    metrics_add(m, METRICS_COUNTER, "millrace_runs_ended_for_others_total",
                "Requests of other processes ended with an error.", (struct str){0}, (double)c.ended_for_others);
    metrics_add(m, METRICS_COUNTER, "millrace_run_outcomes_repeated_total",
                "Outcomes met, when a partition was taken over, of runs that had one before.", (struct str){0}, (double)c.repeats);
    metrics_add(m, METRICS_COUNTER, "millrace_runs_outside_total",
                "Runs started by records from outside.", (struct str){0}, (double)c.outside);
    metrics_add(m, METRICS_COUNTER, "millrace_run_records_failed_total",
                "Hop records that could not be appended.", (struct str){0},
                (double)c.hop_records_failed);
    metrics_add(m, METRICS_COUNTER, "millrace_runs_refused_total",
                "Runs refused because too much is in flight.", (struct str){0}, (double)c.overload);
}

struct tally_writing {
    struct metrics *m;
    struct buf labels;
};

/* The names of the original's model server agents; a server of ours has no replicas. */
static void tally_write(void *ctx, const struct upstream_tally *t)
{
    struct tally_writing *w = ctx;
    char code[16];

    snprintf(code, sizeof code, "%d", t->code);
    buf_clear(&w->labels);
    metrics_label(&w->labels, "server", t->server);
    metrics_label(&w->labels, "server_replica", STR("0"));
    metrics_label(&w->labels, "model", t->model);
    metrics_label(&w->labels, "model_internal", t->model);
    metrics_label(&w->labels, "method_type", t->rest ? STR("rest") : STR("grpc"));
    metrics_label(&w->labels, "code", t->rest ? str_of(code) : str_of(grpc_code_name(t->code)));
    metrics_add(w->m, METRICS_COUNTER, "seldon_model_infer_total", "Calls of models.",
                buf_str(&w->labels), (double)t->calls);
    metrics_add(w->m, METRICS_COUNTER, "seldon_model_infer_seconds_total",
                "Seconds spent on calls of models.", buf_str(&w->labels), t->seconds);
    buf_clear(&w->labels);
    metrics_label(&w->labels, "server", t->server);
    metrics_label(&w->labels, "server_replica", STR("0"));
    metrics_label(&w->labels, "method_type", t->rest ? STR("rest") : STR("grpc"));
    metrics_add(w->m, METRICS_COUNTER, "seldon_model_aggregate_infer_total",
                "Calls of models, by server.", buf_str(&w->labels), (double)t->calls);
    metrics_add(w->m, METRICS_COUNTER, "seldon_model_aggregate_infer_seconds_total",
                "Seconds spent on them, by server.", buf_str(&w->labels), t->seconds);
}

static void certificate_write(const struct gateway *g, struct metrics *m)
{
    AUTO(buf_fini) struct buf labels = {0};

    if (!g->certificate_end_s) return;
    metrics_label(&labels, "listener", STR(DOOR_NAME));
    metrics_add(m, METRICS_GAUGE, TLS_END_METRIC, TLS_END_HELP, buf_str(&labels), (double)g->certificate_end_s);
}

void count_write(void *ctx, struct metrics *m)
{
    struct gateway *g = ctx;
    struct tally_writing models = {.m = m};
    struct buf b = {0};
    struct bytes key;
    void *value;

    for (size_t at = 0; map_next(&g->series, &at, &key, &value);)
        series_write(value, m, &b);
    buf_fini(&b);
    upstream_tallies(g->o.upstream, tally_write, &models);
    buf_fini(&models.labels);
    http_write(g, m);
    certificate_write(g, m);
    flow_write(g, m);
}

void count_free(struct gateway *g)
{
    map_fini_each(&g->series, free);
}

/* ---- GET /metrics ---- */

struct scrape {
    struct metrics_collection c;
    struct exchange *x;
};

static void scrape_gone(struct exchange *x)
{
    ((struct scrape *)x->priv)->x = NULL; /* the round goes on; its end frees it */
}

static void scrape_done(struct metrics_collection *c)
{
    struct scrape *s = container_of(c, struct scrape, c);
    const struct header type = {STR("content-type"),
                                STR("text/plain; version=0.0.4; charset=utf-8")};

    if (s->x) {
        s->x->gone = NULL;
        exchange_respond(s->x, 200, &type, 1, &c->text);
    }
    buf_fini(&c->text);
    free(s);
}

void metrics_answer(struct gateway *g, struct exchange *x)
{
    struct scrape *s = xnew(struct scrape);

    s->x = x;
    x->priv = s;
    x->gone = scrape_gone;
    metrics_collect(&s->c, g->o.sources && g->o.sources->n ? g->o.sources : &g->only_self,
                    loop_mailbox(g->loop), scrape_done);
}
