/* broker/broker.h - the embedded, durable, single-node Kafka broker, as app and bus/embedded.c see it.
 *
 * One loop owns it: topics, partitions, groups and the sockets of Kafka clients. Everything here is called on that loop;
 * other threads post messages to its mailbox. A turn is broker_turn(): what was staged becomes one group of the wal,
 * and answers leave when the wal covers what they say.
 *
 * Operations (struct broker_append, _fetch, _watch, _wait) are structs the caller owns and lends until `done` runs:
 * exactly once, on the loop, never inside the starting call. On the way down they end with RC_CANCELLED.
 *
 * Lives on: the broker loop.   Used by: bus/embedded.c, app.   Inside of broker/ see core.h and api.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/buf.h"
#include "base/err.h"
#include "base/list.h"
#include "base/uuid.h"
#include "cred/oauth.h"
#include "net/tls.h"
#include "sys/timers.h"

struct broker;
struct clock;
struct fs;
struct groups;
struct loop;
struct mailbox;
struct partition;
struct log_large;
struct sasl;
struct topic;
struct workers;

struct broker_setting { struct str name, value; };   /* Kafka's own names: "log.retention.ms", "1000" */

struct broker_options {
    /* The loop it lives on … */
    struct loop *loop;
    /* … or, without one (simulation, tests), these; then the caller drains the mailbox, fires the timers and calls
     * broker_turn() after it. */
    const struct clock *clock;
    struct mailbox *mailbox;
    struct timers *timers;

    struct fs *fs;
    struct workers *workers;
    const char *dir;                     /* the data folder; created when missing */
    int32_t  node_id;                    /* 0: 1 */
    uint64_t memory_max;                 /* everything a peer can make the broker hold; 0: 256 MiB */
    uint32_t connections_max;            /* 0: 20000 */
    uint32_t topics_max;                 /* 0: 100000 */
    uint64_t wal_bytes_max;              /* 0: the store's default */
    struct str group_reserved;           /* nobody may join it: what its members would do is done in this process. Borrowed */
    bool     refuse_replication;         /* a replication factor above 1: error 38, as Kafka; else clamped to 1, said once */
    const struct broker_setting *settings;       /* broker.config of the configuration file; borrowed for the call */
    size_t   settings_n;

    bool     acls;                       /* what nobody is allowed is refused (broker/acl.h) */
    bool     allow_everyone_if_no_acl;
    const struct str *super_users;       /* "User:alice"; borrowed for the call */
    size_t   super_users_n;
    struct oauth_options oauth;          /* who signs bearer tokens; jwks empty: nobody. Borrowed for the call */
};

/* Opens the data folder (see store_open for RC_LOCKED, RC_CORRUPT …) and reads topics, groups and offsets. RC_INVALID: a
 * setting is not known or its value is refused. Nothing listens yet. */
enum rc broker_new(const struct broker_options *opt, struct broker **ret, struct err *e) MUST_USE;
/* Checks one setting without a broker; for `millrace config`. */
enum rc broker_setting_check(struct str name, struct str value, struct err *e) MUST_USE;

enum broker_protocol { BROKER_PLAINTEXT, BROKER_SSL, BROKER_SASL_PLAINTEXT, BROKER_SASL_SSL };
struct broker_listen {
    struct str name;                     /* of the listener: "kafka" */
    struct str host;                     /* to bind: an address or a name; */
    uint16_t   port;                     /* 0: any free one */
    struct str advertised_host;          /* what clients are told; empty: host */
    uint16_t   advertised_port;          /* 0: the bound one */
    enum broker_protocol protocol;
    unsigned   sasl;                     /* of enum sasl_mechanism (broker/sasl.h); for the SASL protocols */
    struct tls_options tls;              /* for the SSL protocols; borrowed for the call */
    struct str principal_rules;          /* what a client's certificate makes of its name (broker/principal.h); empty: the subject */
};
/* Needs a loop. *ret_port is the bound port. RC_EXISTS: the port is taken; RC_INVALID, RC_NOT_FOUND, RC_DENIED also: what the
 * certificate's files say. They are looked at again every few seconds: new connections get the new certificate. */
enum rc broker_listen(struct broker *b, const struct broker_listen *l, uint16_t *ret_port, struct err *e) MUST_USE;

/* The way down, in two steps. Drain: no new connections, parked requests are answered with what there is, nothing more
 * is read; broker_is_drained() becomes true when every answer has left. Free: whatever is left ends with RC_CANCELLED, the
 * store is written and closed. */
void broker_drain(struct broker *b);
bool broker_is_drained(const struct broker *b);
struct broker *broker_free(struct broker *b);            /* NULL is fine; returns NULL */
/* As a crash would: nothing is written any more. For tests. */
struct broker *broker_abandon(struct broker *b);

void broker_turn(struct broker *b);                      /* only without a loop */
struct mailbox *broker_mailbox(struct broker *b);        /* other threads post here */
struct str broker_cluster_id(const struct broker *b);    /* 22 characters; never changes */
uint32_t broker_start_number(const struct broker *b);
/* False: *ret_why says what is wrong (a failed write, a full disk); borrowed until the next turn. */
bool broker_is_ready(struct broker *b, struct str *ret_why);

/* ---- connections: frames in, replies out. The socket implementation is listener.c; a simulation is another. ---- */

/* A reply as it leaves: bytes, and pieces of files between them. Made by the broker, owned by the transport from send on. */
struct broker_reply;
/* The parts in order. *at starts at 0; false at the end. A part is either bytes (file NULL) or n bytes of `file` from
 * `offset` on; valid until the reply is freed. */
struct file;
struct broker_part { struct bytes bytes; struct file *file; uint64_t offset; size_t n; };
size_t broker_reply_parts(const struct broker_reply *r);
struct broker_part broker_reply_part(const struct broker_reply *r, size_t i);
size_t broker_reply_size(const struct broker_reply *r);          /* all parts, the 4-byte size included */
struct broker_reply *broker_reply_free(struct broker_reply *r);
struct broker_reply *broker_reply_next(const struct broker_reply *r);          /* a link for the transport's queue */
void broker_reply_set_next(struct broker_reply *r, struct broker_reply *next);

struct broker_conn;
struct broker_conn_ops {
    /* In the order of the requests. The transport owns the reply from here on and frees it when it has left. */
    void (*send)(struct broker_conn *c, struct broker_reply *r);
    /* The broker has done with this peer (a malformed frame, a failed acks=0 produce, …). The transport sends what was
     * given to send() before, closes, and calls broker_conn_fini(), not inside this call. Called at most once. */
    void (*close)(struct broker_conn *c);
    /* After BROKER_FRAME_LATER: offer that frame again, now or later. Called at the end of a turn. */
    void (*resume)(struct broker_conn *c);
};
/* The transport's connection embeds one. The fields are the broker's own. */
struct broker_conn {
    const struct broker_conn_ops *ops;
    struct broker *broker;
    struct broker_listener *listener;    /* which address it came in by: what clients are told */
    struct list link;                    /* in the broker's list of all */
    struct list requests;                /* in order of arrival, their answers not yet handed to send() */
    struct list ready_link;              /* has answers that may be ready to leave */
    struct list resume_link;             /* was told LATER, and waits for: its turn, room in the wal, memory */
    uint32_t requests_n, replies_n;      /* replies_n: handed to send(), not yet freed */
    uint64_t reply_bytes;
    bool     parked;                     /* the last request is: later ones wait */
    bool     waits;                      /* was told LATER */
    bool     closing;
    bool     inside;                     /* this process asks: may do everything */
    uint64_t muted_until_ms;             /* above a quota: what it sends waits until then */
    struct timer mute_timer;
    char     peer[64];                   /* address and port, for diag */
    char     host[48];                   /* the address alone, as access control lists name it */
    struct str principal;                /* "User:alice"; owned; .p NULL: nobody asked (User:ANONYMOUS) */
    struct sasl *sasl;                   /* how far its authentication is; NULL: the listener asks nobody */
    struct str software_name, software_version;      /* from ApiVersions; owned */
};
/* listener: from broker_listener_first() or the socket it came in by. */
void broker_conn_init(struct broker_conn *c, struct broker *b, struct broker_listener *listener,
                      const struct broker_conn_ops *ops, struct str peer);
void broker_conn_fini(struct broker_conn *c);            /* the peer is gone: parked requests are dropped */
/* After init: the peer is this process itself, in whose name nobody is asked and everything allowed. Its listener only says which
 * address answers name. */
void broker_conn_inside(struct broker_conn *c);
struct broker_listener *broker_listener_first(const struct broker *b);         /* NULL: none */

enum broker_frame_result {
    BROKER_FRAME_DONE,                   /* taken; the bytes may be overwritten */
    BROKER_FRAME_LATER,                  /* not taken: keep it, read no further, offer it again after resume() */
    BROKER_FRAME_CLOSE                   /* the peer broke the protocol; close() has been called */
};
/* One request without its 4-byte size. The bytes are the transport's and are patched in place (a produced batch gets its
 * offset there). If the frame stands alone in `owner` (p == owner->p), the broker may take that buf to save a copy of a
 * large one; owner may be NULL for frames up to 8 MiB. */
enum broker_frame_result broker_conn_frame(struct broker_conn *c, uint8_t *p, size_t n, struct buf *owner);
/* Can a frame begin like this? At least the 4 bytes of its size, six tell more. False: close. (A size above
 * socket.request.max.bytes, above 100 MiB for what is no Produce, or garbage such as "GET " or TLS.) */
bool broker_frame_begins_ok(struct broker_conn *c, struct bytes start);
/* The client's certificate says who it is: "User:…" is copied. Before its first frame. */
void broker_conn_principal(struct broker_conn *c, struct str principal);
/* A listener that is no socket: what it advertises is all there is. Lives as long as the broker. */
struct broker_listener *broker_listener_add(struct broker *b, struct str name, struct str host, uint16_t port);

/* ---- topics, from inside the process ---- */

struct broker_topic_spec {
    struct str name;
    int32_t partitions, replication;     /* -1: the broker's default */
    const struct broker_setting *configs;
    size_t configs_n;
    bool internal;                       /* __consumer_offsets, __transaction_state */
};
/* Staged: true for everybody from now on, on disk when *ret_seq is (see broker_wait_start).
 * RC_EXISTS; RC_INVALID name, counts or config; RC_OVERLOAD topicsMax, or the wal is full; RC_DISK_FULL, RC_FATAL. */
enum rc broker_topic_create(struct broker *b, const struct broker_topic_spec *spec, struct topic **ret,
                            uint64_t *ret_seq, struct err *e) MUST_USE;
enum rc broker_topic_delete(struct broker *b, struct str name, uint64_t *ret_seq, struct err *e) MUST_USE;  /* RC_NOT_FOUND */
struct topic *broker_topic(struct broker *b, struct str name);                 /* NULL: none */
struct topic *broker_topic_next(struct broker *b, const struct topic *after);  /* by name; NULL gives the first; any order of calls */
struct str  topic_name(const struct topic *t);
struct uuid topic_uuid(const struct topic *t);
int32_t     topic_partitions(const struct topic *t);
bool        topic_is_internal(const struct topic *t);
uint64_t    topic_seq(const struct topic *t);            /* its last metadata record: answers about it wait for that */
/* The value in force and how it came about; the str is valid until the config changes. False: no such config. */
bool        topic_config(struct broker *b, const struct topic *t, struct str name, struct str *ret_value);
struct partition *broker_partition(struct broker *b, struct str topic, int32_t number);      /* NULL: none */
int64_t partition_start(struct partition *p);
int64_t partition_high(struct partition *p);             /* high watermark: the durable end */
/* Below it every transaction is decided: where readers inside stop. Needs a look at the files after a start: RC_IO … */
enum rc partition_stable(struct partition *p, int64_t *ret, struct err *e) MUST_USE;
int64_t partition_end(struct partition *p);              /* with what is staged */
/* What an answer waits for that tells partition_start(), and one that says that a topic is not there. */
uint64_t partition_start_seq(struct partition *p);
uint64_t broker_topics_seq(const struct broker *b);

/* Waits until seq is on disk. RC_FATAL: it will never be. */
struct broker_wait { struct list link; uint64_t seq; enum rc rc; void (*done)(struct broker_wait *w); };
void broker_wait_start(struct broker *b, struct broker_wait *w, uint64_t seq);
void broker_wait_cancel(struct broker_wait *w);          /* done will not run */

/* ---- append ---- */
enum broker_append_flags {
    BROKER_APPEND_NO_WAIT = 1,           /* done when staged: flow.durability cache */
    BROKER_APPEND_RESERVE = 2,           /* may use the disk reserve: outcomes */
};
/* Batches appended by the bus carry this producer id (epoch 0, sequence -1), so that what came from outside can be told
 * apart, after a restart too. No client is given it, and none may use it. */
#define BROKER_BUS_PRODUCER_ID INT64_C(0x6d696c6c72616365)

struct broker_append {
    struct str topic;                    /* borrowed until done */
    int32_t    partition;
    unsigned   flags;
    struct buf batch;                    /* one whole v2 batch made by us, base offset 0; moved in by broker_append() */
    void (*done)(struct broker_append *a);

    struct err err;                      /* out: RC_OK; RC_NOT_FOUND, RC_INVALID, RC_TOO_LARGE, RC_DISK_FULL, RC_FATAL, … */
    int64_t base_offset;                 /* out */
    struct list link;                    /* the broker's until done, as is what follows */
    struct broker *broker;
    struct partition *to;
    struct log_large *large;             /* above 8 MiB: on its way to a file of its own */
    bool     prepared;                   /* … and there */
    bool     of_bus;
    uint64_t seq;
};
/* In order per partition. While the wal is full it waits inside. */
void broker_append(struct broker *b, struct broker_append *a);

/* ---- fetch ---- */
struct broker_fetch {
    struct str topic;                    /* borrowed until done */
    int32_t    partition;
    int64_t    offset;                   /* -1: the start, -2: the end of what is decided */
    size_t     size_max;                 /* the first batch comes whole even if it is larger */
    uint64_t   deadline_ms;              /* monotonic: how long to wait for the first batch; 0: not at all */
    void (*done)(struct broker_fetch *f);

    struct err err;                      /* out: RC_OK, also with no batch; RC_NOT_FOUND topic; RC_INVALID: offset out of range */
    struct buf batches;                  /* out: whole batches, the first holds `offset`; the caller's to drop. Aborted ones are marked as control */
    int64_t start_offset, end_offset;    /* out: log start, and the end of what is decided */
    struct list link;                    /* the broker's until done, as is what follows */
    struct timer timer;
    struct broker *broker;
    struct partition *from;
};
void broker_fetch(struct broker *b, struct broker_fetch *f);
void broker_fetch_cancel(struct broker_fetch *f);        /* done runs in the next turn with RC_CANCELLED */

/* ---- watch: what others than the bus appended ---- */
struct broker_watch {
    struct str topic;                    /* borrowed until done */
    int32_t    partition;
    int64_t    offset;                   /* >= 0, -1 start, -2 end */
    /* Whole batches without the bus's own, borrowed for the call; next_offset is where it would go on. Again only after
     * broker_watch_more(). */
    void (*batches)(struct broker_watch *w, struct bytes batches, int64_t next_offset);
    /* Once: stopped (RC_CANCELLED), topic gone (RC_NOT_FOUND), what it was about to hand over is gone (RC_INVALID), partition
     * offline. */
    void (*done)(struct broker_watch *w);

    struct err err;
    struct list link;                    /* the broker's until done, as is what follows */
    struct broker *broker;
    struct partition *from;
    bool wants, stopped, tell;
};
void broker_watch(struct broker *b, struct broker_watch *w);
void broker_watch_more(struct broker_watch *w);
void broker_watch_tell(struct broker_watch *w);  /* `batches` is called when it wants more, if need be with none */
void broker_watch_stop(struct broker_watch *w);

/* All consumer groups and their committed offsets: broker/groups.h. */
struct groups *broker_groups(struct broker *b);

/* ---- counters ---- */
struct broker_stats {
    uint64_t connections, connections_total, connections_refused, frames_bad;
    uint64_t logins, logins_failed, sessions_expired, handshakes, handshakes_failed, handshakes_resumed, denied;
    uint64_t throttled, throttled_ms;    /* answers that told their client to be silent, and for how long in all */
    uint64_t requests, requests_parked, reply_bytes, request_bytes;
    uint64_t produce_bytes, produce_batches, produce_errors, fetch_bytes, fetch_batches;
    uint64_t topics, partitions, fetch_sessions, memory_used;
};
void broker_stats(struct broker *b, struct broker_stats *ret);
/* Every number there is, one call each; labels is what stands between the braces, escaped, or empty. Borrowed for the
 * call. Topics without traffic since the start are left out. */
typedef void (*broker_metric_fn)(void *ctx, bool is_counter, const char *name, const char *help, struct str labels, double value);
void broker_metrics(struct broker *b, broker_metric_fn fn, void *ctx);
