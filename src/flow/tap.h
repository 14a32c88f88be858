/* flow/tap.h - inputs from other pipelines. Executor 0's own.     SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "flow/executor.h"

struct join;

bool tap_wanted(const struct place *p);          /* it has inputs from other pipelines, and this executor reads them */
bool tap_ready(const struct place *p);           /* their offsets are known */
void tap_open(struct place *p);                  /* ends in intake_open() */
void tap_follow(struct place *p);                /* the place has another version */
void tap_owners(struct place *p);                /* other partitions are ours than before */
void tap_close(struct place *p);
void tap_admitted(struct join *j, bool ok);
/* The i-th topic that it reads, and how many of its partitions; false: there are no more, or it is not ready. */
struct tap_feed { struct str topic; int32_t used, *said; };     /* said: for grow.c */
bool tap_feed(const struct place *p, size_t i, struct tap_feed *ret);

/* admit.c: the input of a run that nobody waits for. RC_OK: *ret is on its way, tap_admitted() will be called. */
struct tap_input {
    struct join *origin;
    int32_t partition;
    struct bytes key, message;                   /* key.p NULL: it has none */
    struct headers headers;
    struct str sources;
    int64_t timestamp_ms;
};
enum rc run_admit_tapped(struct place *p, const struct tap_input *in, struct flow_run **ret) MUST_USE;
