/* SPDX-License-Identifier: Apache-2.0 */
#include "base/crc.h"
#include "base/diag.h"
#include "storage.h"

struct rig { struct fs_sim *disk; struct storage t; };

static void rig_init(struct rig *r)
{
    r->disk = fs_sim_new(1);
    storage_init(&r->t, fs_sim_fs(r->disk), "data");
}

static void rig_open(struct rig *r)
{
    if (storage_open(&r->t)) fail_msg("%s", r->t.err.text);
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
}

static uint64_t meta(struct rig *r, const char *text)
{
    uint64_t seq;

    if (store_meta_append(r->t.store, str_bytes(str_of(text)), &seq, &r->t.err)) fail_msg("%s", r->t.err.text);
    buf_append(&r->t.meta, bytes_of(text, strlen(text) + 1));
    return seq;
}

static enum rc put(struct rig *r, uint8_t n, struct batch_of b, struct log_appended *ret) { return log_put(&r->t, storage_log(&r->t, n), b, ret); }

static void what_was_acknowledged_is_there_after_a_crash(void **state)
{
    struct rig          r;
    struct log         *l;
    struct log_appended a;

    (void)state;
    rig_init(&r);
    rig_open(&r);
    assert_int_equal(store_start_number(r.t.store), 0);
    meta(&r, "topic ta");
    assert_int_equal(put(&r, 0, (struct batch_of){.text = "one"}, &a), RC_OK);
    assert_int_equal(a.base_offset, 0);
    assert_int_equal(put(&r, 0, (struct batch_of){.text = "two", .n = 3}, &a), RC_OK);
    assert_int_equal(a.base_offset, 1);
    assert_int_equal(a.last_offset, 3);
    l = storage_log(&r.t, 0);
    assert_null(log_text(&r.t, l, 0));
    storage_turn(&r.t);
    assert_int_equal(log_durable_end(l), 4);
    assert_true(store_durable_seq(r.t.store) >= a.seq);
    assert_int_equal(r.t.durable, store_durable_seq(r.t.store));
    assert_int_equal(r.t.advanced_n, 1);
    crash(&r);
    rig_open(&r);
    assert_int_equal(store_start_number(r.t.store), 1);
    assert_string_equal((char *)r.t.meta.p, "topic ta");
    l = storage_log(&r.t, 0);
    assert_int_equal(log_durable_end(l), 4);
    assert_string_equal(log_text(&r.t, l, 0), "one");
    assert_string_equal(log_text(&r.t, l, 1), "two");
    assert_int_equal(put(&r, 0, (struct batch_of){.text = "three"}, &a), RC_OK);
    assert_int_equal(a.base_offset, 4);
    rig_fini(&r);
}

static void a_clean_stop_leaves_nothing_to_replay(void **state)
{
    struct rig          r;
    struct log_appended a;
    struct store_stats  st;

    (void)state;
    rig_init(&r);
    rig_open(&r);
    assert_int_equal(put(&r, 0, (struct batch_of){.text = "staged, not even submitted"}, &a), RC_OK);
    r.t.store = store_close(r.t.store);
    rig_open(&r);
    store_stats(r.t.store, &st);
    assert_true(st.opened_clean);
    assert_int_equal(st.replayed_records, 0);
    assert_string_equal(log_text(&r.t, storage_log(&r.t, 0), 0), "staged, not even submitted");
    crash(&r);
    rig_open(&r);
    store_stats(r.t.store, &st);
    assert_false(st.opened_clean);
    assert_int_equal(store_start_number(r.t.store), 2);
    rig_fini(&r);
}

static void one_write_is_in_flight_and_the_next_group_gathers_meanwhile(void **state)
{
    struct rig          r;
    struct log_appended a, b, c;
    struct store_stats  st;

    (void)state;
    rig_init(&r);
    rig_open(&r);
    assert_int_equal(put(&r, 0, (struct batch_of){.text = "a"}, &a), RC_OK);
    store_turn_end(r.t.store);
    assert_int_equal(put(&r, 0, (struct batch_of){.text = "b"}, &b), RC_OK);
    store_turn_end(r.t.store);
    assert_int_equal(put(&r, 1, (struct batch_of){.text = "c"}, &c), RC_OK);
    store_turn_end(r.t.store);
    storage_settle(&r.t);
    assert_true(store_durable_seq(r.t.store) >= a.seq && store_durable_seq(r.t.store) < b.seq);
    storage_turn(&r.t);
    assert_int_equal(store_durable_seq(r.t.store), c.seq);
    store_stats(r.t.store, &st);
    assert_int_equal(st.wal_groups, 2);
    rig_fini(&r);
}

static void a_folder_in_use_is_refused_with_a_sentence(void **state)
{
    struct rig     r;
    struct store  *second;

    (void)state;
    rig_init(&r);
    rig_open(&r);
    assert_int_equal(store_open(&r.t.opt, &second, &r.t.err), RC_LOCKED);
    assert_string_equal(r.t.err.text, "the data folder data is in use by another process");
    r.t.store = store_close(r.t.store);
    rig_open(&r);
    rig_fini(&r);
}

static void a_full_wal_holds_appends_until_its_checkpoint(void **state)
{
    struct rig          r;
    struct log_appended a;
    unsigned            n = 0, held = 0;

    (void)state;
    rig_init(&r);
    r.t.opt.wal_bytes_max = 256 << 10;
    rig_open(&r);
    for (; n < 100; n++) {
        enum rc rc = put(&r, 0, (struct batch_of){.text = "x", .pad = 20000}, &a);

        if (rc == RC_OVERLOAD) {
            assert_false(store_has_room(r.t.store, 20000 + 61));
            assert_true(r.t.err.retry);
            held++;
            storage_turn(&r.t);
            storage_turn(&r.t);
            assert_true(store_has_room(r.t.store, 20000));
        } else {
            assert_int_equal(rc, RC_OK);
        }
    }
    assert_true(held > 0 && held < 20);
    storage_turn(&r.t);
    assert_int_equal(log_durable_end(storage_log(&r.t, 0)), n - held);
    rig_fini(&r);
}

static void a_small_ring_grows_under_load(void **state)
{
    struct rig          r;
    struct log_appended a;
    struct store_stats  st;

    (void)state;
    rig_init(&r);
    r.t.opt.wal_bytes_first = 64 << 10;
    r.t.opt.wal_bytes_max = 1 << 20;
    rig_open(&r);
    for (unsigned n = 0; n < 300; n++) {
        (void)put(&r, 0, (struct batch_of){.text = "x", .pad = 5000}, &a);
        storage_turn(&r.t);
    }
    store_stats(r.t.store, &st);
    assert_int_equal(st.wal_bytes, 1 << 20);
    crash(&r);
    rig_open(&r);
    store_stats(r.t.store, &st);
    assert_int_equal(st.wal_bytes, 1 << 20);
    assert_int_equal(log_end(storage_log(&r.t, 0)), a.last_offset + 1);
    rig_fini(&r);
}

static void checkpoints_come_by_themselves(void **state)
{
    struct rig          r;
    struct log_appended a;
    struct store_stats  before, after;

    (void)state;
    rig_init(&r);
    rig_open(&r);
    assert_int_equal(store_next_ms(r.t.store), UINT64_MAX);
    assert_int_equal(put(&r, 0, (struct batch_of){.text = "x"}, &a), RC_OK);
    storage_turn(&r.t);
    store_stats(r.t.store, &before);
    assert_int_equal(store_next_ms(r.t.store), clock_mono_ms(&r.t.clock.clock) + 30000);
    clock_sim_advance(&r.t.clock, 29999000);
    storage_turn(&r.t);
    store_stats(r.t.store, &after);
    assert_int_equal(after.checkpoints, before.checkpoints);
    clock_sim_advance(&r.t.clock, 1000);
    storage_turn(&r.t);
    store_stats(r.t.store, &after);
    assert_int_equal(after.checkpoints, before.checkpoints + 1);
    assert_int_equal(after.wal_used_bytes, 0);
    crash(&r);
    rig_open(&r);
    store_stats(r.t.store, &after);
    assert_int_equal(after.replayed_records, 0);
    assert_string_equal(log_text(&r.t, storage_log(&r.t, 0), 0), "");
    rig_fini(&r);
}

static void metadata_survives_many_rewrites_of_the_checkpoint(void **state)
{
    struct rig r;
    struct buf want = {0};
    char       text[1200];
    unsigned   n = 0;

    (void)state;
    rig_init(&r);
    rig_open(&r);
    for (unsigned round = 0; round < 40; round++) {
        for (unsigned k = 0; k < 60; k++) {
            memset(text, 'a' + (int)(n % 26), sizeof text);
            snprintf(text + 1180, 20, "%u", n++);
            meta(&r, text);
            buf_append(&want, bytes_of(text, strlen(text) + 1));
        }
        store_checkpoint_soon(r.t.store);
        storage_turn(&r.t);
        if (round % 4) continue;
        crash(&r);
        rig_open(&r);
        assert_true(bytes_eq(buf_view(&r.t.meta), buf_view(&want)));
    }
    {
        struct fs_stat st;

        assert_int_equal(fs_stat(fs_sim_fs(r.disk), "data/state.1", &st, &r.t.err), RC_NOT_FOUND);
    }
    buf_fini(&want);
    rig_fini(&r);
}

/* The file that a checkpoint was writing anew when the power went is a leftover, and the next start writes it anew at once. */
static void a_power_cut_in_a_rewrite_of_the_checkpoint_costs_nothing(void **state)
{
    unsigned found = 0;

    (void)state;
    for (uint64_t cut = 1; cut < 9; cut++) {
        struct rig     r;
        struct buf     want = {0};
        struct fs_stat st;
        char           text[1200];

        rig_init(&r);
        rig_open(&r);
        meta(&r, "first");
        buf_append(&want, bytes_of("first", 6));
        store_checkpoint_soon(r.t.store);
        storage_turn(&r.t);
        for (unsigned round = 0; round < 15; round++) {           /* the last one is what makes more than a megabyte */
            for (unsigned k = 0; k < 60; k++) {
                memset(text, 'a' + (int)(k % 26), sizeof text);
                snprintf(text + 1180, 20, "%u", round * 60 + k);
                meta(&r, text);
                if (round < 14) buf_append(&want, bytes_of(text, strlen(text) + 1));
            }
            if (round == 14) fs_sim_cut_at(r.disk, fs_sim_ops(r.disk) + cut);
            store_checkpoint_soon(r.t.store);
            storage_turn(&r.t);
        }
        crash(&r);
        found += !fs_stat(fs_sim_fs(r.disk), "data/state.2", &st, &r.t.err);
        for (unsigned start = 0; start < 3; start++) {
            rig_open(&r);
            assert_true(r.t.meta.n >= want.n && !memcmp(r.t.meta.p, want.p, want.n));
            storage_settle(&r.t);
            crash(&r);
        }
        buf_fini(&want);
        rig_fini(&r);
    }
    assert_true(found > 0);
}

static void a_deleted_log_is_gone_and_its_name_is_free(void **state)
{
    struct rig          r;
    struct log_appended a;
    struct log         *l;
    struct fs_stat      st;
    uint64_t            seq;
    struct uuid     id = topic_n(0), other = topic_n(9);

    (void)state;
    rig_init(&r);
    rig_open(&r);
    assert_int_equal(put(&r, 0, (struct batch_of){.text = "old"}, &a), RC_OK);
    storage_turn(&r.t);
    l = storage_log(&r.t, 0);
    assert_int_equal(store_log_delete(r.t.store, &l, &seq, &r.t.err), RC_OK);
    assert_null(l);
    assert_null(store_log_find(r.t.store, &id, 0));
    l = store_log(r.t.store, &other, STR("ta"), 0);
    assert_int_equal(log_put(&r.t, l, (struct batch_of){.text = "new"}, &a), RC_OVERLOAD);   /* until the deletion is durable */
    storage_turn(&r.t);
    assert_int_equal(log_put(&r.t, l, (struct batch_of){.text = "new"}, &a), RC_OK);
    assert_int_equal(a.base_offset, 0);
    storage_turn(&r.t);
    crash(&r);
    rig_open(&r);
    assert_null(store_log_find(r.t.store, &id, 0));
    assert_string_equal(log_text(&r.t, store_log_find(r.t.store, &other, 0), 0), "new");
    l = store_log_find(r.t.store, &other, 0);
    assert_int_equal(store_log_delete(r.t.store, &l, &seq, &r.t.err), RC_OK);
    storage_turn(&r.t);
    storage_turn(&r.t);
    storage_turn(&r.t);
    assert_int_equal(fs_stat(fs_sim_fs(r.disk), "data/ta-0", &st, &r.t.err), RC_NOT_FOUND);
    rig_fini(&r);
}

static void a_full_disk_is_decided_before_the_append_and_recovers_by_itself(void **state)
{
    struct rig          r;
    struct log_appended a;
    struct buf          batch = {0};
    uint64_t            seq;

    (void)state;
    rig_init(&r);
    rig_open(&r);
    assert_int_equal(put(&r, 0, (struct batch_of){.text = "x"}, &a), RC_OK);
    assert_false(store_disk_is_full(r.t.store));
    fs_sim_set_capacity(r.disk, 70 << 20);                        /* less than the wal and 64 MiB stay free */
    clock_sim_advance(&r.t.clock, 2000000);
    assert_int_equal(put(&r, 0, (struct batch_of){.text = "x"}, &a), RC_DISK_FULL);
    assert_true(r.t.err.retry);
    assert_true(store_disk_is_full(r.t.store));
    batch_make(&batch, (struct batch_of){.text = "outcome"});
    assert_int_equal(log_append(storage_log(&r.t, 0), batch.p, batch.n, LOG_APPEND_RESERVED, &a, &r.t.err), RC_OK);
    assert_int_equal(a.base_offset, 1);
    assert_int_equal(store_meta_append(r.t.store, str_bytes(STR("meta")), &seq, &r.t.err), RC_OK);
    storage_turn(&r.t);
    assert_int_equal(log_durable_end(storage_log(&r.t, 0)), 2);
    fs_sim_set_capacity(r.disk, 1ull << 40);
    clock_sim_advance(&r.t.clock, 2000000);
    assert_int_equal(put(&r, 0, (struct batch_of){.text = "x"}, &a), RC_OK);
    assert_int_equal(a.base_offset, 2);
    buf_fini(&batch);
    rig_fini(&r);
}

static void a_disk_without_a_byte_left_gives_no_offset_twice(void **state)
{
    struct rig          r;
    struct log_appended a;
    struct buf          batch = {0};
    uint64_t            left;
    int64_t             next = 0;

    (void)state;
    rig_init(&r);
    rig_open(&r);
    for (unsigned k = 0; k < 60; k++) {
        enum rc rc;

        if (k == 5) {
            assert_int_equal(fs_free_bytes(fs_sim_fs(r.disk), "data", &left, &r.t.err), RC_OK);
            fs_sim_set_capacity(r.disk, (1ull << 40) - left + 10000);
        }
        if (k == 40) fs_sim_set_capacity(r.disk, 1ull << 40);
        clock_sim_advance(&r.t.clock, 31000000);                  /* checkpoints come and find no room */
        buf_clear(&batch);
        batch_make(&batch, (struct batch_of){.text = "x", .pad = 3000});
        rc = log_append(storage_log(&r.t, 0), batch.p, batch.n, LOG_APPEND_RESERVED, &a, &r.t.err);
        if (!rc) assert_int_equal(a.base_offset, next++);
        else assert_int_equal(rc, RC_DISK_FULL);
        storage_turn(&r.t);
        assert_false(store_is_fatal(r.t.store));
        assert_true(rc == RC_OK || (k > 5 && k < 40));
    }
    assert_true(next < 60);
    storage_turn(&r.t);
    crash(&r);
    rig_open(&r);
    assert_int_equal(log_end(storage_log(&r.t, 0)), next);
    for (int64_t i = 0; i < next; i++) assert_string_equal(log_text(&r.t, storage_log(&r.t, 0), i), "");
    buf_fini(&batch);
    rig_fini(&r);
}

static uint64_t segment_length(struct rig *r)
{
    struct fs_stat st;

    assert_int_equal(fs_stat(fs_sim_fs(r->disk), "data/ta-0/00000000000000000000.log", &st, &r->t.err), RC_OK);
    return st.size;
}

static void segments_get_small_batches_together_and_readers_get_them_at_once(void **state)
{
    struct rig          r;
    struct log_appended a;
    uint64_t            one;

    (void)state;
    rig_init(&r);
    rig_open(&r);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(put(&r, 0, (struct batch_of){.text = "x"}, &a), RC_OK);
        storage_turn(&r.t);
    }
    assert_int_equal(store_durable_seq(r.t.store), a.seq);
    one = segment_length(&r);                                     /* the first makes the file */
    clock_sim_advance(&r.t.clock, 199000);
    storage_turn(&r.t);
    assert_int_equal(segment_length(&r), one);
    assert_true(store_next_ms(r.t.store) <= clock_mono_ms(&r.t.clock.clock) + 1);
    clock_sim_advance(&r.t.clock, 1000);
    storage_turn(&r.t);
    assert_int_equal(segment_length(&r), 4 * one);
    assert_int_equal(put(&r, 0, (struct batch_of){.text = "y"}, &a), RC_OK);
    assert_null(log_text(&r.t, storage_log(&r.t, 0), 4));         /* not durable yet */
    storage_turn(&r.t);
    assert_string_equal(log_text(&r.t, storage_log(&r.t, 0), 4), "y");
    assert_int_equal(segment_length(&r), 5 * one);
    assert_int_equal(put(&r, 0, (struct batch_of){.text = "z"}, &a), RC_OK);
    storage_turn(&r.t);
    crash(&r);
    rig_open(&r);
    assert_string_equal(log_text(&r.t, storage_log(&r.t, 0), 5), "z");
    rig_fini(&r);
}

/* The record of its creation is in the wal, and goes with the next checkpoint: which must have the log, although nothing is in it. */
static void a_log_whose_first_append_found_no_room_is_known_after_a_checkpoint(void **state)
{
    struct rig          r;
    struct log_appended a;

    (void)state;
    rig_init(&r);
    rig_open(&r);
    assert_int_equal(put(&r, 0, (struct batch_of){.text = "x"}, &a), RC_OK);
    storage_turn(&r.t);
    clock_sim_advance(&r.t.clock, 2000);                          /* the room on the disk was looked at a moment ago */
    fs_sim_set_capacity(r.disk, fs_sim_used(r.disk) + FS_ALIGN);  /* for its partition.metadata */
    assert_int_equal(put(&r, 1, (struct batch_of){.text = "y"}, &a), RC_DISK_FULL);
    assert_non_null(strstr(r.t.err.text, ".log"));
    fs_sim_set_capacity(r.disk, 1ull << 40);
    storage_turn(&r.t);
    store_checkpoint_soon(r.t.store);
    storage_turn(&r.t);
    assert_int_equal(put(&r, 1, (struct batch_of){.text = "z"}, &a), RC_OK);
    storage_turn(&r.t);
    crash(&r);
    rig_open(&r);
    assert_string_equal(log_text(&r.t, storage_log(&r.t, 1), 0), "z");
    rig_fini(&r);
}

static void answers_leave_before_segments_are_written(void **state)
{
    struct rig          r;
    struct log_appended a;
    uint64_t            one;

    (void)state;
    rig_init(&r);
    rig_open(&r);
    assert_int_equal(put(&r, 0, (struct batch_of){.text = "x"}, &a), RC_OK);
    storage_turn(&r.t);
    one = segment_length(&r);
    assert_int_equal(put(&r, 0, (struct batch_of){.text = "worth a write", .pad = 20000}, &a), RC_OK);
    assert_int_equal(segment_length(&r), one);
    store_turn_end(r.t.store);                                    /* a group has landed: its answers leave behind this turn */
    assert_int_equal(segment_length(&r), one);
    assert_int_equal(store_next_ms(r.t.store), 0);
    store_turn_end(r.t.store);
    assert_true(segment_length(&r) > one + 20000);
    assert_int_not_equal(store_next_ms(r.t.store), 0);
    storage_settle(&r.t);
    assert_int_equal(store_durable_seq(r.t.store), a.seq);
    rig_fini(&r);
}

static void no_room_for_what_segments_have_not_got_yet(struct rig *r, bool crashes)
{
    struct log_appended a;
    struct store_stats  before, after;
    uint64_t            left;
    unsigned            advanced;

    rig_init(r);
    rig_open(r);
    for (int i = 0; i < 3; i++) assert_int_equal(put(r, 0, (struct batch_of){.text = "kept", .pad = 3000}, &a), RC_OK);
    storage_turn(&r->t);
    assert_int_equal(fs_free_bytes(fs_sim_fs(r->disk), "data", &left, &r->t.err), RC_OK);
    fs_sim_set_capacity(r->disk, (1ull << 40) - left);            /* another program has taken it all */
    store_stats(r->t.store, &before);
    clock_sim_advance(&r->t.clock, 31000000);                     /* a checkpoint is due */
    storage_turn(&r->t);
    store_stats(r->t.store, &after);
    assert_int_equal(after.checkpoints, before.checkpoints);
    assert_false(store_is_fatal(r->t.store));
    assert_int_equal(log_durable_end(storage_log(&r->t, 0)), 3);
    assert_string_equal(log_text(&r->t, storage_log(&r->t, 0), 0), "kept");
    assert_null(log_text(&r->t, storage_log(&r->t, 0), 2));
    assert_int_equal(put(r, 0, (struct batch_of){.text = "no"}, &a), RC_DISK_FULL);
    if (crashes) crash(r);
    fs_sim_set_capacity(r->disk, 1ull << 40);
    if (crashes) rig_open(r);
    advanced = r->t.advanced_n;
    clock_sim_advance(&r->t.clock, 2000000);
    storage_turn(&r->t);
    assert_int_equal(r->t.advanced_n - advanced, !crashes);       /* who waits there may read it now */
    for (int i = 0; i < 3; i++) assert_string_equal(log_text(&r->t, storage_log(&r->t, 0), i), "kept");
    rig_fini(r);
}

static void what_finds_no_room_in_its_segment_stays_in_the_wal_until_there_is_some(void **state)
{
    struct rig r;

    (void)state;
    no_room_for_what_segments_have_not_got_yet(&r, false);
    no_room_for_what_segments_have_not_got_yet(&r, true);
}

static void a_failed_wal_write_ends_acknowledgement_until_a_restart(void **state)
{
    struct fs_sim      *disk = fs_sim_new(1);
    struct fs_fault    *fault = fs_fault_new(fs_sim_fs(disk));
    struct storage      t;
    struct log_appended a;
    uint64_t            seq;

    (void)state;
    storage_init(&t, fs_fault_fs(fault), "data");
    assert_int_equal(storage_open(&t), RC_OK);
    assert_int_equal(log_put(&t, storage_log(&t, 0), (struct batch_of){.text = "safe"}, &a), RC_OK);
    storage_turn(&t);
    assert_int_equal(log_put(&t, storage_log(&t, 0), (struct batch_of){.text = "lost"}, &a), RC_OK);
    fs_fault_arm(fault, 0, RC_IO, false);
    storage_turn(&t);
    fs_fault_disarm(fault);
    assert_true(store_is_fatal(t.store));
    assert_int_equal(t.fatal_n, 1);
    assert_true(store_durable_seq(t.store) < a.seq);
    assert_int_equal(log_durable_end(storage_log(&t, 0)), 1);
    for (unsigned k = 0; k < 3; k++) {                            /* the disk is fine again, but nobody knows what it kept */
        assert_int_equal(log_put(&t, storage_log(&t, 0), (struct batch_of){.text = "no"}, &a), RC_FATAL);
        assert_int_equal(store_meta_append(t.store, str_bytes(STR("no")), &seq, &t.err), RC_FATAL);
        storage_turn(&t);
    }
    assert_string_equal(log_text(&t, storage_log(&t, 0), 0), "safe");      /* reading goes on */
    t.store = store_close(t.store);
    assert_int_equal(storage_open(&t), RC_OK);
    assert_string_equal(log_text(&t, storage_log(&t, 0), 0), "safe");
    storage_fini(&t);
    fs_fault_free(fault);
    fs_sim_free(disk);
}

static void a_segment_that_cannot_be_written_ends_acknowledgement_and_loses_nothing(void **state)
{
    struct fs_sim      *disk = fs_sim_new(1);
    struct fs_fault    *fault = fs_fault_new(fs_sim_fs(disk));
    struct storage      t;
    struct log_appended a;

    (void)state;
    storage_init(&t, fs_fault_fs(fault), "data");
    assert_int_equal(storage_open(&t), RC_OK);
    for (int i = 0; i < 2; i++) assert_int_equal(log_put(&t, storage_log(&t, 0), (struct batch_of){.text = "safe"}, &a), RC_OK);
    storage_turn(&t);
    assert_int_equal(store_durable_seq(t.store), a.seq);
    fs_fault_arm(fault, 0, RC_IO, true);
    assert_null(log_text(&t, storage_log(&t, 0), 1));
    fs_fault_disarm(fault);
    assert_true(store_is_fatal(t.store));
    assert_int_equal(t.fatal_n, 1);
    assert_int_equal(log_put(&t, storage_log(&t, 0), (struct batch_of){.text = "no"}, &a), RC_FATAL);
    t.store = store_close(t.store);
    assert_int_equal(storage_open(&t), RC_OK);
    for (int i = 0; i < 2; i++) assert_string_equal(log_text(&t, storage_log(&t, 0), i), "safe");
    storage_fini(&t);
    fs_fault_free(fault);
    fs_sim_free(disk);
}

/* Takes the first frame out of the file: {u32 crc, u8 kind, u8 flags, u16, i64 offset, u32 length, u32}, then so many bytes. */
static void first_frame_lost(struct rig *r, const char *path)
{
    AUTO(buf_fini) struct buf body = {0};
    size_t n;

    assert_int_equal(fs_load(fs_sim_fs(r->disk), path, SIZE_MAX, &body, &r->t.err), RC_OK);
    n = 24 + load_le32(body.p + 16);
    assert_true(body.n > n);
    assert_int_equal(fs_save(fs_sim_fs(r->disk), path, bytes_sub(buf_view(&body), n, body.n - n), false, &r->t.err), RC_OK);
}

static void what_was_rescued_is_not_put_behind_a_gap(void **state)
{
    static const char segment[] = "data/ta-0/00000000000000000000.log", rescued[] = "data/rescued.01020300000000000000000000000000-0";

    (void)state;
    for (int gap = 0; gap < 2; gap++) {
        struct rig          r;
        struct log_appended a;
        struct err          e;

        rig_init(&r);
        rig_open(&r);
        assert_int_equal(put(&r, 0, (struct batch_of){.text = "a"}, &a), RC_OK);
        storage_turn(&r.t);
        r.t.store = store_close(r.t.store);
        rig_open(&r);
        assert_int_equal(put(&r, 0, (struct batch_of){.text = "b"}, &a), RC_OK);
        storage_turn(&r.t);
        assert_int_equal(put(&r, 0, (struct batch_of){.text = "c"}, &a), RC_OK);
        storage_turn(&r.t);
        crash(&r);
        assert_int_equal(fs_rename(fs_sim_fs(r.disk), segment, "data/ta-0/kept", &e), RC_OK);
        rig_open(&r);                                             /* b and c are set aside */
        r.t.store = store_close(r.t.store);
        if (gap) first_frame_lost(&r, rescued);
        assert_int_equal(fs_rename(fs_sim_fs(r.disk), "data/ta-0/kept", segment, &e), RC_OK);
        rig_open(&r);
        assert_int_equal(log_health(storage_log(&r.t, 0), &e), gap ? RC_CORRUPT : RC_OK);
        if (gap) assert_non_null(strstr(e.text, "something is missing from 1 on"));
        else assert_string_equal(log_text(&r.t, storage_log(&r.t, 0), 2), "c");
        rig_fini(&r);
    }
}

static void damage_is_reported_and_nothing_is_changed(void **state)
{
    struct rig          r;
    struct log_appended a;
    uint64_t            ops;

    (void)state;
    rig_init(&r);
    rig_open(&r);
    for (unsigned k = 0; k < 5; k++) {
        assert_int_equal(put(&r, 0, (struct batch_of){.text = "x"}, &a), RC_OK);
        storage_turn(&r.t);
    }
    crash(&r);
    assert_true(fs_sim_damage(r.disk, "data/wal", 8192 + 4096 + 70, 0xff));
    ops = fs_sim_ops(r.disk);
    assert_int_equal(storage_open(&r.t), RC_CORRUPT);
    assert_non_null(strstr(r.t.err.text, "nothing was changed"));
    assert_int_equal(fs_sim_ops(r.disk), ops);
    assert_true(fs_sim_damage(r.disk, "data/wal", 8192 + 4096 + 70, 0xff));
    rig_open(&r);
    assert_int_equal(log_end(storage_log(&r.t, 0)), 5);

    r.t.store = store_close(r.t.store);
    assert_true(fs_sim_damage(r.disk, "data/state.1", 40, 1));
    assert_int_equal(storage_open(&r.t), RC_CORRUPT);
    assert_true(fs_sim_damage(r.disk, "data/state.1", 40, 1));
    assert_int_equal(fs_rename(fs_sim_fs(r.disk), "data/wal", "data/elsewhere", &r.t.err), RC_OK);
    assert_int_equal(storage_open(&r.t), RC_CORRUPT);
    rig_fini(&r);
}

static void leftovers_of_a_crash_are_removed(void **state)
{
    struct rig          r;
    struct log_appended a;
    struct log         *l;
    struct fs_stat      st;
    uint64_t            seq;
    unsigned            found = 0;
    struct uuid     id = topic_n(0);

    (void)state;
    for (uint64_t cut = 1; cut < 12; cut++) {                     /* somewhere between the deletion and the end of its folder */
        rig_init(&r);
        rig_open(&r);
        assert_int_equal(put(&r, 0, (struct batch_of){.text = "x"}, &a), RC_OK);
        storage_turn(&r.t);
        store_checkpoint_soon(r.t.store);
        storage_turn(&r.t);
        l = storage_log(&r.t, 0);
        assert_int_equal(store_log_delete(r.t.store, &l, &seq, &r.t.err), RC_OK);
        fs_sim_cut_at(r.disk, fs_sim_ops(r.disk) + cut);
        storage_turn(&r.t);
        storage_turn(&r.t);
        crash(&r);
        rig_open(&r);
        storage_settle(&r.t);
        if (!store_log_find(r.t.store, &id, 0)) {
            found++;
            assert_int_equal(fs_stat(fs_sim_fs(r.disk), "data/ta-0", &st, &r.t.err), RC_NOT_FOUND);
        }
        rig_fini(&r);
    }
    assert_true(found > 0);
}

/* ---- formats ---- */

static void patch(struct rig *r, const char *path, void (*change)(struct buf *body))
{
    struct buf   body = {0};
    struct file *f;

    assert_int_equal(fs_load(fs_sim_fs(r->disk), path, SIZE_MAX, &body, &r->t.err), RC_OK);
    change(&body);
    assert_int_equal(fs_open(fs_sim_fs(r->disk), path, FS_WRITE | FS_TRUNC, &f, &r->t.err), RC_OK);
    assert_int_equal(file_write(f, buf_view(&body), 0, &r->t.err), RC_OK);
    assert_int_equal(file_sync(f, &r->t.err), RC_OK);
    file_close(f);
    buf_fini(&body);
}

static uint16_t format_next, format_from;

static void change_supers(struct buf *body)
{
    for (int i = 0; i < 2; i++) {
        uint8_t *b = body->p + i * FS_ALIGN;

        store_le16(b + 8, format_next);
        store_le16(b + 10, format_from);
        if (format_from == 1) store_le64(b + 112, load_le64(b + 112) + 12 + 5);       /* the checkpoint has one more frame */
        store_le32(b + 12, crc32c(bytes_of(b + 16, FS_ALIGN - 16)));
    }
}

/* A frame that nobody here knows, and that says of itself that it may be passed over. */
static void change_state(struct buf *body)
{
    uint8_t frame[17] = {0};

    store_le16(body->p + 8, format_next);
    store_le16(body->p + 10, format_from);
    store_le32(body->p + 12, crc32c(bytes_of(body->p, 12)));
    store_le32(frame + 4, 0x80000077);
    store_le32(frame + 8, 5);
    store_le32(frame, crc32c(bytes_of(frame + 4, 13)));
    buf_append(body, bytes_of(frame, sizeof frame));
}

static void one_stop(struct rig *r)
{
    struct log_appended a;

    rig_open(r);
    meta(r, "topic ta");
    assert_int_equal(put(r, 0, (struct batch_of){.text = "one"}, &a), RC_OK);
    storage_turn(&r->t);
    r->t.store = store_close(r->t.store);
}

static void what_the_next_version_wrote_is_read_when_it_says_so_and_written_anew(void **state)
{
    struct rig r;
    struct buf head = {0};

    (void)state;
    rig_init(&r);
    one_stop(&r);
    format_next = 2, format_from = 1;
    patch(&r, "data/state.1", change_state);
    patch(&r, "data/wal", change_supers);
    rig_open(&r);
    assert_string_equal(log_text(&r.t, storage_log(&r.t, 0), 0), "one");
    assert_int_equal(fs_load(fs_sim_fs(r.disk), "data/state.2", SIZE_MAX, &head, &r.t.err), RC_OK);
    assert_int_equal(load_le16(head.p + 8), 1);                   /* in this version's format: the way back is complete */
    buf_fini(&head);
    rig_fini(&r);
}

static void a_newer_format_is_refused_with_a_sentence_and_nothing_is_changed(void **state)
{
    struct rig r;

    (void)state;
    rig_init(&r);
    one_stop(&r);
    format_next = 3, format_from = 2;
    patch(&r, "data/wal", change_supers);
    assert_int_equal(storage_open(&r.t), RC_UNSUPPORTED);
    assert_non_null(strstr(r.t.err.text, "newer millrace"));
    format_next = 1, format_from = 0;                             /* the numbers of a folder from before the second one existed */
    patch(&r, "data/wal", change_supers);
    rig_open(&r);
    assert_string_equal(log_text(&r.t, storage_log(&r.t, 0), 0), "one");
    rig_fini(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_acknowledged_is_there_after_a_crash),
        cmocka_unit_test(a_clean_stop_leaves_nothing_to_replay),
        cmocka_unit_test(one_write_is_in_flight_and_the_next_group_gathers_meanwhile),
        cmocka_unit_test(a_folder_in_use_is_refused_with_a_sentence),
        cmocka_unit_test(a_full_wal_holds_appends_until_its_checkpoint),
        cmocka_unit_test(a_small_ring_grows_under_load),
        cmocka_unit_test(checkpoints_come_by_themselves),
        cmocka_unit_test(metadata_survives_many_rewrites_of_the_checkpoint),
        cmocka_unit_test(a_power_cut_in_a_rewrite_of_the_checkpoint_costs_nothing),
        cmocka_unit_test(a_deleted_log_is_gone_and_its_name_is_free),
        cmocka_unit_test(a_full_disk_is_decided_before_the_append_and_recovers_by_itself),
        cmocka_unit_test(a_disk_without_a_byte_left_gives_no_offset_twice),
        cmocka_unit_test(segments_get_small_batches_together_and_readers_get_them_at_once),
        cmocka_unit_test(a_log_whose_first_append_found_no_room_is_known_after_a_checkpoint),
        cmocka_unit_test(answers_leave_before_segments_are_written),
        cmocka_unit_test(what_finds_no_room_in_its_segment_stays_in_the_wal_until_there_is_some),
        cmocka_unit_test(a_failed_wal_write_ends_acknowledgement_until_a_restart),
        cmocka_unit_test(a_segment_that_cannot_be_written_ends_acknowledgement_and_loses_nothing),
        cmocka_unit_test(what_was_rescued_is_not_put_behind_a_gap),
        cmocka_unit_test(damage_is_reported_and_nothing_is_changed),
        cmocka_unit_test(leftovers_of_a_crash_are_removed),
        cmocka_unit_test(what_the_next_version_wrote_is_read_when_it_says_so_and_written_anew),
        cmocka_unit_test(a_newer_format_is_refused_with_a_sentence_and_nothing_is_changed),
    };

    diag_set_levels(STR("error"));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
