/* Design note: an append is copied into one block, posted to the bus's loop and handed to
 * librdkafka there, so that its deadline is a timer of that loop and its delivery report can find
 * it. An append whose deadline passes is answered at once
 * ("outcome unknown") and its block waits, without an owner, for the report that comes later.
 *
 * A producer that has met a fatal error (an idempotent one whose sequence is lost, a fenced one)
 * takes nothing more, ever. Another takes its place at once; the old one is purged, its reports say
 * of each record whether it may be in the log, and it goes when the last of them has come.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/diag.h"
#include "bus/remote_core.h"
#include <inttypes.h>
#include <stdio.h>
#include <sys/epoll.h>

enum { FLUSH_MS = 5000, HANDOVER_MS = 5000, AGAIN_MS = 10000, REST_MS = 1000, BROKEN_MAX = 2 };
#define ASIDE_LINGER_MS "5"

/* ---- append ---- */

struct sending {
    struct msg msg;
    struct list link;
    struct remote *r;
    struct bus_append *a; /* NULL: its deadline has passed */
    struct timer deadline;
    size_t reports_left, written;
    enum remote_lane lane;
    bool doubtful; /* doubtful: a record may be in the log, though its report says no */
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

static enum remote_lane lane_of(const struct bus_append *a)
{
    if (a->aside) return a->durability == BUS_CACHE ? LANE_ONE_ASIDE : LANE_ALL_ASIDE;
    return a->durability == BUS_CACHE ? LANE_ONE : LANE_ALL;
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
        .r = r, .a = a, .n = n, .reports_left = n, .lane = lane_of(a)};
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
    trouble_more(&s->a->op.err);
    sending_end(s);
}

/* ---- reports ---- */

static void senders_tidy(struct remote *r);

static void report_error(const struct remote_sender *from, struct sending *s, const rd_kafka_message_t *m)
{
    const struct kafka_lib *k = from->r->k;
    struct err *e = &s->a->op.err;
    struct trouble t;

    kafka_lib_error(k, m->err, NULL, e);
    if (trouble_of_err(e, &t) && t.kind == TROUBLE_SIZE) trouble_say(&t);
    s->doubtful |= k->rd_kafka_message_status(m) != RD_KAFKA_MSG_STATUS_NOT_PERSISTED;
    if (from->retired && !from->r->closing)
        err_set(e, RC_UNAVAILABLE, "Kafka: the producer had to be made anew, the record was not written");
}

/* All reports are there. What may have been written is never called unwritten: a caller would write it again. */
static void verdict(struct sending *s)
{
    struct err *e = &s->a->op.err;

    if (!e->rc || e->rc == RC_TIMEOUT || e->rc == RC_CANCELLED) return;
    if (s->written)
        err_set(e, RC_TIMEOUT, "Kafka took %zu of %zu records: outcome unknown", s->written, s->n);
    else if (s->doubtful)
        err_set(e, RC_TIMEOUT, "Kafka did not acknowledge: outcome unknown");
    if (e->rc == RC_TIMEOUT) trouble_more(e);
}

/* None of it was written: its successor takes it. */
static void sending_again(struct sending *s)
{
    s->a->op.err = (struct err){0};
    s->reports_left = s->n;
    list_remove(&s->link);
    list_push(&s->r->again[s->lane], &s->link);
}

static void on_report(struct remote_sender *from, const rd_kafka_message_t *m)
{
    struct remote *r = from->r;
    struct sending *s = m->_private;

    from->out--;
    if (s->a && m->err)
        report_error(from, s, m);
    else if (s->a && s->reports_left == s->n)
        s->a->offset = m->offset;
    if (!m->err) {
        s->written++;
        remote_up(r);
    }
    if (--s->reports_left) return;
    if (from->gives_back && s->a && s->a->op.err.rc && !s->written && !s->doubtful) {
        sending_again(s);
        return;
    }
    if (s->a) verdict(s);
    sending_end(s);
    list_remove(&s->link);
    free(s);
}

/* ---- producers ---- */

static void sender_ready(struct watch *w, uint32_t events);

static void sender_free(struct remote_sender *s)
{
    if (!s) return;
    list_remove(&s->link);
    loop_unwatch(s->r->loop, &s->watch);
    if (s->queue) s->r->k->rd_kafka_queue_destroy(s->queue);
    if (s->rk) s->r->k->rd_kafka_destroy(s->rk);
    remote_wake_close(s->wake);
    map_fini(&s->topics);
    free(s);
}

enum rc remote_sender_open(struct remote *r, enum remote_lane lane, struct remote_sender **ret, struct err *e)
{
    bool one = lane == LANE_ONE || lane == LANE_ONE_ASIDE, aside = lane == LANE_ALL_ASIDE || lane == LANE_ONE_ASIDE;
    const struct remote_property acks[] = {
        {STR("acks"), one ? STR("1") : STR("all")},
        {STR("enable.idempotence"), one || r->at_least_once ? STR("false") : STR("true")}};
    AUTO(buf_fini) struct buf contexts = {0};
    const struct remote_property linger = {STR("linger.ms"), STR(ASIDE_LINGER_MS)};
    struct remote_property debug = {STR("debug"), {0}};
    const struct remote_set sets[] = {{acks, countof(acks)}, {r->producer_conf, r->producer_conf_n}, {&linger, aside}, {&debug, !r->admin}};
    struct remote_sender *s = xnew(struct remote_sender);

    buf_printf(&contexts, "%s%sfeature", r->debug, *r->debug ? "," : ""); /* the first one tells what the brokers speak */
    debug.value = buf_str(&contexts);

    s->r = r;
    s->lane = lane;
    s->first = !r->admin;
    s->wake[0] = s->wake[1] = -1;
    list_init(&s->link);
    if (remote_client(r, lane == LANE_ALL ? REMOTE_KNOCKS : REMOTE_PRODUCES, sets, countof(sets), &s->rk, e))
        goto fail;
    s->queue = r->k->rd_kafka_queue_get_main(s->rk);
    if (remote_wake_open(s->wake, e)) goto fail;
    r->k->rd_kafka_queue_io_event_enable(s->queue, s->wake[1], "", 1);
    if (loop_watch(r->loop, &s->watch, s->wake[0], EPOLLIN, sender_ready, e)) goto fail;
    remote_wake(s->wake);                        /* what lies there from before (its wish for a token) would hide all that follows */
    *ret = s;
    return RC_OK;
fail:
    sender_free(s);
    return e->rc;
}

/* The library says it in different words: as an event with the cause's code, as a refusal, in a report. */
static bool is_broken(const struct remote_sender *s)
{
    char why[4];

    return s->r->k->rd_kafka_fatal_error(s->rk, why, sizeof why) != RD_KAFKA_RESP_ERR_NO_ERROR;
}

static void lane_hand_over(struct remote *r, enum remote_lane lane);

/* Some break as soon as they meet the brokers (a user who may not write): the third, one soon after the other, has no successor at once. */
static bool keeps_breaking(struct remote *r, enum remote_lane lane, int code, const char *why)
{
    uint64_t now_ms = loop_now_ms(r->loop);

    if (now_ms - r->broke_ms[lane] > AGAIN_MS) r->broke_n[lane] = 0;
    r->broke_ms[lane] = now_ms;
    if (++r->broke_n[lane] <= BROKEN_MAX) return false;
    r->rests_ms[lane] = now_ms + REST_MS;
    snprintf(r->broke[lane], sizeof r->broke[lane], "Kafka: %s%s", why,
             code == RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED
                 ? " (allow this user WRITE on its topics, or IDEMPOTENT_WRITE on the cluster: docs/kafka/self-hosted.md)" : "");
    return true;
}

/* Another in its place. Without one (it keeps breaking, a property the library takes no more, no descriptors) the next append tries again. */
static void sender_renew(struct remote_sender *s)
{
    struct remote *r = s->r;
    struct remote_sender **place = &r->senders[s->lane];
    char why[256];
    bool rests;
    struct err e;

    if (s->retired) return;
    if (s == r->next[s->lane]) lane_hand_over(r, s->lane);
    s->retired = true;
    *place = NULL;
    list_push(&r->retired, &s->link);
    rests = keeps_breaking(r, s->lane, (int)r->k->rd_kafka_fatal_error(s->rk, why, sizeof why), why);
    diag(DIAG_WARN, "kafka.producer.renewed", KV_CSTR("why", rests ? r->broke[s->lane] : why), KV_U64("in_flight", s->out));
    r->k->rd_kafka_purge(s->rk, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT);
    if (r->next[s->lane]) lane_hand_over(r, s->lane);
    else if (!rests && remote_sender_open(r, s->lane, place, &e))
        diag(DIAG_ERROR, "kafka.producer.renewed", KV_CSTR("why", e.text));
}

struct remote_sender *remote_admin_hold(struct remote *r)
{
    struct remote_sender *s;

    pthread_mutex_lock(&r->admin_lock);
    s = r->admin;
    s->held++;
    pthread_mutex_unlock(&r->admin_lock);
    return s;
}

void remote_admin_drop(struct remote_sender *s)
{
    pthread_mutex_t *lock = &s->r->admin_lock;

    pthread_mutex_lock(lock);
    s->held--;
    pthread_mutex_unlock(lock);
}

/* Such a one stays: a fatal error of a producer does not concern administration. */
static bool administers(struct remote_sender *s)
{
    bool yes;

    pthread_mutex_lock(&s->r->admin_lock);
    yes = s == s->r->admin || s->held;
    pthread_mutex_unlock(&s->r->admin_lock);
    return yes;
}

static void senders_tidy(struct remote *r)
{
    list_each_safe(it, &r->retired)
    {
        struct remote_sender *s = container_of(it, struct remote_sender, link);

        if (!s->out && !administers(s)) sender_free(s);
    }
}

static void on_error(struct remote_sender *from, rd_kafka_event_t *ev)
{
    struct remote *r = from->r;

    remote_error(r, (int)r->k->rd_kafka_event_error(ev), r->k->rd_kafka_event_error_string(ev));
    if (is_broken(from)) sender_renew(from);
}

static void lanes_look(struct remote *r);

static void sender_ready(struct watch *w, uint32_t events)
{
    struct remote_sender *from = container_of(w, struct remote_sender, watch);
    struct remote *r = from->r;
    const struct kafka_lib *k = r->k;
    rd_kafka_event_t *ev;

    (void)events;
    remote_wake_drain(from->wake);
    while ((ev = k->rd_kafka_queue_poll(from->queue, 0))) {
        const rd_kafka_message_t *m;

        if (k->rd_kafka_event_type(ev) == RD_KAFKA_EVENT_ERROR)
            on_error(from, ev);
        else
            while ((m = k->rd_kafka_event_message_next(ev)))
                on_report(from, m);
        k->rd_kafka_event_destroy(ev);
    }
    lanes_look(r);
    senders_tidy(r);
}

static void on_primed(struct prime *p)
{
    struct remote_sender *s = p->owner;

    s->out--;
    lanes_look(s->r);
    senders_tidy(s->r);
}

/* The first record for a topic: its partitions are looked up at once. (The first producer's client looked when the topic
 * was made sure of.) */
static void topic_met(struct remote_sender *s, const char *topic)
{
    if (s->first || s->r->closing || map_get_str(&s->topics, str_of(topic))) return;
    map_put_str(&s->topics, str_of(topic), s);
    s->out++;
    remote_prime(s->r, s->rk, topic, s, on_primed);
}

/* ---- to the library ---- */

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

/* All records of an append, or those up to the first that is refused. */
static rd_kafka_resp_err_t hand_over_all(struct remote_sender *to, struct sending *s)
{
    rd_kafka_resp_err_t code = RD_KAFKA_RESP_ERR_NO_ERROR;
    char topic[256];

    snprintf(topic, sizeof topic, STR_FMT, STR_ARG(s->a->topic));
    for (size_t i = 0; i < s->n; i++) {
        code = hand_over(to, s, topic, &s->records[i]);
        if (code) {
            s->reports_left -= s->n - i;
            break;
        }
        to->out++;
    }
    if (!code) topic_met(to, topic);
    return code;
}

/* The producer for it, made at the first use. */
static struct remote_sender *sender_for(struct remote *r, enum remote_lane lane, struct err *e)
{
    struct remote_sender **place = &r->senders[lane];

    if (r->closing) {
        err_set(e, RC_CANCELLED, "the bus is closing");
        return NULL;
    }
    if (!*place && loop_now_ms(r->loop) < r->rests_ms[lane]) {
        err_set(e, RC_UNAVAILABLE, "%s", r->broke[lane]);
        return NULL;
    }
    if (!*place && remote_sender_open(r, lane, place, e)) return NULL;
    return *place;
}

static void sending_go(struct sending *s)
{
    struct remote *r = s->r;
    struct bus_op *op;
    rd_kafka_resp_err_t code;
    int tries = 0;

    if (!s->a) { /* its deadline passed while it waited */
        free(s);
        return;
    }
    op = &s->a->op;
    do {
        struct remote_sender *to = sender_for(r, s->lane, &op->err);

        if (!to) goto refused;
        s->reports_left = s->n;
        code = hand_over_all(to, s);
        if (!code || !is_broken(to)) break;
        sender_renew(to);
    } while (!s->reports_left && ++tries < 2); /* nothing of it was taken */
    if (code) {
        kafka_lib_error(r->k, code, NULL, &op->err);
        if (!s->reports_left) goto refused;
    }
    list_push(&r->sending, &s->link);
    return;
refused:
    sending_end(s);
    free(s);
}

static void sending_start(struct msg *m)
{
    struct sending *s = container_of(m, struct sending, msg);
    struct remote *r = s->r;

    if (s->a->op.deadline_ms) timer_set(loop_timers(r->loop), &s->deadline, s->a->op.deadline_ms, on_deadline);
    if (r->next[s->lane]) list_push(&r->waiting[s->lane], &s->link);
    else sending_go(s);
}

void remote_append(struct bus *b, struct bus_append *a, const struct bus_record *records,
                          size_t n)
{
    struct remote *r = container_of(b, struct remote, bus);

    a->op.err = (struct err){0};
    a->offset = -1;
    if (!n) {
        remote_fail(&a->op, RC_INVALID, "nothing to append");
        return;
    }
    for (size_t i = 0; i < n; i++)
        if (record_bytes(&records[i]) > r->produce_bytes_max) {
            struct trouble t = trouble_make(TROUBLE_SIZE, "a record for " STR_FMT " has %zu bytes, messageMaxBytes is %zu", STR_ARG(a->topic),
                                            record_bytes(&records[i]), r->produce_bytes_max);

            trouble_say(&t);
            trouble_err(&t, &a->op.err);
            remote_done(&a->op);
            return;
        }
    struct sending *s = sending_new(r, a, records, n);

    s->msg.run = sending_start;
    mailbox_post(loop_mailbox(r->loop), &s->msg);
}


/* ---- newer certificates ---- */

/* The next one of a lane begins when the one before it has nothing out, so that records keep their order; what comes
 * meanwhile waits. One that has got stuck is emptied: what it certainly did not write is written by the next one. */
static void lane_hand_over(struct remote *r, enum remote_lane lane)
{
    struct remote_sender *old = r->senders[lane];

    if (old) {
        old->retired = true;
        list_push(&r->retired, &old->link);
    }
    r->senders[lane] = r->next[lane];
    r->next[lane] = NULL;
    for (int given_back = 1; given_back >= 0; given_back--) {
        struct list all;

        list_move(given_back ? &r->again[lane] : &r->waiting[lane], &all);
        for (struct list *at; (at = list_pop(&all));)
            sending_go(container_of(at, struct sending, link));
    }
}

static void lanes_look(struct remote *r)
{
    for (int lane = 0; lane < LANES_N; lane++)
        if (r->next[lane] && (!r->senders[lane] || !r->senders[lane]->out)) lane_hand_over(r, (enum remote_lane)lane);
}

static void on_handover(struct timer *t)
{
    struct remote *r = container_of(t, struct remote, handover);

    for (int lane = 0; lane < LANES_N; lane++) {
        struct remote_sender *old = r->senders[lane];

        if (!r->next[lane] || !old) continue;
        diag(DIAG_WARN, "kafka.producer.renewed", KV_CSTR("why", "it has older certificates, and does not get rid of its records"), KV_U64("in_flight", old->out));
        old->gives_back = true;
        r->k->rd_kafka_purge(old->rk, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT);
    }
}

enum rc remote_senders_renew(struct remote *r, struct err *e)
{
    struct remote_sender *made[LANES_N] = {NULL};

    for (int lane = 0; lane < LANES_N; lane++) {
        if (lane != LANE_ALL && !r->senders[lane] && !r->next[lane]) continue;
        if (!remote_sender_open(r, (enum remote_lane)lane, &made[lane], e)) continue;
        for (int i = 0; i < lane; i++)
            sender_free(made[i]);
        return e->rc;
    }
    pthread_mutex_lock(&r->admin_lock);
    r->admin = made[LANE_ALL];
    pthread_mutex_unlock(&r->admin_lock);
    for (int lane = 0; lane < LANES_N; lane++) {
        if (r->next[lane]) { /* it has taken nothing yet */
            r->next[lane]->retired = true;
            list_push(&r->retired, &r->next[lane]->link);
        }
        r->next[lane] = made[lane];
    }
    loop_timer(r->loop, &r->handover, HANDOVER_MS, on_handover);
    lanes_look(r);
    senders_tidy(r);
    return RC_OK;
}

/* ---- the end ---- */

static void not_sent(struct list *waiting)
{
    for (struct list *at; (at = list_pop(waiting));) {
        struct sending *s = container_of(at, struct sending, link);

        if (s->a) err_set(&s->a->op.err, RC_CANCELLED, "the bus was closed: the record was not written");
        sending_end(s);
        free(s);
    }
}

void remote_senders_finish(struct remote *r)
{
    for (int i = 0; i < LANES_N; i++) {
        not_sent(&r->again[i]);
        not_sent(&r->waiting[i]);
    }
    for (int turns = 0; turns < FLUSH_MS / 20 && !list_empty(&r->sending); turns++)
        loop_turn(r->loop, 20);
    for (int i = 0; i < LANES_N; i++)
        if (r->senders[i]) r->k->rd_kafka_purge(r->senders[i]->rk, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT);
    for (int turns = 0; turns < 100 && !list_empty(&r->sending); turns++)
        loop_turn(r->loop, 20);
    for (struct list *at; (at = list_pop(&r->sending));) {
        struct sending *s = container_of(at, struct sending, link);

        if (s->a) err_set(&s->a->op.err, RC_CANCELLED, "the bus was closed: outcome unknown");
        sending_end(s);
        free(s);
    }
}

void remote_senders_free(struct remote *r)
{
    for (int i = 0; i < LANES_N; i++) {
        sender_free(r->senders[i]);
        sender_free(r->next[i]);
    }
    while (!list_empty(&r->retired))
        sender_free(container_of(r->retired.next, struct remote_sender, link));
}
