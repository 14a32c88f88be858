/* SPDX-License-Identifier: Apache-2.0 */
#include "kafka/api.h"

static const struct kafka_api apis[KAFKA_API_KEY_MAX + 1] = {
    [KAFKA_PRODUCE] = {"Produce", 0, 0, 11, 9},
    [KAFKA_FETCH] = {"Fetch", 1, 0, 16, 12},
    [KAFKA_LIST_OFFSETS] = {"ListOffsets", 2, 0, 8, 6},
    [KAFKA_METADATA] = {"Metadata", 3, 0, 12, 9},
    [KAFKA_OFFSET_COMMIT] = {"OffsetCommit", 8, 0, 9, 8},
    [KAFKA_OFFSET_FETCH] = {"OffsetFetch", 9, 0, 9, 6},
    [KAFKA_FIND_COORDINATOR] = {"FindCoordinator", 10, 0, 5, 3},
    [KAFKA_JOIN_GROUP] = {"JoinGroup", 11, 0, 9, 6},
    [KAFKA_HEARTBEAT] = {"Heartbeat", 12, 0, 4, 4},
    [KAFKA_LEAVE_GROUP] = {"LeaveGroup", 13, 0, 5, 4},
    [KAFKA_SYNC_GROUP] = {"SyncGroup", 14, 0, 5, 4},
    [KAFKA_DESCRIBE_GROUPS] = {"DescribeGroups", 15, 0, 5, 5},
    [KAFKA_LIST_GROUPS] = {"ListGroups", 16, 0, 5, 3},
    [KAFKA_SASL_HANDSHAKE] = {"SaslHandshake", 17, 0, 1, KAFKA_NEVER_FLEXIBLE},
    [KAFKA_API_VERSIONS] = {"ApiVersions", 18, 0, 3, 3},
    [KAFKA_CREATE_TOPICS] = {"CreateTopics", 19, 0, 7, 5},
    [KAFKA_DELETE_TOPICS] = {"DeleteTopics", 20, 0, 6, 4},
    [KAFKA_DELETE_RECORDS] = {"DeleteRecords", 21, 0, 2, 2},
    [KAFKA_INIT_PRODUCER_ID] = {"InitProducerId", 22, 0, 5, 2},
    [KAFKA_OFFSET_FOR_LEADER_EPOCH] = {"OffsetForLeaderEpoch", 23, 0, 4, 4},
    [KAFKA_ADD_PARTITIONS_TO_TXN] = {"AddPartitionsToTxn", 24, 0, 5, 3},
    [KAFKA_ADD_OFFSETS_TO_TXN] = {"AddOffsetsToTxn", 25, 0, 4, 3},
    [KAFKA_END_TXN] = {"EndTxn", 26, 0, 4, 3},
    [KAFKA_WRITE_TXN_MARKERS] = {"WriteTxnMarkers", 27, 0, 1, 1},
    [KAFKA_TXN_OFFSET_COMMIT] = {"TxnOffsetCommit", 28, 0, 4, 3},
    [KAFKA_DESCRIBE_ACLS] = {"DescribeAcls", 29, 0, 3, 2},
    [KAFKA_CREATE_ACLS] = {"CreateAcls", 30, 0, 3, 2},
    [KAFKA_DELETE_ACLS] = {"DeleteAcls", 31, 0, 3, 2},
    [KAFKA_DESCRIBE_CONFIGS] = {"DescribeConfigs", 32, 0, 4, 4},
    [KAFKA_ALTER_CONFIGS] = {"AlterConfigs", 33, 0, 2, 2},
    [KAFKA_ALTER_REPLICA_LOG_DIRS] = {"AlterReplicaLogDirs", 34, 0, 2, 2},
    [KAFKA_DESCRIBE_LOG_DIRS] = {"DescribeLogDirs", 35, 0, 4, 2},
    [KAFKA_SASL_AUTHENTICATE] = {"SaslAuthenticate", 36, 0, 2, 2},
    [KAFKA_CREATE_PARTITIONS] = {"CreatePartitions", 37, 0, 3, 2},
    [KAFKA_CREATE_DELEGATION_TOKEN] = {"CreateDelegationToken", 38, 0, 3, 2},
    [KAFKA_RENEW_DELEGATION_TOKEN] = {"RenewDelegationToken", 39, 0, 2, 2},
    [KAFKA_EXPIRE_DELEGATION_TOKEN] = {"ExpireDelegationToken", 40, 0, 2, 2},
    [KAFKA_DESCRIBE_DELEGATION_TOKEN] = {"DescribeDelegationToken", 41, 0, 3, 2},
    [KAFKA_DELETE_GROUPS] = {"DeleteGroups", 42, 0, 2, 2},
    [KAFKA_ELECT_LEADERS] = {"ElectLeaders", 43, 0, 2, 2},
    [KAFKA_INCREMENTAL_ALTER_CONFIGS] = {"IncrementalAlterConfigs", 44, 0, 1, 1},
    [KAFKA_ALTER_PARTITION_REASSIGNMENTS] = {"AlterPartitionReassignments", 45, 0, 0, 0},
    [KAFKA_LIST_PARTITION_REASSIGNMENTS] = {"ListPartitionReassignments", 46, 0, 0, 0},
    [KAFKA_OFFSET_DELETE] = {"OffsetDelete", 47, 0, 0, KAFKA_NEVER_FLEXIBLE},
    [KAFKA_DESCRIBE_CLIENT_QUOTAS] = {"DescribeClientQuotas", 48, 0, 1, 1},
    [KAFKA_ALTER_CLIENT_QUOTAS] = {"AlterClientQuotas", 49, 0, 1, 1},
    [KAFKA_DESCRIBE_USER_SCRAM_CREDENTIALS] = {"DescribeUserScramCredentials", 50, 0, 0, 0},
    [KAFKA_ALTER_USER_SCRAM_CREDENTIALS] = {"AlterUserScramCredentials", 51, 0, 0, 0},
    [KAFKA_DESCRIBE_QUORUM] = {"DescribeQuorum", 55, 0, 1, 0},
    [KAFKA_UPDATE_FEATURES] = {"UpdateFeatures", 57, 0, 1, 0},
    [KAFKA_DESCRIBE_CLUSTER] = {"DescribeCluster", 60, 0, 1, 0},
    [KAFKA_DESCRIBE_PRODUCERS] = {"DescribeProducers", 61, 0, 0, 0},
    [KAFKA_UNREGISTER_BROKER] = {"UnregisterBroker", 64, 0, 0, 0},
    [KAFKA_DESCRIBE_TRANSACTIONS] = {"DescribeTransactions", 65, 0, 0, 0},
    [KAFKA_LIST_TRANSACTIONS] = {"ListTransactions", 66, 0, 1, 0},
    [KAFKA_CONSUMER_GROUP_HEARTBEAT] = {"ConsumerGroupHeartbeat", 68, 0, 0, 0},
    [KAFKA_CONSUMER_GROUP_DESCRIBE] = {"ConsumerGroupDescribe", 69, 0, 0, 0},
    [KAFKA_GET_TELEMETRY_SUBSCRIPTIONS] = {"GetTelemetrySubscriptions", 71, 0, 0, 0},
    [KAFKA_PUSH_TELEMETRY] = {"PushTelemetry", 72, 0, 0, 0},
    [KAFKA_LIST_CLIENT_METRICS_RESOURCES] = {"ListClientMetricsResources", 74, 0, 0, 0},
    [KAFKA_DESCRIBE_TOPIC_PARTITIONS] = {"DescribeTopicPartitions", 75, 0, 0, 0},
};

const struct kafka_api *kafka_api_of(int16_t key)
{
    return key < 0 || key > KAFKA_API_KEY_MAX || !apis[key].name ? NULL : &apis[key];
}

const struct kafka_api *kafka_api_next(const struct kafka_api *a)
{
    for (a = a ? a + 1 : apis; a < apis + countof(apis); a++)
        if (a->name) return a;
    return NULL;
}

/* The client id keeps its two-byte length also in the flexible header. */
bool kafka_request_header_decode(struct rd *r, struct kafka_request_header *ret)
{
    r->what = "request header";
    ret->api_key = rd_i16(r);
    ret->api_version = rd_i16(r);
    ret->correlation_id = rd_i32(r);
    ret->client_id = STR("");
    ret->api = r->why == RD_OK ? kafka_api_of(ret->api_key) : NULL;
    if (ret->api) {
        struct str id = rd_str_null(r, false, "client_id");

        if (id.p) ret->client_id = id;
        if (kafka_api_flex(ret->api, ret->api_version)) rd_tags_skip(r);
    }
    r->version = ret->api && kafka_api_flex(ret->api, ret->api_version) ? 2 : 1;
    return r->why == RD_OK;
}

void kafka_request_header_encode(struct wr *w, const struct kafka_request_header *h)
{
    wr_i16(w, h->api_key);
    wr_i16(w, h->api_version);
    wr_i32(w, h->correlation_id);
    wr_str_null(w, false, h->client_id);
    if (h->api && kafka_api_flex(h->api, h->api_version)) wr_uvarint(w, 0);
}

static bool header_has_tags(const struct kafka_api *a, int16_t version)
{
    return a->key != KAFKA_API_VERSIONS && kafka_api_flex(a, version);
}

void kafka_response_header_encode(struct wr *w, const struct kafka_api *a, int16_t version, int32_t correlation_id)
{
    wr_i32(w, correlation_id);
    if (header_has_tags(a, version)) wr_uvarint(w, 0);
}

bool kafka_response_header_decode(struct rd *r, const struct kafka_api *a, int16_t version, int32_t *ret_correlation_id)
{
    *ret_correlation_id = rd_i32(r);
    if (header_has_tags(a, version)) rd_tags_skip(r);
    return r->why == RD_OK;
}
