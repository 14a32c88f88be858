/* broker/offsets_record.h - what stands in __consumer_offsets: committed offsets and groups, in Kafka's own format.
 *
 * A key names what the record is about, a null value says that it is gone, the last record of a key holds.
 * On disk: schema/kafka/offsets_topic.msg, and the top of the .c file.   Used by: broker/groups.c.   SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "broker/group.h"
#include "broker/offsets.h"
#include "kafka/batch_build.h"

enum offsets_record_kind { OFFSETS_RECORD_OFFSET, OFFSETS_RECORD_GROUP, OFFSETS_RECORD_OTHER };   /* OTHER: not for us */
struct offsets_record {
    enum offsets_record_kind kind;
    bool gone;
    struct str group;
    struct str topic;                      /* OFFSET */
    struct committed committed;            /* OFFSET; without its value only the partition is set */
    struct group_snapshot snapshot;        /* GROUP */
};
/* Views point into the record and the arena. RC_INVALID: it cannot be read, e says why. */
enum rc offsets_record_decode(const struct record *rec, struct arena *a, struct offsets_record *ret, struct err *e) MUST_USE;

/* Each adds one record to the batch; `now_ms` is the record's timestamp. c NULL: it is gone. */
void offsets_record_add(struct batch_builder *w, struct str group, struct str topic, int32_t partition,
                        const struct committed *c, int64_t now_ms);
void group_record_add(struct batch_builder *w, const struct group *g, int64_t now_ms);
void group_record_add_gone(struct batch_builder *w, struct str group, int64_t now_ms);
