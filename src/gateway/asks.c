/* Questions that somebody else answers: is it ready, what does it look like. SPDX-License-Identifier: Apache-2.0 */
#include "gateway/internal.h"
#include "net/loop.h"
#include "oip/json.h"
#include "oip/pb.h"
#include "oip/service.h"

enum { QUERY_MS = 10000 };

/* In its exchange's arena. The snapshot keeps the target alive. */
struct ask {
    struct gateway *g;
    struct exchange *x;
    struct resource r;
    struct flow_probe probe;
    struct upstream_query query;
    struct flow_snapshot *snapshot;
    bool gone;
};

static struct ask *ask_new(struct gateway *g, struct exchange *x, const struct resource *r)
{
    struct ask *a = arena_new(&x->arena, struct ask);

    a->g = g;
    a->x = x;
    a->r = *r;
    x->priv = a;
    return a;
}

static uint64_t until(const struct gateway *g, struct exchange *x)
{
    uint64_t deadline, latest = x->arrived_ms + QUERY_MS;
    struct err e;

    return deadline_of(g, x, &deadline, &e) == RC_OK ? MIN(deadline, latest) : latest;
}

bool process_ready(const struct gateway *g, struct str *ret_why)
{
    *ret_why = STR("this process is stopping");
    if (g->draining) return false;
    return !g->o.ready || g->o.ready(g->o.ready_ctx, ret_why);
}

/* ---- Ready ---- */

static void ready_answer(struct exchange *x, const struct err *e)
{
    struct buf out = {0};

    if (e->rc == RC_NOT_FOUND || e->rc == RC_INVALID) {
        answer_err(x, e);
    } else if (x->grpc) {
        flag_encode(e->rc == RC_OK, &out);
        answer_message(x, &out);
    } else if (e->rc) {
        answer_error(x, 424, GRPC_UNAVAILABLE, str_of(e->text), 0);
    } else {
        answer_empty(x, 200);
    }
}

static void probe_done(struct flow_probe *p)
{
    struct ask *a = container_of(p, struct ask, probe);
    struct err e = p->err;

    if (a->gone) return;
    a->x->gone = NULL;
    ready_answer(a->x, &e);
}

static void probe_gone(struct exchange *x)
{
    struct ask *a = x->priv;

    a->gone = true;
    flow_probe_cancel(a->g->o.flow, &a->probe);
}

void ask_ready(struct gateway *g, struct exchange *x, const struct resource *r)
{
    struct ask *a = ask_new(g, x, r);
    struct str why;

    if (!process_ready(g, &why)) {
        struct buf out = {0};

        if (x->grpc)
            answer_message(x, &out); /* ready = false */
        else
            answer_error(x, 503, GRPC_UNAVAILABLE, why, 0);
        return;
    }
    a->probe = (struct flow_probe){
        .name = r->name, .model = r->model, .deadline_ms = until(g, x), .done = probe_done};
    x->gone = probe_gone;
    flow_probe(g->o.flow, &a->probe);
}

/* ---- Metadata ---- */

static void metadata_answer(struct exchange *x, const struct model_metadata *m)
{
    struct buf out = {0};

    if (x->grpc) {
        model_metadata_encode(m, &out);
        answer_message(x, &out);
    } else {
        model_metadata_encode_json(m, &out);
        answer_json(x, 200, &out);
    }
}

static void query_answer(struct ask *a, struct upstream_query *q)
{
    struct exchange *x = a->x;
    struct model_metadata m = {0};
    struct err e = q->err;
    struct buf empty = {0};

    if (e.rc == RC_OK && q->ask == UPSTREAM_LOAD) {
        answer_message(x, &empty);
    } else if (e.rc || model_metadata_decode(buf_view(&q->response), &x->arena, &m, &e)) {
        err_in(&e, STR_FMT, STR_ARG(a->r.name));
        answer_err(x, &e);
    } else {
        m.name = a->r.name;
        metadata_answer(x, &m);
    }
}

static void query_done(struct upstream_query *q)
{
    struct ask *a = container_of(q, struct ask, query);
    struct flow_snapshot *snapshot = a->snapshot;
    struct buf response = q->response;

    if (!a->gone) {
        a->x->gone = NULL;
        query_answer(a, q);
    }
    buf_fini(&response);
    flow_snapshot_unref(&snapshot);
}

static void query_gone(struct exchange *x)
{
    struct ask *a = x->priv;

    a->gone = true;
    upstream_query_cancel(a->g->o.upstream, &a->query);
}

static void query(struct gateway *g, struct exchange *x, const struct resource *r,
                  enum upstream_ask what)
{
    const struct flow_model_def *m =
        g->snapshot ? map_get_str(&g->snapshot->model_by_name, r->name) : NULL;
    struct ask *a;
    struct err e;

    if (!m || !r->model) {
        err_set(&e, RC_NOT_FOUND, "model " STR_FMT " does not exist", STR_ARG(r->name));
        answer_err(x, &e);
        return;
    }
    if (!m->placed) {
        answer_error(x, 503, GRPC_UNAVAILABLE, m->why, 0);
        return;
    }
    a = ask_new(g, x, r);
    a->snapshot = flow_snapshot_ref(g->snapshot);
    a->query = (struct upstream_query){
        .target = &m->target, .ask = what, .deadline_ms = until(g, x), .done = query_done};
    x->gone = query_gone;
    upstream_query(g->o.upstream, &a->query);
}

static void pipeline_metadata(struct gateway *g, struct exchange *x, const struct resource *r)
{
    const struct flow_pipeline_def *p =
        g->snapshot ? map_get_str(&g->snapshot->pipeline_by_name, r->name) : NULL;
    struct str version;
    struct model_metadata m = {
        .name = r->name, .platform = STR("pipeline"), .versions = &version, .versions_n = 1};
    struct err e;

    if (!p) {
        err_set(&e, RC_NOT_FOUND, "pipeline " STR_FMT " does not exist", STR_ARG(r->name));
        answer_err(x, &e);
        return;
    }
    version = arena_printf(&x->arena, "%u", p->version);
    metadata_answer(x, &m);
}

void ask_metadata(struct gateway *g, struct exchange *x, const struct resource *r)
{
    if (r->model)
        query(g, x, r, UPSTREAM_METADATA);
    else
        pipeline_metadata(g, x, r);
}

/* A model is there because its resource says so; asking to load it again passes the wish on to its server. */
void ask_load(struct gateway *g, struct exchange *x, const struct resource *r)
{
    query(g, x, r, UPSTREAM_LOAD);
}

void server_metadata_of(const struct gateway *g, struct buf *ret, bool json)
{
    static const struct str extensions[] = {{"binary_tensor_data", 18}, {"model_repository", 16}};
    const struct server_metadata m = {g->o.name, g->o.version, extensions, countof(extensions)};

    if (json)
        server_metadata_encode_json(&m, ret);
    else
        server_metadata_encode(&m, ret);
}

void repository_index_of(const struct gateway *g, bool ready_only, struct buf *ret, bool json)
{
    size_t n = g->snapshot ? g->snapshot->models_n : 0, k = 0;
    struct arena a = {0};
    struct model_index *list = arena_array(&a, struct model_index, n);
    struct repository_index index;

    for (size_t i = 0; i < n; i++) {
        const struct flow_model_def *m = g->snapshot->models[i];

        if (ready_only && !m->placed) continue;
        list[k++] = (struct model_index){m->name, arena_printf(&a, "%u", m->version),
                                         m->placed ? STR("READY") : STR("UNAVAILABLE"), m->why};
    }
    index = (struct repository_index){list, k};
    if (json)
        repository_index_encode_json(&index, ret);
    else
        repository_index_encode(&index, ret);
    arena_fini(&a);
}
