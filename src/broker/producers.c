/* Design note: an entry of the window is a whole batch: its first and last sequence and where it went. Sequences wrap
 * from 2147483647 to 0. The rules, in Kafka's order: a known batch of the current epoch is a duplicate; an older epoch is
 * fenced; a newer epoch starts at sequence 0; else the sequence follows the last one. A producer nobody knows may start
 * anywhere, since what was known may have expired.
 *
 * One rule is ours: a batch of a transaction that has ended is nobody's retry, since a producer ends it when all its batches
 * were answered. Who says the same numbers again got an epoch a second time, from a coordinator whose log was repaired;
 * what it writes must not be taken for what is there. SPDX-License-Identifier: Apache-2.0 */
#include "broker/producers.h"
#include "base/crc.h"

enum { SNAPSHOT_HEAD = 10, SNAPSHOT_ROW = 46, SNAPSHOT_VERSION = 1 };

void producers_fini(struct producers *ps)
{
    map_fini_each(&ps->by_id, free);
    free(ps->spans);
    *ps = (struct producers){0};
}

struct producer *producers_find(const struct producers *ps, int64_t id) { return map_get_u64(&ps->by_id, (uint64_t)id); }

static int32_t sequence_add(int32_t seq, int32_t n) { return (int32_t)(((int64_t)seq + n) & INT32_MAX); }

static bool in_open_txn(const struct producer *p, int64_t offset) { return p->txn_first_offset >= 0 && offset >= p->txn_first_offset; }

void producers_check(const struct producers *ps, const struct producer_batch *b, struct producer_verdict *ret)
{
    const struct producer *p = b->producer_id < 0 ? NULL : producers_find(ps, b->producer_id);
    int32_t                last = b->base_sequence < 0 ? -1 : sequence_add(b->base_sequence, b->last_offset_delta);

    *ret = (struct producer_verdict){.decision = PRODUCER_NEW, .base_offset = -1, .last_offset = -1, .timestamp = -1};
    if (!p) return;
    for (uint32_t i = 0; i < p->n && p->epoch == b->epoch && b->base_sequence >= 0; i++) {
        const struct producer_entry *x = &p->window[i];

        if (x->first_seq != b->base_sequence || x->last_seq != last) continue;
        ret->last_offset = x->last_offset;
        ret->base_offset = x->last_offset - x->offset_delta;
        ret->decision = b->transactional && !in_open_txn(p, ret->base_offset) ? PRODUCER_OUT_OF_ORDER : PRODUCER_DUPLICATE;
        ret->timestamp = x->timestamp;
        return;
    }
    if (b->epoch < p->epoch) ret->decision = PRODUCER_FENCED;
    else if (b->base_sequence < 0) return;
    else if (b->epoch > p->epoch || !p->n) {
        if (b->base_sequence != 0) ret->decision = PRODUCER_OUT_OF_ORDER;
    } else if (b->base_sequence != sequence_add(p->window[p->n - 1].last_seq, 1)) ret->decision = PRODUCER_OUT_OF_ORDER;
    if (ret->decision == PRODUCER_NEW && p->txn_first_offset >= 0 && !b->transactional) ret->decision = PRODUCER_IN_TXN;
}

/* ---- transactions ---- */

static void span_add(struct producers *ps, int64_t first, int64_t producer_id)
{
    size_t at = ps->spans_n;

    if (ps->spans_n == ps->spans_cap) {
        ps->spans_cap = ps->spans_cap ? ps->spans_cap * 2 : 4;
        ps->spans = xrealloc(ps->spans, ps->spans_cap, sizeof *ps->spans);
    }
    while (at && ps->spans[at - 1].first > first) at--;            /* only when a snapshot is read */
    memmove(ps->spans + at + 1, ps->spans + at, (ps->spans_n++ - at) * sizeof *ps->spans);
    ps->spans[at] = (struct txn_span){first, -1, producer_id};
}

static void span_end(struct producers *ps, const struct producer *p, int64_t last)
{
    for (size_t i = 0; i < ps->spans_n; i++)
        if (ps->spans[i].last < 0 && ps->spans[i].producer_id == p->id) ps->spans[i].last = last;
}

int64_t producers_first_unstable(const struct producers *ps)
{
    for (size_t i = 0; i < ps->spans_n; i++)
        if (ps->spans[i].last < 0) return ps->spans[i].first;
    return INT64_MAX;
}

int64_t producers_first_undecided(struct producers *ps, int64_t durable)
{
    size_t kept = 0;

    for (size_t i = 0; i < ps->spans_n; i++)
        if (ps->spans[i].last < 0 || ps->spans[i].last >= durable) ps->spans[kept++] = ps->spans[i];
    ps->spans_n = kept;
    return kept ? ps->spans[0].first : INT64_MAX;
}

/* ---- what was appended ---- */

static struct producer *producer_of(struct producers *ps, int64_t id, int16_t epoch)
{
    struct producer *p = producers_find(ps, id);

    if (!p) {
        p = xnew(struct producer);
        *p = (struct producer){.id = id, .epoch = epoch, .coordinator_epoch = -1, .txn_first_offset = -1};
        map_put_u64(&ps->by_id, (uint64_t)id, p);
    }
    if (epoch > p->epoch) {
        p->epoch = epoch;
        p->n = 0;
    }
    return p;
}

static void window_push(struct producer *p, struct producer_entry x)
{
    if (p->n == PRODUCER_WINDOW) memmove(p->window, p->window + 1, --p->n * sizeof x);
    p->window[p->n++] = x;
}

void producers_add(struct producers *ps, const struct producer_batch *b, int64_t base_offset, int64_t timestamp, int32_t coordinator_epoch)
{
    struct producer *p;

    if (b->producer_id < 0) return;
    p = producer_of(ps, b->producer_id, b->epoch);
    p->last_timestamp = timestamp;
    if (b->control) {
        if (p->txn_first_offset >= 0) span_end(ps, p, base_offset);
        p->txn_first_offset = -1;
        p->coordinator_epoch = coordinator_epoch;
        return;
    }
    if (b->transactional && p->txn_first_offset < 0) {
        p->txn_first_offset = base_offset;
        span_add(ps, base_offset, p->id);
    }
    if (b->base_sequence < 0) return;
    window_push(p, (struct producer_entry){.first_seq = b->base_sequence, .last_seq = sequence_add(b->base_sequence, b->last_offset_delta),
                                           .last_offset = base_offset + b->last_offset_delta, .timestamp = timestamp,
                                           .offset_delta = b->last_offset_delta});
}

void producers_expire(struct producers *ps, int64_t now_ms, int64_t expire_ms)
{
    struct bytes key;
    void        *v;

    for (size_t at = 0; map_next(&ps->by_id, &at, &key, &v);) {
        struct producer *p = v;

        if (p->txn_first_offset >= 0 || p->last_timestamp >= now_ms - expire_ms) continue;
        map_del(&ps->by_id, key);
        free(p);
    }
}

/* ---- snapshots ---- */

static void row_encode(const struct producer *p, const struct producer_entry *x, struct buf *into)
{
    uint8_t *r = buf_grow(into, SNAPSHOT_ROW);

    store_be64(r, (uint64_t)p->id);
    store_be16(r + 8, (uint16_t)p->epoch);
    store_be32(r + 10, (uint32_t)(x ? x->last_seq : -1));
    store_be64(r + 14, (uint64_t)(x ? x->last_offset : -1));
    store_be32(r + 22, (uint32_t)(x ? x->offset_delta : 0));
    store_be64(r + 26, (uint64_t)(x ? x->timestamp : p->last_timestamp));
    store_be32(r + 34, (uint32_t)p->coordinator_epoch);
    store_be64(r + 38, (uint64_t)p->txn_first_offset);
}

void producers_encode(const struct producers *ps, struct buf *into)
{
    size_t       from = into->n;
    uint8_t     *head = buf_grow(into, SNAPSHOT_HEAD);
    uint32_t     rows = 0;
    struct bytes key;
    void        *v;

    store_be16(head, SNAPSHOT_VERSION);
    for (size_t at = 0; map_next(&ps->by_id, &at, &key, &v);) {
        const struct producer *p = v;

        if (!p->n) row_encode(p, NULL, into), rows++;
        for (uint32_t i = 0; i < p->n; i++, rows++) row_encode(p, &p->window[i], into);
    }
    store_be32(into->p + from + 6, rows);
    store_be32(into->p + from + 2, crc32c(bytes_of(into->p + from + 6, into->n - from - 6)));
}

static void row_apply(struct producers *ps, const uint8_t *r)
{
    int32_t          last_seq = (int32_t)load_be32(r + 10), delta = (int32_t)load_be32(r + 22);
    int64_t          last_offset = (int64_t)load_be64(r + 14), timestamp = (int64_t)load_be64(r + 26);
    struct producer *p = producer_of(ps, (int64_t)load_be64(r), (int16_t)load_be16(r + 8));

    p->last_timestamp = MAX(p->last_timestamp, timestamp);
    p->coordinator_epoch = (int32_t)load_be32(r + 34);
    p->txn_first_offset = (int64_t)load_be64(r + 38);
    if (last_seq < 0 || last_offset < 0 || delta < 0) return;
    window_push(p, (struct producer_entry){.first_seq = (int32_t)(((int64_t)last_seq - delta) & INT32_MAX), .last_seq = last_seq,
                                           .last_offset = last_offset, .timestamp = timestamp, .offset_delta = delta});
}

enum rc producers_decode(struct bytes b, struct producers *into, struct err *e)
{
    struct bytes key;
    uint32_t     rows;
    void        *v;

    must(!into->by_id.n);
    if (b.n < SNAPSHOT_HEAD || load_be16(b.p) != SNAPSHOT_VERSION || load_be32(b.p + 2) != crc32c(bytes_sub(b, 6, b.n - 6)))
        return err_set(e, RC_CORRUPT, "producer snapshot: damaged");
    rows = load_be32(b.p + 6);
    if ((uint64_t)rows * SNAPSHOT_ROW != b.n - SNAPSHOT_HEAD) return err_set(e, RC_CORRUPT, "producer snapshot: %u rows in %zu bytes", rows, b.n);
    for (uint32_t i = 0; i < rows; i++)
        if (b.p[SNAPSHOT_HEAD + (size_t)i * SNAPSHOT_ROW] >> 7) return err_set(e, RC_CORRUPT, "producer snapshot: row %u is of no producer", i);
    for (uint32_t i = 0; i < rows; i++) row_apply(into, b.p + SNAPSHOT_HEAD + (size_t)i * SNAPSHOT_ROW);
    for (size_t at = 0; map_next(&into->by_id, &at, &key, &v);) {          /* a producer's last row decides */
        const struct producer *p = v;

        if (p->txn_first_offset >= 0) span_add(into, p->txn_first_offset, p->id);
    }
    return RC_OK;
}
