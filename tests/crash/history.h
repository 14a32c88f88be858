/* tests/crash/history.h - random histories on a data folder, and the ten-line model they are checked against.
 *
 * Everything that changes the folder is written down with its wal sequence number. After a crash the store says up to which
 * number it recovered; that must not be below what it had acknowledged, and the folder must be exactly what the journal up
 * to that number says: nothing lost, nothing twice, nothing invented.
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "base/diag.h"
#include <stdio.h>
#include "unit/broker/storage.h"

enum { LOGS = 5, BATCH_MAX = 60 };
enum entry_kind { ENTRY_BATCH, ENTRY_START, ENTRY_DELETE, ENTRY_META };
struct journal_entry { uint64_t seq; enum entry_kind kind; unsigned log; uint32_t id; int64_t base; int n; int64_t start; };

struct history {
    struct storage t;
    struct fs_sim *disk;
    struct rng     rng;
    struct journal_entry *journal;
    size_t         journal_n;
    uint8_t        topic[LOGS];        /* number of the topic id in use; a deleted log gets a new one */
    uint8_t        topics, slot[256];  /* of each topic: several have had the same name, one after the other */
    uint32_t       next_id;
    uint64_t       acked;
    uint64_t       seed;
    struct log_large *larges[4];       /* on their way */
    unsigned       large_log[4], large_topic[4];
    bool           large_ready[4];
};

static void journal_add(struct history *h, struct journal_entry x)
{
    h->journal = xrealloc(h->journal, h->journal_n + 1, sizeof x);
    h->journal[h->journal_n++] = x;
}

static uint64_t pick(struct history *h, uint64_t n) { return rng_below(&h->rng, n); }

static struct log *history_log(struct history *h, unsigned i)
{
    struct uuid   id = topic_n(h->topic[i]);
    char              name[8] = {'t', (char)('a' + i), 0};
    struct log       *l = store_log(h->t.store, &id, str_of(name), 0);
    struct log_config c = log_config_default;

    c.segment_bytes = 24 << 10;
    c.index_interval_bytes = 512;
    c.retention_bytes = 60 << 10;
    log_set_config(l, &c);
    return l;
}

static size_t pad_of(struct history *h)
{
    switch (pick(h, 8)) {
    case 0: return (size_t)pick(h, 20000);
    case 1: return (size_t)pick(h, 5000);
    default: return (size_t)pick(h, 300);
    }
}

static void history_append(struct history *h)
{
    unsigned            i = (unsigned)pick(h, LOGS);
    int                 n = 1 + (int)pick(h, 4);
    char                text[32];
    struct log_appended a;

    snprintf(text, sizeof text, "#%u ", h->next_id);
    if (log_put(&h->t, history_log(h, i), (struct batch_of){.text = text, .n = n, .pad = pad_of(h)}, &a)) return;
    journal_add(h, (struct journal_entry){.seq = a.seq, .kind = ENTRY_BATCH, .log = h->topic[i], .id = h->next_id++, .base = a.base_offset, .n = n});
}

static void history_meta(struct history *h)
{
    char     text[32];
    uint64_t seq;

    snprintf(text, sizeof text, "m%u", h->next_id);
    if (store_meta_append(h->t.store, str_bytes(str_of(text)), &seq, &h->t.err)) return;
    buf_append(&h->t.meta, bytes_of(text, strlen(text) + 1));     /* the broker's state, for snapshots */
    journal_add(h, (struct journal_entry){.seq = seq, .kind = ENTRY_META, .id = h->next_id++});
}

static void history_start(struct history *h)
{
    unsigned    i = (unsigned)pick(h, LOGS);
    struct log *l = history_log(h, i);
    int64_t     to = log_start(l) + (int64_t)pick(h, (uint64_t)(log_durable_end(l) - log_start(l)) + 1), before = log_start(l);
    uint64_t    seq;

    if (log_delete_records(l, to, &seq, &h->t.err) || log_start(l) == before) return;
    journal_add(h, (struct journal_entry){.seq = seq, .kind = ENTRY_START, .log = h->topic[i], .start = log_start(l)});
}

static void history_retain(struct history *h)
{
    unsigned    i = (unsigned)pick(h, LOGS);
    struct log *l = history_log(h, i);
    bool        changed;

    if (log_retain(l, h->t.clock.wall_ms, &changed, &h->t.err) || !changed) return;
    journal_add(h, (struct journal_entry){.seq = store_staged_seq(h->t.store), .kind = ENTRY_START, .log = h->topic[i], .start = log_start(l)});
}

static void history_delete(struct history *h)
{
    unsigned    i = (unsigned)pick(h, LOGS);
    struct log *l = history_log(h, i);
    uint64_t    seq, before = store_staged_seq(h->t.store);

    if (h->topics == 250 || store_log_delete(h->t.store, &l, &seq, &h->t.err)) return;
    if (seq != before) journal_add(h, (struct journal_entry){.seq = seq, .kind = ENTRY_DELETE, .log = h->topic[i]});
    h->topic[i] = ++h->topics;
    h->slot[h->topics] = (uint8_t)i;
}

static void large_arrived(struct log_large *g) { *(bool *)g->ctx = true; }

static void history_large(struct history *h)
{
    unsigned slot = (unsigned)pick(h, 4), i = (unsigned)pick(h, LOGS);
    char     text[32];

    if (h->larges[slot]) return;
    h->larges[slot] = xnew(struct log_large);
    h->larges[slot]->done = large_arrived;
    h->larges[slot]->ctx = &h->large_ready[slot];
    h->large_ready[slot] = false;
    h->large_log[slot] = i;
    h->large_topic[slot] = h->topic[i];
    snprintf(text, sizeof text, "#%u ", h->next_id++);
    batch_make(&h->larges[slot]->batch, (struct batch_of){.text = text, .n = 2, .pad = 70000 + (size_t)pick(h, 5000)});
    log_large_prepare(history_log(h, i), h->larges[slot]);
}

static void large_end(struct history *h, unsigned slot)
{
    log_large_free(h->larges[slot]);
    free(h->larges[slot]);
    h->larges[slot] = NULL;
}

/* What the text of a large batch says; its number was taken when it was made. */
static uint32_t large_id(const struct log_large *g)
{
    const char *p = memchr(g->batch.p + 61, '#', 40);

    return (uint32_t)strtoul(p + 1, NULL, 10);
}

static void history_larges_arrive(struct history *h)
{
    for (unsigned k = 0; k < 4; k++) {
        struct log_large   *g = h->larges[k];
        struct log_appended a;

        if (!g || !h->large_ready[k]) continue;
        if (!g->rc && h->large_topic[k] == h->topic[h->large_log[k]] && pick(h, 8) && !log_large_append(history_log(h, h->large_log[k]), g, 0, &a, &h->t.err))
            journal_add(h, (struct journal_entry){.seq = a.seq, .kind = ENTRY_BATCH, .log = h->topic[h->large_log[k]], .id = large_id(g), .base = a.base_offset, .n = 2});
        large_end(h, k);
    }
}

/* One turn in which the workers get as far as chance wants. */
static void history_turn(struct history *h)
{
    store_turn_end(h->t.store);
    for (uint64_t k = pick(h, 4); k-- > 0;) {
        workers_run_one(h->t.workers);
        if (pick(h, 2)) mailbox_drain(h->t.mailbox);
    }
    mailbox_drain(h->t.mailbox);
    h->acked = store_durable_seq(h->t.store);
}

static void history_step(struct history *h)
{
    switch (pick(h, 40)) {
    case 0: history_delete(h); break;
    case 1: history_start(h); break;
    case 2: history_retain(h); break;
    case 3: case 4: history_meta(h); break;
    case 5: store_checkpoint_soon(h->t.store); break;
    case 6: clock_sim_advance(&h->t.clock, pick(h, 40000000)); break;
    case 7: history_large(h); break;
    default: history_append(h);
    }
    history_larges_arrive(h);
    if (!pick(h, 3)) history_turn(h);
}

/* ---- checking ---- */

static void fail_with(const struct history *h, const char *what, unsigned log, int64_t offset)
{
    fail_msg("seed %llu: %s (log %u, offset %lld; %s)", (unsigned long long)h->seed, what, log, (long long)offset, h->t.err.text);
}

static void check_batch(struct history *h, struct log *l, const struct journal_entry *x)
{
    char        text[32];
    const char *got = log_text(&h->t, l, MAX(x->base, log_start(l)));

    snprintf(text, sizeof text, "#%u ", x->id);
    if (!got || strcmp(got, text) != 0) fail_with(h, got ? "another batch is here" : "a batch is missing", x->log, x->base);
}

static void check_log(struct history *h, unsigned topic)
{
    struct uuid id = topic_n((uint8_t)topic);
    struct log     *l = store_log_find(h->t.store, &id, 0);
    int64_t         end = 0, start = 0;
    bool            gone = false, known = false;

    for (size_t i = 0; i < h->journal_n; i++) {
        const struct journal_entry *x = &h->journal[i];

        if (x->kind == ENTRY_META || x->log != topic) continue;
        known = true;
        if (x->kind == ENTRY_DELETE) gone = true;
        else if (x->kind == ENTRY_START) start = x->start;
        else end = x->base + x->n;
    }
    if (gone || !known) {
        if (l && log_end(l)) fail_with(h, "a log that should not be", topic, log_end(l));
        return;
    }
    if (!l) fail_with(h, "the log is missing", topic, end);
    if (log_health(l, &h->t.err)) fail_with(h, "the log is offline", topic, end);
    if (log_end(l) != end || log_durable_end(l) != end) fail_with(h, "ends elsewhere", topic, log_end(l));
    if (log_start(l) != start) fail_with(h, "starts elsewhere", topic, log_start(l));
    for (size_t i = 0; i < h->journal_n; i++)
        if (h->journal[i].kind == ENTRY_BATCH && h->journal[i].log == topic && h->journal[i].base + h->journal[i].n > start) check_batch(h, l, &h->journal[i]);
}

static void check_meta(struct history *h)
{
    struct buf want = {0};

    for (size_t i = 0; i < h->journal_n; i++)
        if (h->journal[i].kind == ENTRY_META) {
            buf_printf(&want, "m%u", h->journal[i].id);
            buf_append_byte(&want, 0);
        }
    if (!bytes_eq(buf_view(&want), buf_view(&h->t.meta))) fail_with(h, "the metadata is another", 0, 0);
    buf_fini(&want);
}

/* A slot's topic is the one that has records and was not deleted; a deletion that was lost brings the one before back. */
static void slot_restore(struct history *h, unsigned slot)
{
    for (unsigned topic = 0; topic <= h->topics; topic++) {
        bool gone = false, known = false;

        if (h->slot[topic] != slot) continue;
        for (size_t i = 0; i < h->journal_n; i++) {
            if (h->journal[i].kind == ENTRY_META || h->journal[i].log != topic) continue;
            known = true;
            gone |= h->journal[i].kind == ENTRY_DELETE;
        }
        h->topic[slot] = (uint8_t)topic;
        if (known && !gone) return;
    }
}

/* The store has just been opened. */
static void history_check(struct history *h)
{
    uint64_t recovered = store_durable_seq(h->t.store);
    size_t   left = 0;

    if (recovered < h->acked) fail_with(h, "acknowledged records are gone", 0, (int64_t)(h->acked - recovered));
    for (size_t i = 0; i < h->journal_n; i++)
        if (h->journal[i].seq <= recovered) h->journal[left++] = h->journal[i];
    h->journal_n = left;
    for (unsigned topic = 0; topic <= h->topics; topic++) check_log(h, topic);
    check_meta(h);
    h->acked = recovered;
    for (unsigned i = 0; i < LOGS; i++) slot_restore(h, i);
}

static void history_init(struct history *h, uint64_t seed)
{
    *h = (struct history){.seed = seed, .disk = fs_sim_new(seed), .topics = LOGS - 1};
    rng_init(&h->rng, seed * 7919);
    for (uint8_t i = 0; i < LOGS; i++) h->topic[i] = h->slot[i] = i;
    storage_init(&h->t, fs_sim_fs(h->disk), "data");
    h->t.opt.wal_bytes_first = (64 + 64 * pick(h, 2)) << 10;
    h->t.opt.wal_bytes_max = 256 << 10;
    h->t.opt.files_open_max = 6;
}

static void history_settle(struct history *h)
{
    storage_settle(&h->t);
    for (unsigned k = 0; k < 4; k++)
        if (h->larges[k]) large_end(h, k);
    storage_settle(&h->t);
    h->acked = store_durable_seq(h->t.store);
}

static UNUSED void history_crash(struct history *h)
{
    fs_sim_cut(h->disk);
    history_settle(h);
    h->t.store = store_abandon(h->t.store);
    fs_sim_power_on(h->disk);
}

static void history_fini(struct history *h)
{
    storage_fini(&h->t);
    fs_sim_free(h->disk);
    free(h->journal);
}
