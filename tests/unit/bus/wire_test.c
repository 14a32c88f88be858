/* SPDX-License-Identifier: Apache-2.0
 *
 * A connection of ours to a broker that means no good: it dribbles, asks for a weak proof of the password, does not know it either, or
 * has a certificate for somebody else.
 */
#include "bus/wire.h"
#include "bus/bus.h"
#include "sys/clock.h"
#include "test.h"
#include "certificate.h"
#include <netinet/in.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

enum { TIMEOUT_MS = 400, DRIBBLE_MS = 20, PATIENCE_MS = 10000, AUTH_BYTES_AT = 22 };

struct broker {
    void (*serve)(struct broker *b, int fd);
    pthread_t thread;
    int listener;
    uint16_t port;
    SSL_CTX *tls;
    int iterations;
    const char *salt;
    const char *says;                            /* to a token; empty: it is taken */
    unsigned asked;                              /* SaslAuthenticate requests */
    char shown[128];                             /* what the client showed; control characters as '|' */
    bool in_time;                                /* the client left by itself */
};

static void *broker_main(void *arg)
{
    struct broker *b = arg;
    int fd = accept(b->listener, NULL, NULL);

    assert_true(fd >= 0);
    b->serve(b, fd);
    close(fd);
    return NULL;
}

static void broker_start(struct broker *b)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof at;

    signal(SIGPIPE, SIG_IGN);
    b->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(b->listener, (struct sockaddr *)&at, n), 0);
    assert_int_equal(listen(b->listener, 4), 0);
    assert_int_equal(getsockname(b->listener, (struct sockaddr *)&at, &n), 0);
    b->port = ntohs(at.sin_port);
    assert_int_equal(pthread_create(&b->thread, NULL, broker_main, b), 0);
}

static void broker_end(struct broker *b)
{
    pthread_join(b->thread, NULL);
    close(b->listener);
}

/* ---- what the brokers do ---- */

static void dribble(struct broker *b, int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLRDHUP};
    static const uint8_t size[4] = {0, 1, 0, 0};

    if (write(fd, size, sizeof size) != (ssize_t)sizeof size) return;
    for (int spent = 0; spent < PATIENCE_MS; spent += DRIBBLE_MS) {
        if (poll(&p, 1, DRIBBLE_MS) > 0 || write(fd, "x", 1) != 1) {
            b->in_time = true;
            return;
        }
    }
}

static bool frame_read(int fd, uint8_t frame[1024], size_t *ret_n)
{
    uint8_t size[4];

    if (recv(fd, size, sizeof size, MSG_WAITALL) != (ssize_t)sizeof size) return false;
    *ret_n = load_be32(size);
    return *ret_n <= 1024 && recv(fd, frame, *ret_n, MSG_WAITALL) == (ssize_t)*ret_n;
}

static void frame_write(int fd, struct bytes body)
{
    AUTO(buf_fini) struct buf b = {0};

    store_be32(buf_grow(&b, 4), (uint32_t)body.n + 4);
    store_be32(buf_grow(&b, 4), 1);
    buf_append(&b, body);
    assert_int_equal(write(fd, b.p, b.n), (ssize_t)b.n);
}

static void answer_authenticate(int fd, struct str bytes)
{
    AUTO(buf_fini) struct buf b = {0};

    buf_append(&b, bytes_of("\0\0\377\377", 4));
    store_be32(buf_grow(&b, 4), (uint32_t)bytes.n);
    buf_append_str(&b, bytes);
    frame_write(fd, buf_view(&b));
}

/* It takes SCRAM, and does not know the password. */
static void scram(struct broker *b, int fd)
{
    AUTO(buf_fini) struct buf first = {0};
    uint8_t frame[1024];
    struct str message, nonce;
    size_t n;

    assert_true(frame_read(fd, frame, &n));
    frame_write(fd, bytes_of("\0\0\0\0\0\0", 6));
    assert_true(frame_read(fd, frame, &n) && n > AUTH_BYTES_AT);
    b->asked++;
    message = (struct str){(const char *)frame + AUTH_BYTES_AT, n - AUTH_BYTES_AT};
    assert_true(str_starts(message, STR("n,,n=alice,r=")));
    nonce = (struct str){message.p + 13, message.n - 13};
    buf_printf(&first, "r=" STR_FMT "theirs,s=%s,i=%d", STR_ARG(nonce), b->salt, b->iterations);
    answer_authenticate(fd, buf_str(&first));
    if (!frame_read(fd, frame, &n)) return;
    b->asked++;
    answer_authenticate(fd, STR("v=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="));
    while (frame_read(fd, frame, &n)) {}
}

static void bearer(struct broker *b, int fd)
{
    uint8_t frame[1024];
    size_t n;

    assert_true(frame_read(fd, frame, &n));
    frame_write(fd, bytes_of("\0\0\0\0\0\0", 6));
    assert_true(frame_read(fd, frame, &n) && n > AUTH_BYTES_AT && n - AUTH_BYTES_AT < sizeof b->shown);
    for (size_t i = AUTH_BYTES_AT; i < n; i++) b->shown[i - AUTH_BYTES_AT] = frame[i] < ' ' ? '|' : (char)frame[i];
    b->asked++;
    answer_authenticate(fd, str_of(b->says));
    while (frame_read(fd, frame, &n)) {}
}

static void tls(struct broker *b, int fd)
{
    SSL *ssl = SSL_new(b->tls);
    char byte;

    SSL_set_fd(ssl, fd);
    if (SSL_accept(ssl) == 1) (void)SSL_read(ssl, &byte, 1);
    SSL_free(ssl);
    shutdown(fd, SHUT_WR);
    while (read(fd, &byte, 1) == 1) {}           /* a reset would take the alert away */
}

/* ---- the client ---- */

static enum rc open_by(const struct broker *b, const char *host, const struct remote_property *more, size_t more_n, struct wire **ret, struct err *e)
{
    static char bootstrap[64];
    static struct remote_property all[8];
    static struct wire_options o;

    snprintf(bootstrap, sizeof bootstrap, "%s:%u", host, b->port);
    all[0] = (struct remote_property){STR("bootstrap.servers"), str_of(bootstrap)};
    for (size_t i = 0; i < more_n; i++) all[i + 1] = more[i];
    o = (struct wire_options){.properties = all, .properties_n = more_n + 1, .node = BUS_ASK_ANY, .timeout_ms = TIMEOUT_MS};
    return wire_open(&o, ret, e);
}

static void a_broker_that_dribbles_is_given_up_in_time(void **state)
{
    struct broker b = {.serve = dribble};
    AUTO(buf_fini) struct buf answer = {0};
    struct wire *w;
    struct err e;

    (void)state;
    broker_start(&b);
    assert_int_equal(open_by(&b, "127.0.0.1", NULL, 0, &w, &e), RC_OK);
    assert_int_equal(wire_ask(w, bytes_of("\0\22\0\0\0\0\0\1\377\377", 10), &answer, &e), RC_UNAVAILABLE);
    wire_close(w);
    broker_end(&b);
    assert_true(b.in_time);
    assert_non_null(strstr(e.text, "no answer in time"));
}

static void scram_with(const char *salt, int iterations, unsigned asked, const char *why)
{
    static const struct remote_property login[] = {{STR("security.protocol"), STR("SASL_PLAINTEXT")}, {STR("sasl.mechanism"), STR("SCRAM-SHA-256")},
                                                   {STR("sasl.username"), STR("alice")}, {STR("sasl.password"), STR("wonderland")}};
    struct broker b = {.serve = scram, .salt = salt, .iterations = iterations};
    struct wire *w;
    struct err e;

    broker_start(&b);
    assert_int_not_equal(open_by(&b, "127.0.0.1", login, countof(login), &w, &e), RC_OK);
    broker_end(&b);
    assert_non_null(strstr(e.text, why));
    assert_int_equal(b.asked, asked);
}

static void a_broker_gets_no_weak_proof_of_the_password_and_has_to_know_it_itself(void **state)
{
    (void)state;
    scram_with("c2FsdA==", 4095, 1, "so weak a proof");
    scram_with("c2FsdA==", 1, 1, "so weak a proof");
    scram_with("", 4096, 1, "so weak a proof");
    scram_with("c2FsdA==", 4096, 2, "does not know the password either");
}

/* RFC 7628: a broker that refuses a token says so as JSON, and with no error code. */
static void a_token_and_its_extensions_are_shown_and_a_refusal_as_json_is_one(void **state)
{
    static const struct remote_property login[] = {{STR("security.protocol"), STR("SASL_PLAINTEXT")}, {STR("sasl.mechanism"), STR("OAUTHBEARER")},
                                                   {STR(WIRE_TOKEN), STR("ey.J.x")}, {STR(WIRE_TOKEN_EXTENSIONS), STR("\1logicalCluster=lkc-1\1pool=p")}};
    struct broker taken = {.serve = bearer, .says = ""}, refused = {.serve = bearer, .says = "{\"status\":\"invalid_token\"}"};
    struct wire *w;
    struct err e;

    (void)state;
    broker_start(&taken);
    assert_int_equal(open_by(&taken, "127.0.0.1", login, countof(login), &w, &e), RC_OK);
    wire_close(w);
    broker_end(&taken);
    assert_string_equal(taken.shown, "n,,|auth=Bearer ey.J.x|logicalCluster=lkc-1|pool=p||");
    broker_start(&refused);
    assert_int_equal(open_by(&refused, "127.0.0.1", login, countof(login) - 1, &w, &e), RC_UNAVAILABLE);
    broker_end(&refused);
    assert_string_equal(refused.shown, "n,,|auth=Bearer ey.J.x||");
    assert_non_null(strstr(e.text, "SASL authentication failed"));
    assert_non_null(strstr(e.text, "OAUTHBEARER: {\"status\":\"invalid_token\"}"));
    assert_null(strstr(e.text, "ey.J.x"));
}

static void a_protocol_that_is_misspelt_is_not_plaintext(void **state)
{
    static const struct remote_property wrong[] = {{STR("security.protocol"), STR("SASL-SSL")}};
    struct broker nobody = {.port = 1};
    struct wire *w;
    struct err e;

    (void)state;
    assert_int_equal(open_by(&nobody, "127.0.0.1", wrong, 1, &w, &e), RC_INVALID);
    assert_non_null(strstr(e.text, "security.protocol is \"SASL-SSL\""));
}

static enum rc tls_to(const char *host, const char *names, const char *folder, bool certificate_wanted, struct err *e)
{
    char crt[512], key[512];
    struct broker b = {.serve = tls, .tls = SSL_CTX_new(TLS_server_method())};
    struct remote_property p[] = {{STR("security.protocol"), STR("SSL")}, {STR("ssl.ca.location"), {0}}, {STR("ssl.endpoint.identification.algorithm"), str_of(names)}};
    AUTO(buf_fini) struct buf answer = {0};
    struct wire *w = NULL;
    enum rc rc;

    snprintf(crt, sizeof crt, "%s/crt.pem", folder);
    snprintf(key, sizeof key, "%s/key.pem", folder);
    certificate_write(crt, key, "kafka.example");
    p[1].value = str_of(crt);
    assert_int_equal(SSL_CTX_use_certificate_file(b.tls, crt, SSL_FILETYPE_PEM), 1);
    assert_int_equal(SSL_CTX_use_PrivateKey_file(b.tls, key, SSL_FILETYPE_PEM), 1);
    SSL_CTX_set_verify(b.tls, certificate_wanted ? SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT : SSL_VERIFY_NONE, NULL);
    broker_start(&b);
    rc = open_by(&b, host, p, countof(p), &w, e);
    if (!rc && certificate_wanted) rc = wire_ask(w, bytes_of("\0\22\0\0\0\0\0\1\377\377", 10), &answer, e);
    wire_close(w);
    broker_end(&b);
    SSL_CTX_free(b.tls);
    unlink(crt);
    unlink(key);
    return rc;
}

static void a_certificate_has_to_be_for_whom_we_call(void **state)
{
    char folder[] = "/tmp/wire_test.XXXXXX";
    struct err e;

    (void)state;
    assert_non_null(mkdtemp(folder));
    assert_int_equal(tls_to("127.0.0.1", "none", folder, false, &e), RC_OK);
    assert_int_not_equal(tls_to("127.0.0.1", "https", folder, false, &e), RC_OK);
    assert_non_null(strstr(e.text, "IP address mismatch"));
    assert_non_null(strstr(e.text, "its certificate is CN=kafka.example, issued by CN=kafka.example, valid from 20"));
    assert_int_not_equal(tls_to("localhost", "https", folder, false, &e), RC_OK);
    assert_non_null(strstr(e.text, "hostname mismatch"));
    assert_int_not_equal(tls_to("*", "https", folder, false, &e), RC_OK);
    assert_non_null(strstr(e.text, "no name that a certificate could be for"));
    rmdir(folder);
}

static void a_broker_that_wants_our_certificate_is_not_one_that_is_away(void **state)
{
    char folder[] = "/tmp/wire_test.XXXXXX";
    struct err e;

    (void)state;
    assert_non_null(mkdtemp(folder));
    assert_int_not_equal(tls_to("127.0.0.1", "none", folder, true, &e), RC_OK);
    assert_non_null(strstr(e.text, "SSL handshake failed"));
    assert_non_null(strstr(e.text, "certificate required"));
    assert_non_null(strstr(e.text, "the broker wants a client certificate"));
    rmdir(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_broker_that_dribbles_is_given_up_in_time),
        cmocka_unit_test(a_broker_gets_no_weak_proof_of_the_password_and_has_to_know_it_itself),
        cmocka_unit_test(a_token_and_its_extensions_are_shown_and_a_refusal_as_json_is_one),
        cmocka_unit_test(a_protocol_that_is_misspelt_is_not_plaintext),
        cmocka_unit_test(a_certificate_has_to_be_for_whom_we_call),
        cmocka_unit_test(a_broker_that_wants_our_certificate_is_not_one_that_is_away),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
