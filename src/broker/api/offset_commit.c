/* OffsetCommit: checks partitions one by one, the member once, and writes what is left in one batch.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "kafka/msg/offset_commit.h"
#include "broker/api.h"
#include "broker/api/seen.h"
#include "broker/groups.h"

enum { IN_ZOOKEEPER = 0 /* offsets kept there */, SINCE_MEMBER_EPOCH = 9 };

struct commit {
    struct request *r;
    const struct offset_commit_request *q;
    struct offset_commit_response a;
    struct offset_put *puts;
    int16_t **codes; /* of the puts, in the answer */
    size_t puts_n;
    struct offset_commit_response_topic **rows; /* of each topic of the request, in the answer */
    struct seen named; /* and not taken yet */
};

static size_t partitions_in(const struct offset_commit_request *q)
{
    size_t n = 0;

    for (size_t i = 0; i < q->topics_n; i++)
        n += q->topics[i].partitions_n;
    return n;
}

/* Topics of one name are answered as one. Their rows come later; until then partitions_n says how many there may be. */
static bool topics_shape(struct commit *c, struct arena *a)
{
    AUTO(map_fini) struct map by_name = {0};

    for (size_t i = 0; i < c->q->topics_n; i++) {
        const struct offset_commit_request_topic *from = &c->q->topics[i];

        if (!(c->rows[i] = map_get_str(&by_name, from->name))) {
            c->rows[i] = &c->a.topics[c->a.topics_n++];
            c->rows[i]->name = from->name;
            (void)map_put_str(&by_name, from->name, c->rows[i]);
        }
        c->rows[i]->partitions_n += from->partitions_n;
        for (size_t k = 0; k < from->partitions_n; k++)
            seen_add(&c->named, from->name, from->partitions[k].partition_index);
    }
    for (size_t i = 0; i < c->a.topics_n; i++) {
        struct offset_commit_response_topic *to = &c->a.topics[i];

        to->partitions = arena_array(a, struct offset_commit_response_partition, to->partitions_n);
        if (to->partitions_n && !to->partitions) return false;
        to->partitions_n = 0;
    }
    return true;
}

static bool answer_shape(struct commit *c)
{
    struct arena *a = &c->r->arena;
    size_t n = partitions_in(c->q);

    c->puts = arena_array(a, struct offset_put, n);
    c->codes = arena_array(a, int16_t *, n);
    c->rows = arena_array(a, struct offset_commit_response_topic *, c->q->topics_n);
    c->a.topics = arena_array(a, struct offset_commit_response_topic, c->q->topics_n);
    if ((n && (!c->puts || !c->codes)) || (c->q->topics_n && (!c->rows || !c->a.topics)))
        return false;
    return topics_shape(c, a);
}

static struct committed committed_of(const struct commit *c,
                                     const struct offset_commit_request_partition *p)
{
    int64_t now_ms = broker_wall_ms(c->r->broker);

    return (struct committed){
        .partition = p->partition_index,
        .leader_epoch = p->committed_leader_epoch,
        .offset = p->committed_offset,
        .commit_ms = p->commit_timestamp >= 0 ? p->commit_timestamp : now_ms,
        .expire_ms = c->q->retention_time_ms >= 0 ? now_ms + c->q->retention_time_ms : -1,
        .metadata = p->committed_metadata};
}

static int16_t *row_add(struct offset_commit_response_topic *to, int32_t partition, int16_t code)
{
    struct offset_commit_response_partition *row = &to->partitions[to->partitions_n++];

    *row = (struct offset_commit_response_partition){partition, code};
    return &row->error_code;
}

/* As in Kafka: of a partition that is named more than once the last counts, and is answered; those that are refused here
 * are answered as often as they are named. */
static void put_add(struct commit *c, const struct offset_commit_request_topic *t,
                    const struct offset_commit_request_partition *p,
                    struct offset_commit_response_topic *to)
{
    if (seen_take(&c->named, t->name, p->partition_index)) return;
    c->codes[c->puts_n] = row_add(to, p->partition_index, 0);
    c->puts[c->puts_n++] = (struct offset_put){t->name, committed_of(c, p)};
}

/* Kafka's order: unknown partitions say so whatever the group is like. */
static void partitions_check(struct commit *c)
{
    struct broker *b = c->r->broker;
    bool group = request_allows_group(c->r, ACL_READ, c->q->group_id);

    for (size_t i = 0; i < c->q->topics_n; i++) {
        const struct offset_commit_request_topic *t = &c->q->topics[i];
        bool topic = !group || request_allows_topic(c->r, ACL_READ, t->name);

        for (size_t k = 0; k < t->partitions_n; k++) {
            const struct offset_commit_request_partition *p = &t->partitions[k];
            int16_t code = !group ? KAFKA_ERR_GROUP_AUTHORIZATION_FAILED
                           : !topic ? KAFKA_ERR_TOPIC_AUTHORIZATION_FAILED
                           : request_version(c->r) == IN_ZOOKEEPER ? KAFKA_ERR_UNSUPPORTED_VERSION
                           : !broker_partition(b, t->name, p->partition_index)
                               ? KAFKA_ERR_UNKNOWN_TOPIC_OR_PARTITION
                               : KAFKA_ERR_NONE;

            if (code)
                (void)row_add(c->rows[i], p->partition_index, code);
            else
                put_add(c, t, p, c->rows[i]);
        }
    }
}

/* Too much metadata spoils its own partition only. */
static void metadata_check(struct commit *c)
{
    size_t n = 0;

    for (size_t i = 0; i < c->puts_n; i++) {
        if ((int64_t)c->puts[i].committed.metadata.n >
            c->r->broker->config.offset_metadata_max_bytes) {
            *c->codes[i] = KAFKA_ERR_OFFSET_METADATA_TOO_LARGE;
            continue;
        }
        c->puts[n] = c->puts[i];
        c->codes[n++] = c->codes[i];
    }
    c->puts_n = n;
}

static void all_codes(struct commit *c, int16_t error)
{
    for (size_t i = 0; i < c->puts_n; i++)
        *c->codes[i] = error;
}

/* Who commits without being a member makes the group, if there is none. */
static struct group_entry *group_of(struct commit *c, int16_t *ret_error)
{
    struct groups *gs = c->r->broker->groups;
    struct group_entry *ge = groups_find(gs, c->q->group_id);

    *ret_error = KAFKA_ERR_NONE;
    if (groups_is_lost(gs, c->q->group_id))
        *ret_error = KAFKA_ERR_COORDINATOR_NOT_AVAILABLE;
    else if (!ge && c->q->generation_id_or_member_epoch >= 0)
        *ret_error = KAFKA_ERR_ILLEGAL_GENERATION;
    else if (!groups_have_room(gs, c->r->frame_n))
        *ret_error = KAFKA_ERR_COORDINATOR_NOT_AVAILABLE;
    else if (!ge && !(ge = groups_get(gs, c->q->group_id)))
        *ret_error = KAFKA_ERR_COORDINATOR_NOT_AVAILABLE;
    return *ret_error ? NULL : ge;
}

static uint64_t commit(struct commit *c)
{
    int16_t error;
    struct group_entry *ge = group_of(c, &error);

    const struct cgroup_member *m = ge && ge->c ? cgroup_member(ge->c, c->q->member_id) : NULL;

    if (m && !m->classic && request_version(c->r) < SINCE_MEMBER_EPOCH)
        error = KAFKA_ERR_UNSUPPORTED_VERSION;
    else if (ge)
        error = groups_may_commit(ge, c->q->member_id, c->q->group_instance_id,
                                  c->q->generation_id_or_member_epoch);
    if (!error) metadata_check(c);
    if (!error) error = groups_put_offsets(ge, c->puts, c->puts_n);
    if (error) all_codes(c, error);
    return ge ? ge->seq : 0;
}

/* A topic without partitions is not answered. */
static void topics_without_rows_drop(struct offset_commit_response *a)
{
    size_t kept = 0;

    for (size_t i = 0; i < a->topics_n; i++)
        if (a->topics[i].partitions_n) a->topics[kept++] = a->topics[i];
    a->topics_n = kept;
}

static void handle(struct commit *c)
{
    uint64_t seq = 0;

    if (!answer_shape(c)) {
        request_close(c->r, "offset commit: too many partitions");
        return;
    }
    partitions_check(c);
    if (c->puts_n) seq = commit(c);
    topics_without_rows_drop(&c->a);
    request_answer_when(c->r, &c->a, seq);
}

void api_offset_commit(struct request *r)
{
    struct commit c = {.r = r, .q = request_decode(r)};

    if (!c.q) return;
    handle(&c);
    seen_fini(&c.named);
}
