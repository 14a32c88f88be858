/* The hot part of reading V2 JSON: arrays of elements become raw data, one pass, one loop a
 * datatype.
 *
 * Nesting only says how the elements are grouped; it must be regular (every array of one level
 * equally long, all elements on one level), so that a lost value cannot shift the others unnoticed.
 * The number of elements is compared with the shape by the caller.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "oip/json_data.h"
#include "base/base64.h"
#include "oip/json.h"
#include "oip/number.h"
#include <inttypes.h>
#include <math.h>
#include <stdio.h>

enum { TOKEN_SHOWN = 40 }; /* of a bad element, in the sentence about it */

struct run {
    struct json_reader *j;
    const struct json_data *what;
    struct buf *raw;
    uint64_t count;
    unsigned leaf;                      /* the level on which elements are; 0 = not seen yet */
    uint64_t level[JSON_DEPTH_MAX + 1]; /* length of the first array of a level */
    bool level_known[JSON_DEPTH_MAX + 1];
};

static bool bad(struct run *r, const char *why)
{
    struct json_reader look = *r->j;
    struct err ignored;
    struct str token;

    if (r->j->failed) return false;
    look.e = &ignored;
    if (!json_read_skip(&look, &token))
        token = (struct str){r->j->p, MIN((size_t)1, (size_t)(r->j->end - r->j->p))};
    json_read_fail(r->j, RC_INVALID, "%.*s%s %s", (int)MIN(token.n, (size_t)TOKEN_SHOWN), token.p,
                   token.n > TOKEN_SHOWN ? "…" : "", why);
    err_in(r->j->e, "data[%" PRIu64 "]", r->count);
    return false;
}

static bool bad_range(struct run *r)
{
    char why[48];

    snprintf(why, sizeof why, "is out of range for %s", datatype_name(r->what->type).p);
    return bad(r, why);
}

/* Room for one more element of up to 8 bytes. */
static inline uint8_t *room(struct run *r)
{
    if (UNLIKELY(r->raw->cap - r->raw->n < 8)) buf_reserve(r->raw, 4096);
    return r->raw->p + r->raw->n;
}

static inline void stored(struct run *r, size_t width)
{
    r->raw->n += width;
    r->count++;
}

/* After an element: true when another one follows. */
static inline bool more(struct json_reader *j)
{
    if (j->p < j->end && *j->p == ',') {
        j->p++;
        json_read_space(j);
        return true;
    }
    return json_read_take(j, ',') && (json_read_space(j), true);
}

/* ---- integers ---- */

struct limits {
    uint64_t negative, positive;
    size_t width;
}; /* largest magnitudes */

static struct limits limits_of(enum datatype t)
{
    size_t bits = datatype_width(t) * 8;
    bool is_signed = t >= DT_INT8 && t <= DT_INT64;

    if (is_signed) return (struct limits){1ULL << (bits - 1), (1ULL << (bits - 1)) - 1, bits / 8};
    return (struct limits){0, UINT64_MAX >> (64 - bits), bits / 8};
}

/* Digits and nothing else, up to 18 of them: nearly every integer. NULL: look closer. */
static inline const char *plain_digits(const char *p, const char *end, uint64_t *ret)
{
    const char *start = p, *stop = end - p > 18 ? p + 18 : end;
    uint64_t v = 0;

    for (; p < stop && (uint8_t)(*p - '0') < 10; p++)
        v = v * 10 + (uint64_t)(*p - '0');
    *ret = v;
    if (p == start || p == end || (*start == '0' && p > start + 1)) return NULL;
    return (uint8_t)(*p - '0') < 10 || *p == '.' || *p == 'e' || *p == 'E' ? NULL : p;
}

static bool integer(struct run *r, bool *ret_negative, uint64_t *ret)
{
    struct json_reader *j = r->j;
    struct decimal d;
    const char *after;

    *ret_negative = j->p < j->end && *j->p == '-';
    after = plain_digits(j->p + *ret_negative, j->end, ret);
    if (after) return j->p = after, true;
    if (!(after = decimal_read(j->p, j->end, &d))) return bad(r, "is not an integer");
    if (!decimal_u64(&d, ret)) return d.exponent < 0 ? bad(r, "is not an integer") : bad_range(r);
    j->p = after;
    return true;
}

static void run_integers(struct run *r)
{
    struct limits max = limits_of(r->what->type);

    do {
        const char *at = r->j->p;
        bool negative;
        uint64_t v;

        if (!integer(r, &negative, &v)) return;
        if (v > (negative ? max.negative : max.positive)) {
            r->j->p = at;
            bad_range(r);
            return;
        }
        if (negative) v = 0 - v;
        memcpy(room(r), &v, 8);
        stored(r, max.width);
    } while (more(r->j));
}

/* ---- floats ---- */

/* What JSON numbers cannot say; see json.h. */
static bool special(struct run *r, double *ret)
{
    static const struct {
        const char *word;
        double v;
    } words[] = {
        {"NaN", NAN},     {"Infinity", INFINITY},     {"-Infinity", -INFINITY},
        {"\"NaN\"", NAN}, {"\"Infinity\"", INFINITY}, {"\"-Infinity\"", -INFINITY},
    };

    for (size_t i = 0; i < countof(words); i++)
        if (json_read_word(r->j, words[i].word)) return *ret = words[i].v, true;
    if (r->what->null_is_nan && json_read_word(r->j, "null")) return *ret = NAN, true;
    return bad(r, "is not a number");
}

static void store_special(struct run *r, double v)
{
    float f = (float)v;
    uint8_t *p = room(r);

    if (r->what->type == DT_FP64)
        memcpy(p, &v, 8);
    else if (r->what->type == DT_FP32)
        memcpy(p, &f, 4);
    else
        store_le16(p, r->what->type == DT_FP16 ? half_of_float(f) : bfloat_of_float(f));
}

/* False: too large for the datatype. */
static inline bool store_decimal(struct run *r, const struct decimal *d)
{
    uint8_t *p = room(r);
    uint16_t h;
    double v;
    float f;

    if (r->what->type == DT_FP64) {
        v = decimal_fp64(d);
        memcpy(p, &v, 8);
        return !isinf(v);
    }
    f = decimal_fp32(d);
    if (r->what->type == DT_FP32) {
        memcpy(p, &f, 4);
        return !isinf(f);
    }
    h = r->what->type == DT_FP16 ? half_of_float(f) : bfloat_of_float(f);
    store_le16(p, h);
    return !isinf(r->what->type == DT_FP16 ? half_to_float(h) : bfloat_to_float(h));
}

static void run_floats(struct run *r)
{
    size_t width = datatype_width(r->what->type);

    do {
        struct decimal d;
        double v = 0;
        const char *after = decimal_read(r->j->p, r->j->end, &d);

        if (LIKELY(after != NULL)) {
            if (!store_decimal(r, &d)) {
                bad_range(r);
                return;
            }
            r->j->p = after;
        } else {
            if (!special(r, &v)) return;
            store_special(r, v);
        }
        stored(r, width);
    } while (more(r->j));
}

/* ---- the others ---- */

static void run_bools(struct run *r)
{
    do {
        uint8_t *p = room(r);

        if (json_read_word(r->j, "true"))
            *p = 1;
        else if (json_read_word(r->j, "false"))
            *p = 0;
        else {
            bool negative;
            uint64_t v;

            if (!plain_digits(r->j->p, r->j->end, &v) || v > 1) {
                bad(r, "is neither true nor false");
                return;
            }
            if (!integer(r, &negative, &v)) return;
            *p = (uint8_t)v;
        }
        stored(r, 1);
    } while (more(r->j));
}

static bool put_base64(struct run *r)
{
    const char *at = r->j->p;
    struct str text;

    if (!json_read_string(r->j, &text)) return false;
    if (base64_decode(text, r->raw)) return true;
    r->j->p = at;
    return bad(r, "is not base64, which content_type announces");
}

static void run_strings(struct run *r)
{
    do {
        size_t at = r->raw->n;

        if (r->j->p == r->j->end || *r->j->p != '"') {
            bad(r, "is not a string");
            return;
        }
        store_le32(buf_grow(r->raw, 4), 0);
        if (!(r->what->base64 ? put_base64(r) : json_read_string_into(r->j, r->raw))) return;
        store_le32(r->raw->p + at, (uint32_t)(r->raw->n - at - 4));
        r->count++;
    } while (more(r->j));
}

static void run_elements(struct run *r)
{
    switch (r->what->type) {
    case DT_BOOL: run_bools(r); return;
    case DT_UINT8:
    case DT_UINT16:
    case DT_UINT32:
    case DT_UINT64:
    case DT_INT8:
    case DT_INT16:
    case DT_INT32:
    case DT_INT64: run_integers(r); return;
    case DT_FP16:
    case DT_FP32:
    case DT_FP64:
    case DT_BF16: run_floats(r); return;
    case DT_BYTES: run_strings(r); return;
    case DT_UNKNOWN: return;
    }
}

/* ---- nesting ---- */

static bool close_level(struct run *r, unsigned level, uint64_t n)
{
    if (!json_read_want(r->j, ']')) return false;
    if (!r->level_known[level]) {
        r->level_known[level] = true;
        r->level[level] = n;
    }
    if (r->level[level] == n) return true;
    return json_read_fail(r->j, RC_INVALID,
                          "data is ragged: an array of %" PRIu64 " where the first has %" PRIu64, n,
                          r->level[level]);
}

static bool read_level(struct run *r, unsigned level)
{
    struct json_reader *j = r->j;
    uint64_t n = 0, before = r->count;
    char c;

    if (level > JSON_DEPTH_MAX)
        return json_read_fail(j, RC_INVALID, "nested deeper than %d", JSON_DEPTH_MAX);
    if (!json_read_want(j, '[')) return false;
    c = json_read_peek(j);
    if (c == '[') {
        do {
            if (json_read_peek(j) != '[')
                return json_read_fail(j, RC_INVALID, "data is ragged: an element beside arrays");
            if (!read_level(r, level + 1)) return false;
            n++;
        } while (more(j));
    } else if (c != ']') {
        if (r->leaf && r->leaf != level)
            return json_read_fail(j, RC_INVALID, "data is ragged: elements on different levels");
        r->leaf = level;
        run_elements(r);
        n = r->count - before;
    }
    return !j->failed && close_level(r, level, n);
}

bool json_data_read(struct json_reader *j, const struct json_data *what, struct buf *raw,
                    uint64_t *ret_count)
{
    struct run r = {.j = j, .what = what, .raw = raw};
    size_t left = (size_t)(j->end - j->p), width = MAX(datatype_width(what->type), (size_t)4);

    buf_reserve(raw, (size_t)MIN(what->expected, (uint64_t)left / 2) * width + 64);
    if (json_read_peek(j) != '[') return json_read_fail(j, RC_INVALID, "data is not an array");
    if (!read_level(&r, 1)) return false;
    *ret_count = r.count;
    return true;
}
