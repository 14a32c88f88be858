/* See strikes.h. SPDX-License-Identifier: Apache-2.0 */
#include "net/strikes.h"

#include "base/map.h"
#include <pthread.h>
#include <stdatomic.h>

enum { ADDRESSES_MAX = 4096, NETWORK6_BYTES = 8 };

struct strike {
    uint64_t since_ms;
    uint32_t n;
};

struct strikes {
    pthread_mutex_t lock;
    atomic_size_t any; /* entries of the map: nobody locks to learn that there are none */
    struct map map;
};

struct strikes *strikes_new(void)
{
    struct strikes *s = xnew(struct strikes);

    must(pthread_mutex_init(&s->lock, NULL) == 0);
    return s;
}

struct strikes *strikes_free(struct strikes *s)
{
    if (!s) return NULL;
    map_fini_each(&s->map, free);
    pthread_mutex_destroy(&s->lock);
    free(s);
    return NULL;
}

static struct strike *find(struct strikes *s, struct bytes who, uint64_t now_ms)
{
    struct strike *one = map_get(&s->map, who);

    if (!one || now_ms < one->since_ms + STRIKES_MS) return one; /* loops differ a little in what time it is */
    free(map_del(&s->map, who));
    return NULL;
}

uint32_t strikes_note(struct strikes *s, struct bytes who, uint64_t now_ms)
{
    struct strike *one;
    uint32_t n;

    pthread_mutex_lock(&s->lock);
    one = find(s, who, now_ms);
    if (!one) {
        if (s->map.n >= ADDRESSES_MAX) map_fini_each(&s->map, free);
        one = xnew(struct strike);
        one->since_ms = now_ms;
        map_put(&s->map, who, one);
    }
    n = ++one->n;
    atomic_store(&s->any, s->map.n);
    pthread_mutex_unlock(&s->lock);
    return n;
}

uint32_t strikes_of(struct strikes *s, struct bytes who, uint64_t now_ms)
{
    const struct strike *one;
    uint32_t n;

    if (!atomic_load(&s->any)) return 0;
    pthread_mutex_lock(&s->lock);
    one = find(s, who, now_ms);
    n = one ? one->n : 0;
    atomic_store(&s->any, s->map.n);
    pthread_mutex_unlock(&s->lock);
    return n;
}

struct bytes strikes_key(const struct addr *a)
{
    if (a->u.sa.sa_family == AF_INET) return bytes_of(&a->u.in4.sin_addr, sizeof a->u.in4.sin_addr);
    if (a->u.sa.sa_family == AF_INET6) {
        const uint8_t *p = a->u.in6.sin6_addr.s6_addr;

        if (IN6_IS_ADDR_V4MAPPED(&a->u.in6.sin6_addr)) return bytes_of(p + 12, 4);
        return bytes_of(p, NETWORK6_BYTES);
    }
    return bytes_of("", 0);
}
