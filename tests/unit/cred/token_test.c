/* SPDX-License-Identifier: Apache-2.0 */
#include "cred/token.h"
#include "test.h"
#include "support/turn.h"
#include <stdio.h>

static void a_token_is_renewed_well_before_it_ends_and_not_at_one_time_everywhere(void **state)
{
    (void)state;
    for (unsigned chance = 0; chance < 65536; chance += 4369) {
        uint64_t in = token_refresh_in_ms(1000, 901000, (uint16_t)chance);

        assert_in_range(in, 629000, 720000);
    }
    assert_int_not_equal(token_refresh_in_ms(0, 900000, 0), token_refresh_in_ms(0, 900000, 60000));
    assert_in_range(token_refresh_in_ms(5000, 1000, 7), 1, 1000);            /* over already: soon, but no flood */
    assert_in_range(token_refresh_in_ms(0, INT64_MAX, 7), 1, 24 * 3600 * 1000);
}

static void failures_are_tried_again_ever_slower_and_in_time(void **state)
{
    (void)state;
    assert_in_range(token_retry_in_ms(1, 900000, 0), 500, 1250);
    assert_in_range(token_retry_in_ms(4, 900000, 65535), 6000, 10000);
    assert_in_range(token_retry_in_ms(400, 9000000, 65535), 45000, 75000);
    assert_in_range(token_retry_in_ms(10, 10000, 65535), 500, 5000);         /* at most half of what is left */
    assert_in_range(token_retry_in_ms(10, -5, 0), 45000, 75000);
}

/* ---- a keeper on a loop that the test turns ---- */

struct fake { struct token_maker face; unsigned made, freed, fail; };
struct seen { unsigned fresh, failed; char last[16]; };

static enum rc fake_make(struct token_maker *m, const atomic_bool *stop, struct token *ret, struct err *e)
{
    struct fake *f = container_of(m, struct fake, face);

    (void)stop;
    f->made++;
    if (f->fail) {
        f->fail--;
        return err_set(e, RC_UNAVAILABLE, "down");
    }
    buf_printf(&ret->value, "token-%u", f->made);
    ret->expires_ms = clock_wall_ms(&clock_real) + 700;
    return RC_OK;
}

static void fake_free(struct token_maker *m)
{
    container_of(m, struct fake, face)->freed++;
}

static void on_fresh(void *ctx, const struct token *t)
{
    struct seen *seen = ctx;

    seen->fresh++;
    snprintf(seen->last, sizeof seen->last, STR_FMT, STR_ARG(buf_str(&t->value)));
}

static void on_failed(void *ctx, const struct err *e)
{
    assert_int_equal(e->rc, RC_UNAVAILABLE);
    ((struct seen *)ctx)->failed++;
}

static void a_keeper_hands_over_every_token_and_tells_every_failure(void **state)
{
    struct fake f = {.face = {.make = fake_make, .free = fake_free}, .fail = 1};
    struct seen seen = {0};
    struct loop *l;
    struct workers *w;
    struct token_keeper *k;
    struct err e;

    (void)state;
    assert_int_equal(loop_new(&clock_real, &l, &e), RC_OK);
    assert_int_equal(workers_new(1, &w, &e), RC_OK);
    k = token_keeper_new(&(struct token_keeper_options){.loop = l, .workers = w, .maker = &f.face, .fresh = on_fresh, .failed = on_failed, .ctx = &seen});
    turn_until(l, &seen.failed, 1);
    turn_until(l, &seen.fresh, 1);               /* by itself, after a second */
    assert_string_equal(seen.last, "token-2");
    turn_until(l, &seen.fresh, 2);               /* by itself, before it ends */
    token_keeper_now(k);
    turn_until(l, &seen.fresh, 3);
    token_keeper_now(k);                         /* may be out when it is freed */
    loop_turn(l, 0);
    token_keeper_free(k);
    workers_free(w);
    mailbox_drain(loop_mailbox(l));
    assert_int_equal(f.freed, 1);
    assert_int_equal(seen.fresh, 3);
    loop_free(l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_token_is_renewed_well_before_it_ends_and_not_at_one_time_everywhere),
        cmocka_unit_test(failures_are_tried_again_ever_slower_and_in_time),
        cmocka_unit_test(a_keeper_hands_over_every_token_and_tells_every_failure),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
