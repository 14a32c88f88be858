/* SPDX-License-Identifier: Apache-2.0 */
#include "sys/mailbox.h"
#include "sys/thread.h"
#include "test.h"
#include <poll.h>
#include <unistd.h>

enum { POSTERS = 3, EACH = 20000 };
struct letter {
    struct msg msg;
    int poster, number;
};
static int last[POSTERS], received;

static void on_letter(struct msg *m)
{
    struct letter *l = container_of(m, struct letter, msg);

    assert_int_equal(l->number, last[l->poster] + 1);
    last[l->poster] = l->number;
    received++;
    free(l);
}

struct poster {
    struct mailbox *to;
    int id;
};

static void post_all(void *arg)
{
    struct poster *p = arg;

    for (int i = 1; i <= EACH; i++) {
        struct letter *l = xnew(struct letter);

        *l = (struct letter){.msg = {.run = on_letter}, .poster = p->id, .number = i};
        mailbox_post(p->to, &l->msg);
    }
}

static void every_message_arrives_once_and_in_the_posters_order(void **state)
{
    struct mailbox *b = mailbox_new();
    struct thread *t[POSTERS];
    struct poster p[POSTERS];
    struct err e;

    (void)state;
    for (int i = 0; i < POSTERS; i++) {
        p[i] = (struct poster){b, i};
        assert_int_equal(thread_start("poster", post_all, &p[i], &t[i], &e), RC_OK);
    }
    while (received < POSTERS * EACH) {
        struct pollfd pfd = {.fd = mailbox_fd(b), .events = POLLIN};

        assert_int_equal(poll(&pfd, 1, 10000), 1);
        mailbox_drain(b);
    }
    for (int i = 0; i < POSTERS; i++)
        thread_join(t[i]);
    mailbox_drain(b); /* the last wake-up may have come after its message was taken */
    struct pollfd quiet = {.fd = mailbox_fd(b), .events = POLLIN};
    assert_int_equal(poll(&quiet, 1, 0), 0);
    mailbox_free(b);
}

static int spun;

static void on_nothing(struct msg *m)
{
    (void)m;
}

/* A poster that is slow between its push and its write: the mailbox is drained in between. */
static void a_wake_up_that_comes_late_does_not_leave_the_descriptor_readable(void **state)
{
    struct mailbox *b = mailbox_new();
    struct msg m = {.run = on_nothing};
    uint64_t one = 1;

    (void)state;
    mailbox_post(b, &m);
    assert_int_equal(read(mailbox_fd(b), &one, sizeof one),
                     sizeof one); /* as if it had not been written yet */
    assert_int_equal(mailbox_drain(b), 1);
    assert_int_equal(write(mailbox_fd(b), &one, sizeof one), sizeof one);
    for (; spun < 10; spun++) {
        struct pollfd pfd = {.fd = mailbox_fd(b), .events = POLLIN};

        if (poll(&pfd, 1, 0) == 0) break;
        mailbox_drain(b);
    }
    assert_in_range(spun, 0, 1);
    mailbox_post(b, &m); /* and the next message is not missed */
    struct pollfd pfd = {.fd = mailbox_fd(b), .events = POLLIN};
    assert_int_equal(poll(&pfd, 1, 0), 1);
    assert_int_equal(mailbox_drain(b), 1);
    mailbox_free(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_message_arrives_once_and_in_the_posters_order),
        cmocka_unit_test(a_wake_up_that_comes_late_does_not_leave_the_descriptor_readable)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
