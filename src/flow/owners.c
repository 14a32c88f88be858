/* Who recovers what, on a Kafka that several processes share. Partition p belongs to the owner of number p mod the partition
 * count of the control.owners topic; a consumer group on that topic spreads the numbers over the processes. Executor 0 is the
 * member; the other executors are told, so that they prefer numbers of their own for what they admit. With an embedded broker
 * this process owns every number and joins nothing.
 *
 * A number that is to be given up is given up when its outside runs have ended; whoever gets it starts them again at once.
 * One that is lost is somebody else's already. SPDX-License-Identifier: Apache-2.0 */
#include "base/diag.h"
#include "flow/owners.h"
#include "flow/tap.h"
#include <inttypes.h>

enum { RETRY_MS = 1000, GIVE_MS = 10000 };

bool owners_shared(const struct flow *f)
{
    return !bus_facts(f->bus)->embedded;
}

bool owners_mine(const struct flow *f, int32_t partition)
{
    if (!owners_shared(f)) return true;
    return f->owners_n > 0 && f->owned[partition % f->owners_n];
}

int32_t owners_prefer(struct flow *f, int32_t partitions)
{
    for (int32_t i = 0; f->owned_n > 0 && owners_shared(f) && i < partitions; i++) {
        int32_t p = (int32_t)(f->partition_next++ % (uint32_t)partitions);

        if (owners_mine(f, p)) return p;
    }
    return (int32_t)(f->partition_next++ % (uint32_t)partitions);
}

static void owned_set(struct flow *f, const bool *owned, int32_t n)
{
    free(f->owned);
    f->owned = xnew_array(bool, (size_t)n);
    memcpy(f->owned, owned, (size_t)n * sizeof *owned);
    f->owners_n = n;
    f->owned_n = 0;
    for (int32_t i = 0; i < n; i++)
        f->owned_n += owned[i];
}

/* ---- the other executors ---- */

struct note { struct msg msg; struct flow *to; int32_t n; bool owned[]; };

static void note_read(struct msg *m)
{
    struct note *note = container_of(m, struct note, msg);

    if (!note->to->closed) owned_set(note->to, note->owned, note->n);
    free(note);
}

static void others_tell(const struct flow *f)
{
    for (unsigned i = 0; f->group && i < f->group->n; i++) {
        struct flow *to = f->group->all[i];
        struct note *note;

        if (to == f) continue;
        note = xcalloc(1, sizeof *note + (size_t)f->owners_n * sizeof note->owned[0]);
        note->msg.run = note_read;
        note->to = to;
        note->n = f->owners_n;
        memcpy(note->owned, f->owned, (size_t)f->owners_n * sizeof note->owned[0]);
        mailbox_post(loop_mailbox(to->loop), &note->msg);
    }
}

static void places_look(struct map *places)
{
    struct bytes key;
    void *value;
    size_t at = 0;

    while (map_next(places, &at, &key, &value)) {
        tap_owners(value);
        intake_owners(value);
    }
}

static void changed(struct flow *f, const char *what, size_t n)
{
    diag(DIAG_INFO, "flow.owners", KV_CSTR("what", what), KV_U64("numbers", n), KV_I64("owned", f->owned_n),
         KV_I64("of", f->owners_n));
    others_tell(f);
    places_look(&f->pipelines);
    places_look(&f->models);
    places_gone(f, f->snapshot);
}

/* ---- what is given up ---- */

static void give(struct flow *f)
{
    if (!f->giving) return;
    f->giving = false;
    timer_cancel(loop_timers(f->loop), &f->give_timer);
    bus_given(f->bus, &f->member);
}

static void give_late(struct timer *t)
{
    struct flow *f = container_of(t, struct flow, give_timer);

    diag(DIAG_WARN, "flow.owners", KV_CSTR("why", "runs of numbers that are to be given up did not end in time; they may be run twice"));
    give(f);
}

static bool run_foreign(const struct flow_run *r)
{
    return r->counted && r->key_made && !owners_mine(r->f, r->partition);
}

void owners_run_ended(struct flow *f)
{
    if (!f->giving || f->giving_busy) return;
    list_each(l, &f->runs)
        if (run_foreign(container_of(l, struct flow_run, link))) return;
    give(f);
}

/* Ending one run may end others, so they are taken one by one. What was submitted already comes back on its own. */
static void runs_cancel(struct flow *f)
{
    struct list todo;

    f->giving_busy = true;
    list_move(&f->runs, &todo);
    for (struct list *l; (l = list_pop(&todo));) {
        struct flow_run *r = container_of(l, struct flow_run, link);

        list_push(&f->runs, l);
        if (!run_foreign(r)) continue;
        r->pins++;
        r->silent = true;
        timer_cancel(loop_timers(f->loop), &r->outcome_retry);
        flow_run_stop(r, RC_CANCELLED, STR("this number belongs to another process now"));
        r->pins--;
        flow_run_release(r);
    }
    f->giving_busy = false;
}

/* ---- the member ---- */

static void taken(struct bus_member *m, const int32_t *numbers, size_t n)
{
    struct flow *f = container_of(m, struct flow, member);

    if (f->closed) return;
    for (size_t i = 0; i < n; i++) {
        if (numbers[i] < 0 || numbers[i] >= f->owners_n) continue;
        f->owned_n += !f->owned[numbers[i]];
        f->owned[numbers[i]] = true;
    }
    changed(f, "taken", n);
}

static void wanted(struct bus_member *m, const int32_t *numbers, size_t n, bool lost)
{
    struct flow *f = container_of(m, struct flow, member);

    if (f->closed) return;
    for (size_t i = 0; i < n; i++) {
        if (numbers[i] < 0 || numbers[i] >= f->owners_n) continue;
        f->owned_n -= f->owned[numbers[i]];
        f->owned[numbers[i]] = false;
    }
    changed(f, lost ? "lost" : "given up", n);
    runs_cancel(f);
    if (lost) {
        f->giving = false;
        timer_cancel(loop_timers(f->loop), &f->give_timer);
        return;
    }
    f->giving = true;
    loop_timer(f->loop, &f->give_timer, GIVE_MS, give_late);
    owners_run_ended(f);
}

static void all_lost(struct flow *f)
{
    AUTO(arena_fini) struct arena a = {0};

    f->giving = false;
    timer_cancel(loop_timers(f->loop), &f->give_timer);
    if (!f->owned_n) return;
    owned_set(f, arena_array(&a, bool, (size_t)f->owners_n), f->owners_n);
    changed(f, "lost", 0);
    runs_cancel(f);
}

static void owners_again(struct timer *t)
{
    owners_begin(container_of(t, struct flow, owners_timer));
}

static void retry(struct flow *f, const struct err *why)
{
    diag(DIAG_WARN, "flow.owners", KV_STR("topic", f->owners_topic), KV_CSTR("why", why->text));
    if (!f->draining) loop_timer(f->loop, &f->owners_timer, RETRY_MS, owners_again);
}

static void member_done(struct bus_op *op)
{
    struct flow *f = container_of(op, struct flow, member.op);

    f->joined = false;
    if (!f->closed) {
        all_lost(f);
        if (op->err.rc == RC_INVALID && f->o.shared_refused) f->o.shared_refused(f->o.shared_ctx);
        else if (op->err.rc) retry(f, &op->err);
    }
    flow_returned(f);
}

static void join(struct flow *f)
{
    f->joined = true;
    f->lent++;
    f->member = (struct bus_member){.op = {.reply_to = loop_mailbox(f->loop), .done = member_done},
                                    .group = f->owners_group,
                                    .topic = f->owners_topic,
                                    .taken = taken,
                                    .wanted = wanted};
    bus_join(f->bus, &f->member);
}

static void topic_ensured(struct bus_op *op)
{
    struct flow *f = container_of(op, struct flow, owners_ensure.op);

    if (!op->err.rc && f->owners_ensure.partitions < 1) err_set(&op->err, RC_NOT_FOUND, "the topic is not there yet");
    if (!f->closed && op->err.rc) {
        retry(f, &op->err);
    } else if (!f->closed && !f->draining) {
        AUTO(arena_fini) struct arena a = {0};

        owned_set(f, arena_array(&a, bool, (size_t)f->owners_ensure.partitions), f->owners_ensure.partitions);
        join(f);
    }
    bus_topic_fini(&f->owners_ensure);
    flow_returned(f);
}

void owners_begin(struct flow *f)
{
    if (!owners_shared(f) || f->o.loop_index != 0) return;
    f->owners_ensure = (struct bus_topic){.op = {.reply_to = loop_mailbox(f->loop), .done = topic_ensured},
                                          .topic = f->owners_topic,
                                          .partitions = f->o.owners,
                                          .replication = f->o.replication};
    f->lent++;
    bus_topic_ensure(f->bus, &f->owners_ensure);
}

void owners_leave(struct flow *f)
{
    timer_cancel(loop_timers(f->loop), &f->owners_timer);
    timer_cancel(loop_timers(f->loop), &f->give_timer);
    f->giving = false;                           /* whoever leaves gives everything up */
    if (f->joined && !f->leaving_group) bus_leave(f->bus, &f->member);
    f->leaving_group = true;
}
