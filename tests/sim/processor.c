/* Consumes, transforms, produces: each value that it reads in one log becomes one in another, and how far it has read is committed in
 * the same transaction. After whatever goes wrong it begins anew with InitProducerId, and goes on from the committed
 * offset. Some have one transactional id, and fence each other; some are members of a group (KIP-447), of which one at a
 * time has the input, whoever was replaced may not commit any more, and the offset is not told while a transaction that is to move it is open.
 * SPDX-License-Identifier: Apache-2.0 */
#include "commits.h"

#include <stdio.h>

enum { INPUT = 0, OUTPUT = 2, VALUES_MAX = 40, BYTES_MAX = 1500, BEAT_US = 1000000 };
enum stage { STAGE_INIT, STAGE_JOIN, STAGE_SYNC, STAGE_OFFSETS, STAGE_READ, STAGE_ADD, STAGE_WRITE, STAGE_ADD_OFFSETS, STAGE_COMMIT, STAGE_END };

struct processor {
    struct client c;
    const char *group;
    char id[24];                         /* of its transactions */
    bool shares;                         /* is a member of the group */
    char member[96], chosen[96];         /* its id there; as leader: who gets the input */
    int32_t generation;                  /* -1: is no member */
    bool leads, owns;
    uint32_t joined;
    uint64_t beat_us;
    enum stage stage;
    int64_t pid;
    int16_t epoch;
    int32_t sequence;
    int64_t position;                    /* in INPUT */
    uint64_t sources[VALUES_MAX], first;                 /* what was read; the values made of it */
    uint32_t begun[VALUES_MAX], txn, end_begun, commit_begun;
    uint64_t commit_value;
    char metadata[32];
    size_t n;
    bool commit, unsure, sent;           /* sent: the values are on their way */
    struct buf batch;
    unsigned left;                       /* transactions */
    int32_t timeout_ms;
};

static struct processor *processor_of(struct client *c) { return container_of(c, struct processor, c); }

static void go_on(struct processor *p, enum stage stage)
{
    p->stage = stage;
    client_wake(&p->c, world_duration(p->c.w, 10, 10000));
}

/* ---- how things end ---- */

static void values_end(struct processor *p, enum result result, int64_t offset)
{
    for (size_t i = 0; i < p->n && p->sent; i++)
        world_event(p->c.w, (struct event){.kind = EVENT_SENT, .client = p->c.id, .log = OUTPUT, .begun = p->begun[i], .value = p->first + i,
                                           .result = result, .offset = offset < 0 ? -1 : offset + (int64_t)i, .txn = p->txn});
    p->sent = false;
}

static void txn_ends(struct processor *p, enum result result)
{
    struct world *w = p->c.w;
    bool committed = result == RESULT_OK && p->commit;

    if (p->stage == STAGE_END)
        world_event(w, (struct event){.kind = EVENT_TXN_ENDED, .client = p->c.id, .txn = p->txn, .value = p->commit, .begun = p->end_begun, .result = result});
    if (p->commit_value)
        world_event(w, (struct event){.kind = EVENT_WRITTEN, .client = p->c.id, .reg = commit_register(w, p->group, INPUT), .begun = p->commit_begun,
                                      .value = p->commit_value, .log = INPUT, .next = p->generation, .key = group_register(w, p->group),
                                      .result = committed ? RESULT_OK : result == RESULT_UNKNOWN && p->commit ? RESULT_UNKNOWN : RESULT_FAILED});
    values_end(p, RESULT_UNKNOWN, -1);
    p->commit_value = 0;
    p->commit = false;
    p->txn = 0;
    p->n = 0;
}

/* What is open is left to the coordinator: the next InitProducerId ends it. */
static void start_over(struct processor *p)
{
    txn_ends(p, p->unsure ? RESULT_UNKNOWN : RESULT_FAILED);
    go_on(p, STAGE_INIT);
}

/* True: there is nothing to go on with. Ask the same again, or begin anew. */
static bool is_trouble(struct processor *p, int16_t code)
{
    if (!code) return false;
    world_trace(p->c.w, "eos error", p->c.id, p->stage, (uint64_t)code);
    if (code == KAFKA_ERR_CONCURRENT_TRANSACTIONS || code == KAFKA_ERR_COORDINATOR_LOAD_IN_PROGRESS) {
        client_wake(&p->c, world_duration(p->c.w, 1000, 50000));
    } else if (code == KAFKA_ERR_KAFKA_STORAGE_ERROR || code == KAFKA_ERR_REQUEST_TIMED_OUT || code == KAFKA_ERR_COORDINATOR_NOT_AVAILABLE ||
               code == KAFKA_ERR_NOT_COORDINATOR) {
        p->unsure = true;
        client_wake(&p->c, world_duration(p->c.w, 1000, 100000));
    } else {
        start_over(p);
    }
    return true;
}

/* ---- the group ---- */

/* True: it has to join (again). */
static bool is_out(struct processor *p, int16_t code)
{
    if (!code) return false;
    if (code == KAFKA_ERR_UNKNOWN_MEMBER_ID) p->member[0] = 0;
    p->owns = false;
    go_on(p, STAGE_JOIN);
    return true;
}

static void on_joined(struct client *c, struct call *k, const void *response)
{
    struct processor *p = processor_of(c);
    const struct join_group_response *a = response;

    (void)k;
    if (!a) return;
    if (a->error_code == KAFKA_ERR_MEMBER_ID_REQUIRED) snprintf(p->member, sizeof p->member, STR_FMT, STR_ARG(a->member_id));
    if (is_out(p, a->error_code)) return;
    snprintf(p->member, sizeof p->member, STR_FMT, STR_ARG(a->member_id));
    p->generation = a->generation_id;
    p->leads = str_eq(a->leader, a->member_id);
    if (p->leads) snprintf(p->chosen, sizeof p->chosen, STR_FMT, STR_ARG(a->members[world_pick(c->w, a->members_n)].member_id));
    go_on(p, STAGE_SYNC);
}

static void join(struct processor *p)
{
    struct join_group_request_protocol protocol = {STR("one"), bytes_of("m", 1)};
    struct join_group_request q = {.group_id = str_of(p->group), .session_timeout_ms = 6000, .rebalance_timeout_ms = 5000, .member_id = str_of(p->member),
                                   .protocol_type = STR("consumer"), .protocols = &protocol, .protocols_n = 1};

    p->joined = world_event(p->c.w, (struct event){.kind = EVENT_JOIN, .client = p->c.id, .reg = group_register(p->c.w, p->group)});
    client_ask(&p->c, KAFKA_JOIN_GROUP, 9, &q, on_joined);
}

static void on_synced(struct client *c, struct call *k, const void *response)
{
    struct processor *p = processor_of(c);
    const struct sync_group_response *a = response;

    (void)k;
    if (!a || is_out(p, a->error_code)) return;
    p->owns = a->assignment.n > 0;
    p->beat_us = c->w->now_us;
    if (p->owns)
        world_event(c->w, (struct event){.kind = EVENT_OWNS, .client = c->id, .reg = group_register(c->w, p->group), .log = INPUT,
                                         .begun = p->joined, .value = (uint64_t)p->generation});
    go_on(p, p->owns ? STAGE_OFFSETS : STAGE_READ);
}

static void sync(struct processor *p)
{
    struct sync_group_request_assignment it = {str_of(p->chosen), bytes_of("i", 1)};
    struct sync_group_request q = {.group_id = str_of(p->group), .generation_id = p->generation, .member_id = str_of(p->member),
                                   .protocol_type = STR("consumer"), .protocol_name = STR("one"), .assignments = &it, .assignments_n = p->leads};

    client_ask(&p->c, KAFKA_SYNC_GROUP, 5, &q, on_synced);
}

static void on_beaten(struct client *c, struct call *k, const void *response)
{
    struct processor *p = processor_of(c);
    const struct heartbeat_response *a = response;

    (void)k;
    if (!a || is_out(p, a->error_code)) return;
    p->beat_us = c->w->now_us;
    client_wake(c, world_duration(c->w, 100, p->owns ? 10000 : 500000));
}

static void beat(struct processor *p)
{
    struct heartbeat_request q = {.group_id = str_of(p->group), .generation_id = p->generation, .member_id = str_of(p->member)};

    client_ask(&p->c, KAFKA_HEARTBEAT, 4, &q, on_beaten);
}

/* ---- where it begins ---- */

static void on_init(struct client *c, struct call *k, const void *response)
{
    struct processor *p = processor_of(c);
    const struct init_producer_id_response *a = response;

    (void)k;
    if (!a || is_trouble(p, a->error_code)) return;
    p->pid = a->producer_id;
    p->epoch = a->producer_epoch;
    p->sequence = 0;
    go_on(p, p->shares ? STAGE_JOIN : STAGE_OFFSETS);
}

static void init(struct processor *p)
{
    struct init_producer_id_request q = {.transactional_id = str_of(p->id), .transaction_timeout_ms = p->timeout_ms, .producer_id = -1, .producer_epoch = -1};

    client_ask(&p->c, KAFKA_INIT_PRODUCER_ID, 4, &q, on_init);
}

static void on_offsets(struct client *c, struct call *k, const void *response)
{
    struct processor *p = processor_of(c);
    int64_t offsets[DATA_LOGS];

    if (!committed_ended(c, k, p->group, response, offsets)) {
        if (response) client_wake(c, world_duration(c->w, 1000, 50000));
        return;
    }
    p->position = MAX(offsets[INPUT], 0);
    world_event(c->w, (struct event){.kind = EVENT_SEEK, .client = c->id, .log = INPUT, .offset = p->position});
    go_on(p, STAGE_READ);
}

/* ---- consume ---- */

static void on_fetched(struct client *c, struct call *k, const void *response)
{
    struct processor *p = processor_of(c);
    const struct fetch_response *a = response;
    const struct history *h = &c->w->history;
    size_t from = h->n;

    (void)k;
    if (!a) return;
    if (!a->topics[0].partitions[0].error_code)
        records_take(c, INPUT, true, c->w->history.txns + 1, &a->topics[0].partitions[0], &p->position);
    p->n = 0;
    for (size_t i = from; i < h->n; i++)
        if (h->events[i].kind == EVENT_READ && h->events[i].value) {
            must(p->n < VALUES_MAX);
            p->sources[p->n++] = h->events[i].value;
        }
    if (!p->n) return go_on(p, STAGE_READ);
    p->left--;
    p->txn = ++c->w->history.txns;
    p->unsure = false;
    go_on(p, STAGE_ADD);
}

static void consume(struct processor *p)
{
    struct fetch_terms terms = {.max_wait_ms = (int32_t)world_pick(p->c.w, 50), .bytes_max = BYTES_MAX, .committed = true};

    client_ask_fetch(&p->c, INPUT, p->position, terms, on_fetched);
}

/* ---- produce ---- */

static void on_added(struct client *c, struct call *k, const void *response)
{
    struct processor *p = processor_of(c);
    const struct add_partitions_to_txn_response *a = response;

    (void)k;
    if (!a || is_trouble(p, a->results_by_topic_v3_and_below[0].results_by_partition[0].partition_error_code)) return;
    go_on(p, STAGE_WRITE);
}

static void add(struct processor *p)
{
    int32_t partition = data_logs[OUTPUT].partition;
    struct add_partitions_to_txn_request_topic topic = {str_of(data_logs[OUTPUT].topic), &partition, 1};
    struct add_partitions_to_txn_request q = {.v3_and_below_transactional_id = str_of(p->id), .v3_and_below_producer_id = p->pid,
                                              .v3_and_below_producer_epoch = p->epoch, .v3_and_below_topics = &topic, .v3_and_below_topics_n = 1};

    client_ask(&p->c, KAFKA_ADD_PARTITIONS_TO_TXN, 3, &q, on_added);
}

static void transform(struct processor *p)
{
    struct world *w = p->c.w;
    struct batch_options o = {.transactional = true, .has_producer = true, .producer_id = p->pid, .producer_epoch = p->epoch,
                              .base_sequence = p->sequence, .leader_epoch = -1};
    struct batch_builder b;
    struct bytes view;
    struct err e;
    char text[32];

    p->first = w->history.values + 1;
    w->history.values += p->n;
    buf_clear(&p->batch);
    batch_begin(&b, &p->batch, &o);
    for (size_t i = 0; i < p->n; i++) {
        batch_add(&b, &(struct record_new){.timestamp = clock_wall_ms(&w->clock.clock), .key = bytes_of("k1", 2),
                                           .value = bytes_of(text, (size_t)snprintf(text, sizeof text, "v%llu", (unsigned long long)(p->first + i)))});
        p->begun[i] = world_event(w, (struct event){.kind = EVENT_SEND, .client = p->c.id, .log = OUTPUT, .value = p->first + i, .txn = p->txn,
                                                    .source = p->sources[i], .reg = commit_register(w, p->group, INPUT)});
    }
    must(!batch_end(&b, NULL, &view, &e));
    p->sent = true;
}

static void on_written(struct client *c, struct call *k, const void *response)
{
    struct processor *p = processor_of(c);
    const struct produce_response *a = response;
    const struct produce_response_partition *r = a ? &a->topics[0].partitions[0] : NULL;

    (void)k;
    if (!r || is_trouble(p, r->error_code)) return;
    values_end(p, RESULT_OK, r->base_offset);
    p->sequence += (int32_t)p->n;
    go_on(p, STAGE_ADD_OFFSETS);
}

static void write_values(struct processor *p)
{
    struct produce_request_partition row = {.index = data_logs[OUTPUT].partition};
    struct produce_request_topic topic = {.name = str_of(data_logs[OUTPUT].topic), .partitions = &row, .partitions_n = 1};
    struct produce_request q = {.transactional_id = str_of(p->id), .acks = -1, .timeout_ms = 1000, .topics = &topic, .topics_n = 1};

    if (!p->sent) transform(p);                                   /* else they are sent once more, as they were */
    row.records = buf_view(&p->batch);
    client_ask(&p->c, KAFKA_PRODUCE, 9, &q, on_written);
}

/* ---- commit ---- */

static void on_offsets_added(struct client *c, struct call *k, const void *response)
{
    struct processor *p = processor_of(c);
    const struct add_offsets_to_txn_response *a = response;

    (void)k;
    if (!a || is_trouble(p, a->error_code)) return;
    go_on(p, STAGE_COMMIT);
}

static void add_offsets(struct processor *p)
{
    struct add_offsets_to_txn_request q = {.transactional_id = str_of(p->id), .producer_id = p->pid, .producer_epoch = p->epoch, .group_id = str_of(p->group)};

    client_ask(&p->c, KAFKA_ADD_OFFSETS_TO_TXN, 3, &q, on_offsets_added);
}

static void end_soon(struct processor *p)
{
    p->commit = world_chance(p->c.w, 75);
    go_on(p, STAGE_END);
    p->end_begun = world_event(p->c.w, (struct event){.kind = EVENT_TXN_END, .client = p->c.id, .txn = p->txn, .value = p->commit});
}

static void on_committed(struct client *c, struct call *k, const void *response)
{
    struct processor *p = processor_of(c);
    const struct txn_offset_commit_response *a = response;

    (void)k;
    if (a && !is_trouble(p, a->topics[0].partitions[0].error_code)) end_soon(p);
}

static void commit(struct processor *p)
{
    struct world *w = p->c.w;
    struct txn_offset_commit_request_partition part = {.partition_index = data_logs[INPUT].partition, .committed_offset = p->position, .committed_leader_epoch = -1};
    struct txn_offset_commit_request_topic topic = {.name = str_of(data_logs[INPUT].topic), .partitions = &part, .partitions_n = 1};
    struct txn_offset_commit_request q = {.transactional_id = str_of(p->id), .group_id = str_of(p->group), .producer_id = p->pid, .producer_epoch = p->epoch,
                                          .generation_id = p->generation, .member_id = str_of(p->member), .topics = &topic, .topics_n = 1};

    if (!p->commit_value) {
        p->commit_value = commit_value(w, p->position, p->metadata);
        p->commit_begun = world_event(w, (struct event){.kind = EVENT_WRITE, .client = p->c.id, .reg = commit_register(w, p->group, INPUT),
                                                        .value = p->commit_value, .offset = p->position, .log = INPUT});
    }
    part.committed_metadata = str_of(p->metadata);
    client_ask(&p->c, KAFKA_TXN_OFFSET_COMMIT, 3, &q, on_committed);
}

static void on_ended(struct client *c, struct call *k, const void *response)
{
    struct processor *p = processor_of(c);
    const struct end_txn_response *a = response;
    bool commit = p->commit;

    (void)k;
    if (!a || is_trouble(p, a->error_code)) return;
    txn_ends(p, RESULT_OK);
    go_on(p, commit && world_chance(c->w, 80) ? STAGE_READ : STAGE_OFFSETS);
}

static void end(struct processor *p)
{
    struct end_txn_request q = {str_of(p->id), p->pid, p->epoch, p->commit};

    client_ask(&p->c, KAFKA_END_TXN, 3, &q, on_ended);
}

/* ---- what next ---- */

static void read_on(struct processor *p)
{
    bool more = p->left && !p->c.w->finishing;

    if (p->shares && more && (!p->owns || p->c.w->now_us - p->beat_us > BEAT_US)) beat(p);
    else if (more) consume(p);
}

static void wake(struct client *c)
{
    struct processor *p = processor_of(c);

    if (client_waits(c)) return;
    if (p->stage > STAGE_READ && world_chance(c->w, 1)) return start_over(p);                    /* a program that dies in the middle */
    if (p->stage > STAGE_READ && world_chance(c->w, 1)) return client_wake(c, world_duration(c->w, 1000000, 30000000));
    switch (p->stage) {
    case STAGE_INIT: init(p); break;
    case STAGE_JOIN: join(p); break;
    case STAGE_SYNC: sync(p); break;
    case STAGE_OFFSETS: committed_ask(c, p->group, on_offsets); break;
    case STAGE_READ: read_on(p); break;
    case STAGE_ADD: add(p); break;
    case STAGE_WRITE: write_values(p); break;
    case STAGE_ADD_OFFSETS: add_offsets(p); break;
    case STAGE_COMMIT: commit(p); break;
    case STAGE_END: end(p); break;
    }
}

static void down(struct client *c)
{
    struct processor *p = processor_of(c);

    p->unsure = true;
    if (p->stage == STAGE_SYNC) p->stage = STAGE_JOIN;
    if (p->stage > STAGE_READ && world_chance(c->w, 30)) start_over(p);
}

static bool is_done(struct client *c)
{
    struct processor *p = processor_of(c);

    return p->stage == STAGE_READ && !client_waits(c);
}

static void fini(struct client *c)
{
    struct processor *p = processor_of(c);

    values_end(p, RESULT_UNKNOWN, -1);
    buf_fini(&p->batch);
}

static const struct client_kind kind = {.name = "processor", .size = sizeof(struct processor), .up = wake, .down = down, .wake = wake,
                                        .is_done = is_done, .fini = fini};

const char *const processor_groups[PROCESSOR_GROUPS] = {"processors", "sharers"};

struct client *processor_new(struct world *w, bool shares)
{
    struct processor *p = client_new(w, &kind);

    p->shares = shares;
    p->group = processor_groups[shares];
    snprintf(p->id, sizeof p->id, "%s-%u", p->group, shares ? p->c.id : 0);
    p->generation = -1;
    p->left = 10 + (unsigned)world_pick(w, 60);
    p->timeout_ms = 1000 + (int32_t)world_duration(w, 0, 60000);
    return &p->c;
}
