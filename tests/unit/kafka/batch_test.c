/* SPDX-License-Identifier: Apache-2.0 */
#include "test.h"
#include <stdio.h>
#include "kafka/batch_build.h"

/* Computed elsewhere: two records, the second 5 ms later with a null key, an empty value and the header h = null. */
static const char two_records[] =
    "000000000000000000000044ffffffff0213f3c0b70000000000010000018bcfe568000000018bcfe56805"
    "ffffffffffffffffffffffffffff0000000210000000026b02760012000a02010002026801";
/* A commit marker at offset 7. */
static const char marker[] =
    "0000000000000007000000420000000002a1ac499f0030000000000000018bcfe568000000018bcfe568"
    "0000000000000003e80000ffffffff000000012000000008000000010c00000000000000";

static size_t unhex(const char *hex, uint8_t *ret)
{
    size_t n = strlen(hex) / 2;

    for (size_t i = 0; i < n; i++) {
        unsigned v;

        assert_int_equal(sscanf(hex + 2 * i, "%2x", &v), 1);
        ret[i] = (uint8_t)v;
    }
    return n;
}

static const struct record_header h_null = {.key = STR("h")};

static struct bytes build_two(struct buf *out, struct codecs *c, const struct batch_options *opt)
{
    struct batch_builder w;
    struct bytes         made;
    struct err           e;

    batch_begin(&w, out, opt);
    batch_add(&w, &(struct record_new){.timestamp = 1700000000000, .key = bytes_of("k", 1), .value = bytes_of("v", 1)});
    batch_add(&w, &(struct record_new){.timestamp = 1700000000005, .value = bytes_of("", 0), .headers = &h_null, .headers_n = 1});
    assert_int_equal(batch_end(&w, c, &made, &e), RC_OK);
    return made;
}

static void a_batch_is_built_byte_for_byte_as_others_build_it(void **state)
{
    AUTO(buf_fini) struct buf out = {0};
    uint8_t                   want[100];
    size_t                    n = unhex(two_records, want);
    struct bytes              made = build_two(&out, NULL, NULL);

    (void)state;
    assert_int_equal(n, 80);
    assert_int_equal(made.n, n);
    assert_memory_equal(made.p, want, n);
}

static void a_marker_is_built_byte_for_byte_as_others_build_it(void **state)
{
    AUTO(buf_fini) struct buf out = {0};
    uint8_t                   want[100];
    size_t                    n = unhex(marker, want);
    struct batch              b;
    struct control            ctl;

    (void)state;
    batch_build_control(&out, &(struct control_new){CONTROL_COMMIT, 7, 1700000000000, 1000, 0, 0, 0});
    assert_int_equal(out.n, n);
    assert_memory_equal(out.p, want, n);
    assert_int_equal(batch_view(buf_view(&out), &b), BATCH_OK);
    assert_int_equal(batch_check(&b), BATCH_OK);
    assert_true(batch_is(&b, BATCH_CONTROL) && batch_is(&b, BATCH_TRANSACTIONAL));
    assert_true(batch_control(&b, &ctl));
    assert_int_equal(ctl.type, CONTROL_COMMIT);
    assert_int_equal(ctl.coordinator_epoch, 0);
    assert_int_equal(b.producer_id, 1000);
    assert_int_equal(b.base_sequence, -1);
}

static void the_records_of_a_batch_are_read_back(void **state)
{
    AUTO(buf_fini) struct buf scratch = {0};
    uint8_t                   raw[100];
    size_t                    n = unhex(two_records, raw);
    struct batch              b;
    struct records            it;
    struct record             rec;
    struct record_header      h;
    struct bytes              value;
    struct rd                 walk;

    (void)state;
    assert_int_equal(batch_view(bytes_of(raw, n), &b), BATCH_OK);
    assert_int_equal(batch_check(&b), BATCH_OK);
    assert_int_equal(batch_next_offset(&b), 2);
    batch_assign(raw, 40, 3);
    assert_int_equal(batch_view(bytes_of(raw, n), &b), BATCH_OK);
    assert_int_equal(b.leader_epoch, 3);
    assert_true(batch_crc_ok(&b));

    assert_int_equal(records_open(&it, &b, NULL, 0, &scratch), BATCH_OK);
    assert_true(records_next(&it, &rec));
    assert_int_equal(rec.offset, 40);
    assert_true(rec.timestamp == 1700000000000);
    assert_true(bytes_eq(rec.key, bytes_of("k", 1)));
    assert_true(bytes_eq(rec.value, bytes_of("v", 1)));
    assert_int_equal(rec.headers_n, 0);
    assert_int_equal(rec.size, 9);
    assert_true(records_next(&it, &rec));
    assert_int_equal(rec.offset, 41);
    assert_true(rec.timestamp == 1700000000005);
    assert_null(rec.key.p);
    assert_non_null(rec.value.p);
    assert_int_equal(rec.value.n, 0);
    assert_int_equal(rec.headers_n, 1);
    walk = record_headers(&rec);
    assert_true(record_headers_next(&walk, &h));
    assert_str(h.key, "h");
    assert_null(h.value.p);
    assert_false(record_headers_next(&walk, &h));
    assert_true(record_header_find(&rec, STR("h"), &value));
    assert_false(record_header_find(&rec, STR("i"), &value));
    assert_false(records_next(&it, &rec));
    assert_int_equal(it.fault, BATCH_OK);
}

static void what_is_wrong_with_a_batch_is_told_apart(void **state)
{
    uint8_t      raw[100], bad[100];
    size_t       n = unhex(two_records, raw);
    struct batch b;

    (void)state;
    assert_int_equal(batch_view(bytes_of(raw, 0), &b), BATCH_NONE);
    assert_int_equal(batch_view(bytes_of(raw, 16), &b), BATCH_NONE);
    assert_int_equal(batch_view(bytes_of(raw, n - 1), &b), BATCH_CUT);
    assert_int_equal(batch_view(bytes_of(raw, n + 3), &b), BATCH_OK);
    assert_int_equal(b.raw.n, n);
#define WITH(at, v) (memcpy(bad, raw, n), bad[at] = (v), batch_view(bytes_of(bad, n), &b))
    assert_int_equal(WITH(11, 13), BATCH_LENGTH);
    assert_int_equal(WITH(11, 48), BATCH_LENGTH_SHORT);
    assert_int_equal(WITH(8, 0x80), BATCH_LENGTH);
    assert_int_equal(WITH(16, 3), BATCH_MAGIC_UNKNOWN);
    assert_int_equal(WITH(16, 0xff), BATCH_MAGIC_UNKNOWN);
    assert_int_equal(WITH(16, 1), BATCH_MAGIC_OLD);
    assert_int_equal(WITH(79, 0), BATCH_OK);
    assert_int_equal(batch_check(&b), BATCH_CRC);
#define CHECK(at, v) (memcpy(bad, raw, n), bad[at] = (v), batch_set_crc(bad, n), batch_view(bytes_of(bad, n), &b), batch_check(&b))
    assert_int_equal(CHECK(22, 5), BATCH_CODEC);
    assert_int_equal(CHECK(60, 3), BATCH_COUNT);
    assert_int_equal(CHECK(60, 0), BATCH_COUNT);
    assert_int_equal(CHECK(26, 0xff), BATCH_COUNT);
    assert_int_equal(CHECK(15, 9), BATCH_OK);                 /* the leader epoch is nobody's business */
}

static enum batch_fault walk_with(const uint8_t *raw, size_t n, size_t at, uint8_t v, int32_t *ret_index)
{
    AUTO(buf_fini) struct buf scratch = {0};
    uint8_t                   bad[100];
    struct batch              b;
    struct records            it;
    struct record             rec;

    memcpy(bad, raw, n);
    bad[at] = v;
    assert_int_equal(batch_view(bytes_of(bad, n), &b), BATCH_OK);
    records_open(&it, &b, NULL, 0, &scratch);
    while (records_next(&it, &rec)) continue;
    *ret_index = it.index;
    return it.fault;
}

static void a_record_must_fill_the_length_it_announces(void **state)
{
    uint8_t raw[100];
    size_t  n = unhex(two_records, raw);
    int32_t at;

    (void)state;
    assert_int_equal(walk_with(raw, n, 61, 0x0e, &at), BATCH_RECORD);      /* one byte less than it takes */
    assert_int_equal(at, 0);
    assert_int_equal(walk_with(raw, n, 61, 0x12, &at), BATCH_RECORD);      /* one more */
    assert_int_equal(walk_with(raw, n, 61, 0x7e, &at), BATCH_RECORD);      /* more than there is */
    assert_int_equal(walk_with(raw, n, 61, 0x01, &at), BATCH_RECORD);      /* negative */
    assert_int_equal(walk_with(raw, n, 76, 0x04, &at), BATCH_RECORD);      /* a header more than there are */
    assert_int_equal(at, 1);
    assert_int_equal(walk_with(raw, n, 76, 0x01, &at), BATCH_RECORD);
    assert_int_equal(walk_with(raw, n, 77, 0x01, &at), BATCH_RECORD);      /* a null header key */
    assert_int_equal(walk_with(raw, n, 60, 1, &at), BATCH_TRAILING);
    assert_int_equal(walk_with(raw, n, 57, 0x7f, &at), BATCH_COUNT);
    assert_int_equal(walk_with(raw, n, 61, 0x10, &at), BATCH_OK);
}

static void records_of_compressed_batches_are_the_same(void **state)
{
    AUTO(codecs_freep) struct codecs *c = codecs_new();

    (void)state;
    for (int codec = 0; codec < KAFKA_CODECS; codec++) {
        AUTO(buf_fini) struct buf out = {0}, scratch = {0};
        struct batch_builder      w;
        struct bytes              made;
        struct batch              b;
        struct records            it;
        struct record             rec;
        struct err                e;
        int                       seen = 0;

        batch_begin(&w, &out, &(struct batch_options){.codec = (enum kafka_codec)codec, .has_producer = true, .producer_id = 9,
                                                      .producer_epoch = 2, .base_sequence = INT32_MAX - 1, .leader_epoch = -1});
        for (int i = 0; i < 1000; i++)
            batch_add(&w, &(struct record_new){.timestamp = 1000 - i, .value = bytes_of("the same again and again", 24)});
        assert_int_equal(batch_bytes(&w, NULL), out.n);
        assert_int_equal(batch_end(&w, c, &made, &e), RC_OK);
        assert_int_equal(batch_view(made, &b), BATCH_OK);
        assert_int_equal(batch_check(&b), BATCH_OK);
        assert_int_equal(batch_codec(&b), codec);
        assert_int_equal(b.max_timestamp, 1000);
        assert_int_equal(batch_last_sequence(&b), 997);
        assert_int_equal(records_open(&it, &b, c, 1 << 20, &scratch), BATCH_OK);
        while (records_next(&it, &rec)) {
            assert_int_equal(rec.timestamp, 1000 - seen);
            assert_int_equal(rec.offset, seen++);
        }
        assert_int_equal(it.fault, BATCH_OK);
        assert_int_equal(seen, 1000);
        if (codec) assert_int_equal(records_open(&it, &b, c, 1000, &scratch), BATCH_PAYLOAD_LARGE);
    }
}

static void append_time_becomes_every_records_time(void **state)
{
    AUTO(buf_fini) struct buf out = {0}, scratch = {0};
    struct bytes              made = build_two(&out, NULL, NULL);
    struct batch              b;
    struct records            it;
    struct record             rec;

    (void)state;
    batch_set_log_append_time(out.p, made.n, 1800000000000);
    assert_int_equal(batch_view(made, &b), BATCH_OK);
    assert_int_equal(batch_check(&b), BATCH_OK);
    assert_true(b.max_timestamp == 1800000000000);
    assert_true(b.base_timestamp == 1700000000000);
    records_open(&it, &b, NULL, 0, &scratch);
    while (records_next(&it, &rec)) assert_true(rec.timestamp == 1800000000000);
    assert_int_equal(it.index, 2);
}

static void several_batches_stand_in_a_row(void **state)
{
    AUTO(buf_fini) struct buf out = {0};
    struct bytes              rest;
    struct batch              b;
    int                       seen = 0;

    (void)state;
    build_two(&out, NULL, NULL);
    build_two(&out, NULL, &(struct batch_options){.base_offset = 2});
    batch_build_control(&out, &(struct control_new){CONTROL_ABORT, 4, 0, 1, 0, 5, 0});
    for (rest = buf_view(&out); batch_view(rest, &b) == BATCH_OK; rest = bytes_sub(rest, b.raw.n, rest.n - b.raw.n)) {
        assert_int_equal(b.base_offset, 2 * seen);
        assert_true(batch_crc_ok(&b));
        seen++;
    }
    assert_int_equal(seen, 3);
    assert_int_equal(rest.n, 0);
}

static void a_thinned_out_batch_keeps_its_offsets(void **state)
{
    AUTO(buf_fini) struct buf out = {0}, scratch = {0};
    struct batch_builder      w;
    struct bytes              made;
    struct batch              b;
    struct records            it;
    struct record             rec;
    struct err                e;

    (void)state;
    batch_begin(&w, &out, &(struct batch_options){.base_offset = 100, .delete_horizon = true, .base_timestamp = 777});
    batch_add_at(&w, 3, &(struct record_new){.timestamp = 500, .key = bytes_of("a", 1)});
    batch_add_at(&w, 8, &(struct record_new){.timestamp = 600, .key = bytes_of("b", 1)});
    batch_extend(&w, 9);
    assert_int_equal(batch_end(&w, NULL, &made, &e), RC_OK);
    assert_int_equal(batch_view(made, &b), BATCH_OK);
    assert_true(batch_crc_ok(&b));
    assert_int_equal(batch_last_offset(&b), 109);
    assert_int_equal(b.base_timestamp, 777);
    assert_true(batch_is(&b, BATCH_DELETE_HORIZON));
    records_open(&it, &b, NULL, 0, &scratch);
    assert_true(records_next(&it, &rec));
    assert_int_equal(rec.offset, 103);
    assert_int_equal(rec.timestamp, 500);
    assert_true(records_next(&it, &rec));
    assert_int_equal(rec.offset, 108);
    assert_int_equal(rec.timestamp, 600);
    assert_false(records_next(&it, &rec));
    assert_int_equal(it.fault, BATCH_OK);
}

static void a_group_belongs_to_the_partition_that_java_computes(void **state)
{
    (void)state;
    assert_int_equal(kafka_java_hash(STR("my-group")), -1906497762);
    assert_int_equal(kafka_java_hash(STR("seldon")), -906022231);
    assert_int_equal(kafka_java_hash(STR("test")), 3556498);
    assert_int_equal(kafka_java_hash(STR("")), 0);
    assert_int_equal(kafka_partition_of_group(STR("my-group"), 50), 12);
    assert_int_equal(kafka_partition_of_group(STR("seldon"), 50), 31);
    assert_int_equal(kafka_partition_of_group(STR("test"), 50), 48);
    assert_int_equal(kafka_java_hash(STR("polygenelubricants")), INT32_MIN);      /* whose absolute value does not exist */
    assert_int_equal(kafka_partition_of_group(STR("polygenelubricants"), 50), 0);
    assert_int_equal(kafka_java_hash(STR("\xc3\xa4")), 0xe4);                       /* ä */
    assert_int_equal(kafka_java_hash(STR("\xf0\x9f\x98\x80")), 0xd83d * 31 + 0xde00);   /* a smiley: two code units */
    assert_int_equal(kafka_java_hash(STR("\xff")), 0xfffd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_batch_is_built_byte_for_byte_as_others_build_it),
        cmocka_unit_test(a_marker_is_built_byte_for_byte_as_others_build_it),
        cmocka_unit_test(the_records_of_a_batch_are_read_back),
        cmocka_unit_test(what_is_wrong_with_a_batch_is_told_apart),
        cmocka_unit_test(a_record_must_fill_the_length_it_announces),
        cmocka_unit_test(records_of_compressed_batches_are_the_same),
        cmocka_unit_test(append_time_becomes_every_records_time),
        cmocka_unit_test(several_batches_stand_in_a_row),
        cmocka_unit_test(a_thinned_out_batch_keeps_its_offsets),
        cmocka_unit_test(a_group_belongs_to_the_partition_that_java_computes),
    };
    return cmocka_run_group_tests_name("kafka/batch", tests, NULL, NULL);
}
