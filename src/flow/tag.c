/* The schema registry's prefix on values. An id belongs to a topic's subject, so it is asked for when the topic was made sure
 * of, by each executor (the registry's side remembers). The topic waits for the answer, but not for long: without an id its
 * records are written without the prefix, which every reader of the original takes as well, and are counted; the id is asked for
 * again until it comes. SPDX-License-Identifier: Apache-2.0 */
#include "bus/schema.h"
#include "flow/executor.h"

enum { WAIT_MS = 3000, RETRY_MS_MIN = 1000, RETRY_MS_MAX = 30000, SCRATCH_KEPT_MAX = 1 << 20 };

struct tag_ask { struct schema_ask a; struct flow *f; struct topic *t; char name[]; };

static void tag_ask(struct topic *t);

static void tag_retry(struct timer *timer)
{
    tag_ask(container_of(timer, struct topic, tag_timer));
}

static void topic_go_on(struct topic *t)
{
    t->tag_waited = true;
    if (t->ready) return;
    t->ready = true;
    place_setup(t->place);
}

static void tag_late(struct timer *timer)
{
    topic_go_on(container_of(timer, struct topic, tag_timer));
}

static void tag_failed(struct topic *t)
{
    struct flow *f = t->f;
    uint64_t wait = MIN((uint64_t)RETRY_MS_MIN << MIN(t->tag_tries, 10u), (uint64_t)RETRY_MS_MAX);

    f->counters.schema_failures++;
    t->tag_tries++;
    if (!f->draining) loop_timer(f->loop, &t->tag_timer, wait, tag_retry);
}

static void tag_told(struct schema_ask *a)
{
    struct tag_ask *ask = container_of(a, struct tag_ask, a);
    struct topic *t = ask->t;
    struct flow *f = ask->f;
    struct place *p = t->place;

    if (!f->closed) {
        t->tag_asked = false;
        timer_cancel(loop_timers(f->loop), &t->tag_timer);
        if (!a->err.rc) t->schema = a->id;
        else if (p->state != PLACE_LEAVING) tag_failed(t);
        topic_go_on(t);
        place_unref(p);
    }
    free(ask);
    flow_returned(f);
}

static struct tag_ask *ask_new(struct flow *f, struct str topic, void (*done)(struct schema_ask *a))
{
    struct tag_ask *ask = xcalloc(1, sizeof *ask + topic.n + 1);

    memcpy(ask->name, topic.p, topic.n);
    ask->f = f;
    ask->a.reply_to = loop_mailbox(f->loop);
    ask->a.topic = (struct str){ask->name, topic.n};
    ask->a.done = done;
    f->lent++;
    return ask;
}

static void tag_ask(struct topic *t)
{
    struct flow *f = t->f;
    struct tag_ask *ask = ask_new(f, t->name, tag_told);

    ask->t = t;
    ask->a.outputs = t == &t->place->outputs;
    t->tag_asked = true;
    t->place->refs++;
    if (!t->tag_waited) loop_timer(f->loop, &t->tag_timer, WAIT_MS, tag_late);
    f->o.schemas->ask(f->o.schemas, &ask->a);
}

bool tag_wait(struct topic *t)
{
    if (!t->f->o.schemas || !t->place || t->tag_waited) return false;
    if (!t->tag_asked) tag_ask(t);
    return true;
}

static void tag_forgotten(struct schema_ask *a)
{
    struct tag_ask *ask = container_of(a, struct tag_ask, a);
    struct flow *f = ask->f;

    if (!f->closed && a->err.rc) f->counters.schema_failures++;
    free(ask);
    flow_returned(f);
}

void tag_forget(struct flow *f, struct str topic)
{
    struct tag_ask *ask;

    if (!f->o.schemas) return;
    ask = ask_new(f, topic, tag_forgotten);
    ask->a.forget = true;
    f->o.schemas->ask(f->o.schemas, &ask->a);
}

struct bytes tag_value(struct flow *f, const struct topic *t, const struct append_what *w, struct bytes value)
{
    uint8_t prefix[SCHEMA_PREFIX_LEN];

    if (!value.p) value = bytes_of("", 0);
    if (!f->o.schemas || !t->place || w->plain) return value;
    if (!t->schema) {
        f->counters.records_untagged++;
        return value;
    }
    if (f->value_scratch.cap > SCRATCH_KEPT_MAX) buf_fini(&f->value_scratch);
    buf_clear(&f->value_scratch);
    schema_prefix(t->schema, prefix);
    buf_append(&f->value_scratch, bytes_of(prefix, sizeof prefix));
    buf_append(&f->value_scratch, value);
    return buf_view(&f->value_scratch);
}
