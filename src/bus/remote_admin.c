/* Design note: administration is rare and librdkafka's answers to it can be waited for, so each
 * operation is a job on one of two worker threads that asks and waits. What a cluster refuses at a
 * topic's creation is asked again without it, and said. SPDX-License-Identifier: Apache-2.0 */
#include "base/diag.h"
#include "bus/remote_core.h"
#include <inttypes.h>
#include <stdio.h>
#include <time.h>

enum { ADMIN_MS = 30000, METADATA_MS = 10000, LOOK_UP_MS = 200, ERRSTR_BYTES = 512 };

struct admin_job {
    struct work work;
    struct remote *r;
    struct bus_op *op;
    void (*run)(struct remote *r, struct bus_op *op);
};

/* The client that this thread's job uses. */
static _Thread_local rd_kafka_t *admin;

static void job_run(struct work *w)
{
    struct admin_job *j = container_of(w, struct admin_job, work);
    struct remote_sender *held;

    if (atomic_load(&j->r->ending)) {
        err_set(&j->op->err, RC_CANCELLED, "the bus is closing");
        return;
    }
    held = remote_admin_hold(j->r);
    admin = held->rk;
    j->run(j->r, j->op);
    remote_admin_drop(held);
}

static void job_done(struct work *w)
{
    struct admin_job *j = container_of(w, struct admin_job, work);
    struct bus_op *op = j->op;

    free(j);
    op->done(op);
}

static void job_start(struct bus *b, struct bus_op *op,
                      void (*run)(struct remote *r, struct bus_op *op))
{
    struct admin_job *j = xnew(struct admin_job);

    *j = (struct admin_job){.work = {.run = job_run, .done = job_done, .reply_to = op->reply_to},
                            .r = container_of(b, struct remote, bus),
                            .op = op,
                            .run = run};
    op->err = (struct err){0};
    workers_submit(j->r->workers, &j->work);
}

static char *cstr(char *to, size_t n, struct str s)
{
    snprintf(to, n, STR_FMT, STR_ARG(s));
    return to;
}

/* Waits for the one answer of an admin request; NULL with e set when none came. The caller destroys
 * it. */
static rd_kafka_event_t *answer(struct remote *r, rd_kafka_queue_t *queue, struct err *e)
{
    uint64_t until = clock_mono_ms(&clock_real) + ADMIN_MS + 5000;
    rd_kafka_event_t *ev;

    do
        ev = r->k->rd_kafka_queue_poll(queue, LOOK_UP_MS);
    while (!ev && clock_mono_ms(&clock_real) < until && !atomic_load(&r->ending));
    if (!ev) {
        err_set(e, RC_TIMEOUT, "Kafka did not answer an admin request in time");
        return NULL;
    }
    if (r->k->rd_kafka_event_error(ev)) {
        kafka_lib_error(r->k, r->k->rd_kafka_event_error(ev), r->k->rd_kafka_event_error_string(ev),
                        e);
        r->k->rd_kafka_event_destroy(ev);
        return NULL;
    }
    return ev;
}

/* Between two looks at something that a cluster takes a moment for. */
static void nap(void)
{
    nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
}

/* What is left of an operation's deadline, at most so much. */
static int patience_ms(const struct bus_op *op, int most)
{
    uint64_t now = clock_mono_ms(&clock_real);

    if (!op->deadline_ms) return most;
    return op->deadline_ms > now ? (int)MIN(op->deadline_ms - now, (uint64_t)most) : 1;
}

static rd_kafka_AdminOptions_t *options(struct remote *r, const struct bus_op *op,
                                        rd_kafka_admin_op_t what)
{
    rd_kafka_AdminOptions_t *o = r->k->rd_kafka_AdminOptions_new(admin, what);
    char why[ERRSTR_BYTES];

    r->k->rd_kafka_AdminOptions_set_request_timeout(o, patience_ms(op, ADMIN_MS), why, sizeof why);
    return o;
}

/* ---- metadata ---- */

/* The library tells no topic ids. What stands in for one is made of the name: another topic has another id, on every
 * replica the same; only that a topic was deleted and made again cannot be seen in it. Written into run ids: FNV-1a. */
static struct bus_uuid id_of(const char *topic)
{
    unsigned __int128 hash = ((unsigned __int128)0x6c62272e07bb0142 << 64) | 0x62b821756295c58d;
    struct bus_uuid id;

    for (; *topic; topic++)
        hash = (hash ^ (uint8_t)*topic) * (((unsigned __int128)1 << 88) | 0x13b);
    for (size_t i = 0; i < sizeof id.b; i++)
        id.b[i] = (uint8_t)(hash >> (8 * (sizeof id.b - 1 - i)));
    return id;
}

/* What the cluster knows of the topic: its partitions (0 when it does not exist), replication and id. */
static enum rc look(struct remote *r, struct bus_topic *t, const char *topic)
{
    const struct kafka_lib *k = r->k;
    const struct rd_kafka_metadata *md;
    rd_kafka_topic_t *rkt = k->rd_kafka_topic_new(admin, topic, NULL);
    rd_kafka_resp_err_t code;

    if (!rkt) return err_set(&t->op.err, RC_INVALID, "topic name %s", topic);
    code = k->rd_kafka_metadata(admin, 0, rkt, &md, patience_ms(&t->op, METADATA_MS));
    k->rd_kafka_topic_destroy(rkt);
    if (code) return kafka_lib_error(k, code, NULL, &t->op.err);
    t->partitions = t->replication = 0;
    t->id = id_of(topic);
    for (int i = 0; i < md->topic_cnt; i++) {
        const struct rd_kafka_metadata_topic *found = &md->topics[i];

        if (strcmp(found->topic, topic) != 0 || found->err || !found->partition_cnt) continue;
        t->partitions = found->partition_cnt;
        t->replication = found->partitions[0].replica_cnt;
    }
    remote_up(r);
    k->rd_kafka_metadata_destroy(md);
    return RC_OK;
}

/* ---- topics ---- */

enum { CONFIGS_MAX = 64 };

struct wanted {
    int32_t replication, partitions; /* -1: the cluster's default */
    uint64_t refused;                /* a bit for each config */
};

static enum rc create(struct remote *r, const struct bus_topic *t, const char *topic,
                      const struct wanted *want, struct err *e)
{
    const struct kafka_lib *k = r->k;
    char why[ERRSTR_BYTES], name[256], value[512];
    rd_kafka_NewTopic_t *nt =
        k->rd_kafka_NewTopic_new(topic, want->partitions, want->replication, why, sizeof why);
    rd_kafka_queue_t *queue;
    rd_kafka_AdminOptions_t *o;
    rd_kafka_event_t *ev;
    size_t n;

    if (!nt) return err_set(e, RC_INVALID, "topic %s: %s", topic, why);
    for (size_t i = 0; i < t->configs_n; i++)
        if (!(want->refused >> i & 1))
            k->rd_kafka_NewTopic_set_config(nt, cstr(name, sizeof name, t->configs[i].name),
                                            cstr(value, sizeof value, t->configs[i].value));
    queue = k->rd_kafka_queue_new(admin);
    o = options(r, &t->op, RD_KAFKA_ADMIN_OP_CREATETOPICS);
    k->rd_kafka_CreateTopics(admin, &nt, 1, o, queue);
    *e = (struct err){0};
    ev = answer(r, queue, e);
    if (ev) {
        const rd_kafka_topic_result_t **results =
            k->rd_kafka_CreateTopics_result_topics(k->rd_kafka_event_CreateTopics_result(ev), &n);

        if (n && k->rd_kafka_topic_result_error(results[0]))
            kafka_lib_error(k, k->rd_kafka_topic_result_error(results[0]),
                            k->rd_kafka_topic_result_error_string(results[0]), e);
        k->rd_kafka_event_destroy(ev);
    }
    k->rd_kafka_AdminOptions_destroy(o);
    k->rd_kafka_queue_destroy(queue);
    k->rd_kafka_NewTopic_destroy(nt);
    return e->rc;
}

/* What the cluster refuses is left to it: the replication factor, the partitions, the configs that its refusal names, or
 * all configs when it names none. NULL: nothing is left to give up. */
static const char *give_up(struct wanted *want, const struct bus_topic *t, const struct err *e)
{
    uint64_t all = t->configs_n ? UINT64_MAX >> (CONFIGS_MAX - t->configs_n) : 0, named = 0;
    char name[256];

    if (e->sys == RD_KAFKA_RESP_ERR_INVALID_REPLICATION_FACTOR && want->replication >= 0) {
        want->replication = -1;
        return "replication factor";
    }
    if (e->sys == RD_KAFKA_RESP_ERR_INVALID_PARTITIONS && want->partitions >= 0) {
        want->partitions = -1;
        return "partitions";
    }
    if (want->refused == all) return NULL;
    for (size_t i = 0; i < t->configs_n; i++)
        if (strstr(e->text, cstr(name, sizeof name, t->configs[i].name))) named |= (uint64_t)1 << i;
    want->refused |= named & ~want->refused ? named : all;
    return "configs";
}

static enum rc create_somehow(struct remote *r, const struct bus_topic *t, const char *topic,
                              struct err *e)
{
    struct wanted want = {t->replication, t->partitions, 0};
    enum rc rc;

    while ((rc = create(r, t, topic, &want, e)) == RC_INVALID) {
        const char *given_up = give_up(&want, t, e);

        if (!given_up) break;
        diag(DIAG_WARN, "kafka.topic.refused", KV_CSTR("topic", topic), KV_CSTR("error", e->text),
             KV_CSTR("left_to_cluster", given_up));
    }
    return rc;
}

/* Until the metadata of the cluster names the new topic. One that exists and is not named is being deleted: it is made again
 * as soon as it is gone. */
static void creation_await(struct remote *r, struct bus_topic *t, const struct bus_topic *wanted,
                           const char *topic)
{
    uint64_t until = clock_mono_ms(&clock_real) + r->metadata_propagation_ms;
    struct err ignored;

    if (t->op.deadline_ms) until = MIN(until, t->op.deadline_ms);
    while (!look(r, t, topic) && !t->partitions) {
        if (clock_mono_ms(&clock_real) >= until || atomic_load(&r->ending)) {
            struct trouble late = trouble_make(TROUBLE_METADATA, "%s was created but is not in the cluster's metadata", topic);

            trouble_say(&late);
            trouble_err(&late, &t->op.err);
            return;
        }
        nap();
        if (!t->created) t->created = create_somehow(r, wanted, topic, &ignored) == RC_OK;
    }
}

static void ensure_run(struct remote *r, struct bus_op *op)
{
    struct bus_topic *t = container_of(op, struct bus_topic, op);
    struct bus_topic wanted = *t;
    char topic[256];
    enum rc rc;

    t->created = false;
    cstr(topic, sizeof topic, t->topic);
    if (t->configs_n > CONFIGS_MAX) {
        err_set(&op->err, RC_INVALID, "topic %s: %zu configs, at most %d are taken", topic,
                t->configs_n, CONFIGS_MAX);
        return;
    }
    if (look(r, t, topic) || t->partitions) return;
    rc = create_somehow(r, &wanted, topic, &op->err);
    if (rc && rc != RC_EXISTS) {
        if (rc == RC_DENIED)
            err_in(&op->err, "topic %s does not exist and this user may not create it", topic);
        return;
    }
    t->created = rc == RC_OK;
    op->err = (struct err){0};
    creation_await(r, t, &wanted, topic);
}

void remote_topic_ensure(struct bus *b, struct bus_topic *t)
{
    job_start(b, &t->op, ensure_run);
}

static void cleanup_policy(struct remote *r, struct bus_topic *t, const char *topic)
{
    const struct kafka_lib *k = r->k;
    rd_kafka_ConfigResource_t *resource =
        k->rd_kafka_ConfigResource_new(RD_KAFKA_RESOURCE_TOPIC, topic);
    rd_kafka_queue_t *queue = k->rd_kafka_queue_new(admin);
    rd_kafka_AdminOptions_t *o = options(r, &t->op, RD_KAFKA_ADMIN_OP_DESCRIBECONFIGS);
    rd_kafka_event_t *ev;
    struct err e;
    size_t n, entries = 0;

    k->rd_kafka_DescribeConfigs(admin, &resource, 1, o, queue);
    ev = answer(r, queue, &e);
    if (ev) {
        const rd_kafka_ConfigResource_t **found = k->rd_kafka_DescribeConfigs_result_resources(
            k->rd_kafka_event_DescribeConfigs_result(ev), &n);
        const rd_kafka_ConfigEntry_t **entry =
            n && !k->rd_kafka_ConfigResource_error(found[0])
                ? k->rd_kafka_ConfigResource_configs(found[0], &entries)
                : NULL;

        for (size_t i = 0; i < entries; i++)
            if (!strcmp(k->rd_kafka_ConfigEntry_name(entry[i]), "cleanup.policy"))
                snprintf(t->cleanup_policy, sizeof t->cleanup_policy, "%s",
                         k->rd_kafka_ConfigEntry_value(entry[i]));
        k->rd_kafka_event_destroy(ev);
    }
    k->rd_kafka_AdminOptions_destroy(o);
    k->rd_kafka_queue_destroy(queue);
    k->rd_kafka_ConfigResource_destroy(resource);
}

/* A topic that is new, or moves, has no leader for a moment. */
static bool has_no_leader(rd_kafka_resp_err_t code)
{
    return code == RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE ||
           code == RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION ||
           code == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART ||
           code == RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION;
}

static rd_kafka_resp_err_t ends_of(struct remote *r, struct bus_topic *t, const char *topic,
                                   int32_t p)
{
    uint64_t until = clock_mono_ms(&clock_real) + (uint64_t)patience_ms(&t->op, METADATA_MS);
    rd_kafka_resp_err_t code;

    while ((code = r->k->rd_kafka_query_watermark_offsets(admin, topic, p, &t->start_offsets[p],
                                                          &t->end_offsets[p],
                                                          patience_ms(&t->op, METADATA_MS))) &&
           has_no_leader(code) && clock_mono_ms(&clock_real) < until && !atomic_load(&r->ending))
        nap();
    return code;
}

static void describe_run(struct remote *r, struct bus_op *op)
{
    struct bus_topic *t = container_of(op, struct bus_topic, op);
    char topic[256];

    cstr(topic, sizeof topic, t->topic);
    t->start_offsets = t->end_offsets = NULL;
    if (look(r, t, topic) || !t->partitions) return;
    t->start_offsets = xnew_array(int64_t, (size_t)t->partitions);
    t->end_offsets = xnew_array(int64_t, (size_t)t->partitions);
    for (int32_t p = 0; p < t->partitions; p++) {
        rd_kafka_resp_err_t code = ends_of(r, t, topic, p);

        if (code) {
            kafka_lib_error(r->k, code, NULL, &op->err);
            return;
        }
    }
    cleanup_policy(r, t, topic);
}

void remote_topic_describe(struct bus *b, struct bus_topic *t)
{
    job_start(b, &t->op, describe_run);
}

/* Until the metadata no longer names it, so that who makes it again gets a new one. It is deleted, whatever is seen here. */
static void deletion_await(struct remote *r, struct bus_topic *t, const char *topic)
{
    uint64_t until = clock_mono_ms(&clock_real) + r->metadata_propagation_ms;

    if (t->op.deadline_ms) until = MIN(until, t->op.deadline_ms);
    while (!look(r, t, topic) && t->partitions && clock_mono_ms(&clock_real) < until && !atomic_load(&r->ending))
        nap();
    t->op.err = (struct err){0};
}

static void delete_run(struct remote *r, struct bus_op *op)
{
    const struct kafka_lib *k = r->k;
    struct bus_topic *t = container_of(op, struct bus_topic, op);
    char topic[256];
    rd_kafka_DeleteTopic_t *dt = k->rd_kafka_DeleteTopic_new(cstr(topic, sizeof topic, t->topic));
    rd_kafka_queue_t *queue = k->rd_kafka_queue_new(admin);
    rd_kafka_AdminOptions_t *o = options(r, op, RD_KAFKA_ADMIN_OP_DELETETOPICS);
    rd_kafka_event_t *ev;
    size_t n;

    k->rd_kafka_DeleteTopics(admin, &dt, 1, o, queue);
    ev = answer(r, queue, &op->err);
    if (ev) {
        const rd_kafka_topic_result_t **results =
            k->rd_kafka_DeleteTopics_result_topics(k->rd_kafka_event_DeleteTopics_result(ev), &n);

        if (n && k->rd_kafka_topic_result_error(results[0]))
            kafka_lib_error(k, k->rd_kafka_topic_result_error(results[0]),
                            k->rd_kafka_topic_result_error_string(results[0]), &op->err);
        k->rd_kafka_event_destroy(ev);
    }
    k->rd_kafka_AdminOptions_destroy(o);
    k->rd_kafka_queue_destroy(queue);
    k->rd_kafka_DeleteTopic_destroy(dt);
    if (!op->err.rc) deletion_await(r, t, topic);
}

void remote_topic_delete(struct bus *b, struct bus_topic *t)
{
    job_start(b, &t->op, delete_run);
}

static void topics_run(struct remote *r, struct bus_op *op)
{
    struct bus_topics *t = container_of(op, struct bus_topics, op);
    const struct rd_kafka_metadata *md;
    rd_kafka_resp_err_t code =
        r->k->rd_kafka_metadata(admin, 1, NULL, &md, patience_ms(op, METADATA_MS));
    size_t bytes = 0;
    char *at;

    t->names = NULL;
    t->names_n = 0;
    if (code) {
        kafka_lib_error(r->k, code, NULL, &op->err);
        return;
    }
    for (int i = 0; i < md->topic_cnt; i++)
        bytes += sizeof *t->names + sizeof *t->partitions + strlen(md->topics[i].topic) + 1;
    t->names = xcalloc(1, bytes);
    t->partitions = (int32_t *)(void *)&t->names[md->topic_cnt];
    at = (char *)&t->partitions[md->topic_cnt];
    for (int i = 0; i < md->topic_cnt; i++) {
        struct str name = str_of(md->topics[i].topic);

        if (!str_starts(name, t->prefix)) continue;
        memcpy(at, name.p, name.n);
        t->partitions[t->names_n] = md->topics[i].partition_cnt;
        t->names[t->names_n++] = (struct str){at, name.n};
        at += name.n + 1;
    }
    r->k->rd_kafka_metadata_destroy(md);
}

void remote_topics(struct bus *b, struct bus_topics *t)
{
    job_start(b, &t->op, topics_run);
}

/* ---- committed offsets ---- */

/* The first error of a group's answer: of the group, or of one of its partitions. */
static void group_error(struct remote *r, const rd_kafka_group_result_t *g, struct err *e)
{
    const struct kafka_lib *k = r->k;
    const rd_kafka_error_t *error = k->rd_kafka_group_result_error(g);
    const rd_kafka_topic_partition_list_t *list = k->rd_kafka_group_result_partitions(g);

    if (error) {
        kafka_lib_error(k, k->rd_kafka_error_code(error), k->rd_kafka_error_string(error), e);
        return;
    }
    for (int i = 0; list && i < list->cnt && !e->rc; i++)
        if (list->elems[i].err) kafka_lib_error(k, list->elems[i].err, NULL, e);
}

static void commit_run(struct remote *r, struct bus_op *op)
{
    const struct kafka_lib *k = r->k;
    struct bus_commit *c = container_of(op, struct bus_commit, op);
    char topic[256], group[512];
    rd_kafka_topic_partition_list_t *list = k->rd_kafka_topic_partition_list_new((int)c->offsets_n);
    rd_kafka_AlterConsumerGroupOffsets_t *request;
    rd_kafka_queue_t *queue = k->rd_kafka_queue_new(admin);
    rd_kafka_AdminOptions_t *o = options(r, op, RD_KAFKA_ADMIN_OP_ALTERCONSUMERGROUPOFFSETS);
    rd_kafka_event_t *ev;
    size_t n;

    cstr(topic, sizeof topic, c->topic);
    for (size_t i = 0; i < c->offsets_n; i++) {
        rd_kafka_topic_partition_t *tp =
            k->rd_kafka_topic_partition_list_add(list, topic, c->offsets[i].partition);

        tp->offset = c->offsets[i].offset;
        if (c->offsets[i].metadata.n) { /* the list frees it */
            tp->metadata = malloc(c->offsets[i].metadata.n + 1);
            must(tp->metadata != NULL);
            memcpy(tp->metadata, c->offsets[i].metadata.p, c->offsets[i].metadata.n);
            ((char *)tp->metadata)[c->offsets[i].metadata.n] = 0;
            tp->metadata_size = c->offsets[i].metadata.n;
        }
    }
    request = k->rd_kafka_AlterConsumerGroupOffsets_new(cstr(group, sizeof group, c->group), list);
    k->rd_kafka_AlterConsumerGroupOffsets(admin, &request, 1, o, queue);
    ev = answer(r, queue, &op->err);
    if (ev) {
        const rd_kafka_group_result_t **groups =
            k->rd_kafka_AlterConsumerGroupOffsets_result_groups(
                k->rd_kafka_event_AlterConsumerGroupOffsets_result(ev), &n);

        if (n) group_error(r, groups[0], &op->err);
        k->rd_kafka_event_destroy(ev);
    }
    k->rd_kafka_AlterConsumerGroupOffsets_destroy(request);
    k->rd_kafka_topic_partition_list_destroy(list);
    k->rd_kafka_AdminOptions_destroy(o);
    k->rd_kafka_queue_destroy(queue);
}

void remote_commit(struct bus *b, struct bus_commit *c)
{
    job_start(b, &c->op, commit_run);
}

/* offsets[partition] from the answer, texts behind the array in the same block. */
static struct bus_offset *committed_copy(const rd_kafka_topic_partition_list_t *list, size_t n)
{
    size_t bytes = n * sizeof(struct bus_offset);
    struct bus_offset *offsets;
    char *at;

    for (int i = 0; list && i < list->cnt; i++)
        bytes += list->elems[i].metadata_size;
    offsets = xcalloc(1, bytes);
    at = (char *)&offsets[n];
    for (size_t i = 0; i < n; i++)
        offsets[i] = (struct bus_offset){.partition = (int32_t)i, .offset = -1};
    for (int i = 0; list && i < list->cnt; i++) {
        const rd_kafka_topic_partition_t *tp = &list->elems[i];

        if (tp->partition < 0 || (size_t)tp->partition >= n || tp->offset < 0) continue;
        offsets[tp->partition].offset = tp->offset;
        offsets[tp->partition].metadata = (struct str){at, tp->metadata_size};
        if (tp->metadata_size) memcpy(at, tp->metadata, tp->metadata_size);
        at += tp->metadata_size;
    }
    return offsets;
}

static void committed_run(struct remote *r, struct bus_op *op)
{
    const struct kafka_lib *k = r->k;
    struct bus_commit *c = container_of(op, struct bus_commit, op);
    char topic[256], group[512];
    rd_kafka_topic_partition_list_t *list = k->rd_kafka_topic_partition_list_new((int)c->offsets_n);
    rd_kafka_ListConsumerGroupOffsets_t *request;
    rd_kafka_queue_t *queue = k->rd_kafka_queue_new(admin);
    rd_kafka_AdminOptions_t *o = options(r, op, RD_KAFKA_ADMIN_OP_LISTCONSUMERGROUPOFFSETS);
    rd_kafka_event_t *ev;
    size_t n;

    cstr(topic, sizeof topic, c->topic);
    for (size_t i = 0; i < c->offsets_n; i++)
        k->rd_kafka_topic_partition_list_add(list, topic, (int32_t)i);
    c->offsets = NULL;
    request = k->rd_kafka_ListConsumerGroupOffsets_new(cstr(group, sizeof group, c->group), list);
    k->rd_kafka_ListConsumerGroupOffsets(admin, &request, 1, o, queue);
    ev = answer(r, queue, &op->err);
    if (ev) {
        const rd_kafka_group_result_t **groups = k->rd_kafka_ListConsumerGroupOffsets_result_groups(
            k->rd_kafka_event_ListConsumerGroupOffsets_result(ev), &n);

        if (n) group_error(r, groups[0], &op->err);
        if (n && !op->err.rc)
            c->offsets =
                committed_copy(k->rd_kafka_group_result_partitions(groups[0]), c->offsets_n);
        k->rd_kafka_event_destroy(ev);
    }
    k->rd_kafka_ListConsumerGroupOffsets_destroy(request);
    k->rd_kafka_topic_partition_list_destroy(list);
    k->rd_kafka_AdminOptions_destroy(o);
    k->rd_kafka_queue_destroy(queue);
}

void remote_committed(struct bus *b, struct bus_commit *c)
{
    job_start(b, &c->op, committed_run);
}

/* Of one topic; the group may have others. */
static void offsets_delete_run(struct remote *r, struct bus_op *op)
{
    const struct kafka_lib *k = r->k;
    struct bus_commit *c = container_of(op, struct bus_commit, op);
    char topic[256], group[512];
    rd_kafka_topic_partition_list_t *list = k->rd_kafka_topic_partition_list_new((int)c->offsets_n);
    rd_kafka_DeleteConsumerGroupOffsets_t *request;
    rd_kafka_queue_t *queue = k->rd_kafka_queue_new(admin);
    rd_kafka_AdminOptions_t *o = options(r, op, RD_KAFKA_ADMIN_OP_DELETECONSUMERGROUPOFFSETS);
    rd_kafka_event_t *ev;
    size_t n;

    cstr(topic, sizeof topic, c->topic);
    for (size_t i = 0; i < c->offsets_n; i++)
        k->rd_kafka_topic_partition_list_add(list, topic, (int32_t)i);
    request = k->rd_kafka_DeleteConsumerGroupOffsets_new(cstr(group, sizeof group, c->group), list);
    k->rd_kafka_DeleteConsumerGroupOffsets(admin, &request, 1, o, queue);
    ev = answer(r, queue, &op->err);
    if (ev) {
        const rd_kafka_group_result_t **groups =
            k->rd_kafka_DeleteConsumerGroupOffsets_result_groups(k->rd_kafka_event_DeleteConsumerGroupOffsets_result(ev), &n);

        if (n) group_error(r, groups[0], &op->err);
        if (op->err.rc == RC_NOT_FOUND) op->err = (struct err){0};
        k->rd_kafka_event_destroy(ev);
    }
    k->rd_kafka_DeleteConsumerGroupOffsets_destroy(request);
    k->rd_kafka_topic_partition_list_destroy(list);
    k->rd_kafka_AdminOptions_destroy(o);
    k->rd_kafka_queue_destroy(queue);
}

static void group_delete_run(struct remote *r, struct bus_op *op)
{
    const struct kafka_lib *k = r->k;
    struct bus_commit *c = container_of(op, struct bus_commit, op);
    char group[512];
    rd_kafka_DeleteGroup_t *dg = k->rd_kafka_DeleteGroup_new(cstr(group, sizeof group, c->group));
    rd_kafka_queue_t *queue = k->rd_kafka_queue_new(admin);
    rd_kafka_AdminOptions_t *o = options(r, op, RD_KAFKA_ADMIN_OP_DELETEGROUPS);
    rd_kafka_event_t *ev;
    size_t n;

    k->rd_kafka_DeleteGroups(admin, &dg, 1, o, queue);
    ev = answer(r, queue, &op->err);
    if (ev) {
        const rd_kafka_group_result_t **groups =
            k->rd_kafka_DeleteGroups_result_groups(k->rd_kafka_event_DeleteGroups_result(ev), &n);

        if (n) group_error(r, groups[0], &op->err);
        if (op->err.rc == RC_NOT_FOUND) op->err = (struct err){0};
        k->rd_kafka_event_destroy(ev);
    }
    k->rd_kafka_AdminOptions_destroy(o);
    k->rd_kafka_queue_destroy(queue);
    k->rd_kafka_DeleteGroup_destroy(dg);
}

void remote_group_delete(struct bus *b, struct bus_commit *c)
{
    job_start(b, &c->op, c->offsets_n ? offsets_delete_run : group_delete_run);
}

/* ---- who else reads ---- */

static void group_look(const struct kafka_lib *k, const rd_kafka_ConsumerGroupDescription_t *g, struct bus_readers *into)
{
    struct str id = str_of(k->rd_kafka_ConsumerGroupDescription_group_id(g));

    for (size_t i = 0; i < k->rd_kafka_ConsumerGroupDescription_member_count(g); i++) {
        const rd_kafka_MemberAssignment_t *a = k->rd_kafka_MemberDescription_assignment(k->rd_kafka_ConsumerGroupDescription_member(g, i));
        const rd_kafka_topic_partition_list_t *list = a ? k->rd_kafka_MemberAssignment_partitions(a) : NULL;

        for (int t = 0; list && t < list->cnt; t++)
            for (size_t w = 0; w < into->topics_n; w++)
                if (str_is(into->topics[w], list->elems[t].topic)) readers_add(into, id, w);
    }
}

static void groups_describe(struct remote *r, struct bus_readers *into, const char **ids, size_t ids_n)
{
    const struct kafka_lib *k = r->k;
    rd_kafka_queue_t *queue = k->rd_kafka_queue_new(admin);
    rd_kafka_AdminOptions_t *o = options(r, &into->op, RD_KAFKA_ADMIN_OP_DESCRIBECONSUMERGROUPS);
    rd_kafka_event_t *ev;
    size_t n;

    k->rd_kafka_DescribeConsumerGroups(admin, ids, ids_n, o, queue);
    ev = answer(r, queue, &into->op.err);
    if (ev) {
        const rd_kafka_ConsumerGroupDescription_t **groups =
            k->rd_kafka_DescribeConsumerGroups_result_groups(k->rd_kafka_event_DescribeConsumerGroups_result(ev), &n);

        for (size_t i = 0; i < n; i++)
            if (!k->rd_kafka_ConsumerGroupDescription_error(groups[i])) group_look(k, groups[i], into);
        k->rd_kafka_event_destroy(ev);
    }
    k->rd_kafka_AdminOptions_destroy(o);
    k->rd_kafka_queue_destroy(queue);
}

/* All groups are listed, which is cheap; only those whose id fits are asked about. */
static void readers_run(struct remote *r, struct bus_op *op)
{
    const struct kafka_lib *k = r->k;
    struct bus_readers *into = container_of(op, struct bus_readers, op);
    rd_kafka_queue_t *queue = k->rd_kafka_queue_new(admin);
    rd_kafka_AdminOptions_t *o = options(r, op, RD_KAFKA_ADMIN_OP_LISTCONSUMERGROUPS);
    const char *ids[BUS_READERS_MAX];
    size_t n, ids_n = 0;
    rd_kafka_event_t *ev;

    k->rd_kafka_ListConsumerGroups(admin, o, queue);
    ev = answer(r, queue, &op->err);
    if (ev) {
        const rd_kafka_ConsumerGroupListing_t **groups =
            k->rd_kafka_ListConsumerGroups_result_valid(k->rd_kafka_event_ListConsumerGroups_result(ev), &n);

        for (size_t i = 0; i < n && ids_n < BUS_READERS_MAX; i++) {
            const char *id = k->rd_kafka_ConsumerGroupListing_group_id(groups[i]);

            if (readers_mean(into, str_of(id))) ids[ids_n++] = id;
        }
        if (ids_n) groups_describe(r, into, ids, ids_n);
        k->rd_kafka_event_destroy(ev);
    }
    k->rd_kafka_AdminOptions_destroy(o);
    k->rd_kafka_queue_destroy(queue);
}

void remote_readers(struct bus *b, struct bus_readers *r)
{
    job_start(b, &r->op, readers_run);
}
