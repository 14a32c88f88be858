/* SPDX-License-Identifier: Apache-2.0 */
#include "base/rng.h"
#include "sys/timers.h"
#include "test.h"

static uint64_t last_at;
static int fired;

static void on_fire(struct timer *t)
{
    assert_true(t->at_ms >= last_at);
    last_at = t->at_ms;
    fired++;
}

static void timers_fire_in_order_and_cancelled_ones_never(void **state)
{
    enum { N = 1000 };
    struct timers ts = {0};
    struct timer t[N] = {0};
    struct rng r;
    int expected = 0;

    (void)state;
    rng_init(&r, 3);
    for (int i = 0; i < N; i++)
        timer_set(&ts, &t[i], rng_below(&r, 5000), on_fire);
    for (int i = 0; i < N; i += 3)
        timer_set(&ts, &t[i], rng_below(&r, 5000), on_fire);
    for (int i = 0; i < N; i += 2)
        timer_cancel(&ts, &t[i]);
    for (int i = 0; i < N; i++)
        expected += timer_is_set(&t[i]);
    for (uint64_t now = 0; now <= 5000; now += 100) {
        timers_fire(&ts, now);
        assert_true(timers_next(&ts) > now);
    }
    assert_int_equal(fired, expected);
    assert_true(timers_next(&ts) == UINT64_MAX);
    timers_fini(&ts);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(timers_fire_in_order_and_cancelled_ones_never)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
