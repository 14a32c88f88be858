/* Management over HTTP: a real executor on a log in memory, requests through a socket. SPDX-License-Identifier: Apache-2.0 */
#include "control/api.h"
#include "net/http_server.h"
#include "support/flow_fixture.h"
#include "test.h"
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

struct world {
    struct fixture f;
    struct tcp *tcp;
    struct http_server *server;
    struct control *control;
    struct control_api *api;
    bool started, stopped;
    struct buf got;
    const char *peer;
};

static void publish(void *ctx, struct flow_snapshot *s, struct msg *taken)
{
    struct world *w = ctx;
    flow_use(w->f.flow, s);
    flow_snapshot_unref(&s);
    mailbox_post(loop_mailbox(w->f.loop), taken);
}

static void started(void *ctx, const struct err *e)
{
    ((struct world *)ctx)->started = e->rc == RC_OK;
}

static void stopped(void *ctx)
{
    ((struct world *)ctx)->stopped = true;
}

static void world_new(struct world *w)
{
    *w = (struct world){.peer = "127.0.0.1:1234"};
    fixture_options(&w->f);
    fixture_open(&w->f);
    struct control_options o = {.loop = w->f.loop,
                                .bus = &w->f.bus->bus,
                                .topic_prefix = STR("seldon"),
                                .topic_namespace = STR("default"),
                                .replication = 1,
                                .message_bytes_max = 1 << 20,
                                .publish = publish,
                                .started = started,
                                .ctx = w};
    w->control = control_new(&o);
    w->api = control_api_new(w->f.loop, w->control, w->f.flow, STR("9.9"));
    w->tcp = tcp_new(w->f.loop);
    struct http_options h = {.handler = {.request = control_api_request, .ctx = w->api}};
    w->server = http_server_new(w->tcp, &h);
    fixture_settle(&w->f);
    assert_true(w->started);
}

static void world_free(struct world *w)
{
    http_server_free(w->server);
    tcp_free(w->tcp);
    control_stop(w->control, stopped, w);
    fixture_settle(&w->f);
    assert_true(w->stopped);
    control_api_free(w->api);
    fixture_close(&w->f);
    buf_fini(&w->got);
}

static int open_peer(struct world *w)
{
    struct addr peer;
    int fds[2];
    assert_true(addr_literal(str_of(w->peer), &peer));
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
    http_server_accept(w->server, fds[0], &peer, NULL);
    return fds[1];
}

static void settle(struct world *w)
{
    for (int i = 0; i < 8; i++)
        fixture_settle(&w->f);
}

static void send_request(int fd, const char *line, const char *more, const char *body)
{
    struct buf b = {0};
    buf_printf(&b, "%s HTTP/1.1\r\nHost: 127.0.0.1:9000\r\n%sContent-Length: %zu\r\n\r\n%s", line,
               more, strlen(body), body);
    assert_int_equal(write(fd, b.p, b.n), b.n);
    buf_fini(&b);
}

static const char *ask(struct world *w, const char *line, const char *more, const char *body)
{
    char part[65536];
    ssize_t n;
    int fd = open_peer(w);
    send_request(fd, line, more, body);
    settle(w);
    buf_clear(&w->got);
    while ((n = read(fd, part, sizeof part)) > 0)
        buf_append(&w->got, bytes_of(part, (size_t)n));
    close(fd);
    settle(w);
    return buf_cstr(&w->got);
}

#define assert_in(text, what)                                                                      \
    do {                                                                                           \
        const char *t_ = (text);                                                                   \
        if (!strstr(t_, (what))) fail_msg("wanted \"%s\" in: %s", (what), t_);                     \
    } while (0)
#define M(name) "kind: Model\nmetadata: {name: " name "}\nspec: {server: toy}\n---\n"
#define HOUSE                                                                                      \
    M("mul10")                                                                                     \
    M("add10") "kind: Server\nmetadata: {name: toy}\nspec: {address: 'h:1', capabilities: "        \
               "[toy]}\n---\n"                                                                     \
               "kind: Pipeline\nmetadata: {name: chain}\nspec:\n  steps:\n  - name: mul10\n  - "   \
               "name: add10\n    inputs: [mul10]\n"                                                \
               "    tensorMap: {mul10.outputs.OUTPUT: INPUT}\n  output: {steps: [add10]}\n"

static void resources_are_applied_listed_and_deleted(void **state)
{
    (void)state;
    struct world w;
    world_new(&w);
    assert_in(ask(&w, "POST /millrace/v1/apply", "", HOUSE), "HTTP/1.1 200 OK\r\n");
    assert_in(buf_cstr(&w.got), "content-type: application/json\r\n");
    assert_in(buf_cstr(&w.got), "{\"kind\":\"Pipeline\",\"name\":\"chain\",\"version\":1,"
                                "\"action\":\"created\"}],\"warnings\":[]}\n");
    assert_in(ask(&w, "GET /millrace/v1/resources", "", ""),
              "{\"resources\":[{\"kind\":\"Server\",\"name\":\"toy\"");
    assert_in(buf_cstr(&w.got), ",\"ready\":true,\"status\":\"ready\"}]}\n");
    assert_in(ask(&w, "GET /millrace/v1/pipelines/chain", "", ""),
              "\"output\":[\"add10.outputs\"]");
    assert_in(ask(&w, "GET /millrace/v1/models", "", ""),
              "\"target\":{\"kind\":\"grpc\",\"address\":\"h:1\",\"model\":\"add10\"}");
    assert_in(ask(&w, "DELETE /millrace/v1/model/add10", "", ""), "409 Conflict");
    assert_in(ask(&w, "DELETE /millrace/v1/server/toy", "", ""), "Server toy serves add10");
    assert_in(ask(&w, "DELETE /millrace/v1/model/add10?force=true", "", ""),
              "\"warnings\":[{\"message\":\"it is a step of chain\"}]");
    assert_in(ask(&w, "GET /millrace/v1/model/add10", "", ""), "404 Not Found");
    assert_in(buf_cstr(&w.got), "{\"error\":\"Model add10 does not exist\"}\n");
    assert_in(ask(&w, "GET /millrace/v1/pipeline/chain", "", ""), "\"ready\":false,\"status\":\"");
    world_free(&w);
}

static void a_model_that_is_not_ready_shows(void **state)
{
    (void)state;
    struct world w;
    world_new(&w);
    ask(&w, "POST /millrace/v1/apply", "", HOUSE);
    w.f.up->not_ready_model = STR("mul10");
    assert_in(ask(&w, "GET /millrace/v1/models/mul10", "", ""), ",\"ready\":false,\"status\":\"");
    assert_in(ask(&w, "GET /millrace/v1/models/add10", "", ""),
              ",\"ready\":true,\"status\":\"ready\"}\n");
    assert_in(ask(&w, "GET /millrace/v1/pipelines/chain", "", ""),
              ",\"ready\":false,\"status\":\"");
    world_free(&w);
}

static void problems_come_with_their_places(void **state)
{
    (void)state;
    struct world w;
    world_new(&w);
    assert_in(
        ask(&w, "POST /millrace/v1/apply", "", "kind: Model\nmetadata: {name: A}\nspec: {x: 1}\n"),
        "HTTP/1.1 400 Bad Request\r\n");
    assert_in(buf_cstr(&w.got),
              "{\"error\":\"nothing was applied: 2 "
              "problems\",\"problems\":[{\"line\":2,\"column\":18,\"message\":\"metadata.name: ");
    assert_in(ask(&w, "POST /millrace/v1/apply", "", "a: [\n"), "not YAML");
    assert_in(ask(&w, "POST /millrace/v1/apply?check=true", "", M("m")), "\"action\":\"created\"");
    assert_in(ask(&w, "GET /millrace/v1/resources", "", ""), "{\"resources\":[]}\n");
    world_free(&w);
}

static void one_requests_records_are_found_and_decoded(void **state)
{
    (void)state;
    struct world w;
    world_new(&w);
    ask(&w, "POST /millrace/v1/apply", "", HOUSE);
    settle(&w);
    struct asked *a = fixture_ask(&w.f, "chain", "INPUT=1,2");
    fixture_settle(&w.f);
    assert_string_equal(asked_text(a), "OUTPUT=20,30");
    char line[200];
    struct str id;
    assert_true(str_cut(a->q.key, '.', &id, &id) && str_cut(id, '.', &(struct str){0}, &id));
    snprintf(line, sizeof line, "GET /millrace/v1/trace/" STR_FMT, STR_ARG(id));
    assert_in(ask(&w, line, "", ""), "200 OK");
    const char *order[] = {"pipeline.chain.inputs\"", "model.mul10.inputs\"",
                           "model.mul10.outputs\"",   "model.add10.inputs\"",
                           "model.add10.outputs\"",   "pipeline.chain.outputs\""};
    const char *at = buf_cstr(&w.got);
    for (size_t i = 0; i < countof(order); i++) {
        at = strstr(at, order[i]);
        if (!at) fail_msg("%s is missing or out of order in %s", order[i], buf_cstr(&w.got));
    }
    assert_in(buf_cstr(&w.got), "\"data\":[20,30]");
    assert_in(ask(&w, "GET /millrace/v1/inspect/chain.mul10.outputs.OUTPUT?limit=1", "", ""),
              "\"data\":[10,20]");
    assert_in(
        ask(&w,
            "GET /millrace/v1/topics/seldon.default.pipeline.chain.inputs/records?offset=0&limit=5",
            "", ""),
        "\"data\":[1,2]");
    assert_in(ask(&w, "GET /millrace/v1/topics", "", ""),
              "{\"topic\":\"seldon.default.pipeline.chain.outputs\",\"partitions\":[{\"partition\":"
              "0,\"start\":0,\"end\":1}]}");
    asked_free(a);
    world_free(&w);
}

static void what_is_wrong_gets_its_status(void **state)
{
    (void)state;
    struct world w;
    world_new(&w);
    assert_in(ask(&w, "GET /millrace/v1/info", "", ""),
              "\"namespace\":\"default\",\"topicPrefix\":\"seldon\"");
    assert_in(buf_cstr(&w.got), ",\"ready\":true,\"troubles\":[],\"version\":\"9.9\"}\n");
    assert_in(ask(&w, "GET /millrace/v1/nothing", "", ""), "404 Not Found");
    assert_in(ask(&w, "GET /millrace/v2/info", "", ""), "404 Not Found");
    assert_in(ask(&w, "GET /millrace/v1/apply", "", ""), "405 Method Not Allowed");
    assert_in(ask(&w, "POST /millrace/v1/models", "", ""), "405 Method Not Allowed");
    assert_in(ask(&w, "DELETE /millrace/v1/models", "", ""), "405 Method Not Allowed");
    assert_in(ask(&w, "GET /millrace/v1/topics/none/records", "", ""), "404 Not Found");
    assert_in(ask(&w, "GET /millrace/v1/topics/none/records?limit=many", "", ""),
              "400 Bad Request");
    assert_in(ask(&w, "GET /millrace/v1/inspect/a.b.c.d.e", "", ""), "404 Not Found");
    world_free(&w);
}

static void no_web_page_may_manage(void **state)
{
    (void)state;
    struct world w;
    world_new(&w);
    w.peer = "[::1]:99";
    assert_in(ask(&w, "GET /millrace/v1/info", "", ""), "200 OK");
    assert_in(ask(&w, "POST /millrace/v1/apply", "Origin: http://evil.example\r\n", M("m")),
              "403 Forbidden");
    assert_in(ask(&w, "GET /millrace/v1/info", "Origin: http://127.0.0.1:9000\r\n", ""), "200 OK");
    assert_in(ask(&w, "GET /millrace/v1/resources", "", ""), "{\"resources\":[]}\n");
    world_free(&w);
}

static void a_client_that_goes_away_leaves_nothing_behind(void **state)
{
    (void)state;
    struct world w;
    world_new(&w);
    w.f.bus->hold = true;
    int fd = open_peer(&w);
    send_request(fd, "POST /millrace/v1/apply", "", M("m"));
    settle(&w);
    close(fd);
    settle(&w);
    fake_bus_release(w.f.bus);
    settle(&w);
    assert_in(ask(&w, "GET /millrace/v1/models/m", "", ""), "200 OK");
    world_free(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(resources_are_applied_listed_and_deleted),
        cmocka_unit_test(a_model_that_is_not_ready_shows),
        cmocka_unit_test(problems_come_with_their_places),
        cmocka_unit_test(one_requests_records_are_found_and_decoded),
        cmocka_unit_test(what_is_wrong_gets_its_status),
        cmocka_unit_test(no_web_page_may_manage),
        cmocka_unit_test(a_client_that_goes_away_leaves_nothing_behind),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
