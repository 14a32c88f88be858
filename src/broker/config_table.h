/* broker/config_table.h - the rows behind broker/config.h.
 * Used by: broker/config.c, broker/config_rows.c and, for one question, broker/api/create_topics.c.   SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "broker/config.h"

enum config_flags {
    DEF_READ_ONLY = 1,                   /* from the configuration file only */
    DEF_SENSITIVE = 2,
    DEF_FIXED = 4,                       /* known, but only its default is to be had here */
    DEF_NO_EFFECT = 8,                   /* taken and shown; this broker has nothing that it would change */
    DEF_EMPTY_OK = 16,                   /* a list that may be empty */
    DEF_COUNTS = 32,                     /* name:count, with commas between */
    DEF_REPLICAS = 64,                   /* partition:broker, with commas between, or * */
    DEF_RELEASE = 128,                   /* a release of Kafka: 2.8, 2.8.1, 2.8-IV1 */
};
/* Where the parsed value goes: an offset into struct topic_config or struct broker_config. */
enum config_field { FIELD_NONE, FIELD_BOOL, FIELD_I32, FIELD_U32, FIELD_I64, FIELD_U64, FIELD_DOUBLE, FIELD_CLEANUP, FIELD_COMPRESSION, FIELD_TIME_TYPE, FIELD_WORDS };

struct config_def {
    const char *name;
    enum config_type type;
    const char *value;                   /* the default; NULL: none */
    const char *doc;
    double min, max;                     /* min == max: whatever the type holds */
    const char *one_of;                  /* words with blanks between; NULL: any */
    unsigned flags;
    enum config_field field;
    size_t   at;
    double   scale;                      /* the field is value * scale; 0: 1 */
    /* Topic rows: the broker keys that give the default, the strongest first, and what they are to be multiplied with. */
    struct { const char *key; int64_t scale; } broker[3];
};

extern const struct config_def topic_defs[TOPIC_CONFIGS_N];
extern const struct config_def broker_defs[];
extern const size_t broker_defs_n;

/* Where the value of a topic's row comes from, the weaker ones of the broker's keys included: so CreateTopics tells it. */
enum config_source topic_config_origin(const struct topic_config *t, const struct broker_config *c, size_t i);
