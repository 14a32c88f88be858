/* SPDX-License-Identifier: Apache-2.0
 *
 * A member's protocols live in one allocation: the array, then names and metadata. Strings that stay for the member's
 * life are separate small allocations. `bytes` counts both, so that a peer's share can be refused before it is taken.
 */
#include "broker/group_member.h"
#include "kafka/errors.h"

void group_set_str(struct group *g, struct str *field, struct str value)
{
    struct str old = *field;

    *field = str_own(value);
    g->bytes = g->bytes - old.n + value.n;
    str_drop(&old);
}

/* ---- protocols ---- */

static void supporters_count(struct group *g, const struct group_member *m, int by)
{
    for (size_t i = 0; i < m->protocols_n; i++) {
        intptr_t n = (intptr_t)map_get_str(&g->supporters, m->protocols[i].name) + by;

        if (n > 0)
            (void)map_put_str(&g->supporters, m->protocols[i].name, (void *)n);
        else
            (void)map_del_str(&g->supporters, m->protocols[i].name);
    }
}

static bool supported_by_all(const struct group *g, struct str name)
{
    return (size_t)(uintptr_t)map_get_str(&g->supporters, name) == g->members_n;
}

static bool named_before(const struct group_protocol *ps, size_t n, struct str name)
{
    for (size_t i = 0; i < n; i++)
        if (str_eq(ps[i].name, name)) return true;
    return false;
}

static size_t protocols_bytes(const struct group_protocol *ps, size_t n)
{
    size_t bytes = n * sizeof *ps;

    for (size_t i = 0; i < n; i++)
        bytes += ps[i].name.n + ps[i].metadata.n;
    return bytes;
}

struct group_protocol *group_protocols_own(const struct group_protocol *from, size_t n,
                                           size_t *ret_n)
{
    struct group_protocol *to = (struct group_protocol *)xcalloc(1, protocols_bytes(from, n) + 1);
    char *p = (char *)(to + n);
    size_t kept = 0;

    for (size_t i = 0; i < n; i++) {
        if (named_before(to, kept, from[i].name)) continue;
        if (from[i].name.n) memcpy(p, from[i].name.p, from[i].name.n);
        to[kept].name = (struct str){p, from[i].name.n};
        p += from[i].name.n;
        if (from[i].metadata.n) memcpy(p, from[i].metadata.p, from[i].metadata.n);
        to[kept].metadata = bytes_of(p, from[i].metadata.n);
        p += from[i].metadata.n;
        kept++;
    }
    *ret_n = kept;
    return to;
}

/* A name given twice counts once, with the first metadata. */
static void protocols_set(struct group *g, struct group_member *m, const struct group_join *j)
{
    size_t n;
    struct group_protocol *to = group_protocols_own(j->protocols, j->protocols_n, &n);

    supporters_count(g, m, -1);
    free(m->protocols);
    m->protocols = to;
    m->protocols_n = n;
    supporters_count(g, m, +1);
}

bool group_supports(const struct group *g, const struct group_join *j)
{
    if (j->protocols_n > GROUP_PROTOCOLS_MAX) return false;
    if (g->members_n == 0) return j->protocol_type.n > 0 && j->protocols_n > 0;
    if (!str_eq(j->protocol_type, g->protocol_type)) return false;
    for (size_t i = 0; i < j->protocols_n; i++)
        if (supported_by_all(g, j->protocols[i].name)) return true;
    return false;
}

struct str group_vote(const struct group *g, struct arena *scratch)
{
    const struct group_member *first = container_of(g->members.next, struct group_member, link);
    size_t *votes, best = SIZE_MAX;

    must(g->members_n > 0);
    votes = arena_array(scratch, size_t, first->protocols_n);
    group_each_member(m, g)
    {
        for (size_t i = 0; i < m->protocols_n; i++) {
            size_t k = 0;

            if (!supported_by_all(g, m->protocols[i].name)) continue;
            while (!str_eq(first->protocols[k].name, m->protocols[i].name))
                k++;
            votes[k]++;
            break;
        }
    }
    for (size_t k = 0; k < first->protocols_n; k++)
        if (votes[k] && (best == SIZE_MAX || votes[k] > votes[best])) best = k;
    must(best != SIZE_MAX); /* group_supports() let nobody in without a common protocol */
    return first->protocols[best].name;
}

bool member_matches(const struct group_member *m, const struct group_join *j)
{
    if (m->protocols_n != j->protocols_n) return false;
    for (size_t i = 0; i < m->protocols_n; i++)
        if (!str_eq(m->protocols[i].name, j->protocols[i].name) ||
            !bytes_eq(m->protocols[i].metadata, j->protocols[i].metadata))
            return false;
    return true;
}

/* ---- members ---- */

/* Ids are counted twice: the maps keep copies. */
static size_t member_bytes(const struct group_member *m, size_t protocols)
{
    return sizeof *m + 2 * (m->id.n + m->instance_id.n) + m->client_id.n + m->client_host.n +
           protocols + m->assignment.n;
}

size_t group_join_bytes(const struct group_join *j)
{
    return sizeof(struct group_member) + 2 * (j->member_id.n + j->instance_id.n + j->uuid.n) +
           2 * j->client_id.n + j->client_host.n + protocols_bytes(j->protocols, j->protocols_n);
}

static void member_account(struct group *g, struct group_member *m)
{
    size_t protocols = 0;

    for (size_t i = 0; i < m->protocols_n; i++)
        protocols += sizeof m->protocols[i] + m->protocols[i].name.n + m->protocols[i].metadata.n;
    g->bytes -= m->bytes;
    m->bytes = member_bytes(m, protocols);
    g->bytes += m->bytes;
}

struct group_member *member_add(struct group *g, struct str id, const struct group_join *j)
{
    struct group_member *m = xnew(struct group_member);

    m->id = str_own(id);
    m->instance_id = str_own(j->instance_id);
    list_push(&g->members, &m->link);
    g->members_n++;
    must(!map_put_str(&g->by_id, m->id, m));
    if (m->instance_id.p) must(!map_put_str(&g->by_instance, m->instance_id, m));
    member_update(g, m, j);
    return m;
}

void member_update(struct group *g, struct group_member *m, const struct group_join *j)
{
    m->session_timeout_ms = j->session_timeout_ms;
    m->rebalance_timeout_ms = j->rebalance_timeout_ms;
    str_drop(&m->client_id);
    str_drop(&m->client_host);
    m->client_id = str_own(j->client_id);
    m->client_host = str_own(j->client_host);
    protocols_set(g, m, j);
    member_account(g, m);
}

void member_rename(struct group *g, struct group_member *m, struct str id)
{
    bool leads = str_eq(g->leader, m->id);

    must(map_del_str(&g->by_id, m->id) == m);
    str_drop(&m->id);
    m->id = str_own(id);
    must(!map_put_str(&g->by_id, m->id, m));
    if (leads) group_set_str(g, &g->leader, m->id);
    member_account(g, m);
}

void member_remove(struct group *g, struct group_member *m)
{
    must(!m->join && !m->sync);
    supporters_count(g, m, -1);
    must(map_del_str(&g->by_id, m->id) == m);
    if (m->instance_id.p) must(map_del_str(&g->by_instance, m->instance_id) == m);
    if (g->leader.p && str_eq(g->leader, m->id)) group_set_str(g, &g->leader, (struct str){0});
    list_remove(&m->link);
    g->members_n--;
    g->bytes -= m->bytes;
    str_drop(&m->id);
    str_drop(&m->instance_id);
    str_drop(&m->client_id);
    str_drop(&m->client_host);
    buf_fini(&m->assignment);
    free(m->protocols);
    free(m);
}

void member_assign(struct group *g, struct group_member *m, struct bytes assignment)
{
    buf_clear(&m->assignment);
    buf_append(&m->assignment, assignment);
    member_account(g, m);
}

struct group_member *group_member(const struct group *g, struct str id)
{
    return map_get_str(&g->by_id, id);
}

struct group_member *member_of(const struct group *g, struct str id, struct str instance_id,
                               int16_t *ret_error)
{
    struct group_member *m = group_member(g, id), *holder;

    *ret_error = KAFKA_ERR_NONE;
    if (instance_id.p) {
        holder = map_get_str(&g->by_instance, instance_id);
        if (!holder) return *ret_error = KAFKA_ERR_UNKNOWN_MEMBER_ID, NULL;
        if (holder != m) return *ret_error = KAFKA_ERR_FENCED_INSTANCE_ID, NULL;
    }
    if (!m) *ret_error = KAFKA_ERR_UNKNOWN_MEMBER_ID;
    return m;
}

struct bytes group_metadata(const struct group *g, const struct group_member *m)
{
    if (!g->protocol.p) return (struct bytes){0};
    for (size_t i = 0; i < m->protocols_n; i++)
        if (str_eq(m->protocols[i].name, g->protocol)) return m->protocols[i].metadata;
    return (struct bytes){0};
}

/* ---- ids given out ---- */

struct group_pending *pending_add(struct group *g, struct str id)
{
    struct group_pending *p = xnew(struct group_pending);

    p->id = str_own(id);
    list_push(&g->pending, &p->link);
    must(!map_put_str(&g->pending_by_id, p->id, p));
    g->bytes += sizeof *p + 2 * p->id.n;
    return p;
}

struct group_pending *pending_find(const struct group *g, struct str id)
{
    return map_get_str(&g->pending_by_id, id);
}

void pending_remove(struct group *g, struct group_pending *p)
{
    must(map_del_str(&g->pending_by_id, p->id) == p);
    list_remove(&p->link);
    g->bytes -= sizeof *p + 2 * p->id.n;
    str_drop(&p->id);
    free(p);
}
