/* Design note: linear probing over slots {hash, key, value}; tombstones are swept when the table is
 * rebuilt. Keys up to 16 bytes live in the slot. SPDX-License-Identifier: Apache-2.0 */
#include "base/map.h"
#include "base/rng.h"

enum { INLINE_KEY = 16 };

struct map_slot {
    uint64_t hash; /* 0 = free, 1 = tombstone */
    uint32_t key_n;
    union {
        uint8_t in[INLINE_KEY];
        uint8_t *out;
    } key;
    void *value;
};

static uint64_t mix(uint64_t a, uint64_t b)
{
    __uint128_t r = (__uint128_t)a * b;

    return (uint64_t)r ^ (uint64_t)(r >> 64);
}

uint64_t hash64(struct bytes b, uint64_t seed)
{
    const uint64_t k0 = 0xa0761d6478bd642fULL, k1 = 0xe7037ed1a0b428dbULL;
    uint64_t h = seed ^ k0;
    size_t n = b.n;
    const uint8_t *p = b.p;

    for (; n >= 16; n -= 16, p += 16)
        h = mix(load_le64(p) ^ k1, load_le64(p + 8) ^ h);
    if (n) {
        uint8_t tail[16] = {0};

        memcpy(tail, p, n);
        h = mix(load_le64(tail) ^ k1, load_le64(tail + 8) ^ h);
    }
    return mix(h ^ k1, b.n ^ k0);
}

static uint64_t slot_hash(struct bytes key)
{
    uint64_t h = hash64(key, process_seed());

    return h < 2 ? h + 2 : h;
}

static const uint8_t *slot_key(const struct map_slot *s)
{
    return s->key_n <= INLINE_KEY ? s->key.in : s->key.out;
}

static void slot_free_key(struct map_slot *s)
{
    if (s->key_n > INLINE_KEY) free(s->key.out);
}

void map_fini(struct map *m)
{
    for (size_t i = 0; i < m->cap; i++)
        if (m->slots[i].hash > 1) slot_free_key(&m->slots[i]);
    free(m->slots);
    *m = (struct map){0};
}

void map_fini_each(struct map *m, void (*drop)(void *value))
{
    void *value;

    for (size_t at = 0; map_next(m, &at, NULL, &value);)
        drop(value);
    map_fini(m);
}

static struct map_slot *find(const struct map *m, struct bytes key, uint64_t h)
{
    if (!m->cap) return NULL;
    for (size_t i = h & (m->cap - 1);; i = (i + 1) & (m->cap - 1)) {
        struct map_slot *s = &m->slots[i];

        if (s->hash == 0) return NULL;
        if (s->hash == h && s->key_n == key.n && memcmp(slot_key(s), key.p, key.n) == 0) return s;
    }
}

void *map_get(const struct map *m, struct bytes key)
{
    struct map_slot *s = m->n ? find(m, key, slot_hash(key)) : NULL;

    return s ? s->value : NULL;
}

static void rebuild(struct map *m)
{
    struct map_slot *old = m->slots;
    size_t old_cap = m->cap;

    if (!m->cap)
        m->cap = 16;
    else if (m->n * 2 >= m->cap)
        m->cap *= 2;
    m->slots = xnew_array(struct map_slot, m->cap);
    m->tombs = 0;
    for (size_t i = 0; i < old_cap; i++) {
        if (old[i].hash < 2) continue;
        size_t j = old[i].hash & (m->cap - 1);

        while (m->slots[j].hash)
            j = (j + 1) & (m->cap - 1);
        m->slots[j] = old[i];
    }
    free(old);
}

void *map_put(struct map *m, struct bytes key, void *value)
{
    uint64_t h = slot_hash(key);
    struct map_slot *s = find(m, key, h);
    size_t i;

    must(value != NULL && key.n <= UINT32_MAX);
    if (s) {
        void *was = s->value;

        s->value = value;
        return was;
    }
    if ((m->n + m->tombs + 1) * 4 > m->cap * 3) rebuild(m);
    for (i = h & (m->cap - 1); m->slots[i].hash > 1; i = (i + 1) & (m->cap - 1)) {
    }
    s = &m->slots[i];
    if (s->hash == 1) m->tombs--;
    *s = (struct map_slot){.hash = h, .key_n = (uint32_t)key.n, .value = value};
    if (key.n > INLINE_KEY)
        s->key.out = memcpy(xcalloc(1, key.n), key.p, key.n);
    else if (key.n)
        memcpy(s->key.in, key.p, key.n);
    m->n++;
    return NULL;
}

void *map_del(struct map *m, struct bytes key)
{
    struct map_slot *s = m->n ? find(m, key, slot_hash(key)) : NULL;
    void *was;

    if (!s) return NULL;
    was = s->value;
    slot_free_key(s);
    *s = (struct map_slot){.hash = 1};
    m->n--;
    m->tombs++;
    return was;
}

bool map_next(const struct map *m, size_t *at, struct bytes *ret_key, void **ret_value)
{
    while (*at < m->cap) {
        struct map_slot *s = &m->slots[(*at)++];

        if (s->hash < 2) continue;
        if (ret_key) *ret_key = (struct bytes){slot_key(s), s->key_n};
        if (ret_value) *ret_value = s->value;
        return true;
    }
    return false;
}
