/* The index of idempotency keys out of the log: what earlier starts left within the window. One
 * partition after the other: the outcomes first (which run ended how, and where the record lies),
 * then the inputs that carry a key. Where the window begins is found by halving, on the records'
 * timestamps. What this start admitted meanwhile is already in the index, and is newer.
 *
 * Where the log is shared, partitions that are added later are read so too, before their keys are decided: what came of their
 * inputs lies among the outcomes of others, which the index may have read already.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/diag.h"
#include "flow/idem.h"
#include "flow/owners.h"

enum { FETCH_BYTES = 1 << 20, RETRY_MS = 500, SLACK_MS = 60000 };
enum read_phase { READ_OUTPUTS, READ_ERRORS, READ_INPUTS, READ_END };


struct idem_read {
    struct idem_index *x;
    struct place *p;
    struct flow *f;
    int32_t partition;
    enum read_phase phase;
    bool seeking;
    int64_t since_ms;
    int64_t low, high;                           /* seeking: the first record of the window lies in [low, high] */
    int64_t at, end;
    struct map ended;                            /* identity -> struct idem_outcome */
    struct arena arena;
    struct bus_fetch fetch;
    struct bus_topic look;
    struct timer retry;
    struct list waiting;                         /* in flow.idem_waiting while the timer runs */
};

static const struct topic *topic_of(const struct idem_read *d)
{
    return d->phase == READ_INPUTS ? &d->p->inputs : d->phase == READ_OUTPUTS ? &d->p->outputs : &d->f->errors;
}

static int32_t partition_of(const struct idem_read *d)
{
    return d->partition % MAX(topic_of(d)->partitions, 1);
}

static void read_next(struct idem_read *d);

static void read_end(struct idem_read *d)
{
    struct flow *f = d->f;
    struct place *p = d->p;
    struct idem_index *x = d->x;

    timer_cancel(loop_timers(f->loop), &d->retry);
    list_remove(&d->waiting);
    map_fini(&d->ended);
    arena_fini(&d->arena);
    free(d);
    if (!f->closed) {
        idem_read_done(x);
        place_unref(p);
    }
    flow_returned(f);
}

static void read_retry(struct timer *t)
{
    struct idem_read *d = container_of(t, struct idem_read, retry);

    list_remove(&d->waiting);
    read_next(d);
}

static void read_failed(struct idem_read *d, const struct err *why)
{
    diag(DIAG_WARN, "flow.idempotency", KV_STR("topic", topic_of(d)->name), KV_CSTR("why", why->text));
    list_push(&d->f->idem_waiting, &d->waiting);
    loop_timer(d->f->loop, &d->retry, RETRY_MS, read_retry);
}

void idem_reads_end(struct flow *f)
{
    while (!list_empty(&f->idem_waiting))
        read_end(container_of(f->idem_waiting.next, struct idem_read, waiting));
}

/* ---- records ---- */

/* The first record by offset is the outcome. */
static void outcome_note(struct idem_read *d, const struct bus_record *rec)
{
    struct idem_outcome *e;
    struct run_id id;

    if (!scan_run_id(rec, &id) || map_get_str(&d->ended, id.identity)) return;
    e = arena_new(&d->arena, struct idem_outcome);
    e->known = true;
    e->partition = partition_of(d);
    e->offset = rec->offset;
    e->kept = idem_record_keeps(rec, &e->error);
    map_put_str(&d->ended, id.identity, e);
}

static void input_note(struct idem_read *d, const struct bus_record *rec)
{
    struct idem_claim c;
    const struct idem_outcome *e;
    struct idem *i;
    struct run_id id;

    if (!idem_record(rec, &c) || rec->timestamp_ms < d->since_ms || !scan_run_id(rec, &id) || id.outside) return;
    if (str_is(id.incarnation, bus_facts(d->f->bus)->incarnation)) return; /* in the index, or freed */
    if ((i = idem_find(d->x, &c.key))) {
        if (i->done || i->run) return;
        idem_drop(i);
    }
    e = map_get_str(&d->ended, id.identity);
    if ((e && !e->kept) || d->f->idem_n >= IDEM_MAX) return;
    i = idem_put(d->x, &c.key, &c.input, rec->timestamp_ms);
    i->accepted = idem_no_output(d->p, rec);
    i->done = e != NULL || i->accepted;          /* else it is about to be run again */
    i->partition = d->partition;
    i->offset = rec->offset;
    if (!e || i->accepted) return;
    i->error = e->error;
    i->offset = e->offset;
    i->partition = e->partition;
}

/* By the rule of a log that is shared; nothing is admitted before this is over. */
static void input_note_shared(struct idem_read *d, const struct bus_record *rec)
{
    const struct idem_outcome *e;
    struct run_id id;
    struct idem *i;

    idem_meet_input(d->x, d->partition, rec);
    if (!scan_run_id(rec, &id) || !(e = map_get_str(&d->ended, id.identity))) return;
    if ((i = map_get_str(&d->x->by_identity, id.identity))) idem_ended(i, e, NULL);
}

static void record_note(struct idem_read *d, const struct bus_record *rec)
{
    if (d->phase != READ_INPUTS) outcome_note(d, rec);
    else if (owners_shared(d->f)) input_note_shared(d, rec);
    else input_note(d, rec);
}

/* ---- the way through the log ---- */

static void fetched(struct bus_op *op)
{
    struct idem_read *d = container_of(op, struct idem_read, fetch.op);
    struct bus_fetch *b = &d->fetch;

    if (d->f->closed) {
        bus_fetch_fini(b);
        read_end(d);
        return;
    }
    if (op->err.rc) {                            /* perhaps the log begins later by now: its ends are looked up again */
        d->end = -1;
        d->seeking = false;
        read_failed(d, &op->err);
        return;
    }
    if (d->seeking) {
        bool inside = b->records_n == 0 || b->records[0].timestamp_ms >= d->since_ms;

        if (inside) d->high = b->offset;
        else d->low = b->records[0].offset + 1;
    } else {
        for (size_t i = 0; i < b->records_n && b->records[i].offset < d->end; i++)
            record_note(d, &b->records[i]);
        d->at = b->next_offset > d->at ? b->next_offset : d->end;
    }
    bus_fetch_fini(b);
    read_next(d);
}

static void fetch(struct idem_read *d, int64_t offset, size_t size)
{
    d->fetch = (struct bus_fetch){
        .op = {.reply_to = loop_mailbox(d->f->loop), .done = fetched},
        .topic = topic_of(d)->name,
        .partition = partition_of(d),
        .offset = offset,
        .size_max = size,
    };
    bus_fetch(d->f->bus, &d->fetch);
}

static void looked(struct bus_op *op)
{
    struct idem_read *d = container_of(op, struct idem_read, look.op);
    struct bus_topic *t = &d->look;

    if (d->f->closed) {
        bus_topic_fini(t);
        read_end(d);
        return;
    }
    if (op->err.rc || t->partitions == 0) {
        if (!op->err.rc) err_set(&op->err, RC_NOT_FOUND, "the topic is gone");
        bus_topic_fini(t);
        read_failed(d, &op->err);
        return;
    }
    d->low = t->start_offsets[partition_of(d) % t->partitions];
    d->high = d->end = t->end_offsets[partition_of(d) % t->partitions];
    d->seeking = true;
    bus_topic_fini(t);
    read_next(d);
}

static void look(struct idem_read *d)
{
    d->look = (struct bus_topic){.op = {.reply_to = loop_mailbox(d->f->loop), .done = looked}, .topic = topic_of(d)->name};
    bus_topic_describe(d->f->bus, &d->look);
}

static void phase_next(struct idem_read *d)
{
    enum idem_topic t = d->phase == READ_OUTPUTS ? IDEM_OUTPUTS : d->phase == READ_ERRORS ? IDEM_ERRORS : IDEM_INPUTS;

    if (owners_shared(d->f)) idem_part(d->x, d->partition)->at[t] = d->end;
    d->phase = d->phase == READ_OUTPUTS && d->p->model ? READ_ERRORS : d->phase == READ_INPUTS ? READ_END : READ_INPUTS;
    d->end = -1;
    if (d->phase != READ_END) return;
    d->x->read_n = ++d->partition;
    d->phase = READ_OUTPUTS;
    map_fini(&d->ended);
    arena_fini(&d->arena);
}

/* One request to the bus is out at any time; this makes the next one. end -1: the topic's ends are not known. */
static void read_next(struct idem_read *d)
{
    if (!d->seeking && d->end >= 0 && d->at >= d->end) phase_next(d);
    if (d->partition >= d->p->inputs.partitions || d->p->state != PLACE_READY) {
        read_end(d);
        return;
    }
    if (d->end < 0) {
        look(d);
        return;
    }
    if (d->seeking && d->low < d->high) {
        fetch(d, d->low + (d->high - d->low) / 2, 1);
        return;
    }
    if (d->seeking) d->at = d->low;
    d->seeking = false;
    if (d->at >= d->end) read_next(d);
    else fetch(d, d->at, FETCH_BYTES);
}

void idem_read_start(struct idem_index *x)
{
    struct idem_read *d = xnew(struct idem_read);
    struct place *p = x->place;

    x->state = IDEM_READING;
    d->x = x;
    d->p = p;
    d->f = p->f;
    d->partition = x->read_n;
    d->end = -1;
    list_init(&d->waiting);
    d->since_ms = clock_wall_ms(loop_clock(p->f->loop)) - (int64_t)p->f->o.idempotency_window_ms;
    p->refs++;
    p->f->lent++;
    read_next(d);
}
