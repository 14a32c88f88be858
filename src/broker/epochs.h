/* broker/epochs.h - which leader epoch began at which offset of a log. Pure.
 * epochs_encode makes the text of Kafka's leader-epoch-checkpoint; our own copy is in the checkpoint. Lives on: the broker loop.   Used by: broker/log*.c.
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/buf.h"

struct epoch { int32_t number; int64_t start; };
struct epochs { struct epoch *v; size_t n; };                     /* both columns rise; {0} is empty */

void epochs_fini(struct epochs *es);
/* True when this epoch is new. */
bool epochs_add(struct epochs *es, int32_t number, int64_t start);
bool epochs_cut_end(struct epochs *es, int64_t end);              /* forgets what began at or behind end; true: something changed */
bool epochs_cut_start(struct epochs *es, int64_t start);          /* the epoch in force at start begins there */
/* Kafka's OffsetForLeaderEpoch. *ret_number and *ret_end are -1 when unknown. */
void epochs_end(const struct epochs *es, int32_t number, int64_t log_end, int32_t *ret_number, int64_t *ret_end);
int32_t epochs_at(const struct epochs *es, int64_t offset);       /* -1 unknown */
void epochs_encode(const struct epochs *es, struct buf *into);
