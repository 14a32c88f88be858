/* The gateway with a real executor, on a bus in memory and toy models. SPDX-License-Identifier: Apache-2.0 */
#include "test.h"
#include "support/flow_fixture.h"
#include "gateway/gateway.h"
#include "net/h2_client.h"
#include "oip/pb.h"
#include "oip/proto.h"
#include "oip/service.h"
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

struct world {
    struct fixture f;
    struct tcp *tcp;
    struct gateway *g;
    struct buf got;
    bool ready;
    /* gRPC */
    struct h2_client_shared *h2;
    struct h2_client *client;
    struct gateway_door *door;
};

static bool is_ready(void *ctx, struct str *ret_why)
{
    *ret_why = STR("the log is not ready");
    return ((struct world *)ctx)->ready;
}

static void on_opened(void *ctx) { (void)ctx; }
static void on_closed(void *ctx, const struct err *why)
{
    (void)why;
    ((struct world *)ctx)->client = NULL;
}

static void world_with(struct world *w, struct gateway_options o, const char *const *pipelines, const char *const *models)
{
    struct err e;

    *w = (struct world){.ready = true};
    fixture_options(&w->f);
    w->f.o.message_bytes_max = 32 << 20;
    w->f.o.runs_bytes_max = 64 << 20;
    fixture_open(&w->f);
    fixture_apply(&w->f, pipelines, models);
    w->tcp = tcp_new(w->f.loop);
    o.tcp = w->tcp;
    o.flow = w->f.flow;
    o.upstream = w->f.up;
    if (!o.message_bytes_max) o.message_bytes_max = 1 << 20;
    if (!o.timeout_ms) o.timeout_ms = 120000;
    o.timeout_ms_max = 3600000;
    o.metrics = true;
    o.name = STR("millrace");
    o.version = STR("9.9");
    o.ready = is_ready;
    o.ready_ctx = w;
    assert_int_equal(gateway_new(&o, &w->g, &e), RC_OK);
    gateway_use(w->g, w->f.snapshot);
    assert_int_equal(gateway_listen(&w->g, 1, STR("127.0.0.1:0"), NULL, &w->door, &e), RC_OK);
}

static void world_new(struct world *w)
{
    world_with(w, (struct gateway_options){0},
               (const char *const[]){"chain: mul10; add10 < mul10 map=mul10.outputs.OUTPUT:INPUT; out < add10",
                                     "bad: error; out < error", "late: slow; out < slow", "quiet: mul10",
                                     "hdrs: hdr; out < hdr", NULL},
               (const char *const[]){"echo", "mul10", "error", NULL});
}

static void world_free(struct world *w)
{
    const struct err why = {.rc = RC_CANCELLED};

    gateway_door_close(w->door);
    if (w->client) h2_client_close(w->client, &why);
    gateway_free(w->g);
    tcp_free(w->tcp);
    h2_client_shared_free(w->h2);
    fixture_close(&w->f);
    buf_fini(&w->got);
}

static void settle(struct world *w)
{
    for (int i = 0; i < 6; i++) {
        loop_turn(w->f.loop, 0);
        fixture_settle(&w->f);
    }
}

/* ---- REST ---- */

static int connect_rest(struct world *w)
{
    const struct addr peer = {.n = 0};
    int fds[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
    gateway_accept(w->g, fds[0], &peer, NULL);
    return fds[1];
}

static const char *read_rest(struct world *w, int fd)
{
    char part[65536];
    ssize_t n;

    buf_clear(&w->got);
    settle(w);
    while ((n = read(fd, part, sizeof part)) > 0)
        buf_append(&w->got, bytes_of(part, (size_t)n));
    return buf_cstr(&w->got);
}

/* Sends one request and returns the whole answer. more: further header lines. */
static const char *rest(struct world *w, const char *line, const char *more, const char *body)
{
    int fd = connect_rest(w);
    struct buf b = {0};

    buf_printf(&b, "%s HTTP/1.1\r\nHost: h\r\n%sContent-Length: %zu\r\n\r\n%s", line, more, strlen(body), body);
    assert_int_equal(write(fd, b.p, b.n), b.n);
    buf_fini(&b);
    read_rest(w, fd);
    close(fd);
    settle(w);
    return buf_cstr(&w->got);
}

#define BODY "{\"inputs\":[{\"name\":\"INPUT\",\"shape\":[1,4],\"datatype\":\"FP32\",\"data\":[1,2,3,4]}]}"
#define assert_in(text, what) do { const char *t_ = (text); if (!strstr(t_, (what))) fail_msg("wanted \"%s\" in: %s", (what), t_); } while (0)
#define assert_not_in(text, what) do { const char *t_ = (text); if (strstr(t_, (what))) fail_msg("found \"%s\" in: %s", (what), t_); } while (0)

static void a_pipeline_answers_in_json_with_both_request_ids(void **state)
{
    struct world w;
    const char *got;

    (void)state;
    world_new(&w);
    got = rest(&w, "POST /v2/pipelines/chain/infer", "X-Request-Id: my-id\r\nX-Who: me\r\nx-who: you\r\nAccept: */*\r\n", BODY);
    assert_in(got, "HTTP/1.1 200 OK\r\nx-request-id: 0.chain.my-id\r\n");
    assert_in(got, "\r\nx-request-id: my-id\r\n");
    assert_in(got, "\r\nx-who: me\r\nx-who: you\r\n");
    assert_in(got, "\r\nx-pipeline-version: 1\r\n");
    assert_in(got, "content-type: application/json\r\n");
    assert_in(got, "{\"model_name\":\"\",\"outputs\":[{\"data\":[20,30,40,50],\"name\":\"OUTPUT\",\"shape\":[1,4],\"datatype\":\"FP32\"}]}");
    assert_not_in(got, "accept:");
    world_free(&w);
}

static void routing_headers_win_over_a_models_path_only(void **state)
{
    struct world w;

    (void)state;
    world_new(&w);
    assert_in(rest(&w, "POST /v2/models/whatever/infer", "seldon-model: chain.pipeline\r\n", BODY), "[20,30,40,50]");
    assert_in(rest(&w, "POST /v2/models/whatever/infer", "seldon-model: x\r\nseldon-model: mul10\r\n", BODY), "[10,20,30,40]");
    assert_in(rest(&w, "POST /v2/models/whatever/infer", "seldon-model: mul10.model\r\nseldon-internal-model: chain.pipeline\r\n", BODY),
              "[20,30,40,50]");
    assert_in(rest(&w, "POST /v2/pipelines/chain/infer", "seldon-model: mul10\r\n", BODY), "[20,30,40,50]");
    assert_in(rest(&w, "POST /v2/models/mul10/infer", "", BODY), "[10,20,30,40]");
    assert_in(rest(&w, "POST /v2/models/mul10/versions/1/infer", "", BODY), "[10,20,30,40]");
    assert_in(rest(&w, "POST /v2/models/chain/infer", "", BODY), "[20,30,40,50]");       /* no model of that name */
    assert_in(rest(&w, "POST /v2/models/mul10/versions/7/infer", "", BODY), "404 Not Found");
    assert_in(rest(&w, "POST /v2/models/x/infer", "seldon-model: a.b.c\r\n", BODY), "400 Bad Request");
    assert_in(rest(&w, "POST /v2/models/x/infer", "seldon-model:  \r\n", BODY), "400 Bad Request");
    assert_in(rest(&w, "POST /v2/models/x/infer", "seldon-model: chain.foo\r\n", BODY), "400 Bad Request");
    world_free(&w);
}

static void what_is_wrong_gets_its_status_and_a_sentence(void **state)
{
    struct world w;

    (void)state;
    world_new(&w);
    assert_in(rest(&w, "POST /v2/pipelines/nosuch/infer", "", BODY), "404 Not Found");
    assert_in(rest(&w, "POST /v2/models/nosuch/infer", "", BODY), "404 Not Found");
    assert_in(buf_cstr(&w.got), "{\"error\":\"model nosuch does not exist\"}");
    assert_in(rest(&w, "GET /v3", "", ""), "404 Not Found");
    assert_in(rest(&w, "POST /v2/models/x/y/z", "", ""), "404 Not Found");
    assert_in(rest(&w, "POST /v2/models/mul10/infer/", "", ""), "404 Not Found");
    assert_in(rest(&w, "GET /v2/pipelines/chain/infer", "", ""), "405 Method Not Allowed");
    assert_in(rest(&w, "POST /v2/pipelines/chain/infer", "", "{\"inputs\":[{"), "400 Bad Request");
    assert_in(rest(&w, "POST /v2/pipelines/chain/infer", "x-request-timeout: soon\r\n", BODY), "400 Bad Request");
    assert_in(rest(&w, "POST /v2/pipelines/chain/infer", "Inference-Header-Content-Length: 999\r\n", BODY), "400 Bad Request");
    assert_in(rest(&w, "POST /v2/pipelines/bad/infer", "x-request-id: e1\r\n", BODY), "400 Bad Request");
    assert_in(buf_cstr(&w.got), "\r\nx-request-id: 0.bad.e1\r\n");
    assert_in(buf_cstr(&w.got), "{\"error\":\"error : rpc error: code = InvalidArgument desc = ");
    world_free(&w);
}

static void a_pipeline_without_output_accepts(void **state)
{
    struct world w;

    (void)state;
    world_new(&w);
    assert_in(rest(&w, "POST /v2/pipelines/quiet/infer", "", BODY), "HTTP/1.1 202 Accepted");
    assert_in(buf_cstr(&w.got), "x-request-id: 0.quiet.");
    world_free(&w);
}

static void a_request_without_an_id_gets_one(void **state)
{
    struct world w;
    char first[21], second[21];

    (void)state;
    world_new(&w);
    for (int i = 0; i < 2; i++) {
        const char *got = strstr(rest(&w, "POST /v2/pipelines/chain/infer", i ? "x-request-id:\r\n" : "", BODY), "0.chain.");

        assert_non_null(got);
        memcpy(i ? second : first, got + 8, 20);
        assert_int_equal(got[28], '\r');
        assert_int_equal(strspn(got + 8, "0123456789abcdefghijklmnopqrstuv"), 20);
    }
    assert_memory_not_equal(first, second, 20);
    world_free(&w);
}

static void a_deadline_is_504_and_a_client_that_leaves_cancels(void **state)
{
    struct world w;
    int fd;

    (void)state;
    world_new(&w);
    fd = connect_rest(&w);
    assert_int_equal(dprintf(fd, "POST /v2/pipelines/late/infer HTTP/1.1\r\nHost: h\r\nX-Request-Timeout: 0.5\r\nContent-Length: %zu\r\n\r\n" BODY,
                             strlen(BODY)) > 0, 1);
    assert_string_equal(read_rest(&w, fd), "");
    fixture_advance(&w.f, 499);
    assert_string_equal(read_rest(&w, fd), "");
    fixture_advance(&w.f, 2);
    assert_in(read_rest(&w, fd), "504 Gateway Timeout");
    close(fd);
    fd = connect_rest(&w);
    assert_int_equal(dprintf(fd, "POST /v2/pipelines/late/infer HTTP/1.1\r\nHost: h\r\nContent-Length: %zu\r\n\r\n" BODY, strlen(BODY)) > 0, 1);
    settle(&w);
    close(fd);
    settle(&w);
    assert_true(w.f.up->cancelled >= 1);
    assert_in(rest(&w, "GET /metrics", "", ""), "method_type=\"rest\",code=\"499\"} 1\n");
    world_free(&w);
}

static void beyond_the_ceiling_is_429(void **state)
{
    struct world w;
    int fd;

    (void)state;
    world_with(&w, (struct gateway_options){.in_flight_max = 1}, (const char *const[]){"late: slow; out < slow", NULL}, NULL);
    fd = connect_rest(&w);
    assert_int_equal(dprintf(fd, "POST /v2/pipelines/late/infer HTTP/1.1\r\nHost: h\r\nContent-Length: %zu\r\n\r\n" BODY, strlen(BODY)) > 0, 1);
    settle(&w);
    assert_in(rest(&w, "POST /v2/pipelines/late/infer", "", BODY), "429 Too Many Requests");
    assert_in(buf_cstr(&w.got), "retry-after: 1\r\n");
    assert_true(fake_upstream_finish(w.f.up, "slow"));
    assert_in(read_rest(&w, fd), "200 OK");
    close(fd);
    world_free(&w);
}

static void readiness_health_and_metadata(void **state)
{
    struct world w;

    (void)state;
    world_new(&w);
    assert_in(rest(&w, "GET /v2/health/live", "", ""), "200 OK");
    assert_in(rest(&w, "GET /v2/health/ready", "", ""), "200 OK");
    assert_in(rest(&w, "GET /v2/pipelines/chain/ready", "", ""), "200 OK");
    assert_in(rest(&w, "GET /v2/models/mul10/ready", "", ""), "200 OK");
    assert_in(rest(&w, "GET /v2/models/x/ready", "seldon-model: chain.pipeline\r\n", ""), "200 OK");
    assert_in(rest(&w, "GET /v2/pipelines/nosuch/ready", "", ""), "404 ");
    w.f.up->not_ready = true;
    assert_in(rest(&w, "GET /v2/pipelines/chain/ready", "", ""), "424 Failed Dependency");
    assert_in(buf_cstr(&w.got), "{\"error\":\"step ");
    w.ready = false;
    assert_in(rest(&w, "GET /v2/pipelines/chain/ready", "", ""), "503 ");
    assert_in(rest(&w, "GET /v2/health/ready", "", ""), "503 Service Unavailable");
    assert_in(buf_cstr(&w.got), "{\"error\":\"the log is not ready\"}");
    assert_in(rest(&w, "GET /v2", "", ""), "{\"name\":\"millrace\",\"version\":\"9.9\",\"extensions\":[");
    assert_in(rest(&w, "GET /v2/pipelines/chain", "", ""), "{\"name\":\"chain\",\"versions\":[\"1\"],\"platform\":\"pipeline\"");
    assert_in(rest(&w, "GET /v2/models/nosuch", "", ""), "404 ");
    assert_in(rest(&w, "POST /v2/repository/index", "", ""), "\"name\":\"mul10\"");
    world_free(&w);
}

static void metrics_count_by_pipeline_method_and_code(void **state)
{
    struct world w;
    const char *got;

    (void)state;
    world_new(&w);
    rest(&w, "POST /v2/pipelines/chain/infer", "", BODY);
    rest(&w, "POST /v2/pipelines/chain/infer", "", BODY);
    rest(&w, "POST /v2/pipelines/chain/infer", "", "{");
    rest(&w, "POST /v2/pipelines/not-there-1/infer", "", BODY);
    rest(&w, "POST /v2/pipelines/not-there-2/infer", "", BODY);
    got = rest(&w, "GET /metrics", "", "");
    assert_in(got, "content-type: text/plain");
    assert_in(got, "# TYPE seldon_pipeline_infer_total counter\n");
    assert_in(got, "seldon_pipeline_infer_total{server=\"pipeline-gateway\",pipeline=\"chain\",method_type=\"rest\",code=\"200\"} 2\n");
    assert_in(got, "seldon_pipeline_infer_total{server=\"pipeline-gateway\",pipeline=\"chain\",method_type=\"rest\",code=\"400\"} 1\n");
    assert_in(got, "seldon_pipeline_infer_total{server=\"pipeline-gateway\",pipeline=\"\",method_type=\"rest\",code=\"404\"} 2\n");
    assert_in(got, "seldon_pipeline_aggregate_infer_total{server=\"pipeline-gateway\",method_type=\"rest\"} 5\n");
    assert_in(got, "seldon_pipeline_infer_api_seconds_bucket{server=\"pipeline-gateway\",pipeline=\"chain\",method=\"rest\",code=\"200\",le=\"+Inf\"} 2\n");
    assert_in(got, "\nmillrace_gateway_in_flight 0\n");
    world_free(&w);
}

static void management(void *ctx, struct exchange *x)
{
    struct buf body = {0};

    buf_printf(&body, "%s " STR_FMT, (const char *)ctx, STR_ARG(x->path));
    exchange_respond(x, 200, NULL, 0, &body);
}

static void other_parts_plug_in_their_paths(void **state)
{
    struct world w;

    (void)state;
    world_new(&w);
    gateway_route(w.g, STR("/v2/control/"), management, "control");
    gateway_route(w.g, STR("/v2/control/topics"), management, "topics");
    assert_in(rest(&w, "GET /v2/control/resources", "", ""), "control /v2/control/resources");
    assert_in(rest(&w, "GET /v2/control/topics/a", "", ""), "topics /v2/control/topics/a");
    assert_in(rest(&w, "GET /v2/controls", "", ""), "404 ");
    world_free(&w);
}

static void the_originals_status_mapping_can_be_had(void **state)
{
    struct world w;

    (void)state;
    world_with(&w, (struct gateway_options){.status_seldon = true},
               (const char *const[]){"bad: unavail; out < unavail", NULL}, NULL);
    assert_in(rest(&w, "POST /v2/pipelines/bad/infer", "", BODY), "400 Bad Request");
    assert_in(rest(&w, "POST /v2/pipelines/nosuch/infer", "", BODY), "500 Internal Server Error");
    world_free(&w);
}

static void binary_tensors_come_and_go_behind_the_json(void **state)
{
    static const char json[] = "{\"inputs\":[{\"name\":\"INPUT\",\"shape\":[2],\"datatype\":\"FP32\",\"parameters\":{\"binary_data_size\":8}}],"
                               "\"parameters\":{\"binary_data_output\":true}}";
    const float data[2] = {1.5f, 2};
    struct world w;
    int fd;

    (void)state;
    world_new(&w);
    fd = connect_rest(&w);
    assert_true(dprintf(fd, "POST /v2/models/mul10/infer HTTP/1.1\r\nHost: h\r\nInference-Header-Content-Length: %zu\r\nContent-Length: %zu\r\n\r\n%s",
                        strlen(json), strlen(json) + 8, json) > 0);
    assert_int_equal(write(fd, data, 8), 8);
    read_rest(&w, fd);
    assert_in(buf_cstr(&w.got), "200 OK");
    assert_in(buf_cstr(&w.got), "content-type: application/octet-stream\r\n");
    assert_in(buf_cstr(&w.got), "inference-header-content-length: ");
    assert_memory_equal(w.got.p + w.got.n - 8, ((float[]){15, 20}), 8);
    close(fd);
    world_free(&w);
}

/* ---- gRPC ---- */

struct grpc { struct h2_call call; struct buf data, message, headers; int status, ended; };

static void on_header(struct h2_call *c, struct str name, struct str value, bool trailer)
{
    struct grpc *r = container_of(c, struct grpc, call);
    int64_t n;

    if (str_is(name, "grpc-status") && str_to_i64(value, &n)) r->status = (int)n;
    if (str_is(name, "grpc-message")) grpc_message_decode(&r->message, value);
    buf_printf(&r->headers, "%s" STR_FMT ": " STR_FMT "\n", trailer ? "trailer " : "", STR_ARG(name), STR_ARG(value));
}

static void on_data(struct h2_call *c, struct bytes data)
{
    buf_append(&container_of(c, struct grpc, call)->data, data);
}

static void on_ended(struct h2_call *c, const struct err *e)
{
    (void)e;
    container_of(c, struct grpc, call)->ended++;
}

static void grpc_fini(struct grpc *r)
{
    buf_fini(&r->data);
    buf_fini(&r->message);
    buf_fini(&r->headers);
}

/* Starts a call; more: up to four further headers. */
static void grpc_start(struct world *w, struct grpc *r, const char *path, struct bytes body, const struct header *more, size_t n)
{
    struct header h[10] = {HEADER(":method", STR("POST")), HEADER(":scheme", STR("http")), HEADER(":path", str_of(path)),
                           HEADER(":authority", STR("h")), HEADER("te", STR("trailers")), HEADER("content-type", STR("application/grpc"))};
    const struct h2_client_owner owner = {on_opened, on_opened, on_closed, w};
    struct err e;

    if (n) memcpy(h + 6, more, n * sizeof *more);
    *r = (struct grpc){.status = -1};
    if (!w->h2) w->h2 = h2_client_shared_new();
    if (!w->client) assert_int_equal(h2_client_open(w->tcp, w->h2, gateway_door_addr(w->door), &owner, &w->client, &e), RC_OK);
    r->call = (struct h2_call){.headers = h, .headers_n = 6 + n, .body = {body}, .header = on_header, .data = on_data, .ended = on_ended};
    assert_int_equal(h2_call_start(w->client, &r->call, &e), RC_OK);
    settle(w);
}

static struct buf framed(struct bytes message, bool compressed)
{
    struct buf b = {0};

    grpc_frame_put(buf_grow(&b, 5), compressed, (uint32_t)message.n);
    buf_append(&b, message);
    return b;
}

static void grpc_wait(struct world *w, struct grpc *r)
{
    for (int i = 0; i < 2000 && !r->ended; i++)
        settle(w);
    assert_int_equal(r->ended, 1);
}

static void grpc(struct world *w, struct grpc *r, const char *path, struct bytes message, const struct header *more, size_t n)
{
    struct buf body = framed(message, false);

    grpc_start(w, r, path, buf_view(&body), more, n);
    grpc_wait(w, r);
    buf_fini(&body);
}

static struct bytes answer_of(struct grpc *r)
{
    assert_true(r->data.n >= 5 && r->data.p[0] == 0 && load_be32(r->data.p + 1) == r->data.n - 5);
    return bytes_of(r->data.p + 5, r->data.n - 5);
}

#define SERVICE "/inference.GRPCInferenceService/"

static void grpc_calls_are_routed_by_header_and_by_name(void **state)
{
    struct world w;
    struct grpc r;
    struct buf m = {0};
    const struct header pipeline[] = {HEADER("seldon-model", STR("chain.pipeline")), HEADER("x-request-id", STR("a")),
                                      HEADER("x-request-id", STR("b")), HEADER("x-who", STR("me"))};

    (void)state;
    world_new(&w);
    message_write(&m, "INPUT=1,2");
    grpc(&w, &r, SERVICE "ModelInfer", buf_view(&m), pipeline, 4);
    assert_int_equal(r.status, GRPC_OK);
    assert_string_equal(message_text(answer_of(&r)), "OUTPUT=20,30");
    assert_in(buf_cstr(&r.headers), "\nx-request-id: 0.chain.b\n");
    assert_in(buf_cstr(&r.headers), "\nx-who: me\n");
    assert_not_in(buf_cstr(&r.headers), "x-request-id: a\n");
    assert_in(buf_cstr(&r.headers), "trailer grpc-status: 0\n");
    grpc_fini(&r);
    pb_put_str(&m, 1, STR("mul10"));
    grpc(&w, &r, SERVICE "ModelInfer", buf_view(&m), NULL, 0);
    assert_int_equal(r.status, GRPC_OK);
    assert_string_equal(message_text(answer_of(&r)), "OUTPUT=10,20");
    grpc_fini(&r);
    buf_fini(&m);
    world_free(&w);
}

static void grpc_errors_carry_code_and_text(void **state)
{
    struct world w;
    struct grpc r;
    struct buf m = {0};

    (void)state;
    world_new(&w);
    message_write(&m, "INPUT=1,2");
    grpc(&w, &r, SERVICE "ModelInfer", buf_view(&m), (struct header[]){HEADER("seldon-model", STR("bad.pipeline"))}, 1);
    assert_int_equal(r.status, GRPC_INVALID_ARGUMENT);
    assert_in(buf_cstr(&r.message), "error : rpc error: code = InvalidArgument desc = ");
    assert_int_equal(r.data.n, 0);
    grpc_fini(&r);
    grpc(&w, &r, SERVICE "ModelInfer", buf_view(&m), (struct header[]){HEADER("seldon-model", STR("nosuch"))}, 1);
    assert_int_equal(r.status, GRPC_NOT_FOUND);
    grpc_fini(&r);
    grpc(&w, &r, SERVICE "ModelInfer", buf_view(&m), NULL, 0);
    assert_int_equal(r.status, GRPC_INVALID_ARGUMENT);
    grpc_fini(&r);
    grpc(&w, &r, SERVICE "ModelInfer", str_bytes(STR("\xff\xff")), (struct header[]){HEADER("seldon-model", STR("mul10"))}, 1);
    assert_int_equal(r.status, GRPC_INVALID_ARGUMENT);
    grpc_fini(&r);
    grpc(&w, &r, SERVICE "ModelInfer", buf_view(&m), (struct header[]){HEADER("seldon-model", STR("mul10")), HEADER("grpc-timeout", STR("5x"))}, 2);
    assert_int_equal(r.status, GRPC_INVALID_ARGUMENT);
    grpc_fini(&r);
    grpc(&w, &r, SERVICE "Nothing", buf_view(&m), NULL, 0);
    assert_int_equal(r.status, GRPC_UNIMPLEMENTED);
    grpc_fini(&r);
    grpc(&w, &r, "/other.Service/Do", buf_view(&m), NULL, 0);
    assert_int_equal(r.status, GRPC_UNIMPLEMENTED);
    grpc_fini(&r);
    buf_fini(&m);
    world_free(&w);
}

static void grpc_frames_are_checked(void **state)
{
    static const struct { const char *bytes; size_t n; const char *encoding; int status; } cases[] = {
        {"", 0, NULL, GRPC_INVALID_ARGUMENT},
        {"\0\0\0", 3, NULL, GRPC_INVALID_ARGUMENT},
        {"\0\0\0\0\5ab", 7, NULL, GRPC_INVALID_ARGUMENT},
        {"\7\0\0\0\0", 5, NULL, GRPC_INVALID_ARGUMENT},
        {"\1\0\0\0\1x", 6, NULL, GRPC_INVALID_ARGUMENT},
        {"\1\0\0\0\1x", 6, "gzip", GRPC_INVALID_ARGUMENT},
        {"\0\0\0\0\0", 5, "br", GRPC_UNIMPLEMENTED},
        {"\0\x7f\xff\xff\xff", 5, NULL, GRPC_RESOURCE_EXHAUSTED},
        {"\0\0\0\0\0\0\0\0\0\0", 10, NULL, GRPC_INVALID_ARGUMENT},
    };
    struct world w;
    struct grpc r;

    (void)state;
    world_new(&w);
    for (size_t i = 0; i < countof(cases); i++) {
        const struct header encoding = HEADER("grpc-encoding", str_of(cases[i].encoding));

        grpc_start(&w, &r, SERVICE "ServerReady", bytes_of(cases[i].bytes, cases[i].n), &encoding, cases[i].encoding ? 1 : 0);
        grpc_wait(&w, &r);
        if (r.status != cases[i].status) fail_msg("case %zu: status %d", i, r.status);
        if (cases[i].status == GRPC_UNIMPLEMENTED) assert_in(buf_cstr(&r.headers), "grpc-accept-encoding: identity,gzip");
        grpc_fini(&r);
    }
    world_free(&w);
}

static void a_gzipped_message_is_read(void **state)
{
    /* gzip of the ModelReadyRequest {name: "mul10"} */
    static const uint8_t zipped[] = {0x1f, 0x8b, 0x08, 0x00, 0x00, 0x00, 0x00, 0x00, 0x02, 0x03, 0xe3, 0x62, 0xcd, 0x2d, 0xcd, 0x31, 0x34, 0x00, 0x00, 0x8b, 0xf7, 0xdb, 0xf5, 0x07, 0x00, 0x00, 0x00};
    struct world w;
    struct grpc r;
    struct buf body = framed(bytes_of(zipped, sizeof zipped), true);
    const struct header encoding = HEADER("grpc-encoding", STR("gzip"));

    (void)state;
    world_new(&w);
    grpc_start(&w, &r, SERVICE "ModelReady", buf_view(&body), &encoding, 1);
    settle(&w);
    fixture_advance(&w.f, 100);                  /* the model's topics are made meanwhile */
    grpc_wait(&w, &r);
    assert_int_equal(r.status, GRPC_OK);
    assert_memory_equal(answer_of(&r).p, "\x08\x01", 2);
    grpc_fini(&r);
    buf_fini(&body);
    world_free(&w);
}

static void a_large_message_comes_and_goes(void **state)
{
    struct world w;
    struct grpc r;
    struct buf m = {0};
    size_t at = 0, shape = 0, raw = 1 << 23;
    struct arena a = {0};
    struct infer_view v;
    struct err e;

    (void)state;
    world_with(&w, (struct gateway_options){.message_bytes_max = 16 << 20}, (const char *const[]){"p: raw; out < raw", NULL}, NULL);
    at = pb_begin(&m, 5);
    pb_put_str(&m, 1, STR("INPUT"));
    pb_put_str(&m, 2, STR("UINT8"));
    shape = pb_begin(&m, 3);
    pb_put_varint(&m, raw);
    pb_end(&m, shape);
    pb_end(&m, at);
    pb_put_len(&m, 7, raw);
    memset(buf_grow(&m, raw), 7, raw);
    grpc(&w, &r, SERVICE "ModelInfer", buf_view(&m), (struct header[]){HEADER("seldon-model", STR("p.pipeline"))}, 1);
    assert_int_equal(r.status, GRPC_OK);
    assert_int_equal(infer_parse(answer_of(&r), INFER_RESPONSE, &a, &v, &e), RC_OK);
    assert_int_equal(v.tensors[0].raw.n, raw);
    arena_fini(&a);
    grpc_fini(&r);
    buf_fini(&m);
    world_free(&w);
}

static void a_grpc_client_that_gives_up_cancels(void **state)
{
    struct world w;
    struct grpc r;
    struct buf m = {0}, body;

    (void)state;
    world_new(&w);
    message_write(&m, "INPUT=1,2");
    body = framed(buf_view(&m), false);
    grpc_start(&w, &r, SERVICE "ModelInfer", buf_view(&body), (struct header[]){HEADER("seldon-model", STR("late.pipeline"))}, 1);
    for (int i = 0; i < 2000 && !w.f.up->calls_n; i++)
        settle(&w);
    h2_call_reset(&r.call);
    for (int i = 0; i < 2000 && !w.f.up->cancelled; i++)
        settle(&w);
    assert_int_equal(w.f.up->cancelled, 1);
    grpc_fini(&r);
    grpc_start(&w, &r, SERVICE "ModelInfer", buf_view(&body),
               (struct header[]){HEADER("seldon-model", STR("late.pipeline")), HEADER("grpc-timeout", STR("300m"))}, 2);
    for (int i = 0; i < 2000 && !w.f.up->calls_n; i++)
        settle(&w);
    fixture_advance(&w.f, 301);
    grpc_wait(&w, &r);
    assert_int_equal(r.status, GRPC_DEADLINE_EXCEEDED);
    grpc_fini(&r);
    buf_fini(&m);
    buf_fini(&body);
    world_free(&w);
}

static void all_unary_methods_answer(void **state)
{
    struct world w;
    struct grpc r;
    struct buf m = {0};
    struct arena a = {0};
    struct server_metadata sm;
    struct repository_index index;
    struct err e;

    (void)state;
    world_new(&w);
    grpc(&w, &r, SERVICE "ServerLive", (struct bytes){0}, NULL, 0);
    assert_memory_equal(answer_of(&r).p, "\x08\x01", 2);
    grpc_fini(&r);
    w.ready = false;
    grpc(&w, &r, SERVICE "ServerReady", (struct bytes){0}, NULL, 0);
    assert_int_equal(r.status, GRPC_OK);
    assert_int_equal(answer_of(&r).n, 0);
    grpc_fini(&r);
    grpc(&w, &r, "/grpc.health.v1.Health/Check", (struct bytes){0}, NULL, 0);
    assert_memory_equal(answer_of(&r).p, "\x08\x02", 2);
    grpc_fini(&r);
    w.ready = true;
    grpc(&w, &r, "/grpc.health.v1.Health/Check", (struct bytes){0}, NULL, 0);
    assert_memory_equal(answer_of(&r).p, "\x08\x01", 2);
    grpc_fini(&r);
    grpc(&w, &r, SERVICE "ServerMetadata", (struct bytes){0}, NULL, 0);
    assert_int_equal(server_metadata_decode(answer_of(&r), &a, &sm, &e), RC_OK);
    assert_str(sm.version, "9.9");
    grpc_fini(&r);
    grpc(&w, &r, SERVICE "RepositoryIndex", (struct bytes){0}, NULL, 0);
    assert_int_equal(repository_index_decode(answer_of(&r), &a, &index, &e), RC_OK);
    assert_true(index.models_n >= 3);
    grpc_fini(&r);
    model_ref_encode(&(struct model_ref){STR("chain.pipeline"), {0}}, &m);
    grpc(&w, &r, SERVICE "ModelReady", buf_view(&m), NULL, 0);
    assert_memory_equal(answer_of(&r).p, "\x08\x01", 2);
    grpc_fini(&r);
    grpc(&w, &r, SERVICE "ModelMetadata", buf_view(&m), NULL, 0);
    assert_int_equal(r.status, GRPC_OK);
    grpc_fini(&r);
    buf_clear(&m);
    model_ref_encode(&(struct model_ref){STR("nosuch"), {0}}, &m);
    grpc(&w, &r, SERVICE "ModelReady", buf_view(&m), NULL, 0);
    assert_int_equal(r.status, GRPC_NOT_FOUND);
    grpc_fini(&r);
    buf_fini(&m);
    arena_fini(&a);
    world_free(&w);
}

static void reflection_is_answered_message_by_message(void **state)
{
    struct world w;
    struct grpc r;
    struct buf ask = {0}, body = {0};

    (void)state;
    world_new(&w);
    pb_put_bytes(&ask, 7, (struct bytes){0});    /* list_services */
    for (int i = 0; i < 2; i++) {
        struct buf one = framed(buf_view(&ask), false);

        buf_append(&body, buf_view(&one));
        buf_fini(&one);
    }
    grpc_start(&w, &r, "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", buf_view(&body), NULL, 0);
    grpc_wait(&w, &r);
    assert_int_equal(r.status, GRPC_OK);
    assert_true(r.data.n > 10 && 2 * (load_be32(r.data.p + 1) + 5) == r.data.n);
    assert_non_null(memmem(r.data.p, r.data.n, "inference.GRPCInferenceService", 30));
    grpc_fini(&r);
    grpc(&w, &r, "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", str_bytes(STR("\xff")), NULL, 0);
    assert_int_equal(r.status, GRPC_INVALID_ARGUMENT);
    grpc_fini(&r);
    buf_fini(&ask);
    buf_fini(&body);
    world_free(&w);
}

static void on_drained(void *ctx)
{
    *(bool *)ctx = true;
}

static void draining_lets_running_requests_finish(void **state)
{
    struct world w;
    bool drained = false;
    int fd;

    (void)state;
    world_new(&w);
    fd = connect_rest(&w);
    assert_true(dprintf(fd, "POST /v2/pipelines/late/infer HTTP/1.1\r\nHost: h\r\nContent-Length: %zu\r\n\r\n" BODY, strlen(BODY)) > 0);
    settle(&w);
    gateway_drain(w.g, clock_mono_ms(&w.f.clock.clock) + 5000, on_drained, &drained);
    fixture_advance(&w.f, 100);
    settle(&w);
    assert_false(drained);
    assert_true(fake_upstream_finish(w.f.up, "slow"));
    assert_in(read_rest(&w, fd), "200 OK");
    assert_in(buf_cstr(&w.got), "connection: close");
    close(fd);
    settle(&w);
    fixture_advance(&w.f, 100);
    settle(&w);
    assert_true(drained);
    world_free(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_pipeline_answers_in_json_with_both_request_ids),
        cmocka_unit_test(routing_headers_win_over_a_models_path_only),
        cmocka_unit_test(what_is_wrong_gets_its_status_and_a_sentence),
        cmocka_unit_test(a_pipeline_without_output_accepts),
        cmocka_unit_test(a_request_without_an_id_gets_one),
        cmocka_unit_test(a_deadline_is_504_and_a_client_that_leaves_cancels),
        cmocka_unit_test(beyond_the_ceiling_is_429),
        cmocka_unit_test(readiness_health_and_metadata),
        cmocka_unit_test(metrics_count_by_pipeline_method_and_code),
        cmocka_unit_test(other_parts_plug_in_their_paths),
        cmocka_unit_test(the_originals_status_mapping_can_be_had),
        cmocka_unit_test(binary_tensors_come_and_go_behind_the_json),
        cmocka_unit_test(grpc_calls_are_routed_by_header_and_by_name),
        cmocka_unit_test(grpc_errors_carry_code_and_text),
        cmocka_unit_test(grpc_frames_are_checked),
        cmocka_unit_test(a_gzipped_message_is_read),
        cmocka_unit_test(a_large_message_comes_and_goes),
        cmocka_unit_test(a_grpc_client_that_gives_up_cancels),
        cmocka_unit_test(all_unary_methods_answer),
        cmocka_unit_test(reflection_is_answered_message_by_message),
        cmocka_unit_test(draining_lets_running_requests_finish),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
