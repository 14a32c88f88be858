/* Produces values to every log. Three manners: idempotent with several batches in flight and retries in order, as librdkafka
 * does it; acks=1 without retries; acks=0. Each batch goes to one partition. SPDX-License-Identifier: Apache-2.0 */
#include "client.h"

enum { IN_FLIGHT_MAX = 5, BATCH_RECORDS_MAX = 4, TARGET_QUEUE_MAX = 8 };

struct sending {
    struct list link;
    uint32_t target, begun[BATCH_RECORDS_MAX];
    uint64_t first;                      /* value; those of a batch follow each other */
    int n, tries;
    int32_t sequence;
    bool flying, refused;                /* refused: for good, it must not be in the log */
    struct buf records;                  /* without producer and sequence */
};

struct target {
    struct list queue;
    int32_t next_sequence;
    unsigned flying;
    bool again;
    bool overtaken;                      /* a batch was taken before one that was sent earlier: as Kafka, the broker takes any
                                            sequence from a producer of which it knows nothing */
};

struct producer {
    struct client c;
    bool idempotent;
    int16_t acks, version;
    int64_t id;                          /* -1: not asked for yet */
    int16_t epoch;
    bool over;                           /* it has to begin anew */
    struct target targets[DATA_LOGS];
    unsigned left;                       /* batches still to be made */
};

static struct producer *producer_of(struct client *c) { return container_of(c, struct producer, c); }

/* ---- making ---- */

static size_t padding(struct world *w, uint32_t log)
{
    uint64_t how = world_pick(w, 200);

    if (how < 3 && data_logs[log].large) return 100000 + world_pick(w, 200000);     /* goes to a file of its own */
    return (size_t)world_duration(w, 0, how < 20 ? 3000 : 600);
}

static void batch_make(struct producer *p, struct sending *s)
{
    struct world *w = p->c.w;
    struct batch_options o = {.has_producer = p->idempotent, .producer_id = p->id, .producer_epoch = p->epoch,
                              .base_sequence = s->sequence, .leader_epoch = -1};
    struct batch_builder b;
    struct bytes view;
    struct err e;

    batch_begin(&b, &s->records, &o);
    for (int i = 0; i < s->n; i++) {
        AUTO(buf_fini) struct buf value = {0}, key = {0};
        uint32_t number = 1 + (uint32_t)world_pick(w, 12);
        size_t pad = padding(w, s->target);

        buf_printf(&value, "v%llu ", (unsigned long long)(s->first + (uint64_t)i));
        memset(buf_grow(&value, pad), 'x', pad);
        buf_printf(&key, "k%u", number);
        batch_add(&b, &(struct record_new){.timestamp = clock_wall_ms(&w->clock.clock), .key = buf_view(&key), .value = buf_view(&value)});
        s->begun[i] = world_event(w, (struct event){.kind = EVENT_SEND, .client = p->c.id, .log = s->target,
                                                    .key = number, .value = s->first + (uint64_t)i});
    }
    must(!batch_end(&b, NULL, &view, &e));
}

static void sending_new(struct producer *p)
{
    struct world *w = p->c.w;
    struct sending *s = xnew(struct sending);
    struct target *t;

    s->target = (uint32_t)world_pick(w, DATA_LOGS);
    t = &p->targets[s->target];
    s->n = 1 + (int)world_pick(w, BATCH_RECORDS_MAX);
    s->first = w->history.values + 1;
    w->history.values += (uint64_t)s->n;
    s->sequence = p->idempotent ? t->next_sequence : -1;
    t->next_sequence += s->n;
    list_init(&s->link);
    list_push(&t->queue, &s->link);
    batch_make(p, s);
}

static void sending_end(struct producer *p, struct sending *s, enum result result, int64_t offset)
{
    for (int i = 0; i < s->n; i++)
        world_event(p->c.w, (struct event){.kind = EVENT_SENT, .client = p->c.id, .log = s->target, .begun = s->begun[i],
                                           .value = s->first + (uint64_t)i, .result = result,
                                           .offset = offset < 0 ? -1 : offset + i});
    list_remove(&s->link);
    buf_fini(&s->records);
    free(s);
}

/* Gives up all that is under way and begins anew with another producer id. */
static void start_over(struct producer *p)
{
    conn_drop(&p->c.conn);
    p->id = -1;
    for (uint32_t i = 0; i < DATA_LOGS; i++) {
        struct target *t = &p->targets[i];

        while (!list_empty(&t->queue)) {
            struct sending *s = container_of(t->queue.next, struct sending, link);

            sending_end(p, s, s->tries && !s->refused ? RESULT_UNKNOWN : RESULT_FAILED, -1);
        }
        t->next_sequence = 0;
        t->flying = 0;
        t->again = t->overtaken = false;
    }
    p->over = false;
}

/* ---- sending ---- */

/* May the request have left a trace, or may yet? */
static bool is_unsure(int16_t error)
{
    return error == KAFKA_ERR_KAFKA_STORAGE_ERROR || error == KAFKA_ERR_REQUEST_TIMED_OUT;
}

/* May a batch behind the queue's first one have been taken before it? One was, or was tried along with it while no answer came.
 * The first one then is out of order for good: a client gives it up, and goes on with another epoch or id. */
static bool may_be_overtaken(const struct target *t)
{
    if (t->overtaken) return true;
    for (struct list *it = t->queue.next->next; it != &t->queue; it = it->next)
        if (container_of(it, struct sending, link)->tries > 1) return true;
    return false;
}

static void answered(struct producer *p, struct sending *s, int16_t error, int64_t offset)
{
    struct target *t = &p->targets[s->target];
    bool first = t->queue.next == &s->link;

    world_trace(p->c.w, "produced", p->c.id, s->first, (uint64_t)error);
    if (!error) {
        t->overtaken |= !first;
        sending_end(p, s, RESULT_OK, offset);
    } else if (!p->idempotent) {
        sending_end(p, s, is_unsure(error) ? RESULT_UNKNOWN : RESULT_FAILED, -1);
    } else if (kafka_error_retriable(error) || (error == KAFKA_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER && (!first || t->again))) {
        t->again = true;                 /* this one and those behind it once more, in order, when all have come back */
    } else if (error == KAFKA_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER && may_be_overtaken(t)) {
        p->over = s->refused = true;
    } else {
        world_complain(p->c.w, "dedup-window", "client %u: batch of value %llu, sequence %d, is refused with error %d",
                       p->c.id, (unsigned long long)s->first, s->sequence, error);
    }
}

static void on_answer(struct client *c, struct call *k, const void *response)
{
    struct producer *p = producer_of(c);
    const struct produce_response *a = response;
    struct sending *s = k->ctx;

    s->flying = false;
    p->targets[s->target].flying--;
    if (a) answered(p, s, a->topics[0].partitions[0].error_code, a->topics[0].partitions[0].base_offset);
    else if (!p->idempotent) sending_end(p, s, RESULT_UNKNOWN, -1);
    if (a) client_wake(c, a->topics[0].partitions[0].error_code ? world_duration(c->w, 1000, 50000) : world_duration(c->w, 10, 3000));
}

static void sending_go(struct producer *p, struct sending *s)
{
    struct produce_request_partition part = {.index = data_logs[s->target].partition, .records = buf_view(&s->records)};
    struct produce_request_topic t = {.name = str_of(data_logs[s->target].topic), .partitions = &part, .partitions_n = 1};
    struct produce_request q = {.acks = p->acks, .timeout_ms = 1000, .topics = &t, .topics_n = 1};

    s->tries++;
    world_trace(p->c.w, "producing", p->c.id, s->first, (uint64_t)s->tries);
    if (!p->acks) {
        client_tell(&p->c, KAFKA_PRODUCE, p->version, &q);
        sending_end(p, s, RESULT_UNKNOWN, -1);
        return;
    }
    s->flying = true;
    p->targets[s->target].flying++;
    client_ask(&p->c, KAFKA_PRODUCE, p->version, &q, on_answer)->ctx = s;
}

static void pump(struct producer *p)
{
    for (uint32_t i = 0; i < DATA_LOGS; i++) {
        struct target *t = &p->targets[i];

        if (t->again && t->flying) continue;
        t->again = false;
        list_each_safe(it, &t->queue)
        {
            struct sending *s = container_of(it, struct sending, link);

            if (t->flying >= IN_FLIGHT_MAX) break;
            if (!s->flying) sending_go(p, s);
        }
    }
}

static void on_id(struct client *c, struct call *k, const void *response)
{
    struct producer *p = producer_of(c);
    const struct init_producer_id_response *a = response;

    (void)k;
    if (a && !a->error_code) {
        p->id = a->producer_id;
        p->epoch = a->producer_epoch;
    }
    if (a) client_wake(c, world_duration(c->w, 10, 3000));
}

static bool has_queue(const struct producer *p)
{
    for (uint32_t i = 0; i < DATA_LOGS; i++)
        if (!list_empty(&p->targets[i].queue)) return true;
    return false;
}

static void wake(struct client *c)
{
    struct producer *p = producer_of(c);
    struct init_producer_id_request q;

    if (p->over) {
        start_over(p);
        return;
    }
    if (p->idempotent && p->id < 0) {
        if (client_waits(c)) return;
        init_producer_id_request_init_defaults(&q);
        q.transactional_id = (struct str){0};
        q.transaction_timeout_ms = INT32_MAX;
        client_ask(c, KAFKA_INIT_PRODUCER_ID, 4, &q, on_id);
        return;
    }
    if (p->left && !c->w->finishing) {
        for (uint64_t n = 1 + world_pick(c->w, 4); n-- && p->left; p->left--)
            sending_new(p);
        if (p->idempotent && world_chance(c->w, 1)) {
            start_over(p);
            return;
        }
        client_wake(c, world_duration(c->w, 100, 40000));
    }
    pump(p);
}

static void down(struct client *c)
{
    struct producer *p = producer_of(c);

    for (uint32_t i = 0; i < DATA_LOGS; i++)
        p->targets[i].again = false;
}

static bool is_done(struct client *c)
{
    return !has_queue(producer_of(c)) && !client_waits(c);
}

static void fini(struct client *c)
{
    struct producer *p = producer_of(c);

    for (uint32_t i = 0; i < DATA_LOGS; i++)
        while (!list_empty(&p->targets[i].queue))
            sending_end(p, container_of(p->targets[i].queue.next, struct sending, link), RESULT_UNKNOWN, -1);
}

static const struct client_kind kind = {.name = "producer", .size = sizeof(struct producer), .up = wake, .down = down,
                                        .wake = wake, .is_done = is_done, .fini = fini};

struct client *producer_new(struct world *w)
{
    static const int16_t versions[] = {3, 7, 8, 9};
    struct producer *p = client_new(w, &kind);
    uint64_t how = world_pick(w, 10);

    p->idempotent = how < 7;
    p->acks = how < 7 ? -1 : how < 9 ? 1 : 0;
    p->version = versions[world_pick(w, countof(versions))];
    p->id = -1;
    p->left = 20 + (unsigned)world_pick(w, 60);
    for (uint32_t i = 0; i < DATA_LOGS; i++)
        list_init(&p->targets[i].queue);
    return &p->c;
}
