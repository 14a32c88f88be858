/* OffsetFetch: committed offsets, of one group up to version 7, of several from 8 on. What was not committed is no error
 * but -1. The older versions are read and answered as if they asked for one group of the newer shape.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "kafka/msg/offset_fetch.h"
#include "broker/api.h"
#include "broker/api/seen.h"
#include "broker/groups.h"

enum { IN_ZOOKEEPER = 0, SINCE_GROUP_ERROR = 2, SINCE_SEVERAL = 8 };

typedef bool (*fill_fn)(struct request *r, const struct group_entry *ge,
                        const struct offset_fetch_request_group *q,
                        struct offset_fetch_response_group *to);

static struct offset_fetch_response_group_topic_partition row_of(const struct committed *c,
                                                                 int32_t partition)
{
    if (!c)
        return (struct offset_fetch_response_group_topic_partition){.partition_index = partition,
                                                                    .committed_offset = -1,
                                                                    .committed_leader_epoch = -1,
                                                                    .metadata = STR("")};
    return (struct offset_fetch_response_group_topic_partition){.partition_index = partition,
                                                                .committed_offset = c->offset,
                                                                .committed_leader_epoch =
                                                                    c->leader_epoch,
                                                                .metadata = c->metadata};
}

/* Who reads what transactions commit wants to wait until they are decided (KIP-447). */
static bool is_unstable(const struct request *r, struct str group, struct str topic,
                        int32_t partition)
{
    return *(const bool *)r->ctx &&
           groups_offset_is_pending(r->broker->groups, group, topic, partition);
}

static struct offset_fetch_response_group_topic_partition unstable_row(int32_t partition)
{
    struct offset_fetch_response_group_topic_partition row = row_of(NULL, partition);

    row.error_code = KAFKA_ERR_UNSTABLE_OFFSET_COMMIT;
    return row;
}

static bool rows_begin(struct request *r, struct offset_fetch_response_group_topic *to,
                       struct str name, size_t n)
{
    to->name = name;
    to->partitions = arena_array(&r->arena, struct offset_fetch_response_group_topic_partition, n);
    to->partitions_n = n;
    return !n || to->partitions;
}

static bool fill_all(struct request *r, const struct group_entry *ge,
                     const struct offset_fetch_request_group *q,
                     struct offset_fetch_response_group *to)
{
    if (!ge) return true;
    to->topics =
        arena_array(&r->arena, struct offset_fetch_response_group_topic, ge->offsets.topics_n);
    if (ge->offsets.topics_n && !to->topics) return false;
    for (size_t i = 0; i < ge->offsets.topics_n; i++) {
        const struct offsets_topic *t = &ge->offsets.topics[i];

        if (!request_allows_topic(r, ACL_DESCRIBE, t->name)) continue;
        if (!rows_begin(r, &to->topics[to->topics_n], t->name, t->n)) return false;
        for (size_t k = 0; k < t->n; k++)
            to->topics[to->topics_n].partitions[k] =
                is_unstable(r, q->group_id, t->name, t->items[k].partition)
                    ? unstable_row(t->items[k].partition)
                    : row_of(&t->items[k], t->items[k].partition);
        to->topics_n++;
    }
    return true;
}

static bool fill_asked(struct request *r, const struct group_entry *ge,
                       const struct offset_fetch_request_group *q,
                       struct offset_fetch_response_group *to)
{
    AUTO(seen_fini) struct seen seen = {0};
    int16_t version =
        request_version(r) == IN_ZOOKEEPER ? KAFKA_ERR_UNSUPPORTED_VERSION : to->error_code;

    to->topics = arena_array(&r->arena, struct offset_fetch_response_group_topic, q->topics_n);
    if (q->topics_n && !to->topics) return false;
    for (size_t i = 0; i < q->topics_n; i++) {
        const struct offset_fetch_request_group_topic *t = &q->topics[i];
        struct offset_fetch_response_group_topic *rows = &to->topics[to->topics_n++];

        int16_t code = request_allows_topic(r, ACL_DESCRIBE, t->name)
                           ? version
                           : KAFKA_ERR_TOPIC_AUTHORIZATION_FAILED;

        if (!rows_begin(r, rows, t->name, t->partition_indexes_n)) return false;
        rows->partitions_n = 0;
        for (size_t k = 0; k < t->partition_indexes_n; k++) {
            int32_t partition = t->partition_indexes[k];
            struct offset_fetch_response_group_topic_partition *row = &rows->partitions[rows->partitions_n];

            if (seen_add(&seen, t->name, partition) > 1) continue; /* asked for again: one answer, as Kafka gives */
            rows->partitions_n++;
            *row = row_of(ge && !code ? offsets_get(&ge->offsets, t->name, partition) : NULL, partition);
            row->error_code = code;
            if (!code && is_unstable(r, q->group_id, t->name, partition)) *row = unstable_row(partition);
        }
    }
    return true;
}

static bool one_group(struct request *r, const struct offset_fetch_request_group *q,
                      struct offset_fetch_response_group *to, uint64_t *seq)
{
    const struct group_entry *ge = groups_find(r->broker->groups, q->group_id);
    fill_fn fill = q->topics_null ? fill_all : fill_asked;

    to->group_id = q->group_id;
    if (!request_allows_group(r, ACL_DESCRIBE, q->group_id)) {
        to->error_code = KAFKA_ERR_GROUP_AUTHORIZATION_FAILED;
        return true;
    }
    if (ge) *seq = MAX(*seq, ge->seq);
    if (groups_is_lost(r->broker->groups, q->group_id)) to->error_code = KAFKA_ERR_COORDINATOR_NOT_AVAILABLE;
    if (ge && ge->c) to->error_code = cgroup_may_read(ge->c, q->member_id, q->member_epoch);
    return (to->error_code && request_version(r) >= SINCE_GROUP_ERROR) || fill(r, ge, q, to);
}

/* The older question in the newer shape. */
static bool ask_old(struct request *r, const struct offset_fetch_request *q,
                    struct offset_fetch_request_group *to)
{
    *to = (struct offset_fetch_request_group){
        .group_id = q->group_id, .topics_null = q->topics_null, .member_epoch = -1};
    to->topics = arena_array(&r->arena, struct offset_fetch_request_group_topic, q->topics_n);
    if (q->topics_n && !to->topics) return false;
    for (size_t i = 0; i < q->topics_n; i++)
        to->topics[to->topics_n++] = (struct offset_fetch_request_group_topic){
            q->topics[i].name, q->topics[i].partition_indexes, q->topics[i].partition_indexes_n};
    return true;
}

/* … and the newer answer in the older one. */
static bool answer_old(struct request *r, const struct offset_fetch_response_group *from,
                       struct offset_fetch_response *a)
{
    a->topics = arena_array(&r->arena, struct offset_fetch_response_topic, from->topics_n);
    if (from->topics_n && !a->topics) return false;
    for (size_t i = 0; i < from->topics_n; i++) {
        const struct offset_fetch_response_group_topic *t = &from->topics[i];
        struct offset_fetch_response_topic *to = &a->topics[a->topics_n++];

        to->name = t->name;
        to->partitions =
            arena_array(&r->arena, struct offset_fetch_response_partition, t->partitions_n);
        if (t->partitions_n && !to->partitions) return false;
        for (size_t k = 0; k < t->partitions_n; k++)
            to->partitions[to->partitions_n++] = (struct offset_fetch_response_partition){
                .partition_index = t->partitions[k].partition_index,
                .committed_offset = t->partitions[k].committed_offset,
                .committed_leader_epoch = t->partitions[k].committed_leader_epoch,
                .metadata = t->partitions[k].metadata,
                .error_code = t->partitions[k].error_code};
    }
    return true;
}

static bool fetch_one(struct request *r, const struct offset_fetch_request *q,
                      struct offset_fetch_response *a, uint64_t *seq)
{
    struct offset_fetch_request_group asked;
    struct offset_fetch_response_group found = {0};

    if (!ask_old(r, q, &asked) || !one_group(r, &asked, &found, seq)) return false;
    a->error_code = found.error_code;
    return answer_old(r, &found, a);
}

static bool fetch_several(struct request *r, const struct offset_fetch_request *q,
                          struct offset_fetch_response *a, uint64_t *seq)
{
    a->groups = arena_array(&r->arena, struct offset_fetch_response_group, q->groups_n);
    if (q->groups_n && !a->groups) return false;
    for (size_t i = 0; i < q->groups_n; i++)
        if (!one_group(r, &q->groups[i], &a->groups[a->groups_n++], seq)) return false;
    return true;
}

void api_offset_fetch(struct request *r)
{
    const struct offset_fetch_request *q = request_decode(r);
    struct offset_fetch_response a = {0};
    uint64_t seq = groups_gone_seq(r->broker->groups);
    bool ok, stable;

    if (!q) return;
    stable = q->require_stable;
    r->ctx = &stable; /* for is_unstable */
    if (request_version(r) < SINCE_SEVERAL)
        ok = fetch_one(r, q, &a, &seq);
    else
        ok = fetch_several(r, q, &a, &seq);
    r->ctx = NULL;
    if (ok)
        request_answer_when(r, &a, seq);
    else
        request_close(r, "offset fetch: too many partitions");
}
