/* broker/meta.h - the kinds of metadata records, and how one is made and staged.
 *
 * On disk: docs/disk-format.md, "Metadata".
 * Lives on: the broker loop.   Used by: topics.c, meta_admin.c, meta_security.c.   SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "broker/core.h"
#include "kafka/api.h"

enum meta_kind {
    META_TOPIC = 1, META_TOPIC_DELETED, META_PARTITIONS, META_TOPIC_SETTINGS, META_BROKER_SETTING, META_PRODUCER_IDS,
    META_QUOTA = 16, META_CLIENT_METRICS = 17, META_ACL = 18, META_ACL_DELETED = 19, META_SCRAM = 20, META_GROUP_SETTINGS = 24
};

void meta_begin(struct wr *w, struct buf *out, enum meta_kind kind);
enum rc meta_stage(struct broker *b, const struct buf *record, uint64_t *ret_seq, struct err *e) MUST_USE;

/* meta_admin.c: quotas and subscriptions of client metrics. */
enum rc meta_admin_apply(struct broker *b, enum meta_kind kind, struct rd *r, struct err *e) MUST_USE;
void meta_admin_snapshot(struct broker *b, struct store_meta_sink *sink);

/* meta_security.c: access control lists and users. */
enum rc meta_security_apply(struct broker *b, enum meta_kind kind, struct rd *r, struct err *e) MUST_USE;
void meta_security_snapshot(struct broker *b, struct store_meta_sink *sink);
