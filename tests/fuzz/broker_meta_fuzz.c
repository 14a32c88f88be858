/* Records of the broker's metadata, as the checkpoint and the wal have them: u16 length, record, and so on. What was applied
 * is asked, and the snapshot of it makes the same state again.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/diag.h"
#include "broker/client_metrics.h"
#include "broker/group_config.h"
#include "broker/meta.h"
#include "broker/state.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Of a broker only what metadata is about. */
static struct broker *meta_new(void)
{
    struct broker *b = xnew(struct broker);

    broker_config_init(&b->config);
    b->acls.on = true;
    return b;
}

static void meta_free(struct broker *b)
{
    topics_fini(b);
    acls_fini(&b->acls);
    users_fini(&b->users);
    quotas_fini(&b->quotas);
    client_metrics_fini(&b->client_metrics);
    group_config_fini(&b->group_configs);
    broker_config_fini(&b->config);
    free(b);
}

static void ask_security(struct broker *b)
{
    struct acls_at where = {0};
    const struct user *u;
    struct acl one;

    while (acls_next(&b->acls, &where, &one)) {
        bool allowed = acls_allow(&b->acls, one.principal, one.host, (enum acl_operation)one.operation, (enum acl_resource)one.type, one.name);

        must(!(allowed && one.permission == ACL_DENY));
        (void)acls_allow_any(&b->acls, one.principal, one.host, ACL_WRITE, (enum acl_resource)one.type);
        must(acls_of_resource(&where) > 0);
    }
    for (size_t at = 0; (u = users_next(&b->users, &at));) must(u->has[SCRAM_SHA_256] || u->has[SCRAM_SHA_512]);
}

static void ask_admin(struct broker *b)
{
    static const struct client_facts facts = {.fact = {{"client", 6}, {"id", 2}, {"java", 4}, {"1.0", 3}, {"127.0.0.1", 9}, {"1", 1}}};
    const struct quota *q;
    struct bytes key;
    void *v;

    for (size_t at = 0; (q = quotas_next(&b->quotas, &at));) {
        uint32_t throttle = 0;

        for (int k = 0; k < QUOTA_CONNECTION; k++)
            (void)quotas_charge(&b->quotas, (enum quota_kind)k, q->who.part[QUOTA_USER].name, q->who.part[QUOTA_CLIENT].name, 1e6, 5000);
        (void)quotas_take(&b->quotas, q->who.part[QUOTA_USER].name, q->who.part[QUOTA_CLIENT].name, 3, true, 5000, &throttle);
        (void)quotas_connect(&b->quotas, q->who.part[QUOTA_IP].name, 5000);
    }
    for (size_t at = 0; map_next(&b->client_metrics, &at, &key, &v);) {
        const struct client_metrics *m = v;

        if (m->value[CLIENT_METRICS_MATCH]) (void)client_metrics_match(m, &facts);
    }
    for (size_t at = 0; map_next(&b->group_configs, &at, &key, &v);)
        for (int k = 0; k < GROUP_CONFIG_KEYS; k++) must(group_config_value(v, &b->config, (enum group_config_key)k) > 0);
}

static void ask_topics(struct broker *b)
{
    size_t n = 0, partitions = 0;

    for (struct topic *t = NULL; (t = broker_topic_next(b, t)); n++) {
        struct uuid id = topic_uuid(t);

        must(broker_topic(b, topic_name(t)) == t && topic_by_id(b, &id) == t);
        must(topic_partition(t, 0) && !topic_partition(t, topic_partitions(t)));
        partitions += (size_t)topic_partitions(t);
    }
    must(n == b->topics_n && partitions == b->partitions_n && n == b->topics.n && n == b->topics_by_id.n);
}

/* ---- the snapshot, in an order of its own ---- */

struct records { struct bytes *v; size_t n; struct broker *into; };

static enum rc note(void *ctx, const struct state_frame *f, struct err *e)
{
    struct records *r = ctx;

    r->v = xrealloc(r->v, r->n + 1, sizeof *r->v);
    r->v[r->n++] = f->meta;
    return r->into ? topics_meta_apply(r->into, f->meta, e) : RC_OK;
}

static int by_bytes(const void *a, const void *b)
{
    const struct bytes *x = a, *y = b;
    int order = memcmp(x->p, y->p, MIN(x->n, y->n));

    return order ? order : (x->n > y->n) - (x->n < y->n);
}

static struct records snapshot(struct broker *b, struct buf *into, struct broker *other)
{
    struct store_meta_sink sink = {into};
    struct records r = {.into = other};
    uint32_t format;
    struct err e;

    state_put_head(into);
    topics_meta_snapshot(b, &sink);
    must(!state_replay(buf_view(into), note, &r, &format, &e));
    qsort(r.v, r.n, sizeof *r.v, by_bytes);
    return r;
}

static void check_snapshot(struct broker *b)
{
    AUTO(buf_fini) struct buf was = {0};
    AUTO(buf_fini) struct buf is = {0};
    struct broker *other = meta_new();
    struct records x = snapshot(b, &was, other), y = snapshot(other, &is, NULL);

    must(x.n == y.n);
    for (size_t i = 0; i < x.n; i++) must(bytes_eq(x.v[i], y.v[i]));
    free(x.v);
    free(y.v);
    meta_free(other);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct broker *b;
    struct err e;

    if (size > 1 << 14) return 0;
    diag_silence(true);
    b = meta_new();
    for (size_t at = 0, n; size - at >= 2; at += 2 + n) {
        enum rc rc;

        n = MIN((size_t)load_be16(data + at), size - at - 2);
        rc = topics_meta_apply(b, bytes_of(data + at + 2, n), &e);
        must(!rc || rc == RC_CORRUPT || rc == RC_UNSUPPORTED);
    }
    ask_topics(b);
    ask_security(b);
    ask_admin(b);
    check_snapshot(b);
    meta_free(b);
    return 0;
}
