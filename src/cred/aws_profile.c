/* Profiles of the shared files. In ~/.aws/credentials a section is the profile's name, in ~/.aws/config it is "profile NAME", and "default".
 * SPDX-License-Identifier: Apache-2.0 */
#include "cred/aws_core.h"
#include <stdio.h>

enum { FILE_MAX = 1 << 20, CHAIN_MAX = 4 };

struct files { struct buf credentials, config; char credentials_path[512], config_path[512]; };

static void files_fini(struct files *f)
{
    buf_wipe(&f->credentials);
    buf_wipe(&f->config);
}

static void path_of(const struct aws_place *p, const char *variable, const char *usual, char ret[512])
{
    struct str path = aws_env(p, variable), home = aws_env(p, "HOME");

    if (!path.n)
        snprintf(ret, 512, STR_FMT "/.aws/%s", STR_ARG(home), usual);
    else if (str_starts(path, STR("~/")))
        snprintf(ret, 512, STR_FMT STR_FMT, STR_ARG(home), (int)path.n - 1, path.p + 1);
    else
        snprintf(ret, 512, STR_FMT, STR_ARG(path));
}

/* A file that is not there is empty. */
static enum rc files_load(const struct aws_place *p, struct files *ret, struct err *e)
{
    path_of(p, "AWS_SHARED_CREDENTIALS_FILE", "credentials", ret->credentials_path);
    path_of(p, "AWS_CONFIG_FILE", "config", ret->config_path);
    if (aws_file(ret->credentials_path, FILE_MAX, &ret->credentials, e) && e->rc != RC_NOT_FOUND) return e->rc;
    if (aws_file(ret->config_path, FILE_MAX, &ret->config, e) && e->rc != RC_NOT_FOUND) return e->rc;
    return RC_OK;
}

static struct str section_of(struct str profile, char into[300])
{
    snprintf(into, 300, "profile " STR_FMT, STR_ARG(profile));
    return str_of(into);
}

static struct str get(const struct files *f, struct str profile, const char *key)
{
    struct str value = STR("");
    char section[300];

    if (aws_ini_get(buf_str(&f->credentials), profile, str_of(key), &value)) return value;
    if (aws_ini_get(buf_str(&f->config), section_of(profile, section), str_of(key), &value)) return value;
    if (str_is(profile, "default")) aws_ini_get(buf_str(&f->config), profile, str_of(key), &value);
    return value;
}

static bool there(const struct files *f, struct str profile)
{
    char section[300];

    return aws_ini_has(buf_str(&f->credentials), profile) || aws_ini_has(buf_str(&f->config), section_of(profile, section)) ||
           (str_is(profile, "default") && aws_ini_has(buf_str(&f->config), profile));
}

struct str aws_profile_name(const struct aws_place *p)
{
    struct str name = p->profile.n ? p->profile : aws_env(p, "AWS_PROFILE");

    return name.n ? name : STR("default");
}

void aws_profile_region(const struct aws_place *p, struct str profile, char ret[64])
{
    AUTO(files_fini) struct files f = {0};
    struct str region;
    struct err e;

    ret[0] = 0;
    if (files_load(p, &f, &e)) return;
    region = get(&f, profile, "region");
    if (region.n < 64) snprintf(ret, 64, STR_FMT, STR_ARG(region));
}

/* ---- credentials ---- */

static enum rc keys_of(const struct aws_place *p, const struct files *f, struct str profile, unsigned depth, struct aws_keys *ret, struct err *e);

static enum rc keys_plain(const struct files *f, struct str profile, struct aws_keys *ret, struct err *e)
{
    struct str id = get(f, profile, "aws_access_key_id"), secret = get(f, profile, "aws_secret_access_key");

    if (!id.n && !secret.n) return err_set(e, RC_NOT_FOUND, "the AWS profile " STR_FMT " has no keys", STR_ARG(profile));
    if (!id.n || !secret.n)
        return err_set(e, RC_INVALID, "the AWS profile " STR_FMT " has only one of aws_access_key_id and aws_secret_access_key", STR_ARG(profile));
    if (aws_keys_set(ret, id, secret, get(f, profile, "aws_session_token"), e)) return err_in(e, "the AWS profile " STR_FMT, STR_ARG(profile));
    snprintf(ret->from, sizeof ret->from, "profile " STR_FMT, (int)MIN(profile.n, (size_t)80), profile.p);
    return RC_OK;
}

static enum rc keys_named(const struct aws_place *p, struct str profile, struct str source, struct aws_keys *ret, struct err *e)
{
    if (str_is(source, "Environment")) return aws_keys_env(p, ret, e);
    if (str_is(source, "Ec2InstanceMetadata")) return aws_instance(p, ret, e);
    if (str_is(source, "EcsContainer")) return aws_container(p, ret, e);
    return err_set(e, RC_INVALID, "the AWS profile " STR_FMT ": credential_source is Environment, Ec2InstanceMetadata or EcsContainer, not \"" STR_FMT "\"", STR_ARG(profile),
                   STR_ARG(source));
}

/* The credentials that a role is taken on with: those of another profile, of this one, or of a named source. */
static enum rc keys_below(const struct aws_place *p, const struct files *f, struct str profile, unsigned depth, struct aws_keys *ret, struct err *e)
{
    struct str source = get(f, profile, "source_profile"), named = get(f, profile, "credential_source");

    if (named.n) return keys_named(p, profile, named, ret, e);
    if (!source.n)
        return err_set(e, RC_INVALID, "the AWS profile " STR_FMT " has a role_arn and neither source_profile, credential_source nor web_identity_token_file", STR_ARG(profile));
    if (str_eq(source, profile)) return keys_plain(f, profile, ret, e);
    if (depth == CHAIN_MAX) return err_set(e, RC_INVALID, "the AWS profile " STR_FMT ": more than %d profiles, one the source_profile of the other", STR_ARG(profile), CHAIN_MAX);
    if (keys_of(p, f, source, depth + 1, ret, e)) return err_in(e, "source_profile of " STR_FMT, STR_ARG(profile));
    return RC_OK;
}

static enum rc keys_by_role(const struct aws_place *p, const struct files *f, struct str profile, unsigned depth, struct aws_keys *ret, struct err *e)
{
    AUTO(aws_keys_fini) struct aws_keys below = {0};
    struct aws_role role = {.arn = get(f, profile, "role_arn"), .session = get(f, profile, "role_session_name"), .external_id = get(f, profile, "external_id"),
                            .token_file = get(f, profile, "web_identity_token_file")};
    char region[64];

    aws_region_known(p, region);
    role.region = str_of(region);
    if (!role.token_file.n) {
        if (keys_below(p, f, profile, depth, &below, e)) return e->rc;
        role.with = &below;
    }
    if (aws_assume(p, &role, ret, e)) return err_in(e, "the AWS profile " STR_FMT, STR_ARG(profile));
    return RC_OK;
}

static enum rc keys_of(const struct aws_place *p, const struct files *f, struct str profile, unsigned depth, struct aws_keys *ret, struct err *e)
{
    static const char *const others[] = {"credential_process", "sso_session", "sso_start_url", "sso_account_id", "login_session"};
    enum rc rc;

    if (!there(f, profile))
        return err_set(e, RC_NOT_FOUND, "there is no AWS profile " STR_FMT " in %s or %s", STR_ARG(profile), f->credentials_path, f->config_path);
    if (get(f, profile, "role_arn").n) return keys_by_role(p, f, profile, depth, ret, e);
    rc = keys_plain(f, profile, ret, e);
    if (rc != RC_NOT_FOUND) return rc;
    for (size_t i = 0; i < countof(others); i++)
        if (get(f, profile, others[i]).n)
            return err_set(e, RC_UNSUPPORTED, "the AWS profile " STR_FMT " wants %s, which millrace does not do; export its keys to the environment (aws configure export-credentials)",
                           STR_ARG(profile), others[i]);
    return rc;
}

enum rc aws_profile_keys(const struct aws_place *p, struct str profile, struct aws_keys *ret, struct err *e)
{
    AUTO(files_fini) struct files f = {0};

    if (files_load(p, &f, e)) return e->rc;
    return keys_of(p, &f, profile, 1, ret, e);
}
