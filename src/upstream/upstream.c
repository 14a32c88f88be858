/* Design note: an op lives from upstream_call()/upstream_query() to its `done`. One deadline timer for all its tries, one
 * timer for the pause between two tries. `done` is never called before the function that started the op has returned:
 * what fails at once is finished by the `later` timer in the same or the next turn.
 * SPDX-License-Identifier: Apache-2.0 */
#include "net/grpc.h"
#include "net/loop.h"
#include "upstream/internal.h"
#include <stdarg.h>
#include <stdio.h>

enum { SPARE_BYTES_MAX = 64 << 10, BACKOFF_MAX_MS = 10000, HEADERS_BYTES_MAX = 64 << 10 };

/* ---- Sentences ---- */

static void where(const struct op *op, const char *verb, struct err *e)
{
    char text[sizeof e->text];
    bool remote = op->target->kind != UPSTREAM_XGBOOST;

    snprintf(text, sizeof text, "%s" STR_FMT " %s%s",
             remote ? "model server " : "the built-in runtime", STR_ARG(op->target->address), verb,
             e->text);
    memcpy(e->text, text, sizeof text);
}

enum rc garbage(struct err *e, struct op *op, const char *fmt, ...)
{
    char text[300];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    err_set(e, RC_INVALID, "%s", text);
    where(op, "answered ", e);
    op->grpc_code = GRPC_INTERNAL;
    return e->rc;
}

enum rc unreachable(struct err *e, const struct op *op, const char *why)
{
    err_set(e, RC_UNAVAILABLE, "%s", why);
    e->retry = true;
    where(op, "is not reachable: ", e);
    return e->rc;
}

bool header_is_plain(const struct header *h)
{
    if (!h->name.n) return false;
    for (size_t i = 0; i < h->name.n; i++) {
        char c = h->name.p[i];

        if (!(c >= 'a' && c <= 'z') && !(c >= '0' && c <= '9') && c != '-' && c != '_' && c != '.')
            return false;
    }
    for (size_t i = 0; i < h->value.n; i++)
        if ((uint8_t)h->value.p[i] < 0x20 || (uint8_t)h->value.p[i] > 0x7e) return false;
    return true;
}

/* ---- The end of an op ---- */

void op_header(struct op *op, struct str name, struct str value)
{
    if (name.n < 2 || name.p[0] != 'x' || name.p[1] != '-') return;
    if (op->headers.n + name.n + value.n > HEADERS_BYTES_MAX) return;
    buf_append_str(&op->headers, name);
    buf_append_byte(&op->headers, 0);
    buf_append_str(&op->headers, value);
    buf_append_byte(&op->headers, 0);
}

/* One block: the array, then the texts. */
static void headers_give(struct op *op, struct upstream_call *c)
{
    size_t n = 0;
    struct header *list;
    char *text;

    for (size_t i = 0; i < op->headers.n; i++)
        n += op->headers.p[i] == 0;
    n /= 2;
    if (!n) return;
    list = xcalloc(1, n * sizeof *list + op->headers.n);
    text = (char *)(list + n);
    memcpy(text, op->headers.p, op->headers.n);
    for (size_t i = 0; i < n; i++) {
        list[i].name = str_of(text);
        text += list[i].name.n + 1;
        list[i].value = str_of(text);
        text += list[i].value.n + 1;
    }
    c->response_headers = list;
    c->response_headers_n = n;
}

static void trim(struct buf *b)
{
    if (b->cap > SPARE_BYTES_MAX)
        buf_fini(b);
    else
        buf_clear(b);
}

static void op_free(struct op *op)
{
    struct upstream *u = op->u;
    struct arena arena = op->arena;
    struct buf headers = op->headers, message = op->message, head = op->head, body = op->body;

    timer_cancel(loop_timers(u->loop), &op->deadline);
    timer_cancel(loop_timers(u->loop), &op->later);
    buf_fini(&op->response);
    trim(&headers);
    trim(&message);
    trim(&head);
    trim(&body);
    arena_reset(&arena);
    list_remove(&op->link);
    *op = (struct op){
        .u = u, .arena = arena, .headers = headers, .message = message, .head = head, .body = body};
    list_push_front(&u->spare, &op->link);
}

static void finish(struct op *op, const struct err *e)
{
    struct upstream_call *c = op->call;
    struct upstream_query *q = op->query;

    if (c) {
        tally_note(op->u, op, e);
        c->err = *e;
        c->grpc_code = op->grpc_code;
        c->http_status = op->http_status;
        if (e->rc == RC_OK) c->response = buf_take(&op->response);
        if (op->message.n) buf_append(&c->message, buf_view(&op->message));
        headers_give(op, c);
        c->priv = NULL;
        op_free(op);
        c->done(c);
        return;
    }
    q->err = *e;
    if (e->rc == RC_OK && q->ask == UPSTREAM_METADATA) q->response = buf_take(&op->response);
    q->priv = NULL;
    op_free(op);
    q->done(q);
}

static void start_try(struct op *op)
{
    op_try_reset(op);
    op->tried++;
    op->running = true;
    op->carrier->start(op);
}

static void fire_later(struct timer *t)
{
    start_try(container_of(t, struct op, later));
}

static uint64_t pause_before_next(const struct op *op)
{
    uint64_t ms = op->call->backoff_ms;

    for (int i = 1; i < op->tried && ms < BACKOFF_MAX_MS; i++)
        ms *= 2;
    return MIN(ms, (uint64_t)BACKOFF_MAX_MS);
}

static bool try_again(struct op *op)
{
    uint64_t now = loop_now_ms(op->u->loop), pause;

    if (!op->call || op->tried >= op->call->attempts) return false;
    pause = pause_before_next(op);
    if (now + pause >= op->deadline_ms) return false;
    loop_timer(op->u->loop, &op->later, pause, fire_later);
    return true;
}

void op_failed(struct op *op, const struct err *e)
{
    op->running = false;
    if (e->retry && try_again(op)) return;
    finish(op, e);
}

static void fail_now(struct timer *t)
{
    struct op *op = container_of(t, struct op, later);
    struct err e = op->why;

    op_failed(op, &e);
}

void op_fail_soon(struct op *op, const struct err *e)
{
    op->running = false;
    op->why = *e;
    loop_timer(op->u->loop, &op->later, 0, fail_now);
}

/* Does what a model server said about a query mean "no" rather than "I cannot tell"? */
static bool means_not_ready(const struct op *op)
{
    return op->query && op->query->ask == UPSTREAM_READY &&
           (op->grpc_code == GRPC_NOT_FOUND || op->grpc_code == GRPC_UNAVAILABLE ||
            op->grpc_code == GRPC_INVALID_ARGUMENT || op->grpc_code == GRPC_FAILED_PRECONDITION);
}

void op_done(struct op *op)
{
    struct err e = {0};

    op->running = false;
    if (op->grpc_code != GRPC_OK) {
        if ((op->grpc_code == GRPC_UNAVAILABLE || op->grpc_code == GRPC_RESOURCE_EXHAUSTED) &&
            try_again(op))
            return;
        if (means_not_ready(op)) {
            op->query->ready = false;
            finish(op, &e);
            return;
        }
        err_set(&e,
                op->grpc_code == GRPC_DEADLINE_EXCEEDED &&
                        loop_now_ms(op->u->loop) + 5 >= op->deadline_ms
                    ? RC_TIMEOUT
                    : RC_UPSTREAM,
                STR_FMT, STR_ARG(buf_str(&op->message)));
    }
    finish(op, &e);
}

void op_try_reset(struct op *op)
{
    buf_clear(&op->response);
    buf_clear(&op->message);
    buf_clear(&op->headers);
    op->grpc_code = op->http_status = 0;
    op->frame_n = 0;
    op->declared = 0;
    op->got_status = op->got_type = op->done_body = op->second_message = false;
}

/* ---- Deadlines ---- */

static void too_late(struct timer *t)
{
    struct op *op = container_of(t, struct op, deadline);
    struct err e;

    err_set(&e, RC_TIMEOUT, "no answer in time");
    where(op, "gave ", &e);
    if (op->running) op->carrier->stop(op, true);
    op->running = false;
    finish(op, &e);
}

/* ---- The beginning of an op ---- */

static const struct carrier *carrier_of(enum upstream_kind kind)
{
    switch (kind) {
    case UPSTREAM_GRPC: return &carrier_grpc;
    case UPSTREAM_REST: return &carrier_rest;
    case UPSTREAM_XGBOOST: return &carrier_builtin;
    }
    must_failed("a new kind of upstream", __FILE__, __LINE__);
}

static struct op *op_new(struct upstream *u, const struct upstream_target *target,
                         uint64_t deadline_ms)
{
    struct list *l = list_pop(&u->spare);
    struct op *op = l ? container_of(l, struct op, link) : xnew(struct op);
    uint64_t now = loop_now_ms(u->loop);

    op->u = u;
    op->target = target;
    op->carrier = carrier_of(target->kind);
    op->deadline_ms = deadline_ms;
    op->begun_us = clock_mono_us(loop_clock(u->loop));
    list_init(&op->wait_link);
    list_push(&u->ops, &op->link);
    timer_set(loop_timers(u->loop), &op->deadline, MAX(deadline_ms, now), too_late);
    return op;
}

void upstream_call(struct upstream *u, struct upstream_call *c)
{
    struct op *op = op_new(u, c->target, c->deadline_ms);

    op->call = c;
    c->priv = op;
    c->err = (struct err){0};
    c->grpc_code = c->http_status = 0;
    c->message = c->response = (struct buf){0};
    c->response_headers = NULL;
    c->response_headers_n = 0;
    start_try(op);
}

void upstream_query(struct upstream *u, struct upstream_query *q)
{
    struct op *op = op_new(u, q->target, q->deadline_ms);

    op->query = q;
    q->priv = op;
    q->err = (struct err){0};
    q->ready = false;
    q->response = (struct buf){0};
    start_try(op);
}

static void cancel(struct op *op, const char *why)
{
    struct err e;

    err_set(&e, RC_CANCELLED, "%s", why);
    if (op->running) op->carrier->stop(op, false);
    op->running = false;
    finish(op, &e);
}

void upstream_cancel(struct upstream *u, struct upstream_call *c)
{
    (void)u;
    if (c->priv) cancel(c->priv, "cancelled");
}

void upstream_query_cancel(struct upstream *u, struct upstream_query *q)
{
    (void)u;
    if (q->priv) cancel(q->priv, "cancelled");
}

void upstream_call_fini(struct upstream_call *c)
{
    buf_fini(&c->message);
    buf_fini(&c->response);
    free(c->response_headers);
    c->response_headers = NULL;
    c->response_headers_n = 0;
}

/* ---- Life ---- */

enum rc upstream_new(struct loop *l, struct workers *workers, size_t message_bytes_max,
                     struct upstream **ret, struct err *e)
{
    struct upstream *u = xnew(struct upstream);

    (void)e;
    u->loop = l;
    u->workers = workers;
    u->tcp = tcp_new(l);
    u->h2 = h2_client_shared_new();
    u->builtin = builtin_new(workers, loop_mailbox(l));
    u->message_bytes_max = message_bytes_max;
    list_init(&u->ops);
    list_init(&u->spare);
    *ret = u;
    return RC_OK;
}

struct upstream *upstream_free(struct upstream *u)
{
    if (!u) return NULL;
    u->closing = true;
    while (!list_empty(&u->ops))
        cancel(container_of(u->ops.next, struct op, link), "shutting down");
    servers_free(u);
    tcp_free(u->tcp);
    map_fini(&u->servers);
    tallies_free(u);
    h2_client_shared_free(u->h2);
    builtin_free(u->builtin);
    for (struct list *l; (l = list_pop(&u->spare));) {
        struct op *op = container_of(l, struct op, link);

        arena_fini(&op->arena);
        buf_fini(&op->headers);
        buf_fini(&op->message);
        buf_fini(&op->head);
        buf_fini(&op->body);
        free(op);
    }
    free(u);
    return NULL;
}
