/* kafka/writer.h - appends protocol fields to a buf, and remembers where file contents go in between.
 *
 * Splices: a records field may stand in a file (a segment). Its bytes are then not copied: the writer emits the length
 * prefix, notes a splice {at, from}, and goes on. To send, walk the splices in order: the buf's bytes up to `at`, then
 * `from.n` bytes of the file (sendfile), and so on; after the last one the rest of the buf. The size prefix made by
 * wr_frame_end() counts the spliced bytes too. The writer does not know what `file` is and does not keep it alive.
 *
 * A value the format cannot hold (a string above 32767 bytes) sets `failed`; the field is written as empty so that the
 * frame stays well-formed, and the encoder says false.
 * Owns its splice list; the buf is the caller's.   Used by: the generated messages, batches, headers.
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/buf.h"
#include "base/uuid.h"

struct wr_file   { void *file; uint64_t offset; uint32_t n; };          /* file == NULL: no file */
struct wr_splice { size_t at; struct wr_file from; };                   /* goes in front of byte `at` of the buf */

struct wr {
    struct buf       *out;
    struct wr_splice *splices;
    size_t            splices_n, splices_cap;
    uint64_t          spliced_bytes;
    bool              failed;
};

static inline void wr_init(struct wr *w, struct buf *out) { *w = (struct wr){.out = out}; }
void wr_fini(struct wr *w);                                              /* the splice list; may be called twice */

static inline uint8_t *wr_room(struct wr *w, size_t n)
{
    struct buf *b = w->out;

    if (LIKELY(b->cap - b->n >= n)) return (b->n += n, b->p + b->n - n);
    return buf_grow(b, n);
}

static inline void wr_i8(struct wr *w, int8_t v)     { *wr_room(w, 1) = (uint8_t)v; }
static inline void wr_bool(struct wr *w, bool v)     { *wr_room(w, 1) = v; }
static inline void wr_u16(struct wr *w, uint16_t v)  { store_be16(wr_room(w, 2), v); }
static inline void wr_u32(struct wr *w, uint32_t v)  { store_be32(wr_room(w, 4), v); }
static inline void wr_u64(struct wr *w, uint64_t v)  { store_be64(wr_room(w, 8), v); }
static inline void wr_i16(struct wr *w, int16_t v)   { wr_u16(w, (uint16_t)v); }
static inline void wr_i32(struct wr *w, int32_t v)   { wr_u32(w, (uint32_t)v); }
static inline void wr_i64(struct wr *w, int64_t v)   { wr_u64(w, (uint64_t)v); }
static inline void wr_uuid(struct wr *w, struct uuid v) { memcpy(wr_room(w, sizeof v.b), v.b, sizeof v.b); }
static inline void wr_f64(struct wr *w, double v)
{
    uint64_t bits;

    memcpy(&bits, &v, sizeof bits);
    wr_u64(w, bits);
}

void wr_uvarint(struct wr *w, uint32_t v);
void wr_varint(struct wr *w, int32_t v);                                 /* zigzag */
void wr_varlong(struct wr *w, int64_t v);
size_t wr_varlong_size(int64_t v);                                       /* of varints too */

/* `flex` chooses the compact form. In the _null forms .p == NULL is null; in the others it is empty. */
void wr_str(struct wr *w, bool flex, struct str s);
void wr_str_null(struct wr *w, bool flex, struct str s);
void wr_bytes(struct wr *w, bool flex, struct bytes b);
void wr_bytes_null(struct wr *w, bool flex, struct bytes b);
void wr_records(struct wr *w, bool flex, struct bytes b, struct wr_file file);   /* a file, if there is one, wins */
size_t wr_count(struct wr *w, bool flex, size_t n);                      /* how many elements may follow: n, or 0 if that is too many */
void wr_null(struct wr *w, bool flex);                                   /* in place of a count */

void wr_i8s(struct wr *w, bool flex, const int8_t *v, size_t n);
void wr_i32s(struct wr *w, bool flex, const int32_t *v, size_t n);
void wr_i64s(struct wr *w, bool flex, const int64_t *v, size_t n);
void wr_strs(struct wr *w, bool flex, const struct str *v, size_t n);

/* A tagged field: open writes the tag and makes room for the size, close fills it in. Fields in between are in their
 * compact form. Never around a spliced field. */
size_t wr_tag_open(struct wr *w, uint32_t tag);
void   wr_tag_close(struct wr *w, size_t opened);

/* int32 size in front of what follows, splices included. */
size_t wr_frame_begin(struct wr *w);
void   wr_frame_end(struct wr *w, size_t begun);
