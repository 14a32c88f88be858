/* Requests in, answers out. What can be refused is refused before anything is written: unknown
 * names, malformed messages, sizes, overload. Then the input record is sent on its way and the run
 * starts beside it; a pipeline without output starts when its input is in the log.
 *
 * A request for a pipeline whose topics are still being made waits ("parked") until they are there,
 * within its deadline. SPDX-License-Identifier: Apache-2.0 */
#include "flow/idem.h"
#include "bus/trouble.h"
#include "flow/owners.h"
#include "flow/tap.h"
#include <inttypes.h>

enum { RETRY_AFTER_MS = 1000 };

/* ---- answers ---- */

static struct str put(char **p, struct str s)
{
    char *at = *p;

    if (s.n) memcpy(at, s.p, s.n);
    *p += s.n;
    return (struct str){at, s.n};
}

/* Answers that speak of a record (its headers, its key) own one block that holds all of it. */
static void answer_headers(struct flow_request *q, struct headers h, struct bytes key,
                           struct str step)
{
    size_t n = 0, text = key.n + step.n;
    struct header *v;
    char *p;

    for (size_t i = 0; i < h.n; i++)
        if (headers_to_caller(h.v[i].name)) {
            n++;
            text += h.v[i].name.n + h.v[i].value.n;
        }
    v = xcalloc(1, n * sizeof *v + text + 1);
    p = (char *)(v + n);
    n = 0;
    for (size_t i = 0; i < h.n; i++)
        if (headers_to_caller(h.v[i].name)) {
            v[n].name = put(&p, h.v[i].name);
            v[n++].value = put(&p, h.v[i].value);
        }
    q->key = put(&p, bytes_str(key));
    q->step = put(&p, step);
    q->response_headers = v;
    q->response_headers_n = n;
}

void flow_request_fini(struct flow_request *q)
{
    buf_fini(&q->response);
    buf_fini(&q->message_text);
    free(q->response_headers);
    q->response_headers = NULL;
    q->response_headers_n = 0;
    q->key = q->step = (struct str){0};
}

static void refuse(struct flow_request *q, const struct err *e)
{
    q->priv = NULL;
    q->err = *e;
    buf_append_str(&q->message_text, str_of(e->text));
    if (e->rc == RC_OVERLOAD || e->rc == RC_UNAVAILABLE) q->retry_after_ms = RETRY_AFTER_MS;
    q->done(q);
}

static void answer_failure(struct flow_run *r, struct flow_request *q)
{
    const struct run_failure *fail = r->run.failure;
    const struct graph *g = r->run.graph;
    struct headers h = g->direct ? fail->headers
                                 : headers_rewrite(&r->run.arena, fail->headers, g->name, g->version);

    buf_printf(&q->message_text, STR_FMT " : ", STR_ARG(fail->step));
    buf_append_str(&q->message_text, fail->text);
    err_set(&q->err, fail->rc, STR_FMT " : " STR_FMT, STR_ARG(fail->step), STR_ARG(fail->text));
    q->grpc_code = fail->grpc_code;
    q->http_status = fail->http_status;
    q->retry_after_ms = fail->retry_after_ms;
    answer_headers(q, h, r->key, fail->step);
}

/* Others may wait for the same answer: then it is copied. */
static void answer_output(struct flow_run *r, struct flow_request *q, bool take)
{
    struct run_point *p = r->run.graph->direct ? &r->run.points[2] : &r->run.output;

    if (take && !r->idem) q->response = buf_take(&p->owned);
    else buf_append(&q->response, buf_view(&p->owned));
    answer_headers(q, r->run.output.headers, r->key, (struct str){0});
}

/* The caller lent its message until now; branches that run on need a copy. */
static struct flow_request *request_take(struct flow_run *r)
{
    struct flow_request *q = r->request;

    r->request = NULL;
    q->priv = NULL;
    if (r->started ? !r->run.ended : graph_no_output(r->run.graph) || r->claim != CLAIM_NONE) run_keep(&r->run);
    return q;
}

static void answer_fill(struct flow_run *r, struct flow_request *q, bool take)
{
    q->err = (struct err){0};
    switch (r->run.outcome) {
    case RUN_OUTPUT: answer_output(r, q, take); break;
    case RUN_ERROR: answer_failure(r, q); break;
    case RUN_OPEN:
    case RUN_EMPTY:
        q->accepted = true;
        answer_headers(q, r->run.points[0].headers, r->key, (struct str){0});
        break;
    }
}

void run_answer(struct flow_run *r, const struct err *e)
{
    struct flow_request *q = request_take(r);

    if (e) {
        refuse(q, e);
        return;
    }
    answer_fill(r, q, true);
    q->done(q);
}

void run_answer_with(struct flow_run *r, struct headers h, struct bytes key, struct str step)
{
    struct flow_request *q = request_take(r);

    answer_headers(q, h, key, step);
    q->done(q);
}

void run_answer_like(struct flow_run *r, struct flow_run *other, bool accepted)
{
    struct flow_request *q = request_take(r);

    if (other->input_err) {
        refuse(q, other->input_err);
        return;
    }
    if ((other->run.outcome == RUN_OPEN && !accepted) || (other->outcome_lost && !other->outcome_done)) {
        struct err e;

        err_set(&e, RC_UNAVAILABLE, "the request that holds this idempotency key ended without an outcome in the log");
        refuse(q, &e);
        return;
    }
    answer_fill(other, q, false);
    q->done(q);
}

/* The reply is released when the input and the outcome are in the log, or as soon as it is decided
 * (gateway.reply: immediate). */
void run_check_answer(struct flow_run *r)
{
    if (!r->request || r->run.outcome == RUN_OPEN) return;
    if (r->input_err) {
        run_answer(r, r->input_err);
        return;
    }
    if (!r->f->o.reply_immediate && (!r->input_done || !r->outcome_done)) return;
    run_answer(r, NULL);
}

/* ---- admission ---- */

/* The same key always goes to the same partition. */
int32_t run_partition_of_key(const struct place *p, const struct idem_hash *key)
{
    return (int32_t)(load_be32(key->b) % (uint32_t)MAX(p->inputs.partitions, 1));
}

static int32_t partition_choose(struct flow *f, const struct flow_run *r)
{
    return r->idem ? run_partition_of_key(r->place, &r->idem->key) : owners_prefer(f, MAX(r->place->inputs.partitions, 1));
}

static void run_identify(struct flow_run *r, int32_t partition, struct str request_id)
{
    struct flow *f = r->f;
    const struct bus_facts *facts = bus_facts(f->bus);
    int64_t wall = clock_wall_ms(loop_clock(f->loop)), left = (int64_t)r->deadline_ms - (int64_t)loop_now_ms(f->loop);
    struct run_id id = {
        .cluster = str_of(facts->cluster_id),
        .topic = str_of(r->place->inputs.id),
        .incarnation = str_of(facts->incarnation),
        .number = f->run_number * f->o.loops_n + f->o.loop_index,
        .attempt = 1,
        .deadline_wall_ms = !r->request || graph_no_output(r->run.graph) ? 0 : wall + left,
    };

    f->run_number++;
    r->key_made = true;
    r->attempt = 1;
    r->input_offset = r->place->acked ? r->place->acked[partition] + 1 : 0;
    r->partition = partition;
    r->key = str_bytes(name_key(&r->run.arena, partition, r->run.graph->name, request_id));
    r->id = run_id_print(&r->run.arena, &id);
}

static void input_append(struct flow_run *r)
{
    const struct run_point *p = &r->run.points[0];
    struct append_what w = {.kind = APPEND_INPUT,
                            .place = r->place,
                            .inputs = true,
                            .value = p->message,
                            .headers = p->headers,
                            .timestamp_ms = p->timestamp_ms};

    if (r->sources.n) {
        w.extra_name = STR("millrace-source");
        w.extra_value = r->sources;
    }
    if (r->idem) {
        const struct idem_claim c = {r->idem->key, r->idem->input, r->idem->freed_at};

        w.extra_name = STR(IDEM_HEADER);
        w.extra_value = idem_header_print(&r->run.arena, &c);
    }
    append_record(r, &w);
}

void run_input_again(struct flow_run *r)
{
    input_append(r);
}

void run_claim(struct flow_run *r)
{
    r->claim = CLAIM_OPEN;
    r->input_done = r->outcome_done = false;     /* those of a claim that was lost */
    run_identify(r, partition_choose(r->f, r), r->request->request_id);
    input_append(r);
}

/* Nobody waits for the run of a pipeline without output: its time is that of an outside record. Where numbers are shared the
 * owner of its number meets it in the log and runs it, which may be this process. */
void run_admitted(struct flow_run *r)
{
    bool recorded = r->record == FLOW_RECORD_ALL || r->record == FLOW_RECORD_ENDS;

    r->pins++;
    run_keep(&r->run);
    idem_accepted(r);
    if (r->request) run_answer(r, NULL);
    if (owners_shared(r->f) && (recorded || r->outside)) {
        r->pins--;
        flow_run_release(r);
        return;
    }
    r->from_ms = loop_now_ms(r->f->loop);
    r->deadline_ms = r->last_ms = r->from_ms + r->f->o.timeout_ms;
    flow_run_timer(r);
    flow_run_start(r);
    r->pins--;
    flow_run_release(r);
}

/* From other pipelines: as a request, but the key is theirs, and nobody waits. */
enum rc run_admit_tapped(struct place *p, const struct tap_input *in, struct flow_run **ret)
{
    struct flow *f = p->f;
    const struct graph *g = p->pipeline->graph;
    struct headers h;
    struct flow_run *r;
    struct err e;

    if (g->why.rc) return g->why.rc;
    r = flow_run_new(f, p, g);
    r->counted = true;
    f->outside_now++;
    p->outside_now++;
    f->counters.outside++;
    r->from_ms = loop_now_ms(f->loop);
    r->deadline_ms = r->last_ms = r->from_ms + f->o.timeout_ms;
    h = headers_rewrite(&r->run.arena, headers_copy_to(&r->run.arena, in->headers), g->name, g->version);
    must(run_accept(&r->run, in->message, h, in->timestamp_ms, &e) == RC_OK);
    run_keep(&r->run);
    run_identify(r, in->partition, (struct str){0});
    r->key = in->key.p ? arena_dup(&r->run.arena, in->key) : (struct bytes){0};
    r->sources = arena_dup_str(&r->run.arena, in->sources);
    r->origin = in->origin;
    r->outside = true;
    r->pins++;
    input_append(r);
    r->pins--;
    *ret = r;
    return RC_OK;
}

static void run_admit(struct flow_run *r)
{
    const struct flow_request *q = r->request;
    bool recorded = r->record == FLOW_RECORD_ALL || r->record == FLOW_RECORD_ENDS;

    if (q->idempotency_key.n && recorded && !idem_admit(r)) return;
    run_identify(r, partition_choose(r->f, r), q->request_id);
    r->input_done = !recorded;
    r->pins++;
    if (recorded) input_append(r);
    if (r->silent) {                             /* refused at once */
    } else if (!graph_no_output(r->run.graph)) {
        flow_run_start(r);
    } else if (!recorded) {
        run_admitted(r);
    }
    r->pins--;
    flow_run_release(r);
}

void run_unpark(struct flow_run *r)
{
    bool wait = false;
    struct err e;

    if (place_check(r->place, r->run.graph, &wait, &e) == RC_OK) {
        run_admit(r);
    } else if (wait) {
        list_push(&r->f->parked, &r->parked);
    } else {
        r->pins++;
        run_answer(r, &e);
        r->pins--;
        flow_run_release(r);
    }
}

static enum rc find(struct flow *f, const struct flow_request *q, struct place **ret_place,
                    const struct graph **ret_graph, struct err *e)
{
    struct place *p = map_get_str(q->model ? &f->models : &f->pipelines, q->name);

    if (!p)
        return err_set(e, RC_NOT_FOUND, "%s " STR_FMT " does not exist",
                       q->model ? "model" : "pipeline", STR_ARG(q->name));
    *ret_place = p;
    *ret_graph = q->model ? p->def->graph : p->pipeline->graph;
    if ((*ret_graph)->why.rc) {
        *e = (*ret_graph)->why;
        return err_in(e, "pipeline " STR_FMT, STR_ARG(q->name));
    }
    return RC_OK;
}

/* Before it travels. */
static enum rc too_large(const struct flow *f, size_t n, struct err *e)
{
    struct trouble t = trouble_make(TROUBLE_SIZE, "the request is %zu bytes long, messageMaxBytes is %zu", n, f->o.message_bytes_max);

    trouble_say(&t);
    return trouble_err(&t, e);
}

static bool logged(const struct flow *f, const struct flow_request *q)
{
    return !q->model || f->o.models_logged;
}

/* Its deadline would be spent on a log that does not come back. */
static enum rc log_there(const struct flow *f, const struct flow_request *q, struct err *e)
{
    struct str why;

    if (!logged(f, q) || !bus_away(f->bus, &why)) return RC_OK;
    return err_set(e, RC_UNAVAILABLE, "the input was not recorded: " STR_FMT, STR_ARG(why));
}

static enum rc room(struct flow *f, const struct flow_request *q, const struct place *p, struct err *e)
{
    const struct flow_counters *c = &f->counters;
    uint64_t now = loop_now_ms(f->loop);

    if (f->draining) return err_set(e, RC_UNAVAILABLE, "this process is stopping");
    if (q->message.n > f->o.message_bytes_max)
        return too_large(f, q->message.n, e);
    if (c->runs_now >= f->o.runs_max)
        return err_set(e, RC_OVERLOAD, "%" PRIu64 " requests are in flight, more are not taken (gateway.inFlightMax)",
                       c->runs_now);
    if (c->bytes_now > 0 && c->bytes_now + q->message.n > f->o.runs_bytes_max)
        return err_set(e, RC_OVERLOAD, "requests in flight hold %" PRIu64
                       " bytes, more are not taken (gateway.inFlightBytesMax)", c->bytes_now);
    if (share_taken(p->runs_now, c->runs_now, f->o.runs_max))
        return err_set(e, RC_OVERLOAD, "%" PRIu32 " requests to %s " STR_FMT " are in flight, the rest is for others (gateway.inFlightMax)", p->runs_now,
                       p->model ? "model" : "pipeline", STR_ARG(p->name));
    if (p->bytes_now > 0 && share_taken(p->bytes_now + q->message.n, c->bytes_now, f->o.runs_bytes_max))
        return err_set(e, RC_OVERLOAD, "requests to %s " STR_FMT " in flight hold %zu bytes, the rest is for others (gateway.inFlightBytesMax)",
                       p->model ? "model" : "pipeline", STR_ARG(p->name), p->bytes_now);
    if (q->deadline_ms <= now) return err_set(e, RC_TIMEOUT, "the deadline passed before it could start");
    return RC_OK;
}

static enum rc run_make(struct flow *f, struct flow_request *q, struct place *p,
                        const struct graph *g, struct flow_run **ret, struct err *e)
{
    struct flow_run *r = flow_run_new(f, p, g);
    struct headers h = headers_admit(&r->run.arena, q->headers, q->headers_n, &f->deny, g->name, q->request_id);

    r->from_ms = loop_now_ms(f->loop);
    r->deadline_ms = q->deadline_ms;
    r->last_ms = MAX(q->deadline_ms, r->from_ms + f->o.timeout_ms);
    if (run_accept(&r->run, q->message, h, clock_wall_ms(loop_clock(f->loop)), e)) {
        flow_run_release(r);
        return err_in(e, "request");
    }
    r->bytes_counted = q->message.n;
    f->counters.bytes_now += q->message.n;
    p->bytes_now += q->message.n;
    r->request = q;
    q->priv = r;
    flow_run_timer(r);
    *ret = r;
    return RC_OK;
}

void flow_start(struct flow *f, struct flow_request *q)
{
    const struct graph *g = NULL;
    struct flow_run *r = NULL;
    struct place *p = NULL;
    bool wait = false;
    struct err e = {0};

    q->priv = NULL;
    if (find(f, q, &p, &g, &e) || room(f, q, p, &e) || log_there(f, q, &e)) {
        if (e.rc == RC_OVERLOAD) f->counters.overload++;
        refuse(q, &e);
        return;
    }
    if (forward_wanted(f, q)) {
        forward_start(f, q);
        return;
    }
    if (run_make(f, q, p, g, &r, &e)) {
        refuse(q, &e);
        return;
    }
    if (!logged(f, q)) r->record = FLOW_RECORD_NONE;
    if (place_check(p, g, &wait, &e) == RC_OK || !logged(f, q)) run_admit(r);
    else if (wait) list_push(&f->parked, &r->parked);
    else {
        run_answer(r, &e);
        flow_run_release(r);
    }
}

void flow_cancel(struct flow *f, struct flow_request *q)
{
    const enum holder *holder = q->priv;
    struct flow_run *r = q->priv;
    struct err e;

    (void)f;
    if (!holder) return;
    if (*holder == HOLDER_FORWARD) {
        forward_cancel(q->priv);
        return;
    }
    err_set(&e, RC_CANCELLED, "the caller went away");
    list_remove(&r->parked);
    r->pins++;
    if (r->started && !graph_no_output(r->run.graph) && !idem_wanted(r)) flow_run_stop(r, RC_CANCELLED, STR("the caller went away"));
    if (r->request) run_answer(r, &e);
    r->pins--;
    flow_run_release(r);
}
