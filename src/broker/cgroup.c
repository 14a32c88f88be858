/* SPDX-License-Identifier: Apache-2.0
 *
 * A heartbeat, from its member's side: "this is who I am, what I want, what I own, and the epoch I am in". Who comes in
 * epoch 0 joins (or has lost everything and begins again). Then: did the member or the topics change? The group's epoch
 * grows. Is the target older than the group's epoch? It is made anew. Is the member not where the target wants it? It
 * takes the next step towards it (reconcile), which is the heart of the protocol:
 *
 *     STABLE ── target takes something away ─▶ UNREVOKED ── the member says it has let go ─▶ STABLE or UNRELEASED
 *        └──── something it shall get is still another's ─▶ UNRELEASED ── it is free ─▶ STABLE
 *
 * A member stays in its old epoch until it has let go; commits in its epoch are good all the while.
 *
 * Time heals: who is silent for the session timeout, or does not let go within its rebalance timeout, is out, and what it
 * owned is free.
 */
#include "broker/cgroup_core.h"
#include "kafka/errors.h"

const struct sm_state cgroup_member_states[] = {
    [0] = {"unknown", 0},
    [CGROUP_MEMBER_STABLE] = {"stable", 1u << CGROUP_MEMBER_UNREVOKED |
                                            1u << CGROUP_MEMBER_UNRELEASED |
                                            1u << CGROUP_MEMBER_STABLE},
    [CGROUP_MEMBER_UNREVOKED] = {"unrevoked", 1u << CGROUP_MEMBER_STABLE |
                                                  1u << CGROUP_MEMBER_UNRELEASED |
                                                  1u << CGROUP_MEMBER_UNREVOKED},
    [CGROUP_MEMBER_UNRELEASED] = {"unreleased", 1u << CGROUP_MEMBER_STABLE |
                                                    1u << CGROUP_MEMBER_UNREVOKED |
                                                    1u << CGROUP_MEMBER_UNRELEASED},
};

const struct cgroup_config cgroup_config_default = {
    .session_timeout_ms = 45000,
    .heartbeat_interval_ms = 5000,
    .members_max = INT32_MAX,
    .bytes_max = 64u << 20,
    .assignor = {"uniform", 7},
    .uniform = true,
    .range = true,
    .upgrade = true,
    .downgrade = true,
    .classic_max = INT32_MAX,
};

const char *cgroup_state_name(enum cgroup_state state)
{
    static const char *const names[] = {
        [CGROUP_EMPTY] = "Empty",
        [CGROUP_ASSIGNING] = "Assigning",
        [CGROUP_RECONCILING] = "Reconciling",
        [CGROUP_STABLE] = "Stable",
    };
    return names[state];
}

enum cgroup_state cgroup_state(const struct cgroup *g)
{
    if (g->members_n == 0) return CGROUP_EMPTY;
    if (g->epoch > g->target_epoch) return CGROUP_ASSIGNING;
    cgroup_each_member(m, g) if (m->state != CGROUP_MEMBER_STABLE ||
                                 m->epoch != g->target_epoch) return CGROUP_RECONCILING;
    return CGROUP_STABLE;
}

/* ---- what is a request at all ---- */

static int16_t refuse(struct str *ret_why, int16_t error, struct str why)
{
    *ret_why = why;
    return error;
}

static bool is_empty(struct str s)
{
    return s.p && s.n == 0;
}

static int16_t check_join(const struct cgroup_beat *q, struct str *ret_why)
{
    if (q->rebalance_timeout_ms == -1)
        return refuse(ret_why, KAFKA_ERR_INVALID_REQUEST,
                      STR("a member that joins must say its rebalance timeout"));
    if (!q->owned || q->owned->n)
        return refuse(ret_why, KAFKA_ERR_INVALID_REQUEST,
                      STR("a member that joins must say that it owns nothing"));
    if (q->topics_null && !q->pattern.p)
        return refuse(ret_why, KAFKA_ERR_INVALID_REQUEST,
                      STR("a member that joins must say what it subscribes to"));
    return KAFKA_ERR_NONE;
}

static int16_t check_assignor(const struct cgroup_beat *q, const struct cgroup_config *config,
                              struct arena *a, struct str *ret_why)
{
    if (!q->assignor.p || (config->uniform && str_is(q->assignor, "uniform")) ||
        (config->range && str_is(q->assignor, "range")))
        return KAFKA_ERR_NONE;
    *ret_why =
        arena_printf(a, "assignor " STR_FMT " is not offered; there is:%s%s", STR_ARG(q->assignor),
                     config->uniform ? " uniform" : "", config->range ? " range" : "");
    return KAFKA_ERR_UNSUPPORTED_ASSIGNOR;
}

static int16_t check_pattern(const struct cgroup_beat *q, struct arena *a, struct str *ret_why)
{
    struct pattern *p;
    struct err e;

    if (!q->pattern.n) return KAFKA_ERR_NONE;
    if (pattern_new(q->pattern, &p, &e)) {
        *ret_why = arena_printf(a, "regular expression: %s", e.text);
        return KAFKA_ERR_INVALID_REGULAR_EXPRESSION;
    }
    pattern_free(p);
    return KAFKA_ERR_NONE;
}

int16_t cgroup_beat_check(const struct cgroup_beat *q, const struct cgroup_config *config,
                          bool ids_made, struct arena *a, struct str *ret_why)
{
    int16_t error = KAFKA_ERR_NONE;

    *ret_why = (struct str){0};
    if (q->member_id.n == 0 && (ids_made || q->epoch != CGROUP_EPOCH_JOIN))
        return refuse(ret_why, KAFKA_ERR_INVALID_REQUEST, STR("the member id is empty"));
    if (is_empty(q->instance_id) || is_empty(q->rack_id))
        return refuse(ret_why, KAFKA_ERR_INVALID_REQUEST,
                      STR("an instance id or rack id must be null or not empty"));
    if (q->epoch < CGROUP_EPOCH_LEAVE_FOR_NOW)
        return refuse(ret_why, KAFKA_ERR_INVALID_REQUEST, STR("there is no such member epoch"));
    if (q->epoch == CGROUP_EPOCH_LEAVE_FOR_NOW && !q->instance_id.p)
        return refuse(ret_why, KAFKA_ERR_INVALID_REQUEST,
                      STR("only a static member leaves for now: the instance id is null"));
    if (q->topics_n > CGROUP_TOPICS_MAX)
        return refuse(ret_why, KAFKA_ERR_INVALID_REQUEST, STR("too many topics"));
    if (q->epoch == CGROUP_EPOCH_JOIN) error = check_join(q, ret_why);
    if (!error) error = check_assignor(q, config, a, ret_why);
    if (!error) error = check_pattern(q, a, ret_why);
    return error;
}

/* ---- time ---- */

void cgroup_want_tick(struct cgroup *g, uint64_t at_ms)
{
    g->tick_ms = MIN(g->tick_ms, at_ms);
}

void cgroup_session_restart(struct cgroup *g, struct cgroup_member *m, uint64_t now_ms)
{
    m->session_deadline_ms = now_ms + group_ms(m->classic ? m->classic->session_timeout_ms
                                                          : g->config->session_timeout_ms);
    cgroup_want_tick(g, m->session_deadline_ms);
}

void cgroup_grow(struct cgroup *g)
{
    g->epoch++;
    g->dirty_epoch = true;
}

void cgroup_member_leave(struct cgroup *g, struct cgroup_member *m)
{
    cgroup_member_remove(g, m);
    g->topics_version = 0;
    if (!cgroup_wants_downgrade(g))
        cgroup_grow(g); /* else the classic group's next generation does */
}

static uint64_t deadline_of(const struct cgroup_member *m)
{
    uint64_t at_ms = MIN(m->session_deadline_ms, m->revoke_deadline_ms);

    if (!m->classic) return at_ms;
    at_ms = MIN(at_ms, m->classic->join_deadline_ms);
    return MIN(at_ms, m->classic->sync_deadline_ms);
}

void cgroup_tick(struct cgroup *g, uint64_t now_ms)
{
    g->tick_ms = UINT64_MAX;
    list_each_safe(it, &g->members)
    {
        struct cgroup_member *m = container_of(it, struct cgroup_member, link);

        if (deadline_of(m) <= now_ms)
            cgroup_member_leave(g, m);
        else
            cgroup_want_tick(g, deadline_of(m));
    }
}

/* ---- one member's next step ---- */

static void member_move(struct cgroup *g, struct cgroup_member *m, enum cgroup_member_state to,
                        int32_t epoch, uint64_t now_ms)
{
    sm_move(cgroup_member_states, &m->state, to, "group.member", m->id);
    m->previous_epoch = m->epoch;
    m->epoch = epoch;
    m->revoke_deadline_ms = UINT64_MAX;
    if (to == CGROUP_MEMBER_UNREVOKED) {
        m->revoke_deadline_ms = now_ms + (uint64_t)MAX(m->rebalance_timeout_ms, 0);
        cgroup_want_tick(g, m->revoke_deadline_ms);
    }
    cgroup_mark(g, m, CGROUP_DIRTY_CURRENT);
    cgroup_member_account(g, m);
}

/* What nobody owns of `want`. */
static void free_of(const struct cgroup *g, const struct parts *want, struct parts *ret)
{
    parts_clear(ret);
    for (size_t i = 0; i < want->n; i++)
        if (!map_get(&g->owners, part_key(&want->p[i]))) parts_push(ret, want->p[i]);
}

static void take_what_is_free(struct cgroup *g, struct cgroup_member *m, const struct parts *want,
                              uint64_t now_ms)
{
    struct parts got = {0};
    enum cgroup_member_state to;

    free_of(g, want, &got);
    cgroup_own(g, m, &got);
    parts_join(&m->owned, &got);
    to = got.n == want->n ? CGROUP_MEMBER_STABLE : CGROUP_MEMBER_UNRELEASED;
    if (to != m->state || got.n || m->epoch != g->target_epoch)
        member_move(g, m, to, g->target_epoch, now_ms);
    parts_fini(&got);
}

static void step_to_target(struct cgroup *g, struct cgroup_member *m, const struct parts *owned,
                           uint64_t now_ms)
{
    struct parts kept = {0}, lost = {0}, want = {0};

    parts_both(&m->owned, &m->target, &kept);
    parts_without(&m->owned, &kept, &lost);
    parts_without(&m->target, &kept, &want);
    parts_copy(&m->owned, &kept);
    if (lost.n && (!owned || parts_meet(&lost, owned))) {
        parts_copy(&m->revoking, &lost);
        member_move(g, m, CGROUP_MEMBER_UNREVOKED, m->epoch, now_ms);
    } else {
        cgroup_disown(g, m, &lost);
        if (lost.n) cgroup_mark(g, m, CGROUP_DIRTY_CURRENT);
        take_what_is_free(g, m, &want, now_ms);
    }
    parts_fini(&kept);
    parts_fini(&lost);
    parts_fini(&want);
}

static void reconcile(struct cgroup *g, struct cgroup_member *m, const struct parts *owned,
                      uint64_t now_ms)
{
    switch ((enum cgroup_member_state)m->state) {
    case CGROUP_MEMBER_STABLE:
        if (m->epoch != g->target_epoch) step_to_target(g, m, owned, now_ms);
        return;
    case CGROUP_MEMBER_UNREVOKED:
        if (!owned || parts_meet(&m->revoking, owned)) return;
        cgroup_disown(g, m, &m->revoking);
        parts_clear(&m->revoking);
        cgroup_mark(g, m, CGROUP_DIRTY_CURRENT);
        step_to_target(g, m, owned, now_ms);
        return;
    case CGROUP_MEMBER_UNRELEASED: step_to_target(g, m, owned, now_ms); return;
    }
}

/* It owns nothing any more, says the member; what it shall own stays its. */
void cgroup_begin_again(struct cgroup *g, struct cgroup_member *m)
{
    cgroup_disown(g, m, &m->revoking);
    parts_clear(&m->revoking);
    m->state = CGROUP_MEMBER_STABLE;
    m->epoch = m->previous_epoch = 0;
    m->revoke_deadline_ms = UINT64_MAX;
    cgroup_mark(g, m, CGROUP_DIRTY_CURRENT);
}

/* ---- who is it? ---- */

static int16_t check_epoch(const struct cgroup_member *m, const struct cgroup_beat *q)
{
    if (q->epoch > m->epoch) return KAFKA_ERR_FENCED_MEMBER_EPOCH;
    if (q->epoch == m->epoch) return KAFKA_ERR_NONE;
    /* The answer that told it the newer epoch may have been lost. */
    if (q->epoch == m->previous_epoch && q->owned && parts_within(q->owned, &m->owned))
        return KAFKA_ERR_NONE;
    return KAFKA_ERR_FENCED_MEMBER_EPOCH;
}

static int16_t find(struct cgroup *g, const struct cgroup_beat *q, struct cgroup_member **ret)
{
    struct cgroup_member *m = cgroup_member(g, q->member_id), *holder = NULL;

    *ret = m;
    if (q->instance_id.p) {
        holder = map_get_str(&g->by_instance, q->instance_id);
        if (!holder) return KAFKA_ERR_UNKNOWN_MEMBER_ID;
        if (holder != m) return KAFKA_ERR_FENCED_INSTANCE_ID;
    }
    return m ? KAFKA_ERR_NONE : KAFKA_ERR_UNKNOWN_MEMBER_ID;
}

static bool has_room(const struct cgroup *g, const struct cgroup_beat *q, bool is_new)
{
    bool grows = is_new || q->topics_n || q->pattern.n;

    if (grows && g->bytes + cgroup_beat_bytes(q) > g->config->bytes_max) return false;
    return !is_new || g->members_n < g->config->members_max;
}

/* Epoch 0: new, a static one that is back, or one that has not heard our answer to that. Who was told of a later epoch must
 * leave, or be thought dead, before it may begin again: it may still own something. *ret_new: the group has one more now. */
static int16_t join(struct cgroup *g, const struct cgroup_beat *q, struct cgroup_member **ret,
                    bool *ret_new)
{
    struct cgroup_member *m = cgroup_member(g, q->member_id);
    struct cgroup_member *holder =
        q->instance_id.p ? map_get_str(&g->by_instance, q->instance_id) : NULL;

    int16_t error;

    *ret_new = !m && !holder;
    if (!has_room(g, q, *ret_new)) return KAFKA_ERR_GROUP_MAX_SIZE_REACHED;
    if (holder && holder != m) {
        if (m || (!holder->classic && holder->epoch != CGROUP_EPOCH_LEAVE_FOR_NOW))
            return KAFKA_ERR_UNRELEASED_INSTANCE_ID;
        m = holder; /* a classic member does not say that it leaves for now */
        cgroup_member_rename(g, m, q->member_id);
        if (m->classic) cgroup_begin_again(g, m);
    } else if (m && !str_eq(m->instance_id, q->instance_id)) {
        return KAFKA_ERR_INVALID_REQUEST;
    }
    if (*ret_new) {
        m = cgroup_member_add(g, q->member_id, q->instance_id);
        cgroup_mark(g, m, CGROUP_DIRTY_MEMBER | CGROUP_DIRTY_TARGET | CGROUP_DIRTY_CURRENT);
    } else if (m->epoch == CGROUP_EPOCH_LEAVE_FOR_NOW ||
               (m->dirty & CGROUP_DIRTY_CURRENT)) { /* nobody was told of that */
        cgroup_begin_again(g, m);
    } else if ((error = check_epoch(m, q))) {
        return error;
    }
    *ret = m;
    return KAFKA_ERR_NONE;
}

static int16_t leave(struct cgroup *g, const struct cgroup_beat *q)
{
    struct cgroup_member *m;
    int16_t error = find(g, q, &m);

    if (error) return error;
    if (q->epoch == CGROUP_EPOCH_LEAVE) {
        cgroup_member_leave(g, m);
        return KAFKA_ERR_NONE;
    }
    cgroup_begin_again(g, m); /* its place is kept until the session ends */
    m->previous_epoch = m->epoch;
    m->epoch = CGROUP_EPOCH_LEAVE_FOR_NOW;
    return KAFKA_ERR_NONE;
}

static const char *why_of(int16_t error)
{
    switch (error) {
    case KAFKA_ERR_FENCED_MEMBER_EPOCH:
        return "the member is in another epoch: it must give up all its partitions and join again";
    case KAFKA_ERR_UNRELEASED_INSTANCE_ID:
        return "the instance id is in use: its member has not left";
    case KAFKA_ERR_FENCED_INSTANCE_ID: return "the instance id belongs to another member by now";
    case KAFKA_ERR_GROUP_MAX_SIZE_REACHED: return "the group has no room for another member";
    case KAFKA_ERR_INVALID_REQUEST: return "the member has another instance id";
    case KAFKA_ERR_INVALID_REGULAR_EXPRESSION:
        return "regular expression: it takes too long to match all topics";
    default: return "the group has no such member";
    }
}

/* ---- the heartbeat ---- */

static bool is_full(const struct cgroup_beat *q)
{
    return q->epoch == CGROUP_EPOCH_JOIN ||
           (q->rebalance_timeout_ms != -1 && q->owned && (!q->topics_null || q->pattern.p));
}

void cgroup_member_step(struct cgroup *g, struct cgroup_member *m, const struct cgroup_beat *q,
                        const struct cgroup_world *world, uint64_t now_ms,
                        struct cgroup_answer *ret)
{
    AUTO(parts_fini) struct parts before = {0};
    bool subscription, grows = g->epoch == 0;

    parts_copy(&before, &m->owned);
    cgroup_member_update(g, m, q, &subscription);
    grows |= subscription;
    if ((subscription || g->topics_version != world->version) && cgroup_topics_refresh(g, world))
        grows = g->dirty_topics = true;
    if (grows) cgroup_grow(g);
    if (g->epoch > g->target_epoch) cgroup_assign(g);
    reconcile(g, m, q->owned, now_ms);
    cgroup_session_restart(g, m, now_ms);
    ret->member_id = m->id;
    ret->epoch = m->epoch;
    if (is_full(q) || !parts_eq(&before, &m->owned)) ret->assignment = &m->owned;
}

/* Its regular expression has been found to take too long, and it has not come with another. */
static bool subscribes_in_vain(const struct cgroup *g, const struct cgroup_beat *q)
{
    const struct cgroup_member *m = cgroup_member(g, q->member_id);

    return cgroup_pattern_is_costly(g, q->pattern.p || !m ? q->pattern : cgroup_member_pattern(m));
}

void cgroup_beat(struct cgroup *g, const struct cgroup_beat *q, const struct cgroup_world *world,
                 uint64_t now_ms, struct arena *a, struct cgroup_answer *ret)
{
    struct cgroup_member *m = NULL;
    bool is_new = false;

    *ret = (struct cgroup_answer){.member_id = q->member_id, .epoch = q->epoch};
    if (q->epoch >= 0 && subscribes_in_vain(g, q))
        ret->error = KAFKA_ERR_INVALID_REGULAR_EXPRESSION;
    else if (q->epoch < 0)
        ret->error = leave(g, q);
    else if (q->epoch == CGROUP_EPOCH_JOIN)
        ret->error = join(g, q, &m, &is_new);
    else if (!(ret->error = find(g, q, &m)) && !(ret->error = check_epoch(m, q)) &&
             !has_room(g, q, false))
        ret->error = KAFKA_ERR_GROUP_MAX_SIZE_REACHED;
    if (ret->error)
        ret->why = arena_dup_str(a, str_of(why_of(ret->error)));
    else if (m) {
        cgroup_classic_drop(g, m);
        cgroup_member_step(g, m, q, world, now_ms, ret);
    }
}

/* ---- offsets ---- */

static int16_t compare_epoch(const struct cgroup_member *m, int32_t epoch)
{
    if (epoch == m->epoch) return KAFKA_ERR_NONE;
    return m->classic ? KAFKA_ERR_ILLEGAL_GENERATION : KAFKA_ERR_STALE_MEMBER_EPOCH;
}

int16_t cgroup_may_commit(const struct cgroup *g, struct str member_id, int32_t epoch)
{
    const struct cgroup_member *m = cgroup_member(g, member_id);

    if (epoch < 0 && g->members_n == 0) return KAFKA_ERR_NONE;
    return m ? compare_epoch(m, epoch) : KAFKA_ERR_UNKNOWN_MEMBER_ID;
}

int16_t cgroup_may_read(const struct cgroup *g, struct str member_id, int32_t epoch)
{
    const struct cgroup_member *m;

    if (!member_id.p && epoch < 0) return KAFKA_ERR_NONE;
    if (!(m = cgroup_member(g, member_id))) return KAFKA_ERR_UNKNOWN_MEMBER_ID;
    return compare_epoch(m, epoch);
}
