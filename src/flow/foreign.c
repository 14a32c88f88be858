/* Requests that other processes run, in partitions that are ours. Their callers wait there, so nothing is done for as long as
 * they may still be answered: the outputs are looked through twice a second for what came of them, and the commit does not
 * pass them. One that is overdue is looked for once more, from where the outcomes of unfinished inputs begin; if there is
 * still none its input is read again and ended with an error. What nobody waits for and did not end (its outcome could not be
 * written) is run again.
 *
 * An outcome may be read before its input is known here: each look begins where the one before the last ended.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/diag.h"
#include "flow/idem.h"
#include "flow/owners.h"
#include <inttypes.h>

enum { FETCH_BYTES = 1 << 20, FOREIGN_MAX = 10000, LOOK_MS = 500, ASK_MS = 20, ASK_DOUBLED_MAX = 4 };
enum phase { PHASE_OUTPUTS, PHASE_ERRORS, PHASE_INPUTS };

/* attempt: what it would be run as; 0: the one after that of its input. */
struct foreign { struct list link; int64_t offset, due_ms; bool due; uint32_t attempt; struct str identity; char text[]; };

struct look {                                    /* one at a time */
    struct foreigns *ps;                         /* NULL: given up; ends when its fetch is back */
    struct flow *f;
    struct place *place;
    enum phase phase;
    bool full;                                   /* something is overdue */
    int64_t at, end;                             /* end: where the topic ended when it was first asked; -1: not yet */
    struct bus_fetch fetch;
};

struct foreigns {
    struct intake *in;
    struct map by_identity;
    struct list all;                             /* struct foreign */
    int64_t from[2], last[2];                    /* outputs, errors: where the next look begins, where the last one ended */
    bool asks;                                   /* whether one with an idempotency key is a run is not known yet */
    unsigned asked;                              /* looks in a row that ended so: the index may have all of its window to read */
    struct look *look;
    struct timer timer;
};

static void look_start(struct timer *t);

static struct foreigns *foreigns_of(struct intake *in)
{
    struct foreigns *ps = in->foreigns;

    if (ps) return ps;
    ps = in->foreigns = xnew(struct foreigns);
    ps->in = in;
    list_init(&ps->all);
    ps->from[PHASE_OUTPUTS] = ps->last[PHASE_OUTPUTS] = in->outputs.from;
    ps->from[PHASE_ERRORS] = ps->last[PHASE_ERRORS] = in->errors.from;
    return ps;
}

static struct foreign *add(struct intake *in, int64_t offset, struct str identity, int64_t due_ms, uint64_t look_ms)
{
    struct foreigns *ps = foreigns_of(in);
    struct foreign *p;

    if (map_get_str(&ps->by_identity, identity)) return NULL;
    p = xcalloc(1, sizeof *p + identity.n + 1);
    memcpy(p->text, identity.p, identity.n);
    p->identity = (struct str){p->text, identity.n};
    p->offset = offset;
    p->due_ms = due_ms;
    list_push(&ps->all, &p->link);
    map_put_str(&ps->by_identity, p->identity, p);
    if (!timer_is_set(&ps->timer) && !ps->look) loop_timer(in->p->f->loop, &ps->timer, look_ms, look_start);
    return p;
}

void foreign_add(struct intake *in, int64_t offset, struct str identity, int64_t due_ms)
{
    add(in, offset, identity, due_ms, LOOK_MS);
}

void foreign_ask(struct intake *in, const struct bus_record *rec, const struct run_id *id, uint32_t attempt)
{
    struct foreign *p = add(in, rec->offset, id->identity, 0, ASK_MS);

    if (!p) return;
    p->attempt = attempt;
    idem_verdict(in->p, in->partition, rec);
}

bool foreign_full(const struct intake *in)
{
    return in->foreigns && in->foreigns->by_identity.n >= FOREIGN_MAX;
}

int64_t foreign_floor(const struct intake *in)
{
    int64_t floor = INT64_MAX;

    if (!in->foreigns) return floor;
    list_each(l, &in->foreigns->all)
        floor = MIN(floor, container_of(l, struct foreign, link)->offset);
    return floor;
}

static void foreign_drop(struct foreigns *ps, struct foreign *p)
{
    map_del_str(&ps->by_identity, p->identity);
    list_remove(&p->link);
    free(p);
}

static void look_free(struct look *k)
{
    bus_fetch_fini(&k->fetch);
    free(k);
}

void foreign_clear(struct intake *in)
{
    struct foreigns *ps = in->foreigns;

    if (!ps) return;
    in->foreigns = NULL;
    timer_cancel(loop_timers(in->p->f->loop), &ps->timer);
    if (ps->look) ps->look->ps = NULL;           /* a look is always waiting for its fetch */
    while (!list_empty(&ps->all))
        foreign_drop(ps, container_of(ps->all.next, struct foreign, link));
    map_fini(&ps->by_identity);
    free(ps);
}

/* ---- a look ---- */

static void look_fetched(struct bus_op *op);
static void look_fetch(struct look *k);

static const struct topic *topic_of(const struct look *k)
{
    return k->phase == PHASE_INPUTS ? &k->place->inputs : k->phase == PHASE_OUTPUTS ? &k->place->outputs : &k->f->errors;
}

static void phase_begin(struct look *k, enum phase phase, int64_t at)
{
    k->phase = phase;
    k->at = at;
    k->end = -1;
    look_fetch(k);
}

static void look_fetch(struct look *k)
{
    const struct topic *t = topic_of(k);

    bus_fetch_fini(&k->fetch);
    k->fetch = (struct bus_fetch){
        .op = {.reply_to = loop_mailbox(k->f->loop), .done = look_fetched},
        .topic = t->name,
        .partition = k->ps->in->partition % MAX(t->partitions, 1),
        .offset = k->at,
        .size_max = FETCH_BYTES,
    };
    k->place->refs++;
    k->f->lent++;
    bus_fetch(k->f->bus, &k->fetch);
}

static uint64_t next_look_ms(struct foreigns *ps)
{
    unsigned doubled = MIN(ps->asked, (unsigned)ASK_DOUBLED_MAX);

    ps->asked = ps->asks ? ps->asked + 1 : 0;
    return ps->asks ? (uint64_t)ASK_MS << doubled : LOOK_MS;
}

static void look_end(struct look *k)
{
    struct foreigns *ps = k->ps;
    struct intake *in = ps->in;

    ps->look = NULL;
    look_free(k);
    commit_touch(in->p);
    if (!foreign_full(in)) intake_room(in->p->f);
    if (list_empty(&ps->all)) foreign_clear(in);
    else loop_timer(in->p->f->loop, &ps->timer, next_look_ms(ps), look_start);
}

static int64_t wall_ms(const struct look *k)
{
    return clock_wall_ms(loop_clock(k->f->loop));
}

/* The inputs of those that are overdue, if there are any. */
static void inputs_begin(struct look *k)
{
    int64_t from = INT64_MAX, now = wall_ms(k);

    list_each(l, &k->ps->all) {
        struct foreign *p = container_of(l, struct foreign, link);

        p->due = k->full && p->due_ms <= now;
        if (p->due) from = MIN(from, p->offset);
    }
    if (from == INT64_MAX) {
        look_end(k);
        return;
    }
    phase_begin(k, PHASE_INPUTS, from);
}

static void phase_end(struct look *k)
{
    struct foreigns *ps = k->ps;

    if (k->phase == PHASE_INPUTS) {              /* whose input is not in the log was never admitted */
        list_each_safe(l, &ps->all) {
            struct foreign *p = container_of(l, struct foreign, link);

            if (p->due) foreign_drop(ps, p);
        }
        look_end(k);
        return;
    }
    ps->from[k->phase] = ps->last[k->phase];
    ps->last[k->phase] = k->at;
    if (k->phase == PHASE_OUTPUTS && k->place->model) {
        phase_begin(k, PHASE_ERRORS, k->full ? ps->in->errors.from : ps->from[PHASE_ERRORS]);
    } else {
        inputs_begin(k);
    }
}

static void outcome_meet(struct look *k, const struct bus_record *rec)
{
    struct foreign *p;
    struct run_id id;

    if (!scan_run_id(rec, &id) || !(p = map_get_str(&k->ps->by_identity, id.identity))) return;
    foreign_drop(k->ps, p);
}

/* A later input with the idempotency key of another is no run. */
static bool a_run(struct look *k, struct foreign *p, const struct bus_record *rec)
{
    struct intake *in = k->ps->in;
    enum idem_verdict v = idem_verdict(in->p, in->partition, rec);

    if (v == IDEM_LATER) foreign_drop(k->ps, p);
    if (v != IDEM_UNKNOWN) return v == IDEM_FIRST;
    p->due = false;                              /* another look will tell */
    k->ps->asks = true;
    return false;
}

/* An input: its own run, or, without a run id, the outside record at this offset. */
static void input_meet(struct look *k, const struct bus_record *rec)
{
    struct intake *in = k->ps->in;
    struct arena a = {0};
    struct run_id id;
    uint32_t attempt;
    bool own = scan_run_id(rec, &id);
    struct foreign *p = own ? map_get_str(&k->ps->by_identity, id.identity) : NULL;

    if (!p) {
        own = false;
        p = map_get_str(&k->ps->by_identity, run_id_outside(&a, str_of(in->p->inputs.id), in->partition, rec->offset));
    }
    arena_fini(&a);
    if (!p || !p->due) return;
    if (own && !a_run(k, p, rec)) return;
    attempt = !own ? 2 : p->attempt ? p->attempt : id.attempt + 1;
    if (!p->attempt) diag(DIAG_INFO, "flow.recover", KV_STR("topic", in->p->inputs.name), KV_I64("partition", in->partition), KV_I64("offset", rec->offset),
         KV_CSTR("why", "its time is over and it has no outcome: the process that took it does not finish it"));
    if (own && !p->attempt) k->f->counters.ended_for_others++;
    foreign_drop(k->ps, p);
    intake_run(in, rec, own ? &id : NULL, attempt);
}

static void look_fetched(struct bus_op *op)
{
    struct look *k = container_of(op, struct look, fetch.op);
    struct flow *f = k->f;
    struct place *place = k->place;

    if (f->closed || !k->ps) {
        look_free(k);
    } else if (op->err.rc == RC_INVALID && k->at >= 0) {
        k->at = -1;                              /* what was there is gone */
        look_fetch(k);
    } else if (op->err.rc) {
        diag(DIAG_WARN, "flow.recover", KV_STR("topic", k->fetch.topic), KV_CSTR("why", op->err.text));
        look_end(k);
    } else {
        for (size_t i = 0; i < k->fetch.records_n && k->ps; i++)
            k->phase == PHASE_INPUTS ? input_meet(k, &k->fetch.records[i]) : outcome_meet(k, &k->fetch.records[i]);
        k->at = k->fetch.next_offset;
        if (k->end < 0 || k->end > k->fetch.end_offset) k->end = k->fetch.end_offset;  /* what is undecided is not shown, and may end it sooner */
        if (!k->ps) look_free(k);
        else if (k->at >= k->end) phase_end(k);
        else look_fetch(k);
    }
    if (!f->closed) place_unref(place);
    flow_returned(f);
}

static void look_start(struct timer *t)
{
    struct foreigns *ps = container_of(t, struct foreigns, timer);
    struct look *k = xnew(struct look);
    int64_t now;

    k->ps = ps;
    k->place = ps->in->p;
    k->f = k->place->f;
    ps->look = k;
    ps->asks = false;
    now = wall_ms(k);
    list_each(l, &ps->all)
        k->full |= container_of(l, struct foreign, link)->due_ms <= now && !k->f->draining;     /* else the next owner's */
    phase_begin(k, PHASE_OUTPUTS, k->full ? ps->in->outputs.from : ps->from[PHASE_OUTPUTS]);
}
