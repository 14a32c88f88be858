/* DescribeAcls (key 29), CreateAcls (30), DeleteAcls (31): who may do what, KIP-140 and KIP-290. Without an authorizer they say so (54).
 * SPDX-License-Identifier: Apache-2.0
 */
#include "broker/api.h"
#include "kafka/msg/create_acls.h"
#include "kafka/msg/delete_acls.h"
#include "kafka/msg/describe_acls.h"

static const char no_authorizer[] = "no authorizer is configured";
static const char not_allowed[] = "ALTER on the cluster is not allowed";

/* ---- describing ---- */

typedef struct describe_acls_response_resource shown;
typedef struct describe_acls_response_acl shown_acl;

static const char *filter_refusal(const struct acl *f)
{
    if (f->type < ACL_RESOURCE_ANY || f->type >= ACL_RESOURCES) return "unknown resource type";
    if (f->pattern < ACL_PATTERN_ANY || f->pattern >= ACL_PATTERNS) return "unknown pattern type";
    if (f->operation < ACL_OPERATION_ANY || f->operation >= ACL_OPERATIONS)
        return "unknown operation";
    if (f->permission < ACL_PERMISSION_ANY || f->permission >= ACL_PERMISSIONS)
        return "unknown permission type";
    return NULL;
}

/* The entries of one resource pattern follow each other. */
static void show(struct request *r, const struct acl *filter, struct describe_acls_response *a)
{
    const struct acls *all = &r->broker->acls;
    struct acls_at at = {0};
    const struct acl_node *in = NULL;
    shown *to = NULL;
    struct acl one;

    a->resources = arena_array(&r->arena, shown, all->nodes.n);
    while (acls_next(all, &at, &one)) {
        if (!acl_matches(filter, &one)) continue;
        if (at.in != in) {
            in = at.in;
            to = &a->resources[a->resources_n++];
            *to = (shown){
                .resource_type = one.type, .resource_name = one.name, .pattern_type = one.pattern};
            to->acls = arena_array(&r->arena, shown_acl, acls_of_resource(&at));
        }
        to->acls[to->acls_n++] = (shown_acl){.principal = one.principal,
                                             .host = one.host,
                                             .operation = one.operation,
                                             .permission_type = one.permission};
    }
}

void api_describe_acls(struct request *r)
{
    const struct describe_acls_request *q = request_decode(r);
    struct describe_acls_response a = {0};
    const char *why;

    if (!q) return;
    struct acl filter = {.type = q->resource_type_filter,
                         .pattern = q->pattern_type_filter,
                         .operation = q->operation,
                         .permission = q->permission_type,
                         .name = q->resource_name_filter,
                         .principal = q->principal_filter,
                         .host = q->host_filter};
    if (!r->broker->acls.on) {
        a.error_code = KAFKA_ERR_SECURITY_DISABLED;
        a.error_message = str_of(no_authorizer);
    } else if (!request_allows_cluster(r, ACL_DESCRIBE)) {
        a.error_code = KAFKA_ERR_CLUSTER_AUTHORIZATION_FAILED;
        a.error_message = STR("DESCRIBE on the cluster is not allowed");
    } else if ((why = filter_refusal(&filter))) {
        a.error_code = KAFKA_ERR_INVALID_REQUEST;
        a.error_message = str_of(why);
    } else {
        show(r, &filter, &a);
    }
    request_answer_when(r, &a, r->broker->meta_seq);
}

/* ---- creating ---- */

static const char *creation_refusal(const struct acl *c)
{
    const char *why = filter_refusal(c);

    if (why) return why;
    if (c->type == ACL_RESOURCE_ANY) return "one type of resource is wanted";
    if (c->pattern != ACL_LITERAL && c->pattern != ACL_PREFIXED)
        return "a literal or prefixed pattern is wanted";
    if (c->operation == ACL_OPERATION_ANY) return "one operation is wanted, or ALL";
    if (c->permission == ACL_PERMISSION_ANY) return "ALLOW or DENY is wanted";
    if (!c->name.n) return "the resource has no name";
    if (c->type == ACL_CLUSTER && !str_eq(c->name, ACL_CLUSTER_NAME))
        return "the cluster's name is kafka-cluster";
    if (c->name.n + c->principal.n + c->host.n > ACL_TEXT_BYTES_MAX)
        return "the names are too long";
    if (!c->principal.n) return "the principal has no name";
    if (!c->host.n) return "the host has no name; * is every host";
    return NULL;
}

static void create(struct request *r, const struct acl *one,
                   struct create_acls_response_result *row)
{
    const char *why = creation_refusal(one);
    uint64_t seq;
    struct err e;

    if (!request_allows_cluster(r, ACL_ALTER)) {
        row->error_code = KAFKA_ERR_CLUSTER_AUTHORIZATION_FAILED;
        row->error_message = str_of(not_allowed);
    } else if (why) {
        row->error_code = KAFKA_ERR_INVALID_REQUEST;
        row->error_message = str_of(why);
    } else if (broker_acl_add(r->broker, one, &seq, &e)) {
        row->error_code = kafka_error_of(&e);
        row->error_message = arena_dup_str(&r->arena, str_of(e.text));
    }
}

void api_create_acls(struct request *r)
{
    const struct create_acls_request *q = request_decode(r);
    struct create_acls_response a = {0};

    if (!q) return;
    a.results_n = q->creations_n;
    a.results = arena_array(&r->arena, struct create_acls_response_result, a.results_n);
    for (size_t i = 0; i < a.results_n; i++) {
        const struct create_acls_request_creation *c = &q->creations[i];
        struct acl one = {.type = c->resource_type,
                          .pattern = c->resource_pattern_type,
                          .operation = c->operation,
                          .permission = c->permission_type,
                          .name = c->resource_name,
                          .principal = c->principal,
                          .host = c->host};

        if (r->broker->acls.on) {
            create(r, &one, &a.results[i]);
            continue;
        }
        a.results[i].error_code = KAFKA_ERR_SECURITY_DISABLED;
        a.results[i].error_message = str_of(no_authorizer);
    }
    request_answer_when(r, &a, r->broker->meta_seq);
}

/* ---- deleting ---- */

typedef struct delete_acls_response_filter_result deleted;
typedef struct delete_acls_response_matching_acl deleted_acl;

static deleted_acl copy_of(struct request *r, const struct acl *one)
{
    return (deleted_acl){.resource_type = one->type,
                         .resource_name = arena_dup_str(&r->arena, one->name),
                         .pattern_type = one->pattern,
                         .principal = arena_dup_str(&r->arena, one->principal),
                         .host = arena_dup_str(&r->arena, one->host),
                         .operation = one->operation,
                         .permission_type = one->permission};
}

static void delete_one(struct request *r, deleted_acl *row)
{
    struct acl one = {.type = row->resource_type,
                      .pattern = row->pattern_type,
                      .operation = row->operation,
                      .permission = row->permission_type,
                      .name = row->resource_name,
                      .principal = row->principal,
                      .host = row->host};
    uint64_t seq;
    struct err e;

    if (!broker_acl_remove(r->broker, &one, &seq, &e)) return;
    row->error_code = kafka_error_of(&e);
    row->error_message = arena_dup_str(&r->arena, str_of(e.text));
}

/* What matches is copied first: the walk must not see the table change. */
static void delete_matching(struct request *r, const struct acl *filter, deleted *row)
{
    const struct acls *all = &r->broker->acls;
    struct acls_at at = {0};
    struct acl one;
    size_t n = 0;

    while (acls_next(all, &at, &one))
        n += acl_matches(filter, &one);
    row->matching_acls = arena_array(&r->arena, deleted_acl, n);
    at = (struct acls_at){0};
    while (acls_next(all, &at, &one))
        if (acl_matches(filter, &one))
            row->matching_acls[row->matching_acls_n++] = copy_of(r, &one);
    for (size_t i = 0; i < row->matching_acls_n; i++)
        delete_one(r, &row->matching_acls[i]);
}

static void delete_by(struct request *r, const struct acl *filter, deleted *row)
{
    const char *why = filter_refusal(filter);

    if (!r->broker->acls.on) {
        row->error_code = KAFKA_ERR_SECURITY_DISABLED;
        row->error_message = str_of(no_authorizer);
    } else if (!request_allows_cluster(r, ACL_ALTER)) {
        row->error_code = KAFKA_ERR_CLUSTER_AUTHORIZATION_FAILED;
        row->error_message = str_of(not_allowed);
    } else if (why) {
        row->error_code = KAFKA_ERR_INVALID_REQUEST;
        row->error_message = str_of(why);
    } else {
        delete_matching(r, filter, row);
    }
}

void api_delete_acls(struct request *r)
{
    const struct delete_acls_request *q = request_decode(r);
    struct delete_acls_response a = {0};

    if (!q) return;
    a.filter_results_n = q->filters_n;
    a.filter_results = arena_array(&r->arena, deleted, a.filter_results_n);
    for (size_t i = 0; i < q->filters_n; i++) {
        const struct delete_acls_request_filter *f = &q->filters[i];
        struct acl filter = {.type = f->resource_type_filter,
                             .pattern = f->pattern_type_filter,
                             .operation = f->operation,
                             .permission = f->permission_type,
                             .name = f->resource_name_filter,
                             .principal = f->principal_filter,
                             .host = f->host_filter};

        delete_by(r, &filter, &a.filter_results[i]);
    }
    request_answer_when(r, &a, r->broker->meta_seq);
}
