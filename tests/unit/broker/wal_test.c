/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/wal.h"
#include "test.h"
#include <stdio.h>

enum { RING = 64 << 10, RING_AT = 2 * FS_ALIGN };

static struct err e;

static void ok(enum rc rc)
{
    if (rc) fail_msg("%s", e.text);
}

/* The wal alone, as a store would drive it. */
struct rig { struct fs_sim *disk; struct fs *fs; struct wal wal; struct buf seen; uint64_t records; };

static void rig_open(struct rig *r, uint64_t max) { ok(wal_open(r->fs, "wal", RING, max, &r->wal, &e)); }

static void rig_start(struct rig *r)
{
    struct wal_super s;

    r->wal.start_number = r->wal.super.start_number + 1;
    s = wal_super_next(&r->wal);
    ok(wal_super_write(&r->wal, &s, &e));
    wal_super_done(&r->wal, &s);
}

static struct rig rig_new(uint64_t max)
{
    struct rig r = {.disk = fs_sim_new(3)};

    r.fs = fs_sim_fs(r.disk);
    rig_open(&r, max);
    rig_start(&r);
    return r;
}

static void rig_free(struct rig *r)
{
    wal_close(&r->wal);
    fs_sim_free(r->disk);
    buf_fini(&r->seen);
}

static void add(struct rig *r, const char *text)
{
    struct wal_record w = {.kind = WAL_META};

    wal_add(&r->wal, &w, str_bytes(str_of(text)), (struct bytes){0});
}

static uint64_t land(struct rig *r)
{
    assert_true(wal_launch(&r->wal));
    ok(wal_group_write(&r->wal, &r->wal.flying, &e));
    return wal_landed(&r->wal);
}

static enum rc see(void *ctx, const struct wal_record *w, struct bytes payload, struct err *why)
{
    struct rig *r = ctx;

    (void)why;
    assert_int_equal(w->kind, WAL_META);
    buf_append(&r->seen, payload);
    buf_append_byte(&r->seen, ' ');
    r->records++;
    return RC_OK;
}

/* Opens again, as after a crash, and reads. */
static enum rc reread(struct rig *r, const char **ret)
{
    struct wal_found found;
    enum rc          rc;

    wal_close(&r->wal);
    buf_clear(&r->seen);
    r->records = 0;
    if ((rc = wal_open(r->fs, "wal", RING, RING, &r->wal, &e))) return rc;
    rc = wal_replay(r->fs, "wal", &r->wal, WAL_LOOK_NEAR, see, r, &found, &e);
    *ret = buf_cstr(&r->seen);
    return rc;
}

static void groups_come_back_in_order(void **state)
{
    struct rig  r = rig_new(RING);
    const char *text = NULL;

    (void)state;
    add(&r, "a");
    add(&r, "b");
    assert_int_equal(land(&r), 2);
    add(&r, "c");
    assert_int_equal(land(&r), 3);
    ok(reread(&r, &text));
    assert_string_equal(text, "a b c ");
    assert_int_equal(r.wal.seq_next, 4);
    rig_free(&r);
}

static void a_superblock_frees_what_lies_before_it(void **state)
{
    struct rig       r = rig_new(RING);
    struct wal_super s;
    const char      *text = NULL;

    (void)state;
    add(&r, "old");
    land(&r);
    s = wal_super_next(&r.wal);
    add(&r, "new");
    land(&r);
    ok(wal_super_write(&r.wal, &s, &e));
    wal_super_done(&r.wal, &s);
    ok(reread(&r, &text));
    assert_string_equal(text, "new ");
    rig_free(&r);
}

static void the_ring_wraps_for_ever(void **state)
{
    struct rig  r = rig_new(RING);
    const char *text = NULL;
    char        big[3000];

    (void)state;
    memset(big, 'x', sizeof big - 1);
    big[sizeof big - 1] = 0;
    for (unsigned lap = 0; lap < 100; lap++) {
        struct wal_super s;

        for (unsigned k = 0; k < 3 + lap % 3; k++) {
            add(&r, big);
            add(&r, big);
            land(&r);
        }
        s = wal_super_next(&r.wal);
        ok(wal_super_write(&r.wal, &s, &e));
        wal_super_done(&r.wal, &s);
        add(&r, "one");
        add(&r, big);
        add(&r, big);
        land(&r);
        if (lap % 10) continue;
        ok(reread(&r, &text));
        assert_int_equal(r.records, 3);
        rig_start(&r);
    }
    rig_free(&r);
}

static void a_full_ring_takes_no_more(void **state)
{
    struct rig r = rig_new(RING);
    unsigned   n = 0;

    (void)state;
    for (; wal_has_room(&r.wal, 3000); n++) {
        add(&r, "x");
        land(&r);
    }
    assert_int_equal(n, RING / FS_ALIGN);
    assert_false(wal_has_room(&r.wal, 0));
    assert_int_equal(wal_used(&r.wal), RING);
    rig_free(&r);
}

static void a_ring_grows_without_losing_what_is_in_it(void **state)
{
    struct rig       r = rig_new(4 * RING);
    struct wal_super s;
    const char      *text = NULL;

    (void)state;
    for (unsigned k = 0; k < 10; k++) {
        add(&r, "old");
        land(&r);
    }
    s = wal_super_next(&r.wal);
    ok(wal_super_write(&r.wal, &s, &e));
    wal_super_done(&r.wal, &s);
    ok(wal_grow(&r.wal, r.wal.zeroed_bytes, 4 * RING, &e));
    r.wal.zeroed_bytes = 4 * RING;
    add(&r, "before");
    land(&r);
    s = wal_super_next(&r.wal);
    assert_int_equal(s.ring.bytes, 4 * RING);
    for (unsigned k = 0; k < 5; k++) {                            /* up to the end of the old ring, and not around it */
        add(&r, "during");
        land(&r);
    }
    add(&r, "during");
    assert_false(wal_launch(&r.wal));
    ok(wal_super_write(&r.wal, &s, &e));
    wal_super_done(&r.wal, &s);
    land(&r);
    for (unsigned k = 0; k < 30; k++) {
        add(&r, "y");
        land(&r);
    }
    ok(reread(&r, &text));
    assert_int_equal(r.records, 6 + 30);
    rig_free(&r);
}

static uint64_t place_of(const struct rig *r, unsigned group) { return RING_AT + (r->wal.super.begin - r->wal.super.ring.base) + (uint64_t)group * FS_ALIGN; }

static void five_groups(struct rig *r)
{
    static const char *const names[] = {"a", "b", "c", "d", "e"};

    for (unsigned k = 0; k < 5; k++) {
        add(r, names[k]);
        add(r, names[k]);
        land(r);
    }
}

static void damage_in_the_last_group_is_a_torn_write(void **state)
{
    (void)state;
    for (unsigned at = 0; at < 64 + 64 + 1 + 64; at += 3) {
        struct rig  r;
        const char *text = NULL;

        if (at > 128 && at < 136) continue;                       /* the padding of a record is nobody's */
        r = rig_new(RING);
        five_groups(&r);
        assert_true(fs_sim_damage(r.disk, "wal", place_of(&r, 4) + at, 0x40));
        ok(reread(&r, &text));
        assert_memory_equal(text, "a a b b c c d d ", 16);
        assert_true(r.records < 10);
        rig_free(&r);
    }
}

static void damage_before_a_later_group_is_damage(void **state)
{
    (void)state;
    for (unsigned group = 0; group < 4; group++)
        for (unsigned at = 0; at < 64 + 64 + 1 + 64; at += 5) {
            struct rig  r;
            const char *text = NULL;

            if (at > 128 && at < 136) continue;
            r = rig_new(RING);
            five_groups(&r);
            assert_true(fs_sim_damage(r.disk, "wal", place_of(&r, group) + at, 1));
            if (reread(&r, &text) != RC_CORRUPT) fail_msg("group %u byte %u: %u records", group, at, (unsigned)r.records);
            rig_free(&r);
        }
}

static void records_of_an_earlier_start_do_not_come_back(void **state)
{
    struct rig  r = rig_new(RING);
    const char *text = NULL;

    (void)state;
    five_groups(&r);
    ok(reread(&r, &text));
    rig_start(&r);                                                /* begins where the five groups end */
    ok(reread(&r, &text));
    assert_int_equal(r.records, 0);
    assert_int_equal(r.wal.super.start_number, 2);
    rig_free(&r);
}

static void one_damaged_superblock_is_survived_when_nothing_was_built_on_it(void **state)
{
    struct rig  r = rig_new(RING);
    const char *text = NULL;
    uint64_t    older = (r.wal.super.generation + 1) % 2 * FS_ALIGN;

    (void)state;
    five_groups(&r);
    assert_true(fs_sim_damage(r.disk, "wal", older + 100, 1));
    ok(reread(&r, &text));
    assert_int_equal(r.records, 10);
    assert_true(fs_sim_damage(r.disk, "wal", FS_ALIGN - older + 100, 1));
    assert_int_equal(reread(&r, &text), RC_CORRUPT);
    rig_free(&r);
}

static void a_lost_superblock_is_damage_when_the_older_one_cannot_reach_what_follows(void **state)
{
    struct rig       r = rig_new(RING);
    struct wal_super s;
    const char      *text = NULL;

    (void)state;
    for (unsigned k = 0; k < 12; k++) {
        add(&r, "x");
        land(&r);
    }
    s = wal_super_next(&r.wal);
    ok(wal_super_write(&r.wal, &s, &e));
    wal_super_done(&r.wal, &s);
    for (unsigned k = 0; k < 12; k++) {                           /* over the first ones */
        add(&r, "y");
        land(&r);
    }
    assert_true(fs_sim_damage(r.disk, "wal", s.generation % 2 * FS_ALIGN + 100, 1));
    assert_int_equal(reread(&r, &text), RC_CORRUPT);
    rig_free(&r);
}

static void a_newer_format_is_refused(void **state)
{
    struct rig   r = rig_new(RING);
    struct file *f;
    uint8_t      block[FS_ALIGN];
    const char  *text = NULL;
    uint64_t     at = r.wal.super.generation % 2 * FS_ALIGN;

    (void)state;
    ok(fs_open(r.fs, "wal", FS_READ | FS_WRITE, &f, &e));
    ok(file_read_exact(f, block, sizeof block, at, &e));
    store_le32(block + 8, WAL_FORMAT + 1);
    ok(file_write(f, bytes_of(block, sizeof block), at, &e));
    file_close(f);
    assert_int_equal(reread(&r, &text), RC_UNSUPPORTED);
    assert_non_null(strstr(e.text, "newer"));
    rig_free(&r);
}

static void a_wal_that_is_too_short_is_damage(void **state)
{
    struct rig   r = rig_new(RING);
    struct file *f;
    const char  *text = NULL;

    (void)state;
    ok(fs_open(r.fs, "wal", FS_READ | FS_WRITE, &f, &e));
    ok(file_truncate(f, RING, &e));
    file_close(f);
    assert_int_equal(reread(&r, &text), RC_CORRUPT);
    rig_free(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(groups_come_back_in_order),
        cmocka_unit_test(a_superblock_frees_what_lies_before_it),
        cmocka_unit_test(the_ring_wraps_for_ever),
        cmocka_unit_test(a_full_ring_takes_no_more),
        cmocka_unit_test(a_ring_grows_without_losing_what_is_in_it),
        cmocka_unit_test(damage_in_the_last_group_is_a_torn_write),
        cmocka_unit_test(damage_before_a_later_group_is_damage),
        cmocka_unit_test(records_of_an_earlier_start_do_not_come_back),
        cmocka_unit_test(one_damaged_superblock_is_survived_when_nothing_was_built_on_it),
        cmocka_unit_test(a_lost_superblock_is_damage_when_the_older_one_cannot_reach_what_follows),
        cmocka_unit_test(a_newer_format_is_refused),
        cmocka_unit_test(a_wal_that_is_too_short_is_damage),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
