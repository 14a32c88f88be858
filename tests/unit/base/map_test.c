/* SPDX-License-Identifier: Apache-2.0 */
#include "base/map.h"
#include "base/rng.h"
#include "test.h"
#include <stdio.h>

/* Random puts, gets and deletes against an array indexed by the key's number. */
static void a_map_agrees_with_an_array(void **state)
{
    enum { KEYS = 500, STEPS = 50000 };
    struct map m = {0};
    void *model[KEYS] = {0};
    size_t live = 0;
    struct rng r;

    (void)state;
    rng_init(&r, 1);
    for (int i = 0; i < STEPS; i++) {
        size_t k = rng_below(&r, KEYS);
        char text[64];
        struct str key = {
            text, (size_t)snprintf(text, sizeof text,
                                   k % 2 ? "%zu" : "a-key-longer-than-sixteen-bytes-%zu", k)};
        void *value = (void *)(uintptr_t)(i + 1);

        if (rng_below(&r, 3)) {
            assert_ptr_equal(map_put_str(&m, key, value), model[k]);
            live += model[k] == NULL;
            model[k] = value;
        } else {
            assert_ptr_equal(map_del_str(&m, key), model[k]);
            live -= model[k] != NULL;
            model[k] = NULL;
        }
        assert_ptr_equal(map_get_str(&m, key), model[k]);
        assert_int_equal(m.n, live);
    }
    size_t at = 0, seen = 0;

    while (map_next(&m, &at, NULL, NULL))
        seen++;
    assert_int_equal(seen, live);
    map_fini(&m);
}

static void count_drop(void *value)
{
    ++*(int *)value;
}

static void each_value_is_dropped_once_at_the_end(void **state)
{
    int dropped[3] = {0};
    struct map m = {0};

    (void)state;
    for (size_t i = 0; i < 3; i++)
        map_put_u64(&m, i, &dropped[i]);
    map_del_u64(&m, 1);
    map_fini_each(&m, count_drop);
    assert_int_equal(dropped[0], 1);
    assert_int_equal(dropped[1], 0);
    assert_int_equal(dropped[2], 1);
    assert_int_equal(m.n, 0);
    map_fini_each(&m, count_drop);
    assert_int_equal(dropped[0], 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_map_agrees_with_an_array),
        cmocka_unit_test(each_value_is_dropped_once_at_the_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
