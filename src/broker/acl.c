/* Entries stand with their resource, by principal; see acl.h. SPDX-License-Identifier: Apache-2.0 */
#include "broker/acl.h"

#include "base/buf.h"

struct acl_entry {
    struct str principal, host; /* owned */
    int8_t operation, permission;
};

/* One resource pattern and what is said about it. With many entries a principal's are found by hash. */
struct acl_node {
    int8_t type, pattern;
    struct str name;           /* owned */
    struct acl_entry *entries; /* by principal: those of one stand together */
    size_t n, cap;
};

/* ---- the key of a node ---- */

enum { KEY_ON_STACK = 300 };

struct node_key {
    uint8_t room[KEY_ON_STACK], *p;
    size_t n;
};

static void node_key_fini(struct node_key *k)
{
    if (k->p != k->room) free(k->p);
}

static struct bytes node_key(struct node_key *k, int8_t type, int8_t pattern, struct str name)
{
    k->n = 2 + name.n;
    k->p = k->n <= sizeof k->room ? k->room : xcalloc(1, k->n);
    k->p[0] = (uint8_t)type;
    k->p[1] = (uint8_t)pattern;
    if (name.n) memcpy(k->p + 2, name.p, name.n);
    return (struct bytes){k->p, k->n};
}

static struct acl_node *node_get(const struct acls *a, int8_t type, int8_t pattern, struct str name)
{
    AUTO(node_key_fini) struct node_key k;

    return map_get(&a->nodes, node_key(&k, type, pattern, name));
}

/* ---- lengths of the prefixes there are ---- */

static void prefix_count(struct acls *a, int8_t type, size_t length, bool more)
{
    size_t i = 0;
    size_t n = a->prefixes[type].n;
    size_t *lengths = a->prefixes[type].lengths, *counts = a->prefixes[type].counts;

    while (i < n && lengths[i] < length)
        i++;
    if (i < n && lengths[i] == length) {
        counts[i] += more ? (size_t)1 : (size_t)-1;
        if (counts[i]) return;
        memmove(lengths + i, lengths + i + 1, (n - i - 1) * sizeof *lengths);
        memmove(counts + i, counts + i + 1, (n - i - 1) * sizeof *counts);
        a->prefixes[type].n--;
        return;
    }
    must(more);
    lengths = xrealloc(lengths, n + 1, sizeof *lengths);
    counts = xrealloc(counts, n + 1, sizeof *counts);
    memmove(lengths + i + 1, lengths + i, (n - i) * sizeof *lengths);
    memmove(counts + i + 1, counts + i, (n - i) * sizeof *counts);
    lengths[i] = length;
    counts[i] = 1;
    a->prefixes[type].lengths = lengths;
    a->prefixes[type].counts = counts;
    a->prefixes[type].n++;
}

/* ---- entries ---- */

static void entry_fini(struct acl_entry *e)
{
    str_drop(&e->principal);
    str_drop(&e->host);
}

static void node_delete(void *p)
{
    struct acl_node *n = p;

    for (size_t i = 0; i < n->n; i++)
        entry_fini(&n->entries[i]);
    free(n->entries);
    str_drop(&n->name);
    free(n);
}

/* The first entry whose principal is not smaller. */
static size_t entries_of(const struct acl_node *n, struct str principal)
{
    size_t lo = 0, hi = n->n;

    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;

        if (str_cmp(n->entries[mid].principal, principal) < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

static size_t entry_find(const struct acl_node *n, const struct acl *one)
{
    for (size_t i = entries_of(n, one->principal);
         i < n->n && str_eq(n->entries[i].principal, one->principal); i++)
        if (n->entries[i].operation == one->operation &&
            n->entries[i].permission == one->permission && str_eq(n->entries[i].host, one->host))
            return i;
    return SIZE_MAX;
}

bool acls_add(struct acls *a, const struct acl *one)
{
    AUTO(node_key_fini) struct node_key k;
    struct bytes key = node_key(&k, one->type, one->pattern, one->name);
    struct acl_node *n = map_get(&a->nodes, key);
    size_t at;

    if (n && entry_find(n, one) != SIZE_MAX) return false;
    if (!n) {
        n = xnew(struct acl_node);
        n->type = one->type;
        n->pattern = one->pattern;
        n->name = str_own(one->name);
        map_put(&a->nodes, key, n);
        if (n->pattern == ACL_PREFIXED) prefix_count(a, n->type, n->name.n, true);
    }
    if (n->n == n->cap) {
        n->cap = MAX(n->cap * 2, (size_t)2);
        n->entries = xrealloc(n->entries, n->cap, sizeof *n->entries);
    }
    at = entries_of(n, one->principal);
    memmove(n->entries + at + 1, n->entries + at, (n->n - at) * sizeof *n->entries);
    n->entries[at] = (struct acl_entry){.principal = str_own(one->principal),
                                        .host = str_own(one->host),
                                        .operation = one->operation,
                                        .permission = one->permission};
    n->n++;
    a->n++;
    return true;
}

bool acls_remove(struct acls *a, const struct acl *one)
{
    AUTO(node_key_fini) struct node_key k;
    struct bytes key = node_key(&k, one->type, one->pattern, one->name);
    struct acl_node *n = map_get(&a->nodes, key);
    size_t at = n ? entry_find(n, one) : SIZE_MAX;

    if (at == SIZE_MAX) return false;
    entry_fini(&n->entries[at]);
    memmove(n->entries + at, n->entries + at + 1, (n->n - at - 1) * sizeof *n->entries);
    n->n--;
    a->n--;
    if (n->n) return true;
    map_del(&a->nodes, key);
    if (n->pattern == ACL_PREFIXED) prefix_count(a, n->type, n->name.n, false);
    node_delete(n);
    return true;
}

bool acls_next(const struct acls *a, struct acls_at *at, struct acl *ret)
{
    struct bytes key;
    void *value;

    while (!at->in || at->entry == at->in->n) {
        if (!map_next(&a->nodes, &at->node, &key, &value)) return false;
        at->in = value;
        at->entry = 0;
    }
    const struct acl_entry *e = &at->in->entries[at->entry++];
    *ret = (struct acl){.type = at->in->type,
                        .pattern = at->in->pattern,
                        .name = at->in->name,
                        .principal = e->principal,
                        .host = e->host,
                        .operation = e->operation,
                        .permission = e->permission};
    return true;
}

size_t acls_of_resource(const struct acls_at *at)
{
    return at->in->n;
}

void acls_super_add(struct acls *a, struct str principal)
{
    map_put_str(&a->super, principal, a);
}

bool acls_is_super(const struct acls *a, struct str principal)
{
    return map_get_str(&a->super, principal) != NULL;
}

void acls_fini(struct acls *a)
{
    map_fini_each(&a->nodes, node_delete);
    map_fini(&a->super);
    for (size_t i = 0; i < ACL_RESOURCES; i++) {
        free(a->prefixes[i].lengths);
        free(a->prefixes[i].counts);
    }
    *a = (struct acls){0};
}

/* ---- deciding ---- */

struct verdict {
    bool any_entry, allowed, denied;
};

static bool gives(enum acl_operation op, const struct acl_entry *e)
{
    if (e->operation == ACL_ALL || e->operation == (int8_t)op) return true;
    if (e->permission != ACL_ALLOW) return false;
    if (op == ACL_DESCRIBE)
        return e->operation == ACL_READ || e->operation == ACL_WRITE ||
               e->operation == ACL_DELETE || e->operation == ACL_ALTER;
    return op == ACL_DESCRIBE_CONFIGS && e->operation == ACL_ALTER_CONFIGS;
}

static bool host_fits(struct str entry, struct str host)
{
    return str_is(entry, "*") || str_eq(entry, host);
}

static void look_at(const struct acl_node *n, struct str principal, struct str host,
                    enum acl_operation op, struct verdict *v)
{
    if (!n) return;
    v->any_entry = true;
    for (size_t i = entries_of(n, principal);
         i < n->n && str_eq(n->entries[i].principal, principal); i++) {
        const struct acl_entry *e = &n->entries[i];

        if (!host_fits(e->host, host) || !gives(op, e)) continue;
        if (e->permission == ACL_DENY)
            v->denied = true;
        else
            v->allowed = true;
    }
}

/* Everybody's entries too, except where the asker is everybody. */
static void look_twice(const struct acl_node *n, struct str principal, struct str host,
                       enum acl_operation op, struct verdict *v)
{
    look_at(n, principal, host, op, v);
    look_at(n, STR("User:*"), host, op, v);
}

static void look_for(const struct acls *a, struct str principal, struct str host,
                     enum acl_operation op, enum acl_resource type, struct str name,
                     struct verdict *v)
{
    look_twice(node_get(a, (int8_t)type, ACL_LITERAL, name), principal, host, op, v);
    look_twice(node_get(a, (int8_t)type, ACL_LITERAL, STR("*")), principal, host, op, v);
    for (size_t i = 0; i < a->prefixes[type].n && a->prefixes[type].lengths[i] <= name.n; i++) {
        struct str start = {name.p, a->prefixes[type].lengths[i]};

        look_twice(node_get(a, (int8_t)type, ACL_PREFIXED, start), principal, host, op, v);
    }
}

bool acls_allow(const struct acls *a, struct str principal, struct str host, enum acl_operation op,
                enum acl_resource type, struct str name)
{
    struct verdict v = {0};

    if (acls_is_super(a, principal)) return true;
    look_for(a, principal, host, op, type, name, &v);
    if (v.denied) return false;
    if (v.allowed) return true;
    return !v.any_entry && a->allow_everyone;
}

/* An entry that allows counts unless one that denies covers all its resources. */
static bool covered_by_denial(const struct acls *a, struct str principal, struct str host,
                              enum acl_operation op, const struct acl_node *n)
{
    struct verdict v = {0};

    look_for(a, principal, host, op, (enum acl_resource)n->type, n->name, &v);
    return v.denied;
}

bool acls_allow_any(const struct acls *a, struct str principal, struct str host,
                    enum acl_operation op, enum acl_resource type)
{
    struct verdict all = {0};
    struct bytes key;
    void *value;

    if (acls_is_super(a, principal)) return true;
    look_twice(node_get(a, (int8_t)type, ACL_LITERAL, STR("*")), principal, host, op, &all);
    if (all.denied) return false;
    if (all.allowed || a->allow_everyone) return true;
    for (size_t at = 0; map_next(&a->nodes, &at, &key, &value);) {
        const struct acl_node *n = value;
        struct verdict v = {0};

        if (n->type != (int8_t)type) continue;
        look_twice(n, principal, host, op, &v);
        if (v.allowed && !v.denied && !covered_by_denial(a, principal, host, op, n)) return true;
    }
    return false;
}

/* ---- filters ---- */

static bool number_fits(int8_t filter, int8_t value)
{
    return filter == 1 || filter == value;
}

static bool text_fits(struct str filter, struct str value)
{
    return !filter.p || str_eq(filter, value);
}

static bool pattern_fits(const struct acl *filter, const struct acl *one)
{
    if (filter->pattern != ACL_MATCH)
        return number_fits(filter->pattern, one->pattern) && text_fits(filter->name, one->name);
    if (!filter->name.p) return true;
    if (one->pattern == ACL_PREFIXED) return str_starts(filter->name, one->name);
    return str_eq(filter->name, one->name) || str_is(one->name, "*");
}

bool acl_matches(const struct acl *filter, const struct acl *one)
{
    return number_fits(filter->type, one->type) && pattern_fits(filter, one) &&
           text_fits(filter->principal, one->principal) && text_fits(filter->host, one->host) &&
           number_fits(filter->operation, one->operation) &&
           number_fits(filter->permission, one->permission);
}
