/* app/log_check.c - the checker of a data folder, told in JSON.   SPDX-License-Identifier: Apache-2.0 */
#include "app/log_check.h"
#include "broker/verify.h"
#include <stdio.h>

/* ---- checking ---- */

struct report {
    log_check_fn put;
    void *ctx;
};

static const char *weight_name(enum verify_weight w)
{
    switch (w) {
    case VERIFY_NOTE: return "note";
    case VERIFY_CACHE: return "rebuildable";
    case VERIFY_DAMAGE: return "damage";
    }
    return "?";
}

static void on_found(void *ctx, const struct verify_finding *f)
{
    struct report *r = ctx;
    json_t *j = json_pack("{ss ss ss ss* sb}", "weight", weight_name(f->weight), "file", f->file,
                          "text", f->text, "remedy", f->remedy, "repaired", f->repaired);

    r->put(r->ctx, j);
    json_decref(j);
}

enum rc log_check(const char *dir, bool repair, log_check_fn put, void *ctx, json_t **ret,
                  bool *ret_whole, struct err *e)
{
    struct report r = {put, ctx};
    struct verify_options o = {&fs_real, dir, repair, on_found, &r};
    struct verify_summary s;

    if (verify_folder(&o, &s, e)) return e->rc;
    *ret = json_pack("{sI sI sI sI sI sI sI sI sI}", "logs", (json_int_t)s.logs, "files",
                     (json_int_t)s.files, "batches", (json_int_t)s.batches, "records",
                     (json_int_t)s.records, "bytes", (json_int_t)s.bytes, "damages",
                     (json_int_t)s.damages, "rebuildable", (json_int_t)s.caches, "repaired",
                     (json_int_t)s.repaired, "notes", (json_int_t)s.notes);
    *ret_whole = s.damages + s.caches <= s.repaired;
    return RC_OK;
}

/* ---- dumping ---- */

/* Text as it is; what is none as \xNN. */
static json_t *text_of(struct bytes b)
{
    AUTO(buf_fini) struct buf out = {0};
    json_t *plain = b.p ? json_stringn((const char *)b.p, b.n) : json_null();

    if (plain) return plain;
    for (size_t i = 0; i < b.n; i++)
        if (b.p[i] >= 0x20 && b.p[i] < 0x7f)
            buf_append_byte(&out, b.p[i]);
        else
            buf_printf(&out, "\\x%02x", b.p[i]);
    return json_stringn((const char *)out.p, out.n);
}

static json_t *batch_json(const struct dump_piece *p)
{
    const struct batch *b = p->batch;

    return json_pack(
        "{sI sI si sI si si si sI ss sb sb sb sb sI sb}", "baseOffset", (json_int_t)b->base_offset,
        "lastOffset", (json_int_t)batch_last_offset(b), "count", (int)b->record_count, "producerId",
        (json_int_t)b->producer_id, "producerEpoch", (int)b->producer_epoch, "baseSequence",
        (int)b->base_sequence, "leaderEpoch", (int)b->leader_epoch, "maxTimestamp",
        (json_int_t)b->max_timestamp, "codec",
        (int)batch_codec(b) < KAFKA_CODECS ? kafka_codec_name(batch_codec(b)) : "?", "transactional",
        batch_is(b, BATCH_TRANSACTIONAL), "control", batch_is(b, BATCH_CONTROL), "logAppendTime",
        batch_is(b, BATCH_LOG_APPEND_TIME), "deleteHorizon", batch_is(b, BATCH_DELETE_HORIZON),
        "position", (json_int_t)p->position, "crcValid", p->crc_ok);
}

static json_t *record_json(const struct dump_piece *p)
{
    const struct record *r = p->record;
    struct rd walk = record_headers(r);
    struct record_header h;
    json_t *headers = json_array();

    while (record_headers_next(&walk, &h))
        json_array_append_new(headers, json_pack("{so so}", "key", text_of(str_bytes(h.key)),
                                                 "value", text_of(h.value)));
    return json_pack("{sI sI so so so}", "offset", (json_int_t)r->offset, "timestamp",
                     (json_int_t)r->timestamp, "key", text_of(r->key), "value", text_of(r->value),
                     "headers", headers);
}

static json_t *piece_json(const struct dump_piece *p)
{
    switch (p->kind) {
    case DUMP_BATCH: return json_pack("{so}", "batch", batch_json(p));
    case DUMP_RECORD: return json_pack("{so}", "record", record_json(p));
    case DUMP_OFFSET:
        return json_pack("{sI sI}", "offset", (json_int_t)p->a, "position", (json_int_t)p->b);
    case DUMP_TIME:
        return json_pack("{sI sI}", "timestamp", (json_int_t)p->a, "offset", (json_int_t)p->b);
    case DUMP_ABORTED:
        return json_pack("{sI sI sI sI}", "producerId", (json_int_t)p->a, "firstOffset",
                         (json_int_t)p->b, "lastOffset", (json_int_t)p->c, "lastStableOffset",
                         (json_int_t)p->d);
    case DUMP_PRODUCER:
        return json_pack("{sI sI sI sI sI}", "producerId", (json_int_t)p->a, "epoch",
                         (json_int_t)p->b, "lastSequence", (json_int_t)p->c, "lastOffset",
                         (json_int_t)p->d, "timestamp", (json_int_t)p->e);
    }
    return NULL;
}

static void on_piece(void *ctx, const struct dump_piece *p)
{
    struct report *r = ctx;
    json_t *j = piece_json(p);

    if (j) r->put(r->ctx, j);
    json_decref(j);
}

struct segments {
    char **v;
    size_t n;
};

static void on_name(void *ctx, const char *name)
{
    struct segments *s = ctx;

    if (strlen(name) != 24 || !str_ends(str_of(name), STR(".log"))) return;
    s->v = xrealloc(s->v, s->n + 1, sizeof *s->v);
    s->v[s->n++] = xstrdup(name);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* All segments of a partition's folder, in order; the first that is damaged ends it. */
static enum rc dump_folder(const char *folder, struct report *r, struct err *e)
{
    struct segments s = {0};
    enum rc rc = fs_list(&fs_real, folder, on_name, &s, e);

    if (s.n) qsort(s.v, s.n, sizeof *s.v, by_name);
    for (size_t i = 0; i < s.n; i++) {
        AUTO(buf_fini) struct buf file = {0};

        buf_printf(&file, "%s/%s", folder, s.v[i]);
        if (!rc && (rc = verify_dump(&fs_real, buf_cstr(&file), on_piece, r, e)))
            err_in(e, "%s", s.v[i]);
        free(s.v[i]);
    }
    free(s.v);
    return rc;
}

enum rc log_dump(const char *dir, const char *what, log_check_fn put, void *ctx, struct err *e)
{
    AUTO(buf_fini) struct buf path = {0};
    struct report r = {put, ctx};
    struct fs_stat st;

    buf_append_str(&path, str_of(what));
    if (fs_stat(&fs_real, what, &st, e)) {
        buf_clear(&path);
        buf_printf(&path, "%s/%s", dir, what);
        if (fs_stat(&fs_real, buf_cstr(&path), &st, e)) {
            if (e->rc == RC_NOT_FOUND)
                err_set(e, RC_NOT_FOUND, "neither a file nor a partition of %s", dir);
            return e->rc;
        }
    }
    if (st.is_dir) return dump_folder(buf_cstr(&path), &r, e);
    return verify_dump(&fs_real, buf_cstr(&path), on_piece, &r, e);
}
