/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/producers.h"
#include "test.h"

static struct producer_batch batch_of(int64_t id, int16_t epoch, int32_t seq, int32_t n)
{
    return (struct producer_batch){.producer_id = id, .epoch = epoch, .base_sequence = seq, .last_offset_delta = n - 1};
}

static enum producer_decision decide(struct producers *ps, struct producer_batch b)
{
    struct producer_verdict v;

    producers_check(ps, &b, &v);
    return v.decision;
}

static void add(struct producers *ps, struct producer_batch b, int64_t offset) { producers_add(ps, &b, offset, 1000 + offset, -1); }

static void an_unknown_producer_may_start_anywhere(void **state)
{
    struct producers ps = {0};

    (void)state;
    assert_int_equal(decide(&ps, batch_of(7, 0, 40, 3)), PRODUCER_NEW);
    assert_int_equal(decide(&ps, batch_of(-1, -1, -1, 3)), PRODUCER_NEW);
    producers_fini(&ps);
}

static void a_repeated_batch_gets_its_first_offset(void **state)
{
    struct producers        ps = {0};
    struct producer_batch   b = batch_of(7, 0, 3, 2);
    struct producer_verdict v;

    (void)state;
    add(&ps, batch_of(7, 0, 0, 3), 100);
    add(&ps, b, 200);
    add(&ps, batch_of(7, 0, 5, 1), 300);
    producers_check(&ps, &b, &v);
    assert_int_equal(v.decision, PRODUCER_DUPLICATE);
    assert_int_equal(v.base_offset, 200);
    assert_int_equal(v.last_offset, 201);
    assert_int_equal(v.timestamp, 1200);
    producers_fini(&ps);
}

static void a_batch_of_a_transaction_that_has_ended_is_no_retry(void **state)
{
    struct producers      ps = {0};
    struct producer_batch first = batch_of(7, 0, 0, 2), second = batch_of(7, 0, 2, 1), marker = batch_of(7, 0, -1, 1);

    (void)state;
    first.transactional = second.transactional = marker.transactional = marker.control = true;
    add(&ps, first, 100);
    assert_int_equal(decide(&ps, first), PRODUCER_DUPLICATE);
    add(&ps, marker, 102);
    assert_int_equal(decide(&ps, first), PRODUCER_OUT_OF_ORDER);
    add(&ps, second, 103);
    assert_int_equal(decide(&ps, second), PRODUCER_DUPLICATE);
    assert_int_equal(decide(&ps, first), PRODUCER_OUT_OF_ORDER);
    producers_fini(&ps);
}

static void five_batches_are_remembered_and_the_sixth_last_is_out_of_order(void **state)
{
    struct producers ps = {0};

    (void)state;
    for (int32_t i = 0; i < 6; i++) add(&ps, batch_of(7, 0, i, 1), i);
    assert_int_equal(decide(&ps, batch_of(7, 0, 0, 1)), PRODUCER_OUT_OF_ORDER);
    for (int32_t i = 1; i < 6; i++) assert_int_equal(decide(&ps, batch_of(7, 0, i, 1)), PRODUCER_DUPLICATE);
    assert_int_equal(decide(&ps, batch_of(7, 0, 6, 1)), PRODUCER_NEW);
    assert_int_equal(decide(&ps, batch_of(7, 0, 7, 1)), PRODUCER_OUT_OF_ORDER);
    assert_int_equal(decide(&ps, batch_of(7, 0, 5, 2)), PRODUCER_OUT_OF_ORDER);      /* same start, other length */
    producers_fini(&ps);
}

static void epochs_fence_and_restart_at_zero(void **state)
{
    struct producers ps = {0};

    (void)state;
    add(&ps, batch_of(7, 3, 0, 4), 0);
    assert_int_equal(decide(&ps, batch_of(7, 2, 4, 1)), PRODUCER_FENCED);
    assert_int_equal(decide(&ps, batch_of(7, 4, 4, 1)), PRODUCER_OUT_OF_ORDER);
    assert_int_equal(decide(&ps, batch_of(7, 4, 0, 1)), PRODUCER_NEW);
    add(&ps, batch_of(7, 4, 0, 1), 4);
    assert_int_equal(decide(&ps, batch_of(7, 3, 0, 4)), PRODUCER_FENCED);
    assert_int_equal(decide(&ps, batch_of(7, 4, 1, 1)), PRODUCER_NEW);
    assert_int_equal(producers_find(&ps, 7)->n, 1);
    producers_fini(&ps);
}

static void sequences_wrap_to_zero(void **state)
{
    struct producers ps = {0};

    (void)state;
    add(&ps, batch_of(7, 0, INT32_MAX - 1, 2), 0);
    assert_int_equal(decide(&ps, batch_of(7, 0, 0, 1)), PRODUCER_NEW);
    add(&ps, batch_of(7, 0, 0, 1), 2);
    add(&ps, batch_of(7, 0, 1, 1), 3);
    assert_int_equal(decide(&ps, batch_of(7, 0, INT32_MAX - 1, 2)), PRODUCER_DUPLICATE);
    producers_fini(&ps);
    add(&ps, batch_of(8, 0, INT32_MAX, 3), 0);                    /* wraps inside the batch */
    assert_int_equal(producers_find(&ps, 8)->window[0].last_seq, 1);
    assert_int_equal(decide(&ps, batch_of(8, 0, 2, 1)), PRODUCER_NEW);
    producers_fini(&ps);
}

static void coordinator_batches_are_checked_by_epoch_alone(void **state)
{
    struct producers      ps = {0};
    struct producer_batch offsets = batch_of(7, 1, -1, 1), marker = batch_of(7, 2, -1, 1);

    (void)state;
    offsets.transactional = marker.transactional = marker.control = true;
    assert_int_equal(decide(&ps, offsets), PRODUCER_NEW);
    add(&ps, offsets, 10);
    assert_int_equal(producers_first_unstable(&ps), 10);
    producers_add(&ps, &marker, 20, 5, 9);
    assert_int_equal(producers_first_unstable(&ps), INT64_MAX);
    assert_int_equal(producers_find(&ps, 7)->coordinator_epoch, 9);
    assert_int_equal(decide(&ps, offsets), PRODUCER_FENCED);
    assert_int_equal(decide(&ps, batch_of(7, 2, 5, 1)), PRODUCER_OUT_OF_ORDER);
    assert_int_equal(decide(&ps, batch_of(7, 2, 0, 1)), PRODUCER_NEW);
    producers_fini(&ps);
}

static void idle_producers_expire_unless_a_transaction_is_open(void **state)
{
    struct producers      ps = {0};
    struct producer_batch open = batch_of(9, 0, 0, 1);

    (void)state;
    open.transactional = true;
    add(&ps, batch_of(7, 0, 0, 1), 0);
    add(&ps, batch_of(8, 0, 0, 1), 500);
    add(&ps, open, 1);
    producers_expire(&ps, 2000, 900);
    assert_null(producers_find(&ps, 7));
    assert_non_null(producers_find(&ps, 8));
    assert_non_null(producers_find(&ps, 9));
    producers_fini(&ps);
}

static void a_snapshot_keeps_the_whole_window(void **state)
{
    struct producers ps = {0}, back = {0};
    struct buf       body = {0};
    struct err       e;

    (void)state;
    for (int32_t i = 0; i < 9; i++) add(&ps, batch_of(7, 2, i * 3, 3), i * 3);
    add(&ps, batch_of(8, 0, INT32_MAX, 2), 50);
    producers_encode(&ps, &body);
    assert_int_equal(body.n, 10 + 6 * 46);
    assert_int_equal(producers_decode(buf_view(&body), &back, &e), RC_OK);
    assert_int_equal(decide(&back, batch_of(7, 2, 6, 3)), PRODUCER_OUT_OF_ORDER);
    for (int32_t i = 4; i < 9; i++) assert_int_equal(decide(&back, batch_of(7, 2, i * 3, 3)), PRODUCER_DUPLICATE);
    assert_int_equal(decide(&back, batch_of(8, 0, INT32_MAX, 2)), PRODUCER_DUPLICATE);
    assert_int_equal(decide(&back, batch_of(8, 0, 1, 2)), PRODUCER_NEW);
    producers_fini(&back);
    for (size_t i = 0; i < body.n; i++) {
        body.p[i] ^= 0x10;
        assert_int_equal(producers_decode(buf_view(&body), &back, &e), RC_CORRUPT);
        body.p[i] ^= 0x10;
    }
    for (size_t n = 0; n < body.n; n++) assert_int_equal(producers_decode(bytes_of(body.p, n), &back, &e), RC_CORRUPT);
    producers_fini(&ps);
    producers_fini(&back);
    buf_fini(&body);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_unknown_producer_may_start_anywhere),
        cmocka_unit_test(a_repeated_batch_gets_its_first_offset),
        cmocka_unit_test(a_batch_of_a_transaction_that_has_ended_is_no_retry),
        cmocka_unit_test(five_batches_are_remembered_and_the_sixth_last_is_out_of_order),
        cmocka_unit_test(epochs_fence_and_restart_at_zero),
        cmocka_unit_test(sequences_wrap_to_zero),
        cmocka_unit_test(coordinator_batches_are_checked_by_epoch_alone),
        cmocka_unit_test(idle_producers_expire_unless_a_transaction_is_open),
        cmocka_unit_test(a_snapshot_keeps_the_whole_window),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
