/* Administration of a whole broker: quotas and what clients above them feel. SPDX-License-Identifier: Apache-2.0 */
#include <isa-l/crc.h>
#include <stdio.h>
#include "broker/core.h"
#include "broker/group_config.h"
#include "broker_client.h"
#include "kafka/compress.h"
#include "test.h"

struct box {
    struct rig g;
    struct client k;
};

static struct box *box_open(uint64_t seed)
{
    struct box *x = xnew(struct box);

    rig_init(&x->g, seed);
    assert_int_equal(rig_open(&x->g), RC_OK);
    client_open(&x->k, &x->g);
    return x;
}

static void box_close(struct box *x)
{
    client_close(&x->k);
    rig_close(&x->g);
    rig_fini(&x->g);
    free(x);
}

static void box_power_cut(struct box *x)
{
    client_close(&x->k);
    fs_sim_cut(x->g.disk);
    rig_crash(&x->g);
    fs_sim_power_on(x->g.disk);
    if (rig_open(&x->g)) fail_msg("%s", x->g.err.text);
    client_open(&x->k, &x->g);
}

/* ---- quotas ---- */

/* name NULL: the default of all. */
static int16_t quota_alter(struct box *x, const char *type, const char *name, const char *key,
                           double value, bool remove)
{
    struct alter_client_quotas_request_entity who = {str_of(type),
                                                     name ? str_of(name) : (struct str){0}};
    struct alter_client_quotas_request_op op = {str_of(key), value, remove};
    struct alter_client_quotas_request_entry entry = {
        .entity = &who, .entity_n = 1, .ops = &op, .ops_n = 1};
    struct alter_client_quotas_request q = {.entries = &entry, .entries_n = 1};
    struct alter_client_quotas_response *a = client_ask(&x->k, KAFKA_ALTER_CLIENT_QUOTAS, 1, &q);

    assert_int_equal(a->entries_n, 1);
    return a->entries[0].error_code;
}

static struct describe_client_quotas_response *quotas(struct box *x)
{
    struct describe_client_quotas_request q = {0};

    return client_ask(&x->k, KAFKA_DESCRIBE_CLIENT_QUOTAS, 1, &q);
}

static void quotas_survive_a_power_cut(void **state)
{
    struct describe_client_quotas_response *a;

    (void)state;
    for (uint64_t seed = 1; seed <= 10; seed++) {
        struct box *x = box_open(seed);

        assert_int_equal(quota_alter(x, "user", "u", "producer_byte_rate", 1000, false), 0);
        assert_int_equal(quota_alter(x, "user", "u", "request_percentage", 12.5, false), 0);
        assert_int_equal(quota_alter(x, "client-id", NULL, "consumer_byte_rate", 7, false), 0);
        assert_int_equal(quota_alter(x, "client-id", NULL, "consumer_byte_rate", 0, true), 0);
        box_power_cut(x);
        a = quotas(x);
        assert_int_equal(a->entries_n, 1);
        assert_int_equal(a->entries[0].values_n, 2);
        assert_true(str_is(a->entries[0].entity[0].entity_name, "u"));
        assert_true(str_is(a->entries[0].values[0].key, "producer_byte_rate"));
        assert_true(a->entries[0].values[0].value == 1000);
        assert_true(a->entries[0].values[1].value == 12.5);
        box_close(x);
    }
}

static void an_entity_is_the_same_in_any_order_of_its_parts(void **state)
{
    enum { PARTS = 30000 };
    struct box *x = box_open(3);
    struct alter_client_quotas_request_entity *many =
        xnew_array(struct alter_client_quotas_request_entity, PARTS);
    struct alter_client_quotas_request_entity one[] = {
        {STR("user"), STR("x")}, {STR("client-id"), STR("c")}, {STR("user"), STR("u")}};
    struct alter_client_quotas_request_entity other[] = {{STR("client-id"), STR("c")},
                                                         {STR("user"), STR("u")}};
    struct alter_client_quotas_request_op op = {STR("producer_byte_rate"), 5, false};
    struct alter_client_quotas_request_entry entries[] = {
        {.entity = one, .entity_n = 3, .ops = &op, .ops_n = 1},
        {.entity = other, .entity_n = 2, .ops = &op, .ops_n = 1}};
    struct alter_client_quotas_request q = {.entries = entries, .entries_n = 2};
    struct alter_client_quotas_response *a;

    (void)state;
    a = client_ask(&x->k, KAFKA_ALTER_CLIENT_QUOTAS, 1, &q);
    assert_int_equal(a->entries_n, 1); /* named twice, and refused once */
    assert_int_equal(a->entries[0].error_code, KAFKA_ERR_INVALID_REQUEST);
    q.entries_n = 1;
    a = client_ask(&x->k, KAFKA_ALTER_CLIENT_QUOTAS, 1, &q);
    assert_int_equal(a->entries[0].error_code, 0);
    assert_int_equal(a->entries[0].entity_n, 2);
    assert_true(str_is(a->entries[0].entity[1].entity_name, "u")); /* the last of its type */

    for (int i = 0; i < PARTS; i++) /* quickly, and without gigabytes of texts */
        many[i] = (struct alter_client_quotas_request_entity){
            arena_printf(&x->k.arena, "type %d", i), STR("")};
    entries[0].entity = many;
    entries[0].entity_n = PARTS;
    assert_non_null(a = client_ask(&x->k, KAFKA_ALTER_CLIENT_QUOTAS, 1, &q));
    assert_int_equal(a->entries[0].error_code, KAFKA_ERR_INVALID_REQUEST);
    assert_int_equal(a->entries[0].entity_n, PARTS);
    free(many);
    box_close(x);
}

static void a_producer_above_its_rate_is_told_and_not_heard_for_so_long(void **state)
{
    struct box *x = box_open(2);
    struct api_versions_request versions = {.client_software_name = STR("a"),
                                            .client_software_version = STR("1")};
    struct produce_response *a;
    int32_t ms;

    (void)state;
    client_create(&x->k, "t", 1, NULL, NULL);
    assert_int_equal(quota_alter(x, "client-id", NULL, "producer_byte_rate", 1000, false), 0);
    client_produce_send(&x->k, "t", 0, -1, client_batch(&x->k, 1, 9000, -1, -1));
    a = client_answer(&x->k, KAFKA_PRODUCE, 9);
    assert_int_equal(a->throttle_time_ms, 0);
    client_produce_send(&x->k, "t", 0, -1, client_batch(&x->k, 1, 9000, -1, -1));
    a = client_answer(&x->k, KAFKA_PRODUCE, 9);
    assert_int_equal(a->topics[0].partitions[0].error_code, 0);
    ms = a->throttle_time_ms;
    assert_in_range(ms, 8000, 8800);
    client_send(&x->k, KAFKA_API_VERSIONS, 3, &versions);
    rig_advance(&x->g, (uint64_t)ms - 1);
    assert_null(client_answer(&x->k, KAFKA_API_VERSIONS, 3));
    rig_advance(&x->g, 1);
    assert_non_null(client_answer(&x->k, KAFKA_API_VERSIONS, 3));
    assert_int_equal(client_end(&x->k, "t", 0), 2);
    box_close(x);
}

static void a_consumer_above_its_rate_gets_nothing_until_the_time_is_over(void **state)
{
    struct box *x = box_open(3);
    struct fetch_response *a;
    int got = 0, withheld = 0;

    (void)state;
    client_create(&x->k, "t", 1, NULL, NULL);
    assert_int_equal(client_produce(&x->k, "t", 0, client_batch(&x->k, 1, 4000, -1, -1), NULL), 0);
    assert_int_equal(quota_alter(x, "client-id", NULL, "consumer_byte_rate", 1000, false), 0);
    for (int i = 0; i < 10; i++) { /* 40 kB at 1 kB a second */
        client_fetch_send(&x->k, "t", 0, 0, 100);
        if (!(a = client_answer(&x->k, KAFKA_FETCH, 11))) fail_msg("no answer to fetch %d", i);
        if (a->throttle_time_ms) {
            assert_int_equal(a->topics_n, 0);
            withheld++;
            rig_advance(&x->g, (uint64_t)a->throttle_time_ms);
        } else {
            assert_true(a->topics[0].partitions[0].records.n > 4000);
            got++;
        }
    }
    assert_true(got >= 4);
    assert_true(withheld >= 2);
    box_close(x);
}

static void topics_above_the_rate_of_changes_are_refused_to_those_who_know_the_error(void **state)
{
    struct box *x = box_open(4);
    struct create_topics_request_topic t = {
        .name = STR("many"), .num_partitions = 20, .replication_factor = 1};
    struct create_topics_request q = {.topics = &t, .topics_n = 1, .timeout_ms = 1000};
    struct create_topics_response *a;

    (void)state;
    assert_int_equal(quota_alter(x, "user", NULL, "controller_mutation_rate", 1, false), 0);
    a = client_ask(&x->k, KAFKA_CREATE_TOPICS, 7, &q);
    assert_int_equal(a->topics[0].error_code, 0); /* 11 in the bucket: overdrawn by 9 */
    assert_int_equal(a->throttle_time_ms, 0);
    t.name = STR("more");
    a = client_ask(&x->k, KAFKA_CREATE_TOPICS, 7, &q);
    assert_int_equal(a->topics[0].error_code, KAFKA_ERR_THROTTLING_QUOTA_EXCEEDED);
    assert_int_equal(a->throttle_time_ms, 9000);
    assert_null(broker_topic(x->g.b, STR("more")));
    rig_advance(&x->g, 9000);
    t.num_partitions = 2;
    a = client_ask(&x->k, KAFKA_CREATE_TOPICS, 5, &q);
    assert_int_equal(a->topics[0].error_code, 0);
    assert_int_equal(a->throttle_time_ms, 2000);
    box_close(x);
}

static void a_client_that_leaves_while_it_is_not_heard_is_forgotten(void **state)
{
    struct box *x = box_open(5);

    (void)state;
    client_create(&x->k, "t", 1, NULL, NULL);
    assert_int_equal(quota_alter(x, "client-id", NULL, "producer_byte_rate", 1, false), 0);
    client_produce_send(&x->k, "t", 0, -1, client_batch(&x->k, 1, 1000, -1, -1));
    assert_non_null(client_answer(&x->k, KAFKA_PRODUCE, 9));
    client_produce_send(&x->k, "t", 0, 0, client_batch(&x->k, 1, 1000, -1, -1));
    client_close(&x->k);
    rig_advance(&x->g, 1000000);
    client_open(&x->k, &x->g);
    assert_int_equal(client_end(&x->k, "t", 0), 1);
    box_close(x);
}

/* While a worker is at it 100 ms pass with every look at the clock. */
static uint64_t racing_clock(const struct clock *c)
{
    struct clock_sim *s = container_of(c, struct clock_sim, clock);

    return s->mono_us += 100000;
}

static void what_workers_do_counts_for_the_request_quota_of_the_client(void **state)
{
    struct box *x = box_open(11);
    uint64_t (*quiet)(const struct clock *c) = x->g.clock.clock.mono_us;
    struct produce_response *a;

    (void)state;
    client_create(&x->k, "t", 1, NULL, NULL);
    assert_int_equal(quota_alter(x, "client-id", "test", "request_percentage", 0.5, false), 0);
    x->g.hold_oldest = true;
    client_produce_send(&x->k, "t", 0, -1, client_batch(&x->k, 1, 10 << 20, -1, -1));
    assert_null(client_answer(&x->k, KAFKA_PRODUCE, 9));
    x->g.clock.clock.mono_us = racing_clock;
    assert_true(workers_run_one(x->g.workers));
    x->g.clock.clock.mono_us = quiet;
    x->g.hold_oldest = false;
    rig_settle(&x->g);
    a = client_answer(&x->k, KAFKA_PRODUCE, 9);
    assert_int_equal(a->topics[0].partitions[0].error_code, 0);
    assert_in_range(a->throttle_time_ms, 1, 1000); /* 10 % of a second, in ten: above 0.5 % */
    box_close(x);
}

/* Each is small, and the loop reads such batches itself; not all of a request that has many. */
static void small_batches_that_expand_to_much_together_are_a_workers(void **state)
{
    enum { BATCHES = 4, EACH = 3 << 20 };
    struct box *x = box_open(13);
    AUTO(buf_fini) struct buf out = {0}, value = {0};
    AUTO(codecs_freep) struct codecs *codecs = codecs_new();
    struct batch_options o = {
        .producer_id = -1, .base_sequence = -1, .leader_epoch = -1, .codec = KAFKA_CODEC_ZSTD};
    struct produce_request_partition rows[BATCHES];
    struct produce_request_topic t = {
        .name = STR("t"), .partitions = rows, .partitions_n = BATCHES};
    struct produce_request q = {
        .acks = -1, .timeout_ms = 1000, .topics = &t, .topics_n = 1};
    struct produce_response *a;
    struct batch_builder w;
    struct broker_stats s;
    struct bytes view;
    struct err e;

    (void)state;
    client_create(&x->k, "t", BATCHES, NULL, NULL);
    memset(buf_grow(&value, EACH), 'x', EACH);
    batch_begin(&w, &out, &o);
    batch_add(&w, &(struct record_new){.timestamp = 1, .value = buf_view(&value)});
    assert_int_equal(batch_end(&w, codecs, &view, &e), RC_OK);
    for (int i = 0; i < BATCHES; i++)
        rows[i] = (struct produce_request_partition){.index = i, .records = view};
    x->g.hold_oldest = true;
    client_send(&x->k, KAFKA_PRODUCE, 9, &q);
    broker_stats(x->g.b, &s);
    assert_int_equal(s.requests_parked, 1); /* for a worker */
    assert_int_equal(s.produce_batches, 2);
    x->g.hold_oldest = false;
    rig_settle(&x->g);
    assert_non_null(a = client_answer(&x->k, KAFKA_PRODUCE, 9));
    for (int i = 0; i < BATCHES; i++) {
        assert_int_equal(a->topics[0].partitions[i].error_code, 0);
        assert_int_equal(client_end(&x->k, "t", i), 1);
    }
    box_close(x);
}

/* A message set of format 1: one message, in which another of `bytes` zeros is compressed. */
static struct bytes old_set(struct codecs *c, size_t bytes, struct buf *out)
{
    AUTO(buf_fini) struct buf inner = {0}, small = {0};
    struct err e;

    for (int depth = 0; depth < 2; depth++) {
        struct buf *to = depth ? out : &inner;
        uint8_t *p = buf_grow(to, 34);

        memset(p, 0, 34);
        p[16] = 1;                                   /* the magic */
        p[17] = depth ? KAFKA_CODEC_GZIP : 0;
        store_be32(p + 26, UINT32_MAX);              /* no key */
        store_be32(p + 30, (uint32_t)(depth ? small.n : bytes));
        if (depth)
            buf_append(to, buf_view(&small));
        else
            memset(buf_grow(to, bytes), 0, bytes);
        store_be32(to->p + 8, (uint32_t)(to->n - 12));
        store_be32(to->p + 12, crc32_gzip_refl(0, to->p + 16, to->n - 16));
        if (!depth)
            assert_int_equal(kafka_compress(c, KAFKA_CODEC_GZIP, buf_view(to), &small, &e), RC_OK);
    }
    return buf_view(out);
}

static void old_message_sets_that_expand_to_much_together_are_refused(void **state)
{
    enum { SETS = 4 };
    struct box *x = box_open(14);
    AUTO(codecs_freep) struct codecs *codecs = codecs_new();
    AUTO(buf_fini) struct buf set = {0};
    struct produce_request_partition rows[SETS];
    struct produce_request_topic t = {
        .name = STR("t"), .partitions = rows, .partitions_n = SETS};
    struct produce_request q = {
        .acks = -1, .timeout_ms = 1000, .topics = &t, .topics_n = 1};
    struct produce_response *a;
    struct bytes view = old_set(codecs, 12 << 20, &set);

    (void)state;
    client_create(&x->k, "t", SETS, NULL, NULL);
    for (int i = 0; i < SETS; i++)
        rows[i] = (struct produce_request_partition){.index = i, .records = view};
    assert_non_null(a = client_ask(&x->k, KAFKA_PRODUCE, 2, &q));
    for (int i = 0; i < SETS; i++)
        assert_int_equal(a->topics[0].partitions[i].error_code,
                         i < 2 ? 0 : KAFKA_ERR_MESSAGE_TOO_LARGE);
    set.p[set.n - 1] ^= 1; /* damaged at its end: all of it is read for nothing */
    store_be32(set.p + 12, crc32_gzip_refl(0, set.p + 16, set.n - 16));
    assert_non_null(a = client_ask(&x->k, KAFKA_PRODUCE, 2, &q));
    for (int i = 0; i < SETS; i++)
        assert_int_equal(a->topics[0].partitions[i].error_code,
                         i < 2 ? KAFKA_ERR_INVALID_RECORD : KAFKA_ERR_MESSAGE_TOO_LARGE);
    box_close(x);
}

static void nobody_looks_again_at_a_bomb_whose_client_is_gone(void **state)
{
    struct box *x = box_open(12);
    AUTO(buf_fini) struct buf out = {0}, value = {0};
    AUTO(codecs_freep) struct codecs *codecs = codecs_new();
    struct batch_options o = {
        .producer_id = -1, .base_sequence = -1, .leader_epoch = -1, .codec = KAFKA_CODEC_ZSTD};
    struct batch_builder w;
    struct bytes view;
    struct err e;

    (void)state;
    client_create(&x->k, "t", 1, NULL, NULL);
    memset(buf_grow(&value, 40 << 20), 'x', 40 << 20); /* more than is looked at side by side */
    batch_begin(&w, &out, &o);
    batch_add(&w, &(struct record_new){.timestamp = 1, .value = buf_view(&value)});
    assert_int_equal(batch_end(&w, codecs, &view, &e), RC_OK);
    x->g.hold_oldest = true;
    client_produce_send(&x->k, "t", 0, -1, view);
    assert_int_equal(workers_runnable(x->g.workers), 1);
    client_close(&x->k);
    assert_true(workers_run_one(x->g.workers));
    rig_settle(&x->g);
    assert_int_equal(workers_runnable(x->g.workers), 0);
    x->g.hold_oldest = false;
    box_close(x);
}

/* ---- client metrics ---- */

static int16_t setting_set(struct box *x, int8_t type, const char *name, const char *key,
                           const char *value)
{
    struct incremental_alter_configs_request_config c = {.name = str_of(key),
                                                         .config_operation = value ? 0 : 1,
                                                         .value = value ? str_of(value)
                                                                        : (struct str){0}};
    struct incremental_alter_configs_request_resource res = {
        .resource_type = type, .resource_name = str_of(name), .configs = &c, .configs_n = 1};
    struct incremental_alter_configs_request q = {.resources = &res, .resources_n = 1};
    struct incremental_alter_configs_response *a =
        client_ask(&x->k, KAFKA_INCREMENTAL_ALTER_CONFIGS, 1, &q);

    return a->responses[0].error_code;
}

static int16_t metrics_set(struct box *x, const char *name, const char *key, const char *value)
{
    return setting_set(x, 16, name, key, value);
}

static struct get_telemetry_subscriptions_response *subscriptions(struct box *x, uint8_t id)
{
    struct get_telemetry_subscriptions_request q = {.client_instance_id = {{id}}};

    return client_ask(&x->k, KAFKA_GET_TELEMETRY_SUBSCRIPTIONS, 0, &q);
}

static int16_t pushed(struct box *x, uint8_t id, int32_t subscription, bool last)
{
    struct push_telemetry_request q = {.client_instance_id = {{id}},
                                       .subscription_id = subscription,
                                       .terminating = last,
                                       .metrics = bytes_of("m", 1)};
    struct push_telemetry_response *a = client_ask(&x->k, KAFKA_PUSH_TELEMETRY, 0, &q);

    return a->error_code;
}

static void subscriptions_say_who_pushes_what_and_survive_a_power_cut(void **state)
{
    struct box *x = box_open(6);
    struct get_telemetry_subscriptions_response *a;
    struct list_client_metrics_resources_request list = {0};
    struct list_client_metrics_resources_response *all;

    (void)state;
    a = subscriptions(x, 1);
    assert_int_equal(a->requested_metrics_n, 0);
    assert_int_equal(a->push_interval_ms, 300000);
    assert_int_equal(metrics_set(x, "s", "metrics", "org.a.,org.b."), 0);
    assert_int_equal(metrics_set(x, "s", "interval.ms", "2000"), 0);
    assert_int_equal(metrics_set(x, "s", "match", "client_id=te.t,client_source_port=.*"), 0);
    assert_int_equal(metrics_set(x, "other", "metrics", "*"), 0);
    assert_int_equal(metrics_set(x, "other", "match", "client_id=es"), 0); /* not all of "test" */
    assert_int_equal(metrics_set(x, "gone", "metrics", "*"), 0);
    assert_int_equal(metrics_set(x, "gone", "metrics", NULL), 0);
    assert_int_equal(metrics_set(x, "s", "match", "no_such=1"), KAFKA_ERR_INVALID_CONFIG);
    assert_int_equal(metrics_set(x, "s", "match", "client_id=["), KAFKA_ERR_INVALID_CONFIG);
    assert_int_equal(metrics_set(x, "s", "interval.ms", "99"), KAFKA_ERR_INVALID_REQUEST);
    assert_int_equal(metrics_set(x, "", "interval.ms", "1000"), KAFKA_ERR_INVALID_REQUEST);
    box_power_cut(x);
    all = client_ask(&x->k, KAFKA_LIST_CLIENT_METRICS_RESOURCES, 0, &list);
    assert_int_equal(all->client_metrics_resources_n, 2);
    a = subscriptions(x, 1);
    assert_int_equal(a->requested_metrics_n, 2);
    assert_true(str_is(a->requested_metrics[0], "org.a."));
    assert_int_equal(a->push_interval_ms, 2000);
    box_close(x);
}

static void clients_keep_to_the_interval_of_their_subscription(void **state)
{
    struct box *x = box_open(7);
    int32_t id = subscriptions(x, 1)->subscription_id;

    (void)state;
    assert_int_equal(subscriptions(x, 1)->error_code, KAFKA_ERR_THROTTLING_QUOTA_EXCEEDED);
    assert_int_equal(pushed(x, 1, id, false), 0);
    assert_int_equal(pushed(x, 1, id, false), KAFKA_ERR_THROTTLING_QUOTA_EXCEEDED);
    assert_int_equal(pushed(x, 2, id, false), KAFKA_ERR_UNKNOWN_SUBSCRIPTION_ID);
    assert_int_equal(pushed(x, 0, id, false), KAFKA_ERR_INVALID_REQUEST);
    rig_advance(&x->g, 300000);
    assert_int_equal(pushed(x, 1, id + 1, false), KAFKA_ERR_UNKNOWN_SUBSCRIPTION_ID);
    assert_int_equal(pushed(x, 1, id, true), 0);
    assert_int_equal(pushed(x, 1, id, true), KAFKA_ERR_INVALID_REQUEST);
    box_close(x);
}

/* ---- settings of groups ---- */

static int16_t group_set(struct box *x, const char *group, const char *key, const char *value)
{
    return setting_set(x, 32, group, key, value);
}

static struct describe_configs_response_config *group_setting(struct box *x, const char *group,
                                                              const char *key)
{
    struct str name = str_of(key);
    struct describe_configs_request_resource res = {.resource_type = 32,
                                                    .resource_name = str_of(group),
                                                    .configuration_keys = &name,
                                                    .configuration_keys_n = 1};
    struct describe_configs_request q = {
        .resources = &res, .resources_n = 1, .include_synonyms = true};
    struct describe_configs_response *a = client_ask(&x->k, KAFKA_DESCRIBE_CONFIGS, 4, &q);

    assert_int_equal(a->results[0].error_code, 0);
    return a->results[0].configs_n ? &a->results[0].configs[0] : NULL;
}

static int32_t interval_told(struct box *x, const char *group, int32_t epoch)
{
    struct str topic = STR("t");
    struct consumer_group_heartbeat_request q = {.group_id = str_of(group),
                                                 .member_id = STR("m"),
                                                 .member_epoch = epoch,
                                                 .rebalance_timeout_ms = 60000,
                                                 .subscribed_topic_names = &topic,
                                                 .subscribed_topic_names_n = 1};
    struct consumer_group_heartbeat_response *a =
        client_ask(&x->k, KAFKA_CONSUMER_GROUP_HEARTBEAT, 1, &q);

    return a->error_code ? -a->error_code : a->heartbeat_interval_ms;
}

static void a_group_has_settings_of_its_own_over_power_cuts(void **state)
{
    static const char *const session = "consumer.session.timeout.ms",
                             *const interval = "consumer.heartbeat.interval.ms";
    struct box *x = box_open(8);
    struct list_client_metrics_resources_request list = {0};
    struct list_client_metrics_resources_response *all;
    struct describe_configs_response_config *c;
    int8_t kind = 32;

    (void)state;
    c = group_setting(x, "g", session);
    assert_true(str_is(c->value, "45000") && c->config_source == 5);
    assert_int_equal(group_set(x, "g", session, " 50000 "), 0);
    assert_int_equal(group_set(x, "g", interval, "7000"), 0);
    assert_int_equal(group_set(x, "gone", interval, "7000"), 0);
    assert_int_equal(group_set(x, "gone", interval, NULL), 0);
    assert_int_equal(group_set(x, "g", session, "44999"), KAFKA_ERR_INVALID_CONFIG); /* the least */
    assert_int_equal(group_set(x, "g", interval, "15001"), KAFKA_ERR_INVALID_CONFIG); /* the most */
    assert_int_equal(group_set(x, "g", interval, "many"), KAFKA_ERR_INVALID_CONFIG);
    assert_int_equal(group_set(x, "g", "share.session.timeout.ms", "1"), KAFKA_ERR_INVALID_CONFIG);
    assert_int_equal(group_set(x, "g", "no.such", NULL), 0);
    assert_int_equal(group_set(x, "", session, "50000"), KAFKA_ERR_INVALID_REQUEST);
    for (int i = 0; i < 2; i++) {
        const char *other = i ? "second" : "first";

        c = group_setting(x, "g", session);
        assert_true(str_is(c->value, "50000"));
        assert_int_equal(c->config_source, 8);
        assert_int_equal(c->synonyms[0].source, 8);
        assert_int_equal(interval_told(x, "g", i), 7000);
        assert_int_equal(interval_told(x, other, 0), 5000);
        rig_advance(&x->g, 45000);
        assert_int_equal(interval_told(x, other, 1), -KAFKA_ERR_UNKNOWN_MEMBER_ID);
        assert_int_equal(interval_told(x, "g", 1), 7000); /* its session is longer */
        all = client_ask(&x->k, KAFKA_LIST_CLIENT_METRICS_RESOURCES, 1,
                         &(struct list_client_metrics_resources_request){&kind, 1});
        assert_int_equal(all->client_metrics_resources_n, 1);
        assert_true(str_is(all->client_metrics_resources[0].name, "g"));
        assert_int_equal(all->client_metrics_resources[0].resource_type, 32);
        if (i == 0) box_power_cut(x);
    }
    all = client_ask(&x->k, KAFKA_LIST_CLIENT_METRICS_RESOURCES, 0, &list);
    assert_int_equal(all->client_metrics_resources_n, 0);
    kind = 99;
    all = client_ask(&x->k, KAFKA_LIST_CLIENT_METRICS_RESOURCES, 1,
                     &(struct list_client_metrics_resources_request){&kind, 1});
    assert_int_equal(all->error_code, KAFKA_ERR_UNSUPPORTED_VERSION);
    box_close(x);
}

static void of_settings_of_groups_there_is_a_ceiling_and_nothing_is_no_setting(void **state)
{
    struct group_config_values own = {.value = {45000, 0}}, nothing = {0};
    struct box *x = box_open(9);
    uint64_t seq;
    struct err e;

    (void)state;
    for (int i = 0; i < GROUP_CONFIGS_MAX; i++) {
        char name[16];

        snprintf(name, sizeof name, "g%d", i);
        assert_int_equal(broker_group_config_set(x->g.b, str_of(name), &own, &seq, &e), RC_OK);
        if (i % 1000 == 0) rig_settle(&x->g);
    }
    assert_int_equal(broker_group_config_set(x->g.b, STR("one more"), &own, &seq, &e), RC_OVERLOAD);
    assert_int_equal(broker_group_config_set(x->g.b, STR("one more"), &nothing, &seq, &e), RC_OK);
    assert_int_equal(broker_group_config_set(x->g.b, STR("g7"), &nothing, &seq, &e), RC_OK);
    assert_int_equal(broker_group_config_set(x->g.b, STR("one more"), &own, &seq, &e), RC_OK);
    rig_settle(&x->g);
    box_close(x);
}

/* ---- named twice ---- */

enum { TWICE_N = 4 };
static int32_t twice_numbers[TWICE_N] = {1, 0, 1, 0};

static void twice_prepare(struct box *x)
{
    struct create_topics_request_topic t = {
        .name = STR("t"), .num_partitions = 2, .replication_factor = 1};
    struct create_topics_request made = {.topics = &t, .topics_n = 1, .timeout_ms = 1000};
    struct offset_commit_request_partition parts[] = {
        {.partition_index = 0, .committed_offset = 3, .committed_leader_epoch = -1},
        {.partition_index = 1, .committed_offset = 4, .committed_leader_epoch = -1}};
    struct offset_commit_request_topic row = {STR("t"), parts, 2};
    struct offset_commit_request commit = {.group_id = STR("g"),
                                           .generation_id_or_member_epoch = -1,
                                           .member_id = STR(""),
                                           .topics = &row,
                                           .topics_n = 1};
    struct offset_commit_response *a;

    client_ask(&x->k, KAFKA_CREATE_TOPICS, 7, &made);
    a = client_ask(&x->k, KAFKA_OFFSET_COMMIT, 8, &commit);
    assert_int_equal(a->topics[0].partitions[0].error_code, 0);
}

static void log_dirs_tell_of_a_partition_once_however_often_it_is_named(void **state)
{
    struct box *x = box_open(5);
    struct describe_log_dirs_request_topic topics[] = {
        {STR("t"), twice_numbers, 3}, {STR("none"), twice_numbers, 1}, {STR("t"), twice_numbers, 4}};
    struct describe_log_dirs_request q = {.topics = topics, .topics_n = countof(topics)};
    struct describe_log_dirs_response *a;

    (void)state;
    twice_prepare(x);
    a = client_ask(&x->k, KAFKA_DESCRIBE_LOG_DIRS, 4, &q);
    assert_int_equal(a->results[0].topics_n, 1);
    assert_int_equal(a->results[0].topics[0].partitions_n, 2);
    assert_int_equal(a->results[0].topics[0].partitions[0].partition_index, 0);
    assert_int_equal(a->results[0].topics[0].partitions[1].partition_index, 1);
    box_close(x);
}

/* As Kafka has it: what is there once, what is not as often as it is named. */
static void an_offset_is_deleted_and_answered_once_however_often_it_is_named(void **state)
{
    struct box *x = box_open(6);
    struct offset_delete_request_partition parts[] = {{1}, {9}, {0}, {1}, {9}};
    struct offset_delete_request_topic topics[] = {{STR("t"), parts, 5}, {STR("t"), parts, 1}, {STR("none"), parts, 0}};
    struct offset_delete_request q = {STR("g"), topics, countof(topics)};
    struct offset_delete_response *a;
    static const struct { int32_t number; int16_t code; } wanted[] = {
        {0, 0}, {1, 0}, {9, KAFKA_ERR_UNKNOWN_TOPIC_OR_PARTITION}, {9, KAFKA_ERR_UNKNOWN_TOPIC_OR_PARTITION}};

    (void)state;
    twice_prepare(x);
    a = client_ask(&x->k, KAFKA_OFFSET_DELETE, 0, &q);
    assert_int_equal(a->error_code, 0);
    assert_int_equal(a->topics_n, 1);
    assert_int_equal(a->topics[0].partitions_n, countof(wanted));
    for (size_t i = 0; i < countof(wanted); i++) {
        assert_int_equal(a->topics[0].partitions[i].partition_index, wanted[i].number);
        assert_int_equal(a->topics[0].partitions[i].error_code, wanted[i].code);
    }
    box_close(x);
}

static void a_transaction_is_told_once_of_what_it_names_twice_when_each_has_its_own_code(void **state)
{
    struct box *x = box_open(7);
    struct init_producer_id_request init = {
        .transactional_id = STR("x"), .transaction_timeout_ms = 60000, .producer_id = -1, .producer_epoch = -1};
    struct init_producer_id_response *who;
    struct add_partitions_to_txn_request_topic topics[] = {
        {STR("t"), twice_numbers, TWICE_N}, {STR("none"), twice_numbers, 3}, {STR("t"), twice_numbers, 1}};
    struct add_partitions_to_txn_request q = {
        .v3_and_below_transactional_id = STR("x"), .v3_and_below_topics = topics};
    struct add_partitions_to_txn_response *a;

    (void)state;
    twice_prepare(x);
    who = client_ask(&x->k, KAFKA_INIT_PRODUCER_ID, 4, &init);
    q.v3_and_below_producer_id = who->producer_id;
    q.v3_and_below_producer_epoch = who->producer_epoch;
    q.v3_and_below_topics_n = 3;
    a = client_ask(&x->k, KAFKA_ADD_PARTITIONS_TO_TXN, 3, &q);
    assert_int_equal(a->results_by_topic_v3_and_below_n, 2);
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(a->results_by_topic_v3_and_below[i].results_by_partition_n, 2);
        for (size_t k = 0; k < 2; k++)
            assert_int_equal(a->results_by_topic_v3_and_below[i].results_by_partition[k].partition_error_code,
                             i ? KAFKA_ERR_OPERATION_NOT_ATTEMPTED : KAFKA_ERR_UNKNOWN_TOPIC_OR_PARTITION);
    }
    q.v3_and_below_topics_n = 1; /* all is well: as it was asked */
    a = client_ask(&x->k, KAFKA_ADD_PARTITIONS_TO_TXN, 3, &q);
    assert_int_equal(a->results_by_topic_v3_and_below[0].results_by_partition_n, TWICE_N);
    box_close(x);
}

/* As Kafka has it: in its first place, with what was said last. Without a session, by names and by ids. */
static void a_partition_is_fetched_once_from_where_was_said_last(void **state)
{
    enum { BEHIND_THE_END = 5 };
    struct box *x = box_open(8);
    struct fetch_request_partition parts[] = {{.partition = 1}, {.partition = 0},
                                              {.partition = 1, .fetch_offset = BEHIND_THE_END}};
    struct fetch_request_topic topics[] = {{.topic = STR("t"), .partitions = parts, .partitions_n = 2},
                                           {.topic = STR("none"), .topic_id = {{9}}, .partitions = &parts[1], .partitions_n = 1},
                                           {.topic = STR("t"), .partitions = &parts[2], .partitions_n = 1}};
    struct fetch_request q;

    (void)state;
    twice_prepare(x);
    topics[0].topic_id = topics[2].topic_id = broker_topic(x->g.b, STR("t"))->id;
    fetch_request_init_defaults(&q);
    q.replica_state.replica_id = -1;
    q.max_wait_ms = 0;
    q.session_epoch = -1;
    q.topics = topics;
    q.topics_n = countof(topics);
    for (size_t i = 0; i < countof(parts); i++) {
        parts[i].current_leader_epoch = parts[i].last_fetched_epoch = -1;
        parts[i].partition_max_bytes = 1000;
    }
    for (int16_t version = 12; version <= 13; version++) {
        struct fetch_response *a = client_ask(&x->k, KAFKA_FETCH, version, &q);

        assert_int_equal(a->topics_n, 2);
        assert_int_equal(a->topics[0].partitions_n, 2);
        assert_int_equal(a->topics[0].partitions[0].partition_index, 1);
        assert_int_equal(a->topics[0].partitions[0].error_code, KAFKA_ERR_OFFSET_OUT_OF_RANGE);
        assert_int_equal(a->topics[0].partitions[1].partition_index, 0);
        assert_int_equal(a->topics[0].partitions[1].error_code, 0);
        assert_int_equal(a->topics[1].partitions_n, 1);
        assert_int_equal(a->topics[1].partitions[0].error_code,
                         version < 13 ? KAFKA_ERR_UNKNOWN_TOPIC_OR_PARTITION : KAFKA_ERR_UNKNOWN_TOPIC_ID);
    }
    box_close(x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(quotas_survive_a_power_cut),
        cmocka_unit_test(log_dirs_tell_of_a_partition_once_however_often_it_is_named),
        cmocka_unit_test(an_offset_is_deleted_and_answered_once_however_often_it_is_named),
        cmocka_unit_test(a_transaction_is_told_once_of_what_it_names_twice_when_each_has_its_own_code),
        cmocka_unit_test(a_partition_is_fetched_once_from_where_was_said_last),
        cmocka_unit_test(an_entity_is_the_same_in_any_order_of_its_parts),
        cmocka_unit_test(a_producer_above_its_rate_is_told_and_not_heard_for_so_long),
        cmocka_unit_test(a_consumer_above_its_rate_gets_nothing_until_the_time_is_over),
        cmocka_unit_test(topics_above_the_rate_of_changes_are_refused_to_those_who_know_the_error),
        cmocka_unit_test(a_client_that_leaves_while_it_is_not_heard_is_forgotten),
        cmocka_unit_test(what_workers_do_counts_for_the_request_quota_of_the_client),
        cmocka_unit_test(small_batches_that_expand_to_much_together_are_a_workers),
        cmocka_unit_test(old_message_sets_that_expand_to_much_together_are_refused),
        cmocka_unit_test(nobody_looks_again_at_a_bomb_whose_client_is_gone),
        cmocka_unit_test(subscriptions_say_who_pushes_what_and_survive_a_power_cut),
        cmocka_unit_test(clients_keep_to_the_interval_of_their_subscription),
        cmocka_unit_test(of_settings_of_groups_there_is_a_ceiling_and_nothing_is_no_setting),
        cmocka_unit_test(a_group_has_settings_of_its_own_over_power_cuts),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
