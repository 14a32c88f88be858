/* kafka/reader.c - the slow and the failing halves of the cursor: the fast ones are inline in the header.
 *
 * A failing read keeps three facts: why, what was wanted, and what was there. Each struct decoder on the way out adds one
 * step to the trail, and only rd_err() turns all of it into words, so that decoding never formats anything.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "kafka/reader.h"
#include "base/buf.h"
#include <inttypes.h>

bool rd_fail(struct rd *r, enum rd_why why, uint64_t wanted, const char *field)
{
    if (r->why != RD_OK) return false;
    r->why = why;
    r->wanted = wanted;
    r->left = rd_left(r);
    r->field = field;
    return false;
}

void rd_in(struct rd *r, const char *name, size_t index)
{
    if (r->trail_n < RD_TRAIL_MAX) r->trail[r->trail_n++] = (struct rd_step){name, index};
}

const char *rd_why_name(enum rd_why why)
{
    switch (why) {
    case RD_OK:     return "ok";
    case RD_SHORT:  return "short";
    case RD_COUNT:  return "count";
    case RD_LENGTH: return "length";
    case RD_LONG:   return "long";
    case RD_NULL:   return "null";
    case RD_VARINT: return "varint";
    case RD_VALUE:  return "value";
    case RD_MEMORY: return "memory";
    }
    return "?";
}

static void where(const struct rd *r, struct buf *b)
{
    if (r->what) buf_printf(b, "%s v%d: ", r->what, r->version);
    for (uint32_t i = r->trail_n; i-- > 0;) {
        buf_printf(b, "%s", r->trail[i].name);
        if (r->trail[i].index != SIZE_MAX) buf_printf(b, "[%zu]", r->trail[i].index);
        buf_printf(b, "%s", i || r->field ? "." : "");
    }
    if (r->field) buf_printf(b, "%s", r->field);
    if (r->trail_n || r->field) buf_printf(b, ": ");
}

enum rc rd_err(const struct rd *r, struct err *e)
{
    AUTO(buf_fini) struct buf b = {0};

    must(r->why != RD_OK);
    where(r, &b);
    switch (r->why) {
    case RD_OK: break;
    case RD_SHORT:
        buf_printf(&b, "%" PRIu64 " bytes wanted, %" PRIu64 " there", r->wanted, r->left);
        break;
    case RD_COUNT:
        buf_printf(&b, "%" PRIu64 " entries cannot fit in %" PRIu64 " bytes", r->wanted, r->left);
        break;
    case RD_LENGTH:
        buf_printf(&b, "%" PRIu64 " bytes announced, %" PRIu64 " there", r->wanted, r->left);
        break;
    case RD_LONG:
        buf_printf(&b, "a string of %" PRIu64 " bytes is above %d", r->wanted, RD_STRING_MAX);
        break;
    case RD_NULL:   buf_printf(&b, "null is not allowed here"); break;
    case RD_VARINT: buf_printf(&b, "a variable-length integer does not end within its size"); break;
    case RD_VALUE:  buf_printf(&b, "%" PRId64 " is out of range", (int64_t)r->wanted); break;
    case RD_MEMORY: buf_printf(&b, "%" PRIu64 " entries need more memory than one request may use", r->wanted); break;
    }
    buf_printf(&b, " (at %zu of %zu)", (size_t)(r->p - r->start), (size_t)(r->end - r->start));
    return err_set(e, r->why == RD_MEMORY ? RC_TOO_LARGE : RC_INVALID, STR_FMT, STR_ARG(buf_str(&b)));
}

/* LEB128, low group first. The bits of the last possible byte that lie beyond the type are an overflow. */
uint64_t rd_leb128(struct rd *r, unsigned bits)
{
    const uint8_t *p = r->p;
    uint64_t       v = 0;

    if (r->why != RD_OK) return 0;
    for (unsigned shift = 0; shift < bits; shift += 7) {
        if (p == r->end) {
            rd_fail(r, RD_SHORT, (uint64_t)(p - r->p) + 1, NULL);
            return 0;
        }
        if (bits - shift < 7 && *p >> (bits - shift)) break;
        v |= (uint64_t)(*p & 0x7f) << shift;
        if (*p++ < 0x80) {
            r->p = p;
            return v;
        }
    }
    rd_fail(r, RD_VARINT, 0, NULL);
    return 0;
}

/* The length in front of a string (int16) or of bytes (int32), or compact; -1 for null. */
static int64_t length(struct rd *r, bool flex, bool wide)
{
    int64_t n;

    if (flex) return (int64_t)rd_uvarint(r) - 1;
    n = wide ? rd_i32(r) : rd_i16(r);
    return n < 0 ? -1 : n;
}

/* Gives back false when the field is null or the cursor has failed; refuses null unless it is allowed. */
static bool view(struct rd *r, int64_t n, int64_t max, bool null_ok, const char *field, struct bytes *ret)
{
    *ret = (struct bytes){0};
    if (r->why != RD_OK) {
        if (!r->field) r->field = field;
        return false;
    }
    if (n < 0) return null_ok ? false : rd_fail(r, RD_NULL, 0, field);
    if (n > max) return rd_fail(r, RD_LONG, (uint64_t)n, field);
    if ((uint64_t)n > rd_left(r)) return rd_fail(r, RD_LENGTH, (uint64_t)n, field);
    *ret = (struct bytes){rd_step_(r, (size_t)n), (size_t)n};
    return true;
}

struct str rd_str(struct rd *r, bool flex, const char *field)
{
    struct bytes b;

    if (r->why != RD_OK) return (struct str){0};
    view(r, length(r, flex, false), RD_STRING_MAX, false, field, &b);
    return bytes_str(b);
}

struct str rd_str_null(struct rd *r, bool flex, const char *field)
{
    struct bytes b;

    if (r->why != RD_OK) return (struct str){0};
    view(r, length(r, flex, false), RD_STRING_MAX, true, field, &b);
    return bytes_str(b);
}

struct bytes rd_bytes(struct rd *r, bool flex, const char *field)
{
    struct bytes b;

    if (r->why != RD_OK) return (struct bytes){0};
    view(r, length(r, flex, true), INT64_MAX, false, field, &b);
    return b;
}

struct bytes rd_bytes_null(struct rd *r, bool flex, const char *field)
{
    struct bytes b;

    if (r->why != RD_OK) return (struct bytes){0};
    view(r, length(r, flex, true), INT64_MAX, true, field, &b);
    return b;
}

size_t rd_count_null(struct rd *r, bool flex, size_t bytes_min, const char *field, bool *ret_null)
{
    int64_t n;

    *ret_null = false;
    if (r->why != RD_OK) return 0;
    n = length(r, flex, true);
    if (r->why != RD_OK) {
        r->field = field;
        return 0;
    }
    if (n < 0) {
        *ret_null = true;
        return 0;
    }
    if ((uint64_t)n > rd_left(r) / bytes_min) {
        rd_fail(r, RD_COUNT, (uint64_t)n, field);
        return 0;
    }
    return (size_t)n;
}

size_t rd_count(struct rd *r, bool flex, size_t bytes_min, const char *field)
{
    bool   null;
    size_t n = rd_count_null(r, flex, bytes_min, field, &null);

    if (null) rd_fail(r, RD_NULL, 0, field);
    return n;
}

void *rd_room(struct rd *r, struct arena *a, size_t *n, size_t size, const char *field)
{
    void *p = *n ? arena_array_(a, *n, size) : NULL;

    if (*n && !p) {
        rd_fail(r, RD_MEMORY, *n, field);
        *n = 0;
    }
    return p;
}

int8_t *rd_i8s(struct rd *r, bool flex, struct arena *a, size_t *ret_n, const char *field)
{
    size_t  n = rd_count(r, flex, 1, field);
    int8_t *v = rd_room(r, a, &n, sizeof *v, field);

    if (n) memcpy(v, rd_step_(r, n), n);
    *ret_n = n;
    return v;
}

int32_t *rd_i32s_null(struct rd *r, bool flex, struct arena *a, size_t *ret_n, bool *ret_null, const char *field)
{
    size_t   n = rd_count_null(r, flex, 4, field, ret_null);
    int32_t *v = rd_room(r, a, &n, sizeof *v, field);

    for (size_t i = 0; i < n; i++) v[i] = rd_i32(r);
    *ret_n = n;
    return v;
}

int32_t *rd_i32s(struct rd *r, bool flex, struct arena *a, size_t *ret_n, const char *field)
{
    bool     null;
    int32_t *v = rd_i32s_null(r, flex, a, ret_n, &null, field);

    if (null) rd_fail(r, RD_NULL, 0, field);
    return v;
}

int64_t *rd_i64s(struct rd *r, bool flex, struct arena *a, size_t *ret_n, const char *field)
{
    size_t   n = rd_count(r, flex, 8, field);
    int64_t *v = rd_room(r, a, &n, sizeof *v, field);

    for (size_t i = 0; i < n; i++) v[i] = rd_i64(r);
    *ret_n = n;
    return v;
}

struct str *rd_strs_null(struct rd *r, bool flex, struct arena *a, size_t *ret_n, bool *ret_null, const char *field)
{
    size_t      n = rd_count_null(r, flex, flex ? 1 : 2, field, ret_null);
    struct str *v = rd_room(r, a, &n, sizeof *v, field);

    for (size_t i = 0; i < n && r->why == RD_OK; i++) v[i] = rd_str(r, flex, field);
    *ret_n = n;
    return v;
}

struct str *rd_strs(struct rd *r, bool flex, struct arena *a, size_t *ret_n, const char *field)
{
    bool        null;
    struct str *v = rd_strs_null(r, flex, a, ret_n, &null, field);

    if (null) rd_fail(r, RD_NULL, 0, field);
    return v;
}

bool rd_tag_open(struct rd *r, uint32_t *ret_tag, const uint8_t **ret_end)
{
    uint32_t size;

    *ret_tag = rd_uvarint(r);
    size = rd_uvarint(r);
    if (r->why == RD_OK && size > rd_left(r)) rd_fail(r, RD_LENGTH, size, "tags");
    if (r->why != RD_OK) return false;
    *ret_end = r->end;
    r->end = r->p + size;
    return true;
}

/* What a tag leaves unread is not ours to judge: a newer sender may have added to it. */
void rd_tag_close(struct rd *r, const uint8_t *end)
{
    if (r->why == RD_OK) r->p = r->end;
    r->end = end;
}

void rd_tags_skip(struct rd *r)
{
    const uint8_t *end;
    uint32_t       tag;

    for (uint32_t n = rd_uvarint(r); n && rd_tag_open(r, &tag, &end); n--) rd_tag_close(r, end);
}
