/* upstream/upstream.h - calls to model servers (V2 over gRPC or REST) and to the built-in runtime.
 *
 * One `struct upstream` per loop: its connections (one per server, multiplexed) and its calls in flight. Everything is
 * called on that loop. SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/buf.h"
#include "base/err.h"
#include "base/header.h"

struct loop;
struct workers;
struct upstream;

enum upstream_kind { UPSTREAM_GRPC, UPSTREAM_REST, UPSTREAM_XGBOOST };
struct upstream_target {                         /* where a model lives; borrowed until done */
    enum upstream_kind kind;
    struct str address;                          /* HOST:PORT of the V2 gRPC or REST server */
    struct str model;                            /* the name sent (spec.servedName, else the model's own) */
    struct str version;                          /* empty: none is sent */
    struct str path;                             /* XGBOOST: file or folder */
};

struct upstream_call {
    const struct upstream_target *target;
    struct bytes request;                        /* ModelInferRequest; model name and version are set by upstream.
                                                    Borrowed until done */
    const struct header *headers;                /* sent as metadata / HTTP headers, already filtered. Borrowed */
    size_t headers_n;
    uint64_t deadline_ms;                        /* monotonic */
    int attempts;                                /* on UNAVAILABLE and RESOURCE_EXHAUSTED, back-off doubling */
    uint64_t backoff_ms;
    void (*done)(struct upstream_call *c);       /* once; also after cancel (RC_CANCELLED) */
    /* out, until upstream_call_fini(): */
    struct err err;                              /* RC_OK, RC_UPSTREAM (the model's own error), RC_UNAVAILABLE, RC_TIMEOUT,
                                                    RC_TOO_LARGE, RC_CANCELLED, RC_INVALID (garbage came back) */
    int grpc_code;                               /* the model's own when RC_UPSTREAM; REST: mapped from the status */
    int http_status;                             /* REST: the status; else 0 */
    struct buf message;                          /* the model's own text, uncut */
    struct buf response;                         /* ModelInferResponse (REST answers are converted) */
    struct header *response_headers;             /* x-* headers and trailers */
    size_t response_headers_n;
    void *priv;                                  /* upstream's own */
};

enum rc upstream_new(struct loop *l, struct workers *workers, size_t message_bytes_max, struct upstream **ret,
                     struct err *e) MUST_USE;
struct upstream *upstream_free(struct upstream *u);          /* cancels what is in flight; NULL is fine */
void upstream_call(struct upstream *u, struct upstream_call *c);
void upstream_cancel(struct upstream *u, struct upstream_call *c);   /* done is called before this returns */
void upstream_call_fini(struct upstream_call *c);

/* What can be seen of a target without calling it: the built-in runtime's file is there and may be a model. Reads a few
 * bytes of it; any thread. */
enum rc upstream_look(const struct upstream_target *t, struct err *e) MUST_USE;

/* Is the model ready there (a target without a model: the server itself)? And its metadata (ModelMetadataResponse
 * protobuf). Same life cycle as a call. */
enum upstream_ask { UPSTREAM_READY, UPSTREAM_METADATA, UPSTREAM_LOAD, UPSTREAM_UNLOAD };
struct upstream_query {
    const struct upstream_target *target;
    enum upstream_ask ask;
    uint64_t deadline_ms;
    void (*done)(struct upstream_query *q);
    struct err err;
    bool ready;
    struct buf response;
    void *priv;                                  /* upstream's own */
};
void upstream_query(struct upstream *u, struct upstream_query *q);
void upstream_query_cancel(struct upstream *u, struct upstream_query *q);

/* Finished calls, counted by server, model, carrier and code (gRPC's; REST: the HTTP status, 0: none came). */
struct upstream_tally { struct str server, model; bool rest; int code; uint64_t calls; double seconds; };
void upstream_tallies(const struct upstream *u, void (*each)(void *ctx, const struct upstream_tally *t), void *ctx);
