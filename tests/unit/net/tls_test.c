/* The inference port's TLS without a network: a server on one end of a socketpair, OpenSSL's client on the other.
 * SPDX-License-Identifier: Apache-2.0 */
#include "certificate.h"
#include "net/http_server.h"
#include "net/tls.h"
#include "test.h"
#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

enum { BODY_BYTES = 3 << 20, HEAD_MS = 10000 };

struct world {
    char folder[64], crt[96], key[96];
    struct clock_sim clock;
    struct loop *loop;
    struct tcp *tcp;
    struct tls_server *tls;
    struct http_server *http;
    int fd;
    SSL_CTX *client_ctx;
    SSL *client;
    struct buf got;
    bool ended, secure, certified;
};

/* ---- both ends ---- */

static void on_request(void *ctx, struct exchange *x)
{
    struct world *w = ctx;
    struct buf body = {0};

    w->secure = x->secure;
    w->certified = x->certified;
    if (str_is(x->path, "/large"))
        memset(buf_grow(&body, BODY_BYTES), 'x', BODY_BYTES), body.n = BODY_BYTES;
    else
        buf_append(&body, buf_view(&x->body));
    exchange_respond(x, 200, NULL, 0, &body);
}

static void world_new(struct world *w, enum tls_client_auth auth)
{
    struct http_options o = {.handler = {.request = on_request, .ctx = w}, .head_ms = HEAD_MS};
    struct err e;
    int fds[2];

    *w = (struct world){.folder = "/tmp/millrace-tls-XXXXXX"};
    assert_non_null(mkdtemp(w->folder));
    snprintf(w->crt, sizeof w->crt, "%s/crt", w->folder);
    snprintf(w->key, sizeof w->key, "%s/key", w->folder);
    certificate_write(w->crt, w->key, "first");
    clock_sim_init(&w->clock, 0);
    assert_int_equal(loop_new(&w->clock.clock, &w->loop, &e), RC_OK);
    w->tcp = tcp_new(w->loop);
    w->http = http_server_new(w->tcp, &o);
    assert_int_equal(tls_server_new(&(struct tls_options){w->crt, w->key, auth ? w->crt : NULL, auth, true}, &w->tls, &e), RC_OK);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
    http_server_accept_tls(w->http, fds[0], NULL, NULL, tls_accept(w->tls, fds[0]));
    w->fd = fds[1];
    w->client_ctx = SSL_CTX_new(TLS_client_method());
    w->client = SSL_new(w->client_ctx);
    SSL_set_fd(w->client, w->fd);
    SSL_set_connect_state(w->client);
}

static void world_free(struct world *w)
{
    http_server_free(w->http);
    tls_server_free(w->tls);
    tcp_free(w->tcp);
    loop_free(w->loop);
    SSL_free(w->client);
    SSL_CTX_free(w->client_ctx);
    if (w->fd >= 0) close(w->fd);
    buf_fini(&w->got);
    unlink(w->crt);
    unlink(w->key);
    rmdir(w->folder);
}

/* The loop turns and the client reads, until neither has anything to do. */
static void turns(struct world *w)
{
    for (int quiet = 0; quiet < 3; quiet++) {
        char part[5000];
        int n;

        loop_turn(w->loop, 0);
        while ((n = SSL_read(w->client, part, sizeof part)) > 0) {
            buf_append(&w->got, bytes_of(part, (size_t)n));
            quiet = 0;
            loop_turn(w->loop, 0);
        }
        if (SSL_get_error(w->client, n) != SSL_ERROR_WANT_READ) w->ended = true;
    }
}

/* All of it, however little the socket takes at a time. */
static void say(struct world *w, const char *p, size_t n)
{
    size_t sent;

    while (n) {
        if (SSL_write_ex(w->client, p, MIN(n, (size_t)7777), &sent) == 1) {
            p += sent;
            n -= sent;
        } else {
            turns(w);
            assert_false(w->ended);
        }
    }
    turns(w);
}

static void say_raw(struct world *w, const void *p, size_t n)
{
    assert_int_equal(write(w->fd, p, n), (ssize_t)n);
}

static bool closed_by_server(struct world *w)
{
    char part[1000];
    ssize_t n = 0;

    for (int i = 0; i < 5; i++) {
        loop_turn(w->loop, 0);
        while ((n = read(w->fd, part, sizeof part)) > 0) continue;
        if (n == 0 || errno != EAGAIN) return true;
    }
    return false;
}

static struct http_counters counters(const struct world *w)
{
    struct http_counters c;

    http_server_count(w->http, &c);
    return c;
}

/* ---- tests ---- */

static void a_request_goes_through_and_is_known_as_encrypted(void **state)
{
    struct world w;

    (void)state;
    world_new(&w, TLS_CLIENT_NONE);
    say(&w, "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhello", 52);
    assert_true(str_ends(buf_str(&w.got), STR("hello")));
    assert_true(w.secure);
    assert_false(w.certified);
    assert_int_equal(counters(&w).handshakes, 1);
    assert_false(w.ended);
    world_free(&w);
}

static void large_bodies_go_both_ways_whatever_pieces_they_come_in(void **state)
{
    struct world w;
    char *body = malloc(BODY_BYTES);
    static const char head[] = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3145728\r\n\r\n";

    (void)state;
    world_new(&w, TLS_CLIENT_NONE);
    for (size_t i = 0; i < BODY_BYTES; i++) body[i] = (char)('a' + i % 23);
    say(&w, head, sizeof head - 1);
    say(&w, body, BODY_BYTES);
    assert_true(w.got.n > BODY_BYTES);
    assert_memory_equal(w.got.p + w.got.n - BODY_BYTES, body, BODY_BYTES);
    free(body);
    world_free(&w);
}

static void pipelined_requests_are_answered_though_reading_stops_in_between(void **state)
{
    struct world w;
    struct buf all = {0};
    size_t answers = 0;

    (void)state;
    world_new(&w, TLS_CLIENT_NONE);
    for (int i = 0; i < 8; i++) buf_append_str(&all, STR("GET /large HTTP/1.1\r\nhost: a\r\n\r\n"));
    say(&w, (const char *)all.p, all.n);
    for (size_t i = 0; i + 8 < w.got.n; i++) answers += !memcmp(w.got.p + i, "HTTP/1.1", 8);
    assert_int_equal(answers, 8);
    assert_true(w.got.n > 8 * (size_t)BODY_BYTES);
    buf_fini(&all);
    world_free(&w);
}

static void who_is_silent_or_slow_in_the_handshake_is_closed_in_time(void **state)
{
    static const uint8_t begun[] = {0x16, 3, 1, 2, 0, 1};

    (void)state;
    for (int some = 0; some < 2; some++) {
        struct world w;

        world_new(&w, TLS_CLIENT_NONE);
        if (some) say_raw(&w, begun, sizeof begun);
        loop_turn(w.loop, 0);
        clock_sim_advance(&w.clock, (HEAD_MS - 1) * 1000);
        assert_false(closed_by_server(&w));
        clock_sim_advance(&w.clock, 2000);
        assert_true(closed_by_server(&w));
        assert_int_equal(counters(&w).handshakes_failed, 1);
        assert_int_equal(counters(&w).connections_now, 0);
        world_free(&w);
    }
}

static void garbage_and_plain_http_end_the_connection(void **state)
{
    static const char *const said[] = {"GET / HTTP/1.1\r\nhost: a\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "\x16\x03\x01\x00\x05zzzzz",
                                       "\x15\x03\x03\x00\x02\x02\x28", "\x17\x03\x03\x00\x01x"};

    (void)state;
    for (size_t i = 0; i < countof(said); i++) {
        struct world w;

        world_new(&w, TLS_CLIENT_NONE);
        say_raw(&w, said[i], i < 2 ? strlen(said[i]) : i == 2 ? 10 : i == 3 ? 7 : 6);
        assert_true(closed_by_server(&w));
        shutdown(w.fd, SHUT_WR);
        loop_turn(w.loop, 0);
        loop_turn(w.loop, 0);
        assert_int_equal(counters(&w).handshakes_failed, 1);
        assert_int_equal(counters(&w).connections_now, 0);
        world_free(&w);
    }
}

static void a_client_certificate_is_wanted_where_it_is_required(void **state)
{
    struct world w;

    (void)state;
    world_new(&w, TLS_CLIENT_REQUIRED);
    turns(&w);
    assert_true(w.ended); /* with the alert that says why */
    assert_int_equal(ERR_GET_REASON(ERR_peek_error()), SSL_R_TLSV13_ALERT_CERTIFICATE_REQUIRED);
    ERR_clear_error();
    assert_int_equal(counters(&w).handshakes_failed, 0); /* until the peer has taken it */
    shutdown(w.fd, SHUT_WR);
    loop_turn(w.loop, 0);
    loop_turn(w.loop, 0);
    assert_int_equal(counters(&w).handshakes_failed, 1);
    world_free(&w);

    world_new(&w, TLS_CLIENT_REQUIRED);
    assert_int_equal(SSL_use_certificate_file(w.client, w.crt, SSL_FILETYPE_PEM), 1);
    assert_int_equal(SSL_use_PrivateKey_file(w.client, w.key, SSL_FILETYPE_PEM), 1);
    turns(&w);
    say(&w, "GET /a HTTP/1.1\r\nhost: a\r\n\r\n", 28);
    assert_true(w.certified);
    world_free(&w);
}

static void protocols_are_agreed_on(void **state)
{
    static const struct { const char *offer, *wanted; } cases[] = {
        {"\x02h2\x08http/1.1", "h2"}, {"\x08http/1.1", "http/1.1"}, {"\x08http/1.1\x02h2", "h2"}, {"\x04smtp", NULL}};

    (void)state;
    for (size_t i = 0; i < countof(cases); i++) {
        const unsigned char *chosen;
        unsigned n;
        struct world w;

        world_new(&w, TLS_CLIENT_NONE);
        SSL_set_alpn_protos(w.client, (const unsigned char *)cases[i].offer, (unsigned)strlen(cases[i].offer));
        turns(&w);
        SSL_get0_alpn_selected(w.client, &chosen, &n);
        assert_int_equal(w.ended, cases[i].wanted == NULL);
        if (cases[i].wanted) assert_memory_equal(chosen, cases[i].wanted, strlen(cases[i].wanted));
        ERR_clear_error();
        world_free(&w);
    }
}

static void a_new_certificate_is_for_new_connections(void **state)
{
    struct world w;
    bool changed;
    struct err e;
    int fds[2];

    (void)state;
    world_new(&w, TLS_CLIENT_NONE);
    turns(&w);
    assert_int_equal(tls_server_reload(w.tls, &changed, &e), RC_OK);
    assert_false(changed);
    certificate_write(w.crt, w.key, "second, with another length");
    assert_int_equal(tls_server_reload(w.tls, &changed, &e), RC_OK);
    assert_true(changed);
    say(&w, "GET /a HTTP/1.1\r\nhost: a\r\n\r\n", 28);
    assert_true(w.got.n > 0);
    SSL_free(w.client);
    close(w.fd);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
    http_server_accept_tls(w.http, fds[0], NULL, NULL, tls_accept(w.tls, fds[0]));
    w.fd = fds[1];
    w.client = SSL_new(w.client_ctx);
    SSL_set_fd(w.client, w.fd);
    SSL_set_connect_state(w.client);
    turns(&w);
    char *name = X509_NAME_oneline(X509_get_subject_name(SSL_get0_peer_certificate(w.client)), NULL, 0);
    assert_string_equal(name, "/CN=second, with another length");
    OPENSSL_free(name);
    world_free(&w);
}

static void file_write(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");

    assert_non_null(f);
    fputs(text, f);
    assert_int_equal(fclose(f), 0);
}

static void files_that_cannot_be_used_change_nothing_and_are_told_of_once(void **state)
{
    struct world w;
    int64_t end;

    (void)state;
    world_new(&w, TLS_CLIENT_NONE);
    end = tls_server_not_after(w.tls);
    assert_false(tls_server_look(w.tls, STR("l"), 0));
    file_write(w.crt, "no certificate");
    assert_true(tls_server_look(w.tls, STR("l"), 0));
    assert_false(tls_server_look(w.tls, STR("l"), 5));
    assert_int_equal(unlink(w.crt), 0);          /* something else is wrong now */
    assert_true(tls_server_look(w.tls, STR("l"), 10));
    assert_false(tls_server_look(w.tls, STR("l"), 15));
    assert_int_equal(tls_server_not_after(w.tls), end);
    say(&w, "GET /a HTTP/1.1\r\nhost: a\r\n\r\n", 28);
    assert_true(w.got.n > 0);
    certificate_write(w.crt, w.key, "second, with another length");
    assert_true(tls_server_look(w.tls, STR("l"), 20));
    assert_false(tls_server_look(w.tls, STR("l"), 25));
    world_free(&w);
}

static void of_a_certificate_that_ends_the_log_is_told_once_a_day(void **state)
{
    enum { DAY = 86400 };
    struct world w;
    struct err e;
    int64_t end;
    bool changed;

    (void)state;
    world_new(&w, TLS_CLIENT_NONE);
    end = tls_server_not_after(w.tls);
    assert_false(tls_server_warn_of_end(w.tls, STR("l"), end - 14 * DAY));
    assert_true(tls_server_warn_of_end(w.tls, STR("l"), end - 14 * DAY + 1));
    assert_false(tls_server_warn_of_end(w.tls, STR("l"), end - 14 * DAY + 6));
    assert_false(tls_server_warn_of_end(w.tls, STR("l"), end - 13 * DAY));
    assert_true(tls_server_warn_of_end(w.tls, STR("l"), end - 13 * DAY + 1));
    assert_true(tls_server_warn_of_end(w.tls, STR("l"), end - 13 * DAY)); /* the clock was put back */
    assert_true(tls_server_warn_of_end(w.tls, STR("l"), end + 3 * DAY));
    assert_false(tls_server_warn_of_end(w.tls, STR("l"), end + 3 * DAY + 5));
    certificate_write(w.crt, w.key, "second");
    assert_int_equal(tls_server_reload(w.tls, &changed, &e), RC_OK);
    assert_true(changed); /* another one: told of at once */
    end = tls_server_not_after(w.tls);
    assert_true(tls_server_warn_of_end(w.tls, STR("l"), end - 12 * DAY));
    assert_false(tls_server_warn_of_end(w.tls, STR("l"), end - 12 * DAY + 5));
    world_free(&w);
}

/* ---- tls_write() by itself ---- */

struct pair {
    struct world w; /* the certificate, and who accepts */
    struct tls *server;
    SSL *client;
    int fds[2];
    struct buf sent, got;
};

static void pair_new(struct pair *p, int version)
{
    const int small = 20000;
    struct err e;

    *p = (struct pair){0};
    world_new(&p->w, TLS_CLIENT_NONE);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, p->fds), 0);
    assert_int_equal(setsockopt(p->fds[0], SOL_SOCKET, SO_SNDBUF, &small, sizeof small), 0);
    p->server = tls_accept(p->w.tls, p->fds[0]);
    p->client = SSL_new(p->w.client_ctx);
    SSL_set_fd(p->client, p->fds[1]);
    SSL_set_max_proto_version(p->client, version);
    for (int i = 0; i < 10 && !tls_established(p->server); i++) {
        (void)SSL_connect(p->client);
        assert_int_equal(tls_handshake(p->server, &e), RC_OK);
    }
    assert_int_equal(SSL_connect(p->client), 1);
    assert_int_equal(SSL_version(p->client), version);
    buf_grow(&p->sent, BODY_BYTES);
    for (size_t i = 0; i < p->sent.n; i++) p->sent.p[i] = (uint8_t)(i * 31 + i / 251);
}

static void pair_free(struct pair *p)
{
    tls_free(p->server);
    SSL_free(p->client);
    close(p->fds[0]);
    if (p->fds[1] >= 0) close(p->fds[1]);
    buf_fini(&p->sent);
    buf_fini(&p->got);
    world_free(&p->w);
}

/* What there is, up to `most` bytes. */
static void client_reads(struct pair *p, size_t most)
{
    int n;

    do {
        n = SSL_read(p->client, buf_grow(&p->got, most), (int)most);
        p->got.n -= most - (size_t)MAX(n, 0);
        most -= (size_t)MAX(n, 0);
    } while (n > 0 && most);
}

/* The peer reads as slowly as may be, and now and then asks for new keys: that answer, too, waits for its turn. */
static void all_leaves_in_order(int version, bool new_keys)
{
    static struct tls_room room;
    static const size_t sizes[] = {1, 100000, 16384, 40000, 16385, 700, 65536, 3 << 20};
    struct pair p;
    size_t at = 0, owed_n = 0, keys_n = 0, said = 0;
    char byte;

    pair_new(&p, version);
    for (size_t turn = 0; at < p.sent.n; turn++) {
        size_t n = MIN(sizes[turn % countof(sizes)], p.sent.n - at);
        ssize_t done;

        while ((done = tls_write(p.server, &room, p.sent.p + at, n)) < 0) {
            assert_int_equal(errno, EAGAIN);
            assert_true(tls_wants_write(p.server));
            assert_int_equal(room.records_n, 0);
            client_reads(&p, 5000);
            if (new_keys && keys_n < 20) {
                keys_n++;
                assert_int_equal(SSL_key_update(p.client, SSL_KEY_UPDATE_REQUESTED), 1);
                assert_int_equal(SSL_write(p.client, "k", 1), 1);
                said += tls_read(p.server, &byte, 1) == 1; /* if not: its answer has to leave first */
            }
            if (!tls_owed(p.server)) continue;
            owed_n++;
            done = tls_write(p.server, &room, NULL, tls_owed(p.server));
            if (done > 0) break;
        }
        assert_in_range(done, 1, n);
        at += (size_t)done;
    }
    assert_int_equal(tls_owed(p.server), 0);
    client_reads(&p, p.sent.n);
    while (said < keys_n && tls_read(p.server, &byte, 1) == 1) said++;
    assert_int_equal(said, keys_n);
    assert_true(owed_n > 10);
    assert_int_equal(p.got.n, p.sent.n);
    assert_memory_equal(p.got.p, p.sent.p, p.sent.n);
    assert_int_equal(room.waiting, 0);
    pair_free(&p);
}

static void what_the_socket_has_no_room_for_leaves_before_anything_else(void **state)
{
    (void)state;
    all_leaves_in_order(TLS1_2_VERSION, false);
    all_leaves_in_order(TLS1_3_VERSION, false);
    all_leaves_in_order(TLS1_3_VERSION, true);
}

static void what_waits_for_peers_that_do_not_read_has_a_ceiling(void **state)
{
    enum { MANY = 10, LEFT = 2 * TLS_WRITE_BYTES };
    static struct tls_room room;
    struct pair p[MANY];
    size_t owed = 0;

    (void)state;
    room.waiting = TLS_WAITING_BYTES - LEFT; /* of others */
    for (int i = 0; i < MANY; i++) {
        ssize_t n;

        pair_new(&p[i], TLS1_3_VERSION);
        while ((n = tls_write(p[i].server, &room, p[i].sent.p, p[i].sent.n)) > 0) continue;
        assert_int_equal(errno, EAGAIN);
        owed += tls_owed(p[i].server) > 0;
    }
    assert_in_range(owed, 2, MANY - 1);
    assert_true(room.waiting < TLS_WAITING_BYTES + TLS_RECORDS_BYTES);
    for (int i = 0; i < MANY; i++) pair_free(&p[i]);
    assert_int_equal(room.waiting, TLS_WAITING_BYTES - LEFT);
}

static void a_peer_that_has_gone_is_an_error_of_the_write(void **state)
{
    static struct tls_room room;

    (void)state;
    for (int before = 0; before < 2; before++) {
        struct pair p;

        pair_new(&p, TLS1_3_VERSION);
        if (!before) assert_int_equal(tls_write(p.server, &room, p.sent.p, p.sent.n), -1);
        if (!before) assert_true(tls_owed(p.server) > 0);
        close(p.fds[1]);
        p.fds[1] = -1;
        assert_int_equal(tls_write(p.server, &room, before ? p.sent.p : NULL, before ? p.sent.n : tls_owed(p.server)), -1);
        assert_int_equal(errno, EPIPE);
        assert_int_equal(room.records_n, 0);
        tls_close_notify(p.server);
        pair_free(&p);
    }
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN); /* as the program does: OpenSSL writes with write() */
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_request_goes_through_and_is_known_as_encrypted),
        cmocka_unit_test(large_bodies_go_both_ways_whatever_pieces_they_come_in),
        cmocka_unit_test(pipelined_requests_are_answered_though_reading_stops_in_between),
        cmocka_unit_test(who_is_silent_or_slow_in_the_handshake_is_closed_in_time),
        cmocka_unit_test(garbage_and_plain_http_end_the_connection),
        cmocka_unit_test(a_client_certificate_is_wanted_where_it_is_required),
        cmocka_unit_test(protocols_are_agreed_on),
        cmocka_unit_test(a_new_certificate_is_for_new_connections),
        cmocka_unit_test(files_that_cannot_be_used_change_nothing_and_are_told_of_once),
        cmocka_unit_test(of_a_certificate_that_ends_the_log_is_told_once_a_day),
        cmocka_unit_test(what_the_socket_has_no_room_for_leaves_before_anything_else),
        cmocka_unit_test(what_waits_for_peers_that_do_not_read_has_a_ceiling),
        cmocka_unit_test(a_peer_that_has_gone_is_an_error_of_the_write),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
