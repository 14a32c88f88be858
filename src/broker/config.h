/* broker/config.h - Kafka's broker and topic settings: one table each, from which come parsing, checking, defaults, what
 * DescribeConfigs shows, and the plain fields that the rest of the broker reads.
 *
 * A topic's value is its own setting, else the broker's (dynamic, then dynamic default, then configuration file), else
 * the default. Values are kept as text, in the one form that Kafka shows: " 007 " is 7, "delete, compact" is delete,compact.
 * Owns its texts.   Lives on: the broker loop.   Used by: broker/.   SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/err.h"
#include "broker/log.h"
#include "kafka/compress.h"

enum config_type { CONFIG_BOOL = 1, CONFIG_STRING, CONFIG_INT, CONFIG_SHORT, CONFIG_LONG, CONFIG_DOUBLE, CONFIG_LIST, CONFIG_CLASS, CONFIG_PASSWORD };
enum config_source {                     /* as on the wire */
    CONFIG_SOURCE_TOPIC = 1, CONFIG_SOURCE_BROKER = 2, CONFIG_SOURCE_DEFAULT_BROKER = 3, CONFIG_SOURCE_STATIC = 4, CONFIG_SOURCE_DEFAULT = 5
};
enum { TOPIC_CONFIGS_N = 34, BROKER_CONFIGS_MAX = 160 };

/* The effective values of one topic. */
struct topic_config {
    struct log_config log;
    int64_t max_message_bytes, timestamp_before_max_ms, timestamp_after_max_ms, file_delete_delay_ms;
    int64_t flush_messages, flush_ms;
    int32_t min_insync_replicas;
    int32_t compression;                 /* -1: as the producer sent it; else the codec */
    int32_t compression_level[KAFKA_CODECS];
    bool    log_append_time, down_conversion;
    char   *set[TOPIC_CONFIGS_N];        /* the topic's own settings; NULL: not set */
};

/* Lists of words: bit n for the nth word there is, and above bit 8 which one stands first. */
enum { BROKER_ASSIGNOR_UNIFORM = 1, BROKER_ASSIGNOR_RANGE = 2, BROKER_PROTOCOL_CLASSIC = 1, BROKER_PROTOCOL_CONSUMER = 2 };
enum { BROKER_MIGRATION_DISABLED = 1, BROKER_MIGRATION_UPGRADE = 2, BROKER_MIGRATION_DOWNGRADE = 4, BROKER_MIGRATION_BOTH = 8 };

/* The effective values of the broker. */
struct broker_config {
    bool    auto_create_topics, delete_topics;
    int32_t num_partitions, replication_factor;
    int64_t connection_creation_rate;
    int64_t connections_max_reauth_ms, failed_authentication_delay_ms;
    int64_t socket_request_max_bytes, fetch_max_bytes, connections_max_idle_ms, connections_max, connections_max_per_ip;
    int64_t group_initial_rebalance_delay_ms, group_min_session_timeout_ms, group_max_session_timeout_ms, group_max_size;
    int64_t group_consumer_min_session_timeout_ms, group_consumer_max_session_timeout_ms;        /* of what groups may have of their own */
    int64_t group_consumer_min_heartbeat_interval_ms, group_consumer_max_heartbeat_interval_ms;
    int64_t group_consumer_session_timeout_ms, group_consumer_heartbeat_interval_ms, group_consumer_max_size;
    unsigned group_consumer_assignors, group_protocols, group_consumer_migration;      /* see BROKER_ASSIGNOR_…, _PROTOCOL_…, _MIGRATION_… */
    int64_t offsets_retention_ms, offsets_retention_check_interval_ms, offset_metadata_max_bytes;
    int32_t offsets_topic_partitions;
    int64_t offsets_topic_segment_bytes;
    int64_t transaction_max_timeout_ms, transactional_id_expiration_ms, transaction_abort_interval_ms, transaction_expiry_interval_ms;
    int64_t transaction_topic_segment_bytes;
    int32_t transaction_topic_partitions;
    bool    transaction_verify;
    int64_t producer_id_expiration_ms, producer_id_expiration_check_interval_ms;
    int64_t retention_check_interval_ms, cleaner_backoff_ms, cleaner_keys_bytes;
    double  cleaner_bytes_per_second;
    int32_t fetch_session_slots, request_partitions_max;
    struct { char *from_file, *by_default, *dynamic; } set[BROKER_CONFIGS_MAX];      /* texts by row; NULL: not set */
    struct topic_config topic;           /* of a topic without own settings; worked out when it is asked for */
    bool    topic_is_known;
};

void broker_config_init(struct broker_config *c);                /* the defaults */
void broker_config_fini(struct broker_config *c);
enum rc broker_config_check(enum config_source level, struct str name, struct str value, struct err *e) MUST_USE;
/* level: CONFIG_SOURCE_STATIC, _DEFAULT_BROKER or _BROKER. value.p NULL removes it. RC_NOT_FOUND: no such key; RC_INVALID: a value
 * it cannot have; RC_DENIED: not to be changed while running. Nothing changes then. */
enum rc broker_config_set(struct broker_config *c, enum config_source level, struct str name, struct str value, struct err *e) MUST_USE;

/* A fact for DescribeConfigs to show: "listeners", "log.dirs". */
void broker_config_note(struct broker_config *c, const char *name, struct str value);
/* Of a setting that is "name:count,…": the count of that name. */
int64_t broker_config_count(const struct broker_config *c, const char *key, struct str name, int64_t otherwise);
/* What was set at that level (_BROKER, _DEFAULT_BROKER); .p NULL: nothing. */
struct str broker_config_own(const struct broker_config *c, enum config_source level, size_t row);

/* value.p NULL removes it. Call topic_config_resolve() when done. RC_NOT_FOUND, RC_INVALID. */
enum rc topic_config_set(struct topic_config *t, struct str name, struct str value, struct err *e) MUST_USE;
/* Would the value be accepted? Also answers for keys that combine with others. */
enum rc topic_config_check(struct str name, struct str value, struct err *e) MUST_USE;
void topic_config_resolve(struct topic_config *t, struct broker_config *c);
void topic_config_copy(struct topic_config *to, const struct topic_config *from);
void topic_config_fini(struct topic_config *t);

/* What DescribeConfigs shows, row by row. */
struct config_synonym { const char *name; struct str value; enum config_source source; };
struct config_row {
    const char *name, *doc;
    enum config_type type;
    struct str value;                    /* .p NULL: null */
    enum config_source source;
    bool read_only, sensitive;
    struct config_synonym synonyms[8];   /* the first is the one in force */
    size_t synonyms_n;
    char text[32];                       /* room for a computed value */
};
size_t topic_config_rows(void);
void topic_config_row(const struct topic_config *t, const struct broker_config *c, size_t i, struct config_row *ret);
size_t broker_config_rows(void);
void broker_config_row(const struct broker_config *c, size_t i, struct config_row *ret);
/* The row of that name, or SIZE_MAX. */
size_t topic_config_find(struct str name);
size_t broker_config_find(struct str name);
const char *topic_config_name(size_t row);
const char *broker_config_name(size_t row);
bool topic_config_is_list(size_t row);
bool broker_config_is_list(size_t row);
