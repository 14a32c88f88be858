/* control/filestore.c - control.store: file. One file holds every record; each change replaces it as a whole.
 *
 * Layout, one JSON value a line: {"millrace":"resources","format":1,"next":N}, then {"key":…,"offset":…,"timestampMs":…,
 * "value":…} for each resource. `next` counts changes as the topic's offsets do. A file that cannot be read is left
 * alone, and said. SPDX-License-Identifier: Apache-2.0 */
#include "base/diag.h"
#include "control/core.h"
#include "oip/json.h"
#include "sys/fs.h"
#include <inttypes.h>

enum { FILE_BYTES_MAX = 1 << 30 };

struct file_save {
    struct work work;
    struct control *c;
    struct buf path, body;
    struct err err;
};

static void put_line(struct buf *b, struct str key, int64_t offset, int64_t timestamp_ms,
                     struct str value)
{
    buf_append_str(b, STR("{\"key\":"));
    json_put_str(b, key);
    buf_printf(b, ",\"offset\":%" PRId64 ",\"timestampMs\":%" PRId64 ",\"value\":", offset,
               timestamp_ms);
    json_put_str(b, value);
    buf_append_str(b, STR("}\n"));
}

/* What the record of a resource was, made again. */
static void put_resource(struct buf *b, struct str key, const struct resource *r)
{
    AUTO(buf_fini) struct buf value = {0};

    if (r->why_not.n) {
        buf_append_str(&value, r->json); /* kept as it was read */
    } else {
        envelope_put(&value, r);
    }
    put_line(b, key, r->offset, r->updated_ms, buf_str(&value));
}

static const struct change *changed(const struct mutation *m, struct str key)
{
    for (size_t i = 0; i < m->changes_n; i++)
        if (str_eq(m->changes[i].key, key)) return &m->changes[i];
    return NULL;
}

struct saving { struct buf *b; const struct mutation *m; int64_t timestamp_ms; };

static void put_gone(void *ctx, const struct change *ch)
{
    const struct saving *s = ctx;

    if (!changed(s->m, ch->key)) put_line(s->b, ch->key, 0, s->timestamp_ms, ch->value);
}

static void saved(struct work *w)
{
    struct file_save *s = container_of(w, struct file_save, work);
    struct control *c = s->c;
    struct mutation *m = c->mutation;

    c->saving = false;
    if (c->state == CONTROL_STOPPING) {
        control_settle(c);
        return;
    }
    if (s->err.rc) {
        m->call->err = s->err;
        err_in(&m->call->err, "not stored");
        control_answer(c, m->call);
        m->call = NULL;
    }
    if (!m->call) {
        arena_fini(&m->arena);
        buf_fini(&m->answer);
        free(m);
        c->mutation = NULL;
    } else {
        int64_t now_ms = clock_wall_ms(loop_clock(c->o.loop));
        for (size_t i = 0; i < m->changes_n; i++)
            control_record(c, m->changes[i].key, m->changes[i].value, m->changes[i].gone,
                           c->next_offset++, now_ms);
        m->offset_last = c->next_offset - 1;
    }
    control_advance(c);
}

static void save_run(struct work *w)
{
    struct file_save *s = container_of(w, struct file_save, work);

    s->err = (struct err){0};
    (void)!fs_save(s->c->o.fs, buf_cstr(&s->path), buf_view(&s->body), true, &s->err);
}

void filestore_save(struct control *c, struct mutation *m)
{
    struct file_save *s = c->save;
    struct buf *b = &s->body;
    int64_t now_ms = clock_wall_ms(loop_clock(c->o.loop)), offset = c->next_offset;
    struct bytes key;
    size_t at = 0;
    void *r;

    buf_clear(b);
    buf_printf(b, "{\"millrace\":\"resources\",\"format\":%d,\"next\":%" PRId64 "}\n",
               RECORD_FORMAT, offset + (int64_t)m->changes_n);
    while (map_next(&c->by_key, &at, &key, &r))
        if (!changed(m, bytes_str(key))) put_resource(b, bytes_str(key), r);
    gone_put_each(c, put_gone, &(struct saving){b, m, now_ms});
    for (size_t i = 0; i < m->changes_n; i++, offset++)
        if (!m->changes[i].gone)
            put_line(b, m->changes[i].key, offset, now_ms, m->changes[i].value);
    c->saving = true;
    s->work = (struct work){.run = save_run, .done = saved, .reply_to = loop_mailbox(c->o.loop)};
    workers_submit(c->o.workers, &s->work);
}

/* ---- the start ---- */

static bool number(const struct yaml_node *line, const char *key, int64_t *ret)
{
    const struct yaml_node *n = yaml_get(line, key);
    return n && n->kind == YAML_SCALAR && str_to_i64(n->text, ret);
}

static enum rc head_read(struct control *c, const struct yaml_node *line, struct err *e)
{
    const struct yaml_node *mark = yaml_get(line, "millrace");
    int64_t format = 0, next = 0;

    if (!mark || !str_is(mark->text, "resources") || !number(line, "format", &format) ||
        !number(line, "next", &next) || next < 0)
        return err_set(e, RC_CORRUPT, "the first line is not that of a store of resources");
    if (format > RECORD_FORMAT)
        return err_set(e, RC_UNSUPPORTED, "written in format %" PRId64 " by a newer millrace",
                       format);
    c->next_offset = next;
    return RC_OK;
}

static enum rc lines_read(struct control *c, struct str text, struct err *e)
{
    struct str line;

    for (size_t i = 1; text.n; i++) {
        AUTO(arena_fini) struct arena a = {0};
        struct yaml_node *n;
        int64_t offset = 0, timestamp_ms = 0;
        if (!str_cut(text, '\n', &line, &text))
            return err_set(e, RC_CORRUPT, "line %zu ends early", i);
        if (yaml_of_json(line, &a, &n, e)) {
            e->rc = RC_CORRUPT;
            return err_in(e, "line %zu", i);
        }
        if (i == 1) {
            if (head_read(c, n, e)) return e->rc;
            continue;
        }
        const struct yaml_node *key = yaml_get(n, "key"), *value = yaml_get(n, "value");
        if (!key || !value || !number(n, "offset", &offset) ||
            !number(n, "timestampMs", &timestamp_ms))
            return err_set(e, RC_CORRUPT, "line %zu is no record", i);
        control_record(c, key->text, value->text, false, offset, timestamp_ms);
    }
    return RC_OK;
}

void filestore_load(struct control *c)
{
    AUTO(buf_fini) struct buf text = {0}, folder = {0};
    struct file_save *s = c->save = xnew(struct file_save);
    struct err e = {0};

    s->c = c;
    buf_printf(&folder, STR_FMT "/control", STR_ARG(c->o.data));
    buf_printf(&s->path, STR_FMT "/control/resources.json", STR_ARG(c->o.data));
    c->next_offset = 0;
    if (fs_mkdir_all(c->o.fs, buf_cstr(&folder), &e)) goto fail;
    if (!fs_load(c->o.fs, buf_cstr(&s->path), FILE_BYTES_MAX, &text, &e)) {
        if (lines_read(c, buf_str(&text), &e)) goto fail;
    } else if (e.rc != RC_NOT_FOUND) {
        goto fail;
    }
    c->publish_pending = true;
    control_publish(c);
    return;
fail:
    err_in(&e, STR_FMT, STR_ARG(buf_str(&s->path)));
    control_failed(c, &e);
}

void filestore_free(struct control *c)
{
    if (!c->save) return;
    buf_fini(&c->save->path);
    buf_fini(&c->save->body);
    free(c->save);
    c->save = NULL;
}
