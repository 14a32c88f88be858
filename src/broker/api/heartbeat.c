/* Heartbeat. SPDX-License-Identifier: Apache-2.0 */
#include "kafka/msg/heartbeat.h"
#include "broker/api.h"
#include "broker/groups.h"

struct beat {
    struct group_asker asker;
    int16_t error;
    uint64_t seq;
};

static void on_answer(struct group_asker *a, const struct group_fx *fx, uint64_t seq)
{
    struct beat *b = container_of(a, struct beat, asker);

    b->error = fx->error;
    b->seq = seq;
}

void api_heartbeat(struct request *r)
{
    struct beat b = {.asker = {on_answer}, .error = KAFKA_ERR_UNKNOWN_MEMBER_ID};
    struct group_event ev = {.kind = GROUP_EV_HEARTBEAT, .token = &b.asker};
    struct group_entry *ge;
    const struct heartbeat_request *q = request_decode(r);

    if (!q) return;
    ge = groups_find(r->broker->groups, q->group_id);
    ev.beat = (struct group_beat){q->member_id, q->group_instance_id, q->generation_id};
    if (!request_allows_group(r, ACL_READ, q->group_id))
        b.error = KAFKA_ERR_GROUP_AUTHORIZATION_FAILED;
    else if (q->group_id.n == 0)
        b.error = KAFKA_ERR_INVALID_GROUP_ID;
    else if (groups_is_lost(r->broker->groups, q->group_id))
        b.error = KAFKA_ERR_COORDINATOR_NOT_AVAILABLE;
    else if (ge)
        groups_step(ge, &ev);
    request_answer_when(r, &(struct heartbeat_response){.error_code = b.error}, b.seq);
}
