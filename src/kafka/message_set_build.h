/* kafka/message_set_build.h - one batch of format 2 made into messages of format 0 or 1, for consumers from before Kafka 0.11.
 *
 * As Kafka makes them: headers are left out, and in format 0 timestamps; markers of transactions give nothing; the records of a compressed
 * batch are one message, in the batch's codec, those of another are one message each. Offsets inside of a compressed message are absolute
 * in format 0, and in format 1 counted from its first one; its own is that of its last.
 * Owns its working memory.   Lives on: any thread.   Used by: broker/api/old_fetch.c.   SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "kafka/batch_build.h"

struct message_set_builder {
    struct codecs *codecs;                /* the caller's, as is what follows */
    int8_t         magic;                 /* 0 or 1 */
    int64_t        from;                  /* the offset that was asked for */
    size_t         expanded_bytes_max;    /* what a compressed batch may expand to, and as messages may take */
    struct buf     scratch, inner;        /* its own: message_set_builder_fini() */
};

void message_set_builder_fini(struct message_set_builder *w);

/* Appends the batch's messages to *out, but for those below w->from that stand alone; a batch that has none from there on gives nothing.
 * *ret_cut: those behind an uncompressed message that did not fit in bytes_max are left out; the first message always fits where `first`.
 * On failure *out is as before:
 *   BATCH_CODEC           zstd, which these formats do not have            BATCH_CRC, BATCH_PAYLOAD, BATCH_RECORD, …   a damaged batch
 *   BATCH_PAYLOAD_LARGE   it expands to more than it may */
struct message_set_room { size_t bytes_max; bool first; };
enum batch_fault message_set_build(struct message_set_builder *w, const struct batch *b, struct message_set_room room, struct buf *out,
                                   bool *ret_cut) MUST_USE;
