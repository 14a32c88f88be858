/* Another engine at work on topics of ours: the original's dataflow engine or model gateway, which take pipelines' and models'
 * inputs as their work. Then every step runs twice. Executor 0 asks the log now and then who reads them, under group ids by the
 * original's rule; readers with other ids (tools, consumers, other pipelines' taps) are welcome. What it finds is said once, and
 * told to the other executors, which answer for the readiness of pipelines.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/diag.h"
#include "flow/executor.h"
#include <stdio.h>

enum { EMBEDDED_MS = 2000, REMOTE_MS = 30000, SOON_MS = 500 };

static const struct str parts[] = {{"seldon-dataflow-", 16}, {"seldon-modelgateway-", 20}};

struct stranger_look {
    struct bus_readers r;
    struct flow *f;
    struct arena arena;
    struct place_name { struct str name; bool model; } *names;
};

struct news {
    struct msg msg;
    struct flow *from, *to;
    struct arena arena;
    struct one { struct str name, group; bool model; } *list;
    size_t n;
};

static void look(struct timer *t);

/* ---- what was found ---- */

static struct str group_of(const struct news *news, const struct place *p)
{
    for (size_t i = 0; i < news->n; i++)
        if (news->list[i].model == p->model && str_eq(news->list[i].name, p->name)) return news->list[i].group;
    return STR("");
}

static void say(const struct place *p, struct str group)
{
    if (p->f->o.loop_index != 0) return;
    if (group.n)
        diag(DIAG_WARN, "flow.foreign", KV_CSTR("kind", p->model ? "model" : "pipeline"), KV_STR("name", p->name), KV_STR("group", group),
             KV_STR("topic", p->inputs.name),
             KV_CSTR("why", "another engine takes these records as its work, too: what they ask for is run twice; stop that engine, or give one of the two another kafka.topicPrefix or namespace"));
    else
        diag(DIAG_INFO, "flow.foreign-gone", KV_CSTR("kind", p->model ? "model" : "pipeline"), KV_STR("name", p->name));
}

static void place_take(struct place *p, const struct news *news)
{
    struct str group = group_of(news, p);
    bool same = p->stranger ? str_eq(group, str_of(p->stranger)) : !group.n;
    char text[320];

    if (same) return;
    if (!p->stranger || !group.n) say(p, group);
    snprintf(text, sizeof text, STR_FMT, STR_ARG(group));
    why_set(&p->stranger, group.n ? text : NULL);
}

static void places_take(struct flow *f, const struct map *places, const struct news *news)
{
    struct bytes key;
    void *value;
    size_t at = 0;

    while (map_next(places, &at, &key, &value)) {
        struct place *p = value;

        place_take(p, news);
        f->counters.foreign_now += p->stranger != NULL && f->o.loop_index == 0;
    }
}

static void news_take(struct flow *f, const struct news *news)
{
    f->counters.foreign_now = 0;
    places_take(f, &f->pipelines, news);
    places_take(f, &f->models, news);
}

static void news_back(struct msg *m)
{
    struct news *news = container_of(m, struct news, msg);
    struct flow *f = news->from;

    arena_fini(&news->arena);
    free(news);
    flow_returned(f);
}

/* On the other executor's loop. Closed, no loop runs any more, and this is the thread that closes all. */
static void news_arrived(struct msg *m)
{
    struct news *news = container_of(m, struct news, msg);

    if (news->to->closed) {
        news_back(m);
        return;
    }
    news_take(news->to, news);
    news->msg.run = news_back;
    mailbox_post(loop_mailbox(news->from->loop), &news->msg);
}

static struct news *news_new(const struct stranger_look *l)
{
    struct news *news = xnew(struct news);

    news->from = l->f;
    news->list = arena_array(&news->arena, struct one, l->r.n);
    for (size_t i = 0; i < l->r.n; i++) {
        const struct place_name *p = &l->names[l->r.list[i].topic];

        news->list[news->n++] = (struct one){arena_dup_str(&news->arena, p->name), arena_dup_str(&news->arena, l->r.list[i].group), p->model};
    }
    return news;
}

static void spread(struct stranger_look *l)
{
    struct flow *f = l->f;
    struct news *own = news_new(l);
    bool had = f->counters.foreign_now > 0;

    news_take(f, own);
    for (unsigned i = 0; f->group && i < f->group->n && (had || own->n); i++) {
        struct news *news;

        if (f->group->all[i] == f) continue;
        news = news_new(l);
        news->to = f->group->all[i];
        news->msg.run = news_arrived;
        f->lent++;
        mailbox_post(loop_mailbox(news->to->loop), &news->msg);
    }
    arena_fini(&own->arena);
    free(own);
}

/* ---- looking ---- */

static void looked(struct bus_op *op)
{
    struct stranger_look *l = container_of(op, struct stranger_look, r.op);
    struct flow *f = l->f;

    if (!f->closed) {
        if (!op->err.rc) spread(l);
        else diag(DIAG_DEBUG, "flow.foreign", KV_CSTR("why", op->err.text));
        if (!f->draining) loop_timer(f->loop, &f->strangers_timer, bus_facts(f->bus)->embedded ? EMBEDDED_MS : REMOTE_MS, look);
    }
    bus_readers_fini(&l->r);
    arena_fini(&l->arena);
    free(l);
    flow_returned(f);
}

static void names_add(struct stranger_look *l, const struct map *places, struct str *topics)
{
    struct bytes key;
    void *value;
    size_t at = 0;

    while (map_next(places, &at, &key, &value)) {
        const struct place *p = value;

        l->names[l->r.topics_n] = (struct place_name){arena_dup_str(&l->arena, p->name), p->model};
        topics[l->r.topics_n++] = arena_dup_str(&l->arena, p->inputs.name);
    }
}

static void look(struct timer *t)
{
    struct flow *f = container_of(t, struct flow, strangers_timer);
    struct stranger_look *l = xnew(struct stranger_look);
    size_t n = f->pipelines.n + f->models.n;
    struct str *topics = arena_array(&l->arena, struct str, n);

    l->f = f;
    l->names = arena_array(&l->arena, struct place_name, n);
    l->r = (struct bus_readers){.op = {.reply_to = loop_mailbox(f->loop), .done = looked}, .parts = parts, .parts_n = countof(parts), .topics = topics};
    names_add(l, &f->pipelines, topics);
    names_add(l, &f->models, topics);
    f->lent++;
    bus_readers(f->bus, &l->r);
}

void strangers_begin(struct flow *f)
{
    if (f->o.loop_index == 0 && !f->strangers_begun) loop_timer(f->loop, &f->strangers_timer, SOON_MS, look);
    f->strangers_begun = true;
}
