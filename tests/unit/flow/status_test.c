/* What callers get when something is wrong, and what is then in the log. SPDX-License-Identifier: Apache-2.0 */
#include "test.h"
#include "support/flow_expect.h"

#define TOPIC(s) "seldon.default." s
#define INPUTS   TOPIC("pipeline.p.inputs")
#define OUTPUTS  TOPIC("pipeline.p.outputs")
#define ERRORS   TOPIC("errors.errors")

static struct str outcome(struct fixture *x, const char *name)
{
    const struct fake_record *r = fake_bus_record(x->bus, OUTPUTS, 0, 0);

    assert_non_null(r);
    return fake_record_header(r, name);
}

static void unknown_names_are_not_found(void **state)
{
    struct fixture x;

    (void)state;
    fixture_start(&x, NULL);
    APPLY(&x, "p: mul10; out < mul10");
    expect(&x, fixture_ask(&x, "q", "A=1"), "not_found: pipeline q does not exist");
    expect(&x, fixture_ask_model(&x, "p", "A=1"), "not_found: model p does not exist");
    fixture_close(&x);
}

static void a_malformed_message_is_refused_and_nothing_is_written(void **state)
{
    struct fixture x;
    struct asked *a = xnew(struct asked);

    (void)state;
    fixture_start(&x, NULL);
    APPLY(&x, "p: mul10; out < mul10");
    fixture_settle(&x);
    a->q = (struct flow_request){.name = STR("p"),
                                 .message = bytes_of("\xff\xff", 2),
                                 .request_id = STR("i"),
                                 .deadline_ms = 100000,
                                 .done = fixture_done};
    flow_start(x.flow, &a->q);
    fixture_settle(&x);
    assert_int_equal(a->q.err.rc, RC_INVALID);
    assert_int_equal(fake_bus_count(x.bus, INPUTS), 0);
    asked_free(a);
    fixture_close(&x);
}

static void a_request_above_the_size_limit_is_refused(void **state)
{
    struct fixture x;
    struct asked *a;

    (void)state;
    fixture_options(&x);
    x.o.message_bytes_max = 20;
    fixture_open(&x);
    APPLY(&x, "p: mul10; out < mul10");
    a = fixture_ask(&x, "p", "INPUT=1,2,3,4");
    fixture_settle(&x);
    assert_int_equal(a->q.err.rc, RC_TOO_LARGE);
    assert_int_equal(fake_bus_count(x.bus, INPUTS), 0);
    asked_free(a);
    fixture_close(&x);
}

static void long_answer(void *ctx, struct upstream_call *c)
{
    (void)ctx;
    message_write(&c->response, "A=1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30");
}

static void a_response_above_the_size_limit_ends_in_an_error_record(void **state)
{
    struct fixture x;
    struct asked *a;

    (void)state;
    fixture_options(&x);
    x.o.message_bytes_max = 60;
    fixture_open(&x);
    x.up->model = long_answer;
    APPLY(&x, "p: mul10; out < mul10");
    a = fixture_ask(&x, "p", "INPUT=1");
    fixture_settle(&x);
    assert_int_equal(a->q.err.rc, RC_TOO_LARGE);
    assert_str(outcome(&x, "millrace-error"), "too_large/0/0");
    asked_free(a);
    fixture_close(&x);
}

static void above_the_ceiling_requests_are_refused_before_anything_is_written(void **state)
{
    struct fixture x;
    struct asked *a, *b;

    (void)state;
    fixture_options(&x);
    x.o.runs_max = 1;
    fixture_open(&x);
    APPLY(&x, "p: slow; out < slow");
    fixture_settle(&x);
    a = fixture_ask(&x, "p", "INPUT=1");
    b = fixture_ask(&x, "p", "INPUT=1");
    fixture_settle(&x);
    assert_int_equal(b->q.err.rc, RC_OVERLOAD);
    assert_true(b->q.retry_after_ms > 0);
    assert_int_equal(fake_bus_count(x.bus, INPUTS), 1);
    fake_upstream_finish(x.up, "slow");
    expect(&x, a, "INPUT=1");
    asked_free(b);
    b = fixture_ask(&x, "p", "INPUT=2");
    fake_upstream_finish(x.up, "slow");
    expect(&x, b, "INPUT=2");
    fixture_close(&x);
}

static void so_are_those_that_would_hold_too_many_bytes(void **state)
{
    struct fixture x;
    struct asked *a, *b;

    (void)state;
    fixture_options(&x);
    x.o.runs_bytes_max = 60;
    fixture_open(&x);
    APPLY(&x, "p: slow; out < slow");
    fixture_settle(&x);
    a = fixture_ask(&x, "p", "INPUT=1,2,3");
    b = fixture_ask(&x, "p", "INPUT=1,2,3");
    fixture_settle(&x);
    assert_false(a->done);
    assert_int_equal(b->q.err.rc, RC_OVERLOAD);
    fake_upstream_finish(x.up, "slow");
    fixture_settle(&x);
    asked_free(a);
    asked_free(b);
    fixture_close(&x);
}

static void a_model_that_is_not_there_is_named(void **state)
{
    struct fixture x;

    (void)state;
    fixture_start(&x, NULL);
    APPLY(&x, "p: unavail; out < unavail", "q: unplaced; out < unplaced", "r: missing; out < missing");
    expect(&x, fixture_ask(&x, "p", "A=1"), "unavailable: unavail : nobody listens there");
    expect(&x, fixture_ask(&x, "q", "A=1"), "unavailable: unplaced : no server has its requirements: sklearn");
    expect(&x, fixture_ask(&x, "r", "A=1"), "unavailable: missing : there is no model of this name");
    fixture_close(&x);
}

static void garbage_from_a_model_is_the_models_error(void **state)
{
    struct fixture x;
    struct asked *a;

    (void)state;
    fixture_start(&x, NULL);
    APPLY(&x, "p: garbage; out < garbage");
    a = fixture_ask(&x, "p", "A=1");
    fixture_settle(&x);
    assert_int_equal(a->q.err.rc, RC_UPSTREAM);
    assert_int_equal(a->q.http_status, 502);
    assert_int_equal(fake_bus_count(x.bus, TOPIC("model.garbage.outputs")), 0);
    assert_int_equal(fake_bus_count(x.bus, OUTPUTS), 1);
    asked_free(a);
    fixture_close(&x);
}

static void a_deadline_names_the_step_and_ends_its_call(void **state)
{
    struct fixture x;
    struct asked *a;

    (void)state;
    fixture_start(&x, NULL);
    APPLY(&x, "p: mul10; hang < mul10; out < hang");
    fixture_settle(&x);
    a = fixture_ask(&x, "p", "INPUT=1");
    fixture_advance(&x, 9999);
    assert_false(a->done);
    fixture_advance(&x, 1);
    assert_string_equal(asked_text(a), "timeout: hang : no answer within 10000 ms");
    assert_int_equal(x.up->cancelled, 1);
    assert_int_equal(fake_bus_count(x.bus, ERRORS), 1);
    assert_str(outcome(&x, "seldon-pipeline-errors"), "hang");
    asked_free(a);
    fixture_close(&x);
}

static void an_acknowledgement_after_the_deadline_is_an_unknown_outcome(void **state)
{
    struct fixture x;
    struct asked *a;

    (void)state;
    fixture_start(&x, NULL);
    APPLY(&x, "p: mul10; out < mul10");
    fixture_settle(&x);
    x.bus->hold = true;
    a = fixture_ask(&x, "p", "INPUT=1");
    fixture_advance(&x, 10000);
    assert_int_equal(a->q.err.rc, RC_TIMEOUT);
    assert_true(str_starts(buf_str(&a->q.message_text), STR("outcome unknown")));
    fake_bus_release(x.bus);
    fixture_settle(&x);
    assert_int_equal(fake_bus_count(x.bus, OUTPUTS), 1);
    asked_free(a);
    fixture_close(&x);
}

static void a_caller_that_goes_away_is_answered_at_once_and_the_log_says_so(void **state)
{
    struct fixture x;
    struct asked *a;

    (void)state;
    fixture_start(&x, NULL);
    APPLY(&x, "p: hang; out < hang");
    fixture_settle(&x);
    a = fixture_ask(&x, "p", "INPUT=1");
    fixture_settle(&x);
    flow_cancel(x.flow, &a->q);
    assert_true(a->done);
    assert_int_equal(a->q.err.rc, RC_CANCELLED);
    assert_int_equal(x.up->cancelled, 1);
    fixture_settle(&x);
    assert_str(outcome(&x, "millrace-error"), "cancelled/0/0");
    flow_cancel(x.flow, &a->q);
    asked_free(a);
    fixture_close(&x);
}

static void a_cancel_after_the_outcome_changes_nothing_in_the_log(void **state)
{
    struct fixture x;
    struct asked *a;

    (void)state;
    fixture_start(&x, NULL);
    APPLY(&x, "p: mul10; out < mul10");
    fixture_settle(&x);
    x.bus->hold = true;
    a = fixture_ask(&x, "p", "INPUT=1");
    fixture_settle(&x);
    flow_cancel(x.flow, &a->q);
    assert_int_equal(a->q.err.rc, RC_CANCELLED);
    fake_bus_release(x.bus);
    fixture_settle(&x);
    assert_int_equal(fake_bus_count(x.bus, OUTPUTS), 1);
    assert_int_equal(outcome(&x, "millrace-error").n, 0);
    asked_free(a);
    fixture_close(&x);
}

static void conditions_that_select_nothing_say_why(void **state)
{
    struct fixture x;

    (void)state;
    fixture_start(&x, NULL);
    APPLY(&x, "p: echo; mul10 < echo.outputs.B; out < mul10");
    expect(&x, fixture_ask(&x, "p", "A=1"),
           "unselected: p : nothing selected: step mul10 was skipped as echo.outputs has no tensor B");
    assert_int_equal(fake_bus_count(x.bus, OUTPUTS), 1);
    assert_str(outcome(&x, "seldon-pipeline-errors"), "p");
    fixture_close(&x);
}

static enum rc fail_inputs(void *ctx, enum fake_kind kind, struct str topic, struct err *e)
{
    (void)ctx;
    if (kind != FAKE_APPEND || !str_is(topic, INPUTS)) return RC_OK;
    return err_set(e, RC_DISK_FULL, "no room");
}

static void without_its_input_in_the_log_a_run_leaves_no_outcome(void **state)
{
    struct fixture x;
    struct asked *a;

    (void)state;
    fixture_start(&x, NULL);
    APPLY(&x, "p: hang; out < hang");
    fixture_settle(&x);
    x.bus->fail = fail_inputs;
    a = fixture_ask(&x, "p", "INPUT=1");
    fixture_settle(&x);
    assert_int_equal(a->q.err.rc, RC_DISK_FULL);
    assert_int_equal(x.up->cancelled, 1);
    assert_int_equal(fake_bus_count(x.bus, OUTPUTS), 0);
    assert_int_equal(fake_bus_count(x.bus, ERRORS), 0);
    asked_free(a);
    fixture_close(&x);
}

static enum rc fail_outputs(void *ctx, enum fake_kind kind, struct str topic, struct err *e)
{
    unsigned *left = ctx;

    if (kind != FAKE_APPEND || !str_is(topic, OUTPUTS) || *left == 0) return RC_OK;
    (*left)--;
    return err_set(e, RC_OVERLOAD, "not now");
}

static void an_outcome_that_could_not_be_written_is_tried_again_and_is_there_once(void **state)
{
    struct fixture x;
    struct asked *a;
    unsigned left = 3;

    (void)state;
    fixture_start(&x, NULL);
    APPLY(&x, "p: mul10; out < mul10");
    fixture_settle(&x);
    x.bus->fail = fail_outputs;
    x.bus->fail_ctx = &left;
    a = fixture_ask(&x, "p", "INPUT=1");
    fixture_settle(&x);
    assert_int_equal(a->q.err.rc, RC_OVERLOAD);
    for (int i = 0; i < 10; i++)
        fixture_advance(&x, 250);
    assert_int_equal(fake_bus_count(x.bus, OUTPUTS), 1);
    asked_free(a);
    fixture_close(&x);
}

static void reply_immediate_does_not_wait_for_the_log(void **state)
{
    struct fixture x;
    struct asked *a;

    (void)state;
    fixture_options(&x);
    x.o.reply_immediate = true;
    fixture_open(&x);
    APPLY(&x, "p: mul10; out < mul10");
    fixture_settle(&x);
    x.bus->hold = true;
    a = fixture_ask(&x, "p", "INPUT=1");
    expect(&x, a, "OUTPUT=10");
    fake_bus_release(x.bus);
    fixture_settle(&x);
    assert_int_equal(fake_bus_count(x.bus, OUTPUTS), 1);
    fixture_close(&x);
}

static void what_is_recorded_is_the_users_choice(void **state)
{
    static const struct { enum flow_record mode; size_t ends, hops; } modes[] = {
        {FLOW_RECORD_ALL, 1, 1}, {FLOW_RECORD_ENDS, 1, 0}, {FLOW_RECORD_ERRORS, 0, 0}};

    (void)state;
    for (size_t i = 0; i < countof(modes); i++) {
        struct fixture x;

        fixture_options(&x);
        x.o.record = modes[i].mode;
        fixture_open(&x);
        APPLY(&x, "p: mul10; out < mul10", "q: error; out < error");
        expect(&x, fixture_ask(&x, "p", "INPUT=1"), "OUTPUT=10");
        assert_int_equal(fake_bus_count(x.bus, INPUTS), modes[i].ends);
        assert_int_equal(fake_bus_count(x.bus, OUTPUTS), modes[i].ends);
        assert_int_equal(fake_bus_count(x.bus, TOPIC("model.mul10.inputs")), modes[i].hops);
        expect(&x, fixture_ask(&x, "q", "INPUT=1"),
               "upstream: error : rpc error: code = InvalidArgument desc = this model always fails");
        assert_int_equal(fake_bus_count(x.bus, ERRORS), 1);
        assert_int_equal(fake_bus_count(x.bus, TOPIC("pipeline.q.outputs")), 1);
        fixture_close(&x);
    }
}

static void a_model_called_directly_goes_through_the_log_unless_told_otherwise(void **state)
{
    struct fixture x;

    (void)state;
    for (int logged = 0; logged < 2; logged++) {
        fixture_options(&x);
        x.o.models_logged = logged;
        fixture_open(&x);
        fixture_apply(&x, NULL, (const char *const[]){"mul10", "error", NULL});
        expect(&x, fixture_ask_model(&x, "mul10", "INPUT=4"), "OUTPUT=40");
        expect(&x, fixture_ask_model(&x, "error", "INPUT=4"),
               "upstream: error : rpc error: code = InvalidArgument desc = this model always fails");
        assert_int_equal(fake_bus_count(x.bus, TOPIC("model.mul10.inputs")), logged);
        assert_int_equal(fake_bus_count(x.bus, TOPIC("model.mul10.outputs")), logged);
        assert_int_equal(fake_bus_count(x.bus, ERRORS), logged);
        fixture_close(&x);
    }
}

static void what_this_version_cannot_run_says_so(void **state)
{
    struct fixture x;

    (void)state;
    fixture_start(&x, NULL);
    APPLY(&x, "q: a < b; b < a; out < a", "r: a < nosuch; out < a");
    expect(&x, fixture_ask(&x, "q", "A=1"), "invalid: pipeline q: the steps form a cycle: a > b > a");
    expect(&x, fixture_ask(&x, "r", "A=1"), "invalid: pipeline r: step a: step nosuch does not exist");
    fixture_close(&x);
}

static enum rc fail_ensure(void *ctx, enum fake_kind kind, struct str topic, struct err *e)
{
    const bool *down = ctx;

    (void)topic;
    return kind == FAKE_ENSURE && *down ? err_set(e, RC_UNAVAILABLE, "Broker not available") : RC_OK;
}

static void requests_wait_for_topics_but_not_for_a_broker_that_is_down(void **state)
{
    struct fixture x;
    struct asked *a, *b;
    bool down = true;

    (void)state;
    fixture_start(&x, NULL);
    x.bus->fail = fail_ensure;
    x.bus->fail_ctx = &down;
    APPLY(&x, "p: mul10; out < mul10");
    a = fixture_ask(&x, "p", "INPUT=1");
    assert_false(a->done);
    fixture_settle(&x);
    b = fixture_ask(&x, "p", "INPUT=2");
    assert_int_equal(b->q.err.rc, RC_UNAVAILABLE);
    assert_non_null(strstr(b->q.err.text, "Broker not available"));
    down = false;
    fixture_advance(&x, 1000);
    fixture_advance(&x, 1000);
    expect(&x, fixture_ask(&x, "p", "INPUT=3"), "OUTPUT=30");
    assert_true(a->done);
    asked_free(a);
    asked_free(b);
    fixture_close(&x);
}

static void a_model_gets_no_more_calls_at_once_than_it_may(void **state)
{
    struct fixture x;
    struct asked *a[10];

    (void)state;
    fixture_options(&x);
    x.o.model_concurrency = 3;
    fixture_open(&x);
    APPLY(&x, "p: slow; out < slow");
    fixture_settle(&x);
    for (int i = 0; i < 10; i++)
        a[i] = fixture_ask(&x, "p", "INPUT=1");
    fixture_settle(&x);
    assert_int_equal(x.up->calls_n, 3);
    flow_cancel(x.flow, &a[9]->q);               /* one that waits in the queue */
    while (fake_upstream_finish(x.up, "slow"))
        fixture_settle(&x);
    assert_int_equal(x.up->most_at_once, 3);
    assert_int_equal(x.up->started, 9);
    for (int i = 0; i < 9; i++)
        expect(&x, a[i], "INPUT=1");
    asked_free(a[9]);
    fixture_close(&x);
}

static void a_server_that_refuses_at_once_does_not_grow_the_stack(void **state)
{
    struct fixture x;
    enum { MANY = 5000 };
    struct asked **a = xnew_array(struct asked *, MANY);

    (void)state;
    fixture_options(&x);
    x.o.model_concurrency = 1;
    fixture_open(&x);
    APPLY(&x, "p: unavail; out < unavail", "q: hang; out < hang");
    fixture_settle(&x);
    x.up->sync = true;
    for (int i = 0; i < MANY; i++)
        a[i] = fixture_ask(&x, "p", "INPUT=1");
    fixture_settle(&x);
    for (int i = 0; i < MANY; i++) {
        assert_int_equal(a[i]->q.err.rc, RC_UNAVAILABLE);
        asked_free(a[i]);
    }
    free(a);
    fixture_close(&x);
}

static void the_reply_does_not_wait_for_branches_beside_the_output(void **state)
{
    struct fixture x;
    struct asked *a;

    (void)state;
    fixture_start(&x, NULL);
    APPLY(&x, "p: mul10; slow; add10 < p.inputs ! slow; error < slow; out < mul10");
    expect(&x, a = fixture_ask(&x, "p", "INPUT=5"), "OUTPUT=50");
    assert_int_equal(fake_bus_count(x.bus, TOPIC("model.add10.inputs")), 0);
    fake_upstream_finish(x.up, "slow");
    fixture_settle(&x);
    assert_int_equal(fake_bus_count(x.bus, TOPIC("model.add10.outputs")), 1);
    assert_int_equal(fake_bus_count(x.bus, ERRORS), 1);
    assert_int_equal(fake_bus_count(x.bus, OUTPUTS), 1);
    assert_string_equal(message_text(buf_view(&fake_bus_record(x.bus, TOPIC("model.add10.inputs"), 0, 0)->value)), "INPUT=5");
    fixture_close(&x);
}

static void a_branch_beside_the_output_has_the_default_time_not_the_callers(void **state)
{
    struct fixture x;
    struct asked *a;

    (void)state;
    fixture_start(&x, NULL);
    APPLY(&x, "p: mul10; hang; out < mul10");
    fixture_settle(&x);
    a = fixture_ask(&x, "p", "INPUT=5");
    fixture_advance(&x, 11000);
    assert_int_equal(x.up->cancelled, 0);
    fixture_advance(&x, 120000);
    assert_int_equal(x.up->cancelled, 1);
    assert_int_equal(fake_bus_count(x.bus, ERRORS), 1);
    expect(&x, a, "OUTPUT=50");
    fixture_close(&x);
}

static void an_outer_join_fires_at_its_window_without_the_other_side(void **state)
{
    struct fixture x;
    struct asked *a;

    (void)state;
    fixture_start(&x, NULL);
    APPLY(&x, "p: mul10; hang; sum < mul10,hang join=outer window=50; out < sum");
    fixture_settle(&x);
    a = fixture_ask(&x, "p", "INPUT=5");
    fixture_advance(&x, 49);
    assert_false(a->done);
    fixture_advance(&x, 1);
    assert_string_equal(asked_text(a), "OUTPUT=50");
    fake_upstream_finish(x.up, "hang");
    fixture_settle(&x);
    assert_int_equal(fake_bus_count(x.bus, TOPIC("model.sum.inputs")), 1);
    asked_free(a);
    fixture_close(&x);
}

static void a_join_window_of_zero_is_the_configured_one(void **state)
{
    struct fixture x;
    struct asked *a;

    (void)state;
    fixture_options(&x);
    x.o.join_window_ms = 70;
    fixture_open(&x);
    APPLY(&x, "p: mul10; hang; sum < mul10,hang join=outer window=0; out < sum");
    fixture_settle(&x);
    a = fixture_ask(&x, "p", "INPUT=5");
    fixture_advance(&x, 69);
    assert_false(a->done);
    fixture_advance(&x, 1);
    assert_string_equal(asked_text(a), "OUTPUT=50");
    fake_upstream_finish(x.up, "hang");
    fixture_settle(&x);
    asked_free(a);
    fixture_close(&x);
}

static void credentials_are_not_written_and_the_last_value_of_a_header_goes_to_the_model(void **state)
{
    static const struct header h[] = {{{"x-api-key", 9}, {"secret", 6}},
                                      {{"x-auth-token", 12}, {"secret", 6}},
                                      {{"x-many", 6}, {"1", 1}},
                                      {{"x-many", 6}, {"2", 1}},
                                      {{"x-seldon-route", 14}, {":a:", 3}},
                                      {{"millrace-run", 12}, {"forged", 6}}};
    struct fixture x;
    struct asked *a;
    const struct fake_record *r;
    struct str value;

    (void)state;
    fixture_start(&x, NULL);
    APPLY(&x, "p: hang; out < hang");
    fixture_settle(&x);
    a = fixture_ask_with(&x, "p", "INPUT=5", h, countof(h));
    fixture_settle(&x);
    r = fake_bus_record(x.bus, INPUTS, 0, 0);
    assert_int_equal(fake_record_header(r, "x-api-key").n, 0);
    assert_int_equal(fake_record_header(r, "x-auth-token").n, 0);
    assert_true(str_starts(fake_record_header(r, "millrace-run"), STR("fake-cluster/")));
    assert_true(header_last(x.up->calls[0]->headers, x.up->calls[0]->headers_n, STR("x-many"), &value));
    assert_str(value, "2");
    assert_false(header_first(x.up->calls[0]->headers, x.up->calls[0]->headers_n, STR("x-seldon-route"), &value));
    assert_false(header_first(x.up->calls[0]->headers, x.up->calls[0]->headers_n, STR("millrace-run"), &value));
    flow_cancel(x.flow, &a->q);
    asked_free(a);
    fixture_close(&x);
}

static void a_run_finishes_on_the_version_it_started_on(void **state)
{
    struct fixture x;
    struct asked *a;

    (void)state;
    fixture_start(&x, NULL);
    APPLY(&x, "p: slow; mul10 < slow; out < mul10");
    fixture_settle(&x);
    a = fixture_ask(&x, "p", "INPUT=1");
    fixture_settle(&x);
    APPLY(&x, "p: add10; out < add10");
    expect(&x, fixture_ask(&x, "p", "INPUT=1"), "OUTPUT=11");
    fake_upstream_finish(x.up, "slow");
    fixture_settle(&x);
    assert_string_equal(asked_text(a), "OUTPUT=10");
    asked_free(a);
    fixture_close(&x);
}

static void set_flag(void *ctx)
{
    *(bool *)ctx = true;
}

static void a_drain_takes_nothing_new_and_lets_what_runs_finish(void **state)
{
    struct fixture x;
    struct asked *a;
    bool drained = false;

    (void)state;
    fixture_start(&x, NULL);
    APPLY(&x, "p: slow; out < slow");
    fixture_settle(&x);
    a = fixture_ask(&x, "p", "INPUT=1");
    fixture_settle(&x);
    flow_drain(x.flow, clock_mono_ms(&x.clock.clock) + 1000, set_flag, &drained);
    expect(&x, fixture_ask(&x, "p", "INPUT=2"), "unavailable: this process is stopping");
    assert_false(drained);
    fake_upstream_finish(x.up, "slow");
    fixture_settle(&x);
    assert_string_equal(asked_text(a), "INPUT=1");
    assert_true(drained);
    assert_int_equal(fake_bus_committed(x.bus, "seldon-default-flow-p", INPUTS, 0), 1);
    asked_free(a);
    fixture_close(&x);
}

static void at_the_end_of_a_drain_callers_are_told_and_the_log_says_so(void **state)
{
    struct fixture x;
    struct asked *a;
    bool drained = false;

    (void)state;
    fixture_start(&x, NULL);
    APPLY(&x, "p: hang; out < hang");
    fixture_settle(&x);
    a = fixture_ask(&x, "p", "INPUT=1");
    fixture_settle(&x);
    flow_drain(x.flow, clock_mono_ms(&x.clock.clock) + 1000, set_flag, &drained);
    fixture_advance(&x, 1000);
    assert_true(drained);
    assert_string_equal(asked_text(a), "unavailable: this process is stopping");
    assert_str(outcome(&x, "millrace-error"), "cancelled/0/0");
    asked_free(a);
    fixture_close(&x);
}

static void at_the_end_of_a_drain_what_was_accepted_is_left_to_the_next_start_or_leaves_an_error(void **state)
{
    static const struct { enum flow_record record; size_t outcomes; } cases[] = {
        {FLOW_RECORD_ALL, 0}, {FLOW_RECORD_ENDS, 0}, {FLOW_RECORD_ERRORS, 1}};   /* the last has no input in the log */

    (void)state;
    for (size_t i = 0; i < countof(cases); i++) {
        struct fixture x;
        struct asked *a;
        bool drained = false;

        fixture_options(&x);
        x.o.record = cases[i].record;
        fixture_open(&x);
        APPLY(&x, "p: hang");
        fixture_settle(&x);
        a = fixture_ask(&x, "p", "INPUT=1");
        fixture_settle(&x);
        assert_string_equal(asked_text(a), "accepted");
        flow_drain(x.flow, clock_mono_ms(&x.clock.clock) + 1000, set_flag, &drained);
        fixture_advance(&x, 1000);
        assert_true(drained);
        assert_int_equal(fake_bus_count(x.bus, OUTPUTS), cases[i].outcomes);
        if (cases[i].outcomes) assert_str(outcome(&x, "millrace-error"), "cancelled/0/0");
        asked_free(a);
        fixture_close(&x);
    }
}

static void the_end_answers_everybody(void **state)
{
    struct fixture x;
    struct asked *a, *b;

    (void)state;
    fixture_start(&x, NULL);
    APPLY(&x, "p: hang; out < hang");
    a = fixture_ask(&x, "p", "INPUT=1");         /* waits for topics */
    fixture_settle(&x);
    b = fixture_ask(&x, "p", "INPUT=1");
    x.bus->hold = true;
    fixture_close(&x);
    assert_int_equal(a->q.err.rc, RC_CANCELLED);
    assert_int_equal(b->q.err.rc, RC_CANCELLED);
    asked_free(a);
    asked_free(b);
}

struct probed { struct flow_probe p; bool done; };

static void probe_done(struct flow_probe *p)
{
    container_of(p, struct probed, p)->done = true;
}

static enum rc probe(struct fixture *x, const char *name, bool model)
{
    struct probed p = {.p = {.name = str_of(name),
                             .model = model,
                             .deadline_ms = clock_mono_ms(&x->clock.clock) + 1000,
                             .done = probe_done}};

    flow_probe(x->flow, &p.p);
    for (int i = 0; i < 10 && !p.done; i++)
        fixture_advance(x, 30);
    assert_true(p.done);
    return p.p.err.rc;
}

static enum rc fail_committed(void *ctx, enum fake_kind kind, struct str topic, struct err *e)
{
    (void)topic;
    if (!*(bool *)ctx || kind != FAKE_COMMITTED) return RC_OK;
    return err_set(e, RC_UNAVAILABLE, "the coordinator is loading");
}

/* Its topics are there, but nobody knows yet where its inputs are to be read on: no executor has it. */
static void a_pipeline_without_an_executor_is_not_ready(void **state)
{
    struct fixture x;
    bool loading = true;

    (void)state;
    fixture_start(&x, NULL);
    x.bus->fail = fail_committed;
    x.bus->fail_ctx = &loading;
    APPLY(&x, "p: mul10; out < mul10");
    fixture_settle(&x);
    assert_non_null(fake_bus_topic(x.bus, INPUTS));
    assert_int_equal(probe(&x, "p", false), RC_UNAVAILABLE);
    loading = false;
    fixture_advance(&x, 2000);
    assert_int_equal(probe(&x, "p", false), RC_OK);
    fixture_close(&x);
}

static void warned(struct flow_probe *p)
{
    (void)p;
}

static void another_engine_on_the_topics_is_said_and_so_is_its_end(void **state)
{
    struct flow_probe p = {.name = STR("p"), .done = warned}, q = {.name = STR("q"), .done = warned};
    struct flow_counters c;
    struct fixture x;

    (void)state;
    fixture_start(&x, NULL);
    APPLY(&x, "p: mul10; out < mul10", "q: add10; out < add10");
    x.bus->stranger = "team-seldon-modelgateway-16";
    x.bus->stranger_topic = TOPIC("model.mul10.inputs");
    fixture_advance(&x, 3000);
    p.deadline_ms = q.deadline_ms = loop_now_ms(x.loop) + 1000;
    flow_probe(x.flow, &p);
    flow_probe(x.flow, &q);
    fixture_settle(&x);
    assert_int_equal(p.err.rc, RC_OK);
    assert_non_null(strstr(p.warning, "consumer group team-seldon-modelgateway-16"));
    assert_string_equal(q.warning, "");
    flow_count(x.flow, &c);
    assert_int_equal(c.foreign_now, 1);
    x.bus->stranger = "some-reader";             /* whoever reads under another name is welcome */
    fixture_advance(&x, 31000);
    p.deadline_ms = loop_now_ms(x.loop) + 1000;
    flow_probe(x.flow, &p);
    fixture_settle(&x);
    assert_string_equal(p.warning, "");
    flow_count(x.flow, &c);
    assert_int_equal(c.foreign_now, 0);
    fixture_close(&x);
}

static void readiness_is_what_the_models_say_now(void **state)
{
    struct fixture x;

    (void)state;
    fixture_start(&x, NULL);
    APPLY(&x, "p: mul10; add10; out < mul10", "q: unplaced; out < unplaced", "r: mul10 < nosuch; out");
    assert_int_equal(probe(&x, "p", false), RC_OK);
    assert_int_equal(probe(&x, "mul10", true), RC_OK);
    assert_int_equal(probe(&x, "nosuch", false), RC_NOT_FOUND);
    assert_int_equal(probe(&x, "q", false), RC_UNAVAILABLE);
    assert_int_equal(probe(&x, "r", false), RC_UNAVAILABLE);
    x.up->not_ready_model = STR("add10");
    assert_int_equal(probe(&x, "p", false), RC_UNAVAILABLE);
    assert_int_equal(probe(&x, "mul10", true), RC_OK);
    fixture_close(&x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(unknown_names_are_not_found),
        cmocka_unit_test(a_malformed_message_is_refused_and_nothing_is_written),
        cmocka_unit_test(a_request_above_the_size_limit_is_refused),
        cmocka_unit_test(a_response_above_the_size_limit_ends_in_an_error_record),
        cmocka_unit_test(above_the_ceiling_requests_are_refused_before_anything_is_written),
        cmocka_unit_test(so_are_those_that_would_hold_too_many_bytes),
        cmocka_unit_test(a_model_that_is_not_there_is_named),
        cmocka_unit_test(garbage_from_a_model_is_the_models_error),
        cmocka_unit_test(a_deadline_names_the_step_and_ends_its_call),
        cmocka_unit_test(an_acknowledgement_after_the_deadline_is_an_unknown_outcome),
        cmocka_unit_test(a_caller_that_goes_away_is_answered_at_once_and_the_log_says_so),
        cmocka_unit_test(a_cancel_after_the_outcome_changes_nothing_in_the_log),
        cmocka_unit_test(conditions_that_select_nothing_say_why),
        cmocka_unit_test(without_its_input_in_the_log_a_run_leaves_no_outcome),
        cmocka_unit_test(an_outcome_that_could_not_be_written_is_tried_again_and_is_there_once),
        cmocka_unit_test(reply_immediate_does_not_wait_for_the_log),
        cmocka_unit_test(what_is_recorded_is_the_users_choice),
        cmocka_unit_test(a_model_called_directly_goes_through_the_log_unless_told_otherwise),
        cmocka_unit_test(what_this_version_cannot_run_says_so),
        cmocka_unit_test(requests_wait_for_topics_but_not_for_a_broker_that_is_down),
        cmocka_unit_test(a_model_gets_no_more_calls_at_once_than_it_may),
        cmocka_unit_test(a_server_that_refuses_at_once_does_not_grow_the_stack),
        cmocka_unit_test(the_reply_does_not_wait_for_branches_beside_the_output),
        cmocka_unit_test(a_branch_beside_the_output_has_the_default_time_not_the_callers),
        cmocka_unit_test(an_outer_join_fires_at_its_window_without_the_other_side),
        cmocka_unit_test(a_join_window_of_zero_is_the_configured_one),
        cmocka_unit_test(credentials_are_not_written_and_the_last_value_of_a_header_goes_to_the_model),
        cmocka_unit_test(a_run_finishes_on_the_version_it_started_on),
        cmocka_unit_test(a_drain_takes_nothing_new_and_lets_what_runs_finish),
        cmocka_unit_test(at_the_end_of_a_drain_callers_are_told_and_the_log_says_so),
        cmocka_unit_test(at_the_end_of_a_drain_what_was_accepted_is_left_to_the_next_start_or_leaves_an_error),
        cmocka_unit_test(the_end_answers_everybody),
        cmocka_unit_test(a_pipeline_without_an_executor_is_not_ready),
        cmocka_unit_test(another_engine_on_the_topics_is_said_and_so_is_its_end),
        cmocka_unit_test(readiness_is_what_the_models_say_now),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
