/* control/core.h - the insides of struct control. Used by: control/control.c, apply.c, envelope.c, list.c, filestore.c, browse.c.
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/map.h"
#include "control/control.h"
#include "net/loop.h"
#include "sys/worker.h"

/* MILLRACE_NEXT: tests build a program that writes as a later version may (tests/meson.build), to have two side by side. */
#ifdef MILLRACE_NEXT
#define NEXT_FIELD ",\"next\":{\"unknown\":[1]}"
enum { RECORD_FORMAT = 2 };
#else
#define NEXT_FIELD ""
enum { RECORD_FORMAT = 1 };
#endif
enum { CALLS_MAX = 1000, RESOURCES_MAX = 100000, RECORDS_BYTES = 8 << 20 };
enum control_state { CONTROL_STARTING, CONTROL_RUNNING, CONTROL_FAILED, CONTROL_STOPPING };

/* One record of the store: key "Kind/name", value the resource in JSON, or null. */
struct change { struct str key, value; bool gone; };

/* What is left of one that was deleted: its version, and what executors still have to clear away. */
enum gone_clear { CLEAR_NOTHING, CLEAR_OFFSETS, CLEAR_TOPICS };
struct gone { uint32_t version; enum gone_clear clear; };

/* An apply or delete on its way into the log. */
struct mutation {
    struct control_call *call;
    struct change *changes; size_t changes_n;
    struct bus_record *records;
    struct buf answer;                           /* JSON of a success */
    int64_t offset_last;                         /* -1: not appended yet */
    struct arena arena;
};

struct control {
    struct control_options o;
    struct str topic;
    enum control_state state;
    _Atomic(enum control_state) seen;            /* the same, for other threads */
    struct arena arena;

    struct map by_key;                           /* "Kind/name" -> struct resource * */
    struct map gone;                             /* "Kind/name" that was deleted -> struct gone, packed into the pointer */
    size_t to_clear;                             /* of them: what they left is not known to be cleared away */
    int64_t next_offset;                         /* of the topic: everything below is in by_key */
    uint64_t number;                             /* of the last snapshot */
    struct flow_snapshot *snapshot;              /* the last one; NULL before the first */

    struct bus_topic ensure;                     /* also describes; one at a time */
    struct bus_fetch fetch;
    struct bus_watch watch;
    struct bus_append append;
    bool topic_busy, fetching, fetch_again, watching, appending, saving;
    unsigned tries;
    struct timer retry, tick;

    struct list waiting;                         /* mutations' calls that have not begun */
    struct mutation *mutation;                   /* the one that is under way */
    struct list stored;                          /* calls whose records are read back, until executors use them */
    size_t calls_n;                              /* of both lists and the mutation */

    struct msg taken;                            /* executors use the snapshot `publishing` */
    bool publish_pending, publish_under_way;
    int64_t publishing_offset, taken_offset;     /* next_offset when it was made */

    struct file_save *save;                      /* control.store: file */
    size_t browsing;                             /* calls of browse.c under way */
    void (*stopped)(void *ctx);
    void *stopped_ctx;
    bool started_said;
};

void control_answer(struct control *c, struct control_call *call);      /* posts it back */
void control_refuse(struct control *c, struct control_call *call, enum rc rc, const char *fmt, ...) PRINTF(4, 5);
void control_pump(struct control *c);            /* reads what is new in the topic */
void control_publish(struct control *c);
void control_advance(struct control *c);         /* after next_offset moved: whose records were read back? */
void control_settle(struct control *c);          /* ends a stop when nothing is under way */
void control_failed(struct control *c, const struct err *e);
void control_started(struct control *c, const struct err *e);

/* envelope.c */
void control_record(struct control *c, struct str key, struct str value, bool gone, int64_t offset, int64_t timestamp_ms);
void envelope_put(struct buf *b, const struct resource *r);              /* the record it came from */
/* The record of r as the next version of old (NULL: there is none). */
struct str envelope_next(struct arena *a, const struct control *c, const struct resource *r, const struct resource *old,
                         uint32_t version, int64_t now_ms);
struct change gone_change(struct arena *a, struct str key, struct gone g);       /* what is remembered of a deleted one */
struct gone gone_get(const struct control *c, struct str key);           /* {0}: never heard of */
void gone_fill(const struct control *c, struct flow_snapshot *s);        /* what executors are to clear away */
void gone_put_each(const struct control *c, void (*put)(void *ctx, const struct change *ch), void *ctx);
/* apply.c */
void control_mutate(struct control *c, struct control_call *call);      /* begins it; c->mutation is NULL */
struct str record_key(struct arena *a, enum resource_kind kind, struct str name);
/* list.c */
bool control_kind(struct control *c, struct control_call *call, enum resource_kind *ret);      /* false: refused already */
void control_list(struct control *c, struct control_call *call);
void control_get(struct control *c, struct control_call *call);
void control_info(struct control *c, struct control_call *call);
struct resource **control_sorted(const struct control *c, size_t *ret_n);       /* by kind and name; xcalloc'd, borrowed resources */
/* filestore.c */
void filestore_load(struct control *c);          /* ends in control_started() */
void filestore_save(struct control *c, struct mutation *m);
void filestore_free(struct control *c);
/* browse.c */
void control_browse(struct control *c, struct control_call *call);
