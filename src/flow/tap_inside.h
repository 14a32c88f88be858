/* flow/tap_inside.h - the inside of a tap, for tap.c and tap_open.c only.     SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "flow/tap.h"

struct source {                                  /* the records of one pipeline in one topic */
    size_t feed;
    struct str pipeline;
    bool trigger, outputs, whole;
    struct infer_select *select; size_t select_n;
};

struct part {
    struct feed *feed;
    int32_t number;
    struct bus_fetch fetch;
    bool fetching, old;                          /* old: the own inputs are read for what was made of it */
    struct timer retry;
    int64_t at, committed;
    int64_t inputs_from, inputs_at, inputs_end;  /* of the own inputs */
    struct map done;                             /* offsets, as text, that an input was made of */
};

struct feed {
    struct tap *t;
    struct str topic;
    struct bus_topic ensure;
    struct bus_commit asked, commit;
    struct bus_offset *offsets;
    bool busy;                                   /* one of them is out */
    size_t held;                                 /* bytes of its records in joins */
    bool full;                                   /* … are as many as may be: no more is read */
    struct part *parts; size_t parts_n;
    int32_t left_alone;                          /* as of struct topic */
};

enum had { HAD_NOTHING, HAD_RECORD, HAD_NONE };
struct taken {
    enum had had;
    struct part *part;
    int64_t offset, inputs_at, timestamp_ms;
    size_t bytes;                                /* in the join's arena */
    unsigned order;                              /* among those of the join */
    struct infer_view view;
    struct headers headers;
};

struct join {
    struct list link;                            /* in tap.joins, oldest first */
    struct tap *t;
    struct join *next;                           /* of the same key */
    struct bytes key;
    bool key_null, spent;                        /* spent: it became an input, or never will */
    uint64_t since_ms;
    size_t last;                                 /* the source that came last */
    unsigned arrived;                            /* how many have come */
    int64_t input;                               /* the offset of the input it became; -1 */
    int32_t partition;                           /* … */
    struct taken *taken;                         /* by source */
    struct flow_run *r;                          /* its input is on its way */
    struct timer retry;
    struct arena arena;
};

struct tap {
    struct flow *f;
    struct place *p;
    struct str shape;                            /* what it was made of */
    struct source *sources; size_t sources_n;
    struct feed *feeds; size_t feeds_n, feeds_open;
    enum flow_join join, triggers_join;
    size_t data_n, triggers_n;
    uint64_t window_ms;
    struct map by_key;
    struct list joins;
    size_t joins_n;
    struct timer expire, commit, reopen;
    bool stale;                                  /* other numbers are ours than when it was opened: it is to be opened again */
    bool ready, closed;
    uint32_t lent;                               /* operations that are out */
    struct arena arena;
};

/* tap.c */
void tap_lend(struct tap *t);                    /* an operation goes out */
void tap_returned(struct tap *t);                /* … and is back; the tap may be gone afterwards */
void tap_start(struct tap *t);                   /* all feeds know where to go on: reading begins */
bool tap_mine(const struct part *pt);            /* this process reads it */
/* tap_open.c */
struct str tap_shape(struct arena *a, const struct flow_pipeline_def *d);        /* what it would read, as text */
struct str tap_metadata(struct feed *fd, size_t k, int64_t inputs);
void tap_commit(struct feed *fd, size_t n, void (*done)(struct bus_op *op));     /* the first n of fd->offsets */
