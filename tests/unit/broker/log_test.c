/* SPDX-License-Identifier: Apache-2.0 */
#include "base/diag.h"
#include "storage.h"

struct rig { struct fs_sim *disk; struct storage t; struct log *log; struct log_config config; };

static void rig_log(struct rig *r)
{
    r->log = storage_log(&r->t, 0);
    log_set_config(r->log, &r->config);
}

static void rig_init(struct rig *r)
{
    *r = (struct rig){.disk = fs_sim_new(11), .config = log_config_default};
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
    assert_int_equal(storage_open(&r->t), RC_OK);
    rig_log(r);
}

static void restart(struct rig *r)
{
    r->t.store = store_close(r->t.store);
    assert_int_equal(storage_open(&r->t), RC_OK);
    rig_log(r);
}

static int64_t put(struct rig *r, struct batch_of b)
{
    struct log_appended a;

    if (log_put(&r->t, r->log, b, &a)) fail_msg("%s", r->t.err.text);
    storage_turn(&r->t);
    return a.base_offset;
}

static void checkpoint(struct rig *r)
{
    store_checkpoint_soon(r->t.store);
    storage_turn(&r->t);
    storage_turn(&r->t);
}

static bool exists(struct rig *r, const char *name)
{
    char           path[128];
    struct fs_stat st;

    snprintf(path, sizeof path, "data/ta-0/%s", name);
    return !fs_stat(fs_sim_fs(r->disk), path, &st, &r->t.err);
}

static struct log_slice slice_at(struct rig *r, int64_t offset, size_t max, int64_t bound, bool whole)
{
    struct log_slice s;

    if (log_read(r->log, offset, max, bound, whole, &s, &r->t.err)) fail_msg("%s", r->t.err.text);
    return s;
}

static void slice_is(struct rig *r, int64_t offset, size_t max, int64_t bound, bool whole, int64_t first, int64_t next)
{
    struct log_slice s = slice_at(r, offset, max, bound, whole);

    if (s.offset_first != first || s.offset_next != next || (s.n == 0) != (first == next))
        fail_msg("read at %d: got [%d, %d) in %zu bytes", (int)offset, (int)s.offset_first, (int)s.offset_next, s.n);
    log_slice_fini(&s);
    log_slice_fini(&s);
}

static void reads_give_whole_batches_within_their_limits(void **state)
{
    struct rig       r;
    struct log_slice s;
    size_t           each;

    (void)state;
    rig_init(&r);
    for (int i = 0; i < 10; i++) put(&r, (struct batch_of){.text = "x", .n = 2, .pad = 100});
    s = slice_at(&r, 0, 1, INT64_MAX, true);
    each = s.n;
    log_slice_fini(&s);
    slice_is(&r, 0, 1 << 20, INT64_MAX, true, 0, 20);
    slice_is(&r, 5, 1 << 20, INT64_MAX, true, 4, 20);              /* inside a batch: the whole batch */
    slice_is(&r, 4, each * 3, INT64_MAX, true, 4, 10);
    slice_is(&r, 4, each * 3 + each / 2, INT64_MAX, true, 4, 10);
    slice_is(&r, 4, each - 1, INT64_MAX, true, 4, 6);
    slice_is(&r, 4, each - 1, INT64_MAX, false, 4, 4);
    slice_is(&r, 4, 1 << 20, 9, true, 4, 8);                       /* offset 9 is in the batch 8..9: not wholly below */
    slice_is(&r, 20, 1 << 20, INT64_MAX, true, 20, 20);
    assert_int_equal(log_read(r.log, 21, 1, INT64_MAX, true, &s, &r.t.err), RC_NOT_FOUND);
    assert_int_equal(log_read(r.log, -1, 1, INT64_MAX, true, &s, &r.t.err), RC_NOT_FOUND);
    rig_fini(&r);
}

static void nothing_is_shown_before_it_is_durable(void **state)
{
    struct rig          r;
    struct log_appended a;

    (void)state;
    rig_init(&r);
    put(&r, (struct batch_of){.text = "x"});
    assert_int_equal(log_put(&r.t, r.log, (struct batch_of){.text = "y"}, &a), RC_OK);
    assert_int_equal(log_end(r.log), 2);
    assert_int_equal(log_durable_end(r.log), 1);
    slice_is(&r, 0, 1 << 20, INT64_MAX, true, 0, 1);
    slice_is(&r, 1, 1 << 20, INT64_MAX, true, 1, 1);
    store_turn_end(r.t.store);
    assert_int_equal(log_durable_end(r.log), 1);
    storage_settle(&r.t);
    slice_is(&r, 1, 1 << 20, INT64_MAX, true, 1, 2);
    rig_fini(&r);
}

static void an_empty_log_has_no_folder(void **state)
{
    struct rig     r;
    struct fs_stat st;

    (void)state;
    rig_init(&r);
    slice_is(&r, 0, 1, INT64_MAX, true, 0, 0);
    assert_int_equal(fs_stat(fs_sim_fs(r.disk), "data/ta-0", &st, &r.t.err), RC_NOT_FOUND);
    rig_fini(&r);
}

static void the_files_are_kafkas(void **state)
{
    struct rig r;
    struct buf body = {0};

    (void)state;
    rig_init(&r);
    r.config.index_interval_bytes = 300;
    log_set_config(r.log, &r.config);
    for (int i = 0; i < 4; i++) put(&r, (struct batch_of){.text = "x", .n = 3, .pad = 200, .time = 1000 + i});
    restart(&r);
    assert_int_equal(fs_load(fs_sim_fs(r.disk), "data/ta-0/partition.metadata", 4096, &body, &r.t.err), RC_OK);
    assert_str(buf_str(&body), "version: 0\ntopic_id: AQIDAAAAAAAAAAAAAAAAAA");
    buf_clear(&body);
    assert_int_equal(fs_load(fs_sim_fs(r.disk), "data/ta-0/leader-epoch-checkpoint", 4096, &body, &r.t.err), RC_OK);
    assert_str(buf_str(&body), "0\n1\n0 0\n");
    buf_clear(&body);
    assert_int_equal(fs_load(fs_sim_fs(r.disk), "data/ta-0/00000000000000000000.index", 4096, &body, &r.t.err), RC_OK);
    assert_int_equal(body.n, 8);                                  /* an entry before the third batch is counted */
    assert_int_equal(load_be32(body.p), 8);                       /* its last offset */
    buf_clear(&body);
    assert_int_equal(fs_load(fs_sim_fs(r.disk), "data/ta-0/00000000000000000000.timeindex", 4096, &body, &r.t.err), RC_OK);
    assert_int_equal(body.n, 12);
    assert_int_equal(load_be64(body.p), 1002);
    assert_int_equal(load_be32(body.p + 8), 8);
    assert_true(exists(&r, "00000000000000000000.log"));
    assert_true(exists(&r, "00000000000000000012.snapshot"));
    buf_fini(&body);
    rig_fini(&r);
}

static void segments_roll_by_size_time_and_wish(void **state)
{
    struct rig r;

    (void)state;
    rig_init(&r);
    r.config.segment_bytes = 1000;
    r.config.segment_ms = 5000;
    log_set_config(r.log, &r.config);
    put(&r, (struct batch_of){.text = "x", .pad = 400, .time = 100000});
    put(&r, (struct batch_of){.text = "x", .pad = 300, .time = 104000});
    put(&r, (struct batch_of){.text = "x", .pad = 400, .time = 104001});     /* too large for the first */
    assert_true(exists(&r, "00000000000000000002.log"));
    put(&r, (struct batch_of){.text = "x", .pad = 20, .time = 109002});      /* too late by the records' time */
    assert_true(exists(&r, "00000000000000000003.log"));
    clock_sim_advance(&r.t.clock, 6000000);
    put(&r, (struct batch_of){.text = "x", .pad = 20, .time = 109003});      /* too late by the clock */
    assert_true(exists(&r, "00000000000000000004.log"));
    assert_true(exists(&r, "00000000000000000000.index") || exists(&r, "00000000000000000000.timeindex"));
    crash(&r);
    for (int64_t i = 0; i < 5; i++) assert_string_equal(log_text(&r.t, r.log, i), "");
    slice_is(&r, 0, 1 << 20, INT64_MAX, true, 0, 2);               /* a read stays in its segment */
    slice_is(&r, 2, 1 << 20, INT64_MAX, true, 2, 3);
    rig_fini(&r);
}

static void find_time(struct rig *r, int64_t ts, int64_t offset)
{
    struct log_slice s;

    assert_int_equal(log_find_time(r->log, ts, INT64_MAX, &s, &r->t.err), RC_OK);
    if ((s.n ? s.offset_first : -1) != offset) fail_msg("time %d: got %d, wanted %d", (int)ts, s.n ? (int)s.offset_first : -1, (int)offset);
    log_slice_fini(&s);
}

static void times_are_found_also_when_they_run_backwards(void **state)
{
    static const int64_t times[] = {1000, 3000, 2000, 5000, 4000, 4500, 6000, 1};
    struct rig           r;
    struct log_slice     s;

    (void)state;
    rig_init(&r);
    r.config.segment_bytes = 500;
    r.config.index_interval_bytes = 1;
    log_set_config(r.log, &r.config);
    find_time(&r, 0, -1);
    for (size_t i = 0; i < countof(times); i++) put(&r, (struct batch_of){.text = "x", .pad = 100, .time = times[i]});
    for (unsigned again = 0; again < 3; again++) {
        find_time(&r, 0, 0);
        find_time(&r, 1001, 1);
        find_time(&r, 3001, 3);
        find_time(&r, 5001, 6);
        find_time(&r, 6001, -1);
        assert_int_equal(log_find_max_time(r.log, INT64_MAX, &s, &r.t.err), RC_OK);
        assert_int_equal(s.offset_first, 6);
        log_slice_fini(&s);
        assert_int_equal(log_find_max_time(r.log, 6, &s, &r.t.err), RC_OK);
        assert_int_equal(s.offset_first, 3);
        log_slice_fini(&s);
        if (again) restart(&r);
        else crash(&r);
    }
    rig_fini(&r);
}

static void the_leader_epoch_is_the_start_number(void **state)
{
    struct rig r;
    int32_t    epoch;
    int64_t    end;

    (void)state;
    rig_init(&r);
    put(&r, (struct batch_of){.text = "x"});
    crash(&r);
    put(&r, (struct batch_of){.text = "x"});
    put(&r, (struct batch_of){.text = "x"});
    restart(&r);
    restart(&r);
    put(&r, (struct batch_of){.text = "x"});
    assert_int_equal(log_epoch(r.log), 3);
    assert_int_equal(log_epoch_end(r.log, 0, &epoch, &end, &r.t.err), RC_OK);
    assert_int_equal(epoch, 0);
    assert_int_equal(end, 1);
    assert_int_equal(log_epoch_end(r.log, 2, &epoch, &end, &r.t.err), RC_OK);
    assert_int_equal(epoch, 1);
    assert_int_equal(end, 3);
    assert_int_equal(log_epoch_end(r.log, 3, &epoch, &end, &r.t.err), RC_OK);
    assert_int_equal(end, 4);
    assert_int_equal(log_epoch_end(r.log, 4, &epoch, &end, &r.t.err), RC_OK);
    assert_int_equal(epoch, -1);
    assert_int_equal(log_epoch_at(r.log, 2, &epoch, &r.t.err), RC_OK);
    assert_int_equal(epoch, 1);
    rig_fini(&r);
}

/* ---- start offset and retention ---- */

static void retain(struct rig *r, bool expect)
{
    bool changed;

    assert_int_equal(log_retain(r->log, r->t.clock.wall_ms, &changed, &r->t.err), RC_OK);
    assert_int_equal(changed, expect);
    storage_turn(&r->t);
}

static void old_segments_go_after_a_checkpoint_and_an_idle_log_empties(void **state)
{
    struct rig r;
    int64_t    now;

    (void)state;
    rig_init(&r);
    r.config.segment_bytes = 300;
    r.config.retention_ms = 10000;
    log_set_config(r.log, &r.config);
    now = r.t.clock.wall_ms;
    put(&r, (struct batch_of){.text = "x", .pad = 200, .time = now - 20000});
    put(&r, (struct batch_of){.text = "x", .pad = 200, .time = now - 5000});
    put(&r, (struct batch_of){.text = "x", .pad = 200, .time = now - 12000});   /* behind one that stays */
    retain(&r, true);
    assert_int_equal(log_start(r.log), 1);
    checkpoint(&r);
    storage_turn(&r.t);
    assert_false(exists(&r, "00000000000000000000.log"));
    assert_true(exists(&r, "00000000000000000001.log"));
    retain(&r, false);
    clock_sim_advance(&r.t.clock, 60000000);
    retain(&r, true);
    assert_int_equal(log_start(r.log), 3);
    checkpoint(&r);
    assert_false(exists(&r, "00000000000000000001.log"));
    assert_false(exists(&r, "00000000000000000002.log"));
    crash(&r);
    assert_int_equal(log_start(r.log), 3);
    assert_int_equal(put(&r, (struct batch_of){.text = "next"}), 3);
    restart(&r);
    assert_string_equal(log_text(&r.t, r.log, 3), "ne");          /* up to the x of next */
    rig_fini(&r);
}

static void size_keeps_at_least_what_it_says(void **state)
{
    struct rig r;
    uint64_t   size, before;

    (void)state;
    rig_init(&r);
    r.config.segment_bytes = 300;
    r.config.retention_bytes = 700;
    log_set_config(r.log, &r.config);
    for (int i = 0; i < 10; i++) put(&r, (struct batch_of){.text = "x", .pad = 200});
    assert_int_equal(log_size(r.log, &before, &r.t.err), RC_OK);
    retain(&r, true);
    assert_int_equal(log_size(r.log, &size, &r.t.err), RC_OK);
    assert_true(size >= 700 && size - before / 10 < 700);
    r.config.cleanup = LOG_CLEANUP_COMPACT;
    r.config.retention_bytes = 0;
    log_set_config(r.log, &r.config);
    retain(&r, false);
    rig_fini(&r);
}

static void deleted_records_stay_deleted(void **state)
{
    struct rig       r;
    uint64_t         seq;
    struct log_slice s;

    (void)state;
    rig_init(&r);
    for (int i = 0; i < 5; i++) put(&r, (struct batch_of){.text = "x", .n = 2});
    assert_int_equal(log_delete_records(r.log, 11, &seq, &r.t.err), RC_INVALID);
    assert_int_equal(log_delete_records(r.log, 3, &seq, &r.t.err), RC_OK);
    assert_true(seq > store_durable_seq(r.t.store));
    storage_turn(&r.t);
    crash(&r);
    assert_int_equal(log_start(r.log), 3);
    assert_int_equal(log_read(r.log, 2, 1, INT64_MAX, true, &s, &r.t.err), RC_NOT_FOUND);
    slice_is(&r, 3, 1, INT64_MAX, true, 2, 4);                     /* the batch holds 2 and 3 */
    assert_int_equal(log_delete_records(r.log, 10, &seq, &r.t.err), RC_OK);
    storage_turn(&r.t);
    checkpoint(&r);
    assert_false(exists(&r, "00000000000000000000.log"));
    assert_int_equal(put(&r, (struct batch_of){.text = "x"}), 10);
    crash(&r);
    assert_int_equal(log_start(r.log), 10);
    assert_int_equal(log_end(r.log), 11);
    rig_fini(&r);
}

/* ---- producers ---- */

static struct producer_verdict ask(struct rig *r, int64_t id, int32_t seq)
{
    struct producer_verdict v;
    struct producer_batch   b = {.producer_id = id, .epoch = 0, .base_sequence = seq};

    assert_int_equal(log_producer_check(r->log, &b, &v, &r->t.err), RC_OK);
    return v;
}

static void a_duplicates_answer_waits_for_the_original(void **state)
{
    struct rig              r;
    struct log_appended     a;
    struct producer_verdict v;

    (void)state;
    rig_init(&r);
    assert_int_equal(log_put(&r.t, r.log, (struct batch_of){.text = "x", .producer_id = 5, .sequence = 0}, &a), RC_OK);
    v = ask(&r, 5, 0);
    assert_int_equal(v.decision, PRODUCER_DUPLICATE);
    assert_int_equal(v.seq, a.seq);
    storage_turn(&r.t);
    assert_true(ask(&r, 5, 0).seq <= store_durable_seq(r.t.store));
    rig_fini(&r);
}

static void producers_survive_crashes_and_the_deletion_of_their_records(void **state)
{
    struct rig r;
    uint64_t   seq;

    (void)state;
    rig_init(&r);
    r.config.segment_bytes = 400;
    log_set_config(r.log, &r.config);
    for (int i = 0; i < 7; i++) put(&r, (struct batch_of){.text = "x", .pad = 100, .producer_id = 5, .sequence = i});
    for (unsigned k = 0; k < 4; k++) {
        for (int i = 2; i < 7; i++) {
            struct producer_verdict v = ask(&r, 5, i);

            assert_int_equal(v.decision, PRODUCER_DUPLICATE);
            assert_int_equal(v.base_offset, i);
        }
        assert_int_equal(ask(&r, 5, 1).decision, PRODUCER_OUT_OF_ORDER);
        assert_int_equal(ask(&r, 5, 7).decision, PRODUCER_NEW);
        switch (k) {
        case 0: crash(&r); break;
        case 1: restart(&r); break;
        case 2:
            assert_int_equal(log_delete_records(r.log, 7, &seq, &r.t.err), RC_OK);
            storage_turn(&r.t);
            checkpoint(&r);
            crash(&r);
            break;
        default: break;
        }
    }
    assert_int_equal(log_start(r.log), 7);
    put(&r, (struct batch_of){.text = "x", .producer_id = 5, .sequence = 7});
    crash(&r);
    assert_int_equal(ask(&r, 5, 7).decision, PRODUCER_DUPLICATE);
    assert_int_equal(ask(&r, 5, 3).decision, PRODUCER_DUPLICATE);
    log_producers_expire(r.log, r.t.clock.wall_ms + 1000000, 1000);
    assert_int_equal(ask(&r, 5, 99).decision, PRODUCER_NEW);
    rig_fini(&r);
}

static void a_lost_snapshot_is_made_again_from_the_batches(void **state)
{
    struct rig r;

    (void)state;
    rig_init(&r);
    for (int i = 0; i < 6; i++) put(&r, (struct batch_of){.text = "x", .producer_id = 5, .sequence = i});
    restart(&r);
    assert_true(exists(&r, "00000000000000000006.snapshot"));
    r.t.store = store_close(r.t.store);
    assert_true(fs_sim_damage(r.disk, "data/ta-0/00000000000000000006.snapshot", 20, 1));
    assert_int_equal(storage_open(&r.t), RC_OK);
    rig_log(&r);
    assert_int_equal(ask(&r, 5, 2).decision, PRODUCER_DUPLICATE);
    assert_int_equal(ask(&r, 5, 6).decision, PRODUCER_NEW);
    rig_fini(&r);
}

/* ---- large batches ---- */

static void arrived(struct log_large *g) { *(bool *)g->ctx = true; }

static void a_large_batch_is_a_segment_of_its_own(void **state)
{
    struct rig          r;
    struct log_large    g = {0};
    struct log_appended a;
    bool                done = false;

    (void)state;
    rig_init(&r);
    put(&r, (struct batch_of){.text = "before"});
    batch_make(&g.batch, (struct batch_of){.text = "large ", .n = 2, .pad = 2 << 20});
    assert_int_equal(log_append(r.log, g.batch.p, g.batch.n, 0, &a, &r.t.err), RC_TOO_LARGE);
    g.done = arrived;
    g.ctx = &done;
    log_large_prepare(r.log, &g);
    assert_int_equal(put(&r, (struct batch_of){.text = "meanwhile"}), 1);
    assert_true(done);
    assert_int_equal(g.rc, RC_OK);
    assert_int_equal(log_large_append(r.log, &g, 0, &a, &r.t.err), RC_OK);
    assert_int_equal(a.base_offset, 2);
    assert_int_equal(a.last_offset, 3);
    log_large_free(&g);
    storage_turn(&r.t);
    assert_int_equal(put(&r, (struct batch_of){.text = "after"}), 4);
    assert_true(exists(&r, "00000000000000000002.log"));
    assert_true(exists(&r, "00000000000000000004.log"));
    for (unsigned k = 0; k < 3; k++) {
        assert_string_equal(log_text(&r.t, r.log, 1), "meanwhile");
        assert_string_equal(log_text(&r.t, r.log, 3), "large ");
        assert_string_equal(log_text(&r.t, r.log, 4), "after");
        if (k) restart(&r);
        else crash(&r);
    }
    rig_fini(&r);
}

static void a_large_batch_that_is_not_appended_leaves_nothing(void **state)
{
    struct rig       r;
    struct log_large g = {0};
    bool             done = false;
    uint64_t         before, after;

    (void)state;
    rig_init(&r);
    put(&r, (struct batch_of){.text = "x"});
    assert_int_equal(fs_free_bytes(fs_sim_fs(r.disk), "data", &before, &r.t.err), RC_OK);
    batch_make(&g.batch, (struct batch_of){.text = "large ", .pad = 2 << 20});
    g.done = arrived;
    g.ctx = &done;
    log_large_prepare(r.log, &g);
    storage_settle(&r.t);
    assert_int_equal(g.rc, RC_OK);
    log_large_free(&g);
    storage_settle(&r.t);
    assert_int_equal(fs_free_bytes(fs_sim_fs(r.disk), "data", &after, &r.t.err), RC_OK);
    assert_int_equal(before, after);
    rig_fini(&r);
}

/* ---- trouble ---- */

static void missing_durable_bytes_take_one_partition_offline_and_keep_its_files(void **state)
{
    struct rig          r;
    struct log         *other;
    struct log_appended a;
    struct log_slice    s;
    struct file        *f;

    (void)state;
    rig_init(&r);
    for (int i = 0; i < 4; i++) put(&r, (struct batch_of){.text = "x", .pad = 500});
    other = storage_log(&r.t, 1);
    assert_int_equal(log_put(&r.t, other, (struct batch_of){.text = "fine"}, &a), RC_OK);
    storage_turn(&r.t);
    r.t.store = store_close(r.t.store);
    assert_int_equal(fs_open(fs_sim_fs(r.disk), "data/ta-0/00000000000000000000.log", FS_READ | FS_WRITE, &f, &r.t.err), RC_OK);
    assert_int_equal(file_truncate(f, 1000, &r.t.err), RC_OK);
    file_close(f);
    for (unsigned k = 0; k < 2; k++) {
        assert_int_equal(storage_open(&r.t), RC_OK);
        rig_log(&r);
        assert_int_equal(log_read(r.log, 0, 1, INT64_MAX, true, &s, &r.t.err), RC_CORRUPT);
        assert_int_equal(log_put(&r.t, r.log, (struct batch_of){.text = "no"}, &a), RC_CORRUPT);
        assert_int_equal(log_health(r.log, &r.t.err), RC_CORRUPT);
        assert_string_equal(log_text(&r.t, storage_log(&r.t, 1), 0), "fine");
        assert_true(exists(&r, "00000000000000000000.log"));
        assert_int_equal(log_end(r.log), 4);
        r.t.store = store_close(r.t.store);
    }
    rig_fini(&r);
}

static void a_closed_segment_that_is_missing_or_short_takes_the_partition_offline(void **state)
{
    (void)state;
    for (int cut = 0; cut < 2; cut++) {
        struct rig       r;
        struct log_slice s;
        struct file     *f;

        rig_init(&r);
        r.config.segment_bytes = 500;
        rig_log(&r);
        for (int i = 0; i < 40; i++) put(&r, (struct batch_of){.text = "x", .pad = 100});
        checkpoint(&r);
        r.t.store = store_close(r.t.store);
        if (cut) {
            assert_int_equal(fs_open(r.t.opt.fs, "data/ta-0/00000000000000000010.log", FS_WRITE, &f, &r.t.err), RC_OK);
            assert_int_equal(file_truncate(f, 20, &r.t.err), RC_OK);
            file_close(f);
        } else {
            assert_int_equal(fs_unlink(r.t.opt.fs, "data/ta-0/00000000000000000010.log", &r.t.err), RC_OK);
        }
        restart(&r);
        assert_int_equal(log_read(r.log, 0, 1000, INT64_MAX, true, &s, &r.t.err), RC_CORRUPT);
        assert_non_null(strstr(r.t.err.text, "missing or cut short"));
        rig_fini(&r);
    }
}

static void damaged_indexes_are_made_again(void **state)
{
    struct rig r;

    (void)state;
    rig_init(&r);
    r.config.segment_bytes = 3000;
    r.config.index_interval_bytes = 1;
    log_set_config(r.log, &r.config);
    for (int i = 0; i < 30; i++) put(&r, (struct batch_of){.text = "x", .pad = 300, .time = 1000 + i});
    r.t.store = store_close(r.t.store);
    assert_true(fs_sim_damage(r.disk, "data/ta-0/00000000000000000000.index", 7 * 8 - 1, 0xff));    /* the last entry of a closed one */
    assert_int_equal(fs_unlink(fs_sim_fs(r.disk), "data/ta-0/00000000000000000008.timeindex", &r.t.err), RC_OK);
    assert_int_equal(fs_unlink(fs_sim_fs(r.disk), "data/ta-0/00000000000000000024.index", &r.t.err), RC_OK);
    assert_int_equal(storage_open(&r.t), RC_OK);
    rig_log(&r);
    for (int64_t i = 29; i >= 0; i--) slice_is(&r, i, 1, INT64_MAX, true, i, i + 1);
    for (int i = 0; i < 30; i++) find_time(&r, 1000 + i, i);
    rig_fini(&r);
}

static void malformed_batches_are_refused(void **state)
{
    struct rig          r;
    struct buf          b = {0};
    struct log_appended a;

    (void)state;
    rig_init(&r);
    batch_make(&b, (struct batch_of){.text = "x"});
    assert_int_equal(log_append(r.log, b.p, b.n - 1, 0, &a, &r.t.err), RC_INVALID);
    assert_int_equal(log_append(r.log, b.p, 0, 0, &a, &r.t.err), RC_INVALID);
    b.p[16] = 1;
    assert_int_equal(log_append(r.log, b.p, b.n, 0, &a, &r.t.err), RC_INVALID);
    assert_int_equal(log_end(r.log), 0);
    assert_int_equal(log_health(r.log, &r.t.err), RC_OK);
    buf_fini(&b);
    rig_fini(&r);
}

static void open_files_stay_under_their_ceiling(void **state)
{
    struct rig         r;
    struct store_stats st;
    struct log_slice   held;

    (void)state;
    rig_init(&r);
    r.t.store = store_close(r.t.store);
    r.t.opt.files_open_max = 4;
    assert_int_equal(storage_open(&r.t), RC_OK);
    rig_log(&r);
    put(&r, (struct batch_of){.text = "first "});
    held = slice_at(&r, 0, 1, INT64_MAX, true);
    for (uint8_t i = 1; i < 20; i++) {
        struct log_appended a;

        assert_int_equal(log_put(&r.t, storage_log(&r.t, i), (struct batch_of){.text = "y"}, &a), RC_OK);
    }
    storage_turn(&r.t);
    store_stats(r.t.store, &st);
    assert_true(st.files_open <= 4);
    {
        struct buf body = {0};

        assert_int_equal(log_slice_load(&held, &body, &r.t.err), RC_OK);     /* a reader keeps its file */
        assert_true(body.n > 61);
        buf_fini(&body);
    }
    log_slice_fini(&held);
    for (uint8_t i = 1; i < 20; i++) assert_string_equal(log_text(&r.t, storage_log(&r.t, i), 0), "y");
    rig_fini(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_give_whole_batches_within_their_limits),
        cmocka_unit_test(nothing_is_shown_before_it_is_durable),
        cmocka_unit_test(an_empty_log_has_no_folder),
        cmocka_unit_test(the_files_are_kafkas),
        cmocka_unit_test(segments_roll_by_size_time_and_wish),
        cmocka_unit_test(times_are_found_also_when_they_run_backwards),
        cmocka_unit_test(the_leader_epoch_is_the_start_number),
        cmocka_unit_test(old_segments_go_after_a_checkpoint_and_an_idle_log_empties),
        cmocka_unit_test(size_keeps_at_least_what_it_says),
        cmocka_unit_test(deleted_records_stay_deleted),
        cmocka_unit_test(a_duplicates_answer_waits_for_the_original),
        cmocka_unit_test(producers_survive_crashes_and_the_deletion_of_their_records),
        cmocka_unit_test(a_lost_snapshot_is_made_again_from_the_batches),
        cmocka_unit_test(a_large_batch_is_a_segment_of_its_own),
        cmocka_unit_test(a_large_batch_that_is_not_appended_leaves_nothing),
        cmocka_unit_test(missing_durable_bytes_take_one_partition_offline_and_keep_its_files),
        cmocka_unit_test(a_closed_segment_that_is_missing_or_short_takes_the_partition_offline),
        cmocka_unit_test(damaged_indexes_are_made_again),
        cmocka_unit_test(malformed_batches_are_refused),
        cmocka_unit_test(open_files_stay_under_their_ceiling),
    };

    diag_set_levels(STR("error"));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
