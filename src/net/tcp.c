/* Design note: a conn is closed at once (descriptor, watch, queue) but buried at the end of the turn, so that no owner
 * frees one that is still on somebody's stack. Output waits in items; a run of small copies shares one. Level-triggered
 * epoll: EPOLLIN unless paused, EPOLLOUT only after a short write. With TLS the queue stays what was said; records are made
 * of it as they leave. What TLS has read but not handed out is no event of epoll: those connections are visited again.
 * SPDX-License-Identifier: Apache-2.0 */
#include "net/tcp.h"
#include "net/tls.h"
#include <errno.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/sendfile.h>
#include <sys/uio.h>
#include <unistd.h>

enum {
    READ_BYTES = 64 << 10,
    READS_PER_EVENT = 8,
    COPY_BYTES = 4 << 10, /* room of a fresh item for small copies */
    COPY_MAX = 2 << 10,   /* bufs up to this size are copied behind the last item */
    IOV_PER_WRITE = 64,
    ITEMS_KEPT = 256,
    SPARES_KEPT = 64,
    DISCARD_MAX = 1 << 20,
    DISCARD_MS = 2000,
};

enum out_kind { OUT_BUF, OUT_BLOB, OUT_BORROWED, OUT_FILE };
struct out_item {
    struct list link;
    enum out_kind kind;
    struct bytes rest; /* what is still to be sent; of a file only .n */
    struct buf buf;
    struct blob *blob;
    int fd;
    off_t at;
    void (*sent)(void *ctx);
    void *ctx;
};

struct tcp {
    struct loop *loop;
    struct turn_hook hook;
    struct timer
        soon; /* set while there is work for the hook: one registered after us must not go to sleep on it */
    struct timer again;           /* reads what TLS still holds */
    struct list live, dirty, dead, items, unread;
    size_t items_n, spares_n;
    uint8_t *spares[SPARES_KEPT]; /* COPY_BYTES each */
    uint8_t scratch[READ_BYTES];
    struct tls_room room;
};

static void conn_flush(struct conn *c);
static void stalled(struct timer *t);

/* ---- Output items ---- */

static struct out_item *item_new(struct conn *c, enum out_kind kind)
{
    struct list *l = list_pop(&c->tcp->items);
    struct out_item *it;

    if (l) {
        it = container_of(l, struct out_item, link);
        c->tcp->items_n--;
        *it = (struct out_item){.kind = kind};
    } else {
        it = xnew(struct out_item);
        it->kind = kind;
    }
    list_push(&c->out, &it->link);
    return it;
}

static void item_free(struct tcp *t, struct out_item *it)
{
    list_remove(&it->link);
    if (it->kind == OUT_FILE && it->sent) it->sent(it->ctx);
    if (it->buf.cap == COPY_BYTES && t->spares_n < SPARES_KEPT) {
        t->spares[t->spares_n++] = it->buf.p;
        it->buf = (struct buf){0};
    }
    buf_fini(&it->buf);
    blob_unref(&it->blob);
    if (t->items_n < ITEMS_KEPT) {
        t->items_n++;
        list_push(&t->items, &it->link);
    } else {
        free(it);
    }
}

static void items_drop(struct conn *c)
{
    while (!list_empty(&c->out))
        item_free(c->tcp, container_of(c->out.next, struct out_item, link));
    c->out_bytes = 0;
}

static struct out_item *item_last(struct conn *c)
{
    return list_empty(&c->out) ? NULL : container_of(c->out.prev, struct out_item, link);
}

/* ---- The loop's share ---- */

static void bury(struct tcp *t)
{
    for (struct list *l; (l = list_pop(&t->dead));) {
        struct conn *c = container_of(l, struct conn, link);
        const struct conn_ops *ops = c->ops;
        struct err why = c->why;

        c->tcp = NULL;
        ops->closed(c, &why);
    }
}

static void soon_fire(struct timer *t)
{
    (void)t; /* the turn it belongs to ends in tcp_flush() */
}

static void soon(struct tcp *t)
{
    if (!timer_is_set(&t->soon)) loop_timer(t->loop, &t->soon, 0, soon_fire);
}

void tcp_flush(struct tcp *t)
{
    timer_cancel(loop_timers(t->loop), &t->soon);
    for (struct list *l; (l = list_pop(&t->dirty));)
        conn_flush(container_of(l, struct conn, dirty_link));
    bury(t);
}

static void tcp_turn(struct turn_hook *h)
{
    tcp_flush(container_of(h, struct tcp, hook));
}

struct tcp *tcp_new(struct loop *l)
{
    struct tcp *t = xnew(struct tcp);

    t->loop = l;
    list_init(&t->live);
    list_init(&t->dirty);
    list_init(&t->dead);
    list_init(&t->unread);
    list_init(&t->items);
    t->hook.turn = tcp_turn;
    loop_hook(l, &t->hook);
    return t;
}

struct tcp *tcp_free(struct tcp *t)
{
    if (!t) return NULL;
    while (!list_empty(&t->live))
        conn_close(container_of(t->live.next, struct conn, link));
    bury(t);
    timer_cancel(loop_timers(t->loop), &t->soon);
    timer_cancel(loop_timers(t->loop), &t->again);
    loop_unhook(&t->hook);
    for (struct list *l; (l = list_pop(&t->items));)
        free(container_of(l, struct out_item, link));
    for (size_t i = 0; i < t->spares_n; i++)
        free(t->spares[i]);
    free(t);
    return NULL;
}

struct loop *tcp_loop(struct tcp *t)
{
    return t->loop;
}

/* ---- Reading ---- */

static bool handshaking(const struct conn *c)
{
    return c->tls && !c->secure;
}

static void events_update(struct conn *c)
{
    uint32_t events = 0;

    if (c->connecting)
        events = EPOLLOUT;
    else if (handshaking(c))
        events = tls_wants_write(c->tls) ? EPOLLOUT : EPOLLIN;
    else {
        if (!c->paused && !c->eof) events |= EPOLLIN;
        if (!list_empty(&c->out) && timer_is_set(&c->stall)) events |= EPOLLOUT;
        if (c->tls && tls_wants_write(c->tls)) events |= EPOLLOUT;
    }
    loop_events(c->tcp->loop, &c->watch, events);
}

static void peer_gone(struct conn *c, const char *doing)
{
    struct err e;
    char text[ADDR_TEXT_MAX];

    addr_text(&c->peer, text);
    if (errno == ECONNRESET || errno == EPIPE)
        err_set(&e, RC_UNAVAILABLE, "%s closed the connection", text);
    else
        err_set(&e, RC_UNAVAILABLE, "%s %s: %s", doing, text, strerror(errno));
    e.retry = true;
    conn_fail(c, &e);
}

static void input_ended(struct conn *c)
{
    c->eof = true;
    if (c->ending) {
        conn_close(c);
    } else if (c->ops->eof) {
        events_update(c);
        c->ops->eof(c);
    } else {
        struct err e;

        err_set(&e, RC_CANCELLED, "the peer closed the connection");
        conn_fail(c, &e);
    }
}

static void input_take(struct conn *c, struct bytes in)
{
    c->bytes_in += in.n;
    if (!c->ending) {
        c->ops->data(c, in);
    } else if (in.n > c->discard_left) {
        conn_close(c);
    } else {
        c->discard_left -= in.n;
    }
}

static void again_fire(struct timer *timer);

/* It may have been left with bytes that no event tells of. */
static void again(struct conn *c)
{
    if (!c->tls || c->dead || !list_empty(&c->unread_link)) return;
    list_push(&c->tcp->unread, &c->unread_link);
    if (!timer_is_set(&c->tcp->again)) loop_timer(c->tcp->loop, &c->tcp->again, 0, again_fire);
}

static void conn_read(struct conn *c)
{
    int i;

    for (i = 0; i < READS_PER_EVENT && !c->dead && !c->paused && !c->eof; i++) {
        size_t room = 0;
        uint8_t *at = c->ops->place && !c->ending ? c->ops->place(c, &room) : NULL;
        ssize_t n;

        if (!at) {
            at = c->tcp->scratch;
            room = READ_BYTES;
        }
        n = c->tls ? tls_read(c->tls, at, room) : recv(c->fd, at, room, 0);
        if (n < 0) {
            if (errno == EINTR) continue;
            if (errno != EAGAIN)
                peer_gone(c, "read from");
            else if (c->tls)
                events_update(c);
            return;
        }
        if (n == 0) {
            input_ended(c);
            return;
        }
        input_take(c, bytes_of(at, (size_t)n));
        if (!c->tls && (size_t)n < room) return;
    }
    if (i == READS_PER_EVENT) again(c);
}

static void again_fire(struct timer *timer)
{
    struct tcp *t = container_of(timer, struct tcp, again);
    struct list todo;

    list_move(&t->unread, &todo);
    for (struct list *l; (l = list_pop(&todo));) {
        struct conn *c = container_of(l, struct conn, unread_link);

        if (!handshaking(c)) conn_read(c);
    }
}

/* ---- TLS ---- */

/* What is said last, the alert, is to arrive: what the peer still sends is taken and thrown away for a moment. */
static void handshake_failed(struct conn *c, const struct err *why)
{
    c->why = *why; /* what `closed` is told in the end */
    c->tls = tls_free(c->tls);
    c->ending = c->ended = true;
    items_drop(c);
    shutdown(c->fd, SHUT_WR);
    loop_timer(c->tcp->loop, &c->stall, DISCARD_MS, stalled);
    events_update(c);
}

static void handshake(struct conn *c)
{
    struct err e;

    if (tls_handshake(c->tls, &e)) {
        handshake_failed(c, &e);
        return;
    }
    c->secure = tls_established(c->tls);
    events_update(c);
    if (!c->secure) return;
    if (c->ops->connected) c->ops->connected(c);
    if (!c->dead && !list_empty(&c->out)) conn_flush(c);
    if (!c->dead) conn_read(c);
}

void conn_secure(struct conn *c, struct tls *t)
{
    must(!c->tls && list_empty(&c->out));
    c->tls = t;
    if (!c->connecting) events_update(c);
}

static void connect_finish(struct conn *c)
{
    int code = 0;
    socklen_t n = sizeof code;
    char text[ADDR_TEXT_MAX];
    struct err e;

    getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &code, &n);
    if (code) {
        err_set(&e, RC_UNAVAILABLE, "cannot connect to " STR_FMT ": %s",
                STR_ARG(addr_text(&c->peer, text)), strerror(code));
        e.retry = true;
        conn_fail(c, &e);
        return;
    }
    c->connecting = false;
    if (c->tls) {
        handshake(c);
        return;
    }
    events_update(c);
    if (c->ops->connected) c->ops->connected(c);
    if (!c->dead && !list_empty(&c->out)) conn_flush(c);
}

static void conn_ready(struct watch *w, uint32_t events)
{
    struct conn *c = container_of(w, struct conn, watch);

    if (c->connecting) {
        connect_finish(c);
        return;
    }
    if (handshaking(c)) {
        handshake(c);
        return;
    }
    if (events & EPOLLOUT && c->tls && tls_wants_write(c->tls)) events |= EPOLLIN; /* reading waits for that, or writing */
    if (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) {
        if (!c->paused && !c->eof) {
            conn_read(c);
        } else if (events & (EPOLLHUP | EPOLLERR)) {
            errno = ECONNRESET;
            peer_gone(c, "connection with");
        }
    }
    if (!c->dead && (events & EPOLLOUT)) conn_flush(c);
}

/* ---- Writing ---- */

static void dirty(struct conn *c)
{
    if (c->dead || c->connecting || handshaking(c) || timer_is_set(&c->stall) || !list_empty(&c->dirty_link)) return;
    list_push(&c->tcp->dirty, &c->dirty_link);
    soon(c->tcp);
}

static void stalled(struct timer *t)
{
    struct conn *c = container_of(t, struct conn, stall);
    struct err e;

    if (c->ended) {
        conn_close(c);
        return;
    }
    err_set(&e, RC_TIMEOUT, "the peer took no output for %u ms", c->limits.write_stall_ms);
    conn_fail(c, &e);
}

static void sent_bytes(struct conn *c, size_t n)
{
    c->bytes_out += n;
    c->out_bytes -= n;
    while (!list_empty(&c->out)) {
        struct out_item *it = container_of(c->out.next, struct out_item, link);
        size_t part = MIN(n, it->rest.n);

        it->rest.n -= part;
        n -= part;
        if (it->kind == OUT_FILE)
            it->at += (off_t)part;
        else if (part)
            it->rest.p += part;
        if (it->rest.n) return;
        item_free(c->tcp, it);
    }
}

/* TLS wants its bytes in one piece, and when the socket was full the same ones again, perhaps with more behind them. */
static struct bytes next_piece(struct conn *c)
{
    struct out_item *first = container_of(c->out.next, struct out_item, link);
    size_t n = 0;

    if (tls_owed(c->tls)) return bytes_of(NULL, tls_owed(c->tls));
    if (first->kind != OUT_FILE && (first->rest.n >= TLS_WRITE_BYTES || first->link.next == &c->out))
        return bytes_of(first->rest.p, MIN(first->rest.n, (size_t)TLS_WRITE_BYTES));
    list_each(l, &c->out)
    {
        struct out_item *it = container_of(l, struct out_item, link);
        size_t part = MIN(it->rest.n, TLS_WRITE_BYTES - n);

        if (!part) break;
        if (it->kind != OUT_FILE) {
            memcpy(c->tcp->room.plain + n, it->rest.p, part);
        } else if (pread(it->fd, c->tcp->room.plain + n, part, it->at) != (ssize_t)part) {
            return (struct bytes){0};
        }
        n += part;
    }
    return bytes_of(c->tcp->room.plain, n);
}

static bool write_record(struct conn *c)
{
    struct bytes piece = next_piece(c);
    ssize_t n = -1;

    errno = EIO; /* a file is shorter than promised */
    if (piece.n) n = tls_write(c->tls, &c->tcp->room, piece.p, piece.n);
    if (n > 0) {
        sent_bytes(c, (size_t)n);
        return true;
    }
    if (n == 0) errno = EPIPE; /* the peer has said that this is its end */
    if (errno != EAGAIN) peer_gone(c, "write to");
    return false;
}

/* One system call. False: nothing more can go now (c may be dead). */
static bool write_some(struct conn *c)
{
    struct iovec iov[IOV_PER_WRITE];
    struct msghdr msg = {.msg_iov = iov};
    bool file_next = false;
    ssize_t n;

    if (c->tls) return write_record(c);
    list_each(l, &c->out)
    {
        struct out_item *it = container_of(l, struct out_item, link);

        file_next = it->kind == OUT_FILE;
        if (file_next || msg.msg_iovlen == IOV_PER_WRITE) break;
        iov[msg.msg_iovlen++] = (struct iovec){(void *)(uintptr_t)it->rest.p, it->rest.n};
    }
    if (msg.msg_iovlen) {
        n = sendmsg(c->fd, &msg, MSG_NOSIGNAL | (file_next ? MSG_MORE : 0));
    } else {
        struct out_item *it = container_of(c->out.next, struct out_item, link);
        off_t at = it->at;

        n = sendfile(c->fd, it->fd, &at, it->rest.n);
        if (n == 0) { /* the file is shorter than promised: the frame cannot be kept */
            errno = EIO;
            n = -1;
        }
    }
    if (n >= 0) {
        sent_bytes(c, (size_t)n);
        return true;
    }
    if (errno == EINTR) return true;
    if (errno != EAGAIN) peer_gone(c, "write to");
    return false;
}

static void output_ended(struct conn *c)
{
    if (!c->ending || c->ended) return;
    c->ended = true;
    if (c->tls) tls_close_notify(c->tls);
    shutdown(c->fd, SHUT_WR);
    if (c->eof)
        conn_close(c);
    else
        loop_timer(c->tcp->loop, &c->stall, DISCARD_MS, stalled);
}

static void conn_flush(struct conn *c)
{
    uint64_t before = c->bytes_out;
    bool more = true;

    list_remove(&c->dirty_link);
    if (c->dead || c->connecting || c->ended || handshaking(c)) return;
    while (more && !list_empty(&c->out))
        more = write_some(c);
    if (c->dead) return;
    if (list_empty(&c->out))
        timer_cancel(loop_timers(c->tcp->loop), &c->stall);
    else if (c->bytes_out != before || !timer_is_set(&c->stall))
        loop_timer(c->tcp->loop, &c->stall, c->limits.write_stall_ms, stalled);
    events_update(c);
    if (list_empty(&c->out)) output_ended(c);
    if (!c->dead && c->full && c->out_bytes <= c->limits.out_low) {
        c->full = false;
        if (c->ops->drained) c->ops->drained(c);
    }
}

void conn_send(struct conn *c, struct buf *b)
{
    struct buf mine = buf_take(b);
    struct out_item *it;

    if (c->dead || c->ending || mine.n <= COPY_MAX) {
        conn_send_copy(c, buf_view(&mine));
        buf_fini(&mine);
        return;
    }
    it = item_new(c, OUT_BUF);
    it->buf = mine;
    it->rest = buf_view(&it->buf);
    c->out_bytes += mine.n;
    dirty(c);
}

void conn_send_copy(struct conn *c, struct bytes b)
{
    struct out_item *it = item_last(c);

    if (c->dead || c->ending || b.n == 0) return;
    if (!it || it->kind != OUT_BUF || it->buf.cap - it->buf.n < b.n) {
        it = item_new(c, OUT_BUF);
        if (b.n <= COPY_BYTES && c->tcp->spares_n)
            it->buf = (struct buf){.p = c->tcp->spares[--c->tcp->spares_n], .cap = COPY_BYTES};
        else
            buf_reserve(&it->buf, MAX(b.n, (size_t)COPY_BYTES));
        it->rest.p = it->buf.p;
    }
    buf_append(&it->buf, b);
    it->rest.n += b.n;
    c->out_bytes += b.n;
    dirty(c);
}

void conn_send_blob(struct conn *c, struct blob *blob, struct bytes part)
{
    struct out_item *it;

    if (c->dead || c->ending || part.n == 0) return;
    it = item_new(c, OUT_BLOB);
    it->blob = blob_ref(blob);
    it->rest = part;
    c->out_bytes += part.n;
    dirty(c);
}

void conn_send_borrowed(struct conn *c, struct bytes b)
{
    struct out_item *it;

    if (c->dead || c->ending || b.n == 0) return;
    it = item_new(c, OUT_BORROWED);
    it->rest = b;
    c->out_bytes += b.n;
    dirty(c);
}

void conn_send_file(struct conn *c, int fd, uint64_t at, size_t n, void (*sent)(void *ctx),
                    void *ctx)
{
    struct out_item *it;

    if (c->dead || c->ending || n == 0) {
        if (sent) sent(ctx);
        return;
    }
    it = item_new(c, OUT_FILE);
    it->fd = fd;
    it->at = (off_t)at;
    it->rest.n = n;
    it->sent = sent;
    it->ctx = ctx;
    c->out_bytes += n;
    dirty(c);
}

void conn_own(struct conn *c)
{
    list_each(l, &c->out)
    {
        struct out_item *it = container_of(l, struct out_item, link);

        if (it->kind != OUT_BORROWED) continue;
        it->kind = OUT_BUF;
        buf_append(&it->buf, it->rest);
        it->rest = buf_view(&it->buf);
    }
}

bool conn_full(struct conn *c)
{
    if (c->out_bytes > c->limits.out_high) c->full = true;
    return c->full;
}

/* ---- Life ---- */

static void conn_init(struct tcp *t, struct conn *c, int fd, const struct addr *peer,
                      const struct conn_ops *ops, const struct conn_limits *limits)
{
    const int one = 1;

    *c = (struct conn){.tcp = t, .ops = ops, .fd = fd, .discard_left = DISCARD_MAX};
    if (peer) c->peer = *peer;
    if (limits) c->limits = *limits;
    if (!c->limits.out_high) c->limits.out_high = 1 << 20;
    if (!c->limits.out_low) c->limits.out_low = c->limits.out_high / 2;
    if (!c->limits.write_stall_ms) c->limits.write_stall_ms = 60000;
    list_init(&c->link);
    list_init(&c->dirty_link);
    list_init(&c->unread_link);
    list_init(&c->out);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one,
               sizeof one); /* a socketpair has none; that is fine */
}

enum rc conn_open(struct tcp *t, struct conn *c, int fd, const struct addr *peer,
                  struct tcp_ceiling *ceiling, const struct conn_ops *ops,
                  const struct conn_limits *limits, struct err *e)
{
    conn_init(t, c, fd, peer, ops, limits);
    if (loop_watch(t->loop, &c->watch, fd, EPOLLIN, conn_ready, e)) {
        close(fd);
        if (ceiling) atomic_fetch_sub(&ceiling->now, 1);
        *c = (struct conn){.fd = -1};
        return e->rc;
    }
    c->ceiling = ceiling;
    list_push(&t->live, &c->link);
    return RC_OK;
}

enum rc conn_connect(struct tcp *t, struct conn *c, const struct addr *to,
                     const struct conn_ops *ops, const struct conn_limits *limits, struct err *e)
{
    char text[ADDR_TEXT_MAX];
    int fd = socket(to->u.sa.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    addr_text(to, text);
    if (fd < 0) return err_sys(e, "connect to %s", text);
    conn_init(t, c, fd, to, ops, limits);
    c->connecting = true;
    if (connect(fd, &to->u.sa, to->n) < 0 && errno != EINPROGRESS) {
        err_set(e, RC_UNAVAILABLE, "cannot connect to %s: %s", text, strerror(errno));
        e->retry = true;
        goto fail;
    }
    if (loop_watch(t->loop, &c->watch, fd, EPOLLOUT, conn_ready, e)) goto fail;
    list_push(&t->live, &c->link);
    return RC_OK;
fail:
    close(fd);
    *c = (struct conn){.fd = -1};
    return e->rc;
}

void conn_pause(struct conn *c)
{
    if (c->dead || c->paused) return;
    c->paused = true;
    events_update(c);
}

void conn_resume(struct conn *c)
{
    if (c->dead || !c->paused) return;
    c->paused = false;
    events_update(c);
    again(c);
}

void conn_end(struct conn *c)
{
    if (c->dead || c->ending) return;
    if (c->connecting || handshaking(c)) {
        conn_close(c);
        return;
    }
    c->paused = false;
    events_update(c);
    dirty(c);
    c->ending = true;
}

void conn_fail(struct conn *c, const struct err *why)
{
    if (!c->tcp || c->dead) return;
    c->dead = true;
    c->why = *why;
    loop_unwatch(c->tcp->loop, &c->watch);
    timer_cancel(loop_timers(c->tcp->loop), &c->stall);
    if (c->secure && !why->rc && !c->ended && list_empty(&c->out)) tls_close_notify(c->tls);
    c->tls = tls_free(c->tls);
    close(c->fd);
    c->fd = -1;
    items_drop(c);
    list_remove(&c->dirty_link);
    list_remove(&c->unread_link);
    list_remove(&c->link);
    list_push(&c->tcp->dead, &c->link);
    soon(c->tcp);
    if (c->ceiling) atomic_fetch_sub(&c->ceiling->now, 1);
}

void conn_close(struct conn *c)
{
    const struct err why = c->why;

    conn_fail(c, &why);
}
