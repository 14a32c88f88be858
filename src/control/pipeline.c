/* control/pipeline.c - the spec of a Pipeline: read, normalised, and every rule checked.
 *
 * A reference "a" means a.outputs, or the pipeline's inputs when it is the pipeline's own name; "a.outputs.t" is one
 * tensor. Whatever cannot be understood is left out of the definition, but has added a problem; the cycle check comes
 * last and only for a pipeline whose references are all good. SPDX-License-Identifier: Apache-2.0
 */
#include "base/map.h"
#include "control/read.h"
#include "flow/graph.h"

struct pipeline_reading {
    struct reading *rd;
    struct resource_pipeline *p;
    struct flow_pipeline_def *def;
    struct arena *a;
    struct map steps; /* name -> struct flow_step_def */
    size_t problems_before, refs_n;
};

enum { PARTS_MAX = 6, REFS_MAX = 20000 };

/* Cuts at dots; more than PARTS_MAX parts count as PARTS_MAX. */
static size_t parts_of(struct str text, struct str parts[PARTS_MAX])
{
    size_t n = 0;
    struct str rest = text;
    bool more = true;
    while (more && n < PARTS_MAX)
        more = str_cut(rest, '.', &parts[n++], &rest);
    return n;
}

static bool side_of(struct str part, bool *ret_inputs)
{
    *ret_inputs = str_is(part, "inputs");
    return *ret_inputs || str_is(part, "outputs");
}

static struct str ref_text(const struct pipeline_reading *pr, const struct flow_ref *r)
{
    struct str from = r->step.n ? r->step : pr->def->name;
    return arena_printf(pr->a, STR_FMT ".%s%s" STR_FMT, STR_ARG(from),
                        r->inputs ? "inputs" : "outputs", r->tensor.n ? "." : "",
                        STR_ARG(r->tensor));
}

/* "step a: inputs[1]" - where a reference stands, for the sentences. */
struct place {
    struct yaml_map *map;
    struct str where;
    const char *list;
    size_t i;
    bool output;
};

static bool ref_known(struct pipeline_reading *pr, const struct place *at,
                      const struct yaml_text *text, struct str from, bool inputs)
{
    if (str_eq(from, pr->def->name)) {
        if (at->output)
            yaml_problem(at->map, text->at,
                         STR_FMT ": %s[%zu]: the pipeline itself cannot be an output step",
                         STR_ARG(at->where), at->list, at->i);
        else if (!inputs)
            yaml_problem(at->map, text->at,
                         STR_FMT ": %s[%zu]: the pipeline's own outputs cannot feed its steps",
                         STR_ARG(at->where), at->list, at->i);
        else
            return true;
        return false;
    }
    if (map_get_str(&pr->steps, from)) return true;
    yaml_problem(at->map, text->at,
                 STR_FMT ": %s[%zu]: \"" STR_FMT "\" names no step of this pipeline",
                 STR_ARG(at->where), at->list, at->i, STR_ARG(from));
    return false;
}

static bool ref_read(struct pipeline_reading *pr, const struct place *at,
                     const struct yaml_text *text, struct flow_ref *ret)
{
    struct str parts[PARTS_MAX];
    size_t n = parts_of(text->s, parts);
    bool inputs = false;

    if (parts[0].n == 0) {
        yaml_problem(at->map, text->at, STR_FMT ": %s[%zu] is empty", STR_ARG(at->where), at->list,
                     at->i);
        return false;
    }
    bool formed =
        n == 1 || ((n == 2 || n == 3) && side_of(parts[1], &inputs) && (n == 2 || parts[2].n));
    if (!formed) {
        yaml_problem(at->map, text->at,
                     STR_FMT ": %s[%zu]: \"" STR_FMT
                             "\" is no reference: STEP, STEP.inputs, STEP.outputs or one of these "
                             "and .TENSOR is wanted",
                     STR_ARG(at->where), at->list, at->i, STR_ARG(text->s));
        return false;
    }
    bool own = str_eq(parts[0], pr->def->name);
    if (n == 1) inputs = own && !at->output;
    if (!ref_known(pr, at, text, parts[0], inputs)) return false;
    *ret = (struct flow_ref){
        .step = own ? STR("") : parts[0], .inputs = inputs, .tensor = n == 3 ? parts[2] : STR("")};
    return true;
}

static struct flow_ref *refs_read(struct pipeline_reading *pr, struct yaml_map *m, struct str where,
                                  const char *list, bool output, size_t *ret_n)
{
    size_t n, kept = 0;
    struct yaml_text *texts = yaml_map_texts(m, list, &n);
    struct flow_ref *refs = n ? arena_array(pr->a, struct flow_ref, n) : NULL;
    struct map seen = {0};

    pr->refs_n += n;
    if (n && pr->refs_n > REFS_MAX) {
        yaml_problem(m, texts[0].at,
                     STR_FMT ": %s: more than %d references in one pipeline are too many",
                     STR_ARG(where), list, REFS_MAX);
        n = 0;
    }
    for (size_t i = 0; i < n; i++) {
        struct place at = {m, where, list, i, output};
        if (!ref_read(pr, &at, &texts[i], &refs[kept])) continue;
        struct str full = ref_text(pr, &refs[kept]);
        if (map_put_str(&seen, full, &refs[kept]))
            yaml_problem(m, texts[i].at, STR_FMT ": %s[%zu]: \"" STR_FMT "\" is there twice",
                         STR_ARG(where), list, i, STR_ARG(full));
        else
            kept++;
    }
    map_fini(&seen);
    *ret_n = kept;
    return refs;
}

static enum flow_join join_read(struct yaml_map *m, const char *key)
{
    struct yaml_text t = yaml_map_text(m, key);

    if (!t.at || str_is(t.s, "inner")) return FLOW_INNER;
    if (str_is(t.s, "outer")) return FLOW_OUTER;
    if (str_is(t.s, "any")) return FLOW_ANY;
    yaml_problem(m, t.at, "%s: inner, outer or any is wanted, not \"" STR_FMT "\"", key,
                 STR_ARG(t.s));
    return FLOW_INNER;
}

/* Does one of the references, in full in `carried`, carry this tensor? */
static bool is_carried(const struct pipeline_reading *pr, const struct map *carried,
                       struct flow_ref wanted)
{
    if (map_get_str(carried, ref_text(pr, &wanted))) return true;
    wanted.tensor = STR("");
    return map_get_str(carried, ref_text(pr, &wanted)) != NULL;
}

static bool rename_read(struct pipeline_reading *pr, struct yaml_map *m,
                        const struct yaml_node *key, const struct yaml_node *value,
                        struct flow_rename *ret)
{
    struct str text = arena_dup_str(pr->a, key->text), parts[PARTS_MAX];
    bool inputs;

    if (parts_of(text, parts) != 3 || !parts[0].n || !side_of(parts[1], &inputs) || !parts[2].n) {
        yaml_problem(m, key,
                     "tensorMap: \"" STR_FMT
                     "\" is no tensor: STEP.inputs.TENSOR or STEP.outputs.TENSOR is wanted",
                     STR_ARG(text));
        return false;
    }
    if (!str_eq(parts[0], pr->def->name) && !map_get_str(&pr->steps, parts[0])) {
        yaml_problem(m, key, "tensorMap: \"" STR_FMT "\" names no step of this pipeline",
                     STR_ARG(parts[0]));
        return false;
    }
    if (value->kind != YAML_SCALAR || yaml_is_null(value) || !value->text.n) {
        yaml_problem(m, value, "tensorMap: the new name of " STR_FMT " is missing", STR_ARG(text));
        return false;
    }
    *ret = (struct flow_rename){.source = parts[0],
                                .inputs = inputs,
                                .tensor = parts[2],
                                .name = arena_dup_str(pr->a, value->text)};
    return true;
}

static struct flow_rename *renames_read(struct pipeline_reading *pr, struct yaml_map *m,
                                        const struct flow_ref *refs, size_t refs_n, bool all_good,
                                        size_t *ret_n)
{
    const struct yaml_node *map = yaml_map_any(m, "tensorMap");
    struct flow_rename *renames;
    struct map carried = {0};
    size_t kept = 0;

    *ret_n = 0;
    if (!map) return NULL;
    if (map->kind != YAML_MAP) {
        yaml_problem(m, map, "tensorMap: STEP.outputs.TENSOR: NEW_NAME is wanted");
        return NULL;
    }
    if ((pr->refs_n += map->n) > REFS_MAX) {
        yaml_problem(m, map, "tensorMap: more than %d references in one pipeline are too many",
                     REFS_MAX);
        return NULL;
    }
    renames = arena_array(pr->a, struct flow_rename, map->n);
    for (size_t i = 0; i < refs_n; i++)
        map_put_str(&carried, ref_text(pr, &refs[i]), pr);
    for (size_t i = 0; i < map->n; i++) {
        struct flow_rename *r = &renames[kept];
        if (!rename_read(pr, m, map->keys[i], map->items[i], r)) continue;
        struct flow_ref wanted = {str_eq(r->source, pr->def->name) ? STR("") : r->source, r->inputs,
                                  r->tensor};
        if (all_good && !is_carried(pr, &carried, wanted))
            warn_at(pr->rd, map->keys[i],
                    "tensorMap: " STR_FMT " is not among what arrives here, so it never applies",
                    STR_ARG(map->keys[i]->text));
        kept++;
    }
    map_fini(&carried);
    *ret_n = kept;
    return renames;
}

static void batch_read(struct pipeline_reading *pr, struct yaml_map *step, struct flow_step_def *s)
{
    struct yaml_map batch;

    yaml_map_sub(step, "batch", &batch);
    s->batch_size = (uint32_t)yaml_map_int(&batch, "size", 0, UINT32_MAX, 0);
    s->batch_window_ms = (uint32_t)yaml_map_int(&batch, "windowMs", 0, UINT32_MAX, 0);
    if (s->batch_window_ms && s->batch_size < 2)
        warn_at(pr->rd, yaml_get(batch.node, "windowMs"),
                "step " STR_FMT ": batch.windowMs has no effect without a batch.size of 2 or more", STR_ARG(s->name));
    if (yaml_map_bool(&batch, "rolling", false))
        yaml_problem(&batch, yaml_get(batch.node, "rolling"),
                     "batch.rolling has never had an effect; batches are built by size alone");
    yaml_map_end(&batch);
}

static void overlap_check(struct pipeline_reading *pr, struct yaml_map *m,
                          const struct flow_step_def *s)
{
    struct map inputs = {0};

    for (size_t i = 0; i < s->inputs_n && s->triggers_n; i++)
        map_put_str(&inputs, ref_text(pr, &s->inputs[i]), pr);
    for (size_t i = 0; i < s->triggers_n; i++) {
        struct str text = ref_text(pr, &s->triggers[i]);
        if (map_get_str(&inputs, text))
            yaml_problem(m, yaml_get(m->node, "triggers"),
                         "step " STR_FMT ": " STR_FMT " is both an input and a trigger",
                         STR_ARG(s->name), STR_ARG(text));
    }
    map_fini(&inputs);
}

static void step_read(struct pipeline_reading *pr, struct yaml_map *m, struct flow_step_def *s)
{
    size_t problems = pr->rd->in->problems->n;
    struct str where = s->name.n ? arena_printf(pr->a, "step " STR_FMT, STR_ARG(s->name)) : m->path;
    static const struct flow_ref own_inputs = {.step = {"", 0}, .inputs = true, .tensor = {"", 0}};

    s->inputs = refs_read(pr, m, where, "inputs", false, &s->inputs_n);
    s->triggers = refs_read(pr, m, where, "triggers", false, &s->triggers_n);
    s->inputs_join = join_read(m, "inputsJoinType");
    s->triggers_join = join_read(m, "triggersJoinType");
    s->join_window_ms = (uint32_t)yaml_map_int(m, "joinWindowMs", 0, UINT32_MAX, 0);
    bool good = pr->rd->in->problems->n == problems;
    s->renames = renames_read(pr, m, s->inputs_n ? s->inputs : &own_inputs,
                              s->inputs_n ? s->inputs_n : 1, good, &s->renames_n);
    batch_read(pr, m, s);
    overlap_check(pr, m, s);
    yaml_map_end(m);
}

static void step_name_read(struct pipeline_reading *pr, struct yaml_map *m, struct flow_step_def *s)
{
    struct yaml_text name = yaml_map_text(m, "name");

    s->name = name.s;
    if (!m->node) return;
    if (!name.s.n)
        yaml_problem(m, name.at, STR_FMT ": the step's name is missing", STR_ARG(m->path));
    else if (str_eq(name.s, pr->def->name))
        yaml_problem(m, name.at, "step " STR_FMT ": a step must not have the pipeline's name",
                     STR_ARG(name.s));
    else if (!resource_name_valid(name.s))
        yaml_problem(m, name.at,
                     "step \"" STR_FMT
                     "\": no name of a model: a-z, 0-9 and - are allowed, - neither first nor last",
                     STR_ARG(name.s));
    if (name.s.n && map_put_str(&pr->steps, name.s, s))
        yaml_problem(m, name.at, "step " STR_FMT " is there twice", STR_ARG(name.s));
}

static void steps_read(struct pipeline_reading *pr, struct yaml_map *spec)
{
    const struct yaml_node *list = yaml_map_list(spec, "steps");
    struct flow_pipeline_def *def = pr->def;
    struct yaml_map *maps;

    if (!list || !list->n) {
        yaml_problem(spec, list, "spec.steps: a pipeline has at least one step");
        return;
    }
    if (list->n > GRAPH_STEPS_MAX) {
        yaml_problem(spec, list, "spec.steps: %zu steps are too many: at most %d", list->n,
                     GRAPH_STEPS_MAX);
        return;
    }
    def->steps_n = list->n;
    def->steps = arena_array(pr->a, struct flow_step_def, list->n);
    maps = xnew_array(struct yaml_map, list->n);
    for (size_t i = 0; i < list->n; i++) { /* all names first: a step may refer to a later one */
        struct yaml_map *m = &maps[i];
        yaml_map_begin(m, list->items[i], spec->file, arena_printf(pr->a, "spec.steps[%zu]", i),
                       pr->a, spec->problems);
        if (yaml_is_null(list->items[i]))
            yaml_problem(spec, list->items[i], "spec.steps[%zu] is empty", i);
        step_name_read(pr, m, &def->steps[i]);
    }
    for (size_t i = 0; i < list->n; i++)
        step_read(pr, &maps[i], &def->steps[i]);
    free(maps);
}

static void output_read(struct pipeline_reading *pr, struct yaml_map *spec)
{
    struct flow_pipeline_def *def = pr->def;
    size_t problems = pr->rd->in->problems->n;
    struct yaml_map m;

    yaml_map_sub(spec, "output", &m);
    def->has_output = yaml_get(spec->node, "output") != NULL && m.node;
    def->output = refs_read(pr, &m, STR("output"), "steps", true, &def->output_n);
    def->output_join = join_read(&m, "stepsJoin");
    def->output_window_ms = (uint32_t)yaml_map_int(&m, "joinWindowMs", 0, UINT32_MAX, 0);
    bool good = pr->rd->in->problems->n == problems;
    def->output_renames =
        renames_read(pr, &m, def->output, def->output_n, good, &def->output_renames_n);
    yaml_map_end(&m);
    if (def->has_output && good && !def->output_n)
        warn_at(pr->rd, m.node, "output names no steps: callers get the pipeline's inputs back");
}

/* ---- inputs from other pipelines ---- */

static bool external_read(struct pipeline_reading *pr, struct yaml_map *m, const char *list,
                          size_t i, const struct yaml_text *text, struct flow_external *ret)
{
    struct str p[PARTS_MAX];
    size_t n = parts_of(text->s, p);
    bool of_step = n >= 2 && str_is(p[1], "step"), formed;

    *ret = (struct flow_external){.pipeline = p[0], .step = STR(""), .tensor = STR("")};
    if (!p[0].n) {
        yaml_problem(m, text->at, "input: %s[%zu] is empty", list, i);
        return false;
    }
    if (of_step) {
        formed = n >= 3 && n <= 5 && p[2].n && (n < 4 || side_of(p[3], &ret->inputs)) &&
                 (n < 5 || p[4].n);
        if (n >= 3) ret->step = p[2];
        if (n == 5) ret->tensor = p[4];
    } else {
        formed = n == 1 || (n <= 3 && side_of(p[1], &ret->inputs) && (n < 3 || p[2].n));
        if (n == 3) ret->tensor = p[2];
    }
    if (!formed)
        yaml_problem(m, text->at,
                     "input: %s[%zu]: \"" STR_FMT
                     "\" is no reference: PIPELINE or PIPELINE.step.STEP, then .inputs or "
                     ".outputs, then .TENSOR is wanted",
                     list, i, STR_ARG(text->s));
    else if (str_eq(p[0], pr->def->name)) {
        yaml_problem(m, text->at, "input: %s[%zu]: a pipeline cannot be its own input", list, i);
        return false;
    }
    return formed;
}

static struct flow_external *externals_read(struct pipeline_reading *pr, struct yaml_map *m,
                                            const char *list, size_t *ret_n)
{
    size_t n, kept = 0;
    struct yaml_text *texts = yaml_map_texts(m, list, &n);
    struct flow_external *all = n ? arena_array(pr->a, struct flow_external, n) : NULL;

    for (size_t i = 0; i < n; i++)
        if (external_read(pr, m, list, i, &texts[i], &all[kept])) kept++;
    *ret_n = kept;
    return all;
}

static bool is_tapped(const struct flow_pipeline_def *def, const struct flow_external *x)
{
    for (size_t i = 0; i < def->external_inputs_n; i++) {
        const struct flow_external *in = &def->external_inputs[i];

        if (str_eq(in->pipeline, x->pipeline) && str_eq(in->step, x->step) && in->inputs == x->inputs &&
            (!in->tensor.n || str_eq(in->tensor, x->tensor)))
            return true;
    }
    return false;
}

static void external_renames_read(struct pipeline_reading *pr, struct yaml_map *m, const struct yaml_node *map)
{
    struct flow_pipeline_def *def = pr->def;

    def->external_renames = arena_array(pr->a, struct flow_external_rename, map->n + 1);
    for (size_t i = 0; i < map->n; i++) {
        struct yaml_text key = {arena_dup_str(pr->a, map->keys[i]->text), map->keys[i]};
        const struct yaml_node *value = map->items[i];
        struct flow_external_rename *r = &def->external_renames[def->external_renames_n];

        if (!external_read(pr, m, "tensorMap", i, &key, &r->from)) continue;
        if (!r->from.tensor.n) {
            yaml_problem(m, map->keys[i], "input: tensorMap: \"" STR_FMT "\" names no tensor", STR_ARG(key.s));
        } else if (value->kind != YAML_SCALAR || yaml_is_null(value) || !value->text.n) {
            yaml_problem(m, value, "input: tensorMap: the new name of " STR_FMT " is missing", STR_ARG(key.s));
        } else {
            if (!is_tapped(def, &r->from))
                warn_at(pr->rd, map->keys[i], "input: tensorMap: " STR_FMT " is not among the inputs, so it never applies",
                        STR_ARG(key.s));
            r->name = arena_dup_str(pr->a, value->text);
            def->external_renames_n++;
        }
    }
}

static void input_read(struct pipeline_reading *pr, struct yaml_map *spec)
{
    struct flow_pipeline_def *def = pr->def;
    size_t problems = pr->rd->in->problems->n;
    const struct yaml_node *map;
    struct yaml_map m;

    yaml_map_sub(spec, "input", &m);
    def->external_inputs = externals_read(pr, &m, "externalInputs", &def->external_inputs_n);
    def->external_triggers = externals_read(pr, &m, "externalTriggers", &def->external_triggers_n);
    def->external_join = join_read(&m, "joinType");
    def->external_triggers_join = join_read(&m, "triggersJoinType");
    def->external_window_ms = (uint32_t)yaml_map_int(&m, "joinWindowMs", 0, UINT32_MAX, 0);
    map = yaml_map_any(&m, "tensorMap");
    if (map && map->kind == YAML_MAP) external_renames_read(pr, &m, map);
    else if (map) yaml_problem(&m, map, "input: tensorMap: PIPELINE.outputs.TENSOR: NEW_NAME is wanted");
    yaml_map_end(&m);
    if (yaml_get(spec->node, "input") && !def->external_inputs_n &&
        pr->rd->in->problems->n == problems)
        yaml_problem(spec, m.node,
                     "input.externalInputs: at least one is needed where input is given");
}

/* ---- what concerns the whole ---- */

static void cycle_check(struct pipeline_reading *pr, struct yaml_map *spec)
{
    AUTO(buf_fini) struct buf path = {0};
    uint32_t *steps = xnew_array(uint32_t, pr->def->steps_n + 1);
    size_t n = graph_cycle(pr->def, steps);

    for (size_t i = 0; i < n; i++)
        buf_printf(&path, "%s" STR_FMT, i ? " -> " : "", STR_ARG(pr->def->steps[steps[i]].name));
    if (n && !pr->def->allow_cycles) {
        const struct yaml_node *at = yaml_get(spec->node, "steps")->items[steps[0]];
        yaml_problem(spec, at, "the steps form a cycle: " STR_FMT " (allowCycles: true lets them)", STR_ARG(buf_str(&path)));
    }
    if (n && pr->def->allow_cycles && pr->def->max_step_revisits < 2)
        warn_at(pr->rd, spec->node,
                "maxStepRevisits is %u: every step runs once and the next visit fails the request; how often may a "
                "step of the cycle " STR_FMT " run?",
                pr->def->max_step_revisits, STR_ARG(buf_str(&path)));
    free(steps);
}

/* What is well declared, but not run by this version. */
static void support_check(struct pipeline_reading *pr, struct yaml_map *spec)
{
    AUTO(arena_fini) struct arena scratch = {0};
    const struct graph *g = graph_compile(&scratch, pr->def);

    if (g->why.rc) yaml_problem(spec, spec->node, "%s", g->why.text);
}

void pipeline_read(struct reading *rd, struct yaml_map *spec)
{
    struct pipeline_reading pr = {.rd = rd,
                                  .p = &rd->r->pipeline,
                                  .def = &rd->r->pipeline.def,
                                  .a = &rd->r->arena,
                                  .problems_before = rd->in->problems->n};
    struct yaml_map dataflow;

    pr.def->name = arena_dup_str(pr.a, rd->r->name);
    pr.def->seldon_uid = rd->r->seldon_uid;
    steps_read(&pr, spec);
    output_read(&pr, spec);
    input_read(&pr, spec);
    yaml_map_sub(spec, "dataflow", &dataflow);
    pr.def->clean_topics_on_delete = yaml_map_bool(&dataflow, "cleanTopicsOnDelete", false);
    pr.def->record = record_read(&dataflow, &pr.p->has_record);
    pr.def->retention_ms = yaml_map_int(&dataflow, "retentionMs", 1, INT64_MAX, 0);
    yaml_map_end(&dataflow);
    pr.def->allow_cycles = yaml_map_bool(spec, "allowCycles", false);
    pr.def->max_step_revisits = (uint32_t)yaml_map_int(spec, "maxStepRevisits", 0, UINT32_MAX, 0);
    yaml_map_end(spec);
    if (rd->in->problems->n == pr.problems_before) cycle_check(&pr, spec);
    if (rd->in->problems->n == pr.problems_before) support_check(&pr, spec);
    map_fini(&pr.steps);
}
