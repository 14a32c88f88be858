/* control/list.c - what there is, as JSON. SPDX-License-Identifier: Apache-2.0 */
#include "control/core.h"
#include "bus/trouble.h"
#include "oip/json.h"
#include <inttypes.h>

static int by_kind_and_name(const void *a, const void *b)
{
    const struct resource *x = *(const struct resource *const *)a,
                          *y = *(const struct resource *const *)b;
    return x->kind != y->kind ? (x->kind < y->kind ? -1 : 1) : str_cmp(x->name, y->name);
}

struct resource **control_sorted(const struct control *c, size_t *ret_n)
{
    struct resource **list = xnew_array(struct resource *, c->by_key.n + 1);
    size_t at = 0, n = 0;
    void *r;

    while (map_next(&c->by_key, &at, NULL, &r))
        list[n++] = r;
    qsort(list, n, sizeof *list, by_kind_and_name);
    *ret_n = n;
    return list;
}

static void put_ref(const struct flow_pipeline_def *def, const struct flow_ref *r, struct buf *b)
{
    struct str from = r->step.n ? r->step : def->name;
    buf_printf(b, "\"" STR_FMT ".%s", STR_ARG(from), r->inputs ? "inputs" : "outputs");
    if (r->tensor.n) {
        AUTO(buf_fini) struct buf tensor = {0};
        json_put_str(&tensor, r->tensor);
        buf_append_byte(b, '.');
        buf_append_str(b, (struct str){(const char *)tensor.p + 1, tensor.n - 2});
    }
    buf_append_byte(b, '"');
}

static void put_refs(const struct flow_pipeline_def *def, const char *key,
                     const struct flow_ref *refs, size_t n, struct buf *b)
{
    buf_printf(b, ",\"%s\":[", key);
    for (size_t i = 0; i < n; i++) {
        if (i) buf_append_byte(b, ',');
        put_ref(def, &refs[i], b);
    }
    buf_append_byte(b, ']');
}

/* Steps with their references in full. */
static void put_pipeline(const struct flow_pipeline_def *def, struct buf *b)
{
    static const struct flow_ref own = {.step = {"", 0}, .inputs = true, .tensor = {"", 0}};

    buf_append_str(b, STR(",\"steps\":["));
    for (size_t i = 0; i < def->steps_n; i++) {
        const struct flow_step_def *s = &def->steps[i];
        buf_printf(b, "%s{\"name\":\"" STR_FMT "\"", i ? "," : "", STR_ARG(s->name));
        put_refs(def, "inputs", s->inputs_n ? s->inputs : &own, s->inputs_n ? s->inputs_n : 1, b);
        if (s->triggers_n) put_refs(def, "triggers", s->triggers, s->triggers_n, b);
        buf_append_byte(b, '}');
    }
    buf_append_byte(b, ']');
    if (def->has_output) put_refs(def, "output", def->output, def->output_n, b);
}

static void put_model(const struct flow_model_def *m, struct buf *b)
{
    static const char *const kinds[] = {[UPSTREAM_GRPC] = "grpc",
                                        [UPSTREAM_REST] = "rest",
                                        [UPSTREAM_XGBOOST] = "built-in xgboost"};

    if (!m) return;
    buf_printf(b, ",\"placed\":%s", m->placed ? "true" : "false");
    if (!m->placed) {
        buf_append_str(b, STR(",\"why\":"));
        json_put_str(b, m->why);
        return;
    }
    buf_printf(b, ",\"target\":{\"kind\":\"%s\",\"%s\":", kinds[m->target.kind],
               m->target.kind == UPSTREAM_XGBOOST ? "path" : "address");
    json_put_str(b, m->target.kind == UPSTREAM_XGBOOST ? m->target.path : m->target.address);
    buf_append_str(b, STR(",\"model\":"));
    json_put_str(b, m->target.model);
    if (m->target.version.n) {
        buf_append_str(b, STR(",\"version\":"));
        json_put_str(b, m->target.version);
    }
    buf_append_byte(b, '}');
}

static void put_texts(const char *key, const struct str *list, size_t n, struct buf *b)
{
    buf_printf(b, ",\"%s\":[", key);
    for (size_t i = 0; i < n; i++) {
        if (i) buf_append_byte(b, ',');
        json_put_str(b, list[i]);
    }
    buf_append_byte(b, ']');
}

static void put_server(const struct resource_server *s, struct buf *b)
{
    buf_append_str(b, STR(",\"address\":"));
    json_put_str(b, s->address);
    buf_append_str(b, STR(",\"restAddress\":"));
    json_put_str(b, s->rest_address);
    put_texts("capabilities", s->capabilities, s->capabilities_n, b);
}

static void put_experiment(const struct flow_experiment *x, struct buf *b)
{
    buf_printf(b, ",\"resourceType\":\"%s\",\"candidates\":[", x->model ? "model" : "pipeline");
    for (size_t i = 0; i < x->candidates_n; i++)
        buf_printf(b, "%s{\"name\":\"" STR_FMT "\",\"share\":%.4g}", i ? "," : "", STR_ARG(x->candidates[i].name),
                   (double)x->candidates[i].weight / (double)x->total);
    buf_append_byte(b, ']');
    if (x->default_name.n) buf_printf(b, ",\"default\":\"" STR_FMT "\"", STR_ARG(x->default_name));
    if (x->mirror.n)
        buf_printf(b, ",\"mirror\":{\"name\":\"" STR_FMT "\",\"percent\":%u}", STR_ARG(x->mirror), x->mirror_percent);
}

static void item_make(struct control_item *item, const struct resource *r,
                      const struct flow_snapshot *s)
{
    struct buf *b = &item->json;

    item->kind = r->kind;
    item->usable = !r->why_not.n;
    buf_printf(b, "{\"kind\":\"%s\",\"name\":", resource_kind_name(r->kind));
    json_put_str(b, r->name);
    item->name = r->name;
    buf_printf(b,
               ",\"version\":%" PRIu32 ",\"offset\":%" PRId64 ",\"createdMs\":%" PRId64
               ",\"updatedMs\":%" PRId64,
               r->version, r->offset, r->created_ms, r->updated_ms);
    if (r->why_not.n) {
        buf_append_str(b, STR(",\"problem\":"));
        json_put_str(b, r->why_not);
        return;
    }
    if (r->overtaken.n) {
        buf_append_str(b, STR(",\"overtaken\":"));
        json_put_str(b, r->overtaken);
    }
    switch (r->kind) {
    case RESOURCE_SERVER:
        item->rest = !r->server.address.n;
        item->address = item->rest ? r->server.rest_address : r->server.address;
        put_server(&r->server, b);
        break;
    case RESOURCE_MODEL:
        put_texts("requirements", r->model.requirements, r->model.requirements_n, b);
        put_model(map_get_str(&s->model_by_name, r->name), b);
        break;
    case RESOURCE_PIPELINE: put_pipeline(&r->pipeline.def, b); break;
    case RESOURCE_EXPERIMENT:
        item->rest = r->experiment.def.model;
        item->address = r->experiment.def.default_name.n ? r->experiment.def.default_name : r->experiment.def.candidates[0].name;
        put_experiment(&r->experiment.def, b);
        break;
    case RESOURCE_KINDS: break;
    }
    buf_append_str(b, STR(",\"resource\":"));
    buf_append_str(b, r->json);
}

/* The items' names and addresses lie one after the other in call->json, which is not needed otherwise. */
static void answer_items(struct control *c, struct control_call *call, struct resource *const *list,
                         size_t n)
{
    call->items = xnew_array(struct control_item, n + 1);
    call->items_n = n;
    for (size_t i = 0; i < n; i++) {
        item_make(&call->items[i], list[i], c->snapshot);
        buf_append_str(&call->json, call->items[i].name);
        buf_append_str(&call->json, call->items[i].address);
    }
    for (size_t i = 0, at = 0; i < n; i++) {
        struct control_item *item = &call->items[i];
        item->name.p = (const char *)call->json.p + at;
        item->address.p = item->name.p + item->name.n;
        at += item->name.n + item->address.n;
    }
    control_answer(c, call);
}

bool control_kind(struct control *c, struct control_call *call, enum resource_kind *ret)
{
    AUTO(buf_fini) struct buf why = {0};

    if (resource_kind_of(call->kind, ret)) return true;
    resource_kind_unknown(call->kind, &why);
    control_refuse(c, call, RC_NOT_FOUND, STR_FMT, STR_ARG(buf_str(&why)));
    return false;
}

void control_list(struct control *c, struct control_call *call)
{
    enum resource_kind kind = RESOURCE_KINDS;
    struct resource **all, **some;
    size_t n, kept = 0;

    if (call->kind.n && !control_kind(c, call, &kind)) return;
    all = control_sorted(c, &n);
    some = xnew_array(struct resource *, n + 1);
    for (size_t i = 0; i < n; i++)
        if (kind == RESOURCE_KINDS || all[i]->kind == kind) some[kept++] = all[i];
    answer_items(c, call, some, kept);
    free(some);
    free(all);
}

void control_get(struct control *c, struct control_call *call)
{
    AUTO(arena_fini) struct arena scratch = {0};
    enum resource_kind kind;
    struct resource *r;

    if (!control_kind(c, call, &kind)) return;
    r = map_get_str(&c->by_key, record_key(&scratch, kind, call->name));
    if (!r) {
        control_refuse(c, call, RC_NOT_FOUND, "%s " STR_FMT " does not exist",
                       resource_kind_name(kind), STR_ARG(call->name));
        return;
    }
    answer_items(c, call, &r, 1);
}

/* What this process met of bus/trouble.h. */
static void put_troubles(struct buf *b)
{
    struct trouble now = {0}, t;
    bool lasts = trouble_now(&now), any = false;
    uint64_t ago_ms;

    buf_append_str(b, STR(",\"troubles\":["));
    for (int k = TROUBLE_NONE + 1; k < TROUBLE_KINDS; k++) {
        if (!trouble_last((enum trouble_kind)k, &t, &ago_ms)) continue;
        buf_append_str(b, any ? STR(",{\"trouble\":") : STR("{\"trouble\":"));
        any = true;
        json_put_str(b, str_of(trouble_name(t.kind)));
        buf_append_str(b, STR(",\"error\":"));
        json_put_str(b, str_of(trouble_sentence(t.kind)));
        buf_append_str(b, STR(",\"cause\":"));
        json_put_str(b, str_of(t.cause));
        buf_append_str(b, STR(",\"remedy\":"));
        json_put_str(b, str_of(t.remedy));
        buf_printf(b, ",\"times\":%" PRIu64 ",\"agoMs\":%" PRIu64 ",\"lasts\":%s}", trouble_count(t.kind), ago_ms, lasts && now.kind == t.kind ? "true" : "false");
    }
    buf_append_byte(b, ']');
}

void control_info(struct control *c, struct control_call *call)
{
    struct str why;
    bool ready = control_ready(c, &why);
    struct buf *b = &call->json;

    buf_append_str(b, STR("{\"namespace\":"));
    json_put_str(b, c->o.topic_namespace);
    buf_append_str(b, STR(",\"topicPrefix\":"));
    json_put_str(b, c->o.topic_prefix);
    buf_append_str(b, STR(",\"clusterId\":"));
    json_put_str(b, str_of(bus_facts(c->o.bus)->cluster_id));
    buf_printf(b,
               ",\"embedded\":%s,\"idempotencyWindowMs\":%" PRIu64 ",\"store\":\"%s\",\"resources\":%zu,\"snapshot\":%" PRIu64
               ",\"ready\":%s",
               bus_facts(c->o.bus)->embedded ? "true" : "false", c->o.idempotency_window_ms, c->o.store_file ? "file" : "topic",
               c->by_key.n, c->number, ready ? "true" : "false");
    if (!ready) {
        buf_append_str(b, STR(",\"why\":"));
        json_put_str(b, why);
    }
    put_troubles(b);
    buf_append_byte(b, '}');
    control_answer(c, call);
}
