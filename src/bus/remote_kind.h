/* bus/remote_kind.h - whose Kafka it is, by the names of its brokers: some have limits of their own (docs/on-kafka.md).
 * Used by: app, bus/remote*.c.   SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/bytes.h"

enum remote_kind { REMOTE_APACHE, REMOTE_EVENT_HUBS, REMOTE_CONFLUENT_CLOUD, REMOTE_MSK };
enum remote_kind remote_kind_of(struct str bootstrap);
const char *remote_kind_name(enum remote_kind k);            /* for people */

/* Properties that such a cluster wants, by librdkafka's names, which anything the user gives comes before; ended by a NULL name. */
struct remote_preset { const char *name, *value, *why; };
const struct remote_preset *remote_kind_presets(enum remote_kind k);
size_t remote_kind_request_max(enum remote_kind k);          /* the largest request that it takes; 0: as configured there */
