/* A whole data folder, as a start finds it after a crash: u8 what, u16 length, bytes, and so on, each item one of
 *   0  a file of the log orders-0: u8 which, u8 the offset in its name, content
 *   1  a frame of the checkpoint: u32 kind, payload        2  a record of the wal: u8 kind, flags, partition, i32 offset, payload
 *   3  a frame of what was rescued of it, as 2
 * all with good checksums. A start that refuses it refuses it again; one that takes it can be read, closed, and started
 * again with the same logs.   SPDX-License-Identifier: Apache-2.0 */
#include "base/crc.h"
#include "base/diag.h"
#include "broker/log.h"
#include "broker/state.h"
#include "broker/wal.h"
#include "sys/clock.h"
#include "sys/mailbox.h"
#include "sys/worker.h"
#include <stdio.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { ITEM_FILE, ITEM_STATE, ITEM_WAL, ITEM_RESCUED, ITEMS, WAL_BYTES = 16 * FS_ALIGN };
static const struct uuid topic = {{1, 2, 3}};

/* ---- the folder ---- */

struct folder { struct fs *fs; struct buf state, rescued; struct wal wal; };

static void put_file(struct folder *f, struct bytes b)
{
    static const char *const suffixes[] = {"log", "index", "timeindex", "txnindex", "snapshot", "swap", "cleaned"};
    char path[64];
    struct err e;

    if (b.n < 2) return;
    if (b.p[0] % 8 == 7) snprintf(path, sizeof path, "data/orders-0/partition.metadata");
    else snprintf(path, sizeof path, "data/orders-0/%020u.%s", b.p[1], suffixes[b.p[0] % 8]);
    must(!fs_save(f->fs, path, bytes_sub(b, 2, b.n - 2), false, &e));
}

static void put_frame(struct folder *f, struct bytes b)
{
    size_t from = f->state.n;
    uint8_t *h;

    if (b.n < 4) return;
    h = buf_grow(&f->state, 12);
    memcpy(h + 4, b.p, 4);
    store_le32(h + 8, (uint32_t)(b.n - 4));
    buf_append(&f->state, bytes_sub(b, 4, b.n - 4));
    if (b.n >= 20 && load_le32(b.p) != STATE_META) memcpy(f->state.p + from + 12, topic.b, 16);      /* two logs of one name would share a folder */
    store_le32(f->state.p + from, crc32c(bytes_of(f->state.p + from + 4, b.n + 4)));
}

static void put_record(struct folder *f, struct bytes b)
{
    struct wal_record r = {.topic = topic};

    if (b.n < 7 || !wal_has_room(&f->wal, b.n)) return;
    r.kind = (enum wal_kind)b.p[0], r.flags = b.p[1], r.partition = b.p[2];
    r.offset = (int32_t)load_le32(b.p + 3);
    wal_add(&f->wal, &r, bytes_sub(b, 7, b.n - 7), (struct bytes){0});
}

static void put_rescued(struct folder *f, struct bytes b)
{
    size_t from = f->rescued.n;
    uint8_t *h;

    if (b.n < 7) return;
    h = buf_grow(&f->rescued, 24);
    memset(h, 0, 24);
    h[4] = b.p[0], h[5] = b.p[1];
    store_le64(h + 8, (uint64_t)(int64_t)(int32_t)load_le32(b.p + 3));
    store_le32(h + 16, (uint32_t)(b.n - 7));
    buf_append(&f->rescued, bytes_sub(b, 7, b.n - 7));
    store_le32(f->rescued.p + from, crc32c(bytes_of(f->rescued.p + from + 4, 20 + b.n - 7)));
}

/* The superblock of the start that wrote the records. */
static void folder_begin(struct folder *f)
{
    struct err e;

    must(!fs_mkdir_all(f->fs, "data/orders-0", &e));
    must(!wal_open(f->fs, "data/wal", WAL_BYTES, WAL_BYTES, &f->wal, &e));
    f->wal.start_number = 0;
    state_put_head(&f->state);
}

static void folder_end(struct folder *f)
{
    struct wal_super s = f->wal.super;
    struct err e;

    s.generation++;
    s.start_number = 0;
    s.clean = false;
    s.state_file = 1;
    s.state_bytes = s.state_base = f->state.n;
    must(!wal_super_write(&f->wal, &s, &e));
    if (wal_launch(&f->wal)) must(!wal_group_write(&f->wal, &f->wal.flying, &e));
    wal_close(&f->wal);
    must(!fs_save(f->fs, "data/state.1", buf_view(&f->state), false, &e));
    if (f->rescued.n) must(!fs_save(f->fs, "data/rescued.01020300000000000000000000000000-0", buf_view(&f->rescued), false, &e));
    buf_fini(&f->state);
    buf_fini(&f->rescued);
}

static void folder_make(struct fs *fs, struct bytes in)
{
    struct folder f = {.fs = fs};

    folder_begin(&f);
    for (size_t at = 0, n; in.n - at >= 3; at += 3 + n) {
        struct bytes b;

        n = MIN((size_t)load_le16(in.p + at + 1), in.n - at - 3);
        b = bytes_sub(in, at + 3, n);
        switch (in.p[at] % ITEMS) {
        case ITEM_FILE: put_file(&f, b); break;
        case ITEM_STATE: put_frame(&f, b); break;
        case ITEM_WAL: put_record(&f, b); break;
        case ITEM_RESCUED: put_rescued(&f, b); break;
        }
    }
    folder_end(&f);
}

/* ---- a start ---- */

struct host { struct store_options opt; struct clock_sim clock; struct store *store; struct buf logs; bool died; };

static void on_fatal(void *ctx, const struct err *why)
{
    (void)why;
    ((struct host *)ctx)->died = true;
}

static void host_init(struct host *h, struct fs *fs)
{
    struct err e;

    clock_sim_init(&h->clock, 1700000000000);
    h->opt = (struct store_options){.dir = "data", .fs = fs, .clock = &h->clock.clock, .mailbox = mailbox_new(), .ctx = h, .fatal = on_fatal,
                                    .wal_bytes_max = 4 * WAL_BYTES, .wal_bytes_first = WAL_BYTES};
    must(!workers_new(0, &h->opt.workers, &e));
}

static void host_fini(struct host *h)
{
    do mailbox_drain(h->opt.mailbox);
    while (workers_run_one(h->opt.workers) || mailbox_pending(h->opt.mailbox));
    workers_free(h->opt.workers);
    mailbox_free(h->opt.mailbox);
    buf_fini(&h->logs);
}

/* All its batches, up to what is damaged. */
static void log_walk(struct log *l)
{
    AUTO(buf_fini) struct buf body = {0};
    struct log_slice s;
    int64_t stable;
    struct err e;

    if (log_find_time(l, 5, INT64_MAX, &s, &e) == RC_OK) log_slice_fini(&s);
    if (!log_stable_end(l, &stable, &e)) must(stable >= log_start(l) && stable <= log_end(l));
    (void)!log_aborted(l, log_start(l), log_end(l), &body, &e);
    for (int64_t at = log_start(l); at < log_end(l) && !log_read(l, at, 1 << 16, INT64_MAX, true, &s, &e);) {
        if (!s.n) return;
        must(s.offset_next > at);
        at = s.offset_next;
        buf_clear(&body);
        (void)!log_slice_load(&s, &body, &e);
        log_slice_fini(&s);
    }
}

static bool visit(void *ctx, struct log *l)
{
    struct host *h = ctx;
    struct err e;

    log_walk(l);
    if (log_health(l, &e)) return true;
    must(log_start(l) <= log_end(l) && log_durable_end(l) <= log_end(l));
    buf_printf(&h->logs, "%s-%u %lld %lld\n", log_topic(l).p, log_partition(l), (long long)log_start(l), (long long)log_end(l));
    return true;
}

static enum rc host_start(struct host *h, struct err *e)
{
    enum rc rc = store_open(&h->opt, &h->store, e);

    buf_clear(&h->logs);
    if (rc) return rc;
    store_logs_each(h->store, visit, h);
    h->store = store_close(h->store);
    must(!h->died);
    return RC_OK;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    AUTO(buf_fini) struct buf first = {0};
    struct fs_sim *disk;
    struct host h = {0};
    struct err e, again;
    enum rc rc;

    if (size > 1 << 15) return 0;
    diag_silence(true);
    disk = fs_sim_new(1);
    folder_make(fs_sim_fs(disk), bytes_of(data, size));
    host_init(&h, fs_sim_fs(disk));
    rc = host_start(&h, &e);
    first = buf_take(&h.logs);
    must(host_start(&h, &again) == rc);
    must(bytes_eq(buf_view(&first), buf_view(&h.logs)));
    host_fini(&h);
    fs_sim_free(disk);
    return 0;
}
