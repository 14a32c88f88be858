/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/age_clock.h"
#include "base/diag.h"
#include "test.h"

static const int64_t HOUR = 3600000;
static const int64_t T = 1700000000000;

static void a_clock_that_runs_is_believed(void **state)
{
    struct age_clock c = {0};

    (void)state;
    assert_int_equal(age_clock_ms(&c, 1000, T), T);
    assert_int_equal(age_clock_ms(&c, 1000 + 10 * HOUR, T + 10 * HOUR), T + 10 * HOUR);
    assert_int_equal(age_clock_ms(&c, 1000 + 11 * HOUR, T + 11 * HOUR + 59000), T + 11 * HOUR + 59000);
    assert_int_equal(age_clock_ms(&c, 1000 + 12 * HOUR, T + 5 * HOUR), T + 5 * HOUR);
}

static void a_jump_forward_makes_nothing_older_for_an_hour(void **state)
{
    struct age_clock c = {0};

    (void)state;
    assert_int_equal(age_clock_ms(&c, 5000, T), T);
    assert_int_equal(age_clock_ms(&c, 6000, T + 1000 + 100000 * HOUR), T + 1000);
    assert_int_equal(age_clock_ms(&c, 6000 + HOUR / 2, T + 1000 + HOUR / 2 + 100000 * HOUR), T + 1000 + HOUR / 2);
    assert_int_equal(age_clock_ms(&c, 6001 + HOUR, T + 1001 + 100001 * HOUR), T + 1001 + 100001 * HOUR);
}

static void a_jump_that_is_taken_back_or_goes_on_is_a_new_one(void **state)
{
    struct age_clock c = {0};

    (void)state;
    assert_int_equal(age_clock_ms(&c, 0, T), T);
    assert_int_equal(age_clock_ms(&c, 1000, T + 500 * HOUR), T + 1000);
    assert_int_equal(age_clock_ms(&c, HOUR, T + HOUR), T + HOUR);
    assert_int_equal(age_clock_ms(&c, HOUR + 2000, T + 501 * HOUR), T + HOUR + 2000);
    assert_int_equal(age_clock_ms(&c, 2 * HOUR, T + 900 * HOUR), T + 2 * HOUR);
    assert_int_equal(age_clock_ms(&c, 2 * HOUR + 3000, T + 900 * HOUR + 3000), T + 2 * HOUR + 3000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_clock_that_runs_is_believed),
        cmocka_unit_test(a_jump_forward_makes_nothing_older_for_an_hour),
        cmocka_unit_test(a_jump_that_is_taken_back_or_goes_on_is_a_new_one),
    };

    diag_set_levels(STR("error"));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
