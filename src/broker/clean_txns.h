/* broker/clean_txns.h - the transactions that a compaction pass meets: which data was aborted, which marker has nothing left.
 *
 * A first walk over the batch headers (clean_txns_note) finds what was aborted; it goes on behind the end of the pass until
 * every transaction that reaches over it has its marker. The later walks, in the same order, ask.
 * Pure. Lives on: a worker.   Used by: broker/clean.c.   SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/map.h"
#include "kafka/batch.h"

struct clean_txns { struct map producers; size_t open; };                 /* {0} is empty; open: noted, and no marker yet */

void clean_txns_fini(struct clean_txns *ts);
void clean_txns_note(struct clean_txns *ts, const struct batch *b, bool begins);      /* begins: new transactions count too */
void clean_txns_rewind(struct clean_txns *ts);                            /* a walk begins */
/* Of a transactional batch that is no marker. */
bool clean_txns_is_aborted(struct clean_txns *ts, const struct batch *b);
void clean_txns_kept(struct clean_txns *ts, const struct batch *b);       /* some of its records stay */
/* Of a marker: true when nothing stays of the transaction that it ends. */
bool clean_txns_marker_is_idle(struct clean_txns *ts, const struct batch *marker);
