/* DescribeTransactions (key 65) and ListTransactions (key 66): what the coordinator knows.
 * SPDX-License-Identifier: Apache-2.0 */
#include "kafka/msg/list_transactions.h"
#include "broker/api.h"
#include "broker/txns.h"
#include "kafka/msg/describe_transactions.h"

/* ---- describe ---- */

static bool topics_of(struct request *r, const struct txn_parts *ps,
                      struct describe_transactions_response_transaction_state *a)
{
    int32_t *numbers = arena_array(&r->arena, int32_t, ps->n);

    a->topics = arena_array(&r->arena, struct describe_transactions_response_topic, ps->n);
    if (ps->n && (!a->topics || !numbers)) return false;
    for (size_t i = 0; i < ps->n; i++) {
        numbers[i] = ps->v[i].partition;
        if (!request_allows_topic(r, ACL_DESCRIBE, ps->v[i].topic)) continue;
        if (!i || !str_eq(ps->v[i].topic, a->topics[a->topics_n - 1].topic))
            a->topics[a->topics_n++] = (struct describe_transactions_response_topic){
                .topic = ps->v[i].topic, .partitions = numbers + i};
        a->topics[a->topics_n - 1].partitions_n++;
    }
    return true;
}

static bool describe(struct request *r, struct str id,
                     struct describe_transactions_response_transaction_state *a, uint64_t *seq)
{
    const struct txn *t = txns_find(r->broker->txns, id);

    a->transactional_id = id;
    a->transaction_state = STR("");
    if (!request_allows_txn(r, ACL_DESCRIBE, id)) {
        a->error_code = KAFKA_ERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED;
        return true;
    }
    if (!id.n) a->error_code = KAFKA_ERR_INVALID_REQUEST;
    if (id.n && !t) a->error_code = txns_is_lost(r->broker->txns, id) ? KAFKA_ERR_COORDINATOR_NOT_AVAILABLE : KAFKA_ERR_TRANSACTIONAL_ID_NOT_FOUND;
    if (!t) return true;
    a->transaction_state = str_of(txn_state_name(t->state));
    a->transaction_timeout_ms = t->timeout_ms;
    a->transaction_start_time_ms = t->start_ms;
    a->producer_id = t->producer_id;
    a->producer_epoch = t->epoch;
    *seq = MAX(*seq, t->seq);
    return topics_of(r, &t->parts, a);
}

void api_describe_transactions(struct request *r)
{
    const struct describe_transactions_request *q = request_decode(r);
    struct describe_transactions_response a = {0};
    uint64_t seq = 0;

    if (!q) return;
    a.transaction_states = arena_array(
        &r->arena, struct describe_transactions_response_transaction_state, q->transactional_ids_n);
    if (q->transactional_ids_n && !a.transaction_states)
        return request_close(r, "describe transactions: too many ids");
    for (size_t i = 0; i < q->transactional_ids_n; i++)
        if (!describe(r, q->transactional_ids[i], &a.transaction_states[a.transaction_states_n++],
                      &seq))
            return request_close(r, "describe transactions: too many partitions");
    request_answer_when(r, &a, seq);
}

/* ---- list ---- */

/* The states that are asked for, as a set; names that are none are told. */
static bool states_asked(struct request *r, const struct list_transactions_request *q,
                         struct list_transactions_response *a, unsigned *ret)
{
    enum txn_state s;

    *ret = q->state_filters_n ? 0 : ~0u;
    a->unknown_state_filters = arena_array(&r->arena, struct str, q->state_filters_n);
    if (q->state_filters_n && !a->unknown_state_filters) return false;
    for (size_t i = 0; i < q->state_filters_n; i++)
        if (txn_state_of(q->state_filters[i], &s))
            *ret |= 1u << s;
        else
            a->unknown_state_filters[a->unknown_state_filters_n++] = q->state_filters[i];
    return true;
}

static bool is_asked(const struct list_transactions_request *q, unsigned wanted,
                     const struct txn *t, int64_t now_ms)
{
    bool found = !q->producer_id_filters_n;

    if (!(wanted & 1u << t->state)) return false;
    for (size_t i = 0; i < q->producer_id_filters_n && !found; i++)
        found = q->producer_id_filters[i] == t->producer_id;
    /* As Kafka does: what never began is older than any duration. */
    return found && (q->duration_filter < 0 || now_ms - t->start_ms > q->duration_filter);
}

void api_list_transactions(struct request *r)
{
    const struct list_transactions_request *q = request_decode(r);
    struct list_transactions_response a = {0};
    const struct txns *ts = r->broker->txns;
    const struct txn *t;
    unsigned wanted;

    if (!q) return;
    a.transaction_states =
        arena_array(&r->arena, struct list_transactions_response_transaction_state, txns_count(ts));
    if ((txns_count(ts) && !a.transaction_states) || !states_asked(r, q, &a, &wanted))
        return request_close(r, "list transactions: too many of them");
    for (size_t at = 0; (t = txns_next(ts, &at));)
        if (is_asked(q, wanted, t, broker_wall_ms(r->broker)) &&
            request_allows_txn(r, ACL_DESCRIBE, t->id))
            a.transaction_states[a.transaction_states_n++] =
                (struct list_transactions_response_transaction_state){
                    t->id, t->producer_id, str_of(txn_state_name(t->state))};
    if (txns_any_is_lost(ts)) a.error_code = KAFKA_ERR_KAFKA_STORAGE_ERROR; /* as in list_groups.c */
    request_answer_when(r, &a, store_staged_seq(r->broker->store));
}
