/* Outside records, committed offsets, and what a start finishes. SPDX-License-Identifier: Apache-2.0 */
#include "test.h"
#include "support/flow_fixture.h"

#define TOPIC(s) "seldon.default." s
#define INPUTS   TOPIC("pipeline.p.inputs")
#define OUTPUTS  TOPIC("pipeline.p.outputs")
#define GROUP    "seldon-default-flow-p"

static void produce(struct fixture *x, const char *topic, int32_t partition, const char *key, const char *message)
{
    AUTO(buf_fini) struct buf value = {0};
    struct bus_header h = {STR("x-who"), bytes_of("outside", 7)};
    struct bus_record r = {.timestamp_ms = -1, .headers = &h, .headers_n = 1};

    message_write(&value, message);
    if (key) r.key = str_bytes(str_of(key));
    r.value = buf_view(&value);
    fake_bus_produce(x->bus, topic, partition, &r);
}

static void produce_bytes(struct fixture *x, const char *topic, struct bytes value)
{
    struct bus_record r = {.timestamp_ms = -1, .key = str_bytes(STR("k")), .value = value};

    fake_bus_produce(x->bus, topic, 0, &r);
}

static const char *output(struct fixture *x, size_t i)
{
    const struct fake_record *r = fake_bus_record(x->bus, OUTPUTS, 0, i);

    assert_non_null(r);
    return message_text(buf_view(&r->value));
}

static struct str outcome_header(struct fixture *x, size_t i, const char *name)
{
    return fake_record_header(fake_bus_record(x->bus, OUTPUTS, 0, i), name);
}

static void a_record_of_another_producer_is_run_and_answered_in_the_log(void **state)
{
    struct fixture x;
    const struct fake_record *r;

    (void)state;
    fixture_start(&x, NULL);
    APPLY(&x, "p: mul10; out < mul10");
    fixture_settle(&x);
    produce(&x, INPUTS, 0, "whatever", "INPUT=1,2");
    produce(&x, INPUTS, 0, NULL, "INPUT=3");
    fixture_settle(&x);
    assert_int_equal(fake_bus_count(x.bus, OUTPUTS), 2);
    assert_string_equal(output(&x, 0), "OUTPUT=10,20");
    assert_string_equal(output(&x, 1), "OUTPUT=30");
    r = fake_bus_record(x.bus, OUTPUTS, 0, 0);
    assert_str(buf_str(&r->key), "whatever");
    assert_str(fake_record_header(r, "x-who"), "outside");
    assert_true(str_ends(fake_record_header(r, "millrace-run"), STR("/0/0/1")));
    assert_true(fake_bus_record(x.bus, OUTPUTS, 0, 1)->key_null);
    assert_int_equal(fake_bus_count(x.bus, TOPIC("model.mul10.outputs")), 2);
    fixture_close(&x);
}

static void poison_ends_in_an_error_record_and_the_next_record_is_run(void **state)
{
    struct fixture x;

    (void)state;
    fixture_start(&x, NULL);
    APPLY(&x, "p: mul10; out < mul10");
    fixture_settle(&x);
    produce_bytes(&x, INPUTS, bytes_of("\xff\xff\xff", 3));
    produce_bytes(&x, INPUTS, (struct bytes){0});
    produce(&x, INPUTS, 0, "k", "INPUT=1");
    fixture_settle(&x);
    assert_int_equal(fake_bus_count(x.bus, OUTPUTS), 3);
    assert_str(outcome_header(&x, 0, "seldon-pipeline-errors"), "p");
    assert_str(outcome_header(&x, 1, "millrace-error"), "invalid/0/0");
    assert_string_equal(output(&x, 2), "OUTPUT=10");
    assert_int_equal(fake_bus_count(x.bus, TOPIC("errors.errors")), 2);
    fixture_close(&x);
}

static void a_json_record_for_a_pipeline_is_told_what_is_expected(void **state)
{
    struct fixture x;

    (void)state;
    fixture_start(&x, NULL);
    APPLY(&x, "p: mul10; out < mul10");
    fixture_settle(&x);
    produce_bytes(&x, INPUTS, str_bytes(STR("{\"inputs\":[]}")));
    fixture_settle(&x);
    assert_true(str_starts(buf_str(&fake_bus_record(x.bus, OUTPUTS, 0, 0)->value),
                           STR("poison: a protobuf inference.ModelInferRequest is expected here, the record holds JSON, "
                               "13 bytes beginning with {\"inputs\":[]}: ")));
    fixture_close(&x);
}

static void a_record_that_names_another_pipeline_only_is_left_alone(void **state)
{
    struct fixture x;
    struct bus_header h = {STR("pipeline"), bytes_of("q", 1)};
    struct bus_record r = {.timestamp_ms = -1, .value = bytes_of("\xff", 1), .headers = &h, .headers_n = 1};

    (void)state;
    fixture_start(&x, NULL);
    APPLY(&x, "p: mul10; out < mul10");
    fixture_settle(&x);
    fake_bus_produce(x.bus, INPUTS, 0, &r);
    fixture_settle(&x);
    assert_int_equal(fake_bus_count(x.bus, OUTPUTS), 0);
    fixture_close(&x);
}

static void a_record_for_a_model_is_run_and_its_error_goes_to_the_errors_topic(void **state)
{
    struct fixture x;

    (void)state;
    fixture_start(&x, NULL);
    fixture_apply(&x, NULL, (const char *const[]){"mul10", "error", NULL});
    fixture_settle(&x);
    produce(&x, TOPIC("model.mul10.inputs"), 0, "a", "INPUT=1");
    produce(&x, TOPIC("model.error.inputs"), 0, "b", "INPUT=1");
    fixture_settle(&x);
    assert_int_equal(fake_bus_count(x.bus, TOPIC("model.mul10.outputs")), 1);
    assert_int_equal(fake_bus_count(x.bus, TOPIC("model.error.outputs")), 0);
    assert_int_equal(fake_bus_count(x.bus, TOPIC("errors.errors")), 1);
    fixture_close(&x);
}

static void produce_typed(struct fixture *x, const char *type, struct bytes value)
{
    struct bus_header h = {STR("seldon-infer-type"), str_bytes(str_of(type))};
    struct bus_record r = {.timestamp_ms = -1, .key = str_bytes(STR("k")), .value = value, .headers = &h, .headers_n = type ? 1 : 0};

    fake_bus_produce(x->bus, TOPIC("model.mul10.inputs"), 0, &r);
    fixture_settle(x);
}

static void a_models_topic_takes_every_form_of_the_original(void **state)
{
    static const char request[] = "{\"inputs\":[{\"name\":\"INPUT\",\"shape\":[2],\"datatype\":\"FP32\",\"data\":[1,2]}]}";
    static const char response[] = " {\"outputs\":[{\"name\":\"O\",\"shape\":[2],\"datatype\":\"FP32\",\"data\":[1,2]}]}";
    static const char answer[] =
        "{\"model_name\":\"mul10\",\"model_version\":\"1\",\"outputs\":[{\"data\":[10,20],\"name\":\"OUTPUT\",\"shape\":[2],\"datatype\":\"FP32\"}]}";
    static const uint8_t raw_response[] = {0x2a, 0x0c, 0x0a, 0x01, 'O', 0x12, 0x04, 'F', 'P', '3', '2', 0x1a, 0x01, 0x02,
                                           0x32, 0x08, 0, 0, 0x80, 0x3f, 0, 0, 0, 0x40};
    static const struct { const char *type; struct bytes value; bool json; } cases[] = {
        {NULL, {(const uint8_t *)request, sizeof request - 1}, true},
        {NULL, {(const uint8_t *)response, sizeof response - 1}, true},
        {"json/inferModelRequest", {(const uint8_t *)request, sizeof request - 1}, true},
        {"json/inferModelResponse", {(const uint8_t *)response, sizeof response - 1}, true},
        {NULL, {raw_response, sizeof raw_response}, false},
        {"proto/InferModelResponse", {raw_response, sizeof raw_response}, false},
        {"proto/InferModelRequest", {raw_response, sizeof raw_response}, false},
    };
    struct fixture x;

    (void)state;
    fixture_start(&x, NULL);
    fixture_apply(&x, NULL, (const char *const[]){"mul10", NULL});
    fixture_settle(&x);
    for (size_t i = 0; i < countof(cases); i++) {
        const struct fake_record *r;

        produce_typed(&x, cases[i].type, cases[i].value);
        r = fake_bus_record(x.bus, TOPIC("model.mul10.outputs"), 0, i);
        assert_non_null(r);
        if (cases[i].json) assert_str(buf_str(&r->value), answer);
        else assert_string_equal(message_text(buf_view(&r->value)), "OUTPUT=10,20");
    }
    produce_typed(&x, "foo", bytes_of(request, sizeof request - 1));
    produce_typed(&x, NULL, bytes_of("\xff\xff", 2));
    assert_int_equal(fake_bus_count(x.bus, TOPIC("errors.errors")), 2);
    fixture_close(&x);
}

static void what_was_there_before_the_first_apply_is_not_run(void **state)
{
    struct fixture x;

    (void)state;
    fixture_start(&x, NULL);
    produce(&x, INPUTS, 0, "early", "INPUT=1");
    APPLY(&x, "p: mul10; out < mul10");
    fixture_settle(&x);
    assert_int_equal(fake_bus_count(x.bus, OUTPUTS), 0);
    assert_int_equal(fake_bus_committed(x.bus, GROUP, INPUTS, 0), 1);
    fixture_close(&x);
}

/* Three records were run; then the committed offset is one that the topic does not have. */
static void lose_the_offset(struct fixture *x, enum flow_reset reset)
{
    fixture_options(x);
    x->o.offset_reset = reset;
    fixture_open(x);
    APPLY(x, "p: mul10; out < mul10");
    fixture_settle(x);
    for (int i = 0; i < 3; i++) produce(x, INPUTS, 0, "k", "INPUT=1");
    fixture_advance(x, 2000);
    assert_int_equal(fake_bus_committed(x->bus, GROUP, INPUTS, 0), 3);
    assert_int_equal(fake_bus_count(x->bus, OUTPUTS), 3);
    fixture_reopen(x, "2");
    for (size_t i = 0; i < x->bus->offsets_n; i++)
        if (str_is(buf_str(&x->bus->offsets[i].group), GROUP)) x->bus->offsets[i].offset = 50;
    APPLY(x, "p: mul10; out < mul10");
    fixture_settle(x);
}

static void a_topic_that_is_shorter_than_what_was_read_is_another_one_and_read_from_its_start(void **state)
{
    struct fixture x;

    (void)state;
    lose_the_offset(&x, FLOW_RESET_EARLIEST);
    assert_int_equal(fake_bus_count(x.bus, OUTPUTS), 6);
    fixture_advance(&x, 2000);
    assert_int_equal(fake_bus_committed(x.bus, GROUP, INPUTS, 0), 3);
    fixture_close(&x);
}

static void a_lost_offset_is_given_up_for_the_end_when_that_is_wanted(void **state)
{
    struct fixture x;

    (void)state;
    lose_the_offset(&x, FLOW_RESET_LATEST);
    assert_int_equal(fake_bus_count(x.bus, OUTPUTS), 3);
    produce(&x, INPUTS, 0, "k", "INPUT=1");
    fixture_advance(&x, 2000);
    assert_int_equal(fake_bus_count(x.bus, OUTPUTS), 4);
    assert_int_equal(fake_bus_committed(x.bus, GROUP, INPUTS, 0), 4);
    fixture_close(&x);
}

static void a_lost_offset_keeps_a_pipeline_from_being_ready_when_that_is_wanted(void **state)
{
    struct fixture x;
    struct asked *a;

    (void)state;
    lose_the_offset(&x, FLOW_RESET_NONE);
    a = fixture_ask(&x, "p", "INPUT=1");
    fixture_settle(&x);
    assert_true(a->done);
    assert_int_equal(a->q.err.rc, RC_UNAVAILABLE);
    assert_non_null(strstr(a->q.err.text, "autoOffsetReset is none"));
    assert_int_equal(fake_bus_count(x.bus, OUTPUTS), 3);
    asked_free(a);
    fixture_close(&x);
}

static void the_commit_stays_at_the_oldest_unfinished_input(void **state)
{
    struct fixture x;
    struct asked *a, *b;

    (void)state;
    fixture_start(&x, NULL);
    APPLY(&x, "p: slow; out < slow");
    fixture_settle(&x);
    a = fixture_ask(&x, "p", "INPUT=1");
    b = fixture_ask(&x, "p", "INPUT=2");
    produce(&x, INPUTS, 0, "k", "INPUT=3");
    fixture_settle(&x);
    assert_true(fake_upstream_finish(x.up, "slow"));
    fixture_advance(&x, 1000);
    assert_true(a->done);
    assert_false(b->done);
    assert_int_equal(fake_bus_committed(x.bus, GROUP, INPUTS, 0), 1);
    assert_true(fake_upstream_finish(x.up, "slow"));
    assert_true(fake_upstream_finish(x.up, "slow"));
    fixture_advance(&x, 1000);
    assert_int_equal(fake_bus_committed(x.bus, GROUP, INPUTS, 0), 3);
    asked_free(a);
    asked_free(b);
    fixture_close(&x);
}

/* Two requests, the first finished; then the process is gone without a word. */
static void crash_with_one_unfinished(struct fixture *x, const char *line, uint64_t down_ms)
{
    struct asked *a, *b;

    APPLY(x, line);
    fixture_settle(x);
    a = fixture_ask(x, "p", "INPUT=1");
    b = fixture_ask(x, "p", "INPUT=2");
    fixture_settle(x);
    assert_true(fake_upstream_finish(x->up, "slow"));
    fixture_settle(x);
    assert_true(a->done);
    fixture_reopen(x, "2");
    assert_true(b->done);
    asked_free(a);
    asked_free(b);
    clock_sim_advance(&x->clock, down_ms * 1000);
    APPLY(x, line);
    fixture_settle(x);
}

static void an_input_without_outcome_is_run_again_after_a_crash_and_only_that(void **state)
{
    struct fixture x;

    (void)state;
    fixture_start(&x, NULL);
    crash_with_one_unfinished(&x, "p: slow; out < slow", 2000);
    assert_int_equal(fake_bus_count(x.bus, OUTPUTS), 1);
    assert_true(fake_upstream_finish(x.up, "slow"));
    fixture_settle(&x);
    assert_false(fake_upstream_finish(x.up, "slow"));
    assert_int_equal(fake_bus_count(x.bus, OUTPUTS), 2);
    assert_string_equal(output(&x, 1), "INPUT=2");
    assert_true(str_starts(outcome_header(&x, 1, "millrace-run"), STR("fake-cluster/")));
    fixture_close(&x);
}

static void a_rerun_uses_the_version_it_was_admitted_on(void **state)
{
    struct fixture x;
    struct asked *a;

    (void)state;
    fixture_start(&x, NULL);
    APPLY(&x, "p: slow; out < slow");
    fixture_settle(&x);
    a = fixture_ask(&x, "p", "INPUT=2");
    fixture_settle(&x);
    assert_str(fake_record_header(fake_bus_record(x.bus, INPUTS, 0, 0), "millrace-version"), "1");
    assert_int_equal(fake_bus_count(x.bus, TOPIC("model.mul10.inputs")), 0);
    fixture_reopen(&x, "2");
    asked_free(a);
    x.older = "p: slow; out < slow";
    APPLY(&x, "p: slow; mul10 < slow; out < mul10");
    fixture_settle(&x);
    assert_true(fake_upstream_finish(x.up, "slow"));
    fixture_settle(&x);
    assert_int_equal(fake_bus_count(x.bus, OUTPUTS), 1);
    assert_string_equal(output(&x, 0), "INPUT=2");
    assert_str(outcome_header(&x, 0, "x-pipeline-version"), "1");
    assert_int_equal(fake_bus_count(x.bus, TOPIC("model.mul10.inputs")), 0);
    a = fixture_ask(&x, "p", "INPUT=3");
    fixture_settle(&x);
    assert_true(fake_upstream_finish(x.up, "slow"));
    fixture_settle(&x);
    assert_str(fake_record_header(fake_bus_record(x.bus, INPUTS, 0, 1), "millrace-version"), "2");
    assert_int_equal(fake_bus_count(x.bus, TOPIC("model.mul10.inputs")), 1);
    asked_free(a);
    fixture_close(&x);
}

static void a_rerun_whose_version_is_gone_uses_the_newest(void **state)
{
    struct fixture x;
    struct asked *a;

    (void)state;
    fixture_start(&x, NULL);
    APPLY(&x, "p: slow; out < slow");
    fixture_settle(&x);
    a = fixture_ask(&x, "p", "INPUT=2");
    fixture_settle(&x);
    fixture_reopen(&x, "2");
    asked_free(a);
    x.older = "q: slow; out < slow";
    APPLY(&x, "p: mul10; out < mul10");
    fixture_settle(&x);
    assert_string_equal(output(&x, 0), "OUTPUT=20");
    assert_str(outcome_header(&x, 0, "x-pipeline-version"), "2");
    fixture_close(&x);
}

static void a_rerun_carries_the_next_attempt_number(void **state)
{
    struct fixture x;
    struct str id, part = {0};

    (void)state;
    fixture_start(&x, NULL);
    crash_with_one_unfinished(&x, "p: slow; out < slow", 0);
    fake_upstream_finish(x.up, "slow");
    fixture_settle(&x);
    id = outcome_header(&x, 1, "millrace-run");
    for (int i = 0; i < 5; i++)
        str_cut(id, '/', &part, &id);
    assert_str(part, "2");
    fixture_close(&x);
}

static void a_caller_whose_deadline_passed_meanwhile_gets_an_error_record(void **state)
{
    struct fixture x;

    (void)state;
    fixture_start(&x, NULL);
    crash_with_one_unfinished(&x, "p: slow; out < slow", 60000);
    assert_int_equal(x.up->started, 0);
    assert_int_equal(fake_bus_count(x.bus, OUTPUTS), 2);
    assert_str(outcome_header(&x, 1, "millrace-error"), "timeout/0/0");
    fixture_close(&x);
}

static void inputs_of_another_day_expire(void **state)
{
    struct fixture x;

    (void)state;
    fixture_start(&x, NULL);
    APPLY(&x, "p: slow; out < slow");
    fixture_settle(&x);
    produce(&x, INPUTS, 0, "k", "INPUT=1");
    fixture_settle(&x);
    fixture_reopen(&x, "2");
    clock_sim_advance(&x.clock, 25ull * 3600 * 1000 * 1000);
    APPLY(&x, "p: slow; out < slow");
    fixture_settle(&x);
    assert_int_equal(x.up->started, 0);
    assert_true(str_starts(buf_str(&fake_bus_record(x.bus, OUTPUTS, 0, 0)->value), STR("expired: ")));
    fixture_close(&x);
}

static void an_outside_record_is_run_again_whatever_time_has_passed_within_the_day(void **state)
{
    struct fixture x;

    (void)state;
    fixture_start(&x, NULL);
    APPLY(&x, "p: slow; out < slow");
    fixture_settle(&x);
    produce(&x, INPUTS, 0, "k", "INPUT=7");
    fixture_settle(&x);
    fixture_reopen(&x, "2");
    clock_sim_advance(&x.clock, 3600ull * 1000 * 1000);
    APPLY(&x, "p: slow; out < slow");
    fixture_settle(&x);
    assert_true(fake_upstream_finish(x.up, "slow"));
    fixture_settle(&x);
    assert_string_equal(output(&x, 0), "INPUT=7");
    fixture_advance(&x, 1000);
    fixture_reopen(&x, "3");
    APPLY(&x, "p: slow; out < slow");
    fixture_settle(&x);
    assert_int_equal(fake_bus_count(x.bus, OUTPUTS), 1);
    fixture_close(&x);
}

static void a_copy_of_our_input_written_by_somebody_else_is_an_outside_record(void **state)
{
    struct fixture x;
    struct asked *a;
    const struct fake_record *in;
    struct bus_header h;
    struct bus_record copy = {.timestamp_ms = -1, .headers = &h, .headers_n = 1};

    (void)state;
    fixture_start(&x, NULL);
    APPLY(&x, "p: mul10; out < mul10");
    a = fixture_ask(&x, "p", "INPUT=1");
    fixture_settle(&x);
    in = fake_bus_record(x.bus, INPUTS, 0, 0);
    h = (struct bus_header){STR("millrace-run"), str_bytes(fake_record_header(in, "millrace-run"))};
    copy.value = buf_view(&in->value);
    x.up->hold = true;
    fake_bus_produce(x.bus, INPUTS, 0, &copy);
    fixture_settle(&x);
    fixture_reopen(&x, "2");
    APPLY(&x, "p: mul10; out < mul10");
    fixture_settle(&x);
    assert_int_equal(fake_bus_count(x.bus, OUTPUTS), 2);
    assert_true(str_ends(outcome_header(&x, 1, "millrace-run"), STR("/0/1/2")));
    asked_free(a);
    fixture_close(&x);
}

static void hops_in_a_models_topic_are_not_run_by_a_later_start(void **state)
{
    struct fixture x;
    struct asked *a;

    (void)state;
    fixture_start(&x, NULL);
    APPLY(&x, "p: mul10; out < mul10");
    a = fixture_ask(&x, "p", "INPUT=1");
    fixture_settle(&x);
    asked_free(a);
    fixture_reopen(&x, "2");
    APPLY(&x, "p: mul10; out < mul10");
    fixture_settle(&x);
    assert_int_equal(x.up->started, 0);
    assert_int_equal(fake_bus_count(x.bus, TOPIC("model.mul10.outputs")), 1);
    fixture_close(&x);
}

static void a_pipeline_without_output_accepts_and_runs_once_its_input_is_in_the_log(void **state)
{
    struct fixture x;
    struct asked *a;

    (void)state;
    fixture_start(&x, NULL);
    APPLY(&x, "p: mul10; error");
    fixture_settle(&x);
    x.bus->hold = true;
    a = fixture_ask(&x, "p", "INPUT=1");
    fixture_settle(&x);
    assert_false(a->done);
    assert_int_equal(x.up->started, 0);
    fake_bus_release(x.bus);
    fixture_settle(&x);
    assert_string_equal(asked_text(a), "accepted");
    assert_int_equal(fake_bus_count(x.bus, TOPIC("model.mul10.outputs")), 1);
    assert_int_equal(fake_bus_count(x.bus, TOPIC("errors.errors")), 1);
    assert_int_equal(fake_bus_count(x.bus, OUTPUTS), 1);
    fixture_advance(&x, 1000);
    assert_int_equal(fake_bus_committed(x.bus, GROUP, INPUTS, 0), 1);
    asked_free(a);
    fixture_close(&x);
}

static void a_deadline_while_the_input_is_on_its_way_says_that_nobody_knows(void **state)
{
    struct fixture x;
    struct asked *a;

    (void)state;
    fixture_start(&x, NULL);
    APPLY(&x, "p: mul10");
    fixture_settle(&x);
    x.bus->hold_appends = true;
    a = fixture_ask(&x, "p", "INPUT=1");
    fixture_advance(&x, 10000);
    assert_non_null(strstr(asked_text(a), "timeout: outcome unknown"));
    fake_bus_release(x.bus);
    fixture_settle(&x);
    assert_int_equal(fake_bus_count(x.bus, TOPIC("model.mul10.inputs")), 1);         /* it was admitted, and is run */
    asked_free(a);
    fixture_close(&x);
}

static void deleting_a_pipeline_takes_its_offsets_and_on_request_its_topics(void **state)
{
    struct fixture x;
    struct flow_snapshot *s;

    (void)state;
    fixture_start(&x, NULL);
    APPLY(&x, "p: mul10; out < mul10", "q: mul10; out < mul10");
    fixture_settle(&x);
    assert_int_equal(fake_bus_committed(x.bus, GROUP, INPUTS, 0), 0);
    x.snapshot->pipelines[1]->clean_topics_on_delete = true;
    s = flow_snapshot_new();
    flow_snapshot_seal(s);
    flow_use(x.flow, s);
    flow_snapshot_unref(&s);
    fixture_settle(&x);
    assert_int_equal(fake_bus_committed(x.bus, GROUP, INPUTS, 0), -1);
    assert_non_null(fake_bus_topic(x.bus, INPUTS));
    assert_null(fake_bus_topic(x.bus, TOPIC("pipeline.q.inputs")));
    assert_null(fake_bus_topic(x.bus, TOPIC("pipeline.q.outputs")));
    fixture_close(&x);
}

static enum rc deletes_fail(void *ctx, enum fake_kind kind, struct str topic, struct err *e)
{
    const enum rc *rc = ctx;

    (void)topic;
    return kind == FAKE_DELETE && *rc ? err_set(e, *rc, "not now") : RC_OK;
}

static void what_a_deleted_one_leaves_is_cleared_away_at_last_and_a_successor_waits_and_says_why(void **state)
{
    struct fixture x;
    struct asked *a;
    AUTO(buf_fini) struct buf told = {0};
    enum rc rc = RC_UNAVAILABLE;

    (void)state;
    fixture_options(&x);
    x.o.cleared = fixture_note_cleared;
    x.o.cleared_ctx = &told;
    fixture_open(&x);
    APPLY(&x, "p: mul10; out < mul10");
    fixture_settle(&x);
    x.snapshot->pipelines[0]->clean_topics_on_delete = true;
    x.bus->fail = deletes_fail;
    x.bus->fail_ctx = &rc;
    fixture_use_gone(&x, NULL, 0);
    for (int i = 0; i < 50; i++)
        fixture_advance(&x, 1000);
    assert_non_null(fake_bus_topic(x.bus, INPUTS));
    assert_true(str_starts(buf_str(&told), STR("model mul10;")));
    assert_null(strstr(buf_cstr(&told), "pipeline p"));
    APPLY(&x, "p: mul10; out < mul10");
    fixture_advance(&x, 20000);
    a = fixture_ask(&x, "p", "INPUT=1");
    fixture_settle(&x);
    assert_non_null(strstr(asked_text(a), "what the deleted pipeline of this name left is not cleared away yet"));
    asked_free(a);
    rc = RC_OK;
    fixture_advance(&x, 20000);
    assert_non_null(strstr(buf_cstr(&told), "pipeline p;"));
    a = fixture_ask(&x, "p", "INPUT=1");
    fixture_settle(&x);
    assert_string_equal(asked_text(a), "OUTPUT=10");
    asked_free(a);
    fixture_close(&x);
}

static void topics_stay_until_no_executor_needs_them(void **state)
{
    struct pair p;
    struct asked *a;
    struct flow_snapshot *s;

    (void)state;
    pair_open(&p);
    pair_apply(&p, "p: hang; out < hang");
    p.x.snapshot->pipelines[0]->clean_topics_on_delete = true;
    a = pair_ask(&p, "INPUT=1", NULL);
    pair_settle(&p);
    s = flow_snapshot_new();
    flow_snapshot_seal(s);
    flow_use(p.x.flow, s);
    flow_use(p.flow, s);
    flow_snapshot_unref(&s);
    pair_advance(&p, 1000);
    assert_non_null(fake_bus_topic(p.x.bus, INPUTS));
    fake_upstream_finish(p.up, "hang");
    pair_settle(&p);
    assert_string_equal(asked_text(a), "INPUT=1");
    pair_advance(&p, 1000);
    assert_null(fake_bus_topic(p.x.bus, INPUTS));
    assert_null(fake_bus_topic(p.x.bus, OUTPUTS));
    asked_free(a);
    pair_close(&p);
}

static void what_an_earlier_start_did_not_clear_away_is(void **state)
{
    struct fixture x;
    AUTO(buf_fini) struct buf told = {0};
    struct flow_gone gone[] = {{STR("p"), false, true}, {STR("mul10"), true, false}};
    enum rc rc = RC_DENIED;

    (void)state;
    fixture_start(&x, NULL);
    APPLY(&x, "p: mul10; out < mul10");
    fixture_settle(&x);
    fixture_reopen(&x, "2");
    x.flow = flow_free(x.flow);
    x.o.cleared = fixture_note_cleared;
    x.o.cleared_ctx = &told;
    fixture_settle(&x);
    assert_int_equal(flow_new(x.loop, &x.bus->bus, x.up, &x.o, &x.flow, &(struct err){0}), RC_OK);
    x.bus->fail = deletes_fail;
    x.bus->fail_ctx = &rc;
    fixture_use_gone(&x, gone, countof(gone));
    assert_string_equal(buf_cstr(&told), "model mul10;");        /* refused for good: the next start's */
    assert_non_null(fake_bus_topic(x.bus, INPUTS));
    assert_int_equal(fake_bus_committed(x.bus, GROUP, INPUTS, 0), -1);
    rc = RC_OK;
    fixture_use_gone(&x, gone, 1);
    assert_string_equal(buf_cstr(&told), "model mul10;pipeline p;");
    assert_null(fake_bus_topic(x.bus, INPUTS));
    assert_null(fake_bus_topic(x.bus, OUTPUTS));
    assert_non_null(fake_bus_topic(x.bus, TOPIC("model.mul10.inputs")));
    fixture_close(&x);
}

static enum rc inputs_are_gone_once(void *ctx, enum fake_kind kind, struct str topic, struct err *e)
{
    bool *gone = ctx;

    if (*gone || kind != FAKE_APPEND || !str_is(topic, TOPIC("pipeline.p.inputs"))) return RC_OK;
    *gone = true;
    return err_set(e, RC_NOT_FOUND, "no such topic");
}

/* Nothing of the place is as long as the topic is now, until it was looked at (grow.c). */
static void partitions_that_were_added_are_not_used_before_they_were_looked_at(void **state)
{
    enum { NOW = 64, FIRST = 20 };
    struct fake_topic *t;
    struct fixture x;
    struct asked *a;
    bool gone = false;

    (void)state;
    fixture_start(&x, "p: mul10; out < mul10");
    t = fake_bus_topic(x.bus, TOPIC("pipeline.p.inputs"));
    fake_bus_grow(x.bus, TOPIC("pipeline.p.inputs"), NOW);
    x.bus->fail = inputs_are_gone_once;
    x.bus->fail_ctx = &gone;
    for (int i = 0; i < NOW; i++) {
        a = fixture_ask(&x, "p", "INPUT=1");
        fixture_advance(&x, 100);
        assert_string_equal(asked_text(a), "OUTPUT=10");
        if (i < FIRST) assert_int_equal(a->q.key.p[0], '0');
        asked_free(a);
    }
    assert_true(gone);
    assert_int_equal(fake_bus_count(x.bus, TOPIC("pipeline.p.inputs")), NOW);
    assert_in_range(t->partitions[0].n, FIRST, NOW - FIRST);
    x.bus->fail = NULL;
    fixture_reopen(&x, "second");
    APPLY(&x, "p: mul10; out < mul10");
    fixture_settle(&x);
    a = fixture_ask(&x, "p", "INPUT=1");
    fixture_settle(&x);
    asked_free(a);
    a = fixture_ask(&x, "p", "INPUT=1");
    fixture_settle(&x);
    assert_string_equal(asked_text(a), "OUTPUT=10");
    assert_int_not_equal(a->q.key.p[0], '0');
    asked_free(a);
    fixture_close(&x);
}

static void a_pipeline_deleted_and_applied_again_starts_anew_when_the_old_one_is_cleared(void **state)
{
    struct fixture x;
    struct flow_snapshot *s;
    struct asked *old, *new;

    (void)state;
    fixture_start(&x, NULL);
    APPLY(&x, "p: slow; out < slow");
    fixture_settle(&x);
    old = fixture_ask(&x, "p", "INPUT=1");
    fixture_settle(&x);
    s = flow_snapshot_new();
    flow_snapshot_seal(s);
    flow_use(x.flow, s);
    flow_snapshot_unref(&s);
    APPLY(&x, "p: mul10; out < mul10");
    new = fixture_ask(&x, "p", "INPUT=1");
    fixture_settle(&x);
    assert_false(new->done);                     /* the old run still needs the topics */
    assert_true(fake_upstream_finish(x.up, "slow"));
    fixture_settle(&x);
    assert_string_equal(asked_text(old), "INPUT=1");
    assert_string_equal(asked_text(new), "OUTPUT=10");
    asked_free(old);
    asked_free(new);
    fixture_close(&x);
}

static void records_wait_in_the_log_when_there_is_no_room(void **state)
{
    struct fixture x;

    (void)state;
    fixture_options(&x);
    x.o.runs_max = 4;
    fixture_open(&x);
    APPLY(&x, "p: slow; out < slow");
    fixture_settle(&x);
    for (int i = 0; i < 10; i++)
        produce(&x, INPUTS, 0, "k", "INPUT=1");
    fixture_settle(&x);
    assert_true(x.up->calls_n < 10);
    for (int i = 0; i < 10; i++) {
        assert_true(fake_upstream_finish(x.up, "slow"));
        fixture_settle(&x);
    }
    assert_int_equal(fake_bus_count(x.bus, OUTPUTS), 10);
    fixture_close(&x);
}

static void set_flag(void *ctx)
{
    *(bool *)ctx = true;
}

static void a_drain_commits_and_leaves_outside_records_to_the_next_start(void **state)
{
    struct fixture x;
    bool drained = false;

    (void)state;
    fixture_start(&x, NULL);
    APPLY(&x, "p: echo; slow < p.inputs.S; out < slow");
    fixture_settle(&x);
    produce(&x, INPUTS, 0, "k", "S=1;T=2");
    fixture_settle(&x);
    flow_drain(x.flow, clock_mono_ms(&x.clock.clock) + 100, set_flag, &drained);
    fixture_settle(&x);
    assert_false(drained);
    fixture_advance(&x, 200);
    assert_true(drained);
    assert_int_equal(fake_bus_count(x.bus, OUTPUTS), 0);
    assert_int_equal(fake_bus_committed(x.bus, GROUP, INPUTS, 0), 0);
    fixture_reopen(&x, "2");
    APPLY(&x, "p: echo; slow < p.inputs.S; out < slow");
    fixture_settle(&x);
    assert_true(fake_upstream_finish(x.up, "slow"));
    fixture_settle(&x);
    assert_string_equal(output(&x, 0), "S=1");
    fixture_close(&x);
}

static void a_drain_ends_also_while_offsets_are_still_looked_up(void **state)
{
    (void)state;
    for (int turns = 0; turns < 12; turns++) {   /* wherever the beginning is when the drain comes */
        struct fixture x;
        bool drained = false;

        fixture_start(&x, NULL);
        APPLY(&x, "p: echo; out < echo");
        for (int i = 0; i < turns; i++)
            loop_turn(x.loop, 0);
        flow_drain(x.flow, clock_mono_ms(&x.clock.clock) + 100, set_flag, &drained);
        fixture_settle(&x);
        fixture_advance(&x, 200);
        assert_true(drained);
        fixture_close(&x);
    }
}

/* ---- two executors ---- */

static void the_commit_waits_for_what_the_other_executor_has_not_finished(void **state)
{
    struct pair p;
    struct asked *a, *b;

    (void)state;
    pair_open(&p);
    pair_apply(&p, "p: slow; out < slow");
    a = pair_ask(&p, "INPUT=1", NULL);
    b = fixture_ask(&p.x, "p", "INPUT=2");
    pair_settle(&p);
    assert_true(fake_upstream_finish(p.x.up, "slow"));
    pair_advance(&p, 1000);
    pair_advance(&p, 1000);
    assert_true(b->done);
    assert_int_equal(fake_bus_committed(p.x.bus, GROUP, INPUTS, 0), 0);
    assert_true(fake_upstream_finish(p.up, "slow"));
    for (int i = 0; i < 3; i++)
        pair_advance(&p, 1000);
    assert_string_equal(asked_text(a), "INPUT=1");
    assert_int_equal(fake_bus_committed(p.x.bus, GROUP, INPUTS, 0), 2);
    asked_free(a);
    asked_free(b);
    pair_close(&p);
}

static void what_only_the_other_executor_ran_is_committed_too(void **state)
{
    struct pair p;
    struct asked *a;

    (void)state;
    pair_open(&p);
    pair_apply(&p, "p: mul10; out < mul10");
    a = pair_ask(&p, "INPUT=1", NULL);
    for (int i = 0; i < 4; i++)
        pair_advance(&p, 1000);
    assert_string_equal(asked_text(a), "OUTPUT=10");
    assert_int_equal(fake_bus_committed(p.x.bus, GROUP, INPUTS, 0), 1);
    assert_int_equal(fake_bus_committed(p.x.bus, "seldon-default-flowmodel-mul10", TOPIC("model.mul10.inputs"), 0), 1);
    asked_free(a);
    pair_close(&p);
}

static void executors_may_end_while_they_talk(void **state)
{
    struct pair p;
    struct asked *a;

    (void)state;
    for (int stop = 0; stop < 6; stop++) {
        pair_open(&p);
        pair_apply(&p, "p: mul10; out < mul10");
        a = pair_ask(&p, "INPUT=1", NULL);
        pair_settle(&p);
        clock_sim_advance(&p.x.clock, 1000 * 1000);
        for (int i = 0; i < stop; i++)
            loop_turn(i % 2 ? p.x.loop : p.loop, 0);
        pair_close(&p);
        asked_free(a);
    }
}

static enum rc fail_some(void *ctx, enum fake_kind kind, struct str topic, struct err *e)
{
    unsigned *left = ctx;

    (void)topic;
    if (kind == FAKE_APPEND || *left == 0) return RC_OK;
    (*left)--;
    return err_set(e, RC_UNAVAILABLE, "not now");
}

static void recovery_survives_a_bus_that_fails_at_first(void **state)
{
    (void)state;
    for (unsigned n = 1; n < 20; n++) {
        struct fixture x;
        unsigned left = n;

        fixture_start(&x, NULL);
        APPLY(&x, "p: slow; out < slow");
        fixture_settle(&x);
        produce(&x, INPUTS, 0, "k", "INPUT=7");
        fixture_settle(&x);
        fixture_reopen(&x, "2");
        x.bus->fail = fail_some;
        x.bus->fail_ctx = &left;
        APPLY(&x, "p: slow; out < slow");
        for (int i = 0; i < 60; i++)
            fixture_advance(&x, 200);
        assert_int_equal(left, 0);
        assert_true(fake_upstream_finish(x.up, "slow"));
        fixture_settle(&x);
        assert_int_equal(fake_bus_count(x.bus, OUTPUTS), 1);
        fixture_close(&x);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_record_of_another_producer_is_run_and_answered_in_the_log),
        cmocka_unit_test(poison_ends_in_an_error_record_and_the_next_record_is_run),
        cmocka_unit_test(a_json_record_for_a_pipeline_is_told_what_is_expected),
        cmocka_unit_test(a_record_that_names_another_pipeline_only_is_left_alone),
        cmocka_unit_test(a_record_for_a_model_is_run_and_its_error_goes_to_the_errors_topic),
        cmocka_unit_test(a_models_topic_takes_every_form_of_the_original),
        cmocka_unit_test(what_was_there_before_the_first_apply_is_not_run),
        cmocka_unit_test(a_topic_that_is_shorter_than_what_was_read_is_another_one_and_read_from_its_start),
        cmocka_unit_test(a_lost_offset_is_given_up_for_the_end_when_that_is_wanted),
        cmocka_unit_test(a_lost_offset_keeps_a_pipeline_from_being_ready_when_that_is_wanted),
        cmocka_unit_test(the_commit_stays_at_the_oldest_unfinished_input),
        cmocka_unit_test(an_input_without_outcome_is_run_again_after_a_crash_and_only_that),
        cmocka_unit_test(a_rerun_uses_the_version_it_was_admitted_on),
        cmocka_unit_test(a_rerun_whose_version_is_gone_uses_the_newest),
        cmocka_unit_test(a_rerun_carries_the_next_attempt_number),
        cmocka_unit_test(a_caller_whose_deadline_passed_meanwhile_gets_an_error_record),
        cmocka_unit_test(inputs_of_another_day_expire),
        cmocka_unit_test(an_outside_record_is_run_again_whatever_time_has_passed_within_the_day),
        cmocka_unit_test(a_copy_of_our_input_written_by_somebody_else_is_an_outside_record),
        cmocka_unit_test(hops_in_a_models_topic_are_not_run_by_a_later_start),
        cmocka_unit_test(a_pipeline_without_output_accepts_and_runs_once_its_input_is_in_the_log),
        cmocka_unit_test(a_deadline_while_the_input_is_on_its_way_says_that_nobody_knows),
        cmocka_unit_test(deleting_a_pipeline_takes_its_offsets_and_on_request_its_topics),
        cmocka_unit_test(what_a_deleted_one_leaves_is_cleared_away_at_last_and_a_successor_waits_and_says_why),
        cmocka_unit_test(what_an_earlier_start_did_not_clear_away_is),
        cmocka_unit_test(topics_stay_until_no_executor_needs_them),
        cmocka_unit_test(partitions_that_were_added_are_not_used_before_they_were_looked_at),
        cmocka_unit_test(a_pipeline_deleted_and_applied_again_starts_anew_when_the_old_one_is_cleared),
        cmocka_unit_test(records_wait_in_the_log_when_there_is_no_room),
        cmocka_unit_test(a_drain_commits_and_leaves_outside_records_to_the_next_start),
        cmocka_unit_test(a_drain_ends_also_while_offsets_are_still_looked_up),
        cmocka_unit_test(recovery_survives_a_bus_that_fails_at_first),
        cmocka_unit_test(the_commit_waits_for_what_the_other_executor_has_not_finished),
        cmocka_unit_test(what_only_the_other_executor_ran_is_committed_too),
        cmocka_unit_test(executors_may_end_while_they_talk),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
