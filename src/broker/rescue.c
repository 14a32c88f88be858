/* Design note: when recovery cannot use a log (its files are damaged or cannot be read), what the wal has of it must not be
 * lost with the wal: the records go to a file of their own, synced before the wal is reused. When the log loads again, at
 * whatever start, they are applied before anything else, and the file goes away with the checkpoint that covers them.
 * A record may be in the file twice, or in the file and in the wal (a crash during recovery): offsets tell. They may stand there
 * in another order than they have: a start that used the first ones and failed at a later one has put only that one in the
 * file, and died; then the wal has those between.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/crc.h"
#include "base/diag.h"
#include "broker/store_core.h"
#include <inttypes.h>
#include <stdio.h>

enum { HEAD = 24 };

static void name_of(const struct log *l, char ret[80])
{
    int n = snprintf(ret, 80, "rescued.");

    for (size_t i = 0; i < sizeof l->id.b; i++) n += snprintf(ret + n, 80 - (size_t)n, "%02x", l->id.b[i]);
    snprintf(ret + n, 80 - (size_t)n, "-%" PRIu32, l->partition);
}

struct frame { struct wal_record r; struct bytes payload; bool done; };

/* The frame at `at`; false: none is whole there. */
static bool frame_at(const struct log *l, struct bytes file, size_t at, struct frame *ret)
{
    const uint8_t *h = file.p + at;
    size_t         n;

    if (file.n - at < HEAD) return false;
    n = load_le32(h + 16);
    if (n > file.n - at - HEAD || load_le32(h) != crc32c(bytes_of(h + 4, HEAD - 4 + n))) return false;
    *ret = (struct frame){.r = {.kind = (enum wal_kind)h[4], .flags = h[5], .topic = l->id, .partition = l->partition, .offset = (int64_t)load_le64(h + 8)},
                          .payload = bytes_of(h + HEAD, n)};
    return true;
}

/* Where the next frame goes. What a crash left of the last one would hide all that come after it. */
static enum rc find_end(struct log *l, struct file *f, const char *path, struct err *e)
{
    AUTO(buf_fini) struct buf body = {0};
    struct frame x;

    if (l->rescue_end) return RC_OK;
    if (fs_load(l->store->fs, path, SIZE_MAX, &body, e)) return e->rc;
    while (frame_at(l, buf_view(&body), (size_t)l->rescue_end, &x))
        l->rescue_end += HEAD + x.payload.n;
    return l->rescue_end < body.n ? file_truncate(f, l->rescue_end, e) : RC_OK;
}

void rescue_keep(struct log *l)
{
    char name[80];

    name_of(l, name);
    l->rescue_waits = true;
    checkpoint_spare(l->store, name);
}

enum rc rescue_put(struct log *l, const struct wal_record *r, struct bytes payload, struct err *e)
{
    AUTO(file_closep) struct file *f = NULL;
    AUTO(buf_fini) struct buf frame = {0};
    char     name[80], path[STORE_PATH_BYTES];
    uint8_t *h = buf_grow(&frame, HEAD);

    memset(h, 0, HEAD);
    h[4] = (uint8_t)r->kind;
    h[5] = r->flags;
    store_le64(h + 8, (uint64_t)r->offset);
    store_le32(h + 16, (uint32_t)payload.n);
    buf_append(&frame, payload);
    store_le32(frame.p, crc32c(bytes_of(frame.p + 4, frame.n - 4)));
    name_of(l, name);
    store_path(l->store, name, path);
    if (fs_open(l->store->fs, path, FS_READ | FS_WRITE | FS_CREATE, &f, e) || find_end(l, f, path, e) ||
        file_write(f, buf_view(&frame), l->rescue_end, e) || file_sync(f, e))
        return err_in(e, "save what the wal has of %s-%" PRIu32, l->topic, l->partition);
    l->rescue_end += frame.n;
    rescue_keep(l);                                               /* it may have been applied, and the log have failed after that */
    diag(DIAG_WARN, "log.rescued", KV_CSTR("topic", l->topic), KV_U64("partition", l->partition), KV_I64("offset", r->offset));
    return RC_OK;
}

/* Can it be applied now, is it known already? Neither: it has to wait for what comes before. */
static bool fits(const struct log *l, struct frame *x)
{
    switch (x->r.kind) {
    case WAL_LOG_START: x->done = x->r.offset < l->start; return !x->done && x->r.offset <= l->end;
    case WAL_BATCH: case WAL_LARGE: x->done = x->r.offset < l->end; return x->r.offset == l->end;
    case WAL_LOG_CREATE: case WAL_META: case WAL_LOG_DELETE: break;
    }
    return true;
}

static enum rc apply_all(struct log *l, struct frame *v, size_t n, struct err *e)
{
    for (bool more = true; more;) {
        more = false;
        for (size_t i = 0; i < n; i++) {
            if (v[i].done || !fits(l, &v[i])) continue;
            if (log_replay(l, &v[i].r, v[i].payload, e)) return e->rc;
            v[i].done = more = true;
        }
    }
    l->rescued_to = 0;
    for (size_t i = 0; i < n; i++)
        if (!v[i].done) l->rescued_to = MAX(l->rescued_to, v[i].r.offset + 1);
    return RC_OK;
}

static enum rc apply(struct log *l, struct bytes file, struct err *e)
{
    struct frame *v = NULL, x;
    size_t        n = 0;
    enum rc       rc;

    for (size_t at = 0; frame_at(l, file, at, &x); at += HEAD + x.payload.n) {      /* what is torn, the wal still has */
        v = xrealloc(v, n + 1, sizeof *v);
        v[n++] = x;
    }
    rc = apply_all(l, v, n, e);
    free(v);
    return rc;
}

enum rc rescue_check(struct log *l, struct err *e)
{
    if (l->rescued_to <= l->end) return RC_OK;
    return err_set(e, RC_CORRUPT, "what was rescued goes up to offset %" PRId64 ", and something is missing from %" PRId64 " on", l->rescued_to, l->end);
}

static bool has_create(const struct log *l, struct bytes file)
{
    struct frame x;

    for (size_t at = 0; frame_at(l, file, at, &x); at += HEAD + x.payload.n)
        if (x.r.kind == WAL_LOG_CREATE) return true;
    return false;
}

enum rc rescue_read(struct log *l, struct buf *ret, struct err *e)
{
    char name[80], path[STORE_PATH_BYTES];

    if (!l->rescue_waits) return RC_OK;
    name_of(l, name);
    store_path(l->store, name, path);
    if (fs_load(l->store->fs, path, SIZE_MAX, ret, e)) return e->rc == RC_NOT_FOUND ? RC_OK : e->rc;
    l->rescued = true;
    if (!has_create(l, buf_view(ret))) return RC_OK;
    l->replaying = true;                                          /* the folder first: loading opens files in it */
    if (log_make_folder(l, e)) l->rescued = false;
    l->replaying = false;
    return l->rescued ? RC_OK : e->rc;
}

enum rc rescue_apply(struct log *l, struct bytes body, struct err *e)
{
    char name[80];

    if (apply(l, body, e)) return e->rc;
    if (!l->store->replaying && rescue_check(l, e)) return e->rc;         /* else the wal may have what is between */
    l->rescue_waits = false;
    name_of(l, name);
    store_dirty(l->store, l);
    buf_append(&l->store->gone, bytes_of(name, strlen(name) + 1));
    diag(DIAG_INFO, "log.rescued_applied", KV_CSTR("topic", l->topic), KV_U64("partition", l->partition), KV_I64("end", l->end));
    return RC_OK;
}
