/* Model calls. A model takes so many at once; the rest wait in its queue, oldest first, until there
 * is room or their run ends. The number waiting is bounded by the runs of this executor.
 *
 * Answers go to the run by its list of finished calls, never by a nested call: a model that refuses
 * at once, from inside upstream_call(), must not grow the stack. SPDX-License-Identifier: Apache-2.0 */
#include "flow/executor.h"

enum { GRPC_INTERNAL = 13, HTTP_BAD_GATEWAY = 502, RETRY_AFTER_MS = 1000 };

void call_finish(struct run_call *c)
{
    c->state = CALL_DONE;
    if (!c->stopped) list_push(&c->r->calls_done, &c->link);
}

static void call_done(struct upstream_call *up)
{
    struct run_call *c = container_of(up, struct run_call, up);
    struct flow_run *r = c->r;
    struct place *model = c->model;
    bool stopped = c->stopped;
    struct batch_line *line = c->line;

    model->refs++;
    c->line = NULL;
    call_finish(c);
    model->calls_now--;
    if (!stopped && !r->stepping) flow_run_event(r, NULL);
    calls_kick(model);
    if (line) batch_returned(line);
    if (!list_empty(&model->lines)) batch_kick_all(model);
    place_unref(model);
}

void call_fly(struct run_call *c)
{
    c->state = CALL_FLYING;
    c->model->calls_now++;
    upstream_call(c->r->f->up, &c->up);
}

/* Not recursive: a call that ends at once comes back here while the loop runs, and changes its count. */
void calls_kick(struct place *model)
{
    uint32_t max = MAX(model->f->o.model_concurrency, 1u);
    struct list *l;

    if (model->kicking || model->f->closed) return;
    model->kicking = true;
    while (model->calls_now < max && (l = list_pop(&model->calls_waiting)))
        call_fly(container_of(l, struct run_call, link));
    model->kicking = false;
}

static void call_refuse(struct run_call *c, struct str why)
{
    err_set(&c->up.err, RC_UNAVAILABLE, STR_FMT, STR_ARG(why));
    call_finish(c);
}

/* A step whose model is the default of an experiment calls one of the candidates. Called directly, the gateway has chosen. */
static const struct flow_model_def *candidate_of(struct flow_run *r, const struct flow_model_def *def)
{
    const struct flow_experiment *x = map_get_str(&r->snapshot->model_default, def->name);
    const struct flow_model_def *chosen = def;
    uint64_t total = 0, at;

    for (size_t i = 0; x && i < x->candidates_n; i++) {
        const struct flow_model_def *m = map_get_str(&r->snapshot->model_by_name, x->candidates[i].name);

        if (m && m->placed) total += x->candidates[i].weight;
    }
    at = total ? rng_below(&r->f->rng, total) : 0;
    for (size_t i = 0; total && i < x->candidates_n; i++) {
        const struct flow_model_def *m = map_get_str(&r->snapshot->model_by_name, x->candidates[i].name);

        if (!m || !m->placed) continue;
        chosen = m;
        if (at < x->candidates[i].weight) break;
        at -= x->candidates[i].weight;
    }
    return chosen;
}

static void call_prepare(struct run_call *c, const struct flow_model_def *def)
{
    struct flow_run *r = c->r;
    const struct run_point *p = &r->run.points[graph_point_inputs(c->node)];
    struct headers h = headers_call(&r->run.arena, p->headers, def->name);

    c->up = (struct upstream_call){
        .target = &def->target,
        .request = p->message,
        .headers = h.v,
        .headers_n = h.n,
        .deadline_ms = r->run.graph->nodes[c->node].for_output ? r->deadline_ms : r->last_ms,
        .attempts = r->f->o.attempts,
        .backoff_ms = r->f->o.backoff_ms,
        .done = call_done,
    };
}

void call_step(struct flow_run *r, uint32_t node)
{
    struct run_call *c = &r->calls[node];
    const struct flow_model_def *def = r->run.graph->nodes[node].model;

    if (!def || !c->model) {
        call_refuse(c, STR("there is no model of this name"));
        return;
    }
    if (!def->placed) {
        call_refuse(c, def->why.n ? def->why : STR("no server fits the model"));
        return;
    }
    if (!r->run.graph->direct && r->snapshot->experiments_n) def = candidate_of(r, def);
    call_prepare(c, def);
    if (c->joins) {
        batch_step(c);
        return;
    }
    c->state = CALL_WAITING;
    list_push(&c->model->calls_waiting, &c->link);
    calls_kick(c->model);
}

void call_stop(struct run_call *c)
{
    c->stopped = true;
    if (c->set) batch_unwait(c);
    list_remove(&c->link);
    if (c->batch) batch_leave(c);
    else if (c->state == CALL_FLYING) upstream_cancel(c->r->f->up, &c->up);
    c->state = CALL_DONE;
}

static const char *const grpc_names[] = {
    "OK",          "Canceled",        "Unknown",          "InvalidArgument",    "DeadlineExceeded",
    "NotFound",    "AlreadyExists",   "PermissionDenied", "ResourceExhausted",  "FailedPrecondition",
    "Aborted",     "OutOfRange",      "Unimplemented",    "Internal",           "Unavailable",
    "DataLoss",    "Unauthenticated",
};

/* The text of a model's own error, as the error record has always carried it: gRPC's code and
 * description in the words of its Go client, a REST answer's body as it came. */
static struct str upstream_text(const struct run_call *c, const struct upstream_call *up)
{
    struct str own = up->message.n ? buf_str(&up->message) : str_of(up->err.text);
    bool named = up->grpc_code >= 0 && up->grpc_code < (int)countof(grpc_names);

    if (!up->target || up->target->kind != UPSTREAM_GRPC) return own;
    if (!named)
        return arena_printf(&c->r->run.arena, "rpc error: code = Code(%d) desc = " STR_FMT,
                            up->grpc_code, STR_ARG(own));
    return arena_printf(&c->r->run.arena, "rpc error: code = %s desc = " STR_FMT,
                        grpc_names[up->grpc_code], STR_ARG(own));
}

static void failure_event(const struct run_call *c, const struct upstream_call *up, struct run_event *ev)
{
    ev->kind = RUN_EV_FAILURE;
    ev->rc = up->err.rc;
    ev->text = str_of(up->err.text);
    if (ev->rc == RC_UPSTREAM) {
        ev->grpc_code = up->grpc_code;
        ev->http_status = up->http_status;
        ev->text = upstream_text(c, up);
    } else if (ev->rc == RC_INVALID) {           /* what came back is no answer: the model's fault */
        ev->rc = RC_UPSTREAM;
        ev->grpc_code = GRPC_INTERNAL;
        ev->http_status = HTTP_BAD_GATEWAY;
    } else if (ev->rc == RC_CANCELLED) {         /* not by us */
        ev->rc = RC_UNAVAILABLE;
    }
    if (ev->rc == RC_UNAVAILABLE) ev->retry_after_ms = RETRY_AFTER_MS;
}

void call_event(const struct run_call *c, struct upstream_call *up, struct run_event *ev)
{
    *ev = (struct run_event){
        .node = c->node,
        .now_ms = clock_wall_ms(loop_clock(c->r->f->loop)),
        .headers = up->response_headers,
        .headers_n = up->response_headers_n,
    };
    if (up->err.rc) {
        failure_event(c, up, ev);
        return;
    }
    ev->kind = RUN_EV_RESPONSE;
    ev->response = &up->response;
}
