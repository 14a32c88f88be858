/* broker/cgroup.h - one group of the newer protocol (KIP-848), as a pure state machine.
 *
 * Members say in one kind of request, the heartbeat, what they subscribe to and what they own; the answer says what they are
 * to own. The group has an epoch that grows when members or topics change; for each epoch somebody's heartbeat makes
 * the target (who shall own what in the end), and each member moves to it by itself: it first gives up what it shall not
 * keep, and gets what is free. A partition has one owner at any time: it is free again when its owner has said so,
 * has left, or is thought dead.
 *
 *     cgroup_beat(g, &q, &world, now_ms, &answer);      then the caller writes what g->dirty names (cgroup_record.h), answers
 *                                                       when that is on disk, and ticks at g->tick_ms
 *
 * No clock, no socket, no file. What changed is marked until it was written: a write that failed is made up for by the
 * next.
 * Lives on: the broker loop.   Used by: broker/groups*.c, broker/api, tests.   SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/arena.h"
#include "base/list.h"
#include "base/map.h"
#include "base/sm.h"
#include "broker/parts.h"

enum cgroup_state { CGROUP_EMPTY, CGROUP_ASSIGNING, CGROUP_RECONCILING, CGROUP_STABLE };
const char *cgroup_state_name(enum cgroup_state state);    /* as Kafka's tools print it: "Assigning" … */

/* The numbers stand in records. */
enum cgroup_member_state {
    CGROUP_MEMBER_STABLE = 1,                              /* has what the target gives it, in the target's epoch */
    CGROUP_MEMBER_UNREVOKED = 2,                           /* has been told to give something up, and has not said so yet */
    CGROUP_MEMBER_UNRELEASED = 3,                          /* waits for something that another member still owns */
};
extern const struct sm_state cgroup_member_states[];

enum { CGROUP_EPOCH_JOIN = 0, CGROUP_EPOCH_LEAVE = -1, CGROUP_EPOCH_LEAVE_FOR_NOW = -2 };   /* in requests */

struct cgroup_config {
    int32_t session_timeout_ms, heartbeat_interval_ms;
    size_t  members_max;
    size_t  bytes_max;                                     /* ceiling for what the members of one group may make us hold */
    struct str assignor;                                   /* for members that name none; "uniform" */
    bool    uniform, range;                                /* which of them members may name */
    bool    upgrade, downgrade;                            /* may a group with members change to this protocol; back? */
    size_t  classic_max;                                   /* the most members of a classic group */
};
extern const struct cgroup_config cgroup_config_default;
enum { CGROUP_TOPICS_MAX = 10000 };                        /* that one member names */

struct cgroup_topic { struct uuid id; struct str name; int32_t partitions; };
/* The topics there are. version changes whenever they do; 0 is never one. */
struct cgroup_world {
    uint64_t version;
    void *ctx;
    bool (*find)(void *ctx, struct str name, struct cgroup_topic *ret);
    bool (*next)(void *ctx, struct str after, struct cgroup_topic *ret);     /* by name; after.p NULL: the first */
    /* For regular expressions: may this one see the topic? NULL: everybody may. */
    bool (*shows)(void *ctx, struct str reader, struct str topic);
    uint32_t *names_left;                                  /* that may be matched here and now; NULL: all of them, at once */
};

struct cgroup_classic;                                     /* of a member that speaks the classic protocol: cgroup_classic.h */
struct cgroup_pattern;                                     /* a regular expression and the topics it matches: cgroup_topics.c */

enum cgroup_dirty { CGROUP_DIRTY_MEMBER = 1, CGROUP_DIRTY_TARGET = 2, CGROUP_DIRTY_CURRENT = 4 };
struct cgroup_member {
    struct list link, dirty_link;                          /* in group.members by joining; in group.dirty */
    unsigned dirty;                                        /* enum cgroup_dirty: what has not been written */
    struct cgroup_classic *classic;                        /* NULL: it speaks the newer protocol */
    struct str id, instance_id, rack_id, client_id, client_host;     /* instance_id.p NULL: dynamic */
    struct str assignor;                                   /* .p NULL: none named */
    struct str *topics;                                    /* named, sorted */
    size_t topics_n;
    struct cgroup_pattern *pattern;                        /* NULL: none */
    int32_t rebalance_timeout_ms;
    int32_t epoch, previous_epoch;                         /* -2: a static member that left for now */
    unsigned state;                                        /* enum cgroup_member_state */
    struct parts owned, revoking, target;
    uint64_t session_deadline_ms, revoke_deadline_ms;      /* the second: UINT64_MAX unless UNREVOKED */
    size_t bytes;
    bool on_record;                                        /* while loading: its own record was seen */
};

struct cgroup_gone { struct list link; struct str member_id; };
struct cgroup {
    struct str id;
    const struct cgroup_config *config;
    int32_t epoch, target_epoch;
    struct list members;
    size_t members_n, classic_n, bytes;
    struct map by_id, by_instance;
    struct map owners;                                     /* part -> member: by owned and revoking */
    struct cgroup_topic *topics;                           /* that are subscribed to and exist, by name */
    size_t topics_n;
    uint64_t topics_version;                               /* of the world when they were looked up; 0: look again */
    struct list patterns;
    uint64_t scans;                                        /* ids given out */
    struct list dirty, gone;                               /* members; struct cgroup_gone: not yet written */
    bool dirty_epoch, dirty_topics, dirty_target;
    bool patterns_moved;                                   /* one means other topics than when g->topics were looked up */
    uint64_t tick_ms;                                      /* a tick is wanted then; UINT64_MAX: never */
};

void cgroup_init(struct cgroup *g, struct str id, const struct cgroup_config *config);
void cgroup_fini(struct cgroup *g);                        /* {0} again */

/* ---- steps ---- */
struct cgroup_beat {
    struct str member_id, instance_id, rack_id, client_id, client_host;      /* .p NULL where Kafka's field may be null */
    int32_t epoch, rebalance_timeout_ms;                   /* -1: unchanged */
    const struct str *topics;
    size_t topics_n;
    bool   topics_null;                                    /* unchanged */
    struct str pattern;                                    /* .p NULL: unchanged; empty: none */
    struct str reader;                                     /* who asks, as world->shows knows him */
    struct str assignor;                                   /* .p NULL: unchanged */
    const struct parts *owned;                             /* NULL: unchanged */
};
struct cgroup_answer {
    int16_t error;
    struct str why;                                        /* for the peer, in the arena; .p NULL: none */
    struct str member_id;
    int32_t epoch;
    const struct parts *assignment;                        /* NULL: as before. Good until the next step */
};
/* Is this a request at all? Kafka's code; *ret_why is a phrase. Needs no group. `ids_made`: the member brings its own id. */
int16_t cgroup_beat_check(const struct cgroup_beat *q, const struct cgroup_config *config, bool ids_made, struct arena *a,
                          struct str *ret_why);
/* q has passed the check. Errors change nothing. */
void cgroup_beat(struct cgroup *g, const struct cgroup_beat *q, const struct cgroup_world *world, uint64_t now_ms,
                 struct arena *a, struct cgroup_answer *ret);
void cgroup_tick(struct cgroup *g, uint64_t now_ms);       /* who has been silent for too long is out */
/* May this member commit or read offsets? Kafka's code. */
int16_t cgroup_may_commit(const struct cgroup *g, struct str member_id, int32_t epoch);
int16_t cgroup_may_read(const struct cgroup *g, struct str member_id, int32_t epoch);

/* ---- regular expressions that are matched elsewhere: those that may be slow, and names beyond world->names_left. Until that is
 * done an expression means the topics it has meant before. ---- */
struct cgroup_scan { struct str pattern; uint64_t id; };   /* the text is borrowed until the next step */
bool cgroup_scan_wanted(const struct cgroup *g, struct cgroup_scan *ret);
/* The next names, at most n, borrowed from the world; 0: there are no more, or nobody wants them. */
size_t cgroup_scan_names(const struct cgroup *g, const struct cgroup_scan *s, const struct cgroup_world *world, struct str *names,
                         size_t n);
/* `names` of them have been tried; which matched. *done: the last ones have. A scan that is unknown by now is ignored. */
void cgroup_scan_tried(struct cgroup *g, const struct cgroup_scan *s, const struct cgroup_world *world, const struct str *names,
                       const bool *matches, size_t n, uint64_t cost_us, bool done);
enum { CGROUP_SCAN_US_MAX = 2000000 };                     /* an expression that takes longer for all names is refused */

/* It has been found to take too long: nobody may subscribe with this text. */
bool cgroup_pattern_is_costly(const struct cgroup *g, struct str text);

/* ---- views ---- */
enum cgroup_state cgroup_state(const struct cgroup *g);
struct str cgroup_assignor(const struct cgroup *g);        /* what most members wish */
struct cgroup_member *cgroup_member(const struct cgroup *g, struct str id);  /* NULL: none */
struct str cgroup_member_pattern(const struct cgroup_member *m);             /* its text; .p NULL: none */
bool cgroup_subscribes(const struct cgroup *g, struct str topic);
bool cgroup_is_dirty(const struct cgroup *g);
void cgroup_written(struct cgroup *g);                     /* all that was dirty is staged */
#define cgroup_each_member(it, g)                                                                                      \
    for (struct cgroup_member *it = container_of((g)->members.next, struct cgroup_member, link);                      \
         &it->link != &(g)->members; it = container_of(it->link.next, struct cgroup_member, link))

/* ---- restart: records are put in one by one, in any order; then sessions begin anew ---- */
struct cgroup_member *cgroup_load_member(struct cgroup *g, struct str id);     /* found or made */
void cgroup_load_subscription(struct cgroup *g, struct cgroup_member *m, const struct cgroup_beat *q);
void cgroup_load_topics(struct cgroup *g, const struct cgroup_topic *topics, size_t n);
void cgroup_load_gone(struct cgroup *g, struct str id);
void cgroup_load_end(struct cgroup *g, uint64_t now_ms);
