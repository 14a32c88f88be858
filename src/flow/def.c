/* Snapshots: an arena, two maps and the compiled graphs. The count of references is atomic, all the
 * rest is written before the snapshot is shared and never after. SPDX-License-Identifier: Apache-2.0 */
#include "flow/def.h"
#include "flow/graph.h"
#include <stdatomic.h>

struct counted {
    struct flow_snapshot s;
    atomic_uint refs;
};

struct flow_snapshot *flow_snapshot_new(void)
{
    struct counted *c = xnew(struct counted);

    atomic_init(&c->refs, 1);
    return &c->s;
}

static struct graph *models_find(const struct flow_snapshot *s, struct graph *g)
{
    for (size_t i = 0; i < g->steps_n && g->nodes; i++)
        g->nodes[i].model = map_get_str(&s->model_by_name, g->nodes[i].name);
    return g;
}

void flow_snapshot_seal(struct flow_snapshot *s)
{
    must(!s->sealed);
    for (size_t i = 0; i < s->models_n; i++) {
        map_put_str(&s->model_by_name, s->models[i]->name, s->models[i]);
        s->models[i]->graph = models_find(s, graph_direct(&s->arena, s->models[i]->name));
    }
    for (size_t i = 0; i < s->pipelines_n; i++) {
        map_put_str(&s->pipeline_by_name, s->pipelines[i]->name, s->pipelines[i]);
        s->pipelines[i]->graph = models_find(s, graph_compile(&s->arena, s->pipelines[i]));
    }
    for (size_t i = 0; i < s->older_n; i++)
        s->older[i]->graph = models_find(s, graph_compile(&s->arena, s->older[i]));
    for (size_t i = 0; i < s->experiments_n; i++) {
        struct flow_experiment *x = s->experiments[i];

        map_put_str(&s->experiment_by_name, x->name, x);
        if (x->default_name.n) map_put_str(x->model ? &s->model_default : &s->pipeline_default, x->default_name, x);
    }
    s->sealed = true;
}

const struct flow_pipeline_def *
flow_snapshot_version(const struct flow_snapshot *s, struct str name, uint32_t version)
{
    const struct flow_pipeline_def *p = map_get_str(&s->pipeline_by_name, name);

    if (p && p->version == version) return p;
    for (size_t i = 0; i < s->older_n; i++)
        if (s->older[i]->version == version && str_eq(s->older[i]->name, name)) return s->older[i];
    return NULL;
}

struct flow_snapshot *flow_snapshot_ref(struct flow_snapshot *s)
{
    atomic_fetch_add_explicit(&container_of(s, struct counted, s)->refs, 1, memory_order_relaxed);
    return s;
}

void flow_snapshot_unref(struct flow_snapshot **s)
{
    struct counted *c;

    if (!*s) return;
    c = container_of(*s, struct counted, s);
    *s = NULL;
    if (atomic_fetch_sub_explicit(&c->refs, 1, memory_order_acq_rel) != 1) return;
    map_fini(&c->s.pipeline_by_name);
    map_fini(&c->s.model_by_name);
    map_fini(&c->s.experiment_by_name);
    map_fini(&c->s.model_default);
    map_fini(&c->s.pipeline_default);
    arena_fini(&c->s.arena);
    free(c);
}
