/* Tensor data in its two forms.
 *
 * Typed contents are repeated protobuf fields: usually one packed run, but parsers must take
 * several runs and single values too. Raw contents are plain memory. Everything that computes on
 * data does it on raw; packed floats already are.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "oip/contents.h"
#include "oip/pb.h"
#include <inttypes.h>
#include <math.h>

static const char *const field_names[] = {"",
                                          "bool_contents",
                                          "int_contents",
                                          "int64_contents",
                                          "uint_contents",
                                          "uint64_contents",
                                          "fp32_contents",
                                          "fp64_contents",
                                          "bytes_contents"};

/* How one element of contents field `number` looks on the wire. */
static enum pb_wire element_wire(uint32_t number)
{
    return number == 8 ? PB_LEN : number == 7 ? PB_FIXED64 : number == 6 ? PB_FIXED32 : PB_VARINT;
}

static size_t varints_in(struct bytes b)
{
    size_t n = 0;

    for (size_t i = 0; i < b.n; i++)
        n += b.p[i] < 128;
    return n;
}

/* Elements in one field; a wrong wire type or a torn run sets r->why. */
static size_t elements_in(struct pb_reader *r, const struct pb_field *f)
{
    enum pb_wire one = element_wire(f->number);
    size_t width = one == PB_FIXED64 ? 8 : 4;

    if (f->wire == one) return 1;
    if (f->wire != PB_LEN) {
        r->why = "contents of the wrong wire type";
        return 0;
    }
    if (one == PB_VARINT) {
        if (f->bytes.n && f->bytes.p[f->bytes.n - 1] > 127) r->why = "contents end inside a number";
        return varints_in(f->bytes);
    }
    if (f->bytes.n % width) r->why = "contents end inside a number";
    return f->bytes.n / width;
}

static enum rc typed_count(const struct infer_tensor *t, uint64_t *ret, struct err *e)
{
    struct pb_reader r = pb_reader_of(t->contents);
    uint32_t want = datatype_contents_field(t->type);
    uint64_t n = 0;

    for (struct pb_field f; pb_next(&r, &f);) {
        if (f.number >= countof(field_names) ||
            (f.number != want && f.wire == PB_LEN && !f.bytes.n))
            continue;
        if (f.number != want)
            return err_set(e, RC_INVALID, "%s wants %s, there is %s", datatype_name(t->type).p,
                           field_names[want], field_names[f.number]);
        n += elements_in(&r, &f);
    }
    if (r.why) return pb_failed(&r, "contents", e);
    *ret = n;
    return RC_OK;
}

enum rc raw_check(enum datatype type, uint64_t count, struct bytes raw, struct err *e)
{
    size_t width = datatype_width(type), at = 0;
    uint64_t n = 0;

    if (width && (count > SIZE_MAX / width || raw.n != count * width))
        return err_set(e, RC_INVALID,
                       "%" PRIu64 " elements of %s take %" PRIu64 " bytes, there are %zu", count,
                       datatype_name(type).p, count > SIZE_MAX / width ? UINT64_MAX : count * width,
                       raw.n);
    if (type != DT_BYTES) return RC_OK;
    for (; raw.n - at >= 4; n++) {
        uint32_t length = load_le32(raw.p + at);

        if (length > raw.n - at - 4)
            return err_set(e, RC_INVALID,
                           "element %" PRIu64 " claims %" PRIu32 " bytes, %zu are left", n, length,
                           raw.n - at - 4);
        at += 4 + length;
    }
    if (at != raw.n)
        return err_set(e, RC_INVALID, "element %" PRIu64 " is cut off inside its length", n);
    if (n == count) return RC_OK;
    return err_set(e, RC_INVALID, "%" PRIu64 " elements wanted, there are %" PRIu64, count, n);
}

static enum rc shape_count(const struct infer_tensor *t, uint64_t *ret, struct err *e)
{
    for (size_t i = 0; i < t->shape_n; i++)
        if (t->shape[i] < 0)
            return err_set(e, RC_INVALID, "shape[%zu] is %" PRId64, i, t->shape[i]);
    if (infer_tensor_count(t, ret)) return RC_OK;
    return err_set(e, RC_INVALID, "the shape has more elements than can be counted");
}

static enum rc check(const struct infer_tensor *t, uint64_t *ret, struct err *e)
{
    uint64_t there = 0;

    if (shape_count(t, ret, e)) return e->rc;
    if (t->has_raw) return raw_check(t->type, *ret, t->raw, e);
    if (t->has_contents && typed_count(t, &there, e)) return e->rc;
    if (there == *ret) return RC_OK;
    return err_set(e, RC_INVALID, "the shape wants %" PRIu64 " elements, there are %" PRIu64, *ret,
                   there);
}

static enum rc in_tensor(const struct infer_tensor *t, struct err *e)
{
    return err_in(e, "tensor \"" NAME_FMT "\"", NAME_ARG(t->name));
}

enum rc contents_check(const struct infer_tensor *t, struct err *e)
{
    uint64_t n;

    return check(t, &n, e) ? in_tensor(t, e) : RC_OK;
}

/* ---- typed to raw ---- */

/* Stores one element of a varint field. False: out of the datatype's range. */
static bool store_int(enum datatype type, uint64_t v, uint8_t *to)
{
    int32_t i = (int32_t)v;
    uint32_t u = (uint32_t)v;

    switch (type) {
    case DT_BOOL: *to = v != 0; return true;
    case DT_INT8: *to = (uint8_t)i; return i == (int8_t)i;
    case DT_INT16: store_le16(to, (uint16_t)i); return i == (int16_t)i;
    case DT_UINT8: *to = (uint8_t)u; return u <= UINT8_MAX;
    case DT_UINT16: store_le16(to, (uint16_t)u); return u <= UINT16_MAX;
    case DT_INT32:
    case DT_UINT32: store_le32(to, u); return true;
    case DT_INT64:
    case DT_UINT64: store_le64(to, v); return true;
    case DT_UNKNOWN:
    case DT_FP16:
    case DT_FP32:
    case DT_FP64:
    case DT_BF16:
    case DT_BYTES: break;
    }
    return false;
}

static bool store_half(enum datatype type, uint32_t bits, uint8_t *to)
{
    float f;
    uint16_t h;

    memcpy(&f, &bits, sizeof f);
    h = type == DT_FP16 ? half_of_float(f) : bfloat_of_float(f);
    store_le16(to, h);
    return isinf(f) || !isinf(type == DT_FP16 ? half_to_float(h) : bfloat_to_float(h));
}

static bool store_value(enum datatype type, uint64_t v, uint8_t *to)
{
    if (type == DT_FP64) store_le64(to, v);
    if (type == DT_FP32) store_le32(to, (uint32_t)v);
    if (type == DT_FP64 || type == DT_FP32) return true;
    if (type == DT_FP16 || type == DT_BF16) return store_half(type, (uint32_t)v, to);
    return store_int(type, v, to);
}

struct sink {
    enum datatype type;
    size_t width;
    uint8_t *p;
    uint64_t n;
};

static bool sink_put(struct sink *s, uint64_t v)
{
    if (!store_value(s->type, v, s->p)) return false;
    s->p += s->width;
    s->n++;
    return true;
}

/* One packed run. False: element s->n does not fit. */
static bool sink_run(struct sink *s, struct bytes run)
{
    struct pb_reader r = pb_reader_of(run);
    enum pb_wire one = element_wire(datatype_contents_field(s->type));

    while (r.p < r.end) {
        uint64_t v;

        if (one == PB_VARINT) {
            v = *r.p < 128 ? *r.p++ : pb_read_varint(&r);
        } else {
            v = one == PB_FIXED64 ? load_le64(r.p) : load_le32(r.p);
            r.p += one == PB_FIXED64 ? 8 : 4;
        }
        if (r.why || !sink_put(s, v)) return false;
    }
    return true;
}

/* contents_check() has been here: `count` elements of the right field are there. */
static enum rc numbers_raw(const struct infer_tensor *t, uint64_t count, struct buf *ret,
                           struct err *e)
{
    struct sink s = {.type = t->type, .width = datatype_width(t->type)};
    struct pb_reader r = pb_reader_of(t->contents);
    size_t start = ret->n;
    bool fits = true;

    s.p = buf_grow(ret, (size_t)count * s.width);
    for (struct pb_field f; fits && pb_next(&r, &f);)
        if (f.number == datatype_contents_field(t->type))
            fits = f.wire == PB_LEN ? sink_run(&s, f.bytes) : sink_put(&s, f.value);
    if (fits) return RC_OK;
    ret->n = start;
    return err_set(e, RC_INVALID, "element %" PRIu64 " is out of range for %s", s.n,
                   datatype_name(t->type).p);
}

static void bytes_raw(const struct infer_tensor *t, struct buf *ret)
{
    struct pb_reader r = pb_reader_of(t->contents);

    for (struct pb_field f; pb_next(&r, &f);) {
        if (f.number != 8) continue;
        store_le32(buf_grow(ret, 4), (uint32_t)f.bytes.n);
        buf_append(ret, f.bytes);
    }
}

bool contents_as_raw(const struct infer_tensor *t, struct bytes *ret)
{
    struct pb_reader r = pb_reader_of(t->contents);
    struct pb_field f;

    if (t->has_raw) *ret = t->raw;
    if (t->has_raw) return true;
    *ret = (struct bytes){0};
    if (!t->has_contents || !t->contents.n) return true;
    if (t->type != DT_FP32 && t->type != DT_FP64) return false;
    if (!pb_next(&r, &f) || r.p != r.end || f.wire != PB_LEN ||
        f.number != datatype_contents_field(t->type))
        return false;
    *ret = f.bytes;
    return true;
}

enum rc infer_tensor_raw(const struct infer_tensor *t, struct buf *ret, struct err *e)
{
    struct bytes ready;
    uint64_t n;

    if (t->type == DT_UNKNOWN && t->has_raw) {
        buf_append(ret, t->raw);
        return RC_OK;
    }
    if (t->type == DT_UNKNOWN) {
        err_set(e, RC_INVALID, "unknown datatype \"" NAME_FMT "\"", NAME_ARG(t->datatype));
        return in_tensor(t, e);
    }
    if (check(t, &n, e)) return in_tensor(t, e);
    if (contents_as_raw(t, &ready)) {
        buf_append(ret, ready);
    } else if (t->type == DT_BYTES) {
        bytes_raw(t, ret);
    } else if (numbers_raw(t, n, ret, e)) {
        return in_tensor(t, e);
    }
    return RC_OK;
}

/* ---- raw to typed ---- */

/* The value that element `p` has as a varint field. */
static uint64_t varint_of(enum datatype type, const uint8_t *p)
{
    switch (type) {
    case DT_BOOL: return *p != 0;
    case DT_UINT8: return *p;
    case DT_UINT16: return load_le16(p);
    case DT_UINT32: return load_le32(p);
    case DT_INT8: return (uint64_t)(int8_t)*p;
    case DT_INT16: return (uint64_t)(int16_t)load_le16(p);
    case DT_INT32: return (uint64_t)(int32_t)load_le32(p);
    case DT_INT64:
    case DT_UINT64: return load_le64(p);
    case DT_UNKNOWN:
    case DT_FP16:
    case DT_FP32:
    case DT_FP64:
    case DT_BF16:
    case DT_BYTES: break;
    }
    return 0;
}

static void put_varints(struct buf *b, enum datatype type, struct bytes raw)
{
    size_t width = datatype_width(type), n = 0;
    uint8_t *p;

    for (size_t i = 0; i < raw.n; i += width)
        n += pb_varint_size(varint_of(type, raw.p + i));
    pb_put_len(b, datatype_contents_field(type), n);
    p = buf_grow(b, n);
    for (size_t i = 0; i < raw.n; i += width) {
        uint64_t v = varint_of(type, raw.p + i);

        for (; v > 127; v >>= 7)
            *p++ = (uint8_t)(v | 128);
        *p++ = (uint8_t)v;
    }
}

static void put_halves(struct buf *b, enum datatype type, struct bytes raw)
{
    uint8_t *p;

    pb_put_len(b, 6, raw.n * 2);
    p = buf_grow(b, raw.n * 2);
    for (size_t i = 0; i < raw.n; i += 2, p += 4) {
        uint16_t h = load_le16(raw.p + i);
        float f = type == DT_FP16 ? half_to_float(h) : bfloat_to_float(h);

        memcpy(p, &f, 4);
    }
}

void infer_put_contents(struct buf *b, enum datatype type, struct bytes raw)
{
    if (!raw.n) return;
    switch (type) {
    case DT_UNKNOWN: return;
    case DT_FP32:
    case DT_FP64: pb_put_bytes(b, datatype_contents_field(type), raw); return;
    case DT_FP16:
    case DT_BF16: put_halves(b, type, raw); return;
    case DT_BYTES:
        for (size_t i = 0; raw.n - i >= 4;) {
            size_t n = load_le32(raw.p + i);

            pb_put_bytes(b, 8, bytes_sub(raw, i + 4, n));
            i += 4 + n;
        }
        return;
    case DT_BOOL:
    case DT_UINT8:
    case DT_UINT16:
    case DT_UINT32:
    case DT_UINT64:
    case DT_INT8:
    case DT_INT16:
    case DT_INT32:
    case DT_INT64: put_varints(b, type, raw); return;
    }
}
