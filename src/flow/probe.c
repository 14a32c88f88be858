/* Is a pipeline or a model ready now? Computed from live state: its topics and offsets, then every
 * model it calls is asked, all at once; the first refusal decides. SPDX-License-Identifier: Apache-2.0 */
#include "flow/executor.h"
#include <stdio.h>

struct asking {
    struct upstream_query query;
    struct probing *probing;
    struct str step;                             /* empty: the model or server that was asked about itself */
    bool open;
};

struct probing {
    struct flow *f;
    struct flow_probe *probe;
    struct flow_snapshot *snapshot;
    struct list link;
    struct timer timer;                          /* looks again while topics are being made; the deadline */
    struct asking *asks;
    size_t asks_n, open;
    bool busy;
};

enum { LOOK_AGAIN_MS = 20 };

static void probing_free(struct probing *g)
{
    timer_cancel(loop_timers(g->f->loop), &g->timer);
    list_remove(&g->link);
    flow_snapshot_unref(&g->snapshot);
    free(g->asks);
    free(g);
}

static const struct place *place_by_name(const struct flow *f, bool model, struct str name)
{
    return map_get_str(model ? &f->models : &f->pipelines, name);
}

/* Of the pipeline itself, or of one of its steps. */
static void warn(const struct flow *f, struct flow_probe *p)
{
    const struct place *own = p->server ? NULL : place_by_name(f, p->model, p->name), *at = own;
    const struct graph *g = own && !p->model ? own->pipeline->graph : NULL;

    for (size_t i = 0; g && !at->stranger && i < g->steps_n; i++) {
        const struct place *model = place_by_name(f, true, g->nodes[i].name);

        if (model && model->stranger) at = model;
    }
    p->warning[0] = 0;
    if (at && at->stranger)
        snprintf(p->warning, sizeof p->warning, "another engine (consumer group %s) takes the records of " STR_FMT " as its work, too: what they ask for is run twice; stop it",
                 at->stranger, STR_ARG(at->inputs.name));
}

/* Answers once; the questions still open are withdrawn. */
static void probing_end(struct probing *g, const struct err *e)
{
    struct flow_probe *p = g->probe;
    struct flow *f = g->f;

    g->busy = true;
    for (size_t i = 0; i < g->asks_n; i++)
        if (g->asks[i].open) upstream_query_cancel(g->f->up, &g->asks[i].query);
    probing_free(g);
    p->priv = NULL;
    p->err = *e;
    warn(f, p);
    p->done(p);
}

/* A server that does not know the question is there all the same. */
static bool answers_ready(const struct upstream_query *q)
{
    return q->err.rc ? q->err.rc == RC_UPSTREAM && !q->target->model.n : q->ready;
}

static enum rc not_ready(const struct asking *a, const char *why, struct err *e)
{
    err_set(e, RC_UNAVAILABLE, "%s", why ? why : a->query.target->model.n ? "the model is not ready" : "the server is not ready");
    return a->step.n ? err_in(e, "step " STR_FMT, STR_ARG(a->step)) : e->rc;
}

static void ask_done(struct upstream_query *q)
{
    struct asking *a = container_of(q, struct asking, query);
    struct probing *g = a->probing;
    bool ready = answers_ready(q);
    struct err e = {0};

    a->open = false;
    g->open--;
    if (!ready) not_ready(a, q->err.rc ? q->err.text : NULL, &e);
    buf_fini(&q->response);
    if (g->busy || (ready && g->open > 0)) return;
    probing_end(g, &e);
}

static enum rc ask_prepare(struct probing *g, struct asking *a, struct str step, struct err *e)
{
    const struct flow_model_def *m = map_get_str(&g->snapshot->model_by_name, step);

    if (!m)
        return err_set(e, RC_UNAVAILABLE, "step " STR_FMT ": there is no model of this name", STR_ARG(step));
    if (!m->placed) {
        err_set(e, RC_UNAVAILABLE, STR_FMT, STR_ARG(m->why));
        return g->probe->model ? e->rc : err_in(e, "step " STR_FMT, STR_ARG(step));
    }
    *a = (struct asking){.probing = g,
                         .step = g->probe->model ? STR("") : m->name,
                         .query = {.target = &m->target,
                                   .ask = UPSTREAM_READY,
                                   .deadline_ms = g->probe->deadline_ms,
                                   .done = ask_done}};
    return RC_OK;
}

static enum rc asks_prepare(struct probing *g, const struct graph *graph, struct err *e)
{
    g->asks = xnew_array(struct asking, graph->steps_n);
    for (size_t i = 0; i < graph->steps_n; i++)
        if (ask_prepare(g, &g->asks[g->asks_n++], graph->nodes[i].name, e)) return e->rc;
    return RC_OK;
}

static void asks_send(struct probing *g)
{
    struct err e = {0};

    g->busy = true;                              /* an answer from inside upstream_query() must not end it yet */
    g->open = g->asks_n;
    for (size_t i = 0; i < g->asks_n; i++)
        g->asks[i].open = true;
    for (size_t i = 0; i < g->asks_n; i++)
        upstream_query(g->f->up, &g->asks[i].query);
    g->busy = false;
    for (size_t i = 0; i < g->asks_n; i++)
        if (!g->asks[i].open && !answers_ready(&g->asks[i].query)) not_ready(&g->asks[i], NULL, &e);
    if (e.rc || g->open == 0) probing_end(g, &e);
}

static enum rc find(const struct flow *f, const struct flow_probe *p, struct place **ret_place,
                    const struct graph **ret_graph, struct err *e)
{
    *ret_place = map_get_str(p->model ? &f->models : &f->pipelines, p->name);
    if (!*ret_place)
        return err_set(e, RC_NOT_FOUND, "%s " STR_FMT " does not exist", p->model ? "model" : "pipeline",
                       STR_ARG(p->name));
    *ret_graph = p->model ? (*ret_place)->def->graph : (*ret_place)->pipeline->graph;
    if (!(*ret_graph)->why.rc) return RC_OK;
    *e = (*ret_graph)->why;
    e->rc = RC_UNAVAILABLE;
    return err_in(e, "pipeline " STR_FMT, STR_ARG(p->name));
}

static void look(struct timer *t)
{
    struct probing *g = container_of(t, struct probing, timer);
    struct flow *f = g->f;
    const struct graph *graph = NULL;
    struct place *place = NULL;
    bool wait = false;
    struct err e = {0};

    if (find(f, g->probe, &place, &graph, &e)) {
        probing_end(g, &e);
        return;
    }
    flow_snapshot_unref(&g->snapshot);
    g->snapshot = flow_snapshot_ref(f->snapshot);
    if (place_check(place, graph, &wait, &e) == RC_OK) {
        if (asks_prepare(g, graph, &e)) {
            g->asks_n = 0;
            probing_end(g, &e);
        } else {
            asks_send(g);
        }
    } else if (wait && loop_now_ms(f->loop) < g->probe->deadline_ms) {
        loop_timer(f->loop, &g->timer, LOOK_AGAIN_MS, look);
    } else {
        probing_end(g, &e);
    }
}

void flow_probe(struct flow *f, struct flow_probe *p)
{
    struct probing *g = xnew(struct probing);

    g->f = f;
    g->probe = p;
    p->priv = g;
    list_push(&f->probes, &g->link);
    if (!p->server) {
        look(&g->timer);
        return;
    }
    g->asks = xnew(struct asking);
    g->asks[g->asks_n++] = (struct asking){.probing = g,
                                           .query = {.target = p->server,
                                                     .ask = UPSTREAM_READY,
                                                     .deadline_ms = p->deadline_ms,
                                                     .done = ask_done}};
    asks_send(g);
}

void flow_probe_cancel(struct flow *f, struct flow_probe *p)
{
    struct err e;

    (void)f;
    if (!p->priv) return;
    err_set(&e, RC_CANCELLED, "nobody asks any more");
    probing_end(p->priv, &e);
}

void probes_end(struct flow *f)
{
    struct err e;

    err_set(&e, RC_UNAVAILABLE, "this process is stopping");
    while (!list_empty(&f->probes))
        probing_end(container_of(f->probes.next, struct probing, link), &e);
}
