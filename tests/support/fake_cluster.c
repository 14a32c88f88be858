/* SPDX-License-Identifier: Apache-2.0 */
#include "fake_cluster.h"
#include <stdio.h>
#include <string.h>

enum { ACK_LOST_MS = 1000, MOVED_MAX = 3 };

enum kind { APPEND, FETCH, ENSURE, DESCRIBE, DELETE, TOPICS, COMMIT, COMMITTED, GROUP_DELETE, READERS };

struct waiting {
    struct list link;
    enum kind kind;
    void *what;
    struct bus_op *op;
    /* an append: */
    struct arena arena;
    struct bus_record *records;
    size_t n;
    bool landed, lost;                           /* lost: its acknowledgement */
    uint64_t due_ms;                             /* then it is answered that it took too long; 0: never */
};

static struct seat *of(struct bus *b)
{
    return container_of(b, struct seat, bus);
}

static bool chance(struct seat *s, unsigned of_thousand)
{
    return of_thousand > 0 && rng_below(s->c->rng, 1000) < of_thousand;
}

/* ---- answers ---- */

static void op_run(struct msg *m)
{
    struct bus_op *op = container_of(m, struct bus_op, msg);

    op->done(op);
}

static void answer(struct bus_op *op)
{
    op->msg.run = op_run;
    mailbox_post(op->reply_to, &op->msg);
}

static void waiting_free(struct waiting *w)
{
    list_remove(&w->link);
    arena_fini(&w->arena);
    free(w);
}

static void refuse(struct waiting *w, enum rc rc, const char *why)
{
    err_set(&w->op->err, rc, "%s", why);
    answer(w->op);
    waiting_free(w);
}

static struct waiting *put(struct seat *s, enum kind kind, void *what, struct bus_op *op)
{
    struct waiting *w = xnew(struct waiting);

    w->kind = kind;
    w->what = what;
    w->op = op;
    w->due_ms = op->deadline_ms;
    op->err = (struct err){0};
    list_push(&s->waiting, &w->link);
    return w;
}

/* A dead process's own operations come back, as they do when a bus is closed. */
static void put_or_refuse(struct seat *s, enum kind kind, void *what, struct bus_op *op)
{
    struct waiting *w = put(s, kind, what, op);

    if (s->dead) refuse(w, RC_CANCELLED, "the process was killed");
}

/* ---- appends ---- */

static void record_keep(struct arena *a, struct bus_record *to, const struct bus_record *from)
{
    *to = *from;
    to->key = from->key.p ? arena_dup(a, from->key) : from->key;
    to->value = from->value.p ? arena_dup(a, from->value) : from->value;
    to->headers = arena_array(a, struct bus_header, from->headers_n);
    for (size_t i = 0; i < from->headers_n; i++) {
        to->headers[i].key = arena_dup_str(a, from->headers[i].key);
        to->headers[i].value = from->headers[i].value.p ? arena_dup(a, from->headers[i].value) : from->headers[i].value;
    }
}

static void seat_append(struct bus *b, struct bus_append *a, const struct bus_record *records, size_t n)
{
    struct seat *s = of(b);
    struct waiting *w = put(s, APPEND, a, &a->op);

    if (s->dead) {
        refuse(w, RC_CANCELLED, "the process was killed");
        return;
    }
    w->records = arena_array(&w->arena, struct bus_record, n);
    for (size_t i = 0; i < n; i++)
        record_keep(&w->arena, &w->records[i], &records[i]);
    w->n = n;
}

static bool same_place(const struct waiting *w, const struct bus_append *a)
{
    const struct bus_append *other = w->what;

    return w->kind == APPEND && other->partition == a->partition && str_eq(other->topic, a->topic);
}

/* Appends keep their order: those of a partition, or, embedded, all of them. */
static struct waiting *first_before(struct seat *s, struct waiting *w)
{
    bool embedded = s->bus.facts.embedded;

    list_each(l, &s->waiting) {
        struct waiting *other = container_of(l, struct waiting, link);

        if (other == w) return w;
        if (!other->lost && other->kind == APPEND && (embedded || same_place(other, w->what))) return other;
    }
    return w;
}

static bool append_land(struct seat *s, struct waiting *w)
{
    struct bus_append *a = w->what;


    for (size_t i = 0; i < w->n; i++) {
        int64_t at = fake_bus_land(s->c->log, a->topic, a->partition, &w->records[i], !s->bus.facts.embedded);

        if (at < 0) return false;
        if (i == 0) a->offset = at;
    }
    return w->landed = true;
}

static void append_step(struct seat *s, struct waiting *w)
{
    if (w->landed) {
        answer(w->op);
        waiting_free(w);
    } else if (chance(s, s->c->faults)) {
        refuse(w, RC_UNAVAILABLE, "the cluster says no");
    } else if (!append_land(s, w)) {
        refuse(w, RC_NOT_FOUND, "no such partition");
    } else if (chance(s, s->c->faults)) {
        w->lost = true;
        if (!w->due_ms) w->due_ms = clock_mono_ms(s->c->clock) + ACK_LOST_MS;
    }
}

/* ---- the others ---- */

static void carry_out(struct bus *log, enum kind kind, void *what)
{
    switch (kind) {
    case APPEND: break;
    case FETCH: bus_fetch(log, what); break;
    case ENSURE: bus_topic_ensure(log, what); break;
    case DESCRIBE: bus_topic_describe(log, what); break;
    case DELETE: bus_topic_delete(log, what); break;
    case TOPICS: bus_topics(log, what); break;
    case COMMIT: bus_commit(log, what); break;
    case COMMITTED: bus_committed(log, what); break;
    case GROUP_DELETE: bus_group_delete(log, what); break;
    case READERS: bus_readers(log, what); break;
    }
}

static size_t ready_n(const struct seat *s)
{
    size_t n = 0;

    list_each(l, &s->waiting)
        n += !container_of(l, struct waiting, link)->lost;
    return n;
}

static struct waiting *ready_at(struct seat *s, size_t i)
{
    list_each(l, &s->waiting) {
        struct waiting *w = container_of(l, struct waiting, link);

        if (!w->lost && i-- == 0) return w;
    }
    return NULL;
}

bool seat_step(struct seat *s)
{
    size_t n = ready_n(s);
    struct waiting *w;

    if (s->away || n == 0) return false;
    w = ready_at(s, rng_below(s->c->rng, n));
    if (w->kind == APPEND) {
        append_step(s, first_before(s, w));
    } else if (chance(s, s->c->faults)) {
        refuse(w, RC_UNAVAILABLE, "the cluster says no");
    } else {
        carry_out(&s->c->log->bus, w->kind, w->what);
        waiting_free(w);
    }
    return true;
}

void seat_due(struct seat *s)
{
    uint64_t now = clock_mono_ms(s->c->clock);

    if (s->away) return;
    list_each_safe(l, &s->waiting) {
        struct waiting *w = container_of(l, struct waiting, link);

        if (w->due_ms && w->due_ms <= now) refuse(w, RC_TIMEOUT, "not acknowledged in time: outcome unknown");
    }
}

void seat_kill(struct seat *s)
{
    list_each_safe(l, &s->waiting) {
        struct waiting *w = container_of(l, struct waiting, link);
        struct waiting *before = w->kind == APPEND ? first_before(s, w) : w;

        if (w->kind == APPEND && !w->landed && before == w && chance(s, 500)) append_land(s, w);
    }
    s->dead = true;
    while (!list_empty(&s->waiting))
        refuse(container_of(s->waiting.next, struct waiting, link), RC_CANCELLED, "the process was killed");
}

/* ---- the group ---- */

struct news { struct msg msg; struct bus_member *m; bool taken, lost; size_t n; int32_t numbers[NUMBERS_MAX]; };

static void news_run(struct msg *m)
{
    struct news *w = container_of(m, struct news, msg);

    if (w->taken) w->m->taken(w->m, w->numbers, w->n);
    else w->m->wanted(w->m, w->numbers, w->n, w->lost);
    free(w);
}

static void news_post(struct seat *s, const struct news *from)
{
    struct news *w;

    if (!s->member || from->n == 0) return;
    w = xnew(struct news);
    *w = *from;
    w->msg.run = news_run;
    w->m = s->member;
    mailbox_post(s->member->op.reply_to, &w->msg);
}

static bool may_own(const struct seat *s)
{
    return s->member && !s->expired && !s->dead;
}

/* To somebody, whoever that is; nobody who can have it: to nobody. */
static struct seat *somebody(struct cluster *c, const struct seat *but)
{
    struct seat *can[SEATS_MAX];
    unsigned n = 0;

    for (unsigned i = 0; i < c->seats_n; i++)
        if (c->seats[i] != but && may_own(c->seats[i])) can[n++] = c->seats[i];
    return n ? can[rng_below(c->rng, n)] : NULL;
}

void cluster_balance(struct cluster *c)
{
    for (int32_t i = 0; i < c->numbers_n; i++) {
        struct seat *to = c->numbers[i].owner ? NULL : somebody(c, NULL);

        if (!to) continue;
        c->numbers[i].owner = to;
        c->numbers[i].next = NULL;
        news_post(to, &(struct news){.taken = true, .n = 1, .numbers = {i}});
    }
}

bool cluster_move(struct cluster *c)
{
    struct seat *from = c->numbers[rng_below(c->rng, (uint64_t)c->numbers_n)].owner;
    struct seat *to = from ? somebody(c, from) : NULL;
    struct news w = {0};

    if (!to || from->giving || !may_own(from)) return false;
    for (int32_t i = 0; i < c->numbers_n && w.n < MOVED_MAX; i++) {
        if (c->numbers[i].owner != from || rng_below(c->rng, 2)) continue;
        c->numbers[i].next = to;
        c->numbers[i].asked = true;
        w.numbers[w.n++] = i;
    }
    from->giving = w.n > 0;
    news_post(from, &w);
    return w.n > 0;
}

/* Whatever it had is nobody's. */
static void numbers_free(struct cluster *c, const struct seat *s)
{
    for (int32_t i = 0; i < c->numbers_n; i++) {
        if (c->numbers[i].next == s) c->numbers[i].next = NULL;
        if (c->numbers[i].owner != s) continue;
        c->numbers[i].owner = NULL;
        c->numbers[i].asked = false;
    }
}

static void seat_join(struct bus *b, struct bus_member *m)
{
    struct seat *s = of(b);

    m->op.err = (struct err){0};
    s->member = m;
}

static void seat_given(struct bus *b, struct bus_member *m)
{
    struct seat *s = of(b);
    struct cluster *c = s->c;

    if (s->member != m || !s->giving) return;    /* it has left, or its session ended, meanwhile */
    s->giving = false;
    for (int32_t i = 0; i < c->numbers_n; i++) {
        struct seat *next = c->numbers[i].next;

        if (c->numbers[i].owner != s || !c->numbers[i].asked) continue;
        c->numbers[i].owner = c->numbers[i].next = NULL;
        c->numbers[i].asked = false;
        if (!next || !may_own(next)) continue;
        c->numbers[i].owner = next;
        news_post(next, &(struct news){.taken = true, .n = 1, .numbers = {i}});
    }
}

static void seat_leave(struct bus *b, struct bus_member *m)
{
    struct seat *s = of(b);

    must(s->member == m);
    s->member = NULL;
    s->giving = false;
    if (!s->dead) numbers_free(s->c, s);
    answer(&m->op);
}

void cluster_expire(struct cluster *c, struct seat *s)
{
    numbers_free(c, s);
    c->zombies++;
    s->expired = true;
    s->giving = false;
}

void cluster_tell(struct cluster *c, struct seat *s)
{
    struct news w = {.lost = true};

    if (!s->expired) return;
    for (int32_t i = 0; i < c->numbers_n; i++)
        w.numbers[w.n++] = i;
    news_post(s, &w);
    s->expired = false;
}

bool cluster_settled(const struct cluster *c)
{
    bool settled = true;

    for (unsigned i = 0; i < c->seats_n; i++)
        settled &= !c->seats[i]->giving && !c->seats[i]->expired;
    for (int32_t i = 0; i < c->numbers_n; i++)
        settled &= c->numbers[i].owner && may_own(c->numbers[i].owner);
    return settled || c->numbers_n == 0;
}

/* ---- the bus ---- */

static void seat_fetch(struct bus *b, struct bus_fetch *f)
{
    put_or_refuse(of(b), FETCH, f, &f->op);
}

static void seat_watch(struct bus *b, struct bus_watch *w)
{
    bus_watch(&of(b)->c->log->bus, w);
}

static void seat_watch_more(struct bus *b, struct bus_watch *w)
{
    bus_watch_more(&of(b)->c->log->bus, w);
}

static void seat_watch_tell(struct bus *b, struct bus_watch *w)
{
    bus_watch_tell(&of(b)->c->log->bus, w);
}

static void seat_watch_stop(struct bus *b, struct bus_watch *w)
{
    bus_watch_stop(&of(b)->c->log->bus, w);
}

static void seat_ensure(struct bus *b, struct bus_topic *t)
{
    put_or_refuse(of(b), ENSURE, t, &t->op);
}

static void seat_describe(struct bus *b, struct bus_topic *t)
{
    t->start_offsets = t->end_offsets = NULL;
    t->partitions = 0;
    put_or_refuse(of(b), DESCRIBE, t, &t->op);
}

static void seat_delete(struct bus *b, struct bus_topic *t)
{
    put_or_refuse(of(b), DELETE, t, &t->op);
}

static void seat_topics(struct bus *b, struct bus_topics *t)
{
    put_or_refuse(of(b), TOPICS, t, &t->op);
}

static void seat_commit(struct bus *b, struct bus_commit *c)
{
    put_or_refuse(of(b), COMMIT, c, &c->op);
}

static void seat_committed(struct bus *b, struct bus_commit *c)
{
    c->offsets = NULL;
    put_or_refuse(of(b), COMMITTED, c, &c->op);
}

static void seat_group_delete(struct bus *b, struct bus_commit *c)
{
    put_or_refuse(of(b), GROUP_DELETE, c, &c->op);
}

static void seat_readers(struct bus *b, struct bus_readers *r)
{
    put_or_refuse(of(b), READERS, r, &r->op);
}

static bool seat_ready(const struct bus *b, struct str *ret_why)
{
    (void)b, (void)ret_why;
    return true;
}

static const struct bus_ops seat_ops = {
    .append = seat_append,
    .fetch = seat_fetch,
    .watch = seat_watch,
    .watch_more = seat_watch_more,
    .watch_tell = seat_watch_tell,
    .watch_stop = seat_watch_stop,
    .topic_ensure = seat_ensure,
    .topic_describe = seat_describe,
    .topic_delete = seat_delete,
    .topics = seat_topics,
    .commit = seat_commit,
    .committed = seat_committed,
    .group_delete = seat_group_delete,
    .readers = seat_readers,
    .join = seat_join,
    .given = seat_given,
    .leave = seat_leave,
    .ready = seat_ready,
};

struct seat *seat_new(struct cluster *c)
{
    struct seat *s = xnew(struct seat);

    must(c->seats_n < SEATS_MAX);
    s->bus.ops = &seat_ops;
    s->bus.facts = c->log->bus.facts;
    snprintf(s->bus.facts.incarnation, sizeof s->bus.facts.incarnation, "start%u", ++c->made);
    s->c = c;
    list_init(&s->waiting);
    c->seats[c->seats_n++] = s;
    return s;
}

struct seat *seat_free(struct seat *s)
{
    struct cluster *c = s->c;

    must(list_empty(&s->waiting) && !s->member);
    numbers_free(c, s);
    for (unsigned i = 0; i < c->seats_n; i++)
        if (c->seats[i] == s) c->seats[i] = c->seats[--c->seats_n];
    free(s);
    return NULL;
}

struct cluster *cluster_new(struct rng *rng, const struct clock *clock, bool embedded, int32_t numbers)
{
    struct cluster *c = xnew(struct cluster);

    must(numbers <= NUMBERS_MAX);
    c->log = fake_bus_new();
    c->rng = rng;
    c->clock = clock;
    if (embedded) return c;
    fake_bus_share(c->log);
    c->numbers_n = numbers;
    return c;
}

struct cluster *cluster_free(struct cluster *c)
{
    must(c->seats_n == 0);
    fake_bus_close(c->log);
    free(c);
    return NULL;
}
