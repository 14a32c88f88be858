/* A member of a consumer group in the newer protocol (KIP-848): says in heartbeats what it wants and what it owns, gives up what the
 * answer leaves out, takes what it adds, reads that from where the group has committed, and commits. Sometimes it leaves,
 * sometimes it falls silent. After a lost answer it says everything once more, as clients do.
 *
 * It may count on what it owns for a session's time from when it sent the last heartbeat that was answered: that is what
 * EVENT_ALIVE says. SPDX-License-Identifier: Apache-2.0 */
#include "commits.h"

#include <stdio.h>

enum { REBALANCE_MS = 60000, BEAT_US = 1000000 };

struct subscriber {
    struct client c;
    const char *group;
    char id[64], instance[16];           /* instance: empty, or a static member */
    int16_t version;                     /* of the heartbeat: 0 lets the broker make the id */
    bool pattern;                        /* subscribes by a regular expression */
    int32_t epoch;                       /* 0: not in */
    bool whole;                          /* the next heartbeat says everything */
    bool changed;                        /* … or what it owns */
    bool leaving;
    bool owns[DATA_LOGS];
    int64_t position[DATA_LOGS];         /* -1: to be asked for */
    uint64_t sent_us, beat_us;           /* the last heartbeat; the last one that was answered */
    uint32_t joined;
    unsigned quiet;                      /* polls left until it may be done */
};

static struct subscriber *subscriber_of(struct client *c) { return container_of(c, struct subscriber, c); }

static struct committing by_it(const struct subscriber *s)
{
    return (struct committing){.group = s->group, .member = str_of(s->id), .generation = s->epoch, .newer = true};
}

static void tell(struct subscriber *s, enum event_kind kind, uint32_t log, uint64_t value)
{
    world_event(s->c.w, (struct event){.kind = kind, .client = s->c.id, .reg = group_register(s->c.w, s->group), .log = log, .value = value});
}

static void give_up(struct subscriber *s, uint32_t log)
{
    if (!s->owns[log]) return;
    s->owns[log] = false;
    s->changed = true;
    tell(s, EVENT_YIELD, log, 0);
}

static void give_up_all(struct subscriber *s)
{
    for (uint32_t i = 0; i < DATA_LOGS; i++)
        give_up(s, i);
}

static void start_again(struct subscriber *s)
{
    give_up_all(s);
    s->epoch = 0;
    s->whole = true;
    s->leaving = false;
}

/* ---- heartbeats ---- */

static void assigned(struct subscriber *s, const struct consumer_group_heartbeat_response_assignment *a)
{
    bool given[DATA_LOGS] = {0};

    for (size_t t = 0; t < a->topic_partitions_n; t++)
        for (size_t p = 0; p < a->topic_partitions[t].partitions_n; p++) {
            uint32_t log = 0;

            while (log < DATA_LOGS && !(uuid_eq(&s->c.w->log_ids[log], &a->topic_partitions[t].topic_id) &&
                                        data_logs[log].partition == a->topic_partitions[t].partitions[p]))
                log++;
            must(log < DATA_LOGS);
            given[log] = true;
        }
    for (uint32_t i = 0; i < DATA_LOGS; i++) {
        if (!given[i]) give_up(s, i);
        if (!given[i] || s->owns[i]) continue;
        s->owns[i] = s->changed = true;
        s->position[i] = -1;
        tell(s, EVENT_LEASE, i, (uint64_t)s->epoch);
    }
}

static void on_beaten(struct client *c, struct call *k, const void *response)
{
    struct subscriber *s = subscriber_of(c);
    const struct consumer_group_heartbeat_response *a = response;

    if (!a) {
        s->whole = true;
        return;
    }
    world_trace(c->w, "beaten", c->id, (uint64_t)a->error_code, (uint64_t)a->member_epoch);
    if (a->error_code == KAFKA_ERR_UNKNOWN_MEMBER_ID || a->error_code == KAFKA_ERR_FENCED_MEMBER_EPOCH) {
        start_again(s);
    } else if (a->error_code) {
        s->whole = true;
    } else if (s->leaving) {
        start_again(s);
        return client_wake(c, world_duration(c->w, 1000, 10000000));
    } else {
        if (a->member_epoch < s->epoch)
            world_complain(c->w, "generation-backwards", "client %u: its epoch was %d and is %d", c->id, s->epoch, a->member_epoch);
        snprintf(s->id, sizeof s->id, STR_FMT, STR_ARG(a->member_id));
        s->epoch = a->member_epoch;
        s->beat_us = k->tag;
        tell(s, EVENT_ALIVE, 0, k->tag + WORLD_SESSION_MS * UINT64_C(1000));
        if (a->assignment) assigned(s, a->assignment);
    }
    client_wake(c, world_duration(c->w, 1, 30000));
}

/* What it owns, a row for each partition. */
static size_t owned_of(const struct subscriber *s, int32_t numbers[DATA_LOGS], struct consumer_group_heartbeat_request_topic_partition rows[DATA_LOGS])
{
    size_t n = 0;

    for (uint32_t i = 0; i < DATA_LOGS; i++) {
        if (!s->owns[i]) continue;
        numbers[n] = data_logs[i].partition;
        rows[n] = (struct consumer_group_heartbeat_request_topic_partition){s->c.w->log_ids[i], &numbers[n], 1};
        n++;
    }
    return n;
}

static void beat(struct subscriber *s)
{
    struct str names[] = {STR("a"), STR("b"), STR("k")};
    struct consumer_group_heartbeat_request_topic_partition rows[DATA_LOGS];
    int32_t numbers[DATA_LOGS];
    struct consumer_group_heartbeat_request q;
    bool whole = s->whole || !s->epoch;

    consumer_group_heartbeat_request_init_defaults(&q);
    q.group_id = str_of(s->group);
    q.member_id = str_of(s->id);
    q.member_epoch = s->leaving ? s->instance[0] ? -2 : -1 : s->epoch;
    q.instance_id = s->instance[0] ? str_of(s->instance) : (struct str){0};
    q.rebalance_timeout_ms = whole ? REBALANCE_MS : -1;
    q.subscribed_topic_names_null = !whole || s->pattern;
    if (whole && !s->pattern) {
        q.subscribed_topic_names = names;
        q.subscribed_topic_names_n = countof(names);
    }
    if (whole && s->pattern) q.subscribed_topic_regex = STR("a|b|k");
    q.topic_partitions = rows;
    q.topic_partitions_null = !whole && !s->changed;
    q.topic_partitions_n = q.topic_partitions_null ? 0 : owned_of(s, numbers, rows);
    s->whole = s->changed = false;
    s->sent_us = s->c.w->now_us;
    client_ask(&s->c, KAFKA_CONSUMER_GROUP_HEARTBEAT, s->version, &q, on_beaten)->tag = s->c.w->now_us;
}

static void leave(struct subscriber *s)
{
    give_up_all(s);
    s->leaving = true;
    beat(s);
}

/* ---- reading ---- */

static void seek(struct subscriber *s, uint32_t log, int64_t offset)
{
    s->position[log] = offset;
    world_event(s->c.w, (struct event){.kind = EVENT_SEEK, .client = s->c.id, .log = log, .offset = offset});
}

static void on_start(struct client *c, struct call *k, const void *response)
{
    struct subscriber *s = subscriber_of(c);
    const struct list_offsets_response *a = response;

    if (!a) return;
    if (!a->topics[0].partitions[0].error_code && s->owns[k->log]) seek(s, k->log, a->topics[0].partitions[0].offset);
    client_wake(c, world_duration(c->w, 1, 2000));
}

static void on_offsets(struct client *c, struct call *k, const void *response)
{
    struct subscriber *s = subscriber_of(c);
    int64_t offsets[DATA_LOGS];
    uint32_t log = k->log;

    if (!committed_ended(c, k, s->group, response, offsets)) {
        if (response) client_wake(c, world_duration(c->w, 1000, 50000));
    } else if (s->owns[log] && offsets[log] >= 0) {
        seek(s, log, offsets[log]);
        client_wake(c, 1);
    } else {
        client_ask_offset(c, log, -2, false, on_start);
    }
}

static void on_fetched(struct client *c, struct call *k, const void *response)
{
    share_take(c, k, response, &subscriber_of(c)->position[k->log], &subscriber_of(c)->quiet, on_start);
}

static void on_committed(struct client *c, struct call *k, const void *response)
{
    struct subscriber *s = subscriber_of(c);
    struct committing by = by_it(s);
    int16_t code = commit_ended(c, k, &by, response);

    if (code == KAFKA_ERR_UNKNOWN_MEMBER_ID || code == KAFKA_ERR_FENCED_MEMBER_EPOCH) start_again(s);
    else if (code == KAFKA_ERR_STALE_MEMBER_EPOCH) s->whole = true;
    if (response) client_wake(c, world_duration(c->w, 1, 10000));
}

static void work(struct subscriber *s)
{
    uint32_t log = any_of_share(s->c.w, s->owns);
    struct committing by = by_it(s);

    if (log == DATA_LOGS) {
        if (s->quiet && s->c.w->written_us) s->quiet--;
        client_wake(&s->c, world_duration(s->c.w, 1000, 300000));
    } else if (s->position[log] < 0) {
        committed_ask(&s->c, s->group, on_offsets)->log = log;
    } else if (world_chance(s->c.w, 15)) {
        (void)commit_ask(&s->c, &by, log, s->position[log], on_committed);
    } else {
        share_fetch(&s->c, log, s->position[log], on_fetched);
    }
}

/* ---- what next ---- */

static void wake(struct client *c)
{
    struct subscriber *s = subscriber_of(c);
    uint64_t what = world_pick(c->w, 1000);
    bool due = s->whole || s->changed || c->w->now_us - s->sent_us > BEAT_US;

    if (client_waits(c)) return;
    if (!s->epoch || s->leaving || (due && world_chance(c->w, 60))) beat(s);        /* else a little late: it goes on working meanwhile */
    else if (what < 6 && !c->w->finishing) leave(s);
    else if (what < 20 && !c->w->finishing) client_wake(c, world_duration(c->w, 1000000, 40000000));          /* silent for a while */
    else work(s);
}

static void down(struct client *c)
{
    subscriber_of(c)->whole = true;
}

static const struct client_kind kind;

/* Every log has an owner in the end. */
static bool all_owned(struct world *w)
{
    bool owned[DATA_LOGS] = {0};
    bool ret = true;

    list_each(it, &w->clients)
    {
        struct client *c = container_of(it, struct client, link);

        for (uint32_t i = 0; i < DATA_LOGS && c->kind == &kind; i++)
            owned[i] |= subscriber_of(c)->owns[i];
    }
    for (uint32_t i = 0; i < DATA_LOGS; i++)
        ret &= owned[i];
    return ret;
}

static bool is_done(struct client *c)
{
    struct subscriber *s = subscriber_of(c);

    return c->w->written_us && s->epoch && !s->leaving && !s->quiet && all_owned(c->w);
}

static const struct client_kind kind = {.name = "subscriber", .size = sizeof(struct subscriber), .reads = true, .up = wake, .down = down,
                                        .wake = wake, .is_done = is_done};

struct client *subscriber_new(struct world *w, const char *group)
{
    struct subscriber *s = client_new(w, &kind);

    s->group = group;
    s->version = (int16_t)world_pick(w, 2);
    s->pattern = s->version && world_chance(w, 40);
    s->whole = true;
    s->quiet = 2 * DATA_LOGS;
    if (s->version) snprintf(s->id, sizeof s->id, "own-%u", s->c.id);
    if (world_chance(w, 30)) snprintf(s->instance, sizeof s->instance, "i%u", s->c.id);
    return &s->c;
}
