/* The gateway over HTTP/1.1, as REST callers see it. SPDX-License-Identifier: Apache-2.0 */
#include "world.h"

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

    buf_printf(&b, "%s HTTP/1.1\r\nHost: h\r\n%sContent-Length: %zu\r\n\r\n%s", line, more,
               strlen(body), body);
    assert_int_equal(write(fd, b.p, b.n), b.n);
    buf_fini(&b);
    read_rest(w, fd);
    close(fd);
    settle(w);
    return buf_cstr(&w->got);
}

#define BODY                                                                                       \
    "{\"inputs\":[{\"name\":\"INPUT\",\"shape\":[1,4],\"datatype\":\"FP32\",\"data\":[1,2,3,4]}]}"

static void a_pipeline_answers_in_json_with_both_request_ids(void **state)
{
    struct world w;
    const char *got;

    (void)state;
    world_new(&w);
    got = rest(&w, "POST /v2/pipelines/chain/infer",
               "X-Request-Id: my-id\r\nX-Who: me\r\nx-who: you\r\nAccept: */*\r\n", BODY);
    assert_in(got, "HTTP/1.1 200 OK\r\nx-request-id: 0.chain.my-id\r\n");
    assert_in(got, "\r\nx-request-id: my-id\r\n");
    assert_in(got, "\r\nx-who: me\r\nx-who: you\r\n");
    assert_in(got, "\r\nx-pipeline-version: 1\r\n");
    assert_in(got, "content-type: application/json\r\n");
    assert_in(got, "{\"model_name\":\"\",\"outputs\":[{\"data\":[20,30,40,50],\"name\":\"OUTPUT\","
                   "\"shape\":[1,4],\"datatype\":\"FP32\"}]}");
    assert_not_in(got, "accept:");
    world_free(&w);
}

static void routing_headers_win_over_a_models_path_only(void **state)
{
    struct world w;

    (void)state;
    world_new(&w);
    assert_in(rest(&w, "POST /v2/models/whatever/infer", "seldon-model: chain.pipeline\r\n", BODY),
              "[20,30,40,50]");
    assert_in(rest(&w, "POST /v2/models/whatever/infer",
                   "seldon-model: x\r\nseldon-model: mul10\r\n", BODY),
              "[10,20,30,40]");
    assert_in(rest(&w, "POST /v2/models/whatever/infer",
                   "seldon-model: mul10.model\r\nseldon-internal-model: chain.pipeline\r\n", BODY),
              "[20,30,40,50]");
    assert_in(rest(&w, "POST /v2/pipelines/chain/infer", "seldon-model: mul10\r\n", BODY),
              "[20,30,40,50]");
    assert_in(rest(&w, "POST /v2/models/mul10/infer", "", BODY), "[10,20,30,40]");
    assert_in(rest(&w, "POST /v2/models/mul10/versions/1/infer", "", BODY), "[10,20,30,40]");
    assert_in(rest(&w, "POST /v2/models/chain/infer", "", BODY),
              "[20,30,40,50]"); /* no model of that name */
    assert_in(rest(&w, "POST /v2/models/mul10/versions/7/infer", "", BODY), "404 Not Found");
    assert_in(rest(&w, "POST /v2/models/x/infer", "seldon-model: a.b.c\r\n", BODY),
              "400 Bad Request");
    assert_in(rest(&w, "POST /v2/models/x/infer", "seldon-model:  \r\n", BODY), "400 Bad Request");
    assert_in(rest(&w, "POST /v2/models/x/infer", "seldon-model: chain.foo\r\n", BODY),
              "400 Bad Request");
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
    assert_in(rest(&w, "POST /v2/pipelines/chain/infer", "x-request-timeout: soon\r\n", BODY),
              "400 Bad Request");
    assert_in(rest(&w, "POST /v2/pipelines/chain/infer", "Inference-Header-Content-Length: 999\r\n",
                   BODY),
              "400 Bad Request");
    assert_in(rest(&w, "POST /v2/pipelines/bad/infer", "x-request-id: e1\r\n", BODY),
              "400 Bad Request");
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
        const char *got =
            strstr(rest(&w, "POST /v2/pipelines/chain/infer", i ? "x-request-id:\r\n" : "", BODY),
                   "0.chain.");

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
    assert_int_equal(dprintf(fd,
                             "POST /v2/pipelines/late/infer HTTP/1.1\r\nHost: "
                             "h\r\nX-Request-Timeout: 0.5\r\nContent-Length: %zu\r\n\r\n" BODY,
                             strlen(BODY)) > 0,
                     1);
    assert_string_equal(read_rest(&w, fd), "");
    fixture_advance(&w.f, 499);
    assert_string_equal(read_rest(&w, fd), "");
    fixture_advance(&w.f, 2);
    assert_in(read_rest(&w, fd), "504 Gateway Timeout");
    close(fd);
    fd = connect_rest(&w);
    assert_int_equal(
        dprintf(
            fd,
            "POST /v2/pipelines/late/infer HTTP/1.1\r\nHost: h\r\nContent-Length: %zu\r\n\r\n" BODY,
            strlen(BODY)) > 0,
        1);
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
    world_with(&w, (struct gateway_options){.in_flight_max = 1},
               (const char *const[]){"late: slow; out < slow", NULL}, NULL);
    fd = connect_rest(&w);
    assert_int_equal(
        dprintf(
            fd,
            "POST /v2/pipelines/late/infer HTTP/1.1\r\nHost: h\r\nContent-Length: %zu\r\n\r\n" BODY,
            strlen(BODY)) > 0,
        1);
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
    assert_in(rest(&w, "GET /v2", "", ""),
              "{\"name\":\"millrace\",\"version\":\"9.9\",\"extensions\":[");
    assert_in(rest(&w, "GET /v2/pipelines/chain", "", ""),
              "{\"name\":\"chain\",\"versions\":[\"1\"],\"platform\":\"pipeline\"");
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
    assert_in(got, "seldon_pipeline_infer_total{server=\"pipeline-gateway\",pipeline=\"chain\","
                   "method_type=\"rest\",code=\"200\"} 2\n");
    assert_in(got, "seldon_pipeline_infer_total{server=\"pipeline-gateway\",pipeline=\"chain\","
                   "method_type=\"rest\",code=\"400\"} 1\n");
    assert_in(got, "seldon_pipeline_infer_total{server=\"pipeline-gateway\",pipeline=\"\",method_"
                   "type=\"rest\",code=\"404\"} 2\n");
    assert_in(got, "seldon_pipeline_aggregate_infer_total{server=\"pipeline-gateway\",method_type="
                   "\"rest\"} 5\n");
    assert_in(got, "seldon_pipeline_infer_api_seconds_bucket{server=\"pipeline-gateway\",pipeline="
                   "\"chain\",method=\"rest\",code=\"200\",le=\"+Inf\"} 2\n");
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
    static const char json[] = "{\"inputs\":[{\"name\":\"INPUT\",\"shape\":[2],\"datatype\":"
                               "\"FP32\",\"parameters\":{\"binary_data_size\":8}}],"
                               "\"parameters\":{\"binary_data_output\":true}}";
    const float data[2] = {1.5f, 2};
    struct world w;
    int fd;

    (void)state;
    world_new(&w);
    fd = connect_rest(&w);
    assert_true(
        dprintf(fd,
                "POST /v2/models/mul10/infer HTTP/1.1\r\nHost: "
                "h\r\nInference-Header-Content-Length: %zu\r\nContent-Length: %zu\r\n\r\n%s",
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
    assert_true(
        dprintf(
            fd,
            "POST /v2/pipelines/late/infer HTTP/1.1\r\nHost: h\r\nContent-Length: %zu\r\n\r\n" BODY,
            strlen(BODY)) > 0);
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
        cmocka_unit_test(draining_lets_running_requests_finish),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
