/* tests/sim/client.h - what all clients of a simulated run have in common: a connection that comes back, requests whose answers
 * are waited for, and patience that ends.
 *
 * A kind of client is a struct with a struct client at its beginning, and the functions below. Everything it draws comes from
 * the world; everything it does and sees goes into the history. SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "base/arena.h"
#include "kafka/batch_build.h"
#include "kafka/errors.h"
#include "kafka/message.h"
#include "kafka/msg/all.h"
#include "world.h"

struct call {
    struct list link;
    int16_t key, version;
    int32_t correlation;
    uint32_t begun;                      /* its event in the history */
    uint64_t tag;                        /* the asker's, and so are the two below */
    uint32_t log;
    void *ctx;
    /* Exactly once. The response lives until it returns; NULL: the connection is lost. */
    void (*done)(struct client *c, struct call *k, const void *response);
};

struct client_kind {
    const char *name;
    size_t size;
    bool reads;                          /* comes to its end after those who write */
    bool inside;                         /* has no connection, but the bus: up and down are never called */
    void (*up)(struct client *c);        /* a connection is there */
    void (*down)(struct client *c);      /* it is lost; the calls have ended. May be NULL */
    void (*wake)(struct client *c);      /* after client_wake(), while connected */
    bool (*is_done)(struct client *c);   /* asked while the world is finishing */
    void (*fini)(struct client *c);      /* may be NULL */
};

struct client {
    struct list link;                    /* in world.clients */
    struct world *w;
    const struct client_kind *kind;
    unsigned id;
    struct sim_conn conn;
    struct list calls;
    struct timer wake, patience;
    uint64_t patience_us;
    int32_t correlation;
    struct arena arena;                  /* for what is built and decoded; emptied when no call is under way */
};

void *client_new(struct world *w, const struct client_kind *kind);
void client_free(struct client *c);
void client_wake(struct client *c, uint64_t us);
struct call *client_ask(struct client *c, int16_t key, int16_t version, const void *request,
                        void (*done)(struct client *c, struct call *k, const void *response));
/* ListOffsets of one log: -2 the start, -1 the end; committed: the last stable offset. */
struct call *client_ask_offset(struct client *c, uint32_t log, int64_t timestamp, bool committed,
                               void (*done)(struct client *c, struct call *k, const void *response));
/* Fetch of one log alone, without a session. */
struct fetch_terms { int32_t max_wait_ms, bytes_max; bool committed; };
struct call *client_ask_fetch(struct client *c, uint32_t log, int64_t from, struct fetch_terms terms,
                              void (*done)(struct client *c, struct call *k, const void *response));
void client_tell(struct client *c, int16_t key, int16_t version, const void *request);     /* no answer will come */
void client_frame(struct client *c, struct bytes frame);      /* the world's */
void client_lost(struct client *c);                           /* the world's */
static inline bool client_is_up(const struct client *c) { return c->conn.open; }
static inline bool client_waits(const struct client *c) { return !list_empty(&c->calls); }

/* The logs that carry values. Their numbers are those of the history. */
struct data_log { char topic[16]; int32_t partition; bool compacted, trimmed, large; };      /* large: takes large batches */
extern const struct data_log data_logs[DATA_LOGS];

uint32_t data_log_of(struct str topic, int32_t partition);

/* What a fetch brought of one log, for a reader that stands at *position: its records go into the history, and the position
 * moves on. txn: the transaction in which it was read, or 0. */
void records_take(struct client *c, uint32_t log, bool committed, uint32_t txn,
                  const struct fetch_response_partition *p, int64_t *position);

/* ---- who has a share of the logs ---- */

/* One of those he owns; DATA_LOGS: there is none. */
uint32_t any_of_share(struct world *w, const bool owns[DATA_LOGS]);
void share_fetch(struct client *c, uint32_t log, int64_t from, void (*done)(struct client *c, struct call *k, const void *response));
/* What it brought goes into the history, and wakes him again; where nothing is left to read, *quiet counts down. A position that
 * is out of range: the log's start is asked for. */
void share_take(struct client *c, struct call *k, const struct fetch_response *a, int64_t *position, unsigned *quiet,
                void (*on_start)(struct client *c, struct call *k, const void *response));

/* ---- the kinds ---- */
struct client *producer_new(struct world *w);
struct client *transactor_new(struct world *w, unsigned id);       /* who has the same id fences the other */
enum { PROCESSOR_GROUPS = 2 };
extern const char *const processor_groups[PROCESSOR_GROUPS];       /* without and with members */
struct client *processor_new(struct world *w, bool shares);
struct client *reader_new(struct world *w, bool committed);
struct client *member_new(struct world *w, const char *group, bool fixed);
struct client *subscriber_new(struct world *w, const char *group);
struct client *admin_new(struct world *w);
struct client *committer_new(struct world *w, const char *group);
struct client *submitter_new(struct world *w, const char *group);  /* these two use the bus */
struct client *watcher_new(struct world *w);
/* Reads every log from its start to its end, then ends it with EVENT_FINAL. */
struct client *auditor_new(struct world *w, bool committed);
