/* broker/api/produce_check.h - what a batch has to pass before its log looks at it. 0, or the error code.
 * Lives on: the broker loop.   Used by: api/produce.c.   SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "kafka/batch.h"
#include "kafka/msg/produce.h"
#include "broker/api.h"

/* What refuses the request as a whole: a header that says nothing, before any transactional batch; transactional batches
 * without a transactional id, or of several producers. */
int16_t produce_check_whole(const struct request *r, const struct produce_request *q);
int16_t produce_check_structure(const struct request *r, const struct produce_request_partition *q,
                                struct batch *b);
/* A transactional batch belongs to a transaction that its partition takes part in. */
int16_t produce_check_in_txn(const struct request *r, struct str id, struct partition *to,
                             const struct batch *b);
/* The first batch of a producer in this log, although an earlier one of it was refused above and will be sent again. */
bool produce_comes_too_early(struct partition *to, const struct batch *b);
