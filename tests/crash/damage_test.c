/* Every file of a data folder, flipped and cut at every kind of byte: the store never serves wrong bytes, the checker says
 * what is wrong in a sentence, the other partitions go on, and a repair leaves a folder that opens and has the rest.
 * STRIDE=N in the environment damages every N-th byte of each file.   SPDX-License-Identifier: Apache-2.0 */
#include "base/diag.h"
#include "broker/verify.h"
#include "unit/broker/storage.h"

enum { LOGS = 3, BATCHES = 24, STRIDE_DEFAULT = 31, FILES_MAX = 200 };

struct saved { char path[160]; struct buf body; };
struct folder { struct saved v[FILES_MAX]; size_t n; };
struct rig { struct fs_sim *disk; struct storage t; };
struct findings { unsigned n, damages, caches; struct buf text; };

static void log_prepare(struct rig *r, uint8_t n)
{
    struct log_config c = log_config_default;

    c.segment_bytes = 1200;
    c.index_interval_bytes = 200;
    log_set_config(storage_log(&r->t, n), &c);
}

static void rig_open(struct rig *r, uint64_t seed)
{
    r->disk = fs_sim_new(seed);
    storage_init(&r->t, fs_sim_fs(r->disk), "data");
    r->t.opt.wal_bytes_first = r->t.opt.wal_bytes_max = 256 << 10;
}

static void name_batch(char ret[32], int log, int i) { snprintf(ret, 32, "log %d batch %d", log, i); }

/* Three logs with several segments each, one of an idempotent producer. */
static void fill(struct rig *r)
{
    for (int i = 0; i < BATCHES; i++)
        for (uint8_t n = 0; n < LOGS; n++) {
            struct log_appended a;
            char                text[32];

            log_prepare(r, n);
            name_batch(text, n, i);
            assert_int_equal(log_put(&r->t, storage_log(&r->t, n), (struct batch_of){.text = text, .pad = 150, .producer_id = n == 1 ? 7 : 0, .sequence = i}, &a), RC_OK);
            storage_turn(&r->t);
        }
}

static void keep(void *ctx, const char *name)
{
    struct folder *f = ctx;

    snprintf(f->v[f->n++].path, sizeof f->v[0].path, "%s", name);
    assert_true(f->n < FILES_MAX);
}

/* All files of the folder, as they are after a clean stop. */
static void save(struct rig *r, struct folder *f)
{
    struct folder top = {0};

    assert_int_equal(fs_list(r->t.opt.fs, "data", keep, &top, &r->t.err), RC_OK);
    for (size_t i = 0; i < top.n; i++) {
        struct fs_stat st;
        struct folder  below = {0};
        char           path[160];

        snprintf(path, sizeof path, "data/%.100s", top.v[i].path);
        assert_int_equal(fs_stat(r->t.opt.fs, path, &st, &r->t.err), RC_OK);
        if (!st.is_dir) snprintf(f->v[f->n++].path, sizeof path, "%s", path);
        else assert_int_equal(fs_list(r->t.opt.fs, path, keep, &below, &r->t.err), RC_OK);
        for (size_t k = 0; k < below.n; k++) snprintf(f->v[f->n++].path, sizeof path, "data/%.40s/%.60s", top.v[i].path, below.v[k].path);
    }
    for (size_t i = 0; i < f->n; i++) assert_int_equal(fs_load(r->t.opt.fs, f->v[i].path, SIZE_MAX, &f->v[i].body, &r->t.err), RC_OK);
}

/* A new disk with these files; one of them is other than it was: the byte at `at` flipped, or (mask 0) cut there, or missing (at SIZE_MAX). */
static void restore(struct rig *r, const struct folder *f, size_t victim, size_t at, uint8_t mask)
{
    for (size_t i = 0; i < f->n; i++) {
        AUTO(file_closep) struct file *file = NULL;
        char  dir[160];
        size_t n = f->v[i].body.n;

        snprintf(dir, sizeof dir, "%.*s", (int)(strrchr(f->v[i].path, '/') - f->v[i].path), f->v[i].path);
        assert_int_equal(fs_mkdir_all(r->t.opt.fs, dir, &r->t.err), RC_OK);
        if (i == victim && at == SIZE_MAX) continue;
        if (i == victim && !mask) n = at;
        assert_int_equal(fs_open(r->t.opt.fs, f->v[i].path, FS_READ | FS_WRITE | FS_CREATE, &file, &r->t.err), RC_OK);
        if (n) assert_int_equal(file_write(file, bytes_of(f->v[i].body.p, n), 0, &r->t.err), RC_OK);
        if (i == victim && mask && at < n) {
            uint8_t c = f->v[i].body.p[at] ^ mask;

            assert_int_equal(file_write(file, bytes_of(&c, 1), at, &r->t.err), RC_OK);
        }
        assert_int_equal(file_sync(file, &r->t.err), RC_OK);
    }
}

static void on_found(void *ctx, const struct verify_finding *x)
{
    struct findings *f = ctx;

    f->n++;
    f->damages += x->weight == VERIFY_DAMAGE;
    f->caches += x->weight == VERIFY_CACHE;
    buf_printf(&f->text, "%s: %s%s; ", x->file, x->text, x->repaired ? " [repaired]" : "");
}

static enum rc verify(struct rig *r, bool repair, struct findings *f, struct verify_summary *s)
{
    struct verify_options o = {r->t.opt.fs, "data", repair, on_found, f};

    *f = (struct findings){0};
    return verify_folder(&o, s, &r->t.err);
}

/* What is served is what was written, at its offset. Returns how much of the log is there; -1: it is offline, or a read says so. */
static int served(struct rig *r, uint8_t n)
{
    struct log *l;
    int         seen = 0;

    log_prepare(r, n);
    l = storage_log(&r->t, n);
    for (int64_t at = log_start(l); at < log_durable_end(l);) {
        AUTO(buf_fini) struct buf body = {0};
        struct log_slice s;
        struct batch     b;
        char             text[32];

        if (log_read(l, at, 1, INT64_MAX, true, &s, &r->t.err)) return -1;
        if (!s.n) break;
        assert_int_equal(log_slice_load(&s, &body, &r->t.err), RC_OK);
        at = s.offset_next;
        log_slice_fini(&s);
        if (batch_view(buf_view(&body), &b) || !batch_crc_ok(&b)) return -1;           /* the client sees it by the checksum */
        name_batch(text, n, (int)b.base_offset);
        if (!memmem(body.p, body.n, text, strlen(text))) return -1;       /* its offset lies outside the checksum: only the checker sees that */
        seen++;
    }
    return seen;
}

static bool is_of_log(const char *path, uint8_t n)
{
    char dir[16];

    snprintf(dir, sizeof dir, "data/t%c-0/", 'a' + n);
    return !strncmp(path, dir, strlen(dir));
}

/* One damage, looked at from every side. */
static void one(const struct folder *f, size_t victim, size_t at, uint8_t mask)
{
    struct rig            r;
    struct findings       before, after;
    struct verify_summary s;
    const char           *path = f->v[victim].path;
    bool                  segment = str_ends(str_of(path), STR(".log"));
    enum rc               rc;

    rig_open(&r, 3);
    restore(&r, f, victim, at, mask);
    rc = verify(&r, false, &before, &s);
    if (segment && (rc || !before.damages)) fail_msg("%s, byte %zu, mask %d: the checker saw nothing (%s)", path, at, mask, buf_cstr(&before.text));
    if (!storage_open(&r.t)) {
        for (uint8_t n = 0; n < LOGS; n++) {
            int seen = served(&r, n);

            if (seen != BATCHES && !is_of_log(path, n)) fail_msg("%s, byte %zu, mask %d: log %d lost %d batches", path, at, mask, n, BATCHES - seen);
            if (seen != BATCHES && (rc || !(before.damages + before.caches))) fail_msg("%s, byte %zu, mask %d: %d batches are there, nobody says so", path, at, mask, seen);
        }
        r.t.store = store_abandon(r.t.store);
        storage_settle(&r.t);
    } else if (r.t.err.rc != RC_CORRUPT && r.t.err.rc != RC_UNSUPPORTED) {
        fail_msg("%s, byte %zu: %s", path, at, r.t.err.text);
    }
    storage_fini(&r.t);
    fs_sim_free(r.disk);

    rig_open(&r, 4);
    restore(&r, f, victim, at, mask);
    rc = verify(&r, true, &after, &s);
    if (!rc && segment) {
        int left;

        if (storage_open(&r.t)) fail_msg("%s, byte %zu, mask %d: after the repair: %s", path, at, mask, r.t.err.text);
        for (uint8_t n = 0; n < LOGS; n++) {
            left = served(&r, n);
            if (left < BATCHES - 6 || (!is_of_log(path, n) && left != BATCHES)) fail_msg("%s, byte %zu, mask %d: after the repair log %d has %d batches: %s", path, at, mask, n, left, buf_cstr(&after.text));
            assert_int_equal(log_end(storage_log(&r.t, n)), BATCHES);
        }
        fill(&r);                                                 /* and it goes on */
    }
    storage_fini(&r.t);
    fs_sim_free(r.disk);
    buf_fini(&before.text);
    buf_fini(&after.text);
}

static size_t stride_of(const struct folder *f, size_t i, size_t stride)
{
    return strstr(f->v[i].path, "data/wal") ? MAX(stride, f->v[i].body.n / 60) : stride;
}

static void every_kind_of_damage_is_found_and_the_rest_is_served(void **state)
{
    const char   *s = getenv("STRIDE");
    size_t        stride = s ? strtoul(s, NULL, 10) : STRIDE_DEFAULT;
    struct rig    r;
    struct folder f = {0};

    (void)state;
    rig_open(&r, 2);
    assert_int_equal(storage_open(&r.t), RC_OK);
    fill(&r);
    r.t.store = store_close(r.t.store);
    save(&r, &f);
    storage_fini(&r.t);
    fs_sim_free(r.disk);
    for (size_t i = 0; i < f.n; i++) {
        if (strstr(f.v[i].path, "lock")) continue;
        for (size_t at = 0; at < f.v[i].body.n; at += stride_of(&f, i, stride)) one(&f, i, at, (uint8_t)(1u << at % 8));
        for (size_t at = 0; at < f.v[i].body.n; at += 3 * stride_of(&f, i, stride)) one(&f, i, at, 0);
        one(&f, i, SIZE_MAX, 0);
    }
    for (size_t i = 0; i < f.n; i++) buf_fini(&f.v[i].body);
}

static void a_whole_folder_has_nothing_to_say(void **state)
{
    struct rig            r;
    struct findings       f;
    struct verify_summary s;

    (void)state;
    rig_open(&r, 5);
    assert_int_equal(storage_open(&r.t), RC_OK);
    fill(&r);
    assert_int_equal(verify(&r, false, &f, &s), RC_LOCKED);
    r.t.store = store_close(r.t.store);
    assert_int_equal(verify(&r, false, &f, &s), RC_OK);
    if (f.n) fail_msg("%s", buf_cstr(&f.text));
    assert_int_equal(s.logs, LOGS);
    assert_int_equal(s.batches, LOGS * BATCHES);
    storage_fini(&r.t);
    fs_sim_free(r.disk);
    buf_fini(&f.text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_whole_folder_has_nothing_to_say),
        cmocka_unit_test(every_kind_of_damage_is_found_and_the_rest_is_served),
    };

    diag_set_levels(STR("error"));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
