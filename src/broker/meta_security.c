/* Records of who may connect and what they may do.
 *
 *   acl              resource type, pattern, name, principal, host, operation, permission
 *   acl deleted      the same
 *   scram            user, hash, iterations, salt, stored key, server key; no iterations: the credential is gone
 * SPDX-License-Identifier: Apache-2.0
 */
#include "broker/meta.h"

#include "base/diag.h"

/* ---- access control lists ---- */

static void put_acl(struct buf *out, enum meta_kind kind, const struct acl *one)
{
    struct wr w;

    meta_begin(&w, out, kind);
    wr_i8(&w, one->type);
    wr_i8(&w, one->pattern);
    wr_str(&w, false, one->name);
    wr_str(&w, false, one->principal);
    wr_str(&w, false, one->host);
    wr_i8(&w, one->operation);
    wr_i8(&w, one->permission);
}

enum rc broker_acl_add(struct broker *b, const struct acl *one, uint64_t *ret_seq, struct err *e)
{
    AUTO(buf_fini) struct buf record = {0};

    if (b->acls.n >= ACL_ENTRIES_MAX)
        return err_set(e, RC_OVERLOAD, "there are %d access control entries already",
                       ACL_ENTRIES_MAX);
    put_acl(&record, META_ACL, one);
    if (meta_stage(b, &record, ret_seq, e)) return e->rc;
    (void)acls_add(&b->acls, one);
    return RC_OK;
}

enum rc broker_acl_remove(struct broker *b, const struct acl *one, uint64_t *ret_seq, struct err *e)
{
    AUTO(buf_fini) struct buf record = {0};

    put_acl(&record, META_ACL_DELETED, one);
    if (meta_stage(b, &record, ret_seq, e)) return e->rc;
    (void)acls_remove(&b->acls, one);
    return RC_OK;
}

static bool acl_is_whole(const struct acl *one)
{
    return one->type > ACL_RESOURCE_ANY && one->type < ACL_RESOURCES &&
           (one->pattern == ACL_LITERAL || one->pattern == ACL_PREFIXED) &&
           one->operation > ACL_OPERATION_ANY && one->operation < ACL_OPERATIONS &&
           (one->permission == ACL_DENY || one->permission == ACL_ALLOW) && one->name.n;
}

static enum rc apply_acl(struct broker *b, enum meta_kind kind, struct rd *r, struct err *e)
{
    struct acl one = {0};

    one.type = rd_i8(r);
    one.pattern = rd_i8(r);
    one.name = rd_str(r, false, "name");
    one.principal = rd_str(r, false, "principal");
    one.host = rd_str(r, false, "host");
    one.operation = rd_i8(r);
    one.permission = rd_i8(r);
    if (r->why || !acl_is_whole(&one))
        return err_set(e, RC_CORRUPT,
                       "metadata: the record of an access control entry cannot be read");
    if (kind == META_ACL)
        (void)acls_add(&b->acls, &one);
    else
        (void)acls_remove(&b->acls, &one);
    return RC_OK;
}

/* ---- users ---- */

static void put_scram(struct buf *out, struct str user, const struct scram_credential *c)
{
    size_t n = c->iterations ? scram_key_bytes(c->hash) : 0;
    struct wr w;

    meta_begin(&w, out, META_SCRAM);
    wr_str(&w, false, user);
    wr_i8(&w, (int8_t)c->hash);
    wr_i32(&w, c->iterations);
    wr_bytes(&w, false, bytes_of(c->salt, c->salt_n));
    wr_bytes(&w, false, bytes_of(c->stored_key, n));
    wr_bytes(&w, false, bytes_of(c->server_key, n));
}

enum rc broker_user_set(struct broker *b, struct str user, const struct scram_credential *c,
                        uint64_t *ret_seq, struct err *e)
{
    AUTO(buf_fini) struct buf record = {0};

    if (!users_get(&b->users, user) && b->users.map.n >= USERS_MAX)
        return err_set(e, RC_OVERLOAD, "there are %d users already", USERS_MAX);
    put_scram(&record, user, c);
    if (meta_stage(b, &record, ret_seq, e)) return e->rc;
    if (c->iterations)
        users_set(&b->users, user, c);
    else
        users_unset(&b->users, user, c->hash);
    return RC_OK;
}

static enum rc apply_scram(struct broker *b, struct rd *r, struct err *e)
{
    struct str user = rd_str(r, false, "user");
    struct scram_credential c = {0};
    struct bytes salt, stored, server;
    size_t n;

    c.hash = (enum scram_hash)rd_i8(r);
    c.iterations = rd_i32(r);
    salt = rd_bytes(r, false, "salt");
    stored = rd_bytes(r, false, "stored key");
    server = rd_bytes(r, false, "server key");
    n = c.iterations ? scram_key_bytes(c.hash) : 0;
    if (r->why || !user.n || (c.hash != SCRAM_SHA_256 && c.hash != SCRAM_SHA_512) ||
        salt.n > sizeof c.salt || stored.n != n || server.n != n || c.iterations < 0)
        return err_set(e, RC_CORRUPT, "metadata: the record of a user cannot be read");
    if (!n) {
        users_unset(&b->users, user, c.hash);
        return RC_OK;
    }
    c.salt_n = salt.n;
    if (salt.n) memcpy(c.salt, salt.p, salt.n);
    memcpy(c.stored_key, stored.p, n);
    memcpy(c.server_key, server.p, n);
    users_set(&b->users, user, &c);
    return RC_OK;
}

/* ---- all of them ---- */

enum rc meta_security_apply(struct broker *b, enum meta_kind kind, struct rd *r, struct err *e)
{
    return kind == META_SCRAM ? apply_scram(b, r, e) : apply_acl(b, kind, r, e);
}

void meta_security_snapshot(struct broker *b, struct store_meta_sink *sink)
{
    AUTO(buf_fini) struct buf record = {0};
    struct acls_at where = {0};
    const struct user *u;
    struct acl one;

    while (acls_next(&b->acls, &where, &one)) {
        buf_clear(&record);
        put_acl(&record, META_ACL, &one);
        store_meta_put(sink, buf_view(&record));
    }
    for (size_t at = 0; (u = users_next(&b->users, &at));)
        for (int h = SCRAM_SHA_256; h <= SCRAM_SHA_512; h++) {
            if (!u->has[h]) continue;
            buf_clear(&record);
            put_scram(&record, u->name, &u->credential[h]);
            store_meta_put(sink, buf_view(&record));
        }
}
