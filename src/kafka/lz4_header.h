/* kafka/lz4_header.h - the checksum in the header of an LZ4 frame, and the one that is there in messages of format 0.
 *
 * The first clients with LZ4 (Kafka 0.8) counted the frame's magic in, which the frame format does not. Their successors write the mistake
 * on in messages of format 0, and only there; who reads those does not look at it.
 * Owns nothing.   Lives on: any thread.   Used by: kafka/message_set.c, kafka/message_set_build.c.   SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/bytes.h"

enum { LZ4_HEADER_MAX = 19 };                 /* with a content size and a dictionary's id */

/* How long the header is that a frame begins with, its checksum last; 0: there is no whole one. */
size_t lz4_header_size(struct bytes frame);
/* In place, over a header of that size: as the frame format has it, and as format 0 has it. */
void lz4_header_mend(uint8_t *header, size_t n);
void lz4_header_spoil(uint8_t *header, size_t n);
