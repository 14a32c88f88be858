/* tests/fuzz/http_fuzz.h - a server (or a client) and a peer that says what the fuzzer says. SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "net/http_server.h"
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct http_fuzz {
    struct clock_sim clock;
    struct loop *loop;
    struct tcp *tcp;
    struct http_server *server;
    struct budget budget;
    struct exchange *kept;                       /* at most one is answered late */
    int streaming;
};

static inline void http_fuzz_gone(struct exchange *x)
{
    ((struct http_fuzz *)x->priv)->kept = NULL;
}

static inline void http_fuzz_answer(struct exchange *x)
{
    const struct header h[] = {HEADER("content-type", STR("a/b")), HEADER("x-path", x->path)};
    struct buf body = {0};

    buf_append(&body, buf_view(&x->body));
    if (x->grpc)
        exchange_respond_grpc(x, &(struct grpc_reply){.status = body.n % 3 == 2, .message = x->path, .trailers = h, .trailers_n = 2}, &body);
    else
        exchange_respond(x, 200, h, 2, &body);
    buf_fini(&body);
}

static inline void http_fuzz_message(struct exchange *x, struct bytes message)
{
    struct buf copy = {0};

    buf_append(&copy, message);
    if (!x->streaming_out) exchange_stream_begin(x, 200, NULL, 0);
    exchange_stream_send(x, &copy);
}

static inline void http_fuzz_half_closed(struct exchange *x)
{
    if (!x->streaming_out) exchange_stream_begin(x, 200, NULL, 0);
    exchange_stream_end(x, &(struct grpc_reply){.status = GRPC_OK});
}

static inline void http_fuzz_begin(void *ctx, struct exchange *x)
{
    (void)ctx;
    if (str_is(x->path, "/early")) {
        exchange_respond(x, 404, NULL, 0, NULL);
    } else if (x->grpc && str_is(x->path, "/s/Stream")) {
        x->message = http_fuzz_message;
        x->half_closed = http_fuzz_half_closed;
    }
}

static inline void http_fuzz_request(void *ctx, struct exchange *x)
{
    struct http_fuzz *f = ctx;

    if (f->kept || !str_starts(x->path, STR("/late"))) {
        http_fuzz_answer(x);
        return;
    }
    x->priv = f;
    x->gone = http_fuzz_gone;
    f->kept = x;
}

static inline void http_fuzz_open(struct http_fuzz *f)
{
    struct err e;

    clock_sim_init(&f->clock, 0);
    must(loop_new(&f->clock.clock, &f->loop, &e) == RC_OK);
    f->tcp = tcp_new(f->loop);
    budget_init(&f->budget, f->loop, 32 << 10);
    f->server = http_server_new(f->tcp, &(struct http_options){.handler = {http_fuzz_begin, http_fuzz_request, f},
                                                               .budget = &f->budget,
                                                               .body_bytes_max = 24 << 10,
                                                               .header_bytes_max = 2 << 10,
                                                               .headers_max = 16,
                                                               .streams_max = 8});
}

static inline void http_fuzz_turn(struct http_fuzz *f)
{
    for (int i = 0; i < 3; i++)
        loop_turn(f->loop, 0);
}

/* Says it in two pieces, answers what was kept, lets time pass, hangs up; then nothing may be left. */
static inline void http_fuzz_say(struct http_fuzz *f, const uint8_t *p, size_t n, size_t cut)
{
    char drop[4096];
    int fds[2];

    must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds) == 0);
    http_server_accept(f->server, fds[0], NULL, NULL);
    cut = n ? cut % n : 0;
    if (cut && write(fds[1], p, cut) != (ssize_t)cut) cut = n;
    http_fuzz_turn(f);
    if (n > cut && write(fds[1], p + cut, n - cut) < 0) n = cut;
    http_fuzz_turn(f);
    if (f->kept) {
        struct exchange *x = f->kept;

        f->kept = NULL;
        x->gone = NULL;
        http_fuzz_answer(x);
    }
    http_fuzz_turn(f);
    while (read(fds[1], drop, sizeof drop) > 0) {
    }
    clock_sim_advance(&f->clock, 25u * 1000 * 1000);
    http_fuzz_turn(f);
    close(fds[1]);
    http_fuzz_turn(f);
    clock_sim_advance(&f->clock, 700u * 1000 * 1000);
    http_fuzz_turn(f);
    must(http_server_idle(f->server) && !f->kept && f->budget.used == 0 && f->budget.waiting == 0);
}
