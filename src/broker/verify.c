/* Design note: the wal is replayed without effect, the checkpoint read frame by frame, and every folder of a log is looked at
 * by itself (verify_log.c). What cannot be read ends the check of that file, never the whole.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/crc.h"
#include "broker/verify_core.h"
#include <inttypes.h>
#include <stdio.h>

enum { STATE_BYTES_MAX = 1 << 30, RESCUE_HEAD = 24, TEXT_BYTES = 512 };

void check_say(struct checker *c, enum verify_weight weight, const char *file, const char *remedy, bool repaired, const char *fmt, ...)
{
    char                  text[TEXT_BYTES];
    struct verify_finding f = {weight, file, text, remedy, repaired};
    va_list               ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    switch (weight) {
    case VERIFY_NOTE: c->sum->notes++; break;
    case VERIFY_CACHE: c->sum->caches++; break;
    case VERIFY_DAMAGE: c->sum->damages++; break;
    }
    c->sum->repaired += repaired;
    c->o->found(c->o->ctx, &f);
}

void check_path(const struct checker *c, const char *name, char ret[SEGMENT_PATH_BYTES])
{
    must(snprintf(ret, SEGMENT_PATH_BYTES, "%s/%s", c->o->dir, name) < SEGMENT_PATH_BYTES);
}

/* ---- logs on record ---- */

static struct checked_log *log_of(struct checker *c, const struct uuid *id, uint32_t partition)
{
    struct bytes key;
    void        *v;

    for (size_t at = 0; map_next(&c->logs, &at, &key, &v);) {
        struct checked_log *l = v;

        if (uuid_eq(&l->state.topic, id) && l->state.partition == partition) return l;
    }
    return NULL;
}

static void log_free(struct checked_log *l)
{
    if (!l) return;
    epochs_fini(&l->epochs);
    free(l->topic);
    free(l);
}

static struct checked_log *log_add(struct checker *c, const struct log_state *st, struct bytes epochs, bool on_record)
{
    AUTO(buf_fini) struct buf folder = {0};
    struct checked_log *l = xnew(struct checked_log);

    buf_printf(&folder, STR_FMT "-%" PRIu32, STR_ARG(st->name), st->partition);
    l->topic = xcalloc(1, st->name.n + 1);
    memcpy(l->topic, st->name.p, st->name.n);
    l->state = *st;
    l->state.name = str_of(l->topic);
    l->on_record = on_record;
    state_epochs(epochs, &l->epochs);
    log_free(map_put(&c->logs, buf_view(&folder), l));
    return l;
}

static void log_drop(struct checker *c, const struct uuid *id, uint32_t partition)
{
    struct checked_log *l = log_of(c, id, partition);
    AUTO(buf_fini) struct buf folder = {0};

    if (!l) return;
    buf_printf(&folder, "%s-%" PRIu32, l->topic, partition);
    log_free(map_del(&c->logs, buf_view(&folder)));
}

/* ---- the checkpoint ---- */

static enum rc on_frame(void *ctx, const struct state_frame *f, struct err *e)
{
    struct checker     *c = ctx;
    struct checked_log *l;

    (void)e;
    switch (f->kind) {
    case STATE_META: break;
    case STATE_LOG: log_add(c, &f->log, f->epochs, true); break;
    case STATE_GONE: log_drop(c, &f->log.topic, f->log.partition); break;
    case STATE_CLOSED:
        if (!(l = log_of(c, &f->log.topic, f->log.partition))) break;
        l->state.closed_n = f->log.closed_n;
        l->state.closed_bytes = f->log.closed_bytes;
        break;
    }
    return RC_OK;
}

static enum rc check_state(struct checker *c, struct err *e)
{
    AUTO(buf_fini) struct buf body = {0};
    const struct wal_super *super = &c->wal.super;
    char     name[32], path[SEGMENT_PATH_BYTES];
    uint32_t format;
    enum rc  rc;

    if (!super->state_file) return RC_OK;
    snprintf(name, sizeof name, "state.%" PRIu64, super->state_file);
    check_path(c, name, path);
    c->sum->files++;
    if ((rc = fs_load(c->o->fs, path, STATE_BYTES_MAX, &body, e)) == RC_OK && body.n < super->state_bytes)
        rc = err_set(e, RC_CORRUPT, "%zu bytes of %" PRIu64, body.n, super->state_bytes);
    if (!rc) rc = state_replay(bytes_of(body.p, (size_t)super->state_bytes), on_frame, c, &format, e);
    if (rc == RC_UNSUPPORTED) return rc;
    if (!rc) c->sum->bytes += super->state_bytes;
    if (rc) check_say(c, VERIFY_DAMAGE, name, NULL, false, "the checkpoint cannot be used (%s); it is the only list of topics, so the folder must come from a backup", e->text);
    return RC_OK;
}

/* ---- the wal ---- */

static enum rc on_record(void *ctx, const struct wal_record *r, struct bytes payload, struct err *e)
{
    struct checker *c = ctx;
    struct batch    b;

    (void)e;
    c->wal_records++;
    if (r->kind == WAL_BATCH && (batch_view(payload, &b) || !batch_crc_ok(&b)))
        check_say(c, VERIFY_DAMAGE, "wal", NULL, false, "record %" PRIu64 " is whole, but the batch in it is not: it was damaged before it was written", r->seq);
    if (r->kind == WAL_LOG_CREATE && !log_of(c, &r->topic, r->partition))
        log_add(c, &(struct log_state){.topic = r->topic, .partition = r->partition, .snapshot = -1, .closed_n = STATE_CLOSED_UNKNOWN, .name = bytes_str(payload)},
                (struct bytes){0}, false);
    if (r->kind == WAL_LOG_DELETE) log_drop(c, &r->topic, r->partition);
    return RC_OK;
}

static void check_supers(struct checker *c, struct bytes head)
{
    for (int i = 0; i < 2; i++) {
        const uint8_t *b = head.p + i * FS_ALIGN;

        if (memcmp(b, "MILLRWAL", 8) != 0 || load_le32(b + 12) != crc32c(bytes_of(b + 16, FS_ALIGN - 16)))
            check_say(c, VERIFY_NOTE, "wal", "written anew by the next start", false, "superblock %d is damaged; the other one counts", i);
    }
}

static enum rc check_wal(struct checker *c, struct err *e)
{
    AUTO(file_closep) struct file *f = NULL;
    uint8_t          head[2 * FS_ALIGN];
    char             path[SEGMENT_PATH_BYTES];
    struct wal_found found;
    enum rc          rc;

    check_path(c, "wal", path);
    c->sum->files++;
    if (fs_open(c->o->fs, path, FS_READ, &f, e) || file_read_exact(f, head, sizeof head, 0, e)) return e->rc;
    if ((rc = wal_open(c->o->fs, path, FS_ALIGN, UINT64_MAX / 2, &c->wal, e))) {
        if (rc == RC_CORRUPT) check_say(c, VERIFY_DAMAGE, "wal", NULL, false, "%s; without it the folder must come from a backup", e->text);
        return rc == RC_CORRUPT ? RC_OK : rc;
    }
    c->wal_open = true;
    check_supers(c, bytes_of(head, sizeof head));
    if (check_state(c, e)) return e->rc;
    rc = wal_replay(c->o->fs, path, &c->wal, UINT64_MAX, on_record, c, &found, e);
    c->sum->bytes += c->wal.end - c->wal.super.begin;
    c->may_change_logs = !c->wal_records;
    if (!rc && found.torn) check_say(c, VERIFY_NOTE, "wal", "cut by the next start", false, "the last group is torn, as a crash leaves it; it was not acknowledged");
    if (rc == RC_CORRUPT) {
        struct err why = *e;
        bool       done = c->o->repair && !fix_wal(c, e);

        check_say(c, VERIFY_DAMAGE, "wal", "the groups behind the damaged one are given up", done, "%s", why.text);
        rc = RC_OK;
    }
    return rc;
}

/* ---- the rest of the folder ---- */

static void check_rescue(struct checker *c, const char *name)
{
    AUTO(buf_fini) struct buf body = {0};
    char       path[SEGMENT_PATH_BYTES];
    struct err e;
    size_t     at = 0;

    check_path(c, name, path);
    if (fs_load(c->o->fs, path, SIZE_MAX, &body, &e)) {
        check_say(c, VERIFY_DAMAGE, name, NULL, false, "cannot be read: %s", e.text);
        return;
    }
    while (at + RESCUE_HEAD <= body.n) {
        size_t n = load_le32(body.p + at + 16);

        if (n > body.n - at - RESCUE_HEAD || load_le32(body.p + at) != crc32c(bytes_of(body.p + at + 4, RESCUE_HEAD - 4 + n))) break;
        at += RESCUE_HEAD + n;
    }
    if (at < body.n) check_say(c, VERIFY_DAMAGE, name, NULL, false, "of %zu bytes saved for a damaged log, %zu are whole", body.n, at);
    else check_say(c, VERIFY_NOTE, name, "applied when the log loads again", false, "%zu bytes wait for a log that could not be used", body.n);
}

struct names { struct checker *c; struct buf v; };

static void collect(void *ctx, const char *name) { buf_append(&((struct names *)ctx)->v, bytes_of(name, strlen(name) + 1)); }

static void check_name(struct checker *c, const char *name)
{
    char           current[32], path[SEGMENT_PATH_BYTES];
    struct fs_stat st;
    struct err     e;

    snprintf(current, sizeof current, "state.%" PRIu64, c->wal.super.state_file);
    if (!strcmp(name, "lock") || !strcmp(name, "wal") || !strcmp(name, current) || map_get_str(&c->logs, str_of(name)) || !strcmp(name, "damaged")) return;
    c->sum->files++;
    check_path(c, name, path);
    if (str_starts(str_of(name), STR("rescued."))) check_rescue(c, name);
    else if (str_starts(str_of(name), STR("deleted.")) || str_starts(str_of(name), STR("state.")) || !strcmp(name, "wal.tmp"))
        check_say(c, VERIFY_NOTE, name, "removed by the next start", false, "left over from a crash");
    else if (!fs_stat(c->o->fs, path, &st, &e) && st.is_dir && strrchr(name, '-'))
        check_say(c, VERIFY_NOTE, name, NULL, false, "a folder that no log on record has");
}

static enum rc check_logs(struct checker *c, struct err *e)
{
    struct bytes key;
    void        *v;

    for (size_t at = 0; map_next(&c->logs, &at, &key, &v);) {
        char folder[SEGMENT_PATH_BYTES];

        must((size_t)snprintf(folder, sizeof folder, "%.*s", (int)key.n, (const char *)key.p) < sizeof folder);
        c->sum->logs++;
        if (check_log(c, folder, v, e)) return e->rc;
    }
    return RC_OK;
}

static enum rc check_all(struct checker *c, struct err *e)
{
    struct names names = {c, {0}};
    enum rc      rc;

    if (check_wal(c, e)) return e->rc;
    if (!c->wal_open) return RC_OK;
    rc = fs_list(c->o->fs, c->o->dir, collect, &names, e);
    for (size_t at = 0; !rc && at < names.v.n; at += strlen((char *)names.v.p + at) + 1) check_name(c, (char *)names.v.p + at);
    buf_fini(&names.v);
    if (rc || (rc = check_logs(c, e))) return rc;
    return c->o->repair ? fix_state(c, e) : RC_OK;
}

enum rc verify_folder(const struct verify_options *o, struct verify_summary *ret, struct err *e)
{
    AUTO(file_closep) struct file *lock = NULL;
    struct checker c = {.o = o, .sum = ret};
    char           path[SEGMENT_PATH_BYTES];
    struct fs_stat st;
    struct bytes   key;
    void          *v;
    enum rc        rc;

    *ret = (struct verify_summary){0};
    check_path(&c, "wal", path);
    if (fs_stat(o->fs, path, &st, e)) return e->rc == RC_NOT_FOUND ? err_set(e, RC_NOT_FOUND, "%s is no data folder: it has no wal", o->dir) : e->rc;
    check_path(&c, "lock", path);
    if (fs_lock(o->fs, path, &lock, e)) {
        if (e->rc == RC_LOCKED) err_set(e, RC_LOCKED, "the data folder %s is in use by another process: stop it first", o->dir);
        return e->rc;
    }
    rc = check_all(&c, e);
    for (size_t at = 0; map_next(&c.logs, &at, &key, &v);) log_free(v);
    map_fini(&c.logs);
    if (c.wal_open) wal_close(&c.wal);
    return rc;
}
