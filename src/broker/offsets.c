/* SPDX-License-Identifier: Apache-2.0
 *
 * Two sorted arrays: topics by name, partitions by number. A commit usually finds its place at once, and "all offsets of
 * a group" is a walk. Groups have few topics; inserting into the middle costs a memmove.
 */
#include "broker/offsets.h"

static struct str text_own(struct str s)
{
    char *p = xnew_array(char, s.n + 1);

    if (s.n) memcpy(p, s.p, s.n);
    return (struct str){p, s.n};
}

static void text_drop(struct str *s)
{
    free((char *)(uintptr_t)s->p);
    *s = (struct str){0};
}

/* The first position that is not below. */
static size_t topic_place(const struct offsets *o, struct str name, bool *ret_found)
{
    size_t lo = 0, hi = o->topics_n;

    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;

        if (str_cmp(o->topics[mid].name, name) < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    *ret_found = lo < o->topics_n && str_eq(o->topics[lo].name, name);
    return lo;
}

static size_t partition_place(const struct offsets_topic *t, int32_t partition, bool *ret_found)
{
    size_t lo = 0, hi = t->n;

    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;

        if (t->items[mid].partition < partition)
            lo = mid + 1;
        else
            hi = mid;
    }
    *ret_found = lo < t->n && t->items[lo].partition == partition;
    return lo;
}

static struct offsets_topic *topic_add(struct offsets *o, size_t at, struct str name)
{
    if (o->topics_n == o->topics_cap) {
        o->topics_cap = o->topics_cap ? 2 * o->topics_cap : 2;
        o->topics = xrealloc(o->topics, o->topics_cap, sizeof *o->topics);
    }
    memmove(&o->topics[at + 1], &o->topics[at], (o->topics_n - at) * sizeof *o->topics);
    o->topics_n++;
    o->topics[at] = (struct offsets_topic){.name = text_own(name)};
    o->bytes += sizeof *o->topics + name.n;
    return &o->topics[at];
}

static void topic_remove(struct offsets *o, size_t at)
{
    struct offsets_topic *t = &o->topics[at];

    o->bytes -= sizeof *t + t->name.n;
    text_drop(&t->name);
    free(t->items);
    o->topics_n--;
    memmove(t, t + 1, (o->topics_n - at) * sizeof *t);
}

void offsets_put(struct offsets *o, struct str topic, const struct committed *c)
{
    bool found;
    size_t at = topic_place(o, topic, &found);
    struct offsets_topic *t = found ? &o->topics[at] : topic_add(o, at, topic);
    struct str metadata = text_own(c->metadata);

    at = partition_place(t, c->partition, &found);
    if (found) {
        o->bytes -= t->items[at].metadata.n;
        text_drop(&t->items[at].metadata);
    } else {
        if (t->n == t->cap) {
            t->cap = t->cap ? 2 * t->cap : 1;
            t->items = xrealloc(t->items, t->cap, sizeof *t->items);
        }
        memmove(&t->items[at + 1], &t->items[at], (t->n - at) * sizeof *t->items);
        t->n++;
        o->n++;
        o->bytes += sizeof *t->items;
    }
    t->items[at] = *c;
    t->items[at].metadata = metadata;
    o->bytes += metadata.n;
}

const struct offsets_topic *offsets_topic(const struct offsets *o, struct str topic)
{
    bool found;
    size_t at = topic_place(o, topic, &found);

    return found ? &o->topics[at] : NULL;
}

const struct committed *offsets_get(const struct offsets *o, struct str topic, int32_t partition)
{
    const struct offsets_topic *t = offsets_topic(o, topic);
    bool found = false;
    size_t at = t ? partition_place(t, partition, &found) : 0;

    return found ? &t->items[at] : NULL;
}

bool offsets_delete(struct offsets *o, struct str topic, int32_t partition)
{
    bool found;
    size_t of_topic = topic_place(o, topic, &found), at;
    struct offsets_topic *t;

    if (!found) return false;
    t = &o->topics[of_topic];
    at = partition_place(t, partition, &found);
    if (!found) return false;

    o->bytes -= sizeof *t->items + t->items[at].metadata.n;
    text_drop(&t->items[at].metadata);
    t->n--;
    o->n--;
    memmove(&t->items[at], &t->items[at + 1], (t->n - at) * sizeof *t->items);
    if (t->n == 0) topic_remove(o, of_topic);
    return true;
}

void offsets_fini(struct offsets *o)
{
    while (o->topics_n) {
        struct offsets_topic *t = &o->topics[o->topics_n - 1];

        for (size_t i = 0; i < t->n; i++)
            text_drop(&t->items[i].metadata);
        topic_remove(o, o->topics_n - 1);
    }
    free(o->topics);
    *o = (struct offsets){0};
}

bool committed_is_expired(const struct committed *c, int64_t now_ms, int64_t retention_ms,
                          int64_t since_ms)
{
    int64_t from = since_ms == INT64_MIN ? c->commit_ms : MAX(since_ms, c->commit_ms);

    if (c->expire_ms >= 0) return now_ms >= c->expire_ms;
    return now_ms >= from && now_ms - from >= retention_ms;
}
