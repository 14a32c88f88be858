/* broker/wal.h - the write-ahead log: one preallocated file used as a ring, written in groups, each one write and durable
 * when the write returns.
 *
 * Owns the file `wal`: two superblocks and the ring.   Lives on: the broker loop, except wal_group_write(),
 * wal_super_write() and wal_grow(), which run on a worker and touch nothing the loop writes meanwhile.
 * Used by: broker/store*.c, and nobody else.   On disk: docs/disk-format.md, "The write-ahead log".
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "broker/store.h"
#include "sys/fs.h"

enum wal_kind {
    WAL_BATCH = 1,                             /* payload: the record batch as it lies in the segment */
    WAL_META,                                  /* payload: the broker's own bytes */
    WAL_LOG_CREATE,                            /* payload: topic name; first record of a partition log */
    WAL_LOG_DELETE,
    WAL_LOG_START,                             /* offset: the new start of the log */
    WAL_LARGE                                  /* payload: batch header, file size and name; the batch is a segment of its own */
};
enum { WAL_FLAG_ROLL = 1 };                    /* the batch is the first of a new segment */

struct wal_record {
    uint64_t seq;
    enum wal_kind kind;
    uint8_t  flags;
    struct uuid topic;
    uint32_t partition;
    int64_t  offset;
};
enum { WAL_HEADER_BYTES = 64, WAL_FORMAT = 1, WAL_READABLE_FROM = 1 };      /* the oldest format whose code reads what this one writes */

struct wal_ring { uint64_t base, bytes; };     /* base: a position that lies at the ring's first byte */

struct wal_super {                             /* what the newest superblock says; see docs/disk-format.md */
    uint64_t generation;
    uint8_t  folder_id[16], secret[16];
    uint32_t start_number;                     /* of the last start, from 0 on */
    bool     clean;
    struct wal_ring ring;
    uint64_t begin;                            /* position of the oldest record that is needed */
    uint64_t seq, group;                       /* the first record and group from `begin` on have these */
    uint64_t state_file, state_bytes;          /* the checkpoint: file number and valid length */
    uint64_t state_base;                       /* its length when it was last written anew */
};

/* A group on its way: filled on the loop, written on a worker. */
struct wal_group {
    uint8_t *p;                                /* FS_ALIGN aligned */
    size_t   n, cap;
    uint64_t at, number, seq_first;
    uint32_t records;
    struct wal_ring ring;                      /* as it was when the group got its place */
};

struct wal {
    struct file *file;                         /* FS_DIRECT | FS_DSYNC where possible */
    struct wal_super super;                    /* the durable one */
    uint64_t bytes_max;
    uint64_t end;                              /* position behind the last submitted group */
    uint64_t seq_next, group_next;
    uint64_t zeroed_bytes;                     /* the file is prepared up to here: the ring may grow to it */
    uint64_t held_at;                          /* no group beyond this position while a superblock that grows the ring is written; 0: free */
    struct wal_group building, flying;
    bool     in_flight;
    uint32_t start_number;
};

/* Opens or creates. Changes nothing in an existing file; a new one is that of start 0, which needs no superblock of its own.
 *   RC_CORRUPT  no valid superblock   RC_UNSUPPORTED  a newer format */
enum rc wal_open(struct fs *fs, const char *path, uint64_t bytes_first, uint64_t bytes_max, struct wal *ret, struct err *e) MUST_USE;
void wal_close(struct wal *w);

/* Calls fn for every record from the superblock's begin on, in order, and leaves end, seq_next and group_next behind the
 * last one. RC_CORRUPT says that a later group lies in the `look_behind` bytes behind the end: damage, not a torn write. A
 * group takes at most half of WAL_LOOK_NEAR, so a single damaged one is found there for sure; a start does not read the
 * rest of a large ring, which is cold, for holes of several megabytes. */
enum { WAL_LOOK_NEAR = 2 * (9 << 20) };
struct wal_found { uint64_t records, bytes; bool torn; };
typedef enum rc (*wal_replay_fn)(void *ctx, const struct wal_record *r, struct bytes payload, struct err *e);
enum rc wal_replay(struct fs *fs, const char *path, struct wal *w, uint64_t look_behind, wal_replay_fn fn, void *ctx,
                   struct wal_found *ret, struct err *e) MUST_USE;

/* After a replay that found damage, with the wal as it left it: zeros over everything from its end on. What was acknowledged there is lost. */
enum rc wal_forget_behind(struct fs *fs, const char *path, const struct wal *w, struct err *e) MUST_USE;

/* ---- groups ---- */
bool wal_has_room(const struct wal *w, size_t payload_bytes);          /* false: the next group is full, or the ring is */
bool wal_ring_is_short(const struct wal *w, size_t payload_bytes);     /* a checkpoint makes room in the ring, a launch in the group */
/* Stages a record in the building group; the payload is given in two parts. Needs room. Returns its seq. */
uint64_t wal_add(struct wal *w, const struct wal_record *r, struct bytes head, struct bytes body);
/* Moves the building group to the flying one and gives it a place. False: nothing is staged, a write is in flight, or the
 * ring has no room until a checkpoint ends. */
bool wal_launch(struct wal *w);
enum rc wal_group_write(const struct wal *w, const struct wal_group *g, struct err *e) MUST_USE;    /* any thread */
/* The write is done. Returns the last seq it covers. */
uint64_t wal_landed(struct wal *w);
uint64_t wal_used(const struct wal *w);                                    /* bytes in the ring that are still needed */

/* ---- superblocks ---- */
/* The next superblock: begin at the first record after seq_durable (= everything launched so far has landed). */
struct wal_super wal_super_next(struct wal *w);
enum rc wal_super_write(const struct wal *w, const struct wal_super *s, struct err *e) MUST_USE;    /* any thread */
void wal_super_done(struct wal *w, const struct wal_super *s);             /* it is durable: space behind it is free */
/* Prepares the file for a ring of `bytes`; afterwards set zeroed_bytes on the loop. */
enum rc wal_grow(const struct wal *w, uint64_t from_bytes, uint64_t bytes, struct err *e) MUST_USE; /* any thread */
