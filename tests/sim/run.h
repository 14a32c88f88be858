/* tests/sim/run.h - one seed: a broker, its clients, what goes wrong, and the verdict on what was seen.
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "world.h"

struct run_options {
    uint64_t seed;
    unsigned lies;                       /* enum fs_sim_lie: a disk that only says it has synced */
    bool loud;                           /* the whole trace on standard output */
};
struct run_result {
    struct verdict verdict;
    uint64_t hash, events, frames, disk_ops, simulated_ms, starts, cuts, kills;
    struct buf story;                    /* where the verdict is not empty: what it rests on, and the last things that happened */
};
void run_seed(const struct run_options *o, struct run_result *ret);
void run_result_fini(struct run_result *r);

/* What may go wrong in this run, drawn from the seed; begins now. */
struct nemesis;
struct nemesis *nemesis_new(struct world *w);
void nemesis_end(struct nemesis *n);                     /* heals what can be healed, and restarts a broker that is hurt */
struct nemesis *nemesis_free(struct nemesis *n);
