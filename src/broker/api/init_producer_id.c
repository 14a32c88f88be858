/* InitProducerId (key 22): a fresh id with epoch 0 for every idempotent producer that asks, whatever it had before. Ids come
 * from blocks whose end is on disk before the first of them is told.   SPDX-License-Identifier: Apache-2.0
 */
#include "kafka/msg/init_producer_id.h"
#include "base/diag.h"
#include "broker/api.h"

void api_init_producer_id(struct request *r)
{
    const struct init_producer_id_request *q = request_decode(r);
    struct init_producer_id_response a;
    uint64_t seq = 0;
    struct err e;

    if (!q) return;
    init_producer_id_response_init_defaults(&a);
    a.producer_id = -1;
    a.producer_epoch = -1;
    if (q->transactional_id.p) {
        a.error_code =
            q->transactional_id.n ? KAFKA_ERR_UNSUPPORTED_VERSION : KAFKA_ERR_INVALID_REQUEST;
        diag(DIAG_WARN, "broker.transactions_not_served",
             KV_STR("transactional_id", q->transactional_id), KV_STR("client", r->h.client_id));
    } else if (broker_producer_id(r->broker, &a.producer_id, &seq, &e)) {
        a.error_code =
            e.rc == RC_OVERLOAD ? KAFKA_ERR_COORDINATOR_LOAD_IN_PROGRESS : kafka_error_of(&e);
        a.producer_id = -1;
    } else {
        a.producer_epoch = 0;
    }
    request_answer_when(r, &a, seq);
}
