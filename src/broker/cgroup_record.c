/* SPDX-License-Identifier: Apache-2.0
 *
 * A key is an int16 that is both its type and its version, then the body; a value its own int16 version (0), then the
 * body. Partitions stand in rows of one topic each, as the sets are sorted.
 */
#include "broker/cgroup_record.h"
#include "broker/cgroup_core.h"
#include "broker/record_piece.h"
#include <stdlib.h>

/* ---- reading ---- */

static bool read_key(struct rd *key, struct cgroup_record *r)
{
    switch (r->kind) {
    case CGROUP_RECORD_EPOCH:
    case CGROUP_RECORD_TOPICS:
    case CGROUP_RECORD_TARGET_EPOCH: r->group = rd_str(key, false, "group_id"); break;
    default:
        r->group = rd_str(key, false, "group_id");
        r->member_id = rd_str(key, false, "member_id");
    }
    return !key->why;
}

static bool read_value(struct rd *value, struct arena *a, struct cgroup_record *r)
{
    int16_t version = rd_i16(value);

    switch (r->kind) {
    case CGROUP_RECORD_EPOCH:
        return consumer_group_metadata_value_decode(value, version, a, &r->epoch);
    case CGROUP_RECORD_TOPICS:
        return consumer_group_partition_metadata_value_decode(value, version, a, &r->topics);
    case CGROUP_RECORD_MEMBER:
        return consumer_group_member_metadata_value_decode(value, version, a, &r->member);
    case CGROUP_RECORD_TARGET_EPOCH:
        return consumer_group_target_assignment_metadata_value_decode(value, version, a,
                                                                      &r->target_epoch);
    case CGROUP_RECORD_TARGET:
        return consumer_group_target_assignment_member_value_decode(value, version, a, &r->target);
    default:
        return consumer_group_current_member_assignment_value_decode(value, version, a,
                                                                     &r->current);
    }
}

enum rc cgroup_record_decode(const struct record *rec, struct arena *a, struct cgroup_record *ret,
                             struct err *e)
{
    struct rd key, value;

    rd_init(&key, rec->key);
    rd_init(&value, rec->value);
    *ret = (struct cgroup_record){.kind = rd_i16(&key), .gone = !rec->value.p};
    if (!key.why && (ret->kind < CGROUP_RECORD_EPOCH || ret->kind > CGROUP_RECORD_CURRENT)) {
        ret->kind = 0;
        return RC_OK;
    }
    if (!read_key(&key, ret)) return rd_err(&key, e);
    if (!ret->gone && !read_value(&value, a, ret)) return rd_err(&value, e);
    return RC_OK;
}

static void topics_apply(struct cgroup *g, const struct cgroup_record *r)
{
    struct cgroup_topic *topics = xnew_array(struct cgroup_topic, r->topics.topics_n + 1);

    for (size_t i = 0; i < r->topics.topics_n; i++)
        topics[i] =
            (struct cgroup_topic){r->topics.topics[i].topic_id, r->topics.topics[i].topic_name,
                                  r->topics.topics[i].num_partitions};
    cgroup_load_topics(g, topics, r->topics.topics_n);
    free(topics);
}

typedef struct consumer_group_member_metadata_value_protocol protocol_type;

static void classic_apply(struct cgroup *g, struct cgroup_member *m,
                          const struct consumer_group_member_metadata_value_classic *v)
{
    struct group_protocol *ps;

    if (!v || !v->supported_protocols_n) {
        cgroup_classic_drop(g, m);
        return;
    }
    ps = xnew_array(struct group_protocol, v->supported_protocols_n);
    for (size_t i = 0; i < v->supported_protocols_n; i++)
        ps[i] = (struct group_protocol){v->supported_protocols[i].name,
                                        v->supported_protocols[i].metadata};
    cgroup_classic_set(g, m, v->session_timeout_ms, ps, v->supported_protocols_n);
    free(ps);
}

static void member_apply(struct cgroup *g, const struct cgroup_record *r)
{
    const struct consumer_group_member_metadata_value *v = &r->member;
    struct cgroup_beat q = {.instance_id = v->instance_id,
                            .rack_id = v->rack_id,
                            .client_id = v->client_id,
                            .client_host = v->client_host,
                            .rebalance_timeout_ms = v->rebalance_timeout_ms,
                            .topics = v->subscribed_topic_names,
                            .topics_n = v->subscribed_topic_names_n,
                            .pattern =
                                v->subscribed_topic_regex.p ? v->subscribed_topic_regex : STR(""),
                            .assignor = v->server_assignor};
    struct cgroup_member *m;

    m = cgroup_load_member(g, r->member_id);
    cgroup_load_subscription(g, m, &q);
    classic_apply(g, m, v->classic_member_metadata);
}

#define PARTS_READ(to, rows)                                                                       \
    do {                                                                                           \
        parts_clear(to);                                                                           \
        for (size_t i = 0; i < rows##_n; i++)                                                      \
            for (size_t k = 0; k < (rows)[i].partitions_n; k++)                                    \
                parts_push(to, (struct part){(rows)[i].topic_id, (rows)[i].partitions[k]});        \
        parts_sort(to);                                                                            \
    } while (0)

static void current_apply(struct cgroup *g, const struct cgroup_record *r)
{
    const struct consumer_group_current_member_assignment_value *v = &r->current;
    struct cgroup_member *m = cgroup_load_member(g, r->member_id);

    m->epoch = v->member_epoch;
    m->previous_epoch = v->previous_member_epoch;
    m->state = v->state >= CGROUP_MEMBER_STABLE && v->state <= CGROUP_MEMBER_UNRELEASED
                   ? (unsigned)v->state
                   : CGROUP_MEMBER_STABLE;
    PARTS_READ(&m->owned, v->assigned_partitions);
    PARTS_READ(&m->revoking, v->partitions_pending_revocation);
}

void cgroup_record_apply(struct cgroup *g, const struct cgroup_record *r)
{
    struct cgroup_member *m;

    switch (r->kind) {
    case CGROUP_RECORD_EPOCH: g->epoch = r->epoch.epoch; break;
    case CGROUP_RECORD_TOPICS:
        if (!r->gone) topics_apply(g, r);
        break;
    case CGROUP_RECORD_MEMBER:
        if (r->gone)
            cgroup_load_gone(g, r->member_id);
        else
            member_apply(g, r);
        break;
    case CGROUP_RECORD_TARGET_EPOCH:
        g->target_epoch = r->gone ? 0 : r->target_epoch.assignment_epoch;
        break;
    case CGROUP_RECORD_TARGET:
        m = r->gone ? cgroup_member(g, r->member_id) : cgroup_load_member(g, r->member_id);
        if (m && r->gone)
            parts_clear(&m->target);
        else if (m)
            PARTS_READ(&m->target, r->target.topic_partitions);
        break;
    case CGROUP_RECORD_CURRENT:
        if (!r->gone) current_apply(g, r);
        break;
    default: break;
    }
}

/* ---- writing ---- */

static void key_begin(struct piece *p, int16_t kind, struct str group, struct str member_id)
{
    piece_begin(p, kind);
    wr_str(&p->w, false, group);
    if (member_id.p) wr_str(&p->w, false, member_id);
}

static void add_gone(struct batch_builder *w, int16_t kind, struct str group, struct str member_id,
                     int64_t now_ms)
{
    struct piece key;

    key_begin(&key, kind, group, member_id);
    record_end(w, &key, NULL, now_ms);
}

static void add_member_gone(struct batch_builder *w, struct str group, struct str member_id,
                            int64_t now_ms)
{
    add_gone(w, CGROUP_RECORD_CURRENT, group, member_id, now_ms);
    add_gone(w, CGROUP_RECORD_TARGET, group, member_id, now_ms);
    add_gone(w, CGROUP_RECORD_MEMBER, group, member_id, now_ms);
}

typedef struct consumer_group_current_member_assignment_value_topic_partition row_type;

/* The rows and their numbers in one allocation each; *ret_numbers is for free() too. */
static row_type *rows_of(const struct parts *s, size_t *ret_n, int32_t **ret_numbers)
{
    row_type *rows = xnew_array(row_type, s->n + 1);
    int32_t *numbers = xnew_array(int32_t, s->n + 1);
    size_t n = 0;

    for (size_t i = 0; i < s->n; i++) {
        numbers[i] = s->p[i].number;
        if (!n || !uuid_eq(&rows[n - 1].topic_id, &s->p[i].topic))
            rows[n++] = (row_type){.topic_id = s->p[i].topic, .partitions = &numbers[i]};
        rows[n - 1].partitions_n++;
    }
    *ret_n = n;
    *ret_numbers = numbers;
    return rows;
}

static void add_member(struct batch_builder *w, const struct cgroup *g,
                       const struct cgroup_member *m, int64_t now_ms)
{
    struct consumer_group_member_metadata_value v = {
        .instance_id = m->instance_id,
        .rack_id = m->rack_id,
        .client_id = m->client_id,
        .client_host = m->client_host,
        .subscribed_topic_names = m->topics,
        .subscribed_topic_names_n = m->topics_n,
        .subscribed_topic_regex = m->pattern ? cgroup_member_pattern(m) : STR(""),
        .rebalance_timeout_ms = m->rebalance_timeout_ms,
        .server_assignor = m->assignor};
    struct consumer_group_member_metadata_value_classic classic;
    struct piece key, value;

    if (m->classic) {
        classic.session_timeout_ms = m->classic->session_timeout_ms;
        classic.supported_protocols_n = m->classic->protocols_n;
        classic.supported_protocols = xnew_array(protocol_type, m->classic->protocols_n);
        for (size_t i = 0; i < m->classic->protocols_n; i++)
            classic.supported_protocols[i] =
                (protocol_type){m->classic->protocols[i].name, m->classic->protocols[i].metadata};
        v.classic_member_metadata = &classic;
    }

    key_begin(&key, CGROUP_RECORD_MEMBER, g->id, m->id);
    piece_begin(&value, 0);
    must(consumer_group_member_metadata_value_encode(&value.w, 0, &v));
    record_end(w, &key, &value, now_ms);
    if (m->classic) free(classic.supported_protocols);
}

static void add_target(struct batch_builder *w, const struct cgroup *g,
                       const struct cgroup_member *m, int64_t now_ms)
{
    struct consumer_group_target_assignment_member_value v = {0};
    struct piece key, value;
    int32_t *numbers;
    size_t n;
    row_type *rows = rows_of(&m->target, &n, &numbers);

    v.topic_partitions =
        xnew_array(struct consumer_group_target_assignment_member_value_topic_partition, n + 1);
    for (; v.topic_partitions_n < n; v.topic_partitions_n++) {
        v.topic_partitions[v.topic_partitions_n].topic_id = rows[v.topic_partitions_n].topic_id;
        v.topic_partitions[v.topic_partitions_n].partitions = rows[v.topic_partitions_n].partitions;
        v.topic_partitions[v.topic_partitions_n].partitions_n =
            rows[v.topic_partitions_n].partitions_n;
    }
    key_begin(&key, CGROUP_RECORD_TARGET, g->id, m->id);
    piece_begin(&value, 0);
    must(consumer_group_target_assignment_member_value_encode(&value.w, 0, &v));
    record_end(w, &key, &value, now_ms);
    free(v.topic_partitions);
    free(rows);
    free(numbers);
}

static void add_current(struct batch_builder *w, const struct cgroup *g,
                        const struct cgroup_member *m, int64_t now_ms)
{
    struct consumer_group_current_member_assignment_value v = {.member_epoch = m->epoch,
                                                               .previous_member_epoch =
                                                                   m->previous_epoch,
                                                               .state = (int8_t)m->state};
    struct piece key, value;
    int32_t *owned, *revoking;

    v.assigned_partitions = rows_of(&m->owned, &v.assigned_partitions_n, &owned);
    v.partitions_pending_revocation =
        rows_of(&m->revoking, &v.partitions_pending_revocation_n, &revoking);
    key_begin(&key, CGROUP_RECORD_CURRENT, g->id, m->id);
    piece_begin(&value, 0);
    must(consumer_group_current_member_assignment_value_encode(&value.w, 0, &v));
    record_end(w, &key, &value, now_ms);
    free(v.assigned_partitions);
    free(v.partitions_pending_revocation);
    free(owned);
    free(revoking);
}

static void add_topics(struct batch_builder *w, const struct cgroup *g, int64_t now_ms)
{
    struct consumer_group_partition_metadata_value v = {.topics_n = g->topics_n};
    struct piece key, value;

    v.topics = xnew_array(struct consumer_group_partition_metadata_value_topic, g->topics_n + 1);
    for (size_t i = 0; i < g->topics_n; i++)
        v.topics[i] = (struct consumer_group_partition_metadata_value_topic){
            .topic_id = g->topics[i].id,
            .topic_name = g->topics[i].name,
            .num_partitions = g->topics[i].partitions};
    key_begin(&key, CGROUP_RECORD_TOPICS, g->id, (struct str){0});
    piece_begin(&value, 0);
    must(consumer_group_partition_metadata_value_encode(&value.w, 0, &v));
    record_end(w, &key, &value, now_ms);
    free(v.topics);
}

static void add_epoch(struct batch_builder *w, const struct cgroup *g, int16_t kind, int32_t epoch,
                      int64_t now_ms)
{
    struct consumer_group_metadata_value v = {.epoch = epoch}; /* both values are one number */
    struct piece key, value;

    key_begin(&key, kind, g->id, (struct str){0});
    piece_begin(&value, 0);
    must(consumer_group_metadata_value_encode(&value.w, 0, &v));
    record_end(w, &key, &value, now_ms);
}

void cgroup_records_add(struct batch_builder *w, const struct cgroup *g, int64_t now_ms)
{
    list_each(it, &g->gone)
        add_member_gone(w, g->id, container_of(it, struct cgroup_gone, link)->member_id, now_ms);
    list_each(it, &g->dirty)
    {
        const struct cgroup_member *m = container_of(it, struct cgroup_member, dirty_link);

        if (m->dirty & CGROUP_DIRTY_MEMBER) add_member(w, g, m, now_ms);
    }
    if (g->dirty_topics) add_topics(w, g, now_ms);
    if (g->dirty_epoch) add_epoch(w, g, CGROUP_RECORD_EPOCH, g->epoch, now_ms);
    list_each(it, &g->dirty)
    {
        const struct cgroup_member *m = container_of(it, struct cgroup_member, dirty_link);

        if (m->dirty & CGROUP_DIRTY_TARGET) add_target(w, g, m, now_ms);
    }
    if (g->dirty_target) add_epoch(w, g, CGROUP_RECORD_TARGET_EPOCH, g->target_epoch, now_ms);
    list_each(it, &g->dirty)
    {
        const struct cgroup_member *m = container_of(it, struct cgroup_member, dirty_link);

        if (m->dirty & CGROUP_DIRTY_CURRENT) add_current(w, g, m, now_ms);
    }
}

void cgroup_records_add_gone(struct batch_builder *w, const struct cgroup *g, int64_t now_ms)
{
    list_each(it, &g->gone)
        add_member_gone(w, g->id, container_of(it, struct cgroup_gone, link)->member_id, now_ms);
    cgroup_each_member(m, g) add_member_gone(w, g->id, m->id, now_ms);
    add_gone(w, CGROUP_RECORD_TARGET_EPOCH, g->id, (struct str){0}, now_ms);
    add_gone(w, CGROUP_RECORD_TOPICS, g->id, (struct str){0}, now_ms);
    add_gone(w, CGROUP_RECORD_EPOCH, g->id, (struct str){0}, now_ms);
}
