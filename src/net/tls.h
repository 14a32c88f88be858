/* net/tls.h - the server's side of TLS 1.2 and 1.3 on a non-blocking socket (OpenSSL).
 *
 * A tls_server is one listener's certificate, key and rule about clients' certificates. tls_server_reload() looks at its
 * files again: connections from then on get the new certificate, those there are keep theirs; files that cannot be used
 * change nothing.
 * A tls is one connection's. It reads and writes like a socket: -1 with EAGAIN says "later", and tls_wants_write() whether it
 * is room to write that it waits for. Nothing but the handshake happens before tls_established(). Where the kernel encrypts
 * (kTLS), files are sent without a copy. Elsewhere the records of one tls_write() leave in one system call: they gather in a
 * tls_room, of which a loop has one for all its connections. The descriptor stays the caller's.
 * Lives on: the loop of its socket; a tls_server on one loop, which may hand what tls_accept() made to another.
 * Used by: broker/sock.c, net/tcp.c, gateway/gateway.c.
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/buf.h"
#include "base/err.h"

#include <sys/types.h>

enum tls_client_auth { TLS_CLIENT_NONE, TLS_CLIENT_REQUESTED, TLS_CLIENT_REQUIRED };
struct tls_options {
    const char *crt_path, *key_path;     /* PEM; the certificate first, then those that lead to its authority */
    const char *client_ca_path;          /* PEM; NULL: none. Needed where clients' certificates are checked */
    enum tls_client_auth client_auth;
    bool http;                           /* agrees on h2 or http/1.1 (ALPN); a client that offers neither is refused */
};

struct tls_server;
/* RC_INVALID: a file that is none, a key that does not belong to the certificate; RC_NOT_FOUND, RC_DENIED: as the files say. */
enum rc tls_server_new(const struct tls_options *o, struct tls_server **ret, struct err *e) MUST_USE;
struct tls_server *tls_server_free(struct tls_server *s);                /* connections go on; returns NULL */
/* RC_OK with *ret_changed false: the files are as they were. */
enum rc tls_server_reload(struct tls_server *s, bool *ret_changed, struct err *e) MUST_USE;
int64_t tls_server_not_after(const struct tls_server *s);                /* seconds since 1970 */
/* To be called now and then with the time of day: from two weeks before the certificate ends the log says so, once a day and
 * of each new certificate. True: it did now. */
bool tls_server_warn_of_end(struct tls_server *s, struct str listener, int64_t now_s);

/* To be called every TLS_LOOK_MS: takes files that have changed, and says so in the log; those that cannot be used it leaves, and
 * says that, once for each thing that is wrong with them. Then tls_server_warn_of_end(). True: it said something of the files. */
enum { TLS_LOOK_MS = 5000 };
bool tls_server_look(struct tls_server *s, struct str listener, int64_t now_s);

#define TLS_END_METRIC "millrace_tls_certificate_expiry_seconds"
#define TLS_END_HELP   "When the certificate of a listener ends, in seconds since 1970."

struct tls;
struct tls *tls_accept(struct tls_server *s, int fd);
struct tls *tls_free(struct tls *t);                                     /* NULL is fine; returns NULL */
void tls_close_notify(struct tls *t);                                    /* tells the peer that this is the end, if there is room */
/* RC_OK: go on, tls_established() says whether it is done. RC_AUTH: it failed; e says why, in the words of the field. */
enum rc tls_handshake(struct tls *t, struct err *e) MUST_USE;
bool tls_established(const struct tls *t);
bool tls_wants_write(const struct tls *t);
bool tls_pending(const struct tls *t);                                   /* has read more than it has handed out, perhaps a part of a record */
/* As recv() and send(): 0 bytes is the peer's end. errno EPROTO: the peer broke the protocol. */
ssize_t tls_read(struct tls *t, void *p, size_t n);
/* Takes TLS_WRITE_BYTES at most. After EAGAIN the same bytes again, perhaps with more behind them; for those tls_owed() it needs no
 * second look: p may be NULL. */
enum { TLS_WRITE_BYTES = 64 << 10, TLS_RECORDS_BYTES = TLS_WRITE_BYTES + (TLS_WRITE_BYTES >> 6), TLS_WAITING_BYTES = 8 << 20 };
struct tls_room {
    uint8_t plain[TLS_WRITE_BYTES];      /* the caller's, to put together what it writes */
    uint8_t records[TLS_RECORDS_BYTES];
    size_t records_n;                    /* 0 between calls */
    size_t waiting;                      /* records that connections keep because their sockets are full. With TLS_WAITING_BYTES of
                                            them tls_write() makes one record at a time, as long as peers do not read */
};
ssize_t tls_write(struct tls *t, struct tls_room *room, const void *p, size_t n);
size_t tls_owed(const struct tls *t);                                    /* bytes encrypted already that the socket had no room for */
bool tls_sends_files(const struct tls *t);
ssize_t tls_send_file(struct tls *t, int file, off_t from, size_t n);    /* only where tls_sends_files() */
/* The subject of the client's certificate (RFC 2253), if it sent one that holds. */
bool tls_peer_subject(const struct tls *t, struct buf *ret);
bool tls_peer_known(const struct tls *t);                                /* it did */
bool tls_resumed(const struct tls *t);
