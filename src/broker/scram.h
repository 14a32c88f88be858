/* broker/scram.h - the server's side of SCRAM-SHA-256 and -512 (RFC 5802, RFC 7677), without channel binding. Pure.
 *
 * What is kept of a password is a salt, a count of iterations and two keys: who reads them cannot log in with them.
 *
 *     scram_first(&x, "n,,n=alice,r=…", &user)          finds the user's name; the caller looks the credential up
 *     scram_challenge(&x, credential, nonce, &out)      "r=…,s=…,i=…"; without a credential with one that nobody can meet
 *     scram_final(&x, "c=biws,r=…,p=…", &out)           checks the proof in constant time: "v=…"
 *
 * Used by: sasl.c, users.c, api/user_scram.c.   SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/buf.h"
#include "base/err.h"
#include "kafka/security.h"

enum { SCRAM_KEY_BYTES_MAX = 64, SCRAM_SALT_BYTES_MAX = 64,
       SCRAM_NAME_BYTES_MAX = 512, SCRAM_NONCE_BYTES_MAX = 256 };

struct scram_credential {
    enum scram_hash hash;
    int32_t iterations;
    size_t  salt_n;
    uint8_t salt[SCRAM_SALT_BYTES_MAX];
    uint8_t stored_key[SCRAM_KEY_BYTES_MAX], server_key[SCRAM_KEY_BYTES_MAX];    /* scram_key_bytes() of them */
};
size_t scram_key_bytes(enum scram_hash hash);
/* From what a client salted already (KIP-554). RC_INVALID: its length is not the hash's. */
enum rc scram_credential_of_salted(enum scram_hash hash, struct bytes salt, int32_t iterations, struct bytes salted,
                                   struct scram_credential *ret, struct err *e) MUST_USE;
/* From a password. Takes a millisecond or so for each 4096 iterations. */
void scram_credential_of_password(enum scram_hash hash, struct bytes salt, int32_t iterations, struct str password,
                                  struct scram_credential *ret);
bool scram_password_is(const struct scram_credential *c, struct str password);   /* as slow; constant time in the comparison */
/* For a name that nobody has: same salt for the same name, a key that no password gives. `secret` is the broker's own. */
void scram_credential_unknown(enum scram_hash hash, struct str user, struct bytes secret, struct scram_credential *ret);

struct scram {
    enum scram_hash hash;
    struct scram_credential credential;
    struct buf client_first_bare, server_first, nonce;
    uint8_t gs2[SCRAM_NAME_BYTES_MAX + 8];
    size_t  gs2_n, client_nonce_n;               /* the nonce begins with the client's */
    char    user[SCRAM_NAME_BYTES_MAX + 1];
};
void scram_init(struct scram *x, enum scram_hash hash);
void scram_fini(struct scram *x);
/* *ret_user is borrowed from x. RC_AUTH: malformed, channel binding wanted, another authzid, a delegation token. */
enum rc scram_first(struct scram *x, struct str message, struct str *ret_user, struct err *e) MUST_USE;
void scram_challenge(struct scram *x, const struct scram_credential *c, struct str server_nonce, struct buf *ret);
enum rc scram_final(struct scram *x, struct str message, struct buf *ret, struct err *e) MUST_USE;       /* RC_AUTH */
