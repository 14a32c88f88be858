/* See users.h. SPDX-License-Identifier: Apache-2.0 */
#include "broker/users.h"

#include <openssl/crypto.h>

static void user_delete(void *p)
{
    struct user *u = p;

    OPENSSL_cleanse(u->credential, sizeof u->credential);
    str_drop(&u->name);
    free(u);
}

void users_fini(struct users *u)
{
    map_fini_each(&u->map, user_delete);
}

const struct user *users_get(const struct users *u, struct str name)
{
    return map_get_str(&u->map, name);
}

const struct user *users_next(const struct users *u, size_t *at)
{
    struct bytes key;
    void *value;

    return map_next(&u->map, at, &key, &value) ? value : NULL;
}

void users_set(struct users *u, struct str name, const struct scram_credential *c)
{
    struct user *one = map_get_str(&u->map, name);

    if (!one) {
        one = xnew(struct user);
        one->name = str_own(name);
        map_put_str(&u->map, name, one);
    }
    one->has[c->hash] = true;
    one->credential[c->hash] = *c;
}

void users_unset(struct users *u, struct str name, enum scram_hash hash)
{
    struct user *one = map_get_str(&u->map, name);

    if (!one) return;
    one->has[hash] = false;
    OPENSSL_cleanse(&one->credential[hash], sizeof one->credential[hash]);
    if (one->has[SCRAM_SHA_256] || one->has[SCRAM_SHA_512]) return;
    map_del_str(&u->map, name);
    user_delete(one);
}
