/* Design note: an HTTP server per loop hands requests here; the path or the method's name decides who answers. Whatever is
 * answered later hangs itself on x->gone, so that a client that leaves ends its work. SPDX-License-Identifier: Apache-2.0 */
#include "base/rng.h"
#include "bus/trouble.h"
#include "gateway/internal.h"
#include "net/loop.h"
#include <inttypes.h>

enum { DRAIN_LOOK_MS = 2, LINGER_MS = 10 };       /* LINGER_MS: for peers to close when all is answered; most never do */

/* ---- Requests ---- */

static void on_begin(void *ctx, struct exchange *x)
{
    if (!admit(ctx, x)) return;
    if (x->grpc) service_begin(ctx, x);
}

static void on_request(void *ctx, struct exchange *x)
{
    if (x->grpc)
        service_request(ctx, x);
    else
        rest_request(ctx, x);
}

/* Before it travels, or is even here. */
static void too_large(uint64_t bytes, size_t max, struct buf *ret)
{
    struct trouble t = bytes == UINT64_MAX ? trouble_make(TROUBLE_SIZE, "the request is longer than messageMaxBytes, %zu bytes", max)
                                           : trouble_make(TROUBLE_SIZE, "the request has %" PRIu64 " bytes, messageMaxBytes is %zu", bytes, max);

    trouble_say(&t);
    trouble_put(&t, ret);
}

/* ---- Life ---- */

enum rc gateway_new(const struct gateway_options *o, struct gateway **ret, struct err *e)
{
    struct gateway *g = xnew(struct gateway);

    (void)e;
    g->o = *o;
    g->loop = tcp_loop(o->tcp);
    list_init(&g->watchers);
    rng_init(&g->rng, process_seed() ^ (uint64_t)(uintptr_t)g);
    budget_init(&g->budget, g->loop, o->in_flight_bytes_max);
    random_bytes(&g->id, sizeof g->id);
    g->self = (struct metrics_source){loop_mailbox(g->loop), count_write, g};
    g->only_self = (struct metrics_sources){&g->self, 1};
    g->http = http_server_new(o->tcp, &(struct http_options){.handler = {on_begin, on_request, g},
                                                             .budget = &g->budget,
                                                             .body_bytes_max = o->message_bytes_max,
                                                             .error_body = error_body,
                                                             .too_large = too_large});
    *ret = g;
    return RC_OK;
}

void gateway_use(struct gateway *g, struct flow_snapshot *s)
{
    struct flow_snapshot *old = g->snapshot;

    g->snapshot = flow_snapshot_ref(s);
    flow_snapshot_unref(&old);
}

void gateway_route(struct gateway *g, struct str prefix,
                   void (*request)(void *ctx, struct exchange *x), void *ctx)
{
    must(g->routes_n < ROUTES_MAX);
    g->routes[g->routes_n++] = (struct route){prefix, request, ctx};
}

struct metrics_source gateway_metrics_source(struct gateway *g)
{
    return g->self;
}

static void drain_look(struct timer *t)
{
    struct gateway *g = container_of(t, struct gateway, drain_timer);

    if (http_server_settled(g->http)) g->drain_deadline_ms = MIN(g->drain_deadline_ms, loop_now_ms(g->loop) + LINGER_MS);
    if (!http_server_idle(g->http) && loop_now_ms(g->loop) < g->drain_deadline_ms)
        loop_timer(g->loop, t, DRAIN_LOOK_MS, drain_look);
    else
        g->drained(g->drained_ctx);
}

void gateway_drain(struct gateway *g, uint64_t deadline_ms, void (*drained)(void *ctx), void *ctx)
{
    g->draining = true;
    health_watch_end(g);
    g->drain_deadline_ms = deadline_ms;
    g->drained = drained;
    g->drained_ctx = ctx;
    http_server_drain(g->http);
    loop_timer(g->loop, &g->drain_timer, 0, drain_look);
}

struct gateway *gateway_free(struct gateway *g)
{
    if (!g) return NULL;
    timer_cancel(loop_timers(g->loop), &g->drain_timer);
    timer_cancel(loop_timers(g->loop), &g->watch_timer);
    http_server_free(g->http);
    flow_snapshot_unref(&g->snapshot);
    count_free(g);
    free(g);
    return NULL;
}

/* ---- The door ---- */

struct handover {
    struct msg msg;
    struct gateway *g;
    int fd;
    struct addr peer;
    struct tcp_ceiling *ceiling;
    struct tls *tls;
};

static void take_over(struct msg *m)
{
    struct handover *h = container_of(m, struct handover, msg);

    http_server_accept_tls(h->g->http, h->fd, &h->peer, h->ceiling, h->tls);
    free(h);
}

static void hand_over(struct gateway *g, int fd, const struct addr *peer, struct tcp_ceiling *ceiling, struct tls *tls)
{
    struct handover *h = xnew(struct handover);

    *h = (struct handover){
        .msg.run = take_over, .g = g, .fd = fd, .peer = *peer, .ceiling = ceiling, .tls = tls};
    mailbox_post(loop_mailbox(g->loop), &h->msg);
}

void gateway_accept(struct gateway *g, int fd, const struct addr *peer, struct tcp_ceiling *ceiling)
{
    hand_over(g, fd, peer, ceiling, NULL);
}

struct gateway_door {
    struct listener *listener;
    struct loop *loop;
    struct tcp_ceiling *ceiling;
    struct tls_server *tls; /* of the first loop, as the listener */
    struct timer reload;
    size_t n, next;
    struct gateway *gateways[];
};

static void on_accept(void *ctx, int fd, const struct addr *peer)
{
    struct gateway_door *d = ctx;
    struct tls *tls = d->tls ? tls_accept(d->tls, fd) : NULL;
    size_t at = d->next++ % d->n;

    if (at == 0)
        http_server_accept_tls(d->gateways[0]->http, fd, peer, d->ceiling, tls);
    else
        hand_over(d->gateways[at], fd, peer, d->ceiling, tls);
}

static void look_at_certificate(struct timer *t)
{
    struct gateway_door *d = container_of(t, struct gateway_door, reload);

    tls_server_look(d->tls, STR(DOOR_NAME), clock_wall_ms(loop_clock(d->loop)) / 1000);
    d->gateways[0]->certificate_end_s = tls_server_not_after(d->tls);
    loop_timer(d->loop, t, TLS_LOOK_MS, look_at_certificate);
}

static enum rc door_secure(struct gateway_door *d, const struct tls_options *tls, struct err *e)
{
    if (!tls) return RC_OK;
    if (tls_server_new(tls, &d->tls, e)) return err_in(e, "security.gateway.tls");
    look_at_certificate(&d->reload);
    return RC_OK;
}

enum rc gateway_listen(struct gateway *const *gateways, size_t n, const struct gateway_door_options *o,
                       struct gateway_door **ret, struct err *e)
{
    struct gateway_door *d = xcalloc(1, sizeof *d + n * sizeof d->gateways[0]);
    const struct listener_options listen = {
        .listen = o->listen, .ceiling = o->ceiling, .accepted = on_accept, .ctx = d};

    must(n > 0);
    d->n = n;
    d->loop = gateways[0]->loop;
    d->ceiling = o->ceiling;
    memcpy(d->gateways, gateways, n * sizeof d->gateways[0]);
    if (door_secure(d, o->tls, e) || listener_open(gateways[0]->o.tcp, &listen, &d->listener, e)) {
        gateway_door_close(d);
        return e->rc;
    }
    *ret = d;
    return RC_OK;
}

const struct addr *gateway_door_addr(const struct gateway_door *d)
{
    return listener_addr(d->listener);
}

struct gateway_door *gateway_door_close(struct gateway_door *d)
{
    if (!d) return NULL;
    listener_close(d->listener);
    timer_cancel(loop_timers(d->loop), &d->reload);
    tls_server_free(d->tls);
    free(d);
    return NULL;
}
