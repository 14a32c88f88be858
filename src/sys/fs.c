/* Design note: what every file system can do with the few primitives of struct fs. SPDX-License-Identifier: Apache-2.0 */
#include "sys/fs.h"
#include <stdio.h>

enum { PATH_BYTES_MAX = 4096 };

struct file *file_close(struct file *f)
{
    if (f) f->ops->close(f);
    return NULL;
}

void file_closep(struct file **f) { *f = file_close(*f); }

enum rc file_read(struct file *f, void *p, size_t n, uint64_t at, size_t *ret_n, struct err *e)
{
    struct iovec iov = {p, n};

    return f->ops->readv(f, &iov, 1, at, ret_n, e);
}

enum rc file_read_exact(struct file *f, void *p, size_t n, uint64_t at, struct err *e)
{
    size_t got;

    if (file_read(f, p, n, at, &got, e)) return e->rc;
    if (got < n) return err_set(e, RC_CORRUPT, "%zu bytes wanted at %llu, %zu there", n, (unsigned long long)at, got);
    return RC_OK;
}

enum rc file_write(struct file *f, struct bytes b, uint64_t at, struct err *e)
{
    struct iovec iov = {(void *)b.p, b.n};

    return f->ops->writev(f, &iov, 1, at, e);
}

enum rc fs_load(struct fs *fs, const char *path, size_t max, struct buf *into, struct err *e)
{
    AUTO(file_closep) struct file *f = NULL;
    uint64_t size;
    size_t   got;

    if (fs_open(fs, path, FS_READ, &f, e) || file_size(f, &size, e)) return e->rc;
    if (size > max)
        return err_set(e, RC_CORRUPT, "%s: %llu bytes, at most %zu expected", path, (unsigned long long)size, max);
    buf_reserve(into, (size_t)size + 1);                          /* an empty file, too, needs somewhere to be read to */
    if (file_read(f, into->p + into->n, (size_t)size, 0, &got, e)) return e->rc;
    into->n += got;
    return RC_OK;
}

/* The folder a path lies in. */
static void parent_of(const char *path, char *ret, size_t cap)
{
    const char *slash = strrchr(path, '/');
    int         n = slash == path ? 1 : slash ? (int)(slash - path) : 1;

    must((size_t)n < cap);
    snprintf(ret, cap, "%.*s", n, slash ? path : ".");
}

enum rc fs_save(struct fs *fs, const char *path, struct bytes body, bool durable, struct err *e)
{
    AUTO(file_closep) struct file *f = NULL;
    char  temp[PATH_BYTES_MAX], dir[PATH_BYTES_MAX];

    must((size_t)snprintf(temp, sizeof temp, "%s.tmp", path) < sizeof temp);
    if (fs_open(fs, temp, FS_WRITE | FS_CREATE | FS_TRUNC, &f, e)) return e->rc;
    if (file_write(f, body, 0, e)) return e->rc;
    if (durable && file_sync(f, e)) return e->rc;
    if (fs_rename(fs, temp, path, e)) return e->rc;
    if (!durable) return RC_OK;
    parent_of(path, dir, sizeof dir);
    return fs_sync_dir(fs, dir, e);
}

enum rc fs_mkdir_all(struct fs *fs, const char *path, struct err *e)
{
    char           dir[PATH_BYTES_MAX];
    struct fs_stat st;

    if (!fs_stat(fs, path, &st, e))
        return st.is_dir ? RC_OK : err_set(e, RC_EXISTS, "%s: is there, but is not a folder", path);
    if (e->rc != RC_NOT_FOUND) return e->rc;
    parent_of(path, dir, sizeof dir);
    if (strcmp(dir, ".") != 0 && strcmp(dir, path) != 0 && fs_mkdir_all(fs, dir, e)) return e->rc;
    if (fs_mkdir(fs, path, e) && e->rc != RC_EXISTS) return e->rc;
    return fs_sync_dir(fs, dir, e);
}

struct names { struct buf all; };                 /* each followed by a NUL */

static void collect(void *ctx, const char *name)
{
    struct names *ns = ctx;

    buf_append(&ns->all, bytes_of(name, strlen(name) + 1));
}

enum rc fs_remove_dir(struct fs *fs, const char *path, struct err *e)
{
    AUTO(buf_fini) struct buf all = {0};
    struct names ns = {0};
    char         one[PATH_BYTES_MAX];

    if (fs_list(fs, path, collect, &ns, e)) {
        buf_fini(&ns.all);
        return e->rc == RC_NOT_FOUND ? RC_OK : e->rc;
    }
    all = buf_take(&ns.all);
    for (size_t at = 0; at < all.n; at += strlen((char *)all.p + at) + 1) {
        must((size_t)snprintf(one, sizeof one, "%s/%s", path, (char *)all.p + at) < sizeof one);
        if (fs_unlink(fs, one, e) && e->rc != RC_NOT_FOUND) return e->rc;
    }
    return fs_rmdir(fs, path, e);
}
