/* SyncGroup: the leader brings assignments, the others wait for theirs. SPDX-License-Identifier: Apache-2.0 */
#include "kafka/msg/sync_group.h"
#include "broker/api/group_wait.h"

enum { SINCE_PROTOCOL = 5 };

static void answer(struct request *r, const struct group_fx *fx, uint64_t seq)
{
    struct sync_group_response a = {.error_code = fx->error,
                                    .protocol_type = fx->synced.protocol_type,
                                    .protocol_name = fx->synced.protocol,
                                    .assignment = fx->synced.assignment};

    if (fx->error) a = (struct sync_group_response){.error_code = fx->error};
    request_answer_when(r, &a, seq);
}

static void refuse(struct request *r, int16_t error)
{
    answer(r, &(struct group_fx){.kind = GROUP_FX_SYNCED, .error = error}, 0);
}

void api_sync_group(struct request *r)
{
    struct group_event ev = {.kind = GROUP_EV_SYNC};
    struct group_assignment *as;
    const struct sync_group_request *q = request_decode(r);
    struct group_entry *ge;

    if (!q) return;
    if (!request_allows_group(r, ACL_READ, q->group_id))
        return refuse(r, KAFKA_ERR_GROUP_AUTHORIZATION_FAILED);
    if (request_version(r) >= SINCE_PROTOCOL && (!q->protocol_type.p || !q->protocol_name.p))
        return refuse(r, KAFKA_ERR_INCONSISTENT_GROUP_PROTOCOL);
    if (q->group_id.n == 0) return refuse(r, KAFKA_ERR_INVALID_GROUP_ID);
    if (groups_is_lost(r->broker->groups, q->group_id))
        return refuse(r, KAFKA_ERR_COORDINATOR_NOT_AVAILABLE);
    ge = groups_find(r->broker->groups, q->group_id);
    if (!ge) return refuse(r, KAFKA_ERR_UNKNOWN_MEMBER_ID);
    as = arena_array(&r->arena, struct group_assignment, q->assignments_n);
    if ((q->assignments_n && !as) || !groups_have_room(r->broker->groups, r->frame_n))
        return refuse(r, KAFKA_ERR_COORDINATOR_NOT_AVAILABLE);

    for (size_t i = 0; i < q->assignments_n; i++)
        as[i] =
            (struct group_assignment){q->assignments[i].member_id, q->assignments[i].assignment};
    ev.sync = (struct group_sync){.member_id = q->member_id,
                                  .instance_id = q->group_instance_id,
                                  .protocol_type = q->protocol_type,
                                  .protocol = q->protocol_name,
                                  .generation = q->generation_id,
                                  .assignments = as,
                                  .assignments_n = q->assignments_n};
    group_wait_step(ge, &ev, r, answer);
}
