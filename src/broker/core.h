/* broker/core.h - what the files of broker/ share: the broker, its topics and partitions.
 *
 * A topic exists by its metadata record; a partition's log is made on first use. Nothing here is locked.
 * Lives on: the broker loop.   Used by: broker/ only.   SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/map.h"
#include "broker/broker.h"
#include "broker/config.h"
#include "broker/log.h"
#include "broker/store.h"
#include "net/loop.h"
#include "sys/clock.h"
#include "sys/timers.h"

struct api;
struct fetch_sessions;
struct groups;
struct offsets;

struct partition {
    struct topic *topic;
    int32_t number;
    struct log *log;                     /* NULL until partition_log() */
    struct list fetches;                 /* parked: struct fetch_wait, struct broker_fetch, struct broker_watch */
    struct list waits;
    struct list watches;
};

struct topic {
    struct str   name;
    struct uuid  id;
    bool         internal;
    uint64_t     seq;                    /* of its last metadata record */
    struct topic_config config;          /* effective values and which of them were set */
    struct partition **partitions;
    int32_t      partitions_n;
    int32_t      refs;                   /* not used across turns: keep ids, look up again */
    uint64_t     bytes_in, bytes_out, batches_in;
};

struct broker {
    struct broker_options opt;           /* pointers copied from; settings not kept */
    const struct clock *clock;
    struct mailbox *mailbox;
    struct timers *timers;
    struct store *store;
    struct broker_config config;
    char     cluster_id[UUID_TEXT_LEN + 1];
    uint64_t now_ms;                     /* monotonic, of this turn */

    struct map topics;                   /* name -> struct topic */
    struct map topics_by_id;
    struct topic **topics_sorted;        /* by name */
    size_t   topics_n, topics_cap, partitions_n;
    uint64_t meta_seq;                   /* the last metadata record: what Metadata answers wait for */

    struct groups *groups;               /* broker/group.h */
    struct offsets *offsets;             /* broker/offsets.h */
    struct fetch_sessions *sessions;
    struct list conns, listeners;
};

struct log *partition_log(struct partition *p);
struct topic *topic_by_id(struct broker *b, const struct uuid *id);
static inline int64_t broker_wall_ms(const struct broker *b) { return clock_wall_ms(b->clock); }

/* Appends a batch of ours (checked: whole, magic 2, CRC) to a partition, e.g. offset commits. Patched in place, copied. See log_append. */
enum rc partition_append(struct partition *p, uint8_t *batch, size_t n, unsigned flags, struct log_appended *ret,
                         struct err *e) MUST_USE;
/* Reads whole batches from `offset` on into *into, at most about max, durable ones only; *ret_next is where to go on. */
enum rc partition_read(struct partition *p, int64_t offset, size_t max, struct buf *into, int64_t *ret_next, struct err *e) MUST_USE;

/* One function for the codes: */
int16_t kafka_error_of(const struct err *e);
