/* Design note: one listening socket, on one loop; whoever accepts hands descriptors to other loops. SO_REUSEPORT would
 * let a second process share a taken port unnoticed. A spare descriptor is kept, so that with none left we can still
 * accept and close: otherwise the level-triggered readiness would spin. SPDX-License-Identifier: Apache-2.0 */
#include "base/diag.h"
#include "net/tcp.h"
#include <errno.h>
#include <fcntl.h>
#include <sys/epoll.h>
#include <unistd.h>

enum { ACCEPTS_PER_TURN = 64, BACKLOG = 1024 };

struct listener {
    struct watch watch;
    struct loop *loop;
    struct listener_options o;
    struct addr addr;
    int fd, spare;
};

static void refuse_for_descriptors(struct listener *ln)
{
    int fd;

    diag(DIAG_ERROR, "net.descriptors",
         KV_CSTR("why", "no file descriptor left; a connection was refused"));
    if (ln->spare >= 0) close(ln->spare);
    fd = accept4(ln->fd, NULL, NULL, SOCK_CLOEXEC);
    if (fd >= 0) close(fd);
    ln->spare = open("/dev/null", O_RDONLY | O_CLOEXEC);
}

static bool ceiling_take(struct tcp_ceiling *c)
{
    if (!c) return true;
    if (atomic_fetch_add(&c->now, 1) < c->max || c->max == 0) return true;
    atomic_fetch_sub(&c->now, 1);
    atomic_fetch_add(&c->refused, 1);
    return false;
}

static void listener_ready(struct watch *w, uint32_t events)
{
    struct listener *ln = container_of(w, struct listener, watch);

    (void)events;
    for (int i = 0; i < ACCEPTS_PER_TURN; i++) {
        struct addr peer = {.n = sizeof(union addr_any)};
        int fd = accept4(ln->fd, &peer.u.sa, &peer.n, SOCK_NONBLOCK | SOCK_CLOEXEC);

        if (fd < 0) {
            if (errno == EMFILE || errno == ENFILE) refuse_for_descriptors(ln);
            if (errno != EINTR && errno != ECONNABORTED) return;
            continue;
        }
        if (!ceiling_take(ln->o.ceiling)) {
            close(fd);
            diag(DIAG_WARN, "net.connections",
                 KV_CSTR("why", "the ceiling on connections is reached; one was refused"),
                 KV_U64("max", ln->o.ceiling->max));
            continue;
        }
        ln->o.accepted(ln->o.ctx, fd, &peer);
        if (!w->active) return;
    }
}

static enum rc listen_on(struct listener *ln, struct addr *a, struct err *e)
{
    const int one = 1;
    char text[ADDR_TEXT_MAX];

    addr_text(a, text);
    ln->fd = socket(a->u.sa.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (ln->fd < 0) return err_sys(e, "listen on %s", text);
    setsockopt(ln->fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(ln->fd, &a->u.sa, a->n) < 0 || listen(ln->fd, BACKLOG) < 0) {
        if (errno == EADDRINUSE)
            return err_set(e, RC_EXISTS, "listen on %s: the port is already in use", text);
        return err_sys(e, "listen on %s", text);
    }
    ln->addr.n = sizeof ln->addr.u;
    if (getsockname(ln->fd, &ln->addr.u.sa, &ln->addr.n) < 0)
        return err_sys(e, "listen on %s", text);
    return RC_OK;
}

enum rc listener_open(struct tcp *t, const struct listener_options *o, struct listener **ret,
                      struct err *e)
{
    struct addrs addrs;
    struct listener *ln;

    if (addr_resolve(o->listen, &addrs, e)) return err_in(e, "listen");
    ln = xnew(struct listener);
    ln->loop = tcp_loop(t);
    ln->o = *o;
    ln->spare = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (listen_on(ln, &addrs.a[0], e)) goto fail;
    if (loop_watch(ln->loop, &ln->watch, ln->fd, EPOLLIN, listener_ready, e)) goto fail;
    *ret = ln;
    return RC_OK;
fail:
    listener_close(ln);
    return e->rc;
}

const struct addr *listener_addr(const struct listener *ln)
{
    return &ln->addr;
}

struct listener *listener_close(struct listener *ln)
{
    if (!ln) return NULL;
    loop_unwatch(ln->loop, &ln->watch);
    if (ln->fd >= 0) close(ln->fd);
    if (ln->spare >= 0) close(ln->spare);
    free(ln);
    return NULL;
}
