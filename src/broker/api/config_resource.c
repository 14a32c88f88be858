/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/api/config_resource.h"
#include "broker/group_config.h"
#include "kafka/errors.h"

static int16_t refuse(struct str *ret_why, int16_t code, const char *why)
{
    *ret_why = str_of(why);
    return code;
}

static int16_t find_topic(struct broker *b, struct str name, struct config_resource *ret,
                          struct str *ret_why)
{
    const char *why;

    if (!topic_name_ok(name, &why)) return refuse(ret_why, KAFKA_ERR_INVALID_TOPIC_EXCEPTION, why);
    ret->kind = RESOURCE_TOPIC;
    ret->topic = broker_topic(b, name);
    return ret->topic ? 0 : refuse(ret_why, KAFKA_ERR_UNKNOWN_TOPIC_OR_PARTITION, "");
}

int16_t config_resource_find(struct broker *b, int8_t type, struct str name,
                             struct config_resource *ret, struct str *ret_why)
{
    int64_t id = -1;

    *ret = (struct config_resource){.kind = RESOURCE_NOTHING};
    *ret_why = (struct str){0};
    switch (type) {
    case CONFIG_RESOURCE_TOPIC: return find_topic(b, name, ret, ret_why);
    case CONFIG_RESOURCE_CLIENT_METRICS:
        ret->kind = RESOURCE_CLIENT_METRICS;
        if (name.n && name.n <= 249) return 0;
        return refuse(ret_why, KAFKA_ERR_INVALID_REQUEST,
                      "a subscription's name has 1 to 249 characters");
    case CONFIG_RESOURCE_GROUP:
        ret->kind = RESOURCE_GROUP;
        if (name.n && name.n <= GROUP_CONFIG_NAME_BYTES_MAX) return 0;
        return refuse(ret_why, KAFKA_ERR_INVALID_REQUEST,
                      name.n ? "the group id is too long for settings" : "the group id is empty");
    case CONFIG_RESOURCE_LOGGER:
    case CONFIG_RESOURCE_BROKER: break;
    default: return refuse(ret_why, KAFKA_ERR_INVALID_REQUEST, "no such kind of resource");
    }
    if (type == CONFIG_RESOURCE_BROKER)
        ret->kind = name.n ? RESOURCE_BROKER : RESOURCE_BROKER_DEFAULT;
    if (!name.n && type == CONFIG_RESOURCE_BROKER) return 0;
    if (!str_to_i64(name, &id))
        return refuse(ret_why, KAFKA_ERR_INVALID_REQUEST, "a broker is named by its number");
    if (id != b->opt.node_id)
        return refuse(ret_why, KAFKA_ERR_INVALID_REQUEST, "that is another broker's number");
    return 0;
}

bool config_resource_allows(struct request *r, enum acl_operation op, int8_t type, struct str name,
                            int16_t *ret_code)
{
    switch (type) {
    case CONFIG_RESOURCE_TOPIC:
        *ret_code = KAFKA_ERR_TOPIC_AUTHORIZATION_FAILED;
        return request_allows_topic(r, op, name);
    case CONFIG_RESOURCE_GROUP:
        *ret_code = KAFKA_ERR_GROUP_AUTHORIZATION_FAILED;
        return request_allows_group(r, op, name);
    default:
        *ret_code = KAFKA_ERR_CLUSTER_AUTHORIZATION_FAILED;
        return request_allows_cluster(r, op);
    }
}
