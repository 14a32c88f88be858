/* The state machine of a run, without an executor: events in, effects out. SPDX-License-Identifier: Apache-2.0 */
#include "test.h"
#include "flow/run.h"
#include "support/flow_fixture.h"
#include <stdio.h>

static const struct headers_deny deny_none;

struct machine { struct arena arena; struct run run; struct buf input; };

static const char *effects_text(const struct run *r)
{
    static const char *const names[] = {"call", "answered", "failed", "window", "stop", "outcome", "end"};
    static char out[512];
    int n = 0;

    out[0] = 0;
    for (size_t i = 0; i < r->fx_n; i++) {
        n += snprintf(out + n, sizeof out - (size_t)n, "%s%s", i ? " " : "", names[r->fx[i].kind]);
        if (r->fx[i].kind != RUN_FX_OUTCOME && r->fx[i].kind != RUN_FX_END)
            n += snprintf(out + n, sizeof out - (size_t)n, ":%u", r->fx[i].node);
    }
    return out;
}

static void start(struct machine *m, const char *line, const char *message)
{
    struct err e;

    *m = (struct machine){0};
    message_write(&m->input, message);
    run_init(&m->run, graph_compile(&m->arena, fixture_pipeline(&m->arena, line)));
    m->run.deny = &deny_none;
    m->run.join_window_ms = 60000;
    assert_int_equal(run_accept(&m->run, buf_view(&m->input), (struct headers){0}, 100, &e), RC_OK);
    run_step(&m->run, &(struct run_event){.kind = RUN_EV_START, .now_ms = 100});
}

static void answer_at(struct machine *m, uint32_t node, const char *message, int64_t now_ms, const char *header)
{
    struct buf b = {0};
    struct header h = {STR("x-from"), str_of(header)};

    message_write(&b, message);
    run_step(&m->run, &(struct run_event){
                          .kind = RUN_EV_RESPONSE, .node = node, .response = &b, .now_ms = now_ms, .headers = &h, .headers_n = 1});
    buf_fini(&b);
}

static void answer(struct machine *m, uint32_t node, const char *message)
{
    answer_at(m, node, message, 200, "m");
}

static void fails(struct machine *m, uint32_t node)
{
    run_step(&m->run, &(struct run_event){.kind = RUN_EV_FAILURE, .node = node, .rc = RC_UPSTREAM, .text = STR("no")});
}

static void over(struct machine *m)
{
    run_fini(&m->run);
    arena_fini(&m->run.arena);
    arena_fini(&m->arena);
    buf_fini(&m->input);
}

#define FX(m, want) assert_string_equal(effects_text(&(m)->run), want)

static void a_chain_goes_step_by_step(void **state)
{
    struct machine m;

    (void)state;
    start(&m, "p: a; b < a; out < b", "X=1");
    FX(&m, "call:0");
    answer(&m, 0, "X=2");
    FX(&m, "answered:0 call:1");
    answer(&m, 1, "X=3");
    FX(&m, "answered:1 outcome end");
    assert_int_equal(m.run.outcome, RUN_OUTPUT);
    assert_string_equal(message_text(m.run.output.message), "X=3");
    over(&m);
}

static void an_inner_join_with_a_skipped_side_is_skipped_at_once(void **state)
{
    struct machine m;

    (void)state;
    start(&m, "p: a; b; c < a.outputs.Z,b; out < c", "X=1");
    answer(&m, 0, "X=2");
    FX(&m, "answered:0 outcome");
    assert_int_equal(m.run.failure->rc, RC_UNSELECTED);
    answer(&m, 1, "X=2");
    FX(&m, "answered:1 end");
    over(&m);
}

static void an_outer_join_fires_when_the_other_side_has_failed(void **state)
{
    struct machine m;

    (void)state;
    start(&m, "p: a; b; c < a,b join=outer; out < c", "X=1");
    fails(&m, 0);
    FX(&m, "failed:0");
    answer(&m, 1, "Y=2");
    FX(&m, "answered:1 call:2");
    assert_string_equal(message_text(m.run.points[graph_point_inputs(2)].message), "Y=2");
    answer(&m, 2, "Y=3");
    assert_int_equal(m.run.outcome, RUN_OUTPUT);
    over(&m);
}

static void an_outer_join_opens_one_window_and_fires_in_it(void **state)
{
    struct machine m;

    (void)state;
    start(&m, "p: a; b; c; d < a,b,c join=outer window=70; out < d", "X=1");
    answer(&m, 0, "X=1");
    FX(&m, "answered:0 window:3");
    assert_int_equal(m.run.fx[1].wait_ms, 70);
    answer(&m, 1, "Y=1");
    FX(&m, "answered:1");
    run_step(&m.run, &(struct run_event){.kind = RUN_EV_WINDOW, .node = 3, .gate = 0});
    FX(&m, "call:3");
    assert_string_equal(message_text(m.run.points[graph_point_inputs(3)].message), "X=1;Y=1");
    answer(&m, 2, "Z=1");
    FX(&m, "answered:2");
    over(&m);
}

static void any_takes_the_first_arrival_once(void **state)
{
    struct machine m;

    (void)state;
    start(&m, "p: a; b; c < a,b join=any; out < c", "X=1");
    answer(&m, 1, "B=1");
    FX(&m, "answered:1 call:2");
    answer(&m, 0, "A=1");
    FX(&m, "answered:0");
    assert_string_equal(message_text(m.run.points[graph_point_inputs(2)].message), "B=1");
    over(&m);
}

static void triggers_of_one_topic_are_joined_as_declared(void **state)
{
    struct machine m;

    (void)state;
    start(&m, "p: a; both ! a.outputs.X,a.outputs.Y; one ! a.outputs.X,a.outputs.Y tjoin=any; out < one", "I=1");
    answer(&m, 0, "Y=1");
    FX(&m, "answered:0 call:2");
    assert_int_equal(m.run.nodes[1].state, NODE_SKIPPED);
    assert_string_equal(message_text(m.run.points[graph_point_inputs(2)].message), "I=1");
    over(&m);
}

static void a_data_gate_that_opened_keeps_its_choice_until_the_trigger_comes(void **state)
{
    struct machine m;

    (void)state;
    start(&m, "p: a; b; t; c < a,b join=any ! t; out < c", "X=1");
    answer(&m, 1, "B=1");
    answer(&m, 0, "A=1");
    answer(&m, 2, "T=1");
    FX(&m, "answered:2 call:3");
    assert_string_equal(message_text(m.run.points[graph_point_inputs(3)].message), "B=1");
    over(&m);
}

static void a_join_has_the_headers_of_the_record_that_completed_it_and_the_newest_time(void **state)
{
    struct machine m;
    const struct run_point *p;

    (void)state;
    start(&m, "p: a; b; c < a,b; out < c", "X=1");
    answer_at(&m, 1, "B=1", 900, "from-b");
    answer_at(&m, 0, "A=1", 800, "from-a");
    p = &m.run.points[graph_point_inputs(2)];
    assert_string_equal(message_text(p->message), "A=1;B=1");
    assert_int_equal(p->timestamp_ms, 900);
    assert_str(*headers_get(p->headers, "x-from"), "from-a");
    assert_str(*headers_get(p->headers, "x-pipeline-version"), "1");
    over(&m);
}

static void the_error_is_that_of_the_step_behind_it(void **state)
{
    struct machine m;

    (void)state;
    start(&m, "p: a; b < a; c < b; out < c", "X=1");
    fails(&m, 0);
    FX(&m, "failed:0 outcome end");
    assert_str(m.run.failure->step, "a");
    over(&m);
}

static void an_error_beside_the_output_does_not_touch_it(void **state)
{
    struct machine m;

    (void)state;
    start(&m, "p: a; side; out < a", "X=1");
    fails(&m, 1);
    FX(&m, "failed:1");
    answer(&m, 0, "X=1");
    FX(&m, "answered:0 outcome end");
    assert_int_equal(m.run.outcome, RUN_OUTPUT);
    over(&m);
}

static void a_pipeline_without_output_ends_with_its_last_step(void **state)
{
    struct machine m;

    (void)state;
    start(&m, "p: a; b", "X=1");
    fails(&m, 0);
    FX(&m, "failed:0");
    answer(&m, 1, "X=1");
    FX(&m, "answered:1 outcome end");
    assert_int_equal(m.run.outcome, RUN_ERROR);
    over(&m);
    start(&m, "p: a", "X=1");
    answer(&m, 0, "X=1");
    assert_int_equal(m.run.outcome, RUN_EMPTY);
    over(&m);
}

static void a_deadline_stops_what_the_outcome_depends_on_only(void **state)
{
    struct machine m;

    (void)state;
    start(&m, "p: a; side; after < side; out < a", "X=1");
    run_step(&m.run, &(struct run_event){.kind = RUN_EV_DEADLINE, .rc = RC_TIMEOUT, .text = STR("late")});
    FX(&m, "outcome stop:0");
    assert_str(m.run.failure->step, "a");
    answer(&m, 0, "X=1");                        /* came too late: nobody cares */
    FX(&m, "");
    answer(&m, 1, "X=1");
    FX(&m, "answered:1 call:2");
    run_step(&m.run, &(struct run_event){.kind = RUN_EV_STOP, .rc = RC_TIMEOUT, .text = STR("late")});
    FX(&m, "stop:2 failed:2 end");
    over(&m);
}

static void a_stop_ends_everything_and_says_so_once(void **state)
{
    struct machine m;

    (void)state;
    start(&m, "p: a; b; c < a,b; out < c", "X=1");
    run_step(&m.run, &(struct run_event){.kind = RUN_EV_STOP, .rc = RC_CANCELLED, .text = STR("gone")});
    FX(&m, "outcome stop:1 stop:0 end");
    assert_int_equal(m.run.failure->rc, RC_CANCELLED);
    run_step(&m.run, &(struct run_event){.kind = RUN_EV_STOP, .rc = RC_CANCELLED, .text = STR("gone")});
    FX(&m, "");
    over(&m);
}

static void an_answer_without_tensors_selects_nothing(void **state)
{
    struct machine m;

    (void)state;
    start(&m, "p: a; b < a; out < b", "X=1");
    answer(&m, 0, "");
    FX(&m, "answered:0 outcome end");
    assert_str(m.run.failure->text, "nothing selected: step b was skipped as a.outputs has no tensor");
    over(&m);
}

static void a_step_may_read_what_another_was_sent(void **state)
{
    struct machine m;

    (void)state;
    start(&m, "p: a < p.inputs.X map=p.inputs.X:R; b < a.inputs.R; out < b", "X=1;Y=2");
    FX(&m, "call:0 call:1");
    assert_string_equal(message_text(m.run.points[graph_point_inputs(1)].message), "R=1");
    over(&m);
}

static void an_output_section_without_steps_echoes_the_inputs(void **state)
{
    struct machine m;

    (void)state;
    start(&m, "p: a; out", "X=1");
    FX(&m, "call:0 outcome");
    assert_string_equal(message_text(m.run.output.message), "X=1");
    over(&m);
}

static void the_input_can_be_kept_when_its_lender_leaves(void **state)
{
    struct machine m;

    (void)state;
    start(&m, "p: a; b ! a; out < a", "X=1");
    run_keep(&m.run);
    memset(m.input.p, 0xff, m.input.n);
    answer(&m, 0, "Y=1");
    assert_string_equal(message_text(m.run.points[graph_point_inputs(1)].message), "X=1");
    over(&m);
}

static void a_long_chain_of_skips_costs_no_stack(void **state)
{
    AUTO(buf_fini) struct buf line = {0};
    struct machine m;

    (void)state;
    buf_printf(&line, "p: s0 < p.inputs.NO");
    for (int i = 1; i < GRAPH_STEPS_MAX; i++)
        buf_printf(&line, "; s%d < s%d", i, i - 1);
    buf_printf(&line, "; out < s%d", GRAPH_STEPS_MAX - 1);
    start(&m, buf_cstr(&line), "X=1");
    FX(&m, "outcome end");
    over(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_chain_goes_step_by_step),
        cmocka_unit_test(an_inner_join_with_a_skipped_side_is_skipped_at_once),
        cmocka_unit_test(an_outer_join_fires_when_the_other_side_has_failed),
        cmocka_unit_test(an_outer_join_opens_one_window_and_fires_in_it),
        cmocka_unit_test(any_takes_the_first_arrival_once),
        cmocka_unit_test(triggers_of_one_topic_are_joined_as_declared),
        cmocka_unit_test(a_data_gate_that_opened_keeps_its_choice_until_the_trigger_comes),
        cmocka_unit_test(a_join_has_the_headers_of_the_record_that_completed_it_and_the_newest_time),
        cmocka_unit_test(the_error_is_that_of_the_step_behind_it),
        cmocka_unit_test(an_error_beside_the_output_does_not_touch_it),
        cmocka_unit_test(a_pipeline_without_output_ends_with_its_last_step),
        cmocka_unit_test(a_deadline_stops_what_the_outcome_depends_on_only),
        cmocka_unit_test(a_stop_ends_everything_and_says_so_once),
        cmocka_unit_test(an_answer_without_tensors_selects_nothing),
        cmocka_unit_test(a_step_may_read_what_another_was_sent),
        cmocka_unit_test(an_output_section_without_steps_echoes_the_inputs),
        cmocka_unit_test(the_input_can_be_kept_when_its_lender_leaves),
        cmocka_unit_test(a_long_chain_of_skips_costs_no_stack),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
