/* Design note: the values are small numbers, so what is known of each lies in an array; what was seen at each offset is one
 * list, sorted by log, offset and value, in which neighbours that contradict each other are found at sight. The truth about
 * a log is what the auditors read of it at the end. SPDX-License-Identifier: Apache-2.0 */
#include "checker.h"

#include <stdio.h>

enum { NONE = UINT32_MAX };

struct value {
    uint32_t begun, done, log, client, txn, key;   /* NONE: did not happen */
    enum result result;
    int64_t sent_offset;             /* as its producer was told; -1 not told */
    int64_t final_offset;            /* as the auditor read it; -1 not there */
    int64_t read_offset;             /* as any reader saw it first; -1 nobody did */
    uint32_t read_at, reader;
    bool visible;                    /* to the auditor of committed records */
    bool bus;                        /* sent by the bus */
    uint64_t source;                 /* the value it was made of */
    uint32_t reg;                    /* … and how far its maker has committed */
    bool consumed;                   /* by somebody who is no auditor */
};

struct txn { bool commit_begun, committed, aborted, unknown; uint32_t commit_at; };
struct log_end { bool known; int64_t start, end, stable; };
struct sight { uint32_t log; int64_t offset; uint64_t value; uint32_t at; };
struct final { int64_t offset; uint64_t value; bool visible, bus; };

struct check {
    const struct history *h;
    struct verdict *v;
    struct value *values;
    struct txn *txns;
    struct log_end *ends;
    struct final **finals;           /* by log: what the auditor read, in its order */
    size_t *finals_n;
    struct places { uint32_t *at; size_t n, cap; } *regs;       /* by register: its writes and looks */
};

static void found(struct check *c, const char *name, const char *fmt, ...) PRINTF(3, 4);
static void found(struct check *c, const char *name, const char *fmt, ...)
{
    struct anomaly *a = &c->v->anomalies[c->v->n];
    va_list ap;

    if (c->v->n == ANOMALIES_MAX) return;
    c->v->n++;
    a->name = name;
    va_start(ap, fmt);
    vsnprintf(a->text, sizeof a->text, fmt, ap);
    va_end(ap);
}

static const char *log_name(const struct check *c, uint32_t log)
{
    return c->h->logs[log].name;
}

static bool is_auditor(uint32_t client)
{
    return client < CLIENTS_FIRST;
}

/* ---- what is known of each value, transaction and log ---- */

static void note_send(struct check *c, const struct event *e, uint32_t at)
{
    struct value *v = &c->values[e->value];

    v->begun = at;
    v->log = e->log;
    v->client = e->client;
    v->txn = e->txn;
    v->key = e->key;
    v->bus = e->bus;
    v->source = e->source;
    v->reg = e->reg;
}

static void note_sent(struct check *c, const struct event *e, uint32_t at)
{
    struct value *v = &c->values[e->value];

    v->done = at;
    v->result = e->result;
    if (e->result == RESULT_OK) v->sent_offset = e->offset;
}

static void note_read(struct check *c, const struct event *e, uint32_t at)
{
    struct value *v = &c->values[e->value];

    if (!e->value || e->value > c->h->values) return;
    if (v->read_offset < 0) {
        v->read_offset = e->offset;
        v->read_at = at;
        v->reader = e->client;
    }
    if (e->client == AUDITOR) v->final_offset = e->offset;
    if (e->client == AUDITOR_COMMITTED) v->visible = true;
    if (!is_auditor(e->client)) v->consumed = true;
}

static void note_txn(struct check *c, const struct event *e, uint32_t at)
{
    struct txn *t = &c->txns[e->txn];

    if (e->kind == EVENT_TXN_END) {
        if (e->value && !t->commit_begun) t->commit_at = at;
        t->commit_begun |= e->value == 1;
    } else if (e->result == RESULT_OK) {
        t->committed |= e->value == 1;
        t->aborted |= e->value == 0;
    } else if (e->result == RESULT_FAILED) {
        t->aborted |= e->value == 1;                              /* a commit that was refused */
    } else if (e->result == RESULT_UNKNOWN) {
        t->unknown = true;
    }
}

static void note_final(struct check *c, const struct event *e)
{
    struct final *f;

    c->finals[e->log] =
        xrealloc(c->finals[e->log], c->finals_n[e->log] + 1, sizeof *c->finals[e->log]);
    f = &c->finals[e->log][c->finals_n[e->log]++];
    *f = (struct final){.offset = e->offset, .value = e->value};
}

static void note_register(struct check *c, const struct event *e, uint32_t at)
{
    struct places *p = &c->regs[e->reg];

    if (p->n == p->cap) {
        p->cap = MAX(2 * p->cap, 64u);
        p->at = xrealloc(p->at, p->cap, sizeof *p->at);
    }
    p->at[p->n++] = at;
}

static void take_notes(struct check *c)
{
    for (uint64_t i = 0; i <= c->h->values; i++)
        c->values[i] = (struct value){.begun = NONE,
                                      .done = NONE,
                                      .read_at = NONE,
                                      .result = RESULT_UNKNOWN,
                                      .sent_offset = -1,
                                      .final_offset = -1,
                                      .read_offset = -1};
    for (uint32_t at = 0; at < c->h->n; at++) {
        const struct event *e = &c->h->events[at];

        if (e->kind == EVENT_SEND) note_send(c, e, at);
        if (e->kind == EVENT_SENT) note_sent(c, e, at);
        if (e->kind == EVENT_READ) note_read(c, e, at);
        if (e->kind == EVENT_READ && e->client == AUDITOR) note_final(c, e);
        if (e->kind == EVENT_TXN_END || e->kind == EVENT_TXN_ENDED) note_txn(c, e, at);
        if (e->kind == EVENT_WRITE || e->kind == EVENT_WRITTEN || e->kind == EVENT_SEEN) note_register(c, e, at);
        if (e->kind == EVENT_FINAL)
            c->ends[e->log] = (struct log_end){true, e->offset, e->next, (int64_t)e->value};
    }
    for (uint32_t log = 0; log < c->h->logs_n; log++)
        for (size_t i = 0; i < c->finals_n[log]; i++) {
            struct final *f = &c->finals[log][i];

            f->visible = f->value && f->value <= c->h->values && c->values[f->value].visible;
            f->bus = f->value && f->value <= c->h->values && c->values[f->value].bus;
        }
}

/* ---- single values ---- */

static bool is_kept(const struct check *c, const struct value *v, int64_t offset)
{
    const struct history_log *l = &c->h->logs[v->log];

    if (l->doomed || !c->ends[v->log].known || offset < c->ends[v->log].start) return false;
    if (!l->compacted) return true;
    for (size_t i = 0; i < c->finals_n[v->log]; i++) {
        const struct final *f = &c->finals[v->log][i];

        if (f->offset > offset && f->value && c->values[f->value].key == v->key) return false;
    }
    return true;
}

static void check_value(struct check *c, uint64_t number)
{
    const struct value *v = &c->values[number];
    int64_t offset = v->sent_offset >= 0 ? v->sent_offset : v->read_offset;

    if (v->begun == NONE) {
        if (v->read_offset >= 0)
            found(c, "invented", "value %llu was read at offset %lld, and nobody sent it",
                  (unsigned long long)number, (long long)v->read_offset);
        return;
    }
    if (v->read_offset >= 0 && v->read_at < v->begun)
        found(c, "invented", "value %llu was read before it was sent", (unsigned long long)number);
    if (v->read_offset >= 0 && v->result == RESULT_FAILED && v->done != NONE)
        found(c, "G1a", "value %llu in %s was refused, and is read at offset %lld",
              (unsigned long long)number, log_name(c, v->log), (long long)v->read_offset);
    if (offset >= 0 && v->final_offset < 0 && is_kept(c, v, offset))
        found(c, "lost-write", "value %llu, %s at offset %lld of %s, is not there at the end",
              (unsigned long long)number, v->sent_offset >= 0 ? "acknowledged" : "read",
              (long long)offset, log_name(c, v->log));
    if (v->sent_offset >= 0 && v->final_offset >= 0 && !v->txn && !v->consumed &&
        is_kept(c, v, offset))
        found(c, "unseen", "value %llu at offset %lld of %s was given to no reader",
              (unsigned long long)number, (long long)offset, log_name(c, v->log));
}

/* ---- what was seen where ---- */

static int sight_cmp(const void *x, const void *y)
{
    const struct sight *a = x, *b = y;

    if (a->log != b->log) return a->log < b->log ? -1 : 1;
    if (a->offset != b->offset) return a->offset < b->offset ? -1 : 1;
    return a->value < b->value ? -1 : a->value > b->value;
}

static int sight_cmp_value(const void *x, const void *y)
{
    const struct sight *a = x, *b = y;

    if (a->value != b->value) return a->value < b->value ? -1 : 1;
    if (a->log != b->log) return a->log < b->log ? -1 : 1;
    return a->offset < b->offset ? -1 : a->offset > b->offset;
}

static size_t sights_of(struct check *c, struct sight *s)
{
    size_t n = 0;

    for (uint32_t at = 0; at < c->h->n; at++) {
        const struct event *e = &c->h->events[at];
        bool told = e->kind == EVENT_SENT && e->result == RESULT_OK && e->offset >= 0;

        if (told || e->kind == EVENT_READ) s[n++] = (struct sight){e->log, e->offset, e->value, at};
    }
    return n;
}

static void check_sights(struct check *c)
{
    struct sight *s = xcalloc(c->h->n + 1, sizeof *s);
    size_t n = sights_of(c, s);

    qsort(s, n, sizeof *s, sight_cmp);
    for (size_t i = 1; i < n; i++)
        if (s[i].log == s[i - 1].log && s[i].offset == s[i - 1].offset &&
            s[i].value != s[i - 1].value)
            found(c, "inconsistent-offsets", "offset %lld of %s is value %llu (event %u) and %llu (event %u)",
                  (long long)s[i].offset, log_name(c, s[i].log), (unsigned long long)s[i - 1].value,
                  s[i - 1].at, (unsigned long long)s[i].value, s[i].at);
    qsort(s, n, sizeof *s, sight_cmp_value);
    for (size_t i = 1; i < n; i++) {
        const struct sight *a = &s[i - 1], *b = &s[i];
        bool told = c->h->events[a->at].kind == EVENT_SENT || c->h->events[b->at].kind == EVENT_SENT;

        if (!a->value || a->value != b->value) continue;
        if (a->log != b->log)
            found(c, "invented", "value %llu is in %s and in %s", (unsigned long long)a->value,
                  log_name(c, a->log), log_name(c, b->log));
        else if (a->offset != b->offset)
            found(c, told ? "inconsistent-offsets" : "duplicate",
                  "value %llu is at offsets %lld (event %u) and %lld (event %u) of %s",
                  (unsigned long long)a->value, (long long)a->offset, a->at, (long long)b->offset,
                  b->at, log_name(c, a->log));
    }
    free(s);
}

/* ---- readers ---- */

struct position { bool known; int64_t next; };

static void check_skipped(struct check *c, const struct event *e, uint32_t at)
{
    uint32_t read = e->begun;
    int64_t last = -1;

    for (size_t i = 0; i < c->finals_n[e->log]; i++) {
        const struct final *f = &c->finals[e->log][i];
        bool wanted = (e->committed ? f->visible : f->value != 0) && !(e->bus && f->bus);

        if (f->offset < e->offset || f->offset >= e->next || !wanted) continue;
        while (read < at && c->h->events[read].offset < f->offset)
            last = c->h->events[read++].offset;
        if (read < at && c->h->events[read].offset == f->offset) continue;
        found(c, last < 0 ? "poll-skip" : "int-poll-skip",
              "client %u read %s from %lld to %lld (event %u) and was not given offset %lld",
              e->client, log_name(c, e->log), (long long)e->offset, (long long)e->next, at,
              (long long)f->offset);
        return;
    }
}

static void check_read(struct check *c, const struct event *e, uint32_t at)
{
    const struct value *v = &c->values[e->value];
    const struct txn *t;

    if (!e->value || e->value > c->h->values) {
        if (e->value)
            found(c, "invented", "value %llu was never given out", (unsigned long long)e->value);
        return;
    }
    if (e->bus && v->bus)
        found(c, "echo", "a watch of the bus was given value %llu, which the bus sent (event %u)", (unsigned long long)e->value, at);
    if (!e->committed || !v->txn) return;
    t = &c->txns[v->txn];
    if (t->aborted && !t->committed)
        found(c, "G1a", "client %u was given value %llu of transaction %u, which was aborted (event %u)",
              e->client, (unsigned long long)e->value, v->txn, at);
    else if (!t->commit_begun || t->commit_at > at)
        found(c, "precommitted-read", "client %u was given value %llu before transaction %u was committed (event %u)",
              e->client, (unsigned long long)e->value, v->txn, at);
}

static void check_polled(struct check *c, struct position *p, const struct event *e, uint32_t at)
{
    for (uint32_t i = e->begun + 1; i < at; i++)
        if (c->h->events[i].offset <= c->h->events[i - 1].offset)
            found(c, "int-nonmonotonic-poll", "client %u was given offset %lld of %s after %lld (event %u)",
                  e->client, (long long)c->h->events[i].offset, log_name(c, e->log),
                  (long long)c->h->events[i - 1].offset, i);
    if (e->begun < at && c->h->events[e->begun].offset < e->offset)
        found(c, "nonmonotonic-poll", "client %u asked %s for %lld and was given %lld (event %u)", e->client,
              log_name(c, e->log), (long long)e->offset, (long long)c->h->events[e->begun].offset, at);
    if (p->known && e->offset < p->next)
        found(c, "nonmonotonic-poll", "client %u read %s at %lld after %lld (event %u)", e->client,
              log_name(c, e->log), (long long)e->offset, (long long)p->next, at);
    if (p->known && e->offset > p->next)
        found(c, "poll-skip", "client %u read %s at %lld after %lld (event %u)", e->client,
              log_name(c, e->log), (long long)e->offset, (long long)p->next, at);
    *p = (struct position){true, e->next};
    check_skipped(c, e, at);
}

static void check_readers(struct check *c)
{
    uint32_t clients = CLIENTS_FIRST;
    struct position *positions;

    for (size_t i = 0; i < c->h->n; i++)
        clients = MAX(clients, c->h->events[i].client + 1);
    positions = xcalloc((size_t)clients * (c->h->logs_n + 1), sizeof *positions);
    for (uint32_t at = 0; at < c->h->n; at++) {
        const struct event *e = &c->h->events[at];
        struct position *p = &positions[e->client * c->h->logs_n + e->log];

        if (e->kind == EVENT_READ) check_read(c, e, at);
        if (e->kind == EVENT_SEEK) *p = (struct position){true, e->offset};
        if (e->kind == EVENT_POLLED) check_polled(c, p, e, at);
    }
    free(positions);
}

/* ---- writers ---- */

static void check_order(struct check *c)
{
    uint32_t clients = CLIENTS_FIRST;
    int64_t *last;

    for (size_t i = 0; i < c->h->n; i++)
        clients = MAX(clients, c->h->events[i].client + 1);
    last = xcalloc((size_t)clients * (c->h->logs_n + 1), sizeof *last);
    for (uint32_t at = 0; at < c->h->n; at++) {
        const struct event *e = &c->h->events[at];
        int64_t *l = &last[e->client * c->h->logs_n + e->log];
        const struct value *v = &c->values[e->value];
        int64_t offset;

        if (e->kind != EVENT_SEND) continue;
        offset = v->final_offset >= 0 ? v->final_offset : v->sent_offset;
        if (offset < 0) continue;
        if (offset < *l)
            found(c, "nonmonotonic-send", "client %u sent value %llu to %s after one that has a later offset",
                  e->client, (unsigned long long)e->value, log_name(c, e->log));
        *l = offset + 1;
    }
    free(last);
}

static void check_log(struct check *c, uint32_t log)
{
    const struct history_log *l = &c->h->logs[log];
    const struct log_end *end = &c->ends[log];
    int64_t next = end->start;

    if (!end->known) return;
    for (size_t i = 0; i < c->finals_n[log] && !l->compacted; i++) {
        if (c->finals[log][i].offset < end->start) continue;
        if (c->finals[log][i].offset != next) {
            found(c, "gap", "%s has no offset %lld", l->name, (long long)next);
            break;
        }
        next++;
    }
    if (!l->compacted && next < end->end)
        found(c, "gap", "%s ends at %lld, and its records at %lld", l->name, (long long)end->end,
              (long long)next);
    if (end->stable != end->end)
        found(c, "stable-stuck", "%s is stable up to %lld of %lld", l->name, (long long)end->stable,
              (long long)end->end);
}

static void check_txns(struct check *c)
{
    for (uint32_t t = 1; t <= c->h->txns; t++) {
        uint64_t in = 0, out = 0;

        for (uint64_t i = 1; i <= c->h->values; i++) {
            const struct value *v = &c->values[i];

            if (v->txn != t || v->final_offset < 0) continue;
            if (v->visible) in = i;
            else out = i;
        }
        if (in && out)
            found(c, "torn-transaction", "of transaction %u value %llu is visible and %llu is not", t,
                  (unsigned long long)in, (unsigned long long)out);
        if (out && !in && c->txns[t].committed)
            found(c, "lost-write", "transaction %u was committed, and value %llu is not visible", t,
                  (unsigned long long)out);
    }
}

/* What was read up to the committed offset (the auditor's last look) has become something once, what lies behind it has not. */
static void check_processed(struct check *c, const struct event *seen)
{
    unsigned *made = xcalloc(c->h->values + 1, sizeof *made);
    bool any = false;

    for (uint64_t i = 1; i <= c->h->values; i++) {
        const struct value *v = &c->values[i];

        if (!v->source || v->reg != seen->reg) continue;
        any = true;
        if (v->visible) made[v->source]++;
    }
    for (size_t i = 0; i < c->finals_n[seen->log] && any; i++) {
        const struct final *f = &c->finals[seen->log][i];
        bool consumed = f->offset < seen->offset;

        if (!f->visible || made[f->value] == (consumed ? 1 : 0)) continue;
        found(c, made[f->value] ? "processed-twice" : "unprocessed", "value %llu at offset %lld of %s was made into %u, and %s is %lld",
              (unsigned long long)f->value, (long long)f->offset, log_name(c, seen->log), made[f->value], c->h->regs[seen->reg].name,
              (long long)seen->offset);
    }
    free(made);
}

/* Transactions that have read from each other: a walk along "has read a value of", which must not come back. */
static bool reads_from(const struct check *c, uint32_t reader, uint32_t writer, uint8_t *been)
{
    if (been[reader]++) return false;
    for (size_t i = 0; i < c->h->n; i++) {
        const struct event *e = &c->h->events[i];
        uint32_t from;

        if (e->kind != EVENT_READ || e->txn != reader || !e->value) continue;
        from = c->values[e->value].txn;
        if (!from || from == reader || !c->txns[from].committed) continue;
        if (from == writer || reads_from(c, from, writer, been)) return true;
    }
    return false;
}

static void check_circles(struct check *c)
{
    uint8_t *been = xcalloc(c->h->txns + 1, 1);

    for (uint32_t t = 1; t <= c->h->txns; t++) {
        if (!c->txns[t].committed) continue;
        memset(been, 0, c->h->txns + 1);
        if (reads_from(c, t, t, been)) {
            found(c, "G1c", "transaction %u has read what depends on itself", t);
            break;
        }
    }
    free(been);
}

/* ---- bounds ---- */

static void check_bounds_of(struct check *c, const struct event *e, uint32_t at)
{
    int64_t start = 0, end = 0, stable = 0;

    for (uint32_t i = 0; i < e->begun; i++) {
        const struct event *x = &c->h->events[i];

        if (x->log != e->log) continue;
        if (x->kind == EVENT_BOUNDS) {
            start = MAX(start, x->offset);
            end = MAX(end, x->next);
            stable = MAX(stable, (int64_t)x->value);
        }
        if (x->kind == EVENT_TRIMMED && x->result == RESULT_OK) start = MAX(start, x->offset);
        if (x->kind == EVENT_SENT && x->result == RESULT_OK) end = MAX(end, x->offset + 1);
        if (x->kind == EVENT_READ) end = MAX(end, x->offset + 1);
    }
    if (e->offset >= 0 && e->offset < start)
        found(c, "start-backwards", "%s began at %lld, now at %lld (event %u)", log_name(c, e->log),
              (long long)start, (long long)e->offset, at);
    if (e->next >= 0 && e->next < end)
        found(c, "end-backwards", "%s was known up to %lld, and now ends at %lld (event %u)",
              log_name(c, e->log), (long long)end, (long long)e->next, at);
    if ((int64_t)e->value >= 0 && (int64_t)e->value < stable)
        found(c, "stable-backwards", "%s was stable up to %lld, now to %lld (event %u)", log_name(c, e->log),
              (long long)stable, (long long)e->value, at);
}

/* ---- registers ---- */

/* When a value that was seen began to be written, where only one write can have been it: nothing (0) is there before any. */
static uint32_t only_write(const struct check *c, const struct event *seen)
{
    const struct places *p = &c->regs[seen->reg];
    uint32_t ret = NONE;

    for (size_t i = 0; i < p->n && seen->value; i++) {
        const struct event *x = &c->h->events[p->at[i]];

        if (x->kind != EVENT_WRITE || x->value != seen->value) continue;
        if (ret != NONE) return NONE;
        ret = p->at[i];
    }
    return ret;
}

/* May a look that lasted from `begun` to `at` have seen the write that began at `w` and ended at `w_done`? Not when another one
 * that is known to have happened came after it, and was over (or seen) before the look began. */
static bool is_stale(const struct check *c, const struct event *seen, uint32_t w_done)
{
    const struct places *p = &c->regs[seen->reg];

    for (size_t i = 0; i < p->n && p->at[i] < seen->begun; i++) {
        const struct event *x = &c->h->events[p->at[i]];
        uint32_t by;

        if (x->kind == EVENT_WRITTEN && x->result == RESULT_OK && x->begun > w_done &&
            x->value != seen->value)
            return true;
        if (x->kind != EVENT_SEEN || x->result != RESULT_OK || x->value == seen->value) continue;
        by = only_write(c, x);
        if (x->begun > w_done || (by != NONE && by > w_done)) return true;
    }
    return false;
}

static void check_seen(struct check *c, const struct event *e, uint32_t at)
{
    const struct places *p = &c->regs[e->reg];
    bool any = e->value == 0, fresh = e->value == 0 && !is_stale(c, e, 0);

    for (size_t i = 0; i < p->n && p->at[i] < at && !fresh; i++) {
        const struct event *x = &c->h->events[p->at[i]];
        uint32_t done = NONE;

        if (x->kind != EVENT_WRITE || x->value != e->value) continue;
        for (size_t k = i + 1; k < p->n && p->at[k] < at && done == NONE; k++)
            if (c->h->events[p->at[k]].kind == EVENT_WRITTEN && c->h->events[p->at[k]].begun == p->at[i]) done = p->at[k];
        if (done != NONE && c->h->events[done].result == RESULT_FAILED) continue;
        any = true;
        fresh = done == NONE || !is_stale(c, e, done);
    }
    if (!any)
        found(c, "lost-register", "%s has value %llu, which nobody wrote (event %u)",
              c->h->regs[e->reg].name, (unsigned long long)e->value, at);
    else if (!fresh)
        found(c, "stale-register", "%s has value %llu, which was overwritten before (event %u)",
              c->h->regs[e->reg].name, (unsigned long long)e->value, at);
}

/* ---- groups ---- */

static void check_owner(struct check *c, const struct event *e, uint32_t at)
{
    for (uint32_t i = 0; i < at; i++) {
        const struct event *x = &c->h->events[i];

        if (x->kind != EVENT_OWNS || x->reg != e->reg) continue;
        if (x->value == e->value && x->log == e->log && x->client != e->client)
            found(c, "two-owners", "in generation %llu of %s both client %u and client %u have %s (event %u)",
                  (unsigned long long)e->value, c->h->regs[e->reg].name, x->client, e->client,
                  log_name(c, e->log), at);
        if (x->value > e->value && i < e->begun)
            found(c, "generation-backwards", "%s was at generation %llu, now %llu (event %u)",
                  c->h->regs[e->reg].name, (unsigned long long)x->value, (unsigned long long)e->value, at);
    }
}

/* A commit in a generation (next; of the group whose register stands in key) after another one has begun its work. */
static void check_zombie(struct check *c, const struct event *e, uint32_t at)
{
    if (e->next <= 0 || e->result != RESULT_OK) return;
    for (uint32_t i = 0; i < e->begun; i++) {
        const struct event *x = &c->h->events[i];

        if (x->kind == EVENT_OWNS && x->reg == e->key && (int64_t)x->value > e->next)
            found(c, "zombie-commit", "client %u committed in generation %lld of %s, which was at %llu already (event %u)",
                  e->client, (long long)e->next, c->h->regs[e->key].name, (unsigned long long)x->value, at);
    }
}

/* The newer protocol: who has a log of a group, as its members see it. A member that is given what another one has, and has not given
 * up, while that one may still count on it, is the second owner; one that commits after another was given the log is a zombie. */
static void check_lease(struct check *c, const struct event *e, uint32_t at)
{
    const struct event *last = NULL;

    for (uint32_t i = 0; i < at; i++) {
        const struct event *x = &c->h->events[i];

        if ((x->kind != EVENT_LEASE && x->kind != EVENT_YIELD) || x->reg != e->reg || x->log != e->log) continue;
        if (x->kind == EVENT_LEASE) last = x;
        else if (last && last->client == x->client) last = NULL;
    }
    if (!last || last->client == e->client) return;
    for (uint32_t i = at; i--;) {
        const struct event *x = &c->h->events[i];

        if (x->kind != EVENT_ALIVE || x->reg != e->reg || x->client != last->client) continue;
        if (x->value > e->at_us)
            found(c, "two-owners", "client %u is given %s of %s, which client %u has (event %u)", e->client, log_name(c, e->log),
                  c->h->regs[e->reg].name, last->client, at);
        return;
    }
}

static void check_lease_zombie(struct check *c, const struct event *e, uint32_t at)
{
    const struct event *last = NULL;

    if (!e->key || e->result != RESULT_OK) return;
    for (uint32_t i = 0; i < e->begun; i++) {
        const struct event *x = &c->h->events[i];

        if (x->kind == EVENT_LEASE && x->reg == e->key && x->log == e->log) last = x;
    }
    if (last && last->client != e->client)
        found(c, "zombie-commit", "client %u committed %s for %s, which client %u had been given (event %u)", e->client, log_name(c, e->log),
              c->h->regs[e->key].name, last->client, at);
}

/* ---- all of it ---- */

static void check_events(struct check *c)
{
    for (uint32_t at = 0; at < c->h->n && c->v->n < ANOMALIES_MAX; at++) {
        const struct event *e = &c->h->events[at];

        if (e->kind == EVENT_BOUNDS) check_bounds_of(c, e, at);
        if (e->kind == EVENT_SEEN && e->result == RESULT_OK) check_seen(c, e, at);
        if (e->kind == EVENT_SEEN && e->result == RESULT_OK && e->client == AUDITOR) check_processed(c, e);
        if (e->kind == EVENT_WRITTEN) check_zombie(c, e, at);
        if (e->kind == EVENT_WRITTEN) check_lease_zombie(c, e, at);
        if (e->kind == EVENT_LEASE) check_lease(c, e, at);
        if (e->kind == EVENT_OWNS) check_owner(c, e, at);
        if (e->kind == EVENT_STUCK) found(c, "stuck", "client %u does not get on (event %u)", e->client, at);
    }
}

void history_check(const struct history *h, struct verdict *ret)
{
    struct check c = {.h = h, .v = ret};

    *ret = (struct verdict){0};
    c.values = xcalloc(h->values + 1, sizeof *c.values);
    c.txns = xcalloc(h->txns + 1, sizeof *c.txns);
    c.ends = xcalloc(h->logs_n + 1, sizeof *c.ends);
    c.finals = xcalloc(h->logs_n + 1, sizeof *c.finals);
    c.finals_n = xcalloc(h->logs_n + 1, sizeof *c.finals_n);
    c.regs = xcalloc(h->regs_n + 1, sizeof *c.regs);
    take_notes(&c);
    for (uint64_t i = 1; i <= h->values; i++)
        check_value(&c, i);
    check_sights(&c);
    check_readers(&c);
    check_order(&c);
    for (uint32_t i = 0; i < h->logs_n; i++)
        check_log(&c, i);
    check_txns(&c);
    check_circles(&c);
    check_events(&c);
    for (size_t i = 0; i < h->logs_n; i++)
        free(c.finals[i]);
    for (size_t i = 0; i < h->regs_n; i++)
        free(c.regs[i].at);
    free(c.regs);
    free(c.finals);
    free(c.finals_n);
    free(c.ends);
    free(c.txns);
    free(c.values);
}

bool verdict_has(const struct verdict *v, const char *name)
{
    for (size_t i = 0; i < v->n; i++)
        if (!strcmp(v->anomalies[i].name, name)) return true;
    return false;
}
