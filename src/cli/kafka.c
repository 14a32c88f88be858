/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/kafka.h"
#include "app/offline.h"
#include "kafka/errors.h"
#include "kafka/message.h"
#include "kafka/msg/find_coordinator.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>

enum { TIMEOUT_MS = 10000, TIMEOUT_S = 40, CONFIG_BYTES_MAX = 1 << 20, FINDS_ONE_MAX = 3 };

/* ---- through a millrace ---- */

static int by_server(struct kafka *k, int32_t node, struct bytes frame, struct buf *ret)
{
    AUTO(buf_fini) struct buf path = {0};
    const char *headers[] = {"Content-Type: application/octet-stream"};
    struct http_ask ask = {.method = "POST",
                           .server = k->cli->server,
                           .headers = headers,
                           .headers_n = countof(headers),
                           .body = frame,
                           .timeout_s = TIMEOUT_S};
    struct http_answer a;
    struct err e = {0};
    int status = CLI_DONE;

    buf_append_str(&path, STR("/millrace/v1/kafka"));
    if (node == BUS_ASK_CONTROLLER) buf_append_str(&path, STR("?node=controller"));
    if (node >= 0) buf_printf(&path, "?node=%d", node);
    ask.path = buf_str(&path);
    if (http_ask(&ask, &a, &e)) return cli_fail("%s", e.text);
    if (a.status == 200) {
        *ret = buf_take(&a.body);
    } else {
        json_t *j = json_loadb((const char *)(a.body.p ? a.body.p : (const uint8_t *)""), a.body.n, 0, NULL);

        status = cli_refused(k->cli, &a, j);
        json_decref(j);
    }
    http_answer_fini(&a);
    return status;
}

/* ---- directly ---- */

static void property_add(struct kafka *k, struct str name, struct str value)
{
    k->properties = xrealloc(k->properties, k->properties_n + 1, sizeof *k->properties);
    k->properties[k->properties_n++] = (struct remote_property){arena_dup_str(&k->arena, name), arena_dup_str(&k->arena, value)};
}

static int properties_read(struct kafka *k, const char *path)
{
    FILE *f = fopen(path, "re");
    char *line = NULL;
    size_t cap = 0, total = 0;
    ssize_t n;
    int status = CLI_DONE, number = 0;

    if (!f) return cli_usage("--command-config %s: %s", path, strerror(errno));
    while (!status && (n = getline(&line, &cap, f)) >= 0 && (total += (size_t)n) <= CONFIG_BYTES_MAX) {
        struct str s = str_trim((struct str){line, (size_t)n}), name, value;

        number++;
        if (!s.n || s.p[0] == '#') continue;
        if (str_cut(s, '=', &name, &value)) property_add(k, str_trim(name), str_trim(value));
        else status = cli_usage("--command-config %s:%d: NAME=VALUE is wanted", path, number);
    }
    if (line) explicit_bzero(line, cap);
    free(line);
    fclose(f);
    return status;
}

static int properties_make(struct kafka *k)
{
    const char *file = cli_given(k->cli, "--command-config", 0);
    int status = file ? properties_read(k, file) : CLI_DONE;

    if (!status) property_add(k, STR("bootstrap.servers"), str_of(cli_given(k->cli, "--bootstrap", 0)));
    return status;
}

static int by_wire(struct kafka *k, int32_t node, struct bytes frame, struct buf *ret)
{
    int status = k->properties ? CLI_DONE : properties_make(k);
    struct wire_options o = {.properties = k->properties, .properties_n = k->properties_n, .node = node, .timeout_ms = TIMEOUT_MS};
    struct wire *w;
    struct err e;

    if (status) return status;
    if (wire_open(&o, &w, &e)) return cli_fail("%s", e.text);
    if (wire_ask(w, frame, ret, &e)) status = cli_fail("%s", e.text);
    wire_close(w);
    return status;
}

/* ---- in a folder ---- */

static int by_folder(struct kafka *k, struct bytes frame, struct buf *ret)
{
    const char *env = getenv("MILLRACE_DATA"), *dir = k->cli->data ? k->cli->data : env && *env ? env : "./millrace-data";
    struct err e;

    if (!k->offline && offline_open(dir, &k->offline, &e)) {
        k->offline = NULL;
        cli_fail("%s", e.text);
        return e.rc == RC_LOCKED ? CLI_LOCKED : e.rc == RC_CORRUPT ? CLI_DAMAGE : CLI_FAILED;
    }
    return offline_ask(k->offline, frame, ret, &e) ? cli_fail("%s", e.text) : CLI_DONE;
}

/* ---- all ---- */

static int send_by(struct kafka *k, int32_t node, struct bytes frame, struct buf *ret)
{
    bool offline = cli_given(k->cli, "--offline", 0), direct = cli_given(k->cli, "--bootstrap", 0);

    if (offline && direct) return cli_usage("either --offline or --bootstrap");
    if (k->cli->data && !offline) return cli_usage("--data goes with --offline");
    if (cli_given(k->cli, "--command-config", 0) && !direct) return cli_usage("--command-config goes with --bootstrap");
    return offline ? by_folder(k, frame, ret) : direct ? by_wire(k, node, frame, ret) : by_server(k, node, frame, ret);
}

static int ask(struct kafka *k, int32_t node, int16_t key, int16_t version, const void *request, void *ret)
{
    AUTO(buf_fini) struct buf frame = {0};
    struct buf answer = {0};
    struct bytes kept;
    struct err e;
    int status;

    wire_encode(key, version, request, &frame);
    status = send_by(k, node, buf_view(&frame), &answer);
    kept = arena_dup(&k->arena, buf_view(&answer));      /* the answer's texts are views of it */
    buf_fini(&answer);
    if (!status && wire_decode(key, version, kept, &k->arena, ret, &e)) status = cli_fail("%s", e.text);
    return status;
}

int kafka_ask(struct kafka *k, int32_t node, int16_t key, const void *request, void *ret)
{
    struct api_versions_request q = {0};
    int status;

    if (!k->known && (status = ask(k, BUS_ASK_ANY, KAFKA_API_VERSIONS, 0, &q, &k->versions))) return status;
    k->known = true;
    k->version = wire_version(&k->versions, key);
    if (k->version < 0) return cli_fail("this Kafka does not serve %s, or in no version known here", kafka_api_of(key)->name);
    return ask(k, node, key, k->version, request, ret);
}

int kafka_coordinator(struct kafka *k, struct str group, int32_t *ret)
{
    struct find_coordinator_request q;
    struct find_coordinator_response a;
    int status;

    find_coordinator_request_init_defaults(&q);
    q.key = group;
    q.coordinator_keys = &group;
    q.coordinator_keys_n = 1;
    status = kafka_ask(k, BUS_ASK_ANY, KAFKA_FIND_COORDINATOR, &q, &a);
    if (status) return status;
    if (k->version <= FINDS_ONE_MAX) {
        *ret = a.node_id;
        return a.error_code ? kafka_fail("group", group, a.error_code, a.error_message) : CLI_DONE;
    }
    if (!a.coordinators_n) return cli_fail("group " STR_FMT ": no coordinator was named", STR_ARG(group));
    *ret = a.coordinators[0].node_id;
    return a.coordinators[0].error_code ? kafka_fail("group", group, a.coordinators[0].error_code, a.coordinators[0].error_message) : CLI_DONE;
}

int kafka_fail(const char *what, struct str name, int16_t code, struct str message)
{
    struct str why = message.n ? message : str_of(kafka_error_text(code));

    if (code == KAFKA_ERR_SECURITY_DISABLED)
        return cli_fail("no authorizer is on, so there are no access control lists (broker.authorizer: acl; on Apache Kafka authorizer.class.name)");
    return cli_fail("%s%s" STR_FMT ": " STR_FMT " (%s)", what, name.n ? " " : "", STR_ARG(name), STR_ARG(why), kafka_error_name(code));
}

void kafka_end(struct kafka *k)
{
    free(k->properties);
    offline_close(k->offline);
    arena_fini(&k->arena);
    *k = (struct kafka){0};
}
