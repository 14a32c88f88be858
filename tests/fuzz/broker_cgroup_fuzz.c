/* Records of a newer group, as a start finds them, one behind the other: u8 key's length, u8 value's length (255: null), key, value.
 * Whatever they say: the group made of them answers its members, and all expire. SPDX-License-Identifier: Apache-2.0 */
#include "broker/cgroup_record.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool find(void *ctx, struct str name, struct cgroup_topic *ret)
{
    (void)ctx;
    *ret = (struct cgroup_topic){{{1}}, name, 3};
    return name.n > 0;
}

static bool next(void *ctx, struct str after, struct cgroup_topic *ret)
{
    (void)ctx;
    *ret = (struct cgroup_topic){{{2}}, STR("t"), 2};
    return !after.p;
}

static void load(struct cgroup *g, struct bytes in)
{
    while (in.n >= 2) {
        AUTO(arena_fini) struct arena a = {.limit = 1 << 20};
        size_t key = MIN((size_t)in.p[0], in.n - 2), value = in.p[1] == 255 ? 0 : MIN((size_t)in.p[1], in.n - 2 - key);
        struct record rec = {.key = bytes_sub(in, 2, key), .value = bytes_sub(in, 2 + key, value)};
        struct cgroup_record r;
        struct err e;

        if (in.p[1] == 255) rec.value = (struct bytes){0};
        in = bytes_sub(in, 2 + key + value, in.n - 2 - key - value);
        if (!cgroup_record_decode(&rec, &a, &r, &e) && r.kind) cgroup_record_apply(g, &r);
    }
}

static void check_books(const struct cgroup *g)
{
    size_t n = 0;

    cgroup_each_member(m, g)
    {
        for (size_t i = 0; i < m->owned.n; i++) must(map_get(&g->owners, part_key(&m->owned.p[i])) == m);
        for (size_t i = 0; i < m->revoking.n; i++) must(map_get(&g->owners, part_key(&m->revoking.p[i])) == m);
        n += m->owned.n + m->revoking.n;
    }
    must(n == g->owners.n);
}

/* Each says all there is to say, in the epoch the group believes it to be in. */
static void beat(struct cgroup *g)
{
    struct cgroup_world world = {7, NULL, find, next};
    struct parts nothing = {0};

    cgroup_each_member(m, g)
    {
        AUTO(arena_fini) struct arena a = {0};
        AUTO(parts_fini) struct parts owned = {0};
        struct cgroup_beat q = {.member_id = m->id, .instance_id = m->instance_id, .rebalance_timeout_ms = 1000, .topics_null = true,
                                .epoch = MAX(m->epoch, 0), .owned = m->epoch > 0 ? &owned : &nothing};
        struct cgroup_answer answer;

        parts_copy(&owned, &m->owned);
        cgroup_beat(g, &q, &world, 1000, &a, &answer);
        check_books(g);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct cgroup_config config = cgroup_config_default;
    struct cgroup g;

    cgroup_init(&g, STR("g"), &config);
    load(&g, bytes_of(data, size));
    cgroup_load_end(&g, 1000);
    check_books(&g);
    (void)cgroup_state(&g);
    for (int i = 0; i < 3; i++) beat(&g);
    cgroup_tick(&g, UINT64_MAX - 1);
    must(g.members_n == 0 && g.owners.n == 0);
    cgroup_fini(&g);
    return 0;
}
