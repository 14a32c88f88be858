/* SPDX-License-Identifier: Apache-2.0
 *
 * Records are compared with bytes written down by hand from the description of Kafka's format.
 */
#include "broker/offsets_record.h"
#include "test.h"

struct rig {
    struct buf out, scratch;
    struct batch_builder w;
    struct batch b;
    struct records it;
    struct record rec;
    struct codecs *codecs;
    struct arena arena;
    struct err e;
};

static void begin(struct rig *r)
{
    *r = (struct rig){.codecs = codecs_new()};
    batch_begin(&r->w, &r->out, NULL);
}

/* Ends the batch and stands on its first record. */
static void finish(struct rig *r)
{
    struct bytes view;

    assert_int_equal(batch_end(&r->w, r->codecs, &view, &r->e), RC_OK);
    assert_int_equal(batch_view(view, &r->b), BATCH_OK);
    assert_int_equal(batch_check(&r->b), BATCH_OK);
    assert_int_equal(records_open(&r->it, &r->b, r->codecs, 1 << 20, &r->scratch), BATCH_OK);
    assert_true(records_next(&r->it, &r->rec));
}

static void drop(struct rig *r)
{
    buf_fini(&r->out);
    buf_fini(&r->scratch);
    arena_fini(&r->arena);
    codecs_free(r->codecs);
}

#define IS(view, literal)                                                                          \
    do {                                                                                           \
        assert_int_equal((view).n, sizeof literal - 1);                                            \
        assert_memory_equal((view).p, literal, sizeof literal - 1);                                \
    } while (0)

static const struct committed commit = {.partition = 2,
                                        .leader_epoch = 1,
                                        .offset = 258,
                                        .commit_ms = 0x0102,
                                        .expire_ms = -1,
                                        .metadata = {"m", 1}};

static void an_offset_is_written_as_kafka_3_8_does(void **state)
{
    struct offsets_record got;
    struct rig r;

    (void)state;
    begin(&r);
    offsets_record_add(&r.w, STR("g"), STR("tt"), 2, &commit, 1000);
    finish(&r);
    IS(r.rec.key, "\0\1"
                  "\0\1g"
                  "\0\2tt"
                  "\0\0\0\2");
    IS(r.rec.value, "\0\3"
                    "\0\0\0\0\0\0\1\2"
                    "\0\0\0\1"
                    "\0\1m"
                    "\0\0\0\0\0\0\1\2");
    assert_int_equal(r.rec.timestamp, 1000);

    assert_int_equal(offsets_record_decode(&r.rec, &r.arena, &got, &r.e), RC_OK);
    assert_int_equal(got.kind, OFFSETS_RECORD_OFFSET);
    assert_false(got.gone);
    assert_str(got.group, "g");
    assert_str(got.topic, "tt");
    assert_int_equal(got.committed.partition, 2);
    assert_int_equal(got.committed.offset, 258);
    assert_int_equal(got.committed.leader_epoch, 1);
    assert_int_equal(got.committed.commit_ms, 0x0102);
    assert_int_equal(got.committed.expire_ms, -1);
    assert_str(got.committed.metadata, "m");
    drop(&r);
}

static void an_offset_that_says_when_it_expires_is_written_in_the_version_that_can(void **state)
{
    struct committed c = commit;
    struct offsets_record got;
    struct rig r;

    (void)state;
    begin(&r);
    c.expire_ms = 0x0304;
    offsets_record_add(&r.w, STR("g"), STR("tt"), 2, &c, 1000);
    finish(&r);
    IS(r.rec.value, "\0\1"
                    "\0\0\0\0\0\0\1\2"
                    "\0\1m"
                    "\0\0\0\0\0\0\1\2"
                    "\0\0\0\0\0\0\3\4");
    assert_int_equal(offsets_record_decode(&r.rec, &r.arena, &got, &r.e), RC_OK);
    assert_int_equal(got.committed.expire_ms, 0x0304);
    assert_int_equal(got.committed.leader_epoch, -1);
    drop(&r);
}

static void what_is_gone_has_no_value(void **state)
{
    struct offsets_record got;
    struct rig r;

    (void)state;
    begin(&r);
    offsets_record_add(&r.w, STR("g"), STR("t"), 7, NULL, 1000);
    group_record_add_gone(&r.w, STR("g"), 1000);
    finish(&r);
    assert_null(r.rec.value.p);
    assert_int_equal(offsets_record_decode(&r.rec, &r.arena, &got, &r.e), RC_OK);
    assert_true(got.gone);
    assert_int_equal(got.committed.partition, 7);
    assert_true(records_next(&r.it, &r.rec));
    IS(r.rec.key, "\0\2"
                  "\0\1g");
    assert_null(r.rec.value.p);
    assert_int_equal(offsets_record_decode(&r.rec, &r.arena, &got, &r.e), RC_OK);
    assert_int_equal(got.kind, OFFSETS_RECORD_GROUP);
    assert_true(got.gone);
    drop(&r);
}

static void restore_one(struct group *g)
{
    static const struct group_snapshot_member m = {{"c-1", 3},
                                                   {"i", 1},
                                                   {"c", 1},
                                                   {"/h", 2},
                                                   10,
                                                   30,
                                                   {(const uint8_t *)"S", 1},
                                                   {(const uint8_t *)"A", 1}};
    struct group_snapshot s = {{"consumer", 8}, {"range", 5}, {"c-1", 3}, 4, 9, &m, 1};

    group_init(g, STR("g"), &group_config_default, 0);
    group_restore(g, &s, 0);
}

static void a_group_is_written_as_kafka_3_8_does(void **state)
{
    struct offsets_record got;
    struct group g;
    struct rig r;

    (void)state;
    begin(&r);
    restore_one(&g);
    group_record_add(&r.w, &g, 1000);
    finish(&r);
    IS(r.rec.key, "\0\2"
                  "\0\1g");
    IS(r.rec.value, "\0\3"
                    "\0\10consumer"
                    "\0\0\0\4"
                    "\0\5range"
                    "\0\3c-1"
                    "\0\0\0\0\0\0\0\11"
                    "\0\0\0\1"
                    "\0\3c-1"
                    "\0\1i"
                    "\0\1c"
                    "\0\2/h"
                    "\0\0\0\36"
                    "\0\0\0\12"
                    "\0\0\0\1S"
                    "\0\0\0\1A");
    assert_int_equal(offsets_record_decode(&r.rec, &r.arena, &got, &r.e), RC_OK);
    assert_int_equal(got.snapshot.generation, 4);
    assert_int_equal(got.snapshot.since_ms, 9);
    assert_str(got.snapshot.protocol_type, "consumer");
    assert_int_equal(got.snapshot.members_n, 1);
    assert_str(got.snapshot.members[0].instance_id, "i");
    assert_int_equal(got.snapshot.members[0].session_timeout_ms, 10);
    assert_int_equal(got.snapshot.members[0].rebalance_timeout_ms, 30);
    assert_str(bytes_str(got.snapshot.members[0].subscription), "S");
    assert_str(bytes_str(got.snapshot.members[0].assignment), "A");
    group_fini(&g);
    drop(&r);
}

static void records_of_others_are_told_apart_and_damaged_ones_refused(void **state)
{
    struct record other = {.key = bytes_of("\0\3\0\1g", 5)},
                  cut = {.key = bytes_of("\0\1\0\11g", 5)}, none = {0};
    struct record value = {.key = bytes_of("\0\2\0\1g", 5), .value = bytes_of("\0\3\0\1", 4)};
    struct record unknown = {.key = bytes_of("\0\2\0\1g", 5), .value = bytes_of("\0\11", 2)};
    struct offsets_record got;
    struct arena a = {0};
    struct err e;

    (void)state;
    assert_int_equal(offsets_record_decode(&other, &a, &got, &e), RC_OK);
    assert_int_equal(got.kind, OFFSETS_RECORD_OTHER);
    assert_int_equal(offsets_record_decode(&cut, &a, &got, &e), RC_INVALID);
    assert_int_equal(offsets_record_decode(&none, &a, &got, &e), RC_INVALID);
    assert_int_equal(offsets_record_decode(&value, &a, &got, &e), RC_INVALID);
    assert_int_equal(offsets_record_decode(&unknown, &a, &got, &e), RC_INVALID);
    arena_fini(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_offset_is_written_as_kafka_3_8_does),
        cmocka_unit_test(an_offset_that_says_when_it_expires_is_written_in_the_version_that_can),
        cmocka_unit_test(what_is_gone_has_no_value),
        cmocka_unit_test(a_group_is_written_as_kafka_3_8_does),
        cmocka_unit_test(records_of_others_are_told_apart_and_damaged_ones_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
