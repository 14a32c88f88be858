/* SPDX-License-Identifier: Apache-2.0
 *
 * The path of a change: a handler makes an event of a request and steps the group; its effects are carried out in order.
 * A record is staged in the group's partition of __consumer_offsets, and the answers behind it are given the record's
 * sequence number, so that they leave when the disk has it. If staging is refused those answers become errors, and the
 * group is told: it lets its members rejoin.
 *
 * Records that a crash may cut off were never promised to anybody. What is read back at a start is the truth then.
 */
#include "broker/groups.h"
#include "base/diag.h"
#include "broker/api.h"
#include "broker/offsets_record.h"
#include "kafka/msg/consumer_protocol.h"
#include <stdio.h>

#define TOPIC STR("__consumer_offsets")
enum {
    READ_BYTES = 1 << 20,         /* of the topic, at a time */
    BATCH_BYTES = 1 << 20,        /* tombstones are put into batches of about that */
    RECORD_BYTES_MAX = 256 << 20, /* a batch of ours never expands beyond */
    MEMORY_SHARE = 4,             /* all groups together: this part of the broker's memory */
    BUSY_MS = 5,                  /* a tick that finds the wal full comes back after that */
};

struct groups {
    struct broker *broker;
    struct map by_id;
    struct group_entry **sorted; /* by id */
    size_t n, cap;
    size_t bytes;
    struct group_config config;
    struct arena arena; /* effects of one step */
    struct timer expiry;
    struct codecs *codecs;
    struct buf batch;
};

/* ---- the set ---- */

static size_t place(const struct groups *gs, struct str id)
{
    size_t lo = 0, hi = gs->n;

    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;

        if (str_cmp(gs->sorted[mid]->g.id, id) < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

static void account(struct group_entry *ge)
{
    size_t bytes = sizeof *ge + ge->g.bytes + ge->offsets.bytes;

    ge->groups->bytes += bytes - ge->counted;
    ge->counted = bytes;
}

static struct group_entry *entry_new(struct groups *gs, struct str id)
{
    struct group_entry *ge = xnew(struct group_entry);
    size_t at = place(gs, id);

    if (gs->n == gs->cap) {
        gs->cap = gs->cap ? 2 * gs->cap : 16;
        gs->sorted = xrealloc(gs->sorted, gs->cap, sizeof(struct group_entry *));
    }
    memmove(&gs->sorted[at + 1], &gs->sorted[at], (gs->n - at) * sizeof(struct group_entry *));
    gs->sorted[at] = ge;
    gs->n++;
    ge->groups = gs;
    group_init(&ge->g, id, &gs->config, broker_wall_ms(gs->broker));
    must(!map_put_str(&gs->by_id, id, ge));
    account(ge);
    return ge;
}

static void entry_free(struct group_entry *ge)
{
    struct groups *gs = ge->groups;
    size_t at = place(gs, ge->g.id);

    must(gs->sorted[at] == ge && map_del_str(&gs->by_id, ge->g.id) == ge);
    gs->n--;
    memmove(&gs->sorted[at], &gs->sorted[at + 1], (gs->n - at) * sizeof(struct group_entry *));
    gs->bytes -= ge->counted;
    timer_cancel(gs->broker->timers, &ge->timer);
    group_fini(&ge->g);
    offsets_fini(&ge->offsets);
    free(ge);
}

struct group_entry *groups_find(const struct groups *gs, struct str id)
{
    return map_get_str(&gs->by_id, id);
}

size_t groups_count(const struct groups *gs)
{
    return gs->n;
}

size_t groups_bytes(const struct groups *gs)
{
    return gs->bytes;
}

bool groups_have_room(const struct groups *gs, size_t more)
{
    return gs->bytes + more <= gs->broker->memory_max / MEMORY_SHARE;
}

struct group_entry *groups_get(struct groups *gs, struct str id)
{
    struct group_entry *ge = groups_find(gs, id);

    if (ge || !groups_have_room(gs, sizeof *ge + id.n)) return ge;
    return entry_new(gs, id);
}

struct group_entry *groups_next(const struct groups *gs, const struct group_entry *after)
{
    size_t at = after ? place(gs, after->g.id) + 1 : 0;

    return at < gs->n ? gs->sorted[at] : NULL;
}

/* ---- records ---- */

int16_t groups_error(const struct err *e)
{
    switch (e->rc) {
    case RC_OK: return KAFKA_ERR_NONE;
    case RC_TOO_LARGE: return KAFKA_ERR_INVALID_COMMIT_OFFSET_SIZE;
    case RC_OVERLOAD: return KAFKA_ERR_COORDINATOR_LOAD_IN_PROGRESS;
    case RC_IO:
    case RC_CORRUPT:
    case RC_INVALID:
    case RC_NOT_FOUND:
    case RC_EXISTS:
    case RC_TIMEOUT:
    case RC_CANCELLED:
    case RC_UNAVAILABLE:
    case RC_DISK_FULL:
    case RC_LOCKED:
    case RC_DENIED:
    case RC_AUTH:
    case RC_UNSUPPORTED:
    case RC_UPSTREAM:
    case RC_UNSELECTED:
    case RC_FATAL: return KAFKA_ERR_COORDINATOR_NOT_AVAILABLE;
    }
    return KAFKA_ERR_UNKNOWN_SERVER_ERROR;
}

static struct partition *partition_of(const struct groups *gs, struct str group)
{
    struct topic *t = broker_topic(gs->broker, TOPIC);
    int32_t n = t ? topic_partitions(t) : 0;

    return n > 0 ? topic_partition(t, kafka_partition_of_group(group, n)) : NULL;
}

static void write_begin(struct groups *gs, struct batch_builder *w)
{
    buf_clear(&gs->batch);
    batch_begin(w, &gs->batch, NULL);
}

static enum rc write_end(struct group_entry *ge, struct batch_builder *w, struct err *e)
{
    struct groups *gs = ge->groups;
    struct partition *p = partition_of(gs, ge->g.id);
    struct log_appended done;
    struct bytes view;

    if (!p)
        return err_set(e, RC_UNAVAILABLE, "group " STR_FMT ": __consumer_offsets does not exist",
                       STR_ARG(ge->g.id));
    if (batch_end(w, gs->codecs, &view, e)) return err_in(e, "group " STR_FMT, STR_ARG(ge->g.id));
    if (partition_append(p, gs->batch.p, gs->batch.n, LOG_APPEND_RESERVED, &done, e))
        return err_in(e, "group " STR_FMT, STR_ARG(ge->g.id));
    ge->seq = done.seq;
    return RC_OK;
}

static int16_t persist(struct group_entry *ge)
{
    struct batch_builder w;
    struct err e = {0};
    int16_t code;

    write_begin(ge->groups, &w);
    group_record_add(&w, &ge->g, broker_wall_ms(ge->groups->broker));
    if (write_end(ge, &w, &e) == RC_OK) {
        ge->on_record = true;
        return KAFKA_ERR_NONE;
    }
    diag(DIAG_WARN, "group.not_written", KV_STR("group", ge->g.id), KV_CSTR("why", e.text));
    code = groups_error(&e);
    return code == KAFKA_ERR_INVALID_COMMIT_OFFSET_SIZE ? KAFKA_ERR_UNKNOWN_SERVER_ERROR : code;
}

/* ---- steps ---- */

static void on_timer(struct timer *t)
{
    struct group_entry *ge = container_of(t, struct group_entry, timer);
    struct broker *b = ge->groups->broker;
    struct group_event ev = {.kind = GROUP_EV_TICK};

    if (!b->fatal &&
        !store_has_room(b->store, ge->g.bytes)) /* the tick may have to write a record */
        timer_set(b->timers, t, broker_now_ms(b) + BUSY_MS, on_timer);
    else
        groups_step(ge, &ev);
}

static void carry_out(struct group_entry *ge, struct group_effects *fx)
{
    int16_t failed = KAFKA_ERR_NONE;

    for (size_t i = 0; i < fx->n; i++) {
        struct group_fx *a = &fx->items[i];
        struct group_asker *asker = a->token;

        if (a->kind == GROUP_FX_PERSIST) {
            failed = persist(ge);
            continue;
        }
        if (failed && !a->error && a->kind != GROUP_FX_DONE)
            *a = (struct group_fx){.kind = a->kind, .error = failed, .joined.generation = -1};
        asker->answer(asker, a, ge->seq);
    }
    if (failed)
        groups_step(
            ge, &(struct group_event){.kind = GROUP_EV_PERSIST_FAILED, .persist_error = failed});
}

void groups_step(struct group_entry *ge, struct group_event *ev)
{
    struct groups *gs = ge->groups;
    struct broker *b = gs->broker;
    struct group_effects fx = {.arena = &gs->arena};

    arena_reset(&gs->arena);
    gs->config.initial_rebalance_delay_ms = (uint64_t)b->config.group_initial_rebalance_delay_ms;
    gs->config.members_max = (size_t)b->config.group_max_size;
    gs->config.bytes_max = MIN(group_config_default.bytes_max, b->memory_max / MEMORY_SHARE);
    ev->now_ms = broker_now_ms(b);
    ev->wall_ms = broker_wall_ms(b);
    group_step(&ge->g, ev, &fx);
    account(ge);
    if (ge->g.tick_ms != UINT64_MAX &&
        (!timer_is_set(&ge->timer) || ge->timer.at_ms > ge->g.tick_ms))
        timer_set(b->timers, &ge->timer, ge->g.tick_ms, on_timer);
    carry_out(ge, &fx);
}

bool groups_session_ok(const struct groups *gs, int32_t session_timeout_ms)
{
    const struct broker_config *c = &gs->broker->config;

    return session_timeout_ms >= c->group_min_session_timeout_ms &&
           session_timeout_ms <= c->group_max_session_timeout_ms;
}

/* ---- offsets ---- */

int16_t groups_put_offsets(struct group_entry *ge, const struct offset_put *puts, size_t n)
{
    struct groups *gs = ge->groups;
    int64_t now_ms = broker_wall_ms(gs->broker);
    struct batch_builder w;
    struct err e = {0};

    if (n == 0) return KAFKA_ERR_NONE;
    write_begin(gs, &w);
    for (size_t i = 0; i < n; i++)
        offsets_record_add(&w, ge->g.id, puts[i].topic, puts[i].committed.partition,
                           &puts[i].committed, now_ms);
    if (write_end(ge, &w, &e)) {
        diag(DIAG_WARN, "offsets.not_written", KV_STR("group", ge->g.id), KV_CSTR("why", e.text));
        return groups_error(&e);
    }
    for (size_t i = 0; i < n; i++)
        offsets_put(&ge->offsets, puts[i].topic, &puts[i].committed);
    account(ge);
    return KAFKA_ERR_NONE;
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

        write_begin(ge->groups, &w);
        for (; to < n && batch_bytes(&w, NULL) < BATCH_BYTES; to++) {
            if (!offsets_get(&ge->offsets, dels[to].topic, dels[to].partition)) continue;
            offsets_record_add(&w, ge->g.id, dels[to].topic, dels[to].partition, NULL, now_ms);
            records++;
        }
        if (records && write_end(ge, &w, &e)) {
            diag(DIAG_WARN, "offsets.not_deleted", KV_STR("group", ge->g.id),
                 KV_CSTR("why", e.text));
            return groups_error(&e);
        }
        for (; from < to; from++)
            *ret_n += offsets_delete(&ge->offsets, dels[from].topic, dels[from].partition);
    }
    account(ge);
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

    if (ge->on_record) {
        write_begin(ge->groups, &w);
        group_record_add_gone(&w, ge->g.id, broker_wall_ms(ge->groups->broker));
        if (write_end(ge, &w, &e)) return groups_error(&e);
    }
    *ret_seq = ge->seq;
    entry_free(ge);
    return KAFKA_ERR_NONE;
}

int16_t groups_remove(struct group_entry **pge, uint64_t *ret_seq)
{
    struct group_entry *ge = *pge;
    AUTO(arena_fini) struct arena a = {0};
    struct offset_del *dels;
    size_t n, gone;
    int16_t error;

    if (ge->g.state != GROUP_EMPTY) return KAFKA_ERR_NON_EMPTY_GROUP;
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

bool group_subscribes(const struct group *g, struct str topic)
{
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
    bool empty = g->state == GROUP_EMPTY,
         consumers = g->state == GROUP_STABLE && str_is(g->protocol_type, "consumer");

    if (!broker_topic(ge->groups->broker, t->name))
        return true; /* what a crash kept of a deleted topic */
    if (!empty && !consumers) return false;
    if (!committed_is_expired(c, now_ms, b->config.offsets_retention_ms,
                              empty && !group_is_simple(g) ? g->since_ms : INT64_MIN))
        return false;
    return empty || !group_subscribes(g, t->name);
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
    if (ge->g.state == GROUP_EMPTY && ge->offsets.n == 0 && list_empty(&ge->g.pending))
        (void)bury(ge, &seq);
}

static void on_expiry(struct timer *t)
{
    struct groups *gs = container_of(t, struct groups, expiry);
    struct broker *b = gs->broker;
    int64_t now_ms = broker_wall_ms(b);

    for (size_t i = gs->n; i-- > 0 && !b->fatal && store_has_room(b->store, BATCH_BYTES);)
        expire_group(gs->sorted[i], now_ms);
    timer_set(b->timers, t,
              broker_now_ms(b) + (uint64_t)MAX(b->config.offsets_retention_check_interval_ms, 1),
              on_expiry);
}

/* ---- start ---- */

static void apply(struct groups *gs, const struct offsets_record *r)
{
    struct group_entry *ge = groups_find(gs, r->group);

    if (!ge && r->gone) return;
    if (!ge) ge = entry_new(gs, r->group);
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
    account(ge);
}

static enum rc load_batch(struct groups *gs, const struct batch *b, struct err *e)
{
    AUTO(buf_fini) struct buf scratch = {0};
    AUTO(arena_fini) struct arena a = {0};
    struct records it;
    struct record rec;

    if (batch_is(b, BATCH_CONTROL) || batch_is(b, BATCH_TRANSACTIONAL)) return RC_OK;
    if (records_open(&it, b, gs->codecs, RECORD_BYTES_MAX, &scratch)) goto fault;
    while (records_next(&it, &rec)) {
        struct offsets_record r;

        if (offsets_record_decode(&rec, &a, &r,
                                  e)) { /* somebody else's; the other records are good */
            diag(DIAG_WARN, "offsets.unreadable", KV_I64("offset", rec.offset),
                 KV_CSTR("why", e->text));
            continue;
        }
        if (r.kind != OFFSETS_RECORD_OTHER) apply(gs, &r);
        arena_reset(&a);
    }
    if (it.fault == BATCH_OK) return RC_OK;
fault:
    return err_set(e, RC_CORRUPT, "batch at offset %lld: %s", (long long)b->base_offset,
                   batch_fault_name(it.fault));
}

static enum rc load_partition(struct groups *gs, struct partition *p, struct err *e)
{
    int64_t at = partition_start(p), end = partition_high(p);
    AUTO(buf_fini) struct buf in = {0};

    while (at < end) {
        int64_t next = at;

        buf_clear(&in);
        if (partition_read(p, at, READ_BYTES, &in, &next, e)) return e->rc;
        for (size_t done = 0; done < in.n;) {
            struct batch b;
            enum batch_fault fault = batch_view((struct bytes){in.p + done, in.n - done}, &b);

            if (fault)
                return err_set(e, RC_CORRUPT, "after offset %lld: %s", (long long)at,
                               batch_fault_name(fault));
            if (load_batch(gs, &b, e)) return e->rc;
            done += b.raw.n;
        }
        if (next <= at) break;
        at = next;
    }
    return RC_OK;
}

static enum rc topic_make(struct broker *b, struct topic **ret, struct err *e)
{
    char segment[24];
    struct broker_setting configs[] = {
        {STR("cleanup.policy"), STR("compact")},
        {STR("compression.type"), STR("producer")},
        {STR("segment.bytes"), {0}},
    };
    struct broker_topic_spec spec = {.name = TOPIC,
                                     .partitions = b->config.offsets_topic_partitions,
                                     .replication = 1,
                                     .configs = configs,
                                     .configs_n = countof(configs),
                                     .internal = true};
    uint64_t seq;

    snprintf(segment, sizeof segment, "%lld", (long long)b->config.offsets_topic_segment_bytes);
    configs[2].value = str_of(segment);
    *ret = broker_topic(b, TOPIC);
    return *ret ? RC_OK : broker_topic_create(b, &spec, ret, &seq, e);
}

/* Groups as they were before the stop: sessions run from now on, empty shells of deleted records go. */
static void wake(struct groups *gs)
{
    for (size_t i = gs->n; i-- > 0;) {
        struct group_entry *ge = gs->sorted[i];

        if (!ge->on_record && ge->offsets.n == 0)
            entry_free(ge);
        else if (ge->g.tick_ms != UINT64_MAX)
            timer_set(gs->broker->timers, &ge->timer, ge->g.tick_ms, on_timer);
    }
}

enum rc groups_new(struct broker *b, struct groups **ret, struct err *e)
{
    struct groups *gs = xnew(struct groups);
    struct topic *t;

    gs->broker = b;
    gs->config = group_config_default;
    gs->codecs = codecs_new();
    if (topic_make(b, &t, e)) goto fail;
    for (int32_t i = 0; i < topic_partitions(t); i++)
        if (load_partition(gs, topic_partition(t, i), e)) {
            err_in(e, "partition %d", i);
            goto fail;
        }
    wake(gs);
    timer_set(b->timers, &gs->expiry,
              broker_now_ms(b) + (uint64_t)MAX(b->config.offsets_retention_check_interval_ms, 1),
              on_expiry);
    *ret = gs;
    return RC_OK;
fail:
    groups_free(gs);
    return err_in(e, "__consumer_offsets");
}

struct groups *groups_free(struct groups *gs)
{
    if (!gs) return NULL;
    while (gs->n)
        entry_free(gs->sorted[gs->n - 1]);
    timer_cancel(gs->broker->timers, &gs->expiry);
    map_fini(&gs->by_id);
    free(gs->sorted);
    arena_fini(&gs->arena);
    buf_fini(&gs->batch);
    codecs_free(gs->codecs);
    free(gs);
    return NULL;
}

void groups_drain(struct groups *gs)
{
    for (size_t i = 0; i < gs->n; i++)
        groups_step(gs->sorted[i], &(struct group_event){.kind = GROUP_EV_EVICT});
}
