/* broker/group.h - one consumer group in Kafka's classic protocol, as a pure state machine.
 *
 * No clock, no socket, no file: time arrives in the event, wishes leave as effects. A request is a token that the
 * machine keeps and gives back exactly once, in the effect that answers it.
 *
 *     group_step(g, &ev, &fx);           the caller then carries out fx.items in order, before the next step
 *
 * GROUP_FX_PERSIST means: write the group's record now (group_view of the state after the step). Answers that stand
 * behind it must not leave before that record is durable; if it cannot be written the caller gives them an error
 * instead and steps GROUP_EV_PERSIST_FAILED.
 *
 * Lives on: the broker loop.   Used by: broker/coordinator.c and tests.   SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/arena.h"
#include "base/buf.h"
#include "base/list.h"
#include "base/map.h"
#include "base/sm.h"

enum group_state { GROUP_EMPTY, GROUP_PREPARING, GROUP_COMPLETING, GROUP_STABLE, GROUP_DEAD };
extern const struct sm_state group_states[];
const char *group_state_name(unsigned state);              /* as Kafka's tools print it: "PreparingRebalance", … */

struct group_config {                                      /* Kafka's broker configs */
    uint64_t initial_rebalance_delay_ms;
    uint64_t fresh_member_timeout_ms;                      /* how long a new member's parked join keeps it alive */
    size_t   members_max;                                  /* group.max.size */
    size_t   bytes_max;                                    /* ceiling for what the members of one group may make us hold */
};
extern const struct group_config group_config_default;
enum { GROUP_PROTOCOLS_MAX = 256, GROUP_PENDING_MAX = 10000 };

struct group_protocol { struct str name; struct bytes metadata; };
/* A copy in one allocation for free(); of several of one name the first. */
struct group_protocol *group_protocols_own(const struct group_protocol *from, size_t n, size_t *ret_n);

struct group_member {
    struct list link;                                      /* in group.members, in the order of joining */
    struct str id, instance_id, client_id, client_host;    /* instance_id.p NULL: a dynamic member */
    int32_t session_timeout_ms, rebalance_timeout_ms;
    struct group_protocol *protocols;                      /* in the member's order of preference */
    size_t protocols_n;
    struct buf assignment;
    void *join, *sync;                                     /* parked requests; NULL: none */
    uint64_t deadline_ms;                                  /* the session ends here; not while a request is parked */
    bool fresh;                                            /* its first join has not been answered: deadline holds even so */
    bool sync_owed;                                        /* joined this generation, has not synced yet */
    size_t bytes;                                          /* what it costs */
};

struct group {
    struct str id;
    unsigned state;                                        /* enum group_state */
    const struct group_config *config;
    int32_t generation;
    struct str protocol_type, protocol;                    /* .p NULL: none yet */
    struct str leader;                                     /* member id; .p NULL: none */
    int64_t since_ms;                                      /* wall time of the last change of state */

    struct list members;                                   /* of struct group_member */
    size_t members_n, joined_n, bytes;
    struct map by_id, by_instance;                         /* to struct group_member */
    struct map supporters;                                 /* protocol name -> how many members support it */
    struct list pending;                                   /* ids given out whose first join has not come back */
    struct map pending_by_id;

    bool initial;                                          /* PREPARING out of EMPTY: wait for the delay */
    bool joined_meanwhile;                                 /* … and somebody came, so that it is prolonged */
    uint64_t join_since_ms, join_deadline_ms;              /* PREPARING */
    uint64_t sync_deadline_ms;                             /* COMPLETING and STABLE while a sync is owed; else UINT64_MAX */
    uint64_t tick_ms;                                      /* a tick is wanted now at the latest; UINT64_MAX: never */
};

/* ---- events ---- */
enum group_event_kind {
    GROUP_EV_JOIN, GROUP_EV_SYNC, GROUP_EV_HEARTBEAT, GROUP_EV_LEAVE,
    GROUP_EV_COMMIT,                                       /* may this member commit offsets? */
    GROUP_EV_DELETE,                                       /* DeleteGroups, or expiry */
    GROUP_EV_PERSIST_FAILED,
    GROUP_EV_REBALANCE,                                    /* all members of a stable group are to join again */
    GROUP_EV_EVICT,                                        /* the way down: whoever waits is sent away */
    GROUP_EV_TICK
};
struct group_join {
    struct str member_id, instance_id, client_id, client_host, protocol_type;    /* instance_id.p may be NULL */
    const struct group_protocol *protocols;
    size_t protocols_n;
    int32_t session_timeout_ms, rebalance_timeout_ms;
    struct str uuid;                                       /* never used before: makes a member id where one is needed */
    bool id_required;                                      /* v4+: a dynamic member comes back with the id it is given */
    bool can_skip_assignment;                              /* v9+ */
};
struct group_assignment { struct str member_id; struct bytes bytes; };
struct group_sync {
    struct str member_id, instance_id, protocol_type, protocol;    /* the last two: .p NULL is not checked */
    int32_t generation;
    const struct group_assignment *assignments;
    size_t assignments_n;
};
struct group_beat { struct str member_id, instance_id; int32_t generation; };     /* heartbeat and commit */
struct group_leaver { struct str member_id, instance_id; };
struct group_event {
    enum group_event_kind kind;
    uint64_t now_ms;                                       /* monotonic */
    int64_t  wall_ms;
    void *token;                                           /* the request; not NULL for those that have an answer */
    union {
        struct group_join join;
        struct group_sync sync;
        struct group_beat beat;                            /* HEARTBEAT, COMMIT */
        struct { const struct group_leaver *members; size_t n; } leave;
        int16_t persist_error;
        int16_t evict_error;
    };
};

/* ---- effects ---- */
enum group_fx_kind { GROUP_FX_PERSIST, GROUP_FX_JOINED, GROUP_FX_SYNCED, GROUP_FX_DONE };
struct group_peer { struct str id, instance_id; struct bytes metadata; };
struct group_fx {
    enum group_fx_kind kind;
    void *token;
    int16_t error;
    union {
        struct {
            int32_t generation;
            struct str protocol_type, protocol, leader, member_id;
            bool skip_assignment;
            const struct group_peer *members;
            size_t members_n;
        } joined;
        struct { struct str protocol_type, protocol; struct bytes assignment; } synced;
        struct { const int16_t *errors; size_t n; } done;  /* LEAVE: one per leaver */
    };
};
/* Views in the items point into the group and the arena: good until the next step or the arena's end. */
struct group_effects { struct arena *arena; struct group_fx *items; size_t n, cap; };

void group_init(struct group *g, struct str id, const struct group_config *config, int64_t wall_ms);
static inline uint64_t group_ms(int32_t ms) { return ms > 0 ? (uint64_t)ms : 0; }
size_t group_join_bytes(const struct group_join *j);       /* what a member that says this costs at most */
/* Parked requests must have been answered (group_parked() == 0) or be of no interest any more. {0} again. */
void group_fini(struct group *g);
void group_step(struct group *g, const struct group_event *ev, struct group_effects *fx);

/* ---- views ---- */
struct group_member *group_member(const struct group *g, struct str id);          /* NULL: none */
struct bytes group_metadata(const struct group *g, const struct group_member *m); /* for the chosen protocol */
size_t group_parked(const struct group *g);                                       /* requests that wait for an answer */
static inline bool group_is_simple(const struct group *g) { return g->protocol_type.p == NULL; }
#define group_each_member(it, g)                                                                                       \
    for (struct group_member *it = container_of((g)->members.next, struct group_member, link);                        \
         &it->link != &(g)->members; it = container_of(it->link.next, struct group_member, link))

/* ---- restart ---- */
struct group_snapshot_member {
    struct str id, instance_id, client_id, client_host;
    int32_t session_timeout_ms, rebalance_timeout_ms;
    struct bytes subscription, assignment;
    const struct group_protocol *protocols;                /* NULL: subscription is that of the group's protocol */
    size_t protocols_n;
};
struct group_snapshot {
    struct str protocol_type, protocol, leader;            /* protocol, leader: .p NULL when none; members may vote */
    int32_t generation;
    int64_t since_ms;
    const struct group_snapshot_member *members;
    size_t members_n;
};
/* The group as its last record says: STABLE with fresh session timers, or EMPTY. g is fresh from group_init. */
void group_restore(struct group *g, const struct group_snapshot *s, uint64_t now_ms);
