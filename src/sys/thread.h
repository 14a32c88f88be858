/* sys/thread.h - a thread with a name. SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "base/err.h"

struct thread;
/* name: at most 15 characters, shown by ps and gdb. Signals are blocked in the new thread. */
enum rc thread_start(const char *name, void (*body)(void *arg), void *arg, struct thread **ret, struct err *e) MUST_USE;
struct thread *thread_join(struct thread *t);             /* waits for its end; NULL is fine; returns NULL */
