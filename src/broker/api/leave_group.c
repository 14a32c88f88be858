/* LeaveGroup: one member up to version 2, several from 3 on, each with an answer of its own.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "kafka/msg/leave_group.h"
#include "broker/api.h"
#include "broker/groups.h"

enum { SINCE_SEVERAL = 3 };

struct leave {
    struct group_asker asker;
    int16_t *errors;
    uint64_t seq;
};

static void on_answer(struct group_asker *a, const struct group_fx *fx, uint64_t seq)
{
    struct leave *l = container_of(a, struct leave, asker);

    memcpy(l->errors, fx->done.errors, fx->done.n * sizeof *l->errors);
    l->seq = seq;
}

static void answer(struct request *r, int16_t error, const struct group_leaver *leavers,
                   const int16_t *errors, size_t n, uint64_t seq)
{
    struct leave_group_response a = {.error_code = error};

    if (request_version(r) < SINCE_SEVERAL) {
        if (!error && n) a.error_code = errors[0];
    } else if (!error) {
        a.members = arena_array(&r->arena, struct leave_group_response_member, n);
        a.members_n = a.members ? n : 0;
    }
    for (size_t i = 0; i < a.members_n; i++)
        a.members[i] = (struct leave_group_response_member){leavers[i].member_id,
                                                            leavers[i].instance_id, errors[i]};
    request_answer_when(r, &a, seq);
}

void api_leave_group(struct request *r)
{
    struct leave l = {.asker = {on_answer}};
    struct group_event ev = {.kind = GROUP_EV_LEAVE, .token = &l.asker};
    struct group_leaver *leavers;
    const struct leave_group_request *q = request_decode(r);
    struct group_entry *ge;
    size_t n;

    if (!q) return;
    n = request_version(r) < SINCE_SEVERAL ? 1 : q->members_n;
    leavers = arena_array(&r->arena, struct group_leaver, n);
    l.errors = arena_array(&r->arena, int16_t, n);
    if (n && (!leavers || !l.errors)) return request_close(r, "leave group: too many members");

    if (request_version(r) < SINCE_SEVERAL)
        leavers[0] = (struct group_leaver){.member_id = q->member_id};
    else
        for (size_t i = 0; i < n; i++)
            leavers[i] =
                (struct group_leaver){q->members[i].member_id, q->members[i].group_instance_id};
    if (!request_allows_group(r, ACL_READ, q->group_id))
        return answer(r, KAFKA_ERR_GROUP_AUTHORIZATION_FAILED, NULL, NULL, 0, 0);
    if (q->group_id.n == 0) return answer(r, KAFKA_ERR_INVALID_GROUP_ID, NULL, NULL, 0, 0);
    if (groups_is_lost(r->broker->groups, q->group_id))
        return answer(r, KAFKA_ERR_COORDINATOR_NOT_AVAILABLE, NULL, NULL, 0, 0);

    ge = groups_find(r->broker->groups, q->group_id);
    for (size_t i = 0; i < n; i++)
        l.errors[i] = KAFKA_ERR_UNKNOWN_MEMBER_ID;
    ev.leave.members = leavers;
    ev.leave.n = n;
    if (ge) groups_step(ge, &ev);
    answer(r, KAFKA_ERR_NONE, leavers, l.errors, n, ge ? ge->seq : 0);
}
