/* The number and the name make the key, the count is the value. SPDX-License-Identifier: Apache-2.0 */
#include "broker/api/seen.h"

enum { KEY_MAX = 512 };

/* Longer names than any topic's are told apart by their hash alone. */
static struct bytes key_of(struct str name, int32_t number, uint8_t room[KEY_MAX])
{
    size_t n = MIN(name.n, (size_t)KEY_MAX - 12);

    store_be32(room, (uint32_t)number);
    store_le64(room + 4, name.n > n ? hash64(str_bytes(name), 1) : 0);
    if (n) memcpy(room + 12, name.p, n);
    return (struct bytes){room, n + 12};
}

void seen_fini(struct seen *s)
{
    map_fini(&s->map);
}

size_t seen_add(struct seen *s, struct str name, int32_t number)
{
    uint8_t room[KEY_MAX];
    struct bytes key = key_of(name, number, room);
    size_t n = (size_t)(uintptr_t)map_get(&s->map, key) + 1;

    map_put(&s->map, key, (void *)(uintptr_t)n);
    return n;
}

size_t seen_count(const struct seen *s, struct str name, int32_t number)
{
    uint8_t room[KEY_MAX];

    return (size_t)(uintptr_t)map_get(&s->map, key_of(name, number, room));
}

size_t seen_take(struct seen *s, struct str name, int32_t number)
{
    uint8_t room[KEY_MAX];
    struct bytes key = key_of(name, number, room);
    size_t n = (size_t)(uintptr_t)map_get(&s->map, key);

    must(n);
    if (n > 1)
        map_put(&s->map, key, (void *)(uintptr_t)(n - 1));
    else
        map_del(&s->map, key);
    return n - 1;
}

static int part_cmp(const void *a, const void *b)
{
    const struct seen_part *x = a, *y = b;
    int c = str_cmp(x->topic, y->topic);

    return c ? c : (x->number > y->number) - (x->number < y->number);
}

void seen_parts_sort(struct seen_part *parts, size_t n)
{
    if (n) qsort(parts, n, sizeof *parts, part_cmp);
}

size_t seen_topic_end(const struct seen_part *parts, size_t n, size_t at)
{
    size_t end = at;

    while (end < n && str_eq(parts[end].topic, parts[at].topic))
        end++;
    return end;
}
