/* SPDX-License-Identifier: Apache-2.0 */
#include "test.h"
#include "bus/schema.h"

static size_t left(const char *bytes, size_t n)
{
    struct bytes value = bytes_of(bytes, n), message = schema_message(value);

    assert_ptr_equal(message.p + message.n, value.p + value.n);
    return message.n;
}

static void a_prefix_is_the_id_and_the_first_message(void **state)
{
    uint8_t prefix[SCHEMA_PREFIX_LEN];

    (void)state;
    schema_prefix(0x01020304, prefix);
    assert_memory_equal(prefix, "\0\1\2\3\4\0", sizeof prefix);
    assert_int_equal(left((const char *)prefix, sizeof prefix), 0);
}

static void both_forms_of_the_first_message_are_taken_off(void **state)
{
    (void)state;
    assert_int_equal(left("\0\0\0\0\7\0\x2a\0", 8), 2);
    assert_int_equal(left("\0\0\0\0\7\2\0\x2a\0", 9), 2);
}

static void what_has_no_prefix_is_the_message(void **state)
{
    (void)state;
    assert_int_equal(left("\x2a\0\0\0\0\0\0", 7), 7);
    assert_int_equal(left("\0\0\0\0\7", 5), 5);
    assert_int_equal(left("", 0), 0);
}

static void another_message_of_the_schema_is_not_taken_for_ours(void **state)
{
    (void)state;
    assert_int_equal(left("\0\0\0\0\7\2\2\x2a", 8), 8);
    assert_true(schema_other_message(bytes_of("\0\0\0\0\7\2\2\x2a", 8)));
    assert_true(schema_other_message(bytes_of("\0\0\0\0\7\4\0\0\x2a", 9)));
    assert_true(schema_other_message(bytes_of("\0\0\0\0\7\2", 6)));
    assert_false(schema_other_message(bytes_of("\0\0\0\0\7\0", 6)));
    assert_false(schema_other_message(bytes_of("\x2a\0\0\0\0\4", 6)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_prefix_is_the_id_and_the_first_message),
        cmocka_unit_test(both_forms_of_the_first_message_are_taken_off),
        cmocka_unit_test(what_has_no_prefix_is_the_message),
        cmocka_unit_test(another_message_of_the_schema_is_not_taken_for_ours),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
