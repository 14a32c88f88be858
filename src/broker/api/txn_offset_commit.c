/* TxnOffsetCommit (key 28): offsets that count when the transaction commits. Checked like OffsetCommit, and the group's partition of
 * __consumer_offsets must take part in the transaction. SPDX-License-Identifier: Apache-2.0 */
#include "kafka/msg/txn_offset_commit.h"
#include "broker/api.h"
#include "broker/api/seen.h"
#include "broker/groups.h"
#include "kafka/batch.h"

enum { SINCE_ABORTABLE = 4 };

struct commit {
    struct request *r;
    const struct txn_offset_commit_request *q;
    struct txn_offset_commit_response a;
    struct offset_put *puts;
    size_t puts_n;
    struct seen named; /* and not taken yet */
};

static bool shape(struct commit *c)
{
    struct arena *a = &c->r->arena;
    size_t n = 0;

    c->a.topics = arena_array(a, struct txn_offset_commit_response_topic, c->q->topics_n);
    if (c->q->topics_n && !c->a.topics) return false;
    for (size_t i = 0; i < c->q->topics_n; i++) {
        struct txn_offset_commit_response_topic *t = &c->a.topics[c->a.topics_n++];
        size_t rows = c->q->topics[i].partitions_n;

        t->name = c->q->topics[i].name;
        t->partitions = arena_array(a, struct txn_offset_commit_response_partition, rows);
        if (rows && !t->partitions) return false;
        for (size_t k = 0; k < rows; k++)
            seen_add(&c->named, t->name, c->q->topics[i].partitions[k].partition_index);
        n += rows;
    }
    c->puts = arena_array(a, struct offset_put, n);
    return !n || c->puts;
}

static int16_t check_one(struct commit *c, struct str topic,
                         const struct txn_offset_commit_request_partition *p)
{
    if (!request_allows_txn(c->r, ACL_WRITE, c->q->transactional_id))
        return KAFKA_ERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED;
    if (!request_allows_group(c->r, ACL_READ, c->q->group_id))
        return KAFKA_ERR_GROUP_AUTHORIZATION_FAILED;
    if (!request_allows_topic(c->r, ACL_READ, topic)) return KAFKA_ERR_TOPIC_AUTHORIZATION_FAILED;
    if (!broker_partition(c->r->broker, topic, p->partition_index))
        return KAFKA_ERR_UNKNOWN_TOPIC_OR_PARTITION;
    return KAFKA_ERR_NONE;
}

static void partitions_check(struct commit *c)
{
    for (size_t i = 0; i < c->q->topics_n; i++) {
        const struct txn_offset_commit_request_topic *t = &c->q->topics[i];

        for (size_t k = 0; k < t->partitions_n; k++) {
            const struct txn_offset_commit_request_partition *p = &t->partitions[k];
            struct txn_offset_commit_response_topic *to = &c->a.topics[i];
            struct txn_offset_commit_response_partition *row = &to->partitions[to->partitions_n];
            int16_t code = check_one(c, t->name, p);

            if (!code && seen_take(&c->named, t->name, p->partition_index)) continue; /* the last counts, as in offset_commit.c */
            if (!code && (int64_t)p->committed_metadata.n > c->r->broker->config.offset_metadata_max_bytes)
                code = KAFKA_ERR_OFFSET_METADATA_TOO_LARGE;
            *row = (struct txn_offset_commit_response_partition){p->partition_index, code};
            to->partitions_n++;
            if (code) continue;
            c->puts[c->puts_n++] = (struct offset_put){
                t->name,
                {.partition = p->partition_index,
                 .leader_epoch = p->committed_leader_epoch,
                 .offset = p->committed_offset,
                 .commit_ms = broker_wall_ms(c->r->broker),
                 .expire_ms = -1,
                 .metadata = p->committed_metadata.p ? p->committed_metadata : STR("")}};
        }
    }
}

static void all(struct commit *c, int16_t code)
{
    for (size_t i = 0; i < c->a.topics_n; i++)
        for (size_t k = 0; k < c->a.topics[i].partitions_n; k++)
            if (!c->a.topics[i].partitions[k].error_code)
                c->a.topics[i].partitions[k].error_code = code;
}

/* The epoch must be the coordinator's: a newer one would keep the marker out for good. */
static int16_t check_txn(struct commit *c)
{
    struct topic *t = broker_topic(c->r->broker, GROUPS_TOPIC);
    struct producer_ident who = {c->q->producer_id, c->q->producer_epoch};
    int16_t code;

    if (!t) return KAFKA_ERR_COORDINATOR_NOT_AVAILABLE;
    code = txns_verify(c->r->broker->txns, c->q->transactional_id, who, GROUPS_TOPIC,
                       kafka_partition_of_group(c->q->group_id, topic_partitions(t)));
    if (code == KAFKA_ERR_PRODUCER_FENCED) return KAFKA_ERR_INVALID_PRODUCER_EPOCH;
    if (code == KAFKA_ERR_CONCURRENT_TRANSACTIONS) return KAFKA_ERR_COORDINATOR_NOT_AVAILABLE;
    if (code == KAFKA_ERR_TRANSACTION_ABORTABLE && request_version(c->r) < SINCE_ABORTABLE)
        return KAFKA_ERR_INVALID_TXN_STATE;
    return code;
}

/* KIP-447: who says that it is a member must be one, of this generation. A rebalance does not keep it from committing. */
static int16_t check_member(struct commit *c, struct group_entry *ge)
{
    int16_t code;

    if (c->q->generation_id < 0 && !c->q->member_id.n && !c->q->group_instance_id.p)
        return KAFKA_ERR_NONE;
    code = groups_may_commit(ge, c->q->member_id, c->q->group_instance_id, c->q->generation_id);
    if (code == KAFKA_ERR_STALE_MEMBER_EPOCH)
        code = KAFKA_ERR_ILLEGAL_GENERATION; /* this request knows no member epochs */
    return code == KAFKA_ERR_REBALANCE_IN_PROGRESS ? KAFKA_ERR_NONE : code;
}

static uint64_t commit(struct commit *c)
{
    struct groups *gs = c->r->broker->groups;
    struct producer_ident who = {c->q->producer_id, c->q->producer_epoch};
    struct group_entry *ge = groups_find(gs, c->q->group_id);
    int16_t code = KAFKA_ERR_NONE;

    if (!c->q->transactional_id.n)
        code = KAFKA_ERR_INVALID_REQUEST;
    else if (!c->q->group_id.n)
        code = KAFKA_ERR_INVALID_GROUP_ID;
    else if (groups_is_lost(gs, c->q->group_id))
        code = KAFKA_ERR_COORDINATOR_NOT_AVAILABLE;
    else if (!ge && c->q->generation_id >= 0)
        code = KAFKA_ERR_ILLEGAL_GENERATION;
    else if (!groups_have_room(gs, c->r->frame_n) ||
             (!ge && !(ge = groups_get(gs, c->q->group_id))))
        code = KAFKA_ERR_COORDINATOR_NOT_AVAILABLE;
    if (!code) code = check_member(c, ge);
    if (!code) code = check_txn(c);
    if (!code) code = groups_put_offsets_txn(ge, who, c->puts, c->puts_n);
    if (code) all(c, code);
    return ge ? ge->seq : 0;
}

/* A topic without partitions is not answered. */
static void topics_without_rows_drop(struct txn_offset_commit_response *a)
{
    size_t kept = 0;

    for (size_t i = 0; i < a->topics_n; i++)
        if (a->topics[i].partitions_n) a->topics[kept++] = a->topics[i];
    a->topics_n = kept;
}

static void handle(struct commit *c)
{
    uint64_t seq = 0;

    if (!shape(c)) {
        request_close(c->r, "transactional offset commit: too many partitions");
        return;
    }
    partitions_check(c);
    if (c->puts_n) seq = commit(c);
    topics_without_rows_drop(&c->a);
    request_answer_when(c->r, &c->a, seq);
}

void api_txn_offset_commit(struct request *r)
{
    struct commit c = {.r = r, .q = request_decode(r)};

    if (!c.q) return;
    handle(&c);
    seen_fini(&c.named);
}
