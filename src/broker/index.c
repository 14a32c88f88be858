/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/index.h"

uint32_t index_entry_bytes(enum index_kind kind) { return kind == INDEX_OFFSET ? 8 : 12; }

void index_init(struct index *x, enum index_kind kind, uint32_t written)
{
    *x = (struct index){.kind = kind, .written = written};
}

void index_fini(struct index *x)
{
    handles_drop(&x->handle);
    free(x->tail);
    *x = (struct index){.kind = x->kind};
}

static void entry_encode(enum index_kind kind, uint8_t *p, struct index_entry entry)
{
    if (kind == INDEX_OFFSET) {
        store_be32(p, (uint32_t)entry.key);
        store_be32(p + 4, (uint32_t)entry.value);
    } else {
        store_be64(p, (uint64_t)entry.key);
        store_be32(p + 8, (uint32_t)entry.value);
    }
}

static struct index_entry entry_decode(enum index_kind kind, const uint8_t *p)
{
    if (kind == INDEX_OFFSET) return (struct index_entry){load_be32(p), load_be32(p + 4)};
    return (struct index_entry){(int64_t)load_be64(p), load_be32(p + 8)};
}

enum rc index_flush(struct index *x, struct handles *hs, const char *path, struct err *e)
{
    uint32_t     size = index_entry_bytes(x->kind);
    struct file *f;

    if (!x->tail_n) return RC_OK;
    if (handles_get(hs, &x->handle, path, FS_READ | FS_WRITE | FS_CREATE, &f, e)) return e->rc;
    if (file_write(f, bytes_of(x->tail, (size_t)x->tail_n * size), (uint64_t)x->written * size, e)) return e->rc;
    x->written += x->tail_n;
    x->tail_n = 0;
    return RC_OK;
}

enum rc index_append(struct index *x, struct handles *hs, const char *path, struct index_entry entry, struct err *e)
{
    uint32_t size = index_entry_bytes(x->kind);

    if (x->tail_n == INDEX_TAIL && index_flush(x, hs, path, e)) return e->rc;
    if (!x->tail) x->tail = xcalloc(INDEX_TAIL, size);
    entry_encode(x->kind, x->tail + (size_t)x->tail_n++ * size, entry);
    x->last = entry;
    x->last_known = true;
    return RC_OK;
}

enum rc index_get(struct index *x, struct handles *hs, const char *path, uint32_t at, struct index_entry *ret, struct err *e)
{
    uint32_t     size = index_entry_bytes(x->kind);
    uint8_t      raw[12];
    struct file *f;

    must(at < index_count(x));
    if (x->last_known && at + 1 == index_count(x)) {
        *ret = x->last;
        return RC_OK;
    }
    if (at >= x->written) {
        *ret = entry_decode(x->kind, x->tail + (size_t)(at - x->written) * size);
        return RC_OK;
    }
    if (handles_get(hs, &x->handle, path, FS_READ | FS_WRITE, &f, e) || file_read_exact(f, raw, size, (uint64_t)at * size, e)) return e->rc;
    *ret = entry_decode(x->kind, raw);
    x->last_known = at + 1 == index_count(x);
    if (x->last_known) x->last = *ret;
    return RC_OK;
}

static enum rc find(struct index *x, struct handles *hs, const char *path, bool by_value, int64_t limit, int64_t *ret_at,
                    struct index_entry *ret, struct err *e)
{
    struct index_entry entry;
    uint32_t           lo = 0, hi = index_count(x);               /* entries below lo fit, from hi on they do not */

    *ret_at = -1;
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;

        if (index_get(x, hs, path, mid, &entry, e)) return e->rc;
        if ((by_value ? entry.value : entry.key) <= limit) {
            lo = mid + 1;
            *ret_at = mid;
            *ret = entry;
        } else {
            hi = mid;
        }
    }
    return RC_OK;
}

enum rc index_find_key(struct index *x, struct handles *hs, const char *path, int64_t limit, int64_t *ret_at, struct index_entry *ret, struct err *e)
{
    return find(x, hs, path, false, limit, ret_at, ret, e);
}

enum rc index_find_value(struct index *x, struct handles *hs, const char *path, int64_t limit, int64_t *ret_at, struct index_entry *ret, struct err *e)
{
    return find(x, hs, path, true, limit, ret_at, ret, e);
}

enum rc index_cut(struct index *x, struct handles *hs, const char *path, uint32_t count, struct err *e)
{
    struct file *f;

    if (count != index_count(x)) x->last_known = false;
    if (count >= x->written) {
        x->tail_n = MIN(x->tail_n, count - x->written);
        return RC_OK;
    }
    x->tail_n = 0;
    if (handles_get(hs, &x->handle, path, FS_READ | FS_WRITE, &f, e) || file_truncate(f, (uint64_t)count * index_entry_bytes(x->kind), e)) return e->rc;
    x->written = count;
    return RC_OK;
}
