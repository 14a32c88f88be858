/* Inputs from other pipelines, on executor 0: their topics (pipelines' or steps') are read, records of one key are joined,
 * and what comes out is the input of a run of this pipeline, with the key and the headers of where it came from.
 *
 * A record belongs to a source when its `pipeline` header names the source's pipeline. An error record, and one without
 * the wanted tensors, is known not to come. Windows are by the clock: an outer join goes on with what it has then, the
 * others give up.
 *
 * The offset of a topic that is committed (in the pipeline's own group) is the oldest record whose input is not in the
 * log; its metadata says where in the own inputs the search for it starts. So after a crash the same records are read
 * again, and those that an input names as its source (millrace-source) are passed over. A topic that is read for the
 * first time starts at its end, partitions that were added to it since at theirs. SPDX-License-Identifier: Apache-2.0 */
#include "flow/tap_inside.h"
#include "flow/owners.h"
#include "base/diag.h"
#include "bus/schema.h"
#include <inttypes.h>
#include <stdio.h>

enum { FETCH_BYTES = 1 << 20, WAIT_MS = 400, RETRY_MS = 250, FULL_MS = 20, COMMIT_MS = 1000, JOINS_MAX = 100000 };
#define SOURCE_HEADER "millrace-source"

/* ---- life ---- */

static void join_free(struct join *j);

static void tap_release(struct tap *t)
{
    struct place *p = t->p;
    bool closed = t->f->closed;

    for (size_t i = 0; i < t->feeds_n; i++) {
        struct feed *fd = &t->feeds[i];

        for (size_t k = 0; k < fd->parts_n; k++) {
            timer_cancel(loop_timers(t->f->loop), &fd->parts[k].retry);
            bus_fetch_fini(&fd->parts[k].fetch);
            map_fini(&fd->parts[k].done);
        }
    }
    map_fini(&t->by_key);
    arena_fini(&t->arena);
    free(t);
    if (!closed) place_unref(p);
}

void tap_returned(struct tap *t)
{
    struct flow *f = t->f;

    t->lent--;
    if (t->closed && t->lent == 0) tap_release(t);
    flow_returned(f);
}

void tap_lend(struct tap *t)
{
    t->lent++;
    t->f->lent++;
}

void tap_close(struct place *p)
{
    struct tap *t = p->tap;

    if (!t) return;
    p->tap = NULL;
    t->closed = true;
    t->f->tap_feeds -= t->feeds_n;
    timer_cancel(loop_timers(t->f->loop), &t->expire);
    timer_cancel(loop_timers(t->f->loop), &t->commit);
    timer_cancel(loop_timers(t->f->loop), &t->reopen);
    for (size_t i = 0; i < t->feeds_n; i++)
        for (size_t k = 0; k < t->feeds[i].parts_n; k++)
            timer_cancel(loop_timers(t->f->loop), &t->feeds[i].parts[k].retry);
    list_each_safe(l, &t->joins)
        join_free(container_of(l, struct join, link));
    if (t->lent == 0) tap_release(t);
}

static void part_read(struct part *pt);
static void commit_due(struct timer *timer);

void tap_start(struct tap *t)
{
    struct place *p = t->p;

    t->ready = true;
    why_set(&p->why, NULL);
    for (size_t i = 0; i < t->feeds_n; i++)
        for (size_t k = 0; k < t->feeds[i].parts_n; k++)
            part_read(&t->feeds[i].parts[k]);
    loop_timer(t->f->loop, &t->commit, COMMIT_MS, commit_due);
    if (p->state == PLACE_OFFSETS) intake_open(p);
}

bool tap_wanted(const struct place *p)
{
    return p->f->o.loop_index == 0 && !p->model && p->pipeline && p->pipeline->external_inputs_n > 0;
}

bool tap_ready(const struct place *p)
{
    return p->tap && p->tap->ready;
}

bool tap_feed(const struct place *p, size_t i, struct tap_feed *ret)
{
    struct tap *t = p->tap;

    if (!tap_ready(p) || i >= t->feeds_n) return false;
    *ret = (struct tap_feed){t->feeds[i].topic, (int32_t)t->feeds[i].parts_n, &t->feeds[i].left_alone};
    return true;
}

/* Another version of the pipeline may read something else. */
void tap_follow(struct place *p)
{
    AUTO(arena_fini) struct arena a = {0};
    bool wanted = tap_wanted(p);

    if (p->tap && (!wanted || !str_eq(p->tap->shape, tap_shape(&a, p->pipeline)))) tap_close(p);
    if (wanted && !p->tap && p->state == PLACE_READY) tap_open(p);
}

/* ---- whose numbers ---- */

bool tap_mine(const struct part *pt)
{
    return owners_mine(pt->feed->t->f, pt->number);
}

/* Nothing new is read. What is on its way into the inputs is waited for, so that it is found there afterwards. */
static void reopen_look(struct timer *timer)
{
    struct tap *t = container_of(timer, struct tap, reopen);
    struct place *p = t->p;
    bool busy = !t->ready;

    list_each(l, &t->joins)
        busy |= container_of(l, struct join, link)->r != NULL;
    for (size_t i = 0; i < t->feeds_n; i++)
        busy |= t->feeds[i].busy;
    if (busy) {
        loop_timer(t->f->loop, &t->reopen, FULL_MS, reopen_look);
        return;
    }
    tap_close(p);
    if (tap_wanted(p)) tap_open(p);
}

void tap_owners(struct place *p)
{
    struct tap *t = p->tap;

    if (!t || t->stale || !owners_shared(p->f)) return;
    t->stale = true;
    loop_timer(p->f->loop, &t->reopen, 0, reopen_look);
}

/* ---- joins ---- */

static void join_unkey(struct join *j)
{
    struct tap *t = j->t;
    struct join *first = j->key_null ? NULL : map_get(&t->by_key, j->key);

    if (!first) return;
    if (first == j) {
        map_del(&t->by_key, j->key);
        if (j->next) map_put(&t->by_key, j->next->key, j->next);
        return;
    }
    while (first->next && first->next != j)
        first = first->next;
    if (first->next == j) first->next = j->next;
}

/* The records' memory is no more needed. */
static void join_release(struct join *j)
{
    struct tap *t = j->t;

    for (size_t i = 0; i < t->sources_n; i++) {
        t->feeds[t->sources[i].feed].held -= j->taken[i].bytes;
        t->f->counters.joins_bytes -= j->taken[i].bytes;
        j->taken[i].bytes = 0;
    }
}

/* It became an input, or never will: only what came is remembered, for what comes late. */
static void join_empty(struct join *j)
{
    struct arena old = j->arena;
    const struct taken *was = j->taken;

    join_release(j);
    j->arena = (struct arena){0};
    j->key = j->key_null ? (struct bytes){0} : arena_dup(&j->arena, j->key);
    j->taken = arena_array(&j->arena, struct taken, j->t->sources_n);
    for (size_t i = 0; i < j->t->sources_n; i++)
        j->taken[i].had = was[i].had;
    arena_fini(&old);
}

static void join_free(struct join *j)
{
    struct tap *t = j->t;

    join_unkey(j);
    join_release(j);
    list_remove(&j->link);
    t->joins_n--;
    timer_cancel(loop_timers(t->f->loop), &j->retry);
    if (j->r) j->r->origin = NULL;
    arena_fini(&j->arena);
    free(j);
}

static void expired(struct timer *timer);

static struct join *join_new(struct tap *t, struct bytes key)
{
    struct join *j = xnew(struct join), *first;

    j->t = t;
    j->key_null = !key.p;
    j->input = -1;
    j->key = arena_dup(&j->arena, key);
    j->since_ms = loop_now_ms(t->f->loop);
    j->taken = arena_array(&j->arena, struct taken, t->sources_n);
    list_push(&t->joins, &j->link);
    t->joins_n++;
    if (!timer_is_set(&t->expire)) loop_timer(t->f->loop, &t->expire, t->window_ms, expired);
    if (j->key_null) return j;
    first = map_get(&t->by_key, key);
    if (!first) {
        map_put(&t->by_key, j->key, j);
        return j;
    }
    while (first->next)
        first = first->next;
    first->next = j;
    return j;
}

/* The oldest of this key that has nothing of the source yet. */
static struct join *join_of(struct tap *t, struct bytes key, size_t source)
{
    struct join *j = key.p ? map_get(&t->by_key, key) : NULL;

    while (j && j->taken[source].had != HAD_NOTHING)
        j = j->next;
    return j ? j : join_new(t, key);
}

/* 1 open, 0 not yet, -1 never. */
static int gate(const struct join *j, size_t from, size_t n, enum flow_join join, bool over)
{
    size_t there = 0, open = 0;

    for (size_t i = from; i < from + n; i++) {
        there += j->taken[i].had == HAD_RECORD;
        open += j->taken[i].had == HAD_NOTHING;
    }
    if (over) open = 0;
    if (n == 0) return 1;
    if (join == FLOW_INNER) return there == n ? 1 : there + open == n ? 0 : -1;
    if (join == FLOW_ANY && there) return 1;
    return open ? 0 : there ? 1 : -1;
}

static bool complete(const struct join *j)
{
    for (size_t i = 0; i < j->t->sources_n; i++)
        if (j->taken[i].had == HAD_NOTHING) return false;
    return true;
}

static struct str sources_text(struct join *j, struct arena *a)
{
    AUTO(buf_fini) struct buf b = {0};

    for (size_t i = 0; i < j->t->sources_n; i++)
        if (j->taken[i].part)
            buf_printf(&b, "%s" STR_FMT "/%d/%" PRId64, b.n ? "," : "", STR_ARG(j->taken[i].part->feed->topic),
                       j->taken[i].part->number, j->taken[i].offset);
    return arena_dup_str(a, buf_str(&b));
}

/* What `any` takes: triggers may have come so late that there is more by now. */
static size_t first_data(const struct join *j)
{
    size_t first = 0;
    unsigned order = UINT32_MAX;

    for (size_t i = 0; i < j->t->data_n; i++)
        if (j->taken[i].had == HAD_RECORD && j->taken[i].order < order) {
            first = i;
            order = j->taken[i].order;
        }
    return first;
}

static enum rc message_build(struct join *j, struct buf *ret, int64_t *ret_timestamp, struct err *e)
{
    struct tap *t = j->t;
    struct infer_part *parts = arena_array(&j->arena, struct infer_part, t->data_n);
    size_t n = 0, tensors, first = first_data(j);

    *ret_timestamp = INT64_MIN;
    for (size_t i = 0; i < t->data_n; i++) {
        const struct source *s = &t->sources[i];

        if (j->taken[i].had != HAD_RECORD || (t->join == FLOW_ANY && i != first)) continue;
        parts[n++] = (struct infer_part){&j->taken[i].view, s->select, s->select_n, s->whole};
        *ret_timestamp = MAX(*ret_timestamp, j->taken[i].timestamp_ms);
    }
    if (infer_build(parts, n, INFER_REQUEST, &(struct infer_names){0}, ret, &tensors, e)) return e->rc;
    if (tensors <= INFER_TENSORS_MAX) return RC_OK;
    return err_set(e, RC_INVALID, "the records of other pipelines have %zu tensors together, at most %d are accepted", tensors,
                   INFER_TENSORS_MAX);
}

static void admit_again(struct timer *timer);

static void join_admit(struct join *j)
{
    AUTO(buf_fini) struct buf message = {0};
    const struct taken *last = &j->taken[j->last];
    struct tap *t = j->t;
    struct tap_input in = {.origin = j, .partition = last->part->number % MAX(t->p->inputs.partitions, 1),
                           .headers = last->headers, .key = j->key_null ? (struct bytes){0} : j->key};
    struct err e;

    j->spent = true;
    if (message_build(j, &message, &in.timestamp_ms, &e)) {
        diag(DIAG_WARN, "flow.tap", KV_STR("pipeline", t->p->name), KV_CSTR("why", e.text));
        join_free(j);
        return;
    }
    in.message = buf_view(&message);
    in.sources = sources_text(j, &j->arena);
    if (t->p->state != PLACE_READY || run_admit_tapped(t->p, &in, &j->r))
        loop_timer(t->f->loop, &j->retry, RETRY_MS, admit_again);
}

static void admit_again(struct timer *timer)
{
    join_admit(container_of(timer, struct join, retry));
}

/* The input is in the log, or it could not be put there. */
void tap_admitted(struct join *j, bool ok)
{
    if (ok) {
        j->input = j->r->input_offset;
        j->partition = j->r->partition;
    }
    j->r = NULL;
    if (!ok) {
        loop_timer(j->t->f->loop, &j->retry, RETRY_MS, admit_again);
        return;
    }
    if (complete(j) || j->key_null) join_free(j);
    else join_empty(j);
}

static void join_look(struct join *j, bool over)
{
    struct tap *t = j->t;
    int data = gate(j, 0, t->data_n, t->join, over), triggers = gate(j, t->data_n, t->triggers_n, t->triggers_join, over);

    if (j->spent) {
        if (!j->r && !timer_is_set(&j->retry) && (over || complete(j))) join_free(j);
    } else if (data > 0 && triggers > 0) {
        join_admit(j);
    } else if (data < 0 || triggers < 0 || over) {
        j->spent = true;
        if (over || complete(j) || j->key_null) join_free(j);
        else join_empty(j);
    }
}

static void expired(struct timer *timer)
{
    struct tap *t = container_of(timer, struct tap, expire);
    uint64_t now = loop_now_ms(t->f->loop);

    list_each_safe(l, &t->joins) {
        struct join *j = container_of(l, struct join, link);

        if (j->since_ms + t->window_ms > now) {
            loop_timer(t->f->loop, &t->expire, j->since_ms + t->window_ms - now, expired);
            return;
        }
        join_look(j, true);
    }
}

/* ---- records ---- */

static bool names(const struct bus_record *rec, const char *header, struct str value)
{
    for (size_t i = 0; i < rec->headers_n; i++)
        if (str_is(rec->headers[i].key, header) && (!value.n || str_eq(bytes_str(rec->headers[i].value), value))) return true;
    return false;
}

/* The pipeline's name and version take the place of the source's when it becomes an input. */
static struct headers headers_keep(struct arena *a, const struct headers_deny *deny, const struct bus_record *rec)
{
    struct headers h = {.v = arena_array(a, struct header, rec->headers_n)};

    for (size_t i = 0; i < rec->headers_n; i++)
        if (!str_starts(rec->headers[i].key, STR("millrace-")) && !headers_denied(deny, rec->headers[i].key))
            h.v[h.n++] = (struct header){arena_dup_str(a, rec->headers[i].key),
                                         arena_dup_str(a, bytes_str(rec->headers[i].value))};
    return h;
}

static bool wanted_there(const struct tap *t, const struct source *s, const struct infer_view *v)
{
    bool all = (s->trigger ? t->triggers_join : t->join) == FLOW_INNER;
    size_t found = 0;

    if (s->whole) return v->tensors_n > 0;
    for (size_t i = 0; i < s->select_n; i++)
        found += infer_find(v, s->select[i].tensor) != NULL;
    return all ? found == s->select_n : found > 0;
}

static void source_take(struct tap *t, size_t i, struct part *pt, const struct bus_record *rec)
{
    const struct source *s = &t->sources[i];
    struct join *j = join_of(t, rec->key, i);
    struct taken *k = &j->taken[i];
    size_t before = j->arena.used;
    struct err e;
    bool good = rec->value.p && !names(rec, "seldon-pipeline-errors", (struct str){0});

    *k = (struct taken){.had = HAD_NONE, .part = j->spent ? NULL : pt, .offset = rec->offset, .inputs_at = pt->inputs_at,
                        .timestamp_ms = rec->timestamp_ms, .order = j->arrived++};
    if (good && !j->spent &&
        infer_parse(arena_dup(&j->arena, schema_message(rec->value)), s->outputs ? INFER_RESPONSE : INFER_REQUEST, &j->arena, &k->view, &e) == RC_OK &&
        infer_validate(&k->view, &e) == RC_OK && wanted_there(t, s, &k->view)) {
        k->had = HAD_RECORD;
        k->headers = headers_keep(&j->arena, &t->f->deny, rec);
        j->last = i;
    }
    k->bytes = j->arena.used - before;
    t->feeds[s->feed].held += k->bytes;
    t->f->counters.joins_bytes += k->bytes;
    join_look(j, false);
}

static bool made_already(struct part *pt, int64_t offset)
{
    char text[24];

    return map_get(&pt->done, bytes_of(text, (size_t)snprintf(text, sizeof text, "%" PRId64, offset))) != NULL;
}

static void record_take(struct part *pt, const struct bus_record *rec)
{
    struct tap *t = pt->feed->t;
    size_t feed = (size_t)(pt->feed - t->feeds);
    int32_t own = pt->number % MAX(t->p->inputs.partitions, 1);

    if (made_already(pt, rec->offset)) return;
    pt->inputs_at = t->p->acked ? t->p->acked[own] + 1 : 0;
    for (size_t i = 0; i < t->sources_n; i++)
        if (t->sources[i].feed == feed && names(rec, "pipeline", t->sources[i].pipeline)) source_take(t, i, pt, rec);
}

/* ---- what was made already ---- */

static int32_t own_partition(const struct part *pt)
{
    return pt->number % MAX(pt->feed->t->p->inputs.partitions, 1);
}

/* The join that became the input. It is made again when a source is not in the input's list: what comes of that late belongs to it. */
static struct join *spent_of(struct part *pt, const struct bus_record *rec)
{
    struct tap *t = pt->feed->t;
    struct join *j = map_get(&t->by_key, rec->key);

    while (j && (j->input != rec->offset || j->partition != own_partition(pt)))
        j = j->next;
    if (j) return j;
    j = join_new(t, rec->key);
    j->spent = true;
    j->input = rec->offset;
    j->partition = own_partition(pt);
    return j;
}

static void spent_note(struct part *pt, const struct bus_record *rec, const bool *named)
{
    struct tap *t = pt->feed->t;
    bool all = true;
    struct join *j;

    for (size_t i = 0; i < t->sources_n; i++)
        all &= named[t->sources[i].feed];
    if (all || !rec->key.p) return;
    j = spent_of(pt, rec);
    for (size_t i = 0; i < t->sources_n; i++)
        if (named[t->sources[i].feed]) j->taken[i].had = HAD_RECORD;
}

/* Which records are named by an input that is in the log, those of the part in particular. */
static bool sources_read(struct part *pt, struct str list, bool *named)
{
    struct tap *t = pt->feed->t;
    bool some = false;

    while (list.n) {
        struct str one, topic, number;
        int64_t n;

        str_cut(list, ',', &one, &list);
        str_cut(one, '/', &topic, &one);
        str_cut(one, '/', &number, &one);
        if (str_eq(topic, pt->feed->topic) && one.n && str_to_i64(number, &n) && n == pt->number) map_put(&pt->done, str_bytes(one), pt);
        for (size_t i = 0; i < t->feeds_n; i++)
            if (str_eq(topic, t->feeds[i].topic)) some = named[i] = true;
    }
    return some;
}

static void old_take(struct part *pt, const struct bus_record *rec)
{
    AUTO(arena_fini) struct arena a = {0};
    bool *named = arena_array(&a, bool, pt->feed->t->feeds_n), some = false;

    for (size_t i = 0; i < rec->headers_n; i++)
        if (str_is(rec->headers[i].key, SOURCE_HEADER)) some |= sources_read(pt, bytes_str(rec->headers[i].value), named);
    if (some) spent_note(pt, rec, named);
}

/* ---- reading ---- */

static void part_again(struct timer *timer)
{
    part_read(container_of(timer, struct part, retry));
}

static void part_wait(struct part *pt, uint64_t ms)
{
    loop_timer(pt->feed->t->f->loop, &pt->retry, ms, part_again);
}

/* What was not there: the topic starts later, or is another one. */
static void part_lost(struct part *pt, const struct err *why)
{
    struct flow *f = pt->feed->t->f;

    diag(DIAG_WARN, "flow.tap", KV_STR("topic", pt->feed->topic), KV_CSTR("why", why->text));
    if (!pt->old && f->o.offset_reset != FLOW_RESET_NONE) pt->at = f->o.offset_reset == FLOW_RESET_EARLIEST ? -1 : -2;
    pt->old = false;
    part_wait(pt, RETRY_MS);
}

static void part_fetched(struct bus_op *op)
{
    struct part *pt = container_of(op, struct part, fetch.op);
    struct tap *t = pt->feed->t;
    const struct bus_fetch *fe = &pt->fetch;
    bool was_old = pt->old;

    pt->fetching = false;
    if (t->closed) {
        tap_returned(t);
        return;
    }
    if (op->err.rc == RC_INVALID) {
        part_lost(pt, &op->err);
    } else if (op->err.rc) {
        part_wait(pt, RETRY_MS);
    } else if (was_old) {
        for (size_t i = 0; i < fe->records_n; i++)
            old_take(pt, &fe->records[i]);
        pt->inputs_from = fe->next_offset;
        pt->old = fe->next_offset < fe->end_offset;
        part_read(pt);
    } else {
        t->lent++;                               /* a join may be the last to need the tap */
        for (size_t i = 0; i < fe->records_n && !t->closed && !t->stale; i++)
            record_take(pt, &fe->records[i]);
        t->lent--;
        if (!t->stale) pt->at = fe->next_offset;
        if (!t->closed) part_read(pt);
    }
    tap_returned(t);
}

/* A quarter of what runs may hold is for joins, in equal shares: a topic that is far ahead of the others waits, and they go on. */
static size_t feed_share(const struct flow *f)
{
    return f->o.runs_bytes_max / 4 / MAX(f->tap_feeds, 1u);
}

static bool feed_full(struct feed *fd)
{
    bool full = fd->held > 0 && fd->held >= feed_share(fd->t->f);

    if (full && !fd->full)
        diag(DIAG_WARN, "flow.tap", KV_STR("pipeline", fd->t->p->name), KV_STR("topic", fd->topic), KV_U64("bytes", fd->held),
             KV_CSTR("why", "its records that wait for their other sides take all the memory for joins (gateway.inFlightBytesMax / 4, shared); it is read on when there is room, at the latest after joinWindowMs"));
    return fd->full = full;
}

static void part_read(struct part *pt)
{
    struct tap *t = pt->feed->t;

    if (t->f->draining || t->closed || t->stale || pt->fetching || !tap_mine(pt)) return;
    if (!pt->old && (intake_full(t->p) || t->joins_n >= JOINS_MAX || feed_full(pt->feed))) {
        part_wait(pt, FULL_MS);
        return;
    }
    bus_fetch_fini(&pt->fetch);
    pt->fetch = (struct bus_fetch){
        .op = {.reply_to = loop_mailbox(t->f->loop), .done = part_fetched},
        .topic = pt->old ? t->p->inputs.name : pt->feed->topic,
        .partition = pt->old ? pt->number % MAX(t->p->inputs.partitions, 1) : pt->number,
        .offset = pt->old ? pt->inputs_from : pt->at,
        .size_max = pt->old ? FETCH_BYTES : MIN((size_t)FETCH_BYTES, MAX(feed_share(t->f) / 4, 1u)),
        .wait_ms = pt->old ? 0 : WAIT_MS,
    };
    pt->fetching = true;
    tap_lend(t);
    bus_fetch(t->f->bus, &pt->fetch);
}

/* ---- commits ---- */

static void committed(struct bus_op *op)
{
    struct feed *fd = container_of(op, struct feed, commit.op);

    fd->busy = false;
    for (size_t k = 0; !fd->t->closed && !op->err.rc && k < fd->commit.offsets_n; k++)
        fd->parts[fd->offsets[k].partition].committed = fd->offsets[k].offset;
    tap_returned(fd->t);
}

/* Behind which own input the search begins: that of the oldest record, and those of joins that may still take one of the part. */
static void floors(struct tap *t, const struct part *pt, int64_t *ret_at, int64_t *ret_inputs)
{
    int64_t inputs = *ret_inputs, late = INT64_MAX;

    list_each(l, &t->joins) {
        const struct join *j = container_of(l, struct join, link);

        for (size_t i = 0; i < t->sources_n; i++)
            if (j->taken[i].part == pt && j->taken[i].offset < *ret_at) {
                *ret_at = j->taken[i].offset;
                inputs = j->taken[i].inputs_at;
            } else if (j->input >= 0 && j->partition == own_partition(pt) && j->taken[i].had == HAD_NOTHING &&
                       &t->feeds[t->sources[i].feed] == pt->feed) {
                late = MIN(late, j->input);
            }
    }
    *ret_inputs = MIN(inputs, late);
}

static void feed_commit(struct feed *fd)
{
    struct tap *t = fd->t;
    size_t n = 0;

    for (size_t k = 0; k < fd->parts_n; k++) {
        struct part *pt = &fd->parts[k];
        int64_t at = pt->at, inputs = t->p->acked ? t->p->acked[pt->number % MAX(t->p->inputs.partitions, 1)] + 1 : 0;

        if (pt->old || at < 0 || !tap_mine(pt)) continue;
        floors(t, pt, &at, &inputs);
        if (at <= pt->committed) continue;
        fd->offsets[n].partition = pt->number;
        fd->offsets[n].offset = at;
        fd->offsets[n].metadata = tap_metadata(fd, n, inputs);
        n++;
    }
    if (n) tap_commit(fd, n, committed);
}

static void commit_due(struct timer *timer)
{
    struct tap *t = container_of(timer, struct tap, commit);

    for (size_t i = 0; i < t->feeds_n && !t->stale; i++)
        if (!t->feeds[i].busy) feed_commit(&t->feeds[i]);
    if (!t->f->draining) loop_timer(t->f->loop, &t->commit, COMMIT_MS, commit_due);
}
