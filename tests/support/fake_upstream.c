/* SPDX-License-Identifier: Apache-2.0 */
#include "fake_upstream.h"
#include "oip/pb.h"
#include "oip/proto.h"

enum { GRPC_INVALID_ARGUMENT = 3 };

struct upstream *fake_upstream_new(void)
{
    return xnew(struct upstream);
}

struct upstream *upstream_free(struct upstream *u)
{
    if (!u) return NULL;
    must(u->calls_n == 0);
    free(u->calls);
    free(u->queries);
    free(u);
    return NULL;
}

/* ---- the toys ---- */

static bool is(struct str name, const char *toy)
{
    struct str head, tail;

    str_cut(name, '-', &head, &tail);
    return str_is(head, toy);
}

static void put_tensor(struct buf *b, struct str name, const struct infer_tensor *like, struct bytes raw)
{
    size_t at = pb_begin(b, 5), inner;

    pb_put_str(b, 1, name);
    pb_put_str(b, 2, like->datatype);
    inner = pb_begin(b, 3);
    for (size_t i = 0; i < like->shape_n; i++)
        pb_put_varint(b, (uint64_t)like->shape[i]);
    pb_end(b, inner);
    inner = pb_begin(b, 5);
    infer_put_contents(b, like->type, raw);
    pb_end(b, inner);
    pb_end(b, at);
}

static void put_names(struct buf *b, struct upstream_call *c, const struct infer_view *v)
{
    pb_put_str(b, 1, c->target->model);
    pb_put_str(b, 2, STR("1"));
    pb_put_str(b, 3, v->id);
}

static void raw_of(const struct infer_tensor *t, struct buf *ret)
{
    struct err e;

    must(infer_tensor_raw(t, ret, &e) == RC_OK);
}

static void toy_float(struct upstream_call *c, const struct infer_view *v, float mul, float plus, bool sum)
{
    AUTO(buf_fini) struct buf raw = {0};
    struct buf *out = &c->response;

    raw_of(&v->tensors[0], &raw);
    for (size_t i = 0; i < raw.n / 4; i++) {
        float f;

        memcpy(&f, raw.p + 4 * i, 4);
        f = f * mul + plus;
        for (size_t t = 1; sum && t < v->tensors_n; t++) {
            AUTO(buf_fini) struct buf other = {0};
            float g;

            raw_of(&v->tensors[t], &other);
            if (other.n < 4 * i + 4) continue;
            memcpy(&g, other.p + 4 * i, 4);
            f += g;
        }
        memcpy(raw.p + 4 * i, &f, 4);
    }
    put_names(out, c, v);
    put_tensor(out, STR("OUTPUT"), &v->tensors[0], buf_view(&raw));
}

static void toy_echo(struct upstream_call *c, const struct infer_view *v)
{
    put_names(&c->response, c, v);
    for (size_t i = 0; i < v->tensors_n; i++) {
        AUTO(buf_fini) struct buf raw = {0};

        raw_of(&v->tensors[i], &raw);
        put_tensor(&c->response, v->tensors[i].name, &v->tensors[i], buf_view(&raw));
    }
}

static void toy_raw(struct upstream_call *c, const struct infer_view *v)
{
    struct infer_part part = {.view = v, .all = true};
    struct str name = STR("raw_1"), version = STR("1");
    struct infer_names names = {.model_name = &name, .model_version = &version};
    struct err e;

    must(infer_build(&part, 1, INFER_RESPONSE, &names, &c->response, NULL, &e) == RC_OK);
}

static void toy_conditional(struct upstream_call *c, const struct infer_view *v)
{
    AUTO(buf_fini) struct buf choice = {0}, raw = {0};
    const struct infer_tensor *t = infer_find(v, STR("CHOICE")), *pick;
    bool one;

    raw_of(t, &choice);
    one = choice.p[0] != 0;
    pick = infer_find(v, one ? STR("INPUT1") : STR("INPUT0"));
    raw_of(pick, &raw);
    put_names(&c->response, c, v);
    put_tensor(&c->response, one ? STR("OUTPUT1") : STR("OUTPUT0"), pick, buf_view(&raw));
}

static void put_answer_headers(struct upstream_call *c)
{
    static struct header const h[] = {
        {{"x-extra", 7}, {"same", 4}}, {{"x-model-hdr", 11}, {"h1", 2}},      {{"x-model-hdr", 11}, {"h2", 2}},
        {{"y-other", 7}, {"no", 2}},   {{"x-model-trailer", 15}, {"t1", 2}},
    };

    c->response_headers = xnew_array(struct header, countof(h));
    memcpy(c->response_headers, h, sizeof h);
    c->response_headers_n = countof(h);
}

void fake_model(struct upstream_call *c)
{
    AUTO(arena_fini) struct arena a = {0};
    struct str name = c->target->model;
    struct infer_view v;

    if (infer_parse(c->request, INFER_REQUEST, &a, &v, &c->err)) return;
    if (is(name, "mul10")) toy_float(c, &v, 10, 0, false);
    else if (is(name, "add10")) toy_float(c, &v, 1, 10, false);
    else if (is(name, "sum")) toy_float(c, &v, 1, 0, true);
    else if (is(name, "raw")) toy_raw(c, &v);
    else if (is(name, "conditional")) toy_conditional(c, &v);
    else if (is(name, "none")) put_names(&c->response, c, &v);
    else if (is(name, "garbage")) buf_append_str(&c->response, STR("\xff\xff\xff"));
    else if (is(name, "unavail")) err_set(&c->err, RC_UNAVAILABLE, "nobody listens there");
    else if (is(name, "error")) {
        buf_append_str(&c->message, STR("this model always fails"));
        c->grpc_code = GRPC_INVALID_ARGUMENT;
        err_set(&c->err, RC_UPSTREAM, "this model always fails");
    } else toy_echo(c, &v);
    if (is(name, "hdr")) put_answer_headers(c);
}

/* ---- calls ---- */

static void drop(struct upstream *u, size_t i)
{
    memmove(u->calls + i, u->calls + i + 1, (--u->calls_n - i) * sizeof *u->calls);
}

static void finish(struct upstream *u, size_t i)
{
    struct upstream_call *c = u->calls[i];

    drop(u, i);
    c->err = (struct err){0};
    if (u->model) u->model(u->ctx, c);
    else fake_model(c);
    c->done(c);
}

void upstream_call(struct upstream *u, struct upstream_call *c)
{
    u->calls = xrealloc(u->calls, u->calls_n + 1, sizeof *u->calls);
    u->calls[u->calls_n++] = c;
    u->started++;
    u->most_at_once = MAX(u->most_at_once, (unsigned)u->calls_n);
    if (u->sync) finish(u, u->calls_n - 1);
}

void upstream_cancel(struct upstream *u, struct upstream_call *c)
{
    for (size_t i = 0; i < u->calls_n; i++)
        if (u->calls[i] == c) {
            drop(u, i);
            u->cancelled++;
            err_set(&c->err, RC_CANCELLED, "cancelled");
            c->done(c);
            return;
        }
    must(false && "a call in flight");
}

void upstream_call_fini(struct upstream_call *c)
{
    buf_fini(&c->message);
    buf_fini(&c->response);
    free(c->response_headers);
    c->response_headers = NULL;
    c->response_headers_n = 0;
}

bool fake_upstream_turn(struct upstream *u)
{
    bool any = false;

    for (size_t i = 0; i < u->calls_n && !u->hold;) {
        struct str name = u->calls[i]->target->model;

        if (is(name, "slow") || is(name, "hang")) {
            i++;
            continue;
        }
        finish(u, i);
        any = true;
        i = 0;
    }
    while (u->queries_n) {
        struct upstream_query *q = u->queries[--u->queries_n];

        q->err = (struct err){0};
        q->ready = !u->not_ready && !str_eq(q->target->model, u->not_ready_model);
        q->done(q);
        any = true;
    }
    return any;
}

bool fake_upstream_finish(struct upstream *u, const char *model)
{
    for (size_t i = 0; i < u->calls_n; i++)
        if (str_is(u->calls[i]->target->model, model)) {
            finish(u, i);
            return true;
        }
    return false;
}

void upstream_query(struct upstream *u, struct upstream_query *q)
{
    u->queries = xrealloc(u->queries, u->queries_n + 1, sizeof *u->queries);
    u->queries[u->queries_n++] = q;
}

enum rc upstream_look(const struct upstream_target *t, struct err *e)
{
    (void)t, (void)e;
    return RC_OK;
}

void upstream_query_cancel(struct upstream *u, struct upstream_query *q)
{
    for (size_t i = 0; i < u->queries_n; i++)
        if (u->queries[i] == q) {
            u->queries[i] = u->queries[--u->queries_n];
            err_set(&q->err, RC_CANCELLED, "cancelled");
            q->done(q);
            return;
        }
}

void upstream_tallies(const struct upstream *u, void (*each)(void *ctx, const struct upstream_tally *t), void *ctx)
{
    const struct upstream_tally t = {STR("fake"), STR("any"), false, 0, u->started, 0};

    each(ctx, &t);
}
