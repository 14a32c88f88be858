/* net/http_server.h - HTTP/1.1 and HTTP/2 (prior knowledge, or agreed on by TLS) on one port, for one loop.
 *
 * Connections come from a listener (of this loop or another one); the first bytes decide which protocol speaks.
 * What a peer can make it hold is bounded: connections by the listener's ceiling, header bytes and counts, streams per
 * connection, body bytes by the budget, output by high-water marks, and everything by time.
 * Refusals: 400 malformed, 408 too slow, 413 body too large, 414 path too long, 415 unknown encoding, 429 no room for the
 * body (Retry-After), 431 headers too large, 505 wrong version; gRPC gets INVALID_ARGUMENT, RESOURCE_EXHAUSTED,
 * UNIMPLEMENTED.   Used by: gateway, tests/support.   SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "net/exchange.h"
#include "net/tcp.h"

struct http_handler {
    /* The headers are here, the body is not. May answer at once (the body is thrown away) or ask for a stream. May be NULL. */
    void (*begin)(void *ctx, struct exchange *x);
    void (*request)(void *ctx, struct exchange *x);
    void *ctx;
};

struct http_options {                            /* 0: the value in brackets */
    struct http_handler handler;
    struct budget *budget;                       /* request bodies; NULL: no ceiling */
    size_t body_bytes_max;                       /* [1 GiB] also of a gRPC message */
    uint32_t header_bytes_max;                   /* [64 Ki] all names and values together */
    uint32_t headers_max;                        /* [128] */
    uint32_t streams_max;                        /* [1024] of one HTTP/2 connection */
    uint64_t idle_ms;                            /* [65 s] HTTP/1.1 between requests; an HTTP/2 one ten times that */
    uint64_t head_ms;                            /* [10 s] from its first byte to the end of the headers; for the handshake of TLS too */
    uint64_t body_ms;                            /* [20 s] in every such span at least 4 KiB of a body must come */
    /* Renders errors of the protocol itself (400, 413, …) as a body; NULL: {"error": "…"}. */
    void (*error_body)(struct str text, struct buf *ret);
    /* What a body or message above body_bytes_max is told; bytes UINT64_MAX: it has not said how long it is. NULL: a sentence. */
    void (*too_large)(uint64_t bytes, size_t max, struct buf *ret);
};

struct http_counters {
    uint64_t connections, connections_now, requests_http1, requests_h2, refused_4xx, gone, bytes_in, bytes_out;
    uint64_t refused_grpc;                       /* gRPC answers with another status than OK */
    uint64_t broken;                             /* HTTP/2 connections ended for an error of the protocol */
    uint64_t handshakes, handshakes_resumed, handshakes_failed;      /* of TLS */
};

struct http_server;
struct http_server *http_server_new(struct tcp *t, const struct http_options *o);
/* Takes fd. */
void http_server_accept(struct http_server *s, int fd, const struct addr *peer, struct tcp_ceiling *ceiling);
/* The same with TLS, which it takes: tls_accept() may have been called on another loop. */
void http_server_accept_tls(struct http_server *s, int fd, const struct addr *peer, struct tcp_ceiling *ceiling, struct tls *tls);
/* No new requests: idle connections are closed, busy ones after their answers (GOAWAY, Connection: close). */
void http_server_drain(struct http_server *s);
bool http_server_idle(const struct http_server *s);       /* no connection is open */
bool http_server_settled(const struct http_server *s);    /* every request is answered, and all answers are with the kernel */
/* Closes everything; unanswered exchanges are `gone`. NULL is fine; returns NULL. */
struct http_server *http_server_free(struct http_server *s);
void http_server_count(const struct http_server *s, struct http_counters *ret);
