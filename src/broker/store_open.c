/* Design note: opening a folder is recovering it. Lock, superblock, checkpoint, then the wal twice: the first pass only looks
 * where it ends, whether it is damaged, and which logs it deletes; the second applies. Up to the second pass nothing is
 * changed. In the end one checkpoint, with a superblock that carries the next start number, makes it all durable; a new folder
 * needs none, its wal is made with the first start number.
 *
 * A log whose files are damaged or cannot be read goes offline; what only the wal still had of it is saved beside it, since
 * the wal will be reused (rescue.c). SPDX-License-Identifier: Apache-2.0 */
#include "base/diag.h"
#include "broker/store_core.h"
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>

enum {
    WAL_BYTES_FIRST = 4 << 20,
    WAL_BYTES_MAX = 256 << 20,
    CHECKPOINT_EVERY_MS = 30000,
    FILES_OPEN_MAX = 4096,                     /* and at most a quarter of what the process may open: connections need the rest */
    STATE_BYTES_MAX = 1 << 30
};

/* ---- reading the checkpoint ---- */

static struct log *log_of_state(struct store *s, const struct log_state *st, struct bytes epochs)
{
    struct log *l = store_log_find(s, &st->topic, st->partition);

    if (!l) l = store_log_new(s, &st->topic, st->name, st->partition);
    l->known = true;
    l->disk = *st;
    l->disk.name = (struct str){0};
    l->start = st->start;
    l->end = l->durable_end = st->end;
    l->rescue_waits = st->rescued;
    epochs_fini(&l->epochs);
    state_epochs(epochs, &l->epochs);
    return l;
}

static enum rc apply_frame(void *ctx, const struct state_frame *f, struct err *e)
{
    struct store *s = ctx;
    struct log   *l;

    switch (f->kind) {
    case STATE_META: return s->opt.meta_apply ? s->opt.meta_apply(s->opt.ctx, f->meta, e) : RC_OK;
    case STATE_LOG: log_of_state(s, &f->log, f->epochs); return RC_OK;
    case STATE_GONE:
        if ((l = store_log_find(s, &f->log.topic, f->log.partition))) store_log_forget(s, l);
        return RC_OK;
    case STATE_CLOSED:
        if (!(l = store_log_find(s, &f->log.topic, f->log.partition))) return RC_OK;
        l->disk.closed_n = f->log.closed_n;
        l->disk.closed_bytes = f->log.closed_bytes;
        return RC_OK;
    }
    return err_set(e, RC_CORRUPT, "checkpoint: a frame of kind %d", (int)f->kind);
}

static enum rc read_state(struct store *s, struct err *e)
{
    AUTO(buf_fini) struct buf body = {0};
    char path[STORE_PATH_BYTES], name[32];

    s->state_file = s->wal.super.state_file;
    s->state_bytes = s->wal.super.state_bytes;
    if (!s->state_file) return RC_OK;
    snprintf(name, sizeof name, "state.%" PRIu64, s->state_file);
    store_path(s, name, path);
    if (fs_load(s->fs, path, STATE_BYTES_MAX, &body, e)) {
        if (e->rc == RC_NOT_FOUND) err_set(e, RC_CORRUPT, "the checkpoint %s is missing; nothing was changed", name);
        return e->rc;
    }
    if (body.n < s->state_bytes)
        return err_set(e, RC_CORRUPT, "the checkpoint %s has %zu bytes of %" PRIu64 "; nothing was changed", name, body.n, s->state_bytes);
    return state_replay(bytes_of(body.p, (size_t)s->state_bytes), apply_frame, s, &s->state_format, e);
}

/* ---- replay ---- */

static enum rc note_deleted(void *ctx, const struct wal_record *r, struct bytes payload, struct err *e)
{
    struct map *deleted = ctx;
    uint8_t     key[20];

    (void)payload;
    (void)e;
    if (r->kind != WAL_LOG_DELETE) return RC_OK;
    memcpy(key, r->topic.b, 16);
    store_le32(key + 16, r->partition);
    map_put(deleted, bytes_of(key, sizeof key), deleted);
    return RC_OK;
}

struct replay { struct store *store; struct map deleted; };

static enum rc replay_log(struct replay *p, const struct wal_record *r, struct bytes payload, struct err *e)
{
    struct store *s = p->store;
    struct log   *l = store_log_find(s, &r->topic, r->partition);
    uint8_t       key[20];

    memcpy(key, r->topic.b, 16);
    store_le32(key + 16, r->partition);
    if (r->kind == WAL_LOG_DELETE) {
        if (!l) return RC_OK;
        store_gone(s, l);
        store_log_forget(s, l);
        return RC_OK;
    }
    if (r->kind == WAL_LOG_CREATE && !l && !state_name_ok(bytes_str(payload)))
        return err_set(e, RC_CORRUPT, "wal record %" PRIu64 " creates a log under a name that cannot be", r->seq);
    if (r->kind == WAL_LOG_CREATE && !l) l = store_log_new(s, &r->topic, bytes_str(payload), r->partition);
    if (!l) return err_set(e, RC_CORRUPT, "wal record %" PRIu64 " is for a log nobody created", r->seq);
    l->known = true;
    if (map_get(&p->deleted, bytes_of(key, sizeof key))) return RC_OK;
    if (!l->offline && !log_replay(l, r, payload, e)) return RC_OK;
    if (!l->offline) return e->rc;                                /* the disk is full, or records do not fit each other */
    store_dirty(s, l);
    return rescue_put(l, r, payload, e);
}

static enum rc apply_record(void *ctx, const struct wal_record *r, struct bytes payload, struct err *e)
{
    struct replay *p = ctx;
    struct store  *s = p->store;

    if (r->kind != WAL_META) return replay_log(p, r, payload, e);
    state_put_meta(&s->state_new, payload);
    s->dirty_any = true;
    return s->opt.meta_apply ? s->opt.meta_apply(s->opt.ctx, payload, e) : RC_OK;
}

static enum rc end_replay(struct store *s, struct err *e)
{
    list_each_safe(at, &s->dirty) {
        struct log *l = container_of(at, struct log, dirty_link);

        if (!l->offline && l->loaded && rescue_check(l, e)) {
            (void)log_fail(l, e);
            rescue_keep(l);
            continue;
        }
        if (!l->offline && l->loaded && log_replay_end(l, true, e)) return err_in(e, "%s-%" PRIu32, l->topic, l->partition);
    }
    return RC_OK;
}

static enum rc recover(struct store *s, struct err *e)
{
    struct replay    p = {.store = s};
    struct wal_found found;
    char             path[STORE_PATH_BYTES];
    enum rc          rc;

    store_path(s, "wal", path);
    s->replaying = true;
    if ((rc = wal_replay(s->fs, path, &s->wal, WAL_LOOK_NEAR, note_deleted, &p.deleted, &found, e)) == RC_OK &&
        (rc = read_state(s, e)) == RC_OK && (rc = wal_replay(s->fs, path, &s->wal, 0, apply_record, &p, &found, e)) == RC_OK)
        rc = end_replay(s, e);
    map_fini(&p.deleted);
    s->replaying = false;
    s->stats.replayed_records = found.records;
    s->stats.replayed_bytes = found.bytes;
    if (rc) return rc;
    s->stats.opened_clean = s->wal.super.clean;
    if (!s->wal.super.clean)
        diag(DIAG_INFO, "store.recovered", KV_CSTR("dir", s->dir), KV_U64("records", found.records), KV_U64("bytes", found.bytes),
             KV_U64("cut_bytes", s->stats.cut_bytes));
    return RC_OK;
}

/* ---- leftovers of a crash ---- */

struct leftovers { struct store *store; struct map known; };

static void note_known(struct store *s, struct map *known)
{
    struct bytes key;
    void        *v;

    for (size_t at = 0; map_next(&s->logs, &at, &key, &v);) map_put_str(known, str_of(strrchr(((struct log *)v)->dir, '/') + 1), v);
}

/* A folder of a log: it has a number at its end and says whose it is. */
static bool is_log_folder(const struct store *s, const char *name)
{
    char           path[STORE_PATH_BYTES];
    const char    *dash = strrchr(name, '-');
    struct fs_stat st;
    struct err     e;
    int64_t        number;

    if (!dash || !str_to_i64(str_of(dash + 1), &number)) return false;
    must((size_t)snprintf(path, sizeof path, "%s/%s/partition.metadata", s->dir, name) < sizeof path);
    return !fs_stat(s->fs, path, &st, &e);
}

static void note_leftover(void *ctx, const char *name)
{
    struct leftovers *x = ctx;
    char              current[32];

    snprintf(current, sizeof current, "state.%" PRIu64, x->store->state_file);
    if (map_get_str(&x->known, str_of(name))) return;
    if (!str_starts(str_of(name), STR("deleted.")) && !str_is(STR("wal.tmp"), name) &&
        !(str_starts(str_of(name), STR("state.")) && strcmp(name, current) != 0) && !is_log_folder(x->store, name))
        return;
    buf_append(&x->store->gone, bytes_of(name, strlen(name) + 1));
    x->store->dirty_any = true;
}

/* Folders whose log's deletion is on record, but which were not gone yet; files of a checkpoint that was not the last. */
static void find_leftovers(struct store *s)
{
    struct leftovers x = {.store = s};
    struct err       e;

    if (s->wal.super.clean) return;
    note_known(s, &x.known);
    if (fs_list(s->fs, s->dir, note_leftover, &x, &e)) diag(DIAG_WARN, "store.leftovers_unknown", KV_CSTR("why", e.text));
    map_fini(&x.known);
}

/* ---- opening ---- */

static void note_state(void *ctx, const char *name) { *(bool *)ctx |= str_starts(str_of(name), STR("state.")); }

static enum rc folder_is_ours(struct store *s, struct err *e)
{
    struct fs_stat st;
    char           path[STORE_PATH_BYTES];
    bool           has_state = false;

    if (fs_mkdir_all(s->fs, s->dir, e)) return e->rc;
    store_path(s, "lock", path);
    if (fs_lock(s->fs, path, &s->lock, e)) {
        if (e->rc == RC_LOCKED) err_set(e, RC_LOCKED, "the data folder %s is in use by another process", s->dir);
        return e->rc;
    }
    store_path(s, "wal", path);
    if (!fs_stat(s->fs, path, &st, e)) return RC_OK;
    if (e->rc != RC_NOT_FOUND) return e->rc;
    s->fresh = true;
    if (fs_list(s->fs, s->dir, note_state, &has_state, e)) return e->rc;
    return has_state ? err_set(e, RC_CORRUPT, "%s: there is a checkpoint but no wal; nothing was changed", s->dir) : RC_OK;
}

static enum rc open_wal(struct store *s, struct err *e)
{
    char     path[STORE_PATH_BYTES];
    uint64_t first = MIN(s->opt.wal_bytes_first, s->opt.wal_bytes_max);

    store_path(s, "wal", path);
    if (wal_open(s->fs, path, first, s->opt.wal_bytes_max, &s->wal, e)) return e->rc;
    if (s->fresh && fs_sync_dir(s->fs, s->dir, e)) return e->rc;
    if (!file_is_direct(s->wal.file) && s->fs == &fs_real)
        diag(DIAG_WARN, "wal.not_direct", KV_CSTR("dir", s->dir), KV_CSTR("why", "no O_DIRECT on this file system: plain writes with O_DSYNC"));
    return RC_OK;
}

/* The next start number, durable before anything is written under it: a new wal was made with it, and there is nothing to
 * make a checkpoint of. */
static enum rc begin_start(struct store *s, struct err *e)
{
    uint32_t last = s->wal.super.start_number;

    s->durable_seq = s->wal.seq_next - 1;
    if (s->fresh) {
        s->stats.opened_clean = true;
        s->checkpoint_ms = clock_mono_ms(s->opt.clock);
        return RC_OK;
    }
    if (last == INT32_MAX) return err_set(e, RC_UNSUPPORTED, "%s was started %" PRIu32 " times", s->dir, last);
    find_leftovers(s);
    s->wal.start_number = last + 1;
    return checkpoint_now(s, false, e);
}

static void store_free(struct store *s)
{
    struct bytes key;
    void        *v;

    checkpoint_drop(s);
    for (size_t i = 0; i < s->flying.n; i++) log_unref(s->flying.v[i].log);
    for (size_t i = 0; i < s->staged.n; i++) log_unref(s->staged.v[i].log);
    for (size_t at = 0; map_next(&s->logs, &at, &key, &v);) log_unref(v);
    map_fini(&s->logs);
    free(s->flying.v);
    free(s->staged.v);
    buf_fini(&s->state_new);
    buf_fini(&s->gone);
    buf_fini(&s->held_spare);
    wal_close(&s->wal);
    file_close(s->lock);
    free(s->dir);
    free(s);
}

enum rc store_open(const struct store_options *opt, struct store **ret, struct err *e)
{
    struct store *s = xnew(struct store);
    enum rc       rc;

    s->opt = *opt;
    if (!s->opt.wal_bytes_max) s->opt.wal_bytes_max = WAL_BYTES_MAX;
    if (!s->opt.wal_bytes_first) s->opt.wal_bytes_first = WAL_BYTES_FIRST;
    if (!s->opt.checkpoint_every_ms) s->opt.checkpoint_every_ms = CHECKPOINT_EVERY_MS;
    must(s->opt.wal_bytes_max % FS_ALIGN == 0 && s->opt.wal_bytes_first % FS_ALIGN == 0);
    s->dir = xstrdup(opt->dir);
    s->opt.dir = s->dir;
    s->fs = opt->fs;
    list_init(&s->dirty);
    list_init(&s->held);
    list_init(&s->compact_waits);
    store_cleaner_limits(s, 0, 0);
    handles_init(&s->handles, s->fs, opt->files_open_max ? opt->files_open_max : MIN((uint32_t)FILES_OPEN_MAX, fs_files_max() / 4));
    if ((rc = folder_is_ours(s, e)) || (rc = open_wal(s, e)) || (!s->fresh && (rc = recover(s, e))) || (rc = begin_start(s, e))) {
        store_free(s);
        return rc;
    }
    *ret = s;
    return RC_OK;
}

/* ---- closing ---- */

/* Until nothing of ours is on a worker. Runs other messages of the loop as well. */
static void wait_for_jobs(struct store *s)
{
    while (s->jobs) {
        struct pollfd p = {.fd = mailbox_fd(s->opt.mailbox), .events = POLLIN};

        if (!workers_run_one(s->opt.workers) && !mailbox_pending(s->opt.mailbox)) poll(&p, 1, 1000);
        mailbox_drain(s->opt.mailbox);
    }
}

static enum rc last_writes(struct store *s, struct err *e)
{
    struct bytes key;
    void        *v;

    while (!s->fatal && s->wal.building.n) {
        store_turn_end(s);
        wait_for_jobs(s);
    }
    if (store_usable(s, e)) return e->rc;
    for (size_t at = 0; map_next(&s->logs, &at, &key, &v);) {
        struct log *l = v;

        if (l->loaded && log_active(l) && (l->snapshot_bytes || log_active(l)->offsets.tail_n || log_active(l)->times.tail_n)) store_dirty(s, l);
    }
    return checkpoint_now(s, true, e);
}

struct store *store_close(struct store *s)
{
    struct err e;

    if (!s) return NULL;
    s->closing = true;
    wait_for_jobs(s);
    compact_turn(s, 0);
    if (last_writes(s, &e)) diag(DIAG_ERROR, "store.close", KV_CSTR("dir", s->dir), KV_CSTR("why", e.text));
    store_free(s);
    return NULL;
}

struct store *store_abandon(struct store *s)
{
    if (!s) return NULL;
    s->fatal = s->closing = true;
    wait_for_jobs(s);
    compact_turn(s, 0);
    store_free(s);
    return NULL;
}
