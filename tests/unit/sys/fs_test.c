/* SPDX-License-Identifier: Apache-2.0 */
#include "sys/fs.h"
#include "test.h"
#include <stdio.h>
#include <unistd.h>

static struct err e;

static void ok(enum rc rc)
{
    if (rc) fail_msg("%s", e.text);
}

static struct file *open_file(struct fs *fs, const char *path, unsigned flags)
{
    struct file *f = NULL;

    ok(fs_open(fs, path, flags, &f, &e));
    return f;
}

static void put(struct fs *fs, const char *path, const char *text, bool sync)
{
    struct file *f = open_file(fs, path, FS_WRITE | FS_CREATE);

    ok(file_write(f, str_bytes(str_of(text)), 0, &e));
    if (sync) ok(file_sync(f, &e));
    file_close(f);
}

static bool has(struct fs *fs, const char *path, const char *text)
{
    struct buf body = {0};
    bool       same = !fs_load(fs, path, 1 << 20, &body, &e) && str_is(buf_str(&body), text);

    buf_fini(&body);
    return same;
}

static void count_name(void *ctx, const char *name) { (void)name; ++*(unsigned *)ctx; }

/* What both file systems must do alike. */
static void common(struct fs *fs, const char *dir)
{
    char           path[256], other[256];
    struct fs_stat st;
    struct file   *f, *lock, *second;
    struct buf     body = {0};
    unsigned       n = 0;
    size_t         got;
    uint8_t        raw[8];
    struct iovec   iov[3] = {{(void *)"ab", 2}, {(void *)"", 0}, {(void *)"cde", 3}};

    ok(fs_mkdir_all(fs, dir, &e));
    ok(fs_mkdir_all(fs, dir, &e));
    snprintf(path, sizeof path, "%s/one", dir);
    snprintf(other, sizeof other, "%s/two", dir);
    assert_int_equal(fs_open(fs, path, FS_READ, &f, &e), RC_NOT_FOUND);
    put(fs, path, "hello", true);
    assert_int_equal(fs_open(fs, path, FS_WRITE | FS_CREATE | FS_EXCL, &f, &e), RC_EXISTS);
    f = open_file(fs, path, FS_READ | FS_WRITE);
    ok(file_writev(f, iov, 3, 3, &e));
    ok(file_read(f, raw, sizeof raw, 0, &got, &e));
    assert_int_equal(got, 8);
    assert_memory_equal(raw, "helabcde", 8);
    assert_int_equal(file_read_exact(f, raw, sizeof raw, 1, &e), RC_CORRUPT);
    ok(file_truncate(f, 3, &e));
    ok(file_write(f, str_bytes(STR("x")), 5, &e));
    ok(file_read_exact(f, raw, 6, 0, &e));
    assert_memory_equal(raw, "hel\0\0x", 6);
    file_close(f);
    ok(fs_rename(fs, path, other, &e));
    assert_int_equal(fs_stat(fs, path, &st, &e), RC_NOT_FOUND);
    ok(fs_stat(fs, other, &st, &e));
    assert_int_equal(st.size, 6);
    assert_false(st.is_dir);
    assert_int_equal(fs_mkdir(fs, dir, &e), RC_EXISTS);
    ok(fs_list(fs, dir, count_name, &n, &e));
    assert_int_equal(n, 1);
    assert_int_equal(fs_load(fs, other, 5, &body, &e), RC_CORRUPT);
    ok(fs_save(fs, other, str_bytes(STR("new")), true, &e));
    assert_true(has(fs, other, "new"));
    snprintf(path, sizeof path, "%s/lock", dir);
    ok(fs_lock(fs, path, &lock, &e));
    assert_int_equal(fs_lock(fs, path, &second, &e), RC_LOCKED);
    file_close(lock);
    ok(fs_lock(fs, path, &lock, &e));
    file_close(lock);
    ok(fs_sync_all(fs, dir, &e));
    ok(fs_remove_dir(fs, dir, &e));
    ok(fs_remove_dir(fs, dir, &e));
    assert_int_equal(fs_stat(fs, dir, &st, &e), RC_NOT_FOUND);
    buf_fini(&body);
}

static void the_real_one_and_the_simulated_one_behave_alike(void **state)
{
    char           dir[] = "fs-test-XXXXXX", inner[64];
    struct fs_sim *s = fs_sim_new(1);
    struct fs_fault *fault = fs_fault_new(fs_sim_fs(s));

    (void)state;
    assert_non_null(mkdtemp(dir));
    snprintf(inner, sizeof inner, "%s/a/b", dir);
    common(&fs_real, inner);
    common(fs_sim_fs(s), "a/b");
    common(fs_fault_fs(fault), "c/d");
    snprintf(inner, sizeof inner, "%s/a", dir);
    assert_int_equal(rmdir(inner), 0);
    assert_int_equal(rmdir(dir), 0);
    fs_fault_free(fault);
    fs_sim_free(s);
}

static void direct_writes_land_or_the_file_says_that_it_is_plain(void **state)
{
    char         path[] = "fs-direct-XXXXXX";
    int          fd = mkstemp(path);
    struct file *f;
    uint8_t     *block = aligned_alloc(FS_ALIGN, FS_ALIGN), back[8];

    (void)state;
    assert_true(fd >= 0);
    close(fd);
    memset(block, 'd', FS_ALIGN);
    f = open_file(&fs_real, path, FS_READ | FS_WRITE | FS_DIRECT | FS_DSYNC);
    ok(file_write(f, bytes_of(block, FS_ALIGN), FS_ALIGN, &e));
    file_close(f);
    f = open_file(&fs_real, path, FS_READ);
    assert_false(file_is_direct(f));
    assert_true(file_fd(f) >= 0);
    ok(file_read_exact(f, back, sizeof back, FS_ALIGN, &e));
    assert_memory_equal(back, "dddddddd", 8);
    file_close(f);
    unlink(path);
    free(block);
}

static void a_power_cut_keeps_what_was_synced(void **state)
{
    unsigned kept = 0, lost = 0;

    (void)state;
    for (uint64_t seed = 0; seed < 64; seed++) {
        struct fs_sim *s = fs_sim_new(seed);
        struct fs     *fs = fs_sim_fs(s);
        struct file   *f;
        struct fs_stat st;

        ok(fs_mkdir(fs, "d", &e));
        put(fs, "d/safe", "safe", true);
        ok(fs_sync_dir(fs, "d", &e));
        ok(fs_sync_dir(fs, "/", &e));
        put(fs, "d/new", "new", true);                            /* its entry in the folder is not synced */
        f = open_file(fs, "d/safe", FS_READ | FS_WRITE);
        fs_sim_cut(s);
        assert_int_equal(file_write(f, str_bytes(STR("x")), 0, &e), RC_IO);
        assert_int_equal(fs_stat(fs, "d/safe", &st, &e), RC_IO);
        fs_sim_power_on(s);
        assert_int_equal(file_write(f, str_bytes(STR("x")), 0, &e), RC_IO);      /* a handle from before */
        file_close(f);
        assert_true(has(fs, "d/safe", "safe"));
        if (fs_stat(fs, "d/new", &st, &e)) lost++;
        else kept++;
        fs_sim_free(s);
    }
    assert_true(kept && lost);
}

static void a_power_cut_tears_what_was_not_synced(void **state)
{
    unsigned old = 0, new = 0, torn = 0;
    static uint8_t a[4096], b[4096], back[4096];

    (void)state;
    memset(a, 'a', sizeof a);
    memset(b, 'b', sizeof b);
    for (uint64_t seed = 0; seed < 64; seed++) {
        struct fs_sim *s = fs_sim_new(seed);
        struct fs     *fs = fs_sim_fs(s);
        struct file   *f = open_file(fs, "f", FS_READ | FS_WRITE | FS_CREATE);

        ok(file_write(f, bytes_of(a, sizeof a), 0, &e));
        ok(file_sync(f, &e));
        ok(fs_sync_dir(fs, "/", &e));
        ok(file_write(f, bytes_of(b, sizeof b), 0, &e));
        fs_sim_cut(s);
        fs_sim_power_on(s);
        file_close(f);
        f = open_file(fs, "f", FS_READ);
        ok(file_read_exact(f, back, sizeof back, 0, &e));
        file_close(f);
        if (!memcmp(back, a, sizeof a)) old++;
        else if (!memcmp(back, b, sizeof b)) new++;
        else torn++;
        fs_sim_free(s);
    }
    assert_true(old && new && torn);
}

static void a_dsync_write_is_on_the_disk_when_it_returns(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 32; seed++) {
        struct fs_sim *s = fs_sim_new(seed);
        struct fs     *fs = fs_sim_fs(s);
        struct file   *f = open_file(fs, "f", FS_READ | FS_WRITE | FS_CREATE | FS_DSYNC);
        uint8_t        back[10];

        ok(fs_sync_dir(fs, "/", &e));
        ok(file_write(f, str_bytes(STR("0123456789")), 0, &e));
        fs_sim_cut(s);
        fs_sim_power_on(s);
        file_close(f);
        f = open_file(fs, "f", FS_READ);
        ok(file_read_exact(f, back, 10, 0, &e));
        assert_memory_equal(back, "0123456789", 10);
        file_close(f);
        fs_sim_free(s);
    }
}

static void a_full_disk_refuses_and_recovers(void **state)
{
    struct fs_sim *s = fs_sim_new(1);
    struct fs     *fs = fs_sim_fs(s);
    struct file   *f = open_file(fs, "f", FS_READ | FS_WRITE | FS_CREATE);
    static uint8_t block[3 * 4096];
    uint64_t       left;

    (void)state;
    fs_sim_set_capacity(s, 2 * 4096);
    assert_int_equal(file_write(f, bytes_of(block, sizeof block), 0, &e), RC_DISK_FULL);
    ok(fs_free_bytes(fs, "/", &left, &e));
    assert_int_equal(left, 0);
    ok(file_truncate(f, 4096, &e));
    ok(fs_free_bytes(fs, "/", &left, &e));
    assert_int_equal(left, 4096);
    ok(file_write(f, bytes_of(block, 4096), 4096, &e));
    assert_int_equal(file_truncate(f, 3 * 4096, &e), RC_DISK_FULL);
    file_close(f);
    ok(fs_unlink(fs, "f", &e));
    ok(fs_free_bytes(fs, "/", &left, &e));
    assert_int_equal(left, 2 * 4096);
    fs_sim_free(s);
}

static void the_nth_call_fails_and_the_next_does_not(void **state)
{
    struct fs_sim   *s = fs_sim_new(1);
    struct fs_fault *fault = fs_fault_new(fs_sim_fs(s));
    struct fs       *fs = fs_fault_fs(fault);
    struct fs_stat   st;

    (void)state;
    fs_fault_arm(fault, 2, RC_IO, false);
    assert_int_equal(fs_stat(fs, "x", &st, &e), RC_NOT_FOUND);
    assert_int_equal(fs_stat(fs, "x", &st, &e), RC_NOT_FOUND);
    assert_false(fs_fault_fired(fault));
    assert_int_equal(fs_stat(fs, "x", &st, &e), RC_IO);
    assert_true(fs_fault_fired(fault));
    assert_int_equal(fs_stat(fs, "x", &st, &e), RC_NOT_FOUND);
    fs_fault_arm(fault, 0, RC_DISK_FULL, true);
    for (int i = 0; i < 3; i++) assert_int_equal(fs_stat(fs, "x", &st, &e), RC_DISK_FULL);
    fs_fault_disarm(fault);
    assert_int_equal(fs_stat(fs, "x", &st, &e), RC_NOT_FOUND);
    fs_fault_free(fault);
    fs_sim_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_real_one_and_the_simulated_one_behave_alike),
        cmocka_unit_test(direct_writes_land_or_the_file_says_that_it_is_plain),
        cmocka_unit_test(a_power_cut_keeps_what_was_synced),
        cmocka_unit_test(a_power_cut_tears_what_was_not_synced),
        cmocka_unit_test(a_dsync_write_is_on_the_disk_when_it_returns),
        cmocka_unit_test(a_full_disk_refuses_and_recovers),
        cmocka_unit_test(the_nth_call_fails_and_the_next_does_not),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
