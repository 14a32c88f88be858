/* net/exchange.h - one request and its answer, whatever protocol they travel by.
 *
 * The server makes an exchange, fills it and calls the handler: `begin` when the headers are here, `request` when the
 * whole body is too. The handler answers exactly once, then or later, on the same loop; the exchange is the server's
 * again the moment it is answered. If the client goes away first, x->gone is called instead (when set) and the exchange
 * must not be touched any more; without x->gone a late answer would be a bug, so whoever keeps an exchange sets it.
 * Used by: gateway, control (through the gateway), tests/support.   SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/arena.h"
#include "base/buf.h"
#include "base/header.h"
#include "net/addr.h"
#include "net/budget.h"
#include "net/grpc.h"

struct exchange;
struct exchange_ops;
struct http_options;

struct exchange {
    /* The request: borrowed by the handler until it answers or `gone` is called. */
    struct str method, path, query;              /* path percent-decoded; query as sent, without '?' */
    struct str authority;                        /* Host */
    const struct header *headers;                /* lower-case names, in order, duplicates kept */
    size_t headers_n;
    struct buf body;                             /* REST: content-encoding undone. gRPC: the message without its frame */
    const struct addr *peer;
    bool h2, grpc;
    bool secure, certified;                      /* came by TLS; with a client certificate that holds */
    uint64_t arrived_ms;                         /* monotonic: when the headers were here */
    struct arena arena;                          /* dies with the exchange; the handler may use it */
    /* The handler's. */
    void *priv;
    bool token;                                  /* a bearer token said who calls: no page of another web site could have */
    void (*gone)(struct exchange *x);
    /* gRPC streams in both directions: set by `begin` (then `request` is not called). A message is borrowed for the call. */
    void (*message)(struct exchange *x, struct bytes message);
    void (*half_closed)(struct exchange *x);     /* the client sends no more */
    void (*writable)(struct exchange *x);        /* a full stream has room again; may be NULL */
    /* The protocol's. */
    const struct exchange_ops *ops;
    const struct http_options *options;
    struct list link;
    bool answered, ended, complete, streaming_out, waiting;
    struct {
        struct budget_claim claim;
        struct buf gzip;                         /* compressed bytes of the message under way */
        uint64_t declared;                       /* bytes of the body or message, UINT64_MAX: unknown */
        uint8_t frame[GRPC_FRAME_BYTES];
        uint8_t frame_n;
        bool gzipped, any, claimed;
        uint32_t messages;
    } in;
};

/* status 200 … 599. Headers are copied; content-length is added. `body` is taken (NULL: none). */
void exchange_respond(struct exchange *x, int status, const struct header *h, size_t n, struct buf *body);

struct grpc_reply {
    int status;                                  /* enum grpc_code */
    struct str message;                          /* plain text; encoded for the wire here */
    const struct header *headers, *trailers;
    size_t headers_n, trailers_n;
};
/* With GRPC_OK `message` is sent (taken; NULL: an empty one); otherwise the answer is headers and trailers in one. */
void exchange_respond_grpc(struct exchange *x, const struct grpc_reply *r, struct buf *message);

/* An answer in pieces. gRPC: every piece is one message. Nothing is lost when full, but a polite sender stops until
 * `writable`. */
void exchange_stream_begin(struct exchange *x, int status, const struct header *h, size_t n);
void exchange_stream_send(struct exchange *x, struct buf *piece);
bool exchange_stream_full(const struct exchange *x);
void exchange_stream_end(struct exchange *x, const struct grpc_reply *r);      /* r: gRPC only */

static inline bool exchange_header(const struct exchange *x, struct str name, struct str *ret)
{
    return header_first(x->headers, x->headers_n, name, ret);
}
/* One value of the query string, percent-decoded into the exchange's arena. */
bool exchange_query(struct exchange *x, struct str name, struct str *ret);
