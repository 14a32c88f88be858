/* kafka/security.h - the numbers of access control lists and of password hashes on the wire, and what tools call them. Pure.
 *
 * Used by: broker/, cli/.   SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/bytes.h"

enum acl_resource { ACL_RESOURCE_ANY = 1, ACL_TOPIC, ACL_GROUP, ACL_CLUSTER, ACL_TRANSACTIONAL_ID, ACL_DELEGATION_TOKEN, ACL_USER, ACL_RESOURCES };
enum acl_pattern { ACL_PATTERN_ANY = 1, ACL_MATCH, ACL_LITERAL, ACL_PREFIXED, ACL_PATTERNS };
enum acl_operation {
    ACL_OPERATION_ANY = 1, ACL_ALL, ACL_READ, ACL_WRITE, ACL_CREATE, ACL_DELETE, ACL_ALTER, ACL_DESCRIBE, ACL_CLUSTER_ACTION,
    ACL_DESCRIBE_CONFIGS, ACL_ALTER_CONFIGS, ACL_IDEMPOTENT_WRITE, ACL_CREATE_TOKENS, ACL_DESCRIBE_TOKENS, ACL_OPERATIONS
};
enum acl_permission { ACL_PERMISSION_ANY = 1, ACL_DENY, ACL_ALLOW, ACL_PERMISSIONS };

#define ACL_CLUSTER_NAME STR("kafka-cluster")

struct acl {
    int8_t type, pattern, operation, permission;
    struct str name, principal, host;    /* principal: "User:alice", "User:*"; host: an address, or * */
};

/* As kafka-acls writes them: "Topic", "DescribeConfigs", … NULL: no such number. */
const char *acl_resource_name(int8_t type);
const char *acl_operation_name(int8_t operation);

enum scram_hash { SCRAM_SHA_256 = 1, SCRAM_SHA_512 = 2 };
enum { SCRAM_ITERATIONS_MIN = 4096, SCRAM_ITERATIONS_MAX = 16384 };
