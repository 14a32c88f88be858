/* broker/state.h - the checkpoint file: what the wal no longer has to say.
 *
 * state.N is a run of checksummed frames: a metadata record, a partition log's state, a log that is gone; later frames
 * replace earlier ones. The superblock names the file and how much of it is valid. Pure codec.
 * Used by: broker/checkpoint.c, broker/store.c.   On disk: docs/disk-format.md, "Checkpoints".
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/buf.h"
#include "broker/epochs.h"
#include "broker/store.h"

enum state_kind { STATE_META = 1, STATE_LOG, STATE_GONE, STATE_CLOSED = (int)0x80000004 };    /* top bit: who does not know it may pass over it */
enum { STATE_FORMAT = 1, STATE_CLOSED_UNKNOWN = -1 };
struct log_state {
    struct uuid topic;
    uint32_t partition;
    int64_t  start, end;
    int64_t  segment_base;                     /* of the segment that grows */
    uint64_t segment_bytes;
    uint32_t offsets_n, times_n;               /* entries of its indexes that are on the disk */
    int64_t  snapshot;                         /* newest producer snapshot on the disk; -1 none */
    int64_t  cleaned;                          /* compaction has seen everything below; 0 none */
    bool     rescued;                          /* a rescue file waits for it */
    int64_t  closed_n;                         /* segments before the one that grows that are not empty and reach above start; STATE_CLOSED_UNKNOWN */
    uint64_t closed_bytes;                     /* and their bytes */
    struct str name;                           /* topic */
};

void state_put_head(struct buf *into);         /* the first bytes of a new file */
void state_put_meta(struct buf *into, struct bytes record);
void state_put_log(struct buf *into, const struct log_state *s, const struct epochs *es);
struct store_meta_sink { struct buf *into; };  /* of frames, for store_meta_put */
void state_put_gone(struct buf *into, const struct uuid *topic, uint32_t partition);

struct state_frame {
    enum state_kind  kind;
    struct bytes     meta;
    struct log_state log;                      /* of GONE only topic and partition, of CLOSED also the last two */
    struct bytes     epochs;                   /* see state_epochs */
};
bool state_name_ok(struct str topic);          /* may it stand in a path and in a record? Neither empty nor too long, no '/', no NUL */
void state_epochs(struct bytes raw, struct epochs *into);         /* into must be empty */
typedef enum rc (*state_fn)(void *ctx, const struct state_frame *f, struct err *e);
/* *ret_format: the one it was written in; another one than STATE_FORMAT is to be written anew. RC_CORRUPT, RC_UNSUPPORTED, or what fn says. */
enum rc state_replay(struct bytes file, state_fn fn, void *ctx, uint32_t *ret_format, struct err *e) MUST_USE;
