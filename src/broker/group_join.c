/* JoinGroup: who may come in, under which id, and whether that makes the others rejoin. SPDX-License-Identifier: Apache-2.0 */
#include "broker/group_core.h"
#include "kafka/errors.h"

enum { ID_NAME_MAX = 1024 }; /* bytes of the client's name in a member id */

/* ---- JoinGroup ---- */

struct group_member *group_static_member(const struct group *g, struct str instance_id)
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
    group_want_tick(g, m->deadline_ms);
    group_join_park(g, m, ev->token, fx);
    group_settle(g, true, ev, fx);
}

static void join_again(struct group *g, struct group_member *m, const struct group_event *ev,
                       struct group_effects *fx)
{
    member_update(g, m, &ev->join);
    group_join_park(g, m, ev->token, fx);
    group_settle(g, true, ev, fx);
}

/* A static member is back without its id: it gets a new one and its old place. */
static void join_replace(struct group *g, struct group_member *m, const struct group_event *ev,
                         struct group_effects *fx)
{
    struct str leader = arena_dup_str(fx->arena, g->leader);
    struct group_fx *a;

    group_park_refuse(g, m, KAFKA_ERR_FENCED_INSTANCE_ID, fx);
    member_rename(g, m, id_make(&ev->join, fx->arena));
    member_update(g, m, &ev->join);
    m->fresh = false;
    group_session_restart(g, m, ev->now_ms);
    if (g->state != GROUP_STABLE || !str_eq(group_vote(g, fx->arena), g->protocol)) {
        group_join_park(g, m, ev->token, fx);
        group_settle(g, true, ev, fx);
        return;
    }
    group_fx_push(fx, GROUP_FX_PERSIST, NULL, KAFKA_ERR_NONE);
    group_answer_join(g, m, ev->token, fx);
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
    struct group_member *m = group_static_member(g, j->instance_id);
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
        group_answer_join_error(fx, ev->token, KAFKA_ERR_GROUP_MAX_SIZE_REACHED, j->member_id);
        return;
    }
    struct group_pending *p = pending_add(g, id);
    p->deadline_ms = ev->now_ms + group_ms(j->session_timeout_ms);
    group_want_tick(g, p->deadline_ms);
    group_answer_join_error(fx, ev->token, KAFKA_ERR_MEMBER_ID_REQUIRED, id);
}

static void join_with_id(struct group *g, struct group_member *m, const struct group_event *ev,
                         struct group_effects *fx)
{
    bool same = member_matches(m, &ev->join), leads = str_eq(g->leader, m->id);

    if ((g->state == GROUP_COMPLETING && same) || (g->state == GROUP_STABLE && same && !leads)) {
        group_session_restart(g, m, ev->now_ms);
        group_answer_join(g, m, ev->token, fx);
        return;
    }
    join_again(g, m, ev, fx);
}

void group_on_join(struct group *g, const struct group_event *ev, struct group_effects *fx)
{
    const struct group_join *j = &ev->join;
    struct group_member *m =
        j->member_id.n ? group_member(g, j->member_id) : group_static_member(g, j->instance_id);
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
        group_answer_join_error(fx, ev->token, error, j->member_id);
        group_settle(g, false, ev, fx);
        return;
    }
    if (j->member_id.n == 0)
        join_without_id(g, ev, fx);
    else if (p)
        join_admit(g, arena_dup_str(fx->arena, j->member_id), ev, fx);
    else
        join_with_id(g, m, ev, fx);
}
