/* Uses the bus as a gateway does: appends values to the logs, some without waiting for the disk; commits offsets of a group
 * without members; makes, looks at and deletes a topic of its own. SPDX-License-Identifier: Apache-2.0 */
#include "bus/bus.h"
#include "commits.h"

#include <stdio.h>

enum { RECORDS_MAX = 3, APPENDS_MAX = 6, GROUP_LOGS = 3 };        /* the group's logs are those of topic a */

struct submitter;
struct adding {
    struct bus_append a;
    struct submitter *by;
    uint32_t log, begun[RECORDS_MAX];
    uint64_t first;                      /* value */
    int n;
};

struct submitter {
    struct client c;
    const char *group;
    char topic[24];
    unsigned left, appends;
    bool busy;                           /* with one of those below */
    uint32_t begun[DATA_LOGS];           /* its events */
    uint64_t values[GROUP_LOGS];
    char texts[GROUP_LOGS][32];
    struct bus_offset offsets[GROUP_LOGS];
    struct bus_commit commit;
    struct bus_topic made;
    struct bus_topics list;
};

static struct submitter *submitter_of(struct client *c) { return container_of(c, struct submitter, c); }

/* Never: it has not happened and will not. The rest may have, or may yet. */
static enum result result_of(const struct bus_op *op)
{
    enum rc rc = op->err.rc;
    bool never = rc == RC_NOT_FOUND || rc == RC_INVALID || rc == RC_TOO_LARGE || rc == RC_DISK_FULL || rc == RC_OVERLOAD || rc == RC_EXISTS;

    return rc == RC_OK ? RESULT_OK : never ? RESULT_FAILED : RESULT_UNKNOWN;
}

static void begin(struct submitter *s, struct bus_op *op, void (*done)(struct bus_op *op))
{
    struct world *w = s->c.w;

    *op = (struct bus_op){.reply_to = w->home, .done = done};
    if (world_chance(w, 20)) op->deadline_ms = clock_mono_ms(&w->clock.clock) + world_duration(w, 1000, 3000000) / 1000;
}

static void ended(struct submitter *s, const struct bus_op *op, const char *what)
{
    world_trace(s->c.w, what, s->c.id, op->err.rc, 0);
    world_bus_ended(s->c.w);
}

static void done_with(struct submitter *s, const struct bus_op *op, const char *what)
{
    ended(s, op, what);
    s->busy = false;
    client_wake(&s->c, world_duration(s->c.w, 10, 30000));
}

/* ---- appends ---- */

static void on_appended(struct bus_op *op)
{
    struct adding *x = container_of(op, struct adding, a.op);
    struct submitter *s = x->by;
    bool cache = x->a.durability == BUS_CACHE;
    enum result r = result_of(op);

    ended(s, op, "appended");
    if (r == RESULT_OK && cache) r = RESULT_UNKNOWN;              /* staged is not written */
    for (int i = 0; i < x->n; i++)
        world_event(s->c.w, (struct event){.kind = EVENT_SENT, .client = s->c.id, .log = x->log, .begun = x->begun[i],
                                           .value = x->first + (uint64_t)i, .result = r, .offset = r == RESULT_OK ? x->a.offset + i : -1});
    s->appends--;
    free(x);
}

static void append(struct submitter *s)
{
    struct world *w = s->c.w;
    struct adding *x = xnew(struct adding);
    struct bus_record records[RECORDS_MAX];
    char keys[RECORDS_MAX][16], values[RECORDS_MAX][32];

    x->by = s;
    x->log = (uint32_t)world_pick(w, DATA_LOGS);
    x->n = 1 + (int)world_pick(w, RECORDS_MAX);
    x->first = w->history.values + 1;
    w->history.values += (uint64_t)x->n;
    for (int i = 0; i < x->n; i++) {
        uint32_t key = 1 + (uint32_t)world_pick(w, 12);

        records[i] = (struct bus_record){.timestamp_ms = -1,
                                         .key = bytes_of(keys[i], (size_t)snprintf(keys[i], sizeof keys[i], "k%u", key)),
                                         .value = bytes_of(values[i], (size_t)snprintf(values[i], sizeof values[i], "v%llu ",
                                                                                       (unsigned long long)x->first + (unsigned)i))};
        x->begun[i] = world_event(w, (struct event){.kind = EVENT_SEND, .client = s->c.id, .log = x->log, .key = key,
                                                    .value = x->first + (uint64_t)i, .bus = true});
    }
    begin(s, &x->a.op, on_appended);
    x->a.topic = str_of(data_logs[x->log].topic);
    x->a.partition = data_logs[x->log].partition;
    x->a.durability = world_chance(w, 20) ? BUS_CACHE : BUS_DISK;
    x->a.reserve = world_chance(w, 30);
    s->appends++;
    bus_append(w->bus, &x->a, records, (size_t)x->n);
    world_bus_asked(w);
}

/* ---- offsets ---- */

static void on_committed(struct bus_op *op)
{
    struct submitter *s = container_of(op, struct submitter, commit.op);

    for (uint32_t i = 0; i < GROUP_LOGS; i++)
        world_event(s->c.w, (struct event){.kind = EVENT_WRITTEN, .client = s->c.id, .reg = commit_register(s->c.w, s->group, i),
                                           .begun = s->begun[i], .value = s->values[i], .result = result_of(op)});
    done_with(s, op, "committed");
}

static void commit(struct submitter *s)
{
    struct world *w = s->c.w;

    for (uint32_t i = 0; i < GROUP_LOGS; i++) {
        int64_t offset = (int64_t)world_pick(w, 1000);

        s->values[i] = commit_value(w, offset, s->texts[i]);
        s->offsets[i] = (struct bus_offset){data_logs[i].partition, offset, str_of(s->texts[i])};
        s->begun[i] = world_event(w, (struct event){.kind = EVENT_WRITE, .client = s->c.id, .reg = commit_register(w, s->group, i),
                                                    .value = s->values[i], .offset = offset});
    }
    begin(s, &s->commit.op, on_committed);
    s->commit.group = str_of(s->group);
    s->commit.topic = STR("a");
    s->commit.offsets = s->offsets;
    s->commit.offsets_n = GROUP_LOGS;
    bus_commit(w->bus, &s->commit);
    world_bus_asked(w);
}

static void on_looked(struct bus_op *op)
{
    struct submitter *s = container_of(op, struct submitter, commit.op);

    for (uint32_t i = 0; i < GROUP_LOGS && !op->err.rc; i++) {
        const struct bus_offset *o = &s->commit.offsets[i];

        world_event(s->c.w, (struct event){.kind = EVENT_SEEN, .client = s->c.id, .reg = commit_register(s->c.w, s->group, i), .begun = s->begun[0],
                                           .offset = o->offset, .value = o->offset < 0 ? 0 : commit_value_of(o->metadata, o->offset)});
    }
    bus_committed_fini(&s->commit);
    done_with(s, op, "looked");
}

static void look(struct submitter *s)
{
    begin(s, &s->commit.op, on_looked);
    s->commit.group = str_of(s->group);
    s->commit.topic = STR("a");
    s->commit.offsets_n = GROUP_LOGS;
    s->begun[0] = world_event(s->c.w, (struct event){.kind = EVENT_LOOK, .client = s->c.id, .reg = commit_register(s->c.w, s->group, 0)});
    bus_committed(s->c.w->bus, &s->commit);
    world_bus_asked(s->c.w);
}

static void on_group_deleted(struct bus_op *op)
{
    struct submitter *s = container_of(op, struct submitter, commit.op);

    for (uint32_t i = 0; i < GROUP_LOGS; i++)
        world_event(s->c.w, (struct event){.kind = EVENT_WRITTEN, .client = s->c.id, .reg = commit_register(s->c.w, s->group, i),
                                           .begun = s->begun[i], .result = result_of(op)});
    done_with(s, op, "group gone");
}

static void delete_group(struct submitter *s)
{
    for (uint32_t i = 0; i < GROUP_LOGS; i++)
        s->begun[i] = world_event(s->c.w, (struct event){.kind = EVENT_WRITE, .client = s->c.id, .reg = commit_register(s->c.w, s->group, i)});
    begin(s, &s->commit.op, on_group_deleted);
    s->commit.group = str_of(s->group);
    bus_group_delete(s->c.w->bus, &s->commit);
    world_bus_asked(s->c.w);
}

/* ---- a topic ---- */

static uint32_t topic_register(struct submitter *s)
{
    char name[48];

    snprintf(name, sizeof name, "topic %s", s->topic);
    return history_reg(&s->c.w->history, name);
}

static void topic_seen(struct submitter *s, bool there)
{
    world_event(s->c.w, (struct event){.kind = EVENT_SEEN, .client = s->c.id, .reg = topic_register(s), .begun = s->begun[0], .value = there});
}

static void topic_event(struct submitter *s, enum event_kind kind, bool there)
{
    s->begun[0] = world_event(s->c.w, (struct event){.kind = kind, .client = s->c.id, .reg = topic_register(s), .value = there});
}

static void topic_written(struct submitter *s, bool there, enum result r)
{
    world_event(s->c.w, (struct event){.kind = EVENT_WRITTEN, .client = s->c.id, .reg = topic_register(s), .begun = s->begun[0], .value = there, .result = r});
}

static void on_ensured(struct bus_op *op)
{
    struct submitter *s = container_of(op, struct submitter, made.op);
    bool found = !op->err.rc && !s->made.created;

    topic_written(s, true, found ? RESULT_FAILED : result_of(op));
    if (found) topic_seen(s, true);
    done_with(s, op, "ensured");
}

static void on_topic_deleted(struct bus_op *op)
{
    struct submitter *s = container_of(op, struct submitter, made.op);

    topic_written(s, false, result_of(op));
    if (op->err.rc == RC_NOT_FOUND) topic_seen(s, false);
    done_with(s, op, "deleted");
}

static void on_described(struct bus_op *op)
{
    struct submitter *s = container_of(op, struct submitter, made.op);

    if (!op->err.rc) topic_seen(s, s->made.partitions > 0);
    bus_topic_fini(&s->made);
    done_with(s, op, "described");
}

static void on_listed(struct bus_op *op)
{
    struct submitter *s = container_of(op, struct submitter, list.op);

    if (!op->err.rc) topic_seen(s, s->list.names_n == 1);
    bus_topics_fini(&s->list);
    done_with(s, op, "listed");
}

static void topics(struct submitter *s)
{
    struct bus *bus = s->c.w->bus;
    uint64_t what = world_pick(s->c.w, 4);

    s->made = (struct bus_topic){.topic = str_of(s->topic), .partitions = 2, .replication = 1};
    topic_event(s, what < 2 ? EVENT_WRITE : EVENT_LOOK, what == 0);
    if (what < 3) begin(s, &s->made.op, what == 0 ? on_ensured : what == 1 ? on_topic_deleted : on_described);
    else begin(s, &s->list.op, on_listed);
    s->list.prefix = str_of(s->topic);
    if (what == 0) bus_topic_ensure(bus, &s->made);
    else if (what == 1) bus_topic_delete(bus, &s->made);
    else if (what == 2) bus_topic_describe(bus, &s->made);
    else bus_topics(bus, &s->list);
    world_bus_asked(s->c.w);
}

/* ---- what next ---- */

static void other(struct submitter *s)
{
    uint64_t what = world_pick(s->c.w, 100);

    s->busy = true;
    if (what < 35) commit(s);
    else if (what < 60) look(s);
    else if (what < 65) delete_group(s);
    else topics(s);
}

static void wake(struct client *c)
{
    struct submitter *s = submitter_of(c);
    struct str why;

    if (!s->left) return;
    s->left--;
    if (!s->busy && world_chance(c->w, 40)) other(s);
    else if (s->appends < APPENDS_MAX) append(s);
    if (world_chance(c->w, 10)) (void)bus_ready(c->w->bus, &why);
    client_wake(c, world_duration(c->w, 10, 40000));
}

static bool is_done(struct client *c)
{
    struct submitter *s = submitter_of(c);

    s->left = MIN(s->left, 6u);
    return !s->left && !s->appends && !s->busy;
}

static const struct client_kind kind = {.name = "submitter", .size = sizeof(struct submitter), .inside = true, .wake = wake, .is_done = is_done};

struct client *submitter_new(struct world *w, const char *group)
{
    struct submitter *s = client_new(w, &kind);

    s->group = group;
    s->left = 30 + (unsigned)world_pick(w, 150);
    snprintf(s->topic, sizeof s->topic, "bus-%u", s->c.id);
    return &s->c;
}
