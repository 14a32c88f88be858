/* SPDX-License-Identifier: Apache-2.0
 *
 * Who waits, until when, and what follows: the answers of the classic group's state machine, its timers, and a
 * rebalance from its start to its end. The story is told in group.c.
 */
#include "broker/group_core.h"
#include "kafka/errors.h"

enum {
    REBALANCE_WAIT_MS_MIN = 100
}; /* between two looks at who has come, whatever was asked for */

/* ---- effects ---- */

struct group_fx *group_fx_push(struct group_effects *fx, enum group_fx_kind kind, void *token,
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

void group_answer_join_error(struct group_effects *fx, void *token, int16_t error,
                             struct str member_id)
{
    struct group_fx *a = group_fx_push(fx, GROUP_FX_JOINED, token, error);

    a->joined.generation = -1;
    a->joined.member_id = arena_dup_str(fx->arena, member_id);
}

void group_answer_join(const struct group *g, const struct group_member *m, void *token,
                       struct group_effects *fx)
{
    struct group_fx *a = group_fx_push(fx, GROUP_FX_JOINED, token, KAFKA_ERR_NONE);
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

void group_answer_sync(const struct group *g, const struct group_member *m, void *token,
                       struct group_effects *fx)
{
    struct group_fx *a = group_fx_push(fx, GROUP_FX_SYNCED, token, KAFKA_ERR_NONE);

    a->synced.protocol_type = g->protocol_type;
    a->synced.protocol = g->protocol;
    a->synced.assignment = buf_view(&m->assignment);
}

/* ---- time ---- */

void group_want_tick(struct group *g, uint64_t at_ms)
{
    g->tick_ms = MIN(g->tick_ms, at_ms);
}

void group_session_restart(struct group *g, struct group_member *m, uint64_t now_ms)
{
    m->deadline_ms = now_ms + group_ms(m->session_timeout_ms);
    group_want_tick(g, m->deadline_ms);
}

bool group_member_expired(const struct group_member *m, uint64_t now_ms)
{
    return m->deadline_ms <= now_ms && (m->fresh || (!m->join && !m->sync));
}

static uint64_t rebalance_timeout_ms(const struct group *g)
{
    int32_t max = 0;

    group_each_member(m, g) max = MAX(max, m->rebalance_timeout_ms);
    return (uint64_t)max;
}

void group_next_tick(struct group *g)
{
    g->tick_ms = UINT64_MAX;
    list_each(it, &g->pending)
        group_want_tick(g, container_of(it, struct group_pending, link)->deadline_ms);
    group_each_member(m, g) if (m->fresh || (!m->join && !m->sync))
        group_want_tick(g, m->deadline_ms);
    if (g->state == GROUP_PREPARING) group_want_tick(g, g->join_deadline_ms);
    group_want_tick(g, g->sync_deadline_ms);
}

/* ---- parked requests ---- */

void group_join_park(struct group *g, struct group_member *m, void *token, struct group_effects *fx)
{
    if (m->join)
        group_answer_join_error(fx, m->join, KAFKA_ERR_REBALANCE_IN_PROGRESS,
                                m->id); /* asked twice */
    else
        g->joined_n++;
    m->join = token;
}

static void join_unpark(struct group *g, struct group_member *m)
{
    m->join = NULL;
    g->joined_n--;
}

void group_park_refuse(struct group *g, struct group_member *m, int16_t error,
                       struct group_effects *fx)
{
    if (m->join) {
        group_answer_join_error(fx, m->join, error,
                                error == KAFKA_ERR_UNKNOWN_MEMBER_ID ? STR("") : m->id);
        join_unpark(g, m);
    }
    if (m->sync) group_fx_push(fx, GROUP_FX_SYNCED, m->sync, error);
    m->sync = NULL;
}

static void syncs_refuse(struct group *g, int16_t error, uint64_t now_ms, struct group_effects *fx)
{
    group_each_member(m, g)
    {
        if (!m->sync) continue;
        group_fx_push(fx, GROUP_FX_SYNCED, m->sync, error);
        m->sync = NULL;
        group_session_restart(g, m, now_ms);
    }
}

void group_member_drop(struct group *g, struct group_member *m, int16_t error,
                       struct group_effects *fx)
{
    group_park_refuse(g, m, error, fx);
    member_remove(g, m);
}

/* ---- rebalance ---- */

void group_move(struct group *g, enum group_state to, int64_t wall_ms)
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
    group_want_tick(g, g->join_deadline_ms);
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
    group_want_tick(g, g->sync_deadline_ms);
    group_each_member(m, g)
    {
        if (!m->join) continue;
        group_answer_join(g, m, m->join, fx);
        join_unpark(g, m);
        m->fresh = false;
        m->sync_owed = true;
        group_session_restart(g, m, ev->now_ms);
    }
}

static void rebalance_finish(struct group *g, const struct group_event *ev,
                             struct group_effects *fx)
{
    list_each_safe(it, &g->members)
    {
        struct group_member *m = container_of(it, struct group_member, link);

        if (!m->join && !m->instance_id.p) group_member_drop(g, m, KAFKA_ERR_UNKNOWN_MEMBER_ID, fx);
    }
    if (g->members_n &&
        !leader_elect(g)) { /* only static members, none of them here: go on waiting */
        g->join_deadline_ms =
            ev->now_ms + MAX(rebalance_timeout_ms(g), (uint64_t)REBALANCE_WAIT_MS_MIN);
        g->initial = false;
        group_want_tick(g, g->join_deadline_ms);
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
    group_fx_push(fx, GROUP_FX_PERSIST, NULL, KAFKA_ERR_NONE);
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
    group_want_tick(g, g->join_deadline_ms);
    return false;
}

void group_settle(struct group *g, bool rebalance, const struct group_event *ev,
                  struct group_effects *fx)
{
    if (rebalance && (g->state == GROUP_STABLE || g->state == GROUP_COMPLETING ||
                      (g->state == GROUP_EMPTY && g->members_n)))
        rebalance_start(g, ev, fx);
    if (g->state == GROUP_PREPARING && rebalance_is_over(g, ev->now_ms))
        rebalance_finish(g, ev, fx);
}
