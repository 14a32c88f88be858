/* broker/store_core.h - what the files of the storage part share: struct store and struct log.
 *
 * store.c (turns, callbacks), store_open.c (opening and recovery), checkpoint.c, log.c (append), log_tail.c, log_open.c (loading
 * and replay of one log), log_read.c, log_large.c, retention.c, compact.c. Nothing else includes this.
 * Lives on: the broker loop.   SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/list.h"
#include "base/map.h"
#include "broker/epochs.h"
#include "broker/log.h"
#include "broker/segment.h"
#include "broker/state.h"
#include "broker/store.h"
#include "broker/wal.h"
#include "sys/clock.h"
#include "sys/worker.h"

/* What an append may need beside its own record: the one that creates the log. */
enum { APPEND_OVERHEAD = 2 * WAL_HEADER_BYTES + 256 };
enum { META_BYTES_MAX = 1 << 20, STORE_PATH_BYTES = SEGMENT_PATH_BYTES };

struct log {
    struct store *store;
    struct uuid id;
    uint32_t partition;
    char    *topic, *dir;
    void    *owner;
    struct log_config config;

    int64_t  start, end, durable_end;
    uint64_t start_seq;                        /* of the record that moved the start last */
    int64_t  bus_from;                         /* from here on there is nothing but batches of the bus; -1: not known */
    int64_t  durable_segment;                  /* base of the segment in which durable_end lies, and where */
    uint64_t durable_at;
    bool     known;                            /* its create record is staged or on record */
    bool     loaded;                           /* segments, epochs and the files' lengths are known and checked */
    bool     folder_made, folder_new;          /* by this process; since the last checkpoint */
    bool     rescue_waits;                     /* there is a rescue file */
    bool     rescued, replaying;               /* there was one: the wal may repeat it; it is being applied */
    int64_t  rescued_to;                       /* … and this is the end of what it has, if the wal brings what is missing before */
    uint64_t rescue_end;                       /* of what is whole in it, once that is known; 0: not yet */
    struct found *found;                       /* what the folder had when the log was loaded, until recovery has cut it */
    bool     deleted;                          /* waits for the groups and jobs that name it */
    int      refs;                             /* those */
    struct err *offline;                       /* why, or NULL */
    struct log_state disk;                     /* as the last checkpoint, or recovery, has it; name unused */

    struct segment **segments;                 /* by base; the last one grows */
    size_t   segments_n, segments_cap;
    bool     roll_next;                        /* the next batch starts a new segment */
    struct buf held;                           /* the end of the newest segment that is not written to its file yet; see log_tail.c */
    int64_t  held_from;                        /* its first offset */
    uint64_t held_ms;                          /* monotonic, since when */
    struct list held_link;
    bool     held_short;                       /* there was no room for it: readers wait to be told */
    int64_t  rolled_ms;                        /* wall clock of the first append to the newest segment */
    int64_t  jitter_ms;                        /* taken off segment.ms for the newest segment */

    struct epochs epochs;
    bool     epochs_changed;                   /* since the file was written */
    struct producers producers;
    bool     producers_loaded;
    int64_t  snapshot;                         /* offset of the newest snapshot file; -1 none */
    int64_t  snapshot_held;                    /* the one a running checkpoint names; -1 none */
    uint64_t snapshot_bytes;                   /* appended since */

    int64_t  cleaned;                          /* compaction has seen everything below */
    bool     compacting;                       /* its closed segments stay as they are */
    int64_t  compact_after;                    /* a pass was due at this time (wall clock) and waits for the checkpoint; 0: none */
    uint32_t swaps;                            /* compactions whose segments were put in place by this process, or found half done */
    bool     swap_marked;                      /* the folder says that its closed segments may differ from the checkpoint's numbers */

    bool     dirty;                            /* differs from `disk` */
    struct list dirty_link;
    uint32_t advance_at;                       /* place + 1 in store.staged; 0: not there */
    struct { int64_t offset_next, segment_base; uint64_t at; } hint;   /* where the last read ended */
};

struct advance { struct log *log; int64_t end, segment; uint64_t at; };
struct advances { struct advance *v; size_t n, cap; };

struct wal_job { struct work work; struct store *store; enum rc rc; struct err err; uint64_t us; };
struct grow_job { struct work work; struct store *store; uint64_t bytes; enum rc rc; struct err err; };
struct checkpoint;                             /* checkpoint.c */

struct store {
    struct store_options opt;
    char    *dir;
    struct fs *fs;
    struct handles handles;
    struct file *lock;
    struct wal wal;
    struct map logs;                           /* topic id and partition -> struct log */

    uint64_t durable_seq, delete_seq;          /* delete_seq: of the last deletion of a log */
    uint32_t jobs;                             /* on workers */
    struct advances staged, flying;            /* logs the building and the flying group move */
    struct wal_job wal_job;
    struct grow_job grow_job;
    bool     growing;
    uint64_t grow_to;                          /* ring bytes wanted; 0 none */

    struct buf state_new;                      /* META and GONE frames since the last checkpoint began */
    struct list dirty;                         /* struct log.dirty_link */
    struct buf gone;                           /* folders and files to remove after the next checkpoint: NUL-ended names */
    uint64_t state_file, state_bytes;          /* the current checkpoint file */
    uint32_t state_format;                     /* it was written in; 0: there was none */
    struct checkpoint *checkpoint;             /* running; NULL: none */
    bool     checkpoint_wanted, dirty_any;
    uint64_t checkpoint_ms;                    /* monotonic, of the last end */
    uint64_t checkpoint_retry_ms;              /* not before */
    uint64_t replay_to;                        /* during recovery */

    struct list held;                          /* struct log.held_link, oldest first */
    size_t   held_bytes;                       /* of all together */
    struct buf held_spare;                     /* the memory of the last one that was written, for the next */
    bool     held_late;                        /* some were due, and answers went first */
    bool     landed_now;                       /* a group, since the last turn ended */
    struct list compact_waits;                 /* struct compact_job.link: passes whose next step is held back */
    uint64_t cleaner_keys_bytes, cleaner_bytes_per_second;       /* store_cleaner_limits */

    bool     fresh, fatal, closing, replaying;
    struct err fatal_why;
    uint64_t disk_free, disk_total, disk_checked_ms, disk_spent;
    struct store_stats stats;
};

/* ---- store.c ---- */
enum rc store_usable(const struct store *s, struct err *e);                    /* RC_FATAL after a failure */
enum rc store_fail(struct store *s, const struct err *why);                    /* ends acknowledgement; RC_FATAL */
uint64_t store_stage(struct store *s, const struct wal_record *r, struct bytes head, struct bytes body);
void store_advance(struct store *s, struct log *l);                            /* l->end becomes durable with this group */
struct log *store_log_new(struct store *s, const struct uuid *id, struct str topic, uint32_t partition);
void store_log_forget(struct store *s, struct log *l);                         /* out of the map; freed when unused */
void log_unref(struct log *l);
void store_dirty(struct store *s, struct log *l);
bool store_room_for_copy(struct store *s, uint64_t bytes);                     /* for files that compaction makes: 64 MiB stay free */
/* What an operator can do about it, behind every "disk full". */
#define DISK_REMEDY "make room or lower retention, it goes on by itself"
enum rc store_room_for_disk(struct store *s, uint64_t bytes, unsigned flags, struct err *e);
bool store_disk_was_full(const struct store *s);                                /* as it was when it was last looked at */
void store_path(const struct store *s, const char *name, char ret[STORE_PATH_BYTES]);
uint64_t store_ring_wanted(const struct store *s, size_t payload);             /* so that a record fits, ever; 0: it never does */
void store_want_ring(struct store *s, uint64_t bytes);
/* Counted: `done` must call store_work_done first. */
void store_work(struct store *s, struct work *w, uint32_t lane, void (*run)(struct work *), void (*done)(struct work *));
void store_work_done(struct store *s);
void store_set_durable(struct log *l);                                         /* all that l has is durable */
void store_gone(struct store *s, const struct log *l);                         /* on the way to a checkpoint without it */

/* ---- checkpoint.c ---- */
bool checkpoint_due(const struct store *s, uint64_t now_ms);
/* The steps of a checkpoint: remember everything staged so far; launch the group that has it; give the superblock its place
 * in the ring; when that group has landed, write. From there on it runs by itself. */
bool checkpoint_capture(struct store *s);                                      /* false: not now */
void checkpoint_place(struct store *s);
bool checkpoint_waits(const struct store *s);                                  /* captured, not yet writing */
void checkpoint_write(struct store *s);
enum rc checkpoint_now(struct store *s, bool clean, struct err *e);            /* all of it, blocking; nothing is staged or in flight */
void checkpoint_drop(struct store *s);                                         /* forgets a captured one; not while its job runs */
void store_remove(struct store *s, struct buf *names);                         /* in the background; takes the NUL-ended paths */
/* A folder of this name is not to be removed by a checkpoint any more. */
void checkpoint_spare(struct store *s, const char *name);

/* ---- log.c ---- */
static inline struct segment_place log_place(const struct log *l) { return (struct segment_place){&l->store->handles, l->dir}; }
static inline bool log_replaying(const struct log *l) { return l->store->replaying || l->replaying; }
enum rc log_ready(struct log *l, struct err *e);                               /* loads on first use */
enum rc log_fail(struct log *l, struct err *e);                                /* takes it offline unless the error says otherwise */
static inline struct segment *log_active(const struct log *l) { return l->segments_n ? l->segments[l->segments_n - 1] : NULL; }
struct segment *log_segment_add(struct log *l, int64_t base);
void log_segments_free(struct log *l);
/* Writes a batch at the end: segment, indexes, epochs, producers, end. The header is final. */
enum rc log_write(struct log *l, struct bytes batch, bool roll, struct err *e);
/* A batch that is a segment of its own: its header, its length, and the name under which its file was written and synced. */
struct log_large_ref { uint8_t head[BATCH_HEADER_BYTES]; uint64_t bytes; char file[40]; };
enum rc log_write_large(struct log *l, const struct log_large_ref *ref, struct err *e);
enum rc log_stage_large(struct log *l, struct log_large_ref *ref, unsigned flags, struct log_appended *ret, struct err *e);
bool log_large_name(const char *name);                                         /* such a file, not yet or not any more wanted */
void log_put_state(const struct log *l, struct log_state *ret);                /* as of now */
void log_count_closed(const struct log *l, int64_t start, int64_t *ret_n, uint64_t *ret_bytes);    /* see struct log_state */
enum rc log_make_folder(struct log *l, struct err *e);
enum rc log_move_start(struct log *l, int64_t start, struct err *e);            /* not staged */

/* ---- log_tail.c ---- */
bool log_may_hold(const struct log *l, size_t n);                              /* a batch of n bytes may be written later */
void log_hold(struct log *l, struct bytes batch, int64_t base_offset);
/* What is held is in the file afterwards. RC_DISK_FULL: it is kept. RC_FATAL: the store has failed. */
enum rc log_settle(struct log *l, struct err *e) MUST_USE;
/* The same with a batch behind it, whose append fails when it fails. */
enum rc log_settle_with(struct log *l, struct bytes more, struct err *e) MUST_USE;
void log_held_drop(struct log *l);
/* The oldest, when they are due or too many. */
void store_held_turn(struct store *s, uint64_t now_ms);
uint64_t store_held_next_ms(const struct store *s);
bool store_settle(struct store *s);                                            /* all; false when not */

/* ---- log_open.c ---- */
enum rc log_load(struct log *l, struct err *e);
void found_drop(struct log *l);
enum rc log_replay(struct log *l, const struct wal_record *r, struct bytes payload, struct err *e);
enum rc log_replay_end(struct log *l, bool cut, struct err *e);                /* cuts what lies beyond; removes strays; all is durable */
enum rc log_snapshots_forget(struct log *l, struct err *e);
enum rc log_producers_load(struct log *l, struct err *e);
enum rc log_snapshot_write(struct log *l, struct err *e);                      /* producers up to l->end */
enum rc log_note_producer(struct log *l, struct segment *s, const struct batch_head *h, struct bytes batch, struct err *e);

/* ---- log_txn.c ---- */
/* A marker is about to be noted: where it aborts a transaction of this partition, the segment's index gets an entry. */
enum rc log_note_marker(struct log *l, struct segment *s, const struct batch_head *h, struct bytes marker, struct err *e);
/* The producers are about to be read from `from` on: entries behind that will be made again. *ret_damaged: one index made no sense
 * and is empty now, so that all has to be read. */
enum rc log_aborted_load(struct log *l, int64_t from, bool *ret_damaged, struct err *e);

/* ---- compact.c ---- */
#define LOG_SWAP_MARK "swapping"                                                /* name of the file that says so */
void compact_turn(struct store *s, uint64_t now_ms);                           /* held-back steps that are due; all of them end when the store closes */
uint64_t compact_next_ms(const struct store *s);                               /* UINT64_MAX: none waits */
/* The last step of a compaction: deletes the covered segments but for `base` and puts base.swap in its place. */
enum rc log_swap_in(struct log *l, int64_t base, const int64_t *covered, size_t covered_n, struct err *e);

/* ---- rescue.c ---- */
enum rc rescue_put(struct log *l, const struct wal_record *r, struct bytes payload, struct err *e);
/* Inside log_load: before and after the segments are known. */
enum rc rescue_read(struct log *l, struct buf *ret, struct err *e);
enum rc rescue_apply(struct log *l, struct bytes body, struct err *e);
void rescue_keep(struct log *l);                           /* it was applied in vain */
enum rc rescue_check(struct log *l, struct err *e);        /* after replay: was there nothing missing between the file and the wal? */
