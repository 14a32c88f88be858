/* Rules that make names of certificates' subjects. SPDX-License-Identifier: Apache-2.0 */
#include "test.h"

#include "broker/principal.h"

static void rules_give_names(void **state)
{
    static const struct { const char *rules, *subject, *name; } rows[] = {
        {"", "CN=alice,OU=x", "CN=alice,OU=x"},
        {"DEFAULT", "CN=alice", "CN=alice"},
        {"RULE:^CN=(.*?),OU=Services.*$/$1/", "CN=kafka1,OU=Services,O=y", "kafka1"},
        {"RULE:^CN=(.*?),OU=Services.*$/$1/,DEFAULT", "CN=bob,OU=People", "CN=bob,OU=People"},
        {"RULE:^CN=(.*?),.*$/$1/L", "CN=ALICE,OU=x", "alice"},
        {"RULE:^CN=(.*?),.*$/$1/U,DEFAULT", "CN=alice,OU=x", "ALICE"},
        {" RULE:^CN=(\\w+),OU=(\\w+)$/$1@$2/ , DEFAULT", "CN=alice,OU=x", "alice@x"},
        {"RULE:^CN=(.*?),OU=a,b$/$1/", "CN=alice,OU=a,b", "alice"}, /* commas belong to the expression */
        {"RULE:^CN=(.*?)$/$1/", "CN=alice,OU=x", "alice,OU=x"},
        {"RULE:CN=(.*)/$1/", "O=z,CN=alice", NULL}, /* the whole subject must match */
        {"RULE:^.*$/a\\/b/", "CN=alice", "a/b"},
    };

    (void)state;
    for (size_t i = 0; i < countof(rows); i++) {
        AUTO(buf_fini) struct buf name = {0};
        struct principal_rules *r;
        struct err e;

        assert_int_equal(principal_rules_new(str_of(rows[i].rules), &r, &e), RC_OK);
        assert_int_equal(principal_of_subject(r, str_of(rows[i].subject), &name), rows[i].name != NULL);
        if (rows[i].name) assert_str(buf_str(&name), rows[i].name);
        principal_rules_free(r);
    }
}

static void rules_that_cannot_be_read_are_refused(void **state)
{
    static const char *const rows[] = {"RULE:", "RULE:a", "RULE:a/b", "RULE:(/b/", "rule:a/b/", "DEFAULT,", "RULE:a/b/LU", "DEFAULT DEFAULT"};

    (void)state;
    for (size_t i = 0; i < countof(rows); i++) {
        struct principal_rules *r;
        struct err e;

        assert_int_equal(principal_rules_new(str_of(rows[i]), &r, &e), RC_INVALID);
        assert_true(e.text[0]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(rules_give_names), cmocka_unit_test(rules_that_cannot_be_read_are_refused)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
