/* Design note: positions grow for ever; position p lies at ring byte (p - ring_base) mod ring_bytes. Groups start at
 * multiples of FS_ALIGN and may wrap. A group has a header, then its records, then zeros up to the next multiple.
 *
 * The happy path of replay reads group after group until a header does not fit: other start number, other group number,
 * other first seq, bad CRC. What a power cut leaves behind is at most one incomplete group, since one write is in flight
 * at a time; so a valid header of a later group behind the stop means that acknowledged bytes were damaged.
 * All CRCs are seeded with a hash of a secret of the folder and the start number: no record of another folder or of an
 * earlier start, and nothing a client sends, can be taken for one of ours.
 * SPDX-License-Identifier: Apache-2.0 */
#include "broker/wal.h"
#include "base/crc.h"
#include "base/rng.h"
#include <inttypes.h>
#include <stdio.h>

enum {
    RING_AT = 2 * FS_ALIGN,                    /* behind the two superblocks */
    GROUP_BYTES_MAX = 4 << 20,                 /* or one record that is larger; two such buffers are most of what a load needs */
    GROUP_KEEP_BYTES = 1 << 20,                /* a larger buffer is given back when it was hardly used */
    ZERO_CHUNK = 1 << 20,
    ZERO_PIECES = 16
};
static const uint32_t GROUP_MAGIC = 0x3147524d;                   /* "MRG1" */
static const char     SUPER_MAGIC[8] = "MILLRWAL";

static size_t align_up(size_t n, size_t to) { return (n + to - 1) / to * to; }

static uint32_t salt_of(const struct wal_super *s, uint32_t start_number)
{
    uint8_t n[4];

    store_le32(n, start_number);
    return crc32c_more(crc32c(bytes_of(s->secret, sizeof s->secret)), bytes_of(n, sizeof n));
}

/* ---- the ring ---- */

static enum rc ring_io(struct file *f, struct wal_ring ring, uint64_t at, uint8_t *p, size_t n, bool write, struct err *e)
{
    while (n) {
        uint64_t in_ring = (at - ring.base) % ring.bytes;
        size_t   now = (size_t)MIN((uint64_t)n, ring.bytes - in_ring);

        if (write ? file_write(f, bytes_of(p, now), RING_AT + in_ring, e)
                  : file_read_exact(f, p, now, RING_AT + in_ring, e))
            return e->rc;
        at += now, p += now, n -= now;
    }
    return RC_OK;
}

uint64_t wal_used(const struct wal *w) { return w->end - w->super.begin; }

static size_t record_bytes(size_t payload) { return align_up(WAL_HEADER_BYTES + payload, 8); }

static size_t group_bytes_with(const struct wal *w, size_t payload_bytes)
{
    return (w->building.n ? w->building.n : WAL_HEADER_BYTES) + record_bytes(payload_bytes);
}

bool wal_ring_is_short(const struct wal *w, size_t payload_bytes)
{
    return align_up(group_bytes_with(w, payload_bytes), FS_ALIGN) > w->super.ring.bytes - wal_used(w);
}

bool wal_has_room(const struct wal *w, size_t payload_bytes)
{
    return !wal_ring_is_short(w, payload_bytes) &&
           group_bytes_with(w, payload_bytes) <= MAX((size_t)GROUP_BYTES_MAX, WAL_HEADER_BYTES + record_bytes(payload_bytes));
}

/* ---- staging ---- */

static void group_reserve(struct wal_group *g, size_t more)
{
    uint8_t *p;
    size_t   cap = MAX(g->cap, (size_t)64 << 10);

    if (g->n + more <= g->cap) return;
    while (cap < g->n + more && cap < GROUP_BYTES_MAX) cap *= 2;
    cap = MAX(cap, align_up(g->n + more, FS_ALIGN));
    p = aligned_alloc(FS_ALIGN, cap);
    must(p != NULL);
    if (g->n) memcpy(p, g->p, g->n);
    free(g->p);
    g->p = p;
    g->cap = cap;
}

static void record_encode(uint8_t *h, const struct wal_record *r, uint64_t group, uint32_t start, uint32_t payload_n)
{
    store_le32(h + 4, payload_n);
    store_le64(h + 8, r->seq);
    store_le64(h + 16, group);
    store_le32(h + 24, start);
    h[28] = (uint8_t)r->kind;
    h[29] = r->flags;
    store_le16(h + 30, 0);
    memcpy(h + 32, r->topic.b, 16);
    store_le32(h + 48, r->partition);
    store_le32(h + 52, 0);
    store_le64(h + 56, (uint64_t)r->offset);
}

uint64_t wal_add(struct wal *w, const struct wal_record *r, struct bytes head, struct bytes body)
{
    struct wal_group *g = &w->building;
    struct wal_record copy = *r;
    size_t            n = head.n + body.n;
    uint8_t          *h;

    must(!wal_ring_is_short(w, n)); /* the size of a group was weighed with what comes before the batch, not again for each */
    if (!g->n) {
        group_reserve(g, WAL_HEADER_BYTES);
        g->n = WAL_HEADER_BYTES;                                  /* filled in by wal_launch */
        g->number = w->group_next++;
        g->seq_first = w->seq_next;
        g->records = 0;
    }
    group_reserve(g, align_up(record_bytes(n) + g->n, FS_ALIGN) - g->n);
    h = g->p + g->n;
    copy.seq = w->seq_next++;
    record_encode(h, &copy, g->number, w->start_number, (uint32_t)n);
    if (head.n) memcpy(h + WAL_HEADER_BYTES, head.p, head.n);
    if (body.n) memcpy(h + WAL_HEADER_BYTES + head.n, body.p, body.n);
    memset(h + WAL_HEADER_BYTES + n, 0, record_bytes(n) - WAL_HEADER_BYTES - n);
    store_le32(h, crc32c_more(salt_of(&w->super, w->start_number), bytes_of(h + 4, WAL_HEADER_BYTES - 4 + n)));
    g->n += record_bytes(n);
    g->records++;
    return copy.seq;
}

bool wal_launch(struct wal *w)
{
    struct wal_group *g = &w->building, idle = w->flying;
    size_t            padded = align_up(g->n, FS_ALIGN);

    if (w->in_flight || !g->n) return false;
    if (w->held_at && w->end + padded > w->held_at) return false;
    must(padded <= w->super.ring.bytes - wal_used(w));
    memset(g->p, 0, WAL_HEADER_BYTES);
    store_le32(g->p + 4, GROUP_MAGIC);
    store_le64(g->p + 8, g->n);
    store_le64(g->p + 16, g->seq_first);
    store_le64(g->p + 24, g->number);
    store_le32(g->p + 32, w->start_number);
    store_le32(g->p + 36, g->records);
    store_le32(g->p, crc32c_more(salt_of(&w->super, w->start_number), bytes_of(g->p + 4, WAL_HEADER_BYTES - 4)));
    memset(g->p + g->n, 0, padded - g->n);
    g->n = padded;
    g->at = w->end;
    g->ring = w->super.ring;
    w->end += padded;
    w->flying = *g;
    idle.n = 0;
    w->building = idle;
    w->in_flight = true;
    return true;
}

enum rc wal_group_write(const struct wal *w, const struct wal_group *g, struct err *e)
{
    if (ring_io(w->file, g->ring, g->at, g->p, g->n, true, e)) return err_in(e, "wal group %" PRIu64, g->number);
    return RC_OK;
}

uint64_t wal_landed(struct wal *w)
{
    struct wal_group *g = &w->flying;

    must(w->in_flight);
    w->in_flight = false;
    if (g->cap > GROUP_BYTES_MAX || (g->cap > GROUP_KEEP_BYTES && g->n < g->cap / 8)) {
        free(g->p);
        g->p = NULL;
        g->cap = 0;
    }
    g->n = 0;
    return g->seq_first + g->records - 1;
}

/* ---- superblocks ---- */

static void super_encode(const struct wal_super *s, uint8_t *b)
{
    memset(b, 0, FS_ALIGN);
    memcpy(b, SUPER_MAGIC, 8);
    store_le16(b + 8, WAL_FORMAT);
    store_le16(b + 10, WAL_READABLE_FROM);
    store_le64(b + 16, s->generation);
    memcpy(b + 24, s->folder_id, 16);
    memcpy(b + 40, s->secret, 16);
    store_le32(b + 56, s->start_number);
    b[60] = s->clean;
    store_le64(b + 64, s->ring.base);
    store_le64(b + 72, s->ring.bytes);
    store_le64(b + 80, s->begin);
    store_le64(b + 88, s->seq);
    store_le64(b + 96, s->group);
    store_le64(b + 104, s->state_file);
    store_le64(b + 112, s->state_bytes);
    store_le64(b + 120, s->state_base);
    store_le32(b + 12, crc32c(bytes_of(b + 16, FS_ALIGN - 16)));
}

/* RC_NOT_FOUND: no valid superblock in this block. */
static enum rc super_decode(const uint8_t *b, struct wal_super *s, struct err *e)
{
    if (memcmp(b, SUPER_MAGIC, 8) != 0 || load_le32(b + 12) != crc32c(bytes_of(b + 16, FS_ALIGN - 16)))
        return err_set(e, RC_NOT_FOUND, "not a superblock");
    if ((load_le16(b + 10) ? load_le16(b + 10) : load_le16(b + 8)) > WAL_FORMAT)
        return err_set(e, RC_UNSUPPORTED, "wal: format %u was written by a newer millrace, this one knows up to %d; nothing was changed",
                       load_le16(b + 8), (int)WAL_FORMAT);
    s->generation = load_le64(b + 16);
    memcpy(s->folder_id, b + 24, 16);
    memcpy(s->secret, b + 40, 16);
    s->start_number = load_le32(b + 56);
    s->clean = b[60];
    s->ring.base = load_le64(b + 64);
    s->ring.bytes = load_le64(b + 72);
    s->begin = load_le64(b + 80);
    s->seq = load_le64(b + 88);
    s->group = load_le64(b + 96);
    s->state_file = load_le64(b + 104);
    s->state_bytes = load_le64(b + 112);
    s->state_base = load_le64(b + 120);
    if (!s->ring.bytes || s->ring.bytes % FS_ALIGN || s->ring.base % FS_ALIGN || s->begin % FS_ALIGN || s->begin < s->ring.base)
        return err_set(e, RC_NOT_FOUND, "a superblock with impossible numbers");
    return RC_OK;
}

static enum rc super_read(struct file *f, struct wal_super *ret, struct err *e)
{
    uint8_t          *b = aligned_alloc(FS_ALIGN, RING_AT);
    struct wal_super  two[2];
    enum rc           rc, rcs[2];

    must(b != NULL);
    rc = file_read_exact(f, b, RING_AT, 0, e);
    for (int i = 0; i < 2 && !rc; i++) {
        rcs[i] = super_decode(b + i * FS_ALIGN, &two[i], e);
        if (rcs[i] == RC_UNSUPPORTED) rc = RC_UNSUPPORTED;
    }
    free(b);
    if (rc) return rc;
    if (rcs[0] && rcs[1])
        return err_set(e, RC_CORRUPT, "wal: both superblocks are damaged; nothing was changed");
    *ret = rcs[1] || (!rcs[0] && two[0].generation > two[1].generation) ? two[0] : two[1];
    return RC_OK;
}

enum rc wal_super_write(const struct wal *w, const struct wal_super *s, struct err *e)
{
    uint8_t *b = aligned_alloc(FS_ALIGN, FS_ALIGN);
    enum rc  rc;

    must(b != NULL);
    super_encode(s, b);
    rc = file_write(w->file, bytes_of(b, FS_ALIGN), s->generation % 2 * FS_ALIGN, e);
    free(b);
    return rc ? err_in(e, "wal superblock") : RC_OK;
}

struct wal_super wal_super_next(struct wal *w)
{
    struct wal_super s = w->super;
    uint64_t         lap = (w->end - s.ring.base) / s.ring.bytes, begin = w->in_flight ? w->flying.at : w->end;

    s.generation++;
    s.start_number = w->start_number;
    s.clean = false;
    s.begin = w->end;
    s.seq = w->seq_next;
    s.group = w->group_next;
    must(!w->building.n);
    if (w->zeroed_bytes > s.ring.bytes && (begin - s.ring.base) / s.ring.bytes == lap) {
        s.ring.base += lap * s.ring.bytes;                        /* all that lives is in one lap: its places stay */
        w->held_at = s.ring.base + s.ring.bytes;
        s.ring.bytes = w->zeroed_bytes;
    }
    return s;
}

void wal_super_done(struct wal *w, const struct wal_super *s)
{
    w->super = *s;
    w->held_at = 0;
}

/* ---- files ---- */

/* `head`, and zeros behind it as far as `to`. */
static enum rc write_zeros(struct file *f, uint64_t from, struct bytes head, uint64_t to, struct err *e)
{
    static _Alignas(FS_ALIGN) uint8_t zeros[ZERO_CHUNK / ZERO_PIECES];        /* nobody writes to it: it takes no memory */

    while (from < to) {
        struct iovec iov[1 + ZERO_PIECES] = {{(void *)(uintptr_t)head.p, head.n}};
        uint64_t     at = from + head.n, end = MIN(to, at + ZERO_CHUNK);
        int          n = head.n != 0;

        for (; at < end; at += iov[n++].iov_len) iov[n] = (struct iovec){zeros, (size_t)MIN(end - at, (uint64_t)sizeof zeros)};
        if (file_writev(f, iov, n, from, e)) return e->rc;
        from = end;
        head.n = 0;
    }
    return RC_OK;
}

enum rc wal_grow(const struct wal *w, uint64_t from_bytes, uint64_t bytes, struct err *e)
{
    if (write_zeros(w->file, RING_AT + from_bytes, (struct bytes){0}, RING_AT + bytes, e) || file_sync(w->file, e)) return err_in(e, "grow the wal");
    return RC_OK;
}

static enum rc create(struct fs *fs, const char *path, uint64_t bytes, struct err *e)
{
    AUTO(file_closep) struct file *f = NULL;
    char             temp[4096];
    _Alignas(FS_ALIGN) uint8_t b[RING_AT];
    struct wal_super s = {.ring.bytes = bytes, .seq = 1, .group = 1};

    random_bytes(s.folder_id, sizeof s.folder_id);
    random_bytes(s.secret, sizeof s.secret);
    for (; s.generation < 2; s.generation++) super_encode(&s, b + s.generation * FS_ALIGN);
    must((size_t)snprintf(temp, sizeof temp, "%s.tmp", path) < sizeof temp);
    if (fs_open(fs, temp, FS_WRITE | FS_CREATE | FS_TRUNC | FS_DIRECT, &f, e) || write_zeros(f, 0, bytes_of(b, RING_AT), RING_AT + bytes, e) || file_sync(f, e)) return e->rc;
    return fs_rename(fs, temp, path, e);                          /* the caller syncs the folder */
}

enum rc wal_open(struct fs *fs, const char *path, uint64_t bytes_first, uint64_t bytes_max, struct wal *ret, struct err *e)
{
    struct wal     w = {.bytes_max = bytes_max};
    struct fs_stat st;
    enum rc        rc;

    if ((rc = fs_stat(fs, path, &st, e)) == RC_NOT_FOUND) rc = create(fs, path, bytes_first, e);
    if (rc || (rc = fs_open(fs, path, FS_READ | FS_WRITE | FS_DIRECT | FS_DSYNC, &w.file, e))) return rc;
    if (!(rc = super_read(w.file, &w.super, e)) && !(rc = file_size(w.file, &st.size, e)) && st.size - RING_AT < w.super.ring.bytes)
        rc = err_set(e, RC_CORRUPT, "wal: a ring of %" PRIu64 " bytes, its superblock says %" PRIu64 "; nothing was changed",
                     st.size - RING_AT, w.super.ring.bytes);
    if (rc) {
        file_close(w.file);
        return rc;
    }
    w.zeroed_bytes = w.super.ring.bytes;
    w.end = w.super.begin;
    w.seq_next = w.super.seq;
    w.group_next = w.super.group;
    w.start_number = w.super.start_number;
    *ret = w;
    return RC_OK;
}

void wal_close(struct wal *w)
{
    w->file = file_close(w->file);
    free(w->building.p);
    free(w->flying.p);
    *w = (struct wal){0};
}

/* ---- replay ---- */

struct group_header { uint64_t bytes, seq_first, number; uint32_t start, records; };

static bool group_header_decode(const struct wal *w, const uint8_t *p, struct group_header *h)
{
    if (load_le32(p + 4) != GROUP_MAGIC) return false;
    h->bytes = load_le64(p + 8);
    h->seq_first = load_le64(p + 16);
    h->number = load_le64(p + 24);
    h->start = load_le32(p + 32);
    h->records = load_le32(p + 36);
    return load_le32(p) == crc32c_more(salt_of(&w->super, h->start), bytes_of(p + 4, WAL_HEADER_BYTES - 4)) &&
           h->bytes >= WAL_HEADER_BYTES && h->bytes <= w->super.ring.bytes;
}

/* False: the bytes at p are not the record that comes next. */
static bool record_decode(const struct wal *w, const uint8_t *p, size_t left, uint64_t seq, uint64_t group,
                          struct wal_record *r, struct bytes *payload)
{
    size_t n;

    if (left < WAL_HEADER_BYTES) return false;
    n = load_le32(p + 4);
    if (n > left - WAL_HEADER_BYTES || load_le64(p + 8) != seq || load_le64(p + 16) != group ||
        load_le32(p + 24) != w->super.start_number)
        return false;
    if (load_le32(p) != crc32c_more(salt_of(&w->super, w->super.start_number), bytes_of(p + 4, WAL_HEADER_BYTES - 4 + n)))
        return false;
    *r = (struct wal_record){.seq = seq, .kind = (enum wal_kind)p[28], .flags = p[29],
                             .partition = load_le32(p + 48), .offset = (int64_t)load_le64(p + 56)};
    memcpy(r->topic.b, p + 32, 16);
    *payload = bytes_of(p + WAL_HEADER_BYTES, n);
    return true;
}

/* RC_CORRUPT when a later group than w->group_next lies behind the end: it was written after ours had been acknowledged. */
static enum rc find_later_group(struct file *f, const struct wal *w, uint64_t from, uint64_t bytes, struct err *e)
{
    AUTO(buf_fini) struct buf chunk = {0};
    uint64_t     end = w->super.begin + w->super.ring.bytes, to = end - from < bytes ? end : from + bytes;

    for (uint64_t at = align_up((size_t)from, FS_ALIGN); at < to;) {
        size_t n = (size_t)MIN(to - at, (uint64_t)ZERO_CHUNK);

        buf_clear(&chunk);
        if (ring_io(f, w->super.ring, at, buf_grow(&chunk, n), n, false, e)) return e->rc;
        for (size_t i = 0; i + FS_ALIGN <= n; i += FS_ALIGN) {
            struct group_header h;

            if (group_header_decode(w, chunk.p + i, &h) && h.number > w->group_next &&
                h.start >= w->super.start_number)
                return err_set(e, RC_CORRUPT, "wal: group %" PRIu64 " is damaged, but group %" PRIu64 " behind it is whole: acknowledged data is affected; nothing was changed",
                               w->group_next, h.number);
        }
        at += n;
    }
    return RC_OK;
}

enum rc wal_replay(struct fs *fs, const char *path, struct wal *w, uint64_t look_behind, wal_replay_fn fn, void *ctx,
                   struct wal_found *ret, struct err *e)
{
    AUTO(file_closep) struct file *f = NULL;
    AUTO(buf_fini) struct buf group = {0};
    struct wal_found found = {0};

    if (fs_open(fs, path, FS_READ, &f, e)) return e->rc;
    w->end = w->super.begin;
    w->seq_next = w->super.seq;
    w->group_next = w->super.group;
    while (!w->super.clean && w->end - w->super.begin < w->super.ring.bytes) {
        uint8_t             head[WAL_HEADER_BYTES];
        struct group_header h;
        uint32_t            k = 0;
        size_t              at = WAL_HEADER_BYTES;

        if (ring_io(f, w->super.ring, w->end, head, sizeof head, false, e)) return e->rc;
        if (!group_header_decode(w, head, &h) || h.start != w->super.start_number || h.number != w->group_next ||
            h.seq_first != w->seq_next || h.bytes > w->super.ring.bytes - (w->end - w->super.begin))
            break;
        buf_clear(&group);
        if (ring_io(f, w->super.ring, w->end, buf_grow(&group, (size_t)h.bytes), (size_t)h.bytes, false, e)) return e->rc;
        for (; k < h.records; k++) {
            struct wal_record r;
            struct bytes      payload;

            if (at > group.n || !record_decode(w, group.p + at, group.n - at, w->seq_next, h.number, &r, &payload)) break;
            at += record_bytes(payload.n);
            w->seq_next++;
            found.records++;
            found.bytes += payload.n;
            if (fn(ctx, &r, payload, e)) return e->rc;
        }
        found.torn = k < h.records;
        if (found.torn) break;
        w->end += align_up((size_t)h.bytes, FS_ALIGN);
        w->group_next++;
    }
    if (look_behind && !w->super.clean && find_later_group(f, w, w->end, look_behind, e)) return e->rc;
    w->group_next++;                                              /* a torn group's number is not used again */
    *ret = found;
    return RC_OK;
}

enum rc wal_forget_behind(struct fs *fs, const char *path, const struct wal *w, struct err *e)
{
    AUTO(file_closep) struct file *f = NULL;
    uint64_t to = w->super.begin + w->super.ring.bytes;
    uint8_t *zeros = xcalloc(1, ZERO_CHUNK);
    enum rc  rc = fs_open(fs, path, FS_READ | FS_WRITE, &f, e);

    for (uint64_t at = w->end; at < to && !rc; at += ZERO_CHUNK) {
        size_t n = (size_t)MIN(to - at, (uint64_t)ZERO_CHUNK);

        rc = ring_io(f, w->super.ring, at, zeros, n, true, e);
    }
    free(zeros);
    return rc ? rc : file_sync(f, e);
}
