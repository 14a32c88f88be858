/* Pipelines that read other pipelines: what they read is there, and does not lead back. SPDX-License-Identifier: Apache-2.0 */
#include "base/map.h"
#include "control/resource.h"
#include "control/problems.h"

static bool has_step(const struct flow_pipeline_def *p, struct str step)
{
    for (size_t i = 0; i < p->steps_n; i++)
        if (str_eq(p->steps[i].name, step)) return true;
    return false;
}

static void warn_missing(const struct flow_snapshot *s, const struct flow_pipeline_def *d, const struct flow_external *x,
                         struct problems *warnings)
{
    const struct flow_pipeline_def *from = map_get_str(&s->pipeline_by_name, x->pipeline);

    if (!from)
        problem_add(warnings, STR(""), 0, 0, "Pipeline " STR_FMT ": it reads pipeline " STR_FMT ", which is not there yet",
                    STR_ARG(d->name), STR_ARG(x->pipeline));
    else if (x->step.n && !has_step(from, x->step))
        problem_add(warnings, STR(""), 0, 0, "Pipeline " STR_FMT ": it reads step " STR_FMT " of pipeline " STR_FMT
                    ", which has no such step", STR_ARG(d->name), STR_ARG(x->step), STR_ARG(x->pipeline));
    else if (!x->step.n && !x->inputs && !from->has_output)
        problem_add(warnings, STR(""), 0, 0, "Pipeline " STR_FMT ": it reads the outputs of pipeline " STR_FMT
                    ", which has no output section", STR_ARG(d->name), STR_ARG(x->pipeline));
}

struct ring { const struct flow_snapshot *s; struct map seen; struct buf path; const struct flow_pipeline_def *first; };

/* Is there a way from `d`, through what it reads, back to the first? The path is written from its end. */
static bool leads_back(struct ring *g, const struct flow_pipeline_def *d)
{
    for (size_t i = 0; i < d->external_inputs_n + d->external_triggers_n; i++) {
        const struct flow_external *x = i < d->external_inputs_n ? &d->external_inputs[i]
                                                                 : &d->external_triggers[i - d->external_inputs_n];
        const struct flow_pipeline_def *from = map_get_str(&g->s->pipeline_by_name, x->pipeline);
        bool back = from == g->first && from;

        if (!back && from && !map_put_str(&g->seen, from->name, g)) back = leads_back(g, from);
        if (!back) continue;
        buf_printf(&g->path, " > " STR_FMT, STR_ARG(d->name));
        return true;
    }
    return false;
}

void between_check(const struct flow_snapshot *s, struct str name, struct problems *problems, struct problems *warnings)
{
    struct ring g = {.s = s, .first = map_get_str(&s->pipeline_by_name, name)};
    const struct flow_pipeline_def *d = g.first;

    if (!d) return;
    for (size_t i = 0; i < d->external_inputs_n; i++)
        warn_missing(s, d, &d->external_inputs[i], warnings);
    for (size_t i = 0; i < d->external_triggers_n; i++)
        warn_missing(s, d, &d->external_triggers[i], warnings);
    if (leads_back(&g, d))
        problem_add(problems, STR(""), 0, 0, "Pipeline " STR_FMT ": the pipelines feed each other without end: " STR_FMT STR_FMT,
                    STR_ARG(name), STR_ARG(name), STR_ARG(buf_str(&g.path)));
    map_fini(&g.seen);
    buf_fini(&g.path);
}
