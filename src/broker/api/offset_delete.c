/* OffsetDelete: single committed offsets of a group, where nobody is using them. SPDX-License-Identifier: Apache-2.0 */
#include "kafka/msg/offset_delete.h"
#include "broker/api.h"
#include "broker/groups.h"

struct del {
    struct request *r;
    const struct offset_delete_request *q;
    struct offset_delete_response a;
    struct offset_del *dels;
    int16_t **codes;
    size_t n;
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
    d->dels = arena_array(a, struct offset_del, n);
    d->codes = arena_array(a, int16_t *, n);
    d->a.topics = arena_array(a, struct offset_delete_response_topic, d->q->topics_n);
    return (!n || (d->dels && d->codes)) && (!d->q->topics_n || d->a.topics);
}

static bool topic_check(struct del *d, const struct group_entry *ge,
                        const struct offset_delete_request_topic *t)
{
    struct offset_delete_response_topic *to = &d->a.topics[d->a.topics_n++];
    bool in_use = !group_entry_is_empty(ge) && group_entry_subscribes(ge, t->name);

    bool allowed = request_allows_topic(d->r, ACL_READ, t->name);

    to->name = t->name;
    to->partitions =
        arena_array(&d->r->arena, struct offset_delete_response_partition, t->partitions_n);
    if (t->partitions_n && !to->partitions) return false;
    for (size_t k = 0; k < t->partitions_n; k++) {
        int32_t partition = t->partitions[k].partition_index;
        struct offset_delete_response_partition *row = &to->partitions[to->partitions_n++];

        row->partition_index = partition;
        if (!allowed) {
            row->error_code = KAFKA_ERR_TOPIC_AUTHORIZATION_FAILED;
        } else if (!broker_partition(d->r->broker, t->name, partition)) {
            row->error_code = KAFKA_ERR_UNKNOWN_TOPIC_OR_PARTITION;
        } else if (in_use) {
            row->error_code = KAFKA_ERR_GROUP_SUBSCRIBED_TO_TOPIC;
        } else {
            d->codes[d->n] = &row->error_code;
            d->dels[d->n++] = (struct offset_del){t->name, partition};
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
            ok = topic_check(&d, ge, &d.q->topics[i]);
        if (!ok) {
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
