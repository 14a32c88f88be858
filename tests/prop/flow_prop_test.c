/* Random graphs against a naive reference (naive.h). A seed makes a pipeline, its models, an order in which they answer, and
 * moments when the join windows are over. Compared: every request that a model gets, the answer, and how many records lie where.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/rng.h"
#include "prop/naive.h"
#include "support/flow_fixture.h"
#include "test.h"
#include <stdio.h>

enum { SEEDS = 3000, MODEL_ERROR = 3, WINDOW_MS = 1000, WINDOWS = 3 };

/* ---- the comparison ---- */

struct trial { const struct world *w; struct naive *v; uint64_t seed; const char *line; };

static void model(void *ctx, struct upstream_call *c)
{
    struct trial *t = ctx;
    int step = c->target->model.p[1] - '0';
    char text[64];

    if (strcmp(message_text(c->request), t->v->request[step]) != 0)
        fail_msg("seed %llu: %s: m%d was sent %s, not %s", (unsigned long long)t->seed, t->line, step,
                 message_text(c->request), t->v->request[step]);
    if (t->w->answers[step] < 0) {
        c->grpc_code = MODEL_ERROR;
        err_set(&c->err, RC_UPSTREAM, "no");
        return;
    }
    tensors_print(text, sizeof text, 0, step, t->w->answers[step]);
    message_write(&c->response, text);
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
    char message[64];
    int windows = 0;

    rng_init(&g, ~seed);
    world_print(&w, line);
    fixture_options(&x);
    x.o.join_window_ms = WINDOW_MS;
    fixture_open(&x);
    APPLY(&x, line);
    fixture_settle(&x);
    x.up->hold = true;
    x.up->sync = false;
    x.up->model = model;
    x.up->ctx = &t;
    tensors_print(message, sizeof message, 0, -1, w.input);
    naive_begin(v, &w, 0, w.input);
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
