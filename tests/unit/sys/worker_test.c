/* SPDX-License-Identifier: Apache-2.0 */
#include "sys/worker.h"
#include "test.h"
#include <poll.h>

struct job {
    struct work work;
    int *sequence, expected;
};
static int done_n;

static void run_in_lane(struct work *w)
{
    struct job *j = container_of(w, struct job, work);

    assert_int_equal((*j->sequence)++,
                     j->expected); /* unsynchronised on purpose: the lane is the order */
}

static void on_done(struct work *w)
{
    done_n++;
    free(container_of(w, struct job, work));
}

static void jobs_of_one_lane_run_in_order(void **state)
{
    enum { JOBS = 2000, LANES = 3 };
    struct mailbox *b = mailbox_new();
    struct workers *pool;
    struct err e;
    int sequence[LANES] = {0};

    (void)state;
    assert_int_equal(workers_new(4, &pool, &e), RC_OK);
    for (int i = 0; i < JOBS; i++) {
        struct job *j = xnew(struct job);
        int lane = i % LANES;

        *j = (struct job){.work = {.run = run_in_lane,
                                   .done = on_done,
                                   .reply_to = b,
                                   .lane = (uint32_t)lane + 1},
                          .sequence = &sequence[lane],
                          .expected = i / LANES};
        workers_submit(pool, &j->work);
    }
    while (done_n < JOBS) {
        struct pollfd pfd = {.fd = mailbox_fd(b), .events = POLLIN};

        assert_int_equal(poll(&pfd, 1, 10000), 1);
        mailbox_drain(b);
    }
    workers_free(pool);
    mailbox_free(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(jobs_of_one_lane_run_in_order)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
