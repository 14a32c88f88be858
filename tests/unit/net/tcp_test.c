/* SPDX-License-Identifier: Apache-2.0 */
#include "net/tcp.h"
#include "test.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <unistd.h>

struct side {
    struct conn conn;
    struct buf in;
    int closed, eofs, drained, connected;
    struct err why;
    bool close_on_data, echo;
};

static void side_data(struct conn *c, struct bytes in)
{
    struct side *s = container_of(c, struct side, conn);

    buf_append(&s->in, in);
    if (s->echo) conn_send_copy(c, in);
    if (s->close_on_data) conn_close(c);
}

static void side_eof(struct conn *c)
{
    container_of(c, struct side, conn)->eofs++;
}

static void side_closed(struct conn *c, const struct err *why)
{
    struct side *s = container_of(c, struct side, conn);

    s->closed++;
    s->why = *why;
}

static void side_drained(struct conn *c)
{
    container_of(c, struct side, conn)->drained++;
}

static void side_connected(struct conn *c)
{
    container_of(c, struct side, conn)->connected++;
}

static const struct conn_ops side_ops = {.data = side_data,
                                         .eof = side_eof,
                                         .closed = side_closed,
                                         .drained = side_drained,
                                         .connected = side_connected};

struct world {
    struct loop *loop;
    struct tcp *tcp;
    struct side a, b;
    int fds[2];
};

static void world_new(struct world *w, const struct conn_limits *limits)
{
    struct err e;

    *w = (struct world){0};
    assert_int_equal(loop_new(&clock_real, &w->loop, &e), RC_OK);
    w->tcp = tcp_new(w->loop);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, w->fds), 0);
    assert_int_equal(conn_open(w->tcp, &w->a.conn, w->fds[0], NULL, NULL, &side_ops, limits, &e),
                     RC_OK);
}

static void world_free(struct world *w)
{
    tcp_free(w->tcp);
    loop_free(w->loop);
    buf_fini(&w->a.in);
    buf_fini(&w->b.in);
}

static void turns(struct world *w, int n)
{
    for (int i = 0; i < n; i++)
        loop_turn(w->loop, 5);
}

static void what_is_sent_in_one_turn_leaves_in_order(void **state)
{
    struct world w;
    struct buf moved = {0};
    struct blob *blob = blob_new(str_bytes(STR("blob ")));
    char got[64];

    (void)state;
    world_new(&w, NULL);
    conn_send_copy(&w.a.conn, str_bytes(STR("one ")));
    buf_append_str(&moved, STR("two "));
    conn_send(&w.a.conn, &moved);
    assert_null(moved.p);
    conn_send_blob(&w.a.conn, blob, blob_view(blob));
    blob_unref(&blob);
    conn_send_borrowed(&w.a.conn, str_bytes(STR("lent ")));
    conn_send_copy(&w.a.conn, str_bytes(STR("end")));
    assert_int_equal(read(w.fds[1], got, sizeof got), -1);
    turns(&w, 1);
    assert_int_equal(read(w.fds[1], got, sizeof got), 21);
    assert_memory_equal(got, "one two blob lent end", 21);
    close(w.fds[1]);
    world_free(&w);
    assert_int_equal(w.a.closed, 1);
}

static void a_slow_reader_fills_the_queue_and_drains_it_again(void **state)
{
    struct world w;
    struct buf big = {0};
    size_t total = 0, want = 3u << 20;
    uint8_t *got = malloc(1 << 20);

    (void)state;
    world_new(&w, &(struct conn_limits){.out_high = 1 << 20});
    memset(buf_grow(&big, want), 'x', want);
    conn_send(&w.a.conn, &big);
    assert_true(conn_full(&w.a.conn));
    turns(&w, 1);
    assert_int_equal(w.a.drained, 0);
    while (total < want) {
        ssize_t n = read(w.fds[1], got, 1 << 20);

        if (n > 0) total += (size_t)n;
        turns(&w, 1);
    }
    assert_int_equal(total, want);
    assert_int_equal(w.a.drained, 1);
    assert_int_equal(w.a.conn.out_bytes, 0);
    close(w.fds[1]);
    free(got);
    world_free(&w);
}

static void borrowed_output_can_be_made_our_own(void **state)
{
    struct world w;
    char text[] = "borrowed";
    char got[16];

    (void)state;
    world_new(&w, NULL);
    conn_send_borrowed(&w.a.conn, str_bytes(str_of(text)));
    conn_own(&w.a.conn);
    memset(text, '-', sizeof text);
    turns(&w, 1);
    assert_int_equal(read(w.fds[1], got, sizeof got), 8);
    assert_memory_equal(got, "borrowed", 8);
    close(w.fds[1]);
    world_free(&w);
}

static void count_sent(void *ctx)
{
    ++*(int *)ctx;
}

static void a_file_is_sent_between_other_output(void **state)
{
    struct world w;
    char path[] = "/tmp/millrace-tcp-XXXXXX", got[64];
    int fd = mkstemp(path), sent = 0;

    (void)state;
    unlink(path);
    assert_int_equal(write(fd, "0123456789", 10), 10);
    world_new(&w, NULL);
    conn_send_copy(&w.a.conn, str_bytes(STR("<")));
    conn_send_file(&w.a.conn, fd, 2, 5, count_sent, &sent);
    conn_send_copy(&w.a.conn, str_bytes(STR(">")));
    turns(&w, 1);
    assert_int_equal(read(w.fds[1], got, sizeof got), 7);
    assert_memory_equal(got, "<23456>", 7);
    assert_int_equal(sent, 1);
    close(fd);
    close(w.fds[1]);
    world_free(&w);
}

static void the_end_of_the_peers_output_leaves_ours_open(void **state)
{
    struct world w;
    char got[8];

    (void)state;
    world_new(&w, NULL);
    assert_int_equal(write(w.fds[1], "hi", 2), 2);
    shutdown(w.fds[1], SHUT_WR);
    turns(&w, 2);
    assert_int_equal(w.a.in.n, 2);
    assert_int_equal(w.a.eofs, 1);
    conn_send_copy(&w.a.conn, str_bytes(STR("yes")));
    conn_end(&w.a.conn);
    turns(&w, 1);
    assert_int_equal(read(w.fds[1], got, sizeof got), 3);
    assert_int_equal(read(w.fds[1], got, sizeof got), 0);
    turns(&w, 2);
    assert_int_equal(w.a.closed, 1);
    assert_int_equal(w.a.why.rc, RC_OK);
    close(w.fds[1]);
    world_free(&w);
}

static void ending_sends_what_is_queued_and_swallows_what_still_comes(void **state)
{
    struct world w;
    char got[16];

    (void)state;
    world_new(&w, NULL);
    conn_send_copy(&w.a.conn, str_bytes(STR("too large")));
    conn_end(&w.a.conn);
    turns(&w, 1);
    assert_int_equal(write(w.fds[1], "still sending", 13), 13);
    turns(&w, 1);
    assert_int_equal(read(w.fds[1], got, sizeof got), 9);
    assert_int_equal(w.a.closed, 0);
    close(w.fds[1]);
    turns(&w, 2);
    assert_int_equal(w.a.closed, 1);
    assert_int_equal(w.a.in.n, 0);
    world_free(&w);
}

static void closing_inside_a_callback_buries_at_the_end_of_the_turn_once(void **state)
{
    struct world w;

    (void)state;
    world_new(&w, NULL);
    w.a.close_on_data = true;
    assert_int_equal(write(w.fds[1], "x", 1), 1);
    turns(&w, 1);
    assert_int_equal(w.a.closed, 1);
    assert_false(conn_is_open(&w.a.conn));
    conn_close(&w.a.conn);
    turns(&w, 1);
    assert_int_equal(w.a.closed, 1);
    close(w.fds[1]);
    world_free(&w);
}

static void a_paused_conn_reads_nothing_until_resumed(void **state)
{
    struct world w;

    (void)state;
    world_new(&w, NULL);
    conn_pause(&w.a.conn);
    assert_int_equal(write(w.fds[1], "x", 1), 1);
    turns(&w, 2);
    assert_int_equal(w.a.in.n, 0);
    conn_resume(&w.a.conn);
    turns(&w, 1);
    assert_int_equal(w.a.in.n, 1);
    close(w.fds[1]);
    world_free(&w);
}

/* ---- Listening and connecting ---- */

struct door {
    struct world *w;
    struct side sides[4];
    int n;
    struct tcp_ceiling ceiling;
};

static void door_accepted(void *ctx, int fd, const struct addr *peer)
{
    struct door *d = ctx;
    struct err e;

    d->sides[d->n].echo = true;
    assert_int_equal(
        conn_open(d->w->tcp, &d->sides[d->n++].conn, fd, peer, &d->ceiling, &side_ops, NULL, &e),
        RC_OK);
}

static struct listener *door_open(struct world *w, struct door *d)
{
    struct listener *ln = NULL;
    struct err e;

    *d = (struct door){.w = w};
    d->ceiling.max = 1;
    assert_int_equal(listener_open(w->tcp,
                                   &(struct listener_options){.listen = STR("127.0.0.1:0"),
                                                              .ceiling = &d->ceiling,
                                                              .accepted = door_accepted,
                                                              .ctx = d},
                                   &ln, &e),
                     RC_OK);
    return ln;
}

static void connections_beyond_the_ceiling_are_closed_and_counted(void **state)
{
    struct world w;
    struct door d;
    struct listener *ln;
    struct side extra = {0};
    struct err e;

    (void)state;
    world_new(&w, NULL);
    ln = door_open(&w, &d);
    assert_int_equal(conn_connect(w.tcp, &w.b.conn, listener_addr(ln), &side_ops, NULL, &e), RC_OK);
    conn_send_copy(&w.b.conn, str_bytes(STR("ping")));
    for (int i = 0; i < 1000 && w.b.in.n < 4; i++)
        turns(&w, 1);
    assert_int_equal(w.b.connected, 1);
    assert_int_equal(w.b.in.n, 4);
    assert_int_equal(conn_connect(w.tcp, &extra.conn, listener_addr(ln), &side_ops, NULL, &e),
                     RC_OK);
    for (int i = 0; i < 1000 && !extra.eofs && !extra.closed; i++)
        turns(&w, 1);
    assert_int_equal(extra.in.n, 0);
    assert_int_equal(atomic_load(&d.ceiling.refused), 1);
    conn_close(&w.b.conn);
    for (int i = 0; i < 1000 && !d.sides[0].eofs; i++)
        turns(&w, 1);
    conn_close(&d.sides[0].conn);
    turns(&w, 1);
    assert_int_equal(atomic_load(&d.ceiling.now), 0);
    listener_close(ln);
    buf_fini(&d.sides[0].in);
    close(w.fds[1]);
    world_free(&w);
}

static void a_taken_port_and_a_closed_port_are_named(void **state)
{
    struct world w;
    struct door d;
    struct listener *ln, *second = NULL;
    struct err e = {0};
    char text[ADDR_TEXT_MAX];
    struct addr addr;

    (void)state;
    world_new(&w, NULL);
    ln = door_open(&w, &d);
    addr = *listener_addr(ln);
    assert_int_equal(listener_open(w.tcp,
                                   &(struct listener_options){.listen = addr_text(&addr, text),
                                                              .accepted = door_accepted,
                                                              .ctx = &d},
                                   &second, &e),
                     RC_EXISTS);
    assert_non_null(strstr(e.text, text));
    listener_close(ln);
    if (conn_connect(w.tcp, &w.b.conn, &addr, &side_ops, NULL, &e) == RC_OK) {
        for (int i = 0; i < 1000 && !w.b.closed; i++)
            turns(&w, 1);
        e = w.b.why;
    }
    assert_int_equal(e.rc, RC_UNAVAILABLE);
    assert_non_null(strstr(e.text, text));
    close(w.fds[1]);
    world_free(&w);
}

static void addresses_are_cut_and_written(void **state)
{
    struct addr a;
    struct addrs many;
    struct err e;
    struct str host;
    uint16_t port;
    char text[ADDR_TEXT_MAX];

    (void)state;
    assert_int_equal(addr_split(STR("[::1]:9000"), &host, &port, &e), RC_OK);
    assert_str(host, "::1");
    assert_int_equal(port, 9000);
    assert_true(addr_literal(STR("[::1]:65535"), &a));
    assert_str(addr_text(&a, text), "[::1]:65535");
    assert_true(addr_loopback(&a));
    assert_true(addr_literal(STR("*:80"), &a));
    assert_str(addr_text(&a, text), "0.0.0.0:80");
    assert_false(addr_literal(STR("localhost:80"), &a));
    assert_int_equal(addr_resolve(STR("127.0.0.1:1"), &many, &e), RC_OK);
    for (const char **bad = (const char *[]){"", "host", "host:", "host:x", "host:65536",
                                             "::1:9000", "h:-1", NULL};
         *bad; bad++)
        assert_int_equal(addr_split(str_of(*bad), &host, &port, &e), RC_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_sent_in_one_turn_leaves_in_order),
        cmocka_unit_test(a_slow_reader_fills_the_queue_and_drains_it_again),
        cmocka_unit_test(borrowed_output_can_be_made_our_own),
        cmocka_unit_test(a_file_is_sent_between_other_output),
        cmocka_unit_test(the_end_of_the_peers_output_leaves_ours_open),
        cmocka_unit_test(ending_sends_what_is_queued_and_swallows_what_still_comes),
        cmocka_unit_test(closing_inside_a_callback_buries_at_the_end_of_the_turn_once),
        cmocka_unit_test(a_paused_conn_reads_nothing_until_resumed),
        cmocka_unit_test(connections_beyond_the_ceiling_are_closed_and_counted),
        cmocka_unit_test(a_taken_port_and_a_closed_port_are_named),
        cmocka_unit_test(addresses_are_cut_and_written),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
