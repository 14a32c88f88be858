/* AddOffsetsToTxn (key 25) and EndTxn (key 26): one transactional id, one code.
 * SPDX-License-Identifier: Apache-2.0 */
#include "kafka/msg/end_txn.h"
#include "broker/api.h"
#include "broker/groups.h"
#include "kafka/batch.h"
#include "kafka/msg/add_offsets_to_txn.h"

enum { SINCE_FENCED = 2 };

/* Old clients do not know PRODUCER_FENCED. */
static int16_t code_for(const struct request *r, int16_t code)
{
    return code == KAFKA_ERR_PRODUCER_FENCED && request_version(r) < SINCE_FENCED
               ? KAFKA_ERR_INVALID_PRODUCER_EPOCH
               : code;
}

/* The group's offsets are records of __consumer_offsets: that partition takes part. */
void api_add_offsets_to_txn(struct request *r)
{
    const struct add_offsets_to_txn_request *q = request_decode(r);
    struct add_offsets_to_txn_response a = {0};
    struct topic *t = broker_topic(r->broker, GROUPS_TOPIC);
    struct txn_part home = {.topic = GROUPS_TOPIC};
    uint64_t seq = 0;

    if (!q) return;
    if (!request_allows_txn(r, ACL_WRITE, q->transactional_id)) {
        a.error_code = KAFKA_ERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED;
    } else if (!request_allows_group(r, ACL_READ, q->group_id)) {
        a.error_code = KAFKA_ERR_GROUP_AUTHORIZATION_FAILED;
    } else if (!q->transactional_id.n) {
        a.error_code = KAFKA_ERR_INVALID_REQUEST;
    } else if (!t || groups_is_lost(r->broker->groups, q->group_id)) {
        a.error_code = KAFKA_ERR_COORDINATOR_NOT_AVAILABLE;
    } else {
        home.partition = kafka_partition_of_group(q->group_id, topic_partitions(t));
        a.error_code =
            code_for(r, txns_add(r->broker->txns, q->transactional_id,
                                 (struct producer_ident){q->producer_id, q->producer_epoch}, &home,
                                 1, &seq));
    }
    request_answer_when(r, &a, seq);
}

void api_end_txn(struct request *r)
{
    const struct end_txn_request *q = request_decode(r);
    struct end_txn_response a = {0};
    uint64_t seq = 0;

    if (!q) return;
    if (!request_allows_txn(r, ACL_WRITE, q->transactional_id))
        a.error_code = KAFKA_ERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED;
    else if (!q->transactional_id.n)
        a.error_code = KAFKA_ERR_INVALID_REQUEST;
    else
        a.error_code =
            code_for(r, txns_end(r->broker->txns, q->transactional_id,
                                 (struct producer_ident){q->producer_id, q->producer_epoch},
                                 q->committed, &seq));
    request_answer_when(r, &a, seq);
}
