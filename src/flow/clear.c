/* What a pipeline or model leaves behind when it is gone, on executor 0: its offsets, and its topics where that was wanted. It begins
 * when no executor needs it any more, and is tried until it is done. Whoever applied and deleted remembers it until then (flow_options.cleared), so a start after a crash finds
 * it in the snapshot and goes on. Only what the log refuses for good is left to the next start, and said; a successor of the name
 * that waits for it begins then. SPDX-License-Identifier: Apache-2.0 */
#include "base/diag.h"
#include "flow/owners.h"

enum { RETRY_MS_MIN = 100, RETRY_MS_MAX = 10000 };

struct clearing {
    struct bus_commit group;
    struct bus_topic inputs, outputs;
    struct place *p;
    unsigned open;
    struct err err;                              /* the first that is no reason to stop */
};

static void clear_start(struct place *p);

/* At the end of the process nothing new begins: the next start goes on. */
static void clear_again(struct timer *t)
{
    struct place *p = container_of(t, struct place, retry);

    if (!p->f->draining) clear_start(p);
}

/* The next of the name waits; it shall be able to say what for. */
static void successor_told(const struct place *p, const char *why)
{
    struct place *next = map_get_str(p->model ? &p->f->models : &p->f->pipelines, p->name);

    if (next && next->state == PLACE_WAITING) why_set(&next->why, why);
}

static bool refused_for_good(enum rc rc)
{
    return rc == RC_DENIED || rc == RC_UNSUPPORTED || rc == RC_INVALID;
}

static void clear_failed(struct place *p, struct err *why)
{
    bool again = !refused_for_good(why->rc);
    uint64_t wait = MIN((uint64_t)RETRY_MS_MIN << MIN(p->tries, 10u), (uint64_t)RETRY_MS_MAX);

    if (p->tries++ == 0)
        diag(DIAG_WARN, "flow.clear", KV_CSTR("kind", p->model ? "model" : "pipeline"), KV_STR("name", p->name),
             KV_CSTR("why", why->text),
             KV_CSTR("what", again ? "what it left is not cleared away yet; it is tried again"
                                   : "what it left stays until the next start tries again, or somebody deletes it"));
    if (!again) {
        place_unref(p);
        return;
    }
    err_in(why, "what the deleted %s of this name left is not cleared away yet", p->model ? "model" : "pipeline");
    successor_told(p, why->text);
    loop_timer(p->f->loop, &p->retry, wait, clear_again);
}

static void clear_done(struct place *p)
{
    struct flow *f = p->f;

    if (p->tries > 0)
        diag(DIAG_INFO, "flow.cleared", KV_CSTR("kind", p->model ? "model" : "pipeline"), KV_STR("name", p->name));
    if (f->o.cleared) f->o.cleared(f->o.cleared_ctx, p->model, p->name);
    place_unref(p);
}

static void one_back(struct clearing *c, const struct bus_op *op, const struct bus_topic *topic)
{
    struct place *p = c->p;
    struct flow *f = p->f;
    bool closed = f->closed;                     /* then p goes with the executor */

    if (op->err.rc && op->err.rc != RC_NOT_FOUND && !c->err.rc) c->err = op->err;
    if (!op->err.rc && !closed && topic) tag_forget(f, topic->topic);
    if (--c->open == 0) {
        if (!closed && c->err.rc) clear_failed(p, &c->err);
        else if (!closed) clear_done(p);
        free(c);
    }
    flow_returned(f);
}

static void group_back(struct bus_op *op)
{
    one_back(container_of(op, struct clearing, group.op), op, NULL);
}

static void inputs_back(struct bus_op *op)
{
    struct clearing *c = container_of(op, struct clearing, inputs.op);

    one_back(c, op, &c->inputs);
}

static void outputs_back(struct bus_op *op)
{
    struct clearing *c = container_of(op, struct clearing, outputs.op);

    one_back(c, op, &c->outputs);
}

static void clear_start(struct place *p)
{
    struct clearing *c = xnew(struct clearing);
    struct flow *f = p->f;
    struct mailbox *home = loop_mailbox(f->loop);

    c->p = p;
    c->open = p->clean ? 3 : 1;
    f->lent += c->open;
    c->group = (struct bus_commit){.op = {.reply_to = home, .done = group_back}, .group = p->group, .topic = p->inputs.name};
    if (f->naming.seldon && p->model) c->group.offsets_n = (size_t)MAX(MAX(p->inputs.partitions, f->o.partitions), 1);  /* others share the group */
    c->inputs = (struct bus_topic){.op = {.reply_to = home, .done = inputs_back}, .topic = p->inputs.name};
    c->outputs = (struct bus_topic){.op = {.reply_to = home, .done = outputs_back}, .topic = p->outputs.name};
    bus_group_delete(f->bus, &c->group);
    if (!p->clean) return;
    bus_topic_delete(f->bus, &c->inputs);
    bus_topic_delete(f->bus, &c->outputs);
}

void place_clear(struct place *p)
{
    p->refs++;
    p->tries = 0;
    clear_start(p);
}

/* ---- other executors ---- */

/* Runs may need the topics on any executor, so the last of them to let the place go is waited for. */
struct parting { struct msg msg; struct flow *from, *to; struct str name; bool model; uint64_t born; struct arena arena; };

static void parting_back(struct msg *m)
{
    struct parting *g = container_of(m, struct parting, msg);
    struct flow *f = g->from;

    arena_fini(&g->arena);
    free(g);
    flow_returned(f);
}

static struct place *parting_place(const struct parting *g)
{
    struct place *p = map_get_str(g->model ? &g->to->models : &g->to->pipelines, g->name);

    if (p && p->born == g->born) return p;
    list_each(l, &g->to->leaving) {
        p = container_of(l, struct place, link);
        if (p->model == g->model && p->born == g->born && str_eq(p->name, g->name)) return p;
    }
    return NULL;
}

/* On executor 0. Closed, no loop runs any more: nothing is sent back. */
static void parting_run(struct msg *m)
{
    struct parting *g = container_of(m, struct parting, msg);
    struct place *p = g->to->closed ? NULL : parting_place(g);

    if (p && p->users > 0 && --p->users == 0 && p->parting) {
        p->parting = false;
        place_unref(p);
    }
    g->msg.run = parting_back;
    if (g->to->closed) parting_back(&g->msg);
    else mailbox_post(loop_mailbox(g->from->loop), &g->msg);
}

void place_tell_gone(const struct place *p)
{
    struct parting *g = xnew(struct parting);
    struct flow *f = p->f;

    g->from = f;
    g->to = f->group->all[0];
    g->name = arena_dup_str(&g->arena, p->name);
    g->model = p->model;
    g->born = p->born;
    g->msg.run = parting_run;
    f->lent++;
    mailbox_post(loop_mailbox(g->to->loop), &g->msg);
}

/* ---- earlier starts ---- */

/* What an earlier start did not get done. Among several processes on one Kafka the owner of number 0 clears away. */
void places_gone(struct flow *f, const struct flow_snapshot *s)
{
    for (size_t i = 0; i < s->gone_n && f->o.loop_index == 0 && !f->draining && owners_mine(f, 0); i++) {
        const struct flow_gone *g = &s->gone[i];
        bool known = map_get_str(g->model ? &f->models : &f->pipelines, g->name) != NULL;

        list_each(l, &f->leaving) {
            const struct place *p = container_of(l, struct place, link);

            known |= p->model == g->model && str_eq(p->name, g->name);
        }
        if (!known) place_gone(f, g);
    }
}
