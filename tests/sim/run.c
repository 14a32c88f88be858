/* SPDX-License-Identifier: Apache-2.0 */
#include "run.h"

#include "client.h"

#include <stdio.h>

enum { SETUP_MS = 5000, LOAD_MS = 20000, FINISH_MS = 600000 };

/* ---- what is there before clients come ---- */

static uint64_t topic_make(struct world *w, const char *name, int32_t partitions, const struct broker_setting *settings, size_t n)
{
    struct topic *t;
    uint64_t seq;
    struct err e;

    must(!broker_topic_create(w->b, &(struct broker_topic_spec){.name = str_of(name), .partitions = partitions, .replication = 1,
                                                                .configs = settings, .configs_n = n}, &t, &seq, &e));
    return seq;
}

static void on_durable(struct broker_wait *x)
{
    x->seq = 0;
}

static struct broker_wait made;

static bool is_made(struct world *w)
{
    (void)w;
    return !made.seq;
}

static void topics_make(struct world *w)
{
    static const struct broker_setting small[] = {{{"segment.bytes", 13}, {"16384", 5}}};
    static const struct broker_setting compacted[] = {{{"segment.bytes", 13}, {"14000", 5}},
                                                      {{"cleanup.policy", 14}, {"compact", 7}},
                                                      {{"min.cleanable.dirty.ratio", 25}, {"0.01", 4}}};

    (void)topic_make(w, "a", 3, small, countof(small));
    (void)topic_make(w, "b", 1, NULL, 0);
    made = (struct broker_wait){.done = on_durable};
    broker_wait_start(w->b, &made, topic_make(w, "k", 1, compacted, countof(compacted)));
    must(world_run_until(w, is_made, SETUP_MS));
    (void)history_reg(&w->history, "none");                       /* 0, where an event has no register */
    for (uint32_t i = 0; i < DATA_LOGS; i++) {
        char name[32];

        snprintf(name, sizeof name, "%s-%d", data_logs[i].topic, data_logs[i].partition);
        must(history_log_add(&w->history, name) == i);
        w->history.logs[i].compacted = data_logs[i].compacted;
        w->log_ids[i] = topic_uuid(broker_topic(w->b, str_of(data_logs[i].topic)));
    }
}

static void clients_make(struct world *w)
{
    for (uint64_t n = 1 + world_pick(w, 4); n--;)
        producer_new(w);
    for (uint64_t n = world_pick(w, 4); n--;)
        transactor_new(w, (unsigned)world_pick(w, 4));
    for (uint64_t n = world_pick(w, 4); n--;)
        processor_new(w, false);
    for (uint64_t n = world_pick(w, 4); n--;)
        processor_new(w, true);
    for (uint64_t n = world_pick(w, 4); n--;)
        member_new(w, "m", world_chance(w, 30));
    for (uint64_t n = world_pick(w, 4); n--;)
        subscriber_new(w, "n");
    for (uint64_t n = world_pick(w, 3); n--;)
        committer_new(w, "c");
    for (uint64_t n = world_pick(w, 3); n--;)
        admin_new(w);
    for (uint64_t n = world_pick(w, 3); n--;)
        submitter_new(w, "s");
    for (uint64_t n = world_pick(w, 3); n--;)
        watcher_new(w);
    reader_new(w, false);
    if (world_chance(w, 50)) reader_new(w, true);
}

/* ---- how it ends ---- */

static bool never(struct world *w)
{
    return w->lost;
}

static bool are_done(struct world *w, bool writers_only)
{
    if (!w->b) return false;
    list_each(it, &w->clients)
    {
        struct client *c = container_of(it, struct client, link);

        if (!(writers_only && c->kind->reads) && !c->kind->is_done(c)) return false;
    }
    return true;
}

static bool writers_done(struct world *w)
{
    return are_done(w, true);
}

static bool all_done(struct world *w)
{
    return are_done(w, false);
}

static void finish(struct world *w)
{
    w->finishing = true;
    if (world_run_until(w, writers_done, FINISH_MS)) {
        w->written_us = w->now_us;
        w->written_at = (uint32_t)w->history.n;
        if (world_run_until(w, all_done, FINISH_MS)) return;
    }
    if (w->lost) return;
    list_each(it, &w->clients)
    {
        struct client *c = container_of(it, struct client, link);

        if (!c->kind->is_done(c)) world_event(w, (struct event){.kind = EVENT_STUCK, .client = c->id});
    }
}

static void clients_end(struct world *w)
{
    world_bus_close(w);
    if (w->lost) return;                                          /* the world frees them with the broker */
    while (!list_empty(&w->clients))
        client_free(container_of(w->clients.next, struct client, link));
}

static void audit(struct world *w)
{
    clients_end(w);
    if (w->lost) return;
    if (world_chance(w, 60)) world_end(w, (enum world_end)world_pick(w, 3));
    auditor_new(w, false);
    auditor_new(w, true);
    finish(w);
    clients_end(w);
}

/* ---- what is told ---- */

static void story_write(struct world *w, struct run_result *r)
{
    uint64_t from = w->history.n > 80 && !w->loud ? w->history.n - 80 : 0;

    buf_append_str(&r->story, STR("the last events of the history:\n"));
    for (uint64_t i = from; i < w->history.n; i++)
        event_print(&w->history, i, &r->story);
    buf_append_str(&r->story, STR("the last things that happened:\n"));
    world_print(w, &r->story);
    for (size_t i = 0; i < r->verdict.n; i++)
        buf_printf(&r->story, "seed %llu: %s: %s\n", (unsigned long long)w->seed, r->verdict.anomalies[i].name, r->verdict.anomalies[i].text);
}

static void judge(struct world *w, struct run_result *r)
{
    r->verdict = w->verdict;
    if (!r->verdict.n) history_check(&w->history, &r->verdict);
    r->hash = w->hash;
    r->events = w->history.n;
    r->frames = w->frames;
    r->disk_ops = fs_sim_ops(w->disk);
    r->simulated_ms = w->now_us / 1000;
    r->starts = w->started;
    r->cuts = w->cuts;
    r->kills = w->kills;
    if (r->verdict.n) story_write(w, r);
}

void run_seed(const struct run_options *o, struct run_result *ret)
{
    struct world *w = world_new(o->seed);
    struct nemesis *n;

    *ret = (struct run_result){0};
    w->loud = o->loud;
    world_start(w);
    topics_make(w);
    fs_sim_lie(w->disk, o->lies);
    clients_make(w);
    n = nemesis_new(w);
    (void)world_run_until(w, never, world_duration(w, 200, LOAD_MS));
    nemesis_end(n);
    if (!w->lost) finish(w);
    n = nemesis_free(n);
    if (!w->lost) audit(w);
    judge(w, ret);
    world_free(w);
}

void run_result_fini(struct run_result *r)
{
    buf_fini(&r->story);
}
