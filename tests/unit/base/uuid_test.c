/* SPDX-License-Identifier: Apache-2.0 */
#include "test.h"
#include "base/uuid.h"

static void the_text_form_is_url_safe_base64_without_padding(void **state)
{
    struct uuid u = {{0}}, back;
    char        text[UUID_TEXT_LEN + 1];

    (void)state;
    u.b[15] = 1;
    uuid_to_text(&u, text);
    assert_string_equal(text, "AAAAAAAAAAAAAAAAAAAAAQ");
    memset(u.b, 0xff, sizeof u.b);
    uuid_to_text(&u, text);
    assert_string_equal(text, "_____________________w");
    assert_true(uuid_from_text(str_of(text), &back));
    assert_true(uuid_eq(&u, &back));
}

static void random_ids_survive_text_and_never_look_like_an_option(void **state)
{
    (void)state;
    for (int i = 0; i < 1000; i++) {
        struct uuid u = uuid_random(), back;
        char        text[UUID_TEXT_LEN + 1];

        uuid_to_text(&u, text);
        assert_int_not_equal(text[0], '-');
        assert_false(uuid_is_zero(&u));
        assert_true(uuid_from_text(str_of(text), &back));
        assert_true(uuid_eq(&u, &back));
    }
}

static void texts_that_no_uuid_has_are_refused(void **state)
{
    static const char *const bad[] = {"", "AAAAAAAAAAAAAAAAAAAAA", "AAAAAAAAAAAAAAAAAAAAAAA", "AAAAAAAAAAAAAAAAAAAAA+",
                                      "AAAAAAAAAAAAAAAAAAAAAB"};
    struct uuid u;

    (void)state;
    for (size_t i = 0; i < countof(bad); i++) assert_false(uuid_from_text(str_of(bad[i]), &u));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_text_form_is_url_safe_base64_without_padding),
        cmocka_unit_test(random_ids_survive_text_and_never_look_like_an_option),
        cmocka_unit_test(texts_that_no_uuid_has_are_refused),
    };
    return cmocka_run_group_tests_name("base/uuid", tests, NULL, NULL);
}
