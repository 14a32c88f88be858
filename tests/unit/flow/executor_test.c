/* The executor on a bus in memory, with toy models. SPDX-License-Identifier: Apache-2.0 */
#include "test.h"
#include "support/flow_fixture.h"

#define TOPIC(s) "seldon.default." s

static void a_chain_answers_and_leaves_a_record_at_every_hop(void **state)
{
    struct fixture x;
    struct asked *a;

    (void)state;
    fixture_start(&x, NULL);
    APPLY(&x, "p: mul10; add10 < mul10; out < add10");
    a = fixture_ask(&x, "p", "INPUT=1,2");
    fixture_settle(&x);
    assert_string_equal(asked_text(a), "OUTPUT=20,30");
    assert_str(a->q.key, "0.p.id-1");
    assert_int_equal(fake_bus_count(x.bus, TOPIC("pipeline.p.inputs")), 1);
    assert_int_equal(fake_bus_count(x.bus, TOPIC("model.mul10.inputs")), 1);
    assert_int_equal(fake_bus_count(x.bus, TOPIC("model.mul10.outputs")), 1);
    assert_int_equal(fake_bus_count(x.bus, TOPIC("model.add10.inputs")), 1);
    assert_int_equal(fake_bus_count(x.bus, TOPIC("model.add10.outputs")), 1);
    assert_int_equal(fake_bus_count(x.bus, TOPIC("pipeline.p.outputs")), 1);
    assert_int_equal(fake_bus_count(x.bus, TOPIC("errors.errors")), 0);
    asked_free(a);
    fixture_close(&x);
}

static void the_reply_waits_for_input_and_outcome_to_be_acknowledged(void **state)
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
    assert_int_equal(fake_bus_count(x.bus, TOPIC("pipeline.p.outputs")), 1);
    assert_false(a->done);
    fake_bus_release(x.bus);
    fixture_settle(&x);
    assert_string_equal(asked_text(a), "OUTPUT=10");
    asked_free(a);
    fixture_close(&x);
}

static void a_failing_model_ends_in_two_error_records_and_the_models_own_words(void **state)
{
    struct fixture x;
    struct asked *a;

    (void)state;
    fixture_start(&x, NULL);
    APPLY(&x, "p: error; out < error");
    a = fixture_ask(&x, "p", "INPUT=1");
    fixture_settle(&x);
    assert_string_equal(asked_text(a),
                        "upstream: error : rpc error: code = InvalidArgument desc = this model always fails");
    assert_int_equal(a->q.grpc_code, 3);
    assert_str(a->q.step, "error");
    assert_int_equal(fake_bus_count(x.bus, TOPIC("errors.errors")), 1);
    assert_int_equal(fake_bus_count(x.bus, TOPIC("pipeline.p.outputs")), 1);
    asked_free(a);
    fixture_close(&x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_chain_answers_and_leaves_a_record_at_every_hop),
        cmocka_unit_test(the_reply_waits_for_input_and_outcome_to_be_acknowledged),
        cmocka_unit_test(a_failing_model_ends_in_two_error_records_and_the_models_own_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
