/* broker/index.h - a sparse index of one segment: sorted entries in Kafka's layout, the newest of them in memory.
 *
 * Two uses: .index (last offset of a batch -> position of the batch) and .timeindex (largest timestamp so far -> last
 * offset of its batch). Entries are appended in order, kept in a small tail and written when it is full; how many are on
 * the disk for sure is remembered by checkpoints, and what is lost is made again from the batches.
 * Owns: nothing; the file's handle slot lies here.   Lives on: the broker loop.   Used by: broker/segment.c.
 * On disk: docs/disk-format.md, "Indexes".   SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "broker/handles.h"

enum index_kind { INDEX_OFFSET, INDEX_TIME };
enum { INDEX_TAIL = 64 };

struct index_entry { int64_t key; int64_t value; };               /* offset: relative offset, position; time: timestamp, relative offset */

struct index {
    struct log_file *handle;
    uint8_t  *tail;                            /* raw entries, made on first use */
    uint32_t  written, tail_n;                 /* entries in the file, and behind them */
    enum index_kind kind;
    bool      last_known;
    struct index_entry last;                   /* the newest entry, which an append asks for */
};

void index_init(struct index *x, enum index_kind kind, uint32_t written);
void index_fini(struct index *x);
static inline uint32_t index_count(const struct index *x) { return x->written + x->tail_n; }
uint32_t index_entry_bytes(enum index_kind kind);

enum rc index_append(struct index *x, struct handles *hs, const char *path, struct index_entry entry, struct err *e) MUST_USE;
enum rc index_flush(struct index *x, struct handles *hs, const char *path, struct err *e) MUST_USE;
enum rc index_get(struct index *x, struct handles *hs, const char *path, uint32_t at, struct index_entry *ret, struct err *e) MUST_USE;
/* The last entry whose key (or value, for index_find_value) is <= limit. *ret_at is -1 when there is none. */
enum rc index_find_key(struct index *x, struct handles *hs, const char *path, int64_t limit, int64_t *ret_at, struct index_entry *ret, struct err *e) MUST_USE;
enum rc index_find_value(struct index *x, struct handles *hs, const char *path, int64_t limit, int64_t *ret_at, struct index_entry *ret, struct err *e) MUST_USE;
/* Forgets all entries from `count` on. */
enum rc index_cut(struct index *x, struct handles *hs, const char *path, uint32_t count, struct err *e) MUST_USE;
