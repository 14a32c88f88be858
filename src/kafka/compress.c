/* kafka/compress.c - one pair of functions for each codec, over the caller's growing buf.
 *
 * A peer chose every byte of what we expand. So each decoder works against `limit`, the length the buf may reach, and asks
 * for memory in proportion to what has come out so far, or to what the format proves can come out, never to a number
 * that the input merely claims.
 * SPDX-License-Identifier: Apache-2.0
 */
#define ZSTD_STATIC_LINKING_ONLY      /* ZSTD_decompressBound: exported, and stable since 1.4 */
#include "kafka/compress.h"
#include "base/diag.h"
#include "base/library.h"
#include <isa-l/igzip_lib.h>
#include <lz4frame.h>
#include <snappy-c.h>
#include <stdatomic.h>
#include <zstd.h>
#include <zstd_errors.h>

enum { GZIP_LEVEL = -1, LZ4_LEVEL_FAST = 9 };
enum { CHUNK_MIN = 4096, XERIAL_BLOCK = 32 * 1024, XERIAL_HEADER = 16 };

struct codecs {
    struct inflate_state *inflate;
    struct isal_zstream  *deflate;
    uint8_t              *deflate_level;
    LZ4F_dctx            *lz4;
    ZSTD_DCtx            *unzstd;
    ZSTD_CCtx            *zstd;
    int                   levels[KAFKA_CODECS];        /* as set */
};

static const uint8_t xerial_magic[8] = {0x82, 'S', 'N', 'A', 'P', 'P', 'Y', 0};

struct codecs *codecs_new(void)
{
    struct codecs *c = xnew(struct codecs);

    c->levels[KAFKA_CODEC_GZIP] = GZIP_LEVEL;
    c->levels[KAFKA_CODEC_LZ4] = LZ4_LEVEL_FAST;
    c->levels[KAFKA_CODEC_ZSTD] = ZSTD_CLEVEL_DEFAULT;
    return c;
}

void codecs_set_level(struct codecs *c, enum kafka_codec codec, int level)
{
    if ((unsigned)codec < KAFKA_CODECS) c->levels[codec] = level;
}

struct codecs *codecs_free(struct codecs *c)
{
    if (!c) return NULL;
    free(c->inflate);
    free(c->deflate);
    free(c->deflate_level);
    LZ4F_freeDecompressionContext(c->lz4);
    ZSTD_freeDCtx(c->unzstd);
    ZSTD_freeCCtx(c->zstd);
    free(c);
    return NULL;
}

static const char *const names[KAFKA_CODECS] = {"none", "gzip", "snappy", "lz4", "zstd"};

const char *kafka_codec_name(enum kafka_codec codec)
{
    return (unsigned)codec < KAFKA_CODECS ? names[codec] : "?";
}

bool kafka_codec_of_name(struct str name, enum kafka_codec *ret)
{
    for (unsigned i = 0; i < KAFKA_CODECS; i++)
        if (str_is(name, names[i])) return *ret = (enum kafka_codec)i, true;
    return false;
}

static enum rc too_large(struct err *e, enum kafka_codec codec)
{
    return err_set(e, RC_TOO_LARGE, "%s: expands beyond the limit", names[codec]);
}

static enum rc damaged(struct err *e, enum kafka_codec codec, const char *what)
{
    return err_set(e, RC_INVALID, "%s: %s", names[codec], what);
}

/* Room for some more output: as much again as there is, within the limit. 0: the limit is reached. */
static size_t more_room(struct buf *out, size_t start, size_t limit)
{
    size_t want = MIN(MAX(out->n - start, (size_t)CHUNK_MIN), limit - out->n);

    if (want) buf_reserve(out, want);
    return MIN(out->cap, limit) - out->n;
}

/* ---- gzip ---- */

static enum rc gzip_member(struct inflate_state *s, size_t start, size_t limit, struct buf *out, struct err *e)
{
    isal_inflate_reset(s);
    s->crc_flag = ISAL_GZIP;
    while (s->block_state != ISAL_BLOCK_FINISH) {
        size_t  room = MIN(more_room(out, start, limit), (size_t)INT32_MAX);
        uint8_t beyond;
        bool    full = room == 0;                      /* one byte more tells whether the stream just ended here */

        s->next_out = full ? &beyond : out->p + out->n;
        s->avail_out = full ? 1 : (uint32_t)room;
        if (isal_inflate(s) != ISAL_DECOMP_OK) return damaged(e, KAFKA_CODEC_GZIP, "damaged stream");
        if (full && s->avail_out == 0) return too_large(e, KAFKA_CODEC_GZIP);
        if (!full) out->n += room - s->avail_out;
        if (s->avail_in == 0 && s->avail_out != 0 && s->block_state != ISAL_BLOCK_FINISH)
            return damaged(e, KAFKA_CODEC_GZIP, "cut short");
    }
    return RC_OK;
}

static enum rc gunzip(struct codecs *c, struct bytes in, size_t limit, struct buf *out, struct err *e)
{
    size_t  start = out->n;
    enum rc rc;

    if (!c->inflate) {
        c->inflate = xnew(struct inflate_state);
        isal_inflate_init(c->inflate);
    }
    if (in.n > UINT32_MAX) return too_large(e, KAFKA_CODEC_GZIP);
    c->inflate->next_in = (uint8_t *)(uintptr_t)in.p;
    c->inflate->avail_in = (uint32_t)in.n;
    do {
        if ((rc = gzip_member(c->inflate, start, limit, out, e))) return rc;
    } while (c->inflate->avail_in);
    return RC_OK;
}

/* Isa-l has three levels for zlib's nine, all faster and somewhat larger. */
static unsigned gzip_level(int level) { return level < 0 ? 1 : level < 4 ? 1 : level < 8 ? 2 : 3; }

static enum rc gzip(struct codecs *c, struct bytes in, struct buf *out, struct err *e)
{
    struct isal_zstream *s = c->deflate;
    size_t               start = out->n;

    if (in.n > UINT32_MAX) return err_set(e, RC_TOO_LARGE, "gzip: %zu bytes are too many for one batch", in.n);
    if (!s) {
        s = c->deflate = xnew(struct isal_zstream);
        c->deflate_level = xcalloc(1, ISAL_DEF_LVL3_DEFAULT);
    }
    isal_deflate_init(s);
    s->level = gzip_level(c->levels[KAFKA_CODEC_GZIP]);
    s->level_buf = c->deflate_level;
    s->level_buf_size = ISAL_DEF_LVL3_DEFAULT;
    s->gzip_flag = IGZIP_GZIP;
    s->end_of_stream = 1;
    s->flush = NO_FLUSH;
    s->next_in = (uint8_t *)(uintptr_t)in.p;
    s->avail_in = (uint32_t)in.n;
    buf_reserve(out, in.n / 2 + 64);
    do {
        size_t room = MIN(more_room(out, start, SIZE_MAX), (size_t)INT32_MAX);

        s->next_out = out->p + out->n;
        s->avail_out = (uint32_t)room;
        if (isal_deflate(s) != COMP_OK) return err_set(e, RC_INVALID, "gzip: the compressor refused");
        out->n += room - s->avail_out;
    } while (s->internal_state.state != ZSTATE_END);
    return RC_OK;
}

/* ---- snappy ---- */

static struct snappy_lib {
    __typeof__(&snappy_compress)              compress;
    __typeof__(&snappy_uncompress)            uncompress;
    __typeof__(&snappy_max_compressed_length) compressed_max;
    __typeof__(&snappy_uncompressed_length)   uncompressed_length;
} lib;

static const struct library_function snappy_functions[] = {
    {"snappy_compress", offsetof(struct snappy_lib, compress)},
    {"snappy_uncompress", offsetof(struct snappy_lib, uncompress)},
    {"snappy_max_compressed_length", offsetof(struct snappy_lib, compressed_max)},
    {"snappy_uncompressed_length", offsetof(struct snappy_lib, uncompressed_length)},
};
static struct library snappy_library = LIBRARY("libsnappy.so.1", "libsnappy1v5", snappy_functions, &lib);

/* A batch that cannot be read for want of the library looks damaged to its sender: the log says what it is, once. */
static enum rc snappy_get(struct err *e)
{
    static atomic_bool said;
    enum rc rc = library_get(&snappy_library, e);

    if (rc && !atomic_exchange(&said, true)) diag(DIAG_ERROR, "kafka.codec_missing", KV_CSTR("codec", "snappy"), KV_CSTR("why", e->text));
    return rc;
}

static enum rc snappy_block(struct bytes in, size_t limit, struct buf *out, struct err *e)
{
    size_t n;

    if (lib.uncompressed_length((const char *)in.p, in.n, &n) != SNAPPY_OK)
        return damaged(e, KAFKA_CODEC_SNAPPY, "damaged length");
    if (n > limit - out->n) return too_large(e, KAFKA_CODEC_SNAPPY);
    if (n / 64 > in.n) return damaged(e, KAFKA_CODEC_SNAPPY, "claims to expand more than the format can");
    buf_reserve(out, n + 1);
    if (lib.uncompress((const char *)in.p, in.n, (char *)out->p + out->n, &n) != SNAPPY_OK)
        return damaged(e, KAFKA_CODEC_SNAPPY, "damaged block");
    out->n += n;
    return RC_OK;
}

static bool xerial_header(struct bytes in)
{
    return in.n >= XERIAL_HEADER && memcmp(in.p, xerial_magic, sizeof xerial_magic) == 0;
}

static enum rc unsnappy(struct bytes in, size_t limit, struct buf *out, struct err *e)
{
    enum rc rc;

    if ((rc = snappy_get(e))) return rc;
    if (!xerial_header(in)) return snappy_block(in, limit, out, e);
    while (in.n) {
        size_t n;

        if (xerial_header(in)) {                       /* the first, or that of a stream appended to it */
            in = bytes_sub(in, XERIAL_HEADER, in.n - XERIAL_HEADER);
            continue;
        }
        if (in.n < 4 || (n = load_be32(in.p)) > in.n - 4) return damaged(e, KAFKA_CODEC_SNAPPY, "cut short");
        if ((rc = snappy_block(bytes_sub(in, 4, n), limit, out, e))) return rc;
        in = bytes_sub(in, 4 + n, in.n - 4 - n);
    }
    return RC_OK;
}

static enum rc snappy(struct bytes in, struct buf *out, struct err *e)
{
    uint8_t *header;
    enum rc  rc;

    if ((rc = snappy_get(e))) return rc;
    header = buf_grow(out, XERIAL_HEADER);
    memcpy(header, xerial_magic, sizeof xerial_magic);
    store_be32(header + 8, 1);
    store_be32(header + 12, 1);
    while (in.n) {
        size_t   take = MIN(in.n, (size_t)XERIAL_BLOCK), n = lib.compressed_max(take);
        uint8_t *p;

        buf_reserve(out, 4 + n);
        p = out->p + out->n;
        if (lib.compress((const char *)in.p, take, (char *)p + 4, &n) != SNAPPY_OK)
            return err_set(e, RC_INVALID, "snappy: the compressor refused");
        store_be32(p, (uint32_t)n);
        out->n += 4 + n;
        in = bytes_sub(in, take, in.n - take);
    }
    return RC_OK;
}

/* ---- lz4 ---- */

static enum rc lz4_frames(LZ4F_dctx *d, struct bytes in, size_t limit, struct buf *out, struct err *e)
{
    size_t start = out->n, hint = 1;

    while (in.n || hint) {
        uint8_t beyond;
        size_t  room = more_room(out, start, limit), taken = in.n;
        bool    full = room == 0;

        if (full) room = 1;
        hint = LZ4F_decompress(d, full ? &beyond : out->p + out->n, &room, in.p, &taken, NULL);
        if (LZ4F_isError(hint)) return damaged(e, KAFKA_CODEC_LZ4, LZ4F_getErrorName(hint));
        if (full && room) return too_large(e, KAFKA_CODEC_LZ4);
        if (!full) out->n += room;
        if (hint && taken == 0 && room == 0) return damaged(e, KAFKA_CODEC_LZ4, "cut short");
        in = bytes_sub(in, taken, in.n - taken);
    }
    return RC_OK;
}

/* A context that has failed is thrown away: resetting it keeps the size that the failed frame had announced (liblz4 1.9.4),
 * and the next sender's frames would be measured against it. */
static enum rc unlz4(struct codecs *c, struct bytes in, size_t limit, struct buf *out, struct err *e)
{
    enum rc rc;

    if (!c->lz4) must(!LZ4F_isError(LZ4F_createDecompressionContext(&c->lz4, LZ4F_VERSION)));
    rc = lz4_frames(c->lz4, in, limit, out, e);
    if (rc) {
        LZ4F_freeDecompressionContext(c->lz4);
        c->lz4 = NULL;
    }
    return rc;
}

bool kafka_lz4_is_linked(struct bytes frame)
{
    const uint8_t independent = 0x20;

    return frame.n > 4 && load_le32(frame.p) == 0x184d2204 && !(frame.p[4] & independent);
}

static enum rc lz4(struct codecs *c, struct bytes in, struct buf *out, struct err *e)
{
    int                      level = c ? c->levels[KAFKA_CODEC_LZ4] : LZ4_LEVEL_FAST;
    const LZ4F_preferences_t prefs = {.frameInfo = {.blockSizeID = LZ4F_max64KB, .blockMode = LZ4F_blockIndependent},
                                      .compressionLevel = level == LZ4_LEVEL_FAST ? 0 : MAX(level, 3)};
    size_t                   bound = LZ4F_compressFrameBound(in.n, &prefs), n;

    buf_reserve(out, bound);
    n = LZ4F_compressFrame(out->p + out->n, bound, in.p, in.n, &prefs);
    if (LZ4F_isError(n)) return err_set(e, RC_INVALID, "lz4: %s", LZ4F_getErrorName(n));
    out->n += n;
    return RC_OK;
}

/* ---- zstd ---- */

/* In one go and without a window of its own, whose size the sender would choose. What can come out is bounded by the
 * number of blocks, which decompressBound counts; a frame that lies about its content size still meets dstSize. */
static enum rc unzstd(struct codecs *c, struct bytes in, size_t limit, struct buf *out, struct err *e)
{
    unsigned long long bound = ZSTD_decompressBound(in.p, in.n);
    size_t             room = limit - out->n, n;

    if (!c->unzstd) must((c->unzstd = ZSTD_createDCtx()) != NULL);
    if (in.n == 0 || bound == ZSTD_CONTENTSIZE_ERROR) return damaged(e, KAFKA_CODEC_ZSTD, "damaged frame");
    if (bound / (128 * 1024) > in.n) bound = (unsigned long long)in.n * (128 * 1024);   /* a block takes 3 bytes at least */
    room = (size_t)MIN((unsigned long long)room, bound);
    buf_reserve(out, room + 1);
    n = ZSTD_decompressDCtx(c->unzstd, out->p + out->n, room, in.p, in.n);
    if (ZSTD_isError(n)) {
        if (ZSTD_getErrorCode(n) == ZSTD_error_dstSize_tooSmall && room < bound) return too_large(e, KAFKA_CODEC_ZSTD);
        return damaged(e, KAFKA_CODEC_ZSTD, ZSTD_getErrorName(n));
    }
    out->n += n;
    return RC_OK;
}

static enum rc zstd(struct codecs *c, struct bytes in, struct buf *out, struct err *e)
{
    size_t bound = ZSTD_compressBound(in.n), n;

    if (!c->zstd) must((c->zstd = ZSTD_createCCtx()) != NULL);
    buf_reserve(out, bound);
    n = ZSTD_compressCCtx(c->zstd, out->p + out->n, bound, in.p, in.n, c->levels[KAFKA_CODEC_ZSTD]);
    if (ZSTD_isError(n)) return err_set(e, RC_INVALID, "zstd: %s", ZSTD_getErrorName(n));
    out->n += n;
    return RC_OK;
}

/* ---- all ---- */

static enum rc decompress(struct codecs *c, enum kafka_codec codec, struct bytes in, size_t limit, struct buf *out, struct err *e)
{
    switch (codec) {
    case KAFKA_CODEC_NONE:
        if (in.n > limit - out->n) return too_large(e, codec);
        buf_append(out, in);
        return RC_OK;
    case KAFKA_CODEC_GZIP:   return gunzip(c, in, limit, out, e);
    case KAFKA_CODEC_SNAPPY: return unsnappy(in, limit, out, e);
    case KAFKA_CODEC_LZ4:    return unlz4(c, in, limit, out, e);
    case KAFKA_CODEC_ZSTD:   return unzstd(c, in, limit, out, e);
    }
    return err_set(e, RC_INVALID, "codec %d is unknown", (int)codec);
}

enum rc kafka_decompress(struct codecs *c, enum kafka_codec codec, struct bytes in, size_t bytes_max, struct buf *out,
                         struct err *e)
{
    size_t  before = out->n;
    size_t  limit = bytes_max > SIZE_MAX / 2 ? SIZE_MAX / 2 : before + bytes_max;
    enum rc rc = decompress(c, codec, in, limit, out, e);

    if (rc) out->n = before;
    return rc;
}

enum rc kafka_compress(struct codecs *c, enum kafka_codec codec, struct bytes in, struct buf *out, struct err *e)
{
    switch (codec) {
    case KAFKA_CODEC_NONE:   buf_append(out, in); return RC_OK;
    case KAFKA_CODEC_GZIP:   return gzip(c, in, out, e);
    case KAFKA_CODEC_SNAPPY: return snappy(in, out, e);
    case KAFKA_CODEC_LZ4:    return lz4(c, in, out, e);
    case KAFKA_CODEC_ZSTD:   return zstd(c, in, out, e);
    }
    return err_set(e, RC_INVALID, "codec %d is unknown", (int)codec);
}
