/* A newer group with topics, a clock and a log of its records, for tests. SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "broker/cgroup.h"
#include "broker/cgroup_record.h"
#include "kafka/errors.h"
#include "test.h"

enum { RIG_TOPICS_MAX = 16 };
struct rig {
    struct cgroup g;
    struct cgroup_config config;
    struct cgroup_topic topics[RIG_TOPICS_MAX];          /* by name */
    size_t topics_n;
    struct cgroup_world world;
    struct arena arena;
    struct cgroup_answer last;
    struct buf log;                                      /* batches, one behind the other */
    struct codecs *codecs;
    uint64_t now_ms;
};

static inline bool rig_find(void *ctx, struct str name, struct cgroup_topic *ret)
{
    struct rig *r = ctx;

    for (size_t i = 0; i < r->topics_n; i++)
        if (str_eq(r->topics[i].name, name)) return *ret = r->topics[i], true;
    return false;
}

static inline bool rig_next(void *ctx, struct str after, struct cgroup_topic *ret)
{
    struct rig *r = ctx;

    for (size_t i = 0; i < r->topics_n; i++)
        if (!after.p || str_cmp(r->topics[i].name, after) > 0) return *ret = r->topics[i], true;
    return false;
}

static inline struct uuid rig_id(uint8_t n)
{
    return (struct uuid){{n, 1}};
}

static inline void rig_topic(struct rig *r, const char *name, uint8_t id, int32_t partitions)
{
    size_t at = 0;

    while (at < r->topics_n && str_cmp(r->topics[at].name, str_of(name)) < 0) at++;
    if (at == r->topics_n || !str_is(r->topics[at].name, name)) {
        must(r->topics_n < RIG_TOPICS_MAX);
        memmove(&r->topics[at + 1], &r->topics[at], (r->topics_n - at) * sizeof r->topics[0]);
        r->topics_n++;
    }
    r->topics[at] = (struct cgroup_topic){rig_id(id), str_of(name), partitions};
    r->world.version++;
}

static inline void rig_topic_delete(struct rig *r, const char *name)
{
    for (size_t i = 0; i < r->topics_n; i++) {
        if (!str_is(r->topics[i].name, name)) continue;
        memmove(&r->topics[i], &r->topics[i + 1], (r->topics_n - i - 1) * sizeof r->topics[0]);
        r->topics_n--;
    }
    r->world.version++;
}

static inline void rig_init(struct rig *r)
{
    *r = (struct rig){.config = cgroup_config_default, .codecs = codecs_new(), .now_ms = 1000};
    r->world = (struct cgroup_world){1, r, rig_find, rig_next};
    cgroup_init(&r->g, STR("g"), &r->config);
}

static inline void rig_fini(struct rig *r)
{
    cgroup_fini(&r->g);
    arena_fini(&r->arena);
    buf_fini(&r->log);
    codecs_free(r->codecs);
}

/* What is dirty becomes one batch of the log. */
static inline void rig_write(struct rig *r)
{
    AUTO(buf_fini) struct buf out = {0};
    struct batch_builder w;
    struct bytes view;
    struct err e;

    if (!cgroup_is_dirty(&r->g)) return;
    batch_begin(&w, &out, NULL);
    cgroup_records_add(&w, &r->g, 5);
    must(batch_end(&w, r->codecs, &view, &e) == RC_OK);
    buf_append(&r->log, view);
    cgroup_written(&r->g);
}

/* The group as its log tells it; what had not been written is lost. */
static inline void rig_restart(struct rig *r)
{
    cgroup_fini(&r->g);
    cgroup_init(&r->g, STR("g"), &r->config);
    for (size_t at = 0; at < r->log.n;) {
        AUTO(buf_fini) struct buf scratch = {0};
        struct batch b;
        struct records it;
        struct record rec;

        must(batch_view((struct bytes){r->log.p + at, r->log.n - at}, &b) == BATCH_OK);
        must(records_open(&it, &b, r->codecs, 1 << 24, &scratch) == BATCH_OK);
        while (records_next(&it, &rec)) {
            AUTO(arena_fini) struct arena a = {0};
            struct cgroup_record got;
            struct err e;

            must(cgroup_record_decode(&rec, &a, &got, &e) == RC_OK && got.kind);
            must(str_is(got.group, "g"));
            cgroup_record_apply(&r->g, &got);
        }
        must(it.fault == BATCH_OK);
        at += b.raw.n;
    }
    cgroup_load_end(&r->g, r->now_ms);
}

static const struct parts rig_nothing = {0};

static inline const struct cgroup_answer *rig_send(struct rig *r, const struct cgroup_beat *q)
{
    struct str why;
    int16_t error = cgroup_beat_check(q, &r->config, true, &r->arena, &why);

    r->last = (struct cgroup_answer){.error = error, .why = why};
    if (!error) cgroup_beat(&r->g, q, &r->world, r->now_ms, &r->arena, &r->last);
    return &r->last;
}

/* A whole first heartbeat, for one topic. */
static inline struct cgroup_beat rig_join_beat(const char *id, const struct str *topics, size_t n)
{
    return (struct cgroup_beat){.member_id = str_of(id), .client_id = STR("c"), .client_host = STR("/h"), .rebalance_timeout_ms = 60000,
                                .topics = topics, .topics_n = n, .owned = &rig_nothing};
}

static inline const struct cgroup_answer *rig_join(struct rig *r, const char *id, const char *topic)
{
    struct str t = str_of(topic);
    struct cgroup_beat q = rig_join_beat(id, &t, 1);

    return rig_send(r, &q);
}

/* What a member says while nothing changes: owned NULL is "as before". */
static inline const struct cgroup_answer *rig_beat(struct rig *r, const char *id, int32_t epoch, const struct parts *owned)
{
    struct cgroup_beat q = {.member_id = str_of(id), .client_id = STR("c"), .client_host = STR("/h"), .epoch = epoch,
                            .rebalance_timeout_ms = -1, .topics_null = true, .owned = owned};

    return rig_send(r, &q);
}
