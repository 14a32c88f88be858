/* SPDX-License-Identifier: Apache-2.0 */
#include "base/arena.h"
#include <stdarg.h>
#include <stdio.h>

enum { CHUNK_BYTES = 4096 - 64 };

struct arena_chunk {
    struct arena_chunk *next;
    size_t n, cap;
    _Alignas(16) uint8_t p[];
};

void arena_init(struct arena *a, size_t limit)
{
    *a = (struct arena){.limit = limit};
}

void arena_fini(struct arena *a)
{
    for (struct arena_chunk *c = a->chunks, *next; c; c = next) {
        next = c->next;
        free(c);
    }
    *a = (struct arena){.limit = a->limit};
}

void arena_reset(struct arena *a)
{
    struct arena_chunk *keep = a->chunks;

    if (keep) {
        for (struct arena_chunk *c = keep->next, *next; c; c = next) {
            next = c->next;
            free(c);
        }
        keep->next = NULL;
        keep->n = 0;
    }
    a->used = 0;
    a->refused = false;
}

void *arena_alloc(struct arena *a, size_t n)
{
    struct arena_chunk *c = a->chunks;
    size_t want = (MAX(n, (size_t)1) + 15) & ~(size_t)15;

    if (want < n || (a->limit && (want > a->limit || a->used > a->limit - want))) {
        a->refused = true;
        return NULL;
    }
    if (!c || c->cap - c->n < want) {
        size_t cap = MAX(want, (size_t)CHUNK_BYTES);

        c = malloc(sizeof *c + cap);
        must(c != NULL);
        *c = (struct arena_chunk){.next = a->chunks, .cap = cap};
        a->chunks = c;
    }
    c->n += want;
    a->used += want;
    return memset(c->p + c->n - want, 0, want);
}

void *arena_array_(struct arena *a, size_t n, size_t size)
{
    size_t bytes;

    if (__builtin_mul_overflow(n, size, &bytes)) {
        a->refused = true;
        return NULL;
    }
    return arena_alloc(a, bytes);
}

struct bytes arena_dup(struct arena *a, struct bytes b)
{
    uint8_t *p = arena_alloc(a, b.n + 1);

    if (!p) return (struct bytes){0};
    if (b.n) memcpy(p, b.p, b.n);
    return (struct bytes){p, b.n};
}

struct str arena_dup_str(struct arena *a, struct str s)
{
    return bytes_str(arena_dup(a, str_bytes(s)));
}

struct str arena_printf(struct arena *a, const char *fmt, ...)
{
    va_list ap, again;
    int n;
    char *p;

    va_start(ap, fmt);
    va_copy(again, ap);
    n = vsnprintf(NULL, 0, fmt, again);
    va_end(again);
    p = n < 0 ? NULL : arena_alloc(a, (size_t)n + 1);
    if (p) vsnprintf(p, (size_t)n + 1, fmt, ap);
    va_end(ap);
    return p ? (struct str){p, (size_t)n} : (struct str){0};
}
