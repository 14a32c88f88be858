/* Design note: one queue, one mutex, one condition. A lane that is busy is skipped when a thread looks for the next job.
 * The write of a small wal group takes as long as waking a thread or two does: nobody is woken who would find nothing to do,
 * and only when the lock is free. SPDX-License-Identifier: Apache-2.0
 */
#include "sys/worker.h"
#include "sys/thread.h"
#include <pthread.h>

struct workers {
    pthread_mutex_t lock;
    pthread_cond_t more;
    struct msg *head, **tail;
    bool lane_busy[WORKER_LANES_MAX], stopping;
    unsigned idle; /* threads that wait, less those that were woken since */
    struct lane_state lanes[WORKER_LANES_MAX];
    unsigned threads_n;
    struct thread *threads[];
};

static void post_done(struct msg *m)
{
    struct work *w = container_of(m, struct work, msg);

    w->done(w);
}

/* The oldest job whose lane is free, or the nth such; of a lane only the first counts. Called with the lock held. */
static struct msg **find(struct workers *w, unsigned nth)
{
    uint64_t seen = 0;

    for (struct msg **at = &w->head; *at; at = &(*at)->next) {
        const struct work *job = container_of(*at, struct work, msg);

        if (job->lane && (w->lane_busy[job->lane] || seen & UINT64_C(1) << job->lane)) continue;
        if (job->lane) seen |= UINT64_C(1) << job->lane;
        if (!nth--) return at;
    }
    return NULL;
}

static struct work *take(struct workers *w, unsigned nth)
{
    struct msg **at = find(w, nth);
    struct work *job;

    if (!at) return NULL;
    job = container_of(*at, struct work, msg);
    *at = job->msg.next;
    if (!*at) w->tail = at;
    if (job->lane) w->lane_busy[job->lane] = true;
    return job;
}

/* There is a job for somebody who waits: he counts as busy from here on. Called with the lock held; the signal comes after. */
static bool wakes_one(struct workers *w)
{
    if (!w->idle || !find(w, 0)) return false;
    w->idle--;
    return true;
}

static void unlock_and_wake(struct workers *w)
{
    bool wakes = wakes_one(w);

    pthread_mutex_unlock(&w->lock);
    if (wakes) pthread_cond_signal(&w->more);
}

static void post(struct work *job)
{
    job->msg.run = post_done;
    mailbox_post(job->reply_to, &job->msg); /* the job may be gone from here on */
}

static void wait_for_more(struct workers *w)
{
    w->idle++;
    pthread_cond_wait(&w->more, &w->lock);
}

static void worker_main(void *arg)
{
    struct workers *w = arg;

    pthread_mutex_lock(&w->lock);
    for (;;) {
        struct work *job = take(w, 0);

        if (job) {
            uint32_t lane = job->lane;

            unlock_and_wake(w);                /* the lane that was freed may have another one */
            job->run(job);
            post(job);
            pthread_mutex_lock(&w->lock);
            if (lane) w->lane_busy[lane] = false;
        } else if (w->stopping && !w->head) {
            break;
        } else {
            wait_for_more(w);
        }
    }
    pthread_cond_broadcast(&w->more);
    pthread_mutex_unlock(&w->lock);
}

enum rc workers_new(unsigned threads, struct workers **ret, struct err *e)
{
    struct workers *w = xcalloc(1, sizeof *w + threads * sizeof w->threads[0]);

    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->more, NULL);
    w->tail = &w->head;
    for (; w->threads_n < threads; w->threads_n++)
        if (thread_start("mr-worker", worker_main, w, &w->threads[w->threads_n], e)) {
            workers_free(w);
            return e->rc;
        }
    *ret = w;
    return RC_OK;
}

struct workers *workers_free(struct workers *w)
{
    if (!w) return NULL;
    while (!w->threads_n && workers_run_one(w)) {
    }
    pthread_mutex_lock(&w->lock);
    w->stopping = true;
    pthread_cond_broadcast(&w->more);
    pthread_mutex_unlock(&w->lock);
    for (unsigned i = 0; i < w->threads_n; i++)
        thread_join(w->threads[i]);
    for (uint32_t i = 0; i < WORKER_LANES_MAX; i++)
        if (w->lanes[i].drop) w->lanes[i].drop(w->lanes[i].p);
    pthread_cond_destroy(&w->more);
    pthread_mutex_destroy(&w->lock);
    free(w);
    return NULL;
}

struct lane_state *workers_lane(struct workers *w, uint32_t lane)
{
    must(lane > 0 && lane < WORKER_LANES_MAX);
    return &w->lanes[lane];
}

void workers_submit(struct workers *w, struct work *job)
{
    must(job->lane < WORKER_LANES_MAX);
    pthread_mutex_lock(&w->lock);
    job->msg.next = NULL;
    *w->tail = &job->msg;
    w->tail = &job->msg.next;
    unlock_and_wake(w);
}

bool workers_run_one(struct workers *w)
{
    return workers_run_nth(w, 0);
}

bool workers_run_nth(struct workers *w, unsigned nth)
{
    struct work *job;
    uint32_t lane;

    pthread_mutex_lock(&w->lock);
    job = take(w, nth);
    pthread_mutex_unlock(&w->lock);
    if (!job) return false;
    lane = job->lane;
    job->run(job);
    post(job);
    pthread_mutex_lock(&w->lock);
    if (lane) w->lane_busy[lane] = false;
    unlock_and_wake(w);
    return true;
}

unsigned workers_runnable(struct workers *w)
{
    uint64_t seen = 0;
    unsigned n = 0;

    pthread_mutex_lock(&w->lock);
    for (const struct msg *m = w->head; m; m = m->next) {
        uint32_t lane = container_of(m, struct work, msg)->lane;

        if (lane && (w->lane_busy[lane] || seen & UINT64_C(1) << lane)) continue;
        if (lane) seen |= UINT64_C(1) << lane;
        n++;
    }
    pthread_mutex_unlock(&w->lock);
    return n;
}
