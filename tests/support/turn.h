/* tests/support/turn.h - a loop that the test turns itself. SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "net/loop.h"
#include "sys/clock.h"

static inline void turn_until(struct loop *l, const unsigned *count, unsigned wanted)
{
    uint64_t deadline = clock_mono_ms(&clock_real) + 10000;

    while (*count < wanted && clock_mono_ms(&clock_real) < deadline)
        loop_turn(l, 10);
    assert_int_equal(*count, wanted);
}
