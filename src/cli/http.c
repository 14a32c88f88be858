/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/http.h"
#include "net/addr.h"
#include "net/curl.h"

enum { CONNECT_S = 5 };

static size_t on_body(char *p, size_t size, size_t n, void *ctx)
{
    struct http_answer *a = ctx;
    buf_append(&a->body, bytes_of(p, size * n));
    return size * n;
}

static void percent_decode(struct str s, struct buf *b)
{
    for (size_t i = 0; i < s.n; i++) {
        char hex[3] = {0};
        if (s.p[i] != '%' || i + 2 >= s.n) {
            buf_append_byte(b, (uint8_t)s.p[i]);
            continue;
        }
        memcpy(hex, s.p + i + 1, 2);
        buf_append_byte(b, (uint8_t)strtoul(hex, NULL, 16));
        i += 2;
    }
}

/* Headers and trailers alike. */
static size_t on_header(char *p, size_t size, size_t n, void *ctx)
{
    struct http_answer *a = ctx;
    struct str line = {p, size * n}, name, value;
    int64_t number;

    while (line.n && (line.p[line.n - 1] == '\r' || line.p[line.n - 1] == '\n'))
        line.n--;
    if (!str_cut(line, ':', &name, &value)) return size * n;
    while (value.n && value.p[0] == ' ')
        value = (struct str){value.p + 1, value.n - 1};
    if (str_eq_nocase(name, STR("x-request-id")) && !a->request_id.n)
        buf_append_str(&a->request_id, value);
    if (str_eq_nocase(name, STR("grpc-status")) && str_to_i64(value, &number))
        a->grpc_status = (int)number;
    if (str_eq_nocase(name, STR("grpc-message"))) {
        buf_clear(&a->grpc_message);
        percent_decode(value, &a->grpc_message);
    }
    return size * n;
}

static enum rc perform(const struct curl_lib *curl, CURL *c, const struct http_ask *a, const char *url, struct err *e)
{
    CURLcode code = curl->perform(c);

    if (code == CURLE_OK) return RC_OK;
    if (code == CURLE_OPERATION_TIMEDOUT)
        return err_set(e, RC_TIMEOUT, "%s: no answer in time", url);
    return err_set(e, RC_UNAVAILABLE,
                   "no millrace can be reached at %s (%s); is it running? --server HOST:PORT or "
                   "MILLRACE_SERVER says where",
                   a->server, curl->strerror(code));
}

enum rc http_ask(const struct http_ask *a, struct http_answer *ret, struct err *e)
{
    AUTO(buf_fini) struct buf url = {0};
    static CURL *c;                              /* keeps its connection for the next request */
    struct curl_slist *headers = NULL;
    const struct curl_lib *curl;

    *ret = (struct http_answer){.grpc_status = -1};
    if (curl_load(&curl, e)) return e->rc;
    if (!c) c = curl->init();
    if (!c) return err_set(e, RC_UNSUPPORTED, "libcurl does not start");
    buf_printf(&url, "http://%s" STR_FMT, a->server, STR_ARG(a->path));
    for (size_t i = 0; i < a->headers_n; i++)
        headers = curl->slist_append(headers, a->headers[i]);
    headers = curl->slist_append(headers, "Expect:");
    curl->setopt(c, CURLOPT_URL, buf_cstr(&url));
    curl->setopt(c, CURLOPT_CUSTOMREQUEST, a->method);
    curl->setopt(c, CURLOPT_HTTPHEADER, headers);
    curl->setopt(c, CURLOPT_WRITEFUNCTION, on_body);
    curl->setopt(c, CURLOPT_WRITEDATA, ret);
    curl->setopt(c, CURLOPT_HEADERFUNCTION, on_header);
    curl->setopt(c, CURLOPT_HEADERDATA, ret);
    curl->setopt(c, CURLOPT_NOPROXY, "*");
    curl->setopt(c, CURLOPT_NOSIGNAL, 1L);
    curl->setopt(c, CURLOPT_CONNECTTIMEOUT, (long)CONNECT_S);
    curl->setopt(c, CURLOPT_TIMEOUT, (long)a->timeout_s);
    if (a->grpc) { /* libcurl 7.88 cannot use such a connection a second time */
        curl->setopt(c, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_2_PRIOR_KNOWLEDGE);
        curl->setopt(c, CURLOPT_FRESH_CONNECT, 1L);
        curl->setopt(c, CURLOPT_FORBID_REUSE, 1L);
    }
    if (strcmp(a->method, "POST") == 0) {
        curl->setopt(c, CURLOPT_POST, 1L);
        curl->setopt(c, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)a->body.n);
        curl->setopt(c, CURLOPT_POSTFIELDS, a->body.p ? (const char *)a->body.p : "");
    }
    enum rc rc = perform(curl, c, a, buf_cstr(&url), e);
    if (!rc) curl->getinfo(c, CURLINFO_RESPONSE_CODE, &ret->status);
    curl->reset(c);
    curl->slist_free(headers);
    if (rc) http_answer_fini(ret);
    return rc;
}

void http_answer_fini(struct http_answer *a)
{
    buf_fini(&a->body);
    buf_fini(&a->grpc_message);
    buf_fini(&a->request_id);
    *a = (struct http_answer){.grpc_status = -1};
}

enum rc http_server_name(struct str said, struct buf *ret, struct err *e)
{
    struct str rest = said, host;
    uint16_t port;
    const char *colon;
    bool bare;

    if (str_starts(rest, STR("https://")))
        return err_set(e, RC_INVALID,
                       "\"" STR_FMT "\": the inference port speaks plain HTTP: HOST:PORT is wanted",
                       STR_ARG(said));
    if (str_starts(rest, STR("http://"))) rest = (struct str){rest.p + 7, rest.n - 7};
    if (str_ends(rest, STR("/"))) rest.n--;
    colon = memchr(rest.p, ':', rest.n);
    bare = !colon || str_ends(rest, STR("]"));
    buf_printf(ret, "%s" STR_FMT, colon == rest.p ? "127.0.0.1" : "", STR_ARG(rest));
    if (bare) buf_printf(ret, ":%d", HTTP_SERVER_PORT);
    if (rest.n && !memchr(rest.p, '/', rest.n) && !memchr(rest.p, '@', rest.n) &&
        !addr_split(buf_str(ret), &host, &port, e) && port)
        return RC_OK;
    return err_set(e, RC_INVALID, "\"" STR_FMT "\": HOST:PORT is wanted, as 127.0.0.1:%d",
                   STR_ARG(said), HTTP_SERVER_PORT);
}

void http_put_escaped(struct buf *b, struct str s)
{
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                     strchr("-._~", c);
        if (plain && c)
            buf_append_byte(b, c);
        else
            buf_printf(b, "%%%02X", c);
    }
}
