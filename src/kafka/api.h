/* kafka/api.h - which requests exist, in which versions, and the headers around them.
 *
 * The table lists all that the codec can read and write; what a broker offers its clients is the broker's choice.
 * Used by: the broker's connections, tests.   SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "kafka/errors.h"
#include "kafka/reader.h"
#include "kafka/writer.h"

enum kafka_api_key {
    KAFKA_PRODUCE                         = 0,
    KAFKA_FETCH                           = 1,
    KAFKA_LIST_OFFSETS                    = 2,
    KAFKA_METADATA                        = 3,
    KAFKA_OFFSET_COMMIT                   = 8,
    KAFKA_OFFSET_FETCH                    = 9,
    KAFKA_FIND_COORDINATOR                = 10,
    KAFKA_JOIN_GROUP                      = 11,
    KAFKA_HEARTBEAT                       = 12,
    KAFKA_LEAVE_GROUP                     = 13,
    KAFKA_SYNC_GROUP                      = 14,
    KAFKA_DESCRIBE_GROUPS                 = 15,
    KAFKA_LIST_GROUPS                     = 16,
    KAFKA_SASL_HANDSHAKE                  = 17,
    KAFKA_API_VERSIONS                    = 18,
    KAFKA_CREATE_TOPICS                   = 19,
    KAFKA_DELETE_TOPICS                   = 20,
    KAFKA_DELETE_RECORDS                  = 21,
    KAFKA_INIT_PRODUCER_ID                = 22,
    KAFKA_OFFSET_FOR_LEADER_EPOCH         = 23,
    KAFKA_ADD_PARTITIONS_TO_TXN           = 24,
    KAFKA_ADD_OFFSETS_TO_TXN              = 25,
    KAFKA_END_TXN                         = 26,
    KAFKA_WRITE_TXN_MARKERS               = 27,
    KAFKA_TXN_OFFSET_COMMIT               = 28,
    KAFKA_DESCRIBE_ACLS                   = 29,
    KAFKA_CREATE_ACLS                     = 30,
    KAFKA_DELETE_ACLS                     = 31,
    KAFKA_DESCRIBE_CONFIGS                = 32,
    KAFKA_ALTER_CONFIGS                   = 33,
    KAFKA_ALTER_REPLICA_LOG_DIRS          = 34,
    KAFKA_DESCRIBE_LOG_DIRS               = 35,
    KAFKA_SASL_AUTHENTICATE               = 36,
    KAFKA_CREATE_PARTITIONS               = 37,
    KAFKA_CREATE_DELEGATION_TOKEN         = 38,
    KAFKA_RENEW_DELEGATION_TOKEN          = 39,
    KAFKA_EXPIRE_DELEGATION_TOKEN         = 40,
    KAFKA_DESCRIBE_DELEGATION_TOKEN       = 41,
    KAFKA_DELETE_GROUPS                   = 42,
    KAFKA_ELECT_LEADERS                   = 43,
    KAFKA_INCREMENTAL_ALTER_CONFIGS       = 44,
    KAFKA_ALTER_PARTITION_REASSIGNMENTS   = 45,
    KAFKA_LIST_PARTITION_REASSIGNMENTS    = 46,
    KAFKA_OFFSET_DELETE                   = 47,
    KAFKA_DESCRIBE_CLIENT_QUOTAS          = 48,
    KAFKA_ALTER_CLIENT_QUOTAS             = 49,
    KAFKA_DESCRIBE_USER_SCRAM_CREDENTIALS = 50,
    KAFKA_ALTER_USER_SCRAM_CREDENTIALS    = 51,
    KAFKA_DESCRIBE_QUORUM                 = 55,
    KAFKA_UPDATE_FEATURES                 = 57,
    KAFKA_DESCRIBE_CLUSTER                = 60,
    KAFKA_DESCRIBE_PRODUCERS              = 61,
    KAFKA_UNREGISTER_BROKER               = 64,
    KAFKA_DESCRIBE_TRANSACTIONS           = 65,
    KAFKA_LIST_TRANSACTIONS               = 66,
    KAFKA_CONSUMER_GROUP_HEARTBEAT        = 68,
    KAFKA_CONSUMER_GROUP_DESCRIBE         = 69,
    KAFKA_GET_TELEMETRY_SUBSCRIPTIONS     = 71,
    KAFKA_PUSH_TELEMETRY                  = 72,
    KAFKA_LIST_CLIENT_METRICS_RESOURCES   = 74,
    KAFKA_DESCRIBE_TOPIC_PARTITIONS       = 75,
};

enum { KAFKA_API_KEY_MAX = 75, KAFKA_NEVER_FLEXIBLE = INT16_MAX };

struct kafka_api {
    const char *name;                    /* "Produce" */
    int16_t     key, min, max;
    int16_t     flex_from;               /* first version with compact encodings and tag buffers */
};

const struct kafka_api *kafka_api_of(int16_t key);                 /* NULL: not in the table */
const struct kafka_api *kafka_api_next(const struct kafka_api *a); /* in order of keys; NULL gives the first, the last gives NULL */

static inline bool kafka_api_has(const struct kafka_api *a, int16_t version) { return version >= a->min && version <= a->max; }
static inline bool kafka_api_flex(const struct kafka_api *a, int16_t version) { return version >= a->flex_from; }

struct kafka_request_header {
    int16_t                 api_key, api_version;
    int32_t                 correlation_id;
    struct str              client_id;                             /* a view; null and empty mean the same */
    const struct kafka_api *api;                                   /* NULL: the key is not in the table */
};

/* Any version of a known API is read, also those above or below the table's: ApiVersions must be answered in them.
 * Of an API that is not in the table only the three fixed fields are. False: r says why. */
bool kafka_request_header_decode(struct rd *r, struct kafka_request_header *ret) MUST_USE;
void kafka_request_header_encode(struct wr *w, const struct kafka_request_header *h);

/* The answer's header: the correlation id, and an empty tag buffer for flexible versions (but never for ApiVersions,
 * whose answer must be readable before the version is agreed). */
void kafka_response_header_encode(struct wr *w, const struct kafka_api *a, int16_t version, int32_t correlation_id);
bool kafka_response_header_decode(struct rd *r, const struct kafka_api *a, int16_t version, int32_t *ret_correlation_id) MUST_USE;
