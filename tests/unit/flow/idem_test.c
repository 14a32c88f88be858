/* Idempotency keys. SPDX-License-Identifier: Apache-2.0 */
#include "test.h"
#include "support/flow_expect.h"

#define TOPIC(s) "seldon.default." s
#define INPUTS   TOPIC("pipeline.p.inputs")
#define OUTPUTS  TOPIC("pipeline.p.outputs")

static void the_same_key_and_bytes_are_one_run_and_one_answer(void **state)
{
    struct fixture x;
    struct asked *a, *b;

    (void)state;
    fixture_start(&x, "p: slow; mul10 < slow; out < mul10");
    a = fixture_ask_key(&x, "p", "INPUT=1", "k");
    b = fixture_ask_key(&x, "p", "INPUT=1", "k");
    fixture_settle(&x);
    assert_int_equal(fake_bus_count(x.bus, INPUTS), 1);
    assert_int_equal(x.up->calls_n, 1);
    fake_upstream_finish(x.up, "slow");
    expect(&x, a, "OUTPUT=10");
    expect(&x, b, "OUTPUT=10");
    a = fixture_ask_key(&x, "p", "INPUT=1", "k");
    fixture_settle(&x);
    assert_str(a->q.key, "0.p.id-1");
    assert_int_equal(a->q.response_headers_n, 2);
    expect(&x, a, "OUTPUT=10");
    assert_int_equal(fake_bus_count(x.bus, INPUTS), 1);
    fixture_close(&x);
}

static void another_key_is_another_run(void **state)
{
    struct fixture x;

    (void)state;
    fixture_start(&x, "p: mul10; out < mul10");
    expect(&x, fixture_ask_key(&x, "p", "INPUT=1", "k"), "OUTPUT=10");
    expect(&x, fixture_ask_key(&x, "p", "INPUT=1", "l"), "OUTPUT=10");
    expect(&x, fixture_ask(&x, "p", "INPUT=1"), "OUTPUT=10");
    assert_int_equal(fake_bus_count(x.bus, INPUTS), 3);
    fixture_close(&x);
}

static void the_same_key_with_other_bytes_is_refused(void **state)
{
    struct fixture x;
    struct asked *a;

    (void)state;
    fixture_start(&x, "p: slow; out < slow");
    a = fixture_ask_key(&x, "p", "INPUT=1", "k");
    expect(&x, fixture_ask_key(&x, "p", "INPUT=2", "k"), "exists: the idempotency key was used with another request");
    fake_upstream_finish(x.up, "slow");
    expect(&x, a, "INPUT=1");
    expect(&x, fixture_ask_key(&x, "p", "INPUT=2", "k"), "exists: the idempotency key was used with another request");
    fixture_close(&x);
}

static void a_models_own_refusal_is_kept_and_unavailability_is_not(void **state)
{
    static const char refused[] = "upstream: error : rpc error: code = InvalidArgument desc = this model always fails";
    struct fixture x;

    (void)state;
    fixture_start(&x, "p: error; out < error");
    expect(&x, fixture_ask_key(&x, "p", "INPUT=1", "k"), refused);
    expect(&x, fixture_ask_key(&x, "p", "INPUT=1", "k"), refused);
    assert_int_equal(x.up->started, 1);
    fixture_close(&x);
    fixture_start(&x, "p: unavail; out < unavail");
    expect(&x, fixture_ask_key(&x, "p", "INPUT=1", "k"), "unavailable: unavail : nobody listens there");
    expect(&x, fixture_ask_key(&x, "p", "INPUT=1", "k"), "unavailable: unavail : nobody listens there");
    assert_int_equal(x.up->started, 2);
    fixture_close(&x);
}

static void a_deadline_frees_the_key(void **state)
{
    struct fixture x;
    struct asked *a, *b;

    (void)state;
    fixture_start(&x, "p: slow; out < slow");
    a = fixture_ask_key(&x, "p", "INPUT=1", "k");
    b = fixture_ask_key(&x, "p", "INPUT=1", "k");
    fixture_advance(&x, 10000);
    assert_int_equal(a->q.err.rc, RC_TIMEOUT);
    assert_int_equal(b->q.err.rc, RC_TIMEOUT);
    asked_free(a);
    asked_free(b);
    a = fixture_ask_key(&x, "p", "INPUT=1", "k");
    fixture_settle(&x);
    assert_true(fake_upstream_finish(x.up, "slow"));
    expect(&x, a, "INPUT=1");
    fixture_close(&x);
}

static void a_caller_that_goes_away_leaves_the_run_to_those_who_wait(void **state)
{
    struct fixture x;
    struct asked *a, *b, *c;

    (void)state;
    fixture_start(&x, "p: slow; out < slow");
    a = fixture_ask_key(&x, "p", "INPUT=1", "k");
    b = fixture_ask_key(&x, "p", "INPUT=1", "k");
    c = fixture_ask_key(&x, "p", "INPUT=1", "k");
    fixture_settle(&x);
    flow_cancel(x.flow, &a->q);
    flow_cancel(x.flow, &c->q);
    assert_int_equal(a->q.err.rc, RC_CANCELLED);
    assert_int_equal(c->q.err.rc, RC_CANCELLED);
    assert_true(fake_upstream_finish(x.up, "slow"));
    expect(&x, b, "INPUT=1");
    asked_free(a);
    asked_free(c);
    a = fixture_ask_key(&x, "p", "INPUT=2", "l");
    fixture_settle(&x);
    flow_cancel(x.flow, &a->q);
    asked_free(a);
    fixture_settle(&x);
    a = fixture_ask_key(&x, "p", "INPUT=2", "l");
    fixture_settle(&x);
    assert_true(fake_upstream_finish(x.up, "slow"));
    expect(&x, a, "INPUT=2");
    fixture_close(&x);
}

static void after_the_window_the_key_is_new(void **state)
{
    struct fixture x;

    (void)state;
    fixture_start(&x, "p: mul10; out < mul10");
    expect(&x, fixture_ask_key(&x, "p", "INPUT=1", "k"), "OUTPUT=10");
    fixture_advance(&x, 600001);
    expect(&x, fixture_ask_key(&x, "p", "INPUT=2", "k"), "OUTPUT=20");
    fixture_close(&x);
}

static void a_later_start_answers_out_of_the_log(void **state)
{
    struct fixture x;

    (void)state;
    fixture_options(&x);
    x.o.partitions = 3;
    fixture_open(&x);
    APPLY(&x, "p: mul10; out < mul10", "q: error; out < error");
    fixture_settle(&x);
    for (int i = 0; i < 40; i++)
        expect(&x, fixture_ask(&x, "p", "INPUT=7"), "OUTPUT=70");
    expect(&x, fixture_ask_key(&x, "p", "INPUT=1", "k"), "OUTPUT=10");
    expect(&x, fixture_ask_key(&x, "q", "INPUT=1", "k"),
           "upstream: error : rpc error: code = InvalidArgument desc = this model always fails");
    fixture_advance(&x, 2000);
    fixture_reopen(&x, "2");
    APPLY(&x, "p: mul10; out < mul10", "q: error; out < error");
    fixture_settle(&x);
    expect(&x, fixture_ask_key(&x, "p", "INPUT=1", "k"), "OUTPUT=10");
    expect(&x, fixture_ask_key(&x, "p", "INPUT=2", "k"), "exists: the idempotency key was used with another request");
    expect(&x, fixture_ask_key(&x, "q", "INPUT=1", "k"),
           "upstream: error : rpc error: code = InvalidArgument desc = this model always fails");
    assert_int_equal(x.up->started, 0);
    expect(&x, fixture_ask_key(&x, "p", "INPUT=2", "l"), "OUTPUT=20");
    fixture_advance(&x, 600000);
    fixture_reopen(&x, "3");
    APPLY(&x, "p: mul10; out < mul10");
    fixture_settle(&x);
    expect(&x, fixture_ask_key(&x, "p", "INPUT=3", "k"), "OUTPUT=30");
    fixture_close(&x);
}

static void after_a_crash_the_key_waits_for_the_rerun(void **state)
{
    struct fixture x;
    struct asked *a;

    (void)state;
    fixture_start(&x, "p: slow; out < slow");
    a = fixture_ask_key(&x, "p", "INPUT=1", "k");
    fixture_settle(&x);
    fixture_reopen(&x, "2");
    asked_free(a);
    APPLY(&x, "p: slow; out < slow");
    fixture_settle(&x);
    a = fixture_ask_key(&x, "p", "INPUT=1", "k");
    fixture_settle(&x);
    assert_false(a->done);
    assert_int_equal(x.up->started, 1);          /* the rerun's */
    assert_true(fake_upstream_finish(x.up, "slow"));
    expect(&x, a, "INPUT=1");
    assert_int_equal(fake_bus_count(x.bus, INPUTS), 1);
    assert_int_equal(fake_bus_count(x.bus, OUTPUTS), 1);
    fixture_close(&x);
}

static void expect_accepted(struct fixture *x, struct asked *a)
{
    if (x->bus->hold) {
        fixture_settle(x);
        fake_bus_release(x->bus);
    }
    fixture_settle(x);
    assert_str(a->q.key, "0.p.id-1");
    expect(x, a, "accepted");
}

static void a_pipeline_without_output_accepts_a_key_once(void **state)
{
    struct fixture x;
    struct asked *a;

    (void)state;
    fixture_start(&x, "p: mul10");
    x.bus->hold = true;
    a = fixture_ask_key(&x, "p", "INPUT=1", "k");
    fixture_settle(&x);
    fake_bus_release(x.bus);                     /* what earlier starts left was read */
    fixture_settle(&x);
    x.bus->hold = true;
    expect_accepted(&x, a);
    expect_accepted(&x, fixture_ask_key(&x, "p", "INPUT=1", "k"));
    assert_int_equal(fake_bus_count(x.bus, INPUTS), 1);
    fixture_reopen(&x, "2");
    APPLY(&x, "p: mul10");
    fixture_settle(&x);
    expect_accepted(&x, fixture_ask_key(&x, "p", "INPUT=1", "k"));
    assert_int_equal(fake_bus_count(x.bus, INPUTS), 1);
    fixture_close(&x);
}

/* Another start, with `first` as version 1 and `then` as the newest. */
static void next_version(struct fixture *x, const char *first, const char *then)
{
    fixture_reopen(x, "2");
    x->older = first;
    APPLY(x, then);
    fixture_settle(x);
}

static void a_key_belongs_to_the_version_that_its_request_was_admitted_on(void **state)
{
    static const char without[] = "p: slow", with[] = "p: slow; out < slow";
    struct fixture x;
    struct asked *a;

    (void)state;
    for (int finished = 0; finished < 2; finished++) {           /* or run again */
        fixture_start(&x, without);
        expect_accepted(&x, fixture_ask_key(&x, "p", "INPUT=1", "k"));
        if (finished) assert_true(fake_upstream_finish(x.up, "slow"));
        fixture_advance(&x, 2000);
        next_version(&x, without, with);
        assert_int_equal(x.up->started, !finished);
        expect_accepted(&x, fixture_ask_key(&x, "p", "INPUT=1", "k"));
        fixture_close(&x);
    }
    fixture_start(&x, with);
    a = fixture_ask_key(&x, "p", "INPUT=1", "k");
    fixture_advance(&x, 2000);
    next_version(&x, with, without);
    asked_free(a);
    a = fixture_ask_key(&x, "p", "INPUT=1", "k");
    fixture_settle(&x);
    assert_string_equal(asked_text(a), "waiting");
    assert_true(fake_upstream_finish(x.up, "slow"));
    expect(&x, a, "INPUT=1");
    fixture_close(&x);
}

static void executor_0_answers_for_the_others(void **state)
{
    struct pair p;
    struct asked *a, *b, *c;

    (void)state;
    pair_open(&p);
    pair_apply(&p, "p: slow; out < slow");
    a = pair_ask(&p, "INPUT=1", "k");
    b = fixture_ask_key(&p.x, "p", "INPUT=1", "k");
    c = pair_ask(&p, "INPUT=1", "k");
    pair_settle(&p);
    flow_cancel(p.flow, &c->q);
    assert_int_equal(c->q.err.rc, RC_CANCELLED);
    pair_settle(&p);
    assert_int_equal(p.up->started, 0);
    assert_true(fake_upstream_finish(p.x.up, "slow"));
    pair_settle(&p);
    assert_string_equal(asked_text(a), "INPUT=1");
    assert_string_equal(asked_text(b), "INPUT=1");
    assert_str(a->q.key, "0.p.id-1");
    asked_free(a);
    asked_free(b);
    asked_free(c);
    a = pair_ask(&p, "INPUT=2", "k");
    pair_settle(&p);
    assert_int_equal(a->q.err.rc, RC_EXISTS);
    b = pair_ask(&p, "INPUT=5", "left");         /* on its way when all ends */
    pair_close(&p);
    assert_int_equal(b->q.err.rc, RC_CANCELLED);
    asked_free(a);
    asked_free(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_same_key_and_bytes_are_one_run_and_one_answer),
        cmocka_unit_test(another_key_is_another_run),
        cmocka_unit_test(the_same_key_with_other_bytes_is_refused),
        cmocka_unit_test(a_models_own_refusal_is_kept_and_unavailability_is_not),
        cmocka_unit_test(a_deadline_frees_the_key),
        cmocka_unit_test(a_caller_that_goes_away_leaves_the_run_to_those_who_wait),
        cmocka_unit_test(after_the_window_the_key_is_new),
        cmocka_unit_test(a_later_start_answers_out_of_the_log),
        cmocka_unit_test(after_a_crash_the_key_waits_for_the_rerun),
        cmocka_unit_test(a_pipeline_without_output_accepts_a_key_once),
        cmocka_unit_test(a_key_belongs_to_the_version_that_its_request_was_admitted_on),
        cmocka_unit_test(executor_0_answers_for_the_others),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
