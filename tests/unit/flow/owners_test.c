/* Numbers that several processes share: what an owner does, and what it leaves to others. The test is the group, and the other
 * processes. SPDX-License-Identifier: Apache-2.0 */
#include "test.h"
#include "base/uuid.h"
#include "support/flow_fixture.h"
#include <inttypes.h>
#include <stdio.h>

#define INPUTS  "seldon.default.pipeline.p.inputs"
#define OUTPUTS "seldon.default.pipeline.p.outputs"
enum { NUMBERS = 4, GRACE_MS = 500 };

static void open_telling(struct fixture *x, struct buf *told)
{
    fixture_options(x);
    if (told) x->o.cleared = fixture_note_cleared;
    x->o.cleared_ctx = told;
    clock_sim_init(&x->clock, 1795366907180);
    x->bus = fake_bus_new();
    fake_bus_share(x->bus);
    x->o.owners = NUMBERS;
    x->o.partitions = NUMBERS;
    x->o.recover_grace_ms = GRACE_MS;
    fixture_open(x);
    fixture_settle(x);
    assert_non_null(x->bus->member);
}

static void open(struct fixture *x)
{
    open_telling(x, NULL);
}

static void take(struct fixture *x, int32_t number)
{
    x->bus->member->taken(x->bus->member, &number, 1);
    fixture_settle(x);
}

static void want(struct fixture *x, int32_t number, bool lost)
{
    x->bus->member->wanted(x->bus->member, &number, 1, lost);
    fixture_settle(x);
}

static void record(struct fixture *x, const char *topic, int32_t partition, const char *message, const char *run)
{
    AUTO(buf_fini) struct buf value = {0};
    struct bus_header h = {STR("millrace-run"), str_bytes(str_of(run))};
    struct bus_record r = {.timestamp_ms = -1, .headers = &h, .headers_n = run[0] ? 1 : 0};

    message_write(&value, message);
    r.value = buf_view(&value);
    fake_bus_produce(x->bus, topic, partition, &r);
    fixture_settle(x);
}

/* The id of a run that another process admitted, with so long to go. */
static const char *run_of(struct fixture *x, const char *process_and_number, int left_ms)
{
    static char text[256];
    char id[UUID_TEXT_LEN + 1];
    struct uuid u;

    memcpy(u.b, fake_bus_topic(x->bus, INPUTS)->id.b, sizeof u.b);
    uuid_to_text(&u, id);
    snprintf(text, sizeof text, "fake-cluster/%s/%s/1/%" PRId64, id, process_and_number, left_ms ? clock_wall_ms(&x->clock.clock) + left_ms : 0);
    return text;
}

static const char *foreign_run(struct fixture *x, int left_ms)
{
    return run_of(x, "other/7", left_ms);
}

static void apply(struct fixture *x)
{
    APPLY(x, "p: mul10; out < mul10");
    fixture_settle(x);
}

/* The first of the places' commits is the owner's of number 0. */
static void open_with(struct fixture *x, int32_t number)
{
    open(x);
    take(x, 0);
    if (number) take(x, number);
    apply(x);
    fixture_advance(x, 100);
}

static void outside_records_are_run_by_the_owner_of_their_number_and_by_nobody_else(void **state)
{
    struct fixture x = {0};

    (void)state;
    open_with(&x, 0);
    record(&x, INPUTS, 0, "INPUT=1", "");
    record(&x, INPUTS, 1, "INPUT=2", "");
    assert_int_equal(fake_bus_count(x.bus, OUTPUTS), 1);
    take(&x, 1);
    assert_int_equal(fake_bus_count(x.bus, OUTPUTS), 2);
    assert_string_equal(message_text(buf_view(&fake_bus_record(x.bus, OUTPUTS, 1, 0)->value)), "OUTPUT=20");
    fixture_close(&x);
}

static void another_process_s_request_is_ended_when_its_time_and_the_grace_are_over(void **state)
{
    struct fixture x = {0};

    (void)state;
    open_with(&x, 0);
    record(&x, INPUTS, 0, "INPUT=1", foreign_run(&x, 1000));
    fixture_advance(&x, 1000);
    assert_int_equal(fake_bus_count(x.bus, OUTPUTS), 0);
    for (int i = 0; i < 20; i++)
        fixture_advance(&x, 100);
    assert_int_equal(fake_bus_count(x.bus, OUTPUTS), 1);
    assert_str(fake_record_header(fake_bus_record(x.bus, OUTPUTS, 0, 0), "millrace-error"), "timeout/0/0");
    assert_non_null(strstr(fake_record_header(fake_bus_record(x.bus, OUTPUTS, 0, 0), "millrace-run").p, "/other/7/2/"));
    fixture_close(&x);
}

static void note_drained(void *ctx)
{
    *(bool *)ctx = true;
}

static void a_process_that_drains_leaves_overdue_requests_to_the_next_owner(void **state)
{
    struct fixture x = {0};
    struct asked *a;
    bool drained = false;

    (void)state;
    open_with(&x, 0);
    record(&x, INPUTS, 0, "INPUT=1", foreign_run(&x, 1000));
    x.up->hold = true;
    a = fixture_ask(&x, "p", "INPUT=2");
    fixture_settle(&x);
    flow_drain(x.flow, clock_mono_ms(&x.clock.clock) + 8000, note_drained, &drained);
    for (int i = 0; i < 40; i++)
        fixture_advance(&x, 100);
    assert_int_equal(fake_bus_count(x.bus, OUTPUTS), 0);
    assert_false(drained);
    fake_upstream_finish(x.up, "mul10");
    for (int i = 0; i < 10; i++)
        fixture_advance(&x, 100);
    assert_string_equal(asked_text(a), "OUTPUT=20");
    assert_true(drained);
    assert_int_equal(fake_bus_count(x.bus, OUTPUTS), 1);
    asked_free(a);
    fixture_close(&x);
}

static void another_process_s_request_that_has_its_outcome_is_left_alone(void **state)
{
    struct fixture x = {0};
    char run[256];

    (void)state;
    open_with(&x, 0);
    snprintf(run, sizeof run, "%s", foreign_run(&x, 1000));
    record(&x, INPUTS, 0, "INPUT=1", run);
    record(&x, OUTPUTS, 0, "OUTPUT=10", run);
    for (int i = 0; i < 30; i++)
        fixture_advance(&x, 100);
    assert_int_equal(fake_bus_count(x.bus, OUTPUTS), 1);
    assert_int_equal(fake_bus_committed(x.bus, "seldon-default-flow-p", INPUTS, 0), 1);
    fixture_close(&x);
}

/* The id of one of many. */
static const char *one_of_many(const char *run, int i)
{
    static char text[256];
    const char *number = strstr(run, "/other/7/");

    snprintf(text, sizeof text, "%.*s/other/%d%s", (int)(number - run), run, i, number + strlen("/other/7"));
    return text;
}

/* More than it looks after at a time: what comes behind them waits, and is not forgotten. */
static void too_many_requests_of_others_hold_up_the_partition_until_they_are_answered(void **state)
{
    enum { MANY = 10000 };
    struct fixture x = {0};
    char run[256];

    (void)state;
    open_with(&x, 0);
    snprintf(run, sizeof run, "%s", foreign_run(&x, 100000));
    for (int i = 0; i < MANY; i++)
        record(&x, INPUTS, 0, "INPUT=1", one_of_many(run, i));
    record(&x, INPUTS, 0, "INPUT=2", "");
    for (int i = 0; i < 20; i++)
        fixture_advance(&x, 100);
    assert_int_equal(fake_bus_count(x.bus, OUTPUTS), 0);
    record(&x, OUTPUTS, 0, "OUTPUT=10", one_of_many(run, 7));
    for (int i = 0; i < 20; i++)
        fixture_advance(&x, 100);
    assert_int_equal(fake_bus_count(x.bus, OUTPUTS), 2);
    assert_string_equal(message_text(buf_view(&fake_bus_record(x.bus, OUTPUTS, 0, 1)->value)), "OUTPUT=20");
    fixture_close(&x);
}

static void what_another_process_admitted_for_nobody_is_run_at_once(void **state)
{
    struct fixture x = {0};

    (void)state;
    open_with(&x, 0);
    record(&x, INPUTS, 0, "INPUT=1", foreign_run(&x, 0));
    assert_int_equal(fake_bus_count(x.bus, OUTPUTS), 1);
    assert_string_equal(message_text(buf_view(&fake_bus_record(x.bus, OUTPUTS, 0, 0)->value)), "OUTPUT=10");
    fixture_close(&x);
}

static void a_number_is_given_up_when_what_was_submitted_has_come_back(void **state)
{
    struct fixture x = {0};

    (void)state;
    open_with(&x, 1);
    x.bus->hold_appends = true;
    record(&x, INPUTS, 1, "INPUT=1", "");
    want(&x, 1, false);
    assert_int_equal(x.bus->given, 0);
    fake_bus_release(x.bus);
    fixture_settle(&x);
    assert_int_equal(x.bus->given, 1);
    assert_int_equal(fake_bus_count(x.bus, OUTPUTS), 1);
    fixture_close(&x);
}

static void a_number_that_is_lost_is_not_given_and_its_new_owner_runs_what_comes(void **state)
{
    struct fixture x = {0};

    (void)state;
    open_with(&x, 1);
    want(&x, 1, true);
    record(&x, INPUTS, 1, "INPUT=1", "");
    assert_int_equal(x.bus->given, 0);
    assert_int_equal(fake_bus_count(x.bus, OUTPUTS), 0);
    take(&x, 1);
    assert_int_equal(fake_bus_count(x.bus, OUTPUTS), 1);
    fixture_close(&x);
}

static void requests_go_to_partitions_that_are_owned(void **state)
{
    struct fixture x = {0};

    (void)state;
    open_with(&x, 2);
    for (int i = 0; i < 8; i++) {
        struct asked *a = fixture_ask(&x, "p", "INPUT=1");

        fixture_settle(&x);
        assert_string_equal(asked_text(a), "OUTPUT=10");
        asked_free(a);
    }
    assert_int_equal(fake_bus_topic(x.bus, INPUTS)->partitions[0].n, 4);
    assert_int_equal(fake_bus_topic(x.bus, INPUTS)->partitions[2].n, 4);
    fixture_close(&x);
}

static void a_process_that_wakes_up_after_the_deadline_leaves_the_outcome_to_the_owner(void **state)
{
    struct fixture x = {0};
    struct asked *a;

    (void)state;
    open_with(&x, 0);
    x.up->hold = true;
    a = fixture_ask(&x, "p", "INPUT=1");
    fixture_settle(&x);
    clock_sim_advance(&x.clock, (uint64_t)200000 * 1000);      /* as if it had been stopped */
    fixture_settle(&x);
    assert_true(a->done);
    assert_int_equal(fake_bus_count(x.bus, OUTPUTS), 0);
    asked_free(a);
    fixture_close(&x);
}

static void a_callers_request_goes_on_when_its_number_is_given_up(void **state)
{
    struct fixture x = {0};
    struct asked *a;

    (void)state;
    open_with(&x, 0);
    x.up->hold = true;
    a = fixture_ask(&x, "p", "INPUT=1");
    fixture_settle(&x);
    want(&x, 0, false);
    assert_int_equal(x.bus->given, 1);           /* nobody waits for it */
    assert_false(a->done);
    x.up->hold = false;
    fake_upstream_finish(x.up, "mul10");
    fixture_settle(&x);
    assert_string_equal(asked_text(a), "OUTPUT=10");
    asked_free(a);
    fixture_close(&x);
}

static void what_a_deleted_one_left_is_cleared_away_by_the_owner_of_number_0(void **state)
{
    struct fixture x = {0};
    AUTO(buf_fini) struct buf told = {0};
    struct flow_gone gone[] = {{STR("p"), false, true}};

    (void)state;
    open_telling(&x, &told);
    take(&x, 1);
    fixture_use_gone(&x, gone, 1);
    fixture_advance(&x, 1000);
    assert_int_equal(told.n, 0);
    take(&x, 0);
    assert_string_equal(buf_cstr(&told), "pipeline p;");
    fixture_close(&x);
}

static enum rc first_input_is_in_doubt(void *ctx, enum fake_kind kind, struct str topic, struct err *e)
{
    if (kind != FAKE_APPEND || !str_is(topic, INPUTS)) return RC_OK;
    return ++*(int *)ctx == 1 ? err_set(e, RC_TIMEOUT, "no answer") : err_set(e, RC_UNAVAILABLE, "no broker");
}

/* It gets into the log late, and is run by who meets it: still at work when our run of it would have been overdue. */
static void an_input_in_doubt_that_was_made_of_another_pipelines_record_is_run_once(void **state)
{
    enum { TIMEOUT_S = 120, LATE_S = 115, OVERDUE_S = 10 };
    struct fixture x = {0};
    struct asked *a;
    int appends = 0;

    (void)state;
    open(&x);
    take(&x, 0);
    APPLY(&x, "p: slow; in < q.outputs; out < slow", "q: mul10; out < mul10");
    for (int i = 0; i < 10; i++)
        fixture_advance(&x, 100);
    x.bus->fail = first_input_is_in_doubt;
    x.bus->fail_ctx = &appends;
    a = fixture_ask(&x, "q", "INPUT=1");
    fixture_settle(&x);
    assert_string_equal(asked_text(a), "OUTPUT=10");
    asked_free(a);
    assert_int_equal(appends, 1);
    for (int s = 0; s < LATE_S; s++)
        fixture_advance(&x, 1000);
    record(&x, INPUTS, 0, "INPUT=1", run_of(&x, "1/1", 0));
    assert_int_equal(x.up->started, 2);          /* one is that of q */
    for (int s = LATE_S; s < TIMEOUT_S + OVERDUE_S; s++)
        fixture_advance(&x, 1000);
    assert_int_equal(x.up->started, 2);
    assert_true(fake_upstream_finish(x.up, "slow"));
    fixture_advance(&x, 1000);
    assert_int_equal(fake_bus_count(x.bus, OUTPUTS), 1);
    fixture_close(&x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(outside_records_are_run_by_the_owner_of_their_number_and_by_nobody_else),
        cmocka_unit_test(another_process_s_request_is_ended_when_its_time_and_the_grace_are_over),
        cmocka_unit_test(a_process_that_drains_leaves_overdue_requests_to_the_next_owner),
        cmocka_unit_test(another_process_s_request_that_has_its_outcome_is_left_alone),
        cmocka_unit_test(too_many_requests_of_others_hold_up_the_partition_until_they_are_answered),
        cmocka_unit_test(what_another_process_admitted_for_nobody_is_run_at_once),
        cmocka_unit_test(a_number_is_given_up_when_what_was_submitted_has_come_back),
        cmocka_unit_test(a_number_that_is_lost_is_not_given_and_its_new_owner_runs_what_comes),
        cmocka_unit_test(requests_go_to_partitions_that_are_owned),
        cmocka_unit_test(a_callers_request_goes_on_when_its_number_is_given_up),
        cmocka_unit_test(what_a_deleted_one_left_is_cleared_away_by_the_owner_of_number_0),
        cmocka_unit_test(an_input_in_doubt_that_was_made_of_another_pipelines_record_is_run_once),
        cmocka_unit_test(a_process_that_wakes_up_after_the_deadline_leaves_the_outcome_to_the_owner),
    };

    return cmocka_run_group_tests_name("flow/owners", tests, NULL, NULL);
}
