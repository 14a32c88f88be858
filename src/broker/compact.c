/* Design note: the loop decides and swaps, a worker reads and writes (clean.c). Only closed segments wholly below the last
 * checkpoint take part: nothing in the wal speaks of them any more, so replay never meets their old form.
 *
 * The swap: the worker leaves NNN.cleaned files, synced; the loop renames them to NNN.swap; a worker syncs the folder: now the
 * pass has happened. The loop deletes the segments a swap file covers but for the first, and renames the swap file over that
 * one. A start that finds a .swap does the same (log_open.c); one that finds a .cleaned throws it away. Only the loop gives
 * files names that count, since only the loop knows whether the folder still belongs to this log.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/diag.h"
#include "broker/clean.h"
#include "broker/store_core.h"
#include <stdio.h>

enum { KEYS_BYTES_MAX = 64 << 20, BACKOFF_MS = 15000 };

struct compact_job {
    struct work       work;
    struct log       *log;
    struct clean_pass pass;
    struct producers  producers;
    enum rc           rc;
    struct err        err;
};

/* Closed segments below the checkpoint whose newest record is old enough. */
static size_t cleanable(struct log *l, struct segment_place *in, int64_t now_ms)
{
    int64_t    stable = producers_first_unstable(&l->producers);
    size_t     n = 0;
    struct err e;

    while (n + 1 < l->segments_n && l->segments[n + 1]->base <= l->disk.segment_base && l->segments[n + 1]->base <= stable) {
        struct segment *s = l->segments[n];

        if (!s->loaded && segment_load(s, in, UINT32_MAX, UINT32_MAX, l->config.index_interval_bytes, &e)) break;
        if (l->config.min_compaction_lag_ms > 0 && now_ms - s->max_time < l->config.min_compaction_lag_ms) break;
        n++;
    }
    return n;
}

static bool is_due(const struct log *l, size_t n, int64_t now_ms)
{
    uint64_t dirty = 0, total = 0;
    bool     too_old = false;

    for (size_t i = 0; i < n; i++) {
        const struct segment *s = l->segments[i];

        total += s->size;
        if (l->segments[i + 1]->base <= l->cleaned) continue;
        dirty += s->size;
        if (s->first_time >= 0 && l->config.max_compaction_lag_ms < INT64_MAX && now_ms - s->first_time > l->config.max_compaction_lag_ms) too_old = true;
    }
    return dirty && (too_old || (double)dirty > l->config.min_cleanable_dirty_ratio * (double)total);
}

/* ---- on the worker ---- */

static void clean_step(struct work *w)
{
    struct compact_job *j = container_of(w, struct compact_job, work);

    j->rc = clean_run(&j->pass, &j->err);
}

static void sync_step(struct work *w)
{
    struct compact_job *j = container_of(w, struct compact_job, work);

    j->rc = fs_sync_dir(j->pass.fs, j->log->dir, &j->err);
}

/* ---- on the loop ---- */

enum rc log_swap_in(struct log *l, int64_t base, const int64_t *covered, size_t covered_n, struct err *e)
{
    static const char *const caches[] = {".index", ".timeindex", ".txnindex"};
    char                 from[SEGMENT_PATH_BYTES], to[SEGMENT_PATH_BYTES];
    struct segment_place in = log_place(l);
    struct fs           *fs = l->store->fs;

    for (size_t i = 0; i < covered_n; i++) {
        segment_path(&in, covered[i], ".log", to);
        if (covered[i] != base && fs_unlink(fs, to, e) && e->rc != RC_NOT_FOUND) return e->rc;
        for (size_t k = 0; k < countof(caches); k++) {
            segment_path(&in, covered[i], caches[k], to);
            if (fs_unlink(fs, to, e) && e->rc != RC_NOT_FOUND) return e->rc;
        }
    }
    segment_path(&in, base, ".swap", from);
    segment_path(&in, base, ".log", to);
    return fs_rename(fs, from, to, e);
}

static size_t segment_index(const struct log *l, int64_t base)
{
    size_t i = 0;

    while (i < l->segments_n && l->segments[i]->base != base) i++;
    must(i < l->segments_n);
    return i;
}

static enum rc swap_group(struct log *l, const struct clean_group *g, struct err *e)
{
    size_t   at = segment_index(l, g->base);
    int64_t *covered = xnew_array(int64_t, g->segments);
    enum rc  rc;

    for (size_t i = 0; i < g->segments; i++) {
        covered[i] = l->segments[at + i]->base;
        segment_fini(l->segments[at + i]);
    }
    rc = log_swap_in(l, g->base, covered, g->segments, e);
    free(covered);
    segment_init(l->segments[at], g->base);
    l->segments[at]->size = g->size;
    l->segments[at]->loaded = false;
    for (size_t i = 1; i < g->segments; i++) free(l->segments[at + i]);
    l->segments_n -= g->segments - 1;
    memmove(l->segments + at + 1, l->segments + at + g->segments, (l->segments_n - at - 1) * sizeof *l->segments);
    return rc;
}

static void compact_end(struct compact_job *j)
{
    struct log *l = j->log;

    l->compacting = false;
    l->compacted_ms = clock_wall_ms(l->store->opt.clock);
    log_unref(l);
    producers_fini(&j->producers);
    free(j->pass.in);
    free(j->pass.out);
    free(j);
}

static bool is_over(struct compact_job *j) { return j->log->deleted || j->log->store->fatal || j->log->offline; }

static void synced(struct work *w)
{
    struct compact_job *j = container_of(w, struct compact_job, work);
    struct log         *l = j->log;

    store_work_done(l->store);
    if (!is_over(j)) {
        l->hint.offset_next = -1;
        for (size_t i = 0; i < j->pass.out_n && !j->rc; i++) j->rc = swap_group(l, &j->pass.out[i], &j->err);
        if (j->rc) log_fail(l, &j->err);                          /* the next start goes on from the .swap files */
        l->cleaned = j->pass.cleaned;
        store_dirty(l->store, l);
        diag(DIAG_DEBUG, "log.compacted", KV_CSTR("topic", l->topic), KV_U64("partition", l->partition), KV_U64("records_in", j->pass.records_in),
             KV_U64("records_out", j->pass.records_out));
    }
    compact_end(j);
}

static enum rc to_swap(const struct clean_pass *p, struct err *e)
{
    struct segment_place in = {NULL, p->dir};
    char                 from[SEGMENT_PATH_BYTES], to[SEGMENT_PATH_BYTES];

    for (size_t i = 0; i < p->out_n; i++) {
        segment_path(&in, p->out[i].base, ".cleaned", from);
        segment_path(&in, p->out[i].base, ".swap", to);
        if (fs_rename(p->fs, from, to, e)) return e->rc;
    }
    return RC_OK;
}

static void cleaned(struct work *w)
{
    struct compact_job *j = container_of(w, struct compact_job, work);
    struct log         *l = j->log;

    store_work_done(l->store);
    if (j->rc && !l->deleted)
        diag(DIAG_WARN, "log.not_compacted", KV_CSTR("topic", l->topic), KV_U64("partition", l->partition), KV_CSTR("why", j->err.text));
    if (j->rc || is_over(j)) {
        compact_end(j);
    } else if (to_swap(&j->pass, &j->err)) {
        log_fail(l, &j->err);
        compact_end(j);
    } else {
        store_work(l->store, &j->work, LANE_COMPACT, sync_step, synced);
    }
}

static void start(struct log *l, size_t n, int64_t now_ms)
{
    struct compact_job *j = xnew(struct compact_job);
    struct buf          copy = {0};
    struct err          e;

    j->log = l;
    l->refs++;
    producers_encode(&l->producers, &copy);
    must(!producers_decode(buf_view(&copy), &j->producers, &e));
    buf_fini(&copy);
    j->pass = (struct clean_pass){.fs = l->store->fs, .dir = l->dir, .in = xnew_array(struct clean_segment, n), .in_n = n,
                                  .dirty = l->cleaned, .end = l->segments[n]->base, .now_ms = now_ms,
                                  .delete_retention_ms = l->config.delete_retention_ms, .segment_bytes_max = l->config.segment_bytes,
                                  .keys_bytes_max = KEYS_BYTES_MAX, .producers = &j->producers};
    for (size_t i = 0; i < n; i++) j->pass.in[i] = (struct clean_segment){l->segments[i]->base, l->segments[i]->size};
    l->compacting = true;
    store_work(l->store, &j->work, LANE_COMPACT, clean_step, cleaned);
}

bool log_compact(struct log *l, int64_t now_ms)
{
    struct segment_place in = log_place(l);
    struct err           e;
    size_t               n;

    if (!l->known || l->compacting || l->store->fatal || !(l->config.cleanup & LOG_CLEANUP_COMPACT) || now_ms - l->compacted_ms < BACKOFF_MS) return false;
    if (log_ready(l, &e) || log_producers_load(l, &e)) return false;
    n = cleanable(l, &in, now_ms);
    if (!is_due(l, n, now_ms)) return false;
    start(l, n, now_ms);
    return true;
}
