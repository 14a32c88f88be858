/* One client's bytes. Reading: shared buffer, or its own for a large frame; see sock.h. Writing: gathers bytes up to the
 * next file piece. A peer that stops in the middle of a large frame, or does not read what it asked for, is closed after a
 * while: STALL_MS when it holds memory others wait for, else connections.max.idle.ms.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "broker/sock.h"
#include "base/diag.h"
#include "sys/fs.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

enum {
    STALL_MS = 30000,
    IOVS_MAX = 64,
    LARGE_READ_BYTES = 1 << 20, /* of one connection in one turn */
    WRITE_BYTES_PER_TURN = 4 << 20,
    SEND_FILE_BYTES = 1 << 20,
};

static struct broker *broker_of(const struct sock *s)
{
    return s->l->l.broker;
}

static void die(struct sock *s)
{
    list_remove(&s->link);
    list_push(&s->l->dead, &s->link);
    loop_unwatch(broker_of(s)->loop, &s->watch);
    s->later = true;
}

static void events_set(struct sock *s)
{
    uint32_t want = 0;

    if (!s->watch.active) return;
    if (!s->later && !s->closing && list_empty(&s->short_link)) want |= EPOLLIN;
    if (s->conn.parked) want |= EPOLLRDHUP; /* nobody is there to wait for the answer */
    if (s->out || (s->tls && tls_wants_write(s->tls))) want |= EPOLLOUT;
    loop_events(broker_of(s)->loop, &s->watch, want);
}

static void dirty(struct sock *s)
{
    if (list_empty(&s->dirty_link)) list_push(&s->l->dirty, &s->dirty_link);
}

/* ---- reading ---- */

static void reserved_drop(struct sock *s)
{
    if (s->reserved) memory_release(broker_of(s), s->reserved);
    s->reserved = 0;
}

/* Offers the whole frames at p. Returns how many bytes were taken; s->later when the broker wants no more. */
static size_t offer(struct sock *s, uint8_t *p, size_t n)
{
    size_t at = 0;

    while (n - at >= 4 && !s->conn.closing) {
        int32_t size = (int32_t)load_be32(p + at);

        if (!broker_frame_begins_ok(&s->conn, (struct bytes){p + at, n - at})) {
            if (trouble_is_new(broker_of(s), size >> 16 == 0x1603 ? "tls" : "frame", &s->conn))
                diag(DIAG_WARN, "broker.frame_refused",
                 KV_CSTR("why", size >> 16 == 0x1603 ? "TLS on a listener without it: security.protocol of the client is SSL or SASL_SSL, the listener's is not"
                                                     : "no Kafka request, or a too large one"),
                 KV_CSTR("peer", s->conn.peer), KV_I64("bytes", size));
            die(s);
            return n;
        }
        if (n - at - 4 < (size_t)size) break;
        switch (broker_conn_frame(&s->conn, p + at + 4, (size_t)size, NULL)) {
        case BROKER_FRAME_DONE: at += 4 + (size_t)size; break;
        case BROKER_FRAME_LATER: s->later = true; return at;
        case BROKER_FRAME_CLOSE: return n;
        }
    }
    return at;
}

/* `in` starts with the size of a large frame: makes room for all of it, or waits for the memory. */
static void large_begin(struct sock *s)
{
    struct broker *b = broker_of(s);
    size_t size = load_be32(s->in.p);

    if (!memory_reserve(b, size)) {
        if (list_empty(&s->short_link)) list_push(&s->l->short_of_memory, &s->short_link);
        return;
    }
    list_remove(&s->short_link);
    s->reserved = size;
    s->frame_n = size;
    buf_consume(&s->in, 4);
    buf_reserve(&s->in, size - s->in.n);
}

static bool is_large(const uint8_t *p, size_t n)
{
    return n >= 6 && load_be32(p) > SOCK_SMALL_BYTES; /* the key was looked at, too */
}

static void keep(struct sock *s, const uint8_t *p, size_t n)
{
    if (p == s->in.p) return;
    buf_clear(&s->in);
    buf_append(&s->in, (struct bytes){p, n});
}

/* Takes what can be taken out of p, which may be `in` itself, and keeps the rest. */
static void take(struct sock *s, uint8_t *p, size_t n)
{
    size_t taken = offer(s, p, n);

    if (s->conn.closing || taken == n) {
        buf_fini(&s->in);
        return;
    }
    if (p == s->in.p)
        buf_consume(&s->in, taken);
    else
        keep(s, p + taken, n - taken);
    if (!s->later && is_large(s->in.p, s->in.n)) large_begin(s);
}

/* A large frame is whole. The broker may take its buffer. */
static void large_end(struct sock *s)
{
    switch (broker_conn_frame(&s->conn, s->in.p, s->frame_n, &s->in)) {
    case BROKER_FRAME_LATER: s->later = true; return;
    case BROKER_FRAME_DONE:
    case BROKER_FRAME_CLOSE: break;
    }
    s->frame_n = 0;
    reserved_drop(s); /* a buffer that the broker took it has counted itself */
    buf_fini(&s->in);
}

/* TLS took more from the socket than there was room for: no event will tell of it. */
static void note_unread(struct sock *s)
{
    if (!s->tls || !tls_pending(s->tls) || !list_empty(&s->unread_link)) return;
    list_push(&s->l->unread, &s->unread_link);
    broker_again(broker_of(s));
}

static ssize_t receive(struct sock *s, void *p, size_t n)
{
    ssize_t got = s->tls ? tls_read(s->tls, p, n) : recv(s->watch.fd, p, n, 0);

    if (got > 0) {
        s->active_ms = broker_now_ms(broker_of(s));
        note_unread(s);
        return got;
    }
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return 0;
    die(s);
    return -1;
}

static void read_large(struct sock *s)
{
    size_t want = MIN(s->frame_n - s->in.n, (size_t)LARGE_READ_BYTES);
    ssize_t got = receive(s, s->in.p + s->in.n, want);

    if (got <= 0) return;
    s->in.n += (size_t)got;
    if (s->in.n == s->frame_n) large_end(s);
}

static void read_small(struct sock *s)
{
    size_t have = s->in.n;
    ssize_t got;

    must(have <= SOCK_READ_BYTES / 2);
    if (have) memcpy(s->l->scratch, s->in.p, have);
    got = receive(s, s->l->scratch + have, SOCK_READ_BYTES - have);
    if (got > 0) take(s, s->l->scratch, have + (size_t)got);
}

static void on_resume(struct broker_conn *c)
{
    struct sock *s = container_of(c, struct sock, conn);

    if (s->closing || !s->watch.active) return;
    s->later = false;
    note_unread(s);
    if (s->frame_n && s->in.n == s->frame_n)
        large_end(s);
    else if (!s->frame_n && s->in.n)
        take(s, s->in.p, s->in.n);
    dirty(s);
}

/* ---- writing ---- */

static void on_send(struct broker_conn *c, struct broker_reply *r)
{
    struct sock *s = container_of(c, struct sock, conn);

    broker_reply_set_next(r, NULL);
    if (s->out)
        broker_reply_set_next(s->out_last, r);
    else
        s->out = r;
    s->out_last = r;
    dirty(s);
}

static void sent(struct sock *s, size_t n)
{
    s->active_ms = broker_now_ms(broker_of(s));
    while (s->out) {
        struct broker_part p = broker_reply_part(s->out, s->part);
        size_t step = MIN(n, p.n - s->part_at);

        n -= step;
        s->part_at += step;
        if (s->part_at < p.n) return;
        s->part_at = 0;
        if (++s->part < broker_reply_parts(s->out)) continue;
        s->part = 0;
        struct broker_reply *done = s->out;
        s->out = broker_reply_next(done);
        broker_reply_free(done);
    }
    must(n == 0);
}

/* Bytes from where we are up to the next file piece. */
static int gather(const struct sock *s, struct iovec *iov, bool *ret_file_follows)
{
    const struct broker_reply *r = s->out;
    size_t part = s->part, at = s->part_at;
    int n = 0;

    *ret_file_follows = false;
    while (r && n < IOVS_MAX) {
        struct broker_part p = broker_reply_part(r, part);

        if (p.file) {
            *ret_file_follows = true;
            break;
        }
        if (p.n > at) iov[n++] = (struct iovec){(void *)(uintptr_t)(p.bytes.p + at), p.n - at};
        at = 0;
        if (++part == broker_reply_parts(r)) {
            part = 0;
            r = broker_reply_next(r);
        }
    }
    return n;
}

/* TLS wants its bytes in one piece, and the same ones again when the socket was full: from where we are, as many as
 * `piece` holds, files included. False: a file has fewer than were promised. */
static bool gather_piece(const struct sock *s, uint8_t piece[TLS_WRITE_BYTES], size_t *ret_n)
{
    const struct broker_reply *r = s->out;
    size_t part = s->part, at = s->part_at, n = 0;

    while (r && n < TLS_WRITE_BYTES) {
        struct broker_part p = broker_reply_part(r, part);
        size_t some = MIN(p.n - at, TLS_WRITE_BYTES - n);
        struct err e;

        if (p.file && tls_sends_files(s->tls)) break;
        if (p.file && file_read_exact(p.file, piece + n, some, p.offset + at, &e)) return false;
        if (!p.file && some) memcpy(piece + n, p.bytes.p + at, some);
        n += some;
        at += some;
        if (at < p.n) break;
        at = 0;
        if (++part == broker_reply_parts(r)) {
            part = 0;
            r = broker_reply_next(r);
        }
    }
    *ret_n = n;
    return true;
}

static ssize_t tls_write_some(struct sock *s)
{
    static struct tls_room room; /* one loop */
    size_t n = tls_owed(s->tls);
    ssize_t sent;

    if (!n && !gather_piece(s, room.plain, &n)) {
        errno = EIO;
        return -1;
    }
    if (n) {
        sent = tls_write(s->tls, &room, room.plain, n);
    } else {
        struct broker_part p = broker_reply_part(s->out, s->part);

        sent = tls_send_file(s->tls, file_fd(p.file), (off_t)(p.offset + s->part_at), p.n - s->part_at);
    }
    if (!sent) errno = EPIPE; /* the peer has said that this is its end */
    return sent ? sent : -1;
}

/* One system call. 0: the socket is full. */
static ssize_t write_some(struct sock *s)
{
    struct iovec iov[IOVS_MAX];
    bool file_follows;
    int n;

    if (s->tls) return tls_write_some(s);
    n = gather(s, iov, &file_follows);
    if (n) {
        struct msghdr m = {.msg_iov = iov, .msg_iovlen = (size_t)n};

        return sendmsg(s->watch.fd, &m, MSG_NOSIGNAL | (file_follows ? MSG_MORE : 0));
    }
    struct broker_part p = broker_reply_part(s->out, s->part);
    off_t from = (off_t)(p.offset + s->part_at);
    ssize_t got;

    must(p.file); /* sent() leaves no part of which nothing is left */
    got = sendfile(s->watch.fd, file_fd(p.file), &from,
                   MIN(p.n - s->part_at, (size_t)SEND_FILE_BYTES));
    if (got == 0) {
        errno = EIO; /* the file ends before what was promised */
        return -1;
    }
    return got;
}

static void write_out(struct sock *s)
{
    size_t total = 0;

    while (s->out && total < WRITE_BYTES_PER_TURN) {
        ssize_t n = write_some(s);

        if (n < 0 && errno == EINTR) continue;
        if (n < 0 && errno == EAGAIN) break;
        if (n < 0) {
            if (errno == EIO)
                diag(DIAG_ERROR, "broker.send_failed",
                     KV_CSTR("why", "a segment file is shorter than it was"),
                     KV_CSTR("peer", s->conn.peer));
            die(s);
            return;
        }
        sent(s, (size_t)n);
        total += (size_t)n;
    }
    if (!s->out && s->closing) {
        die(s);
        return;
    }
    events_set(s);
}

static void on_close(struct broker_conn *c)
{
    struct sock *s = container_of(c, struct sock, conn);

    s->closing = true;
    dirty(s);
}

/* ---- time ---- */

static void on_timer(struct timer *t)
{
    struct sock *s = container_of(t, struct sock, timer);
    struct broker *b = broker_of(s);
    bool holds = s->frame_n || (s->out && memory_is_short(b)) || (s->tls && !s->known);
    uint64_t idle_max =
        holds || s->closing ? STALL_MS : (uint64_t)b->config.connections_max_idle_ms;
    uint64_t due = s->active_ms + idle_max;

    if (due <= broker_now_ms(b) && s->watch.active) {
        if (holds)
            diag(DIAG_WARN, "broker.peer_stalled", KV_CSTR("peer", s->conn.peer),
                 KV_U64("frame_bytes", s->frame_n));
        die(s);
        return;
    }
    timer_set(b->timers, t, MIN(MAX(due, broker_now_ms(b) + 1), broker_now_ms(b) + STALL_MS),
              on_timer);
}

/* ---- life ---- */

static void read_more(struct sock *s)
{
    if (s->later || s->closing || !list_empty(&s->short_link) || (s->tls && !s->known)) return;
    if (s->frame_n)
        read_large(s);
    else
        read_small(s);
}

/* The handshake is done: the client's certificate says who it is, unless SASL will. */
static bool learn_principal(struct sock *s)
{
    AUTO(buf_fini) struct buf subject = {0}, name = {0};

    s->known = true;
    if (s->conn.sasl || !tls_peer_subject(s->tls, &subject)) return true;
    buf_append_str(&name, STR("User:"));
    if (principal_of_subject(s->l->rules, buf_str(&subject), &name)) {
        broker_conn_principal(&s->conn, buf_str(&name));
        return true;
    }
    diag(DIAG_WARN, "tls.no_principal", KV_STR("subject", buf_str(&subject)), KV_CSTR("peer", s->conn.peer),
         KV_CSTR("why", "no rule of principalMappingRules matches the certificate's subject"));
    return false;
}

static void shake_hands(struct sock *s)
{
    struct broker *b = broker_of(s);
    struct err e;

    if (tls_handshake(s->tls, &e)) {
        b->stats.handshakes_failed++;
        if (trouble_is_new(b, e.text, &s->conn))
            diag(DIAG_WARN, "tls.handshake_failed", KV_CSTR("why", e.text), KV_CSTR("peer", s->conn.peer),
             KV_STR("listener", s->l->l.name));
        die(s);
        return;
    }
    if (!tls_established(s->tls)) return;
    b->stats.handshakes++;
    b->stats.handshakes_resumed += tls_resumed(s->tls);
    s->active_ms = broker_now_ms(b);
    if (!learn_principal(s)) die(s);
}

static void on_ready(struct watch *w, uint32_t events)
{
    struct sock *s = container_of(w, struct sock, watch);
    bool waited = s->tls && (!s->known || tls_wants_write(s->tls)); /* for the handshake, or to read on */

    if (s->tls && !s->known) shake_hands(s); /* first: who has left may have said why */
    if (s->watch.active && ((events & (EPOLLHUP | EPOLLERR)) || (s->conn.parked && (events & EPOLLRDHUP)))) {
        die(s);
        return;
    }
    if ((events & EPOLLIN) || waited) read_more(s);
    dirty(s);
}

static const struct broker_conn_ops sock_ops = {
    .send = on_send, .close = on_close, .resume = on_resume};

void sock_open(struct sock_listener *l, int fd, struct str peer, const uint8_t *address,
               uint32_t address_n)
{
    struct broker *b = l->l.broker;
    struct sock *s = xnew(struct sock);
    struct err e;

    s->l = l;
    list_init(&s->dirty_link);
    list_init(&s->short_link);
    list_init(&s->unread_link);
    memcpy(s->address, address, address_n);
    s->address_n = address_n;
    s->active_ms = broker_now_ms(b);
    broker_conn_init(&s->conn, b, &l->l, &sock_ops, peer);
    if (l->tls) s->tls = tls_accept(l->tls, fd);
    list_push(&l->socks, &s->link);
    l->n++;
    if (loop_watch(b->loop, &s->watch, fd, EPOLLIN, on_ready, &e)) {
        diag(DIAG_ERROR, "broker.connection_not_watched", KV_CSTR("why", e.text));
        s->watch.fd = fd;
        die(s);
        return;
    }
    timer_set(b->timers, &s->timer, broker_now_ms(b) + STALL_MS, on_timer);
}

void sock_delete(struct sock *s)
{
    struct broker *b = broker_of(s);

    loop_unwatch(b->loop, &s->watch);
    if (s->tls) tls_close_notify(s->tls);
    s->tls = tls_free(s->tls);
    while (s->out) {
        struct broker_reply *r = s->out;

        s->out = broker_reply_next(r);
        broker_reply_free(r);
    }
    broker_conn_fini(&s->conn);
    timer_cancel(b->timers, &s->timer);
    list_remove(&s->link);
    list_remove(&s->dirty_link);
    list_remove(&s->short_link);
    list_remove(&s->unread_link);
    reserved_drop(s);
    buf_fini(&s->in);
    close(s->watch.fd);
    s->l->n--;
    free(s);
}

/* Memory came free: the first in line gets it. */
static void serve_short_of_memory(struct sock_listener *l)
{
    while (!list_empty(&l->short_of_memory)) {
        struct sock *s = container_of(l->short_of_memory.next, struct sock, short_link);

        large_begin(s);
        if (!list_empty(&s->short_link)) return;
        note_unread(s);
        dirty(s);
    }
}

void socks_turn(struct sock_listener *l)
{
    struct list now, *it;

    list_move(&l->unread, &now);
    while ((it = list_pop(&now))) {
        struct sock *s = container_of(it, struct sock, unread_link);

        if (!s->watch.active) continue;
        read_more(s);
        dirty(s);
    }
    serve_short_of_memory(l);
    list_init(&now);
    while ((it = list_pop(&l->dirty)))
        list_push(&now, it);
    while ((it = list_pop(&now))) {
        struct sock *s = container_of(it, struct sock, dirty_link);

        if (!s->watch.active) continue;
        if (s->out || s->closing)
            write_out(s);
        else
            events_set(s);
    }
}
