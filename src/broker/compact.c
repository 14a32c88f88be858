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

enum { STEP_BYTES = 64 << 20, STEP_BYTES_MIN = 64 << 10, STEPS_PER_SECOND = 10 };

struct compact_job {
    struct list       link;                    /* in store.compact_waits between two steps that are held back */
    uint64_t          due_ms;                  /* monotonic */
    struct work       work;
    struct log       *log;
    struct clean_pass pass;
    struct cleaner   *cleaner;
    uint64_t          step_bytes;
    bool              done;
    struct producers  producers;
    enum rc           rc;
    struct err        err;
};

/* Closed segments that lie below `end` and whose newest record is old enough. */
static size_t cleanable(struct log *l, struct segment_place *in, int64_t end, int64_t now_ms)
{
    int64_t    stable = producers_first_unstable(&l->producers);
    size_t     n = 0;
    struct err e;

    while (n + 1 < l->segments_n && l->segments[n + 1]->base <= end && l->segments[n + 1]->base <= stable) {
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

    j->rc = clean_some(j->cleaner, j->step_bytes, &j->done, &j->err);
    if (j->rc || j->done) j->cleaner = clean_end(j->cleaner);
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
    log_unref(l);
    clean_end(j->cleaner);
    producers_fini(&j->producers);
    free(j->pass.in);
    free(j->pass.out);
    free(j);
}

static bool is_over(struct compact_job *j)
{
    const struct store *s = j->log->store;

    return j->log->deleted || j->log->offline || s->fatal || s->closing;
}

/* There was more than the memory for keys could hold: the next pass begins where this one ended. */
static void go_on(struct log *l, const struct clean_pass *p)
{
    if (p->cleaned >= p->end || l->offline || l->deleted || l->store->closing) return;
    (void)log_compact(l, p->now_ms);
}

static void count(struct store *s, const struct clean_pass *p)
{
    s->stats.compactions++;
    s->stats.compacted_records_in += p->records_in;
    s->stats.compacted_records_out += p->records_out;
    s->stats.compacted_bytes_read += p->bytes_read;
    s->stats.compacted_bytes_written += p->bytes_written;
}

static void synced(struct work *w)
{
    struct compact_job *j = container_of(w, struct compact_job, work);
    struct log         *l = j->log;
    struct clean_pass   pass;

    store_work_done(l->store);
    if (!is_over(j)) {
        l->hint.offset_next = -1;
        for (size_t i = 0; i < j->pass.out_n && !j->rc; i++) j->rc = swap_group(l, &j->pass.out[i], &j->err);
        if (j->rc) log_fail(l, &j->err);                          /* the next start goes on from the .swap files */
        l->swaps++;                                               /* a checkpoint under way still has the numbers from before */
        l->cleaned = j->pass.cleaned;
        store_dirty(l->store, l);
        count(l->store, &j->pass);
        diag(DIAG_DEBUG, "log.compacted", KV_CSTR("topic", l->topic), KV_U64("partition", l->partition), KV_U64("records_in", j->pass.records_in),
             KV_U64("records_out", j->pass.records_out));
    }
    pass = j->pass;
    l->refs++;
    compact_end(j);
    go_on(l, &pass);
    log_unref(l);
}

/* From the mark on, what the checkpoint knows of the closed segments does not count; it goes when the next checkpoint knows better. */
static enum rc to_swap(struct log *l, const struct clean_pass *p, struct err *e)
{
    AUTO(file_closep) struct file *mark = NULL;
    struct segment_place in = {NULL, p->dir};
    char                 from[SEGMENT_PATH_BYTES], to[SEGMENT_PATH_BYTES];

    must((size_t)snprintf(to, sizeof to, "%s/" LOG_SWAP_MARK, l->dir) < sizeof to);
    l->swaps++;
    l->swap_marked = true;
    if (fs_open(p->fs, to, FS_WRITE | FS_CREATE, &mark, e)) return e->rc;
    for (size_t i = 0; i < p->out_n; i++) {
        segment_path(&in, p->out[i].base, ".cleaned", from);
        segment_path(&in, p->out[i].base, ".swap", to);
        if (fs_rename(p->fs, from, to, e)) return e->rc;
    }
    return RC_OK;
}

static void cleaned(struct work *w);

/* The next piece of the pass, or with a limit of speed (log.cleaner.io.max.bytes.per.second) a wait for it. */
static void step(struct compact_job *j, bool first)
{
    struct store *s = j->log->store;
    uint64_t      rate = s->cleaner_bytes_per_second;

    j->step_bytes = rate ? MAX(MIN(rate / STEPS_PER_SECOND, (uint64_t)STEP_BYTES), (uint64_t)STEP_BYTES_MIN) : (uint64_t)STEP_BYTES;
    if (first || !rate) {
        store_work(s, &j->work, LANE_COMPACT, clean_step, cleaned);
        return;
    }
    j->due_ms = clock_mono_ms(s->opt.clock) + MAX(j->step_bytes * 1000 / rate, (uint64_t)1);
    list_push(&s->compact_waits, &j->link);
}

void compact_turn(struct store *s, uint64_t now_ms)
{
    list_each_safe(at, &s->compact_waits) {
        struct compact_job *j = container_of(at, struct compact_job, link);

        if (j->due_ms > now_ms && !is_over(j)) continue;
        list_remove(&j->link);
        if (is_over(j)) compact_end(j);
        else store_work(s, &j->work, LANE_COMPACT, clean_step, cleaned);
    }
}

uint64_t compact_next_ms(const struct store *s)
{
    uint64_t next = UINT64_MAX;

    list_each(at, &s->compact_waits) next = MIN(next, container_of(at, struct compact_job, link)->due_ms);
    return next;
}

static void cleaned(struct work *w)
{
    struct compact_job *j = container_of(w, struct compact_job, work);
    struct log         *l = j->log;

    store_work_done(l->store);
    if (!j->rc && !j->done && !is_over(j)) {
        step(j, false);
        return;
    }
    if (j->rc && !is_over(j)) {
        l->store->stats.compactions_failed++;
        diag(DIAG_WARN, "log.not_compacted", KV_CSTR("topic", l->topic), KV_U64("partition", l->partition), KV_CSTR("why", j->err.text));
    }
    if (j->rc || is_over(j)) {
        compact_end(j);
    } else if (to_swap(l, &j->pass, &j->err)) {
        log_fail(l, &j->err);
        compact_end(j);
    } else {
        store_work(l->store, &j->work, LANE_COMPACT, sync_step, synced);
    }
}

static uint64_t durable_size(const struct log *l, const struct segment *s)
{
    return s->base < l->durable_segment ? s->size : s->base == l->durable_segment ? l->durable_at : 0;
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
    j->pass = (struct clean_pass){.fs = l->store->fs, .dir = l->dir, .in = xnew_array(struct clean_segment, l->segments_n), .in_n = n,
                                  .ahead_n = l->segments_n - n,
                                  .dirty = l->cleaned, .end = l->segments[n]->base, .now_ms = now_ms,
                                  .delete_retention_ms = l->config.delete_retention_ms, .segment_bytes_max = l->config.segment_bytes,
                                  .keys_bytes_max = l->store->cleaner_keys_bytes, .producers = &j->producers};
    for (size_t i = 0; i < l->segments_n; i++) j->pass.in[i] = (struct clean_segment){l->segments[i]->base, durable_size(l, l->segments[i])};
    j->cleaner = clean_begin(&j->pass);
    list_init(&j->link);
    l->compacting = true;
    step(j, true);
}

/* For the time of a pass, what stays is on the disk twice. */
static bool has_disk_room(struct log *l, size_t n)
{
    uint64_t sum = 0;

    for (size_t i = 0; i < n; i++) sum += l->segments[i]->size;
    if (store_room_for_copy(l->store, sum)) return true;
    diag(DIAG_DEBUG, "log.not_compacted", KV_CSTR("topic", l->topic), KV_U64("partition", l->partition), KV_CSTR("why", "the disk is full"));
    return false;
}

bool log_compact(struct log *l, int64_t now_ms)
{
    struct segment_place in = log_place(l);
    struct err           e;
    size_t               n;

    if (!l->known || l->compacting || l->store->fatal || !(l->config.cleanup & LOG_CLEANUP_COMPACT)) return false;
    if (log_ready(l, &e) || log_producers_load(l, &e) || log_settle(l, &e)) return false;
    n = cleanable(l, &in, l->disk.segment_base, now_ms);
    l->compact_after = 0;
    if (!is_due(l, n, now_ms)) {
        if (is_due(l, cleanable(l, &in, INT64_MAX, now_ms), now_ms)) {
            l->compact_after = now_ms;
            store_checkpoint_soon(l->store);
        }
        return false;
    }
    if (!has_disk_room(l, n)) return false;
    start(l, n, now_ms);
    return true;
}
