/* Entries of access control and filters for them, as requests have them: u16 length, u8 key (30 CreateAcls, 29 DescribeAcls, 31
 * DeleteAcls), u8 version, body, and so on. What a filter finds is what a plain comparison finds, and what applies to a name by
 * a filter is what decides about it. SPDX-License-Identifier: Apache-2.0 */
#include "broker/acl.h"
#include "kafka/message.h"
#include "kafka/msg/create_acls.h"
#include "kafka/msg/delete_acls.h"
#include "kafka/msg/describe_acls.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { ENTRIES_MAX = 64, HEAD_BYTES = 2 };

struct model { struct acls acls; struct acl list[ENTRIES_MAX]; size_t n; };

static bool same_text(struct str a, struct str b)
{
    return a.n == b.n && (!a.n || !memcmp(a.p, b.p, a.n));
}

static bool same(const struct acl *a, const struct acl *b)
{
    return a->type == b->type && a->pattern == b->pattern && a->operation == b->operation && a->permission == b->permission && same_text(a->name, b->name) &&
           same_text(a->principal, b->principal) && same_text(a->host, b->host);
}

/* An entry applies to a name when it is that name, everything, or its beginning. */
static bool applies(const struct acl *one, struct str name)
{
    if (one->pattern == ACL_LITERAL) return same_text(one->name, name) || same_text(one->name, STR("*"));
    return one->name.n <= name.n && !memcmp(one->name.p, name.p, one->name.n);
}

static bool plainly(const struct acl *f, const struct acl *one)
{
    if (f->type != ACL_RESOURCE_ANY && f->type != one->type) return false;
    if (f->operation != ACL_OPERATION_ANY && f->operation != one->operation) return false;
    if (f->permission != ACL_PERMISSION_ANY && f->permission != one->permission) return false;
    if (f->principal.p && !same_text(f->principal, one->principal)) return false;
    if (f->host.p && !same_text(f->host, one->host)) return false;
    if (f->pattern == ACL_MATCH) return !f->name.p || applies(one, f->name);
    return (f->pattern == ACL_PATTERN_ANY || f->pattern == one->pattern) && (!f->name.p || same_text(f->name, one->name));
}

static size_t find(const struct model *m, const struct acl *one)
{
    size_t i = 0;

    while (i < m->n && !same(&m->list[i], one)) i++;
    return i;
}

/* Of the entries that a walk shows and the filter wants, each is in the list, and they are as many. */
static void look(const struct model *m, const struct acl *f)
{
    struct acls_at at = {0};
    size_t walked = 0, found = 0, wanted = 0;
    struct acl one;

    while (acls_next(&m->acls, &at, &one)) {
        bool fits = acl_matches(f, &one);

        must(find(m, &one) < m->n && fits == plainly(f, &one));
        found += fits;
        walked++;
    }
    for (size_t i = 0; i < m->n; i++) wanted += plainly(f, &m->list[i]);
    must(walked == m->n && m->acls.n == m->n && found == wanted);
}

/* What a denial among those that apply to the name forbids is forbidden, and nothing is allowed that none of them allows. */
static void decide(const struct model *m, const struct acl *f)
{
    if (f->type <= ACL_RESOURCE_ANY || f->type >= ACL_RESOURCES || !f->name.n) return;
    for (size_t i = 0; i < m->n; i++) {
        const struct acl *who = &m->list[i];
        struct acl to_name = {f->type, ACL_MATCH, ACL_OPERATION_ANY, ACL_ALLOW, f->name, {0}, {0}};
        bool allowed = acls_allow(&m->acls, who->principal, who->host, (enum acl_operation)who->operation, (enum acl_resource)f->type, f->name), any = false;

        for (size_t k = 0; k < m->n; k++) any |= acl_matches(&to_name, &m->list[k]);
        must(!allowed || any);
        to_name.permission = ACL_DENY;
        must(!(allowed && acl_matches(&to_name, who)));
    }
}

static void delete_by(struct model *m, const struct acl *f)
{
    for (size_t i = m->n; i-- > 0;) {
        if (!acl_matches(f, &m->list[i])) continue;
        must(acls_remove(&m->acls, &m->list[i]) && !acls_remove(&m->acls, &m->list[i]));
        m->list[i] = m->list[--m->n];
    }
    look(m, f);
    for (size_t i = 0; i < m->n; i++) must(!plainly(f, &m->list[i]));
}

static void add(struct model *m, const struct acl *one)
{
    bool is_new = find(m, one) == m->n;

    if (m->n == ENTRIES_MAX || one->type <= ACL_RESOURCE_ANY || one->type >= ACL_RESOURCES || (one->pattern != ACL_LITERAL && one->pattern != ACL_PREFIXED) ||
        one->operation <= ACL_OPERATION_ANY || one->operation >= ACL_OPERATIONS || one->permission <= ACL_PERMISSION_ANY ||
        one->permission >= ACL_PERMISSIONS || !one->name.n || !one->principal.n || !one->host.n)
        return;
    must(acls_add(&m->acls, one) == is_new);
    if (is_new) m->list[m->n++] = *one;
}

static void created(struct model *m, const struct create_acls_request *q)
{
    for (size_t i = 0; i < q->creations_n; i++) {
        const struct create_acls_request_creation *c = &q->creations[i];

        add(m, &(struct acl){c->resource_type, c->resource_pattern_type, c->operation, c->permission_type, c->resource_name, c->principal, c->host});
    }
}

static void described(struct model *m, const struct describe_acls_request *q)
{
    struct acl f = {q->resource_type_filter, q->pattern_type_filter, q->operation, q->permission_type, q->resource_name_filter, q->principal_filter, q->host_filter};

    look(m, &f);
    decide(m, &f);
}

static void deleted(struct model *m, const struct delete_acls_request *q)
{
    for (size_t i = 0; i < q->filters_n; i++) {
        const struct delete_acls_request_filter *f = &q->filters[i];

        delete_by(m, &(struct acl){f->resource_type_filter, f->pattern_type_filter, f->operation, f->permission_type, f->resource_name_filter, f->principal_filter,
                                   f->host_filter});
    }
}

static void request(struct model *m, struct bytes b, struct arena *a)
{
    const struct kafka_api *api = b.n >= HEAD_BYTES ? kafka_api_of(b.p[0]) : NULL;
    const struct kafka_message *message;
    void *q;
    struct rd r;

    if (!api || b.p[0] < KAFKA_DESCRIBE_ACLS || b.p[0] > KAFKA_DELETE_ACLS || !kafka_api_has(api, b.p[1])) return;
    message = kafka_message_of(KAFKA_MESSAGE_REQUEST, b.p[0]);
    q = xcalloc(1, message->size);
    rd_init(&r, bytes_of(b.p + HEAD_BYTES, b.n - HEAD_BYTES));
    if (message->decode(&r, b.p[1], a, q)) {
        if (b.p[0] == KAFKA_CREATE_ACLS) created(m, q);
        else if (b.p[0] == KAFKA_DESCRIBE_ACLS) described(m, q);
        else deleted(m, q);
    }
    free(q);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct model m = {.acls.on = true};
    struct arena a = {0};

    if (size > 1 << 14) return 0;
    for (size_t at = 0, n; size - at >= 2; at += 2 + n) {
        n = MIN((size_t)load_be16(data + at), size - at - 2);
        request(&m, bytes_of(data + at + 2, n), &a);
    }
    acls_fini(&m.acls);
    arena_fini(&a);
    return 0;
}
