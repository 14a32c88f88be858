/* Compiling a definition. One pass turns references into points and groups them by topic; then the
 * readers of every point are listed and the steps that the output depends on are marked. What cannot
 * run is said in graph.why, and the graph is then not walked. SPDX-License-Identifier: Apache-2.0 */
#include "flow/graph.h"

enum { UNSEEN, OPEN, CLOSED };                   /* colours of the search for cycles */

int graph_step_index(const struct flow_pipeline_def *def, struct str name)
{
    for (size_t i = 0; i < def->steps_n; i++)
        if (str_eq(def->steps[i].name, name)) return (int)i;
    return -1;
}

/* ---- cycles ---- */

struct search {
    const struct flow_pipeline_def *def;
    uint8_t *colour;
    uint32_t *path;
    size_t path_n;
};

static size_t search_step(struct search *s, uint32_t step);

static size_t search_ref(struct search *s, const struct flow_ref *ref)
{
    int to = ref->step.n ? graph_step_index(s->def, ref->step) : -1;
    size_t from = 0;

    if (to < 0 || s->colour[to] == CLOSED) return 0;
    if (s->colour[to] == UNSEEN) return search_step(s, (uint32_t)to);
    while (s->path[from] != (uint32_t)to)
        from++;
    memmove(s->path, s->path + from, (s->path_n - from) * sizeof *s->path);
    s->path_n -= from;
    s->path[s->path_n++] = (uint32_t)to;
    return s->path_n;
}

static size_t search_step(struct search *s, uint32_t step)
{
    const struct flow_step_def *d = &s->def->steps[step];
    size_t found;

    s->colour[step] = OPEN;
    s->path[s->path_n++] = step;
    for (size_t i = 0; i < d->inputs_n; i++)
        if ((found = search_ref(s, &d->inputs[i]))) return found;
    for (size_t i = 0; i < d->triggers_n; i++)
        if ((found = search_ref(s, &d->triggers[i]))) return found;
    s->colour[step] = CLOSED;
    s->path_n--;
    return 0;
}

/* References run from reader to source, so the path found is turned round. */
size_t graph_cycle(const struct flow_pipeline_def *def, uint32_t *path)
{
    struct search s = {.def = def, .path = path, .colour = xnew_array(uint8_t, def->steps_n + 1)};
    size_t n = 0;

    for (uint32_t i = 0; i < def->steps_n && !n; i++)
        if (s.colour[i] == UNSEEN) n = search_step(&s, i);
    for (size_t i = 0; i < n / 2; i++) {
        uint32_t t = path[i];

        path[i] = path[n - 1 - i];
        path[n - 1 - i] = t;
    }
    free(s.colour);
    return n;
}

/* ---- compiling ---- */

struct compiler {
    struct arena *arena;
    struct graph *g;
    const struct flow_pipeline_def *def;
    struct map index;                            /* step name -> index + 1 */
};

static const struct str *rename_of(const struct compiler *c, const struct flow_rename *renames,
                                   size_t renames_n, const struct flow_ref *ref, struct str tensor)
{
    struct str source = ref->step.n ? ref->step : c->def->name;

    for (size_t i = 0; i < renames_n; i++) {
        const struct flow_rename *r = &renames[i];

        if (r->inputs == ref->inputs && str_eq(r->source, source) && str_eq(r->tensor, tensor))
            return &r->name;
    }
    return NULL;
}

static enum rc point_of(struct compiler *c, const struct flow_ref *ref, uint32_t *ret)
{
    size_t index;

    if (!ref->step.n) {
        *ret = 0;
        return RC_OK;
    }
    index = (size_t)(uintptr_t)map_get_str(&c->index, ref->step);
    if (!index)
        return err_set(&c->g->why, RC_INVALID, "step " STR_FMT " does not exist",
                       STR_ARG(ref->step));
    *ret = ref->inputs ? graph_point_inputs(index - 1) : graph_point_outputs(index - 1);
    return RC_OK;
}

static void source_name(struct compiler *c, struct graph_source *s, const struct flow_ref *ref)
{
    struct str who = ref->step.n ? ref->step : c->def->name;

    s->text = arena_printf(c->arena, STR_FMT ".%s", STR_ARG(who),
                           ref->inputs || !ref->step.n ? "inputs" : "outputs");
}

/* The tensors wanted of the topic that refs[at] names first, with their new names. */
static void source_select(struct compiler *c, struct graph_source *s, const struct flow_ref *refs,
                          const uint32_t *points, size_t n, const struct flow_rename *renames,
                          size_t renames_n)
{
    struct infer_select *sel = arena_array(c->arena, struct infer_select, n + renames_n);
    const struct flow_ref *topic = NULL;
    size_t sel_n = 0;

    for (size_t i = 0; i < n; i++) {
        const struct str *name;
        bool again = false;

        if (points[i] != s->point) continue;
        if (!topic) topic = &refs[i];
        if (!refs[i].tensor.n) continue;
        for (size_t k = 0; k < sel_n; k++)
            again |= str_eq(sel[k].tensor, refs[i].tensor);
        if (again) continue;
        name = rename_of(c, renames, renames_n, &refs[i], refs[i].tensor);
        sel[sel_n++] = (struct infer_select){refs[i].tensor, name ? *name : (struct str){0}};
    }
    s->whole = sel_n == 0;
    source_name(c, s, topic);
    if (s->whole)
        for (size_t i = 0; i < renames_n; i++)
            if (rename_of(c, &renames[i], 1, topic, renames[i].tensor))
                sel[sel_n++] = (struct infer_select){renames[i].tensor, renames[i].name};
    s->select = sel;
    s->select_n = sel_n;
}

static enum rc gate_compile(struct compiler *c, struct graph_gate *gate, enum flow_join join,
                            const struct flow_ref *refs, size_t n,
                            const struct flow_rename *renames, size_t renames_n)
{
    uint32_t *points = arena_array(c->arena, uint32_t, n + 1);

    gate->join = join;
    gate->sources = arena_array(c->arena, struct graph_source, n + 1);
    for (size_t i = 0; i < n; i++)
        if (point_of(c, &refs[i], &points[i])) return c->g->why.rc;
    for (size_t i = 0; i < n; i++) {
        bool first = true;

        for (size_t k = 0; k < i; k++)
            first &= points[k] != points[i];
        if (!first) continue;
        gate->sources[gate->n].point = points[i];
        source_select(c, &gate->sources[gate->n++], refs, points, n, renames, renames_n);
    }
    return RC_OK;
}

static const struct flow_ref pipeline_inputs = {.inputs = true};

static enum rc step_compile(struct compiler *c, const struct flow_step_def *d,
                            struct graph_node *node)
{
    bool none = d->inputs_n == 0;

    node->name = d->name;
    node->window_ms = d->join_window_ms;
    node->batch_size = d->batch_size;
    node->batch_window_ms = d->batch_window_ms;
    if (gate_compile(c, &node->data, d->inputs_join, none ? &pipeline_inputs : d->inputs,
                     none ? 1 : d->inputs_n, d->renames, d->renames_n) ||
        gate_compile(c, &node->trigger, d->triggers_join, d->triggers, d->triggers_n, NULL, 0))
        return err_in(&c->g->why, "step " STR_FMT, STR_ARG(d->name));
    return RC_OK;
}

static enum rc output_compile(struct compiler *c, struct graph_node *node)
{
    const struct flow_pipeline_def *def = c->def;

    node->name = def->name;
    node->window_ms = def->output_window_ms;
    node->for_output = true;
    node->echo = def->output_n == 0;
    if (gate_compile(c, &node->data, def->output_join, node->echo ? &pipeline_inputs : def->output,
                     node->echo ? 1 : def->output_n, def->output_renames, def->output_renames_n))
        return err_in(&c->g->why, "output");
    return RC_OK;
}

static bool gate_reads(const struct graph_gate *gate, uint32_t point)
{
    for (size_t i = 0; i < gate->n; i++)
        if (gate->sources[i].point == point) return true;
    return false;
}

static void count_sources(const struct graph_gate *gate, uint32_t *counts)
{
    for (size_t i = 0; i < gate->n; i++)
        counts[gate->sources[i].point]++;
}

static void readers_list(struct compiler *c)
{
    struct graph *g = c->g;
    uint32_t *counts = arena_array(c->arena, uint32_t, g->points_n);

    g->readers = arena_array(c->arena, struct graph_readers, g->points_n);
    for (size_t i = 0; i < g->nodes_n; i++) {
        count_sources(&g->nodes[i].data, counts);
        count_sources(&g->nodes[i].trigger, counts);
    }
    for (size_t p = 0; p < g->points_n; p++)
        g->readers[p].nodes = arena_array(c->arena, uint32_t, counts[p] + 1);
    for (uint32_t i = 0; i < g->nodes_n; i++) {
        const struct graph_node *node = &g->nodes[i];

        for (size_t k = 0; k < node->data.n + node->trigger.n; k++) {
            bool data = k < node->data.n;
            uint32_t p = (data ? node->data.sources[k] : node->trigger.sources[k - node->data.n]).point;

            if (!data && gate_reads(&node->data, p)) continue;
            ((uint32_t *)g->readers[p].nodes)[g->readers[p].n++] = i;
        }
    }
}

/* Breadth first, from the output section upwards. A pipeline without one ends when all its steps have. */
static void mark_for_output(struct compiler *c)
{
    struct graph *g = c->g;
    uint32_t *queue = arena_array(c->arena, uint32_t, g->nodes_n + 1);
    size_t n = 0;

    if (!graph_has_output(g)) {
        for (size_t i = 0; i < g->nodes_n; i++)
            g->nodes[i].for_output = true;
        return;
    }
    queue[n++] = (uint32_t)g->steps_n;
    for (size_t at = 0; at < n; at++) {
        const struct graph_node *node = &g->nodes[queue[at]];

        for (size_t k = 0; k < node->data.n + node->trigger.n; k++) {
            bool data = k < node->data.n;
            uint32_t p = (data ? node->data.sources[k] : node->trigger.sources[k - node->data.n]).point;
            uint32_t step = (p - 1) / 2;

            if (p == 0 || g->nodes[step].for_output) continue;
            g->nodes[step].for_output = true;
            queue[n++] = step;
        }
    }
}

/* What a node feeds, depth first from the pipeline's inputs on: an edge to a node that is still open closes a cycle. The
 * nodes that such an edge leads to, and all behind them, may be visited again. */
struct walk {
    struct graph *g;
    uint8_t *colour;
    uint32_t *order;                             /* filled from its end: a node before all that it feeds */
    size_t left;
};

static void gate_mark(struct graph_gate *gate, size_t step, bool back)
{
    for (size_t i = 0; i < gate->n; i++) {
        struct graph_source *s = &gate->sources[i];

        if (s->point == 0 || (s->point - 1) / 2 != step) continue;
        if (back) s->back = true;
        else s->repeats = gate->repeats = true;
    }
}

static void walk_node(struct walk *w, uint32_t node)
{
    struct graph *g = w->g;

    w->colour[node] = OPEN;
    for (uint32_t p = graph_point_inputs(node); node < g->steps_n && p <= graph_point_outputs(node); p++)
        for (size_t i = 0; i < g->readers[p].n; i++) {
            uint32_t to = g->readers[p].nodes[i];

            if (w->colour[to] == UNSEEN) walk_node(w, to);
            if (w->colour[to] != OPEN) continue;
            g->nodes[to].repeats = true;
            gate_mark(&g->nodes[to].data, node, true);
            gate_mark(&g->nodes[to].trigger, node, true);
        }
    w->colour[node] = CLOSED;
    w->order[--w->left] = node;
}

static void repeats_spread(struct graph *g)
{
    for (size_t k = 0; k < g->nodes_n; k++) {
        uint32_t node = g->order[k];

        if (!g->nodes[node].repeats || node >= g->steps_n) continue;
        for (uint32_t p = graph_point_inputs(node); p <= graph_point_outputs(node); p++)
            for (size_t i = 0; i < g->readers[p].n; i++) {
                struct graph_node *to = &g->nodes[g->readers[p].nodes[i]];

                to->repeats = true;
                gate_mark(&to->data, node, false);
                gate_mark(&to->trigger, node, false);
            }
    }
}

static void cycles_mark(struct compiler *c)
{
    struct graph *g = c->g;
    struct walk w = {.g = g, .left = g->nodes_n};

    g->visits_max = MAX(c->def->max_step_revisits, 1u);
    if (!g->cyclic) return;
    w.colour = arena_array(c->arena, uint8_t, g->nodes_n);
    w.order = arena_array(c->arena, uint32_t, g->nodes_n);
    for (size_t i = 0; i < g->readers[0].n; i++)
        if (w.colour[g->readers[0].nodes[i]] == UNSEEN) walk_node(&w, g->readers[0].nodes[i]);
    for (uint32_t i = 0; i < g->nodes_n; i++)
        if (w.colour[i] == UNSEEN) walk_node(&w, i);
    g->order = w.order;
    repeats_spread(g);
}

static enum rc cycles_refuse(struct compiler *c)
{
    uint32_t *path = arena_array(c->arena, uint32_t, c->def->steps_n + 1);
    size_t n = graph_cycle(c->def, path);
    struct buf text = {0};
    enum rc rc;

    c->g->cyclic = n > 0;
    if (!n || c->def->allow_cycles) return RC_OK;
    for (size_t i = 0; i < n; i++)
        buf_printf(&text, "%s" STR_FMT, i ? " > " : "", STR_ARG(c->def->steps[path[i]].name));
    rc = err_set(&c->g->why, RC_INVALID, "the steps form a cycle: " STR_FMT, STR_ARG(buf_str(&text)));
    buf_fini(&text);
    return rc;
}

static enum rc shape_check(struct compiler *c)
{
    const struct flow_pipeline_def *def = c->def;

    if (def->steps_n == 0) return err_set(&c->g->why, RC_INVALID, "the pipeline has no steps");
    if (def->steps_n > GRAPH_STEPS_MAX)
        return err_set(&c->g->why, RC_INVALID, "%zu steps, at most %d are allowed", def->steps_n,
                       GRAPH_STEPS_MAX);
    for (size_t i = 0; i < def->steps_n; i++)
        if (map_put_str(&c->index, def->steps[i].name, (void *)(uintptr_t)(i + 1)))
            return err_set(&c->g->why, RC_INVALID, "two steps are named " STR_FMT,
                           STR_ARG(def->steps[i].name));
    return cycles_refuse(c);
}

static enum rc nodes_compile(struct compiler *c)
{
    struct graph *g = c->g;

    g->steps_n = c->def->steps_n;
    g->nodes_n = g->steps_n + (c->def->has_output ? 1 : 0);
    g->points_n = 1 + 2 * g->steps_n;
    g->nodes = arena_array(c->arena, struct graph_node, g->nodes_n);
    for (size_t i = 0; i < g->steps_n; i++)
        if (step_compile(c, &c->def->steps[i], &g->nodes[i])) return g->why.rc;
    return c->def->has_output ? output_compile(c, &g->nodes[g->steps_n]) : RC_OK;
}

struct graph *graph_compile(struct arena *a, const struct flow_pipeline_def *def)
{
    struct compiler c = {.arena = a, .g = arena_new(a, struct graph), .def = def};

    c.g->def = def;
    c.g->name = def->name;
    c.g->version = arena_printf(a, "%u", def->version);
    if (!shape_check(&c) && !nodes_compile(&c)) {
        readers_list(&c);
        mark_for_output(&c);
        cycles_mark(&c);
    }
    map_fini(&c.index);
    return c.g;
}

struct graph *graph_direct(struct arena *a, struct str model)
{
    struct graph *g = arena_new(a, struct graph);
    struct compiler c = {.arena = a, .g = g};
    struct graph_source *s = arena_new(a, struct graph_source);

    s->whole = true;
    s->text = arena_printf(a, STR_FMT ".inputs", STR_ARG(model));
    g->name = model;
    g->direct = true;
    g->steps_n = g->nodes_n = 1;
    g->points_n = 3;
    g->nodes = arena_new(a, struct graph_node);
    g->nodes[0] = (struct graph_node){.name = model, .data = {.sources = s, .n = 1}};
    readers_list(&c);
    mark_for_output(&c);
    return g;
}
