/* SPDX-License-Identifier: Apache-2.0 */
#include "fake_bus.h"
#include <stdio.h>

enum { WATCH_BATCH = 3 };

static struct fake_bus *of(struct bus *b)
{
    return container_of(b, struct fake_bus, bus);
}

/* ---- answers ---- */

static void op_run(struct msg *m)
{
    struct bus_op *op = container_of(m, struct bus_op, msg);

    op->done(op);
}

static void answer(struct fake_bus *b, struct bus_op *op)
{
    op->msg.run = op_run;
    if (!b->hold) {
        mailbox_post(op->reply_to, &op->msg);
        return;
    }
    must(b->held_n < countof(b->held_to));
    op->msg.next = NULL;
    b->held_to[b->held_n++] = op->reply_to;
    *b->held_end = &op->msg;
    b->held_end = &op->msg.next;
}

void fake_bus_release(struct fake_bus *b)
{
    struct msg *m = b->held;

    b->hold = b->hold_appends = false;
    b->held = NULL;
    b->held_end = &b->held;
    for (size_t i = 0; i < b->held_n; i++) {
        struct msg *next = m->next;

        mailbox_post(b->held_to[i], m);
        m = next;
    }
    b->held_n = 0;
}

static bool failed(struct fake_bus *b, enum fake_kind kind, struct str topic, struct bus_op *op)
{
    op->err = (struct err){0};
    return b->fail && b->fail(b->fail_ctx, kind, topic, &op->err) != RC_OK;
}

/* ---- the log ---- */

static struct fake_topic *find(struct fake_bus *b, struct str name)
{
    for (size_t i = 0; i < b->topics_n; i++)
        if (str_eq(buf_str(&b->topics[i]->name), name)) return b->topics[i];
    return NULL;
}

static struct fake_topic *create(struct fake_bus *b, struct str name, int32_t partitions)
{
    struct fake_topic *t = xnew(struct fake_topic);

    buf_append_str(&t->name, name);
    strcpy(t->cleanup_policy, "delete");
    memset(t->id.b, 7, sizeof t->id.b);
    t->id.b[15] = ++b->next_id;
    t->partitions_n = MAX(partitions, 1);
    t->partitions = xnew_array(struct fake_partition, t->partitions_n);
    b->topics = xrealloc(b->topics, b->topics_n + 1, sizeof *b->topics);
    b->topics[b->topics_n++] = t;
    return t;
}

static void record_free(struct fake_record *r)
{
    for (size_t i = 0; i < r->headers_n; i++) {
        buf_fini(&r->headers[i].key);
        buf_fini(&r->headers[i].value);
    }
    free(r->headers);
    buf_fini(&r->key);
    buf_fini(&r->value);
}

static void topic_free(struct fake_topic *t)
{
    for (int32_t p = 0; p < t->partitions_n; p++) {
        for (size_t i = 0; i < t->partitions[p].n; i++)
            record_free(&t->partitions[p].records[i]);
        free(t->partitions[p].records);
    }
    free(t->partitions);
    buf_fini(&t->name);
    free(t);
}

static int64_t store(struct fake_bus *b, struct fake_partition *p, const struct bus_record *from,
                     bool outside)
{
    struct fake_record *r;

    if (p->n == p->cap) {
        p->cap = MAX(p->cap * 2, (size_t)16);
        p->records = xrealloc(p->records, p->cap, sizeof *p->records);
    }
    r = &p->records[p->n];
    *r = (struct fake_record){
        .timestamp_ms = from->timestamp_ms < 0 ? b->wall_ms : from->timestamp_ms,
        .key_null = !from->key.p,
        .value_null = !from->value.p,
        .outside = outside,
        .headers = xnew_array(struct fake_header, from->headers_n + 1),
        .headers_n = from->headers_n,
    };
    buf_append(&r->key, from->key);
    buf_append(&r->value, from->value);
    for (size_t i = 0; i < from->headers_n; i++) {
        buf_append_str(&r->headers[i].key, from->headers[i].key);
        buf_append(&r->headers[i].value, from->headers[i].value);
    }
    return (int64_t)p->n++;
}

/* One block: the records, their headers; keys and values point into the stored ones. */
static struct bus_record *copy_out(const struct fake_partition *p, size_t from, size_t n)
{
    size_t headers = 0;
    struct bus_record *out;
    struct bus_header *h;

    for (size_t i = 0; i < n; i++)
        headers += p->records[from + i].headers_n;
    out = xcalloc(1, n * sizeof *out + headers * sizeof *h + 1);
    h = (struct bus_header *)(void *)(out + n);
    for (size_t i = 0; i < n; i++) {
        const struct fake_record *r = &p->records[from + i];

        out[i] = (struct bus_record){
            .offset = (int64_t)(from + i),
            .timestamp_ms = r->timestamp_ms,
            .key = r->key_null ? (struct bytes){0} : bytes_of(r->key.p ? (void *)r->key.p : "", r->key.n),
            .value = r->value_null ? (struct bytes){0} : bytes_of(r->value.p ? (void *)r->value.p : "", r->value.n),
            .headers = h,
            .headers_n = r->headers_n,
        };
        for (size_t k = 0; k < r->headers_n; k++)
            *h++ = (struct bus_header){buf_str(&r->headers[k].key),
                                       bytes_of(r->headers[k].value.p ? (void *)r->headers[k].value.p : "",
                                                r->headers[k].value.n)};
    }
    return out;
}

static struct fake_partition *partition(struct fake_bus *b, struct str topic, int32_t n, struct err *e)
{
    struct fake_topic *t = find(b, topic);

    if (!t || n < 0 || n >= t->partitions_n) {
        err_set(e, RC_NOT_FOUND, "no partition " STR_FMT "/%d", STR_ARG(topic), n);
        return NULL;
    }
    return &t->partitions[n];
}

static struct fake_watch *watch_find(struct fake_bus *b, const struct bus_watch *w)
{
    for (size_t i = 0; i < b->watches_n; i++)
        if (b->watches[i].w == w) return &b->watches[i];
    return NULL;
}

static void watch_drop(struct fake_bus *b, struct fake_watch *fw)
{
    struct bus_watch *w = fw->w;

    *fw = b->watches[--b->watches_n];
    answer(b, &w->op);
}

static void watch_tell(struct msg *m)
{
    struct bus_watch *w = container_of(m, struct bus_watch, op.msg);
    struct fake_bus *b = w->priv;
    struct fake_watch *fw = watch_find(b, w);
    struct err e;
    struct fake_partition *p = partition(b, w->topic, w->partition, &e);
    size_t from = (size_t)w->offset, n = 0;
    struct bus_record *r;
    bool outside;

    fw->posted = false;
    if (fw->stopping) {
        watch_drop(b, fw);
        return;
    }
    if (!p || from >= p->n) {
        if (!fw->tell) return;
        fw->tell = fw->armed = false;
        w->records(w, NULL, 0, w->offset);
        return;
    }
    fw->tell = false;
    outside = p->records[from].outside;
    while (from + n < p->n && p->records[from + n].outside == outside && (!outside || n < WATCH_BATCH))
        n++;
    fw->armed = false;
    w->offset += (int64_t)n;
    if (!outside) {                              /* our own are passed over */
        w->records(w, NULL, 0, w->offset);
        return;
    }
    r = copy_out(p, from, n);
    w->records(w, r, n, w->offset);
    free(r);
}

static void watch_wake(struct fake_bus *b, struct fake_watch *fw)
{
    struct bus_watch *w = fw->w;
    struct err e;
    struct fake_partition *p = partition(b, w->topic, w->partition, &e);

    if (!fw->armed || fw->posted || !p || (w->offset >= (int64_t)p->n && !fw->tell)) return;
    fw->posted = true;
    w->op.msg.run = watch_tell;
    mailbox_post(w->op.reply_to, &w->op.msg);
}

static void watches_wake(struct fake_bus *b, struct str topic, int32_t n)
{
    for (size_t i = 0; i < b->watches_n; i++)
        if (str_eq(b->watches[i].w->topic, topic) && b->watches[i].w->partition == n) watch_wake(b, &b->watches[i]);
}

/* ---- operations ---- */

static void fetch_again(struct fake_bus *b, struct str topic);

static void fake_append(struct bus *bus, struct bus_append *a, const struct bus_record *records, size_t n)
{
    struct fake_bus *b = of(bus);
    bool held;
    struct fake_partition *p;

    b->appends++;
    if (!failed(b, FAKE_APPEND, a->topic, &a->op) && (p = partition(b, a->topic, a->partition, &a->op.err))) {
        a->offset = (int64_t)p->n;
        for (size_t i = 0; i < n; i++)
            store(b, p, &records[i], false);
        watches_wake(b, a->topic, a->partition);
        fetch_again(b, a->topic);
    }
    held = b->hold;
    b->hold |= b->hold_appends;
    answer(b, &a->op);
    b->hold = held;
}

/* One that waits is answered when something is appended to its topic, or when the test lets time go by. */
static void fetch_do(struct fake_bus *b, struct bus_fetch *f, bool wait)
{
    struct fake_partition *p;

    f->records = NULL;
    f->records_n = 0;
    if (!failed(b, FAKE_FETCH, f->topic, &f->op) && (p = partition(b, f->topic, f->partition, &f->op.err))) {
        int64_t from = f->offset == -1 ? (int64_t)p->start : f->offset == -2 ? (int64_t)p->n : f->offset;
        size_t n = (size_t)MAX((int64_t)p->n - from, (int64_t)0);

        if (from < (int64_t)p->start) {
            err_set(&f->op.err, RC_INVALID, STR_FMT "/%d begins at %zu", STR_ARG(f->topic), f->partition, p->start);
            answer(b, &f->op);
            return;
        }
        f->records_n = MIN(n, MAX(f->size_max / 1000, (size_t)1));
        if (f->records_n) f->records = copy_out(p, (size_t)from, f->records_n);
        f->next_offset = from + (int64_t)f->records_n;
        b->fetched += f->records_n;
        f->start_offset = (int64_t)p->start;
        f->end_offset = (int64_t)p->n;
    }
    if (wait && f->wait_ms && !f->op.err.rc && !f->records_n) {
        b->waits = xrealloc(b->waits, b->waits_n + 1, sizeof *b->waits);
        b->waits[b->waits_n++] = f;
        return;
    }
    answer(b, &f->op);
}

static void fake_fetch(struct bus *bus, struct bus_fetch *f)
{
    fetch_do(of(bus), f, true);
}

static void fetch_again(struct fake_bus *b, struct str topic)
{
    for (size_t i = b->waits_n; i-- > 0;) {
        struct bus_fetch *f = b->waits[i];

        if (topic.n && !str_eq(f->topic, topic)) continue;
        b->waits[i] = b->waits[--b->waits_n];
        fetch_do(b, f, false);
    }
}

void fake_bus_tick(struct fake_bus *b)
{
    fetch_again(b, (struct str){0});
}

static void fake_watch(struct bus *bus, struct bus_watch *w)
{
    struct fake_bus *b = of(bus);
    struct err e;
    struct fake_partition *p = partition(b, w->topic, w->partition, &e);

    w->op.err = (struct err){0};
    w->priv = b;
    if (w->offset == -1) w->offset = p ? (int64_t)p->start : 0;
    if (w->offset == -2) w->offset = p ? (int64_t)p->n : 0;
    b->watches = xrealloc(b->watches, b->watches_n + 1, sizeof *b->watches);
    b->watches[b->watches_n++] = (struct fake_watch){.w = w, .armed = true};
    watch_wake(b, &b->watches[b->watches_n - 1]);
}

static void fake_watch_more(struct bus *bus, struct bus_watch *w)
{
    struct fake_bus *b = of(bus);
    struct fake_watch *fw = watch_find(b, w);

    if (!fw) return;
    fw->armed = true;
    watch_wake(b, fw);
}

static void fake_watch_tell(struct bus *bus, struct bus_watch *w)
{
    struct fake_bus *b = of(bus);
    struct fake_watch *fw = watch_find(b, w);

    if (!fw) return;
    fw->tell = true;
    watch_wake(b, fw);
}

static void fake_watch_stop(struct bus *bus, struct bus_watch *w)
{
    struct fake_bus *b = of(bus);
    struct fake_watch *fw = watch_find(b, w);

    if (!fw) return;
    fw->stopping = true;
    if (!fw->posted) watch_drop(b, fw);
}

static void fake_ensure(struct bus *bus, struct bus_topic *t)
{
    struct fake_bus *b = of(bus);
    struct fake_topic *ft;

    if (!failed(b, FAKE_ENSURE, t->topic, &t->op)) {
        ft = find(b, t->topic);
        t->created = ft == NULL;
        if (!ft) ft = create(b, t->topic, t->partitions);
        for (size_t i = 0; i < t->configs_n && t->created; i++)
            if (str_is(t->configs[i].name, "cleanup.policy"))
                snprintf(ft->cleanup_policy, sizeof ft->cleanup_policy, STR_FMT, STR_ARG(t->configs[i].value));
        t->partitions = ft->partitions_n;
        t->replication = 1;
        t->id = ft->id;
    }
    answer(b, &t->op);
}

static void fake_describe(struct bus *bus, struct bus_topic *t)
{
    struct fake_bus *b = of(bus);
    struct fake_topic *ft;

    t->start_offsets = t->end_offsets = NULL;
    t->partitions = 0;
    if (!failed(b, FAKE_DESCRIBE, t->topic, &t->op) && (ft = find(b, t->topic))) {
        snprintf(t->cleanup_policy, sizeof t->cleanup_policy, "%s", ft->cleanup_policy);
        t->partitions = ft->partitions_n;
        t->id = ft->id;
        t->start_offsets = xnew_array(int64_t, ft->partitions_n);
        t->end_offsets = xnew_array(int64_t, ft->partitions_n);
        for (int32_t p = 0; p < ft->partitions_n; p++) {
            t->start_offsets[p] = (int64_t)ft->partitions[p].start;
            t->end_offsets[p] = (int64_t)ft->partitions[p].n;
        }
    }
    answer(b, &t->op);
}

static bool topic_remove(struct fake_bus *b, struct str name)
{
    for (size_t i = 0; i < b->topics_n; i++) {
        if (!str_eq(buf_str(&b->topics[i]->name), name)) continue;
        topic_free(b->topics[i]);
        b->topics[i] = b->topics[--b->topics_n];
        return true;
    }
    return false;
}

static void fake_delete(struct bus *bus, struct bus_topic *t)
{
    struct fake_bus *b = of(bus);

    if (!failed(b, FAKE_DELETE, t->topic, &t->op) && !topic_remove(b, t->topic)) err_set(&t->op.err, RC_NOT_FOUND, "no such topic");
    answer(b, &t->op);
}

static void fake_topics(struct bus *bus, struct bus_topics *t)
{
    struct fake_bus *b = of(bus);
    size_t bytes = 0;
    char *at;

    t->op.err = (struct err){0};
    for (size_t i = 0; i < b->topics_n; i++)
        bytes += b->topics[i]->name.n;
    t->names = xcalloc(1, (b->topics_n + 1) * (sizeof *t->names + sizeof *t->partitions) + bytes);
    t->partitions = (int32_t *)(void *)(t->names + b->topics_n + 1);
    at = (char *)(t->partitions + b->topics_n + 1);
    t->names_n = 0;
    for (size_t i = 0; i < b->topics_n; i++) {
        struct str name = buf_str(&b->topics[i]->name);

        if (!str_starts(name, t->prefix)) continue;
        memcpy(at, name.p, name.n);
        t->partitions[t->names_n] = b->topics[i]->partitions_n;
        t->names[t->names_n++] = (struct str){at, name.n};
        at += name.n;
    }
    answer(b, &t->op);
}

static size_t offset_slot(struct fake_bus *b, struct str group, struct str topic, int32_t n)
{
    for (size_t i = 0; i < b->offsets_n; i++)
        if (str_eq(buf_str(&b->offsets[i].group), group) && str_eq(buf_str(&b->offsets[i].topic), topic) &&
            b->offsets[i].partition == n)
            return i;
    return b->offsets_n;
}

static void fake_commit(struct bus *bus, struct bus_commit *c)
{
    struct fake_bus *b = of(bus);

    b->commits++;
    for (size_t i = 0; !failed(b, FAKE_COMMIT, c->topic, &c->op) && i < c->offsets_n; i++) {
        size_t at = offset_slot(b, c->group, c->topic, c->offsets[i].partition);

        if (at == b->offsets_n) {
            b->offsets = xrealloc(b->offsets, ++b->offsets_n, sizeof *b->offsets);
            memset(&b->offsets[at], 0, sizeof b->offsets[at]);
            buf_append_str(&b->offsets[at].group, c->group);
            buf_append_str(&b->offsets[at].topic, c->topic);
            b->offsets[at].partition = c->offsets[i].partition;
        }
        b->offsets[at].offset = c->offsets[i].offset;
        buf_clear(&b->offsets[at].metadata);
        buf_append_str(&b->offsets[at].metadata, c->offsets[i].metadata);
    }
    answer(b, &c->op);
}

static void fake_committed(struct bus *bus, struct bus_commit *c)
{
    struct fake_bus *b = of(bus);

    c->offsets = xnew_array(struct bus_offset, c->offsets_n + 1);
    for (size_t i = 0; !failed(b, FAKE_COMMITTED, c->topic, &c->op) && i < c->offsets_n; i++) {
        size_t at = offset_slot(b, c->group, c->topic, (int32_t)i);

        c->offsets[i] = (struct bus_offset){.partition = (int32_t)i, .offset = -1};
        if (at == b->offsets_n) continue;
        c->offsets[i].offset = b->offsets[at].offset;
        c->offsets[i].metadata = buf_str(&b->offsets[at].metadata);
    }
    answer(b, &c->op);
}

static void offset_drop(struct fake_bus *b, size_t i)
{
    buf_fini(&b->offsets[i].group);
    buf_fini(&b->offsets[i].topic);
    buf_fini(&b->offsets[i].metadata);
    b->offsets[i] = b->offsets[--b->offsets_n];
}

static void fake_group_delete(struct bus *bus, struct bus_commit *c)
{
    struct fake_bus *b = of(bus);

    if (!failed(b, FAKE_GROUP_DELETE, c->topic, &c->op))
        for (size_t i = b->offsets_n; i-- > 0;)
            if (str_eq(buf_str(&b->offsets[i].group), c->group) && (!c->offsets_n || str_eq(buf_str(&b->offsets[i].topic), c->topic)))
                offset_drop(b, i);
    answer(b, &c->op);
}

static void fake_readers(struct bus *bus, struct bus_readers *r)
{
    struct fake_bus *b = of(bus);

    for (size_t i = 0; i < r->topics_n; i++)
        if (b->stranger && readers_mean(r, str_of(b->stranger)) && str_is(r->topics[i], b->stranger_topic))
            readers_add(r, str_of(b->stranger), i);
    answer(b, &r->op);
}

static bool fake_ready(const struct bus *bus, struct str *ret_why)
{
    const struct fake_bus *b = container_of(bus, const struct fake_bus, bus);

    if (b->not_ready) *ret_why = STR("the fake bus is told not to be ready");
    return !b->not_ready;
}

static void fake_close(struct bus *bus)
{
    struct fake_bus *b = of(bus);

    for (size_t i = 0; i < b->topics_n; i++)
        topic_free(b->topics[i]);
    while (b->offsets_n)
        offset_drop(b, b->offsets_n - 1);
    free(b->topics);
    free(b->offsets);
    free(b->watches);
    free(b->waits);
    free(b);
}

/* ---- membership ---- */

static void fake_join(struct bus *bus, struct bus_member *m)
{
    of(bus)->member = m;
}

static void fake_given(struct bus *bus, struct bus_member *m)
{
    must(of(bus)->member == m);
    of(bus)->given++;
}

static void fake_leave(struct bus *bus, struct bus_member *m)
{
    must(of(bus)->member == m);
    of(bus)->member = NULL;
    answer(of(bus), &m->op);
}

static const struct bus_ops fake_ops = {
    .append = fake_append,
    .fetch = fake_fetch,
    .watch = fake_watch,
    .watch_more = fake_watch_more,
    .watch_tell = fake_watch_tell,
    .watch_stop = fake_watch_stop,
    .topic_ensure = fake_ensure,
    .topic_describe = fake_describe,
    .topic_delete = fake_delete,
    .topics = fake_topics,
    .commit = fake_commit,
    .committed = fake_committed,
    .group_delete = fake_group_delete,
    .join = fake_join,
    .given = fake_given,
    .leave = fake_leave,
    .readers = fake_readers,
    .ready = fake_ready,
    .close = fake_close,
};

/* ---- for tests ---- */

struct fake_bus *fake_bus_new(void)
{
    struct fake_bus *b = xnew(struct fake_bus);

    b->bus.ops = &fake_ops;
    b->bus.facts = (struct bus_facts){.cluster_id = "fake-cluster", .incarnation = "1", .embedded = true};
    b->held_end = &b->held;
    b->wall_ms = 1000;
    return b;
}

void fake_bus_share(struct fake_bus *b)
{
    b->bus.facts.embedded = false;
}

struct bus *fake_bus_close(struct fake_bus *b)
{
    return bus_close(b ? &b->bus : NULL);
}

void fake_bus_restart(struct fake_bus *b, const char *incarnation)
{
    must(b->held_n == 0 && b->watches_n == 0 && b->waits_n == 0);
    memset(b->bus.facts.incarnation, 0, sizeof b->bus.facts.incarnation);
    memcpy(b->bus.facts.incarnation, incarnation, strlen(incarnation));
    b->fail = NULL;
}

struct fake_topic *fake_bus_topic(struct fake_bus *b, const char *name)
{
    return find(b, str_of(name));
}

void fake_bus_make(struct fake_bus *b, const char *topic, int32_t partitions)
{
    create(b, str_of(topic), partitions);
}

void fake_bus_remove(struct fake_bus *b, const char *topic)
{
    must(topic_remove(b, str_of(topic)));
}

void fake_bus_trim(struct fake_bus *b, const char *topic, int32_t n, size_t start)
{
    struct fake_topic *t = find(b, str_of(topic));

    must(t && n < t->partitions_n && start <= t->partitions[n].n);
    t->partitions[n].start = start;
}

void fake_bus_grow(struct fake_bus *b, const char *topic, int32_t partitions)
{
    struct fake_topic *t = find(b, str_of(topic));

    must(t && partitions >= t->partitions_n);
    t->partitions = xrealloc(t->partitions, (size_t)partitions, sizeof *t->partitions);
    memset(t->partitions + t->partitions_n, 0, (size_t)(partitions - t->partitions_n) * sizeof *t->partitions);
    t->partitions_n = partitions;
}

const struct fake_record *fake_bus_record(struct fake_bus *b, const char *topic, int32_t n, size_t i)
{
    struct fake_topic *t = find(b, str_of(topic));

    return t && n < t->partitions_n && i < t->partitions[n].n ? &t->partitions[n].records[i] : NULL;
}

size_t fake_bus_count(struct fake_bus *b, const char *topic)
{
    struct fake_topic *t = find(b, str_of(topic));
    size_t n = 0;

    for (int32_t p = 0; t && p < t->partitions_n; p++)
        n += t->partitions[p].n;
    return n;
}

struct str fake_record_header(const struct fake_record *r, const char *name)
{
    for (size_t i = 0; i < r->headers_n; i++)
        if (str_is(buf_str(&r->headers[i].key), name)) return buf_str(&r->headers[i].value);
    return (struct str){0};
}

int64_t fake_bus_produce(struct fake_bus *b, const char *topic, int32_t n, const struct bus_record *record)
{
    struct fake_topic *t = find(b, str_of(topic));
    int64_t offset;

    if (!t) t = create(b, str_of(topic), n + 1);
    offset = store(b, &t->partitions[n], record, true);
    watches_wake(b, str_of(topic), n);
    return offset;
}

int64_t fake_bus_land(struct fake_bus *b, struct str topic, int32_t n, const struct bus_record *record, bool outside)
{
    struct err e;
    struct fake_partition *p = partition(b, topic, n, &e);
    int64_t offset;

    if (!p) return -1;
    offset = store(b, p, record, outside);
    watches_wake(b, topic, n);
    fetch_again(b, topic);
    return offset;
}

int64_t fake_bus_committed(struct fake_bus *b, const char *group, const char *topic, int32_t n)
{
    size_t at = offset_slot(b, str_of(group), str_of(topic), n);

    return at == b->offsets_n ? -1 : b->offsets[at].offset;
}
