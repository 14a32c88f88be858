/* Logins on a whole broker: what is taken before one, what ends one, and what becomes of one that is on its way when the
 * broker goes. The tokens themselves are in sasl_test.c and scram_test.c. SPDX-License-Identifier: Apache-2.0 */
#include "broker/core.h"
#include "broker_client.h"
#include "test.h"

#include <openssl/crypto.h>

enum { FIRST_MS = 5000, SESSION_MS = 10000 }; /* a login that is renewed at once is refused */

struct door {
    struct rig g;
    struct client k;
};

static void user_add(struct rig *g, const char *name)
{
    struct scram_credential c;
    uint64_t seq;
    struct err e;

    scram_credential_of_password(SCRAM_SHA_256, bytes_of("salt", 4), 4096, str_of(name), &c);
    assert_int_equal(broker_user_set(g->b, str_of(name), &c, &seq, &e), RC_OK);
    OPENSSL_cleanse(&c, sizeof c);
}

/* Users ann and bob; each one's password is the name. */
static struct door *door_open(uint64_t seed)
{
    const struct broker_setting session = {STR("connections.max.reauth.ms"), STR("10000")};
    struct door *d = xnew(struct door);

    rig_init(&d->g, seed);
    d->g.opt.settings = &session;
    d->g.opt.settings_n = 1;
    assert_int_equal(rig_open(&d->g), RC_OK);
    user_add(&d->g, "ann");
    user_add(&d->g, "bob");
    d->g.listener->sasl = SASL_PLAIN | SASL_SCRAM_SHA_256;
    rig_settle(&d->g);
    client_open(&d->k, &d->g);
    return d;
}

static void door_close(struct door *d)
{
    client_close(&d->k);
    rig_close(&d->g);
    rig_fini(&d->g);
    free(d);
}

static int16_t handshake(struct door *d, const char *mechanism)
{
    struct sasl_handshake_request q = {.mechanism = str_of(mechanism)};
    struct sasl_handshake_response *a = client_ask(&d->k, KAFKA_SASL_HANDSHAKE, 1, &q);

    assert_non_null(a);
    return a->error_code;
}

static void token_send(struct door *d, const char *user, const char *password)
{
    struct str s = arena_printf(&d->k.arena, "%c%s%c%s", 0, user, 0, password);
    struct sasl_authenticate_request q = {.auth_bytes = str_bytes(s)};

    client_send(&d->k, KAFKA_SASL_AUTHENTICATE, 2, &q);
}

static struct sasl_authenticate_response *told(struct door *d)
{
    rig_settle(&d->g);
    return client_answer(&d->k, KAFKA_SASL_AUTHENTICATE, 2);
}

static struct sasl_authenticate_response *login(struct door *d, const char *user,
                                                const char *password)
{
    assert_int_equal(handshake(d, "PLAIN"), 0);
    token_send(d, user, password);
    return told(d);
}

static bool may_ask(struct door *d)
{
    struct metadata_request q = {.allow_auto_topic_creation = false};

    return client_ask(&d->k, KAFKA_METADATA, 12, &q) && !d->k.c.closed;
}

static void the_broker_goes_after_the_login_that_a_worker_is_at(void **state)
{
    struct door *d = door_open(1);

    (void)state;
    assert_int_equal(handshake(d, "PLAIN"), 0);
    d->g.hold_oldest = true;
    token_send(d, "ann", "ann");
    assert_int_equal(workers_runnable(d->g.workers), 1);
    assert_false(broker_is_drained(d->g.b));
    client_close(&d->k);
    rig_close(&d->g);
    assert_int_equal(workers_runnable(d->g.workers), 0);
    rig_fini(&d->g);
    free(d);
}

static void a_login_whose_client_is_gone_ends_without_an_answer(void **state)
{
    struct door *d = door_open(2);

    (void)state;
    assert_int_equal(handshake(d, "PLAIN"), 0);
    d->g.hold_oldest = true;
    token_send(d, "ann", "ann");
    client_close(&d->k);
    assert_true(workers_run_one(d->g.workers));
    rig_settle(&d->g);
    assert_true(broker_is_drained(d->g.b));
    d->g.hold_oldest = false;
    client_open(&d->k, &d->g);
    assert_int_equal(login(d, "ann", "ann")->error_code, 0);
    door_close(d);
}

static void before_a_login_nothing_but_the_exchange_is_taken(void **state)
{
    struct door *d = door_open(3);

    (void)state;
    assert_int_equal(handshake(d, "PLAIN"), 0);
    assert_false(may_ask(d));
    assert_true(d->k.c.closed);
    client_close(&d->k);
    client_open(&d->k, &d->g);
    assert_int_equal(login(d, "ann", "ann")->error_code, 0);
    assert_true(may_ask(d));
    door_close(d);
}

static void a_session_has_an_end_and_may_be_renewed_before_it(void **state)
{
    struct door *d = door_open(4);

    (void)state;
    assert_int_equal(login(d, "ann", "ann")->session_lifetime_ms, SESSION_MS);
    rig_advance(&d->g, FIRST_MS);
    assert_int_equal(login(d, "ann", "ann")->error_code, 0);
    rig_advance(&d->g, SESSION_MS - 1);
    assert_true(may_ask(d));
    rig_advance(&d->g, 1);
    assert_false(may_ask(d));
    assert_true(d->k.c.closed);
    door_close(d);
}

static void a_session_is_not_renewed_by_somebody_else(void **state)
{
    struct door *d = door_open(5);
    struct sasl_authenticate_response *a;

    (void)state;
    assert_int_equal(login(d, "ann", "ann")->error_code, 0);
    rig_advance(&d->g, FIRST_MS);
    assert_null(login(d, "bob", "bob")); /* a refusal waits */
    rig_advance(&d->g, FIRST_MS);
    a = client_answer(&d->k, KAFKA_SASL_AUTHENTICATE, 2);
    assert_int_equal(a->error_code, KAFKA_ERR_SASL_AUTHENTICATION_FAILED);
    assert_true(str_eq(a->error_message, STR("Cannot change principals during re-authentication")));
    assert_true(d->k.c.closed);
    door_close(d);
}

static void a_session_is_not_renewed_by_another_mechanism(void **state)
{
    struct door *d = door_open(6);
    struct sasl_authenticate_response *a;

    (void)state;
    assert_int_equal(login(d, "ann", "ann")->error_code, 0);
    rig_advance(&d->g, FIRST_MS);
    assert_int_equal(handshake(d, "SCRAM-SHA-256"), 0);
    token_send(d, "ann", "ann");
    rig_advance(&d->g, FIRST_MS);
    a = client_answer(&d->k, KAFKA_SASL_AUTHENTICATE, 2);
    assert_int_equal(a->error_code, KAFKA_ERR_SASL_AUTHENTICATION_FAILED);
    assert_true(d->k.c.closed);
    door_close(d);
}

static void an_address_that_fails_again_and_again_is_refused_unheard_for_a_minute(void **state)
{
    struct door *d = door_open(7);
    int refused = 0;

    (void)state;
    for (int i = 0; i < 20; i++) {
        struct sasl_authenticate_response *a;

        assert_null(login(d, "ann", "wrong"));
        rig_advance(&d->g, 2000);
        a = client_answer(&d->k, KAFKA_SASL_AUTHENTICATE, 2);
        refused += a && a->error_code == KAFKA_ERR_SASL_AUTHENTICATION_FAILED;
        client_close(&d->k);
        client_open(&d->k, &d->g);
    }
    assert_int_equal(refused, 20);
    assert_int_equal(handshake(d, "PLAIN"), 0);
    token_send(d, "ann", "ann"); /* the right one */
    assert_int_equal(workers_runnable(d->g.workers), 0);
    rig_advance(&d->g, 2000);
    assert_int_equal(told(d)->error_code, KAFKA_ERR_SASL_AUTHENTICATION_FAILED);
    client_close(&d->k);
    rig_advance(&d->g, 60000);
    client_open(&d->k, &d->g);
    assert_int_equal(login(d, "ann", "ann")->error_code, 0);
    door_close(d);
}

/* It need not send the message that ends the exchange. */
static void a_refused_token_counts_when_it_is_refused(void **state)
{
    struct sasl_authenticate_request q = {.auth_bytes = bytes_of("n,,\1auth=Bearer x\1\1", 20)};
    struct door *d = door_open(8);
    struct sasl_authenticate_response *a;

    (void)state;
    d->g.listener->sasl |= SASL_OAUTHBEARER;
    for (int i = 0; i < STRIKES_MAX; i++) {
        assert_int_equal(d->g.b->stats.logins_failed, i);
        assert_int_equal(handshake(d, "OAUTHBEARER"), 0);
        client_send(&d->k, KAFKA_SASL_AUTHENTICATE, 2, &q);
        a = told(d);
        assert_int_equal(a->error_code, 0);
        assert_true(str_is(bytes_str(a->auth_bytes), "{\"status\":\"invalid_token\"}"));
        client_close(&d->k);
        client_open(&d->k, &d->g);
    }
    assert_int_equal(handshake(d, "OAUTHBEARER"), 0);
    client_send(&d->k, KAFKA_SASL_AUTHENTICATE, 2, &q);
    rig_advance(&d->g, 6000);
    a = told(d);
    assert_int_equal(a->error_code, KAFKA_ERR_SASL_AUTHENTICATION_FAILED);
    assert_non_null(memmem(a->error_message.p, a->error_message.n, "too many attempts", 17));
    door_close(d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_broker_goes_after_the_login_that_a_worker_is_at),
        cmocka_unit_test(a_login_whose_client_is_gone_ends_without_an_answer),
        cmocka_unit_test(before_a_login_nothing_but_the_exchange_is_taken),
        cmocka_unit_test(a_session_has_an_end_and_may_be_renewed_before_it),
        cmocka_unit_test(a_session_is_not_renewed_by_somebody_else),
        cmocka_unit_test(a_session_is_not_renewed_by_another_mechanism),
        cmocka_unit_test(an_address_that_fails_again_and_again_is_refused_unheard_for_a_minute),
        cmocka_unit_test(a_refused_token_counts_when_it_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
