/* SPDX-License-Identifier: Apache-2.0 */
#include "house.h"
#include "kafka/batch_build.h"
#include "sys/thread.h"
#include "sys/worker.h"
#include "test.h"

static void turn(void *arg)
{
    struct house *h = arg;

    loop_run(h->loop);
}

void house_open(struct house *h, size_t message_bytes_max, bool listen)
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
    h->bus = bus_embedded(&(struct bus_embedded_options){.broker = h->broker,
                                                         .timers = loop_timers(h->loop),
                                                         .clock = &clock_real,
                                                         .message_bytes_max = message_bytes_max});
    h->port = 0;
    if (listen)
        assert_int_equal(
            broker_listen(h->broker,
                          &(struct broker_listen){.name = STR("kafka"), .host = STR("127.0.0.1")},
                          &h->port, &e),
            RC_OK);
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

void house_close(struct house *h)
{
    house_end(h, broker_free);
}
void house_crash(struct house *h)
{
    house_end(h, broker_abandon);
}

/* ---- somebody who is not the bus ---- */

struct outsider {
    struct msg msg;
    struct broker_append a;
    struct house *house;
    struct mailbox *home;
    bool done;
};

static void outsider_home(struct msg *m)
{
    container_of(m, struct outsider, msg)->done = true;
}

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

void house_outside(struct contract *c, const char *topic, int32_t partition, const char *key,
                   const char *value)
{
    struct outsider o = {.house = c->ctx, .home = loop_mailbox(c->loop), .msg.run = outsider_run};
    struct batch_builder w;
    struct bytes view;
    struct err e;

    o.a.topic = str_of(topic);
    o.a.partition = partition;
    o.a.done = outsider_done;
    batch_begin(&w, &o.a.batch, NULL);
    batch_add(&w, &(struct record_new){.timestamp = 1,
                                       .key = str_bytes(str_of(key)),
                                       .value = str_bytes(str_of(value))});
    assert_int_equal(batch_end(&w, NULL, &view, &e), RC_OK);
    mailbox_post(loop_mailbox(o.house->loop), &o.msg);
    for (unsigned i = 0; i < 1000 && !o.done; i++)
        loop_turn(c->loop, 20);
    assert_true(o.done);
    assert_int_equal(o.a.err.rc, RC_OK);
}
