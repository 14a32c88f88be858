/* How a tap begins: what the definition says becomes sources and feeds; then every feed's topic is made sure of, its
 * committed offsets are looked up, and where there are none the ends are committed. SPDX-License-Identifier: Apache-2.0 */
#include "flow/tap_inside.h"
#include "flow/owners.h"
#include "base/diag.h"
#include <inttypes.h>
#include <stdio.h>

enum { RETRY_MS = 250 };

/* ---- what it reads ---- */

static void shape_put(struct buf *b, const struct flow_external *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        buf_printf(b, " " STR_FMT "/" STR_FMT "/%d/" STR_FMT, STR_ARG(x[i].pipeline), STR_ARG(x[i].step), x[i].inputs,
                   STR_ARG(x[i].tensor));
}

struct str tap_shape(struct arena *a, const struct flow_pipeline_def *d)
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

    t->shape = tap_shape(&t->arena, d);
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
    if (--t->feeds_open == 0) tap_start(t);
}

static void first_committed(struct bus_op *op)
{
    struct feed *fd = container_of(op, struct feed, commit.op);

    if (!fd->t->closed && op->err.rc) feed_failed(fd, &op->err);
    else if (!fd->t->closed) feed_opened(fd);
    tap_returned(fd->t);
}

void tap_commit(struct feed *fd, size_t n, void (*done)(struct bus_op *op))
{
    struct tap *t = fd->t;

    fd->busy = true;
    fd->commit = (struct bus_commit){.op = {.reply_to = loop_mailbox(t->f->loop), .done = done},
                                     .group = t->p->group, .topic = fd->topic, .offsets = fd->offsets, .offsets_n = n};
    tap_lend(t);
    bus_commit(t->f->bus, &fd->commit);
}

struct str tap_metadata(struct feed *fd, size_t k, int64_t inputs)
{
    char *text = (char *)fd->offsets[k].metadata.p;

    return (struct str){text, (size_t)snprintf(text, 40, "inputs=%" PRId64, inputs)};
}

/* Whoever is the first to read a topic begins all its partitions, whose ever they are. So those behind the last that has an offset
 * were added since. Where one between others has none, an older version began it, each process its own: then it has parts_n. */
static size_t parts_begun(const struct feed *fd)
{
    size_t n = 0;

    while (n < fd->parts_n && fd->parts[n].committed >= 0)
        n++;
    for (size_t k = n; k < fd->parts_n; k++)
        if (fd->parts[k].committed >= 0) return fd->parts_n;
    return n;
}

static bool any_mine(const struct feed *fd)
{
    for (size_t k = 0; k < fd->parts_n; k++)
        if (tap_mine(&fd->parts[k])) return true;
    return false;
}

/* At the ends of a topic that is read for the first time; what was added to it since is read from its start. */
static void feed_begin(struct feed *fd)
{
    size_t begun = parts_begun(fd), n = 0;
    bool all = begun < fd->parts_n && any_mine(fd);

    for (size_t k = 0; k < fd->parts_n; k++) {
        struct part *pt = &fd->parts[k];

        if (pt->committed < 0 && (all || tap_mine(pt))) {
            pt->committed = all && begun > 0 ? fd->ensure.start_offsets[k] : fd->ensure.end_offsets[k];
            fd->offsets[n].partition = pt->number;
            fd->offsets[n].offset = pt->committed;
            fd->offsets[n].metadata = tap_metadata(fd, n, 0);
            n++;
        }
        pt->at = pt->committed;
    }
    if (n) tap_commit(fd, n, first_committed);
    else feed_opened(fd);
}

/* Another process may have begun it since, and have come further than these ends. */
static void first_known(struct bus_op *op)
{
    struct feed *fd = container_of(op, struct feed, asked.op);
    struct tap *t = fd->t;
    bool begun = false;

    for (size_t k = 0; !op->err.rc && k < fd->parts_n; k++)
        begun |= fd->asked.offsets[k].offset >= 0;
    if (!t->closed && op->err.rc) {
        feed_failed(fd, &op->err);
    } else if (!t->closed && begun) {
        if (!timer_is_set(&t->commit)) loop_timer(t->f->loop, &t->commit, RETRY_MS, open_again);
    } else if (!t->closed) {
        feed_begin(fd);
    }
    bus_committed_fini(&fd->asked);
    bus_topic_fini(&fd->ensure);
    tap_returned(t);
}

static void committed_ask(struct feed *fd, void (*done)(struct bus_op *op))
{
    struct tap *t = fd->t;

    fd->asked = (struct bus_commit){.op = {.reply_to = loop_mailbox(t->f->loop), .done = done},
                                    .group = t->p->group, .topic = fd->topic, .offsets_n = fd->parts_n};
    tap_lend(t);
    bus_committed(t->f->bus, &fd->asked);
}

static void first_ends(struct bus_op *op)
{
    struct feed *fd = container_of(op, struct feed, ensure.op);
    struct tap *t = fd->t;
    struct err e = op->err;

    if (!e.rc && (size_t)fd->ensure.partitions < fd->parts_n)
        err_set(&e, RC_UNAVAILABLE, "it has %d partitions now and had %zu: whoever was asked has not heard of all yet", fd->ensure.partitions, fd->parts_n);
    if (!t->closed && !e.rc && parts_begun(fd) == 0 && owners_shared(t->f)) {
        committed_ask(fd, first_known);          /* which needs the ends */
        tap_returned(t);
        return;
    }
    if (!t->closed && e.rc) feed_failed(fd, &e);
    else if (!t->closed) feed_begin(fd);
    bus_topic_fini(&fd->ensure);
    tap_returned(t);
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
        tap_lend(t);
        bus_topic_describe(t->f->bus, &fd->ensure);
    }
    bus_committed_fini(&fd->asked);
    tap_returned(t);
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
        committed_ask(fd, committed_known);
    }
    bus_topic_fini(&fd->ensure);
    tap_returned(t);
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
    f->tap_feeds += t->feeds_n;
    for (size_t i = 0; i < t->feeds_n; i++) {
        struct feed *fd = &t->feeds[i];

        fd->ensure = (struct bus_topic){.op = {.reply_to = loop_mailbox(f->loop), .done = topic_made},
                                        .topic = fd->topic,
                                        .partitions = f->o.partitions,
                                        .replication = f->o.replication,
                                        .configs = f->configs,
                                        .configs_n = f->configs_n};
        tap_lend(t);
        bus_topic_ensure(f->bus, &fd->ensure);
    }
}
