/* sys/mailbox.h - messages between threads: many post, one loop drains.
 *
 * A message is a struct with a struct msg in it (use container_of). Posting gives it away; the loop that owns the
 * mailbox calls msg->run on its own thread, in the order of posting per poster. A request usually travels back by
 * being posted again, to the asker's mailbox, with another `run`. SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/macros.h"
#include <stdbool.h>

struct msg { struct msg *next; void (*run)(struct msg *m); };

struct mailbox;
struct mailbox *mailbox_new(void);                       /* ends the process when eventfd() fails */
struct mailbox *mailbox_free(struct mailbox *b);         /* must be empty of anything that still needs running; returns NULL */
void mailbox_post(struct mailbox *b, struct msg *m);     /* any thread */
size_t mailbox_drain(struct mailbox *b);                 /* the owner; runs what was posted before the call; how many */
bool mailbox_pending(const struct mailbox *b);
int  mailbox_fd(const struct mailbox *b);                /* readable when something was posted */
