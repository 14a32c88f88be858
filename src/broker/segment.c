/* Design note: a lookup is a binary search in an index, then a walk over batch heads, at most index_interval bytes and
 * one batch long. Index entries are made as Kafka makes them: before a batch is counted, when more than the interval
 * was appended since the last entry; the offset entry names the batch's last offset, the time entry the largest
 * timestamp so far. SPDX-License-Identifier: Apache-2.0 */
#include "broker/segment.h"
#include <inttypes.h>
#include <stdio.h>

bool batch_head_decode(struct bytes b, struct batch_head *ret)
{
    const uint8_t *p = b.p;
    uint32_t       length;

    if (b.n < BATCH_HEADER_BYTES || p[16] != BATCH_MAGIC) return false;
    length = load_be32(p + 8);
    if (length < BATCH_LENGTH_MIN || length > INT32_MAX - BATCH_LOG_OVERHEAD) return false;
    ret->base_offset = (int64_t)load_be64(p);
    ret->bytes = length + BATCH_LOG_OVERHEAD;
    ret->leader_epoch = (int32_t)load_be32(p + 12);
    ret->attributes = load_be16(p + 21);
    ret->last_offset_delta = (int32_t)load_be32(p + 23);
    ret->max_timestamp = (int64_t)load_be64(p + 35);
    ret->producer_id = (int64_t)load_be64(p + 43);
    ret->producer_epoch = (int16_t)load_be16(p + 51);
    ret->base_sequence = (int32_t)load_be32(p + 53);
    ret->record_count = (int32_t)load_be32(p + 57);
    if (ret->base_offset < 0 || ret->last_offset_delta < 0 || ret->base_offset > INT64_MAX - INT32_MAX - 1) return false;
    ret->last_offset = ret->base_offset + ret->last_offset_delta;
    return true;
}

void segment_path(const struct segment_place *in, int64_t base, const char *suffix, char ret[SEGMENT_PATH_BYTES])
{
    must(snprintf(ret, SEGMENT_PATH_BYTES, "%s/%020" PRId64 "%s", in->dir, base, suffix) < SEGMENT_PATH_BYTES);
}

void segment_init(struct segment *s, int64_t base)
{
    *s = (struct segment){.base = base, .max_time = -1, .max_time_offset = -1, .first_time = -1, .loaded = true};
    index_init(&s->offsets, INDEX_OFFSET, 0);
    index_init(&s->times, INDEX_TIME, 0);
}

void segment_fini(struct segment *s)
{
    handles_drop(&s->handle);
    index_fini(&s->offsets);
    index_fini(&s->times);
    txn_index_fini(&s->aborted);
}

enum rc segment_file(struct segment *s, const struct segment_place *in, bool create, struct file **ret, struct err *e)
{
    char path[SEGMENT_PATH_BYTES];

    if (s->handle) return handles_get(in->handles, &s->handle, "", 0, ret, e);
    segment_path(in, s->base, ".log", path);
    return handles_get(in->handles, &s->handle, path, FS_READ | FS_WRITE | (create ? FS_CREATE : 0), ret, e);
}

/* ---- heads and walks ---- */

enum rc segment_head(struct segment *s, const struct segment_place *in, uint64_t at, struct batch_head *ret, struct err *e)
{
    uint8_t      raw[BATCH_HEADER_BYTES];
    struct file *f;

    if (at >= s->size) return err_set(e, RC_NOT_FOUND, "end of segment %" PRId64, s->base);
    if (segment_file(s, in, false, &f, e)) return e->rc;
    if (s->size - at >= BATCH_HEADER_BYTES && file_read_exact(f, raw, sizeof raw, at, e)) return e->rc;
    if (s->size - at < BATCH_HEADER_BYTES || !batch_head_decode(bytes_of(raw, sizeof raw), ret) || ret->bytes > s->size - at ||
        ret->base_offset < s->base)
        return err_set(e, RC_CORRUPT, "%s/%020" PRId64 ".log: no record batch at %" PRIu64, in->dir, s->base, at);
    return RC_OK;
}

/* ---- indexes ---- */

static enum rc add_offset(struct segment *s, const struct segment_place *in, int64_t last_offset, uint64_t at, struct err *e)
{
    char path[SEGMENT_PATH_BYTES];

    if (s->offsets.tail_n < INDEX_TAIL) path[0] = 0;              /* stays in memory */
    else segment_path(in, s->base, ".index", path);
    return index_append(&s->offsets, in->handles, path, (struct index_entry){last_offset - s->base, (int64_t)at}, e);
}

static enum rc add_time(struct segment *s, const struct segment_place *in, struct err *e)
{
    char               path[SEGMENT_PATH_BYTES];
    struct index_entry last;

    if (s->max_time < 0) return RC_OK;
    segment_path(in, s->base, ".timeindex", path);
    if (index_count(&s->times)) {
        if (index_get(&s->times, in->handles, path, index_count(&s->times) - 1, &last, e)) return e->rc;
        if (last.key >= s->max_time) return RC_OK;
    }
    return index_append(&s->times, in->handles, path, (struct index_entry){s->max_time, s->max_time_offset - s->base}, e);
}

enum rc segment_note(struct segment *s, const struct segment_place *in, const struct batch_head *h, uint64_t at,
                     uint32_t index_interval, struct err *e)
{
    if (h->max_timestamp > s->max_time) {
        s->max_time = h->max_timestamp;
        s->max_time_offset = h->last_offset;
    }
    if (at == 0) s->first_time = h->max_timestamp;
    if (s->since_index > index_interval) {
        enum rc rc;

        /* Entries are optional: without room for one, the next batch tries again. */
        if ((rc = add_time(s, in, e)) == RC_OK) rc = add_offset(s, in, h->last_offset, at, e);
        if (rc && rc != RC_DISK_FULL) return rc;
        if (!rc) s->since_index = 0;
    }
    s->since_index += h->bytes;
    return RC_OK;
}

struct segment_mark segment_mark(const struct segment *s)
{
    return (struct segment_mark){.size = s->size, .since_index = s->since_index, .offsets_n = index_count(&s->offsets),
                                 .times_n = index_count(&s->times), .max_time = s->max_time,
                                 .max_time_offset = s->max_time_offset, .first_time = s->first_time};
}

void segment_back(struct segment *s, const struct segment_place *in, const struct segment_mark *to)
{
    char       path[SEGMENT_PATH_BYTES];
    struct err e;

    s->size = to->size;
    s->cut = true;
    s->since_index = to->since_index;
    s->max_time = to->max_time;
    s->max_time_offset = to->max_time_offset;
    s->first_time = to->first_time;
    segment_path(in, s->base, ".index", path);
    if (index_cut(&s->offsets, in->handles, path, to->offsets_n, &e)) return;      /* found out when it is loaded */
    segment_path(in, s->base, ".timeindex", path);
    if (index_cut(&s->times, in->handles, path, to->times_n, &e)) return;
}

enum rc segment_seal(struct segment *s, const struct segment_place *in, struct err *e)
{
    char path[SEGMENT_PATH_BYTES];

    if (!s->loaded) return RC_OK;
    if (add_time(s, in, e)) return e->rc;
    segment_path(in, s->base, ".index", path);
    if (index_flush(&s->offsets, in->handles, path, e)) return e->rc;
    segment_path(in, s->base, ".timeindex", path);
    return index_flush(&s->times, in->handles, path, e);
}

/* How many entries of an index file make sense: all, or none. Missing is none. */
static enum rc entries_trusted(struct segment *s, struct index *x, const struct segment_place *in, const char *suffix,
                               uint32_t *ret, struct err *e)
{
    char               path[SEGMENT_PATH_BYTES];
    struct fs_stat     st;
    struct index_entry last;
    uint32_t           size = index_entry_bytes(x->kind);

    *ret = 0;
    segment_path(in, s->base, suffix, path);
    if (fs_stat(in->handles->fs, path, &st, e)) return e->rc == RC_NOT_FOUND ? RC_OK : e->rc;
    if (st.size % size || st.size / size > UINT32_MAX / 2 || !st.size) return RC_OK;
    index_init(x, x->kind, (uint32_t)(st.size / size));
    if (index_get(x, in->handles, path, x->written - 1, &last, e)) return e->rc;
    if (x->kind == INDEX_OFFSET) {
        struct batch_head h;

        if ((uint64_t)last.value >= s->size || segment_head(s, in, (uint64_t)last.value, &h, e) || h.last_offset != s->base + last.key)
            return RC_OK;
    } else if (last.key < 0) {
        return RC_OK;
    }
    *ret = x->written;
    return RC_OK;
}

static enum rc index_open(struct index *x, const struct segment_place *in, const struct segment *s, const char *suffix, uint32_t n, struct err *e)
{
    char           path[SEGMENT_PATH_BYTES];
    struct fs_stat st;

    index_fini(x);
    segment_path(in, s->base, suffix, path);
    if (fs_stat(in->handles->fs, path, &st, e)) {
        if (e->rc == RC_NOT_FOUND && !n) return RC_OK;
        return e->rc == RC_NOT_FOUND ? err_set(e, RC_CORRUPT, "%s is missing", path) : e->rc;
    }
    if (st.size < (uint64_t)n * index_entry_bytes(x->kind)) return err_set(e, RC_CORRUPT, "%s: shorter than at its checkpoint", path);
    x->written = n;
    if (st.size == (uint64_t)n * index_entry_bytes(x->kind)) return RC_OK;
    x->written = n + 1;                                           /* so that the cut reaches the file */
    return index_cut(x, in->handles, path, n, e);
}

/* Indexes are caches: whatever is wrong with them, they can be made again. */
static enum rc indexes_open(struct segment *s, const struct segment_place *in, uint32_t offsets_n, uint32_t times_n, struct err *e)
{
    if (offsets_n == UINT32_MAX) {
        if (entries_trusted(s, &s->offsets, in, ".index", &offsets_n, e) || entries_trusted(s, &s->times, in, ".timeindex", &times_n, e))
            return e->rc;
        if (!times_n) offsets_n = 0;
    }
    if (index_open(&s->offsets, in, s, ".index", offsets_n, e) && e->rc != RC_CORRUPT) return e->rc;
    if (index_open(&s->times, in, s, ".timeindex", times_n, e) && e->rc != RC_CORRUPT) return e->rc;
    if (index_count(&s->offsets) == offsets_n && index_count(&s->times) == times_n) return RC_OK;
    if (index_open(&s->offsets, in, s, ".index", 0, e)) return e->rc;
    return index_open(&s->times, in, s, ".timeindex", 0, e);
}

/* An entry of a batch that could not be kept: the write failed, and cutting the index back did, too. */
static enum rc indexes_within(struct segment *s, const struct segment_place *in, struct err *e)
{
    char               path[SEGMENT_PATH_BYTES];
    struct index_entry last;

    if (!index_count(&s->offsets)) return RC_OK;
    segment_path(in, s->base, ".index", path);
    if (index_get(&s->offsets, in->handles, path, index_count(&s->offsets) - 1, &last, e)) return e->rc;
    if ((uint64_t)last.value < s->size) return RC_OK;
    if (index_open(&s->offsets, in, s, ".index", 0, e)) return e->rc;
    return index_open(&s->times, in, s, ".timeindex", 0, e);
}

enum rc segment_load(struct segment *s, const struct segment_place *in, uint32_t offsets_n, uint32_t times_n,
                     uint32_t index_interval, struct err *e)
{
    char               path[SEGMENT_PATH_BYTES];
    struct index_entry entry;
    struct batch_head  h;
    uint64_t           at = 0;

    s->offsets.kind = INDEX_OFFSET, s->times.kind = INDEX_TIME;
    s->max_time = s->max_time_offset = s->first_time = -1;
    s->since_index = 0;
    if (indexes_open(s, in, offsets_n, times_n, e) || indexes_within(s, in, e)) return e->rc;
    if (index_count(&s->times)) {
        segment_path(in, s->base, ".timeindex", path);
        if (index_get(&s->times, in->handles, path, index_count(&s->times) - 1, &entry, e)) return e->rc;
        s->max_time = entry.key;
        s->max_time_offset = s->base + entry.value;
    }
    if (s->size) {
        if (segment_head(s, in, 0, &h, e)) return e->rc;
        s->first_time = h.max_timestamp;
    }
    if (index_count(&s->offsets)) {
        segment_path(in, s->base, ".index", path);
        if (index_get(&s->offsets, in->handles, path, index_count(&s->offsets) - 1, &entry, e)) return e->rc;
        at = (uint64_t)entry.value;
        if (segment_head(s, in, at, &h, e)) return e->rc;
        s->since_index = h.bytes;                                 /* it was counted after its entry was made */
        at += h.bytes;
    }
    for (; at < s->size; at += h.bytes)
        if (segment_head(s, in, at, &h, e) || segment_note(s, in, &h, at, index_interval, e)) return e->rc;
    s->loaded = true;
    return RC_OK;
}

/* ---- writing and seeking ---- */

enum rc segment_write(struct segment *s, const struct segment_place *in, struct bytes held, struct bytes batch, struct err *e)
{
    struct iovec parts[2] = {{(void *)(uintptr_t)held.p, held.n}, {(void *)(uintptr_t)batch.p, batch.n}};
    uint64_t     at = s->size - held.n;
    struct file *f;
    struct err   cut;

    if (segment_file(s, in, true, &f, e)) return e->rc;
    if (file_writev(f, held.n ? parts : parts + 1, held.n && batch.n ? 2 : 1, at, e)) {
        s->cut = true;
        if (!file_truncate(f, at, &cut)) return e->rc;
        e->rc = RC_IO;                                            /* the file is longer than we say */
        return err_in(e, "not cut back (%s)", cut.text);
    }
    s->size += batch.n;
    return RC_OK;
}

enum rc segment_floor(struct segment *s, const struct segment_place *in, uint64_t at, uint64_t *ret_at, struct err *e)
{
    char               path[SEGMENT_PATH_BYTES];
    struct index_entry entry;
    int64_t            found;

    segment_path(in, s->base, ".index", path);
    if (index_find_value(&s->offsets, in->handles, path, (int64_t)at, &found, &entry, e)) return e->rc;
    *ret_at = found < 0 ? 0 : (uint64_t)entry.value;
    return RC_OK;
}

enum rc segment_seek(struct segment *s, const struct segment_place *in, int64_t offset, uint64_t *ret_at, struct batch_head *ret, struct err *e)
{
    char               path[SEGMENT_PATH_BYTES];
    struct index_entry entry;
    int64_t            found;
    uint64_t           at = 0;

    segment_path(in, s->base, ".index", path);
    if (index_find_key(&s->offsets, in->handles, path, offset - s->base, &found, &entry, e)) return e->rc;
    if (found >= 0) at = (uint64_t)entry.value;
    if (at && (segment_head(s, in, at, ret, e) || ret->last_offset != s->base + entry.key)) at = 0;      /* a damaged entry: without the index */
    for (;; at += ret->bytes) {
        if (segment_head(s, in, at, ret, e)) return e->rc;
        if (ret->last_offset >= offset) break;
    }
    *ret_at = at;
    return RC_OK;
}

enum rc segment_seek_time(struct segment *s, const struct segment_place *in, int64_t time, uint64_t *ret_at, struct batch_head *ret, struct err *e)
{
    char               path[SEGMENT_PATH_BYTES];
    struct index_entry entry;
    int64_t            found;
    uint64_t           at = 0;

    segment_path(in, s->base, ".timeindex", path);
    if (index_find_key(&s->times, in->handles, path, time - 1, &found, &entry, e)) return e->rc;
    if (found >= 0 && segment_seek(s, in, s->base + entry.value, &at, ret, e)) return e->rc;
    for (;; at += ret->bytes) {
        if (segment_head(s, in, at, ret, e)) return e->rc;
        if (ret->max_timestamp >= time) break;
    }
    *ret_at = at;
    return RC_OK;
}
