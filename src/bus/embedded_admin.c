/* Topics and committed offsets: decided on the broker's loop, answered when the wal covers what is said.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "base/diag.h"
#include "broker/config.h"
#include "broker/groups.h"
#include "bus/embedded_core.h"
#include "kafka/errors.h"
#include <stdio.h>

enum { METADATA_BYTES_MAX = 4096, NAME_BYTES_MAX = INT16_MAX };

/* ---- waiting for the wal ---- */

struct wait {
    struct broker_wait at_broker;
    struct embedded *em;
    struct bus_op *op;
    struct list link;
};

static void wait_end(struct wait *w)
{
    struct embedded *em = w->em;

    list_remove(&w->link);
    op_home(w->op);
    free(w);
    embedded_unref(em);
}

static void wait_done(struct broker_wait *bw)
{
    struct wait *w = container_of(bw, struct wait, at_broker);

    if (bw->rc) err_set(&w->op->err, bw->rc, "the log has stopped");
    wait_end(w);
}

void op_home_when(struct embedded *em, struct bus_op *op, uint64_t seq)
{
    struct wait *w = xnew(struct wait);

    w->em = em;
    w->op = op;
    w->at_broker.done = wait_done;
    list_push(&em->waits, &w->link);
    broker_wait_start(em->broker, &w->at_broker, seq);
}

void embedded_waits_close(struct embedded *em)
{
    list_each_safe(it, &em->waits)
    {
        struct wait *w = container_of(it, struct wait, link);

        broker_wait_cancel(&w->at_broker);
        err_set(&w->op->err, RC_CANCELLED, "the bus is closed");
        wait_end(w);
    }
}

/* Ends an operation that waits for nothing. */
static void op_end(struct embedded *em, struct bus_op *op)
{
    op_home(op);
    embedded_unref(em);
}

/* ---- topics ---- */

_Static_assert(sizeof(struct bus_config) == sizeof(struct broker_setting) &&
                   offsetof(struct bus_config, value) == offsetof(struct broker_setting, value),
               "one is read as the other");

static void topic_fill(struct bus_topic *to, const struct topic *t)
{
    struct uuid id = topic_uuid(t);

    to->partitions = topic_partitions(t);
    to->replication = 1;
    memcpy(to->id.b, id.b, sizeof to->id.b);
}

/* A config that does not exist, or a value that cannot be. */
static bool refused(enum rc rc)
{
    return rc == RC_INVALID || rc == RC_NOT_FOUND;
}

/* All that is wished; else without the configs, one by one; else with the broker's own numbers too. What had to be given up
 * is said. */
static enum rc topic_create(struct embedded *em, struct bus_topic *t, struct topic **ret,
                            uint64_t *seq, struct err *e)
{
    struct broker_topic_spec spec = {.name = t->topic,
                                     .partitions = t->partitions,
                                     .replication = t->replication,
                                     .configs =
                                         (const struct broker_setting *)(const void *)t->configs,
                                     .configs_n = t->configs_n};
    AUTO(buf_fini) struct buf kept = {0};
    enum rc rc = broker_topic_create(em->broker, &spec, ret, seq, e);

    if (!refused(rc)) return rc;
    for (size_t i = 0; i < t->configs_n; i++) {
        struct err why;

        if (topic_config_check(t->configs[i].name, t->configs[i].value, &why))
            diag(DIAG_WARN, "bus.topic_config_refused", KV_STR("topic", t->topic),
                 KV_STR("config", t->configs[i].name), KV_CSTR("why", why.text));
        else
            buf_append(&kept, bytes_of(&t->configs[i], sizeof t->configs[i]));
    }
    spec.configs = (const struct broker_setting *)(const void *)kept.p;
    spec.configs_n = kept.n / sizeof *spec.configs;
    rc = broker_topic_create(em->broker, &spec, ret, seq, e);
    if (!refused(rc)) return rc;

    spec.partitions = spec.replication = -1;
    rc = broker_topic_create(em->broker, &spec, ret, seq, &(struct err){0});
    if (!rc)
        diag(DIAG_WARN, "bus.topic_counts_refused", KV_STR("topic", t->topic),
             KV_CSTR("why", e->text));
    return rc; /* still refused: the first reason is the one to tell */
}

static void ensure_run(struct msg *m)
{
    struct bus_topic *t = container_of(m, struct bus_topic, op.msg);
    struct embedded *em = t->priv;
    struct topic *found;
    uint64_t seq = 0;

    if (!op_may_begin(em, &t->op)) return;
    found = broker_topic(em->broker, t->topic);
    t->created = !found;
    if (!found && err_keep(topic_create(em, t, &found, &seq, &t->op.err), &t->op.err)) {
        t->created = false;
        op_end(em, &t->op);
        return;
    }
    t->op.err = (struct err){0};
    topic_fill(t, found);
    op_home_when(em, &t->op, topic_seq(found));
}

void embedded_topic_ensure(struct bus *b, struct bus_topic *t)
{
    t->priv = embedded_of(b);
    op_send(t->priv, &t->op, ensure_run);
}

static enum rc topic_describe(struct embedded *em, struct bus_topic *t, struct topic *found, uint64_t *ret_seq, struct err *e)
{
    struct str policy;

    topic_fill(t, found);
    *ret_seq = topic_seq(found);
    t->start_offsets = xnew_array(int64_t, (size_t)t->partitions);
    t->end_offsets = xnew_array(int64_t, (size_t)t->partitions);
    for (int32_t i = 0; i < t->partitions; i++) {
        struct partition *p = broker_partition(em->broker, t->topic, i);

        t->start_offsets[i] = partition_start(p);
        *ret_seq = MAX(*ret_seq, partition_start_seq(p));
        if (partition_stable(p, &t->end_offsets[i], e)) return e->rc;
    }
    if (topic_config(em->broker, found, STR("cleanup.policy"), &policy))
        snprintf(t->cleanup_policy, sizeof t->cleanup_policy, STR_FMT, STR_ARG(policy));
    return RC_OK;
}

static void describe_run(struct msg *m)
{
    struct bus_topic *t = container_of(m, struct bus_topic, op.msg);
    struct embedded *em = t->priv;
    struct topic *found;
    uint64_t seq;

    if (!op_may_begin(em, &t->op)) return;
    t->partitions = t->replication = 0;
    found = broker_topic(em->broker, t->topic);
    if (!found)
        op_home_when(em, &t->op, broker_topics_seq(em->broker));
    else if (err_keep(topic_describe(em, t, found, &seq, &t->op.err), &t->op.err))
        op_end(em, &t->op);
    else
        op_home_when(em, &t->op, seq);
}

void embedded_topic_describe(struct bus *b, struct bus_topic *t)
{
    t->priv = embedded_of(b);
    t->start_offsets = t->end_offsets = NULL;
    t->cleanup_policy[0] = 0;
    op_send(t->priv, &t->op, describe_run);
}

static void delete_run(struct msg *m)
{
    struct bus_topic *t = container_of(m, struct bus_topic, op.msg);
    struct embedded *em = t->priv;
    uint64_t seq;

    if (!op_may_begin(em, &t->op)) return;
    if (err_keep(broker_topic_delete(em->broker, t->topic, &seq, &t->op.err), &t->op.err) == RC_NOT_FOUND)
        op_home_when(em, &t->op, broker_topics_seq(em->broker));
    else if (t->op.err.rc)
        op_end(em, &t->op);
    else
        op_home_when(em, &t->op, seq);
}

void embedded_topic_delete(struct bus *b, struct bus_topic *t)
{
    t->priv = embedded_of(b);
    op_send(t->priv, &t->op, delete_run);
}

static void topics_run(struct msg *m)
{
    struct bus_topics *t = container_of(m, struct bus_topics, op.msg);
    struct embedded *em = t->priv;
    size_t n = 0, bytes = 0;
    char *at;

    if (!op_may_begin(em, &t->op)) return;
    for (struct topic *x = broker_topic_next(em->broker, NULL); x;
         x = broker_topic_next(em->broker, x)) {
        if (!str_starts(topic_name(x), t->prefix)) continue;
        n++;
        bytes += topic_name(x).n + 1;
    }
    t->names = xcalloc(1, n * (sizeof *t->names + sizeof *t->partitions) + bytes + 1);
    t->partitions = (int32_t *)(void *)(t->names + n);
    at = (char *)(t->partitions + n);
    for (struct topic *x = broker_topic_next(em->broker, NULL); x;
         x = broker_topic_next(em->broker, x)) {
        struct str name = topic_name(x);

        if (!str_starts(name, t->prefix)) continue;
        memcpy(at, name.p, name.n);
        t->partitions[t->names_n] = topic_partitions(x);
        t->names[t->names_n++] = (struct str){at, name.n};
        at += name.n + 1;
    }
    op_home_when(em, &t->op, broker_topics_seq(em->broker)); /* those that are not there count too */
}

void embedded_topics(struct bus *b, struct bus_topics *t)
{
    t->priv = embedded_of(b);
    t->names = NULL;
    t->names_n = 0;
    op_send(t->priv, &t->op, topics_run);
}

/* ---- committed offsets ---- */

static enum rc rc_of(int16_t code, struct str group, struct err *e)
{
    const char *text = kafka_error_text(code);

    switch (code) {
    case KAFKA_ERR_NONE: return RC_OK;
    case KAFKA_ERR_INVALID_COMMIT_OFFSET_SIZE:
        return err_set(e, RC_TOO_LARGE, "group " STR_FMT ": %s", STR_ARG(group), text);
    case KAFKA_ERR_COORDINATOR_LOAD_IN_PROGRESS:
        return err_set(e, RC_OVERLOAD, "group " STR_FMT ": the log is busy", STR_ARG(group));
    case KAFKA_ERR_COORDINATOR_NOT_AVAILABLE:
        return err_set(e, RC_UNAVAILABLE, "group " STR_FMT ": %s", STR_ARG(group), text);
    case KAFKA_ERR_NON_EMPTY_GROUP:
    case KAFKA_ERR_UNKNOWN_MEMBER_ID:
        return err_set(e, RC_INVALID, "group " STR_FMT " has members; only they may commit",
                       STR_ARG(group));
    default: return err_set(e, RC_INVALID, "group " STR_FMT ": %s", STR_ARG(group), text);
    }
}

static enum rc commit_check(struct embedded *em, const struct bus_commit *c, struct err *e)
{
    if (c->group.n > NAME_BYTES_MAX)
        return err_set(e, RC_INVALID, "commit: a group id of %zu bytes", c->group.n);
    for (size_t i = 0; i < c->offsets_n; i++) {
        if (!broker_partition(em->broker, c->topic, c->offsets[i].partition))
            return err_set(e, RC_NOT_FOUND, "commit: there is no partition " STR_FMT "/%d",
                           STR_ARG(c->topic), c->offsets[i].partition);
        if (c->offsets[i].metadata.n > METADATA_BYTES_MAX)
            return err_set(e, RC_TOO_LARGE, "commit: %zu bytes of metadata; %d are the most",
                           c->offsets[i].metadata.n, METADATA_BYTES_MAX);
    }
    return RC_OK;
}

static enum rc group_lost(struct embedded *em, struct str group, struct err *e)
{
    if (!groups_is_lost(broker_groups(em->broker), group)) return RC_OK;
    return err_set(e, RC_UNAVAILABLE, "group " STR_FMT ": its part of __consumer_offsets is damaged; stop, and run: millrace log verify --repair",
                   STR_ARG(group));
}

static enum rc commit(struct embedded *em, struct bus_commit *c, uint64_t *ret_seq, struct err *e)
{
    AUTO(arena_fini) struct arena a = {0};
    struct offset_put *puts = arena_array(&a, struct offset_put, c->offsets_n);
    int64_t now_ms = clock_wall_ms(em->clock);
    struct group_entry *ge;
    int16_t code;

    if (commit_check(em, c, e)) return e->rc;
    if (group_lost(em, c->group, e)) return e->rc;
    ge = groups_get(broker_groups(em->broker), c->group);
    if (!ge)
        return err_set(e, RC_OVERLOAD, "group " STR_FMT ": there is no room for another group",
                       STR_ARG(c->group));
    for (size_t i = 0; i < c->offsets_n; i++)
        puts[i] = (struct offset_put){c->topic,
                                      {.partition = c->offsets[i].partition,
                                       .leader_epoch = -1,
                                       .offset = c->offsets[i].offset,
                                       .commit_ms = now_ms,
                                       .expire_ms = -1,
                                       .metadata = c->offsets[i].metadata}};
    code = groups_may_commit(ge, STR(""), (struct str){0}, -1);
    if (!code) code = groups_put_offsets(ge, puts, c->offsets_n);
    *ret_seq = ge->seq;
    return rc_of(code, c->group, e);
}

static void commit_run(struct msg *m)
{
    struct bus_commit *c = container_of(m, struct bus_commit, op.msg);
    struct embedded *em = c->priv;
    uint64_t seq = 0;

    if (!op_may_begin(em, &c->op)) return;
    if (err_keep(commit(em, c, &seq, &c->op.err), &c->op.err))
        op_end(em, &c->op);
    else
        op_home_when(em, &c->op, seq);
}

void embedded_commit(struct bus *b, struct bus_commit *c)
{
    c->priv = embedded_of(b);
    op_send(c->priv, &c->op, commit_run);
}

static void committed_run(struct msg *m)
{
    struct bus_commit *c = container_of(m, struct bus_commit, op.msg);
    struct embedded *em = c->priv;
    struct group_entry *ge;
    size_t bytes = 0;
    char *at;

    if (!op_may_begin(em, &c->op)) return;
    if (err_keep(group_lost(em, c->group, &c->op.err), &c->op.err)) {
        op_end(em, &c->op);
        return;
    }
    ge = groups_find(broker_groups(em->broker), c->group);
    for (size_t i = 0; ge && i < c->offsets_n; i++) {
        const struct committed *x = offsets_get(&ge->offsets, c->topic, (int32_t)i);

        if (x) bytes += x->metadata.n;
    }
    c->offsets = xcalloc(1, c->offsets_n * sizeof *c->offsets + bytes + 1);
    at = (char *)(c->offsets + c->offsets_n);
    for (size_t i = 0; i < c->offsets_n; i++) {
        const struct committed *x = ge ? offsets_get(&ge->offsets, c->topic, (int32_t)i) : NULL;

        c->offsets[i] = (struct bus_offset){.partition = (int32_t)i,
                                            .offset = x ? x->offset : -1,
                                            .metadata = {at, x ? x->metadata.n : 0}};
        if (x && x->metadata.n) memcpy(at, x->metadata.p, x->metadata.n);
        at += c->offsets[i].metadata.n;
    }
    op_home_when(em, &c->op, ge ? ge->seq : groups_gone_seq(broker_groups(em->broker)));
}

void embedded_committed(struct bus *b, struct bus_commit *c)
{
    c->priv = embedded_of(b);
    c->offsets = NULL;
    op_send(c->priv, &c->op, committed_run);
}

/* Of one topic; the group may have others. */
static void offsets_delete_of(struct embedded *em, struct group_entry *ge, struct bus_commit *c)
{
    struct offset_del *dels = xnew_array(struct offset_del, c->offsets_n);
    size_t n;

    for (size_t i = 0; i < c->offsets_n; i++)
        dels[i] = (struct offset_del){c->topic, (int32_t)i};
    if (err_keep(rc_of(groups_delete_offsets(ge, dels, c->offsets_n, &n), c->group, &c->op.err), &c->op.err)) op_end(em, &c->op);
    else op_home_when(em, &c->op, ge->seq);
    free(dels);
}

static void group_delete_run(struct msg *m)
{
    struct bus_commit *c = container_of(m, struct bus_commit, op.msg);
    struct embedded *em = c->priv;
    struct group_entry *ge;
    uint64_t seq;

    if (!op_may_begin(em, &c->op)) return;
    seq = groups_gone_seq(broker_groups(em->broker));
    ge = groups_find(broker_groups(em->broker), c->group);
    if (err_keep(group_lost(em, c->group, &c->op.err), &c->op.err)) {
        op_end(em, &c->op);
        return;
    }
    if (ge && c->offsets_n) {
        offsets_delete_of(em, ge, c);
        return;
    }
    if (ge && err_keep(rc_of(groups_remove(&ge, &seq), c->group, &c->op.err), &c->op.err))
        op_end(em, &c->op);
    else
        op_home_when(em, &c->op, seq);
}

void embedded_group_delete(struct bus *b, struct bus_commit *c)
{
    c->priv = embedded_of(b);
    op_send(c->priv, &c->op, group_delete_run);
}

/* What is seen may be gone a moment later, and nothing durable is said. */
static void readers_run(struct msg *m)
{
    struct bus_readers *r = container_of(m, struct bus_readers, op.msg);
    struct embedded *em = r->priv;
    const struct group_entry *ge = NULL;

    if (!op_may_begin(em, &r->op)) return;
    while ((ge = groups_next(broker_groups(em->broker), ge))) {
        bool settled = ge->c || ge->g.protocol.p;        /* before that nobody reads, and subscriptions cannot be told */

        if (!settled || !readers_mean(r, ge->g.id) || group_entry_is_empty(ge)) continue;
        for (size_t i = 0; i < r->topics_n; i++)
            if (group_entry_subscribes(ge, r->topics[i])) readers_add(r, ge->g.id, i);
    }
    op_end(em, &r->op);
}

void embedded_readers(struct bus *b, struct bus_readers *r)
{
    r->priv = embedded_of(b);
    op_send(r->priv, &r->op, readers_run);
}
