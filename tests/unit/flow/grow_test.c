/* Partitions that somebody adds while an executor runs. SPDX-License-Identifier: Apache-2.0 */
#include "test.h"
#include "support/flow_fixture.h"

#define INPUTS  "seldon.default.pipeline.p.inputs"
#define OUTPUTS "seldon.default.pipeline.p.outputs"
#define Q_OUTPUTS "seldon.default.pipeline.q.outputs"
#define GROUP   "seldon-default-flow-p"
enum { BEFORE = 2, AFTER = 5 };

static void open(struct fixture *x, bool shared)
{
    fixture_options(x);
    clock_sim_init(&x->clock, 1795366907180);
    x->bus = fake_bus_new();
    if (shared) fake_bus_share(x->bus);
    x->o.partitions = BEFORE;
    x->o.owners = AFTER;
    fixture_open(x);
    fixture_settle(x);
}

static void apply(struct fixture *x, const char *line)
{
    APPLY(x, line);
    fixture_advance(x, 100);
    fixture_advance(x, 1000);
}

static void take(struct fixture *x, int32_t number)
{
    x->bus->member->taken(x->bus->member, &number, 1);
    fixture_settle(x);
}

static void record(struct fixture *x, const char *topic, int32_t partition, const char *message)
{
    AUTO(buf_fini) struct buf value = {0};
    struct bus_record r = {.timestamp_ms = -1};

    message_write(&value, message);
    r.value = buf_view(&value);
    fake_bus_produce(x->bus, topic, partition, &r);
}

static void advance(struct fixture *x, int seconds)
{
    for (int i = 0; i < 10 * seconds; i++)
        fixture_advance(x, 100);
}

static size_t outputs_in(struct fixture *x, int32_t partition)
{
    return fake_bus_topic(x->bus, OUTPUTS)->partitions[partition].n;
}

static void what_lies_in_added_partitions_is_run_and_committed(void **state)
{
    struct fixture x = {0};

    (void)state;
    open(&x, false);
    apply(&x, "p: mul10; out < mul10");
    fake_bus_grow(x.bus, INPUTS, AFTER);
    record(&x, INPUTS, 4, "INPUT=1");
    advance(&x, 5);
    assert_int_equal(outputs_in(&x, 4 % BEFORE), 1);
    record(&x, INPUTS, 3, "INPUT=2");
    advance(&x, 2);
    assert_int_equal(outputs_in(&x, 3 % BEFORE), 1);
    assert_int_equal(fake_bus_committed(x.bus, GROUP, INPUTS, 4), 1);
    assert_int_equal(fake_bus_committed(x.bus, GROUP, INPUTS, 3), 1);
    fixture_reopen(&x, "2");
    apply(&x, "p: mul10; out < mul10");
    advance(&x, 5);
    assert_int_equal(fake_bus_count(x.bus, OUTPUTS), 2);
    fixture_close(&x);
}

static void outcomes_lie_in_the_partition_of_their_number_when_outputs_were_enlarged_first(void **state)
{
    struct fixture x = {0};

    (void)state;
    open(&x, false);
    apply(&x, "p: mul10; out < mul10");
    fake_bus_grow(x.bus, OUTPUTS, AFTER);
    fake_bus_grow(x.bus, INPUTS, AFTER);
    record(&x, INPUTS, 4, "INPUT=1");
    advance(&x, 5);
    assert_int_equal(outputs_in(&x, 4), 1);
    fixture_close(&x);
}

static void an_outputs_topic_that_was_enlarged_last_keeps_the_partitions_that_it_had(void **state)
{
    struct fixture x = {0};

    (void)state;
    open(&x, false);
    apply(&x, "p: mul10; out < mul10");
    fake_bus_grow(x.bus, INPUTS, AFTER);
    advance(&x, 5);
    fake_bus_grow(x.bus, OUTPUTS, AFTER);
    advance(&x, 5);
    record(&x, INPUTS, 4, "INPUT=1");
    advance(&x, 2);
    assert_int_equal(outputs_in(&x, 4 % BEFORE), 1);
    fixture_close(&x);
}

static void added_partitions_are_run_by_the_owner_of_their_number(void **state)
{
    struct fixture x = {0};

    (void)state;
    open(&x, true);
    take(&x, 0);
    take(&x, 3);
    apply(&x, "p: mul10; out < mul10");
    fake_bus_grow(x.bus, INPUTS, AFTER);
    record(&x, INPUTS, 3, "INPUT=1");
    record(&x, INPUTS, 4, "INPUT=2");
    advance(&x, 15);
    assert_int_equal(fake_bus_count(x.bus, OUTPUTS), 1);
    take(&x, 4);
    advance(&x, 1);
    assert_int_equal(fake_bus_count(x.bus, OUTPUTS), 2);
    fixture_close(&x);
}

static void requests_to_every_executor_go_to_added_partitions_too(void **state)
{
    struct pair p = {0};

    (void)state;
    pair_open(&p);
    pair_apply(&p, "p: mul10; out < mul10");
    fake_bus_grow(p.x.bus, INPUTS, 3);
    for (int i = 0; i < 50; i++)
        pair_advance(&p, 100);
    for (int i = 0; i < 3; i++) {
        struct asked *a = pair_ask(&p, "INPUT=1", NULL);

        pair_settle(&p);
        assert_string_equal(asked_text(a), "OUTPUT=10");
        asked_free(a);
    }
    for (int i = 0; i < 3; i++)
        assert_int_equal(fake_bus_topic(p.x.bus, INPUTS)->partitions[i].n, 1);
    for (int i = 0; i < 30; i++)
        pair_advance(&p, 100);
    assert_int_equal(fake_bus_committed(p.x.bus, GROUP, INPUTS, 2), 1);
    pair_close(&p);
}

static void a_pipeline_that_reads_others_uses_added_partitions_after_a_start(void **state)
{
    struct fixture x = {0};

    (void)state;
    open(&x, false);
    apply(&x, "p: in < q.outputs; mul10; out < mul10");
    fake_bus_grow(x.bus, INPUTS, AFTER);
    record(&x, INPUTS, 4, "INPUT=1");
    advance(&x, 5);
    assert_int_equal(fake_bus_count(x.bus, OUTPUTS), 0);
    fixture_reopen(&x, "2");
    apply(&x, "p: in < q.outputs; mul10; out < mul10");
    advance(&x, 2);
    assert_int_equal(fake_bus_count(x.bus, OUTPUTS), 1);
    fixture_close(&x);
}

static void said_by_q(struct fixture *x, int32_t partition)
{
    struct bus_header q = {STR("pipeline"), bytes_of("q", 1)};
    AUTO(buf_fini) struct buf value = {0};
    struct bus_record r = {.timestamp_ms = -1, .headers = &q, .headers_n = 1};

    message_write(&value, "INPUT=1");
    r.value = buf_view(&value);
    fake_bus_produce(x->bus, Q_OUTPUTS, partition, &r);
}

static void what_another_pipeline_said_in_added_partitions_is_an_input_after_a_start(void **state)
{
    struct fixture x = {0};

    (void)state;
    open(&x, false);
    apply(&x, "p: in < q.outputs; mul10; out < mul10");
    said_by_q(&x, 1);
    advance(&x, 2);
    assert_int_equal(fake_bus_count(x.bus, OUTPUTS), 1);
    fake_bus_grow(x.bus, Q_OUTPUTS, AFTER);
    said_by_q(&x, 4);
    advance(&x, 2);
    assert_int_equal(fake_bus_count(x.bus, OUTPUTS), 1);
    for (int i = 2; i < 4; i++) {
        fixture_reopen(&x, i == 2 ? "2" : "3");
        apply(&x, "p: in < q.outputs; mul10; out < mul10");
        advance(&x, 2);
        assert_int_equal(fake_bus_count(x.bus, OUTPUTS), 2);
    }
    assert_int_equal(fake_bus_committed(x.bus, GROUP, Q_OUTPUTS, 4), 1);
    fixture_close(&x);
}

static void what_another_pipeline_said_before_is_no_input_for_the_owner_who_comes_second(void **state)
{
    struct fixture x = {0};

    (void)state;
    open(&x, true);
    take(&x, 0);
    fake_bus_make(x.bus, Q_OUTPUTS, BEFORE);
    said_by_q(&x, 1);
    apply(&x, "p: in < q.outputs; mul10; out < mul10");
    assert_int_equal(fake_bus_committed(x.bus, GROUP, Q_OUTPUTS, 0), 0);
    assert_int_equal(fake_bus_committed(x.bus, GROUP, Q_OUTPUTS, 1), 1);
    said_by_q(&x, 1);
    advance(&x, 2);
    assert_int_equal(fake_bus_count(x.bus, INPUTS), 0);
    take(&x, 1);
    advance(&x, 3);
    assert_int_equal(fake_bus_count(x.bus, INPUTS), 1);
    assert_str(fake_record_header(fake_bus_record(x.bus, INPUTS, 1, 0), "millrace-source"), Q_OUTPUTS "/1/1");
    fixture_close(&x);
}

/* Three outcomes are behind the committed offset of inputs/3. Then all is stopped, and the outputs are others. */
static void stopped_behind_three(struct fixture *x)
{
    open(x, false);
    fake_bus_make(x->bus, INPUTS, AFTER);
    apply(x, "p: mul10; out < mul10");
    for (int i = 0; i < 3; i++) {
        record(x, INPUTS, 3, "INPUT=1");
        advance(x, 2);
    }
    assert_int_equal(fake_bus_committed(x->bus, GROUP, INPUTS, 3), 3);
    assert_int_equal(outputs_in(x, 3 % BEFORE), 3);
}

/* Some more are run, and nothing committed before the end. */
static void a_crash_after_more_writes_no_second_outcome(struct fixture *x, int32_t outputs, size_t more)
{
    fixture_reopen(x, "2");
    apply(x, "p: mul10; out < mul10");
    for (size_t i = 0; i < more; i++)
        record(x, INPUTS, 3, "INPUT=2");
    fixture_settle(x);
    assert_int_equal(outputs_in(x, outputs), more);
    assert_int_equal(fake_bus_committed(x->bus, GROUP, INPUTS, 3), 3);
    fixture_reopen(x, "3");
    apply(x, "p: mul10; out < mul10");
    advance(x, 5);
    assert_int_equal(outputs_in(x, outputs), more);
    assert_int_equal(fake_bus_committed(x->bus, GROUP, INPUTS, 3), 3 + more);
    record(x, INPUTS, 3, "INPUT=3");
    advance(x, 5);
    assert_int_equal(outputs_in(x, outputs), more + 1);
    fixture_close(x);
}

static void outcomes_in_another_partition_of_outputs_that_were_enlarged_last_are_found(void **state)
{
    (void)state;
    for (size_t more = 1; more < 6; more += 4) {         /* their end is before the offset that was committed for the other one, and behind it */
        struct fixture x = {0};

        stopped_behind_three(&x);
        fake_bus_grow(x.bus, OUTPUTS, AFTER);
        a_crash_after_more_writes_no_second_outcome(&x, 3, more);
    }
}

static void outcomes_in_an_outputs_topic_that_was_made_anew_are_found(void **state)
{
    struct fixture x = {0};

    (void)state;
    stopped_behind_three(&x);
    fake_bus_remove(x.bus, OUTPUTS);
    a_crash_after_more_writes_no_second_outcome(&x, 3 % BEFORE, 1);
}

/* … and is heard of all of them again. */
static enum rc lagged(void *ctx, enum fake_kind kind, struct str topic, struct err *e)
{
    struct fixture *x = ctx;

    (void)kind;
    (void)topic;
    (void)e;
    fake_bus_topic(x->bus, INPUTS)->partitions_n = BEFORE;
    return RC_OK;
}

/* The next look at the ends of the inputs is at a broker that knows of one partition only. */
static enum rc lagging(void *ctx, enum fake_kind kind, struct str topic, struct err *e)
{
    struct fixture *x = ctx;
    bool look = kind == FAKE_DESCRIBE && str_is(topic, INPUTS);

    (void)e;
    fake_bus_topic(x->bus, INPUTS)->partitions_n = look ? 1 : BEFORE;
    if (look) x->bus->fail = lagged;
    return RC_OK;
}

static void ends_of_a_broker_that_lags_are_not_those_of_other_partitions(void **state)
{
    struct fixture x = {0};

    (void)state;
    open(&x, false);
    apply(&x, "p: mul10; out < mul10");
    for (int i = 0; i < 3; i++)
        record(&x, INPUTS, 0, "INPUT=1");
    advance(&x, 2);
    fixture_reopen(&x, "2");
    x.bus->fail = lagging;
    x.bus->fail_ctx = &x;
    apply(&x, "p: mul10; out < mul10");
    assert_ptr_equal(x.bus->fail, lagged);
    x.bus->fail = NULL;
    record(&x, INPUTS, 1, "INPUT=2");
    advance(&x, 2);
    assert_int_equal(outputs_in(&x, 1), 1);
    assert_int_equal(outputs_in(&x, 0), 3);
    fixture_close(&x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_lies_in_added_partitions_is_run_and_committed),
        cmocka_unit_test(outcomes_lie_in_the_partition_of_their_number_when_outputs_were_enlarged_first),
        cmocka_unit_test(an_outputs_topic_that_was_enlarged_last_keeps_the_partitions_that_it_had),
        cmocka_unit_test(added_partitions_are_run_by_the_owner_of_their_number),
        cmocka_unit_test(requests_to_every_executor_go_to_added_partitions_too),
        cmocka_unit_test(a_pipeline_that_reads_others_uses_added_partitions_after_a_start),
        cmocka_unit_test(outcomes_in_another_partition_of_outputs_that_were_enlarged_last_are_found),
        cmocka_unit_test(outcomes_in_an_outputs_topic_that_was_made_anew_are_found),
        cmocka_unit_test(what_another_pipeline_said_in_added_partitions_is_an_input_after_a_start),
        cmocka_unit_test(what_another_pipeline_said_before_is_no_input_for_the_owner_who_comes_second),
        cmocka_unit_test(ends_of_a_broker_that_lags_are_not_those_of_other_partitions),
    };

    return cmocka_run_group_tests_name("flow/grow", tests, NULL, NULL);
}
