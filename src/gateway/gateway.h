/* gateway/gateway.h - what callers of models speak: V2 inference by REST and gRPC, health, metadata, metrics.
 *
 * One gateway per loop, with that loop's flow executor; a door listens once and hands connections to them in turn.
 * Everything is called on the gateway's loop (or before it runs) unless said otherwise.
 * Routes: docs/inference-api.md. Used by: app.   SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "flow/flow.h"
#include "gateway/auth.h"
#include "gateway/metrics.h"
#include "net/http_server.h"
#include "net/tcp.h"
#include "net/tls.h"

struct gateway;

struct gateway_options {                         /* the gateway: and compat: keys; strings are borrowed for life */
    struct tcp *tcp;                             /* of the loop */
    struct flow *flow;                           /* of the same loop */
    struct upstream *upstream;                   /* of the same loop; asked for metadata of models */
    size_t message_bytes_max;
    uint64_t timeout_ms, timeout_ms_max;
    uint32_t in_flight_max;                      /* requests; the share of this loop. 0: no ceiling */
    size_t in_flight_bytes_max;                  /* of request bodies; the share of this loop. 0: no ceiling */
    bool status_seldon;                          /* compat.status: seldon */
    bool metrics;                                /* telemetry.metrics */
    const struct metrics_sources *sources;       /* what /metrics shows; NULL: nothing but the gateway itself */
    struct str name, version;                    /* of the server, for metadata */
    struct auth *auth;                           /* shared by all loops; NULL: nobody is asked who calls */
    /* Is this process ready to serve? False: *ret_why says why not. Any loop. NULL: always. */
    bool (*ready)(void *ctx, struct str *ret_why);
    void *ready_ctx;
};

enum rc gateway_new(const struct gateway_options *o, struct gateway **ret, struct err *e) MUST_USE;
/* Which pipelines and models exist, for routing and metadata. Takes one reference of its own. */
void gateway_use(struct gateway *g, struct flow_snapshot *s);
/* Requests whose path starts with prefix ("/v2/control/") go to the handler, REST only. The longest prefix wins; the
 * gateway's own routes come first. At most 16. */
void gateway_route(struct gateway *g, struct str prefix, void (*request)(void *ctx, struct exchange *x), void *ctx);
/* New connections are closed, idle ones too; `drained` is called when the last one is gone or at the deadline. */
void gateway_drain(struct gateway *g, uint64_t deadline_ms, void (*drained)(void *ctx), void *ctx);
struct gateway *gateway_free(struct gateway *g);                 /* NULL is fine; returns NULL. Before flow_free() */
struct metrics_source gateway_metrics_source(struct gateway *g);
/* A connection for this gateway, from any thread. */
void gateway_accept(struct gateway *g, int fd, const struct addr *peer, struct tcp_ceiling *ceiling);

/* One listening socket, on the first gateway's loop, its connections dealt out in turn. */
struct gateway_door;
struct gateway_door_options {
    struct str listen;                           /* HOST:PORT */
    struct tcp_ceiling *ceiling;                 /* NULL: none */
    const struct tls_options *tls;               /* borrowed for the call; NULL: nothing is encrypted. Its files are looked at again every few seconds */
};
/* RC_INVALID and the others also for the certificate's files. */
enum rc gateway_listen(struct gateway *const *gateways, size_t n, const struct gateway_door_options *o,
                       struct gateway_door **ret, struct err *e) MUST_USE;
const struct addr *gateway_door_addr(const struct gateway_door *d);
struct gateway_door *gateway_door_close(struct gateway_door *d); /* NULL is fine; returns NULL */
