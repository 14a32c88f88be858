/* What an error of ours is called in Kafka's protocol. SPDX-License-Identifier: Apache-2.0 */
#include "kafka/errors.h"
#include "broker/core.h"

int16_t kafka_error_of(const struct err *e)
{
    switch (e->rc) {
    case RC_OK: return KAFKA_ERR_NONE;
    case RC_IO:
    case RC_DISK_FULL:
    case RC_FATAL: return KAFKA_ERR_KAFKA_STORAGE_ERROR;
    case RC_CORRUPT: return KAFKA_ERR_KAFKA_STORAGE_ERROR;
    case RC_INVALID: return KAFKA_ERR_INVALID_REQUEST;
    case RC_TOO_LARGE: return KAFKA_ERR_MESSAGE_TOO_LARGE;
    case RC_NOT_FOUND: return KAFKA_ERR_UNKNOWN_TOPIC_OR_PARTITION;
    case RC_EXISTS: return KAFKA_ERR_TOPIC_ALREADY_EXISTS;
    case RC_OVERLOAD:
    case RC_TIMEOUT:
    case RC_CANCELLED: return KAFKA_ERR_REQUEST_TIMED_OUT;
    case RC_UNAVAILABLE: return KAFKA_ERR_BROKER_NOT_AVAILABLE;
    case RC_LOCKED: return KAFKA_ERR_KAFKA_STORAGE_ERROR;
    case RC_DENIED: return KAFKA_ERR_CLUSTER_AUTHORIZATION_FAILED;
    case RC_AUTH: return KAFKA_ERR_SASL_AUTHENTICATION_FAILED;
    case RC_UNSUPPORTED: return KAFKA_ERR_UNSUPPORTED_VERSION;
    case RC_UPSTREAM:
    case RC_UNSELECTED: return KAFKA_ERR_UNKNOWN_SERVER_ERROR;
    }
    return KAFKA_ERR_UNKNOWN_SERVER_ERROR;
}
