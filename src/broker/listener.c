/* Addresses: what clients are told, and the listening sockets behind them.
 *
 * At a ceiling (connections, descriptors) nothing is accepted any more: the kernel's queue holds who comes next until a
 * connection has gone.   SPDX-License-Identifier: Apache-2.0
 */
#include "base/diag.h"
#include "broker/sock.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { ACCEPTS_PER_TURN = 256, BACKLOG = 1024, RETRY_MS = 100, TURNED_AWAY_MAX = 1000, TROUBLES_MAX = 4096, TROUBLE_MS = 60000 };

/* ---- what is told ---- */

static struct str str_new(struct str s)
{
    char *p = xcalloc(1, s.n + 1);

    if (s.n) memcpy(p, s.p, s.n);
    return (struct str){p, s.n};
}

static void listener_init(struct broker_listener *l, struct broker *b, struct str name,
                          struct str host, uint16_t port)
{
    l->broker = b;
    l->name = str_new(name);
    l->host = str_new(host);
    l->port = port;
    list_push(&b->listeners, &l->link);
}

static void listener_fini(struct broker_listener *l)
{
    list_remove(&l->link);
    free((char *)(uintptr_t)l->name.p);
    free((char *)(uintptr_t)l->host.p);
    str_drop(&l->bound);
}

struct broker_listener *broker_listener_add(struct broker *b, struct str name, struct str host,
                                            uint16_t port)
{
    struct broker_listener *l = xnew(struct broker_listener);

    listener_init(l, b, name, host, port);
    return l;
}

struct broker_listener *broker_listener_first(const struct broker *b)
{
    return list_empty(&b->listeners) ? NULL : container_of(b->listeners.next, struct broker_listener, link);
}

void broker_listener_delete(struct broker_listener *l)
{
    listener_fini(l);
    free(l);
}

/* ---- clients that are set up wrong ---- */

struct trouble { uint64_t until_ms; };

void troubles_fini(struct broker *b)
{
    map_fini_each(&b->troubles, free);
}

bool trouble_is_new(struct broker *b, const char *event, const struct broker_conn *c)
{
    char text[200]; /* room for an address whatever the event says of itself */
    struct str key;
    struct trouble *t;
    uint64_t now = broker_now_ms(b);

    snprintf(text, sizeof text, "%.100s %.30s %s", event, c->listener->name.p, c->host);
    key = str_of(text);
    t = map_get_str(&b->troubles, key);
    if (t && now < t->until_ms) return false;
    if (!t) {
        if (b->troubles.n >= TROUBLES_MAX) troubles_fini(b);
        t = xnew(struct trouble);
        map_put_str(&b->troubles, key, t);
    }
    t->until_ms = now + TROUBLE_MS;
    return true;
}

/* ---- accepting ---- */

static size_t connections_max(const struct broker *b)
{
    return MIN((size_t)b->opt.connections_max, (size_t)MAX(b->config.connections_max, (int64_t)0));
}

static void pause_accept(struct sock_listener *l, const char *why)
{
    struct broker *b = l->l.broker;

    if (!l->paused)
        diag(DIAG_WARN, "broker.not_accepting", KV_CSTR("why", why),
             KV_U64("connections", b->conns_n));
    l->paused = true;
    loop_events(b->loop, &l->watch, 0);
}

static void on_retry(struct timer *t)
{
    struct sock_listener *l = container_of(t, struct sock_listener, retry);

    l->paused = false;
    if (l->watch.active) loop_events(l->l.broker->loop, &l->watch, EPOLLIN);
}

static struct bytes address_of(const struct sockaddr_storage *a)
{
    if (a->ss_family == AF_INET6) return bytes_of(&((const struct sockaddr_in6 *)a)->sin6_addr, 16);
    return bytes_of(&((const struct sockaddr_in *)a)->sin_addr, 4);
}

static struct str peer_text(const struct sockaddr_storage *a, char text[64])
{
    char ip[INET6_ADDRSTRLEN] = "?";
    bool six = a->ss_family == AF_INET6;
    unsigned port = ntohs(six ? ((const struct sockaddr_in6 *)a)->sin6_port
                              : ((const struct sockaddr_in *)a)->sin_port);

    inet_ntop(a->ss_family, address_of(a).p, ip, sizeof ip);
    snprintf(text, 64, six ? "[%s]:%u" : "%s:%u", ip, port);
    return str_of(text);
}

static bool too_many_of_address(const struct sock_listener *l, struct bytes address)
{
    const struct broker_config *c = &l->l.broker->config;
    char ip[INET6_ADDRSTRLEN] = "";
    int64_t max, n = 0;

    inet_ntop(address.n == 16 ? AF_INET6 : AF_INET, address.p, ip, sizeof ip);
    max = broker_config_count(c, "max.connections.per.ip.overrides", str_of(ip),
                              c->connections_max_per_ip);
    if (max >= INT32_MAX) return false;
    list_each(it, &l->socks)
    {
        const struct sock *s = container_of(it, struct sock, link);

        n += bytes_eq((struct bytes){s->address, s->address_n}, address);
    }
    return n >= max;
}

/* ---- above a quota ---- */

/* Closed with a delay, so that a client that comes back at once does not come back at once. */
struct turned_away {
    struct list link;
    struct sock_listener *l;
    struct timer timer;
    int fd;
};

static void turned_away_delete(struct turned_away *t)
{
    timer_cancel(t->l->l.broker->timers, &t->timer);
    list_remove(&t->link);
    t->l->turned_away_n--;
    close(t->fd);
    free(t);
}

static void on_turned_away(struct timer *t)
{
    turned_away_delete(container_of(t, struct turned_away, timer));
}

static void turn_away(struct sock_listener *l, int fd, uint32_t ms)
{
    struct broker *b = l->l.broker;
    struct turned_away *t;

    b->stats.connections_refused++;
    if (l->turned_away_n >= TURNED_AWAY_MAX) {
        close(fd);
        return;
    }
    t = xnew(struct turned_away);
    t->l = l;
    t->fd = fd;
    list_push(&l->turned_away, &t->link);
    l->turned_away_n++;
    timer_set(b->timers, &t->timer, broker_now_ms(b) + ms, on_turned_away);
}

static uint32_t above_rate_of_address(struct sock_listener *l, const struct sockaddr_storage *from)
{
    struct broker *b = l->l.broker;
    char ip[INET6_ADDRSTRLEN] = "";

    if (!quotas_any(&b->quotas, QUOTA_CONNECTION)) return 0;
    inet_ntop(from->ss_family, address_of(from).p, ip, sizeof ip);
    return quotas_connect(&b->quotas, str_of(ip), broker_now_ms(b));
}

/* max.connection.creation.rate: the kernel's queue holds who comes next. */
static void slow_down(struct sock_listener *l)
{
    struct broker *b = l->l.broker;
    uint64_t now = broker_now_ms(b);
    uint32_t ms;

    if (b->config.connection_creation_rate >= INT32_MAX) return;
    ms = quota_meter_charge(&b->accepts, 1,
                            (double)MAX(b->config.connection_creation_rate, (int64_t)1), now);
    if (!ms) return;
    pause_accept(l, "max.connection.creation.rate is reached");
    timer_set(b->timers, &l->retry, now + MIN(ms, (uint32_t)QUOTA_WINDOW_MS), on_retry);
}

static bool accept_one(struct sock_listener *l)
{
    struct broker *b = l->l.broker;
    struct sockaddr_storage from;
    socklen_t n = sizeof from;
    char text[64];
    uint32_t ms;
    int one = 1, fd;

    if (b->conns_n >= connections_max(b)) {
        pause_accept(l, "broker.connectionsMax is reached");
        return false;
    }
    fd = accept4(l->watch.fd, (struct sockaddr *)&from, &n, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) {
        if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
            pause_accept(l, "no descriptors or memory left");
            timer_set(b->timers, &l->retry, broker_now_ms(b) + RETRY_MS, on_retry);
        }
        return errno == ECONNABORTED || errno == EINTR;
    }
    if (too_many_of_address(l, address_of(&from))) {
        b->stats.connections_refused++;
        close(fd);
        return true;
    }
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    (void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof one);
    if ((ms = above_rate_of_address(l, &from))) {
        turn_away(l, fd, ms);
        return true;
    }
    slow_down(l);
    sock_open(l, fd, peer_text(&from, text), address_of(&from).p, (uint32_t)address_of(&from).n);
    return !l->paused;
}

static void on_connection(struct watch *w, uint32_t events)
{
    struct sock_listener *l = container_of(w, struct sock_listener, watch);

    (void)events;
    for (int i = 0; i < ACCEPTS_PER_TURN && accept_one(l); i++)
        continue;
}

static void on_turn(struct turn_hook *h)
{
    struct sock_listener *l = container_of(h, struct sock_listener, hook);
    bool any;

    socks_turn(l);
    any = !list_empty(&l->dead);
    while (!list_empty(&l->dead))
        sock_delete(container_of(l->dead.next, struct sock, link));
    if (any && l->paused && l->watch.active && l->l.broker->conns_n < connections_max(l->l.broker))
        on_retry(&l->retry);
}

/* ---- opening and closing ---- */

static void stop(struct broker_listener *base)
{
    struct sock_listener *l = container_of(base, struct sock_listener, l);

    timer_cancel(base->broker->timers, &l->retry);
    if (!l->watch.active) return;
    loop_unwatch(base->broker->loop, &l->watch);
    close(l->watch.fd);
}

static void close_listener(struct broker_listener *base)
{
    struct sock_listener *l = container_of(base, struct sock_listener, l);

    stop(base);
    timer_cancel(base->broker->timers, &l->reload);
    while (!list_empty(&l->turned_away))
        turned_away_delete(container_of(l->turned_away.next, struct turned_away, link));
    while (!list_empty(&l->socks))
        sock_delete(container_of(l->socks.next, struct sock, link));
    while (!list_empty(&l->dead))
        sock_delete(container_of(l->dead.next, struct sock, link));
    loop_unhook(&l->hook);
    tls_server_free(l->tls);
    principal_rules_free(l->rules);
    free(l->scratch);
    listener_fini(base);
    free(l);
}

static enum rc bind_to(const struct addrinfo *a, struct str host, int *ret_fd, struct err *e)
{
    int one = 1, fd = socket(a->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (fd < 0) return err_sys(e, "listen: socket");
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(fd, a->ai_addr, a->ai_addrlen) || listen(fd, BACKLOG)) {
        bool taken = errno == EADDRINUSE;
        unsigned port =
            ntohs(a->ai_family == AF_INET6 ? ((struct sockaddr_in6 *)(void *)a->ai_addr)->sin6_port
                                           : ((struct sockaddr_in *)(void *)a->ai_addr)->sin_port);

        (void)err_sys(e, "listen on " STR_FMT ":%u", STR_ARG(host), port);
        if (taken) e->rc = RC_EXISTS;
        close(fd);
        return e->rc;
    }
    *ret_fd = fd;
    return RC_OK;
}

static enum rc open_socket(struct str host, uint16_t port, int *ret_fd, uint16_t *ret_port,
                           struct err *e)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV},
                    *found;
    struct sockaddr_storage bound;
    socklen_t n = sizeof bound;
    char name[256], service[8];
    enum rc rc;
    int failed;

    if (host.n >= sizeof name) return err_set(e, RC_INVALID, "listen: the host's name is too long");
    memcpy(name, host.p, host.n);
    name[host.n] = 0;
    snprintf(service, sizeof service, "%u", port);
    if ((failed = getaddrinfo(host.n ? name : NULL, service, &hints, &found)))
        return err_set(e, RC_INVALID, "listen: host '%s': %s", name, gai_strerror(failed));
    rc = bind_to(found, host, ret_fd, e);
    freeaddrinfo(found);
    if (rc) return rc;
    if (getsockname(*ret_fd, (struct sockaddr *)&bound, &n)) {
        close(*ret_fd);
        return err_sys(e, "listen: getsockname");
    }
    *ret_port = ntohs(bound.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&bound)->sin6_port
                                                  : ((struct sockaddr_in *)&bound)->sin_port);
    return RC_OK;
}

static const char *protocol_name(enum broker_protocol p)
{
    static const char *const names[] = {"PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"};

    return names[p];
}

static bool encrypts(enum broker_protocol p)
{
    return p == BROKER_SSL || p == BROKER_SASL_SSL;
}

/* ---- certificates ---- */

static void look_at_certificate(struct timer *t)
{
    struct sock_listener *l = container_of(t, struct sock_listener, reload);
    struct broker *b = l->l.broker;

    tls_server_look(l->tls, l->l.name, broker_wall_ms(b) / 1000);
    l->l.certificate_end_s = tls_server_not_after(l->tls);
    timer_set(b->timers, t, broker_now_ms(b) + TLS_LOOK_MS, look_at_certificate);
}

static enum rc security_open(struct sock_listener *l, const struct broker_listen *o, struct err *e)
{
    if (!encrypts(o->protocol)) return RC_OK;
    if (tls_server_new(&o->tls, &l->tls, e)) return e->rc;
    return principal_rules_new(o->principal_rules, &l->rules, e);
}

static void security_start(struct sock_listener *l, const struct broker_listen *o)
{
    l->l.protocol = o->protocol;
    if (o->protocol >= BROKER_SASL_PLAINTEXT) l->l.sasl = o->sasl;
    if (l->tls) look_at_certificate(&l->reload);
}

static void note_address(struct buf *to, const struct broker_listener *l, struct str host, uint16_t port)
{
    buf_printf(to, "%s%s://" STR_FMT ":%u", to->n ? "," : "", protocol_name(l->protocol), STR_ARG(host), port);
}

static void note_mechanisms(struct broker *b, unsigned mechanisms)
{
    AUTO(buf_fini) struct buf text = {0};

    for (unsigned m = 1; m < SASL_MECHANISMS; m <<= 1)
        if (mechanisms & m)
            buf_printf(&text, "%s%s", text.n ? "," : "", sasl_mechanism_name((enum sasl_mechanism)m));
    if (text.n) broker_config_note(&b->config, "sasl.enabled.mechanisms", buf_str(&text));
}

static void note_listeners(struct broker *b)
{
    AUTO(buf_fini) struct buf told = {0}, bound = {0};
    unsigned mechanisms = 0;

    list_each(it, &b->listeners)
    {
        const struct broker_listener *l = container_of(it, struct broker_listener, link);

        note_address(&told, l, l->host, l->port);
        if (l->bound.p) note_address(&bound, l, l->bound, l->bound_port);
        mechanisms |= l->sasl;
    }
    note_mechanisms(b, mechanisms);
    broker_config_note(&b->config, "listeners", buf_str(&bound));
    broker_config_note(&b->config, "advertised.listeners", buf_str(&told));
}

enum rc broker_listen(struct broker *b, const struct broker_listen *o, uint16_t *ret_port,
                      struct err *e)
{
    struct sock_listener *l;
    uint16_t port;
    enum rc rc;
    int fd;

    must(b->loop);
    if ((rc = open_socket(o->host, o->port, &fd, &port, e))) return rc;
    l = xnew(struct sock_listener);
    list_init(&l->socks);
    list_init(&l->dirty);
    list_init(&l->dead);
    list_init(&l->short_of_memory);
    list_init(&l->turned_away);
    list_init(&l->unread);
    if ((rc = security_open(l, o, e)) ||
        (rc = loop_watch(b->loop, &l->watch, fd, EPOLLIN, on_connection, e))) {
        tls_server_free(l->tls);
        principal_rules_free(l->rules);
        close(fd);
        free(l);
        return rc;
    }
    l->scratch = xcalloc(1, SOCK_READ_BYTES);
    listener_init(&l->l, b, o->name, o->advertised_host.n ? o->advertised_host : o->host,
                  o->advertised_port ? o->advertised_port : port);
    l->l.bound = str_own(o->host);
    l->l.bound_port = port;
    security_start(l, o);
    l->l.stop = stop;
    l->l.close = close_listener;
    l->hook.turn = on_turn;
    loop_hook(b->loop, &l->hook);
    note_listeners(b);
    *ret_port = port;
    return RC_OK;
}
