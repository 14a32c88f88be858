/* tests/support/broker_client.h - a Kafka client of the rig's broker that speaks in the schema's structs.
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "broker_rig.h"
#include "kafka/batch_build.h"
#include "kafka/message.h"
#include "kafka/msg/all.h"

struct client { struct rig_conn c; struct arena arena; };

void client_open(struct client *k, struct rig *g);
void client_close(struct client *k);                     /* hangs up; may be called twice */
void client_send(struct client *k, int16_t key, int16_t version, const void *request);
/* The next answer, decoded; it must be to a request of that API and version. NULL: none is there. Lives with the client. */
void *client_answer(struct client *k, int16_t key, int16_t version);
void *client_ask(struct client *k, int16_t key, int16_t version, const void *request);

void client_create(struct client *k, const char *topic, int32_t partitions, const char *setting, const char *value);
/* One batch of n records "value 0" … with a size of at least `bytes`. */
struct bytes client_batch(struct client *k, int n, size_t bytes, int64_t producer_id, int32_t sequence);
void client_produce_send(struct client *k, const char *topic, int32_t partition, int16_t acks, struct bytes batch);
/* Kafka's code; *ret_offset is the base offset. */
int16_t client_produce(struct client *k, const char *topic, int32_t partition, struct bytes batch, int64_t *ret_offset);
void client_fetch_send(struct client *k, const char *topic, int32_t partition, int64_t offset, int32_t wait_ms);
struct fetch_response_partition *client_fetched(struct client *k);       /* NULL: no answer yet */
struct fetch_response_partition *client_fetch(struct client *k, const char *topic, int32_t partition, int64_t offset);
int64_t client_end(struct client *k, const char *topic, int32_t partition);      /* ListOffsets, latest */
