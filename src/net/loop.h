/* net/loop.h - a thread's event loop: file descriptors, timers, a mailbox, and hooks at the end of a turn.
 *
 * One turn: wait (until something happens or the next timer), ready descriptors, mailbox, due timers, turn hooks.
 * Everything here is called on the loop's own thread, except loop_stop() and posting to the mailbox.
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/err.h"
#include "base/list.h"
#include "sys/clock.h"
#include "sys/mailbox.h"
#include "sys/timers.h"

struct loop;

struct watch {                                   /* {0} before the first loop_watch() */
    int fd;
    uint32_t events;                             /* EPOLLIN, EPOLLOUT, …; level-triggered */
    bool active;
    void (*ready)(struct watch *w, uint32_t events);
};

struct turn_hook { struct list link; void (*turn)(struct turn_hook *h); };

enum rc loop_new(const struct clock *clock, struct loop **ret, struct err *e) MUST_USE;
struct loop *loop_free(struct loop *l);          /* NULL is fine; returns NULL */

/* Starts watching, or changes the events of a watch that is active. Borrowed until loop_unwatch(). */
enum rc loop_watch(struct loop *l, struct watch *w, int fd, uint32_t events,
                   void (*ready)(struct watch *w, uint32_t events), struct err *e) MUST_USE;
void loop_events(struct loop *l, struct watch *w, uint32_t events);     /* no-op when unchanged */
/* Safe inside any ready function: pending readiness of w in this turn is dropped. Inactive is fine. */
void loop_unwatch(struct loop *l, struct watch *w);

void loop_hook(struct loop *l, struct turn_hook *h);      /* called at the end of every turn, in order */
void loop_unhook(struct turn_hook *h);

struct timers  *loop_timers(struct loop *l);
struct mailbox *loop_mailbox(struct loop *l);
const struct clock *loop_clock(struct loop *l);
uint64_t loop_now_ms(struct loop *l);                     /* monotonic, read once a turn */
void loop_timer(struct loop *l, struct timer *t, uint64_t in_ms, void (*fire)(struct timer *t));

void loop_turn(struct loop *l, uint64_t wait_ms_max);     /* one turn */
void loop_run(struct loop *l);                            /* turns until loop_stop() */
void loop_stop(struct loop *l);                           /* any thread */
