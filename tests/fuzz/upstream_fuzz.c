/* tests/fuzz/upstream_fuzz.c - what a model server may answer: byte 0 chooses gRPC or REST and what was asked, the rest is
 * what it sends before it hangs up. Every question is answered exactly once, whatever comes.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "net/tcp.h"
#include "sys/worker.h"
#include "upstream/upstream.h"
#include <sys/socket.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct world {
    struct loop *loop;
    struct workers *workers;
    struct tcp *tcp;
    struct listener *listener;
    char address[ADDR_TEXT_MAX];
    int fd, done;
};

static void on_accept(void *ctx, int fd, const struct addr *peer)
{
    struct world *w = ctx;

    (void)peer;
    if (w->fd >= 0)
        close(fd);
    else
        w->fd = fd;
}

static struct world *world(void)
{
    static struct world w;
    struct err e;

    if (w.loop) return &w;
    w.fd = -1;
    must(loop_new(&clock_real, &w.loop, &e) == RC_OK && workers_new(0, &w.workers, &e) == RC_OK);
    w.tcp = tcp_new(w.loop);
    must(listener_open(w.tcp,
                       &(struct listener_options){
                           .listen = STR("127.0.0.1:0"), .accepted = on_accept, .ctx = &w},
                       &w.listener, &e) == RC_OK);
    addr_text(listener_addr(w.listener), w.address);
    return &w;
}

static void call_done(struct upstream_call *c)
{
    (void)c;
    world()->done++;
}

static void query_done(struct upstream_query *q)
{
    (void)q;
    world()->done++;
}

static void answer(struct world *w, const uint8_t *p, size_t n)
{
    struct linger reset = {.l_onoff = 1};

    for (int i = 0; i < 20 && w->fd < 0 && !w->done; i++)
        loop_turn(w->loop, 20);
    if (w->fd < 0) return;
    loop_turn(w->loop, 0);
    if (send(w->fd, p, n, MSG_NOSIGNAL) < 0) n = 0;
    for (int i = 0; i < 4; i++)
        loop_turn(w->loop, 0);
    setsockopt(w->fd, SOL_SOCKET, SO_LINGER, &reset,
               sizeof reset); /* no TIME_WAIT: there will be many */
    shutdown(w->fd, SHUT_WR);
    for (int i = 0; i < 50 && !w->done; i++)
        loop_turn(w->loop, 20);
    close(w->fd);
    w->fd = -1;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint8_t request[] = {0x2a, 0x0f, 0x0a, 1, 'A',  0x12, 4,    'I', 'N', 'T',
                                      '8',  0x1a, 1,    1, 0x2a, 3,    0x12, 1,   7};
    struct world *w = world();
    struct upstream *up = NULL;
    struct upstream_target t = {.address = str_of(w->address), .model = STR("m")};
    struct upstream_call c = {.target = &t,
                              .attempts = 1,
                              .done = call_done,
                              .request = bytes_of(request, sizeof request)};
    struct upstream_query q = {.target = &t, .done = query_done};
    struct err e;

    if (size < 1 || size > 50000) return 0;
    must(upstream_new(w->loop, w->workers, 1 << 16, &up, &e) == RC_OK);
    w->done = 0;
    t.kind = data[0] & 1 ? UPSTREAM_REST : UPSTREAM_GRPC;
    q.ask = data[0] & 4 ? UPSTREAM_METADATA : UPSTREAM_READY;
    c.deadline_ms = q.deadline_ms = clock_mono_ms(&clock_real) + 1000;
    if (data[0] & 2)
        upstream_query(up, &q);
    else
        upstream_call(up, &c);
    answer(w, data + 1, size - 1);
    upstream_free(up);
    must(w->done == 1);
    upstream_call_fini(&c);
    buf_fini(&q.response);
    if (w->fd >= 0) close(w->fd);
    w->fd = -1;
    return 0;
}
