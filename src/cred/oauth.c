/* See oauth.h. The keys are read and used on one lane of the workers, so nothing here is locked.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "cred/oauth.h"

#include "base/diag.h"
#include "cred/http.h"

#include <cjose/cjose.h>
#include <jansson.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>

enum {
    FETCH_MS = 5000,
    REFRESH_S = 3600,
    AGAIN_S = 10,
    SKEW_S = 30,
    KEYS_MAX = 64,
    KEYS_BYTES_MAX = 1 << 20,
    TOKEN_BYTES_MAX = 64 << 10,
    NAME_BYTES_MAX = 1024,
};

static const int64_t SECONDS_MAX = INT64_C(253402300799); /* the end of the year 9999 */

struct oauth {
    char *jwks;
    struct str issuer, audience, scope, roles; /* owned */
    const char *what;
    bool elsewhere, wanted;

    cjose_jwk_t *keys[KEYS_MAX];
    size_t keys_n;
    int64_t read_s, tried_s; /* 0: never */
    struct timespec changed; /* of the file */
};

static bool is_address(const char *jwks)
{
    return str_starts(str_of(jwks), STR("http://")) || str_starts(str_of(jwks), STR("https://"));
}

struct oauth *oauth_new(const struct oauth_options *o)
{
    struct oauth *x = xnew(struct oauth);
    struct str jwks = str_own(o->jwks);

    x->jwks = (char *)(uintptr_t)jwks.p;
    x->issuer = str_own(o->issuer);
    x->audience = str_own(o->audience);
    x->scope = str_own(o->scope);
    x->roles = str_own(o->roles);
    x->what = o->what ? o->what : "broker.oauth";
    x->elsewhere = o->elsewhere && is_address(x->jwks);
    return x;
}

static void keys_drop(struct oauth *o)
{
    while (o->keys_n)
        cjose_jwk_release(o->keys[--o->keys_n]);
}

struct oauth *oauth_free(struct oauth *o)
{
    if (!o) return NULL;
    keys_drop(o);
    free(o->jwks);
    str_drop(&o->issuer);
    str_drop(&o->audience);
    str_drop(&o->scope);
    str_drop(&o->roles);
    free(o);
    return NULL;
}

void oauth_login_fini(struct oauth_login *l)
{
    str_drop(&l->user);
    str_drop(&l->roles);
}

/* ---- the client's message ---- */

enum rc oauth_message(struct str message, struct str *ret_token, struct err *e)
{
    struct str gs2, rest, one;
    const char *colon;

    *ret_token = (struct str){0};
    if (!str_cut(message, 1, &gs2, &rest) || !str_starts(gs2, STR("n,")))
        return err_set(e, RC_AUTH, "the message is not that of OAUTHBEARER");
    while (rest.n) {
        if (!str_cut(rest, 1, &one, &rest))
            return err_set(e, RC_AUTH, "the OAUTHBEARER message is cut");
        if (!one.n) break;
        if (!str_starts(one, STR("auth="))) continue;
        one = (struct str){one.p + 5, one.n - 5};
        colon = memchr(one.p, ' ', one.n);
        if (!colon || !str_eq_nocase((struct str){one.p, (size_t)(colon - one.p)}, STR("Bearer")))
            return err_set(e, RC_AUTH, "a bearer token is wanted");
        *ret_token = (struct str){colon + 1, one.n - (size_t)(colon + 1 - one.p)};
    }
    if (!ret_token->n) return err_set(e, RC_AUTH, "the OAUTHBEARER message has no token");
    return RC_OK;
}

/* ---- what cjose may see ---- */

/* Base64url as RFC 7515 wants it, without padding. cjose ends the process at some of what is not (an `=` as the second of four). */
static bool is_base64url(struct str s)
{
    static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

    for (size_t i = 0; i < s.n; i++)
        if (!s.p[i] || !strchr(alphabet, s.p[i])) return false;
    return s.n % 4 != 1;
}

static bool is_compact_jws(struct str token)
{
    struct str part;

    for (int i = 0; i < 2; i++)
        if (!str_cut(token, '.', &part, &token) || !is_base64url(part)) return false;
    return is_base64url(token);
}

static bool is_sound_key(const json_t *key)
{
    static const char *const numbers[] = {"n", "e", "d", "p", "q", "dp", "dq", "qi", "x", "y", "k"};

    for (size_t i = 0; i < countof(numbers); i++) {
        const json_t *v = json_object_get(key, numbers[i]);

        if (json_is_string(v) && !is_base64url((struct str){json_string_value(v), json_string_length(v)})) return false;
    }
    return json_is_object(key);
}

/* ---- keys ---- */

static enum rc file_read_all(const char *path, struct buf *ret, struct timespec *ret_changed,
                             struct err *e)
{
    FILE *f = fopen(path, "re");
    struct stat st;
    size_t n;

    if (!f) return err_sys(e, "%s", path);
    if (!fstat(fileno(f), &st)) *ret_changed = st.st_mtim;
    n = fread(buf_grow(ret, KEYS_BYTES_MAX), 1, KEYS_BYTES_MAX, f);
    ret->n = n;
    fclose(f);
    return RC_OK;
}

static enum rc keys_parse(struct oauth *o, struct bytes text, struct err *e)
{
    json_error_t why;
    json_t *root = json_loadb((const char *)text.p, text.n, 0, &why), *keys, *one;
    cjose_jwk_t *made[KEYS_MAX];
    size_t n = 0, i;

    if (!root)
        return err_set(e, RC_UNAVAILABLE, "the keys at %s are no JSON: %s", o->jwks, why.text);
    keys = json_object_get(root, "keys");
    json_array_foreach(keys, i, one)
    {
        cjose_err unknown; /* a key of a kind that cjose does not have is passed over */
        cjose_jwk_t *key =
            n < KEYS_MAX && is_sound_key(one) ? cjose_jwk_import_json((cjose_header_t *)one, &unknown) : NULL;

        if (key) made[n++] = key;
    }
    json_decref(root);
    if (!n) return err_set(e, RC_UNAVAILABLE, "there is no usable key at %s", o->jwks);
    keys_drop(o);
    memcpy(o->keys, made, n * sizeof *made);
    o->keys_n = n;
    return RC_OK;
}

enum rc oauth_fetch(const char *url, struct buf *ret, struct err *e)
{
    struct cred_ask q = {
        .method = "GET", .url = url, .timeout_ms = FETCH_MS, .bytes_max = KEYS_BYTES_MAX};
    AUTO(cred_answer_fini) struct cred_answer a = {0};

    if (cred_ask(&q, &a, e)) return e->rc;
    if (a.status != 200) return err_set(e, RC_UNAVAILABLE, "GET %s: status %ld", url, a.status);
    *ret = buf_take(&a.body);
    return RC_OK;
}

static enum rc keys_read(struct oauth *o, int64_t now_s, struct err *e)
{
    AUTO(buf_fini) struct buf text = {0};
    struct timespec changed = {0};
    enum rc rc;

    o->tried_s = now_s;
    rc = is_address(o->jwks) ? oauth_fetch(o->jwks, &text, e)
                             : file_read_all(o->jwks, &text, &changed, e);
    if (rc || keys_parse(o, buf_view(&text), e)) return err_in(e, "%s.jwks", o->what);
    o->read_s = now_s;
    o->changed = changed;
    return RC_OK;
}

static bool file_has_changed(const struct oauth *o)
{
    struct stat st;

    return !is_address(o->jwks) && !stat(o->jwks, &st) &&
           (st.st_mtim.tv_sec != o->changed.tv_sec || st.st_mtim.tv_nsec != o->changed.tv_nsec);
}

/* Keys that are old stay in use when new ones cannot be had. */
static enum rc keys_fresh(struct oauth *o, bool missed, int64_t now_s, struct err *e)
{
    bool old = !o->keys_n || now_s - o->read_s >= REFRESH_S || missed || file_has_changed(o);

    if (!old) return RC_OK;
    if (o->elsewhere && !(o->tried_s && now_s - o->tried_s < AGAIN_S)) {
        o->wanted = true;
        if (o->keys_n && !missed) return RC_OK;
        return err_set(e, RC_UNAVAILABLE, "the keys that tokens are checked against are being read: try again in a second");
    }
    if (o->tried_s && now_s - o->tried_s < AGAIN_S && !file_has_changed(o))
        return o->keys_n ? RC_OK
                         : err_set(e, RC_UNAVAILABLE,
                                   "the keys at %s could not be had a moment ago", o->jwks);
    if (!keys_read(o, now_s, e)) return RC_OK;
    diag(DIAG_WARN, "oauth.keys_not_read", KV_CSTR("why", e->text));
    return o->keys_n ? RC_OK : (e->rc = RC_UNAVAILABLE);
}

bool oauth_wants_keys(struct oauth *o, int64_t now_s)
{
    bool old = !o->keys_n || now_s - o->read_s >= REFRESH_S || o->wanted;

    if (!o->elsewhere || !old || (o->tried_s && now_s - o->tried_s < AGAIN_S)) return false;
    o->tried_s = now_s;
    return true;
}

enum rc oauth_keys_put(struct oauth *o, struct bytes text, int64_t now_s, struct err *e)
{
    if (keys_parse(o, text, e)) return err_in(e, "%s.jwks", o->what);
    o->read_s = now_s;
    o->wanted = false;
    return RC_OK;
}

/* ---- tokens ---- */

static bool algorithm_is_ours(const char *alg)
{
    static const char *const ours[] = {"RS256", "RS384", "RS512", "PS256", "PS384",
                                       "PS512", "ES256", "ES384", "ES512"};

    for (size_t i = 0; alg && i < countof(ours); i++)
        if (!strcmp(alg, ours[i])) return true;
    return false;
}

static bool kind_fits(const char *alg, const cjose_jwk_t *key)
{
    cjose_err ignored;
    cjose_jwk_kty_t kind = cjose_jwk_get_kty(key, &ignored);

    return kind == (alg[0] == 'E' ? CJOSE_JWK_KTY_EC : CJOSE_JWK_KTY_RSA);
}

/* With the key that the token names; one that names none is tried with each. */
static bool signature_holds(const struct oauth *o, cjose_jws_t *jws, const char *alg,
                            const char *kid, bool *ret_known)
{
    *ret_known = false;
    for (size_t i = 0; i < o->keys_n; i++) {
        cjose_err why;
        const char *its = cjose_jwk_get_kid(o->keys[i], &why);

        if (!kind_fits(alg, o->keys[i]) || (kid && its && strcmp(kid, its))) continue;
        *ret_known = true;
        if (cjose_jws_verify(jws, o->keys[i], &why)) return true;
    }
    return false;
}

static enum rc check_signature(struct oauth *o, cjose_jws_t *jws, int64_t now_s, struct err *e)
{
    cjose_err why;
    cjose_header_t *h = cjose_jws_get_protected(jws);
    const char *alg = cjose_header_get(h, CJOSE_HDR_ALG, &why),
               *kid = cjose_header_get(h, CJOSE_HDR_KID, &why);
    bool known;

    if (!algorithm_is_ours(alg))
        return err_set(e, RC_AUTH,
                       "the token is signed with %s; RS, PS or ES 256 to 512 are wanted",
                       alg ? alg : "nothing");
    if (keys_fresh(o, false, now_s, e)) return e->rc;
    if (signature_holds(o, jws, alg, kid, &known)) return RC_OK;
    if (!known) {
        if (keys_fresh(o, true, now_s, e)) return e->rc;
        if (signature_holds(o, jws, alg, kid, &known)) return RC_OK;
    }
    if (known) return err_set(e, RC_AUTH, "the token's signature does not hold");
    return err_set(e, RC_AUTH, "the token is signed by a key that is not among those of %s.jwks", o->what);
}

static bool contains(const json_t *claim, struct str wanted)
{
    const json_t *one;
    size_t i;

    if (json_is_string(claim)) return str_eq(str_of(json_string_value(claim)), wanted);
    json_array_foreach(claim, i, one) if (contains(one, wanted)) return true;
    return false;
}

/* "a b c", or a list. */
static bool scope_has(const json_t *claim, struct str wanted)
{
    struct str rest = str_of(json_string_value(claim)), one;

    if (!json_is_string(claim)) return contains(claim, wanted);
    while (rest.n) {
        (void)str_cut(rest, ' ', &one, &rest);
        if (str_eq(one, wanted)) return true;
    }
    return false;
}

/* In a range that may be added to. */
static int64_t seconds_of(const json_t *number)
{
    double s = json_number_value(number);

    return s > SECONDS_MAX ? SECONDS_MAX : s > 0 ? (int64_t)s : 0;
}

static enum rc check_times(const json_t *claims, int64_t now_s, int64_t *ret_expires, struct err *e)
{
    const json_t *exp = json_object_get(claims, "exp"), *nbf = json_object_get(claims, "nbf"),
                 *iat = json_object_get(claims, "iat");
    int64_t until;

    if (!json_is_number(exp))
        return err_set(e, RC_AUTH, "the token has no exp: it would be good for ever");
    until = seconds_of(exp);
    if (until + SKEW_S <= now_s)
        return err_set(e, RC_AUTH, "the token has expired, %lld s ago", (long long)(now_s - until));
    if (json_is_number(nbf) && seconds_of(nbf) - SKEW_S > now_s)
        return err_set(e, RC_AUTH, "the token is not good yet (nbf)");
    if (json_is_number(iat) && seconds_of(iat) - SKEW_S > now_s)
        return err_set(e, RC_AUTH,
                       "the token was issued in the future (iat): do the clocks agree?");
    *ret_expires = until > now_s ? until : until + SKEW_S; /* a session has at least what its clock may be off */
    return RC_OK;
}

/* The words of a text or a list. */
static void words_put(const json_t *claim, struct buf *ret)
{
    const json_t *one;
    size_t i;

    if (json_is_string(claim)) {
        buf_append_str(ret, str_of(json_string_value(claim)));
        buf_append_byte(ret, ' ');
    }
    if (json_is_array(claim)) json_array_foreach(claim, i, one) if (json_is_string(one)) words_put(one, ret);
}

/* "realm_access.roles" is a claim inside another; a name may have dots in it, too. */
static const json_t *claim_at(const json_t *claims, struct str path)
{
    const json_t *at = json_object_getn(claims, path.p, path.n);
    struct str one;
    bool more = true;

    if (at) return at;
    for (at = claims; at && more; at = json_object_getn(at, one.p, one.n))
        more = str_cut(path, '.', &one, &path);
    return at;
}

static struct str roles_of(const struct oauth *o, const json_t *claims)
{
    AUTO(buf_fini) struct buf words = {0};

    words_put(claim_at(claims, o->roles), &words);
    return str_own(buf_str(&words));
}

static enum rc check_claims(const struct oauth *o, const json_t *claims, int64_t now_s,
                            struct oauth_login *ret, struct err *e)
{
    const json_t *sub = json_object_get(claims, "sub"), *scope = json_object_get(claims, "scope");

    if (check_times(claims, now_s, &ret->expires_s, e)) return e->rc;
    if (o->issuer.n && !contains(json_object_get(claims, "iss"), o->issuer))
        return err_set(e, RC_AUTH, "the token is of another issuer than %s.issuer", o->what);
    if (o->audience.n && !contains(json_object_get(claims, "aud"), o->audience))
        return err_set(e, RC_AUTH, "the token is for another audience than %s.audience", o->what);
    if (o->scope.n && !scope_has(scope ? scope : json_object_get(claims, "scp"), o->scope))
        return err_set(e, RC_AUTH, "the token lacks the scope of %s.scope", o->what);
    if (!json_is_string(sub) || !json_string_length(sub) ||
        json_string_length(sub) > NAME_BYTES_MAX)
        return err_set(e, RC_AUTH, "the token names nobody (sub)");
    ret->user = str_own((struct str){json_string_value(sub), json_string_length(sub)});
    if (o->roles.n) ret->roles = roles_of(o, claims);
    return RC_OK;
}

static enum rc verify(struct oauth *o, cjose_jws_t *jws, int64_t now_s, struct oauth_login *ret,
                      struct err *e)
{
    json_error_t ignored;
    json_t *claims;
    cjose_err why;
    uint8_t *text;
    size_t n;
    enum rc rc;

    if (check_signature(o, jws, now_s, e)) return e->rc;
    if (!cjose_jws_get_plaintext(jws, &text, &n, &why))
        return err_set(e, RC_AUTH, "the token has no claims");
    claims = json_loadb((const char *)text, n, 0, &ignored);
    rc = json_is_object(claims) ? check_claims(o, claims, now_s, ret, e)
                                : err_set(e, RC_AUTH, "the token's claims are no JSON");
    json_decref(claims);
    return rc;
}

enum rc oauth_verify(struct oauth *o, struct str token, int64_t now_s, struct oauth_login *ret,
                     struct err *e)
{
    cjose_err why;
    cjose_jws_t *jws;
    enum rc rc;

    if (!o) return err_set(e, RC_AUTH, "broker.oauth.jwks is not set");
    if (token.n > TOKEN_BYTES_MAX) return err_set(e, RC_AUTH, "the token has %zu bytes", token.n);
    jws = is_compact_jws(token) ? cjose_jws_import(token.p, token.n, &why) : NULL;
    if (!jws) return err_set(e, RC_AUTH, "the token is no signed JWT");
    rc = verify(o, jws, now_s, ret, e);
    cjose_jws_release(jws);
    return rc;
}
