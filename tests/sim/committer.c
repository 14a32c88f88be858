/* Commits offsets without being a member, looks at them, and deletes the group now and then. SPDX-License-Identifier: Apache-2.0 */
#include "commits.h"

struct committer {
    struct client c;
    const char *group;
    unsigned left;
    uint32_t deletes[DATA_LOGS];         /* events of a deletion that is under way */
};

static struct committer *committer_of(struct client *c) { return container_of(c, struct committer, c); }

static struct committing nobody(const struct committer *m)
{
    return (struct committing){.group = m->group, .member = STR(""), .generation = -1};
}

static void on_committed(struct client *c, struct call *k, const void *response)
{
    struct committing by = nobody(committer_of(c));

    (void)commit_ended(c, k, &by, response);
    if (response) client_wake(c, world_duration(c->w, 10, 30000));
}

static void on_looked(struct client *c, struct call *k, const void *response)
{
    int64_t offsets[DATA_LOGS];

    (void)committed_ended(c, k, committer_of(c)->group, response, offsets);
    if (response) client_wake(c, world_duration(c->w, 10, 30000));
}

static void on_deleted(struct client *c, struct call *k, const void *response)
{
    struct committer *m = committer_of(c);
    const struct delete_groups_response *a = response;
    int16_t code = a ? a->results[0].error_code : -1;
    bool refused = code == KAFKA_ERR_GROUP_ID_NOT_FOUND || code == KAFKA_ERR_NON_EMPTY_GROUP;

    (void)k;
    for (uint32_t i = 0; i < DATA_LOGS; i++)
        world_event(c->w, (struct event){.kind = EVENT_WRITTEN, .client = c->id, .reg = commit_register(c->w, m->group, i), .begun = m->deletes[i],
                                         .result = !code ? RESULT_OK : refused ? RESULT_FAILED : RESULT_UNKNOWN});
    if (a) client_wake(c, world_duration(c->w, 10, 30000));
}

static void delete_group(struct committer *m)
{
    struct str name = str_of(m->group);
    struct delete_groups_request q = {.groups_names = &name, .groups_names_n = 1};

    for (uint32_t i = 0; i < DATA_LOGS; i++)
        m->deletes[i] = world_event(m->c.w, (struct event){.kind = EVENT_WRITE, .client = m->c.id, .reg = commit_register(m->c.w, m->group, i)});
    client_ask(&m->c, KAFKA_DELETE_GROUPS, 2, &q, on_deleted);
}

static void wake(struct client *c)
{
    struct committer *m = committer_of(c);
    struct committing by = nobody(m);
    uint64_t what = world_pick(c->w, 100);

    if (client_waits(c) || !m->left) return;
    m->left--;
    if (what < 60) (void)commit_ask(c, &by, (uint32_t)world_pick(c->w, DATA_LOGS), (int64_t)world_pick(c->w, 1000), on_committed);
    else if (what < 95) (void)committed_ask(c, m->group, on_looked);
    else delete_group(m);
}

static bool is_done(struct client *c)
{
    struct committer *m = committer_of(c);

    if (m->left > 5) m->left = 5;                                 /* some more, when all is well again */
    return !m->left && !client_waits(c);
}

static const struct client_kind kind = {.name = "committer", .size = sizeof(struct committer), .up = wake, .wake = wake, .is_done = is_done};

struct client *committer_new(struct world *w, const char *group)
{
    struct committer *m = client_new(w, &kind);

    m->group = group;
    m->left = 20 + (unsigned)world_pick(w, 80);
    return &m->c;
}
