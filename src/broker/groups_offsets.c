/* SPDX-License-Identifier: Apache-2.0
 *
 * Committed offsets: written and deleted in batches, and who may commit; groups deleted with them; offsets that expire.
 */
#include "base/diag.h"
#include "broker/cgroup_record.h"
#include "broker/groups_core.h"
#include "kafka/errors.h"
#include "kafka/msg/consumer_protocol.h"

/* ---- offsets ---- */

int16_t groups_stage_offsets(struct group_entry *ge, const struct batch_options *opt,
                             const struct offset_put *puts, size_t n)
{
    struct groups *gs = ge->groups;
    int64_t now_ms = broker_wall_ms(gs->broker);
    struct batch_builder w;
    struct err e = {0};

    buf_clear(&gs->batch);
    batch_begin(&w, &gs->batch, opt);
    for (size_t i = 0; i < n; i++)
        offsets_record_add(&w, ge->g.id, puts[i].topic, puts[i].committed.partition,
                           &puts[i].committed, now_ms);
    if (groups_write_end(ge, &w, &e) == RC_OK) return KAFKA_ERR_NONE;
    diag(DIAG_WARN, "offsets.not_written", KV_STR("group", ge->g.id), KV_CSTR("why", e.text));
    return groups_error(&e);
}

int16_t groups_put_offsets(struct group_entry *ge, const struct offset_put *puts, size_t n)
{
    int16_t error = n ? groups_stage_offsets(ge, NULL, puts, n) : KAFKA_ERR_NONE;

    for (size_t i = 0; i < n && !error; i++) {
        struct committed c = puts[i].committed;

        c.record = ge->groups->written + (int64_t)i;
        offsets_put(&ge->offsets, puts[i].topic, &c);
    }
    groups_account(ge);
    return error;
}

int16_t groups_delete_offsets(struct group_entry *ge, const struct offset_del *dels, size_t n,
                              size_t *ret_n)
{
    int64_t now_ms = broker_wall_ms(ge->groups->broker);
    struct batch_builder w;
    struct err e = {0};
    size_t from = 0;

    *ret_n = 0;
    while (from < n) {
        size_t to = from, records = 0;

        groups_write_begin(ge->groups, &w);
        for (; to < n && batch_bytes(&w, NULL) < GROUPS_BATCH_BYTES; to++) {
            if (!offsets_get(&ge->offsets, dels[to].topic, dels[to].partition)) continue;
            offsets_record_add(&w, ge->g.id, dels[to].topic, dels[to].partition, NULL, now_ms);
            records++;
        }
        if (records && groups_write_end(ge, &w, &e)) {
            diag(DIAG_WARN, "offsets.not_deleted", KV_STR("group", ge->g.id),
                 KV_CSTR("why", e.text));
            return groups_error(&e);
        }
        for (; from < to; from++)
            *ret_n += offsets_delete(&ge->offsets, dels[from].topic, dels[from].partition);
    }
    groups_account(ge);
    return KAFKA_ERR_NONE;
}

struct verdict {
    struct group_asker asker;
    int16_t error;
};

static void on_verdict(struct group_asker *a, const struct group_fx *fx, uint64_t seq)
{
    (void)seq;
    container_of(a, struct verdict, asker)->error = fx->error;
}

int16_t groups_may_commit(struct group_entry *ge, struct str member_id, struct str instance_id,
                          int32_t generation)
{
    struct verdict v = {.asker = {on_verdict}};
    struct group_event ev = {
        .kind = GROUP_EV_COMMIT, .token = &v.asker, .beat = {member_id, instance_id, generation}};

    if (ge->c) return cgroup_may_commit(ge->c, member_id, generation);
    groups_step(ge, &ev);
    return v.error;
}

/* All offsets of the group that `which` picks. The names are copied: deleting frees them. */
static struct offset_del *offsets_pick(const struct group_entry *ge, struct arena *a, size_t *ret_n,
                                       bool (*which)(const struct group_entry *ge,
                                                     const struct offsets_topic *t,
                                                     const struct committed *c, void *ctx),
                                       void *ctx)
{
    struct offset_del *dels = arena_array(a, struct offset_del, ge->offsets.n);
    size_t n = 0;

    for (size_t i = 0; i < ge->offsets.topics_n; i++) {
        const struct offsets_topic *t = &ge->offsets.topics[i];
        struct str name = {0};

        for (size_t k = 0; k < t->n; k++) {
            if (which && !which(ge, t, &t->items[k], ctx)) continue;
            if (!name.p) name = arena_dup_str(a, t->name);
            dels[n++] = (struct offset_del){name, t->items[k].partition};
        }
    }
    *ret_n = n;
    return dels;
}

/* The group is dead: its record goes, then it. */
static int16_t bury(struct group_entry *ge, uint64_t *ret_seq)
{
    struct batch_builder w;
    struct err e = {0};

    if (ge->on_record || ge->c) {
        int64_t now_ms = broker_wall_ms(ge->groups->broker);

        groups_write_begin(ge->groups, &w);
        if (ge->on_record) group_record_add_gone(&w, ge->g.id, now_ms);
        if (ge->c) cgroup_records_add_gone(&w, ge->c, now_ms);
        if (groups_write_end(ge, &w, &e)) return groups_error(&e);
    }
    *ret_seq = ge->seq;
    ge->groups->gone_seq = MAX(ge->groups->gone_seq, ge->seq);
    groups_entry_free(ge);
    return KAFKA_ERR_NONE;
}

int16_t groups_remove(struct group_entry **pge, uint64_t *ret_seq)
{
    struct group_entry *ge = *pge;
    AUTO(arena_fini) struct arena a = {0};
    struct offset_del *dels;
    size_t n, gone;
    int16_t error;

    if (!group_entry_is_empty(ge)) return KAFKA_ERR_NON_EMPTY_GROUP;
    dels = offsets_pick(ge, &a, &n, NULL, NULL);
    if ((error = groups_delete_offsets(ge, dels, n, &gone))) return error;
    if ((error = bury(ge, ret_seq))) return error;
    *pge = NULL;
    return KAFKA_ERR_NONE;
}

static bool is_of_topic(const struct group_entry *ge, const struct offsets_topic *t,
                        const struct committed *c, void *ctx)
{
    (void)ge, (void)c;
    return str_eq(t->name, *(const struct str *)ctx);
}

void groups_topic_gone(struct groups *gs, struct str topic)
{
    for (size_t i = 0; i < gs->n; i++) {
        AUTO(arena_fini) struct arena a = {0};
        struct offset_del *dels;
        size_t n, gone;

        if (!offsets_topic(&gs->sorted[i]->offsets, topic)) continue;
        dels = offsets_pick(gs->sorted[i], &a, &n, is_of_topic, &topic);
        (void)groups_delete_offsets(gs->sorted[i], dels, n,
                                    &gone); /* said in diag; expiry comes back to them */
    }
}

/* ---- subscriptions ---- */

static bool subscription_names(struct bytes metadata, struct str topic)
{
    AUTO(arena_fini) struct arena a = {.limit = metadata.n * 16 + 4096};
    struct consumer_protocol_subscription s;
    struct rd r;
    int16_t version;

    rd_init(&r, metadata);
    version = rd_i16(&r);
    if (version < 0) return true;
    /* What later versions append is of no interest, and what follows the topics may be garbage: version 0 is enough. */
    if (!consumer_protocol_subscription_decode(&r, 0, &a, &s)) return true;
    for (size_t i = 0; i < s.topics_n; i++)
        if (str_eq(s.topics[i], topic)) return true;
    return false;
}

bool group_entry_subscribes(const struct group_entry *ge, struct str topic)
{
    const struct group *g = &ge->g;

    if (ge->c) return cgroup_subscribes(ge->c, topic);
    group_each_member(m, g) if (subscription_names(group_metadata(g, m), topic)) return true;
    return false;
}

/* ---- expiry ---- */

static bool is_expired(const struct group_entry *ge, const struct offsets_topic *t,
                       const struct committed *c, void *ctx)
{
    const struct group *g = &ge->g;
    const struct broker *b = ge->groups->broker;
    int64_t now_ms = *(const int64_t *)ctx;
    bool empty = group_entry_is_empty(ge),
         consumers = ge->c || (g->state == GROUP_STABLE && str_is(g->protocol_type, "consumer"));

    if (!broker_topic(ge->groups->broker, t->name))
        return true; /* what a crash kept of a deleted topic */
    if (!empty && !consumers) return false;
    if (!committed_is_expired(c, now_ms, b->config.offsets_retention_ms,
                              empty && !ge->c && !group_is_simple(g) ? g->since_ms : INT64_MIN))
        return false;
    return empty || !group_entry_subscribes(ge, t->name);
}

static void expire_group(struct group_entry *ge, int64_t now_ms)
{
    AUTO(arena_fini) struct arena a = {0};
    struct offset_del *dels;
    size_t n, gone;
    uint64_t seq;

    dels = offsets_pick(ge, &a, &n, is_expired, &now_ms);
    if (groups_delete_offsets(ge, dels, n, &gone)) return;
    if (gone)
        diag(DIAG_INFO, "offsets.expired", KV_STR("group", ge->g.id), KV_U64("offsets", gone));
    if (group_entry_is_empty(ge) && ge->offsets.n == 0 && list_empty(&ge->g.pending))
        (void)bury(ge, &seq);
}

void groups_on_expiry(struct timer *t)
{
    struct groups *gs = container_of(t, struct groups, expiry);
    struct broker *b = gs->broker;
    int64_t now_ms = broker_age_ms(b);

    for (size_t i = gs->n; i-- > 0 && !b->fatal && store_has_room(b->store, GROUPS_BATCH_BYTES);)
        expire_group(gs->sorted[i], now_ms);
    timer_set(b->timers, t,
              broker_now_ms(b) + (uint64_t)MAX(b->config.offsets_retention_check_interval_ms, 1),
              groups_on_expiry);
}
