/* Random histories of a compacted log against a list of what was written: keys, tombstones, records without a key,
 * transactions that commit and abort, small memory for keys, limited speed, restarts and power cuts in the middle.
 * SEEDS=N in the environment chooses how many.   SPDX-License-Identifier: Apache-2.0 */
#include "base/diag.h"
#include "broker/store_core.h"
#include "unit/broker/storage.h"

enum { SEEDS_DEFAULT = 40, STEPS = 250, KEYS = 24, WRITERS = 3, RECORDS_MAX = 8000, DELETE_RETENTION_MS = 60000 };
enum fate { OPEN, COMMITTED, ABORTED };

struct written { int key, value; enum fate fate; bool marker; int writer; int64_t seen_dead_ms; };      /* key -1: none; value 0: tombstone */
struct run { struct fs_sim *disk; struct storage t; struct rng rng; struct log *log; struct codecs *codecs; uint64_t seed; struct written w[RECORDS_MAX]; int64_t end, durable;
             bool open[WRITERS]; int32_t sequence[WRITERS]; int value; };

static uint64_t pick(struct run *r, uint64_t n) { return rng_below(&r->rng, n); }

#define SEED_MUST(r, cond) do { if (!(cond)) fail_msg("seed %llu: %s (%s)", (unsigned long long)(r)->seed, #cond, (r)->t.err.text); } while (0)

static void open_log(struct run *r)
{
    struct log_config c = log_config_default;

    SEED_MUST(r, !storage_open(&r->t));
    store_cleaner_limits(r->t.store, r->seed % 3 ? 0 : 64 * 24, r->seed % 2 ? 0 : 200000);
    c.cleanup = LOG_CLEANUP_COMPACT | (r->seed % 4 ? 0 : LOG_CLEANUP_DELETE);
    c.retention_bytes = 9000;
    c.segment_bytes = 900 + r->seed % 5 * 700;
    c.index_interval_bytes = 300;
    c.min_cleanable_dirty_ratio = 0.05;
    c.delete_retention_ms = DELETE_RETENTION_MS;
    r->log = storage_log(&r->t, 0);
    log_set_config(r->log, &c);
}

static void append(struct run *r, struct buf *batch)
{
    struct log_appended a;

    SEED_MUST(r, !log_append(r->log, batch->p, batch->n, 0, &a, &r->t.err) && a.base_offset == r->end);
    r->end = a.last_offset + 1;
    buf_fini(batch);
}

static void put(struct run *r)
{
    int                  writer = (int)pick(r, WRITERS + 2) - 2, n = 1 + (int)pick(r, 5);
    struct buf           batch = {0};
    struct bytes         view;
    struct batch_builder w;
    struct batch_options o = {.leader_epoch = -1, .codec = pick(r, 3) ? KAFKA_CODEC_NONE : KAFKA_CODEC_LZ4};

    if (writer >= 0) {
        o.has_producer = o.transactional = true;
        o.producer_id = 100 + writer;
        o.base_sequence = r->sequence[writer];
        r->sequence[writer] += n;
        r->open[writer] = true;
    }
    batch_begin(&w, &batch, &o);
    for (int i = 0; i < n; i++) {
        struct written x = {.key = (int)pick(r, KEYS + 1) - 1, .value = pick(r, 6) ? ++r->value : 0, .fate = writer < 0 ? COMMITTED : OPEN, .writer = writer};
        char           key[16], value[48];

        snprintf(key, sizeof key, "k%d", x.key);
        snprintf(value, sizeof value, "v%d and some more so that it counts", x.value);
        batch_add(&w, &(struct record_new){.timestamp = r->t.clock.wall_ms, .key = x.key < 0 ? (struct bytes){0} : str_bytes(str_of(key)),
                                           .value = x.value ? str_bytes(str_of(value)) : (struct bytes){0}});
        r->w[r->end + i] = x;
    }
    SEED_MUST(r, !batch_end(&w, r->codecs, &view, &r->t.err));
    append(r, &batch);
}

static void end_transaction(struct run *r, int writer)
{
    bool       commit = pick(r, 2);
    struct buf batch = {0};

    if (!r->open[writer]) return;
    batch_build_control(&batch, &(struct control_new){.type = commit ? CONTROL_COMMIT : CONTROL_ABORT, .timestamp = r->t.clock.wall_ms, .producer_id = 100 + writer, .leader_epoch = -1});
    for (int64_t i = 0; i < r->end; i++)
        if (r->w[i].fate == OPEN && r->w[i].writer == writer) r->w[i].fate = commit ? COMMITTED : ABORTED;
    r->w[r->end] = (struct written){.marker = true, .key = -1, .fate = COMMITTED, .writer = writer};
    r->open[writer] = false;
    append(r, &batch);
}

static void settle(struct run *r)
{
    storage_turn(&r->t);
    storage_turn(&r->t);
    r->durable = r->end;
}

/* A later committed record of the same key below `end`. */
static bool is_superseded(const struct run *r, int64_t at, int64_t end)
{
    for (int64_t i = at + 1; i < end; i++)
        if (!r->w[i].marker && r->w[i].fate != ABORTED && r->w[i].key == r->w[at].key) return true;
    return false;
}

static void check_record(struct run *r, const struct record *rec, bool control)
{
    const struct written *x = &r->w[rec->offset];
    char                  key[16], value[48];

    SEED_MUST(r, x->marker == control);
    if (control) return;
    snprintf(key, sizeof key, "k%d", x->key);
    snprintf(value, sizeof value, "v%d and some more so that it counts", x->value);
    SEED_MUST(r, x->key < 0 ? !rec->key.p : str_is(bytes_str(rec->key), key));
    SEED_MUST(r, x->value ? str_is(bytes_str(rec->value), value) : !rec->value.p);
    if (rec->offset >= r->log->cleaned) return;
    SEED_MUST(r, x->key >= 0 && x->fate != ABORTED);
    SEED_MUST(r, !is_superseded(r, rec->offset, r->log->cleaned));
}

/* What is missing had a reason. */
static void check_missing(struct run *r, int64_t from, int64_t to)
{
    for (int64_t i = from; i < to; i++) {
        struct written *x = &r->w[i];

        if (x->marker || x->key < 0 || x->fate == ABORTED || is_superseded(r, i, r->end)) continue;
        if (x->value) fail_msg("seed %llu: the last value of k%d at %d is gone", (unsigned long long)r->seed, x->key, (int)i);
        if (r->t.clock.wall_ms - x->seen_dead_ms < DELETE_RETENTION_MS) fail_msg("seed %llu: the tombstone at %d went early", (unsigned long long)r->seed, (int)i);
    }
}

static int64_t check_batches(struct run *r, struct bytes body, int64_t next)
{
    struct buf scratch = {0};

    for (size_t p = 0; p < body.n;) {
        struct batch   b;
        struct records it;
        struct record  rec;

        SEED_MUST(r, !batch_view(bytes_of(body.p + p, body.n - p), &b) && batch_crc_ok(&b) && (b.base_offset >= next || next == log_start(r->log)));
        SEED_MUST(r, !records_open(&it, &b, r->codecs, 1 << 20, &scratch));
        while (records_next(&it, &rec)) {
            if (rec.offset < log_start(r->log)) continue;
            SEED_MUST(r, rec.offset >= next);
            check_record(r, &rec, batch_is(&b, BATCH_CONTROL));
            check_missing(r, next, rec.offset);
            next = rec.offset + 1;
        }
        SEED_MUST(r, !it.fault);
        p += b.raw.n;
    }
    buf_fini(&scratch);
    return next;
}

static void check(struct run *r)
{
    struct buf body = {0};
    int64_t    next = log_start(r->log);

    for (int64_t at = next; at < log_durable_end(r->log);) {
        struct log_slice s;

        SEED_MUST(r, !log_read(r->log, at, 1 << 20, INT64_MAX, true, &s, &r->t.err));
        if (!s.n) break;
        buf_clear(&body);
        SEED_MUST(r, !log_slice_load(&s, &body, &r->t.err));
        at = s.offset_next;
        log_slice_fini(&s);
        next = check_batches(r, buf_view(&body), next);
    }
    check_missing(r, next, r->durable);
    buf_fini(&body);
}

static void compact(struct run *r, bool whole)
{
    store_checkpoint_soon(r->t.store);
    settle(r);
    clock_sim_advance(&r->t.clock, 16000000 + pick(r, 30000000));
    (void)log_compact(r->log, r->t.clock.wall_ms);
    for (int i = 0; i < (whole ? 400 : 3) && r->log->compacting; i++) {
        storage_turn(&r->t);
        clock_sim_advance(&r->t.clock, 1000000);
    }
    if (!whole) return;
    SEED_MUST(r, !r->log->compacting);
    for (int64_t i = 0; i < r->log->cleaned; i++)
        if (!r->w[i].seen_dead_ms) r->w[i].seen_dead_ms = r->t.clock.wall_ms - 400000;
}

/* Only of logs that delete: the start moves, by size or by hand. */
static void shorten(struct run *r)
{
    uint64_t seq;
    bool     changed = true;

    if (r->seed % 4) return;
    settle(r);
    if (pick(r, 2)) SEED_MUST(r, !log_delete_records(r->log, log_start(r->log) + (int64_t)pick(r, (uint64_t)(r->durable - log_start(r->log)) / 4 + 1), &seq, &r->t.err));
    else while (changed) SEED_MUST(r, !log_retain(r->log, r->t.clock.wall_ms, &changed, &r->t.err));
    settle(r);
}

static void reopen(struct run *r)
{
    settle(r);
    if (pick(r, 2)) {
        r->t.store = store_close(r->t.store);
    } else {
        if (pick(r, 2)) {
            fs_sim_cut_at(r->disk, fs_sim_ops(r->disk) + 1 + pick(r, 40));
            compact(r, false);
        }
        fs_sim_cut(r->disk);
        r->t.store = store_abandon(r->t.store);
        fs_sim_power_on(r->disk);
    }
    open_log(r);
    SEED_MUST(r, log_end(r->log) == r->end);
}

static void one_run(uint64_t seed)
{
    struct run *r = xnew(struct run);

    r->disk = fs_sim_new(seed);
    r->seed = seed;
    r->codecs = codecs_new();
    rng_init(&r->rng, seed);
    storage_init(&r->t, fs_sim_fs(r->disk), "data");
    open_log(r);
    for (unsigned k = 0; k < STEPS; k++) {
        switch (pick(r, 30)) {
        case 0: reopen(r); break;
        case 1: case 2: compact(r, true); check(r); break;
        case 3: settle(r); break;
        case 8: if (!pick(r, 3)) shorten(r); break;
        case 4: case 5: case 6: case 7: end_transaction(r, (int)pick(r, WRITERS)); break;
        default: put(r);
        }
    }
    for (int i = 0; i < WRITERS; i++) end_transaction(r, i);
    compact(r, true);
    check(r);
    storage_fini(&r->t);
    fs_sim_free(r->disk);
    codecs_free(r->codecs);
    free(r);
}

static void a_compacted_log_keeps_the_last_of_every_key(void **state)
{
    const char *s = getenv("SEEDS");
    uint64_t    first = 1, last = s ? strtoull(s, NULL, 10) : SEEDS_DEFAULT;

    (void)state;
    if (s && strstr(s, "..")) first = last, last = strtoull(strstr(s, "..") + 2, NULL, 10);
    for (uint64_t seed = first; seed <= last; seed++) one_run(seed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_compacted_log_keeps_the_last_of_every_key)};

    diag_set_levels(STR("error"));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
