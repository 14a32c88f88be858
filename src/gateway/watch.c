/* grpc.health.v1.Health/Watch: the status now, and again whenever it has changed, until the client goes or we end.
 *
 * Readiness is computed from live state and tells nobody when it changes, so it is looked at a few times a second for as
 * long as somebody watches. SPDX-License-Identifier: Apache-2.0 */
#include "gateway/internal.h"
#include "net/loop.h"
#include "oip/service.h"

enum { LOOK_MS = 250, WATCHERS_MAX = 1000 };

/* In its exchange's arena. */
struct watcher {
    struct list link;
    struct gateway *g;
    struct exchange *x;
    bool known; /* the service */
    enum health_status told;
};

static enum health_status status_now(const struct watcher *w)
{
    struct str why;

    if (!w->known) return HEALTH_SERVICE_UNKNOWN;
    return process_ready(w->g, &why) ? HEALTH_SERVING : HEALTH_NOT_SERVING;
}

/* Who does not read is told the newest status later, not every one between. */
static void tell(struct watcher *w)
{
    enum health_status now = status_now(w);
    struct buf out = {0};

    if (now == w->told || exchange_stream_full(w->x)) return;
    w->told = now;
    health_response_encode(now, &out);
    exchange_stream_send(w->x, &out);
}

static void look(struct timer *t)
{
    struct gateway *g = container_of(t, struct gateway, watch_timer);

    list_each_safe(l, &g->watchers)
    {
        tell(container_of(l, struct watcher, link));
    }
    if (!list_empty(&g->watchers)) loop_timer(g->loop, t, LOOK_MS, look);
}

static void left(struct exchange *x)
{
    struct watcher *w = x->priv;

    list_remove(&w->link);
    w->g->watchers_n--;
}

bool health_service_known(struct str service)
{
    return !service.n || str_is(service, "inference.GRPCInferenceService");
}

void health_watch(struct gateway *g, struct exchange *x)
{
    struct watcher *w = arena_new(&x->arena, struct watcher);
    struct str service;
    struct err e;

    if (health_request_decode(buf_view(&x->body), &service, &e)) {
        answer_err(x, &e);
        return;
    }
    if (g->draining || g->watchers_n >= WATCHERS_MAX) {
        err_set(&e, g->draining ? RC_UNAVAILABLE : RC_OVERLOAD,
                g->draining ? "this process is stopping" : "too many watch the health already");
        answer_err(x, &e);
        return;
    }
    *w = (struct watcher){.g = g, .x = x, .known = health_service_known(service)};
    x->priv = w;
    x->gone = left;
    list_push(&g->watchers, &w->link);
    g->watchers_n++;
    exchange_stream_begin(x, 200, NULL, 0);
    tell(w);
    if (!timer_is_set(&g->watch_timer)) loop_timer(g->loop, &g->watch_timer, LOOK_MS, look);
}

void health_watch_end(struct gateway *g)
{
    const struct grpc_reply why = {.status = GRPC_UNAVAILABLE,
                                   .message = STR("this process is stopping")};

    timer_cancel(loop_timers(g->loop), &g->watch_timer);
    for (struct list *l; (l = list_pop(&g->watchers));) {
        struct watcher *w = container_of(l, struct watcher, link);

        g->watchers_n--;
        tell(w);
        w->x->gone = NULL;
        exchange_stream_end(w->x, &why);
    }
}
