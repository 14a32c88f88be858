/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/kafka.h"
#include "app/offline.h"
#include "kafka/errors.h"
#include "kafka/message.h"
#include "kafka/msg/find_coordinator.h"
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

enum { TIMEOUT_MS = 10000, TIMEOUT_S = 40, CONFIG_BYTES_MAX = 1 << 20, FINDS_ONE_MAX = 3 };

/* ---- through a millrace ---- */

static enum rc refused(struct kafka *k, const struct http_answer *a, struct err *e)
{
    json_t *j = json_loadb((const char *)(a->body.p ? a->body.p : (const uint8_t *)""), a->body.n, 0, NULL);
    struct str text = json_text(j, "error");

    if (text.n) err_set(e, a->status == 503 ? RC_UNAVAILABLE : RC_INVALID, STR_FMT, STR_ARG(text));
    else err_set(e, RC_UNSUPPORTED, "%s answers %ld, and has no such management API: is it a millrace of another version, or something else?", k->cli->server, a->status);
    json_decref(j);
    return e->rc;
}

static enum rc by_server(struct kafka *k, int32_t node, struct bytes frame, struct buf *ret, struct err *e)
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

    buf_append_str(&path, STR("/millrace/v1/kafka"));
    if (node == BUS_ASK_CONTROLLER) buf_append_str(&path, STR("?node=controller"));
    if (node >= 0) buf_printf(&path, "?node=%d", node);
    ask.path = buf_str(&path);
    if (http_ask(&ask, &a, e)) return e->rc;
    *e = (struct err){0};
    if (a.status == 200) *ret = buf_take(&a.body);
    else refused(k, &a, e);
    http_answer_fini(&a);
    return e->rc;
}

/* ---- directly ---- */

static void property_add(struct kafka *k, struct str name, struct str value)
{
    k->properties = xrealloc(k->properties, k->properties_n + 1, sizeof *k->properties);
    k->properties[k->properties_n++] = (struct remote_property){arena_dup_str(&k->arena, name), arena_dup_str(&k->arena, value)};
}

static enum rc properties_read(struct kafka *k, const char *path, struct err *e)
{
    FILE *f = fopen(path, "re");
    char *line = NULL;
    size_t cap = 0, total = 0;
    int number = 0;
    ssize_t n;

    if (!f) return err_sys(e, "--command-config %s", path);
    *e = (struct err){0};
    while (!e->rc && (n = getline(&line, &cap, f)) >= 0 && (total += (size_t)n) <= CONFIG_BYTES_MAX) {
        struct str s = str_trim((struct str){line, (size_t)n}), name, value;

        number++;
        if (!s.n || s.p[0] == '#') continue;
        if (str_cut(s, '=', &name, &value)) property_add(k, str_trim(name), str_trim(value));
        else err_set(e, RC_INVALID, "--command-config %s:%d: NAME=VALUE is wanted", path, number);
    }
    if (line) explicit_bzero(line, cap);
    free(line);
    fclose(f);
    return e->rc;
}

static enum rc properties_make(struct kafka *k, struct err *e)
{
    const char *file = cli_given(k->cli, "--command-config", 0);

    if (file && properties_read(k, file, e)) return e->rc;
    property_add(k, STR("bootstrap.servers"), str_of(cli_given(k->cli, "--bootstrap", 0)));
    return RC_OK;
}

/* Remedies name the keys of a data plane's configuration; here they are properties of a file, and an option. */
static enum rc in_words_of_here(const struct kafka *k, struct err *e)
{
    static const struct {
        const char *key, *here;
    } words[] = {
        {"username, password and mechanism in security.kafka.sasl", "sasl.username, sasl.password and sasl.mechanism in the file of --command-config"},
        {"the certificates in security.kafka.ssl.client", "ssl.ca.location and ssl.certificate.location in the file of --command-config"},
        {"security.kafka.ssl.client.brokerCaPath", "the file that ssl.ca.location (--command-config) names"},
        {"security.kafka.ssl.client.crtPath", "ssl.certificate.location (--command-config)"},
        {" and keyPath", " and ssl.key.location"},
        {"security.kafka.sasl.mechanism", "sasl.mechanism (--command-config)"},
        {"security.kafka.protocol", "security.protocol (--command-config)"},
        {"kafka.bootstrap", "--bootstrap"},
    };
    AUTO(buf_fini) struct buf text = {0};
    enum rc rc = e->rc;

    for (const char *at = e->text; *at;) {
        size_t i = 0;

        while (i < countof(words) && strncmp(at, words[i].key, strlen(words[i].key)) != 0) i++;
        if (i == countof(words)) {
            buf_append_byte(&text, (uint8_t)*at++);
            continue;
        }
        buf_append_str(&text, str_of(words[i].here));
        at += strlen(words[i].key);
    }
    err_set(e, rc, STR_FMT, STR_ARG(buf_str(&text)));
    if (rc == RC_UNAVAILABLE && !cli_given(k->cli, "--command-config", 0)) err_more(e, "a listener that wants TLS or a login needs --command-config FILE");
    return rc;
}

static enum rc by_wire(struct kafka *k, int32_t node, struct bytes frame, struct buf *ret, struct err *e)
{
    struct wire *w;
    enum rc rc;

    if (!k->properties && properties_make(k, e)) return e->rc;
    struct wire_options o = {.properties = k->properties, .properties_n = k->properties_n, .node = node, .timeout_ms = TIMEOUT_MS};
    signal(SIGPIPE, SIG_IGN);                    /* a broker that hangs up is an error to be told, not our end */
    if (wire_open(&o, &w, e)) return in_words_of_here(k, e);
    rc = wire_ask(w, frame, ret, e);
    wire_close(w);
    return rc;
}

/* ---- in a folder ---- */

static enum rc by_folder(struct kafka *k, struct bytes frame, struct buf *ret, struct err *e)
{
    const char *env = getenv("MILLRACE_DATA"), *dir = k->cli->data ? k->cli->data : env && *env ? env : "./millrace-data";

    if (!k->offline && offline_open(dir, &k->offline, e)) {
        k->offline = NULL;
        return e->rc;
    }
    return offline_ask(k->offline, frame, ret, e);
}

/* ---- all ---- */

static int usage_check(const struct cli *cli)
{
    bool offline = cli_given(cli, "--offline", 0), direct = cli_given(cli, "--bootstrap", 0);

    if (offline && direct) return cli_usage("either --offline or --bootstrap");
    if (cli->data && !offline) return cli_usage("--data goes with --offline");
    if (cli_given(cli, "--command-config", 0) && !direct) return cli_usage("--command-config goes with --bootstrap");
    return CLI_DONE;
}

static enum rc as_said(struct kafka *k, int32_t node, struct bytes frame, struct buf *ret, struct err *e)
{
    if (cli_given(k->cli, "--offline", 0)) return by_folder(k, frame, ret, e);
    return cli_given(k->cli, "--bootstrap", 0) ? by_wire(k, node, frame, ret, e) : by_server(k, node, frame, ret, e);
}

static enum rc ask(struct kafka *k, int32_t node, int16_t key, int16_t version, const void *request, void *ret, struct err *e)
{
    AUTO(buf_fini) struct buf frame = {0}, answer = {0};
    struct bytes kept;

    wire_encode(key, version, request, &frame);
    if (k->carry(k, node, buf_view(&frame), &answer, e)) return e->rc;
    kept = arena_dup(&k->arena, buf_view(&answer));      /* the answer's texts are views of it */
    return wire_decode(key, version, kept, &k->arena, ret, e);
}

enum rc kafka_try(struct kafka *k, int32_t node, int16_t key, const void *request, void *ret, struct err *e)
{
    struct api_versions_request q = {0};

    if (!k->carry) k->carry = as_said;
    if (!k->known && ask(k, BUS_ASK_ANY, KAFKA_API_VERSIONS, 0, &q, &k->versions, e)) return e->rc;
    k->known = true;
    k->version = wire_version(&k->versions, key);
    if (k->version < 0) return err_set(e, RC_UNSUPPORTED, "this Kafka does not serve %s, or in no version known here", kafka_api_of(key)->name);
    return ask(k, node, key, k->version, request, ret, e);
}

int kafka_ask(struct kafka *k, int32_t node, int16_t key, const void *request, void *ret)
{
    int status = usage_check(k->cli);
    struct err e;

    if (status || !kafka_try(k, node, key, request, ret, &e)) return status;
    cli_fail("%s", e.text);
    return e.rc == RC_LOCKED ? CLI_LOCKED : e.rc == RC_CORRUPT ? CLI_DAMAGE : CLI_FAILED;
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
