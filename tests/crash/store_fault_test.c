/* The n-th call to the disk fails, for every n: whatever the store then says, what it acknowledged is there when it is opened
 * again. Once with an error of the disk, once with a full disk, once and for ever. FAULT_FROM=n in the environment skips
 * the first ones.
 * SPDX-License-Identifier: Apache-2.0 */
#include "crash/history.h"

enum { STEPS = 90 };

struct fault_case { enum rc rc; bool forever, power_cut; };

/* The same history every time, on a disk whose n-th call fails. False when there is no n-th call any more. */
static bool one_failure(const struct fault_case *c, uint64_t n)
{
    struct history   h;
    struct fs_fault *fault;
    bool             fired;

    history_init(&h, 77);
    fault = fs_fault_new(fs_sim_fs(h.disk));
    h.t.opt.fs = fs_fault_fs(fault);
    fs_fault_arm(fault, n, c->rc, c->forever);
    h.seed = n;
    if (!storage_open(&h.t)) {
        for (unsigned k = 0; k < STEPS; k++) history_step(&h);
        history_settle(&h);
        if (h.t.fatal_n > 1) fail_with(&h, "told twice that it is over", 0, 0);
        if (n % 2 && !c->power_cut) h.t.store = store_close(h.t.store);
    }
    fired = fs_fault_fired(fault);
    fs_fault_disarm(fault);
    if (h.t.store) {
        if (c->power_cut) fs_sim_cut(h.disk);
        h.t.store = store_abandon(h.t.store);
    }
    if (c->power_cut) fs_sim_power_on(h.disk);
    if (storage_open(&h.t)) fail_with(&h, "the folder does not open", 0, (int64_t)n);
    history_check(&h);
    for (unsigned k = 0; k < STEPS / 3; k++) history_step(&h);
    history_settle(&h);
    if (store_is_fatal(h.t.store)) fail_with(&h, "it does not go on", 0, (int64_t)n);
    history_fini(&h);
    fs_fault_free(fault);
    return fired;
}

/* Recovery of a folder with work to do meets the n-th failure; then it opens for good. */
static bool one_failure_in_recovery(const struct fault_case *c, uint64_t n, uint64_t seed)
{
    struct history   h;
    struct fs_fault *fault;
    bool             fired;

    history_init(&h, seed);
    h.seed = n;
    fault = fs_fault_new(fs_sim_fs(h.disk));
    h.t.opt.fs = fs_fault_fs(fault);
    if (storage_open(&h.t)) fail_with(&h, "the folder does not open", 0, 0);
    for (unsigned k = 0; k < STEPS; k++) history_step(&h);
    history_crash(&h);
    fs_fault_arm(fault, n, c->rc, c->forever);
    if (!storage_open(&h.t)) {
        fired = fs_fault_fired(fault);
        if (n % 2 && !c->power_cut) h.t.store = store_close(h.t.store);
        else history_crash(&h);
    } else {
        fired = fs_fault_fired(fault);
        if (!fired) fail_with(&h, "the folder does not open", 0, 0);
    }
    if (c->power_cut) {
        fs_sim_cut(h.disk);
        fs_sim_power_on(h.disk);
    }
    fs_fault_disarm(fault);
    if (storage_open(&h.t)) fail_with(&h, "the folder does not open again", 0, 0);
    history_check(&h);
    for (unsigned k = 0; k < STEPS / 3; k++) history_step(&h);
    history_crash(&h);
    if (storage_open(&h.t)) fail_with(&h, "the folder does not open a third time", 0, 0);
    history_check(&h);
    history_fini(&h);
    fs_fault_free(fault);
    return fired;
}

/* Recoveries that fail one after the other, or die in the middle, then one that does not, a little work, and all that again: what one
 * recovery saved of a log that it could not use meets what the next ones saved, and what the wal has since. */
static void failing_recoveries(uint64_t seed)
{
    struct history   h;
    struct fs_fault *fault;

    history_init(&h, seed);
    h.seed = seed;
    fault = fs_fault_new(fs_sim_fs(h.disk));
    h.t.opt.fs = fs_fault_fs(fault);
    if (storage_open(&h.t)) fail_with(&h, "the folder does not open", 0, 0);
    for (unsigned cycle = 0; cycle < 4; cycle++) {
        for (unsigned k = 0; k < STEPS / 6; k++) history_step(&h);
        history_crash(&h);
        for (uint64_t n = pick(&h, 4); n--;) {
            bool cut = pick(&h, 2);

            fs_fault_arm(fault, pick(&h, 60), RC_IO, false);
            if (cut) fs_sim_cut_at(h.disk, fs_sim_ops(h.disk) + 1 + pick(&h, 60));
            if (!storage_open(&h.t)) h.t.store = store_abandon(h.t.store);
            fs_fault_disarm(fault);
            if (cut) fs_sim_cut(h.disk), fs_sim_power_on(h.disk);
            storage_settle(&h.t);
        }
        if (storage_open(&h.t)) fail_with(&h, "the folder does not open again", 0, 0);
        history_check(&h);
    }
    history_fini(&h);
    fs_fault_free(fault);
}

static uint64_t first_n(void) { return getenv("FAULT_FROM") ? strtoull(getenv("FAULT_FROM"), NULL, 10) : 0; }

static void every_failure_in_recovery(struct fault_case c)
{
    for (uint64_t seed = 1; seed <= 8; seed++)
        for (uint64_t n = first_n(); one_failure_in_recovery(&c, n, seed);) n++;
}

static void every_failure(struct fault_case c)
{
    uint64_t n = first_n();

    while (one_failure(&c, n)) n++;
    assert_true(n > 200);
}

static void one_error(void **state)       { (void)state; every_failure((struct fault_case){.rc = RC_IO}); }
static void an_error_for_ever(void **state) { (void)state; every_failure((struct fault_case){.rc = RC_IO, .forever = true}); }
static void an_error_then_a_power_cut(void **state) { (void)state; every_failure((struct fault_case){.rc = RC_IO, .power_cut = true}); }
static void a_full_disk_once(void **state) { (void)state; every_failure((struct fault_case){.rc = RC_DISK_FULL}); }
static void a_full_disk_then_a_power_cut(void **state) { (void)state; every_failure((struct fault_case){.rc = RC_DISK_FULL, .forever = true, .power_cut = true}); }

static void one_error_in_recovery(void **state) { (void)state; every_failure_in_recovery((struct fault_case){.rc = RC_IO}); }
static void errors_in_recovery_then_a_power_cut(void **state) { (void)state; every_failure_in_recovery((struct fault_case){.rc = RC_IO, .forever = true, .power_cut = true}); }
static void recoveries_that_fail_one_after_the_other(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 600; seed++) failing_recoveries(seed);
}
static void a_full_disk_in_recovery(void **state) { (void)state; every_failure_in_recovery((struct fault_case){.rc = RC_DISK_FULL}); }

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_error), cmocka_unit_test(an_error_for_ever), cmocka_unit_test(an_error_then_a_power_cut),
        cmocka_unit_test(a_full_disk_once), cmocka_unit_test(a_full_disk_then_a_power_cut),
        cmocka_unit_test(one_error_in_recovery), cmocka_unit_test(errors_in_recovery_then_a_power_cut), cmocka_unit_test(a_full_disk_in_recovery),
        cmocka_unit_test(recoveries_that_fail_one_after_the_other),
    };

    diag_set_levels(STR("error"));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
