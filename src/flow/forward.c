/* Requests with an idempotency key are run by executor 0, which holds the index. The others hand
 * them over by message, with copies of all they point at, so that the caller can be answered the
 * moment it goes away; the answer comes back by message.
 *
 * A forward belongs to its home until it is back: it counts as lent there.
 * SPDX-License-Identifier: Apache-2.0 */
#include "flow/executor.h"

struct forward {
    enum holder holder;                          /* first: what flow_request.priv points at */
    struct flow *home, *to;
    struct list link;                            /* in home->forwards */
    struct flow_request *outer;                  /* home's; NULL: answered */
    struct flow_request inner;                   /* executor 0's */
    struct arena arena;
    struct msg go, cancel, back;
    bool answered;                               /* executor 0's: inner is done */
    atomic_uint refs;                            /* the way there and back, a cancel */
};

static void forward_unref(struct forward *w)
{
    if (atomic_fetch_sub(&w->refs, 1) != 1) return;
    flow_request_fini(&w->inner);
    arena_fini(&w->arena);
    free(w);
}

/* Everything that was allocated for the answer changes hands. */
static void answer_move(struct flow_request *to, struct flow_request *from)
{
    to->err = from->err;
    to->step = from->step;
    to->grpc_code = from->grpc_code;
    to->http_status = from->http_status;
    to->message_text = buf_take(&from->message_text);
    to->accepted = from->accepted;
    to->response = buf_take(&from->response);
    to->response_headers = from->response_headers;
    to->response_headers_n = from->response_headers_n;
    to->key = from->key;
    to->retry_after_ms = from->retry_after_ms;
    from->response_headers = NULL;
}

static void run_back(struct msg *m)
{
    struct forward *w = container_of(m, struct forward, back);
    struct flow *home = w->home;
    struct flow_request *outer = w->outer;

    list_remove(&w->link);
    w->outer = NULL;
    if (outer) {
        answer_move(outer, &w->inner);
        outer->priv = NULL;
    }
    forward_unref(w);
    if (outer) outer->done(outer);
    flow_returned(home);
}

static void inner_done(struct flow_request *q)
{
    struct forward *w = container_of(q, struct forward, inner);

    w->answered = true;
    w->back.run = run_back;
    mailbox_post(loop_mailbox(w->home->loop), &w->back);
}

/* On executor 0. Closed, no loop runs any more: the answer takes the short way. */
static void run_go(struct msg *m)
{
    struct forward *w = container_of(m, struct forward, go);

    if (!w->to->closed) {
        flow_start(w->to, &w->inner);
        return;
    }
    w->answered = true;
    err_set(&w->inner.err, RC_CANCELLED, "this process is stopping");
    run_back(&w->back);
}

static void run_cancel(struct msg *m)
{
    struct forward *w = container_of(m, struct forward, cancel);

    if (!w->answered && !w->to->closed) flow_cancel(w->to, &w->inner);
    forward_unref(w);
}

static void inner_make(struct forward *w, const struct flow_request *q)
{
    struct header *h = arena_array(&w->arena, struct header, q->headers_n);

    for (size_t i = 0; i < q->headers_n; i++)
        h[i] = (struct header){arena_dup_str(&w->arena, q->headers[i].name), arena_dup_str(&w->arena, q->headers[i].value)};
    w->inner = (struct flow_request){
        .name = arena_dup_str(&w->arena, q->name),
        .model = q->model,
        .message = arena_dup(&w->arena, q->message),
        .headers = h,
        .headers_n = q->headers_n,
        .request_id = arena_dup_str(&w->arena, q->request_id),
        .idempotency_key = arena_dup_str(&w->arena, q->idempotency_key),
        .deadline_ms = q->deadline_ms,
        .done = inner_done,
    };
}

bool forward_wanted(const struct flow *f, const struct flow_request *q)
{
    return q->idempotency_key.n && f->o.loop_index != 0 && f->group;
}

void forward_start(struct flow *f, struct flow_request *q)
{
    struct forward *w = xnew(struct forward);

    w->holder = HOLDER_FORWARD;
    w->home = f;
    w->to = f->group->all[0];
    w->outer = q;
    atomic_init(&w->refs, 1);
    inner_make(w, q);
    q->priv = w;
    list_push(&f->forwards, &w->link);
    f->lent++;
    w->go.run = run_go;
    mailbox_post(loop_mailbox(w->to->loop), &w->go);
}

static void forward_answer(struct forward *w, enum rc rc, const char *why)
{
    struct flow_request *outer = w->outer;

    w->outer = NULL;
    outer->priv = NULL;
    err_set(&outer->err, rc, "%s", why);
    buf_append_str(&outer->message_text, str_of(why));
    outer->done(outer);
}

void forward_cancel(struct forward *w)
{
    atomic_fetch_add(&w->refs, 1);
    w->cancel.run = run_cancel;
    mailbox_post(loop_mailbox(w->to->loop), &w->cancel);
    forward_answer(w, RC_CANCELLED, "the caller went away");
}

/* The executor ends: callers are told; the messages find their way back without them. */
void forwards_end(struct flow *f)
{
    for (struct list *l; (l = list_pop(&f->forwards));) {
        struct forward *w = container_of(l, struct forward, link);

        if (w->outer) forward_answer(w, RC_CANCELLED, "this process is stopping");
    }
}
