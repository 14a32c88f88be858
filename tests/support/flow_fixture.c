/* SPDX-License-Identifier: Apache-2.0 */
#include "flow_fixture.h"
#include "oip/pb.h"
#include "oip/proto.h"
#include <stdio.h>

/* ---- definitions ---- */

static struct flow_ref ref_read(struct str text, struct str pipeline)
{
    struct flow_ref r = {0};
    struct str rest, dir;

    str_cut(text, '.', &r.step, &rest);
    str_cut(rest, '.', &dir, &r.tensor);
    r.inputs = str_is(dir, "inputs");
    if (str_eq(r.step, pipeline)) {
        r.step = (struct str){0};
        r.inputs = true;
    }
    return r;
}

static struct flow_ref *refs_read(struct arena *a, struct str text, struct str pipeline, size_t *ret_n)
{
    struct flow_ref *refs = arena_array(a, struct flow_ref, text.n + 1);
    struct str one;

    while (text.n) {
        str_cut(text, ',', &one, &text);
        refs[(*ret_n)++] = ref_read(one, pipeline);
    }
    return refs;
}

static struct flow_rename *renames_read(struct arena *a, struct str text, size_t *ret_n)
{
    struct flow_rename *renames = arena_array(a, struct flow_rename, text.n + 1);
    struct str one, from, dir;

    while (text.n) {
        struct flow_rename *r = &renames[(*ret_n)++];

        str_cut(text, ',', &one, &text);
        str_cut(one, ':', &from, &r->name);
        str_cut(from, '.', &r->source, &from);
        str_cut(from, '.', &dir, &r->tensor);
        r->inputs = str_is(dir, "inputs");
    }
    return renames;
}

static enum flow_join join_read(struct str s)
{
    return str_is(s, "any") ? FLOW_ANY : str_is(s, "outer") ? FLOW_OUTER : FLOW_INNER;
}

static uint32_t number_read(struct str s)
{
    int64_t n = 0;

    must(str_to_i64(s, &n));
    return (uint32_t)n;
}

static struct str word(struct str *rest)
{
    struct str w = {0};

    while (rest->n && rest->p[0] == ' ')
        rest->p++, rest->n--;
    str_cut(*rest, ' ', &w, rest);
    return w;
}

static struct flow_external *externals_read(struct arena *a, struct str text, size_t *ret_n)
{
    struct flow_external *all = arena_array(a, struct flow_external, text.n + 1);
    struct str one, dir;

    while (text.n) {
        struct flow_external *x = &all[(*ret_n)++];

        str_cut(text, ',', &one, &text);
        str_cut(one, '.', &x->pipeline, &one);
        str_cut(one, '.', &dir, &one);
        if (str_is(dir, "step")) {
            str_cut(one, '.', &x->step, &one);
            str_cut(one, '.', &dir, &one);
        }
        x->inputs = str_is(dir, "inputs");
        x->tensor = one;
    }
    return all;
}

static void input_read(struct arena *a, struct str text, struct flow_pipeline_def *p)
{
    for (struct str w; (w = word(&text)).n;) {
        struct str key, value;

        str_cut(w, '=', &key, &value);
        if (str_is(w, "<")) p->external_inputs = externals_read(a, word(&text), &p->external_inputs_n);
        else if (str_is(w, "!")) p->external_triggers = externals_read(a, word(&text), &p->external_triggers_n);
        else if (str_is(key, "join")) p->external_join = join_read(value);
        else if (str_is(key, "tjoin")) p->external_triggers_join = join_read(value);
        else if (str_is(key, "window")) p->external_window_ms = number_read(value);
        else if (str_is(key, "map")) {
            struct str from;
            size_t n = 0;

            p->external_renames = arena_array(a, struct flow_external_rename, 1);
            str_cut(value, ':', &from, &p->external_renames[0].name);
            p->external_renames[0].from = externals_read(a, from, &n)[0];
            p->external_renames_n = 1;
        } else must(false && "a word of an input section");
    }
}

static void step_read(struct arena *a, struct str text, struct flow_pipeline_def *p)
{
    struct flow_step_def d = {.name = word(&text)};
    bool out = str_is(d.name, "out");

    if (str_is(d.name, "in")) {
        input_read(a, text, p);
        return;
    }
    for (struct str w; (w = word(&text)).n;) {
        struct str key, value;

        str_cut(w, '=', &key, &value);
        if (str_is(w, "<")) d.inputs = refs_read(a, word(&text), p->name, &d.inputs_n);
        else if (str_is(w, "!")) d.triggers = refs_read(a, word(&text), p->name, &d.triggers_n);
        else if (str_is(key, "join")) d.inputs_join = join_read(value);
        else if (str_is(key, "tjoin")) d.triggers_join = join_read(value);
        else if (str_is(key, "map")) d.renames = renames_read(a, value, &d.renames_n);
        else if (str_is(key, "window")) d.join_window_ms = number_read(value);
        else if (str_is(key, "batch")) d.batch_size = number_read(value);
        else if (str_is(key, "bwindow")) d.batch_window_ms = number_read(value);
        else if (str_is(key, "cycles")) {
            p->allow_cycles = true;
            p->max_step_revisits = number_read(value);
        }
        else must(false && "a word of a step");
    }
    if (!out) {
        p->steps[p->steps_n++] = d;
        return;
    }
    p->has_output = true;
    p->output = d.inputs;
    p->output_n = d.inputs_n;
    p->output_join = d.inputs_join;
    p->output_window_ms = d.join_window_ms;
    p->output_renames = d.renames;
    p->output_renames_n = d.renames_n;
}

struct flow_pipeline_def *fixture_pipeline(struct arena *a, const char *line)
{
    struct flow_pipeline_def *p = arena_new(a, struct flow_pipeline_def);
    struct str rest = arena_dup_str(a, str_of(line)), one;

    str_cut(rest, ':', &p->name, &rest);
    p->version = 1;
    p->steps = arena_array(a, struct flow_step_def, rest.n + 1);
    while (rest.n) {
        str_cut(rest, ';', &one, &rest);
        step_read(a, one, p);
    }
    return p;
}

static void model_add(struct flow_snapshot *s, struct str name)
{
    struct flow_model_def *m;

    for (size_t i = 0; i < s->models_n; i++)
        if (str_eq(s->models[i]->name, name)) return;
    m = arena_new(&s->arena, struct flow_model_def);
    m->name = arena_dup_str(&s->arena, name);
    m->version = 1;
    m->placed = !str_starts(name, STR("unplaced"));
    m->why = STR("no server has its requirements: sklearn");
    m->target = (struct upstream_target){.kind = UPSTREAM_GRPC, .address = STR("127.0.0.1:1"), .model = m->name};
    s->models[s->models_n++] = m;
}

static struct flow_snapshot *snapshot_make(uint32_t number, const char *const *pipelines, const char *const *models)
{
    enum { MODELS_MAX = 4096, PIPELINES_MAX = 64 };
    struct flow_snapshot *s = flow_snapshot_new();

    s->number = number;
    s->models = arena_array(&s->arena, struct flow_model_def *, MODELS_MAX);
    s->pipelines = arena_array(&s->arena, struct flow_pipeline_def *, PIPELINES_MAX);
    for (size_t i = 0; pipelines && pipelines[i]; i++) {
        struct flow_pipeline_def *p = fixture_pipeline(&s->arena, pipelines[i]);

        s->pipelines[s->pipelines_n++] = p;
        for (size_t k = 0; k < p->steps_n; k++)
            if (!str_starts(p->steps[k].name, STR("missing"))) model_add(s, p->steps[k].name);
    }
    for (size_t i = 0; models && models[i]; i++)
        model_add(s, str_of(models[i]));
    return s;
}

struct flow_snapshot *fixture_snapshot(const char *line)
{
    struct flow_snapshot *s = snapshot_make(1, (const char *const[]){line, NULL}, NULL);

    flow_snapshot_seal(s);
    return s;
}

void fixture_apply(struct fixture *x, const char *const *pipelines, const char *const *models)
{
    struct flow_snapshot *s = snapshot_make(++x->version, pipelines, models);

    if (x->older) {
        s->older = arena_new(&s->arena, struct flow_pipeline_def *);
        s->older[s->older_n++] = fixture_pipeline(&s->arena, x->older);
        s->pipelines[0]->version = 2;
    }
    flow_snapshot_seal(s);
    flow_snapshot_unref(&x->snapshot);
    x->snapshot = s;
    flow_use(x->flow, s);
}

/* ---- life ---- */

void fixture_options(struct fixture *x)
{
    static const struct str deny[] = {{"authorization", 13}, {"x-api-key", 9}, {"x-auth-*", 8}};

    *x = (struct fixture){0};
    x->o = (struct flow_options){
        .topic_prefix = STR("seldon"),
        .topic_namespace = STR("default"),
        .partitions = 1,
        .replication = 1,
        .message_bytes_max = 1 << 20,
        .models_logged = true,
        .join_window_ms = 60000,
        .timeout_ms = 120000,
        .timeout_ms_max = 3600000,
        .recover_grace_ms = 5000,
        .recover_within_ms = 86400000,
        .idempotency_window_ms = 600000,
        .runs_max = 10000,
        .runs_bytes_max = 1 << 30,
        .model_concurrency = 256,
        .attempts = 5,
        .backoff_ms = 100,
        .headers_deny = deny,
        .headers_deny_n = countof(deny),
        .loops_n = 1,
    };
}

void fixture_open(struct fixture *x)
{
    struct err e;

    if (!x->bus) {
        clock_sim_init(&x->clock, 1795366907180);
        x->bus = fake_bus_new();
    }
    must(loop_new(&x->clock.clock, &x->loop, &e) == RC_OK);
    x->up = fake_upstream_new();
    must(flow_new(x->loop, &x->bus->bus, x->up, &x->o, &x->flow, &e) == RC_OK);
}

void fixture_start(struct fixture *x, const char *line)
{
    fixture_options(x);
    fixture_open(x);
    if (!line) return;
    APPLY(x, line);
    fixture_settle(x);
}

static void shut(struct fixture *x)
{
    x->flow = flow_free(x->flow);
    if (x->bus->hold) fake_bus_release(x->bus);
    fake_bus_tick(x->bus);
    fixture_settle(x);
    flow_snapshot_unref(&x->snapshot);
    x->up = upstream_free(x->up);
    x->loop = loop_free(x->loop);
}

void fixture_reopen(struct fixture *x, const char *incarnation)
{
    shut(x);
    fake_bus_restart(x->bus, incarnation);
    fixture_open(x);
}

void fixture_close(struct fixture *x)
{
    shut(x);
    fake_bus_close(x->bus);
}

void fixture_settle(struct fixture *x)
{
    do {
        x->bus->wall_ms = x->clock.wall_ms;
        loop_turn(x->loop, 0);
    } while (fake_upstream_turn(x->up) || mailbox_pending(loop_mailbox(x->loop)));
    loop_turn(x->loop, 0);
}

void fixture_advance(struct fixture *x, uint64_t ms)
{
    fixture_settle(x);
    clock_sim_advance(&x->clock, ms * 1000);
    fake_bus_tick(x->bus);
    fixture_settle(x);
}

/* ---- messages ---- */

static size_t floats_read(struct str text, float *v, bool *ret_raw)
{
    struct str one;
    size_t n = 0;

    *ret_raw = text.n && text.p[0] == 'r';
    if (*ret_raw) text.p++, text.n--;
    while (text.n) {
        int64_t i = 0;

        str_cut(text, ',', &one, &text);
        must(str_to_i64(one, &i));
        v[n++] = (float)i;
    }
    return n;
}

void message_write(struct buf *b, const char *text)
{
    AUTO(buf_fini) struct buf raws = {0};
    struct str rest = str_of(text), one, name;
    float v[256];

    while (rest.n) {
        size_t at, inner, n;
        bool raw;

        str_cut(rest, ';', &one, &rest);
        str_cut(one, '=', &name, &one);
        n = floats_read(one, v, &raw);
        at = pb_begin(b, 5);
        pb_put_str(b, 1, name);
        pb_put_str(b, 2, STR("FP32"));
        inner = pb_begin(b, 3);
        pb_put_varint(b, n);
        pb_end(b, inner);
        if (!raw) {
            inner = pb_begin(b, 5);
            infer_put_contents(b, DT_FP32, bytes_of(v, 4 * n));
            pb_end(b, inner);
        } else {
            pb_put_bytes(&raws, 7, bytes_of(v, 4 * n));
        }
        pb_end(b, at);
    }
    buf_append(b, buf_view(&raws));
}

const char *message_text(struct bytes message)
{
    static char text[4096];
    AUTO(arena_fini) struct arena a = {0};
    struct infer_view v;
    struct err e;
    size_t n = 0;

    text[0] = 0;
    if (infer_parse(message, INFER_RESPONSE, &a, &v, &e)) return "not a message";
    for (size_t i = 0; i < v.tensors_n; i++) {
        AUTO(buf_fini) struct buf raw = {0};

        must(infer_tensor_raw(&v.tensors[i], &raw, &e) == RC_OK);
        n += (size_t)snprintf(text + n, sizeof text - n, "%s" STR_FMT "=", i ? ";" : "", STR_ARG(v.tensors[i].name));
        for (size_t k = 0; k < raw.n / 4; k++) {
            float f;

            memcpy(&f, raw.p + 4 * k, 4);
            n += (size_t)snprintf(text + n, sizeof text - n, "%s%g", k ? "," : "", (double)f);
        }
    }
    return text;
}

/* ---- requests ---- */

void fixture_done(struct flow_request *q)
{
    struct asked *a = container_of(q, struct asked, q);

    a->done = true;
    a->times++;
    buf_fini(&a->message);                       /* the lender takes it back at once */
}

struct asked *fixture_ask_key(struct fixture *x, const char *name, const char *message, const char *key)
{
    struct asked *a = xnew(struct asked);

    message_write(&a->message, message);
    a->q = (struct flow_request){
        .name = str_of(name),
        .message = buf_view(&a->message),
        .request_id = STR("id-1"),
        .idempotency_key = str_of(key),
        .deadline_ms = clock_mono_ms(&x->clock.clock) + 10000,
        .done = fixture_done,
    };
    flow_start(x->flow, &a->q);
    return a;
}

struct asked *fixture_ask_with(struct fixture *x, const char *name, const char *message, const struct header *h, size_t n)
{
    struct asked *a = xnew(struct asked);

    message_write(&a->message, message);
    a->q = (struct flow_request){
        .name = str_of(name),
        .message = buf_view(&a->message),
        .headers = h,
        .headers_n = n,
        .request_id = STR("id-1"),
        .deadline_ms = clock_mono_ms(&x->clock.clock) + 10000,
        .done = fixture_done,
    };
    flow_start(x->flow, &a->q);
    return a;
}

struct asked *fixture_ask(struct fixture *x, const char *name, const char *message)
{
    return fixture_ask_with(x, name, message, NULL, 0);
}

struct asked *fixture_ask_model(struct fixture *x, const char *name, const char *message)
{
    struct asked *a = xnew(struct asked);

    message_write(&a->message, message);
    a->q = (struct flow_request){
        .name = str_of(name),
        .model = true,
        .message = buf_view(&a->message),
        .request_id = STR("id-1"),
        .deadline_ms = clock_mono_ms(&x->clock.clock) + 10000,
        .done = fixture_done,
    };
    flow_start(x->flow, &a->q);
    return a;
}

void asked_free(struct asked *a)
{
    must(a->times <= 1);
    flow_request_fini(&a->q);
    buf_fini(&a->message);
    free(a);
}

const char *asked_text(struct asked *a)
{
    static char text[1024];

    if (!a->done) return "waiting";
    if (a->q.err.rc) {
        snprintf(text, sizeof text, "%s: " STR_FMT, rc_name(a->q.err.rc), STR_ARG(buf_str(&a->q.message_text)));
        return text;
    }
    if (a->q.accepted) return "accepted";
    return message_text(buf_view(&a->q.response));
}

/* ---- two executors ---- */

void pair_settle(struct pair *p)
{
    for (int i = 0; i < 8; i++) {
        fixture_settle(&p->x);
        loop_turn(p->loop, 0);
        fake_upstream_turn(p->up);
    }
}

void pair_advance(struct pair *p, uint64_t ms)
{
    clock_sim_advance(&p->x.clock, ms * 1000);
    pair_settle(p);
}

void pair_open(struct pair *p)
{
    struct flow_options o;
    struct err e;

    fixture_options(&p->x);
    p->x.o.loops_n = 2;
    fixture_open(&p->x);
    must(loop_new(&p->x.clock.clock, &p->loop, &e) == RC_OK);
    p->up = fake_upstream_new();
    o = p->x.o;
    o.loop_index = 1;
    must(flow_new(p->loop, &p->x.bus->bus, p->up, &o, &p->flow, &e) == RC_OK);
    flow_join((struct flow *[]){p->x.flow, p->flow}, 2);
}

void pair_apply(struct pair *p, const char *line)
{
    APPLY(&p->x, line);
    flow_use(p->flow, p->x.snapshot);
    for (int i = 0; i < 5; i++)
        pair_advance(p, 30);
}

void pair_close(struct pair *p)
{
    flow_free(p->flow);
    p->x.flow = flow_free(p->x.flow);
    for (int i = 0; i < 3; i++) {
        loop_turn(p->loop, 0);
        loop_turn(p->x.loop, 0);
    }
    upstream_free(p->up);
    loop_free(p->loop);
    fixture_close(&p->x);
}

struct asked *pair_ask(struct pair *p, const char *message, const char *key)
{
    struct flow *first = p->x.flow;
    struct asked *a;

    p->x.flow = p->flow;
    a = fixture_ask_key(&p->x, "p", message, key);
    p->x.flow = first;
    return a;
}

void fixture_note_cleared(void *ctx, bool model, struct str name)
{
    buf_printf(ctx, "%s " STR_FMT ";", model ? "model" : "pipeline", STR_ARG(name));
}

void fixture_use_gone(struct fixture *x, struct flow_gone *gone, size_t n)
{
    struct flow_snapshot *s = flow_snapshot_new();

    s->gone = gone;
    s->gone_n = n;
    flow_snapshot_seal(s);
    flow_use(x->flow, s);
    flow_snapshot_unref(&s);
    fixture_settle(x);
}
