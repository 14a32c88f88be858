/* DescribeLogDirs (key 35): the one data folder, and how large each partition is. SPDX-License-Identifier: Apache-2.0 */
#include "kafka/msg/describe_log_dirs.h"
#include "broker/api.h"

static int64_t size_of(struct partition *p)
{
    uint64_t n = 0;
    struct err e;

    return log_size(partition_log(p), &n, &e) ? 0 : (int64_t)n;
}

static void add(struct request *r, struct topic *t, const int32_t *wanted, size_t n,
                struct describe_log_dirs_response_result *a)
{
    struct describe_log_dirs_response_topic *row = &a->topics[a->topics_n];

    row->name = t->name;
    row->partitions = arena_array(&r->arena, struct describe_log_dirs_response_partition, n);
    for (size_t i = 0; i < n; i++) {
        struct partition *p = topic_partition(t, wanted ? wanted[i] : (int32_t)i);

        if (!p) continue;
        row->partitions[row->partitions_n++] = (struct describe_log_dirs_response_partition){
            .partition_index = p->number, .partition_size = size_of(p)};
    }
    if (row->partitions_n) a->topics_n++;
}

void api_describe_log_dirs(struct request *r)
{
    const struct describe_log_dirs_request *q = request_decode(r);
    struct describe_log_dirs_response_result dir;
    struct describe_log_dirs_response a = {.results = &dir, .results_n = 1};
    struct broker *b = r->broker;
    struct store_stats stats;

    if (!q) return;
    store_stats(b->store, &stats);
    describe_log_dirs_response_result_init_defaults(&dir);
    dir.log_dir = str_of(b->opt.dir);
    dir.usable_bytes = (int64_t)stats.disk_free_bytes;
    dir.error_code = b->fatal ? KAFKA_ERR_KAFKA_STORAGE_ERROR : 0;
    dir.topics = arena_array(&r->arena, struct describe_log_dirs_response_topic,
                             q->topics_null ? b->topics_n : q->topics_n);
    if (q->topics_null)
        for (size_t i = 0; i < b->topics_n; i++)
            add(r, b->topics_sorted[i], NULL, (size_t)b->topics_sorted[i]->partitions_n, &dir);
    for (size_t i = 0; i < q->topics_n; i++) {
        struct topic *t = broker_topic(b, q->topics[i].topic);

        if (t) add(r, t, q->topics[i].partitions, q->topics[i].partitions_n, &dir);
    }
    request_answer_when(r, &a, store_staged_seq(b->store));
}
