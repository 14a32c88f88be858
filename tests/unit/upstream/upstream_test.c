/* SPDX-License-Identifier: Apache-2.0 */
#include "net/http_server.h"
#include "oip/json.h"
#include "oip/pb.h"
#include "oip/proto.h"
#include "oip/service.h"
#include "sys/worker.h"
#include "test.h"
#include "upstream/upstream.h"
#include <stdio.h>
#include <sys/epoll.h>
#include <unistd.h>

/* A model server and its client on one loop: nothing runs beside the test. */
struct world {
    struct loop *loop;
    struct tcp *tcp;
    struct workers *workers;
    struct http_server *server;
    struct listener *listener;
    struct upstream *up;
    char address[ADDR_TEXT_MAX];
    /* what the server does */
    int calls, gone, failures; /* failures: how many calls are answered UNAVAILABLE first */
    bool never;
    struct buf seen, seen_headers; /* the last request */
    const char *garbage;           /* raw bytes instead of HTTP */
    struct conn raw;
    /* what came back */
    int done;
};

static struct world *current; /* of the test that runs */

static void on_gone(struct exchange *x)
{
    ((struct world *)x->priv)->gone++;
}

static const struct header extra[] = {
    {STR("x-model"), STR("a")}, {STR("x-model"), STR("b")}, {STR("other"), STR("c")}};

static void answer(struct world *w, struct exchange *x)
{
    struct grpc_reply r = {
        .headers = extra, .headers_n = countof(extra), .trailers = extra, .trailers_n = 1};
    struct infer_view v = {0};
    struct buf out = {0};
    struct err e;

    w->calls++;
    if (w->never) {
        x->priv = w;
        x->gone = on_gone;
        return;
    }
    if (w->failures > 0) {
        w->failures--;
        r.status = GRPC_UNAVAILABLE;
        r.message = STR("not now: 100% sure\n");
        exchange_respond_grpc(x, &r, NULL);
        return;
    }
    assert_int_equal(infer_parse(buf_view(&x->body), INFER_REQUEST, &x->arena, &v, &e), RC_OK);
    if (str_is(v.model_name, "refuses")) {
        r.status = GRPC_INVALID_ARGUMENT;
        r.message = STR("wrong tensor");
        exchange_respond_grpc(x, &r, NULL);
        return;
    }
    if (str_is(v.model_name, "junk")) {
        buf_append_str(&out, STR("\xff\xff\xff no protobuf"));
    } else {
        pb_put_str(&out, 1, v.model_name);
        for (size_t i = 0; i < v.tensors_n; i++)
            buf_append(&out, v.tensors[i].field);
        for (size_t i = 0; i < v.raws_n; i++)
            pb_put_bytes(&out, 6, v.raws[i]);
    }
    exchange_respond_grpc(x, &r, &out);
}

static void rest_answer(struct world *w, struct exchange *x)
{
    struct buf body = {0};

    w->calls++;
    if (w->failures > 0) {
        w->failures--;
        exchange_respond(x, 503, NULL, 0, NULL);
        return;
    }
    if (str_is(x->path, "/v2/models/refuses/versions/7/infer")) {
        buf_append_str(&body, STR("{\"error\":\"no\"}"));
        exchange_respond(x, 422, extra, countof(extra), &body);
        return;
    }
    if (str_is(x->path, "/v2/models/meta"))
        buf_append_str(
            &body, STR("{\"name\":\"meta\",\"versions\":[\"1\"],\"platform\":\"p\",\"inputs\":[{"
                       "\"name\":\"I\",\"datatype\":\"FP32\",\"shape\":[-1,4]}],\"outputs\":[]}"));
    else if (str_is(x->path, "/v2/models/junk/infer"))
        buf_append_str(&body, STR("{\"outputs\":[{\"name\":\"A\",\"shape\":[2],\"datatype\":"
                                  "\"INT8\",\"data\":[1]}]}"));
    else
        buf_append_str(&body, STR("{\"model_name\":\"m\",\"outputs\":[{\"name\":\"A\",\"shape\":[2]"
                                  ",\"datatype\":\"INT8\",\"data\":[1,2]}]}"));
    exchange_respond(x, str_is(x->path, "/v2/models/absent/ready") ? 404 : 200, extra,
                     countof(extra), &body);
}

static void on_request(void *ctx, struct exchange *x)
{
    struct world *w = ctx;

    buf_clear(&w->seen);
    buf_clear(&w->seen_headers);
    buf_append(&w->seen, buf_view(&x->body));
    buf_printf(&w->seen_headers, STR_FMT "\n", STR_ARG(x->path));
    for (size_t i = 0; i < x->headers_n; i++)
        buf_printf(&w->seen_headers, STR_FMT ": " STR_FMT "\n", STR_ARG(x->headers[i].name),
                   STR_ARG(x->headers[i].value));
    if (!x->grpc)
        rest_answer(w, x);
    else if (str_is(x->path, "/inference.GRPCInferenceService/ModelReady")) {
        struct buf out = {0};

        flag_encode(true, &out);
        exchange_respond_grpc(x, &(struct grpc_reply){0}, &out);
    } else {
        answer(w, x);
    }
}

static void raw_data(struct conn *c, struct bytes in)
{
    struct world *w = container_of(c, struct world, raw);

    (void)in;
    conn_send_copy(c, str_bytes(str_of(w->garbage)));
    conn_end(c);
}

static void raw_closed(struct conn *c, const struct err *why)
{
    (void)c;
    (void)why;
}

static const struct conn_ops raw_ops = {.data = raw_data, .closed = raw_closed};

static void on_accept(void *ctx, int fd, const struct addr *peer)
{
    struct world *w = ctx;
    struct err e;

    if (!w->garbage)
        http_server_accept(w->server, fd, peer, NULL);
    else if (conn_is_open(&w->raw))
        close(fd);
    else
        assert_int_equal(conn_open(w->tcp, &w->raw, fd, peer, NULL, &raw_ops, NULL, &e), RC_OK);
}

static void world_new(struct world *w)
{
    struct err e;

    *w = (struct world){0};
    current = w;
    assert_int_equal(loop_new(&clock_real, &w->loop, &e), RC_OK);
    assert_int_equal(workers_new(0, &w->workers, &e), RC_OK);
    w->tcp = tcp_new(w->loop);
    w->server = http_server_new(
        w->tcp, &(struct http_options){.handler = {.request = on_request, .ctx = w}});
    assert_int_equal(listener_open(w->tcp,
                                   &(struct listener_options){.listen = STR("127.0.0.1:0"),
                                                              .accepted = on_accept,
                                                              .ctx = w},
                                   &w->listener, &e),
                     RC_OK);
    addr_text(listener_addr(w->listener), w->address);
    assert_int_equal(upstream_new(w->loop, w->workers, 1 << 20, &w->up, &e), RC_OK);
}

static void world_free(struct world *w)
{
    upstream_free(w->up);
    listener_close(w->listener);
    http_server_free(w->server);
    tcp_free(w->tcp);
    workers_free(w->workers);
    loop_free(w->loop);
    buf_fini(&w->seen);
    buf_fini(&w->seen_headers);
}

static void on_done(struct upstream_call *c)
{
    (void)c;
    current->done++;
}

static struct upstream_target target(struct world *w, enum upstream_kind kind, const char *model)
{
    return (struct upstream_target){
        .kind = kind, .address = str_of(w->address), .model = str_of(model)};
}

/* One FP32 tensor with raw contents; its name is "INPUT". */
static struct buf request_new(size_t raw_bytes)
{
    struct buf b = {0};
    size_t at = pb_begin(&b, 5), shape;

    pb_put_str(&b, 1, STR("INPUT"));
    pb_put_str(&b, 2, STR("FP32"));
    shape = pb_begin(&b, 3);
    pb_put_varint(&b, raw_bytes / 4);
    pb_end(&b, shape);
    pb_end(&b, at);
    pb_put_len(&b, 7, raw_bytes);
    memset(buf_grow(&b, raw_bytes), 0x3f, raw_bytes);
    return b;
}

static void start(struct world *w, struct upstream_call *c, const struct upstream_target *t,
                  struct bytes request, uint64_t timeout_ms)
{
    c->target = t;
    c->request = request;
    c->deadline_ms = clock_mono_ms(&clock_real) + timeout_ms;
    c->done = on_done;
    if (!c->attempts) c->attempts = 1;
    upstream_call(w->up, c);
}

static void wait_done(struct world *w, int n)
{
    uint64_t end = clock_mono_ms(&clock_real) + 20000;

    while (w->done < n && clock_mono_ms(&clock_real) < end) {
        loop_turn(w->loop, 50);
        while (workers_run_one(w->workers)) {
        }
    }
    assert_int_equal(w->done, n);
}

static void call(struct world *w, struct upstream_call *c, const struct upstream_target *t,
                 size_t raw_bytes)
{
    struct buf request = request_new(raw_bytes);
    int before = w->done;

    start(w, c, t, buf_view(&request), 10000);
    assert_int_equal(w->done, before); /* never before the call returned */
    wait_done(w, before + 1);
    buf_fini(&request);
}

#define assert_text(b, what)                                                                       \
    do {                                                                                           \
        if (!strstr(buf_cstr(b), (what))) fail_msg("wanted \"%s\" in: %s", (what), buf_cstr(b));   \
    } while (0)

static void a_call_carries_names_headers_and_bytes(void **state)
{
    struct world w;
    struct header headers[] = {HEADER("x-who", STR("me")), HEADER("x-bad", STR("n\xc3\xb6")),
                               HEADER("x-request-id", STR("1"))};
    struct upstream_call c = {.headers = headers, .headers_n = countof(headers)};
    struct upstream_target t;
    struct infer_view v;
    struct arena a = {0};
    struct err e;

    (void)state;
    world_new(&w);
    t = target(&w, UPSTREAM_GRPC, "mine");
    t.version = STR("3");
    call(&w, &c, &t, 100000);
    assert_int_equal(c.err.rc, RC_OK);
    assert_int_equal(infer_parse(buf_view(&w.seen), INFER_REQUEST, &a, &v, &e), RC_OK);
    assert_str(v.model_name, "mine");
    assert_str(v.model_version, "3");
    assert_int_equal(v.tensors[0].raw.n, 100000);
    assert_int_equal(infer_parse(buf_view(&c.response), INFER_RESPONSE, &a, &v, &e), RC_OK);
    assert_int_equal(v.tensors[0].raw.n, 100000);
    assert_text(&w.seen_headers, "\nx-who: me\n");
    assert_text(&w.seen_headers, "\nseldon-model: mine\n");
    assert_text(&w.seen_headers, "\ngrpc-timeout: ");
    assert_null(strstr(buf_cstr(&w.seen_headers), "x-bad"));
    assert_int_equal(c.response_headers_n, 3);
    assert_str(c.response_headers[1].value, "b");
    assert_str(c.response_headers[2].value, "a"); /* the trailer */
    arena_fini(&a);
    upstream_call_fini(&c);
    world_free(&w);
}

static void names_inside_the_message_are_replaced(void **state)
{
    struct world w;
    struct upstream_call c = {0};
    struct upstream_target t;
    struct buf request = request_new(16);
    struct infer_view v;
    struct arena a = {0};
    struct err e;

    (void)state;
    world_new(&w);
    t = target(&w, UPSTREAM_GRPC, "mine");
    pb_put_str(&request, 1, STR("theirs")); /* at the end: the message has to be copied */
    start(&w, &c, &t, buf_view(&request), 10000);
    wait_done(&w, 1);
    assert_int_equal(c.err.rc, RC_OK);
    assert_int_equal(infer_parse(buf_view(&w.seen), INFER_REQUEST, &a, &v, &e), RC_OK);
    assert_str(v.model_name, "mine");
    assert_int_equal(v.tensors[0].raw.n, 16);
    arena_fini(&a);
    buf_fini(&request);
    upstream_call_fini(&c);
    world_free(&w);
}

static void a_models_own_error_keeps_code_and_text(void **state)
{
    struct world w;
    struct upstream_call c = {.attempts = 5};
    struct upstream_target t;

    (void)state;
    world_new(&w);
    t = target(&w, UPSTREAM_GRPC, "refuses");
    call(&w, &c, &t, 4);
    assert_int_equal(c.err.rc, RC_UPSTREAM);
    assert_int_equal(c.grpc_code, GRPC_INVALID_ARGUMENT);
    assert_str(buf_str(&c.message), "wrong tensor");
    assert_int_equal(w.calls, 1);
    upstream_call_fini(&c);
    world_free(&w);
}

static void unavailable_is_tried_again_and_then_reported(void **state)
{
    struct world w;
    struct upstream_call c = {.attempts = 3, .backoff_ms = 1};
    struct upstream_target t;

    (void)state;
    world_new(&w);
    t = target(&w, UPSTREAM_GRPC, "m");
    w.failures = 2;
    call(&w, &c, &t, 4);
    assert_int_equal(c.err.rc, RC_OK);
    assert_int_equal(w.calls, 3);
    upstream_call_fini(&c);
    w.failures = 100;
    call(&w, &c, &t, 4);
    assert_int_equal(c.err.rc, RC_UPSTREAM);
    assert_int_equal(c.grpc_code, GRPC_UNAVAILABLE);
    assert_str(buf_str(&c.message), "not now: 100% sure\n");
    assert_int_equal(w.calls, 6);
    upstream_call_fini(&c);
    world_free(&w);
}

static void a_call_ends_at_its_deadline_and_when_cancelled(void **state)
{
    struct world w;
    struct upstream_call c = {0}, d = {0};
    struct upstream_target t;
    struct buf request = request_new(4);

    (void)state;
    world_new(&w);
    w.never = true;
    t = target(&w, UPSTREAM_GRPC, "m");
    start(&w, &c, &t, buf_view(&request), 50);
    wait_done(&w, 1);
    assert_int_equal(c.err.rc, RC_TIMEOUT);
    assert_non_null(strstr(c.err.text, w.address));
    start(&w, &d, &t, buf_view(&request), 10000);
    while (w.calls < 2)
        loop_turn(w.loop, 50);
    upstream_cancel(w.up, &d);
    assert_int_equal(w.done, 2);
    assert_int_equal(d.err.rc, RC_CANCELLED);
    while (w.gone < 2) /* the server hears of both */
        loop_turn(w.loop, 50);
    buf_fini(&request);
    world_free(&w);
}

static void many_calls_share_one_connection(void **state)
{
    struct world w;
    struct upstream_call c[200] = {{0}};
    struct upstream_target t;
    struct buf request = request_new(40000);
    struct http_counters count;

    (void)state;
    world_new(&w);
    t = target(&w, UPSTREAM_GRPC, "m");
    for (size_t i = 0; i < countof(c); i++)
        start(&w, &c[i], &t, buf_view(&request), 20000);
    wait_done(&w, countof(c));
    for (size_t i = 0; i < countof(c); i++) {
        assert_int_equal(c[i].err.rc, RC_OK);
        upstream_call_fini(&c[i]);
    }
    http_server_count(w.server, &count);
    assert_int_equal(count.connections, 1);
    buf_fini(&request);
    world_free(&w);
}

static void a_request_given_up_half_sent_leaves_the_connection_whole(void **state)
{
    struct world w;
    struct upstream_call big = {0}, next = {0};
    struct upstream_target t;
    struct buf request = request_new(8 << 20);

    (void)state;
    world_new(&w);
    t = target(&w, UPSTREAM_GRPC, "m");
    call(&w, &next, &t, 4);
    upstream_call_fini(&next);
    start(&w, &big, &t, buf_view(&request), 20000);
    loop_turn(w.loop, 50);
    upstream_cancel(w.up, &big);
    memset(request.p, 0xee, request.n); /* it is ours again */
    buf_fini(&request);
    call(&w, &next, &t, 4);
    assert_int_equal(next.err.rc, RC_OK);
    upstream_call_fini(&next);
    upstream_call_fini(&big);
    world_free(&w);
}

static void an_answer_above_the_limit_is_refused(void **state)
{
    struct world w;
    struct upstream_call c = {0};
    struct upstream_target t;

    (void)state;
    world_new(&w);
    t = target(&w, UPSTREAM_GRPC, "m");
    call(&w, &c, &t, 2 << 20);
    assert_int_equal(c.err.rc, RC_TOO_LARGE);
    upstream_call_fini(&c);
    world_free(&w);
}

static void nobody_there_is_said_with_the_address(void **state)
{
    struct world w;
    struct upstream_call c = {.attempts = 3, .backoff_ms = 1};
    struct upstream_target t;

    (void)state;
    world_new(&w);
    w.listener = listener_close(w.listener);
    for (int kind = 0; kind < 2; kind++) {
        t = target(&w, kind ? UPSTREAM_REST : UPSTREAM_GRPC, "m");
        call(&w, &c, &t, 4);
        assert_int_equal(c.err.rc, RC_UNAVAILABLE);
        assert_non_null(strstr(c.err.text, w.address));
        assert_non_null(strstr(c.err.text, "refused"));
        upstream_call_fini(&c);
    }
    t.address = STR("no-such-host.invalid:1");
    call(&w, &c, &t, 4);
    assert_int_equal(c.err.rc, RC_UNAVAILABLE);
    assert_non_null(strstr(c.err.text, "no-such-host.invalid:1"));
    upstream_call_fini(&c);
    world_free(&w);
}

static void garbage_is_called_garbage(void **state)
{
    static const char *const answers[] = {"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n",
                                          "hello\r\n", "", "{\"inputs\":[]}"};
    struct world w;
    struct upstream_call c = {0};
    struct upstream_target t;

    (void)state;
    for (size_t i = 0; i < countof(answers); i++) {
        world_new(&w);
        w.garbage = answers[i];
        t = target(&w, UPSTREAM_GRPC, "m");
        call(&w, &c, &t, 4);
        assert_true(c.err.rc == RC_INVALID || c.err.rc == RC_UNAVAILABLE);
        assert_non_null(strstr(c.err.text, w.address));
        upstream_call_fini(&c);
        world_free(&w);
    }
    world_new(&w);
    t = target(&w, UPSTREAM_GRPC, "junk");
    call(&w, &c, &t, 4);
    assert_int_equal(c.err.rc, RC_INVALID);
    assert_non_null(strstr(c.err.text, "answered bytes that are no protobuf message"));
    assert_int_equal(c.grpc_code, GRPC_INTERNAL);
    upstream_call_fini(&c);
    t = target(&w, UPSTREAM_REST, "junk");
    call(&w, &c, &t, 4);
    assert_int_equal(c.err.rc, RC_INVALID);
    upstream_call_fini(&c);
    world_free(&w);
}

static void a_restarted_server_is_found_again(void **state)
{
    struct world w;
    struct upstream_call c = {.attempts = 5, .backoff_ms = 10};
    struct upstream_target t;

    (void)state;
    world_new(&w);
    t = target(&w, UPSTREAM_GRPC, "m");
    call(&w, &c, &t, 4);
    upstream_call_fini(&c);
    http_server_free(w.server); /* all its connections break */
    w.server = http_server_new(
        w.tcp, &(struct http_options){.handler = {.request = on_request, .ctx = &w}});
    call(&w, &c, &t, 4);
    assert_int_equal(c.err.rc, RC_OK);
    upstream_call_fini(&c);
    http_server_drain(w.server); /* GOAWAY: the next call goes elsewhere */
    for (int i = 0; i < 4; i++)
        loop_turn(w.loop, 0);
    http_server_free(w.server);
    w.server = http_server_new(
        w.tcp, &(struct http_options){.handler = {.request = on_request, .ctx = &w}});
    call(&w, &c, &t, 4);
    assert_int_equal(c.err.rc, RC_OK);
    upstream_call_fini(&c);
    world_free(&w);
}

static void rest_servers_are_spoken_to_in_json(void **state)
{
    struct world w;
    struct header headers[] = {HEADER("x-who", STR("me"))};
    struct upstream_call c = {.headers = headers, .headers_n = 1, .attempts = 2, .backoff_ms = 1};
    struct upstream_target t;
    struct infer_view v;
    struct arena a = {0};
    struct http_counters count;
    struct err e;

    (void)state;
    world_new(&w);
    t = target(&w, UPSTREAM_REST, "m");
    w.failures = 1;
    call(&w, &c, &t, 8);
    assert_int_equal(c.err.rc, RC_OK);
    assert_int_equal(w.calls, 2);
    assert_text(&w.seen_headers, "/v2/models/m/infer\n");
    assert_text(&w.seen_headers, "\nx-who: me\n");
    assert_text(&w.seen, "\"inputs\":[{");
    assert_int_equal(infer_parse(buf_view(&c.response), INFER_RESPONSE, &a, &v, &e), RC_OK);
    assert_str(v.tensors[0].name, "A");
    assert_int_equal(c.response_headers_n, 2);
    assert_int_equal(c.http_status, 200);
    upstream_call_fini(&c);
    t = target(&w, UPSTREAM_REST, "refuses");
    t.version = STR("7");
    call(&w, &c, &t, 8);
    assert_int_equal(c.err.rc, RC_UPSTREAM);
    assert_int_equal(c.http_status, 422);
    assert_int_equal(c.grpc_code, GRPC_INVALID_ARGUMENT);
    assert_str(buf_str(&c.message), "{\"error\":\"no\"}");
    upstream_call_fini(&c);
    http_server_count(w.server, &count);
    assert_int_equal(count.connections, 1); /* kept alive */
    arena_fini(&a);
    world_free(&w);
}

static void find_tally(void *ctx, const struct upstream_tally *t)
{
    if (str_is(t->model, "refuses") && t->code == GRPC_INVALID_ARGUMENT)
        *(uint64_t *)ctx += t->calls;
}

static void calls_are_counted_by_model_and_code(void **state)
{
    struct world w;
    struct upstream_call c = {0};
    struct upstream_target t;
    uint64_t n = 0;

    (void)state;
    world_new(&w);
    for (int i = 0; i < 3; i++) {
        t = target(&w, UPSTREAM_GRPC, i ? "refuses" : "m");
        call(&w, &c, &t, 4);
        upstream_call_fini(&c);
    }
    upstream_tallies(w.up, find_tally, &n);
    assert_int_equal(n, 2);
    world_free(&w);
}

static void query_done(struct upstream_query *q)
{
    (void)q;
    current->done++;
}

static void models_are_asked_whether_they_are_ready(void **state)
{
    struct world w;
    struct upstream_target t;
    struct upstream_query q = {.done = query_done};
    struct model_metadata m;
    struct arena a = {0};
    struct err e;

    (void)state;
    world_new(&w);
    q.target = &t;
    q.deadline_ms = clock_mono_ms(&clock_real) + 10000;
    t = target(&w, UPSTREAM_GRPC, "m");
    upstream_query(w.up, &q);
    wait_done(&w, 1);
    assert_int_equal(q.err.rc, RC_OK);
    assert_true(q.ready);
    buf_fini(&q.response);
    t = target(&w, UPSTREAM_REST, "absent");
    upstream_query(w.up, &q);
    wait_done(&w, 2);
    assert_int_equal(q.err.rc, RC_OK);
    assert_false(q.ready);
    t = target(&w, UPSTREAM_REST, "meta");
    q.ask = UPSTREAM_METADATA;
    upstream_query(w.up, &q);
    wait_done(&w, 3);
    assert_int_equal(q.err.rc, RC_OK);
    assert_int_equal(model_metadata_decode(buf_view(&q.response), &a, &m, &e), RC_OK);
    assert_str(m.platform, "p");
    assert_int_equal(m.inputs[0].shape[1], 4);
    buf_fini(&q.response);
    t.kind = UPSTREAM_XGBOOST;
    t.path = STR("nowhere.json");
    q.ask = UPSTREAM_READY;
    upstream_query(w.up, &q);
    wait_done(&w, 4);
    assert_int_not_equal(q.err.rc, RC_OK);
    arena_fini(&a);
    world_free(&w);
}

static void what_is_in_flight_is_cancelled_at_the_end(void **state)
{
    struct world w;
    struct upstream_call c[3] = {{0}};
    struct upstream_target t[3];
    struct buf request = request_new(4);

    (void)state;
    world_new(&w);
    w.never = true;
    t[0] = target(&w, UPSTREAM_GRPC, "m");
    t[1] = target(&w, UPSTREAM_REST, "m");
    t[2] = target(&w, UPSTREAM_XGBOOST, "m");
    for (int i = 0; i < 3; i++)
        start(&w, &c[i], &t[i], buf_view(&request), 10000);
    w.up = upstream_free(w.up);
    assert_int_equal(w.done, 3);
    for (int i = 0; i < 3; i++)
        assert_int_equal(c[i].err.rc, RC_CANCELLED);
    while (workers_run_one(w.workers)) {
    }
    loop_turn(w.loop, 0);
    buf_fini(&request);
    world_free(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_call_carries_names_headers_and_bytes),
        cmocka_unit_test(names_inside_the_message_are_replaced),
        cmocka_unit_test(a_models_own_error_keeps_code_and_text),
        cmocka_unit_test(unavailable_is_tried_again_and_then_reported),
        cmocka_unit_test(a_call_ends_at_its_deadline_and_when_cancelled),
        cmocka_unit_test(many_calls_share_one_connection),
        cmocka_unit_test(a_request_given_up_half_sent_leaves_the_connection_whole),
        cmocka_unit_test(an_answer_above_the_limit_is_refused),
        cmocka_unit_test(nobody_there_is_said_with_the_address),
        cmocka_unit_test(garbage_is_called_garbage),
        cmocka_unit_test(a_restarted_server_is_found_again),
        cmocka_unit_test(rest_servers_are_spoken_to_in_json),
        cmocka_unit_test(calls_are_counted_by_model_and_code),
        cmocka_unit_test(models_are_asked_whether_they_are_ready),
        cmocka_unit_test(what_is_in_flight_is_cancelled_at_the_end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
