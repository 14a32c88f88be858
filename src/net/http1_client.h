/* net/http1_client.h - one HTTP/1.1 connection to a server, one request at a time, kept alive between them.
 *
 * The same shape as h2_client.h: who owns it decides about reconnecting and pooling. Used by: upstream (REST servers).
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/header.h"
#include "net/tcp.h"

struct http1_client;
struct http1_client_owner {
    void (*opened)(void *ctx);
    void (*closed)(void *ctx, const struct err *why);        /* the call was `ended` before; the client is freed after this */
    void *ctx;
};
enum rc http1_client_open(struct tcp *t, const struct addr *to, const struct http1_client_owner *owner,
                          struct http1_client **ret, struct err *e) MUST_USE;
void http1_client_close(struct http1_client *c);
bool http1_client_used(const struct http1_client *c);                /* had a call before */
bool http1_client_free_for_use(const struct http1_client *c);        /* open, kept alive, no call on it */

struct http1_call {
    /* in; borrowed for http1_call_start(), the body until the end */
    struct str method, target, authority;
    const struct header *headers;
    size_t headers_n;
    struct bytes body;
    void (*header)(struct http1_call *c, struct str name, struct str value);       /* lower-case name; borrowed for the call */
    void (*data)(struct http1_call *c, struct bytes data);
    /* Once, unless http1_call_reset(). RC_OK: `status` and all of the body came. RC_UNAVAILABLE (e->retry: not one byte of
     * an answer came). RC_INVALID: that was no HTTP. */
    void (*ended)(struct http1_call *c, const struct err *e);
    /* out */
    int status;
    /* the client's own */
    struct http1_client *client;
};
void http1_call_start(struct http1_client *c, struct http1_call *call);
void http1_call_reset(struct http1_call *call);              /* gives it up and closes the connection */
