/* Transactions under power cuts at random places. What was committed is there in all partitions with its offset, what was aborted
 * is nowhere, what was being ended is all there or not at all, and nothing stays open: the last stable offset reaches the end.
 * SEEDS=first..last or a number in the environment chooses how many histories. SPDX-License-Identifier: Apache-2.0 */
#include "base/diag.h"
#include "base/rng.h"
#include "test.h"
#include "txn_client.h"
#include <stdio.h>

enum { PRODUCERS = 3, PARTITIONS = 3, CYCLES = 5, STEPS = 60, TXNS_MAX = 2000, SEEDS_DEFAULT = 60 };

enum outcome { OPEN, ABORTED, COMMITTED, MAYBE };        /* MAYBE: EndTxn was asked for and not answered */
struct txn_made { enum outcome outcome; unsigned owner; bool in[PARTITIONS], offset; };

struct history {
    struct rig rig;
    struct txn_client p[PRODUCERS];
    struct client reader;
    struct rng rng;
    struct txn_made txns[TXNS_MAX];
    int txns_n, now[PRODUCERS];                          /* now: the open one; -1 none */
    bool lost[PRODUCERS];                                /* has to begin anew */
    uint64_t seed;
    unsigned commits;
};

static const char *const ids[PRODUCERS] = {"alpha", "beta", "gamma"};

static uint64_t pick(struct history *h, uint64_t n)
{
    return rng_below(&h->rng, n);
}

static void fail_here(const struct history *h, const char *what, long long number)
{
    print_message("seed %llu: %s (%lld)\n", (unsigned long long)h->seed, what, number);
    fail();
}

/* ---- what producers do ---- */

static void drop(struct history *h, unsigned i, enum outcome outcome)
{
    if (h->now[i] >= 0) h->txns[h->now[i]].outcome = outcome;
    h->now[i] = -1;
    h->lost[i] = true;
}

static void write_one(struct history *h, unsigned i)
{
    unsigned at = (unsigned)pick(h, PARTITIONS);

    if (h->now[i] < 0) {
        must(h->txns_n < TXNS_MAX);
        h->txns[h->txns_n] = (struct txn_made){.owner = i};
        h->now[i] = h->txns_n++;
    }
    if (h->txns[h->now[i]].in[at]) return;
    if (txn_client_add(&h->p[i], "t", (int32_t)at) || txn_client_write(&h->p[i], "t", (int32_t)at, h->now[i])) {
        drop(h, i, OPEN);
        return;
    }
    h->txns[h->now[i]].in[at] = true;
}

static void commit_offset(struct history *h, unsigned i)
{
    if (h->now[i] < 0) return;
    if (txn_client_offset(&h->p[i], "g", "t", (int32_t)i, h->now[i])) drop(h, i, OPEN);
    else h->txns[h->now[i]].offset = true;
}

static void end_one(struct history *h, unsigned i)
{
    bool commit = pick(h, 3) != 0;
    int16_t code;

    if (h->now[i] < 0) return;
    code = txn_client_end(&h->p[i], commit);
    if (code) {
        drop(h, i, commit && code == TXN_LOST ? MAYBE : ABORTED);
        return;
    }
    h->txns[h->now[i]].outcome = commit ? COMMITTED : ABORTED;
    h->commits += commit;
    h->now[i] = -1;
}

static void step(struct history *h)
{
    unsigned i = (unsigned)pick(h, PRODUCERS);
    uint64_t what = pick(h, 100);

    if (h->lost[i]) {
        h->lost[i] = txn_client_init(&h->p[i]) != 0;
    } else if (what < 55) {
        write_one(h, i);
    } else if (what < 65) {
        commit_offset(h, i);
    } else if (what < 92) {
        end_one(h, i);
    } else if (what < 95) {
        drop(h, i, OPEN);                                /* another instance takes over */
    } else {
        rig_advance(&h->rig, pick(h, 40000));            /* some run out of time */
    }
    arena_reset(&h->p[i].k.arena);
}

/* ---- what readers find ---- */

static void check_values(struct history *h, bool seen[PARTITIONS][TXNS_MAX])
{
    for (int t = 0; t < h->txns_n; t++) {
        struct txn_made *x = &h->txns[t];
        int found = 0, wanted = 0;

        for (int p = 0; p < PARTITIONS; p++) {
            wanted += x->in[p];
            found += x->in[p] && seen[p][t];
            if (seen[p][t] && x->outcome == OPEN) fail_here(h, "a transaction that nobody committed is seen", t);
            if (seen[p][t] && !x->in[p]) fail_here(h, "a value that was never acknowledged", t);
        }
        if (x->outcome == COMMITTED && found != wanted) fail_here(h, "a committed transaction is torn or gone", t);
        if (x->outcome == ABORTED && found) fail_here(h, "an aborted transaction is seen", t);
        if (x->outcome == MAYBE && found && found != wanted) fail_here(h, "a transaction is torn", t);
        if (x->outcome == MAYBE && wanted) x->outcome = found ? COMMITTED : ABORTED;
    }
}

static void check_offsets(struct history *h)
{
    for (unsigned i = 0; i < PRODUCERS; i++) {
        int16_t code;
        int64_t have = txn_committed(&h->reader, "g", "t", (int32_t)i, &code), want = -1, perhaps = -1;

        if (code) fail_here(h, "an offset stays unstable", code);
        for (int t = 0; t < h->txns_n; t++)
            if (h->txns[t].owner == i && h->txns[t].offset) {
                if (h->txns[t].outcome == COMMITTED) want = t;
                if (h->txns[t].outcome == MAYBE) perhaps = t;
            }
        if (have != want && have != perhaps) fail_here(h, "an offset that its transaction did not commit", have);
        for (int t = 0; t < h->txns_n; t++)              /* of those that wrote nothing, the offset is all there is to see */
            if (h->txns[t].owner == i && h->txns[t].outcome == MAYBE) h->txns[t].outcome = t == have ? COMMITTED : ABORTED;
    }
}

static void check(struct history *h)
{
    static bool seen[PARTITIONS][TXNS_MAX];
    static int values[TXNS_MAX];

    memset(seen, 0, sizeof seen);
    for (int p = 0; p < PARTITIONS; p++) {
        int64_t stable, high;
        int n = txn_read(&h->reader, "t", p, values, TXNS_MAX, &stable, &high);

        if (n < 0) fail_here(h, "no answer to Fetch", p);
        if (stable != high) fail_here(h, "the last stable offset hangs", stable);
        for (int i = 0; i < n; i++) {
            if (values[i] < 0 || values[i] >= h->txns_n) fail_here(h, "a value that nobody wrote", values[i]);
            if (seen[p][values[i]]) fail_here(h, "a value twice", values[i]);
            seen[p][values[i]] = true;
        }
    }
    check_values(h, seen);
    check_offsets(h);
    arena_reset(&h->reader.arena);
}

/* ---- histories ---- */

static void open_whatever_happens(struct history *h)
{
    for (unsigned tries = 0;; tries++) {
        if (tries < 3 && pick(h, 3) == 0) fs_sim_cut_at(h->rig.disk, fs_sim_ops(h->rig.disk) + 1 + pick(h, 60));
        if (!rig_open(&h->rig)) {
            rig_settle(&h->rig);
            if (!fs_sim_is_cut(h->rig.disk)) break;
            rig_crash(&h->rig);
        } else if (!fs_sim_is_cut(h->rig.disk)) {
            fail_here(h, h->rig.err.text, 0);
        }
        rig_settle(&h->rig);
        fs_sim_power_on(h->rig.disk);
    }
    fs_sim_cut_at(h->rig.disk, 0);
}

static void clients_open(struct history *h)
{
    client_open(&h->reader, &h->rig);
    for (unsigned i = 0; i < PRODUCERS; i++) {
        int32_t sequence[TXN_PARTITIONS];
        int64_t pid = h->p[i].pid;
        int16_t epoch = h->p[i].epoch;

        memcpy(sequence, h->p[i].sequence, sizeof sequence);
        txn_client_open(&h->p[i], &h->rig, ids[i]);
        h->p[i].timeout_ms = 50000;
        h->p[i].pid = pid;
        h->p[i].epoch = epoch;
        memcpy(h->p[i].sequence, sequence, sizeof sequence);
    }
}

static void clients_close(struct history *h)
{
    client_close(&h->reader);
    for (unsigned i = 0; i < PRODUCERS; i++) txn_client_close(&h->p[i]);
}

/* Some go on with their transaction; before the check all are ended, by a new instance. */
static void after_a_stop(struct history *h)
{
    clients_open(h);
    for (unsigned k = 0; k < 6; k++) step(h);
    for (unsigned i = 0; i < PRODUCERS; i++) {
        if (h->now[i] >= 0) drop(h, i, OPEN);
        if (txn_client_init(&h->p[i])) fail_here(h, "a producer cannot begin", i);
        h->lost[i] = false;
    }
    check(h);
}

static unsigned one_history(uint64_t seed)
{
    static const struct broker_setting settings[] = {{{"offsets.topic.num.partitions", 28}, {"3", 1}},
                                                     {{"transaction.state.log.num.partitions", 36}, {"3", 1}},
                                                     {{"log.segment.bytes", 17}, {"4000", 4}}};
    struct history *h = xnew(struct history);
    unsigned commits;

    h->seed = seed;
    rng_init(&h->rng, seed);
    rig_init(&h->rig, seed);
    h->rig.opt.settings = settings;
    h->rig.opt.settings_n = countof(settings);
    for (unsigned i = 0; i < PRODUCERS; i++) h->now[i] = -1, h->lost[i] = true, h->p[i].pid = -1;
    if (rig_open(&h->rig)) fail_here(h, h->rig.err.text, 0);
    clients_open(h);
    client_create(&h->reader, "t", PARTITIONS, NULL, NULL);
    for (unsigned cycle = 0; cycle < CYCLES; cycle++) {
        if (pick(h, 4)) fs_sim_cut_at(h->rig.disk, fs_sim_ops(h->rig.disk) + 1 + pick(h, 150));
        for (unsigned k = 0; k < STEPS && !fs_sim_is_cut(h->rig.disk); k++) step(h);
        clients_close(h);
        if (fs_sim_is_cut(h->rig.disk) || pick(h, 2)) {
            fs_sim_cut(h->rig.disk);
            rig_crash(&h->rig);
            fs_sim_power_on(h->rig.disk);
        } else {
            rig_close(&h->rig);
        }
        open_whatever_happens(h);
        after_a_stop(h);
    }
    commits = h->commits;
    clients_close(h);
    rig_fini(&h->rig);
    free(h);
    return commits;
}

static void a_transaction_is_seen_whole_or_not_at_all(void **state)
{
    const char *s = getenv("SEEDS");
    uint64_t first = 1, last = SEEDS_DEFAULT, commits = 0;

    (void)state;
    diag_set_levels(STR("error"));
    if (s && strstr(s, "..")) first = strtoull(s, NULL, 10), last = strtoull(strstr(s, "..") + 2, NULL, 10);
    else if (s) last = strtoull(s, NULL, 10);
    for (uint64_t seed = first; seed <= last; seed++) commits += one_history(seed);
    assert_true(commits > last - first);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_transaction_is_seen_whole_or_not_at_all)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
