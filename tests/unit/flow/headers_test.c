/* Which headers a record carries. SPDX-License-Identifier: Apache-2.0 */
#include "test.h"
#include "flow/headers.h"
#include <stdio.h>

static struct arena arena;
static const struct headers_deny deny_none;

#define H(...) ((struct header[]){__VA_ARGS__})
#define N(name_, value_) {{(name_), sizeof(name_) - 1}, {(value_), sizeof(value_) - 1}}

static const char *text(struct headers h)
{
    static char out[1024];
    int n = 0;

    out[0] = 0;
    for (size_t i = 0; i < h.n; i++)
        n += snprintf(out + n, sizeof out - (size_t)n, "%s" STR_FMT "=" STR_FMT, i ? " " : "", STR_ARG(h.v[i].name),
                      STR_ARG(h.v[i].value));
    return out;
}

static void the_input_gets_its_pipeline_and_an_id_where_none_came(void **state)
{
    (void)state;
    assert_string_equal(text(headers_admit(&arena, H(N("x-a", "1"), N("x-a", "2")), 2, &deny_none, STR("p"), STR("id"))),
                        "x-a=1 x-a=2 pipeline=p x-request-id=id");
    assert_string_equal(text(headers_admit(&arena, H(N("x-request-id", "own"), N("x-a", "1")), 2, &deny_none, STR("p"), STR("own"))),
                        "x-request-id=own x-a=1 pipeline=p");
    assert_string_equal(text(headers_admit(&arena, H(N("x-request-id", "")), 1, &deny_none, STR("p"), STR("id"))),
                        "pipeline=p x-request-id=id");
}

static void a_caller_cannot_set_what_is_ours(void **state)
{
    (void)state;
    assert_string_equal(text(headers_admit(&arena, H(N("pipeline", "q"), N("x-pipeline-version", "9"), N("Millrace-Run", "z")), 3,
                                           &deny_none, STR("p"), STR("id"))),
                        "pipeline=p x-request-id=id");
}

static void denied_names_are_compared_without_case_and_by_prefix(void **state)
{
    const struct headers_deny deny = {(struct str[]){STR("Cookie"), STR("x-auth-*")}, 2};

    (void)state;
    assert_true(headers_denied(&deny, STR("cookie")));
    assert_true(headers_denied(&deny, STR("X-Auth-Token")));
    assert_true(headers_denied(&deny, STR("x-auth-")));
    assert_false(headers_denied(&deny, STR("x-auth")));
    assert_false(headers_denied(&deny, STR("cookies")));
}

static void rewriting_moves_two_headers_to_the_end_and_drops_markers(void **state)
{
    struct headers h = {H(N("pipeline", "old"), N("x-a", "1"), N("x-seldon-alibi-type", "t"), N("x-seldon-alibi-method", "m"),
                          N("x-pipeline-version", "1"), N("x-b", "2")), 6};

    (void)state;
    assert_string_equal(text(headers_rewrite(&arena, h, STR("p"), STR("7"))), "x-a=1 x-b=2 pipeline=p x-pipeline-version=7");
}

static void an_answer_adds_new_pairs_and_an_error_its_step(void **state)
{
    struct headers h = {H(N("x-a", "1"), N("pipeline", "p")), 2};

    (void)state;
    assert_string_equal(text(headers_answer(&arena, h, H(N("x-a", "1"), N("x-a", "2"), N("y", "3"), N("x-c", "4")), 4, &deny_none,
                                            (struct str){0})),
                        "x-a=1 pipeline=p x-a=2 x-c=4");
    assert_string_equal(text(headers_answer(&arena, h, H(N("x-c", "4")), 1, &deny_none, STR("step"))),
                        "x-a=1 pipeline=p seldon-pipeline-errors=step x-c=4");
}

static void a_model_is_sent_the_last_value_of_each_x_header(void **state)
{
    struct headers h = {H(N("x-a", "1"), N("traceparent", "t"), N("x-a", "2"), N("x-seldon-route", ":m:"), N("pipeline", "p")), 5};

    (void)state;
    assert_string_equal(text(headers_call(&arena, h, STR("m"))), "x-a=2 seldon-model=m");
}

static int cleanup(void **state)
{
    (void)state;
    arena_fini(&arena);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_input_gets_its_pipeline_and_an_id_where_none_came),
        cmocka_unit_test(a_caller_cannot_set_what_is_ours),
        cmocka_unit_test(denied_names_are_compared_without_case_and_by_prefix),
        cmocka_unit_test(rewriting_moves_two_headers_to_the_end_and_drops_markers),
        cmocka_unit_test(an_answer_adds_new_pairs_and_an_error_its_step),
        cmocka_unit_test(a_model_is_sent_the_last_value_of_each_x_header),
    };
    return cmocka_run_group_tests(tests, NULL, cleanup);
}
