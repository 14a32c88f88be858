/* SPDX-License-Identifier: Apache-2.0
 *
 * A classic member's way to its target. Heartbeat says REBALANCE_IN_PROGRESS; an eager member gives up all it has, a cooperative
 * one nothing, and both join: the subscription says what is still owned, so that what is not may be given on. The answer comes at
 * once. If the member has to let go of something first (UNREVOKED), SyncGroup gives it the rest, in its old generation, and it joins
 * once more without it. What it waits for others to release it is told to join for when all of that is free.
 *
 * Time: a session of the member's own length; after being told to join, and after joining, its rebalance timeout.
 */
#include "broker/cgroup_core.h"
#include "kafka/errors.h"
#include "kafka/msg/consumer_protocol.h"
#include <stdlib.h>

enum { PROTOCOL_VERSION_MAX = 3 };

/* ---- the embedded protocol ---- */

/* What later versions append is ignored, as the format wants it. */
static int16_t version_of(struct rd *r)
{
    int16_t version = rd_i16(r);

    return MIN(version, (int16_t)PROTOCOL_VERSION_MAX);
}

static bool subscription_read(struct bytes metadata, struct arena *a,
                              struct consumer_protocol_subscription *ret)
{
    struct rd r;
    int16_t version;

    rd_init(&r, metadata);
    version = version_of(&r);
    return version >= 0 && consumer_protocol_subscription_decode(&r, version, a, ret) &&
           ret->topics_n <= CGROUP_TOPICS_MAX;
}

static bool assignment_read(struct bytes bytes, struct arena *a,
                            struct consumer_protocol_assignment *ret)
{
    struct rd r;
    int16_t version;

    *ret = (struct consumer_protocol_assignment){0};
    if (!bytes.n) return true; /* nothing was assigned */
    rd_init(&r, bytes);
    version = version_of(&r);
    return version >= 0 && consumer_protocol_assignment_decode(&r, version, a, ret);
}

static void parts_push_row(struct parts *to, const struct cgroup_world *world, struct str topic,
                           const int32_t *numbers, size_t n)
{
    struct cgroup_topic t;

    if (!world->find(world->ctx, topic, &t)) return;
    for (size_t i = 0; i < n; i++)
        if (numbers[i] >= 0 && numbers[i] < t.partitions)
            parts_push(to, (struct part){t.id, numbers[i]});
}

static void owned_of(const struct consumer_protocol_subscription *s,
                     const struct cgroup_world *world, struct parts *ret)
{
    for (size_t i = 0; i < s->owned_partitions_n; i++)
        parts_push_row(ret, world, s->owned_partitions[i].topic, s->owned_partitions[i].partitions,
                       s->owned_partitions[i].partitions_n);
    parts_sort(ret);
}

int16_t cgroup_classic_version(const struct cgroup_member *m)
{
    struct rd r;

    int16_t version;

    rd_init(&r, m->classic->protocols[0].metadata);
    version = version_of(&r);
    return MAX(version, (int16_t)0);
}

/* ---- the books ---- */

static bool same_protocols(const struct cgroup_classic *c, const struct group_protocol *ps,
                           size_t n)
{
    if (c->protocols_n != n) return false;
    for (size_t i = 0; i < n; i++)
        if (!str_eq(c->protocols[i].name, ps[i].name) ||
            !bytes_eq(c->protocols[i].metadata, ps[i].metadata))
            return false;
    return true;
}

void cgroup_classic_drop(struct cgroup *g, struct cgroup_member *m)
{
    if (!m->classic) return;
    free(m->classic->protocols);
    free(m->classic);
    m->classic = NULL;
    g->classic_n--;
    cgroup_mark(g, m, CGROUP_DIRTY_MEMBER);
}

void cgroup_classic_set(struct cgroup *g, struct cgroup_member *m, int32_t session_timeout_ms,
                        const struct group_protocol *protocols, size_t n)
{
    struct cgroup_classic *c = m->classic;

    if (c && c->session_timeout_ms == session_timeout_ms && same_protocols(c, protocols, n)) return;
    if (!c) {
        c = m->classic = xnew(struct cgroup_classic);
        c->join_deadline_ms = c->sync_deadline_ms = UINT64_MAX;
        str_drop(&m->assignor);
        g->classic_n++;
    }
    free(c->protocols);
    c->session_timeout_ms = session_timeout_ms;
    c->protocols = group_protocols_own(protocols, n, &c->protocols_n);
    c->bytes = sizeof *c;
    for (size_t i = 0; i < c->protocols_n; i++)
        c->bytes += sizeof *c->protocols + c->protocols[i].name.n + c->protocols[i].metadata.n;
    cgroup_mark(g, m, CGROUP_DIRTY_MEMBER);
    cgroup_member_account(g, m);
}

/* ---- JoinGroup ---- */

static bool has_protocol(const struct cgroup_member *m, struct str name)
{
    for (size_t i = 0; i < m->classic->protocols_n; i++)
        if (str_eq(m->classic->protocols[i].name, name)) return true;
    return false;
}

/* The members that do not share out themselves must still agree on a protocol: they may have to, one day. */
static bool supports(const struct cgroup *g, const struct group_join *j,
                     const struct cgroup_member *self)
{
    if (!str_is(j->protocol_type, "consumer") || !j->protocols_n ||
        j->protocols_n > GROUP_PROTOCOLS_MAX)
        return false;
    for (size_t i = 0; i < j->protocols_n; i++) {
        bool all = true;

        cgroup_each_member(m, g)
        {
            all = m == self || !m->classic || has_protocol(m, j->protocols[i].name);
            if (!all) break;
        }
        if (all) return true;
    }
    return false;
}

/* The member that joins; *ret NULL: a new one. */
static int16_t who(const struct cgroup *g, const struct group_join *j, struct cgroup_member **ret)
{
    struct cgroup_member *holder =
        j->instance_id.p ? map_get_str(&g->by_instance, j->instance_id) : NULL;

    *ret = j->member_id.n ? cgroup_member(g, j->member_id) : holder;
    if (!j->member_id.n || !j->instance_id.p) return KAFKA_ERR_NONE;
    if (!holder) return KAFKA_ERR_UNKNOWN_MEMBER_ID;
    return holder == *ret ? KAFKA_ERR_NONE : KAFKA_ERR_FENCED_INSTANCE_ID;
}

static bool has_room(const struct cgroup *g, const struct group_join *j, bool is_new)
{
    if (g->bytes + group_join_bytes(j) > g->config->bytes_max) return false;
    return !is_new || g->members_n < g->config->members_max;
}

/* The place is a new member's, a static member's that is back under another id, or one's that was here all along. */
static struct cgroup_member *admit(struct cgroup *g, struct cgroup_member *m,
                                   const struct group_join *j)
{
    struct str id = j->member_id.n ? j->member_id : j->uuid;

    if (!m) {
        m = cgroup_member_add(g, id, j->instance_id);
        cgroup_mark(g, m, CGROUP_DIRTY_MEMBER | CGROUP_DIRTY_TARGET | CGROUP_DIRTY_CURRENT);
    } else if (!j->member_id.n) {
        cgroup_member_rename(g, m, id);
        cgroup_begin_again(g, m);
    }
    return m;
}

int16_t cgroup_classic_join(struct cgroup *g, const struct group_join *j,
                            const struct cgroup_world *world, uint64_t now_ms, struct arena *a,
                            struct cgroup_member **ret, struct str *ret_id)
{
    struct consumer_protocol_subscription s;
    AUTO(parts_fini) struct parts owned = {0};
    struct cgroup_answer answer;
    struct cgroup_member *m;
    int16_t error = who(g, j, &m);

    if (error) return error;
    if (!supports(g, j, m) || !subscription_read(j->protocols[0].metadata, a, &s))
        return KAFKA_ERR_INCONSISTENT_GROUP_PROTOCOL;
    if (!has_room(g, j, !m)) return KAFKA_ERR_GROUP_MAX_SIZE_REACHED;
    if (!j->member_id.n && !j->instance_id.p && j->id_required) {
        *ret_id = j->uuid;
        return KAFKA_ERR_MEMBER_ID_REQUIRED;
    }
    m = admit(g, m, j);
    cgroup_classic_set(g, m, j->session_timeout_ms, j->protocols, j->protocols_n);
    owned_of(&s, world, &owned);
    cgroup_member_step(g, m,
                       &(struct cgroup_beat){.member_id = m->id,
                                             .rack_id = s.rack_id,
                                             .client_id = j->client_id,
                                             .client_host = j->client_host,
                                             .rebalance_timeout_ms = j->rebalance_timeout_ms,
                                             .topics = s.topics,
                                             .topics_n = s.topics_n,
                                             .pattern = STR(""),
                                             .owned = &owned},
                       world, now_ms, &answer);
    m->classic->join_deadline_ms = UINT64_MAX;
    m->classic->sync_deadline_ms = now_ms + group_ms(m->rebalance_timeout_ms);
    cgroup_want_tick(g, m->classic->sync_deadline_ms);
    *ret = m;
    return KAFKA_ERR_NONE;
}

/* ---- SyncGroup, Heartbeat, LeaveGroup ---- */

static struct cgroup_member *find(const struct cgroup *g, struct str id, struct str instance_id,
                                  int16_t *ret_error)
{
    struct cgroup_member *m = cgroup_member(g, id), *holder;

    *ret_error = KAFKA_ERR_UNKNOWN_MEMBER_ID;
    if (instance_id.p) {
        if (!(holder = map_get_str(&g->by_instance, instance_id))) return NULL;
        if (holder != m) return *ret_error = KAFKA_ERR_FENCED_INSTANCE_ID, NULL;
    }
    if (!m || !m->classic) return NULL;
    *ret_error = KAFKA_ERR_NONE;
    return m;
}

/* All that it waits for is free. */
static bool may_have_the_rest(const struct cgroup *g, const struct cgroup_member *m)
{
    for (size_t i = 0; i < m->target.n; i++) {
        const struct cgroup_member *owner = map_get(&g->owners, part_key(&m->target.p[i]));

        if (owner && owner != m) return false;
    }
    return true;
}

static int16_t tell_to_join(struct cgroup *g, struct cgroup_member *m, uint64_t now_ms)
{
    if (m->classic->join_deadline_ms == UINT64_MAX) {
        m->classic->join_deadline_ms = now_ms + group_ms(m->rebalance_timeout_ms);
        cgroup_want_tick(g, m->classic->join_deadline_ms);
    }
    return KAFKA_ERR_REBALANCE_IN_PROGRESS;
}

int16_t cgroup_classic_sync(struct cgroup *g, const struct group_sync *s, uint64_t now_ms,
                            struct cgroup_member **ret)
{
    int16_t error;
    struct cgroup_member *m = find(g, s->member_id, s->instance_id, &error);

    if (!m) return error;
    if (s->generation != m->epoch) return KAFKA_ERR_ILLEGAL_GENERATION;
    if ((s->protocol_type.p && !str_is(s->protocol_type, "consumer")) ||
        (s->protocol.p && !str_eq(s->protocol, m->classic->protocols[0].name)))
        return KAFKA_ERR_INCONSISTENT_GROUP_PROTOCOL;
    if (g->epoch > m->epoch && m->state != CGROUP_MEMBER_UNREVOKED)
        return tell_to_join(g, m, now_ms);
    m->classic->sync_deadline_ms = UINT64_MAX;
    cgroup_session_restart(g, m, now_ms);
    *ret = m;
    return KAFKA_ERR_NONE;
}

int16_t cgroup_classic_beat(struct cgroup *g, const struct group_beat *b,
                            const struct cgroup_world *world, uint64_t now_ms)
{
    int16_t error;
    struct cgroup_member *m = find(g, b->member_id, b->instance_id, &error);

    if (!m) return error;
    if (b->generation != m->epoch) return KAFKA_ERR_ILLEGAL_GENERATION;
    cgroup_session_restart(g, m, now_ms);
    if (g->topics_version != world->version && cgroup_topics_refresh(g, world)) {
        g->dirty_topics = true;
        cgroup_grow(g);
    }
    if (m->epoch < g->epoch || m->state == CGROUP_MEMBER_UNREVOKED ||
        (m->state == CGROUP_MEMBER_UNRELEASED && may_have_the_rest(g, m)))
        return tell_to_join(g, m, now_ms);
    return KAFKA_ERR_NONE;
}

int16_t cgroup_classic_leave(struct cgroup *g, const struct group_leaver *l)
{
    struct cgroup_member *m = cgroup_member(g, l->member_id);

    if (l->instance_id.p) {
        struct cgroup_member *holder = map_get_str(&g->by_instance, l->instance_id);

        if (holder && l->member_id.n && holder != m) return KAFKA_ERR_FENCED_INSTANCE_ID;
        m = holder;
    }
    if (!m) return KAFKA_ERR_UNKNOWN_MEMBER_ID;
    cgroup_member_leave(g, m);
    return KAFKA_ERR_NONE;
}

/* ---- from one protocol to the other ---- */

/* A log of ours never says otherwise: who joins has one in common with all others. */
static bool share_a_protocol(const struct cgroup *g)
{
    const struct cgroup_member *first = container_of(g->members.next, struct cgroup_member, link);

    for (size_t i = 0; i < first->classic->protocols_n; i++) {
        bool all = true;

        cgroup_each_member(m, g) all = all && has_protocol(m, first->classic->protocols[i].name);
        if (all) return true;
    }
    return false;
}

bool cgroup_wants_downgrade(const struct cgroup *g)
{
    return g->config->downgrade && g->members_n && g->classic_n == g->members_n &&
           g->members_n <= g->config->classic_max && share_a_protocol(g);
}

bool cgroup_is_settled(const struct cgroup *g)
{
    return g->topics_version && cgroup_state(g) == CGROUP_STABLE;
}

static bool take_over(struct cgroup *g, const struct group *from, const struct group_member *old,
                      const struct cgroup_world *world, struct arena *a, uint64_t now_ms)
{
    struct consumer_protocol_subscription s;
    struct consumer_protocol_assignment has;
    struct bytes metadata = group_metadata(from, old);
    struct cgroup_beat q = {.client_id = old->client_id,
                            .client_host = old->client_host,
                            .rebalance_timeout_ms = old->rebalance_timeout_ms};
    struct cgroup_member *m;
    bool changed;

    if (!metadata.p && old->protocols_n) metadata = old->protocols[0].metadata;
    if (!subscription_read(metadata, a, &s) ||
        !assignment_read(buf_view(&old->assignment), a, &has))
        return false;
    m = cgroup_member_add(g, old->id, old->instance_id);
    cgroup_mark(g, m, CGROUP_DIRTY_MEMBER | CGROUP_DIRTY_TARGET | CGROUP_DIRTY_CURRENT);
    cgroup_classic_set(g, m, old->session_timeout_ms, old->protocols, old->protocols_n);
    q.rack_id = s.rack_id;
    q.topics = s.topics;
    q.topics_n = s.topics_n;
    cgroup_member_update(g, m, &q, &changed);
    for (size_t i = 0; i < has.assigned_partitions_n; i++)
        parts_push_row(&m->owned, world, has.assigned_partitions[i].topic,
                       has.assigned_partitions[i].partitions,
                       has.assigned_partitions[i].partitions_n);
    parts_sort(&m->owned);
    cgroup_own_all(g, m, &m->owned);
    parts_copy(&m->target, &m->owned);
    m->epoch = m->previous_epoch = from->generation;
    cgroup_member_account(g, m);
    cgroup_session_restart(g, m, now_ms);
    return true;
}

bool cgroup_from_group(struct cgroup *g, const struct group *from, const struct cgroup_world *world,
                       uint64_t now_ms)
{
    AUTO(arena_fini) struct arena a = {.limit = g->config->bytes_max};

    if (!str_is(from->protocol_type, "consumer")) return false;
    group_each_member(m, from)
    {
        if (!take_over(g, from, m, world, &a, now_ms)) return false;
        arena_reset(&a);
    }
    g->epoch = g->target_epoch = from->generation;
    (void)cgroup_topics_refresh(g, world);
    g->dirty_epoch = g->dirty_target = g->dirty_topics = true;
    return true;
}
