/* DescribeLogDirs (key 35): one folder, and how large each partition in it is. SPDX-License-Identifier: Apache-2.0 */
#include "broker/api.h"
#include "kafka/msg/describe_log_dirs.h"
#include <sys/statvfs.h>

static int64_t size_of(struct partition *p)
{
    uint64_t size = 0;
    struct err e;

    return log_size(partition_log(p), &size, &e) ? 0 : (int64_t)size;
}

static void add(struct topic *t, int32_t number, struct describe_log_dirs_response_topic *to)
{
    struct partition *p = topic_partition(t, number);
    struct describe_log_dirs_response_partition *a = &to->partitions[to->partitions_n];

    if (!p) return;
    describe_log_dirs_response_partition_init_defaults(a);
    a->partition_index = number;
    a->partition_size = size_of(p);
    to->partitions_n++;
}

static void all_of(struct request *r, struct topic *t, struct describe_log_dirs_response_topic *to)
{
    to->name = t->name;
    to->partitions = arena_array(&r->arena, struct describe_log_dirs_response_partition, t->partitions_n);
    for (int32_t i = 0; i < t->partitions_n; i++) add(t, i, to);
}

static void asked_of(struct request *r, const struct describe_log_dirs_request_topic *q, struct topic *t,
                     struct describe_log_dirs_response_topic *to)
{
    to->name = t->name;
    to->partitions = arena_array(&r->arena, struct describe_log_dirs_response_partition, q->partitions_n);
    for (size_t i = 0; i < q->partitions_n; i++) add(t, q->partitions[i], to);
}

static void space(struct request *r, struct describe_log_dirs_response_result *a)
{
    struct statvfs v;

    if (statvfs(r->broker->opt.dir, &v)) return;
    a->total_bytes = (int64_t)(v.f_blocks * v.f_frsize);
    a->usable_bytes = (int64_t)(v.f_bavail * v.f_frsize);
}

void api_describe_log_dirs(struct request *r)
{
    const struct describe_log_dirs_request *q = request_decode(r);
    struct describe_log_dirs_response a;
    struct describe_log_dirs_response_result dir;

    if (!q) return;
    describe_log_dirs_response_init_defaults(&a);
    describe_log_dirs_response_result_init_defaults(&dir);
    dir.log_dir = str_of(r->broker->opt.dir);
    space(r, &dir);
    if (q->topics_null) {
        dir.topics = arena_array(&r->arena, struct describe_log_dirs_response_topic, r->broker->topics_n);
        for (struct topic *t = NULL; (t = broker_topic_next(r->broker, t));) all_of(r, t, &dir.topics[dir.topics_n++]);
    } else {
        dir.topics = arena_array(&r->arena, struct describe_log_dirs_response_topic, q->topics_n);
        for (size_t i = 0; i < q->topics_n; i++) {
            struct topic *t = broker_topic(r->broker, q->topics[i].topic);

            if (t) asked_of(r, &q->topics[i], t, &dir.topics[dir.topics_n++]);
        }
    }
    a.results = &dir;
    a.results_n = 1;
    request_answer(r, &a);
}
