/* broker/fetch.h - Fetch: what a request asks of each partition, parked requests, and sessions that remember (KIP-227).
 *
 * A fetch is a list of parts. Without a session they live in the request's arena; a session keeps them between requests,
 * in the order in which they are served.
 * Lives on: the broker loop.   Used by: api/fetch.c, fetch_session.c, broker.c.   SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "broker/core.h"

struct fetch;

struct fetch_part {
    struct list wait;                    /* in partition->fetches while parked */
    struct list link;                    /* in the session, or in the fetch */
    struct fetch *fetch;                 /* parked for */
    struct str  topic;                   /* as asked; owned by a session, else a view */
    struct uuid id;
    int32_t number, max_bytes, leader_epoch, last_epoch;
    int64_t offset;
    int64_t sent_high, sent_start;       /* what the session's last answer said; -1: nothing */

    /* What the last look found. */
    struct partition *partition;         /* NULL: no such */
    struct topic *t;
    int16_t error;
    bool too_small;                      /* the limit, for the first batch */
    int64_t high, start, stable;         /* stable: everything below is decided (the LSO) */
    int32_t diverging_epoch;             /* -1: not diverging */
    int64_t diverging_end;
    struct log_slice slice;
    struct buf made;                     /* the slice as messages of an old format */
    int64_t skip;                        /* a reader of those has nothing to see below */
};

struct fetch_session {
    struct list link;                    /* the least recently used first */
    int32_t  id, epoch;                  /* epoch: expected next */
    bool     by_id;                      /* made by a request with topic ids */
    struct list parts;
    struct map  by_key;
    size_t   parts_n;
    uint64_t used_ms, made_ms;
    struct fetch *fetch;                 /* parked on it */
};

struct fetch_sessions { struct map by_id; struct list all; size_t n, max, parts_n; };
struct fetch_sessions *fetch_sessions_new(size_t max);
struct fetch_sessions *fetch_sessions_free(struct fetch_sessions *ss);           /* NULL is fine; returns NULL */
struct fetch_session *fetch_session_find(struct fetch_sessions *ss, int32_t id);
/* NULL: none is granted, all slots are in use. */
struct fetch_session *fetch_session_new(struct broker *b, size_t parts, bool by_id);
void fetch_session_drop(struct fetch_sessions *ss, struct fetch_session *s);
void fetch_session_touch(struct fetch_sessions *ss, struct fetch_session *s, uint64_t now_ms);
/* The part of that name; made when it is missing. */
struct fetch_part *fetch_session_put(struct fetch_sessions *ss, struct fetch_session *s, struct str topic, const struct uuid *id, int32_t number);
void fetch_session_forget(struct fetch_sessions *ss, struct fetch_session *s, struct str topic, const struct uuid *id, int32_t number);

/* For the broker's turn: parked fetches of partitions that moved, went, or must be answered with what there is. */
void fetches_moved(struct partition *p);
void fetches_gone(struct partition *p);
void fetches_turn(struct broker *b);
void fetches_drain(struct broker *b);
void old_fetches_turn(struct broker *b);                 /* memory may have come for what waits to be converted */
