/* broker/feature_levels.h - the features this broker stands for, as ApiVersions tells and UpdateFeatures may ask for.
 * Used by: api/api_versions.c, api/cluster.c.   SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "broker/core.h"

struct feature { const char *name; int16_t min, max, level; };   /* level: what is in force */

/* metadata.version 20 is 3.8-IV0; clients of 4.x look for group.version before they use the newer group protocol. Never a
 * minimum of 0: clients of 3.x cannot read that. */
static const struct feature broker_features[] = {
    {"metadata.version", 1, 20, 20},
    {"group.version", 1, 1, 1},          /* the last: only where that protocol is served */
};

static inline size_t features_n(const struct broker *b)
{
    return countof(broker_features) - !(b->config.group_protocols & BROKER_PROTOCOL_CONSUMER);
}
