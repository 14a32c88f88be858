/* app/config_load.h - what the parts of the configuration loader share. Used by: app/config*.c only.
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "app/config_row.h"
#include "control/yaml.h"

/* Where a value stands: in a file (file, line, column), or in a flag or variable (label). */
struct config_place { enum config_from from; struct str file; uint32_t line, column; struct str label; };

struct config_loader {
    struct config *c;
    struct problems *problems;
    struct config_place places[CONFIG_KEYS];     /* of the value that counts */
};

/* "where: what is wrong", at the place. */
void config_problem(struct config_loader *l, const struct config_place *at, const char *fmt, ...) PRINTF(3, 4);
struct config_place config_place_of(const struct config_place *file, const struct yaml_node *n);   /* the same source, at n */
void config_note(struct config_loader *l, const char *fmt, ...) PRINTF(2, 3);

/* config_value.c - one value from text or from a node. Problems are added; the field is changed only by a good value. */
void config_set_text(struct config_loader *l, enum config_key key, struct str text, const struct config_place *at);
void config_set_node(struct config_loader *l, enum config_key key, const struct yaml_node *n, const struct config_place *at);
void config_set_pair(struct config_loader *l, enum config_key key, struct str name, struct str value, const struct config_place *at);
void config_set_advertise(struct config_loader *l, enum config_key key, struct str address, const struct config_place *at);
void config_set_listen(struct config_loader *l, enum config_key key, struct str address, const struct config_place *at);
void config_mark(struct config_loader *l, enum config_key key, const struct config_place *at);
void *config_field(const struct config *c, enum config_key key);

/* config_listeners.c */
void config_listeners_text(struct config_loader *l, enum config_key key, struct str text, const struct config_place *at);
void config_listeners_node(struct config_loader *l, enum config_key key, const struct yaml_node *n, const struct config_place *at);

/* config_sources.c - the flags, the environment, the files. */
int  config_key_of(struct str name);             /* -1: none */
void config_read_file(struct config_loader *l, struct str path);
void config_read_kafka_json(struct config_loader *l, struct str path);
void config_read_registry(struct config_loader *l);           /* .confluent-schema.yaml, when a folder of one is given */
void config_read_environment(struct config_loader *l, const struct config_sources *src);
void config_read_flags(struct config_loader *l, const struct config_sources *src, bool files_only);

/* config_check.c - what follows from several values, and contradictions. */
void config_derive(struct config_loader *l);
void config_check(struct config_loader *l);

/* config_security.c - the same for security.kafka. */
void config_derive_security(struct config_loader *l);
void config_check_security(struct config_loader *l);
