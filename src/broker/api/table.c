/* Which APIs are served, in which versions. Only what works is advertised. SPDX-License-Identifier: Apache-2.0 */
#include "broker/api.h"

static const struct api apis[] = {
    {KAFKA_PRODUCE, 0, 11, API_BORROWS | API_APPENDS, api_produce},
    {KAFKA_FETCH, 0, 16, 0, api_fetch},
    {KAFKA_LIST_OFFSETS, 0, 8, 0, api_list_offsets},
    {KAFKA_METADATA, 0, 12, 0, api_metadata},
    {KAFKA_OFFSET_COMMIT, 0, 9, API_APPENDS, api_offset_commit},
    {KAFKA_OFFSET_FETCH, 0, 9, 0, api_offset_fetch},
    {KAFKA_FIND_COORDINATOR, 0, 5, 0, api_find_coordinator},
    {KAFKA_JOIN_GROUP, 0, 9, API_APPENDS, api_join_group},
    {KAFKA_HEARTBEAT, 0, 4, 0, api_heartbeat},
    {KAFKA_LEAVE_GROUP, 0, 5, API_APPENDS, api_leave_group},
    {KAFKA_SYNC_GROUP, 0, 5, API_APPENDS, api_sync_group},
    {KAFKA_DESCRIBE_GROUPS, 0, 5, 0, api_describe_groups},
    {KAFKA_LIST_GROUPS, 0, 5, 0, api_list_groups},
    {KAFKA_API_VERSIONS, 0, 3, 0, api_api_versions},
    {KAFKA_CREATE_TOPICS, 0, 7, API_APPENDS, api_create_topics},
    {KAFKA_DELETE_TOPICS, 0, 6, API_APPENDS, api_delete_topics},
    {KAFKA_DELETE_RECORDS, 0, 2, API_APPENDS, api_delete_records},
    {KAFKA_INIT_PRODUCER_ID, 0, 5, API_APPENDS, api_init_producer_id},
    {KAFKA_ADD_PARTITIONS_TO_TXN, 0, 5, API_APPENDS, api_add_partitions_to_txn},
    {KAFKA_ADD_OFFSETS_TO_TXN, 0, 4, API_APPENDS, api_add_offsets_to_txn},
    {KAFKA_END_TXN, 0, 4, API_APPENDS, api_end_txn},
    {KAFKA_WRITE_TXN_MARKERS, 0, 1, API_APPENDS, api_write_txn_markers},
    {KAFKA_TXN_OFFSET_COMMIT, 0, 4, API_APPENDS, api_txn_offset_commit},
    {KAFKA_OFFSET_FOR_LEADER_EPOCH, 0, 4, 0, api_offset_for_leader_epoch},
    {KAFKA_DESCRIBE_CONFIGS, 0, 4, 0, api_describe_configs},
    {KAFKA_ALTER_CONFIGS, 0, 2, API_APPENDS, api_alter_configs},
    {KAFKA_DESCRIBE_LOG_DIRS, 0, 4, 0, api_describe_log_dirs},
    {KAFKA_CREATE_PARTITIONS, 0, 3, API_APPENDS, api_create_partitions},
    {KAFKA_DELETE_GROUPS, 0, 2, API_APPENDS, api_delete_groups},
    {KAFKA_ELECT_LEADERS, 0, 2, 0, api_elect_leaders},
    {KAFKA_INCREMENTAL_ALTER_CONFIGS, 0, 1, API_APPENDS, api_incremental_alter_configs},
    {KAFKA_ALTER_PARTITION_REASSIGNMENTS, 0, 0, 0, api_alter_partition_reassignments},
    {KAFKA_LIST_PARTITION_REASSIGNMENTS, 0, 0, 0, api_list_partition_reassignments},
    {KAFKA_OFFSET_DELETE, 0, 0, API_APPENDS, api_offset_delete},
    {KAFKA_DESCRIBE_CLIENT_QUOTAS, 0, 1, 0, api_describe_client_quotas},
    {KAFKA_ALTER_CLIENT_QUOTAS, 0, 1, API_APPENDS, api_alter_client_quotas},
    {KAFKA_SASL_HANDSHAKE, 0, 1, 0, api_sasl_handshake},
    {KAFKA_DESCRIBE_ACLS, 0, 3, 0, api_describe_acls},
    {KAFKA_CREATE_ACLS, 0, 3, API_APPENDS, api_create_acls},
    {KAFKA_DELETE_ACLS, 0, 3, API_APPENDS, api_delete_acls},
    {KAFKA_ALTER_REPLICA_LOG_DIRS, 0, 2, 0, api_alter_replica_log_dirs},
    {KAFKA_SASL_AUTHENTICATE, 0, 2, 0, api_sasl_authenticate},
    {KAFKA_CREATE_DELEGATION_TOKEN, 0, 3, 0, api_create_delegation_token},
    {KAFKA_RENEW_DELEGATION_TOKEN, 0, 2, 0, api_renew_delegation_token},
    {KAFKA_EXPIRE_DELEGATION_TOKEN, 0, 2, 0, api_expire_delegation_token},
    {KAFKA_DESCRIBE_DELEGATION_TOKEN, 0, 3, 0, api_describe_delegation_token},
    {KAFKA_DESCRIBE_USER_SCRAM_CREDENTIALS, 0, 0, 0, api_describe_user_scram_credentials},
    {KAFKA_ALTER_USER_SCRAM_CREDENTIALS, 0, 0, API_APPENDS, api_alter_user_scram_credentials},
    {KAFKA_DESCRIBE_QUORUM, 0, 1, 0, api_describe_quorum},
    {KAFKA_UPDATE_FEATURES, 0, 1, 0, api_update_features},
    {KAFKA_UNREGISTER_BROKER, 0, 0, 0, api_unregister_broker},
    {KAFKA_GET_TELEMETRY_SUBSCRIPTIONS, 0, 0, API_HIDDEN, api_get_telemetry_subscriptions},
    {KAFKA_PUSH_TELEMETRY, 0, 0, API_HIDDEN, api_push_telemetry},
    {KAFKA_LIST_CLIENT_METRICS_RESOURCES, 0, 1, 0, api_list_client_metrics_resources},
    {KAFKA_DESCRIBE_CLUSTER, 0, 1, 0, api_describe_cluster},
    {KAFKA_DESCRIBE_PRODUCERS, 0, 0, 0, api_describe_producers},
    {KAFKA_DESCRIBE_TRANSACTIONS, 0, 0, 0, api_describe_transactions},
    {KAFKA_LIST_TRANSACTIONS, 0, 1, 0, api_list_transactions},
    {KAFKA_CONSUMER_GROUP_HEARTBEAT, 0, 1, API_APPENDS, api_consumer_group_heartbeat},
    {KAFKA_CONSUMER_GROUP_DESCRIBE, 0, 1, 0, api_consumer_group_describe},
    {KAFKA_DESCRIBE_TOPIC_PARTITIONS, 0, 0, 0, api_describe_topic_partitions},
};

const struct api *api_of(int16_t key)
{
    static int8_t at[API_KEYS]; /* row + 1; 0: not looked up, -1: none */

    if (key < 0 || key >= API_KEYS) return NULL;
    if (!at[key]) {
        at[key] = -1;
        for (size_t i = 0; i < countof(apis); i++)
            if (apis[i].key == key) at[key] = (int8_t)(i + 1);
    }
    return at[key] > 0 ? &apis[at[key] - 1] : NULL;
}

const struct api *api_next(const struct api *a)
{
    if (!a) return apis;
    return a + 1 < apis + countof(apis) ? a + 1 : NULL;
}
