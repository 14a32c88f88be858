/* DescribeCluster (key 60): this broker, which is also the controller. SPDX-License-Identifier: Apache-2.0 */
#include "kafka/msg/describe_cluster.h"
#include "broker/api.h"

enum { ENDPOINT_BROKERS = 1, ENDPOINT_CONTROLLERS = 2 };

void api_describe_cluster(struct request *r)
{
    const struct describe_cluster_request *q = request_decode(r);
    struct describe_cluster_response_broker self = {0};
    struct describe_cluster_response a;

    if (!q) return;
    describe_cluster_response_init_defaults(&a);
    if (q->endpoint_type != ENDPOINT_BROKERS) {
        a.error_code = q->endpoint_type == ENDPOINT_CONTROLLERS
                           ? KAFKA_ERR_MISMATCHED_ENDPOINT_TYPE
                           : KAFKA_ERR_UNSUPPORTED_ENDPOINT_TYPE;
        a.error_message = STR("this endpoint is a broker's");
        request_answer(r, &a);
        return;
    }
    self.broker_id = r->broker->opt.node_id;
    self.host = r->conn->listener->host;
    self.port = r->conn->listener->port;
    a.cluster_id = str_of(r->broker->cluster_id);
    a.controller_id = self.broker_id;
    a.brokers = &self;
    a.brokers_n = 1;
    if (q->include_cluster_authorized_operations)
        a.cluster_authorized_operations = request_operations(r, ACL_CLUSTER, ACL_CLUSTER_NAME);
    request_answer(r, &a);
}
