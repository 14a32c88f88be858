/* SPDX-License-Identifier: Apache-2.0
 *
 * Regular expressions of groups, matched on a worker: one chunk of names at a time for all groups, in turn, so that an expression
 * that takes long holds up neither the loop nor, for more than a chunk, the others that wait. What a worker uses is its own: it
 * compiles the expression again, and the names are copies. A group, or an expression, that is gone when the chunk comes back is
 * no loss.
 */
#include "base/diag.h"
#include "broker/groups_core.h"
#include "broker/pattern.h"
#include "sys/worker.h"
#include <time.h>

enum {
    CHUNK_NAMES = 1000,
    CHUNK_US = 50000, /* a chunk ends early, after that */
};

struct scan {
    struct work work;
    struct groups *groups;
    struct str group;      /* owned */
    struct cgroup_scan of; /* its text is owned */
    struct arena arena;    /* the names */
    struct str names[CHUNK_NAMES];
    bool matches[CHUNK_NAMES];
    size_t n, tried;
    uint64_t cost_us;
};

/* Of this thread: a busy machine is not the expression's fault. */
static uint64_t cpu_us(void)
{
    struct timespec t;

    must(clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t) == 0);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

static void scan_run(struct work *w)
{
    struct scan *s = container_of(w, struct scan, work);
    uint64_t begun_us = cpu_us();
    struct pattern *p;
    struct err e;

    if (pattern_new(s->of.pattern, &p,
                    &e)) { /* it compiled on the loop: nothing matches what cannot be */
        s->tried = s->n;
        return;
    }
    while (s->tried < s->n && s->cost_us < CHUNK_US) {
        s->matches[s->tried] = pattern_matches(p, s->names[s->tried]);
        s->tried++;
        s->cost_us = cpu_us() - begun_us;
    }
    pattern_free(p);
}

static void scan_free(struct scan *s)
{
    str_drop(&s->group);
    str_drop(&s->of.pattern);
    arena_fini(&s->arena);
    free(s);
}

static void scan_done(struct work *w)
{
    struct scan *s = container_of(w, struct scan, work);
    struct groups *gs = s->groups;
    struct group_entry *ge = groups_find(gs, s->group);
    struct cgroup_world world = groups_world(gs);
    struct str next;

    gs->scanning = false;
    gs->broker->jobs_n--;
    if (ge && ge->c) {
        cgroup_scan_tried(ge->c, &s->of, &world, s->names, s->matches, s->tried, s->cost_us, false);
        if (!cgroup_scan_names(ge->c, &s->of, &world, &next, 1))
            cgroup_scan_tried(ge->c, &s->of, &world, NULL, NULL, 0, 0, true);
        if (cgroup_pattern_is_costly(ge->c, s->of.pattern))
            diag(DIAG_WARN, "group.pattern_refused", KV_STR("group", ge->g.id),
                 KV_STR("pattern", s->of.pattern));
        groups_account(ge);
        groups_scan_want(ge);
    }
    scan_free(s);
    groups_scan_turn(gs);
}

static bool scan_start(struct group_entry *ge)
{
    struct groups *gs = ge->groups;
    struct cgroup_world world = groups_world(gs);
    struct cgroup_scan of;
    struct scan *s;

    if (!ge->c || !cgroup_scan_wanted(ge->c, &of)) return false;
    s = xnew(struct scan);
    s->groups = gs;
    s->group = str_own(ge->g.id);
    s->of = (struct cgroup_scan){str_own(of.pattern), of.id};
    s->n = cgroup_scan_names(ge->c, &s->of, &world, s->names, CHUNK_NAMES);
    for (size_t i = 0; i < s->n; i++)
        s->names[i] = arena_dup_str(&s->arena, s->names[i]);
    s->work = (struct work){
        .run = scan_run, .done = scan_done, .reply_to = gs->broker->mailbox, .lane = LANE_PATTERNS};
    gs->scanning = true;
    gs->broker->jobs_n++; /* the way down waits for it */
    workers_submit(gs->broker->opt.workers, &s->work);
    return true;
}

void groups_scan_want(struct group_entry *ge)
{
    struct cgroup_scan of;

    if (ge->c && list_empty(&ge->scan_link) && cgroup_scan_wanted(ge->c, &of))
        list_push(&ge->groups->scans, &ge->scan_link);
}

void groups_scan_turn(struct groups *gs)
{
    struct list *it;

    while (!gs->scanning && !gs->broker->draining && (it = list_pop(&gs->scans)))
        (void)scan_start(container_of(it, struct group_entry, scan_link));
}
