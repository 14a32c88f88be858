/* net/http1 - HTTP/1.1 for the server. Parsing is http-parser's, and stays in this file.
 *
 * Design note: one request at a time. When one is complete the parser is paused; bytes of the next are kept (a little) and
 * parsed once the answer is queued, so pipelined answers keep their order. Deadlines: idle between requests, then one for
 * the head, then a minimum rate for the body, none while the handler works. An end of input while the handler works
 * counts as the client going away: a closed socket and a half-closed one look the same from here.
 * An answer given before the body is complete ends the connection after it, unless little is left of the body.
 * SPDX-License-Identifier: Apache-2.0 */
#include "net/http_conn.h"
#include <http_parser.h>
#include <stdio.h>

enum {
    AHEAD_MAX = 64 << 10, /* pipelined bytes kept; then reading stops */
    TARGET_MAX = 8 << 10,
    BODY_RATE_BYTES = 4 << 10,
    SWALLOW_MAX =
        64 << 10, /* a body this small is read to its end even when the answer is already given */
    HEAD_KEPT_MAX = 16 << 10, /* a larger head buffer is given back after the request */
};

struct field {
    uint32_t name_at, name_n, value_at, value_n;
};

struct http1 {
    struct http_conn *hc;
    http_parser parser;
    struct exchange x;
    struct buf head; /* target, then names and values */
    struct field *fields;
    uint32_t fields_n, target_n;
    struct buf ahead;   /* bytes of later requests */
    uint64_t body_mark; /* conn.bytes_in at the last look */
    enum { HEAD_IDLE, HEAD_TARGET, HEAD_NAME, HEAD_VALUE, HEAD_DONE } at;
    bool busy; /* the exchange is in use */
    bool parsing, keep_alive, chunked_out, head_only, stopped, swallow;
};

static const struct exchange_ops http1_ops;

static struct http1 *h1_of(const struct http_conn *hc)
{
    return hc->state;
}

static uint64_t now_ms(const struct http1 *h)
{
    return loop_now_ms(h->hc->server->loop);
}

static const struct http_options *options(const struct http1 *h)
{
    return &h->hc->server->o;
}

/* ---- What http-parser tells ---- */

static struct http1 *h1_of_parser(http_parser *p)
{
    return p->data;
}

static void refuse(struct http1 *h, int status, const char *text)
{
    h->keep_alive = false;
    if (!h->busy) {
        h->busy = true;
        h->x.ops = &http1_ops;
        h->x.options = options(h);
        h->x.priv = NULL;
    }
    exchange_refuse(&h->x, status, "%s", text);
}

static int on_message_begin(http_parser *p)
{
    struct http1 *h = h1_of_parser(p);

    buf_clear(&h->head);
    h->fields_n = h->target_n = 0;
    h->at = HEAD_TARGET;
    return 0;
}

static int head_grow(struct http1 *h, const char *p, size_t n)
{
    if (h->head.n + n > options(h)->header_bytes_max) {
        refuse(h, 431, "the headers are too large");
        return -1;
    }
    buf_append(&h->head, bytes_of(p, n));
    return 0;
}

static int on_url(http_parser *p, const char *at, size_t n)
{
    struct http1 *h = h1_of_parser(p);

    h->target_n += (uint32_t)n;
    if (h->target_n > TARGET_MAX) {
        refuse(h, 414, "the path is too long");
        return -1;
    }
    return head_grow(h, at, n);
}

static int on_header_field(http_parser *p, const char *at, size_t n)
{
    struct http1 *h = h1_of_parser(p);
    uint8_t *name;

    if (h->at == HEAD_DONE) return 0; /* trailers of a chunked body: not ours */
    if (h->at != HEAD_NAME) {
        if (h->fields_n == options(h)->headers_max) {
            refuse(h, 431, "too many headers");
            return -1;
        }
        h->fields[h->fields_n++] = (struct field){.name_at = (uint32_t)h->head.n};
        h->at = HEAD_NAME;
    }
    if (head_grow(h, at, n)) return -1;
    name = h->head.p + h->head.n - n;
    for (size_t i = 0; i < n; i++)
        if (name[i] >= 'A' && name[i] <= 'Z') name[i] |= 0x20;
    h->fields[h->fields_n - 1].name_n += (uint32_t)n;
    return 0;
}

static int on_header_value(http_parser *p, const char *at, size_t n)
{
    struct http1 *h = h1_of_parser(p);
    struct field *f;

    if (h->at == HEAD_DONE) return 0;
    f = &h->fields[h->fields_n - 1];
    if (h->at != HEAD_VALUE) f->value_at = (uint32_t)h->head.n;
    h->at = HEAD_VALUE;
    f->value_n += (uint32_t)n;
    return head_grow(h, at, n);
}

static void headers_make(struct http1 *h)
{
    struct header *list = arena_array(&h->x.arena, struct header, h->fields_n);
    const char *head = (const char *)h->head.p;

    for (uint32_t i = 0; i < h->fields_n; i++) {
        const struct field *f = &h->fields[i];
        struct str value = {head + f->value_at, f->value_n};

        while (value.n && (value.p[value.n - 1] == ' ' || value.p[value.n - 1] == '\t'))
            value.n--;
        list[i] = (struct header){{head + f->name_at, f->name_n}, value};
    }
    h->x.headers = list;
    h->x.headers_n = h->fields_n;
}

static void expect_check(struct http1 *h, bool has_body)
{
    struct str expect;

    if (h->x.answered || !exchange_header(&h->x, STR("expect"), &expect)) return;
    if (!str_eq_nocase(expect, STR("100-continue")))
        refuse(h, 417, "only Expect: 100-continue is understood");
    else if (has_body)
        conn_send_copy(&h->hc->conn, str_bytes(STR("HTTP/1.1 100 Continue\r\n\r\n")));
}

static int on_headers_complete(http_parser *p)
{
    struct http1 *h = h1_of_parser(p);
    struct exchange *x = &h->x;
    bool chunked = p->flags & F_CHUNKED;
    struct str expect;
    uint64_t length = chunked                           ? UINT64_MAX
                      : p->content_length == UINT64_MAX ? 0
                                                        : p->content_length;

    h->at = HEAD_DONE;
    h->busy = true;
    h->body_mark = h->hc->conn.bytes_in;
    p->upgrade = 0; /* h2c by upgrade is not offered; going on in HTTP/1.1 is the answer */
    h->keep_alive = http_should_keep_alive(p) && !h->hc->server->draining;
    h->head_only = p->method == HTTP_HEAD;
    if (length) http_conn_due(h->hc, now_ms(h) + options(h)->body_ms);
    h->hc->server->counters.requests_http1++;
    x->ops = &http1_ops;
    x->options = options(h);
    x->peer = &h->hc->conn.peer;
    x->secure = h->hc->secure;
    x->certified = h->hc->certified;
    x->arrived_ms = now_ms(h);
    x->method = str_of(http_method_str((enum http_method)p->method));
    headers_make(h);
    h->swallow =
        length == 0 || (length <= SWALLOW_MAX && !exchange_header(x, STR("expect"), &expect));
    if (!exchange_header(x, STR("host"), &x->authority) && p->http_major == 1 && p->http_minor >= 1)
        refuse(h, 400, "the Host header is missing");
    else if (p->http_major != 1)
        refuse(h, 505, "HTTP/1.0, HTTP/1.1 or HTTP/2, please");
    else
        exchange_begin(x, (struct str){(const char *)h->head.p, h->target_n}, length);
    if (!conn_is_open(&h->hc->conn)) return -1;
    expect_check(h, length != 0);
    return 0;
}

static int on_body(http_parser *p, const char *at, size_t n)
{
    struct http1 *h = h1_of_parser(p);

    if (h->busy) exchange_data(&h->x, bytes_of(at, n));
    return conn_is_open(&h->hc->conn) ? 0 : -1;
}

static int on_message_complete(http_parser *p)
{
    struct http1 *h = h1_of_parser(p);

    http_parser_pause(p, 1); /* before the handler: its answer may come at once */
    http_conn_due(h->hc, UINT64_MAX);
    exchange_complete(&h->x);
    return 0;
}

static const http_parser_settings settings = {
    .on_message_begin = on_message_begin,
    .on_url = on_url,
    .on_header_field = on_header_field,
    .on_header_value = on_header_value,
    .on_headers_complete = on_headers_complete,
    .on_body = on_body,
    .on_message_complete = on_message_complete,
};

/* ---- Requests, one after the other ---- */

/* The answer is queued and the request was read to its end: room for the next. */
static void request_done(struct http1 *h)
{
    exchange_reset(&h->x);
    h->busy = false;
    h->at = HEAD_IDLE;
    if (h->head.cap > HEAD_KEPT_MAX) buf_fini(&h->head);
    if (!h->keep_alive) {
        conn_end(&h->hc->conn);
        return;
    }
    http_conn_due(h->hc, now_ms(h) + options(h)->idle_ms);
}

static void parse_failed(struct http1 *h)
{
    enum http_errno code = HTTP_PARSER_ERRNO(&h->parser);

    if (!conn_is_open(&h->hc->conn)) return;
    h->stopped = true;
    if (h->busy && h->x.answered) return; /* our own refusal stopped it */
    if (code == HPE_HEADER_OVERFLOW)
        refuse(h, 431, "the headers are too large");
    else if (code == HPE_INVALID_VERSION)
        refuse(h, 505, "HTTP/1.0, HTTP/1.1 or HTTP/2, please");
    else {
        char text[120];

        snprintf(text, sizeof text, "malformed request: %s", http_errno_description(code));
        refuse(h, 400, text);
    }
}

/* Parses until a request is complete, or all is taken. Returns how much was taken. */
static size_t parse(struct http1 *h, struct bytes in)
{
    size_t n = http_parser_execute(&h->parser, &settings, (const char *)in.p, in.n);
    enum http_errno code = HTTP_PARSER_ERRNO(&h->parser);

    if (code == HPE_PAUSED) return n;
    if (code != HPE_OK) parse_failed(h);
    return in.n;
}

static bool ready_for_next(struct http1 *h)
{
    return conn_is_open(&h->hc->conn) && !h->stopped && !h->hc->conn.ending &&
           !(h->busy && h->x.complete) && !conn_full(&h->hc->conn);
}

static void deadline_set(struct http1 *h)
{
    bool in_head = h->at != HEAD_IDLE && h->at != HEAD_DONE;

    if (in_head && h->hc->due_ms > now_ms(h) + options(h)->head_ms)
        http_conn_due(h->hc, now_ms(h) + options(h)->head_ms);
}

/* Takes input, or what was kept of it. Not re-entered: an answer given inside continues the loop here. */
static void take(struct http1 *h, struct bytes in)
{
    h->parsing = true;
    while (in.n && ready_for_next(h)) {
        size_t n;

        if (HTTP_PARSER_ERRNO(&h->parser) == HPE_PAUSED) http_parser_pause(&h->parser, 0);
        n = parse(h, in);
        in.p += n;
        in.n -= n;
        if (h->busy && h->x.complete && h->x.answered && !h->x.streaming_out) request_done(h);
    }
    h->parsing = false;
    if (!conn_is_open(&h->hc->conn) || h->hc->conn.ending || h->stopped) return;
    if (in.n) {
        struct buf rest = {0}; /* in may lie inside h->ahead */

        buf_append(&rest, in);
        buf_fini(&h->ahead);
        h->ahead = rest;
        if (rest.n >= AHEAD_MAX) conn_pause(&h->hc->conn);
    } else {
        buf_clear(&h->ahead);
    }
    deadline_set(h);
}

static void go_on(struct http1 *h)
{
    struct buf ahead;

    if (h->parsing || !ready_for_next(h) || (h->busy && h->x.waiting)) return;
    conn_resume(&h->hc->conn);
    if (!h->ahead.n) return;
    ahead = buf_take(&h->ahead);
    take(h, buf_view(&ahead));
    buf_fini(&ahead);
}

/* ---- The protocol's face ---- */

static void h1_open(struct http_conn *hc)
{
    struct http1 *h = xnew(struct http1);

    h->hc = hc;
    h->fields = xnew_array(struct field, hc->server->o.headers_max);
    http_parser_init(&h->parser, HTTP_REQUEST);
    h->parser.data = h;
    hc->state = h;
}

static void h1_data(struct http_conn *hc, struct bytes in)
{
    struct http1 *h = h1_of(hc);

    if (h->ahead.n || !ready_for_next(h)) {
        if (h->stopped || hc->conn.ending) return;
        buf_append(&h->ahead, in);
        if (h->ahead.n >= AHEAD_MAX) conn_pause(&hc->conn);
        return;
    }
    take(h, in);
}

static void h1_eof(struct http_conn *hc)
{
    struct http1 *h = h1_of(hc);

    if (hc->conn.ending) return;
    if (!h->busy) {
        conn_end(&hc->conn); /* answers may still be queued */
        return;
    }
    if (!h->x.answered) hc->server->counters.gone++;
    exchange_gone(&h->x);
    conn_close(&hc->conn);
}

static void h1_drained(struct http_conn *hc)
{
    struct http1 *h = h1_of(hc);

    if (h->busy && h->x.streaming_out && h->x.writable) h->x.writable(&h->x);
    go_on(h);
}

static void h1_due(struct http_conn *hc)
{
    struct http1 *h = h1_of(hc);

    if (h->busy && h->x.waiting) { /* it is us who let it wait; the budget bounds that */
        http_conn_due(hc, now_ms(h) + options(h)->body_ms);
    } else if (h->at == HEAD_IDLE || (h->busy && h->x.answered)) {
        conn_close(&hc->conn);
    } else if (h->at != HEAD_DONE) {
        h->stopped = true;
        refuse(h, 408, "the headers took too long");
    } else if (hc->conn.bytes_in - h->body_mark < BODY_RATE_BYTES) {
        h->stopped = true;
        refuse(h, 408, "the body comes too slowly");
    } else {
        h->body_mark = hc->conn.bytes_in;
        http_conn_due(hc, now_ms(h) + options(h)->body_ms);
    }
}

static void h1_drain(struct http_conn *hc)
{
    struct http1 *h = h1_of(hc);

    h->keep_alive = false;
    if (!h->busy && h->at == HEAD_IDLE) conn_end(&hc->conn);
}

static bool h1_busy(const struct http_conn *hc)
{
    const struct http1 *h = hc->state;

    return !hc->conn.ended && (h->busy || h->at != HEAD_IDLE);
}

static void h1_closed(struct http_conn *hc)
{
    struct http1 *h = h1_of(hc);

    if (h->busy) {
        if (!h->x.answered && !h->x.ended) hc->server->counters.gone++;
        exchange_gone(&h->x);
        exchange_reset(&h->x);
    }
    arena_fini(&h->x.arena);
    buf_fini(&h->head);
    buf_fini(&h->ahead);
    free(h->fields);
    free(h);
}

const struct http_proto http1_proto = {.open = h1_open,
                                       .data = h1_data,
                                       .eof = h1_eof,
                                       .drained = h1_drained,
                                       .due = h1_due,
                                       .drain = h1_drain,
                                       .busy = h1_busy,
                                       .closed = h1_closed};

/* ---- Answers ---- */

static struct http1 *h1_of_exchange(const struct exchange *x)
{
    return container_of(x, struct http1, x);
}

static void head_put(struct http1 *h, int status, const struct header *list, size_t n,
                     uint64_t length)
{
    struct http_server *s = h->hc->server;
    struct buf *b = &s->scratch;
    char digits[DECIMAL_MAX];

    if (status >= 400 && status < 500) s->counters.refused_4xx++;
    buf_clear(b);
    buf_append_str(b, STR("HTTP/1.1 "));
    buf_append_str(b, decimal((uint64_t)status, digits));
    buf_append_str(b, STR(" "));
    buf_append_str(b, str_of(http_reason(status)));
    buf_append_str(b, STR("\r\n"));
    for (size_t i = 0; i < n; i++) {
        if (!http_header_fits(&list[i])) continue;
        buf_append_str(b, list[i].name);
        buf_append_str(b, STR(": "));
        buf_append_str(b, list[i].value);
        buf_append_str(b, STR("\r\n"));
    }
    if (length != UINT64_MAX) {
        if (status != 204 && status != 304) {
            buf_append_str(b, STR("content-length: "));
            buf_append_str(b, decimal(length, digits));
            buf_append_str(b, STR("\r\n"));
        }
    } else if (h->chunked_out) {
        buf_append_str(b, STR("transfer-encoding: chunked\r\n"));
    }
    if (!h->keep_alive)
        buf_append_str(b, STR("connection: close\r\n"));
    else if (h->parser.http_minor == 0)
        buf_append_str(b, STR("connection: keep-alive\r\n"));
    buf_append_str(b, STR("date: "));
    buf_append_str(b, http_server_date(s));
    buf_append_str(b, STR("\r\n\r\n"));
    conn_send_copy(&h->hc->conn, buf_view(b));
}

/* What follows an answer depends on whether the request was read to its end. */
static void answered(struct http1 *h)
{
    if (!h->x.complete && !h->keep_alive) {
        h->stopped = true;
        conn_end(&h->hc->conn);
        return;
    }
    if (h->parsing || !h->x.complete) return; /* take() goes on by itself */
    request_done(h);
    go_on(h);
}

/* What a slow reader leaves with us counts as memory that peers make us hold. */
static void body_send(struct http_conn *hc, struct buf *body)
{
    struct budget *b = hc->server->o.budget;
    size_t n = body->n;

    conn_send(&hc->conn, body);
    if (b && conn_full(&hc->conn)) budget_hold(b, &hc->out, n);
}

static void respond(struct exchange *x, int status, const struct header *list, size_t n,
                    struct buf *body)
{
    struct http1 *h = h1_of_exchange(x);

    if (!x->complete && !h->swallow) h->keep_alive = false;
    head_put(h, status, list, n, body->n);
    if (h->head_only)
        buf_fini(body);
    else
        body_send(h->hc, body);
    answered(h);
}

static void respond_grpc(struct exchange *x, const struct grpc_reply *r, struct buf *message)
{
    (void)x;
    (void)r;
    (void)message;
    must_failed("gRPC by HTTP/1.1", __FILE__,
                __LINE__); /* exchange_begin() sets x->grpc for HTTP/2 only */
}

static void stream_begin(struct exchange *x, int status, const struct header *list, size_t n)
{
    struct http1 *h = h1_of_exchange(x);

    h->chunked_out = h->parser.http_minor >= 1;
    if (!h->chunked_out || (!x->complete && !h->swallow)) h->keep_alive = false;
    head_put(h, status, list, n, UINT64_MAX);
}

static void stream_send(struct exchange *x, struct buf *piece)
{
    struct http1 *h = h1_of_exchange(x);
    char size[24];

    if (piece->n == 0 || h->head_only) {
        buf_fini(piece);
        return;
    }
    if (h->chunked_out) {
        int n = snprintf(size, sizeof size, "%zx\r\n", piece->n);

        conn_send_copy(&h->hc->conn, bytes_of(size, (size_t)n));
        buf_append_str(piece, STR("\r\n"));
    }
    conn_send(&h->hc->conn, piece);
}

static void stream_end(struct exchange *x, const struct grpc_reply *r)
{
    struct http1 *h = h1_of_exchange(x);

    (void)r;
    if (h->chunked_out && !h->head_only) conn_send_copy(&h->hc->conn, str_bytes(STR("0\r\n\r\n")));
    answered(h);
}

static bool stream_full(const struct exchange *x)
{
    return conn_full(&h1_of_exchange(x)->hc->conn);
}

static void body_wait(struct exchange *x, bool waiting)
{
    struct http1 *h = h1_of_exchange(x);

    if (waiting)
        conn_pause(&h->hc->conn);
    else if (!x->answered)
        conn_resume(&h->hc->conn);
}

static const struct exchange_ops http1_ops = {.respond = respond,
                                              .respond_grpc = respond_grpc,
                                              .stream_begin = stream_begin,
                                              .stream_send = stream_send,
                                              .stream_end = stream_end,
                                              .stream_full = stream_full,
                                              .wait = body_wait};
