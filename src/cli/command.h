/* cli/command.h - what commands are made of. Used by: cli/ only.     SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "base/buf.h"
#include "base/err.h"
#include "cli/cli.h"
#include "cli/http.h"
#include <jansson.h>

enum cli_output { OUT_TABLE, OUT_JSON, OUT_YAML };
enum { CLI_FILES_MAX = 64, CLI_HEADERS_MAX = 64, CLI_WORDS_MAX = 8, CLI_GIVEN_MAX = 256 };

struct cli {
    int (*serve)(const struct config *c);
    char *const *args; int args_n;               /* behind the command's name, unread (serve, config) */
    /* The words and options of the other commands. */
    const char *words[CLI_WORDS_MAX]; size_t words_n;
    const char *server; bool server_given;
    enum cli_output output; bool output_given;
    const char *files[CLI_FILES_MAX]; size_t files_n;
    const char *headers[CLI_HEADERS_MAX]; size_t headers_n;
    const char *pipeline, *offset, *data, *dump, *from, *to, *into;
    int64_t limit, partition;                    /* -1: not given */
    bool grpc, all, check, force, repair;
    struct { const char *name, *value; } given[CLI_GIVEN_MAX]; size_t given_n;   /* options of administration, in order */
    struct http_identity who;
};

enum cli_option {                                /* which options a command has; those of OPT_WHO come with OPT_SERVER */
    OPT_TOKEN = 1 << 27, OPT_CACERT = 1 << 28, OPT_CERT = 1 << 29, OPT_KEY = 1 << 30, OPT_WHO = OPT_TOKEN | OPT_CACERT | OPT_CERT | OPT_KEY,
    OPT_OUTPUT = 1 << 0, OPT_SERVER = 1 << 1, OPT_FILE = 1 << 2, OPT_GRPC = 1 << 3, OPT_HEADER = 1 << 4, OPT_LIMIT = 1 << 5, OPT_PARTITION = 1 << 6,
    OPT_OFFSET = 1 << 7, OPT_ALL = 1 << 8, OPT_PIPELINE = 1 << 9, OPT_CHECK = 1 << 10, OPT_CONFIG = 1 << 11, OPT_FORCE = 1 << 12,
    OPT_DATA = 1 << 13, OPT_REPAIR = 1 << 14, OPT_DUMP = 1 << 15, OPT_FROM = 1 << 16, OPT_TO = 1 << 17, OPT_INTO = 1 << 18,
    /* Several options have one of these, and land in `given`. */
    OPT_KAFKA = 1 << 24, OPT_USER = 1 << 25, OPT_ACL = 1 << 26
};

struct command {
    const char *name, *args, *summary, *help;    /* help: paragraphs */
    unsigned options;
    size_t words_min, words_max;
    int (*run)(struct cli *cli);
};
extern const struct command commands[];
extern const size_t commands_n;

/* output.c */
int  cli_fail(const char *fmt, ...) PRINTF(1, 2);        /* "millrace: …" to standard error; returns CLI_FAILED */
int  cli_usage(const char *fmt, ...) PRINTF(1, 2);       /* the same with CLI_USAGE */
/* The n-th value of an option of administration: NULL when it was not given so often; "" when it has none. */
const char *cli_given(const struct cli *cli, const char *name, size_t n);
int  cli_output_set(struct cli *cli, const char *text);          /* --output; CLI_USAGE when it is none */
void cli_put(struct str text);                   /* to standard output */
void cli_put_json(const struct cli *cli, const json_t *j);       /* as JSON, or YAML when asked for */
void put_json_scalar(const json_t *j, struct buf *b);            /* no object, no array; floats in their shortest form */
struct column { const char *title; };
struct table { struct buf cells; size_t *ends; size_t n, cap, columns; };
void table_begin(struct table *t, const char *const *titles, size_t columns);
void table_add(struct table *t, struct str cell);
void table_addf(struct table *t, const char *fmt, ...) PRINTF(2, 3);
void table_end(struct table *t);                 /* prints and frees */
void table_drop(struct table *t);                /* frees */
struct str json_text(const json_t *object, const char *key);     /* empty when it is no text */
int64_t json_number(const json_t *object, const char *key);      /* 0 when it is none */

/* A request to the management API. CLI_DONE: *ret is yours (json_decref). Otherwise the reason was printed. */
int cli_manage(const struct cli *cli, const char *method, struct str path, struct bytes body, json_t **ret);

/* infer.c: one ModelInferRequest to a pipeline or model, whatever name is in it. RC_INVALID: it is none. */
enum rc cli_infer_grpc(const char *server, bool model, const char *name, struct bytes message, const char *const *headers,
                       size_t headers_n, struct http_answer *ret, struct err *e) MUST_USE;
const char *cli_grpc_code(int code);             /* "INVALID_ARGUMENT" */

/* config.c: the configuration, as serve reads it. CLI_USAGE: its problems were printed. */
int cli_config_load(char *const *args, size_t n, struct config **ret);

int cmd_serve(struct cli *cli);
int cmd_config(struct cli *cli);
int cmd_apply(struct cli *cli);
int cmd_get(struct cli *cli);
int cmd_describe(struct cli *cli);
int cmd_delete(struct cli *cli);
int cmd_infer(struct cli *cli);
int cmd_topic(struct cli *cli);
int cmd_trace(struct cli *cli);
int cmd_replay(struct cli *cli);
int cmd_inspect(struct cli *cli);
int cmd_log(struct cli *cli);
int cmd_version(struct cli *cli);
int cmd_help(struct cli *cli);
int cmd_doctor(struct cli *cli);
int cmd_user(struct cli *cli);
int cmd_acl(struct cli *cli);
