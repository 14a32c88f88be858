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

/* Compared with less, or not at all: label, and why. */
static const struct { const char *label, *why; bool reply; } differs[] = {
    {"any-two-arrivals/rest", "`any` fires once: the second arrival leaves no second outcome", true},
    {"join-outer/lone", "an outer join fires as soon as the other side is known not to come, with its own headers", true},
    {"tensor-selection/only-A", "several tensors of a topic are all wanted unless the join says otherwise", false},
    {"tensor-selection/missing", "an output that cannot be satisfied is an error, not silence", false},
    {"raw-outputs-as-json/bad", "an answer that is not well-formed is the model's error", false},
    {"params-id-headers/rest-empty-request-id", "an empty request id is none", false},
    {"one-step/grpc-empty-request-id", "an empty request id is none", true},
    {"model-called-directly/failing model", "the caller hears of it", false},
    {"async-keys-three-partitions/2.p-join.mismatch", "hops stay in the partition the input was read from", false},
    {"async-keys-three-partitions/plain-key", "as above", false},
    {"async-keys-three-partitions/7.p-join.big", "as above", false},
    {"async-keys-three-partitions/-1.p-join.neg", "as above", false},
    {"async-keys-three-partitions/1", "as above", false},
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

/* ---- models that answer what they answered then ---- */

struct script { struct arena *arena; struct str label, key; };

static void scripted(void *ctx, struct upstream_call *c)
{
    struct script *s = ctx;
    struct str topic = arena_printf(s->arena, "seldon.default.model." STR_FMT ".outputs", STR_ARG(c->target->model));

    for (size_t i = 0; i < rows_n; i++) {
        const struct str *f = rows[i].field;

        if (!str_is(f[0], "record") || !str_eq(f[1], s->label) || !str_eq(f[2], topic)) continue;
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

static void check_headers(struct str label, const struct fake_record *r, const struct header *want, size_t want_n)
{
    struct header got[64];
    size_t n = 0, wanted = 0;

    for (size_t i = 0; i < want_n; i++)
        wanted += !ours(want[i].name);
    for (size_t i = 0; i < r->headers_n; i++)
        if (!ours(buf_str(&r->headers[i].key)))
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

static const struct fake_record *find_record(struct fixture *x, struct arena *a, const struct str *f, int32_t *ret_partition)
{
    struct fake_topic *t = fake_bus_topic(x->bus, arena_dup_str(a, f[2]).p);

    for (int32_t p = 0; t && p < t->partitions_n; p++)
        for (size_t i = 0; i < t->partitions[p].n; i++)
            if (same_key(buf_str(&t->partitions[p].records[i].key), f[4])) {
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

static void check_record(struct fixture *x, struct arena *a, const struct row *row)
{
    struct header want[64];
    const struct str *f = row->field;
    int32_t partition = 0;
    const struct fake_record *r = find_record(x, a, f, &partition);
    char number[16];

    if (!r) fail_msg(STR_FMT ": no record in " STR_FMT, STR_ARG(f[1]), STR_ARG(f[2]));
    snprintf(number, sizeof number, "%d", partition);
    if (!str_starts(f[1], STR("three-partitions"))) assert_str(f[3], number);
    if (!same_value(a, buf_view(&r->value), hex(a, f[5])))
        fail_msg(STR_FMT ": another value in " STR_FMT, STR_ARG(f[1]), STR_ARG(f[2]));
    check_headers(f[1], r, want, headers_read(a, f[6], want));
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
        assert_true(str_eq(buf_str(&asked->q.message_text), (struct str){want.p + 6, want.n - 6}));
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

static void open_scenario(struct fixture *x, struct arena *a, struct str scenario)
{
    const char *lines[32] = {0}, *models[] = {"mul10", "error", NULL};
    size_t n = 0;

    fixture_options(x);
    x->o.partitions = str_starts(scenario, STR("async")) || str_starts(scenario, STR("three")) ? 3 : 1;
    fixture_open(x);
    for (size_t i = 0; i < rows_n; i++)
        if (str_is(rows[i].field[0], "pipeline") && str_eq(rows[i].field[1], scenario))
            lines[n++] = arena_dup_str(a, rows[i].field[2]).p;
    /* loaded then, not written down: */
    if (str_is(scenario, "tensor-selection")) lines[n++] = "t-emptyout: mul10; out";
    if (str_is(scenario, "types-rest")) lines[n++] = "g-raw: raw; out < raw";
    fixture_apply(x, lines, models);
    fixture_settle(x);
}

static struct asked *ask(struct fixture *x, struct arena *a, const struct str *f, const struct header *h, size_t n)
{
    struct asked *q = xnew(struct asked);

    buf_append(&q->message, hex(a, f[5]));
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
    int differs_at = difference(f[1]);
    struct script script = {.arena = a, .label = f[1]};
    size_t before = all_records(x), n;
    struct header h[64];
    struct asked *q;

    x->up->model = scripted;
    x->up->ctx = &script;
    x->up->hold = false;
    n = headers_read(a, f[6], h);
    q = ask(x, a, f, h, n);
    fixture_settle(x);
    while (fake_upstream_finish(x->up, "slow"))
        fixture_settle(x);
    assert_int_equal(q->times, 1);
    if (differs_at < 0 || differs[differs_at].reply) check_reply(a, q, f[1], f[7]);
    if (differs_at < 0) assert_int_equal(all_records(x) - before, check_records(x, a, f[1]));
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
    if (difference(f[1]) < 0) assert_int_equal(all_records(x) - before, check_records(x, a, f[1]));
}

static void run_scenario(struct str scenario)
{
    struct arena a = {0};
    struct fixture x;
    size_t n = 0;

    open_scenario(&x, &a, scenario);
    for (size_t i = 0; i < rows_n; i++) {
        if (!str_eq(scenario_of(rows[i].field[1]), scenario)) continue;
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
