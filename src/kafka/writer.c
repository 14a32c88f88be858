/* SPDX-License-Identifier: Apache-2.0 */
#include "kafka/writer.h"

void wr_fini(struct wr *w)
{
    free(w->splices);
    *w = (struct wr){.out = w->out};
}

void wr_uvarint(struct wr *w, uint32_t v)
{
    for (; v >= 0x80; v >>= 7) *wr_room(w, 1) = (uint8_t)(v | 0x80);
    *wr_room(w, 1) = (uint8_t)v;
}

void wr_varlong(struct wr *w, int64_t v)
{
    uint64_t z = (uint64_t)v << 1 ^ (uint64_t)(v >> 63);

    for (; z >= 0x80; z >>= 7) *wr_room(w, 1) = (uint8_t)(z | 0x80);
    *wr_room(w, 1) = (uint8_t)z;
}

void wr_varint(struct wr *w, int32_t v)
{
    wr_varlong(w, v);
}

size_t wr_varlong_size(int64_t v)
{
    uint64_t z = (uint64_t)v << 1 ^ (uint64_t)(v >> 63);

    return ((size_t)(63 - __builtin_clzll(z | 1))) / 7 + 1;
}

void wr_null(struct wr *w, bool flex)
{
    if (flex) wr_uvarint(w, 0);
    else wr_i32(w, -1);
}

size_t wr_count(struct wr *w, bool flex, size_t n)
{
    if (n > INT32_MAX) {
        w->failed = true;
        n = 0;
    }
    if (flex) wr_uvarint(w, (uint32_t)n + 1);
    else wr_i32(w, (int32_t)n);
    return n;
}

void wr_str(struct wr *w, bool flex, struct str s)
{
    if (s.n > INT16_MAX) {
        w->failed = true;
        s.n = 0;
    }
    if (flex) wr_uvarint(w, (uint32_t)s.n + 1);
    else wr_i16(w, (int16_t)s.n);
    if (s.n) memcpy(wr_room(w, s.n), s.p, s.n);
}

void wr_str_null(struct wr *w, bool flex, struct str s)
{
    if (s.p) wr_str(w, flex, s);
    else if (flex) wr_uvarint(w, 0);
    else wr_i16(w, -1);
}

void wr_bytes(struct wr *w, bool flex, struct bytes b)
{
    size_t n = wr_count(w, flex, b.n);

    if (n) memcpy(wr_room(w, n), b.p, n);
}

void wr_bytes_null(struct wr *w, bool flex, struct bytes b)
{
    if (b.p) wr_bytes(w, flex, b);
    else wr_null(w, flex);
}

void wr_records(struct wr *w, bool flex, struct bytes b, struct wr_file file)
{
    if (!file.file) {
        wr_bytes_null(w, flex, b);
        return;
    }
    if (wr_count(w, flex, file.n) == 0) return;
    if (w->splices_n == w->splices_cap) {
        w->splices_cap = w->splices_cap * 2 + 4;
        w->splices = xrealloc(w->splices, w->splices_cap, sizeof *w->splices);
    }
    w->splices[w->splices_n++] = (struct wr_splice){w->out->n, file};
    w->spliced_bytes += file.n;
}

void wr_i8s(struct wr *w, bool flex, const int8_t *v, size_t n)
{
    n = wr_count(w, flex, n);
    for (size_t i = 0; i < n; i++) wr_i8(w, v[i]);
}

void wr_i32s(struct wr *w, bool flex, const int32_t *v, size_t n)
{
    n = wr_count(w, flex, n);
    for (size_t i = 0; i < n; i++) wr_i32(w, v[i]);
}

void wr_i64s(struct wr *w, bool flex, const int64_t *v, size_t n)
{
    n = wr_count(w, flex, n);
    for (size_t i = 0; i < n; i++) wr_i64(w, v[i]);
}

void wr_strs(struct wr *w, bool flex, const struct str *v, size_t n)
{
    n = wr_count(w, flex, n);
    for (size_t i = 0; i < n; i++) wr_str(w, flex, v[i]);
}

size_t wr_tag_open(struct wr *w, uint32_t tag)
{
    wr_uvarint(w, tag);
    wr_i8(w, 0);
    return w->out->n;
}

/* One byte was left for the size. The rare field that needs more is moved along. */
void wr_tag_close(struct wr *w, size_t opened)
{
    size_t  n = w->out->n - opened;
    size_t  more = 0;
    uint8_t *size;

    must(n <= UINT32_MAX);
    for (size_t v = n; v >= 0x80; v >>= 7) more++;
    wr_room(w, more);
    size = w->out->p + opened - 1;
    memmove(size + 1 + more, size + 1, n);
    for (; n >= 0x80; n >>= 7) *size++ = (uint8_t)(n | 0x80);
    *size = (uint8_t)n;
}

size_t wr_frame_begin(struct wr *w)
{
    wr_i32(w, 0);
    w->spliced_bytes = 0;
    return w->out->n;
}

void wr_frame_end(struct wr *w, size_t begun)
{
    uint64_t n = w->out->n - begun + w->spliced_bytes;

    if (n > INT32_MAX) {
        w->failed = true;
        return;
    }
    store_be32(w->out->p + begun - 4, (uint32_t)n);
}
