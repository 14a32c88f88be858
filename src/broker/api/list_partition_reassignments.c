/* ListPartitionReassignments (key 46): none is ever under way on one node. SPDX-License-Identifier: Apache-2.0 */
#include "kafka/msg/list_partition_reassignments.h"
#include "broker/api.h"

void api_list_partition_reassignments(struct request *r)
{
    struct list_partition_reassignments_response a = {0};

    if (!request_decode(r)) return;
    if (!request_allows_cluster(r, ACL_DESCRIBE))
        a.error_code = KAFKA_ERR_CLUSTER_AUTHORIZATION_FAILED;
    request_answer(r, &a);
}
