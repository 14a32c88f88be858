/* Random graphs against a naive reference. A seed makes a pipeline (chains, joins of all kinds, triggers, tensor
 * selections, renames), models that answer with some tensors, none, or an error, an order in which they answer, and moments when
 * the join windows are over.
 * The reference below knows nothing of gates and effects: after every answer it goes over all steps again and again
 * until nothing changes. Compared: every request that a model gets, the answer, and how many records lie where.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/rng.h"
#include "support/flow_fixture.h"
#include "test.h"
#include <stdio.h>

enum { STEPS_MAX = 9, REFS_MAX = 4, TENSORS = 3, TEXT = 4096, SEEDS = 3000, MODEL_ERROR = 3, WINDOW_MS = 1000, WINDOWS = 3 };

/* ---- what the seed makes ---- */

struct ref { int step; bool inputs; int tensor; };           /* step -1: the pipeline's inputs; tensor -1: all */
struct gate { struct ref refs[REFS_MAX]; int n, join; };
struct step { struct gate data, trigger; bool rename; };     /* rename: tensor A of the first source becomes Z */
struct world {
    struct step steps[STEPS_MAX + 1];                        /* the last: the output section */
    int n;
    bool has_output;
    int answers[STEPS_MAX];                                  /* bits of A, B, C; -1: an error */
    int input;
};

static const char *const joins[] = {"inner", "outer", "any"};

static struct gate gate_random(struct rng *g, int before, bool trigger)
{
    struct gate gate = {.join = (int)rng_below(g, 3)};
    int n = trigger ? (int)rng_below(g, 3) : 1 + (int)rng_below(g, REFS_MAX);

    for (int i = 0; i < n; i++) {
        struct ref r = {.step = (int)rng_below(g, (uint64_t)before + 1) - 1, .tensor = (int)rng_below(g, 5) - 2};

        r.tensor = r.tensor < 0 ? -1 : r.tensor;
        r.inputs = r.step < 0 || (gate.join == 0 && rng_below(g, 6) == 0);
        gate.refs[gate.n++] = r;
    }
    return gate;
}

static struct world world_random(uint64_t seed)
{
    struct world w = {0};
    struct rng g;

    rng_init(&g, seed);
    w.n = 1 + (int)rng_below(&g, STEPS_MAX);
    w.has_output = rng_below(&g, 10) > 0;
    w.input = 1 + (int)rng_below(&g, 7);
    for (int i = 0; i <= w.n; i++) {
        w.steps[i].data = gate_random(&g, i, false);
        if (i < w.n) w.steps[i].trigger = gate_random(&g, i, true);
        w.steps[i].rename = rng_below(&g, 4) == 0;
    }
    for (int i = 0; i < w.n; i++)
        w.answers[i] = rng_below(&g, 6) == 0 ? -1 : (int)(rng_below(&g, 8) | rng_below(&g, 8));
    return w;
}

static int ref_print(char *to, size_t room, const struct ref *r)
{
    char name[8];
    int n;

    snprintf(name, sizeof name, r->step < 0 ? "p" : "m%d", r->step);
    n = snprintf(to, room, "%s.%s", name, r->inputs ? "inputs" : "outputs");
    if (r->tensor >= 0) n += snprintf(to + n, room - (size_t)n, ".%c", 'A' + r->tensor);
    return n;
}

static int gate_print(char *to, size_t room, const struct gate *gate, const char *mark, const char *join)
{
    int n = 0;

    for (int i = 0; i < gate->n; i++) {
        n += snprintf(to + n, room - (size_t)n, "%s", i ? "," : mark);
        n += ref_print(to + n, room - (size_t)n, &gate->refs[i]);
    }
    if (gate->n) n += snprintf(to + n, room - (size_t)n, " %s=%s", join, joins[gate->join]);
    return n;
}

static void world_print(const struct world *w, char *to)
{
    int n = snprintf(to, TEXT, "p:");

    for (int i = 0; i < w->n + w->has_output; i++) {
        const struct ref *first = &w->steps[i].data.refs[0];

        n += snprintf(to + n, TEXT - (size_t)n, i ? ";" : "");
        n += i < w->n ? snprintf(to + n, TEXT - (size_t)n, " m%d", i) : snprintf(to + n, TEXT - (size_t)n, " out");
        n += gate_print(to + n, TEXT - (size_t)n, &w->steps[i].data, " < ", "join");
        n += gate_print(to + n, TEXT - (size_t)n, &w->steps[i].trigger, " ! ", "tjoin");
        if (!w->steps[i].rename) continue;
        n += snprintf(to + n, TEXT - (size_t)n, " map=");
        n += ref_print(to + n, TEXT - (size_t)n, &(struct ref){first->step, first->inputs, -1});
        n += snprintf(to + n, TEXT - (size_t)n, ".A:Z");
    }
}

/* ---- the reference ---- */

struct tensor { char name; int value; };
struct topic { enum { UNKNOWN, THERE, NEVER } state; bool failed; int order; struct tensor t[64]; int n; };
/* An outer gate that went on when its window was over, with what was there. */
struct frozen { bool is; struct topic *taken[REFS_MAX]; int n; };
struct naive {
    const struct world *w;
    struct frozen frozen[STEPS_MAX + 1][2];
    struct topic input, inputs[STEPS_MAX], outputs[STEPS_MAX];
    bool called[STEPS_MAX], decided[STEPS_MAX + 1];
    int now, failures, calls, answers;
    enum { OPEN, ANSWER, UNSELECTED, FAILED } outcome;
    char request[STEPS_MAX][TEXT], answer[TEXT];
};

static int value_of(int step, int tensor)
{
    return (step + 1) * 10 + tensor + 1;
}

static void fill(struct topic *to, int step, int bits, int order)
{
    to->state = THERE;
    to->order = order;
    for (int i = 0; i < TENSORS; i++)
        if (bits >> i & 1) to->t[to->n++] = (struct tensor){(char)('A' + i), value_of(step, i)};
}

static struct topic *topic_of(struct naive *v, const struct ref *r)
{
    return r->step < 0 ? &v->input : r->inputs ? &v->inputs[r->step] : &v->outputs[r->step];
}

static bool holds(const struct topic *t, int tensor)
{
    for (int i = 0; i < t->n; i++)
        if (t->t[i].name == 'A' + tensor) return true;
    return false;
}

/* All references of the gate to one topic together: 1 there, 0 not known, -1 never. */
static int side(struct naive *v, const struct gate *g, const struct topic *t)
{
    int wanted = 0, found = 0;

    if (t->state != THERE) return t->state == NEVER ? -1 : 0;
    for (int i = 0; i < g->n; i++) {
        bool again = false;

        if (topic_of(v, &g->refs[i]) != t || g->refs[i].tensor < 0) continue;
        for (int k = 0; k < i; k++)
            again |= topic_of(v, &g->refs[k]) == t && g->refs[k].tensor == g->refs[i].tensor;
        if (again) continue;
        wanted++;
        found += holds(t, g->refs[i].tensor);
    }
    if (!wanted) return t->n > 0 ? 1 : -1;
    if (g->join == 0) return found == wanted ? 1 : -1;
    return found ? 1 : -1;
}

/* 1 open, 0 not yet, -1 never. The topics taken come back in order of first mention. */
static int look(struct naive *v, const struct gate *g, struct topic **taken, int *ret_n, bool *ret_failed)
{
    struct topic *topics[REFS_MAX];
    int n = 0, there = 0, open = 0, never = 0;

    for (int i = 0; i < g->n; i++) {
        bool seen = false;

        for (int k = 0; k < n; k++)
            seen |= topics[k] == topic_of(v, &g->refs[i]);
        if (!seen) topics[n++] = topic_of(v, &g->refs[i]);
    }
    *ret_n = 0;
    for (int i = 0; i < n; i++) {
        int s = side(v, g, topics[i]);

        there += s > 0;
        open += s == 0;
        never += s < 0;
        *ret_failed |= s < 0 && topics[i]->failed;
        if (s > 0 && (g->join != 2 || *ret_n == 0)) taken[(*ret_n)++] = topics[i];
    }
    if (g->join == 2)
        for (int i = 0; i < n; i++)
            if (side(v, g, topics[i]) > 0 && topics[i]->order < taken[0]->order) taken[0] = topics[i];
    if (!n) return 1;
    if (g->join == 0) return never ? -1 : open ? 0 : 1;
    if (g->join == 1) return open ? 0 : there ? 1 : -1;
    return there ? 1 : open ? 0 : -1;
}

static int look_at(struct naive *v, int step, int which, struct topic **taken, int *ret_n, bool *ret_failed)
{
    const struct frozen *f = &v->frozen[step][which];

    if (!f->is) return look(v, which ? &v->w->steps[step].trigger : &v->w->steps[step].data, taken, ret_n, ret_failed);
    memcpy(taken, f->taken, sizeof f->taken);
    *ret_n = f->n;
    return 1;
}

static void build(struct naive *v, const struct step *s, struct topic **taken, int n, struct topic *to)
{
    for (int k = 0; k < n; k++) {
        const struct gate *g = &s->data;
        bool some = false;

        for (int i = 0; i < g->n; i++)
            some |= topic_of(v, &g->refs[i]) == taken[k] && g->refs[i].tensor >= 0;
        for (int i = 0; i < taken[k]->n; i++) {
            struct tensor t = taken[k]->t[i];
            bool want = !some;

            for (int r = 0; r < g->n; r++)
                want |= topic_of(v, &g->refs[r]) == taken[k] && g->refs[r].tensor == t.name - 'A';
            if (!want) continue;
            if (s->rename && taken[k] == topic_of(v, &g->refs[0]) && t.name == 'A') t.name = 'Z';
            to->t[to->n++] = t;
        }
    }
    to->state = THERE;
    to->order = v->now;
}

static void topic_print(const struct topic *t, char *to)
{
    int n = 0;

    to[0] = 0;
    for (int i = 0; i < t->n; i++)
        n += snprintf(to + n, TEXT - (size_t)n, "%s%c=%d", i ? ";" : "", t->t[i].name, t->t[i].value);
}

static bool naive_step(struct naive *v, int i)
{
    const struct step *s = &v->w->steps[i];
    struct topic *taken[REFS_MAX], *ignored[REFS_MAX], made = {0};
    bool failed = false, trigger_failed = false;
    int n, none, data, trigger;

    if (v->decided[i]) return false;
    data = look_at(v, i, 0, taken, &n, &failed);
    trigger = look_at(v, i, 1, ignored, &none, &trigger_failed);
    if (data == 0 && trigger >= 0) return false;
    if (trigger == 0 && data >= 0) return false;
    v->decided[i] = true;
    failed = (data < 0 && failed) || (trigger < 0 && trigger_failed);
    if (data > 0 && trigger > 0) {
        build(v, s, taken, n, &made);
        if (i < v->w->n) {
            v->inputs[i] = made;
            v->called[i] = true;
            v->calls++;
            topic_print(&made, v->request[i]);
        } else {
            v->outcome = ANSWER;
            topic_print(&made, v->answer);
        }
    } else if (i < v->w->n) {
        v->inputs[i].state = v->outputs[i].state = NEVER;
        v->inputs[i].failed = v->outputs[i].failed = failed;
    } else {
        v->outcome = failed ? FAILED : UNSELECTED;
    }
    return true;
}

static void naive_settle(struct naive *v)
{
    for (bool again = true; again;) {
        again = false;
        for (int i = 0; i < v->w->n + v->w->has_output; i++)
            again |= naive_step(v, i);
    }
    v->now++;
}

static void naive_windows_over(struct naive *v)
{
    for (int i = 0; i < v->w->n + v->w->has_output; i++)
        for (int which = 0; which < 2; which++) {
            const struct gate *g = which ? &v->w->steps[i].trigger : &v->w->steps[i].data;
            struct frozen *f = &v->frozen[i][which];
            bool failed = false;

            if (f->is || v->decided[i] || g->join != 1 || look(v, g, f->taken, &f->n, &failed) != 0) continue;
            f->is = f->n > 0;
        }
    naive_settle(v);
}

static void naive_answered(struct naive *v, int step)
{
    if (v->w->answers[step] < 0) {
        v->outputs[step].state = NEVER;
        v->outputs[step].failed = true;
        v->failures++;
    } else {
        fill(&v->outputs[step], step, v->w->answers[step], v->now);
        v->answers++;
    }
    naive_settle(v);
}

/* ---- the comparison ---- */

struct trial { const struct world *w; struct naive *v; uint64_t seed; const char *line; };

static void message_of_bits(struct buf *b, int step, int bits)
{
    char text[64] = "";
    size_t n = 0;

    for (int i = 0; i < TENSORS; i++)
        if (bits >> i & 1)
            n += (size_t)snprintf(text + n, sizeof text - n, "%s%c=%d", n ? ";" : "", 'A' + i, value_of(step, i));
    message_write(b, text);
}

static void model(void *ctx, struct upstream_call *c)
{
    struct trial *t = ctx;
    int step = c->target->model.p[1] - '0';

    if (strcmp(message_text(c->request), t->v->request[step]) != 0)
        fail_msg("seed %llu: %s: m%d was sent %s, not %s", (unsigned long long)t->seed, t->line, step,
                 message_text(c->request), t->v->request[step]);
    if (t->w->answers[step] < 0) {
        c->grpc_code = MODEL_ERROR;
        err_set(&c->err, RC_UPSTREAM, "no");
        return;
    }
    message_of_bits(&c->response, step, t->w->answers[step]);
}

static void check_answer(struct trial *t, struct asked *a)
{
    const char *got = asked_text(a);
    bool right = true;

    switch (t->v->outcome) {
    case OPEN: right = t->w->has_output ? !a->done : strcmp(got, "accepted") == 0; break;
    case ANSWER: right = strcmp(got, t->v->answer) == 0; break;
    case UNSELECTED: right = a->q.err.rc == RC_UNSELECTED; break;
    case FAILED: right = a->q.err.rc == RC_UPSTREAM; break;
    }
    if (!right)
        fail_msg("seed %llu: %s: answered %s, wanted %d %s", (unsigned long long)t->seed, t->line, got, (int)t->v->outcome,
                 t->v->answer);
}

static size_t count_topic(struct fixture *x, const char *kind, const char *dir)
{
    char name[64];
    size_t n = 0;

    for (int i = 0; i < STEPS_MAX; i++) {
        snprintf(name, sizeof name, "seldon.default.%s.m%d.%s", kind, i, dir);
        n += fake_bus_count(x->bus, name);
    }
    return n;
}

static void check_records(struct trial *t, struct fixture *x)
{
    size_t ends = t->w->has_output ? 1 : t->v->failures > 0, errors = (size_t)t->v->failures + (t->v->outcome == UNSELECTED);

    if (count_topic(x, "model", "inputs") != (size_t)t->v->calls || count_topic(x, "model", "outputs") != (size_t)t->v->answers ||
        fake_bus_count(x->bus, "seldon.default.pipeline.p.outputs") != ends ||
        fake_bus_count(x->bus, "seldon.default.errors.errors") != errors)
        fail_msg("seed %llu: %s: other records", (unsigned long long)t->seed, t->line);
}

static void trial(uint64_t seed)
{
    struct world w = world_random(seed);
    struct naive *v = xnew(struct naive);
    char line[TEXT];
    struct trial t = {&w, v, seed, line};
    struct fixture x;
    struct asked *a;
    struct rng g;
    char message[64] = "";
    size_t n = 0;
    int windows = 0;

    rng_init(&g, ~seed);
    world_print(&w, line);
    v->w = &w;
    fixture_options(&x);
    x.o.join_window_ms = WINDOW_MS;
    fixture_open(&x);
    APPLY(&x, line);
    fixture_settle(&x);
    x.up->hold = true;
    x.up->sync = false;
    x.up->model = model;
    x.up->ctx = &t;
    for (int i = 0; i < TENSORS; i++)
        if (w.input >> i & 1) n += (size_t)snprintf(message + n, sizeof message - n, "%s%c=%d", n ? ";" : "", 'A' + i, i + 1);
    fill(&v->input, -1, w.input, v->now);
    naive_settle(v);
    a = fixture_ask(&x, "p", message);
    fixture_settle(&x);
    while (x.up->calls_n) {
        struct str name = x.up->calls[rng_below(&g, x.up->calls_n)]->target->model;
        char model_name[3] = {name.p[0], name.p[1], 0};

        check_answer(&t, a);
        if (windows < WINDOWS && rng_below(&g, 6) == 0) {
            windows++;
            naive_windows_over(v);
            fixture_advance(&x, WINDOW_MS + 1);
            continue;
        }
        fake_upstream_finish(x.up, model_name);
        naive_answered(v, model_name[1] - '0');
        fixture_settle(&x);
    }
    check_answer(&t, a);
    check_records(&t, &x);
    assert_int_equal(a->times, 1);
    asked_free(a);
    fixture_close(&x);
    free(v);
}

static uint64_t first = 1, last = SEEDS;

static void every_graph_runs_as_the_naive_reference_says(void **state)
{
    (void)state;
    for (uint64_t seed = first; seed <= last; seed++)
        trial(seed);
}

/* ---- loops ---- */

/* count adds one and says C until it reaches `limit`, then S. Its C goes to some branches; each hands it on or, in some
 * passes, does not. back joins them and leads back to count. Every branch is told the same, so a pass is known without
 * a graph: what back gets, and that it is called once. */
struct loops {
    uint64_t seed;
    int branches, join, limit, visits_max;
    uint32_t mute[3];                            /* bits of passes in which the branch says nothing */
    int count, calls[3], back, wanted_count, wanted_calls, wanted_back;
    enum rc rc;
};

static void loops_expect(struct loops *l)
{
    l->rc = RC_UNSELECTED;
    for (int pass = 0;; pass++) {
        int said = 0;

        if (pass == l->visits_max) {
            l->rc = RC_INVALID;
            return;
        }
        l->wanted_count++;
        if (pass + 1 == l->limit) {
            l->rc = RC_OK;
            return;
        }
        l->wanted_calls++;
        for (int i = 0; i < l->branches; i++)
            said += !(l->mute[i] >> pass & 1);
        if (said < (l->join == 0 ? l->branches : 1)) return;
        l->wanted_back++;
    }
}

static void loops_model(void *ctx, struct upstream_call *c)
{
    struct loops *l = ctx;
    const char *text = strstr(message_text(c->request), "C=");
    char which = c->target->model.p[0];
    char out[32];
    int x;

    if (!text) fail_msg("seed %llu: " STR_FMT " was sent %s", (unsigned long long)l->seed, STR_ARG(c->target->model), message_text(c->request));
    x = atoi(text + 2);
    if (which == 'c') {
        assert_int_equal(x, l->count);
        l->count++;
        snprintf(out, sizeof out, "%s=%d", x + 1 < l->limit ? "C" : "S", x + 1);
    } else if (which == 'b') {
        l->back++;
        snprintf(out, sizeof out, "C=%d", x);
    } else {
        int i = which - 'x';

        snprintf(out, sizeof out, "%s=%d", l->mute[i] >> l->calls[i] & 1 ? "Q" : "C", x);
        l->calls[i]++;
    }
    message_write(&c->response, out);
}

static void loops_check(const struct loops *l, struct asked *a, const char *line)
{
    char answer[16];
    bool right = a->done && a->q.err.rc == l->rc && l->count == l->wanted_count && l->back == l->wanted_back;

    snprintf(answer, sizeof answer, "S=%d", l->limit);
    for (int i = 0; i < l->branches; i++)
        right &= l->calls[i] == l->wanted_calls;
    right &= l->rc || strcmp(asked_text(a), answer) == 0;
    if (!right)
        fail_msg("seed %llu: %s: %s, wanted %s; count %d of %d, back %d of %d", (unsigned long long)l->seed, line, asked_text(a),
                 rc_name(l->rc), l->count, l->wanted_count, l->back, l->wanted_back);
}

static void loops_trial(uint64_t seed)
{
    struct loops l = {.seed = seed};
    char line[512];
    struct fixture x;
    struct asked *a;
    struct rng g;
    int n;

    rng_init(&g, seed);
    l.branches = 1 + (int)rng_below(&g, 3);
    l.join = (int)rng_below(&g, 3);
    l.limit = 1 + (int)rng_below(&g, 12);
    l.visits_max = 1 + (int)rng_below(&g, 14);
    for (int i = 0; i < l.branches; i++)
        l.mute[i] = rng_below(&g, 3) ? 0 : (uint32_t)(rng_below(&g, 4096) & rng_below(&g, 4096));
    loops_expect(&l);
    n = snprintf(line, sizeof line, "p: count < p,back join=any cycles=%d", l.visits_max);
    for (int i = 0; i < l.branches; i++)
        n += snprintf(line + n, sizeof line - (size_t)n, "; %c < count.outputs.C", 'x' + i);
    for (int i = 0; i < l.branches; i++)
        n += snprintf(line + n, sizeof line - (size_t)n, "%s%c.outputs.C", i ? "," : "; back < ", 'x' + i);
    snprintf(line + n, sizeof line - (size_t)n, " join=%s; out < count.outputs.S", joins[l.join]);
    fixture_options(&x);
    fixture_open(&x);
    APPLY(&x, line);
    fixture_settle(&x);
    x.up->hold = true;
    x.up->model = loops_model;
    x.up->ctx = &l;
    a = fixture_ask(&x, "p", "C=0");
    fixture_settle(&x);
    while (x.up->calls_n) {
        struct str name = x.up->calls[rng_below(&g, x.up->calls_n)]->target->model;
        char model_name[8] = "";

        memcpy(model_name, name.p, name.n);
        fake_upstream_finish(x.up, model_name);
        fixture_settle(&x);
    }
    loops_check(&l, a, line);
    asked_free(a);
    fixture_close(&x);
}

static void every_loop_goes_round_as_often_as_it_says(void **state)
{
    (void)state;
    for (uint64_t seed = first; seed <= last; seed++)
        loops_trial(seed);
}

/* ---- batches ---- */

/* Times ten; a request with a number that can be divided by 7 is an error. Whoever is batched with whom: a caller's answer
 * depends on his own numbers only. */
static void batch_model(void *ctx, struct upstream_call *c)
{
    const char *p = strchr(message_text(c->request), '=');
    char out[1024] = "O=";
    size_t n = 2;

    (void)ctx;
    if (str_is(c->target->model, "slow")) {
        message_write(&c->response, message_text(c->request));
        return;
    }
    while (p && *p) {
        long x = strtol(p + 1, (char **)&p, 10);

        if (x % 7 == 0) {
            c->grpc_code = MODEL_ERROR;
            err_set(&c->err, RC_UPSTREAM, "no sevens");
            return;
        }
        n += (size_t)snprintf(out + n, sizeof out - n, "%s%ld", n > 2 ? "," : "", 10 * x);
    }
    message_write(&c->response, out);
}

struct batched { struct asked *a; char wanted[128]; bool fails, gone; };

static void batched_ask(struct fixture *x, struct rng *g, struct batched *b, long *number)
{
    char message[128] = "A=";
    size_t n = 2, w = (size_t)snprintf(b->wanted, sizeof b->wanted, "O=");
    int rows = 1 + (int)rng_below(g, 4);

    for (int i = 0; i < rows; i++, ++*number) {
        b->fails |= *number % 7 == 0;
        n += (size_t)snprintf(message + n, sizeof message - n, "%s%ld", i ? "," : "", *number);
        w += (size_t)snprintf(b->wanted + w, sizeof b->wanted - w, "%s%ld", i ? "," : "", 10 * *number);
    }
    b->a = fixture_ask(x, "p", message);
}

static void batched_check(const struct batched *b, uint64_t seed, const char *line)
{
    enum rc rc = b->a->q.err.rc, wanted = b->gone ? RC_CANCELLED : b->fails ? RC_UPSTREAM : RC_OK;

    if (!b->a->done || rc != wanted || (!rc && strcmp(asked_text(b->a), b->wanted) != 0))
        fail_msg("seed %llu: %s: %s, wanted %s", (unsigned long long)seed, line, asked_text(b->a), b->wanted);
}

static void batches_trial(uint64_t seed)
{
    enum { CALLERS = 24 };
    struct batched all[CALLERS] = {0};
    char line[128];
    struct fixture x;
    struct rng g;
    long number = 1;

    rng_init(&g, seed);
    snprintf(line, sizeof line, "p: slow; m < slow batch=%d bwindow=%d; out < m", 2 + (int)rng_below(&g, 9), (int)rng_below(&g, 2) * 20);
    fixture_options(&x);
    fixture_open(&x);
    APPLY(&x, line);
    fixture_settle(&x);
    x.up->hold = true;
    x.up->model = batch_model;
    for (int i = 0; i < CALLERS; i++) {
        batched_ask(&x, &g, &all[i], &number);
        for (int k = (int)rng_below(&g, 4); k > 0; k--) {
            fixture_settle(&x);
            fake_upstream_finish(x.up, rng_below(&g, 2) ? "slow" : "m");
        }
        fixture_settle(&x);
        if (rng_below(&g, 8) == 0 && !all[i].a->done) {
            all[i].gone = true;
            flow_cancel(x.flow, &all[i].a->q);
        }
        fixture_advance(&x, rng_below(&g, 3) * 10);
    }
    while (fake_upstream_finish(x.up, "slow") || fake_upstream_finish(x.up, "m"))
        fixture_advance(&x, 21);
    for (int i = 0; i < CALLERS; i++)
        batched_check(&all[i], seed, line);
    for (int i = 0; i < CALLERS; i++)
        asked_free(all[i].a);
    fixture_close(&x);
}

static void everybody_gets_his_own_rows_whoever_he_is_batched_with(void **state)
{
    (void)state;
    for (uint64_t seed = first; seed <= MIN(last, first + 300); seed++)
        batches_trial(seed);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_graph_runs_as_the_naive_reference_says),
                                       cmocka_unit_test(every_loop_goes_round_as_often_as_it_says),
                                       cmocka_unit_test(everybody_gets_his_own_rows_whoever_he_is_batched_with)};

    if (argc > 2 && strcmp(argv[1], "--seed") == 0) first = last = strtoull(argv[2], NULL, 10);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
