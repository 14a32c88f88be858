/* HTTP/2 as a client writes it byte by byte: what a well-behaved library would never send. SPDX-License-Identifier: Apache-2.0 */
#include "net/http_server.h"
#include "test.h"
#include <stdio.h>
#include <unistd.h>

enum {
    DATA = 0,
    HEADERS = 1,
    RST_STREAM = 3,
    SETTINGS = 4,
    PING = 6,
    GOAWAY = 7,
    WINDOW_UPDATE = 8
};
enum { END_STREAM = 1, END_HEADERS = 4 };

struct world {
    struct clock_sim clock;
    struct loop *loop;
    struct tcp *tcp;
    struct http_server *server;
    struct budget budget;
    int fd;
    struct buf out, got;
    bool ended, keep, early;
    int requests, gone;
    struct exchange *kept[8];
    size_t kept_n;
};

static void on_gone(struct exchange *x)
{
    ((struct world *)x->priv)->gone++;
}

/* A talk: every message is answered with an empty one. */
static void on_message(struct exchange *x, struct bytes message)
{
    struct buf none = {0};

    (void)message;
    ((struct world *)x->priv)->requests++;
    if (!x->streaming_out) exchange_stream_begin(x, 200, NULL, 0);
    exchange_stream_send(x, &none);
}

static void on_half_closed(struct exchange *x)
{
    exchange_stream_end(x, &(struct grpc_reply){.status = GRPC_OK});
}

static void on_begin(void *ctx, struct exchange *x)
{
    if (str_is(x->path, "/talk")) {
        x->priv = ctx;
        x->message = on_message;
        x->half_closed = on_half_closed;
    }
    if (((struct world *)ctx)->early) exchange_respond(x, 404, NULL, 0, NULL);
}

static void on_request(void *ctx, struct exchange *x)
{
    struct world *w = ctx;
    struct buf body = {0};

    w->requests++;
    if (x->grpc) { /* fails with a text that ends in the middle of the third byte of a character at the limit */
        buf_append_str(&body, STR("-"));
        while (body.n < 20000)
            buf_append_str(&body, STR("\xe2\x82\xac"));
        exchange_respond_grpc(
            x, &(struct grpc_reply){.status = GRPC_INTERNAL, .message = buf_str(&body)}, NULL);
        buf_fini(&body);
        return;
    }
    if (w->keep) {
        x->priv = w;
        x->gone = on_gone;
        w->kept[w->kept_n++] = x;
        return;
    }
    buf_printf(&body, STR_FMT " " STR_FMT " %zu", STR_ARG(x->method), STR_ARG(x->path), x->body.n);
    exchange_respond(x, 200, (struct header[]){HEADER("x-a", STR("b"))}, 1, &body);
}

static void put_frame(struct buf *b, uint8_t type, uint8_t flags, uint32_t id, struct bytes payload)
{
    uint8_t *p = buf_grow(b, 9);

    store_be32(p, (uint32_t)payload.n << 8);
    p[3] = type;
    p[4] = flags;
    store_be32(p + 5, id);
    buf_append(b, payload);
}

static void frame(struct world *w, uint8_t type, uint8_t flags, uint32_t id, const void *p,
                  size_t n)
{
    put_frame(&w->out, type, flags, id, bytes_of(p, n));
}

static void put_header(struct buf *b, const char *name, const char *value)
{
    buf_append_byte(b, 0); /* literal, never indexed, no Huffman */
    buf_append_byte(b, (uint8_t)strlen(name));
    buf_append_str(b, str_of(name));
    buf_append_byte(b, (uint8_t)strlen(value));
    buf_append_str(b, str_of(value));
}

static void headers_by(struct world *w, const char *scheme, uint32_t id, uint8_t flags, const char *method, const char *path,
                       const char *const *more)
{
    struct buf b = {0};

    put_header(&b, ":method", method);
    put_header(&b, ":scheme", scheme);
    put_header(&b, ":path", path);
    put_header(&b, ":authority", "h");
    for (; more && more[0]; more += 2)
        put_header(&b, more[0], more[1]);
    frame(w, HEADERS, END_HEADERS | flags, id, b.p, b.n);
    buf_fini(&b);
}

/* more: name, value, …, NULL */
static void headers(struct world *w, uint32_t id, uint8_t flags, const char *method,
                    const char *path, const char *const *more)
{
    headers_by(w, "http", id, flags, method, path, more);
}

static void turns(struct world *w)
{
    char part[65536];
    ssize_t n;

    for (int i = 0; i < 4; i++) {
        if (w->out.n) {
            n = write(w->fd, w->out.p, w->out.n);
            if (n > 0) buf_consume(&w->out, (size_t)n);
        }
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

static void world_with(struct world *w, struct http_options o, struct bytes settings)
{
    struct err e;
    int fds[2];

    *w = (struct world){0};
    clock_sim_init(&w->clock, 0);
    assert_int_equal(loop_new(&w->clock.clock, &w->loop, &e), RC_OK);
    w->tcp = tcp_new(w->loop);
    budget_init(&w->budget, w->loop, 1 << 20);
    o.handler = (struct http_handler){on_begin, on_request, w};
    o.budget = &w->budget;
    w->server = http_server_new(w->tcp, &o);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
    http_server_accept(w->server, fds[0], NULL, NULL);
    w->fd = fds[1];
    buf_append_str(&w->out, STR("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"));
    put_frame(&w->out, SETTINGS, 0, 0, settings);
}

static void world_new(struct world *w)
{
    world_with(w, (struct http_options){0}, (struct bytes){0});
}

static void world_free(struct world *w)
{
    http_server_free(w->server);
    tcp_free(w->tcp);
    assert_int_equal(w->budget.used, 0);
    loop_free(w->loop);
    if (w->fd >= 0) close(w->fd);
    buf_fini(&w->out);
    buf_fini(&w->got);
}

/* The payload of the n-th frame of that type on that stream; false when there is none. */
static bool frame_find(struct world *w, uint8_t type, uint32_t id, int nth, uint8_t *ret_flags,
                       struct bytes *ret)
{
    for (size_t at = 0; at + 9 <= w->got.n;) {
        const uint8_t *p = w->got.p + at;
        size_t n = load_be32(p) >> 8;

        assert_true(at + 9 + n <= w->got.n);
        if (p[3] == type && load_be32(p + 5) == id && nth-- == 0) {
            if (ret_flags) *ret_flags = p[4];
            *ret = bytes_of(p + 9, n);
            return true;
        }
        at += 9 + n;
    }
    return false;
}

static bool frame_seen(struct world *w, uint8_t type, uint32_t id)
{
    struct bytes ignored;

    return frame_find(w, type, id, 0, NULL, &ignored);
}

static bool data_is(struct world *w, uint32_t id, const char *text)
{
    struct bytes data;

    return frame_find(w, DATA, id, 0, NULL, &data) && str_is(bytes_str(data), text);
}

static void streams_are_answered_each_on_its_own(void **state)
{
    struct world w;
    struct bytes p;
    uint8_t flags;

    (void)state;
    world_new(&w);
    headers(&w, 1, 0, "POST", "/a?b", NULL);
    headers(&w, 3, END_STREAM, "GET", "/c", NULL);
    frame(&w, DATA, END_STREAM, 1, "xyz", 3);
    turns(&w);
    assert_true(data_is(&w, 1, "POST /a 3"));
    assert_true(data_is(&w, 3, "GET /c 0"));
    headers(&w, 5, END_STREAM, "HEAD", "/h", NULL);
    turns(&w);
    assert_false(frame_seen(&w, DATA, 5));
    assert_true(frame_find(&w, HEADERS, 5, 0, &flags, &p) && (flags & END_STREAM));
    world_free(&w);
}

/* nghttp2 looks at the path of the schemes that it knows only. */
static void a_path_may_be_an_address_that_ends_early(void **state)
{
    static const struct { const char *path, *answer; } rows[] = {
        {"http://", "GET / 0"}, {"https://", "GET / 0"}, {"http:///a", "GET /a 0"}, {"http://h", "GET / 0"}, {"https://h/a?b", "GET /a 0"}};
    struct world w;

    (void)state;
    world_new(&w);
    for (size_t i = 0; i < countof(rows); i++) headers_by(&w, "x", (uint32_t)i * 2 + 1, END_STREAM, "GET", rows[i].path, NULL);
    turns(&w);
    for (size_t i = 0; i < countof(rows); i++) assert_true(data_is(&w, (uint32_t)i * 2 + 1, rows[i].answer));
    world_free(&w);
}

static void a_peer_that_takes_no_output_is_given_up(void **state)
{
    static const uint8_t no_window[] = {0, 4, 0, 0, 0, 0};
    struct world w;

    (void)state;
    world_with(&w, (struct http_options){0}, bytes_of(no_window, sizeof no_window));
    headers(&w, 1, END_STREAM, "GET", "/c", NULL);
    turns(&w);
    assert_true(frame_seen(&w, HEADERS, 1));
    assert_false(frame_seen(&w, DATA, 1));
    for (int i = 0; i < 2; i++)
        pass(&w, 20001);
    assert_false(frame_seen(&w, RST_STREAM, 1));
    pass(&w, 20001);
    assert_true(frame_seen(&w, RST_STREAM, 1));
    assert_int_equal(w.gone, 0);
    headers(&w, 3, END_STREAM, "GET", "/late", NULL); /* a window that opens in time is fine */
    turns(&w);
    frame(&w, WINDOW_UPDATE, 0, 3, "\0\0\0\x64", 4);
    turns(&w);
    assert_true(data_is(&w, 3, "GET /late 0"));
    world_free(&w);
}

static void a_body_waits_for_room_while_others_go_on(void **state)
{
    struct world w;
    struct budget_claim other;
    static uint8_t body[16384];

    (void)state;
    world_new(&w);
    turns(&w);
    assert_int_equal(budget_claim(&w.budget, &other, 1 << 20, NULL), BUDGET_GRANTED);
    headers(&w, 1, 0, "POST", "/big", (const char *const[]){"content-length", "16384", NULL});
    frame(&w, DATA, END_STREAM, 1, body, sizeof body);
    headers(&w, 3, END_STREAM, "GET", "/small", NULL);
    turns(&w);
    assert_true(data_is(&w, 3, "GET /small 0"));
    assert_false(frame_seen(&w, HEADERS, 1));
    budget_drop(&other);
    turns(&w);
    assert_true(data_is(&w, 1, "POST /big 16384"));
    world_free(&w);
}

static void an_answer_that_waits_for_its_reader_counts_as_memory(void **state)
{
    struct world w;
    struct buf body = {0};

    (void)state;
    world_new(&w);
    turns(&w);
    w.keep = true;
    headers(&w, 1, END_STREAM, "GET", "/big", NULL);
    turns(&w);
    assert_int_equal(w.kept_n, 1);
    memset(buf_grow(&body, 1 << 20), 'x', 1 << 20);
    w.kept[0]->gone = NULL;
    exchange_respond(w.kept[0], 200, NULL, 0, &body);
    turns(&w); /* the client's window is 65535 bytes and never opened */
    assert_int_equal(w.budget.used, 1 << 20);
    frame(&w, RST_STREAM, 0, 1, "\0\0\0\x8", 4);
    turns(&w);
    assert_int_equal(w.budget.used, 0);
    world_free(&w);
}

static void a_body_that_never_gets_room_is_refused(void **state)
{
    struct world w;
    struct budget_claim other;

    (void)state;
    world_new(&w);
    turns(&w);
    assert_int_equal(budget_claim(&w.budget, &other, 1 << 20, NULL), BUDGET_GRANTED);
    headers(&w, 1, 0, "POST", "/big", (const char *const[]){"content-length", "500", NULL});
    frame(&w, DATA, 0, 1, "abc", 3);
    turns(&w);
    pass(&w, 5001);
    assert_true(frame_seen(&w, HEADERS, 1));
    assert_false(frame_seen(&w, RST_STREAM, 1));
    pass(&w, 1001);
    assert_true(frame_seen(&w, RST_STREAM, 1)); /* the rest of the body is not wanted */
    assert_int_equal(w.requests, 0);
    budget_drop(&other);
    world_free(&w);
}

/* curl 7.88 takes a reset that comes while it is sending for the end of everything, and never reads the answer. */
static void an_early_answer_stops_the_body_when_the_client_has_had_time_to_see_it(void **state)
{
    struct world w;
    struct bytes p;

    (void)state;
    world_new(&w);
    w.early = true;
    headers(&w, 1, 0, "POST", "/x", NULL);
    frame(&w, DATA, 0, 1, "abc", 3);
    turns(&w);
    assert_true(frame_seen(&w, HEADERS, 1));
    pass(&w, 999);
    assert_false(frame_seen(&w, RST_STREAM, 1));
    pass(&w, 2);
    assert_true(frame_find(&w, RST_STREAM, 1, 0, NULL, &p) && load_be32(p.p) == 0); /* NO_ERROR */
    w.early = false;
    headers(&w, 3, END_STREAM, "GET", "/y", NULL);
    turns(&w);
    assert_true(data_is(&w, 3, "GET /y 0"));
    world_free(&w);
}

static void a_body_that_ends_after_an_early_answer_needs_no_reset(void **state)
{
    struct world w;

    (void)state;
    world_new(&w);
    w.early = true;
    headers(&w, 1, 0, "POST", "/x", NULL);
    headers(&w, 3, 0, "POST", "/x", NULL);
    turns(&w);
    assert_true(frame_seen(&w, HEADERS, 1));
    assert_true(http_server_settled(w.server)); /* a stop does not wait for the rest of them */
    frame(&w, DATA, END_STREAM, 1, "abc", 3);
    turns(&w);
    pass(&w, 1001);
    assert_false(frame_seen(&w, RST_STREAM, 1));
    assert_true(frame_seen(&w, RST_STREAM, 3));
    assert_int_equal(w.requests, 0);
    world_free(&w);
}

/* More than a stream's first window. */
static void a_talk_goes_on_after_its_first_answer(void **state)
{
    static const char *const more[] = {"content-type", "application/grpc", "te", "trailers", NULL};
    static uint8_t message[16 << 10];
    struct bytes p;
    struct world w;

    (void)state;
    world_new(&w);
    store_be32(message + 1, sizeof message - 5);
    headers(&w, 1, 0, "POST", "/talk", more);
    for (int i = 0; i < 40; i++) {
        frame(&w, DATA, 0, 1, message, sizeof message);
        turns(&w);
    }
    assert_int_equal(w.requests, 40);
    frame(&w, DATA, END_STREAM, 1, NULL, 0);
    turns(&w);
    assert_false(frame_find(&w, RST_STREAM, 1, 0, NULL, &p));
    world_free(&w);
}

static void a_reset_stream_cancels_its_request_only(void **state)
{
    struct world w;

    (void)state;
    world_new(&w);
    w.keep = true;
    headers(&w, 1, END_STREAM, "GET", "/1", NULL);
    headers(&w, 3, END_STREAM, "GET", "/3", NULL);
    turns(&w);
    assert_int_equal(w.kept_n, 2);
    frame(&w, RST_STREAM, 0, 1, "\0\0\0\x08", 4);
    turns(&w);
    assert_int_equal(w.gone, 1);
    exchange_respond(w.kept[1], 204, NULL, 0, NULL);
    turns(&w);
    assert_true(frame_seen(&w, HEADERS, 3));
    headers(&w, 5, END_STREAM, "GET", "/5", NULL);
    turns(&w);
    close(w.fd);
    w.fd = -1;
    turns(&w);
    assert_int_equal(w.gone, 2);
    assert_true(http_server_idle(w.server));
    world_free(&w);
}

static void slow_bodies_and_large_headers_are_refused(void **state)
{
    struct world w;
    char large[120];
    struct bytes p;

    (void)state;
    memset(large, 'v', sizeof large);
    large[119] = 0;
    world_with(&w, (struct http_options){.header_bytes_max = 200}, (struct bytes){0});
    headers(&w, 1, END_STREAM, "GET", "/", (const char *const[]){"a", large, "b", large, NULL});
    turns(&w);
    assert_int_equal(w.requests, 0);
    assert_true(frame_find(&w, DATA, 1, 0, NULL, &p) && memmem(p.p, p.n, "too large", 9));
    headers(&w, 3, 0, "POST", "/", NULL);
    frame(&w, DATA, 0, 3, "a", 1);
    turns(&w);
    pass(&w, 20001);
    pass(&w, 20001);
    assert_true(frame_find(&w, DATA, 3, 0, NULL, &p) && memmem(p.p, p.n, "too slowly", 10));
    world_free(&w);
}

static void a_long_error_text_is_cut_to_what_clients_take(void **state)
{
    struct world w;
    struct bytes p = {0};
    uint8_t flags;

    (void)state;
    world_new(&w);
    headers(&w, 1, 0, "POST", "/s/M",
            (const char *const[]){"content-type", "application/grpc", NULL});
    frame(&w, DATA, END_STREAM, 1, "\0\0\0\0\0", 5);
    turns(&w);
    assert_true(frame_find(&w, HEADERS, 1, 0, &flags, &p) && (flags & END_STREAM));
    assert_true(p.n > 2000 && p.n < 4200);
    world_free(&w);
}

static void draining_says_goodbye_and_finishes(void **state)
{
    struct world w;

    (void)state;
    world_new(&w);
    w.keep = true;
    headers(&w, 1, END_STREAM, "GET", "/1", NULL);
    turns(&w);
    http_server_drain(w.server);
    turns(&w);
    assert_true(frame_seen(&w, GOAWAY, 0));
    assert_false(w.ended);
    exchange_respond(w.kept[0], 200, NULL, 0, NULL);
    turns(&w);
    assert_true(frame_seen(&w, HEADERS, 1));
    assert_true(w.ended);
    world_free(&w);
}

static void an_idle_connection_is_closed(void **state)
{
    struct world w;

    (void)state;
    world_new(&w);
    headers(&w, 1, END_STREAM, "GET", "/1", NULL);
    turns(&w);
    pass(&w, 600000);
    assert_false(w.ended);
    pass(&w, 60000);
    assert_true(frame_seen(&w, GOAWAY, 0));
    assert_true(w.ended);
    world_free(&w);
}

static void garbage_ends_the_connection(void **state)
{
    struct world w;

    (void)state;
    world_new(&w);
    frame(&w, DATA, 0, 1, "abc", 3); /* on a stream nobody opened */
    turns(&w);
    assert_true(frame_seen(&w, GOAWAY, 0));
    assert_true(w.ended);
    world_free(&w);
    world_new(&w);
    for (int i = 0; i < 3000; i++) { /* rapid reset */
        headers(&w, (uint32_t)i * 2 + 1, END_STREAM, "GET", "/1", NULL);
        frame(&w, RST_STREAM, 0, (uint32_t)i * 2 + 1, "\0\0\0\x08", 4);
        turns(&w);
    }
    assert_true(frame_seen(&w, GOAWAY, 0));
    world_free(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(streams_are_answered_each_on_its_own),
        cmocka_unit_test(a_path_may_be_an_address_that_ends_early),
        cmocka_unit_test(a_peer_that_takes_no_output_is_given_up),
        cmocka_unit_test(a_body_waits_for_room_while_others_go_on),
        cmocka_unit_test(an_answer_that_waits_for_its_reader_counts_as_memory),
        cmocka_unit_test(a_body_that_never_gets_room_is_refused),
        cmocka_unit_test(an_early_answer_stops_the_body_when_the_client_has_had_time_to_see_it),
        cmocka_unit_test(a_body_that_ends_after_an_early_answer_needs_no_reset),
        cmocka_unit_test(a_talk_goes_on_after_its_first_answer),
        cmocka_unit_test(a_reset_stream_cancels_its_request_only),
        cmocka_unit_test(slow_bodies_and_large_headers_are_refused),
        cmocka_unit_test(a_long_error_text_is_cut_to_what_clients_take),
        cmocka_unit_test(draining_says_goodbye_and_finishes),
        cmocka_unit_test(an_idle_connection_is_closed),
        cmocka_unit_test(garbage_ends_the_connection),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
