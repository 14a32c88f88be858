/* SPDX-License-Identifier: Apache-2.0 */
#include "broker_rig.h"

#include <stdio.h>

void rig_init(struct rig *g, uint64_t seed)
{
    memset(g, 0, sizeof *g);
    g->disk = fs_sim_new(seed);
    clock_sim_init(&g->clock, 1700000000000);
    must(!workers_new(0, &g->workers, &g->err));
    g->mailbox = mailbox_new();
    g->opt = (struct broker_options){.clock = &g->clock.clock,
                                     .mailbox = g->mailbox,
                                     .timers = &g->timers,
                                     .fs = fs_sim_fs(g->disk),
                                     .workers = g->workers,
                                     .dir = "data",
                                     .wal_bytes_max = 4 << 20};
}

enum rc rig_open(struct rig *g)
{
    enum rc rc = broker_new(&g->opt, &g->b, &g->err);

    if (!rc) g->listener = broker_listener_add(g->b, STR("kafka"), STR("127.0.0.1"), 9092);
    return rc;
}

void rig_close(struct rig *g)
{
    g->b = broker_free(g->b);
    rig_settle(g);
}

void rig_crash(struct rig *g)
{
    g->b = broker_abandon(g->b);
    rig_settle(g);
}

void rig_fini(struct rig *g)
{
    if (g->b) rig_crash(g);
    timers_fini(&g->timers);
    workers_free(g->workers);
    mailbox_free(g->mailbox);
    fs_sim_free(g->disk);
    memset(g, 0, sizeof *g);
}

void rig_settle(struct rig *g)
{
    bool any = true;

    while (any) {
        any = mailbox_drain(g->mailbox) > 0;
        if (timers_next(&g->timers) <= clock_mono_ms(&g->clock.clock)) {
            timers_fire(&g->timers, clock_mono_ms(&g->clock.clock));
            any = true;
        }
        if (g->b) broker_turn(g->b);
        any = (g->hold_oldest ? workers_runnable(g->workers) > 1 && workers_run_nth(g->workers, 1)
                              : workers_run_one(g->workers)) ||
              any || mailbox_pending(g->mailbox);
    }
}

void rig_advance(struct rig *g, uint64_t ms)
{
    clock_sim_advance(&g->clock, ms * 1000);
    rig_settle(g);
}

/* ---- connections ---- */

static void offer(struct rig_conn *c)
{
    while (c->in.n >= 4 && !c->later && !c->closed) {
        size_t n = load_be32(c->in.p);
        struct buf frame = {0};

        if (!broker_frame_begins_ok(&c->conn, buf_view(&c->in))) {
            c->closed = true;
            return;
        }
        if (c->in.n < 4 + n) return;
        buf_append(&frame, bytes_sub(buf_view(&c->in), 4, n));
        switch (broker_conn_frame(&c->conn, frame.p, n, &frame)) {
        case BROKER_FRAME_DONE: buf_consume(&c->in, 4 + n); break;
        case BROKER_FRAME_LATER: c->later = true; break;
        case BROKER_FRAME_CLOSE: buf_clear(&c->in); break;
        }
        buf_fini(&frame);
    }
}

static void on_send(struct broker_conn *b, struct broker_reply *r)
{
    struct rig_conn *c = container_of(b, struct rig_conn, conn);

    for (size_t i = 0; i < broker_reply_parts(r); i++) {
        struct broker_part p = broker_reply_part(r, i);
        struct err e;

        if (p.file)
            must(!file_read_exact(p.file, buf_grow(&c->out, p.n), p.n, p.offset, &e));
        else
            buf_append(&c->out, p.bytes);
    }
    broker_reply_free(r);
}

static void on_close(struct broker_conn *b)
{
    container_of(b, struct rig_conn, conn)->closed = true;
}

static void on_resume(struct broker_conn *b)
{
    struct rig_conn *c = container_of(b, struct rig_conn, conn);

    c->later = false;
    offer(c);
}

static const struct broker_conn_ops rig_ops = {
    .send = on_send, .close = on_close, .resume = on_resume};

void rig_connect(struct rig *g, struct rig_conn *c)
{
    memset(c, 0, sizeof *c);
    c->rig = g;
    broker_conn_init(&c->conn, g->b, g->listener, &rig_ops, STR("127.0.0.1:1"));
}

void rig_hang_up(struct rig_conn *c)
{
    broker_conn_fini(&c->conn);
    buf_fini(&c->in);
    buf_fini(&c->out);
    c->closed = true;
}

void rig_send(struct rig_conn *c, struct bytes frame)
{
    buf_append(&c->in, frame);
    offer(c);
    rig_settle(c->rig);
}

bool rig_answer(struct rig_conn *c, struct buf *into)
{
    size_t n;

    buf_clear(into);
    if (c->out.n < 4) return false;
    n = 4 + (size_t)load_be32(c->out.p);
    must(n <= c->out.n);
    buf_append(into, bytes_sub(buf_view(&c->out), 0, n));
    buf_consume(&c->out, n);
    return true;
}
