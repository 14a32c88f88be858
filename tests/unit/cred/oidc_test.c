/* SPDX-License-Identifier: Apache-2.0 */
#include "cred/oidc.h"
#include "test.h"

static const int64_t now_ms = INT64_C(1795406770000);
/* {"sub":"me","exp":1795410000} */
#define JWT "e30.eyJzdWIiOiJtZSIsImV4cCI6MTc5NTQxMDAwMH0.c2ln"

static enum rc answer(long status, const char *body, struct token *t, struct err *e)
{
    return oidc_answer(status, str_bytes(str_of(body)), now_ms, "https://idp/token", t, e);
}

static void a_token_lives_as_long_as_the_answer_says(void **state)
{
    static const struct { const char *body; int64_t expires_ms; const char *principal; } cases[] = {
        {"{\"access_token\":\"" JWT "\",\"token_type\":\"Bearer\",\"expires_in\":60}", 60000, "me"},
        {"{\"access_token\":\"" JWT "\",\"token_type\":\"bearer\",\"expires_in\":\"90\"}", 90000, "me"},
        {"{\"access_token\":\"" JWT "\"}", INT64_C(1795410000000) - INT64_C(1795406770000), "me"},
        {"{\"access_token\":\"opaque\",\"expires_in\":60.5}", 60000, ""},
        {"{\"access_token\":\"opaque\"}", 300000, ""},
        {"{\"access_token\":\"opaque\",\"expires_in\":1e300}", INT64_C(366) * 86400000, ""},
    };
    struct err e;

    (void)state;
    for (size_t i = 0; i < countof(cases); i++) {
        AUTO(token_fini) struct token t = {0};

        assert_int_equal(answer(200, cases[i].body, &t, &e), RC_OK);
        assert_int_equal(t.expires_ms - now_ms, cases[i].expires_ms);
        assert_string_equal(t.principal, cases[i].principal);
    }
}

static void an_answer_without_a_usable_token_is_refused(void **state)
{
    static const char *const bodies[] = {
        "", "<html>", "[]", "{}", "{\"access_token\":\"\"}", "{\"access_token\":5}", "{\"access_token\":\"a b\"}", "{\"access_token\":\"a\\u0000b\"}",
        "{\"access_token\":\"a\",\"token_type\":\"mac\"}", "{\"access_token\":\"e30.eyJleHAiOjF9.c2ln\"}",
    };
    struct err e;

    (void)state;
    for (size_t i = 0; i < countof(bodies); i++) {
        struct token t = {0};

        assert_int_equal(answer(200, bodies[i], &t, &e), RC_INVALID);
        assert_null(t.value.p);
    }
}

static void a_refusal_becomes_one_sentence_with_a_remedy(void **state)
{
    struct token t = {0};
    struct err e = {0};

    (void)state;
    assert_int_equal(answer(401, "{\"error\":\"invalid_client\",\"error_description\":\"no\\nsuch\"}", &t, &e), RC_AUTH);
    assert_string_equal(e.text, "SASL authentication failed: no token, since https://idp/token answers 401: invalid_client, no?such; check client_id and client_secret");
    assert_int_equal(answer(400, "{\"error\":\"invalid_scope\"}", &t, &e), RC_AUTH);
    assert_non_null(strstr(e.text, "check scope"));
    assert_int_equal(answer(404, "nothing here", &t, &e), RC_AUTH);
    assert_non_null(strstr(e.text, "token_endpoint_url"));
    assert_false(e.retry);
    assert_int_equal(answer(503, "", &t, &e), RC_UNAVAILABLE);
    assert_true(e.retry);
}

static void extensions_are_pairs(void **state)
{
    AUTO(token_fini) struct token t = {0};
    struct token bad = {0};
    struct err e;

    (void)state;
    assert_int_equal(oidc_extensions(STR("logicalCluster=lkc-1, identityPoolId = pool=2 ,"), &t, &e), RC_OK);
    assert_int_equal(t.extensions_n, 4);
    assert_string_equal(t.extensions[0], "logicalCluster");
    assert_string_equal(t.extensions[1], "lkc-1");
    assert_string_equal(t.extensions[2], "identityPoolId");
    assert_string_equal(t.extensions[3], "pool=2");
    assert_int_equal(oidc_extensions(STR("auth=x"), &bad, &e), RC_INVALID);
    assert_int_equal(oidc_extensions(STR("a1=x"), &bad, &e), RC_INVALID);
    assert_int_equal(oidc_extensions(STR("name"), &bad, &e), RC_INVALID);
    assert_int_equal(oidc_extensions(STR("a=b\x01" "c"), &bad, &e), RC_INVALID);
    token_fini(&bad);
}

static void options_that_can_never_work_are_refused_at_once(void **state)
{
    struct oidc_options o = {.method = STR("OIDC"), .client_id = STR("me"), .client_secret = STR("s"), .token_endpoint_url = STR("https://idp/token")};
    struct token_maker *m = NULL;
    struct err e;

    (void)state;
    assert_int_equal(oidc_maker_new(&o, &m, &e), RC_OK);
    token_maker_free(m);
    o.token_endpoint_url = STR("idp/token");
    assert_int_equal(oidc_maker_new(&o, &m, &e), RC_INVALID);
    o.token_endpoint_url = STR("https://idp/token");
    o.method = STR("magic");
    assert_int_equal(oidc_maker_new(&o, &m, &e), RC_INVALID);
    o.method = STR("");
    o.client_secret = STR("");
    assert_int_equal(oidc_maker_new(&o, &m, &e), RC_INVALID);
    assert_non_null(strstr(e.text, "client_secret"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_token_lives_as_long_as_the_answer_says),
        cmocka_unit_test(an_answer_without_a_usable_token_is_refused),
        cmocka_unit_test(a_refusal_becomes_one_sentence_with_a_remedy),
        cmocka_unit_test(extensions_are_pairs),
        cmocka_unit_test(options_that_can_never_work_are_refused_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
