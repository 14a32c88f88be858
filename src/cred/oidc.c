/* The client shows itself by HTTP Basic (RFC 6749, 2.3.1, with both parts form-encoded). A server that refuses it so is asked once more with id
 * and secret in the body, which some only know; what worked is remembered. SPDX-License-Identifier: Apache-2.0 */
#include "cred/oidc.h"
#include "base/base64.h"
#include "cred/http.h"
#include "cred/wipe.h"
#include "sys/clock.h"
#include <stdio.h>

enum { TIMEOUT_MS = 10000, ANSWER_MAX = 256 << 10, TOKEN_MAX = 128 << 10, LIFE_UNKNOWN_S = 300, LIFE_MAX_S = 366 * 24 * 3600, EXTENSIONS_MAX = 32 };

const struct secret_item oidc_items[6] = {
    {{"method", 6}, true}, {{"client_id", 9}, true}, {{"client_secret", 13}, true}, {{"scope", 5}, true}, {{"token_endpoint_url", 18}, true}, {{"extensions", 10}, true}};

struct oidc {
    struct token_maker face;
    struct oidc_options o;                       /* its texts are owned */
    char *ca_path;
    bool in_body;
};

/* What one request is made of: borrowed from the secret or the options. */
struct asking { struct str method, client_id, client_secret, scope, url, extensions; };

/* ---- extensions ---- */

/* RFC 7628: names are letters; values are printable, with spaces, tabs and line ends that nobody wants here. */
static bool is_name(struct str s)
{
    for (size_t i = 0; i < s.n; i++)
        if (!((s.p[i] | 32) >= 'a' && (s.p[i] | 32) <= 'z')) return false;
    return s.n && !str_is(s, "auth");
}

static bool is_value(struct str s)
{
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] < ' ' || s.p[i] > '~') return false;
    return true;
}

static void extension_put(struct token *t, struct str text)
{
    t->extensions = xrealloc(t->extensions, t->extensions_n + 1, sizeof *t->extensions);
    t->extensions[t->extensions_n++] = (char *)(uintptr_t)str_own(text.n ? text : STR("")).p;
}

enum rc oidc_extensions(struct str list, struct token *into, struct err *e)
{
    struct str one, name, value;

    while (list.n) {
        str_cut(list, ',', &one, &list);
        if (!str_trim(one).n) continue;
        if (!str_cut(str_trim(one), '=', &name, &value) || !is_name(name = str_trim(name)) || !is_value(value = str_trim(value)))
            return err_set(e, RC_INVALID, "extensions: name=value,… is wanted (names of letters, but auth), and one of them is not so");
        if (into->extensions_n / 2 == EXTENSIONS_MAX) return err_set(e, RC_INVALID, "extensions: more than %d", EXTENSIONS_MAX);
        extension_put(into, name);
        extension_put(into, value);
    }
    return RC_OK;
}

/* ---- the answer ---- */

/* The claims of a JWT, which are not checked here: the broker does that. NULL: it is none. */
static json_t *claims_of(struct str token)
{
    AUTO(buf_wipe) struct buf text = {0}, raw = {0};
    struct str head, rest, claims, signature;

    if (!str_cut(token, '.', &head, &rest) || !str_cut(rest, '.', &claims, &signature)) return NULL;
    buf_reserve(&text, claims.n + 4);
    for (size_t i = 0; i < claims.n; i++)
        buf_append_byte(&text, (uint8_t)(claims.p[i] == '-' ? '+' : claims.p[i] == '_' ? '/' : claims.p[i]));
    while (text.n % 4)
        buf_append_byte(&text, '=');
    buf_reserve(&raw, text.n + 1);
    return base64_decode(buf_str(&text), &raw) ? wipe_json_load(buf_view(&raw)) : NULL;
}

/* 0: it is none, or one of a time without end. */
static int64_t seconds_of(const json_t *number)
{
    double s = json_number_value(number);

    return json_is_number(number) && s > 0 && s < 1e11 ? (int64_t)s : 0;
}

/* expires_in counts from now, so that no clocks are compared; some send it as a text. Else the token's own exp. */
static int64_t expiry(const json_t *top, const json_t *claims, int64_t now_ms)
{
    const json_t *in = json_object_get(top, "expires_in"), *exp = json_object_get(claims, "exp");
    int64_t s = seconds_of(in);

    if (json_is_string(in) && !str_to_i64(str_of(json_string_value(in)), &s)) s = 0;
    if (s <= 0 && json_is_number(in) && json_number_value(in) > 0) s = LIFE_MAX_S;
    if (s <= 0 && seconds_of(exp)) return seconds_of(exp) * 1000;
    return now_ms + (s <= 0 ? LIFE_UNKNOWN_S : MIN(s, (int64_t)LIFE_MAX_S)) * 1000;
}

static bool is_token(struct str s)
{
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] <= ' ' || s.p[i] > '~') return false;
    return s.n && s.n <= TOKEN_MAX;
}

static enum rc token_read(const json_t *top, int64_t now_ms, const char *url, struct token *ret, struct err *e)
{
    const json_t *access = json_object_get(top, "access_token");
    const char *type = json_string_value(json_object_get(top, "token_type")), *subject;
    struct str token = {json_string_value(access), json_string_length(access)};
    json_t *claims;
    char other[40];

    cred_quote(type, other, sizeof other);
    if (!json_is_string(access) || !is_token(token)) return err_set(e, RC_INVALID, "%s answers without an access_token; is this the token endpoint of the provider?", url);
    if (type && !str_eq_nocase(str_of(type), STR("Bearer"))) return err_set(e, RC_INVALID, "%s gives a token of type %s, and Bearer is wanted", url, other);
    claims = claims_of(token);
    subject = json_string_value(json_object_get(claims, "sub"));
    if (subject && is_value(str_of(subject))) snprintf(ret->principal, sizeof ret->principal, "%.250s", subject);
    ret->expires_ms = expiry(top, claims, now_ms);
    json_decref(claims);
    if (ret->expires_ms <= now_ms) return err_set(e, RC_INVALID, "%s gives a token that has expired already; compare the clocks of this machine and the provider", url);
    buf_reserve(&ret->value, token.n + 1);
    buf_append_str(&ret->value, token);
    return RC_OK;
}

static const char *remedy(const char *error)
{
    static const struct { const char *error, *remedy; } known[] = {
        {"invalid_client", "check client_id and client_secret"},
        {"unauthorized_client", "allow this client the grant client_credentials at the provider"},
        {"unsupported_grant_type", "allow the grant client_credentials at the provider"},
        {"invalid_scope", "check scope"},
        {"invalid_target", "check scope and the audience at the provider"},
    };

    for (size_t i = 0; error && i < countof(known); i++)
        if (!strcmp(error, known[i].error)) return known[i].remedy;
    return "check token_endpoint_url, client_id, client_secret and scope";
}

static enum rc refused(const json_t *top, long status, const char *url, struct err *e)
{
    char error[160], said[160];

    cred_quote(json_string_value(json_object_get(top, "error")), error, sizeof error);
    cred_quote(json_string_value(json_object_get(top, "error_description")), said, sizeof said);
    if (status == 429 || status >= 500) {
        err_set(e, RC_UNAVAILABLE, "%s answers %ld%s%s%s%s", url, status, *error ? ": " : "", error, *said ? ", " : "", said);
        e->retry = true;
        return e->rc;
    }
    return err_set(e, RC_AUTH, "SASL authentication failed: no token, since %s answers %ld%s%s%s%s; %s", url, status, *error ? ": " : "", error, *said ? ", " : "", said,
                   remedy(*error ? error : status == 401 ? "invalid_client" : NULL));
}

enum rc oidc_answer(long status, struct bytes body, int64_t now_ms, const char *url, struct token *ret, struct err *e)
{
    json_t *top = wipe_json_load(body);
    struct token t = {0};
    enum rc rc = status == 200 ? token_read(top, now_ms, url, &t, e) : refused(top, status, url, e);

    json_decref(top);
    if (rc) {
        token_fini(&t);
        return rc;
    }
    *ret = t;
    return RC_OK;
}

/* ---- the question ---- */

static struct str choose(const struct secret *s, const char *key, struct str otherwise)
{
    struct str found = s ? secret_text(s, str_of(key)) : STR("");

    return found.n ? found : otherwise;
}

static bool method_ok(struct str method)
{
    return !method.n || str_eq_nocase(method, STR("OIDC")) || str_eq_nocase(method, STR("default"));
}

static enum rc asking_check(const struct asking *a, struct err *e)
{
    if (!method_ok(a->method)) return err_set(e, RC_INVALID, "method is \"%.*s\", and OIDC is wanted", (int)MIN(a->method.n, (size_t)40), a->method.p);
    if (!a->url.n) return err_set(e, RC_INVALID, "there is no token_endpoint_url, in the OAuth secret or the configuration");
    if (!a->client_id.n) return err_set(e, RC_INVALID, "there is no client_id, in the OAuth secret or the configuration");
    if (!a->client_secret.n) return err_set(e, RC_INVALID, "there is no client_secret, in the OAuth secret, its file or the configuration");
    if (!str_starts(a->url, STR("https://")) && !str_starts(a->url, STR("http://")))
        return err_set(e, RC_INVALID, "token_endpoint_url \"%.*s\" is no http or https URL", (int)MIN(a->url.n, (size_t)200), a->url.p);
    return RC_OK;
}

static void field(struct buf *b, const char *name, struct str value)
{
    buf_printf(b, "%s%s=", b->n ? "&" : "", name);
    http_escape(value, b);
}

static enum rc post(struct oidc *o, const struct asking *a, const atomic_bool *stop, const char *url, struct cred_answer *ret, struct err *e)
{
    AUTO(buf_wipe) struct buf body = {0}, basic = {0};
    size_t room = 3 * (a->client_id.n + a->client_secret.n + a->scope.n) + 256;

    buf_reserve(&body, room);
    buf_reserve(&basic, room);
    field(&body, "grant_type", STR("client_credentials"));
    if (a->scope.n) field(&body, "scope", a->scope);
    if (o->in_body) {
        field(&body, "client_id", a->client_id);
        field(&body, "client_secret", a->client_secret);
    } else {
        http_escape(a->client_id, &basic);
        buf_append_byte(&basic, ':');
        http_escape(a->client_secret, &basic);
    }
    return cred_ask(&(struct cred_ask){.method = "POST", .url = url, .headers = {"Content-Type: application/x-www-form-urlencoded", "Accept: application/json"},
                                       .body = buf_view(&body), .ca_path = o->ca_path, .basic = o->in_body ? NULL : buf_cstr(&basic),
                                       .timeout_ms = o->o.timeout_ms, .bytes_max = ANSWER_MAX, .stop = stop}, ret, e);
}

/* The client as such was refused, not what it asks for. */
static bool client_refused(const struct cred_answer *a)
{
    json_t *top = a->status == 400 ? wipe_json_load(buf_view(&a->body)) : NULL;
    const char *error = json_string_value(json_object_get(top, "error"));
    bool ret = a->status == 401 || (error && (!strcmp(error, "invalid_client") || !strcmp(error, "invalid_request")));

    json_decref(top);
    return ret;
}

static enum rc ask(struct oidc *o, const struct asking *a, const atomic_bool *stop, struct token *ret, struct err *e)
{
    AUTO(buf_fini) struct buf url = {0};
    AUTO(cred_answer_fini) struct cred_answer answer = {0}, second = {0};
    struct err other = {0};
    bool was = o->in_body;

    buf_append_str(&url, a->url);
    if (post(o, a, stop, buf_cstr(&url), &answer, e)) return e->rc;
    if (!client_refused(&answer)) return oidc_answer(answer.status, buf_view(&answer.body), clock_wall_ms(&clock_real), buf_cstr(&url), ret, e);
    o->in_body = !was;
    if (!post(o, a, stop, buf_cstr(&url), &second, &other) && !oidc_answer(second.status, buf_view(&second.body), clock_wall_ms(&clock_real), buf_cstr(&url), ret, &other))
        return RC_OK;
    o->in_body = was;
    return oidc_answer(answer.status, buf_view(&answer.body), clock_wall_ms(&clock_real), buf_cstr(&url), ret, e);
}

static enum rc oidc_make(struct token_maker *face, const atomic_bool *stop, struct token *ret, struct err *e)
{
    struct oidc *o = container_of(face, struct oidc, face);
    struct secret *s = NULL;
    struct asking a;
    enum rc rc;

    if (o->o.secret && secret_read(o->o.secret, stop, &s, e)) return e->rc;
    a = (struct asking){.method = choose(s, "method", o->o.method), .client_id = choose(s, "client_id", o->o.client_id), .scope = choose(s, "scope", o->o.scope),
                        .client_secret = choose(s, o->o.client_secret_key.p, o->o.client_secret), .url = choose(s, "token_endpoint_url", o->o.token_endpoint_url),
                        .extensions = choose(s, "extensions", o->o.extensions)};
    rc = asking_check(&a, e);
    if (!rc) rc = ask(o, &a, stop, ret, e);
    if (!rc) rc = oidc_extensions(a.extensions, ret, e);
    if (!rc && !*ret->principal) snprintf(ret->principal, sizeof ret->principal, "%.*s", (int)MIN(a.client_id.n, (size_t)250), a.client_id.p);
    if (rc) token_fini(ret);
    secret_free(s);
    return rc ? err_in(e, "OAuth token") : RC_OK;
}

static void oidc_free(struct token_maker *face)
{
    struct oidc *o = container_of(face, struct oidc, face);
    struct str *texts[] = {&o->o.method, &o->o.client_id, &o->o.scope, &o->o.token_endpoint_url, &o->o.extensions, &o->o.client_secret_key};

    for (size_t i = 0; i < countof(texts); i++)
        str_drop(texts[i]);
    if (o->o.client_secret.n) explicit_bzero((char *)(uintptr_t)o->o.client_secret.p, o->o.client_secret.n);
    str_drop(&o->o.client_secret);
    secret_source_free(o->o.secret);
    free(o->ca_path);
    free(o);
}

static void own(struct oidc *o, const struct oidc_options *from)
{
    o->o = *from;
    o->o.method = str_own(from->method);
    o->o.client_id = str_own(from->client_id);
    o->o.client_secret = str_own(from->client_secret);
    o->o.scope = str_own(from->scope);
    o->o.token_endpoint_url = str_own(from->token_endpoint_url);
    o->o.extensions = str_own(from->extensions);
    o->o.client_secret_key = str_own(from->client_secret_key.n ? from->client_secret_key : STR("client_secret"));
    o->ca_path = from->ca_path.n ? (char *)(uintptr_t)str_own(from->ca_path).p : NULL;
    if (!o->o.timeout_ms) o->o.timeout_ms = TIMEOUT_MS;
}

enum rc oidc_maker_new(const struct oidc_options *from, struct token_maker **ret, struct err *e)
{
    struct oidc *o = xnew(struct oidc);
    struct token probe = {0};
    struct asking a;
    enum rc rc;

    o->face = (struct token_maker){.make = oidc_make, .free = oidc_free};
    own(o, from);
    a = (struct asking){o->o.method, o->o.client_id, o->o.client_secret, o->o.scope, o->o.token_endpoint_url, o->o.extensions};
    rc = oidc_extensions(a.extensions, &probe, e);
    if (!rc && !o->o.secret) rc = asking_check(&a, e);
    token_fini(&probe);
    if (rc) {
        oidc_free(&o->face);
        return err_in(e, "OAuth token");
    }
    *ret = &o->face;
    return RC_OK;
}
