/* SPDX-License-Identifier: Apache-2.0 */
#include "test.h"
#include "kafka/msg/all.h"

static struct rd over(const void *p, size_t n)
{
    struct rd r;

    rd_init(&r, bytes_of(p, n));
    return r;
}
#define OVER(lit) over(lit, sizeof(lit) - 1)

static void the_table_knows_every_api_and_its_first_flexible_version(void **state)
{
    size_t n = 0;

    (void)state;
    for (const struct kafka_api *a = kafka_api_next(NULL); a; a = kafka_api_next(a), n++) {
        assert_ptr_equal(kafka_api_of(a->key), a);
        assert_non_null(kafka_message_of(KAFKA_MESSAGE_REQUEST, a->key));
        assert_non_null(kafka_message_of(KAFKA_MESSAGE_RESPONSE, a->key));
    }
    assert_int_equal(n, 61);
    assert_string_equal(kafka_api_of(KAFKA_OFFSET_FOR_LEADER_EPOCH)->name, "OffsetForLeaderEpoch");
    assert_int_equal(kafka_api_of(KAFKA_PRODUCE)->flex_from, 9);
    assert_false(kafka_api_flex(kafka_api_of(KAFKA_SASL_HANDSHAKE), 1));
    assert_null(kafka_api_of(4));
    assert_null(kafka_api_of(-1));
    assert_null(kafka_api_of(76));
}

static void the_answer_to_an_api_versions_request_of_an_unknown_version_is_version_0(void **state)
{
    AUTO(buf_fini) struct buf                b = {0};
    struct api_versions_response_api_key     only = {.api_key = 18, .max_version = 3};
    struct api_versions_response             m = {.error_code = KAFKA_ERR_UNSUPPORTED_VERSION, .api_keys = &only, .api_keys_n = 1};
    struct wr                                w;
    size_t                                   begun;

    (void)state;
    wr_init(&w, &b);
    begun = wr_frame_begin(&w);
    kafka_response_header_encode(&w, kafka_api_of(18), 0, 1);
    assert_true(api_versions_response_encode(&w, 0, &m));
    wr_frame_end(&w, begun);
    assert_int_equal(b.n, 20);
    assert_memory_equal(b.p, "\x00\x00\x00\x10\x00\x00\x00\x01\x00\x23\x00\x00\x00\x01\x00\x12\x00\x00\x00\x03", 20);

    buf_clear(&b);
    api_versions_response_init_defaults(&m);
    m.api_keys = &only;
    m.api_keys_n = 1;
    begun = wr_frame_begin(&w);
    kafka_response_header_encode(&w, kafka_api_of(18), 3, 1);
    assert_true(api_versions_response_encode(&w, 3, &m));
    wr_frame_end(&w, begun);
    assert_int_equal(b.n, 23);
    assert_memory_equal(b.p,
        "\x00\x00\x00\x13\x00\x00\x00\x01\x00\x00\x02\x00\x12\x00\x00\x00\x03\x00\x00\x00\x00\x00\x00", 23);
}

static void a_refusal_names_message_version_element_and_place(void **state)
{
    struct arena           a = {0};
    struct produce_request m;
    struct err             e;
    struct rd r = OVER("\x00\x00\x01\x00\x00\x00\x0a\x02\x02" "t" "\xf1\xa2\x04");

    (void)state;
    assert_false(produce_request_decode(&r, 9, &a, &m));
    assert_int_equal(rd_err(&r, &e), RC_INVALID);
    assert_string_equal(e.text, "Produce v9: topics[0].partitions: 70000 entries cannot fit in 0 bytes (at 13 of 13)");
    arena_fini(&a);
}

static void a_version_that_the_schema_lacks_is_refused(void **state)
{
    struct arena           a = {0};
    struct produce_request m;
    struct err             e;
    struct rd              r = OVER("");

    (void)state;
    assert_false(produce_request_decode(&r, 12, &a, &m));
    rd_err(&r, &e);
    assert_string_equal(e.text, "Produce v12: version: 12 is out of range (at 0 of 0)");
    arena_fini(&a);
}

static void what_a_version_lacks_has_its_default(void **state)
{
    struct arena         a = {0};
    struct fetch_request m;
    struct rd            r = OVER("\xff\xff\xff\xff\x00\x00\x01\xf4\x00\x00\x00\x01\x00\x00\x00\x00");

    (void)state;
    assert_true(fetch_request_decode(&r, 0, &a, &m));
    assert_int_equal(m.replica_id, -1);
    assert_int_equal(m.max_wait_ms, 500);
    assert_int_equal(m.max_bytes, INT32_MAX);
    assert_int_equal(m.session_epoch, -1);
    assert_int_equal(m.replica_state.replica_id, -1);
    assert_null(m.cluster_id.p);
    assert_int_equal(m.topics_n, 0);
    arena_fini(&a);
}

static void no_topics_and_all_topics_are_told_apart(void **state)
{
    struct arena            a = {0};
    struct metadata_request m;
    struct rd               r = OVER("\xff\xff\xff\xff");

    (void)state;
    assert_true(metadata_request_decode(&r, 1, &a, &m));
    assert_true(m.topics_null);
    assert_true(m.allow_auto_topic_creation);
    r = OVER("\x00\x00\x00\x00");
    assert_true(metadata_request_decode(&r, 1, &a, &m));
    assert_false(m.topics_null);
    r = OVER("\xff\xff\xff\xff");
    assert_false(metadata_request_decode(&r, 0, &a, &m));
    assert_int_equal(r.why, RD_NULL);
    arena_fini(&a);
}

static void a_fetch_answer_can_leave_its_records_in_a_file(void **state)
{
    AUTO(buf_fini) struct buf       b = {0};
    AUTO(wr_fini)  struct wr        w;
    int                             segment;
    struct fetch_response_partition p;
    struct fetch_response_topic     t = {.topic = STR("t"), .partitions = &p, .partitions_n = 1};
    struct fetch_response           m = {.topics = &t, .topics_n = 1};
    size_t                          begun;

    (void)state;
    fetch_response_partition_init_defaults(&p);
    p.records_file = (struct wr_file){&segment, 61, 1000};
    wr_init(&w, &b);
    begun = wr_frame_begin(&w);
    assert_true(fetch_response_encode(&w, 12, &m));
    wr_frame_end(&w, begun);
    assert_int_equal(w.splices_n, 1);
    assert_int_equal(load_be32(b.p) + 4, b.n + 1000);
    assert_int_equal(w.splices[0].at, b.n - 3);              /* the tag buffers of partition, topic and message follow */
    assert_memory_equal(b.p + w.splices[0].at - 2, "\xe9\x07\x00\x00\x00", 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_table_knows_every_api_and_its_first_flexible_version),
        cmocka_unit_test(the_answer_to_an_api_versions_request_of_an_unknown_version_is_version_0),
        cmocka_unit_test(a_refusal_names_message_version_element_and_place),
        cmocka_unit_test(a_version_that_the_schema_lacks_is_refused),
        cmocka_unit_test(what_a_version_lacks_has_its_default),
        cmocka_unit_test(no_topics_and_all_topics_are_told_apart),
        cmocka_unit_test(a_fetch_answer_can_leave_its_records_in_a_file),
    };
    return cmocka_run_group_tests_name("kafka/message", tests, NULL, NULL);
}
