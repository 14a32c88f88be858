/* Design note: counts every call that may fail on its way to the file system below, and fails the chosen one before it
 * gets there. Reads and writes are counted like opens, so a loop over n visits every failure a scenario can meet.
 * SPDX-License-Identifier: Apache-2.0 */
#include "sys/fs.h"
#include <stdatomic.h>

struct fs_fault {
    struct fs          fs, *below;
    atomic_int_least64_t left;                       /* calls until the failure; negative: not armed, or fired */
    atomic_bool        fired, armed, forever;
    enum rc            rc;
};
struct fault_file { struct file file; struct fs_fault *owner; struct file *below; };

static struct fs_fault *fault_of(struct fs *fs) { return container_of(fs, struct fs_fault, fs); }
static struct fault_file *file_of(struct file *f) { return container_of(f, struct fault_file, file); }

static bool fails(struct fs_fault *s, const char *what, struct err *e)
{
    if (!atomic_load(&s->armed)) return false;
    if (atomic_load(&s->fired) ? !atomic_load(&s->forever) : atomic_fetch_sub(&s->left, 1) > 0) return false;
    atomic_store(&s->fired, true);
    err_set(e, s->rc, "%s: made to fail", what);
    return true;
}

static enum rc fault_readv(struct file *f, const struct iovec *iov, int n, uint64_t at, size_t *ret_n, struct err *e)
{
    return fails(file_of(f)->owner, "read", e) ? e->rc : file_readv(file_of(f)->below, iov, n, at, ret_n, e);
}

static enum rc fault_writev(struct file *f, const struct iovec *iov, int n, uint64_t at, struct err *e)
{
    return fails(file_of(f)->owner, "write", e) ? e->rc : file_writev(file_of(f)->below, iov, n, at, e);
}

static enum rc fault_sync(struct file *f, bool data_only, struct err *e)
{
    if (fails(file_of(f)->owner, "sync", e)) return e->rc;
    return data_only ? file_datasync(file_of(f)->below, e) : file_sync(file_of(f)->below, e);
}

static enum rc fault_truncate(struct file *f, uint64_t size, struct err *e)
{
    return fails(file_of(f)->owner, "truncate", e) ? e->rc : file_truncate(file_of(f)->below, size, e);
}

static enum rc fault_size(struct file *f, uint64_t *ret, struct err *e)
{
    return fails(file_of(f)->owner, "size", e) ? e->rc : file_size(file_of(f)->below, ret, e);
}

static void fault_close(struct file *f)
{
    file_close(file_of(f)->below);
    free(file_of(f));
}

static const struct file_ops fault_file_ops = {fault_readv, fault_writev, fault_sync, fault_truncate, fault_size, fault_close};

static struct file *wrap(struct fs_fault *s, struct file *below)
{
    struct fault_file *f = xnew(struct fault_file);

    f->file = (struct file){&fault_file_ops, below->fd, below->direct};
    f->owner = s;
    f->below = below;
    return &f->file;
}

static enum rc fault_open(struct fs *fs, const char *path, unsigned flags, struct file **ret, struct err *e)
{
    struct file *below;

    if (fails(fault_of(fs), "open", e) || fs_open(fault_of(fs)->below, path, flags, &below, e)) return e->rc;
    *ret = wrap(fault_of(fs), below);
    return RC_OK;
}

static enum rc fault_rename(struct fs *fs, const char *from, const char *to, struct err *e)
{
    return fails(fault_of(fs), "rename", e) ? e->rc : fs_rename(fault_of(fs)->below, from, to, e);
}

static enum rc fault_unlink(struct fs *fs, const char *path, struct err *e)
{
    return fails(fault_of(fs), "unlink", e) ? e->rc : fs_unlink(fault_of(fs)->below, path, e);
}

static enum rc fault_mkdir(struct fs *fs, const char *path, struct err *e)
{
    return fails(fault_of(fs), "mkdir", e) ? e->rc : fs_mkdir(fault_of(fs)->below, path, e);
}

static enum rc fault_rmdir(struct fs *fs, const char *path, struct err *e)
{
    return fails(fault_of(fs), "rmdir", e) ? e->rc : fs_rmdir(fault_of(fs)->below, path, e);
}

static enum rc fault_sync_dir(struct fs *fs, const char *path, struct err *e)
{
    return fails(fault_of(fs), "sync folder", e) ? e->rc : fs_sync_dir(fault_of(fs)->below, path, e);
}

static enum rc fault_sync_all(struct fs *fs, const char *path, struct err *e)
{
    return fails(fault_of(fs), "sync all", e) ? e->rc : fs_sync_all(fault_of(fs)->below, path, e);
}

static enum rc fault_list(struct fs *fs, const char *path, fs_list_fn fn, void *ctx, struct err *e)
{
    return fails(fault_of(fs), "list", e) ? e->rc : fs_list(fault_of(fs)->below, path, fn, ctx, e);
}

static enum rc fault_stat(struct fs *fs, const char *path, struct fs_stat *ret, struct err *e)
{
    return fails(fault_of(fs), "stat", e) ? e->rc : fs_stat(fault_of(fs)->below, path, ret, e);
}

static enum rc fault_space(struct fs *fs, const char *path, uint64_t *ret_free, uint64_t *ret_total, struct err *e)
{
    return fails(fault_of(fs), "free space", e) ? e->rc : fs_space(fault_of(fs)->below, path, ret_free, ret_total, e);
}

static enum rc fault_lock(struct fs *fs, const char *path, struct file **ret, struct err *e)
{
    struct file *below;

    if (fails(fault_of(fs), "lock", e) || fs_lock(fault_of(fs)->below, path, &below, e)) return e->rc;
    *ret = wrap(fault_of(fs), below);
    return RC_OK;
}

static const struct fs_ops fault_ops = {fault_open,     fault_rename, fault_unlink, fault_mkdir,      fault_rmdir,
                                        fault_sync_dir, fault_sync_all, fault_list, fault_stat, fault_space, fault_lock};

struct fs_fault *fs_fault_new(struct fs *below)
{
    struct fs_fault *s = xnew(struct fs_fault);

    s->fs.ops = &fault_ops;
    s->below = below;
    return s;
}

struct fs_fault *fs_fault_free(struct fs_fault *s)
{
    free(s);
    return NULL;
}

struct fs *fs_fault_fs(struct fs_fault *s) { return &s->fs; }

void fs_fault_arm(struct fs_fault *s, uint64_t n, enum rc rc, bool forever)
{
    s->rc = rc;
    atomic_store(&s->left, (int_least64_t)n);
    atomic_store(&s->fired, false);
    atomic_store(&s->forever, forever);
    atomic_store(&s->armed, true);
}

bool fs_fault_fired(const struct fs_fault *s) { return atomic_load(&s->fired); }
void fs_fault_disarm(struct fs_fault *s) { atomic_store(&s->armed, false); }
