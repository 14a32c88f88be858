/* Fetch (key 1). A request becomes a list of parts, one a partition. A look reads all of them within the limits; the
 * answer goes out if there is enough, if waiting would not help, or if time is up. Else the request is parked at its
 * partitions and looked at again when one of them moves. Only durable records count and are sent, as pieces of the
 * segment files; up to version 3, as messages of the old formats that a worker makes of them (api/old_fetch.c).   SPDX-License-Identifier: Apache-2.0
 */
#include "broker/api/fetch_core.h"
#include "broker/txn_index.h"
#include "kafka/compress.h"
#include "kafka/msg/fetch.h"

enum {
    FIRST_WHOLE_FROM = 3, /* a batch above the limits is given to whom it would stop */
    ZSTD_FROM_VERSION = 10,
    SESSION_EPOCH_NEW = 0,
    SESSION_EPOCH_NONE = -1,
    SINCE_IDS = 13 /* topics are named by their ids */
};

/* ---- a look at every part ---- */

static void slice_drop(struct fetch_part *p)
{
    log_slice_fini(&p->slice);
    p->slice = (struct log_slice){0};
}

void fetch_parts_drop(struct fetch *f)
{
    list_each(it, fetch_parts(f))
    {
        struct fetch_part *p = container_of(it, struct fetch_part, link);

        slice_drop(p);
        buf_fini(&p->made);
    }
    if (f->reserved) memory_release(f->r->broker, f->reserved);
    f->reserved = 0;
}

static int16_t check_epoch(const struct broker *b, int32_t epoch)
{
    int32_t ours = (int32_t)store_start_number(b->store);

    return epoch < 0 || epoch == ours ? 0
           : epoch < ours             ? KAFKA_ERR_FENCED_LEADER_EPOCH
                                      : KAFKA_ERR_UNKNOWN_LEADER_EPOCH;
}

static int16_t read_error(const struct err *e)
{
    return e->rc == RC_NOT_FOUND ? KAFKA_ERR_OFFSET_OUT_OF_RANGE : KAFKA_ERR_KAFKA_STORAGE_ERROR;
}

/* KIP-320: has the log been cut below what the reader saw? */
static bool look_for_divergence(struct fetch_part *p, struct log *log, struct err *e)
{
    int32_t epoch;
    int64_t end;

    if (p->last_epoch < 0) return false;
    if (log_epoch_end(log, p->last_epoch, &epoch, &end, e)) return false;
    if (epoch < 0 || end < 0) { /* an epoch that is not here yet */
        p->error = KAFKA_ERR_OFFSET_OUT_OF_RANGE;
        return false;
    }
    if (epoch == p->last_epoch && end >= p->offset) return false;
    p->diverging_epoch = epoch;
    p->diverging_end = end;
    return true;
}

/* Reads up to the high watermark, or up to what is decided. */
static void look_at_records(struct fetch *f, struct fetch_part *p, struct log *log)
{
    size_t left = f->bytes < f->max_bytes ? f->max_bytes - f->bytes : 0;
    bool first_whole = f->bytes == 0 && !f->hard_limits;
    int64_t bound = f->read_committed ? p->stable : p->high, from = MAX(p->offset, p->skip);
    size_t limit = p->max_bytes < 0 ? 0 : MIN(left, (size_t)p->max_bytes);
    struct err e;

    if (from >= bound || (!left && !first_whole) || p->max_bytes < 0) return;
    if (log_read(log, from, limit, bound, first_whole, &p->slice, &e))
        p->error = read_error(&e);
    else if (!p->slice.n)
        p->too_small = limit != 0;
    else if (p->slice.offset_next < bound)
        f->at_once = true; /* the end of a segment, or of a limit */
    if (p->too_small && f->hard_limits) f->at_once = true;
    f->bytes += p->slice.n;
}

static void look_at_ends(struct fetch *f, struct fetch_part *p, struct log *log)
{
    struct err e;

    p->high = log_durable_end(log);
    p->start = log_start(log);
    f->start_seq = MAX(f->start_seq, log_start_seq(log));
    if (log_stable_end(log, &p->stable, &e)) p->error = KAFKA_ERR_KAFKA_STORAGE_ERROR;
}

static void look_at_log(struct fetch *f, struct fetch_part *p)
{
    struct log *log = partition_log(p->partition);
    struct err e;

    if (log_health(log, &e)) {
        p->error = KAFKA_ERR_KAFKA_STORAGE_ERROR;
    } else if (p->t->config.compression == KAFKA_CODEC_ZSTD &&
               request_version(f->r) < ZSTD_FROM_VERSION) {
        p->error = KAFKA_ERR_UNSUPPORTED_COMPRESSION_TYPE;
    } else if (!p->t->config.down_conversion && fetch_is_old(f)) {
        p->error = KAFKA_ERR_UNSUPPORTED_VERSION;
    } else if ((p->error = check_epoch(f->r->broker, p->leader_epoch))) {
        f->at_once = true;
    } else if (look_for_divergence(p, log, &e)) {
        look_at_ends(f, p, log);
        f->at_once = true;
    } else if (p->error || p->offset < log_start(log) || p->offset > log_end(log)) {
        p->error = KAFKA_ERR_OFFSET_OUT_OF_RANGE;
    } else {
        look_at_ends(f, p, log);
        if (!p->error) look_at_records(f, p, log);
    }
    if (p->error) {
        f->at_once = true;
        p->high = p->start = p->stable = -1;
    }
}

static void look_at(struct fetch *f, struct fetch_part *p, bool by_id)
{
    struct broker *b = f->r->broker;

    f->parts_n++;
    if (p->made.n) { /* found before, and kept */
        f->bytes += p->made.n;
        f->at_once = true;
        return;
    }
    slice_drop(p);
    p->error = 0;
    p->too_small = false;
    p->high = p->start = p->stable = -1;
    p->diverging_epoch = -1;
    p->t = by_id ? topic_by_id(b, &p->id) : broker_topic(b, p->topic);
    p->partition = p->t ? topic_partition(p->t, p->number) : NULL;
    if ((p->t || !by_id) && !request_allows_topic(f->r, ACL_READ, p->t ? p->t->name : p->topic)) {
        p->error = KAFKA_ERR_TOPIC_AUTHORIZATION_FAILED;
        f->at_once = true;
        return;
    }
    if (p->partition) {
        look_at_log(f, p);
        return;
    }
    p->error = !p->t && by_id ? KAFKA_ERR_UNKNOWN_TOPIC_ID : KAFKA_ERR_UNKNOWN_TOPIC_OR_PARTITION;
    f->parts_unknown++;
}

/* True: enough to answer. Partitions that do not exist wait with the others: a client that was just told of them by another
 * broker is not made to spin. */
bool fetch_look(struct fetch *f)
{
    bool by_id = request_version(f->r) >= SINCE_IDS;

    f->bytes = f->parts_n = f->parts_unknown = 0;
    f->at_once = false;
    list_each(it, fetch_parts(f)) look_at(f, container_of(it, struct fetch_part, link), by_id);
    return f->at_once || f->bytes >= f->min_bytes || f->parts_n == f->parts_unknown;
}

/* ---- the answer ---- */

/* An incremental answer tells of what is new only. */
static bool worth_telling(const struct fetch *f, const struct fetch_part *p)
{
    if (!f->incremental) return true;
    return p->slice.n || p->error || p->diverging_epoch != -1 || p->high != p->sent_high ||
           p->start != p->sent_start;
}

/* What the reader has to leave out of the records it gets. */
static void fill_aborted(struct fetch *f, struct fetch_part *p, struct fetch_response_partition *a)
{
    AUTO(buf_fini) struct buf found = {0};
    const struct aborted_txn *from;
    size_t n;
    struct err e;

    if (!f->read_committed || !p->slice.n) return;
    if (log_aborted(partition_log(p->partition), p->offset, p->slice.offset_next, &found, &e)) {
        slice_drop(p);
        p->error = KAFKA_ERR_KAFKA_STORAGE_ERROR;
        p->high = p->start = p->stable = -1;
        return;
    }
    n = found.n / sizeof *from;
    from = (const struct aborted_txn *)(const void *)found.p;
    a->aborted_transactions =
        arena_array(&f->r->arena, struct fetch_response_aborted_transaction, n);
    for (size_t i = 0; i < n; i++)
        a->aborted_transactions[i] =
            (struct fetch_response_aborted_transaction){from[i].producer_id, from[i].first};
    a->aborted_transactions_n = n;
}

static void fill(struct fetch *f, struct fetch_part *p, struct fetch_response_partition *a)
{
    fetch_response_partition_init_defaults(a);
    fill_aborted(f, p, a);
    a->partition_index = p->number;
    a->error_code = p->error;
    a->high_watermark = p->high;
    a->last_stable_offset = p->stable;
    a->log_start_offset = p->start;
    a->aborted_transactions_null = (!f->read_committed || p->error || p->diverging_epoch != -1 || p->too_small) &&
                                   p->error != KAFKA_ERR_UNKNOWN_TOPIC_OR_PARTITION &&
                                   p->error != KAFKA_ERR_TOPIC_AUTHORIZATION_FAILED &&
                                   p->error != KAFKA_ERR_UNKNOWN_TOPIC_ID;
    a->records = bytes_of("", 0);
    if (p->diverging_epoch != -1) {
        a->diverging_epoch.epoch = p->diverging_epoch;
        a->diverging_epoch.end_offset = p->diverging_end;
    }
    if (p->error == KAFKA_ERR_FENCED_LEADER_EPOCH || p->error == KAFKA_ERR_NOT_LEADER_OR_FOLLOWER) {
        a->current_leader.leader_id = f->r->broker->opt.node_id;
        a->current_leader.leader_epoch = (int32_t)store_start_number(f->r->broker->store);
    }
    p->sent_high = p->error ? -1 : p->high;
    p->sent_start = p->error ? -1 : p->start;
    if (fetch_is_old(f)) {
        if (p->made.n) a->records = buf_view(&p->made);
        if (p->too_small && f->hard_limits) a->records = old_fetch_cut(f, p);
        f->r->broker->stats.fetch_bytes += a->records.n;
        return;
    }
    if (!p->slice.n) return;
    a->records_file =
        (struct wr_file){log_slice_file(&p->slice), p->slice.at, (uint32_t)p->slice.n};
    p->t->bytes_out += p->slice.n;
    f->r->broker->stats.fetch_bytes += p->slice.n;
    request_hold(f->r, &p->slice);
}

static bool same_topic(const struct fetch *f, const struct fetch_response_topic *t,
                       const struct fetch_part *p)
{
    return request_version(f->r) >= SINCE_IDS ? uuid_eq(&t->topic_id, &p->id) : str_eq(t->topic, p->topic);
}

static void node_endpoint(struct fetch *f, struct fetch_response *a)
{
    struct request *r = f->r;

    a->node_endpoints = arena_new(&r->arena, struct fetch_response_node_endpoint);
    a->node_endpoints_n = 1;
    fetch_response_node_endpoint_init_defaults(a->node_endpoints);
    a->node_endpoints->node_id = r->broker->opt.node_id;
    a->node_endpoints->host = r->conn->listener->host;
    a->node_endpoints->port = r->conn->listener->port;
}

static void build(struct fetch *f, struct fetch_response *a)
{
    struct arena *arena = &f->r->arena;
    struct fetch_response_partition *next =
        arena_array(arena, struct fetch_response_partition, f->parts_n);
    struct fetch_response_topic *t = NULL;
    struct list moved;

    list_init(&moved);
    a->topics = arena_array(arena, struct fetch_response_topic, f->parts_n);
    list_each_safe(it, fetch_parts(f))
    {
        struct fetch_part *p = container_of(it, struct fetch_part, link);
        bool sends = p->slice.n != 0;

        if (!worth_telling(f, p)) continue;
        if (!t || !same_topic(f, t, p)) {
            t = &a->topics[a->topics_n++];
            t->topic = p->topic;
            t->topic_id = p->id;
            t->partitions = next;
        }
        fill(f, p, next++);
        t->partitions_n++;
        if (next[-1].current_leader.leader_id >= 0 && !a->node_endpoints_n &&
            request_version(f->r) >= 16)
            node_endpoint(f, a);
        if (!sends || !f->session) continue;
        list_remove(it); /* who got something goes last next time */
        list_push(&moved, it);
    }
    while (!list_empty(&moved))
        list_push(fetch_parts(f), list_pop(&moved));
}

void fetch_unpark(struct fetch *f)
{
    list_remove(&f->woken);
    list_each(it, fetch_parts(f)) list_remove(&container_of(it, struct fetch_part, link)->wait);
    if (f->session) f->session->fetch = NULL;
}

enum { BYTES_OF_ANSWER = 16, BYTES_OF_PART = 56 }; /* about what stands around the records */

/* Above consumer_byte_rate nothing is sent, and so nothing counts: the client asks again when the time is over. */
static bool is_throttled(struct fetch *f)
{
    struct request *r = f->r;
    struct quotas *q = &r->broker->quotas;
    double bytes = (double)(BYTES_OF_ANSWER + f->parts_n * BYTES_OF_PART + f->bytes);
    uint64_t now = broker_now_ms(r->broker);

    if (!quotas_any(q, QUOTA_FETCH)) return false;
    r->throttle_ms = quotas_charge(q, QUOTA_FETCH, request_user(r), r->h.client_id, bytes, now);
    if (r->throttle_ms) quotas_charge(q, QUOTA_FETCH, request_user(r), r->h.client_id, -bytes, now);
    return r->throttle_ms != 0;
}

void fetch_reply(struct fetch *f, bool empty)
{
    struct request *r = f->r;
    struct fetch_response a = {0};

    if (!empty) build(f, &a);
    a.session_id = f->session ? f->session->id : 0;
    fetch_unpark(f);
    request_answer_when(r, &a, f->start_seq);
    fetch_parts_drop(f);
}

void fetch_answer(struct fetch *f)
{
    if (!f->charged && is_throttled(f))
        fetch_reply(f, true);
    else if (!old_fetch_begin(f))
        fetch_reply(f, false);
}

static void answer_error(struct request *r, int16_t code)
{
    struct fetch_response a = {.error_code = code};

    request_answer(r, &a);
}

/* ---- parking ---- */

static void on_cancel(struct request *r)
{
    struct fetch *f = r->ctx;

    fetch_unpark(f);
    fetch_parts_drop(f);
}

static void on_late(struct timer *t)
{
    struct request *r = container_of(t, struct request, timer);
    struct fetch *f = r->ctx;

    (void)fetch_look(f);
    fetch_answer(f);
}

void fetch_park(struct fetch *f)
{
    struct request *r = f->r;

    fetch_parts_drop(f);
    f->charged = false;
    r->ctx = f;
    if (f->session) f->session->fetch = f;
    list_each(it, fetch_parts(f))
    {
        struct fetch_part *p = container_of(it, struct fetch_part, link);

        p->fetch = f;
        if (p->partition) list_push(&p->partition->fetches, &p->wait);
    }
    if (r->state == REQUEST_PARKED) /* it has been at a worker */
        r->cancel = on_cancel;
    else
        request_park(r, on_cancel);
    timer_set(r->broker->timers, &r->timer, f->until_ms, on_late);
}

static void wake(struct broker *b, struct fetch *f)
{
    if (list_empty(&f->woken)) list_push(&b->fetches_woken, &f->woken);
}

void fetches_moved(struct partition *p)
{
    list_each(it, &p->fetches)
        wake(p->topic->broker, container_of(it, struct fetch_part, wait)->fetch);
}

/* Not looked at now: the topic is still there. The turn comes back to it. */
void fetches_gone(struct partition *p)
{
    struct list *it;

    while ((it = list_pop(&p->fetches))) {
        struct fetch *f = container_of(it, struct fetch_part, wait)->fetch;

        wake(p->topic->broker, f);
        broker_again(p->topic->broker);
    }
}

void fetches_turn(struct broker *b)
{
    struct list now, *it;

    old_fetches_turn(b);
    list_init(&now);
    while ((it = list_pop(&b->fetches_woken)))
        list_push(&now, it);
    while ((it = list_pop(&now))) {
        struct fetch *f = container_of(it, struct fetch, woken);
        bool lost = false;

        list_each(at, fetch_parts(f))
        {
            struct fetch_part *p = container_of(at, struct fetch_part, link);

            if (p->partition && list_empty(&p->wait)) lost = true;
        }
        if (fetch_look(f) || lost || b->draining)
            fetch_answer(f);
        else
            fetch_parts_drop(f);
    }
}

void fetches_drain(struct broker *b)
{
    list_each(it, &b->conns)
    {
        struct broker_conn *c = container_of(it, struct broker_conn, link);

        list_each(at, &c->requests)
        {
            struct request *r = container_of(at, struct request, link);

            if (r->state == REQUEST_PARKED && r->cancel == on_cancel) wake(b, r->ctx);
        }
    }
}

/* ---- what is asked ---- */

static void part_set(struct fetch_part *p, const struct fetch_request_partition *q)
{
    p->offset = q->fetch_offset;
    p->max_bytes = q->partition_max_bytes;
    p->leader_epoch = q->current_leader_epoch;
    p->last_epoch = q->last_fetched_epoch;
}

/* The place of the first topic of that name, or id, in the request. */
static size_t topic_place(const struct fetch *f, struct map *places, size_t i)
{
    const struct fetch_request_topic *t = &f->q->topics[i];
    struct bytes key = request_version(f->r) >= SINCE_IDS ? bytes_of(&t->topic_id, sizeof t->topic_id)
                                                          : str_bytes(t->topic);
    uintptr_t first = f->q->topics_n > 1 ? (uintptr_t)map_get(places, key) : 1;

    if (first) return first - 1;
    (void)map_put(places, key, (void *)(i + 1));
    return i;
}

/* by_place: of all so far; NULL: it is the only one. */
static void part_add(struct fetch *f, struct map *by_place, size_t place,
                     const struct fetch_request_topic *t, const struct fetch_request_partition *q)
{
    uint64_t key = (uint64_t)place << 32 | (uint32_t)q->partition;
    struct fetch_part *p = by_place ? map_get_u64(by_place, key) : NULL;

    if (!p) {
        p = arena_new(&f->r->arena, struct fetch_part);
        p->topic = t->topic;
        p->id = t->topic_id;
        p->number = q->partition;
        list_init(&p->wait);
        list_push(&f->parts, &p->link);
        if (by_place) (void)map_put_u64(by_place, key, p);
    }
    part_set(p, q);
}

/* What is named more than once is one part: in its first place, with what was said last, as in Kafka. Clients without
 * sessions come here with every fetch: the keys are short, so that the map need not own them. */
static void parts_of_request(struct fetch *f, size_t parts)
{
    AUTO(map_fini) struct map places = {0}, by_place = {0};

    for (size_t i = 0; i < f->q->topics_n; i++) {
        size_t place = topic_place(f, &places, i);

        for (size_t k = 0; k < f->q->topics[i].partitions_n; k++)
            part_add(f, parts > 1 ? &by_place : NULL, place, &f->q->topics[i],
                     &f->q->topics[i].partitions[k]);
    }
}

static void session_update(struct fetch *f)
{
    struct fetch_sessions *ss = f->r->broker->sessions;
    const struct fetch_request *q = f->q;

    for (size_t i = 0; i < q->topics_n; i++)
        for (size_t k = 0; k < q->topics[i].partitions_n; k++)
            part_set(fetch_session_put(ss, f->session, q->topics[i].topic, &q->topics[i].topic_id,
                                       q->topics[i].partitions[k].partition),
                     &q->topics[i].partitions[k]);
    for (size_t i = 0; i < q->forgotten_topics_data_n; i++)
        for (size_t k = 0; k < q->forgotten_topics_data[i].partitions_n; k++)
            fetch_session_forget(ss, f->session, q->forgotten_topics_data[i].topic,
                                 &q->forgotten_topics_data[i].topic_id,
                                 q->forgotten_topics_data[i].partitions[k]);
}

/* A request still parked on the session (of another connection) is answered with what there is. */
static void session_free_up(struct fetch_session *s)
{
    if (!s->fetch) return;
    (void)fetch_look(s->fetch);
    fetch_answer(s->fetch);
}

static void session_close(struct broker *b, int32_t id)
{
    struct fetch_session *s = fetch_session_find(b->sessions, id);

    if (!s) return;
    session_free_up(s);
    fetch_session_drop(b->sessions, s);
}

static size_t parts_asked(const struct fetch_request *q)
{
    size_t n = 0;

    for (size_t i = 0; i < q->topics_n; i++)
        n += q->topics[i].partitions_n;
    return n;
}

/* 0, or Kafka's code: then nothing else is answered. */
static int16_t session_continue(struct fetch *f)
{
    struct broker *b = f->r->broker;
    const struct fetch_request *q = f->q;
    struct fetch_session *s = fetch_session_find(b->sessions, q->session_id);

    if (!s) return KAFKA_ERR_FETCH_SESSION_ID_NOT_FOUND;
    if (s->by_id != (request_version(f->r) >= SINCE_IDS)) return KAFKA_ERR_FETCH_SESSION_TOPIC_ID_ERROR;
    if (s->epoch != q->session_epoch) return KAFKA_ERR_INVALID_FETCH_SESSION_EPOCH;
    session_free_up(s);
    s->epoch = s->epoch == INT32_MAX ? 1 : s->epoch + 1;
    fetch_session_touch(b->sessions, s, broker_now_ms(b));
    f->session = s;
    f->incremental = true;
    session_update(f);
    if (s->parts_n) return 0;
    f->session = NULL;
    fetch_session_drop(b->sessions, s);
    return 0;
}

static int16_t session_choose(struct fetch *f)
{
    struct broker *b = f->r->broker;
    const struct fetch_request *q = f->q;
    size_t parts = parts_asked(q);

    if (request_version(f->r) < 7 || (!q->session_id && q->session_epoch == SESSION_EPOCH_NONE)) {
        parts_of_request(f, parts);
        return 0;
    }
    if (q->session_epoch != SESSION_EPOCH_NEW && q->session_epoch != SESSION_EPOCH_NONE)
        return session_continue(f);
    session_close(b, q->session_id);
    if (q->session_epoch == SESSION_EPOCH_NEW && parts)
        f->session = fetch_session_new(b, parts, request_version(f->r) >= SINCE_IDS);
    if (f->session)
        session_update(f);
    else
        parts_of_request(f, parts);
    return 0;
}

/* ---- refusals of whole requests ---- */

static void answer_all(struct request *r, const struct fetch_request *q, int16_t code)
{
    struct fetch_response a = {0};

    a.topics = arena_array(&r->arena, struct fetch_response_topic, q->topics_n);
    a.topics_n = q->topics_n;
    for (size_t i = 0; i < q->topics_n; i++) {
        struct fetch_response_topic *t = &a.topics[i];

        t->topic = q->topics[i].topic;
        t->topic_id = q->topics[i].topic_id;
        t->partitions_n = q->topics[i].partitions_n;
        t->partitions = arena_array(&r->arena, struct fetch_response_partition, t->partitions_n);
        for (size_t k = 0; k < t->partitions_n; k++) {
            struct fetch_response_partition *p = &t->partitions[k];

            fetch_response_partition_init_defaults(p);
            p->partition_index = q->topics[i].partitions[k].partition;
            p->error_code = code;
            p->high_watermark = p->last_stable_offset = p->log_start_offset = -1;
            p->aborted_transactions_null = q->isolation_level == 0;
            p->records = bytes_of("", 0);
            if (code == KAFKA_ERR_NOT_LEADER_OR_FOLLOWER && request_version(r) >= 12) {
                p->current_leader.leader_id = r->broker->opt.node_id;
                p->current_leader.leader_epoch = (int32_t)store_start_number(r->broker->store);
            }
        }
    }
    if (code == KAFKA_ERR_NOT_LEADER_OR_FOLLOWER && request_version(r) >= 16) {
        struct fetch f = {.r = r};

        node_endpoint(&f, &a);
    }
    request_answer(r, &a);
}

void api_fetch(struct request *r)
{
    const struct fetch_request *q = request_decode(r);
    struct fetch *f;
    double limit;
    int16_t code;

    if (!q) return;
    if ((request_version(r) >= 15 ? q->replica_state.replica_id : q->replica_id) >= 0) {
        answer_all(r, q, KAFKA_ERR_NOT_LEADER_OR_FOLLOWER); /* nobody replicates from here */
        return;
    }
    if (q->isolation_level != 0 && q->isolation_level != 1) {
        answer_all(r, q, KAFKA_ERR_INVALID_REQUEST);
        return;
    }
    f = arena_new(&r->arena, struct fetch);
    list_init(&f->woken);
    list_init(&f->parts);
    f->r = r;
    f->q = q;
    f->read_committed = q->isolation_level == 1;
    f->max_bytes = (size_t)MAX(0, MIN((int64_t)q->max_bytes, r->broker->config.fetch_max_bytes));
    limit = quotas_limit(&r->broker->quotas, QUOTA_FETCH, request_user(r), r->h.client_id);
    f->max_bytes = (size_t)MIN((double)f->max_bytes, limit * QUOTA_SPAN_S);
    f->hard_limits = request_version(r) < FIRST_WHOLE_FROM;
    f->until_ms = broker_now_ms(r->broker) + (uint64_t)MAX(q->max_wait_ms, 0);
    f->min_bytes = MIN((size_t)MAX(q->min_bytes, 0), f->max_bytes);
    if ((code = session_choose(f))) {
        answer_error(r, code);
        return;
    }
    if (fetch_look(f) || q->max_wait_ms <= 0 || r->broker->draining)
        fetch_answer(f);
    else
        fetch_park(f);
}
