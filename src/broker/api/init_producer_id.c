/* InitProducerId (key 22): a fresh id with epoch 0 for every idempotent producer that asks, whatever it had before; ids come
 * from blocks whose end is on disk before the first of them is told. With a transactional id, what the coordinator says.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "kafka/msg/init_producer_id.h"
#include "broker/api.h"
#include "broker/txns.h"

enum { SINCE_FENCED = 4 };

void api_init_producer_id(struct request *r)
{
    const struct init_producer_id_request *q = request_decode(r);
    struct producer_ident have, now = {-1, -1};
    struct init_producer_id_response a;
    uint64_t seq = 0;
    struct err e;

    if (!q) return;
    init_producer_id_response_init_defaults(&a);
    have = (struct producer_ident){q->producer_id, q->producer_epoch};
    if (q->transactional_id.p && !request_allows_txn(r, ACL_WRITE, q->transactional_id)) {
        a.error_code = KAFKA_ERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED;
    } else if (!q->transactional_id.p && !request_allows_cluster(r, ACL_IDEMPOTENT_WRITE) &&
               !request_allows_any(r, ACL_WRITE, ACL_TOPIC)) {
        a.error_code = KAFKA_ERR_CLUSTER_AUTHORIZATION_FAILED;
    } else if (q->transactional_id.p) {
        if (!q->transactional_id.n || (have.id < 0) != (have.epoch < 0))
            a.error_code = KAFKA_ERR_INVALID_REQUEST;
        else
            a.error_code = txns_init_producer(r->broker->txns, q->transactional_id,
                                              q->transaction_timeout_ms, have, &now, &seq);
        if (a.error_code == KAFKA_ERR_PRODUCER_FENCED && request_version(r) < SINCE_FENCED)
            a.error_code = KAFKA_ERR_INVALID_PRODUCER_EPOCH;
    } else if (broker_producer_id(r->broker, &now.id, &seq, &e)) {
        a.error_code =
            e.rc == RC_OVERLOAD ? KAFKA_ERR_COORDINATOR_LOAD_IN_PROGRESS : kafka_error_of(&e);
        now.id = -1;
    } else {
        now.epoch = 0;
    }
    a.producer_id = now.id;
    a.producer_epoch = now.epoch;
    request_answer_when(r, &a, seq);
}
