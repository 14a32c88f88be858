/* SPDX-License-Identifier: Apache-2.0 */
#include "net/grpc.h"
#include "test.h"

static void messages_survive_percent_encoding(void **state)
{
    struct buf wire = {0}, back = {0};
    struct str text = STR("100% sure\n\xc3\xbc ~");

    (void)state;
    grpc_message_encode(&wire, text);
    assert_str(buf_str(&wire), "100%25 sure%0A%C3%BC ~");
    grpc_message_decode(&back, buf_str(&wire));
    assert_true(str_eq(buf_str(&back), text));
    buf_clear(&back);
    grpc_message_decode(&back, STR("a%zz%4"));
    assert_str(buf_str(&back), "a%zz%4");
    buf_fini(&wire);
    buf_fini(&back);
}

static void timeouts_are_read_and_written(void **state)
{
    static const struct {
        const char *text;
        uint64_t ms;
    } good[] = {{"1H", 3600000}, {"2M", 120000}, {"30S", 30000}, {"250m", 250},
                {"1u", 1},       {"1500u", 2},   {"1n", 1},      {"99999999S", 99999999000}};
    char text[GRPC_TIMEOUT_TEXT_MAX];
    uint64_t ms;

    (void)state;
    for (size_t i = 0; i < countof(good); i++) {
        assert_true(grpc_timeout_parse(str_of(good[i].text), &ms));
        assert_int_equal(ms, good[i].ms);
    }
    for (const char **bad = (const char *[]){"", "S", "1", "-1S", "1.5S", "123456789S", "1x", NULL};
         *bad; bad++)
        assert_false(grpc_timeout_parse(str_of(*bad), &ms));
    assert_str(grpc_timeout_text(250, text), "250m");
    assert_str(grpc_timeout_text(99999999, text), "99999999m");
    assert_str(grpc_timeout_text(100000000, text), "100000S");
}

static void gzip_is_bounded_and_checked(void **state)
{
    static const uint8_t zipped[] = {0x1f, 0x8b, 0x08, 0,    0,    0,    0,    0,    0x02,
                                     0x03, 0xe3, 0x62, 0xcd, 0x2d, 0xcd, 0x31, 0x34, 0,
                                     0,    0x8b, 0xf7, 0xdb, 0xf5, 0x07, 0,    0,    0};
    uint8_t bent[sizeof zipped];
    struct buf out = {0};
    struct err e;

    (void)state;
    assert_int_equal(gzip_inflate(bytes_of(zipped, sizeof zipped), 7, &out, &e), RC_OK);
    assert_str(buf_str(&out), "\x0a\x05mul10");
    buf_clear(&out);
    assert_int_equal(gzip_inflate(bytes_of(zipped, sizeof zipped), 6, &out, &e), RC_TOO_LARGE);
    for (size_t n = 0; n < sizeof zipped; n++) {
        assert_int_equal(gzip_inflate(bytes_of(zipped, n), 100, &out, &e), RC_INVALID);
        assert_int_equal(out.n, 0);
    }
    memcpy(bent, zipped, sizeof bent);
    bent[20] ^= 1; /* its checksum */
    assert_int_equal(gzip_inflate(bytes_of(bent, sizeof bent), 100, &out, &e), RC_INVALID);
    buf_fini(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(messages_survive_percent_encoding),
        cmocka_unit_test(timeouts_are_read_and_written),
        cmocka_unit_test(gzip_is_bounded_and_checked),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
