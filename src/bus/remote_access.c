/* Design note: PEM goes to the library as files in memory (memfd): it reads a chain of certificates only from a file, and what came
 * out of a Kubernetes Secret is on no disk. The library reads them while a client is made.
 * What a broker's certificate lacked is learned by the library's verify callback, on its threads; its error, which comes
 * later, says less.
 * SPDX-License-Identifier: Apache-2.0 */
#include "bus/remote_access.h"
#include "base/arena.h"
#include "base/diag.h"
#include "bus/remote_core.h"
#include "bus/wire.h"
#include "cred/msk.h"
#include "cred/oidc.h"
#include "cred/token.h"
#include "net/certificate.h"
#include <fcntl.h>
#include <openssl/x509v3.h>
#include <pthread.h>
#include <stdio.h>

enum part_kind { PART_LOGIN, PART_OWN, PART_BROKERS, PARTS_N };
static const char *const part_names[PARTS_N] = {"the SASL password", "the client certificate", "the brokers' authority"};

struct part {                                    /* one source of secrets */
    struct access *a;
    struct secret_source *source;                /* until it is watched */
    struct secret *now;
    struct secret_watch *watch;
};

struct access {
    const struct kafka_lib *k;
    struct loop *loop;
    struct workers *workers;
    struct access_news news;
    struct arena arena;                          /* the texts below */
    enum remote_protocol protocol;
    const char *mechanism, *username;
    struct str password, crt, key, ca, brokers_ca;   /* keys in the parts */
    bool any_name, tokens;
    struct part parts[PARTS_N];
    struct token_maker *maker;                   /* until it is kept */
    struct token_keeper *keeper;
    struct token token;
    pthread_mutex_t lock;
    char certificate[256];                       /* the last one that was refused */
};

static bool uses_sasl(const struct access *a)
{
    return a->protocol == REMOTE_SASL_SSL || a->protocol == REMOTE_SASL_PLAINTEXT;
}

bool access_uses_tls(const struct access *a)
{
    return a->protocol == REMOTE_SASL_SSL || a->protocol == REMOTE_SSL;
}

bool access_uses_scram(const struct access *a)
{
    return a->mechanism && !strncmp(a->mechanism, "SCRAM", 5);
}

bool access_wants_token(const struct access *a)
{
    return a->tokens;
}

/* ---- where things are ---- */

static void item_add(struct access *a, struct secret_item *items, size_t *n, const struct remote_file *f, struct str preset, struct str *ret_key)
{
    struct str path = f->path.n ? f->path : preset;

    if (!path.n) return;
    items[(*n)++] = (struct secret_item){.path = path, .optional = f->optional || !f->path.n};
    *ret_key = arena_dup_str(&a->arena, path);
}

static void part_source(struct access *a, enum part_kind kind, struct str name, const struct secret_item *items, size_t n)
{
    struct part *p = &a->parts[kind];

    if (!n) return;
    p->source = secret_source_new(&(struct secret_options){.what = str_of(part_names[kind]), .name = name, .items = items, .items_n = n});
}

static void tls_sources(struct access *a, const struct remote_security *s)
{
    bool named = s->tls_secret.n > 0;
    struct secret_item items[3];
    struct remote_file crt = s->crt, key = s->key;
    size_t n = 0;

    if (named && !crt.path.n) crt.path = STR("tls.crt");
    if (named && !key.path.n) key.path = STR("tls.key");
    item_add(a, items, &n, &crt, STR(""), &a->crt);
    item_add(a, items, &n, &key, STR(""), &a->key);
    item_add(a, items, &n, &s->ca, named ? STR("ca.crt") : STR(""), &a->ca);
    part_source(a, PART_OWN, s->tls_secret, items, n);
    n = 0;
    item_add(a, items, &n, &s->brokers_ca, s->brokers_secret.n ? STR("ca.crt") : STR(""), &a->brokers_ca);
    if (n && s->brokers_secret.n) items[0].optional = false;
    part_source(a, PART_BROKERS, s->brokers_secret, items, n);
}

static enum rc oidc_source(struct access *a, const struct remote_security *s, struct err *e)
{
    const struct secret_item own[] = {{.path = s->oauth_client_secret_path}};
    bool named = s->sasl_secret.n > 0;
    struct oidc_options o = {.method = s->oauth_method, .client_id = s->oauth_client_id, .scope = s->oauth_scope,
                             .token_endpoint_url = s->oauth_token_endpoint_url, .extensions = s->oauth_extensions, .ca_path = s->oauth_ca_path};

    o.secret = secret_source_new(&(struct secret_options){.what = STR("the OAuth secret"), .name = s->sasl_secret, .items = named ? oidc_items : own,
                                                          .items_n = named ? countof(oidc_items) : countof(own)});
    if (!named) o.client_secret_key = s->oauth_client_secret_path;
    return oidc_maker_new(&o, &a->maker, e);
}

static enum rc sasl_sources(struct access *a, const struct access_options *o, struct err *e)
{
    const struct remote_security *s = o->security;
    struct secret_item item;
    size_t n = 0;

    a->username = arena_dup_str(&a->arena, s->username).p;
    a->mechanism = arena_dup_str(&a->arena, s->mechanism).p;
    if (str_is(s->mechanism, "AWS_MSK_IAM")) {
        a->mechanism = "OAUTHBEARER";
        a->tokens = true;
        a->maker = msk_maker_new(&(struct msk_options){.bootstrap = o->bootstrap, .region = s->aws_region, .role_arn = s->aws_role_arn});
        return RC_OK;
    }
    a->tokens = str_is(s->mechanism, "OAUTHBEARER");
    if (a->tokens) return oidc_source(a, s, e);
    item_add(a, &item, &n, &s->password, STR("password"), &a->password);
    item.optional = false;
    part_source(a, PART_LOGIN, s->sasl_secret, &item, n);
    return RC_OK;
}

/* ---- reading ---- */

static enum rc parts_read(struct access *a, const atomic_bool *stop, struct err *e)
{
    for (int i = 0; i < PARTS_N; i++) {
        struct part *p = &a->parts[i];

        if (p->source && secret_read(p->source, stop, &p->now, e)) {
            e->retry = e->rc == RC_UNAVAILABLE || e->rc == RC_TIMEOUT;
            return e->rc;
        }
    }
    return RC_OK;
}

/* What may be there or not is said: nobody should have to guess which certificates count. */
static void say_access(const struct access *a)
{
    const struct secret *own = a->parts[PART_OWN].now, *brokers = a->parts[PART_BROKERS].now;
    struct bytes found;

    if (a->protocol == REMOTE_PLAINTEXT) return;
    diag(DIAG_INFO, "kafka.access", KV_CSTR("mechanism", a->mechanism ? a->mechanism : "none"),
         KV_CSTR("username", a->mechanism && !a->tokens ? a->username : ""),
         KV_CSTR("client_certificate", own && a->crt.n && secret_get(own, a->crt, &found) ? "yes" : "no"),
         KV_CSTR("authority", !access_uses_tls(a)                                                ? "none: no TLS"
                              : brokers && secret_get(brokers, a->brokers_ca, &found)            ? "brokerCaPath"
                              : own && a->ca.n && secret_get(own, a->ca, &found)                 ? "caPath"
                                                                                                 : "the system's"),
         KV_CSTR("names", a->any_name ? "not compared" : "compared"));
}

enum rc access_open(const struct access_options *o, struct access **ret, struct err *e)
{
    const struct remote_security *s = o->security;
    struct access *a = xnew(struct access);

    *a = (struct access){.k = o->k, .loop = o->loop, .workers = o->workers, .news = o->news, .protocol = s->protocol, .any_name = s->any_name};
    pthread_mutex_init(&a->lock, NULL);
    for (int i = 0; i < PARTS_N; i++)
        a->parts[i].a = a;
    if (access_uses_tls(a)) tls_sources(a, s);
    if (uses_sasl(a) && sasl_sources(a, o, e)) goto fail;
    if (parts_read(a, o->stop, e)) goto fail;
    if (a->maker && token_make(a->maker, o->stop, &a->token, e)) {
        bool retry = e->retry;
        struct trouble t = trouble_make(TROUBLE_SASL, "no token: %s", e->text);

        trouble_err(&t, e);
        e->retry = retry;
        goto fail;
    }
    say_access(a);
    *ret = a;
    return RC_OK;
fail:
    access_free(a);
    return e->rc;
}

void access_stop(struct access *a)
{
    for (int i = 0; a && i < PARTS_N; i++)
        a->parts[i].watch = secret_watch_free(a->parts[i].watch);
    if (a) a->keeper = token_keeper_free(a->keeper);
}

struct access *access_free(struct access *a)
{
    if (!a) return NULL;
    access_stop(a);
    for (int i = 0; i < PARTS_N; i++) {
        secret_source_free(a->parts[i].source);
        secret_free(a->parts[i].now);
    }
    token_maker_free(a->maker);
    token_fini(&a->token);
    arena_fini(&a->arena);
    pthread_mutex_destroy(&a->lock);
    free(a);
    return NULL;
}

/* ---- what changes ---- */

static void on_changed(void *ctx, struct secret *s)
{
    struct part *p = ctx;
    struct access *a = p->a;
    bool login = p == &a->parts[PART_LOGIN];

    if (p->now && secret_eq(p->now, s)) return;
    secret_free(p->now);
    p->now = secret_hold(s);
    diag(DIAG_INFO, "kafka.credentials", KV_CSTR("changed", part_names[p - a->parts]));
    if (login) a->news.credentials(a->news.ctx);
    else a->news.certificates(a->news.ctx);
}

static void on_failed(void *ctx, const struct err *e)
{
    const struct part *p = ctx;

    diag(DIAG_WARN, "kafka.credentials", KV_CSTR("kept", part_names[p - p->a->parts]), KV_CSTR("error", e->text),
         KV_CSTR("what", "it cannot be read again; what is known stays in use"));
}

static void on_token(void *ctx, const struct token *t)
{
    struct access *a = ctx;

    token_fini(&a->token);
    a->token = (struct token){.expires_ms = t->expires_ms, .extensions_n = t->extensions_n};
    buf_append(&a->token.value, buf_view(&t->value));
    snprintf(a->token.principal, sizeof a->token.principal, "%s", t->principal);
    a->token.extensions = xnew_array(char *, t->extensions_n);
    for (size_t i = 0; i < t->extensions_n; i++)
        a->token.extensions[i] = strdup(t->extensions[i]);
    a->news.credentials(a->news.ctx);
}

/* The token there is stays in use as long as it is good; then the library asks in vain, and that is an error of a login. */
static void on_no_token(void *ctx, const struct err *e)
{
    struct trouble t = trouble_make(TROUBLE_SASL, "no new token: %s", e->text);

    (void)ctx;
    trouble_say(&t);
}

void access_watch(struct access *a)
{
    for (int i = 0; i < PARTS_N; i++) {
        struct part *p = &a->parts[i];

        if (!p->source) continue;
        p->watch = secret_watch_new(&(struct secret_watch_options){.loop = a->loop, .workers = a->workers, .source = p->source, .known = secret_hold(p->now),
                                                                   .changed = on_changed, .failed = on_failed, .ctx = p});
        p->source = NULL;
    }
    if (!a->maker) return;
    a->keeper = token_keeper_new(&(struct token_keeper_options){.loop = a->loop, .workers = a->workers, .maker = a->maker,
                                                                .first_expires_ms = a->token.expires_ms, .fresh = on_token, .failed = on_no_token, .ctx = a});
    a->maker = NULL;
}

void access_refused(struct access *a)
{
    for (int i = 0; i < PARTS_N; i++)
        if (a->parts[i].watch) secret_watch_now(a->parts[i].watch);
    if (a->keeper) token_keeper_now(a->keeper);
}

/* ---- a client's configuration ---- */

static enum rc put(const struct access *a, rd_kafka_conf_t *conf, const char *name, const char *value, struct err *e)
{
    char why[256];

    if (a->k->rd_kafka_conf_set(conf, name, value, why, sizeof why) == RD_KAFKA_CONF_OK) return RC_OK;
    return err_set(e, RC_INVALID, "librdkafka property %s: %s", name, why);
}

static enum rc put_file(const struct access *a, rd_kafka_conf_t *conf, const char *name, const struct secret *from, struct str key, struct access_until *until,
                        bool *ret_there, struct err *e)
{
    struct secret_file *f = &until->files[until->n];
    struct bytes pem;

    *ret_there = from && key.n && secret_get(from, key, &pem);
    if (!*ret_there) return RC_OK;
    if (secret_file_open(f, e)) return e->rc;
    until->n++;
    return secret_file_fill(f, pem, e) ? e->rc : put(a, conf, name, f->path, e);
}

void access_until_fini(struct access_until *u)
{
    while (u->n)
        secret_file_close(&u->files[--u->n]);
}

static void on_refresh_wanted(rd_kafka_t *rk, const char *config, void *arg)
{
    (void)rk, (void)config, (void)arg; /* the keeper sees to it */
}

static int on_certificate(rd_kafka_t *rk, const char *broker, int32_t id, int *error, int depth, const char *der, size_t n, char *why, size_t why_n, void *arg);

static enum rc tls_conf(struct access *a, rd_kafka_conf_t *conf, struct access_until *until, struct err *e)
{
    const struct secret *own = a->parts[PART_OWN].now;
    bool ca, crt, key;

    if (put_file(a, conf, "ssl.ca.location", a->parts[PART_BROKERS].now, a->brokers_ca, until, &ca, e)) return e->rc;
    if (!ca && put_file(a, conf, "ssl.ca.location", own, a->ca, until, &ca, e)) return e->rc;
    if (put_file(a, conf, "ssl.certificate.location", own, a->crt, until, &crt, e)) return e->rc;
    if (put_file(a, conf, "ssl.key.location", own, a->key, until, &key, e)) return e->rc;
    if (crt != key) return err_set(e, RC_INVALID, "SSL: there is a client %s without its %s", crt ? "certificate" : "key", crt ? "key" : "certificate");
    a->k->rd_kafka_conf_set_ssl_cert_verify_cb(conf, on_certificate);
    return put(a, conf, "ssl.endpoint.identification.algorithm", a->any_name ? "none" : "https", e);
}

static void put_pem(void (*fn)(void *ctx, const char *name, struct str value), void *ctx, const char *name, const struct secret *from, struct str key)
{
    struct bytes pem;

    if (from && key.n && secret_get(from, key, &pem)) fn(ctx, name, bytes_str(pem));
}

static const char *const protocols[] = {"PLAINTEXT", "SSL", "SASL_SSL", "SASL_PLAINTEXT"};

void access_each_property(const struct access *a, void (*fn)(void *ctx, const char *name, struct str value), void *ctx)
{
    const struct secret *own = a->parts[PART_OWN].now;
    AUTO(buf_fini) struct buf extensions = {0};

    fn(ctx, "security.protocol", str_of(protocols[a->protocol]));
    if (access_uses_tls(a)) {
        put_pem(fn, ctx, "ssl.ca.pem", own, a->ca);
        put_pem(fn, ctx, "ssl.ca.pem", a->parts[PART_BROKERS].now, a->brokers_ca);     /* the last one counts */
        put_pem(fn, ctx, "ssl.certificate.pem", own, a->crt);
        put_pem(fn, ctx, "ssl.key.pem", own, a->key);
        fn(ctx, "ssl.endpoint.identification.algorithm", a->any_name ? STR("none") : STR("https"));
    }
    if (!uses_sasl(a)) return;
    fn(ctx, "sasl.mechanism", str_of(a->mechanism));
    if (a->tokens) {
        for (size_t i = 0; i + 1 < a->token.extensions_n; i += 2) buf_printf(&extensions, "\1%s=%s", a->token.extensions[i], a->token.extensions[i + 1]);
        fn(ctx, WIRE_TOKEN, buf_str(&a->token.value));
        fn(ctx, WIRE_TOKEN_EXTENSIONS, buf_str(&extensions));
        return;
    }
    fn(ctx, "sasl.username", str_of(a->username));
    fn(ctx, "sasl.password", secret_text(a->parts[PART_LOGIN].now, a->password));
}

enum rc access_conf(struct access *a, rd_kafka_conf_t *conf, struct access_until *until, struct err *e)
{
    if (put(a, conf, "security.protocol", protocols[a->protocol], e)) return e->rc;
    if (access_uses_tls(a) && tls_conf(a, conf, until, e)) return e->rc;
    if (!uses_sasl(a)) return RC_OK;
    if (put(a, conf, "sasl.mechanism", a->mechanism, e)) return e->rc;
    if (a->tokens) {
        a->k->rd_kafka_conf_set_oauthbearer_token_refresh_cb(conf, on_refresh_wanted);
        return RC_OK;
    }
    if (put(a, conf, "sasl.username", a->username, e)) return e->rc;
    return put(a, conf, "sasl.password", secret_text(a->parts[PART_LOGIN].now, a->password).p, e);
}

enum rc access_refresh(struct access *a, rd_kafka_t *rk, struct err *e)
{
    const struct kafka_lib *k = a->k;
    char why[256];

    if (a->tokens) {
        if (k->rd_kafka_oauthbearer_set_token(rk, buf_cstr(&a->token.value), a->token.expires_ms, a->token.principal, (const char **)a->token.extensions,
                                              a->token.extensions_n, why, sizeof why) != RD_KAFKA_RESP_ERR_NO_ERROR) {
            k->rd_kafka_oauthbearer_set_token_failure(rk, why);
            return err_set(e, RC_INVALID, "OAUTHBEARER: %s", why);
        }
    } else if (a->mechanism) {
        rd_kafka_error_t *error = k->rd_kafka_sasl_set_credentials(rk, a->username, secret_text(a->parts[PART_LOGIN].now, a->password).p);

        if (error) {
            err_set(e, RC_INVALID, "SASL: %s", k->rd_kafka_error_string(error));
            k->rd_kafka_error_destroy(error);
            return e->rc;
        }
    }
    return RC_OK;
}

/* ---- the certificate of a broker ---- */

/* The names that it is for: a few of them. */
static void put_hosts(X509 *x, char *to, size_t n)
{
    GENERAL_NAMES *names = X509_get_ext_d2i(x, NID_subject_alt_name, NULL, NULL);
    size_t at = 0;

    *to = 0;
    for (int i = 0; names && i < sk_GENERAL_NAME_num(names) && at + 1 < n; i++) {
        const GENERAL_NAME *g = sk_GENERAL_NAME_value(names, i);
        const unsigned char *ip;

        if (g->type == GEN_DNS)
            at += (size_t)snprintf(to + at, n - at, "%s%.*s", at ? ", " : "", ASN1_STRING_length(g->d.dNSName), ASN1_STRING_get0_data(g->d.dNSName));
        if (g->type != GEN_IPADD || ASN1_STRING_length(g->d.iPAddress) != 4) continue;
        ip = ASN1_STRING_get0_data(g->d.iPAddress);
        at += (size_t)snprintf(to + at, n - at, "%s%d.%d.%d.%d", at ? ", " : "", ip[0], ip[1], ip[2], ip[3]);
    }
    GENERAL_NAMES_free(names);
}

/* On a thread of the library, for each certificate of a chain; it has checked it, we look at what it found. */
static int on_certificate(rd_kafka_t *rk, const char *broker, int32_t id, int *error, int depth, const char *der, size_t n, char *why, size_t why_n, void *arg)
{
    struct access *a = ((struct remote *)arg)->access;
    const unsigned char *p = (const unsigned char *)der;
    AUTO(buf_fini) struct buf subject = {0}, issuer = {0}, from = {0}, to = {0};
    char hosts[72];
    X509 *x;

    (void)rk, (void)id, (void)depth, (void)why, (void)why_n;
    if (*error == X509_V_OK) return 1;
    x = d2i_X509(NULL, &p, (long)n);
    if (!x) return 0;
    certificate_name_put(X509_get_subject_name(x), &subject);
    certificate_name_put(X509_get_issuer_name(x), &issuer);
    put_hosts(x, hosts, sizeof hosts);
    certificate_date_put(X509_get0_notBefore(x), &from);
    certificate_date_put(X509_get0_notAfter(x), &to);
    X509_free(x);
    pthread_mutex_lock(&a->lock);
    snprintf(a->certificate, sizeof a->certificate, "%s: the certificate %.79s%s%s (signed by %.63s, good from %s to %s): %s", strchr(broker, '/') ? strrchr(broker, '/') + 1 : broker,
             buf_cstr(&subject), *hosts ? " for " : "", hosts, buf_cstr(&issuer), buf_cstr(&from), buf_cstr(&to), X509_verify_cert_error_string(*error));
    pthread_mutex_unlock(&a->lock);
    return 0;
}

bool access_certificate_put(struct access *a, const char *text, struct buf *b)
{
    bool known;

    if (!strcasestr(text, "certificate verify failed")) return false;
    pthread_mutex_lock(&a->lock);
    known = *a->certificate;
    if (known) buf_append_str(b, str_of(a->certificate));
    pthread_mutex_unlock(&a->lock);
    return known;
}
