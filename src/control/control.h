/* control/control.h - the desired state: which resources exist, kept in a log, turned into what flows run.
 *
 * Resources live in a compacted topic of one partition, {prefix}.{namespace}.control.resources, or (control.store: file)
 * in one file that is replaced atomically. At the start everything is read; afterwards the topic is followed, so what
 * another replica applies arrives here as well. Every change makes a new flow_snapshot.
 * Lives on: one loop of its own (app gives it). control_call() may be used from any loop.
 * Used by: app; control/api.c.     SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/list.h"
#include "bus/bus.h"
#include "control/resource.h"

struct loop;
struct fs;
struct workers;
struct control;

struct control_options {
    struct loop *loop;
    struct bus *bus;
    struct str topic_prefix, topic_namespace;
    int32_t replication;                         /* of the control topic when it is created */
    size_t message_bytes_max;
    enum flow_record record;                     /* flow.record */
    uint64_t recover_within_ms;                  /* flow.recoverWithinMs: for so long replaced versions are kept */
    uint64_t idempotency_window_ms;              /* flow.idempotencyWindowMs, for who reads inputs (CONTROL_INFO) */
    bool store_file;                             /* control.store: file */
    struct str data;                             /* the data folder */
    struct fs *fs; struct workers *workers;      /* for the file */
    /* A new snapshot: one reference is given. When every executor uses it, post `taken` to the loop's mailbox. On the
     * control loop; not called again before `taken` came. */
    void (*publish)(void *ctx, struct flow_snapshot *s, struct msg *taken);
    /* Once: RC_OK when all was read and published; otherwise the store cannot be used and e says what to do. */
    void (*started)(void *ctx, const struct err *e);
    void *ctx;
};
/* Options are copied; texts are borrowed for life. Call on the control loop (or before it runs). */
struct control *control_new(const struct control_options *o);
/* Calls that wait end with RC_CANCELLED; when nothing is under way any more, `stopped` is called and c is gone. On the
 * control loop, before the bus is closed. Nobody may call control_call() any more. */
void control_stop(struct control *c, void (*stopped)(void *ctx), void *ctx);
/* Any thread. False: *ret_why (borrowed until the next call on this thread) says why not. */
bool control_ready(const struct control *c, struct str *ret_why);

enum control_what {
    CONTROL_APPLY,       /* text: YAML or JSON documents; all or none */
    CONTROL_CHECK,       /* … the same without storing anything */
    CONTROL_LIST,        /* kind, or all kinds when it is empty: one item each, sorted */
    CONTROL_GET,         /* kind, name: one item */
    CONTROL_DELETE,      /* kind, name; refused while others need it, unless force */
    CONTROL_CLEARED,     /* control_cleared() */
    CONTROL_INFO,
    CONTROL_TOPICS,      /* topics of this namespace with their offsets; all: of the whole log */
    CONTROL_RECORDS,     /* name: topic; partition, offset, limit: records, decoded */
    CONTROL_TRACE,       /* name: request id: its records over all topics, in order; kind: only of this pipeline */
    CONTROL_INSPECT      /* name: NAME[.step[.inputs|outputs[.tensor]]]; limit: how many of the last ones */
};
/* A resource as answered: json is an object without its closing brace, for the asker to add what it knows (status). */
struct control_item {
    enum resource_kind kind;
    struct str name;
    struct str address; bool rest;               /* a Server's, the one that is used; of an Experiment: the candidate
                                                    that stands for it, and whether it is a model */
    bool usable;
    struct buf json;
};

struct control_call {                            /* lent until done */
    enum control_what what;
    struct str kind, name, text;
    int32_t partition;                           /* -1: all */
    int64_t offset;                              /* -1: the start, -2: the last `limit` records */
    uint32_t limit;                              /* 0: a sensible number */
    bool all, force, raw;                        /* raw: values of RECORDS as bytes */
    uint64_t deadline_ms;                        /* monotonic */
    struct mailbox *reply_to;
    void (*done)(struct control_call *c);        /* on reply_to's loop, exactly once */
    /* out, until control_call_fini() */
    struct err err;                              /* RC_OK, RC_INVALID, RC_NOT_FOUND, RC_UNAVAILABLE, RC_TIMEOUT, … */
    struct buf json;                             /* the answer; of RC_INVALID: the array of problems, or empty */
    struct control_item *items; size_t items_n;  /* LIST, GET */
    /* control's own */
    struct msg msg;
    struct control *control;
    struct list link;
    void *priv;
};
void control_call(struct control *c, struct control_call *call);
void control_call_fini(struct control_call *call);
struct bus *control_bus(const struct control *c);         /* the log that it lives on; any thread */
/* Any thread, as long as control_call() may be called: executors have cleared away what a deleted pipeline or model left. */
void control_cleared(struct control *c, bool model, struct str name);
