/* broker/record_piece.h - a record's key or value while it is written: its version in front, as Kafka's internal topics have it.
 *
 *     piece_begin(&key, version);  …_encode(&key.w, …);  record_end(w, &key, &value, now_ms);
 *
 * Used by: broker/offsets_record.c, cgroup_record.c.   SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "kafka/batch_build.h"

struct piece { struct buf buf; struct wr w; };

static inline void piece_begin(struct piece *p, int16_t version)
{
    *p = (struct piece){0};
    wr_init(&p->w, &p->buf);
    wr_i16(&p->w, version);
}

static inline void piece_fini(struct piece *p)
{
    wr_fini(&p->w);
    buf_fini(&p->buf);
}

/* Adds the record and ends its pieces. value NULL: what the key names is gone. */
static inline void record_end(struct batch_builder *w, struct piece *key, struct piece *value, int64_t now_ms)
{
    batch_add(w, &(struct record_new){.timestamp = now_ms, .key = buf_view(&key->buf),
                                      .value = value ? buf_view(&value->buf) : (struct bytes){0}});
    piece_fini(key);
    if (value) piece_fini(value);
}
