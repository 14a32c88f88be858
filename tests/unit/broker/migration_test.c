/* SPDX-License-Identifier: Apache-2.0
 *
 * Groups that change their protocol while they have members, asked over the broker's protocol; the answers are those of an Apache
 * Kafka 4.1 that was asked the same. Topic t has four partitions.
 */
#include "broker/groups.h"
#include "kafka/msg/all.h"
#include "kafka/msg/consumer_protocol.h"
#include "kafka_call.h"
#include "test.h"
#include <stdio.h>

struct house {
    struct rig rig;
    struct rig_conn a;
    struct arena arena;
    struct broker_setting settings[2];
};

static void house_open(struct house *h)
{
    if (rig_open(&h->rig)) fail_msg("%s", h->rig.err.text);
    rig_connect(&h->rig, &h->a);
}

static void house_restart(struct house *h)
{
    rig_hang_up(&h->a);
    fs_sim_cut(h->rig.disk);
    rig_crash(&h->rig);
    fs_sim_power_on(h->rig.disk);
    house_open(h);
}

static void house_begin(struct house *h, const char *policy)
{
    struct topic *t;
    uint64_t seq;

    *h = (struct house){.settings = {{STR("group.initial.rebalance.delay.ms"), STR("0")},
                                     {STR("group.consumer.migration.policy"), str_of(policy)}}};
    rig_init(&h->rig, 1);
    h->rig.opt.settings = h->settings;
    h->rig.opt.settings_n = 2;
    house_open(h);
    assert_int_equal(broker_topic_create(h->rig.b,
                                         &(struct broker_topic_spec){
                                             .name = STR("t"), .partitions = 4, .replication = 1},
                                         &t, &seq, &h->rig.err),
                     RC_OK);
    rig_settle(&h->rig);
}

static void house_end(struct house *h)
{
    rig_hang_up(&h->a);
    rig_fini(&h->rig);
    arena_fini(&h->arena);
}

/* ---- a consumer of the classic protocol ---- */

struct classic {
    struct house *h;
    struct str id, instance_id;
    int32_t generation;
    const char *protocol;
    bool has[4];
};

static void has_write(const bool *has, int16_t version, bool subscription, struct buf *out)
{
    struct str topic = STR("t");
    int32_t numbers[4];
    struct consumer_protocol_subscription_owned_partition owned = {STR("t"), numbers, 0};
    struct consumer_protocol_assignment_assigned_partition assigned = {STR("t"), numbers, 0};
    struct consumer_protocol_subscription s = {
        .topics = &topic, .topics_n = 1, .owned_partitions = &owned, .owned_partitions_n = 1};
    struct consumer_protocol_assignment v = {.assigned_partitions = &assigned,
                                             .assigned_partitions_n = 1};
    struct wr w;

    for (int32_t i = 0; i < 4; i++)
        if (has[i]) numbers[owned.partitions_n++] = i;
    assigned.partitions_n = owned.partitions_n;
    wr_init(&w, out);
    wr_i16(&w, version);
    if (subscription)
        assert_true(consumer_protocol_subscription_encode(&w, version, &s));
    else
        assert_true(consumer_protocol_assignment_encode(&w, version, &v));
    wr_fini(&w);
}

static struct join_group_response *join_ask(struct classic *c, struct bytes metadata)
{
    struct join_group_request_protocol p = {str_of(c->protocol ? c->protocol : "range"), metadata};
    struct join_group_request q = {.group_id = STR("g"),
                                   .session_timeout_ms = 10000,
                                   .rebalance_timeout_ms = 20000,
                                   .member_id = c->id.p ? c->id : STR(""),
                                   .group_instance_id = c->instance_id,
                                   .protocol_type = STR("consumer"),
                                   .protocols = &p,
                                   .protocols_n = 1};

    return call(&c->h->a, KAFKA_JOIN_GROUP, 9, &q, &c->h->arena);
}

/* Says that it owns what it has. */
static int16_t join(struct classic *c)
{
    AUTO(buf_fini) struct buf metadata = {0};
    struct join_group_response *a;

    has_write(c->has, 3, true, &metadata);
    a = join_ask(c, buf_view(&metadata));
    if (a->error_code == KAFKA_ERR_MEMBER_ID_REQUIRED) {
        c->id = arena_dup_str(&c->h->arena, a->member_id);
        a = join_ask(c, buf_view(&metadata));
    }
    if (a->error_code) return a->error_code;
    c->id = arena_dup_str(&c->h->arena, a->member_id);
    c->generation = a->generation_id;
    return 0;
}

static void give_up_all(struct classic *c)
{
    memset(c->has, 0, sizeof c->has);
}

static int16_t sync_with(struct classic *c, struct bytes assignment)
{
    struct sync_group_request_assignment as = {c->id, assignment};
    struct sync_group_request q = {.group_id = STR("g"),
                                   .generation_id = c->generation,
                                   .member_id = c->id,
                                   .group_instance_id = c->instance_id,
                                   .protocol_type = STR("consumer"),
                                   .protocol_name = str_of(c->protocol ? c->protocol : "range"),
                                   .assignments = &as,
                                   .assignments_n = assignment.n != 0};
    struct sync_group_response *a = call(&c->h->a, KAFKA_SYNC_GROUP, 5, &q, &c->h->arena);
    struct consumer_protocol_assignment v;
    struct rd r;

    if (a->error_code) return a->error_code;
    give_up_all(c);
    rd_init(&r, a->assignment);
    assert_true(consumer_protocol_assignment_decode(&r, rd_i16(&r), &c->h->arena, &v));
    for (size_t i = 0; i < v.assigned_partitions_n; i++)
        for (size_t k = 0; k < v.assigned_partitions[i].partitions_n; k++)
            c->has[v.assigned_partitions[i].partitions[k]] = true;
    return 0;
}

static int16_t sync_up(struct classic *c)
{
    return sync_with(c, (struct bytes){0});
}

/* The leader of a classic group, alone: takes everything. */
static void lead(struct classic *c)
{
    static const bool all[4] = {true, true, true, true};
    AUTO(buf_fini) struct buf assignment = {0};

    has_write(all, 3, false, &assignment);
    assert_int_equal(sync_with(c, buf_view(&assignment)), 0);
}

static int16_t beat(struct classic *c)
{
    struct heartbeat_request q = {.group_id = STR("g"),
                                  .member_id = c->id,
                                  .group_instance_id = c->instance_id,
                                  .generation_id = c->generation};
    struct heartbeat_response *a = call(&c->h->a, KAFKA_HEARTBEAT, 4, &q, &c->h->arena);

    return a->error_code;
}

static int16_t commit(struct classic *c, int32_t generation, int64_t offset)
{
    struct offset_commit_request_partition p = {.partition_index = 0, .committed_offset = offset};
    struct offset_commit_request_topic t = {STR("t"), &p, 1};
    struct offset_commit_request q = {.group_id = STR("g"),
                                      .member_id = c->id,
                                      .generation_id_or_member_epoch = generation,
                                      .retention_time_ms = -1,
                                      .topics = &t,
                                      .topics_n = 1};
    struct offset_commit_response *a = call(&c->h->a, KAFKA_OFFSET_COMMIT, 8, &q, &c->h->arena);

    return a->topics[0].partitions[0].error_code;
}

static int16_t leave(struct house *h, struct str id)
{
    struct leave_group_request_member m = {.member_id = id};
    struct leave_group_request q = {.group_id = STR("g"), .members = &m, .members_n = 1};
    struct leave_group_response *a = call(&h->a, KAFKA_LEAVE_GROUP, 5, &q, &h->arena);

    return a->members[0].error_code;
}

/* ---- and one of the newer ---- */

struct newer {
    struct house *h;
    const char *id, *instance_id;
    int32_t epoch;
    bool has[4];
};

static int16_t newer_ask(struct newer *n, int32_t epoch)
{
    struct str topic = STR("t");
    struct uuid id = topic_uuid(broker_topic(n->h->rig.b, STR("t")));
    int32_t numbers[4];
    struct consumer_group_heartbeat_request_topic_partition row = {id, numbers, 0};
    struct consumer_group_heartbeat_request q = {.group_id = STR("g"),
                                                 .member_id = str_of(n->id),
                                                 .member_epoch = epoch,
                                                 .rebalance_timeout_ms = 20000,
                                                 .subscribed_topic_names = &topic,
                                                 .subscribed_topic_names_n = 1,
                                                 .topic_partitions = &row};
    struct consumer_group_heartbeat_response *a;

    if (n->instance_id) q.instance_id = str_of(n->instance_id);
    for (int32_t i = 0; i < 4; i++)
        if (n->has[i]) numbers[row.partitions_n++] = i;
    q.topic_partitions_n = row.partitions_n > 0;
    a = call(&n->h->a, KAFKA_CONSUMER_GROUP_HEARTBEAT, 1, &q, &n->h->arena);
    if (a->error_code) return a->error_code;
    n->epoch = a->member_epoch;
    if (!a->assignment) return 0;
    memset(n->has, 0, sizeof n->has);
    for (size_t i = 0; i < a->assignment->topic_partitions_n; i++)
        for (size_t k = 0; k < a->assignment->topic_partitions[i].partitions_n; k++)
            n->has[a->assignment->topic_partitions[i].partitions[k]] = true;
    return 0;
}

static int16_t newer_beat(struct newer *n)
{
    return newer_ask(n, n->epoch);
}

static void newer_leave(struct newer *n)
{
    memset(n->has, 0, sizeof n->has);
    assert_int_equal(newer_ask(n, -1), 0);
}

/* ---- what there is ---- */

static struct group_entry *group(struct house *h)
{
    return groups_find(broker_groups(h->rig.b), STR("g"));
}

static size_t count(const bool *has)
{
    return (size_t)has[0] + has[1] + has[2] + has[3];
}

static bool apart(const bool *a, const bool *b)
{
    for (size_t i = 0; i < 4; i++)
        if (a[i] && b[i]) return false;
    return true;
}

static const char *state_of(struct house *h)
{
    return arena_dup_str(&h->arena, group_entry_state(group(h))).p;
}

/* ---- a broker, and a consumer of each protocol that has not come yet ---- */

struct two {
    struct house h;
    struct classic c;
    struct newer n;
};

static struct two *two_begin(struct two *t, const char *policy)
{
    *t = (struct two){.c = {.h = &t->h}, .n = {.h = &t->h, .id = "n"}};
    house_begin(&t->h, policy);
    return t;
}

static int set_up(void **state)
{
    *state = two_begin(xnew(struct two), "bidirectional");
    return 0;
}

static int tear_down(void **state)
{
    house_end(&((struct two *)*state)->h);
    free(*state);
    return 0;
}

/* A classic member with all partitions, then one of the newer protocol; both settle on two each. */
static void mixed(struct two *t)
{
    struct classic *c = &t->c;
    struct newer *n = &t->n;

    assert_int_equal(join(c), 0);
    lead(c);
    assert_int_equal(commit(c, 1, 5), 0);
    assert_int_equal(newer_beat(n), 0);
    assert_int_equal(count(n->has), 0); /* all of it is still the other's */
    assert_int_equal(beat(c), KAFKA_ERR_REBALANCE_IN_PROGRESS);
    assert_int_equal(sync_up(c), KAFKA_ERR_REBALANCE_IN_PROGRESS);
    assert_int_equal(commit(c, 1, 6), 0); /* in its own generation it may, until it joins */
    give_up_all(c);
    assert_int_equal(join(c), 0);
    assert_int_equal(sync_up(c), 0);
    assert_int_equal(newer_beat(n), 0);
    assert_int_equal(count(c->has), 2);
    assert_int_equal(count(n->has), 2);
    assert_true(apart(c->has, n->has));
    assert_int_equal(beat(c), 0);
}

static void the_first_consumer_of_the_newer_protocol_takes_the_others_along(void **state)
{
    struct consumer_group_describe_response *d;
    struct two *t = *state;
    struct str g = STR("g");

    mixed(t);
    assert_int_equal(t->c.generation, 2);
    assert_int_equal(t->n.epoch, 2);
    assert_int_equal(commit(&t->c, 1, 9), KAFKA_ERR_ILLEGAL_GENERATION);
    assert_int_equal(commit(&t->c, 2, 9), 0);
    d = call(&t->h.a, KAFKA_CONSUMER_GROUP_DESCRIBE, 1,
             &(struct consumer_group_describe_request){.group_ids = &g, .group_ids_n = 1},
             &t->h.arena);
    assert_int_equal(d->groups[0].members_n, 2);
    assert_int_equal(d->groups[0].members[0].member_type, 0);
    assert_int_equal(d->groups[0].members[1].member_type, 1);
    assert_str(d->groups[0].group_state, "Stable");
}

static void a_mixed_group_survives_a_power_cut(void **state)
{
    struct two *t = *state;

    mixed(t);
    house_restart(&t->h);
    assert_int_equal(beat(&t->c), 0);
    assert_int_equal(newer_beat(&t->n), 0);
    assert_int_equal(sync_up(&t->c), 0);
    assert_int_equal(count(t->c.has), 2);
    assert_true(apart(t->c.has, t->n.has));
    assert_int_equal(commit(&t->c, 2, 7), 0);
    rig_advance(&t->h.rig, 10000); /* a session of its own length: that of the other is 45 s */
    assert_int_equal(beat(&t->c), KAFKA_ERR_UNKNOWN_MEMBER_ID);
    assert_int_equal(newer_beat(&t->n), 0);
}

static void when_the_last_of_the_newer_protocol_leaves_the_others_share_out_themselves(void **state)
{
    struct two two, *t = &two;

    (void)state;
    for (int cut = 0; cut < 2; cut++) {
        mixed(two_begin(t, "bidirectional"));
        newer_leave(&t->n);
        assert_null(group(&t->h)->c);
        assert_string_equal(state_of(&t->h), "PreparingRebalance");
        if (cut) house_restart(&t->h); /* nobody goes on as if nothing had happened */
        assert_str(group_entry_type(group(&t->h)), "classic");
        assert_int_equal(beat(&t->c),
                         cut ? KAFKA_ERR_ILLEGAL_GENERATION : KAFKA_ERR_REBALANCE_IN_PROGRESS);
        give_up_all(&t->c);
        assert_int_equal(join(&t->c), 0);
        assert_int_equal(t->c.generation, 3 + cut);
        lead(&t->c);
        assert_int_equal(count(t->c.has), 4);
        house_restart(&t->h);
        assert_int_equal(beat(&t->c), 0);
        house_end(&t->h);
    }
}

static void one_that_falls_silent_is_as_good_as_gone(void **state)
{
    struct two *t = *state;

    mixed(t);
    for (int i = 0; i < 9 && group(&t->h)->c; i++) {
        rig_advance(&t->h.rig, 5000);
        (void)beat(&t->c);
    }
    assert_null(group(&t->h)->c);
    assert_string_equal(state_of(&t->h), "PreparingRebalance");
}

static void a_cooperative_member_keeps_what_it_may_and_joins_twice(void **state)
{
    struct two *t = *state;
    bool before[4];

    t->c.protocol = "cooperative-sticky";
    assert_int_equal(join(&t->c), 0);
    lead(&t->c);
    assert_int_equal(newer_beat(&t->n), 0);
    assert_int_equal(beat(&t->c), KAFKA_ERR_REBALANCE_IN_PROGRESS);
    assert_int_equal(join(&t->c), 0); /* gives up nothing yet */
    memcpy(before, t->c.has, sizeof before);
    assert_int_equal(sync_up(&t->c), 0);
    assert_int_equal(t->c.generation, 1);
    assert_int_equal(count(t->c.has), 2);
    assert_int_equal(commit(&t->c, 1, 3), 0); /* of what it gives up */
    assert_int_equal(newer_beat(&t->n), 0);
    assert_int_equal(count(t->n.has), 0); /* it has not said so */
    assert_int_equal(beat(&t->c), KAFKA_ERR_REBALANCE_IN_PROGRESS);
    assert_int_equal(join(&t->c), 0);
    assert_int_equal(t->c.generation, 2);
    assert_int_equal(sync_up(&t->c), 0);
    assert_int_equal(newer_beat(&t->n), 0);
    assert_int_equal(count(t->n.has), 2);
    assert_true(apart(t->c.has, t->n.has));
    assert_int_equal(beat(&t->c), 0);
}

static void who_is_told_to_join_and_does_not_is_out(void **state)
{
    struct two *t = *state;

    assert_int_equal(join(&t->c), 0);
    lead(&t->c);
    assert_int_equal(newer_beat(&t->n), 0);
    for (int i = 0; i < 4; i++) { /* 20 s: its rebalance timeout */
        assert_int_equal(beat(&t->c), KAFKA_ERR_REBALANCE_IN_PROGRESS);
        rig_advance(&t->h.rig, 5000);
        assert_int_equal(newer_beat(&t->n), 0);
    }
    assert_int_equal(beat(&t->c), KAFKA_ERR_UNKNOWN_MEMBER_ID);
    assert_int_equal(newer_beat(&t->n), 0);
    assert_int_equal(count(t->n.has), 4);
}

static void who_joins_and_does_not_sync_is_out(void **state)
{
    struct two *t = *state;

    mixed(t);
    assert_int_equal(join(&t->c), 0);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(beat(&t->c), 0);
        rig_advance(&t->h.rig, 5000);
    }
    assert_int_equal(beat(&t->c), KAFKA_ERR_UNKNOWN_MEMBER_ID);
}

static void a_static_member_changes_its_protocol_without_a_rebalance(void **state)
{
    struct two *t = *state;
    struct classic old;

    t->c.instance_id = STR("i");
    t->n.instance_id = "i";
    assert_int_equal(join(&t->c), 0);
    lead(&t->c);
    old = t->c;
    assert_int_equal(newer_beat(&t->n), 0);
    assert_int_equal(t->n.epoch, 1);
    assert_int_equal(count(t->n.has), 4);
    assert_int_equal(beat(&old), KAFKA_ERR_FENCED_INSTANCE_ID);

    /* And back: at once a classic group, and nobody has to join again. */
    t->c = (struct classic){.h = &t->h, .instance_id = STR("i")};
    assert_int_equal(join(&t->c), 0);
    assert_null(group(&t->h)->c);
    assert_int_equal(sync_up(&t->c), 0);
    assert_int_equal(count(t->c.has), 4);
    assert_int_equal(beat(&t->c), 0);
    assert_int_equal(newer_beat(&t->n), KAFKA_ERR_GROUP_ID_NOT_FOUND);
}

static void the_policy_says_which_way_is_open(void **state)
{
    static const struct {
        const char *policy;
        bool up, down;
    } rows[] = {{"disabled", false, false}, {"upgrade", true, false}, {"downgrade", false, true}};

    (void)state;
    for (size_t i = 0; i < countof(rows); i++) {
        struct two two, *t = two_begin(&two, rows[i].policy);
        struct classic late = {.h = &t->h};

        assert_int_equal(join(&t->c), 0);
        lead(&t->c);
        assert_int_equal(newer_beat(&t->n), rows[i].up ? 0 : KAFKA_ERR_GROUP_ID_NOT_FOUND);
        assert_int_equal(group(&t->h)->c != NULL, rows[i].up);
        if (!rows[i].up) { /* begin with one of the newer: who comes with the classic protocol may */
            assert_int_equal(leave(&t->h, t->c.id), 0);
            assert_int_equal(newer_beat(&t->n), 0);
        }
        assert_int_equal(join(&late), 0);
        newer_leave(&t->n);
        assert_int_equal(group(&t->h)->c == NULL, rows[i].down);
        house_end(&t->h);
    }
}

static void a_member_does_not_begin_again_under_its_id_of_the_classic_protocol(void **state)
{
    struct two *t = *state;
    struct newer same = {.h = &t->h};

    assert_int_equal(join(&t->c), 0);
    lead(&t->c);
    same.id = arena_printf(&t->h.arena, STR_FMT, STR_ARG(t->c.id)).p;
    assert_int_equal(newer_ask(&same, 0), KAFKA_ERR_FENCED_MEMBER_EPOCH);
    assert_null(group(&t->h)->c); /* and nobody has noticed */
    assert_int_equal(beat(&t->c), 0);
    assert_int_equal(newer_beat(&t->n), 0);
    assert_int_equal(newer_ask(&same, 0), KAFKA_ERR_FENCED_MEMBER_EPOCH);
}

static void a_classic_member_that_was_put_out_is_taken_in_under_its_old_id(void **state)
{
    struct two *t = *state;
    struct str id;

    mixed(t);
    id = t->c.id;
    assert_int_equal(leave(&t->h, id), 0);
    assert_int_equal(beat(&t->c), KAFKA_ERR_UNKNOWN_MEMBER_ID);
    give_up_all(&t->c);
    assert_int_equal(join(&t->c), 0);
    assert_true(str_eq(t->c.id, id));
    assert_int_equal(group(&t->h)->c->members_n, 2);
}

static void only_the_embedded_protocol_of_consumers_can_be_served(void **state)
{
    struct two *t = *state;
    struct classic odd = {.h = &t->h, .id = STR("odd")};
    struct join_group_response *a;

    a = join_ask(&t->c, str_bytes(STR("abc")));
    t->c.id = arena_dup_str(&t->h.arena, a->member_id);
    a = join_ask(&t->c, str_bytes(STR("abc")));
    assert_int_equal(a->error_code, 0);
    t->c.generation = a->generation_id;
    lead(&t->c);
    assert_int_equal(newer_beat(&t->n), KAFKA_ERR_GROUP_ID_NOT_FOUND);
    assert_int_equal(beat(&t->c), 0); /* as before */
    assert_int_equal(leave(&t->h, t->c.id), 0);

    assert_int_equal(newer_beat(&t->n), 0);
    a = join_ask(&odd, str_bytes(STR("abc")));
    assert_int_equal(a->error_code, KAFKA_ERR_INCONSISTENT_GROUP_PROTOCOL);
    t->c = (struct classic){.h = &t->h};
    assert_int_equal(join(&t->c), 0);
    odd = (struct classic){.h = &t->h, .protocol = "sticky"}; /* nothing in common with the other one */
    assert_int_equal(join(&odd), KAFKA_ERR_INCONSISTENT_GROUP_PROTOCOL);
}

static void who_waits_for_a_rebalance_is_told_that_there_is_another(void **state)
{
    struct two *t = *state;

    assert_int_equal(join(&t->c), 0); /* the leader has not said yet who gets what */
    assert_int_equal(newer_beat(&t->n), 0);
    assert_int_equal(count(t->n.has), 2); /* nobody had anything */
    assert_int_equal(sync_up(&t->c), KAFKA_ERR_REBALANCE_IN_PROGRESS);
    assert_int_equal(join(&t->c), 0);
    assert_int_equal(sync_up(&t->c), 0);
    assert_int_equal(count(t->c.has), 2);
}

static void leave_group_ends_members_of_either_protocol(void **state)
{
    struct two *t = *state;

    mixed(t);
    assert_int_equal(leave(&t->h, STR("n")), 0);
    assert_null(group(&t->h)->c);
    assert_int_equal(leave(&t->h, t->c.id), 0);
    assert_string_equal(state_of(&t->h), "Empty");
    house_restart(&t->h);
    assert_string_equal(state_of(&t->h), "Empty");
    assert_str(group_entry_type(group(&t->h)), "classic");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_first_consumer_of_the_newer_protocol_takes_the_others_along, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_mixed_group_survives_a_power_cut, set_up, tear_down),
        cmocka_unit_test(when_the_last_of_the_newer_protocol_leaves_the_others_share_out_themselves),
        cmocka_unit_test_setup_teardown(one_that_falls_silent_is_as_good_as_gone, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_cooperative_member_keeps_what_it_may_and_joins_twice, set_up, tear_down),
        cmocka_unit_test_setup_teardown(who_is_told_to_join_and_does_not_is_out, set_up, tear_down),
        cmocka_unit_test_setup_teardown(who_joins_and_does_not_sync_is_out, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_static_member_changes_its_protocol_without_a_rebalance, set_up, tear_down),
        cmocka_unit_test(the_policy_says_which_way_is_open),
        cmocka_unit_test_setup_teardown(a_member_does_not_begin_again_under_its_id_of_the_classic_protocol, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_classic_member_that_was_put_out_is_taken_in_under_its_old_id, set_up, tear_down),
        cmocka_unit_test_setup_teardown(only_the_embedded_protocol_of_consumers_can_be_served, set_up, tear_down),
        cmocka_unit_test_setup_teardown(who_waits_for_a_rebalance_is_told_that_there_is_another, set_up, tear_down),
        cmocka_unit_test_setup_teardown(leave_group_ends_members_of_either_protocol, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
