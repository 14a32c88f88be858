/* DescribeGroups: what a group looks like now. SPDX-License-Identifier: Apache-2.0 */
#include "kafka/msg/describe_groups.h"
#include "broker/api.h"
#include "broker/groups.h"

/* Protocol, metadata and assignments mean something only when they are settled. */
static bool describe(struct request *r, const struct group *g,
                     struct describe_groups_response_group *to)
{
    bool stable = g->state == GROUP_STABLE;
    size_t n = 0;

    to->group_state = str_of(group_state_name(g->state));
    to->protocol_type = g->protocol_type;
    to->protocol_data = stable ? g->protocol : STR("");
    to->members = arena_array(&r->arena, struct describe_groups_response_member, g->members_n);
    if (g->members_n && !to->members) return false;
    group_each_member(m, g) to->members[n++] = (struct describe_groups_response_member){
        .member_id = m->id,
        .group_instance_id = m->instance_id,
        .client_id = m->client_id,
        .client_host = m->client_host,
        .member_metadata = stable ? group_metadata(g, m) : (struct bytes){0},
        .member_assignment = stable ? buf_view(&m->assignment) : (struct bytes){0}};
    to->members_n = n;
    return true;
}

void api_describe_groups(struct request *r)
{
    const struct describe_groups_request *q = request_decode(r);
    struct describe_groups_response a = {0};
    uint64_t seq = groups_gone_seq(r->broker->groups);

    if (!q) return;
    a.groups = arena_array(&r->arena, struct describe_groups_response_group, q->groups_n);
    if (q->groups_n && !a.groups) return request_close(r, "describe groups: too many groups");
    for (size_t i = 0; i < q->groups_n; i++) {
        struct describe_groups_response_group *to = &a.groups[a.groups_n++];
        struct group_entry *ge = groups_find(r->broker->groups, q->groups[i]);

        to->group_id = q->groups[i];
        if (!request_allows_group(r, ACL_DESCRIBE, q->groups[i])) {
            to->error_code = KAFKA_ERR_GROUP_AUTHORIZATION_FAILED;
            to->authorized_operations = INT32_MIN;
            continue;
        }
        to->group_state = str_of(group_state_name(GROUP_DEAD));
        to->authorized_operations = q->include_authorized_operations
                                        ? request_operations(r, ACL_GROUP, q->groups[i])
                                        : INT32_MIN;
        if (groups_is_lost(r->broker->groups, q->groups[i])) to->error_code = KAFKA_ERR_COORDINATOR_NOT_AVAILABLE;
        if (!ge || ge->c) continue; /* the newer protocol has a request of its own */
        if (!describe(r, &ge->g, to)) return request_close(r, "describe groups: too many members");
        seq = MAX(seq, ge->seq);
    }
    request_answer_when(r, &a, seq);
}
