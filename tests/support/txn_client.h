/* tests/support/txn_client.h - a transactional producer, and a reader with read_committed, of the rig's broker. Codes are Kafka's; TXN_LOST: no
 * answer came. SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "broker_client.h"

enum { TXN_LOST = -100, TXN_PARTITIONS = 4, TXN_PRODUCE_VERSION = 11 };

struct txn_client {
    struct client k;
    const char *id;
    int64_t pid;
    int16_t epoch;
    int32_t sequence[TXN_PARTITIONS];    /* next, by partition of the one topic it writes to */
    int32_t timeout_ms;
};

void txn_client_open(struct txn_client *p, struct rig *g, const char *id);
void txn_client_close(struct txn_client *p);
/* Asks again while the answer is 51. */
int16_t txn_client_init(struct txn_client *p);
/* One request each. */
int16_t txn_client_init_once(struct txn_client *p, int64_t pid, int16_t epoch);
int16_t txn_client_add(struct txn_client *p, const char *topic, int32_t partition);
int16_t txn_client_write(struct txn_client *p, const char *topic, int32_t partition, int value);
int16_t txn_client_offset(struct txn_client *p, const char *group, const char *topic, int32_t partition, int64_t offset);
int16_t txn_client_end(struct txn_client *p, bool commit);
/* The batch that txn_client_write would send, and sending one: *ret_offset may be NULL. */
struct bytes txn_client_batch(struct txn_client *p, int32_t sequence, bool transactional, int value);
int16_t txn_client_produce(struct txn_client *p, const char *topic, int32_t partition, struct bytes batch, int64_t *ret_offset);

/* As a consumer with read_committed does it: the values below the last stable offset that were not aborted. Returns how many; -1: no
 * answer. *ret_stable and *ret_high may be NULL. */
int txn_read(struct client *k, const char *topic, int32_t partition, int *values, int max, int64_t *ret_stable, int64_t *ret_high);
/* OffsetFetch with require_stable; -1: none. Kafka's code in *ret_code. */
int64_t txn_committed(struct client *k, const char *group, const char *topic, int32_t partition, int16_t *ret_code);
