/* kafka/compress.h - the four codecs of record batches, as Kafka's clients frame them.
 *
 *   gzip    RFC 1952, one or several members
 *   snappy  xerial framing is written; it and plain snappy are read, several xerial streams in a row too
 *   lz4     LZ4 frames (64 KiB independent blocks are written; see kafka_lz4_is_linked)
 *   zstd    RFC 8878 frames
 *
 * Owns the codecs' working memory, so that a batch does not pay for it: one struct codecs a thread, made as needed.
 * Used by: kafka/batch.h, and who recompresses.   SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/buf.h"
#include "base/err.h"

enum kafka_codec { KAFKA_CODEC_NONE, KAFKA_CODEC_GZIP, KAFKA_CODEC_SNAPPY, KAFKA_CODEC_LZ4, KAFKA_CODEC_ZSTD };
enum { KAFKA_CODECS = 5 };

struct codecs;

struct codecs *codecs_new(void);                                   /* small until a codec is used */
struct codecs *codecs_free(struct codecs *c);                      /* NULL is fine; returns NULL */
static inline void codecs_freep(struct codecs **c) { *c = codecs_free(*c); }

const char *kafka_codec_name(enum kafka_codec codec);              /* "none", "gzip", "snappy", "lz4", "zstd" */
bool        kafka_codec_of_name(struct str name, enum kafka_codec *ret);

/* Appends what `in` expands to. On failure `out` is as long as before.
 *   RC_TOO_LARGE  more than bytes_max      RC_INVALID  not what the codec says it is, or cut short */
enum rc kafka_decompress(struct codecs *c, enum kafka_codec codec, struct bytes in, size_t bytes_max, struct buf *out,
                         struct err *e) MUST_USE;

/* The level kafka_compress works at from now on, as Kafka's compression.*.level has it: gzip -1 (usual) and 0 … 9, lz4 1 … 17 (9: the fast
 * one, as there), zstd -131072 … 22. Of codecs without levels nothing changes. */
void codecs_set_level(struct codecs *c, enum kafka_codec codec, int level);
/* Appends the compressed form, at the level set or else the codec's usual one. */
enum rc kafka_compress(struct codecs *c, enum kafka_codec codec, struct bytes in, struct buf *out, struct err *e) MUST_USE;

/* Blocks of this LZ4 frame depend on earlier ones. It can be read here, but not by Kafka's own consumer. */
bool kafka_lz4_is_linked(struct bytes frame);
