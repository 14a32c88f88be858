/* cred/oauth.h - OAUTHBEARER (RFC 7628): is this token one that a trusted issuer signed for us, and whose is it?
 *
 * A token is a JWT (RFC 7519), signed with RS, PS or ES 256, 384 or 512 by a key of the JWK set (RFC 7517), which is a file or an
 * address. The set is read again when its file has changed or REFRESH_S have passed, and when a token names a key it does not
 * have, at most every AGAIN_S. Checked are the signature, exp, nbf and iat with a skew of SKEW_S, iss, aud and scope as far as
 * they are configured. The name is the claim `sub`. Unsigned tokens are refused.
 * Lives on: one thread at a time. The broker verifies on a worker, on one lane; the gateways verify on their loops, which may not
 * wait: with `elsewhere` keys at an address are got by whoever asks oauth_wants_keys().
 * Used by: broker/api/sasl.c, broker/broker.c, gateway/auth.c.
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/buf.h"
#include "base/err.h"

/* The keys at an http or https address, empty before. Blocks for up to five seconds: on a worker. Any status but 200 is RC_UNAVAILABLE. */
enum rc oauth_fetch(const char *url, struct buf *ret, struct err *e) MUST_USE;
struct oauth_options {
    struct str jwks;                     /* a path, or an address */
    struct str issuer, audience, scope;  /* empty: not checked */
    struct str roles;                    /* the claim that says what its bearer may do, as "realm_access.roles"; empty: none is asked for */
    const char *what;                    /* the beginning of the settings' names, for errors; NULL: broker.oauth. Stays */
    bool elsewhere;                      /* oauth_verify() waits for nobody */
};
struct oauth;
struct oauth *oauth_new(const struct oauth_options *o);
struct oauth *oauth_free(struct oauth *o);                               /* after the last oauth_verify(); NULL is fine; returns NULL */

/* Owned; seconds since 1970; roles: the words of that claim with spaces between them. */
struct oauth_login { struct str user; int64_t expires_s; struct str roles; };
void oauth_login_fini(struct oauth_login *l);
/* RC_AUTH: what is wrong with the token, without showing it; RC_UNAVAILABLE: there are no keys to check it with. */
enum rc oauth_verify(struct oauth *o, struct str token, int64_t now_s, struct oauth_login *ret, struct err *e) MUST_USE;
/* Are keys wanted that oauth_verify() may not wait for? Then get them (oauth_fetch), and give them here. */
bool oauth_wants_keys(struct oauth *o, int64_t now_s);
enum rc oauth_keys_put(struct oauth *o, struct bytes text, int64_t now_s, struct err *e) MUST_USE;
/* The client's message: "n,,\x01auth=Bearer TOKEN\x01…\x01\x01". RC_AUTH: it is none. The token is borrowed. */
enum rc oauth_message(struct str message, struct str *ret_token, struct err *e) MUST_USE;
