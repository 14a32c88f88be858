/* Design note: one connection per server, all calls on it. A message is sent in three parts: the five bytes and the names
 * (ours), and the caller's bytes as they are. Only where names stand inside the message, or half floats have to become
 * raw, is it copied. SPDX-License-Identifier: Apache-2.0 */
#include "net/grpc.h"
#include "net/loop.h"
#include "oip/pb.h"
#include "oip/proto.h"
#include "oip/service.h"
#include "upstream/internal.h"

enum { PING_MS = 5000, SPARSE_HEADERS = 16 };

/* ---- The connection ---- */

struct grpc_conn {
    struct server *server;
    struct h2_client *client;
    bool open;
};

static void conn_opened(void *ctx)
{
    struct grpc_conn *gc = ctx;

    gc->open = true;
    if (gc->server) server_connected(gc->server);
}

static void conn_going(void *ctx)
{
    struct grpc_conn *gc = ctx;

    if (gc->server && gc->server->conn == gc) gc->server->conn = NULL;
    gc->server = NULL; /* it finishes its calls and ends */
}

static void conn_closed(void *ctx, const struct err *why)
{
    struct grpc_conn *gc = ctx;
    struct server *s = gc->server;

    if (s && s->conn == gc) {
        s->conn = NULL;
        if (!gc->open) server_connect_failed(s, why);
    }
    free(gc);
}

enum rc grpc_connect(struct server *s, const struct addr *to, struct err *e)
{
    struct grpc_conn *gc = xnew(struct grpc_conn);
    const struct h2_client_owner owner = {conn_opened, conn_going, conn_closed, gc};

    gc->server = s;
    if (h2_client_open(s->u->tcp, s->u->h2, to, &owner, &gc->client, e)) {
        free(gc);
        return e->rc;
    }
    s->conn = gc;
    return RC_OK;
}

void grpc_drop(struct server *s)
{
    struct grpc_conn *gc = s->conn;
    struct err e;

    if (!gc) return;
    s->conn = NULL;
    gc->server = NULL;
    err_set(&e, RC_UNAVAILABLE, "the connection was given up");
    h2_client_close(gc->client, &e);
}

/* ---- The request ---- */

/* Can the message be sent as it is behind the names? Then *ret_rest is what to send of it. */
static bool spliceable(struct bytes request, struct bytes *ret_rest)
{
    struct pb_reader r = pb_reader_of(request);
    const uint8_t *from = request.p;
    bool leading = true;

    for (struct pb_field f; pb_next(&r, &f);) {
        if (f.number == 1 || f.number == 2) {
            if (!leading) return false;
            from = f.whole.p + f.whole.n;
            continue;
        }
        leading = false;
        if (f.number == 5 && f.wire == PB_LEN) {
            struct pb_reader t = pb_reader_of(f.bytes);

            for (struct pb_field g; pb_next(&t, &g);)
                if (g.number == 2 && g.wire == PB_LEN &&
                    (str_is(pb_str(&g), "FP16") || str_is(pb_str(&g), "BF16")))
                    return false;
        }
    }
    if (r.why) return false;
    *ret_rest = bytes_of(from, request.n - (size_t)(from - request.p));
    return true;
}

static enum rc message_of_call(struct op *op, struct bytes *ret_rest, struct err *e)
{
    const struct upstream_target *t = op->target;
    struct infer_names names = {&t->model, &t->version, NULL};
    struct infer_view v;

    if (spliceable(op->call->request, ret_rest)) {
        pb_put_str(&op->body, 1, t->model);
        pb_put_str(&op->body, 2, t->version);
        return RC_OK;
    }
    *ret_rest = (struct bytes){0};
    if (infer_parse(op->call->request, INFER_REQUEST, &op->arena, &v, e)) return e->rc;
    if (infer_wants_raw(&v)) return infer_rename_raw(&v, &names, &op->body, e);
    infer_rename(&v, &names, &op->body);
    return RC_OK;
}

static void message_of_query(struct op *op)
{
    struct model_ref ref = {op->target->model, op->target->version};
    struct repository_model repo = {.model_name = op->target->model};

    if (op->query->ask == UPSTREAM_READY || op->query->ask == UPSTREAM_METADATA)
        model_ref_encode(&ref, &op->body);
    else
        repository_model_encode(&repo, &op->body);
}

static struct str path_of(const struct op *op)
{
    if (op->call) return STR("/inference.GRPCInferenceService/ModelInfer");
    switch (op->query->ask) {
    case UPSTREAM_READY:
        return op->target->model.n ? STR("/inference.GRPCInferenceService/ModelReady")
                                   : STR("/inference.GRPCInferenceService/ServerReady");
    case UPSTREAM_METADATA: return STR("/inference.GRPCInferenceService/ModelMetadata");
    case UPSTREAM_LOAD: return STR("/inference.GRPCInferenceService/RepositoryModelLoad");
    case UPSTREAM_UNLOAD: return STR("/inference.GRPCInferenceService/RepositoryModelUnload");
    }
    must_failed("a new question to a model server", __FILE__, __LINE__);
}

/* ---- The answer ---- */

static struct op *op_of(struct h2_call *c)
{
    return container_of(c, struct op, h2);
}

static void on_header(struct h2_call *c, struct str name, struct str value, bool trailer)
{
    struct op *op = op_of(c);
    int64_t n;

    (void)trailer;
    if (str_is(name, ":status")) {
        if (str_to_i64(value, &n)) op->http_status = (int)n;
    } else if (str_is(name, "content-type")) {
        op->got_type = str_starts(value, STR("application/grpc"));
    } else if (str_is(name, "grpc-status")) {
        op->got_status = str_to_i64(value, &n) && n >= 0 && n <= INT32_MAX;
        if (op->got_status) op->grpc_code = (int)n;
    } else if (str_is(name, "grpc-message")) {
        buf_clear(&op->message);
        grpc_message_decode(&op->message, value);
    } else {
        op_header(op, name, value);
    }
}

static void give_up(struct op *op, const struct err *e)
{
    h2_call_reset(&op->h2);
    op_failed(op, e);
}

static bool frame_head(struct op *op, struct bytes *in)
{
    size_t part = MIN(in->n, (size_t)(GRPC_FRAME_BYTES - op->frame_n));

    memcpy(op->frame + op->frame_n, in->p, part);
    op->frame_n = (uint8_t)(op->frame_n + part);
    in->p += part;
    in->n -= part;
    return op->frame_n == GRPC_FRAME_BYTES;
}

static void on_data(struct h2_call *c, struct bytes in)
{
    struct op *op = op_of(c);
    struct err e;

    if (op->http_status != 200 || !op->got_type) return; /* judged at the end, by its headers */
    if (op->frame_n < GRPC_FRAME_BYTES) {
        if (!frame_head(op, &in)) return;
        op->declared = load_be32(op->frame + 1);
        if (op->frame[0] != 0) {
            garbage(&e, op, "a compressed message nobody asked for");
            give_up(op, &e);
            return;
        }
        if (op->declared > op->u->message_bytes_max) {
            err_set(&e, RC_TOO_LARGE, "model server " STR_FMT " answered %u bytes (at most %zu)",
                    STR_ARG(op->target->address), op->declared, op->u->message_bytes_max);
            give_up(op, &e);
            return;
        }
        buf_reserve(&op->response, op->declared);
    }
    if (in.n > op->declared - op->response.n) op->second_message = true;
    buf_append(&op->response, bytes_of(in.p, MIN(in.n, op->declared - op->response.n)));
}

static bool looks_like_protobuf(struct bytes b)
{
    struct pb_reader r = pb_reader_of(b);
    struct pb_field f;

    while (pb_next(&r, &f)) {
    }
    return r.why == NULL;
}

/* What came is complete: is it what was wanted? */
static enum rc judge(struct op *op, struct err *e)
{
    if (op->http_status != 200)
        return garbage(e, op, "HTTP status %d instead of gRPC", op->http_status);
    if (!op->got_type && !op->got_status) return garbage(e, op, "something that is not gRPC");
    if (!op->got_status) return garbage(e, op, "without a gRPC status");
    if (op->grpc_code != GRPC_OK) return RC_OK;
    if (op->second_message) return garbage(e, op, "more than one message");
    if (op->frame_n < GRPC_FRAME_BYTES || op->response.n != op->declared)
        return garbage(e, op, "OK without a whole message");
    if (!looks_like_protobuf(buf_view(&op->response)))
        return garbage(e, op, "bytes that are no protobuf message");
    if (op->query && op->query->ask == UPSTREAM_READY &&
        flag_decode(buf_view(&op->response), &op->query->ready, e))
        return garbage(e, op, "a malformed answer about being ready");
    return RC_OK;
}

static void on_ended(struct h2_call *c, const struct err *why)
{
    struct op *op = op_of(c);
    struct err e = {0};

    /* A status that came is an answer, even if the server resets the stream after it. */
    if (why->rc && !(op->got_status && why->rc == RC_CANCELLED)) {
        if (why->rc == RC_INVALID)
            garbage(&e, op, "something that %s", why->text);
        else if (why->rc == RC_CANCELLED)
            garbage(&e, op, "nothing: %s", why->text);
        else
            unreachable(&e, op, why->text);
        op_failed(op, &e);
        return;
    }
    if (judge(op, &e))
        op_failed(op, &e);
    else
        op_done(op);
}

/* ---- Sending ---- */

static size_t headers_of(struct op *op, struct header *h, size_t max,
                         char timeout[GRPC_TIMEOUT_TEXT_MAX])
{
    uint64_t now = loop_now_ms(op->u->loop);
    const struct upstream_call *c = op->call;
    bool routed = false;
    size_t n = 0;

    h[n++] = HEADER(":method", STR("POST"));
    h[n++] = HEADER(":scheme", STR("http"));
    h[n++] = HEADER(":path", path_of(op));
    h[n++] = HEADER(":authority", op->target->address);
    h[n++] = HEADER("te", STR("trailers"));
    h[n++] = HEADER("content-type", STR("application/grpc"));
    h[n++] = HEADER("user-agent", STR("millrace"));
    h[n++] =
        HEADER("grpc-timeout", grpc_timeout_text(MAX(op->deadline_ms, now + 1) - now, timeout));
    for (size_t i = 0; c && i < c->headers_n && n < max - 1; i++) {
        if (!header_is_plain(&c->headers[i])) continue;
        h[n++] = c->headers[i];
        routed |= str_is(c->headers[i].name, "seldon-model");
    }
    if (!routed) h[n++] = HEADER("seldon-model", op->target->model);
    return n;
}

static void request_send(struct op *op)
{
    size_t max = SPARSE_HEADERS + (op->call ? op->call->headers_n : 0);
    struct header *headers = arena_array(&op->arena, struct header, max);
    char timeout[GRPC_TIMEOUT_TEXT_MAX];
    struct bytes rest = {0};
    struct err e;

    buf_clear(&op->body);
    buf_grow(&op->body, GRPC_FRAME_BYTES);
    if (op->query)
        message_of_query(op);
    else if (message_of_call(op, &rest, &e)) {
        op_fail_soon(op, &e);
        return;
    }
    grpc_frame_put(op->body.p, false, (uint32_t)(op->body.n - GRPC_FRAME_BYTES + rest.n));
    op->h2 = (struct h2_call){.headers = headers,
                              .headers_n = headers_of(op, headers, max, timeout),
                              .body = {buf_view(&op->body), rest},
                              .header = on_header,
                              .data = on_data,
                              .ended = on_ended};
    if (h2_call_start(op->server->conn->client, &op->h2, &e)) {
        struct err text = e;

        unreachable(&e, op, text.text);
        op_fail_soon(op, &e);
    }
}

void grpc_serve(struct server *s)
{
    for (struct list *l; s->conn && (l = list_pop(&s->waiting));)
        request_send(container_of(l, struct op, wait_link));
}

static void start(struct op *op)
{
    struct server *s = server_of(op->u, SERVER_GRPC, op->target->address);
    struct err e;

    op->server = s;
    if (s->conn && s->conn->open && h2_client_usable(s->conn->client)) {
        request_send(op);
        return;
    }
    if (s->conn && s->conn->open) conn_going(s->conn);
    if (!server_wait(s, op, &e)) op_fail_soon(op, &e);
}

static void stop(struct op *op, bool late)
{
    struct server *s = op->server;

    server_unwait(op);
    if (op->h2.client && late && s->conn && s->conn->open)
        h2_client_check(s->conn->client, PING_MS);
    h2_call_reset(&op->h2);
}

const struct carrier carrier_grpc = {start, stop};
