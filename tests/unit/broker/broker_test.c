/* The broker as its clients see it: frames in, frames out, on a simulated disk. SPDX-License-Identifier: Apache-2.0 */
#include "broker_client.h"
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
    if (x->g.b) rig_close(&x->g);
    rig_fini(&x->g);
    free(x);
}

/* Power goes; what was not on the disk is kept, lost or torn by seed. */
static void box_power_cut(struct box *x)
{
    client_close(&x->k);
    fs_sim_cut(x->g.disk);
    rig_crash(&x->g);
    fs_sim_power_on(x->g.disk);
    if (rig_open(&x->g)) fail_msg("%s", x->g.err.text);
    client_open(&x->k, &x->g);
}

/* ---- what was answered stays ---- */

static void every_acknowledged_batch_survives_a_power_cut(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct box *x = box_open(seed);
        int64_t offset;

        client_create(&x->k, "t", 2, NULL, NULL);
        for (int i = 0; i < 20; i++) {
            assert_int_equal(
                client_produce(&x->k, "t", i % 2, client_batch(&x->k, 3, 1000, -1, -1), &offset),
                0);
            assert_int_equal(offset, i / 2 * 3);
        }
        client_produce_send(&x->k, "t", 0, 0, client_batch(&x->k, 1, 10, -1, -1));
        box_power_cut(x);
        assert_in_range(client_end(&x->k, "t", 0), 30, 31);
        assert_int_equal(client_end(&x->k, "t", 1), 30);
        assert_int_equal(client_fetch(&x->k, "t", 1, 0)->high_watermark, 30);
        box_close(x);
    }
}

static void topics_settings_and_partitions_survive_a_power_cut(void **state)
{
    struct box *x = box_open(3);
    struct topic *t;
    struct str value;

    (void)state;
    client_create(&x->k, "kept", 3, "retention.ms", "1234");
    client_create(&x->k, "deleted", 1, NULL, NULL);
    assert_int_equal(client_produce(&x->k, "deleted", 0, client_batch(&x->k, 1, 10, -1, -1), NULL),
                     0);
    struct delete_topics_request_topic gone = {.name = STR("deleted")};
    struct delete_topics_request q = {.topics = &gone, .topics_n = 1};
    struct delete_topics_response *a = client_ask(&x->k, KAFKA_DELETE_TOPICS, 6, &q);
    assert_int_equal(a->responses[0].error_code, 0);
    box_power_cut(x);
    assert_null(broker_topic(x->g.b, STR("deleted")));
    t = broker_topic(x->g.b, STR("kept"));
    assert_non_null(t);
    assert_int_equal(topic_partitions(t), 3);
    assert_true(topic_config(x->g.b, t, STR("retention.ms"), &value) && str_is(value, "1234"));
    box_close(x);
}

static void a_recreated_topic_is_another_one(void **state)
{
    struct box *x = box_open(4);
    struct uuid before, after;
    uint64_t seq;

    (void)state;
    client_create(&x->k, "t", 1, NULL, NULL);
    before = topic_uuid(broker_topic(x->g.b, STR("t")));
    assert_int_equal(client_produce(&x->k, "t", 0, client_batch(&x->k, 5, 10, -1, -1), NULL), 0);
    assert_int_equal(broker_topic_delete(x->g.b, STR("t"), &seq, &x->g.err), RC_OK);
    client_create(&x->k, "t", 1, NULL, NULL);
    after = topic_uuid(broker_topic(x->g.b, STR("t")));
    assert_false(uuid_eq(&before, &after));
    assert_int_equal(client_end(&x->k, "t", 0), 0);
    box_close(x);
}

static void producer_ids_are_never_handed_out_twice(void **state)
{
    struct box *x = box_open(5);
    struct init_producer_id_request q = {
        .transaction_timeout_ms = 1000, .producer_id = -1, .producer_epoch = -1};
    int64_t last = -1;

    (void)state;
    for (int i = 0; i < 30; i++) {
        struct init_producer_id_response *a = client_ask(&x->k, KAFKA_INIT_PRODUCER_ID, 4, &q);

        assert_int_equal(a->error_code, 0);
        assert_true(a->producer_id > last);
        last = a->producer_id;
        if (i % 7 == 6) box_power_cut(x);
    }
    box_close(x);
}

static void a_retried_batch_is_answered_with_its_first_offset_also_after_a_crash(void **state)
{
    struct box *x = box_open(6);
    int64_t offset;

    (void)state;
    client_create(&x->k, "t", 1, NULL, NULL);
    assert_int_equal(client_produce(&x->k, "t", 0, client_batch(&x->k, 2, 10, 7, 0), &offset), 0);
    assert_int_equal(client_produce(&x->k, "t", 0, client_batch(&x->k, 2, 10, 7, 2), &offset), 0);
    box_power_cut(x);
    assert_int_equal(client_produce(&x->k, "t", 0, client_batch(&x->k, 2, 10, 7, 0), &offset), 0);
    assert_int_equal(offset, 0);
    assert_int_equal(client_produce(&x->k, "t", 0, client_batch(&x->k, 2, 10, 7, 9), &offset),
                     KAFKA_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER);
    assert_int_equal(client_end(&x->k, "t", 0), 4);
    box_close(x);
}

/* ---- one connection ---- */

static void answers_come_in_the_order_of_the_requests(void **state)
{
    struct box *x = box_open(7);
    struct api_versions_request versions = {.client_software_name = STR("a"),
                                            .client_software_version = STR("1")};

    (void)state;
    client_create(&x->k, "t", 1, NULL, NULL);
    for (int i = 0; i < 5; i++) {
        client_produce_send(&x->k, "t", 0, -1, client_batch(&x->k, 1, 10, -1, -1));
        client_send(&x->k, KAFKA_API_VERSIONS, 3, &versions);
    }
    for (int i = 0; i < 5; i++) {
        struct produce_response *a = client_answer(&x->k, KAFKA_PRODUCE, 9);

        assert_int_equal(a->topics[0].partitions[0].base_offset, i);
        assert_non_null(client_answer(&x->k, KAFKA_API_VERSIONS, 3));
    }
    box_close(x);
}

static void a_long_poll_waits_for_records_and_holds_back_what_was_asked_after_it(void **state)
{
    struct box *x = box_open(8);
    struct client other;
    struct fetch_response_partition *p;
    struct api_versions_request versions = {.client_software_name = STR("a"),
                                            .client_software_version = STR("1")};

    (void)state;
    client_create(&x->k, "t", 1, NULL, NULL);
    client_open(&other, &x->g);
    client_fetch_send(&other, "t", 0, 0, 5000);
    client_send(&other, KAFKA_API_VERSIONS, 3, &versions);
    rig_advance(&x->g, 4000);
    assert_null(client_fetched(&other));
    assert_int_equal(client_produce(&x->k, "t", 0, client_batch(&x->k, 2, 10, -1, -1), NULL), 0);
    p = client_fetched(&other);
    assert_non_null(p);
    assert_int_equal(p->high_watermark, 2);
    assert_true(p->records.n > 61);
    assert_non_null(client_answer(&other, KAFKA_API_VERSIONS, 3));
    client_close(&other);
    box_close(x);
}

static void a_long_poll_ends_empty_when_its_time_is_up(void **state)
{
    struct box *x = box_open(9);
    struct fetch_response_partition *p;

    (void)state;
    client_create(&x->k, "t", 1, NULL, NULL);
    client_fetch_send(&x->k, "t", 0, 0, 500);
    rig_advance(&x->g, 499);
    assert_null(client_fetched(&x->k));
    rig_advance(&x->g, 1);
    p = client_fetched(&x->k);
    assert_non_null(p);
    assert_int_equal(p->error_code, 0);
    assert_int_equal(p->records.n, 0);
    box_close(x);
}

static void a_long_poll_on_a_topic_that_is_deleted_is_told(void **state)
{
    struct box *x = box_open(10);
    struct client other;
    uint64_t seq;

    (void)state;
    client_create(&x->k, "t", 1, NULL, NULL);
    client_open(&other, &x->g);
    client_fetch_send(&other, "t", 0, 0, 60000);
    assert_int_equal(broker_topic_delete(x->g.b, STR("t"), &seq, &x->g.err), RC_OK);
    rig_settle(&x->g);
    assert_int_equal(client_fetched(&other)->error_code, KAFKA_ERR_UNKNOWN_TOPIC_OR_PARTITION);
    client_close(&other);
    box_close(x);
}

static void a_client_that_goes_away_takes_its_parked_request_with_it(void **state)
{
    struct box *x = box_open(11);
    struct client other;
    struct broker_stats s;

    (void)state;
    client_create(&x->k, "t", 1, NULL, NULL);
    client_open(&other, &x->g);
    client_fetch_send(&other, "t", 0, 0, 60000);
    broker_stats(x->g.b, &s);
    assert_int_equal(s.requests_parked, 1);
    client_close(&other);
    broker_stats(x->g.b, &s);
    assert_int_equal(s.requests_parked, 0);
    assert_int_equal(s.connections, 1);
    assert_int_equal(client_produce(&x->k, "t", 0, client_batch(&x->k, 1, 10, -1, -1), NULL), 0);
    box_close(x);
}

static void a_produce_without_acks_is_not_answered_and_a_failed_one_closes(void **state)
{
    struct box *x = box_open(12);

    (void)state;
    client_create(&x->k, "t", 1, NULL, NULL);
    client_produce_send(&x->k, "t", 0, 0, client_batch(&x->k, 1, 10, -1, -1));
    assert_null(client_answer(&x->k, KAFKA_PRODUCE, 9));
    assert_int_equal(client_end(&x->k, "t", 0), 1);
    client_produce_send(&x->k, "no such topic", 0, 0, client_batch(&x->k, 1, 10, -1, -1));
    assert_true(x->k.c.closed);
    box_close(x);
}

static void the_producer_id_of_the_bus_is_nobody_elses(void **state)
{
    struct box *x = box_open(13);

    (void)state;
    client_create(&x->k, "t", 1, NULL, NULL);
    assert_int_equal(
        client_produce(&x->k, "t", 0, client_batch(&x->k, 1, 10, BROKER_BUS_PRODUCER_ID, 0), NULL),
        KAFKA_ERR_INVALID_PRODUCER_ID_MAPPING);
    box_close(x);
}

/* ---- large batches ---- */

static void a_batch_of_twelve_mebibytes_is_stored_and_the_connection_goes_on_after_it(void **state)
{
    struct box *x = box_open(14);
    int64_t offset;

    (void)state;
    client_create(&x->k, "t", 1, NULL, NULL);
    assert_int_equal(client_produce(&x->k, "t", 0, client_batch(&x->k, 1, 10, -1, -1), &offset), 0);
    client_produce_send(&x->k, "t", 0, -1, client_batch(&x->k, 3, 12 << 20, -1, -1));
    client_produce_send(&x->k, "t", 0, -1, client_batch(&x->k, 1, 10, -1, -1));
    for (int64_t want = 1; want <= 4; want += 3) {
        struct produce_response *a = client_answer(&x->k, KAFKA_PRODUCE, 9);

        assert_non_null(a);
        assert_int_equal(a->topics[0].partitions[0].error_code, 0);
        assert_int_equal(a->topics[0].partitions[0].base_offset, want);
    }
    assert_true(client_fetch(&x->k, "t", 0, 1)->records.n > 12 << 20);
    box_power_cut(x);
    assert_int_equal(client_end(&x->k, "t", 0), 5);
    assert_true(client_fetch(&x->k, "t", 0, 2)->records.n > 12 << 20);
    box_close(x);
}

static void a_large_batch_with_a_wrong_checksum_is_refused(void **state)
{
    struct box *x = box_open(15);
    struct bytes batch;

    (void)state;
    client_create(&x->k, "t", 1, NULL, NULL);
    batch = client_batch(&x->k, 1, 9 << 20, -1, -1);
    ((uint8_t *)(uintptr_t)batch.p)[batch.n / 2] ^= 1;
    assert_int_equal(client_produce(&x->k, "t", 0, batch, NULL), KAFKA_ERR_CORRUPT_MESSAGE);
    assert_int_equal(client_end(&x->k, "t", 0), 0);
    box_close(x);
}

/* ---- when the disk says no ---- */

static void a_full_disk_refuses_producers_and_recovers_by_itself(void **state)
{
    struct box *x = box_open(16);
    struct str why;

    (void)state;
    client_create(&x->k, "t", 1, NULL, NULL);
    fs_sim_set_capacity(x->g.disk, 32 << 20);
    rig_advance(&x->g, 60000);
    assert_int_equal(client_produce(&x->k, "t", 0, client_batch(&x->k, 1, 10, -1, -1), NULL),
                     KAFKA_ERR_KAFKA_STORAGE_ERROR);
    assert_false(broker_is_ready(x->g.b, &why));
    fs_sim_set_capacity(x->g.disk, (uint64_t)1 << 40);
    rig_advance(&x->g, 60000);
    assert_int_equal(client_produce(&x->k, "t", 0, client_batch(&x->k, 1, 10, -1, -1), NULL), 0);
    assert_true(broker_is_ready(x->g.b, &why));
    box_close(x);
}

static void a_failed_write_ends_acknowledgement(void **state)
{
    struct rig g;
    struct client k;
    struct fs_fault *fault;
    struct str why;

    (void)state;
    rig_init(&g, 17);
    fault = fs_fault_new(fs_sim_fs(g.disk));
    g.opt.fs = fs_fault_fs(fault);
    assert_int_equal(rig_open(&g), RC_OK);
    client_open(&k, &g);
    client_create(&k, "t", 1, NULL, NULL);
    assert_int_equal(client_produce(&k, "t", 0, client_batch(&k, 1, 10, -1, -1), NULL), 0);
    fs_fault_arm(fault, 0, RC_IO, true);
    client_produce_send(&k, "t", 0, -1, client_batch(&k, 1, 10, -1, -1));
    struct produce_response *a = client_answer(&k, KAFKA_PRODUCE, 9);
    assert_non_null(a);
    assert_int_equal(a->topics[0].partitions[0].error_code, KAFKA_ERR_KAFKA_STORAGE_ERROR);
    assert_false(broker_is_ready(g.b, &why));
    assert_int_equal(client_produce(&k, "t", 0, client_batch(&k, 1, 10, -1, -1), NULL),
                     KAFKA_ERR_KAFKA_STORAGE_ERROR);
    client_close(&k);
    fs_fault_disarm(fault);
    rig_crash(&g);
    fs_fault_free(fault);
    rig_fini(&g);
}

static void a_full_wal_puts_producers_off_and_nothing_is_lost(void **state)
{
    struct box *x = box_open(18);
    struct client k[8];

    (void)state;
    client_create(&x->k, "t", 8, NULL, NULL);
    for (int i = 0; i < 8; i++)
        client_open(&k[i], &x->g);
    for (int round = 0; round < 6; round++)
        for (int i = 0; i < 8; i++)
            client_produce_send(&k[i], "t", i, -1, client_batch(&k[i], 1, 900000, -1, -1));
    rig_settle(&x->g);
    for (int i = 0; i < 8; i++) {
        for (int round = 0; round < 6; round++) {
            struct produce_response *a = client_answer(&k[i], KAFKA_PRODUCE, 9);

            assert_non_null(a);
            assert_int_equal(a->topics[0].partitions[0].base_offset, round);
        }
        client_close(&k[i]);
    }
    box_close(x);
}

static void a_request_larger_than_the_wal_is_appended_piece_by_piece(void **state)
{
    struct box *x = box_open(30);
    struct produce_request_partition p[12] = {0};
    struct produce_request_topic t = {
        .name = STR("t"), .partitions = p, .partitions_n = countof(p)};
    struct produce_request q = {.acks = -1, .timeout_ms = 1000, .topics = &t, .topics_n = 1};
    struct produce_response *a;

    (void)state;
    client_create(&x->k, "t", countof(p), NULL, NULL);
    for (size_t i = 0; i < countof(p); i++) {
        p[i].index = (int32_t)i;
        p[i].records = client_batch(&x->k, 1, i == 5 ? 10 << 20 : 900000, -1, -1);
    }
    for (int round = 0; round < 3; round++) {
        a = client_ask(&x->k, KAFKA_PRODUCE, 9, &q);
        assert_non_null(a);
        assert_int_equal(a->topics[0].partitions_n, countof(p));
        for (size_t i = 0; i < countof(p); i++) {
            assert_int_equal(a->topics[0].partitions[i].error_code, 0);
            assert_int_equal(a->topics[0].partitions[i].base_offset, round);
        }
    }
    box_power_cut(x);
    for (size_t i = 0; i < countof(p); i++)
        assert_int_equal(client_end(&x->k, "t", (int32_t)i), 3);
    box_close(x);
}

static void of_a_partition_that_is_named_twice_the_last_counts(void **state)
{
    struct box *x = box_open(31);
    struct produce_request_partition p[3] = {{.index = 1}, {.index = 0}, {.index = 1}};
    struct produce_request_topic t[2] = {{.name = STR("t"), .partitions = p, .partitions_n = 3}};
    struct produce_request q = {.acks = -1, .timeout_ms = 1000, .topics = t, .topics_n = 1};
    struct produce_response *a;

    (void)state;
    client_create(&x->k, "t", 2, NULL, NULL);
    for (int i = 0; i < 3; i++)
        p[i].records = client_batch(&x->k, 1 + i, 10, -1, -1);
    assert_non_null(a = client_ask(&x->k, KAFKA_PRODUCE, 9, &q)); /* in one entry */
    assert_int_equal(a->topics[0].partitions_n, 2);
    assert_int_equal(a->topics[0].partitions[0].index, 0);
    assert_int_equal(a->topics[0].partitions[1].index, 1);
    assert_int_equal(client_end(&x->k, "t", 0), 2);
    assert_int_equal(client_end(&x->k, "t", 1), 3);
    t[0] = (struct produce_request_topic){.name = STR("t"), .partitions = p, .partitions_n = 1};
    t[1] = (struct produce_request_topic){.name = STR("t"), .partitions = p + 1, .partitions_n = 2};
    q.topics_n = 2; /* in two, each in order */
    assert_non_null(a = client_ask(&x->k, KAFKA_PRODUCE, 9, &q));
    assert_int_equal(a->topics_n, 1);
    assert_int_equal(a->topics[0].partitions_n, 2);
    assert_int_equal(client_end(&x->k, "t", 0), 4);
    assert_int_equal(client_end(&x->k, "t", 1), 6);
    box_close(x);
}

/* ---- ceilings ---- */

static int32_t new_session(struct client *k)
{
    struct fetch_request_partition p = {.current_leader_epoch = -1, .last_fetched_epoch = -1, .log_start_offset = -1, .partition_max_bytes = 1000};
    struct fetch_request_topic t = {.topic = STR("t"), .partitions = &p, .partitions_n = 1};
    struct fetch_request q;
    struct fetch_response *a;

    fetch_request_init_defaults(&q);
    q.session_epoch = 0;
    q.topics = &t;
    q.topics_n = 1;
    a = client_ask(k, KAFKA_FETCH, 11, &q);
    assert_int_equal(a->error_code, 0);
    return a->session_id;
}

static void fetch_sessions_have_a_ceiling_and_idle_ones_make_room(void **state)
{
    struct broker_setting slots = {STR("max.incremental.fetch.session.cache.slots"), STR("2")};
    struct box *x = xnew(struct box);
    struct fetch_request q;
    int32_t first;

    (void)state;
    rig_init(&x->g, 31);
    x->g.opt.settings = &slots;
    x->g.opt.settings_n = 1;
    assert_int_equal(rig_open(&x->g), RC_OK);
    client_open(&x->k, &x->g);
    client_create(&x->k, "t", 1, NULL, NULL);
    first = new_session(&x->k);
    assert_true(first > 0);
    assert_true(new_session(&x->k) > 0);
    assert_int_equal(new_session(&x->k), 0);
    rig_advance(&x->g, 121000);
    assert_true(new_session(&x->k) > 0);
    fetch_request_init_defaults(&q);
    q.session_id = first;
    q.session_epoch = 1;
    struct fetch_response *a = client_ask(&x->k, KAFKA_FETCH, 11, &q);
    assert_int_equal(a->error_code, KAFKA_ERR_FETCH_SESSION_ID_NOT_FOUND);
    box_close(x);
}

static void topics_and_partitions_have_ceilings(void **state)
{
    struct box *x = xnew(struct box);
    struct broker_topic_spec spec = {.name = STR("second"), .partitions = 1, .replication = 1};
    uint64_t seq;

    (void)state;
    rig_init(&x->g, 32);
    x->g.opt.topics_max = 2;             /* __consumer_offsets is one */
    assert_int_equal(rig_open(&x->g), RC_OK);
    client_open(&x->k, &x->g);
    spec.partitions = 2000000000;
    assert_int_equal(broker_topic_create(x->g.b, &spec, NULL, &seq, &x->g.err), RC_OVERLOAD);
    client_create(&x->k, "first", 1, NULL, NULL);
    spec.partitions = 1;
    assert_int_equal(broker_topic_create(x->g.b, &spec, NULL, &seq, &x->g.err), RC_OVERLOAD);
    box_close(x);
}

/* ---- from inside the process ---- */

struct told {
    int n;
    int64_t offset;
    enum rc rc;
};

struct bus_append {
    struct broker_append a;
    struct told *told;
};

static void on_bus_append(struct broker_append *a)
{
    struct bus_append *x = container_of(a, struct bus_append, a);

    x->told->n++;
    x->told->offset = a->base_offset;
    x->told->rc = a->err.rc;
    free(x);
}

static void bus_append(struct box *x, const char *topic, unsigned flags, size_t bytes,
                       struct told *told)
{
    struct bus_append *a = xnew(struct bus_append);

    a->told = told;
    a->a.topic = str_of(topic);
    a->a.flags = flags;
    a->a.done = on_bus_append;
    buf_append(&a->a.batch, client_batch(&x->k, 1, bytes, BROKER_BUS_PRODUCER_ID, -1));
    broker_append(x->g.b, &a->a);
    rig_settle(&x->g);
}

static void the_bus_appends_in_order_small_and_large(void **state)
{
    struct box *x = box_open(19);
    struct told t = {0};

    (void)state;
    client_create(&x->k, "t", 1, NULL, NULL);
    bus_append(x, "t", 0, 100, &t);
    assert_int_equal(t.n, 1);
    assert_int_equal(t.rc, RC_OK);
    bus_append(x, "t", 0, 9 << 20, &t);
    bus_append(x, "t", BROKER_APPEND_NO_WAIT, 100, &t);
    assert_int_equal(t.n, 3);
    assert_int_equal(t.offset, 2);
    bus_append(x, "no such topic", 0, 100, &t);
    assert_int_equal(t.rc, RC_NOT_FOUND);
    assert_int_equal(client_end(&x->k, "t", 0), 3);
    box_close(x);
}

struct watcher {
    struct broker_watch w;
    int64_t next;
    int batches, done;
    enum rc rc;
};

static void on_batches(struct broker_watch *w, struct bytes batches, int64_t next)
{
    struct watcher *x = container_of(w, struct watcher, w);
    struct batch b;

    for (size_t at = 0; at < batches.n; at += b.raw.n, x->batches++)
        assert_int_equal(batch_view(bytes_sub(batches, at, batches.n - at), &b), BATCH_OK);
    x->next = next;
}

static void on_watch_done(struct broker_watch *w)
{
    struct watcher *x = container_of(w, struct watcher, w);

    x->done++;
    x->rc = w->err.rc;
}

static void a_watch_hears_of_clients_appends_and_not_of_the_buss(void **state)
{
    struct box *x = box_open(20);
    struct watcher w = {
        .w = {.topic = STR("t"), .offset = -2, .batches = on_batches, .done = on_watch_done}};
    struct told t = {0};

    (void)state;
    client_create(&x->k, "t", 1, NULL, NULL);
    assert_int_equal(client_produce(&x->k, "t", 0, client_batch(&x->k, 1, 10, -1, -1), NULL), 0);
    broker_watch(x->g.b, &w.w);
    bus_append(x, "t", 0, 100, &t);
    assert_int_equal(w.batches, 0);
    assert_int_equal(client_produce(&x->k, "t", 0, client_batch(&x->k, 1, 10, -1, -1), NULL), 0);
    assert_int_equal(w.batches, 1);
    assert_int_equal(w.next, 3);
    assert_int_equal(client_produce(&x->k, "t", 0, client_batch(&x->k, 1, 10, -1, -1), NULL), 0);
    assert_int_equal(w.batches, 1);
    broker_watch_more(&w.w);
    rig_settle(&x->g);
    assert_int_equal(w.batches, 2);
    broker_watch_stop(&w.w);
    rig_settle(&x->g);
    assert_int_equal(w.done, 1);
    assert_int_equal(w.rc, RC_CANCELLED);
    box_close(x);
}

static void delete_below(struct box *x, int64_t offset)
{
    struct delete_records_request_partition p = {.partition_index = 0, .offset = offset};
    struct delete_records_request_topic t = {.name = STR("t"), .partitions = &p, .partitions_n = 1};
    struct delete_records_request q = {.topics = &t, .topics_n = 1, .timeout_ms = 1000};
    struct delete_records_response *a = client_ask(&x->k, KAFKA_DELETE_RECORDS, 2, &q);

    assert_int_equal(a->topics[0].partitions[0].error_code, 0);
}

static void a_watch_that_the_start_of_the_log_has_passed_ends_and_says_so(void **state)
{
    struct box *x = box_open(24);
    struct watcher w = {
        .w = {.topic = STR("t"), .offset = -2, .batches = on_batches, .done = on_watch_done}};

    (void)state;
    client_create(&x->k, "t", 1, NULL, NULL);
    broker_watch(x->g.b, &w.w);
    for (int i = 0; i < 3; i++)
        assert_int_equal(client_produce(&x->k, "t", 0, client_batch(&x->k, 1, 10, -1, -1), NULL), 0);
    assert_int_equal(w.next, 1);
    delete_below(x, 2);
    broker_watch_more(&w.w);
    rig_settle(&x->g);
    assert_int_equal(w.batches, 1);
    assert_int_equal(w.done, 1);
    assert_int_equal(w.rc, RC_INVALID);
    box_close(x);
}

struct fetcher {
    struct broker_fetch f;
    int done;
};

static void on_fetched(struct broker_fetch *f)
{
    container_of(f, struct fetcher, f)->done++;
}

static void a_fetch_of_the_bus_waits_until_its_deadline(void **state)
{
    struct box *x = box_open(21);
    struct fetcher f = {
        .f = {.topic = STR("t"), .offset = -1, .size_max = 1000, .done = on_fetched}};

    (void)state;
    client_create(&x->k, "t", 1, NULL, NULL);
    f.f.deadline_ms = clock_mono_ms(&x->g.clock.clock) + 100;
    broker_fetch(x->g.b, &f.f);
    rig_settle(&x->g);
    assert_int_equal(f.done, 0);
    rig_advance(&x->g, 100);
    assert_int_equal(f.done, 1);
    assert_int_equal(f.f.err.rc, RC_OK);
    assert_int_equal(f.f.batches.n, 0);
    f.f.deadline_ms = clock_mono_ms(&x->g.clock.clock) + 100;
    broker_fetch(x->g.b, &f.f);
    assert_int_equal(client_produce(&x->k, "t", 0, client_batch(&x->k, 1, 10, -1, -1), NULL), 0);
    assert_int_equal(f.done, 2);
    assert_true(f.f.batches.n > 61);
    buf_fini(&f.f.batches);
    f.f.offset = 5;
    broker_fetch(x->g.b, &f.f);
    rig_settle(&x->g);
    assert_int_equal(f.f.err.rc, RC_INVALID);
    box_close(x);
}

/* Deletion would go unnoticed for the first minutes anyway: retention is looked at every five. */
static void a_wall_clock_that_jumps_ahead_deletes_nothing_for_an_hour(void **state)
{
    const int64_t year = 365ll * 24 * 3600 * 1000;
    struct box *x = box_open(23);
    int64_t offset;

    (void)state;
    client_create(&x->k, "t", 1, "retention.ms", "86400000");
    assert_int_equal(client_produce(&x->k, "t", 0, client_batch(&x->k, 2, 10, 7, 0), &offset), 0);
    rig_advance(&x->g, 400000);
    x->g.clock.wall_ms += year;
    for (int minutes = 0; minutes < 50; minutes += 10) {
        rig_advance(&x->g, 600000);
        assert_int_equal(client_fetch(&x->k, "t", 0, 0)->log_start_offset, 0);
    }
    assert_int_equal(client_produce(&x->k, "t", 0, client_batch(&x->k, 2, 10, 7, 0), &offset), 0);
    assert_int_equal(offset, 0);                       /* the producer was not forgotten either */
    x->g.clock.wall_ms -= year;                        /* put right in time: as if nothing had been */
    rig_advance(&x->g, 7200000);
    assert_int_equal(client_fetch(&x->k, "t", 0, 0)->log_start_offset, 0);
    x->g.clock.wall_ms += year;
    for (int i = 0; i < 9; i++) rig_advance(&x->g, 600000);
    assert_int_equal(client_fetch(&x->k, "t", 0, 2)->log_start_offset, 2);
    box_close(x);
}

static void everything_outstanding_ends_when_the_broker_does(void **state)
{
    struct box *x = box_open(22);
    struct watcher w = {
        .w = {.topic = STR("t"), .offset = -2, .batches = on_batches, .done = on_watch_done}};
    struct fetcher f = {.f = {.topic = STR("t"),
                              .offset = -1,
                              .size_max = 1000,
                              .deadline_ms = UINT64_MAX,
                              .done = on_fetched}};

    (void)state;
    client_create(&x->k, "t", 1, NULL, NULL);
    broker_watch(x->g.b, &w.w);
    broker_fetch(x->g.b, &f.f);
    rig_settle(&x->g);
    client_close(&x->k);
    broker_drain(x->g.b);
    rig_settle(&x->g);
    assert_true(broker_is_drained(x->g.b));
    rig_close(&x->g);
    assert_int_equal(w.done, 1);
    assert_int_equal(w.rc, RC_CANCELLED);
    assert_int_equal(f.done, 1);
    assert_int_equal(f.f.err.rc, RC_CANCELLED);
    box_close(x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_wall_clock_that_jumps_ahead_deletes_nothing_for_an_hour),
        cmocka_unit_test(every_acknowledged_batch_survives_a_power_cut),
        cmocka_unit_test(a_watch_that_the_start_of_the_log_has_passed_ends_and_says_so),
        cmocka_unit_test(topics_settings_and_partitions_survive_a_power_cut),
        cmocka_unit_test(a_recreated_topic_is_another_one),
        cmocka_unit_test(producer_ids_are_never_handed_out_twice),
        cmocka_unit_test(a_retried_batch_is_answered_with_its_first_offset_also_after_a_crash),
        cmocka_unit_test(answers_come_in_the_order_of_the_requests),
        cmocka_unit_test(a_long_poll_waits_for_records_and_holds_back_what_was_asked_after_it),
        cmocka_unit_test(a_long_poll_ends_empty_when_its_time_is_up),
        cmocka_unit_test(a_long_poll_on_a_topic_that_is_deleted_is_told),
        cmocka_unit_test(a_client_that_goes_away_takes_its_parked_request_with_it),
        cmocka_unit_test(a_produce_without_acks_is_not_answered_and_a_failed_one_closes),
        cmocka_unit_test(the_producer_id_of_the_bus_is_nobody_elses),
        cmocka_unit_test(a_batch_of_twelve_mebibytes_is_stored_and_the_connection_goes_on_after_it),
        cmocka_unit_test(a_large_batch_with_a_wrong_checksum_is_refused),
        cmocka_unit_test(a_full_disk_refuses_producers_and_recovers_by_itself),
        cmocka_unit_test(a_failed_write_ends_acknowledgement),
        cmocka_unit_test(a_full_wal_puts_producers_off_and_nothing_is_lost),
        cmocka_unit_test(a_request_larger_than_the_wal_is_appended_piece_by_piece),
        cmocka_unit_test(of_a_partition_that_is_named_twice_the_last_counts),
        cmocka_unit_test(fetch_sessions_have_a_ceiling_and_idle_ones_make_room),
        cmocka_unit_test(topics_and_partitions_have_ceilings),
        cmocka_unit_test(the_bus_appends_in_order_small_and_large),
        cmocka_unit_test(a_watch_hears_of_clients_appends_and_not_of_the_buss),
        cmocka_unit_test(a_fetch_of_the_bus_waits_until_its_deadline),
        cmocka_unit_test(everything_outstanding_ends_when_the_broker_does),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
