/* DescribeLogDirs (key 35): the one data folder, and how large each partition is. AlterReplicaLogDirs (key 34): all is where
 * it can be.   SPDX-License-Identifier: Apache-2.0
 */
#include "kafka/msg/describe_log_dirs.h"
#include "broker/api.h"
#include "broker/api/seen.h"
#include "kafka/msg/alter_replica_log_dirs.h"

static int64_t size_of(struct partition *p)
{
    uint64_t n = 0;
    struct err e;

    return log_size(partition_log(p), &n, &e) ? 0 : (int64_t)n;
}

/* All of a topic, or n of it, in order. */
static void add(struct request *r, struct topic *t, const struct seen_part *wanted, size_t n,
                struct describe_log_dirs_response_result *a)
{
    struct describe_log_dirs_response_topic *row = &a->topics[a->topics_n];

    row->name = t->name;
    row->partitions = arena_array(&r->arena, struct describe_log_dirs_response_partition, n);
    for (size_t i = 0; i < n; i++) {
        struct partition *p = topic_partition(t, wanted ? wanted[i].number : (int32_t)i);

        if (!p || (wanted && i && wanted[i - 1].number == wanted[i].number)) continue;
        row->partitions[row->partitions_n++] = (struct describe_log_dirs_response_partition){
            .partition_index = p->number, .partition_size = size_of(p)};
    }
    if (row->partitions_n) a->topics_n++;
}

/* Each topic and each partition once, however often it is named, as in Kafka. */
static bool add_named(struct request *r, const struct describe_log_dirs_request *q,
                      struct describe_log_dirs_response_result *a)
{
    struct seen_part *parts;
    size_t n = 0;

    for (size_t i = 0; i < q->topics_n; i++)
        n += q->topics[i].partitions_n;
    parts = arena_array(&r->arena, struct seen_part, n);
    if (n && !parts) return false;
    n = 0;
    for (size_t i = 0; i < q->topics_n; i++)
        for (size_t k = 0; k < q->topics[i].partitions_n; k++)
            parts[n++] = (struct seen_part){q->topics[i].topic, q->topics[i].partitions[k], 0};
    seen_parts_sort(parts, n);
    for (size_t at = 0, end; at < n; at = end) {
        struct topic *t = broker_topic(r->broker, parts[at].topic);

        end = seen_topic_end(parts, n, at);
        if (t) add(r, t, &parts[at], end - at, a);
    }
    return true;
}

void api_describe_log_dirs(struct request *r)
{
    const struct describe_log_dirs_request *q = request_decode(r);
    struct describe_log_dirs_response_result dir;
    struct describe_log_dirs_response a = {.results = &dir, .results_n = 1};
    struct broker *b = r->broker;
    struct store_stats stats;

    if (!q) return;
    if (!request_allows_cluster(r, ACL_DESCRIBE)) {
        a.error_code = KAFKA_ERR_CLUSTER_AUTHORIZATION_FAILED;
        a.results_n = 0;
        request_answer(r, &a);
        return;
    }
    store_stats(b->store, &stats);
    describe_log_dirs_response_result_init_defaults(&dir);
    dir.log_dir = str_of(b->opt.dir);
    dir.usable_bytes = (int64_t)stats.disk_free_bytes;
    if (stats.disk_total_bytes) dir.total_bytes = (int64_t)stats.disk_total_bytes;
    dir.error_code = b->fatal ? KAFKA_ERR_KAFKA_STORAGE_ERROR : 0;
    dir.topics = arena_array(&r->arena, struct describe_log_dirs_response_topic,
                             q->topics_null ? b->topics_n : q->topics_n);
    if (q->topics_null)
        for (size_t i = 0; i < b->topics_n; i++)
            add(r, b->topics_sorted[i], NULL, (size_t)b->topics_sorted[i]->partitions_n, &dir);
    if (!add_named(r, q, &dir)) return request_close(r, "describe log dirs: too many partitions");
    request_answer_when(r, &a, store_staged_seq(b->store));
}

static int16_t move(struct request *r, struct str path, struct str topic, int32_t number)
{
    if (!request_allows_cluster(r, ACL_ALTER)) return KAFKA_ERR_CLUSTER_AUTHORIZATION_FAILED;
    if (!str_is(path, r->broker->opt.dir)) return KAFKA_ERR_LOG_DIR_NOT_FOUND;
    return broker_partition(r->broker, topic, number) ? 0 : KAFKA_ERR_UNKNOWN_TOPIC_OR_PARTITION;
}

void api_alter_replica_log_dirs(struct request *r)
{
    const struct alter_replica_log_dirs_request *q = request_decode(r);
    struct alter_replica_log_dirs_response a = {0};
    size_t n = 0;

    if (!q) return;
    for (size_t i = 0; i < q->dirs_n; i++)
        n += q->dirs[i].topics_n;
    a.results = arena_array(&r->arena, struct alter_replica_log_dirs_response_result, n);
    for (size_t i = 0; i < q->dirs_n; i++)
        for (size_t k = 0; k < q->dirs[i].topics_n; k++) {
            const struct alter_replica_log_dirs_request_topic *t = &q->dirs[i].topics[k];
            struct alter_replica_log_dirs_response_result *row = &a.results[a.results_n++];

            row->topic_name = t->name;
            row->partitions_n = t->partitions_n;
            row->partitions = arena_array(
                &r->arena, struct alter_replica_log_dirs_response_partition, t->partitions_n);
            for (size_t p = 0; p < t->partitions_n; p++)
                row->partitions[p] = (struct alter_replica_log_dirs_response_partition){
                    t->partitions[p], move(r, q->dirs[i].path, t->name, t->partitions[p])};
        }
    request_answer_when(r, &a, r->broker->meta_seq);
}
