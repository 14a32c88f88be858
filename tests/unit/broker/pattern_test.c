/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/pattern.h"
#include "test.h"
#include <stdio.h>

static bool matches(const char *text, const char *name)
{
    struct pattern *p;
    struct err e;
    bool yes;

    assert_int_equal(pattern_new(str_of(text), &p, &e), RC_OK);
    yes = pattern_matches(p, str_of(name));
    pattern_free(p);
    return yes;
}

static void a_name_matches_as_a_whole(void **state)
{
    (void)state;
    assert_true(matches("orders-[0-9]+", "orders-17"));
    assert_true(matches("^orders-\\d+$", "orders-17"));
    assert_false(matches("orders", "orders-17"));
    assert_false(matches("ders-17", "orders-17"));
    assert_false(matches("a.*b", "aaabc"));
    assert_false(matches("(.*a){2}b", "aaaabc"));
    assert_true(matches("(.*a){2}b", "aaaab"));
    assert_true(matches("a+?", "aaa"));
    assert_true(matches("(a|ab)(c|bcd)?", "abcd"));
    assert_true(matches("(?s:a)(?i-s)B(?U)c+", "abcc"));
    assert_true(matches("a|ab|abc", "abc"));
    assert_true(matches("(?i)ORDERS.*?", "orders-17"));
    assert_true(matches("(?:a|b)(?P<n>c)*", "bcc"));
    assert_true(matches("\\Qa.b\\E.*", "a.b-c"));
    assert_false(matches("\\Qa.b\\E.*", "a-b-c"));
    assert_true(matches("[]a(?=]+", "a]"));
}

static void what_would_need_to_go_back_is_refused(void **state)
{
    static const char *const bad[] = {
        "(a)\\1", "(?=a)b", "(?!a)b", "(?<=a)b", "(?<!a)b", "(?>a)",
        "a++",    "a*+",    "(?R)",   "(?x)a #", "(?x:a)",  "(((a{50}){50}){50})",
        "(?J)a",  "(?1)",   "(*F)",   "(",       "[a",      "a{2,1}",
        "(?P=n)", "\\k<n>",
    };

    (void)state;
    for (size_t i = 0; i < countof(bad); i++) {
        struct pattern *p = NULL;
        struct err e = {0};

        if (pattern_new(str_of(bad[i]), &p, &e) != RC_INVALID) fail_msg("%s was taken", bad[i]);
        assert_true(e.text[0] != 0);
    }
}

static void many_alternatives_find_room(void **state)
{
    char text[4000] = "first";
    size_t n = strlen(text);

    (void)state;
    for (int i = 0; i < 150; i++)
        n += (size_t)snprintf(text + n, sizeof text - n, "|topic-%d", i);
    assert_true(matches(text, "first"));
    assert_true(matches(text, "topic-149"));
    assert_false(matches(text, "topic-150"));
}

/* Exponential for a matcher that goes back. */
static void no_pattern_is_slow(void **state)
{
    char name[250];

    (void)state;
    memset(name, 'a', sizeof name - 1);
    name[sizeof name - 2] = 'b';
    name[sizeof name - 1] = 0;
    assert_false(matches("(a+)+", name));
    assert_false(matches("(a|aa)+", name));
    assert_false(matches("(.*)(.*)(.*)(.*)(.*)(.*)(.*)(.*)(.*)x", name));
}

static void what_can_never_be_slow_is_told_from_the_rest(void **state)
{
    (void)state;
    assert_true(pattern_is_simple(STR("orders-.*")));
    assert_true(pattern_is_simple(STR("^.*orders[0-9]+.*$")));
    assert_false(pattern_is_simple(STR("(a|b).*")));
    assert_false(pattern_is_simple(STR("a{1000}")));
    assert_false(pattern_is_simple(STR(".*.*.*.*x")));
    assert_false(pattern_is_simple(STR("((a*)*)*")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_name_matches_as_a_whole),
        cmocka_unit_test(what_would_need_to_go_back_is_refused),
        cmocka_unit_test(many_alternatives_find_room),
        cmocka_unit_test(no_pattern_is_slow),
        cmocka_unit_test(what_can_never_be_slow_is_told_from_the_rest),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
