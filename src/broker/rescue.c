/* Design note: when recovery cannot use a log (its files are damaged or cannot be read), what the wal has of it must not be
 * lost with the wal: the records go to a file of their own, synced before the wal is reused. When the log loads again, at
 * whatever start, they are applied before anything else, and the file goes away with the checkpoint that covers them.
 * A record may be in the file twice, or in the file and in the wal (a crash during recovery): offsets tell.
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

enum rc rescue_put(struct log *l, const struct wal_record *r, struct bytes payload, struct err *e)
{
    AUTO(file_closep) struct file *f = NULL;
    AUTO(buf_fini) struct buf frame = {0};
    char     name[80], path[STORE_PATH_BYTES];
    uint8_t *h = buf_grow(&frame, HEAD);
    uint64_t at;

    memset(h, 0, HEAD);
    h[4] = (uint8_t)r->kind;
    h[5] = r->flags;
    store_le64(h + 8, (uint64_t)r->offset);
    store_le32(h + 16, (uint32_t)payload.n);
    buf_append(&frame, payload);
    store_le32(frame.p, crc32c(bytes_of(frame.p + 4, frame.n - 4)));
    name_of(l, name);
    store_path(l->store, name, path);
    if (fs_open(l->store->fs, path, FS_READ | FS_WRITE | FS_CREATE, &f, e) || file_size(f, &at, e) || file_write(f, buf_view(&frame), at, e) ||
        file_sync(f, e))
        return err_in(e, "save what the wal has of %s-%" PRIu32, l->topic, l->partition);
    l->rescue_waits = true;
    checkpoint_spare(l->store, name);                             /* it may have been applied, and the log have failed after that */
    diag(DIAG_WARN, "log.rescued", KV_CSTR("topic", l->topic), KV_U64("partition", l->partition), KV_I64("offset", r->offset));
    return RC_OK;
}

static enum rc apply(struct log *l, struct bytes file, struct err *e)
{
    for (size_t at = 0; at + HEAD <= file.n;) {
        const uint8_t    *h = file.p + at;
        size_t            n = load_le32(h + 16);
        struct wal_record r = {.kind = (enum wal_kind)h[4], .flags = h[5], .topic = l->id, .partition = l->partition, .offset = (int64_t)load_le64(h + 8)};

        if (n > file.n - at - HEAD || load_le32(h) != crc32c(bytes_of(h + 4, HEAD - 4 + n)))
            break;                                                /* torn: then the wal still has it */
        if (log_replay(l, &r, bytes_of(h + HEAD, n), e)) return e->rc;
        at += HEAD + n;
    }
    return RC_OK;
}

enum rc rescue_read(struct log *l, struct buf *ret, struct err *e)
{
    char name[80], path[STORE_PATH_BYTES];

    if (!l->rescue_waits) return RC_OK;
    name_of(l, name);
    store_path(l->store, name, path);
    if (fs_load(l->store->fs, path, SIZE_MAX, ret, e)) return e->rc == RC_NOT_FOUND ? RC_OK : e->rc;
    l->rescued = true;
    if (ret->n < HEAD || ret->p[4] != WAL_LOG_CREATE) return RC_OK;
    l->replaying = true;                                          /* the folder first: loading opens files in it */
    if (log_make_folder(l, e)) l->rescued = false;
    l->replaying = false;
    return l->rescued ? RC_OK : e->rc;
}

enum rc rescue_apply(struct log *l, struct bytes body, struct err *e)
{
    char name[80];

    if (apply(l, body, e)) return e->rc;
    l->rescue_waits = false;
    name_of(l, name);
    store_dirty(l->store, l);
    buf_append(&l->store->gone, bytes_of(name, strlen(name) + 1));
    diag(DIAG_INFO, "log.rescued_applied", KV_CSTR("topic", l->topic), KV_U64("partition", l->partition), KV_I64("end", l->end));
    return RC_OK;
}
