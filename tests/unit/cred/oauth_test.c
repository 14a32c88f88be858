/* Bearer tokens, signed here: which are taken, and why the others are not. SPDX-License-Identifier: Apache-2.0 */
#include "base/buf.h"
#include "cred/oauth.h"
#include "test.h"
#include <cjose/cjose.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { NOW = 1700000000 };

struct issuer {
    char path[64];
    cjose_jwk_t *key;
    struct oauth *oauth;
};

static cjose_jwk_t *key_new(const char *kid)
{
    cjose_err why;
    cjose_jwk_t *key = cjose_jwk_create_EC_random(CJOSE_JWK_EC_P_256, &why);

    assert_non_null(key);
    assert_true(cjose_jwk_set_kid(key, kid, strlen(kid), &why));
    return key;
}

/* The file has this one key. Its time is set, so that a change is seen however fast the test is. */
static void publish(const struct issuer *i, const cjose_jwk_t *key, int64_t changed_s)
{
    struct timespec times[2] = {{.tv_sec = changed_s}, {.tv_sec = changed_s}};
    FILE *f = fopen(i->path, "we");
    cjose_err why;
    char *text = cjose_jwk_to_json(key, false, &why);

    assert_non_null(f);
    assert_non_null(text);
    fprintf(f, "{\"keys\": [%s]}", text);
    assert_int_equal(fflush(f), 0);
    assert_int_equal(futimens(fileno(f), times), 0);
    fclose(f);
    free(text);
}

static int set_up(void **state)
{
    struct issuer *i = xnew(struct issuer);
    int fd;

    snprintf(i->path, sizeof i->path, "/tmp/millrace-jwks-XXXXXX");
    fd = mkstemp(i->path);
    if (fd < 0) return -1;
    close(fd);
    i->key = key_new("one");
    publish(i, i->key, 1);
    i->oauth = oauth_new(&(struct oauth_options){
        .jwks = str_of(i->path), .issuer = STR("https://issuer"), .audience = STR("kafka"), .scope = STR("produce")});
    *state = i;
    return 0;
}

static int tear_down(void **state)
{
    struct issuer *i = *state;

    unlink(i->path);
    cjose_jwk_release(i->key);
    oauth_free(i->oauth);
    free(i);
    return 0;
}

static void sign(const cjose_jwk_t *key, const char *kid, const char *claims, struct buf *ret)
{
    cjose_err why;
    cjose_header_t *h = cjose_header_new(&why);
    const char *text;
    cjose_jws_t *jws;

    assert_true(cjose_header_set(h, CJOSE_HDR_ALG, CJOSE_HDR_ALG_ES256, &why) && cjose_header_set(h, CJOSE_HDR_KID, kid, &why));
    jws = cjose_jws_sign(key, h, (const uint8_t *)claims, strlen(claims), &why);
    assert_non_null(jws);
    assert_true(cjose_jws_export(jws, &text, &why));
    buf_append_str(ret, str_of(text));
    cjose_jws_release(jws);
    cjose_header_release(h);
}

static enum rc verify_with(struct issuer *i, const cjose_jwk_t *key, const char *kid, const char *claims, int64_t now_s,
                           struct oauth_login *ret, struct err *e)
{
    AUTO(buf_fini) struct buf token = {0};

    *ret = (struct oauth_login){0};
    sign(key, kid, claims, &token);
    return oauth_verify(i->oauth, buf_str(&token), now_s, ret, e);
}

static void assert_taken(struct issuer *i, const char *claims, int64_t expires_s)
{
    struct oauth_login l;
    struct err e = {0};

    if (verify_with(i, i->key, "one", claims, NOW, &l, &e)) fail_msg("%s", e.text);
    assert_str(l.user, "alice");
    assert_int_equal(l.expires_s, expires_s);
    oauth_login_fini(&l);
}

static void assert_refused(struct issuer *i, const char *claims, const char *why)
{
    struct oauth_login l;
    struct err e;

    assert_int_equal(verify_with(i, i->key, "one", claims, NOW, &l, &e), RC_AUTH);
    assert_non_null(strstr(e.text, why));
}

#define OURS "\"iss\": \"https://issuer\", \"aud\": \"kafka\", \"scope\": \"produce\", \"sub\": \"alice\""

static void what_is_for_us_and_holds_is_taken(void **state)
{
    assert_taken(*state, "{" OURS ", \"exp\": 1700000100}", NOW + 100);
    assert_taken(*state, "{\"iss\": \"https://issuer\", \"aud\": [\"else\", \"kafka\"], \"scp\": [\"produce\"], \"sub\": \"alice\", "
                         "\"exp\": 1700000100, \"nbf\": 1699999999, \"iat\": 1699999999}", NOW + 100);
    assert_taken(*state, "{\"iss\": \"https://issuer\", \"aud\": \"kafka\", \"scope\": \"consume produce\", \"sub\": \"alice\", \"exp\": 1700000100}", NOW + 100);
}

static void clocks_may_differ_by_half_a_minute(void **state)
{
    assert_taken(*state, "{" OURS ", \"exp\": 1699999971}", NOW + 1);
    assert_refused(*state, "{" OURS ", \"exp\": 1699999970}", "has expired, 30 s ago");
    assert_taken(*state, "{" OURS ", \"exp\": 1700000100, \"nbf\": 1700000030, \"iat\": 1700000030}", NOW + 100);
    assert_refused(*state, "{" OURS ", \"exp\": 1700000100, \"nbf\": 1700000031}", "not good yet");
    assert_refused(*state, "{" OURS ", \"exp\": 1700000100, \"iat\": 1700000031}", "issued in the future");
    assert_refused(*state, "{" OURS "}", "no exp");
}

static void what_is_for_others_is_refused(void **state)
{
    assert_refused(*state, "{\"iss\": \"https://other\", \"aud\": \"kafka\", \"scope\": \"produce\", \"sub\": \"alice\", \"exp\": 1700000100}", "another issuer");
    assert_refused(*state, "{\"iss\": \"https://issuer\", \"aud\": [\"kafka2\"], \"scope\": \"produce\", \"sub\": \"alice\", \"exp\": 1700000100}", "another audience");
    assert_refused(*state, "{\"iss\": \"https://issuer\", \"scope\": \"produce\", \"sub\": \"alice\", \"exp\": 1700000100}", "another audience");
    assert_refused(*state, "{\"iss\": \"https://issuer\", \"aud\": \"kafka\", \"scope\": \"produced\", \"sub\": \"alice\", \"exp\": 1700000100}", "lacks the scope");
    assert_refused(*state, "{\"iss\": \"https://issuer\", \"aud\": \"kafka\", \"scope\": \"produce\", \"sub\": \"\", \"exp\": 1700000100}", "names nobody");
    assert_refused(*state, "[1]", "no JSON");
}

static void a_key_that_is_not_published_signs_nothing(void **state)
{
    struct issuer *i = *state;
    cjose_jwk_t *other = key_new("one"), *unknown = key_new("two");
    struct oauth_login l;
    struct err e;

    assert_int_equal(verify_with(i, other, "one", "{" OURS ", \"exp\": 1700000100}", NOW, &l, &e), RC_AUTH);
    assert_non_null(strstr(e.text, "signature does not hold"));
    assert_int_equal(verify_with(i, unknown, "two", "{" OURS ", \"exp\": 1700000100}", NOW, &l, &e), RC_AUTH);
    assert_non_null(strstr(e.text, "not among those"));
    publish(i, unknown, 2);                      /* a file that has changed is read at once */
    if (verify_with(i, unknown, "two", "{" OURS ", \"exp\": 1700000100}", NOW, &l, &e)) fail_msg("%s", e.text);
    oauth_login_fini(&l);
    cjose_jwk_release(other);
    cjose_jwk_release(unknown);
}

/* Whoever shows tokens of made-up keys must not make the broker ask for the set again and again. */
static void a_set_without_the_key_is_not_read_again_within_ten_seconds(void **state)
{
    struct issuer *i = *state;
    cjose_jwk_t *next = key_new("two");
    const char *claims = "{" OURS ", \"exp\": 1700000100}";
    struct oauth_login l;
    struct err e;

    assert_taken(i, claims, NOW + 100);
    publish(i, next, 1);                         /* as at an address: nobody sees the change from outside */
    assert_int_equal(verify_with(i, next, "two", claims, NOW + 9, &l, &e), RC_AUTH);
    if (verify_with(i, next, "two", claims, NOW + 10, &l, &e)) fail_msg("%s", e.text);
    oauth_login_fini(&l);
    cjose_jwk_release(next);
}

static void keys_that_cannot_be_had_anew_stay_in_use(void **state)
{
    struct issuer *i = *state;
    const char *claims = "{" OURS ", \"exp\": 1800000000}";
    struct oauth_login l;
    struct err e;

    assert_taken(i, claims, 1800000000);
    assert_int_equal(unlink(i->path), 0);
    if (verify_with(i, i->key, "one", claims, NOW + 4000, &l, &e)) fail_msg("%s", e.text);
    oauth_login_fini(&l);
    oauth_free(i->oauth);
    i->oauth = oauth_new(&(struct oauth_options){.jwks = str_of(i->path)});
    assert_int_equal(verify_with(i, i->key, "one", claims, NOW, &l, &e), RC_UNAVAILABLE);
}

static void assert_roles(struct issuer *i, const char *claim, const char *claims, const char *wanted)
{
    struct oauth_login l;
    struct err e = {0};

    oauth_free(i->oauth);
    i->oauth = oauth_new(&(struct oauth_options){.jwks = str_of(i->path), .roles = str_of(claim)});
    if (verify_with(i, i->key, "one", claims, NOW, &l, &e)) fail_msg("%s", e.text);
    assert_str(l.roles, wanted);
    oauth_login_fini(&l);
}

static void roles_are_the_words_of_a_claim(void **state)
{
    assert_roles(*state, "roles", "{" OURS ", \"exp\": 1800000000, \"roles\": [\"a\", 7, \"b c\"]}", "a b c ");
    assert_roles(*state, "scope", "{" OURS ", \"exp\": 1800000000}", "produce ");
    assert_roles(*state, "realm_access.roles", "{" OURS ", \"exp\": 1800000000, \"realm_access\": {\"roles\": [\"x\"]}}", "x ");
    assert_roles(*state, "https://a.example/roles", "{" OURS ", \"exp\": 1800000000, \"https://a.example/roles\": \"y\"}", "y ");
    assert_roles(*state, "roles", "{" OURS ", \"exp\": 1800000000}", "");
    assert_roles(*state, "sub.roles", "{" OURS ", \"exp\": 1800000000}", "");
    assert_roles(*state, "roles", "{" OURS ", \"exp\": 1800000000, \"roles\": {\"a\": true}}", "");
}

/* Nobody listens there: whoever waited would fail otherwise. */
static void keys_at_an_address_are_got_by_others_where_waiting_is_not_allowed(void **state)
{
    struct issuer *i = *state;
    const char *claims = "{" OURS ", \"exp\": 1800000000}";
    struct oauth_login l;
    struct err e;
    cjose_jwk_t *other = key_new("two");
    char text[2000];
    FILE *f = fopen(i->path, "re");

    text[fread(text, 1, sizeof text - 1, f)] = 0;
    fclose(f);
    oauth_free(i->oauth);
    i->oauth = oauth_new(&(struct oauth_options){.jwks = STR("http://127.0.0.1:9/keys"), .elsewhere = true});
    assert_int_equal(verify_with(i, i->key, "one", claims, NOW, &l, &e), RC_UNAVAILABLE);
    assert_non_null(strstr(e.text, "try again in a second"));
    assert_true(oauth_wants_keys(i->oauth, NOW));
    assert_false(oauth_wants_keys(i->oauth, NOW + 9)); /* they are being got */
    assert_int_equal(oauth_keys_put(i->oauth, bytes_of("{}", 2), NOW, &e), RC_UNAVAILABLE);
    assert_int_equal(oauth_keys_put(i->oauth, str_bytes(str_of(text)), NOW, &e), RC_OK);
    assert_int_equal(verify_with(i, i->key, "one", claims, NOW, &l, &e), RC_OK);
    oauth_login_fini(&l);
    assert_int_equal(verify_with(i, other, "two", claims, NOW + 9, &l, &e), RC_AUTH);
    assert_false(oauth_wants_keys(i->oauth, NOW + 20));
    assert_int_equal(verify_with(i, other, "two", claims, NOW + 20, &l, &e), RC_UNAVAILABLE);
    assert_true(oauth_wants_keys(i->oauth, NOW + 20));
    assert_int_equal(verify_with(i, i->key, "one", claims, NOW + 4000, &l, &e), RC_OK); /* old ones are used meanwhile */
    oauth_login_fini(&l);
    assert_true(oauth_wants_keys(i->oauth, NOW + 4000));
    cjose_jwk_release(other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_is_for_us_and_holds_is_taken, set_up, tear_down),
        cmocka_unit_test_setup_teardown(clocks_may_differ_by_half_a_minute, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_is_for_others_is_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_key_that_is_not_published_signs_nothing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_set_without_the_key_is_not_read_again_within_ten_seconds, set_up, tear_down),
        cmocka_unit_test_setup_teardown(keys_that_cannot_be_had_anew_stay_in_use, set_up, tear_down),
        cmocka_unit_test_setup_teardown(roles_are_the_words_of_a_claim, set_up, tear_down),
        cmocka_unit_test_setup_teardown(keys_at_an_address_are_got_by_others_where_waiting_is_not_allowed, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
