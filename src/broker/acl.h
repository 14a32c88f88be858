/* broker/acl.h - who may do what: access control lists as Kafka's (KIP-11, KIP-290), and the decision.
 *
 * An entry gives a principal, from a host, an operation on the resources that a pattern names. What is allowed:
 *   super users may do everything;
 *   an entry that denies wins over all that allow;
 *   READ, WRITE, DELETE and ALTER allow DESCRIBE too, and ALTER_CONFIGS allows DESCRIBE_CONFIGS; a denial implies nothing;
 *   without any entry about the resource it is `allow_everyone` that decides; else what is not allowed is denied.
 * A decision looks up the name, the wildcard, and the name's beginnings in the lengths there are, so it costs the same with
 * ten entries and with ten thousand. Owns its texts.
 * Lives on: the broker loop.   Used by: broker/, broker/api/.   SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/map.h"
#include "kafka/security.h"

enum { ACL_ENTRIES_MAX = 100000, ACL_TEXT_BYTES_MAX = 4096 };

/* A filter: ANY in the numbers and .p NULL in the texts match everything; ACL_MATCH with a name matches every pattern that
 * would apply to it. */
bool acl_matches(const struct acl *filter, const struct acl *one);

struct acl_node;
struct acls {
    bool on, allow_everyone;
    struct map super;                    /* principal -> anything */
    struct map nodes;                    /* type, pattern, name -> struct acl_node */
    size_t n;
    struct { size_t *lengths, *counts, n; } prefixes[ACL_RESOURCES];   /* in use, ascending */
};

void acls_fini(struct acls *a);
void acls_super_add(struct acls *a, struct str principal);
bool acls_is_super(const struct acls *a, struct str principal);
bool acls_add(struct acls *a, const struct acl *one);            /* false: it is there already */
bool acls_remove(struct acls *a, const struct acl *one);         /* false: there is none */
/* Each entry once, by resource. *at starts zeroed; nothing may be added or removed meanwhile. */
struct acls_at { size_t node, entry; const struct acl_node *in; };
bool acls_next(const struct acls *a, struct acls_at *at, struct acl *ret);
size_t acls_of_resource(const struct acls_at *at);               /* how many the resource of the last one has */

/* Without regard to `on`: see request_allows(). */
bool acls_allow(const struct acls *a, struct str principal, struct str host, enum acl_operation op, enum acl_resource type,
                struct str name);
/* On at least one resource of that type (KIP-679: an idempotent producer may write to some topic). */
bool acls_allow_any(const struct acls *a, struct str principal, struct str host, enum acl_operation op, enum acl_resource type);
