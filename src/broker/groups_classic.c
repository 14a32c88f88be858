/* SPDX-License-Identifier: Apache-2.0
 *
 * Groups with members of both protocols, as they are while their consumers are switched over one by one: the first heartbeat of the
 * newer protocol makes a group of it, its members staying what they are; requests of the classic protocol are answered by
 * cgroup_classic.h; when the last member of the newer protocol has gone the group is a classic one again, and its members join anew.
 * Which of the two ways are open says group.consumer.migration.policy. The records of a change are one batch: a crash keeps the
 * group of one protocol or that of the other.
 */
#include "base/diag.h"
#include "broker/cgroup_classic.h"
#include "broker/cgroup_record.h"
#include "broker/groups_core.h"
#include "kafka/errors.h"
#include "kafka/msg/consumer_protocol.h"

/* ---- to the newer protocol ---- */

/* Whoever waits for a rebalance is told that there is another one. */
static void turn_away(struct group_entry *ge)
{
    groups_step(ge, &(struct group_event){.kind = GROUP_EV_EVICT,
                                          .evict_error = KAFKA_ERR_REBALANCE_IN_PROGRESS});
}

void groups_classic_reset(struct group_entry *ge)
{
    struct groups *gs = ge->groups;
    struct str id = str_own(ge->g.id);

    group_fini(&ge->g);
    group_init(&ge->g, id, &gs->config, broker_wall_ms(gs->broker));
    str_drop(&id);
}

int16_t groups_upgrade(struct group_entry *ge, struct str joins, const struct cgroup_world *world,
                       const char **ret_why)
{
    struct groups *gs = ge->groups;
    const struct cgroup_config *config = groups_consumer_config(gs, ge->g.id);

    *ret_why = NULL;
    if (!config->upgrade)
        *ret_why = "the group has members of the classic protocol, and the migration policy does "
                   "not let it change";
    else if (ge->g.members_n >= config->members_max)
        *ret_why = "the group has more members than one of the newer protocol may have";
    if (*ret_why) return KAFKA_ERR_GROUP_ID_NOT_FOUND;
    if (group_member(&ge->g, joins)) {
        *ret_why = "the member has a generation of the classic protocol already: leave first, or come with another id";
        return KAFKA_ERR_FENCED_MEMBER_EPOCH;
    }
    groups_consumer_new(ge);
    if (!cgroup_from_group(ge->c, &ge->g, world, broker_now_ms(gs->broker))) {
        groups_consumer_free(ge);
        groups_account(ge);
        *ret_why = "the group's members do not use the embedded protocol of consumers";
        return KAFKA_ERR_GROUP_ID_NOT_FOUND;
    }
    turn_away(ge);
    diag(DIAG_INFO, "group.upgraded", KV_STR("group", ge->g.id),
         KV_U64("members", ge->c->members_n));
    groups_classic_reset(ge);
    groups_account(ge);
    return KAFKA_ERR_NONE;
}

/* ---- what a member owns, as its SyncGroup is told ---- */

/* A partition of a topic that has been deleted meanwhile has no name: it is left out. */
static void assignment_write(struct broker *b, const struct parts *s, int16_t version,
                             struct buf *out)
{
    typedef struct consumer_protocol_assignment_assigned_partition row_type;
    row_type *rows = xnew_array(row_type, s->n + 1), *row = NULL;
    int32_t *numbers = xnew_array(int32_t, s->n + 1);
    struct consumer_protocol_assignment v = {.assigned_partitions = rows};
    struct topic *t = NULL;
    struct wr w;

    for (size_t i = 0; i < s->n; i++) {
        numbers[i] = s->p[i].number;
        if (!i || !uuid_eq(&s->p[i].topic, &s->p[i - 1].topic)) {
            t = topic_by_id(b, &s->p[i].topic);
            if (t) row = &rows[v.assigned_partitions_n++];
            if (t) *row = (row_type){.topic = topic_name(t), .partitions = &numbers[i]};
        }
        if (t) row->partitions_n++;
    }
    buf_clear(out);
    wr_init(&w, out);
    wr_i16(&w, version);
    must(consumer_protocol_assignment_encode(&w, version, &v));
    wr_fini(&w);
    free(rows);
    free(numbers);
}

/* ---- back to the classic protocol ---- */

static void snapshot_member(struct group_entry *ge, const struct cgroup_member *m,
                            struct group_snapshot_member *to)
{
    AUTO(buf_fini) struct buf assignment = {0};

    assignment_write(ge->groups->broker, &m->target, cgroup_classic_version(m), &assignment);
    *to = (struct group_snapshot_member){.id = m->id,
                                         .instance_id = m->instance_id,
                                         .client_id = m->client_id,
                                         .client_host = m->client_host,
                                         .session_timeout_ms = m->classic->session_timeout_ms,
                                         .rebalance_timeout_ms = m->rebalance_timeout_ms,
                                         .assignment =
                                             arena_dup(&ge->groups->arena, buf_view(&assignment)),
                                         .protocols = m->classic->protocols,
                                         .protocols_n = m->classic->protocols_n};
}

/* ge->g becomes what ge->c is. */
static void take_back(struct group_entry *ge, int32_t generation)
{
    struct groups *gs = ge->groups;
    struct group_snapshot s = {.protocol_type = STR("consumer"),
                               .generation = generation,
                               .since_ms = broker_wall_ms(gs->broker)};
    struct group_snapshot_member *members;

    arena_reset(&gs->arena);
    s.members = members = arena_array(&gs->arena, struct group_snapshot_member, ge->c->members_n);
    cgroup_each_member(m, ge->c) snapshot_member(ge, m, &members[s.members_n++]);
    groups_classic_reset(ge);
    group_restore(&ge->g, &s, broker_now_ms(gs->broker));
}

static enum rc write_change(struct group_entry *ge, struct err *e)
{
    int64_t now_ms = broker_wall_ms(ge->groups->broker);
    struct batch_builder w;

    groups_write_begin(ge->groups, &w);
    cgroup_records_add_gone(&w, ge->c, now_ms);
    group_record_add(&w, &ge->g, now_ms);
    return groups_write_end(ge, &w, e);
}

/* Who has left may have owned something. The record is of the generation that comes next, so that after a restart too every member
 * is told to join. */
bool groups_downgrade(struct group_entry *ge)
{
    int32_t generation;
    bool settled;
    struct err e;

    if (!cgroup_wants_downgrade(ge->c)) return false;
    settled = cgroup_is_settled(ge->c);
    generation = MAX(ge->c->epoch, 1);
    take_back(ge, settled ? generation : generation + 1);
    if (write_change(ge, &e)) {
        diag(DIAG_WARN, "group.not_written", KV_STR("group", ge->g.id), KV_CSTR("why", e.text));
        groups_classic_reset(ge);
        cgroup_grow(ge->c); /* it goes on as it is, until something happens to it again */
        return false;
    }
    ge->g.generation = generation;
    ge->on_record = true;
    groups_consumer_free(ge);
    groups_account(ge);
    diag(DIAG_INFO, "group.downgraded", KV_STR("group", ge->g.id),
         KV_U64("members", ge->g.members_n));
    if (settled)
        groups_timer_set(ge);
    else
        groups_step(ge, &(struct group_event){.kind = GROUP_EV_REBALANCE});
    return true;
}

/* ---- requests of the classic protocol ---- */

static void on_join(struct group_entry *ge, const struct group_event *ev,
                    const struct cgroup_world *world, struct group_fx *fx)
{
    struct arena *a = &ge->groups->arena;
    struct cgroup_member *m;
    struct str id = ev->join.member_id;

    fx->error = cgroup_classic_join(ge->c, &ev->join, world, ev->now_ms, a, &m, &id);
    fx->joined.generation = -1;
    fx->joined.member_id = id;
    if (fx->error) return;
    fx->joined.generation = m->epoch;
    fx->joined.protocol_type = STR("consumer");
    fx->joined.protocol = arena_dup_str(a, m->classic->protocols[0].name);
    fx->joined.leader = STR(""); /* nobody is: the broker shares out */
    fx->joined.member_id = arena_dup_str(a, m->id);
}

static void on_sync(struct group_entry *ge, const struct group_event *ev, struct group_fx *fx)
{
    struct arena *a = &ge->groups->arena;
    AUTO(buf_fini) struct buf assignment = {0};
    struct cgroup_member *m;

    fx->error = cgroup_classic_sync(ge->c, &ev->sync, ev->now_ms, &m);
    if (fx->error) return;
    assignment_write(ge->groups->broker, &m->owned, cgroup_classic_version(m), &assignment);
    fx->synced.protocol_type = STR("consumer");
    fx->synced.protocol = arena_dup_str(a, m->classic->protocols[0].name);
    fx->synced.assignment = arena_dup(a, buf_view(&assignment));
}

static void on_leave(struct group_entry *ge, const struct group_event *ev, struct group_fx *fx)
{
    int16_t *errors = arena_array(&ge->groups->arena, int16_t, ev->leave.n);

    for (size_t i = 0; i < ev->leave.n; i++)
        errors[i] = cgroup_classic_leave(ge->c, &ev->leave.members[i]);
    fx->done.errors = errors;
    fx->done.n = ev->leave.n;
}

static struct group_fx decide(struct group_entry *ge, const struct group_event *ev)
{
    struct cgroup_world world = groups_world(ge->groups);
    uint32_t names_left = GROUPS_NAMES_AT_ONCE;
    struct group_fx fx = {.kind = GROUP_FX_DONE};

    world.names_left = &names_left;
    switch (ev->kind) {
    case GROUP_EV_JOIN:
        fx.kind = GROUP_FX_JOINED;
        on_join(ge, ev, &world, &fx);
        break;
    case GROUP_EV_SYNC:
        fx.kind = GROUP_FX_SYNCED;
        on_sync(ge, ev, &fx);
        break;
    case GROUP_EV_HEARTBEAT:
        fx.error = cgroup_classic_beat(ge->c, &ev->beat, &world, ev->now_ms);
        break;
    case GROUP_EV_LEAVE: on_leave(ge, ev, &fx); break;
    case GROUP_EV_COMMIT:
    case GROUP_EV_DELETE:
    case GROUP_EV_PERSIST_FAILED:
    case GROUP_EV_REBALANCE:
    case GROUP_EV_EVICT:
    case GROUP_EV_TICK: break; /* are asked elsewhere, or of no concern: nobody is parked here */
    }
    return fx;
}

void groups_classic_step(struct group_entry *ge, struct group_event *ev)
{
    struct groups *gs = ge->groups;
    struct group_asker *asker = ev->token;
    struct group_fx fx;
    int16_t failed;

    if (!asker) return;
    arena_reset(&gs->arena);
    (void)groups_consumer_config(gs, ge->g.id);
    ev->now_ms = broker_now_ms(gs->broker);
    fx = decide(ge, ev);
    groups_scan_want(ge);
    groups_scan_turn(gs);
    failed = groups_consumer_persist(ge);
    if (failed && !fx.error && fx.kind != GROUP_FX_DONE)
        fx = (struct group_fx){.kind = fx.kind, .error = failed, .joined.generation = -1};
    asker->answer(asker, &fx, MAX(ge->seq, gs->broker->meta_seq));
    if (groups_downgrade(ge)) return;
    groups_account(ge);
    groups_timer_set(ge);
}
