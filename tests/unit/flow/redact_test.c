/* flow.redact and the header deny list: what must not be in the log is in no record of any topic. SPDX-License-Identifier: Apache-2.0 */
#include "test.h"
#include "oip/pb.h"
#include "oip/proto.h"
#include "support/flow_fixture.h"

#define TOPIC(s) "seldon.default." s
#define INPUTS   TOPIC("pipeline.p.inputs")
#define OUTPUTS  TOPIC("pipeline.p.outputs")

static const struct str secrets[] = {{"SECRET", 6}, {"token", 5}};
static const struct header caller[] = {{{"authorization", 13}, {"Bearer hunter2", 14}}, {{"x-api-key", 9}, {"hunter2", 7}},
                                       {{"x-who", 5}, {"me", 2}}};

static void open(struct fixture *x, const char *line)
{
    fixture_options(x);
    x->o.redact = secrets;
    x->o.redact_n = countof(secrets);
    fixture_open(x);
    APPLY(x, line);
    fixture_settle(x);
}

/* A request with the tensors of `text` and "hunter2" as a parameter of the message and of every tensor. */
static void with_token(struct buf *b, const char *text)
{
    AUTO(buf_fini) struct buf plain = {0};
    struct infer_param token = {.kind = INFER_PARAM_STR, .s = STR("hunter2")}, other = {.kind = INFER_PARAM_BOOL, .b = true};
    struct pb_reader r;

    message_write(&plain, text);
    infer_put_param(b, 4, STR("token"), &token);
    infer_put_param(b, 4, STR("kept"), &other);
    r = pb_reader_of(buf_view(&plain));
    for (struct pb_field f; pb_next(&r, &f);) {
        size_t at;

        if (f.number != 5) {
            buf_append(b, f.whole);
            continue;
        }
        at = pb_begin(b, 5);
        buf_append(b, f.bytes);
        infer_put_param(b, 4, STR("token"), &token);
        pb_end(b, at);
    }
}

static struct asked *ask(struct fixture *x, const char *text)
{
    AUTO(buf_fini) struct buf message = {0};
    struct asked *a;

    with_token(&message, text);
    a = xnew(struct asked);
    a->message = buf_take(&message);
    a->q = (struct flow_request){.name = STR("p"), .message = buf_view(&a->message), .headers = caller, .headers_n = countof(caller),
                                 .request_id = STR("id-1"), .deadline_ms = clock_mono_ms(&x->clock.clock) + 10000, .done = fixture_done};
    flow_start(x->flow, &a->q);
    fixture_settle(x);
    return a;
}

static bool holds(struct bytes b, struct bytes what)
{
    return b.n >= what.n && memmem(b.p, b.n, what.p, what.n) != NULL;
}

/* In how many records of all topics, keys and headers included. */
static size_t records_with(const struct fixture *x, struct bytes what)
{
    size_t n = 0;

    for (size_t t = 0; t < x->bus->topics_n; t++)
        for (int32_t p = 0; p < x->bus->topics[t]->partitions_n; p++)
            for (size_t i = 0; i < x->bus->topics[t]->partitions[p].n; i++) {
                const struct fake_record *r = &x->bus->topics[t]->partitions[p].records[i];
                bool found = holds(buf_view(&r->value), what) || holds(buf_view(&r->key), what);

                for (size_t h = 0; h < r->headers_n; h++)
                    found |= holds(buf_view(&r->headers[h].key), what) || holds(buf_view(&r->headers[h].value), what);
                n += found;
            }
    return n;
}

static size_t records_with_float(const struct fixture *x, float v)
{
    return records_with(x, bytes_of(&v, sizeof v));
}

static void in_no_topic_of_a_chain_is_what_is_redacted_and_models_and_callers_get_it(void **state)
{
    static const char *const forms[] = {"SECRET=123457;INPUT=77", "SECRET=r123457;INPUT=r77", "INPUT=77;SECRET=r123457"};

    (void)state;
    for (size_t i = 0; i < countof(forms); i++) {
        struct fixture x;
        struct asked *a;

        open(&x, "p: echo; echo-b < echo; out < echo-b");
        a = ask(&x, forms[i]);
        assert_non_null(strstr(asked_text(a), "SECRET=123457"));
        asked_free(a);
        assert_int_equal(fake_bus_count(x.bus, TOPIC("model.echo-b.outputs")), 1);
        assert_int_equal(records_with_float(&x, 123457.0f), 0);
        assert_int_equal(records_with(&x, bytes_of("hunter2", 7)), 0);
        assert_int_equal(records_with_float(&x, 77), 6);
        assert_string_equal(message_text(buf_view(&fake_bus_record(x.bus, OUTPUTS, 0, 0)->value)), "INPUT=77");
        assert_str(fake_record_header(fake_bus_record(x.bus, INPUTS, 0, 0), "millrace-redacted"), "SECRET,token");
        assert_int_equal(records_with(&x, bytes_of("kept", 4)) > 0, 1);
        assert_int_equal(records_with(&x, bytes_of("x-who", 5)), 6);
        fixture_close(&x);
    }
}

/* Hidden under every name it has on its way; the caller gets it all the same. */
static void all_names_are_left_out(const char *graph)
{
    struct fixture x;
    struct asked *a;

    open(&x, graph);
    a = ask(&x, "SECRET=123457;INPUT=77");
    assert_string_equal(asked_text(a), "B=123457;INPUT=77");
    asked_free(a);
    assert_int_equal(records_with_float(&x, 77), 6);
    assert_int_equal(records_with_float(&x, 123457.0f), 0);
    fixture_close(&x);
}

static void a_tensor_is_the_same_under_the_other_name_a_tensor_map_gives_it(void **state)
{
    (void)state;
    all_names_are_left_out("p: echo map=p.inputs.SECRET:A; echo-b < echo map=echo.outputs.A:B; out < echo-b");
}

static void however_the_steps_are_ordered_all_names_of_a_tensor_are_left_out(void **state)
{
    (void)state;
    all_names_are_left_out("p: echo-b < echo map=echo.outputs.A:B; echo map=p.inputs.SECRET:A; out < echo-b");
}

static void an_error_and_a_batch_and_a_model_called_directly_hold_nothing_of_it_either(void **state)
{
    struct fixture x;
    struct asked *a, *b, *c;

    (void)state;
    open(&x, "p: echo; error < echo; out < error");
    asked_free(ask(&x, "SECRET=123457;INPUT=77"));
    assert_int_equal(fake_bus_count(x.bus, TOPIC("errors.errors")), 1);
    assert_int_equal(fake_bus_count(x.bus, OUTPUTS), 1);
    a = fixture_ask_model(&x, "echo", "SECRET=123457;INPUT=77");
    fixture_settle(&x);
    assert_string_equal(asked_text(a), "SECRET=123457;INPUT=77");
    asked_free(a);
    assert_int_equal(records_with_float(&x, 123457.0f), 0);
    assert_int_equal(records_with(&x, bytes_of("hunter2", 7)), 0);
    fixture_close(&x);

    open(&x, "p: echo batch=2 bwindow=50; out < echo");
    x.up->hold = true;
    a = ask(&x, "SECRET=123457;INPUT=77");
    b = ask(&x, "SECRET=123457;INPUT=77");
    c = ask(&x, "SECRET=123457;INPUT=77");
    x.up->hold = false;
    for (int i = 0; i < 4; i++) {
        fake_upstream_finish(x.up, "echo");
        fixture_settle(&x);
    }
    assert_true(a->done && b->done && c->done);
    asked_free(a);
    asked_free(b);
    asked_free(c);
    assert_true(fake_bus_count(x.bus, TOPIC("model.echo.outputs")) > 0);
    assert_int_equal(records_with_float(&x, 123457.0f), 0);
    assert_int_equal(records_with(&x, bytes_of("hunter2", 7)), 0);
    fixture_close(&x);
}

static void an_input_that_lacks_something_is_not_run_again_but_ended(void **state)
{
    struct fixture x;
    struct asked *a;
    const struct fake_record *r;

    (void)state;
    open(&x, "p: hang; out < hang");
    a = ask(&x, "SECRET=123457;INPUT=77");
    fixture_reopen(&x, "2");
    asked_free(a);
    APPLY(&x, "p: hang; out < hang");
    fixture_settle(&x);
    assert_int_equal(x.up->calls_n, 0);
    r = fake_bus_record(x.bus, OUTPUTS, 0, 0);
    assert_non_null(r);
    assert_str(buf_str(&r->value),
                        "it cannot be run again: SECRET,token was left out of its record (flow.redact)");
    fixture_close(&x);
}

static void an_answer_that_is_not_kept_whole_is_not_given_again(void **state)
{
    struct fixture x;
    struct asked *a;

    (void)state;
    open(&x, "p: echo; out < echo");
    for (int i = 0; i < 2; i++) {
        a = fixture_ask_key(&x, "p", "SECRET=123457;INPUT=77", "k");
        fixture_settle(&x);
        assert_int_equal(a->q.err.rc, i ? RC_EXISTS : RC_OK);
        assert_int_equal(a->q.response.n > 0, !i);
        asked_free(a);
    }
    fixture_close(&x);
}

static void what_others_wrote_is_not_written_on(void **state)
{
    struct fixture x;
    AUTO(buf_fini) struct buf value = {0};
    struct bus_header h[] = {{STR("x-api-key"), bytes_of("hunter2", 7)}, {STR("x-who"), bytes_of("me", 2)}};
    struct bus_record r = {.timestamp_ms = -1, .headers = h, .headers_n = countof(h)};

    (void)state;
    open(&x, "p: echo; out < echo");
    message_write(&value, "SECRET=123457;INPUT=77");
    r.value = buf_view(&value);
    fake_bus_produce(x.bus, INPUTS, 0, &r);
    r.value = bytes_of("{\"inputs\": [{\"name\": \"SECRET\", \"data\": [hunter2]}]}", 51);
    r.headers_n = 0;
    fake_bus_produce(x.bus, TOPIC("model.echo.inputs"), 0, &r);
    r.value = bytes_of("hunter2 as plain text", 21);
    fake_bus_produce(x.bus, INPUTS, 0, &r);
    fixture_settle(&x);
    assert_int_equal(fake_bus_count(x.bus, OUTPUTS), 2);
    assert_true(fake_bus_count(x.bus, TOPIC("errors.errors")) >= 2);
    assert_int_equal(records_with_float(&x, 123457.0f), 1);        /* the outside producer's own */
    assert_int_equal(records_with(&x, bytes_of("hunter2", 7)), 3);
    fixture_close(&x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(in_no_topic_of_a_chain_is_what_is_redacted_and_models_and_callers_get_it),
        cmocka_unit_test(a_tensor_is_the_same_under_the_other_name_a_tensor_map_gives_it),
        cmocka_unit_test(however_the_steps_are_ordered_all_names_of_a_tensor_are_left_out),
        cmocka_unit_test(an_error_and_a_batch_and_a_model_called_directly_hold_nothing_of_it_either),
        cmocka_unit_test(an_input_that_lacks_something_is_not_run_again_but_ended),
        cmocka_unit_test(an_answer_that_is_not_kept_whole_is_not_given_again),
        cmocka_unit_test(what_others_wrote_is_not_written_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
