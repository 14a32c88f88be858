/* Design note: posters push on a lock-free stack; the owner takes the whole stack and reverses it.
 * The eventfd is written only by the poster that finds the stack empty, so a busy mailbox costs no
 * system calls. That poster may write after its message was taken already: `owed` counts such writes, so
 * that they are read away when they come instead of leaving the descriptor readable for nothing. SPDX-License-Identifier: Apache-2.0 */
#include "sys/mailbox.h"
#include <stdatomic.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct mailbox {
    _Atomic(struct msg *) head;
    int fd;
    uint64_t owed; /* the owner's: writes of which the message was taken before they came */
};

struct mailbox *mailbox_new(void)
{
    struct mailbox *b = xnew(struct mailbox);

    b->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    must(b->fd >= 0);
    return b;
}

struct mailbox *mailbox_free(struct mailbox *b)
{
    if (b) {
        close(b->fd);
        free(b);
    }
    return NULL;
}

void mailbox_post(struct mailbox *b, struct msg *m)
{
    struct msg *was = atomic_load_explicit(&b->head, memory_order_relaxed);

    do
        m->next = was;
    while (!atomic_compare_exchange_weak_explicit(&b->head, &was, m, memory_order_release,
                                                  memory_order_relaxed));
    if (!was) {
        uint64_t one = 1;
        ssize_t n = write(b->fd, &one, sizeof one);

        (void)n; /* EAGAIN: it is readable already */
    }
}

bool mailbox_pending(const struct mailbox *b)
{
    return atomic_load_explicit(&b->head, memory_order_relaxed) != NULL;
}

size_t mailbox_drain(struct mailbox *b)
{
    struct msg *m, *in_order = NULL;
    size_t n = 0;
    uint64_t count = 0;

    if (!mailbox_pending(b) && !b->owed) return 0;
    if (read(b->fd, &count, sizeof count) != (ssize_t)sizeof count) count = 0;
    m = atomic_exchange_explicit(&b->head, NULL, memory_order_acquire);
    b->owed = b->owed + (m != NULL) - count; /* each emptied stack was one write */
    while (m) {
        struct msg *next = m->next;

        m->next = in_order;
        in_order = m;
        m = next;
    }
    while (in_order) {
        struct msg *next = in_order->next;

        in_order->run(in_order);
        in_order = next;
        n++;
    }
    return n;
}

int mailbox_fd(const struct mailbox *b)
{
    return b->fd;
}
