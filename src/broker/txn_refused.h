/* broker/txn_refused.h - transactional batches that were refused because their partition takes no part in the transaction (yet).
 * What the producer sent behind them must not overtake them when they come again: a log that does not know the producer would
 * take any sequence number. A ring: the oldest are forgotten.   {0} is empty.
 * Lives on: the broker loop.   Used by: api/produce_check.c.   SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/uuid.h"

enum { TXN_REFUSED_KEPT = 64 };

struct txn_refused_key {
    struct uuid topic;
    int32_t     partition;
    int64_t     producer_id;
    int16_t     epoch;
};

struct txn_refused {
    struct { struct txn_refused_key key; int32_t lowest; } rows[TXN_REFUSED_KEPT];
    size_t n, next;
};

void txn_refused_note(struct txn_refused *t, struct txn_refused_key key, int32_t sequence);
/* Whether a lower sequence number was refused. */
bool txn_refused_comes_first(const struct txn_refused *t, struct txn_refused_key key, int32_t sequence);
