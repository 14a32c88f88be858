/* SPDX-License-Identifier: Apache-2.0
 *
 * Random histories of clients that join, sync, beat, commit, leave, come back under other ids and fall silent, with
 * writes that fail now and then. Whatever happens: every request is answered exactly once, a generation has one leader,
 * generations only grow, records go before the answers that promise them, and in the end nobody waits.
 * A failure prints its seed: run the test with it as argument.
 */
#include "base/rng.h"
#include "group_rig.h"
#include <stdio.h>

enum { CLIENTS = 7, STEPS = 1000, SEEDS = 1000, REQUESTS_MAX = 4 * STEPS };

enum wish { WISH_JOIN, WISH_SYNC, WISH_BEAT }; /* what a well-behaved client would do next */
struct client {
    char id[64], instance[8];
    int32_t generation;
    bool leads;
    enum wish wish;
    unsigned parked;
};
struct history {
    struct rig rig;
    struct rng rng;
    struct client clients[CLIENTS];
    uint8_t answers[REQUESTS_MAX]; /* per token */
    int8_t asker[REQUESTS_MAX];    /* which client, -1 none */
    size_t waiting;
    int32_t generation; /* the highest seen */
    char leader[64];    /* who was told that it leads it */
};

static bool chance(struct history *h, unsigned percent)
{
    return rng_below(&h->rng, 100) < percent;
}

static uint64_t stable_generations; /* over all histories: shows that they get somewhere */

static void check_join(struct history *h, struct client *c, const struct group_fx *a)
{
    const struct group *g = &h->rig.g;

    if (c && (a->error == 0 || a->error == KAFKA_ERR_MEMBER_ID_REQUIRED))
        snprintf(c->id, sizeof c->id, STR_FMT, STR_ARG(a->joined.member_id));
    if (a->error) return;

    assert_int_equal(a->joined.generation, g->generation);
    assert_true(a->joined.generation >= h->generation);
    assert_str(a->joined.protocol, g->protocol.p);
    if (a->joined.generation > h->generation) h->leader[0] = 0;
    h->generation = a->joined.generation;
    if (c) c->generation = a->joined.generation;
    if (c) c->leads = a->joined.members_n > 0 && !a->joined.skip_assignment;
    if (a->joined.members_n == 0) return;

    assert_true(str_eq(a->joined.leader, a->joined.member_id));
    assert_int_equal(a->joined.members_n, g->members_n);
    if (h->leader[0] && !a->joined.skip_assignment) assert_str(a->joined.leader, h->leader);
    snprintf(h->leader, sizeof h->leader, STR_FMT, STR_ARG(a->joined.leader));
}

static void note_answer(struct client *c, const struct group_fx *a)
{
    c->parked--;
    if (a->kind == GROUP_FX_JOINED && a->error == 0)
        c->wish = WISH_SYNC;
    else if (a->kind == GROUP_FX_SYNCED && a->error == 0)
        c->wish = WISH_BEAT;
    else if (a->error)
        c->wish = WISH_JOIN;
    if (a->error == KAFKA_ERR_UNKNOWN_MEMBER_ID || a->error == KAFKA_ERR_FENCED_INSTANCE_ID)
        c->id[0] = 0;
}

static void check_effects(struct history *h)
{
    const struct group *g = &h->rig.g;
    bool answered = false;

    for (size_t i = 0; i < h->rig.fx.n; i++) {
        const struct group_fx *a = &h->rig.fx.items[i];
        uintptr_t token = (uintptr_t)a->token;
        int8_t who;

        if (a->kind == GROUP_FX_PERSIST) {
            assert_true(g->state == GROUP_STABLE || g->state == GROUP_EMPTY);
            assert_false(answered && g->state == GROUP_STABLE);
            continue;
        }
        assert_true(token > 0 && token <= h->rig.tokens);
        assert_int_equal(h->answers[token]++, 0);
        h->waiting--;
        who = h->asker[token];
        if (who >= 0) note_answer(&h->clients[who], a);
        if (a->kind == GROUP_FX_JOINED) check_join(h, who >= 0 ? &h->clients[who] : NULL, a);
        if (a->kind == GROUP_FX_SYNCED && a->error == 0) {
            assert_int_equal(g->state, GROUP_STABLE);
            stable_generations += !answered && rig_persists(&h->rig);
            answered = true;
        }
    }
    assert_int_equal(h->waiting, group_parked(g));
    assert_true(g->generation >= h->generation);
}

static void step(struct history *h, int who, struct group_event ev)
{
    bool asks = ev.kind != GROUP_EV_TICK && ev.kind != GROUP_EV_PERSIST_FAILED;

    if (asks) {
        h->asker[h->rig.tokens + 1] = (int8_t)who;
        h->waiting++;
        h->clients[who].parked++;
    }
    rig_step(&h->rig, ev);
    check_effects(h);
    if (rig_persists(&h->rig) &&
        chance(h, 5)) { /* the answers of that step became errors; the group is told */
        rig_step(&h->rig, (struct group_event){.kind = GROUP_EV_PERSIST_FAILED,
                                               .persist_error = KAFKA_ERR_KAFKA_STORAGE_ERROR});
        check_effects(h);
    }
}

static void pass(struct history *h, uint64_t ms)
{
    uint64_t until = h->rig.now_ms + ms;

    while (h->rig.g.tick_ms <= until) {
        h->rig.now_ms = MAX(h->rig.now_ms, h->rig.g.tick_ms);
        step(h, -1, (struct group_event){.kind = GROUP_EV_TICK});
        assert_true(h->rig.g.tick_ms >
                    h->rig.now_ms); /* a tick is never wanted twice at the same time */
    }
    h->rig.now_ms = until;
}

static void join(struct history *h, int who)
{
    static const struct group_protocol wishes[][2] = {
        {{{"range", 5}, {(const uint8_t *)"m", 1}}, {{"sticky", 6}, {(const uint8_t *)"x", 1}}},
        {{{"sticky", 6}, {(const uint8_t *)"y", 1}}, {{"range", 5}, {(const uint8_t *)"m", 1}}},
        {{{"range", 5}, {(const uint8_t *)"n", 1}}, {{"range", 5}, {(const uint8_t *)"o", 1}}},
        {{{"other", 5}, {(const uint8_t *)"n", 1}}, {{"odd", 3}, {(const uint8_t *)"o", 1}}},
    };
    struct client *c = &h->clients[who];
    struct group_event ev =
        rig_join(&h->rig, chance(h, 97) ? c->id : "", c->instance[0] ? c->instance : NULL);

    ev.join.protocols = wishes[chance(h, 95) ? 0 : rng_below(&h->rng, countof(wishes))];
    ev.join.protocols_n = 2;
    ev.join.session_timeout_ms = 6000 + (int32_t)rng_below(&h->rng, 20000);
    ev.join.rebalance_timeout_ms = (int32_t)rng_below(&h->rng, 60000) - 1;
    ev.join.id_required = chance(h, 80);
    ev.join.can_skip_assignment = chance(h, 50);
    step(h, who, ev);
}

static void leave(struct history *h, int who)
{
    struct client *c = &h->clients[who];
    struct group_leaver l[2];
    size_t n = 1 + rng_below(&h->rng, 2);

    for (size_t i = 0; i < n; i++, c = &h->clients[rng_below(&h->rng, CLIENTS)])
        l[i] = (struct group_leaver){chance(h, 80) ? str_of(c->id) : STR(""),
                                     c->instance[0] ? str_of(c->instance) : (struct str){0}};
    step(h, who, (struct group_event){.kind = GROUP_EV_LEAVE, .leave = {l, n}});
}

static void sync_up(struct history *h, int who)
{
    struct client *c = &h->clients[who], *other = &h->clients[rng_below(&h->rng, CLIENTS)];
    struct group_assignment as = {str_of(other->id), bytes_of("A", 1)};
    struct group_event ev = rig_sync(c->id, c->instance[0] ? c->instance : NULL, c->generation);

    ev.sync.assignments = &as;
    ev.sync.assignments_n = c->leads;
    step(h, who, ev);
}

/* Mostly somebody who does not wait for an answer. */
static int choose(struct history *h)
{
    int who = (int)rng_below(&h->rng, CLIENTS);

    for (unsigned i = 0; i < CLIENTS && h->clients[who].parked; i++)
        who = (who + 1) % CLIENTS;
    return chance(h, 97) ? who : (int)rng_below(&h->rng, CLIENTS);
}

static void act(struct history *h)
{
    int who = choose(h);
    struct client *c = &h->clients[who];
    const char *instance = c->instance[0] ? c->instance : NULL;
    unsigned what = (unsigned)rng_below(&h->rng, 100);

    if (c->parked && !chance(h, 5)) {
        pass(h, rng_below(&h->rng, 2000));
    } else if (what < 70) {
        if (c->wish == WISH_JOIN)
            join(h, who);
        else if (c->wish == WISH_SYNC)
            sync_up(h, who);
        else
            step(h, who, rig_beat(c->id, instance, c->generation));
    } else if (what < 75) {
        join(h, who);
    } else if (what < 77) {
        sync_up(h, who);
    } else if (what < 82) {
        step(h, who, rig_commit(c->id, instance, c->generation));
    } else if (what < 84) {
        leave(h, who);
    } else if (what < 85) {
        c->id[0] = 0; /* forgets who it was */
    } else {
        pass(h, rng_below(&h->rng, chance(h, 97) ? 500 : 40000));
    }
}

static void run(uint64_t seed)
{
    struct history *h = xnew(struct history);

    rng_init(&h->rng, seed);
    rig_init(&h->rig);
    h->rig.config.initial_rebalance_delay_ms = chance(h, 50) ? 0 : 1 + rng_below(&h->rng, 5000);
    h->rig.config.members_max = chance(h, 80) ? 100 : 1 + rng_below(&h->rng, CLIENTS);
    memset(h->asker, -1, sizeof h->asker);
    for (unsigned i = 0; i < CLIENTS; i++)
        if (chance(h, 30))
            snprintf(h->clients[i].instance, sizeof h->clients[i].instance, "i%u", i % 4);
    for (unsigned i = 0; i < STEPS; i++)
        act(h);

    pass(h, 2000000); /* everybody falls silent */
    assert_int_equal(h->waiting, 0);
    assert_int_equal(h->rig.g.state, GROUP_EMPTY);
    assert_int_equal(h->rig.g.members_n + h->rig.g.pending_by_id.n, 0);
    assert_int_equal(h->rig.g.bytes, 1 + h->rig.g.protocol_type.n);
    for (uintptr_t t = 1; t <= h->rig.tokens; t++)
        assert_int_equal(h->answers[t], 1);
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

static void every_request_is_answered_once_and_a_generation_has_one_leader(void **state)
{
    (void)state;
    for (seed_now = seed_first; seed_now <= seed_last; seed_now++)
        run(seed_now);
    if (seed_last > seed_first) assert_true(stable_generations > 10 * (seed_last - seed_first));
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(every_request_is_answered_once_and_a_generation_has_one_leader,
                                  say_seed),
    };

    seed_first = argc > 1 ? strtoull(argv[1], NULL, 10) : 1;
    seed_last = argc > 1 ? seed_first : SEEDS;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
