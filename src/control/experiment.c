/* control/experiment.c - Experiment: candidates with weights, the one whose name is taken over, a mirror.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "base/map.h"
#include "control/read.h"

static bool name_read(struct yaml_map *m, const char *what, struct str *ret)
{
    struct yaml_text t = yaml_map_text(m, "name");

    if (!m->node) return false;
    *ret = t.s;
    if (resource_name_valid(t.s)) return true;
    yaml_problem(m, t.at, "%s: the name of a model or pipeline is wanted, not \"" STR_FMT "\"", what, STR_ARG(t.s));
    return false;
}

static void candidates_read(const struct reading *rd, struct yaml_map *spec, struct flow_experiment *x)
{
    const struct yaml_node *list = yaml_map_list(spec, "candidates");
    struct map seen = {0};

    x->candidates = list && list->n ? arena_array(&rd->r->arena, struct flow_candidate, list->n) : NULL;
    for (size_t i = 0; list && i < list->n; i++) {
        struct flow_candidate *c = &x->candidates[x->candidates_n];
        struct yaml_map m;
        bool named;

        yaml_map_begin(&m, list->items[i], spec->file, arena_printf(spec->arena, "spec.candidates[%zu]", i), spec->arena,
                       spec->problems);
        if (yaml_is_null(list->items[i])) yaml_problem(spec, list->items[i], "spec.candidates[%zu] is empty", i);
        named = name_read(&m, "candidates", &c->name);
        c->weight = (uint32_t)yaml_map_int(&m, "weight", 0, UINT32_MAX, 0);
        yaml_map_end(&m);
        if (!named) continue;
        x->total += c->weight;
        x->candidates_n++;
        if (map_put_str(&seen, c->name, x))
            yaml_problem(spec, list->items[i], "candidates: " STR_FMT " is there twice", STR_ARG(c->name));
    }
    if (x->mirror.n && map_get_str(&seen, x->mirror))
        yaml_problem(spec, yaml_get(spec->node, "mirror"), "mirror: " STR_FMT " is a candidate already", STR_ARG(x->mirror));
    if (x->default_name.n && !map_get_str(&seen, x->default_name))
        yaml_problem(spec, yaml_get(spec->node, "default"), "default: " STR_FMT " is not among the candidates",
                     STR_ARG(x->default_name));
    map_fini(&seen);
}

void experiment_read(struct reading *rd, struct yaml_map *spec)
{
    struct flow_experiment *x = &rd->r->experiment.def;
    struct yaml_text type = yaml_map_text(spec, "resourceType");
    size_t before = rd->in->problems->n;
    struct yaml_map mirror;

    x->model = !str_is(type.s, "pipeline");
    if (type.at && !str_is(type.s, "pipeline") && !str_is(type.s, "model"))
        yaml_problem(spec, type.at, "resourceType: model or pipeline is wanted, not \"" STR_FMT "\"", STR_ARG(type.s));
    x->default_name = yaml_map_text(spec, "default").s;
    yaml_map_sub(spec, "mirror", &mirror);
    if (mirror.node) {
        (void)name_read(&mirror, "mirror", &x->mirror);
        x->mirror_percent = (uint32_t)yaml_map_int(&mirror, "percent", 0, 100, 0);
    }
    yaml_map_end(&mirror);
    candidates_read(rd, spec, x);
    yaml_map_end(spec);
    if (rd->in->problems->n != before) return;
    if (!x->candidates_n)
        yaml_problem(spec, spec->node, "spec.candidates: at least one is needed");
    else if (!x->total)
        yaml_problem(spec, yaml_get(spec->node, "candidates"), "candidates: all weights are 0, so none would ever be chosen");
}

void experiment_copy(struct arena *a, const struct flow_experiment *from, struct str name, struct flow_experiment *to)
{
    *to = *from;
    to->name = arena_dup_str(a, name);
    to->default_name = arena_dup_str(a, from->default_name);
    to->mirror = arena_dup_str(a, from->mirror);
    to->candidates = arena_array(a, struct flow_candidate, from->candidates_n);
    for (size_t i = 0; i < from->candidates_n; i++)
        to->candidates[i] = (struct flow_candidate){arena_dup_str(a, from->candidates[i].name), from->candidates[i].weight};
}

void experiment_check(const struct flow_snapshot *s, struct str name, struct problems *problems, struct problems *warnings)
{
    const struct flow_experiment *x = map_get_str(&s->experiment_by_name, name);
    const struct map *all = x && x->model ? &s->model_by_name : &s->pipeline_by_name;
    const char *kind = x && x->model ? "Model" : "Pipeline";

    if (!x) return;
    for (size_t i = 0; i < s->experiments_n; i++) {
        const struct flow_experiment *other = s->experiments[i];

        if (x->default_name.n && other != x && other->model == x->model && str_eq(other->default_name, x->default_name))
            problem_add(problems, STR(""), 0, 0, "Experiment " STR_FMT ": " STR_FMT " is the default of Experiment " STR_FMT " already",
                        STR_ARG(name), STR_ARG(x->default_name), STR_ARG(other->name));
    }
    for (size_t i = 0; i < x->candidates_n; i++)
        if (!map_get_str(all, x->candidates[i].name))
            problem_add(warnings, STR(""), 0, 0, "Experiment " STR_FMT ": there is no %s " STR_FMT " yet", STR_ARG(name), kind,
                        STR_ARG(x->candidates[i].name));
    if (x->mirror.n && !map_get_str(all, x->mirror))
        problem_add(warnings, STR(""), 0, 0, "Experiment " STR_FMT ": there is no %s " STR_FMT " yet", STR_ARG(name), kind,
                    STR_ARG(x->mirror));
}
