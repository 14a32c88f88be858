/* base/map.h - hash map from bytes to a pointer (open addressing, seeded hash so that peers cannot aim at buckets).
 * Keys are copied in. {0} is a valid empty map. Not for more than 2^31 entries.
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/bytes.h"

struct map_slot;
struct map { struct map_slot *slots; size_t n, cap, tombs; };

void  map_fini(struct map *m);                                        /* values are not touched */
void  map_fini_each(struct map *m, void (*drop)(void *value));        /* … but each is given to drop, which may be free() */
void *map_get(const struct map *m, struct bytes key);                 /* NULL when absent */
void *map_put(struct map *m, struct bytes key, void *value);          /* value not NULL; returns the one replaced, or NULL */
void *map_del(struct map *m, struct bytes key);                       /* returns what was there, or NULL */
/* Iterate: size_t at = 0; while (map_next(m, &at, &key, &value)) … ; deleting the current entry meanwhile is fine. */
bool  map_next(const struct map *m, size_t *at, struct bytes *ret_key, void **ret_value);

static inline void *map_get_str(const struct map *m, struct str k)    { return map_get(m, str_bytes(k)); }
static inline void *map_put_str(struct map *m, struct str k, void *v) { return map_put(m, str_bytes(k), v); }
static inline void *map_del_str(struct map *m, struct str k)          { return map_del(m, str_bytes(k)); }
static inline void *map_get_u64(const struct map *m, uint64_t k)      { return map_get(m, bytes_of(&k, sizeof k)); }
static inline void *map_put_u64(struct map *m, uint64_t k, void *v)   { return map_put(m, bytes_of(&k, sizeof k), v); }
static inline void *map_del_u64(struct map *m, uint64_t k)            { return map_del(m, bytes_of(&k, sizeof k)); }

/* A good 64-bit hash for tables in memory; never written to disk. */
uint64_t hash64(struct bytes b, uint64_t seed);
