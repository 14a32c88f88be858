/* SPDX-License-Identifier: Apache-2.0
 *
 * A key is an int16 that is both its type and its version (0 and 1: offset, 2: group), then the body. A value is its own
 * int16 version, then the body. What we write is what Kafka 3.8 writes: offset values in version 3, or 1 where the commit
 * said when it expires (later versions have no field for it), group values in version 3.
 */
#include "broker/offsets_record.h"
#include "broker/record_piece.h"
#include "kafka/msg/offsets_topic.h"

enum {
    KEY_OFFSET_MIN = 0,
    KEY_OFFSET = 1,
    KEY_GROUP = 2,
    VALUE_OFFSET_EXPIRING = 1,
    VALUE_OFFSET = 3,
    VALUE_GROUP = 3,
};

/* ---- reading ---- */

static bool read_offset(const struct record *rec, struct rd *key, int16_t version, struct arena *a,
                        struct offsets_record *ret, struct rd *value)
{
    struct offset_commit_key k;
    struct offset_commit_value v;

    if (!offset_commit_key_decode(key, version, a, &k)) return false;
    ret->kind = OFFSETS_RECORD_OFFSET;
    ret->group = k.group;
    ret->topic = k.topic;
    ret->committed.partition = k.partition;
    ret->gone = !rec->value.p;
    if (ret->gone) return true;
    if (!offset_commit_value_decode(value, rd_i16(value), a, &v)) return false;
    ret->committed.offset = v.offset;
    ret->committed.leader_epoch = v.leader_epoch;
    ret->committed.metadata = v.metadata;
    ret->committed.commit_ms = v.commit_timestamp;
    ret->committed.expire_ms = v.expire_timestamp;
    return true;
}

static bool read_group(const struct record *rec, struct rd *key, int16_t version, struct arena *a,
                       struct offsets_record *ret, struct rd *value)
{
    struct group_metadata_key k;
    struct group_metadata_value v;
    struct group_snapshot_member *members;

    if (!group_metadata_key_decode(key, version, a, &k)) return false;
    ret->kind = OFFSETS_RECORD_GROUP;
    ret->group = k.group;
    ret->gone = !rec->value.p;
    if (ret->gone) return true;
    if (!group_metadata_value_decode(value, rd_i16(value), a, &v)) return false;

    members = arena_array(a, struct group_snapshot_member, v.members_n);
    if (v.members_n && !members) return rd_fail(value, RD_MEMORY, v.members_n, "members");
    for (size_t i = 0; i < v.members_n; i++) {
        const struct group_metadata_value_member *m = &v.members[i];

        members[i] = (struct group_snapshot_member){
            .id = m->member_id,
            .instance_id = m->group_instance_id,
            .client_id = m->client_id,
            .client_host = m->client_host,
            .session_timeout_ms = m->session_timeout,
            .rebalance_timeout_ms =
                m->rebalance_timeout < 0 ? m->session_timeout : m->rebalance_timeout,
            .subscription = m->subscription,
            .assignment = m->assignment};
    }
    ret->snapshot = (struct group_snapshot){.protocol_type = v.protocol_type.n ? v.protocol_type
                                                                               : (struct str){0},
                                            .protocol = v.protocol,
                                            .leader = v.leader,
                                            .generation = v.generation,
                                            .since_ms = v.current_state_timestamp,
                                            .members = members,
                                            .members_n = v.members_n};
    return true;
}

enum rc offsets_record_decode(const struct record *rec, struct arena *a, struct offsets_record *ret,
                              struct err *e)
{
    struct rd key, value;
    int16_t version;
    bool ok = true;

    rd_init(&key, rec->key);
    rd_init(&value, rec->value);
    version = rd_i16(&key);
    *ret = (struct offsets_record){.kind = OFFSETS_RECORD_OTHER};
    if (key.why) return rd_err(&key, e);
    if (version >= KEY_OFFSET_MIN && version <= KEY_OFFSET)
        ok = read_offset(rec, &key, version, a, ret, &value);
    else if (version == KEY_GROUP)
        ok = read_group(rec, &key, version, a, ret, &value);
    if (ok) return RC_OK;
    return rd_err(key.why ? &key : &value, e);
}

/* ---- writing ---- */

static void offset_value(struct piece *p, const struct committed *c)
{
    int16_t version = c->expire_ms >= 0 ? VALUE_OFFSET_EXPIRING : VALUE_OFFSET;
    struct offset_commit_value v = {.offset = c->offset,
                                    .leader_epoch = c->leader_epoch,
                                    .metadata = c->metadata,
                                    .commit_timestamp = c->commit_ms,
                                    .expire_timestamp = c->expire_ms};

    piece_begin(p, version);
    must(offset_commit_value_encode(&p->w, version, &v));
}

void offsets_record_add(struct batch_builder *w, struct str group, struct str topic,
                        int32_t partition, const struct committed *c, int64_t now_ms)
{
    struct offset_commit_key k = {.group = group, .topic = topic, .partition = partition};
    struct piece key, value;

    piece_begin(&key, KEY_OFFSET);
    must(offset_commit_key_encode(&key.w, KEY_OFFSET, &k));
    if (c) offset_value(&value, c);
    record_end(w, &key, c ? &value : NULL, now_ms);
}

static void group_key(struct piece *p, struct str group)
{
    struct group_metadata_key k = {.group = group};

    piece_begin(p, KEY_GROUP);
    must(group_metadata_key_encode(&p->w, KEY_GROUP, &k));
}

static void group_value(struct piece *p, const struct group *g)
{
    struct group_metadata_value v = {.protocol_type =
                                         g->protocol_type.p ? g->protocol_type : STR(""),
                                     .generation = g->generation,
                                     .protocol = g->protocol,
                                     .leader = g->leader,
                                     .current_state_timestamp = g->since_ms,
                                     .members_n = g->members_n};
    size_t n = 0;

    v.members = xnew_array(struct group_metadata_value_member, MAX(g->members_n, (size_t)1));
    group_each_member(m, g) v.members[n++] =
        (struct group_metadata_value_member){.member_id = m->id,
                                             .group_instance_id = m->instance_id,
                                             .client_id = m->client_id,
                                             .client_host = m->client_host,
                                             .rebalance_timeout = m->rebalance_timeout_ms,
                                             .session_timeout = m->session_timeout_ms,
                                             .subscription = group_metadata(g, m),
                                             .assignment = buf_view(&m->assignment)};
    piece_begin(p, VALUE_GROUP);
    must(group_metadata_value_encode(&p->w, VALUE_GROUP, &v));
    free(v.members);
}

void group_record_add(struct batch_builder *w, const struct group *g, int64_t now_ms)
{
    struct piece key, value;

    group_key(&key, g->id);
    group_value(&value, g);
    record_end(w, &key, &value, now_ms);
}

void group_record_add_gone(struct batch_builder *w, struct str group, int64_t now_ms)
{
    struct piece key;

    group_key(&key, group);
    record_end(w, &key, NULL, now_ms);
}
