/* Several executors on one log. A seed makes a pipeline, its models and its topics (with more or fewer partitions than there are
 * processes), and a history: callers with and without idempotency keys, records from outside, models that answer late, a log that
 * answers late or not at all, processes that join, leave in order, are killed with half of what they had sent written, are frozen
 * and wake up as zombies, and numbers that change hands meanwhile. One seed in four has an embedded log: one process, with up
 * to four executors, which is stopped, killed and started again.
 *
 * When all is over and quiet, the log is read (audit.h): every input that is a run has the outcome that the reference says, what
 * a caller was told is that outcome, and nothing waits. SPDX-License-Identifier: Apache-2.0 */
#include "prop/audit.h"
#include "prop/processes.h"
#include "test.h"
#include <stdio.h>

enum { SEEDS = 2000, NUMBERS = 6, PARTITIONS = 5, PARTITIONS_MAX = 9, EVENTS_MIN = 60, EVENTS_MORE = 140, TIMEOUT_MS = 4000, GRACE_MS = 1000, QUIET_ROUNDS = 4000 };

static const int64_t WALL_MS = 1795366907180;
static bool trace;

#define TRACE(t, ...) do { if (trace) { printf("%7llu ", (unsigned long long)clock_mono_ms(&(t)->clock.clock)); printf(__VA_ARGS__); printf("\n"); } } while (0)

struct trial {
    struct history h;                            /* first: what the audit reads */
    struct rng g;
    struct clock_sim clock;
    struct cluster *c;
    struct proc_options o;
    struct proc procs[PROCS_MAX];
    unsigned procs_max;
    bool grows;                                  /* somebody adds partitions; then there are no idempotency keys, which would move */
    int32_t partitions;                          /* of the inputs, at first */
    char line[TEXT];
};

/* ---- models ---- */

static void model(void *ctx, struct upstream_call *c)
{
    struct trial *t = ctx;
    int step = c->target->model.p[1] - '0', tag;
    char said[64];

    history_called(&t->h, step, message_text(c->request), &tag);
    if (t->h.world.answers[step] < 0) {
        c->grpc_code = 3;
        err_set(&c->err, RC_UPSTREAM, "no");
        return;
    }
    tensors_print(said, sizeof said, tag, step, t->h.world.answers[step]);
    message_write(&c->response, said);
}

/* ---- what callers and producers do ---- */

static struct proc *proc_in(struct trial *t, enum proc_state state)
{
    struct proc *in[PROCS_MAX];
    unsigned n = 0;

    for (unsigned i = 0; i < t->procs_max; i++)
        if (t->procs[i].state == state) in[n++] = &t->procs[i];
    return n ? in[rng_below(&t->g, n)] : NULL;
}

static void ask(struct trial *t, bool direct, int key)
{
    struct proc *p = proc_in(t, PROC_LIVE);
    struct request *r = p ? history_request(&t->h, direct, t->grows ? -1 : key, 1 + (int)rng_below(&t->g, 7)) : NULL;
    unsigned lane;

    if (!r) return;
    lane = (unsigned)rng_below(&t->g, p->lanes_n);
    r->flow = p->lanes[lane].flow;
    r->proc = p;
    proc_turn(p, 0);                             /* its loops know what time it is */
    r->q.deadline_ms = clock_mono_ms(&t->clock.clock) + 100 + rng_below(&t->g, rng_below(&t->g, 4) ? 3000 : 200);
    TRACE(t, "ask %s of p%ld.%u key %d tag %d deadline %llu", r->id, (long)(p - t->procs), lane, key, r->tag, (unsigned long long)r->q.deadline_ms);
    flow_start(r->flow, &r->q);
}

static void cancel(struct trial *t)
{
    struct request *r = history_open(&t->h, rng_below(&t->g, (uint64_t)t->h.requests_n + 1));

    if (!r || r->proc->state != PROC_LIVE) return;
    TRACE(t, "cancel %s", r->id);
    r->cancelled = true;
    proc_turn(r->proc, 0);
    if (!r->times) flow_cancel(r->flow, &r->q);
}

static bool followed(const struct trial *t, bool direct, int32_t partition)
{
    if (!direct && partition >= t->partitions) partition = 0;       /* it was added when the others were */
    return fake_bus_committed(t->c->log, direct ? MODEL_GROUP : GROUP, direct ? MODEL_INPUTS : INPUTS, partition) >= 0;
}

/* Once the topic is followed: what was there before is nobody's. */
static void produce_to(struct trial *t, bool direct, int32_t partition)
{
    const char *topic = direct ? MODEL_INPUTS : INPUTS;
    AUTO(buf_fini) struct buf value = {0};
    struct bus_record rec = {.timestamp_ms = -1};
    char text[64];

    if (!followed(t, direct, partition)) return;
    if (rng_below(&t->g, 12) == 0) {
        buf_append_str(&value, STR("\xff\xff\xff"));
    } else {
        history_outside(&t->h, 1 + (int)rng_below(&t->g, 7), text, sizeof text);
        message_write(&value, text);
    }
    if (rng_below(&t->g, 2)) rec.key = str_bytes(STR("a key of his own"));
    rec.value = buf_view(&value);
    TRACE(t, "record %s/%d", topic, partition);
    fake_bus_produce(t->c->log, topic, partition, &rec);
}

static void produce(struct trial *t, bool direct)
{
    const struct fake_topic *there = fake_bus_topic(t->c->log, direct ? MODEL_INPUTS : INPUTS);

    if (there) produce_to(t, direct, (int32_t)rng_below(&t->g, (uint64_t)there->partitions_n));
}

/* ---- what happens to processes ---- */

static void start(struct trial *t)
{
    struct proc *p = proc_in(t, PROC_ABSENT);
    unsigned lanes = 1 + (unsigned)rng_below(&t->g, t->h.embedded ? LANES_MAX : 2);

    if (!p) return;
    proc_start(p, t->c, &t->o, lanes);
    TRACE(t, "p%ld starts as %s with %u lanes", (long)(p - t->procs), p->seat->bus.facts.incarnation, lanes);
}

static void cut_off(struct trial *t, const struct proc *p)
{
    for (int i = 0; i < t->h.requests_n; i++)
        if (t->h.requests[i].proc == p && !t->h.requests[i].times) t->h.requests[i].cut = true;
}

static void leave(struct trial *t)
{
    struct proc *p = proc_in(t, PROC_LIVE);

    if (!p) return;
    TRACE(t, "p%ld leaves", (long)(p - t->procs));
    cut_off(t, p);
    proc_leave(p, 200 + rng_below(&t->g, 3000));
}

static void drop(struct trial *t)
{
    static const enum proc_state states[] = {PROC_LIVE, PROC_FROZEN, PROC_LEAVING};
    struct proc *p = proc_in(t, states[rng_below(&t->g, countof(states))]);

    if (!p) return;
    TRACE(t, "p%ld is killed", (long)(p - t->procs));
    cut_off(t, p);
    t->h.disturbed = true;
    proc_kill(p);
}

static void freeze(struct trial *t)
{
    struct proc *p = proc_in(t, PROC_LIVE);
    uint64_t for_ms = rng_below(&t->g, rng_below(&t->g, 2) ? 6000 : 600);

    if (!p) return;
    TRACE(t, "p%ld is frozen for %llu ms", (long)(p - t->procs), (unsigned long long)for_ms);
    t->h.disturbed = true;
    proc_freeze(p, for_ms);
}

static void move(struct trial *t)
{
    if (!t->h.embedded && cluster_move(t->c)) {
        TRACE(t, "numbers move");
        t->h.disturbed = true;
    }
}

/* The outputs first, or the inputs alone; where the outputs have fewer, theirs stay. */
static void grow(struct trial *t)
{
    struct fake_topic *in = fake_bus_topic(t->c->log, INPUTS), *out = fake_bus_topic(t->c->log, OUTPUTS);
    int32_t n = in ? in->partitions_n + 1 + (int32_t)rng_below(&t->g, 3) : 0;

    if (!t->grows || !in || !out || n > PARTITIONS_MAX || !followed(t, false, 0)) return;
    TRACE(t, "%d partitions", n);
    if (out->partitions_n >= in->partitions_n && rng_below(&t->g, 2)) fake_bus_grow(t->c->log, OUTPUTS, MAX(n, out->partitions_n));
    fake_bus_grow(t->c->log, INPUTS, n);
}

static void wake_up(struct trial *t)
{
    for (unsigned i = 0; i < t->c->seats_n; i++)
        if (!t->c->seats[i]->away && !t->c->seats[i]->dead && rng_below(&t->g, 4) == 0) cluster_tell(t->c, t->c->seats[i]);
    cluster_balance(t->c);
}

/* ---- the course of it ---- */

static void finish(struct trial *t, unsigned n)
{
    for (; n > 0; n--)
        proc_finish(&t->procs[rng_below(&t->g, t->procs_max)], &t->g);
}

static void pass(struct trial *t, uint64_t ms)
{
    clock_sim_advance(&t->clock, ms * 1000);
    t->c->log->wall_ms = t->clock.wall_ms;
    for (unsigned i = 0; i < t->procs_max; i++) {
        enum proc_state before = t->procs[i].state;

        proc_look(&t->procs[i]);
        if (t->procs[i].state != before) TRACE(t, "p%u is %s", i, t->procs[i].state == PROC_LIVE ? "awake" : "gone");
    }
    wake_up(t);
}

static void turn(struct trial *t, unsigned steps_max)
{
    for (unsigned i = 0; i < t->procs_max; i++)
        if (rng_below(&t->g, 4)) proc_turn(&t->procs[i], (unsigned)rng_below(&t->g, steps_max + 1));
}

static void disturb(struct trial *t)
{
    switch (rng_below(&t->g, 6)) {
    case 0: start(t); break;
    case 1: leave(t); break;
    case 2: drop(t); break;
    case 3: freeze(t); break;
    default: move(t); break;
    }
}

static void event(struct trial *t)
{
    uint64_t what = rng_below(&t->g, 100);

    if (!proc_in(t, PROC_LIVE) && rng_below(&t->g, 8) == 0) start(t);
    if (what < 25) ask(t, false, -1);
    else if (what < 33) ask(t, false, (int)rng_below(&t->g, KEYS));
    else if (what < 38) ask(t, true, -1);
    else if (what < 48) produce(t, false);
    else if (what < 52) produce(t, true);
    else if (what < 54) cancel(t);
    else if (what < 55) grow(t);
    else if (what < 80) finish(t, 1 + (unsigned)rng_below(&t->g, 5));
    else if (what < 91) disturb(t);
    else for (int i = (int)rng_below(&t->g, 10); i > 0; i--) {
        turn(t, 8);
        pass(t, rng_below(&t->g, 100));
    }
    turn(t, 6);
    pass(t, rng_below(&t->g, 20));
}

static bool places_finished(const struct trial *t)
{
    static const char *const topics[] = {INPUTS, MODEL_INPUTS}, *const groups[] = {GROUP, MODEL_GROUP};

    for (size_t i = 0; i < countof(topics); i++) {
        const struct fake_topic *topic = fake_bus_topic(t->c->log, topics[i]);

        for (int32_t p = 0; topic && p < topic->partitions_n; p++)
            if (topic->partitions[p].n && fake_bus_committed(t->c->log, groups[i], topics[i], p) != (int64_t)topic->partitions[p].n) return false;
    }
    return true;
}

static void log_print(const struct trial *t)
{
    static const char *const topics[] = {INPUTS, OUTPUTS, MODEL_INPUTS, MODEL_OUTPUTS, ERRORS};

    for (size_t i = 0; i < countof(topics); i++) {
        const struct fake_topic *topic = fake_bus_topic(t->c->log, topics[i]);

        for (int32_t p = 0; topic && p < topic->partitions_n; p++)
            for (size_t k = 0; k < topic->partitions[p].n; k++) {
                const struct fake_record *r = &topic->partitions[p].records[k];

                printf("%s/%d/%zu @%lld " STR_FMT " " STR_FMT " " STR_FMT " " STR_FMT " %s\n", topics[i], p, k, (long long)(r->timestamp_ms - WALL_MS),
                       STR_ARG(buf_str(&r->key)), STR_ARG(fake_record_header(r, "millrace-run")), STR_ARG(fake_record_header(r, "millrace-idempotency")),
                       STR_ARG(fake_record_header(r, "millrace-error")), message_text(buf_view(&r->value)));
            }
    }
}

static void commits_print(struct trial *t)
{
    for (int d = 0; d < 2; d++) {
        const struct fake_topic *topic = fake_bus_topic(t->c->log, d ? MODEL_INPUTS : INPUTS);

        for (int32_t p = 0; topic && p < topic->partitions_n; p++)
            TRACE(t, "%s/%d committed %lld of %zu", d ? MODEL_INPUTS : INPUTS, p,
                  (long long)fake_bus_committed(t->c->log, d ? MODEL_GROUP : GROUP, d ? MODEL_INPUTS : INPUTS, p), topic->partitions[p].n);
    }
    for (int32_t i = 0; i < t->c->numbers_n; i++)
        TRACE(t, "number %d: %s", i, t->c->numbers[i].owner ? t->c->numbers[i].owner->bus.facts.incarnation : "nobody's");
    for (unsigned i = 0; i < t->procs_max; i++)
        TRACE(t, "p%u: state %d, %s", i, (int)t->procs[i].state, proc_idle(&t->procs[i]) ? "idle" : "not idle");
}

static bool quiet(struct trial *t)
{
    for (unsigned i = 0; i < t->procs_max; i++)
        if (t->procs[i].state != PROC_ABSENT && !proc_idle(&t->procs[i])) return false;
    return proc_in(t, PROC_LIVE) && !history_open(&t->h, 0) && cluster_settled(t->c) && places_finished(t);
}

/* A zombie that wakes up may commit once more, and so go back behind what the owner has committed since: that holds until there
 * is something new to commit. */
static void nudge(struct trial *t)
{
    for (int d = 0; d < 2; d++) {
        const struct fake_topic *topic = fake_bus_topic(t->c->log, d ? MODEL_INPUTS : INPUTS);

        for (int32_t p = 0; topic && p < topic->partitions_n; p++)
            produce_to(t, d, p);
    }
}

/* Nothing is disturbed any more, and everybody answers at once. */
static void calm_down(struct trial *t)
{
    int rounds = 0;

    t->c->faults = 0;
    for (unsigned i = 0; i < t->procs_max; i++)
        if (t->procs[i].state == PROC_FROZEN) t->procs[i].wakes_ms = MIN(t->procs[i].wakes_ms, clock_mono_ms(&t->clock.clock) + 1000);
    while (!quiet(t) && rounds++ < QUIET_ROUNDS) {
        if (!proc_in(t, PROC_LIVE)) start(t);
        finish(t, 4);
        for (unsigned i = 0; i < t->procs_max; i++)
            proc_turn(&t->procs[i], 32);
        pass(t, rounds % 4 ? 0 : 20);
        if (rounds == QUIET_ROUNDS / 2 && t->c->zombies) nudge(t);
    }
    if (trace) { commits_print(t); log_print(t); }
    SEED_MUST(&t->h, rounds < QUIET_ROUNDS, "something still waits: %s, inputs are %s", history_open(&t->h, 0) ? history_open(&t->h, 0)->id : "no request",
              places_finished(t) ? "finished" : "not finished");
}

static void stop_all(struct trial *t)
{
    for (unsigned i = 0; i < t->procs_max; i++)
        if (t->procs[i].state == PROC_LIVE) proc_leave(&t->procs[i], 10000);
    for (int rounds = 0; proc_in(t, PROC_LEAVING); rounds++) {
        SEED_MUST(&t->h, rounds < 200, "a process does not end");
        for (unsigned i = 0; i < t->procs_max; i++)
            proc_turn(&t->procs[i], 32);
        pass(t, 10);
    }
}

static void topics_make(struct trial *t)
{
    if (rng_below(&t->g, 4) == 0) fake_bus_make(t->c->log, OUTPUTS, 1 + (int32_t)rng_below(&t->g, PARTITIONS));
    if (rng_below(&t->g, 2) == 0) fake_bus_make(t->c->log, ERRORS, 1 + (int32_t)rng_below(&t->g, PARTITIONS));
}

static void options_make(struct trial *t)
{
    struct fixture x;

    fixture_options(&x);
    t->o = (struct proc_options){.clock = &t->clock.clock, .flow = x.o, .model = model, .ctx = t};
    t->o.flow.partitions = 1 + (int32_t)rng_below(&t->g, PARTITIONS);
    t->o.flow.owners = 1 + (int32_t)rng_below(&t->g, NUMBERS);
    t->o.flow.timeout_ms = TIMEOUT_MS;
    t->o.flow.recover_grace_ms = GRACE_MS;
    t->o.flow.commit_every_ms = 100;
    t->o.snapshot = fixture_snapshot(t->line);
}

static void trial(uint64_t seed)
{
    struct trial *t = xnew(struct trial);
    bool faulty;
    int events;

    random_simulate(seed);
    rng_init(&t->g, ~seed);
    clock_sim_init(&t->clock, WALL_MS);
    history_begin(&t->h, seed, rng_below(&t->g, 4) == 0, &t->clock.clock, TIMEOUT_MS);
    world_print(&t->h.world, t->line);
    options_make(t);
    t->partitions = t->o.flow.partitions;
    t->grows = rng_below(&t->g, 4) == 0;
    t->procs_max = t->h.embedded ? 1 : 1 + (unsigned)rng_below(&t->g, PROCS_MAX);
    t->c = cluster_new(&t->g, &t->clock.clock, t->h.embedded, t->o.flow.owners);
    t->c->faults = t->h.embedded || rng_below(&t->g, 2) ? 0 : (unsigned)rng_below(&t->g, 40);
    faulty = t->c->faults > 0;
    TRACE(t, "%s%s, %d partitions, %d numbers, %u processes", t->h.embedded ? "embedded: " : "", t->line, t->o.flow.partitions, t->o.flow.owners, t->procs_max);
    topics_make(t);
    start(t);
    for (events = EVENTS_MIN + (int)rng_below(&t->g, EVENTS_MORE); events > 0; events--)
        event(t);
    t->h.disturbed |= faulty;
    calm_down(t);
    t->h.zombies = t->c->zombies > 0;
    t->h.in_doubt = faulty;
    audit(&t->h, t->c->log);
    stop_all(t);
    history_end(&t->h);
    flow_snapshot_unref(&t->o.snapshot);
    cluster_free(t->c);
    free(t);
}

static uint64_t first = 1, last = SEEDS;
static const uint64_t found[] = {4433, 8287, 9465};    /* something once, and lie behind the last */

static void every_input_has_one_outcome_and_every_caller_is_told_it_whatever_happens_to_processes(void **state)
{
    (void)state;
    for (uint64_t seed = first; seed <= last; seed++)
        trial(seed);
    for (size_t i = 0; i < countof(found) && last == SEEDS; i++)
        trial(found[i]);
}

/* --seed N [--trace], --seeds N; or SEED, SEEDS in the environment */
int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_input_has_one_outcome_and_every_caller_is_told_it_whatever_happens_to_processes),
    };

    if (getenv("SEEDS")) last = strtoull(getenv("SEEDS"), NULL, 10);
    if (getenv("SEED")) first = last = strtoull(getenv("SEED"), NULL, 10);
    if (argc > 2 && strcmp(argv[1], "--seed") == 0) first = last = strtoull(argv[2], NULL, 10);
    if (argc > 2 && strcmp(argv[1], "--seeds") == 0) last = strtoull(argv[2], NULL, 10);
    trace = argc > 3 && strcmp(argv[3], "--trace") == 0;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
