/* SPDX-License-Identifier: Apache-2.0
 *
 * An append: the asker's thread makes one record batch of the records and posts the operation; the broker's loop gives it
 * to broker_append(), which stages it in this turn; when the wal covers it (or at once for BUS_CACHE) the operation is posted
 * home. Two messages, one buffer, no lock.
 *
 * References: each operation holds one from the moment it is sent until the broker's side has done with it, so that a
 * closed bus is freed by the last of them.
 */
#include "bus/embedded_core.h"
#include "bus/trouble.h"
#include "kafka/batch_build.h"
#include <stdio.h>

enum {
    MESSAGE_BYTES_MAX = 1000000000,
    SWEEP_MS = 20,        /* how late a deadline may be noticed */
    RECORD_OVERHEAD = 48, /* lengths and deltas around a record, and around a header */
};

/* ---- operations ---- */

void embedded_ref(struct embedded *em)
{
    atomic_fetch_add_explicit(&em->refs, 1, memory_order_relaxed);
}

void embedded_unref(struct embedded *em)
{
    if (atomic_fetch_sub_explicit(&em->refs, 1, memory_order_acq_rel) != 1) return;
    timer_cancel(em->timers, &em->sweep);
    free(em);
}

void op_send(struct embedded *em, struct bus_op *op, void (*run)(struct msg *m))
{
    embedded_ref(em);
    op->err = (struct err){0};
    op->msg.run = run;
    mailbox_post(em->mailbox, &op->msg);
}

static void run_done(struct msg *m)
{
    struct bus_op *op = container_of(m, struct bus_op, msg);

    op->done(op);
}

void op_home(struct bus_op *op)
{
    op->msg.run = run_done;
    mailbox_post(op->reply_to, &op->msg);
}

void op_fail(struct bus_op *op, enum rc rc, const char *fmt, ...)
{
    char text[sizeof op->err.text];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    err_set(&op->err, rc, "%s", text);
    op_home(op);
}

uint64_t embedded_now_ms(const struct embedded *em)
{
    return clock_mono_ms(em->clock);
}

bool op_may_begin(struct embedded *em, struct bus_op *op)
{
    if (em->closing)
        op_fail(op, RC_CANCELLED, "the bus is closed");
    else if (op->deadline_ms && embedded_now_ms(em) >= op->deadline_ms)
        op_fail(op, RC_TIMEOUT, "the deadline passed before it began");
    else
        return true;
    embedded_unref(em);
    return false;
}

/* ---- append ---- */

struct append {
    struct broker_append at_broker;
    struct bus_append
        *op; /* NULL: has gone home already, its deadline passed or the bus was closed */
    struct embedded *em;
    struct list link;
    uint64_t deadline_ms;
    char topic[];
};

_Static_assert(sizeof(struct bus_header) == sizeof(struct record_header) &&
                   offsetof(struct bus_header, value) == offsetof(struct record_header, value),
               "one is read as the other");

static size_t batch_estimate(const struct bus_record *records, size_t n)
{
    size_t bytes = BATCH_HEADER_BYTES;

    for (size_t i = 0; i < n; i++) {
        bytes += RECORD_OVERHEAD + records[i].key.n + records[i].value.n;
        for (size_t k = 0; k < records[i].headers_n; k++)
            bytes += RECORD_OVERHEAD + records[i].headers[k].key.n + records[i].headers[k].value.n;
    }
    return bytes;
}

static enum rc too_large(const struct embedded *em, size_t n, struct err *e)
{
    struct trouble t = trouble_make(TROUBLE_SIZE, "a batch of %zu bytes, messageMaxBytes is %zu", n, em->message_bytes_max);

    trouble_say(&t);
    return trouble_err(&t, e);
}

static enum rc batch_make(const struct embedded *em, const struct bus_record *records, size_t n,
                          struct buf *ret, struct err *e)
{
    static const struct batch_options ours = {.has_producer = true,
                                              .producer_id = BROKER_BUS_PRODUCER_ID,
                                              .producer_epoch = 0,
                                              .base_sequence = -1,
                                              .leader_epoch = -1};
    size_t bytes = batch_estimate(records, n);
    int64_t now_ms = -1;
    struct batch_builder w;
    struct bytes view;

    if (n == 0) return err_set(e, RC_INVALID, "append: no records");
    if (bytes > em->message_bytes_max + BATCH_HEADER_BYTES + n * RECORD_OVERHEAD)
        return too_large(em, bytes, e);
    buf_reserve(ret, bytes);
    batch_begin(&w, ret, &ours);
    for (size_t i = 0; i < n; i++) {
        int64_t ts = records[i].timestamp_ms;

        if (ts < 0) ts = now_ms >= 0 ? now_ms : (now_ms = clock_wall_ms(em->clock));
        batch_add(&w, &(struct record_new){
                          .timestamp = ts,
                          .key = records[i].key,
                          .value = records[i].value,
                          .headers = (const struct record_header *)(const void *)records[i].headers,
                          .headers_n = records[i].headers_n});
    }
    if (batch_end(&w, NULL, &view, e)) return e->rc;
    if (view.n > em->message_bytes_max)
        return too_large(em, view.n, e);
    return RC_OK;
}

static void append_forget(struct append *ap)
{
    list_remove(&ap->link);
    ap->op = NULL;
}

static void append_done(struct broker_append *b)
{
    struct append *ap = container_of(b, struct append, at_broker);
    struct embedded *em = ap->em;
    struct bus_append *a = ap->op;

    if (b->err.rc == RC_FATAL || b->err.rc == RC_DISK_FULL ||
        atomic_load_explicit(&em->why, memory_order_relaxed))
        embedded_check_ready(em);
    append_forget(ap);
    if (a) {
        a->offset = b->base_offset;
        if (b->err.rc) a->op.err = b->err;
        op_home(&a->op);
    }
    free(ap);
    embedded_unref(em);
}

static void sweep(struct timer *t)
{
    struct embedded *em = container_of(t, struct embedded, sweep);
    uint64_t now_ms = embedded_now_ms(em);

    list_each_safe(it, &em->appends)
    {
        struct append *ap = container_of(it, struct append, link);
        struct bus_append *a = ap->op;

        if (!ap->deadline_ms || now_ms < ap->deadline_ms) continue;
        append_forget(ap);
        op_fail(&a->op, RC_TIMEOUT, "append to %s/%d: not on disk when the deadline passed",
                ap->topic, ap->at_broker.partition);
    }
    if (!list_empty(&em->appends)) timer_set(em->timers, t, now_ms + SWEEP_MS, sweep);
}

static void append_run(struct msg *m)
{
    struct bus_append *a = container_of(m, struct bus_append, op.msg);
    struct append *ap = a->priv;
    struct embedded *em = ap->em;

    if (!op_may_begin(em, &a->op)) {
        buf_fini(&ap->at_broker.batch);
        free(ap);
        return;
    }
    list_push(&em->appends, &ap->link);
    if (ap->deadline_ms && !timer_is_set(&em->sweep))
        timer_set(em->timers, &em->sweep, embedded_now_ms(em) + SWEEP_MS, sweep);
    broker_append(em->broker, &ap->at_broker);
}

static void embedded_append(struct bus *b, struct bus_append *a, const struct bus_record *records,
                            size_t n)
{
    struct embedded *em = embedded_of(b);
    struct buf batch = {0};
    struct append *ap;

    a->offset = -1;
    if (err_keep(batch_make(em, records, n, &batch, &a->op.err), &a->op.err)) {
        buf_fini(&batch);
        op_home(&a->op);
        return;
    }
    ap = (struct append *)xcalloc(1, sizeof *ap + a->topic.n + 1);
    memcpy(ap->topic, a->topic.p, a->topic.n);
    ap->at_broker.topic = (struct str){ap->topic, a->topic.n};
    ap->at_broker.partition = a->partition;
    ap->at_broker.flags = (a->durability == BUS_CACHE ? BROKER_APPEND_NO_WAIT : 0) |
                          (a->reserve ? BROKER_APPEND_RESERVE : 0);
    ap->at_broker.batch = batch;
    ap->at_broker.done = append_done;
    ap->op = a;
    ap->em = em;
    ap->deadline_ms = a->op.deadline_ms;
    a->priv = ap;
    op_send(em, &a->op, append_run);
}

/* ---- ready ---- */

void embedded_check_ready(struct embedded *em)
{
    unsigned now = atomic_load_explicit(&em->why, memory_order_relaxed);
    struct str why;
    unsigned slot;
    size_t n;

    if (broker_is_ready(em->broker, &why)) {
        atomic_store_explicit(&em->why, 0, memory_order_release);
        return;
    }
    n = MIN(why.n, (size_t)WHY_BYTES - 1);
    if (now && strlen(em->why_text[now - 1]) == n && memcmp(em->why_text[now - 1], why.p, n) == 0)
        return;
    slot = em->why_next++ %
           WHY_SLOTS; /* readers copy at once: a slot is written again three changes later */
    memcpy(em->why_text[slot], why.p, n);
    em->why_text[slot][n] = 0;
    atomic_store_explicit(&em->why, slot + 1, memory_order_release);
}

static void refresh_run(struct msg *m)
{
    struct embedded *em = container_of(m, struct embedded, refresh);

    atomic_store(&em->refreshing, false);
    if (!em->closing) embedded_check_ready(em);
    embedded_unref(em);
}

/* Answers with what is known and asks the broker, so that who looks regularly is one look behind at most. Failed appends are
 * noticed at once. */
static bool embedded_ready(const struct bus *b, struct str *ret_why)
{
    static _Thread_local char text[WHY_BYTES];
    struct embedded *em = embedded_of((struct bus *)(uintptr_t)b);
    unsigned why = atomic_load_explicit(&em->why, memory_order_acquire);

    if (!atomic_exchange(&em->refreshing, true)) {
        embedded_ref(em);
        em->refresh.run = refresh_run;
        mailbox_post(em->mailbox, &em->refresh);
    }
    if (!why) return true;
    memcpy(text, em->why_text[why - 1], sizeof text);
    text[sizeof text - 1] = 0;
    *ret_why = str_of(text);
    return false;
}

/* ---- open and close ---- */

static void appends_close(struct embedded *em)
{
    list_each_safe(it, &em->appends)
    {
        struct append *ap = container_of(it, struct append, link);
        struct bus_append *a = ap->op;

        append_forget(ap);
        op_fail(&a->op, RC_CANCELLED, "append: the bus is closed");
    }
}

static void embedded_close(struct bus *b)
{
    struct embedded *em = embedded_of(b);

    em->closing = true;
    appends_close(em);
    embedded_reads_close(em);
    embedded_waits_close(em);
    embedded_asks_close(em);
    embedded_unref(em);
}

static const struct bus_ops ops = {
    .append = embedded_append,
    .fetch = embedded_fetch,
    .watch = embedded_watch,
    .watch_more = embedded_watch_more,
    .watch_tell = embedded_watch_tell,
    .watch_stop = embedded_watch_stop,
    .topic_ensure = embedded_topic_ensure,
    .topic_describe = embedded_topic_describe,
    .topic_delete = embedded_topic_delete,
    .topics = embedded_topics,
    .commit = embedded_commit,
    .committed = embedded_committed,
    .group_delete = embedded_group_delete,
    .readers = embedded_readers,
    .ask = embedded_ask,
    .ready = embedded_ready,
    .close = embedded_close,
};

struct bus *bus_embedded(const struct bus_embedded_options *opt)
{
    struct embedded *em = xnew(struct embedded);
    struct str cluster = broker_cluster_id(opt->broker);

    em->bus.ops = &ops;
    em->bus.facts.embedded = true;
    snprintf(em->bus.facts.cluster_id, sizeof em->bus.facts.cluster_id, STR_FMT, STR_ARG(cluster));
    snprintf(em->bus.facts.incarnation, sizeof em->bus.facts.incarnation, "%u",
             broker_start_number(opt->broker));
    em->broker = opt->broker;
    em->mailbox = broker_mailbox(opt->broker);
    em->timers = opt->timers;
    em->clock = opt->clock;
    em->message_bytes_max = opt->message_bytes_max ? opt->message_bytes_max : MESSAGE_BYTES_MAX;
    atomic_init(&em->refs, 1);
    list_init(&em->appends);
    list_init(&em->fetches);
    list_init(&em->watches);
    list_init(&em->waits);
    list_init(&em->asks);
    embedded_check_ready(em);
    return &em->bus;
}
