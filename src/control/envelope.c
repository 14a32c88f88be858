/* control/envelope.c - records of the store: what a resource becomes there, and what a record means.
 *
 *   "Kind/name"          {"format":1,"version":N,"createdMs":T,"resource":{…},"previous":[{"version","untilMs","resource"}]}
 *                        or null: it was deleted
 *   "Deleted/Kind/name"  {"format":1,"version":N,"clear":"offsets"|"topics"}: the version it had, so that one made anew goes on
 *                        from there; what it left (topics: those and its offsets), until executors have cleared it away
 *
 * Pipelines keep the versions they replaced (`previous`, newest first) for as long as a crash may have left a run of them
 * unfinished. SPDX-License-Identifier: Apache-2.0 */
#include "base/diag.h"
#include "control/core.h"
#include <inttypes.h>

#define GONE_PREFIX "Deleted/"

enum { OLDER_MAX = 16 };

/* ---- writing ---- */

static void put_older(struct buf *b, uint32_t version, int64_t until_ms, struct str json, bool first)
{
    buf_printf(b, "%s{\"version\":%" PRIu32 ",\"untilMs\":%" PRId64 ",\"resource\":" STR_FMT "}",
               first ? ",\"previous\":[" : ",", version, until_ms, STR_ARG(json));
}

static void envelope_begin(struct buf *b, uint32_t version, int64_t created_ms, struct str json)
{
    buf_printf(b,
               "{\"format\":%d" NEXT_FIELD ",\"version\":%" PRIu32 ",\"createdMs\":%" PRId64
               ",\"resource\":" STR_FMT,
               RECORD_FORMAT, version, created_ms, STR_ARG(json));
}

void envelope_put(struct buf *b, const struct resource *r)
{
    envelope_begin(b, r->version, r->created_ms, r->json);
    for (size_t i = 0; i < r->older_n; i++)
        put_older(b, r->older[i]->version, r->older[i]->updated_ms, r->older[i]->json, i == 0);
    buf_append_str(b, r->older_n ? STR("]}") : STR("}"));
}

struct str envelope_next(struct arena *a, const struct control *c, const struct resource *r,
                         const struct resource *old, uint32_t version, int64_t now_ms)
{
    AUTO(buf_fini) struct buf b = {0};
    size_t n = 0, bare;

    envelope_begin(&b, version, old && old->created_ms ? old->created_ms : now_ms, r->json);
    bare = b.n;
    if (old && old->kind == RESOURCE_PIPELINE && !old->why_not.n) {
        put_older(&b, old->version, now_ms, old->json, n++ == 0);
        for (size_t i = 0; i < old->older_n && n < OLDER_MAX; i++) {
            const struct resource *o = old->older[i];

            if (now_ms - o->updated_ms < (int64_t)c->o.recover_within_ms)
                put_older(&b, o->version, o->updated_ms, o->json, n++ == 0);
        }
        buf_append_byte(&b, ']');
    }
    if (b.n >= c->o.message_bytes_max) b.n = bare; /* the resource itself comes first */
    buf_append_byte(&b, '}');
    return arena_dup_str(a, buf_str(&b));
}

static const char *const clear_names[] = {[CLEAR_NOTHING] = "", [CLEAR_OFFSETS] = ",\"clear\":\"offsets\"", [CLEAR_TOPICS] = ",\"clear\":\"topics\""};

struct change gone_change(struct arena *a, struct str key, struct gone g)
{
    return (struct change){.key = arena_printf(a, GONE_PREFIX STR_FMT, STR_ARG(key)),
                           .value = arena_printf(a, "{\"format\":%d" NEXT_FIELD ",\"version\":%" PRIu32 "%s}",
                                                 RECORD_FORMAT, g.version, clear_names[g.clear])};
}

_Static_assert(sizeof(void *) == 8, "a version and what is to be cleared fit a pointer");
static void *gone_pack(struct gone g)
{
    return (void *)((uintptr_t)g.version | (uintptr_t)g.clear << 32);
}

static struct gone gone_unpack(const void *p)
{
    return (struct gone){(uint32_t)(uintptr_t)p, (enum gone_clear)((uintptr_t)p >> 32)};
}

struct gone gone_get(const struct control *c, struct str key)
{
    return gone_unpack(map_get_str(&c->gone, key));
}

/* One that is there again has taken over the topics of the old one. */
void gone_fill(const struct control *c, struct flow_snapshot *s)
{
    struct bytes key;
    void *p;

    if (!c->to_clear) return;
    s->gone = arena_array(&s->arena, struct flow_gone, c->to_clear);
    for (size_t at = 0; map_next(&c->gone, &at, &key, &p);) {
        struct gone g = gone_unpack(p);
        struct str kind, name;

        if (g.clear == CLEAR_NOTHING || map_get(&c->by_key, key) || !str_cut(bytes_str(key), '/', &kind, &name)) continue;
        must(s->gone_n < c->to_clear);
        s->gone[s->gone_n++] = (struct flow_gone){arena_dup_str(&s->arena, name),
                                                  str_is(kind, resource_kind_name(RESOURCE_MODEL)), g.clear == CLEAR_TOPICS};
    }
}

/* ---- reading ---- */

static enum rc document_read(struct control *c, const struct yaml_node *r, struct resource **ret,
                             struct err *e)
{
    AUTO(problems_fini) struct problems problems = {0}, warnings = {0};
    AUTO(buf_fini) struct buf document = {0};
    struct resource **list = NULL;
    size_t n = 0;

    yaml_put_json(r, &document);
    struct resource_input in = {.text = buf_str(&document),
                                .topic_prefix = c->o.topic_prefix,
                                .topic_namespace = c->o.topic_namespace,
                                .problems = &problems,
                                .warnings = &warnings};
    if (!resources_parse(&in, &list, &n))
        return err_set(e, RC_INVALID, "this version does not take it: " STR_FMT,
                       STR_ARG(problems.n ? problems.list[0].text : STR("unreadable")));
    if (n != 1) {
        resources_free(list, n);
        return err_set(e, RC_INVALID, "%zu documents instead of one", n);
    }
    *ret = list[0];
    free(list);
    return RC_OK;
}

static int64_t number(const struct yaml_node *map, const char *key)
{
    const struct yaml_node *n = yaml_get(map, key);
    int64_t value = 0;

    return n && n->kind == YAML_SCALAR && str_to_i64(n->text, &value) ? value : 0;
}

/* What this version does not take is left out: there is no more to be done with it than to run the newest. */
static void older_read(struct control *c, const struct yaml_node *list, struct resource *of)
{
    struct err e;

    if (!list || list->kind != YAML_LIST || !list->n) return;
    of->older = xnew_array(struct resource *, list->n);
    for (size_t i = 0; i < list->n && i < OLDER_MAX; i++) {
        const struct yaml_node *n = list->items[i], *document = yaml_get(n, "resource");
        int64_t version = number(n, "version");
        struct resource *r = NULL;

        if (!document || version < 1 || version > UINT32_MAX || document_read(c, document, &r, &e))
            continue;
        r->version = (uint32_t)version;
        r->updated_ms = number(n, "untilMs");
        of->older[of->older_n++] = r;
    }
}

/* Reads the envelope; RC_UNSUPPORTED: of a newer format. */
static enum rc envelope_read(struct control *c, struct str value, struct resource **ret,
                             struct err *e)
{
    AUTO(arena_fini) struct arena a = {0};
    struct yaml_node *top;
    int64_t format = 0, version = 0;

    if (yaml_of_json(value, &a, &top, e)) return e->rc;
    const struct yaml_node *f = yaml_get(top, "format"), *v = yaml_get(top, "version"),
                           *r = yaml_get(top, "resource");
    if (!f || f->kind != YAML_SCALAR || !str_to_i64(f->text, &format) || format < 1)
        return err_set(e, RC_INVALID, "no format version");
    if (format > RECORD_FORMAT)
        return err_set(e, RC_UNSUPPORTED,
                       "written in format %" PRId64 " by a newer millrace; this one reads %d",
                       format, RECORD_FORMAT);
    if (!v || v->kind != YAML_SCALAR || !str_to_i64(v->text, &version) || version < 1 ||
        version > UINT32_MAX || !r)
        return err_set(e, RC_INVALID, "no version or no resource");
    if (document_read(c, r, ret, e)) return e->rc;
    (*ret)->version = (uint32_t)version;
    (*ret)->created_ms = number(top, "createdMs");
    older_read(c, yaml_get(top, "previous"), *ret);
    return RC_OK;
}

/* A later record of what is there, which this version does not take: whoever wrote it goes on with that, this process with what
 * it has. It is not gone: its requests are served, and what it has in the log is not cleared away. */
static bool overtaken(struct control *c, struct str key, const struct err *why)
{
    struct resource *r = map_get_str(&c->by_key, key);

    if (!r || r->why_not.n) return false;
    r->overtaken = arena_dup_str(&r->arena, str_of(why->text));
    return true;
}

/* What cannot be used is kept by name, so that it is listed and not overwritten by chance. */
static struct resource *unusable(struct str key, struct str value, const struct err *why)
{
    struct str kind, name;
    struct resource *r = xnew(struct resource);

    if (!str_cut(key, '/', &kind, &name) || !resource_kind_of(kind, &r->kind)) {
        resource_free(r);
        return NULL;
    }
    r->name = arena_dup_str(&r->arena, name);
    r->why_not = arena_dup_str(&r->arena, str_of(why->text));
    r->json = arena_dup_str(&r->arena, value);
    return r;
}

/* Remembered for as long as there is room: a name that was forgotten begins at 1 again. */
static void gone_read(struct control *c, struct str key, struct str value)
{
    AUTO(arena_fini) struct arena a = {0};
    struct yaml_node *top;
    struct gone g = {0}, old = gone_get(c, key);
    const struct yaml_node *clear;
    struct err e;
    int64_t version;

    if (yaml_of_json(value, &a, &top, &e)) return;
    version = number(top, "version");
    clear = yaml_get(top, "clear");
    if (version < 1 || version >= UINT32_MAX || (!old.version && c->gone.n >= RESOURCES_MAX)) return;
    g.version = (uint32_t)version;
    if (clear && clear->kind == YAML_SCALAR)
        g.clear = str_is(clear->text, "topics") ? CLEAR_TOPICS : str_is(clear->text, "offsets") ? CLEAR_OFFSETS : CLEAR_NOTHING;
    c->to_clear += (g.clear != CLEAR_NOTHING) - (size_t)(old.clear != CLEAR_NOTHING);
    c->publish_pending |= g.clear != old.clear;
    map_put_str(&c->gone, key, gone_pack(g));
}

void gone_put_each(const struct control *c, void (*put)(void *ctx, const struct change *ch), void *ctx)
{
    struct bytes key;
    void *p;

    for (size_t at = 0; map_next(&c->gone, &at, &key, &p);) {
        AUTO(arena_fini) struct arena a = {0};
        struct change ch = gone_change(&a, bytes_str(key), gone_unpack(p));

        put(ctx, &ch);
    }
}

void control_record(struct control *c, struct str key, struct str value, bool gone, int64_t offset,
                    int64_t timestamp_ms)
{
    struct resource *r = NULL, *old;
    struct err e = {0};

    if (str_starts(key, STR(GONE_PREFIX))) {
        size_t n = sizeof GONE_PREFIX - 1;

        if (!gone) gone_read(c, (struct str){key.p + n, key.n - n}, value);
        return;
    }
    if (!gone && envelope_read(c, value, &r, &e)) {
        diag(DIAG_WARN, "control.record_left_alone", KV_STR("key", key), KV_I64("offset", offset),
             KV_CSTR("why", e.text));
        if (overtaken(c, key, &e)) return;
        r = unusable(key, value, &e);
    }
    if (r) {
        AUTO(arena_fini) struct arena a = {0};
        if (!r->why_not.n && !str_eq(record_key(&a, r->kind, r->name), key)) {
            diag(DIAG_WARN, "control.record_left_alone", KV_STR("key", key),
                 KV_I64("offset", offset), KV_CSTR("why", "it holds another resource"));
            resource_free(r);
            return;
        }
        r->offset = offset;
        r->updated_ms = timestamp_ms;
        if (!r->created_ms) r->created_ms = timestamp_ms;
        old = map_put_str(&c->by_key, key, r);
    } else {
        old = map_del_str(&c->by_key, key);
    }
    if (c->state == CONTROL_RUNNING && (r || old))
        diag(DIAG_INFO, r ? "control.applied" : "control.deleted", KV_STR("resource", key),
             KV_U64("version", r ? r->version : old->version), KV_I64("offset", offset));
    resource_free(old);
    c->publish_pending = true;
}
