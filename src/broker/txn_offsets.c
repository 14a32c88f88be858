/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/txn_offsets.h"

static struct list *head_of(struct map *m, struct bytes key, bool make)
{
    struct list *head = map_get(m, key);

    if (head || !make) return head;
    head = xnew(struct list);
    list_init(head);
    must(!map_put(m, key, head));
    return head;
}

static void head_drop(struct map *m, struct bytes key)
{
    struct list *head = map_get(m, key);

    if (!head || !list_empty(head)) return;
    map_del(m, key);
    free(head);
}

static struct bytes key_of(const int64_t *producer_id)
{
    return bytes_of(producer_id, sizeof *producer_id);
}

static struct txn_pending *find(const struct txn_offsets *o, int64_t producer_id, struct str group)
{
    struct list *head = map_get(&o->by_producer, key_of(&producer_id));

    if (!head) return NULL;
    list_each(it, head)
    {
        struct txn_pending *p = container_of(it, struct txn_pending, of_producer);

        if (str_eq(p->group, group)) return p;
    }
    return NULL;
}

static struct txn_pending *add(struct txn_offsets *o, int64_t producer_id, int32_t home, struct str group)
{
    struct txn_pending *p = xnew(struct txn_pending);
    char               *name = xnew_array(char, group.n + 1);

    if (group.n) memcpy(name, group.p, group.n);
    *p = (struct txn_pending){.producer_id = producer_id, .home = home, .group = {name, group.n}};
    list_push(head_of(&o->by_producer, key_of(&producer_id), true), &p->of_producer);
    list_push(head_of(&o->by_group, str_bytes(group), true), &p->of_group);
    o->bytes += sizeof *p + group.n;
    return p;
}

void txn_offsets_put(struct txn_offsets *o, int64_t producer_id, int32_t home, struct str group, struct str topic, const struct committed *c)
{
    struct txn_pending *p = find(o, producer_id, group);

    if (!p) p = add(o, producer_id, home, group);
    o->bytes -= p->offsets.bytes;
    offsets_put(&p->offsets, topic, c);
    o->bytes += p->offsets.bytes;
}

bool txn_offsets_has(const struct txn_offsets *o, struct str group, struct str topic, int32_t partition)
{
    struct list *head = map_get(&o->by_group, str_bytes(group));

    if (!head) return false;
    list_each(it, head)
        if (offsets_get(&container_of(it, struct txn_pending, of_group)->offsets, topic, partition)) return true;
    return false;
}

static void unlink_pending(struct txn_offsets *o, struct txn_pending *p)
{
    list_remove(&p->of_producer);
    list_remove(&p->of_group);
    head_drop(&o->by_producer, key_of(&p->producer_id));
    head_drop(&o->by_group, str_bytes(p->group));
    o->bytes -= sizeof *p + p->group.n + p->offsets.bytes;
}

struct txn_pending *txn_offsets_take(struct txn_offsets *o, int64_t producer_id, int32_t home)
{
    struct list *head = map_get(&o->by_producer, key_of(&producer_id));

    if (!head) return NULL;
    list_each(it, head)
    {
        struct txn_pending *p = container_of(it, struct txn_pending, of_producer);

        if (p->home != home) continue;
        unlink_pending(o, p);
        return p;
    }
    return NULL;
}

void txn_pending_free(struct txn_pending *p)
{
    offsets_fini(&p->offsets);
    free((char *)(uintptr_t)p->group.p);
    free(p);
}

void txn_offsets_forget(struct txn_offsets *o, int32_t home)
{
    struct bytes key;
    void        *head;

    for (size_t at = 0; map_next(&o->by_producer, &at, &key, &head);) {
        struct txn_pending *p;
        int64_t             producer_id = container_of(((struct list *)head)->next, struct txn_pending, of_producer)->producer_id;

        while ((p = txn_offsets_take(o, producer_id, home))) txn_pending_free(p);
    }
}

void txn_offsets_fini(struct txn_offsets *o)
{
    struct bytes key;
    void        *head;

    for (size_t at = 0; map_next(&o->by_producer, &at, &key, &head); at = 0) {
        struct txn_pending *p = container_of(((struct list *)head)->next, struct txn_pending, of_producer);

        unlink_pending(o, p);
        txn_pending_free(p);
    }
    map_fini(&o->by_producer);
    map_fini(&o->by_group);
    *o = (struct txn_offsets){0};
}
