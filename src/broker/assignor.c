/* SPDX-License-Identifier: Apache-2.0
 *
 * `uniform` in three moves: everybody keeps what it had and still may have; who has too much gives up the surplus; what
 * has no owner goes to who has least. If all subscribe to the same topics, "too much" is exact (loads differ by one at
 * most). Otherwise single partitions move from who has more to who has less by two or more, until nothing moves: each
 * move makes the loads more even, so that this ends.
 */
#include "broker/assignor.h"
#include <stdlib.h>

enum { NOBODY = UINT32_MAX };

struct place {
    struct uuid id;
    uint32_t topic;
};

struct work {
    const struct assignor_topic *topics;
    size_t topics_n;
    struct assignor_member *members;
    size_t members_n;
    struct place *places; /* topics by id */
    size_t *first;        /* by topic: where its partitions begin in owner */
    uint32_t *owner;      /* by partition, all topics in a row: its member, or NOBODY */
    size_t parts_n;
    size_t *load;           /* by member */
    uint32_t **subscribers; /* by topic: members, in order */
    size_t *subscribers_n;
};

const struct assignor *assignor_of(struct str name)
{
    static const struct assignor all[] = {{"uniform", assign_uniform}, {"range", assign_range}};

    for (size_t i = 0; i < countof(all); i++)
        if (str_is(name, all[i].name)) return &all[i];
    return NULL;
}

static int place_cmp(const void *a, const void *b)
{
    const struct place *x = a, *y = b;

    return memcmp(x->id.b, y->id.b, sizeof x->id.b);
}

static void subscribers_count(struct work *w)
{
    for (size_t m = 0; m < w->members_n; m++)
        for (size_t i = 0; i < w->members[m].topics_n; i++)
            w->subscribers_n[w->members[m].topics[i]]++;
    for (size_t t = 0; t < w->topics_n; t++) {
        w->subscribers[t] = xnew_array(uint32_t, MAX(w->subscribers_n[t], (size_t)1));
        w->subscribers_n[t] = 0;
    }
    for (size_t m = 0; m < w->members_n; m++)
        for (size_t i = 0; i < w->members[m].topics_n; i++) {
            uint32_t t = w->members[m].topics[i];

            w->subscribers[t][w->subscribers_n[t]++] = (uint32_t)m;
        }
}

static void work_init(struct work *w, const struct assignor_topic *topics, size_t topics_n,
                      struct assignor_member *members, size_t members_n)
{
    *w = (struct work){
        .topics = topics, .topics_n = topics_n, .members = members, .members_n = members_n};
    w->places = xnew_array(struct place, topics_n + 1);
    w->first = xnew_array(size_t, topics_n + 1);
    w->subscribers = xnew_array(uint32_t *, topics_n + 1);
    w->subscribers_n = xnew_array(size_t, topics_n + 1);
    w->load = xnew_array(size_t, members_n + 1);
    for (size_t t = 0; t < topics_n; t++) {
        w->places[t] = (struct place){topics[t].id, (uint32_t)t};
        w->first[t] = w->parts_n;
        w->parts_n += (size_t)topics[t].partitions;
    }
    if (topics_n) qsort(w->places, topics_n, sizeof *w->places, place_cmp);
    w->owner = xnew_array(uint32_t, w->parts_n + 1);
    for (size_t i = 0; i < w->parts_n; i++)
        w->owner[i] = NOBODY;
    subscribers_count(w);
}

/* What each has goes into its `after`, in order. */
static void work_end(struct work *w)
{
    for (size_t t = 0; t < w->topics_n; t++)
        for (int32_t n = 0; n < w->topics[t].partitions; n++) {
            uint32_t m = w->owner[w->first[t] + (size_t)n];

            if (m != NOBODY) parts_push(&w->members[m].after, (struct part){w->topics[t].id, n});
        }
    for (size_t m = 0; m < w->members_n; m++)
        parts_sort(&w->members[m].after);
    for (size_t t = 0; t < w->topics_n; t++)
        free(w->subscribers[t]);
    free(w->subscribers);
    free(w->subscribers_n);
    free(w->places);
    free(w->first);
    free(w->owner);
    free(w->load);
}

void assign_range(const struct assignor_topic *topics, size_t topics_n,
                  struct assignor_member *members, size_t members_n)
{
    struct work w;

    work_init(&w, topics, topics_n, members, members_n);
    for (size_t t = 0; t < topics_n; t++) {
        size_t n = w.subscribers_n[t], all = (size_t)topics[t].partitions, next = 0;

        for (size_t i = 0; i < n; i++)
            for (size_t k = all / n + (i < all % n); k > 0; k--)
                w.owner[w.first[t] + next++] = w.subscribers[t][i];
    }
    work_end(&w);
}

/* ---- uniform ---- */

static void give(struct work *w, size_t part, uint32_t to)
{
    if (w->owner[part] != NOBODY) w->load[w->owner[part]]--;
    w->owner[part] = to;
    if (to != NOBODY) w->load[to]++;
}

static bool subscribes(const struct assignor_member *m, uint32_t topic)
{
    for (size_t lo = 0, hi = m->topics_n; lo < hi;) {
        size_t mid = lo + (hi - lo) / 2;

        if (m->topics[mid] == topic) return true;
        if (m->topics[mid] < topic)
            lo = mid + 1;
        else
            hi = mid;
    }
    return false;
}

static void keep(struct work *w)
{
    for (size_t m = 0; m < w->members_n; m++) {
        const struct parts *before = w->members[m].before;

        for (size_t i = 0; before && i < before->n; i++) {
            struct place key = {.id = before->p[i].topic};
            const struct place *at =
                w->topics_n ? bsearch(&key, w->places, w->topics_n, sizeof *w->places, place_cmp)
                            : NULL;
            int32_t number = before->p[i].number;

            if (!at || number < 0 || number >= w->topics[at->topic].partitions) continue;
            if (!subscribes(&w->members[m], at->topic)) continue;
            if (w->owner[w->first[at->topic] + (size_t)number] == NOBODY)
                give(w, w->first[at->topic] + (size_t)number, (uint32_t)m);
        }
    }
}

static bool all_subscribe_alike(const struct work *w)
{
    for (size_t m = 1; m < w->members_n; m++)
        if (w->members[m].topics_n != w->members[0].topics_n ||
            (w->members[0].topics_n &&
             memcmp(w->members[m].topics, w->members[0].topics,
                    w->members[0].topics_n * sizeof *w->members[0].topics)))
            return false;
    return true;
}

static void even_out_exactly(struct work *w)
{
    size_t total = 0, low, extra;
    size_t *quota = xnew_array(size_t, w->members_n + 1);
    uint32_t next = 0;

    for (size_t i = 0; i < w->members[0].topics_n; i++)
        total += (size_t)w->topics[w->members[0].topics[i]].partitions;
    low = total / w->members_n;
    extra = total % w->members_n;
    for (size_t m = 0; m < w->members_n; m++) { /* one more is for who has one more already … */
        quota[m] = low + (extra && w->load[m] > low);
        extra -= quota[m] > low;
    }
    for (size_t m = 0; m < w->members_n && extra; m++) { /* … and then for the first ones */
        if (quota[m] > low) continue;
        quota[m]++;
        extra--;
    }
    for (size_t i = w->parts_n; i-- > 0;)
        if (w->owner[i] != NOBODY && w->load[w->owner[i]] > quota[w->owner[i]]) give(w, i, NOBODY);
    for (size_t i = 0; i < w->members[0].topics_n; i++) {
        uint32_t t = w->members[0].topics[i];

        for (size_t k = 0; k < (size_t)w->topics[t].partitions; k++) {
            if (w->owner[w->first[t] + k] != NOBODY) continue;
            while (w->load[next] >= quota[next])
                next++;
            give(w, w->first[t] + k, next);
        }
    }
    free(quota);
}

static uint32_t least_loaded(const struct work *w, size_t topic)
{
    uint32_t best = NOBODY;

    for (size_t i = 0; i < w->subscribers_n[topic]; i++)
        if (best == NOBODY || w->load[w->subscribers[topic][i]] < w->load[best])
            best = w->subscribers[topic][i];
    return best;
}

struct rank {
    size_t subscribers, topic;
};

static int rank_cmp(const void *a, const void *b)
{
    const struct rank *x = a, *y = b;

    if (x->subscribers != y->subscribers) return x->subscribers < y->subscribers ? -1 : 1;
    return x->topic < y->topic ? -1 : x->topic > y->topic;
}

static bool move_one_round(struct work *w)
{
    bool moved = false;

    for (size_t t = 0; t < w->topics_n; t++)
        for (size_t i = w->first[t]; i < w->first[t] + (size_t)w->topics[t].partitions; i++) {
            uint32_t to = least_loaded(w, t);

            if (to == NOBODY || w->load[to] + 1 >= w->load[w->owner[i]]) continue;
            give(w, i, to);
            moved = true;
        }
    return moved;
}

/* Topics with few subscribers first: they have the least choice. */
static void even_out_nearly(struct work *w)
{
    struct rank *order = xnew_array(struct rank, w->topics_n + 1);

    for (size_t t = 0; t < w->topics_n; t++)
        order[t] = (struct rank){w->subscribers_n[t], t};
    if (w->topics_n) qsort(order, w->topics_n, sizeof *order, rank_cmp);
    for (size_t k = 0; k < w->topics_n; k++) {
        size_t t = order[k].topic;

        for (size_t i = w->first[t]; i < w->first[t] + (size_t)w->topics[t].partitions; i++)
            if (w->owner[i] == NOBODY && w->subscribers_n[t]) give(w, i, least_loaded(w, t));
    }
    while (move_one_round(w))
        ;
    free(order);
}

void assign_uniform(const struct assignor_topic *topics, size_t topics_n,
                    struct assignor_member *members, size_t members_n)
{
    struct work w;

    if (members_n == 0) return;
    work_init(&w, topics, topics_n, members, members_n);
    keep(&w);
    if (all_subscribe_alike(&w))
        even_out_exactly(&w);
    else
        even_out_nearly(&w);
    work_end(&w);
}
