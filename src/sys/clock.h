/* sys/clock.h - time, as something that is passed and can be simulated.
 *
 * Monotonic time is for deadlines and timers, wall time for timestamps and retention only. Both in milliseconds unless
 * the name says _us. SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include <stdint.h>

struct clock {
    uint64_t (*mono_us)(const struct clock *c);
    int64_t  (*wall_ms)(const struct clock *c);      /* since 1970-01-01 UTC */
};

extern const struct clock clock_real;

/* Time that moves only when told to. Use &sim.clock. */
struct clock_sim { struct clock clock; uint64_t mono_us; int64_t wall_ms; };
void clock_sim_init(struct clock_sim *c, int64_t wall_ms);
void clock_sim_advance(struct clock_sim *c, uint64_t us);

static inline uint64_t clock_mono_us(const struct clock *c) { return c->mono_us(c); }
static inline uint64_t clock_mono_ms(const struct clock *c) { return c->mono_us(c) / 1000; }
static inline int64_t  clock_wall_ms(const struct clock *c) { return c->wall_ms(c); }
