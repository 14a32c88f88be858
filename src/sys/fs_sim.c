/* Design note: a disk in memory that remembers what it has promised.
 *
 * A file has its bytes as programs see them (now) and as the disk has them (disk); a page that differs is marked dirty.
 * A folder has its entries now and on the disk, and the list of changes between the two. sync copies, a power cut
 * decides by seed about every dirty page, every size and every unsynced change. It is stricter than real file systems:
 * syncing a file says nothing about its entry in the folder, and folders lose changes independently of each other.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "sys/fs.h"
#include <pthread.h>
#include <stdio.h>

enum { PAGE = 4096, SECTOR = 512 };

struct entry { char *name; struct inode *inode; };
struct entries { struct entry *v; size_t n; };
struct change { char *gone, *name; struct inode *inode; };        /* gone disappears and name appears, at once; either may be NULL */

struct inode {
    int            refs;
    bool           is_dir;
    struct buf     now, disk;
    uint8_t       *dirty;                                         /* one a page of the longer of the two */
    size_t         dirty_n;
    int64_t        mtime_ms;
    struct entries entries, entries_disk;
    struct change *changes;
    size_t         changes_n;
    bool           locked;
};

struct fs_sim {
    struct fs       fs;
    pthread_mutex_t lock;
    struct rng      rng;
    struct inode   *root;
    uint64_t        ops, cut_at, fail_at, capacity, used, generation;
    unsigned        lies;                                         /* enum fs_sim_lie */
    bool            cut, failed, reads_fail;
};

struct sim_file { struct file file; struct fs_sim *sim; struct inode *inode; uint64_t generation; unsigned flags; bool holds_lock; char path[]; };

/* ---- inodes and entries ---- */

static struct inode *inode_new(bool is_dir)
{
    struct inode *i = xnew(struct inode);

    i->refs = 1;
    i->is_dir = is_dir;
    return i;
}

static void inode_unref(struct inode *i);

static void entries_fini(struct entries *es)
{
    for (size_t k = 0; k < es->n; k++) {
        free(es->v[k].name);
        inode_unref(es->v[k].inode);
    }
    free(es->v);
    *es = (struct entries){0};
}

static void changes_drop(struct inode *i)
{
    for (size_t k = 0; k < i->changes_n; k++) {
        free(i->changes[k].gone);
        free(i->changes[k].name);
        if (i->changes[k].inode) inode_unref(i->changes[k].inode);
    }
    free(i->changes);
    i->changes = NULL;
    i->changes_n = 0;
}

static void inode_unref(struct inode *i)
{
    if (--i->refs) return;
    entries_fini(&i->entries);
    entries_fini(&i->entries_disk);
    changes_drop(i);
    buf_fini(&i->now);
    buf_fini(&i->disk);
    free(i->dirty);
    free(i);
}

static struct entry *entry_find(const struct entries *es, const char *name, size_t n)
{
    for (size_t k = 0; k < es->n; k++)
        if (strlen(es->v[k].name) == n && !memcmp(es->v[k].name, name, n)) return &es->v[k];
    return NULL;
}

static void entry_remove(struct entries *es, const char *name)
{
    struct entry *x = entry_find(es, name, strlen(name));

    if (!x) return;
    free(x->name);
    inode_unref(x->inode);
    *x = es->v[--es->n];
}

static void entry_set(struct entries *es, const char *name, struct inode *inode)
{
    inode->refs++;                                                /* before the removal, which may drop the last one */
    entry_remove(es, name);
    es->v = xrealloc(es->v, es->n + 1, sizeof *es->v);
    es->v[es->n++] = (struct entry){xstrdup(name), inode};
}

static void change_apply(struct entries *es, const char *gone, const char *name, struct inode *inode)
{
    if (inode) inode->refs++;
    if (gone) entry_remove(es, gone);
    if (name) entry_set(es, name, inode);
    if (inode) inode_unref(inode);
}

/* Changes a folder now, and remembers that the disk does not have it yet. */
static void folder_change(struct inode *dir, const char *gone, const char *name, struct inode *inode)
{
    if (inode) inode->refs++;
    change_apply(&dir->entries, gone, name, inode);
    dir->changes = xrealloc(dir->changes, dir->changes_n + 1, sizeof *dir->changes);
    dir->changes[dir->changes_n++] = (struct change){gone ? xstrdup(gone) : NULL, name ? xstrdup(name) : NULL, inode};
}

static void folder_sync(struct inode *dir, size_t n)
{
    for (size_t k = 0; k < n; k++)
        change_apply(&dir->entries_disk, dir->changes[k].gone, dir->changes[k].name, dir->changes[k].inode);
    changes_drop(dir);
}

static struct inode *walk(struct fs_sim *s, const char *path, size_t n)
{
    struct inode *at = s->root;

    for (size_t i = 0; i < n && at;) {
        size_t from = i;
        struct entry *x;

        while (i < n && path[i] != '/') i++;
        if (i > from && !(i == from + 1 && path[from] == '.')) {
            x = at->is_dir ? entry_find(&at->entries, path + from, i - from) : NULL;
            at = x ? x->inode : NULL;
        }
        while (i < n && path[i] == '/') i++;
    }
    return at;
}

static struct inode *find(struct fs_sim *s, const char *path) { return walk(s, path, strlen(path)); }

/* The folder of a path and its last name. */
static struct inode *find_parent(struct fs_sim *s, const char *path, const char **ret_name)
{
    const char   *slash = strrchr(path, '/');
    struct inode *dir = slash ? walk(s, path, (size_t)(slash - path)) : s->root;

    *ret_name = slash ? slash + 1 : path;
    return dir && dir->is_dir ? dir : NULL;
}

/* ---- pages ---- */

static size_t pages(uint64_t n) { return (size_t)((n + PAGE - 1) / PAGE); }

static void dirty_reserve(struct inode *i, size_t n)
{
    if (n <= i->dirty_n) return;
    i->dirty = xrealloc(i->dirty, n, 1);
    memset(i->dirty + i->dirty_n, 0, n - i->dirty_n);
    i->dirty_n = n;
}

static void mark_dirty(struct inode *i, uint64_t from, uint64_t to)
{
    dirty_reserve(i, pages(to));
    for (size_t p = (size_t)(from / PAGE); p < pages(to); p++) i->dirty[p] = 1;
}

static void resize(struct buf *b, size_t n)
{
    if (n > b->n) {
        size_t more = n - b->n;

        memset(buf_grow(b, more), 0, more);
    }
    b->n = n;
}

static void set_size(struct fs_sim *s, struct inode *i, size_t n)
{
    s->used += (uint64_t)pages(n) * PAGE;
    s->used -= (uint64_t)pages(i->now.n) * PAGE;
    if (n < i->now.n) mark_dirty(i, n, i->now.n);
    resize(&i->now, n);
}

static void range_to_disk(struct inode *i, size_t from, size_t to)
{
    if (to > i->disk.n) resize(&i->disk, to);
    memcpy(i->disk.p + from, i->now.p + from, to - from);
}

static void page_to_disk(struct inode *i, size_t page)
{
    size_t from = page * PAGE, to = MIN(from + PAGE, i->now.n);

    if (from < to) range_to_disk(i, from, to);
    i->dirty[page] = 0;
}

/* What is left of a sync that failed: some pages are on the disk, and nobody remembers the others. */
static void file_to_disk_badly(struct fs_sim *s, struct inode *i)
{
    for (size_t p = 0; p < i->dirty_n; p++) {
        if (i->dirty[p] && rng_below(&s->rng, 2)) page_to_disk(i, p);
        i->dirty[p] = 0;
    }
}

static void file_to_disk(struct inode *i)
{
    for (size_t p = 0; p < i->dirty_n; p++)
        if (i->dirty[p]) page_to_disk(i, p);
    resize(&i->disk, i->now.n);
}

/* ---- power ---- */

/* True: the power goes away in this call (or is away). */
static bool counted(struct fs_sim *s)
{
    if (s->cut) return true;
    s->ops++;
    if (s->cut_at && s->ops >= s->cut_at) s->cut = true;
    return s->cut;
}

/* True: the call that was just counted fails. */
static bool fails(struct fs_sim *s)
{
    if (!s->fail_at || s->ops < s->fail_at) return false;
    s->fail_at = 0;
    s->failed = true;
    return true;
}

static enum rc refused(const char *what, const char *path, struct err *e) { return err_set(e, RC_IO, "%s %s: input/output error", what, path); }

static enum rc dead(struct err *e) { return err_set(e, RC_IO, "the power is off"); }

static void torn_sectors(struct fs_sim *s, struct inode *i, size_t from, size_t to)
{
    unsigned how = (unsigned)rng_below(&s->rng, 4);               /* none, all, a prefix, any subset */
    size_t   stop = from + (size_t)rng_below(&s->rng, to - from + 1) / SECTOR * SECTOR;

    if (how == 0) return;
    for (size_t at = from; at < to; at += SECTOR) {
        size_t end = MIN(at + SECTOR, to);

        if (how == 2 && at >= stop) break;
        if (how == 3 && rng_below(&s->rng, 2)) continue;
        range_to_disk(i, at, end);
    }
}

static void inode_power_on(struct fs_sim *s, struct inode *i)
{
    size_t size_disk = i->disk.n, size_now = i->now.n, size;

    i->locked = false;
    for (size_t p = 0; p < i->dirty_n; p++) {
        size_t from = p * PAGE, to = MIN(from + PAGE, size_now);

        if (i->dirty[p] && from < to) torn_sectors(s, i, from, to);
    }
    switch (rng_below(&s->rng, 3)) {
    case 0: size = size_disk; break;
    case 1: size = size_now; break;
    default: size = MIN(size_disk, size_now) + (size_t)rng_below(&s->rng, MAX(size_disk, size_now) - MIN(size_disk, size_now) + 1);
    }
    resize(&i->disk, size);
    if (i->dirty_n) memset(i->dirty, 0, i->dirty_n);
    buf_clear(&i->now);
    buf_append(&i->now, buf_view(&i->disk));
    s->used += (uint64_t)pages(i->now.n) * PAGE;
}

static void folder_power_on(struct fs_sim *s, struct inode *dir)
{
    folder_sync(dir, (size_t)rng_below(&s->rng, dir->changes_n + 1));
    entries_fini(&dir->entries);
    for (size_t k = 0; k < dir->entries_disk.n; k++)
        entry_set(&dir->entries, dir->entries_disk.v[k].name, dir->entries_disk.v[k].inode);
    for (size_t k = 0; k < dir->entries.n; k++) {
        struct inode *i = dir->entries.v[k].inode;

        if (i->is_dir) folder_power_on(s, i);
        else inode_power_on(s, i);
    }
}

/* ---- files ---- */

static struct sim_file *sim_file_of(struct file *f) { return container_of(f, struct sim_file, file); }

static bool alive(const struct sim_file *f) { return !f->sim->cut && f->generation == f->sim->generation; }

static enum rc sim_readv(struct file *file, const struct iovec *iov, int iovn, uint64_t at, size_t *ret_n, struct err *e)
{
    struct sim_file *f = sim_file_of(file);
    enum rc          rc = RC_OK;
    size_t           sum = 0;

    pthread_mutex_lock(&f->sim->lock);
    if (!alive(f)) rc = dead(e);
    else if (f->sim->reads_fail) f->sim->failed = true, rc = refused("read", f->path, e);
    for (int k = 0; k < iovn && !rc && at < f->inode->now.n; k++) {
        size_t n = MIN(iov[k].iov_len, f->inode->now.n - (size_t)at);

        if (n) memcpy(iov[k].iov_base, f->inode->now.p + at, n);
        at += n, sum += n;
    }
    pthread_mutex_unlock(&f->sim->lock);
    if (!rc) *ret_n = sum;
    return rc;
}

static enum rc write_locked(struct sim_file *f, const struct iovec *iov, int iovn, uint64_t at, struct err *e)
{
    struct inode *i = f->inode;
    uint64_t      from = at, room = f->sim->capacity > f->sim->used ? f->sim->capacity - f->sim->used : 0;
    uint64_t      end_max = (uint64_t)pages(i->now.n) * PAGE + room;
    bool          full = false, was_cut = f->sim->cut, cut, bad;

    if (f->generation != f->sim->generation) return dead(e);
    cut = counted(f->sim);
    if (was_cut || (cut && !(f->flags & FS_DSYNC) && rng_below(&f->sim->rng, 2))) return dead(e);
    bad = !cut && fails(f->sim);
    if (f->file.direct) must(at % FS_ALIGN == 0);
    for (int k = 0; k < iovn && !full; k++) {
        size_t n = iov[k].iov_len;

        if (f->file.direct) must(n % FS_ALIGN == 0 && (uintptr_t)iov[k].iov_base % FS_ALIGN == 0);
        if (bad) n = (size_t)rng_below(&f->sim->rng, n + 1);
        if (at + n > end_max) n = at < end_max ? (size_t)(end_max - at) : 0, full = true;
        if (!n) continue;
        if (at + n > i->now.n) set_size(f->sim, i, (size_t)at + n);
        memcpy(i->now.p + at, iov[k].iov_base, n);
        at += n;
        if (n < iov[k].iov_len) break;
    }
    if (at > from) mark_dirty(i, from, at);
    if (cut) {
        if (at > from && (f->flags & FS_DSYNC)) torn_sectors(f->sim, i, (size_t)from, (size_t)at);
        return dead(e);
    }
    if (bad && (f->flags & FS_DSYNC) && at > from) torn_sectors(f->sim, i, (size_t)from, (size_t)at);
    if (bad) return refused("write", f->path, e);
    if (full) return err_set(e, RC_DISK_FULL, "write %s: no space left", f->path);
    if ((f->flags & FS_DSYNC) && !(f->sim->lies & FS_SIM_LIE_DSYNC) && at > from) {
        for (size_t p = (size_t)(from / PAGE); p < pages(at); p++) page_to_disk(i, p);
        if (i->disk.n < at) resize(&i->disk, (size_t)at);
    }
    return RC_OK;
}

static enum rc sim_writev(struct file *file, const struct iovec *iov, int iovn, uint64_t at, struct err *e)
{
    struct sim_file *f = sim_file_of(file);
    enum rc          rc;

    must(f->flags & FS_WRITE);
    pthread_mutex_lock(&f->sim->lock);
    rc = write_locked(f, iov, iovn, at, e);
    pthread_mutex_unlock(&f->sim->lock);
    return rc;
}

static enum rc sim_sync(struct file *file, bool data_only, struct err *e)
{
    struct sim_file *f = sim_file_of(file);
    enum rc          rc = RC_OK;

    (void)data_only;
    pthread_mutex_lock(&f->sim->lock);
    if (!alive(f) || counted(f->sim)) rc = dead(e);
    else if (fails(f->sim)) file_to_disk_badly(f->sim, f->inode), rc = refused("sync", f->path, e);
    else if (!(f->sim->lies & FS_SIM_LIE_SYNC)) file_to_disk(f->inode);
    pthread_mutex_unlock(&f->sim->lock);
    return rc;
}

static enum rc sim_truncate(struct file *file, uint64_t size, struct err *e)
{
    struct sim_file *f = sim_file_of(file);
    enum rc          rc = RC_OK;

    pthread_mutex_lock(&f->sim->lock);
    if (!alive(f) || counted(f->sim)) rc = dead(e);
    else if (fails(f->sim)) rc = refused("truncate", f->path, e);
    else if (size > f->inode->now.n && (pages(size) - pages(f->inode->now.n)) * PAGE + f->sim->used > f->sim->capacity)
        rc = err_set(e, RC_DISK_FULL, "grow %s: no space left", f->path);
    else set_size(f->sim, f->inode, (size_t)size);
    pthread_mutex_unlock(&f->sim->lock);
    return rc;
}

static enum rc sim_size(struct file *file, uint64_t *ret, struct err *e)
{
    struct sim_file *f = sim_file_of(file);
    enum rc          rc = RC_OK;

    pthread_mutex_lock(&f->sim->lock);
    if (!alive(f)) rc = dead(e);
    else *ret = f->inode->now.n;
    pthread_mutex_unlock(&f->sim->lock);
    return rc;
}

static void sim_close(struct file *file)
{
    struct sim_file *f = sim_file_of(file);

    pthread_mutex_lock(&f->sim->lock);
    if (f->holds_lock && f->generation == f->sim->generation) f->inode->locked = false;
    inode_unref(f->inode);
    pthread_mutex_unlock(&f->sim->lock);
    free(f);
}

static const struct file_ops sim_file_ops = {sim_readv, sim_writev, sim_sync, sim_truncate, sim_size, sim_close};

static struct file *sim_file_new(struct fs_sim *s, struct inode *i, const char *path, unsigned flags)
{
    size_t           n = strlen(path) + 1;
    struct sim_file *f = xcalloc(1, sizeof *f + n);

    f->file = (struct file){&sim_file_ops, -1, flags & FS_DIRECT};
    f->sim = s;
    f->inode = i;
    f->generation = s->generation;
    f->flags = flags;
    memcpy(f->path, path, n);
    i->refs++;
    return &f->file;
}

/* ---- the file system ---- */

static struct fs_sim *sim_of(struct fs *fs) { return container_of(fs, struct fs_sim, fs); }

static enum rc missing(const char *what, const char *path, struct err *e)
{
    return err_set(e, RC_NOT_FOUND, "%s %s: no such file or folder", what, path);
}

static enum rc open_locked(struct fs_sim *s, const char *path, unsigned flags, struct file **ret, struct err *e)
{
    const char   *name;
    struct inode *dir = find_parent(s, path, &name), *i = find(s, path);

    if (s->cut) return dead(e);
    if (!dir || (!i && !(flags & FS_CREATE))) return missing("open", path, e);
    if (i && i->is_dir) return err_set(e, RC_IO, "open %s: is a folder", path);
    if (i && (flags & FS_EXCL)) return err_set(e, RC_EXISTS, "open %s: is there already", path);
    if (!i) {
        if (counted(s)) return dead(e);
        if (fails(s)) return refused("make", path, e);
        i = inode_new(false);
        folder_change(dir, NULL, name, i);
        i->refs--;
    } else if ((flags & FS_TRUNC) && i->now.n) {
        if (counted(s)) return dead(e);
        if (fails(s)) return refused("empty", path, e);
        set_size(s, i, 0);
    }
    *ret = sim_file_new(s, i, path, flags);
    return RC_OK;
}

static enum rc sim_open(struct fs *fs, const char *path, unsigned flags, struct file **ret, struct err *e)
{
    struct fs_sim *s = sim_of(fs);
    enum rc        rc;

    pthread_mutex_lock(&s->lock);
    rc = open_locked(s, path, flags, ret, e);
    pthread_mutex_unlock(&s->lock);
    return rc;
}

/* Frees the space of a file that nobody can reach any more (open handles are taken for gone, too). */
static void space_of(struct fs_sim *s, const struct inode *i)
{
    if (i && !i->is_dir) s->used -= (uint64_t)pages(i->now.n) * PAGE;
}

static enum rc sim_rename(struct fs *fs, const char *from, const char *to, struct err *e)
{
    struct fs_sim *s = sim_of(fs);
    const char    *from_name, *to_name;
    struct inode  *from_dir, *to_dir, *i, *old;
    enum rc        rc = RC_OK;

    pthread_mutex_lock(&s->lock);
    from_dir = find_parent(s, from, &from_name), to_dir = find_parent(s, to, &to_name);
    i = find(s, from), old = find(s, to);
    must(from_dir == to_dir || !from_dir || !to_dir);             /* nobody moves files between folders */
    if (s->cut) rc = dead(e);
    else if (!i || !to_dir) rc = missing("rename", from, e);
    else if (old && old->is_dir && (old->entries.n || !i->is_dir)) rc = err_set(e, RC_EXISTS, "rename to %s: is a folder that is not empty", to);
    else {
        bool cut = counted(s);

        if (cut && rng_below(&s->rng, 2)) rc = dead(e);
        else if (!cut && fails(s)) rc = refused("rename", from, e);
        else {
            if (old != i) space_of(s, old);
            folder_change(from_dir, from_name, to_name, i);
            if (cut) rc = dead(e);
        }
    }
    pthread_mutex_unlock(&s->lock);
    return rc;
}

static enum rc remove_locked(struct fs_sim *s, const char *path, bool want_dir, struct err *e)
{
    const char   *name;
    struct inode *dir = find_parent(s, path, &name), *i = find(s, path);
    bool          cut;

    if (s->cut) return dead(e);
    if (!i || !dir) return missing("delete", path, e);
    if (i->is_dir != want_dir) return err_set(e, RC_IO, "delete %s: %s", path, i->is_dir ? "is a folder" : "is no folder");
    if (i->is_dir && i->entries.n) return err_set(e, RC_EXISTS, "delete %s: is not empty", path);
    cut = counted(s);
    if (cut && rng_below(&s->rng, 2)) return dead(e);
    if (!cut && fails(s)) return refused("delete", path, e);
    space_of(s, i);
    folder_change(dir, name, NULL, NULL);
    return cut ? dead(e) : RC_OK;
}

static enum rc sim_unlink(struct fs *fs, const char *path, struct err *e)
{
    struct fs_sim *s = sim_of(fs);
    enum rc        rc;

    pthread_mutex_lock(&s->lock);
    rc = remove_locked(s, path, false, e);
    pthread_mutex_unlock(&s->lock);
    return rc;
}

static enum rc sim_rmdir(struct fs *fs, const char *path, struct err *e)
{
    struct fs_sim *s = sim_of(fs);
    enum rc        rc;

    pthread_mutex_lock(&s->lock);
    rc = remove_locked(s, path, true, e);
    pthread_mutex_unlock(&s->lock);
    return rc;
}

static enum rc sim_mkdir(struct fs *fs, const char *path, struct err *e)
{
    struct fs_sim *s = sim_of(fs);
    const char    *name;
    struct inode  *dir, *i;
    enum rc        rc = RC_OK;

    pthread_mutex_lock(&s->lock);
    dir = find_parent(s, path, &name);
    if (s->cut) rc = dead(e);
    else if (!dir) rc = missing("make folder", path, e);
    else if (find(s, path)) rc = err_set(e, RC_EXISTS, "make folder %s: is there already", path);
    else if (counted(s)) rc = dead(e);
    else if (fails(s)) rc = refused("make folder", path, e);
    else {
        i = inode_new(true);
        folder_change(dir, NULL, name, i);
        i->refs--;
    }
    pthread_mutex_unlock(&s->lock);
    return rc;
}

static enum rc sim_sync_dir(struct fs *fs, const char *path, struct err *e)
{
    struct fs_sim *s = sim_of(fs);
    struct inode  *dir;
    enum rc        rc = RC_OK;

    pthread_mutex_lock(&s->lock);
    dir = find(s, path);
    if (s->cut || counted(s)) rc = dead(e);
    else if (!dir || !dir->is_dir) rc = missing("sync folder", path, e);
    else if (fails(s)) rc = refused("sync folder", path, e);
    else if (!(s->lies & FS_SIM_LIE_DIR)) folder_sync(dir, dir->changes_n);
    pthread_mutex_unlock(&s->lock);
    return rc;
}

static void folder_all_to_disk(struct fs_sim *s, struct inode *dir)
{
    if (!(s->lies & FS_SIM_LIE_DIR)) folder_sync(dir, dir->changes_n);
    for (size_t k = 0; k < dir->entries.n; k++) {
        struct inode *i = dir->entries.v[k].inode;

        if (i->is_dir) folder_all_to_disk(s, i);
        else if (!(s->lies & FS_SIM_LIE_SYNC)) file_to_disk(i);
    }
}

static enum rc sim_sync_all(struct fs *fs, const char *path, struct err *e)
{
    struct fs_sim *s = sim_of(fs);
    enum rc        rc = RC_OK;

    pthread_mutex_lock(&s->lock);
    if (s->cut || counted(s)) rc = dead(e);
    else if (fails(s)) rc = refused("sync all of", path, e);
    else folder_all_to_disk(s, s->root);
    pthread_mutex_unlock(&s->lock);
    return rc;
}

static enum rc sim_list(struct fs *fs, const char *path, fs_list_fn fn, void *ctx, struct err *e)
{
    struct fs_sim *s = sim_of(fs);
    struct inode  *dir;
    enum rc        rc = RC_OK;
    struct buf     names = {0};

    pthread_mutex_lock(&s->lock);
    dir = find(s, path);
    if (s->cut) rc = dead(e);
    else if (!dir || !dir->is_dir) rc = missing("list", path, e);
    else
        for (size_t k = 0; k < dir->entries.n; k++)
            buf_append(&names, bytes_of(dir->entries.v[k].name, strlen(dir->entries.v[k].name) + 1));
    pthread_mutex_unlock(&s->lock);
    for (size_t at = 0; at < names.n; at += strlen((char *)names.p + at) + 1) fn(ctx, (char *)names.p + at);
    buf_fini(&names);
    return rc;
}

static enum rc sim_stat(struct fs *fs, const char *path, struct fs_stat *ret, struct err *e)
{
    struct fs_sim *s = sim_of(fs);
    struct inode  *i;
    enum rc        rc = RC_OK;

    pthread_mutex_lock(&s->lock);
    i = find(s, path);
    if (s->cut) rc = dead(e);
    else if (!i) rc = missing("stat", path, e);
    else *ret = (struct fs_stat){i->now.n, i->mtime_ms, i->is_dir};
    pthread_mutex_unlock(&s->lock);
    return rc;
}

static enum rc sim_space(struct fs *fs, const char *path, uint64_t *ret, uint64_t *ret_total, struct err *e)
{
    struct fs_sim *s = sim_of(fs);
    enum rc        rc = RC_OK;

    (void)path;
    pthread_mutex_lock(&s->lock);
    *ret_total = s->capacity;
    if (s->cut) rc = dead(e);
    else *ret = s->capacity > s->used ? s->capacity - s->used : 0;
    pthread_mutex_unlock(&s->lock);
    return rc;
}

static enum rc sim_lock(struct fs *fs, const char *path, struct file **ret, struct err *e)
{
    struct fs_sim *s = sim_of(fs);
    struct file   *file;
    enum rc        rc;

    pthread_mutex_lock(&s->lock);
    rc = open_locked(s, path, FS_READ | FS_WRITE | FS_CREATE, &file, e);
    if (!rc) {
        struct sim_file *f = sim_file_of(file);

        if (f->inode->locked) {
            inode_unref(f->inode);
            free(f);
            rc = err_set(e, RC_LOCKED, "%s: held by another process", path);
        } else {
            f->inode->locked = f->holds_lock = true;
            *ret = file;
        }
    }
    pthread_mutex_unlock(&s->lock);
    return rc;
}

static const struct fs_ops sim_ops = {sim_open,     sim_rename, sim_unlink, sim_mkdir,      sim_rmdir,
                                      sim_sync_dir, sim_sync_all, sim_list, sim_stat, sim_space, sim_lock};

struct fs_sim *fs_sim_new(uint64_t seed)
{
    struct fs_sim *s = xnew(struct fs_sim);

    s->fs.ops = &sim_ops;
    pthread_mutex_init(&s->lock, NULL);
    rng_init(&s->rng, seed);
    s->root = inode_new(true);
    s->capacity = 1ull << 40;
    return s;
}

struct fs_sim *fs_sim_free(struct fs_sim *s)
{
    if (!s) return NULL;
    inode_unref(s->root);
    pthread_mutex_destroy(&s->lock);
    free(s);
    return NULL;
}

struct fs *fs_sim_fs(struct fs_sim *s) { return &s->fs; }
uint64_t fs_sim_ops(const struct fs_sim *s) { return s->ops; }
void fs_sim_cut_at(struct fs_sim *s, uint64_t op) { s->cut_at = op; }
bool fs_sim_is_cut(const struct fs_sim *s) { return s->cut; }
uint64_t fs_sim_used(const struct fs_sim *s) { return s->used; }
void fs_sim_fail_at(struct fs_sim *s, uint64_t op) { s->fail_at = op; }
bool fs_sim_has_failed(const struct fs_sim *s) { return s->failed; }
void fs_sim_fail_reads(struct fs_sim *s, bool on) { s->reads_fail = on; }
void fs_sim_lie(struct fs_sim *s, unsigned lies) { s->lies = lies; }
void fs_sim_set_capacity(struct fs_sim *s, uint64_t bytes) { s->capacity = bytes; }

void fs_sim_cut(struct fs_sim *s)
{
    pthread_mutex_lock(&s->lock);
    s->cut = true;
    pthread_mutex_unlock(&s->lock);
}

void fs_sim_power_on(struct fs_sim *s)
{
    pthread_mutex_lock(&s->lock);
    s->cut = false;
    s->cut_at = s->fail_at = 0;
    s->failed = s->reads_fail = false;
    s->generation++;
    s->used = 0;
    folder_power_on(s, s->root);
    pthread_mutex_unlock(&s->lock);
}

static void locks_drop(struct inode *dir)
{
    for (size_t k = 0; k < dir->entries.n; k++) {
        struct inode *i = dir->entries.v[k].inode;

        i->locked = false;
        if (i->is_dir) locks_drop(i);
    }
}

void fs_sim_go_on(struct fs_sim *s)
{
    pthread_mutex_lock(&s->lock);
    s->cut = s->failed = s->reads_fail = false;
    s->cut_at = s->fail_at = 0;
    s->generation++;
    locks_drop(s->root);
    pthread_mutex_unlock(&s->lock);
}

bool fs_sim_damage(struct fs_sim *s, const char *path, uint64_t at, uint8_t mask)
{
    struct inode *i = find(s, path);

    if (!i || at >= i->now.n) return false;
    i->now.p[at] ^= mask;
    if (at < i->disk.n) i->disk.p[at] ^= mask;
    return true;
}
