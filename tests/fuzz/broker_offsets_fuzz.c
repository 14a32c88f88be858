/* Records of __consumer_offsets, as a start finds them: the first byte is the key's length, then key and value (none left:
 * null). What is read is written again as the same, and a group made of it keeps its books whatever happens next.
 * SPDX-License-Identifier: Apache-2.0 */
#include "broker/offsets_record.h"
#include "one_record.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void write_again(struct batch_builder *w, const struct offsets_record *r, const struct group *g)
{
    if (r->kind == OFFSETS_RECORD_OFFSET)
        offsets_record_add(w, r->group, r->topic, r->committed.partition, r->gone ? NULL : &r->committed, 1);
    else if (r->gone)
        group_record_add_gone(w, r->group, 1);
    else
        group_record_add(w, g, 1);
}

static void check_same(const struct offsets_record *was, const struct offsets_record *is)
{
    must(was->kind == is->kind && was->gone == is->gone && str_eq(was->group, is->group));
    if (was->kind == OFFSETS_RECORD_GROUP) return;
    must(str_eq(was->topic, is->topic) && was->committed.partition == is->committed.partition);
    if (was->gone) return;
    must(was->committed.offset == is->committed.offset && was->committed.commit_ms == is->committed.commit_ms);
    must(str_eq(was->committed.metadata, is->committed.metadata));
}

/* Everybody expires, one after the other. */
static void live_on(struct group *g)
{
    uint64_t now_ms = 1000;

    for (unsigned i = 0; g->tick_ms != UINT64_MAX && i < 1000; i++) {
        AUTO(arena_fini) struct arena a = {0};
        struct group_effects fx = {.arena = &a};

        now_ms = MAX(now_ms, g->tick_ms);
        group_step(g, &(struct group_event){.kind = GROUP_EV_TICK, .now_ms = now_ms}, &fx);
    }
    /* A session of weeks that is looked at every 100 ms takes longer than we wait. */
    must(g->tick_ms != UINT64_MAX || (g->state == GROUP_EMPTY && g->members_n == 0));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    AUTO(arena_fini) struct arena a = {0};
    AUTO(buf_fini) struct buf out = {0};
    struct offsets_record r, again;
    struct record rec;
    struct batch_builder w;
    struct group g;
    struct bytes view;
    struct err e;

    if (!size) return 0;
    rec = one_record(data, size);
    if (offsets_record_decode(&rec, &a, &r, &e) || r.kind == OFFSETS_RECORD_OTHER) return 0;

    group_init(&g, r.group, &group_config_default, 0);
    if (r.kind == OFFSETS_RECORD_GROUP && !r.gone) group_restore(&g, &r.snapshot, 1000);
    batch_begin(&w, &out, NULL);
    write_again(&w, &r, &g);
    must(!batch_end(&w, NULL, &view, &e));
    rec = only_record(view, &a);
    must(!offsets_record_decode(&rec, &a, &again, &e));
    check_same(&r, &again);
    live_on(&g);
    group_fini(&g);
    return 0;
}
