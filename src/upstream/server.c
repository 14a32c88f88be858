/* Design note: one connect at a time per server. A failure is remembered for a moment (100 ms, doubling to 1 s): calls
 * that come meanwhile fail at once with its text, and their own back-off spaces them. SPDX-License-Identifier: Apache-2.0 */
#include "upstream/internal.h"

enum { CONNECT_MS = 5000, BACKOFF_FIRST_MS = 100, BACKOFF_MAX_MS = 1000 };

struct server_lookup {
    struct addr_lookup q;
    struct server *server;
};

static void connect_next(struct server *s);

struct server *server_of(struct upstream *u, enum server_kind kind, struct str address)
{
    char key[ADDR_INPUT_MAX + 1] = {kind == SERVER_GRPC ? 'g' : 'r'};
    size_t n = MIN(address.n, (size_t)ADDR_INPUT_MAX);
    struct server *s;
    char *copy;

    memcpy(key + 1, address.p, n);
    s = map_get(&u->servers, bytes_of(key, n + 1));
    if (s) return s;
    s = xcalloc(1, sizeof *s + n + 1);
    copy = (char *)(s + 1);
    memcpy(copy, address.p, n);
    s->u = u;
    s->kind = kind;
    s->address = (struct str){copy, n};
    list_init(&s->waiting);
    list_init(&s->rest_all);
    list_init(&s->rest_idle);
    map_put(&u->servers, bytes_of(key, n + 1), s);
    return s;
}

static void opening_ends(struct server *s)
{
    s->opening = false;
    timer_cancel(loop_timers(s->u->loop), &s->connect_timer);
}

static void fail_all(struct server *s, const struct err *why)
{
    struct err e;

    opening_ends(s);
    s->last = *why;
    s->backoff_ms =
        s->backoff_ms ? MIN(s->backoff_ms * 2, (uint64_t)BACKOFF_MAX_MS) : BACKOFF_FIRST_MS;
    s->retry_at_ms = loop_now_ms(s->u->loop) + s->backoff_ms;
    for (struct list *l; (l = list_pop(&s->waiting));) {
        struct op *op = container_of(l, struct op, wait_link);

        unreachable(&e, op, why->text);
        op_fail_soon(op, &e);
    }
}

void server_connect_failed(struct server *s, const struct err *e)
{
    if (!s->opening) return;
    s->addr_at++;
    if (s->addr_at < s->addrs.n)
        connect_next(s);
    else
        fail_all(s, e);
}

void server_connected(struct server *s)
{
    opening_ends(s);
    s->backoff_ms = s->retry_at_ms = 0;
    if (s->kind == SERVER_GRPC)
        grpc_serve(s);
    else
        rest_serve(s);
}

static void connect_next(struct server *s)
{
    const struct addr *to = &s->addrs.a[s->addr_at];
    struct err e;

    if (s->kind == SERVER_GRPC ? grpc_connect(s, to, &e) : rest_connect(s, to, &e))
        server_connect_failed(s, &e);
}

static void lookup_done(struct addr_lookup *q)
{
    struct server_lookup *l = container_of(q, struct server_lookup, q);
    struct server *s = l->server;

    if (s) {
        s->lookup = NULL;
        s->addrs = q->addrs;
        if (!s->opening)
            s->addrs.n = 0;
        else if (q->err.rc)
            fail_all(s, &q->err);
        else
            connect_next(s);
    }
    free(l);
}

static void connect_late(struct timer *t)
{
    struct server *s = container_of(t, struct server, connect_timer);
    struct err e;

    err_set(&e, RC_UNAVAILABLE, "no connection within %d ms", CONNECT_MS);
    if (s->kind == SERVER_GRPC)
        grpc_drop(s);
    else
        rest_abort(s);
    fail_all(s, &e);
}

static void begin(struct server *s)
{
    struct loop *loop = s->u->loop;

    s->opening = true;
    s->addr_at = 0;
    loop_timer(loop, &s->connect_timer, CONNECT_MS, connect_late);
    if (s->lookup) return;
    if (addr_literal(s->address, &s->addrs.a[0])) {
        s->addrs.n = 1;
        connect_next(s);
        return;
    }
    s->lookup = xnew(struct server_lookup);
    s->lookup->server = s;
    addr_lookup(s->u->workers, loop_mailbox(loop), s->address, &s->lookup->q, lookup_done);
}

bool server_wait(struct server *s, struct op *op, struct err *e)
{
    if (!s->opening && loop_now_ms(s->u->loop) < s->retry_at_ms) {
        unreachable(e, op, s->last.text);
        return false;
    }
    list_push(&s->waiting, &op->wait_link);
    if (!s->opening) begin(s);
    return true;
}

void server_unwait(struct op *op)
{
    list_remove(&op->wait_link);
}

void servers_free(struct upstream *u)
{
    struct bytes key;
    void *value;

    for (size_t at = 0; map_next(&u->servers, &at, &key, &value);) {
        struct server *s = value;

        timer_cancel(loop_timers(u->loop), &s->connect_timer);
        if (s->lookup) s->lookup->server = NULL;
        if (s->kind == SERVER_GRPC)
            grpc_drop(s);
        else
            rest_drop(s);
        free(s);
    }
}
