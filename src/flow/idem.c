/* See flow/idem.h. A request that finds its key taken becomes a run that is not started: it has a
 * deadline and can be cancelled like one that waits for topics, and is answered with a copy of what
 * the first one gets, or out of the log. SPDX-License-Identifier: Apache-2.0 */
#include "flow/idem.h"
#include "bus/schema.h"
#include "flow/owners.h"
#include <inttypes.h>
#include <openssl/sha.h>

/* ---- hashes ---- */

struct idem_hash idem_hash(struct bytes b)
{
    uint8_t full[SHA256_DIGEST_LENGTH];
    struct idem_hash h;

    SHA256(b.p, b.n, full);
    memcpy(h.b, full, sizeof h.b);
    return h;
}

static void hex_put(char *to, const struct idem_hash *h)
{
    static const char digits[] = "0123456789abcdef";

    for (size_t i = 0; i < IDEM_HASH; i++) {
        to[2 * i] = digits[h->b[i] >> 4];
        to[2 * i + 1] = digits[h->b[i] & 15];
    }
}

static bool hex_get(const char *from, struct idem_hash *h)
{
    for (size_t i = 0; i < 2 * IDEM_HASH; i++) {
        char c = from[i];
        int v = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;

        if (v < 0) return false;
        h->b[i / 2] = (uint8_t)(i % 2 ? h->b[i / 2] | v : v << 4);
    }
    return true;
}

struct str idem_header_print(struct arena *a, const struct idem_claim *c)
{
    char text[4 * IDEM_HASH + 1];

    hex_put(text, &c->key);
    text[2 * IDEM_HASH] = '/';
    hex_put(text + 2 * IDEM_HASH + 1, &c->input);
    return c->after < 0 ? arena_dup_str(a, (struct str){text, sizeof text})
                        : arena_printf(a, "%.*s/%" PRId64, (int)sizeof text, text, c->after);
}

bool idem_header_parse(struct str s, struct idem_claim *ret)
{
    enum { N = 4 * IDEM_HASH + 1 };

    ret->after = -1;
    if (s.n < N || s.p[2 * IDEM_HASH] != '/' || !hex_get(s.p, &ret->key) || !hex_get(s.p + 2 * IDEM_HASH + 1, &ret->input)) return false;
    if (s.n == N) return true;
    return s.p[N] == '/' && str_to_i64((struct str){s.p + N + 1, s.n - N - 1}, &ret->after) && ret->after >= 0;
}

/* ---- what is kept ---- */

bool idem_keeps(enum rc rc, int grpc_code, int http_status)
{
    enum { INVALID_ARGUMENT = 3, NOT_FOUND = 5, ALREADY_EXISTS = 6, PERMISSION_DENIED = 7,
           FAILED_PRECONDITION = 9, OUT_OF_RANGE = 11, UNIMPLEMENTED = 12, UNAUTHENTICATED = 16 };

    if (rc != RC_UPSTREAM) return false;
    if (http_status) return http_status >= 400 && http_status < 500;
    return grpc_code == INVALID_ARGUMENT || grpc_code == NOT_FOUND || grpc_code == ALREADY_EXISTS ||
           grpc_code == PERMISSION_DENIED || grpc_code == FAILED_PRECONDITION || grpc_code == OUT_OF_RANGE ||
           grpc_code == UNIMPLEMENTED || grpc_code == UNAUTHENTICATED;
}

bool idem_error_parse(struct str s, int *ret_grpc, int *ret_http, bool *ret_upstream)
{
    struct str what, grpc, http;
    int64_t g, h;

    if (!str_cut(s, '/', &what, &s) || !str_cut(s, '/', &grpc, &http)) return false;
    if (!str_to_i64(grpc, &g) || !str_to_i64(http, &h) || g < 0 || h < 0 || g > INT32_MAX || h > INT32_MAX) return false;
    *ret_grpc = (int)g;
    *ret_http = (int)h;
    *ret_upstream = str_is(what, rc_name(RC_UPSTREAM));
    return true;
}

bool idem_record_keeps(const struct bus_record *rec, bool *ret_error)
{
    bool upstream = false;
    int grpc, http;

    *ret_error = false;
    for (size_t i = 0; i < rec->headers_n; i++) {
        if (!str_is(rec->headers[i].key, "millrace-error")) continue;
        *ret_error = true;
        return idem_error_parse(bytes_str(rec->headers[i].value), &grpc, &http, &upstream) && upstream && idem_keeps(RC_UPSTREAM, grpc, http);
    }
    return true;
}

static bool run_keeps(const struct flow_run *r)
{
    const struct run_failure *fail = r->run.failure;

    if (r->run.outcome == RUN_OUTPUT) return true;
    return r->run.outcome == RUN_ERROR && idem_keeps(fail->rc, fail->grpc_code, fail->http_status);
}

/* ---- entries ---- */

static struct bytes key_of(const struct idem_hash *h)
{
    return bytes_of(h->b, sizeof h->b);
}

struct idem *idem_find(const struct idem_index *x, const struct idem_hash *key)
{
    return map_get(&x->by_key, key_of(key));
}

struct idem *idem_put(struct idem_index *x, const struct idem_hash *key, const struct idem_hash *input, int64_t wall_ms)
{
    struct idem *i = xnew(struct idem);

    i->index = x;
    i->key = *key;
    i->input = *input;
    i->wall_ms = wall_ms;
    i->input_at = i->freed_at = -1;
    list_init(&i->waiters);
    list_init(&i->watch);
    list_push(&x->by_time, &i->link);
    map_put(&x->by_key, key_of(key), i);
    x->place->f->idem_n++;
    return i;
}

void idem_drop(struct idem *i)
{
    list_remove(&i->link);
    list_remove(&i->watch);
    map_del(&i->index->by_key, key_of(&i->key));
    if (i->identity) map_del_str(&i->index->by_identity, str_of(i->identity));
    free(i->identity);
    i->index->place->f->idem_n--;
    free(i);
}

void idem_purge(struct idem_index *x)
{
    struct flow *f = x->place->f;
    int64_t before = clock_wall_ms(loop_clock(f->loop)) - (int64_t)f->o.idempotency_window_ms;

    list_each_safe(l, &x->by_time) {
        struct idem *i = container_of(l, struct idem, link);

        if (i->wall_ms >= before) return;
        if (!i->run && list_empty(&i->waiters)) idem_drop(i);
    }
}

struct idem_index *idem_index_of(struct place *p)
{
    if (p->idem) return p->idem;
    p->idem = xnew(struct idem_index);
    p->idem->place = p;
    list_init(&p->idem->by_time);
    list_init(&p->idem->waiting);
    list_init(&p->idem->watched);
    list_init(&p->idem->asking);
    list_init(&p->idem->asked);
    return p->idem;
}

void idem_forget(struct idem_index *x)
{
    while (!list_empty(&x->by_time))
        idem_drop(container_of(x->by_time.next, struct idem, link));
    x->state = IDEM_UNREAD;
    x->read_n = 0;
}

void idem_index_free(struct idem_index *x)
{
    if (!x) return;
    idem_forget(x);
    map_fini(&x->by_key);
    idem_follow_free(x);
    free(x);
}

/* ---- answers ---- */

static void refuse(struct flow_run *r, const struct err *e)
{
    r->pins++;
    run_answer(r, e);
    r->pins--;
    flow_run_release(r);
}

struct looking { struct bus_fetch fetch; struct flow_run *r; struct flow *f; bool accepted; };

/* The outcome as a record, back into an answer. */
static void answer_record(struct flow_run *r, const struct bus_record *rec, bool accepted)
{
    struct flow_request *q = r->request;
    struct str error = {0}, step = {0}, lacks = {0};
    struct headers h = {.v = arena_array(&r->run.arena, struct header, rec->headers_n)};
    bool upstream = false;
    int grpc = 0, http = 0;

    for (size_t i = 0; i < rec->headers_n; i++) {
        struct str name = rec->headers[i].key, value = bytes_str(rec->headers[i].value);

        if (str_is(name, "millrace-error")) error = value;
        else if (str_is(name, "seldon-pipeline-errors")) step = value;
        else if (str_is(name, REDACTED_HEADER)) lacks = value;
        else h.v[h.n++] = (struct header){name, value};
    }
    if (error.n && idem_error_parse(error, &grpc, &http, &upstream)) {
        q->grpc_code = grpc;
        q->http_status = http;
        buf_printf(&q->message_text, STR_FMT " : ", STR_ARG(step));
        buf_append(&q->message_text, rec->value);
        err_set(&q->err, RC_UPSTREAM, STR_FMT, STR_ARG(buf_str(&q->message_text)));
    } else if (lacks.n && !accepted) {
        err_set(&q->err, RC_EXISTS, "the request with this idempotency key was answered; the answer is not kept whole, it lacks "
                STR_FMT " (flow.redact)", STR_ARG(lacks));
        buf_append_str(&q->message_text, str_of(q->err.text));
    } else {
        q->err = (struct err){0};
        q->accepted = accepted;
        if (!accepted) buf_append(&q->response, schema_message(rec->value));
    }
    run_answer_with(r, h, rec->key, step);
}

void idem_waiters_tell(struct list *waiters, const struct bus_record *rec)
{
    struct list todo;

    list_move(waiters, &todo);
    for (struct list *l; (l = list_pop(&todo));) {
        struct flow_run *w = container_of(l, struct flow_run, parked);

        w->pins++;
        if (w->request) answer_record(w, rec, false);
        w->pins--;
        flow_run_release(w);
    }
}

static void looked(struct bus_op *op)
{
    struct looking *k = container_of(op, struct looking, fetch.op);
    struct flow_run *r = k->r;
    struct flow *f = k->f;
    struct err e;

    if (!f->closed) {
        if (!r->request) {
        } else if (!op->err.rc && k->fetch.records_n && k->fetch.records[0].offset == k->fetch.offset) {
            answer_record(r, &k->fetch.records[0], k->accepted);
        } else {
            err_set(&e, RC_UNAVAILABLE, "the outcome of this idempotency key could not be read: %s",
                    op->err.rc ? op->err.text : "its record is gone");
            run_answer(r, &e);
        }
        r->pins--;
        flow_run_release(r);
    }
    bus_fetch_fini(&k->fetch);
    free(k);
    flow_returned(f);
}

static void look_up(struct flow_run *r, const struct idem *i)
{
    struct looking *k = xnew(struct looking);
    struct flow *f = r->f;
    const struct topic *t = i->accepted                       ? &r->place->inputs
                            : i->error && r->place->model ? &f->errors
                                                          : &r->place->outputs;

    k->accepted = i->accepted;
    k->r = r;
    k->f = f;
    k->fetch = (struct bus_fetch){
        .op = {.reply_to = loop_mailbox(f->loop), .done = looked, .deadline_ms = r->deadline_ms},
        .topic = t->name,
        .partition = i->partition,
        .offset = i->offset,
        .size_max = 1,
    };
    r->pins++;
    f->lent++;
    bus_fetch(f->bus, &k->fetch);
}

/* ---- admission ---- */

bool idem_meet(struct flow_run *r, struct idem *i)
{
    struct err e;

    if (memcmp(i->input.b, idem_claim_of(r)->input.b, IDEM_HASH) != 0) {
        err_set(&e, RC_EXISTS, "the idempotency key was used with another request");
        refuse(r, &e);
    } else if (i->done) {
        look_up(r, i);
    } else {
        list_push(&i->waiters, &r->parked);
        return true;
    }
    return false;
}

bool idem_no_output(const struct place *p, const struct bus_record *rec)
{
    const struct graph *g;
    int64_t version;

    if (p->model || !p->pipeline) return false;
    g = input_graph(p, rec, &version);
    return graph_no_output(g ? g : p->pipeline->graph);
}

const struct idem_claim *idem_claim_of(struct flow_run *r)
{
    struct idem_claim *c;

    if (r->claimed) return r->claimed;
    c = arena_new(&r->run.arena, struct idem_claim);
    *c = (struct idem_claim){idem_hash(str_bytes(r->request->idempotency_key)), idem_hash(r->run.points[0].message), -1};
    return r->claimed = c;
}

bool idem_full(struct flow_run *r)
{
    struct err e;

    if (r->f->idem_n < IDEM_MAX) return false;
    err_set(&e, RC_OVERLOAD, "%d idempotency keys are remembered, more are not taken (flow.idempotencyWindowMs)", IDEM_MAX);
    refuse(r, &e);
    return true;
}

bool idem_is_read(struct idem_index *x)
{
    const struct place *p = x->place;

    if (x->state == IDEM_READ && owners_shared(p->f) && x->read_n < p->inputs.partitions) x->state = IDEM_UNREAD;
    return x->state == IDEM_READ;
}

bool idem_wait(struct flow_run *r)
{
    struct idem_index *x = r->place->idem;

    if (idem_is_read(x)) return false;
    list_push(&x->waiting, &r->parked);
    if (x->state == IDEM_UNREAD) idem_read_start(x);
    return true;
}

bool idem_admit(struct flow_run *r)
{
    struct idem_index *x = idem_index_of(r->place);
    const struct idem_claim *c;
    struct idem *i;

    if (idem_wait(r)) return false;
    idem_purge(x);
    c = idem_claim_of(r);
    i = idem_find(x, &c->key);
    if (owners_shared(r->f)) {
        if (i && (i->run || i->done)) idem_decide(r);    /* whatever others wrote meanwhile */
        else idem_ask(r);
        return false;
    }
    if (i) {
        idem_meet(r, i);
        return false;
    }
    if (idem_full(r)) return false;
    r->idem = idem_put(x, &c->key, &c->input, clock_wall_ms(loop_clock(r->f->loop)));
    r->idem->run = r;
    return true;
}

void idem_read_done(struct idem_index *x)
{
    struct list todo;

    x->state = IDEM_READ;
    list_move(&x->waiting, &todo);
    for (struct list *l; (l = list_pop(&todo));)
        run_unpark(container_of(l, struct flow_run, parked));
    if (owners_shared(x->place->f)) idem_follow(x);      /* what came meanwhile waits for it */
}

/* ---- runs ---- */

void idem_recovered(struct flow_run *r, const struct bus_record *rec)
{
    struct idem_index *x = idem_index_of(r->place);
    struct idem_claim c;
    struct idem *i;

    if (owners_shared(r->f) || !idem_record(rec, &c)) return;    /* shared: the log tells what comes of it */
    i = idem_find(x, &c.key);
    if (i && (i->done || i->run)) return;
    if (!i) i = idem_put(x, &c.key, &c.input, rec->timestamp_ms);
    if (graph_no_output(r->run.graph)) {          /* its caller had his answer when the input was in the log */
        i->done = i->accepted = true;
        i->partition = r->partition;
        i->offset = r->input_offset;
        return;
    }
    i->run = r;
    r->idem = i;
}

void idem_waiters_answer(struct list *waiters, struct flow_run *r, bool accepted)
{
    for (struct list *l; (l = list_pop(waiters));) {
        struct flow_run *w = container_of(l, struct flow_run, parked);

        w->pins++;
        run_answer_like(w, r, accepted);
        w->pins--;
        flow_run_release(w);
    }
}

void idem_accepted(struct flow_run *r)
{
    struct idem *i = r->idem;
    struct list waiters;

    if (!i) return;
    r->idem = NULL;
    i->done = i->accepted = true;
    i->run = NULL;
    i->partition = r->partition;
    i->offset = r->input_offset;
    list_move(&i->waiters, &waiters);
    idem_waiters_answer(&waiters, r, true);
}

bool idem_wanted(const struct flow_run *r)
{
    return r->idem && !list_empty(&r->idem->waiters);
}

void idem_settle(struct flow_run *r, int32_t partition, int64_t offset)
{
    struct idem_outcome o = {.known = offset >= 0, .kept = offset >= 0 && run_keeps(r), .error = r->run.outcome == RUN_ERROR,
                             .partition = partition, .offset = offset};
    struct idem *i = r->idem;
    struct list waiters;

    if (!i) return;
    r->idem = NULL;
    if (owners_shared(r->f)) {
        idem_settle_shared(i, r, &o);
        return;
    }
    list_move(&i->waiters, &waiters);
    i->run = NULL;
    i->done = o.kept;
    i->error = o.error;
    i->partition = partition;
    i->offset = offset;
    if (!i->done) idem_drop(i);
    idem_waiters_answer(&waiters, r, false);
}
