/* A member of a consumer group in the classic protocol: joins, gets its share of the logs, reads them from where the group has
 * committed, commits, and goes on until it is told to come again; sometimes it leaves, sometimes it falls silent.
 * SPDX-License-Identifier: Apache-2.0 */
#include "commits.h"

#include <stdio.h>

enum stage { STAGE_OUT, STAGE_SYNC, STAGE_OFFSETS, STAGE_STEADY };

struct member {
    struct client c;
    const char *group;
    char id[96], instance[16];           /* instance: empty, or a static member */
    int32_t generation;
    enum stage stage;
    uint32_t joined;                     /* the event of asking to be in */
    bool owns[DATA_LOGS];
    int64_t position[DATA_LOGS];
    uint64_t beat_us;                    /* the last heartbeat */
    bool leads;
    struct join_group_response_member *members;          /* the leader's, in `kept` */
    size_t members_n;
    struct arena kept;
    unsigned quiet;                      /* polls left until it may be done */
};

static struct member *member_of(struct client *c) { return container_of(c, struct member, c); }

static struct str instance_of(const struct member *m)
{
    return m->instance[0] ? str_of(m->instance) : (struct str){0};
}

static struct committing by_member(const struct member *m)
{
    return (struct committing){.group = m->group, .member = str_of(m->id), .generation = m->generation};
}

static void start_again(struct member *m, int16_t code)
{
    if (code == KAFKA_ERR_UNKNOWN_MEMBER_ID || code == KAFKA_ERR_FENCED_INSTANCE_ID) m->id[0] = 0;
    m->stage = STAGE_OUT;
    memset(m->owns, 0, sizeof m->owns);
    if (client_is_up(&m->c)) client_wake(&m->c, world_duration(m->c.w, 10, 20000));
}

/* True: the answer says to begin anew, and that has been seen to. */
static bool is_over(struct member *m, int16_t code)
{
    if (!code) return false;
    start_again(m, code);
    return true;
}

/* ---- in ---- */

static void on_joined(struct client *c, struct call *k, const void *response)
{
    struct member *m = member_of(c);
    const struct join_group_response *a = response;

    (void)k;
    if (!a) return;
    if (a->error_code == KAFKA_ERR_MEMBER_ID_REQUIRED) snprintf(m->id, sizeof m->id, STR_FMT, STR_ARG(a->member_id));
    if (is_over(m, a->error_code)) return;
    snprintf(m->id, sizeof m->id, STR_FMT, STR_ARG(a->member_id));
    m->generation = a->generation_id;
    m->leads = str_eq(a->leader, a->member_id);
    arena_reset(&m->kept);
    m->members_n = a->members_n;
    m->members = arena_array(&m->kept, struct join_group_response_member, a->members_n);
    for (size_t i = 0; i < a->members_n; i++)
        m->members[i].member_id = arena_dup_str(&m->kept, a->members[i].member_id);
    m->stage = STAGE_SYNC;
    client_wake(c, world_duration(c->w, 1, 2000));
}

static void join(struct member *m)
{
    struct join_group_request_protocol p = {STR("range"), bytes_of("m", 1)};
    struct join_group_request q = {.group_id = str_of(m->group), .session_timeout_ms = 6000 + (int32_t)world_pick(m->c.w, 20000),
                                   .rebalance_timeout_ms = 5000, .member_id = str_of(m->id), .group_instance_id = instance_of(m),
                                   .protocol_type = STR("consumer"), .protocols = &p, .protocols_n = 1};

    m->joined = world_event(m->c.w, (struct event){.kind = EVENT_JOIN, .client = m->c.id, .reg = group_register(m->c.w, m->group)});
    client_ask(&m->c, KAFKA_JOIN_GROUP, 9, &q, on_joined);
}

static void on_synced(struct client *c, struct call *k, const void *response)
{
    struct member *m = member_of(c);
    const struct sync_group_response *a = response;

    (void)k;
    if (!a || is_over(m, a->error_code)) return;
    for (size_t i = 0; i < a->assignment.n; i++) {
        uint32_t log = a->assignment.p[i];

        must(log < DATA_LOGS);
        m->owns[log] = true;
        world_event(c->w, (struct event){.kind = EVENT_OWNS, .client = c->id, .reg = group_register(c->w, m->group), .log = log,
                                         .begun = m->joined, .value = (uint64_t)m->generation});
    }
    m->stage = STAGE_OFFSETS;
    m->beat_us = c->w->now_us;
    client_wake(c, 1);
}

static void sync(struct member *m)
{
    struct sync_group_request q = {.group_id = str_of(m->group), .generation_id = m->generation, .member_id = str_of(m->id),
                                   .group_instance_id = instance_of(m), .protocol_type = STR("consumer"), .protocol_name = STR("range")};
    struct sync_group_request_assignment as[16];
    uint8_t share[16][DATA_LOGS];

    if (m->leads) {
        must(m->members_n && m->members_n <= countof(as));
        for (size_t i = 0; i < m->members_n; i++)
            as[i] = (struct sync_group_request_assignment){m->members[i].member_id, {share[i], 0}};
        for (uint32_t i = 0; i < DATA_LOGS; i++) {
            struct bytes *b = &as[i % m->members_n].assignment;

            share[i % m->members_n][b->n++] = (uint8_t)i;
        }
        q.assignments = as;
        q.assignments_n = m->members_n;
    }
    client_ask(&m->c, KAFKA_SYNC_GROUP, 5, &q, on_synced);
}

/* ---- steady ---- */

static void seek(struct member *m, uint32_t log, int64_t offset)
{
    m->position[log] = offset;
    world_event(m->c.w, (struct event){.kind = EVENT_SEEK, .client = m->c.id, .log = log, .offset = offset});
}

static void on_offsets(struct client *c, struct call *k, const void *response)
{
    struct member *m = member_of(c);
    int64_t offsets[DATA_LOGS];

    if (!response) return;
    if (committed_ended(c, k, m->group, response, offsets)) {
        for (uint32_t i = 0; i < DATA_LOGS; i++)
            if (m->owns[i]) seek(m, i, MAX(offsets[i], 0));
        m->stage = STAGE_STEADY;
    }
    client_wake(c, world_duration(c->w, 1, 2000));
}

static void on_start(struct client *c, struct call *k, const void *response)
{
    const struct list_offsets_response *a = response;

    if (!a) return;
    if (!a->topics[0].partitions[0].error_code && member_of(c)->stage == STAGE_STEADY) seek(member_of(c), k->log, a->topics[0].partitions[0].offset);
    client_wake(c, world_duration(c->w, 1, 2000));
}

static void on_fetched(struct client *c, struct call *k, const void *response)
{
    share_take(c, k, response, &member_of(c)->position[k->log], &member_of(c)->quiet, on_start);
}

static bool fetch_one(struct member *m)
{
    uint32_t log = any_of_share(m->c.w, m->owns);

    if (log == DATA_LOGS) return false;
    share_fetch(&m->c, log, m->position[log], on_fetched);
    return true;
}

static void on_committed(struct client *c, struct call *k, const void *response)
{
    struct member *m = member_of(c);
    struct committing by = by_member(m);
    int16_t code = commit_ended(c, k, &by, response);

    if (response && !is_over(m, code)) client_wake(c, world_duration(c->w, 1, 10000));
}

static void on_beaten(struct client *c, struct call *k, const void *response)
{
    struct member *m = member_of(c);
    const struct heartbeat_response *a = response;

    (void)k;
    if (!a || is_over(m, a->error_code)) return;
    m->beat_us = c->w->now_us;
    client_wake(c, world_duration(c->w, 1, 10000));
}

static void on_left(struct client *c, struct call *k, const void *response)
{
    (void)k;
    if (response) start_again(member_of(c), KAFKA_ERR_UNKNOWN_MEMBER_ID);
}

static void leave(struct member *m)
{
    struct leave_group_request_member who = {.member_id = str_of(m->id), .group_instance_id = instance_of(m)};
    struct leave_group_request q = {.group_id = str_of(m->group), .members = &who, .members_n = 1};

    client_ask(&m->c, KAFKA_LEAVE_GROUP, 5, &q, on_left);
}

static void beat(struct member *m)
{
    struct heartbeat_request q = {.group_id = str_of(m->group), .generation_id = m->generation, .member_id = str_of(m->id),
                                  .group_instance_id = instance_of(m)};

    client_ask(&m->c, KAFKA_HEARTBEAT, 4, &q, on_beaten);
}

static void commit(struct member *m)
{
    struct committing by = by_member(m);
    uint32_t log = (uint32_t)world_pick(m->c.w, DATA_LOGS);

    for (unsigned i = 0; i < DATA_LOGS && !m->owns[log]; i++)
        log = (log + 1) % DATA_LOGS;
    if (m->owns[log]) (void)commit_ask(&m->c, &by, log, m->position[log], on_committed);
    else beat(m);
}

static void steady(struct member *m)
{
    uint64_t what = world_pick(m->c.w, 1000);

    if (m->c.w->now_us - m->beat_us > 1000000) beat(m);
    else if (what < 3 && !m->c.w->finishing) leave(m);
    else if (what < 5 && !m->c.w->finishing) client_wake(&m->c, world_duration(m->c.w, 1000000, 40000000));   /* silent for a while */
    else if (what < 150) commit(m);
    else if (!fetch_one(m)) client_wake(&m->c, 300000);
}

static void wake(struct client *c)
{
    struct member *m = member_of(c);

    if (client_waits(c)) return;
    switch (m->stage) {
    case STAGE_OUT: join(m); break;
    case STAGE_SYNC: sync(m); break;
    case STAGE_OFFSETS: (void)committed_ask(c, m->group, on_offsets); break;
    case STAGE_STEADY: steady(m); break;
    }
}

/* A join or sync whose answer is lost is asked for again from the beginning; whoever was steady goes on. */
static void down(struct client *c)
{
    struct member *m = member_of(c);

    if (m->stage == STAGE_SYNC) m->stage = STAGE_OUT;
}

static bool is_done(struct client *c)
{
    const struct member *m = member_of(c);

    return c->w->written_us && m->stage == STAGE_STEADY && !m->quiet;
}

static void fini(struct client *c)
{
    arena_fini(&member_of(c)->kept);
}

static const struct client_kind kind = {.name = "member", .size = sizeof(struct member), .reads = true, .up = wake, .down = down,
                                        .wake = wake, .is_done = is_done, .fini = fini};

struct client *member_new(struct world *w, const char *group, bool fixed)
{
    struct member *m = client_new(w, &kind);

    m->group = group;
    m->quiet = 2 * DATA_LOGS;
    if (fixed) snprintf(m->instance, sizeof m->instance, "i%u", m->c.id);
    return &m->c;
}
