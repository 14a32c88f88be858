/* Design note: an append patches the batch's header, writes it to the newest segment through the page cache, or holds it for
 * that (log_tail.c), and stages the same bytes as a wal record. Nothing waits for a disk here. When the segment cannot take
 * the bytes (disk full), the file is cut back and nothing was staged: the offset was never given.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/diag.h"
#include "base/rng.h"
#include "base/uuid.h"
#include "broker/store_core.h"
#include <inttypes.h>
#include <stdio.h>

const struct log_config log_config_default = {
    .segment_bytes = 1u << 30,
    .segment_index_bytes = 10u << 20,
    .index_interval_bytes = 4096,
    .segment_ms = 7 * 24 * 3600 * 1000ll,
    .retention_ms = 7 * 24 * 3600 * 1000ll,
    .retention_bytes = -1,
    .max_compaction_lag_ms = INT64_MAX,
    .delete_retention_ms = 24 * 3600 * 1000ll,
    .min_cleanable_dirty_ratio = 0.5,
    .cleanup = LOG_CLEANUP_DELETE,
};

struct str log_topic(const struct log *l)                      { return str_of(l->topic); }
const struct uuid *log_topic_id(const struct log *l)       { return &l->id; }
uint32_t log_partition(const struct log *l)                    { return l->partition; }
void     log_set_owner(struct log *l, void *owner)             { l->owner = owner; }
void    *log_owner(const struct log *l)                        { return l->owner; }
void     log_set_config(struct log *l, const struct log_config *c) { l->config = *c; }
int64_t  log_start(const struct log *l)                        { return l->start; }
uint64_t log_start_seq(const struct log *l)                    { return l->start_seq; }
int64_t  log_end(const struct log *l)                          { return l->end; }
bool     log_is_of_bus(const struct log *l, int64_t offset)     { return l->bus_from >= 0 && offset >= l->bus_from; }
int64_t  log_durable_end(const struct log *l)                  { return l->durable_end; }
int32_t  log_epoch(const struct log *l)                        { return (int32_t)l->store->wal.start_number; }

enum rc log_fail(struct log *l, struct err *e)
{
    err_in(e, "%s-%" PRIu32, l->topic, l->partition);
    switch (e->rc) {
    case RC_OVERLOAD: case RC_DISK_FULL: case RC_TOO_LARGE: case RC_INVALID: case RC_FATAL: return e->rc;
    case RC_OK: case RC_NOT_FOUND: case RC_EXISTS: case RC_TIMEOUT: case RC_CANCELLED: case RC_UNAVAILABLE: case RC_LOCKED:
    case RC_DENIED: case RC_AUTH: case RC_UNSUPPORTED: case RC_UPSTREAM: case RC_UNSELECTED: e->rc = RC_IO; break;
    case RC_IO: case RC_CORRUPT: break;
    }
    if (!l->offline) {
        l->offline = xnew(struct err);
        *l->offline = *e;
        l->store->stats.logs_offline++;
        diag(DIAG_ERROR, "log.offline", KV_CSTR("topic", l->topic), KV_U64("partition", l->partition), KV_CSTR("why", e->text));
    }
    return e->rc;
}

enum rc log_ready(struct log *l, struct err *e)
{
    if (l->offline) {
        *e = *l->offline;
        return e->rc;
    }
    if (l->loaded) return RC_OK;
    if (log_load(l, e)) return log_fail(l, e);
    return RC_OK;
}

enum rc log_health(struct log *l, struct err *e) { return log_ready(l, e); }

enum rc log_size(struct log *l, uint64_t *ret, struct err *e)
{
    uint64_t sum = 0;

    if (log_ready(l, e)) return e->rc;
    for (size_t i = 0; i < l->segments_n; i++)
        if (i + 1 == l->segments_n || l->segments[i + 1]->base > l->start) sum += l->segments[i]->size;
    *ret = sum;
    return RC_OK;
}

/* ---- segments ---- */

struct segment *log_segment_add(struct log *l, int64_t base)
{
    struct segment *s = xnew(struct segment);

    segment_init(s, base);
    if (l->segments_n == l->segments_cap) {
        l->segments_cap = l->segments_cap ? l->segments_cap * 2 : 1;
        l->segments = xrealloc(l->segments, l->segments_cap, sizeof *l->segments);
    }
    l->segments[l->segments_n++] = s;
    return s;
}

void log_segments_free(struct log *l)
{
    for (size_t i = 0; i < l->segments_n; i++) {
        segment_fini(l->segments[i]);
        free(l->segments[i]);
    }
    free(l->segments);
    l->segments = NULL;
    l->segments_n = l->segments_cap = 0;
}

void log_count_closed(const struct log *l, int64_t start, int64_t *ret_n, uint64_t *ret_bytes)
{
    *ret_n = 0, *ret_bytes = 0;
    for (size_t i = 0; i + 1 < l->segments_n; i++) {
        if (l->segments[i + 1]->base <= start || !l->segments[i]->size) continue;
        ++*ret_n;
        *ret_bytes += l->segments[i]->size;
    }
}

void log_put_state(const struct log *l, struct log_state *ret)
{
    const struct segment *active = log_active(l);

    *ret = l->disk;
    ret->start = l->start;
    ret->end = l->end;
    ret->name = str_of(l->topic);
    ret->rescued = l->rescue_waits;
    if (!l->loaded) return;
    ret->segment_base = active ? active->base : l->end;
    ret->segment_bytes = active ? active->size : 0;
    ret->offsets_n = active ? active->offsets.written : 0;
    ret->times_n = active ? active->times.written : 0;
    ret->snapshot = l->snapshot;
    ret->cleaned = l->cleaned;
    log_count_closed(l, l->start, &ret->closed_n, &ret->closed_bytes);
}

/* A random part of segment.jitter.ms, so that segments of many partitions do not end at once. */
static int64_t jitter_of(const struct log_config *c)
{
    int64_t  most = MIN(c->segment_jitter_ms, c->segment_ms);
    uint64_t r;

    if (most <= 0) return 0;
    random_bytes(&r, sizeof r);
    return (int64_t)(r % (uint64_t)most);
}

/* Ends the newest segment. Its indexes and the producers are written now and synced by the next checkpoint. */
static enum rc roll(struct log *l, struct err *e)
{
    struct segment_place in = log_place(l);

    if (log_active(l)) {
        if (log_settle(l, e)) return e->rc;
        if (segment_seal(log_active(l), &in, e)) return e->rc;
        if (log_snapshot_write(l, e)) return e->rc;
    }
    log_segment_add(l, l->end);
    l->rolled_ms = clock_wall_ms(l->store->opt.clock);
    l->jitter_ms = jitter_of(&l->config);
    l->roll_next = false;
    return RC_OK;
}

static bool must_roll(const struct log *l, const struct batch_head *h)
{
    const struct segment *a = log_active(l);
    int64_t  age_max = l->config.segment_ms - l->jitter_ms, now = clock_wall_ms(l->store->opt.clock);
    uint64_t index_bytes;

    if (!a) return true;
    if (!a->size) return a->base != l->end;
    if (l->config.cleanup & LOG_CLEANUP_COMPACT) age_max = MIN(age_max, l->config.max_compaction_lag_ms);
    index_bytes = (uint64_t)MAX(index_count(&a->offsets) * 8ull, index_count(&a->times) * 12ull) + 12;
    return l->roll_next || a->size + h->bytes > l->config.segment_bytes || index_bytes > l->config.segment_index_bytes ||
           l->end + h->last_offset_delta - a->base > INT32_MAX ||
           (h->max_timestamp >= 0 && a->first_time >= 0 && h->max_timestamp - a->first_time > age_max) || now - l->rolled_ms > age_max;
}

/* The batch lies at `at` of the newest segment: everything that is remembered about it. */
static enum rc count_batch(struct log *l, struct segment *s, const struct segment_place *in, const struct batch_head *h, struct bytes batch,
                           uint64_t at, struct err *e)
{
    if (segment_note(s, in, h, at, l->config.index_interval_bytes, e)) return e->rc;
    if (l->producers_loaded && log_note_producer(l, s, h, batch, e)) return e->rc;
    if (epochs_add(&l->epochs, h->leader_epoch, h->base_offset)) l->epochs_changed = true;
    l->snapshot_bytes += h->bytes;
    l->end = h->last_offset + 1;
    store_dirty(l->store, l);
    return RC_OK;
}

enum rc log_write(struct log *l, struct bytes batch, bool new_segment, struct err *e)
{
    struct segment_place in = log_place(l);
    struct batch_head    h;
    struct segment      *s;
    struct segment_mark  before;
    bool                 hold;

    must(batch_head_decode(batch, &h) && h.base_offset == l->end);
    if (new_segment && roll(l, e)) return e->rc;
    s = log_active(l);
    before = segment_mark(s);
    /* Replay writes what is there already, too: if a sync had failed, the page cache has it and takes it for written, and only a
     * page that changes is ever synced again. What lies beyond is cut when replay ends. */
    hold = log_may_hold(l, batch.n);
    if (!hold && log_settle_with(l, batch, e)) return e->rc;
    if (hold) s->size += batch.n;
    if (!count_batch(l, s, &in, &h, batch, before.size, e)) {
        if (hold) log_hold(l, batch, h.base_offset);
        return RC_OK;
    }
    segment_back(s, &in, &before);
    return e->rc;
}

/* ---- batches that are segments ---- */

/* Gives the file, written and synced before, its name and its place in the log. */
static enum rc adopt_file(struct log *l, const struct segment_place *in, struct segment *s, const struct log_large_ref *ref, struct err *e)
{
    char         from[STORE_PATH_BYTES], to[SEGMENT_PATH_BYTES];
    struct file *f;
    uint64_t     length;

    must((size_t)snprintf(from, sizeof from, "%s/%s", in->dir, ref->file) < sizeof from);
    segment_path(in, s->base, ".log", to);
    handles_drop(&s->handle);
    if (fs_rename(l->store->fs, from, to, e) && !(e->rc == RC_NOT_FOUND && log_replaying(l))) return e->rc;
    if (segment_file(s, in, false, &f, e) || file_size(f, &length, e)) return e->rc;
    if (length < ref->bytes) return err_set(e, RC_CORRUPT, "%s: %" PRIu64 " bytes, %" PRIu64 " were synced", to, length, ref->bytes);
    return file_write(f, bytes_of(ref->head, sizeof ref->head), 0, e);
}

enum rc log_write_large(struct log *l, const struct log_large_ref *ref, struct err *e)
{
    struct segment_place in = log_place(l);
    struct batch_head    h;
    struct segment      *s = log_active(l);
    struct segment_mark  before;

    if (!batch_head_decode(bytes_of(ref->head, sizeof ref->head), &h) || h.base_offset != l->end || h.bytes != ref->bytes)
        return err_set(e, RC_CORRUPT, "a reference to a large batch that makes no sense");
    if (!(s && s->base == l->end && !s->size) && roll(l, e)) return e->rc;
    s = log_active(l);
    before = segment_mark(s);
    if (adopt_file(l, &in, s, ref, e)) return e->rc;
    s->size = ref->bytes;
    l->roll_next = true;
    if (!count_batch(l, s, &in, &h, bytes_of(ref->head, sizeof ref->head), 0, e)) return RC_OK;
    segment_back(s, &in, &before);
    return e->rc;
}

/* ---- appending ---- */

/* Moves a folder out of the way that belongs to a topic of the same name which is gone, or to an attempt nobody knows of. */
static enum rc folder_set_aside(struct log *l, struct err *e)
{
    char    aside[STORE_PATH_BYTES];
    uint8_t id[8];

    if (l->store->delete_seq > l->store->durable_seq)             /* a crash could still bring that topic back */
        return err_set(e, RC_OVERLOAD, "the folder of a topic of this name is there until its deletion is on the disk");
    random_bytes(id, sizeof id);
    must(snprintf(aside, sizeof aside, "%s/deleted.%016" PRIx64, l->store->dir, load_be64(id)) < STORE_PATH_BYTES);
    if (fs_rename(l->store->fs, l->dir, aside, e)) return e->rc;
    buf_append(&l->store->gone, bytes_of(strrchr(aside, '/') + 1, strlen(strrchr(aside, '/') + 1) + 1));
    return RC_OK;
}

enum rc log_make_folder(struct log *l, struct err *e)
{
    AUTO(buf_fini) struct buf want = {0}, have = {0};
    struct fs *fs = l->store->fs;
    char       path[STORE_PATH_BYTES + 32], text[UUID_TEXT_LEN + 1];

    if (l->folder_made) return RC_OK;
    uuid_to_text(&l->id, text);
    buf_printf(&want, "version: 0\ntopic_id: %s", text);
    snprintf(path, sizeof path, "%s/partition.metadata", l->dir);
    checkpoint_spare(l->store, strrchr(l->dir, '/') + 1);            /* what was to be removed under this name is set aside below */
    if (fs_mkdir(fs, l->dir, e)) {
        if (e->rc != RC_EXISTS) return e->rc;
        if (log_replaying(l) && fs_load(fs, path, 4096, &have, e) && e->rc != RC_NOT_FOUND) return e->rc;
        if (log_replaying(l) && bytes_eq(buf_view(&have), buf_view(&want))) {
            l->folder_made = l->folder_new = true;
            return RC_OK;
        }
        if (folder_set_aside(l, e) || fs_mkdir(fs, l->dir, e)) return e->rc;
    }
    if (fs_save(fs, path, buf_view(&want), false, e)) return e->rc;
    l->folder_made = l->folder_new = true;
    return RC_OK;
}

static enum rc stage_create(struct log *l, struct err *e)
{
    struct wal_record r = {.kind = WAL_LOG_CREATE, .topic = l->id, .partition = l->partition};

    if (log_make_folder(l, e)) return e->rc;
    store_stage(l->store, &r, str_bytes(str_of(l->topic)), (struct bytes){0});
    l->known = true;
    store_dirty(l->store, l);                                     /* also if the append fails: the next checkpoint takes the place of this record */
    return RC_OK;
}

/* Room in the wal and on the disk, and what a log needs before its first append. */
static enum rc prepare(struct log *l, size_t payload, size_t disk, unsigned flags, struct err *e)
{
    struct store *s = l->store;

    if (!wal_has_room(&s->wal, payload + APPEND_OVERHEAD)) {
        if (!wal_ring_is_short(&s->wal, payload + APPEND_OVERHEAD)) return err_set(e, RC_OVERLOAD, "the next group of the write-ahead log is full");
        if (payload > store_inline_now(s) && store_disk_is_full(s))
            return err_set(e, RC_DISK_FULL, "disk full: no room for a larger write-ahead log; " DISK_REMEDY);
        store_want_ring(s, store_ring_wanted(s, payload));
        store_checkpoint_soon(s);
        return err_set(e, RC_OVERLOAD, "the write-ahead log is full until its checkpoint ends");
    }
    if (disk && store_room_for_disk(s, disk, flags, e)) return e->rc;
    if (log_producers_load(l, e)) return log_fail(l, e);
    if (!l->known && stage_create(l, e)) return log_fail(l, e);
    return RC_OK;
}

static void note_writer(struct log *l, int64_t base_offset, unsigned flags)
{
    if (!(flags & LOG_APPEND_OF_BUS)) l->bus_from = l->end;
    else if (l->bus_from < 0) l->bus_from = base_offset;
}

enum rc log_append(struct log *l, uint8_t *batch, size_t n, unsigned flags, struct log_appended *ret, struct err *e)
{
    struct store     *s = l->store;
    struct wal_record r = {.kind = WAL_BATCH, .topic = l->id, .partition = l->partition};
    struct batch_head h;
    bool              new_segment;

    if (store_usable(s, e) || log_ready(l, e)) return e->rc;
    if (n > store_inline_max(s)) return err_set(e, RC_TOO_LARGE, "a batch of %zu bytes does not go through the wal", n);
    if (n >= 8) store_be64(batch, (uint64_t)l->end);
    if (!batch_head_decode(bytes_of(batch, n), &h) || h.bytes != n) return err_set(e, RC_INVALID, "not one whole record batch");
    if (prepare(l, n, n, flags, e)) return e->rc;
    r.offset = l->end;                                            /* known only now: a log that is loaded may get what was rescued */
    new_segment = must_roll(l, &h);
    store_be32(batch + 12, s->wal.start_number);
    if (log_write(l, bytes_of(batch, n), new_segment, e)) return log_fail(l, e);
    if (log_active(l)->size == n) r.flags = WAL_FLAG_ROLL;
    note_writer(l, h.base_offset, flags);
    ret->seq = store_stage(s, &r, bytes_of(batch, n), (struct bytes){0});
    ret->base_offset = h.base_offset;
    ret->last_offset = h.last_offset;
    store_advance(s, l);
    return RC_OK;
}

enum rc log_stage_large(struct log *l, struct log_large_ref *ref, unsigned flags, struct log_appended *ret, struct err *e)
{
    struct store     *s = l->store;
    struct wal_record r = {.kind = WAL_LARGE, .topic = l->id, .partition = l->partition};
    struct batch_head h;
    uint8_t           size[8];
    struct buf        head = {0};

    if (store_usable(s, e) || log_ready(l, e) || prepare(l, sizeof ref->head + 8 + strlen(ref->file), 0, flags, e)) return e->rc;
    r.offset = l->end;
    batch_assign(ref->head, l->end, (int32_t)s->wal.start_number);
    must(batch_head_decode(bytes_of(ref->head, sizeof ref->head), &h));
    if (log_write_large(l, ref, e)) return log_fail(l, e);
    note_writer(l, h.base_offset, flags);
    store_le64(size, ref->bytes);
    buf_append(&head, bytes_of(ref->head, sizeof ref->head));
    buf_append(&head, bytes_of(size, sizeof size));
    ret->seq = store_stage(s, &r, buf_view(&head), bytes_of(ref->file, strlen(ref->file)));
    buf_fini(&head);
    ret->base_offset = h.base_offset;
    ret->last_offset = h.last_offset;
    store_advance(s, l);
    return RC_OK;
}

/* ---- start offset ---- */

enum rc log_move_start(struct log *l, int64_t start, struct err *e)
{
    must(start >= l->start && start <= l->end);
    if (l->segments_n > 1 || start == l->end) {                   /* what producers did stays known when their batches go */
        if (log_producers_load(l, e) || log_snapshot_write(l, e)) return e->rc;
    }
    if (start == l->end && log_active(l) && log_active(l)->size && roll(l, e)) return e->rc;    /* so that all files can go */
    l->start = start;
    if (epochs_cut_start(&l->epochs, start)) l->epochs_changed = true;
    store_dirty(l->store, l);
    return RC_OK;
}

enum rc log_delete_records(struct log *l, int64_t offset, uint64_t *ret_seq, struct err *e)
{
    struct wal_record r = {.kind = WAL_LOG_START, .topic = l->id, .partition = l->partition, .offset = offset};

    if (store_usable(l->store, e) || log_ready(l, e)) return e->rc;
    if (offset < 0 || offset > l->durable_end)
        return err_set(e, RC_INVALID, "offset %" PRId64 " is not between 0 and %" PRId64, offset, l->durable_end);
    *ret_seq = store_staged_seq(l->store);
    if (offset <= l->start) return RC_OK;
    if (!store_has_room(l->store, 0)) return err_set(e, RC_OVERLOAD, "the write-ahead log is full until its checkpoint ends");
    if (log_move_start(l, offset, e)) return log_fail(l, e);
    l->start_seq = *ret_seq = store_stage(l->store, &r, (struct bytes){0}, (struct bytes){0});
    store_checkpoint_soon(l->store);
    return RC_OK;
}
