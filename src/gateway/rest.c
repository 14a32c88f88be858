/* The paths of the V2 protocol over HTTP; docs/inference-api.md lists them. SPDX-License-Identifier: Apache-2.0 */
#include "gateway/internal.h"
#include <stdio.h>

enum { SEGMENTS_MAX = 6 };

/* /v2/models/m/versions/1/infer cut at its slashes. More than SEGMENTS_MAX: n is too large to match anything. */
struct path {
    struct str s[SEGMENTS_MAX];
    size_t n;
};

static struct path path_of(struct str text)
{
    struct path p = {0};
    struct str head;

    if (text.n) text = (struct str){text.p + 1, text.n - 1};
    while (text.n) {
        bool more = str_cut(text, '/', &head, &text);

        if (p.n < SEGMENTS_MAX) p.s[p.n] = head;
        p.n++;
        if (more && !text.n) p.n = SEGMENTS_MAX + 1; /* a slash at the end */
    }
    return p;
}

static void not_found(struct exchange *x)
{
    struct err e;

    err_set(&e, RC_NOT_FOUND, "there is nothing at " STR_FMT, STR_ARG(x->path));
    answer_err(x, &e);
}

/* True: the method is right. Otherwise 405 was answered. */
static bool method_is(struct exchange *x, const char *method)
{
    char text[100];

    if (str_is(x->method, method) ||
        (str_is(x->method, "HEAD") && str_eq(STR("GET"), str_of(method))))
        return true;
    snprintf(text, sizeof text, "%s is wanted here, not " STR_FMT, method, STR_ARG(x->method));
    answer_error(x, 405, GRPC_UNIMPLEMENTED, str_of(text), 0);
    return false;
}

/* Who is meant: in a pipeline's path the path says (an experiment too); in a model's path a routing header wins. */
static enum rc who(struct gateway *g, struct exchange *x, const struct path *p,
                   struct resource *ret, struct err *e)
{
    struct str routed, version = p->n > 4 ? p->s[4] : (struct str){0};

    if (str_is(p->s[1], "pipelines")) {
        if (p->s[2].n && memchr(p->s[2].p, '.', p->s[2].n)) return resource_named(g, p->s[2], ret, e);
        *ret = (struct resource){.name = p->s[2]};
        return RC_OK;
    }
    if (resource_header(x, &routed)) return resource_named(g, routed, ret, e);
    if (resource_named(g, p->s[2], ret, e)) return e->rc;
    return version_check(g, ret, version, e);
}

/* /v2/models/… and /v2/pipelines/… */
static void resource_request(struct gateway *g, struct exchange *x, const struct path *p)
{
    bool versioned = p->n >= 5 && str_is(p->s[3], "versions") && str_is(p->s[1], "models");
    struct str verb = p->n == 4 ? p->s[3] : p->n == 6 ? p->s[5] : (struct str){0};
    struct resource r;
    struct err e;

    if (p->n < 3 || p->n > 6 || (p->n >= 5 && !versioned)) {
        not_found(x);
    } else if (str_is(verb, "infer")) {
        if (!method_is(x, "POST")) return;
        if (who(g, x, p, &r, &e))
            answer_err(x, &e);
        else
            infer_rest(g, x, &r);
    } else if (str_is(verb, "ready")) {
        if (!method_is(x, "GET")) return;
        if (who(g, x, p, &r, &e))
            answer_err(x, &e);
        else
            ask_ready(g, x, &r);
    } else if (!verb.n && p->n != 4 && p->n != 6) {
        if (!method_is(x, "GET")) return;
        if (who(g, x, p, &r, &e))
            answer_err(x, &e);
        else
            ask_metadata(g, x, &r);
    } else {
        not_found(x);
    }
}

static void health(struct gateway *g, struct exchange *x, bool ready)
{
    struct str why;

    if (!method_is(x, "GET")) return;
    if (ready && !process_ready(g, &why))
        answer_error(x, 503, GRPC_UNAVAILABLE, why, 0);
    else
        answer_empty(x, 200);
}

static void fixed(struct gateway *g, struct exchange *x,
                  void (*write)(const struct gateway *g, struct buf *ret))
{
    struct buf body = {0};

    write(g, &body);
    answer_json(x, 200, &body);
}

static void write_server(const struct gateway *g, struct buf *ret)
{
    server_metadata_of(g, ret, true);
}

static void write_index(const struct gateway *g, struct buf *ret)
{
    repository_index_of(g, false, ret, true);
}

static const struct route *route_of(const struct gateway *g, struct str path)
{
    const struct route *best = NULL;

    for (size_t i = 0; i < g->routes_n; i++)
        if (str_starts(path, g->routes[i].prefix) &&
            (!best || g->routes[i].prefix.n > best->prefix.n))
            best = &g->routes[i];
    return best;
}

void rest_request(struct gateway *g, struct exchange *x)
{
    struct path p = path_of(x->path);
    const struct route *route;

    if (p.n >= 3 && str_is(p.s[0], "v2") &&
        (str_is(p.s[1], "models") || str_is(p.s[1], "pipelines"))) {
        resource_request(g, x, &p);
    } else if (str_is(x->path, "/v2/health/live")) {
        health(g, x, false);
    } else if (str_is(x->path, "/v2/health/ready") || str_is(x->path, "/ready")) {
        health(g, x, true);
    } else if (str_is(x->path, "/v2") || str_is(x->path, "/v2/")) {
        if (method_is(x, "GET")) fixed(g, x, write_server);
    } else if (str_is(x->path, "/v2/repository/index")) {
        if (method_is(x, "POST")) fixed(g, x, write_index);
    } else if (str_is(x->path, "/metrics") && g->o.metrics) {
        if (method_is(x, "GET")) metrics_answer(g, x);
    } else if ((route = route_of(g, x->path))) {
        route->request(route->ctx, x);
    } else {
        not_found(x);
    }
}
