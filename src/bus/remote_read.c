/* Design note: a reader is one stream of one partition: librdkafka's simple consumer into a queue
 * of its own, whose first message wakes the loop. A fetch takes an idle reader that stands at its
 * offset, else starts one; a watch keeps one. What nobody asks for stays in the library's
 * queue, which has a ceiling; that is how pressure travels back to the cluster. An idle reader goes
 * on asking the cluster for records, so it is let go soon.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/diag.h"
#include "bus/remote_core.h"
#include <inttypes.h>
#include <stdio.h>
#include <sys/epoll.h>

enum {
    READERS_IDLE_MAX = 32,
    IDLE_MS = 2000,
    MESSAGES_MAX = 4096,
    WATCH_BYTES = 1 << 20,
    FETCH_CEILING_MS = 30000
};

struct remote_reader {
    struct list link;
    struct remote *r;
    char topic[256];
    int32_t partition;
    enum remote_use use;
    struct prime *primes; /* it starts when that is back */
    uint64_t idle_since_ms;
    rd_kafka_t *rk;
    rd_kafka_topic_t *rkt;
    rd_kafka_queue_t *queue;
    int wake[2];
    struct watch watch;
    int64_t next;            /* offset that would come next; < 0: not known yet */
    int64_t end;             /* where the partition ended when its end was seen; -1 */
    int64_t told;            /* … as the last fetch was told */
    struct reading *reading; /* who reads; NULL: idle */
    rd_kafka_message_t *held[MESSAGES_MAX]; /* taken from the queue for the one who reads */
    size_t held_n, held_bytes;
    bool at_end;
    struct err why; /* the library gave it up */
};

/* A fetch or a watch under way; made on the asker's thread. */
struct reading {
    struct msg start;
    struct remote *r;
    struct bus_fetch *fetch; /* one of the two */
    struct bus_watch *watching;
    struct remote_reader *reader;
    struct timer timer;
    uint64_t asked_ms;
    struct msg end;   /* a watch's last message, to the asker */
    atomic_uint refs; /* of a watch: the bus, the asker, every wish on its way */
    bool wants, tell, ended;
    bool stopped; /* on the asker's loop: it wants no more records, also none on their way */
};

/* ---- readers ---- */

static void reader_ready(struct watch *w, uint32_t events);
static void fetch_step(struct reading *g);
static void watch_step(struct reading *g);

static void reader_shut(struct remote_reader *rd);

static void reader_free(struct remote_reader *rd)
{
    list_remove(&rd->link);
    reader_shut(rd);
    free(rd);
}

static bool reads_same(const struct remote_reader *rd, struct str topic, int32_t partition)
{
    return rd->partition == partition && str_is(topic, rd->topic);
}

static bool client_reads(const struct remote *r, const rd_kafka_t *rk, struct str topic, int32_t partition)
{
    list_each(it, &r->readers)
    {
        const struct remote_reader *rd = container_of(it, struct remote_reader, link);

        if (rd->rk == rk && reads_same(rd, topic, partition)) return true;
    }
    return false;
}

static rd_kafka_t *client_new(struct remote *r, enum remote_use use, struct err *e)
{
    /* how long a broker holds back an answer without records, and with it the start of another reader */
    const struct remote_property wait = {STR("fetch.wait.max.ms"), use == REMOTE_WATCHES ? STR("500") : STR("20")};
    const struct remote_set sets[] = {{&wait, 1}, {r->consumer_conf, r->consumer_conf_n}};
    struct remote_consumer *c = &r->consumers[r->consumers_n];

    if (remote_client(r, REMOTE_CONSUMES, sets, countof(sets), &c->rk, e)) return NULL;
    c->use = use;
    r->consumers_n++;
    return c->rk;
}

/* A client on which nobody reads this partition; idle readers of it make way. */
static rd_kafka_t *client_for(struct remote *r, struct str topic, int32_t partition, enum remote_use use, struct err *e)
{
    size_t n = 0;

    list_each_safe(it, &r->readers)
    {
        struct remote_reader *rd = container_of(it, struct remote_reader, link);

        if (!rd->reading && reads_same(rd, topic, partition)) reader_free(rd);
    }
    for (size_t i = 0; i < r->consumers_n; i++) {
        if (r->consumers[i].use != use) continue;
        if (!client_reads(r, r->consumers[i].rk, topic, partition)) return r->consumers[i].rk;
        n++;
    }
    if (n < CONSUMERS_MAX / 2) return client_new(r, use, e);
    err_set(e, RC_OVERLOAD, "too many readers of " STR_FMT " [%d] at once", STR_ARG(topic), (int)partition);
    return NULL;
}

static int64_t library_offset(int64_t offset)
{
    return offset == -1 ? RD_KAFKA_OFFSET_BEGINNING : offset == -2 ? RD_KAFKA_OFFSET_END : offset;
}

static void reader_step(struct remote_reader *rd)
{
    if (!rd->reading) return;
    if (rd->reading->fetch)
        fetch_step(rd->reading);
    else
        watch_step(rd->reading);
}

static void reader_start(struct remote_reader *rd)
{
    const struct kafka_lib *k = rd->r->k;

    if (!k->rd_kafka_consume_start_queue(rd->rkt, rd->partition, library_offset(rd->next), rd->queue)) return;
    err_set(&rd->why, RC_INVALID, "cannot read %s [%d]", rd->topic, (int)rd->partition);
    reader_step(rd);
}

static void on_primed(struct prime *p)
{
    struct remote_reader *rd = p->owner;

    if (!rd) return;
    rd->primes = NULL;
    reader_start(rd);
}

/* Its client has met the topic already. */
static bool topic_met(const struct remote_reader *rd)
{
    list_each(it, &rd->r->readers)
    {
        const struct remote_reader *other = container_of(it, struct remote_reader, link);

        if (other != rd && other->rk == rd->rk && !other->primes && !strcmp(other->topic, rd->topic)) return true;
    }
    return false;
}

/* The library's side of a reader, from rd->next on. */
static enum rc reader_open(struct remote_reader *rd, struct err *e)
{
    struct remote *r = rd->r;
    const struct kafka_lib *k = r->k;

    rd->rkt = k->rd_kafka_topic_new(rd->rk, rd->topic, NULL);
    if (!rd->rkt) return err_set(e, RC_INVALID, "topic name %s", rd->topic);
    if (remote_wake_open(rd->wake, e) || loop_watch(r->loop, &rd->watch, rd->wake[0], EPOLLIN, reader_ready, e)) return e->rc;
    rd->queue = k->rd_kafka_queue_new(rd->rk);
    k->rd_kafka_queue_io_event_enable(rd->queue, rd->wake[1], "", 1);
    if (topic_met(rd)) reader_start(rd);
    else rd->primes = remote_prime(r, rd->rk, rd->topic, rd, on_primed);
    return RC_OK;
}

static void reader_shut(struct remote_reader *rd)
{
    const struct kafka_lib *k = rd->r->k;

    loop_unwatch(rd->r->loop, &rd->watch);
    for (size_t i = 0; i < rd->held_n; i++)
        k->rd_kafka_message_destroy(rd->held[i]);
    rd->held_n = rd->held_bytes = 0;
    if (rd->primes) rd->primes->owner = NULL;
    rd->primes = NULL;
    if (rd->rkt && rd->queue) k->rd_kafka_consume_stop(rd->rkt, rd->partition);
    if (rd->queue) k->rd_kafka_queue_destroy(rd->queue);
    if (rd->rkt) k->rd_kafka_topic_destroy(rd->rkt);
    rd->queue = NULL;
    rd->rkt = NULL;
    remote_wake_close(rd->wake);
}

static enum rc reader_new(struct remote *r, struct str topic, int32_t partition, int64_t offset, enum remote_use use,
                          struct remote_reader **ret, struct err *e)
{
    rd_kafka_t *rk = client_for(r, topic, partition, use, e);
    struct remote_reader *rd;

    if (!rk) return e->rc;
    rd = xnew(struct remote_reader);
    list_push_front(&r->readers, &rd->link);
    *rd = (struct remote_reader){.link = rd->link,
                                 .r = r,
                                 .partition = partition,
                                 .use = use,
                                 .rk = rk,
                                 .next = offset,
                                 .end = -1,
                                 .wake = {-1, -1}};
    snprintf(rd->topic, sizeof rd->topic, STR_FMT, STR_ARG(topic));
    if (reader_open(rd, e)) {
        reader_free(rd);
        return e->rc;
    }
    *ret = rd;
    return RC_OK;
}

static void on_idle(struct timer *t)
{
    struct remote *r = container_of(t, struct remote, idle);
    uint64_t now = loop_now_ms(r->loop), next = 0;

    list_each_safe(it, &r->readers)
    {
        struct remote_reader *rd = container_of(it, struct remote_reader, link);

        if (rd->reading) continue;
        if (now >= rd->idle_since_ms + IDLE_MS)
            reader_free(rd);
        else if (!next || rd->idle_since_ms + IDLE_MS < next)
            next = rd->idle_since_ms + IDLE_MS;
    }
    if (next) timer_set(loop_timers(r->loop), &r->idle, next, on_idle);
}

static void reader_idle(struct remote_reader *rd)
{
    struct remote *r = rd->r;

    rd->reading = NULL;
    rd->idle_since_ms = loop_now_ms(r->loop);
    if (!timer_is_set(&r->idle) && !r->closing) loop_timer(r->loop, &r->idle, IDLE_MS, on_idle);
}

static void idle_readers_trim(struct remote *r)
{
    size_t n = 0;

    list_each_safe(it, &r->readers)
    {
        struct remote_reader *rd = container_of(it, struct remote_reader, link);

        if (!rd->reading && ++n > READERS_IDLE_MAX) reader_free(rd);
    }
}

/* Whoever was told of the end and asks again, without waiting, wants what came since; a reader cannot say whether that is all
 * with it already: the library tells of an end once, and of records when they come. */
static bool end_is_old(const struct remote_reader *rd, const struct bus_fetch *f)
{
    return !f->wait_ms && rd->next >= rd->told;
}

static enum rc reader_for(struct remote *r, const struct bus_fetch *f, struct remote_reader **ret, struct err *e)
{
    list_each_safe(it, &r->readers)
    {
        struct remote_reader *rd = container_of(it, struct remote_reader, link);

        if (rd->reading || rd->use != REMOTE_FETCHES || rd->next < 0 || rd->next != f->offset ||
            !reads_same(rd, f->topic, f->partition))
            continue;
        if (end_is_old(rd, f)) {
            reader_free(rd);
            continue;
        }
        list_remove(&rd->link);
        list_push_front(&r->readers, &rd->link);
        *ret = rd;
        return RC_OK;
    }
    idle_readers_trim(r);
    return reader_new(r, f->topic, f->partition, f->offset, REMOTE_FETCHES, ret, e);
}

/* Called by the library while it looks into a reader's queue: errors of a topic or a partition come this way, not as
 * messages. Anything else it finds there is about the client. */
void remote_reader_error(rd_kafka_t *rk, int code, const char *text, void *arg)
{
    struct remote *r = arg;

    if (remote_member_leaves(r, rk)) return;
    switch (code) {
    case RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART:
    case RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC:
    case RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION:
    case RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET:
    case RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED:
        if (r->taking) kafka_lib_error(r->k, (rd_kafka_resp_err_t)code, text, &r->taking->why);
        return;
    default: remote_error(r, code, text);
    }
}

/* Takes messages from the library up to size_max bytes. False: the partition cannot be read, e says
 * why. */
static bool reader_take(struct remote_reader *rd, size_t size_max, struct err *e)
{
    const struct kafka_lib *k = rd->r->k;

    while (rd->held_n < MESSAGES_MAX && (!rd->held_n || rd->held_bytes < size_max)) {
        rd_kafka_message_t *m;

        rd->r->taking = rd;
        m = k->rd_kafka_consume_queue(rd->queue, 0);
        rd->r->taking = NULL;
        if (!m) break;
        if (!m->err) {
            rd->held[rd->held_n++] = m;
            rd->held_bytes += m->len + m->key_len;
            rd->next = m->offset + 1;
            rd->at_end = false;
            continue;
        }
        if (m->err == RD_KAFKA_RESP_ERR__PARTITION_EOF) {
            rd->at_end = true;
            rd->end = rd->next = m->offset;
            k->rd_kafka_message_destroy(m);
            continue;
        }
        kafka_lib_error(k, m->err, m->payload, &rd->why);
        k->rd_kafka_message_destroy(m);
        break;
    }
    if (!rd->why.rc || rd->held_n) return true; /* first what came before the error */
    *e = rd->why;
    return false;
}

/* ---- records ---- */

static size_t headers_of(const struct kafka_lib *k, const rd_kafka_message_t *m,
                         rd_kafka_headers_t **ret)
{
    *ret = NULL;
    return k->rd_kafka_message_headers(m, ret) == RD_KAFKA_RESP_ERR_NO_ERROR && *ret
               ? k->rd_kafka_header_cnt(*ret)
               : 0;
}

static size_t message_bytes(const struct kafka_lib *k, const rd_kafka_message_t *m,
                            size_t *ret_headers)
{
    rd_kafka_headers_t *h;
    size_t n = m->len + m->key_len, count = headers_of(k, m, &h), size;
    const char *name;
    const void *value;

    for (size_t i = 0; i < count && !k->rd_kafka_header_get_all(h, i, &name, &value, &size); i++)
        n += strlen(name) + size;
    *ret_headers += count;
    return n;
}

static struct bytes place(uint8_t **at, const void *p, size_t n)
{
    struct bytes b = {p ? *at : NULL, n};

    if (n) memcpy(*at, p, n);
    *at += n;
    return b;
}

static void record_fill(const struct kafka_lib *k, const rd_kafka_message_t *m,
                        struct bus_record *rec, struct bus_header **h, uint8_t **at)
{
    rd_kafka_headers_t *headers;
    rd_kafka_timestamp_type_t type;
    const char *name;
    const void *value;
    size_t size;

    rec->offset = m->offset;
    rec->timestamp_ms = k->rd_kafka_message_timestamp(m, &type);
    rec->key = place(at, m->key, m->key_len);
    rec->value = place(at, m->payload, m->len);
    rec->headers_n = headers_of(k, m, &headers);
    rec->headers = *h;
    for (size_t i = 0;
         i < rec->headers_n && !k->rd_kafka_header_get_all(headers, i, &name, &value, &size);
         i++, (*h)++) {
        (*h)->key = bytes_str(place(at, name, strlen(name)));
        (*h)->value = place(at, value, size);
    }
}

/* All that is held, as records in one block; the reader holds nothing afterwards. */
static struct bus_record *records_take(struct remote_reader *rd, size_t *ret_n)
{
    const struct kafka_lib *k = rd->r->k;
    size_t bytes = 0, headers = 0, n = rd->held_n;
    struct bus_record *records;
    struct bus_header *h;
    uint8_t *at;

    *ret_n = n;
    if (!n) return NULL;
    for (size_t i = 0; i < n; i++)
        bytes += message_bytes(k, rd->held[i], &headers);
    records = malloc(n * sizeof *records + headers * sizeof *h + bytes);
    must(records != NULL);
    h = (struct bus_header *)(void *)(records + n);
    at = (uint8_t *)(h + headers);
    for (size_t i = 0; i < n; i++) {
        record_fill(k, rd->held[i], &records[i], &h, &at);
        k->rd_kafka_message_destroy(rd->held[i]);
    }
    rd->held_n = rd->held_bytes = 0;
    return records;
}

/* ---- fetch ---- */

static void fetch_end(struct reading *g)
{
    struct bus_fetch *f = g->fetch;
    struct remote_reader *rd = g->reader;

    timer_cancel(loop_timers(g->r->loop), &g->timer);
    if (rd) {
        int64_t low = -1, high = -1;

        g->r->k->rd_kafka_get_watermark_offsets(rd->rk, rd->topic, rd->partition, &low, &high);
        f->records = records_take(rd, &f->records_n);
        f->next_offset = rd->next >= 0 ? rd->next : MAX(f->offset, 0);
        f->start_offset = MAX(low, 0);
        f->end_offset = rd->told = MAX(f->next_offset, rd->at_end ? rd->end : high);   /* high: records of open transactions, too */
        if (f->op.err.rc || rd->primes)
            reader_free(rd);
        else
            reader_idle(rd);
    }
    f->priv = NULL;
    remote_done(&f->op);
    free(g);
}

static void fetch_step(struct reading *g)
{
    struct remote_reader *rd = g->reader;

    if (!reader_take(rd, g->fetch->size_max, &g->fetch->op.err))
        fetch_end(g);
    else if (rd->held_n || (rd->at_end && !g->fetch->wait_ms))
        fetch_end(g);
}

static void fetch_waited(struct timer *t)
{
    struct reading *g = container_of(t, struct reading, timer);
    const struct bus_fetch *f = g->fetch;
    bool waited = f->wait_ms && g->asked_ms + f->wait_ms <= loop_now_ms(g->r->loop);

    if (!waited || (!g->reader->at_end && g->reader->next < 0))
        err_set(&g->fetch->op.err, RC_TIMEOUT, "Kafka did not answer a read of %s [%d] in time",
                g->reader->topic, (int)g->reader->partition);
    fetch_end(g);
}

static void fetch_start(struct msg *m)
{
    struct reading *g = container_of(m, struct reading, start);
    struct bus_fetch *f = g->fetch;
    struct remote *r = g->r;
    uint64_t until = loop_now_ms(r->loop) + (f->wait_ms ? f->wait_ms : FETCH_CEILING_MS);

    g->asked_ms = loop_now_ms(r->loop);
    if (r->closing)
        err_set(&f->op.err, RC_CANCELLED, "the bus is closing");
    else
        reader_for(r, f, &g->reader, &f->op.err);
    if (f->op.err.rc) {
        fetch_end(g);
        return;
    }
    g->reader->reading = g;
    if (f->op.deadline_ms) until = MIN(until, f->op.deadline_ms);
    timer_set(loop_timers(r->loop), &g->timer, until, fetch_waited);
    fetch_step(g);
}

void remote_fetch(struct bus *b, struct bus_fetch *f)
{
    struct reading *g = xnew(struct reading);

    *g = (struct reading){
        .start.run = fetch_start, .r = container_of(b, struct remote, bus), .fetch = f};
    f->op.err = (struct err){0};
    f->records = NULL;
    f->records_n = 0;
    f->priv = g;
    mailbox_post(loop_mailbox(g->r->loop), &g->start);
}

/* ---- watch ---- */

struct delivery {
    struct msg msg;
    struct bus_watch *w;
    struct bus_record *records;
    size_t n;
    int64_t next;
};

static void deliver(struct msg *m)
{
    struct delivery *d = container_of(m, struct delivery, msg);
    const struct reading *g = d->w->priv;

    if (!g->stopped) d->w->records(d->w, d->records, d->n, d->next);
    free(d->records);
    free(d);
}

static void reading_unref(struct reading *g)
{
    if (atomic_fetch_sub(&g->refs, 1) == 1) free(g);
}

/* On the asker's loop: from here on it cannot post wishes any more. */
static void watch_ended(struct msg *m)
{
    struct reading *g = container_of(m, struct reading, end);
    struct bus_watch *w = g->watching;

    w->priv = NULL;
    reading_unref(g);
    w->op.done(&w->op);
}

static void watch_end(struct reading *g)
{
    if (g->reader) {
        g->reader->reading = NULL;
        reader_free(g->reader);
        g->reader = NULL;
    }
    g->ended = true;
    g->end.run = watch_ended;
    mailbox_post(g->watching->op.reply_to, &g->end);
    reading_unref(g);
}

static void watch_step(struct reading *g)
{
    struct remote_reader *rd = g->reader;
    struct delivery *d;

    if (!g->wants) return;
    if (!reader_take(rd, WATCH_BYTES, &g->watching->op.err)) {
        watch_end(g);
        return;
    }
    if (!rd->held_n && (!g->tell || rd->next < 0))
        return; /* < 0: it does not know yet where it is */
    g->wants = g->tell = false;
    d = xnew(struct delivery);
    *d = (struct delivery){.msg.run = deliver, .w = g->watching, .next = rd->next};
    d->records = records_take(rd, &d->n);
    mailbox_post(g->watching->op.reply_to, &d->msg);
}

static void watch_start(struct msg *m)
{
    struct reading *g = container_of(m, struct reading, start);
    struct bus_watch *w = g->watching;

    if (g->r->closing)
        err_set(&w->op.err, RC_CANCELLED, "the bus is closing");
    else
        reader_new(g->r, w->topic, w->partition, w->offset, REMOTE_WATCHES, &g->reader, &w->op.err);
    if (w->op.err.rc) {
        watch_end(g);
        return;
    }
    g->reader->reading = g;
    g->wants = true;
    watch_step(g);
}

void remote_watch(struct bus *b, struct bus_watch *w)
{
    struct reading *g = xnew(struct reading);

    *g = (struct reading){.start.run = watch_start,
                          .r = container_of(b, struct remote, bus),
                          .watching = w,
                          .refs = 2};
    w->op.err = (struct err){0};
    w->priv = g;
    mailbox_post(loop_mailbox(g->r->loop), &g->start);
}

/* What the asker wants of its watch, in a message of its own: the watch may have ended meanwhile.
 */
struct wish {
    struct msg msg;
    struct reading *g;
};

static struct reading *wish_take(struct msg *m)
{
    struct wish *wish = container_of(m, struct wish, msg);
    struct reading *g = wish->g;

    free(wish);
    return g;
}

static void on_more(struct msg *m)
{
    struct reading *g = wish_take(m);

    if (!g->ended) {
        g->wants = true;
        watch_step(g);
    }
    reading_unref(g);
}

static void on_tell(struct msg *m)
{
    struct reading *g = wish_take(m);

    if (!g->ended) {
        g->tell = true;
        watch_step(g);
    }
    reading_unref(g);
}

static void on_watch_stop(struct msg *m)
{
    struct reading *g = wish_take(m);

    if (!g->ended) {
        err_set(&g->watching->op.err, RC_CANCELLED, "stopped");
        watch_end(g);
    }
    reading_unref(g);
}

static void wish_post(struct bus *b, struct bus_watch *w, void (*run)(struct msg *m))
{
    struct reading *g = w->priv;
    struct wish *wish;

    if (!g) return;
    wish = xnew(struct wish);
    *wish = (struct wish){.msg.run = run, .g = g};
    atomic_fetch_add(&g->refs, 1);
    mailbox_post(loop_mailbox(container_of(b, struct remote, bus)->loop), &wish->msg);
}

void remote_watch_more(struct bus *b, struct bus_watch *w)
{
    wish_post(b, w, on_more);
}

void remote_watch_tell(struct bus *b, struct bus_watch *w)
{
    wish_post(b, w, on_tell);
}

void remote_watch_stop(struct bus *b, struct bus_watch *w)
{
    struct reading *g = w->priv;

    if (g) g->stopped = true;
    wish_post(b, w, on_watch_stop);
}

/* ---- both ---- */

static void reader_ready(struct watch *w, uint32_t events)
{
    struct remote_reader *rd = container_of(w, struct remote_reader, watch);

    (void)events;
    remote_wake_drain(rd->wake);
    reader_step(rd);
}

/* From where it is: what it holds and has not handed over is read again. */
static void reader_move(struct remote_reader *rd)
{
    int64_t next = rd->held_n ? rd->held[0]->offset : rd->next;
    struct err e;

    reader_shut(rd);
    rd->next = next;
    rd->at_end = false;
    rd->rk = client_for(rd->r, str_of(rd->topic), rd->partition, rd->use, &e);
    if (rd->rk && !reader_open(rd, &e)) return;
    rd->why = e;
    reader_step(rd);
}

void remote_readers_renew(struct remote *r)
{
    rd_kafka_t *old[CONSUMERS_MAX];
    struct list all;
    size_t n = r->consumers_n;

    for (size_t i = 0; i < n; i++)
        old[i] = r->consumers[i].rk;
    r->consumers_n = 0;
    list_move(&r->readers, &all);
    for (struct list *at; (at = list_pop(&all));) {
        struct remote_reader *rd = container_of(at, struct remote_reader, link);

        list_push(&r->readers, &rd->link);
        if (rd->reading) reader_move(rd);
        else reader_free(rd);
    }
    for (size_t i = 0; i < n; i++)
        remote_client_end(r, old[i]);
}

void remote_readers_close(struct remote *r)
{
    while (!list_empty(&r->readers)) {
        struct remote_reader *rd = container_of(r->readers.next, struct remote_reader, link);
        struct reading *g = rd->reading;

        if (!g) {
            reader_free(rd);
            continue;
        }
        err_set(g->fetch ? &g->fetch->op.err : &g->watching->op.err, RC_CANCELLED,
                "the bus is closing");
        if (g->fetch)
            fetch_end(g);
        else
            watch_end(g);
    }
}
