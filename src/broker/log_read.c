/* Design note: a read finds the batch of its first offset, then takes as many whole batches of the same segment as fit. A
 * reader that goes on where it stopped needs no index: the log remembers the last place. When everything up to the bound
 * fits there is nothing to walk either, since the bound is usually the end. Otherwise the index gives a batch start near
 * the limit, and the walk covers at most an index interval.
 * SPDX-License-Identifier: Apache-2.0 */
#include "broker/store_core.h"
#include <inttypes.h>

/* The segment that holds the offset, or the one after a gap. */
static size_t segment_of(const struct log *l, int64_t offset)
{
    size_t lo = 0, hi = l->segments_n;

    while (hi - lo > 1) {
        size_t mid = lo + (hi - lo) / 2;

        if (l->segments[mid]->base <= offset) lo = mid;
        else hi = mid;
    }
    return lo;
}

static enum rc segment_ready(struct log *l, struct segment *s, struct segment_place *in, struct err *e)
{
    if (s->loaded) return RC_OK;
    return segment_load(s, in, UINT32_MAX, UINT32_MAX, l->config.index_interval_bytes, e);
}

static int64_t segment_end(const struct log *l, const struct segment *s)
{
    for (size_t i = l->segments_n; i-- > 1;)
        if (l->segments[i - 1] == s) return l->segments[i]->base;
    return l->end;
}

/* A head that the checksum does not cover says where the batch is: it cannot be behind its segment's end. */
static enum rc check_head(const struct log *l, const struct segment *s, uint64_t at, const struct batch_head *h, struct err *e)
{
    if (h->last_offset < segment_end(l, s)) return RC_OK;
    return err_set(e, RC_CORRUPT, "segment %" PRId64 ": the batch at %" PRIu64 " says that it ends at offset %" PRId64 ", behind the segment's end %" PRId64,
                   s->base, at, h->last_offset, segment_end(l, s));
}

/* The batch that holds `offset`, or the first one behind a gap; RC_NOT_FOUND at the end. */
static enum rc seek(struct log *l, struct segment_place *in, int64_t offset, struct segment **ret, uint64_t *ret_at,
                    struct batch_head *ret_head, struct err *e)
{
    size_t i = segment_of(l, offset);

    for (; i < l->segments_n; i++) {
        struct segment *s = l->segments[i];

        if (!s->size) continue;
        if (segment_ready(l, s, in, e)) return e->rc;
        *ret = s;
        if (l->hint.offset_next == offset && l->hint.segment_base == s->base && l->hint.at <= s->size) {
            if (l->hint.at == s->size) continue;
            *ret_at = l->hint.at;
            return segment_head(s, in, *ret_at, ret_head, e) ? e->rc : check_head(l, s, *ret_at, ret_head, e);
        }
        if (!segment_seek(s, in, offset, ret_at, ret_head, e)) return check_head(l, s, *ret_at, ret_head, e);
        if (e->rc != RC_NOT_FOUND) return e->rc;
    }
    return err_set(e, RC_NOT_FOUND, "nothing at or behind offset %" PRId64, offset);
}

/* How much of a segment is durable and in its file, and which offset comes after that. */
static uint64_t durable_part(const struct log *l, const struct segment *s, int64_t *ret_end)
{
    uint64_t part = s->base == l->durable_segment ? l->durable_at : s->size;

    *ret_end = MIN(segment_end(l, s), l->durable_end);
    if (!l->held.n || s != log_active(l)) return part;
    *ret_end = MIN(*ret_end, l->held_from);
    return MIN(part, s->size - l->held.n);
}

/* Extends the run that starts with h at `at`: whole batches, at most max bytes, all below bound. */
static enum rc run_extend(struct log *l, struct segment *s, struct segment_place *in, const struct batch_head *h, uint64_t at, size_t max,
                          int64_t bound, struct log_slice *ret, struct err *e)
{
    int64_t           next = h->last_offset + 1, end;
    uint64_t          part = durable_part(l, s, &end), to = at + h->bytes, limit = max > part - at ? part : at + max;
    bool              all_below = end <= bound;
    struct batch_head x;

    if (all_below && limit == part) {
        ret->n = (size_t)(part - at);
        ret->offset_next = end;
        return RC_OK;
    }
    if (all_below) {                                              /* jump close to the limit; the batch before is not needed */
        uint64_t near;

        if (segment_floor(s, in, limit, &near, e)) return e->rc;
        if (near > to && !segment_head(s, in, near, &x, e) && x.base_offset >= next) {     /* else a damaged entry */
            to = near;
            next = x.base_offset;
        }
    }
    while (to < limit) {
        if (segment_head(s, in, to, &x, e)) return e->rc;
        if (to + x.bytes > limit || x.last_offset >= bound) break;
        to += x.bytes;
        next = x.last_offset + 1;
    }
    ret->n = (size_t)(to - at);
    ret->offset_next = next;
    return RC_OK;
}

static enum rc slice_of(struct log *l, struct segment *s, struct segment_place *in, const struct batch_head *h, uint64_t at, size_t max,
                        int64_t bound, bool first_whole, struct log_slice *ret, struct err *e)
{
    struct log_slice out = {.at = at, .offset_first = h->base_offset, .offset_next = h->base_offset};
    struct file     *f;

    if (h->last_offset >= bound || (h->bytes > max && !first_whole)) {
        *ret = (struct log_slice){.offset_first = h->base_offset, .offset_next = h->base_offset};
        return RC_OK;
    }
    if (run_extend(l, s, in, h, at, MAX(max, (size_t)h->bytes), bound, &out, e)) return e->rc;
    if (segment_file(s, in, false, &f, e)) return e->rc;
    out.handle = log_file_ref(s->handle);
    l->hint.offset_next = out.offset_next;
    l->hint.segment_base = s->base;
    l->hint.at = at + out.n;
    *ret = out;
    return RC_OK;
}

enum rc log_read(struct log *l, int64_t offset, size_t max, int64_t bound, bool first_whole, struct log_slice *ret, struct err *e)
{
    struct segment_place in = log_place(l);
    struct segment   *s = NULL;
    struct batch_head h;
    uint64_t          at = 0;

    if (log_ready(l, e)) return e->rc;
    if (offset < l->start || offset > l->end)
        return err_set(e, RC_NOT_FOUND, "offset %" PRId64 " is not between %" PRId64 " and %" PRId64, offset, l->start, l->end);
    bound = MIN(bound, l->durable_end);
    if (bound > l->held_from && offset < bound && log_settle(l, e)) {
        if (e->rc != RC_DISK_FULL && offset >= l->held_from) return e->rc;
        bound = l->held_from;                                     /* the rest when there is room */
    }
    *ret = (struct log_slice){.offset_first = offset, .offset_next = offset};
    if (offset >= bound) return RC_OK;
    if (seek(l, &in, offset, &s, &at, &h, e)) return e->rc == RC_NOT_FOUND ? RC_OK : log_fail(l, e);
    if (slice_of(l, s, &in, &h, at, max, bound, first_whole, ret, e)) return log_fail(l, e);
    return RC_OK;
}

/* One batch as a slice; empty when it is not below the bound. */
static enum rc one_batch(struct segment *s, struct segment_place *in, const struct batch_head *h, uint64_t at, int64_t bound,
                         struct log_slice *ret, struct err *e)
{
    struct file *f;

    *ret = (struct log_slice){.offset_first = h->base_offset, .offset_next = h->base_offset};
    if (h->last_offset >= bound) return RC_OK;
    if (segment_file(s, in, false, &f, e)) return e->rc;
    *ret = (struct log_slice){log_file_ref(s->handle), at, h->bytes, h->base_offset, h->last_offset + 1};
    return RC_OK;
}

enum rc log_find_time(struct log *l, int64_t ts, int64_t bound, struct log_slice *ret, struct err *e)
{
    struct segment_place in = log_place(l);

    if (log_ready(l, e) || log_settle(l, e)) return e->rc;
    *ret = (struct log_slice){.offset_first = -1, .offset_next = -1};
    bound = MIN(bound, l->durable_end);
    for (size_t i = l->segments_n ? segment_of(l, l->start) : 0; i < l->segments_n; i++) {
        struct segment   *s = l->segments[i];
        struct batch_head h;
        uint64_t          at;

        if (!s->size) continue;
        if (segment_ready(l, s, &in, e)) return log_fail(l, e);
        if (s->max_time < ts) continue;
        if (segment_seek_time(s, &in, ts, &at, &h, e)) return log_fail(l, e);
        while (h.last_offset < l->start || h.max_timestamp < ts) {             /* deleted records do not count */
            at += h.bytes;
            if (segment_head(s, &in, at, &h, e)) break;
        }
        if (at >= s->size) continue;
        if (one_batch(s, &in, &h, at, bound, ret, e)) return log_fail(l, e);
        return RC_OK;
    }
    return RC_OK;
}

/* Walks a whole segment for the largest timestamp below the bound and from the start on. */
static enum rc segment_max_time(struct log *l, struct segment *s, struct segment_place *in, int64_t bound, int64_t *max, struct batch_head *ret,
                                uint64_t *ret_at, struct err *e)
{
    struct batch_head h;

    for (uint64_t at = 0; at < s->size; at += h.bytes) {
        if (segment_head(s, in, at, &h, e)) return e->rc;
        if (h.last_offset >= bound) break;
        if (h.last_offset < l->start || h.max_timestamp <= *max) continue;
        *max = h.max_timestamp;
        *ret = h;
        *ret_at = at;
    }
    return RC_OK;
}

enum rc log_find_max_time(struct log *l, int64_t bound, struct log_slice *ret, struct err *e)
{
    struct segment_place in = log_place(l);
    struct segment   *best = NULL;
    struct batch_head best_head;
    uint64_t          best_at = 0;
    int64_t           max = -1;

    if (log_ready(l, e) || log_settle(l, e)) return e->rc;
    *ret = (struct log_slice){.offset_first = -1, .offset_next = -1};
    bound = MIN(bound, l->durable_end);
    for (size_t i = l->segments_n ? segment_of(l, l->start) : 0; i < l->segments_n; i++) {
        struct segment *s = l->segments[i];
        int64_t         before = max;

        if (!s->size) continue;
        if (segment_ready(l, s, &in, e)) return log_fail(l, e);
        if (s->max_time <= max) continue;
        if (s->max_time_offset < bound && s->base >= l->start) {               /* the usual case: no walk */
            struct batch_head h;
            uint64_t          at;

            if (segment_seek(s, &in, s->max_time_offset, &at, &h, e)) return log_fail(l, e);
            max = s->max_time, best_head = h, best_at = at, best = s;
            continue;
        }
        if (segment_max_time(l, s, &in, bound, &max, &best_head, &best_at, e)) return log_fail(l, e);
        if (max > before) best = s;
    }
    if (best && one_batch(best, &in, &best_head, best_at, bound, ret, e)) return log_fail(l, e);
    return RC_OK;
}

enum rc log_epoch_end(struct log *l, int32_t epoch, int32_t *ret_epoch, int64_t *ret_end, struct err *e)
{
    if (log_ready(l, e)) return e->rc;
    if (epoch == log_epoch(l)) *ret_epoch = epoch, *ret_end = l->durable_end;
    else epochs_end(&l->epochs, epoch, l->durable_end, ret_epoch, ret_end);
    return RC_OK;
}

enum rc log_epoch_at(struct log *l, int64_t offset, int32_t *ret, struct err *e)
{
    if (log_ready(l, e)) return e->rc;
    *ret = epochs_at(&l->epochs, offset);
    return RC_OK;
}

/* ---- slices ---- */

struct file *log_slice_file(const struct log_slice *s) { return s->handle ? s->handle->file : NULL; }

enum rc log_slice_load(const struct log_slice *s, struct buf *into, struct err *e)
{
    size_t before = into->n;

    if (!s->n) return RC_OK;
    buf_reserve(into, s->n);
    if (file_read_exact(s->handle->file, into->p + into->n, s->n, s->at, e)) return e->rc;
    into->n = before + s->n;
    return RC_OK;
}

void log_slice_ref(struct log_slice *ret, const struct log_slice *s)
{
    *ret = *s;
    if (ret->handle) log_file_ref(ret->handle);
}

void log_slice_fini(struct log_slice *s)
{
    log_file_unref(&s->handle);
    *s = (struct log_slice){0};
}
