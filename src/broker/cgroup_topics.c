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
    size_t bytes = sizeof *p + PATTERN_COST + p->text.n + p->reader.n + p->scan_at.n;

    for (size_t i = 0; i < p->topics_n; i++)
        bytes += sizeof *p->topics + p->topics[i].n;
    for (size_t i = 0; i < p->found_n; i++)
        bytes += sizeof *p->found + p->found[i].n;
    return bytes;
}

static void names_drop(struct str **names, size_t *n)
{
    for (size_t i = 0; i < *n; i++)
        str_drop(&(*names)[i]);
    free(*names);
    *names = NULL;
    *n = 0;
}

static struct cgroup_pattern *pattern_of(const struct cgroup *g, struct str text, struct str reader)
{
    list_each(it, &g->patterns)
    {
        struct cgroup_pattern *p = container_of(it, struct cgroup_pattern, link);

        if (!p->recalled && str_eq(p->text, text) && str_eq(p->reader, reader)) return p;
    }
    return NULL;
}

bool cgroup_pattern_is_costly(const struct cgroup *g, struct str text)
{
    list_each(it, &g->patterns)
    {
        const struct cgroup_pattern *p = container_of(it, struct cgroup_pattern, link);

        if (p->costly && str_eq(p->text, text)) return true;
    }
    return false;
}

struct cgroup_pattern *cgroup_pattern_take(struct cgroup *g, struct str text, struct str reader)
{
    struct cgroup_pattern *p;
    struct pattern *compiled;
    struct err e;

    if ((p = pattern_of(g, text, reader))) {
        p->users++;
        return p;
    }
    if (pattern_new(text, &compiled, &e)) return NULL;
    p = xnew(struct cgroup_pattern);
    p->text = str_own(text);
    p->reader = str_own(reader);
    p->compiled = compiled;
    p->users = 1;
    p->simple = pattern_is_simple(text);
    list_push(&g->patterns, &p->link);
    g->bytes += pattern_bytes(p);
    return p;
}

void cgroup_pattern_drop(struct cgroup *g, struct cgroup_pattern *p)
{
    if (!p || --p->users) return;
    g->bytes -= pattern_bytes(p);
    list_remove(&p->link);
    names_drop(&p->topics, &p->topics_n);
    names_drop(&p->found, &p->found_n);
    str_drop(&p->scan_at);
    pattern_free(p->compiled);
    str_drop(&p->reader);
    str_drop(&p->text);
    free(p);
}

/* ---- which topics they mean: name by name, in order ---- */

static void scan_begin(struct cgroup *g, struct cgroup_pattern *p, const struct cgroup_world *world)
{
    p->scan = ++g->scans;
    p->scan_version = world->version;
    p->scan_us = 0;
}

static void scan_put(struct cgroup_pattern *p, struct str name)
{
    if (p->found_n == p->found_cap)
        p->found = xrealloc(p->found, p->found_cap = p->found_cap ? 2 * p->found_cap : 4,
                            sizeof *p->found);
    p->found[p->found_n++] = str_own(name);
}

/* What its reader may not know of is no topic to it. */
static void scan_put_shown(struct cgroup_pattern *p, const struct cgroup_world *world, struct str name)
{
    if (!world->shows || world->shows(world->ctx, p->reader, name)) scan_put(p, name);
}

static void scan_move(struct cgroup_pattern *p, struct str name)
{
    struct str old = p->scan_at;

    p->scan_at = str_own(name);
    str_drop(&old);
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

/* Do the members need another target? What was guessed after a restart may lack topics, with the old target none the worse. */
static bool is_news(const struct cgroup_pattern *p)
{
    bool same = p->topics_n == p->found_n;

    for (size_t i = 0; i < p->topics_n; i++)
        if (!holds(p->found, p->found_n, p->topics[i])) return true;
    return !same && (!p->guessed || p->guess_used);
}

/* What was found is what it means. */
static void found_take(struct cgroup_pattern *p)
{
    names_drop(&p->topics, &p->topics_n);
    p->topics = p->found;
    p->topics_n = p->found_n;
    p->found = NULL;
    p->found_n = p->found_cap = 0;
}

static void scan_end(struct cgroup *g, struct cgroup_pattern *p)
{
    if (is_news(p)) g->patterns_moved = true;
    p->guessed = p->guess_used = false;
    found_take(p);
    str_drop(&p->scan_at);
    p->version = p->scan_version;
    p->scan = 0;
}

/* Here and now: what never takes long, and not too many names. */
static void scan_here(struct cgroup *g, struct cgroup_pattern *p, const struct cgroup_world *world)
{
    struct str after = p->scan_at;
    struct cgroup_topic t;

    if (world->names_left && !p->simple) return;
    for (; world->next(world->ctx, after, &t); after = t.name) {
        if (world->names_left && !*world->names_left) {
            scan_move(p, after);
            return;
        }
        if (world->names_left) --*world->names_left;
        if (pattern_matches(p->compiled, t.name)) scan_put_shown(p, world, t.name);
    }
    scan_end(g, p);
}

static void pattern_refresh(struct cgroup *g, struct cgroup_pattern *p,
                            const struct cgroup_world *world)
{
    if (p->version == world->version || p->scan || p->costly || p->recalled) return;
    g->bytes -= pattern_bytes(p);
    scan_begin(g, p, world);
    scan_here(g, p, world);
    g->bytes += pattern_bytes(p);
}

bool cgroup_scan_wanted(const struct cgroup *g, struct cgroup_scan *ret)
{
    list_each(it, &g->patterns)
    {
        const struct cgroup_pattern *p = container_of(it, struct cgroup_pattern, link);

        if (!p->scan) continue;
        *ret = (struct cgroup_scan){p->text, p->scan};
        return true;
    }
    return false;
}

static struct cgroup_pattern *scanned(const struct cgroup *g, const struct cgroup_scan *s)
{
    list_each(it, &g->patterns)
    {
        struct cgroup_pattern *p = container_of(it, struct cgroup_pattern, link);

        if (p->scan == s->id) return p;
    }
    return NULL;
}

size_t cgroup_scan_names(const struct cgroup *g, const struct cgroup_scan *s,
                         const struct cgroup_world *world, struct str *names, size_t n)
{
    const struct cgroup_pattern *p = scanned(g, s);
    struct str after = p ? p->scan_at : (struct str){0};
    struct cgroup_topic t;
    size_t got = 0;

    while (p && got < n && world->next(world->ctx, after, &t))
        names[got++] = after = t.name;
    return got;
}

void cgroup_scan_tried(struct cgroup *g, const struct cgroup_scan *s,
                       const struct cgroup_world *world, const struct str *names,
                       const bool *matches, size_t n, uint64_t cost_us, bool done)
{
    struct cgroup_pattern *p = scanned(g, s);

    if (!p) return;
    g->bytes -= pattern_bytes(p);
    for (size_t i = 0; i < n; i++)
        if (matches[i]) scan_put_shown(p, world, names[i]);
    if (n) scan_move(p, names[n - 1]);
    p->scan_us += cost_us;
    p->costly = p->scan_us > CGROUP_SCAN_US_MAX;
    if (p->costly) names_drop(&p->found, &p->found_n); /* it means nothing any more */
    if (done || p->costly) {
        scan_end(g, p);
        g->topics_version = 0; /* the next heartbeat looks again */
    }
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
    same &= !g->patterns_moved;
    g->patterns_moved = false;
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

static void recall(struct cgroup_member *m, const struct map *by_id)
{
    struct cgroup_pattern *p = m->pattern;

    for (size_t i = 0; i < m->target.n; i++) {
        const struct part *at = &m->target.p[i];
        const struct cgroup_topic *t;

        if (i && uuid_eq(&at->topic, &m->target.p[i - 1].topic)) continue;
        t = map_get(by_id, bytes_of(&at->topic, sizeof at->topic));
        if (t && !holds(m->topics, m->topics_n, t->name)) scan_put(p, t->name);
    }
}

static int name_cmp(const void *a, const void *b)
{
    return str_cmp(*(const struct str *)a, *(const struct str *)b);
}

/* In order, each once. */
static void names_sort(struct cgroup_pattern *p)
{
    size_t n = 0;

    if (p->found_n) qsort(p->found, p->found_n, sizeof *p->found, name_cmp);
    for (size_t i = 0; i < p->found_n; i++)
        if (n && str_eq(p->found[n - 1], p->found[i]))
            str_drop(&p->found[i]);
        else
            p->found[n++] = p->found[i];
    p->found_n = n;
}

void cgroup_patterns_recall(struct cgroup *g)
{
    struct map by_id = {0};

    if (list_empty(&g->patterns)) return;
    for (size_t i = 0; i < g->topics_n; i++)
        map_put(&by_id, bytes_of(&g->topics[i].id, sizeof g->topics[i].id), &g->topics[i]);
    list_each(it, &g->patterns) g->bytes -= pattern_bytes(container_of(it, struct cgroup_pattern, link));
    cgroup_each_member(m, g) if (m->pattern) recall(m, &by_id);
    map_fini(&by_id);
    list_each(it, &g->patterns)
    {
        struct cgroup_pattern *p = container_of(it, struct cgroup_pattern, link);

        p->recalled = p->guessed = true;
        names_sort(p);
        found_take(p);
        g->bytes += pattern_bytes(p);
    }
}

struct cgroup_pattern *cgroup_pattern_heard(struct cgroup *g, struct cgroup_pattern *old,
                                            struct str reader)
{
    struct cgroup_pattern *p = pattern_of(g, old->text, reader);

    g->topics_version = 0; /* it is matched again now */
    if (!p && old->users == 1) {
        g->bytes -= pattern_bytes(old);
        str_drop(&old->reader);
        old->reader = str_own(reader);
        old->recalled = false;
        g->bytes += pattern_bytes(old);
        return old;
    }
    if (p) {
        p->users++;
    } else {
        p = cgroup_pattern_take(g, old->text, reader);
        must(p); /* it has compiled before */
        g->bytes -= pattern_bytes(p);
        for (size_t i = 0; i < old->topics_n; i++)
            scan_put(p, old->topics[i]);
        found_take(p);
        p->guessed = true;
        p->guess_used = old->guess_used;
        g->bytes += pattern_bytes(p);
    }
    cgroup_pattern_drop(g, old);
    return p;
}

void cgroup_topics_fini(struct cgroup *g)
{
    topics_drop(g);
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
    list_each(it, &g->patterns)
    {
        struct cgroup_pattern *p = container_of(it, struct cgroup_pattern, link);

        p->guess_used |= p->guessed;
    }
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
