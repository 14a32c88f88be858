/* Cycles, through the executor: what goes round, what comes out, where it ends. SPDX-License-Identifier: Apache-2.0 */
#include "test.h"
#include "support/flow_fixture.h"
#include <stdio.h>
#include <stdlib.h>

#define TOPIC(s) "seldon.default." s
#define COUNTER "p: counter < p,again.outputs.C join=any cycles=%s; last < counter ! counter.outputs.S; " \
                "again < counter.outputs.C; out < last"

/* counter adds one and says C below 10, S from there on; fail answers with an error; everything else hands on. */
static void model(void *ctx, struct upstream_call *c)
{
    const char *text = message_text(c->request), *at = strchr(text, '=');
    char out[32];

    (void)ctx;
    if (str_is(c->target->model, "fail")) {
        c->grpc_code = 3;
        err_set(&c->err, RC_UPSTREAM, "no");
        return;
    }
    if (!str_starts(c->target->model, STR("counter"))) {
        message_write(&c->response, text);
        return;
    }
    snprintf(out, sizeof out, "%s=%d", atoi(at + 1) + 1 < 10 ? "C" : "S", atoi(at + 1) + 1);
    message_write(&c->response, out);
}

static struct asked *run(struct fixture *x, const char *line, const char *message)
{
    struct asked *a;

    fixture_options(x);
    fixture_open(x);
    x->up->model = model;
    APPLY(x, line);
    a = fixture_ask(x, "p", message);
    fixture_settle(x);
    return a;
}

static void over(struct fixture *x, struct asked *a)
{
    asked_free(a);
    fixture_close(x);
}

static void a_counter_goes_round_until_it_says_stop(void **state)
{
    char line[256];
    struct fixture x;
    struct asked *a;

    (void)state;
    snprintf(line, sizeof line, COUNTER, "100");
    a = run(&x, line, "C=0");
    assert_string_equal(asked_text(a), "S=10");
    assert_int_equal(fake_bus_count(x.bus, TOPIC("model.counter.outputs")), 10);
    assert_int_equal(fake_bus_count(x.bus, TOPIC("model.again.inputs")), 9);
    assert_int_equal(fake_bus_count(x.bus, TOPIC("model.last.inputs")), 1);
    assert_int_equal(fake_bus_count(x.bus, TOPIC("pipeline.p.outputs")), 1);
    assert_int_equal(fake_bus_count(x.bus, TOPIC("errors.errors")), 0);
    assert_str(fake_record_header(fake_bus_record(x.bus, TOPIC("model.counter.inputs"), 0, 0), "millrace-visit"), "");
    assert_str(fake_record_header(fake_bus_record(x.bus, TOPIC("model.counter.inputs"), 0, 9), "millrace-visit"), "10");
    over(&x, a);
}

static void the_limit_is_exact(void **state)
{
    static const struct { const char *max, *answer; unsigned calls; } cases[] = {
        {"10", "S=10", 10},
        {"9", "invalid: counter : the limit of visits is reached: the step has run 9 times in this request (maxStepRevisits)", 9},
        {"1", "invalid: counter : the limit of visits is reached: the step has run 1 times in this request (maxStepRevisits)", 1},
    };

    (void)state;
    for (size_t i = 0; i < countof(cases); i++) {
        char line[256];
        struct fixture x;
        struct asked *a;

        snprintf(line, sizeof line, COUNTER, cases[i].max);
        a = run(&x, line, "C=0");
        assert_string_equal(asked_text(a), cases[i].answer);
        assert_int_equal(fake_bus_count(x.bus, TOPIC("model.counter.inputs")), cases[i].calls);
        assert_int_equal(fake_bus_count(x.bus, TOPIC("errors.errors")), i > 0);
        assert_int_equal(fake_bus_count(x.bus, TOPIC("pipeline.p.outputs")), 1);
        over(&x, a);
    }
}

static void joins_in_a_loop_pair_what_belongs_to_one_pass(void **state)
{
    struct fixture x;
    struct asked *a = run(&x, "p: counter < p,both join=any cycles=50; l < counter.outputs.C; r < counter.outputs.C; "
                              "both < l,r map=r.outputs.C:D; out < counter.outputs.S", "C=0");

    (void)state;
    assert_string_equal(asked_text(a), "S=10");
    assert_int_equal(fake_bus_count(x.bus, TOPIC("model.both.inputs")), 9);
    over(&x, a);
}

static void what_came_once_joins_every_pass(void **state)
{
    struct fixture x;
    struct asked *a = run(&x, "p: counter < p.inputs.C,again.outputs.C join=any cycles=50; again < counter.outputs.C,p.inputs.K; "
                              "out < counter.outputs.S", "C=0;K=7");

    (void)state;
    assert_string_equal(asked_text(a), "S=10");
    assert_int_equal(fake_bus_count(x.bus, TOPIC("model.again.inputs")), 9);
    over(&x, a);
}

static void an_outer_join_starts_a_loop_without_waiting_for_it(void **state)
{
    struct fixture x;
    struct asked *a = run(&x, "p: counter < again.outputs.C,p join=outer cycles=50; again < counter.outputs.C; "
                              "out < counter.outputs.S", "C=5");

    (void)state;
    assert_string_equal(asked_text(a), "S=10");
    over(&x, a);
}

static void an_inner_join_that_waits_for_its_own_result_is_nothing_selected(void **state)
{
    struct fixture x;
    struct asked *a = run(&x, "p: a < p,b cycles=5; b < a; out < b", "C=0");

    (void)state;
    assert_string_equal(asked_text(a), "unselected: p : nothing selected");
    over(&x, a);
}

static void an_error_in_the_loop_names_its_step(void **state)
{
    struct fixture x;
    struct asked *a = run(&x, "p: counter < p,fail join=any cycles=50; fail < counter.outputs.C; out < counter.outputs.S", "C=0");

    (void)state;
    assert_int_equal(a->q.err.rc, RC_UPSTREAM);
    assert_str(a->q.step, "fail");
    over(&x, a);
}

static void an_endless_loop_ends_at_the_deadline(void **state)
{
    struct fixture x;
    struct asked *a = run(&x, "p: slow < p,slow join=any cycles=4000000000; out < slow.outputs.Z", "C=0");

    (void)state;
    for (int i = 0; i < 200; i++) {
        fake_upstream_finish(x.up, "slow");
        fixture_settle(&x);
    }
    assert_false(a->done);
    for (int i = 0; i < 130; i++)
        fixture_advance(&x, 1000);
    assert_int_equal(a->q.err.rc, RC_TIMEOUT);
    assert_int_equal(x.up->calls_n, 0);
    over(&x, a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_counter_goes_round_until_it_says_stop),
        cmocka_unit_test(the_limit_is_exact),
        cmocka_unit_test(joins_in_a_loop_pair_what_belongs_to_one_pass),
        cmocka_unit_test(what_came_once_joins_every_pass),
        cmocka_unit_test(an_outer_join_starts_a_loop_without_waiting_for_it),
        cmocka_unit_test(an_inner_join_that_waits_for_its_own_result_is_nothing_selected),
        cmocka_unit_test(an_error_in_the_loop_names_its_step),
        cmocka_unit_test(an_endless_loop_ends_at_the_deadline),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
