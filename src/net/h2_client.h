/* net/h2_client.h - one HTTP/2 connection to a server (prior knowledge), many calls at once on it.
 *
 * Who owns it decides about reconnecting: a client lives from h2_client_open() to its `closed`, once. Calls lie inside the
 * caller's structs; what they point at is borrowed until `ended` or h2_call_reset(). Used by: upstream, tests.
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/header.h"
#include "net/tcp.h"

struct h2_client;
struct h2_client_shared;                         /* callback tables, made once per loop */
struct h2_client_shared *h2_client_shared_new(void);
struct h2_client_shared *h2_client_shared_free(struct h2_client_shared *s);

struct h2_client_owner {
    void (*opened)(void *ctx);                   /* connected: calls leave from now on (those started earlier too) */
    /* No new calls on it: the server says so (GOAWAY), or stream numbers ran out. Running ones go on. */
    void (*going)(void *ctx);
    /* Gone; every call was `ended` before. The client is freed after this. */
    void (*closed)(void *ctx, const struct err *why);
    void *ctx;
};
enum rc h2_client_open(struct tcp *t, struct h2_client_shared *s, const struct addr *to, const struct h2_client_owner *owner,
                       struct h2_client **ret, struct err *e) MUST_USE;
void h2_client_close(struct h2_client *c, const struct err *why);     /* calls end with `why`; closed follows, later */
bool h2_client_usable(const struct h2_client *c);
size_t h2_client_calls(const struct h2_client *c);
/* Asks whether anybody is there (PING); no answer within timeout_ms closes the connection. */
void h2_client_check(struct h2_client *c, uint64_t timeout_ms);

enum { H2_CALL_PARTS = 3 };
struct h2_call {
    /* in */
    const struct header *headers;                /* pseudo headers first; borrowed only for h2_call_start() */
    size_t headers_n;
    struct bytes body[H2_CALL_PARTS];            /* sent one after the other; borrowed until the end */
    void (*header)(struct h2_call *c, struct str name, struct str value, bool trailer);       /* borrowed for the call */
    void (*data)(struct h2_call *c, struct bytes data);                                      /* borrowed for the call */
    /* Once, unless h2_call_reset(): RC_OK the server ended its side; RC_UNAVAILABLE (e->retry: refused before it was
     * looked at, or the connection broke); RC_CANCELLED the server reset it. */
    void (*ended)(struct h2_call *c, const struct err *e);
    /* the client's own */
    struct h2_client *client;
    struct list link;
    int32_t id;
    size_t part, at;
    bool trailers_next;
};
/* RC_UNAVAILABLE: the connection takes no more calls. */
enum rc h2_call_start(struct h2_client *c, struct h2_call *call, struct err *e) MUST_USE;
void h2_call_reset(struct h2_call *call);        /* gives the call up; nothing is called or borrowed any more */
