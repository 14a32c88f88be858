/* The tokens were made by aws-msk-iam-sasl-signer-python 1.0.2 with its clock stopped; tests/e2e/test_110_aws_credentials.py asks it again.
 * SPDX-License-Identifier: Apache-2.0 */
#include "cred/msk.h"
#include "test.h"

static const char user_agent[] = "aws-msk-iam-sasl-signer-python/1.0.2";

static void a_token_is_the_one_the_vendors_signer_makes(void **state)
{
    AUTO(buf_fini) struct buf b = {0};

    (void)state;
    msk_token(&(struct msk_signing){.region = STR("us-east-1"), .id = STR("AKIDEXAMPLE"), .secret = STR("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"),
                                    .user_agent = str_of(user_agent), .now_s = 1795406770}, &b);
    assert_string_equal(buf_cstr(&b),
        "aHR0cHM6Ly9rYWZrYS51cy1lYXN0LTEuYW1hem9uYXdzLmNvbS8_QWN0aW9uPWthZmthLWNsdXN0ZXIlM0FDb25uZWN0JlgtQW16LUFsZ29yaXRobT1BV1M0LUhNQUMtU0hBMjU2JlgtQW16LUNyZWRlbnRpYWw9QUtJREVYQU1QTEUlMkYyMDI2MTEyMyUyRnVzLWVhc3QtMSUyRmthZmthLWNsdXN0ZXIlMkZhd3M0X3JlcXVlc3QmWC1BbXotRGF0ZT0yMDI2MTEyM1QwNDA2MTBaJlgtQW16LUV4cGlyZXM9OTAwJlgtQW16LVNpZ25lZEhlYWRlcnM9aG9zdCZYLUFtei1TaWduYXR1cmU9ZDJiZDQxMTkyODBiYjE1NDA1MDZkNjZjN2RlMTNhN2FmMTE4MmMyMTUxZDMyODkzMzY2MzEzM2JmYTExYWY4NyZVc2VyLUFnZW50PWF3cy1tc2staWFtLXNhc2wtc2lnbmVyLXB5dGhvbiUyRjEuMC4y");
}

static void a_session_token_with_special_characters_is_signed_sorted_and_sent_behind(void **state)
{
    AUTO(buf_fini) struct buf b = {0};

    (void)state;
    msk_token(&(struct msk_signing){.region = STR("eu-west-1"), .id = STR("ASIA"), .secret = STR("s/+=&%"), .session = STR("tok+/=en~ *&x\""),
                                    .user_agent = str_of(user_agent), .now_s = 1}, &b);
    assert_string_equal(buf_cstr(&b),
        "aHR0cHM6Ly9rYWZrYS5ldS13ZXN0LTEuYW1hem9uYXdzLmNvbS8_QWN0aW9uPWthZmthLWNsdXN0ZXIlM0FDb25uZWN0JlgtQW16LUFsZ29yaXRobT1BV1M0LUhNQUMtU0hBMjU2JlgtQW16LUNyZWRlbnRpYWw9QVNJQSUyRjE5NzAwMTAxJTJGZXUtd2VzdC0xJTJGa2Fma2EtY2x1c3RlciUyRmF3czRfcmVxdWVzdCZYLUFtei1EYXRlPTE5NzAwMTAxVDAwMDAwMVomWC1BbXotRXhwaXJlcz05MDAmWC1BbXotU2lnbmVkSGVhZGVycz1ob3N0JlgtQW16LVNlY3VyaXR5LVRva2VuPXRvayUyQiUyRiUzRGVufiUyMCUyQSUyNnglMjImWC1BbXotU2lnbmF0dXJlPTdlMzhhZWVlM2ZjMzg2NTRhZDM0NmNiODhlZTExMzMxNjk4MTM2YjA4MzA3OTI3ZjU2ZTA0NDBiNWE0MTQyZTkmVXNlci1BZ2VudD1hd3MtbXNrLWlhbS1zYXNsLXNpZ25lci1weXRob24lMkYxLjAuMg");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_token_is_the_one_the_vendors_signer_makes),
        cmocka_unit_test(a_session_token_with_special_characters_is_signed_sorted_and_sent_behind),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
