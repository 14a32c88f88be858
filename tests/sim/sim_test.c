/* Is the simulation what it claims to be: repeatable, and able to fail? SPDX-License-Identifier: Apache-2.0 */
#include "base/diag.h"
#include "run.h"
#include "test.h"

static uint64_t hash_of(uint64_t seed)
{
    struct run_result r;
    uint64_t ret;

    run_seed(&(struct run_options){.seed = seed}, &r);
    ret = r.hash;
    run_result_fini(&r);
    return ret;
}

static void a_seed_is_one_schedule(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        uint64_t first = hash_of(seed);

        if (hash_of(seed) != first) fail_msg("seed %llu ran otherwise the second time", (unsigned long long)seed);
        assert_true(hash_of(seed + 1000) != first);
    }
}

/* Seeds until one fails. */
static unsigned seeds_until_noticed(unsigned lies)
{
    for (unsigned seed = 1; seed <= 200; seed++) {
        struct run_result r;
        size_t n;

        run_seed(&(struct run_options){.seed = seed, .lies = lies}, &r);
        n = r.verdict.n;
        run_result_fini(&r);
        if (n) return seed;
    }
    return 0;
}

/* A disk that does not sync is a program that forgets to. */
static void a_forgotten_sync_of_the_wal_is_noticed(void **state)
{
    (void)state;
    assert_int_not_equal(seeds_until_noticed(FS_SIM_LIE_DSYNC), 0);
}

static void a_forgotten_sync_of_segments_and_checkpoints_is_noticed(void **state)
{
    (void)state;
    assert_int_not_equal(seeds_until_noticed(FS_SIM_LIE_SYNC), 0);
}

static void a_forgotten_sync_of_a_folder_is_noticed(void **state)
{
    (void)state;
    assert_int_not_equal(seeds_until_noticed(FS_SIM_LIE_DIR), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_seed_is_one_schedule),
        cmocka_unit_test(a_forgotten_sync_of_the_wal_is_noticed),
        cmocka_unit_test(a_forgotten_sync_of_segments_and_checkpoints_is_noticed),
        cmocka_unit_test(a_forgotten_sync_of_a_folder_is_noticed),
    };

    diag_silence(true);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
