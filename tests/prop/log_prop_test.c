/* Random histories of one log against an array: appends with times that run as they like, reads with all kinds of limits,
 * lookups by time, retention, deletion, restarts. SEEDS=N in the environment chooses how many.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/diag.h"
#include "base/rng.h"
#include "unit/broker/storage.h"

enum { SEEDS_DEFAULT = 60, STEPS = 400 };

struct one { int64_t base; int n; int64_t time; size_t bytes; };

struct model { struct one *v; size_t n; int64_t start, end, durable; };

struct run { struct fs_sim *disk; struct storage t; struct rng rng; struct model m; struct log *log; struct log_config config; uint64_t seed; int64_t clock; };

static uint64_t pick(struct run *r, uint64_t n) { return rng_below(&r->rng, n); }

#define SEED_MUST(r, cond) do { if (!(cond)) fail_msg("seed %llu: %s (%s)", (unsigned long long)(r)->seed, #cond, (r)->t.err.text); } while (0)

static void open_log(struct run *r)
{
    SEED_MUST(r, !storage_open(&r->t));
    r->log = storage_log(&r->t, 0);
    log_set_config(r->log, &r->config);
}

static void append(struct run *r)
{
    struct log_appended a;
    struct one          x = {.base = r->m.end, .n = 1 + (int)pick(r, 5)};
    struct buf          batch = {0};

    r->clock += (int64_t)pick(r, 1000);
    x.time = r->clock + (pick(r, 4) ? 0 : (int64_t)pick(r, 40000) - 20000);
    batch_make(&batch, (struct batch_of){.text = "x", .n = x.n, .time = x.time, .pad = pick(r, 10) ? (size_t)pick(r, 200) : (size_t)pick(r, 6000)});
    x.bytes = batch.n;
    SEED_MUST(r, !log_append(r->log, batch.p, batch.n, 0, &a, &r->t.err) && a.base_offset == x.base);
    buf_fini(&batch);
    r->m.v = xrealloc(r->m.v, r->m.n + 1, sizeof x);
    r->m.v[r->m.n++] = x;
    r->m.end += x.n;
}

static void settle(struct run *r)
{
    storage_turn(&r->t);
    storage_turn(&r->t);
    r->m.durable = r->m.end;
}

/* The batch that holds an offset; the model's size when there is none. */
static size_t batch_at(const struct model *m, int64_t offset)
{
    size_t i = 0;

    while (i < m->n && m->v[i].base + m->v[i].n <= offset) i++;
    return i;
}

static void read_somewhere(struct run *r)
{
    int64_t          offset = r->m.start + (int64_t)pick(r, (uint64_t)(r->m.end - r->m.start) + 2);
    int64_t          bound = pick(r, 3) ? INT64_MAX : r->m.start + (int64_t)pick(r, (uint64_t)(r->m.end - r->m.start) + 1);
    size_t           max = (size_t)pick(r, 9000), i = batch_at(&r->m, offset), sum = 0;
    bool             whole = pick(r, 2);
    struct log_slice s;
    enum rc          rc = log_read(r->log, offset, max, bound, whole, &s, &r->t.err);
    int64_t          limit = MIN(bound, r->m.durable);
    struct buf       body = {0};

    if (offset > r->m.end) {
        SEED_MUST(r, rc == RC_NOT_FOUND);
        return;
    }
    SEED_MUST(r, !rc);
    if (!s.n) {                                                   /* nothing below the limit, or it did not fit */
        SEED_MUST(r, offset >= limit || i == r->m.n || r->m.v[i].base + r->m.v[i].n > limit || (r->m.v[i].bytes > max && !whole));
        return;
    }
    SEED_MUST(r, s.offset_first == r->m.v[i].base && !log_slice_load(&s, &body, &r->t.err) && body.n == s.n);
    for (size_t at = 0; at < body.n; i++) {
        struct batch b;

        SEED_MUST(r, i < r->m.n && !batch_view(bytes_of(body.p + at, body.n - at), &b) && batch_crc_ok(&b));
        SEED_MUST(r, b.base_offset == r->m.v[i].base && b.raw.n == r->m.v[i].bytes && batch_next_offset(&b) <= limit);
        at += b.raw.n;
        sum += b.raw.n;
        SEED_MUST(r, sum <= max || (sum == b.raw.n && whole));
        SEED_MUST(r, at < body.n || batch_next_offset(&b) == s.offset_next);
    }
    log_slice_fini(&s);
    buf_fini(&body);
}

static void look_for_time(struct run *r)
{
    int64_t          ts = r->clock - (int64_t)pick(r, 100000) + 20000;
    size_t           i = batch_at(&r->m, r->m.start);
    struct log_slice s;

    while (i < r->m.n && r->m.v[i].time < ts) i++;
    SEED_MUST(r, !log_find_time(r->log, ts, INT64_MAX, &s, &r->t.err));
    if (i < r->m.n && r->m.v[i].base + r->m.v[i].n <= r->m.durable) SEED_MUST(r, s.n && s.offset_first == r->m.v[i].base);
    else SEED_MUST(r, !s.n);
    log_slice_fini(&s);
}

static void look_for_the_latest_time(struct run *r)
{
    struct log_slice s;
    size_t           best = r->m.n;

    for (size_t i = batch_at(&r->m, r->m.start); i < r->m.n && r->m.v[i].base + r->m.v[i].n <= r->m.durable; i++)
        if (best == r->m.n || r->m.v[i].time > r->m.v[best].time) best = i;
    SEED_MUST(r, !log_find_max_time(r->log, INT64_MAX, &s, &r->t.err));
    if (best == r->m.n) SEED_MUST(r, !s.n);
    else SEED_MUST(r, s.n && s.offset_first == r->m.v[best].base);
    log_slice_fini(&s);
}

static void shorten(struct run *r)
{
    uint64_t seq;
    bool     changed;
    int64_t  to = r->m.start + (int64_t)pick(r, (uint64_t)(r->m.durable - r->m.start) / 3 + 1);

    if (pick(r, 2)) {
        SEED_MUST(r, !log_delete_records(r->log, to, &seq, &r->t.err) && log_start(r->log) == to);
    } else {
        SEED_MUST(r, !log_retain(r->log, r->clock, &changed, &r->t.err) && log_start(r->log) >= r->m.start);
        for (size_t i = batch_at(&r->m, r->m.start); changed && i < r->m.n && r->m.v[i].base < log_start(r->log); i++)
            SEED_MUST(r, r->clock - r->m.v[i].time > r->config.retention_ms);
    }
    r->m.start = log_start(r->log);
    settle(r);
}

static void reopen(struct run *r)
{
    if (pick(r, 2)) {
        r->t.store = store_close(r->t.store);
        r->m.durable = r->m.end;
    } else {
        settle(r);
        fs_sim_cut(r->disk);
        r->t.store = store_abandon(r->t.store);
        fs_sim_power_on(r->disk);
    }
    open_log(r);
}

static void one_run(uint64_t seed)
{
    struct run r = {.disk = fs_sim_new(seed), .seed = seed, .clock = 1700000000000, .config = log_config_default};

    rng_init(&r.rng, seed);
    storage_init(&r.t, fs_sim_fs(r.disk), "data");
    r.config.segment_bytes = 1000 + pick(&r, 20000);
    r.config.index_interval_bytes = (uint32_t)pick(&r, 3000);
    r.config.segment_index_bytes = 200 + (uint32_t)pick(&r, 2000);
    r.config.retention_ms = 30000 + (int64_t)pick(&r, 60000);
    r.t.opt.files_open_max = 3 + (uint32_t)pick(&r, 20);
    open_log(&r);
    for (unsigned k = 0; k < STEPS; k++) {
        switch (pick(&r, 24)) {
        case 0: shorten(&r); break;
        case 1: if (!pick(&r, 4)) reopen(&r); break;
        case 2: settle(&r); break;
        case 3: store_checkpoint_soon(r.t.store); settle(&r); break;
        case 4: case 5: look_for_time(&r); break;
        case 6: look_for_the_latest_time(&r); break;
        case 7: case 8: case 9: case 10: case 11: case 12: read_somewhere(&r); break;
        default: append(&r);
        }
        SEED_MUST(&r, log_start(r.log) == r.m.start && log_end(r.log) == r.m.end && log_durable_end(r.log) == r.m.durable);
    }
    storage_fini(&r.t);
    fs_sim_free(r.disk);
    free(r.m.v);
}

static void a_log_behaves_like_an_array(void **state)
{
    const char *s = getenv("SEEDS");
    uint64_t    first = 1, last = s ? strtoull(s, NULL, 10) : SEEDS_DEFAULT;

    (void)state;
    if (s && strstr(s, "..")) first = last, last = strtoull(strstr(s, "..") + 2, NULL, 10);
    for (uint64_t seed = first; seed <= last; seed++) one_run(seed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_log_behaves_like_an_array)};

    diag_set_levels(STR("error"));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
