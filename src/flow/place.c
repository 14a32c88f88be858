/* Pipelines and models by name. A new one goes through: its two topics are made sure of, then its
 * committed offsets (executor 0 sets them, see intake.c; the others wait until they are there), then
 * it is ready and the requests that waited start. What fails is tried again, for as long as the
 * place is in the newest snapshot. A place that is gone lives until nothing needs its names.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/diag.h"
#include "flow/executor.h"

enum { RETRY_MS_MIN = 20, RETRY_MS_MAX = 5000 };

/* ---- topics ---- */

void topic_init(struct topic *t, struct flow *f, struct place *p, struct str name)
{
    *t = (struct topic){.f = f, .place = p, .name = name};
}

static void topic_retry(struct timer *timer)
{
    topic_ensure(container_of(timer, struct topic, retry));
}

static void topic_failed(struct topic *t)
{
    uint64_t wait = MIN((uint64_t)RETRY_MS_MIN << MIN(t->tries, 10u), (uint64_t)RETRY_MS_MAX);

    t->tries++;
    t->err = t->op.op.err;
    err_in(&t->err, "topic " STR_FMT, STR_ARG(t->name));
    if (t->tries == 1)
        diag(DIAG_WARN, "flow.topic", KV_STR("topic", t->name), KV_CSTR("why", t->op.op.err.text));
    loop_timer(t->f->loop, &t->retry, wait, topic_retry);
}

static void topic_ensured(struct bus_op *op)
{
    struct topic *t = container_of(op, struct topic, op.op);
    struct flow *f = t->f;
    struct uuid id;

    if (f->closed) {
        flow_returned(f);
        return;
    }
    if (op->err.rc) {
        topic_failed(t);
    } else {
        memcpy(id.b, t->op.id.b, sizeof id.b);
        uuid_to_text(&id, t->id);
        t->partitions = t->op.partitions;
        t->err = (struct err){0};
        t->ready = true;
        if (t->place) place_setup(t->place);
        else flow_unpark_all(f);
    }
    if (t->place) place_unref(t->place);
    flow_returned(f);
}

void topic_ensure(struct topic *t)
{
    struct flow *f = t->f;

    t->op = (struct bus_topic){
        .op = {.reply_to = loop_mailbox(f->loop), .done = topic_ensured},
        .topic = t->name,
        .partitions = f->o.partitions,
        .replication = f->o.replication,
        .configs = f->configs,
        .configs_n = f->configs_n,
    };
    if (t->place) t->place->refs++;
    f->lent++;
    bus_topic_ensure(f->bus, &t->op);
}

/* ---- places ---- */

struct place *place_new(struct flow *f, bool model, struct str name)
{
    struct place *p = xnew(struct place);

    p->f = f;
    p->model = model;
    p->refs = 1;
    p->name = arena_dup_str(&p->arena, name);
    p->group = name_group(&p->arena, &f->naming, model, name);
    list_init(&p->link);
    list_init(&p->calls_waiting);
    topic_init(&p->inputs, f, p, name_topic(&p->arena, &f->naming, model, name, true));
    topic_init(&p->outputs, f, p, name_topic(&p->arena, &f->naming, model, name, false));
    topic_ensure(&p->inputs);
    topic_ensure(&p->outputs);
    return p;
}

void place_free(struct place *p)
{
    timer_cancel(loop_timers(p->f->loop), &p->inputs.retry);
    timer_cancel(loop_timers(p->f->loop), &p->outputs.retry);
    list_remove(&p->link);
    bus_topic_fini(&p->inputs.op);
    bus_topic_fini(&p->outputs.op);
    arena_fini(&p->arena);
    free(p);
}

void place_unref(struct place *p)
{
    must(p->refs > 0);
    if (--p->refs == 0) place_free(p);
}

/* Goes as far as it can; called when one of the things it waits for has come. */
void place_setup(struct place *p)
{
    if (p->state == PLACE_TOPICS && p->inputs.ready && p->outputs.ready) {
        p->state = PLACE_READY;
        flow_unpark_all(p->f);
    }
}

/* Out of the newest snapshot: runs finish, nothing new starts, what waited is told. */
void place_leave(struct place *p)
{
    p->state = PLACE_LEAVING;
    timer_cancel(loop_timers(p->f->loop), &p->inputs.retry);
    timer_cancel(loop_timers(p->f->loop), &p->outputs.retry);
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
    if (t->err.rc) {
        *e = t->err;
        e->rc = RC_UNAVAILABLE;
        return err_in(e, "not ready");
    }
    *ret_wait = true;
    return err_set(e, RC_UNAVAILABLE, "not ready: the topics of %s " STR_FMT " are being made",
                   p->model ? "model" : "pipeline", STR_ARG(p->name));
}

static enum rc errors_topic(const struct flow *f, bool *ret_wait, struct err *e)
{
    if (f->errors.ready) return RC_OK;
    *ret_wait = f->errors.err.rc == RC_OK;
    *e = f->errors.err;
    e->rc = RC_UNAVAILABLE;
    if (*ret_wait) return err_set(e, RC_UNAVAILABLE, "not ready: the errors topic is being made");
    return err_in(e, "not ready");
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
