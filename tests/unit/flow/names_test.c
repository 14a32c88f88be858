/* Names of topics, groups, keys and runs. SPDX-License-Identifier: Apache-2.0 */
#include "test.h"
#include "flow/names.h"

static struct arena arena;
static const struct naming naming = {{"seldon", 6}, {"default", 7}};

static void names_are_those_of_the_original(void **state)
{
    (void)state;
    assert_str(name_topic(&arena, &naming, false, STR("p"), true), "seldon.default.pipeline.p.inputs");
    assert_str(name_topic(&arena, &naming, true, STR("m"), false), "seldon.default.model.m.outputs");
    assert_str(name_errors_topic(&arena, &naming), "seldon.default.errors.errors");
    assert_str(name_key(&arena, 3, STR("p"), STR("id.with.dots")), "3.p.id.with.dots");
}

static void groups_of_pipelines_and_models_never_meet(void **state)
{
    (void)state;
    struct naming prefixed = {STR("seldon"), STR("default"), .group = STR("team")};

    assert_str(name_group(&arena, &naming, false, STR("x"), STR("")), "seldon-default-flow-x");
    assert_str(name_group(&arena, &naming, true, STR("x"), STR("")), "seldon-default-flowmodel-x");
    assert_str(name_group(&arena, &prefixed, false, STR("x"), STR("")), "team-seldon-default-flow-x");
    assert_str(name_owners_group(&arena, &prefixed), "team-seldon-default-owners");
}

/* The numbers of models are those of groups that the original made; MD5 values are those of md5sum. */
static void groups_can_be_named_by_the_originals_rule(void **state)
{
    struct naming n = {STR("seldon"), STR("default"), .seldon = true, .seldon_gateways = 100};

    (void)state;
    assert_str(name_group(&arena, &n, true, STR("mul10"), STR("")), "seldon-modelgateway-16");
    assert_str(name_group(&arena, &n, true, STR("add10"), STR("")), "seldon-modelgateway-37");
    assert_str(name_group(&arena, &n, true, STR("unavail"), STR("")), "seldon-modelgateway-13");
    assert_str(name_group(&arena, &n, false, STR("p"), STR("short-uid")), "seldon-dataflow-short-uid");
    assert_str(name_group(&arena, &n, false, STR("p"), STR("")), "seldon-dataflow-p");
    assert_str(name_group(&arena, &n, false, STR("p"), STR("d4nks8jp1j6c73a3gnt0")), "seldon-dataflow-88d0302a451a832119ffbca573f42774");
    assert_str(name_group(&arena, &n, false, STR("p"), STR("d4nks8jp1j6c73a00270")), "seldon-dataflow-7e2e193da1709bed705d1a7ec0bd23");
    n.group = STR("team");
    n.seldon_ns = STR("mesh");
    n.seldon_gateways = 10;
    assert_str(name_group(&arena, &n, true, STR("mul10"), STR("")), "team-mesh-seldon-modelgateway-6");
}

static void run_ids_come_back_as_they_went(void **state)
{
    struct run_id own = {.cluster = STR("c-1_x"), .topic = STR("tid"), .incarnation = STR("12"), .number = 99, .attempt = 2,
                         .deadline_wall_ms = 1795366907180};
    struct run_id outside = {.outside = true, .topic = STR("tid"), .partition = 4, .offset = 77, .attempt = 1}, back;
    struct str s = run_id_print(&arena, &own);

    (void)state;
    assert_str(s, "c-1_x/tid/12/99/2/1795366907180");
    assert_true(run_id_parse(s, &back));
    assert_false(back.outside);
    assert_int_equal(back.number, 99);
    assert_int_equal(back.attempt, 2);
    assert_int_equal(back.deadline_wall_ms, own.deadline_wall_ms);
    assert_str(back.identity, "c-1_x/tid/12/99");
    s = run_id_print(&arena, &outside);
    assert_str(s, "tid/4/77/1");
    assert_true(run_id_parse(s, &back));
    assert_true(back.outside);
    assert_int_equal(back.offset, 77);
    assert_true(str_eq(back.identity, run_id_outside(&arena, STR("tid"), 4, 77)));
}

static void what_is_no_run_id_is_not_taken_for_one(void **state)
{
    static const char *const bad[] = {"", "x", "a/b/c", "a/b/c/1/2", "a/b/c/x/1/0", "a/b/c/1/0/0", "a/b/c/-1/1/0", "a/b/c/1/1/0/9",
                                      "t/x/1/1", "t/0/-1/1", "t/0/1/0", "a//c/1/1/0", "a/b/c/99999999999999999999/1/0"};
    struct run_id id;

    (void)state;
    for (size_t i = 0; i < countof(bad); i++)
        assert_false(run_id_parse(str_of(bad[i]), &id));
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
        cmocka_unit_test(names_are_those_of_the_original),
        cmocka_unit_test(groups_of_pipelines_and_models_never_meet),
        cmocka_unit_test(groups_can_be_named_by_the_originals_rule),
        cmocka_unit_test(run_ids_come_back_as_they_went),
        cmocka_unit_test(what_is_no_run_id_is_not_taken_for_one),
    };
    return cmocka_run_group_tests(tests, NULL, cleanup);
}
