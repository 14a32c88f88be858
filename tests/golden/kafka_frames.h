/* tests/golden/kafka_frames.h - the golden frames: made by Apache Kafka's Java classes (kafka-java) and recorded from a
 * broker (kafka381). SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "kafka/msg/all.h"

struct frame {
    enum kafka_message_kind kind;
    int16_t                 key, version;             /* key -1: data, found by name */
    struct str              name;                     /* of the message, or of the recorded exchange */
    struct bytes            bytes;                    /* header and body, without the size in front */
};

struct frames { struct frame *v; size_t n, cap; struct arena keep; };

void frames_fini(struct frames *f);
void frames_load_java(struct frames *f, const char *dir);            /* adds; must() find them */
void frames_load_recorded(struct frames *f, const char *dir);

/* A frame taken apart: the header has been read, r stands at the body. NULL: not a message of the schema, or not in that
 * version. */
const struct kafka_message *frame_open(const struct frame *f, struct bytes bytes, struct rd *r);
/* Reads a frame and writes it again, header included. False: it could not be read (r->why), the rest is then untouched. */
bool frame_rewrite(const struct frame *f, struct bytes bytes, struct arena *a, struct rd *r, struct buf *out);
