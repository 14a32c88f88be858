/* bus/bus.h - what flows may ask of any log: the embedded broker, or a Kafka far away. The only door.
 *
 * Every operation is a struct the caller owns and lends to the bus until its `done` is called: exactly once, on the
 * loop whose mailbox is `op.reply_to`, also when it fails, times out or the bus closes. Starting one never blocks and
 * may be done from any loop. What an operation points at (topic names, groups) is borrowed until done; records are
 * copied at once. Results live in the operation until the caller drops them with the matching …_fini().
 * Two implementations: bus/embedded.c (mailbox to the broker loop) and bus/remote.c (librdkafka).
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "sys/mailbox.h"

struct bus;
struct bus_uuid { uint8_t b[16]; };              /* a topic id */

struct bus_op {
    struct msg msg;                              /* the bus's own until done */
    struct mailbox *reply_to;                    /* where `done` is to run */
    uint64_t deadline_ms;                        /* monotonic; RC_TIMEOUT after it. 0 = only the bus's own ceiling */
    struct err err;                              /* out: err.rc is RC_OK or why not */
    void (*done)(struct bus_op *op);
};

struct bus_header { struct str key; struct bytes value; };           /* value.p NULL = null */
struct bus_record {
    int64_t offset;                              /* out only */
    int64_t timestamp_ms;                        /* -1: now */
    struct bytes key, value;                     /* .p NULL = null */
    struct bus_header *headers;
    size_t headers_n;
};

/* Appends the records to one partition, in order. Appends of one loop to one partition keep their order.
 * RC_OK: in the log (on disk for BUS_DISK), `offset` is the first record's. RC_TIMEOUT on remote: unknown whether, or not all.
 * RC_NOT_FOUND, RC_TOO_LARGE (before it travels), RC_DISK_FULL, RC_OVERLOAD, RC_UNAVAILABLE, RC_FATAL. */
enum bus_durability { BUS_DISK, BUS_CACHE };     /* acks=all / acks=1 on remote */
struct bus_append {
    struct bus_op op;
    struct str topic;
    int32_t partition;
    enum bus_durability durability;
    bool reserve;                                /* an outcome: may use the disk reserve (embedded) */
    bool aside;                                  /* nobody waits for it: it may go a little later than, and keeps no
                                                    order with, what is not (remote: a connection of its own) */
    int64_t offset;                              /* out */
    void *priv;                                  /* the bus's own */
};
void bus_append(struct bus *b, struct bus_append *a, const struct bus_record *records, size_t n);

/* Reads records from `offset` on: at least one if any exists, about size_max bytes; waits for the first until wait_ms
 * has passed (then RC_OK with none). Control records are left out; next_offset says where to go on. */
struct bus_fetch {
    struct bus_op op;
    struct str topic;
    int32_t partition;
    int64_t offset;                              /* -1: the start, -2: the end; one that is not there: RC_INVALID */
    size_t size_max;
    uint64_t wait_ms;
    struct bus_record *records;                  /* out; owned by the fetch */
    size_t records_n;
    int64_t next_offset, start_offset, end_offset;   /* out; end: of what readers may see (transactions decided) */
    void *priv;
};
void bus_fetch(struct bus *b, struct bus_fetch *f);
void bus_fetch_fini(struct bus_fetch *f);        /* drops the records; the struct may be used again */

/* Tells, until stopped, of records appended to a partition by others than this process's bus (from outside), from
 * `offset` on. `records` is called on reply_to's loop with records borrowed for the call; more come only after
 * bus_watch_more(). On remote the own records come too: the millrace-run header tells them apart.*/
struct bus_watch {
    struct bus_op op;                            /* done: once, after bus_watch_stop() or when it cannot go on (err) */
    struct str topic;
    int32_t partition;
    int64_t offset;                              /* >= 0, -1 start, -2 end; once it is not there any more: RC_INVALID */
    void (*records)(struct bus_watch *w, const struct bus_record *records, size_t n, int64_t next_offset);
    void *priv;
};
void bus_watch(struct bus *b, struct bus_watch *w);
void bus_watch_more(struct bus *b, struct bus_watch *w);
/* How far is it? `records` is called soon, with n = 0 unless there is something to hand over; then, as ever, more has
 * to be asked for. While a piece handed over is still out, that follows the next bus_watch_more(). */
void bus_watch_tell(struct bus *b, struct bus_watch *w);
void bus_watch_stop(struct bus *b, struct bus_watch *w);

/* Makes sure a topic exists. What the cluster refuses (partitions, replication, configs) is retried with its default
 * and said in diag; the effective values come back. RC_OK also when it existed. */
struct bus_config { struct str name, value; };
struct bus_topic {
    struct bus_op op;
    struct str topic;
    int32_t partitions, replication;             /* in: wanted (-1: the cluster's default); out: effective; 0 = none */
    const struct bus_config *configs;            /* ensure only; borrowed */
    size_t configs_n;
    struct bus_uuid id;                          /* out; remote: made of the name, so the same when it is made again; see
                                                    docs/on-kafka.md for how that is noticed all the same */
    int64_t *start_offsets, *end_offsets;        /* out of describe: one per partition, owned by the op */
    char cleanup_policy[32];                     /* out of describe */
    bool created;                                /* out of ensure */
    void *priv;
};
void bus_topic_ensure(struct bus *b, struct bus_topic *t);
void bus_topic_describe(struct bus *b, struct bus_topic *t);       /* RC_OK with partitions = 0: no such topic */
void bus_topic_delete(struct bus *b, struct bus_topic *t);         /* RC_NOT_FOUND when it does not exist */
void bus_topic_fini(struct bus_topic *t);

/* All topics whose name starts with prefix, and how many partitions each has. */
struct bus_topics { struct bus_op op; struct str prefix; struct str *names; int32_t *partitions; size_t names_n; void *priv; };
void bus_topics(struct bus *b, struct bus_topics *t);
void bus_topics_fini(struct bus_topics *t);

/* Committed offsets of a group, without membership. metadata at most 4096 bytes. */
struct bus_offset { int32_t partition; int64_t offset; /* -1 = none */ struct str metadata; };
struct bus_commit {
    struct bus_op op;
    struct str group, topic;
    struct bus_offset *offsets;                  /* commit: in, borrowed. committed: out, owned by the op */
    size_t offsets_n;                            /* committed: in, how many partitions from 0 on */
    void *priv;
};
void bus_commit(struct bus *b, struct bus_commit *c);
void bus_committed(struct bus *b, struct bus_commit *c);           /* one entry per partition */
/* All its offsets; with offsets_n, only those of the topic in partitions 0 to n - 1. RC_OK when there is none. */
void bus_group_delete(struct bus *b, struct bus_commit *c);
void bus_committed_fini(struct bus_commit *c);

/* Who else reads: groups whose id contains one of `parts` and whose members read one of the topics, each such pair once, at most
 * BUS_READERS_MAX. Groups without members do not count. */
enum { BUS_READERS_MAX = 1000 };
struct bus_reader { struct str group; size_t topic; };               /* topic: its place in `topics` */
struct bus_readers {
    struct bus_op op;
    const struct str *parts, *topics;            /* in, borrowed until done */
    size_t parts_n, topics_n;
    struct bus_reader *list;                     /* out, owned by the op */
    size_t n;
    struct arena arena;                          /* of `list` */
    void *priv;
};
void bus_readers(struct bus *b, struct bus_readers *r);
void bus_readers_fini(struct bus_readers *r);

/* Shares the partitions of a topic, as numbers, with the other members of a group; nothing is read. Remote only: an embedded
 * bus has one process, which owns everything (RC_UNSUPPORTED). `taken` and `wanted` are called on reply_to's loop, numbers
 * borrowed. What is wanted back is given up by bus_given(): until then nobody else gets it, unless it is `lost`: then somebody
 * else may have it already, and there is nothing to give. RC_INVALID from `done`: another kind of member holds the group. */
struct bus_member {
    struct bus_op op;                            /* done: once, after bus_leave() or when it cannot go on (err) */
    struct str group, topic;
    void (*taken)(struct bus_member *m, const int32_t *numbers, size_t n);
    void (*wanted)(struct bus_member *m, const int32_t *numbers, size_t n, bool lost);
    void *priv;
};
void bus_join(struct bus *b, struct bus_member *m);
void bus_given(struct bus *b, struct bus_member *m);
void bus_leave(struct bus *b, struct bus_member *m);

/* One request in Kafka's own protocol, in the name of this process, and its answer: administration for which the bus has no words
 * of its own. Embedded nothing is refused for lack of a right; on remote the cluster decides, and each request is a connection.
 * RC_INVALID: not a request that administration needs (bus_ask_allows). */
enum { BUS_ASK_ANY = -1, BUS_ASK_CONTROLLER = -2, BUS_ASK_BYTES_MAX = 16 << 20 };
struct bus_ask {
    struct bus_op op;
    struct bytes frame;                          /* in: header and body without the size in front; borrowed until done */
    int32_t node;                                /* in: the broker's number, or one of the above. Embedded there is only one */
    struct buf answer;                           /* out, owned by the op: header and body without the size */
    void *priv;
};
void bus_ask(struct bus *b, struct bus_ask *a);
void bus_ask_fini(struct bus_ask *a);
bool bus_ask_allows(struct bytes frame);         /* whole header, and an API for administration: nothing with records, no waiting */

/* Facts that never change while the bus is open. */
struct bus_facts {
    char cluster_id[64];
    char incarnation[40];                        /* start number (embedded) or 128 random bits in hex (remote) */
    bool embedded;
};
const struct bus_facts *bus_facts(const struct bus *b);
/* Ready to append now? If not, *ret_why (borrowed until the next call on this thread) says why. Any thread. */
bool bus_ready(const struct bus *b, struct str *ret_why);

/* Nothing new should be begun: it has not been ready for BUS_AWAY_MS. What is shorter is waited out: a leader moves, a broker is
 * started again. Any thread. */
enum { BUS_AWAY_MS = 5000 };
bool bus_away(const struct bus *b, struct str *ret_why);

/* An implementation is a struct of functions; `struct bus` is its first member. Same contracts as above. */
struct capabilities;
struct bus_ops {
    void (*append)(struct bus *b, struct bus_append *a, const struct bus_record *records, size_t n);
    void (*fetch)(struct bus *b, struct bus_fetch *f);
    void (*watch)(struct bus *b, struct bus_watch *w);
    void (*watch_more)(struct bus *b, struct bus_watch *w);
    void (*watch_tell)(struct bus *b, struct bus_watch *w);
    void (*watch_stop)(struct bus *b, struct bus_watch *w);
    void (*topic_ensure)(struct bus *b, struct bus_topic *t);
    void (*topic_describe)(struct bus *b, struct bus_topic *t);
    void (*topic_delete)(struct bus *b, struct bus_topic *t);
    void (*topics)(struct bus *b, struct bus_topics *t);
    void (*commit)(struct bus *b, struct bus_commit *c);
    void (*committed)(struct bus *b, struct bus_commit *c);
    void (*group_delete)(struct bus *b, struct bus_commit *c);
    void (*readers)(struct bus *b, struct bus_readers *r);
    void (*join)(struct bus *b, struct bus_member *m);       /* these three may be NULL: RC_UNSUPPORTED */
    void (*given)(struct bus *b, struct bus_member *m);
    void (*leave)(struct bus *b, struct bus_member *m);
    void (*ask)(struct bus *b, struct bus_ask *a);
    bool (*ready)(const struct bus *b, struct str *ret_why);
    bool (*away)(const struct bus *b, struct str *ret_why);      /* NULL: never, since it is in this process */
    enum rc (*capabilities)(struct bus *b, struct capabilities *ret, struct err *e);     /* may be NULL; see bus/capabilities.h */
    void (*close)(struct bus *b);                /* completes everything with RC_CANCELLED first; frees */
};
void readers_add(struct bus_readers *r, struct str group, size_t topic);       /* for implementations: a pair was found */
bool readers_mean(const struct bus_readers *r, struct str group);              /* … its id contains one of the parts */
struct bus { const struct bus_ops *ops; struct bus_facts facts; };
struct bus *bus_close(struct bus *b);            /* NULL is fine; returns NULL */
