/* Design note: a pool of kept-alive HTTP/1.1 connections per server, one request on each. What waits for a connection
 * makes another one be opened, up to a ceiling. A server may close an idle connection the moment we use it: a request
 * that failed on a used connection before a byte of its answer came is sent once more, on another one, uncounted.
 * SPDX-License-Identifier: Apache-2.0 */
#include "net/grpc.h"
#include "net/loop.h"
#include "oip/json.h"
#include "oip/proto.h"
#include "oip/service.h"
#include "upstream/internal.h"
#include "upstream/metadata_json.h"

enum { CONNS_MAX = 64, SPARSE_HEADERS = 4, MESSAGE_MAX = 64 << 10, METADATA_MAX = 4 << 20 };

static void request_send(struct op *op, struct rest_conn *rc);

/* ---- Connections ---- */

static void conn_opened(void *ctx)
{
    struct rest_conn *rc = ctx;

    rc->open = true;
    if (!rc->server) return;
    list_push(&rc->server->rest_idle, &rc->idle_link);
    server_connected(rc->server);
}

static void conn_closed(void *ctx, const struct err *why)
{
    struct rest_conn *rc = ctx;
    struct server *s = rc->server;

    list_remove(&rc->link);
    list_remove(&rc->idle_link);
    if (s) {
        s->conns--;
        if (!rc->open)
            server_connect_failed(s, why);
        else
            rest_serve(s);
    }
    free(rc);
}

enum rc rest_connect(struct server *s, const struct addr *to, struct err *e)
{
    struct rest_conn *rc = xnew(struct rest_conn);
    const struct http1_client_owner owner = {conn_opened, conn_closed, rc};

    rc->server = s;
    list_init(&rc->link);
    list_init(&rc->idle_link);
    if (http1_client_open(s->u->tcp, to, &owner, &rc->client, e)) {
        free(rc);
        return e->rc;
    }
    list_push(&s->rest_all, &rc->link);
    s->conns++;
    return RC_OK;
}

static void drop(struct rest_conn *rc)
{
    rc->server->conns--;
    rc->server = NULL;
    list_remove(&rc->link);
    list_remove(&rc->idle_link);
    http1_client_close(rc->client);
}

void rest_drop(struct server *s)
{
    while (!list_empty(&s->rest_all))
        drop(container_of(s->rest_all.next, struct rest_conn, link));
}

void rest_abort(struct server *s)
{
    list_each_safe(it, &s->rest_all)
    {
        struct rest_conn *rc = container_of(it, struct rest_conn, link);

        if (!rc->open) drop(rc);
    }
}

static struct rest_conn *idle_conn(struct server *s)
{
    while (!list_empty(&s->rest_idle)) {
        struct rest_conn *rc = container_of(s->rest_idle.prev, struct rest_conn, idle_link);

        list_remove(&rc->idle_link);
        if (http1_client_free_for_use(rc->client)) return rc;
    }
    return NULL;
}

void rest_serve(struct server *s)
{
    struct rest_conn *rc;
    struct op *first;
    struct err e;

    while (!list_empty(&s->waiting) && (rc = idle_conn(s)))
        request_send(container_of(list_pop(&s->waiting), struct op, wait_link), rc);
    if (list_empty(&s->waiting) || s->opening || s->conns >= CONNS_MAX) return;
    /* More wait than connections are free: open another one on behalf of the first. */
    first = container_of(list_pop(&s->waiting), struct op, wait_link);
    if (!server_wait(s, first, &e)) op_fail_soon(first, &e);
}

static void conn_release(struct op *op)
{
    struct rest_conn *rc = op->rest_conn;

    op->rest_conn = NULL;
    if (!rc) return;
    rc->op = NULL;
    if (!rc->server || !http1_client_free_for_use(rc->client)) return;
    list_push(&rc->server->rest_idle, &rc->idle_link);
    rest_serve(rc->server);
}

/* ---- The answer ---- */

static struct op *op_of(struct http1_call *c)
{
    return container_of(c, struct op, http1);
}

static void on_header(struct http1_call *c, struct str name, struct str value)
{
    struct op *op = op_of(c);
    int64_t n;

    if (str_is(name, "inference-header-content-length") && str_to_i64(value, &n) && n >= 0 &&
        n <= INT32_MAX)
        op->declared = (uint32_t)n;
    op_header(op, name, value);
}

static void on_data(struct http1_call *c, struct bytes in)
{
    struct op *op = op_of(c);
    struct err e;

    if (in.n > op->u->message_bytes_max - MIN(op->response.n, op->u->message_bytes_max)) {
        err_set(&e, RC_TOO_LARGE, "model server " STR_FMT " answered more than %zu bytes",
                STR_ARG(op->target->address), op->u->message_bytes_max);
        http1_call_reset(c);
        op->rest_conn = NULL;
        op_failed(op, &e);
        return;
    }
    buf_append(&op->response, in);
}

static enum rc convert(struct op *op, struct err *e)
{
    struct buf json = buf_take(&op->response);
    size_t json_bytes = op->declared ? op->declared : json.n;
    struct json_wants ignored;
    struct err why = {0};

    if (json_bytes > json.n)
        err_set(&why, RC_INVALID, "a wrong Inference-Header-Content-Length");
    else if (op->call)
        why.rc = infer_decode_json(buf_view(&json), json_bytes, INFER_RESPONSE, &op->arena,
                                   &op->response, &ignored, &why);
    else if (op->query->ask == UPSTREAM_METADATA)
        why.rc = metadata_of_json(buf_str(&json), &op->response, &why);
    buf_fini(&json);
    return why.rc ? garbage(e, op, "something that is no V2 answer: %s", why.text) : RC_OK;
}

static void judge(struct op *op)
{
    int status = op->http1.status;
    struct err e = {0};

    op->http_status = status;
    if (status != 200 && !(status == 204 && op->query)) {
        op->grpc_code = grpc_code_of_http(status);
        if (op->grpc_code == GRPC_OK) op->grpc_code = GRPC_UNKNOWN;
        buf_append(&op->message,
                   bytes_of(op->response.p, MIN(op->response.n, (size_t)MESSAGE_MAX)));
        op_done(op);
        return;
    }
    if (op->query && op->query->ask == UPSTREAM_READY) op->query->ready = true;
    if ((op->call || op->query->ask == UPSTREAM_METADATA) && convert(op, &e))
        op_failed(op, &e);
    else
        op_done(op);
}

static void on_ended(struct http1_call *c, const struct err *why)
{
    struct op *op = op_of(c);
    struct err e;

    conn_release(op);
    if (!why->rc) {
        judge(op);
        return;
    }
    if (why->rc == RC_INVALID) {
        garbage(&e, op, "something that is no HTTP: %s", why->text);
    } else if (why->retry && op->second_message) { /* a used connection: once more, uncounted */
        op->second_message = false;
        op->carrier->start(op);
        return;
    } else {
        unreachable(&e, op, why->text);
    }
    op_failed(op, &e);
}

/* ---- The request ---- */

static void target_of(const struct op *op, struct buf *b)
{
    const struct upstream_target *t = op->target;

    if (op->query && (op->query->ask == UPSTREAM_LOAD || op->query->ask == UPSTREAM_UNLOAD)) {
        buf_printf(b, "/v2/repository/models/" STR_FMT "/%s", STR_ARG(t->model),
                   op->query->ask == UPSTREAM_LOAD ? "load" : "unload");
        return;
    }
    if (op->query && op->query->ask == UPSTREAM_READY && !t->model.n) {
        buf_append_str(b, STR("/v2/health/ready"));
        return;
    }
    buf_printf(b, "/v2/models/" STR_FMT, STR_ARG(t->model));
    if (t->version.n) buf_printf(b, "/versions/" STR_FMT, STR_ARG(t->version));
    if (op->call)
        buf_append_str(b, STR("/infer"));
    else if (op->query->ask == UPSTREAM_READY)
        buf_append_str(b, STR("/ready"));
}

static enum rc body_of(struct op *op, struct err *e)
{
    const struct json_style style = {.bytes_as_text = true};
    struct infer_view v;

    buf_clear(&op->body);
    if (!op->call) return RC_OK;
    if (infer_parse(op->call->request, INFER_REQUEST, &op->arena, &v, e)) return e->rc;
    return infer_encode_json(&v, &style, &op->body, NULL, e);
}

static size_t headers_of(const struct op *op, struct header *h)
{
    const struct upstream_call *c = op->call;
    bool routed = false;
    size_t n = 0;

    if (op->body.n) h[n++] = HEADER("content-type", STR("application/json"));
    for (size_t i = 0; c && i < c->headers_n; i++) {
        if (!header_is_plain(&c->headers[i])) continue;
        h[n++] = c->headers[i];
        routed |= str_is(c->headers[i].name, "seldon-model");
    }
    if (!routed && op->target->model.n) h[n++] = HEADER("seldon-model", op->target->model);
    return n;
}

static void request_send(struct op *op, struct rest_conn *rc)
{
    struct header *headers = arena_array(&op->arena, struct header,
                                         SPARSE_HEADERS + (op->call ? op->call->headers_n : 0));
    bool post = op->call || op->query->ask == UPSTREAM_LOAD || op->query->ask == UPSTREAM_UNLOAD;

    buf_clear(&op->head);
    target_of(op, &op->head);
    op_try_reset(op);
    rc->op = op;
    op->rest_conn = rc;
    op->second_message = http1_client_used(rc->client);
    op->http1 = (struct http1_call){.method = post ? STR("POST") : STR("GET"),
                                    .target = buf_str(&op->head),
                                    .authority = op->target->address,
                                    .headers = headers,
                                    .headers_n = headers_of(op, headers),
                                    .body = buf_view(&op->body),
                                    .header = on_header,
                                    .data = on_data,
                                    .ended = on_ended};
    http1_call_start(rc->client, &op->http1);
}

static void start(struct op *op)
{
    struct server *s = server_of(op->u, SERVER_REST, op->target->address);
    struct rest_conn *rc;
    struct err e;

    op->server = s;
    if (body_of(op, &e)) {
        op_fail_soon(op, &e);
        return;
    }
    if (list_empty(&s->waiting) && (rc = idle_conn(s))) {
        request_send(op, rc);
    } else if (s->conns >= CONNS_MAX) {
        list_push(&s->waiting, &op->wait_link);
    } else if (!server_wait(s, op, &e)) {
        op_fail_soon(op, &e);
    }
}

static void stop(struct op *op, bool late)
{
    (void)late;
    server_unwait(op);
    if (op->rest_conn) op->rest_conn->op = NULL;
    op->rest_conn = NULL;
    http1_call_reset(&op->http1);
}

const struct carrier carrier_rest = {start, stop};
