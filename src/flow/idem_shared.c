/* Idempotency keys where several processes share one log. No process asks another: the inputs of one partition, which is a hash
 * of the key, are read by all in the same order, and this rule says what each of them is:
 *
 *   An input holds its key when nobody holds it: there is no earlier one within the window, or the outcome of the one before
 *   freed the key and the input says so ("after": the offset of that one). Every other input is a later one: it is no run.
 *
 * So a request with a key that is free writes its input as a claim, and reads the partition up to there. First, it is the
 * run. Later, it has lost: its caller is answered like one who found the key taken. Before it writes, the log is read to its
 * end, so that only claims that are made at the same moment leave inputs that are no runs.
 *
 * Outcomes decide in the order of their offsets as ever. What a process leaves unfinished its partition's owner ends, keys or
 * not, after it has asked here whether it is a run at all. Who waits for a run that freed its key tries for itself.
 *
 * Everything here is executor 0's. SPDX-License-Identifier: Apache-2.0 */
#include "base/diag.h"
#include "flow/idem.h"

/* ---- records ---- */

bool idem_record(const struct bus_record *rec, struct idem_claim *ret)
{
    for (size_t i = 0; i < rec->headers_n; i++)
        if (str_is(rec->headers[i].key, IDEM_HEADER)) return idem_header_parse(bytes_str(rec->headers[i].value), ret);
    return false;
}

static int64_t holder_of(const struct idem *i)
{
    return i->input_at >= 0 ? i->input_at : i->freed_at;
}

static void identity_set(struct idem *i, struct str identity)
{
    if (i->identity) map_del_str(&i->index->by_identity, str_of(i->identity));
    free(i->identity);
    i->identity = NULL;
    if (!identity.n) return;
    i->identity = xcalloc(1, identity.n + 1);
    memcpy(i->identity, identity.p, identity.n);
    map_put_str(&i->index->by_identity, identity, i);
}

/* ---- who waits ---- */

bool idem_waited_for(struct idem *i)
{
    return !i->run && i->input_at >= 0 && !i->done && !list_empty(&i->waiters);
}

static void watch(struct idem *i)
{
    list_remove(&i->watch);
    list_push(&i->index->watched, &i->watch);
    idem_follow(i->index);
}

/* The key is another's, whose answer is this one's too. */
static void meet_holder(struct flow_run *r, struct idem *i)
{
    if (!idem_meet(r, i) || i->run) return;
    i->index->round.waits = 0;
    watch(i);
}

/* The youngest comes last. */
static void at_time(struct idem *i, int64_t wall_ms)
{
    i->wall_ms = wall_ms;
    list_remove(&i->link);
    list_push(&i->index->by_time, &i->link);
}

static void claim_make(struct flow_run *r, struct idem *i, const struct idem_claim *c)
{
    i->input = c->input;
    i->run = r;
    i->ended = (struct idem_outcome){0};
    at_time(i, clock_wall_ms(loop_clock(r->f->loop)));
    r->idem = i;
    run_claim(r);
}

void idem_decide(struct flow_run *r)
{
    struct idem_index *x = r->place->idem;
    const struct idem_claim *c;
    struct idem *i;

    if (!r->request) {
        flow_run_release(r);
        return;
    }
    if (idem_wait(r)) return;
    c = idem_claim_of(r);
    idem_purge(x);
    i = idem_find(x, &c->key);
    if (i && (i->run || i->input_at >= 0)) {
        meet_holder(r, i);
    } else if (!list_empty(&r->appends)) {       /* its lost claim is still on its way */
        idem_ask(r);
    } else if (i || !idem_full(r)) {
        claim_make(r, i ? i : idem_put(x, &c->key, &c->input, 0), c);
    }
}

void idem_decide_all(struct list *waiters)
{
    struct list todo;

    list_move(waiters, &todo);
    for (struct list *l; (l = list_pop(&todo));)
        idem_decide(container_of(l, struct flow_run, parked));
}

/* ---- claims ---- */

/* It is the run. Its caller may have gone meanwhile. */
static void claim_go(struct flow_run *r)
{
    bool wanted = r->request || idem_wanted(r), over = loop_now_ms(r->f->loop) >= r->deadline_ms;

    r->claim = CLAIM_NONE;
    r->pins++;
    if (graph_no_output(r->run.graph)) run_admitted(r);
    else if (wanted && !over) flow_run_start(r);
    else if (over) flow_run_fail(r, RC_TIMEOUT, STR("the deadline passed before it could start"));
    else flow_run_fail(r, RC_CANCELLED, STR("the caller went away"));
    r->pins--;
    flow_run_release(r);
}

void idem_acked(struct flow_run *r)
{
    struct idem_part *part;

    if (r->claim == CLAIM_WON) {
        claim_go(r);
    } else if (r->claim == CLAIM_OPEN) {
        part = idem_part(r->place->idem, r->partition);
        part->to[IDEM_INPUTS] = MAX(part->to[IDEM_INPUTS], r->input_offset + 1);
        idem_follow(r->place->idem);
    }
}

void idem_unclaim(struct flow_run *r)
{
    if (r->claim == CLAIM_NONE || r->claim == CLAIM_LOST) return;
    r->claim = CLAIM_NONE;
    if (r->input_done) flow_run_give_up(r);
}

static struct flow_run *claim_lost(struct idem *i)
{
    struct flow_run *r = i->run;

    i->run = NULL;
    r->idem = NULL;
    if (r->claim == CLAIM_OPEN) {
        r->claim = CLAIM_LOST;
        r->outcome_done = true;                  /* it will have none */
    }
    return r;
}

static bool claim_is(const struct idem *i, struct str identity)
{
    struct run_id id;

    return i->run && i->run->claim == CLAIM_OPEN && run_id_parse(i->run->id, &id) && str_eq(id.identity, identity);
}

/* ---- inputs ---- */

static void claim_won(struct idem *i)
{
    struct flow_run *r = i->run;

    r->claim = CLAIM_WON;
    if (r->input_done) claim_go(r);
}

/* Another one holds the key from here on; those who waited for the one before wait for this one. */
static void holder_new(struct idem *i, struct idem_index *x, const struct bus_record *rec)
{
    struct list todo;
    struct flow_run *lost = i->run ? claim_lost(i) : NULL;

    list_move(&i->waiters, &todo);
    if (lost && lost->claim == CLAIM_LOST) list_push_front(&todo, &lost->parked);
    i->done = i->accepted = idem_no_output(x->place, rec);
    i->error = false;
    i->partition = i->home;
    i->offset = rec->offset;
    i->ended = (struct idem_outcome){0};
    idem_decide_all(&todo);
}

static bool ours(const struct place *p, const struct run_id *id)
{
    return !id->outside && str_eq(id->topic, str_of(p->inputs.id)) && str_is(id->cluster, bus_facts(p->f->bus)->cluster_id);
}

static bool key_held(const struct idem *i, const struct idem_claim *c, const struct bus_record *rec)
{
    int64_t window_ms = (int64_t)i->index->place->f->o.idempotency_window_ms;

    return holder_of(i) >= 0 && rec->timestamp_ms - i->wall_ms <= window_ms && c->after < holder_of(i);
}

void idem_meet_input(struct idem_index *x, int32_t partition, const struct bus_record *rec)
{
    struct flow *f = x->place->f;
    int64_t since_ms = clock_wall_ms(loop_clock(f->loop)) - (int64_t)f->o.idempotency_window_ms;
    struct idem_claim c;
    struct run_id id;
    struct idem *i;

    if (!idem_record(rec, &c) || !scan_run_id(rec, &id) || !ours(x->place, &id)) return;
    i = idem_find(x, &c.key);
    if (rec->timestamp_ms < since_ms && !(i && claim_is(i, id.identity))) return;
    if (i && key_held(i, &c, rec)) return;
    if (!i && f->idem_n >= IDEM_MAX) return;     /* then no request with a key that is not known gets any further */
    if (!i) i = idem_put(x, &c.key, &c.input, rec->timestamp_ms);
    i->input = c.input;
    at_time(i, rec->timestamp_ms);
    i->home = partition;
    i->input_at = rec->offset;
    identity_set(i, idem_no_output(x->place, rec) ? (struct str){0} : id.identity);
    if (claim_is(i, id.identity)) claim_won(i);
    else holder_new(i, x, rec);
}

/* ---- outcomes ---- */

/* The key is nobody's any more; the entry remembers whose it was. */
static void set_free(struct idem *i)
{
    i->freed_at = i->input_at;
    i->input_at = -1;
    i->done = i->accepted = false;
}

static void settle(struct idem *i, const struct idem_outcome *o)
{
    identity_set(i, (struct str){0});
    i->ended = (struct idem_outcome){0};
    i->done = o->kept;
    i->error = o->error;
    i->partition = o->partition;
    i->offset = o->offset;
    if (!o->kept) set_free(i);
}

void idem_ended(struct idem *i, const struct idem_outcome *o, const struct bus_record *rec)
{
    if (i->run) {
        if (!i->ended.known) i->ended = *o;
        return;
    }
    settle(i, o);
    if (i->done && rec) idem_waiters_tell(&i->waiters, rec);
    idem_decide_all(&i->waiters);
}

void idem_meet_outcome(struct idem_index *x, bool errors, int32_t partition, const struct bus_record *rec)
{
    struct idem_outcome o = {.known = true, .partition = partition, .offset = rec->offset};
    struct run_id id;
    struct idem *i;

    if (!scan_run_id(rec, &id) || !(i = map_get_str(&x->by_identity, id.identity))) return;
    o.kept = idem_record_keeps(rec, &o.error);
    o.error |= errors;
    idem_ended(i, &o, rec);
}

/* A run of this process has ended. Without an outcome that it knows of: the log will tell. */
void idem_settle_shared(struct idem *i, struct flow_run *r, const struct idem_outcome *o)
{
    struct idem_outcome seen = i->ended;
    struct list waiters;

    i->run = NULL;
    if (i->input_at < 0) {                       /* the claim is not known to be in the log */
        list_move(&i->waiters, &waiters);
        if (i->freed_at < 0) idem_drop(i);
        idem_waiters_answer(&waiters, r, false);
    } else if (o->known && (!seen.known || seen.offset == o->offset)) {
        list_move(&i->waiters, &waiters);
        settle(i, o);
        idem_waiters_answer(&waiters, r, false);
    } else if (seen.known) {
        idem_ended(i, &seen, NULL);
    } else if (!list_empty(&i->waiters)) {
        watch(i);
    }
}

/* ---- owners ---- */

enum idem_verdict idem_verdict(struct place *p, int32_t partition, const struct bus_record *rec)
{
    struct idem_index *x = idem_index_of(p);
    struct idem_part *part;
    struct idem_claim c;
    const struct idem *i;

    if (!idem_record(rec, &c)) return IDEM_FIRST;
    x->used_ms = loop_now_ms(p->f->loop);
    if (!idem_is_read(x) && x->state == IDEM_UNREAD) idem_read_start(x);
    if (x->state != IDEM_READ) return IDEM_UNKNOWN;
    part = idem_part(x, partition);
    if (part->at[IDEM_INPUTS] <= rec->offset) {
        part->to[IDEM_INPUTS] = MAX(part->to[IDEM_INPUTS], rec->offset + 1);
        idem_follow(x);
        return IDEM_UNKNOWN;
    }
    i = idem_find(x, &c.key);
    return i && i->home == partition && holder_of(i) >= 0 && holder_of(i) != rec->offset ? IDEM_LATER : IDEM_FIRST;
}
