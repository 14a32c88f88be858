/* Design note: a partition's files against each other: the checkpoint says where the log starts and ends and how long the
 * newest segment is, batches say which offsets they hold, indexes must point at batches. What lies behind the checkpoint's end
 * is the wal's business. SPDX-License-Identifier: Apache-2.0 */
#include "base/uuid.h"
#include "broker/log.h"
#include "broker/producers.h"
#include "broker/verify_core.h"
#include <inttypes.h>
#include <stdio.h>

enum { CHUNK = 1 << 20, SMALL_BYTES_MAX = 64 << 20, TXN_ENTRY = 34, BAD_MAX = 1000 };
#define OUT "left out; the old file goes to the folder damaged"

/* ---- walking a segment file ---- */

/* n bytes at w->at, or nothing. */
static struct bytes view(struct check_walk *w, size_t n)
{
    size_t     want = (size_t)MIN(w->size - w->at, (uint64_t)MAX(n, (size_t)CHUNK)), got;
    struct err e;

    if (n > w->size - w->at) return (struct bytes){0};
    if (w->at < w->in_at || w->at + n > w->in_at + w->in.n) {
        buf_clear(&w->in);
        w->in_at = w->at;
        if (file_read(w->file, buf_grow(&w->in, want), want, w->at, &got, &e)) got = 0;
        w->in.n = got;
        if (got < n) return (struct bytes){0};
    }
    return bytes_of(w->in.p + (w->at - w->in_at), n);
}

/* The base offset is not covered by the checksum; the batch behind tells. */
static bool overlaps_next(struct check_walk *w, const struct batch_head *h)
{
    struct batch_head next;
    struct bytes      both = view(w, (size_t)h->bytes + BATCH_HEADER_BYTES);

    return both.n && batch_head_decode(bytes_of(both.p + h->bytes, BATCH_HEADER_BYTES), &next) && next.base_offset <= h->last_offset;
}

static bool batch_here(struct check_walk *w, struct batch *ret)
{
    struct batch_head h;
    struct bytes      head = view(w, BATCH_HEADER_BYTES), whole;

    if (!head.n || !batch_head_decode(head, &h) || h.base_offset < w->next || h.last_offset >= w->below || h.bytes > w->size - w->at) return false;
    if (w->whole && h.base_offset > w->next && overlaps_next(w, &h)) return false;
    whole = view(w, h.bytes);
    return whole.n && !batch_view(whole, ret) && batch_crc_ok(ret);
}

bool check_walk_next(struct check_walk *w, struct batch *ret, struct check_range *ret_bad)
{
    *ret_bad = (struct check_range){w->at, w->at, w->next, w->next};
    for (; w->at < w->size; w->at++)
        if (batch_here(w, ret)) {
            ret_bad->to = w->at;
            ret_bad->next = ret->base_offset;
            w->at += ret->raw.n;
            w->next = batch_next_offset(ret);
            return true;
        }
    ret_bad->to = w->size;
    return false;
}

void check_walk_fini(struct check_walk *w)
{
    w->file = file_close(w->file);
    buf_fini(&w->in);
}

/* ---- the segments ---- */

struct place { struct checker *c; const char *folder; struct checked_log *l; int64_t *bases; size_t n; struct buf others; };

static const char *name_of(const struct place *p, int64_t base, const char *suffix)
{
    static _Thread_local char name[SEGMENT_PATH_BYTES];

    must((size_t)snprintf(name, sizeof name, "%s/%020" PRId64 "%s", p->folder, base, suffix) < sizeof name);
    return name;
}

static int64_t segment_end(const struct place *p, size_t i) { return i + 1 < p->n ? p->bases[i + 1] : p->l->state.end; }

static bool has_size(const struct place *p, int64_t base, uint64_t *ret)
{
    char           path[SEGMENT_PATH_BYTES];
    struct fs_stat st;
    struct err     e;

    check_path(p->c, name_of(p, base, ".log"), path);
    if (fs_stat(p->c->o->fs, path, &st, &e)) return false;
    *ret = st.size;
    return true;
}

static void say_bad(struct place *p, int64_t base, const struct check_range *r, bool repaired)
{
    check_say(p->c, VERIFY_DAMAGE, name_of(p, base, ".log"), OUT, repaired,
              "bytes %" PRIu64 " to %" PRIu64 " are no whole record batches; offsets %" PRId64 " to %" PRId64 " are lost", r->from, r->to, r->first, r->next - 1);
}

/* The leader epoch is not covered by the checksum either, but the checkpoint knows which one it must be. */
static void check_epoch(struct place *p, int64_t base, const char *path, uint64_t at, const struct batch *b)
{
    AUTO(file_closep) struct file *f = NULL;
    int32_t    want = epochs_at(&p->l->epochs, b->base_offset);
    uint8_t    raw[4];
    struct err e;
    bool       done;

    if (want < 0 || want == b->leader_epoch) return;
    store_be32(raw, (uint32_t)want);
    done = p->c->o->repair && !fs_open(p->c->o->fs, path, FS_READ | FS_WRITE, &f, &e) && !file_write(f, bytes_of(raw, sizeof raw), at + 12, &e) && !file_sync(f, &e);
    check_say(p->c, VERIFY_DAMAGE, name_of(p, base, ".log"), "written anew", done, "the batch at byte %" PRIu64 " has leader epoch %" PRId32 ", it was written in %" PRId32, at,
              b->leader_epoch, want);
}

/* Finds what is bad in one segment; with --repair, leaves it out. *ret_size: how long the segment is now. */
static void check_segment(struct place *p, size_t i, uint64_t size, uint64_t *ret_size)
{
    struct checker     *c = p->c;
    int64_t             base = p->bases[i];
    struct check_walk   w = {.size = size, .next = base, .below = segment_end(p, i), .whole = base >= p->l->state.cleaned};
    struct check_range *bad = xnew_array(struct check_range, BAD_MAX);
    size_t              bad_n = 0;
    char                path[SEGMENT_PATH_BYTES];
    struct batch        b;
    bool                more, fixed;
    struct err          e = {0};

    *ret_size = size;
    check_path(c, name_of(p, base, ".log"), path);
    if (fs_open(c->o->fs, path, FS_READ, &w.file, &e)) {
        check_say(c, VERIFY_DAMAGE, name_of(p, base, ".log"), NULL, false, "cannot be read: %s", e.text);
        free(bad);
        return;
    }
    do {
        struct check_range r;

        more = check_walk_next(&w, &b, &r);
        if (!more) r.next = MAX(r.first, w.below);
        if (r.to > r.from && bad_n < BAD_MAX) bad[bad_n++] = r;
        else if (more && r.next > r.first && w.whole && r.first >= p->l->state.start)
            check_say(c, VERIFY_DAMAGE, name_of(p, base, ".log"), NULL, false, "offsets %" PRId64 " to %" PRId64 " are missing", r.first, r.next - 1);
        if (more) check_epoch(p, base, path, w.at - b.raw.n, &b);
        c->sum->batches += more;
        c->sum->records += more ? (uint64_t)b.record_count : 0;
    } while (more);
    check_walk_fini(&w);
    c->sum->bytes += size;
    fixed = bad_n && c->o->repair && c->may_change_logs && !fix_segment(c, p->folder, base, bad, bad_n, size, ret_size, &e);
    if (fixed) {
        p->l->changed = true;
        p->l->state.cleaned = MAX(p->l->state.cleaned, w.below);   /* from now on the gap is known, like one that compaction made */
    }
    for (size_t k = 0; k < bad_n; k++) say_bad(p, base, &bad[k], fixed);
    free(bad);
}

/* ---- what can be made again ---- */

static bool load(struct place *p, int64_t base, const char *suffix, struct buf *into)
{
    char       path[SEGMENT_PATH_BYTES];
    struct err e;

    check_path(p->c, name_of(p, base, suffix), path);
    return !fs_load(p->c->o->fs, path, SMALL_BYTES_MAX, into, &e);
}

static void say_cache(struct place *p, const char *name, const char *what)
{
    char       file[SEGMENT_PATH_BYTES];
    struct err e;
    bool       done = p->c->o->repair && p->c->may_change_logs && !fix_remove(p->c, p->folder, name, &e);

    must((size_t)snprintf(file, sizeof file, "%s/%s", p->folder, name) < sizeof file);
    p->l->changed |= done;
    check_say(p->c, VERIFY_CACHE, file, "set aside; the next start makes it again from the batches", done, "%s", what);
}

/* Every entry names the last offset of a batch and where that begins. */
static bool offsets_are_right(struct place *p, int64_t base, uint64_t size, struct bytes x)
{
    AUTO(file_closep) struct file *f = NULL;
    char       path[SEGMENT_PATH_BYTES];
    struct err e;

    check_path(p->c, name_of(p, base, ".log"), path);
    if (x.n % 8 || fs_open(p->c->o->fs, path, FS_READ, &f, &e)) return false;
    for (size_t at = 0; at < x.n; at += 8) {
        uint8_t           raw[BATCH_HEADER_BYTES];
        struct batch_head h;
        uint64_t          where = load_be32(x.p + at + 4);

        if (where >= size) return base == p->l->state.segment_base && !p->c->wal.super.clean;        /* of bytes that only the wal speaks of */
        if (file_read_exact(f, raw, sizeof raw, where, &e) || !batch_head_decode(bytes_of(raw, sizeof raw), &h) || h.last_offset - base != load_be32(x.p + at)) return false;
    }
    return true;
}

static bool times_are_right(struct bytes x)
{
    int64_t last = -1;

    for (size_t at = 0; at + 12 <= x.n; at += 12) {
        int64_t t = (int64_t)load_be64(x.p + at);

        if (t < last) return false;
        last = t;
    }
    return x.n % 12 == 0;
}

static bool aborted_are_right(struct bytes x, int64_t base, int64_t end)
{
    for (size_t at = 0; at + TXN_ENTRY <= x.n; at += TXN_ENTRY) {
        int64_t first = (int64_t)load_be64(x.p + at + 10), marker = (int64_t)load_be64(x.p + at + 18);

        if (load_be16(x.p + at) || first < 0 || first >= marker || marker < base || marker >= end) return false;
    }
    return x.n % TXN_ENTRY == 0;
}

static bool snapshot_is_right(struct bytes x)
{
    struct producers ps = {0};
    struct err       e;
    bool             ok = !producers_decode(x, &ps, &e);

    producers_fini(&ps);
    return ok;
}

static void check_indexes(struct place *p, size_t i, uint64_t size)
{
    AUTO(buf_fini) struct buf offsets = {0}, times = {0}, aborted = {0};
    int64_t base = p->bases[i];
    char    name[64];

    snprintf(name, sizeof name, "%020" PRId64 ".index", base);
    if (load(p, base, ".index", &offsets) && !offsets_are_right(p, base, size, buf_view(&offsets))) say_cache(p, name, "entries do not point at batches");
    snprintf(name, sizeof name, "%020" PRId64 ".timeindex", base);
    if (load(p, base, ".timeindex", &times) && !times_are_right(buf_view(&times))) say_cache(p, name, "timestamps do not rise");
    snprintf(name, sizeof name, "%020" PRId64 ".txnindex", base);
    if (load(p, base, ".txnindex", &aborted) && !aborted_are_right(buf_view(&aborted), base, i + 1 < p->n ? p->bases[i + 1] : INT64_MAX)) {
        say_cache(p, name, "entries are no aborted transactions of this segment");
        if (p->c->o->repair && p->c->may_change_logs) p->l->state.snapshot = -1;      /* then the batches are read from the start, and the entries made again */
    }
}

static void check_snapshot(struct place *p)
{
    AUTO(buf_fini) struct buf body = {0};
    int64_t at = p->l->state.snapshot;
    char    name[64];

    if (at < 0) return;
    snprintf(name, sizeof name, "%020" PRId64 ".snapshot", at);
    if (!load(p, at, ".snapshot", &body)) check_say(p->c, VERIFY_CACHE, name_of(p, at, ".snapshot"), "made again by the next start", false, "the snapshot of producers is missing");
    else if (!snapshot_is_right(buf_view(&body))) say_cache(p, name, "the snapshot of producers is damaged");
}

/* ---- the folder ---- */

static void collect(void *ctx, const char *name)
{
    struct place *p = ctx;
    struct str    s = str_of(name);
    int64_t       base;

    if (s.n == 24 && str_ends(s, STR(".log")) && str_to_i64((struct str){name, 20}, &base) && base >= 0) {
        p->bases = xrealloc(p->bases, p->n + 1, sizeof *p->bases);
        p->bases[p->n++] = base;
    } else {
        buf_append(&p->others, bytes_of(name, s.n + 1));
    }
}

static int by_number(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

    return x < y ? -1 : x > y;
}

/* Without segments that are on their way out at one end or the wal's at the other. */
static void trim(struct place *p)
{
    size_t from = 0;

    if (p->n) qsort(p->bases, p->n, sizeof *p->bases, by_number);
    while (p->n && p->bases[p->n - 1] > p->l->state.segment_base) p->n--;
    while (from + 1 < p->n && p->bases[from + 1] <= p->l->state.start) from++;
    if (!from) return;
    memmove(p->bases, p->bases + from, (p->n - from) * sizeof *p->bases);
    p->n -= from;
}

static bool has_other(const struct place *p, const char *name)
{
    for (size_t at = 0; at < p->others.n; at += strlen((char *)p->others.p + at) + 1)
        if (!strcmp((char *)p->others.p + at, name)) return true;
    return false;
}

static void check_others(struct place *p)
{
    for (size_t at = 0; at < p->others.n; at += strlen((char *)p->others.p + at) + 1) {
        const char *name = (char *)p->others.p + at;
        struct str  s = str_of(name);
        char        file[SEGMENT_PATH_BYTES];

        p->c->sum->files++;
        must((size_t)snprintf(file, sizeof file, "%s/%s", p->folder, name) < sizeof file);
        if (str_ends(s, STR(".swap"))) check_say(p->c, VERIFY_NOTE, file, "put in place by the next start", false, "a compaction was interrupted");
        else if (str_ends(s, STR(".cleaned")) || str_ends(s, STR(".deleted")) || str_starts(s, STR("large.")))
            check_say(p->c, VERIFY_NOTE, file, "removed by the next start", false, "left over from a crash");
    }
}

static void check_owner(struct place *p)
{
    AUTO(buf_fini) struct buf want = {0}, have = {0};
    char        path[SEGMENT_PATH_BYTES], file[SEGMENT_PATH_BYTES], text[UUID_TEXT_LEN + 1];
    struct uuid id;
    struct err  e;
    bool        done;

    id = p->l->state.topic;
    uuid_to_text(&id, text);
    buf_printf(&want, "version: 0\ntopic_id: %s", text);
    must((size_t)snprintf(file, sizeof file, "%s/partition.metadata", p->folder) < sizeof file);
    check_path(p->c, file, path);
    if (!fs_load(p->c->o->fs, path, 4096, &have, &e) && bytes_eq(buf_view(&want), buf_view(&have))) return;
    done = p->c->o->repair && !fs_save(p->c->o->fs, path, buf_view(&want), true, &e);
    check_say(p->c, VERIFY_CACHE, file, "written anew", done, "does not say that the folder belongs to topic %s", text);
}

/* How many segments, and how long, against the checkpoint's numbers. */
static void check_numbers(struct place *p, const uint64_t *sizes)
{
    const struct log_state *st = &p->l->state;
    int64_t  n = 0;
    uint64_t bytes = 0;
    bool     fix = p->c->o->repair && p->c->may_change_logs;

    for (size_t i = 0; i < p->n; i++) {
        if (p->bases[i] >= st->segment_base || segment_end(p, i) <= st->start || !sizes[i]) continue;
        n++;
        bytes += sizes[i];
    }
    if (st->closed_n != STATE_CLOSED_UNKNOWN && !has_other(p, "swapping") && (n != st->closed_n || bytes != st->closed_bytes)) {
        p->l->changed |= fix;
        if (fix) p->l->state.cleaned = MAX(st->cleaned, st->segment_base);
        check_say(p->c, VERIFY_DAMAGE, p->folder, "what is left is served; the offsets between are a gap", fix,
                  "%" PRId64 " closed segments with %" PRIu64 " bytes were on record, %" PRId64 " with %" PRIu64 " are there", st->closed_n, st->closed_bytes, n, bytes);
    }
    if (p->n && p->bases[0] > st->start) {
        check_say(p->c, VERIFY_DAMAGE, p->folder, "the log starts where its first segment does", fix,
                  "the log starts at offset %" PRId64 ", its first segment at %" PRId64, st->start, p->bases[0]);
        if (fix) p->l->state.start = p->bases[0];
        p->l->changed |= fix;
    }
}

static void check_active(struct place *p, bool there, uint64_t size)
{
    const struct log_state *st = &p->l->state;
    bool fix = p->c->o->repair && p->c->may_change_logs;

    if (there && size >= st->segment_bytes) return;
    check_say(p->c, VERIFY_DAMAGE, name_of(p, st->segment_base, ".log"), "what is left of it is kept", fix, "%" PRIu64 " bytes, %" PRIu64 " were synced",
              there ? size : 0, st->segment_bytes);
    if (!fix) return;
    p->l->state.segment_bytes = there ? size : 0;
    p->l->changed = true;
}

static void check_segments(struct place *p)
{
    struct log_state *st = &p->l->state;
    uint64_t         *sizes = xnew_array(uint64_t, p->n + 1);

    for (size_t i = 0; i < p->n; i++)
        if (!has_size(p, p->bases[i], &sizes[i])) sizes[i] = 0;
    check_numbers(p, sizes);
    if (st->segment_bytes) check_active(p, p->n && p->bases[p->n - 1] == st->segment_base, p->n ? sizes[p->n - 1] : 0);
    for (size_t i = 0; i < p->n; i++) {
        bool     active = p->bases[i] == st->segment_base;
        uint64_t now, size = active ? MIN(sizes[i], st->segment_bytes) : sizes[i];

        p->c->sum->files++;
        if (active && sizes[i] > size && p->c->wal.super.clean)
            check_say(p->c, VERIFY_NOTE, name_of(p, p->bases[i], ".log"), "cut by the next start", false, "%" PRIu64 " bytes behind the end", sizes[i] - size);
        check_segment(p, i, size, &now);
        if (active) st->segment_bytes = now;
        if (now == size) check_indexes(p, i, size);               /* those of a segment that was written anew are gone */
    }
    free(sizes);
}

enum rc check_log(struct checker *c, const char *folder, struct checked_log *l, struct err *e)
{
    struct place p = {.c = c, .folder = folder, .l = l};
    char         path[SEGMENT_PATH_BYTES];
    bool         missing;

    check_path(c, folder, path);
    missing = fs_list(c->o->fs, path, collect, &p, e) != RC_OK;
    trim(&p);
    if (missing && l->on_record && (l->state.segment_bytes || l->state.closed_n > 0))
        check_say(c, VERIFY_DAMAGE, folder, NULL, false, "the folder of the log is missing or cannot be read (%s)", e->text);
    if (!missing && l->on_record) {
        check_owner(&p);
        check_segments(&p);
        check_snapshot(&p);
    }
    if (!missing) check_others(&p);
    free(p.bases);
    buf_fini(&p.others);
    return RC_OK;
}
