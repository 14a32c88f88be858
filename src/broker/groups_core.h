/* broker/groups_core.h - what the files of groups.h share: the set itself, and how records of a group are written.
 *
 *     groups_write_begin(gs, &w);  …_record_add(&w, …);  if (groups_write_end(ge, &w, &e)) … ;       ge->seq is its sequence
 *
 * Used by: broker/groups*.c, and nobody else.   SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "broker/core.h"
#include "broker/groups.h"
#include "broker/offsets_record.h"
#include "broker/txn_offsets.h"

enum { GROUPS_BATCH_BYTES = 1 << 20 };                     /* tombstones are put into batches of about that */

struct groups {
    struct broker *broker;
    struct map by_id;
    struct group_entry **sorted;                           /* by id */
    size_t n, cap;
    size_t bytes;
    struct group_config config;
    struct cgroup_config consumer_config;
    struct arena arena;                                    /* effects of one step */
    struct timer expiry;
    uint64_t gone_seq;                                     /* of the last record that took a group away */
    struct codecs *codecs;
    struct buf batch;
    int64_t written;                                       /* offset of the first record of the last batch */
    struct list scans;                                     /* groups, in turn: see groups_scan.c */
    bool scanning;
    uint64_t consumers_made;
    struct txn_offsets pending;                            /* of transactions */
    bool *lost;                                            /* by partition of __consumer_offsets: see groups_is_lost() */
    int32_t lost_cap;
};

/* ---- groups.c ---- */
struct group_entry *groups_entry_new(struct groups *gs, struct str id);
void groups_entry_free(struct group_entry *ge);
int32_t groups_home(const struct groups *gs, struct str id);          /* its partition of __consumer_offsets; -1: there is no topic */
void groups_account(struct group_entry *ge);               /* after every change of what it holds */
void groups_write_begin(struct groups *gs, struct batch_builder *w);
enum rc groups_write_end(struct group_entry *ge, struct batch_builder *w, struct err *e) MUST_USE;

void groups_timer_set(struct group_entry *ge);             /* for the next tick it wants */

/* ---- groups_consumer.c ---- */
void groups_consumer_new(struct group_entry *ge);          /* ge->c is made, empty */
void groups_consumer_free(struct group_entry *ge);
void groups_consumer_tick(struct group_entry *ge);
void groups_consumer_wake(struct group_entry *ge);         /* after loading */

/* Writes what is dirty. Kafka's code; what is not written now is with the next step. */
int16_t groups_consumer_persist(struct group_entry *ge);
struct cgroup_world groups_world(struct groups *gs);

/* ---- groups_classic.c ---- */
/* A group with classic members becomes one of the newer protocol, ge->c, for the sake of a member that joins, which must be none of
 * them. Kafka's code; *ret_why says why not. */
int16_t groups_upgrade(struct group_entry *ge, struct str joins, const struct cgroup_world *world, const char **ret_why);
void groups_classic_reset(struct group_entry *ge);         /* ge->g is as if nobody had ever come */
/* Back, where it is time for that. True: ge->c is NULL. */
bool groups_downgrade(struct group_entry *ge);
void groups_classic_step(struct group_entry *ge, struct group_event *ev);      /* a request of a classic member of ge->c */

/* ---- groups_scan.c ---- */
enum { GROUPS_NAMES_AT_ONCE = 200 };                       /* topics that one heartbeat matches on the loop */
void groups_scan_want(struct group_entry *ge);             /* after every step that may have left something to match */
void groups_scan_turn(struct groups *gs);

/* ---- groups_offsets.c ---- */
/* One batch with all of them, staged; gs->written is the offset of the first. Kafka's code. opt NULL: a plain one. */
int16_t groups_stage_offsets(struct group_entry *ge, const struct batch_options *opt, const struct offset_put *puts, size_t n);
void groups_on_expiry(struct timer *t);

/* ---- groups_load.c ---- */
enum rc groups_load_partition(struct groups *gs, struct partition *p, struct err *e) MUST_USE;
