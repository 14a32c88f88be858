/* Who fails again and again is counted, for a minute, by address. SPDX-License-Identifier: Apache-2.0 */
#include "net/strikes.h"
#include "test.h"
#include <arpa/inet.h>
#include <string.h>

static struct addr of4(const char *text)
{
    struct addr a = {.u.in4.sin_family = AF_INET};

    assert_int_equal(inet_pton(AF_INET, text, &a.u.in4.sin_addr), 1);
    return a;
}

static struct addr of6(const char *text)
{
    struct addr a = {.u.in6.sin6_family = AF_INET6};

    assert_int_equal(inet_pton(AF_INET6, text, &a.u.in6.sin6_addr), 1);
    return a;
}

static bool same(const struct addr *a, const struct addr *b)
{
    return bytes_eq(strikes_key(a), strikes_key(b));
}

static void each_address_has_its_own_count_for_a_minute(void **state)
{
    struct strikes *s = strikes_new();
    struct bytes a = bytes_of("aaaa", 4), b = bytes_of("bbbb", 4);

    (void)state;
    assert_int_equal(strikes_of(s, a, 1000), 0);
    assert_int_equal(strikes_note(s, a, 1000), 1);
    assert_int_equal(strikes_note(s, a, 30000), 2);
    assert_int_equal(strikes_of(s, a, 30000), 2);
    assert_int_equal(strikes_of(s, b, 30000), 0);
    assert_int_equal(strikes_of(s, a, 1000 + STRIKES_MS - 1), 2);
    assert_int_equal(strikes_of(s, a, 1000 + STRIKES_MS), 0);      /* of the first failure, not the last */
    assert_int_equal(strikes_note(s, a, 1000 + STRIKES_MS), 1);
    strikes_free(s);
}

/* 4096 addresses at a time; beyond that nobody is remembered, and whoever fails next counts from one. */
/* Loops that share the counts look at the clock once a turn each. */
static void a_loop_whose_clock_is_behind_forgets_no_strike(void **state)
{
    struct strikes *s = strikes_new();
    struct bytes who = bytes_of("\12\0\0\1", 4);

    (void)state;
    assert_int_equal(strikes_note(s, who, 1000), 1);
    assert_int_equal(strikes_of(s, who, 999), 1);
    assert_int_equal(strikes_note(s, who, 998), 2);
    assert_int_equal(strikes_note(s, who, 1000), 3);
    strikes_free(s);
}

static void memory_is_bounded(void **state)
{
    struct strikes *s = strikes_new();
    struct bytes first = bytes_of("\0\0\0\0", 4);
    uint32_t i = 0;

    (void)state;
    for (; i < 4096; i++)
        assert_int_equal(strikes_note(s, bytes_of(&i, sizeof i), 1000), 1);
    assert_int_equal(strikes_of(s, first, 1000), 1);
    assert_int_equal(strikes_note(s, bytes_of(&i, sizeof i), 1000), 1);
    assert_int_equal(strikes_of(s, first, 1000), 0);
    assert_int_equal(strikes_of(s, bytes_of(&i, sizeof i), 1000), 1);
    strikes_free(s);
}

static void an_address_is_its_host_and_in_ipv6_its_network(void **state)
{
    struct addr a = of4("192.0.2.1"), b = of4("192.0.2.2"), mapped = of6("::ffff:192.0.2.1"), other = of6("::ffff:192.0.2.2");
    struct addr x = of6("2001:db8:1:2::1"), y = of6("2001:db8:1:2:ffff::9"), z = of6("2001:db8:1:3::1");

    (void)state;
    assert_false(same(&a, &b));
    assert_true(same(&a, &mapped));
    assert_false(same(&mapped, &other));
    assert_true(same(&x, &y));
    assert_false(same(&x, &z));
    a.u.in4.sin_port = htons(5);
    mapped.u.in6.sin6_port = htons(6);
    assert_true(same(&a, &mapped));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_address_has_its_own_count_for_a_minute),
        cmocka_unit_test(a_loop_whose_clock_is_behind_forgets_no_strike),
        cmocka_unit_test(memory_is_bounded),
        cmocka_unit_test(an_address_is_its_host_and_in_ipv6_its_network),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
