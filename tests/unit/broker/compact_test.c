/* SPDX-License-Identifier: Apache-2.0 */
#include "base/diag.h"
#include "storage.h"

struct rig { struct fs_sim *disk; struct storage t; struct log *log; };

static void rig_log(struct rig *r)
{
    struct log_config c = log_config_default;

    c.cleanup = LOG_CLEANUP_COMPACT;
    c.segment_bytes = 600;
    c.min_cleanable_dirty_ratio = 0.1;
    c.delete_retention_ms = 60000;
    r->log = storage_log(&r->t, 0);
    log_set_config(r->log, &c);
}

static void rig_init(struct rig *r)
{
    r->disk = fs_sim_new(5);
    storage_init(&r->t, fs_sim_fs(r->disk), "data");
    assert_int_equal(storage_open(&r->t), RC_OK);
    rig_log(r);
}

static void rig_fini(struct rig *r)
{
    storage_fini(&r->t);
    fs_sim_free(r->disk);
}

static void put(struct rig *r, const char *key, const char *value, enum kafka_codec codec)
{
    struct buf           batch = {0};
    struct batch_builder w;
    struct bytes         view;
    struct log_appended  a;
    struct codecs       *codecs = codecs_new();

    batch_begin(&w, &batch, &(struct batch_options){.codec = codec, .leader_epoch = -1});
    batch_add(&w, &(struct record_new){.timestamp = r->t.clock.wall_ms, .key = key ? str_bytes(str_of(key)) : (struct bytes){0},
                                       .value = value ? str_bytes(str_of(value)) : (struct bytes){0}});
    assert_int_equal(batch_end(&w, codecs, &view, &r->t.err), RC_OK);
    assert_int_equal(log_append(r->log, batch.p, batch.n, 0, &a, &r->t.err), RC_OK);
    storage_turn(&r->t);
    buf_fini(&batch);
    codecs_free(codecs);
}

/* All records as "offset:key=value " in one text; "-" is a tombstone. */
static void contents(struct rig *r, struct buf *into)
{
    struct buf     body = {0}, scratch = {0};
    struct codecs *codecs = codecs_new();

    buf_clear(into);
    for (int64_t at = log_start(r->log); at < log_durable_end(r->log);) {
        struct log_slice s;

        assert_int_equal(log_read(r->log, at, 1 << 20, INT64_MAX, true, &s, &r->t.err), RC_OK);
        if (!s.n) break;
        buf_clear(&body);
        assert_int_equal(log_slice_load(&s, &body, &r->t.err), RC_OK);
        at = s.offset_next;
        log_slice_fini(&s);
        for (size_t p = 0; p < body.n;) {
            struct batch   b;
            struct records it;
            struct record  rec;

            assert_int_equal(batch_view(bytes_of(body.p + p, body.n - p), &b), BATCH_OK);
            assert_true(batch_crc_ok(&b));
            assert_int_equal(records_open(&it, &b, codecs, 1 << 20, &scratch), BATCH_OK);
            while (records_next(&it, &rec))
                buf_printf(into, "%d:" STR_FMT "=" STR_FMT " ", (int)rec.offset, STR_ARG(bytes_str(rec.key)), STR_ARG(rec.value.p ? bytes_str(rec.value) : STR("-")));
            assert_int_equal(it.fault, BATCH_OK);
            p += b.raw.n;
        }
    }
    buf_fini(&body);
    buf_fini(&scratch);
    codecs_free(codecs);
}

static bool compact(struct rig *r)
{
    bool started;

    store_checkpoint_soon(r->t.store);
    storage_turn(&r->t);
    clock_sim_advance(&r->t.clock, 20000000);
    started = log_compact(r->log, r->t.clock.wall_ms);
    storage_settle(&r->t);
    return started;
}

static void fill(struct rig *r, int rounds)
{
    char value[80];

    for (int i = 0; i < rounds; i++) {
        snprintf(value, sizeof value, "v%d-a-value-that-takes-some-room-so-that-segments-roll", i);
        put(r, i % 2 ? "odd" : "even", value, i % 3 ? KAFKA_CODEC_NONE : KAFKA_CODEC_ZSTD);
    }
}

static void the_last_value_of_every_key_stays_with_its_offset(void **state)
{
    struct rig r;
    struct buf text = {0};

    (void)state;
    rig_init(&r);
    put(&r, "once", "kept", KAFKA_CODEC_LZ4);
    put(&r, NULL, "keyless", KAFKA_CODEC_NONE);
    fill(&r, 40);
    assert_true(compact(&r));
    contents(&r, &text);
    assert_memory_equal(text.p, "0:once=kept ", 12);
    assert_null(strstr(buf_cstr(&text), "keyless"));
    assert_null(strstr(buf_cstr(&text), "v0-"));
    assert_non_null(strstr(buf_cstr(&text), "40:even=v38-"));
    assert_non_null(strstr(buf_cstr(&text), "41:odd=v39-"));
    assert_int_equal(log_start(r.log), 0);
    assert_int_equal(log_end(r.log), 42);
    assert_false(compact(&r));                                    /* nothing new */

    r.t.store = store_close(r.t.store);                           /* and it is so after a restart */
    assert_int_equal(storage_open(&r.t), RC_OK);
    rig_log(&r);
    {
        struct buf again = {0};

        contents(&r, &again);
        assert_true(bytes_eq(buf_view(&again), buf_view(&text)));
        buf_fini(&again);
    }
    assert_false(compact(&r));
    buf_fini(&text);
    rig_fini(&r);
}

static void a_tombstone_goes_after_its_time(void **state)
{
    struct rig r;
    struct buf text = {0};

    (void)state;
    rig_init(&r);
    put(&r, "gone", "value", KAFKA_CODEC_NONE);
    put(&r, "gone", NULL, KAFKA_CODEC_NONE);
    fill(&r, 20);
    assert_true(compact(&r));
    contents(&r, &text);
    assert_memory_equal(text.p, "1:gone=- ", 9);
    fill(&r, 20);
    assert_true(compact(&r));
    contents(&r, &text);
    assert_memory_equal(text.p, "1:gone=- ", 9);                  /* 40 s of 60 */
    clock_sim_advance(&r.t.clock, 60000000);
    fill(&r, 20);
    assert_true(compact(&r));
    contents(&r, &text);
    assert_null(strstr(buf_cstr(&text), "gone"));
    buf_fini(&text);
    rig_fini(&r);
}

static void the_newest_segment_and_what_no_checkpoint_covers_are_left_alone(void **state)
{
    struct rig r;

    (void)state;
    rig_init(&r);
    clock_sim_advance(&r.t.clock, 20000000);
    put(&r, "a", "1", KAFKA_CODEC_NONE);
    put(&r, "a", "2", KAFKA_CODEC_NONE);
    assert_false(compact(&r));
    fill(&r, 3);
    assert_false(log_compact(r.log, r.t.clock.wall_ms));
    rig_fini(&r);
}

static void a_pass_that_waited_for_a_checkpoint_begins_with_it(void **state)
{
    struct rig r;
    struct buf text = {0};

    (void)state;
    rig_init(&r);
    fill(&r, 40);
    clock_sim_advance(&r.t.clock, 20000000);
    assert_false(log_compact(r.log, r.t.clock.wall_ms));          /* it asks for one */
    storage_turn(&r.t);
    storage_settle(&r.t);
    contents(&r, &text);
    assert_null(strstr(buf_cstr(&text), "v0-"));
    assert_non_null(strstr(buf_cstr(&text), "39:odd=v39-"));
    buf_fini(&text);
    rig_fini(&r);
}

/* A read through all of it sees, at every moment, at least the last value of every key. */
static void a_power_cut_during_compaction_loses_nothing(void **state)
{
    (void)state;
    for (uint64_t cut = 1; cut < 60; cut++) {
        struct rig r;
        struct buf text = {0};

        rig_init(&r);
        put(&r, "once", "kept", KAFKA_CODEC_NONE);
        fill(&r, 30);
        store_checkpoint_soon(r.t.store);
        storage_turn(&r.t);
        clock_sim_advance(&r.t.clock, 20000000);
        fs_sim_cut_at(r.disk, fs_sim_ops(r.disk) + cut);
        assert_true(log_compact(r.log, r.t.clock.wall_ms));
        storage_settle(&r.t);
        if (!fs_sim_is_cut(r.disk)) {
            store_checkpoint_soon(r.t.store);
            storage_turn(&r.t);
        }
        fs_sim_cut(r.disk);
        r.t.store = store_abandon(r.t.store);
        fs_sim_power_on(r.disk);
        assert_int_equal(storage_open(&r.t), RC_OK);
        rig_log(&r);
        contents(&r, &text);
        if (!strstr(buf_cstr(&text), "0:once=kept ") || !strstr(buf_cstr(&text), "29:even=v28-") || !strstr(buf_cstr(&text), "30:odd=v29-"))
            fail_msg("cut %u: %s", (unsigned)cut, buf_cstr(&text));
        for (const char *p = strchr((char *)text.p, ' ') + 1, *last = (char *)text.p; *p; last = p, p = strchr(p, ' ') + 1)
            if (atoi(p) <= atoi(last)) fail_msg("cut %u: out of order: %s", (unsigned)cut, buf_cstr(&text));
        fill(&r, 20);
        (void)compact(&r);
        contents(&r, &text);
        assert_non_null(strstr(buf_cstr(&text), "0:once=kept "));
        buf_fini(&text);
        rig_fini(&r);
    }
}

static void a_full_disk_puts_compaction_off(void **state)
{
    struct rig r;
    struct buf text = {0};

    (void)state;
    rig_init(&r);
    fill(&r, 40);
    fs_sim_set_capacity(r.disk, 48 << 20);
    clock_sim_advance(&r.t.clock, 20000000);
    assert_false(compact(&r));
    fs_sim_set_capacity(r.disk, (uint64_t)1 << 40);
    clock_sim_advance(&r.t.clock, 20000000);
    assert_true(compact(&r));
    contents(&r, &text);
    assert_null(strstr(buf_cstr(&text), "v0-"));
    buf_fini(&text);
    rig_fini(&r);
}

/* A key may be seen again in one pass or in many: with room for few keys the passes go on one after the other. */
static void small_memory_takes_several_passes_and_gives_the_same(void **state)
{
    struct rig r;
    struct buf text = {0};
    char       key[16];

    (void)state;
    rig_init(&r);
    store_cleaner_limits(r.t.store, 64 * 24, 0);
    for (int round = 0; round < 3; round++)
        for (int i = 0; i < 150; i++) {
            snprintf(key, sizeof key, "k%d", i);
            put(&r, key, round == 2 ? "last" : "early", KAFKA_CODEC_NONE);
        }
    put(&r, "end", "end", KAFKA_CODEC_NONE);
    fill(&r, 20);
    assert_true(compact(&r));
    contents(&r, &text);
    assert_null(strstr(buf_cstr(&text), "=early"));
    for (int i = 0; i < 150; i++) {
        snprintf(key, sizeof key, ":k%d=last ", i);
        assert_non_null(strstr(buf_cstr(&text), key));
    }
    buf_fini(&text);
    rig_fini(&r);
}

static void a_limit_of_speed_stretches_a_pass(void **state)
{
    struct rig r;

    (void)state;
    rig_init(&r);
    store_cleaner_limits(r.t.store, 0, 1000);                     /* 64 KiB, the least step, take 65 s */
    for (int i = 0; i < 40; i++) fill(&r, 40);
    store_checkpoint_soon(r.t.store);
    storage_turn(&r.t);
    assert_true(log_compact(r.log, r.t.clock.wall_ms));
    storage_turn(&r.t);
    assert_false(log_compact(r.log, r.t.clock.wall_ms));          /* it is still at it */
    assert_true(store_next_ms(r.t.store) > clock_mono_ms(&r.t.clock.clock));
    for (int i = 0; i < 100; i++) {
        clock_sim_advance(&r.t.clock, 66000000);
        storage_turn(&r.t);
    }
    {
        struct store_stats s;

        store_stats(r.t.store, &s);
        assert_int_equal(s.compactions, 1);
        assert_true(s.compacted_records_out < s.compacted_records_in);
    }
    rig_fini(&r);
}

static void a_log_that_is_deleted_meanwhile_is_left_in_peace(void **state)
{
    struct rig r;
    uint64_t   seq;

    (void)state;
    rig_init(&r);
    fill(&r, 30);
    store_checkpoint_soon(r.t.store);
    storage_turn(&r.t);
    clock_sim_advance(&r.t.clock, 20000000);
    assert_true(log_compact(r.log, r.t.clock.wall_ms));
    assert_int_equal(store_log_delete(r.t.store, &r.log, &seq, &r.t.err), RC_OK);
    storage_turn(&r.t);
    rig_log(&r);
    put(&r, "new", "log", KAFKA_CODEC_NONE);
    assert_int_equal(log_end(r.log), 1);
    rig_fini(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_last_value_of_every_key_stays_with_its_offset),
        cmocka_unit_test(a_tombstone_goes_after_its_time),
        cmocka_unit_test(the_newest_segment_and_what_no_checkpoint_covers_are_left_alone),
        cmocka_unit_test(a_pass_that_waited_for_a_checkpoint_begins_with_it),
        cmocka_unit_test(a_power_cut_during_compaction_loses_nothing),
        cmocka_unit_test(a_full_disk_puts_compaction_off),
        cmocka_unit_test(small_memory_takes_several_passes_and_gives_the_same),
        cmocka_unit_test(a_limit_of_speed_stretches_a_pass),
        cmocka_unit_test(a_log_that_is_deleted_meanwhile_is_left_in_peace),
    };

    diag_set_levels(STR("error"));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
