/* What a trusted issuer could sign, and what it could publish: the first byte says which: 'c' and claims, which are signed here with a key that
 * the broker knows, so that they are looked at; 'k' and a set of keys. SPDX-License-Identifier: Apache-2.0 */
#include "cred/oauth.h"

#include <cjose/cjose.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { NOW_S = 1795406770 };

static char path[] = "/tmp/millrace-fuzz-keys-XXXXXX";
static cjose_jwk_t *key;
static struct oauth *strict, *open_to_all;

static void keys_write(struct bytes text)
{
    int fd = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC);

    must(fd >= 0 && write(fd, text.p, text.n) == (ssize_t)text.n);
    close(fd);
}

static void set_up(void)
{
    char *public, all[1024];
    cjose_err why;
    int fd = mkstemp(path);

    must(fd >= 0);
    close(fd);
    key = cjose_jwk_create_EC_random(CJOSE_JWK_EC_P_256, &why);
    must(key && (public = cjose_jwk_to_json(key, false, &why)));
    snprintf(all, sizeof all, "{\"keys\":[%s]}", public);
    free(public);
    keys_write(str_bytes(str_of(all)));
    strict = oauth_new(&(struct oauth_options){.jwks = str_of(path), .issuer = STR("https://i"), .audience = STR("kafka"), .scope = STR("produce")});
    open_to_all = oauth_new(&(struct oauth_options){.jwks = str_of(path)});
}

/* Signed once for both. */
static struct str token_of(struct str claims)
{
    cjose_err why;
    cjose_header_t *head = cjose_header_new(&why);
    const char *text;
    cjose_jws_t *jws;
    struct str ret;

    must(head && cjose_header_set(head, CJOSE_HDR_ALG, CJOSE_HDR_ALG_ES256, &why));
    jws = cjose_jws_sign(key, head, (const uint8_t *)claims.p, claims.n, &why);
    must(jws && cjose_jws_export(jws, &text, &why));
    ret = str_own(str_of(text));
    cjose_jws_release(jws);
    cjose_header_release(head);
    return ret;
}

static enum rc verify(struct oauth *o, struct str token)
{
    struct oauth_login login = {0};
    struct err e;
    enum rc rc = oauth_verify(o, token, NOW_S, &login, &e);

    must(rc == RC_OK || rc == RC_AUTH);
    if (!rc) must(login.user.n && login.expires_s >= NOW_S);
    oauth_login_fini(&login);
    return rc;
}

static void claims(struct str text)
{
    struct str token = token_of(text);
    enum rc strictly = verify(strict, token), openly = verify(open_to_all, token);

    must(strictly != RC_OK || openly == RC_OK);  /* what passes the stricter one passes the other */
    str_drop(&token);
}

static void keys(struct bytes text)
{
    char own[] = "/tmp/millrace-fuzz-set-XXXXXX";
    struct oauth_login login = {0};
    struct oauth *o;
    struct err e;
    int fd = mkstemp(own);
    enum rc rc;

    must(fd >= 0 && write(fd, text.p, text.n) == (ssize_t)text.n);
    close(fd);
    o = oauth_new(&(struct oauth_options){.jwks = str_of(own)});
    rc = oauth_verify(o, STR("eyJhbGciOiJFUzI1NiJ9.e30.AAAA"), NOW_S, &login, &e);
    must(rc == RC_AUTH || rc == RC_UNAVAILABLE); /* nobody has signed that */
    oauth_free(o);
    unlink(own);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!strict) {
        set_up();
        verify(strict, STR("eyJhbGciOiJFUzI1NiJ9.e30.AAAA"));      /* reads the keys */
        verify(open_to_all, STR("eyJhbGciOiJFUzI1NiJ9.e30.AAAA"));
    }
    if (size && data[0] == 'c') claims((struct str){(const char *)data + 1, size - 1});
    if (size && data[0] == 'k') keys(bytes_of(data + 1, size - 1));
    return 0;
}
