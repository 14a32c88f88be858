/* Reads through the bus: watches one log, which shows what others than the bus have sent, and fetches the other ones.
 * SPDX-License-Identifier: Apache-2.0 */
#include "bus/bus.h"
#include "client.h"

struct watcher {
    struct client c;
    uint32_t watched, fetched;           /* logs */
    int64_t position[DATA_LOGS];         /* -1: to be asked for */
    int64_t end[DATA_LOGS];              /* where everything was written; -1: not known yet */
    bool busy, watching, stopping, owes;                 /* owes: has been given a piece and not asked for more */
    uint32_t begun;
    struct bus_watch watch;
    struct bus_fetch fetch;
    struct bus_topic topic;
};

static struct watcher *watcher_of(struct client *c) { return container_of(c, struct watcher, c); }

static void go_on(struct watcher *x)
{
    client_wake(&x->c, world_duration(x->c.w, 10, 20000));
}

static void begin(struct watcher *x, struct bus_op *op, void (*done)(struct bus_op *op))
{
    *op = (struct bus_op){.reply_to = x->c.w->home, .done = done};
}

/* What was given, into the history. */
static void take(struct watcher *x, uint32_t log, bool watch, const struct bus_record *records, size_t n, int64_t next)
{
    struct world *w = x->c.w;
    uint32_t begun = (uint32_t)w->history.n;

    for (size_t i = 0; i < n; i++) {
        uint64_t value = 0;

        for (size_t k = 1; k < records[i].value.n && records[i].value.p[k] >= '0' && records[i].value.p[k] <= '9'; k++)
            value = value * 10 + (uint64_t)(records[i].value.p[k] - '0');
        if (!value) world_complain(w, "invented", "a record that no client wrote at offset %lld", (long long)records[i].offset);
        world_event(w, (struct event){.kind = EVENT_READ, .client = x->c.id, .log = log, .committed = true, .bus = watch,
                                      .value = value, .offset = records[i].offset});
    }
    if (next == x->position[log]) return;
    world_event(w, (struct event){.kind = EVENT_POLLED, .client = x->c.id, .log = log, .committed = true, .bus = watch, .begun = begun,
                                  .offset = x->position[log], .next = next});
    x->position[log] = next;
}

/* ---- bounds ---- */

static void on_described(struct bus_op *op)
{
    struct watcher *x = container_of(op, struct watcher, topic.op);
    struct world *w = x->c.w;

    world_bus_ended(w);
    for (uint32_t i = 0; i < DATA_LOGS && !op->err.rc; i++) {
        int32_t p = data_logs[i].partition;

        if (!str_is(x->topic.topic, data_logs[i].topic)) continue;
        must(p < x->topic.partitions);
        world_event(w, (struct event){.kind = EVENT_BOUNDS, .client = x->c.id, .log = i, .begun = x->begun, .offset = x->topic.start_offsets[p],
                                      .next = -1, .value = (uint64_t)x->topic.end_offsets[p]});
        if (w->written_us && x->begun >= w->written_at) x->end[i] = x->topic.end_offsets[p];
        if (x->position[i] >= 0) continue;
        x->position[i] = x->topic.start_offsets[p];
        world_event(w, (struct event){.kind = EVENT_SEEK, .client = x->c.id, .log = i, .offset = x->position[i]});
    }
    bus_topic_fini(&x->topic);
    x->busy = false;
    go_on(x);
}

static void describe(struct watcher *x, uint32_t log)
{
    x->busy = true;
    begin(x, &x->topic.op, on_described);
    x->topic.topic = str_of(data_logs[log].topic);
    x->begun = world_event(x->c.w, (struct event){.kind = EVENT_BOUNDS_ASK, .client = x->c.id, .log = log});
    bus_topic_describe(x->c.w->bus, &x->topic);
    world_bus_asked(x->c.w);
}

/* ---- the watch ---- */

static void on_records(struct bus_watch *b, const struct bus_record *records, size_t n, int64_t next)
{
    struct watcher *x = container_of(b, struct watcher, watch);

    take(x, x->watched, true, records, n, next);
    x->owes = true;
    go_on(x);
}

static void on_watch_ended(struct bus_op *op)
{
    struct watcher *x = container_of(op, struct watcher, watch.op);

    world_trace(x->c.w, "watch ends", x->c.id, op->err.rc, 0);
    world_bus_ended(x->c.w);
    if (op->err.rc == RC_OK) world_complain(x->c.w, "watch", "a watch has ended and does not say why");
    if (op->err.rc == RC_INVALID) x->position[x->watched] = -1;
    x->watching = x->stopping = x->owes = false;
    go_on(x);
}

static void watch(struct watcher *x)
{
    begin(x, &x->watch.op, on_watch_ended);
    x->watch.topic = str_of(data_logs[x->watched].topic);
    x->watch.partition = data_logs[x->watched].partition;
    x->watch.offset = x->position[x->watched];
    x->watch.records = on_records;
    x->watching = true;
    bus_watch(x->c.w->bus, &x->watch);
    world_bus_asked(x->c.w);
    bus_watch_more(x->c.w->bus, &x->watch);
}

static void watch_on(struct watcher *x)
{
    struct bus *bus = x->c.w->bus;

    if (!x->watching) {
        if (x->position[x->watched] >= 0) watch(x);
    } else if (x->owes) {
        x->owes = false;
        bus_watch_more(bus, &x->watch);
    } else if (!x->stopping && world_chance(x->c.w, 20)) {
        bus_watch_tell(bus, &x->watch);
    } else if (!x->stopping && !x->c.w->finishing && world_chance(x->c.w, 2)) {
        x->stopping = true;
        bus_watch_stop(bus, &x->watch);
    }
}

/* ---- fetches ---- */

static void on_fetched(struct bus_op *op)
{
    struct watcher *x = container_of(op, struct watcher, fetch.op);

    world_trace(x->c.w, "fetched", x->c.id, op->err.rc, x->fetch.records_n);
    world_bus_ended(x->c.w);
    if (op->err.rc == RC_INVALID) x->position[x->fetched] = -1;
    else if (!op->err.rc) take(x, x->fetched, false, x->fetch.records, x->fetch.records_n, x->fetch.next_offset);
    bus_fetch_fini(&x->fetch);
    x->busy = false;
    go_on(x);
}

static void fetch(struct watcher *x, uint32_t log)
{
    struct world *w = x->c.w;

    x->busy = true;
    x->fetched = log;
    begin(x, &x->fetch.op, on_fetched);
    if (world_chance(w, 10)) x->fetch.op.deadline_ms = clock_mono_ms(&w->clock.clock) + world_pick(w, 100);
    x->fetch.topic = str_of(data_logs[log].topic);
    x->fetch.partition = data_logs[log].partition;
    x->fetch.offset = x->position[log];
    x->fetch.size_max = 1 + world_duration(w, 0, 200000);
    x->fetch.wait_ms = w->finishing ? 1 : world_pick(w, 200);
    bus_fetch(w->bus, &x->fetch);
    world_bus_asked(w);
}

static void read_on(struct watcher *x)
{
    uint32_t log = (uint32_t)world_pick(x->c.w, DATA_LOGS);

    for (uint32_t i = 0; i < DATA_LOGS; i++)
        if (x->position[i] < 0 || (x->c.w->written_us && x->end[i] < 0)) return describe(x, i);
    if (log != x->watched) fetch(x, log);
    else if (world_chance(x->c.w, 20)) describe(x, log);
}

static void wake(struct client *c)
{
    struct watcher *x = watcher_of(c);

    watch_on(x);
    if (!x->busy) read_on(x);
    client_wake(c, world_duration(c->w, 1000, c->w->finishing ? 20000 : 100000));
}

static bool is_done(struct client *c)
{
    struct watcher *x = watcher_of(c);

    for (uint32_t i = 0; i < DATA_LOGS; i++)
        if (x->end[i] < 0 || x->position[i] < x->end[i]) return false;
    return !x->busy;
}

static const struct client_kind kind = {.name = "watcher", .size = sizeof(struct watcher), .reads = true, .inside = true, .wake = wake, .is_done = is_done};

struct client *watcher_new(struct world *w)
{
    struct watcher *x = client_new(w, &kind);

    x->watched = (uint32_t)world_pick(w, DATA_LOGS);
    for (uint32_t i = 0; i < DATA_LOGS; i++)
        x->position[i] = x->end[i] = -1;
    return &x->c;
}
