/* An executor's life. SPDX-License-Identifier: Apache-2.0 */
#include "flow/executor.h"
#include "flow/idem.h"
#include "flow/owners.h"
#include "flow/tap.h"

enum { COMMIT_EVERY_MS = 1000 };

/* ---- construction ---- */

static void copy_configs(struct flow *f, const struct flow_options *o)
{
    bool has_size = false;

    f->configs = arena_array(&f->arena, struct bus_config, o->topic_configs_n + 1);
    for (size_t i = 0; i < o->topic_configs_n; i++) {
        f->configs[i].name = arena_dup_str(&f->arena, o->topic_configs[i].name);
        f->configs[i].value = arena_dup_str(&f->arena, o->topic_configs[i].value);
        has_size |= str_is(o->topic_configs[i].name, "max.message.bytes");
    }
    f->configs_n = o->topic_configs_n;
    if (has_size) return;
    f->configs[f->configs_n++] = (struct bus_config){
        STR("max.message.bytes"), arena_printf(&f->arena, "%zu", o->message_bytes_max)};
}

static void copy_options(struct flow *f, const struct flow_options *o)
{
    struct str *deny = arena_array(&f->arena, struct str, o->headers_deny_n);
    struct str *redact = arena_array(&f->arena, struct str, o->redact_n);

    f->o = *o;
    f->naming.prefix = arena_dup_str(&f->arena, o->topic_prefix);
    f->naming.ns = arena_dup_str(&f->arena, o->topic_namespace);
    f->naming.group = arena_dup_str(&f->arena, o->group_prefix);
    f->naming.seldon = o->groups_seldon;
    f->naming.seldon_ns = arena_dup_str(&f->arena, o->groups_namespace);
    f->naming.seldon_gateways = MAX(o->groups_gateways, 1u);
    for (size_t i = 0; i < o->headers_deny_n; i++)
        deny[i] = arena_dup_str(&f->arena, o->headers_deny[i]);
    f->deny = (struct headers_deny){deny, o->headers_deny_n};
    for (size_t i = 0; i < o->redact_n; i++)
        redact[i] = arena_dup_str(&f->arena, o->redact[i]);
    f->o.redact = redact;
    f->o.loops_n = MAX(o->loops_n, 1u);
    f->o.owners = MAX(o->owners, 1);
    f->o.commit_every_ms = o->commit_every_ms ? o->commit_every_ms : COMMIT_EVERY_MS;
    copy_configs(f, o);
}

enum rc flow_new(struct loop *l, struct bus *bus, struct upstream *up, const struct flow_options *o,
                 struct flow **ret, struct err *e)
{
    struct flow *f;

    if (o->loop_index >= MAX(o->loops_n, 1u))
        return err_set(e, RC_INVALID, "executor %u of %u", o->loop_index, o->loops_n);
    f = xnew(struct flow);
    f->loop = l;
    f->bus = bus;
    f->up = up;
    copy_options(f, o);
    rng_init(&f->rng, process_seed() + o->loop_index);
    f->snapshot = flow_snapshot_new();
    flow_snapshot_seal(f->snapshot);
    list_init(&f->leaving);
    list_init(&f->paused);
    list_init(&f->touched);
    list_init(&f->commits);
    list_init(&f->committing);
    list_init(&f->runs);
    list_init(&f->parked);
    list_init(&f->probes);
    list_init(&f->forwards);
    list_init(&f->idem_waiting);
    list_init(&f->spare_runs);
    list_init(&f->spare_appends);
    topic_init(&f->errors, f, NULL, name_errors_topic(&f->arena, &f->naming));
    f->owners_topic = name_control_topic(&f->arena, &f->naming, "owners");
    f->owners_group = name_owners_group(&f->arena, &f->naming);
    topic_ensure(&f->errors);
    owners_begin(f);
    *ret = f;
    return RC_OK;
}

void flow_join(struct flow **all, unsigned n)
{
    struct group *g = xcalloc(1, sizeof *g + n * sizeof g->all[0]);

    g->n = n;
    atomic_init(&g->open, n);
    for (unsigned i = 0; i < n; i++) {
        must(all[i]->o.loop_index == i && all[i]->o.loops_n == n && !all[i]->group);
        g->all[i] = all[i];
        all[i]->group = g;
    }
}

/* ---- snapshots ---- */

static void places_leave(struct map *places, const struct map *wanted)
{
    struct bytes key;
    void *value;
    size_t at = 0;

    while (map_next(places, &at, &key, &value)) {
        struct place *p = value;

        if (map_get(wanted, key)) continue;
        map_del(places, key);
        place_leave(p);
    }
}

static struct place *place_of(struct flow *f, struct map *places, bool model, struct str name, struct str uid, int64_t retention_ms)
{
    struct place *p = map_get_str(places, name);

    if (p) return p;
    p = place_new(f, model, name, uid, retention_ms);
    map_put_str(places, name, p);
    return p;
}

void flow_use(struct flow *f, struct flow_snapshot *s)
{
    struct flow_snapshot *old = f->snapshot;

    must(s->sealed);
    f->snapshot = flow_snapshot_ref(s);
    places_leave(&f->pipelines, &s->pipeline_by_name);
    places_leave(&f->models, &s->model_by_name);
    places_gone(f, s);
    for (size_t i = 0; i < s->models_n; i++)
        place_of(f, &f->models, true, s->models[i]->name, STR(""), s->models[i]->retention_ms)->def = s->models[i];
    for (size_t i = 0; i < s->pipelines_n; i++) {
        const struct flow_pipeline_def *def = s->pipelines[i];
        struct place *p = place_of(f, &f->pipelines, false, def->name, def->seldon_uid, def->retention_ms);

        p->pipeline = def;
        tap_follow(p);
    }
    flow_snapshot_unref(&old);
    if (s->models_n + s->pipelines_n) {
        strangers_begin(f);
        grow_begin(f);
    }
    flow_unpark_all(f);
}

/* Something a parked request may have waited for has come. */
void flow_unpark_all(struct flow *f)
{
    struct list todo;

    list_move(&f->parked, &todo);
    for (struct list *l; (l = list_pop(&todo));)
        run_unpark(container_of(l, struct flow_run, parked));
}

/* ---- the end ---- */

/* Nobody waits for it, and its input is in the log: the next start, or the next owner, runs it. */
static bool nobody_waits(const struct flow_run *r)
{
    bool accepted = r->started && !r->request && run_recorded(r) && graph_no_output(r->run.graph);

    return r->counted || accepted || timer_is_set(&r->outcome_retry);
}

/* Ending one run may end others (a model's queue moves on), so runs are taken one by one. */
static void drain_late(struct timer *t)
{
    struct flow *f = container_of(t, struct flow, drain_timer);
    struct list todo;
    struct err e;

    f->drain_over = true;                        /* what the bus has not answered by now is not waited for */
    err_set(&e, RC_UNAVAILABLE, "this process is stopping");
    list_move(&f->runs, &todo);
    for (struct list *l; (l = list_pop(&todo));) {
        struct flow_run *r = container_of(l, struct flow_run, link);

        list_push(&f->runs, l);
        r->pins++;
        r->late = true;
        if (nobody_waits(r)) flow_run_give_up(r);
        idem_unclaim(r);
        flow_run_stop(r, RC_CANCELLED, STR("this process is stopping"));
        if (r->request) run_answer(r, &e);
        list_remove(&r->parked);
        r->pins--;
        flow_run_release(r);
    }
    flow_check_drained(f);
}

static void intakes_close(struct map *places)
{
    struct bytes key;
    void *value;
    size_t at = 0;

    while (map_next(places, &at, &key, &value))
        intake_close(value);
}

/* In this order: the runs end, the last commit is made, the watches end, all that was lent comes back. */
void flow_check_drained(struct flow *f)
{
    void (*drained)(void *ctx) = f->drained;

    if (!drained || !list_empty(&f->runs)) return;
    if (f->o.loop_index == 0 && !f->final_commit) {
        if (f->commits_open > 0 && !f->drain_over) return;
        f->final_commit = true;
        commit_now(f);
    }
    if ((f->commits_open > 0 && !f->drain_over) || f->drained != drained) return;
    if (!f->watches_closed) {
        f->watches_closed = true;
        intakes_close(&f->pipelines);
        intakes_close(&f->models);
        owners_leave(f);
    }
    if ((f->lent > 0 && !f->drain_over) || f->drained != drained) return;
    timer_cancel(loop_timers(f->loop), &f->drain_timer);
    f->drained = NULL;
    drained(f->drained_ctx);
}

/* Nobody else comes any more. */
static void batches_flush(struct flow *f)
{
    struct bytes key;
    void *value;
    size_t at = 0;

    while (map_next(&f->models, &at, &key, &value))
        batch_kick_all(value);
}

void flow_drain(struct flow *f, uint64_t deadline_ms, void (*drained)(void *ctx), void *ctx)
{
    f->draining = true;
    f->drained = drained;
    f->drained_ctx = ctx;
    timer_set(loop_timers(f->loop), &f->drain_timer, deadline_ms, drain_late);
    timer_cancel(loop_timers(f->loop), &f->strangers_timer);
    timer_cancel(loop_timers(f->loop), &f->grow_timer);
    batches_flush(f);
    flow_check_drained(f);
}

static void places_free(struct map *places)
{
    struct bytes key;
    void *value;
    size_t at = 0;

    while (map_next(places, &at, &key, &value))
        place_free(value);
    map_fini(places);
}

static void shell_free(struct flow *f)
{
    struct group *g = f->group;

    if (!g) {
        free(f);
    } else if (atomic_fetch_sub(&g->open, 1) == 1) {
        for (unsigned i = 0; i < g->n; i++)
            free(g->all[i]);
        free(g);
    }
}

static void flow_release(struct flow *f)
{
    places_free(&f->pipelines);
    places_free(&f->models);
    list_each_safe(l, &f->leaving)
        place_free(container_of(l, struct place, link));
    for (struct list *l; (l = list_pop(&f->spare_runs));) {
        struct flow_run *r = container_of(l, struct flow_run, link);

        arena_fini(&r->run.arena);
        free(r);
    }
    for (struct list *l; (l = list_pop(&f->spare_appends));)
        free(container_of(l, struct flow_append, link));
    free(f->errors.why);
    flow_snapshot_unref(&f->snapshot);
    buf_fini(&f->header_scratch);
    for (size_t i = 0; i < f->stuck_n; i++)
        free((void *)f->stuck[i].name.p);
    buf_fini(&f->value_scratch);
    free(f->stuck);
    free(f->owned);
    arena_fini(&f->arena);
    shell_free(f);
}

void flow_returned(struct flow *f)
{
    must(f->lent > 0);
    if (--f->lent > 0) return;
    if (f->closed) flow_release(f);
    else flow_check_drained(f);
}

struct flow *flow_free(struct flow *f)
{
    struct err e;

    if (!f) return NULL;
    err_set(&e, RC_CANCELLED, "this process is stopping");
    f->closed = true;
    timer_cancel(loop_timers(f->loop), &f->drain_timer);
    timer_cancel(loop_timers(f->loop), &f->errors.retry);
    timer_cancel(loop_timers(f->loop), &f->room_timer);
    timer_cancel(loop_timers(f->loop), &f->strangers_timer);
    timer_cancel(loop_timers(f->loop), &f->grow_timer);
    timer_cancel(loop_timers(f->loop), &f->commit_timer);
    owners_leave(f);
    intakes_close(&f->pipelines);
    intakes_close(&f->models);
    probes_end(f);
    forwards_end(f);
    while (!list_empty(&f->runs))
        flow_run_end(container_of(f->runs.next, struct flow_run, link), &e);
    f->lent++;                                   /* until here nothing that ends may take the executor along */
    idem_reads_end(f);
    flow_returned(f);
    return NULL;
}

void flow_count(const struct flow *f, struct flow_counters *ret)
{
    *ret = f->counters;
}
