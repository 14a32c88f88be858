/* app/config.h - the configuration: read once, checked completely, never changed afterwards.
 *
 * schema/config.tbl has one row per key. From it come struct config (the key gateway.timeoutMs is the field
 * gateway_timeout_ms), the flags, --help, `millrace config` and docs/config.md. A flag wins over the environment, that
 * over the YAML file, that over kafka.json, that over the default; the origin of every value is kept.
 * Texts live in the configuration's arena and are NUL-terminated beyond their end.
 * Used by: app (wiring), cli (`millrace config`).     SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "broker/sasl.h"
#include "control/problems.h"
#include "net/tls.h"

enum config_from { CONFIG_DEFAULT, CONFIG_KAFKA_JSON, CONFIG_YAML, CONFIG_ENV, CONFIG_FLAG, CONFIG_DERIVED };
struct config_origin { enum config_from from; struct str detail; };      /* "millrace.yaml:3:5", "POD_NAMESPACE", "--data" */

struct config_list { struct str *list; size_t n; };
struct config_pair { struct str name, value; struct config_origin origin; };
struct config_map { struct config_pair *list; size_t n; };
enum config_protocol { CONFIG_PLAINTEXT, CONFIG_SSL, CONFIG_SASL_PLAINTEXT, CONFIG_SASL_SSL };
struct config_listener {
    struct str name, listen;                     /* HOST:PORT, port 0 for a free one */
    struct str advertise;                        /* HOST:PORT told to clients; empty: the address listened on */
    enum config_protocol protocol;               /* broker.listeners only, as is what follows */
    struct str crt_path, key_path, client_ca_path;
    enum tls_client_auth client_auth;
    struct str principal_rules;
    unsigned sasl;                               /* of enum sasl_mechanism */
    struct config_origin origin;
};
struct config_registry { struct str url, username, password, ca_path; };   /* url empty: no schema registry */
struct config_listeners { struct config_listener *list; size_t n; };

#include "config_table.h"                        /* enum config_key, enum config_… of the choices, struct config */

/* What is read. {0} reads nothing but the defaults. */
struct config_sources {
    char *const *args; size_t args_n;            /* flags, without the program's and the command's name */
    char *const *environ;                        /* NAME=value, ended by NULL; NULL: none */
    const char *namespace_file;                  /* NULL: the pod's */
};

/* Reads everything and reports every problem found, each with file, line and column or with the flag's or variable's
 * name. RC_INVALID when there is any: *ret is untouched then. Blocks on files. */
enum rc config_load(const struct config_sources *src, struct config **ret, struct problems *problems) MUST_USE;
struct config *config_free(struct config *c);    /* NULL is fine; returns NULL */

bool config_runs_broker(const struct config *c);
bool config_runs_gateway(const struct config *c);
/* What security.gateway says in the end. */
bool config_gateway_encrypts(const struct config *c);
enum tls_client_auth config_gateway_client_auth(const struct config *c);
bool config_is_embedded(const struct config *c); /* kafka.bootstrap is the word embedded */

/* The value of a key as text, as it could stand in the file; secrets are masked. Appends. */
void config_put_value(const struct config *c, enum config_key key, struct buf *b);
struct str config_choice_text(enum config_key key, int value);   /* "SASL_SSL" */
/* Broker settings under Kafka's own names ("num.partitions"): those with a row, then the others that were given. */
void config_each_broker(const struct config *c, void (*fn)(void *ctx, struct str name, struct str value, bool is_default), void *ctx);

/* The whole configuration for people, for programs, or as a file that --config reads again. */
enum config_format { CONFIG_AS_TABLE, CONFIG_AS_JSON, CONFIG_AS_YAML };
void config_print(const struct config *c, enum config_format format, struct buf *b);
/* The part of --help that lists the flags. */
void config_print_flags(struct buf *b);
