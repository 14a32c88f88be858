/* Power cuts at random places of random histories, several in a row on the same disk, also during recovery.
 * SEEDS=first..last or a number in the environment chooses how many. SPDX-License-Identifier: Apache-2.0 */
#include "crash/history.h"

enum { CYCLES = 5, STEPS = 150, SEEDS_DEFAULT = 150 };

/* Opens; the power may go away meanwhile, then again, until it stays. */
static void open_whatever_happens(struct history *h)
{
    for (unsigned tries = 0;; tries++) {
        if (tries < 4 && pick(h, 3) == 0) fs_sim_cut_at(h->disk, fs_sim_ops(h->disk) + 1 + pick(h, 40));
        if (!storage_open(&h->t)) {
            if (!fs_sim_is_cut(h->disk)) break;
            history_crash(h);
            continue;
        }
        if (!fs_sim_is_cut(h->disk)) fail_with(h, "the folder does not open", 0, 0);
        fs_sim_power_on(h->disk);
    }
    fs_sim_cut_at(h->disk, 0);
}

static void one_history(uint64_t seed)
{
    struct history h;

    history_init(&h, seed);
    for (unsigned cycle = 0; cycle < CYCLES; cycle++) {
        open_whatever_happens(&h);
        history_check(&h);
        if (pick(&h, 4)) fs_sim_cut_at(h.disk, fs_sim_ops(h.disk) + 1 + pick(&h, 400));
        for (unsigned k = 0; k < STEPS && !fs_sim_is_cut(h.disk); k++) history_step(&h);
        if (!fs_sim_is_cut(h.disk) && pick(&h, 2)) {
            uint64_t staged;

            history_settle(&h);
            staged = store_staged_seq(h.t.store);
            h.t.store = store_close(h.t.store);
            if (!fs_sim_is_cut(h.disk)) h.acked = staged;
        } else {
            history_crash(&h);
        }
    }
    open_whatever_happens(&h);
    history_check(&h);
    history_fini(&h);
}

static void acknowledged_records_survive_power_cuts(void **state)
{
    const char *s = getenv("SEEDS");
    uint64_t    first = 1, last = SEEDS_DEFAULT;

    (void)state;
    if (s && strstr(s, "..")) first = strtoull(s, NULL, 10), last = strtoull(strstr(s, "..") + 2, NULL, 10);
    else if (s) last = strtoull(s, NULL, 10);
    for (uint64_t seed = first; seed <= last; seed++) one_history(seed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(acknowledged_records_survive_power_cuts)};

    diag_set_levels(STR("error"));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
