/* bus/remote_core.h - what the parts of the remote bus share. Used by: bus/remote*.c only.
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/list.h"
#include "base/map.h"
#include "bus/remote.h"
#include "bus/remote_access.h"
#include "bus/remote_gate.h"
#include "bus/remote_lib.h"
#include "bus/trouble.h"
#include "net/loop.h"
#include "sys/thread.h"
#include "sys/worker.h"
#include <pthread.h>
#include <stdatomic.h>

/* A broker answers the requests of a connection one after the other: what nobody waits for has producers of its own, which
 * also wait a little for company. */
enum remote_lane { LANE_ALL, LANE_ONE, LANE_ALL_ASIDE, LANE_ONE_ASIDE, LANES_N };    /* acks=all, acks=1 */

struct remote_sender {                           /* a producer; on the loop but for produceva */
    struct list       link;                      /* in remote.retired */
    rd_kafka_t       *rk;
    rd_kafka_queue_t *queue;
    struct watch      watch;
    int               wake[2];                   /* the library writes [1], the loop watches [0] */
    struct remote    *r;
    enum remote_lane  lane;
    struct map        topics;                    /* asked about by this client */
    size_t            out;                       /* records whose report has not come, and questions on their way */
    unsigned          held;                      /* jobs of administration that use it; under remote.admin_lock */
    bool              retired;                   /* another has taken its place */
    bool              first;                     /* the bus's first: it was asked about topics when they were made sure of */
    bool              gives_back;                /* purged for its successor, which takes what was certainly not written */
};

struct remote_reader;                            /* remote_read.c */
struct membership;                               /* remote_member.c */

/* The library allows a partition once per client: two readers of one partition use two. Those that are watched and those
 * that are fetched from sit on different clients, since a client has one request per broker under way and a new reader waits
 * for its answer: long where records are waited for, short where somebody waits for the first answer. */
enum { CONSUMERS_MAX = 16, REMOTE_APIS_MAX = 128 };
enum remote_use { REMOTE_FETCHES, REMOTE_WATCHES };
struct remote_consumer { rd_kafka_t *rk; enum remote_use use; };

struct remote {
    struct bus              bus;
    const struct kafka_lib *k;
    struct loop            *loop;
    struct thread          *thread;
    struct workers         *workers;             /* administration */
    struct workers         *readers_of_secrets;  /* one thread: nothing that asks brokers may be in the way of what lets us in */
    struct workers         *knockers;            /* one thread: administration, which waits for brokers that are away, is not waited for */
    struct workers         *primers;             /* one thread: see remote_prime.c */
    struct access          *access;              /* NULL: PLAINTEXT */
    struct gate             gate;                /* while our login is refused */
    pthread_mutex_t         admin_lock;
    struct remote_sender   *admin;               /* whose client administration uses: the first one, or one with newer certificates */
    struct remote_sender   *senders[LANES_N];    /* LANE_ALL from the start, others made when needed */
    struct list             retired;             /* struct remote_sender */
    struct remote_sender   *next[LANES_N];       /* with newer certificates, taking over when the one before it has nothing out */
    struct list             waiting[LANES_N], again[LANES_N];    /* struct sending, meanwhile: those that came, those given back */
    struct timer            handover;
    uint64_t                broke_ms[LANES_N], rests_ms[LANES_N];      /* when a producer broke last; not before this another is made */
    unsigned                broke_n[LANES_N];            /* how many did, one soon after the other */
    char                    broke[LANES_N][512];         /* why it rests, and what to do */
    char                   *bootstrap, *debug;
    int32_t                 replication;         /* wanted */
    atomic_uint_least16_t   apis[REMOTE_APIS_MAX];       /* what the brokers speak: lowest version, highest + 1; 0: not told */
    bool                    at_least_once;       /* the cluster has no idempotent producers */
    struct work             probe;
    size_t                  produce_bytes_max;
    uint64_t                metadata_propagation_ms, session_timeout_ms;
    struct list             sending;             /* struct sending, oldest first */
    struct list             readers;             /* struct remote_reader, most recently used first */
    struct timer            idle;                /* readers that nobody uses are let go */
    struct remote_consumer  consumers[CONSUMERS_MAX];
    size_t                  consumers_n;
    struct membership      *member;              /* at most one */
    struct remote_reader   *taking;              /* whose queue the library is asked for just now */
    struct remote_property *consumer_conf;       /* owned texts */
    size_t                  consumer_conf_n;
    struct remote_property *producer_conf;
    size_t                  producer_conf_n;
    atomic_uint_fast64_t    primes;              /* a clock that ticks when somebody asks, and when a question is put */
    struct { const rd_kafka_t *rk; uint64_t at; } primed[CONSUMERS_MAX + 8];      /* remote_prime.c, its worker's */
    atomic_bool             ending;
    atomic_uint_least64_t   down_ms;             /* since when no broker answers; 0: one does */
    bool                    closing;
    bool                    knocking;            /* it is looked whether a broker is there again */
    bool                    answered;            /* the worker's, then the loop's */
    struct trouble          down_why;            /* what broke the last connection */
    uint64_t                away_said_ms;        /* not again before */
    struct work             knock;
    struct timer            knock_timer;
};

/* A descriptor pair that librdkafka writes to when a queue has something. */
enum rc remote_wake_open(int wake[2], struct err *e) MUST_USE;
void remote_wake(int wake[2]);
void remote_wake_drain(int wake[2]);
void remote_wake_close(int wake[2]);

struct remote_set { const struct remote_property *v; size_t n; };
enum remote_role { REMOTE_CONSUMES, REMOTE_PRODUCES, REMOTE_KNOCKS };       /* the last one is a producer that administration uses, too */
enum rc remote_client(struct remote *r, enum remote_role role, const struct remote_set *sets, size_t sets_n,
                      rd_kafka_t **ret, struct err *e) MUST_USE;       /* a later property stands */
/* A broker has answered: ready again, if it was not, and the result says so. Any thread. */
bool remote_up(struct remote *r);
/* An error that the library tells about a client. On the loop. */
void remote_error(struct remote *r, int code, const char *text);
/* Completes an operation: on its loop, `done` runs. */
void remote_done(struct bus_op *op);
void remote_fail(struct bus_op *op, enum rc rc, const char *text);

/* Asks the cluster about a topic on behalf of a client that has just met it; `done` is called on the bus's loop. */
struct prime {
    struct work work;
    struct remote *r;
    rd_kafka_t *rk;
    void *owner;                                 /* done's; may be cleared on the loop */
    void (*done)(struct prime *p);               /* p is freed after it */
    uint64_t made;                               /* when, on the clock of remote.primes */
    char topic[256];
};
/* Ends a client that nothing uses any more, after the questions on its behalf. */
void remote_client_end(struct remote *r, rd_kafka_t *rk);
struct prime *remote_prime(struct remote *r, rd_kafka_t *rk, const char *topic, void *owner, void (*done)(struct prime *p));

/* remote_send.c; on the loop, but for the append itself */
void remote_append(struct bus *b, struct bus_append *a, const struct bus_record *records, size_t n);
enum rc remote_sender_open(struct remote *r, enum remote_lane lane, struct remote_sender **ret, struct err *e) MUST_USE;
void remote_senders_finish(struct remote *r);    /* what was not reported by now is purged, and its report says so */
void remote_senders_free(struct remote *r);
enum rc remote_senders_renew(struct remote *r, struct err *e) MUST_USE;    /* with the certificates of now; on an error nothing changes */

/* Whose client administration uses, kept until it is let go. Any thread. */
struct remote_sender *remote_admin_hold(struct remote *r);
void remote_admin_drop(struct remote_sender *s);

/* remote_probe.c */
bool remote_probe_log(struct remote *r, const char *facility, const char *text);     /* a thread of the library; true: it was for us */
bool remote_probe_idempotent(const struct remote *r);
void remote_probe_start(struct remote *r);
struct capabilities;
enum rc remote_capabilities(struct bus *b, struct capabilities *ret, struct err *e) MUST_USE;

/* remote_read.c; on the loop */
void remote_fetch(struct bus *b, struct bus_fetch *f);
void remote_watch(struct bus *b, struct bus_watch *w);
void remote_watch_more(struct bus *b, struct bus_watch *w);
void remote_watch_tell(struct bus *b, struct bus_watch *w);
void remote_watch_stop(struct bus *b, struct bus_watch *w);
void remote_readers_close(struct remote *r);
void remote_readers_renew(struct remote *r);
void remote_reader_error(rd_kafka_t *rk, int code, const char *text, void *arg);

/* remote_member.c; on the loop */
void remote_join(struct bus *b, struct bus_member *m);
void remote_given(struct bus *b, struct bus_member *m);
void remote_leave(struct bus *b, struct bus_member *m);
void remote_member_close(struct remote *r);      /* what is left of it on the way down */
void remote_member_free(struct remote *r);       /* … when the loop has ended */
bool remote_member_leaves(const struct remote *r, const rd_kafka_t *rk);      /* a worker is at it */
void remote_member_renew(struct remote *r);      /* its client has old certificates: another joins when it has lost its numbers */
rd_kafka_t *remote_member_client(const struct remote *r);   /* NULL: none */
void remote_member_rebalance(rd_kafka_t *rk, rd_kafka_resp_err_t code, rd_kafka_topic_partition_list_t *list, void *arg);

/* remote_admin.c; any thread */
void remote_ask(struct bus *b, struct bus_ask *a);
void remote_topic_ensure(struct bus *b, struct bus_topic *t);
void remote_topic_describe(struct bus *b, struct bus_topic *t);
void remote_topic_delete(struct bus *b, struct bus_topic *t);
void remote_topics(struct bus *b, struct bus_topics *t);
void remote_commit(struct bus *b, struct bus_commit *c);
void remote_committed(struct bus *b, struct bus_commit *c);
void remote_group_delete(struct bus *b, struct bus_commit *c);
void remote_readers(struct bus *b, struct bus_readers *r);
