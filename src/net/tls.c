/* See tls.h. SPDX-License-Identifier: Apache-2.0 */
#include "net/tls.h"

#include "base/bytes.h"
#include "base/diag.h"
#include "net/certificate.h"

#include <errno.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <pthread.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>

enum { END_WARN_S = 14 * 86400, END_WARN_EVERY_S = 86400 };
enum { FILES = 3, WHY_BYTES = 200, RECORD_BYTES = 16 << 10 };

struct file_stamp {
    ino_t ino;
    off_t size;
    struct timespec changed;
};

struct tls_server {
    char *path[FILES]; /* certificate, key, clients' authorities */
    struct file_stamp stamp[FILES];
    enum tls_client_auth client_auth;
    bool http;
    SSL_CTX *ctx;
    int64_t not_after;
    int64_t warned_s; /* when the log was told of its end; 0: not yet */
    struct err refused; /* why the last look left the files alone; rc RC_OK: it did not */
};

struct tls {
    SSL *ssl;
    int fd;
    bool wants_write;
    struct tls_room *room; /* in tls_write(): where its records gather */
    struct buf rest;       /* records that the socket had no room for; whatever comes leaves behind them */
    struct tls_room *rest_of;
    size_t owed;           /* what tls_write() made them of */
    struct buf refused;    /* the subject of the client's certificate, if it does not hold */
};

/* ---- errors ---- */

/* OpenSSL's oldest complaint, which is the cause. */
static const char *cause(char text[WHY_BYTES])
{
    unsigned long code = ERR_get_error();
    const char *reason = code ? ERR_reason_error_string(code) : NULL;

    snprintf(text, WHY_BYTES, "%s", reason ? reason : "no reason given");
    ERR_clear_error();
    return text;
}

/* What it means, where OpenSSL's words do not say it. */
static const char *meaning(const char *reason)
{
    static const struct {
        const char *reason, *meaning;
    } known[] = {
        {"http request", " (the client speaks HTTP without TLS: it has to say https://)"},
        {"wrong version number", " (the client speaks no TLS here: its security protocol has to be SSL or SASL_SSL, its address https://)"},
        {"alert unknown ca", " (the client does not trust this certificate: give it that of the authority, and crtPath those that lead to it)"},
        {"alert bad certificate", " (the client refuses this certificate, perhaps for its names: it has to carry the one that the client connects to)"},
        {"alert certificate unknown", " (the client refuses this certificate: look at its authority, names and dates)"},
        {"alert certificate expired", " (this certificate has ended: renew it)"},
        {"peer did not return a certificate", " (the client shows no certificate, and one is required here)"},
        {"unsupported protocol", " (the client offers nothing newer than TLS 1.1)"},
    };

    for (size_t i = 0; i < countof(known); i++)
        if (strstr(reason, known[i].reason)) return known[i].meaning;
    return "";
}

static enum rc refuse_file(struct err *e, const char *what, const char *path)
{
    char text[WHY_BYTES];

    return err_set(e, RC_INVALID, "%s %s: %s", what, path, cause(text));
}

/* ---- a listener's context ---- */

static enum rc stamp_of(const char *path, struct file_stamp *ret, struct err *e)
{
    struct stat st;

    *ret = (struct file_stamp){0};
    if (!path) return RC_OK;
    if (stat(path, &st)) return err_sys(e, "%s", path);
    *ret = (struct file_stamp){st.st_ino, st.st_size, st.st_mtim};
    return RC_OK;
}

static enum rc load_files(const struct tls_server *s, SSL_CTX *ctx, struct err *e)
{
    if (SSL_CTX_use_certificate_chain_file(ctx, s->path[0]) != 1)
        return refuse_file(e, "the certificate", s->path[0]);
    bool key = SSL_CTX_use_PrivateKey_file(ctx, s->path[1], SSL_FILETYPE_PEM) == 1;
    bool belongs = key ? SSL_CTX_check_private_key(ctx) == 1 : ERR_GET_REASON(ERR_peek_error()) != X509_R_KEY_VALUES_MISMATCH;

    if (!key && belongs) return refuse_file(e, "the private key", s->path[1]);
    if (!belongs)
        return err_set(e, RC_INVALID, "the private key %s does not belong to the certificate %s",
                       s->path[1], s->path[0]);
    if (!s->path[2]) return RC_OK;
    if (SSL_CTX_load_verify_locations(ctx, s->path[2], NULL) != 1)
        return refuse_file(e, "the clients' authorities", s->path[2]);
    SSL_CTX_set_client_CA_list(ctx, SSL_load_client_CA_file(s->path[2]));
    return RC_OK;
}

static int64_t not_after(SSL_CTX *ctx)
{
    struct tm tm;

    if (!ASN1_TIME_to_tm(X509_get0_notAfter(SSL_CTX_get0_certificate(ctx)), &tm)) return 0;
    return (int64_t)timegm(&tm);
}

static int choose_protocol(SSL *ssl, const unsigned char **out, unsigned char *out_n,
                           const unsigned char *in, unsigned in_n, void *arg)
{
    static const unsigned char ours[] = "\x02h2\x08http/1.1";
    unsigned char *chosen;

    (void)ssl;
    (void)arg;
    if (SSL_select_next_proto(&chosen, out_n, ours, sizeof ours - 1, in, in_n) !=
        OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    *out = chosen;
    return SSL_TLSEXT_ERR_OK;
}

/* OpenSSL forgets a certificate that does not hold before it says so. */
static int on_verified(int holds, X509_STORE_CTX *store)
{
    struct tls *t = SSL_get_app_data(X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx()));
    const X509 *crt = X509_STORE_CTX_get0_cert(store);

    if (!holds && t && crt && !buf_str(&t->refused).n) certificate_name_put(X509_get_subject_name(crt), &t->refused);
    return holds;
}

static void set_rules(const struct tls_server *s, SSL_CTX *ctx)
{
    static const unsigned char session_context[] = "millrace";
    static const int modes[] = {[TLS_CLIENT_NONE] = SSL_VERIFY_NONE,
                                [TLS_CLIENT_REQUESTED] = SSL_VERIFY_PEER,
                                [TLS_CLIENT_REQUIRED] =
                                    SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT};

    SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION);
    SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_ENABLE_KTLS |
                                 SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA |
                                 SSL_OP_IGNORE_UNEXPECTED_EOF);
    SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                              SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_read_ahead(ctx, true); /* a record and its head, or many small ones, in one system call */
    SSL_CTX_set_session_id_context(ctx, session_context, sizeof session_context - 1);
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF); /* tickets carry sessions */
    SSL_CTX_set_num_tickets(ctx, 1);
    SSL_CTX_set_verify(ctx, modes[s->client_auth], on_verified);
    if (s->http) SSL_CTX_set_alpn_select_cb(ctx, choose_protocol, NULL);
}

static enum rc context_new(const struct tls_server *s, SSL_CTX **ret, struct err *e)
{
    SSL_CTX *ctx;

    ERR_clear_error();
    ctx = SSL_CTX_new(TLS_server_method());
    must(ctx);
    set_rules(s, ctx);
    if (load_files(s, ctx, e)) {
        SSL_CTX_free(ctx);
        return e->rc;
    }
    *ret = ctx;
    return RC_OK;
}

static enum rc stamps_of(const struct tls_server *s, struct file_stamp stamp[FILES], struct err *e)
{
    for (int i = 0; i < FILES; i++)
        if (stamp_of(s->path[i], &stamp[i], e)) return e->rc;
    return RC_OK;
}

static char *own(const char *path)
{
    return path && *path ? xstrdup(path) : NULL;
}

enum rc tls_server_new(const struct tls_options *o, struct tls_server **ret, struct err *e)
{
    struct tls_server *s;

    if (!o->crt_path || !*o->crt_path || !o->key_path || !*o->key_path)
        return err_set(e, RC_INVALID,
                       "TLS wants a certificate (crtPath) and its private key (keyPath)");
    if (o->client_auth != TLS_CLIENT_NONE && (!o->client_ca_path || !*o->client_ca_path))
        return err_set(
            e, RC_INVALID,
            "clients' certificates are checked against clientCaPath, which is not given");
    s = xnew(struct tls_server);
    s->path[0] = own(o->crt_path);
    s->path[1] = own(o->key_path);
    s->path[2] = own(o->client_ca_path);
    s->client_auth = o->client_auth;
    s->http = o->http;
    if (stamps_of(s, s->stamp, e) || context_new(s, &s->ctx, e)) {
        tls_server_free(s);
        return e->rc;
    }
    s->not_after = not_after(s->ctx);
    *ret = s;
    return RC_OK;
}

struct tls_server *tls_server_free(struct tls_server *s)
{
    if (!s) return NULL;
    SSL_CTX_free(s->ctx);
    for (int i = 0; i < FILES; i++)
        free(s->path[i]);
    free(s);
    return NULL;
}

enum rc tls_server_reload(struct tls_server *s, bool *ret_changed, struct err *e)
{
    struct file_stamp stamp[FILES] = {0};
    SSL_CTX *ctx;

    *ret_changed = false;
    if (stamps_of(s, stamp, e)) return e->rc;
    if (!memcmp(stamp, s->stamp, sizeof stamp)) return RC_OK;
    if (context_new(s, &ctx, e)) return e->rc;
    SSL_CTX_free(s->ctx);
    s->ctx = ctx;
    s->not_after = not_after(ctx);
    s->warned_s = 0;
    memcpy(s->stamp, stamp, sizeof stamp);
    *ret_changed = true;
    return RC_OK;
}

int64_t tls_server_not_after(const struct tls_server *s)
{
    return s->not_after;
}

bool tls_server_warn_of_end(struct tls_server *s, struct str listener, int64_t now_s)
{
    int64_t left = s->not_after - now_s, silent = now_s - s->warned_s;
    AUTO(buf_fini) struct buf end = {0};

    if (left >= END_WARN_S || (s->warned_s && silent >= 0 && silent < END_WARN_EVERY_S))
        return false;
    s->warned_s = now_s;
    certificate_date_put(X509_get0_notAfter(SSL_CTX_get0_certificate(s->ctx)), &end);
    diag(DIAG_WARN, "tls.certificate_expires", KV_STR("listener", listener), KV_CSTR("file", s->path[0]),
         KV_STR("ends", buf_str(&end)), KV_I64("seconds_left", left),
         KV_CSTR("what", left < 0 ? "clients refuse it: renew the certificate"
                                  : "renew the certificate"));
    return true;
}

bool tls_server_look(struct tls_server *s, struct str listener, int64_t now_s)
{
    bool changed, said;
    struct err e;
    enum rc rc = err_keep(tls_server_reload(s, &changed, &e), &e);

    said = changed || (rc && (!s->refused.rc || strcmp(s->refused.text, e.text) != 0));
    if (said && rc)
        diag(DIAG_WARN, "tls.certificate_kept", KV_STR("listener", listener), KV_CSTR("why", e.text));
    else if (said)
        diag(DIAG_INFO, "tls.certificate_reloaded", KV_STR("listener", listener));
    s->refused = e;
    tls_server_warn_of_end(s, listener, now_s);
    return said;
}

/* ---- how records leave once the handshake is done ---- */

static void rest_keep(struct tls *t, struct tls_room *room, struct bytes rest)
{
    t->rest = (struct buf){.p = xrealloc(NULL, rest.n, 1), .cap = rest.n};
    buf_append(&t->rest, rest);
    t->rest_of = room;
    room->waiting += rest.n;
}

static void rest_drop(struct tls *t, size_t n)
{
    if (t->rest_of) t->rest_of->waiting -= n;
    buf_consume(&t->rest, n);
    if (t->rest.n) return;
    buf_fini(&t->rest);
    t->rest_of = NULL;
}

static bool rest_leaves(struct tls *t)
{
    ssize_t sent = t->rest.n ? send(t->fd, t->rest.p, t->rest.n, MSG_NOSIGNAL) : 0;

    if (sent < 0) {
        if (errno == EINTR) errno = EAGAIN;
        return false;
    }
    rest_drop(t, (size_t)sent);
    errno = EAGAIN;
    return !t->rest.n;
}

/* All that gathered, in one system call. What the socket has no room for stays with the connection. */
static bool room_leaves(struct tls *t, struct tls_room *room)
{
    size_t n = room->records_n;
    ssize_t sent = send(t->fd, room->records, n, MSG_NOSIGNAL);

    room->records_n = 0;
    if (sent == (ssize_t)n) return true;
    if (sent < 0 && errno != EAGAIN && errno != EINTR) return false;
    sent = MAX(sent, (ssize_t)0);
    rest_keep(t, room, bytes_of(room->records + sent, n - (size_t)sent));
    errno = EAGAIN;
    return false;
}

static int record_write(BIO *bio, const char *p, int n)
{
    struct tls *t = BIO_get_data(bio);
    ssize_t sent = -1;

    BIO_clear_retry_flags(bio);
    errno = EAGAIN;
    if (t->room && (size_t)n <= sizeof t->room->records - t->room->records_n) {
        memcpy(t->room->records + t->room->records_n, p, (size_t)n);
        t->room->records_n += (size_t)n;
        return n;
    }
    if (!t->room && rest_leaves(t)) sent = send(t->fd, p, (size_t)n, MSG_NOSIGNAL);
    if (sent <= 0 && BIO_sock_should_retry((int)sent)) BIO_set_retry_write(bio);
    return (int)sent;
}

static long record_ctrl(BIO *bio, int what, long n, void *p)
{
    (void)bio;
    (void)n;
    (void)p;
    return what == BIO_CTRL_FLUSH;
}

static pthread_once_t record_once = PTHREAD_ONCE_INIT;
static BIO_METHOD *record_method;

static void record_method_make(void)
{
    record_method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "records");
    must(record_method && BIO_meth_set_write(record_method, record_write) &&
         BIO_meth_set_ctrl(record_method, record_ctrl));
}

/* The handshake is done. Where the kernel encrypts, it is given the bytes as they are. */
static void records_begin(struct tls *t)
{
    BIO *bio;

    if (tls_sends_files(t)) return;
    pthread_once(&record_once, record_method_make);
    bio = BIO_new(record_method);
    must(bio);
    BIO_set_data(bio, t);
    BIO_set_init(bio, 1);
    SSL_set0_wbio(t->ssl, bio);
}

/* ---- a connection ---- */

struct tls *tls_accept(struct tls_server *s, int fd)
{
    struct tls *t = xnew(struct tls);

    t->fd = fd;
    t->ssl = SSL_new(s->ctx);
    must(t->ssl && SSL_set_fd(t->ssl, fd) == 1);
    must(SSL_set_app_data(t->ssl, t) == 1);
    SSL_set_accept_state(t->ssl);
    return t;
}

struct tls *tls_free(struct tls *t)
{
    if (!t) return NULL;
    SSL_free(t->ssl);
    rest_drop(t, t->rest.n);
    buf_fini(&t->refused);
    free(t);
    ERR_clear_error();
    return NULL;
}

void tls_close_notify(struct tls *t)
{
    ERR_clear_error();
    if (SSL_is_init_finished(t->ssl)) (void)SSL_shutdown(t->ssl);
    ERR_clear_error();
}

bool tls_established(const struct tls *t)
{
    return SSL_is_init_finished(t->ssl);
}

bool tls_wants_write(const struct tls *t)
{
    return t->wants_write || t->rest.n;
}

bool tls_pending(const struct tls *t)
{
    return SSL_has_pending(t->ssl);
}

/* What is wrong with the client's certificate, if it is that. */
static enum rc failed(struct tls *t, struct err *e)
{
    long verdict = SSL_get_verify_result(t->ssl);
    char text[WHY_BYTES];

    if (verdict != X509_V_OK)
        return err_set(e, RC_AUTH, "SSL handshake failed: the client's certificate %s: %s%s", buf_cstr(&t->refused), X509_verify_cert_error_string(verdict),
                       verdict == X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY ? " (clientCaPath does not have its authority)" : "");
    cause(text);
    return err_set(e, RC_AUTH, "SSL handshake failed: %s%s", text, meaning(text));
}

enum rc tls_handshake(struct tls *t, struct err *e)
{
    int done, why;

    ERR_clear_error();
    errno = 0;
    done = SSL_do_handshake(t->ssl);
    t->wants_write = false;
    if (done == 1) {
        records_begin(t);
        return RC_OK;
    }
    why = SSL_get_error(t->ssl, done);
    if (why == SSL_ERROR_WANT_READ) return RC_OK;
    if (why == SSL_ERROR_WANT_WRITE) {
        t->wants_write = true;
        return RC_OK;
    }
    if (why == SSL_ERROR_ZERO_RETURN || (why == SSL_ERROR_SYSCALL && !ERR_peek_error()))
        return err_set(e, RC_AUTH, "SSL handshake failed: the client hung up in the middle of it");
    return failed(t, e);
}

/* What SSL_read and SSL_write say, as recv() and send() would. */
static ssize_t outcome(struct tls *t, int n)
{
    t->wants_write = false;
    if (n > 0) return n;
    switch (SSL_get_error(t->ssl, n)) {
    case SSL_ERROR_WANT_WRITE:
        t->wants_write = true;
        errno = EAGAIN;
        return -1;
    case SSL_ERROR_WANT_READ: errno = EAGAIN; return -1;
    case SSL_ERROR_ZERO_RETURN: return 0;
    case SSL_ERROR_SYSCALL: return errno && errno != EAGAIN ? -1 : 0;
    default: errno = EPROTO; return -1;
    }
}

/* A record is 16 KiB: as many as there are and as there is room for. */
ssize_t tls_read(struct tls *t, void *p, size_t n)
{
    size_t got = 0;

    while (got < n) {
        ssize_t more;

        ERR_clear_error();
        errno = 0;
        more = outcome(t, SSL_read(t->ssl, (char *)p + got, (int)MIN(n - got, (size_t)INT32_MAX)));
        if (more <= 0) return got ? (ssize_t)got : more;
        got += (size_t)more;
    }
    return (ssize_t)got;
}

static ssize_t write_record(struct tls *t, const void *p, size_t n)
{
    ERR_clear_error();
    errno = 0;
    return outcome(t, SSL_write(t->ssl, p, (int)n));
}

/* As many records as there is room for. OpenSSL makes one at a time. */
static ssize_t write_records(struct tls *t, struct tls_room *room, const uint8_t *p, size_t n)
{
    ssize_t some = 1;
    size_t taken = 0;

    t->room = room;
    while (taken < n && (some = write_record(t, p + taken, n - taken)) > 0)
        taken += (size_t)some;
    t->room = NULL;
    if (taken) t->wants_write = false;
    return taken ? (ssize_t)taken : some;
}

ssize_t tls_write(struct tls *t, struct tls_room *room, const void *p, size_t n)
{
    ssize_t taken = (ssize_t)t->owed;
    int why;

    if (!rest_leaves(t)) return -1;
    t->owed = 0;
    if (taken) return taken;
    n = MIN(n, (size_t)TLS_WRITE_BYTES);
    if (n <= RECORD_BYTES || room->waiting >= TLS_WAITING_BYTES || tls_sends_files(t)) return write_record(t, p, n);
    taken = write_records(t, room, p, n);
    if (!room->records_n) return taken;
    why = errno;
    if (!room_leaves(t, room)) {
        if (errno == EAGAIN && taken > 0) t->owed = (size_t)taken;
        return -1;
    }
    errno = why;
    return taken;
}

size_t tls_owed(const struct tls *t)
{
    return t->owed;
}

bool tls_sends_files(const struct tls *t)
{
    return BIO_get_ktls_send(SSL_get_wbio(t->ssl));
}

ssize_t tls_send_file(struct tls *t, int file, off_t from, size_t n)
{
    ssize_t sent;

    ERR_clear_error();
    errno = 0;
    sent = SSL_sendfile(t->ssl, file, from, n, 0);
    return sent > 0 ? sent : outcome(t, (int)sent);
}

bool tls_peer_known(const struct tls *t)
{
    return SSL_get0_peer_certificate(t->ssl) && SSL_get_verify_result(t->ssl) == X509_V_OK;
}

bool tls_peer_subject(const struct tls *t, struct buf *ret)
{
    X509 *crt = SSL_get0_peer_certificate(t->ssl);
    BIO *out;
    char *text;
    long n;

    if (!tls_peer_known(t)) return false;
    out = BIO_new(BIO_s_mem());
    must(out);
    X509_NAME_print_ex(out, X509_get_subject_name(crt), 0, XN_FLAG_RFC2253 & ~ASN1_STRFLGS_ESC_MSB);
    n = BIO_get_mem_data(out, &text);
    buf_append(ret, bytes_of(text, (size_t)n));
    BIO_free(out);
    return true;
}

bool tls_resumed(const struct tls *t)
{
    return SSL_session_reused(t->ssl) == 1;
}
