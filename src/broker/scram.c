/* See scram.h. The names in the comments are RFC 5802's. SPDX-License-Identifier: Apache-2.0 */
#include "broker/scram.h"

#include "base/base64.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

/* ---- hashes ---- */

static const EVP_MD *md_of(enum scram_hash hash)
{
    return hash == SCRAM_SHA_256 ? EVP_sha256() : EVP_sha512();
}

size_t scram_key_bytes(enum scram_hash hash)
{
    return hash == SCRAM_SHA_256 ? 32 : 64;
}

static void hmac(enum scram_hash hash, const uint8_t *key, struct bytes data, uint8_t *ret)
{
    must(HMAC(md_of(hash), key, (int)scram_key_bytes(hash), data.p, data.n, ret, NULL));
}

static void digest(enum scram_hash hash, const uint8_t *data, uint8_t *ret)
{
    must(EVP_Digest(data, scram_key_bytes(hash), ret, NULL, md_of(hash), NULL));
}

/* ClientKey, StoredKey and ServerKey out of SaltedPassword. */
static void keys_of(const uint8_t *salted, struct scram_credential *c)
{
    uint8_t client_key[SCRAM_KEY_BYTES_MAX];

    hmac(c->hash, salted, str_bytes(STR("Client Key")), client_key);
    digest(c->hash, client_key, c->stored_key);
    hmac(c->hash, salted, str_bytes(STR("Server Key")), c->server_key);
    OPENSSL_cleanse(client_key, sizeof client_key);
}

static void begin(enum scram_hash hash, struct bytes salt, int32_t iterations,
                  struct scram_credential *ret)
{
    must(salt.n <= sizeof ret->salt);
    *ret = (struct scram_credential){.hash = hash, .iterations = iterations, .salt_n = salt.n};
    if (salt.n) memcpy(ret->salt, salt.p, salt.n);
}

enum rc scram_credential_of_salted(enum scram_hash hash, struct bytes salt, int32_t iterations,
                                   struct bytes salted, struct scram_credential *ret, struct err *e)
{
    if (salted.n != scram_key_bytes(hash))
        return err_set(e, RC_INVALID, "the salted password has %zu bytes instead of %zu", salted.n,
                       scram_key_bytes(hash));
    if (!salt.n || salt.n > SCRAM_SALT_BYTES_MAX)
        return err_set(e, RC_INVALID, "the salt has %zu bytes; 1 to %d are wanted", salt.n,
                       SCRAM_SALT_BYTES_MAX);
    begin(hash, salt, iterations, ret);
    keys_of(salted.p, ret);
    return RC_OK;
}

void scram_credential_of_password(enum scram_hash hash, struct bytes salt, int32_t iterations,
                                  struct str password, struct scram_credential *ret)
{
    uint8_t salted[SCRAM_KEY_BYTES_MAX];

    begin(hash, salt, iterations, ret);
    must(password.n <= INT32_MAX);
    must(PKCS5_PBKDF2_HMAC(password.p ? password.p : "", (int)password.n, salt.p, (int)salt.n,
                           iterations, md_of(hash), (int)scram_key_bytes(hash), salted));
    keys_of(salted, ret);
    OPENSSL_cleanse(salted, sizeof salted);
}

bool scram_password_is(const struct scram_credential *c, struct str password)
{
    struct scram_credential given;
    bool same;

    scram_credential_of_password(c->hash, bytes_of(c->salt, c->salt_n), c->iterations, password,
                                 &given);
    same = CRYPTO_memcmp(given.stored_key, c->stored_key, scram_key_bytes(c->hash)) == 0;
    OPENSSL_cleanse(&given, sizeof given);
    return same;
}

void scram_credential_unknown(enum scram_hash hash, struct str user, struct bytes secret,
                              struct scram_credential *ret)
{
    uint8_t mac[SCRAM_KEY_BYTES_MAX];

    must(HMAC(EVP_sha512(), secret.p, (int)secret.n, (const uint8_t *)user.p, user.n, mac, NULL));
    begin(hash, bytes_of(mac, 16), SCRAM_ITERATIONS_MIN, ret);
    memcpy(ret->stored_key, mac + 16, 32); /* the hash of nothing that anybody knows */
    memcpy(ret->server_key, mac + 32, 32);
}

/* ---- messages ---- */

void scram_init(struct scram *x, enum scram_hash hash)
{
    *x = (struct scram){.hash = hash};
}

void scram_fini(struct scram *x)
{
    buf_fini(&x->client_first_bare);
    buf_fini(&x->server_first);
    buf_fini(&x->nonce);
    OPENSSL_cleanse(&x->credential, sizeof x->credential);
    *x = (struct scram){0};
}

static enum rc malformed(struct err *e)
{
    return err_set(e, RC_AUTH, "malformed SCRAM message");
}

/* The attribute in front: "n=value", up to the next comma or the end. */
static bool attribute(struct str *message, char name, struct str *ret)
{
    struct str one;

    if (message->n < 2 || message->p[0] != name || message->p[1] != '=') return false;
    (void)str_cut(*message, ',', &one, message);
    *ret = (struct str){one.p + 2, one.n - 2};
    return true;
}

/* saslname: "=2C" is a comma and "=3D" an equals sign. */
static bool name_decode(struct str s, char *ret)
{
    size_t n = 0;

    if (!s.n || s.n > SCRAM_NAME_BYTES_MAX) return false;
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];

        if (!c) return false;
        if (c == '=') {
            struct str code = {s.p + i + 1, MIN((size_t)2, s.n - i - 1)};

            if (str_is(code, "2C"))
                c = ',';
            else if (!str_is(code, "3D"))
                return false;
            i += 2;
        }
        ret[n++] = c;
    }
    ret[n] = 0;
    return true;
}

/* "n," and perhaps "a=name", then a comma. What stands behind is client-first-message-bare. */
static enum rc gs2(struct scram *x, struct str message, char authzid[SCRAM_NAME_BYTES_MAX + 1],
                   struct str *ret_bare, struct err *e)
{
    struct str flag, name, rest;

    if (!str_cut(message, ',', &flag, &rest) || !str_cut(rest, ',', &name, &rest))
        return malformed(e);
    if (!str_is(flag, "n"))
        return err_set(e, RC_AUTH, "SCRAM with channel binding is not to be had here");
    authzid[0] = 0;
    if (name.n && (!str_starts(name, STR("a=")) ||
                   !name_decode((struct str){name.p + 2, name.n - 2}, authzid)))
        return malformed(e);
    x->gs2_n = (size_t)(rest.p - message.p);
    if (x->gs2_n > sizeof x->gs2) return malformed(e);
    memcpy(x->gs2, message.p, x->gs2_n);
    *ret_bare = rest;
    return RC_OK;
}

enum rc scram_first(struct scram *x, struct str message, struct str *ret_user, struct err *e)
{
    char authzid[SCRAM_NAME_BYTES_MAX + 1];
    struct str bare, rest, name, nonce, extension;

    if (gs2(x, message, authzid, &bare, e)) return e->rc;
    rest = bare;
    if (!attribute(&rest, 'n', &name) || !attribute(&rest, 'r', &nonce)) return malformed(e);
    if (!name_decode(name, x->user) || !nonce.n || nonce.n > SCRAM_NONCE_BYTES_MAX)
        return malformed(e);
    while (rest.n) {
        (void)str_cut(rest, ',', &extension, &rest);
        if (str_starts(extension, STR("tokenauth=")))
            return err_set(e, RC_AUTH, "delegation tokens are not to be had here");
    }
    if (authzid[0] && !str_is(str_of(authzid), x->user))
        return err_set(e, RC_AUTH, "nobody may act for somebody else");
    buf_clear(&x->client_first_bare);
    buf_append_str(&x->client_first_bare, bare);
    buf_clear(&x->nonce);
    buf_append_str(&x->nonce, nonce);
    x->client_nonce_n = nonce.n;
    *ret_user = str_of(x->user);
    return RC_OK;
}

void scram_challenge(struct scram *x, const struct scram_credential *c, struct str server_nonce,
                     struct buf *ret)
{
    x->credential = *c;
    buf_append_str(&x->nonce, server_nonce);
    buf_clear(&x->server_first);
    buf_printf(&x->server_first, "r=" STR_FMT ",s=", STR_ARG(buf_str(&x->nonce)));
    base64_encode(bytes_of(c->salt, c->salt_n), &x->server_first);
    buf_printf(&x->server_first, ",i=%d", (int)c->iterations);
    buf_append(ret, buf_view(&x->server_first));
}

/* Who has the key that hashes to StoredKey made ClientProof; says ServerSignature. */
static bool proof_is_right(const struct scram *x, struct bytes auth_message, const uint8_t *proof,
                           uint8_t *ret_server_signature)
{
    const struct scram_credential *c = &x->credential;
    size_t n = scram_key_bytes(x->hash);
    uint8_t signature[SCRAM_KEY_BYTES_MAX], key[SCRAM_KEY_BYTES_MAX], stored[SCRAM_KEY_BYTES_MAX];
    bool right;

    hmac(x->hash, c->stored_key, auth_message, signature);
    for (size_t i = 0; i < n; i++)
        key[i] = proof[i] ^ signature[i];
    digest(x->hash, key, stored);
    right = CRYPTO_memcmp(stored, c->stored_key, n) == 0;
    hmac(x->hash, c->server_key, auth_message, ret_server_signature);
    OPENSSL_cleanse(key, sizeof key);
    return right;
}

static bool binding_is(const struct scram *x, struct str c)
{
    AUTO(buf_fini) struct buf sent = {0};

    return base64_decode(c, &sent) && bytes_eq(buf_view(&sent), bytes_of(x->gs2, x->gs2_n));
}

/* librdkafka before 2.6.1 puts its own part in front once more, and Apache Kafka 3.8 lets it. */
static bool nonce_is(const struct scram *x, struct str said)
{
    struct str whole = buf_str(&x->nonce), own = {whole.p, x->client_nonce_n};

    if (said.n == own.n + whole.n && str_starts(said, own)) said = (struct str){said.p + own.n, whole.n};
    return str_eq(said, whole);
}

enum rc scram_final(struct scram *x, struct str message, struct buf *ret, struct err *e)
{
    AUTO(buf_fini) struct buf auth = {0}, proof = {0};
    uint8_t signature[SCRAM_KEY_BYTES_MAX];
    struct str rest = message, binding, nonce, p, without_proof;

    if (!attribute(&rest, 'c', &binding) || !attribute(&rest, 'r', &nonce)) return malformed(e);
    while (rest.n && !str_starts(rest, STR("p="))) { /* extensions */
        struct str skipped;

        (void)str_cut(rest, ',', &skipped, &rest);
    }
    without_proof = (struct str){message.p, (size_t)(rest.p - message.p) - (rest.n != 0)};
    if (!attribute(&rest, 'p', &p) || rest.n) return malformed(e);
    if (!binding_is(x, binding) || !nonce_is(x, nonce)) return malformed(e);
    if (!base64_decode(p, &proof) || proof.n != scram_key_bytes(x->hash)) return malformed(e);

    buf_append(&auth, buf_view(&x->client_first_bare));
    buf_append_byte(&auth, ',');
    buf_append(&auth, buf_view(&x->server_first));
    buf_append_byte(&auth, ',');
    buf_append_str(&auth, without_proof);
    if (!proof_is_right(x, buf_view(&auth), proof.p, signature))
        return err_set(e, RC_AUTH, "invalid user name or password");
    buf_append_str(ret, STR("v="));
    base64_encode(bytes_of(signature, scram_key_bytes(x->hash)), ret);
    return RC_OK;
}
