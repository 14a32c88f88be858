/* SPDX-License-Identifier: Apache-2.0 */
#include "prop/processes.h"

static uint64_t now_ms(const struct proc *p)
{
    return clock_mono_ms(p->seat->c->clock);
}

static void lane_open(struct lane *l, struct proc *p, const struct proc_options *o, unsigned i)
{
    struct flow_options flow = o->flow;
    struct err e;

    flow.loop_index = i;
    flow.loops_n = p->lanes_n;
    must(loop_new(o->clock, &l->loop, &e) == RC_OK);
    l->up = fake_upstream_new();
    l->up->hold = true;
    l->up->model = o->model;
    l->up->ctx = o->ctx;
    must(flow_new(l->loop, &p->seat->bus, l->up, &flow, &l->flow, &e) == RC_OK);
}

void proc_start(struct proc *p, struct cluster *c, const struct proc_options *o, unsigned lanes_n)
{
    struct flow *all[LANES_MAX];

    *p = (struct proc){.state = PROC_LIVE, .seat = seat_new(c), .lanes_n = lanes_n};
    for (unsigned i = 0; i < lanes_n; i++) {
        lane_open(&p->lanes[i], p, o, i);
        all[i] = p->lanes[i].flow;
    }
    if (lanes_n > 1) flow_join(all, lanes_n);
    for (unsigned i = 0; i < lanes_n; i++)
        flow_use(p->lanes[i].flow, o->snapshot);
}

/* ---- the end ---- */

static bool lanes_turn(struct proc *p)
{
    bool pending = false;

    for (unsigned i = 0; i < p->lanes_n; i++) {
        loop_turn(p->lanes[i].loop, 0);
        fake_upstream_turn(p->lanes[i].up);
    }
    for (unsigned i = 0; i < p->lanes_n; i++)
        pending |= mailbox_pending(loop_mailbox(p->lanes[i].loop));
    return pending;
}

static void lanes_close(struct proc *p)
{
    for (unsigned i = p->lanes_n; i-- > 0;)
        flow_free(p->lanes[i].flow);
    seat_kill(p->seat);
    while (lanes_turn(p)) {}
    for (unsigned i = 0; i < p->lanes_n; i++) {
        upstream_free(p->lanes[i].up);
        loop_free(p->lanes[i].loop);
    }
}

static void gone(struct proc *p)
{
    p->seat = seat_free(p->seat);
    p->state = PROC_ABSENT;
}

void proc_kill(struct proc *p)
{
    bool expired = p->state == PROC_FROZEN && !p->expires_ms;

    seat_kill(p->seat);
    lanes_close(p);
    p->state = PROC_DEAD;
    p->expires_ms = now_ms(p) + SESSION_MS;
    if (expired || p->seat->bus.facts.embedded) gone(p);
}

static void drained(void *ctx)
{
    struct proc *p = ctx;

    p->drained++;
}

void proc_leave(struct proc *p, uint64_t within_ms)
{
    uint64_t until = now_ms(p) + within_ms;

    p->state = PROC_LEAVING;
    for (unsigned i = 0; i < p->lanes_n; i++)
        flow_drain(p->lanes[i].flow, until, drained, p);
}

/* ---- meanwhile ---- */

void proc_freeze(struct proc *p, uint64_t for_ms)
{
    p->state = PROC_FROZEN;
    p->seat->away = true;
    p->wakes_ms = now_ms(p) + for_ms;
    p->expires_ms = now_ms(p) + SESSION_MS;
}

void proc_turn(struct proc *p, unsigned steps)
{
    if (p->state != PROC_LIVE && p->state != PROC_LEAVING) return;
    seat_due(p->seat);
    while (steps > 0 && seat_step(p->seat))
        steps--;
    lanes_turn(p);
}

static void expire(struct proc *p)
{
    cluster_expire(p->seat->c, p->seat);
    p->expires_ms = 0;
}

void proc_look(struct proc *p)
{
    uint64_t now = p->seat ? now_ms(p) : 0;

    if (p->state == PROC_FROZEN && p->expires_ms && now >= p->expires_ms) expire(p);
    if (p->state == PROC_FROZEN && now >= p->wakes_ms) {
        p->state = PROC_LIVE;
        p->seat->away = false;
    } else if (p->state == PROC_DEAD && now >= p->expires_ms) {
        gone(p);
    } else if (p->state == PROC_LEAVING && p->drained == p->lanes_n) {
        lanes_close(p);
        gone(p);
    }
}

bool proc_finish(struct proc *p, struct rng *g)
{
    struct upstream *up;
    char name[8] = "";
    struct str model;

    if (p->state != PROC_LIVE && p->state != PROC_LEAVING) return false;
    proc_turn(p, 0);
    up = p->lanes[rng_below(g, p->lanes_n)].up;
    if (!up->calls_n) return false;
    model = up->calls[rng_below(g, up->calls_n)]->target->model;
    memcpy(name, model.p, MIN(model.n, sizeof name - 1));
    return fake_upstream_finish(up, name);
}

bool proc_idle(struct proc *p)
{
    bool idle = p->state == PROC_LIVE;

    for (unsigned i = 0; idle && i < p->lanes_n; i++) {
        struct flow_counters n;

        flow_count(p->lanes[i].flow, &n);
        idle = n.runs_now == 0;
    }
    return idle;
}
