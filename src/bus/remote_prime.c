/* Design note: a client that meets a topic for the first time learns where its partitions are from a look at all its topics
 * that it takes once a second. Half a second is much for a reader that is waited for, so the question is put at once, on a
 * worker since the library's way of asking waits for the answer. It is for speed only: whatever comes of it, the client goes
 * on looking by itself. SPDX-License-Identifier: Apache-2.0 */
#include "bus/remote_core.h"
#include <stdio.h>

enum { PRIME_MS = 1000 };

static void prime_run(struct work *w)
{
    const struct prime *p = container_of(w, struct prime, work);
    const struct kafka_lib *k = p->r->k;
    const struct rd_kafka_metadata *md;
    rd_kafka_topic_t *rkt;

    if (atomic_load(&p->r->ending)) return;
    rkt = k->rd_kafka_topic_new(p->rk, p->topic, NULL);
    if (!rkt) return;
    if (!k->rd_kafka_metadata(p->rk, 0, rkt, &md, PRIME_MS)) k->rd_kafka_metadata_destroy(md);
    k->rd_kafka_topic_destroy(rkt);
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
                        .done = done};
    snprintf(p->topic, sizeof p->topic, "%s", topic);
    workers_submit(r->primers, &p->work);
    return p;
}
