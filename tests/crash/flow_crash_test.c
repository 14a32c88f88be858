/* Power cuts under a running data plane: two executors on threads of their own, the embedded broker on a third, a
 * simulated disk. Callers ask with and without idempotency keys, some go away; then the power goes. The next start must
 * finish what was left: every input in the log has one outcome, and every answer that a caller was given is in the log
 * as it was given. Then the same goes on, on the same disk.
 *
 * ROUNDS=N chooses how often, --seed N where to begin. SPDX-License-Identifier: Apache-2.0 */
#include "base/rng.h"
#include "flow/names.h"
#include "../unit/bus/house.h"
#include "support/flow_fixture.h"
#include "sys/thread.h"
#include "test.h"
#include <stdio.h>

enum { LANES = 2, PARTITIONS = 2, IN_FLIGHT = 24, LOAD_MS = 80, PATIENCE_MS = 30000, KEYS = 40 };

static const char *const lines[] = {"p: mul10; add10 < mul10; out < add10",
                                    "q: echo; mul10 < echo.outputs.A; add10 < echo.outputs.B; out < mul10,add10 join=any",
                                    "r: mul10"};

struct world;
struct ask { struct flow_request q; struct buf message; char id[40], key[24]; struct lane *lane; };
struct told { char topic[48]; struct buf key, response; };       /* what a caller was told is in the log */

struct lane {
    struct world *w;
    unsigned number;
    struct loop *loop;
    struct upstream *up;
    struct flow *flow;
    struct thread *thread;
    struct timer tick;
    struct rng rng;
    struct ask *asks[IN_FLIGHT];
    bool load;
    struct msg begin;
    struct told *told;
    size_t told_n;
    unsigned asked;
};

struct world {
    struct house house;
    struct lane lanes[LANES];
    struct loop *mine;
    struct flow_snapshot *snapshot;
    unsigned round;
    uint64_t seed;
    size_t answers, inputs;                      /* looked at so far: a test of nothing must not pass */
};

/* ---- callers ---- */

static void remember(struct lane *l, const struct flow_request *q)
{
    struct told *t;

    if (q->err.rc) return;
    l->told = xrealloc(l->told, l->told_n + 1, sizeof *l->told);
    t = &l->told[l->told_n++];
    *t = (struct told){0};
    snprintf(t->topic, sizeof t->topic, "seldon.default.pipeline." STR_FMT ".%s", STR_ARG(q->name),
             q->accepted ? "inputs" : "outputs");
    buf_append_str(&t->key, q->key);
    if (!q->accepted) buf_append(&t->response, buf_view(&q->response));
}

static void on_done(struct flow_request *q)
{
    struct ask *a = container_of(q, struct ask, q);
    struct lane *l = a->lane;

    remember(l, q);
    for (size_t i = 0; i < IN_FLIGHT; i++)
        if (l->asks[i] == a) l->asks[i] = NULL;
    flow_request_fini(q);
    buf_fini(&a->message);
    free(a);
}

static void ask_one(struct lane *l, size_t slot)
{
    struct ask *a = xnew(struct ask);
    unsigned key = (unsigned)rng_below(&l->rng, KEYS), which = (unsigned)rng_below(&l->rng, 3);
    bool keyed = rng_below(&l->rng, 4) == 0;
    char text[32];

    a->lane = l;
    snprintf(a->id, sizeof a->id, "r%u-%u-%u", l->w->round, l->number, l->asked++);
    snprintf(a->key, sizeof a->key, "k%u-%u", l->w->round, key);
    snprintf(text, sizeof text, "%c=%u", key % 2 ? 'A' : 'B', keyed ? key : (unsigned)rng_below(&l->rng, 1000));
    message_write(&a->message, text);
    a->q = (struct flow_request){
        .name = str_of(which == 0 ? "p" : which == 1 ? "q" : "r"),
        .message = buf_view(&a->message),
        .request_id = str_of(a->id),
        .idempotency_key = keyed ? str_of(a->key) : (struct str){0},
        .deadline_ms = loop_now_ms(l->loop) + 5000,
        .done = on_done,
    };
    l->asks[slot] = a;
    flow_start(l->flow, &a->q);
}

/* Model servers answer in any order; now and then a caller goes away. */
static void lane_tick(struct timer *t)
{
    struct lane *l = container_of(t, struct lane, tick);

    for (size_t i = 0; i < IN_FLIGHT && l->load; i++)
        if (!l->asks[i]) ask_one(l, i);
    while (l->up->calls_n && rng_below(&l->rng, 16)) {
        struct str model = l->up->calls[rng_below(&l->rng, l->up->calls_n)]->target->model;
        char name[16];

        snprintf(name, sizeof name, STR_FMT, STR_ARG(model));
        fake_upstream_finish(l->up, name);
    }
    if (l->load && rng_below(&l->rng, 20) == 0) {
        struct ask *a = l->asks[rng_below(&l->rng, IN_FLIGHT)];

        if (a) flow_cancel(l->flow, &a->q);
    }
    loop_timer(l->loop, &l->tick, 1, lane_tick);
}

static void load_begin(struct msg *m)
{
    container_of(m, struct lane, begin)->load = true;
}

static void lane_main(void *arg)
{
    struct lane *l = arg;

    flow_use(l->flow, l->w->snapshot);
    loop_timer(l->loop, &l->tick, 1, lane_tick);
    loop_run(l->loop);
}

/* ---- starts and ends ---- */

static struct flow_snapshot *snapshot_make(void)
{
    static const char *const models[] = {"mul10", "add10", "echo"};
    struct flow_snapshot *s = flow_snapshot_new();

    s->pipelines = arena_array(&s->arena, struct flow_pipeline_def *, countof(lines));
    s->models = arena_array(&s->arena, struct flow_model_def *, countof(models));
    for (size_t i = 0; i < countof(lines); i++)
        s->pipelines[s->pipelines_n++] = fixture_pipeline(&s->arena, lines[i]);
    for (size_t i = 0; i < countof(models); i++) {
        struct flow_model_def *m = arena_new(&s->arena, struct flow_model_def);

        m->name = str_of(models[i]);
        m->placed = true;
        m->target = (struct upstream_target){.kind = UPSTREAM_GRPC, .model = m->name};
        s->models[s->models_n++] = m;
    }
    flow_snapshot_seal(s);
    return s;
}

static void world_open(struct world *w)
{
    struct flow *flows[LANES];
    struct flow_options o;
    struct fixture x;
    struct err e;

    fixture_options(&x);
    o = x.o;
    o.partitions = PARTITIONS;
    o.loops_n = LANES;
    o.commit_every_ms = 5;                       /* so that commits, too, are cut off in the middle */
    house_open(&w->house, o.message_bytes_max, false);
    w->round++;
    w->snapshot = snapshot_make();
    for (unsigned i = 0; i < LANES; i++) {
        struct lane *l = &w->lanes[i];

        *l = (struct lane){.w = w, .number = i, .begin.run = load_begin};
        rng_init(&l->rng, w->seed + w->round * 10 + i);
        assert_int_equal(loop_new(&clock_real, &l->loop, &e), RC_OK);
        l->up = fake_upstream_new();
        o.loop_index = i;
        assert_int_equal(flow_new(l->loop, w->house.bus, l->up, &o, &l->flow, &e), RC_OK);
        flows[i] = l->flow;
    }
    flow_join(flows, LANES);
    for (unsigned i = 0; i < LANES; i++)
        assert_int_equal(thread_start("lane", lane_main, &w->lanes[i], &w->lanes[i].thread, &e), RC_OK);
}

static void world_stop(struct world *w, void (*end)(struct house *h))
{
    for (unsigned i = 0; i < LANES; i++) {
        loop_stop(w->lanes[i].loop);
        w->lanes[i].thread = thread_join(w->lanes[i].thread);
    }
    for (unsigned i = 0; i < LANES; i++)
        w->lanes[i].flow = flow_free(w->lanes[i].flow);
    end(&w->house);
    for (unsigned again = 0; again < 3; again++)
        for (unsigned i = 0; i < LANES; i++)
            mailbox_drain(loop_mailbox(w->lanes[i].loop));
    for (unsigned i = 0; i < LANES; i++) {
        upstream_free(w->lanes[i].up);
        loop_free(w->lanes[i].loop);
    }
    flow_snapshot_unref(&w->snapshot);
}

/* ---- the log ---- */

struct page { struct bus_fetch f; bool done; };

static void page_done(struct bus_op *op)
{
    container_of(op, struct page, f.op)->done = true;
}

static void page_get(struct world *w, struct page *g, const char *topic, int32_t partition, int64_t from)
{
    *g = (struct page){.f = {.op = {.reply_to = loop_mailbox(w->mine), .done = page_done},
                             .topic = str_of(topic),
                             .partition = partition,
                             .offset = from,
                             .size_max = 1 << 20}};
    bus_fetch(w->house.bus, &g->f);
    while (!g->done)
        loop_turn(w->mine, 20);
}

/* Every record of a topic, in order; `see` may keep what it likes of it. */
static void topic_read(struct world *w, const char *topic, void (*see)(void *ctx, const struct bus_record *r), void *ctx)
{
    for (int32_t p = 0; p < PARTITIONS; p++)
        for (int64_t at = 0, end = 1; at < end;) {
            struct page g;

            page_get(w, &g, topic, p, at);
            if (g.f.op.err.rc == RC_NOT_FOUND) return;
            if (g.f.op.err.rc) fail_msg("%s/%d at %lld: %s", topic, p, (long long)at, g.f.op.err.text);
            for (size_t i = 0; i < g.f.records_n; i++)
                see(ctx, &g.f.records[i]);
            end = g.f.end_offset;
            at = g.f.records_n ? g.f.next_offset : end;
            bus_fetch_fini(&g.f);
        }
}

struct count { unsigned inputs, outcomes; };
struct books { struct arena arena; struct map runs; size_t inputs, missing, twice, strange; };

static struct count *count_of(struct books *b, const struct bus_record *r)
{
    struct run_id id;
    struct count *c;

    for (size_t i = 0; i < r->headers_n; i++) {
        if (!str_is(r->headers[i].key, RUN_ID_HEADER)) continue;
        if (!run_id_parse(bytes_str(r->headers[i].value), &id)) return NULL;
        c = map_get_str(&b->runs, id.identity);
        if (c) return c;
        c = arena_new(&b->arena, struct count);
        map_put_str(&b->runs, id.identity, c);
        return c;
    }
    return NULL;
}

static void see_input(void *ctx, const struct bus_record *r)
{
    struct count *c = count_of(ctx, r);

    assert_non_null(c);
    c->inputs++;
}

static void see_outcome(void *ctx, const struct bus_record *r)
{
    struct count *c = count_of(ctx, r);

    assert_non_null(c);
    c->outcomes++;
}

static struct books balance(struct world *w, const char *pipeline)
{
    struct books b = {0};
    struct bytes key;
    void *value;
    size_t at = 0;
    char topic[64];

    snprintf(topic, sizeof topic, "seldon.default.pipeline.%s.inputs", pipeline);
    topic_read(w, topic, see_input, &b);
    snprintf(topic, sizeof topic, "seldon.default.pipeline.%s.outputs", pipeline);
    topic_read(w, topic, see_outcome, &b);
    while (map_next(&b.runs, &at, &key, &value)) {
        const struct count *c = value;

        b.inputs += c->inputs;
        b.missing += c->inputs && !c->outcomes;
        b.twice += c->outcomes > 1 || c->inputs > 1;
        b.strange += !c->inputs;
    }
    map_fini(&b.runs);
    arena_fini(&b.arena);
    return b;
}

static void every_input_has_one_outcome(struct world *w, const char *pipeline)
{
    uint64_t until = clock_mono_ms(&clock_real) + PATIENCE_MS;
    struct books b;

    do {
        loop_turn(w->mine, 20);
        b = balance(w, pipeline);
    } while (b.missing && clock_mono_ms(&clock_real) < until);
    if (b.missing || b.twice || b.strange)
        fail_msg("seed %llu, round %u, pipeline %s: of %zu inputs %zu without outcome, %zu with more; %zu outcomes of none",
                 (unsigned long long)w->seed, w->round, pipeline, b.inputs, b.missing, b.twice, b.strange);
    w->inputs += b.inputs;
}

static void see_told(void *ctx, const struct bus_record *r)
{
    struct map *there = ctx;
    struct buf *value;

    if (map_get(there, r->key)) return;
    value = xnew(struct buf);
    buf_append(value, r->value);
    map_put(there, r->key, value);
}

/* Keys of records are unique here, as request ids are; an idempotent answer carries the key of the run it came from. */
static void what_callers_were_told_is_there(struct world *w, const struct told *told, size_t n, const char *topic)
{
    struct map there = {0};
    struct bytes key;
    void *value;
    size_t at = 0;

    topic_read(w, topic, see_told, &there);
    for (size_t i = 0; i < n; i++) {
        const struct buf *got;

        if (strcmp(told[i].topic, topic) != 0) continue;
        got = map_get(&there, buf_view(&told[i].key));
        if (!got)
            fail_msg("seed %llu, round %u: " STR_FMT " was answered, and is not in %s", (unsigned long long)w->seed, w->round,
                     STR_ARG(buf_str(&told[i].key)), topic);
        if (told[i].response.n && !bytes_eq(buf_view(got), buf_view(&told[i].response)))
            fail_msg("seed %llu, round %u: " STR_FMT " was answered otherwise than %s says", (unsigned long long)w->seed,
                     w->round, STR_ARG(buf_str(&told[i].key)), topic);
        w->answers++;
    }
    while (map_next(&there, &at, &key, &value)) {
        buf_fini(value);
        free(value);
    }
    map_fini(&there);
}

static void check(struct world *w, const struct told *told, size_t n)
{
    every_input_has_one_outcome(w, "p");
    every_input_has_one_outcome(w, "q");
    what_callers_were_told_is_there(w, told, n, "seldon.default.pipeline.p.outputs");
    what_callers_were_told_is_there(w, told, n, "seldon.default.pipeline.q.outputs");
    what_callers_were_told_is_there(w, told, n, "seldon.default.pipeline.r.inputs");
}

/* ---- the test ---- */

static uint64_t seed = 1;

static void load(struct world *w, uint64_t ms)
{
    uint64_t until = clock_mono_ms(&clock_real) + ms;

    for (unsigned i = 0; i < LANES; i++)
        mailbox_post(loop_mailbox(w->lanes[i].loop), &w->lanes[i].begin);
    while (clock_mono_ms(&clock_real) < until)
        loop_turn(w->mine, 5);
}

static void told_take(struct world *w, struct told **told, size_t *n)
{
    for (unsigned i = 0; i < LANES; i++) {
        struct lane *l = &w->lanes[i];

        *told = xrealloc(*told, *n + l->told_n + 1, sizeof **told);
        if (l->told_n) memcpy(*told + *n, l->told, l->told_n * sizeof **told);
        *n += l->told_n;
        free(l->told);
        l->told = NULL;
        l->told_n = 0;
    }
}

static void nothing_promised_is_lost_or_doubled_by_power_cuts(void **state)
{
    const char *rounds = getenv("ROUNDS");
    unsigned n = rounds ? (unsigned)strtoul(rounds, NULL, 10) : 8;
    struct world w = {.seed = seed};
    struct told *told = NULL;
    size_t told_n = 0;
    struct rng rng;
    struct err e;

    (void)state;
    rng_init(&rng, seed);
    assert_int_equal(loop_new(&clock_real, &w.mine, &e), RC_OK);
    for (unsigned i = 0; i < n; i++) {
        world_open(&w);
        check(&w, told, told_n);
        load(&w, 20 + rng_below(&rng, LOAD_MS));
        fs_sim_cut(w.house.disk);
        world_stop(&w, house_crash);
        fs_sim_power_on(w.house.disk);
        told_take(&w, &told, &told_n);
    }
    world_open(&w);
    check(&w, told, told_n);
    world_stop(&w, house_close);
    told_take(&w, &told, &told_n);
    print_message("%zu inputs and %zu answers were compared\n", w.inputs, w.answers);
    if (n > 2) {
        assert_true(w.answers > 0);
        assert_true(w.inputs > 0);
    }
    for (size_t i = 0; i < told_n; i++) {
        buf_fini(&told[i].key);
        buf_fini(&told[i].response);
    }
    free(told);
    loop_free(w.mine);
    fs_sim_free(w.house.disk);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(nothing_promised_is_lost_or_doubled_by_power_cuts)};

    if (argc > 2 && strcmp(argv[1], "--seed") == 0) seed = strtoull(argv[2], NULL, 10);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
