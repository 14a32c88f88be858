/* kafka/message_set.h - the message sets of formats 0 and 1, as producers from before Kafka 0.11 send them, made into one batch of format 2.
 *
 * A message set is one message after the other, each with a checksum of its own; one whose value is compressed holds a message
 * set. Format 0 has no timestamps.
 * Owns nothing.   Lives on: any thread.   Used by: broker/api/produce.c.   SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "kafka/batch_build.h"

enum { MESSAGE_SET_MAGIC_MAX = 1 };
struct message_set_rules {
    size_t bytes_max;                     /* that a compressed message may expand to */
    bool   log_append_time;               /* the topic's times are the broker's */
};

/* Appends a batch with the set's messages, in the codec they came in, to *into. `scratch` is used for compressed ones. A message that is cut off at the end is left out. On failure *into is as before:
 *   BATCH_NONE     no whole message            BATCH_CRC     a checksum does not match
 *   BATCH_CODEC    a codec these formats do not have           BATCH_PAYLOAD, BATCH_PAYLOAD_LARGE   as for batches
 *   BATCH_TIMESTAMP   one below -1, or one that says that it is the broker's where that may not be said
 *   BATCH_RECORD   a message that does not parse, of another format than the first, or compressed and not the only one */
enum batch_fault message_set_convert(struct bytes set, struct codecs *c, struct message_set_rules rules, struct buf *scratch, struct buf *into) MUST_USE;
