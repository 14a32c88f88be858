/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/epochs.h"
#include "test.h"

static struct epochs three(void)
{
    struct epochs es = {0};

    assert_true(epochs_add(&es, 0, 0));
    assert_true(epochs_add(&es, 3, 10));
    assert_true(epochs_add(&es, 5, 20));
    return es;
}

static void end_is(const struct epochs *es, int32_t asked, int32_t number, int64_t end)
{
    int32_t got;
    int64_t at;

    epochs_end(es, asked, 30, &got, &at);
    assert_int_equal(got, number);
    assert_int_equal(at, end);
}

static void an_epoch_ends_where_the_next_begins(void **state)
{
    struct epochs es = three();

    (void)state;
    end_is(&es, 5, 5, 30);
    end_is(&es, 4, 3, 20);
    end_is(&es, 3, 3, 20);
    end_is(&es, 0, 0, 10);
    end_is(&es, 6, -1, -1);
    end_is(&es, -1, -1, -1);
    assert_true(epochs_cut_start(&es, 12));
    end_is(&es, 0, 0, 12);                                        /* below the earliest known */
    epochs_fini(&es);
    end_is(&es, 0, -1, -1);
}

static void offsets_belong_to_epochs(void **state)
{
    struct epochs es = three();

    (void)state;
    assert_int_equal(epochs_at(&es, 0), 0);
    assert_int_equal(epochs_at(&es, 9), 0);
    assert_int_equal(epochs_at(&es, 10), 3);
    assert_int_equal(epochs_at(&es, 99), 5);
    epochs_fini(&es);
    assert_int_equal(epochs_at(&es, 0), -1);
}

static void the_list_is_cut_from_both_ends(void **state)
{
    struct epochs es = three();
    struct buf    text = {0};

    (void)state;
    assert_false(epochs_add(&es, 5, 25));
    assert_true(epochs_cut_end(&es, 20));
    assert_false(epochs_cut_end(&es, 20));
    assert_true(epochs_cut_start(&es, 4));
    assert_false(epochs_cut_start(&es, 4));
    epochs_encode(&es, &text);
    assert_str(buf_str(&text), "0\n2\n0 4\n3 10\n");
    assert_true(epochs_add(&es, 7, 10));                          /* nothing was written in epoch 3 */
    buf_clear(&text);
    epochs_encode(&es, &text);
    assert_str(buf_str(&text), "0\n2\n0 4\n7 10\n");
    buf_fini(&text);
    epochs_fini(&es);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_epoch_ends_where_the_next_begins),
        cmocka_unit_test(offsets_belong_to_epochs),
        cmocka_unit_test(the_list_is_cut_from_both_ends),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
