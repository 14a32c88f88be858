/* Fetch sessions: found by id, dropped from the least recently used end when a newer one needs the slot.
 *
 * One that a request is parked on, or that was used in the last two minutes, keeps its slot unless the newcomer is larger
 * and it is older than that. All of them together hold PARTS_MAX parts at most.   SPDX-License-Identifier: Apache-2.0
 */
#include "broker/fetch.h"

enum { PARTS_MAX = 1000000, KEEP_MS = 120000 };

struct fetch_sessions *fetch_sessions_new(size_t max)
{
    struct fetch_sessions *ss = xnew(struct fetch_sessions);

    ss->max = max;
    list_init(&ss->all);
    return ss;
}

struct fetch_session *fetch_session_find(struct fetch_sessions *ss, int32_t id)
{
    return map_get_u64(&ss->by_id, (uint64_t)(uint32_t)id);
}

/* id or name, then the partition's number. */
static struct bytes key_of(const struct fetch_session *s, struct str topic, const struct uuid *id,
                           int32_t number, uint8_t room[300])
{
    size_t n = s->by_id ? sizeof id->b : MIN(topic.n, (size_t)290);

    memcpy(room, s->by_id ? (const void *)id->b : (const void *)topic.p, n);
    store_be32(room + n, (uint32_t)number);
    return (struct bytes){room, n + 4};
}

static void part_drop(struct fetch_sessions *ss, struct fetch_session *s, struct fetch_part *p)
{
    uint8_t room[300];

    map_del(&s->by_key, key_of(s, p->topic, &p->id, p->number, room));
    list_remove(&p->wait);
    list_remove(&p->link);
    log_slice_fini(&p->slice);
    free((char *)(uintptr_t)p->topic.p);
    free(p);
    s->parts_n--;
    ss->parts_n--;
}

void fetch_session_drop(struct fetch_sessions *ss, struct fetch_session *s)
{
    must(!s->fetch);
    while (!list_empty(&s->parts))
        part_drop(ss, s, container_of(s->parts.next, struct fetch_part, link));
    map_fini(&s->by_key);
    list_remove(&s->link);
    map_del_u64(&ss->by_id, (uint64_t)(uint32_t)s->id);
    ss->n--;
    free(s);
}

struct fetch_sessions *fetch_sessions_free(struct fetch_sessions *ss)
{
    if (!ss) return NULL;
    while (!list_empty(&ss->all))
        fetch_session_drop(ss, container_of(ss->all.next, struct fetch_session, link));
    map_fini(&ss->by_id);
    free(ss);
    return NULL;
}

static bool make_room(struct fetch_sessions *ss, size_t parts, uint64_t now_ms)
{
    if (!ss->max || ss->parts_n + parts > PARTS_MAX) return false;
    if (ss->n < ss->max) return true;
    list_each(it, &ss->all)
    {
        struct fetch_session *s = container_of(it, struct fetch_session, link);
        bool idle = now_ms - s->used_ms > KEEP_MS, old = now_ms - s->made_ms > KEEP_MS;

        if (s->fetch || !(idle || (old && s->parts_n < parts))) continue;
        fetch_session_drop(ss, s);
        return true;
    }
    return false;
}

struct fetch_session *fetch_session_new(struct broker *b, size_t parts, bool by_id)
{
    struct fetch_sessions *ss = b->sessions;
    struct fetch_session *s;

    if (!make_room(ss, parts, broker_now_ms(b))) return NULL;
    s = xnew(struct fetch_session);
    do
        s->id = (int32_t)(1 + rng_below(&b->rng, INT32_MAX - 1));
    while (fetch_session_find(ss, s->id));
    s->epoch = 1;
    s->by_id = by_id;
    s->made_ms = s->used_ms = broker_now_ms(b);
    list_init(&s->parts);
    list_push(&ss->all, &s->link);
    map_put_u64(&ss->by_id, (uint64_t)(uint32_t)s->id, s);
    ss->n++;
    return s;
}

void fetch_session_touch(struct fetch_sessions *ss, struct fetch_session *s, uint64_t now_ms)
{
    s->used_ms = now_ms;
    list_remove(&s->link);
    list_push(&ss->all, &s->link);
}

struct fetch_part *fetch_session_put(struct fetch_sessions *ss, struct fetch_session *s,
                                     struct str topic, const struct uuid *id, int32_t number)
{
    uint8_t room[300];
    struct bytes key = key_of(s, topic, id, number, room);
    struct fetch_part *p = map_get(&s->by_key, key);
    char *name;

    if (p) return p;
    p = xnew(struct fetch_part);
    name = xcalloc(1, topic.n + 1);
    if (topic.n) memcpy(name, topic.p, topic.n);
    p->topic = (struct str){name, topic.n};
    p->id = *id;
    p->number = number;
    p->sent_high = p->sent_start = -1;
    list_init(&p->wait);
    list_push(&s->parts, &p->link);
    map_put(&s->by_key, key, p);
    s->parts_n++;
    ss->parts_n++;
    return p;
}

void fetch_session_forget(struct fetch_sessions *ss, struct fetch_session *s, struct str topic,
                          const struct uuid *id, int32_t number)
{
    uint8_t room[300];
    struct fetch_part *p = map_get(&s->by_key, key_of(s, topic, id, number, room));

    if (p) part_drop(ss, s, p);
}
