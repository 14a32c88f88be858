/* SPDX-License-Identifier: Apache-2.0 */
#include "cred/http.h"
#include "base/rng.h"
#include "net/curl.h"
#include "sys/clock.h"
#include <errno.h>
#include <time.h>

enum { FIRST_PAUSE_MS = 250, LOOK_MS = 50 };

struct filling { struct buf *into; size_t max; bool too_much; };

static size_t on_bytes(char *p, size_t size, size_t n, void *ctx)
{
    struct filling *f = ctx;

    f->too_much = f->into->n + size * n > f->max;
    if (f->too_much) return 0;                   /* ends the transfer */
    if (!f->into->p) buf_reserve(f->into, f->max);         /* so that it never moves, and leaves copies behind */
    buf_append(f->into, bytes_of(p, size * n));
    return size * n;
}

static int on_progress(void *ctx, curl_off_t total, curl_off_t now, curl_off_t up_total, curl_off_t up)
{
    (void)total, (void)now, (void)up_total, (void)up;
    return atomic_load((const atomic_bool *)ctx);
}

void cred_answer_fini(struct cred_answer *a)
{
    buf_wipe(&a->body);
    *a = (struct cred_answer){0};
}

void http_escape(struct str s, struct buf *ret)
{
    static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.~";

    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] && strchr(plain, s.p[i]))
            buf_append_byte(ret, (uint8_t)s.p[i]);
        else
            buf_printf(ret, "%%%02X", (uint8_t)s.p[i]);
}

void cred_quote(const char *text, char *ret, size_t room)
{
    size_t n = 0;

    for (; text && text[n] && n + 1 < room; n++)
        ret[n] = text[n] < ' ' || text[n] > '~' ? '?' : text[n];
    ret[n] = 0;
}

static struct curl_slist *headers_of(const struct cred_ask *q, const struct curl_lib *lib)
{
    struct curl_slist *list = lib->slist_append(NULL, "Expect:");

    for (size_t i = 0; i < countof(q->headers) && q->headers[i]; i++)
        list = lib->slist_append(list, q->headers[i]);
    return list;
}

static void headers_free(struct curl_slist *list, const struct curl_lib *lib)
{
    for (struct curl_slist *h = list; h; h = h->next)
        explicit_bzero(h->data, strlen(h->data));
    lib->slist_free(list);
}

static void prepare(const struct cred_ask *q, const struct curl_lib *lib, CURL *c, uint64_t left_ms)
{
    lib->setopt(c, CURLOPT_URL, q->url);
    lib->setopt(c, CURLOPT_CUSTOMREQUEST, q->method);
    lib->setopt(c, CURLOPT_PROTOCOLS_STR, "http,https");
    lib->setopt(c, CURLOPT_NOSIGNAL, 1L);
    lib->setopt(c, CURLOPT_TIMEOUT_MS, (long)left_ms);
    lib->setopt(c, CURLOPT_USERAGENT, "millrace");
    if (q->ca_path) lib->setopt(c, CURLOPT_CAINFO, q->ca_path);
    if (q->local) lib->setopt(c, CURLOPT_NOPROXY, "*");
    if (q->basic) lib->setopt(c, CURLOPT_HTTPAUTH, CURLAUTH_BASIC);
    if (q->basic) lib->setopt(c, CURLOPT_USERPWD, q->basic);
    if (q->body.p) lib->setopt(c, CURLOPT_POSTFIELDSIZE, (long)q->body.n);
    if (q->body.p) lib->setopt(c, CURLOPT_POSTFIELDS, q->body.p);
    if (!q->stop) return;
    lib->setopt(c, CURLOPT_NOPROGRESS, 0L);
    lib->setopt(c, CURLOPT_XFERINFOFUNCTION, on_progress);
    lib->setopt(c, CURLOPT_XFERINFODATA, q->stop);
}

static enum rc no_answer(const struct cred_ask *q, const struct curl_lib *lib, CURLcode code, const struct filling *f, struct err *e)
{
    int url_n = (int)strcspn(q->url, "?");

    if (q->stop && atomic_load(q->stop)) return err_set(e, RC_CANCELLED, "this process is stopping");
    if (f->too_much) return err_set(e, RC_TOO_LARGE, "%s %.*s: an answer of more than %zu bytes", q->method, url_n, q->url, f->max);
    if (code == CURLE_PEER_FAILED_VERIFICATION || code == CURLE_SSL_CACERT_BADFILE || code == CURLE_SSL_CONNECT_ERROR)
        return err_set(e, RC_DENIED, "%s %.*s: SSL handshake failed: %s; certificates are checked against %s", q->method, url_n, q->url,
                       lib->strerror(code), q->ca_path ? q->ca_path : "the system's authorities");
    err_set(e, code == CURLE_OPERATION_TIMEDOUT ? RC_TIMEOUT : RC_UNAVAILABLE, "%s %.*s: %s", q->method, url_n, q->url, lib->strerror(code));
    e->retry = code != CURLE_URL_MALFORMAT && code != CURLE_UNSUPPORTED_PROTOCOL;
    return e->rc;
}

static enum rc once(const struct cred_ask *q, const struct curl_lib *lib, uint64_t left_ms, struct cred_answer *into, struct err *e)
{
    struct filling f = {.into = &into->body, .max = q->bytes_max ? q->bytes_max : HTTP_ANSWER_MAX};
    struct curl_slist *headers;
    CURL *c = lib->init();
    CURLcode code;

    must(c);
    headers = headers_of(q, lib);
    prepare(q, lib, c, left_ms);
    lib->setopt(c, CURLOPT_HTTPHEADER, headers);
    lib->setopt(c, CURLOPT_WRITEFUNCTION, on_bytes);
    lib->setopt(c, CURLOPT_WRITEDATA, &f);
    code = lib->perform(c);
    if (code == CURLE_OK) lib->getinfo(c, CURLINFO_RESPONSE_CODE, &into->status);
    lib->cleanup(c);
    headers_free(headers, lib);
    return code == CURLE_OK ? RC_OK : no_answer(q, lib, code, &f, e);
}

static bool stopped(const struct cred_ask *q)
{
    return q->stop && atomic_load(q->stop);
}

static void pause_ms(const struct cred_ask *q, uint64_t ms)
{
    for (uint64_t slept = 0; slept < ms && !stopped(q); slept += LOOK_MS)
        nanosleep(&(struct timespec){.tv_nsec = LOOK_MS * 1000000L}, NULL);
}

static uint64_t some_of(uint64_t ms)
{
    uint16_t chance;

    random_bytes(&chance, sizeof chance);
    return ms / 2 + ms * chance / 65536;
}

static bool passing(enum rc rc, const struct cred_answer *a, const struct err *e)
{
    return rc ? e->retry : a->status == 429 || a->status >= 500;
}

enum rc cred_ask(const struct cred_ask *q, struct cred_answer *ret, struct err *e)
{
    uint64_t begun = clock_mono_ms(&clock_real), pause = FIRST_PAUSE_MS;
    const struct curl_lib *lib;

    if (curl_load(&lib, e)) return e->rc;
    for (unsigned tries = 1;; tries++, pause *= 2) {
        uint64_t spent = clock_mono_ms(&clock_real) - begun, wait = some_of(pause);
        enum rc rc = once(q, lib, q->timeout_ms > spent ? q->timeout_ms - spent : 1, ret, e);

        spent = clock_mono_ms(&clock_real) - begun;
        if (!passing(rc, ret, e) || tries == HTTP_TRIES || stopped(q) || spent + wait >= q->timeout_ms) return rc;
        cred_answer_fini(ret);
        pause_ms(q, wait);
    }
}
