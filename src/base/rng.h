/* base/rng.h - seedable pseudo-random numbers (not for secrets) and the one random seed of the process.
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/bytes.h"

struct rng { uint64_t s[4]; };

void     rng_init(struct rng *r, uint64_t seed);
uint64_t rng_u64(struct rng *r);
uint64_t rng_below(struct rng *r, uint64_t n);             /* 0 … n-1; n > 0 */
void     rng_bytes(struct rng *r, void *p, size_t n);

uint64_t process_seed(void);                               /* random per process, from the kernel */
void     random_bytes(void *p, size_t n);                  /* from the kernel; for ids and secrets */
/* For simulations: from now on both follow from `seed`, so that a run can be repeated. No other thread may be running, no map
 * may have anything in it. */
void     random_simulate(uint64_t seed);
