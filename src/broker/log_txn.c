/* Design note: which transactions of a log are open, and which were aborted. The producers know the open ones; aborted ones stand in
 * the segments' indexes (txn_index.h), which are complete whenever the producers are loaded: entries up to the producer
 * snapshot were synced with it, later ones are made again by the scan behind it.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/diag.h"
#include "broker/store_core.h"

static void path_of(const struct log *l, const struct segment *s, char ret[SEGMENT_PATH_BYTES])
{
    struct segment_place in = log_place(l);

    segment_path(&in, s->base, ".txnindex", ret);
}

static int64_t end_of(const struct log *l, size_t i) { return i + 1 < l->segments_n ? l->segments[i + 1]->base : INT64_MAX; }

static enum rc load_one(struct log *l, size_t i, struct txn_range of, struct err *e)
{
    struct segment *s = l->segments[i];
    char            path[SEGMENT_PATH_BYTES];

    path_of(l, s, path);
    if (!txn_index_load(&s->aborted, &l->store->handles, path, of, e)) return RC_OK;
    if (e->rc == RC_CORRUPT) diag(DIAG_WARN, "log.txnindex_lost", KV_CSTR("file", path), KV_CSTR("why", e->text));
    else s->aborted.loaded = false;
    return e->rc;
}

enum rc log_aborted_load(struct log *l, int64_t from, bool *ret_damaged, struct err *e)
{
    *ret_damaged = false;
    for (size_t i = 0; i < l->segments_n; i++) {
        if (end_of(l, i) <= from) continue;
        if (!load_one(l, i, (struct txn_range){l->segments[i]->base, from, false}, e)) continue;
        if (e->rc != RC_CORRUPT) return e->rc;
        *ret_damaged = true;
    }
    return RC_OK;
}

/* All entries of all segments anew. */
static enum rc rebuild(struct log *l, struct err *e)
{
    producers_fini(&l->producers);
    l->producers_loaded = false;
    if (log_snapshots_forget(l, e)) return e->rc;
    return log_producers_load(l, e);
}

/* An index of a closed segment that is used for the first time. */
static enum rc ready(struct log *l, size_t i, struct err *e)
{
    struct txn_range of = {l->segments[i]->base, end_of(l, i), true};

    if (l->segments[i]->aborted.loaded || !load_one(l, i, of, e)) return RC_OK;
    return e->rc == RC_CORRUPT ? rebuild(l, e) : e->rc;
}

enum rc log_note_marker(struct log *l, struct segment *s, const struct batch_head *h, struct bytes marker, struct err *e)
{
    const struct producer *p = producers_find(&l->producers, h->producer_id);
    struct aborted_txn     t = {.producer_id = h->producer_id, .last = h->base_offset, .stable = h->last_offset + 1};
    struct control         c;
    struct batch           b;
    char                   path[SEGMENT_PATH_BYTES];

    if (!p || p->txn_first_offset < 0 || batch_view(marker, &b) || !batch_control(&b, &c) || c.type != CONTROL_ABORT) return RC_OK;
    t.first = p->txn_first_offset;
    for (size_t i = 0; i < l->producers.spans_n; i++) {
        const struct txn_span *x = &l->producers.spans[i];

        if (x->last < 0 && x->producer_id != h->producer_id) t.stable = MIN(t.stable, x->first);
    }
    path_of(l, s, path);
    if (!s->aborted.loaded && txn_index_load(&s->aborted, &l->store->handles, path, (struct txn_range){s->base, s->base, false}, e) && e->rc != RC_CORRUPT)
        return e->rc;                                             /* a segment of this process: what was there is an older one's */
    return txn_index_append(&s->aborted, &l->store->handles, path, &t, e);
}

enum rc log_first_unstable(struct log *l, int64_t *ret, struct err *e)
{
    if (log_ready(l, e)) return e->rc;
    if (log_producers_load(l, e)) return log_fail(l, e);
    *ret = producers_first_unstable(&l->producers);
    return RC_OK;
}

enum rc log_stable_end(struct log *l, int64_t *ret, struct err *e)
{
    if (log_ready(l, e)) return e->rc;
    if (log_producers_load(l, e)) return log_fail(l, e);
    *ret = MAX(l->start, MIN(l->durable_end, producers_first_undecided(&l->producers, l->durable_end)));
    return RC_OK;
}

enum rc log_aborted(struct log *l, int64_t from, int64_t bound, struct buf *into, struct err *e)
{
    bool all = false;

    if (log_ready(l, e)) return e->rc;
    if (log_producers_load(l, e)) return log_fail(l, e);
    for (size_t i = 0; i < l->segments_n && !all; i++) {
        char path[SEGMENT_PATH_BYTES];

        if (end_of(l, i) <= from || !l->segments[i]->size) continue;
        if (ready(l, i, e)) return log_fail(l, e);
        if (!l->segments[i]->aborted.n) continue;
        path_of(l, l->segments[i], path);
        if (txn_index_find(&l->segments[i]->aborted, &l->store->handles, path, from, bound, into, &all, e)) return log_fail(l, e);
    }
    return RC_OK;
}
