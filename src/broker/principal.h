/* broker/principal.h - what a client's certificate makes of its name: ssl.principal.mapping.rules (KIP-371).
 *
 *     RULE:^CN=(.*?),OU=Services.*$/$1/L,DEFAULT
 *
 * The first rule whose regular expression matches the whole subject (RFC 2253) gives the name: $1 … $9 are its groups, /L and /U
 * make it lower or upper case. DEFAULT is the subject as it is. When no rule matches the certificate is refused.
 * Used by: sock.c.   SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/buf.h"
#include "base/err.h"

struct principal_rules;
/* An empty text is DEFAULT. RC_INVALID: which rule cannot be read, and why. */
enum rc principal_rules_new(struct str text, struct principal_rules **ret, struct err *e) MUST_USE;
struct principal_rules *principal_rules_free(struct principal_rules *r);
/* Appends the name. False: no rule matches. */
bool principal_of_subject(const struct principal_rules *r, struct str subject, struct buf *ret);
