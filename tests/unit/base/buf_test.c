/* SPDX-License-Identifier: Apache-2.0 */
#include "base/arena.h"
#include "base/blob.h"
#include "base/err.h"
#include "test.h"

static void a_buffer_grows_and_is_consumed_from_the_front(void **state)
{
    struct buf b = {0};

    (void)state;
    for (int i = 0; i < 1000; i++)
        buf_printf(&b, "%04d", i);
    buf_consume(&b, 4);
    assert_int_equal(b.n, 3996);
    assert_memory_equal(b.p, "00010002", 8);
    buf_fini(&b);
    buf_fini(&b);
}

static void an_arena_says_no_beyond_its_limit(void **state)
{
    struct arena a;

    (void)state;
    arena_init(&a, 1024);
    assert_non_null(arena_alloc(&a, 1000));
    assert_null(arena_alloc(&a, 100));
    assert_true(a.refused);
    assert_null(arena_array(&a, uint64_t, SIZE_MAX / 4));
    arena_fini(&a);
}

static void a_blob_lives_until_its_last_reference(void **state)
{
    struct blob *b = blob_new(bytes_of("hello", 5)), *c = blob_ref(b);

    (void)state;
    blob_unref(&b);
    assert_null(b);
    assert_memory_equal(blob_view(c).p, "hello", 5);
    blob_unref(&c);
}

static void an_error_gains_words_on_each_floor(void **state)
{
    struct err e;

    (void)state;
    assert_int_equal(err_set(&e, RC_CORRUPT, "header: %d bytes wanted, %d there", 12, 5),
                     RC_CORRUPT);
    assert_int_equal(err_in(&e, "segment %05d", 42), RC_CORRUPT);
    assert_string_equal(e.text, "segment 00042: header: 12 bytes wanted, 5 there");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_buffer_grows_and_is_consumed_from_the_front),
        cmocka_unit_test(an_arena_says_no_beyond_its_limit),
        cmocka_unit_test(a_blob_lives_until_its_last_reference),
        cmocka_unit_test(an_error_gains_words_on_each_floor),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
