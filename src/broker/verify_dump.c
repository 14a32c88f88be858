/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/verify.h"
#include "broker/segment.h"
#include <inttypes.h>

enum { SMALL_BYTES_MAX = 256 << 20, PAYLOAD_BYTES_MAX = 1 << 30 };

static enum rc dump_records(const struct batch *b, uint64_t at, struct codecs *codecs, dump_fn put, void *ctx, struct err *e)
{
    AUTO(buf_fini) struct buf scratch = {0};
    struct records it;
    struct record  r;
    enum batch_fault fault = records_open(&it, b, codecs, PAYLOAD_BYTES_MAX, &scratch);

    while (!fault && records_next(&it, &r)) put(ctx, &(struct dump_piece){.kind = DUMP_RECORD, .position = at, .batch = b, .record = &r});
    fault = fault ? fault : it.fault;
    return fault ? err_set(e, RC_CORRUPT, "the batch at %" PRIu64 ": %s", at, batch_fault_name(fault)) : RC_OK;
}

static enum rc dump_log(struct file *f, uint64_t size, dump_fn put, void *ctx, struct err *e)
{
    AUTO(codecs_freep) struct codecs *codecs = codecs_new();
    AUTO(buf_fini) struct buf body = {0};

    for (uint64_t at = 0; at < size;) {
        uint8_t           raw[BATCH_HEADER_BYTES];
        struct batch_head h;
        struct batch      b;
        bool              ok;

        if (size - at < sizeof raw || file_read_exact(f, raw, sizeof raw, at, e) || !batch_head_decode(bytes_of(raw, sizeof raw), &h) || h.bytes > size - at)
            return err_set(e, RC_CORRUPT, "no whole record batch at %" PRIu64 " of %" PRIu64 " bytes", at, size);
        buf_clear(&body);
        if (file_read_exact(f, buf_grow(&body, h.bytes), h.bytes, at, e)) return e->rc;
        if (batch_view(buf_view(&body), &b)) return err_set(e, RC_CORRUPT, "no whole record batch at %" PRIu64, at);
        ok = batch_crc_ok(&b);
        put(ctx, &(struct dump_piece){.kind = DUMP_BATCH, .position = at, .batch = &b, .crc_ok = ok});
        if (!ok) return err_set(e, RC_CORRUPT, "the checksum of the batch at %" PRIu64 " does not match", at);
        if (dump_records(&b, at, codecs, put, ctx, e)) return e->rc;
        at += h.bytes;
    }
    return RC_OK;
}

static struct dump_piece entry_of(enum dump_kind kind, const uint8_t *p, int64_t base)
{
    switch (kind) {
    case DUMP_OFFSET: return (struct dump_piece){.kind = kind, .a = base + load_be32(p), .b = load_be32(p + 4)};
    case DUMP_TIME: return (struct dump_piece){.kind = kind, .a = (int64_t)load_be64(p), .b = base + load_be32(p + 8)};
    case DUMP_ABORTED:
        return (struct dump_piece){.kind = kind, .a = (int64_t)load_be64(p + 2), .b = (int64_t)load_be64(p + 10), .c = (int64_t)load_be64(p + 18), .d = (int64_t)load_be64(p + 26)};
    case DUMP_PRODUCER:
        return (struct dump_piece){.kind = kind, .a = (int64_t)load_be64(p), .b = (int16_t)load_be16(p + 8), .c = (int32_t)load_be32(p + 10), .d = (int64_t)load_be64(p + 14),
                                   .e = (int64_t)load_be64(p + 26)};
    case DUMP_BATCH: case DUMP_RECORD: break;
    }
    return (struct dump_piece){.kind = kind};
}

static const struct layout { const char *suffix; enum dump_kind kind; size_t head, entry; } layouts[] = {
    {".index", DUMP_OFFSET, 0, 8}, {".timeindex", DUMP_TIME, 0, 12}, {".txnindex", DUMP_ABORTED, 0, 34}, {".snapshot", DUMP_PRODUCER, 10, 46}};

static enum rc dump_entries(struct fs *fs, const char *path, const struct layout *x, int64_t base, dump_fn put, void *ctx, struct err *e)
{
    AUTO(buf_fini) struct buf body = {0};
    size_t at = x->head;

    if (fs_load(fs, path, SMALL_BYTES_MAX, &body, e)) return e->rc;
    for (; at + x->entry <= body.n; at += x->entry) {
        struct dump_piece p = entry_of(x->kind, body.p + at, base);

        p.position = at;
        put(ctx, &p);
    }
    return at == body.n ? RC_OK : err_set(e, RC_CORRUPT, "%zu bytes are left over at the end", body.n > at ? body.n - at : body.n);
}

enum rc verify_dump(struct fs *fs, const char *path, dump_fn put, void *ctx, struct err *e)
{
    AUTO(file_closep) struct file *f = NULL;
    const char *name = strrchr(path, '/') ? strrchr(path, '/') + 1 : path;
    int64_t     base = 0;
    uint64_t    size;

    if (strlen(name) > 20 && !str_to_i64((struct str){name, 20}, &base)) base = 0;
    for (size_t i = 0; i < countof(layouts); i++)
        if (str_ends(str_of(name), str_of(layouts[i].suffix))) return dump_entries(fs, path, &layouts[i], base, put, ctx, e);
    if (fs_open(fs, path, FS_READ, &f, e) || file_size(f, &size, e)) return e->rc;
    return dump_log(f, size, put, ctx, e);
}
