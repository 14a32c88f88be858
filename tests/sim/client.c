/* SPDX-License-Identifier: Apache-2.0 */
#include "client.h"

#include <stdio.h>

const struct data_log data_logs[DATA_LOGS] = {
    {"a", 0, false, false, false}, {"a", 1, false, true, false}, {"a", 2, false, false, false},
    {"b", 0, false, true, true},   {"k", 0, true, false, false},
};

/* ---- life ---- */

static void on_wake(struct timer *t)
{
    struct client *c = container_of(t, struct client, wake);

    if (c->conn.open || (c->kind->inside && c->w->bus)) {
        c->kind->wake(c);
    } else if (c->kind->inside) {
        client_wake(c, world_duration(c->w, 1000, 50000));
    } else if (c->w->b) {
        conn_open(&c->conn, c->w, c);
        c->kind->up(c);
    } else {
        client_wake(c, world_duration(c->w, 1000, 50000));
    }
}

static void on_patience(struct timer *t)
{
    struct client *c = container_of(t, struct client, patience);

    world_trace(c->w, "impatient", c->id, 0, 0);
    conn_drop(&c->conn);
}

void *client_new(struct world *w, const struct client_kind *kind)
{
    struct client *c = xcalloc(1, kind->size);

    c->w = w;
    c->kind = kind;
    c->id = w->clients_n++;
    list_init(&c->calls);
    list_push(&w->clients, &c->link);
    c->patience_us = world_chance(w, 30) ? world_duration(w, 20000, 2000000) : 30000000;
    client_wake(c, world_duration(w, 0, 20000));
    return c;
}

void client_free(struct client *c)
{
    conn_drop(&c->conn);
    if (c->kind->fini) c->kind->fini(c);
    timer_cancel(&c->w->queue, &c->wake);
    timer_cancel(&c->w->queue, &c->patience);
    list_remove(&c->link);
    arena_fini(&c->arena);
    free(c);
}

void client_wake(struct client *c, uint64_t us)
{
    world_after(c->w, &c->wake, us, on_wake);
}

void client_lost(struct client *c)
{
    struct list calls, *it;

    timer_cancel(&c->w->queue, &c->patience);
    list_move(&c->calls, &calls);
    while ((it = list_pop(&calls))) {
        struct call *k = container_of(it, struct call, link);

        k->done(c, k, NULL);
        free(k);
    }
    if (c->kind->down) c->kind->down(c);
    arena_reset(&c->arena);
    if (c->w->finishing && c->w->lost) return;
    client_wake(c, world_duration(c->w, 500, 100000));
}

/* ---- requests and answers ---- */

static void send(struct client *c, int16_t key, int16_t version, const void *request)
{
    const struct kafka_message *m = kafka_message_of(KAFKA_MESSAGE_REQUEST, key);
    struct kafka_request_header h = {.api_key = key,
                                     .api_version = version,
                                     .correlation_id = ++c->correlation,
                                     .client_id = str_of(c->kind->name),
                                     .api = kafka_api_of(key)};
    struct buf frame = {0};
    struct wr w;
    size_t begun;

    must(c->conn.open);
    wr_init(&w, &frame);
    begun = wr_frame_begin(&w);
    kafka_request_header_encode(&w, &h);
    must(m && m->encode(&w, version, request));
    wr_frame_end(&w, begun);
    wr_fini(&w);
    world_trace(c->w, m->name, c->id, (uint64_t)version, (uint64_t)c->correlation);
    conn_send(&c->conn, &frame);
}

static void patience_begin(struct client *c)
{
    if (list_empty(&c->calls))
        timer_cancel(&c->w->queue, &c->patience);
    else
        world_after(c->w, &c->patience, c->patience_us, on_patience);
}

struct call *client_ask(struct client *c, int16_t key, int16_t version, const void *request,
                        void (*done)(struct client *c, struct call *k, const void *response))
{
    struct call *k = xnew(struct call);

    send(c, key, version, request);
    *k = (struct call){.key = key, .version = version, .correlation = c->correlation, .done = done};
    list_push(&c->calls, &k->link);
    if (!timer_is_set(&c->patience)) patience_begin(c);
    return k;
}

struct call *client_ask_offset(struct client *c, uint32_t log, int64_t timestamp, bool committed,
                               void (*done)(struct client *c, struct call *k, const void *response))
{
    struct list_offsets_request_partition p = {.partition_index = data_logs[log].partition, .current_leader_epoch = -1, .timestamp = timestamp};
    struct list_offsets_request_topic t = {.name = str_of(data_logs[log].topic), .partitions = &p, .partitions_n = 1};
    struct list_offsets_request q = {.replica_id = -1, .isolation_level = committed, .topics = &t, .topics_n = 1};
    struct call *k = client_ask(c, KAFKA_LIST_OFFSETS, 5, &q, done);

    k->log = log;
    return k;
}

struct call *client_ask_fetch(struct client *c, uint32_t log, int64_t from, struct fetch_terms terms,
                              void (*done)(struct client *c, struct call *k, const void *response))
{
    struct fetch_request_partition p;
    struct fetch_request_topic t;
    struct fetch_request q;
    struct call *k;

    fetch_request_init_defaults(&q);
    fetch_request_topic_init_defaults(&t);
    fetch_request_partition_init_defaults(&p);
    q.max_wait_ms = terms.max_wait_ms;
    q.min_bytes = 1;
    q.isolation_level = terms.committed;
    q.session_epoch = -1;
    q.topics = &t;
    q.topics_n = t.partitions_n = 1;
    t.topic = str_of(data_logs[log].topic);
    t.partitions = &p;
    p.partition = data_logs[log].partition;
    p.current_leader_epoch = -1;
    p.fetch_offset = from;
    p.partition_max_bytes = terms.bytes_max;
    k = client_ask(c, KAFKA_FETCH, 11, &q, done);
    k->log = log;
    return k;
}

void client_tell(struct client *c, int16_t key, int16_t version, const void *request)
{
    send(c, key, version, request);
}

void client_frame(struct client *c, struct bytes frame)
{
    struct call *k = container_of(c->calls.next, struct call, link);
    const struct kafka_message *m;
    int32_t correlation;
    struct rd r;
    void *response;

    must(!list_empty(&c->calls) && frame.n == 4 + (size_t)load_be32(frame.p));
    m = kafka_message_of(KAFKA_MESSAGE_RESPONSE, k->key);
    rd_init(&r, bytes_sub(frame, 4, frame.n - 4));
    must(kafka_response_header_decode(&r, kafka_api_of(k->key), k->version, &correlation));
    must(correlation == k->correlation);
    response = arena_alloc(&c->arena, m->size);
    must(m->decode(&r, k->version, &c->arena, response) && rd_left(&r) == 0);
    list_remove(&k->link);
    patience_begin(c);
    k->done(c, k, response);
    free(k);
    if (list_empty(&c->calls)) arena_reset(&c->arena);
}

/* ---- records ---- */

uint32_t data_log_of(struct str topic, int32_t partition)
{
    for (uint32_t i = 0; i < DATA_LOGS; i++)
        if (str_is(topic, data_logs[i].topic) && data_logs[i].partition == partition) return i;
    must(!"a log that was not asked for");
    return 0;
}

/* As a client does it: a producer's records are left out from where its aborted transaction begins up to its marker. */
static bool is_aborted(const struct fetch_response_partition *p, bool *open, const struct batch *b)
{
    bool ret = false;

    for (size_t i = 0; i < p->aborted_transactions_n; i++) {
        const struct fetch_response_aborted_transaction *t = &p->aborted_transactions[i];

        if (t->producer_id != b->producer_id || t->first_offset > batch_last_offset(b)) continue;
        if (open[i]) continue;                                    /* has ended */
        if (batch_is(b, BATCH_CONTROL)) open[i] = true;
        else ret = true;
        break;
    }
    return ret && batch_is(b, BATCH_TRANSACTIONAL);
}

static void record_take(struct client *c, struct event e, const struct record *rec)
{
    uint64_t value = 0;

    for (size_t i = 1; i < rec->value.n && rec->value.p[i] >= '0' && rec->value.p[i] <= '9'; i++)
        value = value * 10 + (uint64_t)(rec->value.p[i] - '0');
    if (!value) world_complain(c->w, "invented", "a record that no client wrote at offset %lld", (long long)rec->offset);
    e.value = value;
    e.offset = rec->offset;
    world_event(c->w, e);
}

void records_take(struct client *c, uint32_t log, bool committed, uint32_t txn,
                  const struct fetch_response_partition *p, int64_t *position)
{
    struct event e = {.kind = EVENT_READ, .client = c->id, .log = log, .committed = committed, .txn = txn};
    struct bytes left = p->records;
    bool *ended = arena_array(&c->arena, bool, p->aborted_transactions_n + 1);
    int64_t from = *position;
    uint32_t begun = (uint32_t)c->w->history.n;
    struct batch b;

    for (; left.n && batch_view(left, &b) == BATCH_OK; left = bytes_sub(left, b.raw.n, left.n - b.raw.n)) {
        AUTO(buf_fini) struct buf scratch = {0};
        bool skip = committed && is_aborted(p, ended, &b);
        struct records it;
        struct record rec;

        if (!batch_crc_ok(&b)) world_complain(c->w, "corrupt", "batch at offset %lld", (long long)b.base_offset);
        if (batch_last_offset(&b) < from) continue;
        if (batch_is(&b, BATCH_CONTROL)) {
            e.value = 0;
            e.offset = batch_last_offset(&b);
            world_event(c->w, e);
        } else if (!skip && records_open(&it, &b, NULL, 1 << 24, &scratch) == BATCH_OK) {
            while (records_next(&it, &rec))
                if (rec.offset >= from) record_take(c, e, &rec);
        }
        *position = batch_next_offset(&b);
    }
    if (*position == from) return;
    world_event(c->w, (struct event){.kind = EVENT_POLLED, .client = c->id, .log = log, .begun = begun,
                                     .committed = committed, .offset = from, .next = *position});
}

/* ---- who has a share of the logs ---- */

uint32_t any_of_share(struct world *w, const bool owns[DATA_LOGS])
{
    uint32_t log = (uint32_t)world_pick(w, DATA_LOGS);

    for (unsigned i = 0; i < DATA_LOGS; i++, log = (log + 1) % DATA_LOGS)
        if (owns[log]) return log;
    return DATA_LOGS;
}

void share_fetch(struct client *c, uint32_t log, int64_t from, void (*done)(struct client *c, struct call *k, const void *response))
{
    struct fetch_terms terms = {.max_wait_ms = (int32_t)world_pick(c->w, 50), .bytes_max = 10000};

    client_ask_fetch(c, log, from, terms, done);
}

void share_take(struct client *c, struct call *k, const struct fetch_response *a, int64_t *position, unsigned *quiet,
                void (*on_start)(struct client *c, struct call *k, const void *response))
{
    const struct fetch_response_partition *p;
    int64_t before = *position;

    if (!a) return;
    p = &a->topics[0].partitions[0];
    if (p->error_code == KAFKA_ERR_OFFSET_OUT_OF_RANGE) {
        client_ask_offset(c, k->log, -2, false, on_start);
        return;
    }
    if (!p->error_code) records_take(c, k->log, false, 0, p, position);
    if (*position != before) *quiet = 2 * DATA_LOGS;
    else if (*quiet && c->w->written_us) (*quiet)--;
    client_wake(c, world_duration(c->w, 1, 10000));
}
