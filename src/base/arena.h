/* base/arena.h - everything one request needs, dropped in one call. {0} is a valid arena without a limit.
 *
 * arena_alloc never returns NULL while `limit` is 0 or not reached. Beyond the limit it returns NULL and sets
 * `refused`: callers whose sizes a peer chose check it (arena_array's count comes from the wire).
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/bytes.h"

struct arena_chunk;
struct arena {
    struct arena_chunk *chunks;     /* newest first */
    size_t used, limit;             /* bytes handed out; 0 = no limit */
    bool   refused;
};

void  arena_init(struct arena *a, size_t limit);
void  arena_fini(struct arena *a);                               /* frees all; {0} again */
void  arena_reset(struct arena *a);                              /* keeps one chunk for reuse */
void *arena_alloc(struct arena *a, size_t n);                    /* zeroed, 16-byte aligned */
void *arena_array_(struct arena *a, size_t n, size_t size);
#define arena_array(a, type, n) ((type *)arena_array_((a), (n), sizeof(type)))
#define arena_new(a, type)      ((type *)arena_array_((a), 1, sizeof(type)))
struct bytes arena_dup(struct arena *a, struct bytes b);
struct str   arena_dup_str(struct arena *a, struct str s);       /* NUL-terminated beyond its end */
struct str   arena_printf(struct arena *a, const char *fmt, ...) PRINTF(2, 3);
