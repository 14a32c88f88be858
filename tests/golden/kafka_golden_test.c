/* Frames of Apache Kafka are read, and written again to the same bytes. SPDX-License-Identifier: Apache-2.0 */
#include "test.h"
#include "kafka_frames.h"
#include <stdio.h>

static const char *golden;

static void complain(const struct frame *f, const char *what, const struct buf *out)
{
    fprintf(stderr, "%.*s (key %d, %s v%d): %s\n  want ", STR_ARG(f->name), f->key,
            f->kind == KAFKA_MESSAGE_REQUEST ? "request" : f->kind == KAFKA_MESSAGE_RESPONSE ? "response" : "data", f->version, what);
    for (size_t i = 0; i < f->bytes.n; i++) fprintf(stderr, "%02x", f->bytes.p[i]);
    fprintf(stderr, "\n  got  ");
    for (size_t i = 0; i < out->n; i++) fprintf(stderr, "%02x", out->p[i]);
    fprintf(stderr, "\n");
}

static bool survives(const struct frame *f)
{
    AUTO(buf_fini) struct buf out = {0};
    struct arena              a = {0};
    struct rd                 r;
    bool                      ok = frame_rewrite(f, f->bytes, &a, &r, &out);
    struct err                e;

    if (!ok) {
        rd_err(&r, &e);
        complain(f, e.text, &out);
    } else if (rd_left(&r)) {
        complain(f, "bytes are left", &out);
        ok = false;
    } else if (!bytes_eq(f->bytes, buf_view(&out))) {
        complain(f, "written differently", &out);
        ok = false;
    }
    arena_fini(&a);
    return ok;
}

static void every_frame_of_the_java_classes_is_written_back_byte_for_byte(void **state)
{
    struct frames f = {0};
    size_t        bad = 0, versions = 0;

    (void)state;
    frames_load_java(&f, golden);
    for (size_t i = 0; i < f.n; i++) {
        struct rd r;

        if (!frame_open(&f.v[i], f.v[i].bytes, &r)) fail_msg("%.*s v%d is not in the schema", STR_ARG(f.v[i].name), f.v[i].version);
        bad += !survives(&f.v[i]);
    }
    for (size_t i = 0; i < kafka_messages_n; i++) versions += (size_t)(kafka_messages[i]->max - kafka_messages[i]->min + 1);
    assert_int_equal(bad, 0);
    assert_int_equal(f.n, versions * 12);                    /* and none is missing */
    frames_fini(&f);
}

/* Frames that the recording client bent on purpose, and the bytes we would write in their place, if they can be read. */
static const struct { const char *name; enum rd_why why; } bent[] = {
    {"unknown tag in the request header and body", RD_OK},
    {"trailing bytes after a complete body", RD_OK},
    {"Metadata v1 with count -5", RD_OK},                    /* any negative count is null */
    {"Metadata v1 with surplus bytes", RD_OK},
    {"client id longer than the frame", RD_LENGTH},
    {"api key 71 v0", RD_SHORT},                             /* the old header where the new one belongs */
    {"api key 72 v0", RD_SHORT},
    {"Metadata v12 cut short", RD_COUNT},
    {"Metadata v1 with a string longer than the frame", RD_LENGTH},
    {"Metadata v1 with 2^31-1 topics", RD_COUNT},
    {"Metadata v1 with a null topic name", RD_NULL},
};

static bool is_bent(const struct frame *f, enum rd_why *ret)
{
    for (size_t i = 0; i < countof(bent); i++)
        if (f->kind == KAFKA_MESSAGE_REQUEST && str_is(f->name, bent[i].name)) return *ret = bent[i].why, true;
    return false;
}

static void reads_as(const struct frame *f, enum rd_why why)
{
    AUTO(buf_fini) struct buf out = {0}, again = {0};
    struct arena              a = {0};
    struct rd                 r;

    assert_int_equal(frame_rewrite(f, f->bytes, &a, &r, &out), why == RD_OK);
    assert_int_equal(r.why, why);
    if (why == RD_OK) {
        assert_false(bytes_eq(f->bytes, buf_view(&out)));
        assert_true(frame_rewrite(f, buf_view(&out), &a, &r, &again));
        assert_true(bytes_eq(buf_view(&out), buf_view(&again)));
    }
    arena_fini(&a);
}

static void every_recorded_frame_is_written_back_byte_for_byte(void **state)
{
    struct frames f = {0};
    size_t        bad = 0, bent_ones = 0, good = 0;

    (void)state;
    frames_load_recorded(&f, golden);
    for (size_t i = 0; i < f.n; i++) {
        const struct kafka_api *api = kafka_api_of(f.v[i].key);
        enum rd_why             why;

        if (!api || !kafka_api_has(api, f.v[i].version)) continue;      /* what the broker had to refuse */
        if (is_bent(&f.v[i], &why)) {
            reads_as(&f.v[i], why);
            bent_ones++;
        } else {
            bad += !survives(&f.v[i]);
            good++;
        }
    }
    assert_int_equal(bad, 0);
    assert_int_equal(bent_ones, countof(bent));
    assert_int_equal(good, 3181);
    frames_fini(&f);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_frame_of_the_java_classes_is_written_back_byte_for_byte),
        cmocka_unit_test(every_recorded_frame_is_written_back_byte_for_byte),
    };

    must(argc == 2);
    golden = argv[1];
    return cmocka_run_group_tests_name("kafka/golden", tests, NULL, NULL);
}
