/* cred/errand.h - something that blocks and is done again and again: on a worker, started from a loop.
 *
 * `run` is called on a worker, then `done` on the loop, which says in how many milliseconds it is run again. One at a time.
 * Used by: cred/secret_watch.c, cred/token.c.     SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "net/loop.h"
#include "sys/worker.h"
#include <stdatomic.h>

struct errand {
    struct loop *loop;                           /* these are set by the owner, */
    struct workers *workers;
    void     (*run)(struct errand *e);           /* on a worker; ends soon when e->stop becomes true */
    uint64_t (*done)(struct errand *e);          /* on the loop; not called any more once it was ended */
    void     (*drop)(struct errand *e);          /* the last call: frees it */
    atomic_bool stop;                            /* these by the errand */
    struct timer timer;
    struct work work;
    bool out, again;
};

void errand_in(struct errand *e, uint64_t ms);   /* the first time, or instead of the time `done` said; while it is out: nothing */
void errand_now(struct errand *e);               /* while it is out: again when it is back */
void errand_end(struct errand *e);               /* drops it now, or when it comes back */
