/* Design note: a checkpoint makes the wal forgettable. On the loop it remembers how every changed log looks (capture); on a
 * worker it syncs the files of those logs, appends what was remembered to the state file, syncs that, and writes the
 * superblock, which in one sector moves the begin of the wal. Back on the loop the space is free, and files that only an
 * older state needed are removed.
 *
 * A state file grows by what changed; when it has doubled (and a megabyte more) it is written anew under the next number
 * and the old one is removed after the superblock that names the new one.
 * Many files are synced by one syncfs: one journal commit instead of hundreds.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/diag.h"
#include "base/rng.h"
#include "broker/store_core.h"
#include <inttypes.h>
#include <stdio.h>

enum {
    SYNC_ALL_FROM = 24,                        /* from so many files on one syncfs is cheaper */
    INDEX_FLUSH_FROM = INDEX_TAIL / 2,         /* entries worth a write of their own; fewer are made again at the next start */
    SNAPSHOT_EVERY_BYTES = 8 << 20,            /* of a log: what a start reads at most to know its producers */
    STATE_REWRITE_BYTES = 1 << 20,
    RETRY_MS = 1000                            /* after a checkpoint that found no room */
};

struct captured { struct log *log; struct log_state state; uint32_t swaps; };
struct checkpoint {
    struct work work;
    struct store *store;
    struct buf frames;                         /* for the state file */
    struct buf changes;                        /* the metadata and deletions among them, should it come to nothing */
    struct buf files;                          /* to sync: NUL-ended paths; a folder ends in '/' */
    struct buf saves;                          /* small files to write afterwards: path NUL, u32 length, bytes */
    size_t files_n;
    struct captured *logs;
    size_t logs_n, logs_cap;
    struct buf gone;                           /* names to remove afterwards */
    struct wal_super super;
    uint64_t state_file;                       /* number; a new one when it differs from the store's */
    bool placed, running;
    bool harmless;                             /* the failure: nothing was in doubt, it may be tried again */
    enum rc rc;
    struct err err;
};

bool checkpoint_due(const struct store *s, uint64_t now_ms)
{
    if (s->replaying || now_ms < s->checkpoint_retry_ms) return false;
    return s->checkpoint_wanted || wal_used(&s->wal) >= s->wal.super.ring.bytes / 4 ||
           (s->dirty_any && now_ms - s->checkpoint_ms >= s->opt.checkpoint_every_ms);
}

/* ---- capture, on the loop ---- */

static void add_name(struct buf *b, const char *name) { buf_append(b, bytes_of(name, strlen(name) + 1)); }

static void add_file(struct checkpoint *c, const struct segment_place *in, int64_t base, const char *suffix)
{
    char path[SEGMENT_PATH_BYTES];

    segment_path(in, base, suffix, path);
    add_name(&c->files, path);
    c->files_n++;
}

/* Kafka's own file of epochs. Nobody here reads it, so it is written afterwards and not synced. */
static void add_epochs(struct checkpoint *c, struct log *l)
{
    struct buf text = {0};
    uint8_t    n[4];

    epochs_encode(&l->epochs, &text);
    buf_printf(&c->saves, "%s/leader-epoch-checkpoint", l->dir);
    buf_append_byte(&c->saves, 0);
    store_le32(n, (uint32_t)text.n);
    buf_append(&c->saves, bytes_of(n, sizeof n));
    buf_append(&c->saves, buf_view(&text));
    buf_fini(&text);
    l->epochs_changed = false;
}

/* Indexes and producers of the newest segment, when enough came together to be worth it. */
static enum rc flush_caches(struct log *l, const struct segment_place *in, bool all, struct err *e)
{
    struct segment *a = log_active(l);
    char            path[SEGMENT_PATH_BYTES];

    if (a && (all || a->offsets.tail_n >= INDEX_FLUSH_FROM)) {
        segment_path(in, a->base, ".index", path);
        if (index_flush(&a->offsets, in->handles, path, e)) return e->rc;
        segment_path(in, a->base, ".timeindex", path);
        if (index_flush(&a->times, in->handles, path, e)) return e->rc;
    }
    if (l->snapshot_bytes && (all || l->snapshot_bytes >= SNAPSHOT_EVERY_BYTES)) return log_snapshot_write(l, e);
    return RC_OK;
}

static void capture_files(struct checkpoint *c, struct log *l, bool all)
{
    struct segment_place in = log_place(l);
    struct err           e;

    if (flush_caches(l, &in, all, &e)) diag(DIAG_WARN, "log.caches_not_written", KV_CSTR("topic", l->topic), KV_CSTR("why", e.text));
    for (size_t i = l->segments_n; i-- > 0 && l->segments[i]->base >= l->disk.segment_base;) {
        struct segment *s = l->segments[i];
        bool            was_active = s->base == l->disk.segment_base;

        if (s->cut || (s->size && !(was_active && s->size == l->disk.segment_bytes))) add_file(c, &in, s->base, ".log");
        s->cut = false;
        if (s->offsets.written && !(was_active && s->offsets.written == l->disk.offsets_n)) add_file(c, &in, s->base, ".index");
        if (s->times.written && !(was_active && s->times.written == l->disk.times_n)) add_file(c, &in, s->base, ".timeindex");
    }
    for (size_t i = 0; i < l->segments_n; i++) {                  /* made anew behind a snapshot, also in older ones */
        if (l->segments[i]->aborted.dirty && l->segments[i]->aborted.n) add_file(c, &in, l->segments[i]->base, ".txnindex");
        l->segments[i]->aborted.dirty = false;
    }
    if (l->snapshot >= 0 && l->snapshot != l->disk.snapshot) add_file(c, &in, l->snapshot, ".snapshot");
    if (l->epochs_changed) add_epochs(c, l);
    if (l->folder_new) {
        buf_printf(&c->files, "%s/partition.metadata", l->dir);
        buf_append_byte(&c->files, 0);
        c->files_n++;
        l->folder_new = false;
    }
    if (l->loaded && l->segments_n) {
        buf_printf(&c->files, "%s/", l->dir);
        buf_append_byte(&c->files, 0);
        c->files_n++;
    }
}

static void capture_log(struct checkpoint *c, struct log *l, bool all)
{
    if (l->loaded) capture_files(c, l, all);
    if (c->logs_n == c->logs_cap) {
        c->logs_cap = c->logs_cap ? c->logs_cap * 2 : 16;
        c->logs = xrealloc(c->logs, c->logs_cap, sizeof *c->logs);
    }
    l->refs++;
    l->snapshot_held = l->snapshot;
    log_put_state(l, &c->logs[c->logs_n].state);
    c->logs[c->logs_n].swaps = l->swaps;
    c->logs[c->logs_n++].log = l;
    state_put_log(&c->frames, &c->logs[c->logs_n - 1].state, &l->epochs);
}

void store_meta_put(struct store_meta_sink *sink, struct bytes record) { state_put_meta(sink->into, record); }

/* The whole state, under a new number. */
static void capture_rewrite(struct checkpoint *c)
{
    struct store          *s = c->store;
    struct store_meta_sink sink = {&c->frames};
    struct bytes           key;
    void                  *v;

    c->state_file = s->state_file + 1;
    buf_clear(&c->frames);
    state_put_head(&c->frames);
    if (s->opt.meta_snapshot) s->opt.meta_snapshot(s->opt.ctx, &sink);
    for (size_t at = 0; map_next(&s->logs, &at, &key, &v);) {
        struct log      *l = v;
        struct log_state state;

        if (!l->known) continue;
        log_put_state(l, &state);
        state_put_log(&c->frames, &state, &l->epochs);
    }
}

static void drop_names(struct buf *b, const char *name)
{
    struct buf left = {0};

    if (!b->n) return;
    for (size_t at = 0; at < b->n; at += strlen((char *)b->p + at) + 1)
        if (strcmp((char *)b->p + at, name) != 0) add_name(&left, (char *)b->p + at);
    buf_fini(b);
    *b = left;
}

void checkpoint_spare(struct store *s, const char *name)
{
    drop_names(&s->gone, name);
    if (s->checkpoint) drop_names(&s->checkpoint->gone, name);
}

static void state_name(uint64_t number, char ret[32]) { snprintf(ret, 32, "state.%" PRIu64, number); }

static void checkpoint_later(struct store *s) { s->checkpoint_retry_ms = clock_mono_ms(s->opt.clock) + RETRY_MS; }

static void capture(struct store *s, bool all)
{
    struct checkpoint *c = xnew(struct checkpoint);
    char               path[STORE_PATH_BYTES];

    must(!s->checkpoint);
    s->checkpoint = c;
    c->store = s;
    c->state_file = s->state_file;
    if (!s->state_file) state_put_head(&c->frames);
    c->changes = buf_take(&s->state_new);
    buf_append(&c->frames, buf_view(&c->changes));
    while (!list_empty(&s->dirty)) {
        struct log *l = container_of(list_pop(&s->dirty), struct log, dirty_link);

        l->dirty = false;
        capture_log(c, l, all);
    }
    if (!s->state_file) c->state_file = 1;
    else if ((s->state_format && s->state_format != STATE_FORMAT) || s->state_bytes + c->frames.n > 2 * s->wal.super.state_base + STATE_REWRITE_BYTES) capture_rewrite(c);
    state_name(c->state_file, path);
    checkpoint_spare(s, path);                                    /* a crash in the middle of one may have left it */
    c->gone = buf_take(&s->gone);
    s->dirty_any = s->checkpoint_wanted = false;
    store_path(s, "", path);
    add_name(&c->files, path);                                    /* folders of logs were made or removed in it */
    c->files_n++;
}

bool checkpoint_capture(struct store *s)
{
    if (store_settle(s)) {
        capture(s, false);
        return true;
    }
    if (!s->fatal) checkpoint_later(s);
    return false;
}

void checkpoint_place(struct store *s)
{
    struct checkpoint *c = s->checkpoint;
    bool               anew = c->state_file != s->state_file;

    c->super = wal_super_next(&s->wal);
    c->super.state_file = c->state_file;
    c->super.state_bytes = (anew ? 0 : s->state_bytes) + c->frames.n;
    if (anew) c->super.state_base = c->frames.n;
    c->placed = true;
}

/* ---- writing, on a worker ---- */

/* A log may have been deleted meanwhile: what is not there needs no sync. */
static enum rc sync_one(struct fs *fs, const char *path, struct err *e)
{
    AUTO(file_closep) struct file *f = NULL;

    if (path[strlen(path) - 1] == '/') return fs_sync_dir(fs, path, e) == RC_NOT_FOUND ? RC_OK : e->rc;
    if (fs_open(fs, path, FS_READ | FS_WRITE, &f, e)) return e->rc == RC_NOT_FOUND ? RC_OK : e->rc;
    return file_datasync(f, e);
}

static enum rc sync_files(struct checkpoint *c, struct err *e)
{
    if (c->files_n >= SYNC_ALL_FROM) return fs_sync_all(c->store->fs, c->store->dir, e);
    for (size_t at = 0; at < c->files.n; at += strlen((char *)c->files.p + at) + 1) {
        e->rc = RC_OK;
        if (sync_one(c->store->fs, (char *)c->files.p + at, e)) return e->rc;
    }
    return RC_OK;
}

static void state_path(const struct store *s, uint64_t number, char ret[STORE_PATH_BYTES])
{
    char name[32];

    state_name(number, name);
    store_path(s, name, ret);
}

static enum rc write_state(struct checkpoint *c, struct err *e)
{
    AUTO(file_closep) struct file *f = NULL;
    const struct store *s = c->store;
    bool     anew = c->state_file != s->state_file;
    char     path[STORE_PATH_BYTES];

    state_path(s, c->state_file, path);
    c->harmless = true;
    if (fs_open(s->fs, path, FS_READ | FS_WRITE | (anew ? FS_CREATE | FS_TRUNC : 0), &f, e) ||
        file_write(f, buf_view(&c->frames), c->super.state_bytes - c->frames.n, e))
        return e->rc;
    c->harmless = false;
    if (file_sync(f, e)) return e->rc;
    return anew ? fs_sync_dir(s->fs, s->dir, e) : RC_OK;
}

static enum rc write_all(struct checkpoint *c, struct err *e)
{
    if (sync_files(c, e) || write_state(c, e)) return err_in(e, "checkpoint");
    return wal_super_write(&c->store->wal, &c->super, e);
}

static void checkpoint_run(struct work *w)
{
    struct checkpoint *c = container_of(w, struct checkpoint, work);

    c->rc = write_all(c, &c->err);
}

/* ---- afterwards, on the loop ---- */

struct errand { struct work work; struct store *store; struct buf saves, names; };     /* files to write, paths to remove */

static void write_saves(struct fs *fs, const struct buf *saves)
{
    for (size_t at = 0; at < saves->n;) {
        const char *path = (char *)saves->p + at;
        uint32_t    n;
        struct err  e;

        at += strlen(path) + 1;
        n = load_le32(saves->p + at);
        if (fs_save(fs, path, bytes_of(saves->p + at + 4, n), false, &e) && e.rc != RC_NOT_FOUND)
            diag(DIAG_WARN, "store.not_saved", KV_CSTR("path", path), KV_CSTR("why", e.text));
        at += 4 + n;
    }
}

static void errand_run(struct work *w)
{
    struct errand *r = container_of(w, struct errand, work);
    struct fs     *fs = r->store->fs;

    write_saves(fs, &r->saves);
    for (size_t at = 0; at < r->names.n; at += strlen((char *)r->names.p + at) + 1) {
        const char    *path = (char *)r->names.p + at;
        struct fs_stat st;
        struct err     e;
        enum rc        rc = fs_stat(fs, path, &st, &e);

        if (!rc) rc = st.is_dir ? fs_remove_dir(fs, path, &e) : fs_unlink(fs, path, &e);
        if (rc && rc != RC_NOT_FOUND) diag(DIAG_WARN, "store.leftover", KV_CSTR("path", path), KV_CSTR("why", e.text));
    }
}

static void errand_done(struct work *w)
{
    struct errand *r = container_of(w, struct errand, work);

    store_work_done(r->store);
    buf_fini(&r->saves);
    buf_fini(&r->names);
    free(r);
}

static void errand_send(struct store *s, struct buf *saves, struct buf *names)
{
    struct errand *r;

    if (!names->n && !saves->n) return;
    r = xnew(struct errand);
    r->store = s;
    r->saves = buf_take(saves);
    r->names = buf_take(names);
    store_work(s, &r->work, LANE_DELETE, errand_run, errand_done);
}

void store_remove(struct store *s, struct buf *names)
{
    struct buf none = {0};

    errand_send(s, &none, names);
}

/* A folder is renamed before it goes to the worker, so that its name is free at once. */
static void remove_gone(struct checkpoint *c, struct buf *paths)
{
    struct store *s = c->store;

    for (size_t at = 0; at < c->gone.n; at += strlen((char *)c->gone.p + at) + 1) {
        char       from[STORE_PATH_BYTES], name[40], to[STORE_PATH_BYTES];
        uint8_t    id[8];
        struct err e;

        store_path(s, (char *)c->gone.p + at, from);
        random_bytes(id, sizeof id);
        snprintf(name, sizeof name, "deleted.%016" PRIx64, load_be64(id));
        store_path(s, name, to);
        if (!fs_rename(s->fs, from, to, &e)) add_name(paths, to);
        else if (e.rc != RC_NOT_FOUND) diag(DIAG_WARN, "store.leftover", KV_CSTR("path", from), KV_CSTR("why", e.text));
    }
}

/* Unlinking a large file takes its time, so a worker does it; under a name that nothing else will ever have, since the
 * folder may belong to another log of the same name by then. */
static void remove_segment(const struct log *l, const struct segment_place *in, int64_t base, struct buf *paths)
{
    static const char *const caches[] = {".index", ".timeindex", ".txnindex"};
    char       from[SEGMENT_PATH_BYTES], to[SEGMENT_PATH_BYTES + 32];
    uint8_t    id[8];
    struct err e;

    for (size_t i = 0; i < countof(caches); i++) {
        segment_path(in, base, caches[i], from);
        (void)fs_unlink(l->store->fs, from, &e);
    }
    random_bytes(id, sizeof id);
    segment_path(in, base, ".log", from);
    snprintf(to, sizeof to, "%s.%016" PRIx64 ".deleted", from, load_be64(id));
    if (!fs_rename(l->store->fs, from, to, &e)) add_name(paths, to);
    else if (e.rc != RC_NOT_FOUND) diag(DIAG_WARN, "store.leftover", KV_CSTR("path", from), KV_CSTR("why", e.text));
}

/* Segments wholly below the start that is on the disk now, and the snapshot nobody names any more. */
static void remove_old(struct log *l, const struct log_state *state, struct buf *paths)
{
    char                 path[SEGMENT_PATH_BYTES];
    struct segment_place in = log_place(l);
    size_t               gone = 0;
    struct err           e;

    while (!l->compacting && gone + 1 < l->segments_n && l->segments[gone + 1]->base <= state->start && l->segments[gone]->base < state->segment_base) {
        struct segment *s = l->segments[gone++];

        segment_fini(s);
        remove_segment(l, &in, s->base, paths);
        free(s);
    }
    l->segments_n -= gone;
    memmove(l->segments, l->segments + gone, l->segments_n * sizeof *l->segments);
    if (l->disk.snapshot >= 0 && l->disk.snapshot != state->snapshot) {
        segment_path(&in, l->disk.snapshot, ".snapshot", path);
        (void)fs_unlink(l->store->fs, path, &e);
    }
}

/* The numbers of the closed segments that are on the disk now are those after the last compaction. */
static void swap_unmark(struct log *l)
{
    char       path[STORE_PATH_BYTES];
    struct err e;

    must((size_t)snprintf(path, sizeof path, "%s/" LOG_SWAP_MARK, l->dir) < sizeof path);
    if (!fs_unlink(l->store->fs, path, &e) || e.rc == RC_NOT_FOUND) l->swap_marked = false;
}

static void checkpoint_free(struct checkpoint *c)
{
    for (size_t i = 0; i < c->logs_n; i++) log_unref(c->logs[i].log);
    free(c->logs);
    buf_fini(&c->frames);
    buf_fini(&c->changes);
    buf_fini(&c->files);
    buf_fini(&c->saves);
    buf_fini(&c->gone);
    free(c);
}

void checkpoint_drop(struct store *s)
{
    if (!s->checkpoint) return;
    must(!s->checkpoint->running);
    checkpoint_free(s->checkpoint);
    s->checkpoint = NULL;
}

/* Passes that were due, but for segments no checkpoint had yet: they do not wait for the cleaner's next turn. */
static void compact_now(const struct checkpoint *c)
{
    for (size_t i = 0; i < c->logs_n; i++) {
        struct log *l = c->logs[i].log;

        if (l->compact_after && l->loaded && !l->deleted && !l->offline && !c->store->closing) (void)log_compact(l, l->compact_after);
    }
}

/* The new state is on the disk: remember it, and list what may go. */
static void checkpoint_took(struct checkpoint *c, struct buf *saves, struct buf *paths)
{
    struct store *s = c->store;
    char          path[STORE_PATH_BYTES];

    wal_super_done(&s->wal, &c->super);
    if (c->state_file != s->state_file) {
        state_path(s, s->state_file, path);
        if (s->state_file) add_name(paths, path);
        s->state_file = c->state_file;
        s->state_format = STATE_FORMAT;
    }
    s->state_bytes = c->super.state_bytes;
    remove_gone(c, paths);
    for (size_t i = 0; i < c->logs_n; i++) {
        struct log *l = c->logs[i].log;

        if (l->deleted) continue;
        if (l->loaded) remove_old(l, &c->logs[i].state, paths);
        if (l->loaded && l->swap_marked && !l->compacting && !l->offline && l->swaps == c->logs[i].swaps) swap_unmark(l);
        l->disk = c->logs[i].state;
        l->disk.name = (struct str){0};
        l->snapshot_held = -1;
    }
    s->stats.checkpoints++;
    s->checkpoint_ms = clock_mono_ms(s->opt.clock);
    s->checkpoint = NULL;
    compact_now(c);
    *saves = buf_take(&c->saves);
    checkpoint_free(c);
}

static void put_back(struct buf *now, struct buf *before)
{
    buf_append(before, buf_view(now));
    buf_fini(now);
    *now = buf_take(before);
}

/* There was no room for it: everything is as if it had not begun, and the wal keeps what it has. */
static void checkpoint_undo(struct checkpoint *c)
{
    struct store *s = c->store;

    put_back(&s->state_new, &c->changes);
    put_back(&s->gone, &c->gone);
    for (size_t i = 0; i < c->logs_n; i++) {
        struct log *l = c->logs[i].log;

        if (l->deleted) continue;
        for (size_t k = 0; k < l->segments_n; k++) {
            if (l->segments[k]->base >= l->disk.segment_base) l->segments[k]->cut = true;      /* perhaps not synced */
            l->segments[k]->aborted.dirty = l->segments[k]->aborted.n > 0;
        }
        l->epochs_changed = true;
        l->folder_new = l->folder_made;
        l->snapshot_held = -1;
        store_dirty(s, l);
    }
    s->dirty_any = true;
    s->wal.held_at = 0;
    checkpoint_later(s);
    s->checkpoint = NULL;
    checkpoint_free(c);
}

static void checkpoint_done(struct work *w)
{
    struct checkpoint *c = container_of(w, struct checkpoint, work);
    struct store      *s = c->store;
    struct buf         saves = {0}, paths = {0};

    store_work_done(s);
    c->running = false;
    if (s->fatal) return;
    if (c->rc == RC_DISK_FULL && c->harmless) {
        diag(DIAG_WARN, "store.checkpoint_waits", KV_CSTR("dir", s->dir), KV_CSTR("why", c->err.text));
        checkpoint_undo(c);
        return;
    }
    if (c->rc) {
        store_fail(s, &c->err);
        return;
    }
    checkpoint_took(c, &saves, &paths);
    errand_send(s, &saves, &paths);
}

bool checkpoint_waits(const struct store *s) { return s->checkpoint && !s->checkpoint->running; }

void checkpoint_write(struct store *s)
{
    must(s->checkpoint && s->checkpoint->placed && !s->checkpoint->running);
    s->checkpoint->running = true;
    store_work(s, &s->checkpoint->work, LANE_CHECKPOINT, checkpoint_run, checkpoint_done);
}

enum rc checkpoint_now(struct store *s, bool clean, struct err *e)
{
    struct errand r = {.store = s};

    if (!store_settle(s)) return store_usable(s, e) ? e->rc : err_set(e, RC_DISK_FULL, "checkpoint: no room for what segments have not got yet");
    capture(s, clean);
    checkpoint_place(s);
    s->checkpoint->super.clean = clean;
    if (write_all(s->checkpoint, e)) {
        checkpoint_drop(s);
        return e->rc;
    }
    checkpoint_took(s->checkpoint, &r.saves, &r.names);
    if (clean) errand_run(&r.work);
    else errand_send(s, &r.saves, &r.names);
    buf_fini(&r.saves);
    buf_fini(&r.names);
    return RC_OK;
}
