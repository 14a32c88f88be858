/* broker/verify.h - looks at a data folder that nobody uses: is every file what it should be, and what can be put right?
 *
 * Reads everything, changes nothing unless `repair` is wanted. A repair never throws anything away: what it takes out of use
 * goes to the folder `damaged` beside the logs. Used by: cli/verify.c, tests.   Lives on: any thread, blocking.
 * What is checked and repaired: docs/durability.md, "Checking a folder".   SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/buf.h"
#include "base/err.h"
#include "kafka/batch.h"
#include "sys/fs.h"

enum verify_weight {
    VERIFY_NOTE,                               /* a crash may leave it; the next start deals with it */
    VERIFY_CACHE,                              /* can be made again from the rest; the next start does when it notices */
    VERIFY_DAMAGE                              /* acknowledged data is affected */
};
struct verify_finding {
    enum verify_weight weight;
    const char *file;                          /* inside the folder */
    const char *text;                          /* one sentence */
    const char *remedy;                        /* what --repair does about it, or did; NULL: nothing can be done */
    bool repaired;
};
struct verify_options {
    struct fs *fs;
    const char *dir;
    bool repair;
    void (*found)(void *ctx, const struct verify_finding *f);
    void *ctx;
};
struct verify_summary { uint64_t files, logs, batches, records, bytes, notes, caches, damages, repaired; };

/* RC_LOCKED: a process uses the folder. RC_NOT_FOUND: it is none. RC_UNSUPPORTED: a newer version wrote it. Findings are not errors. */
enum rc verify_folder(const struct verify_options *o, struct verify_summary *ret, struct err *e) MUST_USE;

/* What one file holds, piece by piece: batches and records of a .log, entries of .index, .timeindex, .txnindex, rows of a
 * .snapshot. RC_CORRUPT: the rest is not what it should be. */
enum dump_kind { DUMP_BATCH, DUMP_RECORD, DUMP_OFFSET, DUMP_TIME, DUMP_ABORTED, DUMP_PRODUCER };
struct dump_piece {
    enum dump_kind kind;
    uint64_t position;                         /* in the file */
    const struct batch  *batch;                /* BATCH, RECORD */
    const struct record *record;               /* RECORD */
    bool crc_ok;
    int64_t  a, b, c, d, e;                    /* OFFSET: offset, position. TIME: timestamp, offset. ABORTED: producer, first, last, stable end.
                                                  PRODUCER: producer, epoch, last sequence, last offset, timestamp */
};
typedef void (*dump_fn)(void *ctx, const struct dump_piece *p);
enum rc verify_dump(struct fs *fs, const char *path, dump_fn put, void *ctx, struct err *e) MUST_USE;
