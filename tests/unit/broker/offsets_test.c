/* SPDX-License-Identifier: Apache-2.0 */
#include "base/rng.h"
#include "broker/offsets.h"
#include "test.h"
#include <stdio.h>

static struct committed at(int32_t partition, int64_t offset, struct str metadata)
{
    return (struct committed){.partition = partition,
                              .offset = offset,
                              .leader_epoch = 3,
                              .commit_ms = 100,
                              .expire_ms = -1,
                              .metadata = metadata};
}

static void put(struct offsets *o, struct str topic, int32_t partition, int64_t offset,
                struct str metadata)
{
    struct committed c = at(partition, offset, metadata);

    offsets_put(o, topic, &c);
}

static void the_last_commit_of_a_partition_holds(void **state)
{
    struct offsets o = {0};

    (void)state;
    put(&o, STR("t"), 1, 10, STR("first"));
    put(&o, STR("t"), 0, 5, STR(""));
    put(&o, STR("t"), 1, 11, STR("second"));
    assert_int_equal(o.n, 2);
    assert_int_equal(offsets_get(&o, STR("t"), 1)->offset, 11);
    assert_str(offsets_get(&o, STR("t"), 1)->metadata, "second");
    assert_int_equal(offsets_get(&o, STR("t"), 1)->leader_epoch, 3);
    assert_null(offsets_get(&o, STR("t"), 2));
    assert_null(offsets_get(&o, STR("u"), 0));
    offsets_fini(&o);
    assert_int_equal(o.bytes, 0);
}

static void a_topic_without_offsets_is_gone(void **state)
{
    struct offsets o = {0};

    (void)state;
    put(&o, STR("t"), 0, 1, STR("m"));
    put(&o, STR("u"), 0, 1, STR("m"));
    assert_true(offsets_delete(&o, STR("t"), 0));
    assert_false(offsets_delete(&o, STR("t"), 0));
    assert_null(offsets_topic(&o, STR("t")));
    assert_int_equal(o.topics_n, 1);
    assert_true(offsets_delete(&o, STR("u"), 0));
    assert_int_equal(o.bytes, 0);
    offsets_fini(&o);
}

static void any_history_of_commits_and_deletions_is_remembered(void **state)
{
    enum { TOPICS = 5, PARTITIONS = 7 };
    int64_t model[TOPICS][PARTITIONS];
    struct offsets o = {0};
    struct rng rng;
    size_t n = 0;

    (void)state;
    rng_init(&rng, 7);
    memset(model, -1, sizeof model);
    for (unsigned i = 0; i < 20000; i++) {
        unsigned t = (unsigned)rng_below(&rng, TOPICS), p = (unsigned)rng_below(&rng, PARTITIONS);
        char name[16];

        snprintf(name, sizeof name, "topic-%u", t * 7919 % 13);
        if (rng_below(&rng, 2)) {
            n += model[t][p] < 0;
            model[t][p] = i;
            put(&o, str_of(name), (int32_t)p, i, str_of(name));
        } else {
            assert_int_equal(offsets_delete(&o, str_of(name), (int32_t)p), model[t][p] >= 0);
            n -= model[t][p] >= 0;
            model[t][p] = -1;
        }
        assert_int_equal(o.n, n);
        p = (unsigned)rng_below(&rng, PARTITIONS);
        if (model[t][p] < 0)
            assert_null(offsets_get(&o, str_of(name), (int32_t)p));
        else
            assert_int_equal(offsets_get(&o, str_of(name), (int32_t)p)->offset, model[t][p]);
    }
    offsets_fini(&o);
}

static void offsets_expire_by_the_right_clock(void **state)
{
    struct committed c = at(0, 1, STR("")); /* committed at 100 */

    (void)state;
    assert_false(committed_is_expired(&c, 1099, 1000, INT64_MIN));
    assert_true(committed_is_expired(&c, 1100, 1000, INT64_MIN));
    assert_false(committed_is_expired(&c, 1100, 1000, 500)); /* the group became empty at 500 */
    assert_true(committed_is_expired(&c, 1500, 1000, 500));
    assert_false(
        committed_is_expired(&c, 50, 0, INT64_MIN)); /* a clock that went back deletes nothing */
    c.expire_ms = 300;                               /* its own wish wins */
    assert_false(committed_is_expired(&c, 299, 0, INT64_MIN));
    assert_true(committed_is_expired(&c, 300, INT64_MAX, 500));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_last_commit_of_a_partition_holds),
        cmocka_unit_test(a_topic_without_offsets_is_gone),
        cmocka_unit_test(any_history_of_commits_and_deletions_is_remembered),
        cmocka_unit_test(offsets_expire_by_the_right_clock),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
