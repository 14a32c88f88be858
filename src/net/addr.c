/* SPDX-License-Identifier: Apache-2.0 */
#include "net/addr.h"
#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <stdio.h>

enum rc addr_split(struct str hostport, struct str *ret_host, uint16_t *ret_port, struct err *e)
{
    const char *colon = hostport.n ? memrchr(hostport.p, ':', hostport.n) : NULL;
    struct str host, port;
    int64_t number;

    if (hostport.n >= ADDR_INPUT_MAX)
        return err_set(e, RC_INVALID, "address of %zu characters is too long", hostport.n);
    if (!colon)
        return err_set(e, RC_INVALID, "\"" STR_FMT "\" is not HOST:PORT", STR_ARG(hostport));
    host = (struct str){hostport.p, (size_t)(colon - hostport.p)};
    port = (struct str){colon + 1, hostport.n - host.n - 1};
    if (port.n == 0 || !str_to_i64(port, &number) || number < 0 || number > 65535)
        return err_set(e, RC_INVALID, "\"" STR_FMT "\": the port must be 0 to 65535",
                       STR_ARG(hostport));
    if (host.n >= 2 && host.p[0] == '[' && host.p[host.n - 1] == ']')
        host = (struct str){host.p + 1, host.n - 2};
    else if (memchr(host.p, ':', host.n))
        return err_set(e, RC_INVALID, "\"" STR_FMT "\": write an IPv6 host in brackets, [::1]:9000",
                       STR_ARG(hostport));
    *ret_host = host;
    *ret_port = (uint16_t)number;
    return RC_OK;
}

static bool literal(struct str host, uint16_t port, struct addr *ret)
{
    char text[INET6_ADDRSTRLEN + 1];
    struct addr a = {0};

    if (host.n == 0 || str_is(host, "*")) {
        a.u.in4 = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(port)};
        a.n = sizeof a.u.in4;
        *ret = a;
        return true;
    }
    if (host.n >= sizeof text) return false;
    memcpy(text, host.p, host.n);
    text[host.n] = 0;
    if (inet_pton(AF_INET, text, &a.u.in4.sin_addr) == 1) {
        a.u.in4.sin_family = AF_INET;
        a.u.in4.sin_port = htons(port);
        a.n = sizeof a.u.in4;
    } else if (inet_pton(AF_INET6, text, &a.u.in6.sin6_addr) == 1) {
        a.u.in6.sin6_family = AF_INET6;
        a.u.in6.sin6_port = htons(port);
        a.n = sizeof a.u.in6;
    } else {
        return false;
    }
    *ret = a;
    return true;
}

bool addr_literal(struct str hostport, struct addr *ret)
{
    struct err e;
    struct str host;
    uint16_t port;

    return addr_split(hostport, &host, &port, &e) == RC_OK && literal(host, port, ret);
}

static enum rc lookup_failed(struct str host, int code, struct err *e)
{
    if (code == EAI_NONAME || code == EAI_NODATA || code == EAI_FAIL)
        return err_set(e, RC_NOT_FOUND, "no host is called \"" STR_FMT "\"", STR_ARG(host));
    e->retry = true;
    return err_set(e, RC_UNAVAILABLE, "cannot look up \"" STR_FMT "\": %s", STR_ARG(host),
                   code == EAI_SYSTEM ? strerror(errno) : gai_strerror(code));
}

enum rc addr_resolve(struct str hostport, struct addrs *ret, struct err *e)
{
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG};
    struct addrinfo *list = NULL;
    char name[ADDR_INPUT_MAX], service[8];
    struct str host;
    uint16_t port;
    int code;

    if (addr_split(hostport, &host, &port, e)) return e->rc;
    *ret = (struct addrs){0};
    if (literal(host, port, &ret->a[0])) {
        ret->n = 1;
        return RC_OK;
    }
    memcpy(name, host.p, host.n);
    name[host.n] = 0;
    snprintf(service, sizeof service, "%u", port);
    code = getaddrinfo(name, service, &hints, &list);
    if (code) return lookup_failed(host, code, e);
    /* IPv4 first: what we and most model servers listen on. */
    for (int family = 0; family < 2; family++)
        for (struct addrinfo *i = list; i && ret->n < ADDRS_MAX; i = i->ai_next) {
            if (i->ai_family != (family ? AF_INET6 : AF_INET)) continue;
            memcpy(&ret->a[ret->n].u, i->ai_addr, MIN(i->ai_addrlen, sizeof(union addr_any)));
            ret->a[ret->n++].n = i->ai_addrlen;
        }
    freeaddrinfo(list);
    return ret->n ? RC_OK : lookup_failed(host, EAI_NONAME, e);
}

uint16_t addr_port(const struct addr *a)
{
    return a->u.sa.sa_family == AF_INET6  ? ntohs(a->u.in6.sin6_port)
           : a->u.sa.sa_family == AF_INET ? ntohs(a->u.in4.sin_port)
                                          : 0;
}

bool addr_is_any(struct str host)
{
    struct in6_addr in6;
    struct in_addr in4;
    char text[INET6_ADDRSTRLEN + 1] = "";

    if (!host.n || str_is(host, "*")) return true;
    if (host.n >= sizeof text) return false;
    memcpy(text, host.p, host.n);
    if (inet_pton(AF_INET, text, &in4) == 1) return in4.s_addr == INADDR_ANY;
    return inet_pton(AF_INET6, text, &in6) == 1 && IN6_IS_ADDR_UNSPECIFIED(&in6);
}

bool addr_loopback(const struct addr *a)
{
    if (a->u.sa.sa_family == AF_INET) return (ntohl(a->u.in4.sin_addr.s_addr) >> 24) == 127;
    return a->u.sa.sa_family == AF_INET6 && IN6_IS_ADDR_LOOPBACK(&a->u.in6.sin6_addr);
}

struct str addr_text(const struct addr *a, char into[ADDR_TEXT_MAX])
{
    char host[INET6_ADDRSTRLEN] = "?";
    int n;

    if (a->u.sa.sa_family == AF_INET6) {
        inet_ntop(AF_INET6, &a->u.in6.sin6_addr, host, sizeof host);
        n = snprintf(into, ADDR_TEXT_MAX, "[%s]:%u", host, addr_port(a));
    } else if (a->u.sa.sa_family == AF_INET) {
        inet_ntop(AF_INET, &a->u.in4.sin_addr, host, sizeof host);
        n = snprintf(into, ADDR_TEXT_MAX, "%s:%u", host, addr_port(a));
    } else {
        n = snprintf(into, ADDR_TEXT_MAX, "local");
    }
    return (struct str){into, (size_t)n};
}

static void lookup_run(struct work *w)
{
    struct addr_lookup *q = container_of(w, struct addr_lookup, work);

    err_keep(addr_resolve(str_of(q->hostport), &q->addrs, &q->err), &q->err);
}

static void lookup_done(struct work *w)
{
    struct addr_lookup *q = container_of(w, struct addr_lookup, work);

    q->done(q);
}

void addr_lookup(struct workers *w, struct mailbox *reply_to, struct str hostport,
                 struct addr_lookup *q, void (*done)(struct addr_lookup *q))
{
    size_t n = MIN(hostport.n, sizeof q->hostport - 1);

    *q = (struct addr_lookup){.done = done};
    memcpy(q->hostport, hostport.p, n);
    q->work = (struct work){.run = lookup_run, .done = lookup_done, .reply_to = reply_to};
    workers_submit(w, &q->work);
}
