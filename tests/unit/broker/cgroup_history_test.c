/* SPDX-License-Identifier: Apache-2.0
 *
 * Random histories of members that join, beat, let go late, change their minds, leave, fall silent and come back, while
 * topics come and go, answers get lost, writes fail and the broker restarts from what was written. Some of them speak the
 * classic protocol, eager or cooperative, and change over to the newer one and back. Whatever happens:
 * no two members believe to own a partition at one time, epochs only grow, the books agree. In the end, when all
 * beat and nothing fails, every partition that somebody subscribes to has exactly one owner.
 * A failure prints its seed: run the test with it as argument.
 */
#include "base/rng.h"
#include "broker/cgroup_classic.h"
#include "cgroup_rig.h"
#include "kafka/msg/consumer_protocol.h"
#include <stdio.h>

enum { CLIENTS = 6, STEPS = 400, SEEDS = 400, NAMES = 4, ROUNDS = 12 };

struct client {
    char id[40], instance[8];
    enum { NEWER, EAGER, COOPERATIVE } speaks;
    bool joined, full; /* full: the last answer did not come, say everything */
    int32_t epoch;
    struct parts owned; /* what it believes to own */
    struct parts wish;  /* what it was told last */
    bool late;          /* it has not acted upon that yet */
    unsigned topics;    /* bits: names[n] */
    bool pattern;       /* instead of them: all there are */
    uint64_t heard_ms;
    unsigned lives;
};
struct history {
    struct rig rig;
    struct rng rng;
    struct client clients[CLIENTS];
    int32_t written_epoch;
    unsigned restarts, failed, given, shared;
    uint8_t next_topic;
};

static const char *const names[NAMES] = {"t0", "t1", "t2", "t3"};

static uint64_t pick(struct history *h, uint64_t n)
{
    return rng_below(&h->rng, n);
}

static bool chance(struct history *h, unsigned percent)
{
    return pick(h, 100) < percent;
}

/* ---- what must hold ---- */

static void check_books(struct history *h)
{
    const struct cgroup *g = &h->rig.g;
    size_t owned = 0, n = 0;

    cgroup_each_member(m, g)
    {
        for (size_t i = 0; i < m->owned.n; i++)
            assert_ptr_equal(map_get(&g->owners, part_key(&m->owned.p[i])), m);
        for (size_t i = 0; i < m->revoking.n; i++)
            assert_ptr_equal(map_get(&g->owners, part_key(&m->revoking.p[i])), m);
        assert_true((m->revoking.n > 0) == (m->state == CGROUP_MEMBER_UNREVOKED));
        assert_true(m->epoch <= g->target_epoch);
        owned += m->owned.n + m->revoking.n;
        n++;
    }
    assert_int_equal(owned, g->owners.n);
    assert_int_equal(n, g->members_n);
    assert_int_equal(n, g->by_id.n);
    assert_true(g->target_epoch <= g->epoch);
}

static void check_alone(struct history *h, const struct client *c)
{
    for (size_t i = 0; i < CLIENTS; i++)
        if (&h->clients[i] != c) assert_false(parts_meet(&c->owned, &h->clients[i].owned));
}

/* ---- members ---- */

static void lose_all(struct client *c)
{
    parts_clear(&c->owned);
    parts_clear(&c->wish);
    c->joined = c->late = c->full = false;
}

/* Lets go of what it shall not keep, and takes what it shall have; not on an older word while a newer one is on its way: what
 * it has said to own by then would not be true any more. */
static void act(struct history *h, struct client *c)
{
    struct parts kept = {0};

    if (!c->late) return;
    parts_both(&c->owned, &c->wish, &kept);
    if (!parts_eq(&kept, &c->owned)) {
        parts_copy(&c->owned, &kept); /* the broker must hear of it first */
    } else if (!c->full) {
        h->given += (unsigned)(c->wish.n - c->owned.n);
        parts_copy(&c->owned, &c->wish);
    }
    c->late = !parts_eq(&c->owned, &c->wish);
    parts_fini(&kept);
    check_alone(h, c);
}

static void hear(struct history *h, struct client *c, const struct cgroup_answer *a, bool calm)
{
    if (a->error == KAFKA_ERR_FENCED_MEMBER_EPOCH || a->error == KAFKA_ERR_UNKNOWN_MEMBER_ID ||
        a->error == KAFKA_ERR_FENCED_INSTANCE_ID) {
        lose_all(c);
        return;
    }
    assert_true(a->error == 0 || a->error == KAFKA_ERR_UNRELEASED_INSTANCE_ID);
    if (a->error) return;
    assert_true(!c->joined || a->epoch >= c->epoch);
    c->joined = true;
    c->full = false;
    c->epoch = a->epoch;
    c->heard_ms = h->rig.now_ms;
    if (a->assignment) {
        parts_copy(&c->wish, a->assignment);
        c->late = true;
    }
    while (c->late && (calm || chance(h, 60)))
        act(h, c);
}

/* The answer leaves when the records are written; a failed write makes it an error. */
static void deliver(struct history *h, struct client *c, bool calm)
{
    struct cgroup_answer a = h->rig.last;

    if (!calm && chance(h, 8)) {
        c->full = c->joined;
        h->failed++;
        return;
    }
    rig_write(&h->rig);
    assert_true(h->rig.g.epoch >= h->written_epoch);
    h->written_epoch = h->rig.g.epoch;
    if (c && !calm && chance(h, 8))
        c->full = c->joined; /* lost on its way */
    else if (c)
        hear(h, c, &a, calm);
}

static void beat(struct history *h, struct client *c, bool calm)
{
    struct str topics[NAMES];
    struct cgroup_beat q = rig_join_beat(c->id, topics, 0);
    bool full = !c->joined || c->full || chance(h, 10);

    for (size_t i = 0; i < NAMES; i++)
        if (!c->pattern && c->topics >> i & 1) topics[q.topics_n++] = str_of(names[i]);
    q.pattern = c->pattern ? STR("t[0-9]") : STR("");
    if (c->instance[0]) q.instance_id = str_of(c->instance);
    q.rebalance_timeout_ms = 3600000; /* what is let go late is let go in time */
    q.epoch = c->joined ? c->epoch : CGROUP_EPOCH_JOIN;
    q.owned = c->joined ? &c->owned : &rig_nothing;
    if (!full) {
        q.rebalance_timeout_ms = -1;
        q.topics_null = true;
        q.pattern = (struct str){0};
        if (!calm && chance(h, 50)) q.owned = NULL;
    }
    rig_send(&h->rig, &q);
    check_books(h);
    deliver(h, c, calm);
}

/* ---- members of the classic protocol ---- */

/* Does the answer that leaves when the records are written reach the client? */
static bool arrives(struct history *h, bool calm)
{
    bool lost = !calm && chance(h, 8);

    if (!calm && chance(h, 8)) {
        h->failed++;
        return false;
    }
    rig_write(&h->rig);
    h->written_epoch = h->rig.g.epoch;
    return !lost;
}

static void subscription_write(const struct history *h, const struct client *c, struct buf *out)
{
    struct str topics[NAMES];
    struct consumer_protocol_subscription_owned_partition owned[64];
    struct consumer_protocol_subscription s = {.topics = topics, .owned_partitions = owned};
    struct wr w;

    for (size_t i = 0; i < NAMES; i++)
        if (c->pattern || (c->topics >> i & 1)) topics[s.topics_n++] = str_of(names[i]);
    for (size_t i = 0; i < c->owned.n && c->speaks == COOPERATIVE; i++)
        for (size_t t = 0; t < h->rig.topics_n; t++)
            if (uuid_eq(&h->rig.topics[t].id, &c->owned.p[i].topic) && s.owned_partitions_n < 64)
                owned[s.owned_partitions_n++] =
                    (struct consumer_protocol_subscription_owned_partition){
                        h->rig.topics[t].name, &c->owned.p[i].number, 1};
    wr_init(&w, out);
    wr_i16(&w, 3);
    must(consumer_protocol_subscription_encode(&w, 3, &s));
    wr_fini(&w);
}

static bool classic_join(struct history *h, struct client *c, bool calm)
{
    AUTO(buf_fini) struct buf metadata = {0};
    struct group_protocol range = {STR("range"), {0}};
    struct group_join j = {.member_id = str_of(c->id),
                           .protocol_type = STR("consumer"),
                           .protocols = &range,
                           .protocols_n = 1,
                           .session_timeout_ms = 45000,
                           .rebalance_timeout_ms = 3600000};
    struct cgroup_member *m;
    struct str id;
    char uuid[40];

    snprintf(uuid, sizeof uuid, "u%zu-%u", (size_t)(c - h->clients), ++c->lives);
    j.uuid = str_of(uuid);
    if (c->instance[0]) j.instance_id = str_of(c->instance);
    if (c->instance[0] && !c->joined) j.member_id = STR("");
    if (c->speaks == EAGER) parts_clear(&c->owned);
    subscription_write(h, c, &metadata);
    range.metadata = buf_view(&metadata);
    if (cgroup_classic_join(&h->rig.g, &j, &h->rig.world, h->rig.now_ms, &h->rig.arena, &m, &id)) {
        lose_all(c);
        return false;
    }
    check_books(h);
    if (!arrives(h, calm)) return false;
    snprintf(c->id, sizeof c->id, STR_FMT, STR_ARG(m->id));
    c->joined = true;
    c->epoch = m->epoch;
    c->heard_ms = h->rig.now_ms;
    return true;
}

/* What it keeps and what it gets; true: it has given something up, and says so by joining once more. */
static bool classic_sync(struct history *h, struct client *c, bool calm)
{
    struct group_sync s = {.member_id = str_of(c->id), .generation = c->epoch};
    struct cgroup_member *m;
    bool gave;

    if (c->instance[0]) s.instance_id = str_of(c->instance);
    if (cgroup_classic_sync(&h->rig.g, &s, h->rig.now_ms, &m)) return false;
    check_books(h);
    if (!arrives(h, calm)) return false;
    gave = !parts_within(&c->owned, &m->owned);
    h->given += (unsigned)m->owned.n;
    parts_copy(&c->owned, &m->owned);
    check_alone(h, c);
    return gave;
}

static void classic_turn(struct history *h, struct client *c, bool calm)
{
    struct group_beat b = {.member_id = str_of(c->id), .generation = c->epoch};
    bool again = true;

    if (c->instance[0]) b.instance_id = str_of(c->instance);
    if (c->joined && !c->full) {
        int16_t error = cgroup_classic_beat(&h->rig.g, &b, &h->rig.world, h->rig.now_ms);

        again = error == KAFKA_ERR_REBALANCE_IN_PROGRESS;
        if (!error) c->heard_ms = h->rig.now_ms;
        if (error && !again) lose_all(c);
        if (!c->joined) return;
    }
    for (int i = 0; again && i < 3; i++) {
        c->full = true; /* until it has heard what it has */
        if (!classic_join(h, c, calm)) return;
        if (!calm && chance(h, 10)) return;
        c->full = false;
        again = classic_sync(h, c, calm);
        c->full = again;
    }
    h->shared += h->rig.g.classic_n && h->rig.g.classic_n < h->rig.g.members_n;
}

static void turn(struct history *h, struct client *c, bool calm)
{
    if (c->speaks == NEWER)
        beat(h, c, calm);
    else
        classic_turn(h, c, calm);
}

static void leave(struct history *h, struct client *c)
{
    struct cgroup_beat q = {.member_id = str_of(c->id),
                            .epoch = CGROUP_EPOCH_LEAVE,
                            .rebalance_timeout_ms = -1,
                            .topics_null = true};

    if (!c->joined) return;
    if (c->speaks != NEWER) {
        struct group_leaver l = {.member_id = str_of(c->id)};

        lose_all(c);
        (void)cgroup_classic_leave(&h->rig.g, &l);
        check_books(h);
        (void)arrives(h, true);
        return;
    }
    if (c->instance[0]) q.instance_id = str_of(c->instance);
    if (c->instance[0] && chance(h, 70)) q.epoch = CGROUP_EPOCH_LEAVE_FOR_NOW;
    lose_all(c); /* before it says so */
    rig_send(&h->rig, &q);
    check_books(h);
    if (chance(h, 90)) rig_write(&h->rig);
    if (!cgroup_is_dirty(&h->rig.g)) h->written_epoch = h->rig.g.epoch;
    if (chance(h, 70))
        snprintf(c->id, sizeof c->id, "m%zu-%u", (size_t)(c - h->clients), ++c->lives);
}

static void mind_changes(struct history *h, struct client *c)
{
    c->topics = (unsigned)pick(h, 1u << NAMES);
    c->pattern = chance(h, 30);
    if (c->joined) c->full = true;
    if (!c->joined) c->speaks = chance(h, 50) ? NEWER : chance(h, 50) ? EAGER : COOPERATIVE;
}

/* ---- the world ---- */

static void topics_change(struct history *h)
{
    const char *name = names[pick(h, NAMES)];
    struct cgroup_topic t;

    if (!rig_find(&h->rig, str_of(name), &t))
        rig_topic(&h->rig, name, ++h->next_topic, 1 + (int32_t)pick(h, 6));
    else if (chance(h, 50))
        rig_topic(&h->rig, name, t.id.b[0], t.partitions + 1 + (int32_t)pick(h, 3));
    else
        rig_topic_delete(&h->rig, name);
}

static void time_passes(struct history *h)
{
    h->rig.now_ms += pick(h, 8000);
    for (size_t i = 0; i < CLIENTS; i++)
        if (h->clients[i].joined && h->rig.now_ms - h->clients[i].heard_ms >= 45000)
            lose_all(&h->clients[i]); /* it knows that the others think it dead */
    if (h->rig.g.tick_ms <= h->rig.now_ms) cgroup_tick(&h->rig.g, h->rig.now_ms);
    check_books(h);
}

static void restart(struct history *h)
{
    rig_restart(&h->rig);
    check_books(h);
    assert_int_equal(h->rig.g.epoch, h->written_epoch);
    h->restarts++;
}

static void step(struct history *h)
{
    struct client *c = &h->clients[pick(h, CLIENTS)];
    uint64_t what = pick(h, 100);

    if (what < 62)
        turn(h, c, false);
    else if (what < 75)
        time_passes(h);
    else if (what < 85)
        act(h, c);
    else if (what < 89)
        leave(h, c);
    else if (what < 93)
        mind_changes(h, c);
    else if (what < 97)
        topics_change(h);
    else if (what < 99)
        restart(h);
    else
        lose_all(c); /* it was killed */
}

/* ---- the end ---- */

static bool wants(const struct client *c, size_t name)
{
    return c->pattern || (c->topics >> name & 1);
}

static void check_end(struct history *h)
{
    for (size_t n = 0; n < NAMES; n++) {
        struct cgroup_topic t;
        size_t subscribers = 0;

        if (!rig_find(&h->rig, str_of(names[n]), &t)) continue;
        for (size_t i = 0; i < CLIENTS; i++)
            subscribers += wants(&h->clients[i], n);
        for (int32_t k = 0; k < t.partitions; k++) {
            struct part p = {t.id, k};
            size_t owners = 0;

            for (size_t i = 0; i < CLIENTS; i++) {
                if (!parts_has(&h->clients[i].owned, &p)) continue;
                assert_true(wants(&h->clients[i], n));
                owners++;
            }
            assert_int_equal(owners, subscribers ? 1 : 0);
        }
    }
    assert_int_equal(cgroup_state(&h->rig.g), CGROUP_STABLE);
}

static unsigned all_restarts, all_failed, all_given, all_shared;

static void run(uint64_t seed)
{
    struct history *h = xnew(struct history);

    rig_init(&h->rig);
    rng_init(&h->rng, seed);
    h->rig.config.downgrade = false; /* who would make a classic group of it is not here */
    if (chance(h, 30)) h->rig.config.assignor = STR("range");
    for (size_t i = 0; i < CLIENTS; i++) {
        snprintf(h->clients[i].id, sizeof h->clients[i].id, "m%zu", i);
        if (i < 2) snprintf(h->clients[i].instance, sizeof h->clients[i].instance, "i%zu", i);
        mind_changes(h, &h->clients[i]);
    }
    for (int i = 0; i < 3; i++)
        topics_change(h);
    for (int i = 0; i < STEPS; i++)
        step(h);

    h->rig.now_ms += 45000; /* whoever still sits there under an old name is forgotten */
    for (size_t i = 0; i < CLIENTS; i++)
        lose_all(&h->clients[i]);
    cgroup_tick(&h->rig.g, h->rig.now_ms);
    assert_int_equal(h->rig.g.members_n, 0);
    for (int round = 0; round < ROUNDS; round++)
        for (size_t i = 0; i < CLIENTS; i++)
            turn(h, &h->clients[i], true);
    check_end(h);
    restart(h);
    for (size_t i = 0; i < CLIENTS; i++)
        turn(h, &h->clients[i], true);
    check_end(h);
    all_shared += h->shared;
    all_restarts += h->restarts, all_failed += h->failed, all_given += h->given;
    for (size_t i = 0; i < CLIENTS; i++) {
        parts_fini(&h->clients[i].owned);
        parts_fini(&h->clients[i].wish);
    }
    rig_fini(&h->rig);
    free(h);
}

static uint64_t seed_first, seed_last, seed_now;

static int say_seed(void **state)
{
    (void)state;
    if (seed_now <= seed_last)
        print_message("failed with seed %llu\n", (unsigned long long)seed_now);
    return 0;
}

static void no_partition_ever_has_two_owners_and_in_the_end_each_has_one(void **state)
{
    (void)state;
    for (seed_now = seed_first; seed_now <= seed_last; seed_now++)
        run(seed_now);
    if (seed_last > seed_first) /* the histories got somewhere */
        assert_true(all_restarts > seed_last && all_failed > seed_last && all_given > seed_last &&
                    all_shared > seed_last);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(no_partition_ever_has_two_owners_and_in_the_end_each_has_one,
                                  say_seed),
    };

    seed_first = argc > 1 ? strtoull(argv[1], NULL, 10) : 1;
    seed_last = argc > 1 ? seed_first : SEEDS;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
