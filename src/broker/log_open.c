/* Design note: what a log needs before it can be used, and what recovery does to it.
 *
 * The checkpoint says where the log ends and how long its newest segment is. In normal operation everything beyond is cut
 * and everything below must be there. During replay nothing is cut yet: the records of the wal are compared with what
 * lies beyond, written anew, and log_replay_end() cuts what no record speaks of. Indexes, producer snapshots
 * and the epoch file are caches: what is missing is made again from the batches.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/diag.h"
#include "broker/store_core.h"
#include <inttypes.h>
#include <stdio.h>

enum { SNAPSHOT_BYTES_MAX = 64 << 20 };

/* ---- the folder ---- */

struct numbers { int64_t *v; size_t n; };
struct found { struct numbers logs, snapshots, swaps, cleaned; struct buf strays; bool marked; };

static bool name_parse(const char *name, const char *suffix, int64_t *ret)
{
    struct str s = str_of(name);

    return s.n == 20 + strlen(suffix) && !strcmp(name + 20, suffix) && str_to_i64((struct str){name, 20}, ret) && *ret >= 0;
}

static void add_number(struct numbers *ns, int64_t n)
{
    ns->v = xrealloc(ns->v, ns->n + 1, sizeof *ns->v);
    ns->v[ns->n++] = n;
}

static void collect(void *ctx, const char *name)
{
    struct found *f = ctx;
    int64_t       base;

    if (name_parse(name, ".log", &base)) add_number(&f->logs, base);
    else if (name_parse(name, ".snapshot", &base)) add_number(&f->snapshots, base);
    else if (name_parse(name, ".swap", &base)) add_number(&f->swaps, base);
    else if (name_parse(name, ".cleaned", &base)) add_number(&f->cleaned, base);
    else if (!strcmp(name, LOG_SWAP_MARK)) f->marked = true;
    else if (log_large_name(name) || str_ends(str_of(name), STR(".deleted"))) buf_append(&f->strays, bytes_of(name, strlen(name) + 1));
}

static int by_number(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

    return x < y ? -1 : x > y;
}

static void found_fini(struct found *f)
{
    free(f->logs.v);
    free(f->snapshots.v);
    free(f->swaps.v);
    free(f->cleaned.v);
    buf_fini(&f->strays);
    *f = (struct found){0};
}

void found_drop(struct log *l)
{
    if (l->found) found_fini(l->found);
    free(l->found);
    l->found = NULL;
}

static enum rc folder_list(struct log *l, struct err *e)
{

    found_drop(l);
    l->found = xnew(struct found);
    if (fs_list(l->store->fs, l->dir, collect, l->found, e) && e->rc != RC_NOT_FOUND) return e->rc;
    if (l->found->logs.n) qsort(l->found->logs.v, l->found->logs.n, sizeof *l->found->logs.v, by_number);
    return RC_OK;
}

static void remove_file(struct log *l, int64_t base, const char *suffix)
{
    char                 path[SEGMENT_PATH_BYTES];
    struct segment_place in = log_place(l);
    struct err           e;

    segment_path(&in, base, suffix, path);
    if (fs_unlink(l->store->fs, path, &e) && e.rc != RC_NOT_FOUND)
        diag(DIAG_WARN, "log.leftover", KV_CSTR("file", path), KV_CSTR("why", e.text));
}

static void remove_segment_files(struct log *l, int64_t base)
{
    remove_file(l, base, ".log");
    remove_file(l, base, ".index");
    remove_file(l, base, ".timeindex");
    remove_file(l, base, ".txnindex");
}

/* What nobody speaks of: snapshots that no checkpoint names, large batches that were never appended, files half removed. */
static void remove_strays(struct log *l, const struct found *found)
{
    char       path[STORE_PATH_BYTES];
    struct err e;

    for (size_t i = 0; i < found->snapshots.n; i++)
        if (found->snapshots.v[i] != l->disk.snapshot && found->snapshots.v[i] != l->snapshot) remove_file(l, found->snapshots.v[i], ".snapshot");
    for (size_t i = 0; i < found->cleaned.n; i++) remove_file(l, found->cleaned.v[i], ".cleaned");
    for (size_t at = 0; at < found->strays.n; at += strlen((char *)found->strays.p + at) + 1) {
        must((size_t)snprintf(path, sizeof path, "%s/%s", l->dir, (char *)found->strays.p + at) < sizeof path);
        if (fs_unlink(l->store->fs, path, &e) && e.rc != RC_NOT_FOUND) diag(DIAG_WARN, "log.leftover", KV_CSTR("file", path), KV_CSTR("why", e.text));
    }
}

static enum rc file_length(struct log *l, int64_t base, uint64_t *ret, struct err *e)
{
    char                 path[SEGMENT_PATH_BYTES];
    struct segment_place in = log_place(l);
    struct fs_stat       st;

    segment_path(&in, base, ".log", path);
    if (fs_stat(l->store->fs, path, &st, e)) return e->rc;
    *ret = st.size;
    return RC_OK;
}

/* ---- loading ---- */

/* The newest segment, exactly as long as the checkpoint says. */
static enum rc load_active(struct log *l, struct err *e)
{
    struct segment_place in = log_place(l);
    struct segment      *s = log_segment_add(l, l->disk.segment_base);
    uint64_t             length = 0;
    struct file         *f;

    s->size = l->disk.segment_bytes;
    if (file_length(l, s->base, &length, e) && (e->rc != RC_NOT_FOUND || s->size)) {
        if (e->rc == RC_NOT_FOUND) err_set(e, RC_CORRUPT, "segment %020" PRId64 ".log is missing", s->base);
        return e->rc;
    }
    if (length < s->size)
        return err_set(e, RC_CORRUPT, "segment %020" PRId64 ".log: %" PRIu64 " bytes, %" PRIu64 " were synced", s->base, length, s->size);
    if (length > s->size && !log_replaying(l)) {
        s->cut = true;
        if (segment_file(s, &in, false, &f, e) || file_truncate(f, s->size, e)) return e->rc;
        diag(DIAG_INFO, "log.cut", KV_CSTR("topic", l->topic), KV_U64("partition", l->partition), KV_U64("bytes", length - s->size));
        l->store->stats.cut_bytes += length - s->size;
    }
    if (segment_load(s, &in, l->disk.offsets_n, l->disk.times_n, l->config.index_interval_bytes, e)) return e->rc;
    l->rolled_ms = clock_wall_ms(l->store->opt.clock);
    if (s->first_time >= 0) l->rolled_ms = MIN(l->rolled_ms, s->first_time);
    return RC_OK;
}

/* The last offset of a swap file; -1 when it is empty. */
static enum rc swap_end(struct log *l, int64_t base, int64_t *ret, struct err *e)
{
    AUTO(file_closep) struct file *f = NULL;
    char                 path[SEGMENT_PATH_BYTES];
    struct segment_place in = log_place(l);
    uint64_t             size;

    segment_path(&in, base, ".swap", path);
    *ret = -1;
    if (fs_open(l->store->fs, path, FS_READ, &f, e) || file_size(f, &size, e)) return e->rc;
    for (uint64_t at = 0; at < size;) {
        uint8_t           raw[BATCH_HEADER_BYTES];
        struct batch_head h;

        if (file_read_exact(f, raw, sizeof raw, at, e)) return e->rc;
        if (!batch_head_decode(bytes_of(raw, sizeof raw), &h)) return err_set(e, RC_CORRUPT, "%s: no record batch at %" PRIu64, path, at);
        *ret = h.last_offset;
        at += h.bytes;
    }
    return RC_OK;
}

/* A compaction had happened, but was not all put in place. */
static enum rc finish_swaps(struct log *l, struct found *found, struct err *e)
{
    for (size_t i = 0; i < found->swaps.n; i++) {
        struct numbers *logs = &found->logs, covered = {0};
        int64_t         base = found->swaps.v[i], last;
        size_t          left = 0;
        enum rc         rc = swap_end(l, base, &last, e);

        for (size_t k = 0; k < logs->n; k++)
            if (logs->v[k] != base && (logs->v[k] < base || logs->v[k] > last)) logs->v[left++] = logs->v[k];
            else add_number(&covered, logs->v[k]);
        logs->n = left;
        add_number(logs, base);
        qsort(logs->v, logs->n, sizeof *logs->v, by_number);
        if (!rc) rc = log_swap_in(l, base, covered.v, covered.n, e);
        free(covered.v);
        if (rc) return rc;
    }
    return RC_OK;
}

/* Every closed segment of the checkpoint is there in its full length; compaction may have changed them since, and says so. */
static enum rc check_closed(struct log *l, struct err *e)
{
    int64_t  n;
    uint64_t bytes;

    if (l->found->marked) {
        l->swap_marked = true;
        l->swaps++;
        store_dirty(l->store, l);
        return RC_OK;
    }
    log_count_closed(l, l->disk.start, &n, &bytes);
    if (l->disk.closed_n == STATE_CLOSED_UNKNOWN || (n == l->disk.closed_n && bytes == l->disk.closed_bytes)) return RC_OK;
    return err_set(e, RC_CORRUPT, "its closed segments are %" PRId64 " with %" PRIu64 " bytes, %" PRId64 " with %" PRIu64 " were on record: segments are missing or cut short",
                   n, bytes, l->disk.closed_n, l->disk.closed_bytes);
}

static enum rc load_segments(struct log *l, struct err *e)
{
    enum rc         rc = folder_list(l, e);
    struct numbers *logs = &l->found->logs;

    if (!rc) rc = finish_swaps(l, l->found, e);
    for (size_t i = 0; i < logs->n && !rc; i++) {
        int64_t next = i + 1 < logs->n ? MIN(logs->v[i + 1], l->disk.segment_base) : l->disk.segment_base;

        if (logs->v[i] > l->disk.segment_base) {
            if (!log_replaying(l)) remove_segment_files(l, logs->v[i]);
        } else if (logs->v[i] < l->disk.segment_base && next <= l->start) {
            remove_segment_files(l, logs->v[i]);
        } else if (logs->v[i] < l->disk.segment_base) {
            struct segment *s = log_segment_add(l, logs->v[i]);

            s->loaded = false;
            rc = file_length(l, s->base, &s->size, e);
        }
    }
    if (rc || (rc = load_active(l, e))) return rc;
    if (check_closed(l, e)) return e->rc;
    if (l->segments[0]->base > l->start)
        return err_set(e, RC_CORRUPT, "segments below %" PRId64 " are missing, the log starts at %" PRId64, l->segments[0]->base, l->start);
    return RC_OK;
}

/* A rescue file speaks of what lies beyond the checkpoint, like the wal: nothing is cut before it has been applied. */
static enum rc load_all(struct log *l, struct err *e)
{
    AUTO(buf_fini) struct buf rescued = {0};
    enum rc rc;

    if (rescue_read(l, &rescued, e)) return e->rc;
    l->replaying = rescued.n > 0;
    if (!(rc = load_segments(l, e))) {
        l->loaded = true;
        if (rescued.n) rc = rescue_apply(l, buf_view(&rescued), e);
    }
    l->replaying = false;
    if (rc || l->store->replaying) return rc;                     /* then the wal goes on, and log_replay_end cuts */
    return log_replay_end(l, rescued.n > 0, e);
}

enum rc log_load(struct log *l, struct err *e)
{
    must(!l->loaded && !l->segments_n);
    l->snapshot = l->disk.snapshot;
    l->cleaned = l->disk.cleaned;
    if (!l->known) {
        l->loaded = l->producers_loaded = true;
        return RC_OK;
    }
    if (!load_all(l, e)) return RC_OK;
    l->loaded = false;
    l->start = l->disk.start;
    l->end = l->disk.end;
    epochs_cut_end(&l->epochs, l->end);
    log_segments_free(l);
    found_drop(l);
    return e->rc;
}

/* ---- producers ---- */

enum rc log_note_producer(struct log *l, struct segment *s, const struct batch_head *h, struct bytes batch, struct err *e)
{
    struct producer_batch b = {.producer_id = h->producer_id, .epoch = h->producer_epoch, .base_sequence = h->base_sequence,
                               .last_offset_delta = h->last_offset_delta, .transactional = h->attributes & BATCH_TRANSACTIONAL,
                               .control = h->attributes & BATCH_CONTROL};
    int32_t coordinator_epoch = -1;

    if (b.control && log_note_marker(l, s, h, batch, e)) return e->rc;
    if (b.control && batch.n >= 78) coordinator_epoch = (int32_t)load_be32(batch.p + 73);   /* value: version, coordinator epoch */
    producers_add(&l->producers, &b, h->base_offset, h->max_timestamp, coordinator_epoch);
    return RC_OK;
}

static enum rc producers_scan(struct log *l, int64_t from, struct err *e)
{
    struct segment_place in = log_place(l);

    if (log_settle(l, e)) return e->rc;
    for (size_t i = 0; i < l->segments_n; i++) {
        struct segment   *s = l->segments[i];
        struct batch_head h = {0};
        uint64_t          at = 0;

        if (i + 1 < l->segments_n && l->segments[i + 1]->base <= from) continue;
        if (!s->loaded && segment_load(s, &in, UINT32_MAX, UINT32_MAX, l->config.index_interval_bytes, e)) return e->rc;
        if (from > s->base && segment_seek(s, &in, from, &at, &h, e)) {
            if (e->rc != RC_NOT_FOUND) return e->rc;
            continue;
        }
        for (; at < s->size; at += h.bytes) {
            AUTO(buf_fini) struct buf marker = {0};
            struct file *f;

            if (segment_head(s, &in, at, &h, e)) return e->rc;
            if ((h.attributes & BATCH_CONTROL) && h.bytes < 4096 &&
                (segment_file(s, &in, false, &f, e) || file_read_exact(f, buf_grow(&marker, h.bytes), h.bytes, at, e)))
                return e->rc;
            if (log_note_producer(l, s, &h, buf_view(&marker), e)) return e->rc;
        }
    }
    return RC_OK;
}

/* Before indexes of aborted transactions are made anew: a crash in the middle of that must not find a snapshot up to which they
 * are taken for complete. */
enum rc log_snapshots_forget(struct log *l, struct err *e)
{
    const int64_t all[] = {l->snapshot, l->disk.snapshot, l->snapshot_held};

    for (size_t i = 0; i < countof(all); i++)
        if (all[i] >= 0) remove_file(l, all[i], ".snapshot");
    l->snapshot = -1;
    return fs_sync_dir(l->store->fs, l->dir, e);
}

enum rc log_producers_load(struct log *l, struct err *e)
{
    AUTO(buf_fini) struct buf body = {0};
    char                 path[SEGMENT_PATH_BYTES];
    struct segment_place in = log_place(l);
    int64_t              from = l->segments_n ? l->segments[0]->base : l->start;      /* what DeleteRecords has hidden is still known */
    bool                 damaged;

    if (l->producers_loaded) return RC_OK;
    if (l->snapshot >= 0) {
        segment_path(&in, l->snapshot, ".snapshot", path);
        if (fs_load(l->store->fs, path, SNAPSHOT_BYTES_MAX, &body, e) || producers_decode(buf_view(&body), &l->producers, e)) {
            if (e->rc != RC_NOT_FOUND && e->rc != RC_CORRUPT) return e->rc;
            diag(DIAG_WARN, "log.snapshot_lost", KV_CSTR("file", path), KV_CSTR("why", e->text));
        } else {
            from = l->snapshot;
        }
    }
    if (log_aborted_load(l, from, &damaged, e)) goto fail;
    if (damaged) {
        producers_fini(&l->producers);
        from = l->segments_n ? l->segments[0]->base : l->start;
        if (log_snapshots_forget(l, e) || log_aborted_load(l, from, &damaged, e)) goto fail;
    }
    if (producers_scan(l, from, e)) goto fail;
    l->producers_loaded = true;
    return RC_OK;
fail:
    producers_fini(&l->producers);
    return e->rc;
}

enum rc log_snapshot_write(struct log *l, struct err *e)
{
    AUTO(buf_fini) struct buf body = {0};
    char                 path[SEGMENT_PATH_BYTES];
    struct segment_place in = log_place(l);

    if (!l->producers_loaded || l->snapshot == l->end) return RC_OK;
    segment_path(&in, l->end, ".snapshot", path);
    producers_encode(&l->producers, &body);
    if (fs_save(l->store->fs, path, buf_view(&body), false, e)) return e->rc;
    if (l->snapshot >= 0 && l->snapshot != l->disk.snapshot && l->snapshot != l->snapshot_held) remove_file(l, l->snapshot, ".snapshot");
    l->snapshot = l->end;
    l->snapshot_bytes = 0;
    return RC_OK;
}

enum rc log_producer_check(struct log *l, const struct producer_batch *b, struct producer_verdict *ret, struct err *e)
{
    if (log_ready(l, e)) return e->rc;
    if (log_producers_load(l, e)) return log_fail(l, e);
    producers_check(&l->producers, b, ret);
    if (ret->decision == PRODUCER_DUPLICATE) ret->seq = ret->last_offset < l->durable_end ? 0 : store_staged_seq(l->store);
    return RC_OK;
}

void log_producers_expire(struct log *l, int64_t now_ms, int64_t expire_ms)
{
    if (l->producers_loaded) producers_expire(&l->producers, now_ms, expire_ms);
}

struct producers *log_producers(struct log *l, struct err *e)
{
    if (log_ready(l, e)) return NULL;
    if (!log_producers_load(l, e)) return &l->producers;
    log_fail(l, e);
    return NULL;
}

/* ---- replay ---- */

static enum rc out_of_step(const struct log *l, const struct wal_record *r, struct err *e)
{
    return err_set(e, RC_CORRUPT, "wal record %" PRIu64 " has offset %" PRId64 ", the log ends at %" PRId64, r->seq, r->offset, l->end);
}

static enum rc replay_large(struct log *l, const struct wal_record *r, struct bytes payload, struct err *e)
{
    struct log_large_ref ref = {0};
    size_t               fixed = sizeof ref.head + 8;

    if (payload.n <= fixed || payload.n - fixed >= sizeof ref.file || r->offset != l->end) return out_of_step(l, r, e);
    memcpy(ref.head, payload.p, sizeof ref.head);
    ref.bytes = load_le64(payload.p + sizeof ref.head);
    memcpy(ref.file, payload.p + fixed, payload.n - fixed);
    if (log_write_large(l, &ref, e)) return log_fail(l, e);
    return RC_OK;
}

enum rc log_replay(struct log *l, const struct wal_record *r, struct bytes payload, struct err *e)
{
    struct batch_head h;
    bool              new_segment;

    /* The folder first: loading opens files in it. */
    if (r->kind == WAL_LOG_CREATE && !l->offline && log_make_folder(l, e)) return log_fail(l, e);
    if (log_ready(l, e)) return e->rc;
    if (l->rescued && (r->kind == WAL_LOG_START ? r->offset < l->start : r->kind != WAL_LOG_CREATE && r->offset < l->end)) return RC_OK;
    switch (r->kind) {
    case WAL_BATCH:
        if (!batch_head_decode(payload, &h) || h.bytes != payload.n || r->offset != l->end || h.base_offset != l->end) return out_of_step(l, r, e);
        new_segment = (r->flags & WAL_FLAG_ROLL) && !(log_active(l) && log_active(l)->base == l->end && !log_active(l)->size);
        if (!log_active(l)) new_segment = true;
        if (log_write(l, payload, new_segment, e)) return log_fail(l, e);
        return RC_OK;
    case WAL_LOG_START:
        if (r->offset < l->start || r->offset > l->end) return out_of_step(l, r, e);
        if (log_move_start(l, r->offset, e)) return log_fail(l, e);
        return RC_OK;
    case WAL_LOG_CREATE:
        store_dirty(l->store, l);
        return RC_OK;
    case WAL_LARGE: return replay_large(l, r, payload, e);
    case WAL_META: case WAL_LOG_DELETE: break;
    }
    return err_set(e, RC_CORRUPT, "wal record %" PRIu64 " is of kind %d", r->seq, (int)r->kind);
}

/* What is left of a segment file that replay did not take up, or not to its end. */
static enum rc cut_file(struct log *l, int64_t base, struct err *e)
{
    struct segment_place in = log_place(l);
    struct segment      *s = NULL;
    uint64_t             length = 0;
    struct file         *f;

    for (size_t k = l->segments_n; k-- > 0 && !s;)
        if (l->segments[k]->base == base) s = l->segments[k];
    if (!s) {
        remove_segment_files(l, base);
        return RC_OK;
    }
    if (s->base < l->disk.segment_base) return RC_OK;
    if (segment_file(s, &in, false, &f, e)) return e->rc == RC_NOT_FOUND && !s->size ? RC_OK : e->rc;
    if (file_size(f, &length, e)) return e->rc;
    if (length <= s->size) return RC_OK;
    l->store->stats.cut_bytes += length - s->size;
    s->cut = true;
    return file_truncate(f, s->size, e);
}

enum rc log_replay_end(struct log *l, bool cut, struct err *e)
{
    for (size_t i = 0; cut && i < l->found->logs.n; i++)
        if (cut_file(l, l->found->logs.v[i], e)) return e->rc;
    if (l->found) remove_strays(l, l->found);
    found_drop(l);
    store_set_durable(l);
    return RC_OK;
}
