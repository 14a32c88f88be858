/* broker/clean.h - one compaction pass over the closed segments of a log: files in, files out.
 *
 * Reads the segments' files, finds the last offset of every key in the dirty part, and writes what stays into NNN.cleaned
 * files, each of which takes the place of one or more segments. Offsets and order never change. Knows nothing of the log.
 * Lives on: a worker, one step at a time.   Used by: broker/compact.c.   SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "broker/producers.h"
#include "sys/fs.h"

struct clean_segment { int64_t base; uint64_t size; };
struct clean_group { int64_t base; size_t segments; uint64_t size; };         /* how many of the inputs it replaces, in order */
struct cleaner;

struct clean_pass {
    struct fs *fs;
    const char *dir;
    struct clean_segment *in;                  /* by base; those of the pass end where `end` says */
    size_t   in_n, ahead_n;                    /* how many, and how many behind them in `in`: only looked at for the ends of transactions */
    int64_t  dirty, end;                       /* offsets: [dirty, end) is new since the last pass; the end of every transaction begun there is on record */
    int64_t  now_ms, delete_retention_ms;
    uint64_t segment_bytes_max;
    uint64_t keys_bytes_max;                   /* memory for keys; when it is used up the pass ends early */
    const struct producers *producers;         /* a batch that holds a producer's last sequence leaves its header behind */

    struct clean_group *out;                   /* results; free() */
    size_t   out_n;
    int64_t  cleaned;                          /* everything below is clean now; may be less than `end` */
    uint64_t records_in, records_out, bytes_read, bytes_written;
};
/* The pass stays the caller's and must outlive the cleaner. */
struct cleaner *clean_begin(struct clean_pass *p);
/* Goes on until about bytes_max were read. *ret_done: the .cleaned files are written and synced. */
enum rc clean_some(struct cleaner *c, uint64_t bytes_max, bool *ret_done, struct err *e) MUST_USE;
struct cleaner *clean_end(struct cleaner *c);  /* removes what was made unless it is done; returns NULL */
