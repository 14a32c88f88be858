/* Who may do what: each rule by itself, and random entries against a plain walk over all of them. SPDX-License-Identifier: Apache-2.0 */
#include "test.h"

#include "base/rng.h"
#include "broker/acl.h"

static struct acl entry(int8_t type, int8_t pattern, const char *name, const char *principal, const char *host, int8_t operation,
                        int8_t permission)
{
    return (struct acl){.type = type, .pattern = pattern, .name = str_of(name), .principal = str_of(principal), .host = str_of(host),
                        .operation = operation, .permission = permission};
}

static void add(struct acls *a, int8_t pattern, const char *name, const char *principal, const char *host, int8_t operation,
                int8_t permission)
{
    struct acl one = entry(ACL_TOPIC, pattern, name, principal, host, operation, permission);

    assert_true(acls_add(a, &one));
}

static bool may(const struct acls *a, const char *principal, enum acl_operation op, const char *topic)
{
    return acls_allow(a, str_of(principal), STR("10.0.0.1"), op, ACL_TOPIC, str_of(topic));
}

static void nothing_is_allowed_unless_somebody_says_so(void **state)
{
    AUTO(acls_fini) struct acls a = {.on = true};

    (void)state;
    assert_false(may(&a, "User:alice", ACL_READ, "t"));
    add(&a, ACL_LITERAL, "t", "User:alice", "*", ACL_READ, ACL_ALLOW);
    assert_true(may(&a, "User:alice", ACL_READ, "t"));
    assert_false(may(&a, "User:alice", ACL_WRITE, "t"));
    assert_false(may(&a, "User:alice", ACL_READ, "t2"));
    assert_false(may(&a, "User:bob", ACL_READ, "t"));
}

static void a_denial_wins(void **state)
{
    AUTO(acls_fini) struct acls a = {.on = true};

    (void)state;
    add(&a, ACL_LITERAL, "*", "User:*", "*", ACL_ALL, ACL_ALLOW);
    assert_true(may(&a, "User:alice", ACL_WRITE, "secret.t"));
    add(&a, ACL_PREFIXED, "secret.", "User:alice", "*", ACL_WRITE, ACL_DENY);
    assert_false(may(&a, "User:alice", ACL_WRITE, "secret.t"));
    assert_true(may(&a, "User:alice", ACL_READ, "secret.t"));
    assert_true(may(&a, "User:alice", ACL_WRITE, "secret"));
    assert_true(may(&a, "User:bob", ACL_WRITE, "secret.t"));
}

static void reading_and_writing_imply_describing_but_denials_imply_nothing(void **state)
{
    AUTO(acls_fini) struct acls a = {.on = true};

    (void)state;
    add(&a, ACL_LITERAL, "t", "User:alice", "*", ACL_WRITE, ACL_ALLOW);
    add(&a, ACL_LITERAL, "t", "User:alice", "*", ACL_ALTER_CONFIGS, ACL_ALLOW);
    assert_true(may(&a, "User:alice", ACL_DESCRIBE, "t"));
    assert_true(may(&a, "User:alice", ACL_DESCRIBE_CONFIGS, "t"));
    add(&a, ACL_LITERAL, "t", "User:alice", "*", ACL_READ, ACL_DENY);
    assert_true(may(&a, "User:alice", ACL_DESCRIBE, "t"));
    add(&a, ACL_LITERAL, "t", "User:alice", "*", ACL_DESCRIBE, ACL_DENY);
    assert_false(may(&a, "User:alice", ACL_DESCRIBE, "t"));
}

static void an_entry_for_one_host_is_for_that_host(void **state)
{
    AUTO(acls_fini) struct acls a = {.on = true};

    (void)state;
    add(&a, ACL_LITERAL, "t", "User:alice", "10.0.0.2", ACL_READ, ACL_ALLOW);
    assert_false(may(&a, "User:alice", ACL_READ, "t"));
    add(&a, ACL_LITERAL, "t", "User:alice", "10.0.0.1", ACL_READ, ACL_ALLOW);
    assert_true(may(&a, "User:alice", ACL_READ, "t"));
}

static void super_users_and_resources_without_entries(void **state)
{
    AUTO(acls_fini) struct acls a = {.on = true, .allow_everyone = true};

    (void)state;
    acls_super_add(&a, STR("User:admin"));
    assert_true(may(&a, "User:alice", ACL_WRITE, "free"));
    add(&a, ACL_LITERAL, "t", "User:*", "*", ACL_ALL, ACL_DENY);
    assert_false(may(&a, "User:alice", ACL_WRITE, "t"));
    assert_true(may(&a, "User:admin", ACL_WRITE, "t"));
    assert_true(may(&a, "User:alice", ACL_WRITE, "free"));
    add(&a, ACL_LITERAL, "of-bob", "User:bob", "*", ACL_ALL, ACL_ALLOW);      /* so it is no resource without entries */
    assert_false(may(&a, "User:alice", ACL_READ, "of-bob"));
    add(&a, ACL_PREFIXED, "of-", "User:carol", "*", ACL_READ, ACL_ALLOW);
    assert_false(may(&a, "User:alice", ACL_READ, "of-nobody"));
}

static void removed_is_as_never_added(void **state)
{
    AUTO(acls_fini) struct acls a = {.on = true};
    struct acl one = entry(ACL_TOPIC, ACL_PREFIXED, "ab", "User:alice", "*", ACL_READ, ACL_ALLOW);

    (void)state;
    assert_true(acls_add(&a, &one));
    assert_false(acls_add(&a, &one));
    assert_int_equal(a.n, 1);
    assert_true(may(&a, "User:alice", ACL_READ, "abc"));
    assert_true(acls_remove(&a, &one));
    assert_false(acls_remove(&a, &one));
    assert_false(may(&a, "User:alice", ACL_READ, "abc"));
    assert_int_equal(a.n, 0);
    assert_int_equal(a.prefixes[ACL_TOPIC].n, 0);
}

static void some_topic_is_enough_unless_all_its_names_are_denied(void **state)
{
    AUTO(acls_fini) struct acls a = {.on = true};
    struct str host = STR("h");

    (void)state;
    assert_false(acls_allow_any(&a, STR("User:alice"), host, ACL_WRITE, ACL_TOPIC));
    add(&a, ACL_PREFIXED, "abc", "User:alice", "*", ACL_WRITE, ACL_ALLOW);
    assert_true(acls_allow_any(&a, STR("User:alice"), host, ACL_WRITE, ACL_TOPIC));
    assert_false(acls_allow_any(&a, STR("User:alice"), host, ACL_READ, ACL_TOPIC));
    add(&a, ACL_PREFIXED, "ab", "User:alice", "*", ACL_WRITE, ACL_DENY);
    assert_false(acls_allow_any(&a, STR("User:alice"), host, ACL_WRITE, ACL_TOPIC));
}

static void filters_match_as_kafkas(void **state)
{
    struct acl prefixed = entry(ACL_TOPIC, ACL_PREFIXED, "ab", "User:alice", "*", ACL_READ, ACL_ALLOW);
    struct acl all = entry(ACL_TOPIC, ACL_LITERAL, "*", "User:alice", "*", ACL_READ, ACL_ALLOW);
    struct acl filter = {.type = 1, .pattern = 1, .operation = 1, .permission = 1};

    (void)state;
    assert_true(acl_matches(&filter, &prefixed));
    filter.name = STR("abc");
    assert_false(acl_matches(&filter, &prefixed));
    filter.pattern = ACL_MATCH;
    assert_true(acl_matches(&filter, &prefixed));
    assert_true(acl_matches(&filter, &all));
    filter.name = STR("b");
    assert_false(acl_matches(&filter, &prefixed));
    filter.host = STR("h");
    assert_false(acl_matches(&filter, &all));
}

/* ---- against the rule as it is written down ---- */

static bool names(const struct acl *e, struct str name)
{
    if (e->pattern == ACL_PREFIXED) return str_starts(name, e->name);
    return str_eq(e->name, name) || str_is(e->name, "*");
}

static bool slowly(const struct acl *all, size_t n, struct str principal, enum acl_operation op, struct str name)
{
    bool allowed = false;

    for (size_t i = 0; i < n; i++) {
        const struct acl *e = &all[i];
        bool implied = e->permission == ACL_ALLOW && op == ACL_DESCRIBE && (e->operation == ACL_READ || e->operation == ACL_WRITE);

        if (!names(e, name) || (!str_eq(e->principal, principal) && !str_is(e->principal, "User:*"))) continue;
        if (e->operation != (int8_t)op && e->operation != ACL_ALL && !implied) continue;
        if (e->permission == ACL_DENY) return false;
        allowed = true;
    }
    return allowed;
}

static void random_entries_decide_as_a_walk_over_all_of_them_does(void **state)
{
    static const char *const topics[] = {"a", "ab", "abc", "b", "ba", "*"};
    static const char *const users[] = {"User:a", "User:b", "User:*"};
    static const int8_t operations[] = {ACL_ALL, ACL_READ, ACL_WRITE, ACL_DESCRIBE};
    struct rng rng;

    (void)state;
    rng_init(&rng, 28);
    for (int round = 0; round < 2000; round++) {
        AUTO(acls_fini) struct acls a = {.on = true};
        struct acl all[12];
        size_t n = 0;

        for (uint64_t left = rng_below(&rng, 12); left; left--) {
            all[n] = entry(ACL_TOPIC, rng_below(&rng, 2) ? ACL_LITERAL : ACL_PREFIXED, topics[rng_below(&rng, countof(topics))],
                           users[rng_below(&rng, countof(users))], "*", operations[rng_below(&rng, countof(operations))],
                           rng_below(&rng, 4) ? ACL_ALLOW : ACL_DENY);
            n += acls_add(&a, &all[n]);
        }
        for (size_t t = 0; t + 1 < countof(topics); t++)
            for (size_t u = 0; u + 1 < countof(users); u++)
                for (size_t o = 1; o < countof(operations); o++)
                    assert_int_equal(may(&a, users[u], (enum acl_operation)operations[o], topics[t]),
                                     slowly(all, n, str_of(users[u]), (enum acl_operation)operations[o], str_of(topics[t])));
        while (n--)
            assert_true(acls_remove(&a, &all[n]));
        assert_int_equal(a.nodes.n, 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_allowed_unless_somebody_says_so),
        cmocka_unit_test(a_denial_wins),
        cmocka_unit_test(reading_and_writing_imply_describing_but_denials_imply_nothing),
        cmocka_unit_test(an_entry_for_one_host_is_for_that_host),
        cmocka_unit_test(super_users_and_resources_without_entries),
        cmocka_unit_test(removed_is_as_never_added),
        cmocka_unit_test(some_topic_is_enough_unless_all_its_names_are_denied),
        cmocka_unit_test(filters_match_as_kafkas),
        cmocka_unit_test(random_entries_decide_as_a_walk_over_all_of_them_does),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
