/* SPDX-License-Identifier: Apache-2.0 */
#include "prop/naive.h"
#include "base/rng.h"
#include <stdio.h>

const char *const joins[] = {"inner", "outer", "any"};

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

struct world world_random(uint64_t seed)
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

static void gate_settle(struct gate *g, int before)
{
    g->join = g->join == 2 ? 0 : g->join;
    for (int i = 0; i < g->n; i++)
        if (g->refs[i].step >= before) g->refs[i].step = before - 1;
    for (int i = 0; i < g->n; i++)
        g->refs[i].inputs |= g->refs[i].step < 0;
}

struct world world_settled(uint64_t seed)
{
    enum { FEW = 4 };
    struct world w = world_random(seed);

    for (int i = 0; i <= w.n; i++) {
        gate_settle(&w.steps[i].data, MIN(i, FEW));
        gate_settle(&w.steps[i].trigger, MIN(i, FEW));
    }
    if (w.n > FEW) w.steps[FEW] = w.steps[w.n];
    w.n = MIN(w.n, FEW);
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

void world_print(const struct world *w, char *to)
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

static int value_of(int tag, int step, int tensor)
{
    return tag * TAG + (step + 1) * 10 + tensor + 1;
}

int tensors_print(char *to, size_t room, int tag, int step, int bits)
{
    int n = 0;

    to[0] = 0;
    for (int i = 0; i < TENSORS; i++)
        if (bits >> i & 1) n += snprintf(to + n, room - (size_t)n, "%s%c=%d", n ? ";" : "", 'A' + i, value_of(tag, step, i));
    return n;
}

static void fill(struct naive *v, struct topic *to, int step, int bits)
{
    to->state = THERE;
    to->order = v->now;
    for (int i = 0; i < TENSORS; i++)
        if (bits >> i & 1) to->t[to->n++] = (struct tensor){(char)('A' + i), value_of(v->tag, step, i)};
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

void naive_windows_over(struct naive *v)
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

void naive_answered(struct naive *v, int step)
{
    if (v->w->answers[step] < 0) {
        v->outputs[step].state = NEVER;
        v->outputs[step].failed = true;
        v->failures++;
    } else {
        fill(v, &v->outputs[step], step, v->w->answers[step]);
        v->answers++;
    }
    naive_settle(v);
}

void naive_begin(struct naive *v, const struct world *w, int tag, int input)
{
    *v = (struct naive){.w = w, .tag = tag};
    fill(v, &v->input, -1, input);
    naive_settle(v);
}

void naive_run(struct naive *v)
{
    for (int i = 0; i < v->w->n; i++)
        if (v->called[i] && v->outputs[i].state == UNKNOWN) {
            naive_answered(v, i);
            i = -1;
        }
}
