/* cli/replay.c - recorded traffic once more: the inputs of a pipeline, in the order of their times, as requests to another one.
 *
 * The inputs are read page by page through the management API, as bytes, and sent one after the other by gRPC with the x-* headers
 * they had (the request id among them, so that `trace` shows both ways side by side) and x-millrace-replay, which names the record.
 * Every partition is a source; the source whose next record is the oldest goes first. SPDX-License-Identifier: Apache-2.0 */
#include "base/base64.h"
#include "bus/schema.h"
#include "cli/command.h"
#include "cli/when.h"
#include "oip/proto.h"
#include "sys/clock.h"
#include <inttypes.h>
#include <stdio.h>

/* Clocks of those who write differ a little: so much around the time asked for is looked through. */
enum { PAGE = 200, SLACK_MS = 60000, FAILURES_SHOWN = 10, FAILURES_MAX = 1000 };

struct source {
    struct replay *r;
    int32_t partition;
    int64_t next, end;                           /* next: the offset behind what was read */
    json_t *page;
    size_t at;
    json_t *held;                                /* hash of an idempotency key -> [offset, ms] of the input that holds it */
    int64_t holder;                              /* of the key of the record that it stands at, which came later; -1: none */
};

struct replay {
    struct cli *cli;
    const char *pipeline, *into;
    struct buf topic;
    int64_t from_ms, to_ms;
    bool embedded;
    int64_t window_ms;                           /* flow.idempotencyWindowMs there */
    struct source *sources; size_t sources_n;
    int64_t requests, answered, failed, left_out;
    json_t *failures;
};

/* ---- reading ---- */

static int records_get(const struct replay *r, int32_t partition, int64_t offset, int limit, json_t **ret)
{
    AUTO(buf_fini) struct buf path = {0};

    buf_append_str(&path, STR("topics/"));
    http_escape(buf_str(&r->topic), &path);
    buf_printf(&path, "/records?raw=true&partition=%" PRId32 "&offset=%" PRId64 "&limit=%d", partition, offset, limit);
    return cli_manage(r->cli, "GET", buf_str(&path), (struct bytes){0}, ret);
}

static const json_t *record_at(const json_t *page, size_t i)
{
    return json_array_get(json_object_get(page, "records"), i);
}

/* The first offset that may hold something of the time: by halving, as times rise with offsets but for the slack. */
static int seek(struct source *s, int64_t start)
{
    int64_t low = start, high = s->end;

    while (low < high) {
        int64_t middle = low + (high - low) / 2;
        const json_t *record;
        json_t *page;
        int status = records_get(s->r, s->partition, middle, 1, &page);

        if (status) return status;
        record = record_at(page, 0);
        if (!record || json_number(record, "timestampMs") >= s->r->from_ms - SLACK_MS) high = middle;
        else low = json_number(record, "offset") + 1;
        json_decref(page);
    }
    s->next = low;
    return CLI_DONE;
}

static int page_next(struct source *s)
{
    const json_t *list;
    size_t n;
    int status;

    json_decref(s->page);
    s->page = NULL;
    s->at = 0;
    if (s->next >= s->end) return CLI_DONE;
    if ((status = records_get(s->r, s->partition, s->next, PAGE, &s->page))) return status;
    list = json_object_get(s->page, "records");
    n = json_array_size(list);
    if (!n && json_is_false(json_object_get(s->page, "complete")))
        return cli_fail("the records of " STR_FMT " could not be read in time", STR_ARG(buf_str(&s->r->topic)));
    s->next = n ? json_number(json_array_get(list, n - 1), "offset") + 1 : s->end;
    return CLI_DONE;
}

static struct str header_get(const json_t *record, const char *name)
{
    const json_t *one;
    size_t i;

    json_array_foreach(json_object_get(record, "headers"), i, one)
        if (str_is(json_text(one, "key"), name)) return json_text(one, "value");
    return (struct str){0};
}

/* Two processes that were asked with one Idempotency-Key at the same moment leave two inputs, of which the later one is no run
 * (docs/compatibility.md). Embedded there are no such. */
static void key_look(struct source *s, const json_t *record)
{
    struct str key, rest, input, after_text;
    int64_t offset = json_number(record, "offset"), ms = json_number(record, "timestampMs"), after = -1;
    const json_t *held;
    char name[80];

    s->holder = -1;
    if (s->r->embedded || !str_cut(header_get(record, "millrace-idempotency"), '/', &key, &rest)) return;
    if (str_cut(rest, '/', &input, &after_text) && !str_to_i64(after_text, &after)) return;
    snprintf(name, sizeof name, STR_FMT, STR_ARG(key));
    held = json_object_get(s->held, name);
    if (held && ms - json_integer_value(json_array_get(held, 1)) <= s->r->window_ms && after < json_integer_value(json_array_get(held, 0))) {
        s->holder = json_integer_value(json_array_get(held, 0));
        return;
    }
    json_object_set_new(s->held, name, json_pack("[I,I]", (json_int_t)offset, (json_int_t)ms));
}

/* Moves to the next record of the time asked for. */
static int source_move(struct source *s, bool first)
{
    if (!first) s->at++;
    for (;; s->at++) {
        const json_t *record = record_at(s->page, s->at);
        int64_t ms = json_number(record, "timestampMs");
        int status;

        if (!record) {
            if (!s->page && s->next >= s->end) return CLI_DONE;
            if ((status = page_next(s))) return status;
            if (!s->page || !(record = record_at(s->page, 0))) return CLI_DONE;
            ms = json_number(record, "timestampMs");
        }
        if (json_number(record, "offset") >= s->end || ms >= s->r->to_ms + SLACK_MS) {
            json_decref(s->page);
            s->page = NULL;
            s->next = s->end;
            return CLI_DONE;
        }
        key_look(s, record);
        if (ms >= s->r->from_ms && ms < s->r->to_ms) return CLI_DONE;
    }
}

static const json_t *source_record(const struct source *s)
{
    return s->page ? record_at(s->page, s->at) : NULL;
}

static int sources_open(struct replay *r)
{
    const json_t *list, *one;
    json_t *page;
    size_t i;
    int status = records_get(r, 0, -1, 1, &page);

    if (status) return status;
    list = json_object_get(page, "partitions");
    r->sources_n = json_array_size(list);
    r->sources = xnew_array(struct source, r->sources_n);
    json_array_foreach(list, i, one) {
        struct source *s = &r->sources[i];

        *s = (struct source){.r = r, .partition = (int32_t)json_number(one, "partition"), .end = json_number(one, "end"), .held = json_object()};
        if (!status) status = seek(s, json_number(one, "start"));
        if (!status) status = source_move(s, true);
    }
    json_decref(page);
    return status;
}

static struct source *oldest(struct replay *r)
{
    struct source *best = NULL;

    for (size_t i = 0; i < r->sources_n; i++) {
        const json_t *record = source_record(&r->sources[i]);

        if (record && (!best || json_number(record, "timestampMs") < json_number(source_record(best), "timestampMs")))
            best = &r->sources[i];
    }
    return best;
}

/* ---- one record ---- */

static bool header_is(const json_t *record, const char *name, const char *value, bool *ret_named)
{
    const json_t *one;
    bool same = false;
    size_t i;

    *ret_named = false;
    json_array_foreach(json_object_get(record, "headers"), i, one) {
        if (!str_is(json_text(one, "key"), name)) continue;
        *ret_named = true;
        same |= value && str_is(json_text(one, "value"), value);
    }
    return same;
}

/* Records that were never the pipeline's, and those that lack something, are no requests. */
static bool is_request(const json_t *record, const char *pipeline, const char **ret_why)
{
    bool named;

    *ret_why = NULL;
    if (!header_is(record, "pipeline", pipeline, &named) && named) *ret_why = "it belongs to another pipeline";
    header_is(record, "millrace-redacted", NULL, &named);
    if (named) *ret_why = "tensors or parameters were left out of it (flow.redact)";
    if (!str_is(json_text(record, "kind"), "bytes")) *ret_why = "it has no value";
    return !*ret_why;
}

static bool header_good(struct str key, struct str value)
{
    if (!str_starts(key, STR("x-")) || str_is(key, "x-seldon-route") || str_is(key, "x-pipeline-version") ||
        str_is(key, "x-millrace-replay") || str_starts(value, STR("base64:")))
        return false;
    for (size_t i = 0; i < value.n; i++)
        if ((unsigned char)value.p[i] < ' ' || value.p[i] == 127) return false;
    return true;
}

static void failure_add(struct replay *r, const json_t *record, const char *code, struct str why)
{
    AUTO(buf_fini) struct buf text = {0};

    r->failed++;
    buf_append_str(&text, why);
    if (json_array_size(r->failures) < FAILURES_MAX)
        json_array_append_new(r->failures,
                              json_pack("{s:I,s:I,s:s,s:s}", "partition", (json_int_t)json_number(record, "partition"), "offset",
                                        (json_int_t)json_number(record, "offset"), "code", code, "error", buf_cstr(&text)));
    if (r->failed <= FAILURES_SHOWN)
        fprintf(stderr, "%" PRId64 "/%" PRId64 " %s: " STR_FMT "\n", json_number(record, "partition"), json_number(record, "offset"),
                code, STR_ARG(why));
}

/* CLI_FAILED: nobody answers any more. */
static int send(struct replay *r, const json_t *record, struct bytes message)
{
    AUTO(arena_fini) struct arena a = {0};
    const json_t *headers = json_object_get(record, "headers"), *one;
    const char **list = arena_array(&a, const char *, json_array_size(headers) + 1);
    struct http_answer answer;
    struct err e = {0};
    size_t i, n = 0;

    json_array_foreach(headers, i, one)
        if (header_good(json_text(one, "key"), json_text(one, "value")))
            list[n++] = arena_printf(&a, STR_FMT ": " STR_FMT, STR_ARG(json_text(one, "key")), STR_ARG(json_text(one, "value"))).p;
    list[n++] = arena_printf(&a, "x-millrace-replay: " STR_FMT "/%" PRId64 "/%" PRId64, STR_ARG(buf_str(&r->topic)),
                             json_number(record, "partition"), json_number(record, "offset")).p;
    if (cli_infer_grpc(r->cli->server, false, r->into, message, list, n, &answer, &e)) {
        if (e.rc != RC_INVALID) return cli_fail("%s", e.text);
        failure_add(r, record, "INVALID_ARGUMENT", str_of(e.text));          /* the record holds no request */
        return CLI_DONE;
    }
    if (answer.status != 200) failure_add(r, record, "no gRPC", buf_str(&answer.body));
    else if (answer.grpc_status != 0) failure_add(r, record, cli_grpc_code(answer.grpc_status), buf_str(&answer.grpc_message));
    else r->answered++;
    http_answer_fini(&answer);
    return CLI_DONE;
}

static int one(struct replay *r, const struct source *s)
{
    AUTO(buf_fini) struct buf message = {0};
    const json_t *record = source_record(s);
    const char *why;

    if (s->holder >= 0) {
        r->left_out++;
        fprintf(stderr, "%" PRId32 "/%" PRId64 " left out: it repeats the Idempotency-Key of %" PRId32 "/%" PRId64 " and was no run\n", s->partition,
                json_number(record, "offset"), s->partition, s->holder);
        return CLI_DONE;
    }
    if (!is_request(record, r->pipeline, &why) || !base64_decode(json_text(record, "value"), &message)) {
        r->left_out++;
        fprintf(stderr, "%" PRId64 "/%" PRId64 " left out: %s\n", json_number(record, "partition"), json_number(record, "offset"),
                why ? why : "its value cannot be read");
        return CLI_DONE;
    }
    r->requests++;
    return r->cli->check ? CLI_DONE : send(r, record, schema_message(buf_view(&message)));
}

/* ---- the command ---- */

static int topic_name(struct replay *r)
{
    json_t *info;
    int status = cli_manage(r->cli, "GET", STR("info"), (struct bytes){0}, &info);

    if (status) return status;
    buf_printf(&r->topic, STR_FMT "." STR_FMT ".pipeline.%s.inputs", STR_ARG(json_text(info, "topicPrefix")),
               STR_ARG(json_text(info, "namespace")), r->pipeline);
    r->embedded = json_is_true(json_object_get(info, "embedded"));
    r->window_ms = json_number(info, "idempotencyWindowMs");
    json_decref(info);
    return CLI_DONE;
}

/* Better to know before the first request. */
static int into_check(const struct replay *r)
{
    AUTO(buf_fini) struct buf path = {0};
    json_t *j;
    int status;

    buf_append_str(&path, STR("pipelines/"));
    http_escape(str_of(r->into), &path);
    if ((status = cli_manage(r->cli, "GET", buf_str(&path), (struct bytes){0}, &j))) return status;
    if (json_is_false(json_object_get(j, "ready")) && !r->cli->check)
        status = cli_fail("pipeline %s is not ready: " STR_FMT, r->into, STR_ARG(json_text(j, "status")));
    json_decref(j);
    return status;
}

static void summary(const struct replay *r)
{
    AUTO(buf_fini) struct buf from = {0}, to = {0};
    json_t *j;

    when_put(r->from_ms, &from);
    when_put(r->to_ms, &to);
    if (r->cli->output == OUT_TABLE) {
        printf("%s -> %s, %s to %s: ", r->pipeline, r->into, buf_cstr(&from), buf_cstr(&to));
        if (r->cli->check) printf("%" PRId64 " requests to replay, %" PRId64 " left out\n", r->requests, r->left_out);
        else printf("%" PRId64 " requests, %" PRId64 " answered, %" PRId64 " failed, %" PRId64 " left out\n", r->requests, r->answered,
                    r->failed, r->left_out);
        return;
    }
    j = json_pack("{s:s,s:s,s:s,s:s,s:I,s:I,s:I,s:I,s:O}", "pipeline", r->pipeline, "into", r->into, "from", buf_cstr(&from), "to",
                  buf_cstr(&to), "requests", (json_int_t)r->requests, "answered", (json_int_t)r->answered, "failed",
                  (json_int_t)r->failed, "leftOut", (json_int_t)r->left_out, "failures", r->failures);
    cli_put_json(r->cli, j);
    json_decref(j);
}

static int times_set(struct replay *r)
{
    int64_t now = clock_wall_ms(&clock_real);
    struct err e;

    r->to_ms = now;
    if (r->cli->from && when_parse(str_of(r->cli->from), now, &r->from_ms, &e)) return cli_usage("--from: %s", e.text);
    if (r->cli->to && when_parse(str_of(r->cli->to), now, &r->to_ms, &e)) return cli_usage("--to: %s", e.text);
    if (r->from_ms >= r->to_ms) return cli_usage("replay: --from is not before --to");
    return CLI_DONE;
}

static int run(struct replay *r)
{
    struct source *s;
    int status;

    if ((status = times_set(r)) || (status = topic_name(r)) || (status = into_check(r)) || (status = sources_open(r))) return status;
    while (!status && (s = oldest(r))) {
        status = one(r, s);
        if (!status) status = source_move(s, false);
    }
    summary(r);
    if (!status && r->failed) status = cli_fail("%" PRId64 " of %" PRId64 " requests failed", r->failed, r->requests);
    return status;
}

int cmd_replay(struct cli *cli)
{
    struct replay r = {.cli = cli, .pipeline = cli->words[0], .into = cli->into, .failures = json_array()};
    int status = cli->into ? run(&r) : cli_usage("replay: --into PIPELINE is wanted: which one is to get the requests?");

    for (size_t i = 0; i < r.sources_n; i++) {
        json_decref(r.sources[i].page);
        json_decref(r.sources[i].held);
    }
    free(r.sources);
    buf_fini(&r.topic);
    json_decref(r.failures);
    return status;
}
