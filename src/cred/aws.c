/* SPDX-License-Identifier: Apache-2.0 */
#include "cred/aws.h"
#include "cred/aws_core.h"
#include "sys/fs.h"
#include <stdio.h>

void aws_keys_fini(struct aws_keys *k)
{
    buf_wipe(&k->secret);
    buf_wipe(&k->session);
    *k = (struct aws_keys){0};
}

struct str aws_env(const struct aws_place *p, const char *name)
{
    const char *value = p->env ? p->env(p->ctx, name) : getenv(name);

    return str_trim(str_of(value ? value : ""));
}

enum rc aws_file(const char *path, size_t max, struct buf *ret, struct err *e)
{
    struct fs_stat st;

    if (fs_stat(&fs_real, path, &st, e)) return e->rc;
    if (st.is_dir) return err_set(e, RC_INVALID, "%s is a folder, and a file is wanted", path);
    if (st.size > max) return err_set(e, RC_TOO_LARGE, "%s: %llu bytes, at most %zu expected", path, (unsigned long long)st.size, max);
    buf_reserve(ret, (size_t)st.size + 4096);
    return fs_load(&fs_real, path, max, ret, e);
}

static void buf_put(struct buf *b, struct str s)
{
    buf_reserve(b, s.n + 1);
    buf_append_str(b, s);
}

static bool printable(struct str s)
{
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] <= ' ' || s.p[i] > '~') return false;
    return true;
}

enum rc aws_keys_set(struct aws_keys *k, struct str id, struct str secret, struct str session, struct err *e)
{
    if (!id.n || !secret.n) return err_set(e, RC_INVALID, "there are no credentials in it");
    if (id.n >= sizeof k->id || !printable(id) || !printable(session)) return err_set(e, RC_INVALID, "its access key id or session token is none");
    snprintf(k->id, sizeof k->id, STR_FMT, STR_ARG(id));
    buf_put(&k->secret, secret);
    buf_put(&k->session, session);
    return RC_OK;
}

enum rc aws_keys_env(const struct aws_place *p, struct aws_keys *ret, struct err *e)
{
    struct str id = aws_env(p, "AWS_ACCESS_KEY_ID"), secret = aws_env(p, "AWS_SECRET_ACCESS_KEY");

    if (!id.n && !secret.n) return err_set(e, RC_NOT_FOUND, "AWS_ACCESS_KEY_ID is not set");
    if (!id.n || !secret.n) return err_set(e, RC_INVALID, "only one of AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY is set");
    if (aws_keys_set(ret, id, secret, aws_env(p, "AWS_SESSION_TOKEN"), e)) return err_in(e, "AWS_ACCESS_KEY_ID and its kind");
    snprintf(ret->from, sizeof ret->from, "the environment");
    return RC_OK;
}

/* ---- the region ---- */

static bool region_put(struct str s, char ret[64])
{
    for (size_t i = 0; i < s.n; i++)
        if (!((s.p[i] >= 'a' && s.p[i] <= 'z') || (s.p[i] >= '0' && s.p[i] <= '9') || s.p[i] == '-')) return false;
    if (!s.n || s.n > 63) return false;
    snprintf(ret, 64, STR_FMT, STR_ARG(s));
    return true;
}

void aws_region_known(const struct aws_place *p, char ret[64])
{
    struct str s = p->region;

    ret[0] = 0;
    if (!s.n) s = aws_env(p, "AWS_REGION");
    if (!s.n) s = aws_env(p, "AWS_DEFAULT_REGION");
    if (s.n)
        region_put(s, ret);
    else
        aws_profile_region(p, aws_profile_name(p), ret);
}

/* The label before amazonaws.com, and after kafka or kafka-serverless. */
static bool region_of_host(struct str host, char ret[64])
{
    static const struct str ends[] = {{".amazonaws.com", 14}, {".amazonaws.com.cn", 17}};
    struct str before = {0};

    for (size_t i = 0; i < countof(ends); i++)
        if (str_ends(host, ends[i])) before = (struct str){host.p, host.n - ends[i].n};
    for (size_t i = before.n; i > 0; i--) {
        struct str front = {before.p, i - 1};

        if (before.p[i - 1] != '.') continue;
        if (!str_ends(front, STR(".kafka")) && !str_ends(front, STR(".kafka-serverless"))) return false;
        return region_put((struct str){before.p + i, before.n - i}, ret);
    }
    return false;
}

bool aws_region_in(struct str hosts, char ret[64])
{
    struct str one, host, port;

    while (hosts.n) {
        str_cut(hosts, ',', &one, &hosts);
        str_cut(str_trim(one), ':', &host, &port);
        if (region_of_host(host, ret)) return true;
    }
    return false;
}

enum rc aws_region_find(const struct aws_place *place, struct str hosts, char ret[64], struct err *e)
{
    struct err why = {0};

    if (place->region.n && !region_put(place->region, ret)) return err_set(e, RC_INVALID, "\"" STR_FMT "\" is no name of an AWS region", STR_ARG(place->region));
    aws_region_known(place, ret);
    if (*ret || aws_region_in(hosts, ret) || !aws_instance_region(place, ret, &why)) return RC_OK;
    return err_set(e, RC_INVALID, "the region of the AWS MSK cluster is not known; set security.kafka.sasl.aws.region, or AWS_REGION (the profile has none, the names of the brokers do not "
                   "end in .kafka.REGION.amazonaws.com, %.120s)", why.text);
}

/* ---- the chain ---- */

static enum rc nothing(const struct aws_place *p, const struct err *instance, struct err *e)
{
    struct str profile = aws_profile_name(p);

    return err_set(e, RC_NOT_FOUND, "there are no AWS credentials: AWS_ACCESS_KEY_ID, AWS_WEB_IDENTITY_TOKEN_FILE and AWS_CONTAINER_CREDENTIALS_FULL_URI are not set, the shared files have no keys in "
                   "profile " STR_FMT ", and %.200s", STR_ARG(profile), instance->text);
}

static enum rc by_web_identity(const struct aws_place *p, struct aws_keys *ret, struct err *e)
{
    struct aws_role role = {.arn = aws_env(p, "AWS_ROLE_ARN"), .session = aws_env(p, "AWS_ROLE_SESSION_NAME"), .token_file = aws_env(p, "AWS_WEB_IDENTITY_TOKEN_FILE")};
    char region[64];

    if (!role.token_file.n) return err_set(e, RC_NOT_FOUND, "AWS_WEB_IDENTITY_TOKEN_FILE is not set");
    if (!role.arn.n) return err_set(e, RC_INVALID, "AWS_WEB_IDENTITY_TOKEN_FILE is set, and AWS_ROLE_ARN is not");
    aws_region_known(p, region);
    role.region = str_of(region);
    return aws_assume(p, &role, ret, e);
}

static enum rc first_found(const struct aws_place *p, struct aws_keys *ret, struct err *e)
{
    struct err instance = {0};
    enum rc rc;

    if (!p->profile.n) {
        if ((rc = aws_keys_env(p, ret, e)) != RC_NOT_FOUND) return rc;
        if (aws_env(p, "AWS_WEB_IDENTITY_TOKEN_FILE").n) return by_web_identity(p, ret, e);
    }
    rc = aws_profile_keys(p, aws_profile_name(p), ret, e);
    if (rc != RC_NOT_FOUND || p->profile.n || aws_env(p, "AWS_PROFILE").n) return rc;
    if (aws_container_configured(p)) return aws_container(p, ret, e);
    rc = aws_instance(p, ret, &instance);
    if (!rc) return RC_OK;
    if (rc == RC_CANCELLED) return err_set(e, rc, "%s", instance.text);
    return nothing(p, &instance, e);
}

enum rc aws_keys_find(const struct aws_place *p, struct aws_keys *ret, struct err *e)
{
    AUTO(aws_keys_fini) struct aws_keys own = {0};
    char region[64];

    if (!p->role_arn.n) return first_found(p, ret, e);
    if (first_found(p, &own, e)) return e->rc;
    aws_region_known(p, region);
    return aws_assume(p, &(struct aws_role){.arn = p->role_arn, .session = p->role_session, .region = str_of(region), .with = &own}, ret, e);
}
