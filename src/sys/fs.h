/* sys/fs.h - the file system, as something that is passed and can be simulated.
 *
 * All durable bytes of the program go through a struct fs. Three exist:
 *   fs_real    the kernel's; the only one whose files have a descriptor (file_fd) for sendfile;
 *   fs_sim     memory, with power cuts: what was not synced is kept, lost or torn, by seed;
 *   fs_fault   stands in front of another one and fails the n-th call.
 * Paths are NUL-terminated, "/" separates. Every function may block; all of them are safe to call from every thread,
 * one file may be written by one thread at a time. Errors carry the path.
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/buf.h"
#include "base/err.h"
#include "base/rng.h"
#include <sys/uio.h>

enum fs_flags {
    FS_READ   = 1,
    FS_WRITE  = 2,
    FS_CREATE = 4,           /* made when missing */
    FS_EXCL   = 8,           /* RC_EXISTS when there */
    FS_TRUNC  = 16,
    FS_DSYNC  = 32,          /* a write returns when its bytes are on the disk */
    FS_DIRECT = 64           /* past the page cache where the file system can; file_is_direct() says whether. Buffers,
                                positions and lengths must then be multiples of FS_ALIGN */
};
enum { FS_ALIGN = 4096 };

struct fs;
struct file;
struct fs_stat { uint64_t size; int64_t mtime_ms; bool is_dir; };
typedef void (*fs_list_fn)(void *ctx, const char *name);         /* never "." or ".." */

struct file_ops {
    /* Reads until n bytes or the end of the file; *ret_n says how many. */
    enum rc (*readv)(struct file *f, const struct iovec *iov, int iovn, uint64_t at, size_t *ret_n, struct err *e);
    /* Writes all of it or fails; after a failure any part may be there. */
    enum rc (*writev)(struct file *f, const struct iovec *iov, int iovn, uint64_t at, struct err *e);
    enum rc (*sync)(struct file *f, bool data_only, struct err *e);
    enum rc (*truncate)(struct file *f, uint64_t size, struct err *e);
    enum rc (*size)(struct file *f, uint64_t *ret, struct err *e);
    void    (*close)(struct file *f);                             /* frees f */
};
struct file { const struct file_ops *ops; int fd; bool direct; }; /* fd: -1 when it is no kernel file */

struct fs_ops {
    enum rc (*open)(struct fs *fs, const char *path, unsigned flags, struct file **ret, struct err *e);
    enum rc (*rename)(struct fs *fs, const char *from, const char *to, struct err *e);   /* replaces `to` */
    enum rc (*unlink)(struct fs *fs, const char *path, struct err *e);
    enum rc (*mkdir)(struct fs *fs, const char *path, struct err *e);                    /* RC_EXISTS when there */
    enum rc (*rmdir)(struct fs *fs, const char *path, struct err *e);                    /* must be empty */
    enum rc (*sync_dir)(struct fs *fs, const char *path, struct err *e);
    enum rc (*sync_all)(struct fs *fs, const char *path, struct err *e);                 /* everything on the disk of path: cheaper than many single syncs */
    enum rc (*list)(struct fs *fs, const char *path, fs_list_fn fn, void *ctx, struct err *e);
    enum rc (*stat)(struct fs *fs, const char *path, struct fs_stat *ret, struct err *e); /* RC_NOT_FOUND */
    enum rc (*space)(struct fs *fs, const char *path, uint64_t *ret_free, uint64_t *ret_total, struct err *e);   /* total 0: not known */
    /* Holds until file_close or the end of the process. RC_LOCKED when another holder exists, in any process. */
    enum rc (*lock)(struct fs *fs, const char *path, struct file **ret, struct err *e);
};
struct fs { const struct fs_ops *ops; };

/* The kernel's file system. */
extern struct fs fs_real;
unsigned fs_files_max(void);                                     /* how many files this process may have open */

static inline enum rc fs_open(struct fs *fs, const char *path, unsigned flags, struct file **ret, struct err *e) { return fs->ops->open(fs, path, flags, ret, e); }
static inline enum rc fs_rename(struct fs *fs, const char *from, const char *to, struct err *e) { return fs->ops->rename(fs, from, to, e); }
static inline enum rc fs_unlink(struct fs *fs, const char *path, struct err *e) { return fs->ops->unlink(fs, path, e); }
static inline enum rc fs_mkdir(struct fs *fs, const char *path, struct err *e) { return fs->ops->mkdir(fs, path, e); }
static inline enum rc fs_rmdir(struct fs *fs, const char *path, struct err *e) { return fs->ops->rmdir(fs, path, e); }
static inline enum rc fs_sync_dir(struct fs *fs, const char *path, struct err *e) { return fs->ops->sync_dir(fs, path, e); }
static inline enum rc fs_sync_all(struct fs *fs, const char *path, struct err *e) { return fs->ops->sync_all(fs, path, e); }
static inline enum rc fs_list(struct fs *fs, const char *path, fs_list_fn fn, void *ctx, struct err *e) { return fs->ops->list(fs, path, fn, ctx, e); }
static inline enum rc fs_stat(struct fs *fs, const char *path, struct fs_stat *ret, struct err *e) { return fs->ops->stat(fs, path, ret, e); }
static inline enum rc fs_space(struct fs *fs, const char *path, uint64_t *ret_free, uint64_t *ret_total, struct err *e) { return fs->ops->space(fs, path, ret_free, ret_total, e); }
static inline enum rc fs_free_bytes(struct fs *fs, const char *path, uint64_t *ret, struct err *e) { uint64_t total; return fs_space(fs, path, ret, &total, e); }
static inline enum rc fs_lock(struct fs *fs, const char *path, struct file **ret, struct err *e) { return fs->ops->lock(fs, path, ret, e); }

struct file *file_close(struct file *f);                                  /* NULL is fine; returns NULL */
void         file_closep(struct file **f);                                /* for AUTO() */
enum rc file_read(struct file *f, void *p, size_t n, uint64_t at, size_t *ret_n, struct err *e) MUST_USE;
enum rc file_read_exact(struct file *f, void *p, size_t n, uint64_t at, struct err *e) MUST_USE;   /* RC_CORRUPT when it ends before */
enum rc file_write(struct file *f, struct bytes b, uint64_t at, struct err *e) MUST_USE;
static inline enum rc file_readv(struct file *f, const struct iovec *iov, int n, uint64_t at, size_t *ret_n, struct err *e) { return f->ops->readv(f, iov, n, at, ret_n, e); }
static inline enum rc file_writev(struct file *f, const struct iovec *iov, int n, uint64_t at, struct err *e) { return f->ops->writev(f, iov, n, at, e); }
static inline enum rc file_sync(struct file *f, struct err *e)                              { return f->ops->sync(f, false, e); }
static inline enum rc file_datasync(struct file *f, struct err *e)                          { return f->ops->sync(f, true, e); }
static inline enum rc file_truncate(struct file *f, uint64_t size, struct err *e)           { return f->ops->truncate(f, size, e); }
static inline enum rc file_size(struct file *f, uint64_t *ret, struct err *e)               { return f->ops->size(f, ret, e); }
static inline int  file_fd(const struct file *f)                                            { return f->fd; }
static inline bool file_is_direct(const struct file *f)                                     { return f->direct; }

/* Whole small files. Load appends to *into and refuses more than max bytes; save is temp file, sync, rename, and
 * sync of the folder when `durable`, else only the rename (for what can be rebuilt). */
enum rc fs_load(struct fs *fs, const char *path, size_t max, struct buf *into, struct err *e) MUST_USE;
enum rc fs_save(struct fs *fs, const char *path, struct bytes body, bool durable, struct err *e) MUST_USE;
/* All missing folders of the path; the parents of new ones are synced. */
enum rc fs_mkdir_all(struct fs *fs, const char *path, struct err *e) MUST_USE;
/* A folder and the files in it (no folders below). Missing is fine. */
enum rc fs_remove_dir(struct fs *fs, const char *path, struct err *e) MUST_USE;

/* ---- memory, with power cuts ----
 * Every call that changes something is counted. A power cut may be armed for the n-th of them: that one happens in
 * part, all later ones fail with RC_IO, until fs_sim_power_on(), which decides by seed what the disk kept: each
 * 4 KiB page that was written and not synced is old, new or torn by sectors; a size is old, new or between; of each
 * folder's unsynced entries a prefix is there. Open files are dead after a cut; close them. */
struct fs_sim;
struct fs_sim *fs_sim_new(uint64_t seed);
struct fs_sim *fs_sim_free(struct fs_sim *s);                    /* NULL is fine; returns NULL */
struct fs *fs_sim_fs(struct fs_sim *s);
uint64_t fs_sim_ops(const struct fs_sim *s);                     /* changing calls so far */
void fs_sim_cut_at(struct fs_sim *s, uint64_t op);               /* when fs_sim_ops() reaches it; 0: never */
bool fs_sim_is_cut(const struct fs_sim *s);
void fs_sim_cut(struct fs_sim *s);                               /* now; any thread */
void fs_sim_power_on(struct fs_sim *s);
/* Instead of the power coming on: only the process had ended, what it wrote is there. */
void fs_sim_go_on(struct fs_sim *s);
void fs_sim_set_capacity(struct fs_sim *s, uint64_t bytes);      /* default: 1 TiB; growing past it is RC_DISK_FULL */
uint64_t fs_sim_used(const struct fs_sim *s);
/* The call that makes fs_sim_ops() reach `op` fails with RC_IO: a write after any part of it; a sync after any of its pages,
 * and those that are left are never written again unless they are changed (as Linux does); the rest without effect. */
void fs_sim_fail_at(struct fs_sim *s, uint64_t op);              /* 0: never */
bool fs_sim_has_failed(const struct fs_sim *s);                  /* such a call has failed since the power came on */
void fs_sim_fail_reads(struct fs_sim *s, bool on);               /* every read of a file fails */
/* A disk that says it has synced and has not: to see whether a test would notice a program that forgets to. */
enum fs_sim_lie { FS_SIM_LIE_DSYNC = 1, FS_SIM_LIE_SYNC = 2, FS_SIM_LIE_DIR = 4 };
void fs_sim_lie(struct fs_sim *s, unsigned lies);
/* Flips the bits of `mask` in one byte, on the disk and in memory; false when the file is not that long. */
bool fs_sim_damage(struct fs_sim *s, const char *path, uint64_t at, uint8_t mask);

/* ---- the n-th call fails ---- */
struct fs_fault;
struct fs_fault *fs_fault_new(struct fs *below);
struct fs_fault *fs_fault_free(struct fs_fault *s);
struct fs *fs_fault_fs(struct fs_fault *s);
/* The n-th call from now (0: the next one) fails with `rc` and without having been made; if `forever`, so do all after it. */
void fs_fault_arm(struct fs_fault *s, uint64_t n, enum rc rc, bool forever);
bool fs_fault_fired(const struct fs_fault *s);
void fs_fault_disarm(struct fs_fault *s);
