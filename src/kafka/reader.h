/* kafka/reader.h - a cursor over bytes a peer sent, which remembers its first failure.
 *
 * Once `why` is set every read gives 0, an empty view or no elements, and the cursor stays where it failed: read a whole
 * message, then check once. No count or length is believed before the bytes left could hold it. Strings and bytes are
 * views into the input; arrays come from the caller's arena, whose limit is the last bound on what a peer can cost.
 * Owns nothing.   Lives on: any thread.   Used by: the generated messages, batches, everything that parses big-endian.
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/arena.h"
#include "base/err.h"
#include "base/uuid.h"

enum rd_why {
    RD_OK = 0,
    RD_SHORT,      /* a field ends behind the input */
    RD_COUNT,      /* more elements announced than the bytes left can hold */
    RD_LENGTH,     /* a string or byte field longer than what is left */
    RD_LONG,       /* a string above the 32767 bytes Kafka allows */
    RD_NULL,       /* null where the protocol has none */
    RD_VARINT,     /* a variable-length integer that does not end or overflows */
    RD_VALUE,      /* a value outside its range */
    RD_MEMORY,     /* the arena's limit is reached */
};

enum { RD_TRAIL_MAX = 8, RD_STRING_MAX = INT16_MAX };

struct rd_step { const char *name; size_t index; };          /* index SIZE_MAX: not an array element */

struct rd {
    const uint8_t *p, *end, *start;
    enum rd_why    why;
    uint32_t       trail_n;
    const char    *what;                                     /* "Produce", set by the message's decoder */
    int16_t        version;
    const char    *field;                                    /* the array or field that failed, where known */
    uint64_t       wanted, left;                             /* what the failed read wanted, what was there */
    struct rd_step trail[RD_TRAIL_MAX];                      /* innermost first */
};

static inline void rd_init(struct rd *r, struct bytes b)
{
    r->p = r->start = b.p;
    r->end = b.n ? b.p + b.n : b.p;
    r->why = RD_OK;
    r->trail_n = 0;
    r->what = r->field = NULL;
    r->version = -1;
    r->wanted = r->left = 0;
}

/* "Produce v9: topics[3].partitions: 70000 entries cannot fit in 112 bytes (at 1204 of 1316)". Returns RC_INVALID, or
 * RC_TOO_LARGE when it was the arena that refused. Only after a failure. */
enum rc rd_err(const struct rd *r, struct err *e);
const char *rd_why_name(enum rd_why why);                    /* "short", "count", …: for metrics */

static inline size_t rd_left(const struct rd *r) { return (size_t)(r->end - r->p); }

/* The first failure wins. Always false. */
bool rd_fail(struct rd *r, enum rd_why why, uint64_t wanted, const char *field) __attribute__((cold));
/* While unwinding: the failure happened inside element `index` of `name` (SIZE_MAX: inside struct `name`). */
void rd_in(struct rd *r, const char *name, size_t index) __attribute__((cold));

static inline bool rd_has(struct rd *r, size_t n)
{
    if (LIKELY(r->why == RD_OK && rd_left(r) >= n)) return true;
    return rd_fail(r, RD_SHORT, n, NULL);
}

static inline const uint8_t *rd_step_(struct rd *r, size_t n)
{
    const uint8_t *p = r->p;

    r->p += n;
    return p;
}

static inline int8_t   rd_i8(struct rd *r)   { return rd_has(r, 1) ? (int8_t)*rd_step_(r, 1) : 0; }
static inline bool     rd_bool(struct rd *r) { return rd_i8(r) != 0; }
static inline uint16_t rd_u16(struct rd *r)  { return rd_has(r, 2) ? load_be16(rd_step_(r, 2)) : 0; }
static inline uint32_t rd_u32(struct rd *r)  { return rd_has(r, 4) ? load_be32(rd_step_(r, 4)) : 0; }
static inline uint64_t rd_u64(struct rd *r)  { return rd_has(r, 8) ? load_be64(rd_step_(r, 8)) : 0; }
static inline int16_t  rd_i16(struct rd *r)  { return (int16_t)rd_u16(r); }
static inline int32_t  rd_i32(struct rd *r)  { return (int32_t)rd_u32(r); }
static inline int64_t  rd_i64(struct rd *r)  { return (int64_t)rd_u64(r); }

static inline double rd_f64(struct rd *r)
{
    uint64_t bits = rd_u64(r);
    double   v;

    memcpy(&v, &bits, sizeof v);
    return v;
}

static inline struct uuid rd_uuid(struct rd *r)
{
    struct uuid u = {{0}};

    if (rd_has(r, sizeof u.b)) memcpy(u.b, rd_step_(r, sizeof u.b), sizeof u.b);
    return u;
}

/* A view of the next n bytes. */
static inline struct bytes rd_take(struct rd *r, size_t n)
{
    if (!rd_has(r, n)) return (struct bytes){0};
    return (struct bytes){rd_step_(r, n), n};
}

/* Variable-length integers: unsigned of 32 bits, and the zigzag ones inside records. Most take one byte. */
uint64_t rd_leb128(struct rd *r, unsigned bits);

static inline bool rd_is_one_byte_(const struct rd *r) { return LIKELY(r->why == RD_OK && r->p < r->end && *r->p < 0x80); }

static inline uint32_t rd_uvarint(struct rd *r)
{
    return rd_is_one_byte_(r) ? *r->p++ : (uint32_t)rd_leb128(r, 32);
}

static inline int32_t rd_varint(struct rd *r)
{
    uint32_t v = rd_uvarint(r);

    return (int32_t)(v >> 1 ^ (0 - (v & 1)));
}

static inline int64_t rd_varlong(struct rd *r)
{
    uint64_t v = rd_is_one_byte_(r) ? *r->p++ : rd_leb128(r, 64);

    return (int64_t)(v >> 1 ^ (0 - (v & 1)));
}

/* Strings and bytes: `flex` chooses the compact form. The _null forms give .p == NULL for null; the others refuse it.
 * `field` is the name that a refusal shows (a literal). */
struct str   rd_str(struct rd *r, bool flex, const char *field);
struct str   rd_str_null(struct rd *r, bool flex, const char *field);
struct bytes rd_bytes(struct rd *r, bool flex, const char *field);
struct bytes rd_bytes_null(struct rd *r, bool flex, const char *field);

/* Array headers: the number of elements, refused if the bytes left could not hold that many of at least bytes_min. */
size_t rd_count(struct rd *r, bool flex, size_t bytes_min, const char *field);
size_t rd_count_null(struct rd *r, bool flex, size_t bytes_min, const char *field, bool *ret_null);
/* Zeroed room for *n elements out of the arena: NULL when *n is 0. Refused: *n becomes 0 and the cursor fails. */
void *rd_room(struct rd *r, struct arena *a, size_t *n, size_t size, const char *field);

/* Whole arrays of primitives. The _null forms say whether the array was null. */
int8_t     *rd_i8s(struct rd *r, bool flex, struct arena *a, size_t *ret_n, const char *field);
int32_t    *rd_i32s(struct rd *r, bool flex, struct arena *a, size_t *ret_n, const char *field);
int64_t    *rd_i64s(struct rd *r, bool flex, struct arena *a, size_t *ret_n, const char *field);
struct str *rd_strs(struct rd *r, bool flex, struct arena *a, size_t *ret_n, const char *field);
int32_t    *rd_i32s_null(struct rd *r, bool flex, struct arena *a, size_t *ret_n, bool *ret_null, const char *field);
struct str *rd_strs_null(struct rd *r, bool flex, struct arena *a, size_t *ret_n, bool *ret_null, const char *field);

/* Tag buffers. A decoder that knows no tags skips them all; one that does walks them:
 *     for (uint32_t n = rd_uvarint(r); n && rd_tag_open(r, &tag, &end); n--) { switch (tag) {…} rd_tag_close(r, end); }
 * Reads inside are bounded by the tag's own size, and closing moves behind it, whatever was read. */
void rd_tags_skip(struct rd *r);
bool rd_tag_open(struct rd *r, uint32_t *ret_tag, const uint8_t **ret_end);
void rd_tag_close(struct rd *r, const uint8_t *end);
