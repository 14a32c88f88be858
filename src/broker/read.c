/* Reads from inside the process: fetches and watches of the bus, and whoever reads a partition through.
 *
 * Both wait at their partition and are moved to a list of the broker when its durable end moves; reads_turn() serves that
 * list. Only durable batches are seen, and only what transactions have decided.   SPDX-License-Identifier: Apache-2.0
 */
#include "broker/core.h"
#include "broker/store_core.h"
#include "broker/txn_index.h"
#include "kafka/batch.h"

enum { WATCH_BYTES = 1 << 20, SCAN_BYTES = 1 << 20, BATCH_ATTRIBUTES_AT = 22 };

enum rc partition_read(struct partition *p, int64_t offset, size_t max, struct buf *into,
                       int64_t *ret_next, struct err *e)
{
    struct log *log = partition_log(p);
    struct log_slice s = {0};
    enum rc rc = log_read(log, offset, max, log_durable_end(log), true, &s, e);

    *ret_next = offset;
    if (rc) return rc;
    if (s.n) {
        rc = log_slice_load(&s, into, e);
        *ret_next = s.offset_next;
        p->topic->bytes_out += s.n;
    }
    log_slice_fini(&s);
    return rc;
}

/* Whole batches of what lies from `at` to `end`. */
static enum rc scan_piece(struct bytes in, int64_t at, int64_t end, partition_scan_fn fn, void *ctx, struct err *e)
{
    for (size_t done = 0; done < in.n;) {
        struct batch b;
        enum batch_fault fault = batch_view((struct bytes){in.p + done, in.n - done}, &b);

        if (fault)
            return err_set(e, RC_CORRUPT, "after offset %lld: %s", (long long)at,
                           batch_fault_name(fault));
        if (!batch_crc_ok(&b))
            return err_set(e, RC_CORRUPT, "batch at offset %lld: its checksum is wrong", (long long)b.base_offset);
        if (batch_last_offset(&b) < at || batch_last_offset(&b) >= end)
            return err_set(e, RC_CORRUPT, "a batch says that it ends at offset %lld, between %lld and %lld", (long long)batch_last_offset(&b),
                           (long long)at, (long long)end);
        if (fn(ctx, &b, e)) return e->rc;
        at = batch_next_offset(&b);
        done += b.raw.n;
    }
    return RC_OK;
}

static enum rc scan(struct partition *p, partition_scan_fn fn, void *ctx, struct err *e)
{
    AUTO(buf_fini) struct buf in = {0};
    int64_t at, end;

    if (log_health(partition_log(p), e)) return e->rc; /* loads it: before that its bounds may not be all of it */
    at = partition_start(p);
    end = partition_high(p);
    while (at < end) {
        int64_t next = at;

        buf_clear(&in);
        if (partition_read(p, at, SCAN_BYTES, &in, &next, e)) return e->rc;
        if (scan_piece(buf_view(&in), at, end, fn, ctx, e)) return e->rc;
        if (next <= at) break;
        at = next;
    }
    return RC_OK;
}

enum rc partition_scan(struct partition *p, partition_scan_fn fn, void *ctx, struct err *e)
{
    struct err known;

    if (!scan(p, fn, ctx, e)) return RC_OK;
    return log_health(partition_log(p), &known) ? e->rc : log_fail(partition_log(p), e);
}

/* ---- what is decided ---- */

enum rc partition_stable(struct partition *p, int64_t *ret, struct err *e)
{
    return log_stable_end(partition_log(p), ret, e);
}

static bool is_aborted(const struct batch *b, const struct aborted_txn *list, size_t n)
{
    if (!batch_is(b, BATCH_TRANSACTIONAL)) return false;
    for (size_t i = 0; i < n; i++)
        if (list[i].producer_id == b->producer_id && b->base_offset >= list[i].first &&
            b->base_offset < list[i].last)
            return true;
    return false;
}

/* In our copy what was aborted looks like a marker: readers skip both, and still see where to go on. */
static void mark_aborted(struct buf *in, size_t from, const struct buf *aborted)
{
    const struct aborted_txn *list = (const struct aborted_txn *)(const void *)aborted->p;
    struct batch b;

    for (size_t at = from; at < in->n; at += b.raw.n) {
        if (batch_view((struct bytes){in->p + at, in->n - at}, &b)) return;
        if (is_aborted(&b, list, aborted->n / sizeof *list)) in->p[at + BATCH_ATTRIBUTES_AT] |= BATCH_CONTROL;
    }
}

/* As partition_read, as a consumer with read_committed reads. */
static enum rc read_decided(struct partition *p, int64_t offset, size_t max, struct buf *into,
                            int64_t *ret_next, struct err *e)
{
    AUTO(buf_fini) struct buf aborted = {0};
    AUTO(log_slice_fini) struct log_slice s = {0};
    struct log *log = partition_log(p);
    size_t from = into->n;
    int64_t stable;

    *ret_next = offset;
    if (partition_stable(p, &stable, e)) return e->rc;
    if (log_read(log, offset, max, stable, true, &s, e)) return e->rc;
    if (!s.n) return RC_OK;
    if (log_slice_load(&s, into, e) || log_aborted(log, offset, s.offset_next, &aborted, e)) return e->rc;
    if (aborted.n) mark_aborted(into, from, &aborted);
    *ret_next = s.offset_next;
    p->topic->bytes_out += s.n;
    return RC_OK;
}

/* -1 the start, -2 the end. RC_INVALID: out of range. */
static enum rc resolve(struct partition *p, int64_t *offset, struct err *e)
{
    int64_t start = partition_start(p), high = partition_high(p);

    if (*offset == -1) *offset = start;
    if (*offset == -2 && partition_stable(p, offset, e)) return e->rc;
    if (*offset >= start && *offset <= high) return RC_OK;
    return err_set(e, RC_INVALID, "offset %lld is outside of %lld to %lld", (long long)*offset,
                   (long long)start, (long long)high);
}

/* ---- fetch ---- */

static void fetch_ready(struct broker_fetch *f)
{
    timer_cancel(f->broker->timers, &f->timer);
    list_remove(&f->link);
    list_push(&f->broker->reads_ready, &f->link);
    broker_again(f->broker);
}

static void fetch_late(struct timer *t)
{
    fetch_ready(container_of(t, struct broker_fetch, timer));
}

void broker_fetch(struct broker *b, struct broker_fetch *f)
{
    int64_t stable;

    f->broker = b;
    f->err = (struct err){0};
    f->timer = (struct timer){0};
    f->batches = (struct buf){0};
    f->start_offset = f->end_offset = -1;
    list_init(&f->link);
    f->from = broker_partition(b, f->topic, f->partition);
    if (!f->from)
        err_set(&f->err, RC_NOT_FOUND, "fetch: there is no partition " STR_FMT "/%d",
                STR_ARG(f->topic), f->partition);
    else if (!err_keep(log_health(partition_log(f->from), &f->err), &f->err) &&
             !err_keep(resolve(f->from, &f->offset, &f->err), &f->err) &&
             !err_keep(partition_stable(f->from, &stable, &f->err), &f->err) && f->offset >= stable &&
             f->deadline_ms > broker_now_ms(b)) {
        list_push(&f->from->waits, &f->link);
        timer_set(b->timers, &f->timer, f->deadline_ms, fetch_late);
        return;
    }
    fetch_ready(f);
}

void broker_fetch_cancel(struct broker_fetch *f)
{
    if (!f->err.rc) err_set(&f->err, RC_CANCELLED, "fetch: cancelled");
    fetch_ready(f);
}

static void fetch_end(struct broker_fetch *f)
{
    int64_t next;

    if (!f->err.rc && f->from) {
        f->start_offset = partition_start(f->from);
        if (!err_keep(partition_stable(f->from, &f->end_offset, &f->err), &f->err) && f->offset < f->end_offset &&
            err_keep(read_decided(f->from, f->offset, f->size_max, &f->batches, &next, &f->err),
                     &f->err) == RC_NOT_FOUND)
            f->err.rc = RC_INVALID; /* the start moved past it */
    }
    f->done(f);
}

/* ---- watch ---- */

static void watch_ready(struct broker_watch *w)
{
    list_remove(&w->link);
    list_push(&w->broker->watches_ready, &w->link);
    broker_again(w->broker);
}

void broker_watch(struct broker *b, struct broker_watch *w)
{
    w->broker = b;
    w->err = (struct err){0};
    w->wants = true;
    w->stopped = w->tell = false;
    list_init(&w->link);
    w->from = broker_partition(b, w->topic, w->partition);
    if (!w->from)
        err_set(&w->err, RC_NOT_FOUND, "watch: there is no partition " STR_FMT "/%d",
                STR_ARG(w->topic), w->partition);
    else if (!err_keep(log_health(partition_log(w->from), &w->err), &w->err))
        (void)err_keep(resolve(w->from, &w->offset, &w->err), &w->err);
    watch_ready(w);
}

void broker_watch_more(struct broker_watch *w)
{
    w->wants = true;
    if (!w->stopped) watch_ready(w);
}

void broker_watch_tell(struct broker_watch *w)
{
    w->tell = true;
    if (!w->stopped) watch_ready(w);
}

void broker_watch_stop(struct broker_watch *w)
{
    if (!w->err.rc) err_set(&w->err, RC_CANCELLED, "watch: stopped");
    watch_ready(w);
}

/* Moves the batches that are not the bus's to the front; how many bytes they are. */
static size_t keep_foreign(uint8_t *p, size_t n)
{
    struct batch b;
    size_t kept = 0;

    for (size_t at = 0; at < n; at += b.raw.n) {
        if (batch_view((struct bytes){p + at, n - at}, &b)) break;
        if (b.producer_id == BROKER_BUS_PRODUCER_ID || batch_is(&b, BATCH_CONTROL)) continue;
        if (kept != at) memmove(p + kept, p + at, b.raw.n);
        kept += b.raw.n;
    }
    return kept;
}

/* Where the log's start has moved past it, it ends: who watches has to know that something is missing. */
static bool watch_has_more(struct broker_watch *w, int64_t *ret_stable)
{
    if (w->err.rc || !w->wants || err_keep(partition_stable(w->from, ret_stable, &w->err), &w->err)) return false;
    if (w->offset >= partition_start(w->from)) return w->offset < *ret_stable;
    err_set(&w->err, RC_INVALID, "watch: offset %lld is gone, the log begins at %lld", (long long)w->offset,
            (long long)partition_start(w->from));
    return false;
}

/* Hands over one piece, or goes back to waiting. */
static void watch_step(struct broker_watch *w)
{
    AUTO(buf_fini) struct buf batches = {0};
    struct partition *p = w->from;
    int64_t stable;

    while (watch_has_more(w, &stable)) {
        int64_t next;

        if (log_is_of_bus(partition_log(p), w->offset)) { /* nothing to hand over: it need not be read */
            w->offset = stable;
            continue;
        }
        buf_clear(&batches);
        if (err_keep(read_decided(p, w->offset, WATCH_BYTES, &batches, &next, &w->err), &w->err)) break;
        if (next == w->offset) break; /* its segment has no room for it: the log moves again when there is some */
        w->offset = next;
        batches.n = keep_foreign(batches.p, batches.n);
        if (!batches.n) continue;
        w->wants = w->tell = false;
        list_push(&p->watches, &w->link);
        w->batches(w, buf_view(&batches), next);
        return;
    }
    if (!w->err.rc && w->tell && w->wants) {
        w->wants = w->tell = false;
        list_push(&p->watches, &w->link);
        w->batches(w, (struct bytes){0}, w->offset);
        return;
    }
    if (!w->err.rc) {
        list_push(&p->watches, &w->link);
        return;
    }
    w->stopped = true;
    w->done(w);
}

/* ---- both ---- */

void reads_moved(struct partition *p)
{
    list_each_safe(it, &p->waits) fetch_ready(container_of(it, struct broker_fetch, link));
    list_each_safe(it, &p->watches)
    {
        struct broker_watch *w = container_of(it, struct broker_watch, link);

        if (w->wants) watch_ready(w);
    }
}

void reads_gone(struct partition *p, const struct err *why)
{
    struct broker *b = p->topic->broker;

    reads_moved(p);
    list_each(it, &b->reads_ready)
    {
        struct broker_fetch *f = container_of(it, struct broker_fetch, link);

        if (f->from != p) continue;
        f->from = NULL;
        if (!f->err.rc) f->err = *why;
    }
    list_each_safe(it, &p->watches) watch_ready(container_of(it, struct broker_watch, link));
    list_each(it, &b->watches_ready)
    {
        struct broker_watch *w = container_of(it, struct broker_watch, link);

        if (w->from != p) continue;
        w->from = NULL;
        if (!w->err.rc) w->err = *why;
    }
}

void reads_turn(struct broker *b)
{
    struct list now, *it;

    list_init(&now);
    while ((it = list_pop(&b->reads_ready)))
        fetch_end(container_of(it, struct broker_fetch, link));
    while ((it = list_pop(&b->watches_ready)))
        list_push(&now, it);
    while ((it = list_pop(&now)))
        watch_step(container_of(it, struct broker_watch, link));
}

void reads_cancel(struct broker *b)
{
    struct err why;

    err_set(&why, RC_CANCELLED, "the broker is going down");
    for (size_t i = 0; i < b->topics_n; i++)
        for (int32_t k = 0; k < b->topics_sorted[i]->partitions_n; k++)
            if (b->topics_sorted[i]->partitions[k])
                reads_gone(b->topics_sorted[i]->partitions[k], &why);
    reads_turn(b);
}
