/* ListOffsets (key 2): the ends of a partition, or where a time begins. Only durable records exist here. A time is looked
 * up in the log's time index, which gives a batch; the record is found by opening it.   SPDX-License-Identifier: Apache-2.0
 */
#include "kafka/msg/list_offsets.h"
#include "broker/api.h"
#include "broker/api/seen.h"
#include "kafka/batch.h"

enum {
    LATEST = -1,
    EARLIEST = -2,
    MAX_TIMESTAMP = -3,
    EARLIEST_LOCAL = -4,
    EXPANDED_BYTES_MAX = 1 << 30
};

struct found {
    int64_t offset, timestamp;
    int32_t epoch;
};

/* The first record of the batch at or after ts; with ts INT64_MIN the first of the latest ones. */
static bool search(struct request *r, struct bytes raw, int64_t ts, struct found *ret)
{
    AUTO(buf_fini) struct buf scratch = {0};
    struct batch b;
    struct records it;
    struct record rec;
    int64_t wanted = ts;

    if (batch_view(raw, &b)) return false;
    if (ts == INT64_MIN) wanted = b.max_timestamp;
    if (records_open(&it, &b, r->broker->codecs, EXPANDED_BYTES_MAX, &scratch)) return false;
    while (records_next(&it, &rec))
        if (rec.timestamp >= wanted) {
            *ret = (struct found){rec.offset, rec.timestamp, b.leader_epoch};
            return true;
        }
    return false;
}

static enum rc by_time(struct request *r, struct log *log, int64_t ts, int64_t high,
                       struct found *ret, struct err *e)
{
    AUTO(buf_fini) struct buf bytes = {0};
    AUTO(log_slice_fini) struct log_slice s = {0};

    if (ts == MAX_TIMESTAMP ? log_find_max_time(log, log_durable_end(log), &s, e)
                            : log_find_time(log, ts, high, &s, e))
        return e->rc;
    if (!s.n) return RC_OK;
    if (log_slice_load(&s, &bytes, e)) return e->rc;
    if (!search(r, buf_view(&bytes), ts == MAX_TIMESTAMP ? INT64_MIN : ts, ret))
        return err_set(e, RC_CORRUPT, "a batch cannot be read");
    if (ret->offset >= high) *ret = (struct found){-1, -1, -1};
    return RC_OK;
}

static int16_t look_up(struct request *r, struct partition *p, bool committed,
                       const struct list_offsets_request_partition *q, struct found *ret)
{
    struct log *log = partition_log(p);
    int32_t ours = (int32_t)store_start_number(r->broker->store);
    int64_t end;
    struct err e;

    *ret = (struct found){-1, -1, -1};
    if (log_health(log, &e)) return KAFKA_ERR_KAFKA_STORAGE_ERROR;
    end = log_durable_end(log);
    if (committed && log_stable_end(log, &end, &e)) return KAFKA_ERR_KAFKA_STORAGE_ERROR;
    if (q->current_leader_epoch != -1 && q->current_leader_epoch != ours)
        return q->current_leader_epoch < ours ? KAFKA_ERR_FENCED_LEADER_EPOCH
                                              : KAFKA_ERR_UNKNOWN_LEADER_EPOCH;
    switch (q->timestamp) {
    case LATEST: *ret = (struct found){end, -1, ours}; return 0;
    case EARLIEST:
    case EARLIEST_LOCAL:
        ret->offset = log_start(log);
        if (log_epoch_at(log, ret->offset, &ret->epoch, &e) || ret->epoch < 0) ret->epoch = ours;
        return 0;
    default: break;
    }
    if (q->timestamp < 0 && q->timestamp != MAX_TIMESTAMP) return KAFKA_ERR_UNSUPPORTED_VERSION;
    return by_time(r, log, q->timestamp, end, ret, &e) ? KAFKA_ERR_KAFKA_STORAGE_ERROR : 0;
}

/* Version 0 answers a list: where to start from, the newest first. */
static void old_style(struct request *r, struct partition *p,
                      const struct list_offsets_request_partition *q,
                      struct list_offsets_response_partition *a)
{
    int64_t start = partition_start(p), high = partition_high(p);

    a->old_style_offsets = arena_array(&r->arena, int64_t, 2);
    if (q->timestamp == LATEST && q->max_num_offsets > 0)
        a->old_style_offsets[a->old_style_offsets_n++] = high;
    if (q->timestamp != LATEST && q->timestamp != EARLIEST && q->timestamp != EARLIEST_LOCAL)
        return;
    if ((int32_t)a->old_style_offsets_n < q->max_num_offsets &&
        (!a->old_style_offsets_n || start < high))
        a->old_style_offsets[a->old_style_offsets_n++] = start;
}

static void one(struct request *r, struct str topic, const struct list_offsets_request_partition *q,
                bool committed, bool allowed, bool twice, struct list_offsets_response_partition *a,
                uint64_t *seq)
{
    struct partition *p = broker_partition(r->broker, topic, q->partition_index);
    struct found f = {-1, -1, -1};

    list_offsets_response_partition_init_defaults(a);
    a->partition_index = q->partition_index;
    if (!allowed)
        a->error_code = KAFKA_ERR_TOPIC_AUTHORIZATION_FAILED;
    else if (twice)
        a->error_code = KAFKA_ERR_INVALID_REQUEST;
    else if (!p)
        a->error_code = KAFKA_ERR_UNKNOWN_TOPIC_OR_PARTITION;
    else if (request_version(r) == 0)
        old_style(r, p, q, a);
    else
        a->error_code = look_up(r, p, committed, q, &f);
    if (p && allowed && q->timestamp != LATEST) *seq = MAX(*seq, log_start_seq(partition_log(p)));
    a->offset = f.offset;
    a->timestamp = f.timestamp;
    a->leader_epoch = f.epoch;
}

void api_list_offsets(struct request *r)
{
    const struct list_offsets_request *q = request_decode(r);
    struct list_offsets_response a = {0};
    AUTO(seen_fini) struct seen seen = {0};
    uint64_t seq = 0;

    if (!q) return;
    for (size_t i = 0; i < q->topics_n; i++)
        for (size_t k = 0; k < q->topics[i].partitions_n; k++)
            seen_add(&seen, q->topics[i].name, q->topics[i].partitions[k].partition_index);
    a.topics = arena_array(&r->arena, struct list_offsets_response_topic, q->topics_n);
    a.topics_n = q->topics_n;
    for (size_t i = 0; i < q->topics_n; i++) {
        bool allowed = request_allows_topic(r, ACL_DESCRIBE, q->topics[i].name);

        a.topics[i].name = q->topics[i].name;
        a.topics[i].partitions_n = q->topics[i].partitions_n;
        a.topics[i].partitions = arena_array(&r->arena, struct list_offsets_response_partition,
                                             q->topics[i].partitions_n);
        for (size_t k = 0; k < q->topics[i].partitions_n; k++) {
            const struct list_offsets_request_partition *p = &q->topics[i].partitions[k];

            one(r, q->topics[i].name, p, q->isolation_level == 1, allowed,
                seen_count(&seen, q->topics[i].name, p->partition_index) > 1,
                &a.topics[i].partitions[k], &seq);
        }
    }
    request_answer_when(r, &a, seq);
}
