/* WriteTxnMarkers (key 27): ends a transaction in single partitions, whatever the coordinator knows of it: the way out for an operator.
 * SPDX-License-Identifier: Apache-2.0 */
#include "kafka/msg/write_txn_markers.h"
#include "broker/api.h"
#include "broker/txns.h"

static bool one(struct request *r, const struct write_txn_markers_request_marker *q,
                struct write_txn_markers_response_marker *a, uint64_t *seq)
{
    struct txn_marker m = {
        {q->producer_id, q->producer_epoch}, q->transaction_result, q->coordinator_epoch};

    bool allowed =
        request_allows_cluster(r, ACL_CLUSTER_ACTION) || request_allows_cluster(r, ACL_ALTER);

    a->producer_id = q->producer_id;
    a->topics = arena_array(&r->arena, struct write_txn_markers_response_topic, q->topics_n);
    if (q->topics_n && !a->topics) return false;
    for (size_t i = 0; i < q->topics_n; i++) {
        struct write_txn_markers_response_topic *t = &a->topics[a->topics_n++];
        size_t n = q->topics[i].partition_indexes_n;

        t->name = q->topics[i].name;
        t->partitions = arena_array(&r->arena, struct write_txn_markers_response_partition, n);
        if (n && !t->partitions) return false;
        for (size_t k = 0; k < n; k++) {
            int32_t number = q->topics[i].partition_indexes[k];
            struct partition *p = broker_partition(r->broker, t->name, number);

            t->partitions[t->partitions_n++] = (struct write_txn_markers_response_partition){
                number, !allowed ? KAFKA_ERR_CLUSTER_AUTHORIZATION_FAILED
                        : p      ? txn_marker_write(r->broker, p, &m, seq)
                                 : KAFKA_ERR_UNKNOWN_TOPIC_OR_PARTITION};
        }
    }
    return true;
}

void api_write_txn_markers(struct request *r)
{
    const struct write_txn_markers_request *q = request_decode(r);
    struct write_txn_markers_response a = {0};
    uint64_t seq = 0;

    if (!q) return;
    a.markers = arena_array(&r->arena, struct write_txn_markers_response_marker, q->markers_n);
    if (q->markers_n && !a.markers)
        return request_close(r, "write transaction markers: too many markers");
    for (size_t i = 0; i < q->markers_n; i++)
        if (q->markers[i].topics_n && !one(r, &q->markers[i], &a.markers[a.markers_n++], &seq))
            return request_close(r, "write transaction markers: too many partitions");
    request_answer_when(r, &a, seq);
}
