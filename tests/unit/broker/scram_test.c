/* SCRAM with the examples of RFC 7677 (SHA-256) and RFC 5802's rules. SPDX-License-Identifier: Apache-2.0 */
#include "test.h"

#include "base/base64.h"
#include "broker/scram.h"

static const char first[] = "n,,n=user,r=rOprNGfwEbeRWgbNEkqO";
static const char nonce[] = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
static const char final_message[] = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,"
                                    "p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";

static void pencil(struct scram_credential *ret)
{
    AUTO(buf_fini) struct buf salt = {0};

    assert_true(base64_decode(STR("W22ZaJ0SNY7soEsUEjb6gQ=="), &salt));
    scram_credential_of_password(SCRAM_SHA_256, buf_view(&salt), 4096, STR("pencil"), ret);
}

static void begin(struct scram *x, const char *message)
{
    AUTO(buf_fini) struct buf out = {0};
    struct scram_credential c;
    struct str user;
    struct err e;

    pencil(&c);
    scram_init(x, SCRAM_SHA_256);
    assert_int_equal(scram_first(x, str_of(message), &user, &e), RC_OK);
    scram_challenge(x, &c, str_of(nonce), &out);
    assert_str(buf_str(&out), "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096");
}

static void the_exchange_of_the_rfc_is_accepted(void **state)
{
    AUTO(scram_fini) struct scram x;
    AUTO(buf_fini) struct buf out = {0};
    struct err e;

    (void)state;
    begin(&x, first);
    assert_int_equal(scram_final(&x, str_of(final_message), &out, &e), RC_OK);
    assert_str(buf_str(&out), "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
}

/* Every byte of the client's final message changed, one at a time. */
static void nothing_but_the_right_proof_is_accepted(void **state)
{
    size_t n = sizeof final_message - 1;

    (void)state;
    for (size_t i = 0; i < n; i++) {
        AUTO(scram_fini) struct scram x;
        AUTO(buf_fini) struct buf out = {0};
        char changed[sizeof final_message];
        struct err e;

        memcpy(changed, final_message, sizeof changed);
        changed[i] ^= 1;
        begin(&x, first);
        assert_int_equal(scram_final(&x, str_of(changed), &out, &e), RC_AUTH);
        assert_int_equal(out.n, 0);
    }
}

/* The proofs are right: who knows the password made them, over what must not be. */
static void a_nonce_or_a_binding_that_is_not_ours_is_refused_though_the_proof_is_right(void **state)
{
    static const char *const finals[] = {
        "c=biws,r=rOprNGfwEbeRWgbNEkqO,"
        "p=O9uzSubb+3i48FupGqpwHCRwCzqSP7Ka+/+aEQLF0vQ=",
        "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k1,"
        "p=j2rVkvskaPcDY9Xk8/2R+GI7ha4BmKEngq4xsRysqBk=",
        "c=biws,r=sOprNGfwEbeRWgbNEkqOrOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,"
        "p=EPw3h9Wn2JiNNjd/ogudf3oLeKVH7VlTsdMOPa0yk4s=",
        "c=eSws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,"
        "p=FoqiHTtQEDE8lz1CdaEe3tK4mS+iMDTl77SPyDS53DY=",
        "c=,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,"
        "p=6VE4gUvL62nexvdy4ZPkOehSEQHBzwbNYx3O3vVAfcs=",
    };

    (void)state;
    for (size_t i = 0; i < countof(finals); i++) {
        AUTO(scram_fini) struct scram x;
        AUTO(buf_fini) struct buf out = {0};
        struct err e;

        begin(&x, first);
        assert_int_equal(scram_final(&x, str_of(finals[i]), &out, &e), RC_AUTH);
        assert_string_equal(e.text, "malformed SCRAM message");
        assert_int_equal(out.n, 0);
    }
}

static void the_mistake_of_old_librdkafka_is_forgiven(void **state)
{
    AUTO(scram_fini) struct scram x;
    AUTO(buf_fini) struct buf out = {0};
    struct err e;

    (void)state;
    begin(&x, first);
    assert_int_equal(scram_final(&x, STR("c=biws,r=rOprNGfwEbeRWgbNEkqOrOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,"
                                         "p=1Y75+q7XaCGJj/r6vyQWwoNxSzV5ksS8xhp5Lqyriec="), &out, &e), RC_OK);
    assert_str(buf_str(&out), "v=3svB0h5EwFJ/+WVn2GpJ5uBzW8HEv9nm1rcYAhYlm0A=");
    scram_fini(&x);
    begin(&x, first);
    assert_int_equal(scram_final(&x, STR("c=biws,r=sOprNGfwEbeRWgbNEkqOrOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,"
                                         "p=1Y75+q7XaCGJj/r6vyQWwoNxSzV5ksS8xhp5Lqyriec="), &out, &e), RC_AUTH);
}

static void first_messages_are_read_strictly(void **state)
{
    static const struct { const char *message, *user; } rows[] = {
        {"n,,n=user,r=x", "user"},
        {"n,a=user,n=user,r=x", "user"},
        {"n,,n=a=2Cb=3Dc,r=x", "a,b=c"},
        {"n,,n=user,r=x,ext=1", "user"},
        {"n,a=other,n=user,r=x", NULL}, /* nobody acts for somebody else */
        {"y,,n=user,r=x", NULL},
        {"p=tls-unique,,n=user,r=x", NULL},
        {"n,,n=,r=x", NULL},
        {"n,,n=user,r=", NULL},
        {"n,,n=a=2Eb,r=x", NULL},
        {"n,,n=a=2,r=x", NULL},
        {"n,,r=x,n=user", NULL},
        {"n,,m=ext,n=user,r=x", NULL},
        {"n,,n=user,r=x,tokenauth=true", NULL},
        {"", NULL},
        {"n", NULL},
        {"n,,", NULL},
    };

    (void)state;
    for (size_t i = 0; i < countof(rows); i++) {
        AUTO(scram_fini) struct scram x;
        struct str user;
        struct err e;
        enum rc rc;

        scram_init(&x, SCRAM_SHA_512);
        rc = scram_first(&x, str_of(rows[i].message), &user, &e);
        assert_int_equal(rc, rows[i].user ? RC_OK : RC_AUTH);
        if (rows[i].user) assert_str(user, rows[i].user);
    }
}

static void a_password_is_only_itself(void **state)
{
    struct scram_credential c, salted;
    uint8_t wrong[31] = {0};
    struct err e;

    (void)state;
    pencil(&c);
    assert_true(scram_password_is(&c, STR("pencil")));
    assert_false(scram_password_is(&c, STR("pencil ")));
    assert_false(scram_password_is(&c, STR("")));
    assert_int_equal(scram_credential_of_salted(SCRAM_SHA_256, bytes_of("salt", 4), 4096, bytes_of(wrong, sizeof wrong), &salted, &e),
                     RC_INVALID);
}

static void a_name_that_nobody_has_gets_the_same_challenge_each_time(void **state)
{
    struct scram_credential a, b, c;

    (void)state;
    scram_credential_unknown(SCRAM_SHA_256, STR("nobody"), bytes_of("secret", 6), &a);
    scram_credential_unknown(SCRAM_SHA_256, STR("nobody"), bytes_of("secret", 6), &b);
    scram_credential_unknown(SCRAM_SHA_256, STR("noone"), bytes_of("secret", 6), &c);
    assert_memory_equal(a.salt, b.salt, a.salt_n);
    assert_memory_not_equal(a.salt, c.salt, a.salt_n);
    assert_false(scram_password_is(&a, STR("")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_exchange_of_the_rfc_is_accepted),
        cmocka_unit_test(nothing_but_the_right_proof_is_accepted),
        cmocka_unit_test(a_nonce_or_a_binding_that_is_not_ours_is_refused_though_the_proof_is_right),
        cmocka_unit_test(the_mistake_of_old_librdkafka_is_forgiven),
        cmocka_unit_test(first_messages_are_read_strictly),
        cmocka_unit_test(a_password_is_only_itself),
        cmocka_unit_test(a_name_that_nobody_has_gets_the_same_challenge_each_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
