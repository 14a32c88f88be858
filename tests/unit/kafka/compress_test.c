/* SPDX-License-Identifier: Apache-2.0 */
#include "test.h"
#include "base/rng.h"
#include "kafka/compress.h"
#include <lz4frame.h>
#include <snappy-c.h>
#include <zstd.h>

/* Text, noise, and a mixture: what compresses well, not at all, and so so. */
static void fill(struct buf *b, size_t n, uint64_t seed)
{
    struct rng r;
    uint8_t   *p = buf_grow(b, n);

    rng_init(&r, seed);
    for (size_t i = 0; i < n; i++) p[i] = seed % 3 == 0 ? (uint8_t)("abcd"[i % 4]) : seed % 3 == 1 ? (uint8_t)rng_u64(&r) : (uint8_t)rng_below(&r, 4);
}

static void every_codec_gives_back_what_it_was_given(void **state)
{
    static const size_t sizes[] = {0, 1, 2, 61, 4095, 4096, 4097, 32767, 32768, 32769, 65536, 100000, 1000001};
    AUTO(codecs_freep) struct codecs *c = codecs_new();

    (void)state;
    for (int codec = 0; codec < KAFKA_CODECS; codec++) {
        for (size_t i = 0; i < countof(sizes); i++) {
            for (uint64_t seed = 0; seed < 3; seed++) {
                AUTO(buf_fini) struct buf plain = {0}, small = {0}, back = {0};
                struct err                e = {0};

                fill(&plain, sizes[i], seed);
                buf_append_byte(&back, '!');                   /* what is already there stays */
                assert_int_equal(kafka_compress(c, (enum kafka_codec)codec, buf_view(&plain), &small, &e), RC_OK);
                assert_int_equal(kafka_decompress(c, (enum kafka_codec)codec, buf_view(&small), sizes[i], &back, &e), RC_OK);
                assert_int_equal(back.n, 1 + sizes[i]);
                assert_true(bytes_eq(bytes_of(back.p + 1, back.n - 1), buf_view(&plain)));
                if (sizes[i] == 0 || (codec == KAFKA_CODEC_NONE && i == 0)) continue;
                assert_int_equal(kafka_decompress(c, (enum kafka_codec)codec, buf_view(&small), sizes[i] - 1, &back, &e), RC_TOO_LARGE);
                assert_int_equal(back.n, 1 + sizes[i]);
            }
        }
    }
}

static void what_is_cut_short_or_damaged_is_refused(void **state)
{
    AUTO(codecs_freep) struct codecs *c = codecs_new();
    AUTO(buf_fini) struct buf         plain = {0};

    (void)state;
    fill(&plain, 3000, 2);
    for (int codec = 1; codec < KAFKA_CODECS; codec++) {
        AUTO(buf_fini) struct buf small = {0}, back = {0};
        struct err                e = {0};

        assert_int_equal(kafka_compress(c, (enum kafka_codec)codec, buf_view(&plain), &small, &e), RC_OK);
        for (size_t n = 0; n < small.n; n += n < 40 ? 1 : 13) {
            enum rc rc = kafka_decompress(c, (enum kafka_codec)codec, bytes_of(small.p, n), 1 << 20, &back, &e);

            if (codec == KAFKA_CODEC_SNAPPY && (n == 16 || n == 0)) continue;      /* a header alone is an empty stream */
            if (rc != RC_INVALID) fail_msg("%s cut at %zu of %zu: %s", kafka_codec_name((enum kafka_codec)codec), n, small.n, rc_name(rc));
            assert_int_equal(back.n, 0);
        }
    }
}

static enum rc expand(struct codecs *c, enum kafka_codec codec, const struct buf *in, struct buf *out)
{
    struct err e;

    return kafka_decompress(c, codec, buf_view(in), 1 << 20, out, &e);
}

static void streams_in_a_row_are_one(void **state)
{
    static const size_t first[] = {0, 1, 100, 5000, 70000};
    AUTO(codecs_freep) struct codecs *c = codecs_new();

    (void)state;
    for (int codec = 1; codec < KAFKA_CODECS; codec++) {
        for (size_t i = 0; i < countof(first); i++) {
            AUTO(buf_fini) struct buf plain = {0}, both = {0}, back = {0};
            struct err                e = {0};

            fill(&plain, first[i], 1 + i);
            assert_int_equal(kafka_compress(c, (enum kafka_codec)codec, buf_view(&plain), &both, &e), RC_OK);
            assert_int_equal(kafka_compress(c, (enum kafka_codec)codec, bytes_of("behind", 6), &both, &e), RC_OK);
            assert_int_equal(expand(c, (enum kafka_codec)codec, &both, &back), RC_OK);
            assert_int_equal(back.n, first[i] + 6);
            assert_memory_equal(back.p, plain.p, first[i]);
            assert_memory_equal(back.p + first[i], "behind", 6);
        }
    }
}

static void plain_snappy_is_read_too(void **state)
{
    AUTO(codecs_freep) struct codecs *c = codecs_new();
    AUTO(buf_fini) struct buf         plain = {0}, small = {0}, back = {0};
    size_t                            n;

    (void)state;
    fill(&plain, 100000, 2);
    n = snappy_max_compressed_length(plain.n);
    buf_reserve(&small, n);
    assert_int_equal(snappy_compress((char *)plain.p, plain.n, (char *)small.p, &n), SNAPPY_OK);
    small.n = n;
    assert_int_equal(expand(c, KAFKA_CODEC_SNAPPY, &small, &back), RC_OK);
    assert_true(bytes_eq(buf_view(&plain), buf_view(&back)));
}

static void lz4_frames_of_every_shape_are_read(void **state)
{
    AUTO(codecs_freep) struct codecs *c = codecs_new();
    AUTO(buf_fini) struct buf         plain = {0};

    (void)state;
    fill(&plain, 300000, 2);
    for (unsigned shape = 0; shape < 32; shape++) {
        AUTO(buf_fini) struct buf small = {0}, back = {0};
        LZ4F_preferences_t        prefs = {0};
        size_t                    n;

        prefs.frameInfo.blockSizeID = shape & 1 ? LZ4F_max4MB : LZ4F_max64KB;
        prefs.frameInfo.blockMode = shape & 2 ? LZ4F_blockLinked : LZ4F_blockIndependent;
        prefs.frameInfo.contentChecksumFlag = shape & 4 ? LZ4F_contentChecksumEnabled : LZ4F_noContentChecksum;
        prefs.frameInfo.blockChecksumFlag = shape & 8 ? LZ4F_blockChecksumEnabled : LZ4F_noBlockChecksum;
        prefs.frameInfo.contentSize = shape & 16 ? plain.n : 0;
        buf_reserve(&small, LZ4F_compressFrameBound(plain.n, &prefs));
        n = LZ4F_compressFrame(small.p, small.cap, plain.p, plain.n, &prefs);
        assert_false(LZ4F_isError(n));
        small.n = n;
        assert_int_equal(expand(c, KAFKA_CODEC_LZ4, &small, &back), RC_OK);
        assert_true(bytes_eq(buf_view(&plain), buf_view(&back)));
    }
}

static void zstd_frames_without_a_content_size_are_read(void **state)
{
    AUTO(codecs_freep) struct codecs *c = codecs_new();
    AUTO(buf_fini) struct buf         plain = {0}, small = {0}, back = {0};
    ZSTD_CCtx                        *z = ZSTD_createCCtx();
    ZSTD_inBuffer                     in;
    ZSTD_outBuffer                    to;

    (void)state;
    fill(&plain, 600000, 2);
    ZSTD_CCtx_setParameter(z, ZSTD_c_compressionLevel, 22);    /* announces a window of 128 MiB */
    buf_reserve(&small, ZSTD_compressBound(plain.n) + 100);
    to = (ZSTD_outBuffer){small.p, small.cap, 0};
    in = (ZSTD_inBuffer){plain.p, plain.n / 2, 0};
    assert_int_equal(ZSTD_compressStream2(z, &to, &in, ZSTD_e_flush), 0);
    in.size = plain.n;
    assert_int_equal(ZSTD_compressStream2(z, &to, &in, ZSTD_e_end), 0);
    small.n = to.pos;
    assert_true(ZSTD_getFrameContentSize(small.p, small.n) == ZSTD_CONTENTSIZE_UNKNOWN);
    assert_int_equal(expand(c, KAFKA_CODEC_ZSTD, &small, &back), RC_OK);
    assert_true(bytes_eq(buf_view(&plain), buf_view(&back)));
    assert_int_equal(kafka_decompress(c, KAFKA_CODEC_ZSTD, buf_view(&small), plain.n - 1, &back, &(struct err){0}), RC_TOO_LARGE);
    ZSTD_freeCCtx(z);
}

static void a_bomb_costs_no_more_than_the_limit(void **state)
{
    AUTO(codecs_freep) struct codecs *c = codecs_new();

    (void)state;
    for (int codec = 1; codec < KAFKA_CODECS; codec++) {
        AUTO(buf_fini) struct buf zeros = {0}, small = {0}, back = {0};
        struct err                e = {0};

        memset(buf_grow(&zeros, 64 << 20), 0, 64 << 20);
        assert_int_equal(kafka_compress(c, (enum kafka_codec)codec, buf_view(&zeros), &small, &e), RC_OK);
        assert_int_equal(expand(c, (enum kafka_codec)codec, &small, &back), RC_TOO_LARGE);
        assert_true(back.cap <= 4 << 20);
    }
}

/* Found by the fuzzer: an LZ4 frame that announces a content size and then breaks made the next frame fail. */
static void a_damaged_stream_leaves_nothing_behind_for_the_next(void **state)
{
    AUTO(codecs_freep) struct codecs *c = codecs_new();
    AUTO(buf_fini) struct buf         plain = {0};

    (void)state;
    fill(&plain, 5000, 2);
    for (int codec = 1; codec < KAFKA_CODECS; codec++) {
        AUTO(buf_fini) struct buf small = {0}, back = {0};
        struct err                e = {0};

        if (codec == KAFKA_CODEC_LZ4) {
            const LZ4F_preferences_t prefs = {.frameInfo = {.contentSize = plain.n}};

            buf_reserve(&small, LZ4F_compressFrameBound(plain.n, &prefs));
            small.n = LZ4F_compressFrame(small.p, small.cap, plain.p, plain.n, &prefs);
            assert_false(LZ4F_isError(small.n));
        } else {
            assert_int_equal(kafka_compress(c, (enum kafka_codec)codec, buf_view(&plain), &small, &e), RC_OK);
        }
        assert_int_equal(kafka_decompress(c, (enum kafka_codec)codec, bytes_of(small.p, small.n / 2), 1 << 20, &back, &e), RC_INVALID);
        buf_clear(&small);
        assert_int_equal(kafka_compress(c, (enum kafka_codec)codec, bytes_of("next", 4), &small, &e), RC_OK);
        assert_int_equal(expand(c, (enum kafka_codec)codec, &small, &back), RC_OK);
        assert_int_equal(back.n, 4);
    }
}

static void codecs_have_the_names_of_the_configuration(void **state)
{
    enum kafka_codec codec;

    (void)state;
    for (int i = 0; i < KAFKA_CODECS; i++) {
        assert_true(kafka_codec_of_name(str_of(kafka_codec_name((enum kafka_codec)i)), &codec));
        assert_int_equal(codec, i);
    }
    assert_false(kafka_codec_of_name(STR("brotli"), &codec));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_codec_gives_back_what_it_was_given),
        cmocka_unit_test(what_is_cut_short_or_damaged_is_refused),
        cmocka_unit_test(streams_in_a_row_are_one),
        cmocka_unit_test(plain_snappy_is_read_too),
        cmocka_unit_test(lz4_frames_of_every_shape_are_read),
        cmocka_unit_test(zstd_frames_without_a_content_size_are_read),
        cmocka_unit_test(a_bomb_costs_no_more_than_the_limit),
        cmocka_unit_test(a_damaged_stream_leaves_nothing_behind_for_the_next),
        cmocka_unit_test(codecs_have_the_names_of_the_configuration),
    };
    return cmocka_run_group_tests_name("kafka/compress", tests, NULL, NULL);
}
