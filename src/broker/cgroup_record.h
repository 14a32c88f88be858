/* broker/cgroup_record.h - groups of the newer protocol in __consumer_offsets, in Kafka's own format.
 *
 * A group is several records: its epoch, the topics it saw, the target's epoch, and per member who it is, what it shall own and
 * what it owns. A null value says that it is gone. On disk: schema/kafka/consumer_group_records.msg.
 * Used by: broker/groups*.c, tests.   SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "broker/cgroup.h"
#include "kafka/batch_build.h"
#include "kafka/msg/consumer_group_records.h"

enum cgroup_record_kind {                                  /* the version in front of the key */
    CGROUP_RECORD_EPOCH = 3, CGROUP_RECORD_TOPICS = 4, CGROUP_RECORD_MEMBER = 5, CGROUP_RECORD_TARGET_EPOCH = 6,
    CGROUP_RECORD_TARGET = 7, CGROUP_RECORD_CURRENT = 8,
};
struct cgroup_record {
    int16_t kind;                                          /* enum cgroup_record_kind; 0: not one of these */
    bool gone;
    struct str group, member_id;
    union {
        struct consumer_group_metadata_value epoch;
        struct consumer_group_partition_metadata_value topics;
        struct consumer_group_member_metadata_value member;
        struct consumer_group_target_assignment_metadata_value target_epoch;
        struct consumer_group_target_assignment_member_value target;
        struct consumer_group_current_member_assignment_value current;
    };
};
/* Views point into the record and the arena. RC_INVALID: it cannot be read, e says why. */
enum rc cgroup_record_decode(const struct record *rec, struct arena *a, struct cgroup_record *ret, struct err *e) MUST_USE;
/* While loading. A group whose epoch is gone is the caller's to end. */
void cgroup_record_apply(struct cgroup *g, const struct cgroup_record *r);

void cgroup_records_add(struct batch_builder *w, const struct cgroup *g, int64_t now_ms);          /* all that is dirty */
void cgroup_records_add_gone(struct batch_builder *w, const struct cgroup *g, int64_t now_ms);     /* the group, with all members */
