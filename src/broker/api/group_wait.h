/* broker/api/group_wait.h - a request that a group may answer much later: JoinGroup and SyncGroup.
 *
 * The group keeps the wait, not the request: a client that goes away takes its request with it, the group's books do not
 * change by that.   Lives on: the broker loop.   Used by: broker/api/.   SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "broker/api.h"
#include "broker/groups.h"

/* Steps the group with ev (its token is made here); `answer` is called when it answers, parks r if not at once. */
void group_wait_step(struct group_entry *ge, struct group_event *ev, struct request *r,
                     void (*answer)(struct request *r, const struct group_fx *fx, uint64_t seq));
/* "/127.0.0.1": the peer without its port, as Kafka's tools show it. */
struct str group_client_host(struct request *r);
