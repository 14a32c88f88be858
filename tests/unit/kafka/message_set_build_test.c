/* SPDX-License-Identifier: Apache-2.0 */
#include "test.h"
#include <isa-l/crc.h>
#include <stdio.h>
#include "base/rng.h"
#include "kafka/lz4_header.h"
#include "kafka/message_set.h"
#include "kafka/message_set_build.h"
#include "kafka/old_messages.h"

enum { ROOM = 1 << 20, MESSAGES_MAX = 64 };

struct rig {
    struct codecs             *codecs;
    struct message_set_builder w;
    struct buf                 batch, out, scratch, back;
    bool                       cut;
};

static void rig_init(struct rig *r, int8_t magic)
{
    *r = (struct rig){.codecs = codecs_new()};
    r->w = (struct message_set_builder){.codecs = r->codecs, .magic = magic, .expanded_bytes_max = ROOM};
}

static void rig_fini(struct rig *r)
{
    message_set_builder_fini(&r->w);
    codecs_free(r->codecs);
    buf_fini(&r->batch);
    buf_fini(&r->out);
    buf_fini(&r->scratch);
    buf_fini(&r->back);
}

static struct bytes text(const char *s) { return s ? str_bytes(str_of(s)) : (struct bytes){0}; }

/* Neither the first nor the last of some is the latest. */
static int64_t time_of(int i) { return 1000 + (i ^ 1); }

/* Records k0=v, k1=v … at every `step`th offset from base on. */
static void batch_of(struct rig *r, struct batch_options opt, int n, int step)
{
    struct record_header h = {STR("h"), text("x")};
    struct batch_builder w;
    struct bytes         made;
    struct err           e;
    char                 key[16];

    buf_clear(&r->batch);
    if (!opt.leader_epoch) opt.leader_epoch = -1;
    batch_begin(&w, &r->batch, &opt);
    for (int i = 0; i < n; i++) {
        snprintf(key, sizeof key, "k%d", i);
        batch_add_at(&w, i * step, &(struct record_new){time_of(i), text(key), text("vvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvv"), &h, 1});
    }
    if (n == 0) batch_extend(&w, 4);
    assert_int_equal(batch_end(&w, r->codecs, &made, &e), RC_OK);
}

static enum batch_fault build(struct rig *r, int64_t from, size_t room)
{
    struct batch b;

    r->w.from = from;
    assert_int_equal(batch_view(buf_view(&r->batch), &b), BATCH_OK);
    return message_set_build(&r->w, &b, (struct message_set_room){room, r->out.n == 0}, &r->out, &r->cut);
}

/* One message at p: what is read of it is only what these tests ask for. */
struct seen { int64_t offset, timestamp; int8_t magic, attributes; struct str key; struct bytes value; };

static size_t see(struct bytes in, struct seen *ret)
{
    struct rd r;
    size_t    n;

    if (in.n < 12) return 0;
    n = 12 + load_be32(in.p + 8);
    assert_true(n <= in.n);
    assert_int_equal(crc32_gzip_refl(0, in.p + 16, n - 16), load_be32(in.p + 12));
    rd_init(&r, bytes_of(in.p, n));
    ret->offset = rd_i64(&r);
    (void)rd_i64(&r);
    ret->magic = rd_i8(&r);
    ret->attributes = rd_i8(&r);
    ret->timestamp = ret->magic ? rd_i64(&r) : -1;
    ret->key = bytes_str(rd_bytes_null(&r, false, "key"));
    ret->value = rd_bytes_null(&r, false, "value");
    assert_true(!r.why && !rd_left(&r));
    return n;
}

static size_t see_all(struct bytes in, struct seen *ret)
{
    size_t n = 0, took;

    while (n < MESSAGES_MAX && (took = see(in, &ret[n]))) {
        in = bytes_sub(in, took, in.n - took);
        n++;
    }
    return n;
}

static void unhex(const char *hex, struct buf *out)
{
    for (; *hex; hex += 2) {
        unsigned v;

        assert_int_equal(sscanf(hex, "%2x", &v), 1);
        buf_append_byte(out, (uint8_t)v);
    }
}

static void what_came_in_an_old_format_goes_out_as_the_same_bytes(void **state)
{
    (void)state;
    for (int8_t magic = 0; magic < 2; magic++) {
        AUTO(buf_fini) struct buf in = {0};
        struct rig                r;

        rig_init(&r, magic);
        unhex(magic ? format_1 : format_0, &in);
        assert_int_equal(message_set_convert(buf_view(&in), r.codecs, (struct message_set_rules){ROOM, false}, &r.scratch, &r.batch), BATCH_OK);
        assert_int_equal(build(&r, 0, ROOM), BATCH_OK);
        assert_true(bytes_eq(buf_view(&r.out), buf_view(&in)));
        rig_fini(&r);
    }
}

static void messages_below_the_offset_that_was_asked_for_are_left_out(void **state)
{
    struct seen s[MESSAGES_MAX];
    struct rig  r;

    (void)state;
    rig_init(&r, 1);
    batch_of(&r, (struct batch_options){.base_offset = 100}, 5, 3);
    assert_int_equal(build(&r, 104, ROOM), BATCH_OK);
    assert_int_equal(see_all(buf_view(&r.out), s), 3);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(s[i].offset, 106 + 3 * i);
        assert_int_equal(s[i].timestamp, time_of(2 + i));
        assert_int_equal(s[i].attributes, 0);
    }
    buf_clear(&r.out);
    assert_int_equal(build(&r, 113, ROOM), BATCH_OK);              /* behind the last one */
    assert_int_equal(r.out.n, 0);
    rig_fini(&r);
}

static void a_compressed_batch_is_one_message_with_all_of_it(void **state)
{
    static const enum kafka_codec codecs[] = {KAFKA_CODEC_GZIP, KAFKA_CODEC_SNAPPY, KAFKA_CODEC_LZ4};

    (void)state;
    for (size_t i = 0; i < countof(codecs); i++)
        for (int8_t magic = 0; magic < 2; magic++) {
            struct seen outer, s[MESSAGES_MAX];
            struct rig  r;
            struct err  e;

            rig_init(&r, magic);
            batch_of(&r, (struct batch_options){.base_offset = 100, .codec = codecs[i]}, 20, 2);
            assert_int_equal(build(&r, 120, ROOM), BATCH_OK);
            assert_int_equal(see(buf_view(&r.out), &outer), r.out.n);
            assert_int_equal(outer.offset, 138);                   /* of the last one */
            assert_int_equal(outer.attributes, codecs[i]);
            assert_int_equal(outer.timestamp, magic ? 1019 : -1);  /* the largest */
            assert_null(outer.key.p);
            buf_append(&r.scratch, outer.value);
            if (codecs[i] == KAFKA_CODEC_LZ4 && magic == 0) {      /* with the mistake of old; then without */
                assert_int_equal(lz4_header_size(outer.value), 7);
                assert_int_not_equal(kafka_decompress(r.codecs, codecs[i], outer.value, ROOM, &r.back, &e), RC_OK);
                lz4_header_mend(r.scratch.p, 7);
            }
            assert_int_equal(kafka_decompress(r.codecs, codecs[i], buf_view(&r.scratch), ROOM, &r.back, &e), RC_OK);
            assert_int_equal(see_all(buf_view(&r.back), s), 20);
            for (int k = 0; k < 20; k++) assert_int_equal(s[k].offset, magic ? 2 * k : 100 + 2 * k);
            buf_clear(&r.out);
            assert_int_equal(build(&r, 139, ROOM), BATCH_OK);      /* all of it is below */
            assert_int_equal(r.out.n, 0);
            rig_fini(&r);
        }
}

/* Computed elsewhere (the xxh32 of tests/diff/batches.py, with and without the frame's magic). */
static void the_mistake_in_the_header_of_lz4_is_the_one_that_clients_know(void **state)
{
    uint8_t      header[] = {0x04, 0x22, 0x4d, 0x18, 0x60, 0x40, 0};
    const size_t n = sizeof header;

    (void)state;
    lz4_header_mend(header, n);
    assert_int_equal(header[6], 0x82);
    assert_int_equal(lz4_header_size(bytes_of(header, n)), n);
    assert_int_equal(lz4_header_size(bytes_of(header, n - 1)), 0);
    lz4_header_spoil(header, n);
    assert_int_equal(header[6], 0x1a);
}

static void the_time_of_the_broker_is_said_to_be_one(void **state)
{
    struct seen s[MESSAGES_MAX];
    struct rig  r;

    (void)state;
    rig_init(&r, 1);
    batch_of(&r, (struct batch_options){.log_append_time = true, .log_append_time_ms = 7777}, 2, 1);
    assert_int_equal(build(&r, 0, ROOM), BATCH_OK);
    batch_of(&r, (struct batch_options){.log_append_time = true, .log_append_time_ms = 8888, .base_offset = 2, .codec = KAFKA_CODEC_GZIP}, 9, 1);
    assert_int_equal(build(&r, 0, ROOM), BATCH_OK);
    assert_int_equal(see_all(buf_view(&r.out), s), 3);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(s[i].timestamp, i < 2 ? 7777 : 8888);
        assert_int_equal(s[i].attributes & 8, 8);
    }
    rig_fini(&r);
}

static void markers_and_empty_batches_give_nothing(void **state)
{
    struct rig r;

    (void)state;
    rig_init(&r, 1);
    batch_build_control(&r.batch, &(struct control_new){.type = CONTROL_COMMIT, .offset = 5, .timestamp = 1, .producer_id = 1});
    assert_int_equal(build(&r, 0, ROOM), BATCH_OK);
    assert_int_equal(r.out.n, 0);
    buf_clear(&r.batch);
    batch_of(&r, (struct batch_options){.base_offset = 5}, 0, 1);
    assert_int_equal(build(&r, 0, ROOM), BATCH_OK);
    assert_int_equal(r.out.n, 0);
    rig_fini(&r);
}

static void what_does_not_fit_is_left_for_later_but_the_first_message(void **state)
{
    struct seen s[MESSAGES_MAX];
    struct rig  r;

    (void)state;
    rig_init(&r, 0);
    batch_of(&r, (struct batch_options){0}, 4, 1);
    assert_int_equal(build(&r, 0, 1), BATCH_OK);
    assert_true(r.cut);
    assert_int_equal(see_all(buf_view(&r.out), s), 1);
    assert_int_equal(build(&r, 0, 1), BATCH_OK);                   /* not the first batch: nothing fits */
    assert_true(r.cut);
    assert_int_equal(see_all(buf_view(&r.out), s), 1);
    batch_of(&r, (struct batch_options){.codec = KAFKA_CODEC_GZIP}, 20, 1);
    assert_int_equal(build(&r, 0, 10), BATCH_OK);
    assert_true(r.cut);
    assert_int_equal(see_all(buf_view(&r.out), s), 1);
    buf_clear(&r.out);
    assert_int_equal(build(&r, 0, 10), BATCH_OK);                  /* the first is given, whatever its size */
    assert_false(r.cut);
    assert_int_equal(see_all(buf_view(&r.out), s), 1);
    rig_fini(&r);
}

static void what_cannot_be_converted_leaves_nothing_behind(void **state)
{
    struct rig r;

    (void)state;
    rig_init(&r, 1);
    batch_of(&r, (struct batch_options){.codec = KAFKA_CODEC_ZSTD}, 20, 1);
    assert_int_equal(build(&r, 0, ROOM), BATCH_CODEC);
    batch_of(&r, (struct batch_options){.codec = KAFKA_CODEC_GZIP}, 20, 1);
    r.w.expanded_bytes_max = 100;
    assert_int_equal(build(&r, 0, ROOM), BATCH_PAYLOAD_LARGE);
    r.w.expanded_bytes_max = ROOM;
    r.batch.p[r.batch.n - 1] ^= 1;
    assert_int_equal(build(&r, 0, ROOM), BATCH_CRC);
    batch_set_crc(r.batch.p, r.batch.n);
    assert_int_not_equal(build(&r, 0, ROOM), BATCH_OK);
    assert_int_equal(r.out.n, 0);
    rig_fini(&r);
}

/* ---- in and out, at random ---- */

static struct bytes random_field(struct rng *rng, struct arena *a)
{
    size_t   n = rng_below(rng, 5) ? rng_below(rng, 200) : 0;
    uint8_t *p = arena_alloc(a, n + 1);

    if (!rng_below(rng, 8)) return (struct bytes){0};
    for (size_t i = 0; i < n; i++) p[i] = (uint8_t)('a' + rng_below(rng, 3));
    return bytes_of(p, n);
}

static void same(struct bytes a, struct bytes b)
{
    assert_true(bytes_eq(a, b));
    assert_int_equal(!a.p, !b.p);
}

static void records_are_the_same_when_they_have_gone_out_and_come_in(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 300; seed++) {
        struct record_new    sent[40];
        struct arena         arena = {0};
        struct rng           rng;
        struct rig           r;
        struct batch_builder w;
        struct bytes         made;
        struct batch         b;
        struct records       it;
        struct record        rec;
        struct err           e;
        int                  n, i = 0;

        rng_init(&rng, seed);
        rig_init(&r, (int8_t)rng_below(&rng, 2));
        n = 1 + (int)rng_below(&rng, countof(sent));
        batch_begin(&w, &r.batch, &(struct batch_options){.codec = (enum kafka_codec)rng_below(&rng, 4), .leader_epoch = -1});
        for (int k = 0; k < n; k++) {
            sent[k] = (struct record_new){.timestamp = (int64_t)rng_below(&rng, 1 << 20) - 1, .key = random_field(&rng, &arena), .value = random_field(&rng, &arena)};
            batch_add(&w, &sent[k]);
        }
        assert_int_equal(batch_end(&w, r.codecs, &made, &e), RC_OK);
        assert_int_equal(build(&r, 0, ROOM), BATCH_OK);
        assert_int_equal(message_set_convert(buf_view(&r.out), r.codecs, (struct message_set_rules){ROOM, false}, &r.scratch, &r.back), BATCH_OK);
        assert_int_equal(batch_view(buf_view(&r.back), &b), BATCH_OK);
        assert_int_equal(records_open(&it, &b, r.codecs, ROOM, &r.scratch), BATCH_OK);
        while (records_next(&it, &rec)) {
            same(rec.key, sent[i].key);
            same(rec.value, sent[i].value);
            assert_int_equal(rec.timestamp, r.w.magic ? sent[i].timestamp : -1);
            i++;
        }
        assert_int_equal(i, n);
        arena_fini(&arena);
        rig_fini(&r);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_came_in_an_old_format_goes_out_as_the_same_bytes),
        cmocka_unit_test(messages_below_the_offset_that_was_asked_for_are_left_out),
        cmocka_unit_test(a_compressed_batch_is_one_message_with_all_of_it),
        cmocka_unit_test(the_mistake_in_the_header_of_lz4_is_the_one_that_clients_know),
        cmocka_unit_test(the_time_of_the_broker_is_said_to_be_one),
        cmocka_unit_test(markers_and_empty_batches_give_nothing),
        cmocka_unit_test(what_does_not_fit_is_left_for_later_but_the_first_message),
        cmocka_unit_test(what_cannot_be_converted_leaves_nothing_behind),
        cmocka_unit_test(records_are_the_same_when_they_have_gone_out_and_come_in),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
