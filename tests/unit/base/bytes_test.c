/* SPDX-License-Identifier: Apache-2.0 */
#include "base/crc.h"
#include "base/nearest.h"
#include "base/sip.h"
#include "test.h"

static void numbers_are_read_whole_or_not_at_all(void **state)
{
    int64_t v = 7;

    (void)state;
    assert_true(str_to_i64(STR("-9223372036854775808"), &v));
    assert_true(v == INT64_MIN);
    assert_true(str_to_i64(STR("9223372036854775807"), &v));
    assert_true(v == INT64_MAX);
    v = 7;
    assert_false(str_to_i64(STR("9223372036854775808"), &v));
    assert_false(str_to_i64(STR(""), &v));
    assert_false(str_to_i64(STR("-"), &v));
    assert_false(str_to_i64(STR("12x"), &v));
    assert_int_equal(v, 7);
}

static void a_string_is_cut_at_the_first_separator(void **state)
{
    struct str head, tail;

    (void)state;
    assert_true(str_cut(STR("a.b.c"), '.', &head, &tail));
    assert_str(head, "a");
    assert_str(tail, "b.c");
    assert_false(str_cut(STR("abc"), '.', &head, &tail));
    assert_str(head, "abc");
    assert_int_equal(tail.n, 0);
}

static void crc32c_agrees_with_the_published_check_value(void **state)
{
    (void)state;
    assert_int_equal(crc32c(bytes_of("123456789", 9)), 0xe3069283);
    assert_int_equal(crc32c_more(crc32c(bytes_of("1234", 4)), bytes_of("56789", 5)), 0xe3069283);
}

static void numbers_are_written_without_printf(void **state)
{
    char text[DECIMAL_MAX];

    (void)state;
    assert_str(decimal(0, text), "0");
    assert_str(decimal(1048576, text), "1048576");
    assert_str(decimal(UINT64_MAX, text), "18446744073709551615");
}

static struct str meant(const char *wanted)
{
    const char *const known[] = {"pipeline", "pipelines", "model", "server"};
    struct nearest n;

    nearest_begin(&n, str_of(wanted));
    for (size_t i = 0; i < countof(known); i++)
        nearest_offer(&n, str_of(known[i]));
    return n.best;
}

static void a_word_with_few_wrong_letters_is_recognised(void **state)
{
    (void)state;
    assert_str(meant("pipline"), "pipeline");
    assert_str(meant("PIPELNIES"), "pipelines");
    assert_str(meant("sevrer"), "server");
    assert_str(meant("modle"), "model");
    assert_str(meant("kubernetes"), "");
    assert_str(meant("x"), "");
    assert_str(meant(""), "");
}

static void a_keyed_hash_agrees_with_its_authors_vectors(void **state)
{
    struct sip_key key = {0x0706050403020100, 0x0f0e0d0c0b0a0908};
    struct sip_hash none = sip128((struct bytes){0}, &key), nine = sip128(bytes_of("123456789", 9), &key);

    (void)state;
    assert_int_equal(none.lo, 0xe6a825ba047f81a3);
    assert_int_equal(none.hi, 0x930255c71472f66d);
    assert_int_equal(nine.lo, 0x1a3d3073838294ce);
    assert_int_equal(nine.hi, 0xce71ad441778fcb5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_keyed_hash_agrees_with_its_authors_vectors),
        cmocka_unit_test(numbers_are_written_without_printf),
        cmocka_unit_test(numbers_are_read_whole_or_not_at_all),
        cmocka_unit_test(a_string_is_cut_at_the_first_separator),
        cmocka_unit_test(a_word_with_few_wrong_letters_is_recognised),
        cmocka_unit_test(crc32c_agrees_with_the_published_check_value),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
