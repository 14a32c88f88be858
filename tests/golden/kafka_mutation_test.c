/* What bent, cut and blown-up frames do to the decoders: nothing. Golden frames are the starting points, so that every
 * field of every version is met. Each input stands in memory of exactly its size, where a sanitizer sees the first byte
 * too many. SPDX-License-Identifier: Apache-2.0
 */
#include "test.h"
#include "base/rng.h"
#include "kafka_frames.h"
#include <stdio.h>
#include <string.h>

/* What a byte of input may cost in memory at most. The dearest are arrays of empty strings and of small structs. */
enum { ARENA_BYTES_PER_BYTE = 40, BENDINGS = 60 };

static const char *golden;
static uint64_t    seed = 1;

static uint8_t *exact(struct bytes b)
{
    uint8_t *p = xcalloc(b.n ? b.n : 1, 1);

    if (b.n) memcpy(p, b.p, b.n);
    return p;
}

static void no_prefix_of_a_frame_is_a_frame(void **state)
{
    struct frames f = {0};

    (void)state;
    frames_load_java(&f, golden);
    for (size_t i = 0; i < f.n; i++) {
        const struct frame *one = &f.v[i];

        for (size_t n = 0; n < one->bytes.n; n += n > 200 ? 17 : 1) {
            AUTO(buf_fini) struct buf out = {0};
            struct arena              a = {0};
            struct rd                 r;
            uint8_t                  *cut = exact(bytes_of(one->bytes.p, n));

            if (frame_rewrite(one, bytes_of(cut, n), &a, &r, &out))
                fail_msg("%.*s v%d: %zu of %zu bytes are enough", STR_ARG(one->name), one->version, n, one->bytes.n);
            assert_int_not_equal(r.why, RD_OK);
            free(cut);
            arena_fini(&a);
        }
    }
    frames_fini(&f);
}

/* A few bytes become extreme ones: lengths and counts jump, versions of nothing appear, text breaks. */
static void bend(struct rng *r, uint8_t *p, size_t n)
{
    static const uint8_t extreme[] = {0x00, 0x01, 0x7f, 0x80, 0xff, 0xfe};

    for (uint64_t times = 1 + rng_below(r, 3); times; times--) {
        size_t at = rng_below(r, n), run = 1 + rng_below(r, 5);

        if (rng_below(r, 4) == 0) memset(p + at, 0xff, MIN(run, n - at));
        else p[at] = rng_below(r, 2) ? extreme[rng_below(r, countof(extreme))] : (uint8_t)rng_u64(r);
    }
}

/* Returns whether it could be read. Then what we write for it must read as the same. */
static bool bent_frame_holds(const struct frame *f, struct bytes bent, size_t *ret_dearest)
{
    AUTO(buf_fini) struct buf once = {0}, twice = {0};
    struct arena              a = {0};
    struct rd                 r;
    bool                      read = frame_rewrite(f, bent, &a, &r, &once);

    if (bent.n) *ret_dearest = MAX(*ret_dearest, a.used / bent.n);
    assert_true(a.used <= ARENA_BYTES_PER_BYTE * (bent.n + 16));
    if (read) {
        uint8_t *p = exact(buf_view(&once));

        assert_true(frame_rewrite(f, bytes_of(p, once.n), &a, &r, &twice));
        assert_int_equal(rd_left(&r), 0);
        assert_true(bytes_eq(buf_view(&once), buf_view(&twice)));
        free(p);
    }
    arena_fini(&a);
    return read;
}

static void a_bent_frame_is_refused_or_read_and_costs_little(void **state)
{
    struct frames f = {0};
    size_t        read = 0, refused = 0, dearest = 0;

    (void)state;
    frames_load_java(&f, golden);
    for (size_t i = 0; i < f.n; i++) {
        struct rng r;

        rng_init(&r, seed + i);
        for (int k = 0; k < BENDINGS; k++) {
            uint8_t *p = exact(f.v[i].bytes);
            size_t   header = f.v[i].kind == KAFKA_MESSAGE_REQUEST ? 4 : 0;       /* key and version stay */

            if (f.v[i].bytes.n > header) bend(&r, p + header, f.v[i].bytes.n - header);
            if (bent_frame_holds(&f.v[i], bytes_of(p, f.v[i].bytes.n), &dearest)) read++;
            else refused++;
            free(p);
        }
    }
    printf("%zu read, %zu refused, at most %zu bytes of memory for a byte of input (seed %llu)\n", read, refused, dearest,
           (unsigned long long)seed);
    assert_true(read > 1000 && refused > 1000);
    frames_fini(&f);
}

static void an_arena_that_ends_anywhere_refuses_the_frame(void **state)
{
    struct frames f = {0};

    (void)state;
    frames_load_java(&f, golden);
    for (size_t i = 2; i < f.n; i += 12) {                    /* one frame of random values for each version */
        AUTO(buf_fini) struct buf out = {0};
        struct arena              a = {0};
        struct rd                 r;
        size_t                    needs;

        assert_true(frame_rewrite(&f.v[i], f.v[i].bytes, &a, &r, &out));
        needs = a.used;
        arena_fini(&a);
        for (size_t limit = 16; limit < needs; limit += 16) {
            struct err e;

            arena_init(&a, limit);
            assert_false(frame_rewrite(&f.v[i], f.v[i].bytes, &a, &r, &out));
            assert_int_equal(r.why, RD_MEMORY);
            assert_int_equal(rd_err(&r, &e), RC_TOO_LARGE);
            arena_fini(&a);
        }
    }
    frames_fini(&f);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_prefix_of_a_frame_is_a_frame),
        cmocka_unit_test(a_bent_frame_is_refused_or_read_and_costs_little),
        cmocka_unit_test(an_arena_that_ends_anywhere_refuses_the_frame),
    };

    must(argc >= 2);
    golden = argv[1];
    if (getenv("SEED")) seed = strtoull(getenv("SEED"), NULL, 10);
    return cmocka_run_group_tests_name("kafka/mutation", tests, NULL, NULL);
}
