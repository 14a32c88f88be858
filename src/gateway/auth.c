/* See auth.h. The lock is held for a look into a table; only a token that nobody has shown yet, from that address, is compared with
 * all there are. SPDX-License-Identifier: Apache-2.0 */
#include "gateway/auth.h"

#include "base/diag.h"
#include "base/map.h"
#include "base/rng.h"
#include "cred/errand.h"
#include "net/strikes.h"
#include "sys/clock.h"
#include <openssl/crypto.h>
#include <openssl/sha.h>
#include <pthread.h>
#include <sys/stat.h>

enum { KEYS_LOOK_MS = 1000, LOOK_MS = 1000, SEEN_MAX = 10000, KEY_BYTES = 32, ADDRESS_BYTES_MAX = 16, BEARER_BYTES_MAX = 16 << 10 };

struct auth {
    struct auth_options o;               /* the path is owned */
    pthread_mutex_t lock;
    struct tokens *tokens;               /* NULL: none are asked for */
    struct stat stat;                    /* of the file, when it was read or refused */
    uint64_t looked_ms;
    struct map seen;                     /* digest of address and token -> struct seen */
    uint8_t key[KEY_BYTES];
    struct strikes *strikes;
    struct oauth *jwt;                   /* NULL: no signed tokens */
    char *jwks;
    struct str role_prefix;              /* owned */
    struct keys_errand *errand;
    atomic_uint owners;                  /* the app, and an errand on its way */
};

struct seen { unsigned roles; int64_t until_s; };                 /* 0: as long as the file has it */

/* ---- the file ---- */

static void note_mode(const struct auth *a)
{
    if (a->stat.st_mode & 077)
        diag(DIAG_WARN, "auth.file_mode", KV_CSTR("why", "others on this machine can read the tokens: chmod 600, or keep hashes in it"),
             KV_CSTR("file", a->o.tokens_path));
}

static bool same_file(const struct stat *a, const struct stat *b)
{
    return a->st_ino == b->st_ino && a->st_size == b->st_size && a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

/* A file that cannot be used changes nothing, and is told of once. */
static void look_again(struct auth *a, uint64_t now_ms)
{
    struct tokens *fresh;
    struct stat st = {0};
    struct err e;

    if (!a->tokens || now_ms - a->looked_ms < LOOK_MS) return;
    a->looked_ms = now_ms;
    if (stat(a->o.tokens_path, &st)) st = (struct stat){0};
    if (same_file(&st, &a->stat)) return;
    a->stat = st;
    if (tokens_load(a->o.tokens_path, &fresh, &e)) {
        diag(DIAG_WARN, "auth.tokens_kept", KV_CSTR("why", e.text));
        return;
    }
    tokens_free(a->tokens);
    a->tokens = fresh;
    map_fini_each(&a->seen, free);
    note_mode(a);
    diag(DIAG_INFO, "auth.tokens_read", KV_U64("tokens", tokens_count(fresh)));
}

enum rc auth_new(const struct auth_options *o, struct auth **ret, struct err *e)
{
    struct auth *a = xnew(struct auth);

    a->o = *o;
    a->o.tokens_path = o->tokens_path && *o->tokens_path ? xstrdup(o->tokens_path) : NULL;
    must(pthread_mutex_init(&a->lock, NULL) == 0);
    a->strikes = strikes_new();
    random_bytes(a->key, sizeof a->key);
    atomic_init(&a->owners, 1);
    if (o->jwt.jwks.n) {
        a->jwt = oauth_new(&o->jwt);
        a->jwks = (char *)(uintptr_t)str_own(o->jwt.jwks).p;
        a->role_prefix = str_own(o->role_prefix);
    }
    if (a->o.tokens_path) {
        if (stat(a->o.tokens_path, &a->stat)) a->stat = (struct stat){0};
        if (tokens_load(a->o.tokens_path, &a->tokens, e)) {
            auth_free(a);
            return err_in(e, "security.gateway.tokens");
        }
        note_mode(a);
        if (!tokens_count(a->tokens)) diag(DIAG_WARN, "auth.no_tokens", KV_CSTR("why", "the file has none: nobody gets in by token"));
    }
    *ret = a;
    return RC_OK;
}

struct auth *auth_free(struct auth *a)
{
    if (!a || atomic_fetch_sub(&a->owners, 1) != 1) return NULL;
    oauth_free(a->jwt);
    free(a->jwks);
    str_drop(&a->role_prefix);
    tokens_free(a->tokens);
    map_fini_each(&a->seen, free);
    strikes_free(a->strikes);
    pthread_mutex_destroy(&a->lock);
    OPENSSL_cleanse(a->key, sizeof a->key);
    free((char *)(uintptr_t)a->o.tokens_path);
    free(a);
    return NULL;
}

/* ---- the keys of signed tokens ---- */

struct keys_errand { struct errand errand; struct auth *auth; };

static int64_t wall_s(void)
{
    return clock_wall_ms(&clock_real) / 1000;
}

/* On a worker; the lock is not held while somebody else is waited for. */
static void keys_run(struct errand *errand)
{
    struct auth *a = container_of(errand, struct keys_errand, errand)->auth;
    AUTO(buf_fini) struct buf text = {0};
    struct err e;
    enum rc rc;
    bool wanted;

    pthread_mutex_lock(&a->lock);
    wanted = oauth_wants_keys(a->jwt, wall_s());
    pthread_mutex_unlock(&a->lock);
    if (!wanted) return;
    rc = oauth_fetch(a->jwks, &text, &e);
    if (!rc) {
        pthread_mutex_lock(&a->lock);
        rc = oauth_keys_put(a->jwt, buf_view(&text), wall_s(), &e);
        pthread_mutex_unlock(&a->lock);
    }
    if (rc) diag(DIAG_WARN, "auth.keys_not_read", KV_CSTR("why", e.text));
}

static uint64_t keys_done(struct errand *errand)
{
    (void)errand;
    return KEYS_LOOK_MS;
}

static void keys_drop(struct errand *errand)
{
    struct keys_errand *k = container_of(errand, struct keys_errand, errand);

    auth_free(k->auth);
    free(k);
}

void auth_start(struct auth *a, struct loop *loop, struct workers *workers)
{
    struct str scheme, rest;

    if (!a->jwt || !str_cut(str_of(a->jwks), ':', &scheme, &rest) || !str_starts(rest, STR("//"))) return; /* a file is read where it is needed */
    a->errand = xnew(struct keys_errand);
    a->errand->auth = a;
    atomic_fetch_add(&a->owners, 1);
    a->errand->errand.loop = loop;
    a->errand->errand.workers = workers;
    a->errand->errand.run = keys_run;
    a->errand->errand.done = keys_done;
    a->errand->errand.drop = keys_drop;
    errand_in(&a->errand->errand, 0);
}

void auth_stop(struct auth *a)
{
    struct keys_errand *k = a ? a->errand : NULL;

    if (!k) return;
    a->errand = NULL;
    errand_end(&k->errand);
}

/* ---- tokens ---- */

struct digest { uint8_t p[SHA256_DIGEST_LENGTH]; };

static struct digest digest_of(const struct auth *a, struct bytes address, struct str token)
{
    uint8_t text[KEY_BYTES + ADDRESS_BYTES_MAX + BEARER_BYTES_MAX];
    struct digest d;

    must(address.n <= ADDRESS_BYTES_MAX && token.n <= BEARER_BYTES_MAX);
    memcpy(text, a->key, KEY_BYTES);
    memset(text + KEY_BYTES, 0, ADDRESS_BYTES_MAX);
    if (address.n) memcpy(text + KEY_BYTES, address.p, address.n);
    memcpy(text + KEY_BYTES + ADDRESS_BYTES_MAX, token.p, token.n);
    SHA256(text, KEY_BYTES + ADDRESS_BYTES_MAX + token.n, d.p);
    return d;
}

static void remember(struct auth *a, const struct digest *key, unsigned roles, int64_t until_s)
{
    struct seen *s = xnew(struct seen);

    if (a->seen.n >= SEEN_MAX) map_fini_each(&a->seen, free);
    s->roles = roles;
    s->until_s = until_s;
    free(map_put(&a->seen, bytes_of(key->p, sizeof key->p), s));
}

static void note_wrong(struct auth *a, const struct auth_call *c, struct bytes address, const char *why)
{
    char text[ADDR_TEXT_MAX] = "";
    uint32_t n = strikes_note(a->strikes, address, c->now_ms);

    if (n != 1 && n != STRIKES_MAX) return;
    diag(DIAG_WARN, "auth.token_refused", KV_CSTR("why", n == 1 ? why : "too many wrong tokens: refused for a minute"),
         KV_STR("peer", c->peer ? addr_text(c->peer, text) : STR("")));
}

/* Three parts of base64url with dots between them, the first an object: a JWT. */
static bool is_signed(struct str token)
{
    size_t dots = 0;

    for (size_t i = 0; i < token.n; i++) dots += token.p[i] == '.';
    return dots == 2 && str_starts(token, STR("ey"));
}

/* Of the words in the claim those that are ours. */
static unsigned roles_in(const struct auth *a, struct str words)
{
    unsigned roles = 0, one;
    struct str word;

    while (words.n) {
        (void)str_cut(words, ' ', &word, &words);
        if (str_starts(word, a->role_prefix) && roles_parse((struct str){word.p + a->role_prefix.n, word.n - a->role_prefix.n}, &one)) roles |= one;
    }
    return roles;
}

/* What a caller has shown, and from where. */
struct shown { struct str token; struct bytes address; struct digest digest; };

static enum auth_verdict signed_look(struct auth *a, const struct auth_call *c, const struct shown *s, unsigned *ret_roles, struct err *e)
{
    struct oauth_login login = {0};
    enum rc rc = oauth_verify(a->jwt, s->token, c->now_s, &login, e);

    if (rc == RC_UNAVAILABLE) return AUTH_LATER;
    if (rc) {
        note_wrong(a, c, s->address, e->text);
        return AUTH_UNKNOWN;
    }
    *ret_roles = roles_in(a, login.roles);
    remember(a, &s->digest, *ret_roles, login.expires_s);
    oauth_login_fini(&login);
    return AUTH_GOOD;
}

/* Locked. */
static enum auth_verdict token_look(struct auth *a, const struct auth_call *c, const struct shown *s, unsigned *ret_roles, struct err *e)
{
    const struct seen *known = map_get(&a->seen, bytes_of(s->digest.p, sizeof s->digest.p));
    struct str name;

    if (known && (!known->until_s || c->now_s < known->until_s)) {
        *ret_roles = known->roles;
        return AUTH_GOOD;
    }
    if (strikes_of(a->strikes, s->address, c->now_ms) >= STRIKES_MAX) {
        err_set(e, RC_OVERLOAD, "too many wrong tokens from this address: try again in a minute");
        return AUTH_BARRED;
    }
    if (a->tokens && tokens_find(a->tokens, s->token, ret_roles, &name)) {
        remember(a, &s->digest, *ret_roles, 0);
        return AUTH_GOOD;
    }
    if (a->jwt && is_signed(s->token)) return signed_look(a, c, s, ret_roles, e);
    note_wrong(a, c, s->address, "it is not among security.gateway.tokens");
    err_set(e, RC_AUTH, "the token is not known here");
    return AUTH_UNKNOWN;
}

static enum auth_verdict by_token(struct auth *a, const struct auth_call *c, unsigned *ret_roles, struct err *e)
{
    struct shown s = {.address = c->peer ? strikes_key(c->peer) : bytes_of("", 0)};
    struct str scheme, token;
    enum auth_verdict v;

    if (!str_cut(c->authorization, ' ', &scheme, &token) || !str_eq_nocase(scheme, STR("Bearer")) || !(token = str_trim(token)).n ||
        token.n > BEARER_BYTES_MAX) {
        err_set(e, RC_AUTH, "a bearer token is wanted: Authorization: Bearer TOKEN");
        return AUTH_UNKNOWN;
    }
    s.token = token;
    s.digest = digest_of(a, s.address, token);   /* its key never changes: all loops do this at once */
    pthread_mutex_lock(&a->lock);
    look_again(a, c->now_ms);
    v = token_look(a, c, &s, ret_roles, e);
    pthread_mutex_unlock(&a->lock);
    return v;
}

/* ---- the decision ---- */

static bool is_local(const struct auth_call *c)
{
    return !c->forwarded && (!c->peer || addr_loopback(c->peer));
}

static const char *roles_text(unsigned roles)
{
    switch (roles) {
    case ROLE_INFER: return "infer";
    case ROLE_READ: return "read";
    case ROLE_ADMIN: return "admin";
    default: return "infer or read";
    }
}

static enum auth_verdict enough(const struct auth_call *c, unsigned roles, const char *what, struct err *e)
{
    if (roles & (c->access.roles | ROLE_ADMIN)) return AUTH_GOOD;
    err_set(e, RC_DENIED, "%s does not carry the role that this needs: %s", what, roles_text(c->access.roles));
    return AUTH_DENIED;
}

static bool asks(const struct auth *a)
{
    return a && (a->tokens || a->jwt || a->o.certificates);
}

enum auth_verdict auth_decide(struct auth *a, const struct auth_call *c, bool *ret_token, struct err *e)
{
    enum auth_verdict v;
    unsigned roles = 0;

    *ret_token = false;
    if (!c->access.roles) return AUTH_GOOD;
    if (!asks(a)) {
        if (!c->access.management || is_local(c)) return AUTH_GOOD;
        err_set(e, RC_DENIED, "management is possible from this machine only: security.gateway.tokens lets others in who show a token with the role %s",
                roles_text(c->access.roles));
        return AUTH_DENIED;
    }
    if ((a->tokens || a->jwt) && c->authorization.p) {
        if ((v = by_token(a, c, &roles, e))) return v;
        *ret_token = true;
        return enough(c, roles, "the token", e);
    }
    if (c->certified && a->o.certificate_roles) return enough(c, a->o.certificate_roles, "the certificate", e);
    if (c->access.management && a->o.trust_loopback && is_local(c)) return AUTH_GOOD;
    if (c->certified) {
        err_set(e, RC_DENIED, "a certificate is not enough here (security.gateway.tls.clientRole): a token is wanted, too: Authorization: Bearer TOKEN");
        return a->tokens || a->jwt ? AUTH_UNKNOWN : AUTH_DENIED;
    }
    err_set(e, RC_AUTH, "who calls? %s is wanted",
            a->tokens || a->jwt ? "a token (Authorization: Bearer TOKEN; millrace: --token @FILE or MILLRACE_TOKEN)" : "a client certificate");
    return AUTH_UNKNOWN;
}
