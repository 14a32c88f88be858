/* flow/graph.h - a pipeline definition compiled: what each step waits for, takes and passes on.
 *
 * Immutable and shared by all loops; lives in the snapshot's arena. A run (flow/run.h) walks it.
 * The places where records lie are *points*: 0 is the pipeline's inputs topic, then two for every step, its inputs
 * and its outputs topic. *Nodes* are the steps and, when the pipeline has one, the output section as the last.
 * Used by: flow/run.c, flow's executor, control (validation).     SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "flow/def.h"
#include "oip/proto.h"

/* All references of one node to one topic. Several tensors of a topic are one source; a topic named as a whole and by
 * tensor means the tensors. */
struct graph_source {
    uint32_t point;
    bool whole;                                  /* no tensor named: the whole message */
    const struct infer_select *select;           /* not whole: the wanted tensors. Whole: the renames */
    size_t select_n;
    struct str text;                             /* "mul10.outputs", for sentences */
    bool repeats;                                /* records may come there more than once in a run */
    bool back;                                   /* … and from a step behind this one: it closes a cycle */
};

struct graph_gate {
    struct graph_source *sources; size_t n;      /* in the order of first mention; n = 0: always open */
    enum flow_join join;
    bool repeats;                                /* one of the sources does */
};

struct graph_node {
    struct str name;                             /* the step's, or the pipeline's for the output section */
    struct graph_gate data, trigger;
    uint32_t window_ms;                          /* of outer joins; 0: the default */
    uint32_t batch_size, batch_window_ms;        /* rows of several runs in one call; 0: none */
    bool for_output;                             /* the outcome may depend on it */
    const struct flow_model_def *model;          /* the step's, set when the snapshot is sealed; NULL: there is none */
    bool echo;                                   /* the output section without steps: the pipeline's inputs go back */
    bool repeats;                                /* lies in a cycle, or behind one: may be visited more than once */
};

struct graph_readers { const uint32_t *nodes; size_t n; };

struct graph {
    struct str name;                             /* of the pipeline, or of the model called directly */
    const struct flow_pipeline_def *def;         /* NULL: of a model called directly */
    bool direct;
    struct graph_node *nodes; size_t nodes_n;    /* steps_n, or one more with an output section */
    size_t steps_n, points_n;
    struct graph_readers *readers;               /* by point: the nodes with a source there, each once, ascending */
    bool cyclic;
    uint32_t visits_max;                         /* of every step in one run; counts only where it is cyclic */
    const uint32_t *order;                       /* cyclic: the nodes from the inputs on, cycles cut where they close */
    struct err why;                              /* rc other than RC_OK: cannot run here, and why */
    struct str version;                          /* of the pipeline, in decimal; empty for a model */
};

enum { GRAPH_STEPS_MAX = 1000 };

static inline uint32_t graph_point_inputs(size_t step)  { return (uint32_t)(1 + 2 * step); }
static inline uint32_t graph_point_outputs(size_t step) { return (uint32_t)(2 + 2 * step); }
static inline bool graph_has_output(const struct graph *g) { return g->nodes_n > g->steps_n; }
/* Of a pipeline whose callers have their answer when the input is in the log. */
static inline bool graph_no_output(const struct graph *g) { return g->def && !g->def->has_output; }

/* Always gives a graph, out of the arena (which has no limit). Its `why` is RC_INVALID for what validation should have
 * refused: unknown references, no or equal names, a cycle that is not allowed. */
struct graph *graph_compile(struct arena *a, const struct flow_pipeline_def *def);

/* One step that takes the request as it came and whose answer is the outcome. */
struct graph *graph_direct(struct arena *a, struct str model);

/* For validation: the index of a step by name, or -1; the first cycle through inputs and triggers as step indexes in
 * order, the first one repeated at the end (returns how many were written, 0: no cycle; `path` has room for
 * steps_n + 1). Unknown references are passed over. */
int graph_step_index(const struct flow_pipeline_def *def, struct str name);
size_t graph_cycle(const struct flow_pipeline_def *def, uint32_t *path);
