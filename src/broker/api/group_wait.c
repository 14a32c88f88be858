/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/api/group_wait.h"

struct group_wait {
    struct group_asker asker;
    struct list link;  /* in broker.group_waits: a group that is dropped does not answer */
    struct request *r; /* NULL: the client has gone away */
    bool *answered;    /* not NULL while the request's handler is still running */
    void (*answer)(struct request *r, const struct group_fx *fx, uint64_t seq);
};

static void on_answer(struct group_asker *a, const struct group_fx *fx, uint64_t seq)
{
    struct group_wait *w = container_of(a, struct group_wait, asker);

    if (w->answered) *w->answered = true;
    if (w->r) w->answer(w->r, fx, seq);
    list_remove(&w->link);
    free(w);
}

static void on_cancel(struct request *r)
{
    struct group_wait *w = r->ctx;

    w->r = NULL;
}

void group_waits_free(struct broker *b)
{
    struct list *it;

    while ((it = list_pop(&b->group_waits)))
        free(container_of(it, struct group_wait, link));
}

void group_wait_step(struct group_entry *ge, struct group_event *ev, struct request *r,
                     void (*answer)(struct request *r, const struct group_fx *fx, uint64_t seq))
{
    struct group_wait *w = xnew(struct group_wait);
    bool answered = false;

    *w = (struct group_wait){.asker = {on_answer}, .r = r, .answered = &answered, .answer = answer};
    list_push(&r->broker->group_waits, &w->link);
    ev->token = &w->asker;
    groups_step(ge, ev);
    if (answered) return;
    w->answered = NULL;
    r->ctx = w;
    request_park(r, on_cancel);
}

struct str group_client_host(struct request *r)
{
    return arena_printf(&r->arena, "/%s", r->conn->host);
}
