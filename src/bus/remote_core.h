/* bus/remote_core.h - what the parts of the remote bus share. Used by: bus/remote*.c only.
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/list.h"
#include "base/map.h"
#include "bus/remote.h"
#include "bus/remote_lib.h"
#include "net/loop.h"
#include "sys/thread.h"
#include "sys/worker.h"
#include <stdatomic.h>

struct remote_sender {                           /* a producer; on the loop but for produceva */
    rd_kafka_t       *rk;
    rd_kafka_queue_t *queue;
    struct watch      watch;
    int               wake[2];                   /* the library writes [1], the loop watches [0] */
    struct remote    *r;
};

struct remote_reader;                            /* remote_read.c */

struct remote {
    struct bus              bus;
    const struct kafka_lib *k;
    struct loop            *loop;
    struct thread          *thread;
    struct workers         *workers;             /* administration */
    struct remote_sender    all, one;            /* acks=all; acks=1 */
    size_t                  produce_bytes_max;
    uint64_t                metadata_propagation_ms;
    struct list             sending;             /* struct sending, oldest first */
    struct list             readers;             /* struct remote_reader, most recently used first */
    rd_kafka_t             *consumers[8];        /* made when needed; two readers of one partition use two */
    size_t                  consumers_n;
    struct remote_reader   *taking;              /* whose queue the library is asked for just now */
    struct remote_property *consumer_conf;       /* owned texts */
    size_t                  consumer_conf_n;
    struct remote_property *producer_conf;
    size_t                  producer_conf_n;
    atomic_uint             admin_now;           /* jobs on the workers */
    atomic_bool             brokers_down;
    bool                    closing;
};

/* A descriptor pair that librdkafka writes to when a queue has something. */
enum rc remote_wake_open(int wake[2], struct err *e) MUST_USE;
void remote_wake_drain(int wake[2]);
void remote_wake_close(int wake[2]);

enum rc remote_client(struct remote *r, rd_kafka_type_t type, const struct remote_property *conf, size_t n,
                      const struct remote_property *more, size_t more_n, rd_kafka_t **ret, struct err *e) MUST_USE;
/* Completes an operation: on its loop, `done` runs. */
void remote_done(struct bus_op *op);
void remote_fail(struct bus_op *op, enum rc rc, const char *text);

/* remote_read.c; on the loop */
void remote_fetch(struct bus *b, struct bus_fetch *f);
void remote_watch(struct bus *b, struct bus_watch *w);
void remote_watch_more(struct bus *b, struct bus_watch *w);
void remote_watch_tell(struct bus *b, struct bus_watch *w);
void remote_watch_stop(struct bus *b, struct bus_watch *w);
void remote_readers_close(struct remote *r);
void remote_reader_error(rd_kafka_t *rk, int code, const char *text, void *arg);

/* remote_admin.c; any thread */
void remote_topic_ensure(struct bus *b, struct bus_topic *t);
void remote_topic_describe(struct bus *b, struct bus_topic *t);
void remote_topic_delete(struct bus *b, struct bus_topic *t);
void remote_topics(struct bus *b, struct bus_topics *t);
void remote_commit(struct bus *b, struct bus_commit *c);
void remote_committed(struct bus *b, struct bus_commit *c);
void remote_group_delete(struct bus *b, struct bus_commit *c);
