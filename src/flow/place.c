/* Pipelines and models by name. A new one goes through: its two topics are made sure of, then its
 * committed offsets (executor 0 sets them, see intake.c; the others wait until they are there), then
 * it is ready and the requests that waited start. What fails is tried again, for as long as the
 * place is in the newest snapshot. A place that is gone lives until nothing needs its names.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/diag.h"
#include "flow/idem.h"
#include "flow/owners.h"
#include <inttypes.h>
#include <stdio.h>

enum { RETRY_MS_MIN = 20, RETRY_MS_MAX = 5000 };

/* ---- topics ---- */

void topic_init(struct topic *t, struct flow *f, struct place *p, struct str name)
{
    *t = (struct topic){.f = f, .place = p, .name = name};
}

struct topic_ask { struct bus_topic op; struct topic *t; struct bus_config *configs; char retention[24]; };

static void topic_retry(struct timer *timer)
{
    topic_ensure(container_of(timer, struct topic, retry));
}

void why_set(char **why, const char *text)
{
    char *copy = text ? xstrdup(text) : NULL;

    free(*why);
    *why = copy;
}

static void topic_failed(struct topic *t, struct err *why)
{
    uint64_t wait = MIN((uint64_t)RETRY_MS_MIN << MIN(t->tries, 10u), (uint64_t)RETRY_MS_MAX);

    t->tries++;
    if (t->tries == 1) diag(DIAG_WARN, "flow.topic", KV_STR("topic", t->name), KV_CSTR("why", why->text));
    err_in(why, "topic " STR_FMT, STR_ARG(t->name));
    why_set(&t->why, why->text);
    loop_timer(t->f->loop, &t->retry, wait, topic_retry);
}

/* What somebody added since is begun when it was looked at (grow.c). */
static int32_t partitions_used(const struct topic *t, int32_t n)
{
    const struct place *p = t->place;

    if (!p) return t->partitions > 0 ? MIN(n, t->partitions) : n;        /* the errors topic: the same on all executors */
    if (!p->acked) return n;
    return MIN(n, t == &p->inputs ? p->acked_n : t->partitions);
}

static void topic_ensured(struct bus_op *op)
{
    struct topic_ask *ask = container_of(op, struct topic_ask, op.op);
    struct topic *t = ask->t;
    struct flow *f = t->f;
    struct uuid id;

    t->asked = false;
    if (!f->closed && op->err.rc) {
        topic_failed(t, &op->err);
    } else if (!f->closed) {
        memcpy(id.b, ask->op.id.b, sizeof id.b);
        uuid_to_text(&id, t->id);
        t->partitions = partitions_used(t, ask->op.partitions);
        t->made |= ask->op.created;
        why_set(&t->why, NULL);
        t->ready = !tag_wait(t);
        if (!t->place) flow_unpark_all(f);
        else if (t->ready) place_setup(t->place);
    }
    if (!f->closed && t->place) place_unref(t->place);
    bus_topic_fini(&ask->op);
    free(ask->configs);
    free(ask);
    flow_returned(f);
}

/* The place's own retention comes before the configured one. */
static void retention_set(struct topic_ask *ask, const struct flow *f, int64_t retention_ms)
{
    size_t n = 0;

    ask->configs = xnew_array(struct bus_config, f->configs_n + 1);
    for (size_t i = 0; i < f->configs_n; i++)
        if (!str_is(f->configs[i].name, "retention.ms")) ask->configs[n++] = f->configs[i];
    ask->configs[n++] = (struct bus_config){
        STR("retention.ms"),
        {ask->retention, (size_t)snprintf(ask->retention, sizeof ask->retention, "%" PRId64, retention_ms)}};
    ask->op.configs = ask->configs;
    ask->op.configs_n = n;
}

void topic_ensure(struct topic *t)
{
    struct topic_ask *ask = xnew(struct topic_ask);
    struct flow *f = t->f;

    ask->t = t;
    ask->op = (struct bus_topic){
        .op = {.reply_to = loop_mailbox(f->loop), .done = topic_ensured},
        .topic = t->name,
        .partitions = f->o.partitions,
        .replication = f->o.replication,
        .configs = f->configs,
        .configs_n = f->configs_n,
    };
    if (t->place && t->place->retention_ms) retention_set(ask, f, t->place->retention_ms);
    t->asked = true;
    if (t->place) t->place->refs++;
    f->lent++;
    bus_topic_ensure(f->bus, &ask->op);
}

/* ---- places ---- */

/* On executor 0 a place that is gone may still be about to delete the topics of its successor. */
static bool predecessor(const struct flow *f, const struct place *p)
{
    list_each(l, &f->leaving) {
        const struct place *old = container_of(l, struct place, link);

        if (old->model == p->model && str_eq(old->name, p->name)) return f->o.loop_index == 0;
    }
    return false;
}

static void place_begin(struct place *p)
{
    if (predecessor(p->f, p)) {
        p->state = PLACE_WAITING;
        return;
    }
    why_set(&p->why, NULL);
    p->state = PLACE_TOPICS;
    topic_ensure(&p->inputs);
    topic_ensure(&p->outputs);
}

/* There may be thousands of places: their names are kept one by one, not in an arena each. */
static struct str name_keep(struct str s)
{
    char *p = xcalloc(1, s.n + 1);

    memcpy(p, s.p, s.n);
    return (struct str){p, s.n};
}

static struct place *place_make(struct flow *f, bool model, struct str name, struct str uid)
{
    struct place *p = xnew(struct place);
    struct arena a = {0};

    p->f = f;
    p->model = model;
    p->refs = 1;
    p->name = name_keep(name);
    p->group = name_keep(name_group(&a, &f->naming, model, name, uid));
    list_init(&p->link);
    list_init(&p->calls_waiting);
    list_init(&p->lines);
    list_init(&p->commit_link);
    topic_init(&p->inputs, f, p, name_keep(name_topic(&a, &f->naming, model, name, true)));
    topic_init(&p->outputs, f, p, name_keep(name_topic(&a, &f->naming, model, name, false)));
    arena_fini(&a);
    return p;
}

struct place *place_new(struct flow *f, bool model, struct str name, struct str uid, int64_t retention_ms)
{
    struct place *p = place_make(f, model, name, uid);

    p->retention_ms = retention_ms;
    p->born = f->snapshot->number;
    if (f->o.loop_index == 0 && f->group) p->users = f->group->n - 1;
    place_begin(p);
    return p;
}

void place_gone(struct flow *f, const struct flow_gone *g)
{
    struct place *p = place_make(f, g->model, g->name, STR(""));

    p->clean = g->clean;
    p->state = PLACE_LEAVING;
    list_push(&f->leaving, &p->link);
    place_unref(p);
}

static void timers_stop(struct place *p)
{
    struct timers *ts = loop_timers(p->f->loop);

    timer_cancel(ts, &p->inputs.retry);
    timer_cancel(ts, &p->outputs.retry);
    timer_cancel(ts, &p->inputs.tag_timer);
    timer_cancel(ts, &p->outputs.tag_timer);
    timer_cancel(ts, &p->retry);
    timer_cancel(ts, &p->take_retry);
}

void place_free(struct place *p)
{
    timers_stop(p);
    list_remove(&p->link);
    list_remove(&p->commit_link);
    for (size_t i = 0; i < p->intakes_n; i++) {
        scan_end(p->intakes[i]);
        held_drop(p->intakes[i]);
        foreign_clear(p->intakes[i]);
        free(p->intakes[i]);
    }
    batch_lines_free(p);
    idem_index_free(p->idem);
    free(p->intakes);
    free(p->acked);
    free(p->why);
    free(p->stranger);
    free(p->inputs.why);
    free(p->outputs.why);
    free((void *)p->inputs.name.p);
    free((void *)p->outputs.name.p);
    free((void *)p->group.p);
    free((void *)p->name.p);
    free(p);
}

static void successor_begin(struct flow *f, bool model, struct str name)
{
    struct place *next = map_get_str(model ? &f->models : &f->pipelines, name);

    if (next && next->state == PLACE_WAITING) place_begin(next);
}

void place_unref(struct place *p)
{
    struct flow *f = p->f;
    struct arena a = {0};
    struct str name;
    bool model = p->model;

    must(p->refs > 0);
    if (--p->refs > 0) return;
    if (p->users > 0 && !f->closed && !f->draining) {
        p->refs = 1;
        p->parting = true;
        return;
    }
    if (f->o.loop_index == 0 && !p->cleared && !f->closed && !f->draining && owners_mine(f, 0)) {
        p->cleared = true;
        p->refs = 1;
        place_clear(p);
        place_unref(p);
        return;
    }
    if (f->o.loop_index != 0 && f->group && !f->closed) place_tell_gone(p);
    name = arena_dup_str(&a, p->name);
    place_free(p);
    successor_begin(f, model, name);
    arena_fini(&a);
}

/* Goes as far as it can; called when one of the things it waits for has come. */
void place_setup(struct place *p)
{
    if (p->state == PLACE_READY && p->intakes) intake_rewatch(p);
    if (p->state != PLACE_TOPICS || !p->inputs.ready || !p->outputs.ready) return;
    if (p->inputs.partitions > p->outputs.partitions && !p->outputs_again) {
        p->outputs_again = true;                 /* somebody may have enlarged both since the outputs were looked at (grow.c) */
        p->outputs.ready = false;
        topic_ensure(&p->outputs);
        return;
    }
    p->state = PLACE_OFFSETS;
    place_partitions(p, p->inputs.partitions, p->outputs.partitions);
    intake_open(p);
}

void place_partitions(struct place *p, int32_t inputs, int32_t outputs)
{
    p->outputs.partitions = outputs;
    p->inputs.partitions = inputs;
    if (inputs <= p->acked_n && p->acked) return;
    p->acked = xrealloc(p->acked, (size_t)MAX(inputs, 1), sizeof *p->acked);
    for (int32_t i = p->acked_n; i < inputs; i++)
        p->acked[i] = -1;
    p->acked_n = inputs;
}

/* Out of the newest snapshot: runs finish, nothing new starts, what waited is told. */
void place_leave(struct place *p)
{
    p->clean = p->model ? p->def->clean_topics_on_delete : p->pipeline->clean_topics_on_delete;
    p->def = NULL;
    p->pipeline = NULL;
    p->state = PLACE_LEAVING;
    timers_stop(p);
    intake_close(p);
    list_push(&p->f->leaving, &p->link);
    place_unref(p);
}

/* Not ready: *ret_wait says that nothing has failed so far. */
static enum rc place_own(const struct place *p, bool *ret_wait, struct err *e)
{
    const struct topic *t = !p->inputs.ready ? &p->inputs : &p->outputs;

    *ret_wait = false;
    if (p->state == PLACE_READY) return RC_OK;
    if (p->state == PLACE_LEAVING)
        return err_set(e, RC_NOT_FOUND, "%s " STR_FMT " was deleted", p->model ? "model" : "pipeline",
                       STR_ARG(p->name));
    if (t->why || p->why) return err_set(e, RC_UNAVAILABLE, "not ready: %s", t->why ? t->why : p->why);
    *ret_wait = true;
    return err_set(e, RC_UNAVAILABLE, "not ready: the topics of %s " STR_FMT " are being made",
                   p->model ? "model" : "pipeline", STR_ARG(p->name));
}

static enum rc errors_topic(const struct flow *f, bool *ret_wait, struct err *e)
{
    if (f->errors.ready) return RC_OK;
    *ret_wait = !f->errors.why;
    return err_set(e, RC_UNAVAILABLE, "not ready: %s", f->errors.why ? f->errors.why : "the errors topic is being made");
}

enum rc place_check(struct place *p, const struct graph *g, bool *ret_wait, struct err *e)
{
    if (place_own(p, ret_wait, e) || errors_topic(p->f, ret_wait, e)) return e->rc;
    for (size_t i = 0; !p->model && i < g->steps_n; i++) {
        const struct place *model = map_get_str(&p->f->models, g->nodes[i].name);

        if (model && place_own(model, ret_wait, e)) return e->rc;
    }
    return RC_OK;
}
