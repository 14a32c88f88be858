/* gateway/internal.h - what the files of gateway/ share; nobody else includes it. SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "gateway/gateway.h"
#include "gateway/status.h"
#include "base/rng.h"

enum { ROUTES_MAX = 16, REQUEST_ID_CHARS = 20, DEFAULT_PROBE_MS = 10000 };

#define DOOR_NAME "inference port"               /* what the log and the metrics call it */

struct route { struct str prefix; void (*request)(void *ctx, struct exchange *x); void *ctx; };

struct gateway {
    struct gateway_options o;
    struct loop *loop;
    struct http_server *http;
    struct budget budget;
    struct flow_snapshot *snapshot;
    struct route routes[ROUTES_MAX];
    size_t routes_n;
    uint32_t in_flight;
    uint64_t overload, admitted;
    uint64_t refused[AUTH_LATER + 1];           /* by verdict */
    struct map series;                           /* by kind, method, code, name -> struct series */
    struct { uint8_t unique[5]; uint32_t counter; } id;
    struct rng rng;
    struct metrics_source self;
    struct metrics_sources only_self;
    struct list watchers;                        /* of the health: struct watcher */
    size_t watchers_n;
    struct timer watch_timer;
    int64_t certificate_end_s;                   /* of the inference port, on the gateway whose loop has its doors; 0: none */
    bool draining;
    struct timer drain_timer;
    uint64_t drain_deadline_ms;
    void (*drained)(void *ctx);
    void *drained_ctx;
};

/* ---- answer.c: small answers of both protocols ---- */
void answer_error(struct exchange *x, int http, int grpc, struct str text, uint32_t retry_ms);
void answer_err(struct exchange *x, const struct err *e);        /* by http_status_of() and grpc_status_of() */
void answer_json(struct exchange *x, int status, struct buf *body);
void error_body(struct str text, struct buf *ret);                /* {"error": text} */
void answer_message(struct exchange *x, struct buf *message);    /* gRPC, OK */
void answer_empty(struct exchange *x, int status);

/* ---- admit.c: false: answered with 401, 403 or 429 ---- */
bool admit(struct gateway *g, struct exchange *x);

/* ---- names.c: who is meant, by whom, until when ---- */
struct resource { struct str name; bool model; const struct flow_experiment *experiment; };
/* "p.pipeline", "m.model", "e.experiment" (with the candidate that stands for it), "m": a bare name is the model of that name, or if there is none the pipeline. */
enum rc resource_named(const struct gateway *g, struct str text, struct resource *ret, struct err *e) MUST_USE;
bool resource_known(const struct gateway *g, const struct resource *r);
/* The routing headers; false when there are none. */
bool resource_header(const struct exchange *x, struct str *ret);
enum rc version_check(const struct gateway *g, const struct resource *r, struct str version, struct err *e) MUST_USE;
struct str request_id_new(struct gateway *g, struct arena *a);
struct str request_id_of(struct gateway *g, struct exchange *x);
enum rc deadline_of(const struct gateway *g, struct exchange *x, uint64_t *ret_ms, struct err *e) MUST_USE;
/* "2", "0.5", "250ms", "5s", "2m", "1h". */
bool timeout_parse(struct str text, uint64_t *ret_ms);

/* ---- infer.c ---- */
void infer_rest(struct gateway *g, struct exchange *x, const struct resource *r);
void infer_grpc(struct gateway *g, struct exchange *x);

/* ---- route.c: experiments ---- */
const struct flow_experiment *route_of_resource(const struct gateway *g, const struct resource *r);    /* NULL: none */
/* The candidate that the request goes to, and how it is called in x-seldon-route; both stay if there is no experiment. */
void route_choose(struct gateway *g, struct exchange *x, struct resource *r, struct str *ret_route);
struct str route_text(const struct gateway *g, struct arena *a, const struct resource *r);
void route_mirror(struct gateway *g, const struct flow_experiment *e, const struct flow_request *from);

/* ---- rest.c, service.c: everything else ---- */
void rest_request(struct gateway *g, struct exchange *x);
void service_begin(struct gateway *g, struct exchange *x);       /* reflection is a stream */
void service_request(struct gateway *g, struct exchange *x);

/* ---- asks.c: readiness and metadata, answered later ---- */
void ask_ready(struct gateway *g, struct exchange *x, const struct resource *r);
void ask_metadata(struct gateway *g, struct exchange *x, const struct resource *r);
void ask_load(struct gateway *g, struct exchange *x, const struct resource *r);
bool process_ready(const struct gateway *g, struct str *ret_why);
void server_metadata_of(const struct gateway *g, struct buf *ret, bool json);
void repository_index_of(const struct gateway *g, bool ready_only, struct buf *ret, bool json);

/* ---- watch.c ---- */
bool health_service_known(struct str service);
void health_watch(struct gateway *g, struct exchange *x);
void health_watch_end(struct gateway *g);        /* everybody is told, then sent away */

/* ---- count.c ---- */
void count_request(struct gateway *g, const struct exchange *x, struct str name, struct status s, uint64_t begun_us);
void count_write(void *ctx, struct metrics *m);
void count_free(struct gateway *g);
void metrics_answer(struct gateway *g, struct exchange *x);
