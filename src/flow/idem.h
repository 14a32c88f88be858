/* flow/idem.h - idempotency keys: which requests were already taken, and what came of them.
 *
 * Executor 0 holds the index of every place; the others forward requests with a key to it (flow/forward.c). An entry is
 * made when a run with a key is admitted. Its outcome, an output or a model's 4xx, answers later requests with the same
 * key and the same bytes until flow.idempotencyWindowMs is over; other outcomes free the key. What earlier starts left
 * is read from the log when the first request with a key comes; only such requests wait for it.
 * Bounded: full, it refuses with RC_OVERLOAD, it never forgets.
 *
 * Where several processes share the log, the log decides (idem_shared.c): whose input is the first with the key holds it.
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "flow/executor.h"

enum { IDEM_HASH = 16, IDEM_MAX = 200000 };
#define IDEM_HEADER "millrace-idempotency"

struct idem_hash { uint8_t b[IDEM_HASH]; };
struct idem_hash idem_hash(struct bytes b);
/* The header of an input: "<hash of key>/<hash of input>" in hex, and "/<offset>" of the input that held the key before and
 * whose outcome freed it. */
struct idem_claim { struct idem_hash key, input; int64_t after; };     /* after -1: there was none */
struct str idem_header_print(struct arena *a, const struct idem_claim *c);
bool idem_header_parse(struct str s, struct idem_claim *ret);          /* false: not that */

struct idem_outcome { bool known, kept, error; int32_t partition; int64_t offset; };

struct idem {
    struct list link;                            /* in index.by_time */
    struct idem_index *index;
    struct idem_hash key, input;
    int64_t wall_ms;
    bool done, accepted, error;                  /* accepted: the pipeline has no output, its input is the answer */
    int32_t partition; int64_t offset;           /* done: where the outcome lies (error: of a model: on the errors topic;
                                                    accepted: the input) */
    struct flow_run *run;                        /* of this process, that is at it; NULL: none */
    struct list waiters;                         /* runs not started, by flow_run.parked */
    /* where processes share the log: */
    int64_t input_at;                            /* the input that holds the key; -1: nobody does, or it is on its way */
    int64_t freed_at;                            /* the last input that held it, whose outcome freed it; -1: none */
    int32_t home;                                /* the partition of both */
    char *identity;                              /* of the run that holds it and has no outcome yet; else NULL */
    struct idem_outcome ended;                   /* seen in the log while `run` is at it */
    struct list watch;                           /* in index.watched: somebody waits for another process's run */
};

/* How far the index has read one partition, and how far it is to. */
struct idem_part { int64_t at[3], to[3]; bool look; };       /* by enum idem_topic; look: to where they end now */
enum idem_topic { IDEM_INPUTS, IDEM_OUTPUTS, IDEM_ERRORS };

/* A walk through what was written since the last one (idem_follow.c). */
struct idem_round {
    bool going;
    struct idem_index *x;
    size_t part;
    enum idem_topic topic;
    struct bus_fetch fetch;
    struct timer again;                          /* the next one, or the next try */
    unsigned tries, waits;
};

struct idem_index {
    struct place *place;
    struct map by_key;                           /* 16 bytes -> struct idem */
    struct list by_time;
    enum { IDEM_UNREAD, IDEM_READING, IDEM_READ } state;
    int32_t read_n;                              /* so many partitions were read */
    struct list waiting;                         /* runs not started, until the log was read */
    /* where processes share the log: */
    struct idem_part *parts; size_t parts_n;
    struct map by_identity;                      /* struct idem */
    struct list watched;                         /* struct idem, by `watch` */
    struct list asking, asked;                   /* runs not started: until the next round; this round is over */
    uint64_t used_ms;                            /* when somebody last asked */
    struct idem_round round;
};

/* A request with a key, its place ready. True: it is a new run, with r->idem set, and goes on; false: it waits, or was
 * answered. */
bool idem_admit(struct flow_run *r);
void idem_recovered(struct flow_run *r, const struct bus_record *rec);   /* an input with a key is run again */
void idem_accepted(struct flow_run *r);          /* the input of a pipeline without output is in the log */
/* The run's outcome is in the log, or will never be (offset -1): waiters are answered, the key is kept or freed. */
void idem_settle(struct flow_run *r, int32_t partition, int64_t offset);
bool idem_wanted(const struct flow_run *r);      /* somebody else waits for it */
void idem_index_free(struct idem_index *x);

/* Of idem.c, for its neighbours. */
bool idem_no_output(const struct place *p, const struct bus_record *rec);        /* the run of this input has none, nor an outcome */
struct idem_index *idem_index_of(struct place *p);
bool idem_meet(struct flow_run *r, struct idem *i);                      /* its key is taken. True: it waits; else it was answered, or soon is */
bool idem_is_read(struct idem_index *x);         /* false: the log is to be read, or is being read; where it is shared, also for added partitions */
bool idem_wait(struct flow_run *r);              /* until it was; false: it was */
bool idem_full(struct flow_run *r);              /* then it was refused */
void idem_purge(struct idem_index *x);
void idem_waiters_tell(struct list *waiters, const struct bus_record *rec);             /* with this outcome */
void idem_waiters_answer(struct list *waiters, struct flow_run *r, bool accepted);       /* as r was */
const struct idem_claim *idem_claim_of(struct flow_run *r);             /* of its request; hashed once */
struct idem *idem_find(const struct idem_index *x, const struct idem_hash *key);         /* NULL: no entry */

/* idem_shared.c: several processes, one log. A request becomes a claim: its input is written, and read back before the run
 * starts. */
enum idem_verdict { IDEM_FIRST, IDEM_LATER, IDEM_UNKNOWN };
/* Is this input, which has a key, a run, or a later one with the key of another? UNKNOWN: not yet known, ask again soon. */
enum idem_verdict idem_verdict(struct place *p, int32_t partition, const struct bus_record *rec);
bool idem_record(const struct bus_record *rec, struct idem_claim *ret);  /* false: it has no key */
void idem_decide(struct flow_run *r);            /* the index is as new as its request */
void idem_decide_all(struct list *waiters);
void idem_acked(struct flow_run *r);             /* the claim is in the log */
void idem_unclaim(struct flow_run *r);           /* it ends before it is known whose the key is */
void idem_settle_shared(struct idem *i, struct flow_run *r, const struct idem_outcome *o);
void idem_meet_input(struct idem_index *x, int32_t partition, const struct bus_record *rec);
void idem_meet_outcome(struct idem_index *x, bool errors, int32_t partition, const struct bus_record *rec);
void idem_ended(struct idem *i, const struct idem_outcome *o, const struct bus_record *rec);     /* rec: of it; NULL: not at hand */
bool idem_waited_for(struct idem *i);            /* it is another process's, and somebody here waits */

/* idem_follow.c */
void idem_ask(struct flow_run *r);               /* idem_decide() when the index is as new as now */
struct idem_part *idem_part(struct idem_index *x, int32_t partition);
void idem_follow(struct idem_index *x);          /* reads what is wanted of the parts */
void idem_follow_free(struct idem_index *x);
void idem_forget(struct idem_index *x);          /* all of it: it is read anew when it is asked */

/* idem_read.c: what earlier starts left, and what lies in partitions that were added. */
void idem_read_start(struct idem_index *x);      /* it is UNREAD: the partitions from read_n on */
void idem_reads_end(struct flow *f);             /* those that wait to try again; the others end when the bus answers */
struct idem *idem_put(struct idem_index *x, const struct idem_hash *key, const struct idem_hash *input, int64_t wall_ms);
void idem_drop(struct idem *i);
void idem_read_done(struct idem_index *x);       /* those who waited go on */

/* A kind of error whose outcome is kept, from the value of the millrace-error header. */
bool idem_keeps(enum rc rc, int grpc_code, int http_status);
bool idem_record_keeps(const struct bus_record *rec, bool *ret_error);   /* … from an outcome's headers */
bool idem_error_parse(struct str s, int *ret_grpc, int *ret_http, bool *ret_upstream);
