/* sys/timers.h - deadlines of one loop, ordered. A struct timer lies inside what waits; {0} is an idle timer.
 *
 * Setting a set timer moves it; cancelling an idle one is fine. A timer is idle again before its function is called.
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/macros.h"

struct timer { uint64_t at_ms; uint32_t slot; void (*fire)(struct timer *t); };   /* slot: 0 = idle */
struct timers { struct timer **heap; uint32_t n, cap; };                         /* {0} is empty */

void timers_fini(struct timers *ts);                                  /* the timers themselves become idle */
void timer_set(struct timers *ts, struct timer *t, uint64_t at_ms, void (*fire)(struct timer *t));
void timer_cancel(struct timers *ts, struct timer *t);
uint64_t timers_next(const struct timers *ts);                        /* at_ms of the earliest, UINT64_MAX when none */
void timers_fire(struct timers *ts, uint64_t now_ms);                 /* all that are due */
static inline int timer_is_set(const struct timer *t) { return t->slot != 0; }
