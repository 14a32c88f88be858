/* broker/txn_record.h - what stands in __transaction_state, in Kafka's own format.
 *
 * A key names the transactional id, a null value says that it is gone, the last record of a key holds.
 * On disk: schema/kafka/transaction_topic.msg.   Used by: broker/txns*.c.   SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/arena.h"
#include "broker/txn.h"
#include "kafka/batch_build.h"

/* `t` NULL: it is gone. */
void txn_record_add(struct batch_builder *w, struct str id, const struct txn *t, int64_t now_ms);
/* Into *into, which is empty but for what the record does not say; *ret_id points into the record. *ret_gone: a null value.
 * RC_UNSUPPORTED: not a transaction's record. RC_INVALID: it cannot be read. */
enum rc txn_record_decode(const struct record *rec, struct arena *a, struct txn *into, struct str *ret_id, bool *ret_gone, struct err *e) MUST_USE;
