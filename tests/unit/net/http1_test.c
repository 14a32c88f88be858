/* SPDX-License-Identifier: Apache-2.0 */
#include "net/http_server.h"
#include "test.h"
#include <stdio.h>
#include <unistd.h>

/* A server on one end of a socketpair; the test speaks on the other. */
struct world {
    struct clock_sim clock;
    struct loop *loop;
    struct tcp *tcp;
    struct http_server *server;
    struct budget budget;
    int fd;
    struct buf got;
    bool ended;
    int requests, gone;
    struct exchange *kept;
    bool keep, early;
    char seen[512];
};

static void on_gone(struct exchange *x)
{
    struct world *w = x->priv;

    w->gone++;
    w->kept = NULL;
}

static void answer(struct exchange *x)
{
    struct buf body = {0};

    buf_printf(&body, STR_FMT " " STR_FMT " " STR_FMT ":", STR_ARG(x->method), STR_ARG(x->path),
               STR_ARG(x->query));
    buf_append(&body, buf_view(&x->body));
    exchange_respond(x, 200, (struct header[]){HEADER("x-a", STR("b"))}, 1, &body);
}

static void on_begin(void *ctx, struct exchange *x)
{
    struct world *w = ctx;

    if (w->early) exchange_respond(x, 404, NULL, 0, NULL);
}

static void on_request(void *ctx, struct exchange *x)
{
    struct world *w = ctx;
    size_t n = 0;

    w->requests++;
    w->seen[0] = 0;
    for (size_t i = 0; i < x->headers_n && n < sizeof w->seen; i++)
        n += (size_t)snprintf(w->seen + n, sizeof w->seen - n, STR_FMT "=" STR_FMT ";",
                              STR_ARG(x->headers[i].name), STR_ARG(x->headers[i].value));
    if (!w->keep) {
        answer(x);
        return;
    }
    x->priv = w;
    x->gone = on_gone;
    w->kept = x;
}

static void world_new(struct world *w, struct http_options o)
{
    struct err e;
    int fds[2];

    *w = (struct world){0};
    clock_sim_init(&w->clock, 0);
    assert_int_equal(loop_new(&w->clock.clock, &w->loop, &e), RC_OK);
    w->tcp = tcp_new(w->loop);
    o.handler = (struct http_handler){.begin = on_begin, .request = on_request, .ctx = w};
    if (o.budget) budget_init(&w->budget, w->loop, 64 << 10);
    if (o.budget) o.budget = &w->budget;
    w->server = http_server_new(w->tcp, &o);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
    http_server_accept(w->server, fds[0], NULL, NULL);
    w->fd = fds[1];
}

static void world_free(struct world *w)
{
    http_server_free(w->server);
    tcp_free(w->tcp);
    loop_free(w->loop);
    if (w->fd >= 0) close(w->fd);
    buf_fini(&w->got);
}

static void turns(struct world *w)
{
    for (int i = 0; i < 4; i++) {
        char part[65536];
        ssize_t n;

        loop_turn(w->loop, 0);
        while (w->fd >= 0 && (n = read(w->fd, part, sizeof part)) >= 0) {
            if (n == 0) {
                w->ended = true;
                break;
            }
            buf_append(&w->got, bytes_of(part, (size_t)n));
        }
    }
}

static void pass(struct world *w, uint64_t ms)
{
    clock_sim_advance(&w->clock, ms * 1000);
    turns(w);
}

static void say(struct world *w, const char *text)
{
    assert_int_equal(write(w->fd, text, strlen(text)), strlen(text));
    turns(w);
}

static int count(struct world *w, const char *what)
{
    int n = 0;

    for (const char *p = buf_cstr(&w->got); (p = strstr(p, what)); p++)
        n++;
    return n;
}

#define assert_got(w, what)                                                                        \
    do {                                                                                           \
        if (count((w), (what)) == 0)                                                               \
            fail_msg("wanted \"%s\" in: %s", (what), buf_cstr(&(w)->got));                         \
    } while (0)

static void a_request_is_answered_and_the_connection_kept(void **state)
{
    struct world w;

    (void)state;
    world_new(&w, (struct http_options){0});
    say(&w, "POST /a%20b?x=1 HTTP/1.1\r\nHost: h\r\nX-Up: V \r\nContent-Length: 3\r\n\r\nabc");
    assert_got(&w, "HTTP/1.1 200 OK\r\nx-a: b\r\ncontent-length: 17\r\ndate: Thu, 01 Jan 1970 "
                   "00:00:00 GMT\r\n\r\n"
                   "POST /a b x=1:abc");
    assert_string_equal(w.seen, "host=h;x-up=V;content-length=3;");
    assert_false(w.ended);
    world_free(&w);
}

static void bytes_may_come_one_by_one(void **state)
{
    struct world w;
    const char *text =
        "POST /x HTTP/1.1\r\nHost: h\r\nA: long value\r\nContent-Length: 3\r\n\r\nabc";

    (void)state;
    world_new(&w, (struct http_options){0});
    for (const char *p = text; *p; p++)
        say(&w, (char[]){*p, 0});
    assert_got(&w, "POST /x :abc");
    assert_string_equal(w.seen, "host=h;a=long value;content-length=3;");
    world_free(&w);
}

static void pipelined_requests_are_answered_in_order(void **state)
{
    struct world w;

    (void)state;
    world_new(&w, (struct http_options){0});
    w.keep = true;
    say(&w, "GET /1 HTTP/1.1\r\nHost: h\r\n\r\nPOST /2 HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: "
            "chunked\r\n\r\n"
            "3\r\nabc\r\n2\r\nde\r\n0\r\n\r\nGET /3 HTTP/1.0\r\n\r\n");
    assert_int_equal(w.requests, 1);
    answer(w.kept);
    turns(&w);
    assert_int_equal(w.requests, 2);
    w.keep = false;
    answer(w.kept);
    turns(&w);
    assert_int_equal(w.requests, 3);
    assert_got(&w, "GET /1 :");
    assert_got(&w, "POST /2 :abcde");
    assert_got(&w, "connection: close\r\ndate: Thu, 01 Jan 1970 00:00:00 GMT\r\n\r\nGET /3 :");
    assert_true(w.ended);
    world_free(&w);
}

static void the_client_is_told_to_go_on_with_its_body(void **state)
{
    struct world w;

    (void)state;
    world_new(&w, (struct http_options){0});
    say(&w, "POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n");
    assert_got(&w, "HTTP/1.1 100 Continue\r\n\r\n");
    say(&w, "abc");
    assert_got(&w, "POST / :abc");
    world_free(&w);
}

static void a_client_that_leaves_cancels_its_request(void **state)
{
    struct world w;

    (void)state;
    world_new(&w, (struct http_options){0});
    w.keep = true;
    say(&w, "GET /1 HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_non_null(w.kept);
    close(w.fd);
    w.fd = -1;
    turns(&w);
    assert_int_equal(w.gone, 1);
    assert_true(http_server_idle(w.server));
    world_free(&w);
}

static void malformed_requests_are_refused_with_a_reason(void **state)
{
    static const struct {
        const char *text, *status;
    } cases[] = {
        {"GET / HTTP/1.1\r\n\r\n", "400 Bad Request"}, /* no Host */
        {"G@T / HTTP/1.1\r\nHost: h\r\n\r\n", "400 Bad Request"},
        {"GET / HTTP/1.1\r\nHost h\r\n\r\n", "400 Bad Request"},
        {"GET /%zz HTTP/1.1\r\nHost: h\r\n\r\n", "400 Bad Request"},
        {"GET /%00 HTTP/1.1\r\nHost: h\r\n\r\n", "400 Bad Request"},
        {"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: x\r\n\r\n", "400 Bad Request"},
        {"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
         "400 Bad Request"},
        {"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
         "400 Bad Request"},
        {"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2000000000\r\n\r\n",
         "413 Content Too Large"},
        {"POST / HTTP/1.1\r\nHost: h\r\nContent-Encoding: br\r\nContent-Length: 1\r\n\r\nx",
         "415 Unsupported"},
        {"POST / HTTP/1.1\r\nHost: h\r\nContent-Encoding: gzip\r\nContent-Length: 1\r\n\r\nx",
         "400 Bad Request"},
        {"GET / HTTP/1.1\r\nHost: h\r\nExpect: miracles\r\n\r\n", "417 Expectation"},
        {"GET / HTTP/3.1\r\nHost: h\r\n\r\n", "505 "},
        {"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n", "400 "},
    };

    (void)state;
    for (size_t i = 0; i < countof(cases); i++) {
        struct world w;

        world_new(&w, (struct http_options){0});
        say(&w, cases[i].text);
        assert_got(&w, cases[i].status);
        assert_got(&w, "{\"error\":\"");
        assert_int_equal(w.requests, 0);
        world_free(&w);
    }
}

static void headers_beyond_the_limits_are_refused(void **state)
{
    struct world w;

    (void)state;
    world_new(&w, (struct http_options){.header_bytes_max = 100});
    say(&w, "GET / HTTP/1.1\r\nHost: h\r\nA: 0123456789012345678901234567890123456789");
    say(&w, "0123456789012345678901234567890123456789012345678901234567890\r\n\r\n");
    assert_got(&w, "431 ");
    assert_true(w.ended);
    world_free(&w);
    world_new(&w, (struct http_options){.headers_max = 2});
    say(&w, "GET / HTTP/1.1\r\nHost: h\r\nA: 1\r\nB: 2\r\n\r\n");
    assert_got(&w, "431 ");
    world_free(&w);
}

static void a_body_of_unknown_length_is_cut_at_the_limit(void **state)
{
    struct world w;

    (void)state;
    world_new(&w, (struct http_options){.body_bytes_max = 4});
    say(&w, "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: "
            "chunked\r\n\r\n4\r\nabcd\r\n1\r\ne\r\n0\r\n\r\n");
    assert_got(&w, "413 ");
    assert_int_equal(w.requests, 0);
    world_free(&w);
}

static void slow_clients_are_sent_away(void **state)
{
    struct world w;
    char kib[2049] = {0};

    (void)state;
    world_new(&w, (struct http_options){0}); /* never says a word */
    pass(&w, 10001);
    assert_true(w.ended);
    world_free(&w);

    world_new(&w, (struct http_options){0}); /* headers, one byte at a time */
    say(&w, "GET / HTTP/1.1\r\n");
    for (int i = 0; i < 12 && !w.ended; i++) {
        ssize_t ignored = write(w.fd, "A", 1);

        (void)ignored;
        pass(&w, 1000);
    }
    assert_got(&w, "408 ");
    world_free(&w);

    memset(kib, 'x', 2048); /* a body that comes too slowly, after one that comes well */
    world_new(&w, (struct http_options){0});
    say(&w, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 20000\r\n\r\n");
    for (int i = 0; i < 4; i++) {
        say(&w, kib);
        pass(&w, 9000);
    }
    assert_int_equal(count(&w, "408 "), 0);
    pass(&w, 21000);
    pass(&w, 21000);
    assert_got(&w, "408 ");
    world_free(&w);

    world_new(&w, (struct http_options){0}); /* idle between requests */
    say(&w, "GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    pass(&w, 60000);
    assert_false(w.ended);
    pass(&w, 6000);
    assert_true(w.ended);
    assert_int_equal(count(&w, "HTTP/1.1"), 1);
    world_free(&w);
}

static void an_early_answer_keeps_the_connection_if_little_is_left(void **state)
{
    struct world w;

    (void)state;
    world_new(&w, (struct http_options){0});
    w.early = true;
    say(&w, "POST /1 HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\na");
    assert_int_equal(count(&w, "404 "), 1);
    w.early = false;
    say(&w, "bcGET /2 HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_got(&w, "GET /2 :");
    w.early = true;
    say(&w, "POST /3 HTTP/1.1\r\nHost: h\r\nContent-Length: 3000000\r\n\r\na");
    assert_true(w.ended);
    assert_int_equal(w.requests, 1);
    world_free(&w);
}

static void bodies_wait_for_room_and_are_refused_in_the_end(void **state)
{
    struct world w;
    struct budget_claim other;
    struct budget any;
    char body[10000];

    (void)state;
    world_new(&w, (struct http_options){.budget = &any});
    assert_int_equal(budget_claim(&w.budget, &other, 60 << 10, NULL), BUDGET_GRANTED);
    say(&w, "POST /1 HTTP/1.1\r\nHost: h\r\nContent-Length: 10000\r\n\r\n");
    memset(body, 120, sizeof body);
    assert_int_equal(write(w.fd, body, sizeof body), sizeof body);
    turns(&w);
    assert_int_equal(w.requests, 0);
    budget_drop(&other);
    turns(&w);
    assert_int_equal(w.requests, 1);
    assert_got(&w, "200 OK");
    assert_int_equal(w.budget.used, 0);
    assert_int_equal(budget_claim(&w.budget, &other, 60 << 10, NULL), BUDGET_GRANTED);
    say(&w, "POST /1 HTTP/1.1\r\nHost: h\r\nContent-Length: 10000\r\n\r\n");
    pass(&w, 5001);
    assert_got(&w, "429 Too Many Requests");
    assert_got(&w, "retry-after: 1");
    budget_drop(&other);
    say(&w, "");
    world_free(&w);
    world_new(&w, (struct http_options){.budget = &any});
    say(&w, "POST /1 HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n\r\n");
    assert_got(&w, "429 "); /* could never fit */
    world_free(&w);
}

static void an_answer_that_waits_for_its_reader_counts_as_memory(void **state)
{
    struct world w;
    struct budget any;
    struct buf body = {0};

    (void)state;
    world_new(&w, (struct http_options){.budget = &any});
    w.keep = true;
    say(&w, "GET /big HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_non_null(w.kept);
    memset(buf_grow(&body, 8 << 20), 'x', 8 << 20);
    w.kept->gone = NULL;
    exchange_respond(w.kept, 200, NULL, 0, &body);
    loop_turn(w.loop, 0);
    assert_int_equal(w.budget.used, 8 << 20);
    for (int i = 0; i < 1000 && w.got.n < 8 << 20; i++)
        turns(&w);
    assert_true(w.got.n > 8 << 20);
    assert_int_equal(w.budget.used, 0);
    world_free(&w);
}

static void an_answer_whose_reader_is_gone_counts_no_more(void **state)
{
    struct world w;
    struct budget any;
    struct buf body = {0};

    (void)state;
    world_new(&w, (struct http_options){.budget = &any});
    w.keep = true;
    say(&w, "GET /big HTTP/1.1\r\nHost: h\r\n\r\n");
    memset(buf_grow(&body, 8 << 20), 'x', 8 << 20);
    w.kept->gone = NULL;
    exchange_respond(w.kept, 200, NULL, 0, &body);
    loop_turn(w.loop, 0);
    assert_int_equal(w.budget.used, 8 << 20);
    close(w.fd);
    w.fd = -1;
    loop_turn(w.loop, 0);
    loop_turn(w.loop, 0);
    assert_int_equal(w.budget.used, 0);
    world_free(&w);
}

static void a_stream_is_sent_in_chunks(void **state)
{
    struct world w;
    struct buf piece = {0};

    (void)state;
    world_new(&w, (struct http_options){0});
    w.keep = true;
    say(&w, "GET /1 HTTP/1.1\r\nHost: h\r\n\r\n");
    exchange_stream_begin(w.kept, 200, NULL, 0);
    turns(&w);
    buf_append_str(&piece, STR("hello"));
    exchange_stream_send(w.kept, &piece);
    turns(&w);
    assert_got(&w, "transfer-encoding: chunked\r\n");
    assert_got(&w, "\r\n\r\n5\r\nhello\r\n");
    exchange_stream_end(w.kept, NULL);
    w.keep = false;
    say(&w, "GET /2 HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_got(&w, "0\r\n\r\nHTTP/1.1 200 OK");
    world_free(&w);
}

static void no_header_can_smuggle_a_line(void **state)
{
    struct world w;

    (void)state;
    world_new(&w, (struct http_options){0});
    w.keep = true;
    say(&w, "GET /1 HTTP/1.1\r\nHost: h\r\n\r\n");
    exchange_respond(w.kept, 200,
                     (struct header[]){HEADER("x-bad", STR("a\r\nx-evil: 1")),
                                       {STR("x bad"), STR("1")},
                                       HEADER("x-good", STR("\xc3\xa9"))},
                     3, NULL);
    turns(&w);
    assert_int_equal(count(&w, "evil"), 0);
    assert_int_equal(count(&w, "x bad"), 0);
    assert_got(&w, "x-good: \xc3\xa9\r\n");
    world_free(&w);
}

static void draining_finishes_what_runs(void **state)
{
    struct world w;

    (void)state;
    world_new(&w, (struct http_options){0});
    w.keep = true;
    say(&w, "GET /1 HTTP/1.1\r\nHost: h\r\n\r\n");
    http_server_drain(w.server);
    turns(&w);
    assert_false(w.ended);
    answer(w.kept);
    turns(&w);
    assert_got(&w, "connection: close");
    assert_true(w.ended);
    close(w.fd);
    w.fd = -1;
    turns(&w);
    assert_true(http_server_idle(w.server));
    world_free(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_request_is_answered_and_the_connection_kept),
        cmocka_unit_test(bytes_may_come_one_by_one),
        cmocka_unit_test(pipelined_requests_are_answered_in_order),
        cmocka_unit_test(the_client_is_told_to_go_on_with_its_body),
        cmocka_unit_test(a_client_that_leaves_cancels_its_request),
        cmocka_unit_test(malformed_requests_are_refused_with_a_reason),
        cmocka_unit_test(headers_beyond_the_limits_are_refused),
        cmocka_unit_test(a_body_of_unknown_length_is_cut_at_the_limit),
        cmocka_unit_test(slow_clients_are_sent_away),
        cmocka_unit_test(an_early_answer_keeps_the_connection_if_little_is_left),
        cmocka_unit_test(bodies_wait_for_room_and_are_refused_in_the_end),
        cmocka_unit_test(an_answer_that_waits_for_its_reader_counts_as_memory),
        cmocka_unit_test(an_answer_whose_reader_is_gone_counts_no_more),
        cmocka_unit_test(a_stream_is_sent_in_chunks),
        cmocka_unit_test(no_header_can_smuggle_a_line),
        cmocka_unit_test(draining_finishes_what_runs),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
