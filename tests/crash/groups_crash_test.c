/* Groups and committed offsets under power cuts at random places: what a client was told is found again, and nothing that
 * nobody committed. SEEDS=first..last or a number in the environment chooses how many histories.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/diag.h"
#include "base/rng.h"
#include "kafka/msg/all.h"
#include "kafka_call.h"
#include "test.h"
#include <stdio.h>

enum {
    CONSUMERS = 2,
    GROUPS = 4,
    PARTITIONS = 3,
    CYCLES = 6,
    STEPS = 120,
    TRIES_MAX = STEPS,
    SEEDS_DEFAULT = 150
};

/* What an offset may be: what was acknowledged last, or what was tried since. -1: none. */
struct cell {
    int64_t acked, tried[TRIES_MAX];
    unsigned tried_n;
};

/* A member of group "n", of the newer protocol. */
struct consumer {
    int32_t epoch;  /* 0: not in */
    unsigned owned; /* bits: partitions of "t" */
    bool unsure;    /* its last request had no answer */
};

struct history {
    struct rig rig;
    struct rig_conn conn;
    struct rng rng;
    struct arena arena;
    struct cell cells[GROUPS][PARTITIONS];
    char member
        [80]; /* the member of group "m" that was told its assignment; empty: none, or unsure */
    int32_t generation;
    struct consumer consumers[CONSUMERS];
    struct uuid topic_id;
    int64_t next;
    uint64_t seed;
    unsigned commits, restarts, kept;
};

static uint64_t pick(struct history *h, uint64_t n)
{
    return rng_below(&h->rng, n);
}

static void fail_here(const struct history *h, const char *what)
{
    print_message("seed %llu: %s\n", (unsigned long long)h->seed, what);
    fail();
}

static struct str group_name(unsigned g)
{
    static const char *const names[GROUPS] = {"a", "b", "some-group", "another"};

    return str_of(names[g]);
}

/* ---- what clients do ---- */

static void commit(struct history *h)
{
    unsigned g = (unsigned)pick(h, GROUPS), p = (unsigned)pick(h, PARTITIONS);
    struct cell *c = &h->cells[g][p];
    struct offset_commit_request_partition part = {
        .partition_index = (int32_t)p, .committed_offset = h->next, .committed_leader_epoch = -1};
    struct offset_commit_request_topic t = {STR("t"), &part, 1};
    struct offset_commit_request q = {.group_id = group_name(g),
                                      .generation_id_or_member_epoch = -1,
                                      .topics = &t,
                                      .topics_n = 1,
                                      .retention_time_ms = -1};
    struct offset_commit_response *a;

    c->tried[c->tried_n++] = h->next++;
    a = call(&h->conn, KAFKA_OFFSET_COMMIT, 8, &q, &h->arena);
    if (!a || a->topics[0].partitions[0].error_code) return;
    c->acked = c->tried[c->tried_n - 1];
    c->tried_n = 0;
    h->commits++;
}

static void delete_group(struct history *h)
{
    unsigned g = (unsigned)pick(h, GROUPS);
    struct str name = group_name(g);
    struct delete_groups_request q = {.groups_names = &name, .groups_names_n = 1};
    struct delete_groups_response *a;

    for (unsigned p = 0; p < PARTITIONS; p++)
        h->cells[g][p].tried[h->cells[g][p].tried_n++] = -1;
    a = call(&h->conn, KAFKA_DELETE_GROUPS, 2, &q, &h->arena);
    if (!a || a->results[0].error_code) return;
    for (unsigned p = 0; p < PARTITIONS; p++)
        h->cells[g][p] = (struct cell){.acked = -1};
}

/* A member of group "m" comes, gets its assignment, and sometimes goes. */
static void visit(struct history *h)
{
    static struct join_group_request_protocol range = {{"range", 5}, {(const uint8_t *)"m", 1}};
    struct join_group_request j = {.group_id = STR("m"),
                                   .session_timeout_ms = 1800000,
                                   .rebalance_timeout_ms = 1000,
                                   .member_id = STR(""),
                                   .protocol_type = STR("consumer"),
                                   .protocols = &range,
                                   .protocols_n = 1,
                                   .group_instance_id = STR("i")};
    struct sync_group_request s = {.group_id = STR("m"),
                                   .protocol_type = STR("consumer"),
                                   .protocol_name = STR("range"),
                                   .group_instance_id = STR("i")};
    struct sync_group_request_assignment as = {.assignment = {(const uint8_t *)"A", 1}};
    struct join_group_response *ja;
    struct sync_group_response *sa;

    h->member[0] = 0;
    ja = call(&h->conn, KAFKA_JOIN_GROUP, 9, &j, &h->arena);
    if (!ja || ja->error_code) return;
    s.member_id = as.member_id = ja->member_id;
    s.generation_id = ja->generation_id;
    s.assignments = &as;
    s.assignments_n = 1;
    sa = call(&h->conn, KAFKA_SYNC_GROUP, 5, &s, &h->arena);
    if (!sa || sa->error_code) return;
    h->generation = ja->generation_id;
    snprintf(h->member, sizeof h->member, STR_FMT, STR_ARG(ja->member_id));
}

static void leave(struct history *h)
{
    struct leave_group_request_member m = {.member_id = STR(""), .group_instance_id = STR("i")};
    struct leave_group_request q = {.group_id = STR("m"), .members = &m, .members_n = 1};

    h->member[0] = 0;
    (void)call(&h->conn, KAFKA_LEAVE_GROUP, 5, &q, &h->arena);
}

/* One whole heartbeat. False: refused, it owns nothing any more. */
static bool beat(struct history *h, struct consumer *c)
{
    static const char *const ids[CONSUMERS] = {"x", "y"};
    struct str topic = STR("t");
    int32_t numbers[PARTITIONS];
    struct consumer_group_heartbeat_request_topic_partition owned = {.partitions = numbers};
    struct consumer_group_heartbeat_request q = {.group_id = STR("n"),
                                                 .member_id = str_of(ids[c - h->consumers]),
                                                 .member_epoch = c->epoch,
                                                 .rebalance_timeout_ms = 1800000,
                                                 .subscribed_topic_names = &topic,
                                                 .subscribed_topic_names_n = 1,
                                                 .topic_partitions = &owned};
    struct consumer_group_heartbeat_response *a;
    unsigned wish = 0;

    for (int32_t p = 0; p < PARTITIONS; p++)
        if (c->owned >> p & 1) numbers[owned.partitions_n++] = p;
    owned.topic_id = h->topic_id;
    q.topic_partitions_n = owned.partitions_n > 0;
    a = call(&h->conn, KAFKA_CONSUMER_GROUP_HEARTBEAT, 1, &q, &h->arena);
    if (!a) return c->unsure = true;
    if (a->error_code == KAFKA_ERR_COORDINATOR_LOAD_IN_PROGRESS ||
        a->error_code == KAFKA_ERR_COORDINATOR_NOT_AVAILABLE)
        return true;
    if (a->error_code) {
        *c = (struct consumer){0};
        return false;
    }
    if (!a->assignment) fail_here(h, "a whole heartbeat is answered without an assignment");
    for (size_t t = 0; t < a->assignment->topic_partitions_n; t++)
        for (size_t p = 0; p < a->assignment->topic_partitions[t].partitions_n; p++)
            wish |= 1u << a->assignment->topic_partitions[t].partitions[p];
    c->unsure = false;
    c->epoch = a->member_epoch;
    c->owned = c->owned & ~wish ? c->owned & wish : wish; /* lets go first */
    if (h->consumers[0].owned & h->consumers[1].owned) fail_here(h, "a partition has two owners");
    return true;
}

static void go(struct history *h, struct consumer *c)
{
    struct consumer_group_heartbeat_request q = {.group_id = STR("n"),
                                                 .member_id =
                                                     c == h->consumers ? STR("x") : STR("y"),
                                                 .member_epoch = -1,
                                                 .rebalance_timeout_ms = -1,
                                                 .subscribed_topic_names_null = true,
                                                 .topic_partitions_null = true};

    *c = (struct consumer){0};
    (void)call(&h->conn, KAFKA_CONSUMER_GROUP_HEARTBEAT, 1, &q, &h->arena);
}

static void step(struct history *h)
{
    uint64_t what = pick(h, 100);

    if (what < 50)
        commit(h);
    else if (what < 73)
        (void)beat(h, &h->consumers[pick(h, CONSUMERS)]);
    else if (what < 75)
        go(h, &h->consumers[pick(h, CONSUMERS)]);
    else if (what < 80)
        delete_group(h);
    else if (what < 88)
        visit(h);
    else if (what < 91)
        leave(h);
    else
        rig_advance(&h->rig, pick(h, 20000));
    arena_reset(&h->arena);
}

/* ---- what they find ---- */

static void check_offsets(struct history *h)
{
    for (unsigned g = 0; g < GROUPS; g++) {
        struct offset_fetch_request_group qg = {
            .group_id = group_name(g), .member_epoch = -1, .topics_null = true};
        struct offset_fetch_request q = {.groups = &qg, .groups_n = 1};
        struct offset_fetch_response *a = call(&h->conn, KAFKA_OFFSET_FETCH, 8, &q, &h->arena);
        int64_t found[PARTITIONS] = {-1, -1, -1};

        if (!a) fail_here(h, "no answer to OffsetFetch");
        for (size_t t = 0; t < a->groups[0].topics_n; t++)
            for (size_t p = 0; p < a->groups[0].topics[t].partitions_n; p++)
                found[a->groups[0].topics[t].partitions[p].partition_index] =
                    a->groups[0].topics[t].partitions[p].committed_offset;
        for (unsigned p = 0; p < PARTITIONS; p++) {
            struct cell *c = &h->cells[g][p];
            bool ok = found[p] == c->acked;

            for (unsigned i = 0; i < c->tried_n; i++)
                ok = ok || found[p] == c->tried[i];
            if (!ok) {
                print_message("group %u partition %u: found %lld, acknowledged %lld\n", g, p,
                              (long long)found[p], (long long)c->acked);
                fail_here(h, "an acknowledged commit is lost, or one was invented");
            }
            *c = (struct cell){.acked = found[p]};
        }
    }
}

static void check_member(struct history *h)
{
    struct heartbeat_request q = {.group_id = STR("m"),
                                  .member_id = str_of(h->member),
                                  .group_instance_id = STR("i"),
                                  .generation_id = h->generation};
    struct heartbeat_response *a;

    if (!h->member[0]) return;
    a = call(&h->conn, KAFKA_HEARTBEAT, 4, &q, &h->arena);
    if (!a || a->error_code)
        fail_here(h, "a member with an assignment is not known after a restart");
}

static void check_consumers(struct history *h)
{
    for (size_t i = 0; i < CONSUMERS; i++) {
        struct consumer *c = &h->consumers[i], before = *c;

        if (!c->epoch) continue;
        if (!beat(h, c) && !before.unsure)
            fail_here(h, "a member of the newer protocol is not known after a restart");
        if (!before.unsure && c->epoch < before.epoch)
            fail_here(h, "a member was told of a later epoch than is found");
        h->kept++;
    }
}

/* ---- histories ---- */

static void open_whatever_happens(struct history *h)
{
    for (unsigned tries = 0;; tries++) {
        if (tries < 3 && pick(h, 3) == 0)
            fs_sim_cut_at(h->rig.disk, fs_sim_ops(h->rig.disk) + 1 + pick(h, 60));
        if (!rig_open(&h->rig)) {
            rig_settle(&h->rig);
            if (!fs_sim_is_cut(h->rig.disk)) break;
            rig_crash(&h->rig);
        } else if (!fs_sim_is_cut(h->rig.disk)) {
            fail_here(h, h->rig.err.text);
        }
        rig_settle(&h->rig);
        fs_sim_power_on(h->rig.disk);
    }
    fs_sim_cut_at(h->rig.disk, 0);
    rig_connect(&h->rig, &h->conn);
}

static void topic_make(struct history *h)
{
    struct topic *t;
    uint64_t seq;

    assert_int_equal(broker_topic_create(h->rig.b,
                                         &(struct broker_topic_spec){.name = STR("t"),
                                                                     .partitions = PARTITIONS,
                                                                     .replication = 1},
                                         &t, &seq, &h->rig.err),
                     RC_OK);
    h->topic_id = topic_uuid(t);
    rig_settle(&h->rig);
}

static unsigned kept; /* members found again, over all histories */

static void one_history(uint64_t seed)
{
    static const struct broker_setting settings[] = {
        {{"group.initial.rebalance.delay.ms", 32}, {"0", 1}},
        {{"group.consumer.session.timeout.ms", 33}, {"1800000", 7}},
        {{"offsets.topic.num.partitions", 28}, {"3", 1}}};
    struct history *h = xnew(struct history);

    h->seed = seed;
    rng_init(&h->rng, seed);
    rig_init(&h->rig, seed);
    h->rig.opt.settings = settings;
    h->rig.opt.settings_n = countof(settings);
    for (unsigned g = 0; g < GROUPS; g++)
        for (unsigned p = 0; p < PARTITIONS; p++)
            h->cells[g][p].acked = -1;
    if (rig_open(&h->rig)) fail_here(h, h->rig.err.text);
    rig_connect(&h->rig, &h->conn);
    topic_make(h);

    for (unsigned cycle = 0; cycle < CYCLES; cycle++) {
        if (pick(h, 4)) fs_sim_cut_at(h->rig.disk, fs_sim_ops(h->rig.disk) + 1 + pick(h, 150));
        for (unsigned k = 0; k < STEPS && !fs_sim_is_cut(h->rig.disk); k++)
            step(h);
        rig_hang_up(&h->conn);
        if (fs_sim_is_cut(h->rig.disk) || pick(h, 2)) {
            fs_sim_cut(h->rig.disk);
            rig_crash(&h->rig);
            fs_sim_power_on(h->rig.disk);
        } else {
            rig_close(&h->rig);
        }
        open_whatever_happens(h);
        check_offsets(h);
        check_member(h);
        check_consumers(h);
        arena_reset(&h->arena);
        h->restarts++;
    }
    assert_int_equal(h->restarts, CYCLES);
    assert_true(h->commits > 0);
    kept += h->kept;
    rig_hang_up(&h->conn);
    rig_fini(&h->rig);
    arena_fini(&h->arena);
    free(h);
}

static void what_a_group_was_told_survives_power_cuts(void **state)
{
    const char *s = getenv("SEEDS");
    uint64_t first = 1, last = SEEDS_DEFAULT;

    (void)state;
    diag_set_levels(STR("error"));
    if (s && strstr(s, ".."))
        first = strtoull(s, NULL, 10), last = strtoull(strstr(s, "..") + 2, NULL, 10);
    else if (s)
        last = strtoull(s, NULL, 10);
    for (uint64_t seed = first; seed <= last; seed++)
        one_history(seed);
    assert_true(kept > last - first);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(what_a_group_was_told_survives_power_cuts)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
