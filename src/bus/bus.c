/* The door: dispatch, and what both implementations share. SPDX-License-Identifier: Apache-2.0 */
#include "bus/bus.h"
#include "kafka/api.h"

void bus_append(struct bus *b, struct bus_append *a, const struct bus_record *records, size_t n)
{
    b->ops->append(b, a, records, n);
}

void bus_fetch(struct bus *b, struct bus_fetch *f)
{
    b->ops->fetch(b, f);
}

void bus_watch(struct bus *b, struct bus_watch *w)
{
    b->ops->watch(b, w);
}

void bus_watch_more(struct bus *b, struct bus_watch *w)
{
    b->ops->watch_more(b, w);
}

void bus_watch_tell(struct bus *b, struct bus_watch *w)
{
    b->ops->watch_tell(b, w);
}

void bus_watch_stop(struct bus *b, struct bus_watch *w)
{
    b->ops->watch_stop(b, w);
}

void bus_topic_ensure(struct bus *b, struct bus_topic *t)
{
    b->ops->topic_ensure(b, t);
}

void bus_topic_describe(struct bus *b, struct bus_topic *t)
{
    b->ops->topic_describe(b, t);
}

void bus_topic_delete(struct bus *b, struct bus_topic *t)
{
    b->ops->topic_delete(b, t);
}

void bus_topics(struct bus *b, struct bus_topics *t)
{
    b->ops->topics(b, t);
}

void bus_commit(struct bus *b, struct bus_commit *c)
{
    b->ops->commit(b, c);
}

void bus_committed(struct bus *b, struct bus_commit *c)
{
    b->ops->committed(b, c);
}

void bus_group_delete(struct bus *b, struct bus_commit *c)
{
    b->ops->group_delete(b, c);
}

void bus_readers(struct bus *b, struct bus_readers *r)
{
    b->ops->readers(b, r);
}

void bus_readers_fini(struct bus_readers *r)
{
    arena_fini(&r->arena);
    r->list = NULL;
    r->n = 0;
}

/* An implementation's: a group and a topic, found. */
void readers_add(struct bus_readers *r, struct str group, size_t topic)
{
    for (size_t i = 0; i < r->n; i++)
        if (r->list[i].topic == topic && str_eq(r->list[i].group, group)) return;
    if (r->n == BUS_READERS_MAX) return;
    if (!r->list) r->list = arena_array(&r->arena, struct bus_reader, BUS_READERS_MAX);
    r->list[r->n++] = (struct bus_reader){arena_dup_str(&r->arena, group), topic};
}

bool readers_mean(const struct bus_readers *r, struct str group)
{
    for (size_t i = 0; i < r->parts_n; i++)
        if (group.n >= r->parts[i].n && memmem(group.p, group.n, r->parts[i].p, r->parts[i].n)) return true;
    return false;
}

static void refused(struct msg *m)
{
    struct bus_op *op = container_of(m, struct bus_op, msg);

    op->done(op);
}

void bus_join(struct bus *b, struct bus_member *m)
{
    if (b->ops->join) {
        b->ops->join(b, m);
        return;
    }
    err_set(&m->op.err, RC_UNSUPPORTED, "this process owns everything: there is nobody to share with");
    m->op.msg.run = refused;
    mailbox_post(m->op.reply_to, &m->op.msg);
}

void bus_given(struct bus *b, struct bus_member *m)
{
    b->ops->given(b, m);
}

void bus_leave(struct bus *b, struct bus_member *m)
{
    b->ops->leave(b, m);
}

/* What administration asks. Nothing here carries records, waits for others, or joins a group. */
static bool asks_administration(int16_t key)
{
    switch (key) {
    case KAFKA_LIST_OFFSETS:
    case KAFKA_METADATA:
    case KAFKA_OFFSET_COMMIT:
    case KAFKA_OFFSET_FETCH:
    case KAFKA_FIND_COORDINATOR:
    case KAFKA_DESCRIBE_GROUPS:
    case KAFKA_LIST_GROUPS:
    case KAFKA_API_VERSIONS:
    case KAFKA_CREATE_TOPICS:
    case KAFKA_DELETE_TOPICS:
    case KAFKA_DELETE_RECORDS:
    case KAFKA_DESCRIBE_ACLS:
    case KAFKA_CREATE_ACLS:
    case KAFKA_DELETE_ACLS:
    case KAFKA_DESCRIBE_CONFIGS:
    case KAFKA_INCREMENTAL_ALTER_CONFIGS:
    case KAFKA_DESCRIBE_LOG_DIRS:
    case KAFKA_CREATE_PARTITIONS:
    case KAFKA_DELETE_GROUPS:
    case KAFKA_OFFSET_DELETE:
    case KAFKA_DESCRIBE_CLIENT_QUOTAS:
    case KAFKA_ALTER_CLIENT_QUOTAS:
    case KAFKA_DESCRIBE_USER_SCRAM_CREDENTIALS:
    case KAFKA_ALTER_USER_SCRAM_CREDENTIALS:
    case KAFKA_DESCRIBE_CLUSTER:
    case KAFKA_CONSUMER_GROUP_DESCRIBE: return true;
    default: return false;
    }
}

bool bus_ask_allows(struct bytes frame)
{
    struct kafka_request_header h;
    struct rd r;

    rd_init(&r, frame);
    return frame.n <= BUS_ASK_BYTES_MAX && kafka_request_header_decode(&r, &h) && h.api && asks_administration(h.api_key);
}

void bus_ask(struct bus *b, struct bus_ask *a)
{
    a->answer = (struct buf){0};
    a->op.err = (struct err){0};
    if (b->ops->ask && bus_ask_allows(a->frame)) {
        b->ops->ask(b, a);
        return;
    }
    if (b->ops->ask) err_set(&a->op.err, RC_INVALID, "this is no request in Kafka's protocol that administration needs");
    else err_set(&a->op.err, RC_UNSUPPORTED, "this log does not speak Kafka's protocol");
    a->op.msg.run = refused;
    mailbox_post(a->op.reply_to, &a->op.msg);
}

void bus_ask_fini(struct bus_ask *a)
{
    buf_fini(&a->answer);
}

const struct bus_facts *bus_facts(const struct bus *b)
{
    return &b->facts;
}

bool bus_ready(const struct bus *b, struct str *ret_why)
{
    return b->ops->ready(b, ret_why);
}

bool bus_away(const struct bus *b, struct str *ret_why)
{
    return b->ops->away && b->ops->away(b, ret_why);
}

struct bus *bus_close(struct bus *b)
{
    if (b) b->ops->close(b);
    return NULL;
}

/* Results are single allocations: what `records`, `names` and `offsets` point at lies in their own
 * block. */
void bus_fetch_fini(struct bus_fetch *f)
{
    free(f->records);
    f->records = NULL;
    f->records_n = 0;
}

void bus_topic_fini(struct bus_topic *t)
{
    free(t->start_offsets);
    free(t->end_offsets);
    t->start_offsets = t->end_offsets = NULL;
}

void bus_topics_fini(struct bus_topics *t)
{
    free(t->names);
    t->names = NULL;
    t->names_n = 0;
}

void bus_committed_fini(struct bus_commit *c)
{
    free(c->offsets);
    c->offsets = NULL;
    c->offsets_n = 0;
}
