/* Design note: nghttp2 keeps the protocol's state, we keep streams. Input goes through nghttp2_session_mem_recv(); output
 * is produced into the connection's queue after it, or right after an answer, and stops while the queue is full.
 * Windows are opened by hand: the connection's always, a stream's only while its body has room in the budget, so one
 * that waits holds at most one small window. Once a large message was granted, its stream's window grows.
 * An answer that is out before its request is all in leaves the stream open for LINGER_MS: a client that is still sending
 * (curl 7.88 among them) takes a reset for the end of everything and never reads why it was refused. What it sends
 * meanwhile is dropped, one window at most.
 * Bodies leave without a copy: small ones inside the queue's own items, large ones as parts of a blob.
 * SPDX-License-Identifier: Apache-2.0 */
#include "net/h2.h"
#include "net/http_conn.h"
#include <nghttp2/nghttp2.h>

enum {
    STREAM_WINDOW = 256 << 10,
    STREAM_WINDOW_MAX = 8 << 20,
    CONN_WINDOW = 16 << 20,
    COPY_MAX = 4 << 10,    /* answers up to this are copied into frames, larger ones become blobs */
    MESSAGE_MAX = 4 << 10, /* of grpc-message, encoded: clients take 8 KiB of metadata in all */
    STREAM_OUT_FULL = 1 << 20,
    BODY_RATE_BYTES = 4 << 10,
    STREAMS_KEPT = 256,
    STUCK_LOOKS_MAX = 3,
    LINGER_MS = 1000,
    NV_MAX = 256,
};

struct piece { /* one run of output: of an answer, or of a stream */
    struct piece *next;
    struct buf buf;
    struct blob *blob;
    struct bytes rest;
    uint8_t frame[GRPC_FRAME_BYTES];
    uint8_t frame_at, frame_n;
};

struct h2_stream {
    struct exchange x;
    struct h2 *h;
    int32_t id;
    struct list link;       /* in h->streams, or spare */
    struct header *headers; /* in x.arena */
    uint32_t headers_n, headers_cap, header_bytes;
    struct str target;
    size_t unconsumed; /* bytes not given back to the stream's window while the body waits */
    uint64_t body_mark, body_bytes, sent_mark, sent_bytes;
    struct piece first, *pieces, **pieces_end;
    size_t out_bytes;
    struct budget_claim out; /* the same, as memory that peers make us hold */
    uint32_t stuck_looks;
    uint64_t linger_ms; /* the answer is out, the request is not all in: when it is reset; 0: not so */
    struct buf trailers; /* name\0value\0 …; sent when has_trailers */
    bool has_trailers, out_done, deferred, begun, too_large, head_only, window_grown;
};

struct h2 {
    struct http_conn *hc;
    nghttp2_session *session;
    struct list streams;
    uint64_t look_ms, linger_ms; /* when to look for what is slow, and for the first that lingers */
    bool receiving, sending;
};

static const struct exchange_ops h2_ops;
static void h2_send(struct h2 *h);

static struct h2 *h2_of(const struct http_conn *hc)
{
    return hc->state;
}

static uint64_t now_ms(const struct h2 *h)
{
    return loop_now_ms(h->hc->server->loop);
}

static void due_set(struct h2 *h)
{
    http_conn_due(h->hc, MIN(h->look_ms, h->linger_ms));
}

static void look_at(struct h2 *h, uint64_t at_ms)
{
    h->look_ms = at_ms;
    due_set(h);
}

/* ---- Streams ---- */

static struct h2_stream *stream_new(struct h2 *h, int32_t id)
{
    struct http_server *s = h->hc->server;
    struct list *l = list_pop(&s->streams);
    struct h2_stream *st;

    if (l) {
        st = container_of(l, struct h2_stream, link);
        s->streams_n--;
    } else {
        st = xnew(struct h2_stream);
    }
    st->h = h;
    st->id = id;
    st->pieces_end = &st->pieces;
    st->x.h2 = true;
    st->x.ops = &h2_ops;
    st->x.options = &s->o;
    st->x.peer = &h->hc->conn.peer;
    st->x.secure = h->hc->secure;
    st->x.certified = h->hc->certified;
    list_push(&h->streams, &st->link);
    if (h->look_ms > now_ms(h) + s->o.body_ms) look_at(h, now_ms(h) + s->o.body_ms);
    return st;
}

static void piece_drop(struct piece *p)
{
    buf_fini(&p->buf);
    blob_unref(&p->blob);
}

static void stream_free(struct h2_stream *st)
{
    struct http_server *s = st->h->hc->server;

    while (st->pieces) {
        struct piece *p = st->pieces;

        st->pieces = p->next;
        piece_drop(p);
        if (p != &st->first) free(p);
    }
    buf_fini(&st->trailers);
    budget_drop(&st->out);
    exchange_reset(&st->x);
    list_remove(&st->link);
    if (s->streams_n < STREAMS_KEPT) {
        *st = (struct h2_stream){.x.arena = st->x.arena};
        list_push(&s->streams, &st->link);
        s->streams_n++;
        return;
    }
    arena_fini(&st->x.arena);
    free(st);
}

/* ---- Input ---- */

static int on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    struct h2 *h = user;

    if (frame->hd.type == NGHTTP2_HEADERS && frame->headers.cat == NGHTTP2_HCAT_REQUEST)
        nghttp2_session_set_stream_user_data(session, frame->hd.stream_id,
                                             stream_new(h, frame->hd.stream_id));
    return 0;
}

static struct str arena_text(struct arena *a, const uint8_t *p, size_t n)
{
    char *to = arena_alloc(a, n + 1);

    memcpy(to, p, n);
    return (struct str){to, n};
}

static void header_keep(struct h2_stream *st, struct str name, struct str value)
{
    if (st->headers_n == st->headers_cap) {
        uint32_t cap = MAX(st->headers_cap * 2, 16u);
        struct header *more = arena_array(&st->x.arena, struct header, cap);

        if (st->headers_n) memcpy(more, st->headers, st->headers_n * sizeof *more);
        st->headers = more;
        st->headers_cap = cap;
    }
    st->headers[st->headers_n++] = (struct header){name, value};
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
                     size_t name_n, const uint8_t *value, size_t value_n, uint8_t flags, void *user)
{
    struct h2_stream *st = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
    const struct http_options *o;
    struct str k, v;

    (void)flags;
    (void)user;
    if (!st || st->begun) return 0; /* trailers of a request: nobody asks for them */
    o = st->x.options;
    st->header_bytes += (uint32_t)(name_n + value_n);
    if (st->header_bytes > o->header_bytes_max || st->headers_n == o->headers_max) {
        st->too_large = true;
        return 0;
    }
    v = arena_text(&st->x.arena, value, value_n);
    if (name_n && name[0] == ':') {
        k = bytes_str(bytes_of(name, name_n));
        if (str_is(k, ":path"))
            st->target = v;
        else if (str_is(k, ":method"))
            st->x.method = v;
        else if (str_is(k, ":authority"))
            st->x.authority = v;
        return 0;
    }
    k = arena_text(&st->x.arena, name, name_n);
    if (!st->x.authority.n && str_is(k, "host")) st->x.authority = v;
    header_keep(st, k, v);
    return 0;
}

static void stream_begin_request(struct h2_stream *st, bool ended)
{
    struct exchange *x = &st->x;
    struct str text;
    int64_t length;
    uint64_t declared = ended ? 0 : UINT64_MAX;

    st->begun = true;
    st->h->hc->server->counters.requests_h2++;
    x->arrived_ms = now_ms(st->h);
    x->headers = st->headers;
    x->headers_n = st->headers_n;
    st->head_only = str_is(x->method, "HEAD");
    if (!ended && exchange_header(x, STR("content-length"), &text) && str_to_i64(text, &length) &&
        length >= 0)
        declared = (uint64_t)length;
    if (st->too_large) {
        exchange_refuse(x, 431, "the headers are too large");
        return;
    }
    exchange_begin(x, st->target, declared);
}

static int on_frame_recv(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    struct h2_stream *st;

    (void)user;
    if (frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA) return 0;
    st = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
    if (!st) return 0;
    if (frame->hd.type == NGHTTP2_HEADERS && !st->begun)
        stream_begin_request(st, frame->hd.flags & NGHTTP2_FLAG_END_STREAM);
    if (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) exchange_complete(&st->x);
    return 0;
}

/* A message was granted room: let it come at full speed. */
static void window_grow(struct h2 *h, struct h2_stream *st)
{
    uint64_t want = st->x.in.declared;

    if (st->window_grown || want == UINT64_MAX || want <= STREAM_WINDOW) return;
    st->window_grown = true;
    nghttp2_session_set_local_window_size(h->session, NGHTTP2_FLAG_NONE, st->id,
                                          (int32_t)MIN(want, (uint64_t)STREAM_WINDOW_MAX));
}

static int on_data_chunk(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *data,
                         size_t n, void *user)
{
    struct h2 *h = user;
    struct h2_stream *st = nghttp2_session_get_stream_user_data(session, id);

    (void)flags;
    nghttp2_session_consume_connection(session, n);
    if (!st) return 0;
    st->body_bytes += n;
    exchange_data(&st->x, bytes_of(data, n));
    if (st->x.answered && !st->x.streaming_out) return 0; /* nobody wants the rest */
    if (st->x.waiting) {
        st->unconsumed += n;
        return 0;
    }
    nghttp2_session_consume_stream(session, id, n);
    window_grow(h, st);
    return 0;
}

static int on_stream_close(nghttp2_session *session, int32_t id, uint32_t code, void *user)
{
    struct h2 *h = user;
    struct h2_stream *st = nghttp2_session_get_stream_user_data(session, id);

    (void)code;
    if (!st) return 0;
    nghttp2_session_set_stream_user_data(session, id, NULL);
    if (!st->x.answered) h->hc->server->counters.gone++;
    exchange_gone(&st->x);
    stream_free(st);
    if (list_empty(&h->streams)) look_at(h, now_ms(h) + 10 * h->hc->server->o.idle_ms);
    return 0;
}

/* ---- Output ---- */

static ssize_t on_send(nghttp2_session *session, const uint8_t *data, size_t n, int flags,
                       void *user)
{
    struct h2 *h = user;

    (void)session;
    (void)flags;
    if (conn_full(&h->hc->conn)) return NGHTTP2_ERR_WOULDBLOCK;
    conn_send_copy(&h->hc->conn, bytes_of(data, n));
    return (ssize_t)n;
}

static size_t piece_left(const struct piece *p)
{
    return (size_t)(p->frame_n - p->frame_at) + p->rest.n;
}

static void piece_done(struct h2_stream *st)
{
    struct piece *p = st->pieces;

    st->pieces = p->next;
    if (!st->pieces) st->pieces_end = &st->pieces;
    piece_drop(p);
    if (p != &st->first)
        free(p);
    else
        st->first = (struct piece){0};
}

static void piece_send(struct conn *c, struct piece *p, size_t n)
{
    size_t part = MIN(n, (size_t)(p->frame_n - p->frame_at));

    conn_send_copy(c, bytes_of(p->frame + p->frame_at, part));
    p->frame_at = (uint8_t)(p->frame_at + part);
    n -= part;
    if (!n) return;
    if (p->blob)
        conn_send_blob(c, p->blob, bytes_of(p->rest.p, n));
    else
        conn_send_copy(c, bytes_of(p->rest.p, n));
    p->rest.p += n;
    p->rest.n -= n;
}

static int on_send_data(nghttp2_session *session, nghttp2_frame *frame, const uint8_t *framehd,
                        size_t n, nghttp2_data_source *source, void *user)
{
    struct h2 *h = user;
    struct h2_stream *st = source->ptr;

    (void)session;
    (void)frame;
    if (conn_full(&h->hc->conn)) return NGHTTP2_ERR_WOULDBLOCK;
    conn_send_copy(&h->hc->conn, bytes_of(framehd, 9));
    while (n) {
        size_t part = MIN(n, piece_left(st->pieces));

        piece_send(&h->hc->conn, st->pieces, part);
        n -= part;
        st->out_bytes -= part;
        if (!st->out_bytes) budget_drop(&st->out);
        st->sent_bytes += part;
        if (piece_left(st->pieces) == 0) piece_done(st);
    }
    return 0;
}

static nghttp2_nv nv_of(struct str name, struct str value)
{
    return (nghttp2_nv){(uint8_t *)(uintptr_t)name.p, (uint8_t *)(uintptr_t)value.p, name.n,
                        value.n, NGHTTP2_NV_FLAG_NONE};
}

static size_t nv_add(nghttp2_nv *nv, size_t at, const struct header *list, size_t n)
{
    for (size_t i = 0; i < n && at < NV_MAX; i++)
        if (http_header_fits(&list[i])) nv[at++] = nv_of(list[i].name, list[i].value);
    return at;
}

/* As much of it as is MESSAGE_MAX bytes percent-encoded, without cutting a character. */
static struct str message_cut(struct str s)
{
    size_t n = 0, cost = 0;

    for (; n < s.n; n++) {
        uint8_t c = (uint8_t)s.p[n];

        cost += c >= 0x20 && c <= 0x7e && c != '%' ? 1 : 3;
        if (cost > MESSAGE_MAX) break;
    }
    while (n < s.n && n && ((uint8_t)s.p[n] & 0xc0) == 0x80)
        n--;
    return (struct str){s.p, n};
}

static void trailers_keep(struct h2_stream *st, const struct grpc_reply *r)
{
    struct buf *b = &st->trailers;
    char digits[DECIMAL_MAX];

    buf_append(b, bytes_of("grpc-status", 12));
    buf_append_str(b, decimal((uint64_t)r->status, digits));
    buf_append_byte(b, 0);
    if (r->message.n) {
        buf_append(b, bytes_of("grpc-message", 13));
        grpc_message_encode(b, message_cut(r->message));
        buf_append_byte(b, 0);
    }
    for (size_t i = 0; i < r->trailers_n; i++) {
        if (!http_header_fits(&r->trailers[i])) continue;
        buf_append_str(b, r->trailers[i].name);
        buf_append_byte(b, 0);
        buf_append_str(b, r->trailers[i].value);
        buf_append_byte(b, 0);
    }
    st->has_trailers = true;
}

static size_t trailers_nv(const struct h2_stream *st, nghttp2_nv *nv, size_t at)
{
    const char *p = (const char *)st->trailers.p, *end;

    if (!st->trailers.n) return at;
    end = p + st->trailers.n;
    while (p < end && at < NV_MAX) {
        struct str name = str_of(p), value = str_of(p + name.n + 1);

        nv[at++] = nv_of(name, value);
        p = value.p + value.n + 1;
    }
    return at;
}

static ssize_t on_read(nghttp2_session *session, int32_t id, uint8_t *into, size_t room,
                       uint32_t *flags, nghttp2_data_source *source, void *user)
{
    struct h2_stream *st = source->ptr;
    size_t n = MIN(room, st->out_bytes);

    (void)into;
    (void)user;
    if (n == 0 && !st->out_done) {
        st->deferred = true;
        return NGHTTP2_ERR_DEFERRED;
    }
    *flags |= NGHTTP2_DATA_FLAG_NO_COPY;
    if (st->out_done && n == st->out_bytes) {
        *flags |= NGHTTP2_DATA_FLAG_EOF;
        if (st->has_trailers) {
            nghttp2_nv nv[NV_MAX];

            *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
            if (nghttp2_submit_trailer(session, id, nv, trailers_nv(st, nv, 0)))
                return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
        }
    }
    return (ssize_t)n;
}

/* The answer is out, the request is not all in: the stream lingers until the client has seen that. */
static int on_frame_send(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    struct h2_stream *st;

    if (frame->hd.type == NGHTTP2_GOAWAY && frame->goaway.error_code != NGHTTP2_NO_ERROR)
        ((struct h2 *)user)->hc->server->counters.broken++;
    if (!(frame->hd.flags & NGHTTP2_FLAG_END_STREAM)) return 0;
    if (frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA) return 0;
    st = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
    if (st && !st->x.complete) {
        st->linger_ms = now_ms(st->h) + LINGER_MS;
        st->h->linger_ms = MIN(st->h->linger_ms, st->linger_ms);
        due_set(st->h);
    }
    return 0;
}

static void h2_send(struct h2 *h)
{
    if (h->receiving || h->sending || !conn_is_open(&h->hc->conn)) return;
    h->sending = true;
    if (nghttp2_session_send(h->session) != 0) conn_close(&h->hc->conn);
    h->sending = false;
    if (conn_is_open(&h->hc->conn) && !nghttp2_session_want_read(h->session) &&
        !nghttp2_session_want_write(h->session))
        conn_end(&h->hc->conn);
}

static void piece_add(struct h2_stream *st, struct buf *data, bool frame)
{
    struct piece *p =
        st->first.rest.n || st->first.frame_n || st->pieces ? xnew(struct piece) : &st->first;

    if (frame) {
        grpc_frame_put(p->frame, false, (uint32_t)data->n);
        p->frame_n = GRPC_FRAME_BYTES;
    }
    if (data->n > COPY_MAX) {
        p->blob = blob_take(data);
        p->rest = blob_view(p->blob);
    } else {
        p->buf = buf_take(data);
        p->rest = buf_view(&p->buf);
    }
    st->out_bytes += piece_left(p);
    if (st->h->hc->server->o.budget) budget_hold(st->h->hc->server->o.budget, &st->out, piece_left(p));
    *st->pieces_end = p;
    st->pieces_end = &p->next;
}

/* ---- Answers ---- */

static struct h2_stream *stream_of(const struct exchange *x)
{
    return container_of(x, struct h2_stream, x);
}

/* Submits headers (and trailers with them when there is no body), then what pieces there are. */
static void submit(struct h2_stream *st, int status, const struct header *list, size_t n,
                   const struct header *more, size_t more_n, bool body)
{
    nghttp2_data_provider from = {.source.ptr = st, .read_callback = on_read};
    nghttp2_nv nv[NV_MAX];
    char text[DECIMAL_MAX];
    size_t at = 0;

    if (status >= 400 && status < 500) st->h->hc->server->counters.refused_4xx++;
    nv[at++] = nv_of(STR(":status"), decimal((uint64_t)status, text));
    at = nv_add(nv, at, more, more_n);
    at = nv_add(nv, at, list, n);
    if (!body) at = trailers_nv(st, nv, at);
    if (nghttp2_submit_response(st->h->session, st->id, nv, at, body ? &from : NULL) != 0)
        nghttp2_submit_rst_stream(st->h->session, NGHTTP2_FLAG_NONE, st->id,
                                  NGHTTP2_INTERNAL_ERROR);
    buf_fini(&st->x.body);
    if (!st->x.streaming_out) buf_fini(&st->x.in.gzip); /* the stream may linger */
    h2_send(st->h);
}

static void respond(struct exchange *x, int status, const struct header *list, size_t n,
                    struct buf *body)
{
    struct h2_stream *st = stream_of(x);
    char length[DECIMAL_MAX];
    struct header more[2] = {HEADER("date", http_server_date(st->h->hc->server)),
                             HEADER("content-length", decimal(body->n, length))};
    bool has_body = body->n && !st->head_only;

    if (has_body)
        piece_add(st, body, false);
    else
        buf_fini(body);
    st->out_done = true;
    submit(st, status, list, n, more, status == 204 || status == 304 ? 1 : 2, has_body);
}

static const struct header grpc_type = {STR("content-type"), STR("application/grpc")};

static void respond_grpc(struct exchange *x, const struct grpc_reply *r, struct buf *message)
{
    struct h2_stream *st = stream_of(x);
    bool ok = r->status == GRPC_OK;

    if (!ok) st->h->hc->server->counters.refused_grpc++;
    trailers_keep(st, r);
    if (ok)
        piece_add(st, message, true);
    else
        buf_fini(message);
    st->out_done = true;
    submit(st, 200, r->headers, r->headers_n, &grpc_type, 1, ok);
}

static void stream_begin(struct exchange *x, int status, const struct header *list, size_t n)
{
    submit(stream_of(x), status, list, n, &grpc_type, x->grpc ? 1 : 0, true);
}

static void stream_go(struct h2_stream *st)
{
    if (st->deferred) {
        st->deferred = false;
        nghttp2_session_resume_data(st->h->session, st->id);
    }
    h2_send(st->h);
}

static void stream_send(struct exchange *x, struct buf *piece)
{
    struct h2_stream *st = stream_of(x);

    if ((piece->n == 0 && !x->grpc) || st->head_only) {
        buf_fini(piece);
        return;
    }
    piece_add(st, piece, x->grpc);
    stream_go(st);
}

static void stream_end(struct exchange *x, const struct grpc_reply *r)
{
    struct h2_stream *st = stream_of(x);

    if (x->grpc) trailers_keep(st, r);
    st->out_done = true;
    stream_go(st);
}

static bool stream_full(const struct exchange *x)
{
    return stream_of(x)->out_bytes > STREAM_OUT_FULL;
}

static void body_wait(struct exchange *x, bool waiting)
{
    struct h2_stream *st = stream_of(x);

    if (waiting) return; /* on_data_chunk() looks at x->waiting */
    if (st->unconsumed) nghttp2_session_consume_stream(st->h->session, st->id, st->unconsumed);
    st->unconsumed = 0;
    window_grow(st->h, st);
    h2_send(st->h);
}

static const struct exchange_ops h2_ops = {.respond = respond,
                                           .respond_grpc = respond_grpc,
                                           .stream_begin = stream_begin,
                                           .stream_send = stream_send,
                                           .stream_end = stream_end,
                                           .stream_full = stream_full,
                                           .wait = body_wait};

/* ---- The protocol's face ---- */

static void h2_open(struct http_conn *hc)
{
    struct http_server *s = hc->server;
    struct h2 *h = xnew(struct h2);
    const nghttp2_settings_entry settings[] = {
        {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, s->o.streams_max},
        {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, STREAM_WINDOW},
        {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, s->o.header_bytes_max},
    };

    h->hc = hc;
    hc->state = h;
    list_init(&h->streams);
    must(nghttp2_session_server_new2(&h->session, s->h2_callbacks, h, s->h2_option) == 0);
    must(nghttp2_submit_settings(h->session, NGHTTP2_FLAG_NONE, settings, countof(settings)) == 0);
    must(nghttp2_session_set_local_window_size(h->session, NGHTTP2_FLAG_NONE, 0, CONN_WINDOW) == 0);
    h->linger_ms = UINT64_MAX;
    look_at(h, now_ms(h) + s->o.idle_ms);
}

static void h2_data(struct http_conn *hc, struct bytes in)
{
    struct h2 *h = h2_of(hc);
    ssize_t n;

    h->receiving = true;
    n = nghttp2_session_mem_recv(h->session, in.p, in.n);
    h->receiving = false;
    if (!conn_is_open(&hc->conn)) return;
    if (n < 0) {
        nghttp2_session_terminate_session(h->session, NGHTTP2_PROTOCOL_ERROR);
        h2_send(h);
        conn_end(&hc->conn);
        return;
    }
    h2_send(h);
}

static void h2_eof(struct http_conn *hc)
{
    conn_close(&hc->conn);
}

static void h2_drained(struct http_conn *hc)
{
    struct h2 *h = h2_of(hc);

    h2_send(h);
    list_each_safe(it, &h->streams)
    {
        struct h2_stream *st = container_of(it, struct h2_stream, link);

        if (st->x.streaming_out && st->x.writable && st->out_bytes < STREAM_OUT_FULL / 2)
            st->x.writable(&st->x);
    }
}

static bool body_too_slow(struct h2_stream *st)
{
    bool coming = !st->x.complete && !st->x.waiting && !st->x.message;
    bool slow = coming && st->body_bytes - st->body_mark < BODY_RATE_BYTES &&
                now_ms(st->h) - st->x.arrived_ms >= st->x.options->body_ms;

    st->body_mark = st->body_bytes;
    return slow;
}

static bool output_stuck(struct h2_stream *st)
{
    bool stuck = st->out_bytes && st->sent_bytes == st->sent_mark && !st->deferred;

    st->sent_mark = st->sent_bytes;
    st->stuck_looks = stuck ? st->stuck_looks + 1 : 0;
    return st->stuck_looks >= STUCK_LOOKS_MAX;
}

/* Ends the requests that were answered LINGER_MS ago and still come. */
static void lingering_end(struct h2 *h)
{
    uint64_t now = now_ms(h), next = UINT64_MAX;

    list_each(it, &h->streams)
    {
        struct h2_stream *st = container_of(it, struct h2_stream, link);

        if (!st->linger_ms) continue;
        if (st->linger_ms <= now) {
            nghttp2_submit_rst_stream(h->session, NGHTTP2_FLAG_NONE, st->id, NGHTTP2_NO_ERROR);
            st->linger_ms = UINT64_MAX; /* once */
        }
        next = MIN(next, st->linger_ms);
    }
    h->linger_ms = next;
    due_set(h);
    h2_send(h);
}

/* Slow bodies, answers nobody takes, and connections nobody uses. */
static void h2_due(struct http_conn *hc)
{
    struct h2 *h = h2_of(hc);

    if (h->linger_ms <= now_ms(h)) {
        lingering_end(h);
        return;
    }
    if (list_empty(&h->streams)) {
        nghttp2_session_terminate_session(h->session, NGHTTP2_NO_ERROR);
        h2_send(h);
        return;
    }
    look_at(h, now_ms(h) + hc->server->o.body_ms);
    h->receiving = true; /* answers are sent below, so that no stream ends inside the loop */
    list_each_safe(it, &h->streams)
    {
        struct h2_stream *st = container_of(it, struct h2_stream, link);
        bool slow = body_too_slow(st), stuck = output_stuck(st);

        if (stuck || (slow && (st->x.answered || !st->begun)))
            nghttp2_submit_rst_stream(h->session, NGHTTP2_FLAG_NONE, st->id, NGHTTP2_CANCEL);
        else if (slow)
            exchange_refuse(&st->x, 408, "the body comes too slowly");
    }
    h->receiving = false;
    h2_send(h);
}

static void h2_drain(struct http_conn *hc)
{
    struct h2 *h = h2_of(hc);

    nghttp2_submit_goaway(h->session, NGHTTP2_FLAG_NONE,
                          nghttp2_session_get_last_proc_stream_id(h->session), NGHTTP2_NO_ERROR,
                          NULL, 0);
    h2_send(h);
}

static bool h2_busy(const struct http_conn *hc)
{
    list_each(it, &((struct h2 *)hc->state)->streams)
    {
        if (!container_of(it, struct h2_stream, link)->linger_ms) return true;
    }
    return false;
}

static void h2_closed(struct http_conn *hc)
{
    struct h2 *h = h2_of(hc);

    while (!list_empty(&h->streams)) {
        struct h2_stream *st = container_of(h->streams.next, struct h2_stream, link);

        if (!st->x.answered) hc->server->counters.gone++;
        exchange_gone(&st->x);
        stream_free(st);
    }
    nghttp2_session_del(h->session);
    free(h);
}

const struct http_proto h2_proto = {.open = h2_open,
                                    .data = h2_data,
                                    .eof = h2_eof,
                                    .drained = h2_drained,
                                    .due = h2_due,
                                    .drain = h2_drain,
                                    .busy = h2_busy,
                                    .closed = h2_closed};

void h2_server_init(struct http_server *s)
{
    nghttp2_session_callbacks *cb;
    nghttp2_option *option;

    must(nghttp2_session_callbacks_new(&cb) == 0 && nghttp2_option_new(&option) == 0);
    nghttp2_session_callbacks_set_send_callback(cb, on_send);
    nghttp2_session_callbacks_set_send_data_callback(cb, on_send_data);
    nghttp2_session_callbacks_set_on_begin_headers_callback(cb, on_begin_headers);
    nghttp2_session_callbacks_set_on_header_callback(cb, on_header);
    nghttp2_session_callbacks_set_on_frame_recv_callback(cb, on_frame_recv);
    nghttp2_session_callbacks_set_on_frame_send_callback(cb, on_frame_send);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, on_data_chunk);
    nghttp2_session_callbacks_set_on_stream_close_callback(cb, on_stream_close);
    nghttp2_option_set_no_auto_window_update(option, 1);
    nghttp2_option_set_max_send_header_block_length(option, 256 << 10);
    s->h2_callbacks = cb;
    s->h2_option = option;
}

void h2_server_fini(struct http_server *s)
{
    nghttp2_session_callbacks_del(s->h2_callbacks);
    nghttp2_option_del(s->h2_option);
    while (!list_empty(&s->streams)) {
        struct h2_stream *st = container_of(list_pop(&s->streams), struct h2_stream, link);

        arena_fini(&st->x.arena);
        free(st);
    }
}
