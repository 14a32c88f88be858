/* bus/embedded_core.h - what the files of the embedded bus share.
 *
 * An operation travels by its own msg: to the broker's mailbox, and back to reply_to. What it needs meanwhile hangs from
 * `priv`. Everything in struct embedded but the atomic fields belongs to the broker's loop.
 * Used by: bus/embedded*.c.   SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/list.h"
#include "broker/broker.h"
#include "bus/embedded.h"
#include "sys/clock.h"
#include "sys/timers.h"
#include <stdatomic.h>

enum { WHY_SLOTS = 4, WHY_BYTES = 256 };

struct embedded {
    struct bus bus;
    struct broker *broker;
    struct mailbox *mailbox;             /* the broker's */
    struct timers *timers;
    const struct clock *clock;
    size_t message_bytes_max;
    atomic_size_t refs;                  /* operations on their way, and the open bus itself */

    bool closing;
    struct list appends, fetches, watches, waits, asks;  /* under way at the broker */
    struct timer sweep;                  /* looks after deadlines of appends */

    atomic_uint why;                     /* 0: ready; else 1 + the slot that says why not */
    char why_text[WHY_SLOTS][WHY_BYTES];
    unsigned why_next;
    struct msg refresh;
    atomic_bool refreshing;
};

static inline struct embedded *embedded_of(struct bus *b) { return container_of(b, struct embedded, bus); }

/* Any thread: sends the operation to the broker's loop, where run(msg) gets it. */
void op_send(struct embedded *em, struct bus_op *op, void (*run)(struct msg *m));
/* Any thread: the operation is over and goes home; op->err says how. */
void op_home(struct bus_op *op);
void op_fail(struct bus_op *op, enum rc rc, const char *fmt, ...) PRINTF(3, 4);      /* … with this error */
void embedded_ref(struct embedded *em);
void embedded_unref(struct embedded *em);
/* Broker's loop: false when the operation has ended at once: the bus is closed, or its time is over. */
bool op_may_begin(struct embedded *em, struct bus_op *op);
uint64_t embedded_now_ms(const struct embedded *em);
void embedded_check_ready(struct embedded *em);

/* Waits for the wal, then sends the operation home and drops one reference of the bus. */
void op_home_when(struct embedded *em, struct bus_op *op, uint64_t seq);

/* ---- decoded batches (embedded_read.c) ---- */
struct decoded {
    struct bus_record *records;          /* views into the batches and into what was decompressed */
    size_t records_n, records_cap;
    struct bus_header *headers;
    size_t headers_n, headers_cap;
    struct buf *plain;                   /* one per compressed batch */
    size_t plain_n;
};
/* Records from `from` on; control batches are left out. */
enum rc batches_decode(struct bytes batches, int64_t from, size_t bytes_max, struct decoded *ret, int64_t *ret_next, struct err *e) MUST_USE;
void decoded_fini(struct decoded *d);

void embedded_fetch(struct bus *b, struct bus_fetch *f);
void embedded_watch(struct bus *b, struct bus_watch *w);
void embedded_watch_more(struct bus *b, struct bus_watch *w);
void embedded_watch_tell(struct bus *b, struct bus_watch *w);
void embedded_watch_stop(struct bus *b, struct bus_watch *w);
void embedded_reads_close(struct embedded *em);

/* embedded_ask.c */
void embedded_ask(struct bus *b, struct bus_ask *a);
void embedded_asks_close(struct embedded *em);

void embedded_topic_ensure(struct bus *b, struct bus_topic *t);
void embedded_topic_describe(struct bus *b, struct bus_topic *t);
void embedded_topic_delete(struct bus *b, struct bus_topic *t);
void embedded_topics(struct bus *b, struct bus_topics *t);
void embedded_commit(struct bus *b, struct bus_commit *c);
void embedded_committed(struct bus *b, struct bus_commit *c);
void embedded_group_delete(struct bus *b, struct bus_commit *c);
void embedded_readers(struct bus *b, struct bus_readers *r);
void embedded_waits_close(struct embedded *em);
