/* How far inputs are finished, on executor 0: once a second, for the places where something moved
 * (the other executors say what they touched).
 *
 *   1. The ends of outputs, errors and inputs are looked up, in this order: an input that is not
 *      there yet has its outcome behind those ends of outputs and errors. The watches are asked how
 *      far they are.
 *   2. Every executor is asked for the oldest input that it has not finished (its floor). What it
 *      takes later lies behind the end of inputs that was looked up before.
 *   3. The smallest of: that end, the floors, how far the watch and the recovery have come, is
 *      committed, with the newest ends of outputs and errors that belong to an input end at or
 *      before it. So the commit never passes an unfinished input, and the search for outcomes after
 *      a restart is short.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/diag.h"
#include "flow/owners.h"
#include <inttypes.h>

/* ---- metadata ---- */

static int64_t number(struct str s, int64_t otherwise)
{
    int64_t n;

    return str_to_i64(s, &n) ? n : otherwise;
}

/* Keys that it does not know are a later version's. */
void commit_metadata_parse(struct str s, struct intake *in)
{
    struct str one, key, value;

    in->outputs = in->errors = (struct outcomes){.partition = -1};
    while (s.n) {
        str_cut(s, ' ', &one, &s);
        str_cut(one, '=', &key, &value);
        if (str_is(key, "outputs")) in->outputs.from = number(value, 0);
        if (str_is(key, "errors")) in->errors.from = number(value, 0);
        if (str_is(key, "outputsPartition")) in->outputs.partition = (int32_t)number(value, -1);
        if (str_is(key, "errorsPartition")) in->errors.partition = (int32_t)number(value, -1);
    }
}

struct str commit_metadata(struct arena *a, const struct intake *in)
{
#ifdef MILLRACE_NEXT
    const char *next = "next=1 ", *later = "later=x ";
#else
    const char *next = "", *later = "";
#endif

    return arena_printf(a, "%soutputs=%" PRId64 " %serrors=%" PRId64 " outputsPartition=%" PRId32 " errorsPartition=%" PRId32, next,
                        in->outputs.from, later, in->errors.from, in->outputs.partition, in->errors.partition);
}

/* ---- where outcomes begin ---- */

void outcomes_begin(struct intake *in, const struct ends *e)
{
    in->outputs = (struct outcomes){ends_of(&e->outputs, in->partition), ends_at(&e->outputs, in->partition)};
    in->errors = (struct outcomes){ends_of(&e->errors, in->partition), ends_at(&e->errors, in->partition)};
}

/* False: they begin at 0, since what was known is of another partition, or of a topic that is no more. */
static bool outcomes_hold(struct outcomes *o, const struct ends_one *one, int32_t partition)
{
    int32_t at = ends_at(one, partition);
    bool same = o->partition < 0 || o->partition == at, hold = same && o->from <= one->t.end_offsets[at];

    o->partition = at;
    if (!hold) o->from = 0;
    return hold;
}

void outcomes_check(struct intake *in, const struct ends *e)
{
    bool outputs = outcomes_hold(&in->outputs, &e->outputs, in->partition), errors = outcomes_hold(&in->errors, &e->errors, in->partition);

    for (unsigned i = 0; i < in->ends_n; i++) {
        if (!outputs) in->ends[i].outputs = 0;
        if (!errors) in->ends[i].errors = 0;
    }
}

/* ---- floors ---- */

/* The inputs an executor has not finished: one entry for every run that is not. With an identity: one whose outcome could not
 * be written; where numbers are shared it is from now on the owner's business, and the executor forgets it. */
struct floor { struct str name; bool model, exact; int32_t partition; int64_t offset, due_ms; struct str identity; };
struct asking {
    struct msg msg;
    struct flow *asker, *asked;
    struct arena arena;
    struct floor *floors;
    size_t n;
};

static bool unfinished(const struct flow_run *r)
{
    bool written = r->outside || r->record == FLOW_RECORD_ALL || r->record == FLOW_RECORD_ENDS;

    return r->key_made && written && !(r->input_done && r->outcome_done);
}

static void floor_apply(struct flow *f, const struct floor *fl)
{
    struct place *p = map_get_str(fl->model ? &f->models : &f->pipelines, fl->name);

    struct intake *in;

    if (!p || fl->partition >= (int32_t)p->intakes_n) return;
    in = p->intakes[fl->partition];
    if (fl->identity.n && in->open) {
        if (fl->exact && fl->offset < in->committed) return;     /* the owner before us has seen to it, and its outcome lies behind our search */
        foreign_add(in, fl->offset, fl->identity, fl->due_ms);
    }
    in->floor = MIN(in->floor, fl->offset);
}

static struct floor floor_of(const struct flow_run *r)
{
    return (struct floor){.name = r->place->name, .model = r->place->model, .partition = r->partition, .offset = r->input_offset};
}

/* Those that are stuck; where numbers are shared they are handed over, and the list is empty afterwards. */
static size_t floors_stuck(struct flow *f, struct arena *a, struct floor *ret)
{
    bool shared = owners_shared(f);
    size_t n = f->stuck_n;

    for (size_t i = 0; i < n; i++) {
        const struct stuck *s = &f->stuck[i];

        ret[i] = (struct floor){.name = arena_dup_str(a, s->name), .model = s->model, .exact = s->exact, .partition = s->partition, .offset = s->offset};
        if (!shared) continue;
        ret[i].identity = arena_dup_str(a, s->identity);
        ret[i].due_ms = s->due_ms;
        free((void *)s->name.p);
    }
    if (shared) f->stuck_n = 0;
    return n;
}

static void floors_done(struct flow *f);

static void floors_answered(struct msg *m)
{
    struct asking *a = container_of(m, struct asking, msg);
    struct flow *f = a->asker;

    for (size_t i = 0; i < a->n && !f->closed; i++)
        floor_apply(f, &a->floors[i]);
    arena_fini(&a->arena);
    free(a);
    f->floors_open--;
    if (!f->closed && f->floors_open == 0) floors_done(f);
    flow_returned(f);
}

/* On the asked executor's loop. Closed, no loop runs any more, and this is the thread that closes all. */
static void floors_asked(struct msg *m)
{
    struct asking *a = container_of(m, struct asking, msg);
    struct flow *f = a->asked;

    if (f->closed) {
        f = a->asker;
        free(a);
        flow_returned(f);
        return;
    }
    a->floors = arena_array(&a->arena, struct floor, f->counters.runs_now + f->stuck_n);
    list_each(l, &f->runs) {
        const struct flow_run *r = container_of(l, struct flow_run, link);

        if (!unfinished(r)) continue;
        a->floors[a->n] = floor_of(r);
        a->floors[a->n].name = arena_dup_str(&a->arena, r->place->name);
        a->n++;
    }
    a->n += floors_stuck(f, &a->arena, a->floors + a->n);
    a->msg.run = floors_answered;
    mailbox_post(loop_mailbox(a->asker->loop), &a->msg);
}

static void floors_own(struct flow *f)
{
    AUTO(arena_fini) struct arena a = {0};
    struct floor *stuck;
    size_t n;

    list_each(l, &f->runs) {
        const struct flow_run *r = container_of(l, struct flow_run, link);
        struct floor fl;

        if (!unfinished(r)) continue;
        fl = floor_of(r);
        floor_apply(f, &fl);
    }
    stuck = arena_array(&a, struct floor, f->stuck_n);
    n = floors_stuck(f, &a, stuck);
    for (size_t i = 0; i < n; i++)
        floor_apply(f, &stuck[i]);
}

static void floors_ask(struct flow *f)
{
    if (!list_empty(&f->committing) || list_empty(&f->commits)) return;
    list_move(&f->commits, &f->committing);
    list_each(l, &f->committing) {
        struct place *p = container_of(l, struct place, commit_link);

        for (size_t i = 0; i < p->intakes_n; i++) {
            struct intake *in = p->intakes[i];

            if (!in->open || !in->ends_n) continue;
            in->floor = MIN(in->seen, in->ends[in->ends_n - 1].inputs);
            in->floor = MIN(in->floor, foreign_floor(in));
            if (in->scan) in->floor = MIN(in->floor, scan_floor(in->scan));
        }
    }
    floors_own(f);
    f->floors_open = 1;
    for (unsigned i = 0; f->group && i < f->group->n; i++) {
        struct asking *a;

        if (f->group->all[i] == f) continue;
        a = xnew(struct asking);
        a->asker = f;
        a->asked = f->group->all[i];
        a->msg.run = floors_asked;
        f->floors_open++;
        f->lent++;
        mailbox_post(loop_mailbox(a->asked->loop), &a->msg);
    }
    if (--f->floors_open == 0) floors_done(f);
}

/* ---- committing ---- */

static void place_finished(struct place *p)
{
    struct flow *f = p->f;

    p->busy = false;
    f->commits_open--;
    intake_owners(p);
    place_unref(p);
    flow_check_drained(f);
}

static void commit_done(struct bus_op *op)
{
    struct commit *c = container_of(op, struct commit, c.op);
    struct place *p = c->p;
    struct flow *f = p->f;

    if (!f->closed) {
        c->done(p, c);
        place_unref(p);
    }
    arena_fini(&c->arena);
    free(c);
    flow_returned(f);
}

struct commit *commit_new(struct place *p, void (*done)(struct place *p, const struct commit *c))
{
    struct commit *c = xnew(struct commit);

    c->p = p;
    c->done = done;
    c->c = (struct bus_commit){
        .op = {.reply_to = loop_mailbox(p->f->loop), .done = commit_done},
        .group = p->group,
        .topic = p->inputs.name,
        .offsets = arena_array(&c->arena, struct bus_offset, p->intakes_n),
    };
    return c;
}

void commit_send(struct commit *c)
{
    c->p->refs++;
    c->p->f->lent++;
    bus_commit(c->p->f->bus, &c->c);
}

static void committed(struct place *p, const struct commit *c)
{
    const struct err *why = &c->c.op.err;

    for (size_t i = 0; i < c->c.offsets_n && !why->rc; i++)
        p->intakes[c->c.offsets[i].partition]->committed = c->c.offsets[i].offset;
    if (why->rc) {
        diag(DIAG_WARN, "flow.commit", KV_STR("group", p->group), KV_CSTR("why", why->text));
        commit_touch(p);
    }
    place_finished(p);
}

/* Keeps the pairs of ends that a later commit may still use: those behind the floor, and one before it. On a bus far away an
 * outcome may be in the log a moment before its input: there it is the pair before that one. */
static void ends_choose(struct intake *in)
{
    unsigned keep = 0;

    for (unsigned i = 0; i < in->ends_n; i++)
        if (in->ends[i].inputs <= in->floor) keep = i;
    if (in->ends_n == 0 || in->ends[keep].inputs > in->floor) return;
    if (owners_shared(in->p->f)) {
        if (keep == 0) return;
        keep--;
    }
    in->outputs.from = MAX(in->outputs.from, in->ends[keep].outputs);
    in->errors.from = MAX(in->errors.from, in->ends[keep].errors);
    memmove(in->ends, in->ends + keep, (in->ends_n - keep) * sizeof *in->ends);
    in->ends_n -= keep;
}

/* When it is full the newest makes room: the older ones are nearer to the floor. */
static void ends_remember(struct intake *in, const struct ends *e)
{
    outcomes_check(in, e);
    in->ends_n = MIN(in->ends_n, (unsigned)countof(in->ends) - 1);
    in->ends[in->ends_n++] = (struct intake_ends){
        ends_of(&e->inputs, in->partition), ends_of(&e->outputs, in->partition), ends_of(&e->errors, in->partition)};
}

static void place_commit(struct place *p)
{
    struct commit *c = commit_new(p, committed);

    for (size_t i = 0; i < p->intakes_n; i++) {
        struct intake *in = p->intakes[i];
        bool behind;

        if (!in->open || !in->ends_n) continue;
        behind = in->floor < in->seen || in->seen < in->ends[in->ends_n - 1].inputs;
        ends_choose(in);
        if (behind) commit_touch(p);
        if (in->floor > in->committed)
            c->c.offsets[c->c.offsets_n++] = (struct bus_offset){
                in->partition, in->floor, commit_metadata(&c->arena, in)};
    }
    if (c->c.offsets_n && p->state == PLACE_READY) {
        commit_send(c);
        return;
    }
    arena_fini(&c->arena);
    free(c);
    place_finished(p);
}

static void floors_done(struct flow *f)
{
    struct list todo;

    list_move(&f->committing, &todo);
    for (struct list *l; (l = list_pop(&todo));)
        place_commit(container_of(l, struct place, commit_link));
    floors_ask(f);
}

/* Ends and watches are known: the floors are next. */
static void told(struct place *p)
{
    struct flow *f = p->f;

    if (--p->tells_open > 0) return;
    if (p->ends_failed || p->state != PLACE_READY) {
        if (p->state == PLACE_READY) commit_touch(p);
        place_finished(p);
        return;
    }
    list_push(&f->commits, &p->commit_link);
    floors_ask(f);
}

void commit_told(struct intake *in)
{
    in->telling = false;
    told(in->p);
}

static void ends_known(struct place *p, const struct ends *e)
{
    p->ends_failed = e->err.rc != RC_OK;
    for (size_t i = 0; i < p->intakes_n && !p->ends_failed; i++)
        if (p->intakes[i]->open) ends_remember(p->intakes[i], e);
    told(p);
}

static bool any_open(const struct place *p)
{
    for (size_t i = 0; i < p->intakes_n; i++)
        if (p->intakes[i]->open) return true;
    return false;
}

static void place_look(struct place *p)
{
    struct flow *f = p->f;

    p->dirty = false;
    if (!any_open(p) && f->stuck_n == 0) return;
    p->busy = true;
    p->refs++;
    f->commits_open++;
    p->tells_open = 1;
    ends_look(p, ends_known);
    for (size_t i = 0; i < p->intakes_n; i++) {
        struct intake *in = p->intakes[i];

        if (!in->watching || in->paused) continue;
        in->telling = true;
        p->tells_open++;
        bus_watch_tell(f->bus, &in->watch);
    }
}

/* True: some are in the middle of something, and will have to be looked at again. */
static bool places_look(struct map *places)
{
    struct bytes key;
    void *value;
    size_t at = 0;
    bool again = false;

    while (map_next(places, &at, &key, &value)) {
        struct place *p = value;

        if (!p->dirty || p->state != PLACE_READY) continue;
        if (p->busy) again = true;
        else place_look(p);
    }
    return again;
}

static void commit_due(struct timer *t);

void commit_now(struct flow *f)
{
    bool again;

    timer_cancel(loop_timers(f->loop), &f->commit_timer);
    again = places_look(&f->pipelines);
    again |= places_look(&f->models);
    if (again && !f->final_commit) loop_timer(f->loop, &f->commit_timer, f->o.commit_every_ms, commit_due);
}

/* ---- what was touched ---- */

struct touches { struct msg msg; struct flow *from, *to; struct arena arena; struct floor *places; size_t n; };

static void touches_back(struct msg *m)
{
    struct touches *t = container_of(m, struct touches, msg);
    struct flow *f = t->from;

    arena_fini(&t->arena);
    free(t);
    flow_returned(f);
}

/* On executor 0. Closed, no loop runs any more: nothing is sent back. */
static void touches_run(struct msg *m)
{
    struct touches *t = container_of(m, struct touches, msg);
    struct flow *f = t->to;

    for (size_t i = 0; i < t->n && !f->closed; i++) {
        struct place *p = map_get_str(t->places[i].model ? &f->models : &f->pipelines, t->places[i].name);

        if (p) commit_touch(p);
    }
    t->msg.run = touches_back;
    if (f->closed) touches_back(m);
    else mailbox_post(loop_mailbox(t->from->loop), m);
}

static void touches_send(struct flow *f)
{
    struct touches *t = xnew(struct touches);
    size_t n = 0;

    list_each(l, &f->touched)
        n++;
    t->from = f;
    t->to = f->group->all[0];
    t->places = arena_array(&t->arena, struct floor, n);
    for (struct list *l; (l = list_pop(&f->touched));) {
        const struct place *p = container_of(l, struct place, commit_link);

        t->places[t->n++] = (struct floor){.name = arena_dup_str(&t->arena, p->name), .model = p->model};
    }
    t->msg.run = touches_run;
    f->lent++;
    mailbox_post(loop_mailbox(t->to->loop), &t->msg);
}

static void commit_due(struct timer *t)
{
    struct flow *f = container_of(t, struct flow, commit_timer);

    if (f->o.loop_index == 0) commit_now(f);
    else touches_send(f);
}

void commit_touch(struct place *p)
{
    struct flow *f = p->f;

    if (f->closed || f->final_commit || (f->o.loop_index != 0 && !f->group)) return;
    if (f->o.loop_index == 0) p->dirty = true;
    else if (list_empty(&p->commit_link)) list_push(&f->touched, &p->commit_link);
    if (!timer_is_set(&f->commit_timer)) loop_timer(f->loop, &f->commit_timer, f->o.commit_every_ms, commit_due);
}
