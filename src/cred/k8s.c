/* The API server, as a pod sees it: its address is in the environment, and the folder of the service account holds a token (which the
 * kubelet renews: so it is read for every request), the authority's certificate, and the namespace. SPDX-License-Identifier: Apache-2.0 */
#include "base/base64.h"
#include "cred/http.h"
#include "cred/secret_core.h"
#include "cred/wipe.h"
#include "sys/fs.h"
#include <stdio.h>

enum { TOKEN_MAX = 64 << 10, NAME_MAX_BYTES = 253, MESSAGE_MAX = 200 };

/* Where the kubelet puts it, unless the pod mounts it somewhere else. */
static struct str account_dir(const struct secret_source *s)
{
    const char *env = getenv("MILLRACE_SERVICE_ACCOUNT_DIR");

    if (s->account_dir.n) return s->account_dir;
    return env && *env ? str_of(env) : STR("/var/run/secrets/kubernetes.io/serviceaccount");
}

/* What Kubernetes calls a DNS subdomain name: nothing that could be another path. */
static bool is_name(struct str s)
{
    for (size_t i = 0; i < s.n; i++)
        if (!strchr("abcdefghijklmnopqrstuvwxyz0123456789-.", s.p[i]) || !s.p[i]) return false;
    return s.n && s.n <= NAME_MAX_BYTES && s.p[0] != '.';
}

static enum rc account_file(const struct secret_source *s, const char *name, size_t max, struct buf *ret, struct err *e)
{
    AUTO(buf_fini) struct buf path = {0};

    buf_printf(&path, STR_FMT "/%s", STR_ARG(account_dir(s)), name);
    buf_reserve(ret, max + 1);
    if (!fs_load(&fs_real, buf_cstr(&path), max, ret, e)) return RC_OK;
    return err_more(e, "; the Kubernetes Secret " STR_FMT " is read with the pod's service account: is automountServiceAccountToken off?", STR_ARG(s->name));
}

static enum rc namespace_find(const struct secret_source *s, struct buf *ret, struct err *e)
{
    const char *env = getenv("POD_NAMESPACE");

    if (!env || !*env) env = getenv("SELDON_POD_NAMESPACE");
    if (s->ns.n)
        buf_append_str(ret, s->ns);
    else if (env && *env)
        buf_append_str(ret, str_trim(str_of(env)));
    else if (account_file(s, "namespace", NAME_MAX_BYTES + 2, ret, e))
        return err_more(e, "; or set POD_NAMESPACE");
    ret->n = str_trim(buf_str(ret)).n;
    if (!is_name(buf_str(ret))) return err_set(e, RC_INVALID, "\"" STR_FMT "\" is no name of a namespace; check POD_NAMESPACE", STR_ARG(buf_str(ret)));
    return RC_OK;
}

static enum rc url_make(const struct secret_source *s, struct str ns, struct buf *ret, struct err *e)
{
    const char *host = getenv("KUBERNETES_SERVICE_HOST"), *port = getenv("KUBERNETES_SERVICE_PORT");

    if (!is_name(s->name)) return err_set(e, RC_INVALID, "\"" STR_FMT "\" is no name of a Kubernetes Secret; for a mounted one give its folder, with a /", STR_ARG(s->name));
    if (!host || !*host)
        return err_set(e, RC_UNAVAILABLE, "the Kubernetes Secret " STR_FMT " cannot be read outside a pod (KUBERNETES_SERVICE_HOST is not set); give files instead of a Secret's name, or the "
                       "folder where it is mounted", STR_ARG(s->name));
    buf_printf(ret, strchr(host, ':') ? "https://[%s]:%s/" : "https://%s:%s/", host, port && *port ? port : "443");
    buf_printf(ret, "api/v1/namespaces/" STR_FMT "/secrets/" STR_FMT, STR_ARG(ns), STR_ARG(s->name));
    return RC_OK;
}

/* ---- the answer ---- */

static enum rc value_put(const char *key, const json_t *value, struct secret_draft *into, struct err *e)
{
    AUTO(buf_wipe) struct buf raw = {0};
    struct str text = {json_string_value(value), json_string_length(value)};
    char name[100];

    cred_quote(key, name, sizeof name);
    if (!json_is_string(value)) return err_set(e, RC_INVALID, "its key %s is no text", name);
    buf_reserve(&raw, text.n + 4);
    if (!base64_decode(text, &raw)) return err_set(e, RC_INVALID, "its key %s is no base64", name);
    draft_put(into, str_of(key), &raw);
    return RC_OK;
}

static enum rc data_read(const json_t *data, struct secret_draft *into, struct err *e)
{
    const char *key;
    json_t *value;

    if (data && !json_is_object(data) && !json_is_null(data)) return err_set(e, RC_INVALID, "its data is no object");
    if (json_object_size(data) > SECRET_KEYS_MAX) return err_set(e, RC_TOO_LARGE, "it has more than %d keys", SECRET_KEYS_MAX);
    json_object_foreach((json_t *)(uintptr_t)data, key, value)
        if (value_put(key, value, into, e)) return e->rc;
    return RC_OK;
}

static enum rc found(const struct k8s_who *who, struct bytes body, struct secret_draft *ret, struct err *e)
{
    json_t *top = wipe_json_load(body);
    const char *kind = json_string_value(json_object_get(top, "kind"));
    AUTO(draft_fini) struct secret_draft d = {0};
    enum rc rc;

    if (!kind || strcmp(kind, "Secret"))
        rc = err_set(e, RC_INVALID, "the answer is no Secret; is KUBERNETES_SERVICE_HOST a Kubernetes API server?");
    else
        rc = data_read(json_object_get(top, "data"), &d, e);
    json_decref(top);
    if (rc) return err_in(e, "the Kubernetes Secret " STR_FMT " in namespace " STR_FMT, STR_ARG(who->name), STR_ARG(who->ns));
    *ret = d;
    d = (struct secret_draft){0};
    return RC_OK;
}

enum rc k8s_answer(const struct k8s_who *who, long status, struct bytes body, struct secret_draft *ret, struct err *e)
{
    json_t *top;
    char message[MESSAGE_MAX], said[MESSAGE_MAX + 4];

    if (status == 200) return found(who, body, ret, e);
    top = wipe_json_load(body);
    cred_quote(json_string_value(json_object_get(top, "message")), message, sizeof message);
    snprintf(said, sizeof said, "%s%s%s", *message ? " (" : "", message, *message ? ")" : "");
    json_decref(top);
    if (status == 401)
        return err_set(e, RC_AUTH, "the Kubernetes API server does not take the token of the pod's service account%s; check that the service account exists and the pod was started anew", said);
    if (status == 403)
        return err_set(e, RC_DENIED, "the pod's service account may not read the Kubernetes Secret " STR_FMT "%s; give it a Role in namespace " STR_FMT
                       " with apiGroups [\"\"], resources [secrets], resourceNames [" STR_FMT "], verbs [get], and a RoleBinding",
                       STR_ARG(who->name), said, STR_ARG(who->ns), STR_ARG(who->name));
    if (status == 404)
        return err_set(e, RC_NOT_FOUND, "there is no Kubernetes Secret " STR_FMT " in namespace " STR_FMT "; make it, or check its name and POD_NAMESPACE",
                       STR_ARG(who->name), STR_ARG(who->ns));
    err_set(e, status == 429 || status >= 500 ? RC_UNAVAILABLE : RC_INVALID, "the Kubernetes API server answers %ld for the Secret " STR_FMT "%s", status, STR_ARG(who->name), said);
    e->retry = e->rc == RC_UNAVAILABLE;
    return e->rc;
}

/* ---- the question ---- */

enum rc k8s_read(const struct secret_source *s, const atomic_bool *stop, struct secret_draft *ret, struct err *e)
{
    AUTO(buf_fini) struct buf ns = {0}, url = {0}, ca = {0};
    AUTO(buf_wipe) struct buf token = {0}, header = {0};
    AUTO(cred_answer_fini) struct cred_answer a = {0};
    struct str bearer;

    if (namespace_find(s, &ns, e) || url_make(s, buf_str(&ns), &url, e) || account_file(s, "token", TOKEN_MAX, &token, e)) return e->rc;
    bearer = str_trim(buf_str(&token));
    if (!bearer.n || memchr(bearer.p, '\n', bearer.n) || memchr(bearer.p, '\r', bearer.n) || memchr(bearer.p, 0, bearer.n))
        return err_set(e, RC_INVALID, "the token of the pod's service account is none");
    buf_printf(&ca, STR_FMT "/ca.crt", STR_ARG(account_dir(s)));
    buf_reserve(&header, bearer.n + 64);
    buf_printf(&header, "Authorization: Bearer " STR_FMT, STR_ARG(bearer));
    if (cred_ask(&(struct cred_ask){.method = "GET", .url = buf_cstr(&url), .headers = {buf_cstr(&header), "Accept: application/json"}, .ca_path = buf_cstr(&ca),
                                    .timeout_ms = SECRET_READ_MS, .stop = stop}, &a, e))
        return err_in(e, "Kubernetes API server");
    return k8s_answer(&(struct k8s_who){s->name, buf_str(&ns)}, a.status, buf_view(&a.body), ret, e);
}
