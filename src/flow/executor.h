/* flow/executor.h - the inside of struct flow, for its own files only.
 *
 * flow.c     life: new, use, drain, free          place.c   pipelines and models by name: topics, readiness
 * admit.c    requests in, answers out              runs.c    a run's effects: records, calls, timers, outcome
 * batch.c    calls of several runs as one              redact.c   what is left out of records
 * call.c     model calls and their queue           append.c  records on their way to the bus
 * held.c     outside records that wait for room
 * intake.c   outside records, commits              recover.c what was left unfinished
 * clear.c    what the deleted leave behind
 * tap.c      inputs from other pipelines             tag.c   the schema registry's prefix on values
 * strangers.c  other engines on our topics
 * probe.c    readiness                             idem*.c   idempotency keys; forward.c hands them to executor 0
 * owners.c   which numbers are ours                foreign.c requests that other processes took
 * grow.c     partitions that are added
 *
 * Everything lives on one loop. What is lent to the bus is counted in `lent`; a closed executor frees itself when the
 * last of it is back.     SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/list.h"
#include "base/rng.h"
#include "flow/flow.h"
#include "flow/names.h"
#include "flow/run.h"
#include "net/loop.h"
#include <stdatomic.h>

struct append_what;
struct place;
struct held;
struct tap;
struct join;
struct idem;
struct idem_claim;
struct idem_index;

/* What flow_request.priv points at begins with this. */
enum holder { HOLDER_RUN, HOLDER_FORWARD };

/* One topic, made sure of. */
struct topic {
    struct flow *f;
    struct place *place;                         /* NULL: the errors topic */
    struct str name;
    bool ready, asked;
    int32_t partitions;
    char id[UUID_TEXT_LEN + 1];
    struct timer retry;
    uint32_t tries;
    char *why;                                   /* the last try failed; NULL: none did */
    int32_t schema;                              /* id its values are tagged with; 0: none (tag.c) */
    bool tag_asked, tag_waited;                  /* the registry was asked; it had its time, or has answered */
    uint32_t tag_tries;
    struct timer tag_timer;
    bool made;                                   /* since it was last read: whatever was known of it is void */
    int32_t left_alone;                          /* it was said that it has so many partitions, which are not all used */
};

enum place_state {
    PLACE_WAITING,                               /* an older place of this name is still being cleared away */
    PLACE_TOPICS,                                /* its topics are being made */
    PLACE_OFFSETS,                               /* its committed offsets are being looked up or set */
    PLACE_READY,
    PLACE_LEAVING                                /* not in the newest snapshot */
};

/* One partition of a place's inputs topic, on executor 0: what is not finished there. */
struct intake {
    struct place *p;
    int32_t partition;
    struct bus_watch watch;
    bool telling;                                /* the watch was asked how far it is */
    bool lost;                                   /* its watch ended at an offset that the topic does not have */
    bool asked;                                  /* it has been ours since its offsets were asked for */
    bool watching, paused;                       /* paused: no room for more runs; records wait in the log */
    struct list paused_link;
    struct held *held;                           /* records that found no room; NULL: none (held.c) */
    int64_t seen;                                /* everything before it was handed to us or is this process's own */
    int64_t committed, floor;                    /* floor: of the commit that is being made */
    struct outcomes { int64_t from; int32_t partition; } outputs, errors;      /* where those of inputs from `committed` on begin, and
                                                    in which partition of that topic that is; -1: an older version did not say */
    struct scan *scan;                           /* what was left unfinished is being looked for; NULL: no more */
    bool open;                                   /* it is ours, its offsets are known: watched, searched, committed */
    struct foreigns *foreigns;                   /* requests in it that another process runs; NULL: none */
    /* Pairs of ends, taken outputs first: an input at or behind `inputs` has its outcome at or behind `outputs`. */
    struct intake_ends { int64_t inputs, outputs, errors; } ends[4];
    unsigned ends_n;
};

/* The ends of a place's topics, looked up in the order outputs, errors, inputs. Valid during `done`. */
struct ends;
struct ends_one { struct bus_topic t; struct ends *all; int32_t used; };     /* used: as many of its partitions as we use */
struct ends {
    struct place *p;
    struct ends_one outputs, errors, inputs;
    unsigned open;
    struct err err;
    void (*done)(struct place *p, const struct ends *e);
};

/* A pipeline or a model by name: what outlives its versions. */
struct place {
    struct flow *f;
    struct list link;                            /* in flow.leaving */
    struct str name;
    bool model;
    enum place_state state;
    struct topic inputs, outputs;
    struct str group;
    uint32_t refs;                               /* runs, appends and operations that need its names */
    const struct flow_pipeline_def *pipeline;    /* of the newest snapshot */
    const struct flow_model_def *def;            /* … when it is a model */
    char *why;                                   /* the last look at its offsets failed; NULL: none did */
    char *stranger;                              /* group of another engine that reads its inputs; NULL: none (strangers.c) */
    struct timer retry;
    uint32_t tries;
    int64_t *acked;                              /* by partition: the last input of this executor that was acknowledged */
    int32_t acked_n;                             /* how many partitions of the inputs topic are used (grow.c) */
    /* executor 0: */
    struct intake **intakes; size_t intakes_n;   /* by partition; each stays where it is when there come to be more */
    bool outputs_again;                          /* its outputs topic was looked at after its inputs topic */
    int32_t growing;                             /* so many partitions its inputs topic has; 0: those that are used */
    bool busy;                                   /* its offsets are being looked up or committed */
    bool dirty;                                  /* something moved since the last commit */
    bool ends_failed;
    unsigned tells_open;                         /* watches that have not said how far they are, and the look at the ends */
    struct list commit_link;                     /* in flow.commits, flow.committing; on the others in flow.touched */
    struct idem_index *idem;
    struct tap *tap;                             /* its inputs from other pipelines; NULL: none */
    int64_t retention_ms;                        /* of its topics when they are made; 0: as configured */
    bool clean;                                  /* its topics go when it goes */
    bool cleared;
    uint64_t born;                               /* the snapshot that brought it: the same number on every executor */
    unsigned users;                              /* other executors that have it and have not let it go */
    bool parting;                                /* nothing here needs it any more; they do */
    char watched_id[UUID_TEXT_LEN + 1];
    struct timer take_retry;                     /* partitions that became ours could not be opened */
    bool rewatching;                             /* the ends are being looked up for watches that are to begin again */
    uint32_t runs_now, outside_now;              /* of this executor's; of those that nobody waits for */
    size_t bytes_now;
    /* model: its calls */
    uint32_t calls_now;
    bool kicking;
    struct list calls_waiting;
    struct list lines;                           /* batch.c: calls that go together */
    unsigned walking;                            /* the lines are being gone through */
    bool unsplit;                                /* its answers to batches could not be taken apart */
};

struct flow_run;
struct redact;
struct batch;
struct batch_line;
struct batch_set;
enum call_state { CALL_NONE, CALL_WAITING, CALL_FLYING, CALL_DONE };
struct run_call {
    struct upstream_call up;
    struct flow_run *r;
    uint32_t node;
    enum call_state state;
    bool stopped;                                /* nobody wants the answer any more */
    struct place *model;                         /* as long as the run lives; NULL: there is none of that name */
    struct list link;                            /* waiting for the model, or done and not yet told to the run */
    /* batch.c: */
    struct batch *batch;                         /* it flies in */
    struct batch_line *line;                     /* it flies for, alone */
    struct batch_set *set;                       /* it waits in */
    struct infer_view *view;
    uint64_t rows, since_ms;
    bool joins;                                  /* it waits for others */
    bool batched;                                /* its answer is part of one to several runs */
};

struct run_window { struct timer timer; struct flow_run *r; uint32_t node, gate, visit; struct list link; };

/* A request with an idempotency key, where processes share the log: its input is on its way or not read back (OPEN), is the
 * first with the key and not acknowledged (WON), or is not the first (LOST). */
enum claim { CLAIM_NONE, CLAIM_OPEN, CLAIM_WON, CLAIM_LOST };

struct flow_run {
    enum holder holder;
    struct run run;
    struct flow *f;
    struct list link;                            /* in flow.runs */
    struct list parked;                          /* not started: in flow.parked, or a list of flow/idem.h */
    struct idem *idem;                           /* the idempotency key it holds */
    const struct idem_claim *claimed;            /* idem_claim_of(), once it was asked */
    enum claim claim;
    struct join *origin;                         /* what other pipelines said, until its input is in the log */
    struct flow_snapshot *snapshot;
    struct place *place;
    enum flow_record record;
    int32_t partition;
    struct bytes key;                            /* .p NULL: an outside record without one */
    struct str id;                               /* the millrace-run header */
    struct flow_request *request;                /* who waits for the answer; NULL: nobody, or answered */
    struct str sources;                          /* the records of other pipelines it was made of; empty: none */
    bool outside;                                /* the input was not written by a gateway */
    bool json;                                   /* … and is JSON, as its answer shall be */
    struct redact *redact;                       /* redact.c; NULL: not asked for yet */
    struct run_call *calls;                      /* by step */
    struct list calls_done;
    struct list windows;
    struct list appends;                         /* input and outcome on their way */
    struct hop_of *hops;                         /* NULL: it has no hop record yet */
    struct timer deadline;
    uint64_t from_ms, deadline_ms, last_ms;      /* when it came; the caller's; of branches beside the output */
    bool started, stepping;
    bool key_made;                               /* it has a partition, a key and an id */
    uint32_t pins;                               /* held while somebody up the stack still looks at it */
    bool input_done, outcome_done;               /* acknowledged, or not to be written */
    bool late;                                   /* the executor's drain is over: nothing is tried again */
    bool silent;                                 /* no outcome is to be written: it was never admitted */
    const struct err *input_err;                 /* in the run's arena; NULL: none */
    bool outcome_lost;                           /* it could not be written */
    int64_t input_offset;                        /* or a lower bound until it is acknowledged */
    bool counted;                                /* in flow.outside_now */
    struct timer outcome_retry;                  /* set: the outcome could not be written and is tried again */
    struct timer input_retry;                    /* set: its topic is being made again */
    uint32_t attempt;
    size_t bytes_counted;
};

enum append_kind { APPEND_HOP, APPEND_LOSS, APPEND_INPUT, APPEND_OUTCOME };     /* LOSS: what is said of a hop record */
struct hop_of;                                   /* append.c: what a lost hop record is said with */
struct flow_append {
    struct bus_append a;
    struct flow *f;
    struct flow_run *r;                          /* NULL: nobody waits for it */
    struct place *place;                         /* whose topic it goes to; NULL: the errors topic */
    enum append_kind kind;
    bool inputs;
    struct hop_of *of;                           /* a hop record's; NULL: its loss cannot be written down either */
    struct list link;
};

/* An input whose outcome could not be written. Embedded: the next start finishes it. Where numbers are shared their owner does,
 * after `due_ms`, unless the outcome is there after all. */
struct stuck { struct str name; bool model, exact; int32_t partition; int64_t offset, due_ms; struct str identity; };     /* exact: else the
                                                    input lies there or behind, if it is in the log */
enum { STUCK_MAX = 100000 };

/* The executors of one process. The last one to be released takes all their memory along, so that each may look
 * whether another is closed. */
struct group { atomic_uint open; unsigned n; struct flow *all[]; };

struct flow {
    struct loop *loop;
    struct bus *bus;
    struct upstream *up;
    struct flow_options o;
    struct arena arena;                          /* the options' strings */
    struct naming naming;
    struct headers_deny deny;
    struct bus_config *configs; size_t configs_n;
    struct flow_snapshot *snapshot;
    struct map pipelines, models;                /* name -> struct place */
    struct list leaving;
    struct topic errors;
    struct timer strangers_timer; bool strangers_begun;      /* executor 0 */
    struct timer grow_timer; bool grow_begun;    /* executor 0 */
    struct list runs, parked, probes;
    struct list spare_runs, spare_appends;
    uint32_t spare_runs_n, spare_appends_n;
    struct buf header_scratch;                   /* of struct bus_header, for one append */
    struct buf value_scratch;                    /* a value with its prefix, for one append */
    struct flow_counters counters;
    uint64_t run_number;
    struct rng rng;                              /* of experiments */
    uint32_t partition_next;
    uint32_t lent;
    bool draining, drain_over, closed;
    struct timer drain_timer;
    void (*drained)(void *ctx);
    void *drained_ctx;
    struct list forwards;                        /* requests that executor 0 runs for us */
    struct list idem_waiting;                    /* readings of the log that will try again */
    size_t idem_n;                               /* idempotency keys remembered */
    struct timer commit_timer;                   /* commits; on the others: tells executor 0 what was touched */
    struct list touched;
    struct stuck *stuck; size_t stuck_n;
    struct group *group;                         /* the executors of this process; NULL: only this one */
    bool *owned;                                 /* by number: it is this process's; NULL: none is, or all are (embedded) */
    int32_t owners_n, owned_n;
    /* executor 0: */
    struct str owners_topic, owners_group;
    struct bus_topic owners_ensure;
    struct bus_member member;
    struct timer owners_timer, give_timer;
    bool joined, leaving_group;
    bool giving, giving_busy;                    /* numbers are to be given up when their runs have ended */
    size_t tap_feeds;                            /* topics that taps read: each has its share of memory */
    uint32_t outside_now;                        /* runs nobody waits for: outside records, recovery */
    struct list paused;                          /* intakes that wait for room */
    struct timer room_timer;
    struct list commits, committing;             /* places whose ends are known; whose floors are being asked for */
    unsigned floors_open;                        /* answers of other executors that are missing */
    unsigned commits_open;                       /* places between their ends and their commit */
    bool watches_closed;
    bool final_commit;                           /* drained: the last commit is being made, or is */
};

/* flow.c */
void flow_check_drained(struct flow *f);
void flow_unpark_all(struct flow *f);            /* something that parked requests may have waited for is there */
void flow_returned(struct flow *f);              /* something lent to the bus is back */

/* place.c */
struct place *place_new(struct flow *f, bool model, struct str name, struct str uid, int64_t retention_ms);
void place_setup(struct place *p);
void place_leave(struct place *p);
void place_unref(struct place *p);
void place_free(struct place *p);                /* whatever its refs: the executor ends */
void place_gone(struct flow *f, const struct flow_gone *g);      /* an earlier start deleted it and did not clear it away */
bool place_ready(const struct place *p);
/* All its topics and those of its steps: RC_OK, or RC_UNAVAILABLE with the reason (*ret_wait: it may come any moment). */
enum rc place_check(struct place *p, const struct graph *g, bool *ret_wait, struct err *e);
void place_partitions(struct place *p, int32_t inputs, int32_t outputs);     /* so many are used from now on */
void topic_init(struct topic *t, struct flow *f, struct place *p, struct str name);
void topic_ensure(struct topic *t);

/* strangers.c */
void strangers_begin(struct flow *f);            /* there are places: who else reads their topics? */

/* grow.c */
void grow_begin(struct flow *f);                 /* there are places: do their topics grow? */

/* tag.c */
bool tag_wait(struct topic *t);                  /* its schema is being asked for: it is not ready before that is settled */
void tag_forget(struct flow *f, struct str topic);           /* it was deleted, by us */
/* The value, of which w may have another form, as it is written to the topic; valid until the next call. */
struct bytes tag_value(struct flow *f, const struct topic *t, const struct append_what *w, struct bytes value);

/* admit.c */
void run_answer(struct flow_run *r, const struct err *e);    /* e NULL: with the outcome */
void run_check_answer(struct flow_run *r);
void run_unpark(struct flow_run *r);             /* starts it, or refuses it, or leaves it waiting */
void run_input_again(struct flow_run *r);
void run_claim(struct flow_run *r);              /* r->idem is set: its input is written, and that is all for now */
struct idem_hash;
int32_t run_partition_of_key(const struct place *p, const struct idem_hash *key);
void run_admitted(struct flow_run *r);           /* the input of a pipeline without output is in the log */

/* With what is already set in its request, and these. */
void run_answer_with(struct flow_run *r, struct headers h, struct bytes key, struct str step);
/* A copy of the other's answer; accepted: it has none yet, its input is in the log. */
void run_answer_like(struct flow_run *r, struct flow_run *other, bool accepted);

/* forward.c */
struct forward;
bool forward_wanted(const struct flow *f, const struct flow_request *q);
void forward_start(struct flow *f, struct flow_request *q);
void forward_cancel(struct forward *w);
void forwards_end(struct flow *f);

/* runs.c */
/* Its input is to be in the log, or was found there. */
static inline bool run_recorded(const struct flow_run *r) { return r->record == FLOW_RECORD_ALL || r->record == FLOW_RECORD_ENDS || r->counted; }
struct flow_run *flow_run_new(struct flow *f, struct place *p, const struct graph *g);
void flow_run_timer(struct flow_run *r);         /* arms its deadline */
void flow_run_start(struct flow_run *r);         /* these three may free it, unless it is pinned */
void flow_run_event(struct flow_run *r, const struct run_event *ev);
void flow_run_stop(struct flow_run *r, enum rc rc, struct str why);
void flow_run_appended(struct flow_run *r, struct flow_append *a);
void flow_run_release(struct flow_run *r);       /* frees it when nothing needs it any more */
/* The outcome is an error that no step made: expired, poison. */
bool run_hop_wanted(const struct flow_run *r, uint32_t node);
void run_hop_record(struct flow_run *r, uint32_t node, bool inputs);
/* Of a caller's request where numbers are shared: when no outcome may be written any more, since the owner of its number may
 * end it with an error soon. 0: always. */
uint64_t run_outcome_until_ms(const struct flow_run *r);
void flow_run_give_up(struct flow_run *r);       /* without an outcome: the next start finishes it */
void flow_run_fail(struct flow_run *r, enum rc rc, struct str text);
void flow_run_end(struct flow_run *r, const struct err *e);  /* whatever state it is in: the executor ends */

/* intake.c, executor 0 */
void intake_open(struct place *p);               /* its offsets are looked up or set; then it is ready */
void intake_close(struct place *p);              /* watches end */
void intake_owners(struct place *p);             /* other partitions are ours than before */
void intake_room(struct flow *f);                /* a run nobody waited for has ended */
void intake_rewatch(struct place *p);            /* its inputs topic is there again */
void intake_grow(struct place *p);               /* … has more partitions: they are begun, at 0 */
/* Where to go on instead of `at`, which is in or out of what the topic has: flow.h, enum flow_reset. made: the topic is another
 * one for certain. RC_INVALID: nowhere, e says so. */
enum rc intake_go_on_at(struct intake *in, int64_t at, bool made, const struct ends *e, int64_t *ret, struct err *why) MUST_USE;
/* Starts the run of a record. own: a gateway's, left unfinished; else an outside record. */
void intake_run(struct intake *in, const struct bus_record *rec, const struct run_id *own, uint32_t attempt);
/* Of the version of a pipeline that a gateway's input was admitted on; NULL: that one is not kept any more. */
const struct graph *input_graph(const struct place *p, const struct bus_record *rec, int64_t *ret_version);
bool intake_full(const struct place *p);         /* no room for a run of it that nobody waits for */
/* Room that is left is shared: whoever has SHARE times as much already gets no more of it. So one that hangs, or ten, leave some
 * for all others, and one alone may have nearly all. */
enum { SHARE = 4 };
static inline bool share_taken(uint64_t has, uint64_t now, uint64_t max) { return now >= max || has >= SHARE * (max - now); }
bool intake_for_us(const struct place *p, const struct bus_record *rec);
void ends_look(struct place *p, void (*done)(struct place *p, const struct ends *e));
int32_t ends_at(const struct ends_one *one, int32_t partition);      /* which partition of this topic has what belongs to it */
int64_t ends_of(const struct ends_one *one, int32_t partition);

/* commit.c. On executor 0 but for this: something was written to its inputs, or finished. */
void commit_touch(struct place *p);
void commit_now(struct flow *f);
void commit_told(struct intake *in);             /* its watch said how far it is, or ended */
void commit_metadata_parse(struct str s, struct intake *in);
struct str commit_metadata(struct arena *a, const struct intake *in);
void outcomes_begin(struct intake *in, const struct ends *e);        /* at these ends */
void outcomes_check(struct intake *in, const struct ends *e);        /* what is known of them may be of other partitions, or of topics that were made anew */
/* One commit of a place on its way. `done` is called unless the executor was closed meanwhile. */
struct commit {
    struct bus_commit c;
    struct place *p;
    struct arena arena;                          /* of the offsets and their metadata */
    void (*done)(struct place *p, const struct commit *c);
};
void commit_send(struct commit *c);              /* takes it */
struct commit *commit_new(struct place *p, void (*done)(struct place *p, const struct commit *c));
void why_set(char **why, const char *text);      /* NULL: nothing is wrong */

void record_meet(struct intake *in, const struct bus_record *rec);     /* one that a watch handed over: whose is it? */

/* held.c, executor 0 */
void held_keep(struct intake *in, const struct bus_record *records, size_t n, int64_t next);     /* copies them; n > 0 */
void held_drop(struct intake *in);               /* they will be read again */
bool held_run(struct intake *in);                /* as many as there is room for; true: none is left */

/* recover.c, executor 0 */
void scan_start(struct intake *in, const struct ends *e);    /* from its committed offset to these ends */
void scan_go_on(struct scan *s);                 /* there is room again */
void scan_end(struct intake *in);
bool scan_run_id(const struct bus_record *rec, struct run_id *ret);    /* of its header; false: none, or not one */
int64_t scan_floor(const struct scan *s);        /* inputs from here on are not sorted yet */

/* foreign.c, executor 0: inputs of a partition that is ours whose runs another process has, or had. Each goes when its outcome
 * is in the log; at `due_ms` (wall clock) it is ended with an error. */
void foreign_add(struct intake *in, int64_t offset, struct str identity, int64_t due_ms);
/* One that nobody is at, with an idempotency key: it is run, by this attempt number, if it turns out to be a run. */
void foreign_ask(struct intake *in, const struct bus_record *rec, const struct run_id *id, uint32_t attempt);
int64_t foreign_floor(const struct intake *in);  /* the oldest; INT64_MAX: there is none */
bool foreign_full(const struct intake *in);      /* no more of the partition is read until some of them are gone */
void foreign_clear(struct intake *in);

/* clear.c, executor 0 */
void place_clear(struct place *p);               /* it is gone: its offsets and perhaps its topics; then it is freed */
void places_gone(struct flow *f, const struct flow_snapshot *s);
void place_tell_gone(const struct place *p);     /* on the others: nothing here needs it any more */

/* probe.c */
void probes_end(struct flow *f);

/* call.c */
void call_step(struct flow_run *r, uint32_t node);
void call_stop(struct run_call *c);
void call_finish(struct run_call *c);            /* it has its answer, the run does not know yet */
void call_fly(struct run_call *c);
void calls_kick(struct place *model);            /* there may be room for more */

/* batch.c */
bool batch_wanted(struct flow_run *r, uint32_t node);    /* the step's call goes with those of other runs */
void batch_step(struct run_call *c);
void batch_leave(struct run_call *c);            /* its call is in the air */
void batch_unwait(struct run_call *c);           /* it waits for others */
void batch_returned(struct batch_line *l);
void batch_kick(struct batch_line *l);
void batch_kick_all(struct place *model);
void batch_lines_free(struct place *model);
void call_event(const struct run_call *c, struct upstream_call *up, struct run_event *ev);   /* up: what came of it */

/* append.c */
struct append_what {
    enum append_kind kind;
    struct place *place;                         /* NULL: the errors topic */
    bool inputs;
    struct bytes value;                          /* a message of the protocol, a request on an inputs topic */
    bool text;                                   /* … or not: an error's text, JSON */
    bool plain;                                  /* not as a message: without the schema registry's prefix */
    struct headers headers;
    int64_t timestamp_ms;
    struct str extra_name, extra_value;          /* one more header of our own; empty: none */
    struct str lacks;                            /* text: what was left out of it already */
};
void append_record(struct flow_run *r, const struct append_what *w);
void hop_unref(struct hop_of **h);               /* NULL is fine */

/* redact.c: the message as a record may have it, in `store` where something had to go, and the names of what it lacks. */
#define REDACTED_HEADER "millrace-redacted"
struct bytes redact_message(struct flow_run *r, enum infer_kind kind, struct bytes message, struct buf *store, struct str *ret_lacks);
