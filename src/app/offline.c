/* Design note: the broker as ever, on a loop that turns only while somebody waits, with a listener that is none.
 * SPDX-License-Identifier: Apache-2.0 */
#include "app/offline.h"
#include "broker/broker.h"
#include "bus/bus.h"
#include "bus/embedded.h"
#include "net/loop.h"
#include "sys/fs.h"
#include "sys/worker.h"

enum { WORKERS = 2, TURN_MS = 100, KAFKA_PORT = 9092, DRAIN_MS = 5000 };

struct offline {
    struct loop *loop;
    struct workers *workers;
    struct broker *broker;
    struct bus *bus;
};

enum rc offline_open(const char *dir, struct offline **ret, struct err *e)
{
    struct offline *o = xnew(struct offline);
    struct broker_options with = {.fs = &fs_real, .dir = dir, .acls = true};

    if (loop_new(&clock_real, &o->loop, e) || workers_new(WORKERS, &o->workers, e)) goto fail;
    with.loop = o->loop;
    with.workers = o->workers;
    if (broker_new(&with, &o->broker, e)) goto fail;
    broker_listener_add(o->broker, STR("offline"), STR("127.0.0.1"), KAFKA_PORT);
    o->bus = bus_embedded(&(struct bus_embedded_options){.broker = o->broker, .timers = loop_timers(o->loop), .clock = &clock_real});
    *ret = o;
    return RC_OK;
fail:
    offline_close(o);
    return e->rc;
}

struct question { struct bus_ask ask; bool done; };

static void answered(struct bus_op *op)
{
    container_of(container_of(op, struct bus_ask, op), struct question, ask)->done = true;
}

enum rc offline_ask(struct offline *o, struct bytes frame, struct buf *ret, struct err *e)
{
    struct question q = {.ask = {.op = {.reply_to = loop_mailbox(o->loop), .done = answered}, .frame = frame, .node = BUS_ASK_ANY}};

    bus_ask(o->bus, &q.ask);
    while (!q.done) loop_turn(o->loop, TURN_MS);
    *ret = buf_take(&q.ask.answer);
    *e = q.ask.op.err;
    bus_ask_fini(&q.ask);
    return e->rc;
}

struct offline *offline_close(struct offline *o)
{
    if (!o) return NULL;
    o->bus = bus_close(o->bus);
    if (o->broker) {
        uint64_t until = clock_mono_ms(&clock_real) + DRAIN_MS;

        broker_drain(o->broker);
        while (!broker_is_drained(o->broker) && clock_mono_ms(&clock_real) < until) loop_turn(o->loop, TURN_MS);
        o->broker = broker_free(o->broker);
    }
    workers_free(o->workers);
    loop_free(o->loop);
    free(o);
    return NULL;
}
