/* What was left unfinished when the process ended, on executor 0. For one partition of a place's
 * inputs: the outcomes from where the committed offset says they begin, to the end that was there at
 * the start, are read first; then the inputs, and each without an outcome is run again or ended.
 * Nothing is run before all outcomes are known, so an input has one outcome.
 *
 *   a gateway's input of an earlier start    run again with the next attempt number, or, its deadline
 *                                            being over, ended with an error
 *   of this start                            another executor is at it
 *   where numbers are shared: whatever start, a caller's is looked after until its outcome comes or its time is over
 *   (foreign.c); one that nobody waits for is run
 *   a hop of a pipeline (model topics)       belongs to the pipeline's run
 *   all others, and copies of ours           outside records: run
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/diag.h"
#include "flow/idem.h"
#include "flow/owners.h"

enum { FETCH_BYTES = 1 << 20, RETRY_MS = 500 };
enum scan_phase { SCAN_OUTPUTS, SCAN_ERRORS, SCAN_INPUTS };

struct scan {
    struct intake *in;                           /* NULL: given up; ends when its fetch is back */
    struct flow *f;
    enum scan_phase phase;
    struct map done, seen;                       /* identities with an outcome; of inputs */
    int64_t at, end;
    int64_t starts[3], ends[3];                  /* by phase */
    struct place *place;
    struct bus_fetch fetch;
    bool fetching, waiting;
    size_t record;                               /* the next of fetch.records to be sorted */
    struct timer retry;
};

static void scan_free(struct scan *s)
{
    timer_cancel(loop_timers(s->f->loop), &s->retry);
    bus_fetch_fini(&s->fetch);
    map_fini(&s->done);
    map_fini(&s->seen);
    free(s);
}

int64_t scan_floor(const struct scan *s)
{
    if (s->phase != SCAN_INPUTS) return s->in->committed;
    return s->record < s->fetch.records_n ? s->fetch.records[s->record].offset : s->at;
}

static void fetch_done(struct bus_op *op);
static void scan_finish(struct scan *s);

static void scan_fetch(struct scan *s)
{
    struct place *p = s->in->p;
    const struct topic *t = s->phase == SCAN_INPUTS    ? &p->inputs
                            : s->phase == SCAN_OUTPUTS ? &p->outputs
                                                       : &s->f->errors;

    bus_fetch_fini(&s->fetch);
    s->record = 0;
    s->fetch = (struct bus_fetch){
        .op = {.reply_to = loop_mailbox(s->f->loop), .done = fetch_done},
        .topic = t->name,
        .partition = s->in->partition % MAX(t->partitions, 1),
        .offset = s->at,
        .size_max = FETCH_BYTES,
    };
    s->fetching = true;
    p->refs++;
    s->f->lent++;
    bus_fetch(s->f->bus, &s->fetch);
}

static void phase_begin(struct scan *s, enum scan_phase phase)
{
    const struct intake *in = s->in;
    int64_t from = phase == SCAN_INPUTS    ? in->committed
                   : phase == SCAN_OUTPUTS ? in->outputs.from
                                           : in->errors.from;

    s->phase = phase;
    s->at = MAX(from, s->starts[phase]);
    s->end = s->ends[phase];
}

/* The next range with something in it, or the end. */
static void scan_next(struct scan *s)
{
    while (s->at >= s->end) {
        if (s->phase == SCAN_INPUTS) {
            scan_finish(s);
            return;
        }
        phase_begin(s, s->phase == SCAN_OUTPUTS && s->in->p->model ? SCAN_ERRORS : SCAN_INPUTS);
    }
    scan_fetch(s);
}

static void scan_finish(struct scan *s)
{
    struct intake *in = s->in;

    in->scan = NULL;
    scan_free(s);
    commit_touch(in->p);
}

/* ---- sorting ---- */

bool scan_run_id(const struct bus_record *rec, struct run_id *ret)
{
    for (size_t i = 0; i < rec->headers_n; i++)
        if (str_is(rec->headers[i].key, RUN_ID_HEADER)) return run_id_parse(bytes_str(rec->headers[i].value), ret);
    return false;
}

/* The errors topic has those of all runs, and more than one of some. */
static void outcome_sort(struct scan *s, const struct bus_record *rec)
{
    struct run_id id;

    if (scan_run_id(rec, &id) && str_eq(id.topic, str_of(s->in->p->inputs.id)) && map_put_str(&s->done, id.identity, s)) s->f->counters.repeats++;
}

static void outside_sort(struct scan *s, const struct bus_record *rec)
{
    struct arena a = {0};
    struct str id = run_id_outside(&a, str_of(s->in->p->inputs.id), s->in->partition, rec->offset);
    bool finished = map_get_str(&s->done, id) != NULL;

    arena_fini(&a);
    if (!finished) intake_run(s->in, rec, NULL, 2);
}

static void input_sort(struct scan *s, const struct bus_record *rec)
{
    const struct bus_facts *facts = bus_facts(s->f->bus);
    const struct place *p = s->in->p;
    struct idem_claim claim;
    struct run_id id;

    if (!intake_for_us(p, rec)) return;
    if (!scan_run_id(rec, &id)) {
        outside_sort(s, rec);
    } else if (!str_eq(id.topic, str_of(p->inputs.id)) || id.outside || !str_is(id.cluster, facts->cluster_id)) {
        if (!p->model) outside_sort(s, rec);     /* else the hop of a pipeline's run */
    } else if (map_put_str(&s->seen, id.identity, s)) {
        outside_sort(s, rec);                    /* a copy of one of ours */
    } else if (map_get_str(&s->done, id.identity)) {
        return;
    } else if (owners_shared(s->f) && id.deadline_wall_ms) {
        foreign_add(s->in, rec->offset, id.identity, id.deadline_wall_ms + (int64_t)s->f->o.recover_grace_ms);
    } else if (owners_shared(s->f) && idem_record(rec, &claim)) {
        foreign_ask(s->in, rec, &id, id.attempt + 1);
    } else if (owners_shared(s->f) || !str_is(id.incarnation, facts->incarnation)) {
        intake_run(s->in, rec, &id, id.attempt + 1);
    }
}

/* Sorts what was fetched, as far as there is room, and goes on. */
static void scan_sort(struct scan *s)
{
    struct flow *f = s->f;

    for (; s->record < s->fetch.records_n; s->record++) {
        const struct bus_record *rec = &s->fetch.records[s->record];

        if (rec->offset >= s->end) break;
        if (s->phase != SCAN_INPUTS) {
            outcome_sort(s, rec);
            continue;
        }
        if (f->draining || intake_full(s->in->p) || foreign_full(s->in)) {
            s->waiting = true;
            list_remove(&s->in->paused_link);
            list_push(&f->paused, &s->in->paused_link);
            return;
        }
        input_sort(s, rec);
    }
    s->at = s->fetch.next_offset > s->at ? s->fetch.next_offset : s->end;
    scan_next(s);
}

void scan_go_on(struct scan *s)
{
    if (!s->waiting) return;
    s->waiting = false;
    scan_sort(s);
}

/* ---- fetching ---- */

static void fetch_again(struct timer *t)
{
    scan_fetch(container_of(t, struct scan, retry));
}

static void fetch_done(struct bus_op *op)
{
    struct scan *s = container_of(op, struct scan, fetch.op);
    struct flow *f = s->f;
    struct place *p = s->place;

    s->fetching = false;
    if (f->closed || !s->in) {
        scan_free(s);
    } else if (op->err.rc) {
        diag(DIAG_WARN, "flow.recover", KV_STR("topic", s->fetch.topic), KV_CSTR("why", op->err.text));
        loop_timer(f->loop, &s->retry, RETRY_MS, fetch_again);
    } else {
        scan_sort(s);
    }
    if (!f->closed) place_unref(p);
    flow_returned(f);
}

void scan_start(struct intake *in, const struct ends *e)
{
    struct scan *s = xnew(struct scan);
    const struct ends_one *ones[] = {&e->outputs, &e->errors, &e->inputs};

    s->in = in;
    s->f = in->p->f;
    s->place = in->p;
    in->scan = s;
    for (size_t i = 0; i < countof(ones); i++) {
        s->ends[i] = ends_of(ones[i], in->partition);
        s->starts[i] = ones[i]->t.start_offsets[ends_at(ones[i], in->partition)];
    }
    phase_begin(s, SCAN_OUTPUTS);
    scan_next(s);
}

void scan_end(struct intake *in)
{
    struct scan *s = in->scan;

    if (!s) return;
    in->scan = NULL;
    s->in = NULL;
    if (!s->fetching) scan_free(s);
}
