/* SPDX-License-Identifier: Apache-2.0 */
#include "sys/thread.h"
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>

struct thread {
    pthread_t id;
    char name[16];
    void (*body)(void *);
    void *arg;
};

static void *thread_main(void *arg)
{
    struct thread *t = arg;

    pthread_setname_np(pthread_self(), t->name);
    t->body(t->arg);
    return NULL;
}

enum rc thread_start(const char *name, void (*body)(void *arg), void *arg, struct thread **ret,
                     struct err *e)
{
    struct thread *t = xnew(struct thread);
    sigset_t all, was;
    int sys;

    strncpy(t->name, name, sizeof t->name - 1);
    t->body = body;
    t->arg = arg;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &was);
    sys = pthread_create(&t->id, NULL, thread_main, t);
    pthread_sigmask(SIG_SETMASK, &was, NULL);
    if (sys) {
        free(t);
        errno = sys;
        return err_sys(e, "start thread %s", name);
    }
    *ret = t;
    return RC_OK;
}

struct thread *thread_join(struct thread *t)
{
    if (t) {
        must(pthread_join(t->id, NULL) == 0);
        free(t);
    }
    return NULL;
}
