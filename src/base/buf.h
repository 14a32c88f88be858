/* base/buf.h - an owned, growable run of bytes with one owner. {0} is a valid empty buf.
 * Views into it are borrowed until the next call that may grow it. SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/bytes.h"
#include <stdarg.h>

struct buf { uint8_t *p; size_t n, cap; };

void buf_fini(struct buf *b);                                    /* leaves it empty; may be called twice */
void buf_wipe(struct buf *b);                                    /* buf_fini(), and nothing of it stays in memory: for secrets, sized beforehand */
void buf_reserve(struct buf *b, size_t more);                    /* room for n + more */
uint8_t *buf_grow(struct buf *b, size_t more);                   /* extends by `more` bytes, uninitialised; returns where they start */
void buf_append(struct buf *b, struct bytes add);
void buf_append_str(struct buf *b, struct str add);
void buf_append_byte(struct buf *b, uint8_t c);
void buf_printf(struct buf *b, const char *fmt, ...) PRINTF(2, 3);
void buf_vprintf(struct buf *b, const char *fmt, va_list ap) PRINTF(2, 0);
void buf_consume(struct buf *b, size_t n);                       /* drops the first n bytes */
static inline struct bytes buf_view(const struct buf *b) { return (struct bytes){b->p, b->n}; }
static inline struct str   buf_str(const struct buf *b)  { return (struct str){(const char *)b->p, b->n}; }
static inline void buf_clear(struct buf *b) { b->n = 0; }
char *buf_cstr(struct buf *b);                                   /* borrowed, NUL-terminated (the NUL is not counted) */
struct buf buf_take(struct buf *src);                            /* src is empty afterwards */
