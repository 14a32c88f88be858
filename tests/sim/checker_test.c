/* Every anomaly in a history made by hand: what the checker would have to say if it ever came about. And a good history, of which it
 * says nothing. SPDX-License-Identifier: Apache-2.0 */
#include "checker.h"

#include "test.h"

enum { PRODUCER = 2, READER = 3, OTHER = 4 };

static struct history h;

/* ---- a small language for histories ---- */

static int begin(void **state)
{
    (void)state;
    history_fini(&h);
    (void)history_log_add(&h, "a-0");
    (void)history_log_add(&h, "a-1");
    (void)history_reg(&h, "g a-0");
    (void)history_reg(&h, "group g");
    history_add(&h, (struct event){.kind = EVENT_START});
    return 0;
}

static int end(void **state)
{
    (void)state;
    history_fini(&h);
    return 0;
}

static uint32_t send_by(uint32_t client, uint64_t value, uint32_t txn)
{
    h.values = MAX(h.values, value);
    h.txns = MAX(h.txns, txn);
    return history_add(&h, (struct event){.kind = EVENT_SEND, .client = client, .value = value, .txn = txn});
}

static void sent(uint32_t begun, uint64_t value, enum result result, int64_t offset)
{
    history_add(&h, (struct event){.kind = EVENT_SENT, .client = h.events[begun].client, .begun = begun, .value = value, .result = result, .offset = offset});
}

static void write_value(uint64_t value, int64_t offset)
{
    sent(send_by(PRODUCER, value, 0), value, RESULT_OK, offset);
}

/* A poll that gave these values at these offsets, and moved from `from` to `next`. */
static void poll_by(uint32_t client, bool committed, int64_t from, int64_t next, const uint64_t (*got)[2], size_t n)
{
    uint32_t begun = (uint32_t)h.n;

    for (size_t i = 0; i < n; i++)
        history_add(&h, (struct event){.kind = EVENT_READ, .client = client, .committed = committed, .offset = (int64_t)got[i][0], .value = got[i][1]});
    history_add(&h, (struct event){.kind = EVENT_POLLED, .client = client, .committed = committed, .begun = begun, .offset = from, .next = next});
}
#define POLL(client, committed, from, next, ...)                                                                       \
    do {                                                                                                               \
        static const uint64_t got_[][2] = {__VA_ARGS__};                                                               \
        poll_by((client), (committed), (from), (next), got_, countof(got_));                                          \
    } while (0)

static void final(int64_t start, int64_t next)
{
    history_add(&h, (struct event){.kind = EVENT_FINAL, .offset = start, .next = next, .value = (uint64_t)next});
}

static uint32_t end_txn(uint32_t txn, bool commit)
{
    return history_add(&h, (struct event){.kind = EVENT_TXN_END, .client = PRODUCER, .txn = txn, .value = commit});
}

static void txn_ended(uint32_t begun, enum result result)
{
    history_add(&h, (struct event){.kind = EVENT_TXN_ENDED, .client = PRODUCER, .txn = h.events[begun].txn, .value = h.events[begun].value, .begun = begun, .result = result});
}

static uint32_t write_reg(uint64_t value)
{
    return history_add(&h, (struct event){.kind = EVENT_WRITE, .client = PRODUCER, .value = value});
}

static void written(uint32_t begun, enum result result, int64_t generation)
{
    history_add(&h, (struct event){.kind = EVENT_WRITTEN, .client = PRODUCER, .value = h.events[begun].value, .begun = begun, .result = result, .next = generation, .key = 1});
}

static void see_reg(uint64_t value)
{
    uint32_t begun = history_add(&h, (struct event){.kind = EVENT_LOOK, .client = READER});

    history_add(&h, (struct event){.kind = EVENT_SEEN, .client = READER, .begun = begun, .value = value});
}

static void bounds(int64_t start, int64_t high, int64_t stable)
{
    uint32_t begun = history_add(&h, (struct event){.kind = EVENT_BOUNDS_ASK, .client = READER});

    history_add(&h, (struct event){.kind = EVENT_BOUNDS, .client = READER, .begun = begun, .offset = start, .next = high, .value = (uint64_t)stable});
}

static void owns(uint32_t client, uint64_t generation, uint32_t log)
{
    uint32_t begun = history_add(&h, (struct event){.kind = EVENT_JOIN, .client = client, .reg = 1});

    history_add(&h, (struct event){.kind = EVENT_OWNS, .client = client, .reg = 1, .begun = begun, .value = generation, .log = log});
}

static struct verdict verdict(void)
{
    struct verdict v;

    history_check(&h, &v);
    return v;
}

static void expect(const char *name)
{
    struct verdict v = verdict();

    for (size_t i = 0; i < v.n; i++)
        if (strcmp(v.anomalies[i].name, name) != 0) print_message("also %s: %s\n", v.anomalies[i].name, v.anomalies[i].text);
    if (!verdict_has(&v, name)) fail_msg("the checker did not find: %s", name);
}

/* ---- what is as it should be ---- */

static void a_good_history_has_no_anomaly(void **state)
{
    uint32_t t, w;
    struct verdict v;

    (void)state;
    write_value(1, 0);
    write_value(2, 1);
    POLL(READER, false, 0, 2, {0, 1}, {1, 2});
    t = send_by(PRODUCER, 3, 1);
    sent(t, 3, RESULT_OK, 2);
    t = end_txn(1, true);
    txn_ended(t, RESULT_OK);
    t = send_by(OTHER, 4, 2);
    sent(t, 4, RESULT_UNKNOWN, -1);
    POLL(READER, true, 2, 4, {2, 3}, {3, 0});
    w = write_reg(7);
    written(w, RESULT_OK, 0);
    w = write_reg(8);
    see_reg(7);
    written(w, RESULT_UNKNOWN, 0);
    see_reg(8);
    bounds(0, 4, 4);
    owns(READER, 1, 0);
    owns(OTHER, 1, 1);
    owns(OTHER, 2, 0);
    POLL(AUDITOR, false, 0, 4, {0, 1}, {1, 2}, {2, 3}, {3, 0});
    POLL(AUDITOR_COMMITTED, true, 0, 4, {0, 1}, {1, 2}, {2, 3}, {3, 0});
    final(0, 4);
    v = verdict();
    if (v.n) fail_msg("%s: %s", v.anomalies[0].name, v.anomalies[0].text);
}

/* ---- what is not ---- */

static void an_acknowledged_write_that_is_gone(void **state)
{
    (void)state;
    write_value(1, 0);
    write_value(2, 1);
    POLL(AUDITOR, false, 0, 1, {0, 1});
    final(0, 1);
    expect("lost-write");
}

static void a_write_that_was_read_and_is_gone(void **state)
{
    (void)state;
    sent(send_by(PRODUCER, 1, 0), 1, RESULT_UNKNOWN, -1);
    POLL(READER, false, 0, 1, {0, 1});
    final(0, 0);
    expect("lost-write");
}

static void a_committed_transaction_that_is_not_visible(void **state)
{
    (void)state;
    sent(send_by(PRODUCER, 1, 1), 1, RESULT_OK, 0);
    txn_ended(end_txn(1, true), RESULT_OK);
    POLL(AUDITOR, false, 0, 2, {0, 1}, {1, 0});
    final(0, 2);
    expect("lost-write");
}

static void a_value_that_is_there_twice(void **state)
{
    (void)state;
    sent(send_by(PRODUCER, 1, 0), 1, RESULT_UNKNOWN, -1);
    POLL(AUDITOR, false, 0, 2, {0, 1}, {1, 1});
    final(0, 2);
    expect("duplicate");
}

static void an_offset_with_two_values(void **state)
{
    (void)state;
    write_value(1, 0);
    (void)send_by(OTHER, 2, 0);
    POLL(READER, false, 0, 1, {0, 2});
    expect("inconsistent-offsets");
}

static void an_answer_that_names_another_offset(void **state)
{
    (void)state;
    write_value(1, 5);
    POLL(READER, false, 0, 1, {0, 1});
    expect("inconsistent-offsets");
}

static void a_value_that_nobody_sent(void **state)
{
    (void)state;
    h.values = 1;
    POLL(READER, false, 0, 1, {0, 1});
    expect("invented");
}

static void a_value_that_was_refused(void **state)
{
    (void)state;
    sent(send_by(PRODUCER, 1, 0), 1, RESULT_FAILED, -1);
    POLL(READER, false, 0, 1, {0, 1});
    expect("G1a");
}

static void a_value_of_an_aborted_transaction(void **state)
{
    (void)state;
    sent(send_by(PRODUCER, 1, 1), 1, RESULT_OK, 0);
    txn_ended(end_txn(1, false), RESULT_OK);
    POLL(READER, true, 0, 1, {0, 1});
    expect("G1a");
}

static void a_value_before_its_transaction_was_committed(void **state)
{
    uint32_t t;

    (void)state;
    sent(send_by(PRODUCER, 1, 1), 1, RESULT_OK, 0);
    POLL(READER, true, 0, 1, {0, 1});
    t = end_txn(1, true);
    txn_ended(t, RESULT_OK);
    expect("precommitted-read");
}

static void transactions_that_read_from_each_other(void **state)
{
    (void)state;
    sent(send_by(PRODUCER, 1, 1), 1, RESULT_OK, 0);
    sent(send_by(PRODUCER, 2, 2), 2, RESULT_OK, 1);
    history_add(&h, (struct event){.kind = EVENT_READ, .client = READER, .txn = 1, .offset = 1, .value = 2});
    history_add(&h, (struct event){.kind = EVENT_READ, .client = OTHER, .txn = 2, .offset = 0, .value = 1});
    txn_ended(end_txn(1, true), RESULT_OK);
    txn_ended(end_txn(2, true), RESULT_OK);
    expect("G1c");
}

static void a_transaction_in_part(void **state)
{
    (void)state;
    sent(send_by(PRODUCER, 1, 1), 1, RESULT_OK, 0);
    sent(send_by(PRODUCER, 2, 1), 2, RESULT_OK, 1);
    txn_ended(end_txn(1, true), RESULT_UNKNOWN);
    POLL(AUDITOR, false, 0, 2, {0, 1}, {1, 2});
    POLL(AUDITOR_COMMITTED, true, 0, 2, {0, 1});
    final(0, 2);
    expect("torn-transaction");
}

/* Value 1 is read and becomes value 2 and, if so wished, 3; committed is how far its reader has committed. */
static void process(bool again, int64_t committed)
{
    uint32_t at;

    write_value(1, 0);
    at = send_by(OTHER, 2, 1);
    h.events[at].log = 1, h.events[at].source = 1;
    sent(at, 2, RESULT_OK, 0);
    h.events[h.n - 1].log = 1;
    txn_ended(end_txn(1, true), RESULT_OK);
    if (again) {
        at = send_by(OTHER, 3, 2);
        h.events[at].log = 1, h.events[at].source = 1;
        sent(at, 3, RESULT_OK, 1);
        h.events[h.n - 1].log = 1;
        txn_ended(end_txn(2, true), RESULT_OK);
    }
    written(write_reg(5), RESULT_OK, 0);
    POLL(READER, false, 0, 1, {0, 1});
    POLL(AUDITOR, false, 0, 1, {0, 1});
    POLL(AUDITOR_COMMITTED, true, 0, 1, {0, 1});
    final(0, 1);
    at = (uint32_t)h.n;
    if (again) {
        POLL(AUDITOR, false, 0, 2, {0, 2}, {1, 3});
        POLL(AUDITOR_COMMITTED, true, 0, 2, {0, 2}, {1, 3});
    } else {
        POLL(AUDITOR, false, 0, 1, {0, 2});
        POLL(AUDITOR_COMMITTED, true, 0, 1, {0, 2});
    }
    final(0, again ? 2 : 1);
    for (; at < h.n; at++) h.events[at].log = 1;
    see_reg(5);
    h.events[h.n - 1].client = AUDITOR;
    h.events[h.n - 1].offset = committed;
}

static void a_value_that_was_processed_once_and_committed(void **state)
{
    struct verdict v;

    (void)state;
    process(false, 1);
    v = verdict();
    if (v.n) fail_msg("%s: %s", v.anomalies[0].name, v.anomalies[0].text);
}

static void a_value_that_was_processed_twice(void **state)
{
    (void)state;
    process(true, 1);
    expect("processed-twice");
}

static void a_value_that_was_processed_and_not_committed(void **state)
{
    (void)state;
    process(false, 0);
    expect("processed-twice");
}

static void a_value_that_was_committed_and_not_processed(void **state)
{
    (void)state;
    process(false, 1);
    h.events[h.n - 1].offset = 2;
    for (size_t i = 0; i < h.n; i++)
        if (h.events[i].source) h.events[i].source = 9;
    h.values = 9;
    expect("unprocessed");
}

static void a_poll_that_leaves_one_out(void **state)
{
    (void)state;
    write_value(1, 0);
    write_value(2, 1);
    write_value(3, 2);
    POLL(READER, false, 0, 3, {0, 1}, {2, 3});
    POLL(AUDITOR, false, 0, 3, {0, 1}, {1, 2}, {2, 3});
    final(0, 3);
    expect("int-poll-skip");
}

static void a_poll_that_begins_too_late(void **state)
{
    (void)state;
    write_value(1, 0);
    write_value(2, 1);
    POLL(READER, false, 0, 2, {1, 2});
    POLL(AUDITOR, false, 0, 2, {0, 1}, {1, 2});
    final(0, 2);
    expect("poll-skip");
}

static void a_reader_that_jumps(void **state)
{
    (void)state;
    write_value(1, 0);
    POLL(READER, false, 0, 1, {0, 1});
    POLL(READER, false, 2, 3);
    expect("poll-skip");
}

static void offsets_that_go_back_in_a_poll(void **state)
{
    (void)state;
    write_value(1, 0);
    write_value(2, 1);
    POLL(READER, false, 0, 2, {1, 2}, {0, 1});
    expect("int-nonmonotonic-poll");
}

static void a_reader_that_goes_back(void **state)
{
    (void)state;
    write_value(1, 0);
    POLL(READER, false, 0, 1, {0, 1});
    POLL(READER, false, 0, 1, {0, 1});
    expect("nonmonotonic-poll");
}

static void a_record_below_what_was_asked_for(void **state)
{
    (void)state;
    write_value(1, 0);
    POLL(READER, false, 1, 2, {0, 1});
    expect("nonmonotonic-poll");
}

static void a_producer_whose_order_is_lost(void **state)
{
    uint32_t a, b;

    (void)state;
    a = send_by(PRODUCER, 1, 0);
    b = send_by(PRODUCER, 2, 0);
    sent(b, 2, RESULT_OK, 0);
    sent(a, 1, RESULT_OK, 1);
    expect("nonmonotonic-send");
}

static void a_record_that_no_reader_was_given(void **state)
{
    (void)state;
    write_value(1, 0);
    POLL(AUDITOR, false, 0, 1, {0, 1});
    final(0, 1);
    expect("unseen");
}

static void an_offset_that_is_missing(void **state)
{
    (void)state;
    write_value(1, 0);
    write_value(2, 2);
    POLL(AUDITOR, false, 0, 3, {0, 1}, {2, 2});
    final(0, 3);
    expect("gap");
}

static void records_that_end_before_the_log(void **state)
{
    (void)state;
    write_value(1, 0);
    POLL(AUDITOR, false, 0, 1, {0, 1});
    final(0, 2);
    expect("gap");
}

static void an_end_that_goes_back(void **state)
{
    (void)state;
    bounds(0, 5, 5);
    bounds(0, 4, 5);
    expect("end-backwards");
}

static void an_end_below_what_was_acknowledged(void **state)
{
    (void)state;
    write_value(1, 6);
    bounds(0, 4, 4);
    expect("end-backwards");
}

static void a_start_that_goes_back(void **state)
{
    (void)state;
    history_add(&h, (struct event){.kind = EVENT_TRIMMED, .client = READER, .offset = 3});
    bounds(2, 4, 4);
    expect("start-backwards");
}

static void a_stable_offset_that_goes_back(void **state)
{
    (void)state;
    bounds(0, 5, 5);
    bounds(0, 6, 3);
    expect("stable-backwards");
}

static void a_commit_that_is_forgotten(void **state)
{
    (void)state;
    written(write_reg(5), RESULT_OK, 0);
    written(write_reg(6), RESULT_OK, 0);
    see_reg(5);
    expect("stale-register");
}

static void a_commit_that_is_gone(void **state)
{
    (void)state;
    written(write_reg(5), RESULT_OK, 0);
    see_reg(0);
    expect("stale-register");
}

static void a_commit_that_was_seen_and_is_gone(void **state)
{
    (void)state;
    written(write_reg(5), RESULT_OK, 0);
    written(write_reg(6), RESULT_UNKNOWN, 0);
    see_reg(6);
    see_reg(5);
    expect("stale-register");
}

/* A look that lasts from before the first commit until a deletion is under way may see nothing, and the next one the commit. */
static void a_long_look_that_sees_nothing_says_nothing_of_a_deletion(void **state)
{
    uint32_t look = history_add(&h, (struct event){.kind = EVENT_LOOK, .client = READER});
    uint32_t gone;
    struct verdict v;

    (void)state;
    written(write_reg(5), RESULT_OK, 0);
    gone = write_reg(0);
    history_add(&h, (struct event){.kind = EVENT_SEEN, .client = READER, .begun = look});
    see_reg(5);
    written(gone, RESULT_OK, 0);
    v = verdict();
    if (v.n) fail_msg("%s: %s", v.anomalies[0].name, v.anomalies[0].text);
    see_reg(0);
    see_reg(5);
    expect("stale-register");
}

static void a_commit_that_nobody_made(void **state)
{
    (void)state;
    written(write_reg(5), RESULT_OK, 0);
    see_reg(9);
    expect("lost-register");
}

static void a_commit_that_was_refused(void **state)
{
    (void)state;
    written(write_reg(5), RESULT_FAILED, 0);
    see_reg(5);
    expect("lost-register");
}

static void a_partition_with_two_owners(void **state)
{
    (void)state;
    owns(READER, 4, 0);
    owns(OTHER, 4, 0);
    expect("two-owners");
}

static void a_generation_that_falls(void **state)
{
    (void)state;
    owns(READER, 4, 0);
    owns(READER, 3, 0);
    expect("generation-backwards");
}

static void a_commit_of_a_member_that_was_replaced(void **state)
{
    (void)state;
    owns(READER, 4, 0);
    owns(OTHER, 5, 0);
    written(write_reg(5), RESULT_OK, 4);
    expect("zombie-commit");
}

static void lease(uint32_t client, enum event_kind kind, uint64_t at_us, uint64_t until_us)
{
    if (kind == EVENT_LEASE) history_add(&h, (struct event){.at_us = at_us, .kind = EVENT_ALIVE, .client = client, .reg = 1, .value = until_us});
    history_add(&h, (struct event){.at_us = at_us, .kind = kind, .client = client, .reg = 1});
}

static void a_member_that_is_given_what_another_one_has(void **state)
{
    (void)state;
    lease(READER, EVENT_LEASE, 10, 50);
    lease(READER, EVENT_YIELD, 20, 0);
    lease(OTHER, EVENT_LEASE, 30, 80);
    assert_false(verdict().n);
    lease(READER, EVENT_LEASE, 80, 90);                           /* OTHER was not heard of for a session's time */
    assert_false(verdict().n);
    lease(OTHER, EVENT_LEASE, 89, 99);
    expect("two-owners");
}

static void a_commit_of_a_member_whose_log_another_one_was_given(void **state)
{
    (void)state;
    lease(READER, EVENT_LEASE, 10, 50);
    written(write_reg(5), RESULT_FAILED, 0);
    h.events[write_reg(6)].client = READER;
    history_add(&h, (struct event){.kind = EVENT_WRITTEN, .client = READER, .value = 6, .begun = (uint32_t)h.n - 1, .key = 1});
    assert_false(verdict().n);
    written(write_reg(7), RESULT_OK, 0);
    expect("zombie-commit");
}

static void a_stable_offset_that_stays_behind(void **state)
{
    (void)state;
    write_value(1, 0);
    POLL(AUDITOR, false, 0, 1, {0, 1});
    history_add(&h, (struct event){.kind = EVENT_FINAL, .offset = 0, .next = 1, .value = 0});
    expect("stable-stuck");
}

static void somebody_who_does_not_get_on(void **state)
{
    (void)state;
    history_add(&h, (struct event){.kind = EVENT_STUCK, .client = READER});
    expect("stuck");
}

static void a_watch_that_is_given_what_its_bus_sent(void **state)
{
    uint32_t at;

    (void)state;
    at = send_by(PRODUCER, 1, 0);
    h.events[at].bus = true;
    sent(at, 1, RESULT_OK, 0);
    POLL(READER, true, 0, 1, {0, 1});
    for (size_t i = at + 2; i < h.n; i++)
        h.events[i].bus = true;
    expect("echo");
}

static void a_watch_that_leaves_out_what_others_sent(void **state)
{
    (void)state;
    write_value(1, 0);
    POLL(READER, true, 0, 1);
    h.events[h.n - 1].bus = true;
    POLL(AUDITOR, false, 0, 1, {0, 1});
    POLL(AUDITOR_COMMITTED, true, 0, 1, {0, 1});
    final(0, 1);
    expect("poll-skip");
}

#define T(f) cmocka_unit_test_setup_teardown(f, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(a_good_history_has_no_anomaly), T(an_acknowledged_write_that_is_gone), T(a_write_that_was_read_and_is_gone),
        T(a_committed_transaction_that_is_not_visible), T(a_value_that_is_there_twice), T(an_offset_with_two_values),
        T(an_answer_that_names_another_offset), T(a_value_that_nobody_sent), T(a_value_that_was_refused),
        T(a_value_of_an_aborted_transaction), T(a_value_before_its_transaction_was_committed),
        T(transactions_that_read_from_each_other), T(a_transaction_in_part),
        T(a_value_that_was_processed_once_and_committed), T(a_value_that_was_processed_twice),
        T(a_value_that_was_processed_and_not_committed), T(a_value_that_was_committed_and_not_processed), T(a_poll_that_leaves_one_out),
        T(a_poll_that_begins_too_late), T(a_reader_that_jumps), T(offsets_that_go_back_in_a_poll), T(a_reader_that_goes_back),
        T(a_record_below_what_was_asked_for), T(a_producer_whose_order_is_lost), T(a_record_that_no_reader_was_given),
        T(an_offset_that_is_missing), T(records_that_end_before_the_log), T(an_end_that_goes_back),
        T(an_end_below_what_was_acknowledged), T(a_start_that_goes_back), T(a_stable_offset_that_goes_back),
        T(a_commit_that_is_forgotten), T(a_commit_that_is_gone), T(a_commit_that_was_seen_and_is_gone),
        T(a_commit_that_nobody_made),
        T(a_long_look_that_sees_nothing_says_nothing_of_a_deletion), T(a_commit_that_was_refused), T(a_partition_with_two_owners), T(a_generation_that_falls),
        T(a_commit_of_a_member_that_was_replaced), T(a_member_that_is_given_what_another_one_has),
        T(a_commit_of_a_member_whose_log_another_one_was_given), T(a_stable_offset_that_stays_behind), T(somebody_who_does_not_get_on),
        T(a_watch_that_is_given_what_its_bus_sent), T(a_watch_that_leaves_out_what_others_sent),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
