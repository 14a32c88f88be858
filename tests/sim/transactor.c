/* A transactional producer: begins, writes to some logs, commits or aborts; after a lost connection it asks again, or begins anew with
 * InitProducerId, which ends what was open. Two of them may share an id and fence each other. SPDX-License-Identifier: Apache-2.0 */
#include "client.h"

#include <stdio.h>

enum { WRITES_MAX = 5, TXN_LOGS = 4 };                            /* not the compacted log, which forgets what was aborted */
enum stage { STAGE_INIT, STAGE_IDLE, STAGE_ADD, STAGE_WRITE, STAGE_END };

struct transactor {
    struct client c;
    char id[16];
    enum stage stage;
    int64_t pid;
    int16_t epoch;
    int32_t sequence[TXN_LOGS];
    uint32_t txn, begun, end_begun, target;
    bool added[TXN_LOGS], commit, unsure;
    unsigned writes;                     /* left in this transaction */
    uint64_t value;                      /* being written */
    struct buf batch;
    unsigned left;                       /* transactions left */
    int32_t timeout_ms;
};

static struct transactor *transactor_of(struct client *c) { return container_of(c, struct transactor, c); }

static void go_on(struct transactor *t)
{
    client_wake(&t->c, world_duration(t->c.w, 10, 20000));
}

/* ---- how things end ---- */

static void value_ends(struct transactor *t, enum result result, int64_t offset)
{
    if (!t->value) return;
    world_event(t->c.w, (struct event){.kind = EVENT_SENT, .client = t->c.id, .log = t->target, .begun = t->begun, .value = t->value, .result = result,
                                       .offset = offset, .txn = t->txn});
    t->value = 0;
}

static void txn_ends(struct transactor *t, enum result result)
{
    if (t->stage == STAGE_END)
        world_event(t->c.w, (struct event){.kind = EVENT_TXN_ENDED, .client = t->c.id, .txn = t->txn, .value = t->commit, .begun = t->end_begun, .result = result});
    value_ends(t, RESULT_UNKNOWN, -1);
    t->txn = 0;
    t->stage = STAGE_IDLE;
}

/* What is open is left to the coordinator: the next InitProducerId ends it. */
static void start_over(struct transactor *t)
{
    txn_ends(t, t->unsure ? RESULT_UNKNOWN : RESULT_FAILED);
    t->stage = STAGE_INIT;
    go_on(t);
}

/* True: there is nothing to go on with. Ask the same again, or begin anew. */
static bool is_trouble(struct transactor *t, int16_t code)
{
    if (!code) return false;
    world_trace(t->c.w, "txn error", t->c.id, t->stage, (uint64_t)code);
    if (code == KAFKA_ERR_CONCURRENT_TRANSACTIONS || code == KAFKA_ERR_COORDINATOR_LOAD_IN_PROGRESS) {
        client_wake(&t->c, world_duration(t->c.w, 1000, 50000));
    } else if (code == KAFKA_ERR_KAFKA_STORAGE_ERROR || code == KAFKA_ERR_REQUEST_TIMED_OUT || code == KAFKA_ERR_COORDINATOR_NOT_AVAILABLE ||
               code == KAFKA_ERR_NOT_COORDINATOR) {
        t->unsure = true;
        client_wake(&t->c, world_duration(t->c.w, 1000, 100000));
    } else {
        start_over(t);
    }
    return true;
}

/* ---- requests ---- */

static void on_init(struct client *c, struct call *k, const void *response)
{
    struct transactor *t = transactor_of(c);
    const struct init_producer_id_response *a = response;

    (void)k;
    if (!a || is_trouble(t, a->error_code)) return;
    t->pid = a->producer_id;
    t->epoch = a->producer_epoch;
    memset(t->sequence, 0, sizeof t->sequence);
    t->stage = STAGE_IDLE;
    go_on(t);
}

static void init(struct transactor *t)
{
    struct init_producer_id_request q = {.transactional_id = str_of(t->id), .transaction_timeout_ms = t->timeout_ms, .producer_id = -1, .producer_epoch = -1};

    client_ask(&t->c, KAFKA_INIT_PRODUCER_ID, 4, &q, on_init);
}

static void on_added(struct client *c, struct call *k, const void *response)
{
    struct transactor *t = transactor_of(c);
    const struct add_partitions_to_txn_response *a = response;

    (void)k;
    if (!a || is_trouble(t, a->results_by_topic_v3_and_below[0].results_by_partition[0].partition_error_code)) return;
    t->added[t->target] = true;
    t->stage = STAGE_WRITE;
    client_wake(c, 1);
}

static void add(struct transactor *t)
{
    int32_t partition = data_logs[t->target].partition;
    struct add_partitions_to_txn_request_topic topic = {str_of(data_logs[t->target].topic), &partition, 1};
    struct add_partitions_to_txn_request q = {.v3_and_below_transactional_id = str_of(t->id), .v3_and_below_producer_id = t->pid,
                                              .v3_and_below_producer_epoch = t->epoch, .v3_and_below_topics = &topic, .v3_and_below_topics_n = 1};

    client_ask(&t->c, KAFKA_ADD_PARTITIONS_TO_TXN, 3, &q, on_added);
}

static void on_written(struct client *c, struct call *k, const void *response)
{
    struct transactor *t = transactor_of(c);
    const struct produce_response *a = response;
    const struct produce_response_partition *p = a ? &a->topics[0].partitions[0] : NULL;

    (void)k;
    if (!p || is_trouble(t, p->error_code)) return;
    value_ends(t, RESULT_OK, p->base_offset);
    t->sequence[t->target]++;
    t->stage = STAGE_IDLE;
    go_on(t);
}

static void batch_make(struct transactor *t)
{
    struct batch_options o = {.transactional = true, .has_producer = true, .producer_id = t->pid, .producer_epoch = t->epoch,
                              .base_sequence = t->sequence[t->target], .leader_epoch = -1};
    struct batch_builder b;
    struct bytes view;
    struct err e;
    char text[32];

    t->value = ++t->c.w->history.values;
    buf_clear(&t->batch);
    batch_begin(&b, &t->batch, &o);
    batch_add(&b, &(struct record_new){.timestamp = clock_wall_ms(&t->c.w->clock.clock), .key = bytes_of("k1", 2),
                                       .value = bytes_of(text, (size_t)snprintf(text, sizeof text, "v%llu", (unsigned long long)t->value))});
    must(!batch_end(&b, NULL, &view, &e));
    t->begun = world_event(t->c.w, (struct event){.kind = EVENT_SEND, .client = t->c.id, .log = t->target, .value = t->value, .txn = t->txn});
}

static void write_value(struct transactor *t)
{
    struct produce_request_partition row = {.index = data_logs[t->target].partition};
    struct produce_request_topic topic = {.name = str_of(data_logs[t->target].topic), .partitions = &row, .partitions_n = 1};
    struct produce_request q = {.transactional_id = str_of(t->id), .acks = -1, .timeout_ms = 1000, .topics = &topic, .topics_n = 1};

    if (!t->value) batch_make(t);                                 /* else it is sent once more, as it was */
    row.records = buf_view(&t->batch);
    client_ask(&t->c, KAFKA_PRODUCE, 9, &q, on_written);
}

static void on_ended(struct client *c, struct call *k, const void *response)
{
    struct transactor *t = transactor_of(c);
    const struct end_txn_response *a = response;

    (void)k;
    if (!a || is_trouble(t, a->error_code)) return;
    txn_ends(t, RESULT_OK);
    go_on(t);
}

static void end(struct transactor *t)
{
    struct end_txn_request q = {str_of(t->id), t->pid, t->epoch, t->commit};

    client_ask(&t->c, KAFKA_END_TXN, 3, &q, on_ended);
}

/* ---- what next ---- */

static void begin(struct transactor *t)
{
    t->left--;
    t->txn = ++t->c.w->history.txns;
    t->unsure = false;
    t->writes = 1 + (unsigned)world_pick(t->c.w, WRITES_MAX);
    memset(t->added, 0, sizeof t->added);
}

static void idle(struct transactor *t)
{
    struct world *w = t->c.w;

    if (!t->txn && !t->left) return;
    if (!t->txn) begin(t);
    if (t->writes && world_chance(w, 2)) {                        /* a program that dies in the middle */
        start_over(t);
        return;
    }
    if (t->writes && world_chance(w, 3)) {                        /* … or falls silent, until its transaction times out */
        client_wake(&t->c, world_duration(w, 1000000, 30000000));
        return;
    }
    if (t->writes) {
        t->writes--;
        t->target = (uint32_t)world_pick(w, TXN_LOGS);
        t->stage = t->added[t->target] ? STAGE_WRITE : STAGE_ADD;
    } else {
        t->commit = world_chance(w, 60);
        t->stage = STAGE_END;
        t->end_begun = world_event(w, (struct event){.kind = EVENT_TXN_END, .client = t->c.id, .txn = t->txn, .value = t->commit});
    }
    client_wake(&t->c, 1);
}

static void wake(struct client *c)
{
    struct transactor *t = transactor_of(c);

    if (client_waits(c)) return;
    switch (t->stage) {
    case STAGE_INIT: init(t); break;
    case STAGE_IDLE: idle(t); break;
    case STAGE_ADD: add(t); break;
    case STAGE_WRITE: write_value(t); break;
    case STAGE_END: end(t); break;
    }
}

static void down(struct client *c)
{
    struct transactor *t = transactor_of(c);

    t->unsure = true;
    if (world_chance(c->w, 30)) start_over(t);
}

static bool is_done(struct client *c)
{
    struct transactor *t = transactor_of(c);

    t->left = MIN(t->left, 2u);
    return !t->left && !t->txn && t->stage == STAGE_IDLE && !client_waits(c);
}

static void fini(struct client *c)
{
    struct transactor *t = transactor_of(c);

    value_ends(t, RESULT_UNKNOWN, -1);
    buf_fini(&t->batch);
}

static const struct client_kind kind = {.name = "transactor", .size = sizeof(struct transactor), .up = wake, .down = down, .wake = wake,
                                        .is_done = is_done, .fini = fini};

struct client *transactor_new(struct world *w, unsigned id)
{
    struct transactor *t = client_new(w, &kind);

    snprintf(t->id, sizeof t->id, "t%u", id);
    t->left = 5 + (unsigned)world_pick(w, 20);
    t->timeout_ms = 1000 + (int32_t)world_duration(w, 0, 60000);
    return &t->c;
}
