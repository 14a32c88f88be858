/* SPDX-License-Identifier: Apache-2.0
 *
 * The members of a newer group, the maps over them, who owns which partition, what all of it costs, and what of it has not
 * been written yet. Decides nothing.
 */
#include "broker/cgroup_core.h"
#include <stdlib.h>

static void topics_drop(struct cgroup_member *m)
{
    for (size_t i = 0; i < m->topics_n; i++)
        str_drop(&m->topics[i]);
    free(m->topics);
    m->topics = NULL;
    m->topics_n = 0;
}

static int name_cmp(const void *a, const void *b)
{
    return str_cmp(*(const struct str *)a, *(const struct str *)b);
}

/* Sorted, each once. Returns whether it is another list than before. */
static bool topics_set(struct cgroup_member *m, const struct str *names, size_t names_n)
{
    struct cgroup_member next = {0};
    struct str *sorted = xnew_array(struct str, names_n + 1);
    bool same;

    if (names_n) memcpy(sorted, names, names_n * sizeof *names);
    if (names_n) qsort(sorted, names_n, sizeof *sorted, name_cmp);
    next.topics = xnew_array(struct str, names_n + 1);
    for (size_t i = 0; i < names_n; i++)
        if (!next.topics_n || !str_eq(next.topics[next.topics_n - 1], sorted[i]))
            next.topics[next.topics_n++] = str_own(sorted[i]);
    free(sorted);
    same = next.topics_n == m->topics_n;
    for (size_t i = 0; same && i < m->topics_n; i++)
        same = str_eq(next.topics[i], m->topics[i]);
    topics_drop(m);
    m->topics = next.topics;
    m->topics_n = next.topics_n;
    return !same;
}

/* ---- the books ---- */

void cgroup_mark(struct cgroup *g, struct cgroup_member *m, unsigned what)
{
    if (!m->dirty) list_push(&g->dirty, &m->dirty_link);
    m->dirty |= what;
}

/* Ids are counted twice: the maps keep copies. So is an owned partition: it is a key of owners. */
void cgroup_member_account(struct cgroup *g, struct cgroup_member *m)
{
    size_t bytes = sizeof *m + 2 * (m->id.n + m->instance_id.n) + m->rack_id.n + m->client_id.n +
                   m->client_host.n + m->assignor.n + (m->classic ? m->classic->bytes : 0);

    for (size_t i = 0; i < m->topics_n; i++)
        bytes += sizeof *m->topics + m->topics[i].n;
    bytes += (m->target.cap + m->owned.cap + m->revoking.cap) * sizeof(struct part);
    bytes += (m->owned.n + m->revoking.n) * 3 * sizeof(struct part);
    g->bytes += bytes - m->bytes;
    m->bytes = bytes;
}

size_t cgroup_beat_bytes(const struct cgroup_beat *q)
{
    size_t bytes = sizeof(struct cgroup_member) + 2 * (q->member_id.n + q->instance_id.n) +
                   q->rack_id.n + q->client_id.n + q->client_host.n + q->assignor.n +
                   (q->pattern.n ? PATTERN_COST + q->pattern.n : 0);

    for (size_t i = 0; i < q->topics_n; i++)
        bytes += sizeof(struct str) + q->topics[i].n;
    return bytes;
}

void cgroup_own(struct cgroup *g, struct cgroup_member *m, const struct parts *s)
{
    for (size_t i = 0; i < s->n; i++) {
        struct cgroup_member *before = map_put(&g->owners, part_key(&s->p[i]), m);

        must(!before || before == m);
    }
}

/* What two own goes to the one with the newer epoch: a log that says so is damaged, and nobody shall stand still for it. */
void cgroup_own_all(struct cgroup *g, struct cgroup_member *m, struct parts *s)
{
    size_t n = 0;

    for (size_t i = 0; i < s->n; i++) {
        if (map_get(&g->owners, part_key(&s->p[i]))) continue;
        (void)map_put(&g->owners, part_key(&s->p[i]), m);
        s->p[n++] = s->p[i];
    }
    s->n = n;
}

void cgroup_disown(struct cgroup *g, struct cgroup_member *m, const struct parts *s)
{
    for (size_t i = 0; i < s->n; i++)
        if (map_get(&g->owners, part_key(&s->p[i])) == m)
            (void)map_del(&g->owners, part_key(&s->p[i]));
}

struct cgroup_member *cgroup_member(const struct cgroup *g, struct str id)
{
    return map_get_str(&g->by_id, id);
}

struct str cgroup_member_pattern(const struct cgroup_member *m)
{
    return m->pattern ? m->pattern->text : (struct str){0};
}

struct cgroup_member *cgroup_member_add(struct cgroup *g, struct str id, struct str instance_id)
{
    struct cgroup_member *m = xnew(struct cgroup_member);

    m->id = str_own(id);
    m->instance_id = str_own(instance_id);
    m->client_id = str_own(STR(""));
    m->client_host = str_own(STR(""));
    m->rebalance_timeout_ms = -1;
    m->state = CGROUP_MEMBER_STABLE;
    m->session_deadline_ms = m->revoke_deadline_ms = UINT64_MAX;
    list_init(&m->dirty_link);
    list_push(&g->members, &m->link);
    g->members_n++;
    must(!map_put_str(&g->by_id, m->id, m));
    if (m->instance_id.p) must(!map_put_str(&g->by_instance, m->instance_id, m));
    cgroup_member_account(g, m);
    return m;
}

/* Its records are to go. */
static void gone_add(struct cgroup *g, struct str member_id)
{
    struct cgroup_gone *gone = xnew(struct cgroup_gone);

    gone->member_id = str_own(member_id);
    g->bytes += sizeof *gone + member_id.n;
    list_push(&g->gone, &gone->link);
}

static void gone_drop(struct cgroup *g, struct cgroup_gone *gone)
{
    g->bytes -= sizeof *gone + gone->member_id.n;
    list_remove(&gone->link);
    str_drop(&gone->member_id);
    free(gone);
}

/* Somebody of that name is back: the new records are the last word. */
static void gone_forget(struct cgroup *g, struct str member_id)
{
    list_each_safe(it, &g->gone)
    {
        struct cgroup_gone *gone = container_of(it, struct cgroup_gone, link);

        if (str_eq(gone->member_id, member_id)) gone_drop(g, gone);
    }
}

void cgroup_member_remove(struct cgroup *g, struct cgroup_member *m)
{
    cgroup_disown(g, m, &m->owned);
    cgroup_disown(g, m, &m->revoking);
    must(map_del_str(&g->by_id, m->id) == m);
    if (m->instance_id.p) must(map_del_str(&g->by_instance, m->instance_id) == m);
    gone_forget(g, m->id);
    gone_add(g, m->id);
    cgroup_classic_drop(g, m);
    list_remove(&m->link);
    list_remove(&m->dirty_link);
    g->members_n--;
    g->bytes -= m->bytes;
    cgroup_pattern_drop(g, m->pattern);
    topics_drop(m);
    str_drop(&m->id);
    str_drop(&m->instance_id);
    str_drop(&m->rack_id);
    str_drop(&m->client_id);
    str_drop(&m->client_host);
    str_drop(&m->assignor);
    parts_fini(&m->owned);
    parts_fini(&m->revoking);
    parts_fini(&m->target);
    free(m);
}

void cgroup_member_rename(struct cgroup *g, struct cgroup_member *m, struct str id)
{
    must(map_del_str(&g->by_id, m->id) == m);
    gone_forget(g, m->id);
    gone_add(g, m->id);
    str_drop(&m->id);
    m->id = str_own(id);
    gone_forget(g, m->id);
    must(!map_put_str(&g->by_id, m->id, m));
    cgroup_mark(g, m, CGROUP_DIRTY_MEMBER | CGROUP_DIRTY_TARGET | CGROUP_DIRTY_CURRENT);
    cgroup_member_account(g, m);
}

static bool text_set(struct str *field, struct str value)
{
    struct str old = *field;

    if (str_eq(old, value) && !old.p == !value.p) return false;
    *field = str_own(value);
    str_drop(&old);
    return true;
}

static bool pattern_set(struct cgroup *g, struct cgroup_member *m, struct str text,
                        struct str reader)
{
    struct cgroup_pattern *old = m->pattern;
    struct str now = cgroup_member_pattern(m);

    if (!text.p) text = now;
    if (str_eq(text, now)) {
        if (old && old->recalled) {
            m->pattern = cgroup_pattern_heard(g, old, reader); /* old may be gone */
            return false;
        }
        if (!old || str_eq(old->reader, reader)) return false;
    }
    m->pattern = text.n ? cgroup_pattern_take(g, text, reader) : NULL;
    cgroup_pattern_drop(g, old);
    return true;
}

void cgroup_member_update(struct cgroup *g, struct cgroup_member *m, const struct cgroup_beat *q,
                          bool *ret_subscription)
{
    bool other = false, subscription = false;

    gone_forget(g, m->id);
    if (q->rack_id.p) other |= text_set(&m->rack_id, q->rack_id);
    if (q->assignor.p) other |= text_set(&m->assignor, q->assignor);
    other |= text_set(&m->client_id, q->client_id.p ? q->client_id : STR(""));
    other |= text_set(&m->client_host, q->client_host.p ? q->client_host : STR(""));
    if (q->rebalance_timeout_ms >= 0 && q->rebalance_timeout_ms != m->rebalance_timeout_ms) {
        m->rebalance_timeout_ms = q->rebalance_timeout_ms;
        other = true;
    }
    if (!q->topics_null) subscription |= topics_set(m, q->topics, q->topics_n);
    subscription |= pattern_set(g, m, q->pattern, q->reader);
    if (other || subscription) cgroup_mark(g, m, CGROUP_DIRTY_MEMBER);
    cgroup_member_account(g, m);
    *ret_subscription = subscription;
}

/* ---- what was written ---- */

bool cgroup_is_dirty(const struct cgroup *g)
{
    return g->dirty_epoch || g->dirty_topics || g->dirty_target || !list_empty(&g->dirty) ||
           !list_empty(&g->gone);
}

void cgroup_written(struct cgroup *g)
{
    list_each_safe(it, &g->dirty)
    {
        container_of(it, struct cgroup_member, dirty_link)->dirty = 0;
        list_remove(it);
    }
    list_each_safe(it, &g->gone) gone_drop(g, container_of(it, struct cgroup_gone, link));
    g->dirty_epoch = g->dirty_topics = g->dirty_target = false;
}

/* ---- beginning and end ---- */

void cgroup_init(struct cgroup *g, struct str id, const struct cgroup_config *config)
{
    *g = (struct cgroup){.id = str_own(id), .config = config, .tick_ms = UINT64_MAX};
    list_init(&g->members);
    list_init(&g->patterns);
    list_init(&g->dirty);
    list_init(&g->gone);
    g->bytes = sizeof *g + id.n;
}

void cgroup_fini(struct cgroup *g)
{
    if (!g->config) return;
    list_each_safe(it, &g->members)
        cgroup_member_remove(g, container_of(it, struct cgroup_member, link));
    cgroup_written(g);
    cgroup_topics_fini(g);
    map_fini(&g->by_id);
    map_fini(&g->by_instance);
    map_fini(&g->owners);
    str_drop(&g->id);
    *g = (struct cgroup){0};
}

/* ---- restart ---- */

struct cgroup_member *cgroup_load_member(struct cgroup *g, struct str id)
{
    struct cgroup_member *m = cgroup_member(g, id);

    return m ? m : cgroup_member_add(g, id, (struct str){0});
}

void cgroup_load_subscription(struct cgroup *g, struct cgroup_member *m,
                              const struct cgroup_beat *q)
{
    struct cgroup_member *holder;
    bool subscription;

    if (q->instance_id.p && !m->instance_id.p) {
        holder = map_get_str(&g->by_instance, q->instance_id);
        if (holder) cgroup_member_remove(g, holder); /* its end stands further on in the log */
        m->instance_id = str_own(q->instance_id);
        must(!map_put_str(&g->by_instance, m->instance_id, m));
    }
    cgroup_member_update(g, m, q, &subscription);
    m->on_record = true;
}

void cgroup_load_gone(struct cgroup *g, struct str id)
{
    struct cgroup_member *m = cgroup_member(g, id);

    if (m) cgroup_member_remove(g, m);
}

void cgroup_load_end(struct cgroup *g, uint64_t now_ms)
{
    list_each_safe(it, &g->members)
    {
        struct cgroup_member *m = container_of(it, struct cgroup_member, link);

        if (!m->on_record) cgroup_member_remove(g, m);
    }
    cgroup_written(g);
    cgroup_patterns_recall(g);
    cgroup_each_member(m, g)
    {
        if (m->state != CGROUP_MEMBER_UNREVOKED)
            parts_clear(&m->revoking); /* a log of ours never says so */
        cgroup_own_all(g, m, &m->owned);
        cgroup_own_all(g, m, &m->revoking);
        cgroup_session_restart(g, m, now_ms);
        if (m->state == CGROUP_MEMBER_UNREVOKED)
            m->revoke_deadline_ms = now_ms + (uint64_t)MAX(m->rebalance_timeout_ms, 0);
        cgroup_want_tick(g, m->revoke_deadline_ms);
        cgroup_member_account(g, m);
    }
}
