/* Records of what only administration changes: client quotas, subscriptions of client metrics, settings of groups.
 *
 *   quota            for user, client id, ip: u8 0 not named, 1 the default, 2 a name behind it; then a count and so
 *                    many (key, f64): all values of the entity, none: it is forgotten
 *   client metrics   name, then a count and so many (key, value), none: it is deleted
 *   group settings   group id, then a count and so many (key, i32), none: it has none of its own
 * SPDX-License-Identifier: Apache-2.0
 */
#include "broker/meta.h"

#include "base/diag.h"
#include "broker/client_metrics.h"
#include "broker/group_config.h"

/* ---- quotas ---- */

static void put_quota(struct buf *out, const struct quota_entity *who, const struct quota *values)
{
    struct wr w;
    int32_t n = 0;

    meta_begin(&w, out, META_QUOTA);
    for (int i = 0; i < QUOTA_PARTS; i++) {
        const struct quota_name *p = &who->part[i];

        wr_i8(&w, !p->given ? 0 : p->name.p ? 2 : 1);
        if (p->given && p->name.p) wr_str(&w, false, p->name);
    }
    for (int k = 0; k < QUOTA_KINDS; k++)
        n += values->set[k];
    wr_i32(&w, n);
    for (int k = 0; k < QUOTA_KINDS; k++)
        if (values->set[k]) {
            wr_str(&w, false, str_of(quota_key((enum quota_kind)k)));
            wr_f64(&w, values->value[k]);
        }
}

static void set_all(struct broker *b, const struct quota_entity *who, const struct quota *values)
{
    for (int pass = 0; pass < 2;
         pass++) /* what is set first: who holds the entity must not lose it between */
        for (int k = 0; k < QUOTA_KINDS; k++)
            if (values->set[k] == (pass == 0))
                must(quotas_set(&b->quotas, who, (enum quota_kind)k, values->set[k],
                                values->value[k]));
}

enum rc broker_quota_set(struct broker *b, const struct quota_entity *who,
                         const struct quota *values, uint64_t *ret_seq, struct err *e)
{
    AUTO(buf_fini) struct buf record = {0};

    if (!quotas_get(&b->quotas, who) && b->quotas.entities_n >= QUOTA_ENTITIES_MAX)
        return err_set(e, RC_OVERLOAD, "there are %d quotas already", QUOTA_ENTITIES_MAX);
    put_quota(&record, who, values);
    if (meta_stage(b, &record, ret_seq, e)) return e->rc;
    set_all(b, who, values);
    return RC_OK;
}

static enum rc apply_quota(struct broker *b, struct rd *r, struct err *e)
{
    struct quota_entity who = {0};
    struct quota values = {0};
    size_t n;

    for (int i = 0; i < QUOTA_PARTS; i++) {
        int8_t how = rd_i8(r);

        who.part[i].given = how != 0;
        if (how == 2) who.part[i].name = rd_str(r, false, "name");
    }
    n = rd_count(r, false, 10, "values");
    for (size_t i = 0; i < n && !r->why; i++) {
        struct str key = rd_str(r, false, "key");
        double v = rd_f64(r);
        enum quota_kind k;
        struct err why;

        if (r->why) break;
        if (quota_value_check(&who, key, v, &why) || !quota_kind_of(key, &k)) {
            diag(DIAG_WARN, "broker.quota_dropped", KV_STR("key", key), KV_CSTR("why", why.text));
            continue;
        }
        values.set[k] = true;
        values.value[k] = v;
    }
    if (r->why || quota_entity_check(&who, e))
        return err_set(e, RC_CORRUPT, "metadata: a quota's record cannot be read");
    if (!quotas_get(&b->quotas, &who) && b->quotas.entities_n >= QUOTA_ENTITIES_MAX)
        return err_set(e, RC_CORRUPT, "metadata: more than %d quotas", QUOTA_ENTITIES_MAX);
    set_all(b, &who, &values);
    return RC_OK;
}

/* ---- client metrics ---- */

static void put_metrics(struct buf *out, struct str name, char *const value[CLIENT_METRICS_KEYS])
{
    struct wr w;
    int32_t n = 0;

    meta_begin(&w, out, META_CLIENT_METRICS);
    wr_str(&w, false, name);
    for (int k = 0; k < CLIENT_METRICS_KEYS; k++)
        n += value[k] != NULL;
    wr_i32(&w, n);
    for (int k = 0; k < CLIENT_METRICS_KEYS; k++)
        if (value[k]) {
            wr_str(&w, false, str_of(client_metrics_key_name((enum client_metrics_key)k)));
            wr_str(&w, false, str_of(value[k]));
        }
}

enum rc broker_client_metrics_set(struct broker *b, struct str name, char *const *value,
                                  uint64_t *ret_seq, struct err *e)
{
    AUTO(buf_fini) struct buf record = {0};

    if (!client_metrics_get(&b->client_metrics, name) &&
        b->client_metrics.n >= CLIENT_METRICS_SUBSCRIPTIONS_MAX)
        return err_set(e, RC_OVERLOAD, "there are %d subscriptions of client metrics already",
                       CLIENT_METRICS_SUBSCRIPTIONS_MAX);
    put_metrics(&record, name, value);
    if (meta_stage(b, &record, ret_seq, e)) return e->rc;
    client_metrics_set(&b->client_metrics, name, value);
    return RC_OK;
}

static enum rc apply_metrics(struct broker *b, struct rd *r, struct err *e)
{
    char text[CLIENT_METRICS_KEYS][CLIENT_METRICS_VALUE_BYTES_MAX + 1];
    char *value[CLIENT_METRICS_KEYS] = {0};
    struct str name = rd_str(r, false, "name");
    size_t n = rd_count(r, false, 4, "values");

    for (size_t i = 0; i < n && !r->why; i++) {
        struct str key = rd_str(r, false, "key"), v = rd_str(r, false, "value");
        enum client_metrics_key k;

        if (r->why || !client_metrics_key_of(key, &k) || v.n > CLIENT_METRICS_VALUE_BYTES_MAX)
            continue;
        memcpy(text[k], v.p, v.n);
        text[k][v.n] = 0;
        value[k] = text[k];
    }
    if (r->why || !name.n)
        return err_set(e, RC_CORRUPT, "metadata: a record of client metrics cannot be read");
    client_metrics_set(&b->client_metrics, name, value);
    return RC_OK;
}

/* ---- settings of groups ---- */

static void put_group(struct buf *out, struct str group, const struct group_config_values *own)
{
    struct wr w;
    int32_t n = 0;

    meta_begin(&w, out, META_GROUP_SETTINGS);
    wr_str(&w, false, group);
    for (int k = 0; k < GROUP_CONFIG_KEYS; k++)
        n += own->value[k] != 0;
    wr_i32(&w, n);
    for (int k = 0; k < GROUP_CONFIG_KEYS; k++)
        if (own->value[k]) {
            wr_str(&w, false, str_of(group_config_key_name((enum group_config_key)k)));
            wr_i32(&w, own->value[k]);
        }
}

enum rc broker_group_config_set(struct broker *b, struct str group,
                                const struct group_config_values *own, uint64_t *ret_seq,
                                struct err *e)
{
    AUTO(buf_fini) struct buf record = {0};
    bool there = map_get_str(&b->group_configs, group) != NULL;

    *ret_seq = b->meta_seq;
    if (!there && !own->value[GROUP_CONFIG_SESSION_TIMEOUT] &&
        !own->value[GROUP_CONFIG_HEARTBEAT_INTERVAL])
        return RC_OK; /* nothing is taken away */
    if (!there && b->group_configs.n >= GROUP_CONFIGS_MAX)
        return err_set(e, RC_OVERLOAD, "%d groups have settings of their own already",
                       GROUP_CONFIGS_MAX);
    put_group(&record, group, own);
    if (meta_stage(b, &record, ret_seq, e)) return e->rc;
    group_config_set(&b->group_configs, group, own);
    return RC_OK;
}

static enum rc apply_group(struct broker *b, struct rd *r, struct err *e)
{
    struct group_config_values own = {0};
    struct str group = rd_str(r, false, "group");
    size_t n = rd_count(r, false, 6, "values");

    for (size_t i = 0; i < n && !r->why; i++) {
        struct str key = rd_str(r, false, "key");
        int32_t v = rd_i32(r);
        enum group_config_key k;

        if (!r->why && group_config_key_of(key, &k) && v > 0) own.value[k] = v;
    }
    if (r->why || !group.n)
        return err_set(e, RC_CORRUPT, "metadata: a record of a group's settings cannot be read");
    group_config_set(&b->group_configs, group, &own);
    return RC_OK;
}

/* ---- all of them ---- */

enum rc meta_admin_apply(struct broker *b, enum meta_kind kind, struct rd *r, struct err *e)
{
    if (kind == META_GROUP_SETTINGS) return apply_group(b, r, e);
    return kind == META_QUOTA ? apply_quota(b, r, e) : apply_metrics(b, r, e);
}

void meta_admin_snapshot(struct broker *b, struct store_meta_sink *sink)
{
    AUTO(buf_fini) struct buf record = {0};
    const struct quota *q;
    struct bytes key;
    void *m;

    for (size_t at = 0; (q = quotas_next(&b->quotas, &at));) {
        buf_clear(&record);
        put_quota(&record, &q->who, q);
        store_meta_put(sink, buf_view(&record));
    }
    for (size_t at = 0; map_next(&b->client_metrics, &at, &key, &m);) {
        const struct client_metrics *c = m;

        buf_clear(&record);
        put_metrics(&record, c->name, c->value);
        store_meta_put(sink, buf_view(&record));
    }
    for (size_t at = 0; map_next(&b->group_configs, &at, &key, &m);) {
        buf_clear(&record);
        put_group(&record, bytes_str(key), m);
        store_meta_put(sink, buf_view(&record));
    }
}
