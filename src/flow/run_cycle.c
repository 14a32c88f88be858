/* Steps in a cycle, and behind one. Such a step is visited once for every record that comes round.
 *
 * A source keeps its records in a line. The first ones of all lines belong to one visit: an edge that does not close a
 * cycle hands on one token for every visit of the step before it, a record or an absence, so lines stay in step.
 * An edge that closes one hands on records only; otherwise absences would go round for ever.
 *
 *   inner   takes the first of every line; a source that comes once (the pipeline's inputs) is taken again every time
 *   outer   the same, as soon as one is there and the others are known not to come for this visit
 *   any     one visit for each record that came back, one for each source that comes once, and one for the first
 *           record of each row of the other lines: what else is in that row is passed over when it comes
 *
 * When nothing is being called and nothing can go on, what waits will wait for ever: outer joins then go on with what
 * they have, one after the other, and at last the steps that are left have had their visits.
 * SPDX-License-Identifier: Apache-2.0 */
#include "flow/run_inside.h"

enum { ARENA_MAX = 64 << 20 };                   /* of one run */

struct run_token {
    struct run_token *next;
    struct run_point *record;                    /* NULL: absent */
    int32_t cause;
    uint32_t order;
};

/* ---- records ---- */

static void record_unref(struct run *r, struct run_point *p)
{
    if (!p || --p->refs > 0) return;
    r->bytes -= p->owned.n;
    buf_fini(&p->owned);
}

void run_lines_init(struct run *r, struct run_gate *gate, const struct graph_gate *def)
{
    gate->lines = arena_array(&r->arena, struct run_line, def->n);
}

static void line_fini(struct run *r, struct run_line *l)
{
    record_unref(r, l->taken);
    for (struct run_token *t = l->first; t; t = t->next)
        record_unref(r, t->record);
}

void run_lines_fini(struct run *r)
{
    const struct graph *g = r->graph;

    for (size_t i = 0; i < g->nodes_n; i++)
        for (size_t k = 0; k < 2; k++) {
            struct run_gate *gate = &r->nodes[i].gates[k];

            for (size_t n = 0; gate->lines && n < (k ? g->nodes[i].trigger : g->nodes[i].data).n; n++)
                line_fini(r, &gate->lines[n]);
        }
    for (size_t i = 0; i < g->points_n; i++)
        record_unref(r, r->records[i]);
}

/* The newest record of a point is also looked at by the executor; the one before it only by who waits for it. */
static struct run_point *record_keep(struct run *r, uint32_t point)
{
    struct run_point *rec = arena_new(&r->arena, struct run_point);

    *rec = r->points[point];
    rec->state = POINT_PRESENT;
    rec->refs = 1;
    r->points[point].owned = (struct buf){0};
    record_unref(r, r->records[point]);
    r->records[point] = rec;
    return rec;
}

/* ---- lines ---- */

static void line_push(struct run *r, struct run_line *l, struct run_point *rec, int32_t cause)
{
    struct run_token *t;

    if (l->owed) {
        l->owed--;
        return;
    }
    t = arena_new(&r->arena, struct run_token);
    t->record = rec;
    t->cause = cause;
    t->order = ++r->arrivals;
    if (rec) rec->refs++;
    if (l->last) l->last->next = t;
    else l->first = t;
    l->last = t;
}

static void line_pop(struct run *r, struct run_line *l)
{
    struct run_token *t = l->first;

    l->first = t->next;
    if (!l->first) l->last = NULL;
    record_unref(r, t->record);
}

static void gate_push(struct run *r, struct run_gate *gate, const struct graph_gate *def, uint32_t point,
                      struct run_point *rec, int32_t cause)
{
    for (size_t i = 0; i < def->n; i++)
        if (def->sources[i].point == point && (rec || !def->sources[i].back)) line_push(r, &gate->lines[i], rec, cause);
}

void run_lines_push(struct run *r, uint32_t point, enum run_point_state state, int32_t cause)
{
    const struct graph_readers *readers = &r->graph->readers[point];
    struct run_point *rec = state == POINT_PRESENT ? record_keep(r, point) : NULL;

    r->points[point].state = state;
    r->points[point].cause = cause;
    for (size_t i = 0; i < readers->n; i++) {
        const struct graph_node *n = &r->graph->nodes[readers->nodes[i]];
        struct run_gate *gates = r->nodes[readers->nodes[i]].gates;

        gate_push(r, &gates[0], &n->data, point, rec, cause);
        gate_push(r, &gates[1], &n->trigger, point, rec, cause);
        run_queue_node(r, readers->nodes[i]);
    }
}

/* ---- gates ---- */

struct look { struct run *r; const struct graph_gate *def; struct run_gate *gate; };

/* The first in line of a source, or how a source is that comes once. */
static enum source_state head(const struct look *k, size_t i)
{
    const struct graph_source *s = &k->def->sources[i];
    const struct run_line *l = &k->gate->lines[i];
    const struct run_point *p = s->repeats ? (l->first ? l->first->record : NULL) : &k->r->points[s->point];

    if (s->repeats && !l->first) return SOURCE_PENDING;
    if (!s->repeats && p->state == POINT_PENDING) return SOURCE_PENDING;
    if (p && p->state == POINT_PRESENT && run_tensors_there(s, &p->view, k->def->join == FLOW_INNER)) return SOURCE_ARRIVED;
    return SOURCE_ABSENT;
}

static void take(const struct look *k, size_t i)
{
    struct run_line *l = &k->gate->lines[i];

    k->gate->sources[i] = SOURCE_TAKEN;
    if (!k->def->sources[i].repeats) {
        if (!k->gate->order[i]) k->gate->order[i] = ++k->r->arrivals;
        l->used = true;
        return;
    }
    k->gate->order[i] = l->first->order;
    l->taken = l->first->record;
    l->taken->refs++;
    line_pop(k->r, l);
}

static void pass_over(const struct look *k, size_t i)
{
    const struct graph_source *s = &k->def->sources[i];
    struct run_line *l = &k->gate->lines[i];
    const struct run_point *p = s->repeats ? NULL : &k->r->points[s->point];
    int32_t cause = s->repeats ? l->first->cause : p->state == POINT_ABSENT ? p->cause : -1;

    k->gate->sources[i] = SOURCE_ABSENT;
    if (cause >= 0 && k->gate->cause < 0) k->gate->cause = cause;
    if (s->repeats) line_pop(k->r, l);
}

/* Of every line the first: taken, passed over, or not waited for. */
static enum gate_state row_end(const struct look *k, enum gate_state state)
{
    for (size_t i = 0; i < k->def->n; i++) {
        enum source_state h = head(k, i);

        if (h == SOURCE_ARRIVED && state == GATE_OPEN) take(k, i);
        else if (h != SOURCE_PENDING) pass_over(k, i);
        else if (k->def->sources[i].repeats && !k->def->sources[i].back) k->gate->lines[i].owed++;
    }
    return state;
}

static enum gate_state row_decide(const struct look *k, bool *ret_fresh)
{
    size_t arrived = 0, pending = 0;

    for (size_t i = 0; i < k->def->n; i++) {
        enum source_state h = head(k, i);

        arrived += h == SOURCE_ARRIVED;
        pending += h == SOURCE_PENDING;
        *ret_fresh |= h == SOURCE_ARRIVED && (k->def->sources[i].repeats || !k->gate->lines[i].used);
    }
    if (k->def->join == FLOW_INNER) return pending ? GATE_PENDING : arrived == k->def->n ? GATE_OPEN : GATE_SHUT;
    if (pending && !(*ret_fresh && k->gate->window_over)) return GATE_PENDING;
    return arrived ? GATE_OPEN : GATE_SHUT;
}

static bool in_row(const struct graph_source *s)
{
    return s->repeats && !s->back;
}

/* The oldest record of all; what came back without the tensor that is wanted is no visit. */
static size_t any_choose(const struct look *k, size_t *ret_row, size_t *ret_absent)
{
    size_t best = k->def->n;
    uint32_t best_order = UINT32_MAX;

    for (size_t i = 0; i < k->def->n; i++) {
        const struct graph_source *s = &k->def->sources[i];
        struct run_line *l = &k->gate->lines[i];
        uint32_t order = 0;

        while (s->back && head(k, i) == SOURCE_ABSENT)
            pass_over(k, i);
        *ret_row += in_row(s);
        *ret_absent += in_row(s) && head(k, i) == SOURCE_ABSENT;
        if (head(k, i) != SOURCE_ARRIVED || l->used) continue;
        if (s->repeats) order = l->first->order;
        if (order >= best_order) continue;
        best = i;
        best_order = order;
    }
    return best;
}

static enum gate_state any_decide(const struct look *k)
{
    size_t row = 0, absent = 0, best = any_choose(k, &row, &absent);

    if (best == k->def->n && (!row || absent < row)) return GATE_PENDING;
    if (best < k->def->n) take(k, best);
    for (size_t i = 0; i < k->def->n; i++) {
        struct run_line *l = &k->gate->lines[i];

        if (i == best || !in_row(&k->def->sources[i])) continue;
        if (best < k->def->n && !in_row(&k->def->sources[best])) continue;
        if (l->first) pass_over(k, i);
        else l->owed++;
    }
    return best < k->def->n ? GATE_OPEN : GATE_SHUT;
}

enum gate_state run_lines_look(struct run *r, uint32_t node, uint32_t which)
{
    const struct graph_node *n = &r->graph->nodes[node];
    struct look k = {r, which ? &n->trigger : &n->data, &r->nodes[node].gates[which]};
    bool fresh = false;

    if (k.def->join == FLOW_ANY) return k.gate->state = any_decide(&k);
    k.gate->state = row_decide(&k, &fresh);
    if (k.gate->state != GATE_PENDING) return row_end(&k, k.gate->state);
    if (k.def->join == FLOW_OUTER && fresh) run_window_open(r, node, which, k.gate);
    return GATE_PENDING;
}

static void gate_again(struct run *r, struct run_gate *gate, const struct graph_gate *def)
{
    if (!gate->lines) return;
    for (size_t i = 0; i < def->n; i++) {
        record_unref(r, gate->lines[i].taken);
        gate->lines[i].taken = NULL;
        gate->sources[i] = SOURCE_PENDING;
    }
    gate->state = GATE_PENDING;
    gate->cause = -1;
    gate->window_set = gate->window_over = false;
    gate->visit++;
}

/* ---- visits ---- */

static void gates_again(struct run *r, uint32_t node)
{
    gate_again(r, &r->nodes[node].gates[0], &r->graph->nodes[node].data);
    gate_again(r, &r->nodes[node].gates[1], &r->graph->nodes[node].trigger);
}

void run_visit_over(struct run *r, uint32_t node)
{
    r->nodes[node].state = NODE_WAITING;
    run_queue_node(r, node);
}

/* The run has gone round often enough: it fails, and the step is done. */
static bool limit_reached(struct run *r, uint32_t node)
{
    const struct graph *g = r->graph;
    struct run_event ev = {.rc = RC_INVALID};
    bool visits = r->nodes[node].visits >= g->visits_max;

    if (node_is_output(r, node) || (!visits && r->arena.used < ARENA_MAX)) return false;
    if (visits)
        ev.text = arena_printf(&r->arena, "the limit of visits is reached: the step has run %u times in this request (maxStepRevisits)",
                               r->nodes[node].visits);
    else ev.text = STR("the loop has used up the memory of its request");
    r->nodes[node].failure = run_failure_new(r, &ev, g->nodes[node].name,
                                             headers_rewrite(&r->arena, r->points[0].headers, g->name, g->version));
    if (r->failed_first < 0) r->failed_first = (int32_t)node;
    run_effect(r, RUN_FX_FAILED, node)->failure = r->nodes[node].failure;
    run_outcome_decide(r, RUN_ERROR, r->nodes[node].failure);
    run_lines_push(r, graph_point_inputs(node), POINT_ABSENT, (int32_t)node);
    run_lines_push(r, graph_point_outputs(node), POINT_ABSENT, (int32_t)node);
    run_node_decide(r, node, NODE_FAILED);
    return true;
}

static void visit_skip(struct run *r, uint32_t node)
{
    const struct run_gate *g = r->nodes[node].gates;
    int32_t cause = g[0].state == GATE_SHUT && g[0].cause >= 0 ? g[0].cause : g[1].state == GATE_SHUT ? g[1].cause : -1;

    if (node_is_output(r, node)) return;
    run_lines_push(r, graph_point_inputs(node), POINT_ABSENT, cause);
    run_lines_push(r, graph_point_outputs(node), POINT_ABSENT, cause);
}

void run_visit(struct run *r, uint32_t node, bool open)
{
    if (open && limit_reached(r, node)) return;
    if (!open) visit_skip(r, node);
    else if (node_is_output(r, node)) run_output_make(r, node);
    else run_call_step(r, node);
    gates_again(r, node);
    run_queue_node(r, node);
}

/* ---- the end of all visits ---- */

static bool outer_goes_on(struct run *r, uint32_t node, uint32_t which)
{
    const struct graph_node *n = &r->graph->nodes[node];
    struct look k = {r, which ? &n->trigger : &n->data, &r->nodes[node].gates[which]};
    bool fresh = false;

    if (!k.def->repeats || k.def->join != FLOW_OUTER || k.gate->state != GATE_PENDING || k.gate->window_over) return false;
    row_decide(&k, &fresh);
    if (!fresh) return false;
    k.gate->window_over = true;
    run_queue_node(r, node);
    return true;
}

static void node_finish(struct run *r, uint32_t node)
{
    enum run_node_state state = r->nodes[node].visits ? NODE_DONE : NODE_SKIPPED;

    if (node_is_output(r, node)) {
        if (r->failed_first >= 0) run_outcome_decide(r, RUN_ERROR, r->nodes[r->failed_first].failure);
        else if (r->outcome == RUN_OPEN) run_unselected(r);
    }
    run_node_decide(r, node, state);
}

bool run_settle(struct run *r)
{
    const struct graph *g = r->graph;

    for (size_t i = 0; i < g->nodes_n; i++)
        if (r->nodes[i].state == NODE_CALLING) return false;
    for (size_t i = 0; i < g->nodes_n && !r->ended; i++) {
        uint32_t node = g->order[i];

        if (r->nodes[node].state == NODE_WAITING && (outer_goes_on(r, node, 0) || outer_goes_on(r, node, 1))) return true;
    }
    for (size_t i = 0; i < g->nodes_n && !r->ended; i++)
        if (r->nodes[g->order[i]].state == NODE_WAITING) node_finish(r, g->order[i]);
    return false;
}
