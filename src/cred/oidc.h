/* cred/oidc.h - an OAuth 2.0 token by client credentials (RFC 6749, section 4.4) from an OIDC provider.
 *
 * The six values are those of the OAuth secret: method, client_id, client_secret, scope, token_endpoint_url, extensions. Each is
 * taken from the secret if it has that key, else from the options; the secret is read again for every token, so a new client secret is
 * used by the next one. extensions is "name=value,…": logicalCluster and identityPoolId for Confluent Cloud.
 * Used by: bus/remote.     SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "cred/secret.h"
#include "cred/token.h"

struct oidc_options {                            /* borrowed for the call */
    struct str method, client_id, client_secret, scope, token_endpoint_url, extensions;
    struct secret_source *secret;                /* given away; NULL: none. oidc_items are its items; or one item, the client secret's file */
    struct str client_secret_key;                /* the secret's key of the client secret; empty: client_secret */
    struct str ca_path;                          /* the endpoint's authority, PEM; empty: the system's */
    uint32_t timeout_ms;                         /* 0: ten seconds */
};
extern const struct secret_item oidc_items[6];   /* all optional: what is missing and not in the options either is said by name */

/* RC_INVALID: what is in the options alone cannot be used. What the secret says is looked at when a token is made. */
enum rc oidc_maker_new(const struct oidc_options *o, struct token_maker **ret, struct err *e) MUST_USE;

/* ---- the parts, for tests ---- */
/* "a=b,c=d" as texts of a token, appended. RC_INVALID: a name without "=", or one that RFC 7628 does not allow, or "auth". */
enum rc oidc_extensions(struct str list, struct token *into, struct err *e) MUST_USE;
/* The endpoint's answer. It never shows what was sent, nor a token. */
enum rc oidc_answer(long status, struct bytes body, int64_t now_ms, const char *url, struct token *ret, struct err *e) MUST_USE;
