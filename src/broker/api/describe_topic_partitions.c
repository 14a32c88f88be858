/* DescribeTopicPartitions (key 75): topics in the order of their names, a limited number of partitions a time, and a cursor
 * to go on from. SPDX-License-Identifier: Apache-2.0 */
#include "broker/api.h"
#include "kafka/msg/describe_topic_partitions.h"

enum { PARTITIONS_MAX = 2000 };

struct page {
    struct request *r;
    struct describe_topic_partitions_response a;
    int32_t room;
};

static void partition_fill(struct page *g, int32_t number, struct describe_topic_partitions_response_partition *a)
{
    struct broker *b = g->r->broker;

    describe_topic_partitions_response_partition_init_defaults(a);
    a->partition_index = number;
    a->leader_id = b->opt.node_id;
    a->leader_epoch = (int32_t)store_start_number(b->store);
    a->replica_nodes = a->isr_nodes = &b->opt.node_id;
    a->replica_nodes_n = a->isr_nodes_n = 1;
    a->eligible_leader_replicas_null = a->last_known_elr_null = false;
}

/* False: the page is full, and the cursor says where to go on. */
static bool topic_add(struct page *g, struct topic *t, int32_t from)
{
    struct describe_topic_partitions_response_topic *a = &g->a.topics[g->a.topics_n];
    int32_t n = MIN(t->partitions_n - from, g->room);

    if (g->room == 0) {
        g->a.next_cursor = arena_new(&g->r->arena, struct describe_topic_partitions_response_next_cursor);
        *g->a.next_cursor = (struct describe_topic_partitions_response_next_cursor){t->name, from};
        return false;
    }
    describe_topic_partitions_response_topic_init_defaults(a);
    a->name = t->name;
    a->topic_id = t->id;
    a->is_internal = t->internal;
    a->topic_authorized_operations = TOPIC_OPERATIONS_ALL;
    a->partitions = arena_array(&g->r->arena, struct describe_topic_partitions_response_partition, n);
    for (int32_t i = 0; i < n; i++) partition_fill(g, from + i, &a->partitions[a->partitions_n++]);
    g->a.topics_n++;
    g->room -= n;
    return from + n == t->partitions_n || topic_add(g, t, from + n);
}

static void unknown_add(struct page *g, struct str name)
{
    struct describe_topic_partitions_response_topic *a = &g->a.topics[g->a.topics_n++];

    describe_topic_partitions_response_topic_init_defaults(a);
    a->name = name;
    a->error_code = topic_name_ok(name, &(const char *){NULL}) ? KAFKA_ERR_UNKNOWN_TOPIC_OR_PARTITION : KAFKA_ERR_INVALID_TOPIC_EXCEPTION;
}

static int by_name(const void *a, const void *b)
{
    const struct describe_topic_partitions_request_topic *x = a, *y = b;

    return str_cmp(x->name, y->name);
}

static bool before(struct str name, const struct describe_topic_partitions_request *q)
{
    return q->cursor && str_cmp(name, q->cursor->topic_name) < 0;
}

static int32_t from_of(struct str name, const struct describe_topic_partitions_request *q, const struct topic *t)
{
    return q->cursor && str_eq(name, q->cursor->topic_name) ? MIN(MAX(q->cursor->partition_index, 0), t->partitions_n) : 0;
}

static void named(struct page *g, struct describe_topic_partitions_request *q)
{
    if (q->topics_n) qsort(q->topics, q->topics_n, sizeof q->topics[0], by_name);
    g->a.topics = arena_array(&g->r->arena, struct describe_topic_partitions_response_topic, q->topics_n);
    for (size_t i = 0; i < q->topics_n; i++) {
        struct str name = q->topics[i].name;
        struct topic *t = broker_topic(g->r->broker, name);

        if (before(name, q) || (i && str_eq(name, q->topics[i - 1].name))) continue;
        if (!t) unknown_add(g, name);
        else if (!topic_add(g, t, from_of(name, q, t))) return;
    }
}

static void all(struct page *g, const struct describe_topic_partitions_request *q)
{
    g->a.topics = arena_array(&g->r->arena, struct describe_topic_partitions_response_topic, g->r->broker->topics_n);
    for (struct topic *t = NULL; (t = broker_topic_next(g->r->broker, t));)
        if (!before(t->name, q) && !topic_add(g, t, from_of(t->name, q, t))) return;
}

void api_describe_topic_partitions(struct request *r)
{
    struct describe_topic_partitions_request *q = request_decode(r);
    struct page g = {.r = r};

    if (!q) return;
    g.room = q->response_partition_limit > 0 ? MIN(q->response_partition_limit, (int32_t)PARTITIONS_MAX) : PARTITIONS_MAX;
    if (q->topics_n) named(&g, q);
    else all(&g, q);
    request_answer_when(r, &g.a, r->broker->meta_seq);
}
