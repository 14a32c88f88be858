/* Design note: membership in a group is a consumer of its own that subscribes and never reads: what it is assigned is
 * paused at once. Its rebalances arrive while the loop polls it. What is assigned is taken at once; what is revoked is kept
 * until the asker has given it up, which the library allows: the group waits (up to its rebalance timeout) for the call that
 * follows a revocation. Partitions that were lost are let go at once. Leaving and closing may wait for the coordinator, so
 * that is a worker's job. SPDX-License-Identifier: Apache-2.0 */
#include "base/diag.h"
#include "bus/remote_core.h"
#include "bus/trouble.h"
#include <stdio.h>
#include <sys/epoll.h>

enum { POLL_MS = 1000 };
#define REBALANCE_TIMEOUT_MS "60000"

struct membership {
    struct msg start;
    struct remote *r;
    struct bus_member *m; /* NULL: it was told the end */
    rd_kafka_t *rk;
    rd_kafka_queue_t *queue;
    int wake[2];
    struct watch watch;
    struct timer poll;
    rd_kafka_topic_partition_list_t *giving; /* revoked and not given up yet */
    bool leaving, subscribed;
    bool assigned; /* it was given numbers, or told that there are none for it, at least once */
    bool refused;  /* by the group's coordinator */
    bool stale;    /* its client has older certificates */
    atomic_bool again; /* it leaves to join anew with another client */
    struct work end; /* leaving, on a worker */
};

/* ---- what changes, to the asker ---- */

struct news {
    struct msg msg;
    struct bus_member *m;
    bool taken, lost;
    size_t n;
    int32_t numbers[];
};

static void tell(struct msg *msg)
{
    struct news *w = container_of(msg, struct news, msg);

    if (w->taken) w->m->taken(w->m, w->numbers, w->n);
    else w->m->wanted(w->m, w->numbers, w->n, w->lost);
    free(w);
}

static void news_post(struct membership *s, const rd_kafka_topic_partition_list_t *list, bool taken, bool lost)
{
    struct news *w;

    if (!s->m || (s->leaving && !s->again)) return;
    w = xcalloc(1, sizeof *w + (size_t)list->cnt * sizeof w->numbers[0]);
    *w = (struct news){.msg.run = tell, .m = s->m, .taken = taken, .lost = lost, .n = (size_t)list->cnt};
    for (size_t i = 0; i < w->n; i++)
        w->numbers[i] = list->elems[i].partition;
    mailbox_post(s->m->op.reply_to, &w->msg);
}

/* ---- rebalances ---- */

static void complain(const struct membership *s, rd_kafka_error_t *error)
{
    const struct kafka_lib *k = s->r->k;

    if (!error) return;
    diag(DIAG_WARN, "kafka.group", KV_CSTR("why", k->rd_kafka_error_string(error)));
    k->rd_kafka_error_destroy(error);
}

static bool in_pieces(const struct membership *s)
{
    const char *protocol = s->r->k->rd_kafka_rebalance_protocol(s->rk);

    return protocol && !strcmp(protocol, "COOPERATIVE");
}

static void let_go(struct membership *s, const rd_kafka_topic_partition_list_t *list)
{
    const struct kafka_lib *k = s->r->k;

    if (in_pieces(s)) complain(s, k->rd_kafka_incremental_unassign(s->rk, list));
    else k->rd_kafka_assign(s->rk, NULL);
}

static void take(struct membership *s, rd_kafka_topic_partition_list_t *list)
{
    const struct kafka_lib *k = s->r->k;

    for (int i = 0; i < list->cnt; i++)
        list->elems[i].offset = RD_KAFKA_OFFSET_END;
    if (in_pieces(s)) complain(s, k->rd_kafka_incremental_assign(s->rk, list));
    else k->rd_kafka_assign(s->rk, list);
    k->rd_kafka_pause_partitions(s->rk, list);
    news_post(s, list, true, false);
}

bool remote_member_leaves(const struct remote *r, const rd_kafka_t *rk)
{
    return r->member && r->member->rk == rk && r->member->leaving;
}

static void wish_post(struct bus *b, void (*run)(struct msg *msg));
static void on_lost(struct msg *msg);

/* On the loop, while the member is polled; on a worker, while it leaves. */
void remote_member_rebalance(rd_kafka_t *rk, rd_kafka_resp_err_t code, rd_kafka_topic_partition_list_t *list, void *arg)
{
    struct remote *r = arg;
    struct membership *s = r->member;
    bool lost;

    if (!s || s->rk != rk) return;
    if (code == RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS) {
        s->assigned = true;
        take(s, list);
        return;
    }
    lost = code != RD_KAFKA_RESP_ERR__REVOKE_PARTITIONS || r->k->rd_kafka_assignment_lost(rk) != 0 || s->again;
    if (lost || s->leaving) {
        if (s->giving) r->k->rd_kafka_topic_partition_list_destroy(s->giving);
        s->giving = NULL;
        let_go(s, list);
    } else {
        s->giving = r->k->rd_kafka_topic_partition_list_copy(list);
    }
    news_post(s, list, false, lost);
    if (lost && s->stale && !s->leaving) wish_post(&r->bus, on_lost); /* not while the library is at it */
}

/* ---- life ---- */

static void membership_quiet(struct membership *s)
{
    timer_cancel(loop_timers(s->r->loop), &s->poll);
    if (s->queue) {
        loop_unwatch(s->r->loop, &s->watch);
        s->r->k->rd_kafka_queue_destroy(s->queue);
    }
    s->queue = NULL;
}

/* librdkafka 2.0.2 aborts when a member is closed between its first JoinGroup and what that gives it (its sticky assignor has no
 * state yet): such a one is left as it is, for the process is about to end, and the group forgets it with its session. */
static bool may_close(const struct membership *s)
{
    return s->assigned || s->refused;
}

static void client_leave_open(struct membership *s)
{
    s->rk = NULL;
    s->wake[0] = s->wake[1] = -1; /* the library may still write there */
}

static void membership_free(struct membership *s)
{
    const struct kafka_lib *k = s->r->k;

    membership_quiet(s);
    if (s->giving) k->rd_kafka_topic_partition_list_destroy(s->giving);
    if (s->rk && s->subscribed && !may_close(s)) client_leave_open(s);
    if (s->rk) k->rd_kafka_destroy(s->rk);
    remote_wake_close(s->wake);
    s->r->member = NULL;
    free(s);
}

static void membership_told(struct membership *s)
{
    struct bus_member *m = s->m;

    s->m = NULL;
    if (!m) return;
    m->priv = NULL;
    remote_done(&m->op);
}

static void left_run(struct work *w)
{
    struct membership *s = container_of(w, struct membership, end);

    if (!may_close(s)) return;
    if (s->giving) let_go(s, s->giving); /* the library waits for it, and whoever leaves has given everything up */
    s->r->k->rd_kafka_consumer_close(s->rk);
}

static enum rc membership_open(struct membership *s, struct err *e);

/* The same membership with another client. */
static void join_again(struct membership *s)
{
    struct err *e = &s->m->op.err;

    s->r->k->rd_kafka_destroy(s->rk);
    remote_wake_close(s->wake);
    s->rk = NULL;
    s->leaving = s->assigned = s->subscribed = s->stale = false;
    atomic_store(&s->again, false);
    if (!membership_open(s, e)) return;
    membership_told(s);
    membership_free(s);
}

static void left(struct work *w)
{
    struct membership *s = container_of(w, struct membership, end);

    if (s->again && s->m && !s->r->closing) {
        join_again(s);
        return;
    }
    membership_told(s);
    membership_free(s);
}

static void membership_end(struct membership *s)
{
    if (s->leaving) return;
    s->leaving = true;
    membership_quiet(s);
    s->end = (struct work){.run = left_run, .done = left, .reply_to = loop_mailbox(s->r->loop)};
    workers_submit(s->r->workers, &s->end);
}

/* ---- polling ---- */

/* What no later try can mend. */
static bool is_final(rd_kafka_resp_err_t code)
{
    return code == RD_KAFKA_RESP_ERR_INCONSISTENT_GROUP_PROTOCOL || code == RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED ||
           code == RD_KAFKA_RESP_ERR_INVALID_GROUP_ID || code == RD_KAFKA_RESP_ERR__FATAL;
}

static void poll_all(struct membership *s)
{
    const struct kafka_lib *k = s->r->k;
    rd_kafka_message_t *message;

    while ((message = k->rd_kafka_consumer_poll(s->rk, 0))) {
        rd_kafka_resp_err_t code = message->err;
        struct trouble lasts;                    /* that is what it comes of, and said already */
        struct err e;

        if (code && code != RD_KAFKA_RESP_ERR__PARTITION_EOF) {
            kafka_lib_error(k, code, message->payload, &e);
            if (!trouble_now(&lasts)) diag(DIAG_WARN, "kafka.group", KV_STR("group", s->m->group), KV_CSTR("why", e.text));
        }
        k->rd_kafka_message_destroy(message);
        if (!is_final(code)) continue;
        s->m->op.err = e;
        if (code == RD_KAFKA_RESP_ERR_INCONSISTENT_GROUP_PROTOCOL) s->m->op.err.rc = RC_INVALID;
        s->refused = true;
        membership_end(s);
        return;
    }
}

/* Also by the clock: a member that is not polled is taken for dead. */
static void poll_due(struct timer *t)
{
    struct membership *s = container_of(t, struct membership, poll);

    loop_timer(s->r->loop, &s->poll, POLL_MS, poll_due);
    poll_all(s);
}

static void poll_ready(struct watch *w, uint32_t events)
{
    struct membership *s = container_of(w, struct membership, watch);

    (void)events;
    remote_wake_drain(s->wake);
    poll_all(s);
}

/* ---- joining ---- */

static enum rc client_open(struct membership *s, struct err *e)
{
    struct remote *r = s->r;
    char beat[DECIMAL_MAX]; /* six in a session: a rebalance is noticed with the next one */
    const struct remote_property own[] = {{STR("group.id"), s->m->group},
                                          {STR("partition.assignment.strategy"), STR("cooperative-sticky")},
                                          {STR("enable.partition.eof"), STR("false")},
                                          {STR("max.poll.interval.ms"), STR(REBALANCE_TIMEOUT_MS)},
                                          {STR("heartbeat.interval.ms"), decimal(MAX(r->session_timeout_ms / 6, 1u), beat)}};
    const struct remote_set sets[] = {{r->consumer_conf, r->consumer_conf_n}, {own, countof(own)}};

    return remote_client(r, REMOTE_CONSUMES, sets, countof(sets), &s->rk, e);
}

static enum rc subscribe(struct membership *s, struct err *e)
{
    const struct kafka_lib *k = s->r->k;
    rd_kafka_topic_partition_list_t *topics = k->rd_kafka_topic_partition_list_new(1);
    rd_kafka_resp_err_t code;
    char topic[256];

    snprintf(topic, sizeof topic, STR_FMT, STR_ARG(s->m->topic));
    k->rd_kafka_topic_partition_list_add(topics, topic, RD_KAFKA_PARTITION_UA);
    code = k->rd_kafka_subscribe(s->rk, topics);
    k->rd_kafka_topic_partition_list_destroy(topics);
    return code ? kafka_lib_error(k, code, NULL, e) : RC_OK;
}

static enum rc membership_open(struct membership *s, struct err *e)
{
    struct remote *r = s->r;

    if (client_open(s, e) || remote_wake_open(s->wake, e)) return e->rc;
    if (loop_watch(r->loop, &s->watch, s->wake[0], EPOLLIN, poll_ready, e)) return e->rc;
    s->queue = r->k->rd_kafka_queue_get_consumer(s->rk);
    r->k->rd_kafka_queue_io_event_enable(s->queue, s->wake[1], "", 1);
    if (subscribe(s, e)) return e->rc;
    s->subscribed = true;
    loop_timer(r->loop, &s->poll, POLL_MS, poll_due);
    return RC_OK;
}

static void join_start(struct msg *msg)
{
    struct membership *s = container_of(msg, struct membership, start);
    struct remote *r = s->r;
    struct err *e = &s->m->op.err;

    if (r->closing) err_set(e, RC_CANCELLED, "the bus is closing");
    else if (r->member) err_set(e, RC_EXISTS, "this process is a member already");
    if (e->rc) {
        membership_told(s);
        free(s);
        return;
    }
    r->member = s;
    if (err_keep(membership_open(s, e), e)) {
        membership_told(s);
        membership_free(s);
    }
}

void remote_join(struct bus *b, struct bus_member *m)
{
    struct membership *s = xnew(struct membership);

    *s = (struct membership){.start.run = join_start, .r = container_of(b, struct remote, bus), .m = m, .wake = {-1, -1}};
    m->op.err = (struct err){0};
    m->priv = s;
    mailbox_post(loop_mailbox(s->r->loop), &s->start);
}

/* ---- wishes: in messages of their own, the membership may have ended meanwhile ---- */

struct member_wish {
    struct msg msg;
    struct remote *r;
};

static void on_given(struct msg *msg)
{
    struct member_wish *wish = container_of(msg, struct member_wish, msg);
    struct membership *s = wish->r->member;

    free(wish);
    if (!s || !s->giving || s->leaving) return; /* leaving: a worker lets go of it just now */
    let_go(s, s->giving);
    s->r->k->rd_kafka_topic_partition_list_destroy(s->giving);
    s->giving = NULL;
}

static void on_leave(struct msg *msg)
{
    struct member_wish *wish = container_of(msg, struct member_wish, msg);
    struct membership *s = wish->r->member;

    free(wish);
    if (s) s->again = false; /* on its way out already: then for good */
    if (s) membership_end(s);
}

static void wish_post(struct bus *b, void (*run)(struct msg *msg))
{
    struct member_wish *wish = xnew(struct member_wish);

    wish->msg.run = run;
    wish->r = container_of(b, struct remote, bus);
    mailbox_post(loop_mailbox(wish->r->loop), &wish->msg);
}

void remote_given(struct bus *b, struct bus_member *m)
{
    (void)m;
    wish_post(b, on_given);
}

void remote_leave(struct bus *b, struct bus_member *m)
{
    (void)m;
    wish_post(b, on_leave);
}

/* ---- newer certificates ---- */

/* A new client would give up every number and get others: what it runs would begin anew. So the one there is goes on until it
 * loses its numbers, as it does when its connection fails. */
void remote_member_renew(struct remote *r)
{
    if (r->member) r->member->stale = true;
}

static void on_lost(struct msg *msg)
{
    struct member_wish *wish = container_of(msg, struct member_wish, msg);
    struct membership *s = wish->r->member;

    free(wish);
    if (!s || !s->stale || s->leaving || !may_close(s)) return;
    diag(DIAG_INFO, "kafka.group", KV_STR("group", s->m->group), KV_CSTR("what", "a client with the new certificates joins"));
    s->again = true;
    membership_end(s);
}

rd_kafka_t *remote_member_client(const struct remote *r)
{
    return r->member && !r->member->leaving ? r->member->rk : NULL;
}

void remote_member_close(struct remote *r)
{
    struct membership *s = r->member;

    if (!s || !s->m) return;
    err_set(&s->m->op.err, RC_CANCELLED, "the bus is closing");
    membership_told(s);
    if (!s->leaving) membership_quiet(s);
    s->leaving = true;
}

/* Its client leaves the group as it goes. A worker that is at that has come to an end by now. */
void remote_member_free(struct remote *r)
{
    if (r->member) membership_free(r->member);
}
