/* net/http_conn.h - what http_server, http1 and h2 share; nobody else includes it. SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "net/http_server.h"

struct http_conn;

/* A protocol's answers to what happens on a connection. */
struct http_proto {
    void (*open)(struct http_conn *hc);
    void (*data)(struct http_conn *hc, struct bytes in);
    void (*eof)(struct http_conn *hc);
    void (*drained)(struct http_conn *hc);
    void (*due)(struct http_conn *hc);           /* hc->due_ms has come */
    void (*drain)(struct http_conn *hc);
    bool (*busy)(const struct http_conn *hc);    /* there is a request that is not answered whole */
    void (*closed)(struct http_conn *hc);        /* the exchanges end; state is freed */
};
extern const struct http_proto http1_proto, h2_proto;

enum { HTTP2_PREFACE_BYTES = 24 };
struct http_conn {
    struct conn conn;
    struct http_server *server;
    struct list link;
    const struct http_proto *proto;              /* NULL until the first bytes told */
    void *state;
    struct timer timer;
    uint64_t due_ms;
    struct budget_claim out;                     /* HTTP/1.1: answers above high water, until the queue has drained */
    uint8_t sniffed[HTTP2_PREFACE_BYTES];
    uint8_t sniffed_n;
    bool secure, certified;                      /* as in struct exchange */
};

struct http_server {
    struct tcp *tcp;
    struct loop *loop;
    struct http_options o;
    struct http_counters counters;
    struct list conns;
    struct list streams;                         /* spare struct h2_stream */
    size_t streams_n;
    void *h2_callbacks, *h2_option;              /* made once by h2 */
    struct buf scratch;                          /* an HTTP/1.1 head under construction */
    int64_t date_s;
    char date[40];
    bool draining;
    struct strikes *troubles;                    /* addresses whose handshakes fail: one line a minute */
};

/* Sets when proto->due is to be called; moving it later costs nothing. UINT64_MAX: never. */
void http_conn_due(struct http_conn *hc, uint64_t at_ms);
struct str http_server_date(struct http_server *s);      /* for the Date header, made once a second */

/* What a protocol does for its exchanges. */
struct exchange_ops {
    void (*respond)(struct exchange *x, int status, const struct header *h, size_t n, struct buf *body);
    void (*respond_grpc)(struct exchange *x, const struct grpc_reply *r, struct buf *message);
    void (*stream_begin)(struct exchange *x, int status, const struct header *h, size_t n);
    void (*stream_send)(struct exchange *x, struct buf *piece);
    void (*stream_end)(struct exchange *x, const struct grpc_reply *r);
    bool (*stream_full)(const struct exchange *x);
    void (*wait)(struct exchange *x, bool waiting);      /* stop or go on reading the body */
};

/* The request comes in. The protocol has set method, headers, authority, h2 and gives the target as it came. After every
 * call it looks at x->answered: the answer may have been given inside. */
void exchange_begin(struct exchange *x, struct str target, uint64_t content_length);   /* UINT64_MAX: not declared */
void exchange_data(struct exchange *x, struct bytes in);
void exchange_complete(struct exchange *x);
void exchange_gone(struct exchange *x);          /* the client went away (calls x->gone unless answered) */
void exchange_refuse(struct exchange *x, int status, const char *fmt, ...) PRINTF(3, 4);
void exchange_reset(struct exchange *x);         /* gives everything back; ready for the next request */
size_t exchange_body_max(const struct exchange *x);

const char *http_reason(int status);
bool http_header_fits(const struct header *h);   /* may be written as it is: no line breaks, no odd names */
