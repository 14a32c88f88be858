/* Files of the data folder, as a start finds them. The first byte says which one the rest is, and its top bit that the
 * checksums are as they came; else they are made to fit, so that what they guard is reached. What is accepted is written
 * again as the same by the file's own writer.
 *   0  a producer snapshot          1  a .txnindex: u8 closed, u16 base, u16 end, then the file
 *   2  a checkpoint                 3  the wal: the 128 bytes in use of both superblocks, then groups: u16 length, bytes
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/crc.h"
#include "base/diag.h"
#include "broker/producers.h"
#include "broker/state.h"
#include "broker/txn_index.h"
#include "broker/wal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { PRODUCERS, ABORTED, STATE, WAL, FILES };

/* ---- producer snapshots ---- */

static void snapshot_mend(struct buf *b)
{
    if (b->n >= 10) store_be32(b->p + 2, crc32c(bytes_of(b->p + 6, b->n - 6)));
}

static void check_producer(const struct producer *was, const struct producer *is)
{
    must(is && was->epoch == is->epoch && was->n == is->n && was->n <= PRODUCER_WINDOW);
    must(was->coordinator_epoch == is->coordinator_epoch && was->txn_first_offset == is->txn_first_offset);
    for (uint32_t i = 0; i < was->n; i++) {
        const struct producer_entry *x = &was->window[i], *y = &is->window[i];

        must(x->first_seq == y->first_seq && x->last_seq == y->last_seq && x->last_offset == y->last_offset);
        must(x->timestamp == y->timestamp && x->offset_delta == y->offset_delta && x->first_seq >= 0);
    }
}

static void check_producers(const struct producers *was, struct producers *is)
{
    struct bytes key;
    void *v;

    must(was->by_id.n == is->by_id.n && producers_first_unstable(was) == producers_first_unstable(is));
    for (size_t at = 0; map_next(&was->by_id, &at, &key, &v);) {
        const struct producer *p = v;
        struct producer_batch b = {.producer_id = p->id, .epoch = p->epoch, .last_offset_delta = 3};
        struct producer_verdict verdict;

        check_producer(p, producers_find(is, p->id));
        if (p->n) {
            b.base_sequence = p->window[p->n - 1].first_seq;
            b.last_offset_delta = p->window[p->n - 1].offset_delta;
        }
        producers_check(was, &b, &verdict);
        must(!p->n || verdict.decision == PRODUCER_DUPLICATE);
    }
    producers_expire(is, 1000, 100);
}

static void read_producers(struct bytes file)
{
    AUTO(buf_fini) struct buf out = {0};
    struct producers ps = {0}, again = {0};
    struct err e;

    if (!producers_decode(file, &ps, &e)) {
        producers_encode(&ps, &out);
        must(!producers_decode(buf_view(&out), &again, &e));
        check_producers(&ps, &again);
    }
    producers_fini(&ps);
    producers_fini(&again);
}

/* ---- aborted transactions ---- */

static void find_all(struct txn_index *x, struct handles *hs, const char *path, struct buf *into)
{
    AUTO(buf_fini) struct buf some = {0};
    struct err e;
    bool all;

    for (int64_t from = 0; from < 1 << 16; from += 1021)
        must(!txn_index_find(x, hs, path, from, from + 1000, &some, &all, &e));
    must(!txn_index_find(x, hs, path, 0, INT64_MAX, into, &all, &e));
}

static void index_again(struct handles *hs, const struct buf *found, struct txn_range of)
{
    AUTO(buf_fini) struct buf out = {0};
    struct txn_index x = {0};
    struct aborted_txn t;
    struct err e;

    for (size_t at = 0; at < found->n; at += sizeof t) {
        memcpy(&t, found->p + at, sizeof t);
        must(!txn_index_append(&x, hs, "again", &t, &e));
    }
    txn_index_fini(&x);
    must(!txn_index_load(&x, hs, "again", of, &e) && x.n == found->n / sizeof t);
    find_all(&x, hs, "again", &out);
    must(bytes_eq(buf_view(&out), buf_view(found)));
    txn_index_fini(&x);
}

static void read_aborted(struct fs *fs, struct bytes in)
{
    AUTO(buf_fini) struct buf found = {0};
    struct txn_index x = {0};
    struct txn_range of;
    struct fs_stat st;
    struct handles hs;
    struct err e;

    if (in.n < 5) return;
    of = (struct txn_range){load_le16(in.p + 1), load_le16(in.p + 3), in.p[0] & 1};
    if (of.end == UINT16_MAX) of.end = INT64_MAX;
    must(!fs_save(fs, "aborted", bytes_sub(in, 5, in.n - 5), false, &e));
    handles_init(&hs, fs, 4);
    if (!txn_index_load(&x, &hs, "aborted", of, &e)) {
        must(!fs_stat(fs, "aborted", &st, &e) && st.size == 34 * (uint64_t)x.n);
        find_all(&x, &hs, "aborted", &found);
        if (found.n / sizeof(struct aborted_txn) == x.n) index_again(&hs, &found, of);      /* else one said that none comes after it */
    } else {
        must(e.rc == RC_CORRUPT && !x.n && !x.loaded);
    }
    txn_index_fini(&x);
}

/* ---- checkpoints ---- */

struct rewrite { struct buf *into; struct log_state log; struct buf epochs; bool has; };

static void rewrite_flush(struct rewrite *r)
{
    struct epochs es = {0};

    if (r->has) {
        state_epochs(buf_view(&r->epochs), &es);
        for (size_t i = 1; i < es.n; i++) must(es.v[i].number > es.v[i - 1].number);
        state_put_log(r->into, &r->log, &es);
    }
    epochs_fini(&es);
    r->has = false;
}

static enum rc rewrite_frame(void *ctx, const struct state_frame *f, struct err *e)
{
    struct rewrite *r = ctx;

    (void)e;
    if (f->kind == STATE_CLOSED) {                                /* belongs to the log's frame before it */
        if (!r->has || r->log.partition != f->log.partition || memcmp(r->log.topic.b, f->log.topic.b, 16) != 0) return RC_OK;
        r->log.closed_n = f->log.closed_n;
        r->log.closed_bytes = f->log.closed_bytes;
        return RC_OK;
    }
    rewrite_flush(r);
    if (f->kind == STATE_META) state_put_meta(r->into, f->meta);
    if (f->kind == STATE_GONE) state_put_gone(r->into, &f->log.topic, f->log.partition);
    if (f->kind != STATE_LOG) return RC_OK;
    r->has = true;
    r->log = f->log;
    buf_clear(&r->epochs);
    buf_append(&r->epochs, f->epochs);
    return RC_OK;
}

static bool rewrite(struct bytes file, struct buf *into)
{
    struct rewrite r = {.into = into};
    uint32_t format;
    struct err e;
    enum rc rc;

    state_put_head(into);
    rc = state_replay(file, rewrite_frame, &r, &format, &e);
    must(!rc || rc == RC_CORRUPT || rc == RC_UNSUPPORTED);
    rewrite_flush(&r);
    buf_fini(&r.epochs);
    return !rc;
}

static void state_mend(struct buf *b)
{
    size_t n;

    if (b->n < 16) return;
    store_le32(b->p + 12, crc32c(bytes_of(b->p, 12)));
    for (size_t at = 16; b->n - at >= 12 && (n = load_le32(b->p + at + 8)) <= b->n - at - 12; at += 12 + n)
        store_le32(b->p + at, crc32c(bytes_of(b->p + at + 4, 8 + n)));
}

static void read_state(struct bytes file)
{
    AUTO(buf_fini) struct buf once = {0};
    AUTO(buf_fini) struct buf twice = {0};

    if (!rewrite(file, &once)) return;
    must(rewrite(buf_view(&once), &twice) && bytes_eq(buf_view(&once), buf_view(&twice)));
}

/* ---- the wal ---- */

enum { SUPER_BYTES = 128, RING_AT = 2 * FS_ALIGN, RING_BYTES = 8 * FS_ALIGN };

static size_t round_up(size_t n, size_t to) { return (n + to - 1) / to * to; }

static uint32_t salt_of(const uint8_t *super, uint32_t start)
{
    uint8_t n[4];

    store_le32(n, start);
    return crc32c_more(crc32c(bytes_of(super + 40, 16)), bytes_of(n, sizeof n));
}

static void group_mend(const uint8_t *super, uint8_t *p, size_t n)
{
    uint32_t salt;
    size_t body;

    if (n < WAL_HEADER_BYTES) return;
    store_le32(p, crc32c_more(salt_of(super, load_le32(p + 32)), bytes_of(p + 4, WAL_HEADER_BYTES - 4)));
    salt = salt_of(super, load_le32(super + 56));
    for (size_t at = WAL_HEADER_BYTES; at < n && n - at >= WAL_HEADER_BYTES; at += round_up(WAL_HEADER_BYTES + body, 8)) {
        if ((body = load_le32(p + at + 4)) > n - at - WAL_HEADER_BYTES) return;
        store_le32(p + at, crc32c_more(salt, bytes_of(p + at + 4, WAL_HEADER_BYTES - 4 + body)));
    }
}

/* Groups in their order from where the newer superblock says that they begin. */
static void ring_fill(uint8_t *file, struct bytes in, bool mend)
{
    const uint8_t *super = load_le64(file + 16) > load_le64(file + FS_ALIGN + 16) ? file : file + FS_ALIGN;
    size_t pos = (size_t)((load_le64(super + 80) - load_le64(super + 64)) % RING_BYTES), used = 0, n;
    uint8_t group[RING_BYTES];

    for (size_t at = 0; in.n - at >= 2; at += 2 + n, used += round_up(n, FS_ALIGN)) {
        n = MIN((size_t)load_le16(in.p + at), in.n - at - 2);
        if (used + round_up(n, FS_ALIGN) > RING_BYTES) return;
        if (n) memcpy(group, in.p + at + 2, n);
        if (mend) group_mend(super, group, n);
        for (size_t i = 0; i < n; i++) file[RING_AT + (pos + used + i) % RING_BYTES] = group[i];
    }
}

static void wal_make(struct fs *fs, struct bytes in, bool mend)
{
    uint8_t *file = xcalloc(1, RING_AT + RING_BYTES);
    struct err e;

    for (int i = 0; i < 2; i++) {
        uint8_t *super = file + i * FS_ALIGN;

        memcpy(super, in.p + i * SUPER_BYTES, SUPER_BYTES);
        if (mend) store_le32(super + 12, crc32c(bytes_of(super + 16, FS_ALIGN - 16)));
    }
    ring_fill(file, bytes_sub(in, 2 * SUPER_BYTES, in.n - 2 * SUPER_BYTES), mend);
    must(!fs_save(fs, "wal", bytes_of(file, RING_AT + RING_BYTES), false, &e));
    free(file);
}

static enum rc note_record(void *ctx, const struct wal_record *r, struct bytes payload, struct err *e)
{
    struct buf *into = ctx;
    uint8_t head[40] = {0};

    (void)e;
    store_le32(head, (uint32_t)payload.n);
    store_le32(head + 4, r->partition);
    store_le64(head + 8, (uint64_t)r->offset);
    head[16] = (uint8_t)r->kind, head[17] = r->flags;
    memcpy(head + 24, r->topic.b, 16);
    buf_append(into, bytes_of(head, sizeof head));
    buf_append(into, payload);
    return RC_OK;
}

static void write_records(struct wal *w, const struct buf *noted)
{
    struct err e;

    for (size_t at = 0, n; at < noted->n; at += 40 + n) {
        const uint8_t *p = noted->p + at;
        struct wal_record r = {.kind = (enum wal_kind)p[16], .flags = p[17], .partition = load_le32(p + 4), .offset = (int64_t)load_le64(p + 8)};

        n = load_le32(p);
        memcpy(r.topic.b, p + 24, 16);
        wal_add(w, &r, bytes_of(p + 40, n / 2), bytes_of(p + 40 + n / 2, n - n / 2));
    }
    if (!wal_launch(w)) return;
    must(!wal_group_write(w, &w->flying, &e));
    wal_landed(w);
}

/* A wal of our own with the same records. */
static void wal_again(struct fs *fs, const struct buf *noted)
{
    AUTO(buf_fini) struct buf out = {0};
    struct wal_super s;
    struct wal_found found;
    struct wal w;
    struct err e;

    must(!wal_open(fs, "again", 2 * RING_BYTES, 2 * RING_BYTES, &w, &e));
    w.start_number = 0;
    s = wal_super_next(&w);
    must(!wal_super_write(&w, &s, &e));
    wal_super_done(&w, &s);
    write_records(&w, noted);
    wal_close(&w);
    must(!wal_open(fs, "again", 2 * RING_BYTES, 2 * RING_BYTES, &w, &e));
    must(!wal_replay(fs, "again", &w, UINT64_MAX, note_record, &out, &found, &e) && !found.torn);
    must(bytes_eq(buf_view(&out), buf_view(noted)));
    wal_close(&w);
}

static void read_wal(struct fs *fs, struct bytes in, bool mend)
{
    AUTO(buf_fini) struct buf noted = {0};
    struct wal_found found;
    struct wal w;
    struct err e;
    enum rc rc;

    if (in.n < 2 * SUPER_BYTES) return;
    wal_make(fs, in, mend);
    if ((rc = wal_open(fs, "wal", RING_BYTES, RING_BYTES, &w, &e))) {
        must(rc == RC_CORRUPT || rc == RC_UNSUPPORTED);
        return;
    }
    rc = wal_replay(fs, "wal", &w, UINT64_MAX, note_record, &noted, &found, &e);
    must(!rc || rc == RC_CORRUPT);
    if (rc) must(!wal_forget_behind(fs, "wal", &w, &e));
    must(rc || wal_used(&w) <= w.super.ring.bytes);
    wal_close(&w);
    wal_again(fs, &noted);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    AUTO(buf_fini) struct buf in = {0};
    struct fs_sim *disk;
    struct fs *fs;
    bool mend;

    if (!size || size > 1 << 16) return 0;
    diag_silence(true);
    disk = fs_sim_new(1);
    fs = fs_sim_fs(disk);
    mend = !(data[0] & 0x80);
    if (size > 1) buf_append(&in, bytes_of(data + 1, size - 1));
    switch (data[0] % FILES) {
    case PRODUCERS: if (mend) snapshot_mend(&in); read_producers(buf_view(&in)); break;
    case ABORTED: read_aborted(fs, buf_view(&in)); break;
    case STATE: if (mend) state_mend(&in); read_state(buf_view(&in)); break;
    case WAL: read_wal(fs, buf_view(&in), mend); break;
    }
    fs_sim_free(disk);
    return 0;
}
