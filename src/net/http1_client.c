/* SPDX-License-Identifier: Apache-2.0 */
#include "net/http1_client.h"
#include <http_parser.h>

enum { HEAD_MAX = 256 << 10 };

struct http1_client {
    struct conn conn;
    struct http1_client_owner owner;
    http_parser parser;
    struct http1_call *call;
    struct buf name, value;
    size_t head_bytes;
    bool in_value, open, reusable, complete, any, used;
};

/* ---- What http-parser tells ---- */

static void header_flush(struct http1_client *c)
{
    if (c->name.n && c->call) c->call->header(c->call, buf_str(&c->name), buf_str(&c->value));
    buf_clear(&c->name);
    buf_clear(&c->value);
    c->in_value = false;
}

static int on_header_field(http_parser *p, const char *at, size_t n)
{
    struct http1_client *c = p->data;

    if (c->in_value) header_flush(c);
    if ((c->head_bytes += n) > HEAD_MAX) return -1;
    for (size_t i = 0; i < n; i++)
        buf_append_byte(&c->name, (uint8_t)(at[i] >= 'A' && at[i] <= 'Z' ? at[i] | 0x20 : at[i]));
    return 0;
}

static int on_header_value(http_parser *p, const char *at, size_t n)
{
    struct http1_client *c = p->data;

    c->in_value = true;
    if ((c->head_bytes += n) > HEAD_MAX) return -1;
    buf_append(&c->value, bytes_of(at, n));
    return 0;
}

static int on_headers_complete(http_parser *p)
{
    struct http1_client *c = p->data;

    header_flush(c);
    if (c->call) c->call->status = (int)p->status_code;
    return 0;
}

static int on_body(http_parser *p, const char *at, size_t n)
{
    struct http1_client *c = p->data;

    if (c->call) c->call->data(c->call, bytes_of(at, n));
    return conn_is_open(&c->conn) ? 0 : -1;
}

static int on_message_complete(http_parser *p)
{
    struct http1_client *c = p->data;

    if (p->status_code < 200) { /* 100 Continue and its like: the answer is still to come */
        c->head_bytes = 0;
        return 0;
    }
    c->reusable = http_should_keep_alive(p);
    c->complete = true;
    http_parser_pause(p, 1);
    return 0;
}

static const http_parser_settings settings = {.on_header_field = on_header_field,
                                              .on_header_value = on_header_value,
                                              .on_headers_complete = on_headers_complete,
                                              .on_body = on_body,
                                              .on_message_complete = on_message_complete};

/* ---- Connection ---- */

static void call_end(struct http1_client *c, const struct err *e)
{
    struct http1_call *call = c->call;

    c->call = NULL;
    if (!call) return;
    call->client = NULL;
    if (conn_is_open(&c->conn)) conn_own(&c->conn);
    call->ended(call, e);
}

static void fail(struct http1_client *c, enum rc rc, const char *text)
{
    struct err e;

    err_set(&e, rc, "%s", text);
    c->reusable = false;
    conn_fail(&c->conn, &e);
}

static void answer_done(struct http1_client *c, bool rest)
{
    const struct err none = {0};

    if (rest) c->reusable = false; /* bytes nobody asked for */
    if (!c->reusable) conn_close(&c->conn);
    call_end(c, &none);
}

static void on_data(struct conn *conn, struct bytes in)
{
    struct http1_client *c = container_of(conn, struct http1_client, conn);
    size_t n;

    if (!c->call) {
        fail(c, RC_INVALID, "sent bytes nobody asked for");
        return;
    }
    c->any = true;
    n = http_parser_execute(&c->parser, &settings, (const char *)in.p, in.n);
    if (!conn_is_open(conn)) return;
    if (c->complete)
        answer_done(c, n < in.n);
    else if (HTTP_PARSER_ERRNO(&c->parser) != HPE_OK)
        fail(c, RC_INVALID, http_errno_description(HTTP_PARSER_ERRNO(&c->parser)));
}

static void on_eof(struct conn *conn)
{
    struct http1_client *c = container_of(conn, struct http1_client, conn);

    if (c->call && c->any) { /* the end of the connection may be the end of the body */
        http_parser_execute(&c->parser, &settings, NULL, 0);
        c->reusable = false;
        if (c->complete) {
            answer_done(c, false);
            return;
        }
    }
    fail(c, RC_UNAVAILABLE,
         c->any ? "closed the connection in the middle of its answer" : "closed the connection");
}

static void on_connected(struct conn *conn)
{
    struct http1_client *c = container_of(conn, struct http1_client, conn);

    c->open = c->reusable = true;
    c->owner.opened(c->owner.ctx);
}

static void on_closed(struct conn *conn, const struct err *why)
{
    struct http1_client *c = container_of(conn, struct http1_client, conn);
    struct err e = *why;

    if (e.rc == RC_OK) err_set(&e, RC_UNAVAILABLE, "the connection was closed");
    e.retry = e.rc == RC_UNAVAILABLE && !c->any;
    call_end(c, &e);
    c->owner.closed(c->owner.ctx, &e);
    buf_fini(&c->name);
    buf_fini(&c->value);
    free(c);
}

static const struct conn_ops ops = {
    .data = on_data, .eof = on_eof, .closed = on_closed, .connected = on_connected};

enum rc http1_client_open(struct tcp *t, const struct addr *to,
                          const struct http1_client_owner *owner, struct http1_client **ret,
                          struct err *e)
{
    struct http1_client *c = xnew(struct http1_client);

    c->owner = *owner;
    if (conn_connect(t, &c->conn, to, &ops, NULL, e)) {
        free(c);
        return e->rc;
    }
    *ret = c;
    return RC_OK;
}

void http1_client_close(struct http1_client *c)
{
    conn_close(&c->conn);
}

bool http1_client_free_for_use(const struct http1_client *c)
{
    return c->open && c->reusable && !c->call && conn_is_open(&c->conn);
}

bool http1_client_used(const struct http1_client *c)
{
    return c->used;
}

/* ---- Calls ---- */

void http1_call_start(struct http1_client *c, struct http1_call *call)
{
    struct buf head = {0};

    must(!c->call && c->open);
    c->call = call;
    call->client = c;
    call->status = 0;
    c->complete = c->any = false;
    c->used = true;
    c->head_bytes = 0;
    http_parser_init(&c->parser, HTTP_RESPONSE);
    c->parser.data = c;
    buf_printf(&head, STR_FMT " " STR_FMT " HTTP/1.1\r\nhost: " STR_FMT "\r\n",
               STR_ARG(call->method), STR_ARG(call->target), STR_ARG(call->authority));
    for (size_t i = 0; i < call->headers_n; i++) {
        buf_append_str(&head, call->headers[i].name);
        buf_append_str(&head, STR(": "));
        buf_append_str(&head, call->headers[i].value);
        buf_append_str(&head, STR("\r\n"));
    }
    if (call->body.n || str_is(call->method, "POST"))
        buf_printf(&head, "content-length: %zu\r\n", call->body.n);
    buf_append_str(&head, STR("\r\n"));
    conn_send(&c->conn, &head);
    conn_send_borrowed(&c->conn, call->body);
}

void http1_call_reset(struct http1_call *call)
{
    struct http1_client *c = call->client;

    if (!c) return;
    c->call = NULL;
    call->client = NULL;
    conn_close(&c->conn);
}
