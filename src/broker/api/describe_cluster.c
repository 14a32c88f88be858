/* DescribeCluster (key 60): one broker, at the address that the asker came in by. SPDX-License-Identifier: Apache-2.0 */
#include "broker/api.h"
#include "kafka/msg/describe_cluster.h"

enum { ENDPOINT_BROKERS = 1, ENDPOINT_CONTROLLERS = 2 };

void api_describe_cluster(struct request *r)
{
    const struct describe_cluster_request *q = request_decode(r);
    struct describe_cluster_response a;
    struct describe_cluster_response_broker self;

    if (!q) return;
    describe_cluster_response_init_defaults(&a);
    describe_cluster_response_broker_init_defaults(&self);
    a.endpoint_type = q->endpoint_type;
    if (q->endpoint_type != ENDPOINT_BROKERS) {
        a.error_code = q->endpoint_type == ENDPOINT_CONTROLLERS ? KAFKA_ERR_MISMATCHED_ENDPOINT_TYPE : KAFKA_ERR_UNSUPPORTED_ENDPOINT_TYPE;
        a.error_message = STR("this listener answers about brokers only");
        request_answer(r, &a);
        return;
    }
    self.broker_id = r->broker->opt.node_id;
    self.host = r->conn->listener->host;
    self.port = r->conn->listener->port;
    a.cluster_id = broker_cluster_id(r->broker);
    a.controller_id = r->broker->opt.node_id;
    a.brokers = &self;
    a.brokers_n = 1;
    if (q->include_cluster_authorized_operations) a.cluster_authorized_operations = CLUSTER_OPERATIONS_ALL;
    request_answer(r, &a);
}
