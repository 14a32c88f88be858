/* SPDX-License-Identifier: Apache-2.0
 *
 * The embedded bus under the contract: a broker on a thread of its own, a simulated disk, the asker's loop here.
 */
#include "test.h"
#include "broker/broker.h"
#include "bus/embedded.h"
#include "contract.h"
#include "kafka/batch_build.h"
#include "sys/fs.h"
#include "sys/thread.h"
#include "sys/worker.h"
#include <stdio.h>

struct house {
    struct fs_sim *disk;
    struct workers *workers;
    struct loop *loop;                   /* the broker's */
    struct broker *broker;
    struct thread *thread;
    struct bus *bus;
    struct msg stop;
};

static void turn(void *arg)
{
    struct house *h = arg;

    loop_run(h->loop);
}

static void house_open(struct house *h, size_t message_bytes_max)
{
    struct broker_options opt = {0};
    struct err e;

    if (!h->disk) h->disk = fs_sim_new(1);
    assert_int_equal(workers_new(1, &h->workers, &e), RC_OK);
    assert_int_equal(loop_new(&clock_real, &h->loop, &e), RC_OK);
    opt.loop = h->loop;
    opt.fs = fs_sim_fs(h->disk);
    opt.workers = h->workers;
    opt.dir = "data";
    if (broker_new(&opt, &h->broker, &e)) fail_msg("%s", e.text);
    h->bus = bus_embedded(&(struct bus_embedded_options){.broker = h->broker, .timers = loop_timers(h->loop), .clock = &clock_real,
                                                         .message_bytes_max = message_bytes_max});
    assert_int_equal(thread_start("broker", turn, h, &h->thread, &e), RC_OK);
}

static void stop_run(struct msg *m)
{
    struct house *h = container_of(m, struct house, stop);

    h->bus = bus_close(h->bus);
    loop_stop(h->loop);
}

static void house_end(struct house *h, struct broker *(*end)(struct broker *b))
{
    h->stop.run = stop_run;
    mailbox_post(loop_mailbox(h->loop), &h->stop);
    h->thread = thread_join(h->thread);
    h->broker = end(h->broker);
    (void)mailbox_drain(loop_mailbox(h->loop));
    h->loop = loop_free(h->loop);
    h->workers = workers_free(h->workers);
}

static void house_close(struct house *h) { house_end(h, broker_free); }
static void house_crash(struct house *h) { house_end(h, broker_abandon); }

/* ---- somebody who is not the bus ---- */

struct outsider { struct msg msg; struct broker_append a; struct house *house; struct mailbox *home; bool done; };

static void outsider_home(struct msg *m) { container_of(m, struct outsider, msg)->done = true; }

static void outsider_done(struct broker_append *a)
{
    struct outsider *o = container_of(a, struct outsider, a);

    o->msg.run = outsider_home;
    mailbox_post(o->home, &o->msg);
}

static void outsider_run(struct msg *m)
{
    struct outsider *o = container_of(m, struct outsider, msg);

    broker_append(o->house->broker, &o->a);
}

static void outside(struct contract *c, const char *topic, int32_t partition, const char *key, const char *value)
{
    struct outsider o = {.house = c->ctx, .home = loop_mailbox(c->loop), .msg.run = outsider_run};
    struct batch_builder w;
    struct bytes view;
    struct err e;

    o.a.topic = str_of(topic);
    o.a.partition = partition;
    o.a.done = outsider_done;
    batch_begin(&w, &o.a.batch, NULL);
    batch_add(&w, &(struct record_new){.timestamp = 1, .key = str_bytes(str_of(key)), .value = str_bytes(str_of(value))});
    assert_int_equal(batch_end(&w, NULL, &view, &e), RC_OK);
    mailbox_post(loop_mailbox(o.house->loop), &o.msg);
    for (unsigned i = 0; i < 1000 && !o.done; i++) loop_turn(c->loop, 20);
    assert_true(o.done);
    assert_int_equal(o.a.err.rc, RC_OK);
}

/* ---- what only the embedded bus promises ---- */

static bool done;

static void on_done(struct bus_op *op)
{
    (void)op;
    done = true;
}

static void begin(struct bus_op *op, struct loop *mine)
{
    done = false;
    op->reply_to = loop_mailbox(mine);
    op->done = on_done;
}

static void await(struct loop *mine)
{
    for (unsigned i = 0; i < 1000 && !done; i++) loop_turn(mine, 20);
    assert_true(done);
}

static void a_closed_bus_ends_what_was_asked(void **state)
{
    struct bus_fetch f = {.topic = STR("__consumer_offsets"), .wait_ms = 1000000, .size_max = 1};
    struct house h = {0};
    struct loop *mine;
    struct err e;

    (void)state;
    house_open(&h, 0);
    assert_int_equal(loop_new(&clock_real, &mine, &e), RC_OK);
    begin(&f.op, mine);
    bus_fetch(h.bus, &f);
    house_close(&h);
    await(mine);
    assert_int_equal(f.op.err.rc, RC_CANCELLED);
    loop_free(mine);
    fs_sim_free(h.disk);
}

static void what_was_acknowledged_outlives_a_power_cut(void **state)
{
    struct bus_offset at = {0, 42, STR("words")};
    struct bus_topic t = {.topic = STR("t"), .partitions = 1, .replication = 1};
    struct bus_commit c = {.group = STR("g"), .topic = STR("t"), .offsets = &at, .offsets_n = 1};
    struct bus_append a = {.topic = STR("t")};
    struct bus_record r = {.timestamp_ms = -1, .value = bytes_of("v", 1)};
    struct bus_fetch f = {.topic = STR("t"), .size_max = 1 << 20};
    struct house h = {0};
    struct loop *mine;
    struct err e;
    char first[40];

    (void)state;
    assert_int_equal(loop_new(&clock_real, &mine, &e), RC_OK);
    house_open(&h, 0);
    snprintf(first, sizeof first, "%s", bus_facts(h.bus)->incarnation);
    begin(&t.op, mine);
    bus_topic_ensure(h.bus, &t);
    await(mine);
    begin(&a.op, mine);
    bus_append(h.bus, &a, &r, 1);
    await(mine);
    begin(&c.op, mine);
    bus_commit(h.bus, &c);
    await(mine);
    assert_int_equal(t.op.err.rc + a.op.err.rc + c.op.err.rc, RC_OK);

    fs_sim_cut(h.disk);
    house_crash(&h);
    fs_sim_power_on(h.disk);
    house_open(&h, 0);
    assert_string_not_equal(first, bus_facts(h.bus)->incarnation);
    c = (struct bus_commit){.group = STR("g"), .topic = STR("t"), .offsets_n = 1};
    begin(&c.op, mine);
    bus_committed(h.bus, &c);
    await(mine);
    assert_int_equal(c.offsets[0].offset, 42);
    assert_str(c.offsets[0].metadata, "words");
    bus_committed_fini(&c);
    begin(&f.op, mine);
    bus_fetch(h.bus, &f);
    await(mine);
    assert_int_equal(f.records_n, 1);
    bus_fetch_fini(&f);
    house_close(&h);
    loop_free(mine);
    fs_sim_free(h.disk);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_closed_bus_ends_what_was_asked),
        cmocka_unit_test(what_was_acknowledged_outlives_a_power_cut),
    };
    struct house h = {0};
    struct contract c = {.prefix = "contract", .message_bytes_max = 1 << 20, .outside = outside, .ctx = &h};
    struct err e;
    int failed;

    house_open(&h, c.message_bytes_max);
    if (loop_new(&clock_real, &c.loop, &e)) return 1;
    c.bus = h.bus;
    failed = contract_run(&c);
    house_close(&h);
    loop_free(c.loop);
    fs_sim_free(h.disk);
    return failed + cmocka_run_group_tests(tests, NULL, NULL);
}
