/* SPDX-License-Identifier: Apache-2.0 */
#include "sys/clock.h"
#include "base/macros.h"
#include <time.h>

static uint64_t real_mono_us(const struct clock *c)
{
    struct timespec ts;

    (void)c;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

static int64_t real_wall_ms(const struct clock *c)
{
    struct timespec ts;

    (void)c;
    clock_gettime(CLOCK_REALTIME, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

const struct clock clock_real = {.mono_us = real_mono_us, .wall_ms = real_wall_ms};

static uint64_t sim_mono_us(const struct clock *c)
{
    return container_of(c, struct clock_sim, clock)->mono_us;
}

static int64_t sim_wall_ms(const struct clock *c)
{
    return container_of(c, struct clock_sim, clock)->wall_ms;
}

void clock_sim_init(struct clock_sim *c, int64_t wall_ms)
{
    *c = (struct clock_sim){.clock = {.mono_us = sim_mono_us, .wall_ms = sim_wall_ms},
                            .mono_us = 1000000,
                            .wall_ms = wall_ms};
}

void clock_sim_advance(struct clock_sim *c, uint64_t us)
{
    c->wall_ms += (int64_t)((c->mono_us + us) / 1000 - c->mono_us / 1000);
    c->mono_us += us;
}
