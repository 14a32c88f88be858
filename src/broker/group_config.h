/* broker/group_config.h - settings of single groups of the newer protocol (kafka-configs.sh --entity-type groups): what a group has of
 * its own instead of the broker's group.consumer.… ones. A group need not exist to have some, and keeps them when it is deleted.
 *
 * Owns its names.   Lives on: the broker loop.   Used by: groups_consumer.c, meta_admin.c, api/alter_configs.c, describe_configs.c,
 * telemetry.c.   SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/err.h"
#include "base/map.h"

struct broker_config;

enum group_config_key { GROUP_CONFIG_SESSION_TIMEOUT, GROUP_CONFIG_HEARTBEAT_INTERVAL, GROUP_CONFIG_KEYS };
enum { GROUP_CONFIGS_MAX = 10000, GROUP_CONFIG_NAME_BYTES_MAX = 1024 };
struct group_config_values { int32_t value[GROUP_CONFIG_KEYS]; };           /* 0: not set */

const char *group_config_key_name(enum group_config_key k);
const char *group_config_key_doc(enum group_config_key k);
bool group_config_key_of(struct str name, enum group_config_key *ret);
/* What holds where `own` says nothing. */
int32_t group_config_value(const struct group_config_values *own, const struct broker_config *c, enum group_config_key k);
/* RC_INVALID. */
enum rc group_config_read(enum group_config_key k, struct str text, int32_t *ret, struct err *e) MUST_USE;
/* May these hold together, within what the broker allows? RC_INVALID. */
enum rc group_config_check(const struct group_config_values *own, const struct broker_config *c, struct err *e) MUST_USE;

/* All of them: group id -> struct group_config_values. */
struct group_config_values group_config_get(const struct map *all, struct str group);
/* Replaces all values; without any the group's entry is forgotten. */
void group_config_set(struct map *all, struct str group, const struct group_config_values *own);
void group_config_fini(struct map *all);
