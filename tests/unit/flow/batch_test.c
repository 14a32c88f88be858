/* Batches: who goes together, who gets what, who waits for whom. SPDX-License-Identifier: Apache-2.0 */
#include "test.h"
#include "oip/pb.h"
#include "support/flow_expect.h"
#include <stdio.h>

#define TOPIC(s) "seldon.default." s

static void open(struct fixture *x, const char *line)
{
    fixture_start(x, line);
    x->up->hold = true;
}

static const struct fake_record *last_input(struct fixture *x, const char *topic, size_t n)
{
    assert_int_equal(fake_bus_count(x->bus, topic), n);
    return fake_bus_record(x->bus, topic, 0, n - 1);
}

static void a_lone_caller_does_not_wait(void **state)
{
    struct fixture x;
    struct asked *a;

    (void)state;
    open(&x, "p: mul10 batch=8 bwindow=1000; out < mul10");
    x.up->hold = false;
    a = fixture_ask(&x, "p", "A=1");
    fixture_settle(&x);
    expect_answered(a, "OUTPUT=10");
    fixture_close(&x);
}

/* While the first is out the others gather, and each gets its own rows of one call. */
static void who_comes_while_a_call_is_out_goes_together(void **state)
{
    struct fixture x;
    struct asked *a, *b, *c, *d;

    (void)state;
    open(&x, "p: mul10 batch=8; out < mul10");
    a = fixture_ask(&x, "p", "A=1");
    fixture_settle(&x);
    b = fixture_ask(&x, "p", "A=2,3");
    c = fixture_ask(&x, "p", "A=4");
    d = fixture_ask(&x, "p", "A=5,6,7");
    fixture_settle(&x);
    assert_int_equal(x.up->calls_n, 1);
    fake_upstream_finish(x.up, "mul10");
    fixture_settle(&x);
    assert_int_equal(x.up->calls_n, 1);
    assert_string_equal(message_text(x.up->calls[0]->request), "A=2,3,4,5,6,7");
    fake_upstream_finish(x.up, "mul10");
    fixture_settle(&x);
    expect_answered(a, "OUTPUT=10");
    expect_answered(b, "OUTPUT=20,30");
    expect_answered(c, "OUTPUT=40");
    expect_answered(d, "OUTPUT=50,60,70");
    assert_true(fake_record_header(last_input(&x, TOPIC("model.mul10.inputs"), 2), "millrace-batch").n > 40);
    last_input(&x, TOPIC("model.mul10.outputs"), 2);
    assert_int_equal(fake_bus_count(x.bus, TOPIC("pipeline.p.outputs")), 4);
    fixture_close(&x);
}

static void a_full_batch_goes_at_once_and_is_never_too_large(void **state)
{
    struct fixture x;
    struct asked *a[5];

    (void)state;
    open(&x, "p: mul10 batch=3; out < mul10");
    a[0] = fixture_ask(&x, "p", "A=1");
    fixture_settle(&x);
    a[1] = fixture_ask(&x, "p", "A=1,2");
    a[2] = fixture_ask(&x, "p", "A=3,4");
    fixture_settle(&x);
    assert_int_equal(x.up->calls_n, 2);
    a[3] = fixture_ask(&x, "p", "A=5");
    a[4] = fixture_ask(&x, "p", "A=1,2,3,4,5");
    fixture_settle(&x);
    assert_int_equal(x.up->calls_n, 4);
    assert_string_equal(message_text(x.up->calls[2]->request), "A=3,4,5");
    x.up->hold = false;
    fixture_settle(&x);
    for (int i = 0; i < 5; i++)
        assert_int_equal(a[i]->q.err.rc, RC_OK);
    for (int i = 0; i < 4; i++)
        asked_free(a[i]);
    expect_answered(a[4], "OUTPUT=10,20,30,40,50");
    fixture_close(&x);
}

static void the_window_holds_only_while_others_are_on_their_way(void **state)
{
    struct fixture x;
    struct asked *a, *b;

    (void)state;
    open(&x, "p: slow; mul10 < slow batch=8 bwindow=50; out < mul10");
    a = fixture_ask(&x, "p", "A=1");
    b = fixture_ask(&x, "p", "A=2");
    fixture_settle(&x);
    fake_upstream_finish(x.up, "slow");
    fixture_settle(&x);
    assert_int_equal(x.up->calls_n, 1);          /* b is still with slow: a waits for it */
    fake_upstream_finish(x.up, "slow");
    fixture_settle(&x);
    assert_int_equal(x.up->calls_n, 1);
    assert_string_equal(message_text(x.up->calls[0]->request), "A=1,2");
    fake_upstream_finish(x.up, "mul10");
    fixture_settle(&x);
    expect_answered(a, "OUTPUT=10");
    expect_answered(b, "OUTPUT=20");
    a = fixture_ask(&x, "p", "A=3");
    b = fixture_ask(&x, "p", "A=4");
    fixture_settle(&x);
    fake_upstream_finish(x.up, "slow");
    fixture_settle(&x);
    assert_int_equal(x.up->calls_n, 1);
    fixture_advance(&x, 51);
    assert_int_equal(x.up->calls_n, 2);          /* no longer than the window */
    x.up->hold = false;
    while (fake_upstream_finish(x.up, "slow"))
        fixture_settle(&x);
    fixture_settle(&x);
    expect_answered(a, "OUTPUT=30");
    expect_answered(b, "OUTPUT=40");
    fixture_close(&x);
}

static void a_detector_beside_the_output_waits_for_its_rows(void **state)
{
    struct fixture x;
    struct asked *a, *b, *c;

    (void)state;
    open(&x, "p: mul10; echo batch=2 bwindow=500; out < mul10");
    x.up->hold = false;
    a = fixture_ask(&x, "p", "A=1");
    fixture_settle(&x);
    expect_answered(a, "OUTPUT=10");
    assert_int_equal(fake_bus_count(x.bus, TOPIC("model.echo.inputs")), 0);
    b = fixture_ask(&x, "p", "A=2");
    fixture_settle(&x);
    expect_answered(b, "OUTPUT=20");
    last_input(&x, TOPIC("model.echo.outputs"), 1);
    c = fixture_ask(&x, "p", "A=3");
    fixture_settle(&x);
    fixture_advance(&x, 501);
    last_input(&x, TOPIC("model.echo.outputs"), 2);
    asked_free(c);
    fixture_close(&x);
}

static void what_differs_in_shape_or_names_is_not_put_together(void **state)
{
    struct fixture x;
    struct asked *a, *b, *c;

    (void)state;
    open(&x, "p: echo batch=8; out < echo");
    a = fixture_ask(&x, "p", "A=1");
    fixture_settle(&x);
    b = fixture_ask(&x, "p", "A=2");
    c = fixture_ask(&x, "p", "B=3");
    fixture_settle(&x);
    x.up->hold = false;
    fixture_settle(&x);
    expect_answered(a, "A=1");
    expect_answered(b, "A=2");
    expect_answered(c, "B=3");
    assert_int_equal(fake_bus_count(x.bus, TOPIC("model.echo.inputs")), 3);
    fixture_close(&x);
}

static void a_batch_is_no_larger_than_a_message_may_be(void **state)
{
    struct fixture x;
    struct asked *a[5];

    (void)state;
    fixture_options(&x);
    x.o.message_bytes_max = 100;                 /* a request takes 30 or so */
    fixture_open(&x);
    APPLY(&x, "p: mul10 batch=100; out < mul10");
    fixture_settle(&x);
    x.up->hold = true;
    for (size_t i = 0; i < countof(a); i++) {
        a[i] = fixture_ask(&x, "p", "A=1,2,3");
        fixture_settle(&x);
    }
    assert_int_equal(x.up->calls_n, 2);          /* the first, alone, and what was full */
    for (size_t i = 0; i < x.up->calls_n; i++)
        assert_true(x.up->calls[i]->request.n <= 100);
    x.up->hold = false;
    fixture_settle(&x);
    for (size_t i = 0; i < countof(a); i++)
        expect_answered(a[i], "OUTPUT=10,20,30");
    fixture_close(&x);
}

/* One of each kind waits, up to a number; then the oldest goes, so that a call is never compared with all that wait. */
static void many_kinds_do_not_wait_side_by_side_without_end(void **state)
{
    enum { KINDS = 150 };
    struct fixture x;
    struct asked *a[KINDS];

    (void)state;
    open(&x, "p: mul10 batch=1000; out < mul10");
    for (size_t i = 0; i < KINDS; i++) {
        char text[16];

        snprintf(text, sizeof text, "A%zu=1", i);
        a[i] = fixture_ask(&x, "p", text);
        fixture_settle(&x);
    }
    assert_int_equal(x.up->calls_n, KINDS - 64);
    x.up->hold = false;
    fixture_settle(&x);
    for (size_t i = 0; i < KINDS; i++)
        expect_answered(a[i], "OUTPUT=10");
    fixture_close(&x);
}

static void who_leaves_while_waiting_makes_room(void **state)
{
    struct fixture x;
    struct asked *first, *a, *b, *c;

    (void)state;
    open(&x, "p: mul10 batch=2; out < mul10");
    first = fixture_ask(&x, "p", "A=0");
    fixture_settle(&x);
    a = fixture_ask(&x, "p", "A=1");
    fixture_settle(&x);
    flow_cancel(x.flow, &a->q);
    b = fixture_ask(&x, "p", "A=2");
    fixture_settle(&x);
    assert_int_equal(x.up->calls_n, 1);
    c = fixture_ask(&x, "p", "A=3");
    fixture_settle(&x);
    assert_int_equal(x.up->calls_n, 2);
    x.up->hold = false;
    fixture_settle(&x);
    expect_answered(first, "OUTPUT=0");
    expect_answered(b, "OUTPUT=20");
    expect_answered(c, "OUTPUT=30");
    asked_free(a);
    fixture_close(&x);
}

static void fails_for_two(void *ctx, struct upstream_call *c)
{
    const char *text = message_text(c->request);

    (void)ctx;
    if (strstr(text, "2")) {
        c->grpc_code = 3;
        err_set(&c->err, RC_UPSTREAM, "no twos");
        return;
    }
    message_write(&c->response, text);
}

static void one_bad_member_fails_alone(void **state)
{
    struct fixture x;
    struct asked *a, *b, *c;

    (void)state;
    open(&x, "p: echo batch=8; out < echo");
    x.up->model = fails_for_two;
    a = fixture_ask(&x, "p", "A=1");
    fixture_settle(&x);
    b = fixture_ask(&x, "p", "A=2");
    c = fixture_ask(&x, "p", "A=3");
    fixture_settle(&x);
    x.up->hold = false;
    fixture_settle(&x);
    expect_answered(a, "A=1");
    assert_int_equal(b->q.err.rc, RC_UPSTREAM);
    asked_free(b);
    expect_answered(c, "A=3");
    assert_int_equal(x.up->started, 4);          /* a; b and c together; b; c */
    fixture_close(&x);
}

static void one_row_for_all(void *ctx, struct upstream_call *c)
{
    (void)ctx;
    message_write(&c->response, "S=1");
}

static void an_answer_that_cannot_be_taken_apart_is_asked_for_alone(void **state)
{
    struct fixture x;
    struct asked *a, *b, *c;

    (void)state;
    open(&x, "p: echo batch=8; out < echo");
    x.up->model = one_row_for_all;
    a = fixture_ask(&x, "p", "A=1");
    fixture_settle(&x);
    b = fixture_ask(&x, "p", "A=2");
    c = fixture_ask(&x, "p", "A=3");
    fixture_settle(&x);
    x.up->hold = false;
    fixture_settle(&x);
    expect_answered(a, "S=1");
    expect_answered(b, "S=1");
    expect_answered(c, "S=1");
    assert_int_equal(x.up->started, 4);
    fixture_close(&x);
}

static void who_leaves_does_not_end_the_batch_and_the_last_one_does(void **state)
{
    struct fixture x;
    struct asked *a, *b, *c;

    (void)state;
    open(&x, "p: mul10 batch=8; out < mul10");
    a = fixture_ask(&x, "p", "A=1");
    fixture_settle(&x);
    b = fixture_ask(&x, "p", "A=2");
    c = fixture_ask(&x, "p", "A=3");
    fixture_settle(&x);
    fake_upstream_finish(x.up, "mul10");
    fixture_settle(&x);
    flow_cancel(x.flow, &b->q);
    fixture_settle(&x);
    assert_int_equal(x.up->calls_n, 1);
    fake_upstream_finish(x.up, "mul10");
    fixture_settle(&x);
    expect_answered(a, "OUTPUT=10");
    assert_int_equal(b->q.err.rc, RC_CANCELLED);
    asked_free(b);
    expect_answered(c, "OUTPUT=30");
    a = fixture_ask(&x, "p", "A=1");
    fixture_settle(&x);
    b = fixture_ask(&x, "p", "A=2");
    c = fixture_ask(&x, "p", "A=3");
    fixture_settle(&x);
    fake_upstream_finish(x.up, "mul10");
    fixture_settle(&x);
    flow_cancel(x.flow, &b->q);
    flow_cancel(x.flow, &c->q);
    fixture_settle(&x);
    assert_int_equal(x.up->calls_n, 0);
    asked_free(a);
    asked_free(b);
    asked_free(c);
    fixture_close(&x);
}

/* One element of INT8; typed contents may hold what does not fit one. */
static struct asked *ask_int8(struct fixture *x, bool raw, uint8_t low, uint8_t high)
{
    struct asked *a = xnew(struct asked);
    size_t at = pb_begin(&a->message, 5), inner = pb_begin(&a->message, 3);

    pb_put_varint(&a->message, 1);
    pb_end(&a->message, inner);
    pb_put_str(&a->message, 1, STR("A"));
    pb_put_str(&a->message, 2, STR("INT8"));
    inner = raw ? 0 : pb_begin(&a->message, 5);
    if (!raw) pb_put_bytes(&a->message, 2, bytes_of((uint8_t[]){low, high}, high ? 2 : 1));
    if (!raw) pb_end(&a->message, inner);
    pb_end(&a->message, at);
    if (raw) pb_put_bytes(&a->message, 7, bytes_of(&low, 1));
    a->q = (struct flow_request){.name = STR("p"),
                                 .message = buf_view(&a->message),
                                 .request_id = STR("id-1"),
                                 .deadline_ms = clock_mono_ms(&x->clock.clock) + 10000,
                                 .done = fixture_done};
    flow_start(x->flow, &a->q);
    return a;
}

/* A typed number that its datatype cannot hold passes as long as nobody makes raw contents of it. */
static void what_cannot_be_put_together_goes_one_by_one(void **state)
{
    struct fixture x;
    struct asked *a[3];

    (void)state;
    open(&x, "p: echo batch=8; out < echo");
    a[0] = fixture_ask(&x, "p", "A=1");
    fixture_settle(&x);
    a[1] = ask_int8(&x, true, 5, 0);
    a[2] = ask_int8(&x, false, 0xac, 2);         /* 300 */
    fixture_settle(&x);
    fake_upstream_finish(x.up, "echo");
    fixture_settle(&x);
    assert_int_equal(x.up->calls_n, 2);
    assert_true(bytes_eq(x.up->calls[0]->request, buf_view(&a[1]->message)));
    assert_int_equal(fake_bus_count(x.bus, TOPIC("model.echo.inputs")), 3);
    flow_cancel(x.flow, &a[2]->q);
    fake_upstream_finish(x.up, "echo");
    fixture_settle(&x);
    assert_int_equal(a[1]->q.err.rc, RC_OK);
    assert_int_equal(a[2]->q.err.rc, RC_CANCELLED);
    for (int i = 0; i < 3; i++)
        asked_free(a[i]);
    fixture_close(&x);
}

static void a_crash_in_the_middle_of_a_batch_runs_all_its_members_again(void **state)
{
    struct fixture x;
    struct asked *a[3];

    (void)state;
    open(&x, "p: mul10 batch=8; out < mul10");
    for (int i = 0; i < 3; i++) {
        a[i] = fixture_ask(&x, "p", "A=1");
        fixture_settle(&x);
    }
    fixture_reopen(&x, "second");
    APPLY(&x, "p: mul10 batch=8; out < mul10");
    x.up->hold = false;
    for (int i = 0; i < 20; i++)
        fixture_advance(&x, 1000);
    assert_int_equal(fake_bus_count(x.bus, TOPIC("pipeline.p.outputs")), 3);
    for (int i = 0; i < 3; i++)
        asked_free(a[i]);
    fixture_close(&x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_lone_caller_does_not_wait),
        cmocka_unit_test(who_comes_while_a_call_is_out_goes_together),
        cmocka_unit_test(a_full_batch_goes_at_once_and_is_never_too_large),
        cmocka_unit_test(the_window_holds_only_while_others_are_on_their_way),
        cmocka_unit_test(a_detector_beside_the_output_waits_for_its_rows),
        cmocka_unit_test(what_differs_in_shape_or_names_is_not_put_together),
        cmocka_unit_test(a_batch_is_no_larger_than_a_message_may_be),
        cmocka_unit_test(many_kinds_do_not_wait_side_by_side_without_end),
        cmocka_unit_test(who_leaves_while_waiting_makes_room),
        cmocka_unit_test(one_bad_member_fails_alone),
        cmocka_unit_test(an_answer_that_cannot_be_taken_apart_is_asked_for_alone),
        cmocka_unit_test(who_leaves_does_not_end_the_batch_and_the_last_one_does),
        cmocka_unit_test(what_cannot_be_put_together_goes_one_by_one),
        cmocka_unit_test(a_crash_in_the_middle_of_a_batch_runs_all_its_members_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
