/* control/apply.c - apply and delete: check everything, write all records in one append, wait for them to come back.
 *
 * Nothing is written when anything is wrong. What is declared exactly as it is stored already is left as it is and keeps
 * its version. SPDX-License-Identifier: Apache-2.0 */
#include "control/core.h"
#include "flow/graph.h"
#include "oip/json.h"
#include <inttypes.h>

struct str record_key(struct arena *a, enum resource_kind kind, struct str name)
{
    return arena_printf(a, "%s/" STR_FMT, resource_kind_name(kind), STR_ARG(name));
}

static struct resource *current(const struct control *c, struct str key)
{
    return map_get_str(&c->by_key, key);
}

static void mutation_free(struct mutation *m)
{
    buf_fini(&m->answer);
    arena_fini(&m->arena);
    free(m);
}

/* ---- the append ---- */

static void appended(struct bus_op *op)
{
    struct control *c = container_of(op, struct control, append.op);
    struct mutation *m = c->mutation;

    c->appending = false;
    if (c->state == CONTROL_STOPPING) {
        control_settle(c);
        return;
    }
    if (op->err.rc) {
        m->call->err = op->err;
        if (op->err.rc == RC_TIMEOUT)
            err_in(&m->call->err, "whether the change was stored is not known");
        else
            err_in(&m->call->err, "not stored");
        control_answer(c, m->call);
        mutation_free(m);
        c->mutation = NULL;
        control_advance(c);
        return;
    }
    m->offset_last = c->append.offset + (int64_t)m->changes_n - 1;
    control_pump(c);
}

static void append(struct control *c, struct mutation *m)
{
    m->records = arena_array(&m->arena, struct bus_record, m->changes_n);
    for (size_t i = 0; i < m->changes_n; i++) {
        const struct change *ch = &m->changes[i];
        m->records[i] =
            (struct bus_record){.timestamp_ms = clock_wall_ms(loop_clock(c->o.loop)),
                                .key = str_bytes(ch->key),
                                .value = ch->gone ? (struct bytes){0} : str_bytes(ch->value)};
    }
    c->mutation = m;
    c->appending = true;
    c->append = (struct bus_append){.op = {.reply_to = loop_mailbox(c->o.loop),
                                           .done = appended,
                                           .deadline_ms = m->call->deadline_ms},
                                    .topic = c->topic,
                                    .partition = 0,
                                    .durability = BUS_DISK};
    bus_append(c->o.bus, &c->append, m->records, m->changes_n);
}

static void store(struct control *c, struct mutation *m)
{
    if (!m->changes_n) { /* everything is as it was */
        m->call->json = buf_take(&m->answer);
        control_answer(c, m->call);
        mutation_free(m);
    } else if (c->o.store_file) {
        c->mutation = m;
        filestore_save(c, m);
    } else {
        append(c, m);
    }
}

/* ---- apply ---- */

struct applying {
    struct control *c;
    struct control_call *call;
    struct problems problems, warnings;
    struct resource **list;
    size_t n;
    struct mutation *m;
};

static void applying_fini(struct applying *a)
{
    resources_free(a->list, a->n);
    problems_fini(&a->problems);
    problems_fini(&a->warnings);
}

/* Is there a resource of that name, in what is applied or in what is there? */
static bool known(const struct applying *a, enum resource_kind kind, struct str name)
{
    AUTO(arena_fini) struct arena scratch = {0};

    for (size_t i = 0; i < a->n; i++)
        if (a->list[i]->kind == kind && str_eq(a->list[i]->name, name)) return true;
    return current(a->c, record_key(&scratch, kind, name)) != NULL;
}

static void warn_missing_models(struct applying *a, const struct resource *r)
{
    const struct flow_pipeline_def *def = &r->pipeline.def;

    for (size_t i = 0; i < def->steps_n; i++)
        if (!known(a, RESOURCE_MODEL, def->steps[i].name))
            problem_add(&a->warnings, STR(""), 0, 0,
                        "Pipeline " STR_FMT ": there is no Model " STR_FMT " yet", STR_ARG(r->name),
                        STR_ARG(def->steps[i].name));
}

/* The resources as they would be: what is there, with what is applied in its place. */
static struct flow_snapshot *as_applied(const struct applying *a)
{
    struct map all = {0};
    AUTO(arena_fini) struct arena scratch = {0};
    struct resource **list = xnew_array(struct resource *, a->c->by_key.n + a->n + 1);
    struct flow_snapshot *s;
    struct bytes key;
    void *r;
    size_t n = 0;

    for (size_t at = 0; map_next(&a->c->by_key, &at, &key, &r);)
        map_put(&all, key, r);
    for (size_t i = 0; i < a->n; i++)
        map_put_str(&all, record_key(&scratch, a->list[i]->kind, a->list[i]->name), a->list[i]);
    for (size_t at = 0; map_next(&all, &at, NULL, &r);)
        list[n++] = r;
    s = snapshot_of(list, n, a->c->o.record, 0);
    map_fini(&all);
    free(list);
    return s;
}

/* Models that cannot be called as things stand, pipelines that read each other. What is missing may come later, so that
 * is a warning. */
static void check_as_applied(struct applying *a)
{
    struct flow_snapshot *s = as_applied(a);
    struct err e;

    for (size_t i = 0; i < a->n; i++) {
        const struct flow_model_def *m = a->list[i]->kind == RESOURCE_MODEL
                                             ? map_get_str(&s->model_by_name, a->list[i]->name)
                                             : NULL;
        if (a->list[i]->kind == RESOURCE_EXPERIMENT) experiment_check(s, a->list[i]->name, &a->problems, &a->warnings);
        if (a->list[i]->kind == RESOURCE_PIPELINE) between_check(s, a->list[i]->name, &a->problems, &a->warnings);
        if (m && !m->placed)
            problem_add(&a->warnings, STR(""), 0, 0, "Model " STR_FMT ": " STR_FMT,
                        STR_ARG(m->name), STR_ARG(m->why));
        else if (m && upstream_look(&m->target, &e))
            problem_add(&a->warnings, STR(""), 0, 0, "Model " STR_FMT ": %s", STR_ARG(m->name),
                        e.text);
    }
    flow_snapshot_unref(&s);
}

static void result(struct buf *b, bool first, const struct resource *r, uint32_t version,
                   const char *action)
{
    buf_printf(
        b, "%s{\"kind\":\"%s\",\"name\":\"" STR_FMT "\",\"version\":%" PRIu32 ",\"action\":\"%s\"}",
        first ? "" : ",", resource_kind_name(r->kind), STR_ARG(r->name), version, action);
}

/* Records and answer of everything that was declared. */
static void changes_make(struct applying *a)
{
    struct mutation *m = a->m;
    int64_t now_ms = clock_wall_ms(loop_clock(a->c->o.loop));

    m->changes = arena_array(&m->arena, struct change, a->n + 1);
    buf_append_str(&m->answer, STR("{\"results\":["));
    for (size_t i = 0; i < a->n; i++) {
        const struct resource *r = a->list[i];
        struct str key = record_key(&m->arena, r->kind, r->name);
        const struct resource *old = current(a->c, key);
        uint32_t version = (old ? old->version : gone_get(a->c, key).version) + 1;
        if (old && !old->overtaken.n && str_eq(old->json, r->json)) {
            result(&m->answer, i == 0, r, old->version, "unchanged");
            continue;
        }
        struct str value = envelope_next(&m->arena, a->c, r, old, version, now_ms);
        if (old && (old->overtaken.n || (old->why_not.n && old->version == 0)))
            problem_add(&a->problems, STR(""), 0, 0,
                        "%s " STR_FMT
                        " is stored already, but this version does not understand it (" STR_FMT
                        "); delete it first, or use the newer version",
                        resource_kind_name(r->kind), STR_ARG(r->name), STR_ARG(old->overtaken.n ? old->overtaken : old->why_not));
        if (value.n > a->c->o.message_bytes_max)
            problem_add(&a->problems, STR(""), 0, 0,
                        "%s " STR_FMT " takes %zu bytes; a record may have %zu",
                        resource_kind_name(r->kind), STR_ARG(r->name), value.n,
                        a->c->o.message_bytes_max);
        m->changes[m->changes_n++] = (struct change){.key = key, .value = value};
        result(&m->answer, i == 0, r, version, old ? "updated" : "created");
    }
    buf_append_str(&m->answer, STR("],\"warnings\":"));
    problems_json(&a->warnings, &m->answer);
    buf_append_byte(&m->answer, '}');
}

static void refuse_with_problems(struct applying *a)
{
    const struct problems *p = &a->problems;

    err_set(&a->call->err, RC_INVALID, "nothing was applied: %zu problem%s", p->n + p->left_out,
            p->n + p->left_out == 1 ? "" : "s");
    problems_json(p, &a->call->json);
    control_answer(a->c, a->call);
}

static void apply(struct control *c, struct control_call *call)
{
    struct applying a = {.c = c, .call = call};
    struct resource_input in = {.text = call->text,
                                .topic_prefix = c->o.topic_prefix,
                                .topic_namespace = c->o.topic_namespace,
                                .problems = &a.problems,
                                .warnings = &a.warnings};

    if (resources_parse(&in, &a.list, &a.n) && a.n == 0)
        problem_add(&a.problems, STR(""), 0, 0, "there is no resource in it");
    if (c->by_key.n + a.n > RESOURCES_MAX)
        problem_add(&a.problems, STR(""), 0, 0,
                    "%zu resources are there, %zu more are too many: at most %d", c->by_key.n, a.n,
                    RESOURCES_MAX);
    if (!a.problems.n) {
        for (size_t i = 0; i < a.n; i++)
            if (a.list[i]->kind == RESOURCE_PIPELINE) warn_missing_models(&a, a.list[i]);
        check_as_applied(&a);
        a.m = xnew(struct mutation);
        a.m->call = call;
        a.m->offset_last = -1;
        changes_make(&a);
    }
    if (a.problems.n) {
        refuse_with_problems(&a);
        if (a.m) mutation_free(a.m);
    } else {
        if (call->what == CONTROL_CHECK) a.m->changes_n = 0;
        store(c, a.m);
    }
    applying_fini(&a);
}

/* ---- delete ---- */

static size_t used_by(const struct control *c, struct str model, struct buf *ret_names)
{
    size_t at = 0, n = 0;
    void *value;

    while (map_next(&c->by_key, &at, NULL, &value)) {
        const struct resource *r = value;
        if (r->kind != RESOURCE_PIPELINE || r->why_not.n ||
            graph_step_index(&r->pipeline.def, model) < 0)
            continue;
        buf_printf(ret_names, "%s" STR_FMT, n++ ? ", " : "", STR_ARG(r->name));
    }
    return n;
}

/* The models that have a place now and would have none without this Server. */
static size_t served_by(const struct control *c, const struct resource *server,
                        struct buf *ret_names)
{
    size_t n, kept = 0, found = 0;
    struct resource **list = control_sorted(c, &n);
    struct flow_snapshot *s;

    for (size_t i = 0; i < n; i++)
        if (list[i] != server) list[kept++] = list[i];
    s = snapshot_of(list, kept, c->o.record, 0);
    for (size_t i = 0; i < kept; i++) {
        const struct flow_model_def *before, *after;
        if (list[i]->kind != RESOURCE_MODEL) continue;
        before = map_get_str(&c->snapshot->model_by_name, list[i]->name);
        after = map_get_str(&s->model_by_name, list[i]->name);
        if (before && before->placed && (!after || !after->placed))
            buf_printf(ret_names, "%s" STR_FMT, found++ ? ", " : "", STR_ARG(list[i]->name));
    }
    flow_snapshot_unref(&s);
    free(list);
    return found;
}

/* Who would stop working? Says it as a warning with force, and as the refusal without. */
static bool delete_hurts(struct control *c, struct control_call *call, const struct resource *r,
                         struct problems *warnings)
{
    AUTO(buf_fini) struct buf names = {0};
    bool server = r->kind == RESOURCE_SERVER;
    size_t n = server                      ? served_by(c, r, &names)
               : r->kind == RESOURCE_MODEL ? used_by(c, call->name, &names)
                                           : 0;

    if (!n) return false;
    if (call->force) {
        problem_add(warnings, STR(""), 0, 0,
                    server ? "it serves " STR_FMT : "it is a step of " STR_FMT,
                    STR_ARG(buf_str(&names)));
        return false;
    }
    control_refuse(c, call, RC_EXISTS,
                   "%s " STR_FMT " %s " STR_FMT
                   "; delete what needs it first, or force it (--force, ?force=true)",
                   resource_kind_name(r->kind), STR_ARG(call->name),
                   server ? "serves" : "is a step of", STR_ARG(buf_str(&names)));
    return true;
}

/* What its executor leaves in the log. */
static enum gone_clear clear_of(const struct resource *r)
{
    switch (r->kind) {
    case RESOURCE_MODEL: return !r->why_not.n && r->model.clean_topics_on_delete ? CLEAR_TOPICS : CLEAR_OFFSETS;
    case RESOURCE_PIPELINE: return !r->why_not.n && r->pipeline.def.clean_topics_on_delete ? CLEAR_TOPICS : CLEAR_OFFSETS;
    case RESOURCE_SERVER:
    case RESOURCE_EXPERIMENT:
    case RESOURCE_KINDS: break;
    }
    return CLEAR_NOTHING;
}

static void delete (struct control *c, struct control_call *call)
{
    AUTO(problems_fini) struct problems warnings = {0};
    const struct resource *old;
    enum resource_kind kind;
    struct mutation *m;
    struct str key;

    if (!control_kind(c, call, &kind)) return;
    m = xnew(struct mutation);
    m->call = call;
    m->offset_last = -1;
    key = record_key(&m->arena, kind, call->name);
    old = current(c, key);
    if (!old) {
        control_refuse(c, call, RC_NOT_FOUND, "%s " STR_FMT " does not exist",
                       resource_kind_name(kind), STR_ARG(call->name));
        mutation_free(m);
        return;
    }
    if (delete_hurts(c, call, old, &warnings)) {
        mutation_free(m);
        return;
    }
    m->changes = arena_array(&m->arena, struct change, 2);
    m->changes[m->changes_n++] = (struct change){.key = key, .gone = true};
    if (old->version) m->changes[m->changes_n++] = gone_change(&m->arena, key, (struct gone){old->version, clear_of(old)});
    buf_printf(&m->answer, "{\"results\":[{\"kind\":\"%s\",\"name\":", resource_kind_name(kind));
    json_put_str(&m->answer, call->name);
    buf_append_str(&m->answer, STR(",\"action\":\"deleted\"}],\"warnings\":"));
    problems_json(&warnings, &m->answer);
    buf_append_byte(&m->answer, '}');
    store(c, m);
}

static void cleared(struct control *c, struct control_call *call)
{
    struct mutation *m = xnew(struct mutation);
    struct str key = arena_printf(&m->arena, STR_FMT "/" STR_FMT, STR_ARG(call->kind), STR_ARG(call->name));
    struct gone g = gone_get(c, key);

    m->call = call;
    m->offset_last = -1;
    m->changes = arena_array(&m->arena, struct change, 1);
    if (g.clear != CLEAR_NOTHING) {
        g.clear = CLEAR_NOTHING;
        m->changes[m->changes_n++] = gone_change(&m->arena, key, g);
    }
    store(c, m);
}

void control_mutate(struct control *c, struct control_call *call)
{
    if (call->what == CONTROL_CLEARED) {
        cleared(c, call);
        return;
    }
    if (call->what == CONTROL_DELETE)
        delete (c, call);
    else
        apply(c, call);
}
