/* Fetches and watches: the broker's loop hands over whole batches, the asker's thread opens them.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "bus/embedded_core.h"
#include "kafka/batch.h"

/* ---- decoding ---- */

static struct bus_record *record_more(struct decoded *d)
{
    if (d->records_n == d->records_cap) {
        d->records_cap = d->records_cap ? 2 * d->records_cap : 16;
        d->records = xrealloc(d->records, d->records_cap, sizeof *d->records);
    }
    return &d->records[d->records_n++];
}

/* The array may move while it grows: records keep positions until all are known. */
static void headers_take(struct decoded *d, const struct record *rec, struct bus_record *to)
{
    struct rd h = record_headers(rec);
    struct record_header header;

    to->headers = (struct bus_header *)(uintptr_t)d->headers_n;
    to->headers_n = rec->headers_n;
    while (record_headers_next(&h, &header)) {
        if (d->headers_n == d->headers_cap) {
            d->headers_cap = d->headers_cap ? 2 * d->headers_cap : 32;
            d->headers = xrealloc(d->headers, d->headers_cap, sizeof *d->headers);
        }
        d->headers[d->headers_n++] = (struct bus_header){header.key, header.value};
    }
}

static enum rc batch_decode(const struct batch *b, int64_t from, size_t bytes_max,
                            struct codecs *codecs, struct decoded *d, struct err *e)
{
    struct buf none = {0}, *plain = &none;
    struct records it;
    struct record rec;

    if (batch_codec(b) != KAFKA_CODEC_NONE) {
        d->plain = xrealloc(d->plain, d->plain_n + 1, sizeof *d->plain);
        plain = &d->plain[d->plain_n++];
        *plain = (struct buf){0};
    }
    it.fault = records_open(&it, b, codecs, bytes_max, plain);
    while (!it.fault && records_next(&it, &rec)) {
        struct bus_record *to;

        if (rec.offset < from) continue;
        to = record_more(d);
        *to = (struct bus_record){.offset = rec.offset,
                                  .timestamp_ms = rec.timestamp,
                                  .key = rec.key,
                                  .value = rec.value};
        headers_take(d, &rec, to);
    }
    if (!it.fault) return RC_OK;
    return err_set(e, RC_CORRUPT, "batch at offset %lld: %s", (long long)b->base_offset,
                   batch_fault_name(it.fault));
}

enum rc batches_decode(struct bytes batches, int64_t from, size_t bytes_max, struct decoded *ret,
                       int64_t *ret_next, struct err *e)
{
    AUTO(codecs_freep) struct codecs *codecs = codecs_new();
    struct batch b;

    *ret = (struct decoded){0};
    for (size_t at = 0; at < batches.n; at += b.raw.n) {
        enum batch_fault fault = batch_view((struct bytes){batches.p + at, batches.n - at}, &b);

        if (fault)
            return err_set(e, RC_CORRUPT, "batch behind offset %lld: %s", (long long)from,
                           batch_fault_name(fault));
        *ret_next = batch_next_offset(&b);
        if (!batch_is(&b, BATCH_CONTROL) && batch_decode(&b, from, bytes_max, codecs, ret, e))
            return e->rc;
    }
    for (size_t i = 0; i < ret->records_n; i++)
        ret->records[i].headers = ret->headers + (uintptr_t)ret->records[i].headers;
    return RC_OK;
}

void decoded_fini(struct decoded *d)
{
    for (size_t i = 0; i < d->plain_n; i++)
        buf_fini(&d->plain[i]);
    free(d->plain);
    free(d->records);
    free(d->headers);
    *d = (struct decoded){0};
}

static struct bytes field_pack(uint8_t **at, struct bytes b)
{
    struct bytes to = {b.p ? *at : NULL, b.n};

    if (b.n) memcpy(*at, b.p, b.n);
    *at += b.n;
    return to;
}

/* One block: records, headers, then the bytes of both. It is what bus_fetch_fini() frees. */
static struct bus_record *records_pack(const struct decoded *d)
{
    size_t bytes = d->records_n * sizeof *d->records + d->headers_n * sizeof *d->headers;
    struct bus_record *records;
    struct bus_header *headers;
    uint8_t *at;

    for (size_t i = 0; i < d->records_n; i++)
        bytes += d->records[i].key.n + d->records[i].value.n;
    for (size_t i = 0; i < d->headers_n; i++)
        bytes += d->headers[i].key.n + d->headers[i].value.n;
    if (!d->records_n) return NULL;
    records = xcalloc(1, bytes + 1);
    headers = (struct bus_header *)(records + d->records_n);
    at = (uint8_t *)(headers + d->headers_n);
    for (size_t i = 0; i < d->headers_n; i++) {
        headers[i].key = bytes_str(field_pack(&at, str_bytes(d->headers[i].key)));
        headers[i].value = field_pack(&at, d->headers[i].value);
    }
    for (size_t i = 0; i < d->records_n; i++) {
        records[i] = d->records[i];
        records[i].headers = headers + (d->records[i].headers - d->headers);
        records[i].key = field_pack(&at, d->records[i].key);
        records[i].value = field_pack(&at, d->records[i].value);
    }
    return records;
}

/* ---- fetch ---- */

struct fetch {
    struct broker_fetch at_broker;
    struct bus_fetch *op;
    struct embedded *em;
    struct list link;
    uint64_t wait_until_ms;
    size_t bytes_max; /* of one decompressed batch */
};

/* On the asker's thread. */
static void fetch_home(struct msg *m)
{
    struct bus_fetch *f = container_of(m, struct bus_fetch, op.msg);
    struct fetch *fe = f->priv;
    struct decoded d = {0};

    f->next_offset = fe->at_broker.offset;
    f->start_offset = fe->at_broker.start_offset;
    f->end_offset = fe->at_broker.end_offset;
    if (!f->op.err.rc && !err_keep(batches_decode(buf_view(&fe->at_broker.batches), f->next_offset,
                                                  fe->bytes_max, &d, &f->next_offset, &f->op.err),
                                   &f->op.err)) {
        f->records = records_pack(&d);
        f->records_n = d.records_n;
    }
    decoded_fini(&d);
    buf_fini(&fe->at_broker.batches);
    free(fe);
    f->priv = NULL;
    f->op.done(&f->op);
}

/* Where the reading goes on if there is nothing to show: control batches, or what lies before the wanted offset. */
static bool nothing_to_show(struct bytes batches, int64_t from, int64_t *ret_next)
{
    struct batch b;

    for (size_t at = 0; at < batches.n; at += b.raw.n) {
        if (batch_view((struct bytes){batches.p + at, batches.n - at}, &b)) return false;
        *ret_next = batch_next_offset(&b);
        if (!batch_is(&b, BATCH_CONTROL) && batch_last_offset(&b) >= from) return false;
    }
    return batches.n > 0;
}

static void fetch_done(struct broker_fetch *bf)
{
    struct fetch *fe = container_of(bf, struct fetch, at_broker);
    struct embedded *em = fe->em;
    struct bus_fetch *f = fe->op;
    int64_t next;

    if (!bf->err.rc && !em->closing && nothing_to_show(buf_view(&bf->batches), bf->offset, &next)) {
        buf_fini(&bf->batches);
        bf->offset = next;
        broker_fetch(em->broker, bf);
        return;
    }
    list_remove(&fe->link);
    f->op.err = bf->err;
    if (!bf->err.rc && !bf->batches.n && f->op.deadline_ms && f->op.deadline_ms < fe->wait_until_ms)
        err_set(&f->op.err, RC_TIMEOUT,
                "fetch from " STR_FMT "/%d: nothing there when the deadline passed",
                STR_ARG(f->topic), f->partition);
    f->op.msg.run = fetch_home;
    mailbox_post(f->op.reply_to, &f->op.msg);
    embedded_unref(em);
}

static void fetch_run(struct msg *m)
{
    struct bus_fetch *f = container_of(m, struct bus_fetch, op.msg);
    struct fetch *fe = f->priv;
    struct embedded *em = fe->em;

    if (!op_may_begin(em, &f->op)) {
        free(fe);
        return;
    }
    fe->wait_until_ms = embedded_now_ms(em) + f->wait_ms;
    fe->at_broker = (struct broker_fetch){
        .topic = f->topic,
        .partition = f->partition,
        .offset = f->offset,
        .size_max = f->size_max,
        .done = fetch_done,
        .deadline_ms =
            f->op.deadline_ms ? MIN(f->op.deadline_ms, fe->wait_until_ms) : fe->wait_until_ms};
    list_push(&em->fetches, &fe->link);
    broker_fetch(em->broker, &fe->at_broker);
}

void embedded_fetch(struct bus *b, struct bus_fetch *f)
{
    struct fetch *fe = xnew(struct fetch);

    f->records = NULL;
    f->records_n = 0;
    f->next_offset = f->start_offset = f->end_offset = -1;
    fe->op = f;
    fe->em = embedded_of(b);
    fe->bytes_max = fe->em->message_bytes_max;
    f->priv = fe;
    op_send(fe->em, &f->op, fetch_run);
}

/* ---- watch ---- */

struct watch_at {
    struct broker_watch at_broker;
    struct embedded *em; /* the broker's loop only; gone when `ended` */
    struct list link;
    bool ended;

    struct bus_watch *op;
    struct mailbox *mailbox; /* the broker's */
    size_t bytes_max;
    struct msg deliver, more, tell, stop;
    struct buf batches; /* handed over with `deliver`, as are these */
    int64_t from, next;
    bool stopping, asked, tell_wanted; /* the asker's only */
    atomic_bool telling;               /* `tell` is on its way */
    struct err why;                    /* … what it found wrong */
    atomic_uint refs;                  /* the operation, and each `more` and `stop` on its way */
};

static void watch_unref(struct watch_at *wa)
{
    if (atomic_fetch_sub_explicit(&wa->refs, 1, memory_order_acq_rel) != 1) return;
    buf_fini(&wa->batches);
    free(wa);
}

static void watch_home(struct msg *m)
{
    struct bus_watch *w = container_of(m, struct bus_watch, op.msg);
    struct watch_at *wa = w->priv;

    w->priv = NULL;
    if (wa->why.rc) w->op.err = wa->why;
    watch_unref(wa);
    w->op.done(&w->op);
}

static void more_run(struct msg *m)
{
    struct watch_at *wa = container_of(m, struct watch_at, more);

    if (!wa->ended) broker_watch_more(&wa->at_broker);
    watch_unref(wa);
}

static void more_send(struct watch_at *wa)
{
    atomic_fetch_add(&wa->refs, 1);
    wa->asked = true;
    wa->more.run = more_run;
    mailbox_post(wa->mailbox, &wa->more);
}

/* On the asker's thread. As soon as more is asked for, `batches` and `next` are the broker's again. */
static void deliver_run(struct msg *m)
{
    struct watch_at *wa = container_of(m, struct watch_at, deliver);
    AUTO(buf_fini) struct buf batches = buf_take(&wa->batches);
    struct bus_watch *w = wa->op;
    struct decoded d = {0};
    int64_t from = wa->from, next = wa->next, behind = next;

    wa->asked = false;
    wa->from = next;
    if (wa->stopping) return;
    if (batches_decode(buf_view(&batches), from, wa->bytes_max, &d, &behind, &wa->why))
        embedded_watch_stop(NULL, w);
    else if (d.records_n || wa->tell_wanted) {
        wa->tell_wanted = false;
        w->records(w, d.records, d.records_n, next);
    } else
        more_send(wa);
    decoded_fini(&d);
}

static void watch_batches(struct broker_watch *bw, struct bytes batches, int64_t next)
{
    struct watch_at *wa = container_of(bw, struct watch_at, at_broker);

    buf_append(&wa->batches, batches);
    wa->next = next;
    wa->deliver.run = deliver_run;
    mailbox_post(wa->op->op.reply_to, &wa->deliver);
}

static void watch_done(struct broker_watch *bw)
{
    struct watch_at *wa = container_of(bw, struct watch_at, at_broker);
    struct embedded *em = wa->em;
    struct bus_watch *w = wa->op;

    list_remove(&wa->link);
    wa->ended = true;
    w->op.err = bw->err;
    w->op.msg.run = watch_home;
    mailbox_post(w->op.reply_to, &w->op.msg);
    embedded_unref(em);
}

static void watch_run(struct msg *m)
{
    struct bus_watch *w = container_of(m, struct bus_watch, op.msg);
    struct watch_at *wa = w->priv;
    struct embedded *em = wa->em;

    list_push(&em->watches, &wa->link);
    broker_watch(em->broker, &wa->at_broker);
    wa->from = wa->at_broker.offset; /* -1 and -2 are numbers now */
    if (em->closing) broker_watch_stop(&wa->at_broker);
}

void embedded_watch(struct bus *b, struct bus_watch *w)
{
    struct watch_at *wa = xnew(struct watch_at);

    wa->em = embedded_of(b);
    wa->op = w;
    wa->mailbox = wa->em->mailbox;
    wa->bytes_max = wa->em->message_bytes_max;
    wa->at_broker = (struct broker_watch){.topic = w->topic,
                                          .partition = w->partition,
                                          .offset = w->offset,
                                          .batches = watch_batches,
                                          .done = watch_done};
    atomic_init(&wa->refs, 1);
    w->priv = wa;
    op_send(wa->em, &w->op, watch_run);
}

void embedded_watch_more(struct bus *b, struct bus_watch *w)
{
    struct watch_at *wa = w->priv;

    (void)b;
    if (wa && !wa->stopping && !wa->asked) more_send(wa);
}

static void tell_run(struct msg *m)
{
    struct watch_at *wa = container_of(m, struct watch_at, tell);

    atomic_store(&wa->telling, false);
    if (!wa->ended) broker_watch_tell(&wa->at_broker);
    watch_unref(wa);
}

void embedded_watch_tell(struct bus *b, struct bus_watch *w)
{
    struct watch_at *wa = w->priv;

    (void)b;
    if (!wa || wa->stopping) return;
    wa->tell_wanted = true;
    if (atomic_exchange(&wa->telling, true)) return;
    atomic_fetch_add(&wa->refs, 1);
    wa->tell.run = tell_run;
    mailbox_post(wa->mailbox, &wa->tell);
}

static void stop_run(struct msg *m)
{
    struct watch_at *wa = container_of(m, struct watch_at, stop);

    if (!wa->ended) broker_watch_stop(&wa->at_broker);
    watch_unref(wa);
}

void embedded_watch_stop(struct bus *b, struct bus_watch *w)
{
    struct watch_at *wa = w->priv;

    (void)b;
    if (!wa || wa->stopping) return;
    wa->stopping = true;
    atomic_fetch_add(&wa->refs, 1);
    wa->stop.run = stop_run;
    mailbox_post(wa->mailbox, &wa->stop);
}

void embedded_reads_close(struct embedded *em)
{
    list_each_safe(it, &em->fetches)
        broker_fetch_cancel(&container_of(it, struct fetch, link)->at_broker);
    list_each_safe(it, &em->watches)
        broker_watch_stop(&container_of(it, struct watch_at, link)->at_broker);
}
