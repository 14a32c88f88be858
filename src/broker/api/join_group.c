/* JoinGroup: behaviour in broker/group.c; here is what lies around it. SPDX-License-Identifier: Apache-2.0 */
#include "kafka/msg/join_group.h"
#include "broker/api/group_wait.h"

enum { SINCE_REBALANCE_TIMEOUT = 1, SINCE_ID_REQUIRED = 4, SINCE_SKIP_ASSIGNMENT = 9 };

/* The code for a group without room came with version 4: older clients are told what ends them too. */
static int16_t code_for(const struct request *r, int16_t error)
{
    if (error == KAFKA_ERR_GROUP_MAX_SIZE_REACHED && request_version(r) < SINCE_ID_REQUIRED)
        return KAFKA_ERR_UNKNOWN_SERVER_ERROR;
    return error;
}

static void answer(struct request *r, const struct group_fx *fx, uint64_t seq)
{
    struct join_group_response a = {.error_code = code_for(r, fx->error),
                                    .generation_id = fx->joined.generation,
                                    .protocol_type = fx->joined.protocol_type,
                                    .protocol_name = fx->joined.protocol,
                                    .leader = fx->joined.leader,
                                    .skip_assignment = fx->joined.skip_assignment,
                                    .member_id = fx->joined.member_id,
                                    .members_n = fx->joined.members_n};

    a.members = arena_array(&r->arena, struct join_group_response_member, a.members_n);
    if (a.members_n && !a.members) {
        a.error_code = KAFKA_ERR_UNKNOWN_SERVER_ERROR;
        a.members_n = 0;
    }
    for (size_t i = 0; i < a.members_n; i++) {
        const struct group_peer *p = &fx->joined.members[i];

        a.members[i] = (struct join_group_response_member){p->id, p->instance_id, p->metadata};
    }
    request_answer_when(r, &a, seq);
}

static void refuse(struct request *r, int16_t error, struct str member_id)
{
    struct group_fx fx = {.kind = GROUP_FX_JOINED,
                          .error = error,
                          .joined = {.generation = -1, .member_id = member_id}};

    answer(r, &fx, 0);
}

static struct str uuid_text(struct arena *a)
{
    struct uuid u;
    const uint8_t *b = u.b;

    random_bytes(u.b, sizeof u.b);
    u.b[6] = (uint8_t)((u.b[6] & 0x0f) | 0x40); /* RFC 4122, version 4 */
    u.b[8] = (uint8_t)((u.b[8] & 0x3f) | 0x80);
    return arena_printf(a, "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x",
                        b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11],
                        b[12], b[13], b[14], b[15]);
}

static bool protocols_take(struct request *r, const struct join_group_request *q,
                           struct group_join *j)
{
    struct group_protocol *ps = arena_array(&r->arena, struct group_protocol, q->protocols_n);

    if (q->protocols_n && !ps) return false;
    for (size_t i = 0; i < q->protocols_n; i++)
        ps[i] = (struct group_protocol){q->protocols[i].name, q->protocols[i].metadata};
    j->protocols = ps;
    j->protocols_n = q->protocols_n;
    return true;
}

void api_join_group(struct request *r)
{
    struct groups *gs = r->broker->groups;
    struct group_event ev = {.kind = GROUP_EV_JOIN};
    const struct join_group_request *q = request_decode(r);
    struct group_entry *ge;
    int16_t v = request_version(r);

    if (!q) return;
    if (!request_allows_group(r, ACL_READ, q->group_id))
        return refuse(r, KAFKA_ERR_GROUP_AUTHORIZATION_FAILED, STR(""));
    if (q->group_id.n == 0) return refuse(r, KAFKA_ERR_INVALID_GROUP_ID, q->member_id);
    if (str_eq(q->group_id, r->broker->opt.group_reserved))
        return refuse(r, KAFKA_ERR_INCONSISTENT_GROUP_PROTOCOL, q->member_id);
    if (!groups_session_ok(gs, q->session_timeout_ms))
        return refuse(r, KAFKA_ERR_INVALID_SESSION_TIMEOUT, q->member_id);

    ev.join = (struct group_join){.member_id = q->member_id,
                                  .instance_id = q->group_instance_id,
                                  .client_id = r->h.client_id,
                                  .client_host = group_client_host(r),
                                  .protocol_type = q->protocol_type,
                                  .session_timeout_ms = q->session_timeout_ms,
                                  .rebalance_timeout_ms = v < SINCE_REBALANCE_TIMEOUT
                                                              ? q->session_timeout_ms
                                                              : q->rebalance_timeout_ms,
                                  .uuid = uuid_text(&r->arena),
                                  .id_required = v >= SINCE_ID_REQUIRED,
                                  .can_skip_assignment = v >= SINCE_SKIP_ASSIGNMENT};
    ge = groups_find(gs, q->group_id);
    if (groups_is_lost(gs, q->group_id)) return refuse(r, KAFKA_ERR_COORDINATOR_NOT_AVAILABLE, q->member_id);
    if (!ge && q->member_id.n) return refuse(r, KAFKA_ERR_UNKNOWN_MEMBER_ID, q->member_id);
    if (!groups_have_room(gs, r->frame_n) || !protocols_take(r, q, &ev.join))
        return refuse(r, KAFKA_ERR_GROUP_MAX_SIZE_REACHED, q->member_id);
    if (!ge) ge = groups_get(gs, q->group_id);
    if (ge && ge->c && !ge->c->members_n) {
        int16_t error = q->member_id.n ? KAFKA_ERR_UNKNOWN_MEMBER_ID : groups_make_classic(ge);

        if (error) return refuse(r, error, q->member_id);
    }
    if (!ge) return refuse(r, KAFKA_ERR_GROUP_MAX_SIZE_REACHED, q->member_id);
    group_wait_step(ge, &ev, r, answer);
}
