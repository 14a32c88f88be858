/* SPDX-License-Identifier: Apache-2.0 */
#include "test.h"
#include "kafka/api.h"

static struct rd over(const char *p, size_t n)
{
    struct rd r;

    rd_init(&r, bytes_of(p, n));
    return r;
}
#define OVER(lit) over(lit, sizeof(lit) - 1)

static void a_failed_read_gives_zero_and_stays_where_it_was(void **state)
{
    struct rd  r = OVER("\x00\x00\x00\x07\x01");
    struct err e;

    (void)state;
    assert_int_equal(rd_i32(&r), 7);
    assert_int_equal(rd_i32(&r), 0);
    assert_int_equal(r.why, RD_SHORT);
    assert_int_equal(rd_i8(&r), 0);                          /* one byte is there, but the cursor has failed */
    assert_int_equal(rd_err(&r, &e), RC_INVALID);
    assert_string_equal(e.text, "4 bytes wanted, 1 there (at 4 of 5)");
}

static void counts_are_refused_before_anything_is_reserved(void **state)
{
    struct arena a = {0};
    struct rd    r = OVER("\x00\x01\x11\x70\x00\x00\x00\x01");
    struct err   e;
    size_t       n;

    (void)state;
    r.what = "Produce";
    r.version = 9;
    assert_null(rd_i32s(&r, false, &a, &n, "partitions"));
    assert_int_equal(n, 0);
    assert_int_equal(a.used, 0);
    rd_in(&r, "topics", 3);
    rd_err(&r, &e);
    assert_string_equal(e.text, "Produce v9: topics[3].partitions: 70000 entries cannot fit in 4 bytes (at 4 of 8)");
    arena_fini(&a);
}

static void an_arena_that_refuses_fails_the_cursor(void **state)
{
    struct arena a;
    struct rd    r = OVER("\x00\x00\x00\x03\x00\x01" "a" "\x00\x01" "b" "\x00\x01" "c");
    struct err   e;
    size_t       n;

    (void)state;
    arena_init(&a, 32);
    assert_null(rd_strs(&r, false, &a, &n, "names"));
    assert_int_equal(n, 0);
    assert_int_equal(rd_err(&r, &e), RC_TOO_LARGE);
    arena_fini(&a);
}

static void variable_length_integers_have_one_length_limit(void **state)
{
    struct rd r = OVER("\xac\x02\x01\x02\xac\x02\xff\xff\xff\xff\x0f");

    (void)state;
    assert_int_equal(rd_uvarint(&r), 300);
    assert_int_equal(rd_varint(&r), -1);
    assert_int_equal(rd_varint(&r), 1);
    assert_int_equal(rd_varint(&r), 150);
    assert_int_equal(rd_uvarint(&r), UINT32_MAX);
    assert_int_equal(r.why, RD_OK);
    assert_int_equal(rd_left(&r), 0);

    r = OVER("\xff\xff\xff\xff\x1f");                         /* a 33rd bit */
    rd_uvarint(&r);
    assert_int_equal(r.why, RD_VARINT);
    r = OVER("\x80\x80\x80\x80\x80\x00");
    rd_uvarint(&r);
    assert_int_equal(r.why, RD_VARINT);
    r = OVER("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01");
    assert_true(rd_varlong(&r) == INT64_MIN);
    r = OVER("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02");
    rd_varlong(&r);
    assert_int_equal(r.why, RD_VARINT);
    r = OVER("\x80");
    rd_uvarint(&r);
    assert_int_equal(r.why, RD_SHORT);
}

static void written_variable_length_integers_are_read_back(void **state)
{
    static const int64_t values[] = {0, 1, -1, 63, 64, -64, -65, 8191, 8192, INT32_MAX, INT32_MIN, INT64_MAX, INT64_MIN};

    (void)state;
    for (size_t i = 0; i < countof(values); i++) {
        AUTO(buf_fini) struct buf b = {0};
        struct wr w;
        struct rd r;

        wr_init(&w, &b);
        wr_varlong(&w, values[i]);
        assert_int_equal(b.n, wr_varlong_size(values[i]));
        rd_init(&r, buf_view(&b));
        assert_true(rd_varlong(&r) == values[i]);
        assert_int_equal(rd_left(&r), 0);
    }
}

static void null_is_refused_where_the_protocol_has_none(void **state)
{
    struct rd r = OVER("\xff\xff\xff\xff\x00\x00");

    (void)state;
    assert_null(rd_str_null(&r, false, "a").p);
    assert_int_equal(r.why, RD_OK);
    assert_null(rd_str(&r, false, "b").p);
    assert_int_equal(r.why, RD_NULL);
    r = OVER("\x00\x01\x00");
    assert_null(rd_bytes_null(&r, true, "a").p);
    assert_non_null(rd_bytes_null(&r, true, "a").p);          /* empty is not null */
    assert_null(rd_bytes(&r, true, "a").p);
    assert_int_equal(r.why, RD_NULL);
}

static void tags_are_bounded_and_unknown_ones_skipped(void **state)
{
    struct rd r = OVER("\x02\x05\x03" "abc" "\x07\x00\x2a");

    (void)state;
    rd_tags_skip(&r);
    assert_int_equal(rd_i8(&r), 42);
    assert_int_equal(r.why, RD_OK);
    r = OVER("\x01\x05\x04" "abc");
    rd_tags_skip(&r);
    assert_int_equal(r.why, RD_LENGTH);
}

static void a_large_tag_gets_a_longer_size(void **state)
{
    AUTO(buf_fini) struct buf b = {0};
    char                      big[300];
    struct wr                 w;
    struct rd                 r;
    const uint8_t            *end;
    uint32_t                  tag;
    size_t                    opened;
    struct str                s;

    (void)state;
    memset(big, 'x', sizeof big);
    wr_init(&w, &b);
    opened = wr_tag_open(&w, 3);
    wr_str(&w, true, (struct str){big, sizeof big});
    wr_tag_close(&w, opened);
    wr_i8(&w, 9);
    rd_init(&r, buf_view(&b));
    assert_true(rd_tag_open(&r, &tag, &end));
    assert_int_equal(tag, 3);
    s = rd_str(&r, true, "s");
    assert_int_equal(s.n, sizeof big);
    assert_memory_equal(s.p, big, sizeof big);
    rd_tag_close(&r, end);
    assert_int_equal(rd_i8(&r), 9);
    assert_int_equal(rd_left(&r), 0);
}

static void a_string_the_format_cannot_hold_fails_the_writer_but_not_the_frame(void **state)
{
    AUTO(buf_fini) struct buf b = {0};
    static char               big[40000];
    struct wr                 w;

    (void)state;
    wr_init(&w, &b);
    wr_str(&w, false, (struct str){big, sizeof big});
    assert_true(w.failed);
    assert_int_equal(b.n, 2);
}

static void spliced_bytes_count_in_the_frame_but_are_not_copied(void **state)
{
    AUTO(buf_fini) struct buf b = {0};
    AUTO(wr_fini)  struct wr  w;
    int                       file;
    size_t                    begun;

    (void)state;
    wr_init(&w, &b);
    begun = wr_frame_begin(&w);
    wr_i16(&w, 1);
    wr_records(&w, true, (struct bytes){0}, (struct wr_file){&file, 4096, 1000});
    wr_records(&w, true, bytes_of("ab", 2), (struct wr_file){0});
    wr_records(&w, true, (struct bytes){0}, (struct wr_file){&file, 8192, 10});
    wr_frame_end(&w, begun);
    assert_int_equal(b.n, 4 + 2 + 2 + 3 + 1);
    assert_int_equal(load_be32(b.p), 2 + 2 + 1000 + 3 + 1 + 10);
    assert_int_equal(w.splices_n, 2);
    assert_int_equal(w.splices[0].at, 8);
    assert_int_equal(w.splices[0].from.offset, 4096);
    assert_int_equal(w.splices[1].at, 12);
}

static void the_header_of_a_flexible_request_has_tags_but_a_plain_client_id(void **state)
{
    struct rd                   r = OVER("\x00\x12\x00\x03\x00\x00\x00\x01\x00\x01" "c" "\x00\x02" "t");
    struct kafka_request_header h;

    (void)state;
    assert_true(kafka_request_header_decode(&r, &h));
    assert_int_equal(h.api_key, KAFKA_API_VERSIONS);
    assert_int_equal(h.api_version, 3);
    assert_int_equal(h.correlation_id, 1);
    assert_str(h.client_id, "c");
    assert_int_equal(rd_left(&r), 2);

    r = OVER("\x00\x12\x7f\xff\x00\x00\x00\x01\xff\xff\x00");   /* a version nobody knows yet, null client id */
    assert_true(kafka_request_header_decode(&r, &h));
    assert_null(h.client_id.p);
    assert_int_equal(rd_left(&r), 0);

    r = OVER("\x03\xe8\x00\x00\x00\x00\x00\x01");               /* an API nobody knows */
    assert_true(kafka_request_header_decode(&r, &h));
    assert_null(h.api);

    r = OVER("\x00\x12\x00\x03\x00\x00\x00");
    assert_false(kafka_request_header_decode(&r, &h));
}

static void the_header_of_an_api_versions_answer_never_has_tags(void **state)
{
    AUTO(buf_fini) struct buf b = {0};
    struct wr                 w;

    (void)state;
    wr_init(&w, &b);
    kafka_response_header_encode(&w, kafka_api_of(KAFKA_API_VERSIONS), 3, 1);
    assert_int_equal(b.n, 4);
    kafka_response_header_encode(&w, kafka_api_of(KAFKA_METADATA), 9, 1);
    assert_int_equal(b.n, 9);
    kafka_response_header_encode(&w, kafka_api_of(KAFKA_METADATA), 8, 1);
    assert_int_equal(b.n, 13);
}

static void every_error_code_has_a_name(void **state)
{
    (void)state;
    for (int16_t c = KAFKA_ERR_MIN; c <= KAFKA_ERR_MAX; c++) {
        assert_non_null(kafka_error_name(c));
        assert_non_null(kafka_error_text(c));
    }
    assert_string_equal(kafka_error_name(KAFKA_ERR_UNSUPPORTED_VERSION), "UNSUPPORTED_VERSION");
    assert_string_equal(kafka_error_name(KAFKA_ERR_MAX + 1), "?");
    assert_true(kafka_error_retriable(KAFKA_ERR_NOT_COORDINATOR));
    assert_false(kafka_error_retriable(-2));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_failed_read_gives_zero_and_stays_where_it_was),
        cmocka_unit_test(counts_are_refused_before_anything_is_reserved),
        cmocka_unit_test(an_arena_that_refuses_fails_the_cursor),
        cmocka_unit_test(variable_length_integers_have_one_length_limit),
        cmocka_unit_test(written_variable_length_integers_are_read_back),
        cmocka_unit_test(null_is_refused_where_the_protocol_has_none),
        cmocka_unit_test(tags_are_bounded_and_unknown_ones_skipped),
        cmocka_unit_test(a_large_tag_gets_a_longer_size),
        cmocka_unit_test(a_string_the_format_cannot_hold_fails_the_writer_but_not_the_frame),
        cmocka_unit_test(spliced_bytes_count_in_the_frame_but_are_not_copied),
        cmocka_unit_test(the_header_of_a_flexible_request_has_tags_but_a_plain_client_id),
        cmocka_unit_test(the_header_of_an_api_versions_answer_never_has_tags),
        cmocka_unit_test(every_error_code_has_a_name),
    };
    return cmocka_run_group_tests_name("kafka/reader", tests, NULL, NULL);
}
