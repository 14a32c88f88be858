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
 * first time starts at its end. SPDX-License-Identifier: Apache-2.0 */
#include "flow/tap.h"
#include "base/diag.h"
#include "flow/payload.h"
#include <inttypes.h>
#include <stdio.h>

enum { FETCH_BYTES = 1 << 20, WAIT_MS = 400, RETRY_MS = 250, FULL_MS = 20, COMMIT_MS = 1000, JOINS_MAX = 100000 };
#define SOURCE_HEADER "millrace-source"

struct source {                                  /* the records of one pipeline in one topic */
    size_t feed;
    struct str pipeline;
    bool trigger, outputs, whole;
    struct infer_select *select; size_t select_n;
};

struct part {
    struct feed *feed;
    int32_t number;
    struct bus_fetch fetch;
    bool fetching, old;                          /* old: the own inputs are read for what was made of it */
    struct timer retry;
    int64_t at, committed;
    int64_t inputs_from, inputs_at, inputs_end;  /* of the own inputs */
    struct map done;                             /* offsets, as text, that an input was made of */
};

struct feed {
    struct tap *t;
    struct str topic;
    struct bus_topic ensure;
    struct bus_commit asked, commit;
    struct bus_offset *offsets;
    bool busy;                                   /* one of them is out */
    struct part *parts; size_t parts_n;
};

enum had { HAD_NOTHING, HAD_RECORD, HAD_NONE };
struct taken {
    enum had had;
    struct part *part;
    int64_t offset, inputs_at, timestamp_ms;
    struct infer_view view;
    struct headers headers;
};

struct join {
    struct list link;                            /* in tap.joins, oldest first */
    struct tap *t;
    struct join *next;                           /* of the same key */
    struct bytes key;
    bool key_null, spent;                        /* spent: it became an input, or never will */
    uint64_t since_ms;
    size_t last;                                 /* the source that came last */
    struct taken *taken;                         /* by source */
    struct flow_run *r;                          /* its input is on its way */
    struct timer retry;
    struct arena arena;
};

struct tap {
    struct flow *f;
    struct place *p;
    struct str shape;                            /* what it was made of */
    struct source *sources; size_t sources_n;
    struct feed *feeds; size_t feeds_n, feeds_open;
    enum flow_join join, triggers_join;
    size_t data_n, triggers_n;
    uint64_t window_ms;
    struct map by_key;
    struct list joins;
    size_t joins_n;
    struct timer expire, commit;
    bool ready, closed;
    uint32_t lent;                               /* operations that are out */
    struct arena arena;
};

/* ---- what it reads ---- */

static void shape_put(struct buf *b, const struct flow_external *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        buf_printf(b, " " STR_FMT "/" STR_FMT "/%d/" STR_FMT, STR_ARG(x[i].pipeline), STR_ARG(x[i].step), x[i].inputs,
                   STR_ARG(x[i].tensor));
}

static struct str shape_of(struct arena *a, const struct flow_pipeline_def *d)
{
    AUTO(buf_fini) struct buf b = {0};

    buf_printf(&b, "%d %d %u", (int)d->external_join, (int)d->external_triggers_join, d->external_window_ms);
    shape_put(&b, d->external_inputs, d->external_inputs_n);
    buf_append_str(&b, STR(" !"));
    shape_put(&b, d->external_triggers, d->external_triggers_n);
    for (size_t i = 0; i < d->external_renames_n; i++) {
        shape_put(&b, &d->external_renames[i].from, 1);
        buf_printf(&b, ">" STR_FMT, STR_ARG(d->external_renames[i].name));
    }
    return arena_dup_str(a, buf_str(&b));
}

static size_t feed_of(struct tap *t, struct str topic)
{
    for (size_t i = 0; i < t->feeds_n; i++)
        if (str_eq(t->feeds[i].topic, topic)) return i;
    t->feeds[t->feeds_n] = (struct feed){.t = t, .topic = topic};
    return t->feeds_n++;
}

static struct str rename_of(const struct tap *t, const struct flow_external *x, struct str tensor)
{
    const struct flow_pipeline_def *d = t->p->pipeline;

    for (size_t i = 0; i < d->external_renames_n; i++) {
        const struct flow_external *from = &d->external_renames[i].from;

        if (str_eq(from->pipeline, x->pipeline) && str_eq(from->step, x->step) && from->inputs == x->inputs &&
            str_eq(from->tensor, tensor))
            return d->external_renames[i].name;
    }
    return (struct str){0};
}

static void select_put(struct tap *t, struct source *s, struct str tensor, struct str name)
{
    s->select[s->select_n++] = (struct infer_select){arena_dup_str(&t->arena, tensor),
                                                     name.n ? arena_dup_str(&t->arena, name) : (struct str){0}};
}

/* References to one topic of one pipeline are one source, as in a graph. */
static void source_add(struct tap *t, const struct flow_external *x, size_t refs_n, bool trigger)
{
    const struct flow_pipeline_def *d = t->p->pipeline;
    struct str topic = name_topic(&t->arena, &t->f->naming, x->step.n > 0, x->step.n ? x->step : x->pipeline, x->inputs);
    size_t feed = feed_of(t, topic);
    struct source *s = NULL;

    for (size_t i = 0; i < t->sources_n; i++)
        if (t->sources[i].feed == feed && t->sources[i].trigger == trigger && str_eq(t->sources[i].pipeline, x->pipeline))
            s = &t->sources[i];
    if (!s) {
        s = &t->sources[t->sources_n++];
        *s = (struct source){.feed = feed, .pipeline = arena_dup_str(&t->arena, x->pipeline), .trigger = trigger,
                             .outputs = !x->inputs, .whole = true};
        s->select = arena_array(&t->arena, struct infer_select, refs_n + d->external_renames_n);
        for (size_t i = 0; i < d->external_renames_n; i++)
            if (rename_of(t, x, d->external_renames[i].from.tensor).n)
                select_put(t, s, d->external_renames[i].from.tensor, rename_of(t, x, d->external_renames[i].from.tensor));
    }
    if (!x->tensor.n) return;
    if (s->whole) s->select_n = 0;
    s->whole = false;
    select_put(t, s, x->tensor, rename_of(t, x, x->tensor));
}

static void sources_make(struct tap *t)
{
    const struct flow_pipeline_def *d = t->p->pipeline;
    size_t n = d->external_inputs_n + d->external_triggers_n;

    t->shape = shape_of(&t->arena, d);
    t->join = d->external_join;
    t->triggers_join = d->external_triggers_join;
    t->window_ms = d->external_window_ms ? d->external_window_ms : t->f->o.join_window_ms;
    t->sources = arena_array(&t->arena, struct source, n);
    t->feeds = arena_array(&t->arena, struct feed, n);
    for (size_t i = 0; i < d->external_inputs_n; i++)
        source_add(t, &d->external_inputs[i], n, false);
    t->data_n = t->sources_n;
    for (size_t i = 0; i < d->external_triggers_n; i++)
        source_add(t, &d->external_triggers[i], n, true);
    t->triggers_n = t->sources_n - t->data_n;
}

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

static void returned(struct tap *t)
{
    struct flow *f = t->f;

    t->lent--;
    if (t->closed && t->lent == 0) tap_release(t);
    flow_returned(f);
}

static void lend(struct tap *t)
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
    timer_cancel(loop_timers(t->f->loop), &t->expire);
    timer_cancel(loop_timers(t->f->loop), &t->commit);
    for (size_t i = 0; i < t->feeds_n; i++)
        for (size_t k = 0; k < t->feeds[i].parts_n; k++)
            timer_cancel(loop_timers(t->f->loop), &t->feeds[i].parts[k].retry);
    list_each_safe(l, &t->joins)
        join_free(container_of(l, struct join, link));
    if (t->lent == 0) tap_release(t);
}

static void part_read(struct part *pt);
static void commit_due(struct timer *timer);

static void feeds_ready(struct tap *t)
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

/* ---- opening: topics, committed offsets, ends ---- */

static void open_again(struct timer *timer)
{
    struct tap *t = container_of(timer, struct tap, commit);
    struct place *p = t->p;

    tap_close(p);
    tap_open(p);
}

static void feed_failed(struct feed *fd, const struct err *why)
{
    struct tap *t = fd->t;

    why_set(&t->p->why, why->text);
    diag(DIAG_WARN, "flow.tap", KV_STR("pipeline", t->p->name), KV_STR("topic", fd->topic), KV_CSTR("why", why->text));
    if (!timer_is_set(&t->commit)) loop_timer(t->f->loop, &t->commit, RETRY_MS, open_again);
}

static void feed_opened(struct feed *fd)
{
    struct tap *t = fd->t;

    fd->busy = false;
    if (--t->feeds_open == 0) feeds_ready(t);
}

static void first_committed(struct bus_op *op)
{
    struct feed *fd = container_of(op, struct feed, commit.op);

    if (!fd->t->closed && op->err.rc) feed_failed(fd, &op->err);
    else if (!fd->t->closed) feed_opened(fd);
    returned(fd->t);
}

static void offsets_commit(struct feed *fd, size_t n, void (*done)(struct bus_op *op))
{
    struct tap *t = fd->t;

    fd->busy = true;
    fd->commit = (struct bus_commit){.op = {.reply_to = loop_mailbox(t->f->loop), .done = done},
                                     .group = t->p->group, .topic = fd->topic, .offsets = fd->offsets, .offsets_n = n};
    lend(t);
    bus_commit(t->f->bus, &fd->commit);
}

static struct str metadata(struct feed *fd, size_t k, int64_t inputs)
{
    char *text = (char *)fd->offsets[k].metadata.p;

    return (struct str){text, (size_t)snprintf(text, 40, "inputs=%" PRId64, inputs)};
}

static void first_ends(struct bus_op *op)
{
    struct feed *fd = container_of(op, struct feed, ensure.op);
    struct tap *t = fd->t;
    size_t n = 0;

    if (!t->closed && op->err.rc) {
        feed_failed(fd, &op->err);
    } else if (!t->closed) {
        for (size_t k = 0; k < fd->parts_n; k++) {
            struct part *pt = &fd->parts[k];

            if (pt->committed >= 0) {
                pt->at = pt->committed;
                continue;
            }
            pt->at = pt->committed = fd->ensure.end_offsets[k];
            fd->offsets[n].partition = pt->number;
            fd->offsets[n].offset = pt->at;
            fd->offsets[n].metadata = metadata(fd, n, 0);
            n++;
        }
        if (n) offsets_commit(fd, n, first_committed);
        else feed_opened(fd);
    }
    bus_topic_fini(&fd->ensure);
    returned(t);
}

static void committed_known(struct bus_op *op)
{
    struct feed *fd = container_of(op, struct feed, asked.op);
    struct tap *t = fd->t;

    if (!t->closed && op->err.rc) {
        feed_failed(fd, &op->err);
    } else if (!t->closed) {
        for (size_t k = 0; k < fd->parts_n; k++) {
            struct str s = fd->asked.offsets[k].metadata;

            fd->parts[k].committed = fd->asked.offsets[k].offset;
            if (str_starts(s, STR("inputs=")) && str_to_i64((struct str){s.p + 7, s.n - 7}, &fd->parts[k].inputs_from))
                fd->parts[k].old = fd->parts[k].committed >= 0;
        }
        fd->ensure = (struct bus_topic){.op = {.reply_to = loop_mailbox(t->f->loop), .done = first_ends}, .topic = fd->topic};
        lend(t);
        bus_topic_describe(t->f->bus, &fd->ensure);
    }
    bus_committed_fini(&fd->asked);
    returned(t);
}

static void parts_make(struct feed *fd, size_t n)
{
    struct arena *a = &fd->t->arena;

    fd->parts = arena_array(a, struct part, n);
    fd->offsets = arena_array(a, struct bus_offset, n);
    fd->parts_n = n;
    for (size_t k = 0; k < n; k++) {
        fd->parts[k].feed = fd;
        fd->parts[k].number = (int32_t)k;
        fd->offsets[k].metadata.p = arena_alloc(a, 40);
    }
}

static void topic_made(struct bus_op *op)
{
    struct feed *fd = container_of(op, struct feed, ensure.op);
    struct tap *t = fd->t;
    struct err e = op->err;

    if (!t->closed && !e.rc && fd->ensure.partitions != t->p->inputs.partitions && t->sources_n > 1)
        err_set(&e, RC_UNAVAILABLE, "%s has %d partitions and " STR_FMT " has %d: topics that are joined need the same number",
                fd->ensure.topic.p, fd->ensure.partitions, STR_ARG(t->p->inputs.name), t->p->inputs.partitions);
    if (!t->closed && e.rc) {
        feed_failed(fd, &e);
    } else if (!t->closed) {
        parts_make(fd, (size_t)fd->ensure.partitions);
        fd->asked = (struct bus_commit){.op = {.reply_to = loop_mailbox(t->f->loop), .done = committed_known},
                                        .group = t->p->group, .topic = fd->topic, .offsets_n = fd->parts_n};
        lend(t);
        bus_committed(t->f->bus, &fd->asked);
    }
    bus_topic_fini(&fd->ensure);
    returned(t);
}

void tap_open(struct place *p)
{
    struct flow *f = p->f;
    struct tap *t = xnew(struct tap);

    t->f = f;
    t->p = p;
    p->refs++;
    p->tap = t;
    list_init(&t->joins);
    sources_make(t);
    t->feeds_open = t->feeds_n;
    for (size_t i = 0; i < t->feeds_n; i++) {
        struct feed *fd = &t->feeds[i];

        fd->ensure = (struct bus_topic){.op = {.reply_to = loop_mailbox(f->loop), .done = topic_made},
                                        .topic = fd->topic,
                                        .partitions = f->o.partitions,
                                        .replication = f->o.replication,
                                        .configs = f->configs,
                                        .configs_n = f->configs_n};
        lend(t);
        bus_topic_ensure(f->bus, &fd->ensure);
    }
}

bool tap_wanted(const struct place *p)
{
    return p->f->o.loop_index == 0 && !p->model && p->pipeline && p->pipeline->external_inputs_n > 0;
}

bool tap_ready(const struct place *p)
{
    return p->tap && p->tap->ready;
}

/* Another version of the pipeline may read something else. */
void tap_follow(struct place *p)
{
    AUTO(arena_fini) struct arena a = {0};
    bool wanted = tap_wanted(p);

    if (p->tap && (!wanted || !str_eq(p->tap->shape, shape_of(&a, p->pipeline)))) tap_close(p);
    if (wanted && !p->tap && p->state == PLACE_READY) tap_open(p);
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

static void join_free(struct join *j)
{
    struct tap *t = j->t;

    join_unkey(j);
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

static enum rc message_build(struct join *j, struct buf *ret, int64_t *ret_timestamp, struct err *e)
{
    struct tap *t = j->t;
    struct infer_part *parts = arena_array(&j->arena, struct infer_part, t->data_n);
    bool one = t->join == FLOW_ANY;
    size_t n = 0;

    *ret_timestamp = INT64_MIN;
    for (size_t i = 0; i < t->data_n && !(one && n); i++) {
        const struct source *s = &t->sources[i];

        if (j->taken[i].had != HAD_RECORD) continue;
        parts[n++] = (struct infer_part){&j->taken[i].view, s->select, s->select_n, s->whole};
        *ret_timestamp = MAX(*ret_timestamp, j->taken[i].timestamp_ms);
    }
    return infer_build(parts, n, INFER_REQUEST, &(struct infer_names){0}, ret, NULL, e);
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
    j->r = NULL;
    if (!ok) {
        loop_timer(j->t->f->loop, &j->retry, RETRY_MS, admit_again);
        return;
    }
    for (size_t i = 0; i < j->t->sources_n; i++)
        j->taken[i].part = NULL;
    if (complete(j) || j->key_null) join_free(j);
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
        for (size_t i = 0; i < t->sources_n; i++)
            j->taken[i].part = NULL;
        if (over || complete(j) || j->key_null) join_free(j);
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

static struct headers headers_keep(struct arena *a, const struct bus_record *rec, struct str name)
{
    struct headers h = {.v = arena_array(a, struct header, rec->headers_n + 1)};

    for (size_t i = 0; i < rec->headers_n; i++)
        if (!str_starts(rec->headers[i].key, STR("millrace-")))
            h.v[h.n++] = (struct header){arena_dup_str(a, rec->headers[i].key),
                                         arena_dup_str(a, bytes_str(rec->headers[i].value))};
    return headers_rewrite(a, h, arena_dup_str(a, name), (struct str){0});
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
    struct err e;
    bool good = rec->value.p && !names(rec, "seldon-pipeline-errors", (struct str){0});

    *k = (struct taken){.had = HAD_NONE, .part = j->spent ? NULL : pt, .offset = rec->offset, .inputs_at = pt->inputs_at,
                        .timestamp_ms = rec->timestamp_ms};
    if (good && !j->spent &&
        infer_parse(arena_dup(&j->arena, rec->value), s->outputs ? INFER_RESPONSE : INFER_REQUEST, &j->arena, &k->view, &e) == RC_OK &&
        infer_validate(&k->view, &e) == RC_OK && wanted_there(t, s, &k->view)) {
        k->had = HAD_RECORD;
        k->headers = headers_keep(&j->arena, rec, t->p->name);
        j->last = i;
    }
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

/* Which records of the part are named by inputs that are in the log. */
static void old_take(struct part *pt, const struct bus_record *rec)
{
    for (size_t i = 0; i < rec->headers_n; i++) {
        struct str rest = bytes_str(rec->headers[i].value), one;

        if (!str_is(rec->headers[i].key, SOURCE_HEADER)) continue;
        while (rest.n) {
            struct str topic, number;

            str_cut(rest, ',', &one, &rest);
            str_cut(one, '/', &topic, &one);
            str_cut(one, '/', &number, &one);
            if (str_eq(topic, pt->feed->topic) && one.n) map_put(&pt->done, str_bytes(one), pt);
        }
    }
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
        returned(t);
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
        for (size_t i = 0; i < fe->records_n && !t->closed; i++)
            record_take(pt, &fe->records[i]);
        t->lent--;
        pt->at = fe->next_offset;
        if (!t->closed) part_read(pt);
    }
    returned(t);
}

static void part_read(struct part *pt)
{
    struct tap *t = pt->feed->t;

    if (t->f->draining || t->closed || pt->fetching) return;
    if (!pt->old && (intake_full(t->f) || t->joins_n >= JOINS_MAX)) {
        part_wait(pt, FULL_MS);
        return;
    }
    bus_fetch_fini(&pt->fetch);
    pt->fetch = (struct bus_fetch){
        .op = {.reply_to = loop_mailbox(t->f->loop), .done = part_fetched},
        .topic = pt->old ? t->p->inputs.name : pt->feed->topic,
        .partition = pt->old ? pt->number % MAX(t->p->inputs.partitions, 1) : pt->number,
        .offset = pt->old ? pt->inputs_from : pt->at,
        .size_max = FETCH_BYTES,
        .wait_ms = pt->old ? 0 : WAIT_MS,
    };
    pt->fetching = true;
    lend(t);
    bus_fetch(t->f->bus, &pt->fetch);
}

/* ---- commits ---- */

static void committed(struct bus_op *op)
{
    struct feed *fd = container_of(op, struct feed, commit.op);

    fd->busy = false;
    for (size_t k = 0; !fd->t->closed && !op->err.rc && k < fd->commit.offsets_n; k++)
        fd->parts[fd->offsets[k].partition].committed = fd->offsets[k].offset;
    returned(fd->t);
}

static void floors(struct tap *t, const struct part *pt, int64_t *ret_at, int64_t *ret_inputs)
{
    list_each(l, &t->joins) {
        const struct join *j = container_of(l, struct join, link);

        for (size_t i = 0; i < t->sources_n; i++)
            if (j->taken[i].part == pt && j->taken[i].offset < *ret_at) {
                *ret_at = j->taken[i].offset;
                *ret_inputs = j->taken[i].inputs_at;
            }
    }
}

static void feed_commit(struct feed *fd)
{
    struct tap *t = fd->t;
    size_t n = 0;

    for (size_t k = 0; k < fd->parts_n; k++) {
        struct part *pt = &fd->parts[k];
        int64_t at = pt->at, inputs = t->p->acked ? t->p->acked[pt->number % MAX(t->p->inputs.partitions, 1)] + 1 : 0;

        if (pt->old || at < 0) continue;
        floors(t, pt, &at, &inputs);
        if (at <= pt->committed) continue;
        fd->offsets[n].partition = pt->number;
        fd->offsets[n].offset = at;
        fd->offsets[n].metadata = metadata(fd, n, inputs);
        n++;
    }
    if (n) offsets_commit(fd, n, committed);
}

static void commit_due(struct timer *timer)
{
    struct tap *t = container_of(timer, struct tap, commit);

    for (size_t i = 0; i < t->feeds_n; i++)
        if (!t->feeds[i].busy) feed_commit(&t->feeds[i]);
    if (!t->f->draining) loop_timer(t->f->loop, &t->commit, COMMIT_MS, commit_due);
}
