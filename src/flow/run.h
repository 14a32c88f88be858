/* flow/run.h - the state machine of one run: what is called when, and what comes out. Pure: no clock, socket, bus.
 *
 * A run walks a compiled graph. Time and answers arrive as events, wishes leave as effects; the executor carries them
 * out and comes back with the next event. Data lies at the graph's points; a step is called when its data gate and its
 * trigger gate are open, and skipped as soon as one of them can no longer open:
 *   inner  every source arrived, with every wanted tensor       shut: one of them will not come
 *   outer  all sources are decided (or the join window is over) and one arrived       shut: none came
 *   any    the first source arrived; fires once, with that one       shut: none came
 * A source arrives when its record is there and holds the wanted tensors (inner: all of them; outer and any: one).
 * The outcome is decided with the output section; branches beside it run on. A pipeline without an output section is
 * decided when all its steps are. The graph of a model called directly has one step, whose answer is the outcome.
 *
 * In a cycle, and behind one, steps are visited again (run_cycle.c): records wait in line before a gate, and the first
 * ones of every line belong together. A step runs at most graph.visits_max times; one visit more fails the run.
 *
 * Lives on: one gateway loop, inside one executor's run. Used by: flow's executor.
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "flow/graph.h"
#include "flow/headers.h"

enum run_point_state { POINT_PENDING, POINT_PRESENT, POINT_ABSENT };
struct run_point {
    enum run_point_state state;
    int32_t cause;                               /* absent: the step whose failure is behind it; -1: not selected */
    int64_t timestamp_ms;                        /* of its record */
    struct buf owned;                            /* holds `message`, unless that is the caller's */
    struct bytes message;
    struct infer_view view;                      /* set where somebody reads it */
    struct headers headers;                      /* of its record, without our own */
    uint32_t refs;                               /* of a record in a cycle: who may still read it */
};

struct run_failure {
    enum rc rc;
    int grpc_code, http_status;                  /* the model's own, with RC_UPSTREAM */
    struct str step;                             /* the step; the pipeline's name when it is none's */
    struct str text;                             /* the value of the error record */
    struct headers headers;                      /* of the record on the errors topic */
    uint32_t retry_after_ms;
    bool recorded;                               /* the executor's: it is on the errors topic */
};

enum run_node_state { NODE_WAITING, NODE_CALLING, NODE_DONE, NODE_SKIPPED, NODE_FAILED };
struct run_gate;
struct run_node {
    enum run_node_state state;
    struct run_gate *gates;                      /* data, trigger */
    uint32_t visits;                             /* how often it was called */
    struct run_failure *failure;                 /* FAILED */
};

enum run_outcome { RUN_OPEN, RUN_OUTPUT, RUN_ERROR, RUN_EMPTY };     /* empty: no output section and no error */

enum run_effect_kind {
    RUN_FX_CALL,                                 /* the step's inputs point is there: record it and call the model */
    RUN_FX_ANSWERED,                             /* the step's outputs point is there: record it */
    RUN_FX_FAILED,                               /* the step failed: record it on the errors topic */
    RUN_FX_WINDOW,                               /* come back with RUN_EV_WINDOW (node, gate) after wait_ms */
    RUN_FX_STOP,                                 /* end the step's call; nothing is to be said of it any more */
    RUN_FX_OUTCOME,                              /* decided: `outcome`, with `output` or `failure` */
    RUN_FX_END                                   /* every step is decided; no event will be needed any more */
};
struct run_effect {
    enum run_effect_kind kind;
    uint32_t node, gate, wait_ms, visit;
    struct run_failure *failure;                 /* FAILED */
};

enum run_event_kind {
    RUN_EV_START,
    RUN_EV_RESPONSE, RUN_EV_FAILURE,             /* of a step that was called; ignored when it was stopped meanwhile */
    RUN_EV_WINDOW,
    RUN_EV_DEADLINE,                             /* the caller's: ends what the outcome depends on */
    RUN_EV_STOP                                  /* ends everything: caller gone, shutdown, last deadline */
};
struct run_event {
    enum run_event_kind kind;
    uint32_t node, gate, visit;                  /* visit: WINDOW, as the effect had it */
    int64_t now_ms;                              /* wall clock, for records */
    struct buf *response;                        /* RESPONSE: taken */
    const struct header *headers; size_t headers_n;      /* RESPONSE, FAILURE: the model's; copied */
    enum rc rc;                                  /* FAILURE, DEADLINE, STOP */
    int grpc_code, http_status;
    struct str text;                             /* FAILURE, DEADLINE, STOP: copied */
    uint32_t retry_after_ms;
};

struct run {
    const struct graph *graph;
    struct arena arena;                          /* small things; messages have bufs of their own */
    const struct headers_deny *deny;
    uint32_t join_window_ms;                     /* where the definition names none */
    struct run_point *points;
    struct run_node *nodes;
    enum run_outcome outcome;
    struct run_point output;                     /* OUTPUT. For a model called directly: as the model answered */
    struct run_failure *failure;                 /* ERROR: with the headers of the record on the errors topic */
    bool ended;
    struct run_effect *fx; size_t fx_n, fx_max;  /* of the last step */
    /* its own */
    uint32_t undecided, arrivals, ready_at, ready_n;
    uint32_t *ready;
    uint8_t *queued;
    int32_t failed_first;
    struct run_point **records;                  /* in a cycle: the newest record of each point */
    size_t bytes;                                /* held in messages */
};

/* The storage is the caller's; `run` may be used again after run_fini(), which keeps one chunk of its arena. */
void run_init(struct run *r, const struct graph *g);
/* Sets the input; `message` is borrowed (see run_keep), headers lie in r->arena. RC_INVALID: not a well-formed request. */
enum rc run_accept(struct run *r, struct bytes message, struct headers headers, int64_t timestamp_ms, struct err *e) MUST_USE;
void run_keep(struct run *r);                    /* copies a borrowed input: the lender is about to take it back */
void run_step(struct run *r, const struct run_event *ev);
void run_fini(struct run *r);
