/* control/snapshot.c - resources become what flows run: models find their servers, definitions are copied.
 *
 * Everything is copied into the snapshot's arena, so that it outlives the resources it was made of.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "control/resource.h"

struct placing {
    struct arena *a;
    const struct resource **servers;
    size_t servers_n;
};

static struct str dup(struct arena *a, struct str s)
{
    return s.n ? arena_dup_str(a, s) : STR("");
}

static bool offers(const struct resource *server, struct str what)
{
    for (size_t i = 0; i < server->server.capabilities_n; i++)
        if (str_eq(server->server.capabilities[i], what)) return true;
    return false;
}

static const struct resource *server_find(const struct placing *p, const struct resource_model *m)
{
    for (size_t i = 0; i < p->servers_n; i++) {
        const struct resource *s = p->servers[i];
        bool fits = true;
        if (m->server.n) {
            if (str_eq(s->name, m->server)) return s;
            continue;
        }
        for (size_t k = 0; k < m->requirements_n && fits; k++)
            fits = offers(s, m->requirements[k]);
        if (fits) return s;
    }
    return NULL;
}

static bool is_builtin(const struct resource_model *m)
{
    return !m->server.n && m->requirements_n == 1 && str_is(m->requirements[0], "xgboost");
}

/* The path of a storageUri on this machine; false with the reason when it is somewhere else. */
static bool local_path(const struct placing *p, const struct resource_model *m, struct str *ret,
                       struct str *ret_why)
{
    struct str uri = m->storage_uri;

    if (!uri.n) {
        *ret_why =
            STR("spec.storageUri is missing: the built-in runtime needs a local file or folder");
        return false;
    }
    if (str_starts(uri, STR("file://"))) uri = (struct str){uri.p + 7, uri.n - 7};
    if (!uri.n || uri.p[0] != '/') {
        *ret_why = arena_printf(p->a,
                                "spec.storageUri " STR_FMT
                                ": the built-in runtime reads absolute paths of this machine only",
                                STR_ARG(m->storage_uri));
        return false;
    }
    *ret = m->artifact_version
               ? arena_printf(p->a, STR_FMT "/%u", STR_ARG(uri), m->artifact_version)
               : dup(p->a, uri);
    return true;
}

static struct str why_unplaced(const struct placing *p, const struct resource_model *m)
{
    AUTO(buf_fini) struct buf list = {0};

    if (m->server.n)
        return arena_printf(p->a, "Server " STR_FMT ", which the model names, is not there",
                            STR_ARG(m->server));
    if (!p->servers_n)
        return STR("there is no Server: apply one with its address and capabilities");
    for (size_t i = 0; i < m->requirements_n; i++)
        buf_printf(&list, "%s" STR_FMT, i ? ", " : "", STR_ARG(m->requirements[i]));
    return arena_printf(p->a, "no Server offers all that the model requires: " STR_FMT,
                        STR_ARG(buf_str(&list)));
}

static void model_place(const struct placing *p, const struct resource_model *m,
                        struct flow_model_def *def)
{
    const struct resource *s = server_find(p, m);

    def->target.model = m->served_name.n ? dup(p->a, m->served_name) : def->name;
    def->target.version = dup(p->a, m->version);
    if (s) {
        bool grpc = s->server.address.n != 0;
        def->target.kind = grpc ? UPSTREAM_GRPC : UPSTREAM_REST;
        def->target.address = dup(p->a, grpc ? s->server.address : s->server.rest_address);
        def->placed = true;
    } else if (is_builtin(m)) {
        def->target.kind = UPSTREAM_XGBOOST;
        def->placed = local_path(p, m, &def->target.path, &def->why);
    } else {
        def->why = why_unplaced(p, m);
    }
}

static struct flow_model_def *model_copy(const struct placing *p, const struct resource *r,
                                         enum flow_record record)
{
    struct flow_model_def *def = arena_new(p->a, struct flow_model_def);

    def->name = dup(p->a, r->name);
    def->version = r->version;
    def->clean_topics_on_delete = r->model.clean_topics_on_delete;
    def->retention_ms = r->model.retention_ms;
    def->record = r->model.has_record ? r->model.record : record;
    model_place(p, &r->model, def);
    return def;
}

/* ---- pipelines ---- */

static struct flow_ref *refs_copy(struct arena *a, const struct flow_ref *from, size_t n)
{
    struct flow_ref *to = n ? arena_array(a, struct flow_ref, n) : NULL;
    for (size_t i = 0; i < n; i++)
        to[i] = (struct flow_ref){dup(a, from[i].step), from[i].inputs, dup(a, from[i].tensor)};
    return to;
}

static struct flow_rename *renames_copy(struct arena *a, const struct flow_rename *from, size_t n)
{
    struct flow_rename *to = n ? arena_array(a, struct flow_rename, n) : NULL;
    for (size_t i = 0; i < n; i++)
        to[i] = (struct flow_rename){dup(a, from[i].source), from[i].inputs, dup(a, from[i].tensor),
                                     dup(a, from[i].name)};
    return to;
}

static struct flow_external *externals_copy(struct arena *a, const struct flow_external *from,
                                            size_t n)
{
    struct flow_external *to = n ? arena_array(a, struct flow_external, n) : NULL;
    for (size_t i = 0; i < n; i++)
        to[i] = (struct flow_external){dup(a, from[i].pipeline), dup(a, from[i].step),
                                       from[i].inputs, dup(a, from[i].tensor)};
    return to;
}

static struct flow_external_rename *external_renames_copy(struct arena *a, const struct flow_external_rename *from, size_t n)
{
    struct flow_external_rename *to = n ? arena_array(a, struct flow_external_rename, n) : NULL;

    for (size_t i = 0; i < n; i++) {
        const struct flow_external *x = &from[i].from;

        to[i] = (struct flow_external_rename){{dup(a, x->pipeline), dup(a, x->step), x->inputs, dup(a, x->tensor)},
                                              dup(a, from[i].name)};
    }
    return to;
}

static void step_copy(struct arena *a, const struct flow_step_def *from, struct flow_step_def *to)
{
    *to = *from;
    to->name = dup(a, from->name);
    to->inputs = refs_copy(a, from->inputs, from->inputs_n);
    to->triggers = refs_copy(a, from->triggers, from->triggers_n);
    to->renames = renames_copy(a, from->renames, from->renames_n);
}

static struct flow_pipeline_def *pipeline_copy(struct arena *a, const struct resource *r,
                                               enum flow_record record)
{
    const struct flow_pipeline_def *from = &r->pipeline.def;
    struct flow_pipeline_def *to = arena_new(a, struct flow_pipeline_def);

    *to = *from;
    to->name = dup(a, r->name);
    to->version = r->version;
    to->resource_offset = r->offset;
    to->record = r->pipeline.has_record ? from->record : record;
    to->seldon_uid = dup(a, from->seldon_uid);
    to->steps = arena_array(a, struct flow_step_def, from->steps_n);
    for (size_t i = 0; i < from->steps_n; i++)
        step_copy(a, &from->steps[i], &to->steps[i]);
    to->output = refs_copy(a, from->output, from->output_n);
    to->output_renames = renames_copy(a, from->output_renames, from->output_renames_n);
    to->external_inputs = externals_copy(a, from->external_inputs, from->external_inputs_n);
    to->external_renames = external_renames_copy(a, from->external_renames, from->external_renames_n);
    to->external_triggers = externals_copy(a, from->external_triggers, from->external_triggers_n);
    return to;
}

static int by_name(const void *a, const void *b)
{
    return str_cmp((*(const struct resource *const *)a)->name,
                   (*(const struct resource *const *)b)->name);
}

/* What runs were admitted on that a crash may have left unfinished. */
static void older_copy(struct flow_snapshot *s, const struct resource *r, enum flow_record record)
{
    for (size_t i = 0; i < r->older_n; i++)
        s->older[s->older_n++] = pipeline_copy(&s->arena, r->older[i], record);
}

struct flow_snapshot *snapshot_of(struct resource *const *list, size_t n, enum flow_record record,
                                  uint64_t number)
{
    struct flow_snapshot *s = flow_snapshot_new();
    size_t older = 0;
    struct placing p = {.a = &s->arena, .servers = xnew_array(const struct resource *, n + 1)};

    s->number = number;
    s->models = arena_array(&s->arena, struct flow_model_def *, n + 1);
    s->pipelines = arena_array(&s->arena, struct flow_pipeline_def *, n + 1);
    s->experiments = arena_array(&s->arena, struct flow_experiment *, n + 1);
    for (size_t i = 0; i < n; i++)
        older += list[i]->older_n;
    s->older = arena_array(&s->arena, struct flow_pipeline_def *, older + 1);
    for (size_t i = 0; i < n; i++)
        if (list[i]->kind == RESOURCE_SERVER && !list[i]->why_not.n)
            p.servers[p.servers_n++] = list[i];
    qsort(p.servers, p.servers_n, sizeof *p.servers, by_name);
    for (size_t i = 0; i < n; i++) {
        if (list[i]->why_not.n) continue;
        if (list[i]->kind == RESOURCE_MODEL)
            s->models[s->models_n++] = model_copy(&p, list[i], record);
        if (list[i]->kind == RESOURCE_EXPERIMENT) {
            struct flow_experiment *x = arena_new(p.a, struct flow_experiment);

            experiment_copy(p.a, &list[i]->experiment.def, list[i]->name, x);
            s->experiments[s->experiments_n++] = x;
        }
        if (list[i]->kind == RESOURCE_PIPELINE) {
            s->pipelines[s->pipelines_n++] = pipeline_copy(p.a, list[i], record);
            older_copy(s, list[i], record);
        }
    }
    free(p.servers);
    flow_snapshot_seal(s);
    return s;
}
