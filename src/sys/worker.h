/* sys/worker.h - a few threads for what may block: file syncs, big (de)compression, directories, DNS, predictions.
 *
 * A job is a struct with a struct work in it. `run` is called on a worker thread; then `done` is called on the loop
 * that owns reply_to. Every submitted job completes exactly once. Jobs of one `lane` run one after the other in the
 * order of submission; lane 0 means no order. SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/err.h"
#include "sys/mailbox.h"

struct work {
    struct msg msg;                                /* the pool's own until done */
    void (*run)(struct work *w);                   /* on a worker; may block */
    void (*done)(struct work *w);                  /* on the asking loop */
    struct mailbox *reply_to;
    uint32_t lane;                                 /* 0 … WORKER_LANES_MAX - 1 */
};
enum { WORKER_LANES_MAX = 64 };

struct workers;
enum rc workers_new(unsigned threads, struct workers **ret, struct err *e) MUST_USE;
/* threads = 0 above: nothing runs until workers_run_one() (simulation, tests). */
struct workers *workers_free(struct workers *w);   /* finishes what was submitted first; NULL is fine; returns NULL */
/* What the jobs of one lane keep between them; only they touch it, one after the other. `drop` is called by workers_free(). */
struct lane_state { void *p; void (*drop)(void *p); };
struct lane_state *workers_lane(struct workers *w, uint32_t lane);
void workers_submit(struct workers *w, struct work *job);
/* Simulation: runs a job here. The oldest that may run, or the n-th of those that may; false if there is none. */
bool workers_run_one(struct workers *w);
bool workers_run_nth(struct workers *w, unsigned nth);
unsigned workers_runnable(struct workers *w);
