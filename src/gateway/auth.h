/* gateway/auth.h - who calls the inference port, and whether he may.
 *
 * A caller shows a bearer token (Authorization, the metadata `authorization` in gRPC) or a client certificate; access.c says which
 * role an endpoint needs, docs/security.md shows the same table. Tokens are looked at in full once for each address; after
 * that a keyed digest of both is remembered, so a request costs one SHA-256. An address with STRIKES_MAX wrong tokens in a minute is
 * refused for the rest of it, but for those it has shown that were good.
 * Lives on: all gateway loops share one; it is locked.   Used by: gateway.c, app (which makes it).
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/err.h"
#include "base/bytes.h"
#include "gateway/tokens.h"
#include "cred/oauth.h"
#include "net/addr.h"

struct auth_options {
    const char *tokens_path;             /* NULL or empty: no tokens. Looked at again every second */
    struct oauth_options jwt;            /* signed tokens; jwks empty: none */
    struct str role_prefix;              /* before the roles in such a token: "millrace:" */
    bool certificates;                   /* callers may show client certificates */
    unsigned certificate_roles;          /* what one who shows a certificate and no token may do */
    bool trust_loopback;                 /* management is open to callers on this machine who show nothing */
};
struct auth;
enum rc auth_new(const struct auth_options *o, struct auth **ret, struct err *e) MUST_USE;
struct auth *auth_free(struct auth *a);                          /* NULL is fine; returns NULL */
struct loop;
struct workers;
/* Gets the keys of signed tokens from their address, now and when they are wanted, on a worker. The loop lives longer than the workers. */
void auth_start(struct auth *a, struct loop *loop, struct workers *workers);
void auth_stop(struct auth *a);                                  /* on that loop, or when it has ended */

/* ---- access.c: what an endpoint needs ---- */
struct access { unsigned roles; bool management; };              /* any of the roles will do; 0: open to all */
struct access access_of(struct str method, struct str path, bool grpc);

/* ---- the decision ---- */
struct auth_call {                                               /* what is known of the caller */
    const struct addr *peer;                                     /* NULL: somebody inside this process */
    struct str authorization;                                    /* the header; .p NULL: none */
    bool certified;
    bool forwarded;                                              /* a proxy passed it on */
    struct access access;
    uint64_t now_ms;                                             /* monotonic */
    int64_t now_s;                                               /* wall time */
};
enum auth_verdict { AUTH_GOOD, AUTH_UNKNOWN, AUTH_DENIED, AUTH_BARRED, AUTH_LATER };     /* then 401, 403, 429, 503 */
/* Otherwise e says what to do about it. *ret_token: a token said who calls. a NULL: nobody is asked, and management is for this machine only. */
enum auth_verdict auth_decide(struct auth *a, const struct auth_call *c, bool *ret_token, struct err *e);
