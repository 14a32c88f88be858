/* flow/idem.h - idempotency keys: which requests were already taken, and what came of them.
 *
 * Executor 0 holds the index of every place; the others forward requests with a key to it (flow/forward.c). An entry is
 * made when a run with a key is admitted. Its outcome, an output or a model's 4xx, answers later requests with the same
 * key and the same bytes until flow.idempotencyWindowMs is over; other outcomes free the key. What earlier starts left
 * is read from the log when the first request with a key comes; only such requests wait for it.
 * Bounded: full, it refuses with RC_OVERLOAD, it never forgets.     SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "flow/executor.h"

enum { IDEM_HASH = 16, IDEM_MAX = 200000 };
#define IDEM_HEADER "millrace-idempotency"

struct idem_hash { uint8_t b[IDEM_HASH]; };
struct idem_hash idem_hash(struct bytes b);
/* "<hash of key>/<hash of input>" in hex; false: not that. */
struct str idem_header_print(struct arena *a, const struct idem_hash *key, const struct idem_hash *input);
bool idem_header_parse(struct str s, struct idem_hash *ret_key, struct idem_hash *ret_input);

struct idem {
    struct list link;                            /* in index.by_time */
    struct idem_index *index;
    struct idem_hash key, input;
    int64_t wall_ms;
    bool done, accepted, error;                  /* accepted: the pipeline has no output, its input is the answer */
    int32_t partition; int64_t offset;           /* done: where the outcome lies (error: of a model: on the errors topic;
                                                    accepted: the input) */
    bool running;                                /* a run of this process is at it */
    struct list waiters;                         /* runs not started, by flow_run.parked */
};

struct idem_index {
    struct place *place;
    struct map by_key;                           /* 16 bytes -> struct idem */
    struct list by_time;
    enum { IDEM_UNREAD, IDEM_READING, IDEM_READ } state;
    struct list waiting;                         /* runs not started, until the log was read */
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

/* idem_read.c: what earlier starts left. */
void idem_read_start(struct idem_index *x);
void idem_reads_end(struct flow *f);             /* those that wait to try again; the others end when the bus answers */
struct idem *idem_put(struct idem_index *x, const struct idem_hash *key, const struct idem_hash *input, int64_t wall_ms);
void idem_drop(struct idem *i);
void idem_read_done(struct idem_index *x);       /* those who waited go on */

/* A kind of error whose outcome is kept, from the value of the millrace-error header. */
bool idem_keeps(enum rc rc, int grpc_code, int http_status);
bool idem_error_parse(struct str s, int *ret_grpc, int *ret_http, bool *ret_upstream);
