/* SPDX-License-Identifier: Apache-2.0
 *
 * While brokers refuse our login: who may connect, and when.
 */
#include "bus/remote_gate.h"
#include "base/macros.h"
#include "test.h"

enum { START_MS = 100000, MINUTE_MS = 60000 };

static struct gate g;

static int opened(void **state)
{
    (void)state;
    gate_init(&g);
    return 0;
}

static int closed(void **state)
{
    (void)state;
    gate_fini(&g);
    return 0;
}

static void everybody_passes_as_long_as_nobody_was_refused(void **state)
{
    (void)state;
    for (uint64_t now = START_MS; now < START_MS + 100; now++)
        assert_true(gate_pass(&g, false, now) && gate_pass(&g, true, now));
    gate_changed(&g, START_MS + 100);
    assert_true(gate_pass(&g, false, START_MS + 100));
}

/* A dozen connections that ask five times a second, all refused: with those that were under way when it began they stay below
 * the twenty failures in a minute from which on our broker locks an address out. */
static void a_login_that_is_refused_is_tried_a_few_times_a_minute(void **state)
{
    size_t tries = 0;

    (void)state;
    gate_refused(&g, START_MS);
    for (uint64_t now = START_MS; now < START_MS + MINUTE_MS; now += 200)
        for (int client = 0; client < 12; client++) {
            if (!gate_pass(&g, client == 0, now)) continue;
            tries++;
            gate_refused(&g, now + 100);
        }
    assert_in_range(tries, 5, 8);
}

static void other_credentials_are_tried_at_once_and_by_one(void **state)
{
    uint64_t now = START_MS;

    (void)state;
    gate_refused(&g, now);
    for (int i = 0; i < 10; i++, now += GATE_MAX_MS)
        if (gate_pass(&g, true, now)) gate_refused(&g, now + 1);
    now += 2;
    assert_true(gate_pass(&g, true, now));
    gate_refused(&g, now + 1);
    assert_false(gate_pass(&g, true, now + 2));
    gate_changed(&g, now + 3);
    assert_false(gate_pass(&g, false, now + 3));
    assert_true(gate_pass(&g, true, now + 3));
    assert_false(gate_pass(&g, true, now + 3));
    gate_answered(&g);
    assert_true(gate_pass(&g, false, now + 4));
}

static void an_answer_on_a_connection_from_before_opens_nothing(void **state)
{
    (void)state;
    gate_refused(&g, START_MS);
    gate_answered(&g);
    assert_false(gate_pass(&g, true, START_MS + GATE_FIRST_MS - 1));
    assert_true(gate_pass(&g, true, START_MS + GATE_FIRST_MS));
    gate_refused(&g, START_MS + GATE_FIRST_MS + 1);
    gate_answered(&g);
    assert_false(gate_pass(&g, true, START_MS + GATE_FIRST_MS + 2));
}

static void a_try_that_nobody_refuses_opens_and_others_try_when_who_knocks_is_connected(void **state)
{
    (void)state;
    gate_refused(&g, START_MS);
    assert_false(gate_pass(&g, false, START_MS + GATE_FIRST_MS + GATE_OTHERS_MS - 1));
    assert_true(gate_pass(&g, false, START_MS + GATE_FIRST_MS + GATE_OTHERS_MS));
    assert_false(gate_pass(&g, false, START_MS + GATE_FIRST_MS + GATE_OTHERS_MS + 1));
    for (uint64_t now = START_MS + GATE_FIRST_MS + GATE_OTHERS_MS + GATE_ANSWER_MS, i = 0; i < 10; i++)
        assert_true(gate_pass(&g, false, now));
}

int main(void)
{
#define IN_TURN(f) cmocka_unit_test_setup_teardown(f, opened, closed)
    const struct CMUnitTest tests[] = {
        IN_TURN(everybody_passes_as_long_as_nobody_was_refused),
        IN_TURN(a_login_that_is_refused_is_tried_a_few_times_a_minute),
        IN_TURN(other_credentials_are_tried_at_once_and_by_one),
        IN_TURN(an_answer_on_a_connection_from_before_opens_nothing),
        IN_TURN(a_try_that_nobody_refuses_opens_and_others_try_when_who_knocks_is_connected),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
