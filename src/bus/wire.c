/* Design note: an address is tried, then the next one; TLS and SASL come before the first request, as for any client. What a
 * certificate lacks is kept while OpenSSL checks it: afterwards it does not know the certificate any more. SPDX-License-Identifier: Apache-2.0 */
#include "bus/wire.h"
#include "base/base64.h"
#include "base/rng.h"
#include "bus/bus.h"
#include "bus/trouble.h"
#include "kafka/msg/api_versions.h"
#include "kafka/msg/metadata.h"
#include "kafka/msg/sasl_authenticate.h"
#include "kafka/msg/sasl_handshake.h"
#include "kafka/message.h"
#include "kafka/security.h"
#include "net/addr.h"
#include "net/certificate.h"
#include "sys/clock.h"
#include <errno.h>
#include <librdkafka/rdkafka.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <stdio.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

enum { ANSWER_BYTES_MAX = 256 << 20, KEY_BYTES_MAX = 64, NONCE_BYTES = 24, ITERATIONS_MAX = 1 << 20, SIZE_BYTES = 4 };

struct wire {
    const struct wire_options *o;
    int fd;                              /* does not block */
    uint64_t until_ms;                   /* monotonic: when what is under way has to be done */
    SSL_CTX *ctx;
    SSL *ssl;
    struct buf peer;
    struct buf refused;                  /* the certificate of the broker that did not hold, in words */
};

/* ---- properties ---- */

static struct str property(const struct wire *w, const char *name, const char *absent)
{
    for (size_t i = w->o->properties_n; i-- > 0;)
        if (str_is(w->o->properties[i].name, name)) return w->o->properties[i].value;
    return str_of(absent);
}

static const char *text(const struct wire *w, const char *name)
{
    struct str s = property(w, name, "");

    return s.n ? s.p : NULL;                     /* they end with a NUL */
}

/* ---- frames ---- */

void wire_encode(int16_t key, int16_t version, const void *request, struct buf *ret)
{
    const struct kafka_message *m = kafka_message_of(KAFKA_MESSAGE_REQUEST, key);
    struct kafka_request_header h = {.api_key = key, .api_version = version, .correlation_id = 1, .client_id = STR("millrace"), .api = kafka_api_of(key)};
    struct wr w;

    wr_init(&w, ret);
    kafka_request_header_encode(&w, &h);
    must(m->encode(&w, version, request));
    wr_fini(&w);
}

enum rc wire_decode(int16_t key, int16_t version, struct bytes answer, struct arena *a, void *ret, struct err *e)
{
    const struct kafka_message *m = kafka_message_of(KAFKA_MESSAGE_RESPONSE, key);
    int32_t correlation;
    struct rd r;

    rd_init(&r, answer);
    if (kafka_response_header_decode(&r, kafka_api_of(key), version, &correlation) && m->decode(&r, version, a, ret)) return RC_OK;
    return rd_err(&r, e);
}

int16_t wire_version(const struct api_versions_response *theirs, int16_t key)
{
    const struct kafka_api *ours = kafka_api_of(key);

    for (size_t i = 0; i < theirs->api_keys_n; i++)
        if (theirs->api_keys[i].api_key == key && theirs->api_keys[i].min_version <= ours->max && theirs->api_keys[i].max_version >= ours->min)
            return MIN(theirs->api_keys[i].max_version, ours->max);
    return -1;
}

/* ---- what goes wrong ---- */

/* The words of the field: by the library's code, and what the text says. */
PRINTF(4, 5) static enum rc found(const struct wire *w, int code, struct err *e, const char *fmt, ...)
{
    AUTO(buf_fini) struct buf cause = {0};
    struct trouble t;
    va_list ap;

    buf_printf(&cause, STR_FMT ": ", STR_ARG(wire_peer(w)));
    va_start(ap, fmt);
    buf_vprintf(&cause, fmt, ap);
    va_end(ap);
    must(trouble_of_code(code, buf_cstr(&cause), &t));
    return trouble_err(&t, e);
}

/* ---- bytes ---- */

static const char *reason(void)
{
    unsigned long code = ERR_peek_last_error();
    const char *why = code ? ERR_reason_error_string(code) : NULL;

    return why ? why : "the connection was closed";
}

/* In TLS 1.3 a client's certificate is refused after the handshake, by an alert in the place of the first answer. */
static enum rc lost(const struct wire *w, const char *what, int sys, struct err *e)
{
    bool late = sys == EAGAIN || sys == EWOULDBLOCK, alert = !sys && w->ssl && ERR_GET_REASON(ERR_peek_last_error()) >= SSL_AD_REASON_OFFSET;

    if (alert) return found(w, RD_KAFKA_RESP_ERR__SSL, e, "%s: %s", what, reason());
    return found(w, RD_KAFKA_RESP_ERR__TRANSPORT, e, "%s: %s", what, late ? "no answer in time" : sys ? strerror(sys) : "the connection was closed");
}

static void begin(struct wire *w)
{
    w->until_ms = clock_mono_ms(&clock_real) + w->o->timeout_ms;
}

/* False: the time is over, which errno says as a socket that does not block would. */
static bool ready(const struct wire *w, short events)
{
    struct pollfd p = {.fd = w->fd, .events = events};
    uint64_t now;
    int n = -1;

    while (n < 0 && (now = clock_mono_ms(&clock_real)) < w->until_ms) {
        n = poll(&p, 1, (int)MIN(w->until_ms - now, (uint64_t)INT32_MAX));
        if (n < 0 && errno != EINTR) return false;
    }
    if (n <= 0) errno = EAGAIN;
    return n > 0;
}

/* After a call that gave nothing: true, it is to be made again. Otherwise errno is why, or 0 when the other side has ended it. */
static bool again(const struct wire *w, ssize_t n, short events)
{
    if (!w->ssl) {
        if (n == 0) errno = 0;
        return n < 0 && (errno == EINTR || ((errno == EAGAIN || errno == EWOULDBLOCK) && ready(w, events)));
    }
    switch (SSL_get_error(w->ssl, (int)n)) {
    case SSL_ERROR_WANT_READ: return ready(w, POLLIN);
    case SSL_ERROR_WANT_WRITE: return ready(w, POLLOUT);
    case SSL_ERROR_SYSCALL: return false;
    default: errno = 0; return false;
    }
}

static enum rc put(struct wire *w, struct bytes b, struct err *e)
{
    while (b.n) {
        ssize_t n;

        ERR_clear_error();
        errno = 0;
        n = w->ssl ? SSL_write(w->ssl, b.p, (int)MIN(b.n, (size_t)1 << 30)) : send(w->fd, b.p, b.n, MSG_NOSIGNAL);
        if (n <= 0 && !again(w, n, POLLOUT)) return lost(w, "sending", errno, e);
        if (n > 0) b = (struct bytes){b.p + n, b.n - (size_t)n};
    }
    return RC_OK;
}

static enum rc get(struct wire *w, uint8_t *p, size_t want, struct err *e)
{
    while (want) {
        ssize_t n;

        ERR_clear_error();
        errno = 0;
        n = w->ssl ? SSL_read(w->ssl, p, (int)MIN(want, (size_t)1 << 30)) : recv(w->fd, p, want, 0);
        if (n <= 0 && !again(w, n, POLLIN)) return lost(w, "waiting for an answer", errno, e);
        if (n > 0) {
            p += n;
            want -= (size_t)n;
        }
    }
    return RC_OK;
}

enum rc wire_ask(struct wire *w, struct bytes frame, struct buf *ret, struct err *e)
{
    AUTO(buf_wipe) struct buf whole = {0};       /* it may have a password in it */
    uint8_t size[SIZE_BYTES];

    begin(w);
    buf_reserve(&whole, SIZE_BYTES + frame.n);
    store_be32(buf_grow(&whole, SIZE_BYTES), (uint32_t)frame.n);
    buf_append(&whole, frame);
    buf_clear(ret);
    if (put(w, buf_view(&whole), e) || get(w, size, sizeof size, e)) return e->rc;
    if (load_be32(size) > ANSWER_BYTES_MAX)
        return found(w, RD_KAFKA_RESP_ERR__TRANSPORT, e, "it does not answer in Kafka's protocol (SSL listener?)");
    return get(w, buf_grow(ret, load_be32(size)), load_be32(size), e);
}

static enum rc call(struct wire *w, int16_t key, int16_t version, const void *request, struct arena *a, struct buf *answer, void *ret, struct err *e)
{
    AUTO(buf_wipe) struct buf frame = {0};

    wire_encode(key, version, request, &frame);
    if (wire_ask(w, buf_view(&frame), answer, e)) return e->rc;
    return wire_decode(key, version, buf_view(answer), a, ret, e);
}

/* ---- TCP ---- */

static int connect_to(const struct addr *a, uint64_t timeout_ms)
{
    int fd = socket(a->u.sa.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), sys = 0;
    socklen_t n = sizeof sys;

    if (fd < 0) return -1;
    if (connect(fd, &a->u.sa, a->n)) {
        struct pollfd p = {.fd = fd, .events = POLLOUT};

        sys = errno == EINPROGRESS ? 0 : errno;
        if (!sys && poll(&p, 1, (int)MIN(timeout_ms, (uint64_t)INT32_MAX)) <= 0) sys = ETIMEDOUT;
        if (!sys && getsockopt(fd, SOL_SOCKET, SO_ERROR, &sys, &n)) sys = errno;
    }
    if (sys) {
        close(fd);
        errno = sys;
        return -1;
    }
    return fd;
}

static enum rc dial(struct wire *w, struct str at, struct err *e)
{
    struct addrs addrs;

    buf_clear(&w->peer);
    buf_append_str(&w->peer, at);
    if (err_keep(addr_resolve(at, &addrs, e), e)) {
        struct err why = *e;
        return found(w, RD_KAFKA_RESP_ERR__RESOLVE, e, "%s", why.text);
    }
    errno = 0;
    for (size_t i = 0; i < addrs.n; i++)
        if ((w->fd = connect_to(&addrs.a[i], w->o->timeout_ms)) >= 0) return RC_OK;
    return lost(w, "connecting", errno, e);
}

/* ---- TLS ---- */

static enum rc tls_refused(const struct wire *w, const char *what, struct err *e)
{
    return found(w, RD_KAFKA_RESP_ERR__SSL, e, "%s: %s", what, reason());
}

/* While it is checked: a handshake that fails keeps no certificate. Which one, of whom, with which dates. */
static int on_checked(int good, X509_STORE_CTX *check)
{
    const SSL *ssl = X509_STORE_CTX_get_ex_data(check, SSL_get_ex_data_X509_STORE_CTX_idx());
    struct buf *of = &((struct wire *)SSL_get_app_data(ssl))->refused;
    const X509 *crt = X509_STORE_CTX_get_current_cert(check);

    if (good || !crt || of->n) return good;
    certificate_name_put(X509_get_subject_name(crt), of);
    buf_append_str(of, STR(", issued by "));
    certificate_name_put(X509_get_issuer_name(crt), of);
    buf_append_str(of, STR(", valid from "));
    certificate_date_put(X509_get0_notBefore(crt), of);
    buf_append_str(of, STR(" to "));
    certificate_date_put(X509_get0_notAfter(crt), of);
    return good;
}

static enum rc certificate_refused(const struct wire *w, struct err *e)
{
    return found(w, RD_KAFKA_RESP_ERR__SSL, e, "%s; its certificate is " STR_FMT, X509_verify_cert_error_string(SSL_get_verify_result(w->ssl)), STR_ARG(buf_str(&w->refused)));
}

static bool trust(struct wire *w)
{
    const char *file = text(w, "ssl.ca.location"), *pem = text(w, "ssl.ca.pem");
    BIO *bio;
    X509 *one;
    bool any = false;

    if (file) return SSL_CTX_load_verify_locations(w->ctx, file, NULL) == 1;
    if (!pem) return SSL_CTX_set_default_verify_paths(w->ctx) == 1;
    bio = BIO_new_mem_buf(pem, -1);
    while ((one = PEM_read_bio_X509(bio, NULL, NULL, NULL))) {
        any |= X509_STORE_add_cert(SSL_CTX_get_cert_store(w->ctx), one) == 1;
        X509_free(one);
    }
    BIO_free(bio);
    ERR_clear_error();
    return any;
}

static int on_password(char *to, int n, int writing, void *ctx)
{
    const char *password = text(ctx, "ssl.key.password");

    (void)writing;
    return snprintf(to, (size_t)n, "%s", password ? password : "");
}

/* The client's own certificate and key, from files or from the property itself. */
static bool identify(struct wire *w)
{
    const char *crt = text(w, "ssl.certificate.location"), *key = text(w, "ssl.key.location"), *crt_pem = text(w, "ssl.certificate.pem"),
               *key_pem = text(w, "ssl.key.pem");
    X509 *one = NULL;
    EVP_PKEY *secret = NULL;
    bool good = true;
    BIO *bio;

    SSL_CTX_set_default_passwd_cb(w->ctx, on_password);
    SSL_CTX_set_default_passwd_cb_userdata(w->ctx, w);
    if (crt && SSL_CTX_use_certificate_chain_file(w->ctx, crt) != 1) return false;
    if (key && SSL_CTX_use_PrivateKey_file(w->ctx, key, SSL_FILETYPE_PEM) != 1) return false;
    if (crt_pem) {
        bio = BIO_new_mem_buf(crt_pem, -1);
        one = PEM_read_bio_X509(bio, NULL, NULL, NULL);
        good = one && SSL_CTX_use_certificate(w->ctx, one) == 1;
        while (good) {
            X509 *link = PEM_read_bio_X509(bio, NULL, NULL, NULL);

            if (!link) break;
            SSL_CTX_add0_chain_cert(w->ctx, link);
        }
        BIO_free(bio);
        X509_free(one);
        ERR_clear_error();
    }
    if (good && key_pem) {
        bio = BIO_new_mem_buf(key_pem, -1);
        secret = PEM_read_bio_PrivateKey(bio, NULL, on_password, w);
        good = secret && SSL_CTX_use_PrivateKey(w->ctx, secret) == 1;
        BIO_free(bio);
        EVP_PKEY_free(secret);
    }
    return good;
}

/* The certificate has to be for this name or address. False: what is there can be neither, and nothing would be compared. */
static bool name_expect(struct wire *w, const char *name, bool literal)
{
    if (literal) return X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(w->ssl), name) == 1;
    return *name && SSL_set1_host(w->ssl, name) == 1;
}

static enum rc shake_hands(struct wire *w, bool verify, struct err *e)
{
    int n;

    begin(w);
    do {
        ERR_clear_error();
        errno = 0;
        n = SSL_connect(w->ssl);
    } while (n != 1 && again(w, n, POLLIN));
    if (n == 1) return RC_OK;
    if (verify && SSL_get_verify_result(w->ssl) != X509_V_OK) return certificate_refused(w, e);
    return errno == EAGAIN ? lost(w, "the TLS handshake", errno, e) : tls_refused(w, "the broker ended it", e);
}

static enum rc encrypt(struct wire *w, struct err *e)
{
    bool verify = !str_is(property(w, "enable.ssl.certificate.verification", "true"), "false");
    bool named = verify && !str_is(property(w, "ssl.endpoint.identification.algorithm", "https"), "none");
    struct str host;
    uint16_t port;
    char name[256];
    struct addr address;
    bool literal;

    ERR_clear_error();
    w->ctx = SSL_CTX_new(TLS_client_method());
    if (!w->ctx || SSL_CTX_set_min_proto_version(w->ctx, TLS1_2_VERSION) != 1 || !trust(w)) return tls_refused(w, "reading the trusted certificates", e);
    if (!identify(w)) return tls_refused(w, "reading the client's certificate and key", e);
    SSL_CTX_set_verify(w->ctx, verify ? SSL_VERIFY_PEER : SSL_VERIFY_NONE, verify ? on_checked : NULL);
    w->ssl = SSL_new(w->ctx);
    must(w->ssl && SSL_set_fd(w->ssl, w->fd) == 1 && SSL_set_app_data(w->ssl, w) == 1);
    buf_clear(&w->refused);
    if (addr_split(buf_str(&w->peer), &host, &port, e)) return e->rc;
    snprintf(name, sizeof name, STR_FMT, STR_ARG(host));
    literal = addr_literal(buf_str(&w->peer), &address);
    if (!literal) SSL_set_tlsext_host_name(w->ssl, name);
    if (named && !name_expect(w, name, literal))
        return found(w, RD_KAFKA_RESP_ERR__SSL, e, "\"%s\" is no name that a certificate could be for", name);
    return shake_hands(w, verify, e);
}

/* ---- SASL ---- */

static enum rc sasl_refused(const struct wire *w, const char *mechanism, struct str why, struct err *e)
{
    return found(w, RD_KAFKA_RESP_ERR__AUTHENTICATION, e, "%s: " STR_FMT, mechanism, STR_ARG(why));
}

static enum rc token(struct wire *w, const char *mechanism, struct bytes mine, struct buf *theirs, struct err *e)
{
    struct sasl_authenticate_request q = {.auth_bytes = mine};
    struct sasl_authenticate_response a;
    struct trouble t;
    AUTO(arena_fini) struct arena arena = {0};
    AUTO(buf_fini) struct buf answer = {0};

    if (call(w, KAFKA_SASL_AUTHENTICATE, 0, &q, &arena, &answer, &a, e)) {
        struct err why = *e;
        return trouble_of_err(&why, &t) ? sasl_refused(w, mechanism, STR("the broker closed the connection"), e) : e->rc;
    }
    if (a.error_code) return sasl_refused(w, mechanism, a.error_message.n ? a.error_message : str_of(kafka_error_text(a.error_code)), e);
    buf_clear(theirs);
    buf_append(theirs, a.auth_bytes);
    return RC_OK;
}

static enum rc plain(struct wire *w, struct err *e)
{
    AUTO(buf_wipe) struct buf mine = {0};
    AUTO(buf_fini) struct buf theirs = {0};
    struct str username = property(w, "sasl.username", ""), password = property(w, "sasl.password", "");

    buf_reserve(&mine, username.n + password.n + 2);     /* so that it never moves */
    buf_append_byte(&mine, 0);
    buf_append_str(&mine, username);
    buf_append_byte(&mine, 0);
    buf_append_str(&mine, password);
    return token(w, "PLAIN", buf_view(&mine), &theirs, e);
}

/* One attribute of a SCRAM message: "r=…,s=…,i=…". */
static struct str attribute(struct str message, char name)
{
    struct str one, rest = message;

    while (rest.n) {
        str_cut(rest, ',', &one, &rest);
        if (one.n > 1 && one.p[0] == name && one.p[1] == '=') return (struct str){one.p + 2, one.n - 2};
    }
    return STR("");
}

static void put_scram_name(struct str name, struct buf *b)
{
    for (size_t i = 0; i < name.n; i++) {
        if (name.p[i] == '=') buf_append_str(b, STR("=3D"));
        else if (name.p[i] == ',') buf_append_str(b, STR("=2C"));
        else buf_append_byte(b, (uint8_t)name.p[i]);
    }
}

/* RFC 5802: the proof that answers the server's challenge, and the signature that it must give back. */
static bool prove(const EVP_MD *md, struct str password, struct bytes salt, int64_t iterations, struct str signed_text, uint8_t *proof, uint8_t *signature)
{
    uint8_t salted[KEY_BYTES_MAX], client[KEY_BYTES_MAX], stored[KEY_BYTES_MAX], server[KEY_BYTES_MAX];
    int n = EVP_MD_get_size(md);
    const uint8_t *of = (const uint8_t *)signed_text.p;
    bool good = PKCS5_PBKDF2_HMAC(password.p, (int)password.n, salt.p, (int)salt.n, (int)iterations, md, n, salted) == 1 &&
                HMAC(md, salted, n, (const uint8_t *)"Client Key", 10, client, NULL) && EVP_Digest(client, (size_t)n, stored, NULL, md, NULL) == 1 &&
                HMAC(md, stored, n, of, signed_text.n, proof, NULL) && HMAC(md, salted, n, (const uint8_t *)"Server Key", 10, server, NULL) &&
                HMAC(md, server, n, of, signed_text.n, signature, NULL);

    for (int i = 0; good && i < n; i++) proof[i] ^= client[i];
    OPENSSL_cleanse(salted, sizeof salted);
    OPENSSL_cleanse(client, sizeof client);
    OPENSSL_cleanse(server, sizeof server);
    return good;
}

static enum rc scram(struct wire *w, const char *mechanism, const EVP_MD *md, struct err *e)
{
    AUTO(buf_fini) struct buf first = {0}, theirs = {0}, all = {0}, salt = {0}, last = {0}, nonce = {0}, said = {0};
    uint8_t random[NONCE_BYTES], proof[KEY_BYTES_MAX], signature[KEY_BYTES_MAX];
    struct str challenge, r;
    int64_t iterations = 0;
    size_t n = (size_t)EVP_MD_get_size(md);

    random_bytes(random, sizeof random);
    base64_encode(bytes_of(random, sizeof random), &nonce);
    buf_append_str(&first, STR("n,,n="));
    put_scram_name(property(w, "sasl.username", ""), &first);
    buf_printf(&first, ",r=" STR_FMT, STR_ARG(buf_str(&nonce)));
    if (token(w, mechanism, buf_view(&first), &theirs, e)) return e->rc;
    challenge = buf_str(&theirs);
    r = attribute(challenge, 'r');
    if (!str_starts(r, buf_str(&nonce)) || !base64_decode(attribute(challenge, 's'), &salt) || !str_to_i64(attribute(challenge, 'i'), &iterations) || iterations < 1 ||
        iterations > ITERATIONS_MAX)
        return sasl_refused(w, mechanism, STR("the broker's challenge cannot be used"), e);
    if (!salt.n || iterations < SCRAM_ITERATIONS_MIN)    /* as Kafka's clients: our answer would tell a false broker too much */
        return sasl_refused(w, mechanism, STR("the broker wants so weak a proof (no salt, or fewer than 4096 iterations) that the password could be found out from it"), e);
    buf_printf(&all, STR_FMT "," STR_FMT ",c=biws,r=" STR_FMT, (int)(first.n - 3), (const char *)first.p + 3, STR_ARG(challenge), STR_ARG(r));
    if (!prove(md, property(w, "sasl.password", ""), buf_view(&salt), iterations, buf_str(&all), proof, signature))
        return sasl_refused(w, mechanism, STR("OpenSSL does not have this hash"), e);
    buf_printf(&last, "c=biws,r=" STR_FMT ",p=", STR_ARG(r));
    base64_encode(bytes_of(proof, n), &last);
    if (token(w, mechanism, buf_view(&last), &theirs, e)) return e->rc;
    if (!base64_decode(attribute(buf_str(&theirs), 'v'), &said) || said.n != n || CRYPTO_memcmp(said.p, signature, n) != 0)
        return sasl_refused(w, mechanism, STR("the broker does not know the password either: it is another one"), e);
    return RC_OK;
}

/* RFC 7628, KIP-255. */
static enum rc bearer(struct wire *w, struct err *e)
{
    AUTO(buf_wipe) struct buf mine = {0};
    AUTO(buf_fini) struct buf theirs = {0};
    struct str shown = property(w, WIRE_TOKEN, ""), extensions = property(w, WIRE_TOKEN_EXTENSIONS, "");

    buf_reserve(&mine, shown.n + extensions.n + 64);     /* so that it never moves */
    buf_printf(&mine, "n,,\1auth=Bearer " STR_FMT STR_FMT "\1\1", STR_ARG(shown), STR_ARG(extensions));
    if (token(w, "OAUTHBEARER", buf_view(&mine), &theirs, e)) return e->rc;
    return theirs.n ? sasl_refused(w, "OAUTHBEARER", buf_str(&theirs), e) : RC_OK;       /* a refusal as JSON */
}

static enum rc authenticate(struct wire *w, struct err *e)
{
    struct str mechanism = property(w, "sasl.mechanism", ""), many = property(w, "sasl.mechanisms", "");
    struct sasl_handshake_request q = {.mechanism = mechanism.n ? mechanism : many};
    struct sasl_handshake_response a;
    AUTO(arena_fini) struct arena arena = {0};
    AUTO(buf_fini) struct buf answer = {0}, offered = {0};

    if (call(w, KAFKA_SASL_HANDSHAKE, 1, &q, &arena, &answer, &a, e)) return e->rc;
    if (a.error_code) {
        for (size_t i = 0; i < a.mechanisms_n; i++) buf_printf(&offered, "%s" STR_FMT, i ? ", " : "", STR_ARG(a.mechanisms[i]));
        return found(w, RD_KAFKA_RESP_ERR_UNSUPPORTED_SASL_MECHANISM, e, "it does not take " STR_FMT ", but " STR_FMT, STR_ARG(q.mechanism),
                     STR_ARG(buf_str(&offered)));
    }
    if (str_is(q.mechanism, "PLAIN")) return plain(w, e);
    if (str_is(q.mechanism, "SCRAM-SHA-256")) return scram(w, "SCRAM-SHA-256", EVP_sha256(), e);
    if (str_is(q.mechanism, "SCRAM-SHA-512")) return scram(w, "SCRAM-SHA-512", EVP_sha512(), e);
    if (str_is(q.mechanism, "OAUTHBEARER") && property(w, WIRE_TOKEN, "").n) return bearer(w, e);
    return err_set(e, RC_UNSUPPORTED, "this can be done with PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or a client certificate, not with " STR_FMT, STR_ARG(q.mechanism));
}

/* ---- open and close ---- */

static void hang_up(struct wire *w)
{
    if (w->ssl) SSL_free(w->ssl);
    if (w->ctx) SSL_CTX_free(w->ctx);
    if (w->fd >= 0) close(w->fd);
    w->ssl = NULL;
    w->ctx = NULL;
    w->fd = -1;
}

static enum rc connect_as_told(struct wire *w, struct str at, struct err *e)
{
    struct str protocol = property(w, "security.protocol", "plaintext");
    bool tls = str_eq_nocase(protocol, STR("ssl")) || str_eq_nocase(protocol, STR("sasl_ssl"));
    bool sasl = str_eq_nocase(protocol, STR("sasl_plaintext")) || str_eq_nocase(protocol, STR("sasl_ssl"));

    hang_up(w);
    if (dial(w, at, e)) return e->rc;
    if (tls && encrypt(w, e)) return e->rc;
    return sasl ? authenticate(w, e) : RC_OK;
}

/* Any of the bootstrap servers, the first that works; else the reason of the last. */
static enum rc bootstrap(struct wire *w, struct err *e)
{
    struct str rest = property(w, "bootstrap.servers", ""), one;
    struct trouble t;

    err_set(e, RC_INVALID, "kafka.bootstrap names no broker");
    while (rest.n) {
        str_cut(rest, ',', &one, &rest);
        while (one.n && one.p[0] == ' ') one = (struct str){one.p + 1, one.n - 1};
        if (!one.n) continue;
        if (w->o->go_on && !w->o->go_on(w->o->ctx)) return err_set(e, RC_CANCELLED, "ended while connecting to Kafka");
        if (!connect_as_told(w, one, e)) return RC_OK;
        if (!trouble_of_err(e, &t) || t.kind != TROUBLE_BROKER) return e->rc;
    }
    return e->rc;
}

/* On to the broker that is meant, by what this one says of the cluster. */
static enum rc move(struct wire *w, int32_t node, struct err *e)
{
    struct metadata_request q;
    struct metadata_response a;
    AUTO(arena_fini) struct arena arena = {0};
    AUTO(buf_fini) struct buf answer = {0}, at = {0};

    metadata_request_init_defaults(&q);
    if (call(w, KAFKA_METADATA, 1, &q, &arena, &answer, &a, e)) return e->rc;
    if (node == BUS_ASK_CONTROLLER) node = a.controller_id;
    for (size_t i = 0; i < a.brokers_n; i++) {
        struct str host = a.brokers[i].host;
        bool six = host.n && memchr(host.p, ':', host.n);

        if (a.brokers[i].node_id != node) continue;
        buf_printf(&at, "%s" STR_FMT "%s:%d", six ? "[" : "", STR_ARG(host), six ? "]" : "", a.brokers[i].port);
        return str_eq(buf_str(&at), buf_str(&w->peer)) ? RC_OK : connect_as_told(w, buf_str(&at), e);
    }
    return err_set(e, RC_NOT_FOUND, "the cluster has no broker %d", node);
}

/* What is misspelt must not end in no encryption. */
static enum rc protocol_check(const struct wire *w, struct err *e)
{
    static const char *const known[] = {"plaintext", "ssl", "sasl_plaintext", "sasl_ssl"};
    struct str s = property(w, "security.protocol", known[0]);

    for (size_t i = 0; i < countof(known); i++)
        if (str_eq_nocase(s, str_of(known[i]))) return RC_OK;
    return err_set(e, RC_INVALID, "security.protocol is \"" STR_FMT "\", and PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL is wanted", STR_ARG(s));
}

enum rc wire_open(const struct wire_options *o, struct wire **ret, struct err *e)
{
    struct wire *w = xnew(struct wire);

    w->o = o;
    w->fd = -1;
    if (protocol_check(w, e) || bootstrap(w, e) || (o->node != BUS_ASK_ANY && move(w, o->node, e))) {
        wire_close(w);
        return e->rc;
    }
    *ret = w;
    return RC_OK;
}

struct wire *wire_close(struct wire *w)
{
    if (!w) return NULL;
    hang_up(w);
    buf_fini(&w->peer);
    buf_fini(&w->refused);
    free(w);
    return NULL;
}

struct str wire_peer(const struct wire *w)
{
    return buf_str(&w->peer);
}
