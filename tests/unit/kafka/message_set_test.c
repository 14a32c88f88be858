/* SPDX-License-Identifier: Apache-2.0 */
#include "test.h"
#include <isa-l/crc.h>
#include <stdio.h>
#include "kafka/message_set.h"
#include "kafka/old_messages.h"

/* Format 1 with sixty v, inside of a message compressed with gzip. */
static const char format_1_gzip[] =
    "000000000000000100000055b2eca05201010000018bcfe56805ffffffff0000003f1f8b080000000000020363608083e0ce"
    "279c8b19810cc6eef34f3340228cd940c2a68c0200351a64aa98c9d9eced70e359ff0301480a00d59a231081000000";
/* What must not be: a plain message before a compressed one or behind it, and a compressed one inside of a compressed one. */
static const char plain_then_gzip[] =
    "000000000000000000000018c49deaf7010000000000000000050000000161000000016200000000000000000000003c95d26e02"
    "01010000000000000005ffffffff000000261f8b08000000000002036360800389fa3bb26f18613c562066cc0611650039dcb218"
    "24000000";
static const char gzip_then_plain[] =
    "00000000000000000000003c95d26e0201010000000000000005ffffffff000000261f8b08000000000002036360800389fa3bb2"
    "6f18613c562066cc0611650039dcb21824000000000000000000000000000018c49deaf701000000000000000005000000016100"
    "00000162";
static const char gzip_in_gzip[] =
    "00000000000000000000005f2474af5101010000000000000005ffffffff000000491f8b0800000000000203636080039ba997f2"
    "981819a13cd6ff4000a4d5e4bb39c0024cccc9090dcc9dbfac37e54b24da8429a49d61134c65b0bcb3494205280b0016416f9648"
    "000000";

struct rig {
    struct codecs *codecs;
    struct buf     scratch, payload, made;
    uint8_t        set[400];
    size_t         n;
    bool           log_append_time;           /* of the topic */
};

static void rig_init(struct rig *r, const char *hex)
{
    *r = (struct rig){.codecs = codecs_new(), .n = strlen(hex) / 2};
    assert_true(r->n < sizeof r->set);
    for (size_t i = 0; i < r->n; i++) {
        unsigned v;

        assert_int_equal(sscanf(hex + 2 * i, "%2x", &v), 1);
        r->set[i] = (uint8_t)v;
    }
}

static void rig_fini(struct rig *r)
{
    codecs_free(r->codecs);
    buf_fini(&r->scratch);
    buf_fini(&r->payload);
    buf_fini(&r->made);
}

static enum batch_fault convert(struct rig *r)
{
    return message_set_convert(bytes_of(r->set, r->n), r->codecs, (struct message_set_rules){1000, r->log_append_time}, &r->scratch, &r->made);
}

/* "k=v@time " for each record; "-" is null. */
static const char *text_of(struct rig *r, struct buf *text)
{
    struct records it;
    struct record  rec;
    struct batch   b;

    assert_int_equal(batch_view(buf_view(&r->made), &b), BATCH_OK);
    assert_int_equal(batch_check(&b), BATCH_OK);
    assert_int_equal(records_open(&it, &b, r->codecs, 1000, &r->payload), BATCH_OK);
    while (records_next(&it, &rec)) {
        assert_int_equal(rec.offset_delta, rec.index);
        buf_printf(text, "%.*s=%.*s@%lld ", rec.key.p ? (int)rec.key.n : 1, rec.key.p ? (const char *)rec.key.p : "-",
                   rec.value.p ? (int)rec.value.n : 1, rec.value.p ? (const char *)rec.value.p : "-", (long long)rec.timestamp);
    }
    assert_int_equal(it.fault, BATCH_OK);
    return buf_cstr(text);
}

static void converts_to(const char *hex, const char *want, enum kafka_codec codec)
{
    AUTO(buf_fini) struct buf text = {0};
    struct batch              b;
    struct rig                r;

    rig_init(&r, hex);
    assert_int_equal(convert(&r), BATCH_OK);
    assert_string_equal(text_of(&r, &text), want);
    assert_int_equal(batch_view(buf_view(&r.made), &b), BATCH_OK);
    assert_int_equal(batch_codec(&b), codec);
    rig_fini(&r);
}

static void messages_of_format_0_have_no_timestamps(void **state)
{
    (void)state;
    converts_to(format_0, "k=v@-1 -=-@-1 ", KAFKA_CODEC_NONE);
}

static void messages_of_format_1_keep_theirs(void **state)
{
    (void)state;
    converts_to(format_1, "k=v@1700000000000 -=@1700000000005 ", KAFKA_CODEC_NONE);
}

static void a_compressed_message_is_taken_apart_and_its_codec_kept(void **state)
{
    AUTO(buf_fini) struct buf text = {0};
    struct rig                r;

    (void)state;
    rig_init(&r, format_1_gzip);
    assert_int_equal(convert(&r), BATCH_OK);
    assert_string_equal(text_of(&r, &text), "k=vvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvv@1700000000000 -=@1700000000005 ");
    rig_fini(&r);
}

static void a_message_that_is_cut_off_is_left_out(void **state)
{
    AUTO(buf_fini) struct buf text = {0};
    struct rig                r;

    (void)state;
    rig_init(&r, format_0);
    r.n--;
    assert_int_equal(convert(&r), BATCH_OK);
    assert_string_equal(text_of(&r, &text), "k=v@-1 ");
    buf_clear(&r.made);
    r.n = 20;
    assert_int_equal(convert(&r), BATCH_NONE);
    assert_int_equal(r.made.n, 0);
    rig_fini(&r);
}

static void every_flipped_bit_behind_the_size_is_found(void **state)
{
    struct rig r;

    (void)state;
    rig_init(&r, format_1);
    for (size_t i = 12; i < 12 + 24; i++)                         /* the first message */
        for (int bit = 0; bit < 8; bit++) {
            r.set[i] ^= (uint8_t)(1 << bit);
            assert_int_not_equal(convert(&r), BATCH_OK);
            assert_int_equal(r.made.n, 0);
            r.set[i] ^= (uint8_t)(1 << bit);
        }
    assert_int_equal(convert(&r), BATCH_OK);
    rig_fini(&r);
}

static void what_expands_beyond_the_limit_is_refused(void **state)
{
    struct rig r;

    (void)state;
    rig_init(&r, format_1_gzip);
    assert_int_equal(message_set_convert(bytes_of(r.set, r.n), r.codecs, (struct message_set_rules){20, false}, &r.scratch, &r.made), BATCH_PAYLOAD_LARGE);
    rig_fini(&r);
}

/* The first message gets these attributes and this timestamp, and a right checksum; what comes of the set. */
static enum batch_fault with(struct rig *r, const char *hex, uint8_t attributes, int64_t timestamp)
{
    uint32_t size;

    rig_init(r, hex);
    size = load_be32(r->set + 8);
    r->set[17] = attributes;
    store_be64(r->set + 18, (uint64_t)timestamp);
    store_be32(r->set + 12, crc32_gzip_refl(0, r->set + 16, size - 4));
    return convert(r);
}

/* Measured at Kafka 3.8.1, which says -1 where it is refused for being below -1. */
static void of_times_only_what_can_be_is_taken(void **state)
{
    static const struct { const char *hex; uint8_t attributes; int64_t timestamp; enum batch_fault wanted; const char *text; } cases[] = {
        {format_1, 0, -1, BATCH_OK, "k=v@-1 -=@1700000000005 "},
        {format_1, 0, -2, BATCH_TIMESTAMP, ""},
        {format_1, 0, INT64_MIN, BATCH_TIMESTAMP, ""},
        {format_1, 8, 1700000000001, BATCH_OK, "k=v@1700000000001 -=@1700000000005 "},
        {format_1, 8, -1, BATCH_TIMESTAMP, ""},
        {format_1, 0xf0, 1700000000001, BATCH_OK, "k=v@1700000000001 -=@1700000000005 "},
        {format_1_gzip, 1, -9, BATCH_OK, "v@1700000000000 -=@1700000000005 "},
        {format_1_gzip, 9, 1700000000099, BATCH_OK, "v@1700000000099 -=@1700000000099 "},
        {format_1_gzip, 9, -1, BATCH_TIMESTAMP, ""},
    };

    (void)state;
    for (size_t i = 0; i < countof(cases); i++) {
        AUTO(buf_fini) struct buf text = {0};
        struct rig                r;

        assert_int_equal(with(&r, cases[i].hex, cases[i].attributes, cases[i].timestamp), cases[i].wanted);
        if (!cases[i].wanted) assert_true(str_ends(str_of(text_of(&r, &text)), str_of(cases[i].text)));
        else assert_int_equal(r.made.n, 0);
        rig_fini(&r);
    }
}

static void where_the_brokers_time_counts_nobody_else_says_so(void **state)
{
    struct rig r;

    (void)state;
    rig_init(&r, format_1);
    r.log_append_time = true;
    assert_int_equal(convert(&r), BATCH_OK);
    r.set[17] = 8;
    store_be32(r.set + 12, crc32_gzip_refl(0, r.set + 16, load_be32(r.set + 8) - 4));
    assert_int_equal(convert(&r), BATCH_TIMESTAMP);
    rig_fini(&r);
}

static void a_compressed_message_stands_alone_and_holds_none(void **state)
{
    static const char *const sets[] = {plain_then_gzip, gzip_then_plain, gzip_in_gzip};

    (void)state;
    for (size_t i = 0; i < sizeof sets / sizeof *sets; i++) {
        struct rig r;

        rig_init(&r, sets[i]);
        assert_int_equal(convert(&r), BATCH_RECORD);
        assert_int_equal(r.made.n, 0);
        rig_fini(&r);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(messages_of_format_0_have_no_timestamps),
        cmocka_unit_test(messages_of_format_1_keep_theirs),
        cmocka_unit_test(a_compressed_message_is_taken_apart_and_its_codec_kept),
        cmocka_unit_test(a_message_that_is_cut_off_is_left_out),
        cmocka_unit_test(every_flipped_bit_behind_the_size_is_found),
        cmocka_unit_test(a_compressed_message_stands_alone_and_holds_none),
        cmocka_unit_test(what_expands_beyond_the_limit_is_refused),
        cmocka_unit_test(of_times_only_what_can_be_is_taken),
        cmocka_unit_test(where_the_brokers_time_counts_nobody_else_says_so),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
