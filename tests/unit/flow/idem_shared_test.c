/* Idempotency keys where several processes share one log. The test is the other processes.
 * SPDX-License-Identifier: Apache-2.0 */
#include "test.h"
#include "base/uuid.h"
#include "flow/idem.h"
#include "support/flow_fixture.h"
#include <inttypes.h>
#include <stdio.h>

#define INPUTS  "seldon.default.pipeline.p.inputs"
#define OUTPUTS "seldon.default.pipeline.p.outputs"
enum { GRACE_MS = 500, LOOK_MS = 400, RUN_MAX = 256 };

static void open_at(struct fixture *x, int64_t wall_ms, const char *line)
{
    int32_t number = 0;

    fixture_options(x);
    clock_sim_init(&x->clock, wall_ms);
    x->bus = fake_bus_new();
    fake_bus_share(x->bus);
    x->o.owners = 1;
    x->o.recover_grace_ms = GRACE_MS;
    fixture_open(x);
    fixture_settle(x);
    x->bus->member->taken(x->bus->member, &number, 1);
    APPLY(x, line);
    fixture_advance(x, 100);
}

static void open(struct fixture *x, const char *line)
{
    open_at(x, 1795366907180, line);
}

static void advance(struct fixture *x, int ms)
{
    for (; ms > 0; ms -= 20)
        fixture_advance(x, 20);
}

/* The id of run `number` of another process, which has so long to go; 0: nobody waits for it. */
static const char *other(struct fixture *x, int number, int left_ms)
{
    static char text[RUN_MAX];
    char id[UUID_TEXT_LEN + 1];
    struct uuid u;

    memcpy(u.b, fake_bus_topic(x->bus, INPUTS)->id.b, sizeof u.b);
    uuid_to_text(&u, id);
    snprintf(text, sizeof text, "fake-cluster/%s/other/%d/1/%" PRId64, id, number, left_ms ? clock_wall_ms(&x->clock.clock) + left_ms : 0);
    return text;
}

static void produce(struct fixture *x, const char *topic, int32_t partition, const char *message, const char *run, struct bus_header more)
{
    AUTO(buf_fini) struct buf value = {0};
    struct bus_header h[] = {{STR("millrace-run"), str_bytes(str_of(run))}, more};
    struct bus_record r = {.timestamp_ms = clock_wall_ms(&x->clock.clock), .headers = h, .headers_n = more.key.n ? 2 : 1};

    message_write(&value, message);
    r.value = buf_view(&value);
    fake_bus_produce(x->bus, topic, partition, &r);
}

static void other_input_in(struct fixture *x, int32_t partition, const char *run, const char *message, const char *key, int64_t after)
{
    AUTO(arena_fini) struct arena a = {0};
    AUTO(buf_fini) struct buf value = {0};
    struct idem_claim c = {.key = idem_hash(str_bytes(str_of(key))), .after = after};

    message_write(&value, message);
    c.input = idem_hash(buf_view(&value));
    produce(x, INPUTS, partition, message, run, (struct bus_header){STR(IDEM_HEADER), str_bytes(idem_header_print(&a, &c))});
}

static void other_input(struct fixture *x, const char *run, const char *message, const char *key, int64_t after)
{
    other_input_in(x, 0, run, message, key, after);
}

/* Another process writes an input with a key that it holds to be free; ret_run is its run's id. */
static void other_takes(struct fixture *x, char ret_run[RUN_MAX], int number, const char *message, const char *key)
{
    snprintf(ret_run, RUN_MAX, "%s", other(x, number, 5000));
    other_input(x, ret_run, message, key, -1);
}

static void other_output(struct fixture *x, const char *run, const char *message)
{
    produce(x, OUTPUTS, 0, message, run, (struct bus_header){0});
}

static void other_error(struct fixture *x, const char *run, const char *kind)
{
    produce(x, OUTPUTS, 0, "", run, (struct bus_header){STR("millrace-error"), str_bytes(str_of(kind))});
}

static struct asked *ask(struct fixture *x, const char *message, const char *key)
{
    struct asked *a = fixture_ask_key(x, "p", message, key);

    fixture_settle(x);
    return a;
}

static void answered(struct fixture *x, struct asked *a, const char *text)
{
    fixture_settle(x);
    assert_true(a->done);
    assert_int_equal(a->times, 1);
    assert_string_equal(asked_text(a), text);
    asked_free(a);
}

static struct str header_at(struct fixture *x, size_t i, const char *name)
{
    return fake_record_header(fake_bus_record(x->bus, INPUTS, 0, i), name);
}

static void the_same_key_at_one_process_is_one_input_and_one_run(void **state)
{
    struct fixture x = {0};
    struct asked *a, *b;

    (void)state;
    open(&x, "p: slow; out < slow");
    a = ask(&x, "INPUT=1", "k");
    b = ask(&x, "INPUT=1", "k");
    answered(&x, ask(&x, "INPUT=2", "k"), "exists: the idempotency key was used with another request");
    assert_true(fake_upstream_finish(x.up, "slow"));
    answered(&x, a, "INPUT=1");
    answered(&x, b, "INPUT=1");
    answered(&x, ask(&x, "INPUT=1", "k"), "INPUT=1");
    assert_int_equal(fake_bus_count(x.bus, INPUTS), 1);
    assert_int_equal(x.up->started, 1);
    fixture_close(&x);
}

static void what_another_process_took_is_waited_for_and_answered_with_its_outcome(void **state)
{
    struct fixture x = {0};
    struct asked *a, *b;
    char run[RUN_MAX];

    (void)state;
    open(&x, "p: slow; out < slow");
    answered(&x, (a = ask(&x, "INPUT=5", "first"), fake_upstream_finish(x.up, "slow"), a), "INPUT=5");
    other_takes(&x, run, 7, "INPUT=1", "k");
    a = ask(&x, "INPUT=1", "k");
    b = ask(&x, "INPUT=1", "k");
    answered(&x, ask(&x, "INPUT=2", "k"), "exists: the idempotency key was used with another request");
    advance(&x, LOOK_MS);
    assert_false(a->done);
    other_output(&x, run, "OUTPUT=10");
    advance(&x, LOOK_MS);
    answered(&x, a, "OUTPUT=10");
    answered(&x, b, "OUTPUT=10");
    answered(&x, ask(&x, "INPUT=1", "k"), "OUTPUT=10");
    assert_int_equal(x.up->started, 1);          /* that of the first */
    assert_int_equal(fake_bus_count(x.bus, INPUTS), 2);
    fixture_close(&x);
}

/* Answers of the bus one by one, until our process has asked for all ends and is about to write. */
static struct asked *ask_until_it_writes(struct fixture *x, const char *message, const char *key)
{
    struct asked *a;

    x->bus->hold = true;
    a = ask(x, message, key);
    for (int i = 0; i < 2; i++) {
        fake_bus_release(x->bus);
        x->bus->hold = true;
        fixture_settle(x);
    }
    return a;
}

/* Until its claim is written, and not acknowledged. */
static struct asked *ask_until_it_has_written(struct fixture *x, const char *message, const char *key)
{
    struct asked *a = ask_until_it_writes(x, message, key);

    for (size_t n = fake_bus_count(x->bus, INPUTS); fake_bus_count(x->bus, INPUTS) == n;) {
        assert_true(x->bus->held_n > 0);
        fake_bus_release(x->bus);
        x->bus->hold = true;
        fixture_settle(x);
    }
    return a;
}

static void of_two_that_are_written_at_the_same_moment_the_first_in_the_log_is_the_run(void **state)
{
    struct fixture x = {0};
    struct asked *a, *b;
    char run[RUN_MAX];

    (void)state;
    open(&x, "p: mul10; out < mul10");
    answered(&x, ask(&x, "INPUT=5", "first"), "OUTPUT=50");
    snprintf(run, sizeof run, "%s", other(&x, 7, 5000));
    a = ask_until_it_writes(&x, "INPUT=1", "k");
    b = ask(&x, "INPUT=1", "k");
    other_input(&x, run, "INPUT=1", "k", -1);
    fake_bus_release(x.bus);
    advance(&x, LOOK_MS);
    assert_int_equal(fake_bus_count(x.bus, INPUTS), 3);          /* ours is behind it, and no run */
    assert_int_equal(x.up->started, 1);
    other_output(&x, run, "OUTPUT=10");
    advance(&x, LOOK_MS);
    answered(&x, a, "OUTPUT=10");
    answered(&x, b, "OUTPUT=10");
    advance(&x, 30000);
    assert_int_equal(fake_bus_count(x.bus, OUTPUTS), 2);
    assert_int_equal(fake_bus_committed(x.bus, "seldon-default-flow-p", INPUTS, 0), 3);
    fixture_close(&x);
}

static void the_loser_with_other_bytes_is_refused(void **state)
{
    struct fixture x = {0};
    struct asked *a;

    (void)state;
    open(&x, "p: mul10; out < mul10");
    answered(&x, ask(&x, "INPUT=5", "first"), "OUTPUT=50");
    a = ask_until_it_writes(&x, "INPUT=2", "k");
    other_input(&x, other(&x, 7, 5000), "INPUT=1", "k", -1);
    fake_bus_release(x.bus);
    answered(&x, a, "exists: the idempotency key was used with another request");
    assert_int_equal(x.up->started, 1);
    fixture_close(&x);
}

static void a_second_one_in_the_log_is_no_run_for_the_first(void **state)
{
    struct fixture x = {0};
    struct asked *a;

    (void)state;
    open(&x, "p: slow; out < slow");
    a = ask(&x, "INPUT=1", "k");
    other_input(&x, other(&x, 7, 5000), "INPUT=1", "k", -1);     /* it had not seen ours */
    assert_true(fake_upstream_finish(x.up, "slow"));
    answered(&x, a, "INPUT=1");
    answered(&x, ask(&x, "INPUT=1", "k"), "INPUT=1");
    advance(&x, 10000);                          /* its deadline, and the grace: it is the owner's, who knows it is no run */
    assert_int_equal(fake_bus_count(x.bus, OUTPUTS), 1);
    advance(&x, 2000);
    assert_int_equal(fake_bus_committed(x.bus, "seldon-default-flow-p", INPUTS, 0), 2);
    fixture_close(&x);
}

static void a_key_that_its_outcome_freed_is_tried_by_who_waited(void **state)
{
    struct fixture x = {0};
    struct asked *a, *b;
    char run[RUN_MAX];

    (void)state;
    open(&x, "p: mul10; out < mul10");
    other_takes(&x, run, 7, "INPUT=1", "k");
    a = ask(&x, "INPUT=1", "k");
    b = ask(&x, "INPUT=1", "k");
    advance(&x, LOOK_MS);
    other_error(&x, run, "cancelled/0/0");
    advance(&x, LOOK_MS);
    answered(&x, a, "OUTPUT=10");
    answered(&x, b, "OUTPUT=10");
    assert_int_equal(x.up->started, 1);
    assert_int_equal(fake_bus_count(x.bus, INPUTS), 2);
    assert_true(str_ends(header_at(&x, 1, IDEM_HEADER), STR("/0")));
    fixture_close(&x);
}

static void a_models_own_refusal_by_another_process_is_kept(void **state)
{
    struct fixture x = {0};
    char run[RUN_MAX];

    (void)state;
    open(&x, "p: mul10; out < mul10");
    other_takes(&x, run, 7, "INPUT=1", "k");
    other_error(&x, run, "upstream/3/0");
    answered(&x, ask(&x, "INPUT=1", "k"), "upstream:  : ");
    assert_int_equal(x.up->started, 0);
    fixture_close(&x);
}

static void what_a_killed_process_held_is_ended_by_the_owner_and_the_key_is_free(void **state)
{
    struct fixture x = {0};
    struct asked *a;

    (void)state;
    open(&x, "p: mul10; out < mul10");
    other_input(&x, other(&x, 7, 1000), "INPUT=1", "k", -1);
    a = ask(&x, "INPUT=1", "k");                 /* has 10 s */
    advance(&x, 1000 + GRACE_MS + 2000);
    answered(&x, a, "OUTPUT=10");
    assert_int_equal(fake_bus_count(x.bus, OUTPUTS), 2);
    assert_str(fake_record_header(fake_bus_record(x.bus, OUTPUTS, 0, 0), "millrace-error"), "timeout/0/0");
    fixture_close(&x);
}

static void what_nobody_waits_for_is_run_once_for_a_key(void **state)
{
    struct fixture x = {0};

    (void)state;
    open(&x, "p: mul10");
    other_input(&x, other(&x, 7, 0), "INPUT=1", "k", -1);
    other_input(&x, other(&x, 8, 0), "INPUT=1", "k", -1);
    other_input(&x, other(&x, 9, 0), "INPUT=1", "l", -1);
    advance(&x, 3000);
    assert_int_equal(x.up->started, 2);
    answered(&x, ask(&x, "INPUT=1", "k"), "accepted");
    assert_int_equal(fake_bus_count(x.bus, INPUTS), 3);
    assert_int_equal(fake_bus_committed(x.bus, "seldon-default-flow-p", INPUTS, 0), 3);
    fixture_close(&x);
}

static void a_restart_knows_the_keys_of_all(void **state)
{
    struct fixture x = {0};
    struct asked *a;
    char run[RUN_MAX];
    int32_t number = 0;

    (void)state;
    open(&x, "p: mul10; out < mul10");
    answered(&x, ask(&x, "INPUT=1", "mine"), "OUTPUT=10");
    other_takes(&x, run, 7, "INPUT=2", "its");
    other_output(&x, run, "OUTPUT=20");
    snprintf(run, sizeof run, "%s", other(&x, 8, 8000));
    other_input(&x, run, "INPUT=3", "open", -1);
    fixture_settle(&x);
    fixture_reopen(&x, "2");
    fixture_settle(&x);
    x.bus->member->taken(x.bus->member, &number, 1);
    APPLY(&x, "p: mul10; out < mul10");
    advance(&x, 100);
    answered(&x, ask(&x, "INPUT=1", "mine"), "OUTPUT=10");
    answered(&x, ask(&x, "INPUT=2", "its"), "OUTPUT=20");
    a = ask(&x, "INPUT=3", "open");
    other_output(&x, run, "OUTPUT=30");
    advance(&x, LOOK_MS);
    answered(&x, a, "OUTPUT=30");
    assert_int_equal(x.up->started, 0);
    fixture_close(&x);
}

static void a_deadline_in_the_middle_of_a_claim_ends_in_the_log_and_frees_the_key(void **state)
{
    struct fixture x = {0};
    struct asked *a;

    (void)state;
    open(&x, "p: mul10; out < mul10");
    answered(&x, ask(&x, "INPUT=5", "first"), "OUTPUT=50");
    a = ask_until_it_has_written(&x, "INPUT=1", "k");
    fixture_advance(&x, 10000);
    assert_int_equal(a->q.err.rc, RC_TIMEOUT);
    asked_free(a);
    fake_bus_release(x.bus);
    advance(&x, LOOK_MS);
    assert_int_equal(fake_bus_count(x.bus, INPUTS), 2);
    assert_int_equal(fake_bus_count(x.bus, OUTPUTS), 2);
    assert_int_equal(x.up->started, 1);
    answered(&x, ask(&x, "INPUT=1", "k"), "OUTPUT=10");
    assert_true(str_ends(header_at(&x, 2, IDEM_HEADER), STR("/1")));
    fixture_close(&x);
}

static void a_caller_that_goes_away_in_the_middle_of_a_claim_leaves_it_to_those_who_wait(void **state)
{
    struct fixture x = {0};
    struct asked *a, *b;

    (void)state;
    open(&x, "p: mul10; out < mul10");
    answered(&x, ask(&x, "INPUT=5", "first"), "OUTPUT=50");
    a = ask_until_it_has_written(&x, "INPUT=1", "k");
    b = ask(&x, "INPUT=1", "k");
    flow_cancel(x.flow, &a->q);
    asked_free(a);                               /* what it lent is gone */
    fake_bus_release(x.bus);
    advance(&x, LOOK_MS);
    answered(&x, b, "OUTPUT=10");
    assert_int_equal(fake_bus_count(x.bus, OUTPUTS), 2);
    fixture_close(&x);
}

static void after_the_window_a_key_is_new_to_all(void **state)
{
    struct fixture x = {0};
    char run[RUN_MAX];

    (void)state;
    open(&x, "p: mul10; out < mul10");
    other_takes(&x, run, 7, "INPUT=1", "k");
    other_output(&x, run, "OUTPUT=99");
    answered(&x, ask(&x, "INPUT=1", "k"), "OUTPUT=99");
    fixture_advance(&x, 600001);
    answered(&x, ask(&x, "INPUT=1", "k"), "OUTPUT=10");
    fixture_close(&x);
}

static void an_outcome_behind_the_end_that_was_looked_up_is_not_passed_over_before_its_input(void **state)
{
    struct fixture x = {0};
    struct asked *a;
    char run[RUN_MAX];

    (void)state;
    open(&x, "p: mul10; out < mul10");
    answered(&x, ask(&x, "INPUT=5", "first"), "OUTPUT=50");
    other_output(&x, other(&x, 6, 5000), "OUTPUT=60");            /* something to be read */
    snprintf(run, sizeof run, "%s", other(&x, 7, 5000));
    a = ask_until_it_writes(&x, "INPUT=1", "k");
    other_input(&x, run, "INPUT=2", "its", -1);
    other_output(&x, run, "OUTPUT=99");
    fake_bus_release(x.bus);
    answered(&x, a, "OUTPUT=10");
    answered(&x, ask(&x, "INPUT=2", "its"), "OUTPUT=99");
    fixture_close(&x);
}

/* Whether the index has read nothing of it or something: it goes on where the topic begins now. */
static void what_retention_took_from_the_outcomes_is_passed_over(void **state)
{
    struct fixture x = {0};
    char run[RUN_MAX];
    struct asked *a;

    (void)state;
    open(&x, "p: mul10; out < mul10");
    for (int i = 0; i < 3; i++) {
        char own[] = {'o', (char)('0' + i), 0}, key[] = {'k', (char)('0' + i), 0};

        answered(&x, ask(&x, "INPUT=5", own), "OUTPUT=50");
        other_output(&x, other(&x, 70 + i, 5000), "OUTPUT=60");
        other_takes(&x, run, 7 + i, "INPUT=1", key);
        other_output(&x, run, "OUTPUT=99");
        fake_bus_trim(x.bus, OUTPUTS, 0, fake_bus_count(x.bus, OUTPUTS) - 1);
        if (i == 1) advance(&x, 1100);           /* it is the keeping up that meets the gap */
        a = ask(&x, "INPUT=1", key);
        advance(&x, LOOK_MS);
        answered(&x, a, "OUTPUT=99");
    }
    fixture_close(&x);
}

/* One that lies in partition 1 as soon as there are two. */
static const char *key_that_moves(void)
{
    static char key[16];

    for (int i = 0; !key[0] || load_be32(idem_hash(str_bytes(str_of(key))).b) % 2 == 0; i++)
        snprintf(key, sizeof key, "moves%d", i);
    return key;
}

static void what_others_did_in_added_partitions_is_known_though_outcomes_of_before_are_gone(void **state)
{
    struct fixture x = {0};
    char run[RUN_MAX];

    (void)state;
    open(&x, "p: mul10; out < mul10");
    answered(&x, ask(&x, "INPUT=5", "first"), "OUTPUT=50");
    advance(&x, 1100);
    fake_bus_grow(x.bus, INPUTS, 2);
    snprintf(run, sizeof run, "%s", other(&x, 7, 5000));         /* by one that has noticed before us */
    other_input_in(&x, 1, run, "INPUT=1", key_that_moves(), -1);
    other_output(&x, run, "OUTPUT=99");
    fake_bus_trim(x.bus, OUTPUTS, 0, 1);
    advance(&x, 15000);
    answered(&x, ask(&x, "INPUT=1", key_that_moves()), "OUTPUT=99");
    assert_int_equal(x.up->started, 1);
    other_input_in(&x, 1, other(&x, 8, 0), "INPUT=2", "unowned", -1);    /* whether it is a run is found out there too */
    advance(&x, 3000);
    assert_int_equal(x.up->started, 2);
    fixture_close(&x);
}

static void of_the_outcomes_beside_added_partitions_no_more_is_read_than_the_window_has(void **state)
{
    enum { OLD = 3000, OLD_MS = 700000 };
    struct fixture x = {0};

    (void)state;
    open(&x, "p: mul10; out < mul10");
    for (int i = 0; i < OLD; i++)
        fake_bus_produce(x.bus, OUTPUTS, 0, &(struct bus_record){.timestamp_ms = clock_wall_ms(&x.clock.clock) - OLD_MS});
    answered(&x, ask(&x, "INPUT=5", "first"), "OUTPUT=50");
    fake_bus_grow(x.bus, INPUTS, 2);
    advance(&x, 15000);
    x.bus->fetched = 0;
    answered(&x, ask(&x, "INPUT=1", key_that_moves()), "OUTPUT=10");
    assert_in_range(x.bus->fetched, 1, 100);
    fixture_close(&x);
}

static void a_key_that_is_freed_when_partitions_were_added_is_tried_in_its_new_one(void **state)
{
    struct fixture x = {0};
    char run[RUN_MAX];
    struct asked *a;

    (void)state;
    open(&x, "p: mul10; out < mul10");
    snprintf(run, sizeof run, "%s", other(&x, 7, 60000));
    other_input(&x, run, "INPUT=1", key_that_moves(), -1);
    fake_bus_grow(x.bus, INPUTS, 2);
    advance(&x, 4000);
    a = ask(&x, "INPUT=1", key_that_moves());
    for (int ms = 0; fake_bus_topic(x.bus, INPUTS)->partitions[1].n == 0 && ms < 9000; ms += 100) {
        advance(&x, 100);
        if (ms == 8000) other_error(&x, run, "cancelled/0/0");
    }
    answered(&x, a, "OUTPUT=10");
    assert_int_equal(fake_bus_topic(x.bus, INPUTS)->partitions[1].n, 1);
    fixture_close(&x);
}

static enum rc fetches_fail(void *ctx, enum fake_kind kind, struct str topic, struct err *e)
{
    (void)ctx;
    (void)topic;
    return kind == FAKE_FETCH || kind == FAKE_DESCRIBE ? err_set(e, RC_UNAVAILABLE, "no broker") : RC_OK;
}

static void an_index_in_use_keeps_up_and_one_that_is_not_is_forgotten_and_read_anew(void **state)
{
    struct fixture x = {0};
    char run[RUN_MAX];
    uint64_t appends;

    (void)state;
    open(&x, "p: mul10; out < mul10");
    answered(&x, ask(&x, "INPUT=1", "k"), "OUTPUT=10");
    other_takes(&x, run, 7, "INPUT=1", "its");
    other_output(&x, run, "OUTPUT=10");
    advance(&x, 1100);
    x.bus->fail = fetches_fail;                  /* it knows already */
    answered(&x, ask(&x, "INPUT=2", "its"), "exists: the idempotency key was used with another request");
    x.bus->fail = NULL;
    fixture_advance(&x, 500000);
    advance(&x, 1100);
    other_takes(&x, run, 8, "INPUT=3", "late");
    other_output(&x, run, "OUTPUT=30");
    fixture_advance(&x, 101000);                 /* nobody has asked for the window's time */
    appends = x.bus->appends;
    advance(&x, 3000);
    answered(&x, ask(&x, "INPUT=3", "late"), "OUTPUT=30");
    assert_int_equal(x.bus->appends, appends);
    answered(&x, ask(&x, "INPUT=1", "k"), "OUTPUT=10");
    assert_int_equal(x.up->started, 2);          /* that was too long ago */
    fixture_close(&x);
}

static enum rc looks_are_counted(void *ctx, enum fake_kind kind, struct str topic, struct err *e)
{
    (void)e;
    if (kind == FAKE_DESCRIBE && str_is(topic, OUTPUTS)) ++*(int *)ctx;
    return RC_OK;
}

static void who_waits_for_another_process_looks_after_20_ms_and_then_twice_as_late_each_time(void **state)
{
    static const int at_ms[] = {20, 60, 140, 300, 620};
    struct fixture x = {0};
    struct asked *a;
    int looks = 0, now_ms = 0;
    char run[RUN_MAX];

    (void)state;
    open(&x, "p: mul10; out < mul10");
    other_takes(&x, run, 7, "INPUT=1", "k");
    a = ask(&x, "INPUT=1", "k");
    x.bus->fail = looks_are_counted;
    x.bus->fail_ctx = &looks;
    for (int i = 0; i < (int)countof(at_ms); i++) {
        advance(&x, at_ms[i] - now_ms - 20);
        assert_int_equal(looks, i);
        advance(&x, 20);
        assert_int_equal(looks, i + 1);
        now_ms = at_ms[i];
    }
    x.bus->fail = NULL;
    other_output(&x, run, "OUTPUT=10");
    advance(&x, LOOK_MS);
    answered(&x, a, "OUTPUT=10");
    fixture_close(&x);
}

static void while_the_log_cannot_be_read_callers_wait_no_longer_than_they_said(void **state)
{
    struct fixture x = {0};
    struct asked *a, *b;

    (void)state;
    open(&x, "p: mul10; out < mul10");
    answered(&x, ask(&x, "INPUT=5", "first"), "OUTPUT=50");
    x.bus->fail = fetches_fail;
    a = ask(&x, "INPUT=1", "k");
    advance(&x, 9000);
    b = ask(&x, "INPUT=1", "k");
    advance(&x, 1000);
    assert_int_equal(a->q.err.rc, RC_TIMEOUT);
    asked_free(a);
    assert_false(b->done);
    x.bus->fail = NULL;
    advance(&x, 1000);
    answered(&x, b, "OUTPUT=10");
    fixture_close(&x);
}

static void a_process_that_ends_tells_those_who_wait(void **state)
{
    struct fixture x = {0};
    struct asked *a, *b, *c;

    (void)state;
    open(&x, "p: slow; out < slow");
    other_input(&x, other(&x, 7, 5000), "INPUT=1", "k", -1);
    a = ask(&x, "INPUT=1", "k");
    b = ask(&x, "INPUT=1", "l");
    x.bus->hold = true;
    c = ask(&x, "INPUT=1", "m");
    fixture_close(&x);
    assert_int_equal(a->q.err.rc, RC_CANCELLED);
    assert_int_equal(b->q.err.rc, RC_CANCELLED);
    assert_int_equal(c->q.err.rc, RC_CANCELLED);
    asked_free(a);
    asked_free(b);
    asked_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_same_key_at_one_process_is_one_input_and_one_run),
        cmocka_unit_test(what_another_process_took_is_waited_for_and_answered_with_its_outcome),
        cmocka_unit_test(of_two_that_are_written_at_the_same_moment_the_first_in_the_log_is_the_run),
        cmocka_unit_test(the_loser_with_other_bytes_is_refused),
        cmocka_unit_test(a_second_one_in_the_log_is_no_run_for_the_first),
        cmocka_unit_test(a_key_that_its_outcome_freed_is_tried_by_who_waited),
        cmocka_unit_test(a_models_own_refusal_by_another_process_is_kept),
        cmocka_unit_test(what_a_killed_process_held_is_ended_by_the_owner_and_the_key_is_free),
        cmocka_unit_test(what_nobody_waits_for_is_run_once_for_a_key),
        cmocka_unit_test(a_restart_knows_the_keys_of_all),
        cmocka_unit_test(a_deadline_in_the_middle_of_a_claim_ends_in_the_log_and_frees_the_key),
        cmocka_unit_test(a_caller_that_goes_away_in_the_middle_of_a_claim_leaves_it_to_those_who_wait),
        cmocka_unit_test(after_the_window_a_key_is_new_to_all),
        cmocka_unit_test(an_index_in_use_keeps_up_and_one_that_is_not_is_forgotten_and_read_anew),
        cmocka_unit_test(an_outcome_behind_the_end_that_was_looked_up_is_not_passed_over_before_its_input),
        cmocka_unit_test(what_retention_took_from_the_outcomes_is_passed_over),
        cmocka_unit_test(what_others_did_in_added_partitions_is_known_though_outcomes_of_before_are_gone),
        cmocka_unit_test(of_the_outcomes_beside_added_partitions_no_more_is_read_than_the_window_has),
        cmocka_unit_test(a_key_that_is_freed_when_partitions_were_added_is_tried_in_its_new_one),
        cmocka_unit_test(who_waits_for_another_process_looks_after_20_ms_and_then_twice_as_late_each_time),
        cmocka_unit_test(while_the_log_cannot_be_read_callers_wait_no_longer_than_they_said),
        cmocka_unit_test(a_process_that_ends_tells_those_who_wait),
    };

    return cmocka_run_group_tests_name("flow/idem_shared", tests, NULL, NULL);
}
