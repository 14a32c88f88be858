/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/http.h"
#include "net/addr.h"
#include "net/curl.h"
#include "net/grpc.h"
#include "sys/fs.h"
#include <stdio.h>

enum { CONNECT_S = 5, TOKEN_FILE_MAX = 64 << 10 };

static struct http_identity identity;
static struct buf authorization;                 /* "Authorization: Bearer …", or empty */

enum rc http_identify(const struct http_identity *who, struct err *e)
{
    AUTO(buf_fini) struct buf text = {0};
    const char *name = who->token_given ? "--token" : "MILLRACE_TOKEN";
    struct str token;

    identity = *who;
    if (!who->token || !*who->token) return RC_OK;
    if (who->token[0] != '@') {
        if (who->token_given)
            return err_set(e, RC_INVALID, "--token: everybody on this machine can read a command line: --token @FILE, or MILLRACE_TOKEN in the environment");
        buf_append_str(&text, str_of(who->token));
    } else if (fs_load(&fs_real, who->token + 1, TOKEN_FILE_MAX, &text, e)) {
        return err_in(e, "%s", name);
    }
    token = str_trim(buf_str(&text));
    if (!token.n) return err_set(e, RC_INVALID, "%s: there is no token in it", name);
    for (size_t i = 0; i < token.n; i++)
        if (token.p[i] <= ' ' || token.p[i] > '~') return err_set(e, RC_INVALID, "%s: a token is one word of printable characters", name);
    buf_printf(&authorization, "Authorization: Bearer " STR_FMT, STR_ARG(token));
    return RC_OK;
}

static size_t on_body(char *p, size_t size, size_t n, void *ctx)
{
    struct http_answer *a = ctx;
    buf_append(&a->body, bytes_of(p, size * n));
    return size * n;
}

/* Headers and trailers alike. A gRPC answer that is nothing but headers ends here: libcurl 7.88, still sending the request
 * when it comes, would wait for more until its time is over. */
static size_t on_header(char *p, size_t size, size_t n, void *ctx)
{
    struct http_answer *a = ctx;
    struct str line = {p, size * n}, name, value;
    int64_t number;

    while (line.n && (line.p[line.n - 1] == '\r' || line.p[line.n - 1] == '\n'))
        line.n--;
    if (!line.n && a->grpc_status >= 0) return 0;
    if (!str_cut(line, ':', &name, &value)) return size * n;
    while (value.n && value.p[0] == ' ')
        value = (struct str){value.p + 1, value.n - 1};
    if (str_eq_nocase(name, STR("x-request-id")) && !a->request_id.n)
        buf_append_str(&a->request_id, value);
    if (str_eq_nocase(name, STR("grpc-status")) && str_to_i64(value, &number))
        a->grpc_status = (int)number;
    if (str_eq_nocase(name, STR("grpc-message"))) {
        buf_clear(&a->grpc_message);
        grpc_message_decode(&a->grpc_message, value);
    }
    return size * n;
}

static bool about_certificates(CURLcode code)
{
    return code == CURLE_PEER_FAILED_VERIFICATION || code == CURLE_SSL_CONNECT_ERROR || code == CURLE_SSL_CACERT_BADFILE ||
           code == CURLE_SSL_CERTPROBLEM || code == CURLE_SSL_ISSUER_ERROR;
}

static bool ended_by_peer(CURLcode code)
{
    return code == CURLE_GOT_NOTHING || code == CURLE_RECV_ERROR || code == CURLE_SEND_ERROR || code == CURLE_HTTP2 || code == CURLE_HTTP2_STREAM;
}

static enum rc perform(const struct curl_lib *curl, CURL *c, const struct http_ask *a, const char *url, const struct http_answer *ret, struct err *e)
{
    bool tls = str_starts(str_of(a->server), STR("https://"));
    char why[CURL_ERROR_SIZE] = "";
    CURLcode code;

    curl->setopt(c, CURLOPT_ERRORBUFFER, why);
    code = curl->perform(c);
    curl->setopt(c, CURLOPT_ERRORBUFFER, NULL);
    if (code == CURLE_OK || (code == CURLE_WRITE_ERROR && ret->grpc_status >= 0)) return RC_OK;
    if (about_certificates(code))
        return err_set(e, RC_INVALID, "%s: %s; --cacert FILE says whose certificates are trusted, --cert and --key who we are",
                       a->server, why[0] ? why : curl->strerror(code));
    if (ended_by_peer(code) && !tls)
        return err_set(e, RC_UNAVAILABLE, "%s hung up (%s): if it wants TLS, say --server https://%s", a->server, curl->strerror(code), a->server);
    if (ended_by_peer(code))
        return err_set(e, RC_UNAVAILABLE, "%s hung up (%s): if it asks for certificates, --cert and --key say which; its log has the reason",
                       a->server, why[0] ? why : curl->strerror(code));
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
    bool tls = str_starts(str_of(a->server), STR("https://"));

    *ret = (struct http_answer){.grpc_status = -1};
    if (curl_load(&curl, e)) return e->rc;
    if (!c) c = curl->init();
    if (!c) return err_set(e, RC_UNSUPPORTED, "libcurl does not start");
    buf_printf(&url, "%s%s" STR_FMT, tls ? "" : "http://", a->server, STR_ARG(a->path));
    for (size_t i = 0; i < a->headers_n; i++)
        headers = curl->slist_append(headers, a->headers[i]);
    headers = curl->slist_append(headers, "Expect:");
    if (authorization.n) headers = curl->slist_append(headers, buf_cstr(&authorization));
    curl->setopt(c, CURLOPT_URL, buf_cstr(&url));
    curl->setopt(c, CURLOPT_CUSTOMREQUEST, a->method);
    curl->setopt(c, CURLOPT_HTTPHEADER, headers);
    curl->setopt(c, CURLOPT_WRITEFUNCTION, on_body);
    curl->setopt(c, CURLOPT_WRITEDATA, ret);
    curl->setopt(c, CURLOPT_HEADERFUNCTION, on_header);
    curl->setopt(c, CURLOPT_HEADERDATA, ret);
    curl->setopt(c, CURLOPT_NOPROXY, "*");
    if (tls && identity.cacert) curl->setopt(c, CURLOPT_CAINFO, identity.cacert);
    if (tls && identity.cert) curl->setopt(c, CURLOPT_SSLCERT, identity.cert);
    if (tls && identity.key) curl->setopt(c, CURLOPT_SSLKEY, identity.key);
    curl->setopt(c, CURLOPT_NOSIGNAL, 1L);
    curl->setopt(c, CURLOPT_CONNECTTIMEOUT, (long)CONNECT_S);
    curl->setopt(c, CURLOPT_TIMEOUT, (long)a->timeout_s);
    if (a->grpc) { /* libcurl 7.88 cannot use such a connection a second time */
        curl->setopt(c, CURLOPT_HTTP_VERSION, (long)(tls ? CURL_HTTP_VERSION_2TLS : CURL_HTTP_VERSION_2_PRIOR_KNOWLEDGE));
        curl->setopt(c, CURLOPT_FRESH_CONNECT, 1L);
        curl->setopt(c, CURLOPT_FORBID_REUSE, 1L);
    }
    if (strcmp(a->method, "POST") == 0) {
        curl->setopt(c, CURLOPT_POST, 1L);
        curl->setopt(c, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)a->body.n);
        curl->setopt(c, CURLOPT_POSTFIELDS, a->body.p ? (const char *)a->body.p : "");
    }
    enum rc rc = perform(curl, c, a, buf_cstr(&url), ret, e);
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
    bool bare, tls = false;
    size_t at;

    if (str_starts(rest, STR("https://"))) {
        rest = (struct str){rest.p + 8, rest.n - 8};
        tls = true;
    } else if (str_starts(rest, STR("http://"))) rest = (struct str){rest.p + 7, rest.n - 7};
    if (str_ends(rest, STR("/"))) rest.n--;
    colon = memchr(rest.p, ':', rest.n);
    bare = !colon || str_ends(rest, STR("]"));
    buf_append_str(ret, tls ? STR("https://") : STR(""));
    at = ret->n;
    buf_printf(ret, "%s" STR_FMT, colon == rest.p ? "127.0.0.1" : "", STR_ARG(rest));
    if (bare) buf_printf(ret, ":%d", HTTP_SERVER_PORT);
    if (rest.n && !memchr(rest.p, '/', rest.n) && !memchr(rest.p, '@', rest.n) &&
        !addr_split((struct str){(const char *)ret->p + at, ret->n - at}, &host, &port, e) && port)
        return RC_OK;
    return err_set(e, RC_INVALID, "\"" STR_FMT "\": HOST:PORT is wanted, as 127.0.0.1:%d",
                   STR_ARG(said), HTTP_SERVER_PORT);
}
