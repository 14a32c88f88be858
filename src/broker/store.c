/* Design note: the turn. Appends copy their bytes into the building group; store_turn_end() launches it when no write is in
 * flight, so while the disk works the next group fills, and the size of groups follows the speed of the disk without any
 * timer. When a write has landed, the ends of the logs in it become durable, and whoever waits for its seq is told.
 *
 * A checkpoint is captured between two groups: everything staged so far goes into the group launched right then, and what
 * the logs look like is remembered; when that group has landed, a worker syncs the segments, writes the checkpoint and the
 * superblock, and the ring's space is free again. Appends go on all the time.
 *
 * What can go wrong: a failed wal write or segment sync ends acknowledgement for the whole folder, at once and until the
 * next start, because nobody knows what the disk kept. SPDX-License-Identifier: Apache-2.0 */
#include "base/diag.h"
#include "broker/store_core.h"
#include <inttypes.h>
#include <stdio.h>

enum {
    CHECKPOINT_QUICK_MS = 5000,                /* checkpoints for want of room closer than this make the ring grow */
    GROW_FACTOR = 4,
    DISK_CHECK_MS = 1000,
    DISK_CHECK_BYTES = 16 << 20,
    CLEANER_KEYS_BYTES = 128 << 20,
    INLINE_SHARE = 4                           /* of the ring's largest size, for one record */
};
static const uint64_t DISK_RESERVE = 64u << 20;

/* ---- state ---- */

enum rc store_usable(const struct store *s, struct err *e)
{
    if (!s->fatal) return RC_OK;
    *e = s->fatal_why;
    return e->rc;
}

enum rc store_fail(struct store *s, const struct err *why)
{
    if (s->fatal) return RC_FATAL;
    s->fatal = true;
    err_set(&s->fatal_why, RC_FATAL, "storage error, nothing is acknowledged until a restart: %s", why->text);
    s->fatal_why.retry = false;
    diag(DIAG_ERROR, "store.fatal", KV_CSTR("dir", s->dir), KV_CSTR("why", why->text));
    if (s->opt.fatal && !s->closing) s->opt.fatal(s->opt.ctx, &s->fatal_why);
    return RC_FATAL;
}

bool store_is_fatal(const struct store *s)                { return s->fatal; }
uint64_t store_staged_seq(const struct store *s)          { return s->wal.seq_next - 1; }
uint64_t store_durable_seq(const struct store *s)         { return s->durable_seq; }
uint32_t store_start_number(const struct store *s)        { return s->wal.start_number; }
struct bytes store_folder_id(const struct store *s)       { return bytes_of(s->wal.super.folder_id, sizeof s->wal.super.folder_id); }

bool store_has_room(const struct store *s, size_t bytes)
{
    return wal_has_room(&s->wal, MIN(bytes, (size_t)(s->wal.super.ring.bytes / INLINE_SHARE)) + APPEND_OVERHEAD);
}

size_t store_inline_max(const struct store *s)
{
    return (size_t)MIN((uint64_t)LOG_BATCH_INLINE_MAX, s->wal.bytes_max / INLINE_SHARE);
}

size_t store_inline_now(const struct store *s)
{
    return MIN(store_inline_max(s), (size_t)(s->wal.super.ring.bytes / INLINE_SHARE));
}

void store_path(const struct store *s, const char *name, char ret[STORE_PATH_BYTES])
{
    must(snprintf(ret, STORE_PATH_BYTES, "%s/%s", s->dir, name) < STORE_PATH_BYTES);
}

void store_stats(struct store *s, struct store_stats *ret)
{
    *ret = s->stats;
    ret->wal_bytes = s->wal.super.ring.bytes;
    ret->wal_used_bytes = wal_used(&s->wal);
    ret->files_open = s->handles.n;
    ret->disk_free_bytes = s->disk_free;
    ret->disk_total_bytes = s->disk_total;
    ret->wal_is_direct = file_is_direct(s->wal.file);
}

void store_cleaner_limits(struct store *s, uint64_t keys_bytes, uint64_t bytes_per_second)
{
    s->cleaner_keys_bytes = keys_bytes ? keys_bytes : CLEANER_KEYS_BYTES;
    s->cleaner_bytes_per_second = bytes_per_second;
}

/* ---- work ---- */

void store_work(struct store *s, struct work *w, uint32_t lane, void (*run)(struct work *), void (*done)(struct work *))
{
    w->run = run;
    w->done = done;
    w->reply_to = s->opt.mailbox;
    w->lane = lane;
    s->jobs++;
    workers_submit(s->opt.workers, w);
}

void store_work_done(struct store *s)
{
    must(s->jobs > 0);
    s->jobs--;
}

/* ---- logs ---- */

struct log_key { struct uuid id; uint32_t partition; };

static struct bytes key_of(struct log_key *k, const struct uuid *id, uint32_t partition)
{
    memset(k, 0, sizeof *k);
    k->id = *id;
    k->partition = partition;
    return bytes_of(k, sizeof *k);
}

struct log *store_log_find(struct store *s, const struct uuid *id, uint32_t partition)
{
    struct log_key k;

    return map_get(&s->logs, key_of(&k, id, partition));
}

struct log *store_log_new(struct store *s, const struct uuid *id, struct str topic, uint32_t partition)
{
    struct log    *l = xnew(struct log);
    struct log_key k;
    size_t         dir_n;

    l->store = s;
    l->id = *id;
    l->partition = partition;
    l->topic = xcalloc(1, topic.n + 1);
    memcpy(l->topic, topic.p, topic.n);
    dir_n = strlen(s->dir) + topic.n + 16;
    l->dir = xcalloc(1, dir_n);
    snprintf(l->dir, dir_n, "%s/%s-%" PRIu32, s->dir, l->topic, partition);
    l->config = log_config_default;
    l->disk = (struct log_state){.topic = *id, .partition = partition, .snapshot = -1, .closed_n = STATE_CLOSED_UNKNOWN};
    l->snapshot = l->snapshot_held = -1;
    l->refs = 1;
    l->bus_from = -1;
    list_init(&l->dirty_link);
    list_init(&l->held_link);
    map_put(&s->logs, key_of(&k, id, partition), l);
    return l;
}

struct log *store_log(struct store *s, const struct uuid *id, struct str topic, uint32_t partition)
{
    struct log *l = store_log_find(s, id, partition);

    return l ? l : store_log_new(s, id, topic, partition);
}

void log_unref(struct log *l)
{
    if (--l->refs) return;
    log_segments_free(l);
    buf_fini(&l->held);
    found_drop(l);
    epochs_fini(&l->epochs);
    producers_fini(&l->producers);
    free(l->offline);
    free(l->topic);
    free(l->dir);
    free(l);
}

void store_log_forget(struct store *s, struct log *l)
{
    struct log_key k;

    must(map_del(&s->logs, key_of(&k, &l->id, l->partition)) == l);
    l->deleted = true;
    if (l->offline) s->stats.logs_offline--;
    l->dirty = false;
    list_remove(&l->dirty_link);
    log_held_drop(l);
    log_segments_free(l);                                         /* closes the files */
    l->loaded = false;
    log_unref(l);
}

enum rc store_log_delete(struct store *s, struct log **log, uint64_t *ret_seq, struct err *e)
{
    struct log       *l = *log;
    struct wal_record r = {.kind = WAL_LOG_DELETE, .topic = l->id, .partition = l->partition};

    if (store_usable(s, e)) return e->rc;
    if (!store_has_room(s, 0)) return err_set(e, RC_OVERLOAD, "the write-ahead log is full until its checkpoint ends");
    *ret_seq = store_staged_seq(s);
    *log = NULL;
    if (l->known) {
        *ret_seq = s->delete_seq = store_stage(s, &r, (struct bytes){0}, (struct bytes){0});
        store_gone(s, l);
        store_checkpoint_soon(s);
    }
    store_log_forget(s, l);
    return RC_OK;
}

void store_logs_each(struct store *s, bool (*fn)(void *ctx, struct log *log), void *ctx)
{
    struct bytes key;
    void        *v;

    for (size_t at = 0; map_next(&s->logs, &at, &key, &v);)
        if (((struct log *)v)->known && !fn(ctx, v)) return;
}

void store_dirty(struct store *s, struct log *l)
{
    s->dirty_any = true;
    if (l->dirty) return;
    l->dirty = true;
    list_push(&s->dirty, &l->dirty_link);
}

void store_set_durable(struct log *l)
{
    const struct segment *a = log_active(l);

    l->durable_end = l->end;
    l->durable_segment = a ? a->base : l->end;
    l->durable_at = a ? a->size : 0;
}

/* The folder of a deleted log goes away when a checkpoint covers the deletion: until then replay may need it. */
void store_gone(struct store *s, const struct log *l)
{
    state_put_gone(&s->state_new, &l->id, l->partition);
    buf_printf(&s->gone, "%s-%" PRIu32, l->topic, l->partition);
    buf_append_byte(&s->gone, 0);
    s->dirty_any = true;
}

/* ---- staging ---- */

uint64_t store_stage(struct store *s, const struct wal_record *r, struct bytes head, struct bytes body)
{
    return wal_add(&s->wal, r, head, body);
}

void store_advance(struct store *s, struct log *l)
{
    struct advances *as = &s->staged;
    struct segment  *a = log_active(l);

    if (!l->advance_at) {
        if (as->n == as->cap) {
            as->cap = as->cap ? as->cap * 2 : 64;
            as->v = xrealloc(as->v, as->cap, sizeof *as->v);
        }
        l->refs++;
        l->advance_at = (uint32_t)++as->n;
    }
    as->v[l->advance_at - 1] = (struct advance){l, l->end, a->base, a->size};
}

enum rc store_meta_append(struct store *s, struct bytes record, uint64_t *ret_seq, struct err *e)
{
    struct wal_record r = {.kind = WAL_META};

    if (store_usable(s, e)) return e->rc;
    if (record.n > META_BYTES_MAX) return err_set(e, RC_TOO_LARGE, "a metadata record of %zu bytes", record.n);
    if (!wal_has_room(&s->wal, record.n)) {
        store_checkpoint_soon(s);
        return err_set(e, RC_OVERLOAD, "the write-ahead log is full until its checkpoint ends");
    }
    *ret_seq = store_stage(s, &r, record, (struct bytes){0});
    state_put_meta(&s->state_new, record);
    s->dirty_any = true;
    return RC_OK;
}

/* ---- the disk's room ---- */

static void disk_check(struct store *s)
{
    uint64_t   now = clock_mono_ms(s->opt.clock);
    struct err e;

    if (s->disk_checked_ms && now - s->disk_checked_ms < DISK_CHECK_MS && s->disk_spent < DISK_CHECK_BYTES) return;
    if (fs_space(s->fs, s->dir, &s->disk_free, &s->disk_total, &e)) {
        diag(DIAG_WARN, "store.disk_free_unknown", KV_CSTR("why", e.text));
        s->disk_free = 0;
    }
    s->disk_checked_ms = now | 1;
    s->disk_spent = 0;
}

static uint64_t disk_left(struct store *s)
{
    disk_check(s);
    return s->disk_free > s->disk_spent ? s->disk_free - s->disk_spent : 0;
}

bool store_disk_is_full(struct store *s)
{
    disk_check(s);
    return store_disk_was_full(s);
}

bool store_disk_was_full(const struct store *s) { return s->disk_free < s->disk_spent + s->wal.bytes_max + DISK_RESERVE; }

enum rc store_room_for_disk(struct store *s, uint64_t bytes, unsigned flags, struct err *e)
{
    uint64_t left = disk_left(s), floor = flags & LOG_APPEND_RESERVED ? 0 : s->wal.bytes_max + DISK_RESERVE;

    if (left < floor + bytes)
        return err_set(e, RC_DISK_FULL, "disk full: %" PRIu64 " MiB are free below %s, %" PRIu64 " MiB are kept in reserve; " DISK_REMEDY, left >> 20, s->dir,
                       (s->wal.bytes_max + DISK_RESERVE) >> 20);
    s->disk_spent += bytes;
    return RC_OK;
}

bool store_room_for_copy(struct store *s, uint64_t bytes) { return disk_left(s) >= bytes + DISK_RESERVE; }

/* ---- the ring's size ---- */

uint64_t store_ring_wanted(const struct store *s, size_t payload)
{
    uint64_t want = s->wal.super.ring.bytes;

    while (want < s->wal.bytes_max && want / INLINE_SHARE < payload + FS_ALIGN) want *= GROW_FACTOR;
    return MIN(want, s->wal.bytes_max);
}

static void grow_run(struct work *w)
{
    struct grow_job *j = container_of(w, struct grow_job, work);

    j->rc = wal_grow(&j->store->wal, j->store->wal.zeroed_bytes, j->bytes, &j->err);
}

static void grow_done(struct work *w)
{
    struct grow_job *j = container_of(w, struct grow_job, work);
    struct store    *s = j->store;

    store_work_done(s);
    s->growing = false;
    if (j->rc) {
        diag(DIAG_WARN, "wal.not_grown", KV_U64("bytes", j->bytes), KV_CSTR("why", j->err.text));
        return;
    }
    s->wal.zeroed_bytes = j->bytes;
    s->checkpoint_wanted = true;                                  /* it makes the new size hold */
}

void store_want_ring(struct store *s, uint64_t bytes)
{
    if (s->growing || s->fatal || bytes <= s->wal.zeroed_bytes || disk_left(s) < bytes - s->wal.zeroed_bytes + DISK_RESERVE) return;
    s->growing = true;
    s->grow_job.store = s;
    s->grow_job.bytes = bytes;
    store_work(s, &s->grow_job.work, LANE_CHECKPOINT, grow_run, grow_done);
}

/* ---- groups ---- */

static void wal_run(struct work *w)
{
    struct wal_job *j = container_of(w, struct wal_job, work);
    struct store   *s = j->store;
    uint64_t        from = clock_mono_us(s->opt.clock);

    j->rc = wal_group_write(&s->wal, &s->wal.flying, &j->err);
    j->us = clock_mono_us(s->opt.clock) - from;
}

static void advance_all(struct store *s)
{
    for (size_t i = 0; i < s->flying.n; i++) {
        struct advance *a = &s->flying.v[i];

        if (!a->log->deleted) {
            a->log->durable_end = a->end;
            a->log->durable_segment = a->segment;
            a->log->durable_at = a->at;
            if (s->opt.advanced && !s->closing) s->opt.advanced(s->opt.ctx, a->log);
        }
        log_unref(a->log);
    }
    s->flying.n = 0;
}

static void landed(struct store *s)
{
    s->stats.wal_groups++;
    s->stats.wal_written_bytes += s->wal.flying.n;
    s->stats.wal_write_us_last = s->wal_job.us;
    s->stats.wal_write_us_max = MAX(s->stats.wal_write_us_max, s->wal_job.us);
    s->durable_seq = wal_landed(&s->wal);
    s->landed_now = true;
    advance_all(s);
    if (s->opt.durable && !s->closing) s->opt.durable(s->opt.ctx, s->durable_seq);
    if (checkpoint_waits(s)) checkpoint_write(s);
}

static void wal_done(struct work *w)
{
    struct wal_job *j = container_of(w, struct wal_job, work);
    struct store   *s = j->store;

    store_work_done(s);
    if (s->fatal) return;
    if (j->rc) store_fail(s, &j->err);
    else landed(s);
}

/* Hands the building group to the disk. False when there is none, or it must wait. */
static bool launch(struct store *s)
{
    struct advances idle = s->flying;

    if (!wal_launch(&s->wal)) return false;
    for (size_t i = 0; i < s->staged.n; i++) s->staged.v[i].log->advance_at = 0;
    s->flying = s->staged;
    s->staged = idle;
    s->staged.n = 0;
    s->wal_job.store = s;
    store_work(s, &s->wal_job.work, LANE_WAL, wal_run, wal_done);
    return true;
}

void store_checkpoint_soon(struct store *s) { s->checkpoint_wanted = true; }

static void groups_turn(struct store *s, uint64_t now)
{
    if (s->fatal || s->wal.in_flight) return;
    if (!s->checkpoint && checkpoint_due(s, now)) {
        bool for_room = wal_used(&s->wal) >= s->wal.super.ring.bytes / 4;

        if (for_room && now - s->checkpoint_ms < CHECKPOINT_QUICK_MS) store_want_ring(s, MIN(s->wal.super.ring.bytes * GROW_FACTOR, s->wal.bytes_max));
        if (checkpoint_capture(s)) {
            bool launched = launch(s);

            checkpoint_place(s);
            if (!launched) checkpoint_write(s);
            return;
        }
    }
    launch(s);
}

void store_turn_end(struct store *s)
{
    uint64_t now = clock_mono_ms(s->opt.clock);

    compact_turn(s, now);
    groups_turn(s, now);
    store_held_turn(s, now);                                      /* while the disk works */
}

uint64_t store_next_ms(const struct store *s)
{
    uint64_t next = MIN(compact_next_ms(s), store_held_next_ms(s));

    if (s->fatal || s->checkpoint || s->wal.in_flight || !s->dirty_any) return next;     /* what is under way makes a turn by itself */
    return MIN(next, MAX(s->checkpoint_retry_ms, s->checkpoint_wanted ? clock_mono_ms(s->opt.clock) : s->checkpoint_ms + s->opt.checkpoint_every_ms));
}
