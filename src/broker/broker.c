/* The broker's life: opening, turns, going down.
 *
 * Open: settings, then the store (which replays its wal and hands back the metadata records), then groups, then transactions. A turn, in an
 * order that is the durability promise: what was put off begins, parked fetches are looked at, what was staged goes to the
 * wal as one group, answers leave that the wal covers already.   SPDX-License-Identifier: Apache-2.0
 */
#include "base/diag.h"
#include "broker/api.h"
#include "broker/client_metrics.h"
#include "broker/group_config.h"
#include "broker/fetch.h"
#include "broker/groups.h"
#include "kafka/compress.h"
#include "sys/worker.h"

#include <poll.h>
#include <stdio.h>

enum { RESUMES_PER_TURN_MAX = 4, RETENTION_LOGS_PER_TURN = 256 };

/* ---- turns ---- */

static void on_again(struct msg *m)
{
    container_of(m, struct broker, again)->again_posted = false;
}

void broker_again(struct broker *b)
{
    if (b->again_posted || b->in_turn) return;
    b->again_posted = true;
    b->again.run = on_again;
    mailbox_post(b->mailbox, &b->again);
}

static void on_store_due(struct timer *t)
{
    (void)t; /* the turn that follows is what was wanted */
}

static void resume_all(struct broker *b)
{
    struct list now, *it;

    if (!list_empty(&b->conns_short) && !memory_is_short(b))
        while ((it = list_pop(&b->conns_short)))
            list_push(&b->conns_resume, it);
    if (!list_empty(&b->conns_short)) b->memory_wanted = true;
    if (!list_empty(&b->conns_room) && (b->fatal || store_has_room(b->store, LOG_BATCH_INLINE_MAX)))
        while ((it = list_pop(&b->conns_room)))
            list_push(&b->conns_resume, it);
    list_init(&now);
    while ((it = list_pop(&b->conns_resume)))
        list_push(&now, it);
    while ((it = list_pop(&now))) {
        struct broker_conn *c = container_of(it, struct broker_conn, resume_link);

        if (c->waits && !c->closing) c->ops->resume(c);
    }
}

/* Something came up too late for this turn: memory given back by an answer, partitions that moved while it ended. */
static bool is_left_over(const struct broker *b)
{
    return !list_empty(&b->conns_resume) || !list_empty(&b->reads_ready) ||
           !list_empty(&b->watches_ready) || !list_empty(&b->appends_done) ||
           !list_empty(&b->fetches_woken) || (!list_empty(&b->conns_short) && !memory_is_short(b));
}

void broker_turn(struct broker *b)
{
    b->in_turn = true;
    for (int i = 0; i < RESUMES_PER_TURN_MAX && (i == 0 || !list_empty(&b->conns_resume)); i++) {
        produces_turn(b);
        resume_all(b);
        fetches_turn(b);
        reads_turn(b);
        appends_turn(b);
    }
    store_turn_end(b->store);
    waits_turn(b);
    replies_release(b);
    b->in_turn = false;
    if (is_left_over(b)) broker_again(b);
    if (store_next_ms(b->store) != UINT64_MAX)
        timer_set(b->timers, &b->store_timer, store_next_ms(b->store), on_store_due);
    else
        timer_cancel(b->timers, &b->store_timer);
}

static void on_turn(struct turn_hook *h)
{
    broker_turn(container_of(h, struct broker, hook));
}

/* ---- waits ---- */

void broker_wait_start(struct broker *b, struct broker_wait *w, uint64_t seq)
{
    w->seq = seq;
    w->rc = RC_OK;
    list_push(&b->waits, &w->link);
    if (seq <= store_durable_seq(b->store)) broker_again(b);
}

void broker_wait_cancel(struct broker_wait *w)
{
    list_remove(&w->link);
}

void waits_turn(struct broker *b)
{
    uint64_t durable = store_durable_seq(b->store);
    struct list now, *it;

    list_init(&now);
    list_each_safe(at, &b->waits)
    {
        struct broker_wait *w = container_of(at, struct broker_wait, link);

        if (w->seq > durable && !b->fatal) continue;
        w->rc = w->seq > durable ? RC_FATAL : RC_OK;
        list_remove(at);
        list_push(&now, at);
    }
    while ((it = list_pop(&now))) {
        struct broker_wait *w = container_of(it, struct broker_wait, link);

        w->done(w);
    }
}

/* ---- the store speaks ---- */

void partition_moved(struct partition *p)
{
    fetches_moved(p);
    reads_moved(p);
}

void partition_gone(struct partition *p)
{
    struct err why;

    err_set(&why, RC_NOT_FOUND, "the topic " STR_FMT " was deleted", STR_ARG(p->topic->name));
    fetches_gone(p);
    reads_gone(p, &why);
    appends_gone(p);
    produces_gone(p);
}

static void on_advanced(void *ctx, struct log *log)
{
    struct partition *p = log_owner(log);

    (void)ctx;
    if (p) partition_moved(p);
}

static void on_fatal(void *ctx, const struct err *why)
{
    struct broker *b = ctx;

    b->fatal = true;
    snprintf(b->fatal_text, sizeof b->fatal_text, "the log has stopped until a restart: %s",
             why->text);
    diag(DIAG_ERROR, "broker.log_stopped", KV_CSTR("why", why->text));
    requests_fatal(b);
    broker_again(b);
}

/* ---- housekeeping: retention, compaction, idle producers ---- */

/* Visits some logs and comes back: a broker with ten thousand topics must not stand still for it. */
static bool sweep(struct broker *b, struct sweep *s,
                  void (*visit)(struct broker *b, struct log *log))
{
    struct topic *t = s->topic[0] ? broker_topic(b, str_of(s->topic)) : broker_topic_next(b, NULL);
    unsigned n = 0;

    if (!t && s->topic[0]) t = broker_topic_after(b, str_of(s->topic));
    for (; t; t = broker_topic_next(b, t), s->partition = 0) {
        for (; s->partition < t->partitions_n; s->partition++) {
            struct log *log = store_log_find(b->store, &t->id, (uint32_t)s->partition);

            if (!log) continue;
            if (n++ == RETENTION_LOGS_PER_TURN) {
                memcpy(s->topic, t->name.p, t->name.n + 1);
                return false;
            }
            visit(b, partition_log(topic_partition(t, s->partition)));
        }
    }
    memset(s, 0, sizeof *s);
    return true;
}

static void visit_retention(struct broker *b, struct log *log)
{
    struct err e;
    bool changed = true;

    while (changed)
        if (log_retain(log, broker_age_ms(b), &changed, &e)) {
            diag(DIAG_WARN, "broker.retention_failed", KV_STR("topic", log_topic(log)),
                 KV_U64("partition", log_partition(log)), KV_CSTR("why", e.text));
            return;
        }
}

static void visit_compaction(struct broker *b, struct log *log)
{
    struct partition *p = log_owner(log);

    if (p && (p->topic->config.log.cleanup & LOG_CLEANUP_COMPACT))
        (void)log_compact(log, broker_age_ms(b));
}

static void visit_producers(struct broker *b, struct log *log)
{
    log_producers_expire(log, broker_age_ms(b), b->config.producer_id_expiration_ms);
}

static void on_retention(struct timer *t)
{
    struct broker *b = container_of(t, struct broker, retention_timer);
    bool all = sweep(b, &b->retention_sweep, visit_retention);

    timer_set(b->timers, t,
              broker_now_ms(b) + (all ? (uint64_t)b->config.retention_check_interval_ms : 1),
              on_retention);
}

static void on_compaction(struct timer *t)
{
    struct broker *b = container_of(t, struct broker, compaction_timer);
    double speed = b->config.cleaner_bytes_per_second;
    bool all;

    store_cleaner_limits(b->store, (uint64_t)b->config.cleaner_keys_bytes,
                         speed < 1e15 ? (uint64_t)MAX(speed, 1.0) : 0);
    all = sweep(b, &b->compaction_sweep, visit_compaction);

    timer_set(b->timers, t,
              broker_now_ms(b) +
                  (all ? MAX((uint64_t)b->config.cleaner_backoff_ms, (uint64_t)100) : 1),
              on_compaction);
}

static void on_producers(struct timer *t)
{
    struct broker *b = container_of(t, struct broker, producers_timer);
    bool all = sweep(b, &b->producers_sweep, visit_producers);

    timer_set(b->timers, t,
              broker_now_ms(b) +
                  (all ? (uint64_t)b->config.producer_id_expiration_check_interval_ms : 1),
              on_producers);
}

static void housekeeping_start(struct broker *b)
{
    (void)broker_age_ms(b); /* what it shows now is believed */
    timer_set(b->timers, &b->retention_timer,
              broker_now_ms(b) + (uint64_t)b->config.retention_check_interval_ms, on_retention);
    timer_set(b->timers, &b->compaction_timer,
              broker_now_ms(b) + (uint64_t)b->config.cleaner_backoff_ms, on_compaction);
    timer_set(b->timers, &b->producers_timer,
              broker_now_ms(b) + (uint64_t)b->config.producer_id_expiration_check_interval_ms,
              on_producers);
}

/* ---- opening ---- */

enum rc broker_setting_check(struct str name, struct str value, struct err *e)
{
    enum rc rc = broker_config_check(CONFIG_SOURCE_STATIC, name, value, e);

    return rc == RC_NOT_FOUND ? (e->rc = RC_INVALID) : rc;
}

static enum rc settings_take(struct broker *b, const struct broker_options *opt, struct err *e)
{
    broker_config_init(&b->config);
    for (size_t i = 0; i < opt->settings_n; i++)
        if (broker_config_set(&b->config, CONFIG_SOURCE_STATIC, opt->settings[i].name,
                              opt->settings[i].value, e)) {
            e->rc = RC_INVALID;
            return err_in(e, "broker.config");
        }
    return RC_OK;
}

static void facts_note(struct broker *b, const struct broker_options *opt)
{
    char text[16];

    snprintf(text, sizeof text, "%d", b->opt.node_id);
    broker_config_note(&b->config, "node.id", str_of(text));
    broker_config_note(&b->config, "broker.id", str_of(text));
    broker_config_note(&b->config, "log.dir", str_of(b->opt.dir));
    broker_config_note(&b->config, "log.dirs", str_of(b->opt.dir));
    if (opt->oauth.jwks.n)
        broker_config_note(&b->config, "sasl.oauthbearer.jwks.endpoint.url", opt->oauth.jwks);
    if (opt->oauth.issuer.n)
        broker_config_note(&b->config, "sasl.oauthbearer.expected.issuer", opt->oauth.issuer);
    if (opt->oauth.audience.n)
        broker_config_note(&b->config, "sasl.oauthbearer.expected.audience", opt->oauth.audience);
    if (b->acls.on)
        broker_config_note(&b->config, "authorizer.class.name", STR("org.apache.kafka.metadata.authorizer.StandardAuthorizer"));
}

static void options_take(struct broker *b, const struct broker_options *opt)
{
    b->opt = *opt;
    b->opt.settings = NULL;
    b->opt.dir = xstrdup(opt->dir);
    if (!b->opt.node_id) b->opt.node_id = 1;
    if (!b->opt.connections_max) b->opt.connections_max = 20000;
    if (!b->opt.topics_max) b->opt.topics_max = 100000;
    b->memory_max = opt->memory_max ? opt->memory_max : (uint64_t)256 << 20;
    b->loop = opt->loop;
    b->clock = opt->loop ? loop_clock(opt->loop) : opt->clock;
    b->mailbox = opt->loop ? loop_mailbox(opt->loop) : opt->mailbox;
    b->timers = opt->loop ? loop_timers(opt->loop) : opt->timers;
}

static void security_take(struct broker *b, const struct broker_options *opt)
{
    b->acls.on = opt->acls;
    b->acls.allow_everyone = opt->allow_everyone_if_no_acl;
    for (size_t i = 0; i < opt->super_users_n; i++)
        acls_super_add(&b->acls, opt->super_users[i]);
    b->opt.super_users = NULL;
    if (opt->oauth.jwks.n) b->oauth = oauth_new(&opt->oauth);
    b->opt.oauth = (struct oauth_options){0};
    random_bytes(b->login_secret, sizeof b->login_secret);
    b->login_failures = strikes_new();
}

static void lists_init(struct broker *b)
{
    list_init(&b->hook.link);
    list_init(&b->listeners);
    list_init(&b->conns);
    list_init(&b->conns_ready);
    list_init(&b->conns_resume);
    list_init(&b->conns_room);
    list_init(&b->conns_short);
    list_init(&b->waits);
    list_init(&b->group_waits);
    list_init(&b->appends);
    list_init(&b->partitions_held);
    list_init(&b->appends_done);
    list_init(&b->produces_large);
    list_init(&b->produces_held);
    list_init(&b->old_fetches_held);
    list_init(&b->fetches_woken);
    list_init(&b->reads_ready);
    list_init(&b->watches_ready);
    list_init(&b->telemetry_ages);
}

static bool drop_orphan(void *ctx, struct log *log)
{
    struct broker *b = ctx;
    struct topic *t = topic_by_id(b, log_topic_id(log));
    uint64_t seq;
    struct err e;

    if (t && (int64_t)log_partition(log) < t->partitions_n) return true;
    diag(DIAG_WARN, "broker.log_without_topic", KV_STR("topic", log_topic(log)),
         KV_U64("partition", log_partition(log)));
    if (store_log_delete(b->store, &log, &seq, &e))
        diag(DIAG_WARN, "broker.log_not_deleted", KV_CSTR("why", e.text));
    b->orphans++;
    return false; /* the walk is over after a deletion: begin again */
}

static enum rc open_store(struct broker *b, struct err *e)
{
    struct store_options so = {.dir = b->opt.dir,
                               .fs = b->opt.fs,
                               .clock = b->clock,
                               .workers = b->opt.workers,
                               .mailbox = b->mailbox,
                               .wal_bytes_max = b->opt.wal_bytes_max,
                               .ctx = b,
                               .meta_apply = topics_meta_apply,
                               .meta_snapshot = topics_meta_snapshot,
                               .advanced = on_advanced,
                               .fatal = on_fatal};
    struct uuid id;
    uint32_t before;

    if (store_open(&so, &b->store, e))
        return err_in(e,
                      e->rc == RC_CORRUPT
                          ? "open %s (`millrace log verify --data` says what is affected)"
                          : "open %s",
                      b->opt.dir);
    memcpy(id.b, store_folder_id(b->store).p, sizeof id.b);
    uuid_to_text(&id, b->cluster_id);
    for (size_t i = 0; i < b->topics_n; i++)
        topic_config_resolve(&b->topics_sorted[i]->config, &b->config);
    do {
        before = b->orphans;
        store_logs_each(b->store, drop_orphan, b);
    } while (b->orphans != before);
    return RC_OK;
}

enum rc broker_new(const struct broker_options *opt, struct broker **ret, struct err *e)
{
    struct broker *b = xnew(struct broker);
    enum rc rc;

    options_take(b, opt);
    security_take(b, opt);
    lists_init(b);
    rng_init(&b->rng, process_seed());
    if ((rc = settings_take(b, opt, e))) goto fail;
    facts_note(b, opt);
    if ((rc = open_store(b, e))) goto fail;
    b->codecs = codecs_new();
    b->sessions = fetch_sessions_new((size_t)b->config.fetch_session_slots);
    if ((rc = groups_new(b, &b->groups, e)) || (rc = txns_new(b, &b->txns, e))) goto fail;
    housekeeping_start(b);
    if (b->loop) {
        b->hook.turn = on_turn;
        loop_hook(b->loop, &b->hook);
    }
    *ret = b;
    return RC_OK;
fail:
    (void)broker_abandon(b);
    return rc;
}

/* ---- the way down ---- */

void broker_drain(struct broker *b)
{
    if (b->draining) return;
    b->draining = true;
    list_each_safe(it, &b->listeners)
    {
        struct broker_listener *l = container_of(it, struct broker_listener, link);

        if (l->stop) l->stop(l);
    }
    fetches_drain(b);
    groups_drain(b->groups);
    broker_again(b);
}

/* What is parked (a member that waits for its group) is not waited for: its client asks again elsewhere, or later. */
bool broker_is_drained(const struct broker *b)
{
    if (!list_empty(&b->appends) || !list_empty(&b->appends_done) || !list_empty(&b->waits) ||
        b->jobs_n)
        return false;
    list_each(it, &b->conns)
    {
        const struct broker_conn *c = container_of(it, struct broker_conn, link);

        if (c->replies_n || c->requests_n > (c->parked ? 1u : 0u)) return false;
    }
    return true;
}

/* Workers are still at something of ours: their answers come by mailbox. */
static void wait_for_jobs(struct broker *b)
{
    while (b->jobs_n) {
        struct pollfd p = {.fd = mailbox_fd(b->mailbox), .events = POLLIN};

        if (!workers_run_one(b->opt.workers) && !mailbox_pending(b->mailbox))
            (void)poll(&p, 1, 100);
        mailbox_drain(b->mailbox);
    }
}

static void timers_stop(struct broker *b)
{
    timer_cancel(b->timers, &b->store_timer);
    timer_cancel(b->timers, &b->retention_timer);
    timer_cancel(b->timers, &b->compaction_timer);
    timer_cancel(b->timers, &b->producers_timer);
    loop_unhook(&b->hook);
}

static void close_connections(struct broker *b)
{
    while (!list_empty(&b->listeners)) {
        struct broker_listener *l = container_of(b->listeners.next, struct broker_listener, link);

        list_remove(&l->link);
        if (l->close)
            l->close(l);
        else
            broker_listener_delete(l);
    }
    must(list_empty(&b->conns)); /* transports that are not ours end theirs before */
}

static struct broker *delete (struct broker *b)
{
    requests_fini(b);
    b->txns = txns_free(b->txns);
    b->groups = groups_free(b->groups);
    group_waits_free(b);
    fetch_sessions_free(b->sessions);
    codecs_free(b->codecs);
    buf_fini(&b->scratch);
    topics_fini(b);
    quotas_fini(&b->quotas);
    acls_fini(&b->acls);
    users_fini(&b->users);
    strikes_free(b->login_failures);
    troubles_fini(b);
    b->oauth = oauth_free(b->oauth);
    client_metrics_fini(&b->client_metrics);
    group_config_fini(&b->group_configs);
    telemetry_fini(b);
    broker_config_fini(&b->config);
    while (b->again_posted)
        mailbox_drain(b->mailbox);
    free((char *)(uintptr_t)b->opt.dir);
    free(b);
    return NULL;
}

struct broker *broker_free(struct broker *b)
{
    if (!b) return NULL;
    b->draining = true;
    if (b->store) {
        wait_for_jobs(b);
        store_turn_end(b->store);
        close_connections(b);
        appends_cancel(b);
        reads_cancel(b);
        timers_stop(b);
        b->store = store_close(b->store);
    }
    return delete (b);
}

struct broker *broker_abandon(struct broker *b)
{
    if (!b) return NULL;
    b->draining = true;
    if (b->store) {
        wait_for_jobs(b);
        close_connections(b);
        appends_cancel(b);
        reads_cancel(b);
        b->store = store_abandon(b->store);
    }
    timers_stop(b);
    return delete (b);
}

/* ---- facts ---- */

struct groups *broker_groups(struct broker *b)
{
    return b->groups;
}
struct mailbox *broker_mailbox(struct broker *b)
{
    return b->mailbox;
}
struct str broker_cluster_id(const struct broker *b)
{
    return str_of(b->cluster_id);
}
uint32_t broker_start_number(const struct broker *b)
{
    return store_start_number(b->store);
}

bool broker_is_ready(struct broker *b, struct str *ret_why)
{
    *ret_why = (struct str){0};
    if (b->fatal)
        *ret_why = str_of(b->fatal_text);
    else if (store_disk_is_full(b->store))
        *ret_why =
            STR("the disk is nearly full: only outcomes, offsets and metadata are still taken");
    else if (b->draining)
        *ret_why = STR("the broker is going down");
    return !ret_why->p;
}
