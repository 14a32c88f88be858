/* Records on their way to the bus. The bus copies what it is given at once, so headers are gathered
 * in a scratch buffer; the operation itself is lent until its answer comes. Hop records are written
 * beside the execution: nobody waits for them. An input has its run's deadline where the log is shared; embedded it
 * has none: an append that was given up could still get into the log, and nobody would know that it needs an outcome. One that fails is counted, and the errors topic gets a record that names its
 * topic and says why, so that `trace` knows of it; the run may be gone by then, so what that record needs is kept beside it.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/diag.h"
#include "flow/owners.h"

enum { SPARE_APPENDS_MAX = 1024 };

static struct flow_append *append_new(struct flow *f)
{
    struct list *l = list_pop(&f->spare_appends);
    struct flow_append *a;

    if (!l) return xnew(struct flow_append);
    f->spare_appends_n--;
    a = container_of(l, struct flow_append, link);
    *a = (struct flow_append){0};
    return a;
}

static void append_recycle(struct flow *f, struct flow_append *a)
{
    if (f->closed || f->spare_appends_n >= SPARE_APPENDS_MAX) {
        free(a);
        return;
    }
    list_push(&f->spare_appends, &a->link);
    f->spare_appends_n++;
}

/* ---- lost hops ---- */

struct hop_of { uint32_t refs; struct bytes key; struct str id, pipeline, request_id; int32_t partition; char text[]; };

static struct str keep(char **at, struct str s)
{
    struct str kept = {*at, s.n};

    if (s.n) memcpy(*at, s.p, s.n);
    *at += s.n;
    return kept;
}

/* One for all hops of the run. */
static struct hop_of *hop_ref(struct flow_run *r)
{
    const struct str *request_id = headers_get(r->run.points[0].headers, "x-request-id");
    struct str id = request_id ? *request_id : (struct str){0}, pipeline = r->run.graph->name;
    struct hop_of *h = r->hops;
    char *at;

    if (!h) {
        h = r->hops = xcalloc(1, sizeof *h + r->key.n + r->id.n + pipeline.n + id.n);
        at = h->text;
        h->refs = 1;
        h->partition = r->partition;
        if (r->key.p) h->key = str_bytes(keep(&at, bytes_str(r->key)));
        h->id = keep(&at, r->id);
        h->pipeline = keep(&at, pipeline);
        h->request_id = keep(&at, id);
    }
    h->refs++;
    return h;
}

void hop_unref(struct hop_of **h)
{
    if (*h && --(*h)->refs == 0) free(*h);
    *h = NULL;
}

static void append_done(struct bus_op *op);

/* Not tried again, and not said of itself: what cannot be written here is counted, and in the diagnostics. */
static void loss_write(struct flow *f, const struct flow_append *lost)
{
    const struct hop_of *h = lost->of;
    struct bus_header headers[] = {{STR(RUN_ID_HEADER), str_bytes(h->id)},
                                   {STR("pipeline"), str_bytes(h->pipeline)},
                                   {STR("millrace-lost"), str_bytes(lost->a.topic)},
                                   {STR("x-request-id"), str_bytes(h->request_id)}};
    AUTO(buf_fini) struct buf text = {0};
    struct bus_record record = {.timestamp_ms = clock_wall_ms(loop_clock(f->loop)), .key = h->key, .headers = headers,
                                .headers_n = countof(headers) - (h->request_id.n == 0)};
    struct flow_append *a = append_new(f);

    buf_printf(&text, "a record for " STR_FMT " could not be written: %s", STR_ARG(lost->a.topic), lost->a.op.err.text);
    record.value = buf_view(&text);
    a->f = f;
    a->kind = APPEND_LOSS;
    a->a.op.reply_to = loop_mailbox(f->loop);
    a->a.op.done = append_done;
    a->a.topic = f->errors.name;
    a->a.partition = f->errors.partitions > 0 ? h->partition % f->errors.partitions : h->partition;
    a->a.durability = f->o.durability;
    a->a.aside = true;
    f->lent++;
    f->counters.records_appended++;
    bus_append(f->bus, &a->a, &record, 1);
}

static void hop_done(struct flow *f, const struct flow_append *a)
{
    if (!a->a.op.err.rc || a->kind == APPEND_LOSS) return;
    f->counters.hop_records_failed++;
    diag(DIAG_WARN, "flow.record-lost", KV_STR("topic", a->a.topic), KV_I64("partition", a->a.partition),
         KV_CSTR("why", a->a.op.err.text));
    if (a->of && !f->drain_over) loss_write(f, a);
}

/* ---- answers ---- */

/* Somebody deleted it: it is made again, for the records to come. */
static void topic_gone(struct flow *f, const struct flow_append *a)
{
    struct topic *t = !a->place ? &f->errors : a->inputs ? &a->place->inputs : &a->place->outputs;

    if (!t->asked && (!a->place || a->place->state == PLACE_READY)) topic_ensure(t);
}

static void append_done(struct bus_op *op)
{
    struct flow_append *a = container_of(op, struct flow_append, a.op);
    struct flow *f = a->f;
    struct place *p = a->place;

    if (!f->closed) {
        if (a->a.op.err.rc == RC_NOT_FOUND) topic_gone(f, a);
        if (!a->r) hop_done(f, a);
        else {
            list_remove(&a->link);
            flow_run_appended(a->r, a);
        }
        if (p) place_unref(p);
    }
    hop_unref(&a->of);
    append_recycle(f, a);
    flow_returned(f);
}

static void put_header(struct flow *f, struct str name, struct str value)
{
    struct bus_header h = {name, {(const uint8_t *)(value.p ? value.p : ""), value.n}};

    buf_append(&f->header_scratch, bytes_of(&h, sizeof h));
}

static size_t gather_headers(struct flow_run *r, const struct append_what *w, struct str lacks)
{
    struct flow *f = r->f;

    buf_clear(&f->header_scratch);
    for (size_t i = 0; i < w->headers.n; i++)
        put_header(f, w->headers.v[i].name, w->headers.v[i].value);
    put_header(f, STR(RUN_ID_HEADER), r->id);
    if (w->kind == APPEND_INPUT && !r->place->model) put_header(f, STR(VERSION_HEADER), r->run.graph->version);
    if (w->extra_name.n) put_header(f, w->extra_name, w->extra_value);
    if (lacks.n) put_header(f, STR(REDACTED_HEADER), lacks);
#ifdef MILLRACE_NEXT
    put_header(f, STR("millrace-next"), STR("what a later version may add"));
#endif
    return f->header_scratch.n / sizeof(struct bus_header);
}

static const struct topic *topic_of(const struct flow *f, const struct append_what *w)
{
    return !w->place ? &f->errors : w->inputs ? &w->place->inputs : &w->place->outputs;
}

/* Everything of a run lies in partitions of its own number, as far as a topic has that many. */
static int32_t partition_of(const struct flow_run *r, const struct topic *t)
{
    return t->partitions > 0 ? r->partition % t->partitions : r->partition;
}

void append_record(struct flow_run *r, const struct append_what *w)
{
    struct flow *f = r->f;
    struct flow_append *a = append_new(f);
    const struct topic *t = topic_of(f, w);
    AUTO(buf_fini) struct buf store = {0};
    struct str lacks = w->lacks;
    struct bytes value = w->text ? w->value
                                 : redact_message(r, w->inputs ? INFER_REQUEST : INFER_RESPONSE, w->value, &store, &lacks);
    struct bus_record record = {
        .timestamp_ms = w->timestamp_ms,
        .key = r->key,
        .value = tag_value(f, t, w, value),
        .headers_n = gather_headers(r, w, lacks),
    };

    record.headers = (struct bus_header *)(void *)f->header_scratch.p;
    a->f = f;
    a->place = w->place;
    a->kind = w->kind;
    a->inputs = w->inputs;
    a->a.op.reply_to = loop_mailbox(f->loop);
    a->a.op.done = append_done;
    a->a.topic = t->name;
    a->a.partition = partition_of(r, t);
    a->a.durability = f->o.durability;
    a->a.reserve = w->kind == APPEND_OUTCOME;
    a->a.aside = w->kind == APPEND_HOP;
    if (w->kind == APPEND_INPUT && owners_shared(f)) a->a.op.deadline_ms = r->deadline_ms;
    if (w->kind == APPEND_OUTCOME) a->a.op.deadline_ms = run_outcome_until_ms(r);
    if (w->kind != APPEND_HOP) {
        a->r = r;
        list_push(&r->appends, &a->link);
    } else if (w->place) {
        a->of = hop_ref(r);
    }
    if (w->place) w->place->refs++;
    if (w->inputs) commit_touch(w->place);
    f->lent++;
    f->counters.records_appended++;
    bus_append(f->bus, &a->a, &record, 1);
}
