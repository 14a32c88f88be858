/* Numbers of the data folder on this machine's disk:
 *
 *     store_bench DIR sync        one 1 KiB record to 1, 8, 64 files with a sync each, beside one wal write for all of them
 *     store_bench DIR append      acknowledged appends one after the other, and many at once, over 1, 64, 1024 partitions
 *     store_bench DIR recovery    opening after a kill, with the same bytes in 1, 64, 1024 partitions
 *
 * DIR must not exist; it is made and removed. Prints one line a measurement. SPDX-License-Identifier: Apache-2.0 */
#include "base/diag.h"
#include "broker/log.h"
#include "kafka/batch_build.h"
#include "sys/clock.h"
#include "sys/fs.h"
#include "sys/mailbox.h"
#include "sys/worker.h"
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>

enum { SAMPLES = 2000 };

struct bench { struct store_options opt; struct store *store; struct err err; struct workers *workers; struct mailbox *mailbox; };

static void check(enum rc rc, struct err *e)
{
    if (!rc) return;
    fprintf(stderr, "store_bench: %s\n", e->text);
    exit(1);
}

static uint64_t now_us(void) { return clock_mono_us(&clock_real); }

static int by_size(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return x < y ? -1 : x > y;
}

static void report(const char *what, uint64_t *us, size_t n)
{
    qsort(us, n, sizeof *us, by_size);
    printf("%-44s p50 %6" PRIu64 " us   p99 %6" PRIu64 " us   max %7" PRIu64 " us\n", what, us[n / 2], us[n * 99 / 100], us[n - 1]);
    fflush(stdout);
}

static void batch_new(struct buf *into, size_t bytes)
{
    struct batch_builder w;
    struct bytes         view;
    struct err           e;
    struct buf           value = {0};

    memset(buf_grow(&value, bytes), 'v', bytes);
    batch_begin(&w, into, NULL);
    batch_add(&w, &(struct record_new){.timestamp = clock_wall_ms(&clock_real), .value = buf_view(&value)});
    check(batch_end(&w, NULL, &view, &e), &e);
    buf_fini(&value);
}

/* ---- files and syncs ---- */

static uint64_t write_and_sync(struct file **files, unsigned n, uint64_t at, struct bytes record)
{
    uint64_t   from = now_us();
    struct err e;

    for (unsigned i = 0; i < n; i++) check(file_write(files[i], record, at, &e), &e);
    for (unsigned i = 0; i < n; i++) check(file_datasync(files[i], &e), &e);
    return now_us() - from;
}

static void bench_sync(const char *dir)
{
    static const unsigned counts[] = {1, 8, 64};
    static uint64_t       us[SAMPLES];
    struct buf            record = {0};
    struct err            e;

    batch_new(&record, 1024);
    check(fs_mkdir_all(&fs_real, dir, &e), &e);
    for (size_t c = 0; c < countof(counts); c++) {
        struct file *files[64];
        char         path[4096], what[64];
        unsigned     samples = counts[c] == 64 ? 200 : 1000;

        for (unsigned i = 0; i < counts[c]; i++) {
            snprintf(path, sizeof path, "%s/%u", dir, i);
            check(fs_open(&fs_real, path, FS_READ | FS_WRITE | FS_CREATE, &files[i], &e), &e);
        }
        for (unsigned k = 0; k < samples; k++) us[k] = write_and_sync(files, counts[c], (uint64_t)k * record.n, buf_view(&record));
        snprintf(what, sizeof what, "append 1 KiB and fdatasync, %u files", counts[c]);
        report(what, us, samples);
        for (unsigned i = 0; i < counts[c]; i++) file_close(files[i]);
    }
    check(fs_remove_dir(&fs_real, dir, &e), &e);
    buf_fini(&record);
}

/* ---- the store ---- */

static void open_store(struct bench *b, const char *dir)
{
    b->opt = (struct store_options){.dir = dir, .fs = &fs_real, .clock = &clock_real, .workers = b->workers, .mailbox = b->mailbox};
    check(store_open(&b->opt, &b->store, &b->err), &b->err);
}

static struct log *log_n(struct bench *b, unsigned i)
{
    struct uuid id = {{7}};
    char            name[16];

    store_be32(id.b + 12, i);
    snprintf(name, sizeof name, "t%u", i);
    return store_log(b->store, &id, str_of(name), 0);
}

static bool append(struct bench *b, unsigned i, struct buf *batch, uint64_t *ret_seq)
{
    struct log_appended a;
    enum rc             rc = log_append(log_n(b, i), batch->p, batch->n, 0, &a, &b->err);

    if (rc == RC_OVERLOAD) return false;
    check(rc, &b->err);
    *ret_seq = a.seq;
    return true;
}

static void turn(struct bench *b)
{
    struct pollfd p = {.fd = mailbox_fd(b->mailbox), .events = POLLIN};

    store_turn_end(b->store);
    poll(&p, 1, 100);
    mailbox_drain(b->mailbox);
}

static void until(struct bench *b, uint64_t seq)
{
    while (store_durable_seq(b->store) < seq) turn(b);
}

/* One record to each of n partitions, then the acknowledgement of all. */
static void append_latency(struct bench *b, unsigned n, struct buf *batch)
{
    static uint64_t us[SAMPLES];
    char            what[64];
    uint64_t        seq = 0;

    for (unsigned k = 0; k < SAMPLES; k++) {
        uint64_t from = now_us();

        for (unsigned i = 0; i < n; i++)
            while (!append(b, i, batch, &seq)) turn(b);
        until(b, seq);
        us[k] = now_us() - from;
    }
    snprintf(what, sizeof what, "1 KiB to each of %u partitions, acknowledged", n);
    report(what, us, SAMPLES);
}

static void throughput(struct bench *b, unsigned n, size_t bytes, uint64_t total)
{
    struct buf batch = {0};
    uint64_t   from = now_us(), seq = 0, done = 0, took;

    batch_new(&batch, bytes);
    for (unsigned i = 0; done < total; i++) {
        while (!append(b, i % n, &batch, &seq)) turn(b);
        done += batch.n;
        if (i % 16 == 15) {
            store_turn_end(b->store);
            mailbox_drain(b->mailbox);
        }
    }
    until(b, seq);
    took = now_us() - from;
    printf("%6zu B batches over %4u partitions: %7.1f MB/s, %8.0f batches/s\n", bytes, n, (double)done / (double)took,
           (double)done / (double)batch.n / (double)took * 1e6);
    fflush(stdout);
    buf_fini(&batch);
}

static void bench_append(struct bench *b, const char *dir)
{
    struct buf         batch = {0};
    struct store_stats st;

    batch_new(&batch, 1024);
    open_store(b, dir);
    append_latency(b, 1, &batch);
    append_latency(b, 8, &batch);
    append_latency(b, 64, &batch);
    throughput(b, 1, 1024, 256 << 20);
    throughput(b, 1024, 1024, 256 << 20);
    throughput(b, 4, 65536, 1u << 30);
    store_stats(b->store, &st);
    printf("wal: %s, %" PRIu64 " MiB, %" PRIu64 " groups, %" PRIu64 " checkpoints, slowest write %" PRIu64 " us\n", st.wal_is_direct ? "O_DIRECT" : "plain",
           st.wal_bytes >> 20, st.wal_groups, st.checkpoints, st.wal_write_us_max);
    b->store = store_close(b->store);
    buf_fini(&batch);
}

/* `total` bytes in n partitions that only the wal has for sure, then the process is gone. */
static void recovery(struct bench *b, const char *dir, unsigned n, uint64_t total, bool kill)
{
    struct buf         batch = {0};
    uint64_t           seq = 0, from, took;
    struct store_stats st;

    batch_new(&batch, 1024);
    b->opt = (struct store_options){.dir = dir, .fs = &fs_real, .clock = &clock_real, .workers = b->workers, .mailbox = b->mailbox, .wal_bytes_first = 256 << 20};
    check(store_open(&b->opt, &b->store, &b->err), &b->err);
    for (uint64_t i = 0; i * batch.n < total; i++) {
        while (!append(b, (unsigned)(i % n), &batch, &seq)) turn(b);
        if (i % 64 == 63) turn(b);
    }
    until(b, seq);
    b->store = kill ? store_abandon(b->store) : store_close(b->store);
    from = now_us();
    check(store_open(&b->opt, &b->store, &b->err), &b->err);
    took = now_us() - from;
    store_stats(b->store, &st);
    printf("%s with %5.1f MiB in the wal, %4u partitions: %7.1f ms, %6" PRIu64 " records replayed\n", kill ? "opened after a kill" : "opened after a stop",
           (double)total / 1048576, n, (double)took / 1000, st.replayed_records);
    fflush(stdout);
    b->store = store_close(b->store);
    buf_fini(&batch);
}

static void remove_tree(const char *dir)
{
    char cmd[4200];

    snprintf(cmd, sizeof cmd, "rm -rf -- '%s'", dir);
    if (system(cmd)) fprintf(stderr, "store_bench: could not remove %s\n", dir);
}

static void bench_recovery(struct bench *b, const char *dir)
{
    static const unsigned counts[] = {1, 64, 1024};

    for (size_t i = 0; i < countof(counts); i++) {
        recovery(b, dir, counts[i], 16 << 20, true);
        remove_tree(dir);
    }
    for (size_t i = 0; i < countof(counts); i++) {
        recovery(b, dir, counts[i], 1 << 20, true);
        remove_tree(dir);
    }
    recovery(b, dir, 1024, 16 << 20, false);
}

int main(int argc, char **argv)
{
    struct bench   b = {0};
    struct fs_stat st;

    if (argc != 3 || !fs_stat(&fs_real, argv[1], &st, &b.err)) {
        fprintf(stderr, "usage: store_bench DIR sync|append|recovery   (DIR must not exist)\n");
        return 2;
    }
    diag_set_levels(STR("warn"));
    check(workers_new(3, &b.workers, &b.err), &b.err);
    b.mailbox = mailbox_new();
    if (!strcmp(argv[2], "sync")) bench_sync(argv[1]);
    else if (!strcmp(argv[2], "append")) bench_append(&b, argv[1]);
    else if (!strcmp(argv[2], "recovery")) bench_recovery(&b, argv[1]);
    remove_tree(argv[1]);
    workers_free(b.workers);
    mailbox_free(b.mailbox);
    return 0;
}
