/* Design note: each run has a few kinds of faults, drawn from the seed, so that many runs see only one kind, some none, and some all.
 * SPDX-License-Identifier: Apache-2.0 */
#include "client.h"
#include "run.h"

enum fault { FAULT_CUT, FAULT_CUT_IN_WRITE, FAULT_KILL, FAULT_STOP, FAULT_ERROR, FAULT_READS, FAULT_FULL, FAULT_NEARLY_FULL,
             FAULT_SLOW_DISK, FAULT_SLOW_NET, FAULT_DROP, FAULT_CLOCK, FAULTS };

static const char *const names[] = {"power cut", "cut in write", "kill", "stop", "disk error", "reads fail", "disk full",
                                     "nearly full", "slow disk", "slow net", "drop", "clock jump"};

struct nemesis {
    struct world *w;
    struct timer next, over;
    unsigned kinds;                      /* one bit a fault */
    uint64_t every_us;
};

static void on_next(struct timer *t);

/* ---- what lasts a while ---- */

static void heal(struct nemesis *n)
{
    fs_sim_set_capacity(n->w->disk, UINT64_C(1) << 40);
    fs_sim_fail_reads(n->w->disk, false);
    fs_sim_fail_at(n->w->disk, 0);
    n->w->work_us_max = 2000;
    n->w->net_us_max = 1000;
}

static bool is_hurt(struct world *w)
{
    struct str why;

    return w->b && !broker_is_ready(w->b, &why);
}

static void on_over(struct timer *t)
{
    struct nemesis *n = container_of(t, struct nemesis, over);
    struct world *w = n->w;
    bool failed = fs_sim_has_failed(w->disk);

    heal(n);
    if (failed || is_hurt(w)) world_end(w, world_chance(w, 50) ? WORLD_POWER_CUT : world_chance(w, 50) ? WORLD_KILL : WORLD_STOP);
}

static void lasts(struct nemesis *n)
{
    world_after(n->w, &n->over, world_duration(n->w, 10000, 2000000), on_over);
}

/* ---- what happens ---- */

static struct client *any_client(struct world *w)
{
    uint64_t k = world_pick(w, w->clients_n - CLIENTS_FIRST);

    list_each(it, &w->clients)
        if (k-- == 0) return container_of(it, struct client, link);
    return NULL;
}

static void drop(struct world *w)
{
    struct client *c = any_client(w);

    if (c) conn_drop(&c->conn);
}

static void strike(struct nemesis *n, enum fault f)
{
    struct world *w = n->w;
    uint64_t soon = fs_sim_ops(w->disk) + 1 + world_pick(w, 40);

    world_trace(w, names[f], 0, 0, 0);
    switch (f) {
    case FAULT_CUT: world_end(w, WORLD_POWER_CUT); break;
    case FAULT_CUT_IN_WRITE: fs_sim_cut_at(w->disk, soon); break;
    case FAULT_KILL: world_end(w, WORLD_KILL); break;
    case FAULT_STOP: world_end(w, WORLD_STOP); break;
    case FAULT_ERROR: fs_sim_fail_at(w->disk, soon), lasts(n); break;
    case FAULT_READS: fs_sim_fail_reads(w->disk, true), lasts(n); break;
    case FAULT_FULL: fs_sim_set_capacity(w->disk, fs_sim_used(w->disk) + world_pick(w, 1 << 17)), lasts(n); break;
    case FAULT_NEARLY_FULL: fs_sim_set_capacity(w->disk, fs_sim_used(w->disk) + (64 << 20)), lasts(n); break;
    case FAULT_SLOW_DISK: w->work_us_max = world_duration(w, 10000, 4000000), lasts(n); break;
    case FAULT_SLOW_NET: w->net_us_max = world_duration(w, 10000, 4000000), lasts(n); break;
    case FAULT_DROP: drop(w); break;
    case FAULT_CLOCK: w->clock.wall_ms += (int64_t)world_duration(w, 0, 4000000000) - 2000000000; break;
    case FAULTS: break;
    }
}

static void on_next(struct timer *t)
{
    struct nemesis *n = container_of(t, struct nemesis, next);
    enum fault f = (enum fault)world_pick(n->w, FAULTS);

    while (!(n->kinds >> f & 1))
        f = (enum fault)((f + 1) % FAULTS);
    strike(n, f);
    world_after(n->w, t, n->every_us / 4 + world_pick(n->w, n->every_us), on_next);
}

struct nemesis *nemesis_new(struct world *w)
{
    struct nemesis *n = xnew(struct nemesis);
    unsigned how = (unsigned)world_pick(w, 10);

    n->w = w;
    n->every_us = 20000 + world_duration(w, 0, 2000000);
    if (how == 0) return n;                                       /* all is well: the longest part of a broker's life */
    for (unsigned k = 1 + (unsigned)world_pick(w, how < 8 ? 2 : 2 * FAULTS); k--;)
        n->kinds |= 1u << world_pick(w, FAULTS);
    world_trace(w, "nemesis", 0, n->kinds, n->every_us);
    world_after(w, &n->next, world_pick(w, n->every_us), on_next);
    return n;
}

void nemesis_end(struct nemesis *n)
{
    struct world *w = n->w;
    bool failed = fs_sim_has_failed(w->disk);

    timer_cancel(&w->queue, &n->next);
    timer_cancel(&w->queue, &n->over);
    heal(n);
    fs_sim_cut_at(w->disk, 0);
    if (failed || is_hurt(w)) world_end(w, WORLD_KILL);
}

struct nemesis *nemesis_free(struct nemesis *n)
{
    timer_cancel(&n->w->queue, &n->next);
    timer_cancel(&n->w->queue, &n->over);
    free(n);
    return NULL;
}
