/* SPDX-License-Identifier: Apache-2.0 */
#include "base/buf.h"
#include <stdio.h>

void buf_fini(struct buf *b)
{
    free(b->p);
    *b = (struct buf){0};
}

void buf_wipe(struct buf *b)
{
    if (b->p) explicit_bzero(b->p, b->cap);
    buf_fini(b);
}

void buf_reserve(struct buf *b, size_t more)
{
    size_t want, cap = b->cap ? b->cap : 64;

    must(!__builtin_add_overflow(b->n, more, &want));
    if (want <= b->cap) return;
    while (cap < want)
        cap += cap / 2 + 64;
    b->p = xrealloc(b->p, cap, 1);
    b->cap = cap;
}

uint8_t *buf_grow(struct buf *b, size_t more)
{
    uint8_t *at;

    buf_reserve(b, more);
    at = b->n ? b->p + b->n : b->p;
    b->n += more;
    return at;
}

void buf_append(struct buf *b, struct bytes add)
{
    if (add.n) memcpy(buf_grow(b, add.n), add.p, add.n);
}

void buf_append_str(struct buf *b, struct str add)
{
    buf_append(b, str_bytes(add));
}

void buf_append_byte(struct buf *b, uint8_t c)
{
    *buf_grow(b, 1) = c;
}

void buf_vprintf(struct buf *b, const char *fmt, va_list ap)
{
    va_list again;
    int n;

    va_copy(again, ap);
    n = vsnprintf(NULL, 0, fmt, again);
    va_end(again);
    must(n >= 0);
    buf_reserve(b, (size_t)n + 1);
    vsnprintf((char *)b->p + b->n, (size_t)n + 1, fmt, ap);
    b->n += (size_t)n;
}

void buf_printf(struct buf *b, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    buf_vprintf(b, fmt, ap);
    va_end(ap);
}

void buf_consume(struct buf *b, size_t n)
{
    must(n <= b->n);
    if (n && n < b->n) memmove(b->p, b->p + n, b->n - n);
    b->n -= n;
}

char *buf_cstr(struct buf *b)
{
    buf_reserve(b, 1);
    b->p[b->n] = 0;
    return (char *)b->p;
}

struct buf buf_take(struct buf *src)
{
    struct buf b = *src;

    *src = (struct buf){0};
    return b;
}
