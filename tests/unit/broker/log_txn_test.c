/* Transactions as one log sees them: what is stable, what was aborted, and that both survive everything.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/rng.h"
#include "broker/txn_index.h"
#include "storage.h"

enum { PRODUCERS = 4, OFFSETS_MAX = 4096, SEEDS = 60, STEPS = 250 };

struct rig { struct fs_sim *disk; struct storage t; struct log *log; struct log_config config; };

static void rig_log(struct rig *r)
{
    r->log = storage_log(&r->t, 0);
    log_set_config(r->log, &r->config);
}

static void rig_init(struct rig *r, uint64_t seed)
{
    *r = (struct rig){.disk = fs_sim_new(seed), .config = log_config_default};
    r->config.segment_bytes = 700;
    storage_init(&r->t, fs_sim_fs(r->disk), "data");
    assert_int_equal(storage_open(&r->t), RC_OK);
    rig_log(r);
}

static void rig_fini(struct rig *r)
{
    storage_fini(&r->t);
    fs_sim_free(r->disk);
}

static void crash(struct rig *r)
{
    fs_sim_cut(r->disk);
    r->t.store = store_abandon(r->t.store);
    fs_sim_power_on(r->disk);
    if (storage_open(&r->t)) fail_msg("%s", r->t.err.text);
    rig_log(r);
}

static void restart(struct rig *r)
{
    r->t.store = store_close(r->t.store);
    if (storage_open(&r->t)) fail_msg("%s", r->t.err.text);
    rig_log(r);
}

static int64_t stage(struct rig *r, struct buf *batch)
{
    struct log_appended a;

    if (log_append(r->log, batch->p, batch->n, 0, &a, &r->t.err)) fail_msg("%s", r->t.err.text);
    buf_fini(batch);
    return a.base_offset;
}

static int64_t put(struct rig *r, int64_t producer, int32_t sequence)
{
    struct batch_options opt = {.transactional = true, .has_producer = true, .producer_id = producer, .base_sequence = sequence};
    struct batch_builder w;
    struct buf           b = {0};
    struct bytes         view;

    batch_begin(&w, &b, &opt);
    batch_add(&w, &(struct record_new){.timestamp = 1700000000000, .value = str_bytes(STR("some value"))});
    assert_int_equal(batch_end(&w, NULL, &view, &r->t.err), RC_OK);
    return stage(r, &b);
}

static int64_t mark(struct rig *r, int64_t producer, bool commit)
{
    struct buf b = {0};

    batch_build_control(&b, &(struct control_new){.type = commit ? CONTROL_COMMIT : CONTROL_ABORT, .timestamp = 1700000000000, .producer_id = producer});
    return stage(r, &b);
}

static int64_t stable(struct rig *r)
{
    int64_t at;

    if (log_stable_end(r->log, &at, &r->t.err)) fail_msg("%s", r->t.err.text);
    return at;
}

/* The aborted transactions of [from, bound) as text: "pid@first". */
static const char *aborted(struct rig *r, int64_t from, int64_t bound)
{
    static char text[256];
    struct buf  found = {0};
    size_t      n = 0;

    if (log_aborted(r->log, from, bound, &found, &r->t.err)) fail_msg("%s", r->t.err.text);
    text[0] = 0;
    for (size_t i = 0; i < found.n / sizeof(struct aborted_txn) && n < sizeof text; i++) {
        const struct aborted_txn *t = (const struct aborted_txn *)(const void *)found.p + i;

        n += (size_t)snprintf(text + n, sizeof text - n, "%s%lld@%lld", i ? " " : "", (long long)t->producer_id, (long long)t->first);
    }
    buf_fini(&found);
    return text;
}

static void a_marker_counts_when_it_is_on_the_disk(void **state)
{
    struct rig r;

    (void)state;
    rig_init(&r, 1);
    put(&r, 7, 0);
    storage_turn(&r.t);
    assert_int_equal(stable(&r), 0);
    mark(&r, 7, true);
    assert_int_equal(stable(&r), 0);
    storage_turn(&r.t);
    assert_int_equal(stable(&r), 2);
    rig_fini(&r);
}

static void the_oldest_open_transaction_holds_the_stable_end(void **state)
{
    struct rig r;

    (void)state;
    rig_init(&r, 2);
    put(&r, 7, 0);
    put(&r, 8, 0);
    mark(&r, 8, false);
    put(&r, 9, 0);
    storage_turn(&r.t);
    assert_int_equal(stable(&r), 0);
    mark(&r, 7, true);
    storage_turn(&r.t);
    assert_int_equal(stable(&r), 3);
    assert_string_equal(aborted(&r, 0, 3), "8@1");
    crash(&r);
    assert_int_equal(stable(&r), 3);
    assert_string_equal(aborted(&r, 0, 3), "8@1");
    assert_string_equal(aborted(&r, 3, 5), "");
    rig_fini(&r);
}

static void deleted_records_do_not_hold_it(void **state)
{
    struct rig r;
    uint64_t   seq;

    (void)state;
    rig_init(&r, 3);
    put(&r, 7, 0);
    put(&r, 8, 0);
    storage_turn(&r.t);
    assert_int_equal(log_delete_records(r.log, 2, &seq, &r.t.err), RC_OK);
    storage_turn(&r.t);
    assert_int_equal(stable(&r), 2);
    mark(&r, 7, false);
    storage_turn(&r.t);
    restart(&r);
    assert_int_equal(stable(&r), 2);
    mark(&r, 8, true);
    storage_turn(&r.t);
    assert_int_equal(stable(&r), 4);
    rig_fini(&r);
}

static void a_damaged_index_is_made_again(void **state)
{
    struct rig   r;
    struct file *f;

    (void)state;
    rig_init(&r, 4);
    for (int i = 0; i < 20; i++) {
        put(&r, 7, i);
        mark(&r, 7, i % 2);
        storage_turn(&r.t);
    }
    restart(&r);
    assert_string_equal(aborted(&r, 0, 6), "7@0 7@4");
    r.t.store = store_close(r.t.store);
    assert_int_equal(fs_open(fs_sim_fs(r.disk), "data/ta-0/00000000000000000000.txnindex", FS_WRITE, &f, &r.t.err), RC_OK);
    assert_int_equal(file_write(f, bytes_of("\xff\xff\xff\xff\xff", 5), 20, &r.t.err), RC_OK);
    file_close(f);
    assert_int_equal(storage_open(&r.t), RC_OK);
    rig_log(&r);
    assert_string_equal(aborted(&r, 0, 6), "7@0 7@4");
    assert_string_equal(aborted(&r, 30, 38), "7@32 7@36");
    rig_fini(&r);
}

/* ---- random histories against a model ---- */

struct model { int64_t first[PRODUCERS]; int32_t sequence[PRODUCERS]; struct { int64_t pid, first, last; } gone[OFFSETS_MAX]; int n; };

static void check(struct rig *r, struct model *m, struct rng *rng, uint64_t seed)
{
    int64_t end = log_durable_end(r->log), want = end, from, to;
    char    text[256] = "";
    size_t  n = 0;

    for (int i = 0; i < PRODUCERS; i++)
        if (m->first[i] >= 0) want = MIN(want, m->first[i]);
    if (stable(r) != want) fail_msg("seed %llu: stable end %lld, should be %lld", (unsigned long long)seed, (long long)stable(r), (long long)want);
    from = want ? (int64_t)rng_below(rng, (uint64_t)want + 1) : 0;
    to = from + (int64_t)rng_below(rng, (uint64_t)(want - from) + 1);
    for (int i = 0; i < m->n && n < sizeof text; i++)
        if (m->gone[i].last >= from && m->gone[i].first < to)
            n += (size_t)snprintf(text + n, sizeof text - n, "%s%lld@%lld", n ? " " : "", (long long)m->gone[i].pid, (long long)m->gone[i].first);
    if (strcmp(text, aborted(r, from, to)) != 0)
        fail_msg("seed %llu: aborted in [%lld, %lld): %s, should be %s", (unsigned long long)seed, (long long)from, (long long)to, aborted(r, from, to), text);
}

static void step(struct rig *r, struct model *m, struct rng *rng)
{
    int k = (int)rng_below(rng, PRODUCERS);

    if (m->first[k] >= 0 && rng_below(rng, 3) == 0) {
        bool    commit = rng_below(rng, 2);
        int64_t at = mark(r, 10 + k, commit);

        if (!commit) {
            m->gone[m->n].pid = 10 + k;
            m->gone[m->n].first = m->first[k];
            m->gone[m->n++].last = at;
        }
        m->first[k] = -1;
    } else {
        int64_t at = put(r, 10 + k, m->sequence[k]++);

        if (m->first[k] < 0) m->first[k] = at;
    }
}

static void stable_end_and_aborted_lists_survive_anything(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct rig   r;
        struct model m = {.first = {-1, -1, -1, -1}};
        struct rng   rng;

        rng_init(&rng, seed);
        rig_init(&r, seed);
        for (int i = 0; i < STEPS; i++) {
            step(&r, &m, &rng);
            if (rng_below(&rng, 4)) continue;
            storage_turn(&r.t);
            if (rng_below(&rng, 10) == 0) store_checkpoint_soon(r.t.store), storage_turn(&r.t), storage_turn(&r.t);
            if (rng_below(&rng, 15) == 0) crash(&r);
            else if (rng_below(&rng, 15) == 0) restart(&r);
            if (rng_below(&rng, 3)) check(&r, &m, &rng, seed);
        }
        rig_fini(&r);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_marker_counts_when_it_is_on_the_disk),
        cmocka_unit_test(the_oldest_open_transaction_holds_the_stable_end),
        cmocka_unit_test(deleted_records_do_not_hold_it),
        cmocka_unit_test(a_damaged_index_is_made_again),
        cmocka_unit_test(stable_end_and_aborted_lists_survive_anything),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
