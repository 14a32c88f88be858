/* Reading __consumer_offsets at a start: what the last record of a key says holds. SPDX-License-Identifier: Apache-2.0 */
#include "base/diag.h"
#include "broker/cgroup_record.h"
#include "broker/groups_core.h"

enum {
    RECORD_BYTES_MAX = 256 << 20, /* a batch of ours never expands beyond */
};

struct loading {
    struct groups *gs;
    int32_t partition;
};

static void apply(struct groups *gs, const struct offsets_record *r)
{
    struct group_entry *ge = groups_find(gs, r->group);

    if (!ge && r->gone) return;
    if (!ge) ge = groups_entry_new(gs, r->group);
    if (r->kind == OFFSETS_RECORD_OFFSET) {
        if (r->gone)
            (void)offsets_delete(&ge->offsets, r->topic, r->committed.partition);
        else
            offsets_put(&ge->offsets, r->topic, &r->committed);
    } else {
        group_fini(&ge->g);
        group_init(&ge->g, r->group, &gs->config, broker_wall_ms(gs->broker));
        ge->on_record = !r->gone;
        if (!r->gone) group_restore(&ge->g, &r->snapshot, broker_now_ms(gs->broker));
    }
    groups_account(ge);
}

/* Of the newer protocol. */
static void apply_consumer(struct groups *gs, const struct cgroup_record *r)
{
    struct group_entry *ge = groups_find(gs, r->group);

    if (r->gone && (!ge || !ge->c)) return;
    if (!ge) ge = groups_entry_new(gs, r->group);
    if (r->kind == CGROUP_RECORD_EPOCH && r->gone) {
        groups_consumer_free(ge);
    } else {
        if (!ge->c) groups_consumer_new(ge);
        cgroup_record_apply(ge->c, r);
    }
    groups_account(ge);
}

/* What a transaction committed counts when its marker comes; one without a marker stays pending. */
static void apply_pending(struct loading *l, const struct batch *b, const struct offsets_record *r)
{
    if (r->kind == OFFSETS_RECORD_OFFSET && !r->gone)
        txn_offsets_put(&l->gs->pending, b->producer_id, l->partition, r->group, r->topic,
                        &r->committed);
}

static enum rc load_record(struct loading *l, const struct batch *b, const struct record *rec,
                           struct arena *a, struct err *e)
{
    struct cgroup_record of_consumer;
    struct offsets_record r;

    if (offsets_record_decode(rec, a, &r, e) || cgroup_record_decode(rec, a, &of_consumer, e))
        return e->rc;
    r.committed.record = rec->offset;
    if (batch_is(b, BATCH_TRANSACTIONAL)) {
        apply_pending(l, b, &r);
        return RC_OK;
    }
    if (r.kind != OFFSETS_RECORD_OTHER) apply(l->gs, &r);
    if (of_consumer.kind) apply_consumer(l->gs, &of_consumer);
    return RC_OK;
}

static enum rc load_batch(void *ctx, const struct batch *b, struct err *e)
{
    struct loading *l = ctx;
    struct groups *gs = l->gs;
    struct control marker;
    AUTO(buf_fini) struct buf scratch = {0};
    AUTO(arena_fini) struct arena a = {0};
    struct records it;
    struct record rec;

    if (batch_is(b, BATCH_CONTROL)) {
        if (batch_control(b, &marker))
            groups_txn_end(gs, l->partition, b->producer_id, marker.type == CONTROL_COMMIT);
        return RC_OK;
    }
    if (records_open(&it, b, gs->codecs, RECORD_BYTES_MAX, &scratch)) goto fault;
    while (records_next(&it, &rec)) {
        if (load_record(l, b, &rec, &a, e)) /* somebody else's; the other records are good */
            diag(DIAG_WARN, "offsets.unreadable", KV_I64("offset", rec.offset),
                 KV_CSTR("why", e->text));
        arena_reset(&a);
    }
    if (it.fault == BATCH_OK) return RC_OK;
fault:
    return err_set(e, RC_CORRUPT, "batch at offset %lld: %s", (long long)b->base_offset,
                   batch_fault_name(it.fault));
}

enum rc groups_load_partition(struct groups *gs, struct partition *p, struct err *e)
{
    struct loading l = {gs, p->number};

    return partition_scan(p, load_batch, &l, e);
}
