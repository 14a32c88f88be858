/* Partitions that somebody adds to our topics while we run. Executor 0 lists the topics now and then. An inputs topic that has
 * more partitions than are used, twice in a row (so that every client has heard of them, and whoever enlarges several topics is
 * done), gets the new ones begun at 0, as after a start: what lies in them already is run. The other executors are told, and put
 * requests there too.
 *
 * What belongs to partition p of the inputs lies in p mod n of a topic that has n partitions, so n must not change for a
 * partition that is in use: an outputs topic that has fewer than the inputs keeps the number it had until the next start. So do
 * the errors topic, the inputs of a pipeline that reads other pipelines, whose partitions belong together, and the topics that it
 * reads. All are said. Processes that share them have to agree about it: all are stopped before one is started.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/diag.h"
#include "flow/owners.h"
#include "flow/tap.h"

enum { EMBEDDED_MS = 2000, REMOTE_MS = 10000, SURE_MS = 1500 };

struct grow_look {
    struct bus_topics t;
    struct flow *f;
    struct map counts;                           /* topic -> one more than its place in t */
    struct arena arena;
    bool soon;
};

static void look(struct timer *t);

/* ---- the other executors ---- */

struct note { struct msg msg; struct flow *to; struct str name; bool model; int32_t inputs, outputs; char text[]; };

static void note_read(struct msg *m)
{
    struct note *note = container_of(m, struct note, msg);
    struct flow *f = note->to;
    struct place *p = f->closed ? NULL : map_get_str(note->model ? &f->models : &f->pipelines, note->name);

    if (p && p->acked) place_partitions(p, note->inputs, note->outputs);
    free(note);
}

static void others_tell(const struct place *p)
{
    const struct flow *f = p->f;

    for (unsigned i = 0; f->group && i < f->group->n; i++) {
        struct flow *to = f->group->all[i];
        struct note *note;

        if (to == f) continue;
        note = xcalloc(1, sizeof *note + p->name.n);
        *note = (struct note){.msg.run = note_read, .to = to, .name = {note->text, p->name.n}, .model = p->model,
                              .inputs = p->inputs.partitions, .outputs = p->outputs.partitions};
        memcpy(note->text, p->name.p, p->name.n);
        mailbox_post(loop_mailbox(to->loop), &note->msg);
    }
}

/* ---- one place ---- */

static int32_t count_of(const struct grow_look *l, struct str topic)
{
    const struct str *at = map_get_str(&l->counts, topic);

    return at ? l->t.partitions[at - l->t.names] : 0;
}

static void use(struct place *p, int32_t inputs, int32_t outputs)
{
    place_partitions(p, inputs, outputs);
    others_tell(p);
}

/* Once for each number. */
static void left_alone_said(struct str topic, int32_t used, int32_t *said, int32_t n, const char *why)
{
    if (*said == n) return;
    *said = n;
    diag(DIAG_WARN, "flow.partitions", KV_STR("topic", topic), KV_I64("partitions", n), KV_I64("used", used), KV_CSTR("why", why));
}

static void left_alone(struct topic *t, int32_t n, const char *why)
{
    left_alone_said(t->name, t->partitions, &t->left_alone, n, why);
}

#define TO_DO "stop all processes, then start them"

static void outputs_meet(struct place *p, int32_t n)
{
    if (n <= p->outputs.partitions) return;
    if (p->inputs.partitions <= p->outputs.partitions) use(p, p->inputs.partitions, n);
    else left_alone(&p->outputs, n, "its pipeline's or model's inputs had more partitions before it; for the new ones to be used " TO_DO);
}

static void inputs_meet(struct grow_look *l, struct place *p, int32_t n)
{
    bool sure = p->growing == n;

    p->growing = n > p->inputs.partitions ? n : 0;
    if (!p->growing) return;
    if (tap_wanted(p)) {
        left_alone(&p->inputs, n, "its pipeline reads other pipelines; for records in the new partitions to be run " TO_DO);
    } else if (!sure || p->busy || p->rewatching) {
        l->soon = true;
    } else {
        diag(DIAG_INFO, "flow.partitions", KV_STR("topic", p->inputs.name), KV_I64("partitions", n), KV_I64("used", p->inputs.partitions),
             KV_CSTR("what", "partitions were added; they are read from their start"));
        p->growing = 0;
        use(p, n, p->outputs.partitions);
        intake_grow(p);
    }
}

static void feeds_meet(struct grow_look *l, struct place *p)
{
    struct tap_feed fd;

    for (size_t i = 0; tap_feed(p, i, &fd); i++) {
        int32_t n = count_of(l, fd.topic);

        if (n > fd.used) left_alone_said(fd.topic, fd.used, fd.said, n, "another pipeline reads it; for records in the new partitions to be read " TO_DO);
    }
}

static void errors_meet(struct flow *f, int32_t n)
{
    if (f->errors.ready && n > f->errors.partitions) left_alone(&f->errors, n, "errors are kept by partition of their inputs; for the new ones to be used " TO_DO);
}

/* ---- all of them ---- */

static void places_meet(struct grow_look *l, struct map *places)
{
    struct bytes key;
    void *value;
    size_t at = 0;

    while (map_next(places, &at, &key, &value)) {
        struct place *p = value;

        if (p->state != PLACE_READY || !p->intakes) continue;
        outputs_meet(p, count_of(l, p->outputs.name));
        inputs_meet(l, p, count_of(l, p->inputs.name));
        feeds_meet(l, p);
    }
}

static void looked(struct bus_op *op)
{
    struct grow_look *l = container_of(op, struct grow_look, t.op);
    struct flow *f = l->f;
    bool embedded = bus_facts(f->bus)->embedded;

    if (!f->closed && !f->draining) {
        for (size_t i = 0; i < l->t.names_n && !op->err.rc; i++)
            map_put_str(&l->counts, l->t.names[i], &l->t.names[i]);
        if (!op->err.rc) {
            errors_meet(f, count_of(l, f->errors.name));
            places_meet(l, &f->pipelines);
            places_meet(l, &f->models);
        }
        loop_timer(f->loop, &f->grow_timer, l->soon ? SURE_MS : embedded ? EMBEDDED_MS : REMOTE_MS, look);
    }
    map_fini(&l->counts);
    bus_topics_fini(&l->t);
    arena_fini(&l->arena);
    free(l);
    flow_returned(f);
}

static void look(struct timer *t)
{
    struct flow *f = container_of(t, struct flow, grow_timer);
    struct grow_look *l = xnew(struct grow_look);

    l->f = f;
    l->t = (struct bus_topics){.op = {.reply_to = loop_mailbox(f->loop), .done = looked},
                               .prefix = arena_printf(&l->arena, STR_FMT "." STR_FMT ".", STR_ARG(f->naming.prefix), STR_ARG(f->naming.ns))};
    f->lent++;
    bus_topics(f->bus, &l->t);
}

void grow_begin(struct flow *f)
{
    if (f->o.loop_index != 0 || f->grow_begun) return;
    f->grow_begun = true;
    loop_timer(f->loop, &f->grow_timer, bus_facts(f->bus)->embedded ? EMBEDDED_MS : REMOTE_MS, look);
}
