/* A run among its surroundings: carries out the effects of the state machine and brings back events.
 *
 * One turn of a run is: an event, its effects, then the calls that ended meanwhile, each as an event
 * of its own, until nothing is left. Then it is seen whether the caller can be answered and whether
 * anything still needs the run. A run ends when its machine has, its records are acknowledged and
 * its caller has an answer. SPDX-License-Identifier: Apache-2.0 */
#include "bus/schema.h"
#include "bus/trouble.h"
#include "flow/idem.h"
#include "flow/owners.h"
#include "flow/payload.h"
#include "flow/tap.h"
#include <inttypes.h>

enum { TOPIC_AGAIN_MS = 20, SPARE_RUNS_MAX = 256, SPARE_ARENA_MAX = 64 << 10 };

/* ---- life ---- */

static enum flow_record record_of(const struct flow *f, enum flow_record own)
{
    if (own != FLOW_RECORD_DEFAULT) return own;
    return f->o.record != FLOW_RECORD_DEFAULT ? f->o.record : FLOW_RECORD_ALL;
}

static struct flow_run *run_take(struct flow *f)
{
    struct list *l = list_pop(&f->spare_runs);
    struct flow_run *r;
    struct arena arena;

    if (!l) return xnew(struct flow_run);
    f->spare_runs_n--;
    r = container_of(l, struct flow_run, link);
    arena = r->run.arena;
    *r = (struct flow_run){.run.arena = arena};
    return r;
}

/* A run keeps hold of its models: they may be deleted before it ends. */
static struct run_call *calls_make(struct flow_run *r)
{
    const struct graph *g = r->run.graph;
    struct run_call *calls = arena_array(&r->run.arena, struct run_call, g->steps_n);

    for (uint32_t i = 0; i < g->steps_n; i++) {
        calls[i].r = r;
        calls[i].node = i;
        list_init(&calls[i].link);
        calls[i].model = map_get_str(&r->f->models, g->nodes[i].name);
        if (calls[i].model) calls[i].model->refs++;
    }
    return calls;
}

struct flow_run *flow_run_new(struct flow *f, struct place *p, const struct graph *g)
{
    struct flow_run *r = run_take(f);

    run_init(&r->run, g);
    r->run.deny = &f->deny;
    r->run.join_window_ms = f->o.join_window_ms;
    r->f = f;
    r->snapshot = flow_snapshot_ref(f->snapshot);
    r->place = p;
    p->refs++;
    r->record = record_of(f, p->model ? p->def->record : p->pipeline->record);
    r->calls = calls_make(r);
    list_init(&r->parked);
    list_init(&r->calls_done);
    list_init(&r->windows);
    list_init(&r->appends);
    list_push(&f->runs, &r->link);
    f->counters.runs_now++;
    p->runs_now++;
    return r;
}

static void windows_cancel(struct flow_run *r)
{
    list_each(l, &r->windows)
        timer_cancel(loop_timers(r->f->loop), &container_of(l, struct run_window, link)->timer);
    list_init(&r->windows);
}

static void run_recycle(struct flow_run *r)
{
    struct flow *f = r->f;
    bool keep = f->spare_runs_n < SPARE_RUNS_MAX && r->run.arena.used < SPARE_ARENA_MAX && !f->closed;

    for (size_t i = 0; i < r->run.graph->steps_n; i++) {
        upstream_call_fini(&r->calls[i].up);
        if (r->calls[i].model) place_unref(r->calls[i].model);
    }
    run_fini(&r->run);
    hop_unref(&r->hops);
    flow_snapshot_unref(&r->snapshot);
    if (keep) {
        list_push(&f->spare_runs, &r->link);
        f->spare_runs_n++;
        return;
    }
    arena_fini(&r->run.arena);
    free(r);
}

static void origin_told(struct flow_run *r, bool ok);

static void run_free(struct flow_run *r)
{
    struct flow *f = r->f;
    struct place *p = r->place;

    if (r->origin && !f->closed) origin_told(r, false);
    if (!f->closed) idem_settle(r, 0, -1);       /* it ends without an outcome in the log */
    timer_cancel(loop_timers(f->loop), &r->deadline);
    timer_cancel(loop_timers(f->loop), &r->outcome_retry);
    timer_cancel(loop_timers(f->loop), &r->input_retry);
    windows_cancel(r);
    list_remove(&r->link);
    list_remove(&r->parked);
    f->counters.runs_now--;
    f->counters.bytes_now -= r->bytes_counted;
    p->bytes_now -= r->bytes_counted;
    p->runs_now--;
    if (r->counted) {
        f->outside_now--;
        p->outside_now--;
    }
    intake_room(f);
    if (r->key_made) commit_touch(p);
    run_recycle(r);
    place_unref(p);
    owners_run_ended(f);
    flow_check_drained(f);
}

void flow_run_release(struct flow_run *r)
{
    bool machine = r->started ? r->run.ended : r->claim != CLAIM_OPEN && r->claim != CLAIM_WON;

    if (r->pins || r->stepping || r->request || !machine || !list_empty(&r->appends)) return;
    if (timer_is_set(&r->outcome_retry) || timer_is_set(&r->input_retry)) return;
    run_free(r);
}

/* The executor ends: calls are stopped (they borrow from the caller, so before it is told), records
 * on their way go on without the run. */
void flow_run_end(struct flow_run *r, const struct err *e)
{
    r->pins++;
    for (size_t i = 0; i < r->run.graph->steps_n; i++)
        if (r->calls[i].state != CALL_NONE) call_stop(&r->calls[i]);
    if (r->request) run_answer(r, e);
    r->pins--;
    list_each_safe(l, &r->appends) {
        list_remove(l);
        container_of(l, struct flow_append, link)->r = NULL;
    }
    run_free(r);
}

/* ---- effects ---- */

bool run_hop_wanted(const struct flow_run *r, uint32_t node)
{
    const struct flow_model_def *def = r->run.graph->nodes[node].model;

    return !r->run.graph->direct && r->record == FLOW_RECORD_ALL && r->calls[node].model &&
           (!def || def->record != FLOW_RECORD_ERRORS);
}

void run_hop_record(struct flow_run *r, uint32_t node, bool inputs)
{
    uint32_t point = inputs ? graph_point_inputs(node) : graph_point_outputs(node);
    const struct run_point *p = &r->run.points[point];
    uint32_t visits = r->run.nodes[node].visits;
    bool again = visits > 1;

    if (!run_hop_wanted(r, node)) return;
    append_record(r, &(struct append_what){.kind = APPEND_HOP,
                                           .place = r->calls[node].model,
                                           .inputs = inputs,
                                           .value = p->message,
                                           .headers = p->headers,
                                           .timestamp_ms = p->timestamp_ms,
                                           .extra_name = again ? STR("millrace-visit") : (struct str){0},
                                           .extra_value = again ? arena_printf(&r->run.arena, "%u", visits) : STR("")});
}

static void window_fired(struct timer *t)
{
    struct run_window *w = container_of(t, struct run_window, timer);
    struct flow_run *r = w->r;

    list_remove(&w->link);
    flow_run_event(r, &(struct run_event){.kind = RUN_EV_WINDOW,
                                          .node = w->node,
                                          .gate = w->gate,
                                          .visit = w->visit,
                                          .now_ms = clock_wall_ms(loop_clock(r->f->loop))});
}

static void window_open(struct flow_run *r, const struct run_effect *fx)
{
    struct run_window *w = arena_new(&r->run.arena, struct run_window);

    w->r = r;
    w->node = fx->node;
    w->gate = fx->gate;
    w->visit = fx->visit;
    list_push(&r->windows, &w->link);
    loop_timer(r->f->loop, &w->timer, fx->wait_ms, window_fired);
}

/* What kind of error it was, for those who read the record later: "<cause>/<gRPC code>/<HTTP status>". */
static void error_record(struct flow_run *r, const struct run_failure *fail, enum append_kind kind,
                         struct place *place, struct headers headers)
{
    struct str what = arena_printf(&r->run.arena, "%s/%d/%d", rc_name(fail->rc), fail->grpc_code,
                                   fail->http_status);

    append_record(r, &(struct append_what){.kind = kind,
                                           .place = place,
                                           .value = str_bytes(fail->text),
                                           .text = true,
                                           .plain = true,
                                           .headers = headers,
                                           .timestamp_ms = clock_wall_ms(loop_clock(r->f->loop)),
                                           .extra_name = STR("millrace-error"),
                                           .extra_value = what});
}

static void step_failed(struct flow_run *r, struct run_failure *fail)
{
    if (r->run.graph->direct || r->silent) return;  /* a model's own: that record is the outcome */
    fail->recorded = true;
    error_record(r, fail, APPEND_HOP, NULL, fail->headers);
}

/* An error that the state machine does not know of takes the outcome's place. */
static void outcome_replace(struct flow_run *r, enum rc rc, struct str text)
{
    struct run *run = &r->run;
    struct run_failure *fail = arena_new(&run->arena, struct run_failure);

    fail->rc = rc;
    fail->step = run->graph->name;
    fail->text = text;
    fail->headers = headers_answer(&run->arena, run->points[0].headers, NULL, 0, &r->f->deny, fail->step);
    run->outcome = RUN_ERROR;
    run->failure = fail;
}

/* A response above the size limit of the topics cannot be written: that is an error of the run. */
static void outcome_fit(struct flow_run *r)
{
    size_t n = r->run.output.message.n + (r->f->o.schemas ? SCHEMA_PREFIX_LEN : 0), max = r->f->o.message_bytes_max;

    struct trouble t;
    struct err e;

    if (r->run.outcome != RUN_OUTPUT || n <= max) return;
    t = trouble_make(TROUBLE_SIZE, "the response is %zu bytes long, messageMaxBytes is %zu", n, max);
    trouble_say(&t);
    trouble_err(&t, &e);
    outcome_replace(r, RC_TOO_LARGE, arena_dup_str(&r->run.arena, str_of(e.text)));
}

static void outcome_error(struct flow_run *r)
{
    struct run_failure *fail = r->run.failure;
    const struct graph *g = r->run.graph;

    if (g->direct) {
        error_record(r, fail, APPEND_OUTCOME, NULL, fail->headers);
        return;
    }
    if (!fail->recorded) error_record(r, fail, APPEND_HOP, NULL, fail->headers);
    fail->recorded = true;
    error_record(r, fail, APPEND_OUTCOME, r->place,
                 headers_rewrite(&r->run.arena, fail->headers, g->name, g->version));
}

static bool json_made(struct bytes message, struct buf *ret)
{
    AUTO(arena_fini) struct arena a = {0};
    struct infer_view v;
    struct err e;

    return infer_parse(message, INFER_RESPONSE, &a, &v, &e) == RC_OK && payload_write_json(&v, ret, &e) == RC_OK;
}

static void outcome_output(struct flow_run *r)
{
    AUTO(buf_fini) struct buf store = {0};
    AUTO(buf_fini) struct buf json = {0};
    const struct run_point *p = &r->run.output;
    struct str lacks;
    struct bytes value = redact_message(r, INFER_RESPONSE, p->message, &store, &lacks);

    bool plain = r->json && json_made(value, &json);

    if (plain) value = buf_view(&json);
    if (r->record == FLOW_RECORD_ERRORS && !r->outside) { /* an outside producer has no other answer */
        r->outcome_done = true;
        return;
    }
    append_record(r, &(struct append_what){.kind = APPEND_OUTCOME,
                                           .place = r->place,
                                           .value = value,
                                           .text = true,
                                           .lacks = lacks,
                                           .plain = plain,
                                           .headers = p->headers,
                                           .timestamp_ms = p->timestamp_ms});
}

uint64_t run_outcome_until_ms(const struct flow_run *r)
{
    bool asked = r->key_made && !r->counted && owners_shared(r->f);

    return asked ? r->deadline_ms + r->f->o.recover_grace_ms / 2 : 0;
}

static void stuck_add(struct flow_run *r);

/* A process that was stopped for a while and wakes up may find that the owner of the number has ended the run meanwhile. */
static bool outcome_too_late(struct flow_run *r)
{
    uint64_t until = run_outcome_until_ms(r);
    struct err e;

    if (!until || loop_now_ms(r->f->loop) <= until || r->silent || r->record == FLOW_RECORD_NONE) return false;
    r->outcome_lost = true;
    stuck_add(r);
    err_set(&e, RC_TIMEOUT, "outcome unknown: the deadline passed before the outcome could be written");
    trouble_more(&e);
    if (r->request && !r->f->o.reply_immediate) run_answer(r, &e);
    return true;
}

static void outcome_write(struct flow_run *r)
{
    if (outcome_too_late(r)) return;
    if (r->silent || r->record == FLOW_RECORD_NONE || r->run.outcome == RUN_EMPTY)
        r->outcome_done = true;
    else if (r->run.outcome == RUN_ERROR) outcome_error(r);
    else outcome_output(r);
}

static void outcome(struct flow_run *r)
{
    outcome_fit(r);
    if (r->run.outcome == RUN_ERROR) r->f->counters.runs_failed++;
    else r->f->counters.runs_ok++;
    outcome_write(r);
}

void flow_run_fail(struct flow_run *r, enum rc rc, struct str text)
{
    r->started = r->run.ended = true;
    outcome_replace(r, rc, text);
    outcome(r);
    flow_run_release(r);
}

static void effects(struct flow_run *r)
{
    for (size_t i = 0; i < r->run.fx_n; i++) {
        const struct run_effect fx = r->run.fx[i];

        switch (fx.kind) {
        case RUN_FX_CALL:
            r->calls[fx.node].joins = batch_wanted(r, fx.node);
            r->calls[fx.node].batched = false;
            if (!r->calls[fx.node].joins) run_hop_record(r, fx.node, true);
            call_step(r, fx.node);
            break;
        case RUN_FX_ANSWERED:
            if (!r->calls[fx.node].batched) run_hop_record(r, fx.node, false);
            break;
        case RUN_FX_FAILED: step_failed(r, fx.failure); break;
        case RUN_FX_WINDOW: window_open(r, &fx); break;
        case RUN_FX_STOP: call_stop(&r->calls[fx.node]); break;
        case RUN_FX_OUTCOME: outcome(r); break;
        case RUN_FX_END: break;
        }
    }
}

/* ---- turns ---- */

static void account(struct flow_run *r)
{
    size_t now = r->run.points[0].message.n + r->run.bytes;

    r->f->counters.bytes_now += now - r->bytes_counted;
    r->place->bytes_now += now - r->bytes_counted;
    r->bytes_counted = now;
}

/* ev NULL: only the calls that ended. The run may be gone afterwards. */
void flow_run_event(struct flow_run *r, const struct run_event *ev)
{
    struct list *l;

    must(!r->stepping);
    r->stepping = true;
    if (ev) {
        run_step(&r->run, ev);
        effects(r);
    }
    while ((l = list_pop(&r->calls_done))) {
        struct run_call *c = container_of(l, struct run_call, link);
        struct upstream_call up = c->up;         /* the step may be called again at once */
        struct run_event done;

        c->up = (struct upstream_call){0};
        call_event(c, &up, &done);
        run_step(&r->run, &done);
        effects(r);
        upstream_call_fini(&up);
    }
    r->stepping = false;
    account(r);
    r->pins++;
    run_check_answer(r);
    r->pins--;
    flow_run_release(r);
}

/* The caller's deadline is answered at once, whatever is still on its way to the log. */
static void deadline_fired(struct timer *t)
{
    struct flow_run *r = container_of(t, struct flow_run, deadline);
    struct flow *f = r->f;
    bool open = r->run.outcome == RUN_OPEN, last = loop_now_ms(f->loop) >= r->last_ms, late;
    struct run_event ev = {.kind = last ? RUN_EV_STOP : RUN_EV_DEADLINE,
                           .rc = RC_TIMEOUT,
                           .text = arena_printf(&r->run.arena, "no answer within %" PRIu64 " ms",
                                                loop_now_ms(f->loop) - r->from_ms),
                           .now_ms = clock_wall_ms(loop_clock(f->loop))};
    struct err e;

    r->pins++;
    if (r->started) flow_run_event(r, &ev);
    if (!r->started && list_empty(&r->appends) && r->claim != CLAIM_OPEN) err_set(&e, RC_TIMEOUT, "the deadline passed before it could start");
    else err_set(&e, RC_TIMEOUT, "outcome unknown: the deadline passed before the log acknowledged it");
    trouble_more(&e);
    /* A model call has the same deadline and may have been told first: that is the same answer, and it names the step. */
    late = r->run.outcome == RUN_ERROR && r->run.failure->rc == RC_TIMEOUT;
    if (r->request) run_answer(r, (open || late) && r->started ? NULL : &e);
    if (r->started && !r->run.ended)
        timer_set(loop_timers(f->loop), &r->deadline, r->last_ms, deadline_fired);
    r->pins--;
    flow_run_release(r);
}

void flow_run_timer(struct flow_run *r)
{
    timer_set(loop_timers(r->f->loop), &r->deadline, r->deadline_ms, deadline_fired);
}

void flow_run_start(struct flow_run *r)
{
    must(!r->started);
    r->started = true;
    r->f->counters.runs_started++;
    flow_run_event(r, &(struct run_event){.kind = RUN_EV_START,
                                          .now_ms = clock_wall_ms(loop_clock(r->f->loop))});
}

void flow_run_stop(struct flow_run *r, enum rc rc, struct str why)
{
    if (!r->started) {
        flow_run_release(r);
        return;
    }
    flow_run_event(r, &(struct run_event){.kind = RUN_EV_STOP,
                                          .rc = rc,
                                          .text = why,
                                          .now_ms = clock_wall_ms(loop_clock(r->f->loop))});
}

/* ---- acknowledgements ---- */

/* A caller's, whom its gateway may still answer. Else the owner of its number runs it when it meets its input, whoever wrote that. */
static bool is_callers(const struct flow_run *r)
{
    return !r->outside && !graph_no_output(r->run.graph);
}

/* Without its input in the log a run was never admitted: it ends without a trace. */
static void input_failed(struct flow_run *r, const struct err *why)
{
    struct err *e = arena_new(&r->run.arena, struct err);

    *e = *why;
    err_in(e, "the input could not be recorded");
    r->input_err = e;
    r->silent = true;
    if (why->rc == RC_TIMEOUT && owners_shared(r->f) && is_callers(r)) stuck_add(r);    /* it may be in the log all the same */
    r->pins++;
    flow_run_stop(r, RC_CANCELLED, STR("the input could not be recorded"));
    if (r->request) run_answer(r, e);
    r->pins--;
}

/* Its deadline, by the wall clock, as the run id has it. */
static int64_t due_ms(const struct flow_run *r)
{
    struct loop *l = r->f->loop;

    return clock_wall_ms(loop_clock(l)) + (int64_t)r->deadline_ms - (int64_t)loop_now_ms(l) + (int64_t)r->f->o.recover_grace_ms;
}

static void stuck_add(struct flow_run *r)
{
    struct flow *f = r->f;
    struct str name = r->place->name;
    struct run_id id;
    char *block;

    if (!r->key_made || r->record == FLOW_RECORD_NONE || f->stuck_n == STUCK_MAX || !run_id_parse(r->id, &id)) return;
    block = xcalloc(1, name.n + id.identity.n + 1);
    memcpy(block, name.p, name.n);
    memcpy(block + name.n, id.identity.p, id.identity.n);
    f->stuck = xrealloc(f->stuck, f->stuck_n + 1, sizeof *f->stuck);
    f->stuck[f->stuck_n++] = (struct stuck){.name = {block, name.n},
                                            .model = r->place->model,
                                            .exact = r->input_done,
                                            .partition = r->partition,
                                            .offset = r->input_offset,
                                            .due_ms = due_ms(r),
                                            .identity = {block + name.n, id.identity.n}};
    commit_touch(r->place);
}

void flow_run_give_up(struct flow_run *r)
{
    timer_cancel(loop_timers(r->f->loop), &r->outcome_retry);
    if (r->outcome_done) return;
    r->silent = true;
    stuck_add(r);
}

static void outcome_again(struct timer *t)
{
    struct flow_run *r = container_of(t, struct flow_run, outcome_retry);

    outcome_write(r);
    flow_run_release(r);
}

/* Somebody deleted the topic, and it is being made again (append.c): nothing was written, nobody need hear of it. */
static bool topic_comes_back(const struct flow_run *r, const struct err *why)
{
    return why->rc == RC_NOT_FOUND && !r->late && !r->silent && r->place->state == PLACE_READY && loop_now_ms(r->f->loop) < r->last_ms;
}

static void input_again(struct timer *t)
{
    struct flow_run *r = container_of(t, struct flow_run, input_retry);

    if (r->silent) flow_run_release(r);
    else run_input_again(r);
}

/* Nothing was written, so it may be tried again (a bus far away that ran out of time may have
 * written it: there the next owner finishes the run). The caller hears of it at once. */
static void outcome_failed(struct flow_run *r, const struct err *why)
{
    enum { RETRY_MS = 250 };
    struct flow *f = r->f;
    bool again = why->rc == RC_OVERLOAD || why->rc == RC_UNAVAILABLE || why->rc == RC_DISK_FULL;
    struct err e = *why;

    if (topic_comes_back(r, why)) {
        loop_timer(f->loop, &r->outcome_retry, TOPIC_AGAIN_MS, outcome_again);
        return;
    }
    r->outcome_lost = true;
    if (r->request && !f->o.reply_immediate) {
        err_in(&e, "the outcome could not be recorded");
        run_answer(r, &e);
    }
    if (again && !r->late) loop_timer(f->loop, &r->outcome_retry, RETRY_MS, outcome_again);
    else stuck_add(r);
}

static void origin_told(struct flow_run *r, bool ok)
{
    struct join *j = r->origin;

    r->origin = NULL;
    if (j) tap_admitted(j, ok);
}

void flow_run_appended(struct flow_run *r, struct flow_append *a)
{
    const struct err *why = &a->a.op.err;

    r->pins++;
    if (a->kind == APPEND_OUTCOME && why->rc) {
        outcome_failed(r, why);
    } else if (a->kind == APPEND_OUTCOME) {
        r->outcome_done = true;
        idem_settle(r, a->a.partition, a->a.offset);
    } else if (r->claim == CLAIM_LOST) {
        r->input_done = true;                    /* in the log or not, it is no run */
    } else if (topic_comes_back(r, why)) {
        loop_timer(r->f->loop, &r->input_retry, TOPIC_AGAIN_MS, input_again);
    } else if (why->rc) {
        r->claim = CLAIM_NONE;
        origin_told(r, false);
        input_failed(r, why);
    } else {
        r->input_done = true;
        r->input_offset = a->a.offset;
        origin_told(r, true);
        r->place->acked[a->a.partition] = MAX(r->place->acked[a->a.partition], a->a.offset);
        if (r->claim != CLAIM_NONE) idem_acked(r);
        else if (!r->started && r->late) flow_run_give_up(r);    /* its caller was told that this process is stopping */
        else if (!r->started) run_admitted(r);
    }
    run_check_answer(r);
    r->pins--;
    flow_run_release(r);
}
