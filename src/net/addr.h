/* net/addr.h - HOST:PORT in and out of socket addresses.
 *
 * "127.0.0.1:9000", "[::1]:9000", "localhost:0", "db.example:9092"; "*:9000" and ":9000" are every address of this machine.
 * addr_resolve() may block on DNS: on a loop use addr_lookup(), which asks on a worker.
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/err.h"
#include "base/bytes.h"
#include "sys/worker.h"
#include <netinet/in.h>
#include <sys/socket.h>

union addr_any { struct sockaddr sa; struct sockaddr_in in4; struct sockaddr_in6 in6; };
struct addr { union addr_any u; socklen_t n; };

enum { ADDRS_MAX = 8, ADDR_TEXT_MAX = 64, ADDR_INPUT_MAX = 300 };
struct addrs { struct addr a[ADDRS_MAX]; size_t n; };

/* Cuts at the last colon; brackets around an IPv6 host are taken off. RC_INVALID says what is wrong with it. */
enum rc addr_split(struct str hostport, struct str *ret_host, uint16_t *ret_port, struct err *e) MUST_USE;
/* Only numeric hosts, no DNS. */
bool addr_literal(struct str hostport, struct addr *ret);
/* RC_INVALID: not HOST:PORT. RC_NOT_FOUND: no such host. RC_UNAVAILABLE: the name service does not answer. */
enum rc addr_resolve(struct str hostport, struct addrs *ret, struct err *e) MUST_USE;
uint16_t addr_port(const struct addr *a);
bool addr_is_any(struct str host);              /* "", *, 0.0.0.0, ::, every address of this machine */
bool addr_loopback(const struct addr *a);
/* "127.0.0.1:9000" or "[::1]:9000"; returns the text in `into`. */
struct str addr_text(const struct addr *a, char into[ADDR_TEXT_MAX]);

struct addr_lookup {
    struct work work;                            /* ours until done */
    char hostport[ADDR_INPUT_MAX];
    struct addrs addrs;                          /* out */
    struct err err;                              /* out */
    void (*done)(struct addr_lookup *q);         /* on the loop of reply_to, exactly once */
};
void addr_lookup(struct workers *w, struct mailbox *reply_to, struct str hostport, struct addr_lookup *q,
                 void (*done)(struct addr_lookup *q));
