/* Design note: two passes. The first walks the dirty segments and maps each key to its last offset; keys are kept whole, so
 * that no two are ever taken for one. The second walks all segments below the end of the map and keeps a record when no
 * later one has its key. Records without a key go. A tombstone stays for delete_retention_ms after the first pass that saw
 * it: that pass writes the time at which it may go into the batch (the delete horizon, attribute bit 6).
 * A batch of which everything stays is copied as it is. Control batches and batches of transactions are left alone.
 * SPDX-License-Identifier: Apache-2.0 */
#include "broker/clean.h"
#include "broker/segment.h"
#include "kafka/batch_build.h"
#include <inttypes.h>
#include <stdio.h>

enum { PAYLOAD_BYTES_MAX = 1 << 30, KEY_COST = 48, OUT_CHUNK = 1 << 20 };

struct cleaner {
    struct clean_pass *p;
    struct codecs *codecs;
    struct map  keys;                          /* key -> last offset + 1 */
    size_t      keys_bytes;
    struct buf  batch, scratch, out;           /* being read, decompressed, waiting to be written */
    struct file *to;
    uint64_t    to_bytes;                      /* written, `out` not counted */
};

/* ---- reading ---- */

typedef enum rc (*batch_fn)(struct cleaner *c, const struct batch *b, struct err *e);

static void path_of(const struct clean_pass *p, int64_t base, const char *suffix, char ret[SEGMENT_PATH_BYTES])
{
    struct segment_place in = {NULL, p->dir};

    segment_path(&in, base, suffix, ret);
}

static enum rc walk(struct cleaner *c, const struct clean_segment *s, batch_fn fn, struct err *e)
{
    AUTO(file_closep) struct file *f = NULL;
    char path[SEGMENT_PATH_BYTES];

    if (!s->size) return RC_OK;
    path_of(c->p, s->base, ".log", path);
    if (fs_open(c->p->fs, path, FS_READ, &f, e)) return e->rc;
    for (uint64_t at = 0; at < s->size;) {
        uint8_t           head[BATCH_HEADER_BYTES];
        struct batch_head h;
        struct batch      b;

        if (file_read_exact(f, head, sizeof head, at, e)) return e->rc;
        if (!batch_head_decode(bytes_of(head, sizeof head), &h) || h.bytes > s->size - at)
            return err_set(e, RC_CORRUPT, "%s: no record batch at %" PRIu64, path, at);
        buf_clear(&c->batch);
        if (file_read_exact(f, buf_grow(&c->batch, h.bytes), h.bytes, at, e)) return e->rc;
        if (batch_view(buf_view(&c->batch), &b) || !batch_crc_ok(&b)) return err_set(e, RC_CORRUPT, "%s: the batch at %" PRIu64 " is damaged", path, at);
        if (fn(c, &b, e)) return e->rc;
        at += h.bytes;
    }
    return RC_OK;
}

static bool left_alone(const struct batch *b) { return batch_is(b, BATCH_CONTROL) || batch_is(b, BATCH_TRANSACTIONAL); }

static enum rc open_records(struct cleaner *c, const struct batch *b, struct records *it, struct err *e)
{
    enum batch_fault fault = records_open(it, b, c->codecs, PAYLOAD_BYTES_MAX, &c->scratch);

    return fault ? err_set(e, RC_CORRUPT, "batch at offset %" PRId64 ": %s", b->base_offset, batch_fault_name(fault)) : RC_OK;
}

static enum rc records_end(const struct records *it, const struct batch *b, struct err *e)
{
    return it->fault ? err_set(e, RC_CORRUPT, "batch at offset %" PRId64 ": %s", b->base_offset, batch_fault_name(it->fault)) : RC_OK;
}

/* ---- first pass ---- */

static enum rc note_keys(struct cleaner *c, const struct batch *b, struct err *e)
{
    struct records it;
    struct record  r;

    if (left_alone(b) || !b->record_count) return RC_OK;
    if (open_records(c, b, &it, e)) return e->rc;
    while (records_next(&it, &r)) {
        if (!r.key.p || r.offset < c->p->dirty) continue;
        if (!map_put(&c->keys, r.key, (void *)(uintptr_t)(r.offset + 1))) c->keys_bytes += r.key.n + KEY_COST;
    }
    return records_end(&it, b, e);
}

/* Whole segments, until the memory for keys is used up; at least one. */
static enum rc map_keys(struct cleaner *c, size_t *ret_n, struct err *e)
{
    size_t n = 0;

    for (; n < c->p->in_n; n++) {
        int64_t next = n + 1 < c->p->in_n ? c->p->in[n + 1].base : c->p->end;

        if (next <= c->p->dirty) continue;
        if (c->keys_bytes > c->p->keys_bytes_max) break;
        if (walk(c, &c->p->in[n], note_keys, e)) return e->rc;
    }
    c->p->cleaned = n < c->p->in_n ? c->p->in[n].base : c->p->end;
    *ret_n = n;
    return RC_OK;
}

/* ---- second pass ---- */

static enum rc put(struct cleaner *c, struct bytes batch, struct err *e)
{
    buf_append(&c->out, batch);
    if (c->out.n < OUT_CHUNK) return RC_OK;
    if (file_write(c->to, buf_view(&c->out), c->to_bytes, e)) return e->rc;
    c->to_bytes += c->out.n;
    buf_clear(&c->out);
    return RC_OK;
}

struct verdict { uint32_t kept, tombstones; };

static bool stays(const struct cleaner *c, const struct batch *b, const struct record *r)
{
    uintptr_t last;

    if (!r->key.p) return false;
    last = (uintptr_t)map_get(&c->keys, r->key);
    if (last && r->offset + 1 < (int64_t)last) return false;
    return r->value.p || !batch_is(b, BATCH_DELETE_HORIZON) || c->p->now_ms < b->base_timestamp;
}

static enum rc judge(struct cleaner *c, const struct batch *b, struct verdict *ret, struct err *e)
{
    struct records it;
    struct record  r;

    *ret = (struct verdict){0};
    if (open_records(c, b, &it, e)) return e->rc;
    while (records_next(&it, &r))
        if (stays(c, b, &r)) {
            ret->kept++;
            ret->tombstones += !r.value.p;
        }
    return records_end(&it, b, e);
}

static struct batch_options options_of(const struct clean_pass *p, const struct batch *b, bool tombstones)
{
    bool has = batch_is(b, BATCH_DELETE_HORIZON);

    return (struct batch_options){.codec = batch_codec(b), .log_append_time = batch_is(b, BATCH_LOG_APPEND_TIME),
                                  .delete_horizon = has || tombstones, .base_offset = b->base_offset,
                                  .base_timestamp = has ? b->base_timestamp : p->now_ms + p->delete_retention_ms,
                                  .log_append_time_ms = b->max_timestamp, .has_producer = b->producer_id >= 0, .producer_id = b->producer_id,
                                  .producer_epoch = b->producer_epoch, .base_sequence = b->base_sequence, .leader_epoch = b->leader_epoch};
}

static void add_record(struct batch_builder *w, const struct record *r, struct buf *headers)
{
    struct rd            h = record_headers(r);
    struct record_header one;

    buf_clear(headers);
    while (record_headers_next(&h, &one)) buf_append(headers, bytes_of(&one, sizeof one));
    batch_add_at(w, r->offset_delta, &(struct record_new){.timestamp = r->timestamp, .key = r->key, .value = r->value,
                                                          .headers = (struct record_header *)(void *)headers->p, .headers_n = r->headers_n});
}

static enum rc rebuild(struct cleaner *c, const struct batch *b, const struct verdict *v, struct err *e)
{
    AUTO(buf_fini) struct buf made = {0}, headers = {0};
    struct batch_options opt = options_of(c->p, b, v->tombstones);
    struct batch_builder w;
    struct records       it;
    struct record        r;
    struct bytes         view;

    if (open_records(c, b, &it, e)) return e->rc;
    batch_begin(&w, &made, &opt);
    while (records_next(&it, &r))
        if (stays(c, b, &r)) add_record(&w, &r, &headers);
    batch_extend(&w, b->last_offset_delta);
    if (records_end(&it, b, e) || batch_end(&w, c->codecs, &view, e)) return e->rc;
    return put(c, view, e);
}

/* The header alone keeps what a retry of this batch would be compared with. */
static bool holds_last_sequence(const struct cleaner *c, const struct batch *b)
{
    const struct producer *p = b->producer_id < 0 || b->base_sequence < 0 ? NULL : producers_find(c->p->producers, b->producer_id);

    return p && p->n && p->epoch == b->producer_epoch && p->window[p->n - 1].last_offset == batch_last_offset(b);
}

static enum rc clean_batch(struct cleaner *c, const struct batch *b, struct err *e)
{
    struct verdict v;
    bool           marked = batch_is(b, BATCH_DELETE_HORIZON);

    if (left_alone(b)) return put(c, b->raw, e);
    if (judge(c, b, &v, e)) return e->rc;
    c->p->records_in += (uint32_t)b->record_count;
    c->p->records_out += v.kept;
    if (v.kept == (uint32_t)b->record_count && (marked || !v.tombstones) && v.kept) return put(c, b->raw, e);
    if (!v.kept && !holds_last_sequence(c, b)) return RC_OK;
    return rebuild(c, b, &v, e);
}

/* As many segments as fit one. */
static size_t group_size(const struct clean_pass *p, size_t from, size_t n)
{
    uint64_t sum = p->in[from].size;
    size_t   to = from + 1;

    while (to < n && sum + p->in[to].size <= p->segment_bytes_max && p->in[to].base - p->in[from].base <= INT32_MAX / 2) sum += p->in[to++].size;
    return to - from;
}

static enum rc clean_group(struct cleaner *c, size_t from, size_t n, struct err *e)
{
    char    path[SEGMENT_PATH_BYTES];
    enum rc rc = RC_OK;

    path_of(c->p, c->p->in[from].base, ".cleaned", path);
    if (fs_open(c->p->fs, path, FS_WRITE | FS_CREATE | FS_TRUNC, &c->to, e)) return e->rc;
    c->p->out[c->p->out_n++] = (struct clean_group){c->p->in[from].base, n, 0};
    c->to_bytes = 0;
    buf_clear(&c->out);
    for (size_t i = from; i < from + n && !rc; i++) rc = walk(c, &c->p->in[i], clean_batch, e);
    if (!rc && c->out.n) rc = file_write(c->to, buf_view(&c->out), c->to_bytes, e);
    if (!rc) rc = file_sync(c->to, e);
    c->to = file_close(c->to);
    c->p->out[c->p->out_n - 1].size = c->to_bytes + c->out.n;
    return rc;
}

static void discard(struct clean_pass *p)
{
    char       path[SEGMENT_PATH_BYTES];
    struct err e;

    for (size_t i = 0; i < p->out_n; i++) {
        path_of(p, p->out[i].base, ".cleaned", path);
        (void)fs_unlink(p->fs, path, &e);
    }
    p->out_n = 0;
}

enum rc clean_run(struct clean_pass *p, struct err *e)
{
    struct cleaner c = {.p = p, .codecs = codecs_new()};
    size_t         n = 0;
    enum rc        rc;

    p->out = xnew_array(struct clean_group, p->in_n);
    p->out_n = 0;
    rc = map_keys(&c, &n, e);
    for (size_t at = 0; at < n && !rc;) {
        size_t group = group_size(p, at, n);

        rc = clean_group(&c, at, group, e);
        at += group;
    }
    if (rc) discard(p);
    map_fini(&c.keys);
    buf_fini(&c.batch);
    buf_fini(&c.scratch);
    buf_fini(&c.out);
    codecs_free(c.codecs);
    return rc;
}
