/* Fetch up to version 3: a worker makes messages of format 0 or 1 of what the look has found, and the fetch is answered, or looks further.
 *
 * As much is made as the slice had bytes, in whole messages; the first batch may give more, as long as that is little. All of
 * it is one lane of the workers: old consumers take one thread at most from the wal and others, and the memory of one for what expands.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "base/diag.h"
#include "broker/api/fetch_core.h"
#include "kafka/errors.h"
#include "kafka/message_set_build.h"

enum {
    EXPANDED_BYTES_MAX = 1 << 30, /* of a batch */
    FIRST_BYTES = 1 << 20,        /* that the first batch may give, though it had fewer */
    SPARE_BYTES = 64 << 10,
    FORMAT_1_FROM = 2, /* versions of Fetch */
    CUT_BYTES = 17     /* of a message that is not given: offset, size, checksum, format */
};

struct part {
    struct fetch_part *of; /* gone when the fetch is */
    struct log_slice slice;
    int64_t from; /* the offset that was asked for */
    struct buf made; /* the messages; may be none */
    int16_t error;   /* Kafka's code; then nothing was made */
};

struct old_fetch {
    struct list link; /* in broker.old_fetches_held */
    struct work work;
    struct broker *broker;
    struct fetch *of; /* NULL: nobody waits any more */
    int8_t magic;
    bool has_memory; /* the fetch holds some of an earlier round: it must not wait for more, but gets it */
    bool with_worker;
    size_t parts_n;
    uint64_t reserved, us; /* memory that is counted for it; how long workers were at it */
    struct err err;        /* why something could not be read; rc RC_OK: nothing */
    struct part parts[];
};

static struct old_fetch *job_new(struct broker *b, int8_t magic, size_t parts_max)
{
    struct old_fetch *o = xcalloc(1, sizeof *o + parts_max * sizeof *o->parts);

    list_init(&o->link);
    o->broker = b;
    o->magic = magic;
    return o;
}

static void job_add(struct old_fetch *o, struct fetch_part *p)
{
    o->parts[o->parts_n++] = (struct part){.of = p, .slice = p->slice, .from = p->offset};
    p->slice = (struct log_slice){0};
}

static void job_free(struct old_fetch *o)
{
    list_remove(&o->link);
    for (size_t i = 0; i < o->parts_n; i++) {
        log_slice_fini(&o->parts[i].slice);
        buf_fini(&o->parts[i].made);
    }
    if (o->reserved) memory_release(o->broker, o->reserved);
    free(o);
}

/* ---- on a worker ---- */

static int16_t code_of(enum batch_fault fault)
{
    return fault == BATCH_CODEC           ? KAFKA_ERR_UNSUPPORTED_COMPRESSION_TYPE
           : fault == BATCH_PAYLOAD_LARGE ? KAFKA_ERR_MESSAGE_TOO_LARGE
                                          : KAFKA_ERR_CORRUPT_MESSAGE;
}

static struct message_set_room room_of(const struct part *p)
{
    if (!p->made.n) return (struct message_set_room){MAX(p->slice.n, (size_t)FIRST_BYTES), true};
    return (struct message_set_room){p->slice.n > p->made.n ? p->slice.n - p->made.n : 0, false};
}

/* What comes before a batch that cannot be converted is given; that one is the first of the next fetch, and its error. */
static void messages_make(struct message_set_builder *w, struct part *p, struct bytes raw)
{
    enum batch_fault fault = BATCH_OK;
    bool cut = false;
    struct batch b;

    for (size_t at = 0; at < raw.n && !fault && !cut; at += b.raw.n) {
        if ((fault = batch_view(bytes_sub(raw, at, raw.n - at), &b))) break;
        fault = message_set_build(w, &b, room_of(p), &p->made, &cut);
    }
    if (fault && !p->made.n) p->error = code_of(fault);
}

static void part_make(struct old_fetch *o, struct message_set_builder *w, struct part *p)
{
    AUTO(buf_fini) struct buf raw = {0};
    struct err e;

    if (log_slice_load(&p->slice, &raw, &e)) {
        o->err = e;
        p->error = KAFKA_ERR_KAFKA_STORAGE_ERROR;
        return;
    }
    w->from = p->from;
    messages_make(w, p, buf_view(&raw));
}

static void codecs_drop(void *codecs)
{
    codecs_free(codecs);
}

static struct codecs *codecs_of(struct old_fetch *o)
{
    struct lane_state *lane = workers_lane(o->broker->opt.workers, LANE_OLD_FETCH);

    lane->drop = codecs_drop;
    if (!lane->p) lane->p = codecs_new();
    return lane->p;
}

static void run(struct work *work)
{
    struct old_fetch *o = container_of(work, struct old_fetch, work);
    struct message_set_builder w = {.codecs = codecs_of(o),
                                    .magic = o->magic,
                                    .expanded_bytes_max = MIN((size_t)EXPANDED_BYTES_MAX, (size_t)o->broker->memory_max)};
    uint64_t begun_us = clock_mono_us(o->broker->clock);

    for (size_t i = 0; i < o->parts_n; i++)
        part_make(o, &w, &o->parts[i]);
    message_set_builder_fini(&w);
    o->us += clock_mono_us(o->broker->clock) - begun_us;
}

/* ---- on the loop ---- */

/* What was made counts with what it takes. */
static void memory_right(struct old_fetch *o)
{
    uint64_t n = 0;

    for (size_t i = 0; i < o->parts_n; i++)
        n += o->parts[i].made.cap;
    if (n > o->reserved)
        memory_keep(o->broker, n - o->reserved);
    else
        memory_release(o->broker, o->reserved - n);
    o->reserved = n;
}

static void fetch_done(struct old_fetch *o);

static void done(struct work *work)
{
    struct old_fetch *o = container_of(work, struct old_fetch, work);

    o->broker->jobs_n--;
    o->with_worker = false;
    if (!o->of) {
        job_free(o);
        return;
    }
    if (o->err.rc) diag(DIAG_ERROR, "broker.read_failed", KV_CSTR("why", o->err.text));
    memory_right(o);
    fetch_done(o);
}

static uint64_t memory_of(const struct old_fetch *o)
{
    uint64_t n = SPARE_BYTES;

    for (size_t i = 0; i < o->parts_n; i++)
        n += 2 * o->parts[i].slice.n; /* as it is, and as it will be */
    return n;
}

static bool submit(struct old_fetch *o)
{
    uint64_t n = memory_of(o);

    if (o->has_memory)
        memory_keep(o->broker, n);
    else if (!memory_reserve(o->broker, n))
        return false;
    o->reserved = n;
    o->with_worker = true;
    o->broker->jobs_n++;
    o->work = (struct work){.run = run, .done = done, .reply_to = o->broker->mailbox, .lane = LANE_OLD_FETCH};
    workers_submit(o->broker->opt.workers, &o->work);
    return true;
}

static void job_start(struct old_fetch *o)
{
    bool waits = !o->has_memory && !list_empty(&o->broker->old_fetches_held);

    if (waits || !submit(o)) list_push(&o->broker->old_fetches_held, &o->link);
}

static void job_cancel(struct old_fetch *o)
{
    o->of = NULL;
    if (!o->with_worker) job_free(o);
}

void old_fetches_turn(struct broker *b)
{
    while (!list_empty(&b->old_fetches_held)) {
        struct old_fetch *o = container_of(b->old_fetches_held.next, struct old_fetch, link);

        if (!submit(o)) return;
        list_remove(&o->link);
    }
}

/* ---- the fetch ---- */

static void fetch_cancel(struct request *r)
{
    struct fetch *f = r->ctx;

    job_cancel(f->old);
    fetch_parts_drop(f);
}

/* True: there was something. *ret_more: some parts gave nothing, and have more behind that; *ret_failed: some could not be converted. */
static bool fetch_take(struct fetch *f, struct old_fetch *o, bool *ret_more, bool *ret_failed)
{
    bool any = false;

    *ret_more = *ret_failed = false;
    for (size_t i = 0; i < o->parts_n; i++) {
        struct fetch_part *p = o->parts[i].of;

        p->made = buf_take(&o->parts[i].made);
        if ((p->error = o->parts[i].error)) p->high = p->start = p->stable = -1;
        any |= p->made.n != 0;
        *ret_failed |= p->error != 0;
        *ret_more |= !p->made.n && !p->error && p->skip < p->high;
    }
    f->reserved += o->reserved;
    o->reserved = 0;
    return any;
}

/* Markers of transactions, and what compaction has left of a batch, give no message: what lies behind them is looked at, so that nobody
 * asks for the same offset for ever; where nothing does, the fetch waits as if they were not there. */
static void fetch_done(struct old_fetch *o)
{
    struct fetch *f = o->of;
    struct broker *b = f->r->broker;
    bool more, failed, any = fetch_take(f, o, &more, &failed);

    f->old = NULL;
    f->r->aside_us += o->us;
    job_free(o);
    if (failed || (any && !more) || b->draining)
        fetch_reply(f, false);
    else if (fetch_look(f))
        fetch_answer(f);
    else
        fetch_park(f);
}

bool old_fetch_begin(struct fetch *f)
{
    struct request *r = f->r;
    struct old_fetch *o;
    size_t n = 0;

    if (!fetch_is_old(f)) return false;
    list_each(it, fetch_parts(f)) n += container_of(it, struct fetch_part, link)->slice.n != 0;
    if (!n) return false;
    fetch_unpark(f);
    timer_cancel(r->broker->timers, &r->timer);
    o = f->old = job_new(r->broker, request_version(r) < FORMAT_1_FROM ? 0 : 1, n);
    list_each(it, fetch_parts(f))
    {
        struct fetch_part *p = container_of(it, struct fetch_part, link);

        if (!p->slice.n) continue;
        p->skip = p->slice.offset_next;
        p->t->bytes_out += p->slice.n;
        job_add(o, p);
    }
    f->charged = true;
    o->has_memory = f->reserved != 0;
    o->of = f;
    r->ctx = f;
    if (r->state == REQUEST_PARKED)
        r->cancel = fetch_cancel;
    else
        request_park(r, fetch_cancel);
    job_start(o);
    return true;
}

/* Readers from before version 3 are told that a batch is there, and above their limit, by a message that does not end within it. */
struct bytes old_fetch_cut(struct fetch *f, const struct fetch_part *p)
{
    size_t n = MIN((size_t)p->max_bytes, (size_t)CUT_BYTES);
    uint8_t *head = arena_alloc(&f->r->arena, CUT_BYTES);

    memset(head, 0, CUT_BYTES);
    store_be64(head, (uint64_t)p->offset);
    store_be32(head + 8, INT32_MAX);
    head[16] = request_version(f->r) < FORMAT_1_FROM ? 0 : 1;
    return bytes_of(head, n);
}
