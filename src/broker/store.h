/* broker/store.h - one data folder: the write-ahead log (wal), its checkpoints, and the partition logs in it.
 *
 * Every durable change is a record of the wal: batches of all partitions, metadata, start offsets. A record has a
 * sequence number (seq); it is durable when store_durable_seq() has reached it. Nothing that depends on a record may
 * be told to anybody before that.
 *
 * A turn of the broker loop: log_append() and store_meta_append() stage records; store_turn_end() submits them as one
 * group, one write, one at a time; when it is on the disk, the `advanced` and `durable` callbacks run on the loop.
 *
 * Owns: the data folder.   Lives on: the broker loop; writes, syncs and deletions run on `workers`.
 * Used by: broker/.        On disk: docs/disk-format.md.   Promises: docs/durability.md.
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/bytes.h"
#include "base/err.h"
#include "base/uuid.h"
#include "sys/worker_lanes.h"

struct clock;
struct fs;
struct log;
struct mailbox;
struct store;
struct store_meta_sink;
struct workers;
/* Its lanes of the workers: sys/worker_lanes.h. */

struct store_options {
    const char     *dir;                       /* created when missing */
    struct fs      *fs;
    const struct clock *clock;
    struct workers *workers;
    struct mailbox *mailbox;                   /* of the broker loop; completions arrive there */
    uint64_t wal_bytes_max;                    /* 0: 256 MiB. Both are multiples of 4096; less than 32 MiB lowers store_inline_max */
    uint64_t wal_bytes_first;                  /* 0: 4 MiB; the ring of a new folder, it grows by itself */
    uint64_t checkpoint_every_ms;              /* 0: 30 s */
    uint32_t files_open_max;                   /* 0: 4096, or a quarter of the process's limit; segment files kept open */

    /* All callbacks run on the loop; meta_apply also inside store_open. */
    void *ctx;
    /* One metadata record, in the order of store_meta_append. An error ends store_open. May see a record twice in a row
     * of openings, never twice in one. */
    enum rc (*meta_apply)(void *ctx, struct bytes record, struct err *e);
    /* Puts the whole metadata as records, so that applying them to nothing gives the state of now. */
    void (*meta_snapshot)(void *ctx, struct store_meta_sink *sink);
    void (*advanced)(void *ctx, struct log *log);                 /* log_durable_end() has moved; may be NULL */
    void (*durable)(void *ctx, uint64_t seq);                     /* all records up to seq; may be NULL */
    void (*fatal)(void *ctx, const struct err *why);              /* once; nothing is acknowledged any more */
};

/* Takes the lock, reads the superblocks, replays the wal into the segments and ends with a checkpoint.
 *   RC_LOCKED       another process has the folder        RC_UNSUPPORTED  written by a newer version
 *   RC_CORRUPT      damage (not a torn write); nothing was changed; `millrace log verify` says what is affected
 *   RC_IO, RC_DISK_FULL, RC_DENIED */
enum rc store_open(const struct store_options *opt, struct store **ret, struct err *e) MUST_USE;
/* Waits for the write in flight, writes what is staged, checkpoints, closes. NULL is fine; returns NULL.
 * Errors are printed: what was durable stays so. */
struct store *store_close(struct store *s);
/* Drops everything in memory without writing, as a crash would. For tests and for the way out after RC_FATAL. */
struct store *store_abandon(struct store *s);

/* Stages a metadata record (at most 1 MiB). Also allowed when the disk is nearly full, not when the wal is. */
enum rc store_meta_append(struct store *s, struct bytes record, uint64_t *ret_seq, struct err *e) MUST_USE;
void store_meta_put(struct store_meta_sink *sink, struct bytes record);      /* inside meta_snapshot only */

/* Submits what was staged if no write is in flight, starts a checkpoint if one is due. Call once at the end of a turn,
 * and when store_next_ms() (monotonic) has come. */
void store_turn_end(struct store *s);
uint64_t store_next_ms(const struct store *s);            /* UINT64_MAX: no need */
void store_checkpoint_soon(struct store *s);              /* retention, compaction and DeleteRecords ask for it */

uint64_t store_staged_seq(const struct store *s);         /* of the last staged record: what "now" depends on */
uint64_t store_durable_seq(const struct store *s);
/* False while `bytes` more would not fit the wal: hold requests until `durable` or the next turn. More than a quarter of a
 * ring that has yet to grow counts as that quarter: the append itself asks for the growth, and says RC_OVERLOAD meanwhile. */
bool store_has_room(const struct store *s, size_t bytes);
size_t store_inline_max(const struct store *s);           /* larger batches go by log_large: 8 MiB, or a quarter of a small wal */
/* What the ring takes at its present size. An append above it, up to store_inline_max, may say RC_OVERLOAD until the ring has grown. */
size_t store_inline_now(const struct store *s);
/* True while the disk has less free than the wal's cap + 64 MiB: plain appends get RC_DISK_FULL. */
bool store_disk_is_full(struct store *s);
bool store_is_fatal(const struct store *s);
uint32_t store_start_number(const struct store *s);       /* 0 at the first start of the folder; the leader epoch */
struct bytes store_folder_id(const struct store *s);      /* 16 random bytes, made with the folder; its cluster id */

struct store_stats {
    uint64_t wal_bytes, wal_used_bytes, wal_groups, wal_written_bytes, checkpoints, files_open, disk_free_bytes, disk_total_bytes;
    uint64_t wal_write_us_last, wal_write_us_max;         /* of one group's write */
    uint64_t replayed_records, replayed_bytes, cut_bytes; /* by this start's recovery */
    uint64_t compactions, compactions_failed, compacted_records_in, compacted_records_out, compacted_bytes_read, compacted_bytes_written;
    uint64_t logs_offline;                                /* partitions that are out of use for damage */
    bool     wal_is_direct;                               /* O_DIRECT; else fdatasync after a plain write */
    bool     opened_clean;
};
void store_stats(struct store *s, struct store_stats *ret);
/* Memory for the keys of one compaction pass (0: 128 MiB), and how much compaction may read a second (0: no limit). */
void store_cleaner_limits(struct store *s, uint64_t keys_bytes, uint64_t bytes_per_second);

/* The log of one partition. Cheap: no file is touched before the first read or append, and a folder appears at the first
 * append. One struct log exists per (topic id, partition); asking again gives the same one. The store owns it. */
struct log *store_log(struct store *s, const struct uuid *id, struct str topic, uint32_t partition);
struct log *store_log_find(struct store *s, const struct uuid *id, uint32_t partition);    /* NULL when unknown */
/* Stages the deletion; *log is gone. Its folder goes away in the background when the record is durable. */
enum rc store_log_delete(struct store *s, struct log **log, uint64_t *ret_seq, struct err *e) MUST_USE;
/* All logs on record, e.g. to find those whose topic does not exist. Stop by returning false. */
void store_logs_each(struct store *s, bool (*fn)(void *ctx, struct log *log), void *ctx);
