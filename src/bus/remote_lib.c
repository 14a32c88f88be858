/* Design note: librdkafka costs 6 ms and 5 MB at start, so the embedded bus must not link it: base/library.h.
 * SPDX-License-Identifier: Apache-2.0 */
#include "bus/remote_lib.h"
#include "base/library.h"
#include "bus/trouble.h"

static struct kafka_lib lib;
static const struct library_function functions[] = {
#define KAFKA_LIB_NAME(name) {#name, offsetof(struct kafka_lib, name)},
    KAFKA_LIB_FUNCTIONS(KAFKA_LIB_NAME)
#undef KAFKA_LIB_NAME
};
static struct library library = LIBRARY("librdkafka.so.1", "librdkafka1", functions, &lib);

enum rc kafka_lib_get(const struct kafka_lib **ret, struct err *e)
{
    if (library_get(&library, e)) return err_in(e, "a Kafka cluster");
    *ret = &lib;
    return RC_OK;
}

/* What is none of the five in bus/trouble.h. */
static enum rc rc_of(rd_kafka_resp_err_t code)
{
    int number = (int)code;

    switch (number) {
    case RD_KAFKA_RESP_ERR_NO_ERROR: return RC_OK;
    case RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART:
    case RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC:
    case RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION:
    case RD_KAFKA_RESP_ERR_GROUP_ID_NOT_FOUND: return RC_NOT_FOUND;
    case RD_KAFKA_RESP_ERR_TOPIC_ALREADY_EXISTS: return RC_EXISTS;
    case RD_KAFKA_RESP_ERR_OFFSET_METADATA_TOO_LARGE: return RC_TOO_LARGE;
    case RD_KAFKA_RESP_ERR__MSG_TIMED_OUT:
    case RD_KAFKA_RESP_ERR__TIMED_OUT:
    case RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT: return RC_TIMEOUT;
    case RD_KAFKA_RESP_ERR__QUEUE_FULL: return RC_OVERLOAD;
    case RD_KAFKA_RESP_ERR__DESTROY:
    case RD_KAFKA_RESP_ERR__PURGE_QUEUE:
    case RD_KAFKA_RESP_ERR__PURGE_INFLIGHT: return RC_CANCELLED;
    case RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED:
    case RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED:
    case RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED: return RC_DENIED;
    case RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE:
    case RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET: /* how the library says the same */
    case RD_KAFKA_RESP_ERR__INVALID_ARG:
    case RD_KAFKA_RESP_ERR_INVALID_CONFIG:
    case RD_KAFKA_RESP_ERR_POLICY_VIOLATION:
    case RD_KAFKA_RESP_ERR_INVALID_PARTITIONS:
    case RD_KAFKA_RESP_ERR_INVALID_REPLICATION_FACTOR: return RC_INVALID;
    default: return RC_UNAVAILABLE;
    }
}

enum rc kafka_lib_error(const struct kafka_lib *k, rd_kafka_resp_err_t code, const char *detail,
                        struct err *e)
{
    struct trouble t;

    if (!detail || !*detail) detail = k->rd_kafka_err2str(code);
    if (trouble_of_code((int)code, detail, &t)) trouble_err(&t, e);
    else err_set(e, rc_of(code), "Kafka: %s", detail);
    e->sys = (int)code;
    return e->rc;
}
