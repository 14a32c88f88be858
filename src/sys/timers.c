/* A binary heap whose items know their slot (1-based). SPDX-License-Identifier: Apache-2.0 */
#include "sys/timers.h"

static void place(struct timers *ts, uint32_t slot, struct timer *t)
{
    ts->heap[slot] = t;
    t->slot = slot;
}

static void sift_up(struct timers *ts, uint32_t i, struct timer *t)
{
    for (; i > 1 && ts->heap[i / 2]->at_ms > t->at_ms; i /= 2)
        place(ts, i, ts->heap[i / 2]);
    place(ts, i, t);
}

static void sift_down(struct timers *ts, uint32_t i, struct timer *t)
{
    for (;;) {
        uint32_t child = i * 2;

        if (child > ts->n) break;
        if (child < ts->n && ts->heap[child + 1]->at_ms < ts->heap[child]->at_ms) child++;
        if (ts->heap[child]->at_ms >= t->at_ms) break;
        place(ts, i, ts->heap[child]);
        i = child;
    }
    place(ts, i, t);
}

void timers_fini(struct timers *ts)
{
    for (uint32_t i = 1; i <= ts->n; i++)
        ts->heap[i]->slot = 0;
    free(ts->heap);
    *ts = (struct timers){0};
}

void timer_set(struct timers *ts, struct timer *t, uint64_t at_ms, void (*fire)(struct timer *t))
{
    timer_cancel(ts, t);
    if (ts->n + 2 > ts->cap) {
        ts->cap = ts->cap ? ts->cap * 2 : 64;
        ts->heap = xrealloc(ts->heap, ts->cap, sizeof ts->heap[0]);
    }
    t->at_ms = at_ms;
    t->fire = fire;
    ts->n++;
    sift_up(ts, ts->n, t);
}

void timer_cancel(struct timers *ts, struct timer *t)
{
    uint32_t i = t->slot;
    struct timer *last;

    if (!i) return;
    must(ts->heap[i] == t);
    t->slot = 0;
    last = ts->heap[ts->n--];
    if (last == t) return;
    if (i > 1 && ts->heap[i / 2]->at_ms > last->at_ms)
        sift_up(ts, i, last);
    else
        sift_down(ts, i, last);
}

uint64_t timers_next(const struct timers *ts)
{
    return ts->n ? ts->heap[1]->at_ms : UINT64_MAX;
}

void timers_fire(struct timers *ts, uint64_t now_ms)
{
    while (ts->n && ts->heap[1]->at_ms <= now_ms) {
        struct timer *t = ts->heap[1];

        timer_cancel(ts, t);
        t->fire(t);
    }
}
