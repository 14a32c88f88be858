/* bus/trouble.h - what goes wrong with a Kafka, in the words operators search for: one table for the log, the commands, the
 * metrics and the answers to callers.
 *
 * Whoever meets an error of Kafka has it recognised (trouble_of_…) and says it (trouble_say). What lasts is in the log once a
 * minute, with how often it was met, and at once when what to do has changed; trouble_gone() ends it. The state is the process's, as the log is.
 * From any thread.   Used by: bus, app, gateway, cli.   SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/buf.h"
#include "base/err.h"

enum trouble_kind {
    TROUBLE_NONE,
    TROUBLE_BROKER,                              /* Broker not available */
    TROUBLE_METADATA,                            /* Topic metadata refresh timeout */
    TROUBLE_SASL,                                /* SASL authentication failed */
    TROUBLE_TLS,                                 /* SSL handshake failed */
    TROUBLE_SIZE,                                /* Message too large */
    TROUBLE_KINDS
};
struct trouble {
    enum trouble_kind kind;
    const char *remedy;                          /* what to do; never ends, no full stop */
    char cause[300];                             /* what the broker, the library or we found */
};

const char *trouble_name(enum trouble_kind kind);            /* "broker_not_available", … for metrics and JSON; "none" */
const char *trouble_sentence(enum trouble_kind kind);        /* "Broker not available", …; "" */
enum rc trouble_rc(enum trouble_kind kind);

/* Which of them is it, by librdkafka's error code and text? False: none, *ret is untouched. */
bool trouble_of_code(int code, const char *text, struct trouble *ret);
/* … by an err made of one, wherever it has travelled: its text has the sentence. */
bool trouble_of_err(const struct err *e, struct trouble *ret);
/* One that was found here; the cause is formatted. */
struct trouble trouble_make(enum trouble_kind kind, const char *fmt, ...) PRINTF(2, 3);
/* The whole as an error: "Broker not available: cause (remedy)". Returns its rc. */
enum rc trouble_err(const struct trouble *t, struct err *e);
void trouble_put(const struct trouble *t, struct buf *b);    /* the same text */

/* Counts it, and logs it unless the log has it already (event kafka.trouble: trouble, error, remedy, times). No broker being
 * there is no news while the brokers turn us away: that is what is said then. */
void trouble_say(const struct trouble *t);
void trouble_gone(void);                                     /* Kafka answers: nothing lasts any more */
bool trouble_now(struct trouble *ret);                       /* what keeps us from Kafka; false: nothing */
void trouble_more(struct err *e);                  /* what keeps us from Kafka, if anything does, behind an error that comes of it */
bool trouble_last(enum trouble_kind kind, struct trouble *ret, uint64_t *ret_ago_ms);    /* the last one of a kind; false: never met */
uint64_t trouble_count(enum trouble_kind kind);              /* times met since the start, for metrics */
