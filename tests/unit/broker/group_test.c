/* SPDX-License-Identifier: Apache-2.0 */
#include "group_rig.h"
#include <stdio.h>

static int setup(void **state)
{
    struct rig *r = xnew(struct rig);

    rig_init(r);
    *state = r;
    return 0;
}

static int teardown(void **state)
{
    struct rig *r = *state;

    rig_fini(r);
    free(r);
    return 0;
}

/* A dynamic member as v4+ clients become one: asks, is given an id, asks again. ret: its id. */
static void *join_new(struct rig *r, char ret[64])
{
    void *t = rig_step(r, rig_join(r, "", NULL));
    const struct group_fx *a = rig_answer(r, t);

    assert_non_null(a);
    assert_int_equal(a->error, KAFKA_ERR_MEMBER_ID_REQUIRED);
    snprintf(ret, 64, STR_FMT, STR_ARG(a->joined.member_id));
    return rig_step(r, rig_join(r, ret, NULL));
}

static void leader_syncs(struct rig *r, const char *leader)
{
    void *t = rig_step(r, rig_sync(leader, NULL, r->g.generation));

    assert_int_equal(rig_error(r, t), 0);
    assert_int_equal(r->g.state, GROUP_STABLE);
}

/* One dynamic member, stable in generation 1. */
static void stable_with_one(struct rig *r, char a[64])
{
    assert_int_equal(rig_error(r, join_new(r, a)), 0);
    leader_syncs(r, a);
    assert_int_equal(r->g.generation, 1);
}

/* Two dynamic members, stable in generation 2; a leads. */
static void stable_with_two(struct rig *r, char a[64], char b[64])
{
    stable_with_one(r, a);
    assert_int_equal(rig_error(r, join_new(r, b)), PARKED);
    assert_int_equal(rig_error(r, rig_step(r, rig_join(r, a, NULL))), 0);
    assert_int_equal(rig_error(r, rig_step(r, rig_sync(b, NULL, 2))), PARKED);
    leader_syncs(r, a);
}

/* A static member alone, stable in generation 1. ret: its member id. */
static void stable_with_static(struct rig *r, const char *instance, char ret[64])
{
    void *t = rig_step(r, rig_join(r, "", instance));

    assert_int_equal(rig_error(r, t), 0);
    snprintf(ret, 64, STR_FMT, STR_ARG(rig_answer(r, t)->joined.member_id));
    leader_syncs(r, ret);
}

/* ---- joining ---- */

static void a_new_dynamic_member_is_given_an_id_and_comes_back_with_it(void **state)
{
    struct rig *r = *state;
    const struct group_fx *a;
    char id[64];
    void *t = rig_step(r, rig_join(r, "", NULL));

    a = rig_answer(r, t);
    assert_int_equal(a->error, KAFKA_ERR_MEMBER_ID_REQUIRED);
    assert_str(a->joined.member_id, "c-1");
    assert_int_equal(a->joined.generation, -1);
    assert_int_equal(r->g.state, GROUP_EMPTY);
    snprintf(id, sizeof id, "c-1");
    a = rig_answer(r, rig_step(r, rig_join(r, id, NULL)));
    assert_int_equal(a->error, 0);
    assert_int_equal(a->joined.generation, 1);
    assert_str(a->joined.leader, "c-1");
    assert_str(a->joined.protocol, "range");
    assert_str(a->joined.protocol_type, "consumer");
    assert_int_equal(a->joined.members_n, 1);
    assert_str(a->joined.members[0].id, "c-1");
    assert_str(bytes_str(a->joined.members[0].metadata), "m");
    assert_int_equal(r->g.state, GROUP_COMPLETING);
    assert_int_equal(r->g.pending_by_id.n, 0);
}

static void clients_before_version_4_are_admitted_without_an_id(void **state)
{
    struct rig *r = *state;
    struct group_event ev = rig_join(r, "", NULL);
    const struct group_fx *a;

    ev.join.id_required = false;
    a = rig_answer(r, rig_step(r, ev));
    assert_int_equal(a->error, 0);
    assert_str(a->joined.member_id, "c-1");
}

static void the_first_rebalance_waits_and_newcomers_prolong_it(void **state)
{
    struct rig *r = *state;
    void *a, *b;
    char id[64];

    r->config.initial_rebalance_delay_ms = 3000;
    a = join_new(r, id);
    assert_int_equal(rig_error(r, a), PARKED);
    rig_wait(r, 2000);
    b = join_new(r, id);
    assert_int_equal(rig_error(r, b), PARKED);
    rig_wait(r, 3999); /* 3000 passed, prolonged to 6000 */
    assert_int_equal(r->g.state, GROUP_PREPARING);
    rig_wait(r, 1);
    assert_int_equal(rig_error(r, a), 0);
    assert_int_equal(rig_error(r, b), 0);
    assert_int_equal(rig_answer(r, a)->joined.members_n, 2);
    assert_int_equal(rig_answer(r, b)->joined.members_n, 0);
}

static void the_first_rebalance_lasts_at_most_the_largest_rebalance_timeout(void **state)
{
    struct rig *r = *state;
    uint64_t begun = r->now_ms;
    char id[64];

    r->config.initial_rebalance_delay_ms = 7000;
    for (unsigned i = 0; r->g.state != GROUP_COMPLETING; i++) {
        join_new(r, id);
        rig_wait(r, 5000);
        assert_true(i < 10);
    }
    assert_int_equal(r->now_ms - begun, 30000);
}

static void a_session_timeout_does_not_end_a_parked_join(void **state)
{
    struct rig *r = *state;
    char a[64], b[64];
    void *t;

    stable_with_one(r, a);
    t = join_new(r, b);
    for (unsigned i = 0; i < 4; i++) { /* a lives, but does not rejoin; 20 s */
        rig_wait(r, 5000);
        assert_int_equal(r->fx.n, 0);
        assert_int_equal(rig_error(r, rig_step(r, rig_beat(a, NULL, 1))),
                         KAFKA_ERR_REBALANCE_IN_PROGRESS);
    }
    rig_wait(r, 10000);
    assert_int_equal(rig_error(r, t), 0);
    assert_int_equal(r->g.members_n, 1);
}

static void a_new_member_whose_join_is_parked_for_too_long_is_dropped(void **state)
{
    struct rig *r = *state;
    char a[64], b[64];
    struct group_event ev;
    void *t;

    stable_with_one(r, a);
    ev = rig_join(r, a, NULL);
    ev.join.rebalance_timeout_ms = 1000000;
    rig_step(r, ev);
    leader_syncs(r, a);
    t = join_new(r, b);
    while (r->fx.n == 0 || rig_error(r, t) == PARKED) {
        rig_wait(r, 5000);
        if (rig_error(r, t) == PARKED) rig_step(r, rig_beat(a, NULL, r->g.generation));
    }
    assert_int_equal(rig_error(r, t), KAFKA_ERR_UNKNOWN_MEMBER_ID);
}

static void joins_that_do_not_fit_the_group_are_refused(void **state)
{
    struct rig *r = *state;
    const struct group_protocol sticky = {STR("sticky"), {0}};
    struct group_event ev;
    char a[64];

    ev = rig_join(r, "", NULL);
    ev.join.protocols_n = 0;
    assert_int_equal(rig_error(r, rig_step(r, ev)), KAFKA_ERR_INCONSISTENT_GROUP_PROTOCOL);
    ev = rig_join(r, "", NULL);
    ev.join.protocol_type = STR("");
    assert_int_equal(rig_error(r, rig_step(r, ev)), KAFKA_ERR_INCONSISTENT_GROUP_PROTOCOL);

    stable_with_one(r, a);
    ev = rig_join(r, "", NULL);
    ev.join.protocol_type = STR("connect");
    assert_int_equal(rig_error(r, rig_step(r, ev)), KAFKA_ERR_INCONSISTENT_GROUP_PROTOCOL);
    ev = rig_join(r, "", NULL);
    ev.join.protocols = &sticky;
    assert_int_equal(rig_error(r, rig_step(r, ev)), KAFKA_ERR_INCONSISTENT_GROUP_PROTOCOL);
    assert_int_equal(rig_error(r, rig_step(r, rig_join(r, "nobody", NULL))),
                     KAFKA_ERR_UNKNOWN_MEMBER_ID);
    assert_str(rig_answer(r, (void *)r->tokens)->joined.member_id, "nobody");
    assert_int_equal(r->g.state, GROUP_STABLE);
}

static void a_group_has_a_size(void **state)
{
    struct rig *r = *state;
    char a[64], b[64], c[64];
    struct group_event ev;

    r->config.members_max = 2;
    stable_with_two(r, a, b);
    assert_int_equal(rig_error(r, rig_step(r, rig_join(r, "", NULL))),
                     KAFKA_ERR_GROUP_MAX_SIZE_REACHED);
    assert_int_equal(rig_error(r, rig_step(r, rig_join(r, b, NULL))), 0); /* who is in stays in */

    r->config.members_max = 10;
    r->config.bytes_max = r->g.bytes + 100;
    ev = rig_join(r, "", NULL);
    assert_int_equal(rig_error(r, rig_step(r, ev)), KAFKA_ERR_GROUP_MAX_SIZE_REACHED);
    r->config.bytes_max = 1 << 20;
    join_new(r, c);
    assert_int_equal(r->g.members_n, 3);
}

static void the_protocol_is_elected_among_those_all_support(void **state)
{
    struct rig *r = *state;
    const struct group_protocol ab[] = {{STR("a"), {0}}, {STR("b"), {0}}},
                                bxa[] = {{STR("x"), {0}}, {STR("b"), {0}}, {STR("a"), {0}}};
    struct group_event ev;
    void *t = NULL;

    r->config.initial_rebalance_delay_ms = 100;
    for (unsigned i = 0; i < 3; i++) {
        ev = rig_join(r, "", NULL);
        ev.join.id_required = false;
        ev.join.protocols = i ? bxa : ab; /* prefer a, b, b: x is not for all */
        ev.join.protocols_n = i ? 3 : 2;
        t = rig_step(r, ev);
    }
    rig_wait(r, 1000);
    assert_int_equal(rig_error(r, t), 0);
    assert_str(r->g.protocol, "b");
}

/* ---- rejoining ---- */

static void
a_repeated_join_in_completing_repeats_the_answer_and_a_changed_one_rebalances(void **state)
{
    struct rig *r = *state;
    const struct group_protocol other = {STR("range"), {(const uint8_t *)"n", 1}};
    struct group_event ev;
    const struct group_fx *a;
    char id[64];

    join_new(r, id);
    a = rig_answer(r, rig_step(r, rig_join(r, id, NULL)));
    assert_int_equal(a->joined.generation, 1);
    assert_int_equal(a->joined.members_n, 1);
    ev = rig_join(r, id, NULL);
    ev.join.protocols = &other;
    a = rig_answer(r, rig_step(r, ev));
    assert_int_equal(a->joined.generation, 2);
    assert_str(bytes_str(a->joined.members[0].metadata), "n");
}

static void
a_follower_that_rejoins_unchanged_is_told_the_generation_but_the_leader_rebalances(void **state)
{
    struct rig *r = *state;
    char a[64], b[64];
    void *t;

    stable_with_two(r, a, b);
    t = rig_step(r, rig_join(r, b, NULL));
    assert_int_equal(rig_answer(r, t)->joined.generation, 2);
    assert_int_equal(rig_answer(r, t)->joined.members_n, 0);
    assert_int_equal(r->g.state, GROUP_STABLE);
    t = rig_step(r, rig_join(r, a, NULL));
    assert_int_equal(rig_error(r, t), PARKED);
    assert_int_equal(r->g.state, GROUP_PREPARING);
    assert_int_equal(rig_error(r, rig_step(r, rig_beat(b, NULL, 2))),
                     KAFKA_ERR_REBALANCE_IN_PROGRESS);
    rig_step(r, rig_join(r, b, NULL));
    assert_int_equal(rig_error(r, t), 0);
    assert_str(rig_answer(r, t)->joined.leader, a); /* the previous leader leads again */
    assert_int_equal(r->g.generation, 3);
}

static void a_join_asked_twice_answers_the_first_with_a_retriable_error(void **state)
{
    struct rig *r = *state;
    char a[64], b[64];
    void *first, *second;

    stable_with_one(r, a);
    first = join_new(r, b);
    second = rig_step(r, rig_join(r, b, NULL));
    assert_int_equal(rig_error(r, first), KAFKA_ERR_REBALANCE_IN_PROGRESS);
    assert_int_equal(rig_error(r, second), PARKED);
    rig_step(r, rig_join(r, a, NULL));
    assert_int_equal(rig_error(r, second), 0);
}

static void who_does_not_rejoin_in_time_is_removed(void **state)
{
    struct rig *r = *state;
    char a[64], b[64];
    void *t;

    stable_with_two(r, a, b);
    t = rig_step(r, rig_join(r, a, NULL));
    for (unsigned i = 0; i < 6; i++) {
        rig_step(r, rig_beat(b, NULL, 2));
        rig_wait(r, 5000);
    }
    assert_int_equal(rig_error(r, t), 0);
    assert_int_equal(rig_answer(r, t)->joined.members_n, 1);
    assert_int_equal(rig_error(r, rig_step(r, rig_beat(b, NULL, 2))), KAFKA_ERR_UNKNOWN_MEMBER_ID);
}

static void an_id_given_out_holds_the_rebalance_until_it_expires(void **state)
{
    struct rig *r = *state;
    char a[64], b[64];
    void *t;

    stable_with_one(r, a);
    rig_step(r, rig_join(r, "", NULL));         /* b's id is out */
    assert_int_equal(r->g.state, GROUP_STABLE); /* that alone disturbs nobody */
    t = rig_step(r, rig_join(r, a, NULL));
    assert_int_equal(rig_error(r, t), PARKED);
    rig_wait(r, 9999);
    assert_int_equal(r->fx.n, 0);
    rig_wait(r, 1);
    assert_int_equal(rig_error(r, t), 0);
    (void)b;
}

/* ---- syncing ---- */

static void all_syncs_are_answered_when_the_leader_assigns_and_the_record_comes_first(void **state)
{
    struct rig *r = *state;
    char a[64], b[64], c[64];
    struct group_assignment as[2];
    struct group_event ev;
    void *tb, *tc, *ta;

    stable_with_two(r, a, b);
    join_new(r, c);
    rig_step(r, rig_join(r, a, NULL));
    rig_step(r, rig_join(r, b, NULL));
    tb = rig_step(r, rig_sync(b, NULL, 3));
    assert_int_equal(rig_error(r, tb), PARKED);
    assert_int_equal(rig_error(r, rig_step(r, rig_beat(b, NULL, 3))), 0);

    ev = rig_sync(a, NULL, 3);
    as[0] = (struct group_assignment){str_of(b), bytes_of("B", 1)};
    as[1] = (struct group_assignment){STR("nobody"), bytes_of("N", 1)};
    ev.sync.assignments = as;
    ev.sync.assignments_n = 2;
    ta = rig_step(r, ev);
    assert_int_equal(r->fx.n, 3);
    assert_int_equal(r->fx.items[0].kind, GROUP_FX_PERSIST);
    assert_str(bytes_str(rig_answer(r, tb)->synced.assignment), "B");
    assert_int_equal(rig_answer(r, ta)->synced.assignment.n, 0); /* it forgot itself */
    assert_str(rig_answer(r, ta)->synced.protocol, "range");

    tc = rig_step(r, rig_sync(c, NULL, 3)); /* late, and again */
    assert_int_equal(rig_error(r, tc), 0);
    tb = rig_step(r, rig_sync(b, NULL, 3));
    assert_str(bytes_str(rig_answer(r, tb)->synced.assignment), "B");
}

static void syncs_that_do_not_fit_are_refused(void **state)
{
    struct rig *r = *state;
    struct group_event ev;
    char a[64], b[64];

    stable_with_two(r, a, b);
    assert_int_equal(rig_error(r, rig_step(r, rig_sync("nobody", NULL, 2))),
                     KAFKA_ERR_UNKNOWN_MEMBER_ID);
    assert_int_equal(rig_error(r, rig_step(r, rig_sync(a, NULL, 1))), KAFKA_ERR_ILLEGAL_GENERATION);
    assert_int_equal(rig_error(r, rig_step(r, rig_sync(a, "i", 2))), KAFKA_ERR_UNKNOWN_MEMBER_ID);
    ev = rig_sync(a, NULL, 2);
    ev.sync.protocol_type = STR("x");
    assert_int_equal(rig_error(r, rig_step(r, ev)), KAFKA_ERR_INCONSISTENT_GROUP_PROTOCOL);
    ev = rig_sync(a, NULL, 2);
    ev.sync.protocol = STR("sticky");
    assert_int_equal(rig_error(r, rig_step(r, ev)), KAFKA_ERR_INCONSISTENT_GROUP_PROTOCOL);
    rig_step(r, rig_join(r, a, NULL));
    assert_int_equal(rig_error(r, rig_step(r, rig_sync(b, NULL, 2))),
                     KAFKA_ERR_REBALANCE_IN_PROGRESS);
}

static void who_does_not_sync_in_time_is_removed_and_the_others_rejoin(void **state)
{
    struct rig *r = *state;
    char a[64], b[64];
    void *t;

    stable_with_two(r, a, b);
    rig_step(r, rig_join(r, a, NULL));
    rig_step(r, rig_join(r, b, NULL));
    t = rig_step(r, rig_sync(b, NULL, 3)); /* the leader never syncs, but lives */
    for (unsigned i = 0; i < 6 && rig_error(r, t) == PARKED; i++) {
        rig_step(r, rig_beat(a, NULL, 3));
        rig_wait(r, 5000);
    }
    assert_int_equal(rig_error(r, t), KAFKA_ERR_REBALANCE_IN_PROGRESS);
    assert_int_equal(r->g.state, GROUP_PREPARING);
    assert_int_equal(r->g.members_n, 1);
    t = rig_step(r, rig_join(r, b, NULL));
    assert_str(rig_answer(r, t)->joined.leader, b);
}

static void a_record_that_cannot_be_written_makes_the_members_rejoin(void **state)
{
    struct rig *r = *state;
    char a[64];

    stable_with_one(r, a);
    rig_step(r, (struct group_event){.kind = GROUP_EV_PERSIST_FAILED,
                                     .persist_error = KAFKA_ERR_KAFKA_STORAGE_ERROR});
    assert_int_equal(r->g.state, GROUP_PREPARING);
    assert_int_equal(rig_error(r, rig_step(r, rig_join(r, a, NULL))), 0);
    assert_int_equal(r->g.generation, 2);
}

/* ---- living and leaving ---- */

static void heartbeats_are_checked(void **state)
{
    struct rig *r = *state;
    char a[64], b[64];

    stable_with_two(r, a, b);
    assert_int_equal(rig_error(r, rig_step(r, rig_beat(a, NULL, 2))), 0);
    assert_int_equal(rig_error(r, rig_step(r, rig_beat(a, NULL, 1))), KAFKA_ERR_ILLEGAL_GENERATION);
    assert_int_equal(rig_error(r, rig_step(r, rig_beat(a, NULL, 3))), KAFKA_ERR_ILLEGAL_GENERATION);
    assert_int_equal(rig_error(r, rig_step(r, rig_beat("nobody", NULL, 2))),
                     KAFKA_ERR_UNKNOWN_MEMBER_ID);
    assert_int_equal(rig_error(r, rig_step(r, rig_beat(a, "i9", 2))), KAFKA_ERR_UNKNOWN_MEMBER_ID);
}

static void a_silent_member_expires_and_the_others_rejoin(void **state)
{
    struct rig *r = *state;
    char a[64], b[64];

    stable_with_two(r, a, b);
    rig_wait(r, 6000);
    rig_step(r, rig_beat(a, NULL, 2));
    rig_wait(r, 4000);
    assert_int_equal(r->g.state, GROUP_PREPARING);
    assert_int_equal(r->g.members_n, 1);
    assert_int_equal(rig_error(r, rig_step(r, rig_beat(a, NULL, 2))),
                     KAFKA_ERR_REBALANCE_IN_PROGRESS);
}

static void commits_and_syncs_keep_a_session_alive(void **state)
{
    struct rig *r = *state;
    char a[64];

    stable_with_one(r, a);
    for (unsigned i = 0; i < 10; i++) {
        rig_wait(r, 8000);
        if (i % 2)
            rig_step(r, rig_commit(a, NULL, 1));
        else
            rig_step(r, rig_sync(a, NULL, 1));
        assert_int_equal(rig_error(r, (void *)r->tokens), 0);
    }
}

static void the_last_one_out_leaves_an_empty_group_on_record(void **state)
{
    struct rig *r = *state;
    struct group_leaver l[2];
    const struct group_fx *a;
    char id[64];

    stable_with_one(r, id);
    l[0] = (struct group_leaver){STR("nobody"), {0}};
    l[1] = (struct group_leaver){str_of(id), {0}};
    a = rig_answer(r, rig_step(r, (struct group_event){.kind = GROUP_EV_LEAVE, .leave = {l, 2}}));
    assert_int_equal(a->done.n, 2);
    assert_int_equal(a->done.errors[0], KAFKA_ERR_UNKNOWN_MEMBER_ID);
    assert_int_equal(a->done.errors[1], 0);
    assert_int_equal(r->g.state, GROUP_EMPTY);
    assert_int_equal(r->g.generation, 2);
    assert_int_equal(r->g.since_ms, r->now_ms + 7);
    assert_null(r->g.protocol.p);
    assert_str(r->g.protocol_type, "consumer");
    assert_int_equal(rig_persists(r), 1);
}

static void leaving_answers_what_was_parked_and_lets_the_others_go_on(void **state)
{
    struct rig *r = *state;
    struct group_leaver l;
    char a[64], b[64];
    void *ta, *tb;

    stable_with_two(r, a, b);
    ta = rig_step(r, rig_join(r, a, NULL));
    l = (struct group_leaver){str_of(b), {0}};
    rig_step(r, (struct group_event){.kind = GROUP_EV_LEAVE, .leave = {&l, 1}});
    assert_int_equal(rig_error(r, ta), 0); /* nobody else is waited for */
    leader_syncs(r, a);

    tb = join_new(r, b);
    assert_int_equal(rig_error(r, tb), PARKED);
    l = (struct group_leaver){str_of(b), {0}};
    rig_step(r, (struct group_event){.kind = GROUP_EV_LEAVE, .leave = {&l, 1}});
    assert_int_equal(rig_error(r, tb), KAFKA_ERR_UNKNOWN_MEMBER_ID);
}

static void an_id_given_out_can_leave_too(void **state)
{
    struct rig *r = *state;
    struct group_leaver l = {STR("c-1"), {0}};
    const struct group_fx *a;

    rig_step(r, rig_join(r, "", NULL));
    a = rig_answer(r, rig_step(r, (struct group_event){.kind = GROUP_EV_LEAVE, .leave = {&l, 1}}));
    assert_int_equal(a->done.errors[0], 0);
    assert_int_equal(rig_error(r, rig_step(r, rig_join(r, "c-1", NULL))),
                     KAFKA_ERR_UNKNOWN_MEMBER_ID);
}

/* ---- static members ---- */

static void a_static_member_gets_its_place_back_without_a_rebalance(void **state)
{
    struct rig *r = *state;
    const struct group_fx *a;
    struct group_event ev;
    char old[64], now[64];
    void *t;

    stable_with_static(r, "i1", old);
    assert_string_equal(old, "i1-1");
    a = rig_answer(r, rig_step(r, rig_join(r, "", "i1")));
    assert_int_equal(a->error, 0);
    assert_int_equal(a->joined.generation, 1);
    assert_true(a->joined.skip_assignment);
    assert_str(a->joined.leader, "i1-2");
    assert_str(a->joined.member_id, "i1-2");
    assert_int_equal(a->joined.members_n, 1);
    assert_int_equal(r->fx.items[0].kind, GROUP_FX_PERSIST);
    assert_int_equal(r->g.state, GROUP_STABLE);

    assert_int_equal(rig_error(r, rig_step(r, rig_beat(old, "i1", 1))),
                     KAFKA_ERR_FENCED_INSTANCE_ID);
    assert_int_equal(rig_error(r, rig_step(r, rig_beat(old, NULL, 1))),
                     KAFKA_ERR_UNKNOWN_MEMBER_ID);
    assert_int_equal(rig_error(r, rig_step(r, rig_join(r, old, "i1"))),
                     KAFKA_ERR_FENCED_INSTANCE_ID);
    assert_int_equal(rig_error(r, rig_step(r, rig_sync(old, "i1", 1))),
                     KAFKA_ERR_FENCED_INSTANCE_ID);
    assert_int_equal(rig_error(r, rig_step(r, rig_commit(old, "i1", 1))),
                     KAFKA_ERR_FENCED_INSTANCE_ID);
    assert_int_equal(rig_error(r, rig_step(r, rig_sync("i1-2", "i1", 1))), 0);

    ev = rig_join(r, "", "i1"); /* a client that cannot skip the assignment */
    ev.join.can_skip_assignment = false;
    t = rig_step(r, ev);
    snprintf(now, sizeof now, STR_FMT, STR_ARG(rig_answer(r, t)->joined.member_id));
    assert_str(rig_answer(r, t)->joined.leader, "i1-2"); /* is not told that it leads */
    assert_int_equal(rig_answer(r, t)->joined.members_n, 0);
    assert_false(rig_answer(r, t)->joined.skip_assignment);
    assert_int_equal(rig_error(r, rig_step(r, rig_beat(now, "i1", 1))), 0);
}

static void the_predecessor_of_a_static_member_is_fenced_where_it_waits(void **state)
{
    struct rig *r = *state;
    char a[64], b[64], c[64];
    void *join, *sync;

    stable_with_static(r, "i1", a);
    join = rig_step(r, rig_join(r, "", "i2"));
    assert_int_equal(rig_error(r, join), PARKED);
    rig_step(r, rig_join(r, "", "i2"));
    assert_int_equal(rig_error(r, join), KAFKA_ERR_FENCED_INSTANCE_ID);
    assert_int_equal(r->g.members_n, 2);

    rig_step(r, rig_join(r, a, "i1"));
    snprintf(b, sizeof b, STR_FMT, STR_ARG(r->fx.items[1].joined.member_id));
    sync = rig_step(r, rig_sync(b, "i2", 2));
    assert_int_equal(rig_error(r, sync), PARKED);
    rig_step(r, rig_join(r, "", "i2")); /* in COMPLETING that is a rebalance */
    assert_int_equal(rig_error(r, sync), KAFKA_ERR_FENCED_INSTANCE_ID);
    assert_int_equal(r->g.state, GROUP_PREPARING);
    (void)c;
}

static void a_static_member_that_changes_the_vote_rebalances(void **state)
{
    struct rig *r = *state;
    const struct group_protocol both[] = {{STR("sticky"), {0}}, {STR("range"), {0}}};
    struct group_event ev;
    char a[64];
    void *t;

    stable_with_static(r, "i1", a);
    ev = rig_join(r, "", "i1");
    ev.join.protocols = both;
    ev.join.protocols_n = 2;
    t = rig_step(r, ev);
    assert_int_equal(rig_answer(r, t)->joined.generation, 2);
    assert_str(rig_answer(r, t)->joined.protocol, "sticky");
}

static void
static_members_that_do_not_rejoin_keep_their_place_until_their_session_ends(void **state)
{
    struct rig *r = *state;
    struct group_event ev;
    char a[64], b[64];
    void *t;

    stable_with_static(r, "i1", a);
    ev = rig_join(r, a, "i1");
    ev.join.session_timeout_ms = 100000;
    t = rig_step(r, ev);
    assert_int_equal(rig_error(r, t), 0);
    rig_step(r, rig_sync(a, "i1", 2));
    t = join_new(r, b); /* i1 does not answer for 30 s: b goes on, i1 is still listed */
    rig_wait(r, 30000);
    assert_int_equal(rig_error(r, t), 0);
    assert_int_equal(rig_answer(r, t)->joined.members_n, 2);
    assert_str(rig_answer(r, t)->joined.leader, b);
    leader_syncs(r, b);
    while (r->g.members_n == 2) {
        rig_wait(r, 5000);
        if (r->g.members_n == 2) rig_step(r, rig_beat(b, NULL, 3));
    }
    assert_int_equal(r->now_ms, 1100000); /* when its session ended */
    assert_int_equal(r->g.state, GROUP_PREPARING);
}

static void a_rebalance_that_nobody_joins_goes_on_until_the_static_members_expire(void **state)
{
    struct rig *r = *state;
    struct group_leaver l;
    struct group_event ev;
    char a[64], b[64];

    stable_with_static(r, "i1", a);
    ev = rig_join(r, a, "i1");
    ev.join.session_timeout_ms = 100000;
    rig_step(r, ev);
    rig_step(r, rig_sync(a, "i1", 2));
    join_new(r, b);
    l = (struct group_leaver){str_of(b), {0}};
    rig_step(r, (struct group_event){.kind = GROUP_EV_LEAVE, .leave = {&l, 1}});
    assert_int_equal(r->g.state, GROUP_PREPARING);
    rig_wait(r, 99999);
    assert_int_equal(r->g.state, GROUP_PREPARING);
    rig_wait(r, 1);
    assert_int_equal(r->g.state, GROUP_EMPTY);
    assert_int_equal(rig_persists(r), 1);
}

static void static_members_leave_by_instance_id(void **state)
{
    struct rig *r = *state;
    struct group_leaver l[3] = {
        {STR("wrong"), STR("i1")}, {STR(""), STR("i7")}, {STR(""), STR("i1")}};
    const struct group_fx *a;
    char id[64];

    stable_with_static(r, "i1", id);
    a = rig_answer(r, rig_step(r, (struct group_event){.kind = GROUP_EV_LEAVE, .leave = {l, 3}}));
    assert_int_equal(a->done.errors[0], KAFKA_ERR_FENCED_INSTANCE_ID);
    assert_int_equal(a->done.errors[1], KAFKA_ERR_UNKNOWN_MEMBER_ID);
    assert_int_equal(a->done.errors[2], 0);
    assert_int_equal(r->g.state, GROUP_EMPTY);
}

/* ---- commits, deletion, restart ---- */

static void who_may_commit_offsets(void **state)
{
    struct rig *r = *state;
    char a[64], b[64];

    assert_int_equal(rig_error(r, rig_step(r, rig_commit("", NULL, -1))),
                     0); /* nobody is in the group */
    assert_int_equal(rig_error(r, rig_step(r, rig_commit("m", NULL, -1))), 0);
    assert_int_equal(rig_error(r, rig_step(r, rig_commit("m", NULL, 0))),
                     KAFKA_ERR_UNKNOWN_MEMBER_ID);
    stable_with_two(r, a, b);
    assert_int_equal(rig_error(r, rig_step(r, rig_commit(a, NULL, 2))), 0);
    assert_int_equal(rig_error(r, rig_step(r, rig_commit("", NULL, -1))),
                     KAFKA_ERR_UNKNOWN_MEMBER_ID);
    assert_int_equal(rig_error(r, rig_step(r, rig_commit("nobody", NULL, 2))),
                     KAFKA_ERR_UNKNOWN_MEMBER_ID);
    assert_int_equal(rig_error(r, rig_step(r, rig_commit(a, NULL, 1))),
                     KAFKA_ERR_ILLEGAL_GENERATION);
    rig_step(r, rig_join(r, a, NULL));
    assert_int_equal(rig_error(r, rig_step(r, rig_commit(b, NULL, 2))),
                     0); /* a last one before rejoining */
    rig_step(r, rig_join(r, b, NULL));
    assert_int_equal(rig_error(r, rig_step(r, rig_commit(b, NULL, 3))),
                     KAFKA_ERR_REBALANCE_IN_PROGRESS);
}

static void only_an_empty_group_can_be_deleted(void **state)
{
    struct rig *r = *state;
    struct group_event del = {.kind = GROUP_EV_DELETE};
    struct group_leaver l;
    char a[64];

    stable_with_one(r, a);
    assert_int_equal(rig_error(r, rig_step(r, del)), KAFKA_ERR_NON_EMPTY_GROUP);
    l = (struct group_leaver){str_of(a), {0}};
    rig_step(r, (struct group_event){.kind = GROUP_EV_LEAVE, .leave = {&l, 1}});
    assert_int_equal(rig_error(r, rig_step(r, del)), 0);
    assert_int_equal(r->g.state, GROUP_DEAD);
    assert_int_equal(rig_error(r, rig_step(r, rig_join(r, "", NULL))),
                     KAFKA_ERR_COORDINATOR_NOT_AVAILABLE);
    assert_int_equal(rig_error(r, rig_step(r, del)), KAFKA_ERR_GROUP_ID_NOT_FOUND);
}

static void a_restart_goes_unnoticed(void **state)
{
    struct rig *r = *state;
    struct group_snapshot_member ms[] = {
        {STR("a-1"), {0}, STR("a"), STR("/h"), 10000, 30000, bytes_of("s1", 2), bytes_of("A", 1)},
        {STR("i-2"), STR("i"), STR("b"), STR("/h"), 20000, 30000, bytes_of("s2", 2),
         bytes_of("B", 1)},
    };
    struct group_snapshot s = {STR("consumer"), STR("range"), STR("a-1"), 7, 99, ms, 2};
    void *t;

    group_restore(&r->g, &s, r->now_ms);
    assert_int_equal(r->g.state, GROUP_STABLE);
    assert_int_equal(r->g.since_ms, 99);
    assert_int_equal(rig_error(r, rig_step(r, rig_beat("a-1", NULL, 7))), 0);
    t = rig_step(r, rig_sync("i-2", "i", 7));
    assert_str(bytes_str(rig_answer(r, t)->synced.assignment), "B");
    rig_wait(r, 9000);
    assert_int_equal(rig_error(r, rig_step(r, rig_beat("a-1", NULL, 7))), 0);
    rig_wait(r, 9000);
    assert_int_equal(r->g.members_n, 2);
    rig_wait(r, 1000);
    assert_int_equal(r->g.members_n, 1); /* sessions run from the restart on */
}

static void an_empty_group_comes_back_empty(void **state)
{
    struct rig *r = *state;
    struct group_snapshot s = {.protocol_type = STR("consumer"), .generation = 4, .since_ms = 12};
    char a[64];

    group_restore(&r->g, &s, r->now_ms);
    assert_int_equal(r->g.state, GROUP_EMPTY);
    assert_int_equal(r->g.generation, 4);
    join_new(r, a);
    assert_int_equal(r->g.generation, 5);
}

static void what_members_cost_is_given_back_when_they_go(void **state)
{
    struct rig *r = *state;
    size_t before = r->g.bytes;
    struct group_leaver l[2];
    char a[64], b[64];

    stable_with_two(r, a, b);
    assert_true(r->g.bytes > before + 2 * sizeof(struct group_member));
    l[0] = (struct group_leaver){str_of(a), {0}};
    l[1] = (struct group_leaver){str_of(b), {0}};
    rig_step(r, (struct group_event){.kind = GROUP_EV_LEAVE, .leave = {l, 2}});
    assert_int_equal(r->g.bytes, before + strlen("consumer"));
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(a_new_dynamic_member_is_given_an_id_and_comes_back_with_it),
        T(clients_before_version_4_are_admitted_without_an_id),
        T(the_first_rebalance_waits_and_newcomers_prolong_it),
        T(the_first_rebalance_lasts_at_most_the_largest_rebalance_timeout),
        T(a_session_timeout_does_not_end_a_parked_join),
        T(a_new_member_whose_join_is_parked_for_too_long_is_dropped),
        T(joins_that_do_not_fit_the_group_are_refused),
        T(a_group_has_a_size),
        T(the_protocol_is_elected_among_those_all_support),
        T(a_repeated_join_in_completing_repeats_the_answer_and_a_changed_one_rebalances),
        T(a_follower_that_rejoins_unchanged_is_told_the_generation_but_the_leader_rebalances),
        T(a_join_asked_twice_answers_the_first_with_a_retriable_error),
        T(who_does_not_rejoin_in_time_is_removed),
        T(an_id_given_out_holds_the_rebalance_until_it_expires),
        T(all_syncs_are_answered_when_the_leader_assigns_and_the_record_comes_first),
        T(syncs_that_do_not_fit_are_refused),
        T(who_does_not_sync_in_time_is_removed_and_the_others_rejoin),
        T(a_record_that_cannot_be_written_makes_the_members_rejoin),
        T(heartbeats_are_checked),
        T(a_silent_member_expires_and_the_others_rejoin),
        T(commits_and_syncs_keep_a_session_alive),
        T(the_last_one_out_leaves_an_empty_group_on_record),
        T(leaving_answers_what_was_parked_and_lets_the_others_go_on),
        T(an_id_given_out_can_leave_too),
        T(a_static_member_gets_its_place_back_without_a_rebalance),
        T(the_predecessor_of_a_static_member_is_fenced_where_it_waits),
        T(a_static_member_that_changes_the_vote_rebalances),
        T(static_members_that_do_not_rejoin_keep_their_place_until_their_session_ends),
        T(a_rebalance_that_nobody_joins_goes_on_until_the_static_members_expire),
        T(static_members_leave_by_instance_id),
        T(who_may_commit_offsets),
        T(only_an_empty_group_can_be_deleted),
        T(a_restart_goes_unnoticed),
        T(an_empty_group_comes_back_empty),
        T(what_members_cost_is_given_back_when_they_go),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
