/* SPDX-License-Identifier: Apache-2.0 */
#include "net/budget.h"

enum { WAITING_MAX = 64, WAIT_MS = 5000 };

void budget_init(struct budget *b, struct loop *l, size_t bytes_max)
{
    *b = (struct budget){
        .loop = l, .max = bytes_max, .waiting_max = WAITING_MAX, .wait_ms = WAIT_MS};
    list_init(&b->waiters);
}

static bool fits(const struct budget *b, size_t bytes)
{
    return b->max == 0 || (b->used <= b->max && bytes <= b->max - b->used);
}

static void hold(struct budget_claim *c, size_t bytes)
{
    c->budget->used += bytes;
    c->held += bytes;
}

static void waited_enough(struct timer *t)
{
    struct budget_claim *c = container_of(t, struct budget_claim, timer);

    list_remove(&c->link);
    c->budget->waiting--;
    c->budget->refused++;
    c->wanted = 0;
    c->settled(c, false);
}

enum budget_answer budget_claim(struct budget *b, struct budget_claim *c, size_t bytes,
                                void (*settled)(struct budget_claim *c, bool granted))
{
    *c = (struct budget_claim){.budget = b, .settled = settled};
    list_init(&c->link);
    if (list_empty(&b->waiters) && fits(b, bytes)) {
        hold(c, bytes);
        return BUDGET_GRANTED;
    }
    if (bytes > b->max || b->waiting >= b->waiting_max) {
        b->refused++;
        return BUDGET_REFUSED;
    }
    c->wanted = bytes;
    b->waiting++;
    list_push(&b->waiters, &c->link);
    loop_timer(b->loop, &c->timer, b->wait_ms, waited_enough);
    return BUDGET_WAIT;
}

bool budget_more(struct budget_claim *c, size_t bytes)
{
    if (!fits(c->budget, bytes)) {
        c->budget->refused++;
        return false;
    }
    hold(c, bytes);
    return true;
}

void budget_hold(struct budget *b, struct budget_claim *c, size_t bytes)
{
    if (!c->budget) {
        *c = (struct budget_claim){.budget = b};
        list_init(&c->link);
    }
    hold(c, bytes);
}

static void serve(struct budget *b)
{
    while (!list_empty(&b->waiters)) {
        struct budget_claim *c = container_of(b->waiters.next, struct budget_claim, link);

        if (!fits(b, c->wanted)) return;
        list_remove(&c->link);
        b->waiting--;
        timer_cancel(loop_timers(b->loop), &c->timer);
        hold(c, c->wanted);
        c->wanted = 0;
        c->settled(c, true);
    }
}

void budget_drop(struct budget_claim *c)
{
    struct budget *b = c->budget;

    if (!b) return;
    c->budget = NULL;
    timer_cancel(loop_timers(b->loop), &c->timer);
    if (c->wanted) {
        list_remove(&c->link);
        b->waiting--;
    }
    b->used -= c->held;
    c->held = c->wanted = 0;
    serve(b);
}
