/* FindCoordinator: it is always us. The topic of transactions is made when somebody asks for the first time. SPDX-License-Identifier: Apache-2.0 */
#include "kafka/msg/find_coordinator.h"
#include "broker/api.h"
#include "broker/groups.h"
#include "broker/txns.h"

enum { KEY_GROUP = 0, KEY_TRANSACTION = 1, SINCE_SEVERAL = 4 };

static struct find_coordinator_response_coordinator find(struct request *r, int8_t key_type,
                                                         struct str key, uint64_t *seq)
{
    const struct broker_listener *l = r->conn->listener;
    struct err e;

    if (key_type != KEY_GROUP && key_type != KEY_TRANSACTION)
        return (struct find_coordinator_response_coordinator){
            .key = key,
            .node_id = -1,
            .port = -1,
            .error_code = KAFKA_ERR_INVALID_REQUEST,
            .error_message = STR("key type must be 0 (group) or 1 (transaction)")};
    if (!request_allows(r, ACL_DESCRIBE, key_type == KEY_GROUP ? ACL_GROUP : ACL_TRANSACTIONAL_ID,
                        key))
        return (struct find_coordinator_response_coordinator){
            .key = key,
            .node_id = -1,
            .port = -1,
            .error_code = key_type == KEY_GROUP ? KAFKA_ERR_GROUP_AUTHORIZATION_FAILED
                                                : KAFKA_ERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
            .error_message = key_type == KEY_GROUP ? STR("Group authorization failed.")
                                                   : STR("Transactional Id authorization failed.")};
    if (key_type == KEY_TRANSACTION && txns_topic(r->broker->txns, seq, &e))
        return (struct find_coordinator_response_coordinator){
            .key = key,
            .node_id = -1,
            .port = -1,
            .error_code = KAFKA_ERR_COORDINATOR_NOT_AVAILABLE,
            .error_message = arena_dup_str(&r->arena, str_of(e.text))};
    if (key_type == KEY_GROUP ? groups_is_lost(r->broker->groups, key) : txns_is_lost(r->broker->txns, key))
        return (struct find_coordinator_response_coordinator){
            .key = key,
            .node_id = -1,
            .port = -1,
            .error_code = KAFKA_ERR_COORDINATOR_NOT_AVAILABLE,
            .error_message = key_type == KEY_GROUP ? STR("the part of __consumer_offsets with this group is damaged: stop, and run millrace log verify --repair")
                                                   : STR("the part of __transaction_state with this id is damaged: stop, and run millrace log verify --repair")};
    return (struct find_coordinator_response_coordinator){.key = key,
                                                          .node_id = r->broker->opt.node_id,
                                                          .host = l->host,
                                                          .port = l->port,
                                                          .error_message = STR("")};
}

void api_find_coordinator(struct request *r)
{
    const struct find_coordinator_request *q = request_decode(r);
    struct find_coordinator_response a = {0};
    uint64_t seq = 0;

    if (!q) return;
    if (request_version(r) < SINCE_SEVERAL) {
        struct find_coordinator_response_coordinator one = find(r, q->key_type, q->key, &seq);

        a.error_code = one.error_code;
        a.error_message = one.error_code ? one.error_message : STR("NONE");
        a.node_id = one.node_id;
        a.host = one.host;
        a.port = one.port;
    } else {
        a.coordinators = arena_array(&r->arena, struct find_coordinator_response_coordinator,
                                     q->coordinator_keys_n);
        if (q->coordinator_keys_n && !a.coordinators)
            return request_close(r, "find coordinator: too many keys");
        for (size_t i = 0; i < q->coordinator_keys_n; i++)
            a.coordinators[a.coordinators_n++] = find(r, q->key_type, q->coordinator_keys[i], &seq);
    }
    request_answer_when(r, &a, seq);
}
