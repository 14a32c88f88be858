/* control/control.c - the life of the desired state on its loop.
 *
 * Start: make sure of the topic, look at its settings, read it to its end, publish the first snapshot, follow. A watch
 * only tells that something is new; what is read and in which order is decided by one pump that fetches from next_offset
 * on, so our own records and those of other replicas take the same way. One apply or delete is under way at a time; its
 * caller is answered when its records have come back through the pump and every executor uses the snapshot made of them.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/diag.h"
#include "control/core.h"
#include <inttypes.h>

enum { RETRY_MS = 1000, ASK_MS = 10000, CLEARED_MS = 30000, TICK_MS = 200, DESCRIBE_TRIES = 10 };

static void state_set(struct control *c, enum control_state s)
{
    c->state = s;
    atomic_store(&c->seen, s);
}

bool control_ready(const struct control *c, struct str *ret_why)
{
    switch (atomic_load(&c->seen)) {
    case CONTROL_RUNNING: return true;
    case CONTROL_STARTING: *ret_why = STR("the resources are not read yet"); break;
    case CONTROL_FAILED: *ret_why = STR("the store of resources cannot be used"); break;
    case CONTROL_STOPPING: *ret_why = STR("this process is ending"); break;
    }
    return false;
}

/* ---- calls ---- */

static void answered(struct msg *m)
{
    struct control_call *call = container_of(m, struct control_call, msg);
    call->done(call);
}

void control_answer(struct control *c, struct control_call *call)
{
    (void)c;
    call->msg.run = answered;
    mailbox_post(call->reply_to, &call->msg);
}

void control_refuse(struct control *c, struct control_call *call, enum rc rc, const char *fmt, ...)
{
    AUTO(buf_fini) struct buf text = {0};
    va_list ap;

    va_start(ap, fmt);
    buf_vprintf(&text, fmt, ap);
    va_end(ap);
    err_set(&call->err, rc, STR_FMT, STR_ARG(buf_str(&text)));
    control_answer(c, call);
}

static void ticked(struct timer *t);

static void next_mutation(struct control *c)
{
    while (!c->mutation && c->state == CONTROL_RUNNING) {
        struct list *l = list_pop(&c->waiting);
        if (!l) return;
        struct control_call *call = container_of(l, struct control_call, link);
        c->calls_n--;
        control_mutate(c, call);
    }
}

static void arrived(struct msg *m)
{
    struct control_call *call = container_of(m, struct control_call, msg);
    struct control *c = call->control;
    struct str why;

    if (c->state != CONTROL_RUNNING && call->what != CONTROL_INFO) {
        control_ready(c, &why);
        control_refuse(c, call, RC_UNAVAILABLE, STR_FMT, STR_ARG(why));
        return;
    }
    switch (call->what) {
    case CONTROL_APPLY:
    case CONTROL_CHECK:
    case CONTROL_DELETE:
    case CONTROL_CLEARED:
        if (call->what == CONTROL_CLEARED) call->deadline_ms = loop_now_ms(c->o.loop) + CLEARED_MS;
        if (c->calls_n >= CALLS_MAX && call->what != CONTROL_CLEARED) {
            control_refuse(c, call, RC_OVERLOAD, "%d changes are waiting already", CALLS_MAX);
            return;
        }
        list_push(&c->waiting, &call->link);
        c->calls_n++;
        if (!timer_is_set(&c->tick)) loop_timer(c->o.loop, &c->tick, TICK_MS, ticked);
        next_mutation(c);
        break;
    case CONTROL_LIST: control_list(c, call); break;
    case CONTROL_GET: control_get(c, call); break;
    case CONTROL_INFO: control_info(c, call); break;
    case CONTROL_TOPICS:
    case CONTROL_RECORDS:
    case CONTROL_TRACE:
    case CONTROL_INSPECT: control_browse(c, call); break;
    }
}

void control_call(struct control *c, struct control_call *call)
{
    call->control = c;
    call->err = (struct err){0};
    call->json = (struct buf){0};
    call->items = NULL;
    call->items_n = 0;
    list_init(&call->link);
    call->msg.run = arrived;
    mailbox_post(loop_mailbox(c->o.loop), &call->msg);
}

struct cleared { struct control_call call; struct arena arena; };

/* Not stored: the next start clears again, and finds nothing. */
static void cleared_done(struct control_call *call)
{
    struct cleared *k = container_of(call, struct cleared, call);

    control_call_fini(call);
    arena_fini(&k->arena);
    free(k);
}

void control_cleared(struct control *c, bool model, struct str name)
{
    struct cleared *k = xnew(struct cleared);

    k->call = (struct control_call){.what = CONTROL_CLEARED, .kind = str_of(resource_kind_name(model ? RESOURCE_MODEL : RESOURCE_PIPELINE)),
                                    .name = arena_dup_str(&k->arena, name), .reply_to = loop_mailbox(c->o.loop), .done = cleared_done};
    control_call(c, &k->call);
}

struct bus *control_bus(const struct control *c)
{
    return c->o.bus;
}

void control_call_fini(struct control_call *call)
{
    for (size_t i = 0; i < call->items_n; i++)
        buf_fini(&call->items[i].json);
    free(call->items);
    call->items = NULL;
    call->items_n = 0;
    buf_fini(&call->json);
}

/* ---- publishing ---- */

static void stored_answer(struct control *c)
{
    list_each_safe(it, &c->stored)
    {
        struct control_call *call = container_of(it, struct control_call, link);
        if ((int64_t)(intptr_t)call->priv > c->taken_offset) continue;
        list_remove(it);
        c->calls_n--;
        control_answer(c, call);
    }
}

static void taken_run(struct msg *m)
{
    struct control *c = container_of(m, struct control, taken);

    c->publish_under_way = false;
    c->taken_offset = c->publishing_offset;
    stored_answer(c);
    if (c->state == CONTROL_STARTING) control_started(c, NULL);
    if (c->publish_pending) control_publish(c);
    control_settle(c);
}

void control_publish(struct control *c)
{
    struct resource **list;
    size_t n;

    if (c->publish_under_way || c->state == CONTROL_STOPPING || c->state == CONTROL_FAILED) return;
    c->publish_pending = false;
    c->publish_under_way = true;
    c->publishing_offset = c->next_offset;
    list = control_sorted(c, &n);
    c->taken.run = taken_run;
    flow_snapshot_unref(&c->snapshot);
    c->snapshot = snapshot_of(list, n, c->o.record, ++c->number);
    gone_fill(c, c->snapshot);
    free(list);
    c->o.publish(c->o.ctx, flow_snapshot_ref(c->snapshot), &c->taken);
}

static void mutation_end(struct control *c)
{
    buf_fini(&c->mutation->answer);
    arena_fini(&c->mutation->arena);
    free(c->mutation);
    c->mutation = NULL;
}

static void late(struct control *c, struct list *calls, uint64_t now_ms, const char *why)
{
    list_each_safe(it, calls)
    {
        struct control_call *call = container_of(it, struct control_call, link);
        if (call->deadline_ms > now_ms) continue;
        list_remove(it);
        c->calls_n--;
        buf_fini(&call->json);
        control_refuse(c, call, RC_TIMEOUT, "%s", why);
    }
}

/* Whose deadline has passed is told how far the change got. */
static void ticked(struct timer *t)
{
    struct control *c = container_of(t, struct control, tick);
    struct mutation *m = c->mutation;
    uint64_t now_ms = loop_now_ms(c->o.loop);

    late(c, &c->stored, now_ms, "stored, but not every executor uses it yet");
    late(c, &c->waiting, now_ms, "other changes took too long; this one was not stored");
    if (m && m->offset_last >= 0 && m->call->deadline_ms <= now_ms) {
        control_refuse(c, m->call, RC_TIMEOUT, "stored, but not read back yet");
        mutation_end(c);
        next_mutation(c);
    }
    if (c->calls_n || c->mutation) loop_timer(c->o.loop, &c->tick, TICK_MS, ticked);
}

void control_advance(struct control *c)
{
    struct mutation *m = c->mutation;

    if (m && m->offset_last >= 0 && m->offset_last < c->next_offset) {
        struct control_call *call = m->call;
        call->json = buf_take(&m->answer);
        call->priv = (void *)(intptr_t)(m->offset_last + 1);
        list_push(&c->stored, &call->link);
        c->calls_n++;
        mutation_end(c);
        stored_answer(
            c); /* its records may be read back, and in use, before its append is acknowledged */
    }
    if (c->publish_pending) control_publish(c);
    next_mutation(c);
}

/* ---- the topic ---- */

void control_failed(struct control *c, const struct err *e)
{
    state_set(c, CONTROL_FAILED);
    diag(DIAG_ERROR, "control.failed", KV_STR("topic", c->topic), KV_CSTR("why", e->text));
    control_started(c, e);
}

void control_started(struct control *c, const struct err *e)
{
    static const struct err fine;

    if (c->started_said) return;
    c->started_said = true;
    if (!e) {
        state_set(c, CONTROL_RUNNING);
        diag(DIAG_INFO, "control.started", KV_U64("resources", c->by_key.n),
             KV_I64("offset", c->next_offset));
    }
    c->o.started(c->o.ctx, e ? e : &fine);
}

static bool is_passing(enum rc rc)
{
    return rc == RC_UNAVAILABLE || rc == RC_TIMEOUT || rc == RC_OVERLOAD || rc == RC_IO;
}

static void ensure_topic(struct control *c);

static void retried(struct timer *t)
{
    struct control *c = container_of(t, struct control, retry);

    if (c->state == CONTROL_STARTING && c->next_offset < 0)
        ensure_topic(c);
    else
        control_pump(c);
}

static void retry_later(struct control *c, const char *what, const struct err *e)
{
    diag(DIAG_WARN, "control.retry", KV_CSTR("what", what), KV_STR("topic", c->topic),
         KV_CSTR("why", e->text));
    loop_timer(c->o.loop, &c->retry, RETRY_MS, retried);
}

static void watch_done(struct bus_op *op)
{
    struct control *c = container_of(op, struct control, watch.op);

    c->watching = false;
    if (c->state != CONTROL_STOPPING) retry_later(c, "watch", &op->err);
    control_settle(c);
}

static void something_new(struct bus_watch *w, const struct bus_record *records, size_t n,
                          int64_t next_offset)
{
    struct control *c = container_of(w, struct control, watch);

    (void)records, (void)n, (void)next_offset;
    control_pump(c);
    bus_watch_more(c->o.bus, w);
}

static void follow(struct control *c)
{
    if (c->watching || c->state == CONTROL_STOPPING) return;
    c->watching = true;
    c->watch = (struct bus_watch){.op = {.reply_to = loop_mailbox(c->o.loop), .done = watch_done},
                                  .topic = c->topic,
                                  .partition = 0,
                                  .offset = c->next_offset,
                                  .records = something_new};
    bus_watch(c->o.bus, &c->watch);
}

static void fetched(struct bus_op *op)
{
    struct control *c = container_of(op, struct control, fetch.op);
    struct bus_fetch *f = &c->fetch;
    bool at_end = false;

    c->fetching = false;
    if (c->state != CONTROL_STOPPING && op->err.rc == RC_OK) {
        for (size_t i = 0; i < f->records_n; i++) {
            const struct bus_record *r = &f->records[i];
            if (r->offset < c->next_offset || !r->key.p) continue;
            control_record(c, bytes_str(r->key), bytes_str(r->value), r->value.p == NULL, r->offset,
                           r->timestamp_ms);
        }
        c->next_offset = MAX(f->next_offset, c->next_offset);
        at_end = c->next_offset >= f->end_offset;
    }
    bus_fetch_fini(f);
    if (c->state == CONTROL_STOPPING) {
        control_settle(c);
    } else if (op->err.rc) {
        retry_later(c, "read", &op->err);
    } else if (!at_end || c->fetch_again ||
               (c->mutation && c->mutation->offset_last >= c->next_offset)) {
        control_pump(c);
    } else if (c->state == CONTROL_STARTING) {
        c->publish_pending = true;
        follow(c);
        control_publish(c);
        return;
    } else if (!c->watching) {
        follow(c);
    }
    if (c->state == CONTROL_RUNNING) control_advance(c);
}

void control_pump(struct control *c)
{
    bool awaited = c->mutation && c->mutation->offset_last >= c->next_offset;

    if (c->state == CONTROL_STOPPING || c->state == CONTROL_FAILED || c->o.store_file) return;
    c->fetch_again = c->fetching;
    if (c->fetching) return;
    c->fetching = true;
    c->fetch = (struct bus_fetch){.op = {.reply_to = loop_mailbox(c->o.loop),
                                         .done = fetched,
                                         .deadline_ms = loop_now_ms(c->o.loop) + ASK_MS},
                                  .topic = c->topic,
                                  .partition = 0,
                                  .offset = c->next_offset < 0 ? -1 : c->next_offset,
                                  .size_max = RECORDS_BYTES,
                                  .wait_ms = awaited ? TICK_MS : 0};
    bus_fetch(c->o.bus, &c->fetch);
}

static void topic_check(struct control *c)
{
    const struct bus_topic *t = &c->ensure;
    struct err e = {0};

    if (t->partitions == 0) {
        if (++c->tries < DESCRIBE_TRIES) {
            err_set(&e, RC_UNAVAILABLE, "the topic is not there yet");
            retry_later(c, "describe", &e);
            return;
        }
        err_set(&e, RC_NOT_FOUND,
                "topic " STR_FMT " is missing and could not be created; create it with one "
                                 "partition and cleanup.policy=compact, or let this user create it",
                STR_ARG(c->topic));
    } else if (t->partitions != 1) {
        err_set(&e, RC_INVALID,
                "topic " STR_FMT " has %" PRId32
                " partitions; resources need a topic of one partition: delete it, it is made anew",
                STR_ARG(c->topic), t->partitions);
    } else if (strcmp(t->cleanup_policy, "compact")) {
        err_set(&e, RC_INVALID,
                "topic " STR_FMT " has cleanup.policy=%s, so resources would be lost after a "
                                 "while; set it to compact:  kafka-configs.sh "
                "--bootstrap-server HOST:PORT --alter --entity-type topics --entity-name " STR_FMT
                " --add-config cleanup.policy=compact  (or use "
                "control.store: file)",
                STR_ARG(c->topic), t->cleanup_policy, STR_ARG(c->topic));
    } else {
        control_pump(c);
        return;
    }
    control_failed(c, &e);
}

static void topic_answered(struct bus_op *op)
{
    struct control *c = container_of(op, struct control, ensure.op);

    c->topic_busy = false;
    if (c->state != CONTROL_STOPPING) {
        if (op->err.rc && is_passing(op->err.rc))
            retry_later(c, "describe", &op->err);
        else if (op->err.rc)
            control_failed(c, &op->err);
        else
            topic_check(c);
    }
    bus_topic_fini(&c->ensure);
    control_settle(c);
}

static void describe_topic(struct control *c)
{
    c->topic_busy = true;
    c->ensure = (struct bus_topic){.op = {.reply_to = loop_mailbox(c->o.loop),
                                          .done = topic_answered,
                                          .deadline_ms = loop_now_ms(c->o.loop) + ASK_MS},
                                   .topic = c->topic};
    bus_topic_describe(c->o.bus, &c->ensure);
}

/* Without the right to create, a topic that is there is used; describe decides. */
static void topic_ensured(struct bus_op *op)
{
    struct control *c = container_of(op, struct control, ensure.op);
    enum rc rc = op->err.rc;

    c->topic_busy = false;
    bus_topic_fini(&c->ensure);
    if (c->state == CONTROL_STOPPING)
        control_settle(c);
    else if (rc && is_passing(rc))
        retry_later(c, "create", &op->err);
    else
        describe_topic(c);
}

static void ensure_topic(struct control *c)
{
    static const struct bus_config compact = {STR("cleanup.policy"), STR("compact")};

    c->topic_busy = true;
    c->ensure = (struct bus_topic){.op = {.reply_to = loop_mailbox(c->o.loop),
                                          .done = topic_ensured,
                                          .deadline_ms = loop_now_ms(c->o.loop) + ASK_MS},
                                   .topic = c->topic,
                                   .partitions = 1,
                                   .replication = c->o.replication,
                                   .configs = &compact,
                                   .configs_n = 1};
    bus_topic_ensure(c->o.bus, &c->ensure);
}

/* ---- begin and end ---- */

static void begin(struct timer *t)
{
    struct control *c = container_of(t, struct control, retry);

    if (c->o.store_file)
        filestore_load(c);
    else
        ensure_topic(c);
}

struct control *control_new(const struct control_options *o)
{
    struct control *c = xnew(struct control);

    c->o = *o;
    c->topic = arena_printf(&c->arena, STR_FMT "." STR_FMT ".control.resources",
                            STR_ARG(o->topic_prefix), STR_ARG(o->topic_namespace));
    c->next_offset = -1;
    c->taken_offset = -1;
    list_init(&c->waiting);
    list_init(&c->stored);
    state_set(c, CONTROL_STARTING);
    loop_timer(o->loop, &c->retry, 0, begin);
    return c;
}

static void cancel_all(struct control *c, struct list *calls)
{
    for (struct list *l; (l = list_pop(calls));) {
        struct control_call *call = container_of(l, struct control_call, link);
        c->calls_n--;
        buf_fini(&call->json);
        control_refuse(c, call, RC_CANCELLED, "this process is ending");
    }
}

void control_stop(struct control *c, void (*stopped)(void *ctx), void *ctx)
{
    state_set(c, CONTROL_STOPPING);
    c->stopped = stopped;
    c->stopped_ctx = ctx;
    timer_cancel(loop_timers(c->o.loop), &c->retry);
    timer_cancel(loop_timers(c->o.loop), &c->tick);
    cancel_all(c, &c->waiting);
    cancel_all(c, &c->stored);
    if (c->watching) bus_watch_stop(c->o.bus, &c->watch);
    control_settle(c);
}

void control_settle(struct control *c)
{
    size_t at = 0;
    void *r;

    if (c->state != CONTROL_STOPPING || c->topic_busy || c->fetching || c->watching ||
        c->appending || c->saving || c->publish_under_way || c->browsing)
        return;
    if (c->mutation) {
        control_refuse(c, c->mutation->call, RC_CANCELLED,
                       "this process is ending; whether the change is stored is not known");
        mutation_end(c);
    }
    while (map_next(&c->by_key, &at, NULL, &r))
        resource_free(r);
    map_fini(&c->by_key);
    map_fini(&c->gone);
    flow_snapshot_unref(&c->snapshot);
    filestore_free(c);
    arena_fini(&c->arena);
    void (*stopped)(void *) = c->stopped;
    void *ctx = c->stopped_ctx;
    free(c);
    stopped(ctx);
}
