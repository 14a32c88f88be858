/* Design note: the broker is run as its loop would: what has arrived (frames, messages of workers, timers) is followed by one
 * turn. The turn comes a moment later, so that several arrivals may share it. Workers are drawn one job at a time.
 * SPDX-License-Identifier: Apache-2.0 */
#include "world.h"

#include "base/diag.h"
#include "base/map.h"
#include "bus/embedded.h"
#include "client.h"

#include <stdio.h>

enum { SPINS_MAX = 1000, CLOSE_MS = 10000, TURN_US = 60, WORK_US = 40, START_US = 1000, WAL_BYTES = 1 << 20 };

/* ---- chance, time, trace ---- */

uint64_t world_pick(struct world *w, uint64_t n)
{
    return rng_below(&w->rng, n);
}

bool world_chance(struct world *w, unsigned percent)
{
    return rng_below(&w->rng, 100) < percent;
}

uint64_t world_duration(struct world *w, uint64_t from_us, uint64_t to_us)
{
    uint64_t span = to_us - from_us;

    return from_us + rng_below(&w->rng, (span >> (2 * rng_below(&w->rng, 5))) + 1);
}

void world_after(struct world *w, struct timer *t, uint64_t us, void (*fire)(struct timer *t))
{
    timer_set(&w->queue, t, w->now_us + us, fire);
}

uint32_t world_event(struct world *w, struct event e)
{
    e.at_us = w->now_us;
    world_trace(w, "event", e.client, (uint64_t)e.kind << 32 | e.log, (uint64_t)e.offset);
    return history_add(&w->history, e);
}

void world_trace(struct world *w, const char *what, uint32_t client, uint64_t a, uint64_t b)
{
    struct trace *t = &w->trace[w->trace_n++ % TRACE_MAX];
    uint64_t all[] = {w->hash, w->now_us, client, a, b, fs_sim_ops(w->disk)};

    *t = (struct trace){w->now_us, what, client, a, b};
    w->hash = hash64(bytes_of(all, sizeof all), hash64(str_bytes(str_of(what)), 1));
    if (w->loud)
        printf("%12.3f %-12s client %-2u %016llx %016llx  disk %llu\n", (double)w->now_us / 1000, what,
               client, (unsigned long long)a, (unsigned long long)b,
               (unsigned long long)fs_sim_ops(w->disk));
}

void world_complain(struct world *w, const char *name, const char *fmt, ...)
{
    struct anomaly *a = &w->verdict.anomalies[w->verdict.n];
    va_list ap;

    w->lost = true;
    if (w->verdict.n == ANOMALIES_MAX) return;
    w->verdict.n++;
    a->name = name;
    va_start(ap, fmt);
    vsnprintf(a->text, sizeof a->text, fmt, ap);
    va_end(ap);
}

void world_print(const struct world *w, struct buf *into)
{
    uint64_t from = w->trace_n > 60 ? w->trace_n - 60 : 0;

    for (uint64_t i = from; i < w->trace_n; i++) {
        const struct trace *t = &w->trace[i % TRACE_MAX];

        buf_printf(into, "%12.3f ms  %-12s client %-2u %llx %llx\n", (double)t->at_us / 1000, t->what,
                   t->client, (unsigned long long)t->a, (unsigned long long)t->b);
    }
}

/* ---- the broker's loop ---- */

static void on_turn(struct timer *t);

static void turn_soon(struct world *w)
{
    if (w->b && !timer_is_set(&w->turn)) world_after(w, &w->turn, 1 + world_pick(w, TURN_US), on_turn);
}

static void on_work(struct timer *t)
{
    struct world *w = container_of(t, struct world, work);
    unsigned n = workers_runnable(w->workers);

    if (!n) return;
    world_trace(w, "work", 0, n, 0);
    workers_run_nth(w->workers, (unsigned)world_pick(w, n));
    if (n > 1) world_after(w, t, world_duration(w, WORK_US, w->work_us_max), on_work);
    turn_soon(w);
}

static void work_soon(struct world *w)
{
    if (!timer_is_set(&w->work) && workers_runnable(w->workers))
        world_after(w, &w->work, world_duration(w, WORK_US, w->work_us_max), on_work);
}

/* The loop of those who use the bus, which is not the broker's. */
static void on_homeward(struct timer *t)
{
    struct world *w = container_of(t, struct world, homeward);

    world_trace(w, "home", 0, w->bus_ops, 0);
    mailbox_drain(w->home);
    if (mailbox_pending(w->mailbox)) turn_soon(w);
}

static void home_soon(struct world *w)
{
    if (mailbox_pending(w->home) && !timer_is_set(&w->homeward)) world_after(w, &w->homeward, 1 + world_pick(w, TURN_US), on_homeward);
}

static void on_turn(struct timer *t)
{
    struct world *w = container_of(t, struct world, turn);

    if (!w->b) return;
    mailbox_drain(w->mailbox);
    timers_fire(&w->timers, clock_mono_ms(&w->clock.clock));
    broker_turn(w->b);
    work_soon(w);
    if (mailbox_pending(w->mailbox)) turn_soon(w);
    home_soon(w);
}

static uint64_t next_us(const struct world *w)
{
    uint64_t ours = timers_next(&w->queue), its = timers_next(&w->timers);

    if (its != UINT64_MAX) its = its > UINT64_MAX / 1000 ? UINT64_MAX : its * 1000;
    return MIN(ours, its);
}

static void step(struct world *w)
{
    uint64_t at = next_us(w);

    must(at != UINT64_MAX);
    w->idle_turns = at > w->now_us ? 0 : w->idle_turns + 1;
    if (w->idle_turns > SPINS_MAX) world_complain(w, "spins", "the broker's loop turns without end while no time passes");
    if (at > w->now_us) {
        clock_sim_advance(&w->clock, at - w->now_us);
        w->now_us = at;
    }
    timers_fire(&w->queue, w->now_us);
    if (timers_next(&w->timers) * 1000 <= w->now_us) {
        timer_cancel(&w->queue, &w->turn);
        on_turn(&w->turn);
    }
    if (fs_sim_is_cut(w->disk)) world_end(w, WORLD_POWER_CUT);
}

bool world_run_until(struct world *w, bool (*holds)(struct world *w), uint64_t ms)
{
    uint64_t until = w->now_us + ms * 1000;

    while (!holds(w)) {
        if (w->lost || next_us(w) > until) return false;
        step(w);
    }
    return true;
}

/* ---- start and end ---- */

static void settle_without_broker(struct world *w)
{
    while (mailbox_drain(w->mailbox) || workers_run_one(w->workers) || mailbox_drain(w->home))
        continue;
}

void world_bus_asked(struct world *w)
{
    w->bus_ops++;
    turn_soon(w);
    home_soon(w);                                                 /* some have failed already */
}

void world_bus_ended(struct world *w)
{
    must(w->bus_ops--);
}

static bool bus_is_quiet(struct world *w)
{
    return !w->bus_ops;
}

void world_bus_close(struct world *w)
{
    w->bus = bus_close(w->bus);
    turn_soon(w);
    home_soon(w);
    if (!world_run_until(w, bus_is_quiet, CLOSE_MS) && !w->lost)
        world_complain(w, "stuck", "%llu operations of the bus have not ended after its close", (unsigned long long)w->bus_ops);
}

/* The bus goes before the broker, which may still turn a little: what was asked is told that it is over. */
static void bus_end(struct world *w)
{
    w->bus = bus_close(w->bus);
    if (w->b) mailbox_drain(w->mailbox);
}

static void on_start(struct timer *t)
{
    world_start(container_of(t, struct world, start));
}

void world_start(struct world *w)
{
    struct err e;

    world_event(w, (struct event){.kind = EVENT_START});
    w->started++;
    if (broker_new(&w->opt, &w->b, &e)) {
        w->b = NULL;
        settle_without_broker(w);
        if (fs_sim_is_cut(w->disk))
            fs_sim_power_on(w->disk);
        else if (fs_sim_has_failed(w->disk) || e.rc == RC_DISK_FULL)
            fs_sim_go_on(w->disk);
        else
            world_complain(w, "broker-does-not-start", "%s", e.text);
        world_after(w, &w->start, world_duration(w, START_US, 2000 * START_US), on_start);
        return;
    }
    w->listener = broker_listener_add(w->b, STR("kafka"), STR("127.0.0.1"), 9092);
    w->bus = bus_embedded(&(struct bus_embedded_options){.broker = w->b, .timers = &w->timers, .clock = &w->clock.clock});
    turn_soon(w);
}

void world_end(struct world *w, enum world_end how)
{
    if (!w->b && !fs_sim_is_cut(w->disk)) return;
    world_event(w, (struct event){.kind = EVENT_POWER_CUT, .value = how});
    if (how != WORLD_STOP) fs_sim_cut(w->disk);
    bus_end(w);
    if (how == WORLD_STOP && w->b) broker_drain(w->b);
    list_each_safe(it, &w->clients)
        conn_drop(&container_of(it, struct client, link)->conn);
    if (w->b) w->b = how == WORLD_STOP ? broker_free(w->b) : broker_abandon(w->b);
    settle_without_broker(w);
    must(timers_next(&w->timers) == UINT64_MAX);                  /* a broker leaves nothing behind that could still fire */
    must(!w->bus_ops);                                            /* … and a bus nobody who waits */
    timer_cancel(&w->queue, &w->homeward);
    timer_cancel(&w->queue, &w->turn);
    timer_cancel(&w->queue, &w->work);
    if (how == WORLD_POWER_CUT || fs_sim_is_cut(w->disk))
        how == WORLD_KILL ? fs_sim_go_on(w->disk) : fs_sim_power_on(w->disk);
    w->cuts += how == WORLD_POWER_CUT;
    w->kills += how == WORLD_KILL;
    world_after(w, &w->start, world_duration(w, START_US, 1000 * START_US), on_start);
}

static const struct broker_setting default_settings[] = {
    {{"group.initial.rebalance.delay.ms", 32}, {"50", 2}},
    {{"offsets.topic.num.partitions", 28}, {"2", 1}},
    {{"transaction.state.log.num.partitions", 36}, {"2", 1}},
    {{"log.retention.check.interval.ms", 31}, {"1000", 4}},
    {{"log.cleaner.backoff.ms", 22}, {"500", 3}},
    {{"group.consumer.session.timeout.ms", 33}, {"8000", 4}},      /* WORLD_SESSION_MS */
    {{"group.consumer.heartbeat.interval.ms", 36}, {"1000", 4}},
    {{"auto.create.topics.enable", 25}, {"false", 5}},
};

struct world *world_new(uint64_t seed)
{
    struct world *w = xnew(struct world);
    struct err e;

    random_simulate(seed);
    rng_init(&w->rng, seed * 7919 + 1);
    w->seed = seed;
    w->disk = fs_sim_new(seed);
    clock_sim_init(&w->clock, 1700000000000);
    w->now_us = w->clock.mono_us;
    must(!workers_new(0, &w->workers, &e));
    w->mailbox = mailbox_new();
    w->home = mailbox_new();
    list_init(&w->clients);
    w->clients_n = CLIENTS_FIRST;
    w->work_us_max = 2000;
    w->net_us_max = 1000;
    w->opt = (struct broker_options){.clock = &w->clock.clock,
                                     .mailbox = w->mailbox,
                                     .timers = &w->timers,
                                     .fs = fs_sim_fs(w->disk),
                                     .workers = w->workers,
                                     .dir = "data",
                                     .wal_bytes_max = WAL_BYTES,
                                     .settings = default_settings,
                                     .settings_n = countof(default_settings)};
    return w;
}

struct world *world_free(struct world *w)
{
    if (!w) return NULL;
    w->finishing = true;
    fs_sim_cut(w->disk);
    bus_end(w);
    list_each_safe(it, &w->clients)
        conn_drop(&container_of(it, struct client, link)->conn);
    if (w->b) w->b = broker_abandon(w->b);
    settle_without_broker(w);
    while (!list_empty(&w->clients))
        client_free(container_of(w->clients.next, struct client, link));
    timers_fini(&w->queue);
    timers_fini(&w->timers);
    workers_free(w->workers);
    mailbox_free(w->mailbox);
    mailbox_free(w->home);
    fs_sim_free(w->disk);
    history_fini(&w->history);
    free(w);
    return NULL;
}

/* ---- connections ---- */

static void offer(struct sim_conn *c)
{
    while (c->in.n >= 4 && c->open && !c->later) {
        size_t n = load_be32(c->in.p);
        struct buf frame = {0};
        enum broker_frame_result r;

        must(broker_frame_begins_ok(&c->conn, buf_view(&c->in)));
        must(c->in.n >= 4 + n);
        buf_append(&frame, bytes_sub(buf_view(&c->in), 4, n));
        r = broker_conn_frame(&c->conn, frame.p, n, &frame);
        if (r == BROKER_FRAME_DONE) buf_consume(&c->in, 4 + n);
        if (r == BROKER_FRAME_CLOSE) buf_clear(&c->in);
        c->later = r == BROKER_FRAME_LATER;
        buf_fini(&frame);
    }
    turn_soon(c->w);
}

static void frame_free(struct frame *f)
{
    list_remove(&f->link);
    broker_reply_free(f->reply);
    buf_fini(&f->bytes);
    free(f);
}

static void on_up(struct timer *t);
static void on_down(struct timer *t);

static void travel(struct sim_conn *c, struct list *way, struct timer *t, struct frame *f,
                   void (*arrive)(struct timer *))
{
    uint64_t before = list_empty(way) ? 0 : container_of(way->prev, struct frame, link)->at_us;

    f->at_us = c->w->now_us + 1 + world_duration(c->w, 0, c->w->net_us_max + c->slow_us);
    f->at_us = MAX(f->at_us, before);
    list_init(&f->link);
    list_push(way, &f->link);
    if (!timer_is_set(t)) timer_set(&c->w->queue, t, f->at_us, arrive);
}

static void next_arrival(struct sim_conn *c, struct list *way, struct timer *t, void (*arrive)(struct timer *))
{
    if (c->open && !list_empty(way))
        timer_set(&c->w->queue, t, container_of(way->next, struct frame, link)->at_us, arrive);
}

static void on_up(struct timer *t)
{
    struct sim_conn *c = container_of(t, struct sim_conn, up_timer);
    struct frame *f = container_of(c->up.next, struct frame, link);

    c->w->frames++;
    world_trace(c->w, "request", c->client->id, hash64(buf_view(&f->bytes), 1), f->bytes.n);
    buf_append(&c->in, buf_view(&f->bytes));
    frame_free(f);
    offer(c);
    next_arrival(c, &c->up, t, on_up);
}

/* A reply's bytes leave when they are sent: pieces of files are read only now. */
static bool gather(struct broker_reply *r, struct buf *into)
{
    struct err e;

    for (size_t i = 0; i < broker_reply_parts(r); i++) {
        struct broker_part p = broker_reply_part(r, i);

        if (!p.file) buf_append(into, p.bytes);
        else if (file_read_exact(p.file, buf_grow(into, p.n), p.n, p.offset, &e)) return false;
    }
    return true;
}

static void on_down(struct timer *t)
{
    struct sim_conn *c = container_of(t, struct sim_conn, down_timer);
    struct frame *f = container_of(c->down.next, struct frame, link);
    struct buf bytes = {0};
    bool ok = !f->last && gather(f->reply, &bytes);

    frame_free(f);
    if (ok) {
        world_trace(c->w, "answer", c->client->id, hash64(buf_view(&bytes), 1), bytes.n);
        client_frame(c->client, buf_view(&bytes));
        next_arrival(c, &c->down, t, on_down);
    } else {
        conn_drop(c);
    }
    buf_fini(&bytes);
    turn_soon(c->client->w);
}

static void on_send(struct broker_conn *b, struct broker_reply *r)
{
    struct sim_conn *c = container_of(b, struct sim_conn, conn);
    struct frame *f = xnew(struct frame);

    f->reply = r;
    travel(c, &c->down, &c->down_timer, f, on_down);
}

static void on_close(struct broker_conn *b)
{
    struct sim_conn *c = container_of(b, struct sim_conn, conn);
    struct frame *f = xnew(struct frame);

    f->last = true;
    travel(c, &c->down, &c->down_timer, f, on_down);
}

static void on_resume(struct broker_conn *b)
{
    struct sim_conn *c = container_of(b, struct sim_conn, conn);

    c->later = false;
    offer(c);
}

static const struct broker_conn_ops sim_conn_ops = {
    .send = on_send, .close = on_close, .resume = on_resume};

void conn_open(struct sim_conn *c, struct world *w, struct client *client)
{
    char peer[32];

    must(w->b && !c->open);
    *c = (struct sim_conn){.w = w, .client = client, .open = true};
    list_init(&c->up);
    list_init(&c->down);
    if (world_chance(w, 5)) c->slow_us = world_duration(w, 1000, 3000000);
    snprintf(peer, sizeof peer, "10.0.0.%u:1", client->id);
    world_trace(w, "connect", client->id, c->slow_us, 0);
    broker_conn_init(&c->conn, w->b, w->listener, &sim_conn_ops, str_of(peer));
}

void conn_send(struct sim_conn *c, struct buf *frame)
{
    struct frame *f = xnew(struct frame);

    f->bytes = buf_take(frame);
    travel(c, &c->up, &c->up_timer, f, on_up);
}

void conn_drop(struct sim_conn *c)
{
    if (!c->open) return;
    c->open = false;
    world_trace(c->w, "drop", c->client->id, 0, 0);
    timer_cancel(&c->w->queue, &c->up_timer);
    timer_cancel(&c->w->queue, &c->down_timer);
    while (!list_empty(&c->up))
        frame_free(container_of(c->up.next, struct frame, link));
    while (!list_empty(&c->down))
        frame_free(container_of(c->down.next, struct frame, link));
    broker_conn_fini(&c->conn);
    buf_fini(&c->in);
    turn_soon(c->w);
    client_lost(c->client);
}
