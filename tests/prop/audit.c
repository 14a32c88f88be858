/* SPDX-License-Identifier: Apache-2.0 */
#include "prop/audit.h"
#include "base/map.h"
#include "flow/names.h"
#include "support/flow_fixture.h"
#include "test.h"
#include <stdarg.h>
#include <stdio.h>

enum { OUTCOMES_MAX = 16 };

void seed_failed(uint64_t seed, const char *cond, const char *fmt, ...)
{
    char text[TEXT];
    va_list args;

    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    fail_msg("seed %llu: %s (%s)", (unsigned long long)seed, text, cond);
}

/* ---- requests ---- */

bool tensors_read(const char *text, int *ret_tag, int *ret_bits, char *ret_plain)
{
    struct str rest = str_of(text), one, name;
    int n = 0;

    *ret_tag = -1;
    *ret_bits = 0;
    ret_plain[0] = 0;
    while (rest.n) {
        int64_t v;

        str_cut(rest, ';', &one, &rest);
        str_cut(one, '=', &name, &one);
        if (name.n != 1 || !str_to_i64(one, &v) || (*ret_tag >= 0 && *ret_tag != v / TAG)) return false;
        *ret_tag = (int)(v / TAG);
        if (name.p[0] < 'A' + TENSORS) *ret_bits |= 1 << (name.p[0] - 'A');
        n += snprintf(ret_plain + n, TEXT - (size_t)n, "%s%c=%d", n ? ";" : "", name.p[0], (int)(v % TAG));
    }
    return *ret_tag >= 0;
}

void history_begin(struct history *h, uint64_t seed, bool embedded, const struct clock *clock, uint64_t timeout_ms)
{
    *h = (struct history){.seed = seed, .world = world_settled(seed), .embedded = embedded, .clock = clock, .timeout_ms = timeout_ms,
                          .tags_n = 1 + KEYS};
    for (int bits = 1; bits < INPUT_BITS; bits++) {
        h->naive[bits] = xnew(struct naive);
        naive_begin(h->naive[bits], &h->world, 0, bits);
        naive_run(h->naive[bits]);
    }
}

void history_end(struct history *h)
{
    for (int i = 0; i < h->requests_n; i++)
        flow_request_fini(&h->requests[i].q);
    for (int bits = 1; bits < INPUT_BITS; bits++)
        free(h->naive[bits]);
}

static void answered(struct flow_request *q)
{
    struct request *r = container_of(q, struct request, q);

    r->times++;
    r->done_ms = clock_mono_ms(r->h->clock);
    SEED_MUST(r->h, r->times == 1, "%s was answered %u times", r->id, r->times);
    buf_fini(&r->message);                       /* the lender takes it back at once */
}

struct request *history_request(struct history *h, bool direct, int key, int bits)
{
    struct request *r = &h->requests[h->requests_n];
    char text[64];

    if (h->requests_n == REQUESTS_MAX) return NULL;
    *r = (struct request){.h = h, .direct = direct, .key = key, .tag = key < 0 ? h->tags_n++ : 1 + key, .bits = key < 0 ? bits : 1 + key};
    snprintf(r->id, sizeof r->id, "r%d", h->requests_n++);
    if (key >= 0) snprintf(r->key_text, sizeof r->key_text, "key %d", key);
    tensors_print(text, sizeof text, r->tag, -1, r->bits);
    message_write(&r->message, text);
    r->q = (struct flow_request){
        .name = direct ? STR("m0") : STR("p"),
        .model = direct,
        .message = buf_view(&r->message),
        .request_id = str_of(r->id),
        .idempotency_key = str_of(r->key_text),
        .done = answered,
    };
    return r;
}

void history_outside(struct history *h, int bits, char *ret_text, size_t room)
{
    tensors_print(ret_text, room, h->tags_n++, -1, bits);
}

struct request *history_open(struct history *h, uint64_t from)
{
    for (uint64_t i = from; i < (uint64_t)h->requests_n; i++)
        if (!h->requests[i].times) return &h->requests[i];
    return NULL;
}

/* A run whose time is over goes on with less, where it may. */
static bool has_outer(const struct world *w)
{
    bool outer = false;

    for (int i = 0; i <= w->n; i++)
        outer |= w->steps[i].data.join == 1 || w->steps[i].trigger.join == 1;
    return outer;
}

/* A step's request is what some input makes of it, or, of a model asked itself, an input. */
void history_called(const struct history *h, int step, const char *text, int *ret_tag)
{
    char plain[TEXT], input[64];
    bool known = false;
    int bits;

    SEED_MUST(h, tensors_read(text, ret_tag, &bits, plain), "m%d was sent %s", step, text);
    for (int i = 1; i < INPUT_BITS; i++) {
        tensors_print(input, sizeof input, 0, -1, i);
        known |= h->naive[i]->called[step] && strcmp(h->naive[i]->request[step], plain) == 0;
        known |= step == 0 && strcmp(input, plain) == 0;
    }
    SEED_MUST(h, known || has_outer(&h->world), "m%d was sent %s", step, text);
}

/* ---- runs in the log ---- */

struct one {                                     /* a run */
    struct one *next;
    const struct fake_record *input;
    int32_t partition;
    struct run_id id;
    bool direct, waited_for;                     /* the last: by a caller */
    const struct fake_record *outcomes[OUTCOMES_MAX];
    uint32_t attempts[OUTCOMES_MAX];
    unsigned n;
};

/* A key, in the order of the log: who holds it. */
struct holder { int64_t offset; const struct one *run; };

struct auditor {
    const struct history *h;
    struct fake_bus *log;
    struct arena arena;
    struct map by_identity;                      /* struct one */
    struct map no_runs;                          /* identities of later inputs with a key */
    struct one *all;
    bool direct;
    struct str topic_id;
    struct holder holders[KEYS];
};

static bool run_of(const struct fake_record *rec, struct run_id *ret)
{
    struct str text = fake_record_header(rec, RUN_ID_HEADER);

    return text.n && run_id_parse(text, ret);
}

static struct one *one_add(struct auditor *a, const struct fake_record *rec, int32_t partition, const struct run_id *id)
{
    struct one *o = arena_new(&a->arena, struct one);

    *o = (struct one){.next = a->all, .input = rec, .partition = partition, .id = *id, .direct = a->direct,
                      .waited_for = !id->outside && id->deadline_wall_ms};
    SEED_MUST(a->h, !map_put_str(&a->by_identity, id->identity, o), "two inputs of run " STR_FMT, STR_ARG(id->identity));
    a->all = o;
    return o;
}

/* "<hash of key>/<hash of input>", and "/<offset>" of the input that held the key before; -1: there was none. */
static int64_t after_of(struct str claim)
{
    struct str hash, after;
    int64_t offset = -1;

    must(str_cut(claim, '/', &hash, &after));
    if (str_cut(after, '/', &hash, &after)) must(str_to_i64(after, &offset));
    return offset;
}

/* An input whose key another holds is no run; one that says whose it was before has that one's outcome behind it. */
static void input_with_key(struct auditor *a, const struct fake_record *rec, int32_t partition, int64_t offset, const struct run_id *id)
{
    int64_t after = after_of(fake_record_header(rec, "millrace-idempotency"));
    char plain[TEXT];
    struct holder *h;
    int tag, bits;

    must(tensors_read(message_text(buf_view(&rec->value)), &tag, &bits, plain) && tag <= KEYS);
    h = &a->holders[tag - 1];
    if (h->run && after < h->offset && !a->h->embedded) {
        map_put_str(&a->no_runs, id->identity, a);
        return;
    }
    SEED_MUST(a->h, !h->run || a->h->embedded || after == h->offset, "input %lld has the key of %lld", (long long)offset, (long long)h->offset);
    *h = (struct holder){offset, one_add(a, rec, partition, id)};
}

static void input_sort(struct auditor *a, const struct fake_record *rec, int32_t partition, int64_t offset)
{
    struct run_id id;

    if (!run_of(rec, &id)) {
        id = (struct run_id){.outside = true, .partition = partition, .offset = offset,
                             .identity = run_id_outside(&a->arena, a->topic_id, partition, offset)};
        one_add(a, rec, partition, &id);
    } else if (!str_eq(id.topic, a->topic_id)) {
        SEED_MUST(a->h, a->direct, "an input of another topic: " STR_FMT, STR_ARG(id.identity));
    } else if (fake_record_header(rec, "millrace-idempotency").n) {
        input_with_key(a, rec, partition, offset, &id);
    } else {
        one_add(a, rec, partition, &id);
    }
}

static const struct request *request_by_key(const struct auditor *a, const struct fake_record *rec)
{
    struct str rest, id;

    str_cut(buf_str(&rec->key), '.', &id, &rest);
    str_cut(rest, '.', &id, &rest);
    for (int i = 0; i < a->h->requests_n; i++)
        if (str_is(rest, a->h->requests[i].id)) return &a->h->requests[i];
    return NULL;
}

/* Input and outcome of a caller's request are on their way at the same time, and the first may come too late, or be refused.
 * Then nobody may be told of the second. */
static bool of_no_input(const struct auditor *a, const struct fake_record *rec, const struct run_id *id)
{
    const struct request *r = request_by_key(a, rec);

    if (a->h->embedded || id->outside || !r || map_get_str(&a->no_runs, id->identity)) return false;
    return r->q.err.rc == RC_TIMEOUT || ((a->h->disturbed || r->cut || r->cancelled) && (r->q.err.rc == RC_UNAVAILABLE || r->q.err.rc == RC_CANCELLED));
}

static void outcome_sort(struct auditor *a, const struct fake_record *rec, int32_t partition, int32_t partitions)
{
    struct run_id id;
    struct one *o;

    if (!run_of(rec, &id) || !str_eq(id.topic, a->topic_id)) return;
    o = map_get_str(&a->by_identity, id.identity);
    if (!o && of_no_input(a, rec, &id)) return;
    SEED_MUST(a->h, o, "an outcome of what is no run: " STR_FMT " " STR_FMT, STR_ARG(id.identity), STR_ARG(buf_str(&rec->key)));
    SEED_MUST(a->h, o->partition % partitions == partition, "the outcome of " STR_FMT " lies in partition %d", STR_ARG(id.identity), partition);
    SEED_MUST(a->h, o->n < OUTCOMES_MAX, "too many outcomes of " STR_FMT, STR_ARG(id.identity));
    o->attempts[o->n] = id.attempt;
    o->outcomes[o->n++] = rec;
}

static void outcomes_sort(struct auditor *a, const char *topic)
{
    const struct fake_topic *t = fake_bus_topic(a->log, topic);

    for (int32_t p = 0; t && p < t->partitions_n; p++)
        for (size_t i = 0; i < t->partitions[p].n; i++)
            outcome_sort(a, &t->partitions[p].records[i], p, t->partitions_n);
}

static void place_sort(struct auditor *a, bool direct)
{
    const struct fake_topic *t = fake_bus_topic(a->log, direct ? MODEL_INPUTS : INPUTS);
    char *id = arena_alloc(&a->arena, UUID_TEXT_LEN + 1);
    struct uuid u;

    if (!t) return;
    memcpy(u.b, t->id.b, sizeof u.b);
    uuid_to_text(&u, id);
    a->direct = direct;
    a->topic_id = str_of(id);
    for (int32_t p = 0; p < t->partitions_n; p++) {
        memset(a->holders, 0, sizeof a->holders);
        for (size_t i = 0; i < t->partitions[p].n; i++)
            input_sort(a, &t->partitions[p].records[i], p, (int64_t)i);
    }
    outcomes_sort(a, direct ? MODEL_OUTPUTS : OUTPUTS);
    if (direct) outcomes_sort(a, ERRORS);
}

/* ---- what an outcome should be ---- */

struct wanted { bool none, error; char text[TEXT]; };

static void wanted_of(const struct history *h, bool direct, int bits, struct wanted *ret)
{
    const struct naive *v = h->naive[bits];
    int said = h->world.answers[0];

    *ret = (struct wanted){0};
    if (direct) {
        ret->error = said < 0;
        if (said >= 0) tensors_print(ret->text, sizeof ret->text, 0, 0, said);
    } else if (v->outcome == ANSWER) {
        snprintf(ret->text, sizeof ret->text, "%s", v->answer);
    } else {
        ret->error = h->world.has_output || v->failures > 0;
        ret->none = !ret->error;
    }
}

static struct str error_of(const struct fake_record *rec)
{
    struct str kind;

    str_cut(fake_record_header(rec, "millrace-error"), '/', &kind, &(struct str){0});
    return kind;
}

/* Errors that no model made. */
static bool excused(const struct auditor *a, const struct one *o, const struct fake_record *outcome)
{
    const struct request *r = o->id.outside ? NULL : request_by_key(a, o->input);
    struct str kind = error_of(outcome);

    if (str_is(kind, "cancelled")) return r && (r->cancelled || r->cut);
    if (!str_is(kind, "timeout")) return false;
    if (o->waited_for) return outcome->timestamp_ms >= o->id.deadline_wall_ms;
    return outcome->timestamp_ms - o->input->timestamp_ms >= (int64_t)a->h->timeout_ms;
}

static void outcome_check(const struct auditor *a, const struct one *o, const struct fake_record *rec, const struct wanted *w, int tag)
{
    struct str kind = error_of(rec);
    int said_tag, bits;
    char plain[TEXT];

    if (kind.n && excused(a, o, rec)) return;
    if (kind.n) {
        SEED_MUST(a->h, w->error && (str_is(kind, "upstream") || str_is(kind, "unselected")), STR_FMT " ended with " STR_FMT ": " STR_FMT,
                  STR_ARG(o->id.identity), STR_ARG(kind), STR_ARG(buf_str(&rec->value)));
        return;
    }
    tensors_read(message_text(buf_view(&rec->value)), &said_tag, &bits, plain);
    SEED_MUST(a->h, !w->error && !w->none && strcmp(plain, w->text) == 0 && (said_tag == tag || !plain[0]), STR_FMT " of tag %d ended with %s, not %s",
              STR_ARG(o->id.identity), tag, message_text(buf_view(&rec->value)), w->text);
}

static void repeats_check(const struct auditor *a, const struct one *o)
{
    SEED_MUST(a->h, o->n < 2 || a->h->zombies || (!o->waited_for && !a->h->embedded && a->h->disturbed), STR_FMT " has %u outcomes",
              STR_ARG(o->id.identity), o->n);
    for (unsigned i = 0; i < o->n; i++)
        for (unsigned k = 0; k < i; k++)
            SEED_MUST(a->h, a->h->zombies || a->h->in_doubt || o->attempts[i] != o->attempts[k], STR_FMT " has two outcomes of attempt %u", STR_ARG(o->id.identity), o->attempts[i]);
}

static void one_check(const struct auditor *a, const struct one *o)
{
    const char *text = message_text(buf_view(&o->input->value));
    bool poison = strcmp(text, "not a message") == 0;
    struct wanted w = {.error = true};
    char plain[TEXT];
    int tag = -1, bits;

    repeats_check(a, o);
    if (!poison) {
        SEED_MUST(a->h, tensors_read(text, &tag, &bits, plain), "an input of %s", text);
        wanted_of(a->h, o->direct, bits, &w);
    }
    SEED_MUST(a->h, o->n > 0 || w.none, STR_FMT " has no outcome", STR_ARG(o->id.identity));
    for (unsigned i = 0; i < o->n; i++) {
        if (poison) SEED_MUST(a->h, str_is(error_of(o->outcomes[i]), "invalid"), STR_FMT " is poison", STR_ARG(o->id.identity));
        else outcome_check(a, o, o->outcomes[i], &w, tag);
    }
}

/* ---- answers ---- */

static const struct one *one_of(const struct auditor *a, const struct request *r, bool error)
{
    for (const struct one *o = a->all; o; o = o->next) {
        if (o->direct != r->direct || !str_eq(buf_str(&o->input->key), r->q.key)) continue;
        if (r->q.accepted || (o->n > 0 && (error_of(o->outcomes[0]).n > 0) == error)) return o;
    }
    return NULL;
}

static void told_check(const struct auditor *a, const struct request *r)
{
    struct wanted w;
    char plain[TEXT];
    int tag, bits;

    wanted_of(a->h, r->direct, r->bits, &w);
    SEED_MUST(a->h, one_of(a, r, r->q.err.rc != RC_OK), "%s was told %s, which is not the outcome of " STR_FMT, r->id, rc_name(r->q.err.rc), STR_ARG(r->q.key));
    if (r->q.err.rc) {
        SEED_MUST(a->h, w.error, "%s was told of an error: " STR_FMT, r->id, STR_ARG(buf_str(&r->q.message_text)));
    } else if (r->q.accepted) {
        SEED_MUST(a->h, !a->h->world.has_output && !r->direct, "%s was accepted", r->id);
    } else {
        tensors_read(message_text(buf_view(&r->q.response)), &tag, &bits, plain);
        SEED_MUST(a->h, !w.error && strcmp(plain, w.text) == 0 && (tag == r->tag || !plain[0]), "%s was told %s", r->id, message_text(buf_view(&r->q.response)));
    }
}

/* With a key, it may have waited for another's run, and be told how that one ended. */
static void request_check(const struct auditor *a, const struct request *r)
{
    enum rc rc = r->q.err.rc;

    SEED_MUST(a->h, r->times == 1, "%s was answered %u times", r->id, r->times);
    if (rc == RC_OK || rc == RC_UPSTREAM || rc == RC_UNSELECTED) {
        told_check(a, r);
        return;
    }
    SEED_MUST(a->h, (rc == RC_TIMEOUT && (r->done_ms >= r->q.deadline_ms || r->key >= 0)) || (rc == RC_CANCELLED && (r->cancelled || r->cut || r->key >= 0)) ||
              (rc == RC_UNAVAILABLE && (r->cut || a->h->disturbed || r->key >= 0)), "%s was told %s: " STR_FMT, r->id, rc_name(rc), STR_ARG(buf_str(&r->q.message_text)));
}

/* Accepted for a pipeline without output, and ended by an error that no model made. */
static bool freed_later(const struct auditor *a, struct str key)
{
    for (const struct one *o = a->all; o; o = o->next)
        if (!o->direct && str_eq(buf_str(&o->input->key), key) && o->n > 0)
            return error_of(o->outcomes[0]).n > 0 && !str_is(error_of(o->outcomes[0]), "upstream");
    return false;
}

/* What is kept for a key is the answer of one run. */
static void keys_check(const struct auditor *a)
{
    struct str kept[KEYS] = {{0}};

    for (int i = 0; i < a->h->requests_n; i++) {
        const struct request *r = &a->h->requests[i];

        if (r->key < 0 || (r->q.err.rc != RC_OK && r->q.err.rc != RC_UPSTREAM)) continue;
        SEED_MUST(a->h, !kept[r->key].n || str_eq(kept[r->key], r->q.key) || freed_later(a, kept[r->key]), "key %d was answered by " STR_FMT " and by " STR_FMT, r->key,
                  STR_ARG(kept[r->key]), STR_ARG(r->q.key));
        kept[r->key] = r->q.key;
    }
}

void audit(struct history *h, struct fake_bus *log)
{
    struct auditor a = {.h = h, .log = log};

    place_sort(&a, false);
    place_sort(&a, true);
    for (const struct one *o = a.all; o; o = o->next)
        one_check(&a, o);
    for (int i = 0; i < h->requests_n; i++)
        request_check(&a, &h->requests[i]);
    keys_check(&a);
    map_fini(&a.by_identity);
    map_fini(&a.no_runs);
    arena_fini(&a.arena);
}
