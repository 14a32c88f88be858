/* Design note: repairs write the new file beside the old one, sync it, copy the old one to `damaged`, and give the new one its name.
 * What the checkpoint says of a log that was changed is replaced by a frame behind it and the superblock that covers it: the
 * last write, so that a repair that stops half way has changed nothing that counts, and can be begun again.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/crc.h"
#include "base/rng.h"
#include "broker/verify_core.h"
#include <inttypes.h>
#include <stdio.h>

enum { COPY_BYTES = 1 << 20 };

static enum rc copy(struct file *from, struct file *to, uint64_t at, uint64_t end, uint64_t *to_at, struct err *e)
{
    AUTO(buf_fini) struct buf b = {0};

    while (at < end) {
        size_t n = (size_t)MIN(end - at, (uint64_t)COPY_BYTES);

        buf_clear(&b);
        if (file_read_exact(from, buf_grow(&b, n), n, at, e) || file_write(to, buf_view(&b), *to_at, e)) return e->rc;
        at += n;
        *to_at += n;
    }
    return RC_OK;
}

enum rc fix_set_aside(struct checker *c, const char *folder, const char *name, struct err *e)
{
    AUTO(file_closep) struct file *from = NULL, *to = NULL;
    char     path[SEGMENT_PATH_BYTES], made[SEGMENT_PATH_BYTES], damaged[SEGMENT_PATH_BYTES];
    uint8_t  id[4];
    uint64_t size, n = 0;

    check_path(c, "damaged", damaged);
    if (fs_mkdir(c->o->fs, damaged, e) && e->rc != RC_EXISTS) return e->rc;
    random_bytes(id, sizeof id);
    must((size_t)snprintf(path, sizeof path, "%s/%s%s%s", c->o->dir, folder, *folder ? "/" : "", name) < sizeof path);
    must((size_t)snprintf(made, sizeof made, "%s/%s%s%s.%08" PRIx32, damaged, folder, *folder ? "." : "", name, load_le32(id)) < sizeof made);
    if (fs_open(c->o->fs, path, FS_READ, &from, e) || fs_open(c->o->fs, made, FS_WRITE | FS_CREATE | FS_TRUNC, &to, e) || file_size(from, &size, e)) return e->rc;
    if (copy(from, to, 0, size, &n, e) || file_sync(to, e)) return e->rc;
    return fs_sync_dir(c->o->fs, damaged, e);
}

static enum rc copy_good(struct file *from, struct file *to, const struct check_range *bad, size_t bad_n, uint64_t size, uint64_t *ret_size, struct err *e)
{
    uint64_t at = 0;

    *ret_size = 0;
    for (size_t i = 0; i < bad_n; i++) {
        if (copy(from, to, at, bad[i].from, ret_size, e)) return e->rc;
        at = bad[i].to;
    }
    return copy(from, to, at, size, ret_size, e) ? e->rc : file_sync(to, e);
}

enum rc fix_segment(struct checker *c, const char *folder, int64_t base, const struct check_range *bad, size_t bad_n, uint64_t size, uint64_t *ret_size, struct err *e)
{
    static const char *const caches[] = {".index", ".timeindex"};
    AUTO(file_closep) struct file *from = NULL, *to = NULL;
    char     path[SEGMENT_PATH_BYTES], made[SEGMENT_PATH_BYTES], dir[SEGMENT_PATH_BYTES], name[40];
    uint64_t n;

    check_path(c, folder, dir);
    snprintf(name, sizeof name, "%020" PRId64 ".log", base);
    must((size_t)snprintf(path, sizeof path, "%s/%s", dir, name) < sizeof path);
    must((size_t)snprintf(made, sizeof made, "%s/%020" PRId64 ".cleaned", dir, base) < sizeof made);       /* a start that finds it throws it away */
    if (fs_open(c->o->fs, path, FS_READ, &from, e) || fs_open(c->o->fs, made, FS_WRITE | FS_CREATE | FS_TRUNC, &to, e)) return e->rc;
    if (copy_good(from, to, bad, bad_n, size, &n, e) || fix_set_aside(c, folder, name, e) || fs_rename(c->o->fs, made, path, e)) return e->rc;
    for (size_t i = 0; i < countof(caches); i++) {
        must((size_t)snprintf(path, sizeof path, "%s/%020" PRId64 "%s", dir, base, caches[i]) < sizeof path);
        if (fs_unlink(c->o->fs, path, e) && e->rc != RC_NOT_FOUND) return e->rc;
    }
    *ret_size = n;
    return fs_sync_dir(c->o->fs, dir, e);
}

enum rc fix_state(struct checker *c, struct err *e)
{
    AUTO(file_closep) struct file *f = NULL;
    AUTO(buf_fini) struct buf frames = {0};
    struct wal_super super = c->wal.super;
    char         name[32], path[SEGMENT_PATH_BYTES];
    struct bytes key;
    void        *v;

    for (size_t at = 0; map_next(&c->logs, &at, &key, &v);) {
        struct checked_log *l = v;

        if (!l->changed) continue;
        l->state.offsets_n = l->state.times_n = 0;
        l->state.closed_n = STATE_CLOSED_UNKNOWN;
        state_put_log(&frames, &l->state, &l->epochs);
    }
    if (!frames.n) return RC_OK;
    snprintf(name, sizeof name, "state.%" PRIu64, super.state_file);
    check_path(c, name, path);
    if (fs_open(c->o->fs, path, FS_READ | FS_WRITE, &f, e) || file_write(f, buf_view(&frames), super.state_bytes, e) || file_sync(f, e)) return e->rc;
    super.generation++;
    super.state_bytes += frames.n;
    if (wal_super_write(&c->wal, &super, e)) return e->rc;
    c->wal.super = super;
    return RC_OK;
}

enum rc fix_remove(struct checker *c, const char *folder, const char *name, struct err *e)
{
    char path[SEGMENT_PATH_BYTES];

    must((size_t)snprintf(path, sizeof path, "%s/%s/%s", c->o->dir, folder, name) < sizeof path);
    return fix_set_aside(c, folder, name, e) ? e->rc : fs_unlink(c->o->fs, path, e);
}

/* The groups behind a damaged one are given up: after a copy of the whole file was made, they are overwritten with zeros. */
enum rc fix_wal(struct checker *c, struct err *e)
{
    char path[SEGMENT_PATH_BYTES];

    check_path(c, "wal", path);
    return fix_set_aside(c, "", "wal", e) ? e->rc : wal_forget_behind(c->o->fs, path, &c->wal, e);
}
