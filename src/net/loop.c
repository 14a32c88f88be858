/* Design note: epoll, level-triggered. A turn's ready list is kept in the loop so that
 * loop_unwatch() can strike out entries not yet visited; otherwise a connection closed by its
 * neighbour's callback would be called again. SPDX-License-Identifier: Apache-2.0 */
#include "net/loop.h"
#include <stdatomic.h>
#include <sys/epoll.h>
#include <unistd.h>

enum { EVENTS_PER_TURN = 256 };

struct loop {
    const struct clock *clock;
    struct mailbox *mailbox;
    struct timers timers;
    struct list hooks;
    struct watch mailbox_watch;
    uint64_t now_ms;
    int epoll;
    atomic_bool stopping;
    struct msg stop_msg;
    atomic_flag stop_posted;
    struct epoll_event events[EVENTS_PER_TURN];
    int events_n, events_at;
};

static void mailbox_ready(struct watch *w, uint32_t events)
{
    (void)w;
    (void)events; /* drained every turn anyway */
}

enum rc loop_new(const struct clock *clock, struct loop **ret, struct err *e)
{
    struct loop *l = xnew(struct loop);

    l->clock = clock;
    l->mailbox = mailbox_new();
    list_init(&l->hooks);
    atomic_flag_clear(&l->stop_posted);
    l->now_ms = clock_mono_ms(clock);
    l->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (l->epoll < 0) {
        err_sys(e, "epoll_create1");
        goto fail;
    }
    if (loop_watch(l, &l->mailbox_watch, mailbox_fd(l->mailbox), EPOLLIN, mailbox_ready, e))
        goto fail;
    *ret = l;
    return RC_OK;
fail:
    loop_free(l);
    return err_in(e, "event loop");
}

struct loop *loop_free(struct loop *l)
{
    if (!l) return NULL;
    if (l->epoll >= 0) close(l->epoll);
    timers_fini(&l->timers);
    mailbox_free(l->mailbox);
    free(l);
    return NULL;
}

enum rc loop_watch(struct loop *l, struct watch *w, int fd, uint32_t events,
                   void (*ready)(struct watch *w, uint32_t events), struct err *e)
{
    struct epoll_event ev = {.events = events, .data.ptr = w};

    if (w->active) {
        must(w->fd == fd);
        w->ready = ready;
        loop_events(l, w, events);
        return RC_OK;
    }
    if (epoll_ctl(l->epoll, EPOLL_CTL_ADD, fd, &ev) < 0)
        return err_sys(e, "watch descriptor %d", fd);
    *w = (struct watch){.fd = fd, .events = events, .active = true, .ready = ready};
    return RC_OK;
}

void loop_events(struct loop *l, struct watch *w, uint32_t events)
{
    struct epoll_event ev = {.events = events, .data.ptr = w};

    if (!w->active || w->events == events) return;
    w->events = events;
    must(epoll_ctl(l->epoll, EPOLL_CTL_MOD, w->fd, &ev) == 0);
}

void loop_unwatch(struct loop *l, struct watch *w)
{
    if (!w->active) return;
    w->active = false;
    must(epoll_ctl(l->epoll, EPOLL_CTL_DEL, w->fd, NULL) == 0);
    for (int i = l->events_at; i < l->events_n; i++)
        if (l->events[i].data.ptr == w) l->events[i].data.ptr = NULL;
}

void loop_hook(struct loop *l, struct turn_hook *h)
{
    list_push(&l->hooks, &h->link);
}

void loop_unhook(struct turn_hook *h)
{
    list_remove(&h->link);
}

struct timers *loop_timers(struct loop *l)
{
    return &l->timers;
}

struct mailbox *loop_mailbox(struct loop *l)
{
    return l->mailbox;
}

const struct clock *loop_clock(struct loop *l)
{
    return l->clock;
}

uint64_t loop_now_ms(struct loop *l)
{
    return l->now_ms;
}

void loop_timer(struct loop *l, struct timer *t, uint64_t in_ms, void (*fire)(struct timer *t))
{
    timer_set(&l->timers, t, l->now_ms + in_ms, fire);
}

static int wait_ms(struct loop *l, uint64_t wait_ms_max)
{
    uint64_t now = clock_mono_ms(l->clock), next = timers_next(&l->timers);
    uint64_t wait = next <= now ? 0 : MIN(next - now, wait_ms_max);

    return mailbox_pending(l->mailbox) ? 0 : (int)MIN(wait, (uint64_t)60000);
}

void loop_turn(struct loop *l, uint64_t wait_ms_max)
{
    int n = epoll_wait(l->epoll, l->events, EVENTS_PER_TURN, wait_ms(l, wait_ms_max));

    l->events_n = MAX(n, 0);
    l->now_ms = clock_mono_ms(l->clock);
    for (l->events_at = 0; l->events_at < l->events_n;) {
        struct epoll_event *ev = &l->events[l->events_at++];
        struct watch *w = ev->data.ptr;

        if (w) w->ready(w, ev->events);
    }
    l->events_n = 0;
    mailbox_drain(l->mailbox);
    timers_fire(&l->timers, l->now_ms);
    list_each_safe(it, &l->hooks)
    {
        struct turn_hook *h = container_of(it, struct turn_hook, link);

        h->turn(h);
    }
}

void loop_run(struct loop *l)
{
    while (!atomic_load(&l->stopping))
        loop_turn(l, 60000);
}

static void on_stop(struct msg *m)
{
    (void)m;
}

void loop_stop(struct loop *l)
{
    atomic_store(&l->stopping, true);
    if (atomic_flag_test_and_set(&l->stop_posted)) return;
    l->stop_msg.run = on_stop;
    mailbox_post(l->mailbox, &l->stop_msg);
}
