/* Design note: an append is copied into one block, posted to the bus's loop and handed to
 * librdkafka there, so that its deadline is a timer of that loop and its delivery report can find
 * it. An append whose deadline passes is answered at once
 * ("outcome unknown") and its block waits, without an owner, for the report that comes later.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/diag.h"
#include "base/rng.h"
#include "bus/remote_core.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <unistd.h>

enum { SENDING_MAX = 100000, FLUSH_MS = 5000, MESSAGE_TIMEOUT_MS = 120000 };

static struct remote *remote_of(const struct bus *b)
{
    return container_of(b, struct remote, bus);
}

/* ---- completing ---- */

static void run_done(struct msg *m)
{
    struct bus_op *op = container_of(m, struct bus_op, msg);

    op->done(op);
}

void remote_done(struct bus_op *op)
{
    op->msg.run = run_done;
    mailbox_post(op->reply_to, &op->msg);
}

void remote_fail(struct bus_op *op, enum rc rc, const char *text)
{
    err_set(&op->err, rc, "%s", text);
    remote_done(op);
}

/* ---- wake-up pipes ---- */

enum rc remote_wake_open(int wake[2], struct err *e)
{
    if (pipe2(wake, O_NONBLOCK | O_CLOEXEC) < 0) return err_sys(e, "pipe");
    return RC_OK;
}

void remote_wake_drain(int wake[2])
{
    char sink[256];

    while (read(wake[0], sink, sizeof sink) == (ssize_t)sizeof sink) {
    }
}

void remote_wake_close(int wake[2])
{
    if (wake[0] >= 0) close(wake[0]);
    if (wake[1] >= 0) close(wake[1]);
    wake[0] = wake[1] = -1;
}

/* ---- clients ---- */

static void on_log(const rd_kafka_t *rk, int level, const char *facility, const char *text)
{
    (void)rk;
    diag(level <= 3   ? DIAG_WARN
         : level <= 5 ? DIAG_INFO
                      : DIAG_DEBUG,
         "kafka.client", KV_CSTR("facility", facility), KV_CSTR("text", text));
}

static enum rc set(struct remote *r, rd_kafka_conf_t *conf, const struct remote_property *p,
                   struct err *e)
{
    char name[128], why[512];
    AUTO(buf_fini) struct buf value = {0};

    snprintf(name, sizeof name, STR_FMT, STR_ARG(p->name));
    buf_append_str(&value, p->value);
    if (r->k->rd_kafka_conf_set(conf, name, buf_cstr(&value), why, sizeof why) != RD_KAFKA_CONF_OK)
        return err_set(e, RC_INVALID, "librdkafka property %s: %s", name, why);
    return RC_OK;
}

enum rc remote_client(struct remote *r, rd_kafka_type_t type, const struct remote_property *conf_in,
                      size_t n, const struct remote_property *more, size_t more_n, rd_kafka_t **ret,
                      struct err *e)
{
    const struct kafka_lib *k = r->k;
    rd_kafka_conf_t *conf = k->rd_kafka_conf_new();
    char why[512];
    rd_kafka_t *rk;

    for (size_t i = 0; i < n; i++)
        if (set(r, conf, &conf_in[i], e)) goto refused;
    for (size_t i = 0; i < more_n; i++)
        if (set(r, conf, &more[i], e)) goto refused;
    k->rd_kafka_conf_set_log_cb(conf, on_log);
    k->rd_kafka_conf_set_opaque(conf, r);
    if (type == RD_KAFKA_PRODUCER)
        k->rd_kafka_conf_set_events(conf, RD_KAFKA_EVENT_DR | RD_KAFKA_EVENT_ERROR);
    else
        k->rd_kafka_conf_set_error_cb(conf, remote_reader_error);
    rk = k->rd_kafka_new(type, conf, why, sizeof why);
    if (!rk) {
        err_set(e, RC_INVALID, "Kafka client: %s", why);
        goto refused;
    }
    *ret = rk;
    return RC_OK;
refused:
    k->rd_kafka_conf_destroy(conf);
    return e->rc;
}

/* ---- append ---- */

struct sending {
    struct msg msg;
    struct list link;
    struct remote *r;
    struct bus_append *a; /* NULL: its deadline has passed */
    struct timer deadline;
    size_t reports_left;
    bool cache;
    size_t n;
    struct bus_record records[]; /* what they point at follows */
};

static size_t record_bytes(const struct bus_record *rec)
{
    size_t n = rec->key.n + rec->value.n + rec->headers_n * sizeof rec->headers[0];

    for (size_t i = 0; i < rec->headers_n; i++)
        n += rec->headers[i].key.n + 1 + rec->headers[i].value.n;
    return n + 16;
}

static struct bytes copy(uint8_t **at, struct bytes b)
{
    struct bytes to = {b.p ? *at : NULL, b.n};

    if (b.n) memcpy(*at, b.p, b.n);
    *at += b.n;
    return to;
}

static struct sending *sending_new(struct remote *r, struct bus_append *a,
                                   const struct bus_record *records, size_t n)
{
    size_t bytes = 0, headers = 0;
    struct sending *s;
    uint8_t *at;
    struct bus_header *h;

    for (size_t i = 0; i < n; i++) {
        bytes += record_bytes(&records[i]);
        headers += records[i].headers_n;
    }
    s = malloc(sizeof *s + n * sizeof s->records[0] + bytes);
    must(s != NULL);
    *s = (struct sending){
        .r = r, .a = a, .n = n, .reports_left = n, .cache = a->durability == BUS_CACHE};
    list_init(&s->link);
    h = (struct bus_header *)(void *)&s->records[n];
    at = (uint8_t *)(h + headers);
    for (size_t i = 0; i < n; i++) {
        s->records[i] = records[i];
        s->records[i].key = copy(&at, records[i].key);
        s->records[i].value = copy(&at, records[i].value);
        s->records[i].headers = h;
        for (size_t j = 0; j < records[i].headers_n; j++, h++) {
            h->key = bytes_str(copy(&at, str_bytes(records[i].headers[j].key)));
            *at++ = 0; /* the library wants C strings for names */
            h->value = copy(&at, records[i].headers[j].value);
        }
    }
    return s;
}

static void sending_end(struct sending *s)
{
    struct bus_append *a = s->a;

    timer_cancel(loop_timers(s->r->loop), &s->deadline);
    s->a = NULL;
    if (a) remote_done(&a->op);
}

static void on_deadline(struct timer *t)
{
    struct sending *s = container_of(t, struct sending, deadline);

    err_set(&s->a->op.err, RC_TIMEOUT, "Kafka did not acknowledge in time: outcome unknown");
    sending_end(s);
}

static void on_report(struct remote *r, const rd_kafka_message_t *m)
{
    struct sending *s = m->_private;

    if (s->a && m->err)
        kafka_lib_error(r->k, m->err, NULL, &s->a->op.err);
    else if (s->a && s->reports_left == s->n)
        s->a->offset = m->offset;
    if (!m->err) atomic_store_explicit(&r->brokers_down, false, memory_order_relaxed);
    if (--s->reports_left) return;
    sending_end(s);
    list_remove(&s->link);
    free(s);
}

static void on_error(struct remote *r, rd_kafka_event_t *ev)
{
    rd_kafka_resp_err_t code = r->k->rd_kafka_event_error(ev);
    struct err e;

    kafka_lib_error(r->k, code, r->k->rd_kafka_event_error_string(ev), &e);
    if (code == RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN) atomic_store(&r->brokers_down, true);
    diag(DIAG_WARN, "kafka.error", KV_CSTR("error", e.text));
}

static void sender_ready(struct watch *w, uint32_t events)
{
    struct remote_sender *from = container_of(w, struct remote_sender, watch);
    const struct kafka_lib *k = from->r->k;
    rd_kafka_event_t *ev;

    (void)events;
    remote_wake_drain(from->wake);
    while ((ev = k->rd_kafka_queue_poll(from->queue, 0))) {
        const rd_kafka_message_t *m;

        if (k->rd_kafka_event_type(ev) == RD_KAFKA_EVENT_ERROR)
            on_error(from->r, ev);
        else
            while ((m = k->rd_kafka_event_message_next(ev)))
                on_report(from->r, m);
        k->rd_kafka_event_destroy(ev);
    }
}

static enum rc sender_open(struct remote *r, struct remote_sender *s, const char *acks,
                           struct err *e)
{
    const struct remote_property more[] = {
        {STR("acks"), str_of(acks)},
        {STR("enable.idempotence"), str_of(*acks == '1' ? "false" : "true")}};

    s->r = r;
    if (remote_client(r, RD_KAFKA_PRODUCER, more, countof(more), r->producer_conf,
                      r->producer_conf_n, &s->rk, e))
        return e->rc;
    s->queue = r->k->rd_kafka_queue_get_main(s->rk);
    if (remote_wake_open(s->wake, e)) return e->rc;
    r->k->rd_kafka_queue_io_event_enable(s->queue, s->wake[1], "", 1);
    return loop_watch(r->loop, &s->watch, s->wake[0], EPOLLIN, sender_ready, e);
}

static void sender_close(struct remote_sender *s)
{
    if (!s->rk) return;
    loop_unwatch(s->r->loop, &s->watch);
    if (s->queue) s->r->k->rd_kafka_queue_destroy(s->queue);
    s->r->k->rd_kafka_destroy(s->rk);
    remote_wake_close(s->wake);
    s->rk = NULL;
}

/* One record to the library; it has its own copy afterwards. */
static rd_kafka_resp_err_t hand_over(struct remote_sender *to, struct sending *s, const char *topic,
                                     const struct bus_record *rec)
{
    const struct kafka_lib *k = s->r->k;
    rd_kafka_vu_t stack[40], *v = stack;
    size_t n = 0;
    rd_kafka_error_t *error;
    rd_kafka_resp_err_t code;

    if (rec->headers_n + 7 > countof(stack)) v = xnew_array(rd_kafka_vu_t, rec->headers_n + 7);
    v[n++] = (rd_kafka_vu_t){.vtype = RD_KAFKA_VTYPE_TOPIC, .u.cstr = topic};
    v[n++] = (rd_kafka_vu_t){.vtype = RD_KAFKA_VTYPE_PARTITION, .u.i32 = s->a->partition};
    v[n++] = (rd_kafka_vu_t){.vtype = RD_KAFKA_VTYPE_MSGFLAGS, .u.i = RD_KAFKA_MSG_F_COPY};
    v[n++] = (rd_kafka_vu_t){.vtype = RD_KAFKA_VTYPE_OPAQUE, .u.ptr = s};
    v[n++] = (rd_kafka_vu_t){.vtype = RD_KAFKA_VTYPE_VALUE,
                             .u.mem = {(void *)(uintptr_t)rec->value.p, rec->value.n}};
    v[n++] = (rd_kafka_vu_t){.vtype = RD_KAFKA_VTYPE_KEY,
                             .u.mem = {(void *)(uintptr_t)rec->key.p, rec->key.n}};
    if (rec->timestamp_ms >= 0)
        v[n++] = (rd_kafka_vu_t){.vtype = RD_KAFKA_VTYPE_TIMESTAMP, .u.i64 = rec->timestamp_ms};
    for (size_t i = 0; i < rec->headers_n; i++)
        v[n++] = (rd_kafka_vu_t){.vtype = RD_KAFKA_VTYPE_HEADER,
                                 .u.header = {rec->headers[i].key.p, rec->headers[i].value.p,
                                              (ssize_t)rec->headers[i].value.n}};
    error = k->rd_kafka_produceva(to->rk, v, n);
    code = error ? k->rd_kafka_error_code(error) : RD_KAFKA_RESP_ERR_NO_ERROR;
    if (error) k->rd_kafka_error_destroy(error);
    if (v != stack) free(v);
    return code;
}

static void sending_start(struct msg *m)
{
    struct sending *s = container_of(m, struct sending, msg);
    struct remote *r = s->r;
    struct remote_sender *to = s->cache ? &r->one : &r->all;
    struct bus_op *op = &s->a->op;
    char topic[256];
    rd_kafka_resp_err_t code = RD_KAFKA_RESP_ERR_NO_ERROR;

    snprintf(topic, sizeof topic, STR_FMT, STR_ARG(s->a->topic));
    if (r->closing) {
        err_set(&op->err, RC_CANCELLED, "the bus is closing");
        goto refused;
    }
    if (s->cache && !r->one.rk && sender_open(r, &r->one, "1", &op->err)) goto refused;
    for (size_t i = 0; i < s->n && !code; i++) {
        code = hand_over(to, s, topic, &s->records[i]);
        if (code) s->reports_left -= s->n - i;
    }
    if (code) {
        kafka_lib_error(r->k, code, NULL, &op->err);
        if (!s->reports_left) goto refused;
    }
    list_push(&r->sending, &s->link);
    if (op->deadline_ms)
        timer_set(loop_timers(r->loop), &s->deadline, op->deadline_ms, on_deadline);
    return;
refused:
    sending_end(s);
    free(s);
}

static void remote_append(struct bus *b, struct bus_append *a, const struct bus_record *records,
                          size_t n)
{
    struct remote *r = remote_of(b);

    a->op.err = (struct err){0};
    a->offset = -1;
    if (!n) {
        remote_fail(&a->op, RC_INVALID, "nothing to append");
        return;
    }
    for (size_t i = 0; i < n; i++)
        if (record_bytes(&records[i]) > r->produce_bytes_max) {
            err_set(&a->op.err, RC_TOO_LARGE,
                    "Message too large: a record for " STR_FMT
                    " has %zu bytes, messageMaxBytes is %zu",
                    STR_ARG(a->topic), record_bytes(&records[i]), r->produce_bytes_max);
            remote_done(&a->op);
            return;
        }
    struct sending *s = sending_new(r, a, records, n);

    s->msg.run = sending_start;
    mailbox_post(loop_mailbox(r->loop), &s->msg);
}

/* ---- opening and closing ---- */

static bool remote_ready(const struct bus *b, struct str *ret_why)
{
    if (!atomic_load_explicit(&remote_of(b)->brokers_down, memory_order_relaxed)) return true;
    *ret_why = STR("Broker not available: no Kafka broker answers (check that Kafka runs, and "
                   "kafka.bootstrap)");
    return false;
}

static void remote_free(struct remote *r)
{
    sender_close(&r->all);
    sender_close(&r->one);
    for (size_t i = 0; i < r->consumers_n; i++)
        r->k->rd_kafka_destroy(r->consumers[i]);
    workers_free(r->workers);
    loop_free(r->loop);
    for (size_t i = 0; i < r->consumer_conf_n; i++)
        free((void *)(uintptr_t)r->consumer_conf[i].name.p);
    for (size_t i = 0; i < r->producer_conf_n; i++)
        free((void *)(uintptr_t)r->producer_conf[i].name.p);
    free(r->consumer_conf);
    free(r->producer_conf);
    free(r);
}

struct closing {
    struct msg msg;
    struct remote *r;
};

static void on_close(struct msg *m)
{
    struct remote *r = container_of(m, struct closing, msg)->r;

    r->closing = true;
    remote_readers_close(r);
    loop_stop(r->loop);
}

/* What was not reported by now is purged, and its report says so. */
static void senders_finish(struct remote *r)
{
    struct remote_sender *all[] = {&r->all, &r->one};

    for (size_t i = 0; i < countof(all); i++) {
        if (!all[i]->rk) continue;
        for (int turns = 0; turns < FLUSH_MS / 20 && !list_empty(&r->sending); turns++)
            loop_turn(r->loop, 20);
        r->k->rd_kafka_purge(all[i]->rk, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT);
        for (int turns = 0; turns < 100 && !list_empty(&r->sending); turns++)
            loop_turn(r->loop, 20);
    }
    for (struct list *at; (at = list_pop(&r->sending));) {
        struct sending *s = container_of(at, struct sending, link);

        if (s->a) err_set(&s->a->op.err, RC_CANCELLED, "the bus was closed: outcome unknown");
        sending_end(s);
        free(s);
    }
}

static void remote_close(struct bus *b)
{
    struct remote *r = remote_of(b);
    struct closing c = {.msg = {.run = on_close}, .r = r};

    mailbox_post(loop_mailbox(r->loop), &c.msg);
    thread_join(r->thread);
    senders_finish(r);
    r->workers = workers_free(r->workers);
    mailbox_drain(loop_mailbox(r->loop));
    remote_free(r);
}

static void remote_main(void *arg)
{
    loop_run(((struct remote *)arg)->loop);
}

static const struct bus_ops remote_ops = {
    .append = remote_append,
    .fetch = remote_fetch,
    .watch = remote_watch,
    .watch_more = remote_watch_more,
    .watch_tell = remote_watch_tell,
    .watch_stop = remote_watch_stop,
    .topic_ensure = remote_topic_ensure,
    .topic_describe = remote_topic_describe,
    .topic_delete = remote_topic_delete,
    .topics = remote_topics,
    .commit = remote_commit,
    .committed = remote_committed,
    .group_delete = remote_group_delete,
    .ready = remote_ready,
    .close = remote_close,
};

/* A property of ours, or of the user's, with its texts in one block that name.p owns. */
static void conf_add(struct remote_property **list, size_t *n, struct str name, struct str value)
{
    char *block = xcalloc(1, name.n + value.n + 2);

    memcpy(block, name.p, name.n);
    if (value.n) memcpy(block + name.n + 1, value.p, value.n);
    *list = xrealloc(*list, *n + 1, sizeof **list);
    (*list)[(*n)++] = (struct remote_property){{block, name.n}, {block + name.n + 1, value.n}};
}

static void conf_number(struct remote_property **list, size_t *n, struct str name, uint64_t value)
{
    char text[24];

    conf_add(list, n, name,
             (struct str){text, (size_t)snprintf(text, sizeof text, "%" PRIu64, value)});
}

static void confs_make(struct remote *r, const struct remote_options *o)
{
    struct remote_property **c = &r->consumer_conf, **p = &r->producer_conf;
    size_t *cn = &r->consumer_conf_n, *pn = &r->producer_conf_n;
    uint64_t fetch_max = MIN(MAX(o->consume_bytes_max, (size_t)1 << 20), (size_t)1000000000);

    for (int i = 0; i < 2; i++) {
        struct remote_property **list = i ? p : c;
        size_t *n = i ? pn : cn;

        conf_add(list, n, STR("bootstrap.servers"), o->bootstrap);
        conf_add(list, n, STR("client.id"), STR("millrace"));
        conf_add(list, n, STR("allow.auto.create.topics"), STR("false"));
        conf_number(list, n, STR("topic.metadata.refresh.interval.ms"), o->metadata_refresh_ms);
        conf_number(list, n, STR("topic.metadata.propagation.max.ms"), o->metadata_propagation_ms);
        if (o->debug.n) conf_add(list, n, STR("debug"), o->debug);
    }
    conf_number(c, cn, STR("session.timeout.ms"), o->session_timeout_ms);
    conf_add(c, cn, STR("auto.offset.reset"),
             STR("error")); /* a reader says that its offset is lost */
    conf_add(c, cn, STR("enable.auto.commit"), STR("false"));
    conf_add(c, cn, STR("enable.partition.eof"), STR("true"));
    conf_add(c, cn, STR("group.id"),
             STR("millrace-readers")); /* never joined: the library wants one */
    conf_number(c, cn, STR("message.max.bytes"), o->consume_bytes_max);
    conf_number(c, cn, STR("fetch.message.max.bytes"), MIN(fetch_max, (uint64_t)8 << 20));
    conf_number(c, cn, STR("fetch.max.bytes"), fetch_max);
    conf_number(c, cn, STR("receive.message.max.bytes"), fetch_max + (1 << 20));
    conf_add(c, cn, STR("queued.max.messages.kbytes"), STR("16384"));
    conf_number(p, pn, STR("linger.ms"), o->linger_ms);
    conf_number(p, pn, STR("message.max.bytes"), o->produce_bytes_max);
    conf_number(p, pn, STR("message.timeout.ms"), MESSAGE_TIMEOUT_MS);
    conf_number(p, pn, STR("queue.buffering.max.messages"), SENDING_MAX);
    for (size_t i = 0; i < o->consumer_n; i++)
        conf_add(c, cn, o->consumer[i].name, o->consumer[i].value);
    for (size_t i = 0; i < o->producer_n; i++)
        conf_add(p, pn, o->producer[i].name, o->producer[i].value);
}

/* The cluster's id, which the first metadata answer carries; and this start's random incarnation.
 */
static enum rc facts_learn(struct remote *r, const struct remote_options *o, struct err *e)
{
    char *id = r->k->rd_kafka_clusterid(r->all.rk, (int)MIN(o->connect_ms, (uint64_t)600000));
    uint8_t random[16];

    if (!id)
        return err_set(e, RC_UNAVAILABLE,
                       "Broker not available: none of " STR_FMT " answered within %" PRIu64
                       " ms (check that Kafka runs, and kafka.bootstrap)",
                       STR_ARG(o->bootstrap), o->connect_ms);
    snprintf(r->bus.facts.cluster_id, sizeof r->bus.facts.cluster_id, "%s", id);
    r->k->rd_kafka_mem_free(r->all.rk, id);
    random_bytes(random, sizeof random);
    for (size_t i = 0; i < sizeof random; i++)
        snprintf(r->bus.facts.incarnation + 2 * i, 3, "%02x", random[i]);
    return RC_OK;
}

enum rc bus_remote_open(const struct remote_options *o, struct bus **ret, struct err *e)
{
    struct remote *r = xnew(struct remote);

    r->bus.ops = &remote_ops;
    r->produce_bytes_max = o->produce_bytes_max;
    r->metadata_propagation_ms = o->metadata_propagation_ms;
    list_init(&r->sending);
    list_init(&r->readers);
    r->all.wake[0] = r->all.wake[1] = r->one.wake[0] = r->one.wake[1] = -1;
    if (kafka_lib_get(&r->k, e) || loop_new(&clock_real, &r->loop, e) ||
        workers_new(2, &r->workers, e))
        goto fail;
    confs_make(r, o);
    if (sender_open(r, &r->all, "all", e) || facts_learn(r, o, e)) goto fail;
    if (thread_start("mr-remote", remote_main, r, &r->thread, e)) goto fail;
    diag(DIAG_INFO, "kafka.connected", KV_STR("bootstrap", o->bootstrap),
         KV_CSTR("cluster", r->bus.facts.cluster_id),
         KV_CSTR("librdkafka", r->k->rd_kafka_version_str()));
    *ret = &r->bus;
    return RC_OK;
fail:
    remote_free(r);
    return e->rc;
}
