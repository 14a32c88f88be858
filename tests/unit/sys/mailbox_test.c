/* SPDX-License-Identifier: Apache-2.0 */
#include "sys/mailbox.h"
#include "sys/thread.h"
#include "test.h"
#include <poll.h>

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
    mailbox_free(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_message_arrives_once_and_in_the_posters_order)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
