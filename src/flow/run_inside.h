/* flow/run_inside.h - the inside of a run, for run.c and run_cycle.c only.     SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "flow/run.h"

enum gate_state { GATE_PENDING, GATE_OPEN, GATE_SHUT };
enum source_state { SOURCE_PENDING, SOURCE_ARRIVED, SOURCE_ABSENT, SOURCE_TAKEN };

struct run_line;
struct run_gate {
    enum gate_state state;
    bool window_set, window_over;
    int32_t cause;                               /* shut: as in run_point */
    uint8_t *sources;
    uint32_t *order;                             /* when each arrived, counted in arrivals of the run */
    struct run_line *lines;                      /* by source; NULL: it opens or shuts once */
    uint32_t visit;                              /* of the gate: how often it was decided */
};

/* One source of a gate that is visited again. */
struct run_token;
struct run_line {
    struct run_token *first, *last;              /* waiting, oldest first */
    uint32_t owed;                               /* so many are to come whose visit is over already */
    bool used;                                   /* a source that comes once: it was taken, or never will be */
    struct run_point *taken;                     /* by the visit that is open */
};

/* run.c */
struct run_effect *run_effect(struct run *r, enum run_effect_kind kind, uint32_t node);
void run_queue_node(struct run *r, uint32_t node);
void run_outcome_decide(struct run *r, enum run_outcome outcome, struct run_failure *failure);
void run_node_decide(struct run *r, uint32_t node, enum run_node_state state);
struct run_failure *run_failure_new(struct run *r, const struct run_event *ev, struct str step, struct headers from);
bool run_tensors_there(const struct graph_source *s, const struct infer_view *v, bool all);
void run_window_open(struct run *r, uint32_t node, uint32_t which, struct run_gate *gate);
void run_call_step(struct run *r, uint32_t node);
void run_output_make(struct run *r, uint32_t node);
void run_unselected(struct run *r);
static inline bool node_is_output(const struct run *r, uint32_t node) { return node == r->graph->steps_n; }

/* run_cycle.c */
void run_lines_init(struct run *r, struct run_gate *gate, const struct graph_gate *def);
void run_lines_fini(struct run *r);
void run_lines_push(struct run *r, uint32_t point, enum run_point_state state, int32_t cause);
enum gate_state run_lines_look(struct run *r, uint32_t node, uint32_t which);
void run_visit(struct run *r, uint32_t node, bool open);     /* both gates are decided */
void run_visit_over(struct run *r, uint32_t node);           /* its call is */
bool run_settle(struct run *r);                  /* nothing moves any more: true, something does now */
