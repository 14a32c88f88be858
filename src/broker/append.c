/* Appends from inside the process: of the bus, and of groups to __consumer_offsets.
 *
 * Those of the bus queue at their partition and are staged in order: at once, or when the wal has room again, or when a
 * large one at the head (see log_large) has been written to its file. Staged ones wait in the order of their sequence
 * numbers for the wal.   SPDX-License-Identifier: Apache-2.0
 */
#include "broker/core.h"
#include "kafka/batch.h"

enum rc partition_append(struct partition *p, uint8_t *batch, size_t n, unsigned flags,
                         struct log_appended *ret, struct err *e)
{
    enum rc rc = log_append(partition_log(p), batch, n, flags, ret, e);

    if (rc) return rc;
    p->topic->bytes_in += n;
    p->topic->batches_in++;
    return RC_OK;
}

/* ---- the end of one ---- */

static void end(struct broker_append *a, const struct err *why)
{
    a->err = *why;
    list_remove(&a->link);
    list_push(&a->broker->appends_done, &a->link);
    broker_again(a->broker);
}

static void end_staged(struct broker_append *a, const struct log_appended *at, size_t n)
{
    struct err ok = {0};

    a->base_offset = at->base_offset;
    a->seq = at->seq;
    a->to->topic->bytes_in += n;
    a->to->topic->batches_in++;
    list_remove(&a->link);
    if (a->flags & BROKER_APPEND_NO_WAIT)
        end(a, &ok);
    else
        list_push(&a->broker->appends, &a->link);
}

/* ---- staging ---- */

static void step(struct partition *p);

static void large_drop(struct broker_append *a)
{
    log_large_free(a->large);
    free(a->large);
    a->large = NULL;
}

static void large_done(struct log_large *g)
{
    struct broker_append *a = g->ctx;
    struct err gone;

    a->prepared = true;
    a->broker->jobs_n--;
    if (a->to) {
        step(a->to);
        return;
    }
    large_drop(a);
    err_set(&gone, RC_NOT_FOUND, "append: the topic was deleted");
    end(a, &gone);
}

static void large_start(struct broker_append *a)
{
    struct log_large *g = xnew(struct log_large);

    g->batch = buf_take(&a->batch);
    g->done = large_done;
    g->ctx = a;
    a->large = g;
    a->broker->jobs_n++;
    log_large_prepare(partition_log(a->to), g);
}

/* RC_OVERLOAD: it stays at the head. Else it has left the queue. */
static enum rc stage(struct broker_append *a)
{
    unsigned flags = (a->of_bus ? LOG_APPEND_OF_BUS : 0) | (a->flags & BROKER_APPEND_RESERVE ? LOG_APPEND_RESERVED : 0);
    struct log *log = partition_log(a->to);
    size_t n = a->large ? a->large->batch.n : a->batch.n;
    struct log_appended at;
    struct err e;
    enum rc rc;

    if (!a->large)
        rc = log_append(log, a->batch.p, n, flags, &at, &e);
    else if ((rc = a->large->rc))
        e = a->large->err;
    else
        rc = log_large_append(log, a->large, flags, &at, &e);
    if (rc == RC_OVERLOAD) return rc;
    if (a->large) large_drop(a);
    buf_fini(&a->batch);
    if (rc)
        end(a, &e);
    else
        end_staged(a, &at, n);
    return RC_OK;
}

/* Stages from the head of the queue what can be. */
static void step(struct partition *p)
{
    while (!list_empty(&p->appends)) {
        struct broker_append *a = container_of(p->appends.next, struct broker_append, link);

        if (a->large && !a->prepared) return;
        if (!a->large && a->batch.n > store_inline_max(p->topic->broker->store)) {
            large_start(a);
            return;
        }
        if (stage(a) == RC_OVERLOAD) {
            if (list_empty(&p->held_link))
                list_push(&p->topic->broker->partitions_held, &p->held_link);
            return;
        }
    }
}

static enum rc check(struct broker_append *a, struct err *e)
{
    struct batch batch;
    enum batch_fault fault = batch_view(buf_view(&a->batch), &batch);

    if (fault) return err_set(e, RC_INVALID, "append: %s", batch_fault_name(fault));
    if (batch.raw.n != a->batch.n)
        return err_set(e, RC_INVALID, "append: %zu bytes hold a batch of %zu", a->batch.n,
                       batch.raw.n);
    if ((int64_t)a->batch.n > a->to->topic->config.max_message_bytes)
        return err_set(e, RC_TOO_LARGE,
                       "append: a batch of %zu bytes; max.message.bytes of " STR_FMT " is %lld",
                       a->batch.n, STR_ARG(a->topic),
                       (long long)a->to->topic->config.max_message_bytes);
    a->of_bus = batch.producer_id == BROKER_BUS_PRODUCER_ID;
    return RC_OK;
}

void broker_append(struct broker *b, struct broker_append *a)
{
    struct err e;

    a->broker = b;
    a->large = NULL;
    a->prepared = false;
    a->base_offset = -1;
    list_init(&a->link);
    a->to = broker_partition(b, a->topic, a->partition);
    if (!a->to) {
        err_set(&e, RC_NOT_FOUND, "append: there is no partition " STR_FMT "/%d", STR_ARG(a->topic),
                a->partition);
        end(a, &e);
        return;
    }
    if (check(a, &e)) {
        end(a, &e);
        return;
    }
    list_push(&a->to->appends, &a->link);
    if (a->to->appends.next == &a->link) step(a->to);
}

/* The topic goes: what is not staged will not be. A large one ends when its file is there. */
void appends_gone(struct partition *p)
{
    struct err e;

    err_set(&e, RC_NOT_FOUND, "append: the topic was deleted");
    list_remove(&p->held_link);
    list_each_safe(it, &p->appends)
    {
        struct broker_append *a = container_of(it, struct broker_append, link);

        a->to = NULL;
        list_remove(&a->link);
        if (a->large && !a->prepared) continue;
        if (a->large) large_drop(a);
        end(a, &e);
    }
    list_each(it, &p->topic->broker->appends)
    {
        struct broker_append *a = container_of(it, struct broker_append, link);

        if (a->to == p) a->to = NULL; /* staged: ends with the wal */
    }
}

void appends_turn(struct broker *b)
{
    struct list held;
    uint64_t durable = store_durable_seq(b->store);
    struct err e = {0};
    struct list *it;

    list_init(&held);
    while ((it = list_pop(&b->partitions_held)))
        list_push(&held, it);
    while ((it = list_pop(&held)))
        step(container_of(it, struct partition, held_link));

    while (!list_empty(&b->appends)) {
        struct broker_append *a = container_of(b->appends.next, struct broker_append, link);

        if (a->seq > durable && !b->fatal) break;
        if (a->seq > durable) err_set(&e, RC_FATAL, "append: %s", b->fatal_text);
        end(a, &e);
    }
    while ((it = list_pop(&b->appends_done))) {
        struct broker_append *a = container_of(it, struct broker_append, link);

        buf_fini(&a->batch);
        a->done(a);
    }
}

/* The way down: everything ends. What is on its way to a file has been waited for by the workers. */
void appends_cancel(struct broker *b)
{
    struct err e;
    struct list *it;

    err_set(&e, RC_CANCELLED, "append: the broker is going down");
    for (size_t i = 0; i < b->topics_n; i++)
        for (int32_t k = 0; k < b->topics_sorted[i]->partitions_n; k++) {
            struct partition *p = b->topics_sorted[i]->partitions[k];

            while (p && !list_empty(&p->appends)) {
                struct broker_append *a = container_of(p->appends.next, struct broker_append, link);

                if (a->large) large_drop(a);
                end(a, &e);
            }
        }
    while (!list_empty(&b->appends))
        end(container_of(b->appends.next, struct broker_append, link), &e);
    while ((it = list_pop(&b->appends_done))) {
        struct broker_append *a = container_of(it, struct broker_append, link);

        buf_fini(&a->batch);
        a->done(a);
    }
}
