/* SPDX-License-Identifier: Apache-2.0 */
#include "cgroup_rig.h"

#define ERROR(answer, code) assert_int_equal((answer)->error, KAFKA_ERR_##code)

static struct cgroup_member *member(struct rig *r, const char *id)
{
    return cgroup_member(&r->g, str_of(id));
}

/* Joins one that gets all four partitions of "t", then a second: the first still has to give up two. */
static void two_members(struct rig *r)
{
    rig_init(r);
    rig_topic(r, "t", 1, 4);
    ERROR(rig_join(r, "a", "t"), NONE);
    assert_int_equal(r->last.assignment->n, 4);
    assert_int_equal(r->last.epoch, 1);
    ERROR(rig_join(r, "b", "t"), NONE);
    assert_int_equal(r->last.epoch, 2);
    assert_int_equal(r->last.assignment->n, 0); /* nothing is free yet */
}

static void the_first_member_gets_everything_at_once(void **state)
{
    struct rig r;

    (void)state;
    rig_init(&r);
    rig_topic(&r, "t", 1, 4);
    ERROR(rig_join(&r, "a", "t"), NONE);
    assert_int_equal(r.last.epoch, 1);
    assert_int_equal(r.last.assignment->n, 4);
    assert_int_equal(cgroup_state(&r.g), CGROUP_STABLE);
    assert_int_equal(r.g.tick_ms, r.now_ms + 45000);
    ERROR(rig_beat(&r, "a", 1, NULL), NONE);
    assert_null(r.last.assignment); /* as before: not said again */
    rig_fini(&r);
}

static void a_partition_is_given_on_only_when_its_owner_has_let_go(void **state)
{
    struct parts kept = {0};
    struct rig r;

    (void)state;
    two_members(&r);
    assert_int_equal(cgroup_state(&r.g), CGROUP_RECONCILING);
    ERROR(rig_beat(&r, "a", 1, NULL), NONE);
    assert_int_equal(r.last.epoch, 1); /* stays in its epoch … */
    assert_int_equal(r.last.assignment->n, 2);
    parts_copy(&kept, r.last.assignment);
    assert_int_equal(member(&r, "a")->revoking.n, 2);

    ERROR(rig_beat(&r, "b", 2, NULL), NONE);
    assert_null(r.last.assignment);
    ERROR(rig_beat(&r, "a", 1, NULL), NONE); /* … also when it says nothing about it … */
    assert_int_equal(r.last.epoch, 1);
    ERROR(rig_beat(&r, "a", 1, &kept), NONE); /* … until it has let go */
    assert_int_equal(r.last.epoch, 2);
    ERROR(rig_beat(&r, "b", 2, NULL), NONE);
    assert_int_equal(r.last.assignment->n, 2);
    assert_false(parts_meet(&kept, r.last.assignment));
    assert_int_equal(cgroup_state(&r.g), CGROUP_STABLE);
    parts_fini(&kept);
    rig_fini(&r);
}

static void who_does_not_let_go_in_time_is_out(void **state)
{
    struct rig r;

    (void)state;
    two_members(&r);
    ERROR(rig_beat(&r, "a", 1, NULL), NONE);
    for (int i = 0; i < 3; i++) { /* heartbeats alone do not help */
        r.now_ms += 20000;
        ERROR(rig_beat(&r, "b", 2, NULL), NONE);
        if (i < 2) ERROR(rig_beat(&r, "a", 1, NULL), NONE);
        cgroup_tick(&r.g, r.now_ms);
    }
    assert_null(member(&r, "a"));
    ERROR(rig_beat(&r, "a", 1, NULL), UNKNOWN_MEMBER_ID);
    ERROR(rig_beat(&r, "b", 2, NULL), NONE);
    assert_int_equal(r.last.assignment->n, 4);
    rig_fini(&r);
}

static void who_is_silent_for_the_session_timeout_is_out(void **state)
{
    struct rig r;

    (void)state;
    two_members(&r);
    r.now_ms += 30000;
    ERROR(rig_beat(&r, "b", 2, NULL), NONE);
    r.now_ms += 14999;
    cgroup_tick(&r.g, r.now_ms);
    assert_non_null(member(&r, "a"));
    assert_int_equal(r.g.tick_ms, r.now_ms + 1);
    r.now_ms += 1;
    cgroup_tick(&r.g, r.now_ms);
    assert_null(member(&r, "a"));
    assert_int_equal(cgroup_state(&r.g), CGROUP_ASSIGNING);
    ERROR(rig_beat(&r, "b", 2, NULL), NONE);
    assert_int_equal(r.last.assignment->n, 4);
    assert_int_equal(r.last.epoch, 3);
    rig_fini(&r);
}

static void a_lost_answer_does_not_fence(void **state)
{
    struct parts kept = {0};
    struct rig r;

    (void)state;
    two_members(&r);
    ERROR(rig_beat(&r, "a", 1, NULL), NONE);
    parts_copy(&kept, r.last.assignment);
    ERROR(rig_beat(&r, "a", 1, &kept), NONE); /* now in epoch 2; the answer is lost */
    ERROR(rig_beat(&r, "a", 1, &kept), NONE);
    assert_int_equal(r.last.epoch, 2);
    ERROR(rig_beat(&r, "a", 1, NULL), FENCED_MEMBER_EPOCH); /* an older one that says nothing */
    ERROR(rig_beat(&r, "a", 7, NULL), FENCED_MEMBER_EPOCH);
    parts_fini(&kept);
    rig_fini(&r);
}

static void a_join_is_taken_again_until_its_answer_was_heard(void **state)
{
    struct rig r;

    (void)state;
    rig_init(&r);
    rig_topic(&r, "t", 1, 4);
    ERROR(rig_join(&r, "a", "t"), NONE);
    rig_write(&r);
    ERROR(rig_join(&r, "a", "t"), NONE); /* the first answer was lost, say */
    assert_int_equal(r.last.epoch, 1);
    assert_int_equal(r.last.assignment->n, 4);
    rig_topic(&r, "t", 1, 5);
    ERROR(rig_beat(&r, "a", 1, NULL), NONE);
    assert_int_equal(r.last.epoch, 2);
    rig_write(&r);
    ERROR(rig_join(&r, "a", "t"), FENCED_MEMBER_EPOCH); /* it may still own what it was given */
    assert_int_equal(member(&r, "a")->owned.n, 5);
    rig_fini(&r);
}

static void a_join_that_could_not_be_written_begins_anew(void **state)
{
    struct rig r;

    (void)state;
    two_members(&r);
    ERROR(rig_beat(&r, "a", 1, NULL), NONE);
    ERROR(rig_join(&r, "a", "t"), NONE); /* nobody was told of anything */
    assert_int_equal(r.last.epoch, 2);
    assert_int_equal(r.last.assignment->n, 2);
    ERROR(rig_beat(&r, "b", 2, NULL), NONE);
    assert_int_equal(r.last.assignment->n, 2);
    rig_fini(&r);
}

static void leaving_frees_what_was_owned(void **state)
{
    struct rig r;

    (void)state;
    two_members(&r);
    ERROR(rig_beat(&r, "a", CGROUP_EPOCH_LEAVE, NULL), NONE);
    assert_int_equal(r.last.epoch, CGROUP_EPOCH_LEAVE);
    ERROR(rig_beat(&r, "b", 2, NULL), NONE);
    assert_int_equal(r.last.assignment->n, 4);
    ERROR(rig_beat(&r, "b", CGROUP_EPOCH_LEAVE, NULL), NONE);
    assert_int_equal(cgroup_state(&r.g), CGROUP_EMPTY);
    assert_int_equal(r.g.owners.n, 0);
    ERROR(rig_beat(&r, "b", CGROUP_EPOCH_LEAVE, NULL), UNKNOWN_MEMBER_ID);
    rig_fini(&r);
}

static const struct cgroup_answer *static_join(struct rig *r, const char *id, const char *instance)
{
    struct str t = STR("t");
    struct cgroup_beat q = rig_join_beat(id, &t, 1);

    q.instance_id = str_of(instance);
    return rig_send(r, &q);
}

static const struct cgroup_answer *static_beat(struct rig *r, const char *id, const char *instance,
                                               int32_t epoch)
{
    struct cgroup_beat q = {.member_id = str_of(id),
                            .instance_id = str_of(instance),
                            .epoch = epoch,
                            .rebalance_timeout_ms = -1,
                            .topics_null = true};

    return rig_send(r, &q);
}

static void a_static_member_comes_back_under_another_id_without_a_new_epoch(void **state)
{
    struct rig r;

    (void)state;
    rig_init(&r);
    rig_topic(&r, "t", 1, 4);
    ERROR(static_join(&r, "a", "i"), NONE);
    ERROR(static_join(&r, "b", "i"), UNRELEASED_INSTANCE_ID);
    ERROR(static_beat(&r, "a", "i", CGROUP_EPOCH_LEAVE_FOR_NOW), NONE);
    assert_int_equal(r.last.epoch, CGROUP_EPOCH_LEAVE_FOR_NOW);
    ERROR(static_beat(&r, "a", "i", 1), FENCED_MEMBER_EPOCH);
    ERROR(static_join(&r, "b", "i"), NONE);
    assert_int_equal(r.g.epoch, 1);
    assert_int_equal(r.last.epoch, 1);
    assert_int_equal(r.last.assignment->n, 4);
    ERROR(static_beat(&r, "a", "i", 1), FENCED_INSTANCE_ID);
    ERROR(static_beat(&r, "b", "other", 1), UNKNOWN_MEMBER_ID);
    ERROR(static_beat(&r, "b", "i", CGROUP_EPOCH_LEAVE_FOR_NOW), NONE);
    r.now_ms += 45000;
    cgroup_tick(&r.g, r.now_ms); /* its place is kept for a session, not longer */
    assert_int_equal(cgroup_state(&r.g), CGROUP_EMPTY);
    rig_fini(&r);
}

static void topics_that_come_go_and_grow_are_seen_by_the_next_heartbeat(void **state)
{
    struct rig r;

    (void)state;
    rig_init(&r);
    ERROR(rig_join(&r, "a", "t"), NONE); /* a topic that is not there yet */
    assert_int_equal(r.last.assignment->n, 0);
    rig_topic(&r, "t", 1, 2);
    ERROR(rig_beat(&r, "a", 1, NULL), NONE);
    assert_int_equal(r.last.assignment->n, 2);
    rig_topic(&r, "t", 1, 3);
    ERROR(rig_beat(&r, "a", 2, NULL), NONE);
    assert_int_equal(r.last.assignment->n, 3);
    rig_topic(&r, "elsewhere", 2, 3);
    ERROR(rig_beat(&r, "a", 3, NULL), NONE);
    assert_int_equal(r.last.epoch, 3); /* nobody subscribes to that */
    rig_topic_delete(&r, "t");
    ERROR(rig_beat(&r, "a", 3, NULL), NONE);
    assert_int_equal(r.last.assignment->n, 0); /* to be given up … */
    ERROR(rig_beat(&r, "a", 3, &rig_nothing), NONE);
    assert_int_equal(r.last.epoch, 4); /* … and was */
    rig_topic(&r, "t", 9, 1);          /* another topic of the same name */
    ERROR(rig_beat(&r, "a", 4, NULL), NONE);
    assert_int_equal(r.last.assignment->n, 1);
    assert_int_equal(r.last.assignment->p[0].topic.b[0], 9);
    rig_fini(&r);
}

static void a_pattern_is_shared_and_follows_the_topics(void **state)
{
    struct rig r;
    struct cgroup_beat q = rig_join_beat("a", NULL, 0);

    (void)state;
    rig_init(&r);
    rig_topic(&r, "t-1", 1, 1);
    rig_topic(&r, "u", 2, 1);
    q.pattern = STR("t-[0-9]+");
    ERROR(rig_send(&r, &q), NONE);
    assert_int_equal(r.last.assignment->n, 1);
    q.member_id = STR("b");
    ERROR(rig_send(&r, &q), NONE);
    assert_ptr_equal(member(&r, "a")->pattern, member(&r, "b")->pattern);
    rig_topic(&r, "t-2", 3, 1);
    ERROR(rig_beat(&r, "b", 2, NULL), NONE);
    assert_int_equal(r.last.assignment->n, 1);
    assert_int_equal(r.last.assignment->p[0].topic.b[0], 3);
    q.pattern = STR("t-(");
    ERROR(rig_send(&r, &q), INVALID_REGULAR_EXPRESSION);
    assert_true(r.last.why.n > 0);
    rig_fini(&r);
}

/* ---- regular expressions that are matched elsewhere ---- */

static const struct cgroup_answer *join_by(struct rig *r, const char *id, const char *pattern)
{
    struct cgroup_beat q = rig_join_beat(id, NULL, 0);

    q.pattern = str_of(pattern);
    return rig_send(r, &q);
}

/* What a worker does: all names there are, those with a 't' match. False: nobody wants that. */
static bool scan_all(struct rig *r, uint64_t cost_us)
{
    struct cgroup_scan s;
    struct str names[2];
    size_t n;

    if (!cgroup_scan_wanted(&r->g, &s)) return false;
    while ((n = cgroup_scan_names(&r->g, &s, &r->world, names, countof(names)))) {
        bool matches[2] = {names[0].p[0] == 't', n > 1 && names[1].p[0] == 't'};

        cgroup_scan_tried(&r->g, &s, &r->world, names, matches, n, cost_us, false);
    }
    cgroup_scan_tried(&r->g, &s, &r->world, NULL, NULL, 0, 0, true);
    return true;
}

/* t0 to t2, u3 and u4, of two partitions each. */
static void five_topics(struct rig *r, uint32_t *names_left)
{
    static const char *const names[] = {"t0", "t1", "t2", "u3", "u4"};

    rig_init(r);
    for (uint8_t i = 0; i < 5; i++)
        rig_topic(r, names[i], (uint8_t)(i + 1), 2);
    r->world.names_left = names_left;
}

static void a_pattern_that_may_be_slow_is_never_matched_here(void **state)
{
    uint32_t names_left = 1000;
    struct rig r;

    (void)state;
    five_topics(&r, &names_left);
    ERROR(join_by(&r, "a", "((a?){40}){8}|t.*"), NONE);
    assert_int_equal(names_left, 1000); /* not one name */
    assert_int_equal(r.last.assignment->n, 0);
    assert_int_equal(r.last.epoch, 1);
    assert_true(scan_all(&r, 10));
    assert_false(scan_all(&r, 10));
    ERROR(rig_beat(&r, "a", 1, NULL), NONE);
    assert_int_equal(r.last.epoch, 2);
    assert_int_equal(r.last.assignment->n, 6);
    assert_int_equal(names_left, 1000);

    rig_topic_delete(&r, "u4"); /* what it meant before holds until it has been matched again */
    ERROR(rig_beat(&r, "a", 2, NULL), NONE);
    assert_int_equal(r.last.epoch, 2);
    assert_true(scan_all(&r, 10));
    ERROR(rig_beat(&r, "a", 2, NULL), NONE);
    assert_int_equal(r.last.epoch, 2);
    assert_int_equal(names_left, 1000);
    rig_fini(&r);
}

static void of_many_names_only_some_are_matched_here(void **state)
{
    uint32_t names_left = 2;
    struct rig r;

    (void)state;
    five_topics(&r, &names_left);
    ERROR(join_by(&r, "a", "t.*"), NONE);
    assert_int_equal(names_left, 0);
    assert_int_equal(r.last.assignment->n, 0);
    assert_true(scan_all(&r, 10)); /* goes on with the third */
    ERROR(rig_beat(&r, "a", 1, NULL), NONE);
    assert_int_equal(r.last.assignment->n, 6);
    names_left = 5;
    ERROR(join_by(&r, "b", "u.*"), NONE);
    assert_int_equal(names_left, 0);
    assert_int_equal(r.last.assignment->n, 4);
    assert_false(scan_all(&r, 10));
    rig_fini(&r);
}

static void a_pattern_that_takes_too_long_is_refused(void **state)
{
    uint32_t names_left = 1000;
    struct rig r;

    (void)state;
    five_topics(&r, &names_left);
    ERROR(join_by(&r, "a", "(a|t.*)"), NONE);
    assert_true(scan_all(&r, CGROUP_SCAN_US_MAX / 2 + 1)); /* two chunks */
    ERROR(rig_beat(&r, "a", 1, NULL), INVALID_REGULAR_EXPRESSION);
    ERROR(join_by(&r, "b", "(a|t.*)"), INVALID_REGULAR_EXPRESSION);
    assert_null(member(&r, "b"));
    assert_false(scan_all(&r, 10));
    ERROR(join_by(&r, "c", "t.*"), NONE);
    assert_int_equal(r.last.assignment->n, 6);
    r.now_ms += 45000; /* nobody waits for the first one */
    cgroup_tick(&r.g, r.now_ms);
    ERROR(join_by(&r, "b", "(a|t.*)"), NONE);
    assert_true(scan_all(&r, 10));
    rig_fini(&r);
}

static void a_restart_takes_nothing_from_who_subscribes_by_a_slow_pattern(void **state)
{
    uint32_t names_left = 1000;
    struct rig r;

    (void)state;
    five_topics(&r, &names_left);
    ERROR(join_by(&r, "a", "(a|t.*)"), NONE);
    assert_true(scan_all(&r, 10));
    ERROR(rig_beat(&r, "a", 1, NULL), NONE);
    rig_write(&r);
    rig_restart(&r);
    ERROR(join_by(&r, "b", "u.*"),
          NONE); /* a new target, before the first pattern was matched again */
    assert_int_equal(r.last.assignment->n, 4);
    ERROR(rig_beat(&r, "a", 2, NULL), NONE);
    assert_int_equal(member(&r, "a")->owned.n, 6);
    assert_true(scan_all(&r, 10));
    ERROR(rig_beat(&r, "a", r.last.epoch, NULL), NONE);
    assert_int_equal(member(&r, "a")->owned.n, 6);
    rig_fini(&r);
}

static void a_slow_pattern_gets_its_share_of_topics_that_others_have_already(void **state)
{
    uint32_t names_left = 1000;
    struct rig r;

    (void)state;
    five_topics(&r, &names_left);
    ERROR(join_by(&r, "a", "t.*"), NONE);
    assert_int_equal(r.last.assignment->n, 6);
    ERROR(join_by(&r, "b", "(a|t.*)"), NONE);
    assert_int_equal(member(&r, "b")->target.n, 0); /* nobody knows yet what it means */
    assert_true(scan_all(&r, 10));
    ERROR(rig_beat(&r, "b", r.last.epoch, NULL), NONE);
    assert_int_equal(member(&r, "b")->target.n, 3);
    assert_int_equal(member(&r, "a")->target.n, 3);
    rig_fini(&r);
}

/* "b" sees everything, "a" all but what ends in 0, and from version 100 on nothing but t1. */
static bool shows(void *ctx, struct str reader, struct str topic)
{
    const struct rig *r = ctx;

    if (str_is(reader, "b")) return true;
    if (r->world.version >= 100) return str_is(topic, "t1");
    return str_is(reader, "a") && !str_ends(topic, STR("0"));
}

static const struct cgroup_answer *beat_as(struct rig *r, const char *id, const char *reader,
                                           const char *pattern)
{
    struct cgroup_beat q = rig_join_beat(id, NULL, 0);

    if (member(r, id)) { /* what it has said before holds */
        q.epoch = member(r, id)->epoch;
        q.topics_null = true;
        q.owned = NULL;
    }
    q.pattern = pattern ? str_of(pattern) : (struct str){0};
    q.reader = str_of(reader);
    return rig_send(r, &q);
}

/* Of t0 to t2 what the member is to have. */
static const char *target_of(struct rig *r, const char *id)
{
    static char text[20];
    size_t at = 0;

    for (uint8_t n = 1; n <= 3; n++)
        for (size_t i = 0; i < member(r, id)->target.n; i++)
            if (member(r, id)->target.p[i].topic.b[0] == n) text[at++] = (char)('0' + n - 1);
    text[at] = 0;
    return text;
}

static void a_pattern_means_what_its_reader_may_see(void **state)
{
    struct rig r;

    (void)state;
    five_topics(&r, NULL);
    r.world.shows = shows;
    ERROR(beat_as(&r, "m", "a", "t.*"), NONE);
    assert_string_equal(target_of(&r, "m"), "1122");
    ERROR(beat_as(&r, "n", "b", "t.*"), NONE); /* the same expression, for other eyes */
    ERROR(beat_as(&r, "m", "a", NULL), NONE);
    assert_true(member(&r, "n")->target.n + member(&r, "m")->target.n == 6);
    assert_null(strchr(target_of(&r, "m"), '0'));
    assert_non_null(strstr(target_of(&r, "n"), "00"));

    r.world.version = 100; /* what "a" may see changes; all topics there are, are subscribed to as before */
    ERROR(beat_as(&r, "n", "b", NULL), NONE);
    assert_null(strchr(target_of(&r, "m"), '2'));
    ERROR(beat_as(&r, "m", "b", NULL), NONE); /* it is somebody else by now */
    assert_int_equal(member(&r, "m")->target.n, 3);
    rig_fini(&r);
}

static void a_pattern_is_matched_for_its_reader_after_a_restart_too(void **state)
{
    struct rig r;

    (void)state;
    five_topics(&r, NULL);
    r.world.shows = shows;
    ERROR(beat_as(&r, "m", "a", "t.*"), NONE);
    ERROR(beat_as(&r, "n", "b", "t.*"), NONE);
    rig_write(&r);
    rig_restart(&r);
    ERROR(beat_as(&r, "n", "b", NULL), NONE);
    rig_topic(&r, "t00", 9, 1);
    rig_topic(&r, "t11", 10, 2);
    ERROR(beat_as(&r, "n", "b", NULL), NONE);
    ERROR(beat_as(&r, "m", "a", NULL), NONE);
    ERROR(beat_as(&r, "n", "b", NULL), NONE);
    assert_null(strchr(target_of(&r, "m"), '0'));
    assert_int_equal(member(&r, "n")->target.n + member(&r, "m")->target.n, 9);
    assert_in_range(member(&r, "m")->target.n, 4, 5); /* it has its share of what is new */
    for (size_t i = 0; i < member(&r, "m")->target.n; i++)
        assert_int_not_equal(member(&r, "m")->target.p[i].topic.b[0], 9);
    rig_fini(&r);
}

static void a_request_that_says_too_little_is_refused(void **state)
{
    struct str t = STR("t");
    struct cgroup_beat ok = rig_join_beat("a", &t, 1), q;
    struct rig r;

    (void)state;
    rig_init(&r);
#define BAD(code, ...)                                                                             \
    do {                                                                                           \
        q = ok;                                                                                    \
        __VA_ARGS__;                                                                               \
        ERROR(rig_send(&r, &q), code);                                                             \
        assert_int_equal(r.g.members_n, 0);                                                        \
    } while (0)
    BAD(INVALID_REQUEST, q.member_id = STR(""));
    BAD(INVALID_REQUEST, q.rebalance_timeout_ms = -1);
    BAD(INVALID_REQUEST, q.owned = NULL);
    BAD(INVALID_REQUEST, q.topics_null = true);
    BAD(INVALID_REQUEST, q.instance_id = STR(""));
    BAD(INVALID_REQUEST, q.rack_id = STR(""));
    BAD(INVALID_REQUEST, q.epoch = -3);
    BAD(INVALID_REQUEST, q.epoch = CGROUP_EPOCH_LEAVE_FOR_NOW);
    BAD(UNSUPPORTED_ASSIGNOR, q.assignor = STR("best"));
    BAD(UNSUPPORTED_ASSIGNOR, r.config.range = false; q.assignor = STR("range"));
    BAD(UNKNOWN_MEMBER_ID, q.epoch = 3);
    BAD(UNKNOWN_MEMBER_ID, q.epoch = CGROUP_EPOCH_LEAVE);
    rig_fini(&r);
}

static void a_full_group_refuses_another_member_but_not_its_own(void **state)
{
    struct rig r;

    (void)state;
    two_members(&r);
    r.config.members_max = 2;
    ERROR(rig_join(&r, "c", "t"), GROUP_MAX_SIZE_REACHED);
    ERROR(rig_join(&r, "b", "t"), NONE);
    r.config.members_max = 10;
    r.config.bytes_max = r.g.bytes;
    ERROR(rig_join(&r, "c", "t"), GROUP_MAX_SIZE_REACHED);
    ERROR(rig_beat(&r, "b", 2, NULL), NONE);
    assert_int_equal(r.g.members_n, 2);
    rig_fini(&r);
}

static void commits_are_taken_in_the_members_epoch_only(void **state)
{
    struct rig r;

    (void)state;
    two_members(&r);
    assert_int_equal(cgroup_may_commit(&r.g, STR("a"), 1), KAFKA_ERR_NONE);
    assert_int_equal(cgroup_may_commit(&r.g, STR("a"), 2), KAFKA_ERR_STALE_MEMBER_EPOCH);
    assert_int_equal(cgroup_may_commit(&r.g, STR("x"), 1), KAFKA_ERR_UNKNOWN_MEMBER_ID);
    assert_int_equal(cgroup_may_commit(&r.g, STR(""), -1), KAFKA_ERR_UNKNOWN_MEMBER_ID);
    assert_int_equal(cgroup_may_read(&r.g, (struct str){0}, -1), KAFKA_ERR_NONE);
    assert_int_equal(cgroup_may_read(&r.g, STR("b"), 2), KAFKA_ERR_NONE);
    assert_int_equal(cgroup_may_read(&r.g, STR("b"), 1), KAFKA_ERR_STALE_MEMBER_EPOCH);
    assert_int_equal(cgroup_may_read(&r.g, STR("x"), 1), KAFKA_ERR_UNKNOWN_MEMBER_ID);
    rig_beat(&r, "a", CGROUP_EPOCH_LEAVE, NULL);
    rig_beat(&r, "b", CGROUP_EPOCH_LEAVE, NULL);
    assert_int_equal(cgroup_may_commit(&r.g, STR(""), -1), KAFKA_ERR_NONE);
    rig_fini(&r);
}

static void the_wish_of_most_decides_the_assignor(void **state)
{
    struct str t = STR("t");
    struct cgroup_beat q = rig_join_beat("a", &t, 1);
    struct rig r;

    (void)state;
    rig_init(&r);
    rig_topic(&r, "t", 1, 2);
    assert_str(cgroup_assignor(&r.g), "uniform");
    rig_join(&r, "b", "t");
    q.assignor = STR("range");
    rig_send(&r, &q);
    assert_str(cgroup_assignor(&r.g), "range");
    q.member_id = STR("c");
    q.assignor = STR("uniform");
    rig_send(&r, &q);
    assert_str(cgroup_assignor(&r.g), "uniform"); /* one each: the default */
    rig_fini(&r);
}

static void a_group_is_found_again_in_its_records(void **state)
{
    struct rig r;

    (void)state;
    two_members(&r);
    static_join(&r, "c", "i");
    rig_beat(&r, "a", 1, NULL);
    rig_write(&r);
    rig_beat(&r, "b", CGROUP_EPOCH_LEAVE, NULL);
    rig_write(&r);
    rig_beat(&r, "a", CGROUP_EPOCH_LEAVE, NULL); /* is not written: lost */
    rig_restart(&r);
    assert_int_equal(r.g.members_n, 2);
    assert_int_equal(r.g.epoch, 4);
    assert_int_equal(r.g.target_epoch, 3);
    assert_int_equal(member(&r, "a")->epoch, 1);
    assert_int_equal(member(&r, "a")->state, CGROUP_MEMBER_UNREVOKED);
    assert_int_equal(member(&r, "a")->owned.n + member(&r, "a")->revoking.n, 4);
    assert_int_equal(r.g.owners.n, 4);
    assert_str(member(&r, "c")->instance_id, "i");
    assert_str(member(&r, "c")->client_host, "/h");
    assert_int_equal(member(&r, "c")->rebalance_timeout_ms, 60000);
    assert_int_equal(r.g.topics_n, 1);
    ERROR(static_beat(&r, "c", "i", 3), NONE); /* it goes on where it was */
    ERROR(rig_beat(&r, "a", 1, &rig_nothing), NONE);
    ERROR(static_beat(&r, "c", "i", r.g.target_epoch), NONE);
    assert_int_equal(cgroup_state(&r.g), CGROUP_STABLE);
    rig_fini(&r);
}

static void what_could_not_be_written_is_written_with_the_next_step(void **state)
{
    struct rig r;

    (void)state;
    two_members(&r); /* nothing of it was written … */
    rig_beat(&r, "a", CGROUP_EPOCH_LEAVE, NULL);
    assert_true(cgroup_is_dirty(&r.g));
    rig_write(&r); /* … until now */
    assert_false(cgroup_is_dirty(&r.g));
    rig_restart(&r);
    assert_null(member(&r, "a"));
    assert_int_equal(member(&r, "b")->epoch, 2);
    rig_fini(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_member_gets_everything_at_once),
        cmocka_unit_test(a_partition_is_given_on_only_when_its_owner_has_let_go),
        cmocka_unit_test(who_does_not_let_go_in_time_is_out),
        cmocka_unit_test(who_is_silent_for_the_session_timeout_is_out),
        cmocka_unit_test(a_lost_answer_does_not_fence),
        cmocka_unit_test(a_join_is_taken_again_until_its_answer_was_heard),
        cmocka_unit_test(a_join_that_could_not_be_written_begins_anew),
        cmocka_unit_test(leaving_frees_what_was_owned),
        cmocka_unit_test(a_static_member_comes_back_under_another_id_without_a_new_epoch),
        cmocka_unit_test(topics_that_come_go_and_grow_are_seen_by_the_next_heartbeat),
        cmocka_unit_test(a_pattern_is_shared_and_follows_the_topics),
        cmocka_unit_test(a_pattern_that_may_be_slow_is_never_matched_here),
        cmocka_unit_test(of_many_names_only_some_are_matched_here),
        cmocka_unit_test(a_pattern_that_takes_too_long_is_refused),
        cmocka_unit_test(a_slow_pattern_gets_its_share_of_topics_that_others_have_already),
        cmocka_unit_test(a_pattern_means_what_its_reader_may_see),
        cmocka_unit_test(a_pattern_is_matched_for_its_reader_after_a_restart_too),
        cmocka_unit_test(a_restart_takes_nothing_from_who_subscribes_by_a_slow_pattern),
        cmocka_unit_test(a_request_that_says_too_little_is_refused),
        cmocka_unit_test(a_full_group_refuses_another_member_but_not_its_own),
        cmocka_unit_test(commits_are_taken_in_the_members_epoch_only),
        cmocka_unit_test(the_wish_of_most_decides_the_assignor),
        cmocka_unit_test(a_group_is_found_again_in_its_records),
        cmocka_unit_test(what_could_not_be_written_is_written_with_the_next_step),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
