/* base/bytes.h - borrowed views of memory, and loads and stores of fixed-width integers.
 *
 * struct bytes is data, struct str is text (UTF-8, not necessarily NUL-terminated). Neither is ever freed.
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/macros.h"
#include <stdbool.h>
#include <string.h>

struct bytes { const uint8_t *p; size_t n; };
struct str   { const char *p; size_t n; };

#define STR(lit)     ((struct str){(lit), sizeof(lit) - 1})
#define STR_FMT      "%.*s"
#define STR_ARG(s)   (int)MIN((s).n, (size_t)INT32_MAX), ((s).p ? (s).p : "")

static inline struct str   str_of(const char *s)                    { return (struct str){s, s ? strlen(s) : 0}; }
static inline struct bytes bytes_of(const void *p, size_t n)        { return (struct bytes){(const uint8_t *)p, n}; }
static inline struct bytes str_bytes(struct str s)                  { return bytes_of(s.p, s.n); }
static inline struct str   bytes_str(struct bytes b)                { return (struct str){(const char *)b.p, b.n}; }
static inline bool bytes_eq(struct bytes a, struct bytes b) { return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0); }
static inline bool str_eq(struct str a, struct str b)       { return bytes_eq(str_bytes(a), str_bytes(b)); }
static inline bool str_is(struct str a, const char *b)      { return str_eq(a, str_of(b)); }

bool str_starts(struct str s, struct str prefix);
bool str_ends(struct str s, struct str suffix);
bool str_eq_nocase(struct str a, struct str b);         /* ASCII only */
int  str_cmp(struct str a, struct str b);               /* bytewise, shorter first */
bool str_to_i64(struct str s, int64_t *ret);            /* decimal, optional sign, whole string, no overflow */
enum { DECIMAL_MAX = 20 };
struct str decimal(uint64_t v, char into[DECIMAL_MAX]);        /* decimal, for where printf would be felt */
/* Cuts s at the first c: *head is before it, *tail after it. False (head = s, tail empty) when c is absent. */
bool str_cut(struct str s, char c, struct str *head, struct str *tail);
struct str str_trim(struct str s);                      /* without spaces and control characters at both ends */
struct str str_own(struct str s);                       /* a copy that str_drop() frees, NUL beyond its end; .p NULL stays NULL */
void str_drop(struct str *s);                           /* {0} again */
struct bytes bytes_sub(struct bytes b, size_t from, size_t n);   /* must lie inside b */

static inline uint16_t load_be16(const uint8_t *p) { uint16_t v; memcpy(&v, p, 2); return __builtin_bswap16(v); }
static inline uint32_t load_be32(const uint8_t *p) { uint32_t v; memcpy(&v, p, 4); return __builtin_bswap32(v); }
static inline uint64_t load_be64(const uint8_t *p) { uint64_t v; memcpy(&v, p, 8); return __builtin_bswap64(v); }
static inline uint16_t load_le16(const uint8_t *p) { uint16_t v; memcpy(&v, p, 2); return v; }
static inline uint32_t load_le32(const uint8_t *p) { uint32_t v; memcpy(&v, p, 4); return v; }
static inline uint64_t load_le64(const uint8_t *p) { uint64_t v; memcpy(&v, p, 8); return v; }
static inline void store_be16(uint8_t *p, uint16_t v) { v = __builtin_bswap16(v); memcpy(p, &v, 2); }
static inline void store_be32(uint8_t *p, uint32_t v) { v = __builtin_bswap32(v); memcpy(p, &v, 4); }
static inline void store_be64(uint8_t *p, uint64_t v) { v = __builtin_bswap64(v); memcpy(p, &v, 8); }
static inline void store_le16(uint8_t *p, uint16_t v) { memcpy(p, &v, 2); }
static inline void store_le32(uint8_t *p, uint32_t v) { memcpy(p, &v, 4); }
static inline void store_le64(uint8_t *p, uint64_t v) { memcpy(p, &v, 8); }

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "millrace runs on little-endian machines");
