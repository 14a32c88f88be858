/* net/tcp.h - listening sockets and connections of one loop.
 *
 * A struct conn lies inside what speaks on it. Input is pushed: `data` gets every byte once, in a buffer that is borrowed
 * for the call (or in the place the owner named). Output is queued and leaves at the end of the turn, one writev per
 * connection. Everything here is called on the loop's own thread. Used by: http_server, upstream, broker.
 *
 * Life: conn_open() or conn_connect(); then callbacks; then conn_close() by either side, after which nothing but `closed`
 * is called: exactly once, at the end of the turn. The owner frees the conn there and nowhere else.
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/blob.h"
#include "base/err.h"
#include "base/list.h"
#include "net/addr.h"
#include "net/loop.h"
#include <stdatomic.h>

/* ---- What all connections of a loop share: the read buffer, the list of those with output, the end-of-turn hook ---- */
struct tcp;
struct tcp *tcp_new(struct loop *l);
struct tcp *tcp_free(struct tcp *t);             /* closes what is open (`closed` is called); NULL is fine; returns NULL */
void tcp_flush(struct tcp *t);                   /* what the hook does; for owners whose turn has an order of its own */
struct loop *tcp_loop(struct tcp *t);

/* ---- A ceiling on connections; may be shared by loops ---- */
struct tcp_ceiling { atomic_uint now; atomic_ulong refused; unsigned max; };     /* max 0: none */

/* ---- Listening ---- */
struct listener;
struct listener_options {
    struct str listen;                           /* HOST:PORT, port 0 picks one */
    struct tcp_ceiling *ceiling;                 /* NULL: none. Beyond it connections are accepted and closed at once */
    /* fd is the owner's: hand it to conn_open() here or on another loop. The ceiling counts it already. */
    void (*accepted)(void *ctx, int fd, const struct addr *peer);
    void *ctx;
};
/* RC_INVALID, RC_NOT_FOUND: the address. RC_EXISTS: the port is taken. RC_DENIED. RC_IO. The sentence names the address. */
enum rc listener_open(struct tcp *t, const struct listener_options *o, struct listener **ret, struct err *e) MUST_USE;
const struct addr *listener_addr(const struct listener *ln);          /* with the port picked */
struct listener *listener_close(struct listener *ln);                 /* NULL is fine; returns NULL */

/* ---- Connections ---- */
struct conn;
struct conn_ops {
    /* Bytes arrived. All of them must be taken. */
    void (*data)(struct conn *c, struct bytes in);
    /* The peer sends no more; we may go on writing. NULL: the conn is closed. */
    void (*eof)(struct conn *c);
    /* Last call. `why` is RC_OK after conn_close() and conn_end(), RC_CANCELLED after a clean end by the peer, else what
     * went wrong. */
    void (*closed)(struct conn *c, const struct err *why);
    /* The output queue fell to the low-water mark after conn_full() was true. May be NULL. */
    void (*drained)(struct conn *c);
    /* Where the next bytes should go (*ret_room of them at most); NULL: the loop's own buffer. May be NULL. */
    uint8_t *(*place)(struct conn *c, size_t *ret_room);
    /* conn_connect() got through, or the handshake of TLS was done. May be NULL for accepted ones. */
    void (*connected)(struct conn *c);
};

struct conn_limits {
    size_t out_high, out_low;                    /* 0: 1 MiB and half of out_high */
    uint32_t write_stall_ms;                     /* output waits and none leaves for that long: closed. 0: 60 s */
};

struct conn {
    struct watch watch;
    struct tcp *tcp;
    const struct conn_ops *ops;
    struct tcp_ceiling *ceiling;
    struct list link, dirty_link, unread_link;
    struct list out;                             /* struct out_item */
    size_t out_bytes;
    struct conn_limits limits;
    struct timer stall;
    struct addr peer;
    struct err why;
    struct tls *tls;                             /* NULL: nothing is encrypted */
    uint64_t bytes_in, bytes_out;
    int fd;
    bool connecting, secure, paused, full, ending, ended, eof, dead;     /* secure: the handshake of TLS is done */
    size_t discard_left;
};

/* Takes fd (accepted, or one end of a socketpair). `ceiling` is counted down at the end; NULL is fine. */
enum rc conn_open(struct tcp *t, struct conn *c, int fd, const struct addr *peer, struct tcp_ceiling *ceiling,
                  const struct conn_ops *ops, const struct conn_limits *limits, struct err *e) MUST_USE;
/* Starts connecting; `connected` or `closed` follows, never before this returns. The owner's timer bounds it. */
enum rc conn_connect(struct tcp *t, struct conn *c, const struct addr *to, const struct conn_ops *ops,
                     const struct conn_limits *limits, struct err *e) MUST_USE;

/* Encrypts a connection that was just opened. Takes t. Nothing comes or goes before the handshake is done, of which
 * `connected` tells; the owner's timer bounds it. One that fails ends the connection with RC_AUTH. */
struct tls;
void conn_secure(struct conn *c, struct tls *t);

void conn_send(struct conn *c, struct buf *b);                        /* takes the bytes; b is empty afterwards */
void conn_send_copy(struct conn *c, struct bytes b);                  /* small things: joined with what is queued */
void conn_send_blob(struct conn *c, struct blob *blob, struct bytes part);       /* a part of blob; takes a reference of its own */
/* Not copied: must stay until sent, closed, or conn_own() was called. */
void conn_send_borrowed(struct conn *c, struct bytes b);
/* sendfile: fd is borrowed until `sent` is called (all sent, or the conn is closed). */
void conn_send_file(struct conn *c, int fd, uint64_t at, size_t n, void (*sent)(void *ctx), void *ctx);
void conn_own(struct conn *c);                                        /* copies what is queued and borrowed */
bool conn_full(struct conn *c);                                       /* above high water; `drained` will be called */

void conn_pause(struct conn *c);                                      /* no more `data` (and no `eof`) … */
void conn_resume(struct conn *c);                                     /* … until now */
/* Sends what is queued, then says end, throws away what still comes (a little, for a moment) and closes. */
void conn_end(struct conn *c);
void conn_close(struct conn *c);                                      /* at once; queued output is lost; twice is fine */
void conn_fail(struct conn *c, const struct err *why);                /* the same, with a reason */
static inline bool conn_is_open(const struct conn *c) { return c->tcp && !c->dead; }
