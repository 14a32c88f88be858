/* Design note: a batch too large for the wal becomes a segment of its own. A worker writes it to a file in the log's folder
 * under a name of its own and syncs file and folder; back on the loop it gets its offset, the file is renamed to what a
 * segment of that offset is called, and the wal holds only the header, the length and the first name. Replay renames
 * again when the rename was lost; the header is written again, since its offset came after the sync.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/diag.h"
#include "base/rng.h"
#include "broker/store_core.h"
#include <inttypes.h>
#include <stdio.h>

struct log_large_job {
    struct work       work;
    struct log       *log;
    struct log_large *large;
    struct log_large_ref ref;
    bool              on_disk, appended;
};

static const char PREFIX[] = "large.";

bool log_large_name(const char *name) { return str_starts(str_of(name), str_of(PREFIX)); }

static void job_path(const struct log_large_job *j, char ret[STORE_PATH_BYTES])
{

    must(snprintf(ret, STORE_PATH_BYTES, "%s/%s", j->log->dir, j->ref.file) < STORE_PATH_BYTES);
}

static enum rc write_file(struct log_large_job *j, struct err *e)
{
    AUTO(file_closep) struct file *f = NULL, *identity = NULL;
    struct fs *fs = j->log->store->fs;
    char       path[STORE_PATH_BYTES];

    must(snprintf(path, sizeof path, "%s/partition.metadata", j->log->dir) < STORE_PATH_BYTES);
    if (fs_open(fs, path, FS_READ | FS_WRITE, &identity, e) || file_sync(identity, e)) return e->rc;   /* or replay takes the folder for another's */
    job_path(j, path);
    if (fs_open(fs, path, FS_WRITE | FS_CREATE | FS_TRUNC, &f, e)) return e->rc;
    j->on_disk = true;
    if (file_write(f, buf_view(&j->large->batch), 0, e) || file_sync(f, e)) return e->rc;
    if (fs_sync_dir(fs, j->log->dir, e)) return e->rc;
    return fs_sync_dir(fs, j->log->store->dir, e);                /* the folder itself may be new */
}

static void large_run(struct work *w)
{
    struct log_large_job *j = container_of(w, struct log_large_job, work);

    const struct clock *clock = j->large->clock;
    uint64_t begun_us = clock ? clock_mono_us(clock) : 0;

    if (!j->large->rc) j->large->rc = write_file(j, &j->large->err);
    if (clock) j->large->us = clock_mono_us(clock) - begun_us;
}

static void large_done(struct work *w)
{
    struct log_large_job *j = container_of(w, struct log_large_job, work);

    store_work_done(j->log->store);
    j->large->done(j->large);
}

static enum rc check(struct log *l, struct log_large *g, struct err *e)
{
    struct batch_head h;

    if (store_usable(l->store, e) || log_ready(l, e)) return e->rc;
    if (g->batch.n >= 8) store_be64(g->batch.p, 0);
    if (!batch_head_decode(buf_view(&g->batch), &h) || h.bytes != g->batch.n) return err_set(e, RC_INVALID, "not one whole record batch");
    if (store_room_for_disk(l->store, g->batch.n, 0, e)) return e->rc;
    if (!l->known && log_make_folder(l, e)) return e->rc == RC_OVERLOAD ? err_set(e, RC_UNAVAILABLE, "a topic of this name is being deleted") : log_fail(l, e);
    return RC_OK;
}

void log_large_prepare(struct log *l, struct log_large *g)
{
    struct log_large_job *j = xnew(struct log_large_job);
    uint8_t               id[8];

    must(!g->job);
    g->job = j;
    j->log = l;
    l->refs++;
    j->large = g;
    random_bytes(id, sizeof id);
    snprintf(j->ref.file, sizeof j->ref.file, "%s%016" PRIx64, PREFIX, load_be64(id));
    j->ref.bytes = g->batch.n;
    g->rc = check(l, g, &g->err);
    store_work(l->store, &j->work, LANE_LARGE, large_run, large_done);
}

enum rc log_large_append(struct log *l, struct log_large *g, unsigned flags, struct log_appended *ret, struct err *e)
{
    struct log_large_job *j = g->job;

    must(j && j->log == l && !g->rc && !j->appended);
    if (l->deleted) return err_set(e, RC_NOT_FOUND, "the log was deleted");
    memcpy(j->ref.head, g->batch.p, sizeof j->ref.head);
    if (log_stage_large(l, &j->ref, flags, ret, e)) return e->rc;
    memcpy(g->batch.p, j->ref.head, sizeof j->ref.head);
    j->appended = true;
    return RC_OK;
}

void log_large_free(struct log_large *g)
{
    struct log_large_job *j = g->job;
    char                  path[STORE_PATH_BYTES];
    struct buf            names = {0};

    buf_fini(&g->batch);
    if (!j) return;
    if (j->on_disk && !j->appended && !j->log->deleted) {
        job_path(j, path);
        buf_append(&names, bytes_of(path, strlen(path) + 1));
        store_remove(j->log->store, &names);
    }
    log_unref(j->log);
    free(j);
    g->job = NULL;
}
