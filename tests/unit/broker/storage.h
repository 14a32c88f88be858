/* tests/unit/broker/storage.h - a store on a simulated disk, with time and threads that move only when told to.
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "broker/log.h"
#include "kafka/batch_build.h"
#include "sys/clock.h"
#include "sys/fs.h"
#include "sys/mailbox.h"
#include "sys/worker.h"
#include "test.h"
#include <stdio.h>

struct storage {
    struct store_options opt;
    struct clock_sim clock;
    struct workers *workers;
    struct mailbox *mailbox;
    struct store   *store;
    struct err      err;
    struct buf      meta;              /* what meta_apply saw, each record with a NUL behind it */
    uint64_t        durable;           /* last seq of the durable callback */
    unsigned        fatal_n, advanced_n;
};

static enum rc storage_meta_apply(void *ctx, struct bytes record, struct err *e)
{
    struct storage *t = ctx;

    (void)e;
    buf_append(&t->meta, record);
    buf_append_byte(&t->meta, 0);
    return RC_OK;
}

static void storage_meta_snapshot(void *ctx, struct store_meta_sink *sink)
{
    struct storage *t = ctx;

    for (size_t at = 0; at < t->meta.n; at += strlen((char *)t->meta.p + at) + 1)
        store_meta_put(sink, bytes_of(t->meta.p + at, strlen((char *)t->meta.p + at)));
}

static void storage_durable(void *ctx, uint64_t seq) { ((struct storage *)ctx)->durable = seq; }
static void storage_advanced(void *ctx, struct log *log) { (void)log; ((struct storage *)ctx)->advanced_n++; }
static void storage_fatal(void *ctx, const struct err *why) { (void)why; ((struct storage *)ctx)->fatal_n++; }

static inline void storage_init(struct storage *t, struct fs *fs, const char *dir)
{
    *t = (struct storage){0};
    clock_sim_init(&t->clock, 1700000000000);
    assert_int_equal(workers_new(0, &t->workers, &t->err), RC_OK);
    t->mailbox = mailbox_new();
    t->opt = (struct store_options){.dir = dir, .fs = fs, .clock = &t->clock.clock, .workers = t->workers, .mailbox = t->mailbox,
                                    .wal_bytes_max = 4 << 20, .ctx = t, .meta_apply = storage_meta_apply,
                                    .meta_snapshot = storage_meta_snapshot, .durable = storage_durable,
                                    .advanced = storage_advanced, .fatal = storage_fatal};
}

static inline enum rc storage_open(struct storage *t)
{
    buf_clear(&t->meta);
    t->durable = 0;
    return store_open(&t->opt, &t->store, &t->err);
}

/* Everything submitted runs and is answered. */
static inline void storage_settle(struct storage *t)
{
    do mailbox_drain(t->mailbox);
    while (workers_run_one(t->workers) || mailbox_pending(t->mailbox));
}

/* One turn, and what came of it. */
static inline void storage_turn(struct storage *t)
{
    store_turn_end(t->store);
    storage_settle(t);
}

static inline void storage_fini(struct storage *t)
{
    if (t->store) t->store = store_abandon(t->store);
    storage_settle(t);
    workers_free(t->workers);
    mailbox_free(t->mailbox);
    buf_fini(&t->meta);
}

static inline struct uuid topic_n(uint8_t n)
{
    struct uuid id = {{1, 2, 3}};

    id.b[15] = n;
    return id;
}

static inline struct log *storage_log(struct storage *t, uint8_t n)
{
    struct uuid id = topic_n(n);
    char            name[8] = {'t', (char)('a' + n), 0};

    return store_log(t->store, &id, str_of(name), 0);
}

/* A batch of `n` records; the first value is text, the others empty. */
struct batch_of { const char *text; int n; int64_t time, producer_id; int16_t epoch; int32_t sequence; size_t pad; };

static inline void batch_make(struct buf *into, struct batch_of b)
{
    struct batch_builder w;
    struct bytes         view;
    struct err           e;
    struct buf           pad = {0};
    struct batch_options o = {.has_producer = b.producer_id > 0, .producer_id = b.producer_id, .producer_epoch = b.epoch, .base_sequence = b.sequence, .leader_epoch = -1};

    buf_append_str(&pad, str_of(b.text));
    if (b.pad > pad.n) {
        size_t more = b.pad - pad.n;

        memset(buf_grow(&pad, more), 'x', more);
    }
    batch_begin(&w, into, &o);
    for (int i = 0; i < (b.n ? b.n : 1); i++)
        batch_add(&w, &(struct record_new){.timestamp = b.time ? b.time : 1700000000000, .value = i ? str_bytes(STR("")) : buf_view(&pad)});
    assert_int_equal(batch_end(&w, NULL, &view, &e), RC_OK);
    buf_fini(&pad);
}

static inline enum rc log_put(struct storage *t, struct log *l, struct batch_of b, struct log_appended *ret)
{
    struct buf  batch = {0};
    enum rc     rc;

    batch_make(&batch, b);
    rc = log_append(l, batch.p, batch.n, 0, ret, &t->err);
    buf_fini(&batch);
    return rc;
}

/* The first value of the batch at `offset`, or NULL. Valid until the next call. */
static inline const char *log_text(struct storage *t, struct log *l, int64_t offset)
{
    static struct buf body, scratch;
    static char       text[64];
    struct log_slice  slice;
    struct batch      b;
    struct records    it;
    struct record     r;

    buf_clear(&body);
    if (log_read(l, offset, 1, INT64_MAX, true, &slice, &t->err) || !slice.n) return NULL;
    assert_int_equal(log_slice_load(&slice, &body, &t->err), RC_OK);
    log_slice_fini(&slice);
    assert_int_equal(batch_view(buf_view(&body), &b), BATCH_OK);
    assert_true(batch_crc_ok(&b));
    assert_int_equal(records_open(&it, &b, NULL, 1 << 26, &scratch), BATCH_OK);
    assert_true(records_next(&it, &r));
    snprintf(text, sizeof text, "%.*s", (int)MIN(r.value.n, sizeof text - 1), (const char *)r.value.p);
    text[strcspn(text, "x")] = 0;
    buf_fini(&scratch);
    buf_fini(&body);
    return text;
}
