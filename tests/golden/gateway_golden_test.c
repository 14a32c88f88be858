/* What callers of the system that millrace replaces were answered: the same requests go through the gateway and an
 * executor, over REST and gRPC, to models that do the same, with compat.status: seldon. Compared are status or code, every
 * x-* header's values in order, and the bytes of the answer. What differs on purpose is in `differs`, with the reason.
 * The file comes from gateway_rows.py. SPDX-License-Identifier: Apache-2.0 */
#include "oip/json.h"
#include "unit/gateway/world.h"

enum { FIELDS_MAX = 9, ROWS_MAX = 400, ID_CHARS = 20, LINES_MAX = 64, LINE_MAX = 600 };

struct row {
    struct str field[FIELDS_MAX];
    size_t n;
};

static struct buf file;
static struct row rows[ROWS_MAX];
static size_t rows_n;

enum { HEADERS = 1, BODY = 2, STATUS = 4, ALL = HEADERS | BODY | STATUS };

/* Compared with less: label, what is left out, and why. */
static const struct {
    const char *label;
    int what;
    const char *why;
} differs[] = {
    {"one-step/rest-get-method", ALL, "only POST runs inference"},
    {"status-shapes/rest-DELETE-infer", ALL, "as above"},
    {"params-id-headers/rest-empty-request-id", ALL,
     "an empty request id is none: a fresh one is made"},
    {"params-id-headers/rest", BODY, "the id comes back; 1.7 stays 1.7"},
    {"params-id-headers/rest-chain", BODY, "the id comes back"},
    {"params-id-headers/grpc", BODY, "the order of parameters was random then"},
    {"params-id-headers/rest-id-with-dots-and-utf8", ALL,
     "a header that cannot be metadata is left out, not the call"},
    {"types-rest/UINT64", BODY, "64-bit integers are exact"},
    {"types-rest/INT64", BODY, "64-bit integers are exact"},
    {"types-rest/short-data", ALL, "missing data is refused, not invented"},
    {"status-shapes/rest-unknown-pipeline", HEADERS, "an error carries the request id, too"},
    {"status-shapes/rest-no-routing-header", ALL, "without a header the path names the model"},
    {"status-shapes/rest-unknown-datatype", ALL, "BF16 is a datatype now"},
    {"status-shapes/rest-other-path", ALL, "model metadata has this path"},
    {"status-shapes/rest-/v2/health/live", ALL, "health has this path"},
    {"status-shapes/grpc-unknown-pipeline", BODY, "other words"},
    {"status-shapes/grpc-no-seldon-model", BODY, "other words"},
    {"status-shapes/grpc-bad-header", BODY, "other words"},
    {"status-shapes/grpc-raw-count-mismatch", ALL, "raw contents must match the tensors"},
};

/* ---- the file ---- */

static void rows_load(const char *folder)
{
    struct str rest, line;
    char path[1024];
    FILE *f;

    snprintf(path, sizeof path, "%s/gateway.tsv", folder);
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

static void unhex(struct buf *b, struct str hex)
{
    if (str_is(hex, "-")) return;
    for (size_t i = 0; i + 1 < hex.n; i += 2)
        buf_append_byte(b, (uint8_t)(digit(hex.p[i]) << 4 | digit(hex.p[i + 1])));
}

/* "name: value" lines out of name=hex,name=hex. */
static void lines_of(struct buf *b, struct str text)
{
    struct str one, name, value;

    while (text.n && !str_is(text, "-")) {
        str_cut(text, ',', &one, &text);
        str_cut(one, '=', &name, &value);
        buf_append_str(b, name);
        buf_append_str(b, STR(": "));
        unhex(b, value);
        buf_append_str(b, STR("\n"));
    }
}

/* ---- comparing ---- */

static int by_name(const void *a, const void *b)
{
    const char *x = a, *y = b;
    size_t n = (size_t)(strchr(x, ':') - x), m = (size_t)(strchr(y, ':') - y);
    int c = strncmp(x, y, MIN(n, m));

    return c ? c : (int)n - (int)m;
}

/* Only x-* lines, ordered by name; of one name in the order they came. A fresh id is masked. */
static void normalise(struct buf *b, bool fresh_id)
{
    static char lines[LINES_MAX][LINE_MAX];
    struct str rest = buf_str(b), line;
    struct buf out = {0};
    size_t n = 0;

    while (rest.n) {
        str_cut(rest, '\n', &line, &rest);
        if (line.n && line.p[line.n - 1] == '\r') line.n--;
        if (!str_starts(line, STR("x-")) || n == LINES_MAX || line.n >= LINE_MAX) continue;
        memcpy(lines[n], line.p, line.n);
        lines[n][line.n] = 0;
        if (fresh_id && str_starts(line, STR("x-request-id: ")) && line.n >= 14 + ID_CHARS)
            memset(lines[n] + line.n - ID_CHARS, '*', ID_CHARS);
        n++;
    }
    for (size_t i = 1; i < n; i++) /* insertion: keeps the order of equals */
        for (size_t k = i; k && by_name(lines[k - 1], lines[k]) > 0; k--) {
            char swap[LINE_MAX];

            memcpy(swap, lines[k], LINE_MAX);
            memcpy(lines[k], lines[k - 1], LINE_MAX);
            memcpy(lines[k - 1], swap, LINE_MAX);
        }
    for (size_t i = 0; i < n; i++)
        buf_printf(&out, "%s\n", lines[i]);
    buf_fini(b);
    *b = out;
}

static int failures;

static int left_out(struct str label)
{
    for (size_t i = 0; i < countof(differs); i++)
        if (str_is(label, differs[i].label)) return differs[i].what;
    return 0;
}

static void compare(struct str label, int part, const char *what, struct bytes want,
                    struct bytes got)
{
    if ((left_out(label) & part) || bytes_eq(want, got)) return;
    failures++;
    print_error(STR_FMT ": %s differs\n  was %.*s\n  is  %.*s\n", STR_ARG(label), what, (int)want.n,
                (const char *)want.p, (int)got.n, (const char *)got.p);
}

static bool fresh_id(struct str request_headers)
{
    struct str at = request_headers, one;

    while (at.n) {
        str_cut(at, ',', &one, &at);
        if (str_starts(one, STR("x-request-id=")) && one.n > 13) return false;
    }
    return true;
}

/* ---- REST ---- */

static const char *ask_rest(struct world *w, const struct row *r, int *ret_status)
{
    struct buf request = {0}, body = {0}, head = {0};
    const char *end;
    int fds[2];
    ssize_t n;
    char part[65536];

    unhex(&body, r->field[5]);
    lines_of(&head, r->field[4]);
    buf_printf(&request, STR_FMT " " STR_FMT " HTTP/1.1\r\nhost: h\r\ncontent-length: %zu\r\n",
               STR_ARG(r->field[2]), STR_ARG(r->field[3]), body.n);
    for (struct str rest = buf_str(&head), line; rest.n;) {
        str_cut(rest, '\n', &line, &rest);
        buf_append_str(&request, line);
        buf_append_str(&request, STR("\r\n"));
    }
    buf_append_str(&request, STR("\r\n"));
    buf_append(&request, buf_view(&body));
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
    gateway_accept(w->g, fds[0], &(struct addr){0}, NULL);
    assert_int_equal(write(fds[1], request.p, request.n), request.n);
    settle(w);
    buf_clear(&w->got);
    while ((n = read(fds[1], part, sizeof part)) > 0)
        buf_append(&w->got, bytes_of(part, (size_t)n));
    close(fds[1]);
    settle(w);
    buf_fini(&request);
    buf_fini(&body);
    buf_fini(&head);
    end = strstr(buf_cstr(&w->got), "\r\n\r\n");
    assert_non_null(end);
    assert_int_equal(sscanf((const char *)w->got.p, "HTTP/1.1 %d", ret_status), 1);
    return end + 4;
}

static void check_rest(struct world *w, const struct row *r)
{
    struct buf want = {0}, got = {0};
    struct str label = r->field[1];
    int64_t wanted = 0;
    int status = 0;
    const char *body = ask_rest(w, r, &status);
    size_t head_n = (size_t)(body - (const char *)w->got.p);
    bool fresh = fresh_id(r->field[4]);

    assert_true(str_to_i64(r->field[6], &wanted));
    if (status != wanted && !(left_out(label) & STATUS)) {
        failures++;
        print_error(STR_FMT ": status was %d, is %d: %s\n", STR_ARG(label), (int)wanted, status,
                    body);
    }
    lines_of(&want, r->field[7]);
    buf_append(&got, bytes_of(w->got.p, head_n));
    normalise(&want, fresh);
    normalise(&got, fresh);
    compare(label, HEADERS, "headers", buf_view(&want), buf_view(&got));
    buf_clear(&want);
    buf_clear(&got);
    if (wanted == 200) {
        unhex(&want, r->field[8]);
    } else if (!str_is(r->field[8], "-")) { /* a text then, now the same in JSON */
        AUTO(buf_fini) struct buf text = {0};

        unhex(&text, r->field[8]);
        buf_append_str(&want, STR("{\"error\":"));
        json_put_str(&want, buf_str(&text));
        buf_append_str(&want, STR("}"));
    }
    if (want.n) compare(label, BODY, "body", buf_view(&want), bytes_of(body, w->got.n - head_n));
    buf_fini(&want);
    buf_fini(&got);
}

/* ---- gRPC ---- */

struct answer {
    struct h2_call call;
    struct buf data, message, headers;
    int status, ended;
};

static void on_header(struct h2_call *c, struct str name, struct str value, bool trailer)
{
    struct answer *a = container_of(c, struct answer, call);
    int64_t n;

    (void)trailer;
    if (str_is(name, "grpc-status") && str_to_i64(value, &n)) a->status = (int)n;
    if (str_is(name, "grpc-message")) grpc_message_decode(&a->message, value);
    buf_printf(&a->headers, STR_FMT ": " STR_FMT "\n", STR_ARG(name), STR_ARG(value));
}

static void on_data(struct h2_call *c, struct bytes data)
{
    buf_append(&container_of(c, struct answer, call)->data, data);
}

static void on_ended(struct h2_call *c, const struct err *e)
{
    (void)e;
    container_of(c, struct answer, call)->ended++;
}

static size_t request_headers(struct arena *a, struct buf *text, struct str field, struct header *h)
{
    struct str rest, line;
    size_t n = 0;

    (void)a;
    h[n++] = HEADER(":method", STR("POST"));
    h[n++] = HEADER(":scheme", STR("http"));
    h[n++] = HEADER(":path", STR("/inference.GRPCInferenceService/ModelInfer"));
    h[n++] = HEADER(":authority", STR("h"));
    h[n++] = HEADER("te", STR("trailers"));
    h[n++] = HEADER("content-type", STR("application/grpc"));
    lines_of(text, field);
    for (rest = buf_str(text); rest.n && n < LINES_MAX;) {
        str_cut(rest, '\n', &line, &rest);
        str_cut(line, ':', &h[n].name, &h[n].value);
        h[n].value = (struct str){h[n].value.p + 1, h[n].value.n - 1};
        n++;
    }
    return n;
}

static void ask_grpc(struct world *w, const struct row *r, struct answer *a)
{
    const struct h2_client_owner owner = {on_opened, on_opened, on_closed, w};
    struct header h[LINES_MAX];
    struct buf text = {0}, body = {0};
    struct err e;

    *a = (struct answer){.status = -1};
    buf_grow(&body, GRPC_FRAME_BYTES);
    unhex(&body, r->field[3]);
    grpc_frame_put(body.p, false, (uint32_t)(body.n - GRPC_FRAME_BYTES));
    if (!w->h2) w->h2 = h2_client_shared_new();
    if (!w->client)
        assert_int_equal(
            h2_client_open(w->tcp, w->h2, gateway_door_addr(w->door), &owner, &w->client, &e),
            RC_OK);
    a->call = (struct h2_call){.headers = h,
                               .headers_n = request_headers(NULL, &text, r->field[2], h),
                               .body = {buf_view(&body)},
                               .header = on_header,
                               .data = on_data,
                               .ended = on_ended};
    assert_int_equal(h2_call_start(w->client, &a->call, &e), RC_OK);
    for (int i = 0; i < 2000 && !a->ended; i++)
        settle(w);
    assert_int_equal(a->ended, 1);
    buf_fini(&text);
    buf_fini(&body);
}

static void check_grpc(struct world *w, const struct row *r)
{
    struct buf want = {0}, text = {0};
    struct str label = r->field[1];
    bool fresh = fresh_id(r->field[2]);
    struct answer a;
    int64_t code = 0;

    ask_grpc(w, r, &a);
    assert_true(str_to_i64(r->field[4], &code));
    if (a.status != code && !(left_out(label) & STATUS)) {
        failures++;
        print_error(STR_FMT ": code was %d, is %d\n", STR_ARG(label), (int)code, a.status);
    }
    unhex(&text, r->field[5]);
    if (text.n) compare(label, BODY, "text", buf_view(&text), buf_view(&a.message));
    lines_of(&want, r->field[6]);
    normalise(&want, fresh);
    normalise(&a.headers, fresh);
    compare(label, HEADERS, "metadata", buf_view(&want), buf_view(&a.headers));
    buf_clear(&want);
    unhex(&want, r->field[7]);
    if (code == GRPC_OK)
        compare(label, BODY, "message", buf_view(&want),
                bytes_of(a.data.p + GRPC_FRAME_BYTES,
                         a.data.n - MIN(a.data.n, (size_t)GRPC_FRAME_BYTES)));
    buf_fini(&want);
    buf_fini(&text);
    buf_fini(&a.data);
    buf_fini(&a.message);
    buf_fini(&a.headers);
}

/* ---- scenario by scenario ---- */

static size_t scenario_run(size_t at, size_t *checked)
{
    static char lines[16][400];
    const char *definitions[17] = {0};
    size_t n = 0;
    struct world w;

    for (; at < rows_n && str_is(rows[at].field[0], "pipeline"); at++) {
        assert_true(n < 16);
        snprintf(lines[n], sizeof lines[n], STR_FMT, STR_ARG(rows[at].field[2]));
        definitions[n] = lines[n];
        n++;
    }
    world_with(&w, (struct gateway_options){.status_seldon = true}, definitions, NULL);
    for (; at < rows_n && !str_is(rows[at].field[0], "pipeline"); at++) {
        ++*checked;
        if (str_is(rows[at].field[0], "rest"))
            check_rest(&w, &rows[at]);
        else
            check_grpc(&w, &rows[at]);
    }
    world_free(&w);
    return at;
}

static void callers_are_answered_as_before(void **state)
{
    size_t checked = 0;

    (void)state;
    for (size_t at = 0; at < rows_n;)
        at = scenario_run(at, &checked);
    print_message("%zu answers compared, %zu of them differ on purpose\n", checked,
                  countof(differs));
    assert_true(checked > 60);
    assert_int_equal(failures, 0);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(callers_are_answered_as_before)};
    int failed;

    must(argc == 2);
    rows_load(argv[1]);
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    buf_fini(&file);
    return failed;
}
