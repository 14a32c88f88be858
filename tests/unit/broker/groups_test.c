/* SPDX-License-Identifier: Apache-2.0
 *
 * Groups of a whole broker, asked over its protocol: what is on record, what a restart finds, what expires.
 */
#include "broker/groups.h"
#include "broker/offsets_record.h"
#include "kafka/msg/all.h"
#include "kafka_call.h"
#include "test.h"
#include <stdio.h>

struct house {
    struct rig rig;
    struct rig_conn a, b;
    struct arena arena;
};

static void house_open(struct house *h)
{
    if (rig_open(&h->rig)) fail_msg("%s", h->rig.err.text);
    rig_connect(&h->rig, &h->a);
    rig_connect(&h->rig, &h->b);
}

static void house_hang_up(struct house *h)
{
    rig_hang_up(&h->a);
    rig_hang_up(&h->b);
}

static void house_restart(struct house *h, bool clean)
{
    house_hang_up(h);
    if (clean)
        rig_close(&h->rig);
    else {
        fs_sim_cut(h->rig.disk);
        rig_crash(&h->rig);
        fs_sim_power_on(h->rig.disk);
    }
    house_open(h);
}

static const struct broker_setting no_delay = {{"group.initial.rebalance.delay.ms", 32}, {"0", 1}};

static int setup(void **state)
{
    struct house *h = xnew(struct house);
    struct topic *t;
    uint64_t seq;

    rig_init(&h->rig, 1);
    h->rig.opt.settings = &no_delay;
    h->rig.opt.settings_n = 1;
    house_open(h);
    assert_int_equal(broker_topic_create(h->rig.b,
                                         &(struct broker_topic_spec){
                                             .name = STR("t"), .partitions = 3, .replication = 1},
                                         &t, &seq, &h->rig.err),
                     RC_OK);
    rig_settle(&h->rig);
    *state = h;
    return 0;
}

static int teardown(void **state)
{
    struct house *h = *state;

    house_hang_up(h);
    rig_fini(&h->rig);
    arena_fini(&h->arena);
    free(h);
    return 0;
}

/* ---- asking ---- */

static struct join_group_response_member *members_of(struct join_group_response *a)
{
    return a->members;
}

static void join_send(struct house *h, struct rig_conn *c, struct str id, struct str instance)
{
    static struct join_group_request_protocol range = {
        {"range", 5}, {(const uint8_t *)"\0\0\0\0\0\1\0\1t\377\377\377\377", 13}};
    struct join_group_request q = {.group_id = STR("g"),
                                   .session_timeout_ms = 10000,
                                   .rebalance_timeout_ms = 20000,
                                   .member_id = id,
                                   .group_instance_id = instance,
                                   .protocol_type = STR("consumer"),
                                   .protocols = &range,
                                   .protocols_n = 1};

    (void)h;
    call_send(c, KAFKA_JOIN_GROUP, 9, &q);
}

/* A dynamic member's way in; NULL: it waits. */
static struct join_group_response *join(struct house *h, struct rig_conn *c)
{
    struct join_group_response *a;

    join_send(h, c, STR(""), (struct str){0});
    a = call_answer(c, KAFKA_JOIN_GROUP, 9, &h->arena);
    assert_int_equal(a->error_code, KAFKA_ERR_MEMBER_ID_REQUIRED);
    join_send(h, c, a->member_id, (struct str){0});
    return call_answer(c, KAFKA_JOIN_GROUP, 9, &h->arena);
}

static struct sync_group_response *sync_up(struct house *h, struct rig_conn *c, struct str id,
                                           int32_t generation, const char *assignment)
{
    struct sync_group_request_assignment as = {id, str_bytes(str_of(assignment))};
    struct sync_group_request q = {.group_id = STR("g"),
                                   .generation_id = generation,
                                   .member_id = id,
                                   .protocol_type = STR("consumer"),
                                   .protocol_name = STR("range"),
                                   .assignments = &as,
                                   .assignments_n = assignment ? 1 : 0};

    return call(c, KAFKA_SYNC_GROUP, 5, &q, &h->arena);
}

static int beat(struct house *h, struct rig_conn *c, struct str id, int32_t generation)
{
    struct heartbeat_request q = {
        .group_id = STR("g"), .member_id = id, .generation_id = generation};

    return ((struct heartbeat_response *)call(c, KAFKA_HEARTBEAT, 4, &q, &h->arena))->error_code;
}

static int commit(struct house *h, const char *group, const char *topic, int32_t partition,
                  int64_t offset)
{
    struct offset_commit_request_partition p = {.partition_index = partition,
                                                .committed_offset = offset,
                                                .committed_leader_epoch = -1,
                                                .committed_metadata = STR("m"),
                                                .commit_timestamp = -1};
    struct offset_commit_request_topic t = {str_of(topic), &p, 1};
    struct offset_commit_request q = {.group_id = str_of(group),
                                      .generation_id_or_member_epoch = -1,
                                      .retention_time_ms = -1,
                                      .topics = &t,
                                      .topics_n = 1};
    struct offset_commit_response *a = call(&h->a, KAFKA_OFFSET_COMMIT, 8, &q, &h->arena);

    return a ? a->topics[0].partitions[0].error_code : -1000;
}

static int64_t committed(struct house *h, const char *group, const char *topic, int32_t partition)
{
    struct offset_fetch_request_group_topic t = {str_of(topic), &partition, 1};
    struct offset_fetch_request_group g = {
        .group_id = str_of(group), .member_epoch = -1, .topics = &t, .topics_n = 1};
    struct offset_fetch_request q = {.groups = &g, .groups_n = 1};
    struct offset_fetch_response *a = call(&h->a, KAFKA_OFFSET_FETCH, 8, &q, &h->arena);

    return a->groups[0].topics[0].partitions[0].committed_offset;
}

static const char *state_of(struct house *h, const char *group)
{
    struct str id = str_of(group);
    struct describe_groups_request q = {.groups = &id, .groups_n = 1};
    struct describe_groups_response *a = call(&h->a, KAFKA_DESCRIBE_GROUPS, 5, &q, &h->arena);

    return arena_dup_str(&h->arena, a->groups[0].group_state).p;
}

/* ---- what a restart finds ---- */

static void members_go_on_after_a_restart_or_a_power_cut(void **state)
{
    struct house *h = *state;
    struct join_group_response *j = join(h, &h->a);

    assert_int_equal(members_of(j)[0].member_id.n, j->member_id.n);
    assert_int_equal(sync_up(h, &h->a, j->member_id, 1, "mine")->error_code, 0);
    for (unsigned i = 0; i < 2; i++) {
        house_restart(h, i == 0);
        assert_string_equal(state_of(h, "g"), "Stable");
        assert_int_equal(beat(h, &h->a, j->member_id, 1), 0);
        assert_str(bytes_str(sync_up(h, &h->a, j->member_id, 1, NULL)->assignment), "mine");
    }
    rig_advance(&h->rig, 9999);
    assert_int_equal(beat(h, &h->a, j->member_id, 1), 0);
    rig_advance(&h->rig, 10000); /* the session runs on after a restart */
    assert_string_equal(state_of(h, "g"), "Empty");
    house_restart(h, false);
    assert_string_equal(state_of(h, "g"), "Empty");
}

static void acknowledged_commits_are_there_after_a_power_cut(void **state)
{
    struct house *h = *state;

    assert_int_equal(commit(h, "g", "t", 0, 5), 0);
    assert_int_equal(commit(h, "g", "t", 2, 7), 0);
    assert_int_equal(commit(h, "g", "t", 0, 6), 0);
    assert_int_equal(commit(h, "h", "t", 0, 1), 0);
    house_restart(h, false);
    assert_int_equal(committed(h, "g", "t", 0), 6);
    assert_int_equal(committed(h, "g", "t", 1), -1);
    assert_int_equal(committed(h, "g", "t", 2), 7);
    assert_int_equal(committed(h, "h", "t", 0), 1);
}

static void deleted_groups_stay_deleted(void **state)
{
    struct house *h = *state;
    struct str g = STR("g");
    struct delete_groups_request q = {.groups_names = &g, .groups_names_n = 1};
    struct delete_groups_response *a;

    assert_int_equal(commit(h, "g", "t", 0, 5), 0);
    a = call(&h->a, KAFKA_DELETE_GROUPS, 2, &q, &h->arena);
    assert_int_equal(a->results[0].error_code, 0);
    a = call(&h->a, KAFKA_DELETE_GROUPS, 2, &q, &h->arena);
    assert_int_equal(a->results[0].error_code, KAFKA_ERR_GROUP_ID_NOT_FOUND);
    house_restart(h, false);
    assert_string_equal(state_of(h, "g"), "Dead");
    assert_int_equal(committed(h, "g", "t", 0), -1);
    assert_int_equal(groups_count(broker_groups(h->rig.b)), 0);
}

static void a_deleted_topic_takes_its_offsets_with_it(void **state)
{
    struct house *h = *state;
    struct topic *t;
    uint64_t seq;

    assert_int_equal(commit(h, "g", "t", 0, 5), 0);
    assert_int_equal(broker_topic_delete(h->rig.b, STR("t"), &seq, &h->rig.err), RC_OK);
    rig_settle(&h->rig);
    house_restart(h, false);
    assert_int_equal(broker_topic_create(h->rig.b,
                                         &(struct broker_topic_spec){
                                             .name = STR("t"), .partitions = 1, .replication = 1},
                                         &t, &seq, &h->rig.err),
                     RC_OK);
    assert_int_equal(committed(h, "g", "t", 0), -1);
}

/* ---- time ---- */

static void offsets_expire_when_their_group_has_long_been_empty(void **state)
{
    struct house *h = *state;
    const uint64_t week_ms = 10080ull * 60000, look_ms = 600000;

    assert_int_equal(commit(h, "g", "t", 0, 5), 0);
    rig_advance(&h->rig, week_ms / 2);
    assert_int_equal(commit(h, "g", "t", 1, 6), 0);
    rig_advance(&h->rig, week_ms / 2 - 1);
    assert_int_equal(committed(h, "g", "t", 0), 5);
    rig_advance(&h->rig, look_ms + 1);
    assert_int_equal(committed(h, "g", "t", 0), -1);
    assert_int_equal(committed(h, "g", "t", 1),
                     6); /* a simple group's offsets each have their own time */
    rig_advance(&h->rig, week_ms);
    assert_string_equal(state_of(h, "g"), "Dead");
    house_restart(h, false);
    assert_int_equal(groups_count(broker_groups(h->rig.b)), 0);
}

static void offsets_of_live_members_do_not_expire(void **state)
{
    struct house *h = *state;
    struct join_group_response *j = join(h, &h->a);

    assert_int_equal(sync_up(h, &h->a, j->member_id, 1, "x")->error_code, 0);
    {
        struct offset_commit_request_partition p = {
            .partition_index = 0, .committed_offset = 3, .commit_timestamp = 1}; /* 1970 */
        struct offset_commit_request_topic t = {STR("t"), &p, 1};
        struct offset_commit_request q = {.group_id = STR("g"),
                                          .member_id = j->member_id,
                                          .generation_id_or_member_epoch = 1,
                                          .retention_time_ms = -1,
                                          .topics = &t,
                                          .topics_n = 1};
        struct offset_commit_response *a = call(&h->b, KAFKA_OFFSET_COMMIT, 1, &q, &h->arena);

        assert_int_equal(a->topics[0].partitions[0].error_code, 0);
    }
    for (unsigned i = 0; i < 150; i++) { /* 20 minutes: two looks */
        rig_advance(&h->rig, 8000);
        assert_int_equal(beat(h, &h->b, j->member_id, 1), 0);
    }
    assert_int_equal(committed(h, "g", "t", 0), 3); /* it is subscribed to t */
}

/* Measured at Kafka 3.8.1: in two entries of one topic, twice the same partition, and one that is not there. */
static void of_a_partition_that_is_named_twice_the_last_counts(void **state)
{
    enum { TOO_MUCH = 5000 };
    static char much[TOO_MUCH];
    struct house *h = *state;
    struct offset_commit_request_partition p[] = {
        {.partition_index = 9, .committed_offset = 1},
        {.partition_index = 0, .committed_offset = 3, .committed_metadata = STR("")},
        {.partition_index = 9, .committed_offset = 1},
        {.partition_index = 0, .committed_offset = 2, .committed_metadata = {much, TOO_MUCH}}};
    struct offset_commit_request_topic t[] = {{STR("t"), p, 2}, {STR("t"), p + 2, 2}};
    struct offset_commit_request q = {.group_id = STR("g"),
                                      .generation_id_or_member_epoch = -1,
                                      .retention_time_ms = -1,
                                      .topics = t,
                                      .topics_n = 2};
    struct offset_commit_response *a = call(&h->a, KAFKA_OFFSET_COMMIT, 8, &q, &h->arena);

    assert_int_equal(a->topics_n, 1);
    assert_int_equal(a->topics[0].partitions_n, 3);
    for (int i = 0; i < 2; i++)
        assert_int_equal(a->topics[0].partitions[i].error_code,
                         KAFKA_ERR_UNKNOWN_TOPIC_OR_PARTITION);
    assert_int_equal(a->topics[0].partitions[2].partition_index, 0);
    assert_int_equal(a->topics[0].partitions[2].error_code, KAFKA_ERR_OFFSET_METADATA_TOO_LARGE);
    assert_int_equal(committed(h, "g", "t", 0), -1); /* the first one was not taken instead */
    p[3].committed_metadata = STR("");
    a = call(&h->a, KAFKA_OFFSET_COMMIT, 8, &q, &h->arena);
    assert_int_equal(a->topics[0].partitions[2].error_code, 0);
    assert_int_equal(committed(h, "g", "t", 0), 2);
}

/* ---- the newer protocol ---- */

static int16_t consumer_beat(struct house *h, int32_t epoch, const char *topic, int32_t *ret_epoch)
{
    struct str name = str_of(topic);
    struct consumer_group_heartbeat_request q = {.group_id = STR("n"),
                                                 .member_id = STR("m"),
                                                 .member_epoch = epoch,
                                                 .rebalance_timeout_ms = 60000,
                                                 .subscribed_topic_names = &name,
                                                 .subscribed_topic_names_n = 1};
    struct consumer_group_heartbeat_response *a =
        call(&h->a, KAFKA_CONSUMER_GROUP_HEARTBEAT, 1, &q, &h->arena);

    *ret_epoch = a->member_epoch;
    return a->error_code;
}

static int16_t consumer_commit(struct house *h, int32_t epoch, const char *topic, int16_t version)
{
    struct offset_commit_request_partition p = {.partition_index = 0, .committed_offset = 3};
    struct offset_commit_request_topic t = {str_of(topic), &p, 1};
    struct offset_commit_request q = {.group_id = STR("n"),
                                      .member_id = STR("m"),
                                      .generation_id_or_member_epoch = epoch,
                                      .retention_time_ms = -1,
                                      .topics = &t,
                                      .topics_n = 1};
    struct offset_commit_response *a = call(&h->b, KAFKA_OFFSET_COMMIT, version, &q, &h->arena);

    return a->topics[0].partitions[0].error_code;
}

static void a_member_of_the_newer_protocol_goes_on_after_a_power_cut(void **state)
{
    struct house *h = *state;
    int32_t epoch, again;

    assert_int_equal(consumer_beat(h, 0, "t", &epoch), 0);
    assert_int_equal(epoch, 1);
    assert_int_equal(consumer_commit(h, epoch, "t", 9), 0);
    house_restart(h, false);
    assert_int_equal(consumer_beat(h, epoch, "t", &again), 0);
    assert_int_equal(again, epoch);
    assert_int_equal(consumer_commit(h, epoch, "t", 9), 0);
    assert_int_equal(consumer_commit(h, epoch, "t", 8), KAFKA_ERR_UNSUPPORTED_VERSION);
    assert_int_equal(consumer_commit(h, epoch + 1, "t", 9), KAFKA_ERR_STALE_MEMBER_EPOCH);
    assert_int_equal(committed(h, "n", "t", 0), 3);
}

static void offsets_of_topics_that_members_no_longer_want_expire(void **state)
{
    struct house *h = *state;
    const uint64_t week_ms = 10080ull * 60000, look_ms = 600000;
    struct topic *t;
    uint64_t seq;
    int32_t epoch;

    assert_int_equal(broker_topic_create(h->rig.b,
                                         &(struct broker_topic_spec){
                                             .name = STR("u"), .partitions = 1, .replication = 1},
                                         &t, &seq, &h->rig.err),
                     RC_OK);
    assert_int_equal(consumer_beat(h, 0, "t", &epoch), 0);
    assert_int_equal(consumer_commit(h, epoch, "t", 9), 0);
    assert_int_equal(consumer_commit(h, epoch, "u", 9), 0);
    for (uint64_t passed = 0; passed < week_ms + look_ms; passed += 40000) {
        rig_advance(&h->rig, 40000);
        assert_int_equal(consumer_beat(h, epoch, "t", &epoch), 0);
        arena_reset(&h->arena);
    }
    assert_int_equal(committed(h, "n", "t", 0), 3); /* it is subscribed to t */
    assert_int_equal(committed(h, "n", "u", 0), -1);
    rig_advance(&h->rig, week_ms + look_ms); /* the member is silent: out; then the rest goes */
    house_restart(h, false);
    assert_int_equal(groups_count(broker_groups(h->rig.b)), 0);
}

/* 10,000 topics, and an expression of the kind that may be slow: its names are a worker's, chunk by chunk; whoever asks meanwhile is answered
 * without one more having been matched. */
static void a_slow_regular_expression_holds_up_nobody(void **state)
{
    struct house *h = *state;
    struct consumer_group_heartbeat_request q = {.group_id = STR("n"),
                                                 .member_id = STR("m"),
                                                 .rebalance_timeout_ms = 60000,
                                                 .subscribed_topic_names_null = true,
                                                 .subscribed_topic_regex =
                                                     STR("((a*)*)*b|x-.*7")};
    struct consumer_group_heartbeat_response *a;
    unsigned chunks = 0;

    for (int i = 0; i < 10000; i++) {
        char name[16];
        struct topic *t;
        uint64_t seq;

        snprintf(name, sizeof name, "x-%05d", i);
        assert_int_equal(broker_topic_create(h->rig.b,
                                             &(struct broker_topic_spec){.name = str_of(name),
                                                                         .partitions = 1,
                                                                         .replication = 1},
                                             &t, &seq, &h->rig.err),
                         RC_OK);
        if (i % 100 == 0) rig_settle(&h->rig);
    }
    rig_settle(&h->rig);
    h->rig.hold_oldest = true;
    a = call(&h->a, KAFKA_CONSUMER_GROUP_HEARTBEAT, 1, &q, &h->arena);
    assert_int_equal(a->error_code, 0);
    assert_int_equal(a->member_epoch, 1);
    assert_int_equal(a->assignment->topic_partitions_n, 0);
    while (workers_runnable(h->rig.workers)) {
        assert_true(++chunks < 1000);
        assert_int_equal(commit(h, "g", "t", 0, chunks), 0); /* does not wait for the next chunk */
        assert_int_equal(workers_runnable(h->rig.workers), 1);
        (void)workers_run_one(h->rig.workers);
        rig_settle(&h->rig);
    }
    h->rig.hold_oldest = false;
    assert_true(chunks >= 10);
    q.member_epoch = 1;
    a = call(&h->a, KAFKA_CONSUMER_GROUP_HEARTBEAT, 1, &q, &h->arena);
    assert_int_equal(a->assignment->topic_partitions_n, 1000);
}

/* ---- clients that come and go ---- */

static void a_client_that_goes_away_while_it_waits_is_forgotten(void **state)
{
    struct house *h = *state;
    struct join_group_response *j = join(h, &h->a);

    assert_int_equal(sync_up(h, &h->a, j->member_id, 1, "x")->error_code, 0);
    assert_null(join(h, &h->b)); /* waits for a */
    rig_hang_up(&h->b);
    rig_settle(&h->rig);
    rig_connect(&h->rig, &h->b);
    assert_int_equal(beat(h, &h->a, j->member_id, 1), KAFKA_ERR_REBALANCE_IN_PROGRESS);
    join_send(h, &h->a, j->member_id, (struct str){0});
    j = call_answer(&h->a, KAFKA_JOIN_GROUP, 9, &h->arena);
    assert_int_equal(j->members_n, 2); /* it counts until its session ends */
    assert_int_equal(sync_up(h, &h->a, j->member_id, 2, "x")->error_code, 0);
    rig_advance(&h->rig, 9000);
    assert_int_equal(beat(h, &h->a, j->member_id, 2), 0);
    rig_advance(&h->rig, 1000);
    assert_int_equal(beat(h, &h->a, j->member_id, 2), KAFKA_ERR_REBALANCE_IN_PROGRESS);
}

static void who_waits_is_sent_away_when_the_broker_goes_down(void **state)
{
    struct house *h = *state;
    struct join_group_response *j = join(h, &h->a);

    assert_int_equal(sync_up(h, &h->a, j->member_id, 1, "x")->error_code, 0);
    assert_null(join(h, &h->b));
    broker_drain(h->rig.b);
    rig_settle(&h->rig);
    j = call_answer(&h->b, KAFKA_JOIN_GROUP, 9, &h->arena);
    assert_int_equal(j->error_code, KAFKA_ERR_NOT_COORDINATOR);
    assert_true(broker_is_drained(h->rig.b));
}

/* ---- bad input ---- */

static bool appended;

static void on_appended(struct broker_append *a)
{
    appended = a->err.rc == RC_OK;
}

static void records_that_cannot_be_read_are_passed_over(void **state)
{
    struct house *h = *state;
    struct broker_append bad = {.topic = STR("__consumer_offsets"), .done = on_appended};
    struct batch_builder w;
    struct bytes view;

    assert_int_equal(commit(h, "g", "t", 0, 5), 0);
    bad.partition = kafka_partition_of_group(STR("g"), 50);
    batch_begin(&w, &bad.batch, NULL);
    batch_add(&w, &(struct record_new){.key = bytes_of("\0\1\0\1", 4)}); /* cut short */
    batch_add(&w, &(struct record_new){.key = bytes_of("\0\7what", 6)}); /* of a later version */
    offsets_record_add(&w, STR("g"), STR("t"), 1,
                       &(struct committed){.partition = 1, .offset = 9, .expire_ms = -1}, 1);
    assert_int_equal(batch_end(&w, NULL, &view, &h->rig.err), RC_OK);
    appended = false;
    broker_append(h->rig.b, &bad);
    rig_settle(&h->rig);
    assert_true(appended);
    house_restart(h, false);
    assert_int_equal(committed(h, "g", "t", 0), 5);
    assert_int_equal(committed(h, "g", "t", 1), 9);
}

static uint64_t bytes_on_disk(struct house *h, int32_t partition)
{
    struct describe_log_dirs_request_topic t = {STR("__consumer_offsets"), &partition, 1};
    struct describe_log_dirs_request q = {.topics = &t, .topics_n = 1};
    struct describe_log_dirs_response *a = call(&h->a, KAFKA_DESCRIBE_LOG_DIRS, 4, &q, &h->arena);

    return (uint64_t)a->results[0].topics[0].partitions[0].partition_size;
}

static void old_commits_are_compacted_away_and_the_last_ones_stay(void **state)
{
    static const struct broker_setting settings[] = {
        {{"group.initial.rebalance.delay.ms", 32}, {"0", 1}},
        {{"offsets.topic.segment.bytes", 27}, {"20000", 5}},
        {{"offsets.topic.num.partitions", 28}, {"1", 1}}};
    struct house *h = *state;
    struct topic *t;
    uint64_t seq, before;

    house_hang_up(h); /* another folder: the topic is made with these settings */
    rig_fini(&h->rig);
    rig_init(&h->rig, 2);
    h->rig.opt.settings = settings;
    h->rig.opt.settings_n = countof(settings);
    house_open(h);
    assert_int_equal(broker_topic_create(h->rig.b,
                                         &(struct broker_topic_spec){
                                             .name = STR("t"), .partitions = 3, .replication = 1},
                                         &t, &seq, &h->rig.err),
                     RC_OK);
    for (int i = 0; i < 3000; i++) {
        assert_int_equal(commit(h, i % 2 ? "g" : "h", "t", i % 3, i), 0);
        arena_reset(&h->arena);
    }
    before = bytes_on_disk(h, 0);
    assert_true(before > 300000);
    for (unsigned i = 0; i < 40 && bytes_on_disk(h, 0) > before / 4; i++)
        rig_advance(&h->rig, 16000);
    assert_true(bytes_on_disk(h, 0) < before / 4);
    for (unsigned i = 0; i < 2; i++) {
        house_restart(h, i == 0);
        assert_int_equal(committed(h, "h", "t", 0), 2994);
        assert_int_equal(committed(h, "g", "t", 0), 2997);
        assert_int_equal(committed(h, "h", "t", 2), 2996);
        assert_int_equal(committed(h, "g", "t", 2), 2999);
    }
}

static void there_is_a_ceiling(void **state)
{
    struct house *h = *state;
    char name[64];
    int code = 0;
    unsigned n = 0;

    house_hang_up(h);
    rig_close(&h->rig);
    h->rig.opt.memory_max = 1 << 20;
    house_open(h);
    while (!code && n < 100000) {
        snprintf(name, sizeof name, "group-%u", n++);
        code = commit(h, name, "t", 0, 1);
        arena_reset(&h->arena);
    }
    assert_int_equal(code, KAFKA_ERR_COORDINATOR_NOT_AVAILABLE);
    assert_true(n > 100);
    assert_true(groups_bytes(broker_groups(h->rig.b)) <= (1 << 20) / 4);
    join_send(h, &h->b, STR(""), (struct str){0});
    assert_int_equal(
        ((struct join_group_response *)call_answer(&h->b, KAFKA_JOIN_GROUP, 9, &h->arena))
            ->error_code,
        KAFKA_ERR_GROUP_MAX_SIZE_REACHED);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(members_go_on_after_a_restart_or_a_power_cut),
        T(acknowledged_commits_are_there_after_a_power_cut),
        T(deleted_groups_stay_deleted),
        T(a_deleted_topic_takes_its_offsets_with_it),
        T(offsets_expire_when_their_group_has_long_been_empty),
        T(offsets_of_live_members_do_not_expire),
        T(of_a_partition_that_is_named_twice_the_last_counts),
        T(a_member_of_the_newer_protocol_goes_on_after_a_power_cut),
        T(a_slow_regular_expression_holds_up_nobody),
        T(offsets_of_topics_that_members_no_longer_want_expire),
        T(a_client_that_goes_away_while_it_waits_is_forgotten),
        T(who_waits_is_sent_away_when_the_broker_goes_down),
        T(records_that_cannot_be_read_are_passed_over),
        T(old_commits_are_compacted_away_and_the_last_ones_stay),
        T(there_is_a_ceiling),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
