/* ConsumerGroupHeartbeat: behaviour in broker/cgroup.c; here is what lies around it. Version 0 lets us make the member's id.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "kafka/msg/consumer_group_heartbeat.h"
#include "broker/api/group_wait.h"

enum { SINCE_IDS_MADE = 1 };

typedef struct consumer_group_heartbeat_response_topic_partition row_type;

static void refuse(struct request *r, int16_t error, struct str why)
{
    struct consumer_group_heartbeat_response a = {.error_code = error, .error_message = why};

    request_answer(r, &a);
}

static void owned_of(const struct consumer_group_heartbeat_request *q, struct parts *ret)
{
    for (size_t i = 0; i < q->topic_partitions_n; i++)
        for (size_t k = 0; k < q->topic_partitions[i].partitions_n; k++)
            parts_push(ret, (struct part){q->topic_partitions[i].topic_id,
                                          q->topic_partitions[i].partitions[k]});
    parts_sort(ret);
}

static bool assignment_of(struct request *r, const struct parts *s,
                          struct consumer_group_heartbeat_response *a)
{
    int32_t *numbers = arena_array(&r->arena, int32_t, s->n);
    row_type *rows = arena_array(&r->arena, row_type, s->n), *row = NULL;

    a->assignment = arena_new(&r->arena, struct consumer_group_heartbeat_response_assignment);
    if (!a->assignment || (s->n && (!numbers || !rows))) return false;
    a->assignment->topic_partitions = rows;
    for (size_t i = 0; i < s->n; i++) {
        numbers[i] = s->p[i].number;
        if (!row || !uuid_eq(&row->topic_id, &s->p[i].topic)) {
            row = &rows[a->assignment->topic_partitions_n++];
            *row = (row_type){.topic_id = s->p[i].topic, .partitions = &numbers[i]};
        }
        row->partitions_n++;
    }
    return true;
}

static struct str id_make(struct arena *a)
{
    struct uuid u = uuid_random();
    char text[UUID_TEXT_LEN + 1];

    uuid_to_text(&u, text);
    return arena_dup_str(a, str_of(text));
}

static struct cgroup_beat beat_of(struct request *r,
                                  const struct consumer_group_heartbeat_request *q,
                                  const struct parts *owned)
{
    return (struct cgroup_beat){.member_id = q->member_id,
                                .instance_id = q->instance_id,
                                .rack_id = q->rack_id,
                                .client_id = r->h.client_id,
                                .client_host = group_client_host(r),
                                .epoch = q->member_epoch,
                                .rebalance_timeout_ms = q->rebalance_timeout_ms,
                                .topics = q->subscribed_topic_names,
                                .topics_n = q->subscribed_topic_names_n,
                                .topics_null = q->subscribed_topic_names_null,
                                .pattern = q->subscribed_topic_regex,
                                .reader = groups_reader(r->broker->groups, &r->arena, request_principal(r),
                                                        str_of(r->conn->host)),
                                .assignor = q->server_assignor,
                                .owned = q->topic_partitions_null ? NULL : owned};
}

static void answer(struct request *r, const struct consumer_group_heartbeat_request *q,
                   struct cgroup_beat *beat)
{
    struct groups *gs = r->broker->groups;
    const struct cgroup_config *config = groups_consumer_config(gs, q->group_id);
    struct consumer_group_heartbeat_response a = {.member_epoch = -1};
    struct cgroup_answer done;
    uint64_t seq;

    if (!beat->member_id.n) beat->member_id = id_make(&r->arena);
    groups_beat(gs, q->group_id, beat, &r->arena, &done, &seq);
    if (done.error) {
        a = (struct consumer_group_heartbeat_response){.error_code = done.error,
                                                       .error_message = done.why};
        return request_answer_when(r, &a, seq);
    }
    a.member_id = done.member_id;
    a.member_epoch = done.epoch;
    if (done.epoch >= 0) a.heartbeat_interval_ms = config->heartbeat_interval_ms;
    if (done.assignment && !assignment_of(r, done.assignment, &a))
        return request_close(r, "consumer group heartbeat: too many partitions");
    request_answer_when(r, &a, seq);
}

/* As Kafka 4 has it, one name that may not be described refuses the heartbeat. */
static bool may_describe(struct request *r, const struct consumer_group_heartbeat_request *q)
{
    for (size_t i = 0; i < q->subscribed_topic_names_n; i++)
        if (!request_allows_topic(r, ACL_DESCRIBE, q->subscribed_topic_names[i])) return false;
    return true;
}

void api_consumer_group_heartbeat(struct request *r)
{
    const struct consumer_group_heartbeat_request *q = request_decode(r);
    AUTO(parts_fini) struct parts owned = {0};
    struct cgroup_beat beat;
    struct str why;
    int16_t error;

    if (!q) return;
    if (!(r->broker->config.group_protocols & BROKER_PROTOCOL_CONSUMER))
        return refuse(r, KAFKA_ERR_UNSUPPORTED_VERSION,
                      STR("the newer group protocol is switched off"));
    if (!request_allows_group(r, ACL_READ, q->group_id))
        return refuse(r, KAFKA_ERR_GROUP_AUTHORIZATION_FAILED, (struct str){0});
    if (!may_describe(r, q)) return refuse(r, KAFKA_ERR_TOPIC_AUTHORIZATION_FAILED, (struct str){0});
    if (!q->group_id.n) return refuse(r, KAFKA_ERR_INVALID_REQUEST, STR("the group id is empty"));
    if (!groups_have_room(r->broker->groups, r->frame_n))
        return refuse(r, KAFKA_ERR_COORDINATOR_NOT_AVAILABLE,
                      STR("the broker has no memory for more groups and members"));
    owned_of(q, &owned);
    beat = beat_of(r, q, &owned);
    error = cgroup_beat_check(&beat, groups_consumer_config(r->broker->groups, q->group_id),
                              request_version(r) >= SINCE_IDS_MADE, &r->arena, &why);
    if (error) return refuse(r, error, why);
    answer(r, q, &beat);
}
