/* Who asks, and whether it may. What each request needs: docs/security.md. SPDX-License-Identifier: Apache-2.0 */
#include "base/diag.h"
#include "broker/api.h"

struct str request_principal(const struct request *r)
{
    return r->conn->principal.p ? r->conn->principal : STR("User:ANONYMOUS");
}

struct str request_user(const struct request *r)
{
    struct str type, name;

    return str_cut(request_principal(r), ':', &type, &name) ? name : type;
}

static bool refused(struct request *r, enum acl_operation op, enum acl_resource type,
                    struct str name)
{
    r->broker->stats.denied++;
    diag(DIAG_DEBUG, "acl.denied", KV_STR("principal", request_principal(r)),
         KV_CSTR("host", r->conn->host), KV_CSTR("operation", acl_operation_name((int8_t)op)),
         KV_CSTR("resource", acl_resource_name((int8_t)type)), KV_STR("name", name),
         KV_CSTR("api", r->h.api ? r->h.api->name : "?"));
    return false;
}

bool request_allows(struct request *r, enum acl_operation op, enum acl_resource type,
                    struct str name)
{
    const struct acls *a = &r->broker->acls;

    if (!a->on || r->conn->inside ||
        acls_allow(a, request_principal(r), str_of(r->conn->host), op, type, name))
        return true;
    return refused(r, op, type, name);
}

bool request_allows_any(struct request *r, enum acl_operation op, enum acl_resource type)
{
    const struct acls *a = &r->broker->acls;

    if (!a->on || r->conn->inside ||
        acls_allow_any(a, request_principal(r), str_of(r->conn->host), op, type))
        return true;
    return refused(r, op, type, STR("any"));
}

/* The operations that there are for a resource. */
static uint32_t operations_of(enum acl_resource type)
{
    uint32_t configs = 1 << ACL_DESCRIBE_CONFIGS | 1 << ACL_ALTER_CONFIGS;

    if (type == ACL_TOPIC)
        return 1 << ACL_READ | 1 << ACL_WRITE | 1 << ACL_CREATE | 1 << ACL_DELETE | 1 << ACL_ALTER |
               1 << ACL_DESCRIBE | configs;
    if (type == ACL_GROUP) return 1 << ACL_READ | 1 << ACL_DELETE | 1 << ACL_DESCRIBE;
    return 1 << ACL_CREATE | 1 << ACL_ALTER | 1 << ACL_DESCRIBE | 1 << ACL_CLUSTER_ACTION |
           configs | 1 << ACL_IDEMPOTENT_WRITE;
}

int32_t request_operations(struct request *r, enum acl_resource type, struct str name)
{
    const struct acls *a = &r->broker->acls;
    uint32_t all = operations_of(type), given = 0;

    if (!a->on || r->conn->inside) return (int32_t)all;
    for (int op = ACL_READ; op < ACL_OPERATIONS; op++)
        if (all & 1u << op && acls_allow(a, request_principal(r), str_of(r->conn->host),
                                         (enum acl_operation)op, type, name))
            given |= 1u << op;
    return (int32_t)given;
}
