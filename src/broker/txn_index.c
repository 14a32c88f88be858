/* Design note: entries are sorted by their markers, so a reader skips by binary search what ended before its offset, and stops
 * at the first entry that was written when everything below the bound was decided. SPDX-License-Identifier: Apache-2.0 */
#include "broker/txn_index.h"
#include <inttypes.h>

enum { ENTRY_BYTES = 34, ENTRY_VERSION = 0, CHUNK = 120 };

void txn_index_fini(struct txn_index *x)
{
    handles_drop(&x->handle);
    *x = (struct txn_index){0};
}

static enum rc open_file(struct txn_index *x, struct handles *hs, const char *path, bool create, struct file **ret, struct err *e)
{
    return handles_get(hs, &x->handle, path, FS_READ | FS_WRITE | (create ? FS_CREATE : 0), ret, e);
}

static void encode(uint8_t *p, const struct aborted_txn *t)
{
    store_be16(p, ENTRY_VERSION);
    store_be64(p + 2, (uint64_t)t->producer_id);
    store_be64(p + 10, (uint64_t)t->first);
    store_be64(p + 18, (uint64_t)t->last);
    store_be64(p + 26, (uint64_t)t->stable);
}

static struct aborted_txn decode(const uint8_t *p)
{
    return (struct aborted_txn){(int64_t)load_be64(p + 2), (int64_t)load_be64(p + 10), (int64_t)load_be64(p + 18), (int64_t)load_be64(p + 26)};
}

/* Reads up to CHUNK entries from number `at` on. */
static enum rc read_some(struct txn_index *x, struct handles *hs, const char *path, uint32_t at, uint32_t n, uint8_t *into, struct err *e)
{
    struct file *f;

    if (open_file(x, hs, path, false, &f, e)) return e->rc;
    return file_read_exact(f, into, (size_t)n * ENTRY_BYTES, (uint64_t)at * ENTRY_BYTES, e);
}

static enum rc cut(struct txn_index *x, struct handles *hs, const char *path, uint32_t n, struct err *e)
{
    struct file *f;

    if (open_file(x, hs, path, false, &f, e) || file_truncate(f, (uint64_t)n * ENTRY_BYTES, e)) return e->rc;
    x->n = n;
    x->dirty = true;
    return RC_OK;
}

/* How many of the first n entries are there before `end`. False: one of them is no entry of this segment. */
static enum rc count(struct txn_index *x, struct handles *hs, const char *path, uint32_t n, struct txn_range of, bool *ret_sane, struct err *e)
{
    uint8_t raw[CHUNK * ENTRY_BYTES];
    int64_t last = of.base - 1;

    *ret_sane = true;
    for (uint32_t at = 0; at < n; at += CHUNK) {
        uint32_t some = MIN(n - at, (uint32_t)CHUNK);

        if (read_some(x, hs, path, at, some, raw, e)) return e->rc;
        for (uint32_t i = 0; i < some; i++) {
            struct aborted_txn t = decode(raw + (size_t)i * ENTRY_BYTES);

            if (t.last >= of.end && !of.closed) return RC_OK;
            *ret_sane = load_be16(raw + (size_t)i * ENTRY_BYTES) == ENTRY_VERSION && t.producer_id >= 0 && t.first >= 0 && t.first < t.last && t.last > last && t.last < of.end;
            if (!*ret_sane) return RC_OK;
            last = t.last;
            x->n++;
        }
    }
    return RC_OK;
}

enum rc txn_index_load(struct txn_index *x, struct handles *hs, const char *path, struct txn_range of, struct err *e)
{
    struct fs_stat st;
    bool           sane;

    x->n = 0;
    x->loaded = true;
    if (fs_stat(hs->fs, path, &st, e)) return e->rc == RC_NOT_FOUND ? RC_OK : e->rc;
    if (of.end <= of.base) return cut(x, hs, path, 0, e);
    if (count(x, hs, path, (uint32_t)MIN(st.size / ENTRY_BYTES, (uint64_t)UINT32_MAX), of, &sane, e)) return e->rc;
    if (!sane) {
        x->n = 0;
        x->loaded = false;
        return err_set(e, RC_CORRUPT, "%s: not an index of aborted transactions", path);
    }
    return st.size == (uint64_t)x->n * ENTRY_BYTES ? RC_OK : cut(x, hs, path, x->n, e);
}

enum rc txn_index_append(struct txn_index *x, struct handles *hs, const char *path, const struct aborted_txn *t, struct err *e)
{
    uint8_t      raw[ENTRY_BYTES];
    struct file *f;

    encode(raw, t);
    if (open_file(x, hs, path, true, &f, e) || file_write(f, bytes_of(raw, sizeof raw), (uint64_t)x->n * ENTRY_BYTES, e)) return e->rc;
    x->n++;
    x->dirty = true;
    return RC_OK;
}

/* The first entry whose marker is at or behind `from`. */
static enum rc place(struct txn_index *x, struct handles *hs, const char *path, int64_t from, uint32_t *ret, struct err *e)
{
    uint32_t lo = 0, hi = x->n;
    uint8_t  raw[ENTRY_BYTES];

    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;

        if (read_some(x, hs, path, mid, 1, raw, e)) return e->rc;
        if (decode(raw).last < from) lo = mid + 1;
        else hi = mid;
    }
    *ret = lo;
    return RC_OK;
}

enum rc txn_index_find(struct txn_index *x, struct handles *hs, const char *path, int64_t from, int64_t bound, struct buf *into,
                       bool *ret_all, struct err *e)
{
    uint8_t  raw[CHUNK * ENTRY_BYTES];
    uint32_t at = 0;

    *ret_all = false;
    if (!x->n) return RC_OK;
    if (place(x, hs, path, from, &at, e)) return e->rc;
    for (uint32_t some; at < x->n; at += some) {
        some = MIN(x->n - at, (uint32_t)CHUNK);
        if (read_some(x, hs, path, at, some, raw, e)) return e->rc;
        for (uint32_t i = 0; i < some; i++) {
            struct aborted_txn t = decode(raw + (size_t)i * ENTRY_BYTES);

            if (t.first < bound) buf_append(into, bytes_of(&t, sizeof t));
            *ret_all = t.stable >= bound;
            if (*ret_all) return RC_OK;
        }
    }
    return RC_OK;
}
