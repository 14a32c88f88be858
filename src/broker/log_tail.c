/* Design note: the wal is the truth and segments follow it. A small batch stays in its log's memory (`held`) after it was
 * staged, and is written to the segment together with those that come after it: when a reader wants it, when enough have come
 * together, when they grow old, and before anything that looks into the file or syncs it. So a request to a hundred
 * partitions does not make a hundred writes before its group can be launched. A crash loses nothing by it: replay writes the
 * records of the wal into the segments anyway.
 *
 * What is held has an offset and may be acknowledged. A write that finds no room therefore keeps it and is tried again; the
 * checkpoint waits for it, and so the wal keeps it too. Any other failure ends acknowledgement, as a failed sync does. Where
 * room is short nothing is held: the write comes before the append, which can then still be refused.
 * SPDX-License-Identifier: Apache-2.0 */
#include "broker/store_core.h"

enum {
    HELD_BYTES_ENOUGH = 16 << 10,              /* of one log: worth a write */
    HELD_BYTES_MAX = 128 << 10,
    HELD_BATCHES_FIRST = 4,                    /* of the size of the first there is room from the beginning */
    STORE_HELD_BYTES_MAX = 2 << 20,            /* of all together; from half of it on they are written */
    HELD_AGE_MS = 200,
    SETTLE_PER_TURN = 8                        /* of those that are old: the loop has other work */
};

bool log_may_hold(const struct log *l, size_t n)
{
    const struct segment *a = log_active(l);

    return a && a->size && !log_replaying(l) && l->held.n + n <= HELD_BYTES_MAX &&
           l->store->held_bytes + n <= STORE_HELD_BYTES_MAX && !store_disk_was_full(l->store);
}

void log_hold(struct log *l, struct bytes batch, int64_t base_offset)
{
    struct store *s = l->store;

    if (!l->held.n) {
        l->held_from = base_offset;
        l->held_ms = clock_mono_ms(s->opt.clock);
        list_push(&s->held, &l->held_link);
        l->held = buf_take(&s->held_spare);
        buf_reserve(&l->held, MIN(HELD_BATCHES_FIRST * batch.n, (size_t)HELD_BYTES_ENOUGH));
    }
    buf_append(&l->held, batch);
    s->held_bytes += batch.n;
    if (l->held.n < HELD_BYTES_ENOUGH || !l->held_ms) return;
    l->held_ms = 0;                                               /* the next to be written */
    list_remove(&l->held_link);
    list_push_front(&s->held, &l->held_link);
}

void log_held_drop(struct log *l)
{
    l->store->held_bytes -= l->held.n;
    list_remove(&l->held_link);
    buf_fini(&l->store->held_spare);
    l->store->held_spare = buf_take(&l->held);
    buf_clear(&l->store->held_spare);
}

enum rc log_settle_with(struct log *l, struct bytes more, struct err *e)
{
    struct segment_place in = log_place(l);

    if (segment_write(log_active(l), &in, buf_view(&l->held), more, e)) return e->rc;
    if (l->held.n) log_held_drop(l);
    if (l->held_short && l->store->opt.advanced && !l->store->closing) l->store->opt.advanced(l->store->opt.ctx, l);
    l->held_short = false;
    return RC_OK;
}

enum rc log_settle(struct log *l, struct err *e)
{
    if (!l->held.n) return RC_OK;
    if (!log_settle_with(l, (struct bytes){0}, e)) return RC_OK;
    err_in(e, "%s-%u", l->topic, l->partition);
    if (e->rc != RC_DISK_FULL) return store_fail(l->store, e);
    l->held_short = true;
    return e->rc;
}

static bool oldest_is_due(const struct store *s, uint64_t now_ms)
{
    return now_ms >= container_of(s->held.next, struct log, held_link)->held_ms + HELD_AGE_MS;
}

static bool is_due(const struct store *s, uint64_t now_ms)
{
    return !s->fatal && !list_empty(&s->held) && (s->held_bytes > STORE_HELD_BYTES_MAX / 2 || oldest_is_due(s, now_ms));
}

/* Answers come first: those of the group that landed in this turn leave behind it, and a message is likely to be the next one. */
static bool answers_wait(const struct store *s, int written)
{
    if (s->held_bytes > STORE_HELD_BYTES_MAX / 4 * 3) return false;
    return written ? mailbox_pending(s->opt.mailbox) : s->landed_now;
}

void store_held_turn(struct store *s, uint64_t now_ms)
{
    struct err e;

    s->held_late = false;
    for (int i = 0; is_due(s, now_ms); i++) {
        struct log *l = container_of(s->held.next, struct log, held_link);

        if (i >= SETTLE_PER_TURN && s->held_bytes <= STORE_HELD_BYTES_MAX / 2) break;
        if ((s->held_late = answers_wait(s, i))) break;
        if (!log_settle(l, &e)) continue;
        list_remove(&l->held_link);                               /* no room: its turn comes again */
        list_push(&s->held, &l->held_link);
        l->held_ms = now_ms;
        break;
    }
    s->landed_now = false;
}

uint64_t store_held_next_ms(const struct store *s)
{
    if (s->held_late) return 0;                                   /* the next turn */
    return s->fatal || list_empty(&s->held) ? UINT64_MAX : container_of(s->held.next, struct log, held_link)->held_ms + HELD_AGE_MS;
}

bool store_settle(struct store *s)
{
    struct err e;

    while (!list_empty(&s->held))
        if (log_settle(container_of(s->held.next, struct log, held_link), &e)) return false;
    return true;
}
