/* OffsetDelete: single committed offsets of a group, where nobody is using them. SPDX-License-Identifier: Apache-2.0 */
#include "kafka/msg/offset_delete.h"
#include "broker/api.h"
#include "broker/api/seen.h"
#include "broker/groups.h"

struct del {
    struct request *r;
    const struct offset_delete_request *q;
    struct offset_delete_response a;
    struct seen_part *parts;
    struct offset_del *dels;
    int16_t **codes;
    size_t parts_n, n;
};

static int16_t group_check(const struct group_entry *ge, struct str id)
{
    if (!id.n) return KAFKA_ERR_INVALID_GROUP_ID;
    if (!ge || ge->g.state == GROUP_DEAD) return KAFKA_ERR_GROUP_ID_NOT_FOUND;
    if (!group_entry_is_empty(ge) && !ge->c && !str_is(ge->g.protocol_type, "consumer"))
        return KAFKA_ERR_NON_EMPTY_GROUP;
    return KAFKA_ERR_NONE;
}

static bool room_make(struct del *d)
{
    struct arena *a = &d->r->arena;
    size_t n = 0;

    for (size_t i = 0; i < d->q->topics_n; i++)
        n += d->q->topics[i].partitions_n;
    d->parts = arena_array(a, struct seen_part, n);
    d->dels = arena_array(a, struct offset_del, n);
    d->codes = arena_array(a, int16_t *, n);
    d->a.topics = arena_array(a, struct offset_delete_response_topic, d->q->topics_n);
    return (!n || (d->parts && d->dels && d->codes)) && (!d->q->topics_n || d->a.topics);
}

static void topic_check(struct del *d, const struct group_entry *ge,
                        const struct offset_delete_request_topic *t)
{
    bool in_use = !group_entry_is_empty(ge) && group_entry_subscribes(ge, t->name);
    bool allowed = request_allows_topic(d->r, ACL_READ, t->name);

    for (size_t k = 0; k < t->partitions_n; k++) {
        int32_t partition = t->partitions[k].partition_index;

        d->parts[d->parts_n++] = (struct seen_part){
            t->name, partition,
            !allowed ? KAFKA_ERR_TOPIC_AUTHORIZATION_FAILED
            : !broker_partition(d->r->broker, t->name, partition)
                ? KAFKA_ERR_UNKNOWN_TOPIC_OR_PARTITION
            : in_use ? KAFKA_ERR_GROUP_SUBSCRIBED_TO_TOPIC
                     : KAFKA_ERR_NONE};
    }
}

/* As Kafka answers: one row for a topic, and one for a partition that is there however often it is named. */
static bool rows_make(struct del *d)
{
    seen_parts_sort(d->parts, d->parts_n);
    for (size_t at = 0, end; at < d->parts_n; at = end) {
        struct offset_delete_response_topic *to = &d->a.topics[d->a.topics_n++];

        end = seen_topic_end(d->parts, d->parts_n, at);
        to->name = d->parts[at].topic;
        to->partitions =
            arena_array(&d->r->arena, struct offset_delete_response_partition, end - at);
        if (!to->partitions) return false;
        for (size_t i = at; i < end; i++) {
            const struct seen_part *p = &d->parts[i];
            struct offset_delete_response_partition *row = &to->partitions[to->partitions_n];
            bool there = !p->code || p->code == KAFKA_ERR_GROUP_SUBSCRIBED_TO_TOPIC;

            if (there && i > at && p[-1].number == p->number) continue;
            to->partitions_n++;
            row->partition_index = p->number;
            row->error_code = p->code;
            if (p->code) continue;
            d->codes[d->n] = &row->error_code;
            d->dels[d->n++] = (struct offset_del){p->topic, p->number};
        }
    }
    return true;
}

void api_offset_delete(struct request *r)
{
    struct del d = {.r = r, .q = request_decode(r)};
    struct group_entry *ge;
    uint64_t seq;
    size_t gone;

    if (!d.q) return;
    ge = groups_find(r->broker->groups, d.q->group_id);
    d.a.error_code = !request_allows_group(r, ACL_DELETE, d.q->group_id)
                         ? KAFKA_ERR_GROUP_AUTHORIZATION_FAILED
                     : groups_is_lost(r->broker->groups, d.q->group_id)
                         ? KAFKA_ERR_COORDINATOR_NOT_AVAILABLE
                         : group_check(ge, d.q->group_id);
    if (!d.a.error_code) {
        bool ok = room_make(&d);
        int16_t error;

        for (size_t i = 0; ok && i < d.q->topics_n; i++)
            topic_check(&d, ge, &d.q->topics[i]);
        if (!ok || !rows_make(&d)) {
            request_close(r, "offset delete: too many partitions");
            return;
        }
        error = groups_delete_offsets(ge, d.dels, d.n, &gone);
        for (size_t i = 0; error && i < d.n; i++)
            *d.codes[i] = error;
        if (!error && gone && !ge->c && !ge->offsets.n && group_entry_is_empty(ge))
            (void)groups_remove(&ge,
                                &seq); /* nothing is left of it, as of a group that was deleted */
    }
    request_answer_when(r, &d.a, ge ? ge->seq : groups_gone_seq(r->broker->groups));
}
