/* How a run goes: a point is decided (a record is there, or never will be); the nodes that read it
 * are put on the ready list; each looks at its gates again and is called, skipped, or goes on
 * waiting. Calling and skipping decide further points. The list is a queue without recursion, so a
 * long chain costs no stack, and the order is the same on every machine.
 *
 * What can go wrong: a step fails (its outputs will never come, with the step as the cause), a
 * wanted tensor is not in a record (absent without a cause), time runs out. An absent point carries
 * its cause along, so an output section that can no longer be satisfied names the step that failed,
 * or else says that nothing was selected, and why. SPDX-License-Identifier: Apache-2.0 */
#include "flow/run_inside.h"

/* ---- construction ---- */

static void gate_init(struct run *r, struct run_gate *gate, const struct graph_gate *def)
{
    gate->state = def->n ? GATE_PENDING : GATE_OPEN;
    gate->cause = -1;
    gate->sources = arena_array(&r->arena, uint8_t, def->n + 1);
    gate->order = arena_array(&r->arena, uint32_t, def->n + 1);
    if (def->repeats) run_lines_init(r, gate, def);
}

void run_init(struct run *r, const struct graph *g)
{
    r->graph = g;
    r->points = arena_array(&r->arena, struct run_point, g->points_n);
    r->nodes = arena_array(&r->arena, struct run_node, g->nodes_n);
    r->ready = arena_array(&r->arena, uint32_t, g->nodes_n);
    r->queued = arena_array(&r->arena, uint8_t, g->nodes_n);
    r->fx_max = 4 * g->nodes_n + 4;
    r->fx = arena_array(&r->arena, struct run_effect, r->fx_max);
    if (g->cyclic) r->records = arena_array(&r->arena, struct run_point *, g->points_n);
    r->outcome = RUN_OPEN;
    r->undecided = (uint32_t)g->nodes_n;
    r->failed_first = -1;
    for (size_t i = 0; i < g->nodes_n; i++) {
        r->nodes[i].gates = arena_array(&r->arena, struct run_gate, 2);
        gate_init(r, &r->nodes[i].gates[0], &g->nodes[i].data);
        gate_init(r, &r->nodes[i].gates[1], &g->nodes[i].trigger);
    }
}

void run_fini(struct run *r)
{
    struct arena arena = r->arena;

    if (r->records) run_lines_fini(r);
    for (size_t i = 0; r->points && i < r->graph->points_n; i++)
        buf_fini(&r->points[i].owned);
    buf_fini(&r->output.owned);
    arena_reset(&arena);
    *r = (struct run){.arena = arena};
}

enum rc run_accept(struct run *r, struct bytes message, struct headers headers,
                   int64_t timestamp_ms, struct err *e)
{
    struct run_point *p = &r->points[0];

    if (infer_parse(message, INFER_REQUEST, &r->arena, &p->view, e) || infer_validate(&p->view, e))
        return e->rc;
    p->message = message;
    p->headers = headers;
    p->timestamp_ms = timestamp_ms;
    return RC_OK;
}

void run_keep(struct run *r)
{
    struct run_point *p = &r->points[0];
    struct err e;

    if (p->owned.p || !p->message.n) return;
    buf_append(&p->owned, p->message);
    p->message = buf_view(&p->owned);
    must(infer_parse(p->message, INFER_REQUEST, &r->arena, &p->view, &e) == RC_OK);
}

/* ---- deciding points and nodes ---- */

/* Only in a cycle may there be more than were expected. */
struct run_effect *run_effect(struct run *r, enum run_effect_kind kind, uint32_t node)
{
    if (r->fx_n == r->fx_max) {
        struct run_effect *more = arena_array(&r->arena, struct run_effect, 2 * r->fx_max);

        must(r->graph->cyclic);
        memcpy(more, r->fx, r->fx_n * sizeof *more);
        r->fx = more;
        r->fx_max *= 2;
    }
    r->fx[r->fx_n] = (struct run_effect){.kind = kind, .node = node};
    return &r->fx[r->fx_n++];
}

void run_queue_node(struct run *r, uint32_t node)
{
    if (r->queued[node] || r->nodes[node].state != NODE_WAITING) return;
    r->queued[node] = 1;
    r->ready[(r->ready_at + r->ready_n++) % r->graph->nodes_n] = node;
}

static void point_decide(struct run *r, uint32_t point, enum run_point_state state, int32_t cause)
{
    const struct graph_readers *readers = &r->graph->readers[point];

    if (point > 0 && r->graph->nodes[(point - 1) / 2].repeats) {
        run_lines_push(r, point, state, cause);
        return;
    }
    r->points[point].state = state;
    r->points[point].cause = cause;
    for (size_t i = 0; i < readers->n; i++)
        run_queue_node(r, readers->nodes[i]);
}

void run_outcome_decide(struct run *r, enum run_outcome outcome, struct run_failure *failure)
{
    if (r->outcome != RUN_OPEN) return;
    r->outcome = outcome;
    r->failure = failure;
    run_effect(r, RUN_FX_OUTCOME, 0);
}

/* A node is decided once. The last one ends the run, and decides a pipeline without output. */
void run_node_decide(struct run *r, uint32_t node, enum run_node_state state)
{
    r->nodes[node].state = state;
    if (--r->undecided > 0) return;
    if (r->outcome == RUN_OPEN && r->failed_first >= 0)
        run_outcome_decide(r, RUN_ERROR, r->nodes[r->failed_first].failure);
    run_outcome_decide(r, RUN_EMPTY, NULL);
    r->ended = true;
    run_effect(r, RUN_FX_END, 0);
}

/* ---- failures ---- */

struct run_failure *run_failure_new(struct run *r, const struct run_event *ev, struct str step,
                                    struct headers from)
{
    struct run_failure *f = arena_new(&r->arena, struct run_failure);

    f->rc = ev->rc;
    f->grpc_code = ev->grpc_code;
    f->http_status = ev->http_status;
    f->retry_after_ms = ev->retry_after_ms;
    f->step = step;
    f->text = arena_dup_str(&r->arena, ev->text);
    f->headers = headers_answer(&r->arena, from, ev->headers, ev->headers_n, r->deny, step);
    return f;
}

static void step_fail(struct run *r, uint32_t node, const struct run_event *ev)
{
    const struct graph_node *def = &r->graph->nodes[node];
    struct headers from = r->points[graph_point_inputs(node)].headers;

    r->nodes[node].failure = run_failure_new(r, ev, def->name, from);
    if (r->failed_first < 0) r->failed_first = (int32_t)node;
    run_effect(r, RUN_FX_FAILED, node)->failure = r->nodes[node].failure;
    point_decide(r, graph_point_outputs(node), POINT_ABSENT, (int32_t)node);
    if (r->graph->direct) run_outcome_decide(r, RUN_ERROR, r->nodes[node].failure);
    if (def->repeats) run_visit_over(r, node);
    else run_node_decide(r, node, NODE_FAILED);
}

/* ---- gates ---- */

bool run_tensors_there(const struct graph_source *s, const struct infer_view *v, bool all)
{
    size_t found = 0;

    if (s->whole) return v->tensors_n > 0;
    for (size_t i = 0; i < s->select_n; i++)
        found += infer_find(v, s->select[i].tensor) != NULL;
    return all ? found == s->select_n : found > 0;
}

static void source_update(struct run *r, const struct graph_gate *def, struct run_gate *gate,
                          size_t i)
{
    const struct graph_source *s = &def->sources[i];
    const struct run_point *p = &r->points[s->point];

    if (gate->sources[i] != SOURCE_PENDING || p->state == POINT_PENDING) return;
    if (p->state == POINT_PRESENT &&
        (r->graph->direct || run_tensors_there(s, &p->view, def->join == FLOW_INNER))) {
        gate->sources[i] = SOURCE_ARRIVED;
        gate->order[i] = ++r->arrivals;
    } else {
        gate->sources[i] = SOURCE_ABSENT;
        if (p->state == POINT_ABSENT && p->cause >= 0 && gate->cause < 0) gate->cause = p->cause;
    }
}

static void gate_open(struct run_gate *gate, size_t n, enum flow_join join)
{
    bool one = join == FLOW_ANY, taken = false;

    gate->state = GATE_OPEN;
    for (size_t i = 0; i < n; i++)
        if (gate->sources[i] == SOURCE_ARRIVED && !(one && taken)) {
            gate->sources[i] = SOURCE_TAKEN;
            taken = true;
        }
}

static enum gate_state gate_decide(const struct run_gate *gate, const struct graph_gate *def)
{
    size_t pending = 0, arrived = 0;

    for (size_t i = 0; i < def->n; i++) {
        pending += gate->sources[i] == SOURCE_PENDING;
        arrived += gate->sources[i] == SOURCE_ARRIVED;
    }
    switch (def->join) {
    case FLOW_INNER:
        return arrived == def->n ? GATE_OPEN : arrived + pending == def->n ? GATE_PENDING : GATE_SHUT;
    case FLOW_OUTER:
        if (arrived && (!pending || gate->window_over)) return GATE_OPEN;
        return pending ? GATE_PENDING : GATE_SHUT;
    case FLOW_ANY: return arrived ? GATE_OPEN : pending ? GATE_PENDING : GATE_SHUT;
    }
    return GATE_PENDING;
}

void run_window_open(struct run *r, uint32_t node, uint32_t which, struct run_gate *gate)
{
    const struct graph_node *n = &r->graph->nodes[node];
    struct run_effect *fx;

    if (gate->window_set) return;
    gate->window_set = true;
    fx = run_effect(r, RUN_FX_WINDOW, node);
    fx->gate = which;
    fx->visit = gate->visit;
    fx->wait_ms = n->window_ms ? n->window_ms : r->join_window_ms;
}

static void gate_window(struct run *r, uint32_t node, uint32_t which, struct run_gate *gate,
                        const struct graph_gate *def)
{
    bool arrived = false;

    for (size_t i = 0; i < def->n; i++)
        arrived |= gate->sources[i] == SOURCE_ARRIVED;
    if (def->join == FLOW_OUTER && arrived) run_window_open(r, node, which, gate);
}

static enum gate_state gate_update(struct run *r, uint32_t node, uint32_t which)
{
    const struct graph_node *n = &r->graph->nodes[node];
    const struct graph_gate *def = which ? &n->trigger : &n->data;
    struct run_gate *gate = &r->nodes[node].gates[which];
    enum gate_state state;

    if (gate->state != GATE_PENDING) return gate->state;
    if (def->repeats) return run_lines_look(r, node, which);
    for (size_t i = 0; i < def->n; i++)
        source_update(r, def, gate, i);
    state = gate_decide(gate, def);
    if (state == GATE_OPEN) gate_open(gate, def->n, def->join);
    if (state == GATE_SHUT) gate->state = GATE_SHUT;
    if (state == GATE_PENDING) gate_window(r, node, which, gate, def);
    return gate->state;
}

/* ---- messages ---- */

/* Joins what the data gate took: tensors in the order of the sources, headers of the record that
 * completed it, the newest timestamp. */
static enum rc node_build(struct run *r, uint32_t node, enum infer_kind kind, struct run_point *to,
                          struct err *e)
{
    const struct graph_gate *def = &r->graph->nodes[node].data;
    const struct run_gate *gate = &r->nodes[node].gates[0];
    struct infer_part *parts = arena_array(&r->arena, struct infer_part, def->n);
    const struct run_point *last = NULL;
    uint32_t last_order = 0;
    size_t n = 0;

    to->timestamp_ms = INT64_MIN;
    for (size_t i = 0; i < def->n; i++) {
        const struct graph_source *s = &def->sources[i];
        const struct run_point *p = gate->lines && gate->lines[i].taken ? gate->lines[i].taken : &r->points[s->point];

        if (gate->sources[i] != SOURCE_TAKEN) continue;
        parts[n++] = (struct infer_part){&p->view, s->select, s->select_n, s->whole};
        to->timestamp_ms = MAX(to->timestamp_ms, p->timestamp_ms);
        if (gate->order[i] > last_order) last = p;
        last_order = MAX(last_order, gate->order[i]);
    }
    must(last);
    buf_clear(&to->owned);
    to->headers = headers_rewrite(&r->arena, last->headers, r->graph->name, r->graph->version);
    if (infer_build(parts, n, kind, &(struct infer_names){0}, &to->owned, NULL, e))
        return err_in(e, "join");
    to->message = buf_view(&to->owned);
    r->bytes += to->owned.n;
    return RC_OK;
}

/* ---- nodes ---- */

void run_call_step(struct run *r, uint32_t node)
{
    uint32_t point = graph_point_inputs(node);
    struct run_point *p = &r->points[point];
    struct err e = {0};
    bool read = r->graph->readers[point].n > 0;

    r->nodes[node].state = NODE_CALLING;
    r->nodes[node].visits++;
    if (r->graph->direct) {
        *p = r->points[0];
        p->owned = (struct buf){0};
    } else if (node_build(r, node, INFER_REQUEST, p, &e) ||
               (read && infer_parse(p->message, INFER_REQUEST, &r->arena, &p->view, &e))) {
        point_decide(r, point, POINT_ABSENT, (int32_t)node);
        step_fail(r, node, &(struct run_event){.rc = e.rc, .text = str_of(e.text)});
        return;
    }
    point_decide(r, point, POINT_PRESENT, -1);
    run_effect(r, RUN_FX_CALL, node);
}

void run_output_make(struct run *r, uint32_t node)
{
    struct err e = {0};

    if (node_build(r, node, INFER_RESPONSE, &r->output, &e)) {
        struct run_event ev = {.rc = e.rc, .text = str_of(e.text)};

        run_outcome_decide(r, RUN_ERROR, run_failure_new(r, &ev, r->graph->name, r->points[0].headers));
        run_node_decide(r, node, NODE_FAILED);
        return;
    }
    r->output.state = POINT_PRESENT;
    run_outcome_decide(r, RUN_OUTPUT, NULL);
    run_node_decide(r, node, NODE_DONE);
}

/* Why nothing was selected: the nodes that met a record without the tensor they want, the first few. */
static void explain_node(const struct run *r, uint32_t node, struct buf *text, unsigned *n)
{
    enum { EXPLAINED_MAX = 3 };
    const struct graph_node *def = &r->graph->nodes[node];

    for (size_t k = 0; k < def->data.n + def->trigger.n; k++) {
        bool data = k < def->data.n;
        size_t i = data ? k : k - def->data.n;
        const struct graph_source *s = &(data ? &def->data : &def->trigger)->sources[i];
        const struct run_point *p = &r->points[s->point];

        if (r->nodes[node].gates[data ? 0 : 1].sources[i] != SOURCE_ABSENT ||
            p->state != POINT_PRESENT || *n >= EXPLAINED_MAX)
            continue;
        buf_printf(text, "%s%s " STR_FMT " was skipped as " STR_FMT " has no tensor",
                   *n ? "; " : ": ", node_is_output(r, node) ? "the output of" : "step",
                   STR_ARG(def->name), STR_ARG(s->text));
        (*n)++;
        for (size_t t = 0; !s->whole && t < s->select_n; t++)
            if (!infer_find(&p->view, s->select[t].tensor))
                buf_printf(text, " " STR_FMT, STR_ARG(s->select[t].tensor));
    }
}

void run_unselected(struct run *r)
{
    AUTO(buf_fini) struct buf text = {0};
    struct run_event ev = {.rc = RC_UNSELECTED};
    unsigned n = 0;

    buf_append_str(&text, STR("nothing selected"));
    for (uint32_t i = 0; i < r->graph->nodes_n; i++)
        explain_node(r, i, &text, &n);
    ev.text = buf_str(&text);
    run_outcome_decide(r, RUN_ERROR, run_failure_new(r, &ev, r->graph->name, r->points[0].headers));
}

static void node_skip(struct run *r, uint32_t node)
{
    const struct run_gate *g = r->nodes[node].gates;
    int32_t cause = g[0].state == GATE_SHUT && g[0].cause >= 0 ? g[0].cause
                    : g[1].state == GATE_SHUT                   ? g[1].cause
                                                                : -1;

    if (node_is_output(r, node)) {
        if (cause >= 0) run_outcome_decide(r, RUN_ERROR, r->nodes[cause].failure);
        else run_unselected(r);
    } else {
        point_decide(r, graph_point_inputs(node), POINT_ABSENT, cause);
        point_decide(r, graph_point_outputs(node), POINT_ABSENT, cause);
    }
    run_node_decide(r, node, NODE_SKIPPED);
}

static void node_look(struct run *r, uint32_t node)
{
    enum gate_state data, trigger;

    if (r->nodes[node].state != NODE_WAITING) return;
    data = gate_update(r, node, 0);
    trigger = gate_update(r, node, 1);
    if (r->graph->nodes[node].repeats) {
        if (data != GATE_PENDING && trigger != GATE_PENDING) run_visit(r, node, data == GATE_OPEN && trigger == GATE_OPEN);
        return;
    }
    if (data == GATE_SHUT || trigger == GATE_SHUT) node_skip(r, node);
    else if (data == GATE_OPEN && trigger == GATE_OPEN)
        node_is_output(r, node) ? run_output_make(r, node) : run_call_step(r, node);
}

/* A ring: a node waits in it at most once. */
static void work(struct run *r)
{
    do {
        while (r->ready_n) {
            uint32_t node = r->ready[r->ready_at];

            r->ready_at = (r->ready_at + 1) % (uint32_t)r->graph->nodes_n;
            r->ready_n--;
            r->queued[node] = 0;
            node_look(r, node);
        }
    } while (r->graph->cyclic && run_settle(r));
}

/* ---- events ---- */

static void on_start(struct run *r)
{
    point_decide(r, 0, POINT_PRESENT, -1);
}

static void on_garbage(struct run *r, uint32_t node, const struct run_event *ev, struct err *e)
{
    enum { GRPC_INTERNAL = 13, HTTP_BAD_GATEWAY = 502 };
    struct run_event bad = *ev;

    err_in(e, "the model answered something that is not a response");
    bad.rc = RC_UPSTREAM;
    bad.grpc_code = GRPC_INTERNAL;
    bad.http_status = HTTP_BAD_GATEWAY;
    bad.text = str_of(e->text);
    step_fail(r, node, &bad);
}

static void on_response(struct run *r, const struct run_event *ev)
{
    uint32_t point = graph_point_outputs(ev->node);
    struct run_point *p = &r->points[point];
    struct err e = {0};

    if (r->nodes[ev->node].state != NODE_CALLING) return;
    buf_fini(&p->owned);
    p->owned = buf_take(ev->response);
    p->message = buf_view(&p->owned);
    r->bytes += p->owned.n;
    if (infer_parse(p->message, INFER_RESPONSE, &r->arena, &p->view, &e) ||
        infer_validate(&p->view, &e)) {
        on_garbage(r, ev->node, ev, &e);
        return;
    }
    p->timestamp_ms = ev->now_ms;
    p->headers = headers_answer(&r->arena, r->points[graph_point_inputs(ev->node)].headers, ev->headers,
                                ev->headers_n, r->deny, (struct str){0});
    run_effect(r, RUN_FX_ANSWERED, ev->node);
    if (r->graph->direct) {
        r->output = *p;
        r->output.owned = (struct buf){0};
        r->output.state = POINT_PRESENT;
        run_outcome_decide(r, RUN_OUTPUT, NULL);
    }
    point_decide(r, point, POINT_PRESENT, -1);
    if (r->graph->nodes[ev->node].repeats) run_visit_over(r, ev->node);
    else run_node_decide(r, ev->node, NODE_DONE);
}

/* The step that the outcome waits for: the first that is being called, or the pipeline. */
static struct str waited_for(const struct run *r)
{
    for (size_t i = 0; i < r->graph->steps_n; i++)
        if (r->nodes[i].state == NODE_CALLING && r->graph->nodes[i].for_output)
            return r->graph->nodes[i].name;
    return r->graph->name;
}

/* A step beside the output that is cut off after the outcome: said on the errors topic. */
static void node_stop(struct run *r, uint32_t node, const struct run_event *ev, bool say)
{
    struct run_node *n = &r->nodes[node];
    bool calling = n->state == NODE_CALLING;

    if (n->state != NODE_WAITING && !calling) return;
    if (calling) run_effect(r, RUN_FX_STOP, node);
    if (node_is_output(r, node)) {
        run_node_decide(r, node, NODE_SKIPPED);
    } else if (calling && say) {
        step_fail(r, node, ev);
        if (r->graph->nodes[node].repeats) run_node_decide(r, node, NODE_FAILED);
    } else {
        if (!calling) point_decide(r, graph_point_inputs(node), POINT_ABSENT, -1);
        point_decide(r, graph_point_outputs(node), POINT_ABSENT, -1);
        run_node_decide(r, node, NODE_SKIPPED);
    }
}

/* The outcome is decided before any step is stopped, so that what the stopping makes impossible
 * decides nothing more. */
static void on_end(struct run *r, const struct run_event *ev, bool all)
{
    bool say = all && r->outcome != RUN_OPEN;

    if (r->outcome == RUN_OPEN)
        run_outcome_decide(r, RUN_ERROR, run_failure_new(r, ev, waited_for(r), r->points[0].headers));
    for (size_t i = r->graph->nodes_n; i-- > 0;)
        if (all || r->graph->nodes[i].for_output) node_stop(r, (uint32_t)i, ev, say);
}

static void on_window(struct run *r, const struct run_event *ev)
{
    struct run_gate *gate = &r->nodes[ev->node].gates[ev->gate];

    if (ev->visit != gate->visit) return;
    gate->window_over = true;
    run_queue_node(r, ev->node);
}

void run_step(struct run *r, const struct run_event *ev)
{
    r->fx_n = 0;
    if (r->ended) return;
    switch (ev->kind) {
    case RUN_EV_START: on_start(r); break;
    case RUN_EV_RESPONSE: on_response(r, ev); break;
    case RUN_EV_FAILURE:
        if (r->nodes[ev->node].state == NODE_CALLING) step_fail(r, ev->node, ev);
        break;
    case RUN_EV_WINDOW: on_window(r, ev); break;
    case RUN_EV_DEADLINE: on_end(r, ev, false); break;
    case RUN_EV_STOP: on_end(r, ev, true); break;
    }
    work(r);
    must(r->ended == (r->undecided == 0));
}
