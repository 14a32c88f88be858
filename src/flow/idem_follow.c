/* Where several processes share the log, the index of idempotency keys follows it, on demand: a round reads what was written
 * to the partitions that somebody asks about, inputs before outcomes. The ends are looked up outputs first, so whatever outcome
 * lies before its end has its input before the end of inputs. Requests that came before a round began are decided when it is
 * over; claims that are acknowledged and runs of other processes that somebody waits for bring about the next one.
 *
 * An index that is used keeps up with the log once a second, so that the next request finds little to read. One that nobody has
 * asked for the time of the window is forgotten: to read the window anew is less than to read all that was written since.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/diag.h"
#include "flow/idem.h"

enum { FETCH_BYTES = 1 << 20, RETRY_MS = 500, LOOK_MS = 20, LOOK_DOUBLED_MAX = 4, NOTHING_YET_MS = 10, KEEP_UP_MS = 1000 };

struct idem_part *idem_part(struct idem_index *x, int32_t partition)
{
    size_t n = (size_t)partition + 1;

    if (n > x->parts_n) {
        x->parts = xrealloc(x->parts, n, sizeof *x->parts);
        memset(x->parts + x->parts_n, 0, (n - x->parts_n) * sizeof *x->parts);
        x->parts_n = n;
    }
    return &x->parts[partition];
}

static const struct topic *topic_of(const struct idem_round *d)
{
    struct place *p = d->x->place;

    return d->topic == IDEM_INPUTS ? &p->inputs : d->topic == IDEM_OUTPUTS ? &p->outputs : &p->f->errors;
}

static int32_t partition_of(const struct idem_round *d)
{
    return (int32_t)d->part % MAX(topic_of(d)->partitions, 1);
}

static void round_read(struct idem_round *d);

/* ---- the next one ---- */

static void follow_again(struct timer *t)
{
    struct idem_round *d = container_of(t, struct idem_round, again);

    struct place *p = d->x->place;

    if (p->f->closed) return;
    p->refs++;
    if (d->going) round_read(d);
    else idem_follow(d->x);
    place_unref(p);
}

static void again_in(struct idem_round *d, uint64_t ms)
{
    timer_cancel(loop_timers(d->x->place->f->loop), &d->again);
    loop_timer(d->x->place->f->loop, &d->again, ms, follow_again);
}

static bool more_to_read(const struct idem_index *x)
{
    for (size_t i = 0; i < x->parts_n; i++)
        for (size_t t = 0; t < countof(x->parts[i].at); t++)
            if (x->parts[i].at[t] < x->parts[i].to[t]) return true;
    return false;
}

/* Runs of other processes that nobody here waits for are not looked for. */
static bool watched_look(struct idem_index *x)
{
    bool any = false;

    list_each_safe(l, &x->watched) {
        struct idem *i = container_of(l, struct idem, watch);

        if (!idem_waited_for(i)) {
            list_remove(l);
            continue;
        }
        idem_part(x, i->home)->look = true;
        any = true;
    }
    return any;
}

static bool in_use(const struct idem_index *x)
{
    const struct flow *f = x->place->f;

    if (loop_now_ms(f->loop) < x->used_ms + f->o.idempotency_window_ms) return true;
    list_each(l, &x->by_time) {
        const struct idem *i = container_of(l, struct idem, link);

        if (i->run || !list_empty(&i->waiters)) return true;
    }
    return false;
}

static void keep_up(struct idem_round *d)
{
    struct idem_index *x = d->x;

    if (x->place->f->draining || x->place->state != PLACE_READY || x->state != IDEM_READ) return;
    if (!in_use(x)) {
        idem_forget(x);
        free(x->parts);
        x->parts = NULL;
        x->parts_n = 0;
        return;
    }
    idem_purge(x);
    for (size_t i = 0; i < x->parts_n; i++)
        x->parts[i].look = true;
    again_in(d, KEEP_UP_MS);
}

static void look_again(struct idem_round *d)
{
    unsigned doubled = MIN(d->waits, (unsigned)LOOK_DOUBLED_MAX);

    d->waits++;
    again_in(d, (uint64_t)LOOK_MS << doubled);
}

static void round_end(struct idem_round *d)
{
    struct idem_index *x = d->x;

    d->going = false;
    d->tries = 0;
    idem_decide_all(&x->asked);
    if (d->going) return;
    if (!list_empty(&x->asking) || more_to_read(x)) idem_follow(x);
    else if (watched_look(x)) look_again(d);
    else keep_up(d);
}

static void round_failed(struct idem_round *d, const struct err *why)
{
    if (d->tries++ == 0)
        diag(DIAG_WARN, "flow.idempotency", KV_STR("topic", topic_of(d)->name), KV_CSTR("why", why->text));
    again_in(d, RETRY_MS);
}

/* ---- reading ---- */

/* An outcome behind the end that was looked up waits for the next round: its input may not have been met. */
static bool too_early(const struct idem_round *d, int64_t offset)
{
    return d->topic != IDEM_INPUTS && offset >= d->x->parts[d->part].to[d->topic];
}

static void records_meet(struct idem_round *d)
{
    for (size_t i = 0; i < d->fetch.records_n; i++) {
        if (too_early(d, d->fetch.records[i].offset)) break;
        if (d->topic == IDEM_INPUTS) idem_meet_input(d->x, (int32_t)d->part, &d->fetch.records[i]);
        else idem_meet_outcome(d->x, d->topic == IDEM_ERRORS, partition_of(d), &d->fetch.records[i]);
    }
}

/* How far it has come: behind what it met, or at the first that is too early, where what lay before that is gone. */
static int64_t met_up_to(const struct idem_round *d)
{
    const struct bus_fetch *b = &d->fetch;
    int64_t to = d->x->parts[d->part].to[d->topic];

    if (!too_early(d, b->next_offset)) return b->next_offset;
    return MAX(to, b->records_n ? b->records[0].offset : b->next_offset);
}

/* What was there is gone: from the start of what is, which may end sooner. */
static void part_anew(struct idem_round *d)
{
    struct idem_part *part = &d->x->parts[d->part];

    part->at[d->topic] = -1;
    part->to[d->topic] = 0;
    part->look = true;
}

static void round_took(struct idem_round *d)
{
    struct err why = d->fetch.op.err;
    int64_t next, *at;

    if (!why.rc) records_meet(d);
    next = met_up_to(d);
    at = &d->x->parts[d->part].at[d->topic];     /* the parts may have grown meanwhile */
    bus_fetch_fini(&d->fetch);
    if (why.rc == RC_INVALID && *at >= 0) {
        part_anew(d);
        round_read(d);
    } else if (why.rc) {
        round_failed(d, &why);
    } else if (next > *at) {
        *at = next;
        round_read(d);
    } else {
        again_in(d, NOTHING_YET_MS);
    }
}

static void round_fetched(struct bus_op *op)
{
    struct idem_round *d = container_of(op, struct idem_round, fetch.op);
    struct place *p = d->x->place;
    struct flow *f = p->f;

    if (f->closed) {
        bus_fetch_fini(&d->fetch);
    } else {
        round_took(d);
        place_unref(p);
    }
    flow_returned(f);
}

static void round_read(struct idem_round *d)
{
    struct idem_index *x = d->x;
    struct place *p = x->place;

    for (; d->part < x->parts_n; d->part++, d->topic = IDEM_INPUTS) {
        const struct idem_part *part = &x->parts[d->part];

        for (; d->topic <= IDEM_ERRORS; d->topic++) {
            if (part->at[d->topic] >= part->to[d->topic]) continue;
            d->fetch = (struct bus_fetch){
                .op = {.reply_to = loop_mailbox(p->f->loop), .done = round_fetched},
                .topic = topic_of(d)->name,
                .partition = partition_of(d),
                .offset = part->at[d->topic],
                .size_max = FETCH_BYTES,
            };
            p->refs++;
            p->f->lent++;
            bus_fetch(p->f->bus, &d->fetch);
            return;
        }
    }
    round_end(d);
}

static void round_begin(struct idem_round *d)
{
    d->part = 0;
    d->topic = IDEM_INPUTS;
    round_read(d);
}

static void ends_known(struct place *p, const struct ends *e)
{
    struct idem_index *x = p->idem;

    if (e->err.rc) {
        list_each_safe(l, &x->asked) {
            list_remove(l);
            list_push(&x->asking, l);
        }
        x->round.going = false;
        x->round.topic = IDEM_INPUTS;
        round_failed(&x->round, &e->err);
        return;
    }
    for (size_t i = 0; i < x->parts_n; i++) {
        struct idem_part *part = &x->parts[i];

        if (!part->look || (int32_t)i >= e->inputs.used) continue;      /* one that was added since the ends were asked for */
        part->look = false;
        part->to[IDEM_INPUTS] = MAX(part->to[IDEM_INPUTS], ends_of(&e->inputs, (int32_t)i));
        part->to[IDEM_OUTPUTS] = MAX(part->to[IDEM_OUTPUTS], ends_of(&e->outputs, (int32_t)i));
        if (p->model) part->to[IDEM_ERRORS] = MAX(part->to[IDEM_ERRORS], ends_of(&e->errors, (int32_t)i));
    }
    round_begin(&x->round);
}

static bool any_look(const struct idem_index *x)
{
    for (size_t i = 0; i < x->parts_n; i++)
        if (x->parts[i].look) return true;
    return false;
}

void idem_follow(struct idem_index *x)
{
    struct idem_round *d = &x->round;

    if (d->going || x->state != IDEM_READ || x->place->f->closed) return;
    timer_cancel(loop_timers(x->place->f->loop), &d->again);
    d->going = true;
    d->x = x;
    watched_look(x);
    list_each_safe(l, &x->asking) {
        list_remove(l);
        list_push(&x->asked, l);
    }
    if (any_look(x)) ends_look(x->place, ends_known);
    else round_begin(d);
}

void idem_ask(struct flow_run *r)
{
    struct idem_index *x = r->place->idem;

    x->used_ms = loop_now_ms(r->f->loop);
    list_push(&x->asking, &r->parked);
    idem_part(x, run_partition_of_key(r->place, &idem_claim_of(r)->key))->look = true;
    idem_follow(x);
}

void idem_follow_free(struct idem_index *x)
{
    timer_cancel(loop_timers(x->place->f->loop), &x->round.again);
    map_fini(&x->by_identity);
    free(x->parts);
}
