/* Who may call: the tokens' file, the endpoints' roles, the decision. SPDX-License-Identifier: Apache-2.0 */
#include "gateway/auth.h"
#include "net/strikes.h"
#include "test.h"
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static char path[64];

static void save(const char *text)
{
    char fresh[80];
    FILE *f;

    snprintf(fresh, sizeof fresh, "%s.new", path); /* another inode: a change that no clock is needed for */
    f = fopen(fresh, "w");
    fputs(text, f);
    fclose(f);
    chmod(fresh, 0600);
    rename(fresh, path);
}

static int folder_make(void **state)
{
    char folder[] = "/tmp/millrace-auth-XXXXXX";

    (void)state;
    if (!mkdtemp(folder)) return 1;
    snprintf(path, sizeof path, "%s/tokens", folder);
    return 0;
}

static int folder_drop(void **state)
{
    (void)state;
    unlink(path);
    *strrchr(path, '/') = 0;
    return rmdir(path);
}

/* ---- the file ---- */

static void a_file_of_tokens_is_read(void **state)
{
    struct tokens *t;
    struct err e;
    unsigned roles;
    struct str name;

    (void)state;
    /* the hash is of "pepper" and "hashed-token-0123456789" */
    assert_int_equal(tokens_parse(STR("# a comment\n\n infer,read \t shop  plain-token-0123456789 \r\n"
                                      "admin alice sha256:pepper:9f103c75b50d90364b0107f926cf80d200dc8a71a917509d675d8d13c1018e24\n"),
                                  "f", &t, &e), RC_OK);
    assert_int_equal(tokens_count(t), 2);
    assert_true(tokens_find(t, STR("plain-token-0123456789"), &roles, &name));
    assert_int_equal(roles, ROLE_INFER | ROLE_READ);
    assert_true(str_is(name, "shop"));
    assert_false(tokens_find(t, STR("plain-token-012345678"), &roles, &name));
    assert_true(tokens_find(t, STR("hashed-token-0123456789"), &roles, &name));
    assert_int_equal(roles, ROLE_ADMIN);
    assert_false(tokens_find(t, STR(""), &roles, &name));
    assert_false(tokens_find(t, STR("sha256:pepper:9f103c75b50d90364b0107f926cf80d200dc8a71a917509d675d8d13c1018e24"), &roles, &name));
    tokens_free(t);
}

static void what_is_wrong_with_a_line_is_said_without_the_token(void **state)
{
    static const struct { const char *text, *wanted; } cases[] = {
        {"admin alice\n", "f:1: ROLES NAME TOKEN is wanted, with spaces between them"},
        {"\nadmin alice a-token-0123456789 more\n", "f:2: ROLES NAME TOKEN is wanted, with spaces between them"},
        {"root alice a-token-0123456789\n", "f:1: the roles are infer, read and admin, with commas between them"},
        {"read, alice a-token-0123456789\n", "f:1: the roles are infer, read and admin, with commas between them"},
        {"admin alice short-token-15", "f:1: a token of fewer than 16 characters can be guessed: openssl rand -hex 32 makes a good one"},
        {"admin alice sha256:abc", "f:1: a hash is sha256:SALT:HEX, with 1 to 64 characters of salt and 64 digits"},
        {"admin alice sha256::0000000000000000000000000000000000000000000000000000000000000000", "f:1: a hash is sha256:SALT:HEX, with 1 to 64 characters of salt and 64 digits"},
        {"admin alice a-token-\x80-0123456789", "f:1: a token is at most 512 printable characters without spaces"},
    };

    (void)state;
    for (size_t i = 0; i < countof(cases); i++) {
        struct tokens *t;
        struct err e;

        assert_int_equal(tokens_parse(str_of(cases[i].text), "f", &t, &e), RC_INVALID);
        assert_string_equal(e.text, cases[i].wanted);
    }
}

/* ---- endpoints ---- */

static unsigned rest(const char *method, const char *at)
{
    return access_of(str_of(method), str_of(at), false).roles;
}

static void endpoints_need_roles(void **state)
{
    const unsigned any = ROLE_INFER | ROLE_READ;

    (void)state;
    assert_int_equal(rest("GET", "/v2/health/live"), 0);
    assert_int_equal(rest("GET", "/v2/health/live/"), any);
    assert_int_equal(rest("POST", "/v2/models/m/infer"), ROLE_INFER);
    assert_int_equal(rest("POST", "/v2/models//infer"), ROLE_INFER);
    assert_int_equal(rest("POST", "/v2/models/infer"), any); /* a model called infer: its metadata */
    assert_int_equal(rest("POST", "/v2/models/m/versions/1/infer"), ROLE_INFER);
    assert_int_equal(rest("GET", "/metrics"), ROLE_READ);
    assert_int_equal(rest("GET", "/millrace/v1/info"), ROLE_READ);
    assert_int_equal(rest("DELETE", "/millrace/v1/models/m"), ROLE_ADMIN);
    assert_int_equal(rest("PATCH", "/millrace/v1/"), ROLE_ADMIN);
    assert_int_equal(rest("get", "/millrace/v1/info"), ROLE_ADMIN); /* methods have a case */
    assert_int_equal(rest("GET", "/"), any);
    assert_true(access_of(STR("GET"), STR("/millrace/v1/info"), false).management);
    assert_int_equal(access_of(STR("POST"), STR("/millrace/v1/apply"), true).roles, any); /* as gRPC it is no such method */
    assert_int_equal(access_of(STR("POST"), STR("/inference.GRPCInferenceService/ModelInfer"), true).roles, ROLE_INFER);
}

/* ---- the decision ---- */

static struct addr local, remote;
static const struct access infer = {ROLE_INFER, false}, manage = {ROLE_ADMIN, true}, look = {ROLE_READ, true};

static enum auth_verdict decide(struct auth *a, const struct addr *peer, const char *header, struct access access, uint64_t now_ms)
{
    const struct auth_call c = {.peer = peer, .authorization = str_of(header), .access = access, .now_ms = now_ms};
    struct err e;
    bool token;

    return auth_decide(a, &c, &token, &e);
}

static struct auth *auth_of(struct auth_options o)
{
    struct auth *a = NULL;
    struct err e;

    assert_true(addr_literal(STR("127.0.0.1:1"), &local) && addr_literal(STR("192.0.2.7:1"), &remote));
    assert_int_equal(auth_new(&o, &a, &e), RC_OK);
    return a;
}

static void without_tokens_only_management_is_for_this_machine_alone(void **state)
{
    struct auth *a = auth_of((struct auth_options){.trust_loopback = true});

    (void)state;
    for (int i = 0; i < 2; i++) {
        struct auth *one = i ? a : NULL;

        assert_int_equal(decide(one, &remote, NULL, infer, 0), AUTH_GOOD);
        assert_int_equal(decide(one, &local, NULL, manage, 0), AUTH_GOOD);
        assert_int_equal(decide(one, &remote, NULL, manage, 0), AUTH_DENIED);
        assert_int_equal(decide(one, &remote, NULL, look, 0), AUTH_DENIED);
        assert_int_equal(decide(one, &remote, "Bearer admin-token-0123456789", manage, 0), AUTH_DENIED);
    }
    auth_free(a);
}

static void tokens_open_what_their_roles_say(void **state)
{
    struct auth *a;

    (void)state;
    save("infer i infer-token-0123456789\nread r read-token-0123456789\nadmin a admin-token-0123456789\n");
    a = auth_of((struct auth_options){.tokens_path = path, .trust_loopback = true});
    assert_int_equal(decide(a, &remote, NULL, infer, 0), AUTH_UNKNOWN);
    assert_int_equal(decide(a, &local, NULL, infer, 0), AUTH_UNKNOWN);
    assert_int_equal(decide(a, &local, NULL, manage, 0), AUTH_GOOD);
    assert_int_equal(decide(a, &remote, NULL, manage, 0), AUTH_UNKNOWN);
    for (int twice = 0; twice < 2; twice++) { /* the second time it is remembered */
        assert_int_equal(decide(a, &remote, "Bearer infer-token-0123456789", infer, 0), AUTH_GOOD);
        assert_int_equal(decide(a, &remote, "bearer  infer-token-0123456789", infer, 0), AUTH_GOOD);
        assert_int_equal(decide(a, &remote, "Bearer infer-token-0123456789", look, 0), AUTH_DENIED);
        assert_int_equal(decide(a, &local, "Bearer infer-token-0123456789", manage, 0), AUTH_DENIED); /* what is shown decides */
        assert_int_equal(decide(a, &remote, "Bearer read-token-0123456789", look, 0), AUTH_GOOD);
        assert_int_equal(decide(a, &remote, "Bearer read-token-0123456789", infer, 0), AUTH_DENIED);
        assert_int_equal(decide(a, &remote, "Bearer admin-token-0123456789", manage, 0), AUTH_GOOD);
        assert_int_equal(decide(a, &remote, "Bearer admin-token-0123456789", infer, 0), AUTH_GOOD);
    }
    assert_int_equal(decide(a, &remote, "Basic infer-token-0123456789", infer, 0), AUTH_UNKNOWN);
    assert_int_equal(decide(a, &remote, "Bearer", infer, 0), AUTH_UNKNOWN);
    assert_int_equal(decide(a, &remote, "Bearer ", infer, 0), AUTH_UNKNOWN);
    assert_int_equal(decide(a, &local, "Bearer wrong-token-0123456789", manage, 0), AUTH_UNKNOWN);
    auth_free(a);
}

static void a_file_that_changes_counts_within_a_second_and_one_that_is_broken_does_not(void **state)
{
    struct auth *a;

    (void)state;
    save("infer i infer-token-0123456789\n");
    a = auth_of((struct auth_options){.tokens_path = path});
    assert_int_equal(decide(a, &remote, "Bearer infer-token-0123456789", infer, 5000), AUTH_GOOD);
    save("infer i other-token-0123456789\n");
    assert_int_equal(decide(a, &remote, "Bearer infer-token-0123456789", infer, 5999), AUTH_GOOD);
    assert_int_equal(decide(a, &remote, "Bearer infer-token-0123456789", infer, 6000), AUTH_UNKNOWN);
    assert_int_equal(decide(a, &remote, "Bearer other-token-0123456789", infer, 6000), AUTH_GOOD);
    save("nonsense\n");
    assert_int_equal(decide(a, &remote, "Bearer other-token-0123456789", infer, 7000), AUTH_GOOD);
    unlink(path);
    assert_int_equal(decide(a, &remote, "Bearer other-token-0123456789", infer, 8000), AUTH_GOOD);
    save("# nobody any more\n");
    assert_int_equal(decide(a, &remote, "Bearer other-token-0123456789", infer, 9000), AUTH_UNKNOWN);
    auth_free(a);
}

static void an_address_that_guesses_is_barred_for_the_rest_of_a_minute(void **state)
{
    struct addr other, six, six_too;
    struct auth *a;

    (void)state;
    save("infer i infer-token-0123456789\nread r read-token-0123456789\n");
    a = auth_of((struct auth_options){.tokens_path = path});
    assert_true(addr_literal(STR("192.0.2.8:1"), &other) && addr_literal(STR("[2001:db8::1]:1"), &six) && addr_literal(STR("[2001:db8::ffff:2]:1"), &six_too));
    assert_int_equal(decide(a, &remote, "Bearer infer-token-0123456789", infer, 0), AUTH_GOOD);
    for (int i = 0; i < STRIKES_MAX; i++) assert_int_equal(decide(a, &remote, "Bearer wrong-token-0123456789", infer, 100), AUTH_UNKNOWN);
    assert_int_equal(decide(a, &remote, "Bearer wrong-token-0123456789", infer, 100), AUTH_BARRED);
    assert_int_equal(decide(a, &remote, "Bearer read-token-0123456789", look, 100), AUTH_BARRED);
    assert_int_equal(decide(a, &remote, "Bearer infer-token-0123456789", infer, 100), AUTH_GOOD);
    assert_int_equal(decide(a, &other, "Bearer read-token-0123456789", look, 100), AUTH_GOOD);
    assert_int_equal(decide(a, &remote, "Bearer read-token-0123456789", look, 100 + STRIKES_MS), AUTH_GOOD);
    for (int i = 0; i < STRIKES_MAX; i++) assert_int_equal(decide(a, &six, "Bearer wrong-token-0123456789", infer, 100), AUTH_UNKNOWN);
    assert_int_equal(decide(a, &six_too, "Bearer infer-token-0123456789", infer, 100), AUTH_BARRED); /* of the same network */
    auth_free(a);
}

static void certificates_stand_in_for_tokens_as_far_as_their_role_goes(void **state)
{
    struct auth_call c = {.peer = &remote, .certified = true, .access = infer};
    struct auth *a = auth_of((struct auth_options){.certificates = true, .certificate_roles = ROLE_INFER});
    struct err e;
    bool token;

    (void)state;
    assert_int_equal(auth_decide(a, &c, &token, &e), AUTH_GOOD);
    assert_false(token);
    c.access = look;
    assert_int_equal(auth_decide(a, &c, &token, &e), AUTH_DENIED);
    c = (struct auth_call){.peer = &remote, .access = infer};
    assert_int_equal(auth_decide(a, &c, &token, &e), AUTH_UNKNOWN);
    auth_free(a);
    save("infer i infer-token-0123456789\n");
    a = auth_of((struct auth_options){.tokens_path = path, .certificates = true});
    c = (struct auth_call){.peer = &remote, .certified = true, .access = infer};
    assert_int_equal(auth_decide(a, &c, &token, &e), AUTH_UNKNOWN); /* both are wanted */
    c.authorization = STR("Bearer infer-token-0123456789");
    assert_int_equal(auth_decide(a, &c, &token, &e), AUTH_GOOD);
    assert_true(token);
    auth_free(a);
}

static void what_a_proxy_passed_on_is_not_of_this_machine(void **state)
{
    struct auth_call c = {.peer = &local, .forwarded = true, .access = manage};
    struct auth *a;
    struct err e;
    bool token;

    (void)state;
    save("infer i infer-token-0123456789\n");
    a = auth_of((struct auth_options){.tokens_path = path, .trust_loopback = true});
    assert_int_equal(auth_decide(a, &c, &token, &e), AUTH_UNKNOWN);
    assert_int_equal(auth_decide(NULL, &c, &token, &e), AUTH_DENIED);
    c.forwarded = false;
    assert_int_equal(auth_decide(a, &c, &token, &e), AUTH_GOOD);
    auth_free(a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_file_of_tokens_is_read),
        cmocka_unit_test(what_is_wrong_with_a_line_is_said_without_the_token),
        cmocka_unit_test(endpoints_need_roles),
        cmocka_unit_test(without_tokens_only_management_is_for_this_machine_alone),
        cmocka_unit_test(tokens_open_what_their_roles_say),
        cmocka_unit_test(a_file_that_changes_counts_within_a_second_and_one_that_is_broken_does_not),
        cmocka_unit_test(an_address_that_guesses_is_barred_for_the_rest_of_a_minute),
        cmocka_unit_test(certificates_stand_in_for_tokens_as_far_as_their_role_goes),
        cmocka_unit_test(what_a_proxy_passed_on_is_not_of_this_machine),
    };
    return cmocka_run_group_tests(tests, folder_make, folder_drop);
}
