/* Experiments: which candidate a request goes to, and its copy for the mirror.
 *
 * A caller who sends back the x-seldon-route of an earlier answer gets the same candidate, as long as it is one; with an
 * idempotency key the draw follows from the key. Candidates that are not there are passed over.
 * SPDX-License-Identifier: Apache-2.0 */
#include "gateway/internal.h"

static bool there(const struct gateway *g, const struct flow_experiment *x, struct str name)
{
    return map_get_str(x->model ? &g->snapshot->model_by_name : &g->snapshot->pipeline_by_name, name) != NULL;
}

struct str route_text(const struct gateway *g, struct arena *a, const struct resource *r)
{
    const struct flow_model_def *m = r->model ? map_get_str(&g->snapshot->model_by_name, r->name) : NULL;

    if (m) return arena_printf(a, ":" STR_FMT "_%u:", STR_ARG(r->name), m->version);
    return arena_printf(a, ":" STR_FMT ".%s:", STR_ARG(r->name), r->model ? "model" : "pipeline");
}

static bool contains(struct str text, struct str what)
{
    for (size_t i = 0; i + what.n <= text.n; i++)
        if (memcmp(text.p + i, what.p, what.n) == 0) return true;
    return false;
}

static bool sticks(const struct exchange *x, struct str route)
{
    for (size_t i = 0; i < x->headers_n; i++)
        if (str_is(x->headers[i].name, "x-seldon-route") && contains(x->headers[i].value, route)) return true;
    return false;
}

static uint64_t draw(struct gateway *g, const struct exchange *x, uint64_t total)
{
    struct str key;
    uint64_t h = 1469598103934665603u;

    if (!exchange_header(x, STR("idempotency-key"), &key) || !key.n) return rng_below(&g->rng, total);
    for (size_t i = 0; i < key.n; i++)
        h = (h ^ (uint8_t)key.p[i]) * 1099511628211u;
    return (h ^ h >> 32) % total;
}

const struct flow_experiment *route_of_resource(const struct gateway *g, const struct resource *r)
{
    if (!g->snapshot) return NULL;
    if (r->experiment) return r->experiment;
    return map_get_str(r->model ? &g->snapshot->model_default : &g->snapshot->pipeline_default, r->name);
}

void route_choose(struct gateway *g, struct exchange *x, struct resource *r, struct str *ret_route)
{
    const struct flow_experiment *e = route_of_resource(g, r);
    uint64_t total = 0, at;

    if (!e) return;
    for (size_t i = 0; i < e->candidates_n; i++) {
        struct resource c = {.name = e->candidates[i].name, .model = e->model};

        if (!there(g, e, c.name)) continue;
        total += e->candidates[i].weight;
        *ret_route = route_text(g, &x->arena, &c);
        if (!sticks(x, *ret_route)) continue;
        *r = c;
        return;
    }
    at = total ? draw(g, x, total) : 0;
    for (size_t i = 0; total && i < e->candidates_n; i++) {
        if (!there(g, e, e->candidates[i].name)) continue;
        *r = (struct resource){.name = e->candidates[i].name, .model = e->model};
        if (at < e->candidates[i].weight) break;
        at -= e->candidates[i].weight;
    }
    *ret_route = route_text(g, &x->arena, r);
}

/* ---- the mirror ---- */

struct mirrored { struct flow_request flow; struct arena arena; };

static void mirror_done(struct flow_request *f)
{
    struct mirrored *m = container_of(f, struct mirrored, flow);

    flow_request_fini(&m->flow);
    arena_fini(&m->arena);
    free(m);
}

/* Copies take half of the room at most, so that a slow mirror never costs a caller his answer. */
static bool room(const struct gateway *g)
{
    struct flow_counters c;

    flow_count(g->o.flow, &c);
    return (!g->o.in_flight_max || c.runs_now < MAX(g->o.in_flight_max / 2, 1u)) &&
           (!g->o.in_flight_bytes_max || c.bytes_now <= g->o.in_flight_bytes_max / 2);
}

/* The same request once more; nobody waits for the answer. */
void route_mirror(struct gateway *g, const struct flow_experiment *e, const struct flow_request *from)
{
    struct mirrored *m;
    struct header *h;

    if (!e || !e->mirror.n || rng_below(&g->rng, 100) >= e->mirror_percent || g->draining || !room(g)) return;
    m = xnew(struct mirrored);
    h = arena_array(&m->arena, struct header, from->headers_n + 1);
    for (size_t i = 0; i < from->headers_n; i++)
        h[i] = (struct header){arena_dup_str(&m->arena, from->headers[i].name), arena_dup_str(&m->arena, from->headers[i].value)};
    m->flow = (struct flow_request){.name = arena_dup_str(&m->arena, e->mirror),
                                    .model = e->model,
                                    .message = arena_dup(&m->arena, from->message),
                                    .headers = h,
                                    .headers_n = from->headers_n,
                                    .request_id = arena_dup_str(&m->arena, from->request_id),
                                    .deadline_ms = from->deadline_ms,
                                    .done = mirror_done};
    flow_start(g->o.flow, &m->flow);
}
