/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include "storage.h"

static void what_was_acknowledged_is_there_after_a_crash(void **state)
{
    struct fs_sim      *disk = fs_sim_new(1);
    struct storage      t;
    struct log         *l;
    struct log_appended a;
    uint64_t            seq;

    (void)state;
    storage_init(&t, fs_sim_fs(disk), "data");
    assert_int_equal(storage_open(&t), RC_OK);
    assert_int_equal(store_start_number(t.store), 0);
    l = storage_log(&t, 0);
    assert_int_equal(store_meta_append(t.store, str_bytes(STR("topic ta")), &seq, &t.err), RC_OK);
    assert_int_equal(log_put(&t, l, (struct batch_of){.text = "one"}, &a), RC_OK);
    assert_int_equal(a.base_offset, 0);
    assert_int_equal(log_put(&t, l, (struct batch_of){.text = "two", .n = 3}, &a), RC_OK);
    assert_int_equal(a.base_offset, 1);
    assert_int_equal(a.last_offset, 3);
    assert_int_equal(log_durable_end(l), 0);
    assert_null(log_text(&t, l, 0));
    storage_turn(&t);
    assert_int_equal(log_durable_end(l), 4);
    assert_true(store_durable_seq(t.store) >= a.seq);
    assert_int_equal(t.durable, store_durable_seq(t.store));
    assert_string_equal(log_text(&t, l, 0), "one");
    assert_string_equal(log_text(&t, l, 2), "two");

    fs_sim_cut(disk);
    t.store = store_abandon(t.store);
    fs_sim_power_on(disk);
    assert_int_equal(storage_open(&t), RC_OK);
    assert_int_equal(store_start_number(t.store), 1);
    assert_string_equal((char *)t.meta.p, "topic ta");
    l = storage_log(&t, 0);
    assert_int_equal(log_end(l), 4);
    assert_int_equal(log_durable_end(l), 4);
    assert_string_equal(log_text(&t, l, 0), "one");
    assert_string_equal(log_text(&t, l, 1), "two");
    assert_int_equal(log_put(&t, l, (struct batch_of){.text = "three"}, &a), RC_OK);
    assert_int_equal(a.base_offset, 4);
    storage_turn(&t);

    t.store = store_close(t.store);
    assert_int_equal(storage_open(&t), RC_OK);
    l = storage_log(&t, 0);
    assert_string_equal(log_text(&t, l, 4), "three");
    assert_string_equal(log_text(&t, l, 0), "one");
    storage_fini(&t);
    fs_sim_free(disk);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_acknowledged_is_there_after_a_crash),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
