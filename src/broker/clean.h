/* broker/clean.h - one compaction pass over the closed segments of a log: files in, files out.
 *
 * Reads the segments' files, finds the last offset of every key in the dirty part, and writes what stays into NNN.cleaned
 * files, each of which takes the place of one or more segments. Offsets and order never change. Knows nothing of the log.
 * Lives on: a worker.   Used by: broker/compact.c.   SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "broker/producers.h"
#include "sys/fs.h"

struct clean_segment { int64_t base; uint64_t size; };
struct clean_group { int64_t base; size_t segments; uint64_t size; };         /* how many of the inputs it replaces, in order */

struct clean_pass {
    struct fs *fs;
    const char *dir;
    struct clean_segment *in;                  /* by base; the last one ends where `end` says */
    size_t   in_n;
    int64_t  dirty, end;                       /* offsets: [dirty, end) is new since the last pass */
    int64_t  now_ms, delete_retention_ms;
    uint64_t segment_bytes_max;
    size_t   keys_bytes_max;                   /* memory for keys; when it is used up the pass ends early */
    const struct producers *producers;         /* a batch that holds a producer's last sequence leaves its header behind */

    struct clean_group *out;                   /* results; free() */
    size_t   out_n;
    int64_t  cleaned;                          /* everything below is clean now; may be less than `end` */
    uint64_t records_in, records_out;
};
/* On success the .cleaned files are written and synced. On failure what was made is removed. */
enum rc clean_run(struct clean_pass *p, struct err *e) MUST_USE;
