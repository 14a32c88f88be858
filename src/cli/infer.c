/* cli/infer.c - one inference request, by REST or gRPC, as any client would send it. SPDX-License-Identifier: Apache-2.0 */
#include "cli/command.h"
#include "oip/json.h"
#include "sys/fs.h"
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

enum { REQUEST_BYTES_MAX = 1 << 30, SHOWN_VALUES = 8 };

static int body_read(struct cli *cli, struct buf *into)
{
    struct err e = {0};
    char chunk[65536];
    ssize_t n;

    if (cli->files_n + (cli->words_n > 2) != 1)
        return cli_usage(
            "infer: the request is wanted once: as JSON behind the name, or with -f FILE");
    if (!cli->files_n) {
        buf_append_str(into, str_of(cli->words[2]));
        return CLI_DONE;
    }
    if (strcmp(cli->files[0], "-"))
        return fs_load(&fs_real, cli->files[0], REQUEST_BYTES_MAX, into, &e)
                   ? cli_fail("%s", e.text)
                   : CLI_DONE;
    while ((n = read(STDIN_FILENO, chunk, sizeof chunk)) > 0)
        buf_append(into, bytes_of(chunk, (size_t)n));
    return n < 0 ? cli_fail("standard input: %s", strerror(errno)) : CLI_DONE;
}

/* ---- the answer ---- */

static void put_values(const json_t *data, struct buf *b, size_t *count)
{
    size_t i;
    const json_t *v;

    if (json_is_array(data)) {
        json_array_foreach(data, i, v) put_values(v, b, count);
        return;
    }
    if ((*count)++ >= SHOWN_VALUES) return;
    if (*count > 1) buf_append_byte(b, ' ');
    put_json_scalar(data, b);
}

static void put_tensors(const json_t *tensors, struct table *t)
{
    const json_t *one, *dim;
    size_t i, k;

    json_array_foreach(tensors, i, one)
    {
        AUTO(buf_fini) struct buf shape = {0}, values = {0};
        size_t count = 0;
        json_array_foreach(json_object_get(one, "shape"), k, dim)
            buf_printf(&shape, "%s%" PRId64, k ? "," : "", (int64_t)json_integer_value(dim));
        put_values(json_object_get(one, "data"), &values, &count);
        if (count > SHOWN_VALUES) buf_printf(&values, " … (%zu)", count);
        table_add(t, json_text(one, "name"));
        table_add(t, json_text(one, "datatype"));
        table_addf(t, "[" STR_FMT "]", STR_ARG(buf_str(&shape)));
        table_add(t, buf_str(&values));
    }
}

/* The id that trace takes, on standard error so that standard output is the answer alone. The header is the key of the
 * record, <partition>.<name>.<id>. */
static void print_id(struct str key)
{
    struct str partition, name, id;

    if (!str_cut(key, '.', &partition, &id) || !str_cut(id, '.', &name, &id) || !id.n) return;
    fprintf(stderr, "request " STR_FMT "; all its records: millrace trace " STR_FMT "\n",
            STR_ARG(id), STR_ARG(id));
}

static int print_answer(struct cli *cli, struct str body)
{
    static const char *const titles[] = {"TENSOR", "DATATYPE", "SHAPE", "DATA"};
    json_error_t error;
    json_t *j;
    struct table t;

    if (cli->output == OUT_JSON) { /* as it came: big tensors need no second reading */
        cli_put(body);
        if (!str_ends(body, STR("\n"))) cli_put(STR("\n"));
        return CLI_DONE;
    }
    j = json_loadb(body.p ? body.p : "", body.n, 0, &error);
    if (!j) return cli_fail("the answer is not JSON: %s", error.text);
    if (cli->output == OUT_YAML || !json_is_array(json_object_get(j, "outputs"))) {
        cli_put_json(cli, j);
    } else {
        table_begin(&t, titles, countof(titles));
        put_tensors(json_object_get(j, "outputs"), &t);
        table_end(&t);
    }
    json_decref(j);
    return CLI_DONE;
}

/* ---- REST ---- */

static int refused(const struct http_answer *a)
{
    json_error_t error;
    json_t *j = json_loadb((const char *)(a->body.p ? a->body.p : (const uint8_t *)""), a->body.n,
                           0, &error);
    struct str text = json_text(j, "error");

    if (text.n)
        cli_fail("%ld: " STR_FMT, a->status, STR_ARG(text));
    else
        cli_fail("%ld: " STR_FMT, a->status, STR_ARG(buf_str(&a->body)));
    json_decref(j);
    return CLI_FAILED;
}

static int infer_rest(struct cli *cli, bool model, const char *name, struct bytes request)
{
    AUTO(buf_fini) struct buf path = {0};
    const char *headers[CLI_HEADERS_MAX + 1] = {"Content-Type: application/json"};
    struct http_ask ask = {.method = "POST",
                           .server = cli->server,
                           .headers = headers,
                           .headers_n = cli->headers_n + 1,
                           .body = request};
    struct http_answer a;
    struct err e = {0};
    int status;

    for (size_t i = 0; i < cli->headers_n; i++)
        headers[i + 1] = cli->headers[i];
    buf_printf(&path, "/v2/%s/", model ? "models" : "pipelines");
    http_escape(str_of(name), &path);
    buf_append_str(&path, STR("/infer"));
    ask.path = buf_str(&path);
    if (http_ask(&ask, &a, &e)) return cli_fail("%s", e.text);
    if (a.status == 202 && cli->output == OUT_TABLE) {
        printf("accepted: the pipeline has no output; millrace inspect %s shows what it does\n",
               name);
        status = CLI_DONE;
    } else
        status =
            a.status == 200 || a.status == 202 ? print_answer(cli, buf_str(&a.body)) : refused(&a);
    print_id(buf_str(&a.request_id));
    http_answer_fini(&a);
    return status;
}

/* ---- gRPC ---- */

const char *cli_grpc_code(int code)
{
    static const char *const names[] = {"OK",
                                        "CANCELLED",
                                        "UNKNOWN",
                                        "INVALID_ARGUMENT",
                                        "DEADLINE_EXCEEDED",
                                        "NOT_FOUND",
                                        "ALREADY_EXISTS",
                                        "PERMISSION_DENIED",
                                        "RESOURCE_EXHAUSTED",
                                        "FAILED_PRECONDITION",
                                        "ABORTED",
                                        "OUT_OF_RANGE",
                                        "UNIMPLEMENTED",
                                        "INTERNAL",
                                        "UNAVAILABLE",
                                        "DATA_LOSS",
                                        "UNAUTHENTICATED"};
    return code >= 0 && (size_t)code < countof(names) ? names[code] : "no status";
}

static enum rc frame_make(struct bytes request, const char *name, struct buf *frame, struct err *e)
{
    AUTO(arena_fini) struct arena a = {0};
    AUTO(buf_fini) struct buf message = {0};
    struct infer_view view;
    struct str model = str_of(name);
    struct infer_names names = {.model_name = &model};
    uint8_t head[5] = {0};

    if (infer_parse(request, INFER_REQUEST, &a, &view, e)) return err_in(e, "the request");
    infer_rename(&view, &names, &message);
    store_be32(head + 1, (uint32_t)message.n);
    buf_append(frame, bytes_of(head, sizeof head));
    buf_append(frame, buf_view(&message));
    return RC_OK;
}

static int answer_decode(struct cli *cli, struct bytes body)
{
    AUTO(arena_fini) struct arena a = {0};
    AUTO(buf_fini) struct buf json = {0};
    struct json_style style = {.bytes_as_text = true};
    struct infer_view view;
    struct err e = {0};

    if (body.n < 5 || body.p[0] != 0 || load_be32(body.p + 1) != body.n - 5)
        return cli_fail("the answer is not one gRPC message");
    if (infer_parse(bytes_sub(body, 5, body.n - 5), INFER_RESPONSE, &a, &view, &e) ||
        infer_encode_json(&view, &style, &json, NULL, &e))
        return cli_fail("the answer: %s", e.text);
    return print_answer(cli, buf_str(&json));
}

enum rc cli_infer_grpc(const char *server, bool model, const char *name, struct bytes message, const char *const *headers,
                       size_t headers_n, struct http_answer *ret, struct err *e)
{
    AUTO(buf_fini) struct buf frame = {0}, route = {0};
    const char **all = xnew_array(const char *, headers_n + 3);
    struct http_ask ask = {.method = "POST",
                           .server = server,
                           .path = STR("/inference.GRPCInferenceService/ModelInfer"),
                           .headers = all,
                           .headers_n = headers_n + 3,
                           .grpc = true};

    buf_printf(&route, "seldon-model: %s%s", name, model ? "" : ".pipeline");
    all[0] = "Content-Type: application/grpc";
    all[1] = "te: trailers";
    all[2] = buf_cstr(&route);
    for (size_t i = 0; i < headers_n; i++)
        all[3 + i] = headers[i];
    if (frame_make(message, name, &frame, e) == RC_OK) {
        ask.body = buf_view(&frame);
        if (http_ask(&ask, ret, e) == RC_OK) e->rc = RC_OK;
    }
    free(all);
    return e->rc;
}

static int infer_grpc(struct cli *cli, bool model, const char *name, struct bytes request)
{
    AUTO(arena_fini) struct arena arena = {0};
    AUTO(buf_fini) struct buf plain = {0};
    struct http_answer a;
    struct err e = {0};
    int status;

    if (infer_decode_json(request, request.n, INFER_REQUEST, &arena, &plain, NULL, &e)) return cli_fail("the request: %s", e.text);
    if (cli_infer_grpc(cli->server, model, name, buf_view(&plain), cli->headers, cli->headers_n, &a, &e))
        return cli_fail("%s", e.text);
    if (a.status != 200)
        status = refused(&a);
    else if (a.grpc_status != 0)
        status =
            cli_fail("%s: " STR_FMT, cli_grpc_code(a.grpc_status), STR_ARG(buf_str(&a.grpc_message)));
    else
        status = answer_decode(cli, buf_view(&a.body));
    print_id(buf_str(&a.request_id));
    http_answer_fini(&a);
    return status;
}

int cmd_infer(struct cli *cli)
{
    AUTO(buf_fini) struct buf request = {0};
    bool model = !strcmp(cli->words[0], "model");
    int status;

    if (!model && strcmp(cli->words[0], "pipeline"))
        return cli_usage("infer: pipeline or model is wanted, not \"%s\"", cli->words[0]);
    status = body_read(cli, &request);
    if (status) return status;
    return cli->grpc ? infer_grpc(cli, model, cli->words[1], buf_view(&request))
                     : infer_rest(cli, model, cli->words[1], buf_view(&request));
}
