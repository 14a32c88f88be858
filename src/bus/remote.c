/* Opening and closing of the remote bus, its clients and what they are told.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/diag.h"
#include "base/rng.h"
#include "bus/remote_core.h"
#include "bus/remote_kind.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    SENDING_MAX = 100000,
    MESSAGE_TIMEOUT_MS = 120000,
    LOOK_MS = 100,      /* how often a start that waits for the cluster looks up */
    SAY_EVERY_MS = 5000,
    TURNED_AWAY_MS = 3000 /* a start does not wait for brokers that refuse it */
};

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

/* The library does so when its queue stops being empty. */
void remote_wake(int wake[2])
{
    must(write(wake[1], "", 1) == 1);
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

static const struct kafka_lib *the_lib;          /* there is one in a process; set before the first client is made */

/* A question that failed with its connection: the library may log that before it reports the connection's error. */
static bool comes_of_trouble(const char *text)
{
    return strstr(text, "Local: Authentication failure") || strstr(text, "Local: SSL error") || strstr(text, "Local: Broker transport failure");
}

/* What broke a connection is told as an error, too, and said in bus/trouble.h's words. */
static void on_log(const rd_kafka_t *rk, int level, const char *facility, const char *text)
{
    struct remote *r = rk ? the_lib->rd_kafka_opaque(rk) : NULL;

    struct trouble known;

    if (r && remote_probe_log(r, facility, text) && !*r->debug) return;
    if (r && !*r->debug && (trouble_of_code(0, text, &known) || (!strcmp(facility, "METADATA") && (comes_of_trouble(text) || trouble_now(&known))))) return; /* the same comes as an error, which is said once */
    diag(!strcmp(facility, "FAIL") ? DIAG_DEBUG
         : level <= 3              ? DIAG_WARN
         : level <= 5              ? DIAG_INFO
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

/* On threads of the library. ECANCELED is what connect() itself never says. */
static int connect_through(struct remote *r, bool knocks, int fd, const struct sockaddr *to, int to_n)
{
    if (!gate_pass(&r->gate, knocks, clock_mono_ms(&clock_real))) return ECANCELED;
    return connect(fd, to, (socklen_t)to_n) && errno != EINPROGRESS ? errno : 0;
}

static int on_connect(int fd, const struct sockaddr *to, int to_n, const char *id, void *arg)
{
    (void)id;
    return connect_through(arg, false, fd, to, to_n);
}

static int on_connect_knocking(int fd, const struct sockaddr *to, int to_n, const char *id, void *arg)
{
    (void)id;
    return connect_through(arg, true, fd, to, to_n);
}

enum rc remote_client(struct remote *r, enum remote_role role, const struct remote_set *sets, size_t sets_n,
                      rd_kafka_t **ret, struct err *e)
{
    rd_kafka_type_t type = role == REMOTE_CONSUMES ? RD_KAFKA_CONSUMER : RD_KAFKA_PRODUCER;
    const struct kafka_lib *k = r->k;
    rd_kafka_conf_t *conf = k->rd_kafka_conf_new();
    AUTO(access_until_fini) struct access_until until = {0};
    char why[512];
    rd_kafka_t *rk;

    if (r->access && access_conf(r->access, conf, &until, e)) goto refused;
    for (size_t i = 0; i < sets_n; i++)
        for (size_t j = 0; j < sets[i].n; j++)
            if (set(r, conf, &sets[i].v[j], e)) goto refused;
    k->rd_kafka_conf_set_log_cb(conf, on_log);
    k->rd_kafka_conf_set_opaque(conf, r);
    k->rd_kafka_conf_set_connect_cb(conf, role == REMOTE_KNOCKS ? on_connect_knocking : on_connect);
    if (type == RD_KAFKA_PRODUCER)
        k->rd_kafka_conf_set_events(conf, RD_KAFKA_EVENT_DR | RD_KAFKA_EVENT_ERROR);
    else {
        k->rd_kafka_conf_set_error_cb(conf, remote_reader_error);
        k->rd_kafka_conf_set_rebalance_cb(conf, remote_member_rebalance);
    }
    rk = k->rd_kafka_new(type, conf, why, sizeof why);
    if (!rk) {
        err_set(e, RC_INVALID, "Kafka client: %s", why);
        goto refused;
    }
    if (r->access && access_wants_token(r->access) && access_refresh(r->access, rk, e)) {
        k->rd_kafka_destroy(rk);
        return e->rc;
    }
    *ret = rk;
    return RC_OK;
refused:
    k->rd_kafka_conf_destroy(conf);
    return e->rc;
}

/* ---- opening and closing ---- */

static bool remote_ready(const struct bus *b, struct str *ret_why)
{
    static _Thread_local char text[512];
    struct trouble t;
    struct err e;

    if (!atomic_load_explicit(&remote_of(b)->down_ms, memory_order_relaxed)) return true;
    if (!trouble_now(&t)) t = trouble_make(TROUBLE_BROKER, "no Kafka broker answers");
    trouble_err(&t, &e);
    *ret_why = (struct str){text, (size_t)snprintf(text, sizeof text, "%s", e.text)};
    return false;
}

static bool remote_away(const struct bus *b, struct str *ret_why)
{
    uint64_t since = atomic_load_explicit(&remote_of(b)->down_ms, memory_order_relaxed);

    return since && clock_mono_ms(&clock_real) - since >= BUS_AWAY_MS && !remote_ready(b, ret_why);
}

/* ---- down, and back ---- */

enum { KNOCK_MS = 1000, KNOCK_AGAIN_MS = 2000, AWAY_SAID_MS = 60000 };

static void knock_again(struct timer *t);

/* Nobody may be sending anything, since a data plane that is not ready gets no requests: so it is asked here. */
static void knock_run(struct work *w)
{
    struct remote *r = container_of(w, struct remote, knock);
    struct remote_sender *admin = remote_admin_hold(r);
    const struct rd_kafka_metadata *md;

    r->answered = !r->k->rd_kafka_metadata(admin->rk, 0, NULL, &md, atomic_load(&r->down_ms) ? KNOCK_AGAIN_MS : KNOCK_MS);
    if (r->answered) r->k->rd_kafka_metadata_destroy(md);
    remote_admin_drop(admin);
}

/* One broker cannot be reached, another answers: once a minute. */
static void one_is_away(struct remote *r)
{
    uint64_t now = loop_now_ms(r->loop);

    if (strstr(r->down_why.cause, "Disconnected") || now < r->away_said_ms) return;
    r->away_said_ms = now + AWAY_SAID_MS;
    diag(DIAG_WARN, "kafka.broker", KV_CSTR("error", r->down_why.cause), KV_CSTR("what", "another broker answers"));
}

static void knock_done(struct work *w)
{
    struct remote *r = container_of(w, struct remote, knock);

    r->knocking = false;
    if (r->closing) return;
    if (r->answered) {
        gate_answered(&r->gate);
        if (remote_up(r)) diag(DIAG_INFO, "kafka.back", KV_CSTR("what", "a broker answers again"));
        else one_is_away(r);
        r->down_why.kind = TROUBLE_NONE;
        return;
    }
    if (!atomic_load(&r->down_ms)) atomic_store(&r->down_ms, clock_mono_ms(&clock_real));
    trouble_say(&r->down_why);
    r->knocking = true;
    loop_timer(r->loop, &r->knock_timer, KNOCK_MS, knock_again);
}

static void knock_start(struct remote *r)
{
    r->knocking = true;
    r->knock = (struct work){.run = knock_run, .done = knock_done, .reply_to = loop_mailbox(r->loop)};
    workers_submit(r->knockers, &r->knock);
}

static void knock_again(struct timer *t)
{
    knock_start(container_of(t, struct remote, knock_timer));
}

/* A connection that ends is no news: brokers end those that rest, and those whose session is over. It is, when nobody answers a
 * question that is put now. */
static void perhaps_down(struct remote *r, const struct trouble *t, bool vague)
{
    if (r->down_why.kind == TROUBLE_NONE || !vague) r->down_why = *t;
    if (!r->knocking && !r->closing && r->knockers) knock_start(r);
}

bool remote_up(struct remote *r)
{
    if (!atomic_exchange_explicit(&r->down_ms, 0, memory_order_relaxed)) return false;
    trouble_gone();
    return true;
}

void remote_error(struct remote *r, int code, const char *text)
{
    AUTO(buf_fini) struct buf more = {0};
    struct trouble t;

    if (strstr(text, strerror(ECANCELED))) return; /* the gate's: the refusals themselves have been told */
    if (r->access && access_certificate_put(r->access, text, &more)) text = buf_cstr(&more);
    if (!trouble_of_code(code, text, &t)) {
        diag(DIAG_WARN, "kafka.error", KV_CSTR("error", text));
        return;
    }
    if (t.kind == TROUBLE_BROKER) perhaps_down(r, &t, code == RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN);
    else trouble_say(&t);
    if (!r->access || t.kind != TROUBLE_SASL) return;
    gate_refused(&r->gate, clock_mono_ms(&clock_real));
    access_refused(r->access);
}

static void remote_free(struct remote *r)
{
    access_stop(r->access);
    workers_free(r->workers);
    workers_free(r->knockers);
    workers_free(r->primers);
    workers_free(r->readers_of_secrets);
    if (r->loop) mailbox_drain(loop_mailbox(r->loop));
    remote_senders_free(r);
    remote_member_free(r);
    for (size_t i = 0; i < r->consumers_n; i++)
        r->k->rd_kafka_destroy(r->consumers[i].rk);
    access_free(r->access);
    loop_free(r->loop);
    for (size_t i = 0; i < r->consumer_conf_n; i++)
        free((void *)(uintptr_t)r->consumer_conf[i].name.p);
    for (size_t i = 0; i < r->producer_conf_n; i++)
        free((void *)(uintptr_t)r->producer_conf[i].name.p);
    free(r->consumer_conf);
    free(r->producer_conf);
    free(r->bootstrap);
    free(r->debug);
    pthread_mutex_destroy(&r->admin_lock);
    gate_fini(&r->gate);
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
    timer_cancel(loop_timers(r->loop), &r->idle);
    timer_cancel(loop_timers(r->loop), &r->knock_timer);
    timer_cancel(loop_timers(r->loop), &r->handover);
    remote_readers_close(r);
    remote_member_close(r);
    loop_stop(r->loop);
}

static void remote_close(struct bus *b)
{
    struct remote *r = remote_of(b);
    struct closing c = {.msg = {.run = on_close}, .r = r};

    atomic_store(&r->ending, true);
    mailbox_post(loop_mailbox(r->loop), &c.msg);
    thread_join(r->thread);
    remote_senders_finish(r);
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
    .readers = remote_readers,
    .ask = remote_ask,
    .join = remote_join,
    .given = remote_given,
    .leave = remote_leave,
    .ready = remote_ready,
    .away = remote_away,
    .capabilities = remote_capabilities,
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

/* What this kind of cluster wants; said once. */
static void presets_add(struct remote_property **list, size_t *n, struct str bootstrap, bool say)
{
    enum remote_kind kind = remote_kind_of(bootstrap);

    for (const struct remote_preset *p = remote_kind_presets(kind); p->name; p++) {
        conf_add(list, n, str_of(p->name), str_of(p->value));
        if (say) diag(DIAG_INFO, "kafka.preset", KV_CSTR("for", remote_kind_name(kind)), KV_CSTR(p->name, p->value), KV_CSTR("why", p->why));
    }
}

/* A record that the cluster would hang up on is refused here. */
static size_t produce_max(const struct remote_options *o)
{
    enum { ROOM = 16384 };                       /* for what is around it in a request */
    enum remote_kind kind = remote_kind_of(o->bootstrap);
    size_t most = remote_kind_request_max(kind);

    if (!most || o->produce_bytes_max <= most - ROOM) return o->produce_bytes_max;
    diag(DIAG_INFO, "kafka.preset", KV_CSTR("for", remote_kind_name(kind)), KV_U64("message.max.bytes", most - ROOM),
         KV_CSTR("why", "the connection is closed there on a larger request"));
    return most - ROOM;
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
        conf_add(list, n, STR("reconnect.backoff.max.ms"), STR("1000"));
        conf_number(list, n, STR("topic.metadata.refresh.interval.ms"), o->metadata_refresh_ms);
        conf_number(list, n, STR("topic.metadata.propagation.max.ms"), o->metadata_propagation_ms);
        if (o->debug.n) conf_add(list, n, STR("debug"), o->debug);
        presets_add(list, n, o->bootstrap, i == 0);
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
    conf_number(p, pn, STR("message.max.bytes"), r->produce_bytes_max);
    conf_number(p, pn, STR("message.timeout.ms"), MESSAGE_TIMEOUT_MS);
    conf_number(p, pn, STR("queue.buffering.max.messages"), SENDING_MAX);
    for (size_t i = 0; i < o->consumer_n; i++)
        conf_add(c, cn, o->consumer[i].name, o->consumer[i].value);
    for (size_t i = 0; i < o->producer_n; i++)
        conf_add(p, pn, o->producer[i].name, o->producer[i].value);
}

static bool turned_away(const struct trouble *t)
{
    return t->kind == TROUBLE_SASL || t->kind == TROUBLE_TLS;
}

/* The cluster's id, which the first metadata answer carries. Whoever started it may give up at any time; brokers that turn us
 * away will go on doing it. The loop has no thread yet: what the library tells is looked at here. */
static enum rc cluster_await(struct remote *r, const struct remote_options *o, char **ret, struct err *e)
{
    uint64_t begun = clock_mono_ms(&clock_real), said = begun + LOOK_MS, waited = 0;
    struct trouble why;

    while (waited < o->connect_ms) {
        AUTO(buf_fini) struct buf text = {0};

        *ret = r->k->rd_kafka_clusterid(r->admin->rk, LOOK_MS);
        loop_turn(r->loop, 0);
        waited = clock_mono_ms(&clock_real) - begun;
        if (*ret) return RC_OK;
        if (o->go_on && !o->go_on(o->ctx))
            return err_set(e, RC_CANCELLED, "ended while waiting for a Kafka broker at " STR_FMT, STR_ARG(o->bootstrap));
        if (!trouble_now(&why)) why = trouble_make(TROUBLE_BROKER, "no answer from " STR_FMT, STR_ARG(o->bootstrap));
        if (turned_away(&why) && waited >= TURNED_AWAY_MS) return trouble_err(&why, e);
        if (begun + waited < said) continue;
        said = begun + waited + SAY_EVERY_MS;
        trouble_put(&why, &text);
        diag(DIAG_WARN, "kafka.waiting", KV_STR("why", buf_str(&text)), KV_STR("bootstrap", o->bootstrap), KV_U64("waited_ms", waited),
             KV_U64("wait_ms", o->connect_ms));
    }
    if (why.kind == TROUBLE_BROKER)
        why = trouble_make(TROUBLE_BROKER, "none of " STR_FMT " answered within %" PRIu64 " ms", STR_ARG(o->bootstrap), o->connect_ms);
    return trouble_err(&why, e);
}

/* What never changes: the cluster's id, and this start's random incarnation. */
static enum rc facts_learn(struct remote *r, const struct remote_options *o, struct err *e)
{
    uint8_t random[16];
    char *id;

    if (cluster_await(r, o, &id, e)) return e->rc;
    remote_up(r);
    trouble_gone();
    snprintf(r->bus.facts.cluster_id, sizeof r->bus.facts.cluster_id, "%s", id);
    r->k->rd_kafka_mem_free(r->admin->rk, id);
    random_bytes(random, sizeof random);
    for (size_t i = 0; i < sizeof random; i++)
        snprintf(r->bus.facts.incarnation + 2 * i, 3, "%02x", random[i]);
    return RC_OK;
}

/* ---- secrets ---- */

static void refresh(struct remote *r, rd_kafka_t *rk)
{
    struct err e;

    if (rk && access_refresh(r->access, rk, &e)) diag(DIAG_WARN, "kafka.credentials", KV_CSTR("error", e.text));
}

static void on_credentials(void *ctx)
{
    struct remote *r = ctx;

    gate_changed(&r->gate, clock_mono_ms(&clock_real));
    for (int i = 0; i < LANES_N; i++)
        if (r->senders[i]) refresh(r, r->senders[i]->rk);
    list_each(it, &r->retired) refresh(r, container_of(it, struct remote_sender, link)->rk);
    for (size_t i = 0; i < r->consumers_n; i++)
        refresh(r, r->consumers[i].rk);
    refresh(r, remote_member_client(r));
}

/* Clients read certificates when they are made. What cannot be used, such as a key without its certificate yet, changes nothing. */
static void on_certificates(void *ctx)
{
    struct remote *r = ctx;
    struct err e;

    if (r->closing) return;
    if (remote_senders_renew(r, &e)) {
        diag(DIAG_WARN, "kafka.credentials", KV_CSTR("kept", "the certificates in use"), KV_CSTR("error", e.text));
        return;
    }
    remote_readers_renew(r);
    remote_member_renew(r);
    diag(DIAG_INFO, "kafka.credentials", KV_CSTR("what", "clients with the new certificates take over"));
}

/* The API server, or the token's endpoint, may be away for a moment. */
static enum rc access_await(struct remote *r, const struct remote_options *o, struct err *e)
{
    const struct access_options a = {.security = o->security, .k = r->k, .bootstrap = o->bootstrap, .loop = r->loop, .workers = r->readers_of_secrets, .stop = &r->ending,
                                     .news = {on_credentials, on_certificates, r}};
    uint64_t until = clock_mono_ms(&clock_real) + o->connect_ms;

    while (access_open(&a, &r->access, e)) {
        if (!e->retry || clock_mono_ms(&clock_real) >= until) return e->rc;
        diag(DIAG_WARN, "kafka.waiting", KV_CSTR("why", e->text));
        for (int i = 0; i < SAY_EVERY_MS / LOOK_MS / 5; i++) {
            if (o->go_on && !o->go_on(o->ctx)) return err_set(e, RC_CANCELLED, "ended while waiting for the credentials of Kafka");
            nanosleep(&(struct timespec){.tv_nsec = LOOK_MS * 1000000}, NULL);
        }
    }
    return RC_OK;
}

static char *text_dup(struct str s)
{
    char *text = xcalloc(1, s.n + 1);

    if (s.n) memcpy(text, s.p, s.n);
    return text;
}

/* Without idempotent producers the first one, which is such a one, would fail with its first record. */
static enum rc at_least_once(struct remote *r, struct err *e)
{
    struct remote_sender *plain;

    if (remote_probe_idempotent(r)) return RC_OK;
    r->at_least_once = true;
    if (remote_sender_open(r, LANE_ALL, &plain, e)) return e->rc;
    list_push(&r->retired, &r->senders[LANE_ALL]->link); /* it goes on with administration */
    r->senders[LANE_ALL]->retired = true;
    r->senders[LANE_ALL] = plain;
    return RC_OK;
}

enum rc bus_remote_open(const struct remote_options *o, struct bus **ret, struct err *e)
{
    struct remote *r = xnew(struct remote);

    r->bus.ops = &remote_ops;
    pthread_mutex_init(&r->admin_lock, NULL);
    gate_init(&r->gate);
    r->bootstrap = text_dup(o->bootstrap);
    r->debug = text_dup(o->debug);
    r->replication = o->replication;
    atomic_init(&r->primes, 1);                  /* 0: never */
    r->produce_bytes_max = produce_max(o);
    r->metadata_propagation_ms = o->metadata_propagation_ms;
    r->session_timeout_ms = o->session_timeout_ms;
    list_init(&r->sending);
    list_init(&r->readers);
    list_init(&r->retired);
    for (int i = 0; i < LANES_N; i++) {
        list_init(&r->waiting[i]);
        list_init(&r->again[i]);
    }
    if (kafka_lib_get(&r->k, e)) goto fail;
    the_lib = r->k;
    if (loop_new(&clock_real, &r->loop, e) ||
        workers_new(2, &r->workers, e) || workers_new(1, &r->primers, e) || workers_new(1, &r->knockers, e))
        goto fail;
    confs_make(r, o);
    if (o->security && o->security->protocol != REMOTE_PLAINTEXT && (workers_new(1, &r->readers_of_secrets, e) || access_await(r, o, e))) goto fail;
    if (remote_sender_open(r, LANE_ALL, &r->senders[LANE_ALL], e)) goto fail;
    r->admin = r->senders[LANE_ALL];
    if (r->access) access_watch(r->access);
    if (facts_learn(r, o, e) || at_least_once(r, e)) goto fail;
    if (thread_start("mr-remote", remote_main, r, &r->thread, e)) goto fail;
    diag(DIAG_INFO, "kafka.connected", KV_STR("bootstrap", o->bootstrap),
         KV_CSTR("cluster", r->bus.facts.cluster_id),
         KV_CSTR("librdkafka", r->k->rd_kafka_version_str()));
    remote_probe_start(r);
    *ret = &r->bus;
    return RC_OK;
fail:
    remote_free(r);
    return e->rc;
}
