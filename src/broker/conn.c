/* From a frame to a request.
 *
 * A frame is refused, put off (LATER), or becomes a request that is handled at once; request.c brings its answer on its way.
 * One parked request makes the connection's later ones wait in the transport, so what a peer can pile up here is bounded by
 * REQUESTS_PER_CONN_MAX answered requests and what the transport reads ahead.   SPDX-License-Identifier: Apache-2.0
 */
#include "base/diag.h"
#include "broker/request_core.h"

enum {
    FRAME_BYTES_MAX = 100 << 20, /* of all but Produce */
    REQUEST_BYTES_MIN = 10,      /* key, version, correlation id, length of the client id */
};

/* 127.0.0.1:9092 and [::1]:9092, without the port and the brackets. */
static void host_of(struct str peer, char *ret, size_t room)
{
    while (peer.n && peer.p[peer.n - 1] != ':')
        peer.n--;
    if (peer.n) peer.n--;
    if (peer.n >= 2 && peer.p[0] == '[') peer = (struct str){peer.p + 1, peer.n - 2};
    peer.n = MIN(peer.n, room - 1);
    if (peer.n) memcpy(ret, peer.p, peer.n);
}

void broker_conn_principal(struct broker_conn *c, struct str principal)
{
    str_drop(&c->principal);
    c->principal = str_own(principal);
}

void broker_conn_init(struct broker_conn *c, struct broker *b, struct broker_listener *listener,
                      const struct broker_conn_ops *ops, struct str peer)
{
    size_t n = MIN(peer.n, sizeof c->peer - 1);

    memset(c, 0, sizeof *c);
    c->ops = ops;
    c->broker = b;
    c->listener = listener;
    if (n) memcpy(c->peer, peer.p, n);
    host_of(str_of(c->peer), c->host, sizeof c->host);
    if (listener->sasl) c->sasl = sasl_new();
    list_init(&c->requests);
    list_init(&c->ready_link);
    list_init(&c->resume_link);
    list_push(&b->conns, &c->link);
    b->conns_n++;
    b->stats.connections_total++;
}

void broker_conn_inside(struct broker_conn *c)
{
    c->inside = true;
    c->sasl = sasl_free(c->sasl);
}

void broker_conn_fini(struct broker_conn *c)
{
    struct broker *b = c->broker;

    if (!b) return;
    while (!list_empty(&c->requests)) {
        struct request *r = container_of(c->requests.next, struct request, link);

        if (r->state == REQUEST_PARKED) {
            void (*cancel)(struct request *) = r->cancel;

            request_unpark(r);
            cancel(r);
        }
        request_free(r);
    }
    timer_cancel(b->timers, &c->mute_timer);
    list_remove(&c->link);
    list_remove(&c->ready_link);
    list_remove(&c->resume_link);
    str_drop(&c->software_name);
    str_drop(&c->software_version);
    str_drop(&c->principal);
    sasl_free(c->sasl);
    b->conns_n--;
    memset(c, 0, sizeof *c);
}

void conn_resume_later(struct broker_conn *c)
{
    struct broker *b = c->broker;

    if (!c->waits || c->closing || b->draining) return;
    list_remove(&c->resume_link);
    list_push(&b->conns_resume, &c->resume_link);
    broker_again(b);
}

bool broker_frame_begins_ok(struct broker_conn *c, struct bytes start)
{
    struct broker *b = c->broker;
    int32_t size = (int32_t)load_be32(start.p);
    bool is_produce = start.n < 6 || load_be16(start.p + 4) == KAFKA_PRODUCE;
    bool unknown = c->sasl && !c->sasl->again && c->sasl->state != SASL_DONE;

    if (size >= 0 && size <= b->config.socket_request_max_bytes &&
        (!unknown || size <= SASL_TOKEN_BYTES_MAX) &&
        (is_produce || size <= FRAME_BYTES_MAX))
        return true;
    b->stats.frames_bad++;
    return false;
}

static enum broker_frame_result later(struct broker_conn *c)
{
    c->waits = true;
    return BROKER_FRAME_LATER;
}

static enum broker_frame_result refuse_frame(struct broker_conn *c, const char *why,
                                             const uint8_t *p, size_t n)
{
    c->broker->stats.frames_bad++;
    diag(DIAG_WARN, "broker.frame_refused", KV_CSTR("why", why), KV_CSTR("peer", c->peer),
         KV_U64("bytes", n), KV_I64("api", n >= 2 ? (int16_t)load_be16(p) : -1),
         KV_I64("version", n >= 4 ? (int16_t)load_be16(p + 2) : -1));
    if (!list_empty(&c->requests)) { /* what came before is still answered */
        struct request *r = request_new(c->broker);

        request_queue(r, c);
        r->state = REQUEST_CLOSING;
        conn_ready(c);
        return BROKER_FRAME_CLOSE;
    }
    if (!c->closing) {
        c->closing = true;
        c->ops->close(c);
    }
    return BROKER_FRAME_CLOSE;
}

/* Puts off what cannot begin now: what writes for want of room in the wal, everything for want of memory, but a large frame,
 * whose memory is counted already. */
static bool must_wait(struct broker_conn *c, int16_t key, size_t n, const struct buf *owner)
{
    struct broker *b = c->broker;

    if (c->parked || b->draining || c->requests_n >= REQUESTS_PER_CONN_MAX ||
        c->reply_bytes > REPLY_BYTES_PER_CONN_MAX)
        return true;
    if (c->muted_until_ms && c->muted_until_ms > broker_now_ms(b)) return true;
    if (memory_is_short(b) && !owner) {
        list_remove(&c->resume_link);
        list_push(&b->conns_short, &c->resume_link);
        b->memory_wanted = true;
        return true;
    }
    if (api_of(key) && api_of(key)->flags & API_APPENDS && !b->fatal &&
        !store_has_room(b->store, MIN(n, (size_t)LOG_BATCH_INLINE_MAX))) {
        list_remove(&c->resume_link);
        list_push(&b->conns_room, &c->resume_link);
        return true;
    }
    return false;
}

static void begin(struct request *r, struct broker_conn *c, uint8_t *p, size_t n, struct buf *owner)
{
    request_queue(r, c);
    r->frame = p;
    r->frame_n = n;
    r->frame_owner = owner;
    r->begun_us = clock_mono_us(c->broker->clock);
    c->broker->stats.requests++;
    c->broker->stats.request_bytes += n;
}

/* A SASL token of the old way: the frame is nothing else. */
static enum broker_frame_result raw_token(struct broker_conn *c, const uint8_t *p, size_t n)
{
    struct request *r;

    if (c->parked || c->broker->draining) return later(c);
    c->waits = false;
    r = request_new(c->broker);
    request_queue(r, c);
    r->begun_us = clock_mono_us(c->broker->clock);
    r->frame = arena_alloc(&r->arena, n + 1);
    if (n) memcpy(r->frame, p, n);
    r->frame_n = n;
    r->raw = true;
    r->api = api_of(KAFKA_SASL_AUTHENTICATE);
    r->h.api_key = KAFKA_SASL_AUTHENTICATE;
    api_sasl_raw(r, (struct bytes){r->frame, n});
    must(r->state != REQUEST_RUNNING);
    return r->state == REQUEST_CLOSING ? BROKER_FRAME_CLOSE : BROKER_FRAME_DONE;
}

enum broker_frame_result broker_conn_frame(struct broker_conn *c, uint8_t *p, size_t n,
                                           struct buf *owner)
{
    struct broker *b = c->broker;
    const struct api *a;
    struct request *r;
    const char *why;

    if (c->closing) return BROKER_FRAME_CLOSE;
    if (sasl_wants_raw(c->sasl)) return raw_token(c, p, n);
    if (n < REQUEST_BYTES_MIN) return refuse_frame(c, "shorter than a request header", p, n);
    if (must_wait(c, (int16_t)load_be16(p), n, owner)) return later(c);
    c->waits = false;
    a = api_of((int16_t)load_be16(p));
    if (c->sasl && !sasl_lets(c->sasl, (int16_t)load_be16(p), broker_now_ms(b), &why)) {
        if (c->sasl->state == SASL_DONE) b->stats.sessions_expired++;
        return refuse_frame(c, why, p, n);
    }
    if (!a) return refuse_frame(c, "an API that is not served", p, n);
    if (((int16_t)load_be16(p + 2) < a->min || (int16_t)load_be16(p + 2) > a->max) &&
        a->key != KAFKA_API_VERSIONS)
        return refuse_frame(c, "a version that is not served", p, n);

    r = request_new(b);
    begin(r, c, p, n, owner);
    r->api = a;
    if (!(a->flags & API_BORROWS)) {
        r->frame = arena_alloc(&r->arena, n);
        memcpy(r->frame, p, n);
        r->frame_owner = NULL;
    }
    rd_init(&r->body, (struct bytes){r->frame, n});
    if (!kafka_request_header_decode(&r->body, &r->h)) {
        request_free(r);
        return refuse_frame(c, "a malformed request header", p, n);
    }
    if (r->h.api_version < a->min || r->h.api_version > a->max)
        request_answer_unknown_version(r);
    else {
        if (c->sasl && a->key == KAFKA_API_VERSIONS) c->sasl->versions_asked = true;
        a->handle(r);
    }
    if ((a->flags & API_BORROWS) && r->state != REQUEST_PARKED)
        r->h.client_id = (struct str){0}; /* who parks it keeps a copy */
    must(r->state != REQUEST_RUNNING);
    return r->state == REQUEST_CLOSING ? BROKER_FRAME_CLOSE : BROKER_FRAME_DONE;
}
