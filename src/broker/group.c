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
#include "broker/group_member.h"
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

enum {
    REBALANCE_WAIT_MS_MIN =
        100,            /* between two looks at who has come, whatever a member asked for */
    ID_NAME_MAX = 1024, /* bytes of the client's name in a member id */
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

/* ---- effects ---- */

static struct group_fx *fx_push(struct group_effects *fx, enum group_fx_kind kind, void *token,
                                int16_t error)
{
    struct group_fx *item;

    if (fx->n == fx->cap) {
        size_t cap = fx->cap ? 2 * fx->cap : 8;
        struct group_fx *items = arena_array(fx->arena, struct group_fx, cap);

        if (fx->n) memcpy(items, fx->items, fx->n * sizeof *items);
        fx->items = items;
        fx->cap = cap;
    }
    item = &fx->items[fx->n++];
    *item = (struct group_fx){.kind = kind, .token = token, .error = error};
    return item;
}

static void answer_join_error(struct group_effects *fx, void *token, int16_t error,
                              struct str member_id)
{
    struct group_fx *a = fx_push(fx, GROUP_FX_JOINED, token, error);

    a->joined.generation = -1;
    a->joined.member_id = arena_dup_str(fx->arena, member_id);
}

static void answer_join(const struct group *g, const struct group_member *m, void *token,
                        struct group_effects *fx)
{
    struct group_fx *a = fx_push(fx, GROUP_FX_JOINED, token, KAFKA_ERR_NONE);
    struct group_peer *peers;
    size_t n = 0;

    a->joined.generation = g->generation;
    a->joined.protocol_type = g->protocol_type;
    a->joined.protocol = g->protocol;
    a->joined.leader = g->leader;
    a->joined.member_id = m->id;
    if (!str_eq(g->leader, m->id)) return;

    peers = arena_array(fx->arena, struct group_peer, g->members_n);
    group_each_member(peer, g) peers[n++] =
        (struct group_peer){peer->id, peer->instance_id, group_metadata(g, peer)};
    a->joined.members = peers;
    a->joined.members_n = n;
}

static void answer_sync(const struct group *g, const struct group_member *m, void *token,
                        struct group_effects *fx)
{
    struct group_fx *a = fx_push(fx, GROUP_FX_SYNCED, token, KAFKA_ERR_NONE);

    a->synced.protocol_type = g->protocol_type;
    a->synced.protocol = g->protocol;
    a->synced.assignment = buf_view(&m->assignment);
}

/* ---- time ---- */

static uint64_t at_least_zero(int32_t ms)
{
    return ms > 0 ? (uint64_t)ms : 0;
}

static void want_tick(struct group *g, uint64_t at_ms)
{
    g->tick_ms = MIN(g->tick_ms, at_ms);
}

static void session_restart(struct group *g, struct group_member *m, uint64_t now_ms)
{
    m->deadline_ms = now_ms + at_least_zero(m->session_timeout_ms);
    want_tick(g, m->deadline_ms);
}

static bool member_expired(const struct group_member *m, uint64_t now_ms)
{
    return m->deadline_ms <= now_ms && (m->fresh || (!m->join && !m->sync));
}

static uint64_t rebalance_timeout_ms(const struct group *g)
{
    int32_t max = 0;

    group_each_member(m, g) max = MAX(max, m->rebalance_timeout_ms);
    return (uint64_t)max;
}

static void next_tick(struct group *g)
{
    g->tick_ms = UINT64_MAX;
    list_each(it, &g->pending)
        want_tick(g, container_of(it, struct group_pending, link)->deadline_ms);
    group_each_member(m, g) if (m->fresh || (!m->join && !m->sync)) want_tick(g, m->deadline_ms);
    if (g->state == GROUP_PREPARING) want_tick(g, g->join_deadline_ms);
    want_tick(g, g->sync_deadline_ms);
}

/* ---- parked requests ---- */

static void join_park(struct group *g, struct group_member *m, void *token,
                      struct group_effects *fx)
{
    if (m->join)
        answer_join_error(fx, m->join, KAFKA_ERR_REBALANCE_IN_PROGRESS, m->id); /* asked twice */
    else
        g->joined_n++;
    m->join = token;
}

static void join_unpark(struct group *g, struct group_member *m)
{
    m->join = NULL;
    g->joined_n--;
}

static void park_refuse(struct group *g, struct group_member *m, int16_t error,
                        struct group_effects *fx)
{
    if (m->join) {
        answer_join_error(fx, m->join, error, m->id);
        join_unpark(g, m);
    }
    if (m->sync) fx_push(fx, GROUP_FX_SYNCED, m->sync, error);
    m->sync = NULL;
}

static void syncs_refuse(struct group *g, int16_t error, uint64_t now_ms, struct group_effects *fx)
{
    group_each_member(m, g)
    {
        if (!m->sync) continue;
        fx_push(fx, GROUP_FX_SYNCED, m->sync, error);
        m->sync = NULL;
        session_restart(g, m, now_ms);
    }
}

static void member_drop(struct group *g, struct group_member *m, int16_t error,
                        struct group_effects *fx)
{
    park_refuse(g, m, error, fx);
    member_remove(g, m);
}

/* ---- rebalance ---- */

static void group_move(struct group *g, enum group_state to, int64_t wall_ms)
{
    sm_move(group_states, &g->state, to, "group.state", g->id);
    g->since_ms = wall_ms;
}

static void rebalance_start(struct group *g, const struct group_event *ev, struct group_effects *fx)
{
    g->initial = g->state == GROUP_EMPTY;
    g->joined_meanwhile = false;
    g->sync_deadline_ms = UINT64_MAX;
    if (g->state == GROUP_COMPLETING)
        syncs_refuse(g, KAFKA_ERR_REBALANCE_IN_PROGRESS, ev->now_ms, fx);
    group_each_member(m, g) m->sync_owed = false;
    group_move(g, GROUP_PREPARING, ev->wall_ms);

    g->join_since_ms = ev->now_ms;
    g->join_deadline_ms =
        ev->now_ms + (g->initial ? g->config->initial_rebalance_delay_ms : rebalance_timeout_ms(g));
    want_tick(g, g->join_deadline_ms);
}

/* The previous leader if it is here, else the oldest member that is. False: nobody is. */
static bool leader_elect(struct group *g)
{
    struct group_member *leader = g->leader.p ? group_member(g, g->leader) : NULL;

    if (leader && leader->join) return true;
    group_each_member(m, g)
    {
        if (!m->join) continue;
        group_set_str(g, &g->leader, m->id);
        return true;
    }
    return false;
}

/* Everybody who came is answered. A static member that did not come keeps its place, and its own session's end. */
static void generation_start(struct group *g, const struct group_event *ev,
                             struct group_effects *fx)
{
    group_set_str(g, &g->protocol, group_vote(g, fx->arena));
    group_move(g, GROUP_COMPLETING, ev->wall_ms);
    g->sync_deadline_ms = ev->now_ms + rebalance_timeout_ms(g);
    want_tick(g, g->sync_deadline_ms);
    group_each_member(m, g)
    {
        if (!m->join) continue;
        answer_join(g, m, m->join, fx);
        join_unpark(g, m);
        m->fresh = false;
        m->sync_owed = true;
        session_restart(g, m, ev->now_ms);
    }
}

static void rebalance_finish(struct group *g, const struct group_event *ev,
                             struct group_effects *fx)
{
    list_each_safe(it, &g->members)
    {
        struct group_member *m = container_of(it, struct group_member, link);

        if (!m->join && !m->instance_id.p) member_drop(g, m, KAFKA_ERR_UNKNOWN_MEMBER_ID, fx);
    }
    if (g->members_n &&
        !leader_elect(g)) { /* only static members, none of them here: go on waiting */
        g->join_deadline_ms =
            ev->now_ms + MAX(rebalance_timeout_ms(g), (uint64_t)REBALANCE_WAIT_MS_MIN);
        g->initial = false;
        want_tick(g, g->join_deadline_ms);
        return;
    }
    g->initial = false;
    g->generation = g->generation == INT32_MAX ? 1 : g->generation + 1;
    if (g->members_n) {
        generation_start(g, ev, fx);
        return;
    }
    group_set_str(g, &g->protocol, (struct str){0});
    group_move(g, GROUP_EMPTY, ev->wall_ms);
    fx_push(fx, GROUP_FX_PERSIST, NULL, KAFKA_ERR_NONE);
}

/* The delay after EMPTY ends when it runs out, unless somebody came meanwhile; without it everybody must be here. */
static bool rebalance_is_over(struct group *g, uint64_t now_ms)
{
    uint64_t limit_ms = g->join_since_ms + rebalance_timeout_ms(g);

    if (g->members_n == 0) return list_empty(&g->pending) || now_ms >= g->join_deadline_ms;
    if (!g->initial)
        return (g->joined_n == g->members_n && list_empty(&g->pending)) ||
               now_ms >= g->join_deadline_ms;
    if (now_ms < g->join_deadline_ms) return false;
    if (!g->joined_meanwhile || g->config->initial_rebalance_delay_ms == 0 || now_ms >= limit_ms)
        return true;

    g->joined_meanwhile = false;
    g->join_deadline_ms = MIN(now_ms + g->config->initial_rebalance_delay_ms, limit_ms);
    want_tick(g, g->join_deadline_ms);
    return false;
}

/* Draws the consequence of what a step has changed: `rebalance` says that members came, went or changed. */
static void settle(struct group *g, bool rebalance, const struct group_event *ev,
                   struct group_effects *fx)
{
    if (rebalance && (g->state == GROUP_STABLE || g->state == GROUP_COMPLETING ||
                      (g->state == GROUP_EMPTY && g->members_n)))
        rebalance_start(g, ev, fx);
    if (g->state == GROUP_PREPARING && rebalance_is_over(g, ev->now_ms))
        rebalance_finish(g, ev, fx);
}

/* ---- JoinGroup ---- */

static struct group_member *static_member(const struct group *g, struct str instance_id)
{
    return instance_id.p ? map_get_str(&g->by_instance, instance_id) : NULL;
}

static bool has_room(const struct group *g, const struct group_member *m,
                     const struct group_join *j)
{
    size_t waiting = g->state == GROUP_PREPARING ? g->joined_n : g->members_n;

    if (g->bytes + group_join_bytes(j) > g->config->bytes_max) return false;
    if (g->state == GROUP_EMPTY || (m && (g->state != GROUP_PREPARING || m->join))) return true;
    return waiting < g->config->members_max;
}

/* The name's end is left out where the id would not fit a record's string. */
static struct str id_make(const struct group_join *j, struct arena *a)
{
    struct str name = j->instance_id.p ? j->instance_id : j->client_id;

    if (name.n > ID_NAME_MAX)
        for (name.n = ID_NAME_MAX; name.n && ((uint8_t)name.p[name.n] & 0xc0) == 0x80;)
            name.n--;
    return arena_printf(a, STR_FMT "-" STR_FMT, STR_ARG(name), STR_ARG(j->uuid));
}

static void join_admit(struct group *g, struct str id, const struct group_event *ev,
                       struct group_effects *fx)
{
    const struct group_join *j = &ev->join;
    struct group_pending *p = pending_find(g, id);
    struct group_member *m;

    if (p) pending_remove(g, p);
    if (g->members_n == 0) group_set_str(g, &g->protocol_type, j->protocol_type);
    if (g->state == GROUP_PREPARING && g->initial) g->joined_meanwhile = true;
    m = member_add(g, id, j);
    if (!g->leader.p) group_set_str(g, &g->leader, m->id);
    m->fresh = true;
    m->deadline_ms = ev->now_ms + g->config->fresh_member_timeout_ms;
    want_tick(g, m->deadline_ms);
    join_park(g, m, ev->token, fx);
    settle(g, true, ev, fx);
}

static void join_again(struct group *g, struct group_member *m, const struct group_event *ev,
                       struct group_effects *fx)
{
    member_update(g, m, &ev->join);
    join_park(g, m, ev->token, fx);
    settle(g, true, ev, fx);
}

/* A static member is back without its id: it gets a new one and its old place. */
static void join_replace(struct group *g, struct group_member *m, const struct group_event *ev,
                         struct group_effects *fx)
{
    struct str leader = arena_dup_str(fx->arena, g->leader);
    struct group_fx *a;

    park_refuse(g, m, KAFKA_ERR_FENCED_INSTANCE_ID, fx);
    member_rename(g, m, id_make(&ev->join, fx->arena));
    member_update(g, m, &ev->join);
    m->fresh = false;
    session_restart(g, m, ev->now_ms);
    if (g->state != GROUP_STABLE || !str_eq(group_vote(g, fx->arena), g->protocol)) {
        join_park(g, m, ev->token, fx);
        settle(g, true, ev, fx);
        return;
    }
    fx_push(fx, GROUP_FX_PERSIST, NULL, KAFKA_ERR_NONE);
    answer_join(g, m, ev->token, fx);
    a = &fx->items[fx->n - 1];
    if (ev->join.can_skip_assignment) {
        a->joined.skip_assignment = a->joined.members_n > 0;
    } else { /* an old client that believed itself the leader would assign */
        a->joined.leader = leader;
        a->joined.members = NULL;
        a->joined.members_n = 0;
    }
}

static void join_without_id(struct group *g, const struct group_event *ev, struct group_effects *fx)
{
    const struct group_join *j = &ev->join;
    struct group_member *m = static_member(g, j->instance_id);
    struct str id;

    if (m) {
        join_replace(g, m, ev, fx);
        return;
    }
    id = id_make(j, fx->arena);
    if (j->instance_id.p || !j->id_required) {
        join_admit(g, id, ev, fx);
        return;
    }
    if (g->pending_by_id.n >= GROUP_PENDING_MAX) {
        answer_join_error(fx, ev->token, KAFKA_ERR_GROUP_MAX_SIZE_REACHED, j->member_id);
        return;
    }
    struct group_pending *p = pending_add(g, id);
    p->deadline_ms = ev->now_ms + at_least_zero(j->session_timeout_ms);
    want_tick(g, p->deadline_ms);
    answer_join_error(fx, ev->token, KAFKA_ERR_MEMBER_ID_REQUIRED, id);
}

static void join_with_id(struct group *g, struct group_member *m, const struct group_event *ev,
                         struct group_effects *fx)
{
    bool same = member_matches(m, &ev->join), leads = str_eq(g->leader, m->id);

    if ((g->state == GROUP_COMPLETING && same) || (g->state == GROUP_STABLE && same && !leads)) {
        session_restart(g, m, ev->now_ms);
        answer_join(g, m, ev->token, fx);
        return;
    }
    join_again(g, m, ev, fx);
}

static void on_join(struct group *g, const struct group_event *ev, struct group_effects *fx)
{
    const struct group_join *j = &ev->join;
    struct group_member *m =
        j->member_id.n ? group_member(g, j->member_id) : static_member(g, j->instance_id);
    struct group_pending *p = j->member_id.n ? pending_find(g, j->member_id) : NULL;
    int16_t error = KAFKA_ERR_NONE;

    if (g->state == GROUP_DEAD)
        error = KAFKA_ERR_COORDINATOR_NOT_AVAILABLE;
    else if (!has_room(g, m, j))
        error = KAFKA_ERR_GROUP_MAX_SIZE_REACHED;
    else if (!group_supports(g, j))
        error = KAFKA_ERR_INCONSISTENT_GROUP_PROTOCOL;
    else if (j->member_id.n && !p)
        m = member_of(g, j->member_id, j->instance_id, &error);

    if (error == KAFKA_ERR_GROUP_MAX_SIZE_REACHED && p) pending_remove(g, p);
    if (error) {
        answer_join_error(fx, ev->token, error, j->member_id);
        settle(g, false, ev, fx);
        return;
    }
    if (j->member_id.n == 0)
        join_without_id(g, ev, fx);
    else if (p)
        join_admit(g, arena_dup_str(fx->arena, j->member_id), ev, fx);
    else
        join_with_id(g, m, ev, fx);
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
        answer_sync(g, m, m->sync, fx);
        m->sync = NULL;
        session_restart(g, m, now_ms);
    }
}

static void sync_completing(struct group *g, struct group_member *m, const struct group_event *ev,
                            struct group_effects *fx)
{
    m->sync_owed = false;
    if (m->sync)
        fx_push(fx, GROUP_FX_SYNCED, m->sync, KAFKA_ERR_REBALANCE_IN_PROGRESS); /* asked twice */
    m->sync = ev->token;
    if (!str_eq(g->leader, m->id)) return;

    assign_all(g, &ev->sync);
    group_move(g, GROUP_STABLE, ev->wall_ms);
    fx_push(fx, GROUP_FX_PERSIST, NULL, KAFKA_ERR_NONE);
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
        fx_push(fx, GROUP_FX_SYNCED, ev->token, error);
    } else if (g->state == GROUP_COMPLETING) {
        sync_completing(g, m, ev, fx);
    } else {
        must(g->state == GROUP_STABLE);
        m->sync_owed = false;
        session_restart(g, m, ev->now_ms);
        answer_sync(g, m, ev->token, fx);
    }
}

/* ---- Heartbeat, OffsetCommit, LeaveGroup ---- */

static void on_heartbeat(struct group *g, const struct group_event *ev, struct group_effects *fx)
{
    int16_t error;
    struct group_member *m = member_of(g, ev->beat.member_id, ev->beat.instance_id, &error);

    if (m && ev->beat.generation != g->generation) error = KAFKA_ERR_ILLEGAL_GENERATION;
    if (!error) {
        if (!m->fresh) session_restart(g, m, ev->now_ms);
        if (g->state == GROUP_PREPARING) error = KAFKA_ERR_REBALANCE_IN_PROGRESS;
    }
    fx_push(fx, GROUP_FX_DONE, ev->token, error);
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
        session_restart(g, m, ev->now_ms);
    fx_push(fx, GROUP_FX_DONE, ev->token, error);
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
        m = static_member(g, l->instance_id);
    else
        m = member_of(g, l->member_id, l->instance_id, &error);
    if (!m) return error ? error : KAFKA_ERR_UNKNOWN_MEMBER_ID;

    member_drop(g, m, KAFKA_ERR_UNKNOWN_MEMBER_ID, fx);
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
    a = fx_push(fx, GROUP_FX_DONE, ev->token, KAFKA_ERR_NONE);
    a->done.errors = errors;
    a->done.n = ev->leave.n;
    settle(g, removed, ev, fx);
}

/* ---- the rest ---- */

static void on_evict(struct group *g, const struct group_event *ev, struct group_effects *fx)
{
    group_each_member(m, g)
    {
        bool waits = m->join || m->sync;

        park_refuse(g, m, KAFKA_ERR_NOT_COORDINATOR, fx);
        if (waits) session_restart(g, m, ev->now_ms);
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
    if (ev->token) fx_push(fx, GROUP_FX_DONE, ev->token, error);
}

static void on_persist_failed(struct group *g, const struct group_event *ev,
                              struct group_effects *fx)
{
    if (g->state == GROUP_STABLE) settle(g, true, ev, fx);
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

        if (!member_expired(m, ev->now_ms) && !(sync_over && m->sync_owed)) continue;
        member_drop(g, m, KAFKA_ERR_UNKNOWN_MEMBER_ID, fx);
        removed = true;
    }
    if (sync_over) g->sync_deadline_ms = UINT64_MAX;
    settle(g, removed, ev, fx);
    next_tick(g);
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
    case GROUP_EV_JOIN: on_join(g, ev, fx); break;
    case GROUP_EV_SYNC: on_sync(g, ev, fx); break;
    case GROUP_EV_HEARTBEAT: on_heartbeat(g, ev, fx); break;
    case GROUP_EV_LEAVE: on_leave(g, ev, fx); break;
    case GROUP_EV_COMMIT: on_commit(g, ev, fx); break;
    case GROUP_EV_DELETE: on_delete(g, ev, fx); break;
    case GROUP_EV_PERSIST_FAILED: on_persist_failed(g, ev, fx); break;
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

    group_set_str(g, &g->protocol_type, s->protocol_type);
    g->generation = MAX(s->generation, 0);
    g->since_ms = s->since_ms;
    for (size_t i = 0; i < s->members_n; i++) {
        const struct group_snapshot_member *from = &s->members[i];
        struct group_protocol only = {protocol, from->subscription};
        struct group_join j = {.instance_id = from->instance_id,
                               .client_id = from->client_id,
                               .client_host = from->client_host,
                               .protocols = &only,
                               .protocols_n = 1,
                               .session_timeout_ms = from->session_timeout_ms,
                               .rebalance_timeout_ms = from->rebalance_timeout_ms};
        struct group_member *m;

        if (group_member(g, from->id) || static_member(g, from->instance_id)) continue;
        m = member_add(g, from->id, &j);
        member_assign(g, m, from->assignment);
        session_restart(g, m, now_ms);
    }
    if (g->members_n == 0) return;
    group_set_str(g, &g->protocol, protocol);
    group_set_str(g, &g->leader, s->leader);
    if (!g->leader.p ||
        !group_member(g, g->leader)) /* a record like that is not ours, but it may be old */
        group_set_str(g, &g->leader, container_of(g->members.next, struct group_member, link)->id);
    g->generation = MAX(g->generation, 1);
    g->state = GROUP_STABLE;
}
