/* Design note: administration is rare and librdkafka's answers to it can be waited for, so each
 * operation is a job on one of two worker threads that asks and waits. What a cluster refuses at a
 * topic's creation is asked again without it, and said. SPDX-License-Identifier: Apache-2.0 */
#include "base/diag.h"
#include "bus/remote_core.h"
#include <inttypes.h>
#include <stdio.h>
#include <time.h>

enum { ADMIN_MS = 30000, METADATA_MS = 10000, ERRSTR_BYTES = 512 };

struct admin_job {
    struct work work;
    struct remote *r;
    struct bus_op *op;
    void (*run)(struct remote *r, struct bus_op *op);
};

static void job_run(struct work *w)
{
    struct admin_job *j = container_of(w, struct admin_job, work);

    j->run(j->r, j->op);
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
    rd_kafka_event_t *ev = r->k->rd_kafka_queue_poll(queue, ADMIN_MS + 5000);

    if (!ev) {
        err_set(e, RC_TIMEOUT, "Kafka did not answer an admin request within %d ms", ADMIN_MS);
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

static rd_kafka_AdminOptions_t *options(struct remote *r, rd_kafka_admin_op_t what)
{
    rd_kafka_AdminOptions_t *o = r->k->rd_kafka_AdminOptions_new(r->all.rk, what);
    char why[ERRSTR_BYTES];

    r->k->rd_kafka_AdminOptions_set_request_timeout(o, ADMIN_MS, why, sizeof why);
    return o;
}

/* ---- metadata ---- */

/* One topic's partition count, 0 when it does not exist, and how many replicas its first partition has. */
static enum rc partitions_of(struct remote *r, const char *topic, int32_t *ret,
                             int32_t *ret_replicas, struct err *e)
{
    const struct kafka_lib *k = r->k;
    const struct rd_kafka_metadata *md;
    rd_kafka_resp_err_t code = k->rd_kafka_metadata(r->all.rk, 1, NULL, &md, METADATA_MS);

    if (code) return kafka_lib_error(k, code, NULL, e);
    *ret = *ret_replicas = 0;
    for (int i = 0; i < md->topic_cnt; i++) {
        const rd_kafka_metadata_topic_t *t = &md->topics[i];

        if (strcmp(t->topic, topic) || t->err) continue;
        *ret = t->partition_cnt;
        *ret_replicas = t->partition_cnt ? t->partitions[0].replica_cnt : 0;
    }
    atomic_store(&r->brokers_down, false);
    k->rd_kafka_metadata_destroy(md);
    return RC_OK;
}

/* ---- topics ---- */

struct wanted {
    bool configs, replication, partitions;
};

static enum rc create(struct remote *r, struct bus_topic *t, const char *topic, struct wanted want,
                      struct err *e)
{
    const struct kafka_lib *k = r->k;
    char why[ERRSTR_BYTES], name[256], value[512];
    rd_kafka_NewTopic_t *nt =
        k->rd_kafka_NewTopic_new(topic, want.partitions ? t->partitions : -1,
                                 want.replication ? t->replication : -1, why, sizeof why);
    rd_kafka_queue_t *queue;
    rd_kafka_AdminOptions_t *o;
    rd_kafka_event_t *ev;
    size_t n;

    if (!nt) return err_set(e, RC_INVALID, "topic %s: %s", topic, why);
    for (size_t i = 0; want.configs && i < t->configs_n; i++)
        k->rd_kafka_NewTopic_set_config(nt, cstr(name, sizeof name, t->configs[i].name),
                                        cstr(value, sizeof value, t->configs[i].value));
    queue = k->rd_kafka_queue_new(r->all.rk);
    o = options(r, RD_KAFKA_ADMIN_OP_CREATETOPICS);
    k->rd_kafka_CreateTopics(r->all.rk, &nt, 1, o, queue);
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

/* What the cluster refuses is left to it: the replication factor, the partitions, or the configs
 * (all: it does not say which). */
static const char *give_up(struct wanted *want, const struct err *e)
{
    if (e->sys == RD_KAFKA_RESP_ERR_INVALID_REPLICATION_FACTOR && want->replication) {
        want->replication = false;
        return "replication factor";
    }
    if (e->sys == RD_KAFKA_RESP_ERR_INVALID_PARTITIONS && want->partitions) {
        want->partitions = false;
        return "partitions";
    }
    if (!want->configs) return NULL;
    want->configs = false;
    return "configs";
}

static enum rc create_somehow(struct remote *r, struct bus_topic *t, const char *topic,
                              struct err *e)
{
    struct wanted want = {true, true, true};
    enum rc rc;

    while ((rc = create(r, t, topic, want, e)) == RC_INVALID) {
        const char *given_up = give_up(&want, e);

        if (!given_up) break;
        diag(DIAG_WARN, "kafka.topic.refused", KV_CSTR("topic", topic), KV_CSTR("error", e->text),
             KV_CSTR("left_to_cluster", given_up));
    }
    return rc;
}

static void ensure_run(struct remote *r, struct bus_op *op)
{
    struct bus_topic *t = container_of(op, struct bus_topic, op);
    char topic[256];
    int32_t n = 0, replicas = 0;
    enum rc rc;

    t->created = false;
    cstr(topic, sizeof topic, t->topic);
    if (partitions_of(r, topic, &n, &replicas, &op->err)) return;
    if (!n) {
        rc = create_somehow(r, t, topic, &op->err);
        if (rc && rc != RC_EXISTS) {
            if (rc == RC_DENIED)
                err_in(&op->err, "topic %s does not exist and this user may not create it", topic);
            return;
        }
        t->created = rc == RC_OK;
        op->err = (struct err){0};
        for (uint64_t waited = 0; !n;
             waited += 50) { /* until the metadata of the cluster names it */
            if (partitions_of(r, topic, &n, &replicas, &op->err)) return;
            if (n) break;
            if (waited >= r->metadata_propagation_ms) {
                err_set(&op->err, RC_TIMEOUT,
                        "Topic metadata refresh timeout: %s was created but is not in the "
                        "cluster's metadata "
                        "(raise topicMetadataPropagationMaxMs)",
                        topic);
                return;
            }
            nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
        }
    }
    t->partitions = n;
    t->replication = replicas;
}

void remote_topic_ensure(struct bus *b, struct bus_topic *t)
{
    job_start(b, &t->op, ensure_run);
}

static void cleanup_policy(struct remote *r, const char *topic, char *to, size_t to_n)
{
    const struct kafka_lib *k = r->k;
    rd_kafka_ConfigResource_t *resource =
        k->rd_kafka_ConfigResource_new(RD_KAFKA_RESOURCE_TOPIC, topic);
    rd_kafka_queue_t *queue = k->rd_kafka_queue_new(r->all.rk);
    rd_kafka_AdminOptions_t *o = options(r, RD_KAFKA_ADMIN_OP_DESCRIBECONFIGS);
    rd_kafka_event_t *ev;
    struct err e;
    size_t n, entries = 0;

    k->rd_kafka_DescribeConfigs(r->all.rk, &resource, 1, o, queue);
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
                snprintf(to, to_n, "%s", k->rd_kafka_ConfigEntry_value(entry[i]));
        k->rd_kafka_event_destroy(ev);
    }
    k->rd_kafka_AdminOptions_destroy(o);
    k->rd_kafka_queue_destroy(queue);
    k->rd_kafka_ConfigResource_destroy(resource);
}

static void describe_run(struct remote *r, struct bus_op *op)
{
    struct bus_topic *t = container_of(op, struct bus_topic, op);
    char topic[256];

    cstr(topic, sizeof topic, t->topic);
    t->start_offsets = t->end_offsets = NULL;
    if (partitions_of(r, topic, &t->partitions, &t->replication, &op->err) || !t->partitions)
        return;
    t->start_offsets = xnew_array(int64_t, (size_t)t->partitions);
    t->end_offsets = xnew_array(int64_t, (size_t)t->partitions);
    for (int32_t p = 0; p < t->partitions; p++) {
        rd_kafka_resp_err_t code = r->k->rd_kafka_query_watermark_offsets(
            r->all.rk, topic, p, &t->start_offsets[p], &t->end_offsets[p], METADATA_MS);

        if (code) {
            kafka_lib_error(r->k, code, NULL, &op->err);
            return;
        }
    }
    cleanup_policy(r, topic, t->cleanup_policy, sizeof t->cleanup_policy);
}

void remote_topic_describe(struct bus *b, struct bus_topic *t)
{
    job_start(b, &t->op, describe_run);
}

static void delete_run(struct remote *r, struct bus_op *op)
{
    const struct kafka_lib *k = r->k;
    struct bus_topic *t = container_of(op, struct bus_topic, op);
    char topic[256];
    rd_kafka_DeleteTopic_t *dt = k->rd_kafka_DeleteTopic_new(cstr(topic, sizeof topic, t->topic));
    rd_kafka_queue_t *queue = k->rd_kafka_queue_new(r->all.rk);
    rd_kafka_AdminOptions_t *o = options(r, RD_KAFKA_ADMIN_OP_DELETETOPICS);
    rd_kafka_event_t *ev;
    size_t n;

    k->rd_kafka_DeleteTopics(r->all.rk, &dt, 1, o, queue);
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
}

void remote_topic_delete(struct bus *b, struct bus_topic *t)
{
    job_start(b, &t->op, delete_run);
}

static void topics_run(struct remote *r, struct bus_op *op)
{
    struct bus_topics *t = container_of(op, struct bus_topics, op);
    const struct rd_kafka_metadata *md;
    rd_kafka_resp_err_t code = r->k->rd_kafka_metadata(r->all.rk, 1, NULL, &md, METADATA_MS);
    size_t bytes = 0;
    char *at;

    t->names = NULL;
    t->names_n = 0;
    if (code) {
        kafka_lib_error(r->k, code, NULL, &op->err);
        return;
    }
    for (int i = 0; i < md->topic_cnt; i++)
        bytes += sizeof *t->names + strlen(md->topics[i].topic) + 1;
    t->names = xcalloc(1, bytes);
    at = (char *)&t->names[md->topic_cnt];
    for (int i = 0; i < md->topic_cnt; i++) {
        struct str name = str_of(md->topics[i].topic);

        if (!str_starts(name, t->prefix)) continue;
        memcpy(at, name.p, name.n);
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
    rd_kafka_queue_t *queue = k->rd_kafka_queue_new(r->all.rk);
    rd_kafka_AdminOptions_t *o = options(r, RD_KAFKA_ADMIN_OP_ALTERCONSUMERGROUPOFFSETS);
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
    k->rd_kafka_AlterConsumerGroupOffsets(r->all.rk, &request, 1, o, queue);
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
    rd_kafka_queue_t *queue = k->rd_kafka_queue_new(r->all.rk);
    rd_kafka_AdminOptions_t *o = options(r, RD_KAFKA_ADMIN_OP_LISTCONSUMERGROUPOFFSETS);
    rd_kafka_event_t *ev;
    size_t n;

    cstr(topic, sizeof topic, c->topic);
    for (size_t i = 0; i < c->offsets_n; i++)
        k->rd_kafka_topic_partition_list_add(list, topic, (int32_t)i);
    c->offsets = NULL;
    request = k->rd_kafka_ListConsumerGroupOffsets_new(cstr(group, sizeof group, c->group), list);
    k->rd_kafka_ListConsumerGroupOffsets(r->all.rk, &request, 1, o, queue);
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

static void group_delete_run(struct remote *r, struct bus_op *op)
{
    const struct kafka_lib *k = r->k;
    struct bus_commit *c = container_of(op, struct bus_commit, op);
    char group[512];
    rd_kafka_DeleteGroup_t *dg = k->rd_kafka_DeleteGroup_new(cstr(group, sizeof group, c->group));
    rd_kafka_queue_t *queue = k->rd_kafka_queue_new(r->all.rk);
    rd_kafka_AdminOptions_t *o = options(r, RD_KAFKA_ADMIN_OP_DELETEGROUPS);
    rd_kafka_event_t *ev;
    size_t n;

    k->rd_kafka_DeleteGroups(r->all.rk, &dg, 1, o, queue);
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
    job_start(b, &c->op, group_delete_run);
}
