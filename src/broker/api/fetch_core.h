/* broker/api/fetch_core.h - one Fetch request under way, for the two files that answer it: api/fetch.c, and api/old_fetch.c for consumers from
 * before Kafka 0.11.
 *
 * Lives on: the loop.   Used by: those two.   SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "broker/api.h"
#include "broker/fetch.h"

enum { FETCH_OLD_FORMATS_BELOW = 4 }; /* versions that know no record batches */

struct fetch {
    struct list woken; /* in broker.fetches_woken */
    struct request *r;
    const struct fetch_request *q;
    struct fetch_session *session; /* NULL: none */
    bool incremental;
    struct list parts; /* without a session */
    size_t bytes, min_bytes, max_bytes;
    bool hard_limits, read_committed;
    bool at_once; /* waiting would not help */
    size_t parts_n, parts_unknown;
    uint64_t start_seq; /* what the starts of the logs rest on */
    uint64_t until_ms;  /* waits no longer */

    /* Of a fetch in an old format. */
    struct old_fetch *old; /* a worker is at it, or will be */
    uint64_t reserved;     /* memory for what it made */
    bool charged;          /* against the quota, before a worker had it */
};

static inline struct list *fetch_parts(struct fetch *f)
{
    return f->session ? &f->session->parts : &f->parts;
}
static inline bool fetch_is_old(const struct fetch *f)
{
    return request_version(f->r) < FETCH_OLD_FORMATS_BELOW;
}

/* ---- api/fetch.c ---- */
/* Reads all parts within the limits, but those that have messages already. True: enough to answer, or waiting would not help. */
bool fetch_look(struct fetch *f);
void fetch_answer(struct fetch *f);              /* with what the look has found; an old format takes a worker first */
void fetch_reply(struct fetch *f, bool empty);   /* with what there is now */
void fetch_park(struct fetch *f);                /* until a partition moves, or until_ms */
void fetch_unpark(struct fetch *f);
void fetch_parts_drop(struct fetch *f);          /* what the look has found, and the messages made of it */

/* ---- api/old_fetch.c ---- */
/* False: it is in no old format, or there is nothing to convert. True: the fetch is parked, and answered when a worker has done. */
bool old_fetch_begin(struct fetch *f);
/* For versions without first_whole: a batch is there, and above their limit. A message says so that does not end within it. */
struct bytes old_fetch_cut(struct fetch *f, const struct fetch_part *p);
