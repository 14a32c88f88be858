/* control/api.c - a request becomes a call to control; its answer, with readiness probed on this loop, goes back.
 *
 * What control borrows is held by the request, not by the exchange: the client may go away at any time.
 * SPDX-License-Identifier: Apache-2.0 */
#include "control/api.h"
#include "flow/flow.h"
#include "net/exchange.h"
#include "net/loop.h"
#include "oip/json.h"

enum { DEADLINE_MS = 30000, PROBE_MS = 3000, PROBES_AT_ONCE = 16 };

struct control_api {
    struct loop *loop;
    struct control *control;
    struct flow *flow;
    struct str version;
    size_t requests;
    bool freed; /* goes with its last request */
};

struct probing {
    struct flow_probe probe;
    struct upstream_target server;
    struct request *request;
    bool done;
};

struct request {
    struct control_call call;
    struct control_api *api;
    struct exchange *x; /* NULL: the client went away */
    struct arena arena;
    struct buf body;
    struct probing *probes; /* one for each item */
    size_t probes_started, probes_running;
};

/* ---- answers ---- */

static int status_of(enum rc rc)
{
    switch (rc) {
    case RC_OK: return 200;
    case RC_INVALID: return 400;
    case RC_AUTH: return 401;
    case RC_DENIED: return 403;
    case RC_NOT_FOUND: return 404;
    case RC_EXISTS: return 409;
    case RC_TOO_LARGE: return 413;
    case RC_UNSELECTED: return 422;
    case RC_OVERLOAD: return 429;
    case RC_CANCELLED: return 503;
    case RC_UNSUPPORTED: return 501;
    case RC_UPSTREAM: return 502;
    case RC_UNAVAILABLE: return 503;
    case RC_DISK_FULL: return 503;
    case RC_LOCKED: return 503;
    case RC_TIMEOUT: return 504;
    case RC_IO: return 500;
    case RC_CORRUPT: return 500;
    case RC_FATAL: return 500;
    }
    return 500;
}

static void respond(struct exchange *x, int status, struct buf *body)
{
    const struct header h[] = {HEADER("content-type", STR("application/json")),
                               HEADER("cache-control", STR("no-store")),
                               HEADER("retry-after", STR("1"))};

    buf_append_byte(body, '\n');
    exchange_respond(x, status, h, status == 503 || status == 429 ? 3 : 2, body);
}

static void respond_error(struct exchange *x, int status, struct str text, struct str problems)
{
    struct buf body = {0};

    buf_append_str(&body, STR("{\"error\":"));
    json_put_str(&body, text);
    if (problems.n) {
        buf_append_str(&body, STR(",\"problems\":"));
        buf_append_str(&body, problems);
    }
    buf_append_byte(&body, '}');
    respond(x, status, &body);
    buf_fini(&body);
}

static void request_free(struct request *r)
{
    struct control_api *api = r->api;

    control_call_fini(&r->call);
    buf_fini(&r->body);
    free(r->probes);
    arena_fini(&r->arena);
    free(r);
    if (--api->requests == 0 && api->freed) free(api);
}

static void gone(struct exchange *x)
{
    struct request *r = x->priv;
    r->x = NULL;
}

static void finish(struct request *r)
{
    if (r->x) {
        r->x->gone = NULL;
        if (r->call.err.rc)
            respond_error(r->x, status_of(r->call.err.rc), str_of(r->call.err.text),
                          buf_str(&r->call.json));
        else
            respond(r->x, 200, &r->call.json);
    }
    request_free(r);
}

/* ---- readiness of resources ---- */

static void put_failed(struct buf *b, const struct control_item *item, const struct err *why)
{
    AUTO(buf_fini) struct buf text = {0};

    buf_printf(&text, "%s%s", item->kind == RESOURCE_MODEL ? "ModelFailed: " : "",
               why->text[0] ? why->text : rc_name(why->rc));
    buf_append_str(b, STR(",\"ready\":false,\"status\":"));
    json_put_str(b, buf_str(&text));
}

static void put_warning(struct buf *b, const struct probing *p)
{
    if (!p->done || !p->probe.warning[0]) return;
    buf_append_str(b, STR(",\"warning\":"));
    json_put_str(b, str_of(p->probe.warning));
}

static void put_status(struct buf *b, const struct control_item *item, const struct probing *p)
{
    enum rc rc = p->probe.err.rc;

    if (!item->usable)
        buf_append_str(b, STR(",\"ready\":false,\"status\":\"not usable\""));
    else if (!p->done)
        buf_append_str(b, STR(",\"ready\":null,\"status\":\"not probed in time\""));
    else if (rc == RC_OK)
        buf_append_str(b, STR(",\"ready\":true,\"status\":\"ready\""));
    else
        put_failed(b, item, &p->probe.err);
}

static void items_answer(struct request *r)
{
    struct buf body = {0};
    bool one = r->call.what == CONTROL_GET;

    if (!one) buf_append_str(&body, STR("{\"resources\":["));
    for (size_t i = 0; i < r->call.items_n; i++) {
        if (i) buf_append_byte(&body, ',');
        buf_append(&body, buf_view(&r->call.items[i].json));
        put_status(&body, &r->call.items[i], &r->probes[i]);
        put_warning(&body, &r->probes[i]);
        buf_append_byte(&body, '}');
    }
    if (!one) buf_append_str(&body, STR("]}"));
    buf_fini(&r->call.json);
    r->call.json = body;
    finish(r);
}

static void probes_run(struct request *r);

static void probed(struct flow_probe *fp)
{
    struct probing *p = container_of(fp, struct probing, probe);

    p->done = fp->err.rc != RC_TIMEOUT;
    p->request->probes_running--;
    probes_run(p->request);
}

/* A few at a time; whoever answers last sends the reply. A probe may be answered from inside flow_probe(). */
static void probes_run(struct request *r)
{
    while (r->probes_started < r->call.items_n && r->probes_running < PROBES_AT_ONCE) {
        size_t i = r->probes_started++;
        const struct control_item *item = &r->call.items[i];
        struct probing *p = &r->probes[i];
        if (!item->usable || loop_now_ms(r->api->loop) >= r->call.deadline_ms) continue;
        p->request = r;
        p->server = (struct upstream_target){.kind = item->rest ? UPSTREAM_REST : UPSTREAM_GRPC,
                                             .address = item->address};
        p->probe = (struct flow_probe){
            .name = item->kind == RESOURCE_EXPERIMENT ? item->address : item->name,
            .model = item->kind == RESOURCE_MODEL || (item->kind == RESOURCE_EXPERIMENT && item->rest),
            .server = item->kind == RESOURCE_SERVER ? &p->server : NULL,
            .done = probed,
            .deadline_ms = MIN(r->call.deadline_ms, loop_now_ms(r->api->loop) + PROBE_MS)};
        r->probes_running += 2; /* one for the start itself */
        flow_probe(r->api->flow, &p->probe);
        r->probes_running--;
    }
    if (r->probes_started == r->call.items_n && r->probes_running == 0) items_answer(r);
}

/* ---- the call ---- */

static void info_add(struct request *r)
{
    struct buf *b = &r->call.json;

    must(b->n && b->p[b->n - 1] == '}');
    b->n--;
    buf_append_str(b, STR(",\"version\":"));
    json_put_str(b, r->api->version);
    buf_append_byte(b, '}');
}

static void called(struct control_call *call)
{
    struct request *r = container_of(call, struct request, call);
    bool items = call->what == CONTROL_LIST || call->what == CONTROL_GET;

    if (call->err.rc || !items || !r->x) {
        if (!call->err.rc && call->what == CONTROL_INFO) info_add(r);
        finish(r);
        return;
    }
    r->probes = xnew_array(struct probing, call->items_n + 1);
    call->deadline_ms = MIN(call->deadline_ms, loop_now_ms(r->api->loop) + 2 * PROBE_MS);
    probes_run(r);
}

/* ---- routes ---- */

static bool query_number(struct exchange *x, const char *name, int64_t low, int64_t high,
                         int64_t absent, int64_t *ret)
{
    struct str text;

    *ret = absent;
    if (!exchange_query(x, str_of(name), &text)) return true;
    if (str_to_i64(text, ret) && *ret >= low && *ret <= high) return true;
    respond_error(x, 400,
                  arena_printf(&x->arena,
                               "%s: a whole number from %lld on is wanted, not \"" STR_FMT "\"",
                               name, (long long)low, STR_ARG(text)),
                  STR(""));
    return false;
}

static bool query_true(struct exchange *x, const char *name)
{
    struct str text;
    return exchange_query(x, str_of(name), &text) &&
           (str_is(text, "true") || str_is(text, "1") || !text.n);
}

static bool records_route(struct exchange *x, struct request *r, struct str topic)
{
    int64_t partition, offset, limit;

    if (!query_number(x, "partition", 0, INT32_MAX, -1, &partition) ||
        !query_number(x, "offset", -2, INT64_MAX, -2, &offset) ||
        !query_number(x, "limit", 1, 10000, 0, &limit))
        return false;
    r->call.what = CONTROL_RECORDS;
    r->call.name = topic;
    r->call.partition = (int32_t)partition;
    r->call.offset = offset;
    r->call.limit = (uint32_t)limit;
    r->call.raw = query_true(x, "raw");
    return true;
}

static bool get_route(struct exchange *x, struct request *r, struct str first, struct str rest)
{
    enum resource_kind kind;
    int64_t limit;

    if (str_is(first, "info") && !rest.n)
        r->call.what = CONTROL_INFO;
    else if (str_is(first, "resources") && !rest.n)
        r->call.what = CONTROL_LIST;
    else if (str_is(first, "topics") && !rest.n) {
        r->call.what = CONTROL_TOPICS;
        r->call.all = query_true(x, "all");
    } else if (str_is(first, "topics") && str_ends(rest, STR("/records"))) {
        return records_route(x, r, (struct str){rest.p, rest.n - 8});
    } else if (str_is(first, "trace") && rest.n) {
        r->call.what = CONTROL_TRACE;
        r->call.name = rest;
        if (!exchange_query(x, STR("pipeline"), &r->call.kind)) r->call.kind = STR("");
    } else if (str_is(first, "inspect") && rest.n) {
        if (!query_number(x, "limit", 1, 10000, 0, &limit)) return false;
        r->call.what = CONTROL_INSPECT;
        r->call.name = rest;
        r->call.limit = (uint32_t)limit;
    } else if (resource_kind_of(first, &kind)) {
        r->call.what = rest.n ? CONTROL_GET : CONTROL_LIST;
        r->call.kind = first;
        r->call.name = rest;
    } else {
        respond_error(x, 404, STR("there is no such page; see docs/management-api.md"), STR(""));
        return false;
    }
    return true;
}

/* Fills the call; false: answered already. */
static bool route(struct exchange *x, struct request *r)
{
    struct str path = {x->path.p + sizeof CONTROL_API_PREFIX - 1,
                       x->path.n - sizeof CONTROL_API_PREFIX + 1},
               first, rest;
    enum resource_kind kind;
    bool get = str_is(x->method, "GET"), post = str_is(x->method, "POST"),
         delete = str_is(x->method, "DELETE");

    str_cut(path, '/', &first, &rest);
    if (str_is(first, "apply") && !rest.n) {
        if (!post) {
            respond_error(x, 405, STR("apply is asked for with POST"), STR(""));
            return false;
        }
        r->call.what = query_true(x, "check") ? CONTROL_CHECK : CONTROL_APPLY;
        r->body = buf_take(&x->body);
        r->call.text = buf_str(&r->body);
        return true;
    }
    if (delete &&resource_kind_of(first, &kind) && rest.n) {
        r->call.what = CONTROL_DELETE;
        r->call.kind = first;
        r->call.name = rest;
        r->call.force = query_true(x, "force");
        return true;
    }
    if (get) return get_route(x, r, first, rest);
    respond_error(
        x, 405,
        STR("this page is read with GET; only resources can be deleted, and only by kind and name"),
        STR(""));
    return false;
}

/* ---- a request in Kafka's protocol ---- */

struct asking {
    struct bus_ask ask;
    struct exchange *x; /* NULL: the client went away */
    struct buf frame;
};

static void asker_gone(struct exchange *x)
{
    struct asking *k = x->priv;
    k->x = NULL;
}

static void asked(struct bus_op *op)
{
    struct asking *k = container_of(container_of(op, struct bus_ask, op), struct asking, ask);
    const struct header h[] = {HEADER("content-type", STR("application/octet-stream")),
                               HEADER("cache-control", STR("no-store"))};

    if (k->x) {
        k->x->gone = NULL;
        if (op->err.rc)
            respond_error(k->x, status_of(op->err.rc), str_of(op->err.text), STR(""));
        else
            exchange_respond(k->x, 200, h, countof(h), &k->ask.answer);
    }
    bus_ask_fini(&k->ask);
    buf_fini(&k->frame);
    free(k);
}

static bool node_asked(struct exchange *x, int32_t *ret)
{
    struct str text;
    int64_t node;

    if (exchange_query(x, STR("node"), &text) && str_is(text, "controller")) {
        *ret = BUS_ASK_CONTROLLER;
        return true;
    }
    if (!query_number(x, "node", 0, INT32_MAX, BUS_ASK_ANY, &node)) return false;
    *ret = (int32_t)node;
    return true;
}

static void kafka_request(struct control_api *api, struct exchange *x)
{
    struct asking *k;
    int32_t node;

    if (!str_is(x->method, "POST")) {
        respond_error(x, 405, STR("a request to Kafka is sent with POST"), STR(""));
        return;
    }
    if (!node_asked(x, &node)) return;
    k = xnew(struct asking);
    k->x = x;
    k->frame = buf_take(&x->body);
    k->ask = (struct bus_ask){.op = {.reply_to = loop_mailbox(api->loop),
                                     .deadline_ms = loop_now_ms(api->loop) + DEADLINE_MS,
                                     .done = asked},
                              .frame = buf_view(&k->frame),
                              .node = node};
    x->priv = k;
    x->gone = asker_gone;
    bus_ask(control_bus(api->control), &k->ask);
}

/* A page of some web site must not manage this process through the browser of the one who sits here. */
static bool origin_good(const struct exchange *x)
{
    struct str origin, host, port;

    if (x->token || !exchange_header(x, STR("origin"), &origin)) return true;
    host = x->secure ? STR("https://") : STR("http://");
    if (!str_starts(origin, host) ||
        !str_eq((struct str){origin.p + host.n, origin.n - host.n}, x->authority))
        return false;
    str_cut(x->authority, ':', &host, &port);
    return str_is(host, "127.0.0.1") || str_is(host, "localhost") ||
           str_starts(x->authority, STR("[::1]"));
}

static bool allowed(struct exchange *x)
{
    if (origin_good(x)) return true;
    respond_error(x, 403, STR("this page was asked for on behalf of another web site"), STR(""));
    return false;
}

void control_api_request(void *ctx, struct exchange *x)
{
    struct control_api *api = ctx;
    struct request *r;

    if (!str_starts(x->path, STR(CONTROL_API_PREFIX))) {
        respond_error(x, 404, STR("there is no such page; see docs/management-api.md"), STR(""));
        return;
    }
    if (!allowed(x)) return;
    if (str_is(x->path, CONTROL_API_PREFIX "kafka")) {
        kafka_request(api, x);
        return;
    }
    r = xnew(struct request);
    r->api = api;
    r->x = x;
    api->requests++;
    if (!route(x, r)) {
        request_free(r);
        return;
    }
    r->call.kind = arena_dup_str(&r->arena, r->call.kind); /* they must outlive the exchange */
    r->call.name = arena_dup_str(&r->arena, r->call.name);
    r->call.deadline_ms = loop_now_ms(api->loop) + DEADLINE_MS;
    r->call.reply_to = loop_mailbox(api->loop);
    r->call.done = called;
    x->priv = r;
    x->gone = gone;
    control_call(api->control, &r->call);
}

struct control_api *control_api_new(struct loop *l, struct control *c, struct flow *f,
                                    struct str version)
{
    struct control_api *api = xnew(struct control_api);

    *api = (struct control_api){.loop = l, .control = c, .flow = f, .version = version};
    return api;
}

struct control_api *control_api_free(struct control_api *api)
{
    if (!api) return NULL;
    api->freed = true;
    if (api->requests == 0) free(api);
    return NULL;
}
