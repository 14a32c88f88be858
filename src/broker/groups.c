/* SPDX-License-Identifier: Apache-2.0
 *
 * The path of a change: a handler makes an event of a request and steps the group; its effects are carried out in order.
 * A record is staged in the group's partition of __consumer_offsets, and the answers behind it are given the record's
 * sequence number, so that they leave when the disk has it. If staging is refused those answers become errors, and the
 * group is told: it lets its members rejoin.
 *
 * Records that a crash may cut off were never promised to anybody. What is read back at a start is the truth then.
 */
#include "base/diag.h"
#include "broker/groups_core.h"
#include "broker/offsets_record.h"
#include "kafka/errors.h"
#include <stdio.h>

enum {
    FIRST_BYTES = 1024, /* what a new group is likely to hold at once */
    MEMORY_SHARE = 4,   /* all groups together: this part of the broker's memory */
    BUSY_MS = 5,        /* a tick that finds the wal full comes back after that */
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

void groups_account(struct group_entry *ge)
{
    size_t bytes = sizeof *ge + ge->g.bytes + ge->offsets.bytes + (ge->c ? ge->c->bytes : 0);

    ge->groups->bytes += bytes - ge->counted;
    ge->counted = bytes;
}

struct group_entry *groups_entry_new(struct groups *gs, struct str id)
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
    list_init(&ge->scan_link);
    ge->groups = gs;
    ge->seq = gs->gone_seq; /* it may have had this name before */
    group_init(&ge->g, id, &gs->config, broker_wall_ms(gs->broker));
    must(!map_put_str(&gs->by_id, id, ge));
    groups_account(ge);
    return ge;
}

void groups_entry_free(struct group_entry *ge)
{
    struct groups *gs = ge->groups;
    size_t at = place(gs, ge->g.id);

    must(gs->sorted[at] == ge && map_del_str(&gs->by_id, ge->g.id) == ge);
    gs->n--;
    memmove(&gs->sorted[at], &gs->sorted[at + 1], (gs->n - at) * sizeof(struct group_entry *));
    gs->bytes -= ge->counted;
    timer_cancel(gs->broker->timers, &ge->timer);
    list_remove(&ge->scan_link);
    groups_consumer_free(ge);
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
    return gs->bytes + gs->pending.bytes + more <= gs->broker->memory_max / MEMORY_SHARE;
}

struct group_entry *groups_get(struct groups *gs, struct str id)
{
    struct group_entry *ge = groups_find(gs, id);

    if (ge || groups_is_lost(gs, id) || !groups_have_room(gs, sizeof *ge + id.n + FIRST_BYTES)) return ge;
    return groups_entry_new(gs, id);
}

uint64_t groups_gone_seq(const struct groups *gs)
{
    return gs->gone_seq;
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

int32_t groups_home(const struct groups *gs, struct str id)
{
    struct topic *t = broker_topic(gs->broker, GROUPS_TOPIC);
    int32_t n = t ? topic_partitions(t) : 0;

    return n > 0 ? kafka_partition_of_group(id, n) : -1;
}

void groups_write_begin(struct groups *gs, struct batch_builder *w)
{
    buf_clear(&gs->batch);
    batch_begin(w, &gs->batch, NULL);
}

enum rc groups_write_end(struct group_entry *ge, struct batch_builder *w, struct err *e)
{
    struct groups *gs = ge->groups;
    struct partition *p = broker_partition(gs->broker, GROUPS_TOPIC, groups_home(gs, ge->g.id));
    struct log_appended done;
    struct bytes view;

    if (!p)
        return err_set(e, RC_UNAVAILABLE, "group " STR_FMT ": __consumer_offsets does not exist",
                       STR_ARG(ge->g.id));
    if (batch_end(w, gs->codecs, &view, e)) return err_in(e, "group " STR_FMT, STR_ARG(ge->g.id));
    if (partition_append(p, gs->batch.p, gs->batch.n, LOG_APPEND_RESERVED, &done, e))
        return err_in(e, "group " STR_FMT, STR_ARG(ge->g.id));
    ge->seq = done.seq;
    gs->written = done.base_offset;
    return RC_OK;
}

static int16_t persist(struct group_entry *ge)
{
    struct batch_builder w;
    struct err e = {0};
    int16_t code;

    groups_write_begin(ge->groups, &w);
    group_record_add(&w, &ge->g, broker_wall_ms(ge->groups->broker));
    if (groups_write_end(ge, &w, &e) == RC_OK) {
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
        !store_has_room(b->store, ge->counted)) /* the tick may have to write a record */
        timer_set(b->timers, t, broker_now_ms(b) + BUSY_MS, on_timer);
    else if (ge->c)
        groups_consumer_tick(ge);
    else
        groups_step(ge, &ev);
}

void groups_timer_set(struct group_entry *ge)
{
    uint64_t at_ms = ge->c ? ge->c->tick_ms : ge->g.tick_ms;

    if (at_ms != UINT64_MAX && (!timer_is_set(&ge->timer) || ge->timer.at_ms > at_ms))
        timer_set(ge->groups->broker->timers, &ge->timer, at_ms, on_timer);
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

    if (ge->c && ge->c->members_n && ev->kind != GROUP_EV_EVICT) {
        groups_classic_step(ge, ev);
        return;
    }
    arena_reset(&gs->arena);
    gs->config.initial_rebalance_delay_ms = (uint64_t)b->config.group_initial_rebalance_delay_ms;
    gs->config.members_max = (size_t)b->config.group_max_size;
    gs->config.bytes_max = MIN(group_config_default.bytes_max, b->memory_max / MEMORY_SHARE);
    ev->now_ms = broker_now_ms(b);
    ev->wall_ms = broker_wall_ms(b);
    group_step(&ge->g, ev, &fx);
    groups_account(ge);
    groups_timer_set(ge);
    carry_out(ge, &fx);
}

/* ---- both protocols ---- */

struct str group_entry_state(const struct group_entry *ge)
{
    return str_of(ge->c ? cgroup_state_name(cgroup_state(ge->c)) : group_state_name(ge->g.state));
}

struct str group_entry_type(const struct group_entry *ge)
{
    return ge->c ? STR("consumer") : STR("classic");
}

bool group_entry_is_empty(const struct group_entry *ge)
{
    return ge->c ? ge->c->members_n == 0 : ge->g.state == GROUP_EMPTY;
}

bool groups_session_ok(const struct groups *gs, int32_t session_timeout_ms)
{
    const struct broker_config *c = &gs->broker->config;

    return session_timeout_ms >= c->group_min_session_timeout_ms &&
           session_timeout_ms <= c->group_max_session_timeout_ms;
}

/* ---- start ---- */

static enum rc topic_make(struct broker *b, struct topic **ret, struct err *e)
{
    char segment[24];
    struct broker_setting configs[] = {
        {STR("cleanup.policy"), STR("compact")},
        {STR("compression.type"), STR("producer")},
        {STR("segment.bytes"), {0}},
    };
    struct broker_topic_spec spec = {.name = GROUPS_TOPIC,
                                     .partitions = b->config.offsets_topic_partitions,
                                     .replication = 1,
                                     .configs = configs,
                                     .configs_n = countof(configs),
                                     .internal = true};
    uint64_t seq;

    snprintf(segment, sizeof segment, "%lld", (long long)b->config.offsets_topic_segment_bytes);
    configs[2].value = str_of(segment);
    *ret = broker_topic(b, GROUPS_TOPIC);
    return *ret ? RC_OK : broker_topic_create(b, &spec, ret, &seq, e);
}

/* Groups as they were before the stop: sessions run from now on, empty shells of deleted records go. */
static void wake(struct groups *gs)
{
    for (size_t i = gs->n; i-- > 0;) {
        struct group_entry *ge = gs->sorted[i];

        if (ge->c) groups_consumer_wake(ge);
        if (!ge->on_record && !ge->c && ge->offsets.n == 0)
            groups_entry_free(ge);
        else
            groups_timer_set(ge);
    }
}

bool groups_is_lost(const struct groups *gs, struct str id)
{
    int32_t home = gs->lost ? groups_home(gs, id) : -1;

    return home >= 0 && home < gs->lost_cap && gs->lost[home];
}

bool groups_any_is_lost(const struct groups *gs)
{
    return gs->lost != NULL;
}

/* What was read of a partition before its damage may be out of date: none of it counts. */
static void lose(struct groups *gs, int32_t partition, int32_t partitions, const struct err *why)
{
    if (!gs->lost) {
        gs->lost = xnew_array(bool, (size_t)partitions);
        gs->lost_cap = partitions;
    }
    gs->lost[partition] = true;
    for (size_t i = gs->n; i--;)
        if (groups_home(gs, gs->sorted[i]->g.id) == partition) groups_entry_free(gs->sorted[i]);
    txn_offsets_forget(&gs->pending, partition);
    diag(DIAG_ERROR, "groups.partition_lost", KV_I64("partition", partition), KV_CSTR("why", why->text),
         KV_CSTR("consequence", "its groups are not available; stop, and run: millrace log verify --repair"));
}

enum rc groups_new(struct broker *b, struct groups **ret, struct err *e)
{
    struct groups *gs = xnew(struct groups);
    struct topic *t;

    gs->broker = b;
    list_init(&gs->scans);
    gs->config = group_config_default;
    gs->codecs = codecs_new();
    if (topic_make(b, &t, e)) goto fail;
    for (int32_t i = 0; i < topic_partitions(t); i++)
        if (groups_load_partition(gs, topic_partition(t, i), e)) {
            if (e->rc == RC_CORRUPT || e->rc == RC_IO) {
                lose(gs, i, topic_partitions(t), e);
                continue;
            }
            err_in(e, "partition %d", i);
            goto fail;
        }
    wake(gs);
    timer_set(b->timers, &gs->expiry,
              broker_now_ms(b) + (uint64_t)MAX(b->config.offsets_retention_check_interval_ms, 1),
              groups_on_expiry);
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
        groups_entry_free(gs->sorted[gs->n - 1]);
    timer_cancel(gs->broker->timers, &gs->expiry);
    txn_offsets_fini(&gs->pending);
    map_fini(&gs->by_id);
    free(gs->sorted);
    free(gs->lost);
    arena_fini(&gs->arena);
    buf_fini(&gs->batch);
    codecs_free(gs->codecs);
    free(gs);
    return NULL;
}

void groups_drain(struct groups *gs)
{
    for (size_t i = 0; i < gs->n; i++)
        groups_step(gs->sorted[i], &(struct group_event){.kind = GROUP_EV_EVICT,
                                                         .evict_error = KAFKA_ERR_NOT_COORDINATOR});
}
