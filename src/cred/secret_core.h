/* cred/secret_core.h - what the files of secrets share. Used by: cred/secret.c, k8s.c, secret_watch.c, their tests. SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "cred/secret.h"

enum { SECRET_KEYS_MAX = 1024 };

/* What a struct secret is made of; clears the memory of the values it took. */
struct secret_draft { struct secret_pair { struct str key; struct buf value; } *v; size_t n; };
void draft_put(struct secret_draft *d, struct str key, struct buf *value);       /* takes the value */
const struct secret_pair *draft_find(const struct secret_draft *d, struct str key);
void draft_fini(struct secret_draft *d);
struct secret *secret_of(const struct secret_draft *d);

struct secret_source {
    struct str what, name, ns, account_dir;      /* owned */
    struct secret_item *items;                   /* owned, with their paths */
    size_t items_n;
};
struct str item_key(const struct secret_item *i);          /* the last part of its path */
bool secret_is_folder(struct str name);

/* k8s.c. All keys of the Secret. */
enum rc k8s_read(const struct secret_source *s, const atomic_bool *stop, struct secret_draft *ret, struct err *e) MUST_USE;
/* Its parts, for tests: the API server's answer to GET …/secrets/NAME. */
struct k8s_who { struct str name, ns; };
enum rc k8s_answer(const struct k8s_who *who, long status, struct bytes body, struct secret_draft *ret, struct err *e) MUST_USE;
