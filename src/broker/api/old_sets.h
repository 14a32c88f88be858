/* broker/api/old_sets.h - message sets of formats 0 and 1 in Produce up to version 2, made into batches before anything looks at them.
 *
 * Lives on: the loop.   Used by: api/produce.c.   SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "broker/api.h"
#include "kafka/msg/produce.h"

/* NULL: there are none. Otherwise all record data of the request moves into *into, the message sets as batches, and q's records and
 * names no longer point into the frame. The result says by topic and partition why a set could not be converted (Kafka's code; 0: it
 * was); those have nothing in *into. It lives in the request's arena. */
int16_t **old_sets_convert(struct request *r, struct produce_request *q, struct buf *into);
