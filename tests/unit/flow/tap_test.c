/* Inputs from other pipelines: what is joined, what is run, what a crash does to it. SPDX-License-Identifier: Apache-2.0 */
#include "test.h"
#include "oip/pb.h"
#include "oip/proto.h"
#include "support/flow_fixture.h"
#include <stdio.h>

#define TOPIC(s) "seldon.default." s
#define OUTPUTS TOPIC("pipeline.p.outputs")

static void settle(struct fixture *x)
{
    for (int i = 0; i < 6; i++)
        fixture_advance(x, 100);
}

static void open(struct fixture *x, const char *p, const char *q, const char *r)
{
    fixture_options(x);
    fixture_open(x);
    APPLY(x, p, q, r);
    settle(x);
}

static void call(struct fixture *x, const char *name, const char *message)
{
    struct asked *a = fixture_ask(x, name, message);

    fixture_settle(x);
    assert_int_equal(a->q.err.rc, RC_OK);
    asked_free(a);
}

static const char *output(struct fixture *x, size_t i)
{
    return message_text(buf_view(&fake_bus_record(x->bus, OUTPUTS, 0, i)->value));
}

static void what_another_pipeline_says_is_the_input(void **state)
{
    struct fixture x;
    const struct fake_record *rec;

    (void)state;
    open(&x, "p: add10; in < q map=q.outputs.OUTPUT:A; out < add10", "q: mul10; out < mul10", NULL);
    call(&x, "q", "A=1,2");
    settle(&x);
    assert_int_equal(fake_bus_count(x.bus, OUTPUTS), 1);
    assert_string_equal(output(&x, 0), "OUTPUT=20,30");
    rec = fake_bus_record(x.bus, TOPIC("pipeline.p.inputs"), 0, 0);
    assert_str(buf_str(&rec->key), "0.q.id-1");
    assert_str(fake_record_header(rec, "pipeline"), "p");
    assert_str(fake_record_header(rec, "x-request-id"), "id-1");
    assert_str(fake_record_header(rec, "millrace-source"), "seldon.default.pipeline.q.outputs/0/0");
    fixture_close(&x);
}

static void two_are_joined_by_key_and_a_trigger_is_waited_for(void **state)
{
    struct fixture x;

    (void)state;
    open(&x, "p: sum; in < q.step.mul10.outputs.OUTPUT,q.step.add10.inputs.A ! q; out < sum",
         "q: mul10; add10; out < add10", NULL);
    call(&x, "q", "A=1,2");
    settle(&x);
    assert_int_equal(fake_bus_count(x.bus, OUTPUTS), 1);
    assert_string_equal(output(&x, 0), "OUTPUT=11,22");
    fixture_close(&x);
}

/* A message of n tensors, all empty. */
static void call_wide(struct fixture *x, const char *name, unsigned n)
{
    struct asked *a = xnew(struct asked);

    for (unsigned i = 0; i < n; i++) {
        size_t at = pb_begin(&a->message, 5), text = pb_begin(&a->message, 1);

        buf_printf(&a->message, "%s%u", name, i);
        pb_end(&a->message, text);
        pb_put_str(&a->message, 2, STR("FP32"));
        pb_put_bytes(&a->message, 3, bytes_of("", 1));
        pb_end(&a->message, at);
    }
    a->q = (struct flow_request){.name = str_of(name),
                                 .message = buf_view(&a->message),
                                 .request_id = STR("id-1"),
                                 .deadline_ms = clock_mono_ms(&x->clock.clock) + 10000,
                                 .done = fixture_done};
    flow_start(x->flow, &a->q);
    fixture_settle(x);
    assert_int_equal(a->q.err.rc, RC_OK);
    asked_free(a);
}

static void what_has_too_many_tensors_together_is_no_input(void **state)
{
    struct fixture x;

    (void)state;
    open(&x, "p: echo; in < q,q.step.echo.outputs; out < echo", "q: echo; out < echo", NULL);
    call_wide(&x, "q", INFER_TENSORS_MAX / 2 + 1);
    settle(&x);
    assert_int_equal(fake_bus_count(x.bus, TOPIC("model.echo.outputs")), 1);
    assert_int_equal(fake_bus_count(x.bus, TOPIC("pipeline.p.inputs")), 0);
    call_wide(&x, "q", INFER_TENSORS_MAX / 2);
    settle(&x);
    assert_int_equal(fake_bus_count(x.bus, TOPIC("pipeline.p.inputs")), 1);
    fixture_close(&x);
}

static void an_error_of_the_other_pipeline_is_no_input(void **state)
{
    struct fixture x;
    struct asked *a;

    (void)state;
    open(&x, "p: add10; in < q; out < add10", "q: error; out < error", NULL);
    a = fixture_ask(&x, "q", "A=1");
    settle(&x);
    assert_int_equal(a->q.err.rc, RC_UPSTREAM);
    asked_free(a);
    assert_int_equal(fake_bus_count(x.bus, TOPIC("pipeline.q.outputs")), 1);
    assert_int_equal(fake_bus_count(x.bus, TOPIC("pipeline.p.inputs")), 0);
    fixture_close(&x);
}

static void an_outer_join_goes_on_after_the_window_and_an_inner_one_gives_up(void **state)
{
    struct fixture x;

    (void)state;
    open(&x, "p: echo; in < q,r join=outer window=5000; out < echo", "q: mul10; out < mul10", "r: add10; out < add10");
    call(&x, "q", "A=1");
    settle(&x);
    assert_int_equal(fake_bus_count(x.bus, OUTPUTS), 0);
    fixture_advance(&x, 5000);
    settle(&x);
    assert_string_equal(output(&x, 0), "OUTPUT=10");
    fixture_close(&x);
    open(&x, "p: echo; in < q,r window=5000; out < echo", "q: mul10; out < mul10", "r: add10; out < add10");
    call(&x, "q", "A=1");
    fixture_advance(&x, 5000);
    settle(&x);
    assert_int_equal(fake_bus_count(x.bus, TOPIC("pipeline.p.inputs")), 0);
    fixture_close(&x);
}

static void what_was_there_before_the_pipeline_is_not_run(void **state)
{
    struct fixture x;

    (void)state;
    fixture_options(&x);
    fixture_open(&x);
    APPLY(&x, "q: mul10; out < mul10");
    call(&x, "q", "A=1");
    APPLY(&x, "q: mul10; out < mul10", "p: add10; in < q; out < add10");
    settle(&x);
    call(&x, "q", "A=2");
    settle(&x);
    assert_int_equal(fake_bus_count(x.bus, OUTPUTS), 1);
    assert_string_equal(output(&x, 0), "OUTPUT=30");
    fixture_close(&x);
}

/* Whatever was committed when: every record becomes one input. */
static void a_crash_repeats_no_input_and_loses_none(void **state)
{
    (void)state;
    for (uint64_t wait = 0; wait < 2400; wait += 300) {
        const char *p = "p: add10; in < q; out < add10", *q = "q: mul10; out < mul10";
        struct fixture x;

        open(&x, p, q, NULL);
        call(&x, "q", "A=1");
        if (wait % 600) settle(&x);
        call(&x, "q", "A=2");
        fixture_advance(&x, wait);
        call(&x, "q", "A=3");
        fixture_reopen(&x, "second");
        APPLY(&x, p, q);
        for (int i = 0; i < 30; i++)
            fixture_advance(&x, 500);
        assert_int_equal(fake_bus_count(x.bus, TOPIC("pipeline.p.inputs")), 3);
        assert_int_equal(fake_bus_count(x.bus, OUTPUTS), 3);
        assert_int_equal(fake_bus_committed(x.bus, "seldon-default-flow-p", TOPIC("pipeline.q.outputs"), 0), 3);
        fixture_close(&x);
    }
}

static enum rc no_room(void *ctx, enum fake_kind kind, struct str topic, struct err *e)
{
    unsigned *left = ctx;

    if (kind != FAKE_APPEND || !str_is(topic, TOPIC("pipeline.p.inputs")) || !*left) return RC_OK;
    --*left;
    return err_set(e, RC_OVERLOAD, "not now");
}

/* q is far ahead of r: it is not read on without end, r is, and what was held back is joined in the end. */
static void a_topic_far_ahead_waits_and_what_is_joined_lets_go_of_its_memory(void **state)
{
    enum { N = 300, BYTES = 1000 };
    struct fixture x;
    struct flow_counters c;
    AUTO(buf_fini) struct buf big = {0};
    struct bus_header q = {STR("pipeline"), bytes_of("q", 1)}, r = {STR("pipeline"), bytes_of("r", 1)};
    static const char filler[BYTES];
    char keys[N][8];

    (void)state;
    fixture_options(&x);
    x.o.runs_bytes_max = 1 << 20;                /* so much that joins may hold 256 KiB, each of the two topics 128 */
    fixture_open(&x);
    APPLY(&x, "p: sum; in < q.outputs.A,r.outputs.B; out < sum", "q: echo; out < echo", "r: echo; out < echo");
    settle(&x);
    message_write(&big, "A=1");
    pb_put_str(&big, 3, (struct str){filler, BYTES});
    for (size_t i = 0; i < N; i++) {
        struct bus_record rec = {.timestamp_ms = -1, .value = buf_view(&big), .headers = &q, .headers_n = 1};

        snprintf(keys[i], sizeof keys[i], "0.q.%zu", i);
        rec.key = str_bytes(str_of(keys[i]));
        fake_bus_produce(x.bus, TOPIC("pipeline.q.outputs"), 0, &rec);
    }
    settle(&x);
    flow_count(x.flow, &c);
    assert_in_range(c.joins_bytes, 100000, 200000);         /* of 300,000 */
    for (size_t i = 0; i < N; i++) {
        AUTO(buf_fini) struct buf small = {0};
        struct bus_record rec = {.timestamp_ms = -1, .headers = &r, .headers_n = 1, .key = str_bytes(str_of(keys[i]))};

        message_write(&small, "B=2");
        rec.value = buf_view(&small);
        fake_bus_produce(x.bus, TOPIC("pipeline.r.outputs"), 0, &rec);
    }
    for (int i = 0; i < 20; i++)
        settle(&x);
    assert_int_equal(fake_bus_count(x.bus, OUTPUTS), N);
    flow_count(x.flow, &c);
    assert_int_equal(c.joins_bytes, 0);
    fixture_close(&x);
}

static void what_came_first_of_any_is_let_go_although_the_other_may_come_yet(void **state)
{
    struct fixture x;
    struct flow_counters c;

    (void)state;
    open(&x, "p: add10; in < q.outputs.A,r.outputs.A join=any; out < add10", "q: echo; out < echo", "r: echo; out < echo");
    call(&x, "q", "A=1");
    settle(&x);
    assert_int_equal(fake_bus_count(x.bus, OUTPUTS), 1);
    flow_count(x.flow, &c);
    assert_int_equal(c.joins_bytes, 0);
    fixture_close(&x);
}

static void an_input_that_cannot_be_written_is_tried_again(void **state)
{
    unsigned left = 2;
    struct fixture x;

    (void)state;
    open(&x, "p: add10; in < q; out < add10", "q: mul10; out < mul10", NULL);
    x.bus->fail = no_room;
    x.bus->fail_ctx = &left;
    call(&x, "q", "A=1");
    for (int i = 0; i < 5; i++)
        settle(&x);
    assert_int_equal(left, 0);
    assert_int_equal(fake_bus_count(x.bus, OUTPUTS), 1);
    fixture_close(&x);
}

static void a_new_version_reads_something_else(void **state)
{
    struct fixture x;

    (void)state;
    open(&x, "p: echo; in < q; out < echo", "q: mul10; out < mul10", "r: add10; out < add10");
    APPLY(&x, "p: echo; in < r; out < echo", "q: mul10; out < mul10", "r: add10; out < add10");
    settle(&x);
    call(&x, "q", "A=1");
    call(&x, "r", "A=1");
    settle(&x);
    assert_int_equal(fake_bus_count(x.bus, OUTPUTS), 1);
    assert_string_equal(output(&x, 0), "OUTPUT=11");
    fixture_close(&x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_another_pipeline_says_is_the_input),
        cmocka_unit_test(two_are_joined_by_key_and_a_trigger_is_waited_for),
        cmocka_unit_test(what_has_too_many_tensors_together_is_no_input),
        cmocka_unit_test(an_error_of_the_other_pipeline_is_no_input),
        cmocka_unit_test(an_outer_join_goes_on_after_the_window_and_an_inner_one_gives_up),
        cmocka_unit_test(what_was_there_before_the_pipeline_is_not_run),
        cmocka_unit_test(a_crash_repeats_no_input_and_loses_none),
        cmocka_unit_test(a_topic_far_ahead_waits_and_what_is_joined_lets_go_of_its_memory),
        cmocka_unit_test(what_came_first_of_any_is_let_go_although_the_other_may_come_yet),
        cmocka_unit_test(an_input_that_cannot_be_written_is_tried_again),
        cmocka_unit_test(a_new_version_reads_something_else),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
