/* broker/client_metrics.h - which metrics clients are asked to push (KIP-714): subscriptions by name, each with an interval,
 * prefixes of metrics' names, and patterns that say for whom it is.
 *
 * Owns its texts.   Lives on: the broker loop.   Used by: api/telemetry.c, api/alter_configs.c, api/describe_configs.c,
 * meta_admin.c.   SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/err.h"
#include "base/map.h"

enum client_metrics_key { CLIENT_METRICS_INTERVAL, CLIENT_METRICS_MATCH, CLIENT_METRICS_METRICS, CLIENT_METRICS_KEYS };
enum {
    CLIENT_METRICS_SUBSCRIPTIONS_MAX = 1000, CLIENT_METRICS_VALUE_BYTES_MAX = 4096,
    CLIENT_METRICS_INTERVAL_DEFAULT_MS = 300000,
};
struct client_metrics { struct str name; char *value[CLIENT_METRICS_KEYS]; };    /* NULL: not set */

/* Whom a pattern looks at. */
enum client_fact { CLIENT_FACT_ID, CLIENT_FACT_INSTANCE_ID, CLIENT_FACT_SOFTWARE_NAME, CLIENT_FACT_SOFTWARE_VERSION,
    CLIENT_FACT_ADDRESS, CLIENT_FACT_PORT, CLIENT_FACTS };
struct client_facts { struct str fact[CLIENT_FACTS]; };

const char *client_metrics_key_name(enum client_metrics_key k);
bool client_metrics_key_of(struct str name, enum client_metrics_key *ret);
/* RC_INVALID: no such value. RC_DENIED: it cannot be read as a pattern. */
enum rc client_metrics_check(enum client_metrics_key k, struct str value, struct err *e) MUST_USE;

/* All subscriptions: name -> struct client_metrics. */
struct client_metrics *client_metrics_get(const struct map *all, struct str name);
/* Replaces all values; without any the subscription is forgotten. */
void client_metrics_set(struct map *all, struct str name, char *const value[CLIENT_METRICS_KEYS]);
void client_metrics_fini(struct map *all);
bool client_metrics_match(const struct client_metrics *m, const struct client_facts *facts);
