/* STS: AssumeRoleWithWebIdentity, which needs no signature, and AssumeRole, which is signed with other credentials.
 * SPDX-License-Identifier: Apache-2.0 */
#include "cred/aws_core.h"
#include "cred/http.h"
#include "sys/clock.h"
#include <stdio.h>

enum { ANSWER_MAX = 64 << 10, TOKEN_MAX = 32 << 10, BODY_MAX = 4 * (TOKEN_MAX + 1024) };

static const char form[] = "application/x-www-form-urlencoded; charset=utf-8";

/* AWS_ENDPOINT_URL_STS, AWS_ENDPOINT_URL, else the region's own; without a region the one for all. */
static enum rc endpoint(const struct aws_place *p, struct str region, struct buf *ret, struct err *e)
{
    struct str url = aws_env(p, "AWS_ENDPOINT_URL_STS");

    if (!url.n) url = aws_env(p, "AWS_ENDPOINT_URL");
    while (url.n && url.p[url.n - 1] == '/')
        url.n--;
    if (url.n)
        buf_append_str(ret, url);
    else if (!region.n)
        buf_append_str(ret, STR("https://sts.amazonaws.com"));
    else
        buf_printf(ret, "https://sts." STR_FMT ".amazonaws.com%s", STR_ARG(region), str_starts(region, STR("cn-")) ? ".cn" : "");
    if (memmem(ret->p, ret->n, "://", 3)) return RC_OK;
    return err_set(e, RC_INVALID, "AWS_ENDPOINT_URL_STS is no URL");
}

static void field(struct buf *b, const char *name, struct str value)
{
    buf_printf(b, "%s%s=", b->n ? "&" : "", name);
    http_escape(value, b);
}

static enum rc body_make(const struct aws_role *r, struct buf *ret, struct err *e)
{
    AUTO(buf_wipe) struct buf token = {0};
    AUTO(buf_fini) struct buf path = {0};

    buf_reserve(ret, BODY_MAX);
    field(ret, "Action", r->with ? STR("AssumeRole") : STR("AssumeRoleWithWebIdentity"));
    field(ret, "Version", STR("2011-06-15"));
    field(ret, "RoleArn", r->arn);
    field(ret, "RoleSessionName", r->session.n ? r->session : STR("millrace"));
    if (r->external_id.n) field(ret, "ExternalId", r->external_id);
    if (r->with) return RC_OK;
    buf_append_str(&path, r->token_file);
    if (aws_file(buf_cstr(&path), TOKEN_MAX, &token, e)) return err_more(e, "; AWS_WEB_IDENTITY_TOKEN_FILE names the token of the pod's service account");
    field(ret, "WebIdentityToken", str_trim(buf_str(&token)));
    return RC_OK;
}

/* The host as the signature wants it: without the port that the scheme has anyway. */
static struct str host_of(struct str url)
{
    const char *from = (const char *)memmem(url.p, url.n, "://", 3) + 3;
    struct str host, path;

    str_cut((struct str){from, (size_t)(url.p + url.n - from)}, '/', &host, &path);
    if (str_starts(url, STR("https:")) && str_ends(host, STR(":443"))) host.n -= 4;
    if (str_starts(url, STR("http:")) && str_ends(host, STR(":80"))) host.n -= 3;
    return host;
}

struct signed_headers { struct buf date, token, authorization; };

static void signed_headers_fini(struct signed_headers *h)
{
    buf_wipe(&h->date);
    buf_wipe(&h->token);
    buf_wipe(&h->authorization);
}

static void headers_sign(const struct aws_role *r, struct str url, struct bytes body, struct signed_headers *ret)
{
    const struct aws_keys *k = r->with;
    struct aws_scope scope = {.at = aws_stamp_of(clock_wall_ms(&clock_real) / 1000), .region = r->region.n ? r->region : STR("us-east-1"), .service = STR("sts")};
    const char *names = k->session.n ? "content-type;host;x-amz-date;x-amz-security-token" : "content-type;host;x-amz-date";
    AUTO(buf_wipe) struct buf canonical = {0};
    char hash[65], signature[65];

    aws_sha256(body, hash);
    buf_reserve(&canonical, 1024 + k->session.n);
    buf_printf(&canonical, "POST\n/\n\ncontent-type:%s\nhost:" STR_FMT "\nx-amz-date:%s\n", form, STR_ARG(host_of(url)), scope.at.time);
    if (k->session.n) buf_printf(&canonical, "x-amz-security-token:" STR_FMT "\n", STR_ARG(buf_str(&k->session)));
    buf_printf(&canonical, "\n%s\n%s", names, hash);
    aws_sign(&scope, buf_str(&k->secret), buf_str(&canonical), signature);
    buf_printf(&ret->date, "X-Amz-Date: %s", scope.at.time);
    buf_reserve(&ret->token, k->session.n + 32);
    if (k->session.n) buf_printf(&ret->token, "X-Amz-Security-Token: " STR_FMT, STR_ARG(buf_str(&k->session)));
    buf_printf(&ret->authorization, "Authorization: AWS4-HMAC-SHA256 Credential=%s/%s/" STR_FMT "/sts/aws4_request, SignedHeaders=%s, Signature=%s", k->id, scope.at.date,
               STR_ARG(scope.region), names, signature);
}

static enum rc refused(const struct aws_role *r, const struct cred_answer *a, struct err *e)
{
    char why[256];

    aws_answer_why(buf_view(&a->body), why);
    err_set(e, a->status == 429 || a->status >= 500 ? RC_UNAVAILABLE : RC_AUTH, "STS refuses the role " STR_FMT " (%ld%s%s); check its ARN, and that its trust policy allows %s",
            STR_ARG(r->arn), a->status, *why ? ", " : "", why, r->with ? "sts:AssumeRole to these credentials" : "sts:AssumeRoleWithWebIdentity to this service account");
    e->retry = e->rc == RC_UNAVAILABLE;
    return e->rc;
}

enum rc aws_assume(const struct aws_place *p, const struct aws_role *r, struct aws_keys *ret, struct err *e)
{
    AUTO(buf_fini) struct buf url = {0};
    AUTO(buf_wipe) struct buf body = {0};
    AUTO(signed_headers_fini) struct signed_headers h = {0};
    AUTO(cred_answer_fini) struct cred_answer a = {0};
    struct cred_ask q = {.method = "POST", .headers = {"Content-Type: application/x-www-form-urlencoded; charset=utf-8", "Accept: application/json"},
                         .timeout_ms = AWS_TIMEOUT_MS, .bytes_max = ANSWER_MAX, .stop = p->stop};

    if (endpoint(p, r->region, &url, e) || body_make(r, &body, e)) return e->rc;
    q.body = buf_view(&body);
    if (r->with) {
        headers_sign(r, buf_str(&url), q.body, &h);
        q.headers[2] = buf_cstr(&h.date);
        q.headers[3] = buf_cstr(&h.authorization);
        q.headers[4] = h.token.n ? buf_cstr(&h.token) : NULL;
    }
    buf_append_byte(&url, '/');
    q.url = buf_cstr(&url);
    if (cred_ask(&q, &a, e)) return err_in(e, "STS");
    if (a.status != 200) return refused(r, &a, e);
    if (aws_answer_keys(buf_view(&a.body), ret, e)) return err_in(e, "STS at %s", q.url);
    snprintf(ret->from, sizeof ret->from, "%s at STS", r->with ? "AssumeRole" : "AssumeRoleWithWebIdentity");
    return RC_OK;
}
