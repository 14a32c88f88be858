/* kafka/batch_build.h - makes record batches in format 2.
 *
 *     struct batch_builder w;
 *     batch_begin(&w, &out, &(struct batch_options){…} or NULL);
 *     batch_add(&w, &(struct record_new){.timestamp = now, .key = …, .value = …});
 *     rc = batch_end(&w, codecs, &view, e);
 *
 * Appends to the caller's buf; nothing else may touch it in between. Who needs a batch of a certain size asks
 * batch_bytes() before adding. The offsets start at 0 unless said otherwise: see batch_assign().
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "kafka/batch.h"
#include "kafka/writer.h"

struct batch_options {
    enum kafka_codec codec;
    bool             transactional, control, log_append_time, delete_horizon;
    int64_t          base_offset;
    int64_t          base_timestamp;               /* only with delete_horizon; otherwise the first record's */
    int64_t          log_append_time_ms;           /* only with log_append_time: everybody's timestamp */
    bool             has_producer;                 /* else the three below are -1 */
    int64_t          producer_id;
    int16_t          producer_epoch;
    int32_t          base_sequence;
    int32_t          leader_epoch;
};

struct record_new {
    int64_t                     timestamp;
    struct bytes                key, value;        /* .p NULL: null */
    const struct record_header *headers;
    size_t                      headers_n;
};

struct batch_builder {
    struct buf          *out;
    size_t               start;
    struct batch_options opt;
    int32_t              count, last_offset_delta;
    int64_t              base_timestamp, max_timestamp;
};

void batch_begin(struct batch_builder *w, struct buf *out, const struct batch_options *opt);
void batch_add(struct batch_builder *w, const struct record_new *rec);
/* For who keeps gaps: offset deltas go up. */
void batch_add_at(struct batch_builder *w, int32_t offset_delta, const struct record_new *rec);
size_t batch_bytes(const struct batch_builder *w, const struct record_new *more);   /* so far, uncompressed; `more` may be NULL */
/* The last offset the batch stands for, where later records were left out. An empty batch must be told. */
void batch_extend(struct batch_builder *w, int32_t last_offset_delta);
/* *ret is a view of the finished batch in `out`. RC_TOO_LARGE: above 2 GiB; `out` is then as before. */
enum rc batch_end(struct batch_builder *w, struct codecs *c, struct bytes *ret, struct err *e) MUST_USE;

struct control_new {
    enum control_type type;
    int64_t           offset, timestamp, producer_id;
    int16_t           producer_epoch;
    int32_t           coordinator_epoch, leader_epoch;
};
/* The marker that ends a transaction in a partition: always 78 bytes. */
void batch_build_control(struct buf *out, const struct control_new *m);
