/* broker/api/config_resource.h - what a config request speaks of: a topic, this broker, or the default of all brokers.
 * Lives on: the broker loop.   Used by: api/describe_configs.c, alter_configs.c, telemetry.c.   SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "broker/api.h"

enum {                                      /* as on the wire */
    CONFIG_RESOURCE_TOPIC = 2, CONFIG_RESOURCE_BROKER = 4, CONFIG_RESOURCE_LOGGER = 8, CONFIG_RESOURCE_CLIENT_METRICS = 16,
    CONFIG_RESOURCE_GROUP = 32,
};
enum config_resource_kind {
    RESOURCE_TOPIC, RESOURCE_BROKER, RESOURCE_BROKER_DEFAULT,
    RESOURCE_CLIENT_METRICS,             /* a subscription, whether it exists or not: the name says which */
    RESOURCE_GROUP,                      /* whether it exists or not: the name says which */
    RESOURCE_NOTHING                     /* a kind that exists and has no settings here: loggers */
};
struct config_resource { enum config_resource_kind kind; struct topic *topic; };

/* Kafka's code; 0: found. *ret_why is set on refusal. */
int16_t config_resource_find(struct broker *b, int8_t type, struct str name, struct config_resource *ret, struct str *ret_why);
/* May the client describe or change it? False: *ret_code is what it is told. */
bool config_resource_allows(struct request *r, enum acl_operation op, int8_t type, struct str name, int16_t *ret_code);
