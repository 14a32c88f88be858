/* SPDX-License-Identifier: Apache-2.0
 *
 * The happy path: the first member joins an EMPTY group, which becomes PREPARING and waits a little for others. Then the
 * joins are answered with a new generation, one member being the leader (COMPLETING). The leader's SyncGroup brings
 * everybody's assignment; the record is written, all syncs are answered, the group is STABLE until somebody comes, goes
 * or changes its mind, and the members rejoin (PREPARING).
 *
 * What can go wrong is mostly silence, and time heals it: a member that does not come back in time (session, rebalance
 * or sync timeout) is removed and the others go on. A static member (one with an instance id) may come back under a new
 * member id and take its old place without a rebalance; its predecessor is told that it is fenced.
 *
 * A step first changes members, then decides once (settle) what follows from that, so that answers, which carry views
 * into the group, come last.
 */
#include "broker/group.h"
#include "broker/group_core.h"
#include "kafka/errors.h"

const struct sm_state group_states[] = {
    [GROUP_EMPTY] = {"empty", 1u << GROUP_PREPARING | 1u << GROUP_DEAD},
    [GROUP_PREPARING] = {"preparing",
                         1u << GROUP_COMPLETING | 1u << GROUP_EMPTY | 1u << GROUP_DEAD},
    [GROUP_COMPLETING] = {"completing",
                          1u << GROUP_STABLE | 1u << GROUP_PREPARING | 1u << GROUP_DEAD},
    [GROUP_STABLE] = {"stable", 1u << GROUP_PREPARING | 1u << GROUP_DEAD},
    [GROUP_DEAD] = {"dead", 0},
};

const struct group_config group_config_default = {
    .initial_rebalance_delay_ms = 3000,
    .fresh_member_timeout_ms = 300000,
    .members_max = INT32_MAX,
    .bytes_max = 64u << 20,
};

const char *group_state_name(unsigned state)
{
    static const char *const names[] = {
        [GROUP_EMPTY] = "Empty",
        [GROUP_PREPARING] = "PreparingRebalance",
        [GROUP_COMPLETING] = "CompletingRebalance",
        [GROUP_STABLE] = "Stable",
        [GROUP_DEAD] = "Dead",
    };
    return names[state];
}

/* ---- SyncGroup ---- */

static bool protocol_differs(struct str given, struct str ours)
{
    return given.p && !str_eq(given, ours);
}

/* Who the leader forgets gets nothing to do; who it names but is not here is ignored. */
static void assign_all(struct group *g, const struct group_sync *s)
{
    group_each_member(m, g) member_assign(g, m, (struct bytes){0});
    for (size_t i = 0; i < s->assignments_n; i++) {
        struct group_member *m = group_member(g, s->assignments[i].member_id);

        if (m) member_assign(g, m, s->assignments[i].bytes);
    }
}

static void sync_release(struct group *g, uint64_t now_ms, struct group_effects *fx)
{
    group_each_member(m, g)
    {
        if (!m->sync) continue;
        group_answer_sync(g, m, m->sync, fx);
        m->sync = NULL;
        group_session_restart(g, m, now_ms);
    }
}

static void sync_completing(struct group *g, struct group_member *m, const struct group_event *ev,
                            struct group_effects *fx)
{
    m->sync_owed = false;
    if (m->sync)
        group_fx_push(fx, GROUP_FX_SYNCED, m->sync,
                      KAFKA_ERR_REBALANCE_IN_PROGRESS); /* asked twice */
    m->sync = ev->token;
    if (!str_eq(g->leader, m->id)) return;

    assign_all(g, &ev->sync);
    group_move(g, GROUP_STABLE, ev->wall_ms);
    group_fx_push(fx, GROUP_FX_PERSIST, NULL, KAFKA_ERR_NONE);
    sync_release(g, ev->now_ms, fx);
}

static void on_sync(struct group *g, const struct group_event *ev, struct group_effects *fx)
{
    const struct group_sync *s = &ev->sync;
    int16_t error;
    struct group_member *m = member_of(g, s->member_id, s->instance_id, &error);

    if (m && s->generation != g->generation)
        error = KAFKA_ERR_ILLEGAL_GENERATION;
    else if (m && (protocol_differs(s->protocol_type, g->protocol_type) ||
                   protocol_differs(s->protocol, g->protocol)))
        error = KAFKA_ERR_INCONSISTENT_GROUP_PROTOCOL;
    else if (m && g->state == GROUP_PREPARING)
        error = KAFKA_ERR_REBALANCE_IN_PROGRESS;

    if (error) {
        group_fx_push(fx, GROUP_FX_SYNCED, ev->token, error);
    } else if (g->state == GROUP_COMPLETING) {
        sync_completing(g, m, ev, fx);
    } else {
        must(g->state == GROUP_STABLE);
        m->sync_owed = false;
        group_session_restart(g, m, ev->now_ms);
        group_answer_sync(g, m, ev->token, fx);
    }
}

/* ---- Heartbeat, OffsetCommit, LeaveGroup ---- */

static void on_heartbeat(struct group *g, const struct group_event *ev, struct group_effects *fx)
{
    int16_t error;
    struct group_member *m = member_of(g, ev->beat.member_id, ev->beat.instance_id, &error);

    if (m && ev->beat.generation != g->generation) error = KAFKA_ERR_ILLEGAL_GENERATION;
    if (!error) {
        if (!m->fresh) group_session_restart(g, m, ev->now_ms);
        if (g->state == GROUP_PREPARING) error = KAFKA_ERR_REBALANCE_IN_PROGRESS;
    }
    group_fx_push(fx, GROUP_FX_DONE, ev->token, error);
}

/* Who is no member may only commit (generation -1) while there are none. */
static void on_commit(struct group *g, const struct group_event *ev, struct group_effects *fx)
{
    const struct group_beat *b = &ev->beat;
    bool simple =
        b->generation < 0 && (g->state == GROUP_EMPTY || (!b->member_id.n && !b->instance_id.p));
    int16_t error = KAFKA_ERR_NONE;
    struct group_member *m = NULL;

    if (g->state == GROUP_DEAD)
        error = KAFKA_ERR_COORDINATOR_NOT_AVAILABLE;
    else if (simple)
        error = g->state == GROUP_EMPTY ? KAFKA_ERR_NONE : KAFKA_ERR_UNKNOWN_MEMBER_ID;
    else
        m = member_of(g, b->member_id, b->instance_id, &error);

    if (m && b->generation != g->generation)
        error = KAFKA_ERR_ILLEGAL_GENERATION;
    else if (m && g->state == GROUP_COMPLETING)
        error = KAFKA_ERR_REBALANCE_IN_PROGRESS;
    else if (m && !m->fresh)
        group_session_restart(g, m, ev->now_ms);
    group_fx_push(fx, GROUP_FX_DONE, ev->token, error);
}

static int16_t leave_one(struct group *g, const struct group_leaver *l, bool *removed,
                         struct group_effects *fx)
{
    struct group_pending *p = l->instance_id.p ? NULL : pending_find(g, l->member_id);
    struct group_member *m;
    int16_t error = KAFKA_ERR_NONE;

    if (p) {
        pending_remove(g, p);
        return KAFKA_ERR_NONE;
    }
    if (l->instance_id.p && !l->member_id.n)
        m = group_static_member(g, l->instance_id);
    else
        m = member_of(g, l->member_id, l->instance_id, &error);
    if (!m) return error ? error : KAFKA_ERR_UNKNOWN_MEMBER_ID;

    group_member_drop(g, m, KAFKA_ERR_UNKNOWN_MEMBER_ID, fx);
    *removed = true;
    return KAFKA_ERR_NONE;
}

static void on_leave(struct group *g, const struct group_event *ev, struct group_effects *fx)
{
    int16_t *errors = arena_array(fx->arena, int16_t, ev->leave.n);
    bool removed = false;
    struct group_fx *a;

    for (size_t i = 0; i < ev->leave.n; i++)
        errors[i] = leave_one(g, &ev->leave.members[i], &removed, fx);
    a = group_fx_push(fx, GROUP_FX_DONE, ev->token, KAFKA_ERR_NONE);
    a->done.errors = errors;
    a->done.n = ev->leave.n;
    group_settle(g, removed, ev, fx);
}

/* ---- the rest ---- */

static void on_evict(struct group *g, const struct group_event *ev, struct group_effects *fx)
{
    group_each_member(m, g)
    {
        bool waits = m->join || m->sync;

        group_park_refuse(g, m, ev->evict_error, fx);
        if (waits) group_session_restart(g, m, ev->now_ms);
    }
}

static void on_delete(struct group *g, const struct group_event *ev, struct group_effects *fx)
{
    int16_t error = KAFKA_ERR_NONE;

    if (g->state == GROUP_DEAD)
        error = KAFKA_ERR_GROUP_ID_NOT_FOUND;
    else if (g->state != GROUP_EMPTY)
        error = KAFKA_ERR_NON_EMPTY_GROUP;
    else
        group_move(g, GROUP_DEAD, ev->wall_ms);
    if (ev->token) group_fx_push(fx, GROUP_FX_DONE, ev->token, error);
}

static void on_rebalance(struct group *g, const struct group_event *ev, struct group_effects *fx)
{
    if (g->state == GROUP_STABLE) group_settle(g, true, ev, fx);
}

static void on_tick(struct group *g, const struct group_event *ev, struct group_effects *fx)
{
    bool sync_over = ev->now_ms >= g->sync_deadline_ms, removed = false;

    list_each_safe(it, &g->pending)
    {
        struct group_pending *p = container_of(it, struct group_pending, link);

        if (p->deadline_ms <= ev->now_ms) pending_remove(g, p);
    }
    list_each_safe(it, &g->members)
    {
        struct group_member *m = container_of(it, struct group_member, link);

        if (!group_member_expired(m, ev->now_ms) && !(sync_over && m->sync_owed)) continue;
        group_member_drop(g, m, KAFKA_ERR_UNKNOWN_MEMBER_ID, fx);
        removed = true;
    }
    if (sync_over) g->sync_deadline_ms = UINT64_MAX;
    group_settle(g, removed, ev, fx);
    group_next_tick(g);
}

static bool group_invariant(const struct group *g)
{
    bool leader_here = g->leader.p && group_member(g, g->leader) != NULL;

    if (g->joined_n > g->members_n || g->by_id.n != g->members_n) return false;
    switch ((enum group_state)g->state) {
    case GROUP_EMPTY:
    case GROUP_DEAD: return g->members_n == 0;
    case GROUP_PREPARING: return true;
    case GROUP_COMPLETING:
    case GROUP_STABLE:
        return leader_here && g->members_n > 0 && g->joined_n == 0 && g->protocol.p &&
               g->generation > 0;
    }
    return false;
}

void group_step(struct group *g, const struct group_event *ev, struct group_effects *fx)
{
    switch (ev->kind) {
    case GROUP_EV_JOIN: group_on_join(g, ev, fx); break;
    case GROUP_EV_SYNC: on_sync(g, ev, fx); break;
    case GROUP_EV_HEARTBEAT: on_heartbeat(g, ev, fx); break;
    case GROUP_EV_LEAVE: on_leave(g, ev, fx); break;
    case GROUP_EV_COMMIT: on_commit(g, ev, fx); break;
    case GROUP_EV_DELETE: on_delete(g, ev, fx); break;
    case GROUP_EV_PERSIST_FAILED:
    case GROUP_EV_REBALANCE: on_rebalance(g, ev, fx); break;
    case GROUP_EV_EVICT: on_evict(g, ev, fx); break;
    case GROUP_EV_TICK: on_tick(g, ev, fx); break;
    }
    must(group_invariant(g));
}

size_t group_parked(const struct group *g)
{
    size_t n = 0;

    group_each_member(m, g) n += (m->join != NULL) + (m->sync != NULL);
    return n;
}

void group_init(struct group *g, struct str id, const struct group_config *config, int64_t wall_ms)
{
    *g = (struct group){.state = GROUP_EMPTY,
                        .config = config,
                        .since_ms = wall_ms,
                        .sync_deadline_ms = UINT64_MAX,
                        .tick_ms = UINT64_MAX};
    list_init(&g->members);
    list_init(&g->pending);
    group_set_str(g, &g->id, id);
}

void group_fini(struct group *g)
{
    if (!g->config) return;
    list_each_safe(it, &g->members)
    {
        struct group_member *m = container_of(it, struct group_member, link);

        m->join = m->sync = NULL;
        member_remove(g, m);
    }
    list_each_safe(it, &g->pending) pending_remove(g, container_of(it, struct group_pending, link));
    map_fini(&g->by_id);
    map_fini(&g->by_instance);
    map_fini(&g->supporters);
    map_fini(&g->pending_by_id);
    group_set_str(g, &g->protocol_type, (struct str){0});
    group_set_str(g, &g->protocol, (struct str){0});
    group_set_str(g, &g->leader, (struct str){0});
    group_set_str(g, &g->id, (struct str){0});
    *g = (struct group){0};
}

void group_restore(struct group *g, const struct group_snapshot *s, uint64_t now_ms)
{
    struct str protocol = s->protocol.p ? s->protocol : STR("");
    AUTO(arena_fini) struct arena scratch = {0};

    group_set_str(g, &g->protocol_type, s->protocol_type);
    g->generation = MAX(s->generation, 0);
    g->since_ms = s->since_ms;
    for (size_t i = 0; i < s->members_n; i++) {
        const struct group_snapshot_member *from = &s->members[i];
        struct group_protocol only = {protocol, from->subscription};
        const struct group_protocol *protocols = from->protocols ? from->protocols : &only;
        struct group_join j = {.instance_id = from->instance_id,
                               .client_id = from->client_id,
                               .client_host = from->client_host,
                               .protocols = protocols,
                               .protocols_n = from->protocols ? from->protocols_n : 1,
                               .session_timeout_ms = from->session_timeout_ms,
                               .rebalance_timeout_ms = from->rebalance_timeout_ms};
        struct group_member *m;

        if (group_member(g, from->id) || group_static_member(g, from->instance_id)) continue;
        m = member_add(g, from->id, &j);
        member_assign(g, m, from->assignment);
        group_session_restart(g, m, now_ms);
    }
    if (g->members_n == 0) return;
    group_set_str(g, &g->protocol, s->members[0].protocols ? group_vote(g, &scratch) : protocol);
    group_set_str(g, &g->leader, s->leader);
    if (!g->leader.p ||
        !group_member(g, g->leader)) /* a record like that is not ours, but it may be old */
        group_set_str(g, &g->leader, container_of(g->members.next, struct group_member, link)->id);
    g->generation = MAX(g->generation, 1);
    g->state = GROUP_STABLE;
}
