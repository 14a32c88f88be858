/* Design note: a client that meets a topic for the first time learns where its partitions are from a look at all its topics
 * that it takes once a second. Half a second is much for a reader that is waited for, so the question is put at once, on a
 * worker since the library's way of asking waits for the answer. A broker answers the requests of a connection in order, so the
 * question may wait for as long as a fetch does; therefore one question is put for all topics of the client, and who asked
 * before it was put has his answer with it. It is for speed only: whatever comes of it, the client goes on looking by itself.
 * SPDX-License-Identifier: Apache-2.0 */
#include "bus/remote_core.h"
#include <stdio.h>

enum { PRIME_MS = 1000 };

/* When this client was last asked, on the clock of r->primes; of the worker alone. NULL: there are too many clients to tell. */
static uint64_t *asked_at(struct remote *r, const rd_kafka_t *rk)
{
    for (size_t i = 0; i < countof(r->primed); i++) {
        if (!r->primed[i].rk) r->primed[i].rk = rk;
        if (r->primed[i].rk == rk) return &r->primed[i].at;
    }
    return NULL;
}

static void prime_run(struct work *w)
{
    const struct prime *p = container_of(w, struct prime, work);
    const struct kafka_lib *k = p->r->k;
    const struct rd_kafka_metadata *md;
    rd_kafka_topic_t *rkt;
    uint64_t *asked;

    if (atomic_load(&p->r->ending)) return;
    asked = asked_at(p->r, p->rk);
    if (asked && *asked > p->made) return;
    rkt = k->rd_kafka_topic_new(p->rk, p->topic, NULL);
    if (!rkt) return;
    if (asked) *asked = atomic_fetch_add(&p->r->primes, 1);
    if (!k->rd_kafka_metadata(p->rk, 0, NULL, &md, PRIME_MS)) k->rd_kafka_metadata_destroy(md);
    else if (asked) *asked = 0;
    k->rd_kafka_topic_destroy(rkt);
}

struct client_end {
    struct work work;
    struct remote *r;
    rd_kafka_t *rk;
};

static void client_end_run(struct work *w)
{
    struct client_end *end = container_of(w, struct client_end, work);
    struct remote *r = end->r;

    for (size_t i = 0; i < countof(r->primed); i++)
        if (r->primed[i].rk == end->rk) {
            r->primed[i].rk = NULL;
            r->primed[i].at = 0;
        }
    r->k->rd_kafka_destroy_flags(end->rk, RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
}

static void client_ended(struct work *w)
{
    free(container_of(w, struct client_end, work));
}

/* On the questions' own thread, so after those that were put. */
void remote_client_end(struct remote *r, rd_kafka_t *rk)
{
    struct client_end *end = xnew(struct client_end);

    *end = (struct client_end){.work = {.run = client_end_run, .done = client_ended, .reply_to = loop_mailbox(r->loop)}, .r = r, .rk = rk};
    workers_submit(r->primers, &end->work);
}

static void prime_end(struct work *w)
{
    struct prime *p = container_of(w, struct prime, work);

    p->done(p);
    free(p);
}

struct prime *remote_prime(struct remote *r, rd_kafka_t *rk, const char *topic, void *owner,
                           void (*done)(struct prime *p))
{
    struct prime *p = xnew(struct prime);

    *p = (struct prime){.work = {.run = prime_run, .done = prime_end, .reply_to = loop_mailbox(r->loop)},
                        .r = r,
                        .rk = rk,
                        .owner = owner,
                        .made = atomic_fetch_add(&r->primes, 1),
                        .done = done};
    snprintf(p->topic, sizeof p->topic, "%s", topic);
    workers_submit(r->primers, &p->work);
    return p;
}
