/* Design note: three walks. The first reads the headers of the dirty segments and finds the transactions that were aborted.
 * The second reads the dirty part and remembers each key's last offset, until it is at the end or the memory is used up.
 * The third reads all segments up to there and keeps a record when no later one has its key.
 *
 * Records without a key go, and so does what was aborted. A tombstone stays for delete_retention_ms after the first pass
 * that saw it: that pass writes the time at which it may go into the batch (the delete horizon, attribute bit 6). A marker
 * of a transaction of which nothing is left is treated the same. A batch of which everything stays is copied as it is.
 * SPDX-License-Identifier: Apache-2.0 */
#include "broker/clean.h"
#include "broker/clean_keys.h"
#include "broker/clean_txns.h"
#include "broker/segment.h"
#include "kafka/batch_build.h"
#include <inttypes.h>
#include <stdio.h>

enum { PAYLOAD_BYTES_MAX = 1 << 30, CHUNK = 1 << 20, MARKER_BYTES_MAX = 4096 };
enum walk { WALK_TXNS, WALK_KEYS, WALK_COPY, WALK_DONE };

struct cleaner {
    struct clean_pass *p;
    struct codecs *codecs;
    struct clean_keys keys;
    struct clean_txns txns;
    struct buf  scratch, out;                  /* decompressed, waiting to be written */
    enum walk   walk;
    size_t      segment, segments_n;           /* being read; the third walk ends before this one */
    uint64_t    at;                            /* in that segment */
    struct file *from, *to;
    struct buf  in;                            /* its bytes from in_at on */
    uint64_t    in_at;
    size_t      group_end;                     /* of the third walk: the group being written ends before this segment */
    uint64_t    to_bytes;                      /* written, `out` not counted */
};

static void path_of(const struct clean_pass *p, int64_t base, const char *suffix, char ret[SEGMENT_PATH_BYTES])
{
    struct segment_place in = {NULL, p->dir};

    segment_path(&in, base, suffix, ret);
}

/* ---- reading ---- */

static enum rc damaged(const struct cleaner *c, const char *what, struct err *e)
{
    return err_set(e, RC_CORRUPT, "%s/%020" PRId64 ".log: %s at %" PRIu64, c->p->dir, c->p->in[c->segment].base, what, c->at);
}

/* At least n bytes from c->at on are in c->in; more where there are more and `ahead` is wanted. */
static enum rc fill(struct cleaner *c, size_t n, bool ahead, struct err *e)
{
    uint64_t left = c->p->in[c->segment].size - c->at;
    size_t   want = (size_t)MIN(left, (uint64_t)(ahead ? MAX(n, (size_t)CHUNK) : n));
    char     path[SEGMENT_PATH_BYTES];

    if (c->at >= c->in_at && c->at + n <= c->in_at + c->in.n) return RC_OK;
    if (n > left) return damaged(c, "no whole record batch", e);
    if (!c->from) {
        path_of(c->p, c->p->in[c->segment].base, ".log", path);
        if (fs_open(c->p->fs, path, FS_READ, &c->from, e)) return e->rc;
    }
    buf_clear(&c->in);
    c->in_at = c->at;
    if (file_read_exact(c->from, buf_grow(&c->in, want), want, c->at, e)) return e->rc;
    c->p->bytes_read += want;
    return RC_OK;
}

static struct bytes here(const struct cleaner *c, size_t n) { return bytes_of(c->in.p + (c->at - c->in_at), n); }

/* The batch at c->at: all of it, checked; or, for `head_only`, only its header unless it is a marker. */
static enum rc read_batch(struct cleaner *c, bool head_only, struct batch *ret, struct batch_head *ret_head, struct err *e)
{
    if (fill(c, BATCH_HEADER_BYTES, !head_only, e)) return e->rc;
    if (!batch_head_decode(here(c, BATCH_HEADER_BYTES), ret_head)) return damaged(c, "no record batch", e);
    if (head_only && !((ret_head->attributes & BATCH_CONTROL) && ret_head->bytes <= MARKER_BYTES_MAX)) {
        *ret = (struct batch){.base_offset = ret_head->base_offset, .attributes = (int16_t)ret_head->attributes, .producer_id = ret_head->producer_id};
        return RC_OK;
    }
    if (fill(c, ret_head->bytes, !head_only, e)) return e->rc;
    if (batch_view(here(c, ret_head->bytes), ret) || !batch_crc_ok(ret)) return damaged(c, "a damaged record batch", e);
    return RC_OK;
}

static enum rc open_records(struct cleaner *c, const struct batch *b, struct records *it, struct err *e)
{
    enum batch_fault fault = records_open(it, b, c->codecs, PAYLOAD_BYTES_MAX, &c->scratch);

    return fault ? err_set(e, RC_CORRUPT, "batch at offset %" PRId64 ": %s", b->base_offset, batch_fault_name(fault)) : RC_OK;
}

static enum rc records_end(const struct records *it, const struct batch *b, struct err *e)
{
    return it->fault ? err_set(e, RC_CORRUPT, "batch at offset %" PRId64 ": %s", b->base_offset, batch_fault_name(it->fault)) : RC_OK;
}

static bool is_dropped_data(struct cleaner *c, const struct batch *b)
{
    return batch_is(b, BATCH_TRANSACTIONAL) && !batch_is(b, BATCH_CONTROL) && clean_txns_is_aborted(&c->txns, b);
}

/* ---- keys ---- */

/* False in *ret_room: no room for this batch's keys, and none was taken. */
static enum rc note_keys(struct cleaner *c, const struct batch *b, bool *ret_room, struct err *e)
{
    struct records it;
    struct record  r;

    *ret_room = true;
    if (batch_is(b, BATCH_CONTROL) || !b->record_count || batch_last_offset(b) < c->p->dirty || is_dropped_data(c, b)) return RC_OK;
    *ret_room = clean_keys_have_room(&c->keys, (size_t)b->record_count);
    if (!*ret_room) return RC_OK;
    if (open_records(c, b, &it, e)) return e->rc;
    while (records_next(&it, &r))
        if (r.key.p && r.offset >= c->p->dirty) clean_keys_put(&c->keys, r.key, r.offset);
    return records_end(&it, b, e);
}

/* ---- what stays ---- */

static enum rc put(struct cleaner *c, struct bytes batch, struct err *e)
{
    buf_append(&c->out, batch);
    if (c->out.n < CHUNK) return RC_OK;
    if (file_write(c->to, buf_view(&c->out), c->to_bytes, e)) return e->rc;
    c->to_bytes += c->out.n;
    buf_clear(&c->out);
    return RC_OK;
}

struct verdict { uint32_t kept; bool horizon; };             /* records that stay; whether the batch needs a delete horizon */

static bool stays(const struct cleaner *c, const struct batch *b, const struct record *r)
{
    if (!r->key.p || r->offset < clean_keys_get(&c->keys, r->key)) return false;
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
            ret->horizon |= !r.value.p;
        }
    return records_end(&it, b, e);
}

static struct batch_options options_of(const struct clean_pass *p, const struct batch *b, bool horizon)
{
    bool has = batch_is(b, BATCH_DELETE_HORIZON);

    return (struct batch_options){.codec = batch_codec(b), .log_append_time = batch_is(b, BATCH_LOG_APPEND_TIME),
                                  .transactional = batch_is(b, BATCH_TRANSACTIONAL), .control = batch_is(b, BATCH_CONTROL),
                                  .delete_horizon = has || horizon, .base_offset = b->base_offset,
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

/* The batch with those of its records that stay: all of a marker's, none when nothing is kept. */
static enum rc rebuild(struct cleaner *c, const struct batch *b, const struct verdict *v, struct err *e)
{
    AUTO(buf_fini) struct buf made = {0}, headers = {0};
    struct batch_options opt = options_of(c->p, b, v->horizon);
    struct batch_builder w;
    struct records       it;
    struct record        r;
    struct bytes         view;

    if (open_records(c, b, &it, e)) return e->rc;
    batch_begin(&w, &made, &opt);
    while (v->kept && records_next(&it, &r))
        if (batch_is(b, BATCH_CONTROL) || stays(c, b, &r)) add_record(&w, &r, &headers);
    batch_extend(&w, b->last_offset_delta);
    if (records_end(&it, b, e) || batch_end(&w, c->codecs, &view, e)) return e->rc;
    return put(c, view, e);
}

/* The header alone keeps what a retry of this batch would be compared with; of a producer that only ended transactions, the marker its epoch. */
static bool holds_last_state(const struct cleaner *c, const struct batch *b)
{
    const struct producer *p = b->producer_id < 0 ? NULL : producers_find(c->p->producers, b->producer_id);

    if (!p || p->epoch != b->producer_epoch) return false;
    if (batch_is(b, BATCH_CONTROL)) return !p->n;
    return b->base_sequence >= 0 && p->n && p->window[p->n - 1].last_offset == batch_last_offset(b);
}

static enum rc clean_marker(struct cleaner *c, const struct batch *b, struct err *e)
{
    struct verdict v = {.kept = 1, .horizon = true};

    if (!clean_txns_marker_is_idle(&c->txns, b) || holds_last_state(c, b)) return put(c, b->raw, e);
    if (!batch_is(b, BATCH_DELETE_HORIZON)) return rebuild(c, b, &v, e);
    return c->p->now_ms < b->base_timestamp ? put(c, b->raw, e) : RC_OK;
}

static enum rc clean_batch(struct cleaner *c, const struct batch *b, struct err *e)
{
    struct verdict v = {0};

    if (batch_is(b, BATCH_CONTROL)) return clean_marker(c, b, e);
    if (!is_dropped_data(c, b)) {
        if (b->base_offset >= c->p->cleaned) {                    /* not looked at for keys */
            clean_txns_kept(&c->txns, b);
            return put(c, b->raw, e);
        }
        if (judge(c, b, &v, e)) return e->rc;
    }
    c->p->records_in += (uint32_t)b->record_count;
    c->p->records_out += v.kept;
    if (v.kept) clean_txns_kept(&c->txns, b);
    if (v.kept && v.kept == (uint32_t)b->record_count && (batch_is(b, BATCH_DELETE_HORIZON) || !v.horizon)) return put(c, b->raw, e);
    if (!v.kept && !holds_last_state(c, b)) return RC_OK;
    return rebuild(c, b, &v, e);
}

/* ---- groups ---- */

/* As many segments as fit one. */
static size_t group_size(const struct clean_pass *p, size_t from, size_t n)
{
    uint64_t sum = p->in[from].size;
    size_t   to = from + 1;

    while (to < n && sum + p->in[to].size <= p->segment_bytes_max && (to + 1 < p->in_n ? p->in[to + 1].base : p->end) - p->in[from].base <= INT32_MAX)
        sum += p->in[to++].size;
    return to - from;
}

static enum rc group_begin(struct cleaner *c, struct err *e)
{
    size_t n = group_size(c->p, c->segment, c->segments_n);
    char   path[SEGMENT_PATH_BYTES];

    path_of(c->p, c->p->in[c->segment].base, ".cleaned", path);
    if (fs_open(c->p->fs, path, FS_WRITE | FS_CREATE | FS_TRUNC, &c->to, e)) return e->rc;
    c->p->out[c->p->out_n++] = (struct clean_group){c->p->in[c->segment].base, n, 0};
    c->group_end = c->segment + n;
    c->to_bytes = 0;
    buf_clear(&c->out);
    return RC_OK;
}

static enum rc group_end(struct cleaner *c, struct err *e)
{
    if (c->out.n && file_write(c->to, buf_view(&c->out), c->to_bytes, e)) return e->rc;
    if (file_sync(c->to, e)) return e->rc;
    c->to = file_close(c->to);
    c->p->out[c->p->out_n - 1].size = c->to_bytes + c->out.n;
    c->p->bytes_written += c->to_bytes + c->out.n;
    return RC_OK;
}

/* ---- walks ---- */

static void segment_leave(struct cleaner *c)
{
    c->from = file_close(c->from);
    buf_clear(&c->in);
    c->in_at = c->at = 0;
}

static size_t first_dirty(const struct clean_pass *p)
{
    size_t i = 0;

    while (i + 1 < p->in_n && p->in[i + 1].base <= p->dirty) i++;
    return i;
}

static void walk_begin(struct cleaner *c, enum walk walk)
{
    segment_leave(c);
    clean_txns_rewind(&c->txns);
    c->walk = walk;
    c->segment = walk == WALK_COPY ? 0 : first_dirty(c->p);
}

/* The keys end here: what follows is not looked at in this pass. */
static void keys_end(struct cleaner *c, int64_t offset)
{
    c->p->cleaned = offset;
    c->segments_n = c->segment + (c->at > 0);
    walk_begin(c, WALK_COPY);
}

static enum rc step_batch(struct cleaner *c, struct err *e)
{
    struct batch      b;
    struct batch_head h;
    bool              room;

    if (read_batch(c, c->walk == WALK_TXNS, &b, &h, e)) return e->rc;
    switch (c->walk) {
    case WALK_TXNS: clean_txns_note(&c->txns, &b, c->segment < c->p->in_n); break;
    case WALK_KEYS:
        if (note_keys(c, &b, &room, e)) return e->rc;
        if (!room) {
            keys_end(c, h.base_offset);
            return RC_OK;
        }
        break;
    case WALK_COPY:
        if (clean_batch(c, &b, e)) return e->rc;
        break;
    case WALK_DONE: break;
    }
    c->at += h.bytes;
    return RC_OK;
}

static size_t walk_end(const struct cleaner *c)
{
    bool ahead = c->walk == WALK_TXNS && c->txns.open;

    return !ahead && c->segment >= c->p->in_n ? c->segment : c->p->in_n + (c->walk == WALK_TXNS ? c->p->ahead_n : 0);
}

/* One batch, or one change of place. */
static enum rc step(struct cleaner *c, struct err *e)
{
    if (c->walk == WALK_COPY && c->segment == c->segments_n) {
        c->walk = WALK_DONE;
        return RC_OK;
    }
    if (c->walk == WALK_COPY && !c->to && group_begin(c, e)) return e->rc;
    if (c->segment == walk_end(c)) {
        if (c->walk == WALK_KEYS) keys_end(c, c->p->end);
        else if (c->txns.open) return err_set(e, RC_UNAVAILABLE, "the end of a transaction is not on the disk yet");
        else walk_begin(c, WALK_KEYS);
        return RC_OK;
    }
    if (c->at < c->p->in[c->segment].size) return step_batch(c, e);
    segment_leave(c);
    c->segment++;
    return c->walk == WALK_COPY && c->segment == c->group_end ? group_end(c, e) : RC_OK;
}

/* ---- the pass ---- */

struct cleaner *clean_begin(struct clean_pass *p)
{
    struct cleaner *c = xnew(struct cleaner);

    must(p->in_n > 0);
    c->p = p;
    c->codecs = codecs_new();
    clean_keys_init(&c->keys, p->keys_bytes_max);
    p->out = xnew_array(struct clean_group, p->in_n);
    p->out_n = 0;
    walk_begin(c, WALK_TXNS);
    return c;
}

enum rc clean_some(struct cleaner *c, uint64_t bytes_max, bool *ret_done, struct err *e)
{
    uint64_t before = c->p->bytes_read;

    while (c->walk != WALK_DONE && c->p->bytes_read - before < bytes_max)
        if (step(c, e)) return e->rc;
    *ret_done = c->walk == WALK_DONE;
    return RC_OK;
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

struct cleaner *clean_end(struct cleaner *c)
{
    if (!c) return NULL;
    file_close(c->from);
    file_close(c->to);
    if (c->walk != WALK_DONE) discard(c->p);
    clean_keys_fini(&c->keys);
    clean_txns_fini(&c->txns);
    buf_fini(&c->in);
    buf_fini(&c->scratch);
    buf_fini(&c->out);
    codecs_free(c->codecs);
    free(c);
    return NULL;
}
