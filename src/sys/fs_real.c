/* Design note: thin over the system calls. Interrupted and short transfers go on where they stopped. A file system that
 * refuses O_DIRECT (tmpfs, overlay on some kernels) gets a plain file, and file_is_direct() says so.
 * SPDX-License-Identifier: Apache-2.0 */
#include "sys/fs.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

struct real_file { struct file file; char path[]; };

static const char *path_of(const struct file *f) { return container_of(f, const struct real_file, file)->path; }

/* Drops the first n bytes of an iovec array. */
static void advance(struct iovec **iov, int *n, size_t done)
{
    while (*n && done >= (*iov)->iov_len) {
        done -= (*iov)->iov_len;
        ++*iov, --*n;
    }
    if (!*n) return;
    (*iov)->iov_base = (char *)(*iov)->iov_base + done;
    (*iov)->iov_len -= done;
}

enum { IOV_CHUNK = 64 };                           /* copied to the stack, since a short transfer edits it */

typedef ssize_t (*transfer_fn)(int fd, const struct iovec *iov, int n, off_t at);

/* Moves all of it, or up to the end of the file. Returns bytes moved, or -1 with errno. */
static ssize_t transfer(int fd, const struct iovec *iov, int n, uint64_t at, transfer_fn fn)
{
    size_t sum = 0;

    while (n > 0) {
        struct iovec copy[IOV_CHUNK], *left = copy;
        int          now = MIN(n, IOV_CHUNK);

        memcpy(copy, iov, (size_t)now * sizeof *iov);
        iov += now, n -= now;
        advance(&left, &now, 0);
        while (now) {
            ssize_t got = fn(fd, left, now, (off_t)(at + sum));

            if (got < 0 && errno == EINTR) continue;
            if (got < 0) return -1;
            if (got == 0) return (ssize_t)sum;
            sum += (size_t)got;
            advance(&left, &now, (size_t)got);
        }
    }
    return (ssize_t)sum;
}

static ssize_t do_preadv(int fd, const struct iovec *iov, int n, off_t at)  { return preadv(fd, iov, n, at); }
static ssize_t do_pwritev(int fd, const struct iovec *iov, int n, off_t at) { return pwritev(fd, iov, n, at); }

static enum rc real_readv(struct file *f, const struct iovec *iov, int iovn, uint64_t at, size_t *ret_n, struct err *e)
{
    ssize_t n = transfer(f->fd, iov, iovn, at, do_preadv);

    if (n < 0) return err_sys(e, "read %s", path_of(f));
    *ret_n = (size_t)n;
    return RC_OK;
}

static enum rc real_writev(struct file *f, const struct iovec *iov, int iovn, uint64_t at, struct err *e)
{
    size_t  want = 0;
    ssize_t n = transfer(f->fd, iov, iovn, at, do_pwritev);

    if (n < 0) return err_sys(e, "write %s", path_of(f));
    for (int i = 0; i < iovn; i++) want += iov[i].iov_len;
    if ((size_t)n < want) return err_set(e, RC_IO, "write %s: %zd of %zu bytes taken", path_of(f), n, want);
    return RC_OK;
}

static enum rc real_sync(struct file *f, bool data_only, struct err *e)
{
    if (data_only ? fdatasync(f->fd) : fsync(f->fd)) return err_sys(e, "sync %s", path_of(f));
    return RC_OK;
}

static enum rc real_truncate(struct file *f, uint64_t size, struct err *e)
{
    if (ftruncate(f->fd, (off_t)size)) return err_sys(e, "cut %s to %llu", path_of(f), (unsigned long long)size);
    return RC_OK;
}

static enum rc real_size(struct file *f, uint64_t *ret, struct err *e)
{
    struct stat st;

    if (fstat(f->fd, &st)) return err_sys(e, "stat %s", path_of(f));
    *ret = (uint64_t)st.st_size;
    return RC_OK;
}

static void real_close(struct file *f)
{
    close(f->fd);
    free(container_of(f, struct real_file, file));
}

static const struct file_ops real_file_ops = {real_readv, real_writev, real_sync, real_truncate, real_size, real_close};

static struct file *real_file_new(const char *path, int fd, bool direct)
{
    size_t            n = strlen(path) + 1;
    struct real_file *f = xcalloc(1, sizeof *f + n);

    f->file = (struct file){&real_file_ops, fd, direct};
    memcpy(f->path, path, n);
    return &f->file;
}

static int open_flags(unsigned flags)
{
    int o = O_CLOEXEC | O_NOCTTY;

    o |= flags & FS_WRITE ? flags & FS_READ ? O_RDWR : O_WRONLY : O_RDONLY;
    if (flags & FS_CREATE) o |= O_CREAT;
    if (flags & FS_EXCL) o |= O_EXCL;
    if (flags & FS_TRUNC) o |= O_TRUNC;
    if (flags & FS_DSYNC) o |= O_DSYNC;
    return o;
}

static enum rc real_open(struct fs *fs, const char *path, unsigned flags, struct file **ret, struct err *e)
{
    bool direct = flags & FS_DIRECT;
    int  fd = open(path, open_flags(flags) | (direct ? O_DIRECT : 0), 0600);

    (void)fs;
    if (fd < 0 && direct && errno == EINVAL) {
        direct = false;
        fd = open(path, open_flags(flags & ~FS_EXCL), 0600);      /* the refused open may have made it */
    }
    if (fd < 0) return err_sys(e, "open %s", path);
    *ret = real_file_new(path, fd, direct);
    return RC_OK;
}

static enum rc real_rename(struct fs *fs, const char *from, const char *to, struct err *e)
{
    (void)fs;
    if (rename(from, to)) return err_sys(e, "rename %s to %s", from, to);
    return RC_OK;
}

static enum rc real_unlink(struct fs *fs, const char *path, struct err *e)
{
    (void)fs;
    if (unlink(path)) return err_sys(e, "delete %s", path);
    return RC_OK;
}

static enum rc real_mkdir(struct fs *fs, const char *path, struct err *e)
{
    (void)fs;
    if (mkdir(path, 0700)) return err_sys(e, "make folder %s", path);
    return RC_OK;
}

static enum rc real_rmdir(struct fs *fs, const char *path, struct err *e)
{
    (void)fs;
    if (rmdir(path)) return err_sys(e, "delete folder %s", path);
    return RC_OK;
}

static enum rc real_sync_dir(struct fs *fs, const char *path, struct err *e)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC), rc;

    (void)fs;
    if (fd < 0) return err_sys(e, "open folder %s", path);
    rc = fsync(fd);
    if (rc) err_sys(e, "sync folder %s", path);
    close(fd);
    return rc ? e->rc : RC_OK;
}

static enum rc real_sync_all(struct fs *fs, const char *path, struct err *e)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC), rc;

    (void)fs;
    if (fd < 0) return err_sys(e, "open folder %s", path);
    rc = syncfs(fd);
    if (rc) err_sys(e, "sync the file system of %s", path);
    close(fd);
    return rc ? e->rc : RC_OK;
}

static enum rc real_list(struct fs *fs, const char *path, fs_list_fn fn, void *ctx, struct err *e)
{
    DIR           *d = opendir(path);
    struct dirent *de;
    int            failed;

    (void)fs;
    if (!d) return err_sys(e, "list %s", path);
    while (errno = 0, (de = readdir(d)) != NULL)
        if (strcmp(de->d_name, ".") != 0 && strcmp(de->d_name, "..") != 0) fn(ctx, de->d_name);
    failed = errno;
    closedir(d);
    errno = failed;
    return failed ? err_sys(e, "list %s", path) : RC_OK;
}

static enum rc real_stat(struct fs *fs, const char *path, struct fs_stat *ret, struct err *e)
{
    struct stat st;

    (void)fs;
    if (stat(path, &st)) return err_sys(e, "stat %s", path);
    ret->size = (uint64_t)st.st_size;
    ret->mtime_ms = (int64_t)st.st_mtim.tv_sec * 1000 + st.st_mtim.tv_nsec / 1000000;
    ret->is_dir = S_ISDIR(st.st_mode);
    return RC_OK;
}

static enum rc real_space(struct fs *fs, const char *path, uint64_t *ret_free, uint64_t *ret_total, struct err *e)
{
    struct statvfs st;

    (void)fs;
    if (statvfs(path, &st)) return err_sys(e, "free space of %s", path);
    *ret_free = (uint64_t)st.f_bavail * st.f_frsize;
    *ret_total = (uint64_t)st.f_blocks * st.f_frsize;
    return RC_OK;
}

static enum rc real_lock(struct fs *fs, const char *path, struct file **ret, struct err *e)
{
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOCTTY, 0600);

    (void)fs;
    if (fd < 0) return err_sys(e, "open %s", path);
    if (flock(fd, LOCK_EX | LOCK_NB)) {
        if (errno == EWOULDBLOCK) err_set(e, RC_LOCKED, "%s: held by another process", path);
        else err_sys(e, "lock %s", path);
        close(fd);
        return e->rc;
    }
    *ret = real_file_new(path, fd, false);
    return RC_OK;
}

static const struct fs_ops real_ops = {real_open,     real_rename, real_unlink, real_mkdir,      real_rmdir,
                                       real_sync_dir, real_sync_all, real_list, real_stat, real_space, real_lock};
struct fs fs_real = {&real_ops};

unsigned fs_files_max(void)
{
    struct rlimit r;

    if (getrlimit(RLIMIT_NOFILE, &r) || r.rlim_cur == RLIM_INFINITY) return 1u << 20;
    return (unsigned)MIN(r.rlim_cur, (rlim_t)1 << 20);
}
