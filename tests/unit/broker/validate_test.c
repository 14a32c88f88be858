/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/validate.h"
#include "base/diag.h"
#include "kafka/batch_build.h"
#include "kafka/errors.h"
#include "test.h"
#include <lz4frame.h>

/* One record, its payload as an LZ4 frame whose blocks depend on each other. */
static void linked_batch(struct buf *into)
{
    const LZ4F_preferences_t prefs = {.frameInfo = {.blockSizeID = LZ4F_max64KB, .blockMode = LZ4F_blockLinked}};
    struct batch_builder     w;
    struct bytes             view;
    struct buf               value = {0}, frame = {0};
    struct err               e;
    size_t                   n;

    memset(buf_grow(&value, 200000), 'v', 200000);
    batch_begin(&w, into, NULL);
    batch_add(&w, &(struct record_new){.timestamp = 5, .key = bytes_of("k", 1), .value = buf_view(&value)});
    assert_int_equal(batch_end(&w, NULL, &view, &e), RC_OK);
    buf_reserve(&frame, LZ4F_compressFrameBound(into->n, &prefs));
    n = LZ4F_compressFrame(frame.p, frame.cap, into->p + BATCH_HEADER_BYTES, into->n - BATCH_HEADER_BYTES, &prefs);
    assert_false(LZ4F_isError(n));
    into->n = BATCH_HEADER_BYTES;
    buf_append(into, bytes_of(frame.p, n));
    store_be32(into->p + 8, (uint32_t)(into->n - BATCH_LOG_OVERHEAD));
    into->p[22] = KAFKA_CODEC_LZ4;
    batch_set_crc(into->p, into->n);
    buf_fini(&value);
    buf_fini(&frame);
}

static void lz4_blocks_that_depend_on_each_other_are_stored_independent(void **state)
{
    AUTO(codecs_freep) struct codecs *codecs = codecs_new();
    struct batch_rules   rules = {.now_ms = 5, .before_max_ms = INT64_MAX, .after_max_ms = INT64_MAX, .codec = -1, .levels = {0, -1, 0, 9, 3}, .expanded_bytes_max = 1 << 20};
    struct buf           sent = {0}, scratch = {0}, made = {0};
    struct batch_verdict v;
    struct batch         b;
    struct records       it;
    struct record        r;
    struct err           e;

    (void)state;
    linked_batch(&sent);
    assert_int_equal(batch_view(buf_view(&sent), &b), BATCH_OK);
    assert_true(kafka_lz4_is_linked(bytes_of(sent.p + BATCH_HEADER_BYTES, sent.n - BATCH_HEADER_BYTES)));
    batch_validate(&b, &rules, codecs, &scratch, &v);
    assert_int_equal(v.code, 0);
    assert_true(v.rebuild);
    assert_int_equal(batch_rebuild(&b, &rules, codecs, &scratch, &made, &e), RC_OK);
    assert_false(kafka_lz4_is_linked(bytes_of(made.p + BATCH_HEADER_BYTES, made.n - BATCH_HEADER_BYTES)));
    assert_int_equal(batch_view(buf_view(&made), &b), BATCH_OK);
    assert_int_equal(batch_codec(&b), KAFKA_CODEC_LZ4);
    assert_int_equal(records_open(&it, &b, codecs, 1 << 20, &scratch), BATCH_OK);
    assert_true(records_next(&it, &r));
    assert_int_equal(r.value.n, 200000);
    buf_fini(&sent);
    buf_fini(&scratch);
    buf_fini(&made);
}

static void levels_make_a_difference_and_are_read_back(void **state)
{
    AUTO(codecs_freep) struct codecs *codecs = codecs_new();
    struct buf in = {0}, out = {0}, back = {0};
    struct err e;
    const struct { enum kafka_codec codec; int low, high; } rows[] = {{KAFKA_CODEC_GZIP, 1, 9}, {KAFKA_CODEC_LZ4, 9, 17}, {KAFKA_CODEC_ZSTD, -50, 19}};

    (void)state;
    for (int i = 0; i < 20000; i++) buf_printf(&in, "record %d of %d; ", i * i % 977, i % 13);
    for (size_t i = 0; i < countof(rows); i++) {
        size_t n[2];

        for (int k = 0; k < 2; k++) {
            buf_clear(&out);
            buf_clear(&back);
            codecs_set_level(codecs, rows[i].codec, k ? rows[i].high : rows[i].low);
            assert_int_equal(kafka_compress(codecs, rows[i].codec, buf_view(&in), &out, &e), RC_OK);
            assert_int_equal(kafka_decompress(codecs, rows[i].codec, buf_view(&out), 1 << 24, &back, &e), RC_OK);
            assert_true(bytes_eq(buf_view(&in), buf_view(&back)));
            n[k] = out.n;
        }
        assert_true(n[1] < n[0]);
    }
    buf_fini(&in);
    buf_fini(&out);
    buf_fini(&back);
}

static int16_t code_for(int64_t timestamp, bool append_bit, struct batch_rules rules)
{
    struct batch_options o = {.producer_id = -1, .base_sequence = -1, .leader_epoch = -1, .log_append_time = append_bit, .log_append_time_ms = timestamp};
    struct buf           out = {0}, scratch = {0};
    struct batch_builder w;
    struct batch_verdict v;
    struct bytes         view;
    struct batch         b;
    struct err           e;

    batch_begin(&w, &out, &o);
    batch_add(&w, &(struct record_new){.timestamp = timestamp, .key = bytes_of("k", 1), .value = bytes_of("v", 1)});
    assert_int_equal(batch_end(&w, NULL, &view, &e), RC_OK);
    assert_int_equal(batch_view(view, &b), BATCH_OK);
    batch_validate(&b, &rules, NULL, &scratch, &v);
    buf_fini(&out);
    buf_fini(&scratch);
    return v.code;
}

/* Measured at Kafka 3.8.1: only -1 is no time; what is below zero is an old one. */
static void of_times_below_zero_only_minus_one_is_none(void **state)
{
    struct batch_rules any = {.now_ms = 1700000000000, .before_max_ms = INT64_MAX, .after_max_ms = INT64_MAX, .codec = -1};
    struct batch_rules near = any, ours = any;

    (void)state;
    near.before_max_ms = 1000;
    ours.log_append_time = true;
    assert_int_equal(code_for(-1, false, any), 0);
    assert_int_equal(code_for(-2, false, any), 0);
    assert_int_equal(code_for(-(INT64_C(1) << 62), false, any), 0);
    assert_int_equal(code_for(-1, false, near), 0);
    assert_int_equal(code_for(-2, false, near), KAFKA_ERR_INVALID_TIMESTAMP);
    assert_int_equal(code_for(INT64_MIN, false, near), KAFKA_ERR_INVALID_TIMESTAMP);
    assert_int_equal(code_for(near.now_ms - 1000, false, near), 0);
    assert_int_equal(code_for(near.now_ms - 1001, false, near), KAFKA_ERR_INVALID_TIMESTAMP);
    assert_int_equal(code_for(-1, true, any), KAFKA_ERR_INVALID_TIMESTAMP);
    assert_int_equal(code_for(-2, true, any), 0);
    assert_int_equal(code_for(-2, false, ours), 0);
    assert_int_equal(code_for(5, true, ours), KAFKA_ERR_INVALID_TIMESTAMP);
}

/* Measured at Kafka 3.8.1, which says -1. */
static void a_batch_that_is_written_anew_takes_no_times_below_minus_one(void **state)
{
    struct batch_rules rules = {.now_ms = 1700000000000, .before_max_ms = INT64_MAX, .after_max_ms = INT64_MAX, .codec = KAFKA_CODEC_GZIP};

    (void)state;
    assert_int_equal(code_for(-1, false, rules), 0);
    assert_int_equal(code_for(-2, false, rules), KAFKA_ERR_INVALID_TIMESTAMP);
    assert_int_equal(code_for(INT64_MIN, false, rules), KAFKA_ERR_INVALID_TIMESTAMP);
    rules.log_append_time = true;
    assert_int_equal(code_for(-1, false, rules), 0);
    assert_int_equal(code_for(-2, false, rules), KAFKA_ERR_INVALID_TIMESTAMP);
    rules.codec = KAFKA_CODEC_NONE; /* it is in that one already */
    assert_int_equal(code_for(-2, false, rules), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lz4_blocks_that_depend_on_each_other_are_stored_independent),
        cmocka_unit_test(of_times_below_zero_only_minus_one_is_none),
        cmocka_unit_test(a_batch_that_is_written_anew_takes_no_times_below_minus_one),
        cmocka_unit_test(levels_make_a_difference_and_are_read_back),
    };

    diag_set_levels(STR("error"));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
