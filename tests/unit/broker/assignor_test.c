/* SPDX-License-Identifier: Apache-2.0 */
#include "base/rng.h"
#include "broker/assignor.h"
#include "test.h"
#include <stdio.h>

enum { TOPICS = 5, MEMBERS = 9, SEEDS = 3000 };

struct world {
    struct assignor_topic topics[TOPICS];
    size_t topics_n;
    struct assignor_member members[MEMBERS];
    uint32_t subscribed[MEMBERS][TOPICS];
    size_t members_n;
};

static void fini(struct world *w)
{
    for (size_t i = 0; i < w->members_n; i++)
        parts_fini(&w->members[i].after);
}

static void all_members(struct world *w, size_t n)
{
    w->members_n = n;
    for (size_t m = 0; m < n; m++) {
        w->members[m] = (struct assignor_member){.topics = w->subscribed[m]};
        for (size_t t = 0; t < w->topics_n; t++)
            w->subscribed[m][w->members[m].topics_n++] = (uint32_t)t;
    }
}

static struct world two_topics(int32_t partitions)
{
    struct world w = {.topics = {{{{1}}, partitions}, {{{2}}, partitions}}, .topics_n = 2};

    return w;
}

static void range_gives_neighbours_and_the_same_numbers_of_each_topic(void **state)
{
    static const int32_t want[3][3] = {{0, 1, 2}, {3, 4, -1}, {5, 6, -1}};
    struct world w = two_topics(7);

    (void)state;
    all_members(&w, 3);
    assign_range(w.topics, w.topics_n, w.members, w.members_n);
    for (size_t m = 0; m < 3; m++) {
        size_t n = m ? 2 : 3;

        assert_int_equal(w.members[m].after.n, 2 * n);
        for (size_t i = 0; i < 2 * n; i++)
            assert_int_equal(w.members[m].after.p[i].number, want[m][i % n]);
    }
    fini(&w);
}

static void more_members_than_partitions_leave_some_without(void **state)
{
    (void)state;
    for (int how = 0; how < 2; how++) {
        struct world w = two_topics(1);
        size_t total = 0;

        all_members(&w, 4);
        (how ? assign_range : assign_uniform)(w.topics, w.topics_n, w.members, w.members_n);
        for (size_t m = 0; m < 4; m++)
            total += w.members[m].after.n;
        assert_int_equal(total, 2);
        fini(&w);
    }
}

static void uniform_keeps_what_it_can_when_a_member_joins(void **state)
{
    struct world w = two_topics(6);
    struct parts before[3] = {{0}};
    size_t kept = 0;

    (void)state;
    all_members(&w, 2);
    assign_uniform(w.topics, w.topics_n, w.members, w.members_n);
    for (size_t m = 0; m < 2; m++)
        before[m] = w.members[m].after;
    all_members(&w, 3);
    for (size_t m = 0; m < 3; m++)
        w.members[m].before = &before[m];
    assign_uniform(w.topics, w.topics_n, w.members, w.members_n);
    for (size_t m = 0; m < 3; m++) {
        struct parts both = {0};

        assert_int_equal(w.members[m].after.n, 4);
        parts_both(&before[m], &w.members[m].after, &both);
        kept += both.n;
        parts_fini(&both);
        parts_fini(&before[m]);
    }
    assert_int_equal(kept, 8); /* only what the third gets has moved */
    fini(&w);
}

/* ---- random ones ---- */

static bool subscribes(const struct assignor_member *m, uint32_t topic)
{
    for (size_t i = 0; i < m->topics_n; i++)
        if (m->topics[i] == topic) return true;
    return false;
}

static void check(const struct world *w, bool alike, bool uniform)
{
    size_t least = SIZE_MAX, most = 0;

    for (uint32_t t = 0; t < w->topics_n; t++)
        for (int32_t n = 0; n < w->topics[t].partitions; n++) {
            struct part p = {w->topics[t].id, n};
            size_t owners = 0, subscribers = 0;

            for (size_t m = 0; m < w->members_n; m++) {
                subscribers += subscribes(&w->members[m], t);
                if (!parts_has(&w->members[m].after, &p)) continue;
                assert_true(subscribes(&w->members[m], t));
                owners++;
            }
            assert_int_equal(owners, subscribers ? 1 : 0);
        }
    for (size_t m = 0; m < w->members_n; m++) {
        least = MIN(least, w->members[m].after.n);
        most = MAX(most, w->members[m].after.n);
    }
    if (alike && uniform) assert_true(most - least <= 1);
}

static void each_partition_has_one_owner_who_wants_it_and_loads_are_even(void **state)
{
    struct rng rng;

    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct world w = {0};
        struct parts before[MEMBERS] = {{0}};
        bool alike, uniform;

        rng_init(&rng, seed);
        alike = rng_below(&rng, 2), uniform = rng_below(&rng, 3);
        for (w.topics_n = 0; w.topics_n < 1 + seed % TOPICS; w.topics_n++)
            w.topics[w.topics_n] =
                (struct assignor_topic){{{(uint8_t)w.topics_n, 7}}, (int32_t)rng_below(&rng, 12)};
        for (int round = 0; round < 4;
             round++) { /* members and subscriptions change, what was had stays known */
            all_members(&w, 1 + rng_below(&rng, MEMBERS));
            for (size_t m = 0; m < w.members_n; m++) {
                w.members[m].before = &before[m];
                if (alike) continue;
                w.members[m].topics_n = 0;
                for (size_t t = 0; t < w.topics_n; t++)
                    if (rng_below(&rng, 2)) w.subscribed[m][w.members[m].topics_n++] = (uint32_t)t;
            }
            (uniform ? assign_uniform : assign_range)(w.topics, w.topics_n, w.members, w.members_n);
            check(&w, alike, uniform);
            for (size_t m = 0; m < w.members_n; m++) {
                parts_fini(&before[m]);
                before[m] = w.members[m].after;
            }
        }
        for (size_t m = 0; m < MEMBERS; m++)
            parts_fini(&before[m]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(range_gives_neighbours_and_the_same_numbers_of_each_topic),
        cmocka_unit_test(more_members_than_partitions_leave_some_without),
        cmocka_unit_test(uniform_keeps_what_it_can_when_a_member_joins),
        cmocka_unit_test(each_partition_has_one_owner_who_wants_it_and_loads_are_even),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
