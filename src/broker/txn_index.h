/* broker/txn_index.h - the aborted transactions of one segment, in Kafka's layout: NNN.txnindex.
 *
 * An entry stands in the segment that holds its abort marker. Entries are appended in the order of their markers, one small
 * write each; a file appears with the first. Readers with read_committed are told of those that overlap what they get.
 * A crash may leave entries of markers that are gone, or spoil those written since the last sync: txn_index_load() cuts the
 * file at an offset, and the scan behind a producer snapshot appends again what comes later.
 * Owns: nothing; the file's handle slot lies here.   Lives on: the broker loop.   Used by: broker/log_txn.c, broker/segment.c.
 * On disk: docs/disk-format.md, "Aborted transactions".   SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/buf.h"
#include "broker/handles.h"

struct aborted_txn {
    int64_t producer_id;
    int64_t first, last;                       /* offsets of its first batch and of its marker */
    int64_t stable;                            /* the last stable offset when it ended */
};

struct txn_index { struct log_file *handle; uint32_t n; bool loaded, dirty; };         /* dirty: changed since a checkpoint */

void txn_index_fini(struct txn_index *x);      /* closes the file */
/* Counts the entries of the file and cuts those whose marker is at or behind `end`; of a closed segment there are none. Missing:
 * no entries. RC_CORRUPT: they make no sense; nothing was changed and the index is not loaded: first the snapshots are to go that
 * say it is whole, then it is to be made anew. */
struct txn_range { int64_t base, end; bool closed; };
enum rc txn_index_load(struct txn_index *x, struct handles *hs, const char *path, struct txn_range of, struct err *e) MUST_USE;
enum rc txn_index_append(struct txn_index *x, struct handles *hs, const char *path, const struct aborted_txn *t, struct err *e) MUST_USE;
/* Appends to `into` (an array of struct aborted_txn) the entries that overlap [from, bound). *ret_all: none of a later segment
 * does. */
enum rc txn_index_find(struct txn_index *x, struct handles *hs, const char *path, int64_t from, int64_t bound, struct buf *into,
                       bool *ret_all, struct err *e) MUST_USE;
