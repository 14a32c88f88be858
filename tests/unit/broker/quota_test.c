/* The figures of rates and throttle times are those of a running Apache Kafka 3.8.1 with the same quotas.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "broker/quota.h"
#include "test.h"

#include <math.h>
#include <stdio.h>

static struct quota_entity entity(const char *user, const char *client, const char *ip)
{
    const char *names[] = {user, client, ip};
    struct quota_entity who = {0};

    for (int i = 0; i < QUOTA_PARTS; i++)
        if (names[i])
            who.part[i] = (struct quota_name){
                true, str_is(str_of(names[i]), "*") ? (struct str){0} : str_of(names[i])};
    return who;
}

static void set(struct quotas *q, const char *user, const char *client, const char *ip,
                enum quota_kind k, double value)
{
    struct quota_entity who = entity(user, client, ip);

    assert_true(quotas_set(q, &who, k, true, value));
}

static void a_rate_may_be_used_up_for_ten_seconds_at_once(void **state)
{
    struct quotas q = {0};
    struct str client = STR("p"), user = STR("u");

    (void)state;
    set(&q, NULL, "p", NULL, QUOTA_PRODUCE, 1000);
    assert_int_equal(quotas_charge(&q, QUOTA_PRODUCE, user, client, 6000, 5000), 0);
    assert_int_equal(quotas_charge(&q, QUOTA_PRODUCE, user, client, 4000, 5000), 0);
    assert_int_equal(quotas_charge(&q, QUOTA_PRODUCE, user, client, 2322, 5000), 2322);
    assert_int_equal(quotas_charge(&q, QUOTA_PRODUCE, user, client, 210, 7330),
                     2202); /* over 10.33 s */
    assert_int_equal(quotas_charge(&q, QUOTA_PRODUCE, user, client, 0, 16000),
                     0); /* the burst is 11 s old */
    assert_int_equal(quotas_charge(&q, QUOTA_PRODUCE, user, STR("other"), 1e9, 16000), 0);
    quotas_fini(&q);
}

static void what_is_taken_back_was_not_used(void **state)
{
    struct quotas q = {0};

    (void)state;
    set(&q, NULL, "c", NULL, QUOTA_FETCH, 500);
    assert_int_equal(quotas_charge(&q, QUOTA_FETCH, STR("u"), STR("c"), 5073, 0), 146);
    quotas_charge(&q, QUOTA_FETCH, STR("u"), STR("c"), -5073, 0);
    assert_int_equal(quotas_charge(&q, QUOTA_FETCH, STR("u"), STR("c"), 5073, 146), 0);
    assert_int_equal(quotas_charge(&q, QUOTA_FETCH, STR("u"), STR("c"), 5073, 146), 10146);
    quotas_fini(&q);
}

static void a_limit_below_a_request_s_cost_silences_for_a_window_at_most(void **state)
{
    struct quotas q = {0};

    (void)state;
    set(&q, "*", NULL, NULL, QUOTA_REQUEST, 0.01);
    assert_int_equal(quotas_charge(&q, QUOTA_REQUEST, STR("u"), STR("c"), 100, 0), QUOTA_WINDOW_MS);
    quotas_fini(&q);
}

static void the_most_specific_entity_decides(void **state)
{
    struct quotas q = {0};

    (void)state;
    assert_true(isinf(quotas_limit(&q, QUOTA_PRODUCE, STR("u"), STR("c"))));
    set(&q, NULL, "*", NULL, QUOTA_PRODUCE, 8);
    assert_true(quotas_limit(&q, QUOTA_PRODUCE, STR("u"), STR("c")) == 8);
    set(&q, NULL, "c", NULL, QUOTA_PRODUCE, 7);
    assert_true(quotas_limit(&q, QUOTA_PRODUCE, STR("u"), STR("c")) == 7);
    set(&q, "*", NULL, NULL, QUOTA_PRODUCE, 6);
    assert_true(quotas_limit(&q, QUOTA_PRODUCE, STR("u"), STR("c")) == 6);
    set(&q, "*", "*", NULL, QUOTA_PRODUCE, 5);
    assert_true(quotas_limit(&q, QUOTA_PRODUCE, STR("u"), STR("c")) == 5);
    set(&q, "*", "c", NULL, QUOTA_PRODUCE, 4);
    assert_true(quotas_limit(&q, QUOTA_PRODUCE, STR("u"), STR("c")) == 4);
    set(&q, "u", NULL, NULL, QUOTA_PRODUCE, 3);
    assert_true(quotas_limit(&q, QUOTA_PRODUCE, STR("u"), STR("c")) == 3);
    set(&q, "u", "*", NULL, QUOTA_PRODUCE, 2);
    assert_true(quotas_limit(&q, QUOTA_PRODUCE, STR("u"), STR("c")) == 2);
    set(&q, "u", "c", NULL, QUOTA_PRODUCE, 1);
    assert_true(quotas_limit(&q, QUOTA_PRODUCE, STR("u"), STR("c")) == 1);
    assert_true(isinf(quotas_limit(&q, QUOTA_FETCH, STR("u"), STR("c"))));
    quotas_fini(&q);
}

static void a_default_gives_everybody_a_share_of_their_own(void **state)
{
    struct quotas q = {0};

    (void)state;
    set(&q, NULL, "*", NULL, QUOTA_PRODUCE, 10);
    assert_int_not_equal(quotas_charge(&q, QUOTA_PRODUCE, STR("u"), STR("a"), 1000, 0), 0);
    assert_int_equal(quotas_charge(&q, QUOTA_PRODUCE, STR("u"), STR("b"), 100, 0), 0);
    set(&q, "u", NULL, NULL, QUOTA_PRODUCE, 10); /* of a user: its clients share it */
    assert_int_equal(quotas_charge(&q, QUOTA_PRODUCE, STR("u"), STR("a"), 60, 0), 0);
    assert_int_not_equal(quotas_charge(&q, QUOTA_PRODUCE, STR("u"), STR("b"), 60, 0), 0);
    quotas_fini(&q);
}

static void changes_come_out_of_a_bucket_and_old_clients_may_overdraw_it(void **state)
{
    struct quotas q = {0};
    struct str u = STR("u"), c = STR("m");
    uint32_t ms = 0;

    (void)state;
    set(&q, NULL, "m", NULL, QUOTA_MUTATION, 1);
    for (int i = 0; i < 3; i++)
        assert_true(quotas_take(&q, u, c, 5, true, 0, &ms)); /* 11, 6, 1, -4 */
    assert_int_equal(ms, 0);
    assert_false(quotas_take(&q, u, c, 5, true, 28, &ms));
    assert_int_equal(ms, 3972);
    ms = 0;
    assert_true(quotas_take(&q, u, c, 1, true, 4020, &ms));
    assert_false(quotas_take(&q, u, c, 1, true, 4020, &ms));
    assert_int_equal(ms, 980);
    ms = 0;
    assert_true(quotas_take(&q, u, c, 3, false, 5000, &ms));
    assert_true(quotas_take(&q, u, c, 3, false, 5000, &ms));
    assert_int_equal(ms, 6000);
    assert_true(quotas_take(&q, u, STR("other"), 1000, true, 5000, &ms));
    quotas_fini(&q);
}

static void connections_above_the_rate_of_an_address_are_turned_away(void **state)
{
    struct quotas q = {0};

    (void)state;
    set(&q, NULL, NULL, "127.0.0.1", QUOTA_CONNECTION, 2);
    for (int i = 0; i < 20; i++)
        assert_int_equal(quotas_connect(&q, STR("127.0.0.1"), 0), 0);
    assert_int_equal(quotas_connect(&q, STR("127.0.0.1"), 0), 500);
    assert_int_equal(quotas_connect(&q, STR("127.0.0.1"), 500), 0);
    assert_int_equal(quotas_connect(&q, STR("10.0.0.1"), 500), 0);
    set(&q, NULL, NULL, "*", QUOTA_CONNECTION, 0);
    assert_int_equal(quotas_connect(&q, STR("10.0.0.1"), 500), 1000);
    quotas_fini(&q);
}

static void what_is_no_quota_is_refused(void **state)
{
    static const struct {
        const char *key;
        double value;
        bool ok;
    } rows[] = {
        {"producer_byte_rate", 1000, true},      {"producer_byte_rate", 1000.5, false},
        {"producer_byte_rate", 0, false},        {"producer_byte_rate", -1, false},
        {"producer_byte_rate", INFINITY, false}, {"producer_byte_rate", NAN, false},
        {"request_percentage", 12.5, true},      {"controller_mutation_rate", 2.5, true},
        {"connection_creation_rate", 5, false},  {"no_such", 1, false},
    };
    struct quota_entity user = entity("u", NULL, NULL), ip = entity(NULL, NULL, "::1");
    struct quota_entity both = entity("u", NULL, "::1"), none = {0}, empty = entity("", NULL, NULL);
    struct quota_entity odd = entity(NULL, NULL, "10.0.0.1.3");
    struct err e;

    (void)state;
    for (size_t i = 0; i < countof(rows); i++)
        assert_int_equal(quota_value_check(&user, str_of(rows[i].key), rows[i].value, &e) == RC_OK,
                         rows[i].ok);
    assert_int_equal(quota_value_check(&ip, STR("connection_creation_rate"), 5, &e), RC_OK);
    assert_int_equal(quota_value_check(&ip, STR("producer_byte_rate"), 5, &e), RC_INVALID);
    assert_int_equal(quota_entity_check(&user, &e), RC_OK);
    assert_int_equal(quota_entity_check(&ip, &e), RC_OK);
    assert_int_equal(quota_entity_check(&both, &e), RC_INVALID);
    assert_int_equal(quota_entity_check(&none, &e), RC_INVALID);
    assert_int_equal(quota_entity_check(&empty, &e), RC_INVALID);
    assert_int_equal(quota_entity_check(&odd, &e), RC_INVALID);
}

static void memory_is_bounded_whatever_clients_call_themselves(void **state)
{
    struct quotas q = {0};
    char name[32];

    (void)state;
    set(&q, NULL, "*", NULL, QUOTA_PRODUCE, 10);
    for (int i = 0; i < QUOTA_METERS_MAX + 500; i++) {
        snprintf(name, sizeof name, "c%d", i);
        quotas_charge(&q, QUOTA_PRODUCE, STR("u"), str_of(name), 1, 0);
    }
    assert_int_equal(q.meters.n, QUOTA_METERS_MAX);
    assert_int_not_equal(quotas_charge(&q, QUOTA_PRODUCE, STR("u"), STR("new"), 1, 0),
                         0); /* shared */
    quotas_charge(&q, QUOTA_PRODUCE, STR("u"), STR("later"), 1, QUOTA_SAMPLES * QUOTA_WINDOW_MS);
    assert_int_equal(q.meters.n, 1);
    quotas_fini(&q);
}

static void a_quota_without_values_is_forgotten(void **state)
{
    struct quota_entity who = entity("u", "*", NULL);
    struct quotas q = {0};

    (void)state;
    set(&q, "u", "*", NULL, QUOTA_PRODUCE, 10);
    assert_non_null(quotas_get(&q, &who));
    assert_true(quotas_set(&q, &who, QUOTA_PRODUCE, false, 0));
    assert_null(quotas_get(&q, &who));
    assert_false(quotas_any(&q, QUOTA_PRODUCE));
    quotas_fini(&q);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_rate_may_be_used_up_for_ten_seconds_at_once),
        cmocka_unit_test(what_is_taken_back_was_not_used),
        cmocka_unit_test(a_limit_below_a_request_s_cost_silences_for_a_window_at_most),
        cmocka_unit_test(the_most_specific_entity_decides),
        cmocka_unit_test(a_default_gives_everybody_a_share_of_their_own),
        cmocka_unit_test(changes_come_out_of_a_bucket_and_old_clients_may_overdraw_it),
        cmocka_unit_test(connections_above_the_rate_of_an_address_are_turned_away),
        cmocka_unit_test(what_is_no_quota_is_refused),
        cmocka_unit_test(memory_is_bounded_whatever_clients_call_themselves),
        cmocka_unit_test(a_quota_without_values_is_forgotten),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
