/* SPDX-License-Identifier: Apache-2.0 */
#include "cred/errand.h"

static void go(struct timer *t);

static void on_worker(struct work *w)
{
    struct errand *e = container_of(w, struct errand, work);

    if (!atomic_load(&e->stop)) e->run(e);
}

/* It counts as out until `done` has returned: an owner may end it from there. */
static void on_back(struct work *w)
{
    struct errand *e = container_of(w, struct errand, work);
    uint64_t in_ms = atomic_load(&e->stop) ? 0 : e->done(e);

    if (atomic_load(&e->stop)) {
        e->drop(e);
        return;
    }
    e->out = false;
    loop_timer(e->loop, &e->timer, e->again ? 0 : in_ms, go);
    e->again = false;
}

static void go(struct timer *t)
{
    struct errand *e = container_of(t, struct errand, timer);

    e->out = true;
    e->work = (struct work){.run = on_worker, .done = on_back, .reply_to = loop_mailbox(e->loop)};
    workers_submit(e->workers, &e->work);
}

void errand_in(struct errand *e, uint64_t ms)
{
    if (!e->out) loop_timer(e->loop, &e->timer, ms, go);
}

void errand_now(struct errand *e)
{
    if (e->out)
        e->again = true;
    else
        loop_timer(e->loop, &e->timer, 0, go);
}

void errand_end(struct errand *e)
{
    atomic_store(&e->stop, true);
    timer_cancel(loop_timers(e->loop), &e->timer);
    if (!e->out) e->drop(e);
}
