/* Definitions into graphs. SPDX-License-Identifier: Apache-2.0 */
#include "test.h"
#include "support/flow_fixture.h"

static struct arena arena;

static const struct graph *compile(const char *line)
{
    return graph_compile(&arena, fixture_pipeline(&arena, line));
}

static void references_to_one_topic_are_one_source(void **state)
{
    const struct graph *g = compile("p: a; b; c < a.outputs.X,b,a.outputs.Y,a.outputs.X map=a.outputs.X:Z; out < c");
    const struct graph_gate *data = &g->nodes[2].data;

    (void)state;
    assert_int_equal(g->why.rc, RC_OK);
    assert_int_equal(data->n, 2);
    assert_int_equal(data->sources[0].point, graph_point_outputs(0));
    assert_false(data->sources[0].whole);
    assert_int_equal(data->sources[0].select_n, 2);
    assert_str(data->sources[0].select[0].tensor, "X");
    assert_str(data->sources[0].select[0].rename, "Z");
    assert_int_equal(data->sources[0].select[1].rename.n, 0);
    assert_str(data->sources[0].text, "a.outputs");
    assert_true(data->sources[1].whole);
}

static void a_topic_named_whole_and_by_tensor_means_the_tensor(void **state)
{
    const struct graph *g = compile("p: a; b < a,a.outputs.X; out < b");

    (void)state;
    assert_int_equal(g->nodes[1].data.n, 1);
    assert_false(g->nodes[1].data.sources[0].whole);
}

static void renames_of_a_whole_topic_are_kept(void **state)
{
    const struct graph *g = compile("p: a; b < a map=a.outputs.X:Y,p.inputs.Q:R; out < b");

    (void)state;
    assert_true(g->nodes[1].data.sources[0].whole);
    assert_int_equal(g->nodes[1].data.sources[0].select_n, 1);
    assert_str(g->nodes[1].data.sources[0].select[0].rename, "Y");
}

static void a_step_without_inputs_reads_the_pipelines(void **state)
{
    const struct graph *g = compile("p: a; out");

    (void)state;
    assert_int_equal(g->nodes[0].data.sources[0].point, 0);
    assert_int_equal(g->nodes[1].data.sources[0].point, 0);
    assert_true(g->nodes[1].echo);
    assert_int_equal(g->readers[0].n, 2);
}

static void what_the_output_depends_on_is_marked(void **state)
{
    const struct graph *g = compile("p: a; b < a; side < a; c < b ! trig; trig; out < c");

    (void)state;
    assert_true(g->nodes[0].for_output);
    assert_true(g->nodes[1].for_output);
    assert_false(g->nodes[2].for_output);
    assert_true(g->nodes[4].for_output);
    assert_true(compile("p: a; b")->nodes[1].for_output);
}

static void a_reader_is_listed_once_for_each_point(void **state)
{
    const struct graph *g = compile("p: a; b < a ! a; out < b");
    const struct graph_readers *r = &g->readers[graph_point_outputs(0)];

    (void)state;
    assert_int_equal(r->n, 1);
    assert_int_equal(r->nodes[0], 1);
}

static void what_cannot_run_says_why(void **state)
{
    static const struct { const char *line; enum rc rc; const char *why; } cases[] = {
        {"p: a; a; out < a", RC_INVALID, "two steps are named a"},
        {"p: a < b; out < a", RC_INVALID, "step a: step b does not exist"},
        {"p: a ! b; out < a", RC_INVALID, "step a: step b does not exist"},
        {"p: a; out < z", RC_INVALID, "output: step z does not exist"},
        {"p: a < a; out < a", RC_INVALID, "the steps form a cycle: a > a"},
        {"p: z; a < c; b < a; c ! b; out < a", RC_INVALID, "the steps form a cycle: a > b > c > a"},
    };

    (void)state;
    for (size_t i = 0; i < countof(cases); i++) {
        const struct graph *g = compile(cases[i].line);

        assert_int_equal(g->why.rc, cases[i].rc);
        assert_string_equal(g->why.text, cases[i].why);
    }
}

static void where_a_cycle_closes_is_known_from_the_inputs_on(void **state)
{
    const struct graph *g = compile("p: loop < count; count < p,loop join=any cycles=3; side < p; behind < count; out < behind");

    (void)state;
    assert_int_equal(g->why.rc, RC_OK);
    assert_true(g->cyclic);
    assert_int_equal(g->visits_max, 3);
    assert_true(g->nodes[1].data.sources[1].back);
    assert_false(g->nodes[0].data.sources[0].back);
    assert_true(g->nodes[0].repeats && g->nodes[1].repeats && g->nodes[3].repeats && g->nodes[4].repeats);
    assert_false(g->nodes[2].repeats);
    assert_false(g->nodes[1].data.sources[0].repeats);
}

static void a_cycle_is_found_among_many_steps(void **state)
{
    AUTO(buf_fini) struct buf line = {0};
    uint32_t path[1000];

    (void)state;
    buf_printf(&line, "p: s0 < s998");
    for (int i = 1; i < 999; i++)
        buf_printf(&line, "; s%d < s%d", i, i - 1);
    assert_int_equal(graph_cycle(fixture_pipeline(&arena, buf_cstr(&line)), path), 1000);
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
        cmocka_unit_test(references_to_one_topic_are_one_source),
        cmocka_unit_test(a_topic_named_whole_and_by_tensor_means_the_tensor),
        cmocka_unit_test(renames_of_a_whole_topic_are_kept),
        cmocka_unit_test(a_step_without_inputs_reads_the_pipelines),
        cmocka_unit_test(what_the_output_depends_on_is_marked),
        cmocka_unit_test(a_reader_is_listed_once_for_each_point),
        cmocka_unit_test(what_cannot_run_says_why),
        cmocka_unit_test(where_a_cycle_closes_is_known_from_the_inputs_on),
        cmocka_unit_test(a_cycle_is_found_among_many_steps),
    };
    return cmocka_run_group_tests(tests, NULL, cleanup);
}
