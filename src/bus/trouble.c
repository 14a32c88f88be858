/* Design note: the first row of the table that fits says what it is. A row fits by the library's code, or by words in its text
 * where the code says less than the text. SPDX-License-Identifier: Apache-2.0 */
#include "bus/trouble.h"
#include "base/diag.h"
#include "sys/clock.h"
#include <librdkafka/rdkafka.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

enum { SAY_EVERY_MS = 60000, SAY_AGAIN_MS = 10000, MORE_MAX = 2, REFUSED_FOR_MS = 30000 };

static const struct {
    const char *name, *sentence, *remedy;
    enum rc rc;
} kinds[TROUBLE_KINDS] = {
    [TROUBLE_NONE] = {"none", "", "", RC_OK},
    [TROUBLE_BROKER] = {"broker_not_available", "Broker not available", "check that Kafka runs, and kafka.bootstrap", RC_UNAVAILABLE},
    [TROUBLE_METADATA] = {"topic_metadata_refresh_timeout", "Topic metadata refresh timeout",
                          "raise kafka.consumer.topicMetadataPropagationMaxMs, or look at the cluster's controller", RC_UNAVAILABLE},
    [TROUBLE_SASL] = {"sasl_authentication_failed", "SASL authentication failed",
                      "check username, password and mechanism in security.kafka.sasl", RC_UNAVAILABLE},
    [TROUBLE_TLS] = {"ssl_handshake_failed", "SSL handshake failed",
                     "check the certificates in security.kafka.ssl.client, their chain and dates", RC_UNAVAILABLE},
    [TROUBLE_SIZE] = {"message_too_large", "Message too large",
                      "raise messageMaxBytes of consumer and producer, and the topic's max.message.bytes", RC_TOO_LARGE},
};

const char *trouble_name(enum trouble_kind kind)
{
    return kinds[kind].name;
}
const char *trouble_sentence(enum trouble_kind kind)
{
    return kinds[kind].sentence;
}
enum rc trouble_rc(enum trouble_kind kind)
{
    return kinds[kind].rc;
}

/* ---- which one ---- */

enum { ANY_CODE = 1000 };

/* code ANY_CODE: whatever the code; words NULL: whatever the text; remedy NULL: the kind's own.
 * also: words that must be there besides. */
static const struct {
    int code;
    const char *words;
    enum trouble_kind kind;
    const char *remedy, *also;
} rows[] = {
    {RD_KAFKA_RESP_ERR_UNSUPPORTED_SASL_MECHANISM, NULL, TROUBLE_SASL,
     "the broker takes other mechanisms: set security.kafka.sasl.mechanism to one that the cause names"},
    {ANY_CODE, "unsupported sasl mechanism", TROUBLE_SASL,
     "the broker takes other mechanisms: set security.kafka.sasl.mechanism to one that the cause names"},
    {ANY_CODE, "mechanism handshake failed", TROUBLE_SASL,
     "the broker takes other mechanisms: set security.kafka.sasl.mechanism to one that the cause names"},
    {RD_KAFKA_RESP_ERR__AUTHENTICATION, "token", TROUBLE_SASL,
     "check security.kafka.sasl.oauth: the token endpoint, client id, client secret and scope; and what the broker wants of a token"},
    {ANY_CODE, "connecting to a plaintext", TROUBLE_TLS,
     "the listener there speaks no TLS: check security.kafka.protocol and the port in kafka.bootstrap"},
    {ANY_CODE, "unexpected eof", TROUBLE_BROKER, NULL, "in state up"}, /* it was there, and has gone without a word of TLS */
    {ANY_CODE, "unexpected eof", TROUBLE_TLS,
     "the listener there seems to speak no TLS: check security.kafka.protocol and the port in kafka.bootstrap"},
    {ANY_CODE, "wrong version number", TROUBLE_TLS,
     "the listener there speaks no TLS: check security.kafka.protocol and the port in kafka.bootstrap"},
    {ANY_CODE, "certificate required", TROUBLE_TLS,
     "the broker wants a client certificate: set security.kafka.ssl.client.crtPath and keyPath"},
    {ANY_CODE, "alert bad certificate", TROUBLE_TLS,
     "the broker does not take the client certificate, or wants one: check security.kafka.ssl.client.crtPath and keyPath"},
    {ANY_CODE, "alert unknown ca", TROUBLE_TLS,
     "the broker does not know who signed the client certificate: give crtPath one of an authority that it trusts, with its chain"},
    {ANY_CODE, "alert certificate expired", TROUBLE_TLS, "the client certificate has ended: renew the file at security.kafka.ssl.client.crtPath"},
    {ANY_CODE, "alert certificate unknown", TROUBLE_TLS,
     "the broker does not take the client certificate: give security.kafka.ssl.client.crtPath one of an authority that it trusts"},
    {ANY_CODE, "hostname mismatch", TROUBLE_TLS,
     "use a name in kafka.bootstrap and the advertised listeners that the certificate carries, or have one made with that name"},
    {ANY_CODE, "ip address mismatch", TROUBLE_TLS,
     "use a name in kafka.bootstrap and the advertised listeners that the certificate carries, or have one made with that address"},
    {ANY_CODE, "certificate has expired", TROUBLE_TLS, "that certificate has to be renewed where it is used"},
    {ANY_CODE, "not yet valid", TROUBLE_TLS, "compare the clocks of the two machines, or wait for the certificate's first day"},
    {ANY_CODE, "self-signed certificate", TROUBLE_TLS,
     "put the certificate of the authority that signed the broker's into security.kafka.ssl.client.brokerCaPath"},
    {ANY_CODE, "local issuer certificate", TROUBLE_TLS,
     "put the certificate of the authority that signed the broker's into security.kafka.ssl.client.brokerCaPath"},
    {ANY_CODE, "certificate verify failed", TROUBLE_TLS,
     "put the certificate of the authority that signed the broker's into security.kafka.ssl.client.brokerCaPath"},
    {ANY_CODE, "ssl listener?", TROUBLE_BROKER, "the listener there seems to want TLS: check security.kafka.protocol and the port in kafka.bootstrap"},
    {ANY_CODE, "sasl listener?", TROUBLE_BROKER, "the listener there seems to want SASL: check security.kafka.protocol and the port in kafka.bootstrap"},
    {RD_KAFKA_RESP_ERR__AUTHENTICATION, NULL, TROUBLE_SASL, NULL},
    {RD_KAFKA_RESP_ERR_SASL_AUTHENTICATION_FAILED, NULL, TROUBLE_SASL, NULL},
    {RD_KAFKA_RESP_ERR_ILLEGAL_SASL_STATE, NULL, TROUBLE_SASL, NULL},
    {RD_KAFKA_RESP_ERR__SSL, NULL, TROUBLE_TLS, NULL},
    {ANY_CODE, "ssl handshake failed", TROUBLE_TLS, NULL},
    {ANY_CODE, "verification callback failed", TROUBLE_TLS, NULL},
    {RD_KAFKA_RESP_ERR__RESOLVE, NULL, TROUBLE_BROKER, "check the names in kafka.bootstrap and the advertised listeners, and that they resolve here"},
    {RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN, NULL, TROUBLE_BROKER, NULL},
    {RD_KAFKA_RESP_ERR__TRANSPORT, NULL, TROUBLE_BROKER, NULL},
    {RD_KAFKA_RESP_ERR_BROKER_NOT_AVAILABLE, NULL, TROUBLE_BROKER, NULL},
    {RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE, NULL, TROUBLE_SIZE, NULL},
    {RD_KAFKA_RESP_ERR_INVALID_MSG_SIZE, NULL, TROUBLE_SIZE, NULL},
    {RD_KAFKA_RESP_ERR_RECORD_LIST_TOO_LARGE, NULL, TROUBLE_SIZE, NULL},
};

static void make(struct trouble *t, enum trouble_kind kind, const char *remedy, const char *cause)
{
    size_t n;

    t->kind = kind;
    t->remedy = remedy ? remedy : kinds[kind].remedy;
    snprintf(t->cause, sizeof t->cause, "%s", cause);
    for (n = 0; t->cause[n]; n++) /* the library's texts may have lines */
        if ((unsigned char)t->cause[n] < ' ') t->cause[n] = ' ';
    while (n && (t->cause[n - 1] == ' ' || t->cause[n - 1] == '.'))
        t->cause[--n] = 0;
}

bool trouble_of_code(int code, const char *text, struct trouble *ret)
{
    if (!text) text = "";
    for (size_t i = 0; i < countof(rows); i++) {
        if (rows[i].code != ANY_CODE && rows[i].code != code) continue;
        if (rows[i].words && !strcasestr(text, rows[i].words)) continue;
        if (rows[i].also && !strcasestr(text, rows[i].also)) continue;
        make(ret, rows[i].kind, rows[i].remedy, text);
        return true;
    }
    return false;
}

static bool remedy_known(enum trouble_kind kind, struct str text, const char **ret)
{
    *ret = kinds[kind].remedy;
    if (str_is(text, *ret)) return true;
    for (size_t i = 0; i < countof(rows); i++) {
        if (rows[i].kind != kind || !rows[i].remedy || !str_is(text, rows[i].remedy)) continue;
        *ret = rows[i].remedy;
        return true;
    }
    return false;
}

bool trouble_of_err(const struct err *e, struct trouble *ret)
{
    for (int kind = TROUBLE_NONE + 1; kind < TROUBLE_KINDS; kind++) {
        const char *at = strstr(e->text, kinds[kind].sentence), *remedy, *tail;
        char cause[sizeof e->text];

        if (!at) continue;
        at += strlen(kinds[kind].sentence);
        snprintf(cause, sizeof cause, "%s", strncmp(at, ": ", 2) ? at : at + 2);
        remedy = kinds[kind].remedy;
        for (tail = strchr(cause, '('); tail; tail = strchr(tail + 1, '(')) {
            size_t n = strcspn(tail, ")");

            if (!tail[n] || !remedy_known((enum trouble_kind)kind, (struct str){tail + 1, n - 1}, &remedy)) continue;
            cause[tail - cause] = 0;
            break;
        }
        make(ret, (enum trouble_kind)kind, remedy, cause);
        return true;
    }
    return false;
}

struct trouble trouble_make(enum trouble_kind kind, const char *fmt, ...)
{
    struct trouble t;
    char cause[sizeof t.cause];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(cause, sizeof cause, fmt, ap);
    va_end(ap);
    make(&t, kind, NULL, cause);
    return t;
}

/* ---- as text ---- */

void trouble_put(const struct trouble *t, struct buf *b)
{
    buf_printf(b, "%s%s%s (%s)", kinds[t->kind].sentence, *t->cause ? ": " : "", t->cause, t->remedy);
}

enum rc trouble_err(const struct trouble *t, struct err *e)
{
    return err_set(e, kinds[t->kind].rc, "%s%s%s (%s)", kinds[t->kind].sentence, *t->cause ? ": " : "", t->cause, t->remedy);
}

/* ---- what lasts ---- */

static struct {
    pthread_mutex_t lock;
    struct trouble now;                          /* kind TROUBLE_NONE: nothing lasts */
    uint64_t refused_ms;                         /* when a broker last turned us away */
    bool guessed;                                /* … or only hung up in the handshake, which one that ends does as well */
    uint64_t said_ms[TROUBLE_KINDS], count[TROUBLE_KINDS], said_count[TROUBLE_KINDS];
    bool open[TROUBLE_KINDS];                    /* said, and not gone since */
    const char *said_remedy[TROUBLE_KINDS];
    unsigned more[TROUBLE_KINDS];                /* lines since for another remedy */
    struct trouble last[TROUBLE_KINDS];
    uint64_t last_ms[TROUBLE_KINDS];
} book = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* The first cause met may not be the one that lasts: another remedy is said, too, a few times. */
static bool is_another(const struct trouble *t)
{
    return t->remedy != book.said_remedy[t->kind] && book.more[t->kind]++ < MORE_MAX;
}

static bool is_news(enum trouble_kind kind, uint64_t now_ms)
{
    uint64_t wait = book.open[kind] ? SAY_EVERY_MS : SAY_AGAIN_MS;

    return !book.said_ms[kind] || now_ms - book.said_ms[kind] >= wait;
}

/* The library guesses then ("connecting to a PLAINTEXT broker listener?"). */
static bool hung_up(const char *cause)
{
    return strcasestr(cause, "disconnected") || strcasestr(cause, "unexpected eof");
}

static bool nobody_there(const char *cause)
{
    return strcasestr(cause, "connect to ") && strcasestr(cause, "failed");
}

void trouble_say(const struct trouble *t)
{
    uint64_t now_ms = clock_mono_ms(&clock_real) + 1, times = 0;
    enum trouble_kind k = t->kind;
    bool say = false;

    pthread_mutex_lock(&book.lock);
    book.count[k]++;
    book.last[k] = *t;
    book.last_ms[k] = now_ms;
    if (k == TROUBLE_SASL || k == TROUBLE_TLS) {
        book.refused_ms = now_ms;
        book.guessed = hung_up(t->cause);
    } else if (k == TROUBLE_BROKER && book.guessed && nobody_there(t->cause)) {
        book.refused_ms = 0;
    }
    if (k != TROUBLE_BROKER || !book.refused_ms || now_ms - book.refused_ms >= REFUSED_FOR_MS) {
        if (k != TROUBLE_SIZE && k != TROUBLE_METADATA) book.now = *t; /* those are one message's, one topic's */
        say = is_news(k, now_ms);
        if (say) book.more[k] = 0;
        say |= is_another(t);
        if (say) {
            book.said_remedy[k] = t->remedy;
            times = book.count[k] - book.said_count[k];
            book.said_count[k] = book.count[k];
            book.said_ms[k] = now_ms;
        }
        book.open[k] = true;
    }
    pthread_mutex_unlock(&book.lock);
    if (say)
        diag(DIAG_WARN, "kafka.trouble", KV_CSTR("trouble", kinds[k].name), KV_CSTR("error", kinds[k].sentence), KV_CSTR("cause", t->cause),
             KV_CSTR("remedy", t->remedy), KV_U64("times", times));
}

void trouble_gone(void)
{
    pthread_mutex_lock(&book.lock);
    book.now.kind = TROUBLE_NONE;
    book.refused_ms = 0;
    memset(book.open, 0, sizeof book.open);
    pthread_mutex_unlock(&book.lock);
}

bool trouble_now(struct trouble *ret)
{
    bool lasts;

    pthread_mutex_lock(&book.lock);
    lasts = book.now.kind != TROUBLE_NONE;
    if (lasts) *ret = book.now;
    pthread_mutex_unlock(&book.lock);
    return lasts;
}

void trouble_more(struct err *e)
{
    AUTO(buf_fini) struct buf text = {0};
    struct trouble t;

    if (!trouble_now(&t)) return;
    trouble_put(&t, &text);
    err_more(e, "%s", buf_cstr(&text));
}

bool trouble_last(enum trouble_kind kind, struct trouble *ret, uint64_t *ret_ago_ms)
{
    bool met;

    pthread_mutex_lock(&book.lock);
    met = book.count[kind];
    if (met) {
        *ret = book.last[kind];
        *ret_ago_ms = clock_mono_ms(&clock_real) + 1 - book.last_ms[kind];
    }
    pthread_mutex_unlock(&book.lock);
    return met;
}

uint64_t trouble_count(enum trouble_kind kind)
{
    uint64_t n;

    pthread_mutex_lock(&book.lock);
    n = book.count[kind];
    pthread_mutex_unlock(&book.lock);
    return n;
}
