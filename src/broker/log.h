/* broker/log.h - the durable log of one partition: segments in Kafka's own layout.
 *
 * Offsets: start <= durable end <= end. [start, durable end) may be shown to anybody (the durable end is the high
 * watermark); [durable end, end) is staged: written to the page cache, not yet covered by the wal.
 * Batches are Kafka's record batch v2, the same bytes on the wire and on disk.
 *
 * Owns: the folder topic-partition/.   Lives on: the broker loop.   Made by: store_log().   Used by: broker/.
 * An error other than RC_OVERLOAD, RC_DISK_FULL, RC_TOO_LARGE, RC_INVALID, RC_FATAL takes this partition offline: the
 * same error is given from then on, its files are kept.
 * On disk: docs/disk-format.md, "Segments".   SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/buf.h"
#include "base/err.h"
#include "broker/producers.h"
#include "broker/store.h"

struct file;
struct log;

enum log_cleanup { LOG_CLEANUP_DELETE = 1, LOG_CLEANUP_COMPACT = 2 };
struct log_config {                            /* Kafka's topic configs of the same names */
    uint64_t segment_bytes;
    uint32_t segment_index_bytes;
    uint32_t index_interval_bytes;
    int64_t  segment_ms, segment_jitter_ms;
    int64_t  retention_ms, retention_bytes;    /* -1: no limit */
    int64_t  min_compaction_lag_ms, max_compaction_lag_ms, delete_retention_ms;
    double   min_cleanable_dirty_ratio;
    unsigned cleanup;                          /* enum log_cleanup */
};
extern const struct log_config log_config_default;
enum { LOG_BATCH_INLINE_MAX = 8 << 20 };       /* larger batches go by log_large */

struct str log_topic(const struct log *l);                            /* valid as long as the log */
const struct uuid *log_topic_id(const struct log *l);
uint32_t log_partition(const struct log *l);
void  log_set_owner(struct log *l, void *owner);                      /* the broker's partition; for callbacks */
void *log_owner(const struct log *l);
void  log_set_config(struct log *l, const struct log_config *c);      /* copied; holds from the next append on */

int64_t log_start(const struct log *l);
uint64_t log_start_seq(const struct log *l);                           /* what is told about the start waits for that */
int64_t log_end(const struct log *l);                                 /* next offset to be given */
int64_t log_durable_end(const struct log *l);                         /* high watermark */
/* From this offset on every batch was appended with LOG_APPEND_OF_BUS; false also when that is not known (before this start). */
bool    log_is_of_bus(const struct log *l, int64_t offset);
enum rc log_size(struct log *l, uint64_t *ret, struct err *e) MUST_USE;
/* RC_OK, or why the partition is offline. */
enum rc log_health(struct log *l, struct err *e) MUST_USE;

/* ---- append ---- */
enum log_append_flags {
    LOG_APPEND_RESERVED = 1,                   /* may use the disk reserve: outcomes, offsets, transactions */
    LOG_APPEND_OF_BUS = 2                      /* the process's own: who watches the log for records of others need not read it */
};
struct log_appended { int64_t base_offset, last_offset; uint64_t seq; };
/* Stages one whole batch. `batch` is patched in place (base offset, leader epoch: both outside the batch's CRC) and
 * copied. The caller has checked it (length, magic, CRC, records) and its producer (log_producer_check).
 *   RC_OVERLOAD   the wal is full: hold the request, see store_has_room
 *   RC_DISK_FULL  refused before anything was written        RC_TOO_LARGE  above LOG_BATCH_INLINE_MAX
 *   RC_FATAL      the folder has stopped acknowledging        RC_IO, RC_CORRUPT  the partition is offline */
enum rc log_append(struct log *l, uint8_t *batch, size_t n, unsigned flags, struct log_appended *ret, struct err *e) MUST_USE;

/* A batch above LOG_BATCH_INLINE_MAX: prepare writes it to a file of its own on a worker; when `done` runs (on the loop,
 * exactly once) with rc RC_OK, log_large_append stages it like log_append does. Between the two the partition goes on, so
 * check the producer again before log_large_append. End it with log_large_free in every case, after done. */
struct log_large {
    struct buf batch;                          /* moved in by the caller; the log's own until done */
    void (*done)(struct log_large *g);
    enum rc rc;
    struct err err;
    void *ctx;                                 /* the caller's */
    const struct clock *clock;                 /* NULL, or for us: how long the worker was at it */
    uint64_t us;
    struct log_large_job *job;                 /* the log's */
};
void log_large_prepare(struct log *l, struct log_large *g);
enum rc log_large_append(struct log *l, struct log_large *g, unsigned flags, struct log_appended *ret, struct err *e) MUST_USE;
void log_large_free(struct log_large *g);      /* drops the file if it was not appended, and the bytes */

/* ---- read ---- */
/* A run of whole batches inside one segment file. Holds the file open until log_slice_fini. */
struct log_slice {
    struct log_file *handle;                   /* counted; NULL in an empty slice */
    uint64_t at;                               /* position in the file */
    size_t   n;
    int64_t  offset_first, offset_next;        /* base offset of the first batch; where to read on */
};
/* Batches from the one that holds `offset` on, below `bound` (at most the durable end), at most max bytes. The first batch is
 * given whole even above max if `first_whole`. Empty slice (n = 0): nothing there below the bound, it did not fit, or the disk has
 * no room for what its segment has not got yet (log_tail.c; `advanced` tells when it has).
 * RC_NOT_FOUND: offset is below the start or above the end (Kafka's OFFSET_OUT_OF_RANGE). */
enum rc log_read(struct log *l, int64_t offset, size_t max, int64_t bound, bool first_whole,
                 struct log_slice *ret, struct err *e) MUST_USE;
struct file *log_slice_file(const struct log_slice *s);                          /* borrowed; file_fd() for sendfile */
enum rc log_slice_load(const struct log_slice *s, struct buf *into, struct err *e) MUST_USE;   /* appends the bytes */
void log_slice_ref(struct log_slice *ret, const struct log_slice *s);            /* a second holder */
void log_slice_fini(struct log_slice *s);                                        /* {0} again; may be called twice */

/* The first batch, in offset order and below `bound`, whose max_timestamp >= ts: the record looked for is in it. Empty slice: none. */
enum rc log_find_time(struct log *l, int64_t ts, int64_t bound, struct log_slice *ret, struct err *e) MUST_USE;
/* The batch with the largest max_timestamp (the first of equals). Empty slice: the log has none. */
enum rc log_find_max_time(struct log *l, int64_t bound, struct log_slice *ret, struct err *e) MUST_USE;
/* OffsetForLeaderEpoch: *ret_epoch -1 and *ret_end -1 when unknown. */
enum rc log_epoch_end(struct log *l, int32_t epoch, int32_t *ret_epoch, int64_t *ret_end, struct err *e) MUST_USE;
int32_t log_epoch(const struct log *l);                                          /* the current leader epoch */
enum rc log_epoch_at(struct log *l, int64_t offset, int32_t *ret, struct err *e) MUST_USE;   /* -1 unknown */

/* ---- idempotent producers (rules: broker/producers.h) ---- */
/* Call before log_append with the batch's header fields. A duplicate's answer waits for ret->seq. */
enum rc log_producer_check(struct log *l, const struct producer_batch *b, struct producer_verdict *ret, struct err *e) MUST_USE;
/* Drops producers idle longer than expire_ms (producer.id.expiration.ms). */
void log_producers_expire(struct log *l, int64_t now_ms, int64_t expire_ms);
/* What is known about active producers; for DescribeProducers. NULL when not loaded and loading failed. */
struct producers *log_producers(struct log *l, struct err *e);

/* ---- transactions ---- */
/* Kafka's last stable offset: everything below is decided, on disk, and will stay so. At most the durable end. */
enum rc log_stable_end(struct log *l, int64_t *ret, struct err *e) MUST_USE;
/* The first offset that an open transaction holds, whether durable or not; INT64_MAX: none. Compaction stops there. */
enum rc log_first_unstable(struct log *l, int64_t *ret, struct err *e) MUST_USE;
/* Appends the aborted transactions that overlap [from, bound) to *into, an array of struct aborted_txn (broker/txn_index.h). */
enum rc log_aborted(struct log *l, int64_t from, int64_t bound, struct buf *into, struct err *e) MUST_USE;

/* ---- start offset and retention ---- */
/* DeleteRecords: moves the start to `offset` (<= durable end). Waits for *ret_seq. */
enum rc log_delete_records(struct log *l, int64_t offset, uint64_t *ret_seq, struct err *e) MUST_USE;
/* One step of retention by time and size; *ret_changed when the start has moved (staged like an append). Files go away
 * after the next checkpoint. A log without LOG_CLEANUP_DELETE is left alone. */
enum rc log_retain(struct log *l, int64_t now_ms, bool *ret_changed, struct err *e) MUST_USE;
/* One compaction pass if due; work on a worker, swapped in on the loop. True when one was started. */
bool log_compact(struct log *l, int64_t now_ms);
