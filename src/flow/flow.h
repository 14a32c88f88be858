/* flow/flow.h - runs: one request through one pipeline (or one model) and into the log.
 *
 * One `struct flow` (executor) per gateway loop; everything is called on that loop. It owns the runs it admitted, takes
 * the newest snapshot for new runs, and lets running ones finish on theirs.
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "bus/bus.h"
#include "flow/def.h"

struct loop;
struct flow;
struct schema_registry;

/* Where inputs are read on when the topic has nothing at the offset that was committed: its records were deleted by retention,
 * or the topic was deleted and made again. */
enum flow_reset { FLOW_RESET_EARLIEST, FLOW_RESET_LATEST, FLOW_RESET_NONE };

struct flow_options {                            /* the gateway:, flow:, compat: and kafka: keys of the configuration */
    struct str topic_prefix, topic_namespace;    /* "seldon", "default" */
    struct str group_prefix;                     /* kafka.consumerGroupIdPrefix */
    bool groups_seldon;                          /* compat.groups */
    struct str groups_namespace;                 /* … in them; empty: none */
    uint32_t groups_gateways;                    /* … over how many models are spread */
    int32_t partitions, replication;
    const struct bus_config *topic_configs; size_t topic_configs_n;
    size_t message_bytes_max;
    enum bus_durability durability;              /* flow.durability */
    bool reply_immediate;                        /* gateway.reply */
    bool models_logged;                          /* gateway.models */
    enum flow_record record;
    enum flow_reset offset_reset;                /* kafka.consumer.autoOffsetReset */
    uint32_t join_window_ms;
    uint64_t timeout_ms, timeout_ms_max;
    uint64_t recover_grace_ms, recover_within_ms, idempotency_window_ms;
    uint64_t commit_every_ms;                    /* 0: once a second */
    uint32_t runs_max; size_t runs_bytes_max;    /* then RC_OVERLOAD; the share of this loop */
    uint32_t model_concurrency; int attempts; uint64_t backoff_ms;
    const struct str *headers_deny; size_t headers_deny_n;     /* patterns: name, or prefix-* */
    const struct str *redact; size_t redact_n;   /* tensors and parameters that records do not have */
    int32_t owners;                              /* flow.owners: partitions of the control.owners topic when it is made */
    void (*shared_refused)(void *ctx);           /* another data plane serves this namespace inside its broker; on executor 0's loop */
    void *shared_ctx;
    struct schema_registry *schemas;             /* security.schemaRegistry; NULL: none. Outlives the executors */
    /* Executor 0, on its loop: what a deleted pipeline or model left was cleared away. NULL: nobody wants to know. */
    void (*cleared)(void *ctx, bool model, struct str name);
    void *cleared_ctx;
    unsigned loop_index, loops_n;                /* which executor this is: loop 0 recovers and serves outside records */
};

enum rc flow_new(struct loop *l, struct bus *bus, struct upstream *up, const struct flow_options *o, struct flow **ret,
                 struct err *e) MUST_USE;
/* Makes the executors of one process known to each other: executor 0 asks the others how far they are before it commits
 * offsets, and holds the index of idempotency keys. Call it once, after the last flow_new() and before any flow_use();
 * they are freed together, when none of their loops runs any more. With one loop it may be left out. */
void flow_join(struct flow **all, unsigned n);
/* No new runs (RC_UNAVAILABLE); drained is called when none is left, or at the deadline (then runs are cancelled). */
void flow_drain(struct flow *f, uint64_t deadline_ms, void (*drained)(void *ctx), void *ctx);
struct flow *flow_free(struct flow *f);          /* cancels what runs; NULL is fine; returns NULL */
/* The newest snapshot, sealed; takes one reference of its own. Makes the topics of what is new in it. */
void flow_use(struct flow *f, struct flow_snapshot *s);

struct flow_request {
    /* in; borrowed until done */
    struct str name;                             /* pipeline or model */
    bool model;
    struct bytes message;                        /* ModelInferRequest */
    const struct header *headers; size_t headers_n;      /* the caller's x-* headers, lower case, in order, duplicates kept */
    struct str request_id;                       /* never empty: the gateway makes one */
    struct str idempotency_key;                  /* empty: none */
    uint64_t deadline_ms;                        /* monotonic */
    void (*done)(struct flow_request *r);        /* exactly once */
    /* out, until flow_request_fini() */
    struct err err;                              /* RC_OK, or: RC_NOT_FOUND unknown name, RC_INVALID, RC_UPSTREAM, RC_UNAVAILABLE,
                                                    RC_OVERLOAD, RC_TIMEOUT, RC_CANCELLED, RC_UNSELECTED, RC_TOO_LARGE, RC_DISK_FULL,
                                                    RC_EXISTS (idempotency key with other bytes), RC_UNSUPPORTED (a pipeline this
                                                    version cannot run), RC_IO, RC_FATAL */
    struct str step;                             /* which step an error came from; empty: none */
    int grpc_code, http_status;                  /* the model's own, for RC_UPSTREAM (0: none) */
    struct buf message_text;                     /* the error for the caller, uncut: "<step> : <text>" */
    bool accepted;                               /* pipeline without output: admitted, no tensors (202) */
    struct buf response;                         /* ModelInferResponse */
    struct header *response_headers; size_t response_headers_n;   /* x-* of the outcome record */
    struct str key;                              /* the record key "<partition>.<name>.<request id>" */
    uint32_t retry_after_ms;                     /* with RC_OVERLOAD, RC_UNAVAILABLE */
    void *priv;
};
/* done may be called before this returns (unknown name, overload …). */
void flow_start(struct flow *f, struct flow_request *r);
/* The caller went away: done is called before this returns; the run is ended in the log. */
void flow_cancel(struct flow *f, struct flow_request *r);
void flow_request_fini(struct flow_request *r);

/* Readiness from live state: RC_OK ready; RC_NOT_FOUND unknown; RC_UNAVAILABLE a step is not ready (err names it).
 * Probes the models; answers by the deadline, perhaps before flow_probe() returns. */
struct flow_probe {
    struct str name;
    bool model;
    const struct upstream_target *server;        /* instead of both: a model server itself, without a model; borrowed */
    uint64_t deadline_ms;
    void (*done)(struct flow_probe *p);
    struct err err;
    char warning[640];                           /* out: ready or not, this is wrong: another engine is at work; empty: nothing */
    void *priv;
};
void flow_probe(struct flow *f, struct flow_probe *p);
void flow_probe_cancel(struct flow *f, struct flow_probe *p);

struct flow_counters {
    uint64_t runs_started, runs_ok, runs_failed, runs_now, bytes_now, records_appended, recovered, outside;
    uint64_t hop_records_failed, overload;
    uint64_t joins_bytes;                        /* records of other pipelines that wait for their other sides */
    uint64_t repeats;                            /* outcomes met, at an opening, of runs that had one before */
    uint64_t ended_for_others;                   /* requests of other processes that were ended with an error */
    uint64_t foreign_now;                        /* pipelines and models whose inputs another engine reads */
    uint64_t schema_failures, records_untagged;  /* the registry gave no id; records written without their prefix for it */
};
void flow_count(const struct flow *f, struct flow_counters *ret);
