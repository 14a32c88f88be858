/* broker/users.h - who has SCRAM credentials: a name, and one credential for each hash. Owns all of it.
 * Lives on: the broker loop.   Used by: meta_security.c, sasl.c, api/user_scram.c.   SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/map.h"
#include "broker/scram.h"

enum { USERS_MAX = 100000 };

struct user {
    struct str name;                     /* owned */
    bool has[3];                         /* by enum scram_hash */
    struct scram_credential credential[3];
};
struct users { struct map map; };

void users_fini(struct users *u);
const struct user *users_get(const struct users *u, struct str name);          /* NULL: nobody */
const struct user *users_next(const struct users *u, size_t *at);              /* *at starts at 0; NULL at the end */
void users_set(struct users *u, struct str name, const struct scram_credential *c);
void users_unset(struct users *u, struct str name, enum scram_hash hash);      /* the last one takes the user with it */
