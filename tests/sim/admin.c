/* Creates and deletes topics of its own, looks whether they are there, cuts logs at their start, asks for their bounds, changes
 * settings. SPDX-License-Identifier: Apache-2.0 */
#include "client.h"

#include <stdio.h>

enum { TOPICS = 3 };

struct admin {
    struct client c;
    unsigned left;
    bool exists[TOPICS];                 /* as far as it knows */
    bool fresh[TOPICS];                  /* created, and nothing sent to it since */
    int64_t bounds[2];                   /* start and stable end, asked for one after the other */
};

static struct admin *admin_of(struct client *c) { return container_of(c, struct admin, c); }

static struct str topic_of(struct admin *a, uint32_t i, char into[32])
{
    return (struct str){into, (size_t)snprintf(into, 32, "own-%u-%u", a->c.id, i)};
}

static uint32_t register_of(struct admin *a, uint32_t i)
{
    char name[48], topic[32];

    snprintf(name, sizeof name, "topic %s", topic_of(a, i, topic).p);
    return history_reg(&a->c.w->history, name);
}

static bool is_unsure(int16_t code)
{
    return code == KAFKA_ERR_KAFKA_STORAGE_ERROR || code == KAFKA_ERR_REQUEST_TIMED_OUT || code == -1;
}

static void go_on(struct client *c)
{
    client_wake(c, world_duration(c->w, 100, 100000));
}

/* ---- topics ---- */

static void topic_write_ends(struct admin *a, struct call *k, int16_t code, bool exists)
{
    enum result r = !code ? RESULT_OK : is_unsure(code) ? RESULT_UNKNOWN : RESULT_FAILED;

    world_event(a->c.w, (struct event){.kind = EVENT_WRITTEN, .client = a->c.id, .reg = register_of(a, k->log), .begun = k->begun, .value = exists, .result = r});
    if (r != RESULT_OK) return;
    a->exists[k->log] = exists;
    a->fresh[k->log] = exists;
}

static void on_created(struct client *c, struct call *k, const void *response)
{
    const struct create_topics_response *a = response;

    topic_write_ends(admin_of(c), k, a ? a->topics[0].error_code : -1, true);
    if (a) go_on(c);
}

static void on_deleted(struct client *c, struct call *k, const void *response)
{
    const struct delete_topics_response *a = response;

    topic_write_ends(admin_of(c), k, a ? a->responses[0].error_code : -1, false);
    if (a) go_on(c);
}

static void create(struct admin *a, uint32_t i)
{
    char name[32];
    struct create_topics_request_config config = {STR("segment.bytes"), STR("4096")};
    struct create_topics_request_topic t = {.name = topic_of(a, i, name), .num_partitions = 1 + (int32_t)world_pick(a->c.w, 3),
                                            .replication_factor = -1, .configs = &config, .configs_n = world_pick(a->c.w, 2)};
    struct create_topics_request q = {.topics = &t, .topics_n = 1, .timeout_ms = 1000};
    struct call *k = client_ask(&a->c, KAFKA_CREATE_TOPICS, 7, &q, on_created);

    k->log = i;
    k->begun = world_event(a->c.w, (struct event){.kind = EVENT_WRITE, .client = a->c.id, .reg = register_of(a, i), .value = 1});
}

static void delete_topic(struct admin *a, uint32_t i)
{
    char name[32];
    struct delete_topics_request_topic t = {.name = topic_of(a, i, name)};
    struct delete_topics_request q = {.topics = &t, .topics_n = 1, .timeout_ms = 1000};
    struct call *k = client_ask(&a->c, KAFKA_DELETE_TOPICS, 6, &q, on_deleted);

    a->fresh[i] = false;
    k->log = i;
    k->begun = world_event(a->c.w, (struct event){.kind = EVENT_WRITE, .client = a->c.id, .reg = register_of(a, i), .value = 0});
}

static void on_metadata(struct client *c, struct call *k, const void *response)
{
    struct admin *m = admin_of(c);
    const struct metadata_response *a = response;

    if (!a) return;
    for (uint32_t i = 0; i < TOPICS; i++) {
        char name[32];
        struct str want = topic_of(m, i, name);
        bool there = false;

        for (size_t t = 0; t < a->topics_n; t++)
            there |= str_eq(a->topics[t].name, want) && !a->topics[t].error_code;
        world_event(c->w, (struct event){.kind = EVENT_SEEN, .client = c->id, .reg = register_of(m, i), .begun = k->begun, .value = there});
        m->exists[i] = there;
    }
    go_on(c);
}

static void look(struct admin *a)
{
    struct metadata_request q = {.topics_null = true};
    struct call *k = client_ask(&a->c, KAFKA_METADATA, 9, &q, on_metadata);

    k->begun = world_event(a->c.w, (struct event){.kind = EVENT_LOOK, .client = a->c.id, .reg = register_of(a, 0)});
}

/* What is sent to a topic that has just been made lies at its beginning: nothing of one that had its name before is there. */
static void on_filled(struct client *c, struct call *k, const void *response)
{
    struct admin *m = admin_of(c);
    const struct produce_response *a = response;
    const struct produce_response_partition *p = a ? &a->topics[0].partitions[0] : NULL;

    if (p && !p->error_code && m->fresh[k->log] && p->base_offset != 0)
        world_complain(c->w, "resurrected", "client %u: the first record of a new topic is at offset %lld", c->id, (long long)p->base_offset);
    m->fresh[k->log] = false;
    if (a) go_on(c);
}

static void fill(struct admin *a, uint32_t i)
{
    AUTO(buf_fini) struct buf records = {0};
    char name[32] = {0};
    struct produce_request_partition p = {.index = 0};
    struct produce_request_topic t = {.name = topic_of(a, i, name), .partitions = &p, .partitions_n = 1};
    struct produce_request q = {.acks = 1, .timeout_ms = 1000, .topics = &t, .topics_n = 1};
    struct batch_builder b;
    struct err e;

    batch_begin(&b, &records, &(struct batch_options){.leader_epoch = -1});
    for (uint64_t n = 1 + world_pick(a->c.w, 5); n--;)
        batch_add(&b, &(struct record_new){.timestamp = clock_wall_ms(&a->c.w->clock.clock), .value = bytes_of(name, sizeof name)});
    must(!batch_end(&b, NULL, &p.records, &e));
    client_ask(&a->c, KAFKA_PRODUCE, 9, &q, on_filled)->log = i;
}

/* ---- bounds ---- */

static void on_bound(struct client *c, struct call *k, const void *response)
{
    const struct list_offsets_response *a = response;
    struct event e = {.kind = EVENT_BOUNDS, .client = c->id, .log = k->log, .begun = k->begun, .offset = -1, .next = -1, .value = (uint64_t)-1};
    int64_t got;

    if (!a) return;
    got = a->topics[0].partitions[0].error_code ? -1 : a->topics[0].partitions[0].offset;
    if (k->tag == 0) e.offset = got;
    if (k->tag == 1) e.next = got;
    if (k->tag == 2) e.value = (uint64_t)got;
    world_event(c->w, e);
    go_on(c);
}

static void ask_bound(struct admin *a)
{
    uint32_t log = (uint32_t)world_pick(a->c.w, DATA_LOGS);
    uint64_t which = world_pick(a->c.w, 3);
    struct call *k = client_ask_offset(&a->c, log, which ? -1 : -2, which == 2, on_bound);

    k->tag = which;
    k->log = log;
    k->begun = world_event(a->c.w, (struct event){.kind = EVENT_BOUNDS_ASK, .client = a->c.id, .log = log});
}

static void on_trimmed(struct client *c, struct call *k, const void *response)
{
    const struct delete_records_response *a = response;
    int16_t code = a ? a->topics[0].partitions[0].error_code : -1;

    world_event(c->w, (struct event){.kind = EVENT_TRIMMED, .client = c->id, .log = k->log, .begun = k->begun, .result = code ? RESULT_UNKNOWN : RESULT_OK,
                                     .offset = code ? -1 : a->topics[0].partitions[0].low_watermark});
    if (a) go_on(c);
}

static void trim(struct admin *a)
{
    uint32_t log = (uint32_t)world_pick(a->c.w, DATA_LOGS);
    struct delete_records_request_partition p = {.partition_index = data_logs[log].partition, .offset = (int64_t)world_pick(a->c.w, 60)};
    struct delete_records_request_topic t = {.name = str_of(data_logs[log].topic), .partitions = &p, .partitions_n = 1};
    struct delete_records_request q = {.topics = &t, .topics_n = 1, .timeout_ms = 1000};
    struct call *k;

    if (!data_logs[log].trimmed) {
        ask_bound(a);
        return;
    }
    if (world_chance(a->c.w, 10)) p.offset = -1;
    k = client_ask(&a->c, KAFKA_DELETE_RECORDS, 2, &q, on_trimmed);
    k->log = log;
    k->begun = world_event(a->c.w, (struct event){.kind = EVENT_TRIM, .client = a->c.id, .log = log, .offset = p.offset});
}

/* ---- settings ---- */

static void on_configured(struct client *c, struct call *k, const void *response)
{
    (void)k;
    if (response) go_on(c);
}

static void configure(struct admin *a)
{
    static const char *const sizes[] = {"14000", "30000", "1000000"};
    struct incremental_alter_configs_request_config v = {.name = STR("segment.bytes"), .value = str_of(sizes[world_pick(a->c.w, countof(sizes))])};
    struct incremental_alter_configs_request_resource r = {.resource_type = 2, .resource_name = world_chance(a->c.w, 50) ? STR("a") : STR("k"),
                                                           .configs = &v, .configs_n = 1};
    struct incremental_alter_configs_request q = {.resources = &r, .resources_n = 1};

    client_ask(&a->c, KAFKA_INCREMENTAL_ALTER_CONFIGS, 1, &q, on_configured);
}

/* ---- life ---- */

static void wake(struct client *c)
{
    struct admin *a = admin_of(c);
    uint64_t what = world_pick(c->w, 100);
    uint32_t i = (uint32_t)world_pick(c->w, TOPICS);

    if (client_waits(c) || !a->left) return;
    a->left--;
    if (what < 35) ask_bound(a);
    else if (what < 45) trim(a);
    else if (what < 55) look(a);
    else if (what < 60) configure(a);
    else if (!a->exists[i]) create(a, i);
    else if (what < 80) fill(a, i);
    else delete_topic(a, i);
}

static bool is_done(struct client *c)
{
    struct admin *a = admin_of(c);

    if (a->left > 5) a->left = 5;
    return !a->left && !client_waits(c);
}

static const struct client_kind kind = {.name = "admin", .size = sizeof(struct admin), .up = wake, .wake = wake, .is_done = is_done};

struct client *admin_new(struct world *w)
{
    struct admin *a = client_new(w, &kind);

    a->left = 20 + (unsigned)world_pick(w, 60);
    return &a->c;
}
