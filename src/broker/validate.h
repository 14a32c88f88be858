/* broker/validate.h - may this batch of a producer be stored? The records' own rules, and what has to be put right first.
 *
 * Pure but for the codecs: no log, no clock. Runs on the loop, or on a worker for large batches.
 * Lives on: any thread.   Used by: api/produce.c.   SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "kafka/batch.h"

enum { RECORD_FAULTS_TOLD = 10 };
enum record_fault { RECORD_NO_KEY, RECORD_TIME_RANGE, RECORD_TIME_TYPE };

struct batch_rules {
    int64_t now_ms, before_max_ms, after_max_ms;   /* how far from now a timestamp may be */
    bool    compacted;                             /* every record needs a key */
    bool    log_append_time;
    int32_t codec;                                 /* -1: as sent; else the codec to store with */
    int32_t levels[KAFKA_CODECS];                  /* of the codecs, when the broker compresses */
    size_t  expanded_bytes_max;
};

struct batch_verdict {
    int16_t code;                                  /* Kafka's; 0: fine */
    const char *why;                               /* a phrase, or NULL */
    size_t  faults_n;                              /* records that break a rule; the first few follow */
    struct { int32_t index; enum record_fault fault; } faults[RECORD_FAULTS_TOLD];
    int64_t min_timestamp, max_timestamp;          /* of the records */
    bool    too_large;                             /* it expands to more than rules->expanded_bytes_max */
    bool    rebuild;                               /* offset deltas are not 0 … n-1, the codec is another one, or LZ4 frames have linked blocks */
};

const char *record_fault_text(enum record_fault f);

/* The checksum has been checked. `scratch` is used for compressed batches. */
void batch_validate(const struct batch *b, const struct batch_rules *rules, struct codecs *c, struct buf *scratch, struct batch_verdict *ret);
/* The same records anew, with right deltas and in the codec of the rules; appended to *into. */
enum rc batch_rebuild(const struct batch *b, const struct batch_rules *rules, struct codecs *c, struct buf *scratch, struct buf *into,
                      struct err *e) MUST_USE;
