/* Records from outside, on executor 0: asynchronous inference. The bus hands over what other
 * producers wrote to the inputs topics; each record becomes a run that nobody waits for. When there
 * are too many of those at once no more are asked for: records wait in the log, not in memory.
 *
 * A place is opened once per process: committed offsets are looked up; a new one has none, and gets
 * the ends of its topics before it is ready, so that what was written before it existed is not run.
 * Where numbers are shared the owner of number 0 does that, the others wait for it; and every
 * partition is opened (looked up again, searched, watched) when it becomes this process's, and left
 * when it is another's.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/diag.h"
#include "bus/schema.h"
#include "flow/idem.h"
#include "flow/owners.h"
#include "flow/payload.h"
#include "flow/tap.h"
#include <inttypes.h>

enum { RETRY_MS_MIN = 20, RETRY_MS_MAX = 1000, BESIDE_MS_MIN = 1 };    /* the last: executor 0 of this process begins it right now */

/* ---- ends of topics ---- */

static void ends_free(struct ends *e)
{
    bus_topic_fini(&e->outputs.t);
    bus_topic_fini(&e->errors.t);
    bus_topic_fini(&e->inputs.t);
    free(e);
}

static void ends_ask(struct ends *e);

/* One after the other: a bus far away would look them up in any order. */
static void ends_one_done(struct bus_op *op)
{
    struct ends_one *one = container_of(op, struct ends_one, t.op);
    struct bus_topic *t = &one->t;
    struct ends *e = one->all;
    struct place *p = e->p;
    struct flow *f = p->f;

    if (op->err.rc && !e->err.rc) e->err = op->err;
    if (!op->err.rc && t->partitions == 0) err_set(&e->err, RC_NOT_FOUND, "topic " STR_FMT " is gone", STR_ARG(t->topic));
    else if (!op->err.rc && one == &e->inputs && t->partitions < one->used)    /* one that has come to be smaller is used so before */
        err_set(&e->err, RC_UNAVAILABLE, "topic " STR_FMT " has %d partitions now and had %d: whoever was asked has not heard of all yet",
                STR_ARG(t->topic), t->partitions, one->used);
    if (!f->closed && !e->err.rc && --e->open > 0) {
        ends_ask(e);
    } else {
        if (!f->closed) {
            e->done(p, e);
            place_unref(p);
        }
        ends_free(e);
    }
    flow_returned(f);
}

static void ends_ask(struct ends *e)
{
    struct place *p = e->p;
    struct flow *f = p->f;
    struct ends_one *one = e->open == 3 ? &e->outputs : e->open == 2 ? &e->errors : &e->inputs;
    struct str name = e->open == 3 ? p->outputs.name : e->open == 2 ? f->errors.name : p->inputs.name;

    one->all = e;
    one->used = e->open == 3 ? p->outputs.partitions : e->open == 2 ? f->errors.partitions : p->inputs.partitions;
    one->t = (struct bus_topic){.op = {.reply_to = loop_mailbox(f->loop), .done = ends_one_done}, .topic = name};
    f->lent++;
    bus_topic_describe(f->bus, &one->t);
}

void ends_look(struct place *p, void (*done)(struct place *p, const struct ends *e))
{
    struct ends *e = xnew(struct ends);

    e->p = p;
    e->done = done;
    e->open = 3;
    p->refs++;
    ends_ask(e);
}

int32_t ends_at(const struct ends_one *one, int32_t partition)
{
    return partition % (one->used > 0 ? MIN(one->used, one->t.partitions) : one->t.partitions);
}

int64_t ends_of(const struct ends_one *one, int32_t partition)
{
    return one->t.end_offsets[ends_at(one, partition)];
}

/* ---- opening ---- */

static void open_again(struct timer *t)
{
    intake_open(container_of(t, struct place, retry));
}

static void take_again(struct timer *t)
{
    intake_open(container_of(t, struct place, take_retry));
}

static void open_failed(struct place *p, const struct err *why)
{
    uint64_t wait = MIN((uint64_t)RETRY_MS_MIN << MIN(p->tries, 10u), (uint64_t)RETRY_MS_MAX);
    struct err e = *why;

    p->busy = false;
    err_in(&e, "offsets of " STR_FMT, STR_ARG(p->inputs.name));
    why_set(&p->why, e.text);
    if (p->tries++ == 0)
        diag(DIAG_WARN, "flow.offsets", KV_STR("group", p->group), KV_CSTR("why", why->text));
    if (p->state == PLACE_OFFSETS) loop_timer(p->f->loop, &p->retry, wait, open_again);
    if (p->state == PLACE_READY) loop_timer(p->f->loop, &p->take_retry, wait, take_again);
}

static void watch_records(struct bus_watch *w, const struct bus_record *records, size_t n, int64_t next);
static void watch_done(struct bus_op *op);

static void watch_start(struct intake *in, int64_t from)
{
    struct flow *f = in->p->f;

    in->seen = from;
    in->watching = true;
    in->watch = (struct bus_watch){
        .op = {.reply_to = loop_mailbox(f->loop), .done = watch_done},
        .topic = in->p->inputs.name,
        .partition = in->partition,
        .offset = from,
        .records = watch_records,
    };
    in->p->refs++;
    f->lent++;
    bus_watch(f->bus, &in->watch);
}

/* It is to be ours, and is not yet. The old watch has to end first. One that became ours after offsets and ends were asked for has to
 * wait for the next look: its former owner may have written outcomes since. */
static bool intake_waits(const struct intake *in)
{
    return !in->open && !in->watching && owners_mine(in->p->f, in->partition);
}

static void place_opened(struct place *p, const struct ends *e)
{
    bool fresh = p->state == PLACE_OFFSETS;

    p->busy = false;
    why_set(&p->why, NULL);
    p->tries = 0;
    if ((!fresh && p->state != PLACE_READY) || p->f->watches_closed) return;     /* nobody would end a watch that begins now */
    p->state = PLACE_READY;
    if (fresh) {
        diag(DIAG_INFO, "flow.ready", KV_CSTR("kind", p->model ? "model" : "pipeline"), KV_STR("name", p->name),
             KV_U64("partitions", p->inputs.partitions));
        p->inputs.made = false;
    }
    for (size_t i = 0; i < p->intakes_n; i++) {
        struct intake *in = p->intakes[i];
        int64_t end = e ? ends_of(&e->inputs, in->partition) : in->committed;

        if (!intake_waits(in) || !in->asked || in->committed < 0) continue;
        in->open = true;
        in->ends_n = 0;
        if (in->committed < end) scan_start(in, e);
        watch_start(in, end);
    }
    flow_unpark_all(p->f);
    intake_owners(p);
}

static void first_committed(struct place *p, const struct commit *c)
{
    if (c->c.op.err.rc) open_failed(p, &c->c.op.err);
    else place_opened(p, NULL);
}

struct first { struct bus_commit asked; struct commit *c; };

static void first_drop(struct first *first)
{
    bus_committed_fini(&first->asked);
    if (first->c) arena_fini(&first->c->arena);
    free(first->c);
    free(first);
}

/* Another process has begun it since, and may have come further than these ends: they do not hold. */
static bool begun_meanwhile(const struct bus_commit *asked)
{
    for (size_t i = 0; i < asked->offsets_n; i++)
        if (asked->offsets[i].offset >= 0) return true;
    return false;
}

static void first_known(struct bus_op *op)
{
    struct first *first = container_of(op, struct first, asked.op);
    struct place *p = first->c->p;
    struct flow *f = p->f;
    bool begun = !op->err.rc && begun_meanwhile(&first->asked);

    for (size_t i = 0; !f->closed && begun && i < p->intakes_n; i++)
        p->intakes[i]->committed = p->acked[i] = -1;
    if (!f->closed && op->err.rc) {
        open_failed(p, &op->err);
    } else if (!f->closed && begun) {
        p->busy = false;
        intake_open(p);
    } else if (!f->closed) {
        commit_send(first->c);
        first->c = NULL;
    }
    if (!f->closed) place_unref(p);
    first_drop(first);
    flow_returned(f);
}

/* The first time: what is in the topics now is not to be run. Where numbers are shared it is asked once more, after the ends, whether
 * nobody was faster: a process that is stopped in between and wakes up would else pass over what its successor has not run yet. */
static void first_commit(struct place *p, const struct ends *e)
{
    struct commit *c = commit_new(p, first_committed);
    struct first *first;

    for (size_t i = 0; i < p->intakes_n; i++) {
        struct intake *in = p->intakes[i];

        in->committed = ends_of(&e->inputs, in->partition);
        outcomes_begin(in, e);
        p->acked[i] = in->committed - 1;
        c->c.offsets[c->c.offsets_n++] = (struct bus_offset){
            in->partition, in->committed, commit_metadata(&c->arena, in)};
    }
    if (!owners_shared(p->f)) {
        commit_send(c);
        return;
    }
    first = xnew(struct first);
    first->c = c;
    first->asked = (struct bus_commit){.op = {.reply_to = loop_mailbox(p->f->loop), .done = first_known},
                                       .group = p->group, .topic = p->inputs.name, .offsets_n = p->intakes_n};
    p->refs++;
    p->f->lent++;
    bus_committed(p->f->bus, &first->asked);
}

static void ends_known(struct place *p, const struct ends *e)
{
    bool fresh = true;

    if (e->err.rc) {
        open_failed(p, &e->err);
        return;
    }
    for (size_t i = 0; i < p->intakes_n; i++)
        fresh &= p->intakes[i]->committed < 0;
    if (fresh) {
        first_commit(p, e);
        return;
    }
    for (size_t i = 0; i < p->intakes_n; i++) {
        struct intake *in = p->intakes[i];
        struct err why;

        if (!intake_waits(in) || !in->asked) continue;
        if (in->committed < 0) in->committed = 0;        /* partitions added since start at 0 */
        else if (intake_go_on_at(in, in->committed, false, e, &in->committed, &why)) {
            open_failed(p, &why);
            return;
        }
        outcomes_check(in, e);
    }
    place_opened(p, e);
}

/* There is nothing yet, and this executor does not begin it. */
static bool another_begins(const struct place *p, const struct bus_commit *c)
{
    for (size_t i = 0; i < c->offsets_n; i++)
        if (c->offsets[i].offset >= 0) return false;
    return p->f->o.loop_index != 0 || !owners_mine(p->f, 0);
}

/* Executor 0 goes on to the ends; the others are ready when something was committed. */
static void committed_known(struct place *p, const struct bus_commit *c)
{
    for (size_t i = 0; i < c->offsets_n; i++)
        p->acked[i] = MAX(p->acked[i], c->offsets[i].offset - 1);
    p->busy = false;
    if (p->state != PLACE_OFFSETS && p->state != PLACE_READY) return;
    if (another_begins(p, c)) {
        uint64_t first = owners_mine(p->f, 0) ? BESIDE_MS_MIN : RETRY_MS_MIN, wait = MIN(first << MIN(p->tries, 10u), (uint64_t)RETRY_MS_MAX);

        p->tries++;
        if (p->state == PLACE_OFFSETS) loop_timer(p->f->loop, &p->retry, wait, open_again);
        else loop_timer(p->f->loop, &p->take_retry, wait, take_again);
        return;
    }
    if (p->f->o.loop_index != 0) {
        why_set(&p->why, NULL);
        p->tries = 0;
        p->state = PLACE_READY;
        flow_unpark_all(p->f);
        return;
    }
    for (size_t i = 0; i < p->intakes_n; i++) {
        struct intake *in = p->intakes[i];

        if (in->open || i >= c->offsets_n) continue;     /* the second: the topic was made anew with fewer */
        in->committed = c->offsets[i].offset;
        commit_metadata_parse(c->offsets[i].metadata, in);
    }
    p->busy = true;
    ends_look(p, ends_known);
}

struct committed_ask { struct bus_commit c; struct place *p; };

static void committed_done(struct bus_op *op)
{
    struct committed_ask *ask = container_of(op, struct committed_ask, c.op);
    struct place *p = ask->p;
    struct flow *f = p->f;

    if (!f->closed) {
        if (op->err.rc) open_failed(p, &op->err);
        else committed_known(p, &ask->c);
        place_unref(p);
    }
    bus_committed_fini(&ask->c);
    free(ask);
    flow_returned(f);
}

static void committed_ask(struct place *p)
{
    struct committed_ask *ask = xnew(struct committed_ask);

    ask->p = p;
    ask->c = (struct bus_commit){
        .op = {.reply_to = loop_mailbox(p->f->loop), .done = committed_done},
        .group = p->group,
        .topic = p->inputs.name,
        .offsets_n = (size_t)p->inputs.partitions,
    };
    p->refs++;
    p->f->lent++;
    bus_committed(p->f->bus, &ask->c);
}

static void intakes_make(struct place *p)
{
    size_t n = (size_t)p->inputs.partitions;

    if (n <= p->intakes_n) return;
    p->intakes = xrealloc(p->intakes, n, sizeof(struct intake *));
    for (size_t i = p->intakes_n; i < n; i++) {
        struct intake *in = p->intakes[i] = xnew(struct intake);

        in->p = p;
        in->partition = (int32_t)i;
        list_init(&in->paused_link);
    }
    p->intakes_n = n;
}

static bool any_waits(const struct place *p)
{
    for (size_t i = 0; i < p->intakes_n; i++)
        if (intake_waits(p->intakes[i])) return true;
    return false;
}

void intake_open(struct place *p)
{
    struct flow *f = p->f;

    if (p->busy || (p->state != PLACE_OFFSETS && (p->state != PLACE_READY || !any_waits(p)))) return;
    if (!f->errors.ready) {
        loop_timer(f->loop, &p->retry, RETRY_MS_MIN, open_again);
        return;
    }
    if (tap_wanted(p) && !tap_ready(p) && p->state == PLACE_OFFSETS) {
        if (!p->tap) tap_open(p);
        return;
    }
    if (f->o.loop_index == 0) intakes_make(p);
    for (size_t i = 0; i < p->intakes_n; i++)
        p->intakes[i]->asked = owners_mine(f, p->intakes[i]->partition);
    p->busy = true;
    committed_ask(p);
}

void intake_grow(struct place *p)
{
    intakes_make(p);
    intake_owners(p);
}

static void intake_leave(struct intake *in)
{
    in->open = false;
    list_remove(&in->paused_link);
    held_drop(in);
    in->paused = false;
    scan_end(in);
    foreign_clear(in);
    if (in->watching) bus_watch_stop(in->p->f->bus, &in->watch);
}

void intake_owners(struct place *p)
{
    if (p->state == PLACE_LEAVING || p->f->watches_closed || p->f->closed) return;
    for (size_t i = 0; i < p->intakes_n; i++) {
        if (owners_mine(p->f, p->intakes[i]->partition)) continue;
        p->intakes[i]->asked = false;
        if (p->intakes[i]->open) intake_leave(p->intakes[i]);
    }
    if (p->state == PLACE_READY && p->intakes && !timer_is_set(&p->take_retry)) intake_open(p);
}

/* ---- records ---- */

/* Half of what may run is for callers. */
bool intake_full(const struct place *p)
{
    const struct flow *f = p->f;

    return share_taken(p->outside_now, f->outside_now, MAX(f->o.runs_max / 2, 1u)) || f->counters.bytes_now > f->o.runs_bytes_max / 2 ||
           (p->bytes_now && share_taken(p->bytes_now, f->counters.bytes_now, f->o.runs_bytes_max));
}

/* What others wrote with it is in the log already; more of what is never written does not come from us. */
static struct headers record_headers(struct arena *a, const struct headers_deny *deny, const struct bus_record *rec)
{
    struct headers h = {.v = arena_array(a, struct header, rec->headers_n + 1)};

    for (size_t i = 0; i < rec->headers_n; i++)
        if (!str_starts(rec->headers[i].key, STR("millrace-")) && !headers_denied(deny, rec->headers[i].key))
            h.v[h.n++] = (struct header){arena_dup_str(a, rec->headers[i].key),
                                         arena_dup_str(a, bytes_str(rec->headers[i].value))};
    return h;
}

static void identify(struct flow_run *r, struct intake *in, const struct bus_record *rec, const struct run_id *own)
{
    struct run_id id = {.outside = true,
                        .topic = str_of(in->p->inputs.id),
                        .partition = in->partition,
                        .offset = rec->offset,
                        .attempt = r->attempt};

    if (own) {
        id = *own;
        id.attempt = r->attempt;
    }
    r->id = run_id_print(&r->run.arena, &id);
    r->outside = !own || !own->deadline_wall_ms;
    r->partition = in->partition;
    if (rec->key.p) r->key = arena_dup(&r->run.arena, rec->key);
    r->key_made = true;
    r->input_done = true;
    r->input_offset = rec->offset;
}

/* How long it has: a gateway's request what is left of its deadline, all others the default time. */
static bool clocks_set(struct flow_run *r, const struct run_id *own)
{
    struct flow *f = r->f;
    int64_t wall = clock_wall_ms(loop_clock(f->loop));
    uint64_t left = f->o.timeout_ms;

    r->from_ms = loop_now_ms(f->loop);
    if (own && own->deadline_wall_ms) {
        if (own->deadline_wall_ms <= wall) return false;
        left = MIN((uint64_t)(own->deadline_wall_ms - wall), f->o.timeout_ms_max);
    }
    r->deadline_ms = r->from_ms + left;
    r->last_ms = MAX(r->deadline_ms, r->from_ms + f->o.timeout_ms);
    flow_run_timer(r);
    return true;
}

/* A model's inputs topic takes more forms than a pipeline's; what is made of them is the run's own. */
static enum rc input_take(struct flow_run *r, const struct bus_record *rec, struct headers h, struct err *e)
{
    AUTO(buf_fini) struct buf made = {0};
    const struct str *type = headers_get(h, "seldon-infer-type");
    struct bytes value = schema_message(rec->value);

    r->run.points[0].headers = h;
    if (!rec->value.p) return err_set(e, RC_INVALID, "a record without a value");
    if (r->place->model && payload_read(value, type ? *type : (struct str){0}, &r->run.arena, &made, &r->json, e))
        return r->json && r->f->o.redact_n ? err_set(e, RC_INVALID, "the JSON of the record is no inference message") : e->rc;
    if (made.n) value = buf_view(&made);
    if (run_accept(&r->run, value, h, rec->timestamp_ms, e)) return payload_explain(rec->value, r->f->o.redact_n == 0, e);
    r->run.points[0].owned = buf_take(&made);
    return RC_OK;
}

static const struct bytes *lacks_of(const struct bus_record *rec)
{
    for (size_t i = 0; i < rec->headers_n; i++)
        if (str_is(rec->headers[i].key, REDACTED_HEADER)) return &rec->headers[i].value;
    return NULL;
}

static void run_begin(struct flow_run *r, const struct bus_record *rec, const struct run_id *own)
{
    struct flow *f = r->f;
    int64_t age = clock_wall_ms(loop_clock(f->loop)) - rec->timestamp_ms;
    const struct bytes *lacks = lacks_of(rec);
    struct err e;

    if (input_take(r, rec, record_headers(&r->run.arena, &f->deny, rec), &e)) {
        flow_run_fail(r, RC_INVALID, arena_printf(&r->run.arena, "poison: %s", e.text));
    } else if (lacks) {
        flow_run_fail(r, RC_UNAVAILABLE, arena_printf(&r->run.arena, "it cannot be run again: " STR_FMT
                                                      " was left out of its record (flow.redact)", STR_ARG(bytes_str(*lacks))));
    } else if (r->attempt > 1 && age > (int64_t)f->o.recover_within_ms) {
        flow_run_fail(r, RC_TIMEOUT, arena_printf(&r->run.arena, "expired: %" PRId64 " ms old when it could be finished", age));
    } else if (!clocks_set(r, own)) {
        flow_run_fail(r, RC_TIMEOUT, owners_shared(r->f) ? STR("no answer within the deadline: the process that took it has ended, or lost touch")
                                                       : STR("no answer within the deadline: this process was restarted meanwhile"));
    } else {
        run_keep(&r->run);
        flow_run_start(r);
    }
}

const struct graph *input_graph(const struct place *p, const struct bus_record *rec, int64_t *ret_version)
{
    const struct flow_pipeline_def *def = p->pipeline;
    int64_t version = 0;

    for (size_t i = 0; i < rec->headers_n; i++)
        if (str_is(rec->headers[i].key, VERSION_HEADER)) str_to_i64(bytes_str(rec->headers[i].value), &version);
    *ret_version = version;
    if (version < 1 || version > UINT32_MAX || version == def->version) return def->graph;
    def = flow_snapshot_version(p->f->snapshot, p->name, (uint32_t)version);
    return def && !def->graph->why.rc ? def->graph : NULL;
}

/* A request that is run again is run by the version it was admitted on, as long as that one is kept. */
static const struct graph *graph_admitted(const struct place *p, const struct bus_record *rec, const struct run_id *own)
{
    const struct graph *g;
    int64_t version = 0;

    if (p->model) return p->def->graph;
    g = own ? input_graph(p, rec, &version) : p->pipeline->graph;
    if (g) return g;
    diag(DIAG_WARN, "flow.recover", KV_STR("pipeline", p->name), KV_I64("offset", rec->offset), KV_I64("version", version),
         KV_CSTR("why", "this version is not kept any more; the newest one runs it"));
    return p->pipeline->graph;
}

void intake_run(struct intake *in, const struct bus_record *rec, const struct run_id *own, uint32_t attempt)
{
    struct place *p = in->p;
    struct flow *f = p->f;
    const struct graph *g = graph_admitted(p, rec, own);
    struct flow_run *r = flow_run_new(f, p, g);

    r->attempt = attempt;
    r->counted = true;
    f->outside_now++;
    p->outside_now++;
    if (attempt > 1) f->counters.recovered++;
    else f->counters.outside++;
    identify(r, in, rec, own);
    if (own) idem_recovered(r, rec);
    if (r->record == FLOW_RECORD_NONE) r->record = FLOW_RECORD_ERRORS;
    if (g->why.rc) flow_run_fail(r, g->why.rc, str_of(g->why.text));
    else run_begin(r, rec, own);
}

/* A record in a pipeline's topic that names other pipelines only is not for this one. */
bool intake_for_us(const struct place *p, const struct bus_record *rec)
{
    bool named = false;

    for (size_t i = 0; !p->model && i < rec->headers_n; i++) {
        if (!str_is(rec->headers[i].key, "pipeline")) continue;
        named = true;
        if (str_eq(bytes_str(rec->headers[i].value), p->name)) return true;
    }
    return !named;
}

/* A bus far away hands over what gateways wrote too, this one's and those of other processes. The embedded one does not, and
 * there a record that looks like ours is a copy that somebody made. */
static bool gateways_own(const struct place *p, const struct bus_record *rec, struct run_id *id)
{
    const struct bus_facts *facts = bus_facts(p->f->bus);

    if (facts->embedded || !scan_run_id(rec, id)) return false;
    if (id->outside) return p->model;            /* the hop of an outside run */
    return str_is(id->cluster, facts->cluster_id) && (p->model || str_eq(id->topic, str_of(p->inputs.id)));
}

/* Nobody is at it: its gateway has only put it there. */
static bool for_the_owner(const struct place *p, const struct run_id *id)
{
    return !id->outside && !id->deadline_wall_ms && str_eq(id->topic, str_of(p->inputs.id));
}

/* The clocks of two processes are further apart than what recovery waits. */
static void clock_look(const struct place *p, const struct bus_record *rec)
{
    int64_t ahead = rec->timestamp_ms - clock_wall_ms(loop_clock(p->f->loop));

    if (ahead > (int64_t)p->f->o.recover_grace_ms)
        diag(DIAG_WARN, "flow.clock", KV_STR("topic", p->inputs.name), KV_I64("ahead_ms", ahead),
             KV_CSTR("why", "the clock of another process is further ahead than flow.recoverGraceMs: set the clocks"));
}

static bool is_to_run(const struct place *p, const struct bus_record *rec)
{
    struct run_id id;

    return intake_for_us(p, rec) && (!gateways_own(p, rec, &id) || for_the_owner(p, &id));
}

static bool any_to_run(const struct place *p, const struct bus_record *records, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (is_to_run(p, &records[i])) return true;
    return false;
}

/* One that came: run, or, when another process is at it, looked after. */
void record_meet(struct intake *in, const struct bus_record *rec)
{
    struct place *p = in->p;
    struct idem_claim claim;
    struct run_id id;

    if (!intake_for_us(p, rec)) return;
    if (!gateways_own(p, rec, &id)) {
        intake_run(in, rec, NULL, 1);
    } else if (for_the_owner(p, &id)) {
        if (idem_record(rec, &claim)) foreign_ask(in, rec, &id, id.attempt);
        else intake_run(in, rec, &id, id.attempt);
    } else if (!id.outside && str_eq(id.topic, str_of(p->inputs.id)) &&
               !str_is(id.incarnation, bus_facts(p->f->bus)->incarnation)) {
        clock_look(p, rec);
        foreign_add(in, rec->offset, id.identity, id.deadline_wall_ms + (int64_t)p->f->o.recover_grace_ms);
    }
}

/* As many as there is room for, one at least; how many were met. */
static size_t records_meet(struct intake *in, const struct bus_record *records, size_t n)
{
    size_t i = 0;

    while (i < n && (i == 0 || !intake_full(in->p)))
        record_meet(in, &records[i++]);
    return i;
}

static void watch_records(struct bus_watch *w, const struct bus_record *records, size_t n, int64_t next)
{
    struct intake *in = container_of(w, struct intake, watch);
    struct place *p = in->p;
    struct flow *f = p->f;
    size_t met;

    if (f->closed || p->state == PLACE_LEAVING || !in->open) return;
    if (f->draining && any_to_run(p, records, n)) {      /* the next start's; no more is asked for, nor how far it is */
        in->paused = true;
        if (in->telling) commit_told(in);
        return;
    }
    p->refs++;
    met = records_meet(in, records, n);
    if (met < n && in->watching) held_keep(in, records + met, n - met, next);
    else in->seen = next;
    if (n > 0) commit_touch(p);
    if (in->telling) commit_told(in);
    if (!in->held && !intake_full(p) && !foreign_full(in)) {
        bus_watch_more(f->bus, w);
    } else {
        in->paused = true;
        list_remove(&in->paused_link);
        list_push(&f->paused, &in->paused_link);
    }
    place_unref(p);
}

/* ---- room ---- */

static void room_made(struct timer *t)
{
    struct flow *f = container_of(t, struct flow, room_timer);
    struct list todo;
    struct list *l;

    list_move(&f->paused, &todo);
    while ((l = list_pop(&todo))) {
        struct intake *in = container_of(l, struct intake, paused_link);
        struct place *p = in->p;

        if (f->draining) continue;               /* the next start's */
        p->refs++;
        if (intake_full(p) || foreign_full(in) || !held_run(in)) {
            list_push(&f->paused, l);
        } else {
            if (in->paused && in->watching) bus_watch_more(f->bus, &in->watch);
            in->paused = false;
            if (in->scan) scan_go_on(in->scan);
        }
        place_unref(p);
    }
}

void intake_room(struct flow *f)
{
    if (!list_empty(&f->paused) && !timer_is_set(&f->room_timer)) loop_timer(f->loop, &f->room_timer, 0, room_made);
}

/* ---- the end of a watch ---- */

/* The topic may have been deleted under us: it is made again, and watched from its start if it is another one. */
static void watch_again(struct timer *t)
{
    struct place *p = container_of(t, struct place, retry);

    if (p->state == PLACE_READY && !p->inputs.asked) {
        memcpy(p->watched_id, p->inputs.id, sizeof p->watched_id);
        topic_ensure(&p->inputs);
    }
}

static void rewatch_retry(struct place *p, const struct err *why)
{
    diag(DIAG_WARN, "flow.watch", KV_STR("topic", p->inputs.name), KV_CSTR("why", why->text));
    loop_timer(p->f->loop, &p->retry, RETRY_MS_MAX, watch_again);
}

static void rewatch_at(struct place *p, const struct ends *e)
{
    struct err why;
    bool again = e->err.rc != RC_OK;

    p->rewatching = false;
    if (p->state != PLACE_READY || p->f->watches_closed) return;
    if (again) why = e->err;
    for (size_t i = 0; i < p->intakes_n && e->err.rc == RC_OK; i++) {
        struct intake *in = p->intakes[i];
        int64_t from;

        if (in->watching || !in->open) continue;
        if (intake_go_on_at(in, in->seen, p->inputs.made, e, &from, &why)) {
            again = true;
            continue;
        }
        in->lost = false;
        watch_start(in, from);
    }
    if (again) rewatch_retry(p, &why);
    else p->inputs.made = false;
}

void intake_rewatch(struct place *p)
{
    bool look;

    if (p->rewatching) return;
    p->inputs.made |= memcmp(p->watched_id, p->inputs.id, sizeof p->watched_id) != 0;
    look = p->inputs.made;
    for (size_t i = 0; i < p->intakes_n; i++)
        look |= p->intakes[i]->lost;
    if (look) {
        p->rewatching = true;
        ends_look(p, rewatch_at);
        return;
    }
    for (size_t i = 0; i < p->intakes_n; i++)
        if (p->intakes[i]->open && !p->intakes[i]->watching) watch_start(p->intakes[i], p->intakes[i]->seen);
}

static void watch_done(struct bus_op *op)
{
    struct intake *in = container_of(op, struct intake, watch.op);
    struct place *p = in->p;
    struct flow *f = p->f;

    in->watching = false;
    held_drop(in);
    in->lost = op->err.rc == RC_INVALID || op->err.rc == RC_NOT_FOUND;
    if (!f->closed) {
        if (in->telling) commit_told(in);
        if (p->state == PLACE_READY && !f->draining && in->open) {
            diag(DIAG_WARN, "flow.watch", KV_STR("topic", p->inputs.name), KV_CSTR("why", op->err.text));
            loop_timer(f->loop, &p->retry, RETRY_MS_MAX, watch_again);
        } else if (!in->open) {
            intake_owners(p);                    /* it may be ours again */
        }
        place_unref(p);
    }
    flow_returned(f);
}

void intake_close(struct place *p)
{
    tap_close(p);
    for (size_t i = 0; i < p->intakes_n; i++) {
        struct intake *in = p->intakes[i];

        list_remove(&in->paused_link);
        held_drop(in);
        if (in->scan) in->seen = MIN(in->seen, scan_floor(in->scan));   /* a commit may still be under way */
        in->seen = MIN(in->seen, foreign_floor(in));
        scan_end(in);
        foreign_clear(in);
        if (in->watching) bus_watch_stop(p->f->bus, &in->watch);
    }
}
