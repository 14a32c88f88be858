/* From a request to an answer on its way.
 *
 * An answer is encoded when it is decided and leaves in two conditions: everything asked before on that connection was
 * answered, and the wal covers what it says. replies_release() looks at the connections that have something answered, once
 * a turn.   SPDX-License-Identifier: Apache-2.0
 */
#include "base/diag.h"
#include "broker/request_core.h"
#include "sys/fs.h"

enum {
    ARENA_BYTES_MAX = 256 << 20, /* for one decoded request */
    SPLICE_BYTES_MIN = 16 << 10, /* smaller pieces of files are copied */
    POOLED_BUF_MAX = 16 << 10,
    ARENA_POOLED_MAX = 64 << 10,
    REQUEST_COST_BYTES = 5 << 10, /* of one that is not answered yet: itself and the start of its arena */
};

struct broker_reply {
    struct broker_reply *next;
    struct broker *broker;
    struct broker_conn *conn; /* NULL when it is gone */
    struct buf out;
    struct wr_splice *splices; /* taken from the writer */
    size_t splices_n;
    struct log_slice *slices; /* keep the files of the splices open */
    size_t slices_n, slices_cap;
    size_t counted; /* bytes in memory_used */
};

/* ---- memory ---- */

void memory_take(struct broker *b, uint64_t n)
{
    b->memory_used += n;
}

void memory_give(struct broker *b, uint64_t n)
{
    must(b->memory_used >= n);
    b->memory_used -= n;
    if (!n || !b->memory_wanted) return;
    b->memory_wanted = false; /* who still finds too little sets it again */
    broker_again(b);
}

bool memory_reserve(struct broker *b, uint64_t n)
{
    if (b->memory_reserved && b->memory_used + n > b->memory_max) {
        b->memory_wanted = true;
        return false;
    }
    memory_keep(b, n);
    return true;
}

void memory_keep(struct broker *b, uint64_t n)
{
    b->memory_reserved += n;
    memory_take(b, n);
}

void memory_release(struct broker *b, uint64_t n)
{
    must(b->memory_reserved >= n);
    b->memory_reserved -= n;
    memory_give(b, n);
}

/* ---- replies ---- */

/* What it takes of our memory: thousands of small answers are more than their bytes. */
static size_t reply_cost(const struct broker_reply *y)
{
    return y->out.cap + sizeof *y + y->slices_cap * sizeof *y->slices + 64;
}

static struct broker_reply *reply_new(struct broker *b)
{
    struct broker_reply *y = b->replies_pool;

    if (!y) return xnew(struct broker_reply);
    b->replies_pool = y->next;
    b->replies_pooled--;
    y->next = NULL;
    return y;
}

static void slices_drop(struct broker_reply *y)
{
    for (size_t i = 0; i < y->slices_n; i++)
        log_slice_fini(&y->slices[i]);
    y->slices_n = 0;
    free(y->splices);
    y->splices = NULL;
    y->splices_n = 0;
}

static void reply_delete(struct broker_reply *y)
{
    slices_drop(y);
    free(y->slices);
    buf_fini(&y->out);
    free(y);
}

struct broker_reply *broker_reply_free(struct broker_reply *y)
{
    struct broker *b;

    if (!y) return NULL;
    b = y->broker;
    if (y->conn) {
        y->conn->replies_n--;
        y->conn->reply_bytes -= broker_reply_size(y);
        if (y->conn->waits && y->conn->reply_bytes <= REPLY_BYTES_PER_CONN_MAX)
            conn_resume_later(y->conn);
    }
    memory_give(b, y->counted);
    y->counted = 0;
    y->conn = NULL;
    slices_drop(y);
    if (b->replies_pooled >= REPLIES_POOLED_MAX || y->out.cap > POOLED_BUF_MAX) {
        reply_delete(y);
        return NULL;
    }
    buf_clear(&y->out);
    y->next = b->replies_pool;
    b->replies_pool = y;
    b->replies_pooled++;
    return NULL;
}

size_t broker_reply_size(const struct broker_reply *y)
{
    size_t n = y->out.n;

    for (size_t i = 0; i < y->splices_n; i++)
        n += y->splices[i].from.n;
    return n;
}

/* bytes, file, bytes, file, … bytes. Bytes may be empty. */
size_t broker_reply_parts(const struct broker_reply *y)
{
    return 2 * y->splices_n + 1;
}

struct broker_part broker_reply_part(const struct broker_reply *y, size_t i)
{
    const struct wr_splice *s = y->splices;
    size_t from = i < 2 ? 0 : s[i / 2 - 1].at;
    size_t to = i / 2 == y->splices_n ? y->out.n : s[i / 2].at;

    must(i <= 2 * y->splices_n);
    if (i % 2)
        return (struct broker_part){
            .file = s[i / 2].from.file, .offset = s[i / 2].from.offset, .n = s[i / 2].from.n};
    return (struct broker_part){.bytes = {y->out.p + from, to - from}, .n = to - from};
}

struct broker_reply *broker_reply_next(const struct broker_reply *y)
{
    return y->next;
}

void broker_reply_set_next(struct broker_reply *y, struct broker_reply *next)
{
    y->next = next;
}

void request_hold(struct request *r, struct log_slice *slice)
{
    struct broker_reply *y = r->reply;

    if (!y) {
        y = r->reply = reply_new(r->broker);
        y->broker = r->broker;
    }
    if (y->slices_n == y->slices_cap) {
        y->slices_cap = MAX(y->slices_cap * 2, (size_t)4);
        y->slices = xrealloc(y->slices, y->slices_cap, sizeof *y->slices);
    }
    y->slices[y->slices_n++] = *slice;
    *slice = (struct log_slice){0};
}

/* Copies small pieces of files into the answer; what has no descriptor is always copied. One pass, one new buf. */
static enum rc reply_flatten(struct broker_reply *y, struct err *e)
{
    struct buf out = {0};
    size_t kept = 0, from = 0, copied = 0;

    for (size_t i = 0; i < y->splices_n; i++)
        if (y->splices[i].from.n < SPLICE_BYTES_MIN || file_fd(y->splices[i].from.file) < 0)
            copied += y->splices[i].from.n;
    if (!copied) return RC_OK;
    buf_reserve(&out, y->out.n + copied);
    for (size_t i = 0; i < y->splices_n; i++) {
        struct wr_splice *s = &y->splices[i];

        buf_append(&out, (struct bytes){y->out.p + from, s->at - from});
        from = s->at;
        if (s->from.n < SPLICE_BYTES_MIN || file_fd(s->from.file) < 0) {
            uint8_t *p = buf_grow(&out, s->from.n);

            if (file_read_exact(s->from.file, p, s->from.n, s->from.offset, e)) {
                buf_fini(&out);
                return e->rc;
            }
        } else {
            y->splices[kept].from = s->from;
            y->splices[kept++].at = out.n;
        }
    }
    buf_append(&out, (struct bytes){y->out.p + from, y->out.n - from});
    buf_fini(&y->out);
    y->out = out;
    y->splices_n = kept;
    return RC_OK;
}

/* ---- requests ---- */

struct request *request_new(struct broker *b)
{
    struct request *r = b->requests_pool;

    if (!r) return xnew(struct request);
    b->requests_pool = r->ctx;
    b->requests_pooled--;
    r->ctx = NULL;
    return r;
}

void request_queue(struct request *r, struct broker_conn *c)
{
    r->broker = c->broker;
    r->conn = c;
    list_push(&c->requests, &r->link);
    c->requests_n++;
    memory_take(c->broker, REQUEST_COST_BYTES);
}

void request_free(struct request *r)
{
    struct broker *b = r->broker;
    struct arena keep;

    timer_cancel(b->timers, &r->timer);
    list_remove(&r->link);
    r->conn->requests_n--;
    memory_give(b, REQUEST_COST_BYTES);
    broker_reply_free(r->reply);
    wr_fini(&r->wr);
    if (r->arena.used > ARENA_POOLED_MAX)
        arena_fini(&r->arena);
    else
        arena_reset(&r->arena);
    keep = r->arena;
    memset(r, 0, sizeof *r);
    r->arena = keep;
    if (b->requests_pooled >= REQUESTS_POOLED_MAX) {
        arena_fini(&r->arena);
        free(r);
        return;
    }
    r->ctx = b->requests_pool;
    b->requests_pool = r;
    b->requests_pooled++;
}

void requests_fini(struct broker *b)
{
    struct request *r;
    struct broker_reply *y;

    while ((r = b->requests_pool)) {
        b->requests_pool = r->ctx;
        arena_fini(&r->arena);
        free(r);
    }
    while ((y = b->replies_pool)) {
        b->replies_pool = y->next;
        reply_delete(y);
    }
}

void conn_ready(struct broker_conn *c)
{
    if (list_empty(&c->ready_link)) list_push(&c->broker->conns_ready, &c->ready_link);
}

void request_unpark(struct request *r)
{
    if (r->state != REQUEST_PARKED) return;
    r->conn->parked = false;
    r->cancel = NULL;
    r->broker->stats.requests_parked--;
    timer_cancel(r->broker->timers, &r->timer);
    if (r->conn->waits) conn_resume_later(r->conn);
}

void request_close(struct request *r, const char *why)
{
    diag(DIAG_WARN, "broker.connection_closed", KV_CSTR("why", why), KV_CSTR("peer", r->conn->peer),
         KV_CSTR("api", r->h.api ? r->h.api->name : "?"), KV_I64("version", r->h.api_version),
         KV_STR("client", r->h.client_id));
    request_unpark(r);
    r->state = REQUEST_CLOSING;
    conn_ready(r->conn);
}

static void on_unmute(struct timer *t)
{
    struct broker_conn *c = container_of(t, struct broker_conn, mute_timer);

    if (c->waits) conn_resume_later(c);
}

static void conn_mute(struct broker_conn *c, uint32_t ms)
{
    struct broker *b = c->broker;

    c->muted_until_ms = MAX(c->muted_until_ms, broker_now_ms(b) + ms);
    timer_set(b->timers, &c->mute_timer, c->muted_until_ms, on_unmute);
    b->stats.throttled++;
    b->stats.throttled_ms += ms;
}

bool request_may_change(struct request *r, int32_t partitions, bool strict)
{
    return quotas_take(&r->broker->quotas, request_user(r), r->h.client_id, partitions, strict,
                       broker_now_ms(r->broker), &r->throttle_ms);
}

/* The time it took on this loop, and on workers, in percent of a second. */
static void charge_time(struct request *r)
{
    struct broker *b = r->broker;
    uint64_t us;
    uint32_t ms;

    if (!quotas_any(&b->quotas, QUOTA_REQUEST)) return;
    us = r->state == REQUEST_PARKED ? r->parked_us : clock_mono_us(b->clock) - r->begun_us;
    us += r->aside_us;
    ms = quotas_charge(&b->quotas, QUOTA_REQUEST, request_user(r), r->h.client_id, (double)us / 1e4,
                       broker_now_ms(b));
    r->throttle_ms = MAX(r->throttle_ms, ms);
}

void request_drop(struct request *r)
{
    if (r->throttle_ms) conn_mute(r->conn, r->throttle_ms);
    request_unpark(r);
    r->state = REQUEST_DROPPED;
    conn_ready(r->conn);
}

void request_park(struct request *r, void (*cancel)(struct request *r))
{
    must(r->state == REQUEST_RUNNING);
    must(cancel);
    r->parked_us = clock_mono_us(r->broker->clock) - r->begun_us;
    r->state = REQUEST_PARKED;
    r->cancel = cancel;
    r->conn->parked = true;
    r->broker->stats.requests_parked++;
}

void *request_decode(struct request *r)
{
    const struct kafka_message *m = kafka_message_of(KAFKA_MESSAGE_REQUEST, r->h.api_key);
    void *q = arena_alloc(&r->arena, m->size);
    struct err e;

    r->arena.limit = MIN((size_t)ARENA_BYTES_MAX, 65536 + r->frame_n * 40) + r->arena.used;
    if (m->decode(&r->body, r->h.api_version, &r->arena, q)) {
        r->arena.limit = 0;
        return q;
    }
    r->arena.limit = 0;
    r->arena.refused = false;
    rd_err(&r->body, &e);
    r->broker->stats.frames_bad++;
    diag(DIAG_WARN, "broker.request_malformed", KV_CSTR("why", e.text),
         KV_CSTR("peer", r->conn->peer), KV_STR("client", r->h.client_id));
    r->state = REQUEST_CLOSING;
    conn_ready(r->conn);
    return NULL;
}

static void count_answer(struct request *r, size_t bytes)
{
    struct broker *b = r->broker;
    struct api_stats *s = &b->api_stats[r->h.api_key];
    uint64_t us = clock_mono_us(b->clock) - r->begun_us;

    s->n++;
    s->us += us;
    s->us_max = MAX(s->us_max, us);
    s->request_bytes += r->frame_n;
    s->reply_bytes += bytes;
    b->stats.reply_bytes += bytes;
}

/* The answer with the time that its client is to be silent, if there is one. */
static const void *with_throttle(struct request *r, const struct kafka_message *m,
                                 const void *response)
{
    char *copy;
    int32_t ms = (int32_t)r->throttle_ms;

    if (!ms || m->throttle_at == SIZE_MAX) return response;
    copy = arena_alloc(&r->arena, m->size);
    memcpy(copy, response, m->size);
    memcpy(copy + m->throttle_at, &ms, sizeof ms);
    return copy;
}

static bool encode(struct request *r, const void *response)
{
    const struct kafka_message *m = kafka_message_of(KAFKA_MESSAGE_RESPONSE, r->h.api_key);
    struct broker_reply *y = r->reply;
    size_t frame;
    struct err e;

    if (!y) {
        y = r->reply = reply_new(r->broker);
        y->broker = r->broker;
    }
    buf_clear(&y->out);
    wr_fini(&r->wr);
    wr_init(&r->wr, &y->out);
    frame = wr_frame_begin(&r->wr);
    kafka_response_header_encode(&r->wr, r->h.api, r->h.api_version, r->h.correlation_id);
    if (!m->encode(&r->wr, r->h.api_version, with_throttle(r, m, response))) {
        request_close(r, "the answer does not fit the protocol");
        return false;
    }
    wr_frame_end(&r->wr, frame);
    y->splices = r->wr.splices;
    y->splices_n = r->wr.splices_n;
    r->wr.splices = NULL;
    r->wr.splices_n = r->wr.splices_cap = 0;
    if (y->splices_n && reply_flatten(y, &e)) {
        diag(DIAG_ERROR, "broker.read_failed", KV_CSTR("why", e.text));
        request_close(r, "records could not be read");
        return false;
    }
    return true;
}

void request_answer_when(struct request *r, const void *response, uint64_t seq)
{
    bool again = r->state == REQUEST_ANSWERED; /* by refuse() */

    must(r->state == REQUEST_RUNNING || r->state == REQUEST_PARKED || again);
    if (r->reply && again) memory_give(r->broker, r->reply->counted), r->reply->counted = 0;
    if (!again) charge_time(r);
    if (!encode(r, response)) return;
    if (r->throttle_ms && !again) conn_mute(r->conn, r->throttle_ms);
    request_unpark(r);
    r->reply->counted = reply_cost(r->reply);
    memory_take(r->broker, r->reply->counted);
    r->state = REQUEST_ANSWERED;
    r->seq = seq;
    conn_ready(r->conn);
}

void request_answer(struct request *r, const void *response)
{
    request_answer_when(r, response, 0);
}

void request_answer_raw(struct request *r, struct bytes token)
{
    struct broker_reply *y = r->reply = reply_new(r->broker);
    size_t frame;

    y->broker = r->broker;
    wr_init(&r->wr, &y->out);
    frame = wr_frame_begin(&r->wr);
    buf_append(&y->out, token);
    wr_frame_end(&r->wr, frame);
    request_unpark(r);
    y->counted = reply_cost(y);
    memory_take(r->broker, y->counted);
    r->state = REQUEST_ANSWERED;
    conn_ready(r->conn);
}

void request_answer_unknown_version(struct request *r)
{
    const struct api *a = api_of(KAFKA_API_VERSIONS);
    struct broker_reply *y = r->reply = reply_new(r->broker);
    size_t frame;

    y->broker = r->broker;
    wr_init(&r->wr, &y->out);
    frame = wr_frame_begin(&r->wr);
    wr_i32(&r->wr, r->h.correlation_id);
    wr_i16(&r->wr, KAFKA_ERR_UNSUPPORTED_VERSION);
    wr_i32(&r->wr, 1);
    wr_i16(&r->wr, a->key);
    wr_i16(&r->wr, a->min);
    wr_i16(&r->wr, a->max);
    wr_frame_end(&r->wr, frame);
    y->counted = reply_cost(y);
    memory_take(r->broker, y->counted);
    r->state = REQUEST_ANSWERED;
    conn_ready(r->conn);
}

/* ---- the way out ---- */

static bool conn_release(struct broker_conn *c, uint64_t durable)
{
    bool any = false;

    while (!list_empty(&c->requests) && !c->closing) {
        struct request *r = container_of(c->requests.next, struct request, link);
        struct broker_reply *y = r->reply;

        if (r->state == REQUEST_RUNNING || r->state == REQUEST_PARKED) break;
        if (r->state == REQUEST_ANSWERED && r->seq > durable) return any;
        if (r->state == REQUEST_CLOSING) {
            c->closing = true;
            c->ops->close(c);
            return any;
        }
        if (r->state == REQUEST_DROPPED) {
            count_answer(r, 0);
            request_free(r);
            continue;
        }
        count_answer(r, broker_reply_size(y));
        bool last = r->last;

        r->reply = NULL;
        y->conn = c;
        c->replies_n++;
        c->reply_bytes += broker_reply_size(y);
        request_free(r);
        c->ops->send(c, y);
        any = true;
        if (last) {
            c->closing = true;
            c->ops->close(c);
            return any;
        }
    }
    list_remove(&c->ready_link);
    if (c->waits && c->requests_n < REQUESTS_PER_CONN_MAX / 2 && !c->parked) conn_resume_later(c);
    return any;
}

void replies_release(struct broker *b)
{
    uint64_t durable = store_durable_seq(b->store);

    list_each_safe(it, &b->conns_ready)
        conn_release(container_of(it, struct broker_conn, ready_link), durable);
}

void requests_fatal(struct broker *b)
{
    uint64_t durable = store_durable_seq(b->store);

    list_each_safe(it, &b->conns)
    {
        struct broker_conn *c = container_of(it, struct broker_conn, link);

        list_each_safe(at, &c->requests)
        {
            struct request *r = container_of(at, struct request, link);

            if (r->state != REQUEST_ANSWERED || r->seq <= durable) continue;
            if (r->refuse)
                r->refuse(r);
            else
                request_close(r, "the log has stopped");
        }
    }
}
