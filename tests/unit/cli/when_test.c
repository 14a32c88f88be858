/* Times as people give them. SPDX-License-Identifier: Apache-2.0 */
#include "cli/when.h"
#include "test.h"

enum { NOW = 1700000000 };

static int64_t when(const char *text)
{
    struct err e;
    int64_t ms;

    return when_parse(str_of(text), NOW * 1000LL, &ms, &e) ? -1 : ms;
}

static void every_form_is_read(void **state)
{
    (void)state;
    assert_int_equal(when("now"), NOW * 1000LL);
    assert_int_equal(when("-15m"), (NOW - 900) * 1000LL);
    assert_int_equal(when("-2d"), (NOW - 2 * 86400) * 1000LL);
    assert_int_equal(when("0"), 0);
    assert_int_equal(when("1700000000123"), 1700000000123);
    assert_int_equal(when("2023-11-14"), 1699920000000);
    assert_int_equal(when("2023-11-14T22:13:20Z"), 1700000000000);
    assert_int_equal(when("2023-11-14 22:13:20"), 1700000000000);
    assert_int_equal(when("2023-11-14T22:13:20.5Z"), 1700000000500);
    assert_int_equal(when("2023-11-14T22:13:20.123456Z"), 1700000000123);
    assert_int_equal(when("2024-02-29"), 1709164800000);
}

static void what_is_no_time_is_refused(void **state)
{
    static const char *const texts[] = {"", "-", "-m", "-1", "-1x", "--1m", "-99999999999d", "yesterday", "2023-13-01", "2023-02-29",
                                        "2023-11-14T", "2023-11-14T22:13", "2023-11-14T25:00:00Z", "2023-11-14T22:13:20.Z",
                                        "2023-11-14T22:13:20+01:00", "2023-11-14X22:13:20Z", "20a3-11-14", "1969-12-31"};

    (void)state;
    for (size_t i = 0; i < countof(texts); i++)
        assert_int_equal(when(texts[i]), -1);
}

static void what_is_printed_is_read_again(void **state)
{
    AUTO(buf_fini) struct buf b = {0};

    (void)state;
    when_put(1700000000007, &b);
    assert_string_equal(buf_cstr(&b), "2023-11-14T22:13:20.007Z");
    assert_int_equal(when(buf_cstr(&b)), 1700000000007);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_form_is_read),
        cmocka_unit_test(what_is_no_time_is_refused),
        cmocka_unit_test(what_is_printed_is_read_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
