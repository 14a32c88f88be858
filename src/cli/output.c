/* cli/output.c - results to standard output, reasons to standard error; the management API's answers.
 * SPDX-License-Identifier: Apache-2.0 */
#include "cli/command.h"
#include "control/yaml.h"
#include "oip/json.h"
#include <stdio.h>

PRINTF(1, 0) static void complain(const char *fmt, va_list ap)
{
    AUTO(buf_fini) struct buf text = {0};

    buf_append_str(&text, STR("millrace: "));
    buf_vprintf(&text, fmt, ap);
    buf_append_byte(&text, '\n');
    fwrite(text.p, 1, text.n, stderr);
}

int cli_fail(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    complain(fmt, ap);
    va_end(ap);
    return CLI_FAILED;
}

int cli_usage(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    complain(fmt, ap);
    va_end(ap);
    return CLI_USAGE;
}

void cli_put(struct str text)
{
    fwrite(text.p, 1, text.n, stdout);
}

/* ---- JSON and YAML ---- */

void put_json_scalar(const json_t *j, struct buf *b)
{
    char text[32];

    switch (json_typeof(j)) {
    case JSON_STRING:
        json_put_str(b, (struct str){json_string_value(j), json_string_length(j)});
        return;
    case JSON_INTEGER: buf_printf(b, "%" JSON_INTEGER_FORMAT, json_integer_value(j)); return;
    case JSON_REAL: /* the shortest text that is this number: what the server wrote for FP32 stays so */
        buf_append_str(b, (struct str){text, fp64_text(json_real_value(j), text)});
        return;
    case JSON_TRUE: buf_append_str(b, STR("true")); return;
    case JSON_FALSE: buf_append_str(b, STR("false")); return;
    case JSON_NULL: buf_append_str(b, STR("null")); return;
    case JSON_OBJECT:
    case JSON_ARRAY: must(false);
    }
}

static void put_line(struct buf *b, unsigned indent)
{
    buf_append_byte(b, '\n');
    for (unsigned i = 0; i < indent; i++)
        buf_append_byte(b, ' ');
}

/* Lists of scalars (tensors, shapes) stay in one line. */
static bool is_flat(const json_t *list)
{
    const json_t *one;
    size_t i;

    json_array_foreach(list, i, one) if (json_is_object(one) || json_is_array(one)) return false;
    return true;
}

static void put_json(const json_t *j, unsigned indent, struct buf *b)
{
    bool object = json_is_object(j), flat = json_is_array(j) && is_flat(j), first = true;
    const char *key;
    json_t *one;
    size_t i;

    if (!object && !json_is_array(j)) {
        put_json_scalar(j, b);
        return;
    }
    buf_append_byte(b, object ? '{' : '[');
    json_object_foreach((json_t *)(uintptr_t)j, key, one)
    {
        if (!first) buf_append_byte(b, ',');
        first = false;
        put_line(b, indent + 2);
        json_put_str(b, str_of(key));
        buf_append_str(b, STR(": "));
        put_json(one, indent + 2, b);
    }
    json_array_foreach(j, i, one)
    {
        if (!first) buf_append_str(b, flat ? STR(", ") : STR(","));
        first = false;
        if (!flat) put_line(b, indent + 2);
        put_json(one, indent + 2, b);
    }
    if (!first && !flat) put_line(b, indent);
    buf_append_byte(b, object ? '}' : ']');
}

/* Keys, and texts that need no quotes, as everywhere else where the project writes YAML. */
static void put_yaml_text(struct str s, struct buf *b)
{
    struct yaml_node n = {.kind = YAML_SCALAR, .text = s};
    AUTO(buf_fini) struct buf line = {0};

    yaml_put_block(&n, 0, &line);
    buf_append(b, bytes_of(line.p, line.n - 1));
}

static void put_yaml(const json_t *j, unsigned indent, struct buf *b);

static void put_yaml_item(const json_t *one, unsigned indent, bool in_list, struct buf *b)
{
    bool leaf = !json_is_object(one) && !json_is_array(one);

    if (leaf || (json_is_array(one) && is_flat(one)) ||
        (json_is_object(one) && !json_object_size(one))) {
        if (!in_list) buf_append_byte(b, ' ');
        if (json_is_string(one))
            put_yaml_text((struct str){json_string_value(one), json_string_length(one)}, b);
        else
            put_json(one, 0, b);
        return;
    }
    if (!in_list) put_line(b, indent);
    put_yaml(one, indent, b);
}

static void put_yaml(const json_t *j, unsigned indent, struct buf *b)
{
    bool first = true;
    const char *key;
    json_t *one;
    size_t i;

    json_object_foreach((json_t *)(uintptr_t)j, key, one)
    {
        if (!first) put_line(b, indent);
        first = false;
        put_yaml_text(str_of(key), b);
        buf_append_byte(b, ':');
        put_yaml_item(one, indent + 2, false, b);
    }
    json_array_foreach(j, i, one)
    {
        if (!first) put_line(b, indent);
        first = false;
        buf_append_str(b, STR("- "));
        put_yaml_item(one, indent + 2, true, b);
    }
}

void cli_put_json(const struct cli *cli, const json_t *j)
{
    AUTO(buf_fini) struct buf b = {0};
    bool nested = (json_is_object(j) && json_object_size(j)) || (json_is_array(j) && !is_flat(j));

    if (cli->output == OUT_YAML && nested)
        put_yaml(j, 0, &b);
    else
        put_json(j, 0, &b);
    buf_append_byte(&b, '\n');
    cli_put(buf_str(&b));
}

/* ---- tables ---- */

void table_begin(struct table *t, const char *const *titles, size_t columns)
{
    *t = (struct table){.columns = columns};
    for (size_t i = 0; i < columns; i++)
        table_add(t, str_of(titles[i]));
}

void table_add(struct table *t, struct str cell)
{
    if (t->n == t->cap) {
        t->cap = t->cap ? 2 * t->cap : 64;
        t->ends = xrealloc(t->ends, t->cap, sizeof *t->ends);
    }
    for (size_t i = 0; i < cell.n; i++)
        buf_append_byte(&t->cells,
                        cell.p[i] == '\n' || cell.p[i] == '\t' ? ' ' : (uint8_t)cell.p[i]);
    t->ends[t->n++] = t->cells.n;
}

void table_addf(struct table *t, const char *fmt, ...)
{
    AUTO(buf_fini) struct buf b = {0};
    va_list ap;
    va_start(ap, fmt);
    buf_vprintf(&b, fmt, ap);
    va_end(ap);
    table_add(t, buf_str(&b));
}

/* How many columns of a terminal a text takes: continuation bytes of UTF-8 take none. */
static size_t width_of(struct str s)
{
    size_t n = 0;
    for (size_t i = 0; i < s.n; i++)
        n += ((unsigned char)s.p[i] & 0xc0) != 0x80;
    return n;
}

static struct str cell(const struct table *t, size_t i)
{
    size_t from = i ? t->ends[i - 1] : 0;
    return (struct str){(const char *)t->cells.p + from, t->ends[i] - from};
}

void table_end(struct table *t)
{
    AUTO(buf_fini) struct buf out = {0};
    size_t *wide = xnew_array(size_t, t->columns);

    for (size_t i = 0; i < t->n; i++)
        wide[i % t->columns] = MAX(wide[i % t->columns], width_of(cell(t, i)));
    for (size_t i = 0; i < t->n; i++) {
        bool last = i % t->columns == t->columns - 1;
        buf_append_str(&out, cell(t, i));
        for (size_t k = width_of(cell(t, i)); k < wide[i % t->columns] + 2 && !last; k++)
            buf_append_byte(&out, ' ');
        while (last && out.n && out.p[out.n - 1] == ' ')
            out.n--;
        if (last) buf_append_byte(&out, '\n');
    }
    cli_put(buf_str(&out));
    free(wide);
    table_drop(t);
}

void table_drop(struct table *t)
{
    buf_fini(&t->cells);
    free(t->ends);
    *t = (struct table){0};
}

/* ---- JSON ---- */

struct str json_text(const json_t *object, const char *key)
{
    const json_t *v = json_object_get(object, key);
    return json_is_string(v) ? (struct str){json_string_value(v), json_string_length(v)} : STR("");
}

int64_t json_number(const json_t *object, const char *key)
{
    return json_integer_value(json_object_get(object, key));
}

/* ---- the management API ---- */

static int refused(const struct cli *cli, const struct http_answer *a, const json_t *j)
{
    struct str text = json_text(j, "error");

    if (text.n) return cli_fail(STR_FMT, STR_ARG(text));
    if (a->status == 404)
        return cli_fail("%s answers, but has no management API: is it a millrace of another "
                        "version, or something else?",
                        cli->server);
    return cli_fail("%s answered %ld without a reason", cli->server, a->status);
}

int cli_manage(const struct cli *cli, const char *method, struct str path, struct bytes body,
               json_t **ret)
{
    AUTO(buf_fini) struct buf full = {0};
    const char *headers[] = {"Content-Type: application/yaml"};
    struct http_ask ask = {.method = method,
                           .server = cli->server,
                           .headers = headers,
                           .headers_n = body.n ? 1 : 0,
                           .body = body,
                           .timeout_s = 60};
    struct http_answer a;
    struct err e = {0};
    json_error_t error;
    int status = CLI_DONE;

    buf_printf(&full, "/millrace/v1/" STR_FMT, STR_ARG(path));
    ask.path = buf_str(&full);
    if (http_ask(&ask, &a, &e)) return cli_fail("%s", e.text);
    json_t *j =
        json_loadb((const char *)(a.body.p ? a.body.p : (uint8_t *)""), a.body.n, 0, &error);
    if (a.status == 200 && j)
        *ret = j;
    else if (json_object_get(j, "problems")) {
        *ret = j; /* the caller knows the places */
        status = CLI_FAILED;
    } else {
        status = refused(cli, &a, j);
        json_decref(j);
        *ret = NULL;
    }
    http_answer_fini(&a);
    return status;
}
