/* The store of resources on a log in memory: apply, read back, publish, restart. SPDX-License-Identifier: Apache-2.0 */
#include "control/control.h"
#include "net/loop.h"
#include "oip/proto.h"
#include "support/fake_bus.h"
#include "sys/fs.h"
#include "sys/worker.h"
#include "test.h"
#include <stdio.h>

#define TOPIC "seldon.default.control.resources"

struct house {
    struct clock_sim clock;
    struct loop *loop;
    struct fake_bus *bus;
    struct control *control;
    struct flow_snapshot *snapshot;
    struct msg *taken; /* held while executors are slow */
    bool slow, started, stopped;
    struct err started_err;
    struct fs_sim *disk;
    struct workers *workers;
    bool store_file;
};

static void publish(void *ctx, struct flow_snapshot *s, struct msg *taken)
{
    struct house *h = ctx;
    flow_snapshot_unref(&h->snapshot);
    h->snapshot = s;
    if (h->slow)
        h->taken = taken;
    else
        mailbox_post(loop_mailbox(h->loop), taken);
}

static void started(void *ctx, const struct err *e)
{
    struct house *h = ctx;
    assert_false(h->started);
    h->started = true;
    h->started_err = *e;
}

static void stopped(void *ctx)
{
    ((struct house *)ctx)->stopped = true;
}

static void settle(struct house *h)
{
    do {
        loop_turn(h->loop, 0);
    } while (mailbox_pending(loop_mailbox(h->loop)) || (h->workers && workers_run_one(h->workers)));
}

static void advance(struct house *h, uint64_t ms)
{
    clock_sim_advance(&h->clock, ms * 1000);
    settle(h);
}

static void start(struct house *h)
{
    struct control_options o = {.loop = h->loop,
                                .bus = &h->bus->bus,
                                .topic_prefix = STR("seldon"),
                                .topic_namespace = STR("default"),
                                .replication = 1,
                                .message_bytes_max = 100000,
                                .recover_within_ms = 3600 * 1000,
                                .publish = publish,
                                .started = started,
                                .ctx = h};
    if (h->store_file) {
        o.store_file = true;
        o.data = STR("/data");
        o.fs = fs_sim_fs(h->disk);
        o.workers = h->workers;
    }
    h->started = h->stopped = false;
    h->control = control_new(&o);
    settle(h);
}

static struct house *house_new(void)
{
    struct house *h = xnew(struct house);
    struct err e = {0};
    clock_sim_init(&h->clock, 1700000000000);
    assert_int_equal(loop_new(&h->clock.clock, &h->loop, &e), RC_OK);
    h->bus = fake_bus_new();
    return h;
}

static void stop(struct house *h)
{
    control_stop(h->control, stopped, h);
    settle(h);
    assert_true(h->stopped);
    h->control = NULL;
}

static void house_free(struct house *h)
{
    if (h->control) stop(h);
    flow_snapshot_unref(&h->snapshot);
    fake_bus_close(h->bus);
    if (h->workers) workers_free(h->workers);
    loop_free(h->loop);
    if (h->disk) fs_sim_free(h->disk);
    free(h);
}

struct asked {
    struct control_call call;
    bool done;
};
static void answered(struct control_call *c)
{
    struct asked *a = container_of(c, struct asked, call);
    assert_false(a->done);
    a->done = true;
}

static struct asked *ask_with(struct house *h, struct control_call call)
{
    struct asked *a = xnew(struct asked);
    a->call = call;
    a->call.partition = -1;
    a->call.offset = -2;
    a->call.deadline_ms = loop_now_ms(h->loop) + 5000;
    a->call.reply_to = loop_mailbox(h->loop);
    a->call.done = answered;
    control_call(h->control, &a->call);
    settle(h);
    return a;
}

static struct asked *ask(struct house *h, enum control_what what, const char *kind,
                         const char *name, const char *text)
{
    return ask_with(
        h, (struct control_call){
               .what = what, .kind = str_of(kind), .name = str_of(name), .text = str_of(text)});
}

static void asked_free(struct asked *a)
{
    control_call_fini(&a->call);
    free(a);
}

static void assert_answer(struct asked *a, enum rc rc, const char *json)
{
    assert_true(a->done);
    if (a->call.err.rc != rc) fail_msg("%s", a->call.err.text);
    assert_string_equal(buf_cstr(&a->call.json), json);
    asked_free(a);
}

static void assert_refused(struct asked *a, enum rc rc, const char *text)
{
    assert_true(a->done);
    assert_int_equal(a->call.err.rc, rc);
    assert_string_equal(a->call.err.text, text);
    asked_free(a);
}

#define APPLY(h, text) ask((h), CONTROL_APPLY, "", "", (text))
#define M(name)                                                                                    \
    "kind: Model\nmetadata: {name: " name "}\nspec: {storageUri: /m, requirements: [xgboost]}\n"

static void what_is_applied_is_stored_read_back_and_published(void **state)
{
    (void)state;
    struct house *h = house_new();
    start(h);
    assert_true(h->started);
    assert_int_equal(h->started_err.rc, RC_OK);
    assert_int_equal(h->snapshot->models_n, 0);
    assert_answer(
        APPLY(h, M("a") "---\nkind: Pipeline\nmetadata: {name: p}\nspec: {steps: [{name: a}], "
                        "output: {steps: [a]}}\n"),
        RC_OK,
        "{\"results\":[{\"kind\":\"Model\",\"name\":\"a\",\"version\":1,\"action\":\"created\"},"
        "{\"kind\":\"Pipeline\",\"name\":\"p\",\"version\":1,\"action\":\"created\"}],\"warnings\":"
        "[]}");
    assert_int_equal(h->snapshot->models_n, 1);
    assert_int_equal(h->snapshot->pipelines_n, 1);
    assert_int_equal(h->snapshot->pipelines[0]->resource_offset, 1);
    assert_int_equal(fake_bus_count(h->bus, TOPIC), 2);
    const struct fake_record *r = fake_bus_record(h->bus, TOPIC, 0, 0);
    assert_str(buf_str(&r->key), "Model/a");
    assert_str(buf_str(&r->value),
               "{\"format\":1,\"version\":1,\"createdMs\":1700000000000,\"resource\":{\"kind\":"
               "\"Model\",\"metadata\":{\"name\":\"a\"},"
               "\"spec\":{\"storageUri\":\"/m\",\"requirements\":[\"xgboost\"]}}}");
    assert_string_equal(fake_bus_topic(h->bus, TOPIC)->cleanup_policy, "compact");
    house_free(h);
}

static void versions_rise_only_when_something_changed(void **state)
{
    (void)state;
    struct house *h = house_new();
    start(h);
    asked_free(APPLY(h, M("a")));
    uint64_t before = h->snapshot->number;
    assert_answer(APPLY(h, M("a")), RC_OK,
                  "{\"results\":[{\"kind\":\"Model\",\"name\":\"a\",\"version\":1,\"action\":"
                  "\"unchanged\"}],\"warnings\":[]}");
    assert_int_equal(h->snapshot->number, before);
    assert_answer(APPLY(h, "kind: Model\nmetadata: {name: a}\nspec: {storageUri: /other, "
                           "requirements: [xgboost]}\n"),
                  RC_OK,
                  "{\"results\":[{\"kind\":\"Model\",\"name\":\"a\",\"version\":2,\"action\":"
                  "\"updated\"}],\"warnings\":[]}");
    assert_int_equal(h->snapshot->models[0]->version, 2);
    asked_free(ask(h, CONTROL_DELETE, "model", "a", ""));
    assert_answer(APPLY(h, M("a")), RC_OK,
                  "{\"results\":[{\"kind\":\"Model\",\"name\":\"a\",\"version\":3,\"action\":"
                  "\"created\"}],\"warnings\":[]}");
    asked_free(ask(h, CONTROL_DELETE, "model", "a", ""));
    stop(h);
    start(h);
    assert_answer(APPLY(h, M("a")), RC_OK,
                  "{\"results\":[{\"kind\":\"Model\",\"name\":\"a\",\"version\":4,\"action\":"
                  "\"created\"}],\"warnings\":[]}");
    house_free(h);
}

static void one_mistake_and_nothing_is_stored(void **state)
{
    (void)state;
    struct house *h = house_new();
    start(h);
    struct asked *a = APPLY(h, M("a") "---\nkind: Model\nmetadata: {name: B}\nspec: {x: 1}\n");
    assert_int_equal(a->call.err.rc, RC_INVALID);
    assert_string_equal(a->call.err.text, "nothing was applied: 2 problems");
    assert_true(str_starts(buf_str(&a->call.json),
                           STR("[{\"line\":6,\"column\":18,\"message\":\"metadata.name: ")));
    asked_free(a);
    assert_int_equal(fake_bus_count(h->bus, TOPIC), 0);
    a = APPLY(h, "# nothing\n");
    assert_string_equal(buf_cstr(&a->call.json), "[{\"message\":\"there is no resource in it\"}]");
    asked_free(a);
    house_free(h);
}

static void checking_stores_nothing(void **state)
{
    (void)state;
    struct house *h = house_new();
    start(h);
    assert_answer(ask(h, CONTROL_CHECK, "", "", M("a")), RC_OK,
                  "{\"results\":[{\"kind\":\"Model\",\"name\":\"a\",\"version\":1,\"action\":"
                  "\"created\"}],\"warnings\":[]}");
    assert_int_equal(fake_bus_count(h->bus, TOPIC), 0);
    assert_int_equal(h->snapshot->models_n, 0);
    house_free(h);
}

static void what_is_missing_for_it_to_run_is_a_warning(void **state)
{
    (void)state;
    struct house *h = house_new();
    start(h);
    assert_answer(
        APPLY(h, "kind: Pipeline\nmetadata: {name: p}\nspec: {steps: [{name: a}]}\n---\nkind: "
                 "Model\nmetadata: {name: b}\nspec: {requirements: [onnx]}\n"),
        RC_OK,
        "{\"results\":[{\"kind\":\"Pipeline\",\"name\":\"p\",\"version\":1,\"action\":\"created\"},"
        "{\"kind\":\"Model\",\"name\":\"b\",\"version\":1,"
        "\"action\":\"created\"}],\"warnings\":[{\"message\":\"Pipeline p: there is no Model a "
        "yet\"},"
        "{\"message\":\"Model b: there is no Server: apply one with its address and "
        "capabilities\"}]}");
    assert_answer(APPLY(h, M("a")), RC_OK,
                  "{\"results\":[{\"kind\":\"Model\",\"name\":\"a\",\"version\":1,\"action\":"
                  "\"created\"}],\"warnings\":[]}");
    assert_refused(ask(h, CONTROL_DELETE, "Model", "a", ""), RC_EXISTS,
                   "Model a is a step of p; delete what needs it first, or force it (--force, "
                   "?force=true)");
    assert_answer(ask_with(h, (struct control_call){.what = CONTROL_DELETE,
                                                    .kind = STR("Model"),
                                                    .name = STR("a"),
                                                    .force = true}),
                  RC_OK,
                  "{\"results\":[{\"kind\":\"Model\",\"name\":\"a\",\"action\":\"deleted\"}],"
                  "\"warnings\":[{\"message\":\"it is a step of p\"}]}");
    house_free(h);
}

static void deleting_writes_a_tombstone(void **state)
{
    (void)state;
    struct house *h = house_new();
    start(h);
    asked_free(APPLY(h, M("a")));
    assert_answer(ask(h, CONTROL_DELETE, "models", "a", ""), RC_OK,
                  "{\"results\":[{\"kind\":\"Model\",\"name\":\"a\",\"action\":\"deleted\"}],"
                  "\"warnings\":[]}");
    assert_true(fake_bus_record(h->bus, TOPIC, 0, 1)->value_null);
    assert_int_equal(h->snapshot->models_n, 0);
    assert_refused(ask(h, CONTROL_DELETE, "Model", "a", ""), RC_NOT_FOUND,
                   "Model a does not exist");
    assert_refused(ask(h, CONTROL_DELETE, "Thing", "a", ""), RC_NOT_FOUND,
                   "there is no kind \"Thing\"; the kinds are server, model, pipeline and experiment");
    assert_refused(ask(h, CONTROL_GET, "Model", "a", ""), RC_NOT_FOUND, "Model a does not exist");
    house_free(h);
}

static void a_restart_finds_everything_again(void **state)
{
    (void)state;
    struct house *h = house_new();
    start(h);
    asked_free(APPLY(h, M("a") "---\n" M("b")));
    asked_free(APPLY(h, "kind: Model\nmetadata: {name: a}\nspec: {storageUri: /v2, requirements: "
                        "[xgboost], modelVersion: 1.10}\n"));
    asked_free(ask(h, CONTROL_DELETE, "Model", "b", ""));
    stop(h);
    start(h);
    assert_true(h->started);
    assert_int_equal(h->snapshot->models_n, 1);
    assert_int_equal(h->snapshot->models[0]->version, 2);
    assert_str(h->snapshot->models[0]->target.path, "/v2");
    assert_str(h->snapshot->models[0]->target.version, "1.10");
    struct asked *a = ask(h, CONTROL_GET, "model", "a", "");
    assert_int_equal(a->call.items_n, 1);
    assert_str(a->call.items[0].name, "a");
    assert_str(buf_str(&a->call.items[0].json),
               "{\"kind\":\"Model\",\"name\":\"a\",\"version\":2,\"offset\":2,\"createdMs\":"
               "1700000000000,\"updatedMs\":1700000000000,"
               "\"requirements\":[\"xgboost\"],\"placed\":true,\"target\":{\"kind\":\"built-in "
               "xgboost\",\"path\":\"/v2\",\"model\":\"a\",\"version\":\"1.10\"},"
               "\"resource\":{\"kind\":\"Model\",\"metadata\":{\"name\":\"a\"},\"spec\":{"
               "\"storageUri\":\"/v2\",\"requirements\":[\"xgboost\"],"
               "\"modelVersion\":\"1.10\"}}");
    asked_free(a);
    house_free(h);
}

static void produce(struct house *h, const char *key, const char *value)
{
    struct bus_record r = {.timestamp_ms = 5,
                           .key = str_bytes(str_of(key)),
                           .value = value ? str_bytes(str_of(value)) : (struct bytes){0}};
    fake_bus_produce(h->bus, TOPIC, 0, &r);
    settle(h);
}

static void what_another_replica_applies_arrives_here(void **state)
{
    (void)state;
    struct house *h = house_new();
    start(h);
    produce(h, "Model/z",
            "{\"format\":1,\"version\":7,\"createdMs\":3,\"resource\":{\"kind\":\"Model\","
            "\"metadata\":{\"name\":\"z\"},\"spec\":{}}}");
    assert_int_equal(h->snapshot->models_n, 1);
    assert_int_equal(h->snapshot->models[0]->version, 7);
    produce(h, "Model/z", NULL);
    assert_int_equal(h->snapshot->models_n, 0);
    house_free(h);
}

static void a_later_record_that_cannot_be_used_leaves_what_is_there_as_it_was(void **state)
{
    (void)state;
    struct house *h = house_new();
    start(h);
    asked_free(APPLY(h, M("kept")));
    produce(h, "Model/kept", "{\"format\":2,\"whatever\":true}");
    assert_int_equal(h->snapshot->models_n, 1);
    assert_int_equal(h->snapshot->gone_n, 0);
    struct asked *a = ask(h, CONTROL_LIST, "", "", "");
    assert_int_equal(a->call.items_n, 1);
    assert_true(a->call.items[0].usable);
    assert_true(memmem(a->call.items[0].json.p, a->call.items[0].json.n, "\"overtaken\":\"written in format 2", 32) != NULL);
    asked_free(a);
    a = APPLY(h, M("kept"));
    assert_int_equal(a->call.err.rc, RC_INVALID);
    assert_true(memmem(a->call.json.p, a->call.json.n, "is stored already, but this version does not understand it", 50) != NULL);
    asked_free(a);
    produce(h, "Model/kept", "{\"format\":1,\"version\":9,\"resource\":{\"kind\":\"Model\",\"metadata\":{\"name\":\"kept\"},\"spec\":{}}}");
    a = ask(h, CONTROL_LIST, "", "", "");
    assert_null(memmem(a->call.items[0].json.p, a->call.items[0].json.n, "overtaken", 9));
    assert_non_null(memmem(a->call.items[0].json.p, a->call.items[0].json.n, "\"version\":9", 11));
    asked_free(a);
    house_free(h);
}

static void records_that_cannot_be_used_are_left_alone_and_shown(void **state)
{
    (void)state;
    struct house *h = house_new();
    start(h);
    produce(h, "Model/new", "{\"format\":2,\"whatever\":true}");
    produce(h, "Model/old",
            "{\"format\":1,\"version\":1,\"resource\":{\"kind\":\"Model\",\"metadata\":{\"name\":"
            "\"old\"},\"spec\":{\"gone\":1}}}");
    produce(h, "Model/x", "garbage");
    produce(h, "Model/y",
            "{\"format\":1,\"version\":1,\"resource\":{\"kind\":\"Model\",\"metadata\":{\"name\":"
            "\"other\"},\"spec\":{}}}");
    produce(h, "Unknown/y", "{\"format\":3}");
    assert_int_equal(h->snapshot->models_n, 0);
    struct asked *a = ask(h, CONTROL_LIST, "", "", "");
    assert_int_equal(a->call.items_n, 3);
    assert_false(a->call.items[0].usable);
    assert_str(buf_str(&a->call.items[0].json),
               "{\"kind\":\"Model\",\"name\":\"new\",\"version\":0,\"offset\":0,\"createdMs\":5,"
               "\"updatedMs\":5,"
               "\"problem\":\"written in format 2 by a newer millrace; this one reads 1\"");
    assert_true(memmem(a->call.items[1].json.p, a->call.items[1].json.n, "unknown field", 13) !=
                NULL);
    assert_true(memmem(a->call.items[2].json.p, a->call.items[2].json.n, "not JSON", 8) != NULL);
    asked_free(a);
    a = APPLY(h, M("new"));
    assert_int_equal(a->call.err.rc, RC_INVALID);
    assert_true(memmem(a->call.json.p, a->call.json.n,
                       "is stored already, but this version does not understand it", 50) != NULL);
    asked_free(a);
    asked_free(ask(h, CONTROL_DELETE, "Model", "new", ""));
    assert_answer(APPLY(h, M("new")), RC_OK,
                  "{\"results\":[{\"kind\":\"Model\",\"name\":\"new\",\"version\":1,\"action\":"
                  "\"created\"}],\"warnings\":[]}");
    house_free(h);
}

static void a_topic_that_is_not_compacted_is_refused_with_the_remedy(void **state)
{
    (void)state;
    struct house *h = house_new();
    struct bus_record r = {.key = str_bytes(STR("k"))};
    fake_bus_produce(h->bus, TOPIC, 0, &r);
    start(h);
    assert_true(h->started);
    assert_int_equal(h->started_err.rc, RC_INVALID);
    assert_string_equal(
        h->started_err.text,
        "topic " TOPIC " has cleanup.policy=delete, so resources would be lost after a while; set "
        "it to compact:  kafka-configs.sh "
        "--bootstrap-server HOST:PORT --alter --entity-type topics --entity-name " TOPIC
        " --add-config cleanup.policy=compact  (or use "
        "control.store: file)");
    assert_refused(APPLY(h, M("a")), RC_UNAVAILABLE, "the store of resources cannot be used");
    struct str why;
    assert_false(control_ready(h->control, &why));
    house_free(h);
}

static enum rc fails(void *ctx, enum fake_kind kind, struct str topic, struct err *e)
{
    (void)topic;
    return kind == *(enum fake_kind *)ctx ? err_set(e, RC_UNAVAILABLE, "no broker answers") : RC_OK;
}

static void while_the_log_is_away_the_start_is_tried_again(void **state)
{
    (void)state;
    static const enum fake_kind kinds[] = {FAKE_ENSURE, FAKE_DESCRIBE, FAKE_FETCH};
    for (size_t i = 0; i < countof(kinds); i++) {
        struct house *h = house_new();
        enum fake_kind kind = kinds[i];
        struct str why;
        h->bus->fail = fails;
        h->bus->fail_ctx = &kind;
        start(h);
        assert_false(h->started);
        assert_false(control_ready(h->control, &why));
        assert_str(why, "the resources are not read yet");
        assert_refused(APPLY(h, M("a")), RC_UNAVAILABLE, "the resources are not read yet");
        advance(h, 1000);
        assert_false(h->started);
        h->bus->fail = NULL;
        advance(h, 1000);
        assert_true(h->started);
        assert_int_equal(h->started_err.rc, RC_OK);
        assert_true(control_ready(h->control, &why));
        house_free(h);
    }
}

static void a_failed_append_is_told_and_changes_nothing(void **state)
{
    (void)state;
    struct house *h = house_new();
    enum fake_kind kind = FAKE_APPEND;
    start(h);
    h->bus->fail = fails;
    h->bus->fail_ctx = &kind;
    assert_refused(APPLY(h, M("a")), RC_UNAVAILABLE, "not stored: no broker answers");
    h->bus->fail = NULL;
    assert_answer(APPLY(h, M("a")), RC_OK,
                  "{\"results\":[{\"kind\":\"Model\",\"name\":\"a\",\"version\":1,\"action\":"
                  "\"created\"}],\"warnings\":[]}");
    house_free(h);
}

static void an_apply_is_answered_only_when_executors_use_it(void **state)
{
    (void)state;
    struct house *h = house_new();
    start(h);
    h->slow = true;
    struct asked *a = APPLY(h, M("a"));
    assert_false(a->done);
    assert_non_null(h->taken);
    struct asked *b = APPLY(h, M("b")); /* the next one is stored, but not published yet */
    assert_false(b->done);
    assert_int_equal(h->snapshot->models_n, 1);
    h->slow = false;
    mailbox_post(loop_mailbox(h->loop), h->taken);
    settle(h);
    assert_true(a->done && b->done);
    assert_int_equal(h->snapshot->models_n, 2);
    asked_free(a);
    asked_free(b);
    house_free(h);
}

static void an_apply_may_be_in_use_before_it_is_acknowledged(void **state)
{
    (void)state;
    struct house *h = house_new();
    start(h);
    h->bus->hold_appends = true; /* the append is there, its acknowledgement is not */
    struct asked *a = APPLY(h, M("a"));
    produce(h, "other", NULL);
    assert_int_equal(h->snapshot->models_n, 1);
    assert_false(a->done);
    fake_bus_release(h->bus);
    settle(h);
    assert_true(a->done);
    assert_int_equal(a->call.err.rc, RC_OK);
    asked_free(a);
    house_free(h);
}

static void a_change_that_takes_too_long_is_answered_at_its_deadline(void **state)
{
    (void)state;
    struct house *h = house_new();
    start(h);
    h->slow = true;
    struct asked *a = APPLY(h, M("a"));
    for (int i = 0; i < 30 && !a->done; i++)
        advance(h, 200);
    assert_refused(a, RC_TIMEOUT, "stored, but not every executor uses it yet");
    h->slow = false;
    mailbox_post(loop_mailbox(h->loop), h->taken);
    settle(h);
    house_free(h);
}

static void changes_are_made_one_after_the_other(void **state)
{
    (void)state;
    struct house *h = house_new();
    struct asked *all[5];
    start(h);
    h->bus->hold = true;
    for (size_t i = 0; i < countof(all); i++) {
        char text[200];
        snprintf(
            text, sizeof text,
            "kind: Model\nmetadata: {name: a}\nspec: {storageUri: /%zu, requirements: [xgboost]}\n",
            i);
        all[i] = xnew(struct asked);
        all[i]->call = (struct control_call){.what = CONTROL_APPLY,
                                             .text = str_of(strdup(text)),
                                             .deadline_ms = loop_now_ms(h->loop) + 5000,
                                             .reply_to = loop_mailbox(h->loop),
                                             .done = answered};
        control_call(h->control, &all[i]->call);
        settle(h);
    }
    fake_bus_release(h->bus);
    settle(h);
    for (size_t i = 0; i < countof(all); i++) {
        struct buf want = {0};
        buf_printf(&want, "\"version\":%zu,", i + 1);
        assert_true(memmem(all[i]->call.json.p, all[i]->call.json.n, want.p, want.n) != NULL);
        buf_fini(&want);
        free((char *)(uintptr_t)all[i]->call.text.p);
        asked_free(all[i]);
    }
    house_free(h);
}

static void a_stop_cancels_what_waits(void **state)
{
    (void)state;
    struct house *h = house_new();
    start(h);
    h->bus->hold = true;
    struct asked *a = APPLY(h, M("a")), *b = APPLY(h, M("b"));
    control_stop(h->control, stopped, h);
    settle(h);
    assert_false(h->stopped);
    fake_bus_release(h->bus);
    settle(h);
    assert_true(h->stopped);
    h->control = NULL;
    assert_refused(a, RC_CANCELLED,
                   "this process is ending; whether the change is stored is not known");
    assert_refused(b, RC_CANCELLED, "this process is ending");
    house_free(h);
}

/* ---- the file ---- */

static struct house *file_house(void)
{
    struct house *h = house_new();
    struct err e = {0};
    h->disk = fs_sim_new(7);
    assert_int_equal(workers_new(0, &h->workers, &e), RC_OK);
    h->store_file = true;
    return h;
}

#define P(step)                                                                                    \
    "kind: Pipeline\nmetadata: {name: p}\nspec: {steps: [{name: " step "}], output: {steps: [" step  \
    "]}}\n"

static void check_versions_kept(struct house *h)
{
    const struct flow_pipeline_def *one = flow_snapshot_version(h->snapshot, STR("p"), 1);
    const struct flow_pipeline_def *two = flow_snapshot_version(h->snapshot, STR("p"), 2);

    assert_int_equal(h->snapshot->pipelines[0]->version, 3);
    assert_ptr_equal(flow_snapshot_version(h->snapshot, STR("p"), 3), h->snapshot->pipelines[0]);
    assert_non_null(one);
    assert_str(one->steps[0].name, "a");
    assert_non_null(one->graph);
    assert_non_null(two);
    assert_str(two->steps[0].name, "b");
    assert_null(flow_snapshot_version(h->snapshot, STR("p"), 4));
    assert_null(flow_snapshot_version(h->snapshot, STR("q"), 1));
}

static void versions_of_a_pipeline_are_kept_as_long_as_runs_may_need_them(void **state)
{
    (void)state;
    for (int file = 0; file < 2; file++) {
        struct house *h = file ? file_house() : house_new();
        start(h);
        asked_free(APPLY(h, M("a") "---\n" M("b") "---\n" P("a")));
        asked_free(APPLY(h, P("b")));
        asked_free(APPLY(h, P("a")));
        check_versions_kept(h);
        stop(h);
        start(h);
        check_versions_kept(h);
        advance(h, 2 * 3600 * 1000);
        asked_free(APPLY(h, P("b")));
        assert_null(flow_snapshot_version(h->snapshot, STR("p"), 1));
        assert_null(flow_snapshot_version(h->snapshot, STR("p"), 2));
        assert_non_null(flow_snapshot_version(h->snapshot, STR("p"), 3));
        asked_free(ask(h, CONTROL_DELETE, "pipeline", "p", ""));
        asked_free(APPLY(h, M("c")));
        stop(h);
        start(h);
        asked_free(APPLY(h, P("b")));
        assert_int_equal(h->snapshot->pipelines[0]->version, 5);
        assert_int_equal(h->snapshot->older_n, 0);
        house_free(h);
    }
}

static void a_file_can_hold_the_resources(void **state)
{
    (void)state;
    struct house *h = file_house();
    start(h);
    assert_true(h->started);
    asked_free(APPLY(h, M("a") "---\n" M("b")));
    asked_free(ask(h, CONTROL_DELETE, "Model", "a", ""));
    assert_int_equal(h->snapshot->models_n, 1);
    stop(h);
    fs_sim_cut(h->disk); /* all that was answered is on the disk */
    fs_sim_power_on(h->disk);
    start(h);
    assert_true(h->started);
    assert_int_equal(h->started_err.rc, RC_OK);
    assert_int_equal(h->snapshot->models_n, 1);
    assert_str(h->snapshot->models[0]->name, "b");
    assert_answer(APPLY(h, M("b")), RC_OK,
                  "{\"results\":[{\"kind\":\"Model\",\"name\":\"b\",\"version\":1,\"action\":"
                  "\"unchanged\"}],\"warnings\":[]}");
    house_free(h);
}

static void assert_gone(const struct house *h, const char *wanted)
{
    AUTO(buf_fini) struct buf b = {0};

    for (size_t i = 0; i < h->snapshot->gone_n; i++)
        buf_printf(&b, "%s " STR_FMT "%s;", h->snapshot->gone[i].model ? "model" : "pipeline", STR_ARG(h->snapshot->gone[i].name),
                   h->snapshot->gone[i].clean ? " clean" : "");
    assert_string_equal(buf_cstr(&b), wanted);
}

static void check_gone(struct house *h)
{
    start(h);
    asked_free(APPLY(h, M("a") "---\nkind: Model\nmetadata: {name: b}\nspec: {storageUri: /m, requirements: [xgboost], "
                               "dataflow: {cleanTopicsOnDelete: true}}\n"));
    assert_gone(h, "");
    asked_free(ask(h, CONTROL_DELETE, "Model", "b", ""));
    assert_gone(h, "model b clean;");
    stop(h);
    start(h);
    assert_gone(h, "model b clean;");
    asked_free(ask(h, CONTROL_DELETE, "Model", "a", ""));
    assert_int_equal(h->snapshot->gone_n, 2);
    control_cleared(h->control, true, STR("b"));
    settle(h);
    assert_gone(h, "model a;");
    control_cleared(h->control, true, STR("b"));             /* again, and of one that nobody knows */
    control_cleared(h->control, false, STR("x"));
    settle(h);
    asked_free(APPLY(h, M("a")));
    assert_gone(h, "");                                      /* what is there again is not cleared away */
    stop(h);
    start(h);
    assert_gone(h, "");
    assert_answer(APPLY(h, M("b")), RC_OK,
                  "{\"results\":[{\"kind\":\"Model\",\"name\":\"b\",\"version\":2,\"action\":\"created\"}],\"warnings\":[]}");
    house_free(h);
}

static void what_executors_did_not_clear_away_is_remembered_over_a_start(void **state)
{
    (void)state;
    check_gone(house_new());
    check_gone(file_house());
}

static void a_file_that_cannot_be_read_is_left_alone(void **state)
{
    (void)state;
    static const struct {
        const char *text, *why;
        enum rc rc;
    } all[] = {
        {"garbage\n", "/data/control/resources.json: line 1: not JSON: ", RC_CORRUPT},
        {"{\"millrace\":\"resources\",\"format\":2,\"next\":0}\n",
         "/data/control/resources.json: written in format 2 by a newer millrace", RC_UNSUPPORTED},
        {"{\"millrace\":\"resources\",\"format\":1,\"next\":0}\n{\"key\":1}\n",
         "/data/control/resources.json: line 2 is no record", RC_CORRUPT},
        {"{\"millrace\":\"resources\",\"format\":1,\"next\":0}",
         "/data/control/resources.json: line 1 ends early", RC_CORRUPT},
    };
    for (size_t i = 0; i < countof(all); i++) {
        struct house *h = file_house();
        struct err e = {0};
        assert_int_equal(fs_mkdir_all(fs_sim_fs(h->disk), "/data/control", &e), RC_OK);
        assert_int_equal(fs_save(fs_sim_fs(h->disk), "/data/control/resources.json",
                                 str_bytes(str_of(all[i].text)), true, &e),
                         RC_OK);
        start(h);
        assert_true(h->started);
        assert_int_equal(h->started_err.rc, all[i].rc);
        assert_true(str_starts(str_of(h->started_err.text), str_of(all[i].why)));
        house_free(h);
    }
}

/* ---- looking into the log ---- */

static void put_message(struct buf *b, const char *tensor)
{
    /* field 5 (outputs or inputs): name, datatype FP32, shape [1], contents fp32 [2.5] */
    static const uint8_t tail[] = {0x12, 4, 'F',  'P', '3', '2', 0x1a, 1,   1,
                                   0x2a, 6, 0x32, 4,   0,   0,   0x20, 0x40};
    size_t n = strlen(tensor);
    buf_append_byte(b, 0x2a);
    buf_append_byte(b, (uint8_t)(2 + n + sizeof tail));
    buf_append_byte(b, 0x0a);
    buf_append_byte(b, (uint8_t)n);
    buf_append_str(b, str_of(tensor));
    buf_append(b, bytes_of(tail, sizeof tail));
}

static void flowed(struct house *h, const char *topic, int32_t partition, int64_t ts,
                   const char *pipeline, const char *id, const char *tensor)
{
    struct buf value = {0}, key = {0};
    struct bus_header headers[] = {{STR("pipeline"), str_bytes(str_of(pipeline))},
                                   {STR("x-request-id"), str_bytes(str_of(id))}};
    put_message(&value, tensor);
    buf_printf(&key, "%d.%s.%s", partition, pipeline, id);
    struct bus_record r = {.timestamp_ms = ts,
                           .key = buf_view(&key),
                           .value = buf_view(&value),
                           .headers = headers,
                           .headers_n = 2};
    fake_bus_produce(h->bus, topic, partition, &r);
    buf_fini(&value);
    buf_fini(&key);
    settle(h);
}

static void flow_some(struct house *h)
{
    asked_free(APPLY(
        h, M("a") "---\n" M("b") "---\nkind: Pipeline\nmetadata: {name: p}\nspec: {steps: [{name: "
                                 "b, inputs: [a]}, {name: a}], output: {steps: [b]}}\n"));
    for (int i = 0; i < 300; i++)
        flowed(h, "seldon.default.model.a.inputs", 0, 10 + i, "other", "noise", "N");
    flowed(h, "seldon.default.pipeline.p.outputs", 0, 1000, "p", "r1", "Z");
    flowed(h, "seldon.default.model.b.outputs", 0, 1000, "p", "r1", "Y");
    flowed(h, "seldon.default.model.b.inputs", 0, 1000, "p", "r1", "X");
    flowed(h, "seldon.default.model.a.outputs", 0, 1000, "p", "r1", "W");
    flowed(h, "seldon.default.model.a.inputs", 0, 1000, "p", "r1", "V");
    flowed(h, "seldon.default.pipeline.p.inputs", 0, 999, "p", "r1", "U");
    for (int i = 0; i < 300; i++)
        flowed(h, "seldon.default.model.a.inputs", 0, 2000 + i, "other", "noise", "N");
}

/* The topics (their last two parts) of the records in an answer, in order. */
static void assert_topics(struct asked *a, const char *wanted)
{
    struct buf got = {0};
    const char *at = buf_cstr(&a->call.json);
    while ((at = strstr(at, "{\"topic\":\"seldon.default.")) != NULL) {
        at += sizeof "{\"topic\":\"seldon.default." - 1;
        buf_printf(&got, "%.*s ", (int)(strchr(at, '"') - at), at);
    }
    assert_string_equal(buf_cstr(&got), wanted);
    buf_fini(&got);
}

static void the_way_of_one_request_is_found_in_order(void **state)
{
    (void)state;
    struct house *h = house_new();
    start(h);
    flow_some(h);
    struct asked *a = ask(h, CONTROL_TRACE, "", "r1", "");
    assert_int_equal(a->call.err.rc, RC_OK);
    assert_topics(a, "pipeline.p.inputs model.a.inputs model.a.outputs model.b.inputs "
                     "model.b.outputs pipeline.p.outputs ");
    assert_true(memmem(a->call.json.p, a->call.json.n, "\"kind\":\"request\",\"value\":{", 25) !=
                NULL);
    assert_true(memmem(a->call.json.p, a->call.json.n, "\"data\":[2.5]", 12) != NULL);
    assert_true(str_ends(buf_str(&a->call.json), STR("],\"complete\":true}")));
    asked_free(a);
    a = ask(h, CONTROL_TRACE, "", "nobody", "");
    assert_answer(a, RC_OK, "{\"requestId\":\"nobody\",\"records\":[],\"complete\":true}");
    house_free(h);
}

static void inspect_shows_the_last_records_of_one_pipeline(void **state)
{
    (void)state;
    struct house *h = house_new();
    start(h);
    flow_some(h);
    flowed(h, "seldon.default.model.a.inputs", 0, 1001, "p", "r2", "V");
    struct asked *a = ask(h, CONTROL_INSPECT, "", "p.a.inputs", "");
    assert_topics(
        a,
        "model.a.inputs model.a.inputs model.a.inputs "); /* the topic, then two records among 600 others */
    asked_free(a);
    a = ask(h, CONTROL_INSPECT, "", "p.a.inputs.V", "");
    assert_true(memmem(a->call.json.p, a->call.json.n, "\"name\":\"V\"", 10) != NULL);
    asked_free(a);
    a = ask(h, CONTROL_INSPECT, "", "p.a.inputs.none", "");
    assert_true(memmem(a->call.json.p, a->call.json.n, "\"kind\":\"request\",\"value\":null", 29) !=
                NULL);
    asked_free(a);
    a = ask(h, CONTROL_INSPECT, "", "p", "");
    assert_true(str_starts(buf_str(&a->call.json),
                           STR("{\"topics\":[{\"topic\":\"seldon.default.model.b.inputs\"")));
    asked_free(a);
    assert_refused(ask(h, CONTROL_INSPECT, "", "p.c", ""), RC_NOT_FOUND,
                   "pipeline p has no step c");
    assert_refused(ask(h, CONTROL_INSPECT, "", "q", ""), RC_NOT_FOUND,
                   "there is no pipeline and no model q");
    assert_refused(ask(h, CONTROL_INSPECT, "", "p.a.sideways", ""), RC_INVALID,
                   "NAME, NAME.inputs, NAME.outputs, NAME.STEP, or NAME.STEP.inputs or .outputs "
                   "and .TENSOR is wanted");
    house_free(h);
}

static void records_of_a_topic_are_read_from_any_offset(void **state)
{
    (void)state;
    struct house *h = house_new();
    start(h);
    flow_some(h);
    struct asked *a = xnew(struct asked);
    a->call = (struct control_call){.what = CONTROL_RECORDS,
                                    .name = STR("seldon.default.model.a.inputs"),
                                    .partition = 0,
                                    .offset = 299,
                                    .limit = 2,
                                    .deadline_ms = loop_now_ms(h->loop) + 5000,
                                    .reply_to = loop_mailbox(h->loop),
                                    .done = answered};
    control_call(h->control, &a->call);
    settle(h);
    assert_topics(a, "model.a.inputs model.a.inputs model.a.inputs ");
    assert_true(memmem(a->call.json.p, a->call.json.n, "\"offset\":299,", 13) != NULL);
    assert_true(memmem(a->call.json.p, a->call.json.n, "\"offset\":300,", 13) != NULL);
    asked_free(a);
    assert_refused(ask(h, CONTROL_RECORDS, "", "nowhere", ""), RC_NOT_FOUND,
                   "topic nowhere does not exist");
    a = ask(h, CONTROL_RECORDS, "", TOPIC, "");
    assert_true(memmem(a->call.json.p, a->call.json.n,
                       "\"kind\":\"text\",\"value\":\"{\\\"format\\\":1", 30) != NULL);
    asked_free(a);
    a = ask(h, CONTROL_TOPICS, "", "", "");
    assert_true(memmem(a->call.json.p, a->call.json.n,
                       "{\"topic\":\"seldon.default.model.a.inputs\",\"partitions\":[{"
                       "\"partition\":0,\"start\":0,\"end\":601}]}",
                       80));
    asked_free(a);
    house_free(h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_applied_is_stored_read_back_and_published),
        cmocka_unit_test(versions_rise_only_when_something_changed),
        cmocka_unit_test(versions_of_a_pipeline_are_kept_as_long_as_runs_may_need_them),
        cmocka_unit_test(one_mistake_and_nothing_is_stored),
        cmocka_unit_test(checking_stores_nothing),
        cmocka_unit_test(what_is_missing_for_it_to_run_is_a_warning),
        cmocka_unit_test(deleting_writes_a_tombstone),
        cmocka_unit_test(a_restart_finds_everything_again),
        cmocka_unit_test(what_another_replica_applies_arrives_here),
        cmocka_unit_test(a_later_record_that_cannot_be_used_leaves_what_is_there_as_it_was),
        cmocka_unit_test(records_that_cannot_be_used_are_left_alone_and_shown),
        cmocka_unit_test(a_topic_that_is_not_compacted_is_refused_with_the_remedy),
        cmocka_unit_test(while_the_log_is_away_the_start_is_tried_again),
        cmocka_unit_test(a_failed_append_is_told_and_changes_nothing),
        cmocka_unit_test(an_apply_is_answered_only_when_executors_use_it),
        cmocka_unit_test(an_apply_may_be_in_use_before_it_is_acknowledged),
        cmocka_unit_test(a_change_that_takes_too_long_is_answered_at_its_deadline),
        cmocka_unit_test(changes_are_made_one_after_the_other),
        cmocka_unit_test(a_stop_cancels_what_waits),
        cmocka_unit_test(a_file_can_hold_the_resources),
        cmocka_unit_test(what_executors_did_not_clear_away_is_remembered_over_a_start),
        cmocka_unit_test(a_file_that_cannot_be_read_is_left_alone),
        cmocka_unit_test(the_way_of_one_request_is_found_in_order),
        cmocka_unit_test(inspect_shows_the_last_records_of_one_pipeline),
        cmocka_unit_test(records_of_a_topic_are_read_from_any_offset),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
