/* SPDX-License-Identifier: Apache-2.0
 *
 * Groups of the newer protocol among the others: which topics they see, how their records are written, and how a group
 * without members changes from one protocol to the other (with members: groups_classic.c).
 *
 * The records of one heartbeat are one batch: a crash keeps all of them or none. If it cannot be written the member is told
 * an error and asks again; what the group has become meanwhile is written with its next step.
 */
#include "base/diag.h"
#include "broker/cgroup_record.h"
#include "broker/group_config.h"
#include "broker/groups_core.h"
#include "kafka/errors.h"

enum { MEMORY_SHARE = 4 }; /* one group at most: this part of the broker's memory */

/* ---- what there is to subscribe to ---- */

static struct cgroup_topic topic_of(const struct topic *t)
{
    return (struct cgroup_topic){topic_uuid(t), topic_name(t), topic_partitions(t)};
}

static bool world_find(void *ctx, struct str name, struct cgroup_topic *ret)
{
    struct topic *t = broker_topic(ctx, name);

    if (t) *ret = topic_of(t);
    return t != NULL;
}

/* For regular expressions: internal topics are matched like any other, as Kafka 4 does. */
static bool world_next(void *ctx, struct str after, struct cgroup_topic *ret)
{
    struct topic *t = after.p ? broker_topic_after(ctx, after) : broker_topic_next(ctx, NULL);

    if (t) *ret = topic_of(t);
    return t != NULL;
}

/* The reader is what groups_reader() made. */
static bool world_shows(void *ctx, struct str reader, struct str topic)
{
    const struct broker *b = ctx;
    struct str host, principal;

    return str_cut(reader, ' ', &host, &principal) && acls_allow(&b->acls, principal, host, ACL_DESCRIBE, ACL_TOPIC, topic);
}

struct str groups_reader(const struct groups *gs, struct arena *a, struct str principal, struct str host)
{
    return gs->broker->acls.on ? arena_printf(a, STR_FMT " " STR_FMT, STR_ARG(host), STR_ARG(principal)) : STR("");
}

struct cgroup_world groups_world(struct groups *gs)
{
    struct broker *b = gs->broker;

    return (struct cgroup_world){.version = b->meta_seq + 1, .ctx = b, .find = world_find, .next = world_next,
                                 .shows = b->acls.on ? world_shows : NULL};
}

/* ---- life ---- */

const struct cgroup_config *groups_consumer_config(struct groups *gs, struct str group)
{
    struct group_config_values own = group_config_get(&gs->broker->group_configs, group);
    const struct broker_config *c = &gs->broker->config;
    struct cgroup_config *to = &gs->consumer_config;

    *to = cgroup_config_default;
    to->session_timeout_ms = group_config_value(&own, c, GROUP_CONFIG_SESSION_TIMEOUT);
    to->heartbeat_interval_ms = group_config_value(&own, c, GROUP_CONFIG_HEARTBEAT_INTERVAL);
    to->members_max = (size_t)c->group_consumer_max_size;
    to->bytes_max = MIN(to->bytes_max, gs->broker->memory_max / MEMORY_SHARE);
    to->uniform = (c->group_consumer_assignors & BROKER_ASSIGNOR_UNIFORM) != 0;
    to->range = (c->group_consumer_assignors & BROKER_ASSIGNOR_RANGE) != 0;
    to->upgrade =
        (c->group_consumer_migration & (BROKER_MIGRATION_UPGRADE | BROKER_MIGRATION_BOTH)) != 0;
    to->downgrade =
        (c->group_consumer_migration & (BROKER_MIGRATION_DOWNGRADE | BROKER_MIGRATION_BOTH)) != 0;
    to->classic_max = (size_t)c->group_max_size;
    to->assignor = c->group_consumer_assignors >> 8 ? STR("range") : STR("uniform");
    return to;
}

void groups_consumer_new(struct group_entry *ge)
{
    (void)groups_consumer_config(ge->groups, ge->g.id);
    ge->c = xnew(struct cgroup);
    cgroup_init(ge->c, ge->g.id, &ge->groups->consumer_config);
    ge->c->scans = ge->groups->consumers_made++ << 32; /* ids are never of an earlier group of that name */
    groups_account(ge);
}

void groups_consumer_free(struct group_entry *ge)
{
    if (!ge->c) return;
    cgroup_fini(ge->c);
    free(ge->c);
    ge->c = NULL;
}

void groups_consumer_wake(struct group_entry *ge)
{
    (void)groups_consumer_config(ge->groups, ge->g.id);
    cgroup_load_end(ge->c, broker_now_ms(ge->groups->broker));
    groups_account(ge);
}

static int16_t code_of(const struct err *e)
{
    int16_t code = groups_error(e);

    return code == KAFKA_ERR_INVALID_COMMIT_OFFSET_SIZE ? KAFKA_ERR_UNKNOWN_SERVER_ERROR : code;
}

int16_t groups_consumer_persist(struct group_entry *ge)
{
    int64_t now_ms = broker_wall_ms(ge->groups->broker);
    struct batch_builder w;
    struct err e = {0};

    if (!cgroup_is_dirty(ge->c)) return KAFKA_ERR_NONE;
    groups_write_begin(ge->groups, &w);
    if (ge->on_record) group_record_add_gone(&w, ge->g.id, now_ms); /* it was a classic one */
    cgroup_records_add(&w, ge->c, now_ms);
    if (groups_write_end(ge, &w, &e)) {
        diag(DIAG_WARN, "group.not_written", KV_STR("group", ge->g.id), KV_CSTR("why", e.text));
        return code_of(&e);
    }
    ge->on_record = false;
    cgroup_written(ge->c);
    return KAFKA_ERR_NONE;
}

void groups_consumer_tick(struct group_entry *ge)
{
    (void)groups_consumer_config(ge->groups, ge->g.id);
    cgroup_tick(ge->c, broker_now_ms(ge->groups->broker));
    (void)groups_consumer_persist(ge); /* what is not written now is with the next step */
    if (groups_downgrade(ge)) return;
    groups_account(ge);
    groups_timer_set(ge);
}

/* ---- heartbeats ---- */

static void refuse(struct cgroup_answer *ret, int16_t error, const char *why)
{
    ret->error = error;
    ret->why = str_of(why);
}

/* The entry this member talks to; NULL: *ret says why there is none. */
static struct group_entry *entry_of(struct groups *gs, struct str group,
                                    const struct cgroup_beat *q, const struct cgroup_world *world,
                                    struct cgroup_answer *ret)
{
    struct group_entry *ge = groups_find(gs, group);
    const char *why;

    if (ge && ge->c) return ge;
    if (groups_is_lost(gs, group)) {
        refuse(ret, KAFKA_ERR_COORDINATOR_NOT_AVAILABLE, "the part of __consumer_offsets with this group is damaged");
        return NULL;
    }
    if (q->epoch != CGROUP_EPOCH_JOIN) {
        refuse(ret, KAFKA_ERR_GROUP_ID_NOT_FOUND,
               ge ? "the group is of the classic protocol" : "there is no such group");
        return NULL;
    }
    if (ge && ge->g.members_n) {
        int16_t error = groups_upgrade(ge, q->member_id, world, &why);

        if (error) refuse(ret, error, why);
        return error ? NULL : ge;
    }
    if (!ge) ge = groups_get(gs, group);
    if (!ge) {
        refuse(ret, KAFKA_ERR_GROUP_MAX_SIZE_REACHED, "there is no room for another group");
        return NULL;
    }
    if (ge->g.state != GROUP_EMPTY || !list_empty(&ge->g.pending))
        groups_classic_reset(ge); /* ids were given out that nobody has come back with */
    groups_consumer_new(ge);
    return ge;
}

void groups_beat(struct groups *gs, struct str group, const struct cgroup_beat *q, struct arena *a,
                 struct cgroup_answer *ret, uint64_t *ret_seq)
{
    struct broker *b = gs->broker;
    struct cgroup_world world = groups_world(gs);
    uint32_t names_left = GROUPS_NAMES_AT_ONCE;
    struct group_entry *ge;
    int16_t error;

    (void)groups_consumer_config(gs, group);
    *ret = (struct cgroup_answer){0};
    *ret_seq = 0;
    if (!(ge = entry_of(gs, group, q, &world, ret))) return;
    world.names_left = &names_left;
    cgroup_beat(ge->c, q, &world, broker_now_ms(b), a, ret);
    groups_scan_want(ge);
    groups_scan_turn(gs);
    error = groups_consumer_persist(ge);
    if (!groups_downgrade(ge)) {
        groups_account(ge);
        groups_timer_set(ge);
    }
    if (error && !ret->error) refuse(ret, error, "the group's state could not be written");
    *ret_seq = MAX(ge->seq, b->meta_seq);
}

int16_t groups_make_classic(struct group_entry *ge)
{
    struct batch_builder w;
    struct err e = {0};

    if (!ge->c) return KAFKA_ERR_NONE;
    if (ge->c->members_n) return KAFKA_ERR_INCONSISTENT_GROUP_PROTOCOL;
    groups_write_begin(ge->groups, &w);
    cgroup_records_add_gone(&w, ge->c, broker_wall_ms(ge->groups->broker));
    if (groups_write_end(ge, &w, &e)) return code_of(&e);
    groups_consumer_free(ge);
    groups_account(ge);
    return KAFKA_ERR_NONE;
}
