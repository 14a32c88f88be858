/* oip/pb.h - a small protobuf reader and writer: wire format only, no schema, no allocation but the output buf.
 *
 * Reading: a cursor that remembers its first failure, so a loop over pb_next() is checked once, at its end:
 *
 *     struct pb_reader r = pb_reader_of(msg);
 *     for (struct pb_field f; pb_next(&r, &f);)
 *         if (f.number == 1 && f.wire == PB_LEN) m->name = pb_str(&f);
 *     if (r.why) return pb_failed(&r, "ModelReadyRequest", e);
 *
 * Unknown fields are for the caller to ignore. Groups (wire types 3 and 4) are refused: nobody sends them.
 * Pure. Used by: oip/, gateway, upstream, control.     SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/buf.h"
#include "base/err.h"

enum pb_wire { PB_VARINT = 0, PB_FIXED64 = 1, PB_LEN = 2, PB_FIXED32 = 5 };

struct pb_reader { const uint8_t *p, *end, *start; const char *why; };
struct pb_field {
    uint32_t     number;
    enum pb_wire wire;
    uint64_t     value;          /* of a varint or fixed field */
    struct bytes bytes;          /* of a PB_LEN field; borrowed from the message */
    struct bytes whole;          /* tag (and length) included */
};

static inline struct pb_reader pb_reader_of(struct bytes msg)
{
    return (struct pb_reader){msg.p, msg.n ? msg.p + msg.n : msg.p, msg.p, NULL};
}
bool     pb_next(struct pb_reader *r, struct pb_field *ret);         /* false at the end, and when r->why is set */
uint64_t pb_read_varint(struct pb_reader *r);                        /* for packed fields; 0 after a failure */
/* RC_INVALID "<what>: <why> (at <position> of <size>)". */
enum rc  pb_failed(const struct pb_reader *r, const char *what, struct err *e);

static inline struct str pb_str(const struct pb_field *f) { return bytes_str(f->bytes); }
bool utf8_valid(struct str s);                                       /* proto3 strings must be; so must JSON */

/* Writing. The plain ones leave out zero and empty values, as proto3 does. */
size_t pb_varint_size(uint64_t v);
void   pb_put_varint(struct buf *b, uint64_t v);
void   pb_put_tag(struct buf *b, uint32_t number, enum pb_wire wire);
void   pb_put_u64(struct buf *b, uint32_t number, uint64_t v);       /* uint32/64, bool, enum */
void   pb_put_i64(struct buf *b, uint32_t number, int64_t v);        /* int32/64 */
void   pb_put_bool(struct buf *b, uint32_t number, bool v);
void   pb_put_double(struct buf *b, uint32_t number, double v);
void   pb_put_str(struct buf *b, uint32_t number, struct str s);
void   pb_put_bytes(struct buf *b, uint32_t number, struct bytes v); /* written also when empty: repeated and oneof fields */
void   pb_put_len(struct buf *b, uint32_t number, size_t n);         /* tag and length; n bytes must follow */
/* A nested message of unknown size: size_t at = pb_begin(b, 5); … put its fields …; pb_end(b, at); */
size_t pb_begin(struct buf *b, uint32_t number);
void   pb_end(struct buf *b, size_t at);
