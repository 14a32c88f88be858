/* broker/verify_core.h - what the files of the checker share: verify.c (folder, wal, checkpoint), verify_log.c (one partition),
 * verify_fix.c (repairs).   SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/map.h"
#include "broker/segment.h"
#include "broker/state.h"
#include "broker/verify.h"
#include "broker/wal.h"

struct checked_log {
    struct log_state state;                    /* name unused */
    struct epochs epochs;
    char    *topic;
    bool     on_record;                        /* in the checkpoint; else only in the wal */
    bool     changed;                          /* its state must be written anew */
};

struct checker {
    const struct verify_options *o;
    struct verify_summary *sum;
    struct wal wal;
    uint64_t   wal_records;
    bool       wal_open;
    bool       may_change_logs;                /* nothing in the wal speaks of them */
    struct map logs;                           /* folder name -> struct checked_log */
};

/* A finding; `remedy` NULL: none. Repaired is what counts as put right. */
void check_say(struct checker *c, enum verify_weight weight, const char *file, const char *remedy, bool repaired, const char *fmt, ...) PRINTF(6, 7);
void check_path(const struct checker *c, const char *name, char ret[SEGMENT_PATH_BYTES]);

enum rc check_log(struct checker *c, const char *folder, struct checked_log *l, struct err *e);      /* verify_log.c */

/* ---- walking a segment file ---- */
struct check_range { uint64_t from, to; int64_t first, next; };         /* bytes that make no sense; offsets: the one wanted, the one found behind */
struct check_walk {
    struct file *file;
    struct buf   in;
    uint64_t     in_at, at, size;              /* size: what is to be looked at */
    int64_t      next;                         /* the offset that comes next at the earliest */
    int64_t      below;                        /* and where the segment ends */
    bool         whole;                        /* compaction has not been here: a batch whose offset is too high for the next one is wrong */
};
/* The next whole batch, bad bytes before it skipped and told in *ret_bad (from == to: none). False: the end. */
bool check_walk_next(struct check_walk *w, struct batch *ret, struct check_range *ret_bad);
void check_walk_fini(struct check_walk *w);

/* ---- verify_fix.c ---- */
/* The bad ranges of a segment file left out; the old file goes to `damaged`. *ret_size: of the new one. */
enum rc fix_segment(struct checker *c, const char *folder, int64_t base, const struct check_range *bad, size_t bad_n, uint64_t size, uint64_t *ret_size, struct err *e);
enum rc fix_set_aside(struct checker *c, const char *folder, const char *name, struct err *e);        /* a copy to `damaged` */
enum rc fix_remove(struct checker *c, const char *folder, const char *name, struct err *e);           /* after that copy */
enum rc fix_state(struct checker *c, struct err *e);                     /* writes what changed behind the checkpoint */
enum rc fix_wal(struct checker *c, struct err *e);                       /* forgets groups behind a damaged one */
