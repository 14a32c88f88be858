/* broker/segment.h - one append-only file of record batches with its two sparse indexes.
 *
 * Owns NNN.log, NNN.index, NNN.timeindex, NNN.txnindex and the offsets [base, next segment's base). Only the newest segment of a log
 * grows. A segment does not know its folder: every call gets it in a struct segment_place.
 * Lives on: the broker loop.   Used by: broker/log*.c, broker/retention.c, broker/checkpoint.c.
 * On disk: docs/disk-format.md, "Segments".   SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "broker/index.h"
#include "broker/txn_index.h"
#include "kafka/batch.h"

struct segment_place { struct handles *handles; const char *dir; };

struct segment {
    int64_t  base;
    uint64_t size;                             /* of the batches; the file may be longer before recovery has cut it */
    int64_t  max_time, max_time_offset;        /* largest timestamp and the last offset of its batch; -1 none */
    int64_t  first_time;                       /* largest timestamp of the first batch; -1 none */
    uint32_t since_index;                      /* bytes since the last index entry */
    bool     cut;                              /* the file was made shorter and not synced since */
    bool     loaded;                           /* the indexes are open and the fields above are known */
    struct log_file *handle;
    struct index offsets, times;
    struct txn_index aborted;                  /* loaded by itself, on first use */
};

struct batch_head {                            /* the fields of a record batch header that the log reads */
    int64_t  base_offset, last_offset;
    uint32_t bytes;                            /* of the whole batch */
    int32_t  leader_epoch;
    uint16_t attributes;
    int64_t  max_timestamp, producer_id;
    int16_t  producer_epoch;
    int32_t  base_sequence, last_offset_delta, record_count;
};
/* From the first BATCH_HEADER_BYTES of a batch. False: too short, not magic 2, or impossible numbers. The CRC is not looked at. */
bool batch_head_decode(struct bytes b, struct batch_head *ret);

enum { SEGMENT_PATH_BYTES = 4096 };
void segment_path(const struct segment_place *in, int64_t base, const char *suffix, char ret[SEGMENT_PATH_BYTES]);
void segment_init(struct segment *s, int64_t base);
void segment_fini(struct segment *s);          /* closes the files */

/* The file; *ret is borrowed until the next call on any segment. */
enum rc segment_file(struct segment *s, const struct segment_place *in, bool create, struct file **ret, struct err *e) MUST_USE;
/* Opens the indexes with so many entries that are trusted, and makes the rest from the batches up to s->size.
 * UINT32_MAX: as many as the files hold, or all again when they make no sense. */
enum rc segment_load(struct segment *s, const struct segment_place *in, uint32_t offsets_n, uint32_t times_n,
                     uint32_t index_interval, struct err *e) MUST_USE;
/* Writes at the end what was counted and held back, and a new batch, which moves s->size; either may be empty. When that fails,
 * the file is cut back to before both. */
enum rc segment_write(struct segment *s, const struct segment_place *in, struct bytes held, struct bytes batch, struct err *e) MUST_USE;
/* How far a segment has got, to go back to when what follows a write fails: as if nothing had been written. */
struct segment_mark { uint64_t size; uint32_t since_index, offsets_n, times_n; int64_t max_time, max_time_offset, first_time; };
struct segment_mark segment_mark(const struct segment *s);
void segment_back(struct segment *s, const struct segment_place *in, const struct segment_mark *to);
/* A batch of which h is the head lies at `at`: index entries and times. */
enum rc segment_note(struct segment *s, const struct segment_place *in, const struct batch_head *h, uint64_t at,
                     uint32_t index_interval, struct err *e) MUST_USE;
/* No more batches: the last time entry, and both indexes written. */
enum rc segment_seal(struct segment *s, const struct segment_place *in, struct err *e) MUST_USE;

/* The head of the batch at `at`. RC_NOT_FOUND at the end of the segment, RC_CORRUPT when there is none. */
enum rc segment_head(struct segment *s, const struct segment_place *in, uint64_t at, struct batch_head *ret, struct err *e) MUST_USE;
/* The first batch whose last offset is >= offset. RC_NOT_FOUND: none. */
enum rc segment_seek(struct segment *s, const struct segment_place *in, int64_t offset, uint64_t *ret_at, struct batch_head *ret, struct err *e) MUST_USE;
/* The greatest batch start that is <= at and cheap to find; walk on from there. */
enum rc segment_floor(struct segment *s, const struct segment_place *in, uint64_t at, uint64_t *ret_at, struct err *e) MUST_USE;
/* The first batch whose max_timestamp is >= time. RC_NOT_FOUND: none. */
enum rc segment_seek_time(struct segment *s, const struct segment_place *in, int64_t time, uint64_t *ret_at, struct batch_head *ret, struct err *e) MUST_USE;
