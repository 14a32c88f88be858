/* Design note: open addressing with linear probing, a power of two of slots, at most three quarters in use. Offsets are kept
 * plus one, so that 0 is a free slot. SPDX-License-Identifier: Apache-2.0 */
#include "broker/clean_keys.h"
#include "base/rng.h"

struct key_slot { struct sip_hash hash; int64_t next; };
enum { CAP_FIRST = 64 };

static size_t limit_of(size_t cap) { return cap / 4 * 3; }

void clean_keys_init(struct clean_keys *ks, uint64_t bytes_max)
{
    *ks = (struct clean_keys){.cap_max = CAP_FIRST};
    random_bytes(&ks->secret, sizeof ks->secret);
    while (ks->cap_max * 2 * sizeof(struct key_slot) <= bytes_max) ks->cap_max *= 2;
}

void clean_keys_fini(struct clean_keys *ks)
{
    free(ks->slots);
    ks->slots = NULL;
    ks->n = ks->cap = 0;
}

bool clean_keys_have_room(const struct clean_keys *ks, size_t more) { return !ks->n || ks->n + more <= limit_of(ks->cap_max); }

static struct key_slot *slot_of(const struct clean_keys *ks, const struct sip_hash *h)
{
    size_t at = (size_t)h->lo & (ks->cap - 1);

    while (ks->slots[at].next && (ks->slots[at].hash.lo != h->lo || ks->slots[at].hash.hi != h->hi)) at = (at + 1) & (ks->cap - 1);
    return &ks->slots[at];
}

static void grow(struct clean_keys *ks)
{
    struct clean_keys was = *ks;

    ks->cap = was.cap ? was.cap * 2 : CAP_FIRST;
    ks->slots = xcalloc(ks->cap, sizeof *ks->slots);
    for (size_t i = 0; i < was.cap; i++)
        if (was.slots[i].next) *slot_of(ks, &was.slots[i].hash) = was.slots[i];
    free(was.slots);
}

void clean_keys_put(struct clean_keys *ks, struct bytes key, int64_t offset)
{
    struct sip_hash  h = sip128(key, &ks->secret);
    struct key_slot *s;

    if (ks->n >= limit_of(ks->cap)) grow(ks);
    s = slot_of(ks, &h);
    if (!s->next) ks->n++;
    *s = (struct key_slot){h, offset + 1};
}

int64_t clean_keys_get(const struct clean_keys *ks, struct bytes key)
{
    struct sip_hash h;

    if (!ks->n) return -1;
    h = sip128(key, &ks->secret);
    return slot_of(ks, &h)->next - 1;
}
