/* Records that a watch handed over beyond what there is room for. They are lent for that call only, so the rest is copied, at most
 * one piece of the watch per partition, and run when there is room; until then the partition counts as read up to the first of
 * them, and no more is asked for. SPDX-License-Identifier: Apache-2.0 */
#include "flow/executor.h"

struct held {
    struct arena arena;
    struct bus_record *records;
    size_t n, at;
    int64_t next;                                /* where the watch goes on behind them */
};

static struct bus_record copy(struct arena *a, const struct bus_record *from)
{
    struct bus_record r = *from;

    r.headers = arena_array(a, struct bus_header, from->headers_n);
    r.key = from->key.p ? arena_dup(a, from->key) : from->key;
    r.value = from->value.p ? arena_dup(a, from->value) : from->value;
    for (size_t i = 0; i < from->headers_n; i++) {
        r.headers[i].key = arena_dup_str(a, from->headers[i].key);
        r.headers[i].value = from->headers[i].value.p ? arena_dup(a, from->headers[i].value) : from->headers[i].value;
    }
    return r;
}

void held_keep(struct intake *in, const struct bus_record *records, size_t n, int64_t next)
{
    struct held *h = xnew(struct held);

    must(!in->held && n > 0);
    h->records = arena_array(&h->arena, struct bus_record, n);
    for (size_t i = 0; i < n; i++)
        h->records[h->n++] = copy(&h->arena, &records[i]);
    h->next = next;
    in->held = h;
    in->seen = records[0].offset;
}

void held_drop(struct intake *in)
{
    if (!in->held) return;
    arena_fini(&in->held->arena);
    free(in->held);
    in->held = NULL;
}

bool held_run(struct intake *in)
{
    struct held *h = in->held;

    for (; h && h->at < h->n; h->at++) {
        if (intake_full(in->p)) {
            in->seen = h->records[h->at].offset;
            return false;
        }
        record_meet(in, &h->records[h->at]);
    }
    if (!h) return true;
    in->seen = h->next;
    held_drop(in);
    commit_touch(in->p);
    return true;
}
