/* DescribeTopicPartitions (key 75): topics by name, in pages of partitions; the cursor says where the next page begins.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "kafka/msg/describe_topic_partitions.h"
#include "broker/api.h"
#include "broker/api/seen.h"

struct page {
    struct request *r;
    const struct describe_topic_partitions_request *q;
    struct describe_topic_partitions_response *a;
    int32_t *self;
    int32_t left; /* partitions that still fit */
};

static int by_name(const void *a, const void *b)
{
    return str_cmp(*(const struct str *)a, *(const struct str *)b);
}

static struct str *names_of(struct request *r, const struct describe_topic_partitions_request *q,
                            size_t *ret_n)
{
    AUTO(seen_fini) struct seen seen = {0};
    struct broker *b = r->broker;
    struct str *names = arena_array(&r->arena, struct str, q->topics_n ? q->topics_n : b->topics_n);

    *ret_n = 0;
    for (size_t i = 0; !q->topics_n && i < b->topics_n; i++)
        if (request_allows_topic(r, ACL_DESCRIBE, b->topics_sorted[i]->name)) names[(*ret_n)++] = b->topics_sorted[i]->name;
    for (size_t i = 0; i < q->topics_n; i++)
        if (seen_add(&seen, q->topics[i].name, 0) == 1) names[(*ret_n)++] = q->topics[i].name;
    if (q->topics_n) qsort(names, *ret_n, sizeof *names, by_name);
    return names;
}

static void set_cursor(struct page *g, struct str topic, int32_t partition)
{
    g->a->next_cursor =
        arena_new(&g->r->arena, struct describe_topic_partitions_response_next_cursor);
    g->a->next_cursor->topic_name = topic;
    g->a->next_cursor->partition_index = partition;
}

static void fill(struct page *g, const struct topic *t, int32_t from,
                 struct describe_topic_partitions_response_topic *row)
{
    struct broker *b = g->r->broker;
    int32_t n = MIN(t->partitions_n - from, g->left);

    row->topic_id = t->id;
    row->is_internal = t->internal;
    row->partitions = arena_array(&g->r->arena, struct describe_topic_partitions_response_partition,
                                  (size_t)MAX(n, 0));
    for (int32_t i = 0; i < n; i++) {
        struct describe_topic_partitions_response_partition *p =
            &row->partitions[row->partitions_n++];

        p->partition_index = from + i;
        p->leader_id = b->opt.node_id;
        p->leader_epoch = (int32_t)store_start_number(b->store);
        p->replica_nodes = p->isr_nodes = g->self;
        p->replica_nodes_n = p->isr_nodes_n = 1;
    }
    g->left -= MAX(n, 0);
    if (from + n < t->partitions_n) set_cursor(g, t->name, from + n);
}

static void one(struct page *g, struct str name, int32_t from)
{
    struct topic *t = broker_topic(g->r->broker, name);
    struct describe_topic_partitions_response_topic *row = &g->a->topics[g->a->topics_n++];
    const char *why;

    describe_topic_partitions_response_topic_init_defaults(row);
    row->name = name;
    if (name.n) row->topic_authorized_operations = request_operations(g->r, ACL_TOPIC, name);
    if (!request_allows_topic(g->r, ACL_DESCRIBE, name)) {
        row->topic_authorized_operations = INT32_MIN;
        row->error_code = KAFKA_ERR_TOPIC_AUTHORIZATION_FAILED;
    } else if (t)
        fill(g, t, from, row);
    else
        row->error_code = topic_name_ok(name, &why) ? KAFKA_ERR_UNKNOWN_TOPIC_OR_PARTITION
                                                    : KAFKA_ERR_INVALID_TOPIC_EXCEPTION;
}

static void refuse_cursor(struct page *g)
{
    g->a->topics =
        arena_array(&g->r->arena, struct describe_topic_partitions_response_topic, g->q->topics_n);
    g->a->topics_n = g->q->topics_n;
    for (size_t i = 0; i < g->q->topics_n; i++) {
        describe_topic_partitions_response_topic_init_defaults(&g->a->topics[i]);
        g->a->topics[i].name = g->q->topics[i].name;
        g->a->topics[i].error_code = KAFKA_ERR_INVALID_REQUEST;
    }
}

void api_describe_topic_partitions(struct request *r)
{
    const struct describe_topic_partitions_request *q = request_decode(r);
    struct describe_topic_partitions_response a = {0};
    struct broker *b = r->broker;
    int32_t self = b->opt.node_id;
    struct page g = {.r = r, .q = q, .a = &a, .self = &self};
    struct str *names;
    size_t n;

    if (!q) return;
    g.left = MIN(MAX(q->response_partition_limit, 1), b->config.request_partitions_max);
    if (q->cursor && q->cursor->partition_index < 0) {
        refuse_cursor(&g);
    } else {
        names = names_of(r, q, &n);
        a.topics = arena_array(&r->arena, struct describe_topic_partitions_response_topic, n);
        for (size_t i = 0; i < n && !a.next_cursor; i++) {
            bool here = q->cursor && str_eq(names[i], q->cursor->topic_name);

            if (q->cursor && str_cmp(names[i], q->cursor->topic_name) < 0) continue;
            if (g.left)
                one(&g, names[i], here ? q->cursor->partition_index : 0);
            else
                set_cursor(&g, names[i], 0);
        }
    }
    request_answer_when(r, &a, b->meta_seq);
}
