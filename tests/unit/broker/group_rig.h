/* tests/unit/broker/group_rig.h - drives one group by hand: a clock that moves when told, requests that are numbers.
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "test.h"
#include "broker/group.h"
#include "kafka/errors.h"
#include <stdio.h>

struct rig {
    struct group g;
    struct group_config config;
    struct arena arena;
    struct group_effects fx;                     /* of the last step */
    uint64_t now_ms;
    uintptr_t tokens;                            /* given so far */
    unsigned uuids;
    char uuid[16];
};

static inline void rig_init(struct rig *r)
{
    *r = (struct rig){.now_ms = 1000000, .config = group_config_default};
    r->config.initial_rebalance_delay_ms = 0;
    group_init(&r->g, STR("g"), &r->config, 5000);
}

static inline void rig_fini(struct rig *r)
{
    group_fini(&r->g);
    arena_fini(&r->arena);
}

static inline void *rig_token(struct rig *r) { return (void *)++r->tokens; }

/* Returns the token of the request. */
static inline void *rig_step(struct rig *r, struct group_event ev)
{
    arena_reset(&r->arena);
    r->fx = (struct group_effects){.arena = &r->arena};
    ev.now_ms = r->now_ms;
    ev.wall_ms = (int64_t)r->now_ms + 7;
    if (ev.kind != GROUP_EV_TICK && ev.kind != GROUP_EV_PERSIST_FAILED) ev.token = rig_token(r);
    group_step(&r->g, &ev, &r->fx);
    return ev.token;
}

/* What the last step answered to this request; NULL: nothing, it is parked. */
static inline const struct group_fx *rig_answer(const struct rig *r, const void *token)
{
    for (size_t i = 0; i < r->fx.n; i++)
        if (r->fx.items[i].kind != GROUP_FX_PERSIST && r->fx.items[i].token == token) return &r->fx.items[i];
    return NULL;
}

static inline int rig_error(const struct rig *r, const void *token)
{
    const struct group_fx *a = rig_answer(r, token);

    return a ? a->error : -1000;                 /* parked */
}
enum { PARKED = -1000 };

static inline size_t rig_persists(const struct rig *r)
{
    size_t n = 0;

    for (size_t i = 0; i < r->fx.n; i++) n += r->fx.items[i].kind == GROUP_FX_PERSIST;
    return n;
}

static inline struct str rig_uuid(struct rig *r)
{
    snprintf(r->uuid, sizeof r->uuid, "%u", ++r->uuids);
    return str_of(r->uuid);
}

static const struct group_protocol RANGE = {{"range", 5}, {(const uint8_t *)"m", 1}};

static inline struct group_event rig_join(struct rig *r, const char *member_id, const char *instance_id)
{
    return (struct group_event){.kind = GROUP_EV_JOIN, .join = {
        .member_id = str_of(member_id), .instance_id = str_of(instance_id), .client_id = STR("c"), .client_host = STR("/h"),
        .protocol_type = STR("consumer"), .protocols = &RANGE, .protocols_n = 1, .session_timeout_ms = 10000,
        .rebalance_timeout_ms = 30000, .uuid = rig_uuid(r), .id_required = true, .can_skip_assignment = true}};
}

static inline struct group_event rig_sync(const char *member_id, const char *instance_id, int32_t generation)
{
    return (struct group_event){.kind = GROUP_EV_SYNC, .sync = {.member_id = str_of(member_id),
        .instance_id = str_of(instance_id), .generation = generation}};
}

static inline struct group_event rig_beat(const char *member_id, const char *instance_id, int32_t generation)
{
    return (struct group_event){.kind = GROUP_EV_HEARTBEAT, .beat = {str_of(member_id), str_of(instance_id), generation}};
}

static inline struct group_event rig_commit(const char *member_id, const char *instance_id, int32_t generation)
{
    return (struct group_event){.kind = GROUP_EV_COMMIT, .beat = {str_of(member_id), str_of(instance_id), generation}};
}

/* Moves the clock, ticking whenever the group wants it, like the broker's timer does. The effects of the last tick that
 * had any stay to be looked at. */
static inline void rig_wait(struct rig *r, uint64_t ms)
{
    uint64_t until = r->now_ms + ms;
    struct group_effects kept = {0};

    r->fx.n = 0;
    while (r->g.tick_ms <= until && !kept.n) {
        if (r->g.tick_ms > r->now_ms) r->now_ms = r->g.tick_ms;
        rig_step(r, (struct group_event){.kind = GROUP_EV_TICK});
        kept = r->fx;
    }
    if (!kept.n) r->now_ms = until;
}
