/* upstream/internal.h - what the files of upstream/ share; nobody else includes it.
 *
 * An op is one call or query under way: it is tried once or more often, by one of three carriers (gRPC, REST, built in),
 * and finished once. Servers are looked up by address; each kind keeps its connections in one.
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/arena.h"
#include "base/list.h"
#include "base/map.h"
#include "net/h2_client.h"
#include "net/http1_client.h"
#include "upstream/builtin.h"
#include "upstream/upstream.h"

struct op;
struct server;

struct upstream {
    struct loop *loop;
    struct workers *workers;
    struct tcp *tcp;
    struct h2_client_shared *h2;
    struct builtin *builtin;
    size_t message_bytes_max;
    struct list ops, spare;
    struct map servers;                          /* "g|r" + address -> struct server */
    struct map tallies;                          /* see tally.c */
    bool closing;
};

/* What a carrier does for an op. */
struct carrier {
    void (*start)(struct op *op);                /* one try; ends in op_done() or op_failed(), perhaps at once */
    void (*stop)(struct op *op, bool late);      /* gives the try up; nothing is called any more */
};
extern const struct carrier carrier_grpc, carrier_rest, carrier_builtin;

struct op {
    struct upstream *u;
    struct list link;                            /* in u->ops or u->spare */
    struct list wait_link;                       /* in server->waiting */
    const struct carrier *carrier;
    struct upstream_call *call;                  /* one of these two */
    struct upstream_query *query;
    const struct upstream_target *target;
    struct timer deadline, later;
    uint64_t begun_us;
    uint64_t deadline_ms;
    int tried;
    struct err why;                              /* of op_fail_soon() */
    bool running;                                /* a try is under way */
    /* what came so far in this try */
    struct buf response, message, headers;       /* headers: name\0value\0 … of x-* */
    int grpc_code, http_status;
    /* the carriers' own */
    struct server *server;
    struct h2_call h2;
    struct http1_call http1;
    struct rest_conn *rest_conn;
    struct buf head, body;                       /* what is sent besides the caller's bytes */
    uint8_t frame[5];
    uint8_t frame_n;
    uint32_t declared;
    bool got_status, got_type, done_body, second_message;
    struct builtin_job *job;
    struct arena arena;
};

/* ---- upstream.c ---- */
void op_done(struct op *op);                                     /* RC_OK, or RC_UPSTREAM when grpc_code is not 0: from the op's fields */
void op_failed(struct op *op, const struct err *e);              /* perhaps tried again, as e->retry says */
void op_fail_soon(struct op *op, const struct err *e);           /* the same, but not before the caller has returned */
void op_header(struct op *op, struct str name, struct str value); /* keeps x-* ones */
void op_try_reset(struct op *op);                                /* forgets what a try has received */
bool header_is_plain(const struct header *h);                    /* may travel as gRPC metadata: printable ASCII */
/* The error sentence every carrier gives to what makes no sense; also sets the op's grpc_code to INTERNAL. */
enum rc garbage(struct err *e, struct op *op, const char *fmt, ...) PRINTF(3, 4);
enum rc unreachable(struct err *e, const struct op *op, const char *why);

/* ---- tally.c ---- */
void tally_note(struct upstream *u, const struct op *op, const struct err *e);
void tallies_free(struct upstream *u);

/* ---- server.c: names to addresses, and the connections to one server ---- */
enum server_kind { SERVER_GRPC, SERVER_REST };
struct rest_conn { struct server *server; struct http1_client *client; struct op *op; struct list link, idle_link; bool open; };
struct server {
    struct upstream *u;
    enum server_kind kind;
    struct str address;
    struct list waiting;                         /* ops that want a connection */
    struct server_lookup *lookup;                /* under way; NULL: none */
    struct addrs addrs;
    size_t addr_at;
    struct timer connect_timer;
    uint64_t backoff_ms, retry_at_ms;            /* after a failure nobody tries before that */
    struct err last;
    struct grpc_conn *conn;                      /* gRPC: connecting or open */
    struct list rest_all, rest_idle;             /* REST: struct rest_conn */
    unsigned conns;                              /* REST: open and opening */
    bool opening;
};
struct server *server_of(struct upstream *u, enum server_kind kind, struct str address);
/* The op waits until server_opened()/server_failed(); connecting is started when it is not under way. False and e: it
 * failed a moment ago and is not tried again yet. */
bool server_wait(struct server *s, struct op *op, struct err *e);
void server_unwait(struct op *op);
void servers_free(struct upstream *u);
/* Told by carriers: */
void server_connected(struct server *s);
void server_connect_failed(struct server *s, const struct err *e);
/* Done by carriers: */
enum rc grpc_connect(struct server *s, const struct addr *to, struct err *e);
enum rc rest_connect(struct server *s, const struct addr *to, struct err *e);
void grpc_drop(struct server *s);                /* closes its connections; nothing is told */
void rest_drop(struct server *s);
void rest_abort(struct server *s);               /* drops only the one that is being opened */
void grpc_serve(struct server *s);               /* connected: start what waits */
void rest_serve(struct server *s);
