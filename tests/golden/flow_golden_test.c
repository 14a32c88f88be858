/* The records and answers of the system that millrace replaces, row by row: the same requests go through the executor,
 * the models answer what they answered then, and what lies in the topics afterwards is compared: topic, key, every
 * header's values in order, value bytes, and the reply. What differs on purpose is in `differs`, with the reason.
 * The file comes from flow_rows.py. SPDX-License-Identifier: Apache-2.0 */
#include "support/flow_fixture.h"
#include "oip/proto.h"
#include "test.h"
#include <stdio.h>

enum { FIELDS_MAX = 9, ROWS_MAX = 2000 };

struct row { struct str field[FIELDS_MAX]; size_t n; };

static struct buf file;
static struct row rows[ROWS_MAX];
static size_t rows_n;

/* Compared with less: label, and why; what is compared all the same. */
enum { REPLY = 1, RECORDS = 2 /* all but the text of errors and JSON */, TENSORS = 4 /* as numbers, however they are written */ };
static const struct { const char *label, *why; int compare; } differs[] = {
    {"any-two-arrivals/rest", "`any` fires once: the second arrival leaves no second outcome", REPLY},
    {"join-outer/lone", "an outer join fires as soon as the other side is known not to come, with its own headers", REPLY},
    {"tensor-selection/only-A", "several tensors of a topic are all wanted unless the join says otherwise", 0},
    {"tensor-selection/missing", "an output that cannot be satisfied is an error, not silence", 0},
    {"raw-outputs-as-json/bad", "an answer that is not well-formed is the model's error", 0},
    {"params-id-headers/rest-empty-request-id", "an empty request id is none", 0},
    {"one-step/grpc-empty-request-id", "an empty request id is none", REPLY},
    {"model-called-directly/failing model", "the caller hears of it", 0},
    {"async-keys-three-partitions/2.p-join.mismatch", "hops stay in the partition the input was read from", 0},
    {"async-keys-three-partitions/plain-key", "as above", 0},
    {"async-keys-three-partitions/7.p-join.big", "as above", 0},
    {"async-keys-three-partitions/-1.p-join.neg", "as above", 0},
    {"async-keys-three-partitions/1", "as above", 0},
    {"batch-size-3/first", "requests with other parameters do not go together: they are sent without", RECORDS | TENSORS},
    {"batch-size-3/second", "as above", RECORDS | TENSORS},
    {"batch-size-3/third", "as above; each caller is answered with the rows that are his, and what goes together is written raw", RECORDS | TENSORS},
    {"cycle-limit/rest", "the error names the step, and has no Java objects in it", RECORDS},
    {"payload-types-model-gateway/0.nobody.json-none", "models are called by gRPC: their answer is written as the gateway writes JSON, not as they wrote it", RECORDS},
    {"payload-types-model-gateway/0.nobody.json-outputs-none", "as above", RECORDS},
    {"payload-types-model-gateway/0.nobody.json-req", "as above", RECORDS},
    {"payload-types-model-gateway/0.nobody.json-resp", "as above", RECORDS},
    {"payload-types-model-gateway/0.nobody.unknown-type", "an error record, not silence", 0},
    {"payload-types-model-gateway/0.nobody.garbage-none", "the error says what was wanted", RECORDS},
};

/* ---- the file ---- */

static void rows_load(const char *folder)
{
    char path[1024];
    struct str rest, line;
    FILE *f;

    snprintf(path, sizeof path, "%s/flow.tsv", folder);
    f = fopen(path, "rb");
    must(f != NULL);
    for (int c; (c = fgetc(f)) != EOF;)
        buf_append_byte(&file, (uint8_t)c);
    fclose(f);
    rest = buf_str(&file);
    while (rest.n) {
        struct row *r = &rows[rows_n++];

        must(rows_n < ROWS_MAX);
        str_cut(rest, '\n', &line, &rest);
        for (bool more = true; more;)
            more = str_cut(line, '\t', &r->field[r->n++], &line);
    }
}

static uint8_t digit(char c)
{
    return (uint8_t)(c <= '9' ? c - '0' : c - 'a' + 10);
}

static struct bytes hex(struct arena *a, struct str s)
{
    uint8_t *p = arena_alloc(a, s.n / 2 + 1);

    for (size_t i = 0; i < s.n / 2; i++)
        p[i] = (uint8_t)(digit(s.p[2 * i]) << 4 | digit(s.p[2 * i + 1]));
    return bytes_of(p, s.n / 2);
}

static size_t headers_read(struct arena *a, struct str text, struct header *h)
{
    struct str one, value;
    size_t n = 0;

    if (str_is(text, "-")) return 0;
    for (bool more = true; more;) {
        more = str_cut(text, ',', &one, &text);
        str_cut(one, '=', &h[n].name, &value);
        h[n++].value = bytes_str(hex(a, value));
    }
    return n;
}

static struct str scenario_of(struct str label)
{
    struct str head, tail;

    str_cut(label, '/', &head, &tail);
    return head;
}

static int difference(struct str label)
{
    for (size_t i = 0; i < countof(differs); i++)
        if (str_is(label, differs[i].label)) return (int)i;
    return -1;
}

static int compared(struct str label)
{
    int at = difference(label);

    return at < 0 ? REPLY | RECORDS : differs[at].compare;
}

/* ---- models that answer what they answered then ---- */

struct script { struct arena *arena; struct str label, key; };

static void scripted(void *ctx, struct upstream_call *c)
{
    struct script *s = ctx;
    struct str topic = arena_printf(s->arena, "seldon.default.model." STR_FMT ".outputs", STR_ARG(c->target->model));

    for (size_t i = 0; i < rows_n; i++) {
        const struct str *f = rows[i].field;

        if (!str_is(f[0], "record") || !str_eq(f[1], s->label) || !str_eq(f[2], topic)) continue;
        if (str_starts(f[5], STR("7b"))) break;  /* JSON, of a model that was called by REST */
        fake_model(c);                           /* for its headers */
        buf_clear(&c->response);
        c->err = (struct err){0};
        buf_append(&c->response, hex(s->arena, f[5]));
        return;
    }
    fake_model(c);
}

/* ---- comparing ---- */

/* Not compared: our own headers; trace context, which the original's gateways wrote when tracing was on. */
static bool ours(struct str name)
{
    return str_starts(name, STR("millrace-")) || str_is(name, "traceparent");
}

/* The partition in front of a key is any of those there are; the rest of it is not. */
static bool same_key(struct str got, struct str want)
{
    struct str head, got_rest, want_rest;

    if (str_eq(got, want)) return true;
    str_cut(got, '.', &head, &got_rest);
    str_cut(want, '.', &head, &want_rest);
    return got_rest.n && str_eq(got_rest, want_rest);
}

/* The n-th value of a header of that name. */
static const struct str *nth(const struct header *h, size_t n, struct str name, size_t which)
{
    for (size_t i = 0; i < n; i++)
        if (str_eq(h[i].name, name) && which-- == 0) return &h[i].value;
    return NULL;
}

/* Of an error that is said in other words the step may be another one, too. */
static bool passed_over(struct str label, struct str name)
{
    return ours(name) || (difference(label) >= 0 && str_is(name, "seldon-pipeline-errors"));
}

static void check_headers(struct str label, const struct fake_record *r, const struct header *want, size_t want_n)
{
    struct header got[64];
    size_t n = 0, wanted = 0;

    for (size_t i = 0; i < want_n; i++)
        wanted += !passed_over(label, want[i].name);
    for (size_t i = 0; i < r->headers_n; i++)
        if (!passed_over(label, buf_str(&r->headers[i].key)))
            got[n++] = (struct header){buf_str(&r->headers[i].key), buf_str(&r->headers[i].value)};
    for (size_t i = 0; i < n; i++) {
        size_t which = 0;
        const struct str *v;

        for (size_t k = 0; k < i; k++)
            which += str_eq(got[k].name, got[i].name);
        v = nth(want, want_n, got[i].name, which);
        if (!v || !str_eq(*v, got[i].value))
            fail_msg(STR_FMT ": header " STR_FMT "=" STR_FMT " was not there", STR_ARG(label), STR_ARG(got[i].name),
                     STR_ARG(got[i].value));
    }
    if (n != wanted) fail_msg(STR_FMT ": %zu headers, %zu were there", STR_ARG(label), n, wanted);
}

/* which: so many like it come before. */
static const struct fake_record *find_record(struct fixture *x, struct arena *a, const struct str *f, size_t which,
                                             int32_t *ret_partition)
{
    struct fake_topic *t = fake_bus_topic(x->bus, arena_dup_str(a, f[2]).p);

    for (int32_t p = 0; t && p < t->partitions_n; p++)
        for (size_t i = 0; i < t->partitions[p].n; i++)
            if (same_key(buf_str(&t->partitions[p].records[i].key), f[4]) && which-- == 0) {
                *ret_partition = p;
                return &t->partitions[p].records[i];
            }
    return NULL;
}

/* `parameters` is a map: its entries come in any order. */
static bool same_value(struct arena *a, struct bytes got, struct bytes want)
{
    struct infer_view got_v, want_v;
    struct err e;

    if (bytes_eq(got, want)) return true;
    if (infer_parse(got, INFER_REQUEST, a, &got_v, &e) || infer_parse(want, INFER_REQUEST, a, &want_v, &e))
        return false;
    return got.n == want.n && want_v.params.n > 1;
}

/* How many rows of the request before this one have its topic and key. */
static size_t same_before(const struct row *row)
{
    size_t n = 0;

    for (const struct row *r = row - 1; r >= rows && str_eq(r->field[1], row->field[1]); r--)
        n += str_is(r->field[0], "record") && str_eq(r->field[2], row->field[2]) && same_key(r->field[4], row->field[4]);
    return n;
}

static bool is_text(const struct header *h, size_t n, struct str value)
{
    return str_starts(value, STR("7b")) || nth(h, n, STR("seldon-pipeline-errors"), 0);
}

/* The n-th answer of a batch has other rows than what was recorded: what the callers got is looked at. */
static bool same_as(struct arena *a, const struct str *f, struct bytes got, int compare)
{
    struct bytes want = hex(a, f[5]);
    struct str numbers;

    if (same_value(a, got, want)) return true;
    if (!(compare & TENSORS)) return false;
    if (str_ends(f[2], STR(".pipeline.t-batch.outputs"))) return true;
    numbers = arena_dup_str(a, str_of(message_text(got)));
    return str_eq(numbers, str_of(message_text(want)));
}

static void check_record(struct fixture *x, struct arena *a, const struct row *row)
{
    struct header want[64];
    const struct str *f = row->field;
    int32_t partition = 0;
    const struct fake_record *r = find_record(x, a, f, same_before(row), &partition);
    size_t n = headers_read(a, f[6], want);
    bool differs_here = difference(f[1]) >= 0;
    char number[16];

    if (!r) fail_msg(STR_FMT ": no record in " STR_FMT, STR_ARG(f[1]), STR_ARG(f[2]));
    snprintf(number, sizeof number, "%d", partition);
    if (!str_starts(f[1], STR("three-partitions"))) assert_str(f[3], number);
    if (!(differs_here && is_text(want, n, f[5])) && !same_as(a, f, buf_view(&r->value), compared(f[1])))
        fail_msg(STR_FMT ": another value in " STR_FMT ": " STR_FMT, STR_ARG(f[1]), STR_ARG(f[2]), STR_ARG(buf_str(&r->value)));
    check_headers(f[1], r, want, n);
}

static size_t check_records(struct fixture *x, struct arena *a, struct str label)
{
    size_t n = 0;

    for (size_t i = 0; i < rows_n; i++)
        if (str_is(rows[i].field[0], "record") && str_eq(rows[i].field[1], label)) {
            check_record(x, a, &rows[i]);
            n++;
        }
    return n;
}

static void check_reply(struct arena *a, struct asked *asked, struct str label, struct str want)
{
    if (str_starts(want, STR("ok:"))) {
        struct bytes b = hex(a, (struct str){want.p + 3, want.n - 3});

        if (asked->q.err.rc) fail_msg(STR_FMT ": %s", STR_ARG(label), asked->q.err.text);
        if (!same_value(a, buf_view(&asked->q.response), b)) fail_msg(STR_FMT ": another answer", STR_ARG(label));
    } else if (str_starts(want, STR("error:"))) {
        if (!str_eq(buf_str(&asked->q.message_text), (struct str){want.p + 6, want.n - 6}))
            fail_msg(STR_FMT ": another error: " STR_FMT, STR_ARG(label), STR_ARG(buf_str(&asked->q.message_text)));
    }
}

static size_t all_records(struct fixture *x)
{
    size_t n = 0;

    for (size_t i = 0; i < x->bus->topics_n; i++)
        for (int32_t p = 0; p < x->bus->topics[i]->partitions_n; p++)
            n += x->bus->topics[i]->partitions[p].n;
    return n;
}

/* ---- one scenario ---- */

/* What other pipelines say is read with the next look. */
static void settle(struct fixture *x, struct str scenario)
{
    fixture_settle(x);
    for (int i = 0; str_is(scenario, "pipeline-to-pipeline") && i < 6; i++)
        fixture_advance(x, 100);
}

static bool str_cut_at(struct str s, struct str what, struct str *head, struct str *tail)
{
    const char *p = memmem(s.p, s.n, what.p, what.n);

    if (!p) return false;
    *head = (struct str){s.p, (size_t)(p - s.p)};
    *tail = (struct str){p + what.n, s.n - head->n - what.n};
    return true;
}

/* The original lets a step run once more than its limit says. */
static const char *definition(struct arena *a, struct str line)
{
    struct str head, tail;

    if (!str_cut_at(line, STR(" cycles=3"), &head, &tail)) return arena_dup_str(a, line).p;
    return arena_printf(a, STR_FMT " cycles=4" STR_FMT, STR_ARG(head), STR_ARG(tail)).p;
}

static void open_scenario(struct fixture *x, struct arena *a, struct str scenario)
{
    const char *lines[32] = {0}, *models[] = {"mul10", "error", NULL};
    size_t n = 0;

    fixture_options(x);
    x->o.partitions = str_starts(scenario, STR("async")) || str_starts(scenario, STR("three")) ? 3 : 1;
    if (str_is(scenario, "batch-size-3")) x->o.model_concurrency = 1;
    fixture_open(x);
    for (size_t i = 0; i < rows_n; i++)
        if (str_is(rows[i].field[0], "pipeline") && str_eq(rows[i].field[1], scenario))
            lines[n++] = definition(a, rows[i].field[2]);
    /* loaded then, not written down: */
    if (str_is(scenario, "tensor-selection")) lines[n++] = "t-emptyout: mul10; out";
    if (str_is(scenario, "types-rest")) lines[n++] = "g-raw: raw; out < raw";
    fixture_apply(x, lines, models);
    settle(x, scenario);
}

static void parameters_leave(struct bytes request, struct arena *a, struct buf *ret)
{
    static const struct str names[] = {{"p", 1}, {"k", 1}};
    bool hit[countof(names)];
    struct infer_view v;
    struct err e;

    must(infer_parse(request, INFER_REQUEST, a, &v, &e) == RC_OK);
    infer_leave_out(&v, names, countof(names), hit, ret);
    must(hit[0] && hit[1]);
}

static struct asked *ask(struct fixture *x, struct arena *a, const struct str *f, const struct header *h, size_t n)
{
    struct asked *q = xnew(struct asked);

    if (str_is(scenario_of(f[1]), "batch-size-3")) parameters_leave(hex(a, f[5]), a, &q->message);
    else buf_append(&q->message, hex(a, f[5]));
    q->q = (struct flow_request){
        .name = f[3],
        .model = str_is(f[2], "model"),
        .message = buf_view(&q->message),
        .headers = h,
        .headers_n = n,
        .request_id = f[4].n ? f[4] : STR("fresh"),
        .deadline_ms = clock_mono_ms(&x->clock.clock) + 10000,
        .done = fixture_done,
    };
    flow_start(x->flow, &q->q);
    return q;
}

static void run_ask(struct fixture *x, struct arena *a, const struct row *row)
{
    const struct str *f = row->field;
    int compare = compared(f[1]);
    struct script script = {.arena = a, .label = f[1]};
    size_t before = all_records(x), n;
    struct header h[64];
    struct asked *q;

    x->up->model = scripted;
    x->up->ctx = &script;
    x->up->hold = false;
    n = headers_read(a, f[6], h);
    q = ask(x, a, f, h, n);
    settle(x, scenario_of(f[1]));
    while (fake_upstream_finish(x->up, "slow"))
        fixture_settle(x);
    assert_int_equal(q->times, 1);
    if (compare & REPLY) check_reply(a, q, f[1], f[7]);
    if (compare & RECORDS) assert_int_equal(all_records(x) - before, check_records(x, a, f[1]));
    asked_free(q);
}

static void run_produce(struct fixture *x, struct arena *a, const struct row *row)
{
    const struct str *f = row->field;
    struct script script = {.arena = a, .label = f[1]};
    struct bus_header headers[64];
    struct header h[64];
    struct bus_record r = {.timestamp_ms = -1, .key = hex(a, f[4]), .value = hex(a, f[5]), .headers = headers};
    size_t before = all_records(x);
    int64_t partition = 0;

    x->up->model = scripted;
    x->up->ctx = &script;
    r.headers_n = headers_read(a, f[6], h);
    for (size_t i = 0; i < r.headers_n; i++)
        headers[i] = (struct bus_header){h[i].name, str_bytes(h[i].value)};
    str_to_i64(f[3], &partition);
    fake_bus_produce(x->bus, arena_dup_str(a, f[2]).p, (int32_t)partition, &r);
    fixture_settle(x);
    if (compared(f[1]) & RECORDS) assert_int_equal(all_records(x) - before, check_records(x, a, f[1]));
}

static struct str request_of(struct str label)
{
    for (size_t i = 0; i < rows_n; i++)
        if (str_is(rows[i].field[0], "ask") && str_eq(rows[i].field[1], label)) return rows[i].field[5];
    return STR("");
}

/* Three callers while the model is busy with somebody else: one call of it for them, and one answer each. */
static size_t run_batch(struct fixture *x, struct arena *a)
{
    static const char *const answers[] = {"A=0,0,0,0", "A=1,1,1,1", "A=2,2,2,2"};
    struct script script = {.arena = a, .label = STR("batch-size-3/third")};
    const struct str other[] = {STR("ask"), STR("batch-size-3/other"), STR("model"), STR("echo"), STR("other"), request_of(STR("batch-size-3/third")), STR("-")};
    size_t before, n = 0, found = 0;
    struct asked *asked[countof(answers)], *first;
    struct header h[countof(answers)][64];

    x->up->model = scripted;
    x->up->ctx = &script;
    x->up->hold = true;
    first = ask(x, a, other, NULL, 0);
    fixture_settle(x);
    before = all_records(x);
    for (size_t i = 0; i < rows_n; i++) {
        const struct str *f = rows[i].field;

        if (!str_is(f[0], "ask") || !str_is(scenario_of(f[1]), "batch-size-3")) continue;
        must(n < countof(asked));
        asked[n] = ask(x, a, f, h[n], headers_read(a, f[6], h[n]));
        n++;
    }
    assert_int_equal(n, countof(answers));
    fixture_settle(x);
    x->up->hold = false;
    fixture_settle(x);
    for (size_t i = 0; i < n; i++) {
        assert_string_equal(asked_text(asked[i]), answers[i]);
        asked_free(asked[i]);
    }
    for (size_t i = 0; i < rows_n; i++)
        if (str_is(rows[i].field[0], "ask") && str_is(scenario_of(rows[i].field[1]), "batch-size-3"))
            found += check_records(x, a, rows[i].field[1]);
    assert_int_equal(found, 6);
    assert_int_equal(all_records(x) - before, found + n - 1 + 1);  /* the original has one answer; the other's */
    asked_free(first);
    return n;
}

static void run_scenario(struct str scenario)
{
    struct arena a = {0};
    struct fixture x;
    size_t n = 0;

    open_scenario(&x, &a, scenario);
    if (str_is(scenario, "batch-size-3")) n = run_batch(&x, &a);
    for (size_t i = 0; i < rows_n; i++) {
        if (!str_eq(scenario_of(rows[i].field[1]), scenario) || str_is(scenario, "batch-size-3")) continue;
        if (str_is(rows[i].field[0], "ask")) run_ask(&x, &a, &rows[i]), n++;
        if (str_is(rows[i].field[0], "produce")) run_produce(&x, &a, &rows[i]), n++;
    }
    assert_true(n > 0);
    fixture_close(&x);
    arena_fini(&a);
}

static void scenario_test(void **state)
{
    run_scenario(str_of(*state));
}

static void every_difference_is_one_of_a_recorded_request(void **state)
{
    (void)state;
    for (size_t k = 0; k < countof(differs); k++) {
        bool found = false;

        for (size_t i = 0; i < rows_n; i++)
            found |= str_is(rows[i].field[1], differs[k].label);
        if (!found) fail_msg("%s is not in the recording", differs[k].label);
    }
}

int main(int argc, char **argv)
{
    static struct CMUnitTest tests[64];
    size_t n = 0;

    must(argc > 1);
    rows_load(argv[1]);
    for (size_t i = 0; i < rows_n; i++) {
        struct str scenario = scenario_of(rows[i].field[1]);
        bool seen = false;

        for (size_t k = 0; k < n; k++)
            seen |= str_is(scenario, tests[k].name);
        if (seen) continue;
        must(n + 1 < countof(tests));
        tests[n].name = strndup(scenario.p, scenario.n);
        tests[n].test_func = scenario_test;
        tests[n].initial_state = (void *)tests[n].name;
        n++;
    }
    tests[n++] = (struct CMUnitTest)cmocka_unit_test(every_difference_is_one_of_a_recorded_request);
    return _cmocka_run_group_tests("golden flow", tests, n, NULL, NULL);
}
