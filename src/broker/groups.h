/* broker/groups.h - all consumer groups of the broker: their state machines, their committed offsets, and the record of
 * both in __consumer_offsets.
 *
 * A group is changed in memory at once; what is said about it waits for the wal: every answer carries the group's `seq`.
 * A restart reads the topic from its start and finds the groups as their last records say.
 *
 * Owns: groups and their offsets.   Lives on: the broker loop.   Used by: broker/api, broker.c, bus/embedded.c.
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/err.h"
#include "broker/cgroup.h"
#include "broker/group.h"
#include "broker/offsets.h"
#include "broker/txns.h"
#include "sys/timers.h"

#define GROUPS_TOPIC STR("__consumer_offsets")

struct broker;
struct broker_stats;
struct groups;

struct group_entry {
    struct group g;                        /* of the classic protocol; without members while c is there */
    struct cgroup *c;                      /* NULL, or a group of the newer protocol */
    struct offsets offsets;
    struct groups *groups;
    struct timer timer;                    /* its next tick */
    uint64_t seq;                          /* of its last record */
    bool on_record;                        /* a record says that it exists */
    size_t counted;                        /* its share of groups->bytes */
    struct list scan_link;                 /* in groups.scans: a regular expression of its waits for a worker */
};

/* Creates __consumer_offsets where it is missing and reads it. Before any listener opens. */
enum rc groups_new(struct broker *b, struct groups **ret, struct err *e) MUST_USE;
struct groups *groups_free(struct groups *gs);             /* NULL is fine; returns NULL; parked requests are forgotten */
void groups_drain(struct groups *gs);                      /* the way down: whoever waits for a rebalance is sent away */
/* Call before the topic's deletion is staged: its offsets go first. */
void groups_topic_gone(struct groups *gs, struct str topic);

struct group_entry *groups_find(const struct groups *gs, struct str id);        /* NULL: none */
/* Finds or makes it. NULL: there is no room for another (RC_OVERLOAD to the peer). */
struct group_entry *groups_get(struct groups *gs, struct str id);
/* By id; NULL gives the first. */
struct group_entry *groups_next(const struct groups *gs, const struct group_entry *after);
/* The part of __consumer_offsets that this group is recorded in could not be read at the start: nothing is known of it, and nothing
 * is said but COORDINATOR_NOT_AVAILABLE. `millrace log verify --repair` puts that right. */
bool groups_is_lost(const struct groups *gs, struct str id);
/* Is that so of any? Then a list of all groups would not be one. */
bool groups_any_is_lost(const struct groups *gs);
/* What an answer waits for that says that a group is not there. */
uint64_t groups_gone_seq(const struct groups *gs);
size_t groups_count(const struct groups *gs);
size_t groups_bytes(const struct groups *gs);
bool groups_have_room(const struct groups *gs, size_t more);

/* Who asks a group something is told through this; it must live until then. `seq`: what the answer has to wait for. */
struct group_asker { void (*answer)(struct group_asker *a, const struct group_fx *fx, uint64_t seq); };
/* One event, and what follows from it: records are staged, askers are answered, the timer is set. ev->token is a struct
 * group_asker; times are filled in here. The entry is still there afterwards, also when it is dead: see groups_remove. */
void groups_step(struct group_entry *ge, struct group_event *ev);
bool groups_session_ok(const struct groups *gs, int32_t session_timeout_ms);

/* ---- both protocols ---- */
struct str group_entry_state(const struct group_entry *ge);            /* as Kafka's tools print it */
struct str group_entry_type(const struct group_entry *ge);             /* "classic", "consumer" */
bool group_entry_is_empty(const struct group_entry *ge);               /* no members */
/* Are its members subscribed to this topic? True also where that cannot be told. */
bool group_entry_subscribes(const struct group_entry *ge, struct str topic);

/* ---- the newer protocol: groups_consumer.c ---- */
/* A heartbeat that has passed cgroup_beat_check(), with all that follows; the group is found or made. */
void groups_beat(struct groups *gs, struct str group, const struct cgroup_beat *q, struct arena *a, struct cgroup_answer *ret,
                 uint64_t *ret_seq);
/* For cgroup_beat.reader: whose eyes a regular expression is matched for. */
struct str groups_reader(const struct groups *gs, struct arena *a, struct str principal, struct str host);
/* What holds for this group; good until the next call. */
const struct cgroup_config *groups_consumer_config(struct groups *gs, struct str group);
/* A classic member wants to join: a group of the newer protocol, without members, becomes a classic one. Kafka's code. */
int16_t groups_make_classic(struct group_entry *ge);

/* ---- offsets ---- */
struct offset_put { struct str topic; struct committed committed; };
/* Stages one batch with all of them and applies it; all or nothing. Returns Kafka's code. Nothing else is checked. */
int16_t groups_put_offsets(struct group_entry *ge, const struct offset_put *puts, size_t n);
/* The same inside a transaction: they are pending until groups_txn_end. */
int16_t groups_put_offsets_txn(struct group_entry *ge, struct producer_ident who, const struct offset_put *puts, size_t n);
/* A marker was written to that partition of __consumer_offsets. */
void groups_txn_end(struct groups *gs, int32_t home, int64_t producer_id, bool commit);
bool groups_offset_is_pending(const struct groups *gs, struct str group, struct str topic, int32_t partition);
struct offset_del { struct str topic; int32_t partition; };
/* Those that are there; *ret_n counts them. */
int16_t groups_delete_offsets(struct group_entry *ge, const struct offset_del *dels, size_t n, size_t *ret_n);
/* May these ids commit now? Kafka's code; 0: yes, and the member's session goes on. */
int16_t groups_may_commit(struct group_entry *ge, struct str member_id, struct str instance_id, int32_t generation);

/* DeleteGroups: with its offsets. Kafka's code; on 0 *ge is gone and *ret_seq says what the answer waits for. */
int16_t groups_remove(struct group_entry **ge, uint64_t *ret_seq);
int16_t groups_error(const struct err *e);                 /* what a failed append is called in group APIs */
