/* Design note: the mirror of h2.c. Large parts of a request body are queued as borrowed bytes; when a call ends while some
 * of them still wait in the queue, conn_own() copies those. SPDX-License-Identifier: Apache-2.0 */
#include "net/h2_client.h"
#include <nghttp2/nghttp2.h>

enum {
    STREAM_WINDOW = 4 << 20,
    CONN_WINDOW = 64 << 20,
    COPY_MAX = 4 << 10,
    HEADERS_MAX = 256,
    HEADER_LIST_MAX = 256 << 10
};

struct h2_client_shared {
    nghttp2_session_callbacks *callbacks;
    nghttp2_option *option;
};

struct h2_client {
    struct conn conn;
    struct loop *loop;
    struct h2_client_owner owner;
    nghttp2_session *session;
    struct list calls;
    size_t calls_n;
    struct timer ping;
    struct err why;
    bool open, going, receiving, sending, closing, ping_waits;
};

static void client_send(struct h2_client *c);

/* ---- Callbacks of nghttp2 ---- */

static ssize_t on_send(nghttp2_session *session, const uint8_t *data, size_t n, int flags,
                       void *user)
{
    struct h2_client *c = user;

    (void)session;
    (void)flags;
    if (conn_full(&c->conn)) return NGHTTP2_ERR_WOULDBLOCK;
    conn_send_copy(&c->conn, bytes_of(data, n));
    return (ssize_t)n;
}

static size_t body_left(const struct h2_call *call)
{
    size_t n = 0;

    for (size_t i = call->part; i < H2_CALL_PARTS; i++)
        n += call->body[i].n - (i == call->part ? call->at : 0);
    return n;
}

/* The call is found by its stream, not by the source: h2_call_reset() may have let go of it meanwhile. */
static int on_send_data(nghttp2_session *session, nghttp2_frame *frame, const uint8_t *framehd,
                        size_t n, nghttp2_data_source *source, void *user)
{
    struct h2_client *c = user;
    struct h2_call *call = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);

    (void)source;
    if (!call) return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    if (conn_full(&c->conn)) return NGHTTP2_ERR_WOULDBLOCK;
    conn_send_copy(&c->conn, bytes_of(framehd, 9));
    while (n) {
        struct bytes body = call->body[call->part];
        size_t part = MIN(n, body.n - call->at);

        if (part > COPY_MAX)
            conn_send_borrowed(&c->conn, bytes_sub(body, call->at, part));
        else if (part)
            conn_send_copy(&c->conn, bytes_sub(body, call->at, part));
        call->at += part;
        n -= part;
        if (call->at == body.n) {
            call->part++;
            call->at = 0;
        }
    }
    return 0;
}

static ssize_t on_read(nghttp2_session *session, int32_t id, uint8_t *into, size_t room,
                       uint32_t *flags, nghttp2_data_source *source, void *user)
{
    struct h2_call *call = nghttp2_session_get_stream_user_data(session, id);
    size_t left, n;

    (void)into;
    (void)source;
    (void)user;
    if (!call) return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    left = body_left(call);
    n = MIN(room, left);
    *flags |= NGHTTP2_DATA_FLAG_NO_COPY;
    if (n == left) *flags |= NGHTTP2_DATA_FLAG_EOF;
    return (ssize_t)n;
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
                     size_t name_n, const uint8_t *value, size_t value_n, uint8_t flags, void *user)
{
    struct h2_call *call = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);

    (void)flags;
    (void)user;
    if (call)
        call->header(call, bytes_str(bytes_of(name, name_n)), bytes_str(bytes_of(value, value_n)),
                     call->trailers_next);
    return 0;
}

static int on_frame_recv(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    struct h2_client *c = user;
    struct h2_call *call;

    if (frame->hd.type == NGHTTP2_PING && (frame->hd.flags & NGHTTP2_FLAG_ACK)) {
        c->ping_waits = false;
        timer_cancel(loop_timers(c->loop), &c->ping);
    } else if (frame->hd.type == NGHTTP2_GOAWAY && !c->going) {
        c->going = true;
        c->owner.going(c->owner.ctx);
    } else if (frame->hd.type == NGHTTP2_HEADERS) {
        call = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
        if (call && frame->headers.cat != NGHTTP2_HCAT_HEADERS) call->trailers_next = true;
    }
    return 0;
}

static int on_data_chunk(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *data,
                         size_t n, void *user)
{
    struct h2_call *call = nghttp2_session_get_stream_user_data(session, id);

    (void)flags;
    (void)user;
    if (call) call->data(call, bytes_of(data, n));
    return 0;
}

static void detach(struct h2_call *call)
{
    struct h2_client *c = call->client;

    list_remove(&call->link);
    c->calls_n--;
    call->client = NULL;
    if (!conn_is_open(&c->conn)) return;
    conn_own(&c->conn);
    if (c->going && !c->calls_n) conn_end(&c->conn);
}

static int on_stream_close(nghttp2_session *session, int32_t id, uint32_t code, void *user)
{
    struct h2_call *call = nghttp2_session_get_stream_user_data(session, id);
    struct h2_client *c = user;
    struct err e = {0};

    if (!call) return 0;
    nghttp2_session_set_stream_user_data(session, id, NULL);
    if (code == NGHTTP2_REFUSED_STREAM) {
        err_set(&e, RC_UNAVAILABLE, "refused before it was looked at");
        e.retry = true;
    } else if (code != NGHTTP2_NO_ERROR) {
        err_set(&e, c->why.rc ? RC_UNAVAILABLE : RC_CANCELLED, "the stream was reset (%s)",
                nghttp2_http2_strerror(code));
    }
    detach(call);
    call->ended(call, &e);
    return 0;
}

/* ---- Sending ---- */

static void client_send(struct h2_client *c)
{
    struct err e;

    if (c->receiving || c->sending || !c->open || !conn_is_open(&c->conn)) return;
    c->sending = true;
    if (nghttp2_session_send(c->session) != 0) {
        err_set(&e, RC_UNAVAILABLE, "HTTP/2 output failed");
        conn_fail(&c->conn, &e);
    }
    c->sending = false;
    if (conn_is_open(&c->conn) && !nghttp2_session_want_read(c->session) &&
        !nghttp2_session_want_write(c->session))
        conn_end(&c->conn);
}

/* ---- Connection ---- */

static void on_connected(struct conn *conn)
{
    struct h2_client *c = container_of(conn, struct h2_client, conn);

    c->open = true;
    c->owner.opened(c->owner.ctx);
    client_send(c);
}

static void on_data(struct conn *conn, struct bytes in)
{
    struct h2_client *c = container_of(conn, struct h2_client, conn);
    struct err e;
    ssize_t n;

    c->receiving = true;
    n = nghttp2_session_mem_recv(c->session, in.p, in.n);
    c->receiving = false;
    if (!conn_is_open(conn)) return;
    if (n < 0) {
        err_set(&e, RC_INVALID, "does not speak HTTP/2 (%s)", nghttp2_strerror((int)n));
        conn_fail(conn, &e);
        return;
    }
    client_send(c);
}

static void on_eof(struct conn *conn)
{
    struct err e;
    char text[ADDR_TEXT_MAX];

    err_set(&e, RC_UNAVAILABLE, STR_FMT " closed the connection",
            STR_ARG(addr_text(&conn->peer, text)));
    e.retry = true;
    conn_fail(conn, &e);
}

static void on_drained(struct conn *conn)
{
    client_send(container_of(conn, struct h2_client, conn));
}

static void on_closed(struct conn *conn, const struct err *why)
{
    struct h2_client *c = container_of(conn, struct h2_client, conn);
    struct err e = *why;

    if (e.rc == RC_OK) err_set(&e, RC_UNAVAILABLE, "the connection was closed");
    c->why = e;
    timer_cancel(loop_timers(c->loop), &c->ping);
    for (struct list *l; (l = list_pop(&c->calls));) {
        struct h2_call *call = container_of(l, struct h2_call, link);

        c->calls_n--;
        call->client = NULL;
        call->ended(call, &e);
    }
    c->owner.closed(c->owner.ctx, &e);
    nghttp2_session_del(c->session);
    free(c);
}

static const struct conn_ops ops = {.data = on_data,
                                    .eof = on_eof,
                                    .closed = on_closed,
                                    .drained = on_drained,
                                    .connected = on_connected};

enum rc h2_client_open(struct tcp *t, struct h2_client_shared *s, const struct addr *to,
                       const struct h2_client_owner *owner, struct h2_client **ret, struct err *e)
{
    const nghttp2_settings_entry settings[] = {
        {NGHTTP2_SETTINGS_ENABLE_PUSH, 0},
        {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, STREAM_WINDOW},
        {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, HEADER_LIST_MAX},
    };
    struct h2_client *c = xnew(struct h2_client);

    c->loop = tcp_loop(t);
    c->owner = *owner;
    list_init(&c->calls);
    if (conn_connect(t, &c->conn, to, &ops, NULL, e)) {
        free(c);
        return e->rc;
    }
    must(nghttp2_session_client_new2(&c->session, s->callbacks, c, s->option) == 0);
    must(nghttp2_submit_settings(c->session, NGHTTP2_FLAG_NONE, settings, countof(settings)) == 0);
    must(nghttp2_session_set_local_window_size(c->session, NGHTTP2_FLAG_NONE, 0, CONN_WINDOW) == 0);
    *ret = c;
    return RC_OK;
}

void h2_client_close(struct h2_client *c, const struct err *why)
{
    c->going = true;
    conn_fail(&c->conn, why);
}

bool h2_client_usable(const struct h2_client *c)
{
    return conn_is_open(&c->conn) && !c->conn.ending && !c->going &&
           nghttp2_session_check_request_allowed(c->session);
}

size_t h2_client_calls(const struct h2_client *c)
{
    return c->calls_n;
}

static void no_pong(struct timer *t)
{
    struct h2_client *c = container_of(t, struct h2_client, ping);
    struct err e;

    err_set(&e, RC_UNAVAILABLE, "the connection is dead (no answer to a ping)");
    e.retry = true;
    conn_fail(&c->conn, &e);
}

void h2_client_check(struct h2_client *c, uint64_t timeout_ms)
{
    if (c->ping_waits || !c->open || !conn_is_open(&c->conn)) return;
    c->ping_waits = true;
    nghttp2_submit_ping(c->session, NGHTTP2_FLAG_NONE, NULL);
    loop_timer(c->loop, &c->ping, timeout_ms, no_pong);
    client_send(c);
}

/* ---- Calls ---- */

enum rc h2_call_start(struct h2_client *c, struct h2_call *call, struct err *e)
{
    nghttp2_data_provider from = {.source.ptr = call, .read_callback = on_read};
    nghttp2_nv nv[HEADERS_MAX];
    size_t n = MIN(call->headers_n, (size_t)HEADERS_MAX);

    if (!h2_client_usable(c)) {
        if (conn_is_open(&c->conn) && !c->going) { /* stream numbers ran out */
            c->going = true;
            c->owner.going(c->owner.ctx);
            if (!c->calls_n) conn_end(&c->conn);
        }
        return err_set(e, RC_UNAVAILABLE, "the connection takes no more calls");
    }
    for (size_t i = 0; i < n; i++) {
        const struct header *h = &call->headers[i];

        nv[i] = (nghttp2_nv){(uint8_t *)(uintptr_t)h->name.p, (uint8_t *)(uintptr_t)h->value.p,
                             h->name.n, h->value.n, NGHTTP2_NV_FLAG_NONE};
    }
    call->part = call->at = 0;
    call->trailers_next = false;
    call->id =
        nghttp2_submit_request(c->session, NULL, nv, n, body_left(call) ? &from : NULL, call);
    if (call->id < 0)
        return err_set(e, RC_INVALID, "HTTP/2 request: %s", nghttp2_strerror(call->id));
    call->client = c;
    list_push(&c->calls, &call->link);
    c->calls_n++;
    client_send(c);
    return RC_OK;
}

void h2_call_reset(struct h2_call *call)
{
    struct h2_client *c = call->client;

    if (!c) return;
    nghttp2_session_set_stream_user_data(c->session, call->id, NULL);
    nghttp2_submit_rst_stream(c->session, NGHTTP2_FLAG_NONE, call->id, NGHTTP2_CANCEL);
    detach(call);
    client_send(c);
}

struct h2_client_shared *h2_client_shared_new(void)
{
    struct h2_client_shared *s = xnew(struct h2_client_shared);

    must(nghttp2_session_callbacks_new(&s->callbacks) == 0 && nghttp2_option_new(&s->option) == 0);
    nghttp2_session_callbacks_set_send_callback(s->callbacks, on_send);
    nghttp2_session_callbacks_set_send_data_callback(s->callbacks, on_send_data);
    nghttp2_session_callbacks_set_on_header_callback(s->callbacks, on_header);
    nghttp2_session_callbacks_set_on_frame_recv_callback(s->callbacks, on_frame_recv);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(s->callbacks, on_data_chunk);
    nghttp2_session_callbacks_set_on_stream_close_callback(s->callbacks, on_stream_close);
    nghttp2_option_set_max_send_header_block_length(s->option, HEADER_LIST_MAX);
    nghttp2_option_set_peer_max_concurrent_streams(s->option, 1024);
    return s;
}

struct h2_client_shared *h2_client_shared_free(struct h2_client_shared *s)
{
    if (!s) return NULL;
    nghttp2_session_callbacks_del(s->callbacks);
    nghttp2_option_del(s->option);
    free(s);
    return NULL;
}
