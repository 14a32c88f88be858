/* control/browse.c - looking into the log: topics with their offsets, records, one request's way, what flowed where.
 *
 * A browse is a list of topics, a few of which are visited at a time (a Kafka far away takes long for each): describe,
 * then every partition is scanned in windows. Unless a start is given, windows go from the end backwards and grow, so
 * that "the last few" costs little. What a browse may cost is bounded (records looked at, bytes read, bytes answered,
 * the deadline); where a bound stopped it, the answer says "complete":false. SPDX-License-Identifier: Apache-2.0 */
#include "control/core.h"
#include "control/record_json.h"
#include "flow/graph.h"
#include "oip/json.h"
#include <inttypes.h>

enum {
    BROWSES_MAX = 4,
    LIMIT_PRESET = 10,
    LIMIT_MAX = 10000,
    WINDOW_RECORDS = 64,
    SCAN_RECORDS = 10000,
    TRACE_RECORDS = 5000,
    TRACE_WINDOW = 1024,
    FETCH_BYTES = 4 << 20,
    READ_BYTES_MAX = 256 << 20,
    ANSWER_BYTES_MAX = 32 << 20,
    OP_MS = 15000,
    VISITS_AT_ONCE = 16
};

struct visit {
    struct browse *b;
    struct str topic;
    int32_t partitions;
    int64_t *start, *end;  /* 0: no such topic */
    int32_t partition;     /* the one under way */
    int64_t low, high, at; /* the window [low, high), and how far it is read */
    size_t window, scanned, found;
    struct bus_topic describe;
    struct bus_fetch fetch;
};
struct hit {
    size_t visit;
    int rank;
    int64_t timestamp_ms, offset;
    int32_t partition;
    size_t at, n;
};

struct browse {
    struct control *c;
    struct control_call *call;
    struct arena arena;
    struct visit *visits;
    size_t visits_n, begun, running;
    struct err err;              /* the first failure: nothing more is begun */
    struct str pipeline, tensor; /* only records of this pipeline; only this tensor */
    bool partial, stop; /* something was not looked at; a bound was reached: look at nothing more */
    uint32_t limit;
    size_t bytes_read;
    int *depths;
    size_t depths_n;
    struct str depths_of; /* of the steps of one pipeline */
    struct hit *hits;
    size_t hits_n, hits_cap;
    struct buf texts;
    struct bus_topics topics;
};

static void visits_run(struct browse *b);
static void partition_next(struct visit *v);

/* ---- the end ---- */

static void finish(struct browse *b)
{
    struct control *c = b->c;

    control_answer(c, b->call);
    for (size_t i = 0; i < b->visits_n; i++) {
        free(b->visits[i].start);
        free(b->visits[i].end);
    }
    free(b->visits);
    free(b->hits);
    buf_fini(&b->texts);
    arena_fini(&b->arena);
    free(b);
    c->browsing--;
    control_settle(c);
}

/* This visit is over; with an error the whole browse is. */
static void visit_end(struct visit *v, const struct err *e)
{
    struct browse *b = v->b;

    if (e && !b->err.rc) b->err = *e;
    b->running--;
    visits_run(b);
}

static int by_way(const void *a, const void *b)
{
    const struct hit *x = a, *y = b;
    if (x->timestamp_ms != y->timestamp_ms) return x->timestamp_ms < y->timestamp_ms ? -1 : 1;
    if (x->rank != y->rank) return x->rank - y->rank;
    if (x->visit != y->visit) return x->visit < y->visit ? -1 : 1;
    if (x->partition != y->partition) return x->partition - y->partition;
    return x->offset < y->offset ? -1 : x->offset > y->offset;
}

/* The records of one visit, or of all; `last` > 0: no more than so many, the newest. */
static void put_records(const struct browse *b, size_t visit, uint32_t last, struct buf *out)
{
    size_t n = 0, skip, put = 0;

    for (size_t i = 0; i < b->hits_n; i++)
        n += visit == SIZE_MAX || b->hits[i].visit == visit;
    skip = last && n > last ? n - last : 0;
    buf_append_byte(out, '[');
    for (size_t i = 0; i < b->hits_n; i++) {
        const struct hit *h = &b->hits[i];
        if (visit != SIZE_MAX && h->visit != visit) continue;
        if (skip) {
            skip--;
            continue;
        }
        if (put++) buf_append_byte(out, ',');
        buf_append_str(out, (struct str){(const char *)b->texts.p + h->at, h->n});
    }
    buf_append_byte(out, ']');
}

static void put_partitions(const struct visit *v, struct buf *out)
{
    buf_append_str(out, STR(",\"partitions\":["));
    for (int32_t p = 0; p < v->partitions; p++)
        buf_printf(out, "%s{\"partition\":%" PRId32 ",\"start\":%" PRId64 ",\"end\":%" PRId64 "}", p ? "," : "", p,
                   v->start[p], v->end[p]);
    buf_append_byte(out, ']');
}

static void put_topics(const struct browse *b, struct buf *out)
{
    buf_append_str(out, STR("{\"topics\":["));
    for (size_t i = 0, put = 0; i < b->visits_n; i++) {
        const struct visit *v = &b->visits[i];
        if (!v->partitions) continue; /* deleted meanwhile */
        buf_append_str(out, put++ ? STR(",{\"topic\":") : STR("{\"topic\":"));
        json_put_str(out, v->topic);
        put_partitions(v, out);
        buf_append_byte(out, '}');
    }
    buf_append_byte(out, ']');
}

static void put_inspect(const struct browse *b, struct buf *out)
{
    buf_append_str(out, STR("{\"topics\":["));
    for (size_t i = 0; i < b->visits_n; i++) {
        buf_append_str(out, i ? STR(",{\"topic\":") : STR("{\"topic\":"));
        json_put_str(out, b->visits[i].topic);
        buf_append_str(out, STR(",\"records\":"));
        put_records(b, i, b->limit, out);
        buf_append_byte(out, '}');
    }
    buf_append_byte(out, ']');
}

static void answer(struct browse *b)
{
    struct buf *out = &b->call->json;

    if (b->hits_n) qsort(b->hits, b->hits_n, sizeof *b->hits, by_way);
    switch (b->call->what) {
    case CONTROL_TOPICS: put_topics(b, out); break;
    case CONTROL_INSPECT: put_inspect(b, out); break;
    case CONTROL_RECORDS:
        buf_append_str(out, STR("{\"topic\":"));
        json_put_str(out, b->call->name);
        put_partitions(&b->visits[0], out);
        buf_append_str(out, STR(",\"records\":"));
        put_records(b, SIZE_MAX, b->call->offset == -2 ? b->limit : 0, out);
        break;
    case CONTROL_TRACE:
        buf_append_str(out, STR("{\"requestId\":"));
        json_put_str(out, b->call->name);
        buf_append_str(out, STR(",\"records\":"));
        put_records(b, SIZE_MAX, 0, out);
        break;
    case CONTROL_APPLY:
    case CONTROL_CHECK:
    case CONTROL_LIST:
    case CONTROL_GET:
    case CONTROL_DELETE:
    case CONTROL_CLEARED:
    case CONTROL_INFO: break;
    }
    buf_printf(out, ",\"complete\":%s}", b->partial ? "false" : "true");
    finish(b);
}

/* ---- one record ---- */

/* How many steps lie before each step: orders records of one millisecond. A few passes over steps in file order. */
static void depths_make(struct browse *b, const struct flow_pipeline_def *def)
{
    bool moved = true;

    b->depths = arena_array(&b->arena, int, def->steps_n);
    b->depths_of = arena_dup_str(&b->arena, def->name);
    b->depths_n = def->steps_n;
    for (int pass = 0; pass < 32 && moved; pass++) {
        moved = false;
        for (size_t i = 0; i < def->steps_n; i++) {
            const struct flow_step_def *s = &def->steps[i];
            for (size_t k = 0; k < s->inputs_n + s->triggers_n; k++) {
                const struct flow_ref *r =
                    k < s->inputs_n ? &s->inputs[k] : &s->triggers[k - s->inputs_n];
                int before = r->step.n ? graph_step_index(def, r->step) : -1;
                if (before < 0 || b->depths[i] > b->depths[before] || b->depths[before] > 1000)
                    continue;
                b->depths[i] = b->depths[before] + 1;
                moved = true;
            }
        }
    }
}

static int depth_of(struct browse *b, const struct flow_pipeline_def *def, struct str step)
{
    int i = graph_step_index(def, step);

    if (!str_eq(b->depths_of, def->name)) depths_make(b, def);
    return i >= 0 && (size_t)i < b->depths_n ? b->depths[i] : 0;
}

static int rank_of(struct browse *b, struct str topic, const struct bus_record *r)
{
    AUTO(arena_fini) struct arena a = {0};
    struct str pipeline = {0}, rest = topic, model;
    bool outputs = str_ends(topic, STR(".outputs"));
    const struct resource *p;

    size_t space = b->c->o.topic_prefix.n + b->c->o.topic_namespace.n + 2;
    if (topic.n <= space) return 0;
    rest = (struct str){topic.p + space, topic.n - space};
    if (str_starts(rest, STR("pipeline."))) return outputs ? INT32_MAX : 0;
    if (!str_starts(rest, STR("model."))) return INT32_MAX - 1;
    str_cut((struct str){rest.p + 6, rest.n - 6}, '.', &model, &rest);
    if (!record_header(r, "pipeline", &pipeline)) return outputs ? 2 : 1;
    p = map_get_str(&b->c->by_key, record_key(&a, RESOURCE_PIPELINE, pipeline));
    return 1 + 2 * (p && !p->why_not.n ? depth_of(b, &p->pipeline.def, model) : 0) + outputs;
}

static bool key_is_of(struct bytes key, struct str id)
{
    struct str k = bytes_str(key);
    return str_eq(k, id) || (k.n > id.n && str_ends(k, id) && k.p[k.n - id.n - 1] == '.');
}

static bool wanted(const struct browse *b, const struct bus_record *r)
{
    struct str value;

    if (b->pipeline.n) { /* any of its headers of that name counts */
        bool found = false;
        for (size_t i = 0; i < r->headers_n && !found; i++)
            found = str_is(r->headers[i].key, "pipeline") &&
                    str_eq(bytes_str(r->headers[i].value), b->pipeline);
        if (!found) return false;
    }
    if (b->call->what != CONTROL_TRACE) return true;
    return (record_header(r, "x-request-id", &value) && str_eq(value, b->call->name)) ||
           (r->key.p && key_is_of(r->key, b->call->name));
}

static void keep(struct visit *v, const struct bus_record *r)
{
    struct browse *b = v->b;
    size_t at = b->texts.n;

    record_put_json(v->topic, v->partition, r, b->tensor, b->call->raw, &b->texts);
    if (b->hits_n == b->hits_cap) {
        b->hits_cap = b->hits_cap ? 2 * b->hits_cap : 32;
        b->hits = xrealloc(b->hits, b->hits_cap, sizeof *b->hits);
    }
    b->hits[b->hits_n++] = (struct hit){.visit = (size_t)(v - b->visits),
                                        .rank = rank_of(b, v->topic, r),
                                        .timestamp_ms = r->timestamp_ms,
                                        .offset = r->offset,
                                        .partition = v->partition,
                                        .at = at,
                                        .n = b->texts.n - at};
    v->found++;
    if (b->texts.n > ANSWER_BYTES_MAX) b->partial = b->stop = true;
}

/* ---- one partition ---- */

static bool is_forward(const struct browse *b)
{
    return b->call->what == CONTROL_RECORDS && b->call->offset != -2;
}

static size_t scan_max(const struct browse *b)
{
    return b->call->what == CONTROL_TRACE ? TRACE_RECORDS : SCAN_RECORDS;
}

static void fetch_next(struct visit *v);

static bool is_late(const struct browse *b)
{
    return b->c->state == CONTROL_STOPPING || loop_now_ms(b->c->o.loop) >= b->call->deadline_ms;
}

static uint64_t op_deadline(const struct browse *b)
{
    return MIN(b->call->deadline_ms, loop_now_ms(b->c->o.loop) + OP_MS);
}

/* The window is read; is there reason to look further back? */
static void window_done(struct visit *v)
{
    struct browse *b = v->b;
    bool more =
        v->low > v->start[v->partition] && (b->call->what == CONTROL_TRACE || v->found < b->limit);

    if (is_forward(b) || b->stop || !more) {
        partition_next(v);
    } else if (v->scanned >= scan_max(b)) {
        b->partial = true; /* older records were not looked at */
        partition_next(v);
    } else {
        v->window *= 2;
        v->high = v->low;
        v->low = MAX(v->start[v->partition], v->high - (int64_t)v->window);
        v->at = v->low;
        fetch_next(v);
    }
}

static void fetched(struct bus_op *op)
{
    struct visit *v = container_of(op, struct visit, fetch.op);
    struct browse *b = v->b;
    struct bus_fetch *f = &v->fetch;
    struct err e = op->err;

    for (size_t i = 0; i < f->records_n && !e.rc && !b->stop; i++) {
        const struct bus_record *r = &f->records[i];
        if (r->offset < v->at || r->offset >= v->high) continue;
        v->scanned++;
        b->bytes_read += r->value.n + r->key.n;
        if (wanted(b, r)) keep(v, r);
        if (is_forward(b) && v->found >= b->limit) v->high = r->offset + 1;
    }
    v->at = MAX(f->next_offset, v->at);
    if (!f->records_n) v->at = v->high; /* nothing but control records up to the end */
    bus_fetch_fini(f);
    if (e.rc) {
        err_in(&e, "read " STR_FMT, STR_ARG(v->topic));
        visit_end(v, &e);
        return;
    }
    if (b->bytes_read > READ_BYTES_MAX) b->partial = b->stop = true;
    if (v->at < v->high && !b->stop)
        fetch_next(v);
    else
        window_done(v);
}

static void fetch_next(struct visit *v)
{
    struct browse *b = v->b;

    if (is_late(b)) {
        b->partial = b->stop = true;
        visit_end(v, NULL);
        return;
    }
    v->fetch = (struct bus_fetch){.op = {.reply_to = loop_mailbox(b->c->o.loop),
                                         .done = fetched,
                                         .deadline_ms = op_deadline(b)},
                                  .topic = v->topic,
                                  .partition = v->partition,
                                  .offset = v->at,
                                  .size_max = FETCH_BYTES};
    bus_fetch(b->c->o.bus, &v->fetch);
}

static void partition_begin(struct visit *v)
{
    struct browse *b = v->b;
    int64_t start = v->start[v->partition], end = v->end[v->partition];

    v->scanned = v->found = 0;
    v->window =
        b->call->what == CONTROL_TRACE ? TRACE_WINDOW : MAX(b->limit, (uint32_t)WINDOW_RECORDS);
    v->high = end;
    v->low = is_forward(b) ? MAX(start, b->call->offset) : MAX(start, end - (int64_t)v->window);
    v->at = v->low;
    if (v->low >= v->high)
        partition_next(v);
    else
        fetch_next(v);
}

static void partition_next(struct visit *v)
{
    const struct control_call *call = v->b->call;
    bool one = call->what == CONTROL_RECORDS && call->partition >= 0;

    if (v->b->stop || one || ++v->partition >= v->partitions)
        visit_end(v, NULL);
    else
        partition_begin(v);
}

/* ---- topics ---- */

static void described(struct bus_op *op)
{
    struct visit *v = container_of(op, struct visit, describe.op);
    const struct control_call *call = v->b->call;
    bool records = call->what == CONTROL_RECORDS;
    struct err e = op->err;
    size_t n = (size_t)MAX(v->describe.partitions, 0);

    if (!e.rc && n) {
        v->partitions = v->describe.partitions;
        v->start = xnew_array(int64_t, n);
        v->end = xnew_array(int64_t, n);
        memcpy(v->start, v->describe.start_offsets, n * sizeof *v->start);
        memcpy(v->end, v->describe.end_offsets, n * sizeof *v->end);
    }
    bus_topic_fini(&v->describe);
    if (e.rc)
        err_in(&e, "describe " STR_FMT, STR_ARG(v->topic));
    else if (records && !n)
        err_set(&e, RC_NOT_FOUND, "topic " STR_FMT " does not exist", STR_ARG(v->topic));
    else if (records && call->partition >= (int32_t)n)
        err_set(&e, RC_NOT_FOUND, "topic " STR_FMT " has the partitions 0 to %zu",
                STR_ARG(v->topic), n - 1);
    if (e.rc || call->what == CONTROL_TOPICS || !n) {
        visit_end(v, e.rc ? &e : NULL);
        return;
    }
    v->partition = records && call->partition >= 0 ? call->partition : 0;
    partition_begin(v);
}

/* Keeps a few visits going; whoever ends last answers. */
static void visits_run(struct browse *b)
{
    while (b->begun < b->visits_n && b->running < VISITS_AT_ONCE && !b->err.rc && !b->stop) {
        struct visit *v = &b->visits[b->begun];
        if (is_late(b)) {
            b->partial = b->stop = true;
            break;
        }
        b->begun++;
        b->running++;
        v->b = b;
        v->describe = (struct bus_topic){.op = {.reply_to = loop_mailbox(b->c->o.loop),
                                                .done = described,
                                                .deadline_ms = op_deadline(b)},
                                         .topic = v->topic};
        bus_topic_describe(b->c->o.bus, &v->describe);
    }
    if (b->running) return;
    if (b->err.rc) {
        b->call->err = b->err;
        finish(b);
    } else {
        answer(b);
    }
}

static void visit_add(struct browse *b, struct str topic)
{
    b->visits = xrealloc(b->visits, b->visits_n + 1, sizeof *b->visits);
    b->visits[b->visits_n++] = (struct visit){.topic = arena_dup_str(&b->arena, topic)};
}

static int by_topic(const void *a, const void *b)
{
    return str_cmp(((const struct visit *)a)->topic, ((const struct visit *)b)->topic);
}

static bool carries_data(struct str topic)
{
    return str_ends(topic, STR(".inputs")) || str_ends(topic, STR(".outputs")) ||
           str_ends(topic, STR(".errors.errors"));
}

static void listed(struct bus_op *op)
{
    struct browse *b = container_of(op, struct browse, topics.op);
    struct err e = op->err;

    for (size_t i = 0; i < b->topics.names_n && !e.rc; i++)
        if (b->call->what == CONTROL_TOPICS || carries_data(b->topics.names[i]))
            visit_add(b, b->topics.names[i]);
    bus_topics_fini(&b->topics);
    if (e.rc) {
        b->call->err = e;
        err_in(&b->call->err, "list topics");
        finish(b);
        return;
    }
    if (b->visits_n) qsort(b->visits, b->visits_n, sizeof *b->visits, by_topic);
    visits_run(b);
}

static void list_topics(struct browse *b)
{
    struct str space =
        arena_printf(&b->arena, STR_FMT "." STR_FMT ".", STR_ARG(b->c->o.topic_prefix),
                     STR_ARG(b->c->o.topic_namespace));

    b->topics = (struct bus_topics){.op = {.reply_to = loop_mailbox(b->c->o.loop),
                                           .done = listed,
                                           .deadline_ms = b->call->deadline_ms},
                                    .prefix = b->call->all ? STR("") : space};
    bus_topics(b->c->o.bus, &b->topics);
}

/* ---- inspect ---- */

static void visit_of(struct browse *b, const char *kind, struct str name, bool inputs)
{
    visit_add(b, arena_printf(&b->arena, STR_FMT "." STR_FMT ".%s." STR_FMT ".%s",
                              STR_ARG(b->c->o.topic_prefix), STR_ARG(b->c->o.topic_namespace), kind,
                              STR_ARG(name), inputs ? "inputs" : "outputs"));
}

static void visit_both(struct browse *b, const char *kind, struct str name)
{
    visit_of(b, kind, name, true);
    visit_of(b, kind, name, false);
}

static enum rc refuse_expression(struct err *e)
{
    return err_set(e, RC_INVALID,
                   "NAME, NAME.inputs, NAME.outputs, NAME.STEP, or NAME.STEP.inputs or .outputs "
                   "and .TENSOR is wanted");
}

static enum rc inspect_step(struct browse *b, const struct flow_pipeline_def *def, struct str step,
                            struct str rest, struct err *e)
{
    struct str side, tensor = {0};

    if (graph_step_index(def, step) < 0)
        return err_set(e, RC_NOT_FOUND, "pipeline " STR_FMT " has no step " STR_FMT,
                       STR_ARG(def->name), STR_ARG(step));
    if (!rest.n) {
        visit_both(b, "model", step);
        return RC_OK;
    }
    str_cut(rest, '.', &side, &tensor);
    if (!str_is(side, "inputs") && !str_is(side, "outputs")) return refuse_expression(e);
    visit_of(b, "model", step, str_is(side, "inputs"));
    b->tensor = arena_dup_str(&b->arena, tensor);
    return RC_OK;
}

static enum rc inspect_plan(struct browse *b, struct err *e)
{
    struct str name, rest = {0}, part;
    const struct resource *p;
    bool dotted = str_cut(b->call->name, '.', &name, &rest);

    if (!name.n || (dotted && !rest.n)) return refuse_expression(e);
    p = map_get_str(&b->c->by_key, record_key(&b->arena, RESOURCE_PIPELINE, name));
    if (!p || p->why_not.n) {
        if (!map_get_str(&b->c->by_key, record_key(&b->arena, RESOURCE_MODEL, name)))
            return err_set(e, RC_NOT_FOUND, "there is no pipeline and no model " STR_FMT,
                           STR_ARG(name));
        if (!dotted)
            visit_both(b, "model", name);
        else {
            str_cut(rest, '.', &part, &rest);
            if (!str_is(part, "inputs") && !str_is(part, "outputs")) return refuse_expression(e);
            visit_of(b, "model", name, str_is(part, "inputs"));
            b->tensor = arena_dup_str(&b->arena, rest);
        }
        return RC_OK;
    }
    b->pipeline = arena_dup_str(&b->arena, name);
    if (!dotted) {
        for (size_t i = 0; i < p->pipeline.def.steps_n; i++)
            visit_both(b, "model", p->pipeline.def.steps[i].name);
        visit_both(b, "pipeline", name);
        visit_add(b, arena_printf(&b->arena, STR_FMT "." STR_FMT ".errors.errors",
                                  STR_ARG(b->c->o.topic_prefix), STR_ARG(b->c->o.topic_namespace)));
        return RC_OK;
    }
    str_cut(rest, '.', &part, &rest);
    if (!str_is(part, "inputs") && !str_is(part, "outputs"))
        return inspect_step(b, &p->pipeline.def, part, rest, e);
    visit_of(b, "pipeline", name, str_is(part, "inputs"));
    b->tensor = arena_dup_str(&b->arena, rest);
    return RC_OK;
}

void control_browse(struct control *c, struct control_call *call)
{
    struct browse *b;
    struct err e = {0};

    if (c->browsing >= BROWSES_MAX) {
        control_refuse(c, call, RC_OVERLOAD, "%d such questions are being answered already",
                       BROWSES_MAX);
        return;
    }
    b = xnew(struct browse);
    b->c = c;
    b->call = call;
    b->limit = call->limit ? MIN(call->limit, (uint32_t)LIMIT_MAX) : LIMIT_PRESET;
    c->browsing++;
    switch (call->what) {
    case CONTROL_RECORDS:
        visit_add(b, call->name);
        visits_run(b);
        break;
    case CONTROL_INSPECT:
        if (inspect_plan(b, &e)) {
            call->err = e;
            finish(b);
        } else {
            visits_run(b);
        }
        break;
    case CONTROL_TRACE:
        b->pipeline = arena_dup_str(&b->arena, call->kind);
        list_topics(b);
        break;
    case CONTROL_TOPICS: list_topics(b); break;
    case CONTROL_APPLY:
    case CONTROL_CHECK:
    case CONTROL_LIST:
    case CONTROL_GET:
    case CONTROL_DELETE:
    case CONTROL_CLEARED:
    case CONTROL_INFO: finish(b); break;
    }
}
