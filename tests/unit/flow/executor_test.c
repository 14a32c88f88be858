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

static enum rc outputs_are_too_large(void *ctx, enum fake_kind kind, struct str topic, struct err *e)
{
    (void)ctx;
    if (kind != FAKE_APPEND || !str_is(topic, TOPIC("model.mul10.outputs"))) return RC_OK;
    return err_set(e, RC_TOO_LARGE, "the record is larger than the topic takes");
}

static void a_hop_record_that_cannot_be_written_is_named_where_trace_looks(void **state)
{
    const struct fake_record *said;
    struct flow_counters c;
    struct fixture x;
    struct asked *a;

    (void)state;
    fixture_start(&x, NULL);
    APPLY(&x, "p: mul10; add10 < mul10; out < add10");
    fixture_settle(&x);
    x.bus->fail = outputs_are_too_large;
    a = fixture_ask(&x, "p", "INPUT=1");
    fixture_settle(&x);
    assert_string_equal(asked_text(a), "OUTPUT=20");
    assert_int_equal(fake_bus_count(x.bus, TOPIC("model.mul10.outputs")), 0);
    assert_int_equal(fake_bus_count(x.bus, TOPIC("errors.errors")), 1);
    said = fake_bus_record(x.bus, TOPIC("errors.errors"), 0, 0);
    assert_str(buf_str(&said->key), "0.p.id-1");
    assert_str(buf_str(&said->value), "a record for " TOPIC("model.mul10.outputs") " could not be written: the record is larger than the topic takes");
    assert_str(fake_record_header(said, "millrace-lost"), TOPIC("model.mul10.outputs"));
    assert_str(fake_record_header(said, "pipeline"), "p");
    assert_true(str_eq(fake_record_header(said, "millrace-run"),
                       fake_record_header(fake_bus_record(x.bus, TOPIC("pipeline.p.inputs"), 0, 0), "millrace-run")));
    assert_int_equal(fake_record_header(said, "seldon-pipeline-errors").n, 0);
    flow_count(x.flow, &c);
    assert_int_equal(c.hop_records_failed, 1);
    asked_free(a);
    fixture_close(&x);
}

static enum rc all_hops_fail(void *ctx, enum fake_kind kind, struct str topic, struct err *e)
{
    (void)ctx;
    if (kind != FAKE_APPEND || str_starts(topic, STR(TOPIC("pipeline.")))) return RC_OK;
    return err_set(e, RC_DENIED, "not allowed");
}

static void what_cannot_be_said_in_the_log_is_counted_once(void **state)
{
    struct flow_counters c;
    struct fixture x;
    struct asked *a;

    (void)state;
    fixture_start(&x, NULL);
    APPLY(&x, "p: mul10; out < mul10");
    fixture_settle(&x);
    x.bus->fail = all_hops_fail;
    a = fixture_ask(&x, "p", "INPUT=1");
    fixture_settle(&x);
    assert_string_equal(asked_text(a), "OUTPUT=10");
    flow_count(x.flow, &c);
    assert_int_equal(c.hop_records_failed, 2);
    asked_free(a);
    fixture_close(&x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_chain_answers_and_leaves_a_record_at_every_hop),
        cmocka_unit_test(the_reply_waits_for_input_and_outcome_to_be_acknowledged),
        cmocka_unit_test(a_failing_model_ends_in_two_error_records_and_the_models_own_words),
        cmocka_unit_test(a_hop_record_that_cannot_be_written_is_named_where_trace_looks),
        cmocka_unit_test(what_cannot_be_said_in_the_log_is_counted_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
