/* ConsumerGroupDescribe: what groups of the newer protocol look like now. SPDX-License-Identifier: Apache-2.0 */
#include "kafka/msg/consumer_group_describe.h"
#include "broker/api.h"
#include "broker/groups.h"

enum { MEMBER_CLASSIC = 0, MEMBER_CONSUMER = 1 };

typedef struct consumer_group_describe_response_group row_type;
typedef struct consumer_group_describe_response_assignment assignment_type;
typedef struct consumer_group_describe_response_topic_partition topic_type;

/* A partition of a topic that has been deleted meanwhile has no name: it is left out. */
static bool assignment_of(struct request *r, const struct parts *s, assignment_type *to)
{
    int32_t *numbers = arena_array(&r->arena, int32_t, s->n);
    topic_type *row = NULL;
    struct topic *t = NULL;

    to->topic_partitions = arena_array(&r->arena, topic_type, s->n);
    if (s->n && (!numbers || !to->topic_partitions)) return false;
    for (size_t i = 0; i < s->n; i++) {
        if (!row || !uuid_eq(&row->topic_id, &s->p[i].topic)) {
            if (!(t = topic_by_id(r->broker, &s->p[i].topic))) continue;
            row = &to->topic_partitions[to->topic_partitions_n++];
            *row = (topic_type){
                .topic_id = s->p[i].topic, .topic_name = topic_name(t), .partitions = &numbers[i]};
        }
        numbers[i] = s->p[i].number;
        row->partitions_n++;
    }
    return true;
}

static bool describe(struct request *r, const struct cgroup *c, row_type *to)
{
    to->group_state = str_of(cgroup_state_name(cgroup_state(c)));
    to->group_epoch = c->epoch;
    to->assignment_epoch = c->target_epoch;
    to->assignor_name = cgroup_assignor(c);
    to->members =
        arena_array(&r->arena, struct consumer_group_describe_response_member, c->members_n);
    if (c->members_n && !to->members) return false;
    cgroup_each_member(m, c)
    {
        struct consumer_group_describe_response_member *row = &to->members[to->members_n++];

        *row = (struct consumer_group_describe_response_member){
            .member_id = m->id,
            .instance_id = m->instance_id,
            .rack_id = m->rack_id,
            .member_epoch = m->epoch,
            .client_id = m->client_id,
            .client_host = m->client_host,
            .subscribed_topic_names = m->topics,
            .subscribed_topic_names_n = m->topics_n,
            .subscribed_topic_regex = m->pattern ? cgroup_member_pattern(m) : STR(""),
            .member_type = m->classic ? MEMBER_CLASSIC : MEMBER_CONSUMER};
        if (!assignment_of(r, &m->owned, &row->assignment) ||
            !assignment_of(r, &m->target, &row->target_assignment))
            return false;
    }
    return true;
}

void api_consumer_group_describe(struct request *r)
{
    const struct consumer_group_describe_request *q = request_decode(r);
    struct consumer_group_describe_response a = {0};
    uint64_t seq = groups_gone_seq(r->broker->groups);

    if (!q) return;
    a.groups = arena_array(&r->arena, row_type, q->group_ids_n);
    if (q->group_ids_n && !a.groups)
        return request_close(r, "consumer group describe: too many groups");
    for (size_t i = 0; i < q->group_ids_n; i++) {
        row_type *to = &a.groups[a.groups_n++];
        const struct group_entry *ge = groups_find(r->broker->groups, q->group_ids[i]);

        *to = (row_type){.group_id = q->group_ids[i], .authorized_operations = INT32_MIN};
        if (!request_allows_group(r, ACL_DESCRIBE, q->group_ids[i])) {
            to->error_code = KAFKA_ERR_GROUP_AUTHORIZATION_FAILED;
        } else if (!q->group_ids[i].n) {
            to->error_code = KAFKA_ERR_INVALID_GROUP_ID;
        } else if (groups_is_lost(r->broker->groups, q->group_ids[i])) {
            to->error_code = KAFKA_ERR_COORDINATOR_NOT_AVAILABLE;
        } else if (!ge || !ge->c) {
            to->error_code = KAFKA_ERR_GROUP_ID_NOT_FOUND;
            to->error_message =
                ge ? STR("the group is of the classic protocol") : STR("there is no such group");
        } else {
            if (q->include_authorized_operations)
                to->authorized_operations = request_operations(r, ACL_GROUP, q->group_ids[i]);
            if (!describe(r, ge->c, to))
                return request_close(r, "consumer group describe: too many members");
            seq = MAX(seq, ge->seq);
        }
    }
    request_answer_when(r, &a, seq);
}
