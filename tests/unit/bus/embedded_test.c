/* SPDX-License-Identifier: Apache-2.0
 *
 * The embedded bus under the contract: a broker on a thread of its own, a simulated disk, the asker's loop here.
 */
#include "house.h"
#include "test.h"
#include <stdio.h>

/* ---- what only the embedded bus promises ---- */

static bool done;

static void on_done(struct bus_op *op)
{
    (void)op;
    done = true;
}

static void begin(struct bus_op *op, struct loop *mine)
{
    done = false;
    op->reply_to = loop_mailbox(mine);
    op->done = on_done;
}

static void await(struct loop *mine)
{
    for (unsigned i = 0; i < 1000 && !done; i++)
        loop_turn(mine, 20);
    assert_true(done);
}

static void a_closed_bus_ends_what_was_asked(void **state)
{
    struct bus_fetch f = {.topic = STR("__consumer_offsets"), .wait_ms = 1000000, .size_max = 1};
    struct house h = {0};
    struct loop *mine;
    struct err e;

    (void)state;
    house_open(&h, 0, false);
    assert_int_equal(loop_new(&clock_real, &mine, &e), RC_OK);
    begin(&f.op, mine);
    bus_fetch(h.bus, &f);
    house_close(&h);
    await(mine);
    assert_int_equal(f.op.err.rc, RC_CANCELLED);
    loop_free(mine);
    fs_sim_free(h.disk);
}

static void what_was_acknowledged_outlives_a_power_cut(void **state)
{
    struct bus_offset at = {0, 42, STR("words")};
    struct bus_topic t = {.topic = STR("t"), .partitions = 1, .replication = 1};
    struct bus_commit c = {.group = STR("g"), .topic = STR("t"), .offsets = &at, .offsets_n = 1};
    struct bus_append a = {.topic = STR("t")};
    struct bus_record r = {.timestamp_ms = -1, .value = bytes_of("v", 1)};
    struct bus_fetch f = {.topic = STR("t"), .size_max = 1 << 20};
    struct house h = {0};
    struct loop *mine;
    struct err e;
    char first[40];

    (void)state;
    assert_int_equal(loop_new(&clock_real, &mine, &e), RC_OK);
    house_open(&h, 0, false);
    snprintf(first, sizeof first, "%s", bus_facts(h.bus)->incarnation);
    begin(&t.op, mine);
    bus_topic_ensure(h.bus, &t);
    await(mine);
    begin(&a.op, mine);
    bus_append(h.bus, &a, &r, 1);
    await(mine);
    begin(&c.op, mine);
    bus_commit(h.bus, &c);
    await(mine);
    assert_int_equal(t.op.err.rc + a.op.err.rc + c.op.err.rc, RC_OK);

    fs_sim_cut(h.disk);
    house_crash(&h);
    fs_sim_power_on(h.disk);
    house_open(&h, 0, false);
    assert_string_not_equal(first, bus_facts(h.bus)->incarnation);
    c = (struct bus_commit){.group = STR("g"), .topic = STR("t"), .offsets_n = 1};
    begin(&c.op, mine);
    bus_committed(h.bus, &c);
    await(mine);
    assert_int_equal(c.offsets[0].offset, 42);
    assert_str(c.offsets[0].metadata, "words");
    bus_committed_fini(&c);
    begin(&f.op, mine);
    bus_fetch(h.bus, &f);
    await(mine);
    assert_int_equal(f.records_n, 1);
    bus_fetch_fini(&f);
    house_close(&h);
    loop_free(mine);
    fs_sim_free(h.disk);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_closed_bus_ends_what_was_asked),
        cmocka_unit_test(what_was_acknowledged_outlives_a_power_cut),
    };
    struct house h = {0};
    struct contract c = {
        .prefix = "contract", .message_bytes_max = 1 << 20, .outside = house_outside, .ctx = &h};
    struct err e;
    int failed;

    house_open(&h, c.message_bytes_max, false);
    if (loop_new(&clock_real, &c.loop, &e)) return 1;
    c.bus = h.bus;
    failed = contract_run(&c);
    house_close(&h);
    loop_free(c.loop);
    fs_sim_free(h.disk);
    return failed + cmocka_run_group_tests(tests, NULL, NULL);
}
