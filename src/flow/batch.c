/* Calls of one step for several runs, put together along the first dimension (oip/rows.h).
 *
 * A step with batch.size has a line of calls at its model; those that fit each other make a set. A set goes out as soon as
 *   - they have batch.size rows, or one more would make a message above the size limit (messageMaxBytes), or
 *   - the caller waits for the step's answer: no call of the step is out and, where batch.windowMs is set, nobody else of
 *     this pipeline is on his way to the step; or the first has waited batch.windowMs
 *   - nobody waits for it (a detector beside the output): the first has waited batch.windowMs, or the join window.
 * So a lone caller never waits. A model's own error to a batch says nothing of one caller: each is asked for alone. The
 * same where their messages cannot be put together, and where an answer cannot be taken apart; that model is not asked for
 * batches again.
 *
 * A member leaves when its run ends; the call goes on for the others. The hop records of a batch are one, with the key of
 * the last member; `millrace-batch` lists the runs and their rows. SPDX-License-Identifier: Apache-2.0 */
#include "base/diag.h"
#include "flow/executor.h"
#include "oip/rows.h"
#include <inttypes.h>

enum { MEMBERS_MAX = 256, LOOK_MAX = 512, OPEN_MAX = 64 };

struct batch_line {
    struct list link;                            /* in place.lines */
    struct place *model;
    const struct graph *g;
    uint32_t node;
    struct list open, full;                      /* struct batch_set, each oldest first */
    unsigned open_n;
    struct timer timer;
    uint32_t out;
    bool kicking;
};

/* Calls that wait and go together: the same tensors, types and dimensions but the first. Full: no other fits, it goes as soon as
 * the model has room. So a call that comes is compared with one of each kind that waits, of OPEN_MAX kinds at most: the oldest
 * kind counts as full when there is one more. */
struct batch_set {
    struct list link;
    struct batch_line *line;
    struct list calls;                           /* run_call.link */
    uint64_t rows;
    size_t n, bytes;
    bool full;
};

struct batch {
    struct upstream_call up;
    struct flow *f;
    struct place *model;
    struct batch_line *line;
    struct flow_snapshot *snapshot;              /* the target lies there */
    struct run_call *members[MEMBERS_MAX];       /* NULL: it left */
    size_t n, left;
    uint64_t starts[MEMBERS_MAX], rows;
    struct buf request;
    struct arena arena;
    bool splits, beside, ending;
};

/* ---- lines ---- */

static void set_free(struct batch_set *s);

static void line_free(struct batch_line *l)
{
    list_each_safe(i, &l->open)
        set_free(container_of(i, struct batch_set, link));
    list_each_safe(i, &l->full)
        set_free(container_of(i, struct batch_set, link));
    timer_cancel(loop_timers(l->model->f->loop), &l->timer);
    list_remove(&l->link);
    free(l);
}

void batch_lines_free(struct place *model)
{
    list_each_safe(i, &model->lines)
        line_free(container_of(i, struct batch_line, link));
}

/* Lines of pipelines that were replaced meanwhile. */
static void lines_sweep(struct place *model)
{
    list_each_safe(i, &model->lines) {
        struct batch_line *l = container_of(i, struct batch_line, link);

        if (list_empty(&l->open) && list_empty(&l->full) && !l->out && !l->kicking) line_free(l);
    }
}

static struct batch_line *line_of(struct place *model, const struct graph *g, uint32_t node)
{
    struct batch_line *l;

    list_each(i, &model->lines) {
        l = container_of(i, struct batch_line, link);
        if (l->g == g && l->node == node) return l;
    }
    if (!model->walking) lines_sweep(model);
    l = xnew(struct batch_line);
    l->model = model;
    l->g = g;
    l->node = node;
    list_init(&l->open);
    list_init(&l->full);
    list_push(&model->lines, &l->link);
    return l;
}

static const struct graph_node *line_node(const struct batch_line *l)
{
    return &l->g->nodes[l->node];
}

/* Is another run of the pipeline on its way to the step? Among the newest, that is enough to know. */
static bool others_coming(const struct batch_line *l)
{
    const struct list *head = &l->model->f->runs;
    unsigned looked = 0;

    for (const struct list *i = head->prev; i != head && looked < LOOK_MAX; i = i->prev, looked++) {
        const struct flow_run *r = container_of(i, struct flow_run, link);

        if (r->run.graph == l->g && r->started && !r->run.ended && r->run.nodes[l->node].state == NODE_WAITING) return true;
    }
    return false;
}

/* How long a call may still wait for others; coming: others are on their way. */
static uint64_t wait_left(const struct batch_line *l, const struct run_call *c, bool coming)
{
    const struct flow *f = l->model->f;
    const struct graph_node *n = line_node(l);
    uint64_t waited = loop_now_ms(f->loop) - c->since_ms, max = n->batch_window_ms;

    if (f->draining) return 0;
    if (n->for_output && n->batch_window_ms && !coming && !l->out) return 0;
    if (n->for_output && !n->batch_window_ms) return l->out ? UINT64_MAX : 0;
    if (!max) max = f->o.join_window_ms;
    if (!n->for_output) max = MIN(max, (c->r->last_ms - c->since_ms) / 2);
    return waited >= max ? 0 : max - waited;
}

/* ---- sets ---- */

static struct run_call *set_head(const struct batch_set *s)
{
    return container_of(s->calls.next, struct run_call, link);
}

static void set_close(struct batch_set *s)
{
    if (s->full) return;
    s->full = true;
    s->line->open_n--;
    list_remove(&s->link);
    list_push(&s->line->full, &s->link);
}

static void set_free(struct batch_set *s)
{
    if (!s->full) s->line->open_n--;
    list_remove(&s->link);
    free(s);
}

static void set_drop(struct run_call *c)
{
    struct batch_set *s = c->set;

    c->set = NULL;
    list_remove(&c->link);
    s->n--;
    s->rows -= c->rows;
    s->bytes -= c->view->message.n;
    if (s->n == 0) set_free(s);
}

void batch_unwait(struct run_call *c)
{
    set_drop(c);
}

static struct batch_set *set_new(struct batch_line *l)
{
    struct batch_set *s = xnew(struct batch_set);

    s->line = l;
    list_init(&s->calls);
    list_push(&l->open, &s->link);
    if (++l->open_n > OPEN_MAX) set_close(container_of(l->open.next, struct batch_set, link));
    return s;
}

static bool set_has_room(const struct batch_set *s, const struct run_call *c)
{
    return s->n < MEMBERS_MAX && s->rows + c->rows <= line_node(s->line)->batch_size &&
           s->bytes + c->view->message.n <= s->line->model->f->o.message_bytes_max;
}

/* The set that the call joins. One that it belongs to and does not fit is full. */
static struct batch_set *set_for(struct batch_line *l, const struct run_call *c)
{
    list_each_safe(i, &l->open) {
        struct batch_set *s = container_of(i, struct batch_set, link);

        if (c->up.target != set_head(s)->up.target || !infer_rows_fit(set_head(s)->view, c->view)) continue;
        if (set_has_room(s, c)) return s;
        set_close(s);
    }
    return set_new(l);
}

static void set_put(struct batch_line *l, struct run_call *c)
{
    struct batch_set *s = set_for(l, c);

    c->set = s;
    list_push(&s->calls, &c->link);
    s->n++;
    s->rows += c->rows;
    s->bytes += c->view->message.n;
    if (s->rows >= line_node(l)->batch_size) set_close(s);
}

/* The one that goes now. NULL: none; the next may in so many ms. */
static struct batch_set *set_due(const struct batch_line *l, uint64_t *ret_wait)
{
    const struct graph_node *n = line_node(l);
    bool coming = n->for_output && n->batch_window_ms && !list_empty(&l->open) && others_coming(l);

    *ret_wait = UINT64_MAX;
    if (!list_empty(&l->full)) return container_of(l->full.next, struct batch_set, link);
    list_each(i, &l->open) {
        struct batch_set *s = container_of(i, struct batch_set, link);
        uint64_t left = wait_left(l, set_head(s), coming);

        if (!left) return s;
        *ret_wait = MIN(*ret_wait, left);
    }
    return NULL;
}

static void line_due(struct timer *t)
{
    batch_kick(container_of(t, struct batch_line, timer));
}

static void send_one(struct batch_line *l, struct run_call *c)
{
    c->line = l;
    l->out++;
    run_hop_record(c->r, c->node, true);
    call_fly(c);
}

static void send(struct batch_line *l, struct run_call **calls, size_t n);

/* Not recursive: a call that ends at once comes back here while it turns. */
void batch_kick(struct batch_line *l)
{
    struct flow *f = l->model->f;
    struct run_call *calls[MEMBERS_MAX];

    if (l->kicking || f->closed) return;
    l->kicking = true;
    while (l->model->calls_now < MAX(f->o.model_concurrency, 1u)) {
        uint64_t left;
        struct batch_set *s = set_due(l, &left);
        size_t n = 0;

        if (!s) {
            if (left < UINT64_MAX) loop_timer(f->loop, &l->timer, left, line_due);
            break;
        }
        for (size_t k = s->n; k > 0; k--) {
            calls[n] = set_head(s);
            set_drop(calls[n++]);                /* the last one frees the set */
        }
        if (n == 1) send_one(l, calls[0]);
        else send(l, calls, n);
    }
    l->kicking = false;
}

void batch_kick_all(struct place *model)
{
    model->walking++;
    list_each(i, &model->lines)
        batch_kick(container_of(i, struct batch_line, link));
    model->walking--;
}

/* A call of the line that was not put together with others has ended. */
void batch_returned(struct batch_line *l)
{
    l->out--;
    batch_kick(l);
}

/* ---- a step's call ---- */

/* Does the step's call join others? Its message must have rows; what is asked for alone does not. */
bool batch_wanted(struct flow_run *r, uint32_t node)
{
    const struct graph_node *n = &r->run.graph->nodes[node];
    struct run_call *c = &r->calls[node];
    struct err e;

    if (n->batch_size < 2 || !c->model || c->model->unsplit || !n->model || !n->model->placed) return false;
    c->view = arena_new(&r->run.arena, struct infer_view);
    if (infer_parse(r->run.points[graph_point_inputs(node)].message, INFER_REQUEST, &r->run.arena, c->view, &e)) return false;
    return infer_rows(c->view, &c->rows) && c->rows < n->batch_size;
}

void batch_step(struct run_call *c)
{
    struct batch_line *l = line_of(c->model, c->r->run.graph, c->node);

    c->since_ms = loop_now_ms(c->r->f->loop);
    c->state = CALL_WAITING;
    set_put(l, c);
    batch_kick(l);
}

/* ---- a batch ---- */

static struct run_call *last_member(const struct batch *b)
{
    for (size_t i = b->n; i-- > 0;)
        if (b->members[i]) return b->members[i];
    return NULL;
}

/* "<run id>=<rows>, …": whose rows they are, in order. */
static struct str members_text(struct batch *b)
{
    AUTO(buf_fini) struct buf text = {0};

    for (size_t i = 0; i < b->n; i++)
        if (b->members[i])
            buf_printf(&text, "%s" STR_FMT "=%" PRIu64, text.n ? ", " : "", STR_ARG(b->members[i]->r->id), b->members[i]->rows);
    return arena_dup_str(&b->arena, buf_str(&text));
}

static void batch_record(struct batch *b, bool inputs, struct bytes value, struct headers headers)
{
    struct run_call *c = last_member(b);

    if (!run_hop_wanted(c->r, c->node)) return;
    append_record(c->r, &(struct append_what){.kind = APPEND_HOP,
                                              .place = b->model,
                                              .inputs = inputs,
                                              .value = value,
                                              .headers = headers,
                                              .timestamp_ms = clock_wall_ms(loop_clock(b->f->loop)),
                                              .extra_name = STR("millrace-batch"),
                                              .extra_value = members_text(b)});
}

static void batch_free(struct batch *b)
{
    upstream_call_fini(&b->up);
    flow_snapshot_unref(&b->snapshot);
    buf_fini(&b->request);
    arena_fini(&b->arena);
    free(b);
}

/* One block, as an upstream's own. */
static struct header *headers_copy(const struct header *h, size_t n)
{
    size_t text = 0;
    struct header *v;
    char *p;

    for (size_t i = 0; i < n; i++)
        text += h[i].name.n + h[i].value.n;
    v = xcalloc(1, n * sizeof *v + text + 1);
    p = (char *)(v + n);
    for (size_t i = 0; i < n; i++) {
        v[i] = h[i];
        v[i].name.p = memcpy(p, h[i].name.n ? h[i].name.p : "", h[i].name.n);
        p += h[i].name.n;
        v[i].value.p = memcpy(p, h[i].value.n ? h[i].value.p : "", h[i].value.n);
        p += h[i].value.n;
    }
    return v;
}

static void member_alone(struct run_call *c)
{
    c->state = CALL_WAITING;
    c->batched = false;
    run_hop_record(c->r, c->node, true);
    list_push(&c->model->calls_waiting, &c->link);
}

static void member_answer(struct batch *b, struct run_call *c, size_t i, const struct infer_view *v)
{
    const struct upstream_call *up = &b->up;

    c->up.err = up->err;
    c->up.grpc_code = up->grpc_code;
    c->up.http_status = up->http_status;
    buf_append(&c->up.message, buf_view(&up->message));
    if (up->response_headers_n) c->up.response_headers = headers_copy(up->response_headers, up->response_headers_n);
    c->up.response_headers_n = up->response_headers_n;
    if (!up->err.rc && infer_rows_take(v, b->starts[i], c->rows, b->rows, c->view->id, &c->up.response, &c->up.err) == RC_OK)
        c->up.err = (struct err){0};
    call_finish(c);
}

/* Whether the answer belongs to the members row by row. Beside the output an answer about the batch as a whole is as good. */
static bool splits(struct batch *b, struct infer_view *v)
{
    struct err e;
    bool rows = true;

    if (infer_parse(buf_view(&b->up.response), INFER_RESPONSE, &b->arena, v, &e) || infer_validate(v, &e)) return false;
    for (size_t i = 0; i < v->tensors_n; i++)
        rows &= v->tensors[i].shape_n > 0 && v->tensors[i].shape[0] == (int64_t)b->rows;
    if (!rows && !b->beside && !b->model->unsplit) {
        b->model->unsplit = true;
        diag(DIAG_WARN, "flow.batch", KV_STR("model", b->model->name),
             KV_CSTR("why", "its answer to a batch has another number of rows; it gets requests one by one from now on"));
    }
    return rows || b->beside;
}

static void batch_deliver(struct batch *b, const struct infer_view *v, bool alone)
{
    for (size_t i = 0; i < b->n; i++) {
        struct run_call *c = b->members[i];

        if (!c) continue;
        b->members[i] = NULL;
        c->batch = NULL;
        if (alone) {
            member_alone(c);
            continue;
        }
        member_answer(b, c, i, v);
        if (!c->r->stepping) flow_run_event(c->r, NULL);
    }
}

static void batch_done(struct upstream_call *up)
{
    struct batch *b = container_of(up, struct batch, up);
    struct place *model = b->model;
    struct batch_line *l = b->line;
    struct infer_view v = {0};
    bool alone = up->err.rc == RC_UPSTREAM || up->err.rc == RC_TOO_LARGE || up->err.rc == RC_INVALID;

    b->ending = true;
    model->calls_now--;
    l->out--;
    if (b->left && !up->err.rc) {
        alone = !splits(b, &v);
        if (!alone) {
            const struct run_call *c = last_member(b);

            batch_record(b, false, buf_view(&up->response),
                         headers_answer(&b->arena, c->r->run.points[graph_point_inputs(c->node)].headers,
                                        up->response_headers, up->response_headers_n, &b->f->deny, (struct str){0}));
        }
    }
    batch_deliver(b, &v, alone);
    batch_free(b);
    if (!model->f->closed) {
        calls_kick(model);
        batch_kick_all(model);
    }
    place_unref(model);
}

static void batch_prepare(struct batch *b, struct run_call *last)
{
    struct header *h = arena_array(&b->arena, struct header, last->up.headers_n);

    for (size_t i = 0; i < last->up.headers_n; i++)
        h[i] = (struct header){arena_dup_str(&b->arena, last->up.headers[i].name),
                               arena_dup_str(&b->arena, last->up.headers[i].value)};
    b->up = last->up;
    b->up.request = buf_view(&b->request);
    b->up.headers = h;
    b->up.done = batch_done;
    for (size_t i = 0; i < b->n; i++)
        b->up.deadline_ms = MAX(b->up.deadline_ms, b->members[i]->up.deadline_ms);
}

/* Typed contents with a number that their datatype cannot hold cannot become raw: the model is to say what it thinks of it,
 * to its caller alone. */
static void send_apart(struct batch_line *l, struct run_call **calls, size_t n)
{
    for (size_t i = 0; i < n; i++)
        member_alone(calls[i]);
    calls_kick(l->model);
}

static void send(struct batch_line *l, struct run_call **calls, size_t n)
{
    struct batch *b = xnew(struct batch);
    const struct infer_view *views[MEMBERS_MAX];
    struct err e;

    for (size_t i = 0; i < n; i++)
        views[i] = calls[i]->view;
    if (infer_rows_join(views, n, &b->request, &e) || b->request.n > l->model->f->o.message_bytes_max) {
        batch_free(b);
        send_apart(l, calls, n);
        return;
    }
    b->f = l->model->f;
    b->model = l->model;
    b->line = l;
    b->snapshot = flow_snapshot_ref(calls[0]->r->snapshot);
    b->beside = !line_node(l)->for_output;
    for (size_t i = 0; i < n; i++) {
        calls[i]->state = CALL_FLYING;
        calls[i]->batch = b;
        calls[i]->batched = true;
        b->members[b->n] = calls[i];
        b->starts[b->n++] = b->rows;
        b->rows += calls[i]->rows;
    }
    b->left = n;
    batch_prepare(b, calls[n - 1]);
    batch_record(b, true, buf_view(&b->request), calls[n - 1]->r->run.points[graph_point_inputs(l->node)].headers);
    l->out++;
    l->model->calls_now++;
    l->model->refs++;
    upstream_call(b->f->up, &b->up);
}

/* The call of a member is ended. Nobody left: that of the batch too. */
void batch_leave(struct run_call *c)
{
    struct batch *b = c->batch;

    c->batch = NULL;
    for (size_t i = 0; i < b->n; i++)
        if (b->members[i] == c) b->members[i] = NULL;
    if (--b->left == 0 && !b->ending) upstream_cancel(b->f->up, &b->up);
}
