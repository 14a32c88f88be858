/* bus/remote_lib.h - librdkafka's functions, found when the library is loaded. Used by: bus/remote*.c only.
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/err.h"
#include <librdkafka/rdkafka.h>

/* Every function used, once. A field of struct kafka_lib has the name and the type of the library's function. */
#define KAFKA_LIB_FUNCTIONS(X)                                                                                         \
    X(rd_kafka_AdminOptions_destroy) X(rd_kafka_AdminOptions_new) X(rd_kafka_AdminOptions_set_request_timeout)         \
    X(rd_kafka_AlterConsumerGroupOffsets) X(rd_kafka_AlterConsumerGroupOffsets_destroy)                                \
    X(rd_kafka_AlterConsumerGroupOffsets_new) X(rd_kafka_AlterConsumerGroupOffsets_result_groups)                      \
    X(rd_kafka_ConfigEntry_name) X(rd_kafka_ConfigEntry_value) X(rd_kafka_ConfigResource_configs)                      \
    X(rd_kafka_ConfigResource_destroy) X(rd_kafka_ConfigResource_error) X(rd_kafka_ConfigResource_new)                 \
    X(rd_kafka_CreateTopics) X(rd_kafka_CreateTopics_result_topics) X(rd_kafka_DeleteGroup_destroy)                    \
    X(rd_kafka_DeleteGroup_new) X(rd_kafka_DeleteGroups) X(rd_kafka_DeleteGroups_result_groups)                        \
    X(rd_kafka_DeleteTopic_destroy) X(rd_kafka_DeleteTopic_new) X(rd_kafka_DeleteTopics)                               \
    X(rd_kafka_DeleteTopics_result_topics) X(rd_kafka_DescribeConfigs) X(rd_kafka_DescribeConfigs_result_resources)    \
    X(rd_kafka_ListConsumerGroupOffsets) X(rd_kafka_ListConsumerGroupOffsets_destroy)                                  \
    X(rd_kafka_ListConsumerGroupOffsets_new) X(rd_kafka_ListConsumerGroupOffsets_result_groups)                        \
    X(rd_kafka_NewTopic_destroy) X(rd_kafka_NewTopic_new) X(rd_kafka_NewTopic_set_config) X(rd_kafka_clusterid)        \
    X(rd_kafka_conf_destroy) X(rd_kafka_conf_new) X(rd_kafka_conf_set) X(rd_kafka_conf_set_connect_cb)                   \
    X(rd_kafka_conf_set_error_cb) X(rd_kafka_conf_set_events) X(rd_kafka_conf_set_log_cb) X(rd_kafka_conf_set_opaque) X(rd_kafka_consume_queue)      \
    X(rd_kafka_consume_start_queue) X(rd_kafka_consume_stop) X(rd_kafka_destroy) X(rd_kafka_destroy_flags)             \
    X(rd_kafka_err2str) X(rd_kafka_error_code) X(rd_kafka_error_string) X(rd_kafka_event_AlterConsumerGroupOffsets_result) \
    X(rd_kafka_event_CreateTopics_result) X(rd_kafka_event_DeleteGroups_result) X(rd_kafka_event_DeleteTopics_result)  \
    X(rd_kafka_event_DescribeConfigs_result) X(rd_kafka_event_ListConsumerGroupOffsets_result)                         \
    X(rd_kafka_event_destroy) X(rd_kafka_event_error) X(rd_kafka_event_error_string) X(rd_kafka_event_message_next)    \
    X(rd_kafka_event_type) X(rd_kafka_flush) X(rd_kafka_get_watermark_offsets)                        \
    X(rd_kafka_group_result_error) X(rd_kafka_group_result_partitions) X(rd_kafka_header_cnt)                          \
    X(rd_kafka_header_get_all) X(rd_kafka_mem_free) X(rd_kafka_message_destroy) X(rd_kafka_message_headers) X(rd_kafka_message_status) X(rd_kafka_fatal_error)            \
    X(rd_kafka_message_timestamp) X(rd_kafka_metadata) X(rd_kafka_metadata_destroy) X(rd_kafka_new) X(rd_kafka_opaque) \
    X(rd_kafka_poll) X(rd_kafka_produceva) X(rd_kafka_error_destroy) X(rd_kafka_query_watermark_offsets)               \
    X(rd_kafka_queue_destroy) X(rd_kafka_queue_get_main) X(rd_kafka_queue_io_event_enable) X(rd_kafka_queue_new)       \
    X(rd_kafka_queue_poll) X(rd_kafka_purge) X(rd_kafka_topic_destroy) X(rd_kafka_topic_new)                           \
    X(rd_kafka_topic_partition_list_add) X(rd_kafka_topic_partition_list_destroy)                                      \
    X(rd_kafka_topic_partition_list_new) X(rd_kafka_topic_result_error) X(rd_kafka_topic_result_error_string)          \
    X(rd_kafka_assign) X(rd_kafka_assignment_lost) X(rd_kafka_conf_set_rebalance_cb) X(rd_kafka_consumer_close)         \
    X(rd_kafka_consumer_poll) X(rd_kafka_incremental_assign) X(rd_kafka_incremental_unassign)                          \
    X(rd_kafka_pause_partitions) X(rd_kafka_queue_get_consumer) X(rd_kafka_rebalance_protocol) X(rd_kafka_subscribe)   \
    X(rd_kafka_ConsumerGroupDescription_error) X(rd_kafka_ConsumerGroupDescription_group_id)                           \
    X(rd_kafka_ConsumerGroupDescription_member) X(rd_kafka_ConsumerGroupDescription_member_count)                      \
    X(rd_kafka_ConsumerGroupListing_group_id) X(rd_kafka_DeleteConsumerGroupOffsets)                                   \
    X(rd_kafka_DeleteConsumerGroupOffsets_destroy) X(rd_kafka_DeleteConsumerGroupOffsets_new)                          \
    X(rd_kafka_DeleteConsumerGroupOffsets_result_groups) X(rd_kafka_DescribeConsumerGroups)                            \
    X(rd_kafka_DescribeConsumerGroups_result_groups) X(rd_kafka_ListConsumerGroups)                                    \
    X(rd_kafka_ListConsumerGroups_result_valid) X(rd_kafka_MemberAssignment_partitions)                                \
    X(rd_kafka_MemberDescription_assignment) X(rd_kafka_event_DeleteConsumerGroupOffsets_result)                       \
    X(rd_kafka_event_DescribeConsumerGroups_result) X(rd_kafka_event_ListConsumerGroups_result)                        \
    X(rd_kafka_conf_set_oauthbearer_token_refresh_cb) X(rd_kafka_conf_set_ssl_cert_verify_cb)                          \
    X(rd_kafka_oauthbearer_set_token) X(rd_kafka_oauthbearer_set_token_failure) X(rd_kafka_sasl_set_credentials)       \
    X(rd_kafka_topic_partition_list_copy) X(rd_kafka_version) X(rd_kafka_version_str)

struct kafka_lib {
#define KAFKA_LIB_FIELD(name) __typeof__(name) *name;
    KAFKA_LIB_FUNCTIONS(KAFKA_LIB_FIELD)
#undef KAFKA_LIB_FIELD
};

/* Loads the library once per process; from any thread. RC_UNSUPPORTED when it is not there. */
enum rc kafka_lib_get(const struct kafka_lib **ret, struct err *e) MUST_USE;

/* librdkafka's error as ours: what it means for an operation, with the words operators search for. e->sys is its code. */
enum rc kafka_lib_error(const struct kafka_lib *k, rd_kafka_resp_err_t code, const char *detail, struct err *e);
