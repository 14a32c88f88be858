/* Design note: one struct infer per request, in its exchange's arena. The flow borrows message, headers and id from the
 * exchange, which stays until we answer it; when the client goes away the run is cancelled, and `done` comes before the
 * exchange is gone. SPDX-License-Identifier: Apache-2.0 */
#include "gateway/internal.h"
#include "net/loop.h"
#include "oip/json.h"
#include "oip/pb.h"

struct infer {
    struct flow_request flow;
    struct gateway *g;
    struct exchange *x;
    struct buf message; /* REST: the request as protobuf */
    struct json_wants wants;
    struct str route;                            /* with an experiment: the candidate, for x-seldon-route */
    const struct flow_experiment *mirrors;       /* until it is started */
    uint64_t begun_us;
    bool gone;
};

enum { FIXED_HEADERS = 5 };

/* ---- Answers ---- */

/* x-request-id is the record key, then come the outcome's x-* headers; REST repeats the caller's own id among them. */
static size_t headers_of(const struct infer *i, struct header *h, bool repeat_id)
{
    const struct flow_request *f = &i->flow;
    size_t n = 0;

    h[n++] = (struct header){STR("x-request-id"), f->key.n ? f->key : f->request_id};
    for (size_t k = 0; k < f->response_headers_n; k++) {
        const struct header *from = &f->response_headers[k];

        if (!str_starts(from->name, STR("x-"))) continue;
        if (!repeat_id && str_is(from->name, "x-request-id")) continue;
        h[n++] = *from;
    }
    if (i->route.n) h[n++] = (struct header){STR("x-seldon-route"), i->route};
    return n;
}

static enum rc body_of(struct infer *i, struct buf *body, size_t *ret_json_bytes, struct err *e)
{
    const struct json_style style = {.wants = &i->wants};
    struct infer_view v;

    if (infer_parse(buf_view(&i->flow.response), INFER_RESPONSE, &i->x->arena, &v, e)) return e->rc;
    return infer_encode_json(&v, &style, body, ret_json_bytes, e);
}

static void answer_rest(struct infer *i, struct status s, struct header *h)
{
    struct flow_request *f = &i->flow;
    size_t n = headers_of(i, h, true), json_bytes;
    uint32_t after = retry_after_s(s.http, f->retry_after_ms);
    struct str type = STR("application/json");
    char digits[DECIMAL_MAX];
    struct buf body = {0};
    struct err e;

    if (f->err.rc == RC_OK && body_of(i, &body, &json_bytes, &e)) {
        f->err = e;
        buf_printf(&f->message_text, "the answer cannot be told as JSON: %s", e.text);
        s.http = 502;
        buf_clear(&body);
    }
    if (f->err.rc) {
        error_body(buf_str(&f->message_text), &body);
        if (after) h[n++] = HEADER("retry-after", decimal(after, digits));
    } else if (json_bytes < body.n) {
        type = STR("application/octet-stream");
        h[n++] = HEADER("inference-header-content-length", decimal(json_bytes, digits));
    }
    h[n++] = (struct header){STR("content-type"), type};
    exchange_respond(i->x, s.http, h, n, &body);
}

static void answer_grpc(struct infer *i, struct status s, struct header *h)
{
    struct flow_request *f = &i->flow;
    bool bare = f->err.rc && i->g->o.status_seldon; /* the original's errors carry no metadata */
    struct grpc_reply r = {.status = s.grpc, .message = buf_str(&f->message_text), .headers = h};
    uint32_t after = f->err.rc ? retry_after_s(s.http, f->retry_after_ms) : 0;
    char digits[DECIMAL_MAX];

    if (!bare) r.headers_n = headers_of(i, h, false);
    if (!bare && after) h[r.headers_n++] = HEADER("retry-after", decimal(after, digits));
    exchange_respond_grpc(i->x, &r, &f->response);
}

static void answer(struct infer *i)
{
    struct flow_request *f = &i->flow;
    struct status s = status_of(f, i->g->o.status_seldon);
    struct exchange *x = i->x;
    struct header *h;

    if (i->gone) s = (struct status){499, GRPC_CANCELLED};
    count_request(i->g, x, f->name, s, i->begun_us);
    if (i->gone) return;
    x->gone = NULL;
    h = arena_array(&x->arena, struct header, f->response_headers_n + FIXED_HEADERS);
    if (x->grpc)
        answer_grpc(i, s, h);
    else
        answer_rest(i, s, h);
}

/* The answer gives the exchange back, and with its arena goes the infer: what is needed until then is copied. */
static void on_done(struct flow_request *f)
{
    struct infer mine = *container_of(f, struct infer, flow);

    mine.g->in_flight--;
    answer(&mine);
    flow_request_fini(&mine.flow);
    buf_fini(&mine.message);
}

static void on_gone(struct exchange *x)
{
    struct infer *i = x->priv;

    i->gone = true;
    flow_cancel(i->g->o.flow, &i->flow);
}

/* ---- Requests ---- */

static void caller_headers(struct infer *i)
{
    const struct exchange *x = i->x;
    struct header *h = arena_array(&i->x->arena, struct header, x->headers_n);
    size_t n = 0;

    for (size_t k = 0; k < x->headers_n; k++) {
        if (!str_starts(x->headers[k].name, STR("x-"))) continue;
        if (!x->headers[k].value.n && str_is(x->headers[k].name, "x-request-id"))
            continue; /* it gets a fresh one */
        h[n++] = x->headers[k];
    }
    i->flow.headers = h;
    i->flow.headers_n = n;
}

static struct infer *infer_new(struct gateway *g, struct exchange *x, const struct resource *r)
{
    struct infer *i = arena_new(&x->arena, struct infer);
    struct resource to = *r;

    if (r->name.n) {
        i->mirrors = route_of_resource(g, r);
        route_choose(g, x, &to, &i->route);
    }
    r = &to;
    i->g = g;
    i->x = x;
    i->begun_us = clock_mono_us(loop_clock(g->loop));
    i->flow.name = r->name;
    i->flow.model = r->model;
    return i;
}

static void refuse(struct infer *i, const struct err *e)
{
    struct status s = status_of_refusal(e->rc, i->g->o.status_seldon);
    struct resource r = {.name = i->flow.name, .model = i->flow.model};

    count_request(i->g, i->x, resource_known(i->g, &r) ? r.name : (struct str){0}, s, i->begun_us);
    buf_fini(&i->message);
    answer_error(i->x, s.http, s.grpc, str_of(e->text), 0);
}

static void start(struct infer *i, struct bytes message)
{
    struct gateway *g = i->g;
    struct exchange *x = i->x;
    struct err e;

    if (deadline_of(g, x, &i->flow.deadline_ms, &e)) {
        refuse(i, &e);
        return;
    }
    if (g->o.in_flight_max && g->in_flight >= g->o.in_flight_max) {
        g->overload++;
        err_set(&e, RC_OVERLOAD,
                "%u requests are in flight, more are not taken (gateway.inFlightMax)",
                g->in_flight);
        refuse(i, &e);
        return;
    }
    caller_headers(i);
    i->flow.message = message;
    i->flow.request_id = request_id_of(g, x);
    exchange_header(x, STR("idempotency-key"), &i->flow.idempotency_key);
    i->flow.done = on_done;
    x->priv = i;
    x->gone = on_gone;
    g->in_flight++;
    g->admitted++;
    route_mirror(g, i->mirrors, &i->flow);
    flow_start(g->o.flow, &i->flow);
}

static enum rc json_bytes_of(const struct exchange *x, size_t *ret, struct err *e)
{
    struct str text;
    int64_t n;

    *ret = x->body.n;
    if (!exchange_header(x, STR("inference-header-content-length"), &text)) return RC_OK;
    if (!str_to_i64(text, &n) || n < 0 || (uint64_t)n > x->body.n)
        return err_set(e, RC_INVALID,
                       "Inference-Header-Content-Length \"" STR_FMT
                       "\" does not fit a body of %zu bytes",
                       STR_ARG(text), x->body.n);
    *ret = (size_t)n;
    return RC_OK;
}

void infer_rest(struct gateway *g, struct exchange *x, const struct resource *r)
{
    struct infer *i = infer_new(g, x, r);
    size_t json_bytes;
    struct err e;

    if (json_bytes_of(x, &json_bytes, &e) ||
        infer_decode_json(buf_view(&x->body), json_bytes, INFER_REQUEST, &x->arena, &i->message,
                          &i->wants, &e)) {
        refuse(i, &e);
        return;
    }
    if (!i->wants.n) buf_fini(&x->body); /* nothing is borrowed from it any more */
    start(i, buf_view(&i->message));
}

/* Model name and version, wherever they stand; a message that is none is the flow's to refuse. */
static struct resource named_inside(struct bytes message, struct str *ret_version)
{
    struct pb_reader p = pb_reader_of(message);
    struct resource r = {0};

    for (struct pb_field f; pb_next(&p, &f);) {
        if (f.number == 1 && f.wire == PB_LEN) r.name = pb_str(&f);
        if (f.number == 2 && f.wire == PB_LEN) *ret_version = pb_str(&f);
    }
    return r;
}

void infer_grpc(struct gateway *g, struct exchange *x)
{
    struct str routed, version = {0};
    struct resource r = named_inside(buf_view(&x->body), &version);
    bool by_header = resource_header(x, &routed);
    struct infer *i;
    struct err e;

    if (resource_named(g, by_header ? routed : r.name, &r, &e) ||
        (!by_header && version_check(g, &r, version, &e))) {
        refuse(infer_new(g, x, &(struct resource){0}), &e);
        return;
    }
    i = infer_new(g, x, &r);
    start(i, buf_view(&x->body));
}
