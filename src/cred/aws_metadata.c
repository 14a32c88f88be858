/* The two kinds of server near the process: of a container (ECS, EKS pod identity), and of an instance (EC2, version 2 of its metadata
 * service: a token first). SPDX-License-Identifier: Apache-2.0 */
#include "cred/aws_core.h"
#include "cred/http.h"
#include <stdio.h>

enum { ANSWER_MAX = 64 << 10, TOKEN_MAX = 16 << 10 };

static bool one_line(struct str s)
{
    return s.n && !memchr(s.p, '\n', s.n) && !memchr(s.p, '\r', s.n) && !memchr(s.p, 0, s.n);
}

/* ---- containers ---- */

bool aws_container_configured(const struct aws_place *p)
{
    return aws_env(p, "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI").n || aws_env(p, "AWS_CONTAINER_CREDENTIALS_FULL_URI").n;
}

/* 127.… in numbers: a name that begins so could be anybody's. */
static bool is_loopback_v4(struct str host)
{
    for (size_t i = 0; i < host.n; i++)
        if (host.p[i] != '.' && (host.p[i] < '0' || host.p[i] > '9')) return false;
    return str_starts(host, STR("127."));
}

/* Credentials are asked for in clear only from this machine, and from the addresses that AWS keeps for it. */
static bool is_near(struct str url)
{
    static const char *const hosts[] = {"localhost", "169.254.170.2", "169.254.170.23", "[fd00:ec2::23]", "[::1]"};
    struct str host, rest;

    if (str_starts(url, STR("https://"))) return true;
    if (!str_starts(url, STR("http://"))) return false;
    str_cut((struct str){url.p + 7, url.n - 7}, '/', &host, &rest);
    if (memchr(host.p, '@', host.n)) return false;
    if (host.n && host.p[0] == '[') {
        str_cut(host, ']', &host, &rest);
        host.n++;
    } else {
        str_cut(host, ':', &host, &rest);
    }
    for (size_t i = 0; i < countof(hosts); i++)
        if (str_is(host, hosts[i])) return true;
    return is_loopback_v4(host);
}

static enum rc container_url(const struct aws_place *p, struct buf *ret, struct err *e)
{
    struct str relative = aws_env(p, "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"), full = aws_env(p, "AWS_CONTAINER_CREDENTIALS_FULL_URI");

    if (relative.n && relative.p[0] != '/') return err_set(e, RC_INVALID, "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI does not begin with a /");
    if (relative.n) buf_append_str(ret, p->container_base.n ? p->container_base : STR("http://169.254.170.2"));
    buf_append_str(ret, relative.n ? relative : full);
    if (is_near(buf_str(ret))) return RC_OK;
    return err_set(e, RC_INVALID, "AWS_CONTAINER_CREDENTIALS_FULL_URI is neither https nor an address of this machine or of AWS's agents: credentials are not asked for there");
}

/* Read for every request: the kubelet renews the file. */
static enum rc container_token(const struct aws_place *p, struct buf *header, struct err *e)
{
    AUTO(buf_wipe) struct buf file = {0};
    AUTO(buf_fini) struct buf path = {0};
    struct str token = aws_env(p, "AWS_CONTAINER_AUTHORIZATION_TOKEN"), name = aws_env(p, "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE");

    if (name.n) {
        buf_append_str(&path, name);
        if (aws_file(buf_cstr(&path), TOKEN_MAX, &file, e)) return err_in(e, "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE");
        token = str_trim(buf_str(&file));
    }
    if (!token.n && !name.n) return RC_OK;
    if (!one_line(token)) return err_set(e, RC_INVALID, "the authorization token of the container's credentials is no single line");
    buf_reserve(header, token.n + 32);
    buf_printf(header, "Authorization: " STR_FMT, STR_ARG(token));
    return RC_OK;
}

enum rc aws_container(const struct aws_place *p, struct aws_keys *ret, struct err *e)
{
    AUTO(buf_fini) struct buf url = {0};
    AUTO(buf_wipe) struct buf header = {0};
    AUTO(cred_answer_fini) struct cred_answer a = {0};
    char why[256];

    if (container_url(p, &url, e) || container_token(p, &header, e)) return e->rc;
    if (cred_ask(&(struct cred_ask){.method = "GET", .url = buf_cstr(&url), .headers = {"Accept: application/json", header.n ? buf_cstr(&header) : NULL}, .local = true,
                                    .timeout_ms = AWS_TIMEOUT_MS, .bytes_max = ANSWER_MAX, .stop = p->stop}, &a, e))
        return err_in(e, "credentials of the container");
    aws_answer_why(buf_view(&a.body), why);
    if (a.status != 200) {
        err_set(e, a.status >= 500 || a.status == 429 ? RC_UNAVAILABLE : RC_AUTH, "credentials of the container: %s answers %ld%s%s; check the task's or the pod's role", buf_cstr(&url), a.status,
                *why ? ", " : "", why);
        e->retry = e->rc == RC_UNAVAILABLE;
        return e->rc;
    }
    if (aws_answer_keys(buf_view(&a.body), ret, e)) return err_in(e, "credentials of the container at %s", buf_cstr(&url));
    snprintf(ret->from, sizeof ret->from, "the container's agent");
    return RC_OK;
}

/* ---- instances ---- */

static void instance_url(const struct aws_place *p, const char *path, struct buf *ret)
{
    struct str base = aws_env(p, "AWS_EC2_METADATA_SERVICE_ENDPOINT");

    while (base.n && base.p[base.n - 1] == '/')
        base.n--;
    if (!base.n) base = str_eq_nocase(aws_env(p, "AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE"), STR("IPv6")) ? STR("http://[fd00:ec2::254]") : STR("http://169.254.169.254");
    buf_printf(ret, STR_FMT "%s", STR_ARG(base), path);
}

static enum rc instance_ask(const struct aws_place *p, const char *method, const char *path, const char *header, struct cred_answer *ret, struct err *e)
{
    AUTO(buf_fini) struct buf url = {0};

    instance_url(p, path, &url);
    if (cred_ask(&(struct cred_ask){.method = method, .url = buf_cstr(&url), .headers = {header}, .local = true, .timeout_ms = AWS_METADATA_TIMEOUT_MS, .bytes_max = ANSWER_MAX,
                                    .stop = p->stop}, ret, e))
        return err_in(e, "metadata of the instance");
    if (ret->status == 200) return RC_OK;
    err_set(e, ret->status == 404 ? RC_NOT_FOUND : RC_UNAVAILABLE, "metadata of the instance: %s answers %ld", buf_cstr(&url), ret->status);
    e->retry = ret->status >= 500;
    return e->rc;
}

static enum rc instance_token(const struct aws_place *p, struct buf *header, struct err *e)
{
    AUTO(cred_answer_fini) struct cred_answer a = {0};
    struct str token;

    if (str_eq_nocase(aws_env(p, "AWS_EC2_METADATA_DISABLED"), STR("true"))) return err_set(e, RC_NOT_FOUND, "metadata of the instance: AWS_EC2_METADATA_DISABLED is true");
    if (instance_ask(p, "PUT", "/latest/api/token", "X-aws-ec2-metadata-token-ttl-seconds: 21600", &a, e)) return e->rc;
    token = str_trim(buf_str(&a.body));
    if (!one_line(token)) return err_set(e, RC_INVALID, "metadata of the instance: no token");
    buf_reserve(header, token.n + 64);
    buf_printf(header, "X-aws-ec2-metadata-token: " STR_FMT, STR_ARG(token));
    return RC_OK;
}

static bool is_role_name(struct str s)
{
    for (size_t i = 0; i < s.n; i++)
        if (!strchr("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+=,.@-_", s.p[i]) || !s.p[i]) return false;
    return s.n && s.n <= 128;
}

enum rc aws_instance(const struct aws_place *p, struct aws_keys *ret, struct err *e)
{
    AUTO(buf_wipe) struct buf header = {0};
    AUTO(buf_fini) struct buf path = {0};
    AUTO(cred_answer_fini) struct cred_answer name = {0}, a = {0};
    struct str role, rest;

    if (instance_token(p, &header, e)) return e->rc;
    if (instance_ask(p, "GET", "/latest/meta-data/iam/security-credentials/", buf_cstr(&header), &name, e))
        return e->rc == RC_NOT_FOUND ? err_set(e, RC_NOT_FOUND, "metadata of the instance: it has no role; attach an instance profile") : e->rc;
    str_cut(buf_str(&name.body), '\n', &role, &rest);
    role = str_trim(role);
    if (!is_role_name(role)) return err_set(e, RC_INVALID, "metadata of the instance: no name of a role");
    buf_printf(&path, "/latest/meta-data/iam/security-credentials/" STR_FMT, STR_ARG(role));
    if (instance_ask(p, "GET", buf_cstr(&path), buf_cstr(&header), &a, e)) return e->rc;
    if (aws_answer_keys(buf_view(&a.body), ret, e)) return err_in(e, "metadata of the instance: role " STR_FMT, STR_ARG(role));
    snprintf(ret->from, sizeof ret->from, "the instance's metadata");
    return RC_OK;
}

enum rc aws_instance_region(const struct aws_place *p, char ret[64], struct err *e)
{
    AUTO(buf_wipe) struct buf header = {0};
    AUTO(cred_answer_fini) struct cred_answer a = {0};
    struct str region;

    if (instance_token(p, &header, e) || instance_ask(p, "GET", "/latest/meta-data/placement/region", buf_cstr(&header), &a, e)) return e->rc;
    region = str_trim(buf_str(&a.body));
    if (!one_line(region) || region.n > 63) return err_set(e, RC_INVALID, "metadata of the instance: no name of a region");
    snprintf(ret, 64, STR_FMT, STR_ARG(region));
    return RC_OK;
}
