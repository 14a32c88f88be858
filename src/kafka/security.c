/* SPDX-License-Identifier: Apache-2.0 */
#include "kafka/security.h"


const char *acl_resource_name(int8_t type)
{
    static const char *const names[ACL_RESOURCES] = {
        NULL, "Any", "Topic", "Group", "Cluster", "TransactionalId", "DelegationToken", "User"};

    return type > 0 && type < ACL_RESOURCES ? names[type] : NULL;
}

const char *acl_operation_name(int8_t operation)
{
    static const char *const names[ACL_OPERATIONS] = {NULL,
                                                      "Any",
                                                      "All",
                                                      "Read",
                                                      "Write",
                                                      "Create",
                                                      "Delete",
                                                      "Alter",
                                                      "Describe",
                                                      "ClusterAction",
                                                      "DescribeConfigs",
                                                      "AlterConfigs",
                                                      "IdempotentWrite",
                                                      "CreateTokens",
                                                      "DescribeTokens"};

    return operation > 0 && operation < ACL_OPERATIONS ? names[operation] : NULL;
}
