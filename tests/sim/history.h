/* tests/sim/history.h - what clients did and saw in one run, in the order in which it happened to them.
 *
 * An operation is two events: one when it begins, one when it ends, which names the first (`begun`). Whose connection was
 * lost ends as RESULT_UNKNOWN. Places in the list are the time: an operation that ended at place 7 was over before one that
 * began at place 8. Values are numbers from 1 on, each is sent once (a retry is the same operation).
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "base/buf.h"

enum event_kind {
    EVENT_SEND,              /* value, key, log, txn: is about to be produced */
    EVENT_SENT,              /* … how that ended; offset, or -1 where no answer was wanted */
    EVENT_SEEK,              /* the client goes on reading the log at offset */
    EVENT_READ,              /* the client was given the value at offset; value 0: a marker of the end of a transaction */
    EVENT_POLLED,            /* … and with that everything from offset to next; begun: the first of its READs, or itself */
    EVENT_WRITE,             /* value is about to be written to a register: a committed offset, a topic's existence … */
    EVENT_WRITTEN,
    EVENT_LOOK,              /* a register is about to be looked at */
    EVENT_SEEN,              /* … and has value; 0: nothing is there */
    EVENT_BOUNDS_ASK,
    EVENT_BOUNDS,            /* the log begins at offset, ends at next, is stable up to value; -1: was not told */
    EVENT_TRIM,              /* the log is about to lose everything below offset */
    EVENT_TRIMMED,
    EVENT_JOIN,              /* the client asks to be in the group (reg) */
    EVENT_OWNS,              /* … and has the log in generation value */
    EVENT_LEASE,             /* the client has the log of the group (reg) from now on, in epoch value */
    EVENT_YIELD,             /* … and gives it up */
    EVENT_ALIVE,             /* … and may count on what it has until value (microseconds) */
    EVENT_TXN_END,           /* transaction txn is about to be committed (value 1) or aborted (0) */
    EVENT_TXN_ENDED,
    EVENT_POWER_CUT, EVENT_START,
    EVENT_FINAL,             /* after all faults: the log begins at offset, ends at next, is stable up to value */
    EVENT_STUCK,             /* a client that does not get on although nothing fails any more */
};
enum result { RESULT_OK, RESULT_FAILED, RESULT_UNKNOWN };

/* Clients 0 and 1 are the auditors: they read every log from its start at the end; the second one read_committed. */
enum { AUDITOR = 0, AUDITOR_COMMITTED = 1, CLIENTS_FIRST = 2 };

struct event {
    uint64_t at_us;
    enum event_kind kind;
    enum result result;
    bool committed;          /* a reader that wants committed records only */
    bool bus;                /* sent by the bus; read by a watch of it, which shows what others have sent */
    uint32_t client, log, reg, txn, begun, key;
    int64_t offset, next;
    uint64_t value;
    uint64_t source;         /* a SEND's: the value that was read and became this one; reg says how far that reader has committed */
};

struct history_log {
    char name[48];
    bool compacted;          /* older values of a key may go */
    bool expires;            /* retention may delete from its start without being asked */
    bool doomed;             /* somebody has tried to delete it: anything may be missing */
};
struct history_reg { char name[80]; };

struct history {
    struct event *events;
    size_t n, cap;
    struct history_log *logs;
    size_t logs_n;
    struct history_reg *regs;
    size_t regs_n;
    uint64_t values;         /* how many have been given out */
    uint32_t txns;
};

void history_fini(struct history *h);
uint32_t history_add(struct history *h, struct event e);            /* its place */
uint32_t history_log_add(struct history *h, const char *name);
uint32_t history_reg(struct history *h, const char *name);          /* finds or makes it */
void event_print(const struct history *h, size_t at, struct buf *into);
