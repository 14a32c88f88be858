/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/clean_txns.h"

struct range { int64_t first, marker; };
struct producer_txns {
    int64_t first;                             /* of the transaction being noted; -1 none */
    bool    kept;                              /* something of the one being walked stays */
    struct range *aborted;
    size_t  n, at;
};

static void producer_drop(void *p)
{
    free(((struct producer_txns *)p)->aborted);
    free(p);
}

void clean_txns_fini(struct clean_txns *ts)
{
    map_fini_each(&ts->producers, producer_drop);
}

static struct producer_txns *producer_of(struct clean_txns *ts, int64_t id)
{
    struct producer_txns *p = map_get_u64(&ts->producers, (uint64_t)id);

    if (p) return p;
    p = xnew(struct producer_txns);
    p->first = -1;
    map_put_u64(&ts->producers, (uint64_t)id, p);
    return p;
}

void clean_txns_note(struct clean_txns *ts, const struct batch *b, bool begins)
{
    struct producer_txns *p;
    struct control        end;

    if (!batch_is(b, BATCH_TRANSACTIONAL) && !batch_is(b, BATCH_CONTROL)) return;
    p = producer_of(ts, b->producer_id);
    if (!batch_is(b, BATCH_CONTROL)) {
        if (p->first >= 0 || !begins) return;
        p->first = b->base_offset;
        ts->open++;
        return;
    }
    if (p->first < 0) return;
    ts->open--;
    if (batch_control(b, &end) && end.type == CONTROL_ABORT) {
        p->aborted = xrealloc(p->aborted, p->n + 1, sizeof *p->aborted);
        p->aborted[p->n++] = (struct range){p->first, b->base_offset};
    }
    p->first = -1;
}

void clean_txns_rewind(struct clean_txns *ts)
{
    struct bytes key;
    void        *v;

    for (size_t at = 0; map_next(&ts->producers, &at, &key, &v);) {
        ((struct producer_txns *)v)->at = 0;
        ((struct producer_txns *)v)->kept = false;
    }
}

bool clean_txns_is_aborted(struct clean_txns *ts, const struct batch *b)
{
    struct producer_txns *p = map_get_u64(&ts->producers, (uint64_t)b->producer_id);

    if (!p) return false;
    while (p->at < p->n && p->aborted[p->at].marker < b->base_offset) p->at++;
    return p->at < p->n && b->base_offset >= p->aborted[p->at].first;
}

void clean_txns_kept(struct clean_txns *ts, const struct batch *b)
{
    if (batch_is(b, BATCH_TRANSACTIONAL)) producer_of(ts, b->producer_id)->kept = true;
}

bool clean_txns_marker_is_idle(struct clean_txns *ts, const struct batch *marker)
{
    struct producer_txns *p = producer_of(ts, marker->producer_id);
    bool                  idle = !p->kept;

    p->kept = false;
    return idle;
}
