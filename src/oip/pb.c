/* SPDX-License-Identifier: Apache-2.0 */
#include "oip/pb.h"

enum { FIELD_NUMBER_MAX = 536870911 };

uint64_t pb_read_varint(struct pb_reader *r)
{
    uint64_t v = 0;

    for (unsigned shift = 0; r->p < r->end; shift += 7) {
        uint8_t c = *r->p++;

        if (shift == 63 && c > 1) {
            r->why = "varint longer than 64 bits";
            return 0;
        }
        v |= (uint64_t)(c & 127) << shift;
        if (c < 128) return v;
    }
    r->why = "cut off inside a varint";
    return 0;
}

static bool fixed(struct pb_reader *r, size_t n, uint64_t *ret)
{
    if ((size_t)(r->end - r->p) < n) {
        r->why = "cut off inside a fixed-size field";
        return false;
    }
    *ret = n == 8 ? load_le64(r->p) : load_le32(r->p);
    r->p += n;
    return true;
}

bool pb_next(struct pb_reader *r, struct pb_field *ret)
{
    const uint8_t *at = r->p;
    uint64_t tag;

    if (r->why || r->p == r->end) return false;
    tag = pb_read_varint(r);
    if (r->why) return false;
    if (tag >> 3 == 0 || tag >> 3 > FIELD_NUMBER_MAX) {
        r->why = "field number out of range";
        return false;
    }
    *ret = (struct pb_field){.number = (uint32_t)(tag >> 3)};
    switch (tag & 7) {
    case PB_VARINT:
        ret->wire = PB_VARINT;
        ret->value = pb_read_varint(r);
        break;
    case PB_FIXED64:
        ret->wire = PB_FIXED64;
        if (!fixed(r, 8, &ret->value)) return false;
        break;
    case PB_FIXED32:
        ret->wire = PB_FIXED32;
        if (!fixed(r, 4, &ret->value)) return false;
        break;
    case PB_LEN:
        ret->wire = PB_LEN;
        ret->value = pb_read_varint(r);
        if (r->why) return false;
        if (ret->value > (size_t)(r->end - r->p)) {
            r->why = "a length reaches beyond the end";
            return false;
        }
        ret->bytes = bytes_of(r->p, (size_t)ret->value);
        r->p += ret->value;
        break;
    default: r->why = "unknown wire type"; return false;
    }
    ret->whole = bytes_of(at, (size_t)(r->p - at));
    return !r->why;
}

enum rc pb_failed(const struct pb_reader *r, const char *what, struct err *e)
{
    return err_set(e, RC_INVALID, "%s: %s (at %zu of %zu)", what, r->why, (size_t)(r->p - r->start),
                   (size_t)(r->end - r->start));
}

/* One sequence of two to four bytes; returns its length, 0 when it is none. */
static size_t utf8_sequence(const uint8_t *p, size_t n)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    size_t want = p[0] >= 0xf0 ? 4 : p[0] >= 0xe0 ? 3 : 2;
    uint32_t c = p[0] & (0x7fu >> want);

    if (p[0] < 0xc2 || p[0] > 0xf4 || n < want) return 0;
    for (size_t i = 1; i < want; i++) {
        if ((p[i] & 0xc0) != 0x80) return 0;
        c = c << 6 | (p[i] & 0x3f);
    }
    return c < least[want] || c > 0x10ffff || (c >= 0xd800 && c < 0xe000) ? 0 : want;
}

bool utf8_valid(struct str s)
{
    const uint8_t *p = (const uint8_t *)s.p;
    size_t i = 0, n;

    while (i < s.n) {
        if (s.n - i >= 8 && !(load_le64(p + i) & 0x8080808080808080)) {
            i += 8;
            continue;
        }
        if (p[i] < 128) {
            i++;
            continue;
        }
        if (!(n = utf8_sequence(p + i, s.n - i))) return false;
        i += n;
    }
    return true;
}

size_t pb_varint_size(uint64_t v)
{
    return (size_t)(70 - __builtin_clzll(v | 1)) / 7;
}

void pb_put_varint(struct buf *b, uint64_t v)
{
    uint8_t *p = buf_grow(b, pb_varint_size(v));

    for (; v > 127; v >>= 7)
        *p++ = (uint8_t)(v | 128);
    *p = (uint8_t)v;
}

void pb_put_tag(struct buf *b, uint32_t number, enum pb_wire wire)
{
    pb_put_varint(b, (uint64_t)number << 3 | wire);
}

void pb_put_u64(struct buf *b, uint32_t number, uint64_t v)
{
    if (!v) return;
    pb_put_tag(b, number, PB_VARINT);
    pb_put_varint(b, v);
}

void pb_put_i64(struct buf *b, uint32_t number, int64_t v)
{
    pb_put_u64(b, number, (uint64_t)v);
}

void pb_put_bool(struct buf *b, uint32_t number, bool v)
{
    pb_put_u64(b, number, v);
}

void pb_put_double(struct buf *b, uint32_t number, double v)
{
    uint64_t u;

    memcpy(&u, &v, sizeof u);
    if (!u) return;
    pb_put_tag(b, number, PB_FIXED64);
    store_le64(buf_grow(b, 8), u);
}

void pb_put_str(struct buf *b, uint32_t number, struct str s)
{
    if (s.n) pb_put_bytes(b, number, str_bytes(s));
}

void pb_put_bytes(struct buf *b, uint32_t number, struct bytes v)
{
    pb_put_len(b, number, v.n);
    buf_append(b, v);
}

void pb_put_len(struct buf *b, uint32_t number, size_t n)
{
    pb_put_tag(b, number, PB_LEN);
    pb_put_varint(b, n);
}

size_t pb_begin(struct buf *b, uint32_t number)
{
    pb_put_tag(b, number, PB_LEN);
    buf_append_byte(b, 0);
    return b->n;
}

/* The length was given one byte; a longer one moves the body. */
void pb_end(struct buf *b, size_t at)
{
    size_t n = b->n - at, width = pb_varint_size(n);

    if (width > 1) {
        buf_grow(b, width - 1);
        memmove(b->p + at + width - 1, b->p + at, n);
    }
    for (uint8_t *p = b->p + at - 1; width; width--, n >>= 7)
        *p++ = (uint8_t)((n & 127) | (width > 1 ? 128 : 0));
}
