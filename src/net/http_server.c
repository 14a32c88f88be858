/* Design note: a connection starts undecided. Its first bytes are compared with the HTTP/2 preface as they come; the first
 * that differs makes it HTTP/1.1, all 24 make it HTTP/2. SPDX-License-Identifier: Apache-2.0 */
#include "base/diag.h"
#include "net/h2.h"
#include "net/http_conn.h"
#include "net/strikes.h"
#include "net/tls.h"
#include <time.h>

static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
_Static_assert(sizeof preface - 1 == HTTP2_PREFACE_BYTES, "24 bytes");

enum { TLS_HANDSHAKE = 0x16 }; /* the first byte of who speaks TLS */
static const struct err handshake_slow = {.rc = RC_AUTH, .text = "SSL handshake failed: it took too long"};

/* ---- Time ---- */

static void due_fire(struct timer *t)
{
    struct http_conn *hc = container_of(t, struct http_conn, timer);
    uint64_t now = loop_now_ms(hc->server->loop);

    if (hc->due_ms == UINT64_MAX) return;
    if (now < hc->due_ms) {
        timer_set(loop_timers(hc->server->loop), &hc->timer, hc->due_ms, due_fire);
        return;
    }
    if (hc->proto)
        hc->proto->due(hc);
    else if (hc->conn.tls && !hc->secure)
        conn_fail(&hc->conn, &handshake_slow);
    else
        conn_close(&hc->conn);
}

void http_conn_due(struct http_conn *hc, uint64_t at_ms)
{
    hc->due_ms = at_ms;
    if (at_ms != UINT64_MAX && (!timer_is_set(&hc->timer) || hc->timer.at_ms > at_ms))
        timer_set(loop_timers(hc->server->loop), &hc->timer, at_ms, due_fire);
}

struct str http_server_date(struct http_server *s)
{
    int64_t now = clock_wall_ms(loop_clock(s->loop)) / 1000;

    if (now != s->date_s) {
        time_t t = (time_t)now;
        struct tm tm;

        gmtime_r(&t, &tm);
        strftime(s->date, sizeof s->date, "%a, %d %b %Y %H:%M:%S GMT", &tm);
        s->date_s = now;
    }
    return str_of(s->date);
}

/* ---- Connections ---- */

static void speak(struct http_conn *hc, const struct http_proto *proto, struct bytes rest)
{
    hc->proto = proto;
    proto->open(hc);
    if (conn_is_open(&hc->conn)) proto->data(hc, bytes_of(hc->sniffed, hc->sniffed_n));
    if (conn_is_open(&hc->conn) && rest.n) proto->data(hc, rest);
}

/* Once a minute for each address. */
static void trouble(struct http_conn *hc, const char *event, const char *why)
{
    struct http_server *s = hc->server;
    char text[ADDR_TEXT_MAX];

    if (strikes_note(s->troubles, strikes_key(&hc->conn.peer), loop_now_ms(s->loop)) > 1) return;
    diag(DIAG_WARN, event, KV_CSTR("why", why), KV_STR("peer", addr_text(&hc->conn.peer, text)));
}

static void on_data(struct conn *c, struct bytes in)
{
    struct http_conn *hc = container_of(c, struct http_conn, conn);

    if (hc->proto) {
        hc->proto->data(hc, in);
        return;
    }
    if (!hc->sniffed_n && in.n && in.p[0] == TLS_HANDSHAKE && !hc->secure)
        trouble(hc, "http.tls_refused", "TLS on a port without it: the address begins with http://, or security.gateway.tls is missing");
    while (in.n && hc->sniffed_n < HTTP2_PREFACE_BYTES) {
        if (in.p[0] != (uint8_t)preface[hc->sniffed_n]) {
            speak(hc, &http1_proto, in);
            return;
        }
        hc->sniffed[hc->sniffed_n++] = in.p[0];
        in.p++;
        in.n--;
    }
    if (hc->sniffed_n == HTTP2_PREFACE_BYTES) speak(hc, &h2_proto, in);
}

static void on_connected(struct conn *c)
{
    struct http_conn *hc = container_of(c, struct http_conn, conn);

    hc->secure = true;
    hc->certified = tls_peer_known(c->tls);
    hc->server->counters.handshakes++;
    if (tls_resumed(c->tls)) hc->server->counters.handshakes_resumed++;
}

static void on_eof(struct conn *c)
{
    struct http_conn *hc = container_of(c, struct http_conn, conn);

    if (hc->proto)
        hc->proto->eof(hc);
    else
        conn_close(c);
}

static void on_drained(struct conn *c)
{
    struct http_conn *hc = container_of(c, struct http_conn, conn);

    budget_drop(&hc->out);
    if (hc->proto) hc->proto->drained(hc);
}

static void on_closed(struct conn *c, const struct err *why)
{
    struct http_conn *hc = container_of(c, struct http_conn, conn);
    struct http_server *s = hc->server;

    if (why->rc == RC_AUTH) {
        s->counters.handshakes_failed++;
        trouble(hc, "http.tls_failed", why->text);
    }
    if (hc->proto) hc->proto->closed(hc);
    budget_drop(&hc->out);
    timer_cancel(loop_timers(s->loop), &hc->timer);
    list_remove(&hc->link);
    s->counters.connections_now--;
    s->counters.bytes_in += c->bytes_in;
    s->counters.bytes_out += c->bytes_out;
    free(hc);
}

static const struct conn_ops ops = {
    .data = on_data, .eof = on_eof, .drained = on_drained, .closed = on_closed, .connected = on_connected};

void http_server_accept(struct http_server *s, int fd, const struct addr *peer,
                        struct tcp_ceiling *ceiling)
{
    http_server_accept_tls(s, fd, peer, ceiling, NULL);
}

void http_server_accept_tls(struct http_server *s, int fd, const struct addr *peer,
                            struct tcp_ceiling *ceiling, struct tls *tls)
{
    struct http_conn *hc = xnew(struct http_conn);
    struct err e;

    hc->server = s;
    hc->due_ms = UINT64_MAX;
    if (conn_open(s->tcp, &hc->conn, fd, peer, ceiling, &ops, NULL, &e)) {
        diag(DIAG_WARN, "http.accept", KV_CSTR("why", e.text));
        tls_free(tls);
        free(hc);
        return;
    }
    if (tls) conn_secure(&hc->conn, tls);
    list_push(&s->conns, &hc->link);
    s->counters.connections++;
    s->counters.connections_now++;
    if (s->draining)
        conn_close(&hc->conn);
    else
        http_conn_due(hc, loop_now_ms(s->loop) + s->o.head_ms);
}

/* ---- The server ---- */

static void defaults(struct http_options *o)
{
    if (!o->body_bytes_max) o->body_bytes_max = (size_t)1 << 30;
    if (!o->header_bytes_max) o->header_bytes_max = 64 << 10;
    if (!o->headers_max) o->headers_max = 128;
    if (!o->streams_max) o->streams_max = 1024;
    if (!o->idle_ms) o->idle_ms = 65000;
    if (!o->head_ms) o->head_ms = 10000;
    if (!o->body_ms) o->body_ms = 20000;
}

struct http_server *http_server_new(struct tcp *t, const struct http_options *o)
{
    struct http_server *s = xnew(struct http_server);

    s->tcp = t;
    s->loop = tcp_loop(t);
    s->o = *o;
    s->date_s = INT64_MIN;
    defaults(&s->o);
    list_init(&s->conns);
    list_init(&s->streams);
    s->troubles = strikes_new();
    h2_server_init(s);
    return s;
}

void http_server_drain(struct http_server *s)
{
    if (s->draining) return;
    s->draining = true;
    list_each_safe(it, &s->conns)
    {
        struct http_conn *hc = container_of(it, struct http_conn, link);

        if (hc->proto)
            hc->proto->drain(hc);
        else
            conn_close(&hc->conn);
    }
}

bool http_server_idle(const struct http_server *s)
{
    return list_empty(&s->conns);
}

bool http_server_settled(const struct http_server *s)
{
    list_each(it, &s->conns)
    {
        const struct http_conn *hc = container_of(it, struct http_conn, link);

        if (!list_empty(&hc->conn.out) || (hc->proto && hc->proto->busy(hc))) return false;
    }
    return true;
}

struct http_server *http_server_free(struct http_server *s)
{
    if (!s) return NULL;
    list_each_safe(it, &s->conns) conn_close(&container_of(it, struct http_conn, link)->conn);
    tcp_flush(s->tcp);
    must(list_empty(&s->conns));
    h2_server_fini(s);
    strikes_free(s->troubles);
    buf_fini(&s->scratch);
    free(s);
    return NULL;
}

void http_server_count(const struct http_server *s, struct http_counters *ret)
{
    *ret = s->counters;
}
