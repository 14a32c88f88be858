/* SPDX-License-Identifier: Apache-2.0
 *
 * What the members of a newer group subscribe to, by name and by regular expression, and which topics that are; and the
 * target made of it. Names are looked up again when the set of topics or a subscription has changed.
 */
#include "broker/assignor.h"
#include "broker/cgroup_core.h"
#include <stdlib.h>

/* ---- regular expressions: one for all members that say the same ---- */

static size_t pattern_bytes(const struct cgroup_pattern *p)
{
    size_t bytes = sizeof *p + PATTERN_COST + p->text.n;

    for (size_t i = 0; i < p->topics_n; i++)
        bytes += sizeof *p->topics + p->topics[i].n;
    return bytes;
}

static void pattern_topics_drop(struct cgroup_pattern *p)
{
    for (size_t i = 0; i < p->topics_n; i++)
        str_drop(&p->topics[i]);
    free(p->topics);
    p->topics = NULL;
    p->topics_n = 0;
}

struct cgroup_pattern *cgroup_pattern_take(struct cgroup *g, struct str text)
{
    struct cgroup_pattern *p;
    struct pattern *compiled;
    struct err e;

    list_each(it, &g->patterns)
    {
        p = container_of(it, struct cgroup_pattern, link);
        if (!str_eq(p->text, text)) continue;
        p->users++;
        return p;
    }
    if (pattern_new(text, &compiled, &e)) return NULL;
    p = xnew(struct cgroup_pattern);
    p->text = str_own(text);
    p->compiled = compiled;
    p->users = 1;
    list_push(&g->patterns, &p->link);
    g->bytes += pattern_bytes(p);
    return p;
}

void cgroup_pattern_drop(struct cgroup *g, struct cgroup_pattern *p)
{
    if (!p || --p->users) return;
    g->bytes -= pattern_bytes(p);
    list_remove(&p->link);
    pattern_topics_drop(p);
    pattern_free(p->compiled);
    str_drop(&p->text);
    free(p);
}

static void pattern_refresh(struct cgroup *g, struct cgroup_pattern *p,
                            const struct cgroup_world *world)
{
    struct cgroup_topic t;
    struct str after = {0};
    size_t cap = 0;

    if (p->version == world->version) return;
    g->bytes -= pattern_bytes(p);
    pattern_topics_drop(p);
    for (; world->next(world->ctx, after, &t); after = t.name) {
        if (!pattern_matches(p->compiled, t.name)) continue;
        if (p->topics_n == cap)
            p->topics = xrealloc(p->topics, cap = cap ? 2 * cap : 4, sizeof *p->topics);
        p->topics[p->topics_n++] = str_own(t.name);
    }
    p->version = world->version;
    g->bytes += pattern_bytes(p);
}

/* ---- topics ---- */

struct names {
    struct cgroup_topic *v;
    size_t n, cap;
    struct map seen;
};

static void names_add(struct names *to, struct str name, const struct cgroup_world *world)
{
    struct cgroup_topic t;

    if (map_put_str(&to->seen, name, to) || !world->find(world->ctx, name, &t)) return;
    if (to->n == to->cap)
        to->v = xrealloc(to->v, to->cap = to->cap ? 2 * to->cap : 8, sizeof *to->v);
    t.name = str_own(t.name);
    to->v[to->n++] = t;
}

static int topic_cmp(const void *a, const void *b)
{
    const struct cgroup_topic *x = a, *y = b;

    return str_cmp(x->name, y->name);
}

static size_t topics_bytes(const struct cgroup *g)
{
    size_t bytes = g->topics_n * sizeof *g->topics;

    for (size_t i = 0; i < g->topics_n; i++)
        bytes += g->topics[i].name.n;
    return bytes;
}

static void topics_drop(struct cgroup *g)
{
    g->bytes -= topics_bytes(g);
    for (size_t i = 0; i < g->topics_n; i++)
        str_drop(&g->topics[i].name);
    free(g->topics);
    g->topics = NULL;
    g->topics_n = 0;
}

static bool same_topics(const struct cgroup *g, const struct names *n)
{
    if (g->topics_n != n->n) return false;
    for (size_t i = 0; i < n->n; i++)
        if (!uuid_eq(&g->topics[i].id, &n->v[i].id) ||
            g->topics[i].partitions != n->v[i].partitions ||
            !str_eq(g->topics[i].name, n->v[i].name))
            return false;
    return true;
}

bool cgroup_topics_refresh(struct cgroup *g, const struct cgroup_world *world)
{
    struct names found = {0};
    bool same;

    list_each(it, &g->patterns)
    {
        struct cgroup_pattern *p = container_of(it, struct cgroup_pattern, link);

        pattern_refresh(g, p, world);
        for (size_t i = 0; i < p->topics_n; i++)
            names_add(&found, p->topics[i], world);
    }
    cgroup_each_member(m, g) for (size_t i = 0; i < m->topics_n; i++)
        names_add(&found, m->topics[i], world);
    map_fini(&found.seen);
    if (found.n) qsort(found.v, found.n, sizeof *found.v, topic_cmp);
    same = same_topics(g, &found);
    topics_drop(g);
    g->topics = found.v;
    g->topics_n = found.n;
    g->bytes += topics_bytes(g);
    g->topics_version = world->version;
    return !same;
}

void cgroup_load_topics(struct cgroup *g, const struct cgroup_topic *topics, size_t n)
{
    topics_drop(g);
    g->topics = xnew_array(struct cgroup_topic, n + 1);
    for (; g->topics_n < n; g->topics_n++) {
        g->topics[g->topics_n] = topics[g->topics_n];
        g->topics[g->topics_n].name = str_own(topics[g->topics_n].name);
    }
    qsort(g->topics, n, sizeof *g->topics, topic_cmp);
    g->bytes += topics_bytes(g);
}

void cgroup_topics_fini(struct cgroup *g)
{
    topics_drop(g);
}

static bool holds(const struct str *names, size_t n, struct str name)
{
    for (size_t lo = 0, hi = n; lo < hi;) {
        size_t mid = lo + (hi - lo) / 2;
        int c = str_cmp(names[mid], name);

        if (c == 0) return true;
        if (c < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return false;
}

static bool member_subscribes(const struct cgroup_member *m, struct str topic)
{
    return holds(m->topics, m->topics_n, topic) ||
           (m->pattern && holds(m->pattern->topics, m->pattern->topics_n, topic));
}

bool cgroup_subscribes(const struct cgroup *g, struct str topic)
{
    cgroup_each_member(m, g) if (member_subscribes(m, topic)) return true;
    return false;
}

/* ---- the target ---- */

/* The wish of most; who named none has none. Ties go to the group's default, then to the name that was there first. */
struct str cgroup_assignor(const struct cgroup *g)
{
    static const char *const names[] = {"uniform", "range"};
    size_t votes[countof(names)] = {0}, best = SIZE_MAX;

    cgroup_each_member(m, g) for (size_t i = 0; i < countof(names); i++) votes[i] +=
        m->assignor.p && str_is(m->assignor, names[i]);
    for (size_t i = 0; i < countof(names); i++)
        if (votes[i] && (best == SIZE_MAX || votes[i] > votes[best] ||
                         (votes[i] == votes[best] && str_is(g->config->assignor, names[i]))))
            best = i;
    return best == SIZE_MAX ? g->config->assignor : str_of(names[best]);
}

/* Static members by their instance ids, so that a restart under a new member id changes nothing; then the others. */
static int member_cmp(const void *a, const void *b)
{
    const struct cgroup_member *x = *(struct cgroup_member *const *)a,
                               *y = *(struct cgroup_member *const *)b;

    if (!x->instance_id.p != !y->instance_id.p) return x->instance_id.p ? -1 : 1;
    return x->instance_id.p ? str_cmp(x->instance_id, y->instance_id) : str_cmp(x->id, y->id);
}

static void target_take(struct cgroup *g, struct cgroup_member *m, struct parts *after)
{
    if (parts_eq(&m->target, after)) {
        parts_fini(after);
        return;
    }
    parts_fini(&m->target);
    m->target = *after;
    cgroup_mark(g, m, CGROUP_DIRTY_TARGET);
    cgroup_member_account(g, m);
}

void cgroup_assign(struct cgroup *g)
{
    struct assignor_topic *topics = xnew_array(struct assignor_topic, g->topics_n + 1);
    struct assignor_member *members = xnew_array(struct assignor_member, g->members_n + 1);
    struct cgroup_member **order = xnew_array(struct cgroup_member *, g->members_n + 1);
    const struct assignor *how = assignor_of(cgroup_assignor(g));
    size_t n = 0;

    must(how != NULL);
    for (size_t t = 0; t < g->topics_n; t++)
        topics[t] = (struct assignor_topic){g->topics[t].id, g->topics[t].partitions};
    cgroup_each_member(m, g) order[n++] = m;
    qsort(order, n, sizeof(struct cgroup_member *), member_cmp);
    for (size_t i = 0; i < n; i++) {
        uint32_t *subscribed = xnew_array(uint32_t, g->topics_n + 1);

        members[i] = (struct assignor_member){
            .id = order[i]->id, .topics = subscribed, .before = &order[i]->target};
        for (size_t t = 0; t < g->topics_n; t++)
            if (member_subscribes(order[i], g->topics[t].name))
                subscribed[members[i].topics_n++] = (uint32_t)t;
    }
    how->assign(topics, g->topics_n, members, n);
    for (size_t i = 0; i < n; i++) {
        target_take(g, order[i], &members[i].after);
        free((uint32_t *)(uintptr_t)members[i].topics);
    }
    g->target_epoch = g->epoch;
    g->dirty_target = true;
    free(order);
    free(members);
    free(topics);
}
