/* control/resource.c - documents, what all kinds have in common, Model and Server. (Pipeline: pipeline.c)
 *
 * A document is read field by field through a strict map reader (yaml.h), so that unknown fields, wrong kinds of values
 * and broken rules are all collected in one pass. Fields that only steer a Kubernetes installation are known, checked
 * where they have a rule, and have no effect. SPDX-License-Identifier: Apache-2.0
 */
#include "control/resource.h"
#include "base/map.h"
#include "base/nearest.h"
#include "control/read.h"
#include "net/addr.h"

static const struct {
    const char *kind, *plural, *brief;
} kinds[RESOURCE_KINDS] = {
    [RESOURCE_SERVER] = {"Server", "servers", "mls"},
    [RESOURCE_MODEL] = {"Model", "models", "mlm"},
    [RESOURCE_PIPELINE] = {"Pipeline", "pipelines", "mlp"},
    [RESOURCE_EXPERIMENT] = {"Experiment", "experiments", "mlx"},
};

enum { TOPIC_NAME_MAX = 249, DOCUMENTS_MAX = 20000 };

const char *resource_kind_name(enum resource_kind k)
{
    return kinds[k].kind;
}

bool resource_kind_of(struct str text, enum resource_kind *ret)
{
    for (int k = 0; k < RESOURCE_KINDS; k++) {
        if (str_eq_nocase(text, str_of(kinds[k].kind)) ||
            str_eq_nocase(text, str_of(kinds[k].plural)) || str_is(text, kinds[k].brief)) {
            *ret = (enum resource_kind)k;
            return true;
        }
    }
    return false;
}

void resource_kind_unknown(struct str text, struct buf *b)
{
    static const char *const singular[RESOURCE_KINDS] = {"server", "model", "pipeline", "experiment"};
    struct nearest meant;

    nearest_begin(&meant, text);
    for (int k = 0; k < RESOURCE_KINDS; k++) {
        nearest_offer(&meant, str_of(singular[k]));
        nearest_offer(&meant, str_of(kinds[k].plural));
    }
    buf_printf(b, "there is no kind \"" STR_FMT "\"", STR_ARG(text));
    if (meant.best.n) buf_printf(b, " (did you mean " STR_FMT "?)", STR_ARG(meant.best));
    buf_append_str(b, STR("; the kinds are server, model, pipeline and experiment"));
}

bool resource_name_valid(struct str name)
{
    for (size_t i = 0; i < name.n; i++) {
        char c = name.p[i];
        bool inner = i > 0 && i + 1 < name.n;
        if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || (c == '-' && inner)))
            return false;
    }
    return name.n > 0;
}

struct resource *resource_free(struct resource *r)
{
    if (!r) return NULL;
    resources_free(r->older, r->older_n);
    arena_fini(&r->arena);
    free(r);
    return NULL;
}

void resources_free(struct resource **list, size_t n)
{
    for (size_t i = 0; i < n; i++)
        resource_free(list[i]);
    free(list);
}

void warn_at(const struct reading *rd, const struct yaml_node *at, const char *fmt, ...)
{
    AUTO(buf_fini) struct buf text = {0};
    va_list ap;
    va_start(ap, fmt);
    buf_vprintf(&text, fmt, ap);
    va_end(ap);
    problem_add(rd->in->warnings, rd->in->file, at ? at->line : 0, at ? at->column : 0, STR_FMT,
                STR_ARG(buf_str(&text)));
}

/* ---- quantities ---- */

static bool quantity_factor(struct str suffix, int *ret_power, int64_t *ret_base)
{
    static const struct {
        const char *suffix;
        int power;
        int64_t base;
    } all[] = {{"", 0, 10},   {"n", -9, 10}, {"u", -6, 10}, {"m", -3, 10},
               {"k", 3, 10},  {"M", 6, 10},  {"G", 9, 10},  {"T", 12, 10},
               {"P", 15, 10}, {"E", 18, 10}, {"Ki", 10, 2}, {"Mi", 20, 2},
               {"Gi", 30, 2}, {"Ti", 40, 2}, {"Pi", 50, 2}, {"Ei", 60, 2}};
    int64_t exponent;

    for (size_t i = 0; i < countof(all); i++) {
        if (str_is(suffix, all[i].suffix)) {
            *ret_power = all[i].power;
            *ret_base = all[i].base;
            return true;
        }
    }
    if (suffix.n < 2 || (suffix.p[0] != 'e' && suffix.p[0] != 'E')) return false;
    if (!str_to_i64((struct str){suffix.p + 1, suffix.n - 1}, &exponent) || exponent < -30 ||
        exponent > 30)
        return false;
    *ret_power = (int)exponent;
    *ret_base = 10;
    return true;
}

bool quantity_bytes(struct str text, int64_t *ret)
{
    size_t i = 0, digits = 0;
    int decimals = 0, power;
    int64_t base;
    __int128 v = 0;
    bool minus = false;

    if (i < text.n && (text.p[i] == '+' || text.p[i] == '-')) minus = text.p[i++] == '-';
    for (bool point = false;
         i < text.n && ((text.p[i] >= '0' && text.p[i] <= '9') || (text.p[i] == '.' && !point));
         i++) {
        if (text.p[i] == '.') {
            point = true;
            continue;
        }
        if (++digits > 18) return false;
        v = v * 10 + (text.p[i] - '0');
        if (point) decimals++;
    }
    if (!digits || !quantity_factor((struct str){text.p + i, text.n - i}, &power, &base))
        return false;
    for (int k = 0; k < power; k++) {
        v *= base;
        if (v > (__int128)INT64_MAX * 1000000000) return false;
    }
    for (int k = 0; k < decimals - (power < 0 ? power : 0); k++) {
        if (v % 10) return false;
        v /= 10;
    }
    if (v > INT64_MAX) return false;
    *ret = minus ? -(int64_t)v : (int64_t)v;
    return true;
}

/* ---- what kinds share ---- */

enum flow_record record_read(struct yaml_map *dataflow, bool *ret_given)
{
    struct yaml_text t = yaml_map_text(dataflow, "record");

    *ret_given = t.at != NULL;
    if (!t.at || str_is(t.s, "all")) return FLOW_RECORD_ALL;
    if (str_is(t.s, "ends")) return FLOW_RECORD_ENDS;
    if (str_is(t.s, "errors")) return FLOW_RECORD_ERRORS;
    yaml_problem(dataflow, t.at, "record: all, ends or errors is wanted, not \"" STR_FMT "\"",
                 STR_ARG(t.s));
    return FLOW_RECORD_ALL;
}

static void replicas_read(struct yaml_map *spec)
{
    int64_t replicas = yaml_map_int(spec, "replicas", 0, INT32_MAX, -1);
    int64_t low = yaml_map_int(spec, "minReplicas", 0, INT32_MAX, 0),
            high = yaml_map_int(spec, "maxReplicas", 0, INT32_MAX, 0);
    const struct yaml_node *at = spec->node;

    if (replicas >= 0 && replicas < low)
        yaml_problem(spec, yaml_get(at, "replicas"),
                     "the scaling is contradictory: replicas %lld is less than minReplicas %lld",
                     (long long)replicas, (long long)low);
    if (high > 0 && low > high)
        yaml_problem(spec, yaml_get(at, "minReplicas"),
                     "the scaling is contradictory: minReplicas %lld is more than maxReplicas %lld",
                     (long long)low, (long long)high);
    if (high > 0 && replicas > high)
        yaml_problem(spec, yaml_get(at, "replicas"),
                     "the scaling is contradictory: replicas %lld is more than maxReplicas %lld",
                     (long long)replicas, (long long)high);
}

/* Texts that must not be empty and not be there twice, trimmed. */
static struct str *tags_read(const struct reading *rd, struct yaml_map *spec, const char *key,
                             size_t *ret_n)
{
    size_t n, kept = 0;
    struct yaml_text *texts = yaml_map_texts(spec, key, &n);
    struct str *tags = n ? arena_array(&rd->r->arena, struct str, n) : NULL;

    for (size_t i = 0; i < n; i++) {
        struct str s = texts[i].s;
        bool again = false;
        while (s.n && (s.p[0] == ' ' || s.p[0] == '\t'))
            s = (struct str){s.p + 1, s.n - 1};
        while (s.n && (s.p[s.n - 1] == ' ' || s.p[s.n - 1] == '\t'))
            s.n--;
        if (!s.n) yaml_problem(spec, texts[i].at, "%s[%zu] is empty", key, i);
        for (size_t k = 0; k < kept && !again; k++)
            again = str_eq(tags[k], s);
        if (again)
            warn_at(rd, texts[i].at, "%s: \"" STR_FMT "\" is there twice", key, STR_ARG(s));
        else
            tags[kept++] = s;
    }
    *ret_n = kept;
    return tags;
}

/* ---- Model ---- */

static void explainer_read(const struct reading *rd, struct yaml_map *spec)
{
    struct yaml_map explainer, llm;

    yaml_map_sub(spec, "explainer", &explainer);
    yaml_map_text(&explainer, "type");
    yaml_map_text(&explainer, "modelRef");
    yaml_map_text(&explainer, "pipelineRef");
    yaml_map_end(&explainer);
    yaml_map_sub(spec, "llm", &llm);
    yaml_map_text(&llm, "modelRef");
    yaml_map_text(&llm, "pipelineRef");
    yaml_map_end(&llm);
    if (explainer.node && llm.node)
        yaml_problem(spec, llm.node, "explainer and llm exclude each other");
    else if (explainer.node || llm.node)
        warn_at(rd, explainer.node ? explainer.node : llm.node,
                "%s has no effect here: configure it on the model server",
                explainer.node ? "explainer" : "llm");
}

static void parameters_read(struct yaml_map *spec)
{
    const struct yaml_node *list = yaml_map_list(spec, "parameters");

    for (size_t i = 0; list && i < list->n; i++) {
        struct yaml_map m;
        yaml_map_begin(&m, list->items[i], spec->file,
                       arena_printf(spec->arena, "spec.parameters[%zu]", i), spec->arena,
                       spec->problems);
        if (m.node && !yaml_map_text(&m, "name").s.n)
            yaml_problem(&m, NULL, "spec.parameters[%zu] has no name", i);
        if (m.node && !yaml_map_text(&m, "value").at)
            yaml_problem(&m, NULL, "spec.parameters[%zu] has no value", i);
        yaml_map_end(&m);
    }
}

static void model_read(const struct reading *rd, struct yaml_map *spec)
{
    struct resource_model *m = &rd->r->model;
    struct yaml_text memory, type;
    struct yaml_map logger, dataflow;
    int64_t bytes;

    m->storage_uri = yaml_map_text(spec, "storageUri").s;
    m->server = yaml_map_text(spec, "server").s;
    m->served_name = yaml_map_text(spec, "servedName").s;
    m->version = yaml_map_text(spec, "modelVersion").s;
    m->artifact_version = (uint32_t)yaml_map_int(spec, "artifactVersion", 0, UINT32_MAX, 0);
    m->requirements = tags_read(rd, spec, "requirements", &m->requirements_n);
    type = yaml_map_text(spec, "modelType");
    if (type.s.n) {
        struct str *more = arena_array(&rd->r->arena, struct str, m->requirements_n + 1);
        if (m->requirements_n) memcpy(more, m->requirements, m->requirements_n * sizeof *more);
        more[m->requirements_n++] = type.s;
        m->requirements = more;
    }
    memory = yaml_map_text(spec, "memory");
    if (memory.at && (!quantity_bytes(memory.s, &bytes) || bytes < 0))
        yaml_problem(spec, memory.at,
                     "memory: a quantity that is a whole number of bytes is wanted (100Ki, 3Gi, "
                     "8M), not \"" STR_FMT "\"",
                     STR_ARG(memory.s));
    replicas_read(spec);
    yaml_map_text(spec, "schemaUri");
    yaml_map_text(spec, "secretName");
    yaml_map_bool(spec, "preloaded", false);
    yaml_map_bool(spec, "dedicated", false);
    yaml_map_sub(spec, "logger", &logger);
    yaml_map_int(&logger, "percent", 0, 100, 0);
    yaml_map_end(&logger);
    explainer_read(rd, spec);
    parameters_read(spec);
    if (yaml_map_bool(spec, "repository", false))
        yaml_problem(spec, yaml_get(spec->node, "repository"),
                     "repository: loading models through the repository API comes with a later "
                     "version; load the model on its server");
    yaml_map_sub(spec, "dataflow", &dataflow);
    m->clean_topics_on_delete = yaml_map_bool(&dataflow, "cleanTopicsOnDelete", false);
    m->record = record_read(&dataflow, &m->has_record);
    m->retention_ms = yaml_map_int(&dataflow, "retentionMs", 1, INT64_MAX, 0);
    yaml_map_end(&dataflow);
    yaml_map_end(spec);
    if (m->server.n && !resource_name_valid(m->server))
        yaml_problem(spec, yaml_get(spec->node, "server"),
                     "server: \"" STR_FMT "\" is no name of a Server", STR_ARG(m->server));
}

/* ---- Server ---- */

static const char *const mlserver_offers[] = {
    "mlserver", "alibi-detect", "alibi-explain", "huggingface", "lightgbm",
    "mlflow",   "python",       "sklearn",       "spark-mlib",  "xgboost"};
static const char *const triton_offers[] = {
    "triton", "dali", "fil", "onnx", "openvino", "python", "pytorch", "tensorflow", "tensorrt"};

static struct str address_read(struct yaml_map *spec, const char *key)
{
    struct yaml_text t = yaml_map_text(spec, key);
    struct str host;
    uint16_t port;
    struct err e = {0};

    if (!t.at) return STR("");
    if (addr_split(t.s, &host, &port, &e) || !host.n || str_is(host, "*") || port == 0) {
        yaml_problem(spec, t.at, "%s: HOST:PORT of the model server is wanted, not \"" STR_FMT "\"",
                     key, STR_ARG(t.s));
        return STR("");
    }
    return t.s;
}

static void capabilities_read(const struct reading *rd, struct yaml_map *spec)
{
    struct resource_server *s = &rd->r->server;
    struct yaml_text config = yaml_map_text(spec, "serverConfig");
    size_t own_n, extra_n, preset_n = 0;
    struct str *own = tags_read(rd, spec, "capabilities", &own_n),
               *extra = tags_read(rd, spec, "extraCapabilities", &extra_n);
    const char *const *preset = NULL;

    if (own_n == 0 && str_is(config.s, "mlserver"))
        preset = mlserver_offers, preset_n = countof(mlserver_offers);
    else if (own_n == 0 && str_is(config.s, "triton"))
        preset = triton_offers, preset_n = countof(triton_offers);
    if (own_n) extra_n = 0; /* capabilities replace, and win over extraCapabilities */
    s->capabilities = arena_array(&rd->r->arena, struct str, own_n + extra_n + preset_n + 1);
    for (size_t i = 0; i < own_n; i++)
        s->capabilities[s->capabilities_n++] = own[i];
    for (size_t i = 0; i < preset_n; i++)
        s->capabilities[s->capabilities_n++] = str_of(preset[i]);
    for (size_t i = 0; i < extra_n; i++)
        s->capabilities[s->capabilities_n++] = extra[i];
    if (!s->capabilities_n)
        warn_at(rd, spec->node,
                "this Server offers no capabilities: only Models that name it in spec.server will "
                "be placed on it");
}

static void server_read(const struct reading *rd, struct yaml_map *spec)
{
    static const char *const without_effect[] = {"imageOverrides", "podSpec",
                                                 "statefulSetPersistentVolumeClaimRetentionPolicy",
                                                 "deploymentStrategy"};
    struct resource_server *s = &rd->r->server;

    s->address = address_read(spec, "address");
    s->rest_address = address_read(spec, "restAddress");
    capabilities_read(rd, spec);
    replicas_read(spec);
    yaml_map_bool(spec, "disableAutoUpdate", false);
    for (size_t i = 0; i < countof(without_effect); i++) {
        const struct yaml_node *n = yaml_map_any(spec, without_effect[i]);
        if (n)
            warn_at(rd, n, "%s has no effect here: model servers are started elsewhere",
                    without_effect[i]);
    }
    yaml_map_end(spec);
    if (!yaml_get(spec->node, "address") && !yaml_get(spec->node, "restAddress"))
        yaml_problem(spec, spec->node,
                     "a Server needs spec.address: HOST:PORT of its V2 gRPC port (or "
                     "spec.restAddress if it speaks REST only)");
}

/* ---- documents ---- */

static void name_check(const struct reading *rd, struct yaml_map *metadata, struct yaml_text name)
{
    size_t around =
        rd->in->topic_prefix.n + rd->in->topic_namespace.n + sizeof("..pipeline..outputs") - 1;
    size_t max = TOPIC_NAME_MAX > around ? TOPIC_NAME_MAX - around : 0;

    if (!name.at)
        yaml_problem(metadata, NULL, "metadata.name is missing");
    else if (!resource_name_valid(name.s))
        yaml_problem(metadata, name.at,
                     "metadata.name: \"" STR_FMT
                     "\" is no name: a-z, 0-9 and - are allowed, - neither first nor last",
                     STR_ARG(name.s));
    else if (name.s.n > max)
        yaml_problem(metadata, name.at,
                     "metadata.name has %zu characters: topic names leave room for %zu", name.s.n,
                     max);
}

#define SELDON_UID "millrace.io/seldon-uid"
enum { UID_MAX = 100 };

static void metadata_read(const struct reading *rd, struct yaml_map *doc)
{
    static const char *const without_effect[] = {
        "uid",
        "resourceVersion", "creationTimestamp", "deletionTimestamp",
        "finalizers",      "ownerReferences",   "managedFields",
        "selfLink",        "generateName",      "deletionGracePeriodSeconds"};
    const struct yaml_node *uid;
    struct yaml_map metadata;
    struct yaml_text name, space;

    yaml_map_sub(doc, "metadata", &metadata);
    name = yaml_map_text(&metadata, "name");
    space = yaml_map_text(&metadata, "namespace");
    yaml_map_int(&metadata, "generation", 0, INT64_MAX, 0);
    (void)yaml_map_any(&metadata, "labels");
    uid = yaml_get(yaml_map_any(&metadata, "annotations"), SELDON_UID);
    if (uid && (uid->kind != YAML_SCALAR || !uid->text.n || uid->text.n > UID_MAX))
        yaml_problem(&metadata, uid, "metadata.annotations." SELDON_UID ": a text of at most %d characters is wanted", UID_MAX);
    else if (uid)
        rd->r->seldon_uid = arena_dup_str(&rd->r->arena, uid->text);
    for (size_t i = 0; i < countof(without_effect); i++)
        (void)yaml_map_any(&metadata, without_effect[i]);
    yaml_map_end(&metadata);
    if (!metadata.node)
        yaml_problem(doc, NULL, "metadata.name is missing");
    else
        name_check(rd, &metadata, name);
    if (space.s.n && !str_eq(space.s, rd->in->topic_namespace))
        warn_at(rd, space.at,
                "metadata.namespace \"" STR_FMT "\" is not used: this process serves \"" STR_FMT
                "\"",
                STR_ARG(space.s), STR_ARG(rd->in->topic_namespace));
    rd->r->name = name.s;
}

static bool kind_read(struct yaml_map *doc, enum resource_kind *ret)
{
    static const char *const cluster_only[] = {"ServerConfig", "SeldonRuntime", "SeldonConfig"};
    struct yaml_text version = yaml_map_text(doc, "apiVersion"), kind = yaml_map_text(doc, "kind");

    if (version.at && !str_is(version.s, "mlops.seldon.io/v1alpha1"))
        yaml_problem(doc, version.at,
                     "apiVersion: mlops.seldon.io/v1alpha1 is wanted, not \"" STR_FMT "\"",
                     STR_ARG(version.s));
    for (int k = 0; k < RESOURCE_KINDS; k++) {
        if (!str_is(kind.s, kinds[k].kind)) continue;
        *ret = (enum resource_kind)k;
        return true;
    }
    if (!kind.at)
        yaml_problem(doc, NULL, "kind is missing: Model, Pipeline, Experiment or Server");
    else {
        for (size_t i = 0; i < countof(cluster_only); i++) {
            if (!str_is(kind.s, cluster_only[i])) continue;
            yaml_problem(doc, kind.at,
                         "kind " STR_FMT
                         " belongs to a Kubernetes installation of Seldon and has no meaning here",
                         STR_ARG(kind.s));
            return false;
        }
        yaml_problem(doc, kind.at,
                     "unknown kind \"" STR_FMT "\": Model, Pipeline, Experiment or Server is wanted",
                     STR_ARG(kind.s));
    }
    return false;
}

static void spec_read(struct reading *rd, struct yaml_map *doc)
{
    struct yaml_map spec;

    yaml_map_sub(doc, "spec", &spec);
    if (!spec.node) {
        yaml_problem(doc, NULL, "spec is missing");
        return;
    }
    switch (rd->r->kind) {
    case RESOURCE_SERVER: server_read(rd, &spec); break;
    case RESOURCE_MODEL: model_read(rd, &spec); break;
    case RESOURCE_PIPELINE: pipeline_read(rd, &spec); break;
    case RESOURCE_EXPERIMENT: experiment_read(rd, &spec); break;
    case RESOURCE_KINDS: break;
    }
}

/* What is stored and given back: the document without status and without what a Kubernetes API server adds. */
static struct str declared_json(const struct yaml_node *doc, struct arena *a)
{
    AUTO(buf_fini) struct buf b = {0};
    bool first = true;

    buf_append_byte(&b, '{');
    for (size_t i = 0; i < doc->n; i++) {
        if (str_is(doc->keys[i]->text, "status")) continue;
        if (!first) buf_append_byte(&b, ',');
        first = false;
        buf_append_byte(&b, '"');
        buf_append_str(&b, doc->keys[i]->text); /* one of the known keys */
        buf_append_str(&b, STR("\":"));
        yaml_put_json(doc->items[i], &b);
    }
    buf_append_byte(&b, '}');
    return arena_dup_str(a, buf_str(&b));
}

/* Always gives a resource; it is good for something only if no problem was added meanwhile. */
static struct resource *document_read(const struct resource_input *in, const struct yaml_node *node)
{
    struct resource *r = xnew(struct resource);
    struct reading rd = {.in = in, .r = r};
    struct yaml_map doc;
    size_t before = in->problems->n;

    yaml_map_begin(&doc, node, in->file, STR(""), &r->arena, in->problems);
    if (!doc.node || !kind_read(&doc, &r->kind)) return r;
    metadata_read(&rd, &doc);
    spec_read(&rd, &doc);
    (void)yaml_map_any(&doc, "status");
    yaml_map_end(&doc);
    r->name = arena_dup_str(&r->arena, r->name);
    if (in->problems->n == before) r->json = declared_json(node, &r->arena);
    return r;
}

static void duplicates_check(const struct resource_input *in, struct resource *const *list,
                             struct yaml_node *const *docs, size_t n)
{
    struct map seen = {0};

    for (size_t i = 0; i < n; i++) {
        AUTO(buf_fini) struct buf key = {0};
        if (!list[i]->name.n) continue;
        buf_printf(&key, "%s/" STR_FMT, kinds[list[i]->kind].kind, STR_ARG(list[i]->name));
        if (map_put(&seen, buf_view(&key), list[i]))
            problem_add(in->problems, in->file, docs[i]->line, docs[i]->column,
                        "%s " STR_FMT " is there twice", kinds[list[i]->kind].kind,
                        STR_ARG(list[i]->name));
    }
    map_fini(&seen);
}

bool resources_parse(const struct resource_input *in, struct resource ***ret, size_t *ret_n)
{
    AUTO(arena_fini) struct arena tree = {0};
    struct yaml_node **docs;
    struct resource **list = NULL;
    size_t n, before = in->problems->n, warned = in->warnings->n;

    if (!yaml_parse(in->text, in->file, &tree, in->problems, &docs, &n)) return false;
    if (n > DOCUMENTS_MAX) {
        problem_add(in->problems, in->file, docs[DOCUMENTS_MAX]->line, 1,
                    "%zu documents are too many at once: at most %d", n, DOCUMENTS_MAX);
        return false;
    }
    if (n) list = xnew_array(struct resource *, n);
    for (size_t i = 0; i < n; i++)
        list[i] = document_read(in, docs[i]);
    duplicates_check(in, list, docs, n);
    problems_sort(in->problems, before);
    problems_sort(in->warnings, warned);
    if (in->problems->n != before) {
        resources_free(list, n);
        return false;
    }
    *ret = list;
    *ret_n = n;
    return true;
}
