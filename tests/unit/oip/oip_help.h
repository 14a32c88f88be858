/* tests/unit/oip/oip_help.h - hex and small message makers for the oip tests. SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "oip/pb.h"
#include "oip/proto.h"
#include "test.h"

static inline int hex_digit(char c)
{
    return c <= '9' ? c - '0' : (c | 32) - 'a' + 10;
}

static inline struct bytes unhex(struct arena *a, struct str hex)
{
    uint8_t *p = arena_alloc(a, hex.n / 2 + 1);

    for (size_t i = 0; i + 1 < hex.n; i += 2) p[i / 2] = (uint8_t)(hex_digit(hex.p[i]) << 4 | hex_digit(hex.p[i + 1]));
    return (struct bytes){p, hex.n / 2};
}

static inline struct bytes hex(struct arena *a, const char *text)
{
    return unhex(a, str_of(text));
}

static inline const char *to_hex(struct arena *a, struct bytes b)
{
    char *p = arena_alloc(a, b.n * 2 + 1);

    for (size_t i = 0; i < b.n; i++) p[i * 2] = "0123456789abcdef"[b.p[i] >> 4], p[i * 2 + 1] = "0123456789abcdef"[b.p[i] & 15];
    return p;
}

static inline struct infer_view view_of(struct arena *a, enum infer_kind kind, struct bytes msg)
{
    struct infer_view v = {0};
    struct err        e = {0};

    if (infer_parse(msg, kind, a, &v, &e)) fail_msg("%s", e.text);
    return v;
}

static inline struct infer_view request_of(struct arena *a, const char *text)
{
    return view_of(a, INFER_REQUEST, hex(a, text));
}

/* One tensor field: body of contents (NULL: none) as given. */
static inline void put_tensor_field(struct buf *b, const char *name, const char *datatype, const int64_t *shape, size_t shape_n,
                                    const struct buf *contents)
{
    size_t at = pb_begin(b, 5), in;

    pb_put_str(b, 1, str_of(name));
    pb_put_str(b, 2, str_of(datatype));
    if (shape_n) {
        in = pb_begin(b, 3);
        for (size_t i = 0; i < shape_n; i++) pb_put_varint(b, (uint64_t)shape[i]);
        pb_end(b, in);
    }
    if (contents) pb_put_bytes(b, 5, buf_view(contents));
    pb_end(b, at);
}
