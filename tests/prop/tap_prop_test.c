/* Random input sections (externalInputs, externalTriggers, joins, tensors, tensorMap) and random records of other pipelines, in random
 * order, some of them errors or of somebody else, against a naive reference. It knows: the k-th record of a source with a key
 * belongs to the k-th join of that key, and what a join is made of is looked at anew after every record. Compared: every input
 * that is made, in order, over crashes too, and what is left when the windows are over. SPDX-License-Identifier: Apache-2.0 */
#include "base/rng.h"
#include "support/flow_fixture.h"
#include "test.h"
#include <stdio.h>

enum { TOPICS = 4, REFS_MAX = 3, KEYS = 3, RECORDS = 24, JOINS_MAX = 2 * RECORDS, TEXT = 512, SEEDS = 400 };

static const char *const topics[TOPICS] = {"seldon.default.pipeline.q.outputs", "seldon.default.pipeline.r.outputs",
                                           "seldon.default.pipeline.s.outputs", "seldon.default.model.echo.outputs"};
static const char *const names[TOPICS] = {"q.outputs", "r.outputs", "s.outputs", "q.step.echo.outputs"};
static const char *const owners[TOPICS] = {"q", "r", "s", "q"};
static const char *const kinds[] = {"inner", "outer", "any"};

/* ---- what the seed makes ---- */

struct ref { int topic, tensor; };                           /* tensor -1: all */
struct section { struct ref refs[REFS_MAX]; int n, join; };
struct made { int topic, key, bits; bool error, foreign; };  /* key KEYS: none */
struct world { struct section data, trigger; bool rename; struct made records[RECORDS]; int crash_at; };

static struct section section_random(struct rng *g, int least)
{
    struct section s = {.join = (int)rng_below(g, 3), .n = least + (int)rng_below(g, (uint64_t)(REFS_MAX + 1 - least))};

    for (int i = 0; i < s.n; i++)
        s.refs[i] = (struct ref){(int)rng_below(g, TOPICS), (int)rng_below(g, 4) - 1};
    return s;
}

/* What a join that never became an input was made of is not remembered over a crash, so a key is not used twice around one. */
static void keys_once(struct world *w)
{
    for (int i = 0; i < RECORDS; i++)
        for (int k = 0; k < i; k++)
            w->records[i].foreign |= w->records[k].key == w->records[i].key && w->records[k].topic == w->records[i].topic &&
                                     w->records[i].key < KEYS && !w->records[k].foreign;
}

static struct world world_random(uint64_t seed)
{
    struct world w = {0};
    struct rng g;

    rng_init(&g, seed);
    w.data = section_random(&g, 1);
    w.trigger = section_random(&g, 0);
    w.rename = rng_below(&g, 3) == 0;
    w.crash_at = rng_below(&g, 2) ? (int)rng_below(&g, RECORDS) : -1;   /* afterwards nobody knows which of several came first */
    if (w.data.join == 2 && w.trigger.n) w.crash_at = -1;
    for (int i = 0; i < RECORDS; i++)
        w.records[i] = (struct made){(int)rng_below(&g, TOPICS), (int)rng_below(&g, 8) ? (int)rng_below(&g, KEYS) : KEYS,
                                     (int)(rng_below(&g, 8) | rng_below(&g, 8)), rng_below(&g, 9) == 0, rng_below(&g, 9) == 0};
    if (w.crash_at >= 0) keys_once(&w);
    return w;
}

static int section_print(char *to, size_t room, const struct section *s, const char *mark, const char *join)
{
    int n = 0;

    for (int i = 0; i < s->n; i++) {
        n += snprintf(to + n, room - (size_t)n, "%s%s", i ? "," : mark, names[s->refs[i].topic]);
        if (s->refs[i].tensor >= 0) n += snprintf(to + n, room - (size_t)n, ".%c", 'A' + s->refs[i].tensor);
    }
    if (s->n) n += snprintf(to + n, room - (size_t)n, " %s=%s", join, kinds[s->join]);
    return n;
}

static void world_print(const struct world *w, char *to)
{
    int n = snprintf(to, TEXT, "p: echo-p; in");

    n += section_print(to + n, TEXT - (size_t)n, &w->data, " < ", "join");
    n += section_print(to + n, TEXT - (size_t)n, &w->trigger, " ! ", "tjoin");
    if (w->rename) n += snprintf(to + n, TEXT - (size_t)n, " map=%s.A:Z", names[w->data.refs[0].topic]);
    snprintf(to + n, TEXT - (size_t)n, "; out < echo-p");
}

/* ---- the reference ---- */

struct had { int record, bits, order; };                     /* record -1: nothing yet; bits -1: it does not count */
struct join { int key; struct had data[TOPICS], trigger[TOPICS]; int n; bool spent; };
struct naive { const struct world *w; struct join joins[JOINS_MAX]; int joins_n, made; char inputs[JOINS_MAX][TEXT]; };

static bool reads(const struct section *s, int topic)
{
    for (int i = 0; i < s->n; i++)
        if (s->refs[i].topic == topic) return true;
    return false;
}

/* The tensors that are wanted of a topic, as bits; 0: all. */
static int wanted(const struct section *s, int topic)
{
    int bits = 0;

    for (int i = 0; i < s->n; i++)
        if (s->refs[i].topic == topic && s->refs[i].tensor >= 0) bits |= 1 << s->refs[i].tensor;
    return bits;
}

static bool counts(const struct section *s, const struct made *m)
{
    int bits = wanted(s, m->topic);

    if (m->error) return false;
    if (!bits) return m->bits != 0;
    return s->join == 0 ? (m->bits & bits) == bits : (m->bits & bits) != 0;
}

/* 1 open, 0 not yet, -1 never. */
static int look(const struct section *s, const struct had *had, bool over)
{
    int there = 0, open = 0, all = 0;

    for (int t = 0; t < TOPICS; t++) {
        if (!reads(s, t)) continue;
        all++;
        there += had[t].record >= 0 && had[t].bits >= 0;
        open += had[t].record < 0 && !over;
    }
    if (!all) return 1;
    if (s->join == 0) return there == all ? 1 : there + open == all ? 0 : -1;
    if (s->join == 2 && there) return 1;
    return open ? 0 : there ? 1 : -1;
}

static int part_print(const struct naive *v, char *to, const struct had *h, int topic)
{
    int bits = wanted(&v->w->data, topic), n = 0;

    for (int t = 0; t < 3; t++) {
        bool renamed = v->w->rename && t == 0 && topic == v->w->data.refs[0].topic;

        if (h->bits >> t & 1 && (!bits || bits >> t & 1))
            n += snprintf(to + n, TEXT - (size_t)n, ";%c=%d", renamed ? 'Z' : 'A' + t, 10 * h->record + t);
    }
    return n;
}

static void input_make(struct naive *v, const struct join *j)
{
    char *to = v->inputs[v->made++];
    int n = snprintf(to, TEXT, "k%d", j->key), first = -1;

    for (int t = 0; t < TOPICS; t++)
        if (reads(&v->w->data, t) && j->data[t].record >= 0 && j->data[t].bits >= 0 && (first < 0 || j->data[t].order < j->data[first].order))
            first = t;
    for (int i = 0; i < v->w->data.n; i++) {
        int t = v->w->data.refs[i].topic;
        bool again = false;

        for (int k = 0; k < i; k++)
            again |= v->w->data.refs[k].topic == t;
        if (again || j->data[t].record < 0 || j->data[t].bits < 0 || (v->w->data.join == 2 && t != first)) continue;
        n += part_print(v, to + n, &j->data[t], t);
    }
}

static void join_look(struct naive *v, struct join *j, bool over)
{
    int data = look(&v->w->data, j->data, over), trigger = look(&v->w->trigger, j->trigger, over);

    if (j->spent) return;
    if (data > 0 && trigger > 0) input_make(v, j);
    j->spent = (data > 0 && trigger > 0) || data < 0 || trigger < 0;
}

static struct join *join_of(struct naive *v, int key, bool trigger, int topic)
{
    struct join *j;

    for (int i = 0; i < v->joins_n && key < KEYS; i++)
        if (v->joins[i].key == key && (trigger ? v->joins[i].trigger : v->joins[i].data)[topic].record < 0) return &v->joins[i];
    j = &v->joins[v->joins_n++];
    j->key = key;
    for (int t = 0; t < TOPICS; t++)
        j->data[t].record = j->trigger[t].record = -1;
    return j;
}

/* Data first: references are looked at in the order in which they are declared. */
static void naive_record(struct naive *v, int i)
{
    const struct made *m = &v->w->records[i];

    if (m->foreign) return;
    for (int trigger = 0; trigger < 2; trigger++) {
        const struct section *s = trigger ? &v->w->trigger : &v->w->data;
        struct join *j;

        if (!reads(s, m->topic)) continue;
        j = join_of(v, m->key, trigger, m->topic);
        (trigger ? j->trigger : j->data)[m->topic] = (struct had){i, counts(s, m) ? m->bits : -1, j->n++};
        join_look(v, j, false);
    }
}

/* ---- the comparison ---- */

static void settle(struct fixture *x)
{
    for (int i = 0; i < 3; i++)
        fixture_advance(x, 200);
}

static void produce(struct fixture *x, const struct made *m, int i)
{
    AUTO(buf_fini) struct buf value = {0};
    struct bus_header h[2] = {{STR("pipeline"), str_bytes(str_of(m->foreign ? "x" : owners[m->topic]))}, {STR("seldon-pipeline-errors"), bytes_of("m", 1)}};
    struct bus_record r = {.timestamp_ms = -1, .headers = h, .headers_n = m->error ? 2 : 1};
    char text[64] = "", key[8];
    size_t n = 0;

    for (int t = 0; t < 3; t++)
        if (m->bits >> t & 1) n += (size_t)snprintf(text + n, sizeof text - n, "%s%c=%d", n ? ";" : "", 'A' + t, 10 * i + t);
    message_write(&value, text);
    r.value = value.p ? buf_view(&value) : bytes_of("", 0);
    if (m->key < KEYS) r.key = bytes_of(key, (size_t)snprintf(key, sizeof key, "k%d", m->key));
    fake_bus_produce(x->bus, topics[m->topic], 0, &r);
    settle(x);
}

static int by_text(const void *a, const void *b)
{
    return strcmp(a, b);
}

/* any_order: what is left at the end of the windows goes in the order in which it was read, and that is another one after a crash. */
static void check(struct fixture *x, const struct naive *v, bool any_order, uint64_t seed, const char *line)
{
    static const char topic[] = "seldon.default.pipeline.p.inputs";
    static char got[JOINS_MAX][TEXT], want[JOINS_MAX][TEXT];
    size_t n = fake_bus_count(x->bus, topic);

    if (n != (size_t)v->made) fail_msg("seed %llu: %s: %zu inputs, not %d", (unsigned long long)seed, line, n, v->made);
    memcpy(want, v->inputs, sizeof want);
    for (size_t i = 0; i < n; i++) {
        const struct fake_record *r = fake_bus_record(x->bus, topic, 0, i);

        snprintf(got[i], sizeof got[i], "%.*s;%s", r->key_null ? 2 : (int)r->key.n, r->key_null ? "k3" : (const char *)r->key.p,
                 message_text(buf_view(&r->value)));
    }
    if (any_order) {
        qsort(got, n, TEXT, by_text);
        qsort(want, n, TEXT, by_text);
    }
    for (size_t i = 0; i < n; i++)
        if (strcmp(got[i], want[i]) != 0)
            fail_msg("seed %llu: %s: input %zu is %s, not %s", (unsigned long long)seed, line, i, got[i], want[i]);
}

static void crash(struct fixture *x, const char *line)
{
    fixture_reopen(x, "2");
    APPLY(x, line, "q: echo; out < echo", "r: echo; out < echo", "s: echo; out < echo");
    settle(x);
    settle(x);
}

static void trial(uint64_t seed)
{
    struct world w = world_random(seed);
    struct naive *v = xnew(struct naive);
    struct fixture x;
    char line[TEXT];

    v->w = &w;
    world_print(&w, line);
    fixture_options(&x);
    fixture_open(&x);
    APPLY(&x, line, "q: echo; out < echo", "r: echo; out < echo", "s: echo; out < echo");
    settle(&x);
    settle(&x);
    for (int i = 0; i < RECORDS; i++) {
        produce(&x, &w.records[i], i);
        naive_record(v, i);
        check(&x, v, false, seed, line);
        if (i == w.crash_at) crash(&x, line);
    }
    fixture_advance(&x, 61000);
    settle(&x);
    for (int i = 0; i < v->joins_n; i++)
        join_look(v, &v->joins[i], true);
    check(&x, v, w.crash_at >= 0, seed, line);
    fixture_close(&x);
    free(v);
}

static uint64_t first = 1, last = SEEDS;

static void every_input_is_what_the_naive_reference_says(void **state)
{
    (void)state;
    for (uint64_t seed = first; seed <= last; seed++)
        trial(seed);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_input_is_what_the_naive_reference_says)};

    if (argc > 2 && strcmp(argv[1], "--seed") == 0) first = last = strtoull(argv[2], NULL, 10);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
