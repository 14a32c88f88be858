/* Design note: retention only moves the start of a log, as a wal record like any other; the files go away when a checkpoint
 * has made the new start durable. Segments go oldest first, and the first that stays ends the step. The newest segment is
 * ended when it should go too, so that an idle topic really becomes empty.
 * SPDX-License-Identifier: Apache-2.0 */
#include "broker/store_core.h"

/* Largest timestamp of a segment: of its records, else of its file. -1 when nobody knows. */
static enum rc segment_time(struct log *l, struct segment *s, struct segment_place *in, int64_t *ret, struct err *e)
{
    char           path[SEGMENT_PATH_BYTES];
    struct fs_stat st;

    if (!s->loaded && segment_load(s, in, UINT32_MAX, UINT32_MAX, l->config.index_interval_bytes, e)) return e->rc;
    *ret = s->max_time;
    if (s->max_time >= 0 || !s->size) return RC_OK;
    segment_path(in, s->base, ".log", path);
    if (fs_stat(l->store->fs, path, &st, e)) return e->rc;
    *ret = st.mtime_ms;
    return RC_OK;
}

/* Where the start should be. */
static enum rc start_wanted(struct log *l, int64_t now_ms, int64_t *ret, struct err *e)
{
    struct segment_place in = log_place(l);
    uint64_t             total = 0;

    *ret = l->start;
    if (log_size(l, &total, e)) return e->rc;
    for (size_t i = 0; i < l->segments_n; i++) {
        struct segment *s = l->segments[i];
        int64_t         next = i + 1 < l->segments_n ? l->segments[i + 1]->base : l->end, time = -1;

        if (next <= l->start) continue;
        if (next > l->durable_end || (!s->size && i + 1 == l->segments_n)) break;
        if (!s->size) continue;                                   /* compaction left nothing in it */
        if (segment_time(l, s, &in, &time, e)) return e->rc;
        if (!(l->config.retention_ms >= 0 && time >= 0 && now_ms - time > l->config.retention_ms) &&
            !(l->config.retention_bytes >= 0 && total >= s->size && total - s->size >= (uint64_t)l->config.retention_bytes))
            break;
        total -= s->size;
        *ret = next;
    }
    return RC_OK;
}

enum rc log_retain(struct log *l, int64_t now_ms, bool *ret_changed, struct err *e)
{
    struct wal_record r = {.kind = WAL_LOG_START, .topic = l->id, .partition = l->partition};

    *ret_changed = false;
    if (!l->known || !(l->config.cleanup & LOG_CLEANUP_DELETE)) return RC_OK;
    if (store_usable(l->store, e) || log_ready(l, e)) return e->rc;
    if (start_wanted(l, now_ms, &r.offset, e)) return log_fail(l, e);
    if (r.offset == l->start) return RC_OK;
    if (!store_has_room(l->store, 0)) return err_set(e, RC_OVERLOAD, "the write-ahead log is full until its checkpoint ends");
    if (log_move_start(l, r.offset, e)) return log_fail(l, e);
    l->start_seq = store_stage(l->store, &r, (struct bytes){0}, (struct bytes){0});
    store_checkpoint_soon(l->store);
    *ret_changed = true;
    return RC_OK;
}
