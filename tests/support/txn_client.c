/* SPDX-License-Identifier: Apache-2.0 */
#include "txn_client.h"
#include "kafka/errors.h"
#include <stdio.h>

enum { TRIES_MAX = 5, ABORTED_MAX = 512 };

void txn_client_open(struct txn_client *p, struct rig *g, const char *id)
{
    *p = (struct txn_client){.id = id, .pid = -1, .epoch = -1, .timeout_ms = 60000};
    client_open(&p->k, g);
}

void txn_client_close(struct txn_client *p)
{
    client_close(&p->k);
}

int16_t txn_client_init_once(struct txn_client *p, int64_t pid, int16_t epoch)
{
    struct init_producer_id_request q = {.transactional_id = str_of(p->id), .transaction_timeout_ms = p->timeout_ms, .producer_id = pid, .producer_epoch = epoch};
    struct init_producer_id_response *a = client_ask(&p->k, KAFKA_INIT_PRODUCER_ID, 5, &q);

    if (!a) return TXN_LOST;
    if (a->error_code) return a->error_code;
    p->pid = a->producer_id;
    p->epoch = a->producer_epoch;
    memset(p->sequence, 0, sizeof p->sequence);
    return 0;
}

int16_t txn_client_init(struct txn_client *p)
{
    int16_t code = KAFKA_ERR_CONCURRENT_TRANSACTIONS;

    for (int i = 0; i < TRIES_MAX && code == KAFKA_ERR_CONCURRENT_TRANSACTIONS; i++) code = txn_client_init_once(p, -1, -1);
    return code;
}

int16_t txn_client_add(struct txn_client *p, const char *topic, int32_t partition)
{
    struct add_partitions_to_txn_request_topic t = {str_of(topic), &partition, 1};
    struct add_partitions_to_txn_request q = {.v3_and_below_transactional_id = str_of(p->id), .v3_and_below_producer_id = p->pid,
                                              .v3_and_below_producer_epoch = p->epoch, .v3_and_below_topics = &t, .v3_and_below_topics_n = 1};
    struct add_partitions_to_txn_response *a = client_ask(&p->k, KAFKA_ADD_PARTITIONS_TO_TXN, 3, &q);

    return a ? a->results_by_topic_v3_and_below[0].results_by_partition[0].partition_error_code : TXN_LOST;
}

struct bytes txn_client_batch(struct txn_client *p, int32_t sequence, bool transactional, int value)
{
    struct batch_options o = {.transactional = transactional, .has_producer = true, .producer_id = p->pid, .producer_epoch = p->epoch,
                              .base_sequence = sequence, .leader_epoch = -1};
    AUTO(buf_fini) struct buf out = {0};
    struct batch_builder w;
    struct bytes view;
    struct err e;
    char text[16];

    snprintf(text, sizeof text, "%d", value);
    batch_begin(&w, &out, &o);
    batch_add(&w, &(struct record_new){.timestamp = 1700000000000, .key = str_bytes(str_of(text)), .value = str_bytes(str_of(text))});
    must(!batch_end(&w, NULL, &view, &e));
    return arena_dup(&p->k.arena, view);
}

int16_t txn_client_produce(struct txn_client *p, const char *topic, int32_t partition, struct bytes batch, int64_t *ret_offset)
{
    struct produce_request_partition row = {.index = partition, .records = batch};
    struct produce_request_topic t = {.name = str_of(topic), .partitions = &row, .partitions_n = 1};
    struct produce_request q = {.transactional_id = str_of(p->id), .acks = -1, .timeout_ms = 1000, .topics = &t, .topics_n = 1};
    struct produce_response *a = client_ask(&p->k, KAFKA_PRODUCE, TXN_PRODUCE_VERSION, &q);

    if (!a) return TXN_LOST;
    if (ret_offset) *ret_offset = a->topics[0].partitions[0].base_offset;
    return a->topics[0].partitions[0].error_code;
}

int16_t txn_client_write(struct txn_client *p, const char *topic, int32_t partition, int value)
{
    int16_t code = txn_client_produce(p, topic, partition, txn_client_batch(p, p->sequence[partition], true, value), NULL);

    if (!code) p->sequence[partition]++;
    return code;
}

int16_t txn_client_offset(struct txn_client *p, const char *group, const char *topic, int32_t partition, int64_t offset)
{
    struct add_offsets_to_txn_request q = {str_of(p->id), p->pid, p->epoch, str_of(group)};
    struct txn_offset_commit_request_partition row = {partition, offset, -1, STR("")};
    struct txn_offset_commit_request_topic t = {str_of(topic), &row, 1};
    struct txn_offset_commit_request c = {.transactional_id = str_of(p->id), .group_id = str_of(group), .producer_id = p->pid,
                                          .producer_epoch = p->epoch, .generation_id = -1, .member_id = STR(""), .topics = &t, .topics_n = 1};
    struct add_offsets_to_txn_response *a = client_ask(&p->k, KAFKA_ADD_OFFSETS_TO_TXN, 3, &q);
    struct txn_offset_commit_response *b;

    if (!a || a->error_code) return a ? a->error_code : TXN_LOST;
    b = client_ask(&p->k, KAFKA_TXN_OFFSET_COMMIT, 4, &c);
    return b ? b->topics[0].partitions[0].error_code : TXN_LOST;
}

int16_t txn_client_end(struct txn_client *p, bool commit)
{
    struct end_txn_request q = {str_of(p->id), p->pid, p->epoch, commit};
    struct end_txn_response *a = client_ask(&p->k, KAFKA_END_TXN, 4, &q);

    return a ? a->error_code : TXN_LOST;
}

/* ---- reading ---- */

struct aborted { int64_t pid, first; bool open; };
struct reading { struct aborted list[ABORTED_MAX]; size_t n; int *values, got, max; };

static void take_batch(struct reading *r, const struct batch *b)
{
    AUTO(buf_fini) struct buf scratch = {0};
    struct records it;
    struct record rec;
    struct control c;
    char text[16];

    if (batch_control(b, &c)) {                          /* an abort marker ends what was aborted */
        for (size_t i = 0; i < r->n; i++)
            if (c.type == CONTROL_ABORT && r->list[i].open && r->list[i].pid == b->producer_id && r->list[i].first < b->base_offset)
                r->list[i].open = false;
        return;
    }
    for (size_t i = 0; i < r->n; i++)
        if (batch_is(b, BATCH_TRANSACTIONAL) && r->list[i].open && r->list[i].pid == b->producer_id && r->list[i].first <= b->base_offset) return;
    must(!records_open(&it, b, NULL, 1 << 20, &scratch));
    while (records_next(&it, &rec) && r->got < r->max) {
        snprintf(text, sizeof text, "%.*s", (int)MIN(rec.value.n, (size_t)15), (const char *)rec.value.p);
        r->values[r->got++] = atoi(text);
    }
}

static struct fetch_response_partition *fetch(struct client *k, const char *topic, int32_t partition, int64_t offset)
{
    struct fetch_request_partition p = {.partition = partition, .current_leader_epoch = -1, .fetch_offset = offset, .log_start_offset = -1,
                                        .last_fetched_epoch = -1, .partition_max_bytes = 1 << 30};
    struct fetch_request_topic t = {.topic = str_of(topic), .partitions = &p, .partitions_n = 1};
    struct fetch_response *a;
    struct fetch_request q;

    fetch_request_init_defaults(&q);
    q.isolation_level = 1;
    q.topics = &t;
    q.topics_n = 1;
    a = client_ask(k, KAFKA_FETCH, 11, &q);
    return a ? &a->topics[0].partitions[0] : NULL;
}

int txn_read(struct client *k, const char *topic, int32_t partition, int *values, int max, int64_t *ret_stable, int64_t *ret_high)
{
    struct reading r = {.values = values, .max = max};
    struct fetch_response_partition *p;
    int64_t at = 0;

    for (;;) {
        struct batch b;

        if (!(p = fetch(k, topic, partition, at)) || p->error_code) return -1;
        if (ret_stable) *ret_stable = p->last_stable_offset;
        if (ret_high) *ret_high = p->high_watermark;
        if (!p->records.n) return r.got;
        for (r.n = 0; r.n < p->aborted_transactions_n && r.n < ABORTED_MAX; r.n++)
            r.list[r.n] = (struct aborted){p->aborted_transactions[r.n].producer_id, p->aborted_transactions[r.n].first_offset, true};
        for (size_t done = 0; done < p->records.n; done += b.raw.n) {
            must(!batch_view(bytes_of(p->records.p + done, p->records.n - done), &b));
            take_batch(&r, &b);
            at = batch_last_offset(&b) + 1;
        }
    }
}

int64_t txn_committed(struct client *k, const char *group, const char *topic, int32_t partition, int16_t *ret_code)
{
    struct offset_fetch_request_group_topic t = {str_of(topic), &partition, 1};
    struct offset_fetch_request_group g = {.group_id = str_of(group), .member_epoch = -1, .topics = &t, .topics_n = 1};
    struct offset_fetch_request q = {.groups = &g, .groups_n = 1, .require_stable = true};
    struct offset_fetch_response *a = client_ask(k, KAFKA_OFFSET_FETCH, 8, &q);

    *ret_code = !a ? TXN_LOST : a->groups[0].topics_n ? a->groups[0].topics[0].partitions[0].error_code : a->groups[0].error_code;
    return a && a->groups[0].topics_n ? a->groups[0].topics[0].partitions[0].committed_offset : -1;
}
