/* SPDX-License-Identifier: Apache-2.0
 *
 * The five errors in the words of the field: recognised by the library's codes and texts, carried by an err and found in it again.
 */
#include "bus/trouble.h"
#include "base/diag.h"
#include "test.h"
#include <librdkafka/rdkafka.h>

static void assert_trouble(int code, const char *text, enum trouble_kind kind, const char *remedy_has)
{
    struct trouble t = {0};

    assert_true(trouble_of_code(code, text, &t));
    assert_string_equal(trouble_name(t.kind), trouble_name(kind));
    if (!strstr(t.remedy, remedy_has)) fail_msg("\"%s\": the remedy is \"%s\"", text, t.remedy);
}

static void what_the_library_says_has_a_name_and_a_remedy(void **state)
{
    (void)state;
    assert_trouble(RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN, "1/1 brokers are down", TROUBLE_BROKER, "kafka.bootstrap");
    assert_trouble(RD_KAFKA_RESP_ERR__RESOLVE, "Failed to resolve 'nowhere:9092': Name or service not known", TROUBLE_BROKER, "resolve here");
    assert_trouble(RD_KAFKA_RESP_ERR__TRANSPORT,
                   "Disconnected while requesting ApiVersion: might be caused by incorrect security.protocol configuration (connecting to a SSL listener?)",
                   TROUBLE_BROKER, "security.kafka.protocol");
    assert_trouble(RD_KAFKA_RESP_ERR__AUTHENTICATION, "SASL authentication error: Authentication failed during authentication due to invalid credentials",
                   TROUBLE_SASL, "username, password and mechanism");
    assert_trouble(RD_KAFKA_RESP_ERR__AUTHENTICATION, "SASL PLAIN mechanism handshake failed: Broker: Unsupported SASL mechanism: broker's supported mechanisms: SCRAM-SHA-512",
                   TROUBLE_SASL, "security.kafka.sasl.mechanism");
    assert_trouble(RD_KAFKA_RESP_ERR__SSL, "SSL handshake failed: certificate verify failed: hostname mismatch", TROUBLE_TLS, "advertised listeners");
    assert_trouble(RD_KAFKA_RESP_ERR__SSL, "SSL handshake failed: error:1408F10B:SSL routines: wrong version number: connecting to a PLAINTEXT broker listener?",
                   TROUBLE_TLS, "speaks no TLS");
    assert_trouble(RD_KAFKA_RESP_ERR__SSL, "Receive failed: error:0A000126:SSL routines::unexpected eof while reading (after 5ms in state SSL_HANDSHAKE)", TROUBLE_TLS,
                   "seems to speak no TLS");
    assert_trouble(RD_KAFKA_RESP_ERR__SSL, "Receive failed: error:0A000126:SSL routines::unexpected eof while reading (after 123ms in state UP)", TROUBLE_BROKER,
                   "check that Kafka runs");
    assert_trouble(RD_KAFKA_RESP_ERR__SSL, "tlsv13 alert certificate required", TROUBLE_TLS, "client certificate");
    assert_trouble(RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE, "Broker: Message size too large", TROUBLE_SIZE, "messageMaxBytes");
}

static void what_is_none_of_them_is_not_taken_for_one(void **state)
{
    struct trouble t = {.kind = TROUBLE_NONE};
    struct err e;

    (void)state;
    assert_false(trouble_of_code(RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED, "Broker: Topic authorization failed", &t));
    assert_false(trouble_of_code(0, NULL, &t));
    err_set(&e, RC_INVALID, "Kafka: something else");
    assert_false(trouble_of_err(&e, &t));
    assert_int_equal(t.kind, TROUBLE_NONE);
}

static void an_err_carries_it_and_gives_it_back(void **state)
{
    struct trouble t = trouble_make(TROUBLE_SIZE, "a record for %s has 9 bytes\n", "t"), back;
    struct err e;

    (void)state;
    assert_int_equal(trouble_err(&t, &e), RC_TOO_LARGE);
    err_in(&e, "pipeline p");
    assert_string_equal(e.text, "pipeline p: Message too large: a record for t has 9 bytes (raise messageMaxBytes of consumer and producer, and the topic's max.message.bytes)");
    assert_true(trouble_of_err(&e, &back));
    assert_int_equal(back.kind, TROUBLE_SIZE);
    assert_string_equal(back.cause, "a record for t has 9 bytes");
    assert_string_equal(back.remedy, t.remedy);
    assert_true(trouble_of_code(RD_KAFKA_RESP_ERR__SSL, "x (1/2): wrong version number", &t));
    trouble_err(&t, &e);
    assert_true(trouble_of_err(&e, &back));
    assert_string_equal(back.remedy, t.remedy);
    assert_string_equal(back.cause, "x (1/2): wrong version number");
}

static void a_refusal_is_not_hidden_by_its_consequence(void **state)
{
    struct trouble sasl = trouble_make(TROUBLE_SASL, "wrong password"), down = trouble_make(TROUBLE_BROKER, "1/1 brokers are down"), now;

    (void)state;
    diag_silence(true);
    assert_false(trouble_now(&now));
    trouble_say(&down);
    assert_true(trouble_now(&now));
    assert_int_equal(now.kind, TROUBLE_BROKER);
    trouble_say(&sasl);
    trouble_say(&down);
    assert_true(trouble_now(&now));
    assert_int_equal(now.kind, TROUBLE_SASL);
    assert_int_equal(trouble_count(TROUBLE_BROKER), 2);
    trouble_gone();
    assert_false(trouble_now(&now));
    trouble_say(&down);
    assert_true(trouble_now(&now));
    assert_int_equal(now.kind, TROUBLE_BROKER);
    diag_silence(false);
}

/* What the library makes of a broker that is killed while we speak TLS to it, in its order. */
static void a_broker_that_hangs_up_and_is_gone_is_not_one_without_tls(void **state)
{
    struct trouble guess, down = trouble_make(TROUBLE_BROKER, "2/2 brokers are down"), gone, now;

    (void)state;
    diag_silence(true);
    assert_true(trouble_of_code(RD_KAFKA_RESP_ERR__SSL, "kafka:1/1: SSL handshake failed: Disconnected: connecting to a PLAINTEXT broker listener? (after 0ms in state SSL_HANDSHAKE)",
                                &guess));
    assert_true(trouble_of_code(RD_KAFKA_RESP_ERR__TRANSPORT, "kafka:1/1: Connect to ipv4#127.0.0.1:1 failed: Connection refused (after 0ms in state CONNECT)", &gone));
    trouble_say(&guess);
    trouble_say(&down);
    assert_true(trouble_now(&now));
    assert_int_equal(now.kind, TROUBLE_TLS);
    trouble_say(&gone);
    assert_true(trouble_now(&now));
    assert_int_equal(now.kind, TROUBLE_BROKER);
    assert_non_null(strstr(now.remedy, "check that Kafka runs"));
    trouble_gone();
    assert_true(trouble_of_code(RD_KAFKA_RESP_ERR__SSL, "SSL handshake failed: certificate verify failed: certificate has expired", &guess));
    trouble_say(&guess);
    trouble_say(&gone);
    assert_true(trouble_now(&now));
    assert_int_equal(now.kind, TROUBLE_TLS);     /* another broker may be away beside it */
    trouble_gone();
    diag_silence(false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_the_library_says_has_a_name_and_a_remedy),
        cmocka_unit_test(what_is_none_of_them_is_not_taken_for_one),
        cmocka_unit_test(an_err_carries_it_and_gives_it_back),
        cmocka_unit_test(a_refusal_is_not_hidden_by_its_consequence),
        cmocka_unit_test(a_broker_that_hangs_up_and_is_gone_is_not_one_without_tls),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
