/* broker/sock.h - Kafka clients on TCP: one listening socket, and the connections it accepted.
 *
 * A connection reads into a buffer that all share, so an idle one costs a few hundred bytes. What is left of a frame is kept
 * with the connection; a large frame gets memory of its own, after it was reserved (memory_reserve), and is read straight
 * into it. Answers are written at the end of a turn, file pieces by sendfile.
 * Lives on: the broker loop.   Used by: listener.c, sock.c.   SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "broker/core.h"
#include "broker/principal.h"
#include "net/tls.h"

enum {
    SOCK_READ_BYTES = 256 << 10,         /* the shared buffer */
    SOCK_SMALL_BYTES = 64 << 10,         /* larger frames get a buffer of their own */
};

struct sock_listener {
    struct broker_listener l;
    struct watch watch;
    struct turn_hook hook;               /* after the broker's: writes what it answered, closes what is done */
    struct timer retry;                  /* when accept() had no descriptors left */
    struct list socks, dirty, dead;
    struct list short_of_memory;         /* large frames that wait for their memory, in order */
    struct list turned_away;             /* accepted above a quota: closed a little later */
    size_t turned_away_n;
    size_t n;
    bool paused;                         /* at the ceiling: accepts again when a connection has gone */
    uint8_t *scratch;

    struct tls_server *tls;              /* NULL: nothing is encrypted */
    struct principal_rules *rules;
    struct timer reload;                 /* looks at the certificate's files */
    struct list unread;                  /* connections whose TLS has bytes that were not taken yet */
};

struct sock {
    struct broker_conn conn;
    struct sock_listener *l;
    struct list link, dirty_link, short_link, unread_link;
    struct watch watch;
    struct timer timer;
    uint64_t active_ms;                  /* of the last byte in either direction */
    uint32_t address_n;
    uint8_t  address[16];

    struct tls *tls;                     /* NULL: plain */
    bool     known;                      /* the handshake is done, and the client's certificate looked at */

    struct buf in;                       /* bytes not yet taken: whole frames that wait, and the part of one */
    size_t   frame_n;                    /* > 0: `in` is the body of one large frame of that size */
    uint64_t reserved;                   /* counted for it */
    bool     later;                      /* the broker said LATER: nothing is read */

    struct broker_reply *out, *out_last;
    size_t   part, part_at;              /* how far the first reply has been sent */
    bool     closing;                    /* when everything is sent */
};

void sock_open(struct sock_listener *l, int fd, struct str peer, const uint8_t *address, uint32_t address_n);
void socks_turn(struct sock_listener *l);
void sock_delete(struct sock *s);
