/* broker/cgroup_classic.h - members that speak the classic protocol inside a group of the newer one (KIP-848's online migration).
 *
 * To the group such a member is one like the others: it has an epoch (its generation), a target and states. What the others say
 * in heartbeats it says with JoinGroup: the subscription inside names its topics and what it owns. What it owns from then on is
 * fetched with SyncGroup, and Heartbeat tells it to join again whenever there is a step for it to take. Nothing is parked.
 *
 * Used by: broker/cgroup*.c, groups_classic.c, broker/api, tests.   SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "broker/cgroup.h"
#include "broker/group.h"

struct cgroup_classic {
    int32_t session_timeout_ms;
    struct group_protocol *protocols;                      /* in the member's order of preference; one allocation */
    size_t protocols_n, bytes;
    uint64_t join_deadline_ms, sync_deadline_ms;           /* it has been told to, and must by then; UINT64_MAX: it need not */
};

/* Each gives Kafka's code; errors change nothing. A member of the newer protocol that joins speaks the classic one from then on.
 * join: *ret is the member, its epoch the generation. MEMBER_ID_REQUIRED: *ret_id is to be used. */
int16_t cgroup_classic_join(struct cgroup *g, const struct group_join *j, const struct cgroup_world *world, uint64_t now_ms,
                            struct arena *a, struct cgroup_member **ret, struct str *ret_id);
int16_t cgroup_classic_sync(struct cgroup *g, const struct group_sync *s, uint64_t now_ms, struct cgroup_member **ret);
int16_t cgroup_classic_beat(struct cgroup *g, const struct group_beat *b, const struct cgroup_world *world, uint64_t now_ms);
int16_t cgroup_classic_leave(struct cgroup *g, const struct group_leaver *l);            /* of either protocol */

int16_t cgroup_classic_version(const struct cgroup_member *m);             /* of the assignment it understands */
/* Is it time to make a classic group of it: the last member of the newer protocol has gone, and the policy says so? */
bool cgroup_wants_downgrade(const struct cgroup *g);
bool cgroup_is_settled(const struct cgroup *g);            /* nobody has anything to do, or has left */
void cgroup_grow(struct cgroup *g);                        /* the group's epoch: all will be given a new target */

/* g is fresh; its members become those of the classic group, each with what the leader assigned to it. False: they do not use
 * the consumers' embedded protocol; then g is of no use. */
bool cgroup_from_group(struct cgroup *g, const struct group *from, const struct cgroup_world *world, uint64_t now_ms) MUST_USE;
