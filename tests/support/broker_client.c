/* SPDX-License-Identifier: Apache-2.0 */
#include "broker_client.h"
#include "kafka_call.h"

enum { PRODUCE_VERSION = 9, FETCH_VERSION = 11 };

void client_open(struct client *k, struct rig *g)
{
    memset(k, 0, sizeof *k);
    rig_connect(g, &k->c);
}

void client_close(struct client *k)
{
    if (k->c.rig) rig_hang_up(&k->c);
    arena_fini(&k->arena);
    memset(k, 0, sizeof *k);
}

void client_send(struct client *k, int16_t key, int16_t version, const void *request)
{
    call_send(&k->c, key, version, request);
}

void *client_answer(struct client *k, int16_t key, int16_t version)
{
    return call_answer(&k->c, key, version, &k->arena);
}

void *client_ask(struct client *k, int16_t key, int16_t version, const void *request)
{
    client_send(k, key, version, request);
    return client_answer(k, key, version);
}

void client_create(struct client *k, const char *topic, int32_t partitions, const char *setting,
                   const char *value)
{
    struct create_topics_request_config config = {str_of(setting), str_of(value)};
    struct create_topics_request_topic t = {.name = str_of(topic),
                                            .num_partitions = partitions,
                                            .replication_factor = -1,
                                            .configs = &config,
                                            .configs_n = setting ? 1 : 0};
    struct create_topics_request q = {.topics = &t, .topics_n = 1, .timeout_ms = 1000};
    struct create_topics_response *a = client_ask(k, KAFKA_CREATE_TOPICS, 7, &q);

    must(a && a->topics_n == 1 && !a->topics[0].error_code);
}

struct bytes client_batch(struct client *k, int n, size_t bytes, int64_t producer_id,
                          int32_t sequence)
{
    struct batch_options o = {.has_producer = producer_id >= 0,
                              .producer_id = producer_id,
                              .base_sequence = sequence,
                              .leader_epoch = -1};
    AUTO(buf_fini) struct buf out = {0}, value = {0};
    struct batch_builder w;
    struct bytes view;
    struct err e;

    batch_begin(&w, &out, &o);
    for (int i = 0; i < n; i++) {
        buf_clear(&value);
        buf_printf(&value, "value %d ", i);
        if (value.n < bytes / (size_t)n)
            memset(buf_grow(&value, bytes / (size_t)n - value.n), 'x', bytes / (size_t)n - value.n);
        batch_add(&w, &(struct record_new){.timestamp = 1700000000000,
                                           .key = str_bytes(STR("key")),
                                           .value = buf_view(&value)});
    }
    must(!batch_end(&w, NULL, &view, &e));
    return arena_dup(&k->arena, view);
}

void client_produce_send(struct client *k, const char *topic, int32_t partition, int16_t acks,
                         struct bytes batch)
{
    struct produce_request_partition p = {.index = partition, .records = batch};
    struct produce_request_topic t = {.name = str_of(topic), .partitions = &p, .partitions_n = 1};
    struct produce_request q = {.acks = acks, .timeout_ms = 1000, .topics = &t, .topics_n = 1};

    client_send(k, KAFKA_PRODUCE, PRODUCE_VERSION, &q);
}

int16_t client_produce(struct client *k, const char *topic, int32_t partition, struct bytes batch,
                       int64_t *ret_offset)
{
    struct produce_response *a;

    client_produce_send(k, topic, partition, -1, batch);
    a = client_answer(k, KAFKA_PRODUCE, PRODUCE_VERSION);
    must(a && a->topics_n == 1 && a->topics[0].partitions_n == 1);
    if (ret_offset) *ret_offset = a->topics[0].partitions[0].base_offset;
    return a->topics[0].partitions[0].error_code;
}

void client_fetch_send(struct client *k, const char *topic, int32_t partition, int64_t offset,
                       int32_t wait_ms)
{
    struct fetch_request_partition p = {.partition = partition,
                                        .current_leader_epoch = -1,
                                        .fetch_offset = offset,
                                        .log_start_offset = -1,
                                        .last_fetched_epoch = -1,
                                        .partition_max_bytes = 1 << 30};
    struct fetch_request_topic t = {.topic = str_of(topic), .partitions = &p, .partitions_n = 1};
    struct fetch_request q;

    fetch_request_init_defaults(&q);
    q.max_wait_ms = wait_ms;
    q.min_bytes = 1;
    q.topics = &t;
    q.topics_n = 1;
    client_send(k, KAFKA_FETCH, FETCH_VERSION, &q);
}

struct fetch_response_partition *client_fetched(struct client *k)
{
    struct fetch_response *a = client_answer(k, KAFKA_FETCH, FETCH_VERSION);

    if (!a) return NULL;
    must(a->topics_n == 1 && a->topics[0].partitions_n == 1);
    return &a->topics[0].partitions[0];
}

struct fetch_response_partition *client_fetch(struct client *k, const char *topic,
                                              int32_t partition, int64_t offset)
{
    client_fetch_send(k, topic, partition, offset, 0);
    return client_fetched(k);
}

int64_t client_end(struct client *k, const char *topic, int32_t partition)
{
    struct list_offsets_request_partition p = {
        .partition_index = partition, .current_leader_epoch = -1, .timestamp = -1};
    struct list_offsets_request_topic t = {
        .name = str_of(topic), .partitions = &p, .partitions_n = 1};
    struct list_offsets_request q = {.replica_id = -1, .topics = &t, .topics_n = 1};
    struct list_offsets_response *a = client_ask(k, KAFKA_LIST_OFFSETS, 5, &q);

    must(a && !a->topics[0].partitions[0].error_code);
    return a->topics[0].partitions[0].offset;
}
