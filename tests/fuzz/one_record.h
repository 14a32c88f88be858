/* tests/fuzz/one_record.h - one record of an internal topic, as an input says it (the first byte is the key's length, then key and
 * value; none left: null), and as it stands in a batch. SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "base/arena.h"
#include "kafka/batch.h"

/* Points into data, of which there is at least one byte. */
static inline struct record one_record(const uint8_t *data, size_t size)
{
    size_t key = MIN((size_t)data[0], size - 1);
    struct record ret = {.key = bytes_of(data + 1, key)};

    if (size - 1 > key) ret.value = bytes_of(data + 1 + key, size - 1 - key);
    return ret;
}

/* Of a batch that has just been built; key and value are copied. */
static inline struct record only_record(struct bytes batch, struct arena *a)
{
    AUTO(codecs_freep) struct codecs *codecs = codecs_new();
    AUTO(buf_fini) struct buf scratch = {0};
    struct records it;
    struct record ret;
    struct batch b;

    must(!batch_view(batch, &b) && !batch_check(&b));
    must(!records_open(&it, &b, codecs, 1 << 30, &scratch) && records_next(&it, &ret));
    ret.key = arena_dup(a, ret.key);
    if (ret.value.p) ret.value = arena_dup(a, ret.value);
    return ret;
}
