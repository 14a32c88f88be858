/* cli/log.c - topic, trace, inspect: what the log holds. SPDX-License-Identifier: Apache-2.0 */
#include "cli/command.h"
#include "cli/when.h"
#include <inttypes.h>
#include <stdio.h>

enum { SHOWN_VALUES = 4 };

/* ---- one record in one line ---- */

static void put_some(const json_t *data, struct buf *b, size_t *count)
{
    const json_t *v;
    size_t i;

    if (json_is_array(data)) {
        json_array_foreach(data, i, v) put_some(v, b, count);
        return;
    }
    if ((*count)++ >= SHOWN_VALUES) return;
    char *text = json_dumps(data, JSON_ENCODE_ANY | JSON_REAL_PRECISION(6)); /* enough for a glance */
    buf_printf(b, "%s%s", *count == 1 ? "" : " ", text ? text : "?");
    free(text);
}

static void put_message(const json_t *value, struct buf *b)
{
    const json_t *list = json_object_get(value, "inputs"), *one, *dim;
    size_t i, k;

    if (!list) list = json_object_get(value, "outputs");
    if (!json_array_size(list)) buf_append_str(b, STR("(no tensor)"));
    json_array_foreach(list, i, one)
    {
        size_t count = 0;
        struct str name = json_text(one, "name"), datatype = json_text(one, "datatype");
        buf_printf(b, "%s" STR_FMT " " STR_FMT "[", i ? "  " : "", STR_ARG(name),
                   STR_ARG(datatype));
        json_array_foreach(json_object_get(one, "shape"), k, dim)
            buf_printf(b, "%s%" PRId64, k ? "," : "", (int64_t)json_integer_value(dim));
        buf_append_str(b, STR("] "));
        put_some(json_object_get(one, "data"), b, &count);
        if (count > SHOWN_VALUES) buf_append_str(b, STR(" …"));
    }
}

static void put_content(const json_t *r, struct buf *b)
{
    const json_t *value = json_object_get(r, "value");
    struct str text = json_text(r, "value");

    if (json_is_object(value))
        put_message(value, b);
    else if (text.n > 160)
        buf_printf(b, "%.160s…", text.p);
    else
        buf_append_str(b, text);
}

/* since_ms < 0: the time of day, else milliseconds after it. */
static void add_record(struct table *t, const json_t *r, int64_t since_ms, bool topic)
{
    AUTO(buf_fini) struct buf content = {0}, when = {0};

    if (since_ms < 0)
        when_put(json_number(r, "timestampMs"), &when);
    else
        buf_printf(&when, "+%" PRId64 " ms", json_number(r, "timestampMs") - since_ms);
    put_content(r, &content);
    table_add(t, buf_str(&when));
    if (topic) table_add(t, json_text(r, "topic"));
    table_addf(t, "%" PRId64 "/%" PRId64, json_number(r, "partition"), json_number(r, "offset"));
    if (!topic) table_add(t, json_text(r, "key"));
    table_add(t, json_text(r, "kind"));
    table_add(t, buf_str(&content));
}

static void say_incomplete(const json_t *j)
{
    if (json_is_false(json_object_get(j, "complete")))
        fputs("not everything was looked at: older records, or records beyond the limits of one "
              "answer\n",
              stderr);
}

static int ask(struct cli *cli, struct str path, json_t **ret)
{
    int status = cli_manage(cli, "GET", path, (struct bytes){0}, ret);

    if (status || cli->output == OUT_TABLE) return status;
    cli_put_json(cli, *ret);
    json_decref(*ret);
    *ret = NULL;
    return CLI_DONE;
}

/* ---- topic ---- */

static int topic_list(struct cli *cli)
{
    static const char *const titles[] = {"TOPIC", "PARTITION", "START", "END"};
    json_t *j;
    const json_t *topic, *p;
    size_t i, k;
    struct table t;
    int status = ask(cli, cli->all ? STR("topics?all=true") : STR("topics"), &j);

    if (status || !j) return status;
    table_begin(&t, titles, countof(titles));
    json_array_foreach(json_object_get(j, "topics"), i, topic)
    {
        json_array_foreach(json_object_get(topic, "partitions"), k, p)
        {
            table_add(&t, json_text(topic, "topic"));
            table_addf(&t, "%" PRId64, json_number(p, "partition"));
            table_addf(&t, "%" PRId64, json_number(p, "start"));
            table_addf(&t, "%" PRId64, json_number(p, "end"));
        }
    }
    table_end(&t);
    say_incomplete(j);
    json_decref(j);
    return CLI_DONE;
}

static void put_records(const json_t *list)
{
    static const char *const titles[] = {"TIME", "OFFSET", "KEY", "KIND", "CONTENT"};
    const json_t *r;
    struct table t;
    size_t i;

    if (!json_array_size(list)) {
        fputs("no records there\n", stderr);
        return;
    }
    table_begin(&t, titles, countof(titles));
    json_array_foreach(list, i, r) add_record(&t, r, -1, false);
    table_end(&t);
}

static int topic_read(struct cli *cli, const char *topic)
{
    AUTO(buf_fini) struct buf path = {0};
    json_t *j;
    int64_t offset = -2;
    int status;

    if (cli->offset && !strcmp(cli->offset, "start"))
        offset = -1;
    else if (cli->offset && strcmp(cli->offset, "end") &&
             (!str_to_i64(str_of(cli->offset), &offset) || offset < 0))
        return cli_usage("--offset: start, end or a number is wanted, not \"%s\"", cli->offset);
    buf_append_str(&path, STR("topics/"));
    http_escape(str_of(topic), &path);
    buf_printf(&path, "/records?offset=%" PRId64, offset);
    if (cli->limit >= 0) buf_printf(&path, "&limit=%" PRId64, cli->limit);
    if (cli->partition >= 0) buf_printf(&path, "&partition=%" PRId64, cli->partition);
    status = ask(cli, buf_str(&path), &j);
    if (status || !j) return status;
    put_records(json_object_get(j, "records"));
    say_incomplete(j);
    json_decref(j);
    return CLI_DONE;
}

int cmd_topic(struct cli *cli)
{
    if (!strcmp(cli->words[0], "list") && cli->words_n == 1) return topic_list(cli);
    if (!strcmp(cli->words[0], "read") && cli->words_n == 2) return topic_read(cli, cli->words[1]);
    return cli_usage("topic: list, or read TOPIC is wanted");
}

/* ---- trace ---- */

int cmd_trace(struct cli *cli)
{
    static const char *const titles[] = {"AFTER", "TOPIC", "OFFSET", "KIND", "CONTENT"};
    AUTO(buf_fini) struct buf path = {0};
    json_t *j;
    const json_t *list, *r;
    struct table t;
    size_t i;
    int status;

    buf_append_str(&path, STR("trace/"));
    http_escape(str_of(cli->words[0]), &path);
    if (cli->pipeline) {
        buf_append_str(&path, STR("?pipeline="));
        http_escape(str_of(cli->pipeline), &path);
    }
    status = cli_manage(cli, "GET", buf_str(&path), (struct bytes){0}, &j);
    if (status) return status;
    list = json_object_get(j, "records");
    if (!json_array_size(list))
        status = cli_fail("no record of request %s was found", cli->words[0]);
    if (cli->output != OUT_TABLE) {
        cli_put_json(cli, j);
    } else if (!status) {
        int64_t first = json_number(json_array_get(list, 0), "timestampMs");
        table_begin(&t, titles, countof(titles));
        json_array_foreach(list, i, r) add_record(&t, r, first, true);
        table_end(&t);
    }
    say_incomplete(j);
    json_decref(j);
    return status;
}

/* ---- inspect ---- */

int cmd_inspect(struct cli *cli)
{
    AUTO(buf_fini) struct buf path = {0};
    json_t *j;
    const json_t *topic;
    size_t i;
    int status;

    buf_append_str(&path, STR("inspect/"));
    http_escape(str_of(cli->words[0]), &path);
    if (cli->limit >= 0) buf_printf(&path, "?limit=%" PRId64, cli->limit);
    status = ask(cli, buf_str(&path), &j);
    if (status || !j) return status;
    json_array_foreach(json_object_get(j, "topics"), i, topic)
    {
        const json_t *records = json_object_get(topic, "records");
        printf("%s" STR_FMT "%s\n", i ? "\n" : "", STR_ARG(json_text(topic, "topic")),
               json_array_size(records) ? "" : ": nothing");
        fflush(stdout);
        if (json_array_size(records)) put_records(records);
    }
    say_incomplete(j);
    json_decref(j);
    return CLI_DONE;
}
